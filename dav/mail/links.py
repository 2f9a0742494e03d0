"""Signed links by which people without a calendar program answer an invitation; `dav.web.guest` is behind them.

A token names the account whose event it is, the event's UID and the person who was invited, and is signed with a secret
of the store. Nothing is kept for it: it ends with its age, with the invitation (a later CANCEL), and when all links
made before some time are made void.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage import links as secrets_of

if TYPE_CHECKING:
    from dav.config import Config
    from storage.engine import Conn
    from storage.records import Outgoing

PATH = "/invite/"
TOKEN_CHARS_MAX = 2_000
_DAY_S = 86_400
_VERSION = 1
_MAC_BYTES = 16
_HEAD_BYTES = 12  # version, time of issue (5), account (4), length of the UID (2)
_SEPARATE = b"davenport invitation link"
# The answers that a link may propose, as they stand in its query.
ANSWERS = {"accept": "ACCEPTED", "maybe": "TENTATIVE", "decline": "DECLINED"}


@dataclass(frozen=True, slots=True)
class Links:
    """The addresses that a mail carries. Opening one answers nothing; the page asks once more."""

    accept: str
    tentative: str
    decline: str


@dataclass(frozen=True, slots=True)
class Invited:
    """Whom a token speaks of. recipient: a mail address as it was invited. issued_s: when its mail was written."""

    account_id: int
    uid: str
    recipient: str
    issued_s: int


def links_for(row: Outgoing, config: Config, secret: bytes) -> Links | None:
    """The links of a ledger row; None when it is no invitation, or when the settings have no address of ours to name.

    The same row has the same links whenever it is asked. secret: of `storage.links`.
    """
    base = base_url(config)
    if row.method != "REQUEST" or not base or not config.mail.links:
        return None
    invited = Invited(row.account_id, row.uid, row.recipient, row.created_s)
    try:
        address = f"{base}{PATH}{make_token(invited, secret)}"
    except ValueError:
        return None  # a UID of kilobytes: no address has room for it
    accept, tentative, decline = (f"{address}?answer={name}" for name in ANSWERS)
    return Links(accept, tentative, decline)


def base_url(config: Config) -> str:
    """Where people reach us, without a slash at its end; "" when server.public_url is not set."""
    public = config.server.public_url.rstrip("/")
    return public and public + config.server.base_path


def secret_of(conn: Conn) -> bytes:
    """The secret of the links, made at first use. Needs a write transaction the first time."""
    return secrets_of.secret(conn) or secrets_of.make_secret(conn)


def state_of(conn: Conn) -> tuple[bytes | None, int]:
    """(the secret, None before the first link was made; since when links count). Reads only."""
    return secrets_of.state(conn)


def make_token(invited: Invited, secret: bytes) -> str:
    """A token of letters, digits, "-" and "_". Raises ValueError when it would be longer than TOKEN_CHARS_MAX."""
    uid, recipient = invited.uid.encode(), invited.recipient.encode()
    if len(uid) > 0xFFFF or not 0 <= invited.account_id < 1 << 32 or not 0 <= invited.issued_s < 1 << 40:
        raise ValueError("too long for a link")
    head = bytes((_VERSION,)) + invited.issued_s.to_bytes(5, "big") + invited.account_id.to_bytes(4, "big")
    body = head + len(uid).to_bytes(2, "big") + uid + recipient
    token = _text(body + _mac(body, secret))
    if len(token) > TOKEN_CHARS_MAX:
        raise ValueError("too long for a link")
    return token


def read_token(token: str, secret: bytes, *, now_s: int, days: int, since_s: int = 0) -> Invited | None:
    """Whom a token speaks of; None when it is not ours, was changed, is older than so many days, or than since_s."""
    if len(token) > TOKEN_CHARS_MAX or not token.isascii():
        return None
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if _text(data) != token:
        return None  # bits that stand for nothing: there is one spelling of a token
    body, mac = data[:-_MAC_BYTES], data[-_MAC_BYTES:]
    if len(body) < _HEAD_BYTES or not hmac.compare_digest(_mac(body, secret), mac) or body[0] != _VERSION:
        return None
    issued_s, account_id = int.from_bytes(body[1:6], "big"), int.from_bytes(body[6:10], "big")
    length = int.from_bytes(body[10:12], "big")
    rest = body[_HEAD_BYTES:]
    # Clocks of two machines may differ by a little, hence the day.
    if length > len(rest) or issued_s < since_s or not issued_s - _DAY_S <= now_s <= issued_s + days * _DAY_S:
        return None
    return Invited(account_id, rest[:length].decode(), rest[length:].decode(), issued_s)


def form_mark(token: str, secret: bytes) -> str:
    """What the page's own form carries, so that nothing answers that has not read the page."""
    return hmac.new(secret, b"davenport answer form\0" + token.encode(), hashlib.sha256).hexdigest()[:32]


def same(one: str, other: str) -> bool:
    """Whether two marks are the same; takes the same time for all that are not."""
    return hmac.compare_digest(one.encode(), other.encode())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _mac(body: bytes, secret: bytes) -> bytes:
    return hmac.new(secret, _SEPARATE + b"\0" + body, hashlib.sha256).digest()[:_MAC_BYTES]
