"""Which addresses a tenant may make us call: the guard between a tenant's URL and our network.

Owns the rule (`is_public`), the operator's allow-list and the resolver that pins: a guarded connection goes to exactly
the addresses that were vetted, so a name that changes its answer in between gains nothing. `http.py` builds the
guarded session from it; whoever stores a tenant's URL calls `check_url` at once, to refuse it with a clear message.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from chatwright.domain.errors import BadRequest

Address = IPv4Address | IPv6Address
Lookup = Callable[[str, int], Awaitable[list[str]]]
"""Host and port to addresses as text; raises OSError if there are none."""

_V4_CLOSED = tuple(
    IPv4Network(net)
    for net in (
        "0.0.0.0/8",  # this host and network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; also Alibaba Cloud's metadata 100.100.100.200
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local; metadata of AWS, Azure, Google
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; Oracle Cloud's metadata 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "168.63.129.16/32",  # Azure's host agent: a public number, reachable from inside only
    )
)
_V6_OPEN = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_6TO4 = IPv6Network("2002::/16")
_V6_CLOSED = tuple(
    IPv6Network(net)
    for net in (
        "2001::/23",  # protocol assignments, Teredo among them: an IPv4 address hides inside
        "2001:db8::/32",  # documentation
        "2620:4f:8000::/48",
        "3fff::/20",  # documentation
    )
)
_METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
)
_ENDS_IN_NUMBER = re.compile(r"(?:^|\.)(?:\d+|0x[0-9a-f]*)\.?$")
_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
_MEND = "an operator can add it to CHATWRIGHT_ALLOWED_ADDRESSES"


def is_public(ip: Address) -> bool:
    """True if `ip` is an ordinary address of the public internet.

    False for private, loopback, link-local, carrier-grade NAT, multicast, reserved, documentation and unspecified
    ones, for known metadata addresses and for IPv6 forms that carry an IPv4 address which is not public (mapped and
    compatible forms are refused whatever they carry: no honest DNS answer holds them).
    """
    if isinstance(ip, IPv4Address):
        return not any(ip in net for net in _V4_CLOSED)
    if ip.scope_id is not None:
        return False
    if ip in _NAT64:
        return is_public(IPv4Address(int(ip) & 0xFFFFFFFF))
    if ip in _6TO4:
        return is_public(IPv4Address(int(ip) >> 80 & 0xFFFFFFFF))
    return ip in _V6_OPEN and not any(ip in net for net in _V6_CLOSED)


@dataclass(frozen=True, slots=True)
class _Allowed:
    """One entry of the operator's list: a host name or a network, on one port or all."""

    name: str | None
    network: IPv4Network | IPv6Network | None
    port: int | None


def _read_allowed(entry: str) -> _Allowed:
    """`host`, `host:port`, `1.2.3.4`, `1.2.3.4:80`, `10.0.0.0/8`, `fd00::/8`, `[::1]:80`. Raises ValueError."""
    entry = entry.strip().lower()
    port: int | None = None
    host = entry
    if entry.startswith("["):
        host, bracket, rest = entry[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"an address in brackets and an optional port, such as [::1]:80, not {entry!r}")
        port = int(rest.removeprefix(":")) if rest else None
    elif entry.count(":") == 1:
        host, _, rest = entry.partition(":")
        port = int(rest)
    if not host or (port is not None and not 0 < port < 65536):
        raise ValueError(f"not a host, address or network with an optional port: {entry!r}")
    try:
        return _Allowed(None, ip_network(host, strict=False), port)
    except ValueError:
        if "/" in host or ":" in host:
            raise
        return _Allowed(host.rstrip("."), None, port)


class AddressGuard:
    """Vets URLs, hosts and addresses against the rule and the operator's allow-list.

    `allowed` holds host names, addresses or networks, each with an optional port (see `_read_allowed`); a listed name
    may resolve to anything. Raises ValueError at once if an entry cannot be read.
    """

    def __init__(self, allowed: Sequence[str] = (), *, lookup: Lookup | None = None) -> None:
        self._allowed = tuple(_read_allowed(entry) for entry in allowed if entry.strip())
        self._lookup = lookup or _system_lookup

    def check_url(self, url: str | URL) -> URL:
        """Refuse what can be refused without asking DNS; returns the parsed URL. Raises BadRequest with the mend."""
        try:
            parsed = URL(url)
            host, port = parsed.raw_host, parsed.port
        except (ValueError, TypeError) as error:
            raise BadRequest("The address is not a URL.") from error
        if parsed.scheme not in ("http", "https") or not host or not port:
            raise BadRequest("The address must start with http:// or https:// and name a host.")
        if parsed.user is not None or parsed.password is not None:
            raise BadRequest("The address must not hold a user name or password; give the key separately.")
        self.check_host(host, port)
        return parsed

    def check_host(self, host: str, port: int) -> Address | None:
        """Refuse a host by its spelling; returns the address if it is one. Raises BadRequest."""
        host = host.lower().rstrip(".")
        ip = _literal(host)
        if ip is not None:
            if not (is_public(ip) or self._lists(host, ip, port)):
                raise BadRequest(f"The address {_shown(host)}:{port} is not on the public internet; {_MEND}.")
            return ip
        if not _NAME.fullmatch(host):
            raise BadRequest(f"The host {_shown(host)} is not a host name.")
        if self._lists(host, None, port):
            return None
        if _ENDS_IN_NUMBER.search(host):
            raise BadRequest(f"The host {_shown(host)} is a number in an unusual spelling; write it as four decimals.")
        if host in _METADATA_NAMES or host == "localhost" or host.endswith(".localhost"):
            raise BadRequest(f"The host {_shown(host)} names this machine or its platform; {_MEND}.")
        return None

    async def vet(self, host: str, port: int) -> list[Address]:
        """Resolve once and return the addresses to connect to. One closed address among them refuses the host.

        Raises BadRequest if it is refused and OSError if it does not resolve.
        """
        ip = self.check_host(host, port)
        if ip is not None:
            return [ip]
        found = [ip_address(text) for text in await self._lookup(host, port)]
        if not found:
            raise OSError(f"{_shown(host)} has no address")
        name = host.lower().rstrip(".")
        if not self._lists(name, None, port):
            for address in found:
                if not (is_public(address) or self._lists(name, address, port)):
                    raise BadRequest(
                        # Not which address: a tenant must not map our network by asking for its names.
                        f"The host {_shown(name)} does not lead to the public internet; {_MEND}."
                    )
        return found

    def _lists(self, host: str, ip: Address | None, port: int) -> bool:
        """True if the operator's list names this host or address, on this port."""
        for entry in self._allowed:
            if entry.port is not None and entry.port != port:
                continue
            if entry.name is not None:
                if entry.name == host:
                    return True
            elif ip is not None and entry.network is not None and ip in entry.network:
                return True
        return False


class PinningResolver(AbstractResolver):
    """aiohttp's way to addresses, through the guard: the connector connects to what `vet` returned, nothing else."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Vetted addresses of `host`. Raises BadRequest and OSError as `AddressGuard.vet`."""
        del family  # both families are vetted; the connector picks
        return [
            ResolveResult(
                hostname=host,
                host=str(ip),
                port=port,
                family=socket.AF_INET if ip.version == 4 else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for ip in await self._guard.vet(host, port)
        ]

    async def close(self) -> None:
        """Nothing to close."""


async def _system_lookup(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None


def _shown(host: str) -> str:
    return host if len(host) <= 80 else host[:77] + "..."
