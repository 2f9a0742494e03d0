"""What comes in by mail: whose it is, who says so, whether that is believed, and what it does (RFC 6047, RFC 5546).

A mail is read before the transaction (`read`), then each recipient's own transaction decides and applies (`process`).
`accept` does both and never raises for what is in a mail: what could not be used is kept aside for its owner with the
reason. Nothing here sends mail because of a mail, except the answers of rooms and to REFRESH, which are made by
`dav.scheduling.deliver` and are not made at all when the mail is an automatic one or came through a list.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dav.errors import DavError
from dav.mail import bounces, identity
from dav.mail.judge import (
    Case,
    Ignore,
    Keep,
    case_of,
    check_attendee,
    check_organizer,
    copies_of,
    domain_of,
    organizer_as_stored,
    via,
)
from dav.mail.post import Post, read
from dav.scheduling.addresses import mail_of, normalise, without_tag
from dav.scheduling.model import Itip, ItipError
from dav.scheduling.plan import Env
from storage import accounts as people
from storage import guard, itip, links, meetings, outbound
from storage import inbound as used
from storage.engine import transaction
from storage.errors import StorageError
from storage.records import Account, KeptMessage, Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from dav.config import Config
    from dav.scheduling.plan import Arrival
    from dav.urls import Urls
    from storage.engine import Conn, Store

# Outcomes of a mail for one recipient.
APPLIED = "applied"  # the calendar has changed
NOTHING = "nothing"  # all is as it should be: used before, older than what is known, no calendar in a watched mailbox
BOUNCED = "bounced"  # a guest's schedule status was written
KEPT = "kept"  # put aside for its owner, with the reason
IGNORED = "ignored"  # of no use to anybody: an automatic reply, a forgery
UNKNOWN = "unknown"  # nobody here has that address
LATER = "later"  # too much at once
TOO_LARGE = "too large"

FROM_ATTENDEE = frozenset({"REPLY", "COUNTER", "REFRESH"})
FROM_ORGANIZER = frozenset({"REQUEST", "CANCEL", "ADD", "DECLINECOUNTER", "PUBLISH"})
RETRIES = 5
HOUR_S = 3600

_log = logging.getLogger("davenport.mail")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mail. reason: a sentence for logs and people. account: whose it was, "" for nobody's."""

    outcome: str
    reason: str = ""
    account: str = ""
    kept_id: int = 0


class _Later(Exception):
    """Too much at once from one sender: nothing happens now."""


# --- the door ---------------------------------------------------------------------------------------------------------


def takes(store: Store, config: Config, address: str) -> bool:
    """Whether mail for an address is anybody's here: an account's, or the service's (with or without a tag)."""
    with transaction(store) as conn:
        if _is_service(config, address):
            return True
        return bool(_accounts(conn, config, [normalise(f"mailto:{address}")]))


def accept(
    store: Store,
    config: Config,
    urls: Urls,
    raw: bytes,
    *,
    envelope_from: str,
    envelope_to: str,
    mailbox: bool = False,
    now_s: int | None = None,
) -> Result:
    """Reads one mail and does for one recipient what it asks for; committed when this returns.

    envelope_to: "" for a mail of a watched mailbox: then its headers tell whose it is. Raises StorageError when the
    store cannot be used now, and nothing else.
    """
    if len(raw) > config.mail_in.max_bytes:
        return Result(TOO_LARGE, f"The mail is larger than {config.mail_in.max_bytes} octets.")
    post = read(raw, config, envelope_from=envelope_from, envelope_to=envelope_to, mailbox=mailbox)
    at_s = int(time.time()) if now_s is None else now_s
    try:
        result = in_transaction(store, config, urls, at_s, lambda env: process_post(env, post))
    except StorageError:
        raise
    except _Later as error:
        result = Result(LATER, str(error))
    except Exception as error:
        # A fault of ours, or an object that this calendar refuses: the transaction is undone, the mail is not lost.
        if not isinstance(error, (DavError, ItipError, ValueError)):
            _log.exception("a mail could not be used")
        said = str(error) if isinstance(error, (DavError, ItipError)) else type(error).__name__
        reason = f"The message could not be used: {said}"
        result = in_transaction(store, config, urls, at_s, lambda env: _keep_failed(env, post, reason))
    _tell(post, result)
    return result


