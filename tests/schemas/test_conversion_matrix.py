"""What becomes of every object on its way from each OCPI version to each other one, and docs/losses.md says what is lost.

`PYTHONPATH=. python tests/schemas/test_conversion_matrix.py` writes the tables of docs/losses.md anew.
"""

import importlib
import itertools
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from decimal import Context, Decimal
from pathlib import Path
from typing import Final, NamedTuple, cast

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import pytest
from generated import filled, objects, same, text_of
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from samples import LOCATION, body

import schemas.ocpi
from schemas import codec
from schemas.ocpi.declared import Declared
from schemas.ocpi.dialect import Beside, Level, Lifted, Lowered, Refused
from schemas.ocpi.discovery import discover
from schemas.types import Instant, Json, Loss, Module, Verb, instant

LOSSES: Final = Path(__file__).resolve().parents[2] / "docs" / "losses.md"

OBJECTS: Final[dict[str, tuple[Module, Verb, Level]]] = {
    "Location": (Module.LOCATIONS, Verb.PUT, "location"),
    "EVSE": (Module.LOCATIONS, Verb.PUT, "evse"),
    "Connector": (Module.LOCATIONS, Verb.PUT, "connector"),
    "Session": (Module.SESSIONS, Verb.PUT, "location"),
    "CDR": (Module.CDRS, Verb.POST, "location"),
    "Tariff": (Module.TARIFFS, Verb.PUT, "location"),
    "Token": (Module.TOKENS, Verb.PUT, "location"),
}
OWNER: Final = "NL*TNM"
RECEIVED: Final[Instant] = instant("2026-01-31T11:00:01Z")
NOW: Final[Instant] = instant("2026-01-31T10:30:00Z")


def spoken() -> dict[str, Declared]:
    """Return every version that objects are converted to and from, oldest first, whether it is offered to partners or not."""
    names = [name for _, name, _ in pkgutil.iter_modules(schemas.ocpi.__path__) if re.fullmatch(r"v[0-9_]+", name)]
    dialects: list[Declared] = [importlib.import_module(f"schemas.ocpi.{name}").dialect() for name in names]
    return {dialect.version: dialect for dialect in sorted(dialects, key=lambda dialect: dialect.version.split("."))}


DIALECTS: Final = spoken()
PAIRS: Final = list(itertools.product(DIALECTS, DIALECTS))
BESIDE: Final = Beside(location=DIALECTS["2.2.1"].lift(Module.LOCATIONS, Verb.PUT, body(LOCATION)).payload, now=NOW)


def lift(version: str, name: str, text: bytes) -> Lifted:
    module, verb, level = OBJECTS[name]
    return DIALECTS[version].lift(module, verb, text, level=level, owner=OWNER, received_at=RECEIVED)


def lower(version: str, name: str, document: bytes) -> Lowered:
    module, _, level = OBJECTS[name]
    return DIALECTS[version].lower(module, document, level=level, beside=BESIDE)


class Way(NamedTuple):
    """An object on its way: as canonical, as it arrived, and all that was lost and made up."""

    sent: dict[str, Json]
    canonical: bytes
    arrived: Lowered
    losses: tuple[Loss, ...]


def way(origin: str, target: str, name: str, *, whole: bool) -> Way:
    sent = filled(DIALECTS[origin].spec, name, whole=whole)
    lifted = lift(origin, name, text_of(sent))
    arrived = lower(target, name, lifted.payload)
    return Way(sent, lifted.payload, arrived, (*lifted.losses, *arrived.losses))


every_way = pytest.mark.parametrize(
    ("origin", "target", "name", "whole"),
    [(*pair, name, whole) for pair in PAIRS for name in OBJECTS for whole in (True, False)],
)


def test_the_matrix_has_every_version_that_is_offered() -> None:
    assert discover().keys() <= DIALECTS.keys()
    assert list(DIALECTS) == ["2.0", "2.1.1", "2.2", "2.2.1", "2.3.0"]


