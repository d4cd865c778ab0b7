"""Platforms register with each other over real HTTP: both roles, every version, rotation, and the end of it."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from counterpart import TOKEN, counterpart, ocpi
from outlet import Reply
from platforms import VERSIONS, Platform, platform
from receiver import session

from ingest.errors import InvalidPartner, NotRegistered, PartnerConflict
from ingest.outbound import presented
from schemas.ocpi.interface import interface

HOUR = 3_600_000_000
OLDER = [version for version in VERSIONS if version < "2.2"]
LATER = [version for version in VERSIONS if version >= "2.2"]
every = pytest.mark.parametrize("version", VERSIONS)
older = pytest.mark.parametrize("version", OLDER)


@asynccontextmanager
async def pair(*versions: str) -> AsyncIterator[tuple[Platform, Platform]]:
    """Open a CPO and an eMSP that speak these versions."""
    async with (
        platform("NL*TNM:CPO", versions=versions or VERSIONS) as cpo,
        platform("DE*MSP:EMSP", versions=versions or VERSIONS) as msp,
    ):
        yield cpo, msp


async def invited(by: Platform, name: str, **options: object) -> str:
    """Return a token A."""
    _, token = await by.registry.invite(name, HOUR, **options)  # type: ignore[arg-type]
    return token


def parties(of: Platform, name: str) -> list[tuple[str, str]]:
    return [(role.role, role.party) for role in of.partner(name).roles]


async def offered(by: Platform, version: str, token: str) -> set[tuple[str, str, str]]:
    """Return the endpoints that a platform's details name."""
    details = await by.ask("GET", version, presented(token, "base64"))
    assert details.code == 1000
    return {(one["identifier"], one.get("role", ""), one["url"]) for one in details.data["endpoints"]}


@every
@pytest.mark.parametrize("starts", ["cpo", "msp"])
async def test_a_platform_registers_with_another_and_both_know_each_other(version: str, starts: str) -> None:
    async with pair(version) as (cpo, msp):
        here, there = (cpo, msp) if starts == "cpo" else (msp, cpo)
        name, role = ("cpo", "CPO") if starts == "cpo" else ("msp", "EMSP")
        token = await invited(there, name, roles=[role])
        other = "msp" if starts == "cpo" else "cpo"
        made = await here.registration.register(other, there.versions_url, token, role="EMSP" if starts == "cpo" else "CPO")
        assert parties(msp, "cpo") == [("CPO", "NL*TNM")]
        assert parties(cpo, "msp") == [("EMSP", "DE*MSP")]
        for one, peer, called in ((cpo, msp, "msp"), (msp, cpo, "cpo")):
            found = one.partner(called)
            assert (found.version, found.versions_url, found.is_registered) == (version, peer.versions_url, True)
            assert found.encoding == ("base64" if interface(version).encodes_token else "raw")
            kept = {
                (end.identifier, "SENDER" if version in LATER and not end.role else end.role, end.url) for end in found.endpoints
            }
            # What was read before the roles were known is what is offered now that they are.
            assert kept == await offered(peer, version, one.outbound_token(called))
        assert made == here.partner(other)
        assert (await there.ask("GET", "versions", token)).status == 401


@every
async def test_after_that_the_cpo_pushes_and_the_emsp_sees_who_it_is(version: str) -> None:
    async with pair(version) as (cpo, msp):
        await cpo.registration.register("msp", msp.versions_url, await invited(msp, "cpo", roles=["CPO"]), role="EMSP")
        token = cpo.outbound_token("msp")
        tariffs = next(end.url for end in cpo.partner("msp").endpoints if end.identifier == "tariffs")
        gone = await msp.ask("DELETE", f"{tariffs}/NL/TNM/T1", token)
        assert gone.status == 404  # there is no such Tariff, but whoever asks may ask
        assert (await msp.ask("DELETE", f"{tariffs}/BE/OTH/T1", token)).code == 2001
        assert (await msp.ask("GET", "versions", cpo.outbound_token("msp"))).code == 1000