def in_transaction(store: Store, config: Config, urls: Urls, at_s: int, do: Callable[[Env], Result]) -> Result:
    """What `do` answers, in one write transaction; begun anew where another delivery must come first."""
    first: frozenset[int] = frozenset()
    for left in reversed(range(RETRIES)):
        try:
            with transaction(store, write=True) as conn:
                if first:
                    meetings.lock_in_order(conn, first)
                return do(Env(conn, store, config, urls, at_s))
        except meetings.LockFirst as error:
            # Another delivery holds what comes before: begin anew with all of it, in order.
            first |= error.ids
            if not left:
                raise
    raise AssertionError("unreachable")


def _keep_failed(env: Env, post: Post, reason: str) -> Result:
    for account in _owners(env, post):
        return _keep(env, post, account, reason)
    return Result(IGNORED, reason)


def _tell(post: Post, result: Result) -> None:
    mail = post.mail
    said = {
        "to": post.envelope_to or "(mailbox)",
        "from": mail_of(mail.sender) if mail and mail.sender else post.envelope_from or "<>",
        "method": post.itip.method if post.itip else "-",
        "account": result.account or "-",
        "outcome": result.outcome,
        "reason": result.reason or "-",
    }
    text = " ".join(f"{key}={_printable(str(value))!r}" for key, value in said.items())
    _log.log(logging.DEBUG if result.outcome == NOTHING else logging.INFO, "mail %s", text)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)[:300]


def process(env: Env, raw: bytes, *, envelope_from: str, envelope_to: str, mailbox: bool = False) -> Result:
    """As `accept`, inside a transaction of the caller's, which is to be rolled back when this raises."""
    return process_post(
        env, read(raw, env.config, envelope_from=envelope_from, envelope_to=envelope_to, mailbox=mailbox)
    )


def process_post(env: Env, post: Post) -> Result:
    """Does what a mail asks for. Raises what `dav.scheduling.deliver` raises, and StorageError."""
    row = _row_of(env, post)
    if post.mail is not None and post.mail.report is not None:
        return _bounce(env, post, row)
    owners = _owners(env, post, row)
    if not owners:
        if post.mailbox or _is_service(env.config, post.envelope_to):
            return Result(NOTHING if post.mailbox else IGNORED, "It is about nobody here.")
        return Result(UNKNOWN, "Nobody here has this address.")
    results = [_for_account(env, post, account, row) for account in owners]
    return next((one for one in results if one.outcome in (APPLIED, KEPT)), results[0])


def _for_account(env: Env, post: Post, account: Account, row: Outgoing | None) -> Result:
    mail = post.mail
    if mail is None:
        return _keep(env, post, account, post.problem)
    if post.itip is None:
        if post.mailbox and not mail.calendars:
            return Result(NOTHING, "There is no calendar in it.", account.name)
        if not mail.calendars and (mail.answering or not post.envelope_from):
            return Result(IGNORED, "It is an automatic mail without a calendar.", account.name)
        return _keep(env, post, account, post.problem or "There is no calendar in it.")
    digest = _digest(post.itip, mail.sender)
    _limit(env, account, mail.sender)
    if not used.remember(env.conn, account.id, digest, now_s=env.now_s):
        return Result(NOTHING, "The same message came before.", account.name)
    try:
        return apply(env, post, account, row)
    except Keep as reason:
        return _keep(env, post, account, str(reason))
    except Ignore as reason:
        return Result(IGNORED, str(reason), account.name)


def _digest(message: Itip, sender: str) -> str:
    """What makes a message the same as another: its calendar, whatever its line ends, and who sent it."""
    body = message.object.calendar.to_bytes().replace(b"\r\n", b"\n").strip()
    return hashlib.sha256(sender.encode("utf-8", "replace") + b"\0" + body).hexdigest()


def _limit(env: Env, account: Account, sender: str) -> None:
    """Raises _Later when one sender says too much to one account within an hour."""
    most = env.config.mail_in.per_sender_hour
    key = "mail-in:" + hashlib.sha256(f"{account.id}:{sender}".encode("utf-8", "replace")).hexdigest()[:40]
    count, last_s = guard.lanes(env.conn, [key]).get(key, (0, 0))
    if count >= most and env.now_s - last_s < HOUR_S:
        raise _Later("too many messages of this sender")
    guard.count_failure(env.conn, [key], now_s=env.now_s, forget_s=HOUR_S)


