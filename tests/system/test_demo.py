"""The demo: what it shows is true, and it would notice if it were not."""

import json
import random
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from serving import command

from roamlog.demo.checker import differences, differing
from roamlog.demo.story import Story, stories
from roamlog.demo.world import world
from schemas.ocpi.discovery import discover
from schemas.types import Module, Verb

NOW = datetime(2026, 10, 28, 12, tzinfo=UTC)


def told(seed: int, count: int = 300) -> list[Story]:
    made = world(seed)
    return [story for operator in made.operators for story in stories(made, operator, count, seed, NOW)]


@pytest.mark.system
def test_the_demo_ends_well_and_prints_what_it_checked() -> None:
    done = command("demo", "--sessions", "100")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "✗" not in done.stdout
    for line in (
        "✓ every request was answered",
        "Sessions on 1 page of the eMSP's list equal",
        "✓ roamlog verify:",
        "✓ SIGTERM ended serve",
    ):
        assert line in done.stdout


@pytest.mark.system
def test_the_demo_as_json_holds_every_figure_and_check() -> None:
    done = command("demo", "--sessions", "50", "--seed", "7", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [check["wrong"] for check in said["checks"]] == [[]] * 7
    assert sum(row["sessions"] for row in said["analytics"]["sessions/by-status"]) == 50


def test_the_same_seed_tells_the_same_story_and_another_one_another() -> None:
    assert told(1, 20) == told(1, 20)
    assert told(1, 20) != told(2, 20)


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


def test_what_the_platforms_believe_is_clean_ocpi_but_for_the_dirt_that_stays_in_it() -> None:
    dialect = discover()["2.2.1"]
    for story in random.Random(1).sample(told(1), 60):
        for step in story.steps:
            if step.dirt in {"", "duplicate", "late", "reordered", "credit CDR", "corrected CDR"}:
                lifted = dialect.lift(Module(step.module), Verb(step.verb), step.body)
                assert [finding for finding in lifted.findings if finding.rule != "unknown_field"] == []


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
