"""The demo: what it shows is true, and it would notice if it were not."""

import json
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from serving import command

from roamlog.demo.card import cards, questions
from roamlog.demo.checker import differences, differing
from roamlog.demo.checks import Check, authorized, priced
from roamlog.demo.figures import Times, Wanted, compared, figures, seconds_by_day
from roamlog.demo.offer import offer
from roamlog.demo.place import Change, Place, places
from roamlog.demo.platforms import OperatorPlatform, Script
from roamlog.demo.play import QUESTIONS
from roamlog.demo.step import TAKEN
from roamlog.demo.story import Story, stories
from roamlog.demo.world import world
from schemas.ocpi.dialect import Level
from schemas.ocpi.discovery import discover
from schemas.types import Module, Verb

NOW = datetime(2026, 10, 28, 12, tzinfo=UTC)


def told(seed: int, count: int = 300) -> list[Story]:
    made = world(seed)
    return [story for operator in made.operators for story in stories(made, operator, count, seed, NOW)]


def placed(seed: int, count: int = 300) -> list[Place]:
    made = world(seed)
    return [
        place
        for operator in made.operators
        for place in places(made, operator, [one.charging for one in stories(made, operator, count, seed, NOW)], seed, NOW)
    ]


@pytest.mark.system
def test_the_demo_ends_well_and_prints_what_it_checked() -> None:
    done = command("demo", "--sessions", "100")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "✗" not in done.stdout
    for line in (
        "✓ every request was answered",
        "212 Locations on 1 page of the eMSP's list equal",
        "367 Tokens on 1 page of Wattspoor's list equal",
        "80 authorizations in real time were answered rightly: ",
        "EVSEs by status and country agree",
        "local days of EVSEs are used as the operators saw it, to the second",
        "16 Tariffs on 1 page of the eMSP's list equal",
        "Sessions on 1 page of the eMSP's list equal",
        "neighbours on 2.1.1 and 2.0 read back are what they sent",
        "59 CDRs that name no Session were linked with theirs",
        "212 Locations from operators on three versions are read in 2.3.0, the neighbours' field by field",
        "✓ roamlog verify:",
        "✓ SIGTERM ended serve",
    ):
        assert line in done.stdout


