"""`roamlog rebuild` and `roamlog verify`."""

from collections.abc import Sequence
from pathlib import Path

from roamlog import operations, settings
from roamlog.admin import perform
from roamlog.commands.output import print_json, print_table, progress, say
from roamlog.errors import Failure

SHOWN = 20


def rebuild(data: Path, projections: Sequence[str], as_json: bool) -> None:
    """Rebuild projections while the old tables serve."""
    with progress() as told:
        rebuilt = perform(data, settings.read(), operations.REBUILD, operations.Rebuild(tuple(projections)), told)
    if as_json:
        print_json(rebuilt)
    else:
        say(f"rebuilt from the log: {', '.join(rebuilt.projections)}")


def verify(data: Path, as_json: bool) -> None:
    """Compare the tables with the log; raises Failure where they differ."""
    with progress() as told:
        verified = perform(data, settings.read(), operations.VERIFY, operations.Verify(), told)
    if as_json:
        print_json(verified)
    elif verified.differences:
        kinds = {"missing": "only the log has it", "surplus": "only the table has it", "different": "the values differ"}
        rows = [(one.table, " ".join(one.key), kinds.get(one.kind, one.kind)) for one in verified.differences[:SHOWN]]
        print_table(("table", "row", "what differs"), rows, title="the first differences")
    else:
        say(f"{verified.records:,} records of the log folded anew: {', '.join(verified.projections)} say the same")
    if verified.differences:
        tables = sorted({one.table for one in verified.differences})
        raise Failure(f"{', '.join(tables)} do not say what the log says; roamlog rebuild makes them anew")
