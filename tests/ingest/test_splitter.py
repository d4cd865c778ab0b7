"""Objects out of files of every shape, in pieces of any size, with their exact bytes and places."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import BrokenFile
from ingest.splitter import OBJECT_BYTES, Member, members

A, B = b'{"id": "a", "n": [1, {"x": "}]\\""}]}', b'{"id":"b"}'


def reading(text: bytes, size: int) -> Callable[[], bytes]:
    pieces = iter([text[at : at + size] for at in range(0, len(text), size)])
    return lambda: next(pieces, b"")


def split(text: bytes, size: int = 1 << 20, *, lines: bool = False) -> list[Member]:
    return list(members(reading(text, size), lines=lines))


def bodies(text: bytes, size: int = 1 << 20, *, lines: bool = False) -> list[bytes]:
    return [member.body for member in split(text, size, lines=lines)]


SHAPES = {
    "array": b"[" + A + b",\n " + B + b"]",
    "array with spaces and a mark of order": b"\xef\xbb\xbf \n[ " + A + b" , " + B + b" ]\n",
    "lines": A + b"\n" + B + b"\n",
    "lines without an end, with empty ones": A + b"\r\n\n" + B,
    "envelope": b'{"data": [' + A + b"," + B + b'], "status_code": 1000, "timestamp": "2026-01-01T00:00:00Z"}',
    "envelope, data last": b'{"status_code": 1000, "status_message": "[{", "data":[' + A + b"," + B + b"]}",
    "page": b'{"items": [' + A + b"," + B + b'], "next": {"offset": 2}}',
    "envelopes, a line each": b'{"data":[' + A + b']}\n{"data":[' + B + b"]}\n",
    "arrays, one after another": b"[" + A + b"]\n[" + B + b"]",
    "pretty objects": json.dumps(json.loads(A), indent=1).encode() + b"\n" + json.dumps(json.loads(B), indent=1).encode(),
}


@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
def test_a_file_of_any_shape_gives_its_objects_whatever_pieces_it_is_read_in(text: bytes, size: int) -> None:
    assert [json.loads(body) for body in bodies(text, size)] == [json.loads(A), json.loads(B)]


@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES.keys())
def test_an_object_has_its_exact_bytes_and_place(text: bytes) -> None:
    for offset, body in split(text, 5):
        assert text[offset : offset + len(body)] == body


@pytest.mark.parametrize("text", [B, b" " + B + b" ", b'{"data": ' + B + b', "status_code": 1000}', b"[" + B + b"]"])
def test_a_single_object_is_one(text: bytes) -> None:
    assert bodies(text, 3) == [B]


def test_an_object_with_an_id_is_itself_even_when_it_has_data() -> None:
    text = b'{"id": "a", "data": [{"id": "b"}], "items": []}'
    assert bodies(text) == [text]


@pytest.mark.parametrize("depth", [5, 6, 7, 8, 9, 500])
def test_an_object_may_be_nested_at_any_depth(depth: int) -> None:
    deep = b'{"id": ' + b'[{"[": "}"}, ' * depth + b"1" + b"]" * depth + b"}"
    assert bodies(b"[" + deep + b"," + deep + b"]", 11) == [deep, deep]
    assert bodies(b"[" + deep + b"," + deep + b"]") == [deep, deep]


@pytest.mark.parametrize("text", [b"", b" \n", b"[]", b"[ ]", b'{"data": []}'])
def test_nothing_in_it_is_nothing_out_of_it(text: bytes) -> None:
    assert bodies(text, 1) == []


def test_a_member_that_is_no_object_is_given_as_it_is() -> None:
    assert bodies(b'[1, "a,]", null, [2, 3], {}]', 2) == [b"1", b'"a,]"', b"null", b"[2, 3]", b"{}"]


def test_a_broken_line_takes_no_other_with_it() -> None:
    assert bodies(A + b"\n" + B + b'\n{"id": "c\n' + B) == [A, B, b'{"id": "c', B]
    assert bodies(b'{"id": "c\n' + B, lines=True) == [b'{"id": "c', B]


@pytest.mark.parametrize("middle", [b'{"id": x}', b'{"a" 1}', b"{,}}".replace(b"}}", b"}"), b"{1: 2}", b'{"a": 1 "b": 2}'])
def test_an_object_that_is_no_json_is_left_to_the_dialect(middle: bytes) -> None:
    assert bodies(b"[" + A + b"," + middle + b"," + B + b"]")[0] == A
    assert bodies(middle)[:1] == [middle]


@pytest.mark.parametrize(
    ("text", "read", "reason"),
    [
        (b"[" + A + b"," + B[:-1], 1, "the file ends inside an object, at byte 38"),
        (b"[" + A + b",", 1, "the file ends inside an array that begins, at byte 0"),
        (b"[" + A, 1, "a comma or the array's end"),
        (b"[" + A + b" " + B + b"]", 1, "a comma or the array's end should stand, at byte 38"),
        (b"[" + A + b",]", 1, "a value is missing, at byte 38"),
        (b"[" + A + b"] x", 1, "an array or an object should begin, at byte 39"),
        (b"<xml/>", 0, "an array or an object should begin, at byte 0"),
        (b'"text', 0, "an array or an object should begin, at byte 0"),
        (b'["text', 0, "the file ends inside a string, at byte 1"),
        (b'{"data": [' + A + b'], "status', 1, "the file ends inside a string"),
        (b'{"data": [' + A + b"] 5}", 1, "the envelope is no JSON"),
        (b"\x00\x01", 0, "an array or an object should begin, at byte 0"),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_broken_file_gives_what_could_be_read_and_says_where_it_breaks(text: bytes, read: int, reason: str, size: int) -> None:
    found = members(reading(text, size))
    assert len([next(found) for _ in range(read)]) == read
    with pytest.raises(BrokenFile) as broken:
        next(found)
    assert reason in str(broken.value) or (reason.startswith("a comma") and "ends inside an array" in str(broken.value))


def test_an_endless_object_ends_the_file_before_it_fills_the_memory() -> None:
    pieces: Iterator[bytes] = iter(lambda: b'"x": 1,' * 10_000, b"")
    first = iter([b"["])

    def read() -> bytes:
        return next(first, b"") or b"{" + next(pieces)

    with pytest.raises(BrokenFile, match=f"an object is longer than {OBJECT_BYTES:,} bytes, at byte 1"):
        list(members(read))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(st.text(), json_values, max_size=4), max_size=5), st.integers(1, 40), st.booleans())
def test_any_array_comes_out_as_it_went_in(objects: list[dict[str, Any]], size: int, escaped: bool) -> None:
    text = json.dumps(objects, ensure_ascii=escaped).encode(errors="surrogatepass")
    assert [json.loads(body) for body in bodies(text, size)] == objects


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\ \n1a', max_size=60).map(str.encode), st.integers(1, 9))
def test_any_bytes_end_in_objects_or_in_a_broken_file_whatever_the_pieces(text: bytes, size: int) -> None:
    def outcome(size: int) -> tuple[list[Member], bool]:
        found: list[Member] = []
        try:
            found.extend(members(reading(text, size)))
        except BrokenFile:
            return found, True
        return found, False

    assert outcome(size) == outcome(1000)
