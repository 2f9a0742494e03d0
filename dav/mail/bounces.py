"""Mail that comes back: which invitation it was, and what that means for the guest on the organizer's copy (RFC 3464).

Each mail that goes out has an envelope sender of its own (VERP): `return_path` makes it from the number of its row in
the ledger, signed, so that a bounce tells which one it is even when it holds nothing of the mail, and so that nobody
can mark guests of others as unreachable.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dav.mail.message import Report
from dav.scheduling.addresses import domain_key, mail_of, normalise
from dav.scheduling.model import ItipError, read_object
from storage import outbound

if TYPE_CHECKING:
    from dav.scheduling.plan import Env
    from storage.records import Outgoing

_MARK = "b-"
_MAC_CHARS = 16
_TAG = re.compile(r"b-([0-9a-z]{1,13})-([0-9a-f]{16})")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def return_path(row_id: int, service: str, secret: bytes, *, delimiter: str = "+") -> str:
    """The envelope sender of one mail: invites+b-1a-0123456789abcdef@example.org.

    row_id: of the ledger. service: mail.from_address. secret: `storage.links.secret`. delimiter: the first character of
    auth.recipient_delimiter; without one ("") the service address itself.
    """
    local, _, domain = service.rpartition("@")
    if not delimiter or not local:
        return service
    # A local part has at most 64 octets (RFC 5321 §4.5.3.1.1).
    tag = f"{_MARK}{_base36(row_id)}-{_mac(row_id, secret)}"
    return f"{local[: 64 - len(tag) - 1]}{delimiter[0]}{tag}@{domain}"


def read_return_path(address: str, service: str, secret: bytes, *, delimiters: str = "+") -> int | None:
    """The number of the row whose envelope sender an address is; None when it is none of ours or was made up."""
    mail = mail_of(normalise(address))
    local, _, domain = (mail or "").rpartition("@")
    own_local, _, own_domain = service.rpartition("@")
    if not local or not own_local or domain != domain_key(own_domain):
        return None
    for char in delimiters:
        head, found, tag = local.rpartition(char)
        match = _TAG.fullmatch(tag)
        if found and match and own_local.casefold().startswith(head):
            row_id = int(match[1], 36)
            if row_id < 1 << 63 and hmac.compare_digest(_mac(row_id, secret), match[2]):
                return row_id
    return None


def _mac(row_id: int, secret: bytes) -> str:
    return hmac.new(secret, b"davenport return path\0%d" % row_id, hashlib.sha256).hexdigest()[:_MAC_CHARS]


def _base36(number: int) -> str:
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
        if not number:
            return text


# --- what came back ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bounced:
    """One mail that did not arrive. status: of RFC 6638 §3.2.9. hard: there is no such address, and will be none."""

    row: Outgoing
    status: str
    hard: bool
    answer: str


def status_for(code: str, diagnostic: str = "") -> tuple[str, bool]:
    """(schedule status, hard) for an enhanced status code (RFC 3463) such as 5.1.1.

    5.1.x: there is no such address: 5.2, no way to deliver. A full box, a refusal, a time-out: 5.1, could not.
    """
    if not code.startswith("5.1."):
        # Some servers write 5.0.0 and say in words, with the other's code, what they mean.
        found = re.search(r"\b5\.1\.[0-36]\b|\b550[- ]5\.1\.\d", diagnostic)
        if code not in ("", "5.0.0") or not found:
            return "5.1", False
    return "5.2", True


def find_bounced(env: Env, report: Report, *, row_id: int | None, account_ids: frozenset[int]) -> list[Bounced]:
    """The mails of the ledger that a report says did not arrive; none for reports of delays and of success.

    row_id: what the address that the report came to tells (`read_return_path`). Without it the mail is found by its
    Message-ID, and last by the UID in the calendar that came back; then it must be one of these accounts' own, when
    any are given.
    """
    failed = [entry for entry in report.recipients if entry.action == "failed"]
    found: list[Bounced] = []
    if row_id is not None:
        row = outbound.by_id(env.conn, row_id)
        # Its one mail had one recipient: whatever name the last server has for it.
        if row is not None and failed:
            found.append(_bounced(row, failed[0].status, failed[0].diagnostic))
        return found
    rows = [row for row in (outbound.by_message_id(env.conn, text) for text in report.message_ids) if row is not None]
    if not rows:
        rows = _by_calendar(env, report, account_ids, [entry.recipient for entry in failed])
    for row in rows:
        if account_ids and row.account_id not in account_ids:
            continue
        for entry in failed:
            if normalise(entry.recipient) == normalise(row.recipient):
                found.append(_bounced(row, entry.status, entry.diagnostic))
                break
    return found


def _bounced(row: Outgoing, code: str, diagnostic: str) -> Bounced:
    status, hard = status_for(code, diagnostic)
    return Bounced(row, status, hard, f"{code} {diagnostic}".strip()[:500])


def _by_calendar(env: Env, report: Report, account_ids: frozenset[int], recipients: list[str]) -> list[Outgoing]:
    found: list[Outgoing] = []
    for data in report.calendars:
        try:
            uid = read_object(data).uid
        except (ItipError, ValueError):
            continue
        # Without an account we would believe whoever knows the UID of a stranger's meeting.
        for account_id in sorted(account_ids):
            rows = outbound.list_outgoing(env.conn, account_id=account_id, uid=uid, state="sent", limit=200)
            for recipient in recipients:
                newest = (row for row in rows if normalise(row.recipient) == normalise(recipient))
                found += [row for row in (next(newest, None),) if row is not None]
    return found
