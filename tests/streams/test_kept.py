"""Tariffs and Tokens: whole objects as last-writer records (OCPI 2.2.1 mod_tariffs, mod_tokens)."""

import hashlib
import json
from typing import Any

import pytest
from charging import T0, at, folded

from schemas.events import Envelope
from streams.errors import Poison
from streams.kept import PARKED
from streams.projection import Table
from streams.projections.tariffs import TARIFF_HISTORY, TARIFFS_TABLE, Tariffs
from streams.projections.tokens import AUTHORIZATIONS, TOKENS_TABLE, Tokens


def said(kind: str, key: tuple[str, ...], seconds: float, payload: dict[str, Any], *, stamped: bool = True) -> Envelope:
    body = json.dumps(payload).encode()
    return Envelope(
        event_id=hashlib.blake2b(f"{kind}{seconds}".encode() + body, digest_size=16).digest(),
        type=kind,
        module="tariffs" if kind.startswith("tariff") else "tokens",
        origin="push",
        connection="acme",
        party="NL*TNM",
        key=key,
        version="2.2.1",
        edition="d2",
        revision=1,
        received_at=T0 + round(seconds * 1_000_000) + 1_000_000,
        last_updated=T0 + round(seconds * 1_000_000) if stamped else None,
        payload=body,
    )


def put_tariff(seconds: float, **fields: Any) -> Envelope:
    tariff = {"id": "T1", "currency": "EUR", "elements": [], "tax_included": "NO", "last_updated": at(seconds)}
    return said("tariff.replaced", ("T1",), seconds, tariff | fields)


def delete_tariff(seconds: float) -> Envelope:
    return said("tariff.deleted", ("T1",), seconds, {}, stamped=False)


def patch_tariff(seconds: float, *, stamped: bool = True, **fields: Any) -> Envelope:
    said_of_it = fields | ({"last_updated": at(seconds)} if stamped else {})
    return said("tariff.patched", ("T1",), seconds, {"set": said_of_it}, stamped=stamped)


def put_token(seconds: float, **fields: Any) -> Envelope:
    token = {"uid": "U1", "type": "RFID", "valid": True, "whitelist": "ALLOWED", "contract_id": "C", "last_updated": at(seconds)}
    return said("token.replaced", ("U1", "RFID"), seconds, token | fields)


def patch_token(seconds: float, **fields: Any) -> Envelope:
    return said("token.patched", ("U1", "RFID"), seconds, {"set": fields | {"last_updated": at(seconds)}})


def tariff(*events: Envelope) -> dict[str, Any]:
    state, _ = folded(Tariffs(), *events)
    key = ("NL*TNM", "t1")
    row = dict(zip((c.name for c in TARIFFS_TABLE.columns), Tariffs().row(key, state), strict=True))
    assert isinstance(row["doc"], bytes)
    assert isinstance(row["state"], bytes)
    assert Tariffs().decode(key, row["doc"], row["state"]) == state
    return row


def token(*events: Envelope) -> dict[str, Any]:
    state, _ = folded(Tokens(), *events)
    return dict(zip((c.name for c in TOKENS_TABLE.columns), Tokens().row(("NL*TNM", "u1", "rfid"), state), strict=True))


def facts(projection: Any, table: Table, *events: Envelope) -> list[dict[str, Any]]:
    _, derived = folded(projection, *events)
    return [dict(zip((c.name for c in table.columns), fact.row, strict=True)) for fact in derived if fact.table is table]


def test_a_deleted_tariff_is_not_served_but_stays() -> None:
    row = tariff(put_tariff(0), delete_tariff(5))
    assert row["served"] == 0
    assert json.loads(row["doc"])["id"] == "T1"


def test_a_tariff_that_is_put_again_is_served_again() -> None:
    assert tariff(put_tariff(0), delete_tariff(5), put_tariff(9))["served"] == 1


def test_a_put_older_than_the_one_that_stands_changes_nothing() -> None:
    assert tariff(put_tariff(5, currency="CHF"), put_tariff(0))["currency"] == "CHF"


def test_the_history_keeps_every_form_and_the_end() -> None:
    history = facts(Tariffs(), TARIFF_HISTORY, put_tariff(0), put_tariff(5, currency="CHF"), delete_tariff(9))
    assert [(row["type"], json.loads(row["doc"])["currency"] if row["doc"] else "") for row in history] == [
        ("tariff.replaced", "EUR"),
        ("tariff.replaced", "CHF"),
        ("tariff.deleted", ""),
    ]


def test_a_patch_of_a_token_changes_what_it_names() -> None:
    row = token(put_token(0), patch_token(5, valid=False))
    assert (row["valid"], row["whitelist"]) == (0, "ALLOWED")


def test_an_early_patch_waits_for_the_put() -> None:
    assert token(patch_token(5, valid=False))["served"] == 0
    assert token(patch_token(5, valid=False), put_token(0))["valid"] == 0


def test_the_101st_patch_without_a_put_is_refused() -> None:
    with pytest.raises(Poison, match="waiting for a PUT"):
        folded(Tokens(), *(patch_token(second, valid=False) for second in range(1, PARKED + 2)))


def test_an_authorization_leaves_a_fact_and_no_change() -> None:
    asked = said("token.authorized", ("U1", "RFID"), 5, {"location": {"location_id": "L1"}, "answer": {"allowed": "ALLOWED"}})
    state, _ = folded(Tokens(), put_token(0))
    after, _ = folded(Tokens(), put_token(0), asked)
    assert after == state
    (fact,) = facts(Tokens(), AUTHORIZATIONS, put_token(0), asked)
    assert (fact["allowed"], fact["location_id"]) == ("ALLOWED", "L1")


def test_a_patch_of_a_tariff_changes_the_fields_that_it_names() -> None:
    state, facts = folded(Tariffs(), put_tariff(0, type="REGULAR"), patch_tariff(5, currency="NOK"))
    assert state is not None
    assert {name: json.loads(bytes(text)) for name, text in state.fields.items()} == {
        "id": "T1", "currency": "NOK", "elements": [], "tax_included": "NO", "type": "REGULAR", "last_updated": at(5)
    }  # fmt: skip
    said_then = [fact.row[-1] for fact in facts if fact.table is TARIFF_HISTORY]
    assert json.loads(bytes(said_then[-1]))["currency"] == "NOK"  # type: ignore[call-overload]


def test_a_patch_of_a_tariff_without_last_updated_follows_what_it_meets() -> None:
    state, _ = folded(Tariffs(), put_tariff(9), patch_tariff(3, stamped=False, currency="NOK"))
    assert state is not None
    assert bytes(state.fields["currency"]) == b'"NOK"'


def test_a_patch_brings_no_deleted_tariff_back() -> None:
    state, _ = folded(Tariffs(), put_tariff(0), delete_tariff(3), patch_tariff(5, currency="NOK"))
    assert state is not None
    assert not state.served
