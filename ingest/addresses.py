"""Where a partner may send us: which URLs may be called at all, and which addresses a name may stand for.

Everything that a partner writes as a URL passes here, because whoever can have us call an address of its choice reaches what is
behind our firewall: other services, a cloud's metadata, ourselves.
"""

import ipaddress
import re
from typing import Final, Literal

URL_CHARACTERS: Final = 2048
"""An OCPI URL has 255 characters at most; a page's Link may carry a long cursor."""

Kind = Literal["forbidden", "timeout", "too_large", "connection", "redirect"]


class Unreachable(Exception):
    """A partner could not be called, or not be heard out; the text is one sentence that holds no secret."""

    def __init__(self, kind: Kind, text: str) -> None:
        self.kind: Final[Kind] = kind
        super().__init__(text)


def checked_url(url: str, allow_private: bool) -> str:
    """Return the URL as it will be called; raises Unreachable (forbidden) where it must not be.

    https only, a plain host name or an address in its one common form, no user, no fragment. What a name stands for is
    checked when it is resolved, see `is_public`. `allow_private` lets every host be called, over http too.
    """
    if not isinstance(url, str) or not url:
        raise _forbidden("there is no URL")
    if len(url) > URL_CHARACTERS:
        raise _forbidden(f"a URL of {len(url)} characters is too long")
    # What parsers disagree on lets one of them check a host and another one call a different one.
    if not _PLAIN.fullmatch(url):
        raise _forbidden("the URL holds characters that no URL has (RFC 3986)")
    match = _URL.fullmatch(url)
    if match is None:
        raise _forbidden("the URL is not https://host/…")
    scheme, host, port, rest = match["scheme"].lower(), match["host"].lower(), match["port"], match["rest"]
    if scheme != "https" and not (scheme == "http" and allow_private):
        raise _forbidden(f"the URL's scheme is {scheme[:20]}; only https is called")
    if port is not None and not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= 65535):
        raise _forbidden("the URL's port is none")
    return f"{scheme}://{_host(host, allow_private)}{f':{port}' if port is not None else ''}{rest or '/'}"


def _host(host: str, allow_private: bool) -> str:
    """Return the host as it is called; raises Unreachable."""
    if host.startswith("["):
        try:
            address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise _forbidden("the URL's host is no IPv6 address") from None
        if not (allow_private or is_public(str(address))):
            raise _forbidden("the URL leads to an address that is not public")
        return f"[{address}]"
    name = host.removesuffix(".")
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise _forbidden("the URL's host is no host name")
    last = name.rpartition(".")[2]
    # 2130706433, 0x7f.1 and 0177.0.0.1 are 127.0.0.1 to the C library, and other hosts to others (WHATWG URL, "ends in a number").
    if last.isdigit() or re.fullmatch(r"0x[0-9a-f]*", last):
        try:
            address = ipaddress.IPv4Address(name)
        except ValueError:
            raise _forbidden("the URL's host is no IPv4 address of four decimal numbers") from None
        if not (allow_private or is_public(name)):
            raise _forbidden("the URL leads to an address that is not public")
        return name
    if not allow_private and (name in _OWN or last in _OWN or "." not in name):
        raise _forbidden("the URL leads to a name that is not public")
    return name


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public Internet, by which no other is meant."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return not any(found in network for network in _CLOSED_4)
    return found in _UNICAST_6 and not any(found in network for network in _CLOSED_6)


def _forbidden(text: str) -> Unreachable:
    return Unreachable("forbidden", text)


_PLAIN: Final = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]+")
_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[^/?]*))?(?P<rest>[/?].*)?"
)
_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*")
_OWN: Final = frozenset({"localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "corp", "arpa", "onion"})
_CLOSED_4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by the customers of a provider; 100.100.100.200 is a cloud's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's own services
        "169.254.0.0/16",  # link-local; 169.254.169.254 is the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_UNICAST_6: Final = ipaddress.IPv6Network("2000::/3")
"""All that is given out; outside: loopback, link-local, private (fc00::/7), multicast, ::ffff:0:0/96, NAT64 (64:ff9b::/96)."""
_CLOSED_6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocols, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",
    )
)
