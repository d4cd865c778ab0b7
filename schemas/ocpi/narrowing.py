"""Conversions that follow from comparing a version's tables with those of the canonical form, which say more.

Upwards, an unknown field with the name of a canonical one goes onto the version's shelf. Downwards, a field that the version
lacks is lost, a value that it lacks is dropped from a list or replaced by what is nearest, and where nothing is near the
object has no honest form: a member of a list is left out, an object by itself is withheld.
"""

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias, cast

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from schemas import codec
from schemas.events import Document
from schemas.ocpi.declared import Conversion, Plain, Withheld
from schemas.ocpi.prices import lift_price, lift_tariff, lower_price, lower_tariff
from schemas.ocpi.shelf import Shelf
from schemas.ocpi.spec import Field, Spec
from schemas.types import Loss

_Lift: TypeAlias = Callable[[Raw, str, list[Loss]], Raw]
_Lower: TypeAlias = Callable[[Raw, str, list[Loss]], Raw | None]
"""Give a field's value in the other form, the same object where it stays; None drops the field."""


class Narrowing:
    """The conversions of one version.

    `substitutes`: by enum, what is said instead of a value that the version lacks. `cut`: `Object.field` of the texts that are
    cut where the version has less room; others are passed on as they are. `made_up`: `Object.field` and the value of fields
    that the one form requires and the other does not have or may lack. `essential`: `Object.field` without which an object that
    has it would mean another thing; whatever holds it is left out or withheld.
    """

    def __init__(
        self,
        shelf: Shelf,
        spec: Spec,
        canonical: Spec,
        substitutes: Mapping[str, Mapping[str, str]],
        *,
        cut: Iterable[str] = (),
        made_up: Mapping[str, str] | None = None,
        essential: Iterable[str] = (),
    ) -> None:
        self.shelf: Final = shelf
        self.spec: Final = spec
        self.canonical: Final = canonical
        self.substitutes: Final = substitutes
        self.cut: Final = frozenset(cut)
        self.made_up: Final = made_up or {}
        self.essential: Final = frozenset(essential)
        self._parts: dict[str, _Part] = {}

    def conversions(self, names: Iterable[str]) -> Mapping[str, Conversion]:
        """Return those of the objects that differ."""
        parts = {name: self.part(name) for name in names}
        return {
            name: Conversion(part.lift, part.lower, part.concern(), plain=part.plain())
            for name, part in parts.items()
            if part.differs
        }

    def part(self, name: str) -> "_Part":
        """Return how one type of object differs."""
        part = self._parts.get(name)
        if part is None:
            part = self._parts[name] = _Part(self, name)
        return part


