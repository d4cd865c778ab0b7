"""Dialects before 2.2, whose objects are cut differently: they hold what later ones name, and do not say whose they are."""

from collections.abc import Callable, Collection, Mapping, Set
from copy import copy
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeAlias, cast

import msgspec
from msgspec import Raw

from schemas import codec
from schemas.events import Patch
from schemas.ocpi import v2_3_0
from schemas.ocpi.checks import Sense
from schemas.ocpi.declared import Declared, Mend, Reader, Withheld
from schemas.ocpi.dialect import NOTHING_BESIDE, Beside, Level, Lifted, Lowered
from schemas.ocpi.shelf import SHELVES, has_no_shelf
from schemas.ocpi.spec import Extent, Spec
from schemas.types import Finding, Instant, Json, Loss, Module, Verb, instant

Fields: TypeAlias = dict[str, Any]
"""An object whose tables were checked, decoded."""

NA: Final = "#NA"
"""What a required text says that truly cannot be known (OCPI 2.2 transport_and_format, no data available)."""


class Up:
    """A lift under way: what the caller knows of the object, and what was lost or made up. `whole`: it is no PATCH."""

    __slots__ = ("findings", "losses", "owner", "received_at", "whole")

    def __init__(self, owner: str | None, received_at: Instant | None, *, whole: bool) -> None:
        self.owner = owner
        self.received_at = received_at
        self.whole = whole
        self.losses: list[Loss] = []
        self.findings: list[Finding] = []

    def of_whole(self) -> "Up":
        """Return the same for an object that is whole within a PATCH."""
        if self.whole:
            return self
        inner = copy(self)
        inner.whole = True
        return inner

    def lost(self, at: str, reason: str) -> None:
        """Note what the canonical form cannot carry."""
        self.losses.append(Loss(at, "lost", reason))

    def defaulted(self, at: str, reason: str) -> None:
        """Note what the canonical form needs and the object did not say."""
        self.losses.append(Loss(at, "defaulted", reason))


class Down:
    """A lowering under way: what stands beside the object, and what was lost or made up.

    `brings_shelves`: what was taken from beside it may have members that are called like a shelf.
    """

    __slots__ = ("beside", "brings_shelves", "losses")

    def __init__(self, beside: Beside) -> None:
        self.beside = beside
        self.brings_shelves = False
        self.losses: list[Loss] = []

    def lost(self, at: str, reason: str) -> None:
        """Note what the version cannot say."""
        self.losses.append(Loss(at, "lost", reason))

    def defaulted(self, at: str, reason: str) -> None:
        """Note what the version needs and the object did not say."""
        self.losses.append(Loss(at, "defaulted", reason))


class Way(NamedTuple):
    """How one object type becomes canonical, in place, and comes back; the text is the pointer to the object.

    `in_texts`: on the way back its fields stay JSON texts, so that what does not change is never decoded.
    """

    lift: Callable[[Fields, Up, str], None]
    lower: Callable[[dict[str, Any], Down, str], None]
    in_texts: bool = False


LiftClean: TypeAlias = Callable[[Any, bytes, Up], "bytes | None"]
"""Gives the canonical text of a clean object, decoded and as received, without taking it apart; None where that needs more."""


