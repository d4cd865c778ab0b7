"""One roamlog crawls another over real HTTP, in every version: what is read back from the one equals what the other serves."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from outlet import House, house
from versions import VERSIONS, path, sample

from api.lookup import DocumentLookup
from ingest.crawl import Crawler, Target
from ingest.existence import Existence
from ingest.intake import Intake
from ingest.outbound import Outbound
from ingest.partners import party_roles
from ingest.pull import Last
from roamlog.listen import bound, server_of, url_of
from roamlog.settings import Settings
from schemas.ocpi.interface import interface
from schemas.types import Module
from streams.standing import Standing
from streams.stores.clickhouse import ClickHouseStore

EVER = "date_from=2000-01-01T00:00:00Z"
COUNT = 3


@asynccontextmanager
async def listening(store: ClickHouseStore) -> AsyncIterator[House]:
    """Open a house with pages of two that answers over real HTTP."""
    with bound("127.0.0.1", 0) as listener:
        async with house(store, page_limit=2, url=url_of(listener)) as home:
            server = server_of(home.app, Settings())
            await server.startup(sockets=[listener])
            try:
                yield home
            finally:
                server.should_exit = True
                await server.shutdown()


def objects(version: str, name: str) -> list[dict[str, Any]]:
    """Return a few objects of a kind as the version writes them."""
    id_field = "uid" if name == "Token" else "id"
    found = []
    for number in range(COUNT):
        of = sample(version, name)
        found.append(of | {id_field: f"{of[id_field]}-{number}"})
    return found


async def listed(home: House, version: str, module: Module, by: str) -> list[dict[str, Any]]:
    pages = await home.crawl(f"/ocpi/{version}/sender/{module.value}?{EVER}&limit=100", by)
    return [one for page in pages for one in page.data]


def by_id(found: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one.get("uid") or one["id"]: one for one in found}


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_complete_crawl_reads_back_what_the_sender_serves(
    version: str, two_stores: tuple[ClickHouseStore, ClickHouseStore]
) -> None:
    async with listening(two_stores[0]) as sender, house(two_stores[1]) as reader:
        sender.version = reader.version = version
        encodes = interface(version).encodes_token
        # Tokens first: before 2.2.1 they tell whose customer a Session concerns.
        for name, owner, by in (
            ("Token", "DE/MSP", "msp"),
            ("Location", "NL/TNM", "cpo"),
            ("Session", "NL/TNM", "cpo"),
            ("Tariff", "NL/TNM", "cpo"),
        ):
            for of in objects(version, name):
                if "party_id" in of:
                    of |= dict(zip(("country_code", "party_id"), owner.split("/"), strict=True))
                await sender.put(path(name, of, owner), of, by=by)
        await sender.post(*objects(version, "CDR"))
        for partner in ("cpo", "msp"):
            assert await reader.registry.remove(partner) is not None
        await reader.registry.add("cpo", party_roles(["NL*TNM"], ["CPO"]), token="cpo", version=version)
        await reader.registry.add("msp", party_roles(["DE*MSP"], ["EMSP"]), token="msp", version=version)
        await reader.fold()
        outbound = Outbound(reader.clock, allow_private=True)
        standing, lookup = Standing(two_stores[1]), DocumentLookup(two_stores[1])
        intake = Intake(
            log=reader.log,
            dialects=reader.dialects,
            standing=standing,
            positions=reader.runtime.progress,
            lookup=lookup,
            existence=Existence(),
            clock=reader.clock,
        )
        crawler = Crawler(log=reader.log, caller=outbound, intake=intake, standing=standing, clock=reader.clock, limit=2)
        try:
            for module, partner, token in (
                (Module.TOKENS, "msp", "cpo"),
                (Module.LOCATIONS, "cpo", "msp"),
                (Module.SESSIONS, "cpo", "msp"),
                (Module.CDRS, "cpo", "msp"),
                (Module.TARIFFS, "cpo", "msp"),
            ):
                connection = reader.registry.get(partner)
                assert connection is not None
                endpoint = f"{sender.url}/ocpi/{version}/sender/{module.value}"
                target = Target(connection, module, version, endpoint, token, "base64" if encodes else "raw")
                for expected in ("appended", "unchanged"):
                    started = crawler.begun(target, full=True, watermark=Last().watermark, reason="operator")
                    ended = await crawler.run(target, started, parties=connection.parties)
                    assert (ended.complete, ended.oddities, ended.pages) == (True, (), 2), (module, ended)
                    assert (ended.counts.objects, getattr(ended.counts, expected)) == (COUNT, COUNT), (module, ended.counts)
                    await reader.fold()
                there = by_id(await listed(sender, version, module, token))
                here = by_id(await listed(reader, version, module, token))
                assert len(there) == COUNT
                assert here == there, module
        finally:
            await outbound.close()
