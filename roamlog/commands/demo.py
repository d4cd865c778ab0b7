"""`roamlog demo`."""

import asyncio
import sys
from typing import Any

from roamlog.commands.output import console, print_json, say
from roamlog.demo.play import Outcome, Told, play
from roamlog.errors import Failure


def run(sessions: int, seed: int, as_json: bool) -> None:
    """Play the demo and print what came of it; raises Failure where something differs from what the platforms believe."""
    outcome = asyncio.run(_watched(sessions, seed, silent=as_json))
    if as_json:
        print_json(_summary(outcome))
    else:
        from roamlog.demo.report import report

        report(outcome, console())
    wrong = sum(len(check.wrong) for check in outcome.checks)
    if wrong:
        raise Failure(f"the demo found {wrong:,} differences")


async def _watched(sessions: int, seed: int, *, silent: bool) -> Outcome:
    if silent:
        return await play(sessions, seed, lambda *_: None)
    said = f"220 sites in eight countries, {sessions:,} charging sessions of three days, dirt included (seed {seed})"
    say(f"Operators and eMSPs on four versions of OCPI around one roamlog: {said}.")
    if not sys.stdout.isatty():
        return await play(sessions, seed, _lines())
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console(), transient=True) as bar:
        task = bar.add_task("", total=1)
        return await play(sessions, seed, lambda what, done, total: bar.update(task, description=what, completed=done, total=total))


def _lines() -> Told:
    """Return what says each new thing on a line of its own."""
    before = ""

    def told(what: str, done: int, total: int) -> None:
        nonlocal before
        if what != before:
            before = what
            say(f"… {what}")

    return told


def _summary(outcome: Outcome) -> dict[str, Any]:
    return {
        "pushes": sum(platform.pushes for platform in outcome.platforms),
        "seconds": {
            "started": round(outcome.started_s, 3),
            "pushed": round(outcome.pushed_s, 3),
            "folded": round(outcome.folded_s, 3),
            "stopped": round(outcome.stopped_s, 3),
        },
        "pages": outcome.pages,
        "analytics": outcome.analytics,
        "refused": len(outcome.refusals),
        "verified": outcome.verified,
        "checks": [{"title": check.title, "wrong": check.wrong} for check in outcome.checks],
    }
