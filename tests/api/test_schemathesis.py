"""Whatever the OpenAPI document allows, and much that it does not, is answered and never with a failure of ours."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from outlet import OPERATOR, House, house
from samples import LOCATION, TARIFF, TOKEN
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from streams.ports import TableStore

EXAMPLES: Final = int(os.environ.get("ROAMLOG_SCHEMATHESIS_EXAMPLES", "3"))
"""Requests per operation and mode."""


@pytest.fixture
async def home(store: TableStore) -> AsyncIterator[House]:
    async with house(store) as opened:
        await opened.put("locations/NL/TNM/LOC1", LOCATION)
        await opened.put("tariffs/NL/TNM/12", TARIFF)
        await opened.put("tokens/DE/MSP/04E1", TOKEN, by="msp")
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
async def test_no_request_is_answered_with_a_failure_of_ours(home: House, mode: GenerationMode) -> None:
    document = (await home.get("/openapi.json", OPERATOR)).json
    asked = 0
    for request in drawn(document, mode):
        parts = urlsplit(request.url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        for token in (OPERATOR,) if "/ocpi/" not in path else ("cpo", "msp"):
            reply = await home.ask(request.method, path, token=token, body=request.body, headers=_latin(request.headers))
            assert reply.status < 500, (request.method, path, request.body, reply)
            if reply.headers["content-type"] == "application/json":
                json.loads(reply.body)
            asked += 1
    assert asked > len(document["paths"])


def drawn(document: dict[str, Any], mode: GenerationMode) -> list[Any]:
    """Return the requests that schemathesis draws, as they would be sent."""
    found: list[Any] = []
    schema = schemathesis.openapi.from_dict(document)
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        strategy = result.ok().as_strategy(generation_mode=mode)

        @settings(max_examples=EXAMPLES, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(strategy)
        def collect(case: Any) -> None:
            sent = case.as_transport_kwargs(base_url="http://house.example")
            found.append(requests.Request(**sent).prepare())

        with suppress(Unsatisfiable):  # what takes nothing cannot be given anything wrong
            collect()
    return found


def _latin(headers: Any) -> dict[str, str]:
    """Return the headers that say something about the body; who asks is said by the test."""
    return {name: value for name, value in headers.items() if name.lower() == "content-type"}
