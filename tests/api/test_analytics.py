"""The questions: exact sums, their numerators and denominators, and what they rest on."""

import csv
import hashlib
import io
import json
import statistics
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, cast

import msgspec
import pyarrow.ipc
import pyarrow.parquet
import pytest
from charging import entry, patch, put
from outlet import OPERATOR, SECOND, House, house
from receiver import cdr, session
from samples import EVSE, LOCATION, TARIFF, TOKEN

from api.analytics import Answered, questions
from api.filters import of_connection
from schemas import crawl as crawls
from schemas import envelope as envelopes
from schemas.crawl import CrawlEnded, CrawlStarted
from schemas.events import Envelope
from schemas.types import Finding, Module, date_time
from streams.ports import Entry, TableStore
from streams.topics import CRAWLS

PATHS = [f"/analytics/{question.path}" for question in questions()]


@pytest.fixture
async def home(store: TableStore) -> AsyncIterator[House]:
    async with house(store) as opened:
        yield opened


async def asked(home: House, path: str) -> dict[str, Any]:
    reply = await home.get(f"/analytics/{path}", OPERATOR)
    assert reply.status == 200, reply
    answer: dict[str, Any] = json.loads(reply.body, parse_float=Decimal)
    return answer


async def rows(home: House, path: str) -> list[dict[str, Any]]:
    return list((await asked(home, path))["rows"])


def completed(session_id: str, **fields: Any) -> dict[str, Any]:
    return session(session_id, status="COMPLETED", end_date_time="2026-09-20T11:00:00Z", **fields)


def test_every_question_is_found() -> None:
    assert [question.path for question in questions()] == [
        *("cdrs/lateness", "cdrs/revenue", "charging", "crawls", "drift", "energy", "evses/status", "findings", "ledger"),
        *("losses", "partners", "sessions/by-status", "utilisation"),
    ]


async def test_sessions_by_status_state_numerator_and_denominator(home: House) -> None:
    await home.push(session("S1", kwh=0.1), session("S2", kwh=0.2), completed("S3", kwh=7))
    await home.push(session("T1", country_code="BE", party_id="BEC", kwh=1), by="other")
    assert await rows(home, "sessions/by-status") == [
        {
            "party": "BE*BEC",
            "status": "ACTIVE",
            "sessions": 1,
            "sessions_of_party": 1,
            "share": 1,
            "energy_kwh": 1,
        },
        {
            "party": "NL*TNM",
            "status": "ACTIVE",
            "sessions": 2,
            "sessions_of_party": 3,
            "share": pytest.approx(Decimal(2) / 3),
            # 0.30000000000000004 in floats
            "energy_kwh": Decimal("0.3"),
        },
        {
            "party": "NL*TNM",
            "status": "COMPLETED",
            "sessions": 1,
            "sessions_of_party": 3,
            "share": pytest.approx(Decimal(1) / 3),
            "energy_kwh": 7,
        },
    ]


async def test_a_session_that_waits_for_its_put_lowers_the_coverage(home: House) -> None:
    await home.push(session("S2"))
    await home.log.append([entry(patch(5, kwh=3))])
    await home.fold()
    coverage = (await asked(home, "sessions/by-status"))["coverage"]
    assert (coverage["counted"], coverage["known"], coverage["share"]) == (1, 2, Decimal("0.5"))


async def test_energy_and_cost_stand_by_utc_day_party_and_currency(home: House) -> None:
    cost = {"excl_vat": 0.1, "incl_vat": 0.12}
    await home.push(
        session("S1", kwh=0.1, total_cost=cost, start_date_time="2026-09-20T23:59:59Z"),
        session("S2", kwh=0.2, total_cost=cost, start_date_time="2026-09-20T00:00:00Z"),
        session("S3", kwh=4, start_date_time="2026-09-21T00:00:00Z"),
        session("S4", kwh=1, currency="SEK", start_date_time="2026-09-21T00:00:00Z"),
    )
    credit = {"credit": True, "credit_reference_id": "C1", "total_cost": {"excl_vat": -10.0, "incl_vat": -12.1}}
    await home.post(
        cdr("C1", session_id="S1"),
        cdr("C2", session_id="S2", total_energy=0.7, total_cost={"excl_vat": 0.2, "incl_vat": 0.242}),
        cdr("C1-1", session_id="S1", **credit),
    )
    answer = await asked(home, "energy")
    first, second, third = answer["rows"]
    assert first == {
        "day": "2026-09-20",
        "party": "NL*TNM",
        "currency": "EUR",
        "sessions": 2,
        "energy_kwh": Decimal("0.3"),
        "sessions_with_cost": 2,
        "cost_before_taxes": Decimal("0.2"),
        "cdrs": 2,
        "credits": 1,
        # A credit CDR copies the energy that it takes back.
        "billed_energy_kwh": Decimal("0.7"),
        "billed_before_taxes": Decimal("0.2"),
        "billed_taxes": Decimal("0.042"),
    }
    assert (second["currency"], second["sessions"], second["sessions_with_cost"], second["cost_before_taxes"]) == ("EUR", 1, 0, 0)
    assert (third["currency"], third["energy_kwh"]) == ("SEK", 1)
    coverage = answer["coverage"]
    assert (coverage["counted"], coverage["known"], coverage["share"]) == (2, 4, Decimal("0.5"))