def _keep(env: Env, post: Post, account: Account, reason: str, outcome: str = KEPT) -> Result:
    """Puts a mail aside for its owner."""
    mail, message = post.mail, post.itip
    if not env.config.mail_in.kept_messages:
        return Result(IGNORED, reason, account.name)
    kept_id = used.keep(
        env.conn,
        KeptMessage(
            account_id=account.id,
            envelope_from=post.envelope_from[:320],
            envelope_to=post.envelope_to[:320],
            reason=reason[:500],
            raw=post.raw,
            sender=(mail_of(mail.sender) or "") if mail else "",
            subject=mail.subject if mail else "",
            message_id=mail.message_id if mail else "",
            method=message.method if message else "",
            uid=message.uid[:500] if message else "",
            outcome=outcome,
            received_s=env.now_s,
        ),
        most=env.config.mail_in.kept_messages,
    )
    return Result(KEPT, reason, account.name, kept_id)


# --- whose it is ------------------------------------------------------------------------------------------------------


def _service(config: Config) -> str:
    return config.mail.from_address


def _is_service(config: Config, address: str) -> bool:
    """Whether an address is the one that Davenport itself sends from, with or without a tag."""
    service = normalise(f"mailto:{_service(config)}") if _service(config) else ""
    asked = normalise(f"mailto:{address}")
    return bool(service) and service in (asked, without_tag(asked, config.auth.recipient_delimiter))


def _row_of(env: Env, post: Post) -> Outgoing | None:
    """The mail of the ledger that this one is an answer to, when the address that it came to was made for it."""
    service = _service(env.config)
    secret = links.secret(env.conn) if service else None
    if secret is None:
        return None
    asked = (
        [post.envelope_to] if post.envelope_to else [mail_of(to) or "" for to in (post.mail.to if post.mail else ())]
    )
    for address in asked:
        row_id = bounces.read_return_path(address, service, secret, delimiters=env.config.auth.recipient_delimiter)
        if row_id is not None:
            return outbound.by_id(env.conn, row_id)
    return None


def _owners(env: Env, post: Post, row: Outgoing | None = None) -> list[Account]:
    """The accounts that a mail is for; usually one."""
    if row is not None:
        account = people.account_by_id(env.conn, row.account_id)
        return [account] if account is not None and account.active else []
    if post.envelope_to and not _is_service(env.config, post.envelope_to):
        return _accounts(env.conn, env.config, [normalise(f"mailto:{post.envelope_to}")])
    if post.itip is not None:
        # To the service address: an answer to one of its mails goes to the organizer, whatever else it names.
        if post.itip.method in FROM_ATTENDEE and post.itip.object.organizer:
            found = _accounts(env.conn, env.config, [post.itip.object.organizer])
            if found:
                return found
        invited = set(post.itip.object.all_attendees())
        delimiters = env.config.auth.recipient_delimiter
        to = [one for one in (post.mail.to if post.mail else ()) if post.itip.method in FROM_ATTENDEE or one in invited
              or without_tag(one, delimiters) in invited]  # fmt: skip
        found = _accounts(env.conn, env.config, to)
        if found:
            return found
    if post.mail is not None:
        for message_id in post.mail.threads:
            earlier = outbound.by_message_id(env.conn, message_id)
            if earlier is not None:
                account = people.account_by_id(env.conn, earlier.account_id)
                return [account] if account is not None and account.active else []
        if post.mailbox:
            return _accounts(env.conn, env.config, post.mail.to)
    return []


def _accounts(conn: Conn, config: Config, addresses: Iterable[str]) -> list[Account]:
    """The active accounts with these normalised addresses, each once, in order."""
    mails = [mail for mail in map(mail_of, addresses) if mail]
    found = people.accounts_by_addresses(conn, mails, delimiters=config.auth.recipient_delimiter)
    unique = {found[mail].id: found[mail] for mail in mails if mail in found}
    return list(unique.values())


# --- what it does -----------------------------------------------------------------------------------------------------


def apply(
    env: Env, post: Post, account: Account, row: Outgoing | None, *, believed: bool = False, known: bool = False
) -> Result:
    """Decides as the reference's table does, and applies. believed: its owner says so (`mail kept apply`).

    Raises Keep and Ignore with the reason.
    """
    assert post.itip is not None
    assert post.mail is not None
    case = case_of(env, post, account, row)
    if case.itip.method in FROM_ATTENDEE:
        sender = check_attendee(case, believed=believed)
    else:
        known = check_organizer(case, believed=believed) or known or believed
        sender = organizer_as_stored(case)
    from dav.scheduling import deliver

    arrival = deliver.receive(env, account, case.itip, sender=sender, via="mail", known=known)
    if (
        arrival.outcome == "applied"
        and arrival.body is not None
        and copies_of(env, account, case.itip.uid) == case.copies
    ):
        # What is received is held to the rules of a PUT, and left out where it breaks them.
        raise Keep("The calendar cannot hold what the message asks for.")
    return _after(case, arrival)


