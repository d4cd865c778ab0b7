"""What ends a command: one sentence for a person, and an exit code for a script."""

from typing import Final

FAILED: Final = 1
"""The command ran and failed, or found something."""

UNUSABLE: Final = 2
"""The command could not begin: usage, settings, the data folder, the port."""


class Failure(Exception):
    """Ends the command with its text on standard error."""

    exit_code = FAILED


class Unusable(Failure):
    """The command could not begin; nothing was changed."""

    exit_code = UNUSABLE


def first_of(fault: BaseException) -> BaseException:
    """Return what began it: the first fault of a group of tasks, the fault itself where it is no group."""
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault
