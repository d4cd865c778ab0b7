"""What can go wrong at the edge; each text is one sentence for the person who reads it."""

from typing import Final, Literal


class IngestError(Exception):
    """The root of what the edge raises to its callers."""


class UnsafeSecrets(IngestError):
    """The secrets cannot be read, or others could read them: do not serve."""


class InvalidToken(IngestError, ValueError):
    """The text cannot be a credentials token (OCPI 2.2.1 credentials object: 1 to 64 characters U+0021..U+007E)."""


class InvalidPartner(IngestError, ValueError):
    """A name, party, role or version of a partner is not one."""


class PartnerConflict(IngestError):
    """A partner cannot be what it would be. `reason` says what stands against it.

    name: there is one of that name. party: one of its parties is another's. token: it, or an encoding of it, is another's.
    identity: it is not who was invited or registered. spent: the token that opened the door was used, replaced or withdrawn,
    or has expired.
    """

    def __init__(self, text: str, reason: Literal["name", "party", "token", "identity", "spent"]) -> None:
        self.reason: Final = reason
        super().__init__(text)


class NotRegistered(IngestError):
    """A partner could not be registered, or its registration not be changed.

    `is_refused`: the partner said so; else it may have taken what we sent, and its answer was lost.
    """

    def __init__(self, text: str, *, is_refused: bool = True) -> None:
        self.is_refused: Final = is_refused
        super().__init__(text)


class UnknownPartner(IngestError):
    """No partner has that name."""


class NotReplayable(IngestError):
    """This rejection cannot be processed anew, ever."""


class BrokenFile(IngestError):
    """The file cannot be read on from `offset` (bytes, after decompression)."""

    def __init__(self, reason: str, offset: int) -> None:
        self.offset = offset
        super().__init__(f"{reason}, at byte {offset:,}")
