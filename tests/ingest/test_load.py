"""Files into the log: every shape, refused objects with their place, interruption, repetition."""

import asyncio
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from receiver import DIALECTS, NOW, World, cdr, session
from samples import EVSE, LOCATION, TARIFF, TOKEN
from versions import LATER, MODULES, OLDER, VERSIONS, sample

from ingest.admission import TOPIC
from ingest.load import BATCH_OBJECTS, FileReport, Load, LoadReport, Progress
from schemas.types import Module
from streams.clock import FixedClock
from streams.logs.memory import MemoryLog
from streams.ports import LogUnavailable


class Loading:
    """A world that files are loaded into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World(MemoryLog(), FixedClock(NOW))
        self.progress: list[Progress] = []
        self.told: Callable[[Progress], None] = self.progress.append

    async def __call__(
        self, *paths: Path, module: Module = Module.SESSIONS, party: str = "NL*TNM", version: str = "2.2.1"
    ) -> LoadReport:
        world = self.world
        loading = Load(
            log=world.log,
            dialects=DIALECTS,
            lookup=world.tables,
            clock=world.clock,
            existence=world.existence,
            folder=self.folder / "loads",
        )
        return await loading.files(paths, module=module, version=version, party=party, progress=self.told)

    async def one(self, text: bytes, name: str = "file.json", **options: Any) -> FileReport:
        path = self.folder / name
        path.write_bytes(text)
        (report,) = (await self(path, **options)).files
        return report


@pytest.fixture
def load(tmp_path: Path) -> Loading:
    return Loading(tmp_path)


def sessions(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [session(f"S{number}", **fields) for number in range(count)]


def counts(report: FileReport) -> tuple[int, int, int, int]:
    return report.objects, report.appended, report.duplicates, report.refused


async def test_loaded_sessions_stand_in_the_log_as_puts_of_the_operator(load: Loading) -> None:
    report = await load.one(json.dumps(sessions(3)).encode())
    assert (counts(report), report.error) == ((3, 3, 0, 0), None)
    events = await load.world.envelopes()
    assert {(event.type, event.origin, event.connection, event.party) for event in events} == {
        ("session.replaced", "load", "load", "NL*TNM")
    }
    assert sorted(event.key for event in events) == [("S0",), ("S1",), ("S2",)]
    assert load.progress[-1].objects == 3
    assert load.progress[-1].bytes_read == load.progress[-1].bytes_total


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("shape", ["array", "envelope", "page", "lines", "single"])
async def test_every_shape_is_loaded_zipped_or_not(load: Loading, shape: str, zipped: bool) -> None:
    objects = sessions(1 if shape == "single" else 3)
    text = {
        "array": json.dumps(objects, indent=2),
        "envelope": json.dumps({"data": objects, "status_code": 1000}),
        "page": json.dumps({"items": objects, "total": 3}),
        "lines": "\n".join(map(json.dumps, objects)),
        "single": json.dumps(objects[0]),
    }[shape].encode()
    name = f"file.{'jsonl' if shape == 'lines' else 'json'}{'.gz' if zipped else ''}"
    report = await load.one(gzip.compress(text) if zipped else text, name)
    assert (report.appended, report.error) == (len(objects), None)


async def test_a_refused_object_is_recorded_with_its_number_and_place_and_the_others_are_loaded(load: Loading) -> None:
    good, wrong, foreign, garbage = session("S0"), session("S1", status="?"), session("S2", party_id="ALL"), b'{"id": x}'
    text = b"[" + b",".join([*(json.dumps(one).encode() for one in (good, wrong, foreign)), garbage]) + b"]"
    report = await load.one(text)
    assert counts(report) == (4, 1, 0, 3)
    assert [(refusal.index, text[refusal.offset : refusal.offset + 1]) for refusal in report.first_refusals] == [
        (1, b"{"), (2, b"{"), (3, b"{"),
    ]  # fmt: skip
    reasons = [refusal.reason for refusal in report.first_refusals]
    assert "/status" in reasons[0]
    assert "an object of NL*ALL, not of NL*TNM" in reasons[1]
    rejected = sorted(await load.world.rejected(), key=lambda one: one.path)
    assert [(one.source, one.path, one.method) for one in rejected] == [
        ("load", "file.json#1", "PUT"), ("load", "file.json#2", "PUT"), ("load", "file.json#3", "PUT"),
    ]  # fmt: skip
    assert [json.loads(one.body) for one in rejected[:2]] == [wrong, foreign]
    assert rejected[2].body == garbage
    assert rejected[0].reason.startswith(f"object 1 at byte {report.first_refusals[0].offset}: ")


async def test_a_repeated_load_repeats_event_ids_and_rejections(load: Loading) -> None:
    text = json.dumps([*sessions(2), session("S9", status="?")]).encode()
    await load.one(text)
    load.world.clock.advance(60_000_000)
    await load.one(text)
    assert len({event.event_id for event in await load.world.envelopes()}) == 2
    assert len({rejected.rejected_id for rejected in await load.world.rejected()}) == 1


async def test_a_cdr_that_stands_is_a_duplicate_and_another_of_its_id_is_refused(load: Loading) -> None:
    first = await load.one(json.dumps([cdr("C1"), cdr("C2"), cdr("C1")]).encode(), module=Module.CDRS)
    assert counts(first) == (3, 2, 1, 0)
    load.world = await load.world.restarted()
    again = await load.one(json.dumps([cdr("C1"), cdr("C2", total_energy=1), cdr("C3")]).encode(), module=Module.CDRS)
    assert counts(again) == (3, 1, 1, 1)
    assert [event.key for event in await load.world.envelopes() if event.type == "cdr.posted"].count(("C1",)) == 1
    (rejected,) = await load.world.rejected()
    assert [finding.rule for finding in rejected.findings] == ["cdr_conflict"]


async def test_a_pushed_cdr_is_a_duplicate_when_it_is_loaded(load: Loading) -> None:
    token = (await load.world.partner()).token
    await load.world.ask("POST", "cdrs", cdr(), token=token)
    assert counts(await load.one(json.dumps([cdr()]).encode(), module=Module.CDRS)) == (1, 0, 1, 0)


async def test_cdrs_are_loaded_while_the_tables_are_away(load: Loading) -> None:
    load.world.tables.away = True
    assert counts(await load.one(json.dumps([cdr()]).encode(), module=Module.CDRS)) == (1, 1, 0, 0)


async def test_a_truncated_file_is_loaded_as_far_as_it_can_be_read_and_says_where_it_ends(load: Loading) -> None:
    text = json.dumps(sessions(BATCH_OBJECTS + 10)).encode()
    report = await load.one(text[:-30])
    assert counts(report)[:2] == (BATCH_OBJECTS + 9, BATCH_OBJECTS + 9)
    assert report.error is not None
    assert report.error.startswith("the file ends inside an object, at byte ")
    at = int(report.error.rpartition(" ")[2].replace(",", ""))
    assert text[at:].startswith(b'{"country_code"')


async def test_a_truncated_gzip_file_is_loaded_as_far_as_it_unpacks(load: Loading) -> None:
    import random

    notes = random.Random(1)
    text = "\n".join(json.dumps(session(f"S{n}", note=notes.randbytes(300).hex())) for n in range(3000)).encode()
    report = await load.one(gzip.compress(text)[:-2000], "file.jsonl.gz")
    assert report.error is not None
    assert "the compressed file is damaged or cut off" in report.error
    assert 0 < report.appended < 3000


@pytest.mark.parametrize(
    ("text", "error"), [(b"<xml/>", "an array or an object should begin, at byte 0"), (b"\x1f\x8bxx", "damaged")]
)
async def test_what_is_no_json_is_one_sentence(load: Loading, text: bytes, error: str) -> None:
    report = await load.one(text)
    assert error in (report.error or "")
    assert report.objects == 0


async def test_a_missing_file_stops_no_other(load: Loading, tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(json.dumps(sessions(1)))
    report = await load(tmp_path / "a.json", tmp_path / "b.json", tmp_path)
    assert [file.error for file in report.files] == [
        "the file cannot be read: No such file or directory", None, "the file cannot be read: Is a directory",
    ]  # fmt: skip
    assert not report.complete
    assert report.files[1].appended == 1


@pytest.mark.parametrize("batches", [0, 1, 2])
async def test_an_interrupted_load_goes_on_after_the_last_durable_batch(load: Loading, batches: int) -> None:
    text = json.dumps(sessions(3 * BATCH_OBJECTS)).encode()
    stop = load.world

    def interrupt(progress: Progress) -> None:
        if progress.objects == batches * BATCH_OBJECTS:
            stop.log.unavailable = "the machine went down"

    load.told = interrupt
    interrupt(Progress("", 0, 0, 0))
    with pytest.raises(LogUnavailable):
        await load.one(text)
    assert len(await load.world.envelopes()) == batches * BATCH_OBJECTS
    load.world.log.unavailable = ""
    load.told = load.progress.append
    (report,) = (await load(load.folder / "file.json")).files
    assert report.resumed_at == batches * BATCH_OBJECTS
    assert counts(report)[:2] == (3 * BATCH_OBJECTS, 3 * BATCH_OBJECTS)
    events = await load.world.envelopes()
    assert len({event.event_id for event in events}) == len(events) == 3 * BATCH_OBJECTS
    assert list((load.folder / "loads").iterdir()) == []


async def test_a_changed_file_is_loaded_from_its_beginning(load: Loading) -> None:
    await load.one(json.dumps(sessions(3)).encode()[:-5])
    report = await load.one(json.dumps(sessions(3)).encode())
    assert (report.resumed_at, report.appended) == (0, 3)


async def test_progress_that_cannot_be_read_is_no_progress(load: Loading) -> None:
    await load.one(json.dumps(sessions(3)).encode()[:-5])
    (mark,) = (load.folder / "loads").iterdir()
    mark.write_bytes(b"{")
    (report,) = (await load(load.folder / "file.json")).files
    assert (report.resumed_at, report.appended) == (0, 2)


async def test_an_unknown_version_is_refused_before_anything_is_read(load: Loading) -> None:
    world = load.world
    loading = Load(
        log=world.log, dialects={}, lookup=world.tables, clock=world.clock, existence=world.existence, folder=load.folder / "loads"
    )
    with pytest.raises(KeyError):
        await loading.files([], module=Module.SESSIONS, version="2.2.1", party="NL*TNM")


@pytest.mark.parametrize(
    ("module", "sample", "kind", "key"),
    [
        (Module.LOCATIONS, LOCATION, "location.replaced", ("LOC1",)),
        (Module.TARIFFS, TARIFF, "tariff.replaced", ("12",)),
        (Module.TOKENS, TOKEN | {"country_code": "NL", "party_id": "TNM"}, "token.replaced", ("04E1", "RFID")),
    ],
)
async def test_every_module_is_loaded_as_puts(
    load: Loading, module: Module, sample: dict[str, Any], kind: str, key: tuple[str, ...]
) -> None:
    foreign = sample | {"party_id": "ALL"}
    report = await load.one(json.dumps([sample, foreign]).encode(), module=module)
    assert counts(report) == (2, 1, 0, 1)
    (event,) = await load.world.envelopes(TOPIC[module])
    assert (event.type, event.key, event.party, event.origin) == (kind, key, "NL*TNM", "load")
    assert json.loads(event.raw or event.payload) == sample


async def test_what_was_loaded_of_a_location_is_known_to_pushes(load: Loading) -> None:
    await load.one(json.dumps([LOCATION]).encode(), module=Module.LOCATIONS)
    world = load.world
    world.tables.away = True
    token = (await world.partner()).token
    for path in ("locations/NL/TNM/LOC1/3256", "locations/NL/TNM/LOC1/3256/1"):
        assert (await world.ask("PATCH", path, {"last_updated": "2026-09-20T10:06:00Z"}, token=token)).code == 1000
    assert world.tables.asked == []


async def test_a_location_of_5000_evses_is_loaded_while_others_are_answered(load: Loading) -> None:
    large = LOCATION | {"evses": [EVSE | {"uid": f"E{number}", "x-vendor": 1} for number in range(5000)]}
    loading = asyncio.ensure_future(load.one(json.dumps([large]).encode(), module=Module.LOCATIONS))
    turns = 0
    while not loading.done():
        turns += 1
        await asyncio.sleep(0)
    assert counts(loading.result()) == (1, 1, 0, 0)
    assert turns > 10


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MODULES)
async def test_objects_of_every_version_can_be_loaded(load: Loading, version: str, name: str) -> None:
    party = "DE*MSP" if name == "Token" else "NL*TNM"
    text = json.dumps([sample(version, name)]).encode()
    report = await load.one(text, module=MODULES[name], party=party, version=version)
    assert (counts(report), report.first_refusals) == ((1, 1, 0, 0), [])
    (event,) = await load.world.envelopes(TOPIC[MODULES[name]])
    assert (event.version, event.party, event.origin) == (version, party, "load")
    own = json.loads(event.payload)
    assert f"{own['country_code']}*{own['party_id']}" == party


@pytest.mark.parametrize("version", VERSIONS)
async def test_before_2_2_objects_belong_to_whom_the_operator_names(load: Loading, version: str) -> None:
    text = json.dumps([sample(version, "Tariff")]).encode()
    report = await load.one(text, module=Module.TARIFFS, party="BE*BEC", version=version)
    assert counts(report) == ((1, 0, 0, 1) if version in LATER else (1, 1, 0, 0))


@pytest.mark.parametrize("version", OLDER)
async def test_a_loaded_cdr_finds_whom_it_concerns_by_its_contract(load: Loading, version: str) -> None:
    await load.one(
        json.dumps([sample(version, "Token")]).encode(), "tokens.json", module=Module.TOKENS, party="DE*MSP", version=version
    )
    cdrs = [sample(version, "CDR"), sample(version, "CDR", id="c-2", auth_id="DE-XXX-NOBODY")]
    await load.one(json.dumps(cdrs).encode(), "cdrs.json", module=Module.CDRS, version=version)
    assert {event.key: event.addressed_to for event in await load.world.envelopes()} == {("c-1",): "DE*MSP", ("c-2",): None}
