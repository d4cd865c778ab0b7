"""The tree Location - EVSE - Connector, each an own last-writer record, with who is listed where.

A PUT of a parent unlists each child that it does not name; any newer event naming the child lists it again. An
unlisted child keeps its record. The served last_updated of a parent is the newest of its own and its children's, so it
moves with every event below it and never back (OCPI 2.2.1 mod_locations, PUT and PATCH; DESIGN: membership).
"""

from collections.abc import Mapping
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


class Node(Struct, frozen=True, array_like=True, gc=False):  # a tree: no cycles to collect
    """One object of the tree: its fields (without its children), who wrote them, and its children by lowered id.

    `id` is the first spelling; `named` the newest event that named the node, `order` the children as the newest PUT
    listed them, `touched` the newest instant (clamped) of anything that happened to it or below it.
    """

    id: str
    fields: dict[str, bytes] = {}
    writer: LastWriter = LastWriter()
    named: Stamp | None = None
    touched: Instant = 0
    order: tuple[str, ...] = ()
    children: dict[str, "Node"] = {}

    @property
    def served(self) -> bool:
        """Whether a PUT has described it."""
        return self.writer.base is not None

    def lists(self, child: "Node") -> bool:
        """Whether the child belongs to this node now: nothing newer than its naming left it out."""
        base = self.writer.base
        return child.writer.base is not None and child.named is not None and (base is None or child.named >= base)

    def listed(self) -> list[tuple[str, "Node"]]:
        """Return the children that belong to it with their keys, in the newest PUT's order, later ones behind by id."""
        children = self.children
        keys = self.order
        if len(keys) != len(children) or not all(key in children for key in keys):
            keys = (*(key for key in keys if key in children), *sorted(children.keys() - set(keys)))
        return [(key, child) for key in keys if self.lists(child := children[key])]

    def changed(self, before: "Node | None") -> list[str] | None:
        """Return the keys of the children that are other objects than before.

        None where the node itself was written, which may list or unlist any child and says more than its children do.
        """
        if before is None or self.writer is not before.writer or self.order is not before.order:
            return None
        children = before.children
        return [key for key, child in self.children.items() if children.get(key) is not child]


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
    """Return the node after a PATCH; members of `upsert` are patches of children, created (unserved) where unknown."""
    before = node or Node(name)
    at = event.stamp(None, before)
    changes = {field: bytes(text) for field, text in change.set.items() if field != shape.id_field}
    writer, fields = patched(before.writer, before.fields, changes, at)
    children, touched = dict(before.children), max(before.touched, at.own)
    for member in change.upsert.get(shape.children_field or "", ()):
        assert shape.child is not None
        key, child = _upserted(children, member, shape.child, event)
        children[key] = _named(child, at)
        touched = max(touched, child.touched)
    return msgspec.structs.replace(
        before,
        fields=fields,
        writer=writer,
        named=_newest(before.named, at),
        touched=touched,
        children=children,
    )


def below(parent: Node | None, parent_id: str, child: Node, event: Event) -> Node:
    """Return the parent with a child that was addressed by its own path: the child is named by it, the parent touched."""
    before = parent or Node(parent_id)
    at = event.stamp(None, child)
    key = identity(child.id)
    return msgspec.structs.replace(
        before,
        children=before.children | {key: _named(child, at)},
        touched=max(before.touched, child.touched),
    )


def document(node: Node, shape: Shape, children: Mapping[str, bytes] | None = None) -> bytes:
    """Return the served JSON of a node with its listed children and the last_updated of all of them.

    `children` may give the JSON of children that is known already, by key.
    """
    fields = node.fields
    own = fields.get("last_updated")
    if node.touched and (own is None or _instant(own) != node.touched):
        parts = [_name(name) + text for name, text in fields.items() if name not in {"last_updated", shape.children_field}]
        parts.append(_name("last_updated") + _json.encode(date_time(node.touched)))
    else:
        parts = [_name(name) + text for name, text in fields.items() if name != shape.children_field]
    if shape.children_field is not None and shape.child is not None:
        listed = node.listed()
        if listed or node.order:
            known = children or {}
            texts = [known.get(key) or document(child, shape.child) for key, child in listed]
            parts.append(_name(shape.children_field) + b"[" + b",".join(texts) + b"]")
        elif shape.children_field in fields:
            parts.append(_name(shape.children_field) + fields[shape.children_field])
    return b"{" + b",".join(parts) + b"}"


@lru_cache(4096)  # bounded: partners may invent fields
def _name(name: str) -> bytes:
    return _json.encode(name) + b":"


def _put(  # noqa: PLR0917
    node: Node | None, document: Document, shape: Shape, event: Event, stale: list[str], own: Instant | None
) -> Node:
    name = _id(document, shape)
    before = node or Node(name)
    children_text = document.get(shape.children_field) if shape.children_field else None
    members = _listed(children_text)
    # An empty list of children is a field like any other; it comes back as it was said.
    said = {field: bytes(text) for field, text in document.items() if field != shape.children_field or not members}
    if before.served:
        said[shape.id_field] = _json.encode(before.id)
    at = event.stamp(own, before)
    writer, fields = replaced(before.writer, before.fields, said, at)
    won = writer is not before.writer
    children, touched = dict(before.children), max(before.touched, at.own)
    keys = []
    assert shape.child is not None or not members
    for member in members:
        child_document = _document.decode(member)
        assert shape.child is not None
        key = identity(_id(child_document, shape.child))
        keys.append(key)
        earlier = children.get(key)
        child_own = _last_updated(child_document)
        child = _put(earlier, child_document, shape.child, event, stale, at.own if child_own is None else child_own)
        if earlier is not None and any(child.fields.get(name) != text for name, text in _said(child_document, shape.child)):
            stale.append(child.id)
        children[key] = _named(child, at)
        touched = max(touched, child.touched)
    return msgspec.structs.replace(
        before,
        id=before.id if before.served else name,
        fields=fields,
        writer=writer,
        named=_newest(before.named, at),
        touched=touched,
        order=tuple(dict.fromkeys(keys)) if won else before.order,
        children=children,
    )


def _upserted(children: Mapping[str, Node], member: Raw, shape: Shape, event: Event) -> tuple[str, Node]:
    change = _patch.decode(member)
    name = _id(change.set, shape)
    own = _last_updated(change.set)
    inner = event if own is None else Event(own, event.received_at, event.version)
    return identity(name), patch(children.get(identity(name)), name, change, shape, inner)


def _named(child: Node, at: Stamp) -> Node:
    return msgspec.structs.replace(child, named=_newest(child.named, at))


def _newest(one: Stamp | None, other: Stamp) -> Stamp:
    return other if one is None or other > one else one


def _id(fields: Mapping[str, Raw], shape: Shape) -> str:
    return _text.decode(fields[shape.id_field])


def _last_updated(fields: Mapping[str, Raw]) -> Instant | None:
    text = fields.get("last_updated")
    return None if text is None or bytes(text) == b"null" else _instant(text)


def _instant(text: Raw | bytes) -> Instant:
    return instant(_text.decode(text))


def _listed(text: Raw | None) -> list[Raw]:
    return [] if text is None or bytes(text) == b"null" else _members.decode(text)


def _said(fields: Mapping[str, Raw], shape: Shape) -> list[tuple[str, bytes]]:
    """Return what a nested object says of itself, without its id and its children."""
    return [(name, bytes(text)) for name, text in fields.items() if name not in {shape.id_field, shape.children_field}]
