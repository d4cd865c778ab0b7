"""Under load and through faults nothing that was answered is lost, and everything is folded once: a short form of `make chaos`."""

from pathlib import Path

import chaos
import pytest
from chaos import Plan
from charging import put
from history import Outcome, Pushed, Pusher, Served, judged
from msgspec.structs import replace

from schemas.events import Envelope
from schemas.types import date_time

SHORT = (
    *("kill streams", "freeze streams", "terminate streams", "kill ingest", "terminate ingest", "kill api", "kill broker"),
    *("clickhouse away", "a worker joins", "cut kafka", "cut clickhouse", "delay kafka"),
)


@pytest.mark.system
async def test_faults_under_load_lose_nothing_that_was_answered(kafka_address: str, tmp_path: Path) -> None:
    plan = Plan(7, SHORT, pushers=8, ingests=1, frozen_s=8, away_s=3, pause_s=1, bound_s=240)
    told = await chaos.run(plan, tmp_path)
    print(told)  # noqa: T201
    assert told["sentences"] == []
    assert (told["lost"], told["wrong"], told["defects"], told["not_done"]) == (0, 0, [], [])
    assert told["answered"] > 0
    assert told["records"] > 0


# --- what the history of a run is judged by ----------------------------------------------------------------------------


def pushed(number: int, outcome: Outcome, *, whole: bool = False) -> Pushed:
    """The push so many seconds after the first, of the Session s1."""
    stamp = date_time(1_790_000_000_000_000 + number * 1_000_000)
    fields = {"kwh": number, "last_updated": stamp} | ({"status": "ACTIVE"} if whole else {})
    return Pushed(f"p.{number}", "sessions/s1", stamp, fields, whole, outcome)


def events(*numbers: int) -> list[Envelope]:
    """The events of those pushes, as the log has them."""
    return [replace(put(number), request_id=f"p.{number}") for number in numbers]


def found(number: int) -> Served:
    """What is served where the push of that number came last."""
    return Served({"sessions/s1": {"status": "ACTIVE"} | dict(pushed(number, "answered").fields)}, [])


def by_one(*all_pushed: Pushed) -> list[Pusher]:
    """A partner that pushed these."""
    one = Pusher.__new__(Pusher)
    one.pushed, one.wrong = list(all_pushed), []
    return [one]


ANSWERED = (pushed(0, "answered", whole=True), pushed(1, "answered"))


def test_a_history_in_which_all_stands_is_well() -> None:
    verdict = judged(by_one(*ANSWERED), events(0, 1), found(1))
    assert (verdict.lost, verdict.wrong, verdict.answered, verdict.records) == ([], [], 2, 2)


def test_a_push_that_was_answered_and_is_not_in_the_log_is_lost() -> None:
    verdict = judged(by_one(*ANSWERED), events(0), found(0))
    assert verdict.lost == ["p.1 sessions/s1 was answered 1000 and is not in the log"]


def test_an_object_that_nobody_serves_is_lost() -> None:
    assert judged(by_one(*ANSWERED), events(0, 1), Served({}, [])).lost == ["sessions/s1 is not served"]


def test_an_older_state_is_wrong() -> None:
    told = judged(by_one(*ANSWERED), events(0, 1), found(0)).wrong
    assert [sentence.partition(" ")[0] for sentence in told] == ["sessions/s1.kwh", "sessions/s1.last_updated"]


def test_an_object_that_is_listed_twice_or_was_never_pushed_is_wrong() -> None:
    served = Served(found(1).objects | {"sessions/s2": {}}, ["s1"])
    told = judged(by_one(*ANSWERED), events(0, 1), served).wrong
    assert told == ["s1 is listed twice", "sessions/s2 is served, and nobody pushed it"]


@pytest.mark.parametrize("stands", [False, True])
def test_of_a_push_that_got_no_answer_the_log_says_whether_it_stands(stands: bool) -> None:
    history = by_one(*ANSWERED, pushed(2, "unknown"))
    verdict = judged(history, events(0, 1, 2) if stands else events(0, 1), found(2 if stands else 1))
    assert (verdict.lost, verdict.wrong, verdict.unknown_that_stand) == ([], [], stands)
    assert judged(history, events(0, 1, 2) if stands else events(0, 1), found(1 if stands else 2)).wrong
