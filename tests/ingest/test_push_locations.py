"""What a CPO may push of its Locations, EVSEs and Connectors (OCPI 2.2.1 mod_locations, Receiver; requirements 2.1-2.4)."""

import asyncio
import json
from typing import Any

import pytest
from receiver import NOW, Reply, World
from samples import CONNECTOR, EVSE, LOCATION

from schemas.events import Envelope
from schemas.types import Module
from streams.clock import FixedClock
from streams.logs.memory import MemoryLog
from streams.topics import LOCATIONS

L1 = "locations/NL/TNM/LOC1"
E1 = f"{L1}/3256"
C1 = f"{E1}/1"


class Cpo:
    """The world with one partner, NL*TNM, asking."""

    def __init__(self, world: World, token: str) -> None:
        self.world = world
        self.token = token

    async def __call__(self, method: str, path: str, body: object = b"", **options: Any) -> Reply:
        return await self.world.ask(method, path, body, token=self.token, **options)

    async def events(self) -> list[Envelope]:
        return await self.world.envelopes(LOCATIONS)

    async def document(self, *ids: str) -> dict[str, Any]:
        """Return what a reader of the Location, the EVSE or the Connector would be served."""
        key = ("NL*TNM", *ids)
        found = await self.world.tables.documents(Module.LOCATIONS, [key])
        document: dict[str, Any] = json.loads(found[key])
        return document

    async def restarted(self) -> "Cpo":
        return Cpo(await self.world.restarted(), self.token)


@pytest.fixture
async def cpo() -> Cpo:
    world = World(MemoryLog(), FixedClock(NOW))
    return Cpo(world, (await world.partner()).token)


def status(status: str = "CHARGING", at: str = "2026-09-20T10:06:00Z", **fields: Any) -> dict[str, Any]:
    """Return the most frequent message of all."""
    return {"status": status, "last_updated": at} | fields


def without(sample: dict[str, Any], *fields: str) -> dict[str, Any]:
    return {field: value for field, value in sample.items() if field not in fields}


# --- three levels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [(L1, LOCATION, "location"), (f"{L1}/3257", EVSE | {"uid": "3257"}, "evse"), (f"{E1}/2", CONNECTOR | {"id": "2"}, "connector")],
)
async def test_a_put_at_each_level_is_durable_when_it_is_answered(cpo: Cpo, path: str, body: dict[str, Any], kind: str) -> None:
    if kind != "location":
        await cpo("PUT", L1, LOCATION)
    reply = await cpo("PUT", path, body)
    assert (reply.status, reply.ocpi) == (201, {"status_code": 1000, "timestamp": "2026-09-21T14:13:20Z"})
    event = (await cpo.events())[-1]
    assert (event.type, event.module, event.party, event.origin) == (f"{kind}.replaced", "locations", "NL*TNM", "push")
    assert event.key == tuple(path.split("/")[3:])
    assert json.loads(event.payload) == body
    assert (await cpo("PUT", path, body)).status == 200


@pytest.mark.parametrize(("path", "kind"), [(L1, "location"), (E1, "evse"), (C1, "connector")])
async def test_a_patch_of_what_came_nested_waits_for_nothing_but_the_log(cpo: Cpo, path: str, kind: str) -> None:
    await cpo("PUT", L1, LOCATION)
    cpo.world.tables.away = True
    asked = list(cpo.world.tables.asked)
    reply = await cpo("PATCH", path, {"last_updated": "2026-09-20T10:06:00Z"})
    assert (reply.status, reply.code) == (200, 1000)
    assert cpo.world.tables.asked == asked
    assert (await cpo.events())[-1].type == f"{kind}.patched"


async def test_the_whole_tree_stands_in_one_lane(cpo: Cpo) -> None:
    for path, body in ((L1, LOCATION), (E1, EVSE), (C1, CONNECTOR), ("locations/nl/tnm/loc1/3256/1", CONNECTOR)):
        assert (await cpo("PUT", path, body)).code == 1000
    assert {record.key async for record in cpo.world._records(LOCATIONS)} == {b"NL*TNM|loc1"}


