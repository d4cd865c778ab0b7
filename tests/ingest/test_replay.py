"""Rejections processed anew: what was wrong may be right today."""

from typing import Any

import pytest
from receiver import DIALECTS, NOW, World, cdr, session
from samples import EVSE, LOCATION, TARIFF, TOKEN

from ingest.errors import NotReplayable
from ingest.load import Load
from ingest.replay import Replay
from schemas.rejected import Rejected
from streams.clock import FixedClock
from streams.logs.memory import MemoryLog
from streams.topics import LOCATIONS


class Refusing:
    """A world whose partner has been refused."""

    def __init__(self) -> None:
        self.world = World(MemoryLog(), FixedClock(NOW))
        self.token = ""

    async def refused(self, method: str, path: str, body: object, **options: Any) -> Rejected:
        self.token = self.token or (await self.world.partner()).token
        await self.world.ask(method, path, body, token=self.token, **options)
        return (await self.rejected())[-1]

    async def rejected(self) -> list[Rejected]:
        return sorted(await self.world.rejected(), key=lambda one: (one.received_at, one.source == "replay"))

    async def replay(self, rejected: Rejected) -> Rejected:
        self.world.clock.advance(1_000_000)
        world = self.world
        return await Replay(log=world.log, push=world.push, registry=world.registry, dialects=DIALECTS, clock=world.clock).replay(
            rejected
        )


@pytest.fixture
def at() -> Refusing:
    return Refusing()


PATCH = {"last_updated": "2026-09-20T10:06:00Z", "kwh": 2}


async def test_a_patch_of_an_unknown_session_is_taken_once_the_session_is_known(at: Refusing) -> None:
    rejected = await at.refused("PATCH", "sessions/NL/TNM/S%2F1", PATCH, headers={"X-Request-ID": "r-1"})
    await at.world.ask("PUT", "sessions/NL/TNM/S%2F1", session("S/1"), token=at.token)
    record = await at.replay(rejected)
    assert (record.outcome, record.replay_of, record.source) == ("updated", rejected.rejected_id, "replay")
    event = max(await at.world.envelopes(), key=lambda one: one.received_at)
    assert (event.type, event.key, event.request_id, event.received_at) == ("session.patched", ("S/1",), "r-1", NOW + 1_000_000)


async def test_the_outcome_stands_beside_the_rejection(at: Refusing) -> None:
    rejected = await at.refused("PUT", "sessions/NL/TNM/S1", session(status="?"))
    record = await at.replay(rejected)
    assert (record.outcome, record.status_code) == ("refused", 2001)
    assert "/status" in record.reason
    first, second = await at.rejected()
    assert (first, second) == (rejected, record)
    assert first.rejected_id != second.rejected_id


async def test_an_object_of_a_party_that_has_since_been_bound_is_taken(at: Refusing) -> None:
    rejected = await at.refused("PUT", "sessions/DE/SLB/S1", session(country_code="DE", party_id="SLB"))
    assert (await at.replay(rejected)).outcome == "refused"
    await at.world.registry.remove("tnm")
    await at.world.partner("tnm", "NL*TNM", "DE*SLB")
    assert (await at.replay(rejected)).outcome == "created"


async def test_a_cdr_that_stands_by_now_is_a_duplicate(at: Refusing) -> None:
    body = cdr(country_code="DE", party_id="SLB")
    rejected = await at.refused("POST", "cdrs", body)
    await at.world.registry.remove("tnm")
    await at.world.partner("tnm", "NL*TNM", "DE*SLB")
    assert [(await at.replay(rejected)).outcome for _ in range(2)] == ["created", "duplicate"]
    assert len(await at.world.envelopes()) == 1


async def test_a_second_replay_has_the_event_id_of_the_first(at: Refusing) -> None:
    rejected = await at.refused("PATCH", "sessions/NL/TNM/S1", PATCH)
    await at.world.ask("PUT", "sessions/NL/TNM/S1", session(), token=at.token)
    await at.replay(rejected)
    await at.replay(rejected)
    events = await at.world.envelopes()
    assert (len(events), len({event.event_id for event in events})) == (3, 2)


async def test_a_loaded_object_is_replayed_for_its_party(at: Refusing, tmp_path: Any) -> None:
    import json

    from schemas.types import Module

    world = at.world
    loading = Load(
        log=world.log,
        dialects=DIALECTS,
        lookup=world.tables,
        clock=world.clock,
        existence=world.existence,
        folder=tmp_path / "loads",
    )
    path = tmp_path / "file.json"
    foreign = {
        Module.SESSIONS: session(party_id="ALL"),
        Module.CDRS: cdr(party_id="ALL"),
        Module.LOCATIONS: LOCATION | {"party_id": "ALL"},
        Module.TARIFFS: TARIFF | {"party_id": "ALL"},
        Module.TOKENS: TOKEN | {"country_code": "NL", "party_id": "ALL"},
    }
    for module, body in foreign.items():
        path.write_text(json.dumps(body))
        await loading.files([path], module=module, version="2.2.1", party="NL*TNM")
    for rejected in await at.rejected():
        record = await at.replay(rejected)
        assert (record.outcome, record.reason) == ("refused", "NL*ALL is no party of this connection")


async def test_what_was_cut_belongs_to_nobody_or_was_no_push_is_not_replayed(at: Refusing) -> None:
    cut = await at.refused("PUT", "sessions/NL/TNM/S1", b"x" * 100_000)
    with pytest.raises(NotReplayable, match="only the beginning of the body was kept"):
        await at.replay(cut)
    whole = await at.refused("PUT", "sessions/NL/TNM/S1", {})
    outcome = await at.replay(whole)
    with pytest.raises(NotReplayable, match="source replay is not replayed"):
        await at.replay(outcome)
    await at.world.registry.remove("tnm")
    with pytest.raises(NotReplayable, match="partner tnm is gone"):
        await at.replay(whole)
    assert len(await at.rejected()) == 3


async def test_an_evse_whose_location_has_come_since_is_taken_at_its_place(at: Refusing) -> None:
    rejected = await at.refused("PUT", "locations/NL/TNM/LOC1/3257", EVSE | {"uid": "3257"})
    assert (await at.replay(rejected)).outcome == "refused"
    await at.world.ask("PUT", "locations/NL/TNM/LOC1", LOCATION, token=at.token)
    assert (await at.replay(rejected)).outcome == "created"
    _, event = await at.world.envelopes(LOCATIONS)
    assert (event.type, event.key) == ("evse.replaced", ("LOC1", "3257"))


async def test_a_delete_and_the_type_of_a_query_are_replayed_as_they_came(at: Refusing) -> None:
    deleted = await at.refused("DELETE", "tariffs/NL/TNM/12", b"")
    at.world.clock.advance(1_000_000)
    token = TOKEN | {"country_code": "NL", "party_id": "TNM", "type": "APP_USER"}
    patched = await at.refused("PATCH", "tokens/NL/TNM/04E1?type=APP_USER", {"last_updated": "2026-09-20T10:06:00Z"})
    await at.world.ask("PUT", "tariffs/NL/TNM/12", TARIFF, token=at.token)
    await at.world.ask("PUT", "tokens/NL/TNM/04E1?type=APP_USER", token, token=at.token)
    assert [(await at.replay(one)).outcome for one in (deleted, patched)] == ["deleted", "updated"]
