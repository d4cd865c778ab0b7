"""Registrations that come to nothing: one clear code, no secret anywhere, and the register of partners as it was."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest
import pytest_asyncio
from aiohttp import web
from counterpart import TOKEN, Asked, Counterpart, counterpart, ocpi
from hostile import HOSTILE
from platforms import Platform, platform

from ingest.errors import IngestError, NotRegistered, PartnerConflict
from ingest.outbound import Outbound
from ingest.partners import party_roles
from ingest.peers import PeerFault, Peers, redacted
from schemas.ocpi.response import Status

HOUR: Final = 3_600_000_000
PATH: Final = "2.2.1/credentials"
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home() -> AsyncIterator[Platform]:
    """One platform for all: nothing here changes it. `slb` (DE*SLB) is connected."""
    async with platform("NL*RML:CPO", "NL*RML:EMSP") as opened:
        await opened.registry.add("slb", party_roles(["DE*SLB"], ["CPO"]))
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def impatient() -> AsyncIterator[Platform]:
    """A platform that waits for nobody long."""
    async with platform("NL*RML:CPO", "NL*RML:EMSP", partner_timeout_s=0.5) as opened:
        await opened.registry.add("slb", party_roles(["DE*SLB"], ["CPO"]))
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def partner() -> AsyncIterator[Counterpart]:
    async with counterpart() as opened:
        yield opened


async def refused(home: Platform, body: object, caplog: pytest.LogCaptureFixture, *, token: str | None = None) -> tuple[int, int]:
    """POST credentials that must be refused; returns the HTTP status and OCPI's, once it is sure that nothing else changed."""
    _, shown = await home.registry.invite("tnm", HOUR)
    given = token or shown
    home.clock.advance(1)
    before, known = len(await home.said()), await home.rejected()
    reply = await home.ask("POST", PATH, given, body)
    assert len(await home.said()) == before
    assert [one.name for one in home.registry.list()] == ["slb"]
    assert (await home.ask("GET", "versions", shown)).code == 1000
    rejected = await home.rejected()
    (new,) = [one for one in rejected if one not in known]
    assert (new.module, new.connection, new.status_code) == ("credentials", "tnm", reply.code)
    for secret in (TOKEN, shown):
        assert secret not in reply.body.decode()
        assert secret not in caplog.text
        assert secret.encode() not in new.body + new.reason.encode()
    return reply.status, reply.code


def answering(text: str, status: int = 200, kind: str = "application/json") -> web.Response:
    return web.Response(text=text, status=status, content_type=kind)


async def never(asked: Asked) -> web.StreamResponse:
    await asyncio.sleep(60)
    return ocpi(None)


def endless(request: Asked) -> web.Response:
    return web.Response(body=b" ", headers={"content-length": str(10 * 2**30)})


Says = Callable[[Counterpart], Any]

VERSIONS_SAID: Final[dict[str, tuple[Says, int]]] = {
    "does not know the token": (lambda _: ocpi(None, 2000, 401, f"unknown token {TOKEN}"), 3001),
    "fails": (lambda _: ocpi(None, 3000, 500), 3001),
    "refuses in OCPI": (lambda _: ocpi([], 2001), 3001),
    "answers HTML": (lambda _: answering("<html>Sign in</html>", kind="text/html"), 3001),
    "breaks off": (lambda _: answering('{"data": [{"version": "2.2.1", "url'), 3001),
    "answers no envelope": (lambda partner: web.json_response([{"version": "2.2.1", "url": f"{partner.url}/details"}]), 3001),
    "answers nothing": (lambda _: answering(""), 3001),
    "answers a deep hole": (lambda _: answering("[" * 100_000), 3001),
    "sends elsewhere": (lambda partner: web.Response(status=302, headers={"location": f"{partner.url}/details"}), 3001),
    "has a list of nonsense": (lambda _: ocpi([1, "2.2.1", None]), 3001),
    "has no list": (lambda _: ocpi({"version": "2.2.1"}), 3001),
    "has no data": (lambda _: ocpi(None), 3001),
    "has a number for a version": (lambda partner: ocpi([{"version": 2.2, "url": f"{partner.url}/details"}]), 3001),
    "has no such version": (lambda partner: ocpi([{"version": "2.1.1", "url": f"{partner.url}/details"}]), 3002),
    "has no version at all": (lambda _: ocpi([]), 3002),
    "has a URL that is none": (lambda _: ocpi([{"version": "2.2.1", "url": "file:///etc/passwd"}]), 3001),
}


