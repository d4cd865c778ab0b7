"""The tree Location - EVSE - Connector, each an own last-writer record, with who is listed where.

A PUT of a parent unlists each child that it does not name; any newer event naming the child lists it again. An
unlisted child keeps its record. The served last_updated of a parent is the newest of its own and its children's, so it
moves with every event below it and never back (OCPI 2.2.1 mod_locations, PUT and PATCH; DESIGN: membership).

Most events are a status of one EVSE, so a parent keeps its children packed: whoever changes one unpacks that one alone.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Raw, Struct

from schemas.events import Document, Patch
from schemas.types import Instant, date_time, identity, instant
from streams.lastwriter import AHEAD_US, LastWriter, Stamp, patched, replaced

_document: Final = msgspec.json.Decoder(Document)
_patch: Final = msgspec.json.Decoder(Patch)
_members: Final = msgspec.json.Decoder(list[Raw])
_text: Final = msgspec.json.Decoder(str)
_json: Final = msgspec.json.Encoder()
_msgpack: Final = msgspec.msgpack.Encoder()


class Child(Struct, frozen=True, array_like=True, gc=False):  # a tree: no cycles to collect
    """A child as its parent keeps it: the newest event that named it, what is asked of it most, and the node itself, packed."""

    named: Stamp
    served: bool
    touched: Instant
    packed: bytes

    @property
    def node(self) -> "Node":
        """The child itself."""
        return _node.decode(self.packed)


class Node(Struct, frozen=True, array_like=True, gc=False):
    """One object of the tree: its fields, who wrote them, and its children by lowered id.

    `id` is the first spelling; `text` the JSON of the fields but for two that stand apart: `updated` (its last_updated) and
    `said` (the field of children, where it came without any), both empty where absent. `named` is the newest event that
    was of the node itself, `order` the children as the newest PUT listed them, `touched` the newest instant (clamped) of
    anything that happened to it or below it.
    """

    id: str
    text: bytes = b"{}"
    updated: bytes = b""
    said: bytes = b""
    writer: LastWriter = LastWriter()
    named: Stamp | None = None
    touched: Instant = 0
    order: tuple[str, ...] = ()
    parts: dict[str, Child] = {}

    @property
    def served(self) -> bool:
        """Whether a PUT has described it."""
        return self.writer.base is not None

    @property
    def children(self) -> dict[str, "Node"]:
        """All children, listed or not, by lowered id."""
        return {key: child.node for key, child in self.parts.items()}

    def child(self, key: str) -> "Node | None":
        """Return the child of that lowered id."""
        child = self.parts.get(key)
        return None if child is None else child.node

    @property
    def listing(self) -> Stamp | None:
        """When the children were listed last: by the newest PUT, or by a newer PATCH that gave the whole list."""
        base, newer = self.writer.base, self.writer.newer
        if newer:
            for name in _LISTS:
                if (listed := newer.get(name)) is not None and (base is None or listed > base):
                    base = listed
        return base

    def lists(self, child: Child) -> bool:
        """Whether the child belongs to this node now: nothing newer than its naming left it out."""
        listing = self.listing
        return child.served and (listing is None or child.named >= listing)

    def listed(self) -> list[tuple[str, Child]]:
        """Return the children that belong to it with their keys, in the newest PUT's order, later ones behind by id."""
        parts = self.parts
        keys = self.order
        if len(keys) != len(parts) or parts.keys() != set(keys):
            keys = (*(key for key in keys if key in parts), *sorted(parts.keys() - set(keys)))
        listing = self.listing
        return [(key, child) for key in keys if (child := parts[key]).served and (listing is None or child.named >= listing)]


_LISTS: Final = ("evses", "connectors")
_node: Final = msgspec.msgpack.Decoder(Node)


class Shape(Struct, frozen=True):
    """How a level is spelled: the identifying field, and the field that holds the children (None at the leaves)."""

    id_field: str
    children_field: str | None
    child: "Shape | None"


CONNECTOR: Final = Shape("id", None, None)
EVSE: Final = Shape("uid", "connectors", CONNECTOR)
LOCATION: Final = Shape("id", "evses", EVSE)


class Event(Struct, frozen=True, gc=False):
    """When something was said: the event's own last_updated (None: stampless), its arrival and its row version."""

    last_updated: Instant | None
    received_at: Instant
    version: int

    def stamp(self, own: Instant | None, node: Node) -> Stamp:
        """Return the stamp for a node whose own last_updated is `own` (None: it has none, the event's counts)."""
        latest = self.received_at + AHEAD_US
        if self.last_updated is None and own is None:
            met = [written.own for written in node.writer.newer.values()]
            met += [node.writer.base.own] if node.writer.base else []
            newest = max(met, default=self.received_at)
            return Stamp(newest, newest, self.version)
        event = min(self.received_at if self.last_updated is None else self.last_updated, latest)
        return Stamp(event if own is None else min(own, latest), event, self.version)


