"""OCPI 2.2.1: what becomes of its objects in the canonical form, its PATCH, and the way back."""

from decimal import Decimal
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import CDR, SESSION, TARIFF, body

from schemas import cdr, codec, session
from schemas.events import Patch
from schemas.ocpi.dialect import Lifted, Refused
from schemas.ocpi.discovery import discover
from schemas.types import Json, Loss, Module, Verb, instant

OCPI: Final = discover()["2.2.1"]
UNKNOWN_VAT: Final = "taxes are in the prices of this tariff, and the VAT is not known: they cannot be told without"


def value(text: bytes) -> Any:
    return codec.parse(text)


def cost(price: Json) -> tuple[Any, Any]:
    """Return a total_cost as canonical, and as it comes back."""
    lifted = OCPI.lift(Module.SESSIONS, Verb.PUT, body(SESSION, total_cost=price))
    return value(lifted.payload)["total_cost"], value(OCPI.lower(Module.SESSIONS, lifted.payload).body)["total_cost"]


def patch(changes: dict[str, Any]) -> Lifted:
    return OCPI.lift(Module.SESSIONS, Verb.PATCH, codec.encode(changes))


def test_a_session_without_cost_is_kept_byte_for_byte() -> None:
    text = b" " + body(SESSION, "total_cost").replace(b",", b" ,\n ") + b"\n"
    lifted = OCPI.lift(Module.SESSIONS, Verb.PUT, text)
    assert (lifted.payload, lifted.raw) == (text, None)
    assert OCPI.lower(Module.SESSIONS, lifted.payload).body == text


amounts = st.decimals(min_value=-10_000, max_value=10_000, allow_nan=False, places=4).map(str) | st.integers(0, 99).map(str)
blanks = st.sampled_from(["", " ", "\n\t"])
prices = st.one_of(
    st.fixed_dictionaries({"excl_vat": amounts}, optional={"incl_vat": amounts | st.just("null")}),
    st.fixed_dictionaries({"incl_vat": amounts, "excl_vat": amounts}),
)


@given(prices, prices, blanks, st.booleans())
def test_a_price_is_lifted_alike_however_its_object_is_written(
    price: dict[str, str], other: dict[str, str], blank: str, spread: bool
) -> None:
    """A clean object is lifted in its text; one with an unknown field is taken apart."""

    def text(fields: dict[str, str]) -> str:
        return f"{blank},{blank}".join(f'{blank}"{name}"{blank}:{blank}{amount}{blank}' for name, amount in fields.items())

    costs = f', "total_cost"{blank}:{blank}{{{text(price)}}}'
    session = body(SESSION, "total_cost", id="total_cost")[:-1].decode() + costs
    billed = body(CDR, "total_cost", "tariffs", remark="total_cost")[:-1].decode() + costs
    if spread:
        session, billed = session.replace(",", " ,\n "), billed.replace(",", " ,\n ")
    billed += f', "total_time_cost": {{{text(other)}}}, "total_parking_cost": null'
    for module, verb, of in ((Module.SESSIONS, Verb.PUT, session), (Module.CDRS, Verb.POST, billed)):
        clean = OCPI.lift(module, verb, f"{of}}}".encode())
        apart = OCPI.lift(module, verb, f'{of}, "unknown": 1}}'.encode())
        assert (clean.findings, len(apart.findings)) == ((), 1)
        assert value(clean.payload) | {"unknown": 1} == value(apart.payload)
        assert value(clean.payload)["total_cost"].keys() == {"before_taxes", "taxes"}


@pytest.mark.parametrize("stray", [5, "x", {"excl_vat": 1}, {"before_taxes": 3}, None])
def test_a_session_may_have_an_unknown_field_that_is_a_cdrs_price(stray: Json) -> None:
    text = body(SESSION, total_energy_cost=stray)
    lifted = OCPI.lift(Module.SESSIONS, Verb.PUT, text)
    assert value(lifted.payload)["total_energy_cost"] == stray
    assert value(OCPI.lower(Module.SESSIONS, lifted.payload).body) == value(text)


def test_the_body_says_whose_it_is() -> None:
    lifted = OCPI.lift(Module.SESSIONS, Verb.PUT, body(SESSION, country_code="nl"))
    assert (lifted.party, lifted.ids, lifted.addressed_to, lifted.charging_key) == ("NL*TNM", ("s-1",), "DE*MSP", None)
    assert lifted.last_updated == instant("2026-01-31T11:00:01Z")


