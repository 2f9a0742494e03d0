"""Addresses of published collections: /feeds/SECRET.ics and .vcf for programs, /feeds/SECRET for people.

The secret is all that is needed to read, so it is kept out of logs, referrers and search engines.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dav.mail.links import base_url

if TYPE_CHECKING:
    from dav.config import Config
    from storage.records import Collection, Feed

PATH = "/feeds/"
_REST = re.compile(r"([A-Za-z0-9_-]{20,64})(?:\.(ics|vcf|html))?/?")
_OFFERED = b"davenport feed offered"
_OFFERED_BYTES = 24


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks for. form: "ics", "vcf", or "html" for the page."""

    secret: str
    form: str


def read(rest: str) -> Asked | None:
    """What stands behind PATH in an address; None when it cannot be one of ours."""
    found = _REST.fullmatch(rest)
    return None if found is None else Asked(found[1], found[2] or "html")


def form_of(collection: Collection) -> str:
    """The form in which programs read a collection: "ics" or "vcf"."""
    return "vcf" if collection.area == "addressbooks" else "ics"


def host_of(config: Config, scheme: str, host: str) -> str:
    """Where we are reached, with the prefix and without a slash at its end: server.public_url, else as was asked."""
    return base_url(config) or (f"{scheme}://{host}{config.server.base_path}" if host else config.server.base_path)


def link(base: str, secret: str, form: str) -> str:
    """The address of a feed. base: of host_of. form: "ics", "vcf", or "" for the page."""
    return f"{base}{PATH}{secret}{'.' if form else ''}{form}"


def webcal(url: str) -> str:
    """The same address as one that opens a calendar program; iOS knows webcal: alone, which it fetches by TLS too."""
    return "webcal:" + url.partition(":")[2] if url.startswith(("http://", "https://")) else url


def link_of(base: str, feed: Feed, collection: Collection) -> str:
    """The address for programs of a feed."""
    return link(base, feed.secret, form_of(collection))


def offered(key: bytes, collection: Collection) -> str:
    """The secret that a collection would get if it were published now: 192 bits, from a secret of the store.

    Publishing and its end change the collection's properties, so no secret is offered a second time.
    """
    text = f"{collection.key}:{collection.id}:{collection.props_seq}".encode()
    digest = hmac.new(key, _OFFERED + text, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest[:_OFFERED_BYTES]).decode()
