"""OCPI's object tables as data, a version as differences to its base, and the decoder that accepts only clean objects."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

Cardinality = Literal["1", "?", "*", "+"]

Extent = Literal["whole", "patch", "bare", "member"]
"""What must be there: every required field; only last_updated (a PATCH); nothing (a PATCH before 2.2); only the key (an object
of a list in a PATCH)."""

_FIELD: Final = re.compile(r"(\w+)(?:\((\d+)\))? ([1?*+])( key)?( atomic)?( lax)?")
_TEXTS: Final = frozenset({"string", "CiString", "URL"})
_SCALARS: Final = _TEXTS | {"number", "decimal", "int", "boolean", "DateTime"}

# Exactly the canonical DateTimes that exist, but for 29 February: the general path knows leap years.
_DATE_TIME: Final = (
    "^(?:19[0-9][0-9]|2[01][0-9][0-9]|22[0-5][0-9]|226[01])-"
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,3})?Z$"
)
# The number of a decimal, which is a string: as JSON writes it, within the bounds of codec.in_range.
_DECIMAL: Final = r"^-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,25})?$"
# One below the bound of codec.in_range: a float may round up to it.
_MAGNITUDE: Final = 10**15 - 1


class Field(Struct, frozen=True):
    """One row of an object table: type (scalar, enum or object), length limit, cardinality.

    `key`: the field is part of an object's identity; on a list of objects, its members' identities count. `atomic`: the list
    is replaced as a whole even so, by a PATCH that names it.
    `lax`: the absence of a required field is remarked on, but the object is taken without it.
    """

    type: str
    length: int | None
    cardinality: Cardinality
    key: bool = False
    atomic: bool = False
    lax: bool = False

    @property
    def required(self) -> bool:
        """Tell whether absence and null are errors."""
        return self.cardinality in "1+"

    @property
    def many(self) -> bool:
        """Tell whether the value is a list."""
        return self.cardinality in "*+"

    def inner(self, extent: Extent) -> Extent:
        """Return the extent of this field's own objects: keyed members of a PATCH are patches themselves."""
        return "member" if extent != "whole" and self.key and self.many and not self.atomic else "whole"

    def demanded(self, name: str, extent: Extent) -> bool:
        """Tell whether the field, called `name`, must be there."""
        match extent:
            case "whole":
                return self.required
            case "patch":
                return self.required and name == "last_updated"
            case "bare":
                return False
            case "member":
                return self.required and self.key and not self.many


class Spec(Struct, frozen=True):
    """A version's data types. `open_enums` take values that are not listed; `offsets`: a DateTime may be local time."""

    objects: Mapping[str, Mapping[str, Field]]
    enums: Mapping[str, tuple[str, ...]]
    open_enums: frozenset[str]
    offsets: bool = False

    def differing(
        self,
        objects: Mapping[str, Mapping[str, str | None] | None] | None = None,
        enums: Mapping[str, str | None] | None = None,
        open_enums: Iterable[str] | None = None,
        offsets: bool = False,
    ) -> "Spec":
        """Return this version with other or new objects and fields, enums (the whole list) and open enums; None: gone.

        A field that is told anew keeps its place in the table. Enums that are gone are no longer open.
        """
        tables: dict[str, Mapping[str, Field]] = dict(self.objects)
        for name, rows in (objects or {}).items():
            if rows is None:
                del tables[name]
                continue
            table: dict[str, Field] = dict(tables.get(name, {}))
            for field, text in rows.items():
                if text is None:
                    del table[field]
                else:
                    table[field] = _field(text)
            tables[name] = table
        values = dict(self.enums)
        for name, listed in (enums or {}).items():
            if listed is None:
                del values[name]
            else:
                values[name] = tuple(listed.split())
        is_open = self.open_enums if open_enums is None else frozenset(open_enums)
        spec = Spec(tables, values, is_open & values.keys(), offsets)
        for name, fields in tables.items():
            for field, row in fields.items():
                if not (row.type in _SCALARS or row.type in values or row.type in tables):
                    raise ValueError(f"{name}.{field}: no type is called {row.type!r}")
        return spec

    def without(self, enum: str, *values: str) -> str:
        """Return an enum's list, as `differing` takes it, less some values."""
        listed = self.enums[enum]
        missing = set(values) - set(listed)
        if missing:
            raise ValueError(f"{enum} has no {', '.join(sorted(missing))}")
        return " ".join(value for value in listed if value not in values)


