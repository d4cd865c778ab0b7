"""What each OCPI version asks of its HTTP side, as data: modules, verbs, lists, identities, headers, status codes.

What objects look like is the dialects' (schemas/ocpi/v….py). The envelope is the same in all versions: `data`, `status_code`,
`status_message` and `timestamp`. Source: requirements 1.2, 2.1, 2.8, 2.9, 3, 4.1, 4.3 and 9, which name the chapters.
"""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from schemas.ocpi.response import Status
from schemas.party import Role
from schemas.types import Module, Verb

Side = Literal["SENDER", "RECEIVER"]

Selects = Literal["last_updated", "start_date_time"]

RFID: Final = "RFID"
"""The TokenType that a request means where it names none (OCPI 2.2.1 mod_tokens, Receiver Interface and authorize)."""

TOKEN_TYPES: Final = (RFID, "OTHER", "APP_USER", "AD_HOC_USER", "EMAID")
"""What a Token of a path without a type may be; of two with one uid the one that changed last is meant."""

HUBCLIENTINFO: Final = "hubclientinfo"
CREDENTIALS: Final = "credentials"

EITHER: Final = "either"
"""In the path of a module: our side of it, whichever that is for who calls. Before 2.2 it hangs on the role in which a partner
registers, and nobody knows that when the partner reads where our modules are."""

ID_CHARACTERS: Final = 255
"""A longer path segment can be no id in any version (the longest is 39 characters)."""

OWNERS: Final[Mapping[Module, Role]] = {
    Module.LOCATIONS: "CPO",
    Module.SESSIONS: "CPO",
    Module.CDRS: "CPO",
    Module.TARIFFS: "CPO",
    Module.TOKENS: "EMSP",
}
"""In which role a party owns a module's objects ("Data owner" of each module)."""


class Listing(Struct, frozen=True):
    """What date_from and date_to of a Sender's list mean; None: the list takes neither, whatever they say is ignored."""

    selects: Selects | None
    needs_date_from: bool = False


class Interface(Struct, frozen=True, kw_only=True):
    """The HTTP side of one version.

    `written` has the verbs that an object's own path takes beside GET, in the order of `Allow`; a CDR has none, it is POSTed.

    `has_roles`: a connection plays several roles, and version details say SENDER or RECEIVER. `names_owner`: objects say whose
    they are; else the path does, or the credentials. `names_customer`: what was charged says whose customer charged, and not
    the contract alone. `folds_case`: ids are CiStrings, so every spelling is the same one; else another spelling addresses
    nothing (a CDR's id is a CiString always). `routed`: there are OCPI-to-… and OCPI-from-… headers. `encodes_token`: a token
    is presented in Base64. `types_tokens`: a Token's path takes `?type=`.
    `patch_needs_last_updated`: of a PATCH's body. `single_locations`: the Sender gives one Location, EVSE or Connector.
    `authorizes`: the Sender takes `tokens/{uid}/authorize`; `answers_with_token`: and gives the Token and a reference back.
    `reference_characters`: the most that an id has there. `prefers`: the Sender takes charging preferences.
    `tells_clients`: there is hubclientinfo. `holds_others`: objects hold copies of others, as a Session its Location.
    """

    version: str
    lists: Mapping[Module, Listing]
    written: Mapping[Module, tuple[Verb, ...]]
    codes: frozenset[int]
    has_roles: bool = True
    names_owner: bool = True
    names_customer: bool = True
    folds_case: bool = True
    routed: bool = True
    encodes_token: bool = True
    types_tokens: bool = True
    patch_needs_last_updated: bool = True
    single_locations: bool = True
    authorizes: bool = True
    answers_with_token: bool = True
    reference_characters: int = 36
    prefers: bool = True
    tells_clients: bool = True
    holds_others: bool = False

    def code(self, wanted: int) -> int:
        """Return the status code, or the general one of its thousand where the version does not know it."""
        if wanted in self.codes or wanted < 2000:
            return wanted
        return Status.INVALID_PARAMETERS if wanted < 3000 else wanted // 1000 * 1000

    def allowed(self, module: Module) -> str:
        """Return the verbs of an object's own path, as `Allow` lists them."""
        return ", ".join(("GET", *self.written[module]))

    def compares(self, module: Module) -> bool:
        """Return whether the module's ids have but one spelling."""
        return not self.folds_case and module is not Module.CDRS


def interface(version: str) -> Interface:
    """Return the interface of a version; one that is not described here has the newest's."""
    return _INTERFACES.get(version) or replace(_NEWEST, version=version)


def side_of(role: Role, module: Module) -> Side:
    """Return our side of a module for a partner in this role where there are no interface roles (2.1.1 and before).

    It is the one opposite to the partner's own; whoever is no CPO reads as an eMSP does.
    """
    return "RECEIVER" if OWNERS[module] == ("CPO" if role == "CPO" else "EMSP") else "SENDER"


_BY_CHANGE: Final = Listing("last_updated")
_LATER: Final = {
    **dict.fromkeys(Module, _BY_CHANGE),
    Module.SESSIONS: Listing("last_updated", needs_date_from=True),
}
_WRITTEN: Final = {
    Module.LOCATIONS: (Verb.PUT, Verb.PATCH),
    Module.SESSIONS: (Verb.PUT, Verb.PATCH),
    Module.CDRS: (),
    Module.TARIFFS: (Verb.PUT, Verb.DELETE),
    Module.TOKENS: (Verb.PUT, Verb.PATCH),
}
_CODES_2_0: Final = frozenset({1000, 2000, 2001, 3000, 3001, 3002, 3003})
_CODES_2_2: Final = _CODES_2_0 | {2002, 2003, 2004, 4001, 4002, 4003}

_NEWEST: Final = Interface(version="2.3.0", lists=_LATER, written=_WRITTEN, codes=_CODES_2_2 | {4000})
_2_2_1: Final = replace(_NEWEST, version="2.2.1")
_2_2: Final = replace(_2_2_1, version="2.2", codes=_CODES_2_2, names_customer=False)
_2_1_1: Final = Interface(
    version="2.1.1",
    lists=_LATER,
    written={**_WRITTEN, Module.TARIFFS: (Verb.PUT, Verb.PATCH, Verb.DELETE)},
    codes=_CODES_2_0 | {2002, 2003},
    has_roles=False,
    names_owner=False,
    names_customer=False,
    folds_case=False,
    routed=False,
    encodes_token=False,
    types_tokens=False,
    patch_needs_last_updated=False,
    answers_with_token=False,
    reference_characters=39,
    prefers=False,
    tells_clients=False,
    holds_others=True,
)
_2_0: Final = replace(
    _2_1_1,
    version="2.0",
    lists={
        Module.LOCATIONS: Listing(None),
        Module.SESSIONS: Listing("start_date_time", needs_date_from=True),
        Module.CDRS: Listing("start_date_time"),
        Module.TARIFFS: Listing(None),
        Module.TOKENS: Listing(None),
    },
    written={**_2_1_1.written, Module.SESSIONS: (Verb.PUT, Verb.PATCH, Verb.DELETE)},
    codes=_CODES_2_0,
    single_locations=False,
    authorizes=False,
)
_INTERFACES: Final = {one.version: one for one in (_2_0, _2_1_1, _2_2, _2_2_1, _NEWEST)}
