"""The made-up world of the demo: two charge point operators in six countries, their sites and prices, and drivers of two eMSPs.

Parties, companies, streets and numbers are invented; cities, voltages and taxes are not. The same seed is the same world.
"""

import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from msgspec import Struct


class Connector(Struct, frozen=True):
    """A kind of connector and what it gives, in V, A and W."""

    standard: str
    format: str
    power_type: str
    max_voltage: int
    max_amperage: int
    max_power_w: int


class Evse(Struct, frozen=True):
    """A charging spot."""

    uid: str
    evse_id: str
    connector: Connector
    meter_id: str


class Tariff(Struct, frozen=True):
    """What charging costs, without VAT, in EUR, and the VAT in percent."""

    id: str
    per_kwh: Decimal
    start_fee: Decimal
    vat_percent: Decimal


class Market(Struct, frozen=True):
    """A country in which an operator has sites, and what charging costs there."""

    country: str
    time_zone: str
    slow: Tariff
    fast: Tariff


class Site(Struct, frozen=True):
    """A place with EVSEs; coordinates as OCPI writes them."""

    number: int
    id: str
    market: Market
    name: str
    address: str
    city: str
    postal_code: str
    latitude: str
    longitude: str
    evses: tuple[Evse, ...]

    def tariff(self, connector: Connector) -> Tariff:
        """Return what charging at the connector costs."""
        return self.market.fast if connector.power_type == "DC" else self.market.slow


class Operator(Struct, frozen=True):
    """A charge point operator."""

    name: str
    country_code: str
    party_id: str
    encodes_token: bool
    completes_by_put: float
    markets: tuple[Market, ...]
    sites: tuple[Site, ...]

    @property
    def party(self) -> str:
        """The operator as `NL*WSP`."""
        return f"{self.country_code}*{self.party_id}"


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


_SOCKET: Final = Connector("IEC_62196_T2", "SOCKET", "AC_3_PHASE", 230, 32, 22_000)
_DC_150: Final = Connector("IEC_62196_T2_COMBO", "CABLE", "DC", 920, 400, 150_000)
_DC_300: Final = Connector("IEC_62196_T2_COMBO", "CABLE", "DC", 920, 500, 300_000)

_City = tuple[str, str, float, float]


class Country(Struct, frozen=True):
    """A country with its clock and taxes, and where in its cities sites are."""

    country: str
    time_zone: str
    vat_percent: str
    cities: tuple[_City, ...]
    places: tuple[str, ...]


_DUTCH: Final = ("Kade", "Markt", "Noorderdok", "Station", "Singel", "Haven", "Boulevard", "Zuiderpark", "Ring", "Campus")
_GERMAN: Final = ("Hafen", "Stadtpark", "Mitte", "Ostkreuz", "Südring", "Messe", "Bahnhof", "Rheinufer", "Markt", "Campus")
_FINNISH: Final = ("Satama", "Kauppatori", "Asema", "Rantatie", "Keskusta", "Puisto", "Kampus", "Stadion", "Messukeskus", "Itäkatu")
_PORTUGUESE: Final = ("Cais", "Praça", "Estação", "Avenida", "Parque", "Marina", "Mercado", "Rossio", "Alto", "Jardim")

