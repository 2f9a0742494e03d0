"""Calendar user addresses (RFC 6638 §2.4.1): one spelling for each, so that they can be compared."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from dav.urls import Urls
    from storage.records import Account

ADDRESS_CHARS_MAX = 320
_SPACES = re.compile(r"\s+")
_ANGLED = re.compile(r"<([^<>]*)>\s*\Z")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)


def normalise(value: str) -> str:
    """The one spelling of a calendar user address: "mailto:alice@example.org", "urn:uuid:…", or an absolute path.

    Forgiving, as clients write it in many ways: MAILTO:, no scheme, a name before angle brackets, percent-encoding,
    other case. Of an http(s) URL the path is kept, since a proxy may give the host another name. "" for nothing.
    """
    # A meeting names the same few people again and again; what is longer than any address is not remembered.
    return _remembered(value) if len(value) <= 2 * ADDRESS_CHARS_MAX else _normalised(value)


def _normalised(value: str) -> str:
    text = value.strip().strip('"').strip()[: 4 * ADDRESS_CHARS_MAX]
    found = _SCHEME.fullmatch(text)
    scheme, rest = (found[1].lower(), found[2]) if found else ("", text)
    if scheme == "mailto" or (not found and "@" in text and not text.startswith("/")):
        return _mailto(rest)
    if scheme in ("http", "https"):
        try:
            rest = urlsplit(text).path
        except ValueError:
            return text.casefold()
        return _path(rest)
    if text.startswith("/"):
        return _path(text)
    if scheme:
        return f"{scheme}:{rest.strip().casefold()}"
    return text.casefold()


_remembered = lru_cache(maxsize=4096)(_normalised)


def _mailto(rest: str) -> str:
    angled = _ANGLED.search(rest)
    text = angled[1] if angled else rest
    text = unquote(text.partition("?")[0], errors="replace")
    text = _SPACES.sub("", unicodedata.normalize("NFC", text))[:ADDRESS_CHARS_MAX]
    local, at, domain = text.rpartition("@")
    if not at:
        return f"mailto:{text.casefold()}" if text else ""
    return f"mailto:{local.casefold()}@{domain_key(domain)}"


def domain_key(domain: str) -> str:
    """A domain as it is compared: lower case, Unicode where it was given as an A-label (RFC 5890)."""
    domain = domain.casefold().strip(".")
    if "xn--" in domain:
        try:
            return domain.encode("ascii").decode("idna")
        except (UnicodeError, ValueError):
            return domain
    return domain


def _path(path: str) -> str:
    path = unicodedata.normalize("NFC", unquote(path, errors="replace")).casefold()
    return path.rstrip("/") + "/"


def mail_of(address: str) -> str | None:
    """The mail address in a normalised calendar user address; None when it is none."""
    if not address.startswith("mailto:"):
        return None
    mail = address[len("mailto:") :]
    return mail if "@" in mail[1:-1] else None


def without_tag(address: str, delimiters: str) -> str:
    """A normalised mailto address without what follows a recipient delimiter: alice+work@ → alice@ (RFC 5233)."""
    mail = mail_of(address)
    if mail is None or not delimiters:
        return address
    local, _, domain = mail.rpartition("@")
    for position, char in enumerate(local):
        if position and char in delimiters:
            return f"mailto:{local[:position]}@{domain}"
    return address


@dataclass(frozen=True, slots=True)
class Who:
    """A principal here as scheduling sees it.

    addresses: all of its calendar user addresses, normalised; main: the one it writes as, "" when it has none. href:
    its principal URL. delimiters: characters that begin a tag in a local part (auth.recipient_delimiter).
    """

    account_id: int
    name: str
    href: str
    addresses: frozenset[str]
    main: str
    kind: str = "individual"
    display_name: str = ""
    locale: str = ""
    time_zone: str = ""
    delimiters: str = ""

    def has(self, address: str) -> bool:
        """Whether a normalised address is one of this principal's."""
        return address in self.addresses or (
            bool(self.delimiters) and without_tag(address, self.delimiters) in self.addresses
        )


def addresses_of(account: Account, urls: Urls) -> list[str]:
    """The addresses of an account as properties show them, the main one first; not normalised."""
    return [*(f"mailto:{address}" for address in account.addresses), urls.principal(account.name)]


def who_is(account: Account, urls: Urls, delimiters: str = "") -> Who:
    """The account as scheduling sees it."""
    shown = addresses_of(account, urls)
    known = [normalise(address) for address in shown]
    return Who(
        account.id, account.name, urls.principal(account.name), frozenset(known), known[0], account.kind,
        account.display_name, account.locale, account.time_zone, delimiters,
    )  # fmt: skip


def first_of(candidates: Iterable[str], who: Who) -> str:
    """The first normalised address that is this principal's, or ""."""
    return next((address for address in candidates if who.has(address)), "")
