"""What an operator's platform sends of its Tariffs, and what they are at the end."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from msgspec import Struct

from roamlog.demo.charging import Object, tariff_object
from roamlog.demo.step import NOT_THERE, REFUSED, TAKEN, Step, encode
from roamlog.demo.world import Operator, Tariff

LAST_YEAR: Final = "2025-01-01T00:00:00Z"
_SUMMER: Final = "2026-06-01T00:00:00Z"


class Offer(Struct, frozen=True):
    """An operator's requests in their order, and its Tariffs as it believes them to be."""

    steps: tuple[Step, ...]
    tariffs: tuple[Object, ...]


def offer(operator: Operator) -> Offer:
    """Return what the operator offers: last year's prices, today's, and a summer's offer that is over."""
    tariffs = [tariff for market in operator.markets for tariff in (market.slow, market.fast)]
    return Offer(
        steps=(*(step for tariff in tariffs for step in _steps(operator, tariff)), *_summer(operator)),
        tariffs=tuple(tariff_object(operator, tariff) for tariff in tariffs),
    )


def _steps(operator: Operator, tariff: Tariff) -> Iterator[Step]:
    path = _path(operator, tariff.id)
    today = encode(tariff_object(operator, tariff))
    earlier = Tariff(tariff.id, tariff.per_kwh - Decimal("0.0150"), Decimal(0), tariff.vat_percent)
    last_year = encode(tariff_object(operator, earlier, LAST_YEAR))
    if tariff is operator.markets[0].slow:
        yield Step("PUT", path, today)
        yield Step("PUT", path, last_year, dirt="late Tariff")
        return
    yield Step("PUT", path, last_year)
    if tariff is operator.markets[0].fast:
        priceless = today.replace(b'"price_components"', b'"price_component"')
        yield Step("PUT", path, priceless, REFUSED, "mandatory field missing")
    yield Step("PUT", path, today)


def _summer(operator: Operator) -> Iterator[Step]:
    tariff = Tariff(f"{operator.party_id}-SUMMER", Decimal("0.2900"), Decimal(0), operator.markets[0].slow.vat_percent)
    path = _path(operator, tariff.id)
    yield Step("PUT", path, encode(tariff_object(operator, tariff, _SUMMER)))
    yield Step("DELETE", path, b"")
    # Where the tables cannot tell in time that it is gone, it goes again.
    yield Step("DELETE", path, b"", (*NOT_THERE, *TAKEN), "deleted twice")


def _path(operator: Operator, tariff_id: str) -> str:
    return f"/ocpi/2.2.1/receiver/tariffs/{operator.country_code}/{operator.party_id}/{tariff_id}"
