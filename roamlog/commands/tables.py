"""`roamlog rebuild`, `roamlog rebuild --relift` and `roamlog verify`."""

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


def relift(data: Path, version: str | None, module: str | None, as_json: bool) -> None:
    """Lift again what older revisions of the dialects lifted, rebuild with it, and show what moved."""
    with progress() as told:
        found = perform(data, settings.read(), operations.RELIFT, operations.Relift(version, module), told)
    if as_json:
        print_json(found)
        return
    if not found.relifted and not found.moved:
        say("nothing to lift again: the present revisions of the dialects lifted every object")
        return
    for one in found.relifted:
        say(f"OCPI {one.version} {one.module.value}: {one.records:,} records lifted again by revision {one.revision}")
    if not found.moved:
        say("the tables say the same as before")
        return
    counts = [(moves.table, f"{moves.changed:,}", f"{moves.added:,}", f"{moves.gone:,}") for moves in found.moved]
    print_table(("table", "changed", "added", "gone"), counts, title="what moved", right=("changed", "added", "gone"))
    rows = [
        (moves.table, " ".join(move.key), change.name, _value(change.old), _value(change.new))
        for moves in found.moved
        for move in moves.examples
        for change in move.changes
    ]
    print_table(("table", "row", "value", "before", "after"), rows, title="the first of them")


def _value(text: str | None) -> str:
    return "-" if text is None else text


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
