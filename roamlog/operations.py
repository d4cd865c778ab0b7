"""What an operator can do to a data folder, as plain functions over a node: run in the command or in the serving process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Struct, structs

from ingest import connections as invitations
from ingest.errors import IngestError, InvalidPartner, InvalidToken
from ingest.load import VERB, FileReport, Load, Progress
from ingest.partners import Connection, party_roles, roles_of
from ingest.replay import Replay
from roamlog.errors import Failure, Unusable
from schemas import rejected as rejections
from schemas.crawl import CrawlEnded
from schemas.party import POLICIES
from schemas.rejected import Rejected
from schemas.types import Instant, Module, date_time, party_of
from streams.crawled import Crawled
from streams.logs.local import LogDamaged
from streams.moves import Moves
from streams.ports import LogUnavailable, StoreDamaged, StoreUnavailable, TopicPartition
from streams.relift import Relifted
from streams.topics import REJECTED, partition_of
from streams.values import integer
from streams.verify import Difference

if TYPE_CHECKING:  # it loads ClickHouse, which a command that asks the serving process does not need
    from ingest.crawl import Told as Crawling
    from ingest.registration import Registration
    from roamlog.node import Node

LOADED: Final = tuple(VERB)
"""The modules that `load` takes."""

INVITED_HOURS: Final = 24.0 * 366
"""The longest that an invitation may last."""

FOLD_WAIT_S: Final = 10.0
"""How long a question waits for the projections to reach the end that the log has when it is asked."""


class Step(Struct, frozen=True):
    """How far an operation is: what it does now, how much is done of how much (bytes or records)."""

    title: str
    done: int
    total: int


Told = Callable[[Step], None]

AskedT = TypeVar("AskedT", bound=Struct)
FoundT = TypeVar("FoundT", bound=Struct)


class Operation(NamedTuple, Generic[AskedT, FoundT]):
    """One act: its name on the socket, what it is asked with, what it gives, whether it needs the tables or may make the folder."""

    name: str
    asked: type[AskedT]
    found: type[FoundT]
    run: Callable[[Node, AskedT, Told], Awaitable[FoundT]]
    tables: bool = True
    makes: bool = False


class Partner(Struct, frozen=True):
    """A connection as the command line shows it; `roles` as `NL*TNM:CPO`."""

    name: str
    roles: tuple[str, ...]
    version: str
    allowed: tuple[str, ...]
    added_at: str
    registered: bool = False
    modules: tuple[str, ...] = ()
    """What it offers, as `locations:SENDER`, where it said so by registering."""


class Invited(Struct, frozen=True):
    """Who may register, and until when; as whom, where that was said."""

    name: str
    parties: tuple[str, ...]
    roles: tuple[str, ...]
    allowed: tuple[str, ...]
    expires_at: str


class PartnerAdd(Struct, frozen=True):
    """A new partner: every role for every party; a token is made where none is given."""

    name: str
    parties: tuple[str, ...]
    roles: tuple[str, ...]
    token: str | None = None
    allowed: tuple[str, ...] = ()
    version: str = "2.2.1"


class PartnerAdded(Struct, frozen=True):
    """The partner and its token, which is shown this once."""

    partner: Partner
    token: str


class PartnerList(Struct, frozen=True):
    """All partners, please."""


class PartnersListed(Struct, frozen=True):
    """The partners by name, and who is invited to become one."""

    partners: tuple[Partner, ...]
    invited: tuple[Invited, ...] = ()


class PartnerRemove(Struct, frozen=True):
    """Close the connection to a partner."""

    name: str


class PartnerInvite(Struct, frozen=True):
    """Let a partner register itself within so many hours, as one of these parties and roles where any are named."""

    name: str
    parties: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    hours: float = 72.0


class Invitation(Struct, frozen=True):
    """What the partner is to be told by other ways than OCPI: the token is shown this once."""

    invited: Invited
    token: str
    versions_url: str


class PartnerRegister(Struct, frozen=True):
    """Register us with a partner that gave us a token A and the URL of its versions."""

    name: str
    url: str
    token: str
    version: str | None = None
    role: str | None = None
    allowed: tuple[str, ...] = ()


class PartnerRotate(Struct, frozen=True):
    """Change the tokens of a connection, and take over what the partner offers now."""

    name: str
    version: str | None = None


class PartnerUnregister(Struct, frozen=True):
    """End a registration on both sides."""

    name: str


class PartnerNow(Struct, frozen=True):
    """The partner as it is now, or was."""

    partner: Partner


class LoadFiles(Struct, frozen=True):
    """Load these files (absolute paths), objects of one party and module in one OCPI version."""

    version: str
    module: str
    party: str
    files: tuple[str, ...]


class Loaded(Struct, frozen=True):
    """What came of each file."""

    files: tuple[FileReport, ...]


class Rebuild(Struct, frozen=True):
    """Fold the log anew into these projections; none named means all."""

    projections: tuple[str, ...] = ()


class Rebuilt(Struct, frozen=True):
    """The projections that were rebuilt."""

    projections: tuple[str, ...]


class Relift(Struct, frozen=True):
    """Lift again what older revisions of the dialects lifted: of one version, of one module, or all."""

    version: str | None = None
    module: str | None = None


class LiftedAgain(Struct, frozen=True):
    """What was lifted again, and what moved in the tables."""

    relifted: tuple[Relifted, ...]
    moved: tuple[Moves, ...]


class Verify(Struct, frozen=True):
    """Compare every table with what the log says."""


class Verified(Struct, frozen=True):
    """What was compared, and the first differences of each table; none is what everybody hopes for."""

    projections: tuple[str, ...]
    records: int
    differences: tuple[Difference, ...]


class PullRun(Struct, frozen=True):
    """Crawl lists of a partner now: all that it offers, or these modules; with `full` each as a whole."""

    name: str
    modules: tuple[str, ...] = ()
    full: bool = False


class PullLog(Struct, frozen=True):
    """The newest certificates, of one partner where that is named."""

    name: str = ""
    limit: int = 50


class Certificate(Struct, frozen=True):
    """What came of a crawl. `status` is running, complete or incomplete; `oddities` are (page, rule, sentence)."""

    run: str
    connection: str
    module: str
    version: str
    reach: str
    reason: str
    status: str
    started_at: str
    ended_at: str | None
    date_from: str | None
    date_to: str | None
    watermark: str | None
    pages: int
    objects: int
    appended: int
    unchanged: int
    older: int
    refused: int
    drifted: int
    vanished: int
    vanished_ids: tuple[str, ...]
    first_total: int | None
    last_total: int | None
    odd: int
    oddities: tuple[tuple[int, str, str], ...]


class Pulled(Struct, frozen=True):
    """The certificates."""

    crawls: tuple[Certificate, ...]


class PullSet(Struct, frozen=True):
    """Say when a partner's lists are crawled by themselves; no policy only asks. `silent_s` counts for the policy `silent`."""

    name: str
    policy: str | None = None
    silent_s: int = 3600


