"""What is taken with a remark and what is refused, rule by rule, on Sessions and CDRs of OCPI 2.2.1."""

from decimal import Decimal
from typing import Any, Final

import pytest
from samples import CDR, SESSION, TARIFF, body

from schemas import codec
from schemas.ocpi.dialect import Lifted, NotJson, Refused
from schemas.ocpi.discovery import discover
from schemas.types import Json, Module, Verb

OCPI: Final = discover()["2.2.1"]
TOKEN: Final[dict[str, Any]] = SESSION["cdr_token"]


def put(text: bytes) -> Lifted:
    return OCPI.lift(Module.SESSIONS, Verb.PUT, text)


def post(text: bytes) -> Lifted:
    return OCPI.lift(Module.CDRS, Verb.POST, text)


def remarks(lifted: Lifted) -> list[tuple[str, str, str]]:
    return [(finding.pointer, finding.rule, finding.severity) for finding in lifted.findings]


def refusal(text: bytes, module: Module = Module.SESSIONS) -> list[tuple[str, str]]:
    with pytest.raises(Refused) as refused:
        OCPI.lift(module, Verb.POST if module is Module.CDRS else Verb.PUT, text)
    assert refused.value.findings
    return [(finding.pointer, finding.rule) for finding in refused.value.findings if finding.severity == "error"]


def payload(lifted: Lifted) -> dict[str, Json]:
    value = codec.parse(lifted.payload)
    assert isinstance(value, dict)
    return value


def test_clean_objects_have_no_findings() -> None:
    assert put(body(SESSION)).findings == ()
    assert post(body(CDR)).findings == ()


@pytest.mark.parametrize("field", ["id", "kwh", "cdr_token", "status", "last_updated", "country_code"])
def test_a_required_field_is_neither_missing_nor_null(field: str) -> None:
    assert refusal(body(SESSION, field)) == [(f"/{field}", "missing_field")]
    assert refusal(body(SESSION, **{field: None})) == [(f"/{field}", "null_field")]


@pytest.mark.parametrize("field", ["end_date_time", "total_cost", "charging_periods", "meter_id"])
def test_an_optional_field_may_be_null_and_stays_so(field: str) -> None:
    lifted = put(body(SESSION, **{field: None}))
    assert lifted.findings == ()
    assert payload(lifted)[field] is None


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"kwh": "a lot"}, "/kwh"), ({"kwh": "4,00"}, "/kwh"), ({"kwh": " 4"}, "/kwh"), ({"kwh": True}, "/kwh"),
        ({"kwh": []}, "/kwh"),
        ({"id": True}, "/id"), ({"id": {}}, "/id"), ({"meter_id": ["x"]}, "/meter_id"), ({"cdr_token": "x"}, "/cdr_token"),
        ({"charging_periods": {}}, "/charging_periods"), ({"charging_periods": [None]}, "/charging_periods/0"),
        ({"status": 1}, "/status"), ({"last_updated": 1769857200}, "/last_updated"), ({"total_cost": 4.0}, "/total_cost"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(changes: dict[str, Any], pointer: str) -> None:
    assert refusal(body(SESSION, **changes)) == [(pointer, "wrong_type")]


@pytest.mark.parametrize("text", [b"[]", b"1", b'"x"', b"null", b"true"])
def test_a_body_that_is_no_object_is_refused(text: bytes) -> None:
    assert refusal(text) == [("", "wrong_type")]


def test_a_number_written_as_a_string_is_that_number() -> None:
    lifted = put(body(SESSION, kwh="12.50"))
    assert remarks(lifted) == [("/kwh", "number_as_string", "warning")]
    assert payload(lifted)["kwh"] == Decimal("12.50")
    assert lifted.raw == body(SESSION, kwh="12.50")


def test_a_number_where_a_string_is_wanted_is_its_text() -> None:
    lifted = put(body(SESSION, id=101, connector_id=codec.parse(b"1.50")))
    assert remarks(lifted) == [("/id", "string_as_number", "warning"), ("/connector_id", "string_as_number", "warning")]
    assert lifted.ids == ("101",)
    assert (payload(lifted)["id"], payload(lifted)["connector_id"]) == ("101", "1.50")


def test_a_long_text_is_kept_whole() -> None:
    lifted = put(body(SESSION, location_id="x" * 40, meter_id="y" * 256))
    assert remarks(lifted) == [("/location_id", "too_long", "warning"), ("/meter_id", "too_long", "warning")]
    assert payload(lifted)["meter_id"] == "y" * 256
    assert lifted.raw is not None  # because of total_cost


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("id", "x" * 37, "too_long"), ("country_code", "NLD", "too_long"), ("party_id", "TNMX", "too_long"),
        ("id", "", "empty_identity"), ("party_id", "", "empty_identity"),
        ("id", "a\x7f", "control_character"), ("id", "a\tb", "control_character"),
        ("id", "a\x85", "control_character"),
    ],
)  # fmt: skip
def test_an_identity_that_cannot_be_kept_is_refused(field: str, value: str, rule: str) -> None:
    assert refusal(body(SESSION, **{field: value})) == [(f"/{field}", rule)]