class Objects:
    """The objects of one version, with the shelves that keep what the canonical form has no place for.

    A member `roamlog:{version}/{field}` holds a field as it was received, wherever the canonical one says less, and an unknown
    field whose name is a canonical one's. What it holds counts as long as the canonical fields still say what it was lifted to.
    A member `roamlog:{version}/absent/{field}` tells that a field of the canonical form was made up.
    """

    ways: Mapping[str, Way]
    """The conversions by object type."""

    lift_clean: Mapping[str, LiftClean] = {}
    """Quicker ways for clean objects."""

    def __init__(self, version: str, spec: Spec) -> None:
        self.version: Final = version
        self.spec: Final = spec
        self.prefix: Final = f"{SHELVES}{version}/"
        self.absent: Final = f"{self.prefix}absent/"
        self.sealed: Final = f"{SHELVES}{version}"
        self.reserved: Final = {name: _CANONICAL[name] - spec.objects[name].keys() for name in _CANONICAL if name in spec.objects}
        self.intruding: Final = {name: spec.objects[name].keys() - _CANONICAL[name] for name in self.reserved}
        self.known: Final = {name: frozenset(values) for name, values in spec.enums.items()}
        self.is_stamped: Final = "last_updated" in spec.objects["Session"]
        self.foreign: Final = f"OCPI {version} has no such field"

    def shelve(self, name: str, of: Fields) -> None:
        """Put unknown fields aside whose names mean something in the canonical form; first of all, on the way up."""
        if odd := of.keys() - self.spec.objects[name].keys():
            reserved = self.reserved[name]
            for field in [field for field in of if field in odd and field in reserved]:
                of[self.prefix + field] = of.pop(field)

    def begin(self, name: str, of: dict[str, Any], down: Down, at: str) -> "Lowering":
        """Return the lowering of one object; other versions' shelves, and fields that are another thing here, are lost."""
        shelf: dict[str, Any] = {}
        odd = of.keys() - _CANONICAL[name]
        for field in [field for field in of if field in odd] if odd else ():
            if field.startswith(self.prefix):
                shelf[field.removeprefix(self.prefix)] = of.pop(field)
            elif field.startswith(SHELVES) and field != self.sealed:
                del of[field]
                version, _, what = field.removeprefix(SHELVES).partition("/")
                if not what.startswith("absent/"):
                    down.lost(f"{at}/{field.replace('/', '~1')}", f"what only OCPI {version} says")
            elif field in self.intruding[name]:
                del of[field]
                down.lost(f"{at}/{field}", "an unknown field whose name this version uses itself")
        return Lowering(self, name=name, of=of, shelf=shelf, down=down, at=at)

    def keep(self, of: Fields, field: str, value: Json) -> None:
        """Put a field on the shelf as it was received."""
        of[self.prefix + field] = value

    def check_length(self, of: Fields, field: str, characters: int, up: Up, at: str) -> None:
        """Remark an identity that is longer than later versions allow."""
        if len(of.get(field) or "") > characters:
            text = f"{len(of[field])} characters are more than the {characters} of OCPI 2.2 and later"
            up.findings.append(Finding(f"{at}/{field}", "long_id", "info", text))

    def own(self, of: Fields, up: Up) -> None:
        """Add whose a whole object is."""
        if up.whole and up.owner is not None:
            of["country_code"], _, of["party_id"] = up.owner.partition("*")

    def listed(self, of: Fields, field: str, enum: str) -> None:
        """Keep a list of enum values that has unlisted ones: they are dropped from a list of another version."""
        value = of.get(field)
        if isinstance(value, list) and not self.known[enum].issuperset(_texts(value)):
            self.keep(of, field, value)