async def test_the_ledger_counts_standings_per_pair_and_currency(home: House) -> None:
    await home.push(completed("S1", kwh=20.5), completed("S2"), session("S3"))
    await home.post(cdr("C1", session_id="S1", total_cost={"excl_vat": 0.1, "incl_vat": 0.121}))
    found = await rows(home, "ledger")
    assert [(row["standing"], row["currency"], row["entries"], row["entries_of_pair"]) for row in found] == [
        ("open", "", 1, 3),
        ("unbilled", "", 1, 3),
        ("billed", "EUR", 1, 3),
    ]
    billed = found[2]
    assert (billed["party"], billed["addressed_to"]) == ("NL*TNM", "DE*MSP")
    assert (billed["session_energy_kwh"], billed["billed_energy_kwh"]) == (Decimal("20.5"), Decimal("20.5"))
    assert (billed["billed_before_taxes"], billed["billed_taxes"]) == (Decimal("0.1"), Decimal("0.021"))
    assert (billed["linked_entries"], billed["confidence"]) == (0, None)


async def test_the_ledger_says_how_sure_a_link_is(home: House) -> None:
    await home.push(completed("S1", kwh=20.5), completed("S2", evse_uid="E2") | {"end_date_time": "2026-09-20T10:40:00Z"})
    nameless = {name: value for name, value in cdr("C1").items() if name != "session_id"}
    await home.post(nameless, nameless | {"id": "C2", "cdr_location": nameless["cdr_location"] | {"evse_uid": "E2"}})
    await home.post(nameless | {"id": "C3", "cdr_location": nameless["cdr_location"] | {"evse_uid": "E3"}})
    assert [row["standing"] for row in await rows(home, "ledger")] == ["unbilled", "orphan"]
    assert home.runtime.linker is not None
    while await home.runtime.linker.turn():
        await home.fold()
    billed, orphan = await rows(home, "ledger")
    assert (orphan["standing"], orphan["entries"], orphan["confidence"]) == ("orphan", 1, None)
    assert (billed["standing"], billed["entries"], billed["linked_entries"]) == ("billed", 2, 2)
    # 40 of the hour that the CDR of C2 bills: the mean of all of the Session and two thirds of the CDR.
    assert billed["confidence"] == Decimal("0.83")
    assert billed["entries_of_pair"] == 3


async def test_findings_are_counted_by_rule_and_party(home: House) -> None:
    ahead = "2027-09-20T10:05:00Z"
    await home.push(session("S1", last_updated=ahead), session("S2"), session("S3"))
    await home.push(session("S1", kwh=9, last_updated="2027-09-20T10:06:00Z"))
    (found,) = [row for row in await rows(home, "findings") if row["rule"] == "clock_ahead"]
    assert (found["party"], found["module"], found["severity"]) == ("NL*TNM", "sessions", "warning")
    assert (found["findings"], found["objects"], found["objects_of_party"]) == (2, 1, 3)
    assert found["first_at"] < found["last_at"]


