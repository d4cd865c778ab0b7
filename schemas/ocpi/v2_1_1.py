"""OCPI 2.1.1: its object tables as differences to those of 2.2.1, and how its objects become canonical and come back.

Source: OCPI 2.1.1 mod_sessions, mod_cdrs, mod_locations, mod_tariffs, mod_tokens; requirements 5.1 to 5.6.
"""

import re
from collections.abc import Mapping
from decimal import Context, Decimal
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from schemas import codec
from schemas.events import Document
from schemas.ocpi import v2_2_1
from schemas.ocpi.checks import OLDER_SENSE
from schemas.ocpi.declared import Withheld
from schemas.ocpi.dialect import NOTHING_BESIDE, Beside, Dialect
from schemas.ocpi.older import NA, Down, Fields, Lowering, Objects, Older, Up, Way
from schemas.ocpi.shelf import SHELVES, has_no_shelf
from schemas.ocpi.spec import Spec
from schemas.ocpi.zones import main_zone
from schemas.types import Instant, Json, Loss, date_time, identity, instant


def dialect() -> Dialect:
    """Return the version as documented by its edition d2."""
    return Older(
        version="2.1.1",
        edition="d2",
        revision=1,
        objects=Objects211("2.1.1", SPEC),
        patched=PATCHED,
        upserted={"Location": {"evses": "EVSE"}, "EVSE": {"connectors": "Connector"}},
        sense=OLDER_SENSE,
    )


PATCHED: Final = v2_2_1.PATCHED | {"Tariff"}
"""The objects that can be PATCHed."""

SELECTION: Final = "selection"
"""On the shelf of a Tariff: how the version that it came in selects its elements."""

LOCATION_TYPES: Final = frozenset({"OTHER", "UNKNOWN"})
"""The values of LocationType that say nothing of the parking, so that the canonical Location has no parking_type."""

CARDS: Final = dict.fromkeys(("CHIP_CARD_SUPPORT", "CONTACTLESS_CARD_SUPPORT", "DEBIT_CARD_PAYABLE"), "CREDIT_CARD_PAYABLE")
"""Capabilities of later versions, and the one that says to older ones that cards are taken."""


def selection(tariff: Mapping[str, object]) -> Literal["dimension", "element"]:
    """Return what is selected of a canonical Tariff: for each dimension the first element that fits, or one whole element.

    Source: OCPI 2.2 mod_tariffs, Tariff element; 2.1.1 and 2.0 mod_tariffs, TariffElement.
    """
    return "element" if any(field.startswith(SHELVES) and field.endswith("/" + SELECTION) for field in tariff) else "dimension"


