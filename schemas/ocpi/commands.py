"""Commands and their answers, between versions: pure, for whoever passes one on.

Source: OCPI mod_commands of each version; requirements 5.7.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from schemas.types import Json, Loss

Object = dict[str, Json]
OLDER: Final = frozenset({"2.0", "2.1.1"})
TIMEOUT_S: Final = 30
"""How long the asynchronous answer is waited for where a version does not say it (seconds)."""

_RESULTS: Final = {
    "ACCEPTED": "ACCEPTED",
    "CANCELED_RESERVATION": "ACCEPTED",
    "EVSE_OCCUPIED": "REJECTED",
    "EVSE_INOPERATIVE": "REJECTED",
    "FAILED": "REJECTED",
    "NOT_SUPPORTED": "NOT_SUPPORTED",
    "REJECTED": "REJECTED",
    "TIMEOUT": "TIMEOUT",
    "UNKNOWN_RESERVATION": "REJECTED",
}


class Passed(Struct, frozen=True):
    """A body in the other version, and what was lost or made up. `refusal`: it cannot be passed on, and this is the answer."""

    body: Object
    losses: tuple[Loss, ...] = ()
    refusal: str | None = None


def lift_command(version: str, command: str, body: Mapping[str, Json]) -> Passed:
    """Return a command in the form of 2.2 and later."""
    if version in OLDER and command == "RESERVE_NOW" and isinstance(body.get("reservation_id"), int):
        return Passed({**body, "reservation_id": str(body["reservation_id"])})
    return Passed(dict(body))


def lower_command(version: str, command: str, body: Mapping[str, Json], *, reservations: Mapping[str, int]) -> Passed:
    """Return a command as a version says it. `reservations` are the numbers under which a <= 2.1.1 peer knows reservations."""
    if version not in OLDER:
        return Passed(dict(body))
    if command == "CANCEL_RESERVATION":
        return Passed({}, refusal="NOT_SUPPORTED")
    if command == "RESERVE_NOW":
        number = reservations.get(str(body.get("reservation_id")))
        if number is None:
            return Passed({}, refusal="NOT_SUPPORTED")
        return Passed({**body, "reservation_id": number})
    if command == "START_SESSION" and "connector_id" in body:
        kept = {name: value for name, value in body.items() if name != "connector_id"}
        return Passed(kept, (Loss("/connector_id", "lost", "the version starts a session at an EVSE"),))
    return Passed(dict(body))


def lift_response(version: str, body: Mapping[str, Json]) -> Passed:
    """Return the immediate answer (CommandResponse) in the form of 2.2 and later."""
    if version not in OLDER:
        return Passed(dict(body))
    losses = [Loss("/timeout", "defaulted", f"{TIMEOUT_S} s: the version does not say it")]
    result = body.get("result")
    if result == "TIMEOUT":
        losses.append(Loss("/result", "lost", "an immediate answer has no TIMEOUT since 2.2"))
    return Passed({**body, "result": "REJECTED" if result == "TIMEOUT" else result, "timeout": TIMEOUT_S}, tuple(losses))


def lower_response(version: str, body: Mapping[str, Json]) -> Passed:
    """Return the immediate answer as a version says it."""
    if version not in OLDER:
        return Passed(dict(body))
    losses = [
        Loss(f"/{name}", "lost", "the version's answer is its result alone") for name in ("timeout", "message") if name in body
    ]
    return Passed({"result": body.get("result")}, tuple(losses))


def lift_result(version: str, body: Mapping[str, Json]) -> Passed:
    """Return the asynchronous answer (<= 2.1.1: a CommandResponse once more) as a CommandResult."""
    if version in OLDER and body.get("result") == "UNKNOWN_SESSION":
        return Passed({"result": "REJECTED"}, (Loss("/result", "lost", "UNKNOWN_SESSION is no CommandResultType"),))
    return Passed(dict(body))


def lower_result(version: str, body: Mapping[str, Json]) -> Passed:
    """Return a CommandResult as a version says it."""
    if version not in OLDER:
        return Passed(dict(body))
    said = str(body.get("result"))
    result = _RESULTS.get(said, "REJECTED")
    losses = [] if result == said else [Loss("/result", "lost", f"{said} is not known to the version")]
    losses += [Loss("/message", "lost", "the version's answer is its result alone")] if "message" in body else []
    return Passed({"result": result}, tuple(losses))
