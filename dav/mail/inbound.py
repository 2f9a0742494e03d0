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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dav.errors import DavError
from dav.ical.lines import Component, Line, with_value
from dav.mail import bounces, identity
from dav.mail.message import CalendarPart, Mail, MailUnusable, read_mail
from dav.scheduling.addresses import Who, domain_key, mail_of, normalise, without_tag
from dav.scheduling.edit import replace_line
from dav.scheduling.model import (
    Itip,
    ItipError,
    SchedulingObject,
    address_of,
    attendees_of,
    organizer_of,
    partstat_of,
    read_itip,
    read_object,
)
from dav.scheduling.plan import Env
from storage import accounts as people
from storage import guard, itip, links, meetings, outbound, senders
from storage import inbound as used
from storage.engine import transaction
from storage.errors import StorageError
from storage.objects import stored_uid
from storage.records import Account, KeptMessage, Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from dav.config import Config
    from dav.scheduling.plan import Arrival
    from dav.urls import Urls
    from storage.engine import Store

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
SPEAKERS_MAX = 50
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


@dataclass(frozen=True, slots=True)
class Post:
    """A mail read, and where it came from and to. itip: the message in it; problem: why there is none, "" for none.

    mailbox: it was found in a mailbox and stays there, so that ordinary mail is nobody's concern.
    """

    raw: bytes
    envelope_from: str
    envelope_to: str
    mail: Mail | None
    itip: Itip | None
    problem: str
    mailbox: bool = False


class _Later(Exception):
    """Too much at once from one sender: nothing happens now."""


class _Keep(Exception):
    """The message cannot be used; its text is the reason."""


class _Ignore(Exception):
    """The message is of no use to anybody; its text is the reason."""


# --- reading: pure, before any lock -----------------------------------------------------------------------------------


def read(raw: bytes, config: Config, *, envelope_from: str, envelope_to: str, mailbox: bool = False) -> Post:
    """The mail and its message as they are, whatever they are."""
    sender = _null(envelope_from)
    try:
        mail = read_mail(raw, bytes_max=config.mail_in.max_bytes)
    except MailUnusable as error:
        return Post(raw, sender, envelope_to, None, None, str(error), mailbox)
    try:
        message, problem = message_in(mail.calendars, components_max=config.mail_in.components), ""
    except (ItipError, RecursionError) as error:
        message, problem = None, str(error) or "The calendar is nested too deeply."
    except Exception as error:
        # Nothing that a stranger writes may become a bounce or a loop of deliveries.
        _log.exception("a calendar in a mail could not be read")
        message, problem = None, f"The calendar cannot be read ({type(error).__name__})."
    return Post(raw, sender, envelope_to, mail, message, problem, mailbox)


def _null(envelope_from: str) -> str:
    # Postfix's pipe writes MAILER-DAEMON for the null sender.
    sender = envelope_from.strip().strip("<>")
    return "" if sender.upper() == "MAILER-DAEMON" else sender


def message_in(parts: Sequence[CalendarPart], *, components_max: int) -> Itip | None:
    """The one message in a mail's calendars; None when no part is a calendar. Raises ItipError.

    text/calendar counts before attached files, which some programs shorten; copies of one message count once.
    """
    problem: ItipError | None = None
    for proper in (True, False):
        found: dict[tuple[object, ...], Itip] = {}
        for part in parts:
            if part.proper is not proper:
                continue
            try:
                message = read_itip(part.data, method=part.method)
                _check_size(message, components_max)
            except ItipError as error:
                problem = problem or error
            else:
                found.setdefault(_key_of(message), message)
        if len(found) > 1:
            raise ItipError("There is more than one message in the mail.")
        if found:
            return next(iter(found.values()))
    if problem is not None:
        raise problem
    return None


def _check_size(message: Itip, components_max: int) -> None:
    waiting, count = [message.object.calendar], 0
    while waiting:
        inner = [item for item in waiting.pop().items if isinstance(item, Component)]
        count += len(inner)
        waiting += inner
        if count > components_max:
            raise ItipError(f"The calendar has more than {components_max} components.")


