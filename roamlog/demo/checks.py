"""What must be true of everything that roamlog gives back, each compared with what the platforms believe."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from msgspec import Struct

from roamlog.demo.card import Question
from roamlog.demo.charging import Object
from roamlog.demo.checker import differences, differing, named, undated
from roamlog.demo.platforms import OperatorPlatform, Platform
from roamlog.demo.world import Provider

READ_WITHIN_S: Final = 30
READ_BACK: Final = 25

NAMES: Final = {"locations": "Locations", "tariffs": "Tariffs", "tokens": "Tokens", "sessions": "Sessions", "cdrs": "CDRs"}


class Check(Struct):
    """Something that must be true, and what is wrong where it is not."""

    title: str
    wrong: list[str]


async def read_back(operators: Iterable[OperatorPlatform]) -> Check:
    """Each operator reads what it wrote, the Sessions of other eMSPs' drivers among it."""
    wrong, read = [], 0
    for operator in operators:
        for name, wanted, given in await operator.read_back(READ_BACK):
            read += 1
            wrong += [f"{operator.operator.party} {name}: {one}" for one in differing(wanted, given or {})]
    return Check(f"{read} Locations, EVSEs, Tariffs, Sessions and CDRs that the operators read back are what they sent", wrong)


async def crawled(
    reader: Platform,
    whose: str,
    module: str,
    believed: Mapping[str, Object],
    pages: dict[str, int],
    *,
    beside: Sequence[Object] = (),
) -> tuple[Check, list[Object]]:
    """Compare a list, followed to its end, with what should be in it, and nothing else; return what was in it, too.

    `beside` are objects of which nobody can say when they were last updated.
    """
    until = time.monotonic() + READ_WITHIN_S
    while True:
        crawl = await reader.crawl(module)
        # A list holds back what came in the last seconds where it would not fit on the last page.
        if len(crawl.objects) >= len(believed) + len(beside) or time.monotonic() > until:
            break
        await asyncio.sleep(0.5)
    pages[module] = crawl.pages
    pages_said = "1 page" if crawl.pages == 1 else f"{crawl.pages} pages"
    title = f"{len(crawl.objects):,} {NAMES[module]} on {pages_said} of {whose} list equal what their owners believe"
    undated_ones = {named(one): undated(one) for one in beside}
    wrong = differences(believed, [one for one in crawl.objects if named(one) not in undated_ones])
    found = [undated(one) for one in crawl.objects if named(one) in undated_ones]
    wrong += differences(undated_ones, found)
    if crawl.total != len(crawl.objects):
        wrong.append(f"X-Total-Count is {crawl.total:,}")
    return Check(title, wrong), crawl.objects


def for_provider(operators: Iterable[OperatorPlatform], module: str, provider: Provider) -> dict[str, Object]:
    """Return what an eMSP should find: its own drivers' Sessions and CDRs, and the Locations that are for everybody."""
    objects: list[Object] = []
    for operator in operators:
        stories = [story for story in operator.script.stories if story.charging.driver.provider is provider]
        match module:
            case "locations":
                objects += [place.location for place in operator.script.places if place.location["publish"]]
            case "tariffs":
                objects += operator.script.offer.tariffs
            case "sessions":
                objects += [story.session for story in stories]
            case "cdrs":
                objects += [cdr for story in stories for cdr in story.cdrs]
    return {named(one): one for one in objects}


def authorized(questions: Sequence[Question], given: Sequence[Object | None]) -> Check:
    """Compare the answers to real-time authorizations; each that allows has a reference of its own, and no other has one."""
    wrong, references, counts = [], set[str](), Counter[str]()
    for question, info in zip(questions, given, strict=True):
        answer = dict(info or {})
        reference = answer.pop("authorization_reference", None)
        wanted = question.info or {}
        counts[wanted.get("allowed", "unknown").lower()] += 1
        wrong += [f"{question.step.path}: {one}" for one in differing(wanted, answer)]
        if (reference is not None) != (wanted.get("allowed") == "ALLOWED") or reference in references:
            wrong.append(f"{question.step.path}: authorization_reference is {reference!r}")
        if reference is not None:
            references.add(reference)
    said = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return Check(f"{len(questions)} authorizations in real time were answered rightly: {said}", wrong)


def priced(sessions: Iterable[Object], tariffs: Iterable[Object]) -> Check:
    """Compute what every Session that names its Tariff costs, from nothing but what the eMSP was given."""
    wrong, count = [], 0
    by_name = {named(tariff): tariff for tariff in tariffs}
    for session in sessions:
        for tariff_id in {period["tariff_id"] for period in session["charging_periods"]}:
            count += 1
            tariff = by_name.get(f"{session['country_code']}*{session['party_id']} {tariff_id}")
            if tariff is None:
                wrong.append(f"{named(session)} names the Tariff {tariff_id}, which is not served")
                continue
            wrong += [f"{named(session)}: {one}" for one in differing(_price(tariff, session["kwh"]), session["total_cost"])]
    return Check(f"{count:,} Sessions cost, to the cent, what the Tariffs on the eMSP's list say", wrong)


def _price(tariff: Object, kwh: Decimal) -> Object:
    components = {one["type"]: one for element in tariff["elements"] for one in element["price_components"]}
    energy = components["ENERGY"]
    excl_vat = _cents(energy["price"] * kwh) + (components["FLAT"]["price"] if "FLAT" in components else 0)
    return {"excl_vat": excl_vat, "incl_vat": _cents(excl_vat * (100 + energy["vat"]) / 100)}


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)
