"""OCPI 2.2: what it lacks of 2.2.1."""

from collections.abc import Mapping
from typing import Final

from schemas.ocpi import v2_2_1, v2_3_0
from schemas.ocpi.declared import Conversion, Declared
from schemas.ocpi.dialect import Dialect
from schemas.ocpi.narrowing import Narrowing
from schemas.ocpi.shelf import Shelf
from schemas.ocpi.spec import Spec
from schemas.ocpi.validation import NOT_AVAILABLE


def dialect() -> Dialect:
    """Return the version as documented by revision d2 with the repairs of the release-2.2-bugfixes branch."""
    return Declared(version="2.2", edition="d2", revision=1, spec=SPEC, conversions=conversions("2.2"), patched=v2_3_0.PATCHED)


def conversions(version: str) -> Mapping[str, Conversion]:
    """Return how objects in the form of 2.2 become canonical; `version` is whose shelf takes what has no place there."""
    narrowing = Narrowing(Shelf(version), SPEC, v2_3_0.SPEC, SUBSTITUTES, cut=CUT, made_up=MADE_UP, essential=v2_2_1.ESSENTIAL)
    return narrowing.conversions(v2_3_0.OBJECTS)


SUBSTITUTES: Final[Mapping[str, Mapping[str, str]]] = {
    **v2_2_1.SUBSTITUTES,
    "PowerType": {"AC_2_PHASE": "AC_1_PHASE", "AC_2_PHASE_SPLIT": "AC_1_PHASE"},
}
"""What is said instead of a value that the version does not have."""

CUT: Final = ("Location.address", "Location.state")
"""The texts that are cut where the version has less room. What is signed must stay whole, whatever its length."""

MADE_UP: Final[Mapping[str, str]] = dict.fromkeys(
    ("CdrToken.country_code", "CdrToken.party_id", "CdrLocation.postal_code"), NOT_AVAILABLE
)
"""What must be said and is not known: whose the token is (2.2 leaves it to the routing headers), a place without postal code."""

SPEC: Final[Spec] = v2_2_1.SPEC.differing(
    objects={
        "CDR": {"home_charging_compensation": None},
        "CdrToken": {"country_code": None, "party_id": None},
        "CdrLocation": {"postal_code": "string(10) 1", "state": None},
        "SignedData": {"public_key": "CiString(512) ?", "url": "CiString(512) ?"},
        "SignedValue": {"plain_data": "CiString(512) 1", "signed_data": "CiString(512) 1"},
        "Location": {"address": "string(45) 1", "state": "string(20) ?"},
    },
    enums={
        "Capability": v2_2_1.SPEC.without("Capability", "START_SESSION_CONNECTOR_REQUIRED"),
        "ConnectorType": v2_2_1.SPEC.without(
            "ConnectorType",
            *("CHAOJI", "DOMESTIC_M", "DOMESTIC_N", "DOMESTIC_O", "GBT_AC", "GBT_DC", "NEMA_5_20", "NEMA_6_30", "NEMA_6_50"),
            *("NEMA_10_30", "NEMA_10_50", "NEMA_14_30", "NEMA_14_50"),
        ),
        "PowerType": v2_2_1.SPEC.without("PowerType", "AC_2_PHASE", "AC_2_PHASE_SPLIT"),
    },
)
