"""Partners as events: who may connect, whose parties are whose, which texts present a token."""

import asyncio
import base64
import binascii
from contextlib import suppress

import pytest
from msgspec.structs import replace
from receiver import NOW

from ingest import auth
from ingest.connections import Partners, fold
from ingest.errors import InvalidPartner, InvalidToken, PartnerConflict, UnknownPartner
from ingest.partners import PartnerRegistry, party_roles
from schemas.party import PartnerAdded, PartnerRegistered, PartnerRemoved, PartyRole, Terms
from streams.clock import FixedClock
from streams.logs.memory import MemoryLog
from streams.ports import LogUnavailable

TNM = party_roles(["NL*TNM"], ["CPO"])
SLB = party_roles(["DE*SLB"], ["CPO"])


def registry(log: MemoryLog) -> PartnerRegistry:
    return PartnerRegistry(log, b"pepper", FixedClock(NOW))


def header(token: str) -> bytes:
    return f"Token {token}".encode()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def test_a_partner_authenticates_with_the_token_that_was_shown_once() -> None:
    partners = registry(MemoryLog())
    connection, token = await partners.add("tnm", TNM)
    assert connection.parties == {"NL*TNM"}
    assert await partners.authenticate(header(token)) == connection
    assert await partners.authenticate(header(token + "x")) is None


async def test_every_process_on_the_log_knows_a_partner_at_once() -> None:
    log = MemoryLog()
    one, other = registry(log), registry(log)
    issued = await one.add("tnm", TNM)
    assert await other.authenticate(header(issued.token)) == issued.connection
    await one.remove("tnm")
    await other.catch_up()
    assert await other.authenticate(header(issued.token)) is None


async def test_following_sees_what_others_add_and_remove() -> None:
    log = MemoryLog()
    one, other = registry(log), registry(log)
    task = asyncio.ensure_future(other.follow())
    await one.add("tnm", TNM)
    while other.get("tnm") is None:  # noqa: ASYNC110 (nothing tells of a fold)
        await asyncio.sleep(0)
    await one.remove("tnm")
    while other.get("tnm") is not None:  # noqa: ASYNC110
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_the_list_is_by_name_and_survives_a_restart() -> None:
    log = MemoryLog()
    partners = registry(log)
    await partners.add("tnm", TNM, version="2.1.1", allowed=["be*abc"])
    await partners.add("slb", SLB)
    again = registry(log)
    await again.catch_up()
    assert again.list() == partners.list()
    assert [(one.name, sorted(one.parties)) for one in again.list()] == [("slb", ["DE*SLB"]), ("tnm", ["BE*ABC", "NL*TNM"])]


async def test_a_name_and_a_party_belong_to_one_connection() -> None:
    partners = registry(MemoryLog())
    await partners.add("tnm", TNM)
    with pytest.raises(PartnerConflict, match="partner tnm exists already"):
        await partners.add("tnm", SLB)
    with pytest.raises(PartnerConflict, match=r"party NL\*TNM belongs to partner tnm"):
        await partners.add("other", party_roles(["nl*tnm"], ["EMSP"]))
    await partners.remove("tnm")
    assert (await partners.add("other", TNM)).connection.name == "other"


async def test_of_two_adds_at_once_one_wins_and_the_other_is_told() -> None:
    log = MemoryLog()
    one, other = registry(log), registry(log)
    results = await asyncio.gather(one.add("a", TNM), other.add("b", TNM), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Issued", "PartnerConflict"]
    await asyncio.gather(one.catch_up(), other.catch_up())
    assert one.list() == other.list()
    assert len(one.list()) == 1


async def test_removing_a_stranger_is_an_error() -> None:
    with pytest.raises(UnknownPartner, match="no partner is called tnm"):
        await registry(MemoryLog()).remove("tnm")


async def test_nothing_is_added_while_the_log_is_away() -> None:
    log = MemoryLog()
    partners = registry(log)
    log.unavailable = "the disk is full"
    with pytest.raises(LogUnavailable):
        await partners.add("tnm", TNM)
    assert partners.list() == []


@pytest.mark.parametrize("name", ["", "load", "operator", "a b", "ä", "x" * 65, "-x", "a/b", "a\n"])
async def test_a_name_is_plain(name: str) -> None:
    with pytest.raises(InvalidPartner):
        await registry(MemoryLog()).add(name, TNM)


@pytest.mark.parametrize("party", ["NLTNM", "N*TNM", "NL*TNMX", "NL*", "NL-TNM", "N1*TNM", "*", ""])
def test_a_party_is_written_as_country_star_party(party: str) -> None:
    with pytest.raises(InvalidPartner):
        party_roles([party], ["CPO"])


def test_roles_are_ocpis_and_each_party_gets_each() -> None:
    assert party_roles(["nl*tnm", "DE*TNM"], ["cpo", "EMSP"]) == (
        PartyRole("CPO", "NL", "TNM"),
        PartyRole("EMSP", "NL", "TNM"),
        PartyRole("CPO", "DE", "TNM"),
        PartyRole("EMSP", "DE", "TNM"),
    )
    with pytest.raises(InvalidPartner, match="'DRIVER' is no role; OCPI knows CPO, EMSP, HUB"):
        party_roles(["NL*TNM"], ["DRIVER"])
    with pytest.raises(InvalidPartner, match="at least one party"):
        party_roles(["NL*TNM"], [])


async def test_point_1_the_printed_sample_authenticates_only_because_its_line_feed_is_stripped() -> None:
    """OCPI 2.2.1 prints `Token ZXhhbXBsZS10b2tlbgo=` for the token example-token: it was encoded with a line feed."""
    partners = registry(MemoryLog())
    issued = await partners.add("tnm", TNM, token="example-token")
    assert base64.b64decode("ZXhhbXBsZS10b2tlbgo=") == b"example-token\n"
    assert await partners.authenticate(b"Token ZXhhbXBsZS10b2tlbgo=") == issued.connection
    assert partners.encoding("tnm") == "base64 with a line feed"


@pytest.mark.parametrize(
    ("presented", "form"), [("tok-1", "raw"), (encoded("tok-1"), "base64"), (encoded("tok-1\n"), "base64 with a line feed")]
)
async def test_a_token_is_known_raw_and_in_base64_and_the_form_is_remembered(presented: str, form: str) -> None:
    partners = registry(MemoryLog())
    issued = await partners.add("tnm", TNM, token="tok-1")
    assert await partners.authenticate(header(presented)) == issued.connection
    assert partners.encoding("tnm") == form


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"Token",
        b"Token ",
        b"Bearer tok-1",
        b"tok-1",
        b"Token  ",
        b"Token tok-1 tok-1",
        b"Token\ttok-1",
        b"Token " + b"x" * 300,
    ],
)
async def test_anything_else_in_the_header_is_nobody(given: bytes) -> None:
    partners = registry(MemoryLog())
    await partners.add("tnm", TNM, token="tok-1")
    assert await partners.authenticate(given) is None


