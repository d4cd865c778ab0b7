"""`roamlog serve`: one process that takes, keeps, folds and serves."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from ingest import secrets
from roamlog import admin
from roamlog.errors import Failure, first_of
from roamlog.folder import Folder, held
from roamlog.listen import Server, bound, expire, many_files, one_heap, server_of, thrifty, trim, unbound, url_of
from roamlog.node import Node, Tables, opened
from roamlog.settings import Settings
from streams.errors import StopTheLine
from streams.logs.local import LogDamaged
from streams.ports import LogUnavailable

ROUND_S: Final = 3
"""How long the projector may take to finish its round after that."""

_say: Final = logging.getLogger("roamlog")


class Started(NamedTuple):
    """What the banner says; `operator_token` is only there at the folder's first start."""

    data: Path
    url: str
    operator_token: str | None


def serve(data: Path, settings: Settings, started: Callable[[Started], None]) -> None:
    """Serve the folder until SIGTERM or SIGINT; `started` is called once pushes are accepted. Raises Failure in a sentence."""
    with held(data, "serve") as folder, bound(settings.host, settings.port) as listener:
        import uvloop

        one_heap()
        many_files()
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
    url = settings.public_url or url_of(listener)
    first = not (folder.path / secrets.FILE).exists()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with opened(folder, settings) as node, node.with_tables(url, stop) as tables:
        from roamlog.app import application, house_of

        with admin.listening(folder.path) as commands:
            front = server_of(application(house_of(node), url), settings)
            back = server_of(admin.app(node), settings)
            try:
                await front.startup(sockets=[listener])
            except OSError as fault:  # two processes can bind a port that neither listens on yet
                raise unbound(settings.host, settings.port, fault) from fault
            await back.startup(sockets=[commands])
            folder.run.socket, folder.run.url = str(commands.getsockname()), url
            folder.save()
            thrifty()
            started(Started(folder.path, url, node.secrets.operator_token if first else None))
            await _run(node, tables, front, back, stop)


async def _run(node: Node, tables: Tables, front: Server, back: Server, stop: asyncio.Event) -> None:
    folded = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        projecting = tasks.create_task(tables.runtime.run(folded), name="projector")
        watching = [
            tasks.create_task(tables.watch(), name="damage"),
            tasks.create_task(expire(front, node.settings.request_s), name="slow requests"),
            tasks.create_task(trim(), name="freed memory"),
        ]
        following = tasks.create_task(node.registry.follow(), name="partners")
        pulling = tasks.create_task(tables.pull.run(), name="pull") if node.settings.pull_every_s else None
        serving = [tasks.create_task(server.main_loop(), name="server") for server in (front, back)]
        try:
            await stop.wait()
        finally:
            # First who asks, last the projector: it ends with the round that it is in.
            for server in (front, back):
                server.should_exit = True
            await asyncio.gather(front.shutdown(), back.shutdown(), *serving, return_exceptions=True)
            following.cancel()
            if pulling is not None:
                pulling.cancel()
            for task in watching:
                task.cancel()
            folded.set()
            await asyncio.wait({projecting}, timeout=ROUND_S)
            # It waits for a store that cannot take rows now, as on a full disk; what it had not finished it does again.
            projecting.cancel()
