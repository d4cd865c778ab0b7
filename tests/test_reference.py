"""The tables of docs/reference.md say what the code offers: `python tests/test_reference.py` writes them anew."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import typer.main
from away import NoStore
from fastapi import FastAPI

from api import docs
from api.app import Outlet, add_routes
from api.lookup import DocumentLookup
from roamlog.cli import app
from schemas.ocpi.discovery import discover
from streams.catalogue import projections
from streams.clock import FixedClock
from streams.logs.memory import MemoryLog
from streams.metrics import CATALOGUE, Metrics
from streams.progress import Progress

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference.md"
VERSION = re.compile(r"\b2(\.\d+)+")
Row = tuple[str, ...]


async def _nobody(authorization: bytes) -> None: ...


def commands() -> Iterator[Row]:
    """Yield every command with its arguments and what it does."""

    def below(command: object, path: str) -> Iterator[Row]:
        children = getattr(command, "commands", None)
        if children:
            if getattr(command, "invoke_without_command", False):
                yield f"`{path}`", " ".join((getattr(command.callback, "__doc__", "") or "").split())  # type: ignore[attr-defined]
            for name, child in children.items():
                yield from below(child, f"{path} {name}")
        else:
            words = " ".join((getattr(command, "help", "") or "").split())
            yield f"`{path}`", words

    yield from below(typer.main.get_command(app), "roamlog")


def endpoints() -> Iterator[Row]:
    """Yield every operation of the OpenAPI document, one of several versions once."""
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    store = NoStore()
    outlet = Outlet(
        store=store,
        log=MemoryLog(),
        positions=Progress(),
        clock=FixedClock(0),
        metrics=Metrics(),
        dialects=discover(),
        projections={projection.name: projection.topics for projection in projections()},
        lookup=DocumentLookup(store),
        authenticate=_nobody,
        is_operator=lambda _: False,
        clients=list,
        public_url="",
    )
    add_routes(application, outlet)
    rows: dict[Row, None] = {}
    for path, operations in docs.openapi(application, discover())["paths"].items():
        for method, operation in operations.items():
            if method != "parameters":
                rows[f"`{method.upper()} {VERSION.sub('{version}', path)}`", VERSION.sub("{version}", operation["summary"])] = None
    yield from rows


def metrics() -> Iterator[Row]:
    """Yield every metric."""
    for name, metric in CATALOGUE.items():
        yield f"`{name}`", metric.kind, ", ".join(metric.labels), metric.meaning


SECTIONS = {
    "Commands": (("command", "what it does"), commands),
    "Endpoints": (("request", "what it answers"), endpoints),
    "Metrics": (("metric", "kind", "labels", "meaning"), metrics),
}


def table(head: Row, rows: Iterable[Row]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def written(text: str, section: str) -> str:
    found = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found is not None, f"docs/reference.md has no section {section}"
    return "\n".join(line for line in found[1].splitlines() if line.startswith("|"))


@pytest.mark.parametrize("section", SECTIONS)
def test_the_table_says_what_the_code_offers(section: str) -> None:
    head, rows = SECTIONS[section]
    assert written(REFERENCE.read_text(encoding="utf-8"), section) == table(head, rows())


if __name__ == "__main__":
    text = REFERENCE.read_text(encoding="utf-8")
    for section, (head, rows) in SECTIONS.items():
        old = written(text, section)
        text = text.replace(old, table(head, rows())) if old else text.replace(section.upper(), table(head, rows()))
    REFERENCE.write_text(text, encoding="utf-8")
