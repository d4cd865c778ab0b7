"""A TCP proxy on loopback whose connections can be cut and slowed down: what networks do to those who talk through them."""

import asyncio
import random
from typing import Final

CHUNK: Final = 64 * 1024
FLUSH_S: Final = 5.0
"""How long a side that does not read is waited for once the other has gone."""


class Between:
    """Stands between its own `port` and `upstream`, which may be exchanged. `start` it, and `close` it at the end."""

    def __init__(self, port: int, upstream: int, dice: random.Random) -> None:
        self.port = port
        self.upstream = upstream
        self._dice = dice
        self._delay_s = 0.0
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port, backlog=512)

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
        self.cut(1.0)
        while self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self, share: float) -> int:
        """Reset about this share of the connections, what is on its way included; return how many."""
        chosen = [one for one in self._open if self._dice.random() < share]
        for one in chosen:
            one.transport.abort()
        return len(chosen)

    async def delay(self, each_s: float, for_s: float) -> None:
        """Let every piece of data of every connection come so much later, for so long."""
        self._delay_s = each_s
        await asyncio.sleep(for_s)
        self._delay_s = 0.0

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            there, onwards = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:  # nobody is there: whoever asked hears that
            writer.transport.abort()
        else:
            ways = [asyncio.ensure_future(self._carry(reader, onwards)), asyncio.ensure_future(self._carry(there, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)  # nobody here half-closes
            for one in (writer, onwards):
                one.close()
            await asyncio.wait(ways, timeout=FLUSH_S)
            for one in (writer, onwards):
                one.transport.abort()
            await asyncio.wait(ways)
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(CHUNK):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                target.write(data)
                await target.drain()
        except OSError:
            pass
