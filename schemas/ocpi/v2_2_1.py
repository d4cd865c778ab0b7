"""OCPI 2.2.1: what its object tables lack of the canonical form, and how its money becomes canonical."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from schemas.ocpi import v2_3_0
from schemas.ocpi.declared import Conversion, Declared
from schemas.ocpi.dialect import Dialect
from schemas.ocpi.narrowing import Narrowing
from schemas.ocpi.prices import prices_in_text
from schemas.ocpi.shelf import Shelf
from schemas.ocpi.spec import Spec


def dialect() -> Dialect:
    """Return the version as documented by revision d2 with the repairs of the release-2.2.1-bugfixes branch."""
    return Declared(version="2.2.1", edition="d2", revision=2, spec=SPEC, conversions=conversions("2.2.1"), patched=PATCHED)


def conversions(version: str) -> Mapping[str, Conversion]:
    """Return how objects in the form of 2.2.1 become canonical; `version` is whose shelf takes what has no place there."""
    return with_prices(Narrowing(Shelf(version), SPEC, v2_3_0.SPEC, SUBSTITUTES, essential=ESSENTIAL).conversions(v2_3_0.OBJECTS))


def with_prices(conversions: Mapping[str, Conversion]) -> Mapping[str, Conversion]:
    """Return the conversions where the prices of clean objects are lifted in their text."""

    def priced(name: str) -> Conversion:
        conversion = conversions[name]
        before = conversion.lift_text
        in_text = prices_in_text(tuple(field for field in COSTS if field in SPEC.objects[name]))

        def lift_text(clean: Any, body: bytes) -> bytes | None:
            if getattr(clean, "tariffs", None):
                return None
            text = body if before is None else before(clean, body)
            return None if text is None else in_text(clean, text)

        return replace(conversion, lift_text=lift_text)

    return {**conversions, "Session": priced("Session"), "CDR": priced("CDR")}


COSTS: Final = (
    "total_cost",
    "total_fixed_cost",
    "total_energy_cost",
    "total_time_cost",
    "total_parking_cost",
    "total_reservation_cost",
)
"""The fields of type Price, of a Session and of a CDR."""

PATCHED: Final = v2_3_0.PATCHED
"""The objects that can be PATCHed."""

SUBSTITUTES: Final[Mapping[str, Mapping[str, str]]] = {"TokenType": {"EMAID": "OTHER"}}
"""What is said instead of a value that the version does not have; a list drops the others, and what must be one is withheld."""

ESSENTIAL: Final = ("TariffRestrictions.booking",)
"""A restriction that is not told would let the prices of its element apply always."""

SPEC: Final[Spec] = v2_3_0.SPEC.differing(
    objects={
        "Price": {"before_taxes": None, "taxes": None, "excl_vat": "number 1", "incl_vat": "number ?"},
        "TaxAmount": None,
        "PriceLimit": None,
        "Tariff": {"min_price": "Price ?", "max_price": "Price ?", "tax_included": None, "preauthorize_amount": None},
        "TariffRestrictions": {"booking": None},
        "Location": {"parking_places": None, "help_phone": None},
        "EVSE": {"parking": None, "accepted_service_providers": None},
        "Connector": {"capabilities": None},
        "Parking": None,
        "EVSEParking": None,
    },
    enums={
        "BookingRestrictionType": None,
        "ConnectorCapability": None,
        "ConnectorType": v2_3_0.SPEC.without("ConnectorType", "MCS", "SAE_J3400"),
        "EVSEPosition": None,
        "ParkingDirection": None,
        "ParkingRestriction": v2_3_0.SPEC.without("ParkingRestriction", "EMPLOYEES", "TAXIS", "TENANTS"),
        "Role": "CPO EMSP HUB NAP NSP OTHER SCSP",
        "TaxIncluded": None,
        "TokenType": v2_3_0.SPEC.without("TokenType", "EMAID"),
        "VehicleType": None,
    },
)
"""Enums that are open in 2.3.0 take unlisted values here too, so that a newer partner is not refused."""

OPEN_ENUMS: Final = SPEC.open_enums
