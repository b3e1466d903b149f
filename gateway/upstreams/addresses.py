"""Which addresses the gateway may call. What was checked is what is connected to: names are looked up once per
connection, and no name server can put another address in between (DNS rebinding)."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from gateway.config import Config

if TYPE_CHECKING:
    from aiohttp.abc import ResolveResult

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_METADATA = frozenset(
    ipaddress.ip_address(one)
    for one in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
"""Where clouds tell machines their secrets, outside the link-local ranges: Alibaba, Azure, Oracle, AWS, Google."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_INSIDE = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".svc", ".cluster.local")


class AddressRefused(OSError):
    """A name leads where the gateway must not call."""


def literal(host: str) -> _Address | None:
    """The address that ``host`` is; None for a name, which ``127.1`` and ``2130706433`` are too: they are looked up."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def forbidden(address: _Address) -> bool:
    """Whether nobody may be called there, whatever the policies say: metadata, link-local, multicast, no host."""
    plain = _plain(address)
    return (
        plain in _METADATA or plain.is_link_local or plain.is_multicast or plain.is_unspecified
        or (plain.version == 4 and plain.is_reserved)
    )  # fmt: skip


def permitted(host: str, address: str, inside: Collection[str]) -> bool:
    """Whether ``host`` may lead to ``address``. A public name may not lead inside unless it is one of ``inside``;
    an address, or a name that only exists inside (``vllm``, ``gpu.internal``), is the operator's own word."""
    found = literal(address)
    if found is None or forbidden(found):
        return False
    plain = _plain(found)
    if plain.is_global and not plain.is_private:
        return True
    name = host.rstrip(".").lower()
    single = "." not in name and name[:1].isalpha()
    return single or literal(name) is not None or name.endswith(_INSIDE) or name in inside


def _plain(address: _Address) -> _Address:
    """The IPv4 address inside an IPv6 one that only wraps it."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def check_literal(url: str) -> None:
    """For clients that do not look addresses up. Raises AddressRefused."""
    found = literal(urlsplit(url).hostname or "")
    if found is not None and forbidden(found):
        raise AddressRefused(f"{found} must not be called")


def inside_hosts(config: Config) -> frozenset[str]:
    """The names that may lead inside, because ``private_addresses`` of a provider's ``upstreams`` or of a
    webhook that is a guardrail says so."""
    found: set[str] = set()
    for name, rules in config.upstreams.items():
        if rules.private_addresses:
            urls = [
                getattr(config.providers.get(name), "base_url", ""),
                rules.health.url if rules.health else "",
            ]
            found |= {(urlsplit(url).hostname or "").rstrip(".").lower() for url in urls if url}
    for guard in config.guardrails.values():
        if getattr(guard, "private_addresses", False):
            found.add((urlsplit(getattr(guard, "url", "")).hostname or "").rstrip(".").lower())
    return frozenset(found - {""})


class Resolver(Protocol):
    """aiohttp's ``AbstractResolver``, without loading it."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]: ...
    async def close(self) -> None: ...


class SystemNames:
    """The system's own look-up, in a thread."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises OSError when the name leads nowhere."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
        )
        return [
            {"hostname": host, "host": _written(kind, place), "port": port, "family": kind, "proto": proto,
             "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV}
            for kind, _, proto, _, place in found
            if kind in (socket.AF_INET, socket.AF_INET6) and isinstance(place[0], str)
        ]  # fmt: skip

    async def close(self) -> None: ...


def _written(family: int, place: tuple[object, ...]) -> str:
    """The address of a ``sockaddr``, with the interface that a link-local one belongs to."""
    if family == socket.AF_INET6 and len(place) > 3 and place[3]:
        return socket.getnameinfo(place, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]  # type: ignore[arg-type]
    return str(place[0])


class Checked:
    """Looks names up with ``inner`` and keeps the addresses that may be called; ``inside`` gives the names that may
    lead inside at present."""

    def __init__(self, inner: Resolver, inside: Callable[[], Collection[str]]) -> None:
        self._inner, self._inside = inner, inside

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises AddressRefused when there is no such address, OSError when there is none at all."""
        found = await self._inner.resolve(host, port, family)
        inside = self._inside()
        allowed = [one for one in found if permitted(host, one["host"], inside)]
        if found and not allowed:
            raise AddressRefused(f"{host} leads to {found[0]['host']}")
        return allowed

    async def close(self) -> None:
        await self._inner.close()
