"""What a partner says of itself: its versions, their details, its credentials; checked once, trusted behind this.

Source: OCPI 2.2.1 version_information_endpoint and credentials; requirements 4.2, 4.3, 4.4 and 5.8.
"""

import asyncio
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from ingest import auth
from ingest.addresses import Unreachable, checked_url
from ingest.errors import InvalidToken
from ingest.outbound import Fetched, Outbound
from schemas.ocpi.credentials import OLDER, lift_credentials
from schemas.ocpi.interface import CREDENTIALS, HUBCLIENTINFO, interface
from schemas.ocpi.response import Status
from schemas.party import ROLES, Encoding, Endpoint, EndpointRole, PartyRole, Role
from schemas.types import Json, Module

FUNCTIONAL: Final = frozenset({*(module.value for module in Module), HUBCLIENTINFO, "commands", "chargingprofiles"})
"""The modules of which two parties must have one in common (requirements 2.8, 3003)."""

ANSWER_BYTES: Final = 1024 * 1024
"""The longest answer that is read of versions, details and credentials."""

LISTED: Final = 1000
"""More versions, endpoints or roles than any partner has."""

ENCODINGS: Final[tuple[Encoding, Encoding]] = ("raw", "base64")
_COUNTRY: Final = re.compile(r"[A-Za-z]{2}")
_PARTY: Final = re.compile(r"[A-Za-z0-9]{1,3}")


class PeerFault(Exception):
    """A partner cannot be worked with: OCPI's status code for it, and one sentence that holds no secret."""

    def __init__(self, code: Status, text: str, http: int = 0) -> None:
        self.code: Final = code
        self.http: Final = http
        super().__init__(text)


class InvalidCredentials(Exception):
    """What a partner sent are no Credentials; one sentence that holds no secret."""


class Peer(NamedTuple):
    """A partner that can be called: one version, its endpoints, and how it wants the token."""

    version: str
    endpoints: tuple[Endpoint, ...]
    encoding: Encoding

    @property
    def credentials_url(self) -> str:
        """Where its credentials are."""
        return next(endpoint.url for endpoint in self.endpoints if endpoint.identifier == CREDENTIALS)

    @property
    def modules(self) -> frozenset[str]:
        """What it offers."""
        return frozenset(endpoint.identifier for endpoint in self.endpoints)


class Credentials(Struct, frozen=True):
    """A partner's Credentials: the token to present to it, where its versions are, who it is, and who is reachable through it."""

    token: str
    url: str
    roles: tuple[PartyRole, ...]
    behind: tuple[PartyRole, ...] = ()

    def __repr__(self) -> str:
        return f"Credentials({self.roles!r})"