class _Part:
    """One type of object: what happens to its fields either way."""

    def __init__(self, of: Narrowing, name: str) -> None:
        own, canonical = of.spec.objects[name], of.canonical.objects[name]
        self.name = name
        self.shelf = of.shelf
        self.rows = canonical
        self.reserved = tuple(field for field in canonical if field not in own)
        self.essential = tuple(field for field in self.reserved if f"{name}.{field}" in of.essential)
        self.priced = name == "Tariff" and "tax_included" in self.reserved
        self.given = [
            (field, canonical[field].length, of.made_up[f"{name}.{field}"])
            for field in self.reserved
            if canonical[field].required and not canonical[field].lax
        ]
        self.filled = [
            (field, of.made_up[f"{name}.{field}"]) for field, row in own.items() if row.required and not canonical[field].required
        ]
        self.lifts: dict[str, _Lift] = {}
        self.lowers: dict[str, _Lower] = {}
        self.plains: dict[str, Any] = {}
        self.touched: set[str] = set()
        self.narrowed: dict[str, frozenset[str]] = {}
        for field, row in own.items():
            if not (self.priced and field in _LIMITS):
                self._field(of, field, row, canonical[field])
        self.rises = bool(self.reserved or self.lifts or self.narrowed)
        self.differs = bool(self.rises or self.filled or self.lowers)

    def _field(self, of: Narrowing, field: str, row: Field, canonical: Field) -> None:
        """Note what happens to one field, and the type of a value to which nothing happens on the way down; None if there is none.

        `touched` are the fields of clean objects to which something happens on the way up.
        """
        shelf = of.shelf
        foreign = [v for v in of.canonical.enums.get(canonical.type, ()) if v not in of.spec.enums[row.type]]
        if canonical.type == "Price" and row.type == "Price":
            self.lifts[field] = lambda price, _, __: lift_price(price, shelf)
            self.lowers[field] = lower_price
            self.plains[field] = None
            self.touched.add(field)
        elif foreign:
            nearest = {value: of.substitutes.get(row.type, {}).get(value) for value in foreign}
            self.narrowed[field] = frozenset(nearest)
            self.lowers[field] = (_values if row.many else _value)(shelf.version, nearest, row.required)
            self.plains[field] = cast(Any, Literal)[of.spec.enums[row.type]]
        elif f"{self.name}.{field}" in of.cut and row.length is not None:
            self.lowers[field] = _cut(row.length, shelf.version)
            self.plains[field] = Annotated[str, Meta(max_length=row.length)]
        elif canonical.type in of.canonical.objects:
            part = of.part(row.type)
            if part.rises:
                self.lifts[field] = (_each_lifted if row.many else _one_lifted)(part)
            if part.differs:
                self.lowers[field] = (_each_lowered if row.many else _one_lowered)(part, row.required or bool(part.essential))
                self.plains[field] = part.untouched()
                if part.priced or part.given or part.touched:
                    self.touched.add(field)

    def lift(self, document: Document, at: str, losses: list[Loss]) -> bool:
        """Make the fields canonical in place."""
        if self.priced:
            return lift_tariff(document, at, losses, self.shelf, self.reserved)
        changed = self.shelf.put(document, self.reserved)
        if foreign := [field for field, values in self.narrowed.items() if _says(document.get(field, _NULL), values)]:
            self.shelf.copy(document, foreign)
            changed = True
        if self.given:
            self._give(document, at, losses)
            changed = True
        for field, lift in self.lifts.items():
            old = document.get(field, _NULL)
            if old != _NULL:
                new = lift(old, f"{at}/{field}", losses)
                if new is not old:
                    document[field] = new
                    changed = True
        return changed

    def lower(self, document: Document, at: str, losses: list[Loss]) -> bool:
        """Make the fields this version's in place. Raises Withheld."""
        for field in self.essential:
            if document.get(field, _NULL) != _NULL:
                raise Withheld(f"OCPI {self.shelf.version} has no {field}, and would say something else without it")
        changed = bool(self.given)
        if self.given:
            self._take_given(document)
        if self.priced:
            changed = lower_tariff(document, at, losses, self.shelf, self.reserved)
        else:
            changed |= self.shelf.drop(document, self.reserved, at, losses)
        kept = self.shelf.unchanged(document) if self.narrowed and self.shelf.name in document else ()
        for field, lower in self.lowers.items():
            old = document.get(field, _NULL)
            if old != _NULL and field not in kept:
                new = lower(old, f"{at}/{field}", losses)
                if new is None:
                    del document[field]
                    changed = True
                elif new is not old:
                    document[field] = new
                    changed = True
        for field, value in self.filled:
            if document.get(field, _NULL) == _NULL:
                document[field] = Raw(codec.encode(value))
                losses.append(Loss(f"{at}/{field}", "defaulted", f"OCPI {self.shelf.version} requires it, nothing is known of it"))
                changed = True
        return changed

    def _give(self, document: Document, at: str, losses: list[Loss]) -> None:
        """Add what the canonical form requires: as an unknown field says that has its name, or made up."""
        shelved = self.shelf.of(document)
        for field, length, value in self.given:
            said = shelved.get(field)
            if said is not None and _fits(said, length):
                document[field] = said
            else:
                document[field] = Raw(codec.encode(value))
                losses.append(Loss(f"{at}/{field}", "defaulted", f"OCPI {self.shelf.version} does not say it"))

    def _take_given(self, document: Document) -> None:
        """Remove what was made up, and what the shelf gives back; the rest is lost."""
        shelved = self.shelf.of(document)
        for field, _, value in self.given:
            if document.get(field) in (Raw(codec.encode(value)), shelved.get(field)):
                document.pop(field, None)

    def concern(self) -> str:
        """Return the field without which a clean object is canonical as it stands; "" where every clean one is."""
        required = [field for field, row in self.rows.items() if row.required]
        if self.priced or self.given or (len(self.touched) > 1 and self.touched.isdisjoint(required)):
            return required[0]
        return next((field for field in required if field in self.touched), next(iter(self.touched), ""))

    def plain(self) -> Plain | None:
        """Return what tells quickly that `lower` changes nothing; None where it nearly always changes something."""
        kind = self.untouched()
        if kind is None:
            return None
        decode = msgspec.json.Decoder(kind).decode

        def plain(text: bytes) -> bool:
            try:
                decode(text)
            except msgspec.ValidationError:
                return False
            return True

        return plain

    def untouched(self) -> type[Struct] | None:
        """Return the type of the objects that `lower` leaves alone; it errs on the side of refusing."""
        if self.priced or self.given:
            return None
        rows: list[Any] = [(field, _NEVER | UnsetType, UNSET) for field in self.reserved]
        rows += [(field, str) for field, _ in self.filled]
        for field, one in self.plains.items():
            row = self.rows[field]
            if one is None:
                return None
            kind = cast(Any, list)[one] if row.many else one
            rows.append((field, kind) if row.required else (field, UnsetType | kind | None, UNSET))
        return msgspec.defstruct(self.name, rows, kw_only=True, gc=False)