@pytest.mark.parametrize("version", LATER)
@pytest.mark.parametrize("starts", ["cpo", "msp"])
async def test_who_comes_without_a_word_of_its_role_reads_all_endpoints_that_it_will_need(version: str, starts: str) -> None:
    async with pair(version) as (cpo, msp):
        here, there, name = (cpo, msp, "msp") if starts == "cpo" else (msp, cpo, "cpo")
        await here.registration.register(name, there.versions_url, await invited(there, "cpo" if starts == "cpo" else "msp"))
        for one, peer, called in ((cpo, msp, "msp"), (msp, cpo, "cpo")):
            kept = {(end.identifier, "SENDER" if not end.role else end.role, end.url) for end in one.partner(called).endpoints}
            assert kept >= await offered(peer, version, one.outbound_token(called))


@older
@pytest.mark.parametrize(("modules", "role"), [(["locations", "commands"], "CPO"), (["locations", "tokens"], "EMSP")])
@pytest.mark.parametrize("named", [[], ["CPO", "EMSP"]])
async def test_before_2_2_a_partner_that_nobody_named_one_role_for_has_the_one_that_its_endpoints_tell(
    version: str, modules: list[str], role: str, named: list[str]
) -> None:
    async with platform() as home, counterpart() as partner:
        partner.version, partner.modules = version, [(module, "") for module in modules]
        token = await invited(home, "tnm", roles=named)
        before = await offered(home, version, token)
        assert {url.split("/")[-2] for name, _, url in before if name != "credentials"} == {"either"}
        answer = await home.ask("POST", f"{version}/credentials", token, partner.credentials())
        assert answer.code == 1000
        assert parties(home, "tnm") == [(role, "NL*TNM")]
        mine = answer.data["token"]
        sides = {name: url.split("/")[-2] for name, _, url in await offered(home, version, mine) if name != "credentials"}
        assert sides["sessions"] == ("receiver" if role == "CPO" else "sender")
        # The endpoints that it read before lead to the same.
        for name, _, url in before:
            if name in {"sessions", "tokens"}:
                refused = await home.ask("PUT", f"{url}/XX/OTH/1", mine, {})
                expected = await home.ask("PUT", f"{version}/{sides[name]}/{name}/XX/OTH/1", mine, {})
                assert (refused.status, refused.code, refused.json["status_message"]) == (
                    expected.status,
                    expected.code,
                    expected.json["status_message"],
                )


@older
@pytest.mark.point(3)
async def test_before_2_2_a_token_a_is_refused_at_the_very_endpoints_that_it_is_shown(version: str) -> None:
    async with platform() as home:
        token = await invited(home, "tnm")
        shown = [url for name, _, url in await offered(home, version, token) if name != "credentials"]
        assert len(shown) == 5
        for url in shown:
            for method in ("GET", "PUT", "PATCH", "POST", "DELETE"):
                for presented in (token, "unknown"):
                    answer = await home.ask(method, f"{url}/NL/TNM/1", presented, {})
                    assert (answer.status, answer.code) == (401, 2000), (method, url)


@pytest.mark.point(3)
@pytest.mark.parametrize("version", LATER)
async def test_a_token_a_opens_nothing_but_versions_details_and_credentials(version: str) -> None:
    """TOKEN_A on GET locations gives HTTP 401, although it is a known token.

    Source: OCPI 2.2.1 transport_and_format, Authorization header.
    """
    async with platform() as home:
        token = presented(await invited(home, "tnm"), "base64")
        for path in ("versions", version, f"{version}/credentials"):
            assert (await home.ask("GET", path, token)).code == 1000, path
        for method, path in (
            ("GET", "sender/locations"),
            ("GET", "receiver/locations/NL/TNM/LOC1"),
            ("PUT", "receiver/sessions/NL/TNM/S1"),
            ("POST", "receiver/cdrs"),
            ("POST", "sender/tokens/U1/authorize"),
            ("PUT", "receiver/hubclientinfo/NL/TNM"),
        ):
            assert (await home.ask(method, f"{version}/{path}", token, None if method == "GET" else {})).status == 401, path
        assert (await home.ask("GET", f"{home.url}/analytics/energy", token)).status == 401