class Peers:
    """Asks partners who they are. `spoken` are our versions, the oldest first; `whole_s` is how long it may take in all."""

    def __init__(self, outbound: Outbound, spoken: Sequence[str], *, allow_private: bool, whole_s: float = 60.0) -> None:
        self._outbound = outbound
        self._spoken = tuple(spoken)
        self._allow_private = allow_private
        self._whole_s = whole_s

    def checked(self, url: str) -> str:
        """Return a URL that may be called; raises Unreachable."""
        return checked_url(url, self._allow_private)

    async def discover(self, url: str, token: str, encoding: Encoding | None, version: str | None = None) -> Peer:
        """Return the partner in a version, by default the latest that both sides speak. Raises PeerFault.

        Without an `encoding` it is that of the version; a partner that refuses the token as it is presented is tried once in the
        other one.
        """
        first = encoding or default_encoding(version)
        try:
            async with asyncio.timeout(self._whole_s):
                data, learned = await self._get(url, token, first)
                listed = _versions(data)
                chosen = self._chosen(listed, version)
                if encoding is None and learned == first:  # nobody turned it away, but until now the version was not known
                    learned = default_encoding(chosen)
                details, learned = await self._get(self._known(listed[chosen], chosen), token, learned)
                return Peer(chosen, self.endpoints(chosen, details), learned)
        except TimeoutError:
            raise PeerFault(Status.CLIENT_API_UNUSABLE, "the versions and their details did not come in time") from None

    async def call(
        self, method: str, url: str, token: str, encoding: Encoding, body: bytes | None = None, *, hides: Sequence[str] = ()
    ) -> Json:
        """Return the data of a partner's answer. Raises PeerFault: with the HTTP status where it refuses.

        Whatever the partner says, the fault shows neither the token nor what `hides` names.
        """
        try:
            found = await self._outbound.call(method, url, token=token, encoding=encoding, body=body, limit=ANSWER_BYTES)
            return data_of(found)
        except Unreachable as fault:
            raise PeerFault(Status.CLIENT_API_UNUSABLE, hidden(str(fault), token, *hides)) from None
        except PeerFault as fault:
            raise PeerFault(fault.code, hidden(str(fault), token, *hides), fault.http) from None

    async def _get(self, url: str, token: str, encoding: Encoding) -> tuple[Json, Encoding]:
        """Return what is there, and the encoding in which the token was known."""
        try:
            return await self.call("GET", url, token, encoding), encoding
        except PeerFault as fault:
            if not fault.http:
                raise
            refused = fault
        # 401 is what a token in the wrong form is to be answered; some fail in decoding it instead.
        other = next(one for one in ENCODINGS if one != encoding)
        try:
            return await self.call("GET", url, token, other), other
        except PeerFault:
            raise refused from None

    def _known(self, url: str, version: str) -> str:
        try:
            return self.checked(url)
        except Unreachable as fault:
            raise PeerFault(Status.CLIENT_API_UNUSABLE, f"the URL of OCPI {version}: {fault}") from None

    def _chosen(self, listed: Mapping[str, str], version: str | None) -> str:
        if version is not None:
            if version not in listed:
                raise PeerFault(Status.UNSUPPORTED_VERSION, f"OCPI {version[:20]} is not among the versions that are offered")
            return version
        mutual = [spoken for spoken in self._spoken if spoken in listed]
        if not mutual:
            offered = ", ".join(name[:20] for name in list(listed)[:10]) or "none"
            raise PeerFault(
                Status.UNSUPPORTED_VERSION, f"no version in common: {offered} offered, {', '.join(self._spoken)} spoken here"
            )
        return mutual[-1]

    def endpoints(self, version: str, details: Json) -> tuple[Endpoint, ...]:
        """Return the endpoints of version details; raises PeerFault."""
        unusable = Status.CLIENT_API_UNUSABLE
        if not isinstance(details, dict) or not isinstance(details.get("endpoints"), list):
            raise PeerFault(unusable, f"the details of OCPI {version} hold no endpoints")
        if str(details.get("version", version)).strip() != version:
            raise PeerFault(unusable, f"the details of OCPI {version} are those of another version")
        entries = details["endpoints"]
        if not isinstance(entries, list) or len(entries) > LISTED:
            raise PeerFault(unusable, f"the details of OCPI {version} hold more than {LISTED} endpoints")
        found: dict[tuple[str, str], Endpoint] = {}
        for number, entry in enumerate(entries):
            named = entry.get("identifier") if isinstance(entry, dict) else None
            url = entry.get("url") if isinstance(entry, dict) else None
            if not isinstance(entry, dict) or not isinstance(named, str) or not 0 < len(named) <= 80 or not isinstance(url, str):
                raise PeerFault(unusable, f"endpoint {number} of OCPI {version} has no identifier or no URL")
            try:
                self.checked(url)
            except Unreachable as fault:
                raise PeerFault(unusable, f"endpoint {number} of OCPI {version} ({_shown(named)}): {fault}") from None
            role = _role_of(version, named, entry.get("role"))
            found.setdefault((named, role), Endpoint(named, role, url))
        offered = {endpoint.identifier for endpoint in found.values()}
        if CREDENTIALS not in offered:
            raise PeerFault(Status.NO_MATCHING_ENDPOINTS, f"the details of OCPI {version} have no endpoint credentials")
        if not offered & FUNCTIONAL:
            raise PeerFault(Status.NO_MATCHING_ENDPOINTS, f"the details of OCPI {version} have no module in common with ours")
        return tuple(found.values())


