"""Strict JSON: what is no JSON is told from what is, and every digit survives."""

from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec
from schemas.ocpi.dialect import NotJson


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b'{"a":1', b'{"a":1,}', b"[1,]", b"{'a':1}", b'{"a":01}', b'{"a":.5}', b'{"a":+1}', b'{"a":1.}',
        b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":nul}', b'{"a":1} x', b'{"a":1}{"a":1}',
        b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc0\x80"}', b"\xef\xbb\xbf{}", '{"a":1}'.encode("utf-16"),
        rb'{"a":"\ud800"}', rb'{"a":"\udc00"}', rb'{"a":"\ud800\ud800x"}', b'{"a":"\x00"}', b'{"a":"\n"}', rb'{"a":"\x"}',
    ],
)  # fmt: skip
def test_what_is_not_json_is_told_so(body: bytes) -> None:
    with pytest.raises(NotJson):
        codec.parse(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":1}', b'{"a":1, "a" : 2}', b'{"a" :1,"a"\n:2}', b'{"x":[{"a":1,"b":2,"a":3}]}', rb'{"a":1,"\u0061":2}',
        b'{"a":{"b":1},"a":{"c":1,"d":2}}', b'{"a":"\\":","a":1}',
    ],
)  # fmt: skip
def test_a_key_twice_in_one_object_is_not_json(body: bytes) -> None:
    with pytest.raises(NotJson, match="twice"):
        codec.parse(body)


@pytest.mark.parametrize("body", [b'{"a":{"a":1},"b":{"a":2}}', b'{"a":":","b":[":x"," : "]}', rb'{"a\":":1,"b":"\":"}'])
def test_the_same_key_in_two_objects_and_colons_in_texts_are_fine(body: bytes) -> None:
    assert isinstance(codec.parse(body), dict)


def test_levels_are_limited_and_deep_nesting_never_ends_in_a_crash() -> None:
    deepest = b"[" * codec.MAX_DEPTH + b"]" * codec.MAX_DEPTH
    assert codec.parse(deepest) == codec.parse(b" " + deepest)
    for body in (
        b"[" + deepest + b"]",
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
    ):
        with pytest.raises(NotJson, match="nested"):
            codec.parse(body)


@pytest.mark.parametrize("text", ["0", "-0.0", "1E+2", "1e-7", "0.10", "4.400", "12345678901234567890.000000000000000001", "-3"])
def test_a_number_keeps_its_digits(text: str) -> None:
    value = codec.parse(text.encode())
    assert value == Decimal(text)
    assert Decimal(codec.encode(value).decode()).as_tuple() == Decimal(text).as_tuple()


@pytest.mark.parametrize(
    "text",
    ["1e999", "-1e999", "1e-400", "1" * 17, "1" * 5000, "-" + "1" * 5000, "1e99999999999999999999", "0e-400", "0." + "1" * 41],
)
def test_a_number_of_any_size_is_json_but_not_in_range(text: str) -> None:
    for body in (text.encode(), b'{"a":[%b]}' % text.encode()):
        value = codec.parse(body)
        while isinstance(value, dict | list):
            value = value["a"] if isinstance(value, dict) else value[0]
        assert isinstance(value, int | Decimal)
        assert not codec.in_range(value)


@pytest.mark.parametrize("text", ["1000000000000000", "-1e15", "0", "0.0000000000000000000000000000000000000001", "0." + "1" * 40])
def test_the_bounds_themselves_are_in_range(text: str) -> None:
    value = codec.parse(text.encode())
    assert isinstance(value, int | Decimal)
    assert codec.in_range(value)


def test_a_huge_number_hides_neither_a_second_key_nor_a_lone_surrogate() -> None:
    huge = b"1" * 5000
    for body in (b'{"a":%b,"a":1}', rb'{"a":%b,"b":"\ud800"}', b'{"a":%b,"b":"\xff"}', b'{"a":%b', b'{"a":%b,"b":NaN}'):
        with pytest.raises(NotJson):
            codec.parse(body % huge)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.decimals(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=20,
)


@given(json_values)
def test_what_is_encoded_is_parsed_back(value: object) -> None:
    assert codec.parse(codec.encode(value)) == value


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_parsed_or_told_not_to_be_json(body: bytes) -> None:
    with suppress(NotJson):
        codec.parse(body)