@pytest.mark.point(4)
@every
async def test_a_token_b_is_accepted_while_the_post_that_carried_it_is_open(version: str) -> None:
    """TOKEN_B is accepted on GET versions while the POST credentials that carried it is still open.

    Source: OCPI 2.2.1 credentials, registration sequence.
    """
    async with platform(versions=[version]) as home, counterpart() as partner:
        partner.version = version
        seen: list[tuple[int, int]] = []

        async def answer(asked: object) -> object:
            ours = partner.to("POST")[0].body["token"]
            for path in ("versions", version, f"{version}/credentials"):
                reply = await home.ask("GET", path, ours)
                seen.append((reply.status, reply.code))
            return ocpi(partner.credentials())

        partner.answers["POST /SENDER/credentials"] = answer  # type: ignore[assignment]
        await home.registration.register("tnm", partner.versions_url, "A", role="CPO")
        assert seen == [(200, 1000)] * 3
        (posted,) = partner.to("POST")
        assert (await home.ask("GET", "versions", posted.body["token"])).code == 1000
        assert posted.authorization == f"Token {presented('A', 'base64' if interface(version).encodes_token else 'raw')}"


async def test_a_token_b_opens_the_modules_from_the_answer_to_the_post_on() -> None:
    async with platform() as home, counterpart() as partner:
        pushes: list[asyncio.Task[Reply]] = []

        async def answer(asked: object) -> object:
            ours = partner.to("POST")[0].body["token"]
            # It pushes while its answer is under way.
            pushes.append(asyncio.create_task(home.ask("PUT", "2.2.1/receiver/sessions/NL/TNM/S1", ours, session())))
            await asyncio.sleep(0)
            return ocpi(partner.credentials())

        partner.answers["POST /SENDER/credentials"] = answer  # type: ignore[assignment]
        await home.registration.register("tnm", partner.versions_url, "A")
        assert (await pushes[0]).code == 1000


@pytest.mark.point(5)
@pytest.mark.parametrize("version", [version for version in VERSIONS if version != "2.0"])
async def test_a_second_post_and_a_put_or_delete_before_the_first_are_405(version: str) -> None:
    """Second POST credentials: 405; PUT and DELETE before registration: 405. Source: OCPI 2.2.1 credentials, methods."""
    async with platform() as home, counterpart() as partner:
        partner.version = version
        path, token = f"{version}/credentials", await invited(home, "tnm", roles=["CPO"])
        for method in ("PUT", "DELETE"):
            refused = await home.ask(method, path, token, partner.credentials())
            assert (refused.status, refused.code, refused.headers["allow"]) == (405, 2000, "GET, POST")
        mine = (await home.ask("POST", path, token, partner.credentials())).data["token"]
        assert (await home.ask("POST", path, mine, partner.credentials())).status == 405
        assert (await home.ask("POST", path, token, partner.credentials())).status == 405  # a retry whose answer was lost
        assert (await home.ask("GET", path, token)).status == 401
        gone = await home.ask("DELETE", path, mine)
        assert (gone.status, gone.code, "data" in gone.json) == (200, 1000, False)
        for method in ("PUT", "DELETE"):
            assert (await home.ask(method, path, mine, partner.credentials())).status == 405
        for method in ("GET", "POST"):
            assert (await home.ask(method, path, mine, partner.credentials())).status == 401
        assert (await home.ask("GET", "versions", mine)).status == 401
        assert (home.registry.get("tnm"), home.registry.token_for("tnm")) == (None, None)
        assert (await home.ask("POST", path, await invited(home, "tnm"), partner.credentials())).code == 1000