@pytest.mark.parametrize(
    ("without", "changes", "key"),
    [
        ((), {}, "s-1"),
        (("session_id",), {"credit_reference_id": "c-0"}, "c-0"),
        (("session_id",), {}, "c-1"),
        ((), {"session_id": None, "credit_reference_id": None}, "c-1"),
    ],
)
def test_a_cdr_is_kept_with_its_session_else_with_what_it_credits(
    without: tuple[str, ...], changes: dict[str, Any], key: str
) -> None:
    assert OCPI.lift(Module.CDRS, Verb.POST, body(CDR, *without, **changes)).charging_key == key


@pytest.mark.parametrize("party", [{"country_code": "#NA"}, {"party_id": "#NA"}, {"party_id": ""}])
def test_a_token_of_nobody_addresses_nobody(party: dict[str, str]) -> None:
    assert OCPI.lift(Module.SESSIONS, Verb.PUT, body(SESSION, cdr_token={**SESSION["cdr_token"], **party})).addressed_to is None


def test_the_vat_is_the_exact_difference() -> None:
    assert cost({"excl_vat": Decimal("4.00"), "incl_vat": Decimal("4.76")}) == (
        {"before_taxes": 4, "taxes": [{"name": "VAT", "amount": Decimal("0.76")}]},
        {"excl_vat": 4, "incl_vat": Decimal("4.76")},
    )
    tiny = Decimal("0.0000000000000000000000000000000000000001")
    _, back = cost({"excl_vat": 10**15, "incl_vat": tiny})
    assert back == {"excl_vat": 10**15, "incl_vat": tiny}


def test_digits_of_a_price_stay_as_they_were_sent() -> None:
    text = body(SESSION).replace(b'{"excl_vat":4.0,"incl_vat":4.76}', b'{"excl_vat":4.00}')
    lifted = OCPI.lift(Module.SESSIONS, Verb.PUT, text)
    assert b'"total_cost":{"before_taxes":4.00,"taxes":[]}' in lifted.payload
    assert OCPI.lower(Module.SESSIONS, lifted.payload).body == text


def test_no_vat_null_vat_and_zero_vat_are_three_things() -> None:
    assert cost({"excl_vat": 1}) == ({"before_taxes": 1, "taxes": []}, {"excl_vat": 1})
    assert cost({"excl_vat": 1, "incl_vat": None}) == ({"before_taxes": 1, "taxes": None}, {"excl_vat": 1, "incl_vat": None})
    assert cost({"excl_vat": 1, "incl_vat": 1}) == (
        {"before_taxes": 1, "taxes": [{"name": "VAT", "amount": 0}]},
        {"excl_vat": 1, "incl_vat": 1},
    )


def test_unknown_fields_that_the_canonical_form_would_misread_are_shelved() -> None:
    sent: dict[str, Json] = {"excl_vat": 1, "before_taxes": "9", "taxes": {"x": 1}, "note": "n", "roamlog:2.2.1": [1]}
    canonical, back = cost(sent)
    assert canonical == {
        "before_taxes": 1,
        "taxes": [],
        "note": "n",
        "roamlog:2.2.1": {"before_taxes": "9", "taxes": {"x": 1}, "roamlog:2.2.1": [1]},
    }
    assert back == sent


def test_a_cdrs_tariffs_become_canonical_and_say_what_was_made_up() -> None:
    lifted = OCPI.lift(Module.CDRS, Verb.POST, body(CDR, tariffs=[{**TARIFF, "tax_included": "YES", "max_price": {"excl_vat": 9}}]))
    assert [(loss.pointer, loss.kind) for loss in lifted.losses] == [("/tariffs/0/tax_included", "defaulted")]
    tariff = value(lifted.payload)["tariffs"][0]
    assert (tariff["tax_included"], tariff["roamlog:2.2.1"]) == ("NO", {"tax_included": "YES"})
    assert tariff["min_price"] == {"before_taxes": Decimal("0.5"), "after_taxes": Decimal("0.6")}
    assert tariff["max_price"] == {"before_taxes": 9}
    lowered = OCPI.lower(Module.CDRS, lifted.payload)
    assert lowered.losses == ()
    assert value(lowered.body)["tariffs"] == [value(codec.encode({**TARIFF, "tax_included": "YES", "max_price": {"excl_vat": 9}}))]