class Lowering:
    """One object on its way down: what the version itself shelved, and how the object's fields are made to fit."""

    __slots__ = ("at", "down", "name", "objects", "of", "shelf")

    def __init__(self, objects: Objects, *, name: str, of: Fields, shelf: Fields, down: Down, at: str) -> None:
        self.objects = objects
        self.name = name
        self.of = of
        self.shelf = shelf
        self.down = down
        self.at = at

    def lost(self, field: str, reason: str) -> None:
        """Note what the version cannot say."""
        self.down.losses.append(Loss(f"{self.at}/{field}", "lost", reason))

    def defaulted(self, field: str, reason: str) -> None:
        """Note what the version needs and the object did not say."""
        self.down.losses.append(Loss(f"{self.at}/{field}", "defaulted", reason))

    def keeps(self, field: str) -> bool:
        """Tell whether this version itself said what the field says now."""
        return field in self.shelf and bool(self.shelf[field] == self.of.get(field))

    def narrow(self, field: str, enum: str, instead: Mapping[str, str] | None = None) -> None:
        """Leave the enum values in a list that this version has, `instead` of some others a like one."""
        value, known, version = self.of.get(field), self.objects.known[enum], self.objects.version
        if not isinstance(value, list) or known.issuperset(_texts(value)) or self.keeps(field):
            return
        kept: list[Json] = []
        for index, member in enumerate(value):
            given = member if member in known else (instead or {}).get(member)
            if given is None:
                self.lost(f"{field}/{index}", f"OCPI {version} has no {enum} {member}")
                continue
            if given != member:
                self.lost(f"{field}/{index}", f"OCPI {version} has no {enum} {member}; it says {given}")
            if given not in kept:
                kept.append(given)
        self.of[field] = kept

    def cut(self, field: str, characters: int) -> None:
        """Shorten a text for people."""
        text = self.of.get(field)
        if isinstance(text, str) and len(text) > characters and not self.keeps(field):
            self.of[field] = text[:characters]
            self.lost(field, f"the text beyond its {characters} characters")

    def note_length(self, *fields: str) -> None:
        """Note identities that are longer than this version allows. They stay whole: cut, they would be others."""
        for field in fields:
            text, row = self.of.get(field), self.objects.spec.objects[self.name].get(field)
            if text is None or row is None or row.length is None or len(text) <= row.length:
                continue
            if len(_generic.decode(text) if isinstance(text, Raw) else text) > row.length:
                self.lost(
                    field, f"that OCPI {self.objects.version} has {row.length} characters here; a cut text would name another"
                )

    def finish(self) -> None:
        """Drop what only the canonical form has and give the unknown fields back."""
        reserved = self.objects.reserved[self.name]
        for field in sorted(reserved & self.of.keys()):
            value = self.of.pop(field)
            if field not in _SILENT and value not in _NOTHING and f"absent/{field}" not in self.shelf:
                self.lost(field, self.objects.foreign)
        if self.shelf:
            self.of |= {field: value for field, value in self.shelf.items() if field in reserved}


