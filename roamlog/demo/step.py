"""A request as a platform sends it, and the answers that are right."""

from typing import Final

import msgspec
from msgspec import Struct

Answers = tuple[tuple[int, int], ...]
"""Pairs of HTTP status and OCPI status_code."""

TAKEN: Final = ((200, 1000), (201, 1000))
REFUSED: Final = ((200, 2001),)
NOT_JSON: Final = ((400, 2001),)
NOT_THERE: Final = ((404, 2001),)
NO_LOCATION: Final = ((404, 2003),)
NO_TOKEN: Final = ((404, 2004),)
NOT_ALLOWED: Final = ((405, 2000),)
UNKNOWN: Final = ((401, 2000),)

encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class Step(Struct, frozen=True):
    """One request: what is sent, which answers (HTTP, OCPI) are right, and which kind of dirt it is ('' for none).

    `hang_up`: the connection breaks before the answer, so the platform sends the same again. `token` is presented in place of
    the platform's own.
    """

    verb: str
    path: str
    body: bytes
    wants: Answers = TAKEN
    dirt: str = ""
    hang_up: bool = False
    token: str | None = None

    @property
    def module(self) -> str:
        """The module that the path names."""
        return self.path.split("/")[4]

    def soiled(self, dirt: str) -> "Step":
        """Return the same request as one of this kind of dirt."""
        return msgspec.structs.replace(self, dirt=dirt)