def _key_of(message: Itip) -> tuple[object, ...]:
    answers = frozenset(
        (key, address, partstat_of(line))
        for key, part in message.object.parts.items()
        for address, line in attendees_of(part).items()
    )
    return (message.method, message.uid, message.sequence, message.dtstamp, answers)


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
    except _Keep as reason:
        return _keep(env, post, account, str(reason))
    except _Ignore as reason:
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


def _accounts(conn: object, config: Config, addresses: Iterable[str]) -> list[Account]:
    """The active accounts with these normalised addresses, each once, in order."""
    mails = [mail for mail in map(mail_of, addresses) if mail]
    found = people.accounts_by_addresses(conn, mails, delimiters=config.auth.recipient_delimiter)  # type: ignore[arg-type]
    unique = {found[mail].id: found[mail] for mail in mails if mail in found}
    return list(unique.values())


# --- what it does -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Case:
    """One message for one account, and what is known about it."""

    env: Env
    post: Post
    mail: Mail
    itip: Itip
    account: Account
    who: Who
    row: Outgoing | None
    stored: SchedulingObject | None
    proof: identity.Proof
    # What the account has of the meeting: the bodies of its objects.
    copies: list[bytes]
    # For each address of somebody here: all addresses of that person.
    known_people: dict[str, frozenset[str]]
    delimiters: str

    def speaks_for(self, claimed: str) -> bool:
        """Whether the mail's From, or an envelope sender that SPF allows, is this calendar user."""
        if identity.same_person(claimed, self.mail.sender, delimiters=self.delimiters, known=self.known_people):
            return True
        envelope = normalise(f"mailto:{self.post.envelope_from}") if self.post.envelope_from else ""
        believed = self.proof.envelope or self.env.config.mail_in.strictness == "trusting"
        return believed and identity.same_person(claimed, envelope, delimiters=self.delimiters, known=self.known_people)


def apply(
    env: Env, post: Post, account: Account, row: Outgoing | None, *, believed: bool = False, known: bool = False
) -> Result:
    """Decides as the reference's table does, and applies. believed: its owner says so (`mail kept apply`).

    Raises _Keep and _Ignore with the reason.
    """
    assert post.itip is not None
    assert post.mail is not None
    case = _case(env, post, account, row)
    if case.itip.method in FROM_ATTENDEE:
        sender = _check_attendee(case, believed=believed)
    else:
        known = _check_organizer(case, believed=believed) or known or believed
        sender = _organizer_as_stored(case)
    from dav.scheduling import deliver

    arrival = deliver.receive(env, account, case.itip, sender=sender, via="mail", known=known)
    if (
        arrival.outcome == "applied"
        and arrival.body is not None
        and _copies(env, account, case.itip.uid) == case.copies
    ):
        # What is received is held to the rules of a PUT, and left out where it breaks them.
        raise _Keep("The calendar cannot hold what the message asks for.")
    return _after(case, arrival)


def _case(env: Env, post: Post, account: Account, row: Outgoing | None) -> _Case:
    assert post.itip is not None
    assert post.mail is not None
    from dav.scheduling.places import who_of

    mail, message = post.mail, post.itip
    delimiters = env.config.auth.recipient_delimiter
    named = [mail.sender, message.object.organizer, *list(message.object.all_attendees())[:SPEAKERS_MAX]]
    found = people.accounts_by_addresses(
        env.conn, [text for text in map(mail_of, named) if text], delimiters=delimiters
    )
    known_people: dict[str, frozenset[str]] = {}
    for one in {found[key].id: found[key] for key in found}.values():
        own = frozenset(normalise(f"mailto:{address}") for address in one.addresses)
        known_people |= dict.fromkeys(own, own)
    stored, copies = _stored(env, account, message)
    if env.config.mail_in.strictness == "trusting":
        proof = identity.Proof(identity.PASS, frozenset({_domain(mail.sender)}))
    else:
        results = identity.results_of(mail.results, env.config.mail_in.authserv_id)
        proof = identity.prove(
            mail.sender, results, own_addresses=known_people.get(mail.sender, frozenset()), delimiters=delimiters
        )
    return _Case(
        env, post, mail, message, account, who_of(env, account), row, stored, proof, copies, known_people, delimiters
    )


