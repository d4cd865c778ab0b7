"""Where unknown fields go whose names mean something else in the canonical form.

A 2.2.1 Price that carries `before_taxes` on its own account would otherwise be read as a canonical one. Such fields
are put on a shelf, a member that only the same version's `lower` opens: nothing is lost and nobody is misled.
"""

import operator
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw, Struct

from schemas import codec
from schemas.events import Document
from schemas.types import Loss

SHELVES: Final = "roamlog:"
"""How the name of a shelf begins; the version that fills it follows."""

KEPT: Final = "kept/"
"""How a note on a shelf begins of what a field said that has another form there."""


class Shelf(Struct, frozen=True):
    """The shelf of one version."""

    version: str

    @property
    def name(self) -> str:
        """The member's name, which no OCPI version has."""
        return SHELVES + self.version

    def put(self, fields: Document, names: tuple[str, ...]) -> bool:
        """Move the named fields onto the shelf, beside what is there; tell whether there were any."""
        taken = {field: fields.pop(field) for field in names if field in fields}
        if taken:
            fields[self.name] = Raw(codec.encode({**self.of(fields), **taken}))
        return bool(taken)

    def copy(self, fields: Document, names: Iterable[str]) -> None:
        """Note on the shelf what the named fields say, which stay."""
        noted = {KEPT + field: fields[field] for field in names}
        fields[self.name] = Raw(codec.encode({**self.of(fields), **noted}))

    def unchanged(self, fields: Document) -> frozenset[str]:
        """Return the fields that still say what was noted of them."""
        noted = [(field.removeprefix(KEPT), text) for field, text in self.of(fields).items() if field.startswith(KEPT)]
        return frozenset(field for field, text in noted if fields.get(field) == text)

    def of(self, fields: Document) -> Document:
        """Return what is on the object's shelf."""
        own = fields.get(self.name)
        return {} if own is None else codec.fields(own)

    def drop(self, fields: Document, names: tuple[str, ...], at: str, losses: list[Loss]) -> bool:
        """Remove the named fields, which only the canonical form has; tell whether there were any."""
        foreign = [field for field in names if field in fields]
        for field in foreign:
            del fields[field]
            losses.append(Loss(f"{at}/{field}", "lost", f"OCPI {self.version} has no such field"))
        return bool(foreign)

    def seal(self, fields: Document) -> bool:
        """Put what a partner calls like a shelf onto the shelf, in every object within; tell whether there was any.

        Done once, before anything else is put there.
        """

        def convert(fields: Document, at: str) -> bool:
            within = _within(fields, at, convert)
            taken = {field: fields.pop(field) for field in list(fields) if field.startswith(SHELVES)}
            if taken:
                fields[self.name] = Raw(codec.encode(taken))
            return bool(taken) or within

        return convert(fields, "")

    def unseal(self, fields: Document, losses: list[Loss]) -> bool:
        """Empty the shelf of every object within, after all else; other versions' are lost. Tell whether there was any."""

        def convert(fields: Document, at: str) -> bool:
            within = _within(fields, at, convert)
            own = {field: value for field, value in self.of(fields).items() if not field.startswith(KEPT)}
            shelves = [field for field in fields if field.startswith(SHELVES)]
            for field in shelves:
                del fields[field]
                version, _, what = field.removeprefix(SHELVES).partition("/")
                if field != self.name and not what.startswith("absent/"):
                    losses.append(Loss(f"{at}/{field.replace('/', '~1')}", "lost", f"what only OCPI {version} says"))
            fields.update(own)
            return bool(shelves) or within

        return convert(fields, "")


def has_no_shelf(text: bytes) -> bool:
    """Tell in little time that no member in a JSON text is called like a shelf; errs on the side of False."""
    # A single byte is found ten times as fast as two, and few documents have one.
    return _MARK not in text and (_BACKSLASH not in text or _ESCAPE not in text)


_Convert: TypeAlias = Callable[[Document, str], bool]


def _within(fields: Document, at: str, convert: _Convert) -> bool:
    changed = False
    for name, value in fields.items():
        if not name.startswith(SHELVES):
            new = _anywhere(value, f"{at}/{name}", convert)
            if new is not value:
                fields[name] = new
                changed = True
    return changed


def _anywhere(value: Raw, at: str, convert: _Convert) -> Raw:
    text = bytes(value)
    if has_no_shelf(text):
        return value
    if text.startswith(b"{"):
        members = codec.fields(text)
        return Raw(codec.encode(members)) if convert(members, at) else value
    if text.startswith(b"["):
        items = _items.decode(text)
        new = [_anywhere(item, f"{at}/{index}", convert) for index, item in enumerate(items)]
        return Raw(codec.encode(new)) if any(map(operator.is_not, items, new)) else value
    return value


_MARK: Final = SHELVES.encode()
_BACKSLASH: Final = b"\\"
_ESCAPE: Final = rb"\u"  # how letters of a member's name may be written otherwise


def each(fields: Document, name: str, at: str, losses: list[Loss], convert: Callable[[Document, str, list[Loss]], bool]) -> bool:
    """Apply `convert` to each object of a list field, absent and null allowed; tell whether anything changed."""
    members = _members.decode(fields[name]) if name in fields else None
    if not members:
        return False
    changed = [convert(member, f"{at}/{name}/{index}", losses) for index, member in enumerate(members)]
    if any(changed):
        fields[name] = Raw(codec.encode(members))
    return any(changed)


_members: Final = msgspec.json.Decoder(list[Document] | None)
_items: Final = msgspec.json.Decoder(list[Raw])