async def test_the_key_is_spelled_as_the_path_spells_it(cpo: Cpo) -> None:
    await cpo("PUT", L1, LOCATION)
    assert (await cpo("PATCH", "locations/nl/tnm/Loc1/3256", status())).code == 1000
    assert (await cpo.events())[-1].key == ("Loc1", "3256")


async def test_point_21_one_location_in_any_spelling(cpo: Cpo) -> None:
    assert (await cpo("PUT", "locations/nl/tnm/loc1", LOCATION)).status == 201
    assert (await cpo("PUT", L1, LOCATION)).status == 200
    assert {event.party for event in await cpo.events()} == {"NL*TNM"}


@pytest.mark.parametrize("path", ["locations", "locations/NL/TNM", f"{C1}/x", f"{C1}/x/y", f"{L1}//1"])
async def test_a_path_that_is_no_part_of_the_tree_is_404(cpo: Cpo, path: str) -> None:
    await cpo("PUT", L1, LOCATION)
    for method, body in (("PUT", LOCATION), ("PATCH", status())):
        reply = await cpo(method, path, body)
        assert (reply.status, reply.code) == (404, 2001)
    assert len(await cpo.events()) == 1


@pytest.mark.parametrize("method", ["DELETE", "POST"])
@pytest.mark.parametrize("path", [L1, E1, C1])
async def test_point_19_delete_is_405_with_allow(cpo: Cpo, method: str, path: str) -> None:
    await cpo("PUT", L1, LOCATION)
    reply = await cpo(method, path, EVSE)
    assert (reply.status, reply.code, reply.headers["allow"]) == (405, 2000, "GET, PUT, PATCH")


# --- what the specification says of the tree ------------------------------------------------------------------------


async def test_point_13_an_evse_patch_moves_its_location_and_a_connector_patch_moves_both(cpo: Cpo) -> None:
    await cpo("PUT", L1, LOCATION)
    await cpo("PATCH", E1, status(at="2026-09-20T10:06:00Z"))
    assert (await cpo.document("loc1"))["last_updated"] == "2026-09-20T10:06:00Z"
    await cpo("PATCH", C1, {"max_amperage": 16, "last_updated": "2026-09-20T10:07:00Z"})
    location = await cpo.document("loc1")
    evse = location["evses"][0]
    assert [one["last_updated"] for one in (location, evse, evse["connectors"][0])] == ["2026-09-20T10:07:00Z"] * 3
    assert (evse["status"], evse["connectors"][0]["max_amperage"]) == ("CHARGING", 16)


async def test_point_18_a_put_without_a_name_clears_it_and_a_patch_without_keeps_it(cpo: Cpo) -> None:
    await cpo("PUT", L1, LOCATION)
    await cpo("PATCH", L1, {"city": "Utrecht", "last_updated": "2026-09-20T10:06:00Z"})
    location = await cpo.document("loc1")
    assert (location["name"], location["city"]) == ("Keizersgracht", "Utrecht")
    await cpo("PUT", L1, without(LOCATION, "name") | {"last_updated": "2026-09-20T10:07:00Z"})
    assert "name" not in await cpo.document("loc1")


async def test_point_19_a_removed_evse_can_still_be_had(cpo: Cpo) -> None:
    await cpo("PUT", L1, LOCATION)
    assert (await cpo("PATCH", E1, status("REMOVED"))).code == 1000
    assert (await cpo.document("loc1", "3256"))["status"] == "REMOVED"


async def test_an_evse_that_its_location_leaves_out_is_still_known(cpo: Cpo) -> None:
    await cpo("PUT", L1, LOCATION)
    await cpo("PUT", L1, without(LOCATION, "evses") | {"last_updated": "2026-09-20T10:06:00Z"})
    later = await cpo.restarted()
    assert (await later("PATCH", E1, status(at="2026-09-20T10:07:00Z"))).code == 1000
    assert [evse["uid"] for evse in (await later.document("loc1"))["evses"]] == ["3256"]


