"""The settings: environment variables `ROAMLOG_…`, each declared once with its default, its unit and what it takes."""

import difflib
import os
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ingest.errors import InvalidPartner
from ingest.partners import party_roles
from roamlog.errors import Unusable
from schemas.party import PartyRole

PREFIX: Final = "ROAMLOG_"
MIB: Final = 1024 * 1024

BESIDE: Final = frozenset({"ROAMLOG_DATA"})
"""Variables with the prefix that are an option's default on the command line, and no settings."""


def _roles(text: object) -> object:
    if not isinstance(text, str):
        return text
    found: list[PartyRole] = []
    for part in text.split(","):
        party, _, role = part.strip().partition(":")
        try:
            found += party_roles([party], [role])
        except InvalidPartner as fault:
            raise ValueError(str(fault)) from fault
    return tuple(found)


def _party(text: object) -> object:
    if not isinstance(text, str) or not text:
        return text
    try:
        return party_roles([text], ["HUB"])[0].party
    except InvalidPartner as fault:
        raise ValueError(str(fault)) from fault


def _url(text: object) -> object:
    if isinstance(text, str) and text:
        scheme, separator, rest = text.partition("://")
        if scheme not in {"http", "https"} or not separator or not rest.strip("/"):
            raise ValueError("no scheme and host")
        return text.rstrip("/")
    return text


class Settings(BaseSettings):
    """How this process behaves. Read with `read`; a field's `examples` say what it takes, in words that end a sentence."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True, arbitrary_types_allowed=True)

    public_url: Annotated[str, BeforeValidator(_url)] = Field(
        "",
        description="where partners reach this house; by default the address it listens on",
        examples=["a URL such as https://ocpi.example.com"],
    )
    host: str = Field("127.0.0.1", description="the address to listen on", min_length=1, examples=["a host name or an IP address"])
    port: int = Field(
        8080, description="the port to listen on; 0 takes a free one", ge=0, le=65535, examples=["a whole number from 0 to 65535"]
    )
    roles: Annotated[tuple[PartyRole, ...], NoDecode, BeforeValidator(_roles)] = Field(
        party_roles(["ZZ*RML"], ["CPO", "EMSP"]),
        description="our own parties and roles in OCPI",
        examples=["a list such as NL*TNM:CPO,NL*TNM:EMSP"],
    )
    hub_party_id: Annotated[str, BeforeValidator(_party)] = Field(
        "",
        description="our country code and party id as a hub, which tells its partners of each other; by default none is told",
        examples=["a party such as NL*HUB"],
    )
    body_limit_bytes: int = Field(
        4 * MIB,
        description="the longest request body taken; beyond it HTTP 413",
        ge=1024,
        le=10 * MIB,
        examples=["bytes, from 1024 to 10485760"],
    )
    page_limit: int = Field(
        1000,
        description="the most objects on one page of an OCPI list",
        ge=1,
        le=10_000,
        examples=["a whole number from 1 to 10000"],
    )
    read_wait_s: float = Field(
        2.0, description="seconds that a read waits for what was written before it", ge=0, le=30, examples=["seconds, from 0 to 30"]
    )
    patch_wait_s: float = Field(
        2.0,
        description="seconds that the PATCH of an unknown object waits for its PUT to be folded",
        ge=0,
        le=30,
        examples=["seconds, from 0 to 30"],
    )
    request_s: float = Field(
        60.0,
        description="seconds that a request may take to arrive whole; then HTTP 408",
        gt=0,
        le=3600,
        examples=["seconds, above 0 to 3600"],
    )
    partitions: int = Field(
        4,
        description="partitions of a topic in a new log; a log keeps the count that it was made with",
        ge=1,
        le=64,
        examples=["a whole number from 1 to 64"],
    )
    state_cache_bytes: int = Field(
        16 * MIB, description="bytes of states that each projection keeps in memory", ge=MIB, examples=["bytes, at least 1048576"]
    )
    key_cache_bytes: int = Field(
        32 * MIB,
        description="bytes of known keys that the Receiver interfaces keep in memory",
        ge=MIB,
        examples=["bytes, at least 1048576"],
    )
    projector: Literal["running", "paused"] = Field(
        "running", description="paused takes pushes and folds nothing, for measurements", examples=["running or paused"]
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="how much is said on standard error", examples=["debug, info, warning or error"]
    )


class Setting(NamedTuple):
    """A row of the table of settings."""

    variable: str
    default: str
    meaning: str


def table() -> Iterator[Setting]:
    """Yield every setting, in order; README's table is tested against it."""
    for name, field in Settings.model_fields.items():
        default = field.default
        if name == "roles":
            default = ",".join(f"{role.party}:{role.role}" for role in default)
        yield Setting(PREFIX + name.upper(), str(default) or "(none)", f"{field.description}")


def read(**options: Any) -> Settings:
    """Return the settings of the environment, over which the given options of the command line go (None: not given).

    Raises Unusable with one sentence that says what to change; a variable that nearly is a setting is refused as well,
    because a misspelled setting that does nothing is found last.
    """
    known = [row.variable for row in table()]
    for variable in os.environ:
        name = variable.upper()
        is_unknown = name.startswith(PREFIX) and name not in known and name not in BESIDE
        if is_unknown and (near := difflib.get_close_matches(name, known, 1, 0.85)):
            raise Unusable(f"{variable} is no setting; did you mean {near[0]}?")
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as fault:
        error = fault.errors()[0]
        name = str(error["loc"][0]).lower().removeprefix(PREFIX.lower())
        field = Settings.model_fields[name]
        shown = f"--{name.replace('_', '-')}" if name in given else PREFIX + name.upper()
        takes = field.examples[0] if field.examples else field.description
        raise Unusable(f"{shown} is {str(error['input'])[:80]!r}, but takes {takes}") from fault
