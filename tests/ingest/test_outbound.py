"""Calls to partners over real sockets: what is sent, what is taken, and where a call ends."""

import asyncio
import gzip
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from receiver import NOW

from ingest.addresses import Unreachable
from ingest.outbound import Outbound
from streams.clock import FixedClock

CLOCK = FixedClock(NOW)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Server:
    """Answers each connection with the next bytes, at last always with the same, and keeps what it was sent."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/v"
        self.requests: list[bytes] = []
        self.connections = 0


@asynccontextmanager
async def serving(*answers: bytes, stays: bool = False, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Serve; where the server `stays`, it says nothing after the answer and does not hang up either."""
    over = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.connections += 1
        try:
            made.requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answers[min(len(made.requests), len(answers)) - 1])
            await writer.drain()
            if stays:
                await over.wait()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    made = Server(server.sockets[0].getsockname()[1])
    try:
        yield made
    finally:
        over.set()
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def calling(**options: object) -> AsyncIterator[Outbound]:
    outbound = Outbound(CLOCK, **({"allow_private": True} | options))  # type: ignore[arg-type]
    try:
        yield outbound
    finally:
        await outbound.close()


async def refused(answer: bytes, *, stays: bool = False, **options: object) -> Unreachable:
    async with serving(answer, stays=stays) as server, calling(**options) as outbound:
        with pytest.raises(Unreachable) as fault:
            await outbound.call("GET", server.url, token="s3cret", encoding="raw")
    assert "s3cret" not in str(fault.value)
    return fault.value


@pytest.mark.parametrize(("encoding", "shown"), [("raw", b"Token tok-1\r\n"), ("base64", b"Token dG9rLTE=\r\n")])
async def test_the_token_stands_in_the_header_as_the_partner_wants_it(encoding: str, shown: bytes) -> None:
    async with serving(OK) as server, calling() as outbound:
        url = server.url + "?offset=%2F&limit=1"
        found = await outbound.call("GET", url, token="tok-1", encoding=encoding, headers={"X-Correlation-ID": "c-1"})
    assert (found.status, found.body, found.url, found.sent_at) == (200, b"{}", url, NOW)
    (request,) = server.requests
    assert request.startswith(b"GET /v?offset=%2F&limit=1 HTTP/1.1\r\n")
    head = request.lower()
    assert b"authorization: " + shown.lower() in head
    assert b"x-correlation-id: c-1\r\n" in head
    assert b"x-request-id: " in head


async def test_headers_have_lower_case_names_and_a_body_goes_as_json() -> None:
    answer = b'HTTP/1.1 201 Created\r\nX-Total-Count: 3\r\nLINK: <a>; rel="next"\r\ncontent-length: 0\r\n\r\n'
    async with serving(answer) as server, calling() as outbound:
        found = await outbound.call("POST", server.url, token="t", encoding="raw", body=b"{}")
    assert (found.status, found.headers["x-total-count"], found.headers["link"]) == (201, "3", '<a>; rel="next"')
    assert b"content-type: application/json\r\n" in server.requests[0].lower()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirection_is_followed(status: int) -> None:
    async with serving(OK) as elsewhere:
        fault = await refused(b"HTTP/1.1 %d Moved\r\nlocation: %b\r\ncontent-length: 0\r\n\r\n" % (status, elsewhere.url.encode()))
    assert (fault.kind, elsewhere.connections) == ("redirect", 0)


async def test_a_slash_that_a_partner_wants_behind_the_path_is_put_there_and_nothing_else_is_followed() -> None:
    """Frameworks redirect so, and say http behind a proxy that ends TLS; the host is the one that was called in any case."""

    def redirected(status: int, location: str) -> bytes:
        return f"HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()

    async with serving(redirected(307, "http://ocpi.invalid/v/?a=2"), OK) as server, calling() as outbound:
        found = await outbound.call("POST", f"{server.url}?a=1", token="t", encoding="raw", body=b"{}")
    assert (found.status, found.url) == (200, f"{server.url}/?a=1")
    assert [request.partition(b" HTTP")[0] for request in server.requests] == [b"POST /v?a=1", b"POST /v/?a=1"]
    for refusal in (redirected(302, "/v/"), redirected(308, "/v/x"), redirected(308, "http://[/v/")):
        async with serving(refusal, OK) as server, calling() as outbound:
            with pytest.raises(Unreachable) as fault:
                await outbound.call("GET", server.url, token="t", encoding="raw")
        assert (fault.value.kind, len(server.requests)) == ("redirect", 1)
    async with serving(redirected(308, "/v/"), redirected(308, "/v//"), OK) as server, calling() as outbound:
        with pytest.raises(Unreachable):
            await outbound.call("GET", server.url, token="t", encoding="raw")
    assert len(server.requests) == 2


async def test_a_body_longer_than_the_limit_is_not_read_to_its_end() -> None:
    declared = await refused(b"HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n", stays=True)
    assert declared.kind == "too_large"
    endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024 + b"\r\n"
    assert (await refused(endless, stays=True, body_bytes=1000)).kind == "too_large"


