"""Scalars of OCPI: DateTime in every form seen, identities, parties (OCPI 2.2.1 types 16.1, 16.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.types import EARLIEST, LATEST, date_time, identity, instant, party_of


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2015-06-29T22:39:09Z", "2015-06-29T22:39:09Z"),
        ("2019-01-28T12:00:00", "2019-01-28T12:00:00Z"),
        ("2019-01-28T12:00:00.1Z", "2019-01-28T12:00:00.100Z"),
        ("2018-01-01T01:08:01.123456Z", "2018-01-01T01:08:01.123Z"),
        ("2018-01-01T01:08:01.123456789Z", "2018-01-01T01:08:01.123Z"),
        ("2016-03-01T14:00:00+02:00", "2016-03-01T12:00:00Z"),
        ("2016-03-01T14:00:00-0230", "2016-03-01T16:30:00Z"),
        ("1970-1-1T00:00:00Z", "1970-01-01T00:00:00Z"),
        ("2016-02-29t23:59:59z", "2016-02-29T23:59:59Z"),
    ],
)
def test_a_date_time_is_read_in_every_form_and_written_in_one(text: str, canonical: str) -> None:
    assert date_time(instant(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2015-06-29", "２０１５-06-29T22:39:09Z", "2026-W05-6T00:00:00Z"),
        *("2015-02-30T00:00:00Z", "2015-06-29T25:00:00Z"),
        *("0001-01-01T00:00:00Z", "1899-12-31T23:59:59Z", "2262-01-01T00:00:00Z"),
    ],
)
def test_what_is_no_date_time_or_no_instant_that_can_be_kept_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a DateTime|is outside|must be in|day is out of range|month must"):
        instant(text)


@given(st.integers(EARLIEST // 1000, LATEST // 1000))
def test_milliseconds_survive_in_at_most_24_characters(milliseconds: int) -> None:
    text = date_time(milliseconds * 1000)
    assert len(text) <= 24
    assert text.endswith("Z")
    assert instant(text) == milliseconds * 1000


def test_identity_lowers_ascii_and_nothing_else() -> None:
    assert identity("LOC-1É") == "loc-1É"


def test_a_party_is_written_in_capitals() -> None:
    assert party_of("nl", "tnm") == "NL*TNM"
