"""Two platforms register with each other over real HTTP, in both directions and in every version."""

import pytest
from platforms import VERSIONS, Platform, platform
from receiver import session

from schemas.ocpi.interface import interface

OLDER = [version for version in VERSIONS if version < "2.2"]
LATER = [version for version in VERSIONS if version >= "2.2"]
every = pytest.mark.parametrize("version", VERSIONS)


async def registered(cpo: Platform, msp: Platform, **invited: object) -> None:
    """Have the eMSP register with the CPO."""
    _, token = await cpo.registry.invite("msp", 3_600_000_000, **invited)  # type: ignore[arg-type]
    await msp.registration.register("cpo", cpo.versions_url, token)


@every
async def test_a_platform_registers_with_another_and_both_know_each_other(version: str) -> None:
    async with platform("NL*TNM:CPO", versions=[version]) as cpo, platform("DE*MSP:EMSP", versions=[version]) as msp:
        invited, token = await cpo.registry.invite("msp", 3_600_000_000, roles=["EMSP"])
        assert invited.name == "msp"
        made = await msp.registration.register("cpo", cpo.versions_url, token, role="CPO")
        theirs = cpo.partner("msp")
        assert [(one.role, one.party) for one in made.roles] == [("CPO", "NL*TNM")]
        assert [(one.role, one.party) for one in theirs.roles] == [("EMSP", "DE*MSP")]
        assert made.version == theirs.version == version
        assert (made.versions_url, theirs.versions_url) == (cpo.versions_url, msp.versions_url)
        assert made.encoding == theirs.encoding == ("base64" if interface(version).encodes_token else "raw")
        for here, there, name in ((msp, cpo, "cpo"), (cpo, msp, "msp")):
            listed = await there.ask("GET", "versions", here.outbound_token(name))
            assert listed.code == 1000
            offered = {
                (one["identifier"], one.get("role", ""), one["url"])
                for one in (await there.ask("GET", version, here.outbound_token(name))).data["endpoints"]
            }
            # What the other one was told before it registered is what it is told now.
            kept = {
                (one.identifier, "SENDER" if version in LATER and not one.role else one.role, one.url)
                for one in here.partner(name).endpoints
            }
            assert offered == kept
        assert (await cpo.ask("GET", "versions", token)).status == 401


async def test_the_cpo_pushes_to_the_emsp_that_it_registered_with() -> None:
    async with platform("NL*TNM:CPO") as cpo, platform("DE*MSP:EMSP") as msp:
        _, token = await msp.registry.invite("cpo", 3_600_000_000)
        await cpo.registration.register("msp", msp.versions_url, token)
        sessions = next(one for one in cpo.partner("msp").endpoints if (one.identifier, one.role) == ("sessions", "RECEIVER"))
        reply = await msp.ask("PUT", f"{sessions.url}/NL/TNM/S1", cpo.outbound_token("msp"), session())
        assert (reply.status, reply.code) == (201, 1000)
