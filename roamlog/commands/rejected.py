"""`roamlog rejected …`."""

from collections.abc import Sequence
from pathlib import Path

from roamlog import operations, settings
from roamlog.admin import perform
from roamlog.commands.output import print_json, print_table, progress, say
from roamlog.errors import Failure, Unusable

ID_SHOWN = 12


def show_all(data: Path, limit: int, party: str | None, open_only: bool, as_json: bool) -> None:
    """Print the newest refusals."""
    asked = operations.RejectedList(limit, party, open_only)
    with progress() as told:
        listed = perform(data, settings.read(), operations.REJECTED_LIST, asked, told)
    if as_json:
        print_json(listed)
        return
    rows = [
        (
            r.id[:ID_SHOWN],
            r.received_at,
            r.connection,
            f"{r.method} {r.module}",
            r.http_status or "",
            r.status_code,
            r.reason,
            r.replayed,
        )
        for r in listed.refusals
    ]
    print_table(("id", "received", "partner", "what", "HTTP", "OCPI", "reason", "replayed"), rows, right=("HTTP", "OCPI"))
    say(f"{len(rows)} of {listed.total}")


def show_one(data: Path, refusal_id: str, as_json: bool) -> None:
    """Print one refusal whole."""
    shown = perform(data, settings.read(), operations.REJECTED_SHOW, operations.RejectedShow(refusal_id), lambda _: None)
    if as_json:
        print_json(shown)
        return
    of = shown.refusal
    facts = {
        "id": of.id,
        "received": of.received_at,
        "from": f"{of.connection} ({of.source})",
        "request": f"{of.method} {of.path}",
        "answer": f"HTTP {of.http_status or '-'}, OCPI {of.status_code}",
        "reason": of.reason,
        "X-Request-ID": shown.request_id or "",
        "Content-Type": shown.content_type or "",
        "replayed": of.replayed,
    }
    for name, value in facts.items():
        if value:
            say(f"{name:>13}  {value}")
    if shown.findings:
        print_table(("pointer", "rule", "severity", "message"), shown.findings)
    kept = "" if shown.body_complete else ", of which the beginning was kept"
    say(f"\nbody, {shown.body_length} bytes{kept}:\n{shown.body}")


def replay(data: Path, ids: Sequence[str], all_open: bool, as_json: bool) -> None:
    """Process refusals anew; raises Failure where one is refused again."""
    if bool(ids) == all_open:
        raise Unusable("name the refusals to replay, or give --all; see roamlog rejected list")
    with progress() as told:
        replayed = perform(data, settings.read(), operations.REJECTED_REPLAY, operations.RejectedReplay(tuple(ids), all_open), told)
    if as_json:
        print_json([{"id": one, "outcome": outcome, "reason": reason} for one, outcome, reason in replayed.outcomes])
    else:
        print_table(("id", "outcome", "reason"), [(one[:ID_SHOWN], outcome, reason) for one, outcome, reason in replayed.outcomes])
    again = sum(outcome in {"refused", "not replayable"} for _, outcome, _ in replayed.outcomes)
    if again:
        raise Failure(f"{again} of {len(replayed.outcomes)} could not be taken")
