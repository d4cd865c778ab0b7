"""What a page holds, whatever a partner sends as one."""

import json

from hypothesis import given
from hypothesis import strategies as st

from ingest.listed import listed

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)


@given(st.one_of(st.binary(max_size=200), values.map(lambda value: json.dumps(value).encode())))
def test_any_bytes_are_objects_or_a_fault(body: bytes) -> None:
    found = listed(body)
    assert (found.objects is None) is bool(found.fault)


@given(st.lists(st.dictionaries(st.text(max_size=5), values, min_size=1, max_size=3), max_size=6))
def test_the_objects_of_a_page_come_with_their_own_bytes(objects: list[dict[str, object]]) -> None:
    body = json.dumps({"status_code": 1000, "data": objects, "timestamp": "2026-01-01T00:00:00Z"}).encode()
    found = listed(body)
    assert found.objects is not None
    assert [json.loads(bytes(one)) for one in found.objects] == objects
    assert (found.code, found.odd) == (1000, ())


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=6), st.data())
def test_a_page_that_is_cut_off_anywhere_is_no_page(ids: list[int], data: st.DataObject) -> None:
    body = json.dumps({"data": [{"id": str(one), "n": [1, {"a": "]}"}]} for one in ids], "status_code": 1000}).encode()
    cut = data.draw(st.integers(0, len(body) - 1))
    assert listed(body[:cut]).objects is None
