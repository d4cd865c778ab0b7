"""`project`: a log of mixed events into all projections, rows in ClickHouse, beside a loop that only fetches and decodes."""

from pathlib import Path

from benchmarks import mix
from benchmarks.folding import Done, Job, fold
from benchmarks.frame import Measure, Options, Ratio, Result, Unavailable, median_and_spread
from streams.logs.local import LocalLog


async def run(options: Options) -> Result:
    """Fold the log of mix.toml several times, bare and whole in turn, every time into an empty store. Raises Unavailable."""
    chosen = mix.read()
    events, rounds = options.pick(chosen.events, 50_000), options.pick(3, 1)
    path = options.scratch / "log.sqlite"
    shares = await written(path, chosen, events)
    bare, whole = [], []
    for number in range(rounds):
        bare.append(await fold(Job("bare", str(path), "")))
        folder = options.scratch / f"store-{number}"
        folder.mkdir()
        whole.append(await fold(Job("project", str(path), str(folder))))
    bare_rate, _ = median_and_spread([one.records / one.seconds for one in bare])
    rate, spread = median_and_spread([one.records / one.seconds for one in whole])
    bare_cpu, _ = median_and_spread([one.cpu_s / one.records * 1e6 for one in bare])
    cpu, _ = median_and_spread([one.cpu_s / one.records * 1e6 for one in whole])
    last = whole[-1]
    misses = sum(last.asked.values()) / sum(last.keyed.values())
    if misses < chosen.limits["misses"]:
        raise Unavailable(f"{misses:.3f} of the look-ups of states miss the cache, mix.toml wants {chosen.limits['misses']}")
    return Result(
        ratios=[
            Ratio("projector / bare fetch and decode", rate / bare_rate, 0.15),
            Ratio("processor time an event, bare / projector", bare_cpu / cpu),
        ],
        measures=[
            Measure("projector", rate, "events/s"),
            Measure("bare fetch and decode", bare_rate, "events/s"),
            Measure("projector: processor an event, all threads", cpu, "us"),
            Measure("bare: processor an event", bare_cpu, "us"),
            Measure("projector: peak memory", max(one.peak_rss_mib for one in whole), "MiB"),
            Measure("farthest round from the median", 100 * spread, "%"),
            *(Measure(f"share of events: {kind}", 100 * share, "%") for kind, share in sorted(shares.items())),
            Measure("look-ups of states that miss the cache", 100 * misses, "%"),
            *_stages(last),
        ],
        remarks=[
            f"{events:,} events, {rounds} rounds; embedded log and store, one process each time",
            "a stock Faust agent and two workers need a broker: they are measured with the Kafka runtime",
        ],
    )


async def written(path: Path, chosen: mix.Mix, events: int) -> dict[str, float]:
    """Write the log and return the shares of its events."""
    log = LocalLog.open(path)
    try:
        return await mix.fill(log, chosen, events)
    finally:
        await log.close()


def _stages(done: Done) -> list[Measure]:
    """Return where the store was asked, an event each: the states that were loaded, the rows that were inserted."""
    measures = []
    for name, keyed in done.keyed.items():
        asked, found = done.asked.get(name, 0), done.found.get(name, 0)
        measures += [
            Measure(f"{name}: look-ups that miss the cache", 100 * asked / keyed, "%"),
            Measure(f"{name}: of them found in the table", 100 * found / max(asked, 1), "%"),
        ]
    for what, seconds in (("loading from", done.loading_s), ("inserting into", done.inserting_s)):
        measures += [
            Measure(f"{what} {table}, an event", 1e6 * took / done.records, "us")
            for table, took in sorted(seconds.items(), key=lambda one: -one[1])
        ]
    return measures