class PullIs(Struct, frozen=True):
    """When they are."""

    name: str
    policy: str
    silent_s: int


class RejectedList(Struct, frozen=True):
    """The newest refusals, of one party or reason where that is named."""

    limit: int = 50
    party: str | None = None
    open_only: bool = False


class Refusal(Struct, frozen=True):
    """A refusal in one line; `replayed` is the outcome of its last replay, '' where there was none."""

    id: str
    received_at: str
    connection: str
    party: str
    module: str
    method: str
    path: str
    http_status: int
    status_code: int
    source: str
    reason: str
    rules: tuple[str, ...]
    replayed: str


class RejectedListed(Struct, frozen=True):
    """The refusals, newest first, and how many there are in all."""

    refusals: tuple[Refusal, ...]
    total: int


class RejectedShow(Struct, frozen=True):
    """One refusal; the beginning of its id is enough where it is the only one."""

    id: str


class Shown(Struct, frozen=True):
    """The refusal, whole: its body as text (bytes that are no UTF-8 are replaced) and its findings."""

    refusal: Refusal
    version: str
    content_type: str | None
    request_id: str | None
    body: str
    body_length: int
    body_complete: bool
    findings: tuple[tuple[str, str, str, str], ...]


class RejectedReplay(Struct, frozen=True):
    """Process these refusals anew, or all that have not been taken yet."""

    ids: tuple[str, ...]
    all: bool = False


