"""How commands print: tables for people, JSON for programs, progress for who waits at a terminal."""

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from roamlog.operations import Step, Told

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH: Final = 160
"""Columns of a table that goes into a file or a pipe."""


def say_log(level: str) -> None:
    """Send what roamlog logs to standard error, one line each."""
    logging.basicConfig(
        stream=sys.stderr, level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    if level != "debug":
        # What they meet that matters ends in a sentence of ours; the rest is thousands of lines while a server is away.
        for name, least in {
            "aiokafka": logging.CRITICAL,
            "faust": logging.ERROR,
            "mode": logging.ERROR,
            "streams.runtimes.faust_app": logging.ERROR,  # Faust's services log under the module of their class
            "urllib3.connectionpool": logging.ERROR,
            "clickhouse_connect": logging.ERROR,
        }.items():
            logging.getLogger(name).setLevel(least)


def console() -> "Console":
    """Return where tables go; without a terminal they are wide and uncoloured."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)


def say(text: str) -> None:
    """Print a line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    say(msgspec.json.format(msgspec.json.encode(value)).decode())


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = "", right: Sequence[str] = ()) -> None:
    """Print rows under their columns; columns named in `right` are figures."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row))  # Text, because what partners send may look like markup
    console().print(table)


@contextlib.contextmanager
def progress() -> Iterator[Told]:
    """Show steps as a bar on standard error while the block runs; without a terminal nothing is shown."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        bars: dict[str, TaskID] = {}

        def told(step: Step) -> None:
            if step.title not in bars:
                bars[step.title] = bar.add_task(step.title, total=step.total)
            bar.update(bars[step.title], completed=step.done, total=step.total)

        yield told