_WATTSPOOR: Final = (
    Country(
        *("NLD", "Europe/Amsterdam", "21.0"),
        (
            ("Amsterdam", "1019", 52.372, 4.932),
            ("Utrecht", "3511", 52.091, 5.117),
            ("Rotterdam", "3011", 51.919, 4.487),
            ("Groningen", "9711", 53.217, 6.567),
            ("Eindhoven", "5611", 51.441, 5.478),
        ),
        _DUTCH,
    ),
    Country(
        *("BEL", "Europe/Brussels", "21.0"),
        (("Antwerpen", "2000", 51.219, 4.402), ("Gent", "9000", 51.054, 3.717), ("Leuven", "3000", 50.879, 4.701)),
        _DUTCH,
    ),
    Country(
        *("PRT", "Europe/Lisbon", "23.0"),
        (("Lisboa", "1100-148", 38.722, -9.139), ("Porto", "4000-322", 41.150, -8.611)),
        _PORTUGUESE,
    ),
)
_ELBSTROM: Final = (
    Country(
        *("DEU", "Europe/Berlin", "19.0"),
        (
            ("Hamburg", "20095", 53.551, 9.994),
            ("Berlin", "10115", 52.520, 13.405),
            ("Leipzig", "04109", 51.340, 12.375),
            ("Köln", "50667", 50.938, 6.960),
            ("München", "80331", 48.137, 11.576),
        ),
        _GERMAN,
    ),
    Country(
        *("AUT", "Europe/Vienna", "20.0"),
        (("Wien", "1010", 48.209, 16.370), ("Graz", "8010", 47.071, 15.438), ("Linz", "4020", 48.306, 14.286)),
        _GERMAN,
    ),
    Country(
        *("FIN", "Europe/Helsinki", "25.5"),
        (("Helsinki", "00100", 60.170, 24.938), ("Tampere", "33100", 61.498, 23.761)),
        _FINNISH,
    ),
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
    dutch = operator_of(
        *(dice, "Wattspoor", "NL", "WSP", _WATTSPOOR),
        encodes_token=True,
        completes_by_put=0.2,
        slow=("0.3850", "0"),
        fast=("0.6100", "0.50"),
    )
    german = operator_of(
        *(dice, "Elbstrom", "DE", "ELB", _ELBSTROM),
        encodes_token=False,
        completes_by_put=0.6,
        slow=("0.4370", "0.35"),
        fast=("0.6639", "0.35"),
    )
    drivers = [_driver(dice, number, stranger if number % 12 == 7 else provider) for number in range(400)]
    return World((dutch, german), provider, stranger, tuple(drivers))


def operator_of(
    dice: random.Random,
    name: str,
    country_code: str,
    party_id: str,
    countries: Sequence[Country],
    *,
    encodes_token: bool,
    completes_by_put: float,
    slow: tuple[str, str],
    fast: tuple[str, str],
) -> Operator:
    """Return an operator with a site at every place of its countries; prices are per kWh and per start."""
    markets = tuple(
        Market(
            country=one.country,
            time_zone=one.time_zone,
            slow=_tariff(f"{party_id}-{one.country}-AC", slow, number, one),
            fast=_tariff(f"{party_id}-{one.country}-DC", fast, number, one),
        )
        for number, one in enumerate(countries)
    )
    sites: list[Site] = []
    for market, country in zip(markets, countries, strict=True):
        for city in country.cities:
            for place in country.places:
                sites.append(_site(dice, f"{country_code}*{party_id}", market, len(sites) + 1, (place, *city)))
    return Operator(
        name=name,
        country_code=country_code,
        party_id=party_id,
        encodes_token=encodes_token,
        completes_by_put=completes_by_put,
        markets=markets,
        sites=tuple(sites),
    )


def _tariff(tariff_id: str, price: tuple[str, str], number: int, country: Country) -> Tariff:
    """Return a country's tariff: abroad a kWh costs some cents more."""
    per_kwh, start_fee = map(Decimal, price)
    return Tariff(tariff_id, per_kwh + number * Decimal("0.0225"), start_fee, Decimal(country.vat_percent))


def _site(dice: random.Random, party: str, market: Market, number: int, at: tuple[str, str, str, float, float]) -> Site:
    place, city, postal_code, latitude, longitude = at
    is_hub = number % 3 == 0
    kinds = [_DC_300, _DC_300, _DC_150, _DC_150, _SOCKET] if is_hub else [_SOCKET] * dice.randint(1, 6)
    code = party.replace("*", "")
    evses = tuple(
        Evse(f"{code}-{number:03}-{spot}", f"{party}*E{number:03}*{spot}", kind, f"M{dice.randrange(10**8):08}")
        for spot, kind in enumerate(kinds, 1)
    )
    return Site(
        number=number,
        id=f"{code}-LOC-{number:03}",
        market=market,
        name=f"{city} {place}",
        address=f"{place} {dice.randint(1, 180)}",
        city=city,
        postal_code=postal_code,
        latitude=f"{latitude + dice.uniform(-0.03, 0.03):.6f}",
        longitude=f"{longitude + dice.uniform(-0.03, 0.03):.6f}",
        evses=evses,
    )


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
