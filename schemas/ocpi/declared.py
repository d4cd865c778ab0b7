"""A dialect made from its declaration: the tables, and how its objects become canonical ones and come back."""

from collections.abc import Callable, Mapping, Set
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct

from schemas import codec
from schemas.events import Document, Patch
from schemas.ocpi.checks import SENSE, Sense
from schemas.ocpi.dialect import NOTHING_BESIDE, Beside, Level, Lifted, Lowered, Refused
from schemas.ocpi.shelf import Shelf, has_no_shelf
from schemas.ocpi.spec import CleanDecoder, Extent, Spec
from schemas.ocpi.validation import Enough, Report, validator
from schemas.types import Finding, Instant, Json, Loss, Module, Verb, instant, party_of

Convert: TypeAlias = Callable[[Document, str, list[Loss]], bool]
"""Turns an object's fields into the other form in place, noting losses under a pointer; tells whether anything changed."""


LiftText: TypeAlias = Callable[[Any, bytes], bytes | None]
"""Gives the canonical text of a clean object, decoded and as received, without taking it apart; None where it needs `lift`."""


Mend: TypeAlias = "Callable[[Json, Report], Json]"
"""Gives an object the shape of its table where another one is known to mean the same, with a remark; the same object else."""

Plain: TypeAlias = Callable[[bytes], bool]
"""Tells in little time of a canonical document's text that `lower` would change nothing; errs on the side of False."""


class Withheld(Exception):
    """What a conversion raises where the version would say something else than the object does; its text is the reason."""


class Conversion(Struct, frozen=True):
    """How one object type differs from its canonical form. An object without findings and without `concern` does not.

    An empty `concern` says that objects without findings never differ. `lower` may raise Withheld.
    """

    lift: Convert
    lower: Convert
    concern: str
    lift_text: LiftText | None = None
    plain: Plain | None = None


class Declared:
    """One OCPI version. See `schemas.ocpi.dialect.Dialect` for what its methods promise."""

    def __init__(
        self, *, version: str, edition: str, revision: int, spec: Spec, conversions: Mapping[str, Conversion], patched: Set[str]
    ) -> None:
        """`patched`: the object types that know PATCH."""
        self.version: Final = version
        self._shelf = Shelf(version)
        self.edition: Final = edition
        self.revision: Final = revision
        self.spec: Final = spec
        self._conversions = conversions
        self.patched: Final = patched
        self._readers: dict[tuple[str, Extent], Reader] = {}

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
        if verb is _PATCH:
            return self._lift_patch(module, name, body)
        source, payload, findings = self._reader(name, "whole").read(body)
        losses: list[Loss] = []
        conversion = self._conversions.get(name)
        is_clean = not isinstance(source, dict)
        if not is_clean and not has_no_shelf(payload):
            document = codec.fields(payload)
            payload = codec.encode(document) if self._shelf.seal(document) else payload
        if conversion is not None and (not is_clean or (conversion.concern and getattr(source, conversion.concern))):
            text = conversion.lift_text(source, body) if conversion.lift_text and is_clean else None
            if text is None:
                document = codec.fields(payload)
                text = codec.encode(document) if conversion.lift(document, "", losses) else payload
            payload = text
        raw = None if payload is body else body
        return _lifted((module, verb), name, source, (payload, raw), (findings, losses))

    def lower(self, module: Module, document: bytes, *, level: Level = "location", beside: Beside = NOTHING_BESIDE) -> Lowered:
        """Return a canonical object in this version, and what it could not say."""
        conversion = self._conversions.get(self._object(module, level))
        is_bare = has_no_shelf(document)
        if is_bare and (conversion is None or (conversion.plain is not None and conversion.plain(document))):
            return Lowered(document)
        members = codec.fields(document)
        losses: list[Loss] = []
        try:
            changed = conversion is not None and conversion.lower(members, "", losses)
            changed |= not is_bare and self._shelf.unseal(members, losses)
        except Withheld as reason:
            return Lowered(b"", tuple(losses), str(reason))
        return Lowered(codec.encode(members) if changed else document, tuple(losses))

    def _lift_patch(self, module: Module, name: str, body: bytes) -> Lifted:
        if name not in self.patched:
            raise ValueError(f"OCPI {self.version} has no PATCH of a {name}")
        source, text, findings = self._reader(name, "patch").read(body)
        losses: list[Loss] = []
        changes = codec.fields(text)
        if isinstance(source, dict) and not has_no_shelf(text):
            self._shelf.seal(changes)
        patch = self._patch(name, changes, losses)
        for field in _IDENTITY[name]:
            patch.set.pop(field, None)
        return _lifted((module, Verb.PATCH), name, source, (codec.encode(patch), body), (findings, losses))

    def _patch(self, name: str, changes: Document, losses: list[Loss]) -> Patch:
        append: dict[str, list[Raw]] = {}
        upsert: dict[str, list[Raw]] = {}
        if name == "Session" and "charging_periods" in changes:
            periods = _list(changes.pop("charging_periods"))
            if periods:
                append["charging_periods"] = periods
        for field, member in _UPSERTED.get(name, {}).items():
            if field in changes:
                inner = [self._patch(member, codec.fields(item), losses) for item in _list(changes.pop(field))]
                if inner:
                    upsert[field] = [Raw(codec.encode(item)) for item in inner]
        conversion = self._conversions.get(name)
        if conversion is not None:
            conversion.lift(changes, "", losses)
        return Patch(changes, append, upsert)

    def _object(self, module: Module, level: Level) -> str:
        return _OBJECTS[module] if module is not _LOCATIONS else _LEVELS[level]

    def _reader(self, name: str, extent: Extent) -> "Reader":
        reader = self._readers.get((name, extent))
        if reader is None:
            reader = self._readers[name, extent] = Reader(self.spec, name, extent)
        return reader