class Older(Declared):
    """A version before 2.2. See `schemas.ocpi.dialect.Dialect` for what its methods promise."""

    def __init__(
        self,
        *,
        version: str,
        edition: str,
        revision: int,
        objects: Objects,
        patched: Set[str],
        upserted: Mapping[str, Mapping[str, str]],
        sense: Mapping[str, Sense],
        mend: Mapping[str, Mend] | None = None,
    ) -> None:
        """`upserted`: the lists that a PATCH merges by their members' ids, with the members' type, by object type."""
        super().__init__(version=version, edition=edition, revision=revision, spec=objects.spec, conversions={}, patched=patched)
        self.objects: Final = objects
        self._upserted = upserted
        self._sense = sense
        self._mend = mend or {}

    def lift(
        self,
        module: Module,
        verb: Verb,
        body: bytes,
        *,
        level: Level = "location",
        owner: str | None = None,
        received_at: Instant | None = None,
    ) -> Lifted:
        """Return the canonical form of one object or of a PATCH. Raises NotJson or Refused."""
        name = self._object(module, level)
        up = Up(owner, received_at, whole=verb is not _PATCH)
        if not up.whole and name not in self.patched:
            raise ValueError(f"OCPI {self.version} has no PATCH of a {name}")
        source, text, findings = self._reader(name, "whole" if up.whole else "bare").read(body)
        payload: bytes | None = None
        if up.whole:
            if not isinstance(source, dict) and (quickly := self.objects.lift_clean.get(name)) is not None:
                payload = quickly(source, body, up)
            if payload is None:
                document = _generic.decode(self._sealed(text))
                self.objects.ways[name].lift(document, up, "")
                payload = codec.encode(document)
        else:
            payload = codec.encode(self._patch_of(name, _generic.decode(self._sealed(text)), up, ""))
        ids = _ids(name, source)
        updated = _said(source, "last_updated") if self.objects.is_stamped else None
        return Lifted(
            module=module,
            verb=verb,
            payload=payload,
            raw=body,
            party=None,
            ids=ids,
            last_updated=instant(updated) if updated else None,
            charging_key=ids[0] if name == "CDR" else None,
            findings=(*findings, *up.findings) if up.findings else findings,
            losses=tuple(up.losses),
        )

    def lower(self, module: Module, document: bytes, *, level: Level = "location", beside: Beside = NOTHING_BESIDE) -> Lowered:
        """Return a canonical object in this version, and what it could not say."""
        name = self._object(module, level)
        down = Down(beside)
        way = self.objects.ways[name]
        fields = codec.fields(document) if way.in_texts else _generic.decode(document)
        try:
            way.lower(fields, down, "")
        except Withheld as reason:
            return Lowered(b"", tuple(down.losses), str(reason))
        text = codec.encode(fields)
        if down.brings_shelves or not has_no_shelf(document):
            texts = codec.fields(text)
            text = codec.encode(texts) if self._shelf.unseal(texts, down.losses) else text
        return Lowered(text, tuple(down.losses))

    def _sealed(self, text: bytes) -> bytes:
        if has_no_shelf(text):
            return text
        texts = codec.fields(text)
        return codec.encode(texts) if self._shelf.seal(texts) else text

    def _patch_of(self, name: str, changes: Fields, up: Up, at: str) -> Patch:
        upsert: dict[str, list[Raw]] = {}
        for field, member in self._upserted.get(name, {}).items():
            members = changes.pop(field, None)
            if isinstance(members, list) and members:
                upsert[field] = []
                for index, item in enumerate(members):
                    inner = self._patch_of(member, cast(Fields, item), up, f"{at}/{field}/{index}")
                    upsert[field].append(Raw(codec.encode(inner)))
        self.objects.ways[name].lift(changes, up, at)
        if not at:
            for field in IDENTITY[name]:
                changes.pop(field, None)
        return Patch({field: Raw(codec.encode(value)) for field, value in changes.items()}, {}, upsert)

    def _reader(self, name: str, extent: Extent) -> Reader:
        reader = self._readers.get((name, extent))
        if reader is None:
            reader = Reader(self.spec, name, extent, sense=self._sense, mend=self._mend.get(name))
            self._readers[name, extent] = reader
        return reader


IDENTITY: Final[Mapping[str, tuple[str, ...]]] = {
    "Session": ("id",),
    "CDR": ("id",),
    "Tariff": ("id",),
    "Token": ("uid", "type"),
    "Location": ("id",),
    "EVSE": ("uid",),
    "Connector": ("id",),
}
"""What a PATCH cannot change."""

_PATCH: Final = Verb.PATCH  # every attribute of an enum's class costs as much as a call

_SILENT: Final = frozenset({"country_code", "party_id"})
"""Fields of the canonical form that are in the path of an object that does not have them."""

_NOTHING: Final[Collection[object]] = (None, [], Raw(b"null"), Raw(b"[]"))

_CANONICAL: Final = {name: frozenset(rows) for name, rows in v2_3_0.SPEC.objects.items()}

_generic: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(float_hook=Decimal)


def _texts(values: list[Json]) -> list[str]:
    return [value if isinstance(value, str) else "" for value in values]


def _ids(name: str, source: Any) -> tuple[str, ...]:
    """Return the ids that the object itself says."""
    fields = IDENTITY[name]
    if len(fields) == 1:
        only = _said(source, fields[0])
        return (only,) if only else ()
    own = tuple(_said(source, field) or "" for field in fields)
    return own if any(own) else ()


def _said(source: Any, field: str) -> str | None:
    # An absent field of a clean object is UNSET, which is false.
    return (source.get(field) if isinstance(source, dict) else getattr(source, field, None)) or None
