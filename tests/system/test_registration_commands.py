"""`roamlog partner invite`, `register`, `rotate`, `unregister`, beside a real serve and without one; and where no token may be."""

import asyncio
import base64
import json
import signal
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Final

import pytest
from platforms import Platform, platform
from serving import Serve, command

HOUR: Final = 3_600_000_000
SETTINGS: Final = {
    "ROAMLOG_ALLOW_PRIVATE_PARTNERS": "1",
    "ROAMLOG_ROLES": "NL*TNM:CPO",
    "ROAMLOG_LOG_LEVEL": "debug",
    "ROAMLOG_PARTNER_TIMEOUT_S": "60",
}
pytestmark = pytest.mark.system


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    made = Serve(tmp_path / "data")
    await made.start(SETTINGS)
    yield made
    made.kill()


class Shell:
    """Runs commands on a folder and keeps all that they print."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.printed = ""

    async def __call__(self, *arguments: str, code: int = 0) -> str:
        done = await asyncio.to_thread(command, *arguments, "--data", str(self.data), environment=SETTINGS)
        assert done.returncode == code, done.stderr
        self.printed += done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    async def json(self, *arguments: str) -> Any:
        return json.loads(await self(*arguments, "--json"))


def holding(folder: Path, tokens: Iterable[str]) -> list[tuple[str, str]]:
    """Return which files hold which token, in any form in which it is presented."""
    found: list[tuple[str, str]] = []
    for file in folder.rglob("*"):
        if file.is_file():
            text = file.read_bytes()
            held = [token for token in tokens if token.encode() in text or base64.b64encode(token.encode()) in text]
            found += [(file.name, token) for token in held]
    return found


async def test_a_partner_is_invited_registered_rotated_and_unregistered_and_no_token_stays_anywhere(serve: Serve) -> None:
    run = Shell(serve.data)
    async with platform("DE*MSP:EMSP") as msp:
        invited = await run.json("partner", "invite", "msp", "--party", "DE*MSP", "--role", "EMSP", "--expires", "1")
        assert invited["versions_url"] == f"{serve.url}/ocpi/versions"
        assert "msp is invited to register until" in await run("partner", "list")
        await msp.registration.register("tnm", invited["versions_url"], invited["token"])
        (listed,) = await run.json("partner", "list")
        assert (listed["name"], listed["roles"], listed["version"], listed["registered"]) == ("msp", ["DE*MSP:EMSP"], "2.3.0", True)
        tokens = {invited["token"], msp.outbound_token("tnm")}

        assert (await run.json("partner", "rotate", "msp"))["name"] == "msp"
        tokens |= {msp.outbound_token("tnm")}
        reply = await msp.ask("GET", f"{serve.url}/ocpi/versions", msp.outbound_token("tnm"))
        assert reply.code == 1000

        assert "is no longer registered, here and there" in await run("partner", "unregister", "msp")
        assert msp.registry.list() == []

        _, given = await msp.registry.invite("tnm", HOUR)
        assert "HTTP 401" in await run("partner", "register", "msp", msp.versions_url, "--token", "wrong-token-A", code=1)
        said = await run("partner", "register", "msp", msp.versions_url, "--token", given, "--version", "2.2.1")
        assert "msp is registered, as DE*MSP:EMSP, in OCPI 2.2.1" in said
        tokens |= {given, "wrong-token-A", msp.outbound_token("tnm")}
        again = await run("partner", "register", "msp", msp.versions_url, "--token", given, code=1)
        assert again == "roamlog: partner msp is registered already; see roamlog partner rotate\n"

        tokens |= await refused(serve, msp)
        await serve.end(signal.SIGTERM)
        assert holding(serve.data, tokens) == []
        assert ("log.sqlite", "https://ocpi.example/?t=(a token)") in holding(serve.data, ["https://ocpi.example/?t=(a token)"])
        assert not [token for token in tokens if token in serve.output()]
        shown = [token for token in tokens if token in run.printed]
        assert shown == [invited["token"]]  # by invite, which is what it is for


async def refused(serve: Serve, msp: Platform) -> set[str]:
    """Have a change of credentials refused; returns the tokens that were sent for it."""
    mine, bad = msp.outbound_token("tnm"), "bad-token-of-credentials"
    said = {"token": bad, "url": f"https://ocpi.example/?t={bad}", "roles": [{"role": "CPO", "party_id": bad, "note": mine}]}
    reply = await msp.ask("PUT", f"{serve.url}/ocpi/2.2.1/credentials", mine, said)
    assert reply.code == 2001
    assert bad not in reply.body.decode()
    return {bad}


async def test_without_serve_a_partner_can_be_invited_but_must_be_able_to_call_to_be_registered(tmp_path: Path) -> None:
    run = Shell(tmp_path / "data")
    async with platform("DE*MSP:EMSP") as msp:
        invited = await run.json("partner", "invite", "msp")
        assert invited["versions_url"] == "http://127.0.0.1:8080/ocpi/versions"
        _, given = await msp.registry.invite("tnm", HOUR)
        told = await run("partner", "register", "other", msp.versions_url, "--token", given, code=1)
        assert "roamlog serve must run" in told
        assert "OCPI 3001" in told
        assert [one.name for one in msp.registry.invitations()] == ["tnm"]
        assert "no longer invited" in await run("partner", "remove", "msp")
