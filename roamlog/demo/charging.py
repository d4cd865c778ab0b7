"""One charging session as its operator's meter saw it, and the OCPI 2.2.1 objects that tell of it.

Energy is counted in whole Wh and time in whole steps, so that every figure is an exact decimal.
"""

import random
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final, Literal

from msgspec import Struct

from roamlog.demo.world import Driver, Evse, Operator, Site, Tariff

Object = dict[str, Any]
Ending = Literal["completed", "running", "failed", "waiting"]

STEP_S: Final = 180
"""The meter's step: 0.05 h, so hours are exact too."""

_CENT: Final = Decimal("0.01")


class Reading(Struct, frozen=True):
    """A period that ends at a meter reading: energy in Wh, time in steps, the highest power in W."""

    start: datetime
    end: datetime
    energy_wh: int
    steps: int
    max_power_w: int


class Charging(Struct, frozen=True):
    """What happened: who charged where, and the readings in their order."""

    id: str
    operator: Operator
    site: Site
    evse: Evse
    driver: Driver
    start: datetime
    readings: tuple[Reading, ...]
    ending: Ending
    auth_method: str
    reference: str | None

    @property
    def tariff(self) -> Tariff:
        """What it costs."""
        return self.site.tariff(self.evse.connector)

    def energy_wh(self, readings: int) -> int:
        """Return the energy after so many readings."""
        return sum([reading.energy_wh for reading in self.readings[:readings]])

    def at(self, readings: int) -> datetime:
        """Return the instant of the last of so many readings."""
        return self.readings[readings - 1].end if readings else self.start