@pytest.mark.parametrize("what", VERSIONS_SAID)
async def test_a_partner_whose_versions_cannot_be_used(
    home: Platform, partner: Counterpart, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    said, code = VERSIONS_SAID[what]
    partner.answers["GET /versions"] = lambda _: said(partner)
    with caplog.at_level(logging.DEBUG):
        assert await refused(home, partner.credentials(), caplog) == (200, code)


def without(name: str) -> Says:
    def details(partner: Counterpart) -> web.Response:
        of = partner.details()
        return ocpi(of | {"endpoints": [one for one in of["endpoints"] if one["identifier"] != name]})

    return details


def more(**endpoint: Any) -> Says:
    return lambda partner: ocpi(partner.details(endpoint))


DETAILS_SAID: Final[dict[str, tuple[Says, int]]] = {
    "fails": (lambda _: ocpi(None, 3000, 503), 3001),
    "answers HTML": (lambda _: answering("<html>", kind="text/html"), 3001),
    "has no endpoints": (lambda _: ocpi({"version": "2.2.1"}), 3001),
    "has endpoints of another version": (lambda partner: ocpi(partner.details() | {"version": "2.1.1"}), 3001),
    "has no credentials": (without("credentials"), 3003),
    "has nothing in common": (lambda partner: ocpi({"version": "2.2.1", "endpoints": partner.details()["endpoints"][:1]}), 3003),
    "has an endpoint without a URL": (more(identifier="cdrs", role="SENDER"), 3001),
    "has an endpoint without a name": (more(role="SENDER", url="http://127.0.0.1/x"), 3001),
    "has an endpoint without a role": (more(identifier="cdrs", url="http://127.0.0.1/x"), 3001),
    "has an endpoint that is none": (
        lambda partner: ocpi({"version": "2.2.1", "endpoints": [*partner.details()["endpoints"], 7]}),
        3001,
    ),
    "has an endpoint elsewhere": (more(identifier="cdrs", role="SENDER", url="gopher://127.0.0.1/x"), 3001),
    "has thousands": (lambda partner: ocpi({"version": "2.2.1", "endpoints": partner.details()["endpoints"] * 1000}), 3001),
    "says 10 GB": (lambda _: endless, 3001),
}


@pytest.mark.parametrize("what", DETAILS_SAID)
async def test_a_partner_whose_details_cannot_be_used(
    home: Platform, partner: Counterpart, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    said, code = DETAILS_SAID[what]
    made = said(partner)
    partner.answers["GET /details"] = made if callable(made) else lambda _: said(partner)
    with caplog.at_level(logging.DEBUG):
        assert await refused(home, partner.credentials(), caplog) == (200, code)


async def test_a_partner_that_nobody_reaches(home: Platform, caplog: pytest.LogCaptureFixture) -> None:
    async with counterpart() as gone:
        body = gone.credentials()
    assert await refused(home, body, caplog) == (200, 3001)


ROLE: Final = {"role": "CPO", "country_code": "NL", "party_id": "TNM"}


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"token": None}, "/token"),
        ({"token": 7}, "/token"),
        ({"token": ""}, "/token"),
        ({"token": "x" * 65}, "/token"),
        ({"token": "a b"}, "/token"),
        ({"token": "a\r\nX-Y: z"}, "/token"),
        ({"url": None}, "/url"),
        ({"url": 7}, "/url"),
        ({"url": "nonsense"}, "/url"),
        ({"roles": None}, "/roles"),
        ({"roles": []}, "/roles"),
        ({"roles": ROLE}, "/roles"),
        ({"roles": ["CPO"]}, "/roles/0"),
        ({"roles": [ROLE, ROLE | {"role": None}]}, "/roles/1/role"),
        ({"roles": [ROLE | {"country_code": "NLD"}]}, "/roles/0/country_code"),
        ({"roles": [ROLE | {"party_id": "TNMX"}]}, "/roles/0/party_id"),
        ({"roles": [ROLE | {"party_id": ["TNM"]}]}, "/roles/0/party_id"),
        ({"roles": [ROLE] * 1001}, "/roles"),
    ],
)
async def test_credentials_that_are_none_are_told_where(
    home: Platform, partner: Counterpart, changes: dict[str, Any], pointer: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await refused(home, partner.credentials(**changes), caplog) == (200, 2001)
    reasons = [one.reason for one in await home.rejected()]
    assert any(reason.startswith(f"{pointer}:") for reason in reasons)
    assert partner.asked == []


@pytest.mark.parametrize(
    ("body", "http"),
    [(b"{", 400), (b"", 400), (b"\xff", 400), (b"[" * 100_000, 400), (b"[" * 700 + b"]" * 700, 200), ([], 200), ("x", 200)],
)
async def test_a_body_that_holds_no_credentials(home: Platform, body: object, http: int, caplog: pytest.LogCaptureFixture) -> None:
    assert await refused(home, body, caplog) == (http, 2001)


async def test_a_body_that_is_too_long_is_not_read(home: Platform) -> None:
    _, token = await home.registry.invite("tnm", HOUR)
    reply = await home.ask("POST", PATH, token, b" " * 300_000)
    assert (reply.status, reply.code) == (413, 2001)


@pytest.mark.parametrize("party", [("DE", "SLB"), ("NL", "RML"), ("nl", "rml")])
async def test_a_party_of_another_connection_or_our_own_is_refused_and_told_nothing_of_others(
    home: Platform, partner: Counterpart, party: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    roles = [{"role": "CPO", "country_code": party[0], "party_id": party[1]}]
    assert await refused(home, partner.credentials(roles=roles), caplog) == (200, 2001)
    assert not any("slb" in one.reason for one in await home.rejected())


async def test_only_who_was_invited_may_register(home: Platform, partner: Counterpart) -> None:
    for bound, changed in (
        ({"parties": ["NL*TNM"]}, {"party_id": "OTH"}),
        ({"roles": ["EMSP"]}, {}),
        ({"roles": ["CPO"]}, {"role": "HUB"}),
    ):
        _, token = await home.registry.invite("tnm", HOUR, **bound)  # type: ignore[arg-type]
        reply = await home.ask("POST", PATH, token, partner.credentials(roles=[ROLE | changed]))
        assert (reply.status, reply.code) == (200, 2001)
        assert "not those of who was invited" in reply.json["status_message"]
        assert home.registry.get("tnm") is None


async def test_an_invitation_ends(home: Platform, partner: Counterpart) -> None:
    _, token = await home.registry.invite("tnm", HOUR)
    home.clock.advance(HOUR - 1)
    assert (await home.ask("GET", "versions", token)).code == 1000
    home.clock.advance(1)
    for method, path in (("GET", "versions"), ("GET", PATH), ("POST", PATH)):
        assert (await home.ask(method, path, token, partner.credentials())).status == 401
    assert partner.asked == []
    assert home.registry.invitations() == []


async def test_another_invitation_takes_the_place_of_the_first_and_removing_ends_it(home: Platform) -> None:
    _, first = await home.registry.invite("tnm", HOUR)
    _, second = await home.registry.invite("tnm", HOUR)
    assert [(await home.ask("GET", "versions", token)).status for token in (first, second)] == [401, 200]
    assert await home.registry.remove("tnm") is None
    assert (await home.ask("GET", "versions", second)).status == 401


async def test_verbs_and_versions_that_are_not_there(home: Platform) -> None:
    _, token = await home.registry.invite("tnm", HOUR)
    patched = await home.ask("PATCH", PATH, token, {})
    assert (patched.status, patched.code, patched.headers["allow"]) == (405, 2000, "GET, POST, PUT, DELETE")
    assert (await home.ask("GET", "2.4/credentials", token)).code == 3002
    assert (await home.ask("POST", PATH, None, {})).status == 401
    assert (await home.ask("POST", PATH, "nobody", {})).headers["www-authenticate"] == "Token"


async def test_who_is_registered_stays_who_it_is_unless_the_operator_allows_more(partner: Counterpart) -> None:
    async with platform() as home:
        _, token = await home.registry.invite("tnm", HOUR, allowed=["NL*SUB"])
        mine = (await home.ask("POST", PATH, token, partner.credentials())).data["token"]
        for roles in ([ROLE | {"party_id": "OTH"}], [ROLE, ROLE | {"country_code": "DE"}], [ROLE, ROLE | {"role": "HUB"}]):
            before = home.partner("tnm")
            reply = await home.ask("PUT", PATH, mine, partner.credentials(roles=roles))
            assert (reply.status, reply.code) == (200, 2001), roles
            assert home.partner("tnm") == before
        for roles in ([ROLE, ROLE | {"party_id": "SUB"}], [ROLE, ROLE | {"role": "EMSP"}]):
            reply = await home.ask("PUT", PATH, mine, partner.credentials(roles=roles))
            assert reply.code == 1000, roles
            mine = reply.data["token"]
        assert home.partner("tnm").parties == {"NL*TNM", "NL*SUB"}


@pytest.mark.parametrize("field", ["url of credentials", "url of a version", "url of an endpoint"])
async def test_no_hostile_url_is_called_whatever_field_it_stands_in(home: Platform, partner: Counterpart, field: str) -> None:
    """Where partners must be public; the partner itself is reached here by a caller that may be anywhere."""
    outbound = Outbound(home.clock, allow_private=True, timeout_s=5)
    peers = Peers(outbound, ["2.2.1"], allow_private=False)
    async with platform(allow_private_partners=False) as strict:
        _, token = await strict.registry.invite("tnm", HOUR)
        for url in HOSTILE:
            if field == "url of credentials":
                reply = await strict.ask("POST", PATH, token, partner.credentials(url=url))
                assert (reply.status, reply.code) == (200, 2001), url
                assert reply.json["status_message"].startswith("/url: "), url
                continue
            if field == "url of a version":
                partner.answers["GET /versions"] = lambda _, url=url: ocpi([{"version": "2.2.1", "url": url}])  # type: ignore[misc]
                with pytest.raises(PeerFault) as fault:
                    await peers.discover(partner.versions_url, "A", "raw")
            else:
                found = {"version": "2.2.1", "endpoints": [{"identifier": "cdrs", "role": "SENDER", "url": url}]}
                with pytest.raises(PeerFault) as fault:
                    peers.endpoints("2.2.1", found)  # type: ignore[arg-type]
            assert fault.value.code == Status.CLIENT_API_UNUSABLE, url
        assert strict.registry.list() == []
    await outbound.close()


POSTED: Final[dict[str, tuple[Says, str]]] = {
    "registered us before": (lambda _: ocpi(None, 2000, 405), "HTTP 405.*has registered us already"),
    "does not know the token": (lambda _: ocpi(None, 2000, 401), "HTTP 401.*the token is not"),
    "cannot reach us": (lambda _: ocpi(None, 3001, 200, "no answer"), r"OCPI 3001 \(no answer\).*roamlog serve must run"),
    "fails": (lambda _: ocpi(None, 3000, 500), "HTTP 500"),
    "answers HTML": (lambda _: answering("<html>", kind="text/html"), "not in OCPI's envelope"),
    "gives no credentials": (lambda _: ocpi(None), "cannot be used"),
    "gives no token": (lambda partner: ocpi(partner.credentials(token="")), "cannot be used .*/token"),
    "is somebody else": (
        lambda partner: ocpi(partner.credentials(roles=[ROLE | {"party_id": "SLB", "country_code": "DE"}])),
        "belongs to partner slb",
    ),
    "is ourselves": (lambda partner: ocpi(partner.credentials(roles=[ROLE | {"party_id": "RML"}])), "is ourselves"),
    "tells our secret": (
        lambda partner: ocpi(None, 2000, 200, f"token {partner.to('POST')[-1].body['token']}, A-secret"),
        r"\(a token\), \(a token\)",
    ),
}


@pytest.mark.parametrize("what", POSTED)
async def test_a_registration_of_ours_that_comes_to_nothing(
    home: Platform, partner: Counterpart, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    said, text = POSTED[what]
    partner.answers["POST /SENDER/credentials"] = lambda _: said(partner)
    with caplog.at_level(logging.DEBUG), pytest.raises(IngestError, match=text) as fault:
        await home.registration.register("tnm", partner.versions_url, "A-secret")
    assert isinstance(fault.value, NotRegistered | PartnerConflict)
    ours = partner.to("POST")[0].body["token"]
    for secret in (ours, "A-secret", TOKEN):
        assert secret not in str(fault.value) + caplog.text
    assert [one.name for one in home.registry.list()] == ["slb"]
    assert (await home.ask("GET", "versions", ours)).status == 401


@pytest.mark.parametrize("path", ["/versions", "/details"])
async def test_a_partner_that_says_nothing(
    impatient: Platform, partner: Counterpart, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    partner.answers[f"GET {path}"] = never
    assert await refused(impatient, partner.credentials(), caplog) == (200, 3001)
    with pytest.raises(NotRegistered, match="in time"):
        await impatient.registration.register("tnm", partner.versions_url, "A-secret")
    assert [one.name for one in impatient.registry.list()] == ["slb"]


async def test_a_partner_that_says_nothing_to_our_credentials(impatient: Platform, partner: Counterpart) -> None:
    partner.answers["POST /SENDER/credentials"] = never
    with pytest.raises(NotRegistered, match="in time"):
        await impatient.registration.register("tnm", partner.versions_url, "A-secret")
    assert [one.name for one in impatient.registry.list()] == ["slb"]


@pytest.mark.parametrize(
    ("path", "answer", "text"),
    [
        ("/versions", ocpi([{"version": "3.0", "url": "http://127.0.0.1/x"}]), r"no version in common: 3.0 offered.*OCPI 3002"),
        ("/versions", ocpi(None, 2000, 401), "HTTP 401"),
        ("/details", ocpi({"version": "2.2.1", "endpoints": []}), "no endpoint credentials.*OCPI 3003"),
    ],
)
async def test_who_cannot_be_worked_with_is_given_no_token(
    home: Platform, partner: Counterpart, path: str, answer: web.Response, text: str
) -> None:
    partner.answers[f"GET {path}"] = answer
    before = len(await home.said())
    with pytest.raises(NotRegistered, match=text):
        await home.registration.register("tnm", partner.versions_url, "A")
    assert partner.to("POST") == []
    assert len(await home.said()) == before


async def test_a_kept_body_shows_no_token_in_any_form() -> None:
    body = {"token": "t0p-secret", "url": "https://x/?t=t0p-secret", "deep": [{"dDBwLXNlY3JldA==": "also t0p-secret\n"}], "n": 1}
    kept = redacted(json.dumps(body).encode(), "presented-token")
    assert b"t0p-secret" not in kept
    assert b"dDBwLXNlY3JldA==" not in kept
    assert json.loads(kept)["url"] == "https://x/?t=(a token)"
    assert redacted(b'{"token": "t0p-secret"', "x") == b""
