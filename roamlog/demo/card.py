"""What an eMSP's platform sends of its drivers' Tokens, and what operators ask of them before they let somebody charge."""

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from roamlog.demo.charging import Object, date_time
from roamlog.demo.step import NO_TOKEN, NOT_JSON, REFUSED, Step, encode
from roamlog.demo.world import Driver, Operator, World

ASKED: Final = 40
"""So many authorizations each operator asks for."""

_BLOCKED: Final = 9
"""One card in so many is blocked."""


class Card(Struct, frozen=True):
    """A driver's requests in their order, and the Token as its eMSP believes it to be."""

    driver: Driver
    steps: tuple[Step, ...]
    token: Object


class Question(Struct, frozen=True):
    """A real-time authorization: the request and the AuthorizationInfo that is right, but for its reference; None: no answer."""

    step: Step
    info: Object | None


def cards(world: World, seed: int, now: datetime) -> Iterator[Card]:
    """Yield the Tokens of the eMSP's drivers; the same seed tells the same story, counted back from `now`."""
    dice = random.Random(f"cards {seed}")
    for number, driver in enumerate(one for one in world.drivers if one.provider is world.provider):
        made = now - timedelta(days=dice.randint(30, 900), seconds=dice.randint(0, 86_400))
        issued = _token(driver, made)
        path = f"/ocpi/2.2.1/receiver/tokens/{driver.provider.country_code}/{driver.provider.party_id}/{driver.uid}"
        # OCPI 2.2.1 mod_tokens: a path without a type means RFID.
        path += "" if driver.token_type == "RFID" else f"?type={driver.token_type}"
        put = Step("PUT", path, encode(issued))
        if number % _BLOCKED:
            yield Card(driver, tuple(_soiled(dice, [put])), issued)
            continue
        # Lost a minute ago: no session begins with a card that is blocked.
        blocks = {"valid": False, "last_updated": date_time(now - timedelta(seconds=dice.randint(1, 55)))}
        patch = Step("PATCH", path, encode(blocks))
        steps = [put, patch]
        if dice.random() < 0.3:
            stale = {"valid": True, "last_updated": date_time(made + timedelta(hours=1))}
            steps.append(Step("PATCH", path, encode(stale), dirt="late PATCH of a blocked Token"))
        yield Card(driver, tuple(_soiled(dice, steps)), issued | blocks)


def questions(operator: Operator, world: World, cards: Sequence[Card], seed: int) -> Iterator[Question]:
    """Yield what an operator asks: of cards that may charge, of blocked ones, of an unconnected eMSP's and of nobody's."""
    dice = random.Random(f"questions {seed} {operator.party}")
    blocked = [card for card in cards if not card.token["valid"]]
    for card in (*dice.sample(cards, ASKED - 10), *dice.sample(blocked, 5)):
        site = dice.choice(operator.sites)
        places: tuple[Object | None, ...] = (
            None,
            {"location_id": site.id, "evse_uids": [site.evses[0].uid]},
            {"location_id": site.id},
        )
        place = dice.choice(places)
        allowed = card.token["valid"]
        info = {"allowed": "ALLOWED" if allowed else "BLOCKED", "token": card.token}
        yield Question(_ask(card.driver, place), info | ({"location": place} if place and allowed else {}))
    strangers = [driver for driver in world.drivers if driver.provider is world.stranger]
    for driver in dice.sample(strangers, 4):
        yield Question(_unknown(_ask(driver, None)), None)
    # A card's type belongs to its name.
    other_type = next(card.driver for card in cards if card.driver.token_type == "APP_USER")
    nameless = _ask(other_type, None).path.removesuffix("?type=APP_USER")
    yield Question(_unknown(Step("POST", nameless, b"")), None)


def _token(driver: Driver, at: datetime) -> Object:
    is_card = driver.token_type == "RFID"
    return {
        "country_code": driver.provider.country_code,
        "party_id": driver.provider.party_id,
        "uid": driver.uid,
        "type": driver.token_type,
        "contract_id": driver.contract_id,
        **({"visual_number": f"{driver.provider.party_id}-{driver.contract_id[-10:-2]}"} if is_card else {}),
        "issuer": driver.provider.name,
        "valid": True,
        "whitelist": "ALLOWED" if is_card else "NEVER",
        "language": "en",
        "last_updated": date_time(at),
    }


def _ask(driver: Driver, place: Object | None) -> Step:
    kind = "" if driver.token_type == "RFID" else f"?type={driver.token_type}"
    return Step("POST", f"/ocpi/2.2.1/sender/tokens/{driver.uid}/authorize{kind}", b"" if place is None else encode(place))


def _unknown(asked: Step) -> Step:
    return Step(asked.verb, asked.path, asked.body, NO_TOKEN, "Token that no connected eMSP has")


def _soiled(dice: random.Random, steps: Sequence[Step]) -> Iterator[Step]:
    for step in steps:
        chance = dice.random()
        if step.verb == "PUT" and chance < 0.02:
            yield Step("PUT", step.path, step.body[:-9], NOT_JSON, "broken JSON")
        elif step.verb == "PUT" and chance < 0.04:
            unknown = step.body.replace(b'"whitelist":"', b'"whitelist":"MOSTLY_')
            yield Step("PUT", step.path, unknown, REFUSED, "value that OCPI does not know")
        elif chance > 0.95:
            yield step.soiled(step.dirt or "duplicate")
        yield step
