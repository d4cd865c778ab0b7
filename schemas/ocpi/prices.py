"""Prices and tariffs between the form of 2.2 and 2.2.1 (`excl_vat`, `incl_vat`) and the canonical one (`before_taxes`, `taxes`).

Source: OCPI 2.3.0 types Price, mod_tariffs PriceLimit and TaxIncluded; 2.2.1 types 16.5.
"""

import re
from collections.abc import Callable, Iterable
from decimal import Context, Decimal
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from schemas import codec
from schemas.events import Document
from schemas.ocpi.declared import Withheld
from schemas.ocpi.shelf import Shelf
from schemas.types import Loss

_exact: Final = Context(prec=120)  # 40 digits either side of the point, and sums of them
_NULL: Final = Raw(b"null")
_NO_TAXES: Final = Raw(b"[]")
_UNSAID: Final = Raw(b'""')


class _Price(Struct, forbid_unknown_fields=True, gc=False):
    excl_vat: Raw
    incl_vat: Decimal | UnsetType | None = UNSET


_price: Final = msgspec.json.Decoder(_Price)
_number: Final = msgspec.json.Decoder(Decimal)
_text: Final = msgspec.json.Decoder(str)
_members: Final = msgspec.json.Decoder(list[Document] | None)


def lift_price(price: Raw, shelf: Shelf) -> Raw:
    """Return `{before_taxes, taxes}`: the VAT is the exact difference; no incl_vat gives [], a null one null."""
    try:
        known = _price.decode(price)
    except msgspec.ValidationError:  # unknown fields
        return _lift_general_price(price, shelf)
    if known.incl_vat is UNSET:
        taxes = b"[]"
    elif known.incl_vat is None:
        taxes = b"null"
    else:
        taxes = _vat(known.incl_vat, _number.decode(known.excl_vat))
    return Raw(b'{"before_taxes":%b,"taxes":%b}' % (known.excl_vat, taxes))


def _vat(incl_vat: Decimal, excl_vat: Decimal) -> bytes:
    return b'[{"name":"VAT","amount":%b}]' % codec.encode(_exact.subtract(incl_vat, excl_vat))


def prices_in_text(fields: Iterable[str]) -> Callable[[Any, bytes], bytes | None]:
    """Return what lifts an object's prices where they stand in its text; it gives None where one is not in the plain form.

    For clean objects alone: their texts have no escapes, so that a quoted name before a colon can only be a member's, and
    no other object within them has members of these names.
    """
    names = tuple((field, f'"{field}"'.encode()) for field in fields)

    def lift(clean: Any, body: bytes) -> bytes | None:
        for field, quoted in names:
            if not getattr(clean, field):
                continue
            at = body.find(quoted)
            price = _PRICE.match(body, at + len(quoted))
            while price is None:  # a string that is that word
                at = body.find(quoted, at + 1)
                if at < 0:
                    return None
                price = _PRICE.match(body, at + len(quoted))
            excl_vat, incl_vat, null = price.groups()
            if incl_vat is not None:
                taxes = _vat(Decimal(incl_vat.decode()), Decimal(excl_vat.decode()))
            else:
                taxes = b"[]" if null is None else b"null"
            lifted = b'%b:{"before_taxes":%b,"taxes":%b}' % (quoted, excl_vat, taxes)
            body = b"".join((body[:at], lifted, body[price.end() :]))
        return body

    return lift


_PRICE: Final = re.compile(
    rb'@:@\{@"excl_vat"@:@%@(?:,@"incl_vat"@:@(?:%|(null))@)?\}'.replace(b"@", rb"[ \t\n\r]*").replace(
        b"%", rb"(-?[0-9]+(?:\.[0-9]+)?)"
    )
)


def _lift_general_price(price: Raw, shelf: Shelf) -> Raw:
    fields = codec.fields(price)
    known = {field: fields.pop(field) for field in ("excl_vat", "incl_vat") if field in fields}
    shelf.put(fields, ("before_taxes", "taxes"))
    return Raw(codec.encode({**codec.fields(lift_price(Raw(codec.encode(known)), shelf)), **fields}))


def lower_price(price: Raw, at: str, losses: list[Loss]) -> Raw:
    """Return `{excl_vat, incl_vat}`: incl_vat is the exact sum; left out where nothing is said about taxes."""
    fields = codec.fields(price)
    before, taxes = fields.pop("before_taxes"), fields.pop("taxes", _NO_TAXES)
    lowered: Document = {"excl_vat": before}
    if taxes == _NULL:
        lowered["incl_vat"] = _NULL
    elif amounts := _members.decode(taxes):
        total = _number.decode(before)
        for tax in amounts:
            total = _exact.add(total, _number.decode(tax["amount"]))
        lowered["incl_vat"] = Raw(codec.encode(total))
        if len(amounts) > 1 or amounts[0].keys() != {"name", "amount"} or amounts[0]["name"] != Raw(b'"VAT"'):
            losses.append(Loss(f"{at}/taxes", "lost", "which taxes are in the price; their sum is in incl_vat"))
    if fields:
        _drop(fields, ("excl_vat", "incl_vat"), at, losses)
    return Raw(codec.encode({**lowered, **fields}))


