"""What can go wrong at the edge; each text is one sentence for the person who reads it."""


class IngestError(Exception):
    """The root of what the edge raises to its callers."""


class UnsafeSecrets(IngestError):
    """The secrets cannot be read, or others could read them: do not serve."""


class InvalidToken(IngestError, ValueError):
    """The text cannot be a credentials token (OCPI 2.2.1 credentials object: 1 to 64 characters U+0021..U+007E)."""


class InvalidPartner(IngestError, ValueError):
    """A name, party, role or version of a partner is not one."""


class PartnerConflict(IngestError):
    """The partner cannot be added: its name, a party or its token belongs to another."""


class UnknownPartner(IngestError):
    """No partner has that name."""


class NotReplayable(IngestError):
    """This rejection cannot be processed anew, ever."""


class BrokenFile(IngestError):
    """The file cannot be read on from `offset` (bytes, after decompression)."""

    def __init__(self, reason: str, offset: int) -> None:
        self.offset = offset
        super().__init__(f"{reason}, at byte {offset:,}")
