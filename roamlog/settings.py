"""The settings: environment variables `ROAMLOG_…`, each declared once with its default, its unit and what it takes."""

import difflib
import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ingest.errors import InvalidPartner
from ingest.partners import party_roles
from roamlog.errors import Unusable
from schemas.party import PartyRole

PREFIX: Final = "ROAMLOG_"
MIB: Final = 1024 * 1024
SECRET_CHARACTERS: Final = 32

BESIDE: Final = frozenset({"ROAMLOG_DATA", "ROAMLOG_TOKEN_A"})
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
    business_name: str = Field(
        "roamlog",
        description="what we are called in our credentials (business_details)",
        min_length=1,
        max_length=100,
        examples=["a name of at most 100 characters"],
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
    allow_private_partners: bool = Field(
        False,
        description="1 lets partners be at private addresses and without TLS (http), as on a test bench",
        examples=["0 or 1"],
    )
    partner_timeout_s: float = Field(
        30.0,
        description="seconds that a partner which we call may say nothing; the whole of an answer may take four times as long",
        gt=0,
        le=600,
        examples=["seconds, above 0 to 600"],
    )
    pull_every_s: float = Field(
        21_600.0,
        description="seconds between two crawls of a partner's list; 0 crawls only when asked to",
        ge=0,
        le=2_592_000,
        examples=["seconds, from 0 to 2592000"],
    )
    pull_at_once: int = Field(
        8,
        description="how many lists of partners are crawled at the same time",
        ge=1,
        le=1000,
        examples=["a whole number from 1 to 1000"],
    )
    pull_page: int = Field(
        1000,
        description="objects that a crawl asks for on one page",
        ge=1,
        le=100_000,
        examples=["a whole number from 1 to 100000"],
    )
    pull_page_bytes: int = Field(
        256 * MIB,
        description="the longest page of a crawl that is read",
        ge=MIB,
        le=2048 * MIB,
        examples=["bytes, from 1048576 to 2147483648"],
    )
    projector: Literal["running", "paused"] = Field(
        "running", description="paused takes pushes and folds nothing, for measurements", examples=["running or paused"]
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="how much is said on standard error", examples=["debug, info, warning or error"]
    )

    @property
    def own_url(self) -> str:
        """Where this house is reached that has no public URL, once it listens."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def _secret(text: object) -> object:
    if isinstance(text, str) and 0 < len(text) < SECRET_CHARACTERS:
        raise ValueError("too short")
    return text


def _server(text: object) -> object:
    if isinstance(text, str) and text:
        scheme, separator, rest = text.partition("://")
        host, _, port = rest.rstrip("/").rpartition(":")
        if scheme not in {"http", "https"} or not separator or not host or not port.isdigit() or "/" in host or "@" in host:
            raise ValueError("no scheme, host and port")
        return text.rstrip("/")
    return text


class Scale(Settings):
    """How a process behaves that shares Kafka and ClickHouse with others: `Settings`, and where those are."""

    kafka: str = Field(
        "127.0.0.1:9092", description="the Kafka brokers to begin with", min_length=1, examples=["host:port, several with commas"]
    )
    kafka_prefix: str = Field(
        "",
        description="what stands before the names of the topics, for several logs in one cluster",
        pattern=r"^[A-Za-z0-9._-]{0,100}$",
        examples=["letters, digits, dots, hyphens and underscores"],
    )
    kafka_replication: int = Field(
        1, description="on how many brokers prepare keeps a new topic", ge=1, le=10, examples=["a whole number from 1 to 10"]
    )
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how the brokers are spoken to", examples=["PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"]
    )
    kafka_sasl: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="how a user is told to the brokers", examples=["PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"]
    )
    kafka_user: str = Field("", description="the user of the brokers, with SASL", examples=["a user name"])
    kafka_password: str = Field("", description="the password of that user", examples=["a password"], repr=False)
    kafka_ca: str = Field("", description="the file with the authorities that the brokers' TLS is checked by", examples=["a path"])
    kafka_group: str = Field(
        "roamlog-streams", description="the consumer group of the workers", min_length=1, examples=["the name of a group"]
    )
    health_port: int = Field(
        0,
        description="the port at which streams, or pull, tells how it fares (/health, /ready, /metrics); 0 takes a free one",
        ge=0,
        le=65535,
        examples=["a whole number from 0 to 65535"],
    )
    clickhouse: Annotated[str, BeforeValidator(_server)] = Field(
        "http://127.0.0.1:8123", description="the ClickHouse server", examples=["a URL such as https://clickhouse.example.com:8443"]
    )
    clickhouse_user: str = Field("roamlog", description="the user of ClickHouse", examples=["a user name"])
    clickhouse_password: str = Field("", description="the password of that user", examples=["a password"], repr=False)
    clickhouse_database: str = Field(
        "roamlog",
        description="the database of the tables",
        pattern=r"^[a-z_][a-z0-9_]*$",
        examples=["small letters, digits and underscores"],
    )
    clickhouse_cluster: str = Field(
        "",
        description="the ClickHouse cluster whose replicas keep the tables; by default one server does",
        pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$",
        examples=["letters, digits and underscores"],
    )
    clickhouse_connections: int = Field(
        16,
        description="how many questions a process asks it at a time",
        ge=1,
        le=256,
        examples=["a whole number from 1 to 256"],
    )
    clickhouse_ca: str = Field("", description="the file with the authorities that its TLS is checked by", examples=["a path"])
    pepper: Annotated[str, BeforeValidator(_secret)] = Field(
        "",
        description="the secret that partners' tokens are hashed with, the same in every process and for ever",
        examples=[f"at least {SECRET_CHARACTERS} characters that nobody guesses"],
        repr=False,
    )
    partner_key: Annotated[str, BeforeValidator(_secret)] = Field(
        "",
        description="the secret that partners' tokens are encrypted with, the same in every process; else it is made of the pepper",
        examples=[f"at least {SECRET_CHARACTERS} characters that nobody guesses"],
        repr=False,
    )
    operator_token: Annotated[str, BeforeValidator(_secret)] = Field(
        "",
        description="the token that opens analytics, /docs and /metrics",
        examples=[f"at least {SECRET_CHARACTERS} characters that nobody guesses"],
        repr=False,
    )


class Setting(NamedTuple):
    """A row of the table of settings."""

    variable: str
    default: str
    meaning: str


def table(scale: bool = False) -> Iterator[Setting]:
    """Yield every setting, in order, or those that only count at scale; README's tables are tested against it."""
    for name, field in Scale.model_fields.items():
        if scale is (name in Settings.model_fields):
            continue
        default = field.default
        if name == "roles":
            default = ",".join(f"{role.party}:{role.role}" for role in default)
        yield Setting(PREFIX + name.upper(), str(default) or "(none)", f"{field.description}")


def read(**options: Any) -> Settings:
    """Return the settings of one process that needs nobody; see `_read`."""
    return _read(Settings, options)


def read_scale(**options: Any) -> Scale:
    """Return the settings of a process that shares Kafka and ClickHouse; see `_read`. Raises Unusable where a secret is missing."""
    found = _read(Scale, options)
    for name in ("pepper", "operator_token"):
        if not getattr(found, name):
            raise Unusable(f"{PREFIX}{name.upper()} is not set, but takes {Scale.model_fields[name].examples[0]}")  # type: ignore[index]
    return found


SettingsT = TypeVar("SettingsT", bound=Settings)


def _read(kind: type[SettingsT], options: Mapping[str, Any]) -> SettingsT:
    """Return the settings of the environment, over which the given options of the command line go (None: not given).

    Raises Unusable with one sentence that says what to change; a variable that nearly is a setting is refused as well,
    because a misspelled setting that does nothing is found last.
    """
    known = [row.variable for scale in (False, True) for row in table(scale)]
    for variable in os.environ:
        name = variable.upper()
        is_unknown = name.startswith(PREFIX) and name not in known and name not in BESIDE
        if is_unknown and (near := difflib.get_close_matches(name, known, 1, 0.85)):
            raise Unusable(f"{variable} is no setting; did you mean {near[0]}?")
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return kind(**given)
    except ValidationError as fault:
        error = fault.errors()[0]
        name = str(error["loc"][0]).lower().removeprefix(PREFIX.lower())
        field = kind.model_fields[name]
        shown = f"--{name.replace('_', '-')}" if name in given else PREFIX + name.upper()
        takes = field.examples[0] if field.examples else field.description
        if not field.repr:  # what is secret is not shown, however wrong it is
            raise Unusable(f"{shown} cannot be used; it takes {takes}") from None
        raise Unusable(f"{shown} is {str(error['input'])[:80]!r}, but takes {takes}") from fault
