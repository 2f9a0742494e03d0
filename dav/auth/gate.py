"""Bounds and words that the back ends share which open a connection for each password."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
import unicodedata
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from dav.auth.backend import BackendDown
from dav.auth.guard import network
from dav.config import ConfigError

if TYPE_CHECKING:
    from dav.config import MailLoginConfig

TEXT_MAX = 200


class Gate:
    """Lets at most `total` in at the same time, and at most half of them from one client network.

    So somebody who tries many names from one place cannot keep the owner, elsewhere, out of the door. Those beyond wait
    in order; the caller bounds the wait. Used on one event loop's thread only.
    """

    def __init__(self, total: int, *, waiting_max: int = 500) -> None:
        self._total = asyncio.Semaphore(total)
        self._half = max(1, total // 2)
        self._waiting_max = waiting_max
        self._networks: dict[str, tuple[asyncio.Semaphore, int]] = {}
        self._inside = 0

    @contextlib.asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """Waits for a place. Raises BackendDown when too many are waiting."""
        if self._inside >= self._waiting_max:
            raise BackendDown("too many passwords are being checked")
        place = network(client)
        lane, count = self._networks.get(place, (asyncio.Semaphore(self._half), 0))
        self._networks[place] = (lane, count + 1)
        self._inside += 1
        try:
            async with lane, self._total:
                yield
        finally:
            self._inside -= 1
            lane, count = self._networks[place]
            if count == 1:
                del self._networks[place]
            else:
                self._networks[place] = (lane, count - 1)


def printable(text: str) -> str:
    """What another program said, for a log line: one line, bounded, without characters that could forge another."""
    short = text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + "…"
    return "".join(char if char.isprintable() else "?" for char in short)


def server_of(back_end: str, settings: MailLoginConfig, *, tls_port: int, plain_port: int) -> tuple[str, int]:
    """(host, port) of the server. Raises ConfigError: no host, or passwords in the clear over a network."""
    if not settings.host:
        raise ConfigError(f"auth.backends names {back_end}, so auth_{back_end}.host must be set")
    if settings.tls == "none" and not _is_this_machine(settings.host):
        raise ConfigError(
            f"auth_{back_end}.tls = none would send passwords to {settings.host} in the clear; use tls or starttls"
        )
    return settings.host, settings.port or (tls_port if settings.tls == "tls" else plain_port)


def tls_context(settings: MailLoginConfig) -> ssl.SSLContext | None:
    """What verifies the server's certificate and name; None without TLS. Raises ConfigError for an unusable ca_file."""
    if settings.tls == "none":
        return None
    try:
        return ssl.create_default_context(cafile=settings.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{settings.ca_file} cannot be used as ca_file: {error.strerror or error}") from None


def mail_side_name(login: str, *, lower_case: bool) -> str:
    """The account's name for a login that a server has accepted without saying what it calls the person."""
    name = unicodedata.normalize("NFC", login)
    return name.lower() if lower_case else name


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