def _domain(address: str) -> str:
    return domain_key((mail_of(address) or "").rpartition("@")[2])


def _copies(env: Env, account: Account, uid: str) -> list[bytes]:
    """The bodies of the account's objects with this UID, the newest first."""
    calendars = [one.id for one in meetings.calendars_of(env.conn, [account.id]).get(account.id, ())
                 if one.kind == "calendar"]  # fmt: skip
    return [body for _, body in meetings.by_uid(env.conn, calendars, uid)]


def _stored(env: Env, account: Account, message: Itip) -> tuple[SchedulingObject | None, list[bytes]]:
    """The account's own object with the message's UID; when only the letter case differs, the message takes ours."""
    for uid in dict.fromkeys((message.uid, message.uid.lower(), message.uid.upper())):
        bodies = _copies(env, account, uid)
        if bodies:
            try:
                found = read_object(bodies[0])
            except ItipError:
                raise _Keep("The meeting in the calendar cannot be read.") from None
            if found.uid != message.uid:
                _rename(message, found.uid)
            return found, bodies
    return None, []


def _rename(message: Itip, uid: str) -> None:
    for component in message.object.obj.components:
        for line in component.all("UID"):
            replace_line(component, line, with_value(line, uid))
    message.object.obj.uid = uid


# --- from an attendee -------------------------------------------------------------------------------------------------


def _check_attendee(case: _Case, *, believed: bool) -> str:
    """The attendee that the sender may speak for, as the stored meeting writes it. Raises _Keep, _Ignore.

    What the message says of others is taken out of it, except of those to whom the attendee delegates.
    """
    message, stored = case.itip, case.stored
    if stored is None:
        raise _Keep("No meeting in the calendar has this UID.")
    if not case.who.has(stored.organizer):
        raise _Keep("The account is not the organizer of this meeting.")
    if message.method == "REFRESH" and case.mail.answering:
        raise _Ignore("Automatic mail is not answered.")
    named = list(message.object.all_attendees())
    if not named:
        raise _Keep("The answer names nobody.")
    guests = stored.all_attendees()
    claimed, entry = _claimed(case, named, guests)
    verdict = identity.PASS if believed else case.proof.verdict
    token = case.row is not None and _same_uid(case.row.uid, stored.uid)
    if not entry and token and case.row is not None:
        # The address that the mail was sent to is this guest's secret: somebody answers from another address.
        entry = _entry_of(normalise(f"mailto:{case.row.recipient}"), guests, case.delimiters)
        claimed = entry if entry in named else (claimed or named[0])
    elif not claimed and believed:
        claimed = named[0]
        entry = _entry_of(claimed, guests, case.delimiters)
    elif not claimed:
        who = mail_of(case.mail.sender) or "Somebody without an address"
        text = f"{who} speaks for {mail_of(named[0]) or named[0]}."
        raise _Keep(text) if verdict == identity.PASS else _Ignore(f"{text} That is a forgery.")
    if verdict == identity.FAIL and not (token and entry and "google.com" in case.proof.domains):
        if not entry:
            raise _Ignore(f"Nobody invited the sender, and {case.proof.reason}.")
        raise _Keep(f"The sender may be somebody else: {case.proof.reason}.")
    if verdict == identity.NONE and not token:
        if case.env.config.mail_in.strictness == "strict":
            raise _Keep(f"The sender is not proven: {case.proof.reason}.")
        if not entry:
            raise _Keep(f"Nobody invited the sender, and {case.proof.reason}.")
    _only(message, claimed, entry, stored)
    return entry or claimed


