"""What an eMSP may push of its Tokens (OCPI 2.2.1 mod_tokens, Receiver; requirements 2.1, 2.3, 2.6)."""

import json
from typing import Any

import pytest
from receiver import NOW, Reply, World
from samples import TOKEN

from schemas.events import Envelope
from streams.clock import FixedClock
from streams.logs.memory import MemoryLog
from streams.topics import TOKENS

CARD = "tokens/DE/MSP/04E1"


class Emsp:
    """The world with one partner, DE*MSP, asking."""

    def __init__(self, world: World, token: str) -> None:
        self.world = world
        self.token = token

    async def __call__(self, method: str, path: str, body: object = b"", **options: Any) -> Reply:
        return await self.world.ask(method, path, body, token=self.token, **options)

    async def events(self) -> list[Envelope]:
        return await self.world.envelopes(TOKENS)


@pytest.fixture
async def emsp() -> Emsp:
    world = World(MemoryLog(), FixedClock(NOW))
    return Emsp(world, (await world.partner("msp", "DE*MSP", roles=["EMSP"])).token)


def patch(**fields: Any) -> dict[str, Any]:
    return {"last_updated": "2026-09-20T10:06:00Z"} | fields


@pytest.mark.parametrize("path", [CARD, f"{CARD}?type=RFID", f"{CARD}/?type=RFID", "tokens/de/msp/04e1?type=rfid"])
async def test_a_put_token_is_durable_under_its_uid_and_type(emsp: Emsp, path: str) -> None:
    assert (await emsp("PUT", path, TOKEN)).status == 201
    assert (await emsp("PUT", CARD, TOKEN)).status == 200
    first, second = await emsp.events()
    assert (first.type, first.module, first.party) == ("token.replaced", "tokens", "DE*MSP")
    assert second.key == ("04E1", "RFID")
    assert json.loads(first.payload) == TOKEN
    assert {record.key async for record in emsp.world._records(TOKENS)} == {b"DE*MSP|rfid|04e1"}


async def test_the_same_uid_of_two_types_is_two_tokens(emsp: Emsp) -> None:
    assert (await emsp("PUT", CARD, TOKEN)).status == 201
    assert (await emsp("PUT", f"{CARD}?type=APP_USER", TOKEN | {"type": "APP_USER"})).status == 201
    assert (await emsp("PATCH", f"{CARD}?type=APP_USER", patch(valid=False))).code == 1000
    assert [event.key for event in await emsp.events() if event.type == "token.patched"] == [("04E1", "APP_USER")]


async def test_point_27_a_put_without_type_addresses_the_rfid_token_of_that_uid(emsp: Emsp) -> None:
    reply = await emsp("PUT", CARD, TOKEN | {"type": "APP_USER"})
    assert (reply.status, reply.code) == (200, 2001)
    assert reply.ocpi["status_message"] == (
        "/type: the object is a Token of type APP_USER, the request addresses type RFID; say ?type=APP_USER"
    )
    assert await emsp.events() == []
    (rejected,) = await emsp.world.rejected()
    assert [finding.rule for finding in rejected.findings] == ["type_mismatch"]


async def test_a_patch_that_names_another_type_or_uid_is_2001(emsp: Emsp) -> None:
    await emsp("PUT", CARD, TOKEN)
    for body in (patch(type="APP_USER"), patch(uid="04E2"), patch(uid="04E2", type="RFID")):
        reply = await emsp("PATCH", CARD, body)
        assert (reply.status, reply.code) == (200, 2001)
    for body in (patch(type="RFID"), patch(uid="04e1"), patch(uid="04E1", type="RFID"), patch(valid=False)):
        assert (await emsp("PATCH", CARD, body)).code == 1000


@pytest.mark.parametrize("path", [CARD, f"{CARD}?type=OTHER"])
async def test_a_patch_of_an_unknown_token_is_404_with_2004(emsp: Emsp, path: str) -> None:
    await emsp("PUT", f"{CARD}?type=APP_USER", TOKEN | {"type": "APP_USER"})
    reply = await emsp("PATCH", path, patch(valid=False))
    assert (reply.status, reply.code) == (404, 2004)
    assert f"no token '04E1' of type {'OTHER' if 'OTHER' in path else 'RFID'} of DE*MSP is known" in reply.ocpi["status_message"]
    assert len(await emsp.events()) == 1
    (rejected,) = await emsp.world.rejected()
    assert rejected.path == f"/ocpi/2.2.1/receiver/{path}"


async def test_a_patch_of_a_token_of_an_earlier_process_is_taken(emsp: Emsp) -> None:
    await emsp("PUT", CARD, TOKEN)
    world = await emsp.world.restarted()
    assert (await world.ask("PATCH", CARD, patch(valid=False), token=emsp.token)).code == 1000


async def test_a_patch_of_a_known_token_waits_for_nothing_but_the_log(emsp: Emsp) -> None:
    await emsp("PUT", CARD, TOKEN)
    emsp.world.tables.away = True
    asked = list(emsp.world.tables.asked)
    assert (await emsp("PATCH", CARD, patch(valid=False))).code == 1000
    assert emsp.world.tables.asked == asked


@pytest.mark.parametrize("query", ["type=", "type=&x=1", "x=1", ""])
async def test_a_query_that_says_no_type_means_rfid(emsp: Emsp, query: str) -> None:
    assert (await emsp("PUT", f"{CARD}?{query}", TOKEN)).code == 1000
    (event,) = await emsp.events()
    assert event.key == ("04E1", "RFID")


@pytest.mark.parametrize("query", ["type=RFID&type=APP_USER", "type=%00", "type=" + "x" * 256])
async def test_a_query_whose_type_cannot_be_one_is_2001(emsp: Emsp, query: str) -> None:
    reply = await emsp("PUT", f"{CARD}?{query}", TOKEN)
    assert (reply.status, reply.code) == (200, 2001)


async def test_a_type_of_a_newer_version_is_taken_with_a_finding(emsp: Emsp) -> None:
    assert (await emsp("PUT", f"{CARD}?type=EMAID", TOKEN | {"type": "EMAID"})).code == 1000
    (event,) = await emsp.events()
    assert (event.key, [finding.rule for finding in event.findings]) == (("04E1", "EMAID"), ["unknown_enum_value"])


async def test_the_owner_of_a_token_is_the_emsp_of_the_connection(emsp: Emsp) -> None:
    reply = await emsp("PUT", "tokens/FR/RIV/04E1", TOKEN | {"country_code": "FR", "party_id": "RIV"})
    assert (reply.status, reply.code) == (404, 2001)
    reply = await emsp("PUT", CARD, TOKEN | {"country_code": "FR", "party_id": "RIV"})
    assert (reply.status, reply.code) == (200, 2001)
    assert await emsp.events() == []


@pytest.mark.parametrize("method", ["DELETE", "POST"])
async def test_other_verbs_on_a_token_are_405_with_allow(emsp: Emsp, method: str) -> None:
    reply = await emsp(method, CARD, TOKEN)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, PUT, PATCH")


@pytest.mark.parametrize("path", ["tokens", "tokens/DE/MSP", f"{CARD}/RFID", "tokens/DE/MSP/%00"])
async def test_a_path_that_is_no_token_is_404(emsp: Emsp, path: str) -> None:
    assert (await emsp("PUT", path, TOKEN)).status == 404
