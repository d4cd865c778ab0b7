"""An object without parts as a last-writer record: the fold that Tariffs and Tokens share."""

from typing import Final

import msgspec
from msgspec import Struct

from schemas.events import Document, Patch
from schemas.types import Finding, Instant, date_time
from streams.errors import Poison
from streams.lastwriter import AHEAD_US, LastWriter, Stamp, patched, replaced, stamp
from streams.projection import Recorded

REMEMBERED: Final = 16
PARKED: Final = 100


class Header(Struct, frozen=True, array_like=True, gc=False):
    """What the state needs beside the document; `pushed` where its partner has ever pushed it."""

    writer: LastWriter = LastWriter()
    deleted: Stamp | None = None
    first_seen: Instant = 0
    changed_at: Instant = 0
    parked: int = 0
    event_ids: tuple[bytes, ...] = ()
    pushed: bool = False


class Kept(Struct, frozen=True, gc=False):
    """An object with who wrote what."""

    fields: Document = {}
    header: Header = Header()

    @property
    def served(self) -> bool:
        """Whether a PUT has described it and no newer DELETE has taken it away."""
        base, deleted = self.header.writer.base, self.header.deleted
        return base is not None and (deleted is None or base > deleted)


def put(before: Kept, document: Document, recorded: Recorded, spelled: tuple[str, ...]) -> Kept:
    """Return the object after a PUT; `spelled` names the identifying fields, whose first spelling is kept."""
    at = _stamp(before.header, recorded)
    writer, fields = replaced(before.header.writer, before.fields, document, at)
    if writer is before.header.writer:
        return before
    if before.header.writer.base is not None:
        fields = fields | {name: before.fields[name] for name in spelled if name in before.fields}
    return Kept(fields, msgspec.structs.replace(before.header, writer=writer, parked=0))


def patch(before: Kept, change: Patch, recorded: Recorded, spelled: tuple[str, ...]) -> Kept:
    """Return the object after a PATCH. Raises Poison for the 101st that waits for a PUT."""
    at = _stamp(before.header, recorded)
    changes = {name: text for name, text in change.set.items() if name not in spelled}
    writer, fields = patched(before.header.writer, before.fields, changes, at)
    if writer is before.header.writer:
        return before
    if writer.base is None and before.header.parked >= PARKED:
        raise Poison(f"{PARKED} PATCHes are waiting for a PUT")
    parked = before.header.parked + 1 if writer.base is None else 0
    return Kept(fields, msgspec.structs.replace(before.header, writer=writer, parked=parked))


def delete(before: Kept, recorded: Recorded) -> Kept:
    """Return the object after a DELETE, which takes the newest stamp time that it meets, with its own version."""
    at = _stamp(before.header, recorded)
    if before.header.deleted is not None and at <= before.header.deleted:
        return before
    return Kept(before.fields, msgspec.structs.replace(before.header, deleted=at))


def noted(before: Kept | None, after: Kept, recorded: Recorded) -> Kept:
    """Return the state with the event's id, arrival and, if it is the first servable one, first_seen."""
    envelope, header = recorded.envelope, after.header
    changed = before is None or after is not before
    return Kept(
        after.fields,
        msgspec.structs.replace(
            header,
            event_ids=(*header.event_ids[-REMEMBERED + 1 :], envelope.event_id),
            first_seen=header.first_seen or (envelope.received_at if header.writer.base is not None else 0),
            changed_at=max(header.changed_at, envelope.received_at) if changed else header.changed_at,
            pushed=header.pushed or envelope.origin == "push",
        ),
    )


def clock_ahead(recorded: Recorded) -> list[Finding]:
    """Return the finding for an event whose last_updated is ahead of its arrival."""
    envelope = recorded.envelope
    if envelope.last_updated is None or envelope.last_updated <= envelope.received_at + AHEAD_US:
        return []
    text = f"last_updated {date_time(envelope.last_updated)} is ahead of its arrival"
    return [Finding("/last_updated", "clock_ahead", "warning", text)]


def _stamp(header: Header, recorded: Recorded) -> Stamp:
    envelope = recorded.envelope
    if envelope.last_updated is not None:
        return stamp(envelope.last_updated, envelope.received_at, recorded.version)
    met = [written.event for written in header.writer.newer.values()]
    met += [written.event for written in (header.writer.base, header.deleted) if written is not None]
    newest = max(met, default=envelope.received_at)
    return Stamp(newest, newest, recorded.version)
