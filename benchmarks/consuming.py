"""One reader of a Kafka log in a process of its own, which does no more with a record than decode its envelope.

    python -m benchmarks.consuming bare|stock SERVERS PREFIX EVENTS

`bare` is a `getmany` loop, the least that any projector has to do; `stock` an agent of Faust as Faust is without changes. It
writes a `Consumed` to standard output.
"""

import asyncio
import os
import resource
import sys
import time
from typing import Any, Final, Literal

import faust
import msgspec
from aiokafka import AIOKafkaConsumer
from msgspec import Struct

from benchmarks.folding import topics
from benchmarks.frame import ROOT, Unavailable
from schemas import envelope as envelopes

POLL_RECORDS: Final = 2_000
WITHIN_S: Final = 600


class Consumed(Struct, frozen=True):
    """From the first record to the last: seconds, and the processor time of the process meanwhile."""

    records: int
    seconds: float
    cpu_s: float


async def consume(how: Literal["bare", "stock"], servers: str, prefix: str, events: int) -> Consumed:
    """Read the log in a process of its own. Raises Unavailable."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.consuming", how, servers, prefix, str(events)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), WITHIN_S)
    except TimeoutError as late:
        process.kill()
        await process.wait()
        raise Unavailable(f"the {how} consumer has not read {events:,} records within {WITHIN_S} s") from late
    try:
        return msgspec.json.decode(output.splitlines()[-1], type=Consumed)
    except (IndexError, msgspec.DecodeError) as fault:
        raise Unavailable(f"the {how} consumer ended with {process.returncode}") from fault


class _Count:
    def __init__(self, events: int) -> None:
        self._events = events
        self._seen = 0
        self._begun = self._cpu = 0.0

    def take(self, records: int) -> bool:
        """Count records that were decoded; tell whether these were the last."""
        if not self._seen:
            self._begun, self._cpu = time.perf_counter(), _cpu_s()
        self._seen += records
        return self._seen >= self._events

    def say(self) -> None:
        done = Consumed(self._seen, time.perf_counter() - self._begun, _cpu_s() - self._cpu)
        os.write(1, msgspec.json.encode(done) + b"\n")  # Faust has taken the place of sys.stdout


async def _bare(servers: str, names: list[str], count: _Count) -> None:
    consumer = AIOKafkaConsumer(
        *names, bootstrap_servers=servers, group_id=f"bare-{os.getpid()}", auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        done = False
        while not done:
            for records in (await consumer.getmany(timeout_ms=1000, max_records=POLL_RECORDS)).values():
                for record in records:
                    envelopes.decode(record.value)
                done = count.take(len(records)) or done
        count.say()
    finally:
        await consumer.stop()


def _stock(servers: str, names: list[str], count: _Count) -> None:
    app: Any = faust.App(
        f"stock-{os.getpid()}",
        broker=f"kafka://{servers}",
        store="memory://",
        topic_disable_leader=True,
        broker_max_poll_records=POLL_RECORDS,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
        web_enabled=False,
    )

    async def decode(stream: Any) -> None:
        async for value in stream:
            envelopes.decode(value)
            if count.take(1):
                count.say()
                os._exit(0)  # what it would do on its way out is not measured

    for name in names:
        topic = app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
        app.agent(topic, name=f"decode-{name}")(decode)
    faust.Worker(app, loglevel="ERROR").execute_from_commandline()


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    _, way, where, before, many = sys.argv
    if way == "bare":
        asyncio.run(_bare(where, [before + name for name in topics()], _Count(int(many))))
    else:
        _stock(where, [before + name for name in topics()], _Count(int(many)))
