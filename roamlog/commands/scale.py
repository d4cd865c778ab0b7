"""`roamlog prepare`, `ingest`, `api`, `streams` and `doctor`: the processes of a large house."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from roamlog import settings
from roamlog.commands.output import print_json, print_table, say, say_log
from roamlog.errors import Failure

if TYPE_CHECKING:
    from roamlog.scale import Started


def prepare(as_json: bool) -> None:
    """Make topics, database and tables that are missing."""
    chosen = _read()
    from roamlog import scale

    made = asyncio.run(scale.prepare(chosen))
    if as_json:
        print_json(made)
        return
    say(f"made topics: {', '.join(made.topics)}" if made.topics else "every topic was there")
    say(f"made tables of: {', '.join(made.projections)}" if made.projections else "every table was there")


def ingest(host: str | None, port: int | None, as_json: bool) -> None:
    """Take pushes until the process is asked to stop."""
    _http("ingest", host, port, as_json)


def api(host: str | None, port: int | None, as_json: bool) -> None:
    """Serve until the process is asked to stop."""
    _http("api", host, port, as_json)


def streams(as_json: bool) -> None:
    """Fold until the process is asked to stop."""
    chosen = _read()
    from roamlog import scale

    said = f"roamlog streams folds what {chosen.kafka} has, as one of {chosen.kafka_group}; {{url}}/ready tells how far"
    _runs(lambda started: scale.run_streams(chosen, started), said, as_json)


def pull(as_json: bool) -> None:
    """Crawl partners' lists by schedule until the process is asked to stop."""
    chosen = _read()
    from roamlog import scale

    said = "roamlog pull crawls what partners offer, when it is its turn; {url}/metrics tells whether it is"
    _runs(lambda started: scale.run_pull(chosen, started), said, as_json)


def doctor(as_json: bool) -> None:
    """Look at everything that the processes need; raises Failure where something is amiss."""
    chosen = settings.read_scale()
    from roamlog.doctor import examine

    found = asyncio.run(examine(chosen))
    if as_json:
        print_json(found)
    else:
        rows = [("yes" if one.well else "no", one.what, one.said, one.remedy) for one in found]
        print_table(("well", "what", "found", "what to do"), rows, title="roamlog doctor")
    amiss = [one.what for one in found if not one.well]
    if amiss:
        raise Failure(f"amiss: {', '.join(amiss)}")


def _http(part: Literal["ingest", "api"], host: str | None, port: int | None, as_json: bool) -> None:
    chosen = _read(host=host, port=port)
    from roamlog import scale

    _runs(lambda started: scale.run_http(chosen, part, started), f"roamlog {part} answers at {{url}}/ocpi/versions", as_json)


def _read(**options: object) -> settings.Scale:
    """Return the settings, once they say how much is logged."""
    chosen = settings.read_scale(**options)
    say_log(chosen.log_level)
    return chosen


def _runs(run: Callable[[Callable[["Started"], None]], None], said: str, as_json: bool) -> None:
    """Run a process to its end; once it is there, say so."""

    def started(at: "Started") -> None:
        say(json.dumps({"part": at.part, "url": at.url}) if as_json else said.format(url=at.url))

    run(started)
    logging.getLogger("roamlog").info("stopped")
