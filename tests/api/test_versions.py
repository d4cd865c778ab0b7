"""Versions and version details: what each partner may call (OCPI 2.2.1 version_information_endpoint)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from outlet import URL, House, house

from streams.stores.clickhouse import ClickHouseStore

pytestmark = pytest.mark.asyncio(loop_scope="module")

VERSIONS = "/ocpi/versions"
DETAILS = "/ocpi/2.2.1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(chdb_folder: Path) -> AsyncIterator[House]:
    """One house for all: nothing here changes it."""
    store = ClickHouseStore.embedded(chdb_folder, database="versions", readers=1)
    async with house(store) as opened:
        yield opened
    await store.close()


async def test_every_version_is_listed_to_every_partner(home: House) -> None:
    for token in ("cpo", "msp"):
        reply = await home.get(VERSIONS, token)
        assert (reply.status, reply.code) == (200, 1000)
        assert {"version": "2.2.1", "url": f"{URL}/ocpi/2.2.1"} in reply.data


async def test_a_partner_gets_the_side_opposite_to_its_role(home: House) -> None:
    await home.connect("both", "SE*TWO", "CPO", "EMSP")
    await home.connect("hub", "SE*HUB", "HUB")
    await home.connect("map", "IT*NAV", "NAP")
    of_cpos, all_modules = "locations sessions cdrs tariffs", "locations sessions cdrs tariffs tokens"

    def offered(side: str, modules: str) -> list[dict[str, str]]:
        base = f"{URL}/ocpi/2.2.1/{side.lower()}"
        return [{"identifier": module, "role": side, "url": f"{base}/{module}"} for module in modules.split()]

    credentials = {"identifier": "credentials", "role": "SENDER", "url": f"{URL}/ocpi/2.2.1/credentials"}
    for token, receiver, sender in (
        ("cpo", of_cpos, "tokens"),
        ("msp", "tokens", of_cpos),
        ("map", "", of_cpos),
        ("both", all_modules, all_modules),
        ("hub", f"{all_modules} hubclientinfo", all_modules),
    ):
        details = (await home.get(DETAILS, token)).data
        endpoints = [credentials, *offered("RECEIVER", receiver), *offered("SENDER", sender)]
        assert details == {"version": "2.2.1", "endpoints": endpoints}


async def test_what_is_offered_answers(home: House) -> None:
    for token in ("cpo", "msp"):
        for endpoint in (await home.get(DETAILS, token)).data["endpoints"][1:]:  # without credentials, whose route is not here
            reply = await home.get(f"{endpoint['url']}?date_from=2020-01-01T00:00:00Z", token)
            assert reply.status != 404 or reply.code == 2001, endpoint


async def test_without_a_known_token_nothing_is_said(home: House) -> None:
    for path in (VERSIONS, DETAILS, "/ocpi/9.9", "/ocpi/2.2.1/sender/sessions", "/ocpi/2.2.1/receiver/sessions/NL/TNM/S1"):
        for token in (None, "unknown", "operator-token"):
            reply = await home.get(path, token)
            assert (reply.status, reply.code, reply.headers["www-authenticate"]) == (401, 2000, "Token"), path
            assert "data" not in reply.json


async def test_a_version_that_is_not_spoken_is_404_with_3002(home: House) -> None:
    for path in ("/ocpi/3.0", "/ocpi/2.2.1x", "/ocpi/%00", "/ocpi/9.9/credentials"):
        reply = await home.get(path)
        assert (reply.status, reply.code) == (404, 3002), path


async def test_an_endpoint_that_a_version_does_not_have_is_404(home: House) -> None:
    for path in ("/ocpi/2.2.1/credentials", "/ocpi/2.2.1/sender/x/y/z", "/ocpi/versions/x"):
        reply = await home.get(path)
        assert (reply.status, reply.json["status_code"] // 1000) == (404, 3 if "versions" in path else 2), path


async def test_the_configuration_endpoints_offer_get_alone(home: House) -> None:
    for path in (VERSIONS, DETAILS):
        for method in ("POST", "PUT", "DELETE", "HEAD"):
            reply = await home.ask(method, path, token="cpo")
            assert (reply.status, reply.headers["allow"], reply.code) == (405, "GET", 2000)


async def test_a_trailing_slash_changes_nothing(home: House) -> None:
    assert (await home.get(f"{VERSIONS}/")).data == (await home.get(VERSIONS)).data
    assert (await home.get(f"{DETAILS}/")).data == (await home.get(DETAILS)).data


async def test_paths_outside_are_answered_in_the_envelope_too(home: House) -> None:
    for path in ("/", "/nothing", "/ocpi", "/ocpi/", "/analytics", "/analytics/none", "/health/x", "/ocpix/versions"):
        reply = await home.get(path)
        assert (reply.status, reply.code) == (404, 2000), path
    reply = await home.ask("DELETE", "/health", token=None)
    assert (reply.status, reply.headers["allow"], reply.code) == (405, "GET", 2000)
