"""`roamlog prepare`, `ingest`, `api`, `streams` and `doctor`: the processes of a large house."""

import asyncio
import logging
from typing import TYPE_CHECKING

from roamlog import settings
from roamlog.commands.output import print_json, print_table, say, say_log
from roamlog.errors import Failure

if TYPE_CHECKING:
    from roamlog.scale import Started


def prepare(as_json: bool) -> None:
    """Make topics, database and tables that are missing."""
    chosen = settings.read_scale()
    say_log(chosen.log_level)
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
    chosen = settings.read_scale()
    say_log(chosen.log_level)
    from roamlog import scale

    def started(at: "Started") -> None:
        if as_json:
            _say_json(at)
            return
        say(f"roamlog streams folds what {chosen.kafka} has, as one of {chosen.kafka_group}; {at.url}/ready tells how far")

    scale.run_streams(chosen, started)
    logging.getLogger("roamlog").info("stopped")


def pull(as_json: bool) -> None:
    """Crawl partners' lists by schedule until the process is asked to stop."""
    chosen = settings.read_scale()
    say_log(chosen.log_level)
    from roamlog import scale

    def started(at: "Started") -> None:
        if as_json:
            _say_json(at)
            return
        say(f"roamlog pull crawls what partners offer, when it is its turn; {at.url}/metrics tells whether it is")

    scale.run_pull(chosen, started)
    logging.getLogger("roamlog").info("stopped")


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


def _http(part: str, host: str | None, port: int | None, as_json: bool) -> None:
    chosen = settings.read_scale(host=host, port=port)
    say_log(chosen.log_level)
    from roamlog import scale

    def started(at: "Started") -> None:
        if as_json:
            _say_json(at)
            return
        say(f"roamlog {at.part} answers at {at.url}/ocpi/versions")

    scale.run_http(chosen, "ingest" if part == "ingest" else "api", started)
    logging.getLogger("roamlog").info("stopped")


def _say_json(at: "Started") -> None:
    import msgspec

    say(msgspec.json.encode({"part": at.part, "url": at.url}).decode())
