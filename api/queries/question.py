"""What a question is: a name, its SQL, the row that it gives, and what its figures rest on."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Final, TypeAlias

from msgspec import Struct
from pydantic import BaseModel, Field, WithJsonSchema

from api.filters import Filters, of_owner
from streams.topics import CHARGING, CRAWLS, LOCATIONS, REJECTED, TARIFFS, TOKENS

Exact: TypeAlias = Annotated[Decimal, WithJsonSchema({"type": "number", "format": "decimal"})]
"""An amount, an energy: a JSON number whose every digit counts, to be read as a decimal and not as a float."""

Count: TypeAlias = Annotated[int, Field(ge=0)]

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
"""A numerator over its denominator, which stand beside it: rounded, for people."""


class Question(Struct, frozen=True):
    """A question with its answer's shape. One file of this folder is one question and offers it as `QUESTION`.

    `sql` gives the columns of `row` in the order of its fields, `coverage` two numbers: how many of the objects in scope
    the figures speak of, and how many there are. `counted` says in words what those objects are; `grain` what one row is,
    and by which instant the filters `from` and `to` choose. `metric_version` rises whenever the same data gives another
    answer. `filters` reads what the query narrows to.
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
    filters: Callable[..., Filters] = of_owner


OWNER: Final = "({party:String} = '' OR party = {party:String})"
"""Narrows to the owner that was asked for."""

NO_TWINS: Final = "(party, cdr_id, charging_key) NOT IN {twins:Array(Tuple(String, String, String))}"
"""Leaves out what shares its CDR id with an earlier CDR."""

PLACE: Final = (
    "({country:String} = '' OR country = {country:String}) AND ({location:String} = '' OR location_id = {location:String})"
)
"""Narrows to the country and the Location that were asked for."""

IN_COUNTRY: Final = """({country:String} = ''
   OR (party, location_id) IN (SELECT party, location_id FROM locations WHERE country = {country:String}))"""
"""Narrows what has no country of its own to that of its Location."""

OF_CONNECTION: Final = """({connection:String} = '' OR connection = {connection:String})
  AND ({module:String} = '' OR module = {module:String})"""
"""Narrows to the partner and the module that were asked for."""

TOPIC_OF: Final = {
    "locations": LOCATIONS,
    "sessions": CHARGING,
    "cdrs": CHARGING,
    "ledger": CHARGING,
    "tariffs": TARIFFS,
    "tokens": TOKENS,
    "rejected": REJECTED,
    "crawls": CRAWLS,
}


def reads(*projections: str) -> dict[str, str]:
    """Return the projections with the topic that each folds."""
    return {name: TOPIC_OF[name] for name in projections}


def between(column: str) -> str:
    """Return the condition that a DateTime64 column lies in the interval asked for; `column` is a name of ours."""
    return (
        f"{column} >= fromUnixTimestamp64Micro({{since:Int64}}, 'UTC')"
        f" AND {column} < fromUnixTimestamp64Micro({{until:Int64}}, 'UTC')"
    )