_PATCH: Final = Verb.PATCH
_LOCATIONS: Final = Module.LOCATIONS
_OBJECTS: Final = {Module.SESSIONS: "Session", Module.CDRS: "CDR", Module.TARIFFS: "Tariff", Module.TOKENS: "Token"}
_LEVELS: Final[Mapping[Level, str]] = {"location": "Location", "evse": "EVSE", "connector": "Connector"}
_UPSERTED: Final[Mapping[str, Mapping[str, str]]] = {"Location": {"evses": "EVSE"}, "EVSE": {"connectors": "Connector"}}
_PARTS: Final = frozenset({"EVSE", "Connector"})
"""Objects that do not say whose they are."""
_CHARGED: Final = frozenset({"Session", "CDR"})
_OWN: Final = ("country_code", "party_id")
_IDENTITY: Final[Mapping[str, tuple[str, ...]]] = {
    "Session": (*_OWN, "id"),
    "CDR": (*_OWN, "id"),
    "Tariff": (*_OWN, "id"),
    "Token": (*_OWN, "uid", "type"),
    "Location": (*_OWN, "id"),
    "EVSE": ("uid",),
    "Connector": ("id",),
}
_lists: Final = msgspec.json.Decoder(list[Raw] | None)


def _list(text: Raw) -> list[Raw]:
    return _lists.decode(text) or []


class Reader:
    """Reads one kind of body: in little time where nothing is to be said about it, else in full."""

    def __init__(
        self, spec: Spec, name: str, extent: Extent, *, sense: Mapping[str, Sense] = SENSE, mend: "Mend | None" = None
    ) -> None:
        self.clean = CleanDecoder(spec, name, extent)
        self.check = validator(spec, name, extent)
        self.sense = sense.get(name)
        self.mend = mend
        told = _TELLTALES.get(name, {})
        self.telltales = {field: told[field] for field in told if field not in spec.objects[name]}
        self.may_name_owner = extent == "patch" and "country_code" in spec.objects[name]

    def read(self, body: bytes) -> tuple[Any, bytes, tuple[Finding, ...]]:
        """Return the object, decoded or generic, its text as it is to be kept, and the remarks. Raises NotJson or Refused."""
        clean = self.clean(body)
        if clean is None or not (self.sense is None or self.sense.plain(clean)):
            return self.examine(body)
        if self.may_name_owner and (clean.country_code is UNSET) is not (clean.party_id is UNSET):
            return self.examine(body)
        return clean, body, ()

    def examine(self, body: bytes) -> tuple[dict[str, Json], bytes, tuple[Finding, ...]]:
        """Do what `read` does for any body, slowly."""
        value = codec.parse(body)
        report = Report()
        try:
            kept = self.check(value if self.mend is None else self.mend(value, report), "", report)
            self.tell(value, report)
        except Enough:
            raise Refused(report.findings()) from None
        if isinstance(kept, dict) and not report.errors:
            if self.sense is not None:
                self.sense.remark(kept, "", report)
            if self.may_name_owner and ("country_code" in kept) is not ("party_id" in kept):
                report.error("", "half_a_party", "country_code and party_id name the owner together or not at all")
        if report.errors or not isinstance(kept, dict) or not isinstance(value, dict):
            raise Refused(report.findings())
        if kept is value:
            return kept, body, report.findings()
        # last_updated counts as it was sent: the text that is kept ends at milliseconds.
        return {**kept, "last_updated": value.get("last_updated")}, codec.encode(kept), report.findings()

    def tell(self, value: Json, report: Report) -> None:
        """Remark fields by which another version is known."""
        for field in sorted(self.telltales.keys() & value.keys()) if isinstance(value, dict) else ():
            text = f"OCPI {self.telltales[field]} has this field; was the object meant for another version's URL?"
            report.warning(f"/{field}", "other_version", text)