@pytest.mark.system
def test_the_demo_as_json_holds_every_figure_and_check() -> None:
    done = command("demo", "--sessions", "50", "--seed", "7", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [check["wrong"] for check in said["checks"]] == [[]] * 20
    neighbours = {"LU*ALT": 30, "EE*URV": 29}  # one of them takes a Session back, as 2.0 allows
    counted = Counter[str]()
    for row in said["analytics"]["sessions/by-status"]:
        counted[row["party"]] += row["sessions"]
    assert {party: counted.pop(party) for party in neighbours} == neighbours
    assert counted.total() == 50


def test_the_same_seed_tells_the_same_story_and_another_one_another() -> None:
    assert told(1, 20) == told(1, 20)
    assert told(1, 20) != told(2, 20)
    assert placed(1, 20) == placed(1, 20)
    assert placed(1, 20) != placed(2, 20)


def test_every_kind_of_dirt_occurs() -> None:
    kinds = {step.dirt for story in told(1, 1000) for step in story.steps}
    assert kinds == {
        *(
            "",
            "late",
            "reordered",
            "duplicate",
            "answer lost, sent again",
            "PATCH before PUT",
            "broken JSON",
            "another party's Session",
        ),
        *("unknown field", "time without a zone", "value that OCPI does not know", "mandatory field missing"),
        *("credit CDR", "corrected CDR", "CDR changed afterwards", "CDR without session_id"),
    }


def test_every_kind_of_dirt_occurs_at_the_sites_too() -> None:
    assert {step.dirt for place in placed(1) for step in place.steps} == {
        *("", "late status", "reordered status", "duplicate", "answer lost, sent again", "broken JSON"),
        *("Location without its latitude", "another party's Location", "value that OCPI does not know"),
        "status of an EVSE that nobody knows",
    }


def test_two_hundred_sites_stand_in_six_countries() -> None:
    sites = [site for operator in world(1).operators for site in operator.sites]
    assert len({site.id for site in sites}) == 200
    assert {site.market.country for site in sites} == {"NLD", "BEL", "PRT", "DEU", "AUT", "FIN"}
    assert {len(site.evses) for site in sites} == {1, 2, 3, 4, 5, 6}
    assert len({evse.uid for site in sites for evse in site.evses}) == sum(len(site.evses) for site in sites)


def test_the_status_of_an_evse_follows_its_sessions() -> None:
    happened = {(change.evse_uid, change.at, change.status) for place in placed(1) for change in place.changes}
    for charging in (story.charging for story in told(1)):
        if charging.ending == "completed":
            end = charging.at(len(charging.readings))
            assert (charging.evse.uid, charging.start + timedelta(seconds=2), "CHARGING") in happened
            assert (charging.evse.uid, end + timedelta(seconds=7), "AVAILABLE") in happened


def test_every_status_that_the_demo_needs_occurs() -> None:
    statuses = {evse["status"] for place in placed(1) for evse in place.location["evses"]}
    assert statuses == {"AVAILABLE", "CHARGING", "OUTOFORDER", "INOPERATIVE", "REMOVED"}
    assert any(place.unlisted for place in placed(1))


def test_what_the_platforms_believe_is_clean_ocpi_but_for_the_dirt_that_stays_in_it() -> None:
    dialect = discover()["2.2.1"]
    for story in random.Random(1).sample(told(1), 60):
        for step in story.steps:
            if step.dirt in {"", "duplicate", "late", "reordered", "credit CDR", "corrected CDR"}:
                lifted = dialect.lift(Module(step.module), Verb(step.verb), step.body)
                assert [finding for finding in lifted.findings if finding.rule != "unknown_field"] == []


def test_the_sites_are_clean_ocpi_but_for_what_is_refused() -> None:
    dialect = discover()["2.2.1"]
    levels: tuple[Level, ...] = ("location", "evse", "connector")
    for place in random.Random(1).sample(placed(1), 60):
        for step in place.steps:
            if step.wants == TAKEN:
                level = levels[len(step.path.split("/")) - 8]
                assert dialect.lift(Module("locations"), Verb(step.verb), step.body, level=level).findings == ()


def test_the_tariffs_are_clean_ocpi_but_for_what_is_refused() -> None:
    dialect = discover()["2.2.1"]
    steps = [step for operator in world(1).operators for step in offer(operator).steps]
    assert {step.dirt for step in steps} == {"", "late Tariff", "mandatory field missing", "deleted twice"}
    for step in steps:
        if step.verb == "PUT" and step.wants == TAKEN:
            assert dialect.lift(Module("tariffs"), Verb("PUT"), step.body).findings == ()


def test_the_tokens_are_clean_ocpi_but_for_what_is_refused() -> None:
    dialect = discover()["2.2.1"]
    steps = [step for card in cards(world(1), 1, NOW) for step in card.steps]
    assert {step.dirt for step in steps} == {
        *("", "duplicate", "broken JSON", "value that OCPI does not know", "late PATCH of a blocked Token"),
    }
    for step in steps:
        if step.wants == TAKEN:
            assert dialect.lift(Module("tokens"), Verb(step.verb), step.body).findings == ()


def test_an_authorization_that_is_answered_wrongly_is_found() -> None:
    made = world(1)
    asked = list(questions(made.operators[0], made, list(cards(made, 1, NOW)), 1))
    given = [
        one.info and one.info | ({"authorization_reference": str(number)} if one.info["allowed"] == "ALLOWED" else {})
        for number, one in enumerate(asked)
    ]
    assert authorized(asked, given).wrong == []
    allowed = next(number for number, info in enumerate(given) if info and info["allowed"] == "ALLOWED")
    right = given[allowed]
    assert right is not None
    path = asked[allowed].step.path
    for wrong, said in (
        (right | {"allowed": "BLOCKED"}, "/allowed is 'BLOCKED', not 'ALLOWED'"),
        ({name: value for name, value in right.items() if name != "authorization_reference"}, "authorization_reference is None"),
    ):
        assert authorized(asked, [*given[:allowed], wrong, *given[allowed + 1 :]]).wrong == [f"{path}: {said}"]
    assert len(authorized(asked[-1:], [right]).wrong) == len(right)


def test_every_figure_that_is_missing_is_found() -> None:
    operators = []
    for operator in world(1).operators:
        own = [story for story in told(1) if story.charging.operator == operator]
        script = Script(offer(operator), [place for place in placed(1) if place.site in operator.sites], own)
        operators.append(OperatorPlatform(operator, "token", "http://127.0.0.1:1", script))
    found = figures(operators, {path: [] for path in QUESTIONS}, Times(NOW, NOW, NOW))
    assert len(found) == 7
    assert all(check.wrong for check in found)


def test_rows_are_compared_by_their_key() -> None:
    wanted: Wanted = {("NL*WSP", "NLD"): {"evses": 3}}
    row = {"party": "NL*WSP", "country": "NLD", "evses": 3}
    key = ("party", "country")
    assert compared(wanted, [row], key) == []
    assert compared(wanted, [row, row], key) == ["NL*WSP NLD has two rows"]
    assert compared(wanted, [row, row | {"country": "BEL"}], key) == ["NL*WSP BEL should have no row"]
    assert compared(wanted, [], key) == ["NL*WSP NLD has no row"]
    assert compared(wanted, [row | {"evses": 4}], key) == ["NL*WSP NLD: /evses is 4, not 3"]


def test_a_status_is_counted_by_the_clock_of_its_site_for_a_day_at_most() -> None:
    # In the night to 2026-10-25 the clocks of Amsterdam are put back: the day begins at 22:00 UTC and has 25 hours.
    changes = [
        Change("1", datetime(2026, 10, 24, 22, tzinfo=UTC), "AVAILABLE"),
        Change("1", datetime(2026, 10, 25, 20, tzinfo=UTC), "CHARGING"),
    ]
    assert seconds_by_day(changes, ZoneInfo("Europe/Amsterdam")) == {
        date(2026, 10, 25): Counter(AVAILABLE=22 * 3600, CHARGING=3 * 3600),
        date(2026, 10, 26): Counter(CHARGING=21 * 3600),
    }


def test_a_session_that_costs_a_cent_too_much_is_found() -> None:
    operator = world(1).operators[0]
    sessions = [story.session for story in told(1, 20) if story.charging.operator == operator and story.session["charging_periods"]]
    tariffs = offer(operator).tariffs
    assert priced(sessions, tariffs) == Check(
        f"{len(sessions)} Sessions cost, to the cent, what the Tariffs on the eMSP's list say", []
    )
    dear = sessions[0] | {"total_cost": {name: cost + Decimal("0.01") for name, cost in sessions[0]["total_cost"].items()}}
    assert [line.split(": /")[0] for line in priced([dear], tariffs).wrong] == [f"NL*WSP {dear['id']}"] * 2
    tariff_id = dear["charging_periods"][0]["tariff_id"]
    assert priced(sessions[:1], []).wrong == [f"NL*WSP {dear['id']} names the Tariff {tariff_id}, which is not served"]


def test_meter_and_bill_agree() -> None:
    for story in told(1):
        periods = story.session["charging_periods"]
        energy = sum((one["volume"] for period in periods for one in period["dimensions"] if one["type"] == "ENERGY"), Decimal(0))
        assert energy == story.session["kwh"]
        assert all(cdr["total_energy"] == energy for cdr in story.cdrs)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"id": "1", "kwh": Decimal("1.50"), "at": "2026-10-01T08:00:00.000Z"}, []),
        ({"id": "1", "kwh": Decimal("1.51"), "at": "2026-10-01T08:00:00Z"}, ["/kwh is Decimal('1.51'), not Decimal('1.5')"]),
        (
            {"id": "1", "kwh": Decimal("1.5"), "at": "2026-10-01T08:00:01Z"},
            ["/at is '2026-10-01T08:00:01Z', not '2026-10-01T08:00:00'"],
        ),
        ({"id": "1", "kwh": Decimal("1.5")}, ["/at is gone"]),
        ({"id": "1", "kwh": Decimal("1.5"), "at": "2026-10-01T08:00:00Z", "x": None}, ["/x was made up"]),
    ],
)
def test_the_checker_compares_values_and_not_their_spelling(given: dict[str, object], said: list[str]) -> None:
    assert differing({"id": "1", "kwh": Decimal("1.5"), "at": "2026-10-01T08:00:00"}, given) == said


def test_the_checker_misses_no_object() -> None:
    one, two = ({"country_code": "NL", "party_id": "WSP", "id": name} for name in ("1", "2"))
    assert differences({"NL*WSP 1": one}, [one]) == []
    assert differences({"NL*WSP 1": one}, []) == ["NL*WSP 1 is not served"]
    assert differences({"NL*WSP 1": one}, [one, one]) == ["NL*WSP 1 is served twice"]
    assert differences({"NL*WSP 1": one}, [one, two]) == ["NL*WSP 2 is served to somebody whom it does not concern"]
