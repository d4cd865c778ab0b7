"""A clean object of each kind in each OCPI version, and where it stands."""

import copy
import json
from collections.abc import Mapping
from typing import Any, Final

from older import sample as older_sample
from samples import SAMPLES

from schemas.ocpi.discovery import discover
from schemas.types import Module, Verb

DIALECTS: Final = discover()
VERSIONS: Final = tuple(DIALECTS)
OLDER: Final = tuple(version for version in VERSIONS if version < "2.2")
LATER: Final = tuple(version for version in VERSIONS if version >= "2.2")
MODULES: Final = {
    "Location": Module.LOCATIONS,
    "Session": Module.SESSIONS,
    "CDR": Module.CDRS,
    "Tariff": Module.TARIFFS,
    "Token": Module.TOKENS,
}


def sample(version: str, name: str, *without: str, **changes: Any) -> dict[str, Any]:
    """Return a clean object of a version, without some fields and with others replaced or added."""
    if version in OLDER:
        return older_sample(version, name, *without, **changes)
    of = in_version(version, name, SAMPLES[name]) | changes
    for field in without:
        del of[field]
    return of


def path(name: str, of: dict[str, Any], owner: str = "NL/TNM") -> str:
    """Return where an object stands below a Receiver interface."""
    return f"{MODULES[name]}/{owner}/{of.get('uid') or of['id']}"


def in_version(version: str, name: str, of: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object of 2.2.1 as another version writes it."""
    if version == "2.2.1":
        return copy.deepcopy(dict(of))
    module, verb = MODULES[name], Verb.POST if name == "CDR" else Verb.PUT
    lifted = DIALECTS["2.2.1"].lift(module, verb, json.dumps(of).encode())
    lowered = DIALECTS[version].lower(module, lifted.payload)
    assert lowered.withheld is None, lowered.withheld
    return dict(json.loads(lowered.body))