async def test_a_question_is_narrowed_by_owner_and_interval(home: House) -> None:
    await home.push(session("S1", start_date_time="2026-09-19T10:00:00Z"), session("S2", start_date_time="2026-09-20T00:00:00Z"))
    await home.push(session("T1", country_code="BE", party_id="BEC"), by="other")

    async def sessions(query: str) -> int:
        return sum(row["sessions"] for row in await rows(home, f"sessions/by-status?{query}"))

    assert await sessions("") == 3
    assert await sessions("party=nl*tnm") == 2
    assert await sessions("party=NL*TNM&from=2026-09-20") == 1
    assert await sessions("party=NL*TNM&to=2026-09-20") == 1
    assert await sessions("party=NL*TNM&from=2026-09-19T10:00:00Z&to=2026-09-19T10:00:01Z") == 1
    assert await sessions("party=FR*RIV") == 0
    answer = await asked(home, "energy?party=NL*TNM&from=2026-09-20")
    assert answer["filters"] == {"party": "NL*TNM", "from": "2026-09-20T00:00:00Z", "to": None}


async def test_evses_stand_by_party_country_location_and_status(home: House) -> None:
    charging = EVSE | {"uid": "2", "status": "CHARGING", "last_updated": "2026-01-31T12:00:00Z"}
    await home.put("locations/NL/TNM/LOC1", LOCATION | {"evses": [EVSE, charging, EVSE | {"uid": "3"}]})
    await home.put("locations/NL/TNM/LOC2", LOCATION | {"id": "LOC2", "country": "BEL", "evses": [charging]})
    expected = {"party": "NL*TNM", "country": "NLD", "location_id": "loc1", "evses_of_place": 3}
    assert (await rows(home, "evses/status"))[1:] == [
        expected
        | {"status": "AVAILABLE", "evses": 2, "share": pytest.approx(Decimal(2) / 3), "oldest": "2026-01-31T11:00:01.000000Z"},
        expected
        | {"status": "CHARGING", "evses": 1, "share": pytest.approx(Decimal(1) / 3), "oldest": "2026-01-31T12:00:00.000000Z"},
    ]

    async def counted(query: str) -> list[tuple[str, str, str, int, int]]:
        found = await rows(home, f"evses/status?{query}")
        return [(row["country"], row["location_id"], row["status"], row["evses"], row["evses_of_place"]) for row in found]

    # A status narrows the rows, not what they are a share of.
    assert await counted("status=CHARGING&country=nld") == [("NLD", "loc1", "CHARGING", 1, 3)]
    assert await counted("location=LOC2") == [("BEL", "loc2", "CHARGING", 1, 1)]
    assert await counted("status=CHARGING&by=party") == [("", "", "CHARGING", 2, 4)]
    assert await counted("status=charging&by=country") == [("BEL", "", "CHARGING", 1, 1), ("NLD", "", "CHARGING", 1, 3)]
    assert await counted("party=BE*BEC") == []
    answer = await asked(home, "evses/status?status=CHARGING&location=LOC1")
    assert answer["filters"] == {"party": None, "from": None, "to": None, "status": "CHARGING", "location": "loc1"}


async def test_an_evse_that_left_its_location_is_not_counted(home: House) -> None:
    await home.put("locations/NL/TNM/LOC1", LOCATION)
    await home.put("locations/NL/TNM/LOC1", LOCATION | {"evses": [EVSE | {"uid": "new"}], "last_updated": "2026-02-01T00:00:00Z"})
    (row,) = await rows(home, "evses/status")
    assert (row["evses"], row["evses_of_place"]) == (1, 1)


async def test_sessions_stand_on_the_local_day_of_their_location(home: House) -> None:
    await home.put("locations/NL/TNM/LOC1", LOCATION)
    await home.push(
        session("S1", kwh=0.1, start_date_time="2026-03-28T22:59:59Z"),  # 23:59:59 on the 28th
        session("S2", kwh=0.2, start_date_time="2026-03-28T23:00:00Z"),
        completed("S3", kwh=0.4, start_date_time="2026-03-29T21:59:59Z", evse_uid="E2"),  # summer time by now
        session("S4", kwh=8, start_date_time="2026-03-29T22:00:00Z"),
        session("S5", kwh=1, start_date_time="2026-03-29T22:00:00Z", location_id="nowhere"),
    )
    found = await rows(home, "charging")
    names = ("day", "location_id", "time_zone", "sessions", "completed", "energy_kwh", "evses")
    assert [tuple(row[name] for name in names) for row in found] == [
        ("2026-03-28", "loc1", "Europe/Amsterdam", 1, 0, Decimal("0.1"), 1),
        # 0.6000000000000001 in floats
        ("2026-03-29", "loc1", "Europe/Amsterdam", 2, 1, Decimal("0.6"), 2),
        ("2026-03-29", "nowhere", "", 1, 0, 1, 1),
        ("2026-03-30", "loc1", "Europe/Amsterdam", 1, 0, 8, 1),
    ]
    (sunday,) = await rows(home, "charging?from=2026-03-29&to=2026-03-30&country=NLD")
    assert (sunday["sessions"], sunday["energy_per_session_kwh"]) == (2, Decimal("0.3"))
    coverage = (await asked(home, "charging"))["coverage"]
    assert (coverage["counted"], coverage["known"]) == (4, 5)


