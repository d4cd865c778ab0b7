"""What registrations need of the settings: who we are, and how partners are called."""

from collections.abc import Collection

from ingest.credentials import Credentials
from ingest.ourselves import Ourselves
from ingest.outbound import Outbound
from ingest.partners import PartnerRegistry
from ingest.peers import Peers
from ingest.registration import Registration
from roamlog.settings import Settings
from streams.ports import Clock, EventLog


def outbound_of(settings: Settings, clock: Clock) -> Outbound:
    """Return what calls partners; whoever asks closes it."""
    return Outbound(clock, allow_private=settings.allow_private_partners, timeout_s=settings.partner_timeout_s)


def ourselves_of(settings: Settings, public_url: str) -> Ourselves:
    """Return who we are to partners."""
    return Ourselves(settings.roles, settings.hub_party_id, settings.business_name, public_url)


def own_parties(settings: Settings) -> frozenset[str]:
    """Return what we are called, `NL*TNM`; nobody else is."""
    return ourselves_of(settings, "").parties


def credentials_of(  # noqa: PLR0917
    settings: Settings,
    registry: PartnerRegistry,
    outbound: Outbound,
    versions: Collection[str],
    log: EventLog,
    clock: Clock,
    public_url: str,
) -> Credentials:
    """Return what partners register themselves with."""
    peers = _peers(settings, outbound, versions)
    return Credentials(registry, peers, ourselves_of(settings, public_url), versions, log, clock)


def registration_of(
    settings: Settings, registry: PartnerRegistry, outbound: Outbound, versions: Collection[str], public_url: str
) -> Registration:
    """Return what registers us with partners."""
    return Registration(registry, _peers(settings, outbound, versions), ourselves_of(settings, public_url))


def _peers(settings: Settings, outbound: Outbound, versions: Collection[str]) -> Peers:
    whole_s = 2 * settings.partner_timeout_s
    return Peers(outbound, list(versions), allow_private=settings.allow_private_partners, whole_s=whole_s)