def lowered_cost(price: Json) -> tuple[Any, tuple[Loss, ...]]:
    canonical = value(OCPI.lift(Module.SESSIONS, Verb.PUT, body(SESSION)).payload)
    lowered = OCPI.lower(Module.SESSIONS, codec.encode({**canonical, "total_cost": price}))
    return value(lowered.body)["total_cost"], lowered.losses


def test_several_taxes_are_summed_and_their_names_are_lost() -> None:
    taxes: Json = [{"name": "GST", "amount": Decimal("0.05")}, {"name": "QST", "amount": Decimal("0.10"), "percentage": 10}]
    price, losses = lowered_cost({"before_taxes": 1, "taxes": taxes})
    assert price == {"excl_vat": 1, "incl_vat": Decimal("1.15")}
    assert [(loss.pointer, loss.kind) for loss in losses] == [("/total_cost/taxes", "lost")]


def test_another_versions_shelf_and_names_that_mean_something_here_are_lost() -> None:
    price, losses = lowered_cost({"before_taxes": 1, "excl_vat": 5, "roamlog:2.1.1": {"a": 1}, "note": 1})
    assert price == {"excl_vat": 1, "note": 1}
    assert [loss.pointer for loss in losses] == ["/total_cost/excl_vat", "/total_cost/roamlog:2.1.1"]


def lowered_tariff(**changes: Json) -> tuple[Any, tuple[Loss, ...]]:
    canonical = value(OCPI.lift(Module.CDRS, Verb.POST, body(CDR)).payload)
    canonical["tariffs"] = [{**canonical["tariffs"][0], **changes}]
    lowered = OCPI.lower(Module.CDRS, codec.encode(canonical))
    return value(lowered.body)["tariffs"][0], lowered.losses


def test_prices_that_include_vat_are_divided_by_it() -> None:
    components: Json = [
        {"type": "TIME", "price": Decimal("2.38"), "vat": 19, "step_size": 1},
        {"type": "FLAT", "price": 0, "step_size": 1},
    ]
    tariff, losses = lowered_tariff(tax_included="YES", elements=[{"price_components": components}])
    prices = [component["price"] for component in tariff["elements"][0]["price_components"]]
    assert prices == [2, 0]
    assert [loss.pointer for loss in losses] == ["/tariffs/0/elements/0/price_components/0/price"]
    assert "tax_included" not in tariff


def test_a_price_that_includes_an_unknown_vat_has_no_form_without_it() -> None:
    elements: Json = [{"price_components": [{"type": "FLAT", "price": 1, "step_size": 1}]}]
    canonical = value(OCPI.lift(Module.TARIFFS, Verb.PUT, body(TARIFF)).payload)
    lowered = OCPI.lower(Module.TARIFFS, codec.encode({**canonical, "tax_included": "YES", "elements": elements}))
    assert (lowered.body, lowered.withheld) == (b"", UNKNOWN_VAT)
    billed = value(OCPI.lift(Module.CDRS, Verb.POST, body(CDR)).payload)
    billed["tariffs"].append({**billed["tariffs"][0], "tax_included": "YES", "elements": elements})
    lowered = OCPI.lower(Module.CDRS, codec.encode(billed))
    assert value(lowered.body)["tariffs"] == [value(body(TARIFF))]
    assert lowered.losses == (Loss("/tariffs/1", "lost", UNKNOWN_VAT),)


def test_taxes_that_do_not_apply_are_told_by_leaving_the_vat_out() -> None:
    components: Json = [{"type": "FLAT", "price": 1, "vat": 0, "step_size": 1}]
    tariff, losses = lowered_tariff(tax_included="N/A", elements=[{"price_components": components}])
    assert tariff["elements"] == [{"price_components": [{"type": "FLAT", "price": 1, "step_size": 1}]}]
    assert [loss.pointer for loss in losses] == ["/tariffs/0/tax_included", "/tariffs/0/elements/0/price_components/0/vat"]


def test_point_14_a_patch_without_last_updated_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        patch({"kwh": 1})
    assert [(finding.pointer, finding.rule) for finding in refused.value.findings] == [("/last_updated", "missing_field")]