@pytest.mark.point(6)
@every
async def test_a_put_with_an_unchanged_body_returns_a_new_token_and_reads_the_endpoints_anew(version: str) -> None:
    """PUT credentials with an unchanged body still returns a new token and refetches endpoints.

    Source: OCPI 2.2.1 credentials, PUT.
    """
    async with platform() as home, counterpart() as partner:
        partner.version = version
        path, token = f"{version}/credentials", await invited(home, "tnm", roles=["CPO"])
        first = (await home.ask("POST", path, token, partner.credentials())).data["token"]
        partner.modules.append(("cdrs", "SENDER"))
        second = await home.ask("PUT", path, first, partner.credentials())
        assert second.code == 1000
        assert second.data["token"] not in {first, token}
        assert {end.identifier for end in home.partner("tnm").endpoints} == {"credentials", "locations", "tokens", "cdrs"}
        assert (await home.ask("GET", "versions", second.data["token"])).code == 1000


@pytest.mark.point(7)
@pytest.mark.parametrize("version", LATER)
async def test_one_identifier_with_two_roles_is_two_endpoints_and_the_role_of_credentials_is_ignored(version: str) -> None:
    """Version details with the same identifier twice (SENDER and RECEIVER) yields two endpoints, and `role` on credentials is
    ignored. Source: OCPI 2.2.1 version_information_endpoint.
    """
    for role in ("SENDER", "RECEIVER", "WHATEVER"):
        async with platform() as home, counterpart() as partner:
            partner.version, partner.modules = version, [("tokens", "SENDER"), ("tokens", "RECEIVER")]
            details = partner.details()
            details["endpoints"][0]["role"] = role
            partner.answers["GET /details"] = ocpi(details)
            token = await invited(home, "tnm")
            assert (await home.ask("POST", f"{version}/credentials", token, partner.credentials())).code == 1000
            found = home.partner("tnm").endpoints
            assert [(end.identifier, end.role, end.url.removeprefix(partner.url)) for end in found] == [
                ("credentials", "", "/SENDER/credentials"),
                ("tokens", "SENDER", "/SENDER/tokens"),
                ("tokens", "RECEIVER", "/RECEIVER/tokens"),
            ]


async def test_the_latest_version_of_both_is_taken_and_any_other_on_demand() -> None:
    async with platform(versions=["2.1.1", "2.2", "2.2.1"]) as home, platform("DE*MSP:EMSP") as other:
        made = await home.registration.register("msp", other.versions_url, await invited(other, "rml"), role="EMSP")
        assert made.version == "2.2.1"
        assert (await home.registration.rotate("msp", version="2.2")).version == "2.2"
        assert other.partner("rml").version == "2.2"
        await home.registration.unregister("msp")
        again = await home.registration.register("msp", other.versions_url, await invited(other, "rml"), version="2.2")
        assert again.version == "2.2"


@pytest.mark.parametrize("known", ["raw", "base64"])
@pytest.mark.parametrize("version", ["2.1.1", "2.2.1"])
async def test_the_encoding_that_a_partner_knows_is_learned_in_either_role(version: str, known: str) -> None:
    async with platform(versions=[version]) as home, counterpart() as partner:
        partner.version = version
        partner.knows = {presented(token, known) for token in (TOKEN, "A")}
        assert (await home.registration.register("tnm", partner.versions_url, "A", role="CPO")).encoding == known
        assert {one.authorization for one in partner.to("POST")} == {f"Token {presented('A', known)}"}
        await home.registry.remove("tnm")
        token = await invited(home, "tnm", roles=["CPO"])
        assert (await home.ask("POST", f"{version}/credentials", token, partner.credentials())).code == 1000
        assert home.partner("tnm").encoding == known


async def pushing(cpo: Platform, msp: Platform, refused: list[int], stop: asyncio.Event) -> int:
    """Push with the token that the CPO has at each moment, until told to stop; returns how often."""
    pushes = 0
    while not stop.is_set():
        url = f"2.2.1/receiver/sessions/NL/TNM/S{pushes}"
        reply = await msp.ask("PUT", url, presented(cpo.outbound_token("msp"), "base64"), session(f"S{pushes}"))
        if reply.code != 1000:
            refused.append(reply.status)
        pushes += 1
    return pushes


