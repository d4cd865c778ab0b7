"""`roamlog serve`: one process that takes, keeps, folds and serves."""

import asyncio
import contextlib
import errno
import gc
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

import uvicorn

from ingest import secrets
from roamlog import admin
from roamlog.errors import Failure, Unusable, first_of
from roamlog.folder import Folder, held
from roamlog.node import Node, Tables, opened
from roamlog.protocol import Protocol
from roamlog.settings import Settings
from streams.errors import StopTheLine
from streams.logs.local import LogDamaged
from streams.ports import LogUnavailable

FINISH_S: Final = 4
"""How long requests under way may take to finish once the process was asked to stop."""

ROUND_S: Final = 3
"""How long the projector may take to finish its round after that."""

KEEP_ALIVE_S: Final = 75
"""How long a partner's idle connection is kept: longer than the pauses of a busy platform, as most proxies do."""

COLLECT_AFTER: Final = (50_000, 50, 100)
"""Requests leave next to no cycles, and at the default thresholds the collector took a seventh of the time of a push."""

SWITCH_S: Final = 0.0005
"""How long one thread may keep the interpreter: at the default of 5 ms the log's writer waits for a busy event loop, and the event
loop for the thread that folds; it takes half the pushes a second."""

LOOK_S: Final = 1.0
"""How often it is looked for requests that come too slowly."""

FILES: Final = 65_536
"""So many connections and files may be open at once, as far as the system allows."""

_say: Final = logging.getLogger("roamlog")


class Started(NamedTuple):
    """What the banner says; `operator_token` is only there at the folder's first start."""

    data: Path
    url: str
    operator_token: str | None


def serve(data: Path, settings: Settings, started: Callable[[Started], None]) -> None:
    """Serve the folder until SIGTERM or SIGINT; `started` is called once pushes are accepted. Raises Failure in a sentence."""
    with held(data, "serve") as folder, _bound(settings.host, settings.port) as listener:
        import uvloop

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, FILES)), hard))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                runner.run(_serve(folder, settings, listener, started))
            except BaseExceptionGroup as faults:
                fault = first_of(faults)
                if isinstance(fault, Failure):
                    raise fault from faults
                if isinstance(fault, StopTheLine | LogUnavailable | LogDamaged):
                    raise Failure(str(fault)) from faults
                raise fault from faults


async def _serve(folder: Folder, settings: Settings, listener: socket.socket, started: Callable[[Started], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    url = settings.public_url or _url(listener)
    first = not (folder.path / secrets.FILE).exists()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with opened(folder, settings) as node, node.with_tables(url, stop) as tables:
        from roamlog.app import application

        with admin.listening(folder.path) as commands:
            front = _server(application(node, url), settings)
            back = _server(admin.app(node), settings)
            try:
                await front.startup(sockets=[listener])
            except OSError as fault:  # two processes can bind a port that neither listens on yet
                raise _unbound(settings.host, settings.port, fault) from fault
            await back.startup(sockets=[commands])
            folder.run.socket, folder.run.url = str(commands.getsockname()), url
            folder.save()
            # Everything that lives as long as the process leaves the collector's sight: a full collection would stop pushes.
            gc.collect()
            gc.freeze()
            gc.set_threshold(*COLLECT_AFTER)
            sys.setswitchinterval(SWITCH_S)
            started(Started(folder.path, url, node.secrets.operator_token if first else None))
            await _run(node, tables, front, back, stop)


async def _run(node: Node, tables: Tables, front: "_Server", back: "_Server", stop: asyncio.Event) -> None:
    folded = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        projecting = tasks.create_task(tables.runtime.run(folded), name="projector")
        watching = [
            tasks.create_task(tables.watch(), name="damage"),
            tasks.create_task(_expire(front, node.settings.request_s), name="slow requests"),
        ]
        following = tasks.create_task(node.registry.follow(), name="partners")
        serving = [tasks.create_task(server.main_loop(), name="server") for server in (front, back)]
        try:
            await stop.wait()
        finally:
            # First who asks, last the projector: it ends with the round that it is in.
            for server in (front, back):
                server.should_exit = True
            await asyncio.gather(front.shutdown(), back.shutdown(), *serving, return_exceptions=True)
            following.cancel()
            for task in watching:
                task.cancel()
            folded.set()
            await asyncio.wait({projecting}, timeout=ROUND_S)
            # It waits for a store that cannot take rows now, as on a full disk; what it had not finished it does again.
            projecting.cancel()


async def _expire(server: "_Server", patience_s: float) -> NoReturn:
    while True:
        await asyncio.sleep(min(LOOK_S, patience_s))
        for connection in list(server.server_state.connections):
            if isinstance(connection, Protocol):
                connection.expire(patience_s)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of the server says more than that a request was still under way when the process was asked to stop."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the process has more to stop than a server."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: object, settings: Settings) -> _Server:
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
    server = _Server(config)
    server.lifespan = config.lifespan_class(config)
    return server


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
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
            raise _unbound(host, port, fault) from fault
        yield listener


def _unbound(host: str, port: int, fault: OSError) -> Unusable:
    reason = {
        errno.EADDRINUSE: f"port {port} of {host} is taken; choose another with --port, or stop who uses it",
        errno.EACCES: f"port {port} needs more rights than this user has; choose one above 1023 with --port",
        errno.EADDRNOTAVAIL: f"{host} is no address of this machine; choose another with --host",
    }
    other = f"{host}:{port} cannot be listened on ({fault.strerror}); choose another with --host and --port"
    return Unusable(reason.get(fault.errno or 0, other))


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