def lift_limit(limit: Raw, shelf: Shelf) -> Raw:
    """Return a tariff's min_price or max_price as PriceLimit: `{before_taxes, after_taxes}`."""
    fields = codec.fields(limit)
    lifted: Document = {"before_taxes": fields.pop("excl_vat")}
    if "incl_vat" in fields:
        lifted["after_taxes"] = fields.pop("incl_vat")
    shelf.put(fields, ("before_taxes", "after_taxes"))
    return Raw(codec.encode({**lifted, **fields}))


def lower_limit(limit: Raw, at: str, losses: list[Loss]) -> Raw:
    """Return a PriceLimit as Price."""
    fields = codec.fields(limit)
    lowered: Document = {"excl_vat": fields.pop("before_taxes")}
    if "after_taxes" in fields:
        lowered["incl_vat"] = fields.pop("after_taxes")
    _drop(fields, ("excl_vat", "incl_vat"), at, losses)
    return Raw(codec.encode({**lowered, **fields}))


def lift_tariff(tariff: Document, at: str, losses: list[Loss], shelf: Shelf, reserved: tuple[str, ...] = ("tax_included",)) -> bool:
    """Make the fields canonical in place; prices before VAT are what the version's price fields hold.

    `reserved` are the canonical fields that the version does not have.
    """
    shelf.put(tariff, reserved)
    for field in ("min_price", "max_price"):
        if tariff.get(field, _NULL) != _NULL:
            tariff[field] = lift_limit(tariff[field], shelf)
    tariff["tax_included"] = Raw(b'"NO"')
    losses.append(Loss(f"{at}/tax_included", "defaulted", "prices of this version are without VAT"))
    return True


def lower_tariff(tariff: Document, at: str, losses: list[Loss], shelf: Shelf, reserved: tuple[str, ...] = ()) -> bool:
    """Make the fields this version's in place. Prices that include taxes are divided by the VAT.

    Raises Withheld where the VAT is not known: the reader would add it once more.
    """
    included = _text.decode(tariff.pop("tax_included", _UNSAID))
    for field in ("min_price", "max_price"):
        if tariff.get(field, _NULL) != _NULL:
            tariff[field] = lower_limit(tariff[field], f"{at}/{field}", losses)
    if included == "YES":
        tariff["elements"] = _changed(tariff["elements"], f"{at}/elements", losses, _without_taxes)
    elif included == "N/A":
        losses.append(Loss(f"{at}/tax_included", "lost", "N/A: that taxes do not apply"))
        tariff["elements"] = _changed(tariff["elements"], f"{at}/elements", losses, _without_vat)
    elif not included:
        losses.append(
            Loss(f"{at}/tax_included", "defaulted", "it is not said whether taxes are in the prices; they are given as they are")
        )
    shelf.drop(tariff, reserved, at, losses)
    return True


def _changed(elements: Raw, at: str, losses: list[Loss], change: Callable[[Document, str, list[Loss]], None]) -> Raw:
    lowered = _members.decode(elements) or []
    for index, element in enumerate(lowered):
        components = _members.decode(element["price_components"]) or []
        for number, component in enumerate(components):
            change(component, f"{at}/{index}/price_components/{number}", losses)
        element["price_components"] = Raw(codec.encode(components))
    return Raw(codec.encode(lowered))


def _without_taxes(component: Document, at: str, losses: list[Loss]) -> None:
    if component.get("vat", _NULL) == _NULL:
        if _number.decode(component["price"]) != 0:
            raise Withheld("taxes are in the prices of this tariff, and the VAT is not known: they cannot be told without")
        return
    price, vat = _number.decode(component["price"]), _number.decode(component["vat"])
    net = _exact.divide(price, 1 + vat / 100).quantize(Decimal("0.000001"))
    component["price"] = Raw(codec.encode(net))
    losses.append(Loss(f"{at}/price", "lost", f"the price with taxes, {price}; it is given without, rounded to 6 decimals"))


def _without_vat(component: Document, at: str, losses: list[Loss]) -> None:
    # That vat is left out is how this version says that no VAT applies.
    if component.pop("vat", _NULL) != _NULL:
        losses.append(Loss(f"{at}/vat", "lost", "the VAT of a tariff to which no taxes apply"))


def _drop(fields: Document, names: tuple[str, ...], at: str, losses: list[Loss]) -> None:
    reason = "an unknown field whose name this version uses itself"
    losses += [Loss(f"{at}/{name}", "lost", reason) for name in names if fields.pop(name, None) is not None]
