"""What a load generator sends: a verb, paths, and bodies of which a few members change from turn to turn."""

import json
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from benchmarks import objects, sessions

Name = Literal["session", "location", "evse status"]

LOCATIONS: Final = 5_000
EVSES: Final = 4


class Content(NamedTuple):
    """`path` and `frame` (the text before and after what changes) are of one of `objects` objects, `changing` of a turn.

    `changing` gives texts of one length, so that all but them is rendered once.
    """

    verb: str
    objects: int
    path: Callable[[int], str]
    frame: Callable[[int], tuple[str, str]]
    changing: Callable[[int], str]


def _location_id(number: int) -> str:
    return f"L{number:09d}"


def _location(number: int) -> tuple[str, str]:
    country_code, party_id = sessions.PARTY
    body = objects.location(EVSES)
    del body["opening_times"]  # py-ocpi wants regular_hours with twentyfourseven, which the specification forbids
    text = json.dumps(body, separators=(",", ":"))
    own = {objects.LOCATION: _location_id(number), objects.PARTY: party_id, objects.UPDATED: objects.START}
    for place, value in own.items():
        text = text.replace(place, value)
    return text.replace('"country_code":"NL"', f'"country_code":"{country_code}"')[:-1] + ",", "}"


def _evse_path(number: int) -> str:
    location_id = _location_id(number // EVSES)
    return f"{location_id}/{objects.evse_uid(number % EVSES, location_id)}"


def _status(turn: int) -> str:
    # White space makes the shorter status as long as the longer one.
    status = '"CHARGING" ' if turn % 2 else '"AVAILABLE"'
    return f'"status":{status},"last_updated":"{sessions.updated(turn)}"'


CONTENTS: Final[dict[Name, Content]] = {
    "session": Content("PUT", sessions.IDS, sessions.session_id, sessions.frame, sessions.changing),
    "location": Content("PUT", LOCATIONS, _location_id, _location, lambda _: '"suboperator":{"name":"Example"}'),
    "evse status": Content("PATCH", LOCATIONS * EVSES, _evse_path, lambda _: ("{", "}"), _status),
}