@every_way
def test_what_arrives_is_valid_in_its_version_or_withheld_with_a_reason(origin: str, target: str, name: str, whole: bool) -> None:
    arrived = way(origin, target, name, whole=whole).arrived
    if arrived.withheld is not None:
        assert (arrived.body, bool(arrived.withheld)) == (b"", True)
        return
    try:
        findings = lift(target, name, arrived.body).findings
    except Refused as refused:
        # Before 2.2 a Tariff whose every element has a restriction that cannot be told is its tariff_alt_text alone.
        assert (target in ("2.0", "2.1.1"), name in ("Tariff", "CDR")) == (True, True)
        findings = tuple(one for one in refused.findings if not (one.pointer.endswith("/elements") and one.rule == "empty_list"))
    assert findings == ()


@pytest.mark.parametrize("version", DIALECTS)
@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("whole", [True, False])
def test_a_version_gets_its_own_objects_back_and_loses_nothing(version: str, name: str, whole: bool) -> None:
    there_and_back = way(version, version, name, whole=whole)
    assert same(codec.parse(there_and_back.arrived.body), there_and_back.sent)
    assert there_and_back.arrived.losses == ()


@pytest.mark.parametrize("name", OBJECTS)
def test_nothing_is_lost_on_the_way_to_a_newer_version(name: str) -> None:
    """From 2.2 on; before, an object says things in a way that later versions have no fields for."""
    for origin, target in (("2.2", "2.2.1"), ("2.2", "2.3.0"), ("2.2.1", "2.3.0")):
        for whole in (True, False):
            lost = [loss for loss in way(origin, target, name, whole=whole).losses if loss.kind == "lost"]
            assert lost == []


# Properties: nothing is invented.

MONEY: Final = frozenset(
    ("total_cost", "excl_vat", "incl_vat", "before_taxes", "after_taxes", "amount", "price", "preauthorize_amount")
)
IDENTITY: Final = frozenset(
    ("country_code", "party_id", "id", "uid", "contract_id", "auth_id", "evse_uid", "evse_id", "connector_id", "location_id",
     "session_id", "tariff_id", "tariff_ids", "credit_reference_id", "authorization_reference", "invoice_reference_id", "meter_id",
     "group_id", "parking_id")
)  # fmt: skip
UNKNOWN: Final = frozenset(("", "#NA"))
_exact: Final = Context(prec=120)


