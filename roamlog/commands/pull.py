"""`roamlog pull …`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from roamlog import operations, settings
from roamlog.admin import perform
from roamlog.commands.output import print_json, print_table, progress, say
from roamlog.errors import Failure
from roamlog.operations import Certificate, Operation, Told

AskedT = TypeVar("AskedT", bound=Struct)
FoundT = TypeVar("FoundT", bound=Struct)

FIGURES = ("pages", "objects", "new", "same", "older", "refused", "drift", "gone")
SHOWN = 20


def run(data: Path, name: str, modules: Sequence[str], full: bool, as_json: bool, kafka: bool) -> None:  # noqa: PLR0917
    """Crawl and print the certificates; raises Failure where one is incomplete."""
    asked = operations.PullRun(name, tuple(modules), full)
    with progress() as told:
        pulled = _perform(data, kafka, operations.PULL_RUN, asked, told)
    if as_json:
        print_json(pulled.crawls)
    else:
        _print(pulled.crawls)
        odd = [(one.module, page, rule, message) for one in pulled.crawls for page, rule, message in one.oddities]
        if odd:
            print_table(("module", "page", "rule", "what was odd"), odd[:SHOWN], right=("page",))
    broken = [one for one in pulled.crawls if one.status != "complete"]
    if broken:
        reason = broken[0].oddities[-1][2] if broken[0].oddities else "see roamlog pull log"
        raise Failure(f"the crawl of {broken[0].module} is incomplete: {reason}")


def log(data: Path, name: str, limit: int, as_json: bool, kafka: bool) -> None:
    """Print the newest certificates."""
    asked = operations.PullLog(name, limit)
    with progress() as told:
        pulled = _perform(data, kafka, operations.PULL_LOG, asked, told)
    if as_json:
        print_json(pulled.crawls)
    else:
        _print(pulled.crawls)


def set_policy(data: Path, name: str, policy: str | None, silent_s: int, as_json: bool, kafka: bool) -> None:  # noqa: PLR0917
    """Say, or print, when a partner's lists are crawled by themselves."""
    now = _perform(data, kafka, operations.PULL_SET, operations.PullSet(name, policy, silent_s), lambda _: None)
    if as_json:
        print_json(now)
    else:
        more = f" for {now.silent_s} s" if now.policy == "silent" else ""
        say(f"{now.name}: {now.policy}{more}")


def _perform(data: Path, kafka: bool, operation: Operation[AskedT, FoundT], asked: AskedT, told: Told) -> FoundT:
    """Return what the operation found, on a data folder or, at scale, on Kafka and ClickHouse."""
    if not kafka:
        return perform(data, settings.read(), operation, asked, told)
    from roamlog import scale

    return scale.perform_pull(settings.read_scale(), operation, asked, told)


def _print(crawls: Sequence[Certificate]) -> None:
    rows = [
        (
            one.connection,
            one.module,
            one.reach,
            one.started_at[:19],
            one.status,
            *(one.pages, one.objects, one.appended, one.unchanged, one.older, one.refused, one.drifted, one.vanished),
            ", ".join(dict.fromkeys(rule for _, rule, _ in one.oddities)),
        )
        for one in crawls
    ]
    print_table(("partner", "module", "reach", "started", "status", *FIGURES, "odd"), rows, right=FIGURES)