class Objects211(Objects):
    """The objects of 2.1.1. OCPI 2.0 writes its numbers in another way and has no last_updated: `number`, `figure`, `stamp`."""

    unnamed: Final = Loss("/cdr_token", "defaulted", "only the contract is named: not the token, nor whose it is")

    def __init__(self, version: str, spec: Spec) -> None:
        super().__init__(version, spec)
        self.ways = {
            "Session": Way(self.lift_session, self.lower_session, in_texts=True),
            "CDR": Way(self.lift_cdr, self.lower_cdr),
            "Tariff": Way(self.lift_tariff, self.lower_tariff),
            "Token": Way(self.lift_token, self.lower_token),
            "Location": Way(self.lift_location, self.lower_location),
            "EVSE": Way(self.lift_evse, self.lower_evse),
            "Connector": Way(self.lift_connector, self.lower_connector),
        }
        self.lift_clean = {"Session": self.lift_clean_session}
        # A page of Sessions has few places, and one place costs as much as the Session around it.
        self._remembered_place = lru_cache(maxsize=2048)(self._place_text)
        self._location_member = f'"{self.prefix}location"'.encode()

    # What 2.0 has in another way.

    def number(self, value: Json) -> Json:
        """Return a number as it was received, as one."""
        return value

    def figure(self, value: Json) -> Json:
        """Return a number as this version writes it."""
        return value

    def figure_text(self, text: Raw) -> Raw:
        """Return the JSON text of a number as this version writes it."""
        return text

    def stamp(self, of: Fields, up: Up) -> None:
        """Add the last_updated that this version's objects lack."""

    # Sessions

    def lift_session(self, of: Fields, up: Up, at: str) -> None:
        """Make the fields canonical."""
        self.shelve("Session", of)
        _rename(of, "start_datetime", "start_date_time")
        _rename(of, "end_datetime", "end_date_time")
        self._lift_contract(of, up)
        if "location" in of:
            place = of.pop("location")
            self.keep(of, "location", place)
            of |= self._place_ids(place, up)
        if "kwh" in of:
            of["kwh"] = self.number(of["kwh"])
        self._lift_cost(of)
        self._lift_periods(of, up)
        self.own(of, up)
        self.stamp(of, up)

    def lift_clean_session(self, clean: Any, body: bytes, up: Up) -> bytes | None:
        """Do what `lift_session` does, in the text: in clean objects a quoted name before a colon can only be a member's."""
        place = clean.location
        evses = place.evses
        if not evses or len(evses) > 1 or len(evses[0].connectors) > 1 or b'"FLAT"' in body:
            return None
        # A text that is the name of a member would be found first, or a second time.
        begun = body.split(_START)
        placed = b'"start_date_time"'.join(begun).split(_LOCATION)
        if len(begun) != 2 or len(placed) != 2:
            return None
        body = self._location_member.join(placed)
        if clean.end_datetime is not UNSET:
            ended = body.split(_END)
            if len(ended) != 2:
                return None
            body = b'"end_date_time"'.join(ended)
        at = body.find(_AUTH_ID)
        named = _CONTRACT.match(body, at)
        if named is None:
            return None
        body = b'%b%b"contract_id":%b}%b' % (body[:at], _UNNAMED_TEXT, named[1], body[named.end() :])
        if clean.total_cost is not UNSET and clean.total_cost is not None:
            at = body.find(_TOTAL_COST)
            cost = _COST.match(body, at)
            if cost is None:
                return None
            body = b'%b"total_cost":{"before_taxes":%b,"taxes":[]}%b' % (body[:at], cost[1], body[cost.end() :])
        up.losses.append(self.unnamed)
        evse = evses[0]
        added = '{"location_id":"%s","evse_uid":"%s","connector_id":"%s",' % (place.id, evse.uid, evse.connectors[0].id)  # noqa: UP031
        if up.owner is not None:
            added += _owner_text(up.owner)
        return body.replace(b"{", added.encode(), 1)

    def lower_session(self, of: Document, down: Down, at: str) -> None:
        """Make the fields, which are texts, this version's. Raises Withheld where its Location is not known."""
        low = self.begin("Session", of, down, at)
        _rename(of, "start_date_time", "start_datetime")
        _rename(of, "end_date_time", "end_datetime")
        if "cdr_token" in of:
            known = _cdr_token.decode(of.pop("cdr_token"))
            of["auth_id"] = known.contract_id
            self._note_token(known.uid, down)
        ids = tuple(of.pop(field, _NULL) for field in _PLACE_IDS)
        given = low.shelf.get("location")
        if given is not None and _same_place(given, ids):
            of["location"] = given
        else:
            of["location"] = self._place_of_session(tuple(map(_text.decode, ids)), down)
        if "kwh" in of:
            of["kwh"] = self.figure_text(of["kwh"])
        if of.get("total_cost", _NULL) != _NULL:
            cost = _price.decode(of["total_cost"])
            of["total_cost"] = self.figure_text(cost.before_taxes)
            if cost.taxes:
                down.lost("/total_cost/taxes", f"OCPI {self.version} has costs before taxes alone")
        if "status" in of and _text.decode(of["status"]) == "RESERVATION":
            of["status"] = Raw(b'"PENDING"')
            low.lost("status", "that the Session is a reservation; it says PENDING")
        if "auth_method" in of and _text.decode(of["auth_method"]) == "COMMAND":
            of["auth_method"] = Raw(b'"AUTH_REQUEST"')
            low.lost("auth_method", "COMMAND; it says AUTH_REQUEST")
        if of.get("charging_periods", _NULL) != _NULL:
            of["charging_periods"] = self._lower_period_texts(of["charging_periods"], low)
        low.note_length("id")
        low.finish()

    def _lift_contract(self, of: Fields, up: Up) -> None:
        if "auth_id" in of:
            of["cdr_token"] = {**_UNNAMED, "contract_id": of.pop("auth_id")}
            up.losses.append(self.unnamed)

    def _note_token(self, uid: Json, down: Down) -> None:
        if uid != NA:
            down.lost("/cdr_token", f"uid, type and party of the token: OCPI {self.version} names its contract")

    def _lift_cost(self, of: Fields) -> None:
        if of.get("total_cost") is not None:
            of["total_cost"] = {"before_taxes": self.number(of["total_cost"]), "taxes": []}

    def _place_ids(self, place: Fields, up: Up) -> Fields:
        """Return the ids of a Location, of the EVSE and of the Connector in it."""
        evses = place.get("evses") or []
        connectors = evses[0]["connectors"] if evses else []
        if not evses:
            up.defaulted("/evse_uid", "the location has no EVSE")
        elif len(evses) > 1 or len(connectors) > 1:
            up.lost("/location/evses", "more than one EVSE or Connector; the first is taken")
        return {
            "location_id": place["id"],
            "evse_uid": evses[0]["uid"] if evses else NA,
            "connector_id": connectors[0]["id"] if connectors else NA,
        }

    def _place_of_session(self, ids: tuple[str, ...], down: Down) -> Raw:
        """Return the Location that stands beside, with nothing but the EVSE and the Connector. Raises Withheld."""
        location = down.beside.location
        if location is None:
            raise Withheld(f"OCPI {self.version} has the Location within the Session, and this one is not known")
        read = self._remembered_place if len(location) <= _REMEMBERED_BYTES else self._place_text
        location_id, evse_uid, connector_id = map(identity, ids)
        text, losses, down.brings_shelves = read(location, location_id, evse_uid, connector_id)
        if down.beside.tariffs and any(loss.pointer.endswith("/tariff_ids") for loss in losses):
            # Which of a Connector's tariffs is given depends on them, and on the time.
            text, losses, down.brings_shelves = self._place_text(location, location_id, evse_uid, connector_id, down.beside)
        down.losses += losses
        return text

    def _place_text(
        self, location: bytes, location_id: str, evse_uid: str, connector_id: str, beside: Beside = NOTHING_BESIDE
    ) -> tuple[Raw, list[Loss], bool]:
        place: Fields = _generic.decode(location)
        place["evses"] = [
            {**evse, "connectors": connectors}
            for evse in place.get("evses") or []
            if identity(evse["uid"]) == evse_uid
            if (connectors := [one for one in evse["connectors"] if identity(one["id"]) == connector_id])
        ][:1]
        if identity(place["id"]) != location_id or not place["evses"]:
            raise Withheld(f"OCPI {self.version} has the Connector within the Session, and this one is not known")
        down = Down(beside)
        self.lower_place(place, down, "/location")
        if not place["evses"]:
            raise Withheld(f"OCPI {self.version} has the Connector within the Session, and cannot say this one")
        text = codec.encode(place)
        return Raw(text), down.losses, not has_no_shelf(text)

    # Charging periods

    def _lift_periods(self, of: Fields, up: Up) -> None:
        periods = of.get("charging_periods")
        if periods:
            lifted, exact = self._lifted_periods(periods, up)
            if not exact:
                self.keep(of, "charging_periods", periods)
            of["charging_periods"] = lifted

    def _lifted_periods(self, periods: list[Fields], up: Up) -> tuple[list[Fields], bool]:
        reserved = self.reserved["ChargingPeriod"]
        lifted, exact = [], True
        for index, period in enumerate(periods):
            dimensions = []
            for number, dimension in enumerate(period["dimensions"]):
                if dimension["type"] == "FLAT":
                    up.lost(f"/charging_periods/{index}/dimensions/{number}", "FLAT is no volume")
                    exact = False
                else:
                    dimensions.append({**dimension, "volume": self.number(dimension["volume"])})
            kept = {field: value for field, value in period.items() if field not in reserved}
            exact = exact and len(kept) == len(period)
            if dimensions:
                lifted.append({**kept, "dimensions": dimensions})
        return lifted, exact

    def _lower_period_texts(self, text: Raw, low: Lowering) -> Raw:
        if "charging_periods" in low.shelf:
            return Raw(codec.encode(self._lowered_periods(_generic.decode(text), low, low.shelf["charging_periods"])))
        try:
            periods = _periods.decode(text)
        except msgspec.ValidationError:  # unknown fields
            return Raw(codec.encode(self._lowered_periods(_generic.decode(text), low, None)))
        known = self.known["CdrDimensionType"]
        if not known.issuperset([dimension.type for period in periods for dimension in period.dimensions]):
            return Raw(codec.encode(self._lowered_periods(_generic.decode(text), low, None)))
        named = False
        for period in periods:
            if period.tariff_id is not UNSET:
                named = named or period.tariff_id != _NULL
                period.tariff_id = UNSET
            for dimension in period.dimensions:
                dimension.volume = self.figure_text(dimension.volume)
        if named:
            low.lost("charging_periods", "which tariff each of the periods has")
        return Raw(codec.encode(periods))

    def _lowered_periods(self, periods: list[Fields], low: Lowering, shelved: Any) -> list[Fields]:
        if shelved is not None:
            given: list[Fields] = _generic.decode(shelved) if isinstance(shelved, Raw) else shelved
            if given and self._lifted_periods(given, Up(None, None, whole=True))[0] == periods:
                return given
        known, reserved = self.known["CdrDimensionType"], self.reserved["ChargingPeriod"]
        lowered = []
        named = False
        for index, period in enumerate(periods):
            dimensions = []
            for number, dimension in enumerate(period["dimensions"]):
                if dimension["type"] in known:
                    dimensions.append({**dimension, "volume": self.figure(dimension["volume"])})
                else:
                    where = f"charging_periods/{index}/dimensions/{number}"
                    low.lost(where, f"OCPI {self.version} has no CdrDimensionType {dimension['type']}")
            named = named or period.get("tariff_id") is not None
            kept = {field: value for field, value in period.items() if field not in reserved}
            if dimensions:
                lowered.append({**kept, "dimensions": dimensions})
            else:
                low.lost(f"charging_periods/{index}", "nothing of the period can be said")
        if named:
            low.lost("charging_periods", "which tariff each of the periods has")
        return lowered

    # CDRs

    def lift_cdr(self, of: Fields, up: Up, at: str) -> None:
        """Make the fields canonical."""
        self.shelve("CDR", of)
        self._lift_totals(of, up)
        _rename(of, "stop_date_time", "end_date_time")
        self._lift_contract(of, up)
        place = of.pop("location")
        self.keep(of, "location", place)
        of["cdr_location"] = self._flat(place, up)
        self._lift_cost(of)
        self._lift_periods(of, up)
        for index, tariff in enumerate(of.get("tariffs") or []):
            self.lift_tariff(tariff, up, f"{at}/tariffs/{index}")
        self.own(of, up)
        self.stamp(of, up)

    def _lift_totals(self, of: Fields, up: Up) -> None:
        """Add what a CDR says of its whole, where the version says it in another way."""

    def _lower_totals(self, of: Fields, low: Lowering) -> None:
        """Say what a CDR says of its whole in the version's way."""

    def lower_cdr(self, of: Fields, down: Down, at: str) -> None:
        """Make the fields this version's."""
        if of.get("credit") is True:
            raise Withheld(f"OCPI {self.version} has no Credit CDR")
        low = self.begin("CDR", of, down, at)
        self._lower_totals(of, low)
        _rename(of, "end_date_time", "stop_date_time")
        token = of.pop("cdr_token")
        of["auth_id"] = token["contract_id"]
        self._note_token(token.get("uid"), down)
        of["location"] = self._unflat(of, low)
        cost = of["total_cost"]
        of["total_cost"] = self.figure(cost["before_taxes"])
        if cost.get("taxes"):
            low.lost("total_cost/taxes", f"OCPI {self.version} has costs before taxes alone")
        if of["auth_method"] == "COMMAND":
            of["auth_method"] = "AUTH_REQUEST"
            low.lost("auth_method", "COMMAND; it says AUTH_REQUEST")
        of["charging_periods"] = self._lowered_periods(of["charging_periods"], low, low.shelf.get("charging_periods"))
        if not of["charging_periods"]:
            raise Withheld(f"OCPI {self.version} can say nothing of its charging_periods")
        if of.get("tariffs"):
            of["tariffs"] = self._lowered_tariffs(of["tariffs"], low)
        if of.pop("signed_data", None) is not None:
            low.lost("signed_data", "signed meter readings, which calibration law may ask for")
        low.note_length("id")
        low.finish()

    def _flat(self, place: Fields, up: Up) -> Fields:
        """Return a CDR's Location as CdrLocation."""
        ids = self._place_ids(place, up)
        evses = place.get("evses") or [{}]
        connectors = evses[0].get("connectors") or [{}]
        if not connectors[0]:
            up.defaulted("/cdr_location/connector_standard", "no Connector is named: what stands of it is to be ignored")
        evse_id = evses[0].get("evse_id")
        if evses[0] and evse_id is None:
            up.defaulted("/cdr_location/evse_id", "the EVSE has none")
        return {
            **{field: place[field] for field in _FLAT if field in place},
            "evse_uid": ids["evse_uid"],
            "evse_id": NA if evse_id is None else evse_id,
            "connector_id": ids["connector_id"],
            "connector_standard": connectors[0].get("standard", "IEC_62196_T2"),
            "connector_format": connectors[0].get("format", "SOCKET"),
            "connector_power_type": connectors[0].get("power_type", "AC_3_PHASE"),
        }

    def _unflat(self, of: Fields, low: Lowering) -> Fields:
        """Return a CDR's CdrLocation as Location."""
        flat: Fields = of.pop("cdr_location")
        given: Fields | None = low.shelf.get("location")
        if given is not None and self._flat(given, Up(None, None, whole=True)) == flat:
            return given
        start = of["start_date_time"]
        place = {field: flat[field] for field in (*_FLAT, "state") if field in flat} | {"last_updated": start}
        if flat["evse_uid"] != NA and flat["connector_id"] != NA:
            voltage, amperage = _ratings(flat, low.down.beside.location)
            if voltage is None or amperage is None:
                low.defaulted("location/evses/0/connectors/0", "voltage and amperage are 0: a CDR does not say them")
            connector = {
                "id": flat["connector_id"],
                "standard": flat["connector_standard"],
                "format": flat["connector_format"],
                "power_type": flat["connector_power_type"],
                "max_voltage": voltage or 0,
                "max_amperage": amperage or 0,
                "last_updated": start,
            }
            evse = {"uid": flat["evse_uid"], "status": "UNKNOWN", "connectors": [connector], "last_updated": start}
            if flat.get("evse_id") not in (None, NA):
                evse["evse_id"] = flat["evse_id"]
            place["evses"] = [evse]
        self.lower_place(place, low.down, f"{low.at}/location")
        return place

    def _lowered_tariffs(self, tariffs: list[Fields], low: Lowering) -> list[Fields]:
        lowered = []
        for index, tariff in enumerate(tariffs):
            where, before = f"{low.at}/tariffs/{index}", len(low.down.losses)
            try:
                self._lower_tariff(tariff, low.down, where)
            except Withheld as reason:
                del low.down.losses[before:]
                low.lost(f"tariffs/{index}", str(reason))
            else:
                lowered.append(tariff)
        return lowered

    # Tariffs

    def lift_tariff(self, of: Fields, up: Up, at: str) -> None:
        """Make the fields canonical."""
        self.shelve("Tariff", of)
        if "elements" in of:
            elements = of["elements"]
            of["elements"], exact = self._lifted_elements(elements, up, at)
            if not exact:
                self.keep(of, "elements", elements)
            self.keep(of, SELECTION, "element")
        self._lift_energy_mix(of)
        if up.whole:
            of["tax_included"] = "NO"
            up.defaulted(f"{at}/tax_included", "prices of this version are without VAT")
        self.own(of, up)
        self.stamp(of, up)

    def lower_tariff(self, of: Fields, down: Down, at: str) -> None:
        """Make the fields this version's. Raises Withheld where they would say another price, or at another time."""
        start, end, now = of.get("start_date_time"), of.get("end_date_time"), down.beside.now
        if start is not None or end is not None:
            if now is None:
                raise Withheld(f"OCPI {self.version} cannot say when a Tariff is valid")
            if (start is not None and now < instant(start)) or (end is not None and now >= instant(end)):
                raise Withheld(f"OCPI {self.version} cannot say when a Tariff is valid, and this one is not at {date_time(now)}")
        self._lower_tariff(of, down, at)

    def _lower_tariff(self, of: Fields, down: Down, at: str) -> None:
        low = self.begin("Tariff", of, down, at)
        kind = of.pop("type", None)
        if kind not in (None, "REGULAR"):
            raise Withheld(f"OCPI {self.version} has no types of Tariff, and this one is {kind}")
        elements: list[Fields] = of["elements"]
        included = of.pop("tax_included", "NO")
        given = low.shelf.get("elements")
        if given is not None and self._lifted_elements(given, Up(None, None, whole=True), "")[0] == elements:
            of["elements"] = given
        else:
            of["elements"] = self._lowered_elements(elements, low, included=included == "YES")
            if not of["elements"] and not (of.get("tariff_alt_text") or of.get("tariff_alt_url")):
                raise Withheld(f"OCPI {self.version} can say none of its elements, and there is no text instead")
        if included == "N/A":
            low.lost("tax_included", "N/A: that taxes do not apply")
        if SELECTION not in low.shelf and len(elements) > 1:
            low.lost("elements", "that elements are selected for each dimension by itself")
        self._lower_energy_mix(low)
        low.note_length("id")
        low.finish()

    def _lifted_elements(self, elements: list[Fields], up: Up, at: str) -> tuple[list[Fields], bool]:
        lifted, exact = [], True
        for index, element in enumerate(elements):
            components = []
            for number, component in enumerate(element["price_components"]):
                if component["type"] not in _PRICED:
                    where = f"{at}/elements/{index}/price_components/{number}"
                    up.lost(where, f"a price of {component['type']}, for which the canonical form has none")
                    exact = False
                    continue
                kept = {name: value for name, value in component.items() if name not in self.reserved["PriceComponent"]}
                exact = exact and len(kept) == len(component)
                components.append({**kept, "price": self.number(component["price"])})
            if not components:
                continue
            new = {**element, "price_components": components}
            if element.get("restrictions") is not None:
                reserved = self.reserved["TariffRestrictions"]
                new["restrictions"] = {
                    name: self.number(value) if name in _FIGURES and value is not None else value
                    for name, value in element["restrictions"].items()
                    if name not in reserved
                }
                exact = exact and len(new["restrictions"]) == len(element["restrictions"])
            lifted.append(new)
        return lifted, exact

    def _lowered_elements(self, elements: list[Fields], low: Lowering, *, included: bool) -> list[Fields]:
        lowered = []
        for index, element in enumerate(elements):
            restrictions: Fields = element.get("restrictions") or {}
            foreign = [name for name in _FOREIGN_RESTRICTIONS if restrictions.get(name) is not None]
            if foreign:
                low.lost(f"elements/{index}", f"an element that depends on {', '.join(foreign)}")
                continue
            components = [
                self._lowered_component(component, low, f"elements/{index}/price_components/{number}", included=included)
                for number, component in enumerate(element["price_components"])
            ]
            new = {**element, "price_components": components}
            if restrictions:
                new["restrictions"] = {
                    name: self.figure(value) if name in _FIGURES and value is not None else value
                    for name, value in restrictions.items()
                    if name not in _FOREIGN_RESTRICTIONS
                }
            lowered.append(new)
        return lowered

    def _lowered_component(self, component: Fields, low: Lowering, where: str, *, included: bool) -> Fields:
        new = {**component}
        vat = new.pop("vat", None)
        if vat is not None:
            low.lost(f"{where}/vat", self.foreign)
        if included:
            if vat is None:
                raise Withheld(f"OCPI {self.version} has prices without taxes, and the taxes in these are not known")
            net = _exact.divide(Decimal(new["price"]), 1 + Decimal(vat) / 100).quantize(Decimal("0.000001"))
            low.lost(f"{where}/price", f"the price with taxes, {new['price']}; it is given without, rounded to 6 decimals")
            new["price"] = net
        new["price"] = self.figure(new["price"])
        return new

    # Locations

    def lift_location(self, of: Fields, up: Up, at: str) -> None:
        """Make the fields canonical."""
        self.shelve("Location", of)
        self.check_length(of, "id", 36, up, at)
        if "type" in of:
            kind = of.pop("type")
            if kind not in LOCATION_TYPES:
                of["parking_type"] = kind
            elif not up.whole:
                of["parking_type"] = None
            if kind == "OTHER" or kind not in self.known["LocationType"]:
                self.keep(of, "type", kind)
        self._keep_long(of, "address")
        self._keep_six(of, "coordinates")
        self._keep_six(of, "related_locations")
        self.listed(of, "facilities", "Facility")
        if of.get("opening_times") is not None:
            hours = of["opening_times"]
            of["opening_times"] = _lifted_hours(hours)
            if of["opening_times"] != hours or (hours["twentyfourseven"] and hours.get("regular_hours")):
                self.keep(of, "opening_times", hours)
            if hours.get("twentyfourseven") is None and not hours.get("regular_hours"):
                up.defaulted(f"{at}/opening_times/twentyfourseven", "neither that nor regular hours are said")
        self._lift_energy_mix(of)
        self._lift_zone(of, up, at)
        if up.whole:
            of["publish"] = True
            up.defaulted(f"{at}/publish", f"every Location of OCPI {self.version} is public")
        for index, evse in enumerate(of.get("evses") or []):
            self.lift_evse(evse, up, f"{at}/evses/{index}")
        self.own(of, up)
        self.stamp(of, up)

    def lower_location(self, of: Fields, down: Down, at: str) -> None:
        """Make the fields this version's. Raises Withheld where the Location is not public."""
        if of.get("publish") is False:
            raise Withheld(f"OCPI {self.version} has public Locations alone, and this one is not to be published")
        self.lower_place(of, down, at)

    def lower_place(self, of: Fields, down: Down, at: str) -> None:
        """Make the fields this version's, of a Location that is told to somebody whom it concerns."""
        low = self.begin("Location", of, down, at)
        of.pop("publish", None)
        of["type"] = self._lowered_type(of.pop("parking_type", None), low)
        low.cut("address", 45)
        if of.get("postal_code") is None:
            of["postal_code"] = ""
            low.defaulted("postal_code", "it is not said")
        self._lower_six(low, "coordinates")
        self._lower_six(low, "related_locations")
        if "Facility" in self.known:
            low.narrow("facilities", "Facility")
        self._lower_zone(of, low)
        hours, given = of.get("opening_times"), low.shelf.get("opening_times")
        if hours and given is not None and _lifted_hours(given) == hours:
            of["opening_times"] = given
        elif hours and hours["twentyfourseven"] and hours.get("regular_hours"):
            of["opening_times"] = {name: value for name, value in hours.items() if name != "regular_hours"}
            low.lost("opening_times/regular_hours", "regular hours beside 24/7")
        self._lower_energy_mix(low)
        if of.get("evses"):
            of["evses"] = self._lowered_parts(of["evses"], "evses", low)
        low.note_length("id")
        low.finish()

    def _lowered_type(self, kind: Json, low: Lowering) -> Json:
        given: Json = low.shelf.get("type")
        if given is not None and (None if given in LOCATION_TYPES else given) == kind:
            return given
        if kind is None:
            return "UNKNOWN"
        if kind in self.known["LocationType"]:
            return kind
        low.lost("parking_type", f"OCPI {self.version} has no LocationType {kind}; it says OTHER")
        return "OTHER"

    def _lift_zone(self, of: Fields, up: Up, at: str) -> None:
        if of.get("time_zone") is not None:
            return
        said = "time_zone" in of
        if not up.whole:
            if said:
                del of["time_zone"]
                up.lost(f"{at}/time_zone", "that it is not said; the zone that stands is kept")
            return
        if said:
            self.keep(of, "time_zone", None)
        else:
            of[f"{self.absent}time_zone"] = True
        zone = main_zone(of["country"])
        of["time_zone"] = zone or NA
        up.defaulted(f"{at}/time_zone", f"the main zone of {of['country']}" if zone else "not said, and the country's is not known")

    def _lower_zone(self, of: Fields, low: Lowering) -> None:
        derived = of.get("time_zone") == (main_zone(of.get("country")) or NA)
        if derived and "time_zone" in low.shelf:
            of["time_zone"] = None
        elif derived and "absent/time_zone" in low.shelf:
            del of["time_zone"]

    def lift_evse(self, of: Fields, up: Up, at: str) -> None:
        """Make the fields canonical."""
        self.shelve("EVSE", of)
        self.check_length(of, "uid", 36, up, at)
        self.listed(of, "capabilities", "Capability")
        self.listed(of, "parking_restrictions", "ParkingRestriction")
        self._keep_six(of, "coordinates")
        for index, connector in enumerate(of.get("connectors") or []):
            self.lift_connector(connector, up.of_whole(), f"{at}/connectors/{index}")
        self.stamp(of, up)

    def lower_evse(self, of: Fields, down: Down, at: str) -> None:
        """Make the fields this version's. Raises Withheld where none of its Connectors can be said."""
        low = self.begin("EVSE", of, down, at)
        low.narrow("capabilities", "Capability", CARDS)
        low.narrow("parking_restrictions", "ParkingRestriction")
        self._lower_six(low, "coordinates")
        of["connectors"] = self._lowered_parts(of["connectors"], "connectors", low)
        if not of["connectors"]:
            raise Withheld(f"OCPI {self.version} can say none of its Connectors")
        low.note_length("uid")
        low.finish()

    def lift_connector(self, of: Fields, up: Up, at: str) -> None:
        """Make the fields canonical."""
        self.shelve("Connector", of)
        _rename(of, "voltage", "max_voltage")
        _rename(of, "amperage", "max_amperage")
        if "tariff_id" in of:
            named = of.pop("tariff_id")
            of["tariff_ids"] = None if named is None else [named]
        if "standard" in of and of["standard"] not in self.known["ConnectorType"]:
            self.keep(of, "standard", of["standard"])
        self.stamp(of, up)

    def lower_connector(self, of: Fields, down: Down, at: str) -> None:
        """Make the fields this version's. Raises Withheld where it has no name for the standard."""
        low = self.begin("Connector", of, down, at)
        if of["standard"] not in self.known["ConnectorType"] and not low.keeps("standard"):
            raise Withheld(f"OCPI {self.version} has no ConnectorType {of['standard']}")
        _rename(of, "max_voltage", "voltage")
        _rename(of, "max_amperage", "amperage")
        if of["power_type"] not in self.known["PowerType"]:
            low.lost("power_type", f"OCPI {self.version} has no PowerType {of['power_type']}; it says AC_1_PHASE")
            of["power_type"] = "AC_1_PHASE"
        if "tariff_ids" in of:
            named = of.pop("tariff_ids")
            if named is None:
                of["tariff_id"] = None
            elif named:
                of["tariff_id"] = _chosen(named, down)
                if len(named) > 1:
                    low.lost("tariff_ids", f"all tariffs but {of['tariff_id']}")
        low.note_length("id")
        low.finish()

    def _lowered_parts(self, parts: list[Fields], field: Literal["evses", "connectors"], low: Lowering) -> list[Fields]:
        lower = self.lower_evse if field == "evses" else self.lower_connector
        lowered = []
        for index, part in enumerate(parts):
            before = len(low.down.losses)
            try:
                lower(part, low.down, f"{low.at}/{field}/{index}")
            except Withheld as reason:
                del low.down.losses[before:]
                low.lost(f"{field}/{index}", str(reason))
            else:
                lowered.append(part)
        return lowered

    def _keep_long(self, of: Fields, field: str) -> None:
        if isinstance(of.get(field), str) and len(of[field]) > 45:
            self.keep(of, field, of[field])

    def _keep_six(self, of: Fields, field: str) -> None:
        if of.get(field) and _with_six(of[field]) != of[field]:
            self.keep(of, field, of[field])

    def _lower_six(self, low: Lowering, field: str) -> None:
        value = low.of.get(field)
        if value and not low.keeps(field):
            low.of[field] = _with_six(value)
            if _is_finer(value):
                low.lost(field, f"what is finer than the 6 decimals of OCPI {self.version}")

    # Energy mix, of a Location or a Tariff

    def _lift_energy_mix(self, of: Fields) -> None:
        mix = of.get("energy_mix")
        if mix:
            lifted = _lifted_mix(mix)
            if not self._is_exact(lifted, mix):
                self.keep(of, "energy_mix", mix)
            of["energy_mix"] = lifted

    def _lower_energy_mix(self, low: Lowering) -> None:
        mix, given = low.of.get("energy_mix"), low.shelf.get("energy_mix")
        if not mix or "EnvironmentalImpact" not in self.spec.objects:
            return
        if given and _lifted_mix(given) == mix:
            low.of["energy_mix"] = given
        elif mix.get("environ_impact"):
            low.of["energy_mix"], lost = self._lowered_mix(mix)
            for index, reason in lost:
                low.lost(f"energy_mix/environ_impact/{index}", reason)

    def _is_exact(self, lifted: Fields, mix: Fields) -> bool:
        return "environ_impact" not in mix or self._lowered_mix(lifted)[0] == mix

    def _lowered_mix(self, mix: Fields) -> tuple[Fields, list[tuple[int, str]]]:
        known = self.known["EnvironmentalImpactCategory"]
        lost, impacts = [], []
        for index, impact in enumerate(mix.get("environ_impact") or []):
            if impact["category"] in known:
                new = {name: value for name, value in impact.items() if name not in ("category", "source")}
                impacts.append({"source": impact["category"], **new})
                if "source" in impact:
                    lost.append((index, "an unknown field whose name this version uses itself"))
            else:
                lost.append((index, f"OCPI {self.version} has no EnvironmentalImpactCategory {impact['category']}"))
        return {**mix, "environ_impact": impacts if mix.get("environ_impact") else mix.get("environ_impact")}, lost

    # Tokens

    def lift_token(self, of: Fields, up: Up, at: str) -> None:
        """Make the fields canonical."""
        self.shelve("Token", of)
        _rename(of, "auth_id", "contract_id")
        if "type" in of and of["type"] not in self.known["TokenType"]:
            self.keep(of, "type", of["type"])
        self.own(of, up)
        self.stamp(of, up)

    def lower_token(self, of: Fields, down: Down, at: str) -> None:
        """Make the fields this version's."""
        low = self.begin("Token", of, down, at)
        _rename(of, "contract_id", "auth_id")
        if of["type"] not in self.known["TokenType"] and not low.keeps("type"):
            low.lost("type", f"OCPI {self.version} has no TokenType {of['type']}; it says OTHER, as of others with this uid")
            of["type"] = "OTHER"
        low.note_length("uid")
        low.finish()