LATE = (14 * 60, 15 * 60, 15 * 60 + 1, 86_400, 3 * 86_400, 90 * 86_400, 90 * 86_400 + 1, -60)


async def test_lateness_of_cdrs_is_exact_and_knows_its_limits(home: House) -> None:
    for number, late in enumerate(LATE):
        end = date_time(home.clock.now() - late * SECOND)
        begun = "2026-01-01T00:00:00Z"
        await home.post(cdr(f"C{number}", session_id=f"S{number}", start_date_time=begun, end_date_time=end, last_updated=end))
    await home.post(cdr("unknown", session_id="U", start_date_time="1970-01-01T00:00:00Z", end_date_time="1970-01-01T00:00:00Z"))
    credit = {"credit": True, "credit_reference_id": "C1", "total_cost": {"excl_vat": -10.0, "incl_vat": -12.1}}
    await home.post(cdr("C1-1", session_id="S1", **credit))
    answer = await asked(home, "cdrs/lateness")
    (row,) = answer["rows"]
    assert (row["party"], row["addressed_to"], row["cdrs"]) == ("NL*TNM", "DE*MSP", 8)
    assert float(row["p50_s"]) == statistics.median(LATE)
    assert float(row["p95_s"]) == pytest.approx(statistics.quantiles(LATE, n=20, method="inclusive")[18])
    assert (row["within_15_min"], row["within_24_h"], row["within_72_h"], row["after_90_days"]) == (3, 5, 6, 1)
    assert (row["share_within_24_h"], row["share_after_90_days"]) == (Decimal("0.625"), Decimal("0.125"))
    assert (answer["coverage"]["counted"], answer["coverage"]["known"]) == (8, 9)


async def test_revenue_stands_by_pair_and_currency(home: House) -> None:
    to_rival = {"cdr_token": cdr()["cdr_token"] | {"country_code": "FR", "party_id": "RIV"}}
    cost = {"excl_vat": 0.1, "incl_vat": 0.12}
    credit = {"credit": True, "credit_reference_id": "C2", "total_cost": {"excl_vat": -0.2, "incl_vat": -0.24}, "total_energy": 2}
    await home.post(
        cdr("C1", session_id="S1", total_cost=cost, total_energy=0.5),
        cdr("C2", session_id="S2", total_cost={"excl_vat": 0.2, "incl_vat": 0.24}, total_energy=2),
        cdr("C2-1", session_id="S2", **credit),
        cdr("C3", session_id="S3", currency="SEK", total_cost={"excl_vat": 0, "incl_vat": 0}, total_energy=0),
        cdr("C4", session_id="S4", **to_rival),
    )
    found = await rows(home, "cdrs/revenue")
    assert [(row["addressed_to"], row["currency"], row["cdrs"], row["credits"]) for row in found] == [
        ("DE*MSP", "EUR", 2, 1),
        ("DE*MSP", "SEK", 1, 0),
        ("FR*RIV", "EUR", 1, 0),
    ]
    euros = found[0]
    amounts = ("billed_before_taxes", "credited_before_taxes", "revenue_before_taxes", "taxes", "revenue", "energy_kwh")
    # 0.30000000000000004 in floats
    assert [euros[name] for name in amounts] == [*map(Decimal, ("0.3", "-0.2", "0.1", "0.02", "0.12", "0.5"))]
    assert (euros["price_per_kwh"], found[1]["price_per_kwh"]) == (Decimal("0.2"), None)


async def test_findings_of_every_module_are_counted(home: House) -> None:
    ahead = "2027-01-01T00:00:00Z"
    await home.put("locations/NL/TNM/LOC1", LOCATION | {"last_updated": ahead})
    await home.put("tariffs/NL/TNM/12", TARIFF | {"last_updated": ahead})
    await home.put("tokens/DE/MSP/04E1", TOKEN | {"last_updated": ahead}, by="msp")
    found = await rows(home, "findings")
    counted = {(row["party"], row["module"]): row["objects_of_party"] for row in found if row["rule"] == "clock_ahead"}
    assert counted == {("NL*TNM", "locations"): 2, ("NL*TNM", "tariffs"): 1, ("DE*MSP", "tokens"): 1}


