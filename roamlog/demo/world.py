"""The made-up world of the demo: two charge point operators, their sites and prices, and the drivers of two eMSPs.

Parties, companies, streets and numbers are invented; cities, voltages and taxes are not. The same seed is the same world.
"""

import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from msgspec import Struct


class Connector(Struct, frozen=True):
    """A kind of connector and what it gives, in W."""

    standard: str
    format: str
    power_type: str
    max_power_w: int


class Evse(Struct, frozen=True):
    """A charging spot."""

    uid: str
    evse_id: str
    connector: Connector
    meter_id: str


class Site(Struct, frozen=True):
    """A place with EVSEs; coordinates as OCPI writes them."""

    id: str
    name: str
    address: str
    city: str
    postal_code: str
    latitude: str
    longitude: str
    evses: tuple[Evse, ...]


class Tariff(Struct, frozen=True):
    """What charging costs, without VAT, in EUR."""

    id: str
    per_kwh: Decimal
    start_fee: Decimal


class Operator(Struct, frozen=True):
    """A charge point operator."""

    name: str
    country_code: str
    party_id: str
    country: str
    vat_percent: Decimal
    encodes_token: bool
    completes_by_put: float
    sites: tuple[Site, ...]
    slow: Tariff
    fast: Tariff

    @property
    def party(self) -> str:
        """The operator as `NL*WSP`."""
        return f"{self.country_code}*{self.party_id}"

    def tariff(self, connector: Connector) -> Tariff:
        """Return what charging at the connector costs."""
        return self.fast if connector.power_type == "DC" else self.slow


class Provider(Struct, frozen=True):
    """An eMSP."""

    name: str
    country_code: str
    party_id: str

    @property
    def party(self) -> str:
        """The provider as `BE*VIA`."""
        return f"{self.country_code}*{self.party_id}"


class Driver(Struct, frozen=True):
    """Who charges: a token of an eMSP and a car."""

    provider: Provider
    uid: str
    token_type: str
    contract_id: str
    battery_wh: int
    max_ac_w: int
    max_dc_w: int


class World(Struct, frozen=True):
    """All of it."""

    operators: tuple[Operator, ...]
    provider: Provider
    stranger: Provider
    drivers: tuple[Driver, ...]


_SOCKET: Final = Connector("IEC_62196_T2", "SOCKET", "AC_3_PHASE", 22_000)
_DC_150: Final = Connector("IEC_62196_T2_COMBO", "CABLE", "DC", 150_000)
_DC_300: Final = Connector("IEC_62196_T2_COMBO", "CABLE", "DC", 300_000)

_DUTCH: Final = (
    ("Amsterdam", "1019", 52.372, 4.932, ("Kade", "Markt", "Noorderdok")),
    ("Utrecht", "3511", 52.091, 5.117, ("Stationsplein", "Singel", "Jaarbeurs")),
    ("Rotterdam", "3011", 51.919, 4.487, ("Havenkade", "Boulevard", "Centrum")),
    ("Groningen", "9711", 53.217, 6.567, ("Zuiderpark", "Ring Oost", "Vismarkt")),
    ("Eindhoven", "5611", 51.441, 5.478, ("Campus", "Strijp", "Evoluon")),
)
_GERMAN: Final = (
    ("Hamburg", "20095", 53.551, 9.994, ("Hafencity", "Altona", "Stadtpark")),
    ("Berlin", "10115", 52.520, 13.405, ("Mitte", "Ostkreuz", "Südring")),
    ("Leipzig", "04109", 51.340, 12.375, ("Augustusplatz", "Messe", "Plagwitz")),
    ("Köln", "50667", 50.938, 6.960, ("Deutz", "Südstadt", "Rheinufer")),
    ("München", "80331", 48.137, 11.576, ("Isartor", "Riem", "Giesing")),
)

_CARS: Final = (
    (40_000, 6_600, 50_000),
    (58_000, 11_000, 125_000),
    (64_000, 11_000, 77_000),
    (77_000, 11_000, 175_000),
    (93_000, 22_000, 270_000),
)


def world(seed: int) -> World:
    """Return the world of a seed."""
    dice = random.Random(f"world {seed}")
    provider, stranger = Provider("Viavolt", "BE", "VIA"), Provider("Ohmnibus", "FR", "OMN")
    dutch = Operator(
        name="Wattspoor",
        country_code="NL",
        party_id="WSP",
        country="NLD",
        vat_percent=Decimal("21.0"),
        encodes_token=True,
        completes_by_put=0.2,
        sites=_sites(dice, "NL*WSP", _DUTCH),
        slow=Tariff("WSP-AC", Decimal("0.3850"), Decimal("0")),
        fast=Tariff("WSP-DC", Decimal("0.6100"), Decimal("0.50")),
    )
    german = Operator(
        name="Elbstrom",
        country_code="DE",
        party_id="ELB",
        country="DEU",
        vat_percent=Decimal("19.0"),
        encodes_token=False,
        completes_by_put=0.6,
        sites=_sites(dice, "DE*ELB", _GERMAN),
        slow=Tariff("ELB-AC", Decimal("0.4370"), Decimal("0.35")),
        fast=Tariff("ELB-DC", Decimal("0.6639"), Decimal("0.35")),
    )
    drivers = [_driver(dice, number, stranger if number % 12 == 7 else provider) for number in range(400)]
    return World((dutch, german), provider, stranger, tuple(drivers))


def _sites(dice: random.Random, party: str, cities: Sequence[tuple[str, str, float, float, tuple[str, ...]]]) -> tuple[Site, ...]:
    sites: list[Site] = []
    for city, postal_code, latitude, longitude, places in cities:
        for place in places:
            number = len(sites) + 1
            is_hub = number % 3 == 0
            kinds = [_DC_300, _DC_300, _DC_150, _DC_150, _SOCKET] if is_hub else [_SOCKET] * dice.randint(2, 6)
            code = party.replace("*", "")
            evses = tuple(
                Evse(f"{code}-{number:03}-{spot}", f"{party}*E{number:03}*{spot}", kind, f"M{dice.randrange(10**8):08}")
                for spot, kind in enumerate(kinds, 1)
            )
            site = Site(
                id=f"{code}-LOC-{number:03}",
                name=f"{city} {place}",
                address=f"{place} {dice.randint(1, 180)}",
                city=city,
                postal_code=postal_code,
                latitude=f"{latitude + dice.uniform(-0.03, 0.03):.6f}",
                longitude=f"{longitude + dice.uniform(-0.03, 0.03):.6f}",
                evses=evses,
            )
            sites.append(site)
    return tuple(sites)


def _driver(dice: random.Random, number: int, provider: Provider) -> Driver:
    battery_wh, max_ac_w, max_dc_w = dice.choice(_CARS)
    return Driver(
        provider=provider,
        uid=f"{dice.randrange(16**14):014X}",
        token_type="APP_USER" if number % 3 == 0 else "RFID",
        contract_id=f"{provider.country_code}-{provider.party_id}-C{number:08}-{number % 10}",
        battery_wh=battery_wh,
        max_ac_w=max_ac_w,
        max_dc_w=max_dc_w,
    )