async def test_point_20_an_evse_is_found_by_its_uid_and_a_new_one_may_take_the_evse_id_of_a_removed_one(cpo: Cpo) -> None:
    await cpo("PUT", L1, LOCATION | {"evses": [without(EVSE, "evse_id")]})
    assert (await cpo("PATCH", E1, status("REMOVED"))).code == 1000
    assert (await cpo("PATCH", f"{L1}/NL*TNM*E1", status())).status == 404
    for uid in ("3257", "3258"):
        assert (await cpo("PUT", f"{L1}/{uid}", EVSE | {"uid": uid, "evse_id": "NL*TNM*E1"})).status == 201


async def test_a_patch_of_a_location_names_its_evses_by_uid(cpo: Cpo) -> None:
    await cpo("PUT", L1, LOCATION)
    change = {"evses": [{"uid": "3256", "status": "BLOCKED"}], "last_updated": "2026-09-20T10:06:00Z"}
    assert (await cpo("PATCH", L1, change)).code == 1000
    (*_, event) = await cpo.events()
    assert json.loads(event.payload)["upsert"]["evses"] == [{"set": {"uid": "3256", "status": "BLOCKED"}}]
    assert (await cpo.document("loc1"))["evses"][0]["status"] == "BLOCKED"


# --- below what nobody knows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "missing"),
    [
        ("PUT", "locations/NL/TNM/LOC9/3256", EVSE, "no location 'LOC9' of NL*TNM is known; PUT it first"),
        ("PUT", "locations/NL/TNM/LOC9/3256/1", CONNECTOR, "no evse '3256' in location 'LOC9' of NL*TNM is known; PUT it first"),
        ("PUT", f"{L1}/9/1", CONNECTOR, "no evse '9' in location 'LOC1' of NL*TNM is known; PUT it first"),
        ("PATCH", "locations/NL/TNM/LOC9", status(), "no location 'LOC9' of NL*TNM is known; PUT it first"),
        ("PATCH", f"{L1}/9", status(), "no evse '9' in location 'LOC1' of NL*TNM is known; PUT it first"),
        ("PATCH", f"{E1}/9", {"last_updated": "2026-09-20T10:06:00Z"},
         "no connector '9' in location 'LOC1' in evse '3256' of NL*TNM is known; PUT it first"),
    ],
)  # fmt: skip
async def test_what_stands_below_the_unknown_is_404_with_2003_and_kept_as_rejected(
    cpo: Cpo, method: str, path: str, body: dict[str, Any], missing: str
) -> None:
    await cpo("PUT", L1, LOCATION)
    reply = await cpo(method, path, body)
    assert (reply.status, reply.code, reply.ocpi["status_message"]) == (404, 2003, missing)
    assert len(await cpo.events()) == 1
    (rejected,) = await cpo.world.rejected()
    assert (json.loads(rejected.body), rejected.party, rejected.status_code) == (body, "NL*TNM", 2003)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("PUT", f"{L1}/3257", EVSE | {"uid": "3257"}), ("PUT", f"{E1}/2", CONNECTOR | {"id": "2"}),
     ("PATCH", E1, status()), ("PATCH", C1, {"last_updated": "2026-09-20T10:06:00Z"})],
)  # fmt: skip
async def test_after_a_restart_the_tables_tell_what_is_known(cpo: Cpo, method: str, path: str, body: dict[str, Any]) -> None:
    await cpo("PUT", L1, LOCATION)
    later = await cpo.restarted()
    assert (await later(method, path, body)).code == 1000
    assert len(await later.events()) == 2


@pytest.mark.parametrize(("method", "path", "body"), [("PUT", E1, EVSE), ("PATCH", E1, status())])
async def test_what_the_tables_cannot_tell_in_time_is_taken(cpo: Cpo, method: str, path: str, body: dict[str, Any]) -> None:
    await cpo("PUT", L1, LOCATION)
    later = await cpo.restarted()
    later.world.tables.stalled = True
    assert (await later(method, path, body)).code == 1000
    later.world.tables.away = True
    assert (await later(method, path, body)).code == 1000
    assert len(await later.events()) == 3


async def test_nothing_is_known_before_its_append_returned(cpo: Cpo) -> None:
    cpo.world.log.unavailable = "the disk is full"
    assert (await cpo("PUT", L1, LOCATION)).status == 503
    cpo.world.log.unavailable = ""
    assert (await cpo("PATCH", E1, status())).status == 404


