"""The questions: exact sums, their numerators and denominators, and what they rest on."""

import csv
import io
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, cast

import pyarrow.ipc
import pyarrow.parquet
import pytest
from charging import entry, patch
from outlet import OPERATOR, SECOND, House, house
from receiver import cdr, session

from api.analytics import Answered, questions
from streams.ports import TableStore

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
    assert [question.path for question in questions()] == ["energy", "findings", "ledger", "sessions/by-status"]


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


async def test_filters_that_cannot_be_are_refused(home: House) -> None:
    for query in ("party=TNM", "party=' OR 1=1 --", "from=soon", "to=2026-13-01", "format=xml", "from=%00"):
        for path in PATHS:
            reply = await home.get(f"{path}?{query}".replace(" ", "%20"), OPERATOR)
            assert (reply.status, reply.code) == (400, 2001), query


async def test_an_answer_says_what_it_rests_on(home: House) -> None:
    await home.push(session("S1"))
    await home.post(cdr("C1", session_id="S1"))
    for path in PATHS:
        answer = (await home.get(path, OPERATOR)).json
        assert answer["as_of"] == "2026-09-21T14:13:22Z"
        assert sum(answer["log_position"]["ocpi.charging"].values()) == 2
        assert answer["metric_version"] >= 1
        assert answer["grain"].startswith("one row per")


async def test_an_answer_never_claims_what_is_not_folded(home: House) -> None:
    await home.push(session("S1"))
    await home.ask("PUT", "/ocpi/2.2.1/receiver/sessions/NL/TNM/S2", token="cpo", body=session("S2"))
    home.clock.advance(SECOND)
    answer = await asked(home, "sessions/by-status")
    assert sum(answer["log_position"]["ocpi.charging"].values()) == 1
    assert answer["as_of"] < "2026-09-21T14:13:21Z"


async def test_every_answer_is_what_the_documentation_says(home: House) -> None:
    await home.push(completed("S1"), session("S2", last_updated="2027-09-20T10:05:00Z"))
    await home.post(cdr("C1", session_id="S1"))
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
