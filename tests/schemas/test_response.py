"""The response envelope (OCPI 2.2.1 transport_and_format, Response format)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.ocpi.response import MAX_MESSAGE, Status, error, success

NOW = 1_780_000_000_123_456


def test_success_carries_the_data_as_they_are() -> None:
    assert (
        success(b'[{"price":0.10}]', NOW) == b'{"data":[{"price":0.10}],"status_code":1000,"timestamp":"2026-05-28T20:26:40.123Z"}'
    )


def test_data_are_left_out_where_there_are_none() -> None:
    assert json.loads(success(None, NOW)) == {"status_code": 1000, "timestamp": "2026-05-28T20:26:40.123Z"}


def test_a_timestamp_fits_the_25_characters_of_a_date_time() -> None:
    assert len(json.loads(error(Status.SERVER_ERROR, "", NOW))["timestamp"]) <= 25


@given(st.text(), st.sampled_from(list(Status)))
def test_whatever_the_message_holds_the_envelope_is_json(message: str, status: Status) -> None:
    answer = json.loads(error(status, message, NOW))
    assert answer == {"status_code": int(status), "status_message": message, "timestamp": "2026-05-28T20:26:40.123Z"}


@pytest.mark.parametrize("message", ["\ud800", 'a"}\n\x00', "x" * 5000])
def test_odd_and_endless_messages_become_short_json(message: str) -> None:
    text = json.loads(error(2001, message, NOW))["status_message"]
    assert isinstance(text, str)
    assert 0 < len(text) <= MAX_MESSAGE


def test_the_status_codes_are_those_of_the_specification() -> None:
    assert {status.name: int(status) for status in Status if status % 1000 < 5} == {
        "SUCCESS": 1000, "CLIENT_ERROR": 2000, "INVALID_PARAMETERS": 2001, "NOT_ENOUGH_INFORMATION": 2002, "UNKNOWN_LOCATION": 2003,
        "UNKNOWN_TOKEN": 2004, "SERVER_ERROR": 3000, "CLIENT_API_UNUSABLE": 3001, "UNSUPPORTED_VERSION": 3002,
        "NO_MATCHING_ENDPOINTS": 3003, "HUB_ERROR": 4000, "UNKNOWN_RECEIVER": 4001, "FORWARDING_TIMED_OUT": 4002,
        "RECEIVER_NOT_CONNECTED": 4003,
    }  # fmt: skip
