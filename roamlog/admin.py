"""How a command reaches the process that serves its folder: HTTP over a socket that only the folder's owner can open.

Each operation is `POST /{name}`; the answer is JSON lines: any number of `{"step": …}`, then `{"found": …}` or
`{"failure": …, "exit_code": …}`. Who hangs up cancels what was asked.
"""

import asyncio
import contextlib
import http.client
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from msgspec import Struct

from roamlog.errors import FAILED, Failure, Unusable, first_of
from roamlog.folder import FolderInUse, held, last_run
from roamlog.operations import OPERATIONS, Operation, Step, Told, failure_of
from roamlog.settings import Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from roamlog.node import Node

SOCKET: Final = "serve.sock"
PATH_BYTES: Final = 107
"""The longest path that a socket address holds (sun_path, less its closing zero)."""

HOLDER_WAIT_S: Final = 15.0
"""How long a command waits for a folder whose holder takes no commands: it starts, stops, or runs another command."""

STEP_EVERY_S: Final = 0.1

AskedT = TypeVar("AskedT", bound=Struct)
FoundT = TypeVar("FoundT", bound=Struct)

_say: Final = logging.getLogger("roamlog")


class Line(Struct, omit_defaults=True):
    """One line of an answer."""

    step: Step | None = None
    found: msgspec.Raw = msgspec.Raw()
    failure: str | None = None
    exit_code: int = FAILED


@contextlib.contextmanager
def listening(folder: Path) -> Iterator[socket.socket]:
    """Bind the folder's socket, mode 0600, for the length of the block; the folder must be held.

    A socket that a killed process left behind is replaced. Where the folder's path is too long for a socket address, the
    socket lies in a fresh folder of its own.
    """
    path, own = folder / SOCKET, None
    if len(os.fsencode(path)) > PATH_BYTES:
        own = tempfile.mkdtemp(prefix="roamlog-", dir="/tmp")
        path = Path(own) / SOCKET
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    try:
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)


def app(node: "Node") -> "Starlette":
    """Return the application behind the socket."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response, StreamingResponse
    from starlette.routing import Route

    by_name = {operation.name: operation for operation in OPERATIONS}

    async def endpoint(request: Request) -> Response:
        operation = by_name[request.path_params["name"]]
        asked = msgspec.json.decode(await request.body(), type=operation.asked)
        return StreamingResponse(_lines(node, operation, asked), media_type="application/x-ndjson")

    return Starlette(routes=[Route("/{name}", endpoint, methods=["POST"])])


async def _lines(node: "Node", operation: Operation[Any, Any], asked: Struct) -> AsyncIterator[bytes]:
    steps: asyncio.Queue[Line] = asyncio.Queue()
    told_at = 0.0

    def told(step: Step) -> None:
        nonlocal told_at
        now = time.monotonic()
        if now - told_at >= STEP_EVERY_S or step.done >= step.total:
            told_at = now
            steps.put_nowait(Line(step=step))

    async def run() -> None:
        try:
            steps.put_nowait(Line(found=msgspec.Raw(msgspec.json.encode(await operation.run(node, asked, told)))))
        except Exception as fault:
            failure = failure_of(fault)
            if failure is None:
                _say.exception("%s met a defect", operation.name)
                failure = Failure(f"{operation.name} met a defect ({type(fault).__name__}: {fault}); the server's log has more")
            steps.put_nowait(Line(failure=str(failure), exit_code=failure.exit_code))

    task = asyncio.create_task(run(), name=operation.name)
    try:
        while True:
            line = await steps.get()
            yield msgspec.json.encode(line) + b"\n"
            if line.step is None:
                return
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def perform(data: Path, settings: Settings, operation: Operation[AskedT, FoundT], asked: AskedT, told: Told) -> FoundT:
    """Return what the operation found: through the serving process where one runs, else in this one, which holds the folder.

    Raises Failure in a sentence.
    """
    if not operation.makes and not data.is_dir():
        raise Unusable(f"{data} is no data folder; name one with --data")
    until = time.monotonic() + HOLDER_WAIT_S
    while True:
        reached = _reached(data)
        if reached is not None:
            with reached:
                return _ask(reached, operation, asked, told)
        try:
            with held(data, operation.name) as folder:
                return _run_here(folder, settings, operation, asked, told)
        except FolderInUse:
            # Its holder starts, stops, or is another command.
            if time.monotonic() >= until:
                raise
            time.sleep(0.1)


def _reached(data: Path) -> socket.socket | None:
    """Return a connection to the process that serves the folder, None where there is none."""
    path = last_run(data).socket
    if not path:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except PermissionError as fault:
        connection.close()
        raise Unusable(f"{path} belongs to another user; run the command as the one who serves {data}") from fault
    except OSError:
        connection.close()  # what a killed process left behind
        return None
    return connection


def _ask(connection: socket.socket, operation: Operation[AskedT, FoundT], asked: AskedT, told: Told) -> FoundT:
    ended = Failure("the serving process ended before it answered; run the command again")
    caller = http.client.HTTPConnection("roamlog")
    caller.sock = connection
    try:
        caller.request("POST", f"/{operation.name}", msgspec.json.encode(asked))
        answer = caller.getresponse()
        if answer.status != http.client.OK:
            raise Failure(f"the serving process does not know {operation.name} as this command does; are their versions the same?")
        while text := answer.readline():
            line = msgspec.json.decode(text, type=Line)
            if line.step is not None:
                told(line.step)
            elif line.failure is not None:
                failure = Failure(line.failure)
                failure.exit_code = line.exit_code
                raise failure
            else:
                return msgspec.json.decode(line.found, type=operation.found)
    except (OSError, http.client.HTTPException) as fault:
        raise ended from fault
    raise ended


def _run_here(folder: Any, settings: Settings, operation: Operation[AskedT, FoundT], asked: AskedT, told: Told) -> FoundT:
    from roamlog.node import opened

    async def run() -> FoundT:
        async with opened(folder, settings) as node:
            if not operation.tables:
                return await operation.run(node, asked, told)
            async with node.with_tables() as tables, tables.folding():
                return await operation.run(node, asked, told)

    try:
        return asyncio.run(run())
    except (Exception, BaseExceptionGroup) as faults:
        fault = first_of(faults)
        raise failure_of(fault) or fault from faults
