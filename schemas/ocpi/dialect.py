"""A dialect turns one OCPI version's objects into canonical ones and back, and says what was wrong or lost."""

from collections.abc import Mapping
from typing import Final, Literal, Protocol, TypeAlias

from msgspec import Struct

from schemas.types import Finding, Instant, Loss, Module, Verb

Level: TypeAlias = Literal["location", "evse", "connector"]
"""What a Locations path addresses."""


class NotJson(ValueError):
    """The body is not one valid JSON value (HTTP 400): syntax, encoding, NaN, duplicate keys, nesting."""


class Refused(ValueError):
    """Valid JSON that OCPI does not allow here (HTTP 2xx with OCPI 2001): at least one finding is an `error`."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        self.findings = findings
        errors = [f for f in findings if f.severity == "error"]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(f"{errors[0].pointer or '/'}: {errors[0].message}{more}")


class Lifted(Struct, frozen=True, kw_only=True):
    """An object of a partner, canonical.

    `payload` is what the envelope keeps (a Document, or a Patch for PATCH), `raw` the object as received where it
    differs from `payload`, else None. `party` and `ids` are what the body itself says (None / () where it says
    nothing): the caller compares them with the path. `ids` is spelled as received. `last_updated` is None only where
    the version allows its absence. `charging_key` is a CDR's session_id, else credit_reference_id, else its id.
    `addressed_to` is the party of the object's cdr_token, None where there is none or it is not known.
    """

    module: Module
    verb: Verb
    payload: bytes
    raw: bytes | None
    party: str | None
    ids: tuple[str, ...]
    last_updated: Instant | None
    addressed_to: str | None = None
    charging_key: str | None = None
    findings: tuple[Finding, ...] = ()
    losses: tuple[Loss, ...] = ()


class Lowered(Struct, frozen=True):
    """A canonical object in a version's own form: JSON text, and what that version could not say.

    `withheld` is why the object is not to be given to a reader of that version at all: it would say something else there.
    The body is empty then.
    """

    body: bytes
    losses: tuple[Loss, ...] = ()
    withheld: str | None = None


class Beside(Struct, frozen=True, kw_only=True):
    """What other objects say that an old version wants within one; None and nothing where the caller does not know it.

    `location` is the canonical Location of a Session or a CDR, `tariffs` the canonical Tariffs of a party by their lowered
    ids, `now` the instant at which a Tariff must be valid to be given where a version cannot say when it is.
    """

    location: bytes | None = None
    tariffs: Mapping[str, bytes] = {}
    now: Instant | None = None


NOTHING_BESIDE: Final = Beside()


class Dialect(Protocol):
    """One OCPI version."""

    @property
    def version(self) -> str:
        """The VersionNumber, e.g. `2.2.1`."""
        ...

    @property
    def edition(self) -> str:
        """The documentation revision that was read, e.g. `d2`."""
        ...

    @property
    def revision(self) -> int:
        """Raised whenever `lift` gives another payload for the same bytes, so that a relift can mend the log."""
        ...

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
        """Return the canonical form of one object (PUT, POST) or of a PATCH. Raises NotJson or Refused.

        `owner` (`NL*TNM`) and `received_at` go into the canonical object where the version has no fields for the party and for
        last_updated (2.1.1 and before; 2.0); `Lifted.party` and `last_updated` are None there. Other versions ignore them.

        `level` matters to Locations alone: an EVSE's `ids` is its uid, a Connector's its id, and neither tells its party.
        A Token's `ids` are (uid, type); in a PATCH that names one of them, the other is "".
        ValueError: the version has no PATCH of that object, so the caller should have answered 405.
        """
        ...

    def lower(self, module: Module, document: bytes, *, level: Level = "location", beside: Beside = NOTHING_BESIDE) -> Lowered:
        """Return a canonical object in this version. The inverse of `lift` on every valid object of this version.

        `beside` matters to versions whose objects hold others (2.1.1 and before): a Session of another version has no Location
        in it, and is withheld from them where `beside` has none either.
        """
        ...