def charged(
    dice: random.Random, charging_id: str, *, operator: Operator, driver: Driver, begin: datetime, ending: Ending
) -> Charging:
    """Return a session that the dice tell: the car's curve at this EVSE until it is full enough or its driver returns."""
    site = dice.choice(operator.sites)
    evse = dice.choice(site.evses)
    is_dc = evse.connector.power_type == "DC"
    limit_w = min(evse.connector.max_power_w, driver.max_dc_w if is_dc else driver.max_ac_w)
    content = dice.uniform(0.08, 0.6) * driver.battery_wh
    target = min(0.98, content / driver.battery_wh + dice.uniform(0.15, 0.7)) * driver.battery_wh
    steps = dice.randint(4, 16) if is_dc else dice.randint(12, 120)
    powers: list[int] = []
    while ending in ("completed", "running") and len(powers) < steps and content < target:
        power = int(_curve(content / driver.battery_wh, is_dc) * limit_w * dice.uniform(0.97, 1.0))
        powers.append(power)
        content += power * STEP_S / 3600
    parts = min(len(powers), dice.randint(2, 5))
    readings: list[Reading] = []
    done = 0
    for part in range(parts):
        upto = len(powers) * (part + 1) // parts
        slice_w = powers[done:upto]
        start, end = (begin + timedelta(seconds=STEP_S * at) for at in (done, upto))
        readings.append(Reading(start, end, sum(slice_w) * STEP_S // 3600, len(slice_w), max(slice_w)))
        done = upto
    by_app = driver.token_type == "APP_USER"
    return Charging(
        id=charging_id,
        operator=operator,
        site=site,
        evse=evse,
        driver=driver,
        start=begin,
        readings=tuple(readings),
        ending=ending,
        auth_method="COMMAND" if by_app else dice.choice(("WHITELIST", "AUTH_REQUEST")),
        reference=f"APP-{dice.randrange(16**10):010X}" if by_app else None,
    )


def _curve(charge: float, is_dc: bool) -> float:
    """Return the share of its limit that a battery takes at this state of charge."""
    if not is_dc:
        return 1.0 if charge < 0.94 else 0.55
    if charge < 0.5:
        return 1.0
    return max(0.12, 1.0 - 1.75 * (charge - 0.5))


def session(charging: Charging, readings: int, status: str, updated: datetime) -> Object:
    """Return the Session after so many readings."""
    energy_wh = charging.energy_wh(readings)
    is_over = status in {"COMPLETED", "INVALID"}
    return {
        "country_code": charging.operator.country_code,
        "party_id": charging.operator.party_id,
        "id": charging.id,
        "start_date_time": date_time(charging.start),
        **({"end_date_time": date_time(charging.at(readings))} if is_over else {}),
        "kwh": kwh(energy_wh),
        "cdr_token": _token(charging.driver),
        "auth_method": charging.auth_method,
        **({"authorization_reference": charging.reference} if charging.reference else {}),
        "location_id": charging.site.id,
        "evse_uid": charging.evse.uid,
        "connector_id": "1",
        "meter_id": charging.evse.meter_id,
        "currency": "EUR",
        "charging_periods": [period(charging, at) for at in range(readings)],
        "total_cost": _price(cost(charging, energy_wh), charging.tariff),
        "status": status,
        "last_updated": date_time(updated),
    }


def period(charging: Charging, at: int) -> Object:
    """Return the ChargingPeriod that ends with the reading of this number."""
    reading = charging.readings[at]
    return {
        "start_date_time": date_time(reading.start),
        "dimensions": [
            {"type": "ENERGY", "volume": kwh(reading.energy_wh)},
            {"type": "TIME", "volume": hours(reading.steps)},
            {"type": "MAX_POWER", "volume": Decimal(reading.max_power_w) / 1000},
        ],
        "tariff_id": charging.tariff.id,
    }


def cdr(charging: Charging, updated: datetime) -> Object:
    """Return the CDR of a completed session."""
    readings, operator, site, tariff = len(charging.readings), charging.operator, charging.site, charging.tariff
    energy_wh = charging.energy_wh(readings)
    connector = charging.evse.connector
    energy_cost = _rounded(tariff.per_kwh * kwh(energy_wh))
    return {
        "country_code": operator.country_code,
        "party_id": operator.party_id,
        "id": f"CDR-{charging.id}",
        "start_date_time": date_time(charging.start),
        "end_date_time": date_time(charging.at(readings)),
        "session_id": charging.id,
        "cdr_token": _token(charging.driver),
        "auth_method": charging.auth_method,
        **({"authorization_reference": charging.reference} if charging.reference else {}),
        "cdr_location": {
            "id": site.id,
            "name": site.name,
            "address": site.address,
            "city": site.city,
            "postal_code": site.postal_code,
            "country": site.market.country,
            "coordinates": {"latitude": site.latitude, "longitude": site.longitude},
            "evse_uid": charging.evse.uid,
            "evse_id": charging.evse.evse_id,
            "connector_id": "1",
            "connector_standard": connector.standard,
            "connector_format": connector.format,
            "connector_power_type": connector.power_type,
        },
        "meter_id": charging.evse.meter_id,
        "currency": "EUR",
        "tariffs": [tariff_object(operator, tariff)],
        "charging_periods": [_billed(period(charging, at)) for at in range(readings)],
        "total_cost": _price(cost(charging, energy_wh), tariff),
        "total_fixed_cost": _price(tariff.start_fee, tariff),
        "total_energy": kwh(energy_wh),
        "total_energy_cost": _price(energy_cost, tariff),
        "total_time": hours(sum([reading.steps for reading in charging.readings])),
        "last_updated": date_time(updated),
    }


def credit(billed: Object, updated: datetime) -> Object:
    """Return the Credit CDR that takes a CDR back (OCPI 2.2.1 mod_cdrs, Credit CDRs: total_cost negated, the rest as it was)."""
    total = {name: -amount for name, amount in billed["total_cost"].items()}
    taken = {"credit": True, "credit_reference_id": billed["id"]}
    return billed | taken | {"id": f"{billed['id']}-CREDIT", "total_cost": total, "last_updated": date_time(updated)}


def corrected(billed: Object, off: Decimal, tariff: Tariff, updated: datetime) -> Object:
    """Return the CDR that replaces a credited one, cheaper by `off` (EUR, without VAT)."""
    total = max(Decimal(0), billed["total_cost"]["excl_vat"] - off)
    remark = {"remark": "replaces a CDR that was credited", "last_updated": date_time(updated)}
    return billed | remark | {"id": f"{billed['id']}-2", "total_cost": _price(total, tariff)}


def cost(charging: Charging, energy_wh: int) -> Decimal:
    """Return what so much energy costs, in EUR without VAT."""
    return charging.tariff.start_fee + _rounded(charging.tariff.per_kwh * kwh(energy_wh))


def tariff_object(operator: Operator, tariff: Tariff, updated: str = "2026-01-01T00:00:00Z") -> Object:
    """Return the Tariff as its operator publishes it."""
    components = [{"type": "ENERGY", "price": tariff.per_kwh, "vat": tariff.vat_percent, "step_size": 1}]
    if tariff.start_fee:
        components.append({"type": "FLAT", "price": tariff.start_fee, "vat": tariff.vat_percent, "step_size": 1})
    return {
        "country_code": operator.country_code,
        "party_id": operator.party_id,
        "id": tariff.id,
        "currency": "EUR",
        "elements": [{"price_components": components}],
        "last_updated": updated,
    }


def kwh(energy_wh: int) -> Decimal:
    """Return Wh as kWh, exactly."""
    return Decimal(energy_wh).scaleb(-3)


def hours(steps: int) -> Decimal:
    """Return steps as hours, exactly."""
    return Decimal(steps * STEP_S) / 3600


def date_time(at: datetime) -> str:
    """Return an OCPI DateTime."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _token(driver: Driver) -> Object:
    return {
        "country_code": driver.provider.country_code,
        "party_id": driver.provider.party_id,
        "uid": driver.uid,
        "type": driver.token_type,
        "contract_id": driver.contract_id,
    }


def _price(excl_vat: Decimal, tariff: Tariff) -> Object:
    return {"excl_vat": excl_vat, "incl_vat": _rounded(excl_vat * (100 + tariff.vat_percent) / 100)}


def _rounded(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, ROUND_HALF_UP)


def _billed(of: Object) -> Object:
    """MAX_POWER tells of a session; a CDR holds what was billed."""
    return of | {"dimensions": [one for one in of["dimensions"] if one["type"] != "MAX_POWER"]}
