"""`python -m benchmarks [NAME …] [--quick] [--json FILE]`: one table and one JSON out."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final

import msgspec
from msgspec import structs
from rich.console import Console
from rich.table import Table

from benchmarks import dialects, evses, project, pull, push, rebuild, scale, serve
from benchmarks.frame import ROOT, Options, Result, Unavailable, machine

BENCHMARKS: Final[dict[str, Callable[[Options], Coroutine[None, None, Result]]]] = {
    "push": push.run,
    "push-status": push.run_statuses,
    "project": project.run,
    "pull": pull.run,
    "serve": serve.run,
    "evses": evses.run,
    "rebuild": rebuild.run,
    "dialects": dialects.run,
    "project-kafka": scale.project,
    "worker": scale.worker,
    "push-kafka": scale.push_kafka,
    "fresh": scale.fresh,
}
LAST: Final = ROOT / "benchmarks" / "results.json"
console: Final = Console()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure roamlog beside its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ({', '.join(BENCHMARKS)}); all without a name")
    parser.add_argument("--quick", action="store_true", help="a minute each, not precise; results.json stays as it is")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="work below DIR (default: the temporary folder)")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")

    figures: dict[str, object] = {}
    failed = False
    for name in chosen.names or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix=f"roamlog-{name}-", dir=chosen.scratch) as folder:
            facts = machine(Path(folder))
            try:
                result = asyncio.run(BENCHMARKS[name](Options(quick=chosen.quick, scratch=Path(folder))))
            except Unavailable as missing:
                console.print(f"[bold]{name}[/bold] did not run: {missing}", style="red", highlight=False)
                failed = True
                continue
        if busy := _busy(facts):
            result = structs.replace(result, remarks=[*result.remarks, busy])
        show(name, result)
        figures[name] = {"machine": facts, "quick": chosen.quick, **as_json(result)}
        failed = failed or any(ratio.met is False for ratio in result.ratios)
        if not chosen.quick:
            last = msgspec.json.decode(LAST.read_bytes(), type=dict[str, object]) if LAST.exists() else {}
            LAST.write_bytes(written(last | {name: figures[name]}))
    if chosen.json:
        chosen.json.write_bytes(written(figures))
    return 1 if failed else 0


def _busy(facts: dict[str, object]) -> str:
    """Return what to say of a machine that others were using when the run began; '' for a calm one."""
    load, cores = facts["load_average_before"], facts["cores"]
    assert isinstance(load, float)
    assert isinstance(cores, int)
    return f"the machine was busy before the run: load average {load} on {cores} cores" if load > cores / 2 else ""


def as_json(result: Result) -> dict[str, object]:
    return {
        "ratios": [
            {"name": ratio.name, "value": round(ratio.value, 4), "goal": ratio.goal, "bound": ratio.bound, "met": ratio.met}
            for ratio in result.ratios
        ],
        "measures": [{"name": m.name, "value": round(m.value, 4), "unit": m.unit} for m in result.measures],
        "remarks": list(result.remarks),
    }


def written(figures: dict[str, object]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n"


def show(name: str, result: Result) -> None:
    table = Table(title=name, title_justify="left", title_style="bold")
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_column("goal", justify="right")
    table.add_column("")
    for ratio in result.ratios:
        verdict = {True: "[green]met[/green]", False: "[red]missed[/red]", None: ""}[ratio.met]
        goal = "" if ratio.goal is None else f"{ratio.bound} {ratio.goal:g}"
        table.add_row(ratio.name, f"{ratio.value:.2f}", goal, verdict)
    table.add_section()
    for measure in result.measures:
        table.add_row(measure.name, f"{measure.value:,.{0 if measure.value >= 100 else 2}f} {measure.unit}", "", "", style="dim")
    console.print(table)
    for remark in result.remarks:
        console.print(f"  {remark}", highlight=False, style="dim")


if __name__ == "__main__":
    sys.exit(main())