@pytest.mark.parametrize("by", ["cpo", "msp"])
async def test_no_push_fails_while_tokens_rotate(by: str) -> None:
    async with pair("2.2.1") as (cpo, msp):
        await cpo.registration.register("msp", msp.versions_url, await invited(msp, "cpo"))
        stop, refused = asyncio.Event(), list[int]()
        pushers = [asyncio.create_task(pushing(cpo, msp, refused, stop)) for _ in range(3)]
        tokens = {cpo.outbound_token("msp")}
        for _ in range(5):
            await (cpo.registration.rotate("msp") if by == "cpo" else msp.registration.rotate("cpo"))
            tokens.add(cpo.outbound_token("msp"))
        stop.set()
        assert sum(await asyncio.gather(*pushers)) > 0
        assert (refused, len(tokens)) == ([], 6)


async def test_a_replaced_token_opens_for_a_minute_more() -> None:
    async with pair("2.2.1") as (cpo, msp):
        await cpo.registration.register("msp", msp.versions_url, await invited(msp, "cpo"))
        old = cpo.outbound_token("msp")
        await cpo.registration.rotate("msp")
        for second in (0, 59, 60):
            reply = await msp.ask("PUT", "2.2.1/receiver/sessions/NL/TNM/S1", old, session())
            assert (reply.status == 401) == (second == 60), second
            msp.clock.advance(59_000_000 if second == 0 else 1_000_000)
        assert (await msp.ask("GET", "versions", cpo.outbound_token("msp"))).code == 1000


async def test_a_put_whose_answer_is_lost_can_be_sent_again_with_the_old_token() -> None:
    async with platform() as home, counterpart() as partner:
        token = await invited(home, "tnm")
        mine = (await home.ask("POST", "2.2.1/credentials", token, partner.credentials())).data["token"]
        lost = (await home.ask("PUT", "2.2.1/credentials", mine, partner.credentials())).data["token"]
        again = (await home.ask("PUT", "2.2.1/credentials", mine, partner.credentials())).data["token"]
        assert len({mine, lost, again}) == 3
        assert (await home.ask("GET", "versions", again)).code == 1000


async def test_a_rotation_whose_answer_is_lost_leaves_the_new_token_open() -> None:
    """The partner may have taken it, and pushes with it."""
    async with platform() as home, counterpart() as partner:
        await home.registration.register("tnm", partner.versions_url, "A")
        before = home.partner("tnm")
        partner.answers["PUT /SENDER/credentials"] = ocpi({"token": "x"})
        with pytest.raises(NotRegistered, match="cannot be used"):
            await home.registration.rotate("tnm")
        (put,) = partner.to("PUT")
        assert (await home.ask("PUT", "2.2.1/receiver/sessions/NL/TNM/S1", put.body["token"], session())).code == 1000
        assert home.partner("tnm") == before
        home.clock.advance(2 * HOUR)
        partner.answers["PUT /SENDER/credentials"] = ocpi(None, 2000)
        with pytest.raises(NotRegistered, match="OCPI 2000"):
            await home.registration.rotate("tnm")
        assert (await home.ask("GET", "versions", partner.to("PUT")[-1].body["token"])).status == 401
        assert (await home.ask("GET", "versions", put.body["token"])).code == 1000, "nobody knows that it is not the one"
        partner.answers["PUT /SENDER/credentials"] = ocpi(None, 3000, 504)  # a proxy's, behind which it may have been taken
        with pytest.raises(NotRegistered, match="HTTP 504"):
            await home.registration.rotate("tnm")
        assert (await home.ask("GET", "versions", partner.to("PUT")[-1].body["token"])).code == 1000
        del partner.answers["PUT /SENDER/credentials"]
        await home.registration.rotate("tnm")
        home.clock.advance(HOUR)
        for sent in partner.to("PUT")[:-1]:
            assert (await home.ask("GET", "versions", sent.body["token"])).status == 401
        assert (await home.ask("GET", "versions", partner.to("PUT")[-1].body["token"])).code == 1000


