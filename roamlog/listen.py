"""What the processes that answer HTTP have in common: a port bound at once, a server that somebody else stops, thrift."""

import asyncio
import contextlib
import ctypes
import errno
import gc
import logging
import resource
import socket
import sys
from collections.abc import Iterator
from typing import Final, NoReturn

import uvicorn

from roamlog.errors import Unusable
from roamlog.protocol import Protocol
from roamlog.settings import Settings

FINISH_S: Final = 4
"""How long requests under way may take to finish once the process was asked to stop."""

KEEP_ALIVE_S: Final = 75
"""How long a partner's idle connection is kept: longer than the pauses of a busy platform, as most proxies do."""

COLLECT_AFTER: Final = (50_000, 50, 100)
"""Requests leave next to no cycles, and at the default thresholds the collector took a seventh of the time of a push."""

SWITCH_S: Final = 0.0005
"""How long one thread may keep the interpreter: at the default of 5 ms the log's writer waits for a busy event loop, and the event
loop for the thread that folds; it takes half the pushes a second."""

LOOK_S: Final = 1.0
"""How often it is looked for requests that come too slowly."""

TRIM_S: Final = 5.0
"""How often memory that was freed goes back to the system: a few milliseconds of work, hundreds of MiB after a backlog."""

LONG_BYTES: Final = 512 * 1024
"""What is at least so long goes back to the system as soon as it is freed; left to itself, glibc raises that to 32 MiB."""

FILES: Final = 65_536
"""So many connections and files may be open at once, as far as the system allows."""


def thrifty() -> None:
    """Make the interpreter fit for requests, once everything that lives as long as the process is there.

    That leaves the collector's sight: a full collection would stop pushes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    sys.setswitchinterval(SWITCH_S)


def one_heap() -> None:
    """Have all threads share a heap; to be called before there are any.

    glibc gives each its own, and what was freed in one serves no other: rows are made in one thread and freed in the next. What is
    as long as a page of a partner's list lies outside of it: between small things that live longer it would leave holes.
    Elsewhere than on glibc this does nothing.
    """
    if _libc is not None:
        _libc.mallopt(_M_ARENA_MAX, 1)
        _libc.mallopt(_M_MMAP_THRESHOLD, LONG_BYTES)


async def trim() -> NoReturn:
    """Give back to the system, again and again, what glibc keeps of freed memory."""
    while True:
        await asyncio.sleep(TRIM_S)
        if _libc is not None:
            await asyncio.to_thread(_libc.malloc_trim, 0)


_M_ARENA_MAX: Final = -8
_M_MMAP_THRESHOLD: Final = -3


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


_libc: Final = _glibc()


def many_files() -> None:
    """Allow as many connections as the system does, up to `FILES`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, FILES)), hard))


async def expire(server: "Server", patience_s: float) -> NoReturn:
    """Show out, again and again, whoever sends a request too slowly."""
    while True:
        await asyncio.sleep(min(LOOK_S, patience_s))
        for connection in list(server.server_state.connections):
            if isinstance(connection, Protocol):
                connection.expire(patience_s)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of the server says more than that a request was still under way when the process was asked to stop."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the process has more to stop than a server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server_of(app: object, settings: Settings) -> Server:
    """Return a server of the application that is started, run and stopped by its owner."""
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # nobody here asks for the client's address, and every request would pay for it
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=FINISH_S,
        log_level="error",  # its warnings are of what strangers send
    )
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    config.load()
    server = Server(config)
    server.lifespan = config.lifespan_class(config)
    return server


@contextlib.contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """Bind the port at once, so that a taken one is told before anything is opened; it listens when all is ready."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as fault:
        raise Unusable(f"{host} is no address to listen on; give --host a name or an address of this machine") from fault
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as fault:
            raise unbound(host, port, fault) from fault
        yield listener


def unbound(host: str, port: int, fault: OSError) -> Unusable:
    """Return the sentence for an address that cannot be had."""
    reason = {
        errno.EADDRINUSE: f"port {port} of {host} is taken; choose another with --port, or stop who uses it",
        errno.EACCES: f"port {port} needs more rights than this user has; choose one above 1023 with --port",
        errno.EADDRNOTAVAIL: f"{host} is no address of this machine; choose another with --host",
    }
    other = f"{host}:{port} cannot be listened on ({fault.strerror}); choose another with --host and --port"
    return Unusable(reason.get(fault.errno or 0, other))


def url_of(listener: socket.socket) -> str:
    """Return where the socket is reached."""
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
