"""Every object that OCPI 2.2 to 2.3.0 publish is taken, remarked on, and given back equal; what breaks the tables is refused.

The examples (CC BY-ND 4.0) are no part of this project: they are read from ROAMLOG_OCPI_EXAMPLES or ../shared/ocpi/examples.
"""

import os
import re
from pathlib import Path
from typing import Final

import pytest
from generated import same

from schemas import codec
from schemas.ocpi import clientinfo
from schemas.ocpi.declared import Declared
from schemas.ocpi.dialect import Level, Refused
from schemas.ocpi.discovery import discover
from schemas.types import Module, Verb

FOLDER: Final = Path(os.environ.get("ROAMLOG_OCPI_EXAMPLES", Path(__file__).parents[3] / "shared" / "ocpi" / "examples"))

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no published examples at {FOLDER}; set ROAMLOG_OCPI_EXAMPLES")

FRAGMENT: Final = re.compile("energymix|hours_|regularhours|tariffrestriction|transport")
"""In the name of a file that shows a part of an object, or a response."""

REMARKS: Final = {
    "sessions_example_2_short_finished": ["energy_in_wh"],
    "sessions_patch_example_charging_period": ["energy_in_wh"],
    "cdrs_example": ["updated_before_end"],
}
"""What is to be said of an example that is taken, as far as it can be told without looking at a map."""

REFUSED: Final = {
    "locations_put_example_add_evse": [
        ("/connectors/0/power_type", "missing_field"),
        ("/connectors/0/max_voltage", "missing_field"),
        ("/connectors/0/max_amperage", "missing_field"),
        ("/connectors/0/last_updated", "missing_field"),
    ],
    "tariffs_put_example": [("/last_updated", "missing_field")],
}
"""What is wrong with an example that is not."""

LEVELS: Final[dict[str, Level]] = {
    "locations_put_example_add_evse": "evse",
    "locations_patch_example_remove_evse": "evse",
    "locations_patch_example_status": "evse",
    "locations_patch_example_tariff": "connector",
}


OF_VERSION: Final = {("2.3.0", "cdrs_example"): ["missing_field"]}
"""Where versions differ in what is to be said."""

NUMBERS: Final = {"2.2": 39, "2.2.1": 38, "2.3.0": 40}


def published(version: str) -> list[str]:
    """Return the names of the files that hold an object or a PATCH."""
    names = [path.stem for module in Module for path in FOLDER.glob(f"{version}/{module}_*.json")]
    return sorted(name for name in names if not FRAGMENT.search(name) or name == "locations_example_parking_garage_opening_hours")


@pytest.mark.parametrize(("version", "name"), [(version, name) for version in NUMBERS for name in published(version)])
def test_an_example_is_taken_with_its_remarks_and_given_back(version: str, name: str) -> None:
    text = (FOLDER / f"{version}/{name}.json").read_bytes()
    dialect = discover()[version]
    module = Module(name.partition("_")[0])
    verb = Verb.PATCH if "_patch_" in name else Verb.POST if module is Module.CDRS else Verb.PUT
    level = LEVELS.get(name, "location")
    if name in REFUSED:
        with pytest.raises(Refused) as refused:
            dialect.lift(module, verb, text, level=level)
        errors = [(finding.pointer, finding.rule) for finding in refused.value.findings if finding.severity == "error"]
        assert errors == REFUSED[name]
        return
    lifted = dialect.lift(module, verb, text, level=level)
    assert [finding.rule for finding in lifted.findings] == OF_VERSION.get((version, name), REMARKS.get(name, []))
    if verb is not Verb.PATCH:
        lowered = dialect.lower(module, lifted.payload, level=level)
        assert same(codec.parse(lowered.body), codec.parse(text))
        assert lowered.losses == ()


@pytest.mark.parametrize("version", NUMBERS)
def test_the_published_client_info_is_read_though_it_lacks_last_updated(version: str) -> None:
    dialect = discover()[version]
    assert isinstance(dialect, Declared)
    info, findings = clientinfo.read(dialect.spec, (FOLDER / f"{version}/hubclientinfo_put_example.json").read_bytes())
    assert (info.party, info.role, info.status, info.last_updated) == ("NL*ALL", "CPO", "PLANNED", None)
    assert [(finding.pointer, finding.rule, finding.severity) for finding in findings] == [
        ("/last_updated", "missing_field", "warning")
    ]


def test_no_remark_is_about_an_example_that_is_not_there() -> None:
    for version, number in NUMBERS.items():
        assert {*REMARKS, *REFUSED, *LEVELS} <= set(published(version))
        assert len(published(version)) == number