_NULL: Final = Raw(b"null")
_LIMITS: Final = ("min_price", "max_price")
_NEVER: Final[Any] = Annotated[int, Meta(gt=0, lt=0)]
"""The type of a field that must not be there."""

_text: Final = msgspec.json.Decoder(str)
_texts: Final = msgspec.json.Decoder(list[str])
_said: Final = msgspec.json.Decoder(str | list[str] | None)
_members: Final = msgspec.json.Decoder(list[Raw])


def _says(value: Raw, foreign: frozenset[str]) -> bool:
    """Tell whether an enum's value, or a list of them, has a foreign one."""
    said = _said.decode(value)
    return False if said is None else said in foreign if isinstance(said, str) else not foreign.isdisjoint(said)


def _fits(value: Raw, length: int | None) -> bool:
    try:
        text = _text.decode(value)
    except msgspec.ValidationError:
        return False
    return bool(text) and (length is None or len(text) <= length)


def _value(version: str, nearest: Mapping[str, str | None], required: bool) -> _Lower:
    def lower(value: Raw, at: str, losses: list[Loss]) -> Raw | None:
        said = _text.decode(value)
        if said not in nearest:
            return value
        other = nearest[said]
        if other is None and required:
            raise Withheld(f"OCPI {version} has no {said}")
        losses.append(_unlisted(version, said, other, at))
        return None if other is None else Raw(codec.encode(other))

    return lower


def _values(version: str, nearest: Mapping[str, str | None], _: bool) -> _Lower:
    def lower(values: Raw, at: str, losses: list[Loss]) -> Raw:
        said = _texts.decode(values)
        if nearest.keys().isdisjoint(said):
            return values
        kept: list[str] = []
        for index, value in enumerate(said):
            other = nearest.get(value, value)
            if other != value:
                losses.append(_unlisted(version, value, other, f"{at}/{index}"))
            if other is not None and (other == value or other not in said):
                kept.append(other)
        return Raw(codec.encode(kept))

    return lower


def _unlisted(version: str, said: str, other: str | None, at: str) -> Loss:
    return Loss(at, "lost", f"OCPI {version} has no {said}" + ("" if other is None else f"; {other} is the nearest"))


def _cut(length: int, version: str) -> _Lower:
    def lower(value: Raw, at: str, losses: list[Loss]) -> Raw:
        text = _text.decode(value)
        if len(text) <= length:
            return value
        losses.append(Loss(at, "lost", f"what is beyond {length} characters, which is all that OCPI {version} has room for"))
        return Raw(codec.encode(text[:length]))

    return lower


def _one_lifted(part: _Part) -> _Lift:
    plain = part.plain() or (lambda _: False)

    def lift(value: Raw, at: str, losses: list[Loss]) -> Raw:
        if plain(bytes(value)):
            return value
        fields = codec.fields(value)
        return Raw(codec.encode(fields)) if part.lift(fields, at, losses) else value

    return lift


def _each_lifted(part: _Part) -> _Lift:
    one = _one_lifted(part)

    def lift(value: Raw, at: str, losses: list[Loss]) -> Raw:
        members = _members.decode(value)
        lifted = [one(member, f"{at}/{index}", losses) for index, member in enumerate(members)]
        return Raw(codec.encode(lifted)) if any(map(operator.is_not, lifted, members)) else value

    return lift


def _one_lowered(part: _Part, required: bool) -> _Lower:
    plain = part.plain() or (lambda _: False)

    def lower(value: Raw, at: str, losses: list[Loss]) -> Raw | None:
        if plain(bytes(value)):
            return value
        fields = codec.fields(value)
        before = len(losses)
        try:
            return Raw(codec.encode(fields)) if part.lower(fields, at, losses) else value
        except Withheld as reason:
            if required:
                raise
            losses[before:] = [Loss(at, "lost", str(reason))]
            return None

    return lower


def _each_lowered(part: _Part, required: bool) -> _Lower:
    one = _one_lowered(part, False)

    def lower(value: Raw, at: str, losses: list[Loss]) -> Raw:
        members = _members.decode(value)
        before = len(losses)
        lowered = [one(member, f"{at}/{index}", losses) for index, member in enumerate(members)]
        if not any(map(operator.is_not, lowered, members)):
            return value
        kept = [member for member in lowered if member is not None]
        if required and not kept and members:
            raise Withheld(losses[before].reason)
        return Raw(codec.encode(kept))

    return lower
