"""Where unknown fields go whose names mean something else in the canonical form.

A 2.2.1 Price that carries `before_taxes` on its own account would otherwise be read as a canonical one. Such fields
are put on a shelf, a member that only the same version's `lower` opens: nothing is lost and nobody is misled.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Raw, Struct

from schemas import codec
from schemas.events import Document
from schemas.types import Loss

SHELVES: Final = "roamlog:"
"""How the name of a shelf begins; the version that fills it follows."""


class Shelf(Struct, frozen=True):
    """The shelf of one version."""

    version: str

    @property
    def name(self) -> str:
        """The member's name, which no OCPI version has."""
        return SHELVES + self.version

    def put(self, fields: Document, names: tuple[str, ...]) -> bool:
        """Move the named fields, and what is called like a shelf, onto the shelf; tell whether there were any."""
        taken = [field for field in fields if field in names or field.startswith(SHELVES)]
        if taken:
            shelved = {field: fields.pop(field) for field in taken}
            fields[self.name] = Raw(codec.encode(shelved))
        return bool(taken)

    def take(self, fields: Document, names: tuple[str, ...], at: str, losses: list[Loss]) -> bool:
        """Put the fields back. Lost are the named ones, which only the canonical form has, and other versions' shelves."""
        shelves = [field for field in fields if field.startswith(SHELVES)]
        foreign = [field for field in names if field in fields]
        own = fields.pop(self.name, None)
        for field in shelves:
            if field != self.name:
                del fields[field]
                losses.append(Loss(f"{at}/{field}", "lost", f"unknown fields of OCPI {field.removeprefix(SHELVES)}"))
        for field in foreign:
            del fields[field]
            losses.append(Loss(f"{at}/{field}", "lost", f"OCPI {self.version} has no such field"))
        if own is not None:
            fields.update(codec.fields(own))
        return bool(shelves or foreign)


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
