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
        return
    if listed.partners:
        print_table(("partner", "roles", "also writes", "OCPI", "since"), [_row(partner) for partner in listed.partners])
    elif not listed.invited:
        say("no partner is connected; see roamlog partner add --help, or partner invite --help")
    for invited in listed.invited:
        say(f"{invited.name} is invited to register until {invited.expires_at}")


def remove(data: Path, name: str, as_json: bool, kafka: bool) -> None:
    """Close the connection to a partner."""
    removed = _perform(data, kafka, operations.PARTNER_REMOVE, operations.PartnerRemove(name))
    if as_json:
        print_json(removed.partners[0] if removed.partners else removed)
    elif removed.partners:
        say(f"{name} is no longer connected; its token opens nothing, what it sent stays")
    else:
        say(f"{name} is no longer invited; its token opens nothing")


def invite(  # noqa: PLR0917 (as the command line has them)
    data: Path,
    name: str,
    parties: Sequence[str],
    roles: Sequence[str],
    allow: Sequence[str],
    hours: float,
    as_json: bool,
    kafka: bool,
) -> None:
    """Let a partner register itself, and print what it needs for that."""
    asked = operations.PartnerInvite(name, tuple(parties), tuple(roles), tuple(allow), hours)
    made = _perform(data, kafka, operations.PARTNER_INVITE, asked)
    if as_json:
        print_json(made)
        return
    say(f"{name} may register until {made.invited.expires_at}")
    say(f"the URL of our versions: {made.versions_url}")
    say(f"its token, shown this once, good for one registration: {made.token}")


def register(  # noqa: PLR0917
    data: Path,
    name: str,
    url: str,
    token: str,
    version: str | None,
    role: str | None,
    allow: Sequence[str],
    as_json: bool,
    kafka: bool,
) -> None:
    """Register us with a partner."""
    asked = operations.PartnerRegister(name, url, token, version, role, tuple(allow))
    _said(_perform(data, kafka, operations.PARTNER_REGISTER, asked).partner, "is registered", as_json)


def rotate(data: Path, name: str, version: str | None, as_json: bool, kafka: bool) -> None:
    """Change the tokens of a connection."""
    asked = operations.PartnerRotate(name, version)
    _said(_perform(data, kafka, operations.PARTNER_ROTATE, asked).partner, "has new tokens", as_json)


def unregister(data: Path, name: str, as_json: bool, kafka: bool) -> None:
    """End a registration on both sides."""
    ended = _perform(data, kafka, operations.PARTNER_UNREGISTER, operations.PartnerUnregister(name)).partner
    if as_json:
        print_json(ended)
    else:
        say(f"{name} is no longer registered, here and there; what it sent stays")


def _said(partner: Partner, what: str, as_json: bool) -> None:
    if as_json:
        print_json(partner)
        return
    say(f"{partner.name} {what}, as {', '.join(partner.roles)}, in OCPI {partner.version}")
    say(f"it offers {', '.join(partner.modules)}")


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