def test_what_becomes_a_cdrs_record_key_is_identity_too() -> None:
    assert refusal(body(CDR, session_id="x" * 37), Module.CDRS) == [("/session_id", "too_long")]
    assert refusal(body(CDR, id="x" * 40), Module.CDRS) == [("/id", "too_long")]
    assert remarks(post(body(CDR, tariffs=[{**TARIFF, "id": "x" * 37}]))) == [("/tariffs/0/id", "too_long", "warning")]


def test_texts_that_are_not_ascii_are_kept_and_a_cistring_is_flagged() -> None:
    lifted = put(body(SESSION, id="sé", meter_id="Zähler 七"))
    assert remarks(lifted) == [("/id", "not_ascii", "warning")]
    assert (lifted.ids, payload(lifted)["meter_id"]) == (("sé",), "Zähler 七")


def test_control_characters_in_other_texts_are_kept_and_flagged() -> None:
    lifted = put(body(SESSION, meter_id="a\nb"))
    assert remarks(lifted) == [("/meter_id", "control_character", "warning")]
    assert payload(lifted)["meter_id"] == "a\nb"


def test_unknown_fields_survive_at_every_depth() -> None:
    token = {**TOKEN, "x/y~z": {"deep": [1, None]}}
    lifted = put(body(SESSION, cdr_token=token, vendor="1.50"))
    assert remarks(lifted) == [("/cdr_token/x~1y~0z", "unknown_field", "info"), ("/vendor", "unknown_field", "info")]
    assert payload(lifted)["cdr_token"] == token


def test_a_closed_enum_refuses_what_it_does_not_list_and_says_what_was_meant() -> None:
    assert refusal(body(SESSION, status="PAUSED")) == [("/status", "enum_value")]
    with pytest.raises(Refused, match="did you mean COMPLETED") as refused:
        put(body(SESSION, status="completed"))
    assert [finding.rule for finding in refused.value.findings] == ["enum_value"]


def test_an_enum_that_is_open_in_2_3_0_takes_what_it_does_not_list() -> None:
    lifted = put(body(SESSION, cdr_token={**TOKEN, "type": "EMAID"}))
    assert remarks(lifted) == [("/cdr_token/type", "unknown_enum_value", "warning")]
    cdr = post(body(CDR, cdr_location={**CDR["cdr_location"], "connector_standard": "MCS"}))
    assert remarks(cdr) == [("/cdr_location/connector_standard", "unknown_enum_value", "warning")]


def test_a_list_that_needs_a_member_is_not_empty() -> None:
    assert refusal(body(CDR, charging_periods=[]), Module.CDRS) == [("/charging_periods", "empty_list")]
    assert put(body(SESSION, charging_periods=[])).findings == ()