def declare(objects: Mapping[str, Mapping[str, str]], enums: Mapping[str, str], open_enums: Iterable[str]) -> Spec:
    """Return the types that are written as in OCPI's tables: `{"Price": {"excl_vat": "number 1", "incl_vat": "number ?"}}`.

    A field is `type(length) cardinality`, with ` key` behind it where it identifies the object, ` atomic` behind that, and ` lax`
    where it may miss.
    """
    return Spec({}, {}, frozenset(open_enums)).differing(objects, enums)


def _field(text: str) -> Field:
    match = _FIELD.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not `type(length) cardinality`")
    kind, length, cardinality, *marks = match.groups()
    key, atomic, lax = (mark is not None for mark in marks)
    return Field(kind, int(length) if length else None, cast(Cardinality, cardinality), key, atomic, lax)


class CleanDecoder:
    """Decodes an object only where nothing at all is to be remarked or changed about its fields; else gives None.

    It never accepts what the validator would remark on; what it gives None for may be clean all the same.
    """

    def __init__(self, spec: Spec, name: str, extent: Extent) -> None:
        self._decode = msgspec.json.Decoder(_Structs(spec).struct(name, True, extent)).decode

    def __call__(self, body: bytes) -> Any:
        """Return the object with its fields as attributes (UNSET where absent), or None."""
        folded = body.translate(_FOLD, _ASIDE)
        # Escapes, DEL and non-ASCII would need a look at each character, 41 digits or an exponent one at each number.
        if b"\x7f" in folded or _MANY_DIGITS in folded or (_MAYBE_EXPONENT.search(folded) and _EXPONENT.search(folded)):
            return None
        try:
            clean = self._decode(body)
        except (msgspec.DecodeError, RecursionError):
            return None
        # A repeated key is overwritten in silence, and so is its colon when the object is written again.
        return clean if folded.count(b":") == _encode(clean).count(b":") else None


# What is left of a body to look for doubts in: digits and points as 0, exponents as e, whatever is not plain text as DEL, and
# the marks between values. Letters and blanks go aside, which makes the searches short.
_FOLD: Final = bytes(
    ord("0") if byte in b"0123456789." else ord("e") if byte in b"eE" else 0x7F if byte >= 0x7F or byte == ord("\\") else byte
    for byte in range(256)
)
_ASIDE: Final = bytes(byte for byte in range(0x7F) if byte not in b'0123456789.eE\\":,[]{}')
_MANY_DIGITS: Final = b"0" * 41
_MAYBE_EXPONENT: Final = re.compile(rb"0e0")  # a pattern that is plain text is found faster than `in` finds it
_EXPONENT: Final = re.compile(rb"[:,\[]0+e0+[,\]}]")
_encode: Final = msgspec.json.Encoder().encode


class _Structs:
    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.made: dict[tuple[str, bool, Extent], type[Struct]] = {}

    def struct(self, name: str, keyed: bool, extent: Extent) -> type[Struct]:
        made = self.made.get((name, keyed, extent))
        if made is None:
            rows = [self.member(field, row, keyed, extent) for field, row in self.spec.objects[name].items()]
            made = msgspec.defstruct(name, rows, kw_only=True, forbid_unknown_fields=True, gc=False)
            self.made[name, keyed, extent] = made
        return made

    def member(self, name: str, row: Field, keyed: bool, extent: Extent) -> tuple[str, Any] | tuple[str, Any, Any]:
        kind = self.kind(row, keyed, extent)
        if row.many:
            kind = Annotated[cast(Any, list)[kind], Meta(min_length=1 if row.required else 0)]
        if not row.required:
            kind = kind | None
        return (name, kind) if row.demanded(name, extent) else (name, kind | UnsetType, UNSET)

    def kind(self, row: Field, keyed: bool, extent: Extent) -> Any:
        match row.type:
            case "string" | "CiString" | "URL":
                return Annotated[str, Meta(min_length=1 if row.key and keyed else 0, max_length=row.length)]
            case "number":
                return Annotated[float, Meta(ge=-_MAGNITUDE, le=_MAGNITUDE)]
            case "decimal":
                return Annotated[str, Meta(pattern=_DECIMAL)]
            case "int":
                bound = _MAGNITUDE if row.length is None else 10**row.length - 1
                return Annotated[int, Meta(ge=-bound, le=bound)]
            case "boolean":
                return bool
            case "DateTime":
                return Annotated[str, Meta(pattern=_DATE_TIME)]
        if row.type in self.spec.enums:
            return cast(Any, Literal)[self.spec.enums[row.type]]
        return self.struct(row.type, keyed and row.key, row.inner(extent))
