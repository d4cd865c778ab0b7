"""The questions over HTTP: each answer says as of when, up to which log position, and how much of the data it speaks of."""

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Generic, TypeVar, cast

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from msgspec import Raw, Struct
from pydantic import BaseModel, Field

import api.queries
from api.filters import Filters
from api.freshness import Freshness
from api.lowering import LOSSES
from api.queries.question import Question
from api.twins import Twins
from api.zones import Zones
from schemas.types import date_time
from streams.metrics import Metrics
from streams.ports import Clock, TableStore

RowT = TypeVar("RowT", bound=BaseModel)

LIMITS: Final = "max_execution_time = 60, max_result_rows = 1000000, result_overflow_mode = 'throw'"
"""Of every question, so that none can take the store from the projector for long (seconds, rows)."""


class Form(StrEnum):
    """How an answer is written; all but JSON come from ClickHouse as they are."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"


class _Written(Struct, frozen=True):
    media_type: str
    clickhouse: str
    settings: str


_TEXT: Final = "date_time_output_format = 'iso', output_format_decimal_trailing_zeros = 0"
_NUMBERS: Final = "output_format_json_quote_decimals = 0, output_format_json_quote_64bit_integers = 0"
_FORMS: Final = {
    Form.JSON: _Written("application/json", "JSONEachRow", f"{_TEXT}, {_NUMBERS}, output_format_json_array_of_rows = 1"),
    Form.CSV: _Written("text/csv", "CSVWithNames", _TEXT),
    Form.PARQUET: _Written("application/vnd.apache.parquet", "Parquet", "output_format_parquet_string_as_string = 1"),
    Form.ARROW: _Written("application/vnd.apache.arrow.stream", "ArrowStream", "output_format_arrow_string_as_string = 1"),
}


class Coverage(BaseModel):
    """Of how many of the objects in scope the figures speak."""

    counted: int
    known: int
    share: float | None = Field(description="counted over known; null where nothing is known")
    of: str = Field(description="what is counted")


class Narrowed(BaseModel):
    """The filters that were applied; null, or not there: none."""

    party: str | None
    from_: datetime | None = Field(alias="from")
    to: datetime | None
    country: str | None = None
    location: str | None = None
    status: str | None = None
    connection: str | None = None
    module: str | None = None


class Answered(BaseModel, Generic[RowT]):
    """The answer to a question."""

    question: str
    metric_version: int = Field(description="rises whenever the same data would give another answer")
    grain: str = Field(description="what one row is")
    as_of: datetime | None = Field(description="whatever was received until then is in the figures; null: nothing is folded yet")
    log_position: dict[str, dict[str, int]] = Field(
        description="by topic and partition, the offset below which every record is in the figures"
    )
    coverage: Coverage
    filters: Narrowed
    rows: list[RowT]


def questions() -> tuple[Question, ...]:
    """Return every question: one file of `api.queries` each, found by this call."""
    names = sorted(name for _, name, _ in pkgutil.iter_modules(api.queries.__path__))
    modules = [importlib.import_module(f"api.queries.{name}") for name in names]
    return tuple(module.QUESTION for module in modules if hasattr(module, "QUESTION"))


class Analytics:
    """Answers questions from the tables."""

    def __init__(self, store: TableStore, freshness: Freshness, twins: Twins, clock: Clock, metrics: Metrics) -> None:
        self._metrics = metrics
        self._store = store
        self._freshness = freshness
        self._twins = twins
        self._zones = Zones(store)
        self._clock = clock

    async def answer(self, question: Question, filters: Filters, form: Form) -> Response:
        """Return the answer; what JSON says around the rows, other forms say in headers.

        Raises LogUnavailable or StoreUnavailable.
        """
        # Both are taken before the tables are read: the figures hold at least this much.
        asked_at = self._clock.now()
        as_of = asked_at
        for name, topic in question.projections.items():
            as_of = min(as_of, await self._freshness.complete_until(name, topic, asked_at))
        as_of = min(as_of, filters.as_of)
        position = self._freshness.position(question.projections)
        parameters = filters.parameters() | {"as_of": as_of} | await self._further(question.sql + question.coverage)
        written = _FORMS[form]
        sql = f"{question.sql}SETTINGS {LIMITS}, {written.settings}"
        rows = await self._store.query_bytes(sql, written.clickhouse, _used(question.sql, parameters))
        at = date_time(as_of) if as_of > 0 else None
        if form is not Form.JSON:
            headers = {
                "x-as-of": at or "",
                "x-log-position": _json.encode(position).decode(),
                "x-metric-version": str(question.metric_version),
                "content-disposition": f'inline; filename="{question.path.replace("/", "-")}.{form.value}"',
            }
            return Response(rows, media_type=written.media_type, headers=headers)
        counted, known = (await self._store.query(question.coverage, _used(question.coverage, parameters)))[0]
        body = _json.encode(
            {
                "question": question.path,
                "metric_version": question.metric_version,
                "grain": question.grain,
                "as_of": at,
                "log_position": position,
                "coverage": {
                    "counted": counted,
                    "known": known,
                    "share": cast(int, counted) / cast(int, known) if known else None,
                    "of": question.counted,
                },
                "filters": filters.applied(),
                "rows": Raw(rows.strip() or b"[]"),
            }
        )
        return Response(body, media_type=written.media_type)

    async def _further(self, sql: str) -> dict[str, object]:
        """Return the parameters of the statement that the query does not say."""
        further: dict[str, object] = {}
        if "{twins:" in sql:
            further["twins"] = await self._twins.hidden()
        if "{offsets:" in sql:
            further["offsets"] = [tuple(period) for period in await self._zones.periods(self._clock.now())]
        if "{given:" in sql:
            further["given"] = [(*labels, int(count)) for labels, count in sorted(self._metrics.values(LOSSES).items())]
        return further


def router(analytics: Analytics, asked: Sequence[Question], operator: Callable[[Request], Awaitable[None]]) -> APIRouter:
    """Return one GET per question below /analytics, for whom `operator` lets pass."""
    router = APIRouter(prefix="/analytics", tags=["analytics"], dependencies=[Depends(operator)])
    for question in asked:
        router.add_api_route(
            f"/{question.path}",
            _endpoint(analytics, question),
            methods=["GET"],
            response_model=cast(Any, Answered)[question.row],
            summary=question.title,
            description=f"{question.grain[:1].upper()}{question.grain[1:]}.",
            operation_id=question.path.replace("/", "_").replace("-", "_"),
            responses={200: {"content": {form.media_type: {} for form in _FORMS.values() if form.clickhouse != "JSONEachRow"}}},
        )
    return router


def _endpoint(analytics: Analytics, question: Question) -> Callable[..., Awaitable[Response]]:
    async def answer(
        request: Request,
        filters: Annotated[Filters, Depends(question.filters)],
        form: Annotated[Form | None, Query(alias="format", description="by default what the Accept header asks for")] = None,
    ) -> Response:
        return await analytics.answer(question, filters, form or _accepted(request.headers.get("accept", "")))

    return answer


def _accepted(accept: str) -> Form:
    """Return the first form that the header names; JSON where it names none of ours."""
    for part in accept.split(","):
        wanted = part.partition(";")[0].strip().lower()
        for form, written in _FORMS.items():
            if wanted == written.media_type:
                return form
    return Form.JSON


def _used(sql: str, parameters: dict[str, object]) -> dict[str, object]:
    """Return the parameters that the statement names; ClickHouse takes no others over HTTP's limits for nothing."""
    return {name: value for name, value in parameters.items() if f"{{{name}:" in sql}


_json: Final = msgspec.json.Encoder(decimal_format="number")