class _CdrToken(Struct):
    contract_id: Raw
    uid: str | None = None


class _Price(Struct):
    before_taxes: Raw
    taxes: list[Raw] | None = None


class _Dimension(Struct, forbid_unknown_fields=True):
    type: str
    volume: Raw


class _Period(Struct, forbid_unknown_fields=True, omit_defaults=True):
    start_date_time: Raw
    dimensions: list[_Dimension]
    tariff_id: Raw | UnsetType = UNSET


class _PlaceConnector(Struct):
    id: str


class _PlaceEvse(Struct):
    uid: str
    connectors: list[_PlaceConnector] = []


class _Place(Struct):
    id: str
    evses: list[_PlaceEvse] | None = None


_cdr_token: Final = msgspec.json.Decoder(_CdrToken)
_price: Final = msgspec.json.Decoder(_Price)
_periods: Final = msgspec.json.Decoder(list[_Period])
_place: Final = msgspec.json.Decoder(_Place)
_text: Final = msgspec.json.Decoder(str)
_generic: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(float_hook=Decimal)
_exact: Final = Context(prec=120)
_REMEMBERED_BYTES: Final = 16 * 1024

_NULL: Final = Raw(b"null")
_PLACE_IDS: Final = ("location_id", "evse_uid", "connector_id")
_FLAT: Final = ("id", "name", "address", "city", "postal_code", "country", "coordinates")
"""The fields of a Location that CdrLocation has too, but for state, which no older version has."""
_UNNAMED: Final = {"country_code": NA, "party_id": NA, "uid": NA, "type": "OTHER"}
_PRICED: Final = frozenset({"ENERGY", "FLAT", "PARKING_TIME", "TIME"})
_FIGURES: Final = frozenset({"min_kwh", "max_kwh", "min_power", "max_power"})
_FOREIGN_RESTRICTIONS: Final = ("min_current", "max_current", "reservation", "booking")

