"""Every object that OCPI 2.2.1 publishes goes into a real serve by load and by push, and comes back equal.

The examples (CC BY-ND 4.0) are no part of this project: they are read from ROAMLOG_OCPI_EXAMPLES or ../shared/ocpi/examples.
"""

import asyncio
import copy
import json
import os
import re
import signal
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import pytest
from generated import same
from samples import CONNECTOR, EVSE, LOCATION, TOKEN
from serving import Serve, as_json, command, wire_session

from schemas import codec

FOLDER: Final = Path(os.environ.get("ROAMLOG_OCPI_EXAMPLES", Path(__file__).parents[3] / "shared" / "ocpi" / "examples")) / "2.2.1"
FRAGMENT: Final = re.compile("energymix|hours_2|hours_o|regularhours|transport")
"""In the name of a file that shows a part of an object, or a response."""

MODULES: Final = ("sessions", "cdrs", "locations", "tariffs", "tokens")
PARTIES: Final = ("NL*STK", "BE*BEC", "NL*TNM", "SE*EVC", "NL*ALF", "NL*ALL", "DE*ALL", "DE*TNM")
HEADERS: Final = {"Authorization": "Token examples-token", "Content-Type": "application/json"}

PATHS: Final = {
    "sessions_patch_example_charging_period": "sessions/NL/TNM/101",
    "sessions_patch_example_total_cost": "sessions/NL/TNM/101",
    "locations_patch_example_location": "locations/NL/TNM/1012",
    "locations_patch_example_remove_evse": "locations/NL/TNM/1012/3256",
    "locations_patch_example_status": "locations/NL/TNM/1012/3255",
    "locations_patch_example_tariff": "locations/NL/TNM/1012/3255/2",
    "locations_put_example_add_evse": "locations/NL/TNM/1012/3256",
    "tariffs_put_example": "tariffs/NL/TNM/12",
    "tokens_patch_example": "tokens/NL/TNM/012345678",
}
"""Where the specification sends an example that does not say itself whose it is, or says something else."""

FAULTY: Final = {
    "locations_put_example_add_evse": "/connectors/0/power_type",
    "tariffs_put_example": "/last_updated",
}
"""The examples that break the specification's own tables in a field without which there is no object, and that field."""

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no published examples at {FOLDER}; set ROAMLOG_OCPI_EXAMPLES"),
]


class Example(NamedTuple):
    """A published file."""

    name: str
    text: bytes

    @property
    def module(self) -> str:
        return self.name.partition("_")[0]

    @property
    def is_patch(self) -> bool:
        return "_patch_" in self.name

    @property
    def object(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.text)
        return read

    @property
    def path(self) -> str:
        """The Receiver's path of the object."""
        if self.name in PATHS:
            return PATHS[self.name]
        one = self.object
        path = f"{self.module}/{one['country_code']}/{one['party_id']}/{one.get('id') or one.get('uid')}"
        return f"{path}?type={one['type']}" if self.module == "tokens" else path

    @property
    def party(self) -> str:
        return "*".join(self.path.split("/")[1:3])


class Outcome(NamedTuple):
    """What came of an example: in words, what it is to be served as, and what it is served as."""

    said: str
    wanted: bytes | None = None
    given: bytes | None = None

    @property
    def is_equal(self) -> bool | None:
        """Whether it came back equal as values; None where it was not taken."""
        if self.wanted is None or self.given is None:
            return None
        return same(codec.parse(self.wanted), codec.parse(self.given))


def published() -> list[str]:
    names = [path.stem for module in MODULES for path in FOLDER.glob(f"{module}_*.json")]
    return sorted(name for name in names if not FRAGMENT.search(name))


def examples() -> list[Example]:
    """Return all, the older of two versions of one object first."""
    found = [Example(name, (FOLDER / f"{name}.json").read_bytes()) for name in published()]
    return sorted(found, key=lambda one: (one.object.get("last_updated", ""), one.name))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Outcome, Outcome]]]:
    """What came of each example by load and by push, each into a serve of its own."""
    loading, pushing = (Serve(tmp_path_factory.mktemp(way) / "data") for way in ("load", "push"))
    try:
        loaded = asyncio.run(_through(loading, load))
        pushed = asyncio.run(_through(pushing, push))
    finally:
        loading.kill()
        pushing.kill()
    yield {name: (loaded[name], pushed[name]) for name in published()}
    for name in published():
        by_load, by_push = loaded[name], pushed[name]
        print(f"{name} | {by_load.said} | {by_load.is_equal} | {by_push.said} | {by_push.is_equal}")  # noqa: T201


async def _through(serve: Serve, way: Any) -> dict[str, Outcome]:
    parties = [part for party in PARTIES for part in ("--party", party)]
    roles = ("--role", "CPO", "--role", "EMSP")
    added = command("partner", "add", "all", *parties, *roles, "--token", "examples-token", "--data", str(serve.data))
    assert added.returncode == 0, added.stderr
    await serve.start()
    async with aiohttp.ClientSession(serve.url, headers=HEADERS) as client:
        found: dict[str, Outcome] = await way(serve, client)
    verified = await asyncio.to_thread(command, "verify", "--data", str(serve.data))
    assert verified.returncode == 0, verified.stdout
    assert await serve.end(signal.SIGTERM) == 0
    return found