async def test_patches_of_unknown_evses_share_their_reads(cpo: Cpo) -> None:
    await cpo("PUT", L1, LOCATION)
    before = len(cpo.world.tables.asked)
    replies = await asyncio.gather(*(cpo("PATCH", f"{L1}/X{number}", status()) for number in range(50)))
    assert {reply.status for reply in replies} == {404}
    assert len(cpo.world.tables.asked) - before <= 8


# --- bodies that are not of their path ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "reason"),
    [
        ("PATCH", E1, status(uid="3257"), "/uid: the object says '3257', its path '3256'"),
        ("PUT", E1, EVSE | {"uid": "3257"}, "/uid: the object says '3257', its path '3256'"),
        ("PATCH", C1, {"id": "2", "last_updated": "2026-09-20T10:06:00Z"}, "/id: the object says '2', its path '1'"),
        ("PUT", C1, CONNECTOR | {"id": "2"}, "/id: the object says '2', its path '1'"),
        ("PUT", L1, LOCATION | {"id": "LOC2"}, "/id: the object says 'LOC2', its path 'LOC1'"),
        ("PUT", L1, LOCATION | {"country_code": "DE"}, "the object says DE*TNM, its path NL*TNM"),
        ("PATCH", L1, {"id": "LOC2", "last_updated": "2026-09-20T10:06:00Z"}, "/id: the object says 'LOC2', its path 'LOC1'"),
    ],
)  # fmt: skip
async def test_an_object_of_another_id_than_its_path_is_2001(
    cpo: Cpo, method: str, path: str, body: dict[str, Any], reason: str
) -> None:
    await cpo("PUT", L1, LOCATION)
    reply = await cpo(method, path, body)
    assert (reply.status, reply.code) == (200, 2001)
    assert reason in reply.ocpi["status_message"]
    assert len(await cpo.events()) == 1


@pytest.mark.parametrize("path", [L1, E1, C1])
async def test_point_14_a_patch_without_last_updated_is_2001_at_each_level(cpo: Cpo, path: str) -> None:
    await cpo("PUT", L1, LOCATION)
    reply = await cpo("PATCH", path, {})
    assert (reply.status, reply.code) == (200, 2001)
    assert "last_updated" in reply.ocpi["status_message"]


@pytest.mark.parametrize("field", ["standard", "format", "power_type", "max_voltage"])
async def test_a_connector_without_what_it_must_have_is_refused_wherever_it_stands(cpo: Cpo, field: str) -> None:
    await cpo("PUT", L1, LOCATION)
    bad = without(CONNECTOR, field)
    for path, body, pointer in (
        (C1, bad, f"/{field}"),
        (E1, EVSE | {"connectors": [bad]}, f"/connectors/0/{field}"),
        (L1, LOCATION | {"evses": [EVSE | {"connectors": [bad]}]}, f"/evses/0/connectors/0/{field}"),
    ):
        reply = await cpo("PUT", path, body)
        assert (reply.status, reply.code) == (200, 2001)
        assert pointer in reply.ocpi["status_message"]


# --- odd, and taken -------------------------------------------------------------------------------------------------


async def test_an_evse_that_moves_to_another_location_is_there_and_here(cpo: Cpo) -> None:
    other = LOCATION | {"id": "LOC2", "last_updated": "2026-09-20T10:06:00Z"}
    assert (await cpo("PUT", L1, LOCATION)).status == 201
    assert (await cpo("PUT", "locations/NL/TNM/LOC2", other)).status == 201
    assert (await cpo("PATCH", "locations/NL/TNM/LOC2/3256", status(at="2026-09-20T10:07:00Z"))).code == 1000
    assert (await cpo.document("loc1", "3256"))["status"] == "AVAILABLE"
    assert (await cpo.document("loc2", "3256"))["status"] == "CHARGING"


