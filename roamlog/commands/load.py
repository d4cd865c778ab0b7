"""`roamlog load`."""

from collections.abc import Sequence
from pathlib import Path

from ingest.load import FileReport
from roamlog import operations, settings
from roamlog.admin import perform
from roamlog.commands.output import print_json, print_table, progress
from roamlog.errors import Failure


def run(data: Path, version: str, module: str, party: str, files: Sequence[Path], as_json: bool) -> None:  # noqa: PLR0917
    """Load the files and print what came of each; raises Failure where one could not be read to its end."""
    asked = operations.LoadFiles(version, module, party, tuple(str(file.absolute()) for file in files))
    with progress() as told:
        loaded = perform(data, settings.read(), operations.LOAD, asked, told)
    if as_json:
        print_json(loaded.files)
    else:
        _print(loaded.files)
    broken = [file for file in loaded.files if file.error is not None]
    if broken:
        more = f" (and {len(broken) - 1} more files were not read to their end)" if len(broken) > 1 else ""
        raise Failure(f"{Path(broken[0].path).name}: {broken[0].error}{more}")


def _print(files: Sequence[FileReport]) -> None:
    figures = ("objects", "new or changed", "duplicates", "refused", "resumed at")
    rows = [(Path(f.path).name, f.objects, f.appended, f.duplicates, f.refused, f.resumed_at or "") for f in files]
    print_table(("file", *figures), rows, right=figures)
    refusals = [(Path(file.path).name, one.index, one.offset, one.reason) for file in files for one in file.first_refusals]
    if refusals:
        print_table(("file", "object", "byte", "refused because"), refusals, right=("object", "byte"))
