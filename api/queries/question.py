"""What a question is: a name, its SQL, the row that it gives, and what its figures rest on."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Final, TypeAlias

from msgspec import Struct
from pydantic import BaseModel, Field, WithJsonSchema

from schemas.types import Instant
from streams.topics import CHARGING

Exact: TypeAlias = Annotated[Decimal, WithJsonSchema({"type": "number", "format": "decimal"})]
"""An amount, an energy: a JSON number whose every digit counts, to be read as a decimal and not as a float."""

Count: TypeAlias = Annotated[int, Field(ge=0)]

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
"""A numerator over its denominator, which stand beside it: rounded, for people."""


class Filters(Struct, frozen=True):
    """What a question is narrowed to: an owner (`NL*TNM`, '' for all) and an interval `[since, until)`."""

    party: str
    since: Instant
    until: Instant

    def parameters(self) -> dict[str, object]:
        """Return the bound parameters that every statement may use."""
        return {"party": self.party, "since": self.since, "until": self.until}


class Question(Struct, frozen=True):
    """A question with its answer's shape. One file of this folder is one question and offers it as `QUESTION`.

    `sql` gives the columns of `row` in the order of its fields, `coverage` two numbers: how many of the objects in scope
    the figures speak of, and how many there are. `counted` says in words what those objects are; `grain` what one row is,
    and by which instant the filters `from` and `to` choose. `metric_version` rises whenever the same data gives another
    answer.
    """

    path: str
    title: str
    grain: str
    metric_version: int
    sql: str
    coverage: str
    counted: str
    row: type[BaseModel]
    projections: Mapping[str, str]


OWNER: Final = "({party:String} = '' OR party = {party:String})"
"""Narrows to the owner that was asked for."""

NO_TWINS: Final = "(party, cdr_id, charging_key) NOT IN {twins:Array(Tuple(String, String, String))}"
"""Leaves out what shares its CDR id with an earlier CDR."""

OF_CHARGING: Final = {"sessions": CHARGING, "cdrs": CHARGING, "ledger": CHARGING}


def reads(*projections: str) -> dict[str, str]:
    """Return the projections with the topic that each folds."""
    return {name: OF_CHARGING[name] for name in projections}


def between(column: str) -> str:
    """Return the condition that a DateTime64 column lies in the interval asked for; `column` is a name of ours."""
    return (
        f"{column} >= fromUnixTimestamp64Micro({{since:Int64}}, 'UTC')"
        f" AND {column} < fromUnixTimestamp64Micro({{until:Int64}}, 'UTC')"
    )