async def test_a_call_may_ask_for_less() -> None:
    async with serving(OK) as server, calling(body_bytes=1000) as outbound:
        assert (await outbound.call("GET", server.url, token="t", encoding="raw", limit=2)).body == b"{}"
        with pytest.raises(Unreachable, match="more than 1 bytes"):
            await outbound.call("GET", server.url, token="t", encoding="raw", limit=1)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_small_body_that_unpacks_to_a_large_one_is_refused(coding: str) -> None:
    bomb = gzip.compress(bytes(20_000_000)) if coding == "gzip" else zlib.compress(bytes(20_000_000))
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: {len(bomb)}\r\n\r\n".encode()
    assert (await refused(head + bomb, body_bytes=100_000)).kind == "too_large"


async def test_a_compressed_body_is_unpacked() -> None:
    packed = gzip.compress(b'{"a":') + gzip.compress(b"1}")
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(packed)}\r\n\r\n".encode()
    async with serving(head + packed) as server, calling() as outbound:
        assert (await outbound.call("GET", server.url, token="t", encoding="raw")).body == b'{"a":1}'
    cut = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(packed) - 4}\r\n\r\n".encode() + packed[:-4]
    assert (await refused(cut)).kind == "connection"
    assert (await refused(b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\nx")).kind == "connection"


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"])
async def test_a_partner_that_falls_silent_is_given_up(said: bytes) -> None:
    assert (await refused(said, stays=True, timeout_s=0.1)).kind == "timeout"


@pytest.mark.parametrize(
    "said", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", b"\x00\xff\r\n\r\n"]
)
async def test_a_partner_that_speaks_no_http_or_hangs_up_is_a_broken_connection(said: bytes) -> None:
    assert (await refused(said)).kind == "connection"


async def test_nobody_listening_is_said_in_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with calling() as outbound:
            with pytest.raises(Unreachable, match="cannot be reached") as fault:
                await outbound.call("GET", f"http://127.0.0.1:{taken.getsockname()[1]}/", token="t", encoding="raw")
    assert fault.value.kind == "connection"


class Names:
    """A name server that gives another answer each time."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.asked = 0
        self._answers = answers

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self._answers[min(self.asked, len(self._answers)) - 1]


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["::1"], ["8.8.8.8", "10.0.0.1"], ["::ffff:127.0.0.1"], ["169.254.169.254"], ["fe80::1%2"]]
)
async def test_a_name_that_stands_for_a_closed_address_is_not_called(addresses: list[str]) -> None:
    async with serving(OK) as server, calling(allow_private=False, resolve=Names(addresses)) as outbound:
        with pytest.raises(Unreachable) as fault:
            await outbound.call("GET", f"https://ocpi.example:{server.port}/", token="t", encoding="raw")
    assert (fault.value.kind, server.connections) == ("forbidden", 0)


async def test_a_name_is_resolved_once_for_a_connection_so_that_it_cannot_change_in_between() -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    async with serving(OK) as server, calling(resolve=names) as outbound:
        await outbound.call("GET", f"http://ocpi.example:{server.port}/", token="t", encoding="raw")
    assert (names.asked, server.connections) == (1, 1)
    assert b"\r\nhost: ocpi.example:" in server.requests[0].lower()


async def test_an_address_is_looked_at_again_where_a_connection_is_made() -> None:
    async with serving(OK) as server, calling(allow_private=False) as outbound:
        made = outbound._resolver
        address = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", server.port))
        with pytest.raises(OSError, match="not public"):
            made.socket(address)


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, secret


async def test_a_certificate_must_be_trusted_and_be_of_the_name_that_is_called(tmp_path: Path) -> None:
    chain, secret = certificate(tmp_path, "ocpi.example")
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(chain, secret)
    trusting = ssl.create_default_context(cafile=str(chain))
    names = Names(["127.0.0.1"])
    async with serving(OK, tls=ours) as server:
        async with calling(resolve=names, tls=trusting) as outbound:
            url = f"https://ocpi.example:{server.port}/"
            assert (await outbound.call("GET", url, token="t", encoding="raw")).status == 200
            with pytest.raises(Unreachable, match="certificate is not to be trusted"):
                await outbound.call("GET", f"https://other.example:{server.port}/", token="t", encoding="raw")
        async with calling(resolve=names) as outbound:
            with pytest.raises(Unreachable, match="certificate is not to be trusted"):
                await outbound.call("GET", url, token="t", encoding="raw")


async def test_several_links_are_as_one() -> None:
    """Source: RFC 8288, 3: a Link header may come again, as any list may (RFC 9110, 5.3)."""
    both = b'HTTP/1.1 200 OK\r\nLink: </v?2>; rel="next"\r\nlink: </v?9>; rel="last"\r\ncontent-length: 2\r\n\r\n{}'
    async with serving(both) as server, calling() as outbound:
        found = await outbound.call("GET", server.url, token="t", encoding="raw")
    assert found.headers["link"] == '</v?2>; rel="next", </v?9>; rel="last"'