@pytest.mark.parametrize(
    ("coordinates", "rules"),
    [
        ({"latitude": "4.895168", "longitude": "52.370216"}, []),
        ({"latitude": "104.895168", "longitude": "52.370216"}, ["coordinates_out_of_range"]),
        ({"latitude": "52.370216", "longitude": "-180.000001"}, ["coordinates_out_of_range"]),
        ({"latitude": "52,37", "longitude": "4.9"}, ["coordinates", "coordinates"]),
    ],
)
async def test_odd_coordinates_are_taken_with_their_findings(cpo: Cpo, coordinates: dict[str, str], rules: list[str]) -> None:
    assert (await cpo("PUT", L1, LOCATION | {"coordinates": coordinates})).code == 1000
    (event,) = await cpo.events()
    assert [finding.rule for finding in event.findings] == rules
    assert json.loads(event.payload)["coordinates"] == coordinates


async def test_opening_hours_over_midnight_are_taken_as_they_are(cpo: Cpo) -> None:
    hours = {"twentyfourseven": False, "regular_hours": [{"weekday": 5, "period_begin": "22:00", "period_end": "06:00"}]}
    assert (await cpo("PUT", L1, LOCATION | {"opening_times": hours})).code == 1000
    assert (await cpo.document("loc1"))["opening_times"] == hours


@pytest.mark.parametrize("at", ["1970-01-01T00:00:00Z", "1970-1-1T00:00:00Z", "2099-12-31T23:59:59Z"])
async def test_a_status_of_any_day_is_taken(cpo: Cpo, at: str) -> None:
    await cpo("PUT", L1, LOCATION)
    assert (await cpo("PATCH", E1, status(at=at))).code == 1000
    assert len(await cpo.events()) == 2


async def test_an_unknown_status_is_refused(cpo: Cpo) -> None:
    await cpo("PUT", L1, LOCATION)
    reply = await cpo("PATCH", E1, status("OCCUPIED"))
    assert (reply.status, reply.code) == (200, 2001)
    assert "/status" in reply.ocpi["status_message"]


async def test_a_retried_status_has_the_event_id_of_the_first_and_that_of_another_evse_has_not(cpo: Cpo) -> None:
    await cpo("PUT", L1, LOCATION | {"evses": [EVSE, EVSE | {"uid": "3257"}]})
    for path in (E1, E1, f"{L1}/3257"):
        await cpo("PATCH", path, status())
    _, first, retry, other = [event.event_id for event in await cpo.events()]
    assert first == retry
    assert first != other


# --- large ----------------------------------------------------------------------------------------------------------


def large(evses: int, **fields: Any) -> dict[str, Any]:
    return LOCATION | {"evses": [EVSE | {"uid": f"E{number}"} | fields for number in range(evses)]}


@pytest.mark.parametrize("fields", [{}, {"x-vendor": 1}], ids=["clean", "with a finding in each EVSE"])
async def test_a_location_of_5000_evses_is_taken_while_others_are_answered(cpo: Cpo, fields: dict[str, Any]) -> None:
    await cpo("PUT", "locations/NL/TNM/LOC2", LOCATION | {"id": "LOC2"})
    putting = asyncio.ensure_future(cpo("PUT", L1, json.dumps(large(5000, **fields)).encode()))
    answered = 0
    while not putting.done():
        assert (await cpo("PATCH", "locations/NL/TNM/LOC2/3256", status())).code == 1000
        answered += 1
        await asyncio.sleep(0)
    assert (putting.result().status, putting.result().code) == (201, 1000)
    assert answered > 10
    cpo.world.tables.away = True
    asked = list(cpo.world.tables.asked)
    assert (await cpo("PATCH", f"{L1}/E4999", status())).code == 1000
    assert (await cpo("PATCH", f"{L1}/E0/1", {"last_updated": "2026-09-20T10:06:00Z"})).code == 1000
    assert cpo.world.tables.asked == asked


async def test_an_object_that_no_record_can_hold_is_413_and_kept(cpo: Cpo) -> None:
    world = World(MemoryLog(), FixedClock(NOW), body_bytes=10 * 1024 * 1024)
    token = (await world.partner()).token
    body = json.dumps({"name": "x" * 7_000_000, "last_updated": "2026-09-20T10:06:00Z"}).encode()
    await world.ask("PUT", L1, LOCATION, token=token)
    reply = await world.ask("PATCH", L1, body, token=token)
    assert (reply.status, reply.code) == (413, 2001)
    (rejected,) = await world.rejected()
    assert rejected.body == body