@every
async def test_unregistering_ends_it_on_both_sides(version: str) -> None:
    async with pair(version) as (cpo, msp):
        await cpo.registration.register("msp", msp.versions_url, await invited(msp, "cpo", roles=["CPO"]), role="EMSP")
        tokens = cpo.outbound_token("msp"), msp.outbound_token("cpo")
        await cpo.registration.unregister("msp")
        assert (cpo.registry.list(), msp.registry.list()) == ([], [])
        assert (await msp.ask("GET", "versions", tokens[0])).status == 401
        assert (await cpo.ask("GET", "versions", tokens[1])).status == 401
        await msp.registration.register("cpo", cpo.versions_url, await invited(cpo, "msp", roles=["EMSP"]), role="CPO")


async def test_in_2_0_the_answer_to_delete_has_null_for_data() -> None:
    async with platform() as home, counterpart() as partner:
        partner.version = "2.0"
        mine = (await home.ask("POST", "2.0/credentials", await invited(home, "tnm"), partner.credentials())).data["token"]
        gone = await home.ask("DELETE", "2.0/credentials", mine)
        assert (gone.code, gone.json["data"]) == (1000, None)


async def test_a_partner_that_forgot_us_is_unregistered_all_the_same_but_not_one_that_is_away() -> None:
    async with platform() as home, counterpart() as partner:
        await home.registration.register("tnm", partner.versions_url, "A")
        partner.answers["DELETE /SENDER/credentials"] = ocpi(None, 3000, 500)
        with pytest.raises(NotRegistered, match="roamlog partner remove closes our side alone"):
            await home.registration.unregister("tnm")
        assert home.partner("tnm").is_registered
        partner.answers["DELETE /SENDER/credentials"] = ocpi(None, 2000, 405)
        await home.registration.unregister("tnm")
        assert home.registry.list() == []


@every
async def test_get_gives_our_credentials_with_the_token_that_was_presented(version: str) -> None:
    async with platform("NL*TNM:CPO", "NL*TNM:EMSP", business_name="TNM B.V.") as home:
        token = await invited(home, "msp", roles=["EMSP"])
        party = {"business_details": {"name": "TNM B.V."}, "party_id": "TNM", "country_code": "NL"}
        roles = {"roles": [{"role": "CPO", **party}, {"role": "EMSP", **party}]} if version in LATER else party
        for shown in (token, presented(token, "base64"), base64.b64encode(f"{token}\n".encode()).decode()):
            reply = await home.ask("GET", f"{version}/credentials", shown)
            assert reply.data == {"token": token, "url": home.versions_url, **roles}
            assert reply.headers["cache-control"] == "no-store"


async def test_a_partner_that_an_operator_added_may_register_and_keeps_its_party() -> None:
    async with platform() as home, counterpart() as partner:
        from ingest.partners import party_roles

        await home.registry.add("tnm", party_roles(["NL*TNM"], ["CPO"]), token="added")
        assert (await home.ask("PUT", "2.2.1/credentials", "added", partner.credentials())).status == 405
        other = partner.credentials(roles=[{"role": "CPO", "country_code": "NL", "party_id": "OTH"}])
        assert (await home.ask("POST", "2.2.1/credentials", "added", other)).code == 2001
        mine = await home.ask("POST", "2.2.1/credentials", "added", partner.credentials())
        assert mine.code == 1000
        assert home.partner("tnm").is_registered
        for token in ("added", mine.data["token"]):
            assert (await home.ask("PUT", "2.2.1/receiver/sessions/NL/TNM/S1", token, session())).code == 1000


