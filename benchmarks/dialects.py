"""`dialects`: what an OCPI version costs, on the way in (one Session) and on the way out (a page of 1,000)."""

import json
import time
from collections.abc import Callable
from typing import Final

from benchmarks import objects
from benchmarks.frame import Measure, Options, Ratio, Result, median_and_spread
from schemas.ocpi.dialect import Beside, Dialect
from schemas.ocpi.discovery import discover
from schemas.types import Module, Verb, instant

SESSIONS: Final = 1_000
PLACES: Final = 100
AGE: Final = 4
"""Charging periods of a Session."""

OWNER: Final = "NL*TNM"
BASE: Final = "2.2.1"
NEWEST: Final = "2.3.0"
RECEIVED_AT: Final = instant("2026-01-01T00:00:00Z")
PAGE_MS: Final = 40.0
HOLDING: Final[dict[str, float | None]] = {"2.0": None, "2.1.1": 1.5}
"""The versions whose Sessions hold a Location, and the goal of their lift beside that of 2.2.1."""

SPARED: Final = ("directions", "operator", "facilities", "opening_times", "charging_when_closed", "energy_mix")


async def run(options: Options) -> Result:
    """Lift a Session of each version beside one of 2.2.1, and lower a page to each version beside the canonical form."""
    rounds = options.pick(15, 5)
    dialects = discover()
    base = dialects[BASE]
    canonical = [base.lift(Module.SESSIONS, Verb.PUT, _text(_session(number))).payload for number in range(SESSIONS)]
    lean, whole = _besides(base, lean=True), _besides(base, lean=False)
    measures: list[Measure] = []
    ratios: list[Ratio] = []
    lifting, lowering = {}, {}
    for version, dialect in dialects.items():
        lifting[version] = _time(rounds, _lifts(dialect, bodies := _lowered(dialect, canonical, lean)))
        lowering[version] = _time(rounds, _lowers(dialect, canonical, lean))
        own = [dialect.lift(Module.SESSIONS, Verb.PUT, body, owner=OWNER, received_at=RECEIVED_AT).payload for body in bodies]
        measures += [
            Measure(f"lift a Session of {version}", lifting[version] / SESSIONS * 1_000_000, "us"),
            Measure(f"lower 1,000 of {BASE} to {version}", lowering[version] * 1000, "ms"),
            Measure(f"lower 1,000 of {version} to {version}", _time(rounds, _lowers(dialect, own, lean)) * 1000, "ms"),
        ]
    for version, dialect in dialects.items():
        ratios.append(Ratio(f"page of {BASE} to {version}, of {PAGE_MS:g} ms", lowering[version] * 1000 / PAGE_MS, 1.0, "<="))
        if version in HOLDING:
            ratios.append(Ratio(f"lift {version} / lift {BASE}", lifting[version] / lifting[BASE], HOLDING[version], "<="))
            taken = _time(rounds, _lifts(dialect, _lowered(dialect, canonical, whole)))
            ratios.append(Ratio(f"the same, with all that a Location has / lift {BASE}", taken / lifting[BASE]))
        if NEWEST in dialects and version != NEWEST:
            ratios.append(Ratio(f"lower to {version} / to {NEWEST}", lowering[version] / lowering[NEWEST]))
    remark = f"CPU time, the median of {rounds} rounds; {AGE} periods a Session, {PLACES} Locations as the examples have them"
    return Result(measures, ratios, [remark])


def _lowered(dialect: Dialect, documents: list[bytes], besides: list[Beside]) -> list[bytes]:
    lowered = [
        dialect.lower(Module.SESSIONS, document, beside=besides[number % PLACES]) for number, document in enumerate(documents)
    ]
    assert all(one.withheld is None for one in lowered)
    return [one.body for one in lowered]


def _lifts(dialect: Dialect, bodies: list[bytes]) -> Callable[[], object]:
    def lift() -> None:
        for body in bodies:
            dialect.lift(Module.SESSIONS, Verb.PUT, body, owner=OWNER, received_at=RECEIVED_AT)

    return lift


def _lowers(dialect: Dialect, documents: list[bytes], besides: list[Beside]) -> Callable[[], object]:
    def lower() -> None:
        for number, document in enumerate(documents):
            dialect.lower(Module.SESSIONS, document, beside=besides[number % PLACES])

    return lower


def _time(rounds: int, work: Callable[[], object]) -> float:
    """Return the median seconds of CPU."""
    taken = []
    work()
    for _ in range(rounds):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return median_and_spread(taken)[0]


def _session(number: int) -> objects.Body:
    place = f"LOC{number % PLACES}"
    ids = {"id": f"s-{number}", "location_id": place, "evse_uid": objects.evse_uid(0, place), "connector_id": "1"}
    return objects.session(AGE) | ids


def _besides(base: Dialect, *, lean: bool) -> list[Beside]:
    """Return Locations as the published Sessions hold them, `lean`, or with all that may be said."""
    location = objects.location(4)
    for field in SPARED if lean else ():
        del location[field]
    texts = (_text(location).replace(objects.LOCATION.encode(), b"LOC%d" % number) for number in range(PLACES))
    return [Beside(location=base.lift(Module.LOCATIONS, Verb.PUT, text).payload) for text in texts]


def _text(body: objects.Body) -> bytes:
    text = json.dumps(body, separators=(",", ":"))
    return text.replace(objects.PARTY, "TNM").replace(objects.UID, "04E1F2A3").encode()
