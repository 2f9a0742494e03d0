"""The back end "proxy": a reverse proxy has signed the person in and says who it is, in a header.

The header is believed only when the direct peer is one of server.trusted_proxies (`dav.wire` marks such requests);
whatever others send in it does not exist.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from dav.auth.backend import Backend, Credentials, Identity, Refusal, Tools
from dav.wire import PEER_TRUSTED

if TYPE_CHECKING:
    from dav.config import Config

NAME_CHARS_MAX = 255


def make(tools: Tools) -> Backend:
    """The back end; it keeps nothing."""
    return Proxy()


def vouched(config: Config, scope: MutableMapping[str, Any], headers: Mapping[str, str]) -> str | None:
    """Credentials.header: the name that a trusted proxy gives; None when the back end is off, or nobody vouches.

    headers: lower-case names; values decoded as Latin-1, fields of one name joined by commas.
    """
    if "proxy" not in config.auth.backends or not scope.get(PEER_TRUSTED):
        return None
    value = headers.get(config.auth_proxy.header.lower(), "").strip()
    if not value:
        return None  # the proxy let somebody through without sign-in: other credentials may follow
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value


class Proxy:
    """See `dav.auth.backend.Backend`."""

    name = "proxy"
    kinds = frozenset(("header",))

    async def check(self, given: Credentials) -> Identity | Refusal:
        """The person of given.header; WRONG for what cannot be one name."""
        name = unicodedata.normalize("NFC", given.header or "").strip().lower()
        if not name or len(name) > NAME_CHARS_MAX or not name.isprintable():
            return Refusal.WRONG
        # A comma: two fields of the same name, one of them perhaps the client's own, which the proxy did not remove.
        if any(char in name for char in ", ;/\\"):
            return Refusal.WRONG
        return Identity(name, addresses=(name,) if _is_address(name) else None)

    async def still(self, identity: Identity) -> bool:
        """True: the proxy vouches anew in each request."""
        return True

    async def lookup(self, name: str) -> Identity | Refusal | None:
        """None: a proxy cannot be asked."""
        return None

    async def close(self) -> None:
        """Nothing to end."""


def _is_address(text: str) -> bool:
    local, at, domain = text.partition("@")
    return bool(at and local and domain) and "@" not in domain