_START: Final = b'"start_datetime"'
_END: Final = b'"end_datetime"'
_LOCATION: Final = b'"location"'
_AUTH_ID: Final = b'"auth_id"'
_TOTAL_COST: Final = b'"total_cost"'
_CONTRACT: Final = re.compile(rb'"auth_id"[ \t\n\r]*:[ \t\n\r]*("[^"]*")')
_UNNAMED_TEXT: Final = b'"cdr_token":{"country_code":"#NA","party_id":"#NA","uid":"#NA","type":"OTHER",'
_COST: Final = re.compile(rb'"total_cost"[ \t\n\r]*:[ \t\n\r]*(-?[0-9]+(?:\.[0-9]+)?)')
_DEGREES: Final = re.compile(r"-?[0-9]+\.[0-9]+")


@lru_cache(maxsize=10_000)
def _owner_text(owner: str) -> str:
    country_code, _, party_id = owner.partition("*")
    return f'"country_code":{codec.encode(country_code).decode()},"party_id":{codec.encode(party_id).decode()},'


def _rename(of: dict[str, Any], old: str, new: str) -> None:
    if old in of:
        of[new] = of.pop(old)


def _same_place(given: Raw, ids: tuple[Raw, ...]) -> bool:
    place = _place.decode(given)
    evse = place.evses[0] if place.evses else None
    said = (place.id, evse.uid if evse else NA, evse.connectors[0].id if evse and evse.connectors else NA)
    return all(text != _NULL and one == _text.decode(text) for one, text in zip(said, ids, strict=True))