async def load(serve: Serve, client: aiohttp.ClientSession) -> dict[str, Outcome]:
    """Load the examples in rounds, no object twice in one, and read each back after its round."""
    rounds: list[dict[tuple[str, str], Example]] = []
    for one in examples():
        key = (one.module, one.path)
        free = next((some for some in rounds if key not in some), None)
        if free is None:
            rounds.append(free := {})
        free[key] = one
    found: dict[str, Outcome] = {}
    for some in rounds:
        groups: dict[tuple[str, str], list[Example]] = defaultdict(list)
        for one in some.values():
            groups[one.module, one.party].append(one)
        for (module, party), group in groups.items():
            said = await asyncio.to_thread(_load, serve, module, party, group)
            for one in group:
                given = await read(client, one.path) if said[one.name] == "taken" else None
                found[one.name] = Outcome(said[one.name], one.text if given else None, given)
    return found


def _load(serve: Serve, module: str, party: str, group: Sequence[Example]) -> dict[str, str]:
    files = [str(FOLDER / f"{one.name}.json") for one in group]
    done = command("load", "--module", module, "--party", party, "--data", str(serve.data), "--json", *files)
    said: dict[str, str] = {}
    for file in json.loads(done.stdout):
        assert (file["objects"], file["appended"] + file["refused"], file["error"]) == (1, 1, None)
        refusals = file["first_refusals"]
        said[Path(file["path"]).stem] = f"refused: {refusals[0]['reason']}" if refusals else "taken"
    return said


async def push(serve: Serve, client: aiohttp.ClientSession) -> dict[str, Outcome]:
    """Push the examples, those that are PATCHes onto objects of our own, and read each back."""
    found: dict[str, Outcome] = {}
    for one in examples():
        wanted = one.text
        if one.name in PATHS and one.module != "tariffs":
            base_path, base = _base(one)
            await asked(client, "PUT", base_path, as_json(base))
        method = "PATCH" if one.is_patch else "POST" if one.module == "cdrs" else "PUT"
        envelope = await asked(client, method, "cdrs" if method == "POST" else one.path, one.text)
        if envelope["status_code"] != 1000:
            found[one.name] = Outcome(f"refused: {envelope['status_message']}")
            continue
        given = await read(client, one.path)
        if one.is_patch:
            wanted = _patched(_part(base, one.path), one.text)
        found[one.name] = Outcome("taken", wanted, given)
    return found


def _base(one: Example) -> tuple[str, dict[str, Any]]:
    """Return the object that the example changes or adds to, and its path."""
    whole = "/".join(one.path.split("/")[:4])
    country_code, party_id, object_id = whole.split("/")[1:]
    owner = {"country_code": country_code, "party_id": party_id}
    if one.module == "sessions":
        return whole, wire_session(object_id, 1, "2019-01-01T00:00:00Z", **owner)
    if one.module == "tokens":
        return whole, TOKEN | owner | {"uid": object_id, "last_updated": "2019-01-01T00:00:00Z"}
    old = {"last_updated": "2019-01-01T00:00:00Z"}
    connectors = [CONNECTOR | old | {"id": number} for number in ("1", "2")]
    evses = [EVSE | old | {"uid": uid, "connectors": connectors} for uid in ("3255", "3256")]
    return whole, copy.deepcopy(LOCATION | owner | old | {"id": object_id, "evses": evses})


def _part(base: dict[str, Any], path: str) -> dict[str, Any]:
    """Return what a path below a Location names."""
    for key, ids, wanted in zip(("evses", "connectors"), ("uid", "id"), path.split("/")[4:], strict=False):
        base = next(child for child in base[key] if child[ids] == wanted)
    return base


def _patched(base: dict[str, Any], patch: bytes) -> bytes:
    """Return the object after the PATCH: its fields replaced, charging_periods added to."""
    change = codec.parse(patch)
    before = codec.parse(as_json(base))
    assert isinstance(change, dict)
    assert isinstance(before, dict)
    return codec.encode(before | change)


async def asked(client: aiohttp.ClientSession, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
    async with client.request(method, f"/ocpi/2.2.1/receiver/{path}", data=body) as answer:
        assert answer.status in {200, 201}, await answer.text()
        envelope: dict[str, Any] = await answer.json()
        return envelope


async def read(client: aiohttp.ClientSession, path: str) -> bytes:
    """Return the text of the object."""
    async with client.get(f"/ocpi/2.2.1/receiver/{path}") as answer:
        text = await answer.read()
    assert answer.status == 200, text
    envelope = codec.parse(text)
    assert isinstance(envelope, dict)
    return codec.encode(envelope["data"])


@pytest.mark.parametrize("name", published())
def test_an_example_goes_in_by_load_and_by_push_and_comes_back_equal(
    name: str, outcomes: dict[str, tuple[Outcome, Outcome]]
) -> None:
    by_load, by_push = outcomes[name]
    if name in FAULTY:
        assert FAULTY[name] in by_push.said
        assert by_load.said.startswith("refused: ")
    elif "_patch_" in name:  # a file of objects holds no changes
        assert by_load.said.startswith("refused: ")
        assert (by_push.said, by_push.is_equal) == ("taken", True)
    else:
        assert (by_load.said, by_load.is_equal) == ("taken", True)
        assert (by_push.said, by_push.is_equal) == ("taken", True)


def test_all_examples_are_tried() -> None:
    assert {*PATHS, *FAULTY} <= set(published())
    assert len(published()) == 40