def default_encoding(version: str | None) -> Encoding:
    """Return how a partner of a version wants its token until it is known better (requirements 4.1)."""
    return "base64" if version is None or interface(version).encodes_token else "raw"


def data_of(found: Fetched) -> Json:
    """Return the data of an answer; raises PeerFault where it is none of OCPI's successes."""
    host = found.url.partition("://")[2].partition("/")[0]
    unusable = Status.CLIENT_API_UNUSABLE
    try:
        said = msgspec.json.decode(found.body)
    except (ValueError, RecursionError):
        said = None
    code = said.get("status_code") if isinstance(said, dict) else None
    is_code = isinstance(code, int) and not isinstance(code, bool)
    if not 200 <= found.status < 300:
        told = f", OCPI {code}{_told(said)}" if is_code else ""
        raise PeerFault(unusable, f"{host} answers HTTP {found.status}{told}", found.status)
    if not isinstance(said, dict) or not is_code or not isinstance(code, int):
        raise PeerFault(unusable, f"{host} answers with what is not in OCPI's envelope")
    if not 1000 <= code < 2000:
        raise PeerFault(unusable, f"{host} answers OCPI {code}{_told(said)}", found.status)
    data: Json = said.get("data")
    return data


def read_credentials(
    version: str, said: Json, *, modules: Collection[str], role: Role | None, checked: Callable[[str], str]
) -> Credentials:
    """Return what Credentials say. Raises InvalidCredentials. `checked` looks at the URL and raises Unreachable.

    Before 2.2 they name no role: it is `role`, else what `modules` (of the partner's endpoints) tell.
    """
    if not isinstance(said, dict):
        raise InvalidCredentials("credentials are an object")
    token, url = said.get("token"), said.get("url")
    if not isinstance(token, str):
        raise InvalidCredentials("/token: it is required, a string")
    try:
        auth.checked(token)
    except InvalidToken as fault:
        raise InvalidCredentials(f"/token: {fault}") from None
    if not isinstance(url, str):
        raise InvalidCredentials("/url: it is required, a string")
    try:
        checked(url)
    except Unreachable as fault:
        raise InvalidCredentials(f"/url: {fault}") from None
    canonical = lift_credentials(version, said, modules=modules).credentials
    entries = canonical.get("roles")
    if not isinstance(entries, list) or len(entries) > LISTED:
        raise InvalidCredentials("/roles: it is required, a list")
    at = "" if version in OLDER else "/roles/{}"
    roles = [_party_role(at.format(number), entry) for number, entry in enumerate(entries)]
    if version in OLDER and role is not None:
        roles = [PartyRole("CPO" if role == "CPO" else "EMSP", one.country_code, one.party_id) for one in roles]
    hub = _hub(canonical.get("hub_party_id"))
    own = tuple(dict.fromkeys(roles))
    if hub is None:
        if not own:
            raise InvalidCredentials("/roles: a party has at least one role")
        return Credentials(token, url, own)
    # Who a hub of 2.3.0 lists is reachable through it, unless it is the hub itself.
    is_listed = version not in {"2.2", "2.2.1"}
    mine = tuple(one for one in own if not is_listed or one.party == hub.party)
    behind = tuple(one for one in own if is_listed and one.party != hub.party)
    return Credentials(token, url, (hub, *mine), behind)


def redacted(body: bytes, *tokens: str) -> bytes:
    """Return the text of Credentials with every token in it replaced.

    It is b"" where it is no JSON, or so deep that it cannot be looked through: a token could be anywhere.
    """
    try:
        said = msgspec.json.decode(body)
        if isinstance(said, dict) and isinstance(said.get("token"), str):
            tokens = (*tokens, said["token"])
            said["token"] = HIDDEN
        return msgspec.json.encode(_hidden_in(said, tokens))
    except (ValueError, RecursionError):
        return b""


