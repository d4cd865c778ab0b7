"""A rejection processed anew, with today's dialect and today's partners, as if it came now."""

import hashlib
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace as changed

from ingest.admission import Admitted, Circumstances, NotOwned, admit
from ingest.errors import NotReplayable
from ingest.load import VERB
from ingest.partners import PartnerRegistry
from ingest.push import Push
from ingest.requests import PushRequest, Refusal
from schemas import rejected as rejections
from schemas.events import Origin
from schemas.ocpi.dialect import Dialect, NotJson, Refused
from schemas.ocpi.headers import segments_of
from schemas.ocpi.interface import interface
from schemas.rejected import Rejected
from schemas.types import Finding, Module
from streams.ports import Clock, Entry, EventLog
from streams.topics import REJECTED

_SOURCES: Final = frozenset({"push", "load", "pull"})


class Replay:
    """Replays rejections; each replay is itself recorded in `ocpi.rejected`."""

    def __init__(
        self, *, log: EventLog, push: Push, registry: PartnerRegistry, dialects: Mapping[str, Dialect], clock: Clock
    ) -> None:
        self._log = log
        self._push = push
        self._registry = registry
        self._dialects = dialects
        self._clock = clock

    async def replay(self, rejected: Rejected) -> Rejected:
        """Return the record of what came of it; its `outcome` is created, updated, deleted, duplicate or refused.

        A push is judged as its connection's, a loaded object as its party's, a pulled one as its connection's again. The event gets
        the id that it would have had, so a second replay is a repeat. Raises NotReplayable (nothing recorded) or LogUnavailable.
        """
        if rejected.source not in _SOURCES:
            raise NotReplayable(f"a rejection of source {rejected.source} is not replayed: what was pushed, loaded or pulled is")
        if len(rejected.body) != rejected.body_length or hashlib.sha256(rejected.body).digest() != rejected.body_sha256:
            raise NotReplayable("only the beginning of the body was kept, because it was no JSON")
        outcome, reason, findings, code = await self._outcome(rejected)
        at = self._clock.now()
        record = changed(
            rejected,
            rejected_id=hashlib.blake2b(rejected.rejected_id + at.to_bytes(8, "big"), digest_size=16).digest(),
            received_at=at,
            source="replay",
            reason=reason,
            findings=findings,
            http_status=None,
            status_code=code,
            body=b"",
            replay_of=rejected.rejected_id,
            outcome=outcome,
        )
        await self._log.append([Entry(REJECTED, rejected.rejected_id, rejections.encode(record))])
        return record

    async def _outcome(self, rejected: Rejected) -> tuple[str, str, tuple[Finding, ...], int]:
        try:
            if rejected.source == "push":
                answer = await self._push.take(self._request(rejected))
            else:
                answer = await self._push.append(await self._push.addressed(self._loaded(rejected)))
        except Refusal as fault:
            return "refused", fault.answer.message or "", fault.findings, fault.answer.code
        except Refused as fault:
            return "refused", str(fault), fault.findings, 2001
        except (NotJson, NotOwned) as fault:
            return "refused", str(fault), (), 2001
        return answer.outcome, f"replayed: {answer.outcome}", (), answer.code

    def _request(self, rejected: Rejected) -> PushRequest:
        connection = self._registry.get(rejected.connection)
        if connection is None:
            raise NotReplayable(f"partner {rejected.connection} is gone; add it again first")
        raw_path, _, _ = rejected.path.encode("latin-1").partition(b"?")
        segments = segments_of(raw_path[raw_path.find(b"/ocpi/") :]) or ()
        if segments[2:3] != ("receiver",):
            text = "it asked for an answer at once, as an authorization or a registration does; nobody waits for that any more"
            raise NotReplayable(text)
        return PushRequest(
            connection=connection,
            method=rejected.method,
            version=rejected.version,
            module=rejected.module,
            segments=segments[4:],
            path=rejected.path,
            body=rejected.body,
            content_type=rejected.content_type,
            request_id=rejected.request_id,
            correlation_id=rejected.correlation_id,
            ocpi_from=rejected.ocpi_from,
            ocpi_to=rejected.ocpi_to,
        )

    def _loaded(self, rejected: Rejected) -> Admitted:
        dialect = self._dialects.get(rejected.version)
        if dialect is None:
            raise NotReplayable(f"OCPI {rejected.version} is not spoken here")
        origin: Origin = "load"
        owner, owns = rejected.party, rejected.party.__eq__
        if rejected.source == "pull":
            connection = self._registry.get(rejected.connection)
            if connection is None:
                raise NotReplayable(f"partner {rejected.connection} is gone; add it again first")
            origin, owner, owns = "pull", connection.owner, connection.parties.__contains__
        circumstances = Circumstances(connection=rejected.connection, origin=origin, received_at=self._clock.now())
        module = Module(rejected.module)
        party = None if interface(rejected.version).names_owner else owner
        return admit(dialect, module, VERB[module], rejected.body, circumstances, party=party, ids=(), owns=owns)