def leaves(value: Json, field: str = "") -> Iterator[tuple[str, Json]]:
    """Yield every value with the name of the field that it stands in, alone or in a list."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield from leaves(member, key)
    elif isinstance(value, list):
        for member in value:
            yield from leaves(member, field)
    else:
        yield field, value


def money(value: Json) -> set[Decimal]:
    found: set[Decimal] = set()
    for field, leaf in leaves(value):
        number = codec.number(leaf) if isinstance(leaf, str) else leaf
        if field in MONEY and isinstance(number, int | Decimal) and not isinstance(number, bool):
            found.add(Decimal(number))
    return found


def moments(value: Json) -> set[Instant]:
    found: set[Instant] = set()
    for _, leaf in leaves(value):
        if isinstance(leaf, str):
            try:
                found.add(instant(leaf))
            except ValueError:
                continue
    return found


def identities(value: Json) -> set[str]:
    return {leaf.upper() for field, leaf in leaves(value) if field in IDENTITY and isinstance(leaf, str)}


def sums(value: Json) -> set[Decimal]:
    """Return what can be told of canonical amounts: with the taxes that are named, their VAT, and without a VAT that is known."""
    found: set[Decimal] = set()
    if isinstance(value, dict):
        taxes, before, price, vat = (value.get(field) for field in ("taxes", "before_taxes", "price", "vat"))
        if isinstance(taxes, list) and isinstance(before, int | Decimal):
            total = Decimal(before)
            for tax in taxes:
                if isinstance(tax, dict) and isinstance(tax.get("amount"), int | Decimal):
                    total = _exact.add(total, Decimal(cast(Decimal, tax["amount"])))
            found.add(total)
        incl, excl = value.get("incl_vat"), value.get("excl_vat")
        if isinstance(incl, int | Decimal) and isinstance(excl, int | Decimal):
            found.add(_exact.subtract(Decimal(incl), Decimal(excl)))
        if isinstance(price, int | Decimal) and isinstance(vat, int | Decimal) and vat > -100:
            found.add(_exact.divide(Decimal(price), 1 + Decimal(vat) / 100).quantize(Decimal("0.000001"), context=_exact))
    members: Iterable[Json] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return found.union(*map(sums, members))


@pytest.mark.parametrize(("origin", "target"), PAIRS)
@given(data=st.data())
@settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
def test_no_money_time_or_identity_is_invented(origin: str, target: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(OBJECTS)))
    sent: Json = data.draw(objects(DIALECTS[origin].spec, name))
    lifted = lift(origin, name, text_of(sent))
    canonical = codec.parse(lifted.payload)
    beside = codec.parse(cast(bytes, BESIDE.location)) if name in ("Session", "CDR") else None
    owner: set[str] = {*OWNER.split("*")}
    assert money(canonical) <= money(sent) | sums(sent)
    assert moments(canonical) <= moments(sent) | {RECEIVED}
    assert identities(canonical) <= identities(sent) | owner | UNKNOWN
    arrived = lower(target, name, lifted.payload)
    assume(arrived.withheld is None)
    given_on = codec.parse(arrived.body)
    assert money(given_on) <= money(canonical) | sums(canonical) | money(sent)
    assert moments(given_on) <= moments(canonical) | moments(beside) | moments(sent)
    assert identities(given_on) <= identities(canonical) | identities(beside) | identities(sent) | UNKNOWN


# docs/losses.md

_INDEX: Final = re.compile(r"/[0-9]+(?=/|$)")


def cells(origin: str, target: str, name: str) -> tuple[str, str]:
    """Return what is lost and what is made up, of an object with every field and of one with as few as may be."""
    ways = {"every field": way(origin, target, name, whole=True), "few fields": way(origin, target, name, whole=False)}
    withheld = {which: one.arrived.withheld for which, one in ways.items() if one.arrived.withheld is not None}
    if len(set(withheld.values())) == 1 and len(withheld) == 2:
        return f"held back: {withheld['few fields']}", ""

    def pointers(kind: str) -> list[str]:
        given = [one.losses for which, one in ways.items() if which not in withheld]
        found = {_INDEX.sub("/*", loss.pointer) for losses in given for loss in losses if loss.kind == kind}
        return [f"`{pointer}`" for pointer in sorted(found)]

    lost = [*pointers("lost"), *(f"held back with {which}: {reason}" for which, reason in withheld.items())]
    return ", ".join(lost), ", ".join(pointers("defaulted"))


def table(name: str) -> str:
    lines = ["| from | to | lost | made up |", "| --- | --- | --- | --- |"]
    for origin, target in PAIRS:
        lost, made_up = cells(origin, target, name)
        if lost or made_up:
            lines.append(f"| {origin} | {target} | {lost} | {made_up} |".replace("  ", " "))
    return "\n".join(lines)


def sections(text: str) -> Mapping[str, str]:
    found = re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return {name: "\n".join(line for line in part.splitlines() if line.startswith("|")) for name, part in found}


@pytest.mark.parametrize("name", OBJECTS)
def test_the_table_of_losses_says_what_is_lost(name: str) -> None:
    assert sections(LOSSES.read_text(encoding="utf-8"))[name] == table(name)


if __name__ == "__main__":
    head, *_ = LOSSES.read_text(encoding="utf-8").partition("## ")
    LOSSES.write_text(head + "\n".join(f"## {name}\n\n{table(name)}\n" for name in OBJECTS), encoding="utf-8")
