"""What pushes and authorizations ask of the real tables, in a process that knows nothing of itself."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from receiver import DIALECTS, NOW, PROJECTIONS, Reply, asked
from samples import CONNECTOR, EVSE, LOCATION, TARIFF, TOKEN
from starlette.applications import Starlette

from api.lookup import DocumentLookup
from ingest import http
from ingest.authorize import Authorize
from ingest.clients import Clients
from ingest.existence import Existence
from ingest.partners import PartnerRegistry, party_roles
from ingest.push import Push
from schemas.types import Module
from streams.clock import FixedClock
from streams.logs.memory import MemoryLog
from streams.metrics import Metrics
from streams.ports import TableStore
from streams.runtimes.embedded import Embedded

L1 = "locations/NL/TNM/LOC1"
CARD = "tokens/NL/TNM/04E1"
OWN = TOKEN | {"country_code": "NL", "party_id": "TNM"}
AUTHORIZE = "/ocpi/2.2.1/sender/tokens/04e1/authorize"


class House:
    """A log and its tables; each request is answered by a process that has just been started."""

    def __init__(self, store: TableStore) -> None:
        self.clock = FixedClock(NOW)
        self.log = MemoryLog()
        self.runtime = Embedded(self.log, "log-1", store, PROJECTIONS, clock=self.clock)
        self.registry = PartnerRegistry(self.log, b"pepper", self.clock)
        self.lookup = DocumentLookup(store)

    async def connect(self, name: str, party: str, *roles: str) -> None:
        await self.registry.add(name, party_roles([party], roles), token=name)

    async def __call__(self, method: str, path: str, body: dict[str, Any] | None = None, by: str = "tnm") -> Reply:
        """Fold what there is, and ask a new process."""
        while (await self.runtime.turn(wait_s=0)).records:
            pass
        self.clock.advance(1_000_000)
        common: dict[str, Any] = {
            "log": self.log,
            "dialects": DIALECTS,
            "clock": self.clock,
            "positions": self.runtime.progress,
            "metrics": Metrics(),
        }
        push = Push(
            existence=Existence(),
            lookup=self.lookup,
            clients=Clients(self.registry, self.clock),
            public_url="https://hub.example",
            patch_wait_s=0.05,
            **common,
        )
        authorize = Authorize(tokens=self.lookup, registry=self.registry, wait_s=0.05, **common)
        app = http.WritesFirst(Starlette(), push, self.registry, self.clock, Metrics(), authorize=authorize)
        sent = b"" if body is None else json.dumps(body).encode()
        return await asked(app, method, path, sent, {"authorization": f"Token {by}"})


@pytest.fixture
async def house(store: TableStore) -> AsyncIterator[House]:
    opened = House(store)
    await opened.runtime.start()
    await opened.connect("tnm", "NL*TNM", "CPO", "EMSP")
    await opened.connect("rival", "FR*RIV", "EMSP")
    yield opened
    await opened.runtime.close()


def later(second: int, **fields: Any) -> dict[str, Any]:
    return {"last_updated": f"2026-09-21T14:00:{second:02}Z"} | fields


async def test_the_tables_know_the_tree_at_each_level(house: House) -> None:
    assert (await house("PATCH", L1, later(0))).code == 2003
    assert (await house("PUT", f"{L1}/3256", EVSE)).code == 2003
    assert (await house("PUT", L1, LOCATION)).status == 201
    for path in (L1, f"{L1}/3256", f"{L1}/3256/1", "locations/nl/tnm/loc1/3256/1"):
        assert (await house("PATCH", path, later(1))).code == 1000
    for path in (f"{L1}/9", f"{L1}/3256/9", f"{L1}/9/1", "locations/NL/TNM/LOC9/3256/1"):
        assert (await house("PATCH", path, later(1))).code == 2003
    assert (await house("PUT", f"{L1}/3256/2", CONNECTOR | {"id": "2"})).code == 1000
    assert (await house("PUT", f"{L1}/9/1", CONNECTOR)).code == 2003
    assert (await house("PATCH", f"{L1}/3256/2", later(2))).code == 1000


async def test_what_a_parent_no_longer_lists_is_known_all_the_same(house: House) -> None:
    await house("PUT", L1, LOCATION)
    await house("PUT", f"{L1}/3256", EVSE | later(1) | {"connectors": [CONNECTOR | {"id": "2"}]})
    assert (await house("PATCH", f"{L1}/3256/1", later(2))).code == 1000
    await house("PUT", L1, {field: value for field, value in LOCATION.items() if field != "evses"} | later(3))
    assert (await house("PATCH", f"{L1}/3256/1", later(4))).code == 1000
    assert (await house("PATCH", f"{L1}/3256", later(4, status="CHARGING"))).code == 1000


async def test_one_read_takes_all_levels(house: House) -> None:
    await house("PUT", L1, LOCATION)
    await house("PATCH", L1, later(1))
    tree = ("NL*TNM", "loc1", "3256", "1")
    keys = [tree[:parts] for parts in (2, 3, 4)] + [("NL*TNM", "loc1", "9"), ("DE*MSP", "loc1")]
    assert list(await house.lookup.documents(Module.LOCATIONS, keys)) == keys[:3]


async def test_the_tables_know_tariffs_until_they_are_deleted(house: House) -> None:
    path = "tariffs/NL/TNM/12"
    assert (await house("DELETE", path)).code == 2001
    assert (await house("PUT", path, TARIFF)).status == 201
    assert (await house("DELETE", path)).code == 1000
    assert (await house("DELETE", path)).status == 404


async def test_the_tables_know_tokens_by_uid_and_type(house: House) -> None:
    assert (await house("PATCH", CARD, later(0))).code == 2004
    assert (await house("PUT", CARD, OWN)).status == 201
    assert (await house("PATCH", f"{CARD}?type=APP_USER", later(1))).code == 2004
    assert (await house("PATCH", "tokens/nl/tnm/04e1", later(1))).code == 1000


async def test_an_authorization_finds_its_token_whoever_owns_it(house: House) -> None:
    assert (await house("POST", AUTHORIZE)).code == 2004
    other = TOKEN | {"country_code": "FR", "party_id": "RIV"}
    await house("PUT", "tokens/FR/RIV/04E1", other, by="rival")
    reply = await house("POST", AUTHORIZE, {"location_id": "LOC1"})
    assert (reply.status, reply.ocpi["data"]["allowed"], reply.ocpi["data"]["token"]) == (200, "ALLOWED", other)
    await house("PUT", CARD, OWN)
    assert (await house("POST", AUTHORIZE)).ocpi["data"]["token"]["party_id"] == "RIV"
    await house("PATCH", "tokens/FR/RIV/04E1", later(1, valid=False), by="rival")
    assert (await house("POST", AUTHORIZE)).ocpi["data"]["token"]["party_id"] == "TNM"
    await house("PATCH", CARD, later(1, valid=False))
    reply = await house("POST", AUTHORIZE)
    assert (reply.status, reply.ocpi["data"]["allowed"], reply.ocpi["data"]["token"]["party_id"]) == (200, "BLOCKED", "RIV")