def test_point_16_charging_periods_of_a_patch_are_appended_and_an_empty_list_changes_nothing() -> None:
    period = SESSION["charging_periods"][0]
    lifted = patch({"charging_periods": [period, period], "last_updated": "2026-01-31T11:00:01Z"})
    assert value(lifted.payload)["append"] == {"charging_periods": [value(codec.encode(period))] * 2}
    nothings: list[Json] = [[], None]
    for nothing in nothings:
        lifted = patch({"charging_periods": nothing, "last_updated": "2026-01-31T11:00:01Z"})
        assert value(lifted.payload) == {"set": {"last_updated": "2026-01-31T11:00:01Z"}}


def test_a_patch_sets_whole_values_and_null_clears() -> None:
    changes = {
        "kwh": 2,
        "total_cost": {"excl_vat": 1},
        "end_date_time": None,
        "vendor": {"a": 1},
        "last_updated": "2026-01-31T11:00:01",
    }
    lifted = patch(changes)
    assert value(lifted.payload) == {
        "set": {
            "kwh": 2,
            "total_cost": {"before_taxes": 1, "taxes": []},
            "end_date_time": None,
            "vendor": {"a": 1},
            "last_updated": "2026-01-31T11:00:01Z",
        }
    }
    assert lifted.raw == codec.encode(changes)
    assert [(finding.pointer, finding.rule) for finding in lifted.findings] == [("/vendor", "unknown_field")]
    msgspec.json.decode(lifted.payload, type=Patch)


@pytest.mark.parametrize("field", ["kwh", "status", "last_updated", "id"])
def test_a_patch_cannot_clear_a_required_field(field: str) -> None:
    with pytest.raises(Refused) as refused:
        patch({"last_updated": "2026-01-31T11:00:01Z", field: None})
    assert [(finding.pointer, finding.rule) for finding in refused.value.findings] == [(f"/{field}", "null_field")]


def test_a_patch_that_names_the_object_says_so_and_sets_no_identity() -> None:
    own = {"country_code": "nl", "party_id": "tnm", "id": "S-1"}
    lifted = patch({**own, "kwh": 2, "last_updated": "2026-01-31T11:00:01Z"})
    assert (lifted.party, lifted.ids) == ("NL*TNM", ("S-1",))
    assert value(lifted.payload) == {"set": {"kwh": 2, "last_updated": "2026-01-31T11:00:01Z"}}
    silent = patch({"kwh": 2, "last_updated": "2026-01-31T11:00:01Z"})
    assert (silent.party, silent.ids, silent.addressed_to) == (None, (), None)


def test_a_patch_cannot_name_half_an_owner() -> None:
    with pytest.raises(Refused) as refused:
        patch({"country_code": "DE", "last_updated": "2026-01-31T11:00:01Z"})
    assert [finding.rule for finding in refused.value.findings] == ["half_a_party"]


def test_the_values_of_a_patch_are_checked_like_those_of_a_put() -> None:
    with pytest.raises(Refused) as refused:
        patch({"kwh": "x", "cdr_token": {}, "last_updated": "2026-01-31T11:00:01Z"})
    assert {finding.rule for finding in refused.value.findings} == {"wrong_type", "missing_field"}


def test_an_example_of_2_2_1_is_typed_as_canonical() -> None:
    typed = session.decode(OCPI.lift(Module.SESSIONS, Verb.PUT, body(SESSION, meter_id=None)).payload)
    assert (typed.kwh, typed.meter_id, typed.authorization_reference) == (Decimal("12.5"), None, msgspec.UNSET)
    billed = cdr.decode(OCPI.lift(Module.CDRS, Verb.POST, body(CDR)).payload)
    assert isinstance(billed.total_cost.taxes, tuple)
    assert [tax.amount for tax in billed.total_cost.taxes] == [Decimal("0.76")]


def test_a_canonical_number_is_typed_exactly() -> None:
    digits = b"0.1234567890123456789012345678901234567890"
    text = OCPI.lift(Module.SESSIONS, Verb.PUT, body(SESSION, "total_cost").replace(b'"kwh":12.5', b'"kwh":' + digits)).payload
    assert str(session.decode(text).kwh) == digits.decode()
