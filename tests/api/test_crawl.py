"""A reader that crawls Locations while their owner goes on pushing: nothing is missed, and the crawl ends.

`ROAMLOG_CRAWL_LOCATIONS` says how many Locations there are.
"""

import math
import os
from collections.abc import AsyncIterator
from itertools import count
from typing import Any, Final

import pytest
from charging import T0
from outlet import SECOND, House, Reply, house, next_of
from places import evse, location, location_entry, said

from schemas.types import date_time
from streams.ports import Entry, TableStore

LOCATIONS: Final = int(os.environ.get("ROAMLOG_CRAWL_LOCATIONS", "5000"))
PUSHES_A_SECOND: Final = 500
NEW_A_SECOND: Final = 10
LIST: Final = "/ocpi/2.2.1/sender/locations"

pytestmark = pytest.mark.slow


class Owner:
    """NL*TNM, which opens Locations and tells the statuses of their EVSEs through the log, 500 times a second of the clock."""

    def __init__(self, home: House) -> None:
        self.opened: list[str] = []
        self._home = home
        self._number = count()

    def now(self) -> float:
        return (self._home.clock.now() - T0) / SECOND

    async def open(self, locations: int) -> None:
        """Open Locations, ten thousand a second, and fold them."""
        for start in range(0, locations, 10_000):
            await self._home.log.append([self._opened() for _ in range(start, min(start + 10_000, locations))])
            self._home.clock.advance(SECOND)
            await self._home.fold()

    async def second(self, *, folded: bool) -> None:
        """Push for a second; the tables follow now or later."""
        entries = [self._opened() for _ in range(NEW_A_SECOND)]
        entries += [self._changed() for _ in range(PUSHES_A_SECOND - NEW_A_SECOND)]
        await self._home.log.append(entries)
        self._home.clock.advance(SECOND)
        if folded:
            await self._home.fold()

    def _opened(self) -> Entry:
        # Ids in no order, so that the order of arrival and that of the keys differ.
        location_id = f"L{next(self._number) * 7919 % 1_000_003}"
        self.opened.append(location_id)
        now = self.now()
        document = location(now, evse("E1", now), id=location_id)
        return location_entry(said("location.replaced", (location_id,), now, document, arrived=now - 1))

    def _changed(self) -> Entry:
        number, now = next(self._number), self.now()
        location_id = self.opened[number * 104_729 % len(self.opened)]
        change = {"set": {"status": ("CHARGING", "AVAILABLE")[number % 2], "physical_reference": str(number)}}
        change["set"]["last_updated"] = date_time(T0 + round(now * SECOND))
        return location_entry(said("evse.patched", (location_id, "E1"), now, change, arrived=now - 1))


@pytest.fixture
async def home(store: TableStore) -> AsyncIterator[House]:
    async with house(store) as opened:
        yield opened


async def crawled(home: House, owner: Owner, path: str) -> list[Reply]:
    """Follow every Link while the owner pushes; the tables lag at every other page."""
    pages = [await home.get(path)]
    while "link" in pages[-1].headers:
        await owner.second(folded=len(pages) % 2 == 0)
        pages.append(await home.get(next_of(pages[-1])))
        assert len(pages) <= LOCATIONS / 100, "the crawl does not end"
    return pages


def objects(pages: list[Reply]) -> list[dict[str, Any]]:
    assert all((page.status, page.code) == (200, 1000) for page in pages)
    return [one for page in pages for one in page.data]


async def test_a_crawl_sees_all_that_was_there_when_it_began_each_once_and_ends(home: House) -> None:
    owner = Owner(home)
    await owner.open(LOCATIONS)
    before = set(owner.opened)
    pages = await crawled(home, owner, f"{LIST}?limit=1000")
    ids = [one["id"] for one in objects(pages)]
    assert before <= set(ids)
    assert len(ids) == len(set(ids))
    # What is opened meanwhile makes the crawl no longer: it ends at the instant at which it began, that instant included.
    assert len(pages) <= math.ceil((LOCATIONS + NEW_A_SECOND) / 1000)
    assert {page.headers["x-total-count"] for page in pages[:-1]} == {str(LOCATIONS)}
    assert len(owner.opened) > len(before) + NEW_A_SECOND * (len(pages) - 2)


async def test_windows_that_follow_each_other_give_the_newest_of_everything(home: House) -> None:
    owner = Owner(home)
    await owner.open(LOCATIONS // 4)
    known: dict[str, dict[str, Any]] = {}
    date_from = ""
    for _ in range(3):
        date_to = date_time(home.clock.now())
        window = f"{date_from}&date_to={date_to}"
        # What changes meanwhile leaves the window: the next one has it.
        known |= {one["id"]: one for one in objects(await crawled(home, owner, f"{LIST}?limit=1000{window}"))}
        date_from = f"&date_from={date_to}"
        await owner.second(folded=False)
    await home.fold()
    known |= {one["id"]: one for one in objects(await home.crawl(f"{LIST}?limit=1000{date_from}"))}
    truth = {one["id"]: one for one in objects(await home.crawl(f"{LIST}?limit=1000"))}
    assert set(truth) == set(owner.opened)
    assert known == truth
