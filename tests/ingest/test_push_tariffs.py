"""What a CPO may push of its Tariffs (OCPI 2.2.1 mod_tariffs, Receiver; requirements 2.1, 2.3)."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from receiver import NOW, Reply, World
from samples import TARIFF

from schemas.events import Envelope
from schemas.types import Module
from streams.clock import FixedClock
from streams.logs.memory import MemoryLog
from streams.topics import TARIFFS

T12 = "tariffs/NL/TNM/12"
PUBLISHED = Path(
    os.environ.get("ROAMLOG_OCPI_EXAMPLES", Path(__file__).parents[3] / "shared/ocpi/examples"), "2.2.1/tariffs_put_example.json"
)


class Cpo:
    """The world with one partner, NL*TNM, asking."""

    def __init__(self, world: World, token: str) -> None:
        self.world = world
        self.token = token

    async def __call__(self, method: str, path: str, body: object = b"", **options: Any) -> Reply:
        return await self.world.ask(method, path, body, token=self.token, **options)

    async def events(self) -> list[Envelope]:
        return await self.world.envelopes(TARIFFS)

    async def is_served(self) -> bool:
        return bool(await self.world.tables.documents(Module.TARIFFS, [("NL*TNM", "12")]))


@pytest.fixture
async def cpo() -> Cpo:
    world = World(MemoryLog(), FixedClock(NOW))
    return Cpo(world, (await world.partner()).token)


def published() -> dict[str, Any]:
    example: dict[str, Any] = json.loads(PUBLISHED.read_bytes())
    return example


async def test_a_put_tariff_is_durable_when_it_is_answered(cpo: Cpo) -> None:
    assert (await cpo("PUT", T12, TARIFF)).status == 201
    assert (await cpo("PUT", T12, TARIFF | {"currency": "SEK"})).status == 200
    first, second = await cpo.events()
    assert (first.type, first.module, first.party, first.key) == ("tariff.replaced", "tariffs", "NL*TNM", ("12",))
    assert json.loads(second.raw or second.payload)["currency"] == "SEK"
    assert [record.key async for record in cpo.world._records(TARIFFS)] == [b"NL*TNM|12"] * 2


async def test_a_deleted_tariff_leaves_an_event_without_an_object(cpo: Cpo) -> None:
    await cpo("PUT", T12, TARIFF)
    reply = await cpo("DELETE", T12)
    assert (reply.status, reply.ocpi) == (200, {"status_code": 1000, "timestamp": "2026-09-21T14:13:20Z"})
    _, event = await cpo.events()
    assert (event.type, event.payload, event.raw, event.last_updated) == ("tariff.deleted", b"{}", None, None)
    assert not await cpo.is_served()


@pytest.mark.parametrize("restart", [False, True])
async def test_a_tariff_is_deleted_once_and_may_come_back(cpo: Cpo, restart: bool) -> None:
    await cpo("PUT", T12, TARIFF)
    await cpo("DELETE", T12)
    again = Cpo(await cpo.world.restarted(), cpo.token) if restart else cpo
    reply = await again("DELETE", T12)
    assert (reply.status, reply.code) == (404, 2001)
    assert reply.ocpi["status_message"] == "no tariff '12' of NL*TNM is known"
    again.world.clock.advance(1_000_000)
    assert (await again("PUT", T12, TARIFF | {"last_updated": "2026-09-21T14:13:21Z"})).status == 201
    assert await again.is_served()
    assert (await again("DELETE", "tariffs/nl/tnm/12")).code == 1000


async def test_an_unknown_tariff_cannot_be_deleted_and_the_request_is_kept(cpo: Cpo) -> None:
    reply = await cpo("DELETE", T12)
    assert (reply.status, reply.code) == (404, 2001)
    assert await cpo.events() == []
    (rejected,) = await cpo.world.rejected()
    assert (rejected.method, rejected.party, rejected.status_code, rejected.body) == ("DELETE", "NL*TNM", 2001, b"")


async def test_a_tariff_of_an_earlier_process_is_deleted(cpo: Cpo) -> None:
    await cpo("PUT", T12, TARIFF)
    later = Cpo(await cpo.world.restarted(), cpo.token)
    assert (await later("DELETE", T12)).code == 1000
    assert [event.type for event in await later.events()] == ["tariff.replaced", "tariff.deleted"]


async def test_a_delete_that_the_tables_cannot_judge_in_time_is_taken(cpo: Cpo) -> None:
    await cpo("PUT", T12, TARIFF)
    later = Cpo(await cpo.world.restarted(), cpo.token)
    later.world.tables.stalled = True
    assert (await later("DELETE", T12)).code == 1000


async def test_a_body_of_a_delete_is_nothing(cpo: Cpo) -> None:
    await cpo("PUT", T12, TARIFF)
    assert (await cpo("DELETE", T12, b"<no json>")).code == 1000
    assert (await cpo.events())[-1].payload == b"{}"


async def test_two_deletes_are_two_events(cpo: Cpo) -> None:
    for second in range(2):
        await cpo("PUT", T12, TARIFF | {"last_updated": f"2026-01-01T00:00:0{second}Z"})
        await cpo("DELETE", T12)
        cpo.world.clock.advance(1_000_000)
    events = await cpo.events()
    assert len({event.event_id for event in events}) == 4


@pytest.mark.parametrize("method", ["PATCH", "POST"])
async def test_a_tariff_of_2_2_1_cannot_be_patched(cpo: Cpo, method: str) -> None:
    await cpo("PUT", T12, TARIFF)
    reply = await cpo(method, T12, TARIFF)
    assert (reply.status, reply.code, reply.headers["allow"]) == (405, 2000, "GET, PUT, DELETE")


@pytest.mark.parametrize("path", ["tariffs", "tariffs/NL/TNM", f"{T12}/x", "tariffs/NL/TNM//"])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_path_that_is_no_tariff_is_404(cpo: Cpo, path: str, method: str) -> None:
    assert (await cpo(method, path, TARIFF)).status == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_the_tariff_of_another_owner_is_404(cpo: Cpo, method: str) -> None:
    reply = await cpo(method, "tariffs/DE/ALL/12", TARIFF | {"country_code": "DE", "party_id": "ALL"})
    assert (reply.status, reply.code) == (404, 2001)
    assert await cpo.events() == []


async def test_point_22_a_body_of_another_owner_than_its_path_is_2001(cpo: Cpo) -> None:
    reply = await cpo("PUT", T12, TARIFF | {"country_code": "DE", "party_id": "ALL"})
    assert (reply.status, reply.code) == (200, 2001)
    assert "the object says DE*ALL, its path NL*TNM" in reply.ocpi["status_message"]


@pytest.mark.skipif(not PUBLISHED.exists(), reason=f"the published examples are not there: {PUBLISHED}")
async def test_point_22_the_published_put_contradicts_itself_and_is_refused(cpo: Cpo) -> None:
    for body in (published(), published() | {"last_updated": "2026-01-01T00:00:00Z"}):
        reply = await cpo("PUT", T12, body)
        assert (reply.status, reply.code) == (200, 2001)
    assert await cpo.events() == []