def _claimed(case: _Case, named: list[str], guests: dict[str, list[tuple[str, Line]]]) -> tuple[str, str]:
    """(the attendee of the message who sent it, the same as the meeting writes it or ""); ("", "") for none."""
    for claimed in named[:SPEAKERS_MAX]:
        entry = _entry_of(claimed, guests, case.delimiters)
        if case.speaks_for(claimed) or (entry and _by_email(guests[entry], case.mail.sender)):
            if not entry:
                # Invited at one address, answering with another of the same person here.
                others = case.known_people.get(claimed, frozenset())
                entry = next((one for one in guests if one in others), "")
            return claimed, entry
    # Some programs answer for the address that they were set up with, not the one that was invited.
    for entry in guests:
        if case.speaks_for(entry) and len(named) == 1 and entry in case.known_people:
            return named[0], entry
    return "", ""


def _entry_of(address: str, guests: dict[str, list[tuple[str, Line]]], delimiters: str) -> str:
    """The guest that an address is, as the meeting writes it; "" when it is none."""
    if address in guests:
        return address
    plain = without_tag(address, delimiters)
    return next((one for one in guests if without_tag(one, delimiters) == plain), "")


def _by_email(lines: list[tuple[str, Line]], sender: str) -> bool:
    """Whether the sender is the EMAIL of this guest, as the organizer's own copy writes it (not as the answer does)."""
    return bool(sender) and any(normalise(f"mailto:{line.param('EMAIL') or ''}") == sender for _, line in lines)


def _same_uid(row_uid: str, uid: str) -> bool:
    # The ledger keeps a UID as the objects table does: a very long one by its digest.
    return row_uid == stored_uid(uid)


def _only(message: Itip, claimed: str, entry: str, stored: SchedulingObject) -> None:
    """Leaves in a message the lines of the one who speaks, and of delegates; writes the one as the meeting does."""
    ours = stored.all_attendees().get(entry, [])
    value = ours[0][1].value if ours else ""
    for component in message.object.parts.values():
        speaking = attendees_of(component).get(claimed)
        delegates = _delegates(speaking) if speaking is not None else frozenset()
        for line in component.all("ATTENDEE"):
            address = address_of(line)
            if address == claimed:
                if value and normalise(value) != address:
                    replace_line(component, line, with_value(line, value))
            elif address not in delegates:
                replace_line(component, line, None)


def _delegates(line: Line) -> frozenset[str]:
    return frozenset(normalise(text) for text in line.param_values("DELEGATED-TO"))


# --- from an organizer ------------------------------------------------------------------------------------------------


def _check_organizer(case: _Case, *, believed: bool) -> bool:
    """Whether something is known of the sender. Raises _Keep, _Ignore when the message may not be applied."""
    message, stored, mail = case.itip, case.stored, case.mail
    organizer = message.object.organizer
    if any(organizer_of(part) != organizer for part in message.object.parts.values()):
        raise _Keep("The message names more than one organizer.")
    if not organizer:
        raise _Keep("The message names no organizer.")
    if case.who.has(organizer) or (stored is not None and case.who.has(stored.organizer)):
        raise _Keep("The account is the organizer of this meeting itself.")
    if believed:
        return True
    verdict = case.proof.verdict
    if verdict == identity.FAIL:
        raise _Keep(f"The sender may be somebody else: {case.proof.reason}.")
    if verdict == identity.NONE and case.env.config.mail_in.strictness == "strict":
        raise _Keep(f"The sender is not proven: {case.proof.reason}.")
    speaks = case.speaks_for(organizer) or _sent_by(case, stored)
    if organizer in case.known_people and not (speaks and verdict == identity.PASS):
        # What people here organize comes to others here without mail: this one only says that it is from there.
        raise _Keep("The organizer is somebody here, and the mail is not proven to be theirs.")
    if stored is not None and not _may_change(case, stored, speaks):
        raise _Keep("The sender is not the organizer of the meeting, nor who sent it first.")
    if case.account.kind in ("room", "resource") and mail.answering:
        raise _Keep("Rooms and resources do not answer automatic mail, nor what came through a list.")
    if stored is not None:
        return True
    if message.method == "PUBLISH":
        raise _Keep("It is published for everybody, not an invitation.")
    if _is_known(case, organizer if speaks else ""):
        return True
    choice = case.env.config.mail_in.unknown_senders
    if message.method != "REQUEST" or choice == "add":
        return choice == "add"
    if choice == "ignore":
        raise _Ignore("Nothing is known of the sender.")
    raise _Keep("Nothing is known of the sender of this invitation.")