def _ratings(flat: Fields, location: bytes | None) -> tuple[int | None, int | None]:
    """Return volts and amperes of a CDR's Connector as its Location has them."""
    place: Fields = {} if location is None else _generic.decode(location)
    for evse in place.get("evses") or []:
        if identity(evse["uid"]) == identity(flat["evse_uid"]):
            for connector in evse["connectors"]:
                if identity(connector["id"]) == identity(flat["connector_id"]):
                    return connector["max_voltage"], connector["max_amperage"]
    return None, None


def _chosen(named: list[str], down: Down) -> str:
    """Return the tariff that holds for everybody and now, as far as it is known, else the first."""
    for one in named:
        known = down.beside.tariffs.get(identity(one))
        if known is not None and _is_regular(_generic.decode(known), down.beside.now):
            return one
    return named[0]


def _is_regular(tariff: Fields, now: Instant | None) -> bool:
    if tariff.get("type") not in (None, "REGULAR"):
        return False
    start, end = tariff.get("start_date_time"), tariff.get("end_date_time")
    if start is None and end is None:
        return True
    return now is not None and (start is None or instant(start) <= now) and (end is None or now < instant(end))


def _lifted_hours(hours: Fields) -> Fields:
    return hours if hours.get("twentyfourseven") is not None else {**hours, "twentyfourseven": False}


