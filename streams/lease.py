"""What only one process may do at a time: the lease that says which, and how work begins and ends with it.

A lease bounds double work, it cannot rule it out: a process may stop between its last look at the lease and what it writes. So
whatever is done under one is done again without harm: its events have ids that follow from what they say.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn, Protocol


class LeaseLost(Exception):
    """The lease is another's now, or may be: nothing was written."""


class Lease(Protocol):
    """The right to do what one process does. Taken and given back by `while_held`."""

    @property
    def held(self) -> bool:
        """Whether it is this process's, surely, at this moment: False as soon as another may have it."""
        ...

    async def taken(self) -> None:
        """Wait until it is held, and take it: whoever wants it waits for `give_back`, though not for ever."""
        ...

    async def lost(self) -> None:
        """Wait until it is not held."""
        ...

    def give_back(self) -> None:
        """Say that what was done under it has ended."""
        ...


class Alone:
    """The lease of a process that shares its log with nobody: always held."""

    held: Final = True

    async def taken(self) -> None:
        return

    async def lost(self) -> None:
        await asyncio.Event().wait()

    def give_back(self) -> None:
        return


ALONE: Final = Alone()


async def while_held(lease: Lease, work: Callable[[], Coroutine[Any, Any, None]]) -> NoReturn:
    """Do the work whenever the lease is held: begun when it is taken, cancelled when it is lost, and so on until cancelled.

    Work that ends by itself, or raises LeaseLost, begins again with the next turn; whatever else it raises ends this.
    """
    while True:
        await lease.taken()
        doing = asyncio.create_task(work(), name="work under a lease")
        losing = asyncio.create_task(lease.lost(), name="a lease")
        try:
            await asyncio.wait({doing, losing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            doing.cancel()
            losing.cancel()
            try:
                await asyncio.gather(doing, losing, return_exceptions=True)
            finally:
                lease.give_back()
        with contextlib.suppress(LeaseLost, asyncio.CancelledError):  # cancelled above, by nobody else
            doing.result()