async def test_the_scheme_is_read_in_any_case_and_spaces_around_the_token_do_not_count() -> None:
    partners = registry(MemoryLog())
    await partners.add("tnm", TNM, token="tok-1")
    assert await partners.authenticate(b"token  tok-1 ") is not None


async def test_no_two_partners_share_a_text_that_presents_their_token() -> None:
    partners = registry(MemoryLog())
    await partners.add("tnm", TNM, token="tok-1")
    for taken in ("tok-1", encoded("tok-1"), encoded("tok-1\n")):
        with pytest.raises(PartnerConflict, match="token, or an encoding of it, is another partner's") as refused:
            await partners.add("slb", SLB, token=taken)
        assert taken not in str(refused.value)
    await partners.remove("tnm")
    await partners.add("slb", SLB, token=encoded("tok-1"))
    with pytest.raises(PartnerConflict):
        await partners.add("tnm", TNM, token="tok-1")


@pytest.mark.parametrize("token", ["", "x" * 65, "a b", "tökén", "a\n", "a\x7f"])
async def test_a_given_token_is_one_to_64_printable_characters(token: str) -> None:
    with pytest.raises(InvalidToken):
        await registry(MemoryLog()).add("tnm", TNM, token=token)


def test_a_token_of_ours_is_no_base64_and_safe_in_a_url() -> None:
    tokens = {auth.new_token() for _ in range(200)}
    assert len(tokens) == 200
    for token in tokens:
        assert auth.checked(token) == token
        assert not set("=+/") & set(token)
        with pytest.raises(binascii.Error):
            base64.b64decode(token, validate=True)
        with pytest.raises(binascii.Error):
            base64.urlsafe_b64decode(token)


async def test_the_log_and_reprs_hold_no_token() -> None:
    log = MemoryLog()
    partners = registry(log)
    issued = await partners.add("tnm", TNM, token="t0p-secret")
    from streams.ports import TopicPartition
    from streams.topics import PARTNERS

    found = await log.fetch({TopicPartition(PARTNERS, 0): 0}, max_records=10, wait_s=0)
    (record,) = found[TopicPartition(PARTNERS, 0)]
    assert b"t0p-secret" not in record.value
    assert encoded("t0p-secret").encode() not in record.value
    assert "t0p-secret" not in repr(issued) + repr(issued.connection) + repr(partners)
    assert "aa" not in repr(PartnerAdded("tnm", TNM, "2.2.1", ("aa",)))


async def test_the_hot_path_forgets_whom_a_header_meant_when_partners_change() -> None:
    partners = registry(MemoryLog())
    issued = await partners.add("tnm", TNM)
    assert partners.known(header(issued.token)) is None
    await partners.authenticate(header(issued.token))
    assert partners.known(header(issued.token)) == issued.connection
    await partners.remove("tnm")
    assert partners.known(header(issued.token)) is None


def test_the_fold_changes_nothing_that_it_was_given() -> None:
    before = fold(Partners(), PartnerAdded("tnm", TNM, "2.2.1", ("a", "b", "c")), NOW)
    after = fold(before, PartnerAdded("slb", SLB, "2.2.1", ("d", "e", "f")), NOW)
    assert list(before.connections) == ["tnm"]
    assert replace(fold(after, PartnerRemoved("slb"), NOW), clients={}) == replace(before, clients={})
    assert fold(before, PartnerRemoved("nobody"), NOW) == before


async def test_a_token_that_we_offered_opens_no_module_before_it_is_taken() -> None:
    partners = PartnerRegistry(MemoryLog(), b"pepper", FixedClock(NOW), settled_s=0.01)
    token, hashes = await partners.offer("tnm", ["CPO"])
    assert await partners.authenticate(header(token)) is None
    bearer = await partners.bearer(header(token))
    assert bearer is not None
    assert (bearer.use, bearer.is_partner, bearer.token_hash) == ("offered", False, hashes[0])


async def test_whoever_presents_an_offered_token_waits_for_its_registration() -> None:
    log = MemoryLog()
    one, other = registry(log), registry(log)
    token, hashes = await one.offer("tnm", ["CPO"])
    presented = asyncio.ensure_future(other.authenticate(header(token)))
    await asyncio.sleep(0)
    terms = Terms(TNM, "2.2.1", hashes, (), "https://tnm.example/versions", b"", "base64")
    await one.say(PartnerRegistered("tnm", "us", hashes[0], terms), "NL*TNM")
    assert await presented == one.get("tnm")