class Replayed(Struct, frozen=True):
    """The outcome of each: created, updated, duplicate, refused or not replayable, and why."""

    outcomes: tuple[tuple[str, str, str], ...]


async def partner_add(node: Node, asked: PartnerAdd, told: Told) -> PartnerAdded:
    """Return the new partner and its token, once it stands in the log.

    Its version is the one in which it is called, and says how its token is written there; it may call us in any.
    """
    _check_spoken(node, asked.version)
    roles = party_roles(asked.parties, asked.roles)
    issued = await node.registry.add(asked.name, roles, version=asked.version, token=asked.token, allowed=asked.allowed)
    return PartnerAdded(_partner(issued.connection), issued.token)


async def partner_list(node: Node, asked: PartnerList, told: Told) -> PartnersListed:
    """Return the partners."""
    await node.registry.catch_up()
    return PartnersListed(tuple(map(_partner, node.registry.list())), tuple(map(_invited, node.registry.invitations())))


async def partner_remove(node: Node, asked: PartnerRemove, told: Told) -> PartnersListed:
    """Return the partner that was removed; none where it was only invited."""
    removed = await node.registry.remove(asked.name)
    return PartnersListed(() if removed is None else (_partner(removed),))


async def partner_invite(node: Node, asked: PartnerInvite, told: Told) -> Invitation:
    """Return the token A and where our versions are, once the invitation stands in the log."""
    if not 0 < asked.hours <= INVITED_HOURS:
        raise Unusable(f"an invitation lasts above 0 to {INVITED_HOURS:.0f} hours, not {asked.hours:g}")
    invitation, token = await node.registry.invite(
        asked.name,
        round(asked.hours * 3_600_000_000),
        parties=asked.parties,
        roles=roles_of(asked.roles),
        allowed=asked.allowed,
    )
    return Invitation(_invited(invitation), token, f"{node.url.rstrip('/')}/ocpi/versions")


async def partner_register(node: Node, asked: PartnerRegister, told: Told) -> PartnerNow:
    """Return the partner, once both sides have registered each other."""
    _check_spoken(node, asked.version)
    made = _registration(node).register(
        asked.name, asked.url, asked.token, version=asked.version, role=asked.role, allowed=asked.allowed
    )
    return PartnerNow(_partner(await made))


async def partner_rotate(node: Node, asked: PartnerRotate, told: Told) -> PartnerNow:
    """Return the partner, once both sides have new tokens."""
    _check_spoken(node, asked.version)
    return PartnerNow(_partner(await _registration(node).rotate(asked.name, version=asked.version)))


async def partner_unregister(node: Node, asked: PartnerUnregister, told: Told) -> PartnerNow:
    """Return the partner that was, once both tokens are dead."""
    return PartnerNow(_partner(await _registration(node).unregister(asked.name)))


def _registration(node: Node) -> Registration:
    from roamlog.handshakes import registration_of

    return registration_of(node.settings, node.registry, node.outbound, node.dialects, node.url)


def _check_spoken(node: Node, version: str | None) -> None:
    if version is not None and version not in node.dialects:
        raise Unusable(f"OCPI {version} is not spoken here; {', '.join(node.dialects)} is")


def _module(name: str) -> Module:
    if name not in set(Module):
        raise Unusable(f"there is no module {name}; there are {', '.join(Module)}")
    return Module(name)


