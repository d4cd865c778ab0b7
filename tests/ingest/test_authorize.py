"""May this Token charge here? (OCPI 2.2.1 mod_tokens 2.2.2, POST authorize; requirements 2.6)."""

import json
from typing import Any

import pytest
from receiver import NOW, Reply, World
from samples import TOKEN

from ingest.errors import NotReplayable
from ingest.http import WritesFirst
from ingest.replay import Replay
from schemas.events import Envelope
from streams.clock import FixedClock
from streams.logs.memory import MemoryLog
from streams.topics import TOKENS

HERE = {"location_id": "LOC1", "evse_uids": ["3256", "3257"]}


def at(uid: str = "04E1", query: str = "") -> str:
    return f"/ocpi/2.2.1/sender/tokens/{uid}/authorize{query}"


class Street:
    """A world with a CPO, NL*TNM, and two eMSPs, DE*MSP and FR*RIV."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.secrets: dict[str, str] = {}

    async def connect(self, name: str, party: str, role: str, **options: Any) -> None:
        self.secrets[name] = (await self.world.partner(name, party, roles=[role], **options)).token

    async def push(self, by: str = "msp", **fields: Any) -> None:
        country_code, party_id = {"msp": ("DE", "MSP"), "rival": ("FR", "RIV")}[by]
        token = TOKEN | {"country_code": country_code, "party_id": party_id} | fields
        path = f"tokens/{country_code}/{party_id}/{token['uid']}?type={token['type']}"
        assert (await self.world.ask("PUT", path, token, token=self.secrets[by])).code == 1000
        self.world.clock.advance(1_000_000)

    async def ask(self, path: str = at(), body: object = b"", by: str = "cpo", method: str = "POST", **options: Any) -> Reply:
        return await self.world.ask(method, path, body, token=self.secrets[by], **options)

    async def authorizations(self) -> list[Envelope]:
        return [event for event in await self.world.envelopes(TOKENS) if event.type == "token.authorized"]


@pytest.fixture
async def street() -> Street:
    street = Street(World(MemoryLog(), FixedClock(NOW)))
    await street.connect("cpo", "NL*TNM", "CPO")
    await street.connect("msp", "DE*MSP", "EMSP")
    await street.connect("rival", "FR*RIV", "EMSP")
    return street


async def test_a_valid_token_is_allowed_where_it_was_asked_for_and_that_is_recorded(street: Street) -> None:
    await street.push()
    reply = await street.ask(body=HERE, headers={"X-Request-ID": "r-1"})
    assert (reply.status, reply.code) == (200, 1000)
    info = reply.ocpi["data"]
    assert (info["allowed"], info["token"], info["location"]) == ("ALLOWED", TOKEN, HERE)
    (event,) = await street.authorizations()
    assert (event.module, event.connection, event.party, event.key) == ("tokens", "cpo", "DE*MSP", ("04E1", "RFID"))
    assert (event.request_id, event.last_updated) == ("r-1", None)
    assert json.loads(event.payload) == {"location": HERE, "answer": info}


async def test_the_reference_that_comes_back_in_the_cdr_finds_the_authorization(street: Street) -> None:
    await street.push()
    references = [(await street.ask()).ocpi["data"]["authorization_reference"] for _ in range(2)]
    assert [bytes.fromhex(reference) for reference in references] == [event.event_id for event in await street.authorizations()]
    assert len(set(references)) == 2
    assert all(len(reference) <= 36 for reference in references)


async def test_an_authorization_stands_in_the_lane_of_its_token(street: Street) -> None:
    await street.push()
    await street.ask(at("04e1"))
    assert {record.key async for record in street.world._records(TOKENS)} == {b"DE*MSP|rfid|04e1"}


async def test_point_25_an_unknown_token_is_404_and_2004_without_data(street: Street) -> None:
    await street.push()
    for path in (at("04E2"), at(query="?type=APP_USER")):
        reply = await street.ask(path, HERE)
        assert (reply.status, reply.code) == (404, 2004)
        assert "data" not in reply.ocpi
    assert await street.authorizations() == []
    rejected = await street.world.rejected()
    assert {(one.method, one.path) for one in rejected} == {("POST", at("04E2")), ("POST", at(query="?type=APP_USER"))}


@pytest.mark.parametrize("whitelist", ["ALWAYS", "ALLOWED", "ALLOWED_OFFLINE", "NEVER"])
async def test_point_26_a_token_that_is_not_valid_is_blocked_within_http_200(street: Street, whitelist: str) -> None:
    await street.push(valid=False, whitelist=whitelist)
    reply = await street.ask(body=HERE)
    assert (reply.status, reply.code) == (200, 1000)
    info = reply.ocpi["data"]
    assert (info["allowed"], info["token"]["valid"]) == ("BLOCKED", False)
    assert info.keys() == {"allowed", "token"}
    (event,) = await street.authorizations()
    assert json.loads(event.payload)["location"] == HERE


@pytest.mark.parametrize("whitelist", ["ALWAYS", "ALLOWED", "ALLOWED_OFFLINE", "NEVER"])
async def test_point_26_whitelist_says_when_to_ask_and_nothing_of_the_answer(street: Street, whitelist: str) -> None:
    await street.push(whitelist=whitelist)
    assert (await street.ask()).ocpi["data"]["allowed"] == "ALLOWED"


async def test_a_token_that_was_just_blocked_is_blocked(street: Street) -> None:
    await street.push()
    assert (await street.ask()).ocpi["data"]["allowed"] == "ALLOWED"
    change = {"valid": False, "last_updated": "2026-09-20T10:06:00Z"}
    await street.world.ask("PATCH", "tokens/DE/MSP/04E1", change, token=street.secrets["msp"])
    assert (await street.ask()).ocpi["data"]["allowed"] == "BLOCKED"


@pytest.mark.parametrize("query", ["?type=APP_USER", "?token_type=APP_USER", "?type=app_user"])
async def test_a_token_is_asked_for_by_its_type(street: Street, query: str) -> None:
    await street.push(valid=False)
    await street.push(type="APP_USER")
    assert (await street.ask(at(query=query))).ocpi["data"]["token"]["type"] == "APP_USER"
    assert (await street.ask()).ocpi["data"]["allowed"] == "BLOCKED"


@pytest.mark.parametrize("body", [b"", b"  \n", b"null"])
async def test_nothing_need_be_said_of_the_place(street: Street, body: bytes) -> None:
    """Never OCPI 2002: whether a Token may charge depends on nothing but the Token."""
    await street.push()
    reply = await street.ask(body=body)
    assert (reply.code, reply.ocpi["data"]["allowed"]) == (1000, "ALLOWED")
    assert "location" not in reply.ocpi["data"]


async def test_a_place_without_evses_is_given_back_so(street: Street) -> None:
    await street.push()
    assert (await street.ask(body={"location_id": "LOC1"})).ocpi["data"]["location"] == {"location_id": "LOC1"}
    assert (await street.ask(body={"location_id": "Ü", "evse_uids": []})).ocpi["data"]["location"] == {
        "location_id": "Ü", "evse_uids": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [{}, [], 7, "LOC1", {"location_id": ""}, {"location_id": 7}, {"location_id": "x" * 37}, {"evse_uids": ["1"]},
     {"location_id": "L", "evse_uids": "1"}, {"location_id": "L", "evse_uids": [1]}, {"location_id": "L", "evse_uids": [""]}],
)  # fmt: skip
async def test_a_place_that_is_none_is_2001_and_kept(street: Street, body: object) -> None:
    await street.push()
    reply = await street.ask(body=json.dumps(body).encode())
    assert (reply.status, reply.code) == (200, 2001)
    assert await street.authorizations() == []
    (rejected,) = await street.world.rejected()
    assert json.loads(rejected.body) == body


@pytest.mark.parametrize("body", [b"{", b'{"location_id": "L", "location_id": "M"}', b"\xff", b"[" * 10_000])
async def test_a_place_that_is_no_json_is_http_400(street: Street, body: bytes) -> None:
    reply = await street.ask(body=body)
    assert (reply.status, reply.code) == (400, 2001)


# --- whose token ----------------------------------------------------------------------------------------------------


async def test_of_several_owners_the_valid_one_is_meant_then_the_first(street: Street) -> None:
    await street.push("rival")
    await street.push("msp")
    assert (await street.ask()).ocpi["data"]["token"]["party_id"] == "RIV"
    await street.push("rival", valid=False, last_updated="2026-09-20T10:06:00Z")
    assert (await street.ask()).ocpi["data"]["token"]["party_id"] == "MSP"
    findings = [finding.rule for event in await street.authorizations() for finding in event.findings]
    assert findings == ["ambiguous_token", "ambiguous_token"]


async def test_the_owner_that_the_request_is_addressed_to_is_meant(street: Street) -> None:
    await street.push("rival")
    await street.push("msp")
    to = {"OCPI-to-country-code": "de", "OCPI-to-party-id": "msp"}
    reply = await street.ask(headers=to)
    assert reply.ocpi["data"]["token"]["party_id"] == "MSP"
    (event,) = await street.authorizations()
    assert (event.party, event.ocpi_to, event.findings) == ("DE*MSP", "DE*MSP", ())


async def test_a_partner_that_is_addressed_and_has_no_such_token_knows_none(street: Street) -> None:
    await street.push("rival")
    assert (await street.ask(headers={"OCPI-to-country-code": "DE", "OCPI-to-party-id": "MSP"})).code == 2004
    ours = {"OCPI-to-country-code": "ZZ", "OCPI-to-party-id": "RML"}
    assert (await street.ask(headers=ours)).ocpi["data"]["allowed"] == "ALLOWED"


async def test_an_emsp_may_ask_about_its_own_tokens_alone(street: Street) -> None:
    await street.push("msp")
    assert (await street.ask(by="msp")).code == 1000
    assert (await street.ask(by="rival")).code == 2004


async def test_a_stranger_gets_401(street: Street) -> None:
    await street.push()
    for token in (None, "nobody"):
        assert (await street.world.ask("POST", at(), token=token)).status == 401
    assert await street.authorizations() == []


# --- when it cannot be told -----------------------------------------------------------------------------------------


async def test_what_is_not_recorded_is_not_answered(street: Street) -> None:
    await street.push()
    street.world.log.unavailable = "the disk is full"
    reply = await street.ask()
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, 3000, "5")
    assert "data" not in reply.ocpi
    assert await street.authorizations() == []


async def test_a_token_that_the_tables_may_not_know_yet_is_503_and_not_unknown(street: Street) -> None:
    street.world.tables.stalled = True
    await street.push()
    reply = await street.ask()
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, 3000, "5")
    street.world.tables.stalled = False
    assert (await street.ask()).code == 1000


async def test_while_the_tables_lag_what_they_know_is_answered(street: Street) -> None:
    await street.push()
    await street.ask()
    street.world.tables.stalled = True
    assert (await street.ask()).ocpi["data"]["allowed"] == "ALLOWED"
    assert (await street.ask()).ocpi["data"]["allowed"] == "ALLOWED"


async def test_without_the_tables_it_is_503(street: Street) -> None:
    await street.push()
    street.world.tables.away = True
    assert (await street.ask()).status == 503


# --- paths and verbs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_authorize_is_only_posted(street: Street, method: str) -> None:
    reply = await street.ask(method=method)
    assert (reply.status, reply.code, reply.headers["allow"]) == (405, 2000, "POST")


@pytest.mark.parametrize("uid", ["04%2FE1", "a b", "%C3%A9", "authorize"])
async def test_a_uid_may_hold_what_a_path_may_not(street: Street, uid: str) -> None:
    from urllib.parse import quote, unquote

    await street.world.ask("PUT", f"tokens/DE/MSP/{uid}", TOKEN | {"uid": unquote(uid)}, token=street.secrets["msp"])
    reply = await street.ask(at(quote(unquote(uid), safe="")) + "/")
    assert (reply.code, reply.ocpi["data"]["token"]["uid"]) == (1000, unquote(uid))


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/ocpi/2.9/sender/tokens/04E1/authorize", 404, 3002),
        ("/ocpi/2.2.1/sender/tokens/x/04E1/authorize", 404, 2000),
        ("/ocpi/2.2.1/sender/tokens/%00/authorize", 404, 2001),
        ("/ocpi/2.2.1/sender/tokens/%FF/authorize", 404, 2001),
        ("/ocpi/2.2.1/sender/tokens/x/charging_preferences", 404, 2000),
        ("/ocpi/2.2.1/sender/tokens/04E1/authorize?type=RFID&type=OTHER", 200, 2001),
    ],
)
async def test_other_paths_are_refused_in_ocpi(street: Street, path: str, status: int, code: int) -> None:
    reply = await street.ask(path)
    assert (reply.status, reply.code) == (status, code)


async def test_charging_preferences_are_404_with_2001(street: Street) -> None:
    path = "/ocpi/2.2.1/sender/sessions/S1/charging_preferences"
    reply = await street.ask(path, {"profile_type": "CHEAP"}, by="msp", method="PUT")
    assert (reply.status, reply.code) == (404, 2001)
    assert (await street.ask(path, method="POST")).headers["allow"] == "PUT"


async def test_writes_first_takes_what_is_written_to_a_sender_and_leaves_the_rest(street: Street) -> None:
    from starlette.responses import PlainTextResponse

    world = street.world
    world.app = WritesFirst(
        PlainTextResponse('"the rest"'), world.push, world.registry, world.clock, world.metrics, authorize=world.authorize
    )
    await street.push()
    assert (await street.ask()).code == 1000
    for method, path in (("POST", "/ocpi/2.2.1/sender/tokens"), ("GET", at()), ("POST", "/ocpi/2.2.1/sender/tokens/04E1")):
        assert str((await street.ask(path, method=method)).ocpi) == "the rest"


async def test_nobody_waits_for_an_authorization_that_is_replayed(street: Street) -> None:
    await street.ask()
    (rejected,) = await street.world.rejected()
    world = street.world
    replay = Replay(log=world.log, push=world.push, registry=world.registry, dialects={}, clock=world.clock)
    with pytest.raises(NotReplayable, match="nobody waits"):
        await replay.replay(rejected)


async def test_authorizations_are_counted_by_their_outcome(street: Street) -> None:
    await street.push()
    await street.push(uid="04E2", valid=False)
    for path, body in ((at(), b""), (at("04E2"), b""), (at("04E3"), b""), (at(), b"7")):
        await street.ask(path, body)
    samples = [
        (sample.labels["outcome"], sample.value)
        for metric in street.world.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "roamlog_authorizations_total"
    ]
    assert samples == [("allowed", 1), ("blocked", 1), ("unknown", 1), ("refused", 1)]