def hidden(text: str, *tokens: str) -> str:
    """Return a text without these tokens, in whatever form they are presented."""
    forms = {form.decode() for token in tokens if token.isascii() for form in auth.forms(token)} | set(tokens)
    for form in sorted(forms, key=len, reverse=True):
        # One of a few characters stands in any text, and nobody could keep it secret.
        text = text.replace(form, HIDDEN) if len(form) > 3 else text
    return text


def _hidden_in(said: Json, tokens: Sequence[str]) -> Json:
    match said:
        case str():
            return hidden(said, *tokens)
        case list():
            return [_hidden_in(one, tokens) for one in said]
        case dict():
            return {hidden(name, *tokens): _hidden_in(value, tokens) for name, value in said.items()}
        case _:
            return said


HIDDEN: Final = "(a token)"


def _versions(data: Json) -> dict[str, str]:
    """Return the URLs of versions by their numbers; raises PeerFault."""
    entries = data.get("versions") if isinstance(data, dict) else data  # 2.0 describes it so, and shows a bare list
    if not isinstance(entries, list) or len(entries) > LISTED:
        raise PeerFault(Status.CLIENT_API_UNUSABLE, "the versions are no list")
    found: dict[str, str] = {}
    for entry in entries:
        version, url = (entry.get("version"), entry.get("url")) if isinstance(entry, dict) else (None, None)
        if not isinstance(version, str) or not isinstance(url, str):
            raise PeerFault(Status.CLIENT_API_UNUSABLE, "the versions hold one without a number or a URL")
        found.setdefault(version.strip(), url)
    return found


def _role_of(version: str, identifier: str, said: Json) -> EndpointRole:
    """Return the role of an endpoint; of credentials it means nothing (OCPI 2.2.1 version_information_endpoint)."""
    if version in OLDER or identifier == CREDENTIALS:
        return ""
    if said == "SENDER":
        return "SENDER"
    if said == "RECEIVER":
        return "RECEIVER"
    if identifier in FUNCTIONAL:
        raise PeerFault(Status.CLIENT_API_UNUSABLE, f"the endpoint {identifier} of OCPI {version} says no role")
    return ""


def _party_role(pointer: str, said: Json) -> PartyRole:
    if not isinstance(said, dict):
        raise InvalidCredentials(f"{pointer}: a role is an object")
    role, country, party = said.get("role"), said.get("country_code"), said.get("party_id")
    if not isinstance(country, str) or not _COUNTRY.fullmatch(country):
        raise InvalidCredentials(f"{pointer}/country_code: it is required, two letters")
    if not isinstance(party, str) or not _PARTY.fullmatch(party):
        raise InvalidCredentials(f"{pointer}/party_id: it is required, one to three letters or digits")
    if not isinstance(role, str) or not role:
        raise InvalidCredentials(f"{pointer}/role: it is required, a string")
    known: Role = next((one for one in ROLES if one == role), "OTHER")  # an open enum in 2.3.0, and so in every version
    return PartyRole(known, country.upper(), party.upper())


def _hub(said: Json) -> PartyRole | None:
    if said is None:
        return None
    if not isinstance(said, str) or not (_COUNTRY.fullmatch(said[:2]) and _PARTY.fullmatch(said[2:])):
        raise InvalidCredentials("/hub_party_id: it is a country code and a party id, five characters")
    return PartyRole("HUB", said[:2].upper(), said[2:].upper())


def _told(said: Json) -> str:
    """Return what a partner adds to its status code, as a line of a log may hold it."""
    message = said.get("status_message") if isinstance(said, dict) else None
    return f" ({_shown(message)})" if isinstance(message, str) and message else ""


def _shown(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text[:200])
