"""Calls to partners: the one place from which this house sends HTTP, with limits on where to, how long and how much.

Source: requirements 4.1 (the Authorization header), 4.5 (the ids of a message).
"""

import asyncio
import base64
import socket
import ssl
import uuid
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from msgspec import Struct
from yarl import URL

from ingest.addresses import Unreachable, checked_url, is_public
from schemas.types import Instant
from streams.ports import Clock

MIB: Final = 1024 * 1024
CONNECT_S: Final = 10.0
"""How long a connection may take to be made, TLS included."""

WHOLE: Final = 4
"""How many time-outs a whole answer may take: one that trickles must end some time."""

PER_HOST: Final = 8
"""How many connections one host gets at once."""

KEPT_S: Final = 2.0
"""How long an idle connection is kept: less than any server does, because one that is closed just then loses a request."""

_CHUNK: Final = 64 * 1024

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a name; raises OSError."""


class Fetched(Struct, frozen=True):
    """What a partner answered. Names of headers are in lower case; `url` is what was called, `sent_at` when."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    sent_at: Instant


class Outbound:
    """Calls partners. A name is resolved once per connection, and the very addresses that were checked are connected to."""

    def __init__(
        self,
        clock: Clock,
        *,
        allow_private: bool,
        timeout_s: float = 30,
        body_bytes: int = 64 * MIB,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`timeout_s` is how long a partner may say nothing, `body_bytes` the longest body, also after decompression.

        `allow_private` lets partners be anywhere, over http too; `resolve` and `tls` stand in for the system's.
        """
        self._clock = clock
        self._allow_private = allow_private
        self._timeout_s = timeout_s
        self._body_bytes = body_bytes
        self._resolver = _Resolver(resolve or _of_system, allow_private)
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def call(
        self,
        method: str,
        url: str,
        *,
        token: str,
        encoding: str,
        headers: Mapping[str, str] = {},
        body: bytes | None = None,
        limit: int | None = None,
    ) -> Fetched:
        """Return the answer, whatever its status but a redirection; raises Unreachable.

        `limit` is for an answer that has to be shorter than any (bytes). The ids of the message are made where `headers` has none.
        No redirection leads elsewhere; where a partner wants but a slash at the end of the path (307 and 308, as its framework
        may), the same host is asked again with it.
        """
        called = checked_url(url, self._allow_private)
        sent = self._headers(headers, presented(token, encoding), body)
        most = self._body_bytes if limit is None else min(limit, self._body_bytes)
        try:
            return await self._call(method, called, sent, body, most)
        except _Slash:
            return await self._call(method, _with_slash(called), sent, body, most)

    def _headers(self, given: Mapping[str, str], shown: str, body: bytes | None) -> dict[str, str]:
        sent = {name.lower(): value for name, value in given.items()}
        sent.setdefault("x-request-id", str(uuid.uuid4()))
        sent.setdefault("x-correlation-id", str(uuid.uuid4()))
        sent["authorization"] = f"Token {shown}"
        sent["accept"] = "application/json"
        sent["accept-encoding"] = "gzip"
        if body is not None:
            sent["content-type"] = "application/json"
        return sent

    async def _call(self, method: str, called: str, sent: Mapping[str, str], body: bytes | None, most: int) -> Fetched:
        host = called.partition("://")[2].partition("/")[0].partition("?")[0]
        sent_at = self._clock.now()
        try:
            async with self._opened().request(
                method,
                URL(called, encoded=True),  # as it was given: a cursor in it is none of ours to write otherwise
                headers=sent,
                data=body,
                allow_redirects=False,
            ) as answer:
                if 300 <= answer.status < 400:
                    if answer.status in {307, 308} and _wants_slash(called, answer.headers.get("location", "")):
                        raise _Slash
                    raise Unreachable("redirect", f"{host} sends elsewhere (HTTP {answer.status}), which is not followed")
                content = await self._read(answer, host, most)
                return Fetched(
                    status=answer.status,
                    headers=_headers(answer),
                    body=content,
                    url=called,
                    sent_at=sent_at,
                )
        except _Forbidden as fault:
            raise Unreachable("forbidden", f"{host} {fault.text}") from None
        except TimeoutError:
            raise Unreachable("timeout", f"{host} did not answer in time") from None
        except (aiohttp.ClientError, OSError, ValueError) as fault:
            inner = fault.__cause__ if isinstance(fault, aiohttp.ClientConnectorError) else None
            for one in (fault, inner, *_within(inner)):
                if isinstance(one, _Forbidden):
                    raise Unreachable("forbidden", f"{host} {one.text}") from None
            raise Unreachable("connection", f"{host} cannot be reached ({_reason(fault)})") from None

    async def close(self) -> None:
        """Close what is open."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _read(self, answer: aiohttp.ClientResponse, host: str, most: int) -> bytes:
        """Return the body, decompressed; raises Unreachable once it is longer than allowed, reading no further."""
        too_large = Unreachable("too_large", f"{host} answers with more than {most} bytes")
        if answer.content_length is not None and answer.content_length > most:
            raise too_large
        coding = answer.headers.get("content-encoding", "identity").strip().lower()
        if coding not in {"identity", "", "gzip", "x-gzip", "deflate"}:
            raise Unreachable("connection", f"{host} answers in a coding that it was not asked for ({coding[:20]!r})")
        unpack = None if coding in {"identity", ""} else _Unpacking(coding)
        found = bytearray()
        async for chunk in answer.content.iter_chunked(_CHUNK):
            if unpack is None:
                found += chunk
            else:
                try:
                    found += unpack.more(chunk, most + 1 - len(found))
                except zlib.error:
                    raise Unreachable("connection", f"{host} answers with a body that cannot be decompressed") from None
            if len(found) > most:
                raise too_large
        if unpack is not None and not unpack.ended:
            raise Unreachable("connection", f"{host} answers with a body whose end is missing")
        return bytes(found)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=self._resolver,
                    use_dns_cache=False,  # a checked address is used at once or never
                    socket_factory=self._resolver.socket,
                    limit=0,
                    limit_per_host=PER_HOST,
                    keepalive_timeout=KEPT_S,
                    ssl=True if self._tls is None else self._tls,
                ),
                timeout=aiohttp.ClientTimeout(
                    total=WHOLE * self._timeout_s,
                    connect=None,  # it counts the wait for one of the connections of a host as well
                    sock_connect=min(CONNECT_S, self._timeout_s),
                    sock_read=self._timeout_s,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # it knows no limit
                trust_env=False,
                skip_auto_headers=("User-Agent",),
            )
        return self._session


