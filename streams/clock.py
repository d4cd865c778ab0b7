"""The wall clock as an argument: the system's, and one that stands until it is moved."""

import time

from schemas.types import Instant


class SystemClock:
    """The machine's clock, in UTC."""

    def now(self) -> Instant:
        return time.time_ns() // 1000


class FixedClock:
    """A clock for tests and replays: it shows the instant that it was given."""

    def __init__(self, at: Instant) -> None:
        self.at = at

    def now(self) -> Instant:
        return self.at

    def advance(self, microseconds: int) -> None:
        """Move the clock on."""
        self.at += microseconds
