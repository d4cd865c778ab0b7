"""Whatever comes over a socket is answered as OCPI prescribes: no HTTP error of the server, nothing that hangs, nobody held up."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import pytest
from serving import Serve, add_partner, as_json, wire_session

pytestmark = pytest.mark.system

STAMP: Final = "2026-10-01T08:00:00Z"
RECEIVER: Final = "/ocpi/2.2.1/receiver"
S1: Final = f"{RECEIVER}/sessions/NL/TNM/S1"
LIST: Final = "/ocpi/2.2.1/sender/sessions?date_from=2026-01-01T00:00:00Z"
SLOW_S: Final = 2
BODY: Final = as_json(wire_session("S1", 1, STAMP))


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """One serve for all: whatever a test sends, the next one finds it as it was."""
    serving = Serve(tmp_path_factory.mktemp("bad-input") / "data")
    add_partner(serving.data, "tnm", "NL*TNM", "CPO", "bad-token")
    add_partner(serving.data, "msp", "DE*MSP", "EMSP", "msp-token")
    asyncio.run(_began(serving))
    yield serving
    try:
        assert serving.rss_mb() < 700
        assert asyncio.run(serving.end(signal.SIGTERM)) == 0
        assert "Traceback" not in serving.output()
    finally:
        serving.kill()


async def _began(serving: Serve) -> None:
    """Start it, and let S1 be known whichever test comes first."""
    await serving.start({"ROAMLOG_REQUEST_S": str(SLOW_S)})
    assert (await asked(serving, "PUT", S1, BODY)).codes == (201, 1000)


class Answer(NamedTuple):
    """An HTTP answer as it stood on the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def ocpi(self) -> dict[str, Any]:
        """The OCPI envelope."""
        envelope: dict[str, Any] = json.loads(self.body)
        return envelope

    @property
    def codes(self) -> tuple[int, int]:
        """The HTTP status and OCPI's."""
        return self.status, int(self.ocpi["status_code"])