async def load(node: Node, asked: LoadFiles, told: Told) -> Loaded:
    """Return what came of the files."""
    _check_spoken(node, asked.version)
    if asked.module not in set(LOADED):
        raise Unusable(f"module {asked.module} cannot be loaded; {', '.join(LOADED)} can")
    (role,) = party_roles([asked.party], ["OTHER"])
    party = party_of(role.country_code, role.party_id)
    loading = Load(
        log=node.log,
        dialects=node.dialects,
        lookup=node.tables.lookup,
        clock=node.clock,
        existence=node.existence,
        folder=node.folder.loads,
    )

    def progress(at: Progress) -> None:
        told(Step(Path(at.path).name, at.bytes_read, at.bytes_total))

    paths = [Path(file) for file in asked.files]
    report = await loading.files(paths, module=Module(asked.module), version=asked.version, party=party, progress=progress)
    return Loaded(tuple(report.files))


async def rebuild(node: Node, asked: Rebuild, told: Told) -> Rebuilt:
    """Return once new tables, filled from the log's start, serve in place of the old ones."""
    known = [projection.name for projection in node.tables.runtime.projections]
    for name in asked.projections:
        if name not in known:
            raise Unusable(f"there is no projection {name}; there are {', '.join(known)}")
    names = tuple(asked.projections or known)
    await node.tables.runtime.rebuild(names, lambda *step: told(Step(*step)))
    return Rebuilt(names)


async def relift(node: Node, asked: Relift, told: Told) -> LiftedAgain:
    """Return once the tables say what the mended dialects make of what was received."""
    _check_spoken(node, asked.version)
    module = None if asked.module is None else _module(asked.module)
    relifted, moved = await node.tables.runtime.relift(asked.version, module, lambda *step: told(Step(*step)))
    return LiftedAgain(tuple(relifted), tuple(moved))


async def verify(node: Node, asked: Verify, told: Told) -> Verified:
    """Return where the tables do not say what the log says."""
    runtime = node.tables.runtime
    topics = {topic for projection in runtime.projections for topic in projection.topics}
    records = sum([sum((await node.log.end(topic)).values()) for topic in topics])
    differences = await runtime.verify(lambda *step: told(Step(*step)))
    return Verified(tuple(projection.name for projection in runtime.projections), records, tuple(differences))


async def pull_run(node: Node, asked: PullRun, told: Told) -> Pulled:
    """Return the certificates of the crawls, once they have ended."""
    modules = [_module(name) for name in asked.modules]

    def progress(at: Crawling) -> None:
        told(Step(f"{at.connection} {at.module.value}", at.objects, max(at.total or 0, at.objects)))

    ended = await node.tables.pull.now(asked.name, modules, full=asked.full, told=progress)
    return Pulled(tuple(_certificate(one, "complete" if one.complete else "incomplete") for one in ended))


async def pull_log(node: Node, asked: PullLog, told: Told) -> Pulled:
    """Return the newest certificates."""
    await node.tables.caught_up("crawls", FOLD_WAIT_S)
    crawled = Crawled(node.tables.store, node.log, node.tables.runtime.progress)
    found = await crawled.certificates(asked.name, asked.limit)
    return Pulled(tuple(_certificate(msgspec.json.decode(doc, type=CrawlEnded), status) for doc, status in found))


async def pull_set(node: Node, asked: PullSet, told: Told) -> PullIs:
    """Return when the partner's lists are crawled from now on."""
    await node.registry.catch_up()
    if node.registry.get(asked.name) is None:
        raise Failure(f"no partner is called {asked.name}")
    if asked.policy is None:
        now = node.registry.pull(asked.name)
    else:
        policy = next((one for one in POLICIES if one == asked.policy), None)
        if policy is None:
            raise Unusable(f"{asked.policy!r} is no policy; there are {', '.join(POLICIES)}")
        now = await node.registry.set_pull(asked.name, policy, asked.silent_s)
    return PullIs(now.name, now.policy, now.silent_s)