def put(node: Node | None, document: Document, shape: Shape, event: Event, stale: list[str]) -> Node:
    """Return the node after a PUT of `document`, children included. Ids of children that were stale go to `stale`."""
    return _put(node, document, shape, event, stale, _last_updated(document))


def patch(node: Node | None, name: str, change: Patch, shape: Shape, event: Event) -> Node:
    """Return the node after a PATCH; members of `upsert` are patches of children, created (unserved) where unknown.

    A list of children in `set` (OCPI 2.0) is all of them: who is not in it is unlisted, as by a PUT.
    """
    before = node or Node(name)
    at = event.stamp(None, before)
    changes = {field: text for field, text in change.set.items() if field != shape.id_field}
    known = _fields(before, shape)
    writer, fields = patched(before.writer, known, changes, at)
    text, updated, said = (before.text, before.updated, before.said) if fields is known else _split(fields, shape)
    # What says no time of its own orders itself by what it meets, but it changed the node when it came.
    changed_at = event.received_at if event.last_updated is None else at.own
    parts, order, touched = before.parts, before.order, max(before.touched, changed_at)
    whole = None if shape.children_field is None else change.set.get(shape.children_field)
    if whole is not None and shape.child is not None and shape.children_field is not None:
        parts, keys, touched = _all_said(parts, _listed(whole), shape.child, event, at, touched)
        if writer.newer.get(shape.children_field) == at:
            order = keys
    if change.upsert:
        parts = dict(parts)
        for member in change.upsert.get(shape.children_field or "", ()):
            assert shape.child is not None
            key, child = _upserted(parts, member, shape.child, event)
            parts[key] = _kept(child, at, parts.get(key))
            touched = max(touched, child.touched)
    return Node(before.id, text, updated, said, writer, _newest(before.named, at), touched, order, parts)


def below(parent: Node | None, parent_id: str, child: Node, event: Event) -> Node:
    """Return the parent with a child that was addressed by its own path: the child is named by it, the parent touched."""
    before = parent or Node(parent_id)
    key = identity(child.id)
    return Node(
        before.id,
        before.text,
        before.updated,
        before.said,
        before.writer,
        before.named,
        max(before.touched, child.touched),
        before.order,
        before.parts | {key: _kept(child, event.stamp(None, child), before.parts.get(key))},
    )


def document(node: Node, shape: Shape, known: Mapping[str, bytes] | None = None) -> bytes:
    """Return the served JSON of a node with its listed children and the last_updated of all of them.

    `known` may give the JSON of children, by key.
    """
    return _own(node) + _below(node, shape, known or _UNKNOWN)


def document_after(before: Node, earlier: bytes, node: Node, shape: Shape) -> bytes:
    """Return the served JSON of a node that was `before`, whose JSON was `earlier`: that of the children may be the same."""
    if (node.parts, node.order, node.said, node.listing) == (before.parts, before.order, before.said, before.listing):
        return _own(node) + earlier[len(_own(before)) :]
    return document(node, shape)


_UNKNOWN: Final[Mapping[str, bytes]] = {}


def _own(node: Node) -> bytes:
    """Return the beginning of a node's JSON: what is its own."""
    updated = node.updated
    if node.touched and (not updated or _instant(updated) != node.touched):
        updated = _date_time(node.touched)
    if not updated:
        return node.text[:-1]
    return (node.text[:-1] + b"," if len(node.text) > 2 else b"{") + _LAST_UPDATED + updated


def _below(node: Node, shape: Shape, known: Mapping[str, bytes]) -> bytes:
    """Return the rest of it: its children."""
    if shape.children_field is None or shape.child is None:
        return b"}"
    listed = node.listed() if node.parts else []
    if listed or node.order:
        child = shape.child
        texts = b",".join([known.get(key) or document(kept.node, child) for key, kept in listed])
        said = b"[" + texts + b"]"
    elif node.said:
        said = node.said
    else:
        return b"}"
    return (b"," if len(node.text) > 2 or node.updated or node.touched else b"") + _name(shape.children_field) + said + b"}"


@lru_cache
def _name(name: str) -> bytes:
    return _json.encode(name) + b":"


_LAST_UPDATED: Final = _name("last_updated")


def _fields(node: Node, shape: Shape) -> Document:
    """Return all fields of a node, those that stand apart included."""
    fields = _document.decode(node.text)
    if node.updated:
        fields["last_updated"] = Raw(node.updated)
    if node.said and shape.children_field is not None:
        fields[shape.children_field] = Raw(node.said)
    return fields


def _split(fields: Document, shape: Shape) -> tuple[bytes, bytes, bytes]:
    """Return the fields as `text`, `updated` and `said`; takes the latter two out of them."""
    updated = fields.pop("last_updated", _ABSENT)
    said = _ABSENT if shape.children_field is None else fields.pop(shape.children_field, _ABSENT)
    return _json.encode(fields), bytes(updated), bytes(said)