def presented(token: str, encoding: str) -> str:
    """Return what follows `Token` in an Authorization header; `encoding` is raw or base64."""
    return base64.b64encode(token.encode()).decode() if encoding == "base64" else token


def _headers(answer: aiohttp.ClientResponse) -> dict[str, str]:
    """Return what the headers say. Of a name that comes again the last one counts; each Link says something of its own."""
    found = {name.lower(): value for name, value in answer.headers.items()}
    return found | {"link": ", ".join(answer.headers.getall("link"))} if "link" in found else found


class _Slash(Exception):
    """The partner wants a slash at the end of the path."""


def _wants_slash(called: str, location: str) -> bool:
    """Whether a Location says the path that was called with a slash behind it, on whatever host it thinks it is."""
    path = urlsplit(called).path
    try:
        return not path.endswith("/") and urlsplit(location).path == f"{path}/"
    except ValueError:
        return False


def _with_slash(called: str) -> str:
    parts = urlsplit(called)
    return parts._replace(path=f"{parts.path}/").geturl()


class _Forbidden(OSError):
    """An address that must not be connected to."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)


_NOT_PUBLIC: Final = "stands for an address that is not public"


class _Resolver(AbstractResolver):
    """Resolves names to addresses that may be called, all or none: of a name with one of each sort nobody means the other."""

    def __init__(self, resolve: Resolve, allow_private: bool) -> None:
        self._resolve = resolve
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AddressFamily.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._resolve(host, port)
        if not self._allow_private and not all(map(is_public, addresses)):
            raise _Forbidden(_NOT_PUBLIC)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]

    async def close(self) -> None: ...

    def socket(self, address: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
        """Return the socket of a connection about to be made: the last look at where it goes."""
        family, kind, protocol, _, (host, *_) = address
        if not self._allow_private and not is_public(host):
            raise _Forbidden(_NOT_PUBLIC)
        return socket.socket(family, kind, protocol)


class _Unpacking:
    """Decompresses gzip (of any number of members) and deflate, never giving more than is asked for."""

    def __init__(self, coding: str) -> None:
        self._window = zlib.MAX_WBITS if coding == "deflate" else 16 + zlib.MAX_WBITS
        self._stream = zlib.decompressobj(self._window)
        self._begun = False

    @property
    def ended(self) -> bool:
        """Whether the last member is whole; nothing at all is whole, too."""
        return self._stream.eof or not self._begun

    def more(self, chunk: bytes, limit: int) -> bytes:
        found = bytearray()
        while chunk and len(found) < limit:
            if self._stream.eof:
                self._stream = zlib.decompressobj(self._window)
            self._begun = True
            found += self._stream.decompress(chunk, limit - len(found))
            chunk = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        return bytes(found)


async def _of_system(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # A link-local address comes with its interface, which `is_public` takes for no address.
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def _within(fault: BaseException | None) -> Sequence[BaseException]:
    return fault.exceptions if isinstance(fault, BaseExceptionGroup) else ()


def _reason(fault: BaseException) -> str:
    """Return why, without anything that a partner or a secret has a part in."""
    match fault:
        case aiohttp.ClientConnectorDNSError():
            return "its name is not known"
        case aiohttp.ClientConnectorCertificateError():
            return "its TLS certificate is not to be trusted"
        case aiohttp.ClientSSLError():
            return "it speaks no TLS that is spoken here"
        case aiohttp.ClientConnectorError():
            return fault.os_error.strerror or "no connection"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return "it hung up before its answer was whole"
        case aiohttp.ClientResponseError() | ValueError():
            return "what it says is no HTTP"
        case _:
            return "the connection broke"
