"""`rebuild`: every projection anew from logs of one, two and four sizes; time an event and memory must not grow with them."""

from typing import Final

from benchmarks import mix
from benchmarks.folding import Done, Job, fold
from benchmarks.frame import Measure, Options, Ratio, Result
from benchmarks.project import written

FLAT: Final = 1.15


async def run(options: Options) -> Result:
    """Rebuild from logs of 1, 2 and 4 million events (quick: 50, 100 and 200 thousand). Raises Unavailable."""
    chosen = mix.read()
    unit = options.pick(1_000_000, 50_000)
    done: dict[int, Done] = {}
    for events in (unit, 2 * unit, 4 * unit):
        path = options.scratch / f"log-{events}.sqlite"
        await written(path, chosen, events)
        folder = options.scratch / f"store-{events}"
        folder.mkdir()
        done[events] = await fold(Job("rebuild", str(path), str(folder)))
        path.unlink()
    each_us = {events: one.seconds / one.records * 1e6 for events, one in done.items()}
    # What else the machine does stretches the clock; the processor's time an event is the program's own.
    cpu_us = {events: one.cpu_s / one.records * 1e6 for events, one in done.items()}
    smallest, largest = done[unit], done[4 * unit]
    return Result(
        ratios=[
            Ratio("time an event, slowest / fastest size", max(each_us.values()) / min(each_us.values()), FLAT, "<="),
            Ratio("processor time an event, most / least", max(cpu_us.values()) / min(cpu_us.values()), FLAT, "<="),
            Ratio("memory, four times the events / once", largest.rss_mib / smallest.rss_mib, FLAT, "<="),
        ],
        measures=[
            measure
            for events, one in done.items()
            for measure in (
                Measure(f"{events:,} events: time an event", each_us[events], "us"),
                Measure(f"{events:,} events: processor an event", cpu_us[events], "us"),
                Measure(f"{events:,} events: memory, second half", one.rss_mib, "MiB"),
                Measure(f"{events:,} events: peak memory", one.peak_rss_mib, "MiB"),
            )
        ],
        remarks=["one projection after the other, each into a new generation, as `roamlog rebuild` does"],
    )