# --- afterwards -------------------------------------------------------------------------------------------------------


def _after(case: Case, arrival: Arrival) -> Result:
    """What is remembered and kept after a message was handed in."""
    env, account = case.env, case.account
    if arrival.outcome in ("refused", "ignored") or (arrival.outcome == "asked" or arrival.ask):
        reason = arrival.reason or "The message could not be used."
        kept = _keep(env, case.post, account, reason, outcome=arrival.outcome)
        return kept if arrival.outcome != "applied" else Result(APPLIED, reason, account.name, kept.kept_id)
    if case.proof.verdict == identity.PASS and mail_of(case.mail.sender):
        outbound.forgive(env.conn, mail_of(case.mail.sender) or "")  # whoever writes is there
    if arrival.outcome in ("nothing", "stale"):
        return Result(NOTHING, arrival.reason, account.name)
    if case.itip.method in FROM_ORGANIZER and case.stored is None and case.proof.verdict == identity.PASS:
        marks = {(via(domain_of(case.mail.sender)), ""): (0, "")}
        itip.remember_seen(env.conn, account.id, case.itip.uid, marks, now_s=env.now_s)
    return Result(APPLIED, arrival.reason, account.name)


def _bounce(env: Env, post: Post, row: Outgoing | None) -> Result:
    """Writes what a bounce says onto the organizer's copy. Never causes any mail."""
    assert post.mail is not None
    assert post.mail.report is not None
    from dav.scheduling import deliver

    account_ids: frozenset[int] = frozenset()
    if row is None and post.envelope_to and not _is_service(env.config, post.envelope_to):
        account_ids = frozenset(one.id for one in _owners(env, post))
        if not account_ids:
            return Result(UNKNOWN, "Nobody here has this address.")
    found = bounces.find_bounced(env, post.mail.report, row_id=row.id if row else None, account_ids=account_ids)
    told = []
    for one in found:
        key = f"bounce:{one.row.id}:{one.status}"
        if not used.remember(env.conn, one.row.account_id, key, now_s=env.now_s):
            continue
        outbound.failed(env.conn, one.row.id, status=one.status, answer=one.answer, now_s=env.now_s)
        outbound.note_bounce(env.conn, one.row.recipient, env.now_s, hard=one.hard)
        deliver.set_status(env, one.row.account_id, one.row.uid, one.row.recipient, one.status)
        told.append(f"{one.row.recipient}: {one.answer}")
    if told:
        return Result(BOUNCED, "; ".join(told)[:500])
    if found:
        return Result(NOTHING, "The same was said before.")
    return Result(NOTHING if post.mailbox else IGNORED, "It is a report about no mail of ours that did not arrive.")


def apply_kept(env: Env, kept: KeptMessage, account: Account) -> Result:
    """Applies what was kept aside, since its owner says that it is good; it stays when it cannot be used even so."""
    post = read(kept.raw, env.config, envelope_from=kept.envelope_from, envelope_to=kept.envelope_to)
    if post.mail is None or post.itip is None:
        return Result(KEPT, post.problem or "There is no calendar in it.", account.name, kept.id)
    scheduling = dataclasses.replace(env.config.scheduling, party_crashers="add")
    told = dataclasses.replace(env, config=dataclasses.replace(env.config, scheduling=scheduling))
    try:
        case = case_of(told, post, account, _row_of(told, post))
        if case.itip.method in FROM_ATTENDEE:
            sender = check_attendee(case, believed=True)
        else:
            check_organizer(case, believed=True)
            sender = organizer_as_stored(case)
        from dav.scheduling import deliver

        arrival = deliver.receive(told, account, case.itip, sender=sender, via="mail", known=True)
    except (Keep, Ignore) as reason:
        return Result(KEPT, str(reason), account.name, kept.id)
    if arrival.outcome in ("refused", "ignored", "asked"):
        return Result(KEPT, arrival.reason, account.name, kept.id)
    used.drop_kept(env.conn, kept.id)
    return Result(APPLIED if arrival.outcome == "applied" else NOTHING, arrival.reason, account.name)