async def test_two_processes_that_are_shown_one_token_a_register_it_once() -> None:
    async with (
        platform() as one,
        platform(log=one.log) as other,
        counterpart() as first,
        counterpart() as second,
    ):
        token = await invited(one, "tnm")
        both = asyncio.gather(
            one.ask("POST", "2.2.1/credentials", token, first.credentials()),
            other.ask("POST", "2.2.1/credentials", token, second.credentials()),
        )
        replies = await both
        assert sorted(reply.status for reply in replies) == [200, 405]
        for process in (one, other):
            await process.registry.catch_up()
        assert one.registry.list() == other.registry.list()
        won = next(reply for reply in replies if reply.status == 200)
        winner = first if replies[0] is won else second
        assert one.partner("tnm").versions_url == winner.versions_url
        assert (await other.ask("GET", "versions", won.data["token"])).code == 1000
        assert [said.type for said in await one.said()].count("partner.registered") <= 2


async def test_a_name_is_registered_once_and_a_party_too() -> None:
    async with platform() as home, counterpart() as partner:
        await home.registration.register("tnm", partner.versions_url, "A")
        with pytest.raises(PartnerConflict, match="registered already"):
            await home.registration.register("tnm", partner.versions_url, "A")
        with pytest.raises(PartnerConflict, match=r"party NL\*TNM belongs to partner tnm"):
            await home.registration.register("again", partner.versions_url, "A")
        assert partner.to("DELETE")  # it had registered us already, and is told
        assert [one.name for one in home.registry.list()] == ["tnm"]
        for token, url in (("a b", partner.versions_url), ("", partner.versions_url), ("A", "ftp://x"), ("A", "nonsense")):
            with pytest.raises(InvalidPartner):
                await home.registration.register("more", url, token)


@pytest.mark.parametrize("version", LATER)
async def test_a_hub_registers_and_those_behind_it_are_known(version: str) -> None:
    async with (
        platform("DE*HUB:CPO", hub_party_id="DE*HUB", versions=[version]) as hub,
        platform("NL*TNM:EMSP", versions=[version]) as msp,
        counterpart() as cpo,
    ):
        cpo.version = version
        roles = [{"role": "CPO", "country_code": "BE", "party_id": "BEC"}]
        assert (
            await hub.ask("POST", f"{version}/credentials", await invited(hub, "bec"), cpo.credentials(roles=roles))
        ).code == 1000
        await hub.registration.register("msp", msp.versions_url, await invited(msp, "hub"))
        found = msp.partner("hub")
        assert found.is_hub
        if version < "2.3":  # it is told of them by ClientInfo
            assert parties(msp, "hub") == [("HUB", "DE*HUB")]
            assert found.parties == {"DE*HUB"}
            assert ("hubclientinfo", "RECEIVER") in {(end.identifier, end.role) for end in hub.partner("msp").endpoints}
        else:
            assert parties(msp, "hub") == [("HUB", "DE*HUB"), ("CPO", "DE*HUB")]
            assert found.parties == {"DE*HUB", "BE*BEC"}
        # It pushes what belongs to a party behind it.
        reply = await msp.ask(
            "PUT",
            f"{version}/receiver/sessions/BE/BEC/S1",
            hub.outbound_token("msp"),
            session(country_code="BE", party_id="BEC"),
        )
        assert (reply.status == 404) == (version < "2.3")


async def test_the_log_holds_no_token_of_either_side() -> None:
    async with pair("2.2.1") as (cpo, msp):
        given = await invited(msp, "cpo")
        await cpo.registration.register("msp", msp.versions_url, given)
        tokens = {given, cpo.outbound_token("msp"), msp.outbound_token("cpo")}
        await msp.registration.rotate("cpo")
        tokens |= {cpo.outbound_token("msp"), msp.outbound_token("cpo")}
        assert len(tokens) == 5
        for side in (cpo, msp):
            for said in await side.said():
                for token in tokens:
                    for form in (token.encode(), base64.b64encode(token.encode())):
                        assert form not in said.payload + (said.raw or b"")
        (kept,) = [said for said in await msp.said() if said.type == "partner.registered"]
        assert (kept.party, kept.connection, kept.origin, kept.version) == ("NL*TNM", "cpo", "push", "2.2.1")
        assert kept.raw is not None
        assert b'"token":"(a token)"' in kept.raw