@pytest.mark.parametrize(
    ("text", "kept", "rules"),
    [
        ("2026-01-31T11:00:01.5Z", "2026-01-31T11:00:01.5Z", []),
        ("2026-01-31T11:00:01.120Z", "2026-01-31T11:00:01.120Z", []),
        ("2026-01-31T11:00:01", "2026-01-31T11:00:01Z", []),
        ("2026-01-31T11:00:01.123456Z", "2026-01-31T11:00:01.123Z", []),
        ("2026-01-31T13:00:01+02:00", "2026-01-31T11:00:01Z", ["offset_date_time"]),
        ("2026-01-31T11:00:01+00:00", "2026-01-31T11:00:01Z", ["offset_date_time"]),
        ("2026-2-1T9:00:01Z", "2026-02-01T09:00:01Z", ["unpadded_date_time"]),
        ("2026-01-31 11:00:01z", "2026-01-31T11:00:01Z", ["loose_date_time"]),
    ],
)
def test_date_times_are_read_in_every_form_and_kept_in_one(text: str, kept: str, rules: list[str]) -> None:
    lifted = put(body(SESSION, last_updated=text))
    assert payload(lifted)["last_updated"] == kept
    assert [finding.rule for finding in lifted.findings] == rules


def test_point_28_last_updated_counts_with_its_microseconds_and_is_kept_within_25_characters() -> None:
    lifted = put(body(SESSION, last_updated="2026-01-31T11:00:01.123456Z"))
    assert lifted.last_updated == 1_769_857_201_123_456
    assert len(str(payload(lifted)["last_updated"])) <= 25


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-01-31", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-W05-6T11:00:01Z", "2026-01-31T11:00Z",
     "2026-01-31T24:00:00Z", "0001-01-01T00:00:00Z", "1899-12-31T23:59:59Z", "2262-01-01T00:00:00Z", "9999-12-31T23:59:59Z"],
)  # fmt: skip
def test_what_is_no_instant_between_1900_and_2261_is_refused(text: str) -> None:
    assert refusal(body(SESSION, start_date_time=text)) == [("/start_date_time", "date_time")]


@pytest.mark.parametrize(
    "number", [b"1e999", b"-1e400", b"1e-400", b"1000000000000001", b"1e99999999999999999999", b"1" * 5000, b"0." + b"1" * 41]
)
def test_a_number_that_cannot_be_kept_is_refused_as_valid_json(number: bytes) -> None:
    known = body(SESSION).replace(b'"excl_vat":4.0', b'"excl_vat":' + number)
    unknown = b'{"vendor":{"a":[%b]},' % number + body(SESSION)[1:]
    assert refusal(known) == [("/total_cost/excl_vat", "number_out_of_range")]
    assert refusal(unknown) == [("/vendor/a/0", "number_out_of_range")]


def test_nan_is_no_json_at_all() -> None:
    with pytest.raises(NotJson):
        put(body(SESSION).replace(b"12.5", b"NaN"))


def test_every_error_is_reported_not_the_first_alone() -> None:
    text = body(SESSION, "kwh", status="x", cdr_token={"uid": 1}, nice=True)
    assert refusal(text) == [
        ("/kwh", "missing_field"),
        ("/cdr_token/country_code", "missing_field"),
        ("/cdr_token/party_id", "missing_field"),
        ("/cdr_token/type", "missing_field"),
        ("/cdr_token/contract_id", "missing_field"),
        ("/status", "enum_value"),
    ]


def test_a_refusal_of_a_huge_object_is_short() -> None:
    with pytest.raises(Refused) as refused:
        put(body(SESSION, charging_periods=[{}] * 5000))
    assert len(refused.value.findings) == 101


def test_a_report_has_an_end() -> None:
    lifted = put(body(SESSION, **{f"x{n}": n for n in range(5000)}))
    assert len(lifted.findings) == 101
    assert lifted.findings[-1].rule == "more_findings"
    assert refusal(body(SESSION, "last_updated", **{f"x{n}": n for n in range(5000)})) == [("/last_updated", "missing_field")]


def test_point_30_energy_in_wh_is_flagged_and_never_rescaled() -> None:
    period = {"start_date_time": "2026-01-31T10:00:00Z", "dimensions": [{"type": "ENERGY", "volume": 12500}]}
    for lifted in (put(body(SESSION, charging_periods=[period])), post(body(CDR, charging_periods=[period]))):
        assert remarks(lifted) == [("/charging_periods", "energy_in_wh", "warning")]
        assert payload(lifted)["charging_periods"] == [period]