def _lifted_mix(mix: Fields) -> Fields:
    if not mix.get("environ_impact"):
        return mix
    impacts = [
        {"category": impact["source"], **{name: value for name, value in impact.items() if name not in ("category", "source")}}
        for impact in mix["environ_impact"]
    ]
    return {**mix, "environ_impact": impacts}


def _with_six(place: Any) -> Any:
    """Return a place, or a list of them, with 6 decimals."""
    if isinstance(place, list):
        return [_with_six(one) for one in place]
    return {name: _six(value) if name in ("latitude", "longitude") else value for name, value in place.items()}


def _six(degrees: str) -> str:
    if _DEGREES.fullmatch(degrees) is None:
        return degrees
    decimals = len(degrees.partition(".")[2])
    if decimals <= 6:
        return degrees + "0" * (6 - decimals)
    return str(Decimal(degrees).quantize(Decimal("0.000001")))


def _is_finer(place: Any) -> bool:
    if isinstance(place, list):
        return any(map(_is_finer, place))
    return any(len(place[name].partition(".")[2].rstrip("0")) > 6 for name in ("latitude", "longitude"))


SPEC: Final[Spec] = v2_2_1.SPEC.differing(
    objects={
        "Session": {
            "country_code": None,
            "party_id": None,
            "id": "string(36) 1 key",
            "start_date_time": None,
            "start_datetime": "DateTime 1",
            "end_date_time": None,
            "end_datetime": "DateTime ?",
            "cdr_token": None,
            "auth_id": "string(36) 1",
            "authorization_reference": None,
            "location_id": None,
            "evse_uid": None,
            "connector_id": None,
            "location": "Location 1",
            "total_cost": "number ?",
        },
        "CDR": {
            "country_code": None,
            "party_id": None,
            "id": "CiString(36) 1 key",
            "end_date_time": None,
            "stop_date_time": "DateTime 1",
            "session_id": None,
            "cdr_token": None,
            "auth_id": "string(36) 1",
            "authorization_reference": None,
            "cdr_location": None,
            "location": "Location 1",
            "signed_data": None,
            "total_cost": "number 1",
            "total_fixed_cost": None,
            "total_energy_cost": None,
            "total_time_cost": None,
            "total_parking_cost": None,
            "total_reservation_cost": None,
            "invoice_reference_id": None,
            "credit": None,
            "credit_reference_id": None,
            "home_charging_compensation": None,
        },
        "ChargingPeriod": {"tariff_id": None},
        "Tariff": {
            "country_code": None,
            "party_id": None,
            "id": "string(36) 1 key",
            "type": None,
            "min_price": None,
            "max_price": None,
            "start_date_time": None,
            "end_date_time": None,
        },
        "PriceComponent": {"vat": None},
        "TariffRestrictions": {"min_current": None, "max_current": None, "reservation": None},
        "EnvironmentalImpact": {"category": None, "source": "EnvironmentalImpactCategory 1"},
        "Location": {
            "country_code": None,
            "party_id": None,
            "id": "string(39) 1 key",
            "publish": None,
            "publish_allowed_to": None,
            "parking_type": None,
            "type": "LocationType 1",
            "address": "string(45) 1",
            "postal_code": "string(10) 1",
            "state": None,
            "time_zone": "string(255) ?",
        },
        "EVSE": {"uid": "string(39) 1 key", "evse_id": "string(48) ?"},
        "Connector": {
            "id": "string(36) 1 key",
            "max_voltage": None,
            "voltage": "int 1",
            "max_amperage": None,
            "amperage": "int 1",
            "max_electric_power": None,
            "tariff_ids": None,
            "tariff_id": "string(36) ?",
        },
        "Hours": {"twentyfourseven": "boolean ?"},  # or regular_hours
        "Image": {"type": "string(4) 1"},
        "Token": {
            "country_code": None,
            "party_id": None,
            "uid": "string(36) 1 key",
            "contract_id": None,
            "auth_id": "string(36) 1",
            "group_id": None,
            "default_profile_type": None,
            "energy_contract": None,
        },
        **dict.fromkeys(
            ("CdrToken", "Price", "CdrLocation", "SignedData", "SignedValue", "PublishTokenType", "EnergyContract"),
        ),
    },
    enums={
        "AuthMethod": "AUTH_REQUEST WHITELIST",
        "CdrDimensionType": "ENERGY FLAT MAX_CURRENT MIN_CURRENT PARKING_TIME TIME",
        "Capability": (
            "CHARGING_PROFILE_CAPABLE CREDIT_CARD_PAYABLE REMOTE_START_STOP_CAPABLE RESERVABLE RFID_READER UNLOCK_CAPABLE"
        ),
        "ConnectorType": (
            "CHADEMO DOMESTIC_A DOMESTIC_B DOMESTIC_C DOMESTIC_D DOMESTIC_E DOMESTIC_F DOMESTIC_G DOMESTIC_H DOMESTIC_I "
            "DOMESTIC_J DOMESTIC_K DOMESTIC_L IEC_60309_2_single_16 IEC_60309_2_three_16 IEC_60309_2_three_32 "
            "IEC_60309_2_three_64 IEC_62196_T1 IEC_62196_T1_COMBO IEC_62196_T2 IEC_62196_T2_COMBO IEC_62196_T3A IEC_62196_T3C "
            "TESLA_R TESLA_S"
        ),
        "Facility": (
            "HOTEL RESTAURANT CAFE MALL SUPERMARKET SPORT RECREATION_AREA NATURE MUSEUM BUS_STOP TAXI_STAND TRAIN_STATION "
            "AIRPORT CARPOOL_PARKING FUEL_STATION WIFI"
        ),
        "LocationType": "ON_STREET PARKING_GARAGE UNDERGROUND_GARAGE PARKING_LOT OTHER UNKNOWN",
        "ParkingType": None,
        "PowerType": "AC_1_PHASE AC_3_PHASE DC",
        "ProfileType": None,
        "ReservationRestrictionType": None,
        "SessionStatus": "ACTIVE COMPLETED INVALID PENDING",
        "TariffType": None,
        "TokenType": "OTHER RFID",
    },
    open_enums={*v2_2_1.OPEN_ENUMS, "LocationType"} - {"ParkingType"},
)
