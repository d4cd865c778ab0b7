"""Tokens as they stand, and every real-time authorization that was asked of them."""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from schemas.events import Document, TokenAuthorized, TokenPatched, TokenReplaced, TokenUnconfirmed
from schemas.types import identity, instant
from streams import kept
from streams.kept import Header, Kept
from streams.projection import Column, Fact, Key, Recorded, Table
from streams.projections.facts import findings, findings_table, repeated
from streams.topics import TOKENS

TOKENS_TABLE: Final = Table(
    name="tokens",
    version=1,
    kind="current",
    columns=(
        Column("party", "LowCardinality(String)"),
        Column("token_uid", "String"),
        Column("type", "LowCardinality(String)"),
        Column("served", "UInt8"),
        Column("valid", "UInt8"),
        Column("whitelist", "LowCardinality(String)"),
        Column("contract_id", "String"),
        Column("last_updated", "DateTime64(6, 'UTC')"),
        Column("first_seen", "DateTime64(6, 'UTC')"),
        Column("changed_at", "DateTime64(6, 'UTC')"),
        Column("doc", "String CODEC(ZSTD(1))"),
        Column("state", "String CODEC(ZSTD(1))"),
    ),
    order_by=("party", "token_uid", "type"),
)

AUTHORIZATIONS: Final = Table(
    name="authorizations",
    version=1,
    kind="fact",
    columns=(
        Column("party", "LowCardinality(String)"),
        Column("token_uid", "String"),
        Column("type", "LowCardinality(String)"),
        Column("event_id", "FixedString(16)"),
        Column("received_at", "DateTime64(6, 'UTC')"),
        Column("connection", "LowCardinality(String)"),
        Column("allowed", "LowCardinality(String)"),
        Column("location_id", "String"),
        Column("authorization_reference", "String"),
    ),
    order_by=("party", "token_uid", "type", "event_id"),
)

TOKEN_FINDINGS: Final = findings_table("token_findings")


class _Columns(Struct):
    valid: bool = False
    whitelist: str = ""
    contract_id: str = ""
    last_updated: str | None = None


class _Asked(Struct):
    location_id: str = ""


class _Answered(Struct):
    allowed: str = ""
    authorization_reference: str | None = None


class _Authorization(Struct):
    """The payload of `token.authorized`: what was asked and what was answered."""

    location: _Asked | None = None
    answer: _Answered = msgspec.field(default_factory=_Answered)


_IDENTITY: Final = ("country_code", "party_id", "uid", "type")
_columns: Final = msgspec.json.Decoder(_Columns)
_authorization: Final = msgspec.json.Decoder(_Authorization)
_document: Final = msgspec.json.Decoder(Document)
_header: Final = msgspec.msgpack.Decoder(Header)
_json: Final = msgspec.json.Encoder()
_msgpack: Final = msgspec.msgpack.Encoder()


class Tokens:
    """The projection of Tokens (OCPI 2.2.1 mod_tokens); the key is the owner with uid and type."""

    name: Final = "tokens"
    version: Final = 2
    topics: Final = (TOKENS,)
    current: Final = TOKENS_TABLE
    facts: Final = (AUTHORIZATIONS, TOKEN_FINDINGS)

    def key(self, recorded: Recorded) -> Key | None:
        """Return (party, uid, type)."""
        uid, kind = recorded.envelope.key
        return recorded.envelope.party, identity(uid), identity(kind)

    def fold(self, state: Kept | None, recorded: Recorded) -> tuple[Kept | None, Sequence[Fact]]:
        """Return the Token after the event; an authorization changes nothing and leaves a fact."""
        envelope = recorded.envelope
        before = state or Kept()
        if envelope.event_id in before.header.event_ids:
            return state, repeated(TOKEN_FINDINGS, recorded, envelope.key[0])
        match recorded.event:
            case TokenReplaced(document):
                after = kept.put(before, document, recorded, _IDENTITY)
            case TokenPatched(change):
                after = kept.patch(before, change, recorded, _IDENTITY)
            case TokenAuthorized():
                return state, [Fact(AUTHORIZATIONS, _authorized(recorded))]
            case TokenUnconfirmed():  # that a list leaves it out makes it no less valid; the finding says so
                return state, findings(TOKEN_FINDINGS, recorded, envelope.key[0], ())
            case _:
                return state, ()
        facts = findings(TOKEN_FINDINGS, recorded, envelope.key[0], kept.clock_ahead(recorded))
        return kept.noted(state, after, recorded), facts

    def decode(self, key: Key, doc: bytes, state: bytes) -> Kept:
        """Read a state back from its row."""
        return Kept(_document.decode(doc), _header.decode(state))

    def row(self, key: Key, state: Kept) -> tuple[object, ...]:
        """Return the current row."""
        doc, header = _json.encode(state.fields), state.header
        at = _columns.decode(doc)
        return (
            *key,
            int(state.served),
            int(at.valid),
            at.whitelist,
            at.contract_id,
            instant(at.last_updated) if at.last_updated else 0,
            header.first_seen,
            header.changed_at,
            doc,
            _msgpack.encode(header),
        )


def _authorized(recorded: Recorded) -> tuple[object, ...]:
    envelope = recorded.envelope
    asked = _authorization.decode(envelope.payload)
    uid, kind = envelope.key
    return (
        *(envelope.party, identity(uid), identity(kind), envelope.event_id, envelope.received_at, envelope.connection),
        *(asked.answer.allowed, asked.location.location_id if asked.location else "", asked.answer.authorization_reference or ""),
    )