def test_energy_of_another_dimension_or_of_a_session_without_kwh_is_not_compared() -> None:
    power = {"start_date_time": "2026-01-31T10:00:00Z", "dimensions": [{"type": "MAX_POWER", "volume": 22000}]}
    assert put(body(SESSION, charging_periods=[power])).findings == ()
    assert put(body(SESSION, kwh=0)).findings == ()


def test_times_that_run_backwards_are_flagged() -> None:
    lifted = put(body(SESSION, end_date_time="2026-01-31T09:59:59Z"))
    assert remarks(lifted) == [("/end_date_time", "end_before_start", "warning")]
    assert put(body(SESSION, end_date_time="2026-01-31T10:00:00Z")).findings == ()
    early = put(body(SESSION, last_updated="2026-01-31T10:59:59.999Z"))
    assert remarks(early) == [("/last_updated", "updated_before_end", "warning")]


@pytest.mark.parametrize(
    ("latitude", "longitude", "expected"),
    [
        ("90.000000", "-180.000000", []),
        ("90.000001", "4.895168", [("latitude", "coordinates_out_of_range")]),
        ("120.895168", "52.370216", [("latitude", "coordinates_out_of_range")]),
        ("52.370216", "180.000001", [("longitude", "coordinates_out_of_range")]),
        ("52,370216", "4.895168", [("latitude", "coordinates")]),
        ("52.3702", "4.8951681", [("latitude", "coordinates")]),
    ],
)
def test_coordinates_are_degrees(latitude: str, longitude: str, expected: list[tuple[str, str]]) -> None:
    place = {**CDR["cdr_location"], "coordinates": {"latitude": latitude, "longitude": longitude}}
    found = [(finding.pointer.rpartition("/")[2], finding.rule) for finding in post(body(CDR, cdr_location=place)).findings]
    assert found == expected


def test_point_24_a_credit_cdr_is_negative_names_its_cdr_and_may_have_39_characters() -> None:
    credit = {"id": "c" * 39, "credit": True, "credit_reference_id": "c-1", "total_cost": {"excl_vat": -4.0, "incl_vat": -4.76}}
    lifted = post(body(CDR, **credit))
    assert lifted.findings == ()
    assert payload(lifted)["total_cost"] == {"before_taxes": -4, "taxes": [{"name": "VAT", "amount": Decimal("-0.76")}]}
    assert payload(lifted)["total_energy"] == Decimal("12.5")


def test_a_credit_cdr_that_credits_nothing_is_flagged() -> None:
    lifted = post(body(CDR, credit=True))
    assert remarks(lifted) == [
        ("/total_cost", "credit_not_negative", "warning"),
        ("/credit_reference_id", "credit_without_reference", "warning"),
    ]


def test_only_a_credit_cdrs_id_may_pass_36_characters() -> None:
    assert remarks(post(body(CDR, id="c" * 37))) == [("/id", "too_long", "warning")]


@pytest.mark.parametrize("currency", ["eur", "EU", "€", "E1R"])
def test_a_currency_is_three_capitals(currency: str) -> None:
    assert remarks(put(body(SESSION, currency=currency))) == [("/currency", "currency", "warning")]


def test_an_int_may_not_be_a_fraction() -> None:
    def priced(step_size: Json) -> bytes:
        component = {"type": "ENERGY", "price": 0.32, "step_size": step_size}
        return body(CDR, tariffs=[{**TARIFF, "elements": [{"price_components": [component]}]}])

    at = "/tariffs/0/elements/0/price_components/0/step_size"
    assert refusal(priced(Decimal("1.5")), Module.CDRS) == [(at, "wrong_type")]
    assert remarks(post(priced(Decimal("300.0")))) == [(at, "fraction_for_int", "warning")]
    assert b'"step_size":300}' in post(priced(Decimal("300.0"))).payload
