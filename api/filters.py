"""What a question may be narrowed to, as query parameters: each question takes one of the sets below."""

import re
from typing import Annotated, Final, Literal, TypeAlias, get_args

from fastapi import Query
from msgspec import Struct

from api.errors import Refusal
from api.parameters import moment
from schemas.location import Status as EvseStatus
from schemas.ocpi.response import Status
from schemas.types import EARLIEST, LATEST, Instant, Module, date_time, identity

Level = Literal["party", "country", "location"]

_PARTY: Final = re.compile(r"[A-Za-z]{2}\*[A-Za-z0-9]{3}")
_COUNTRY: Final = re.compile(r"[A-Za-z]{3}")
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_ID_CHARACTERS: Final = 255


class Filters(Struct, frozen=True, kw_only=True):
    """What a question is narrowed to; the defaults narrow nothing.

    `party` is an owner (`NL*TNM`), `since` and `until` an interval `[since, until)`, `country` as Locations write it (ISO
    3166-1 alpha-3), `location` a lowered id, `connection` a partner's name, `module` a ModuleID. `by` is the level down
    to which rows go. What arrived after `as_of` is not known.
    """

    party: str = ""
    since: Instant = EARLIEST
    until: Instant = LATEST
    country: str = ""
    location: str = ""
    status: str = ""
    connection: str = ""
    module: str = ""
    by: Level = "location"
    as_of: Instant = LATEST

    def parameters(self) -> dict[str, object]:
        """Return the bound parameters that every statement may use."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    def applied(self) -> dict[str, str | None]:
        """Return what was narrowed, in the words of the query; `party`, `from` and `to` always, null where they are open."""
        always = {
            "party": self.party or None,
            "from": None if self.since == EARLIEST else date_time(self.since),
            "to": None if self.until == LATEST else date_time(self.until),
        }
        further = {name: getattr(self, name) for name in ("country", "location", "status", "connection", "module")}
        return always | {name: value for name, value in further.items() if value}


Party: TypeAlias = Annotated[str, Query(description="an owner, such as NL*TNM")]
From: TypeAlias = Annotated[str, Query(alias="from", description="a day (UTC) or a DateTime, inclusive")]
To: TypeAlias = Annotated[str, Query(alias="to", description="a day (UTC) or a DateTime, exclusive")]
Country: TypeAlias = Annotated[str, Query(description="the Location's country, ISO 3166-1 alpha-3, such as NLD")]
Location: TypeAlias = Annotated[str, Query(description="a Location's id")]
Connection: TypeAlias = Annotated[str, Query(description="a partner's name")]
ModuleName: TypeAlias = Annotated[str, Query(alias="module", description=f"one of {', '.join(Module)}")]
AsOf: TypeAlias = Annotated[str, Query(description="a day (UTC) or a DateTime: as it was known then; by default now")]


def of_owner(party: Party = "", since: From = "", until: To = "") -> Filters:
    """An owner and an interval."""
    return Filters(party=_party(party), since=_instant("from", since, EARLIEST), until=_instant("to", until, LATEST))


def of_connection(connection: Connection = "", module: ModuleName = "", since: From = "", until: To = "") -> Filters:
    """A partner, a module and an interval."""
    if len(connection) > _ID_CHARACTERS:
        raise _wrong("connection: the text is too long for a partner's name")
    if module and module not in set(Module):
        raise _wrong(f"module: {module[:40]!r} is none of {', '.join(Module)}")
    return Filters(
        connection=connection,
        module=module,
        since=_instant("from", since, EARLIEST),
        until=_instant("to", until, LATEST),
    )


def of_place(party: Party = "", country: Country = "", location: Location = "", since: From = "", until: To = "") -> Filters:
    """An owner, a country, a Location and an interval."""
    return Filters(
        party=_party(party),
        since=_instant("from", since, EARLIEST),
        until=_instant("to", until, LATEST),
        country=_country(country),
        location=_location(location),
    )


def of_status(  # noqa: PLR0917
    party: Party = "",
    country: Country = "",
    location: Location = "",
    status: Annotated[str, Query(description=f"one of {', '.join(get_args(EvseStatus))}")] = "",
    by: Annotated[Level, Query(description="the level down to which rows go")] = "location",
    since: From = "",
    until: To = "",
) -> Filters:
    """A place and a status, and the level down to which rows go."""
    if status and status.upper() not in get_args(EvseStatus):
        raise _wrong(f"status: {status[:40]!r} is no Status of an EVSE")
    return Filters(
        party=_party(party),
        since=_instant("from", since, EARLIEST),
        until=_instant("to", until, LATEST),
        country=_country(country),
        location=_location(location),
        status=status.upper(),
        by=by,
    )


def as_known(  # noqa: PLR0917
    party: Party = "", country: Country = "", location: Location = "", since: From = "", until: To = "", as_of: AsOf = ""
) -> Filters:
    """A place, and the instant whose knowledge is asked for."""
    return Filters(
        party=_party(party),
        since=_instant("from", since, EARLIEST),
        until=_instant("to", until, LATEST),
        country=_country(country),
        location=_location(location),
        as_of=_instant("as_of", as_of, LATEST),
    )


def _party(text: str) -> str:
    if text and not _PARTY.fullmatch(text):
        raise _wrong(f"party: {text[:40]!r} is no party such as NL*TNM")
    return text.upper()


def _country(text: str) -> str:
    if text and not _COUNTRY.fullmatch(text):
        raise _wrong(f"country: {text[:40]!r} is no country such as NLD")
    return text.upper()


def _location(text: str) -> str:
    if len(text) > _ID_CHARACTERS:
        raise _wrong("location: the text is too long for an id")
    return identity(text)


def _instant(name: str, text: str, default: Instant) -> Instant:
    if not text:
        return default
    try:
        return moment(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
    except ValueError as fault:
        raise _wrong(f"{name}: {text[:40]!r} is neither a day such as 2026-10-28 nor a DateTime") from fault


def _wrong(message: str) -> Refusal:
    return Refusal(400, Status.INVALID_PARAMETERS, message)