def _organizer_as_stored(case: _Case) -> str:
    """In whose name the message speaks: of the organizer that the account knows, when it may give it another one."""
    if case.stored is not None and case.stored.organizer:
        return case.stored.organizer
    return case.itip.object.organizer


def _sent_by(case: _Case, stored: SchedulingObject | None) -> bool:
    """Whether the sender writes for the organizer: a SENT-BY of the stored meeting, or of the organizer's domain."""
    organizer = case.itip.object.organizer
    objects = [case.itip.object, *([stored] if stored is not None else [])]
    for obj in objects:
        for part in obj.parts.values():
            line = part.first("ORGANIZER")
            sent_by = normalise(line.param("SENT-BY") or "") if line is not None else ""
            if sent_by and case.speaks_for(sent_by) and (obj is stored or _domain(sent_by) == _domain(organizer)):
                return True
    return False


def _may_change(case: _Case, stored: SchedulingObject, speaks: bool) -> bool:
    """Whether the sender may change what is stored: its organizer, or from where it came first, proven both times."""
    if speaks and stored.organizer in ("", case.itip.object.organizer):
        return True
    if case.proof.verdict != identity.PASS:
        return False
    domain = _domain(case.mail.sender)
    if speaks and _domain(stored.organizer) == domain:
        # Google names a new organizer when a meeting moves between calendars.
        return True
    return (_via(domain), "") in itip.seen(case.env.conn, case.account.id, stored.uid)


def _via(domain: str) -> str:
    return f"domain:{domain}"


def _is_known(case: _Case, organizer: str) -> bool:
    """Whether something is known of who invites: one of here or of the same domain, a contact, one written to."""
    sender = case.mail.sender
    if not sender:
        return False
    if sender in case.known_people:
        return True
    domain = _domain(sender)
    own = {_domain(f"mailto:{address}") for address in case.account.addresses}
    if case.proof.verdict == identity.PASS and domain in own | {
        domain_key(one) for one in case.env.config.mail.domains
    }:
        return True
    addresses = [text for text in (mail_of(sender), mail_of(organizer)) if text]
    return senders.knows(case.env.conn, case.account.id, addresses)


# --- afterwards -------------------------------------------------------------------------------------------------------


def _after(case: _Case, arrival: Arrival) -> Result:
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
        marks = {(_via(_domain(case.mail.sender)), ""): (0, "")}
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
        case = _case(told, post, account, _row_of(told, post))
        if case.itip.method in FROM_ATTENDEE:
            sender = _check_attendee(case, believed=True)
        else:
            _check_organizer(case, believed=True)
            sender = _organizer_as_stored(case)
        from dav.scheduling import deliver

        arrival = deliver.receive(told, account, case.itip, sender=sender, via="mail", known=True)
    except (_Keep, _Ignore) as reason:
        return Result(KEPT, str(reason), account.name, kept.id)
    if arrival.outcome in ("refused", "ignored", "asked"):
        return Result(KEPT, arrival.reason, account.name, kept.id)
    used.drop_kept(env.conn, kept.id)
    return Result(APPLIED if arrival.outcome == "applied" else NOTHING, arrival.reason, account.name)
