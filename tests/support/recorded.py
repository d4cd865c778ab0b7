"""A recorded log of mixed events in every version of OCPI, the same at each call: what partners send, retries and late ones too.

Every body is lifted by the dialect of its version and enveloped as the edge does it.
"""

import random
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from older import sample as older_sample
from versions import DIALECTS, OLDER, VERSIONS, sample

from ingest.admission import Admitted, Circumstances, addressed, admit
from schemas.types import Instant, Module, Verb, date_time
from streams.ports import Entry

BEGIN: Final[Instant] = 1_789_000_000_000_000
"""2026-09-10T00:26:40Z, when the first event arrives."""
STEP_US: Final = 400_000
SEED: Final = 20260910
OWNER: Final = "NL*TNM"
STATUSES: Final = ("AVAILABLE", "CHARGING", "BLOCKED", "OUTOFORDER")
_SECOND: Final = 1_000_000
_json: Final = msgspec.json.Encoder()


def entries(count: int) -> Iterator[Entry]:
    """Yield so many entries of a log, in the order in which they arrived."""
    yield from _Recording(random.Random(SEED)).entries(count)


class _Recording:
    """What is known of the objects by now, and the time."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._at = BEGIN
        self._made: dict[str, int] = dict.fromkeys(("place", "session", "tariff", "token"), 0)
        self._open: list[list[Any]] = []
        self._recent: list[Entry] = []
        self._templates: dict[tuple[str, str], dict[str, Any]] = {}

    def entries(self, count: int) -> Iterator[Entry]:
        made = 0
        while made < count:
            for entry in self._next():
                self._at += STEP_US
                made += 1
                yield entry
                if made == count:
                    return

    def _next(self) -> Iterator[Entry]:
        draw = self._dice.random()
        if draw < 0.03 or self._made["place"] < 5 * len(VERSIONS):
            yield self._place()
        elif draw < 0.30:
            yield self._at_an_evse()
        elif draw < 0.33:
            yield self._token()
        elif draw < 0.36:
            yield self._tariff()
        elif draw < 0.40 and self._recent:
            yield self._dice.choice(self._recent)  # a request that was sent again, as it was received the first time
        else:
            yield from self._charging()

    # --- places ---

    def _place(self) -> Entry:
        """A Location is put: mostly a new one, else one again with fewer EVSEs and another name."""
        again = self._made["place"] > 50 and self._dice.random() < 0.4
        number = self._dice.randrange(self._made["place"]) if again else self._made["place"]
        self._made["place"] += not again
        version = VERSIONS[number % len(VERSIONS)]
        of = self._body(version, "Location")
        evses = [self._evse(version, number, nth) for nth in range(1 if again else 2 + number % 2)]
        of |= {"id": f"L{number}", "name": f"Place {self._dice.randrange(1000)}", "evses": evses}
        return self._said(version, Module.LOCATIONS, Verb.PUT, of, f"L{number}")

    def _evse(self, version: str, number: int, nth: int) -> dict[str, Any]:
        of = self._body(version, "EVSE")
        of |= {"uid": f"L{number}-{nth}", "evse_id": f"NL*TNM*EL{number}*{nth}", "status": self._dice.choice(STATUSES)}
        return of

    def _at_an_evse(self) -> Entry:
        number = self._dice.randrange(self._made["place"])
        version = VERSIONS[number % len(VERSIONS)]
        uid, draw = f"L{number}-{self._dice.randrange(3)}", self._dice.random()
        if draw < 0.85:
            status = {"status": self._dice.choice(STATUSES)}
            return self._said(version, Module.LOCATIONS, Verb.PATCH, self._dated(version, status), f"L{number}", uid)
        if draw < 0.92:
            of = self._evse(version, number, int(uid[-1]))
            return self._said(version, Module.LOCATIONS, Verb.PUT, of, f"L{number}", uid)
        if draw < 0.96:
            return self._said(version, Module.LOCATIONS, Verb.PUT, self._body(version, "Connector"), f"L{number}", uid, "1")
        change = self._dated(version, {"name": f"Place {self._dice.randrange(1000)}"})
        return self._said(version, Module.LOCATIONS, Verb.PATCH, change, f"L{number}")

    # --- sessions and CDRs ---

    def _charging(self) -> Iterator[Entry]:
        """The next event of a session: a PUT, PATCHes of which some come late, the end, its CDR."""
        slot = self._dice.randrange(200)
        if slot >= len(self._open):
            slot = len(self._open)
            self._open.append([self._made["session"], 0, self._at])
            self._made["session"] += 1
        number, age, begun = self._open[slot]
        self._open[slot][1] += 1
        version = VERSIONS[number % len(VERSIONS)]
        if age == 0 or (age == 5 and number % 3 == 0):
            yield self._said(version, Module.SESSIONS, Verb.PUT, self._session(version, number, begun, age), f"s{number}")
        elif age < 6:
            yield self._said(version, Module.SESSIONS, Verb.PATCH, self._change(version, age), f"s{number}")
        else:
            self._open[slot] = [self._made["session"], 0, self._at]
            self._made["session"] += 1
            yield from self._bills(version, number, begun)

    def _session(self, version: str, number: int, begun: Instant, age: int) -> dict[str, Any]:
        of = self._body(version, "Session")
        start = "start_datetime" if version in OLDER else "start_date_time"
        of |= {"id": f"s{number}", start: date_time(begun), "kwh": self._amount(version, age), "status": "ACTIVE"}
        of["charging_periods"] = [self._period(version, begun)]
        for end in ("end_datetime", "end_date_time"):
            of.pop(end, None)
        self._put_at(version, of, number)
        return of

    def _change(self, version: str, age: int) -> dict[str, Any]:
        if age == 5:
            return self._dated(version, {"status": "COMPLETED", "kwh": self._amount(version, age)})
        late = -30 * _SECOND if self._dice.random() < 0.1 else 0
        change = {"kwh": self._amount(version, age)}
        if self._dice.random() < 0.6:
            change["charging_periods"] = [self._period(version, self._at + late)]
        return self._dated(version, change, late)

    def _bills(self, version: str, number: int, begun: Instant) -> Iterator[Entry]:
        of = self._body(version, "CDR")
        of |= {"id": f"c{number}", "start_date_time": date_time(begun), "total_cost": self._cost(version, number)}
        of["stop_date_time" if version in OLDER else "end_date_time"] = date_time(self._at)
        if version not in OLDER and number % 4:
            of["session_id"] = f"s{number}"
        else:
            of.pop("session_id", None)  # whose it is, nobody says
        self._put_at(version, of, number)
        yield self._said(version, Module.CDRS, Verb.POST, of)
        if version not in OLDER and number % 10 == 1:
            back = of | {"id": f"c{number}-credit", "credit": True, "credit_reference_id": f"c{number}"}
            yield self._said(version, Module.CDRS, Verb.POST, back | {"total_cost": self._cost(version, -number)})

    def _put_at(self, version: str, of: dict[str, Any], number: int) -> None:
        """Say where it charges: one of the places that are known."""
        place, owner = number % self._made["place"], f"L{number % self._made['place']}"
        uid = f"L{place}-0"
        if version in OLDER:
            location = self._body(version, "Location")
            of["location"] = location | {"id": owner, "evses": [location["evses"][0] | {"uid": uid}]}
        elif "cdr_location" in of:
            of["cdr_location"] = of["cdr_location"] | {"id": owner, "evse_uid": uid}
        else:
            of |= {"location_id": owner, "evse_uid": uid}

    # --- tokens and tariffs ---

    def _token(self) -> Entry:
        again = self._made["token"] > 20 and self._dice.random() < 0.5
        number = self._dice.randrange(self._made["token"]) if again else self._made["token"]
        self._made["token"] += not again
        version = VERSIONS[number % len(VERSIONS)]
        valid = self._dice.random() < 0.8
        if again and self._dice.random() < 0.5:
            change = self._dated(version, {"valid": valid})
            return self._said(version, Module.TOKENS, Verb.PATCH, change, f"U{number}", "RFID")
        of = self._body(version, "Token") | {"uid": f"U{number}", "valid": valid}
        return self._said(version, Module.TOKENS, Verb.PUT, of, f"U{number}", "RFID")

    def _tariff(self) -> Entry:
        number = self._dice.randrange(200)
        version = VERSIONS[number % len(VERSIONS)]
        if self._dice.random() < 0.1:
            return self._said(version, Module.TARIFFS, Verb.DELETE, {}, f"T{number}")
        currency = self._dice.choice(("EUR", "SEK", "NOK"))
        of = self._body(version, "Tariff") | {"id": f"T{number}", "currency": currency}
        return self._said(version, Module.TARIFFS, Verb.PUT, of, f"T{number}")

    # --- how a version says it ---

    def _body(self, version: str, name: str) -> dict[str, Any]:
        """Return a clean object, last updated now; what is nested in it is shared."""
        if (version, name) not in self._templates:
            of_its_own = name in {"EVSE", "Connector"}
            of = older_sample(version, name) if version in OLDER or not of_its_own else _nested(version, name)
            self._templates[version, name] = of if version in OLDER or of_its_own else sample(version, name)
        return self._dated(version, dict(self._templates[version, name]))

    def _dated(self, version: str, of: dict[str, Any], late: int = 0) -> dict[str, Any]:
        if version != "2.0":  # which has no last_updated
            of["last_updated"] = date_time((self._at + late) // _SECOND * _SECOND)
        return of

    def _amount(self, version: str, age: int) -> Any:
        return f"{age}.5" if version == "2.0" else age + 0.5

    def _cost(self, version: str, cents: int) -> Any:
        match version:
            case "2.0":
                return f"{cents / 100:.2f}"
            case "2.1.1":
                return cents / 100
            case "2.3.0":
                return {"before_taxes": cents / 100}
            case _:
                return {"excl_vat": cents / 100}

    def _period(self, version: str, at: Instant) -> dict[str, Any]:
        volume = self._amount(version, self._dice.randrange(9))
        return {"start_date_time": date_time(at // _SECOND * _SECOND), "dimensions": [{"type": "ENERGY", "volume": volume}]}

    def _said(self, version: str, module: Module, verb: Verb, of: dict[str, Any], *ids: str) -> Entry:
        """Return the entry of a push at this instant."""
        is_token = module is Module.TOKENS
        party = "DE*MSP" if is_token else OWNER
        # A POST names its owner itself, from 2.2 on.
        told = None if module is Module.CDRS and version not in OLDER else party
        circumstances = Circumstances(connection="msp" if is_token else "cpo", origin="push", received_at=self._at)
        body = b"" if verb is Verb.DELETE else _json.encode(of)
        made: Admitted = admit(DIALECTS[version], module, verb, body, circumstances, party=told, ids=ids, owns=lambda _: True)
        if version in OLDER and module in {Module.SESSIONS, Module.CDRS}:
            made = addressed(made, "DE*MSP")  # as the contract tells
        self._recent = [*self._recent[-20:], made.entry]
        return made.entry


def _nested(version: str, name: str) -> dict[str, Any]:
    """Return an EVSE or a Connector as it stands in the version's Location."""
    (evse,) = sample(version, "Location")["evses"]
    return dict(evse if name == "EVSE" else evse["connectors"][0])