_OLD: Final = "2.1.1 and before"
_NEW: Final = "2.2 and later"
_TELLTALES: Final[Mapping[str, Mapping[str, str]]] = {
    "Session": {
        **dict.fromkeys(("start_datetime", "end_datetime", "auth_id", "location"), _OLD),
        **dict.fromkeys(("start_date_time", "end_date_time", "cdr_token", "location_id", "evse_uid"), _NEW),
    },
    "CDR": {
        **dict.fromkeys(("stop_date_time", "auth_id", "location"), _OLD),
        **dict.fromkeys(("end_date_time", "cdr_token", "cdr_location"), _NEW),
        "total_usage": "2.0",
    },
    "Location": {"type": _OLD, "publish": _NEW, "parking_type": _NEW},
    "Connector": {
        **dict.fromkeys(("voltage", "amperage", "tariff_id"), _OLD),
        **dict.fromkeys(("max_voltage", "max_amperage", "tariff_ids"), _NEW),
    },
    "Token": {"auth_id": _OLD, "contract_id": _NEW, "allow_whitelist": "2.0"},
}
"""Fields that tell a version, by object type: where they are unknown, another one's object may have come."""


class _Generic:
    """A generic object with its fields as attributes, None where they are absent: read like a decoded one."""

    def __init__(self, fields: dict[str, Json]) -> None:
        self._fields = fields

    def __getattr__(self, name: str) -> Any:
        value = self._fields.get(name)
        return _Generic(value) if isinstance(value, dict) else value


def _lifted(
    asked: tuple[Module, Verb],
    name: str,
    source: Any,
    texts: tuple[bytes, bytes | None],
    remarks: tuple[tuple[Finding, ...], list[Loss]],
) -> Lifted:
    """Return the result with what the object says of itself; an absent field is UNSET or None, which are both false."""
    if isinstance(source, dict):
        source = _Generic(source)
    party = addressed_to = charging_key = None
    own_id = source.uid if name in ("EVSE", "Token") else source.id
    if name not in _PARTS and source.country_code:
        party = party_of(source.country_code, source.party_id)
    if name in _CHARGED and source.cdr_token:
        # A 2.2 token says nothing of its party; an unknown field of that name may hold anything.
        country_code, party_id = getattr(source.cdr_token, "country_code", None), getattr(source.cdr_token, "party_id", None)
        if isinstance(country_code, str) and isinstance(party_id, str) and {country_code, party_id}.isdisjoint(("", "#NA")):
            addressed_to = party_of(country_code, party_id)
    if name == "CDR":
        charging_key = source.session_id or source.credit_reference_id or own_id
    ids: tuple[str, ...] = (own_id,) if own_id else ()
    if name == "Token" and (own_id or source.type):
        ids = (own_id or "", source.type or "")
    updated = source.last_updated
    return Lifted(
        module=asked[0],
        verb=asked[1],
        payload=texts[0],
        raw=texts[1],
        party=party,
        ids=ids,
        last_updated=instant(updated) if updated else None,
        addressed_to=addressed_to,
        charging_key=charging_key,
        findings=remarks[0],
        losses=tuple(remarks[1]),
    )