async def rejected_list(node: Node, asked: RejectedList, told: Told) -> RejectedListed:
    """Return the newest refusals."""
    await node.tables.caught_up("rejected", FOLD_WAIT_S)
    where = (
        "WHERE source != '' AND (party = {party:String} OR {party:String} = '')"
        " AND (replayed IN ('', 'refused') OR NOT {open:Bool})"
    )
    parameters = {"party": (asked.party or "").upper(), "open": asked.open_only, "limit": asked.limit}
    rows = await node.tables.store.query(
        f"SELECT {_REFUSAL_COLUMNS} FROM rejected {where} ORDER BY received_at DESC, rejected_id LIMIT {{limit:UInt32}}", parameters
    )
    ((total,),) = await node.tables.store.query(f"SELECT count() FROM rejected {where}", parameters)
    return RejectedListed(tuple(map(_refusal, rows)), integer(total))


async def rejected_show(node: Node, asked: RejectedShow, told: Told) -> Shown:
    """Return one refusal, whole."""
    await node.tables.caught_up("rejected", FOLD_WAIT_S)
    refusal, rejected = await _find(node, asked.id)
    return Shown(
        refusal=refusal,
        version=rejected.version,
        content_type=rejected.content_type,
        request_id=rejected.request_id,
        body=rejected.body.decode(errors="replace"),
        body_length=rejected.body_length,
        body_complete=len(rejected.body) == rejected.body_length,
        findings=tuple((f.pointer, f.rule, f.severity, f.message) for f in rejected.findings),
    )


async def rejected_replay(node: Node, asked: RejectedReplay, told: Told) -> Replayed:
    """Return what came of each refusal, processed with today's rules."""
    await node.tables.caught_up("rejected", FOLD_WAIT_S)
    ids = list(asked.ids)
    if asked.all:
        rows = await node.tables.store.query(
            "SELECT rejected_id FROM rejected"
            " WHERE source IN ('push', 'load', 'pull') AND replayed IN ('', 'refused') ORDER BY received_at"
        )
        ids += [_text(row[0]) for row in rows]
    replay = Replay(log=node.log, push=node.tables.push, registry=node.registry, dialects=node.dialects, clock=node.clock)
    outcomes: list[tuple[str, str, str]] = []
    for number, refusal_id in enumerate(dict.fromkeys(ids)):
        told(Step("replaying", number, len(ids)))
        refusal, rejected = await _find(node, refusal_id)
        try:
            record = await replay.replay(rejected)
            outcomes.append((refusal.id, record.outcome or "", record.reason))
        except IngestError as fault:
            outcomes.append((refusal.id, "not replayable", str(fault)))
    return Replayed(tuple(outcomes))


OPERATIONS: Final[tuple[Operation[Any, Any], ...]] = (
    PARTNER_ADD := Operation("partner-add", PartnerAdd, PartnerAdded, partner_add, tables=False, makes=True),
    PARTNER_LIST := Operation("partner-list", PartnerList, PartnersListed, partner_list, tables=False),
    PARTNER_REMOVE := Operation("partner-remove", PartnerRemove, PartnersListed, partner_remove, tables=False),
    PARTNER_INVITE := Operation("partner-invite", PartnerInvite, Invitation, partner_invite, tables=False, makes=True),
    PARTNER_REGISTER := Operation("partner-register", PartnerRegister, PartnerNow, partner_register, tables=False, makes=True),
    PARTNER_ROTATE := Operation("partner-rotate", PartnerRotate, PartnerNow, partner_rotate, tables=False),
    PARTNER_UNREGISTER := Operation("partner-unregister", PartnerUnregister, PartnerNow, partner_unregister, tables=False),
    LOAD := Operation("load", LoadFiles, Loaded, load, makes=True),
    REBUILD := Operation("rebuild", Rebuild, Rebuilt, rebuild),
    RELIFT := Operation("relift", Relift, LiftedAgain, relift),
    VERIFY := Operation("verify", Verify, Verified, verify),
    PULL_RUN := Operation("pull-run", PullRun, Pulled, pull_run),
    PULL_LOG := Operation("pull-log", PullLog, Pulled, pull_log),
    PULL_SET := Operation("pull-set", PullSet, PullIs, pull_set, tables=False),
    REJECTED_LIST := Operation("rejected-list", RejectedList, RejectedListed, rejected_list),
    REJECTED_SHOW := Operation("rejected-show", RejectedShow, Shown, rejected_show),
    REJECTED_REPLAY := Operation("rejected-replay", RejectedReplay, Replayed, rejected_replay),
)


