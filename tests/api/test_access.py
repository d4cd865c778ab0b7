"""What a connection's roles let it read."""

from api.access import Reader, reader_of
from ingest.partners import party_roles


def of(*roles: str, party: str = "NL*TNM", allowed: frozenset[str] = frozenset()) -> Reader:
    return reader_of("one", party_roles([party], roles), allowed)


def test_a_cpo_reads_its_own_objects_and_other_roles_what_is_addressed_to_them() -> None:
    assert (of("CPO").owners, of("CPO").addressees) == (("NL*TNM",), ())
    assert (of("EMSP").owners, of("EMSP").addressees) == (("NL*TNM",), ("NL*TNM",))
    assert of("CPO", "EMSP").addressees == ("NL*TNM",)
    assert of("SCSP").roles == {"SCSP"}


def test_a_hub_reads_for_the_parties_behind_it() -> None:
    hub = of("HUB", party="DE*HUB", allowed=frozenset({"NL*TNM", "FR*MSP"}))
    assert (hub.sees_offers, hub.sees_tokens) == (True, False)
    assert hub.addressees == hub.owners == ("DE*HUB", "FR*MSP", "NL*TNM")
    # A direct partner that may write for others does not read what is addressed to them.
    assert of("EMSP", allowed=frozenset({"BE*BEC"})).addressees == ("NL*TNM",)
