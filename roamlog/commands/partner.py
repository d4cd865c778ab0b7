"""`roamlog partner …`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from roamlog import operations, settings
from roamlog.admin import perform
from roamlog.commands.output import print_json, print_table, say
from roamlog.operations import Operation, Partner, Step

AskedT = TypeVar("AskedT", bound=Struct)
FoundT = TypeVar("FoundT", bound=Struct)


def add(  # noqa: PLR0917 (as the command line has them)
    data: Path,
    name: str,
    parties: Sequence[str],
    roles: Sequence[str],
    token: str | None,
    allow: Sequence[str],
    version: str,
    as_json: bool,
    kafka: bool,
) -> None:
    """Connect a partner and print its token."""
    asked = operations.PartnerAdd(name, tuple(parties), tuple(roles), token, tuple(allow), version)
    added = _perform(data, kafka, operations.PARTNER_ADD, asked)
    if as_json:
        print_json(added)
        return
    say(f"{added.partner.name} is connected as {', '.join(added.partner.roles)}, in OCPI {added.partner.version}")
    say(f"its token, shown this once: {added.token}")


def show(data: Path, as_json: bool, kafka: bool) -> None:
    """Print the partners."""
    listed = _perform(data, kafka, operations.PARTNER_LIST, operations.PartnerList())
    if as_json:
        print_json(listed.partners)
    elif listed.partners:
        print_table(("partner", "roles", "also writes", "OCPI", "since"), [_row(partner) for partner in listed.partners])
    else:
        say("no partner is connected; see roamlog partner add --help")


def remove(data: Path, name: str, as_json: bool, kafka: bool) -> None:
    """Close the connection to a partner."""
    removed = _perform(data, kafka, operations.PARTNER_REMOVE, operations.PartnerRemove(name))
    if as_json:
        print_json(removed.partners[0])
    else:
        say(f"{name} is no longer connected; its token opens nothing, what it sent stays")


def _perform(data: Path, kafka: bool, operation: Operation[AskedT, FoundT], asked: AskedT) -> FoundT:
    """Do it to the data folder, or to the log on Kafka."""
    if not kafka:
        return perform(data, settings.read(), operation, asked, _silent)
    from roamlog import scale

    return scale.perform(settings.read_scale(), operation, asked)


def _row(partner: Partner) -> tuple[str, ...]:
    return partner.name, ", ".join(partner.roles), ", ".join(partner.allowed), partner.version, partner.added_at


def _silent(step: Step) -> None:
    """Nothing to watch: these take a moment."""