def failure_of(fault: BaseException) -> Failure | None:
    """Return what a known fault of an operation means to the person who asked, None for a defect."""
    match fault:
        case Failure():
            return fault
        case InvalidPartner() | InvalidToken():
            return Unusable(str(fault))
        case IngestError() | LogUnavailable() | LogDamaged():
            return Failure(str(fault))
        case StoreDamaged():
            return Failure("the tables cannot be read, so they are made anew from the log now; run the command again")
        case StoreUnavailable():
            said = (str(fault).strip().splitlines() or [""])[0][:200]
            return Failure(f"the tables cannot be used now ({said}); is there room on the disk?")
        case _:
            return None


_REFUSAL_COLUMNS: Final = (
    "rejected_id, received_at, connection, party, module, method, path, http_status, status_code, source, reason, rules, replayed"
)


def _refusal(row: Sequence[object]) -> Refusal:
    (rejected_id, received_at, connection, party, module, method, path, http, code, source, reason, rules, replayed) = row
    return Refusal(
        id=_text(rejected_id),
        received_at=date_time(integer(received_at)),
        connection=_text(connection),
        party=_text(party),
        module=_text(module),
        method=_text(method),
        path=_text(path),
        http_status=integer(http),
        status_code=integer(code),
        source=_text(source),
        reason=_text(reason),
        rules=tuple(map(_text, rules if isinstance(rules, list | tuple) else ())),
        replayed=_text(replayed),
    )


async def _find(node: Node, beginning: str) -> tuple[Refusal, Rejected]:
    rows = await node.tables.store.query(
        f"SELECT {_REFUSAL_COLUMNS}, topic_offset FROM rejected WHERE startsWith(rejected_id, {{id:String}}) LIMIT 2",
        {"id": beginning.lower()},
    )
    if not rows or not beginning:
        raise Failure(f"there is no refusal {beginning!r}; see roamlog rejected list")
    if len(rows) > 1:
        raise Failure(f"several refusals begin with {beginning!r}; give more of the id")
    *row, offset = rows[0]
    refusal = _refusal(row)
    place = TopicPartition(REJECTED, partition_of(bytes.fromhex(refusal.id), node.log.partitions(REJECTED)))
    found = await node.log.fetch({place: integer(offset)}, max_records=1, wait_s=0.0)
    return refusal, rejections.decode(found[place][0].value)


def _certificate(of: CrawlEnded, status: str) -> Certificate:
    def at(instant: Instant | None) -> str | None:
        return None if instant is None else date_time(instant)

    return Certificate(
        run=of.run,
        connection=of.connection,
        module=of.module.value,
        version=of.version,
        reach=of.reach,
        reason=of.reason,
        status=status,
        started_at=date_time(of.started_at),
        ended_at=None if status == "running" else date_time(of.ended_at),
        date_from=at(of.date_from),
        date_to=at(of.date_to),
        watermark=at(of.watermark),
        pages=of.pages,
        **structs.asdict(of.counts),
        vanished=of.vanished,
        vanished_ids=of.vanished_ids,
        first_total=of.first_total,
        last_total=of.last_total,
        odd=of.odd,
        oddities=tuple((one.page, one.rule, one.message) for one in of.oddities),
    )


def _partner(connection: Connection) -> Partner:
    return Partner(
        name=connection.name,
        roles=tuple(f"{role.party}:{role.role}" for role in connection.roles),
        version=connection.version,
        allowed=connection.allowed,
        added_at=date_time(connection.added_at),
        registered=connection.is_registered,
        modules=tuple(f"{one.identifier}:{one.role}".rstrip(":") for one in connection.endpoints),
    )


def _invited(invitation: invitations.Invitation) -> Invited:
    return Invited(
        name=invitation.name,
        parties=invitation.parties,
        roles=invitation.roles,
        allowed=invitation.allowed,
        expires_at=date_time(invitation.expires_at),
    )


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
