"""`roamlog partner …`."""

from collections.abc import Sequence
from pathlib import Path

from roamlog import operations, settings
from roamlog.admin import perform
from roamlog.commands.output import print_json, print_table, say
from roamlog.operations import Partner, Step


def add(  # noqa: PLR0917 (as the command line has them)
    data: Path, name: str, parties: Sequence[str], roles: Sequence[str], token: str | None, allow: Sequence[str], as_json: bool
) -> None:
    """Connect a partner and print its token."""
    asked = operations.PartnerAdd(name, tuple(parties), tuple(roles), token, tuple(allow))
    added = perform(data, settings.read(), operations.PARTNER_ADD, asked, _silent)
    if as_json:
        print_json(added)
        return
    say(f"{added.partner.name} is connected as {', '.join(added.partner.roles)}")
    say(f"its token, shown this once: {added.token}")


def show(data: Path, as_json: bool) -> None:
    """Print the partners."""
    listed = perform(data, settings.read(), operations.PARTNER_LIST, operations.PartnerList(), _silent)
    if as_json:
        print_json(listed.partners)
    elif listed.partners:
        print_table(("partner", "roles", "also writes", "OCPI", "since"), [_row(partner) for partner in listed.partners])
    else:
        say("no partner is connected; see roamlog partner add --help")


def remove(data: Path, name: str, as_json: bool) -> None:
    """Close the connection to a partner."""
    removed = perform(data, settings.read(), operations.PARTNER_REMOVE, operations.PartnerRemove(name), _silent)
    if as_json:
        print_json(removed.partners[0])
    else:
        say(f"{name} is no longer connected; its token opens nothing, what it sent stays")


def _row(partner: Partner) -> tuple[str, ...]:
    return partner.name, ", ".join(partner.roles), ", ".join(partner.allowed), partner.version, partner.added_at


def _silent(step: Step) -> None:
    """Nothing to watch: these take a moment."""
