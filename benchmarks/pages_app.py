"""A Sender that is never the slowest: pages of Sessions made beforehand, for as many parties as anybody asks for.

`/{party}/versions`, `/{party}/details`, `/{party}/credentials` and `/{party}/sessions`; PAGES and PAGE come from the environment.
"""

import os
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from benchmarks import objects

PAGES: Final = int(os.environ["PAGES"])
PAGE: Final = int(os.environ["PAGE"])
STAMP: Final = b"2026-01-01T00:00:00Z"


def page(number: int) -> bytes:
    """Return the answer with the page's Sessions; their party is `objects.PARTY`."""
    text = msgspec.json.encode(objects.session(3)).replace(objects.UPDATED.encode(), STAMP)
    each = [text.replace(objects.ID.encode(), b"session-%09d" % one) for one in range(number * PAGE, (number + 1) * PAGE)]
    return b'{"data":[%b],"status_code":1000,"timestamp":"%b"}' % (b",".join(each), STAMP)


_pages: Final[list[bytes]] = []


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if not _pages:
        _pages.extend(page(number) for number in range(PAGES))
    _, party, what = scope["path"].split("/")
    host = dict(scope["headers"])[b"host"].decode()
    here, headers = f"http://{host}/{party}", [(b"content-type", b"application/json")]
    if what == "sessions":
        query = parse_qs(scope["query_string"].decode())
        number = int(query["offset"][0]) // PAGE
        body = _pages[number].replace(objects.PARTY.encode(), party.encode())
        headers.append((b"x-total-count", b"%d" % (PAGES * PAGE)))
        if number + 1 < PAGES:
            following = f"{here}/sessions?offset={(number + 1) * PAGE}&limit={PAGE}"
            headers.append((b"link", f'<{following}>; rel="next"'.encode()))
    else:
        body = msgspec.json.encode({"data": _said(what, party, here), "status_code": 1000, "timestamp": STAMP.decode()})
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def _said(what: str, party: str, here: str) -> Any:
    if what == "versions":
        return [{"version": "2.2.1", "url": f"{here}/details"}]
    if what == "details":
        modules = ("credentials", "sessions")
        endpoints = [{"identifier": name, "role": "SENDER", "url": f"{here}/{name}"} for name in modules]
        return {"version": "2.2.1", "endpoints": endpoints}
    role = {"role": "CPO", "country_code": "NL", "party_id": party, "business_details": {"name": party}}
    return {"token": f"token-of-{party}", "url": f"{here}/versions", "roles": [role]}