async def test_a_status_that_is_none_is_refused(home: House) -> None:
    for query in ("status=BROKEN", "country=NL", "country=N1D", "by=continent", f"location={'x' * 256}"):
        reply = await home.get(f"/analytics/evses/status?{query}", OPERATOR)
        assert (reply.status, reply.code) == (400, 2001), query


async def test_filters_that_cannot_be_are_refused(home: House) -> None:
    owners, partners = ("party=TNM", "party=' OR 1=1 --"), ("module=chairs", f"connection={'x' * 300}")
    for question in questions():
        own = partners if question.filters is of_connection else owners
        for query in (*own, "from=soon", "to=2026-13-01", "format=xml", "from=%00"):
            reply = await home.get(f"/analytics/{question.path}?{query}".replace(" ", "%20"), OPERATOR)
            assert (reply.status, reply.code) == (400, 2001), (question.path, query)


async def test_an_answer_says_what_it_rests_on(home: House) -> None:
    await home.put("locations/NL/TNM/LOC1", LOCATION)
    await home.push(session("S1"))
    await home.post(cdr("C1", session_id="S1"))
    for path in PATHS:
        answer = (await home.get(path, OPERATOR)).json
        assert answer["as_of"] == "2026-09-21T14:13:23Z"
        held = {topic: sum(lanes.values()) for topic, lanes in answer["log_position"].items()}
        assert held
        empty = dict.fromkeys(("ocpi.tariffs", "ocpi.tokens", "ocpi.rejected", "ocpi.crawls"), 0)
        assert held.items() <= ({"ocpi.charging": 2, "ocpi.locations": 1} | empty).items()
        assert answer["metric_version"] >= 1
        assert answer["grain"].startswith("one row per")


async def test_an_answer_never_claims_what_is_not_folded(home: House) -> None:
    await home.push(session("S1"))
    await home.ask("PUT", "/ocpi/2.2.1/receiver/sessions/NL/TNM/S2", token="cpo", body=session("S2"))
    home.clock.advance(SECOND)
    answer = await asked(home, "sessions/by-status")
    assert sum(answer["log_position"]["ocpi.charging"].values()) == 1
    assert answer["as_of"] < "2026-09-21T14:13:21Z"


def crawl_event(event: CrawlStarted | CrawlEnded) -> Entry:
    at = event.started_at if isinstance(event, CrawlStarted) else event.ended_at
    tag = "crawl.started" if isinstance(event, CrawlStarted) else "crawl.ended"
    envelope = Envelope(
        event_id=hashlib.blake2b(crawls.encode(event), digest_size=16).digest(),
        type=tag,
        module="crawls",
        origin="pull",
        connection=event.connection,
        party="",
        key=(event.run,),
        version=event.version,
        edition="",
        revision=0,
        received_at=at,
        last_updated=None,
        payload=crawls.encode(event),
    )
    return Entry(CRAWLS, event.run.encode(), envelopes.encode(envelope))


async def crawl(home: House, run: str, rule: str = "", *, took_s: int = 60) -> None:
    """Append a crawl of cpo's Sessions to the log; one that met a rule is incomplete."""
    at = home.clock.now()
    begun = CrawlStarted(run, "cpo", Module.SESSIONS, "2.2.1", "window", "schedule", "https://cpo.example/sessions", at, at)
    before = crawls.fold(None, begun)
    assert before is not None
    odd = (crawls.Oddity(1, rule, "as it says"),) if rule else ()
    await home.log.append([crawl_event(begun), crawl_event(crawls.certificate(before, at + took_s * SECOND, not rule, odd))])
    home.clock.advance(SECOND)
    await home.fold()