_ABSENT: Final = Raw(b"")


def _put(  # noqa: PLR0917
    node: Node | None, document: Document, shape: Shape, event: Event, stale: list[str], own: Instant | None
) -> Node:
    name = _id(document, shape)
    before = node or Node(name)
    members = _listed(document.get(shape.children_field)) if shape.children_field else _NONE
    fields = document
    if members or before.served:
        # An empty list of children is a field like any other; it comes back as it was said.
        fields = {field: text for field, text in document.items() if field != shape.children_field or not members}
        if before.served:
            fields[shape.id_field] = Raw(_json.encode(before.id))
    at = event.stamp(own, before)
    # What was known before is asked for where PATCHes may be newer.
    writer, fields = replaced(before.writer, _fields(before, shape) if before.writer.newer else _NOTHING, fields, at)
    won = writer is not before.writer
    text, updated, said = _split(fields, shape) if won else (before.text, before.updated, before.said)
    parts, order, touched = before.parts, before.order, max(before.touched, at.own)
    if members:
        assert shape.child is not None
        parts, keys = dict(parts), []
        for member in members:
            child_document = _document.decode(member)
            key = identity(_id(child_document, shape.child))
            keys.append(key)
            kept = parts.get(key)
            earlier = None if kept is None else kept.node
            child_own = _last_updated(child_document)
            child = _put(earlier, child_document, shape.child, event, stale, at.own if child_own is None else child_own)
            if earlier is not None and _is_stale(earlier, child, child_document, shape.child):
                stale.append(child.id)
            parts[key] = _kept(child, at, kept)
            touched = max(touched, child.touched)
        if won and shape.children_field not in writer.newer:
            order = tuple(dict.fromkeys(keys))
    elif won and shape.children_field not in writer.newer:
        order = ()
    named = before.named
    return Node(
        before.id if before.served else name,
        text,
        updated,
        said,
        writer,
        at if named is None or at > named else named,
        touched,
        order,
        parts,
    )


def _all_said(  # noqa: PLR0917
    parts: Mapping[str, Child], members: Sequence[Raw], shape: Shape, event: Event, at: Stamp, touched: Instant
) -> tuple[dict[str, Child], tuple[str, ...], Instant]:
    """Return the children after a PATCH at `at` that says all of them whole, their order, and the newest instant."""
    after, keys = dict(parts), []
    for member in members:
        document = _document.decode(member)
        key = identity(_id(document, shape))
        keys.append(key)
        kept, own = after.get(key), _last_updated(document)
        child = _put(None if kept is None else kept.node, document, shape, event, [], at.own if own is None else own)
        after[key] = _kept(child, at, kept)
        touched = max(touched, child.touched)
    return after, tuple(dict.fromkeys(keys)), touched


_NONE: Final[list[Raw]] = []
_NOTHING: Final[Document] = {}


def _is_stale(before: Node, after: Node, document: Document, shape: Shape) -> bool:
    """Whether something that a nested object says of itself, its id and its children aside, is not what stands now."""
    if after.writer is not before.writer and not after.writer.newer:
        return False
    stands = _fields(after, shape)
    return any(stands.get(name) != text for name, text in document.items() if name not in {shape.id_field, shape.children_field})


def _upserted(parts: Mapping[str, Child], member: Raw, shape: Shape, event: Event) -> tuple[str, Node]:
    change = _patch.decode(member)
    name = _id(change.set, shape)
    own = _last_updated(change.set)
    inner = event if own is None else Event(own, event.received_at, event.version)
    known = parts.get(identity(name))
    return identity(name), patch(None if known is None else known.node, name, change, shape, inner)


def _kept(child: Node, at: Stamp, earlier: Child | None) -> Child:
    """Return the child packed; `at` is its parent's event, which named it as well."""
    named = _newest(child.named, at)
    if earlier is not None and earlier.named > named:
        named = earlier.named
    return Child(named, child.writer.base is not None, child.touched, _msgpack.encode(child))


def _newest(one: Stamp | None, other: Stamp) -> Stamp:
    return other if one is None or other > one else one


def _id(fields: Mapping[str, Raw], shape: Shape) -> str:
    return _text.decode(fields[shape.id_field])


def _last_updated(fields: Mapping[str, Raw]) -> Instant | None:
    text = fields.get("last_updated")
    return None if text is None or (said := bytes(text)) == b"null" else _instant(said)


@lru_cache(8192)  # many objects change in the same second
def _instant(text: bytes) -> Instant:
    return instant(_text.decode(text))


@lru_cache(8192)
def _date_time(at: Instant) -> bytes:
    return _json.encode(date_time(at))


def _listed(text: Raw | None) -> list[Raw]:
    return [] if text is None or bytes(text) == b"null" else _members.decode(text)