def head(method: str, path: str, *headers: str, token: str = "bad-token", version: str = "HTTP/1.1") -> bytes:
    lines = [f"{method} {path} {version}", "Host: x", f"Authorization: Token {token}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def answers(serve: Serve, *sent: bytes, within_s: float = 10) -> list[Answer]:
    """Send, and return all answers that come until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", serve.port)
    received = b""
    try:
        async with asyncio.timeout(within_s):
            try:
                for piece in sent:
                    writer.write(piece)
                    await writer.drain()
                while more := await reader.read(65536):
                    received += more
            except ConnectionError:
                pass  # it was closed with more of the request on its way
    finally:
        writer.close()
    found = []
    while received:
        top, _, rest = received.partition(b"\r\n\r\n")
        status, *lines = top.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers.get("content-length", 0))
        found.append(Answer(int(status.split(" ")[1]), headers, rest[:length]))
        received = rest[length:]
    return found


async def asked(serve: Serve, method: str, path: str, body: bytes | None = None, *headers: str, token: str = "bad-token") -> Answer:
    length = [] if body is None else [f"Content-Length: {len(body)}"]
    (answer,) = await answers(serve, head(method, path, *length, *headers, "Connection: close", token=token) + (body or b""))
    return answer


NESTED: Final = 100_000
NOT_JSON: Final = {
    "empty": b"",
    "truncated": BODY[:-9],
    "not UTF-8": BODY.replace(b"LOC1", b"LOC\xff"),
    "NaN": BODY.replace(b'"kwh": 1', b'"kwh": NaN'),
    "Infinity": BODY.replace(b'"kwh": 1', b'"kwh": -Infinity'),
    "a key twice": BODY[:-1] + b', "id": "S1"}',
    "nested arrays": BODY[:-1] + b', "x": ' + b"[" * NESTED + b"]" * NESTED + b"}",
    "nested objects": BODY[:-1] + b', "x": ' + b'{"a":' * NESTED + b"1" + b"}" * NESTED + b"}",
    "never closed": b"[" * NESTED,
    "zeros": bytes(100_000),
    "gzip": b"\x1f\x8b\x08\x00" + os.urandom(100),
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
async def test_what_is_no_json_is_http_400(serve: Serve, body: bytes) -> None:
    for method, path in (("PUT", S1), ("PATCH", S1), ("POST", f"{RECEIVER}/cdrs"), ("PUT", f"{RECEIVER}/locations/NL/TNM/L1")):
        assert (await asked(serve, method, path, body)).codes == (400, 2001)


async def test_json_that_ocpi_does_not_allow_is_2001_within_http_200(serve: Serve) -> None:
    for body in (
        BODY.replace(b'"kwh": 1', b'"kwh": 1e999'),
        BODY.replace(b'"kwh": 1', b'"kwh": "many"'),
        BODY.replace(STAMP.encode(), b"yesterday"),
        BODY.replace(b'"ACTIVE"', b'"CHARGING"'),
        b"[]",
        b"null",
        b"{}",
    ):
        codes = (await asked(serve, "PUT", S1, body)).codes
        assert codes == (200, 2001), body


async def test_a_wrong_content_type_is_no_reason_to_refuse_valid_json(serve: Serve) -> None:
    for kind in ("text/plain", "text/xml; charset=latin-1", "nonsense", "\x80"):
        assert (await asked(serve, "PUT", S1, BODY, f"Content-Type: {kind}")).ocpi["status_code"] == 1000, kind


async def test_odd_timestamps_are_taken(serve: Serve) -> None:
    for text in ("2026-10-01T08:00:00", "2026-10-01T08:00:00.123456Z", "2026-10-01T10:00:00+02:00", "1970-1-1T00:00:00Z"):
        assert (await asked(serve, "PUT", S1, as_json(wire_session("S1", 1, text)))).ocpi["status_code"] == 1000, text


async def test_a_body_over_the_limit_is_413_before_it_is_sent(serve: Serve) -> None:
    announced = head("PUT", S1, f"Content-Length: {10**10}")
    waiting = head("PUT", S1, f"Content-Length: {5 * 1024 * 1024}", "Expect: 100-continue")
    chunked = head("PUT", S1, "Transfer-Encoding: chunked")
    chunk = b"%x\r\n%b\r\n" % (10**6, b" " * 10**6)
    for sent in ((announced,), (waiting,), (chunked, *[chunk] * 6)):
        (answer,) = await answers(serve, *sent)
        assert answer.codes == (413, 2001)
        assert answer.headers["connection"] == "close"


async def test_a_client_that_waits_is_told_to_continue(serve: Serve) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", serve.port)
    writer.write(head("PUT", S1, f"Content-Length: {len(BODY)}", "Expect: 100-continue", "Connection: close"))
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(BODY)
        assert b'"status_code":1000' in await reader.read()
    writer.close()


async def test_whose_it_is_not_is_404(serve: Serve) -> None:
    foreign = as_json(wire_session("S1", 1, STAMP, country_code="DE", party_id="MSP"))
    for path in (f"{RECEIVER}/sessions/DE/MSP/S1", f"{RECEIVER}/sessions/%00/TNM/S1", f"{RECEIVER}/sessions/NL%2FTNM/x/S1"):
        for method in ("PUT", "GET"):
            assert (await asked(serve, method, path, foreign)).codes == (404, 2001), path
    assert (await asked(serve, "PUT", S1, foreign)).codes == (200, 2001)


async def test_ids_hold_anything_printable(serve: Serve) -> None:
    for odd in ("a/b", "a'b", 'a"b', "a\\b", "a b", "100%", "%2F", "..", "é", "a;b=c", "{x}"):
        path = f"{RECEIVER}/sessions/NL/TNM/{quote(odd, safe='')}"
        assert (await asked(serve, "PUT", path, as_json(wire_session(odd, 1, STAMP)))).codes[1] == 1000, odd
        assert (await asked(serve, "GET", path)).ocpi["data"]["id"] == odd
    for odd in ("%00", "a%0Ab", "a%7Fb", "%FF", "%C3", "x" * 256, "x" * 9000):
        for method in ("PUT", "PATCH", "GET"):
            assert (await asked(serve, method, f"{RECEIVER}/sessions/NL/TNM/{odd}", BODY)).codes == (404, 2001), odd
    long = as_json(wire_session("x" * 37, 1, STAMP))
    assert (await asked(serve, "PUT", f"{RECEIVER}/sessions/NL/TNM/{'x' * 37}", long)).codes == (200, 2001)


async def test_lists_refuse_what_cannot_be_and_cap_what_is_too_much(serve: Serve) -> None:
    for query in (
        *("limit=0", "limit=-1", "limit=1e3", "limit=", "limit=1&limit=1", "offset=-1", "offset=nonsense", "offset=0x10"),
        *("cursor=", "cursor=nonsense", "cursor=AAAA", "cursor=" + "A" * 9000, "date_to=tomorrow", "date_to=%00"),
    ):
        answer = await asked(serve, "GET", f"{LIST}&{query}", token="msp-token")
        assert answer.codes == (200, 2001), query
        assert "data" not in answer.ocpi
    for query in ("limit=1000000000", f"limit={'9' * 40}", "offset=1000000000", f"offset={'9' * 40}", "x=%FF&=&&"):
        answer = await asked(serve, "GET", f"{LIST}&{query}", token="msp-token")
        assert answer.codes == (200, 1000), query
        assert answer.headers["x-limit"] == "1000"


async def test_other_methods_are_405_or_no_http(serve: Serve) -> None:
    for path in ("/health", "/ocpi/versions", S1, LIST, f"{RECEIVER}/cdrs"):
        for method in ("HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"):
            answer = await asked(serve, method, path)
            assert (answer.status, "allow" in answer.headers) == (405, True), (method, path)
            assert method == "HEAD" or answer.ocpi["status_code"] == 2000
        assert (await asked(serve, "NONSENSE", path)).codes == (400, 2000)


NO_HTTP: Final = {
    "bytes": b"\x00\xff" * 100 + b"\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(190),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a space in the path": head("GET", "/ocpi/a b"),
    "a zero in the path": head("GET", "/ocpi/\x00"),
    "bytes that are not encoded": head("GET", f"{RECEIVER}/sessions/NL/TNM/\xe9"),
    "a negative length": head("PUT", S1, "Content-Length: -5") + BODY,
    "a length that is none": head("PUT", S1, "Content-Length: many") + BODY,
    "a length of thirty digits": head("PUT", S1, f"Content-Length: {'9' * 30}") + BODY,
    "two lengths": head("PUT", S1, f"Content-Length: {len(BODY)}", "Content-Length: 5") + BODY,
    "a length and chunks": head("PUT", S1, f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "a broken chunk": head("PUT", S1, "Transfer-Encoding: chunked") + b"nonsense\r\n",
}


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP.keys())
async def test_what_is_no_http_is_400_in_the_envelope(serve: Serve, sent: bytes) -> None:
    (answer,) = await answers(serve, sent)
    assert answer.codes == (400, 2000)
    assert answer.headers["connection"] == "close"


async def test_http_1_0_and_pipelines_are_served(serve: Serve) -> None:
    (alive,) = await answers(serve, b"GET /health HTTP/1.0\r\n\r\n")
    assert alive.status == 200
    (taken,) = await answers(serve, head("PUT", S1, f"Content-Length: {len(BODY)}", version="HTTP/1.0") + BODY)
    assert taken.codes == (200, 1000)
    path = f"{RECEIVER}/sessions/NL/TNM/piped"
    put = as_json(wire_session("piped", 1, STAMP))
    patch = as_json({"kwh": 7, "last_updated": "2026-10-01T08:01:00Z"})
    piped = (
        head("PUT", path, f"Content-Length: {len(put)}") + put + head("PATCH", path, f"Content-Length: {len(patch)}") + patch
        + head("GET", path) + head("DELETE", path, "Connection: close")
    )  # fmt: skip
    created, changed, read, refused = await answers(serve, piped)
    assert (created.codes, changed.codes, refused.codes) == ((201, 1000), (200, 1000), (405, 2000))
    assert read.ocpi["data"]["kwh"] == 7


async def test_long_heads_are_taken_up_to_a_bound(serve: Serve) -> None:
    assert (await asked(serve, "GET", f"/ocpi/versions?x={'a' * 30_000}")).codes == (200, 1000)
    assert (await asked(serve, "GET", "/ocpi/versions", None, f"X-A: {'a' * 30_000}")).codes == (200, 1000)
    million = b"a" * 1_000_000
    endless = (
        (b"GET /ocpi/versions HTTP/1.1\r\nX-A: ", 431),
        (b"GET /ocpi/versions HTTP/1.1\r\n" + b"X-A: b\r\n" * 20_000, 431),
        # A head that has ended, and behind the body a trailer that does not, of somebody whom nobody knows.
        (head("PUT", S1, "Transfer-Encoding: chunked", token="nobody") + b"0\r\nX-A: ", 401),
    )
    for beginning, status in endless:
        began = time.monotonic()
        for answer in await answers(serve, beginning, *[million] * 50):  # none, where the reset overtakes it
            assert answer.codes == (status, 2000)
        assert time.monotonic() - began < 30


async def test_slow_clients_are_shown_out_and_hold_nobody_up(serve: Serve) -> None:
    half_a_head = b"PUT /ocpi/2.2.1/recei"
    half_a_body = head("PUT", S1, "Content-Length: 500") + b"{"
    slow = [await asyncio.open_connection("127.0.0.1", serve.port) for _ in range(300)]
    for number, (_, writer) in enumerate(slow):
        writer.write((b"", half_a_head, half_a_body)[number % 3])
    began = time.monotonic()
    for _ in range(10):
        assert (await asked(serve, "PUT", S1, BODY)).codes == (200, 1000)
    assert time.monotonic() - began < SLOW_S
    async with asyncio.timeout(SLOW_S + 10):
        ends = await asyncio.gather(*(reader.read() for reader, _ in slow))
    assert all(end.startswith(b"HTTP/1.1 408 ") and b'"status_code":2000' in end for end in ends)
    for _, writer in slow:
        writer.close()


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(serve: Serve) -> None:
    path = f"{RECEIVER}/sessions/NL/TNM/left"
    reader, writer = await asyncio.open_connection("127.0.0.1", serve.port)
    writer.write(head("PUT", path, f"Content-Length: {len(BODY)}") + BODY[:-1])
    writer.write_eof()
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    assert (await asked(serve, "GET", path)).codes == (404, 2001)
