"""Every Session and CDR that the specification publishes is taken, remarked on, and given back equal.

The examples (CC BY-ND 4.0) are no part of this project: they are read from ROAMLOG_OCPI_EXAMPLES or ../shared/ocpi/examples.
"""

import os
from pathlib import Path
from typing import Final

import pytest
from generated import same

from schemas import codec
from schemas.ocpi.discovery import discover
from schemas.types import Module, Verb

FOLDER: Final = Path(os.environ.get("ROAMLOG_OCPI_EXAMPLES", Path(__file__).parents[3] / "shared" / "ocpi" / "examples"))

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no published examples at {FOLDER}; set ROAMLOG_OCPI_EXAMPLES")

REMARKS: Final = {
    "2.2.1/sessions_example_1_simple_start.json": [],
    "2.2.1/sessions_example_2_short_finished.json": ["energy_in_wh"],
    "2.2.1/sessions_patch_example_charging_period.json": ["energy_in_wh"],
    "2.2.1/sessions_patch_example_total_cost.json": [],
    "2.2.1/cdrs_example.json": ["updated_before_end"],
}
"""What is wrong with an example, as far as it can be told without looking at a map."""


@pytest.mark.parametrize("file", REMARKS)
def test_an_example_is_taken_with_its_remarks_and_given_back(file: str) -> None:
    text = (FOLDER / file).read_bytes()
    dialect = discover()[file.partition("/")[0]]
    module = Module.CDRS if "/cdrs" in file else Module.SESSIONS
    verb = Verb.PATCH if "patch" in file else Verb.POST if module is Module.CDRS else Verb.PUT
    lifted = dialect.lift(module, verb, text)
    assert [finding.rule for finding in lifted.findings] == REMARKS[file]
    if verb is not Verb.PATCH:
        assert same(codec.parse(dialect.lower(module, lifted.payload).body), codec.parse(text))


def test_no_example_is_forgotten() -> None:
    found = {str(path.relative_to(FOLDER)) for kind in ("sessions", "cdrs") for path in FOLDER.glob(f"2.2.1/{kind}_*.json")}
    assert found == REMARKS.keys()