async def test_a_partner_has_a_scorecard_for_each_module(home: House) -> None:
    late = {"last_updated": "2026-09-21T14:12:20Z"}  # a minute before it is pushed
    await home.push(session("S1", **late))
    await home.push(session("S1", **late))  # a retry
    await home.push(session("S2", last_updated="2026-09-21T14:13:32Z"))  # a clock that goes ahead
    await home.put("locations/NL/TNM/LOC1", LOCATION)
    refused = await home.ask("PUT", "/ocpi/2.2.1/receiver/sessions/NL/TNM/S3", token="cpo", body=session("S3", kwh="much"))
    assert refused.code == 2001
    await crawl(home, "r1", "unauthorized")
    await crawl(home, "r2")
    await home.fold()
    found = {(row["connection"], row["module"]): row for row in await rows(home, "partners")}
    assert set(found) == {("cpo", "sessions"), ("cpo", "locations")}
    own = found["cpo", "sessions"]
    assert own == {
        "connection": "cpo",
        "module": "sessions",
        "pushes": 2,
        "delay_p50_s": own["delay_p50_s"],
        "delay_p95_s": own["delay_p95_s"],
        "ahead": 1,
        "share_ahead": Decimal("0.5"),
        "ahead_max_s": own["ahead_max_s"],
        "repeated": 1,
        "clock_ahead": 0,
        "rejected": 1,
        "rejected_by_rule": own["rejected_by_rule"],
        "drifted": 0,
        "crawls": 2,
        "crawls_complete": 1,
        "crawls_unauthorized": 1,
        "crawl_oddities": 1,
        "last_complete_at": own["last_complete_at"],
    }
    assert list(own["rejected_by_rule"].values()) == [1]
    assert own["delay_p95_s"] > own["delay_p50_s"] > -own["ahead_max_s"]
    assert own["ahead_max_s"] > 0
    assert await rows(home, "partners?connection=msp") == []
    assert len(await rows(home, "partners?connection=cpo&module=locations")) == 1


async def test_every_answer_is_what_the_documentation_says(home: House) -> None:
    await home.put("locations/NL/TNM/LOC1", LOCATION)
    await crawl(home, "r1")
    await home.log.append([entry(msgspec.structs.replace(put(9), findings=(Finding("", "drift", "warning", "kwh"),)))])
    await home.push(completed("S1"), session("S2", last_updated="2027-09-20T10:05:00Z"))
    await home.post(cdr("C1", session_id="S1"))
    await home.put("tariffs/NL/TNM/12", TARIFF)  # whose version does not say what is canonical
    for question in questions():
        reply = await home.get(f"/analytics/{question.path}", OPERATOR)
        answer = cast(Any, Answered)[question.row].model_validate_json(reply.body)
        assert len(answer.rows) > 0
        assert set(reply.json["rows"][0]) == set(question.row.model_fields)


async def test_an_answer_over_nothing_is_an_answer(home: House) -> None:
    for path in PATHS:
        answer = (await home.get(path, OPERATOR)).json
        assert (answer["rows"], answer["coverage"]["known"], answer["coverage"]["share"]) == ([], 0, None)


async def test_csv_has_the_same_columns_and_digits(home: House) -> None:
    await home.push(session("S1", kwh=0.1), session("S2", kwh=0.2))
    for reply in (
        await home.get("/analytics/sessions/by-status?format=csv", OPERATOR),
        await home.get("/analytics/sessions/by-status", OPERATOR, {"Accept": "text/csv;q=0.9, */*"}),
    ):
        (row,) = csv.DictReader(io.StringIO(reply.body.decode()))
        assert reply.headers["content-type"].startswith("text/csv")
        assert (row["party"], row["sessions"], row["energy_kwh"]) == ("NL*TNM", "2", "0.3")
        assert reply.headers["x-as-of"] == "2026-09-21T14:13:22Z"
        assert sum(json.loads(reply.headers["x-log-position"])["ocpi.charging"].values()) == 2


async def test_parquet_and_arrow_come_from_clickhouse(home: House) -> None:
    await home.push(session("S1", kwh=0.1), session("S2", kwh=0.2))
    for path in PATHS:
        parquet = await home.get(f"{path}?format=parquet", OPERATOR)
        assert parquet.status == 200
        assert pyarrow.parquet.read_table(io.BytesIO(parquet.body)).column_names
    arrow = await home.get("/analytics/sessions/by-status?format=arrow", OPERATOR)
    (row,) = pyarrow.ipc.open_stream(arrow.body).read_all().to_pylist()
    assert (row["party"], row["energy_kwh"]) == ("NL*TNM", Decimal("0.3"))


async def test_the_operator_alone_may_ask(home: House) -> None:
    for path in (*PATHS, "/metrics", "/docs", "/openapi.json"):
        partner = await home.get(path, "msp")
        nobody = await home.get(path, None)
        assert (partner.status, partner.code) == (403, 2000), path
        assert (nobody.status, nobody.code) == (401, 2000), path
        assert nobody.headers["www-authenticate"].startswith("Basic ")
