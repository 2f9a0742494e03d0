"""Carrying plans out: what is stored, who here gets a message, who elsewhere gets a row in the ledger of mails.

Everything of one write happens in one transaction, so either all of it is true or nothing. What messages do to the
objects of their recipients is worked out in memory and written at the end, for all of them together: calendars first,
inboxes last (RFC 6638 §4.1), so that whoever sees an inbox item finds the object that it is about.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from dav.context import Ctx, Node
from dav.errors import DavError
from dav.ical.index import index_calendar
from dav.ical.recur import CalendarObject
from dav.mail import can_mail
from dav.methods import put as puts
from dav.names import c
from dav.scheduling import arrive, behalf, booking, groups, implicit
from dav.scheduling.addresses import mail_of
from dav.scheduling.model import Itip, ItipError, SchedulingObject, read_itip, read_object, scheduling_object
from dav.scheduling.places import Seat, here, invited_to, seats, who_of
from dav.scheduling.plan import Arrival, Env, Message, Options, Plan
from dav.scheduling.views import for_mail
from dav.urls import encode_segment
from dav.xml import href_element
from storage import accounts, collections, itip, meetings, objects, outbound
from storage.engine import transaction
from storage.meetings import LockFirst, Writing
from storage.records import Account, Collection, NewOutgoing, ObjectIndex, ObjectRecord

if TYPE_CHECKING:
    from dav.scheduling.addresses import Who
    from storage.engine import Conn, Store

__all__ = ["Delivered", "deliver", "in_order", "put", "receive", "remove", "set_status", "who_of"]

T = TypeVar("T")
# A message causes messages (an answer of a room, what the others are told of it); more rounds than this is a mistake.
ROUNDS_MAX = 6
LOCK_TRIES = 5
# How often the first of several mails about one meeting may be held back by the next one, in times settle_seconds.
_SETTLE_TIMES_MAX = 10

# What an organizer sends.
_TO_GUESTS = ("REQUEST", "ADD", "CANCEL")

_log = logging.getLogger("davenport.scheduling")


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of messages. statuses: normalised address → code of RFC 6638 §3.2.9. replies: what came back at once.

    body: of the sender's own object after that, when it was given.
    """

    statuses: Mapping[str, str]
    replies: tuple[Message, ...] = ()
    body: bytes | None = None


@dataclass(slots=True)
class _Copy:
    """What one account has of the meeting. record, stored: in the store now. body: as it will be there; None: nothing.

    own: the writer's, which its caller stores. tag: it gets a new schedule tag.
    """

    seat: Seat
    collection: Collection | None = None
    record: ObjectRecord | None = None
    stored: bytes | None = None
    body: bytes | None = None
    own: bool = False
    tag: bool = False


@dataclass(slots=True)
class Desk:
    """The deliveries of one meeting in one transaction."""

    env: Env
    uid: str
    via: str = "local"
    copies: dict[int, _Copy] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    replies: list[Message] = field(default_factory=list)
    _people: dict[str, Account | None] = field(default_factory=dict)
    # Group accounts whose members are invited in their place.
    _teams: dict[int, tuple[Account, ...]] = field(default_factory=dict)
    _waiting: list[tuple[Who, Message]] = field(default_factory=list)
    _mails: list[tuple[Who, Message]] = field(default_factory=list)
    _items: list[tuple[Seat, bytes]] = field(default_factory=list)
    _described: dict[bytes, puts.Described] = field(default_factory=dict)
    _signed: dict[tuple[bytes, str], bytes] = field(default_factory=dict)

    # ---- who and where ----

    def open(self, people: Iterable[Account]) -> None:
        """Learns where these accounts have the meeting, with all that may be written for them locked."""
        new = [account for account in people if account.id not in self.copies]
        if not new:
            return
        writers = [copy for copy in self.copies.values() if copy.own and copy.seat.inbox is None]
        everybody = {account.id: account for account in (*new, *(copy.seat.account for copy in writers))}
        found = seats(self.env, everybody.values())
        for copy in writers:
            copy.seat = found.pop(copy.seat.account.id)
        locked = [*found.values(), *(copy.seat for copy in writers)]
        meetings.lock_in_order(self.env.conn, set().union(*(seat.lock_ids for seat in locked)))
        calendars = {one.id: (seat, one) for seat in found.values() for one in seat.calendars}
        for seat in found.values():
            self.copies[seat.account.id] = _Copy(seat)
        for record, body in meetings.by_uid(self.env.conn, list(calendars), self.uid):
            seat, collection = calendars[record.collection_id]
            copy = self.copies[seat.account.id]
            if copy.record is None:
                copy.collection, copy.record, copy.stored, copy.body = collection, record, body, body

    def take(
        self, account: Account, who: Who, collection: Collection, record: ObjectRecord | None, body: bytes | None
    ) -> _Copy:
        """The writer's own object, which its caller stores."""
        copy = self.copies[account.id] = _Copy(Seat(account, who), collection, record, None, body, own=True)
        return copy

    def post(self, sender: Who, messages: Iterable[Message]) -> None:
        self._waiting.extend((sender, message) for message in messages)

    def _look_up(self, addresses: Iterable[str]) -> None:
        unknown = set(addresses) - self._people.keys()
        if unknown:
            found = here(self.env, sorted(unknown))
            self._people.update({address: found.get(address) for address in unknown})

    def expanded(self, who: Who, old: SchedulingObject | None, new: SchedulingObject) -> SchedulingObject:
        """An organizer's object with lines for the members of the groups that are invited; itself when there are none.

        old: what was stored.
        """
        guests = new.all_attendees()
        self._look_up(guests)
        invited = {address: account for address in guests if (account := self._people[address]) is not None}
        self._learn_teams(who, invited.values())
        teams = {address: self._teams[one.id] for address, one in invited.items() if one.id in self._teams}
        if not teams and not any(line.param("MEMBER") for lines in guests.values() for _, line in lines):
            return new
        return groups.expanded(self.env, who, old, new, teams)

    def _learn_teams(self, who: Who, people: Iterable[Account]) -> None:
        unknown = [account for account in people if account.kind == "group" and account.id not in self._teams]
        if unknown:
            self._teams.update(groups.members_of(self.env, who, unknown))

    # ---- rounds ----

    def run(self, after_first: Callable[[], None] | None = None) -> None:
        """Delivers what waits and what that causes. after_first: called when the first messages have arrived."""
        for _ in range(ROUNDS_MAX):
            now, self._waiting = self._waiting, []
            if now:
                self._look_up(message.recipient for _, message in now)
                own = {copy.seat.account.id for copy in self.copies.values()}
                people = {found.id: found for _, m in now if (found := self._people[m.recipient]) is not None}
                self._learn_teams(now[0][0], people.values())
                self.open(account for key, account in people.items() if key not in own)
                for sender, message in now:
                    self._one(sender, message)
            self._enqueue()
            if after_first is not None:
                after_first()
                after_first = None
            if not self._waiting:
                return
        _log.warning("the messages about one meeting do not come to an end: %d left", len(self._waiting))

    def _one(self, sender: Who, message: Message) -> None:
        account = self._people[message.recipient]
        if account is None:
            self._outside(sender, message)
            return
        if account.id in self._teams and message.method in _TO_GUESTS and self.copies[account.id].record is None:
            if not message.quiet:
                self._note(message.recipient, groups.PASSED_ON)
            return
        calendar = self._as_written(message)
        try:
            arrival = self.arrive(account, read_itip(calendar), calendar, sender=message.sender, quiet=message.quiet)
            status = arrival.status
        except ItipError as error:
            _log.warning("a message of ours cannot be read: %s", error)
            status = "5.1"
        if not message.quiet:
            self._note(message.recipient, status)
        copy = self.copies.get(sender.account_id)
        if message.method == "REPLY" and copy is not None and copy.body is not None and not copy.own:
            # A room answers by itself: what became of its answer stands in its copy, too (RFC 6638 §3.2.9).
            copy.body = arrive.with_status(copy.body, "attendee", {message.recipient: status})

    def _as_written(self, message: Message) -> bytes:
        """The calendar of a message, which names who wrote it for the sender; mostly the same for all guests."""
        if message.actor is None:
            return message.calendar
        key = message.calendar, message.sender
        if key not in self._signed:
            self._signed[key] = behalf.sent_by(message.calendar, message.method, message.sender, message.actor.main)
        return self._signed[key]

    def _note(self, address: str, status: str) -> None:
        """Of several messages to one person the one that failed counts."""
        if not self.statuses.get(address, "1").startswith(("3", "5")):
            self.statuses[address] = status

    def arrive(
        self,
        account: Account,
        message: Itip,
        calendar: bytes,
        *,
        sender: str,
        quiet: bool = False,
        known: bool = True,
    ) -> Arrival:
        """One message to somebody here. Needs: `open` was called for the account."""
        env, copy = self.env, self.copies[account.id]
        who = copy.seat.who
        stored = None if copy.body is None else read_object(copy.body)
        outside = self.via != "local"
        seen = itip.seen(env.conn, account.id, self.uid) if outside else {}
        guests: tuple[str, ...] | None = None
        if message.method == "REPLY" and stored is not None:
            guests = self._guests_here(stored)
        by_itself = booking.answers_itself(env, account)
        # Nobody looks into the calendar of a room to take away what was called off.
        hidden = env.config.scheduling.hide_cancelled or by_itself is not None
        arrival = arrive.arrive(
            message, stored, who, sender=sender, seen=seen, now_s=env.now_s,
            crashers=env.config.scheduling.party_crashers, known=known, hide_cancelled=hidden, here=guests,
            unanswered_free=env.config.scheduling.like_calendar_server,
        )  # fmt: skip
        if outside and arrival.body is not None:
            try:
                self.describe(arrival.body)
            except DavError as error:
                # It would be refused in a PUT too: what others send is held to the same rules.
                return replace(arrival, outcome="refused", body=None, messages=(), notice=False, status="5.3",
                               seen={}, reason=f"It makes an object that cannot be stored. {error.detail}")  # fmt: skip
        if outside and arrival.seen:
            itip.remember_seen(env.conn, account.id, self.uid, arrival.seen, now_s=env.now_s)
        if arrival.remove:
            copy.body = None
        elif arrival.body is not None:
            target = copy.collection or copy.seat.default_for(message.object.kind)
            if target is None or copy.seat.inbox is None:
                return replace(arrival, outcome="refused", body=None, messages=(), notice=False, status="5.1",
                               reason="There is no calendar for it.")  # fmt: skip
            copy.collection, copy.body = target, arrival.body
            copy.tag = copy.tag or arrival.tag or arrival.create
        answers: tuple[Message, ...] = ()
        by_itself = by_itself if arrival.outcome == "applied" else None
        if by_itself is not None and copy.body is not None and message.method in ("REQUEST", "ADD") and not quiet:
            plan = booking.answer(env, copy.seat, read_object(copy.body), by_itself, before=stored,
                                  own_id=copy.record.id if copy.record is not None else 0)  # fmt: skip
            if plan is not None and plan.body is not None:
                copy.body, answers = plan.body, plan.messages
        if arrival.notice and not quiet and by_itself is None and copy.seat.inbox is not None:
            self._items.append((copy.seat, calendar))
        self.post(who, (*answers, *arrival.messages))
        return arrival

    def _guests_here(self, stored: SchedulingObject) -> tuple[str, ...]:
        """The guests of a meeting who have an account here."""
        self._look_up(stored.all_attendees())
        return tuple(address for address in stored.all_attendees() if self._people[address] is not None)

    # ---- people elsewhere ----

    def _outside(self, sender: Who, message: Message) -> None:
        """Somebody who is not here: a mail, if there is a way (reference, section 5)."""
        if message.quiet or message.here:
            return
        if mail_of(message.recipient) is None:
            self._note(message.recipient, "3.7")
        elif not can_mail(self.env.config) or mail_of(message.sender) is None:
            self._note(message.recipient, "5.2")
        elif not message.past:
            self._mails.append((sender, message))

    def _enqueue(self) -> None:
        mails, self._mails = self._mails, []
        if not mails:
            return
        settle_s = self.env.config.mail.settle_seconds
        outcomes = outbound.enqueue_many(
            self.env.conn, [outgoing(sender, message) for sender, message in mails], now_s=self.env.now_s,
            settle_s=settle_s, settle_max_s=_SETTLE_TIMES_MAX * settle_s,
        )  # fmt: skip
        for (_, message), outcome in zip(mails, outcomes, strict=True):
            if outcome in ("queued", "merged"):
                self._note(message.recipient, "1.0")

    # ---- writing ----

    def settle(self) -> None:
        """Writes what has changed: calendars, then inboxes."""
        env = self.env
        writings: list[Writing] = []
        refused: set[int] = set()
        for account_id in sorted(self.copies):
            copy = self.copies[account_id]
            if copy.own or copy.body == copy.stored:
                continue
            assert copy.collection is not None
            if copy.body is None:
                if copy.record is not None:
                    objects.delete_object(env.conn, copy.collection, copy.record, now_s=env.now_s)
                continue
            try:
                described = self.describe(copy.body)
            except DavError as error:
                # It would be refused in a PUT too: what others send is held to the same rules.
                _log.warning("a message makes an object that cannot be stored: %s", error)
                for address in copy.seat.who.addresses & self.statuses.keys():
                    self.statuses[address] = "5.3"
                refused.add(account_id)
                continue
            old = copy.record
            tag = new_tag() if copy.tag or old is None or old.schedule_tag is None else old.schedule_tag
            name = old.name if old is not None else f"{secrets.token_hex(16)}.ics"
            writings.append(
                Writing(copy.collection, old, name, copy.body, puts.etag_of(copy.body), described.content_type,
                        described.index, tag)
            )  # fmt: skip
        indexes: dict[bytes, tuple[str, ObjectIndex]] = {}
        for seat, calendar in self._items:
            assert seat.inbox is not None
            if seat.account.id in refused:
                continue
            found = indexes.get(calendar)
            if found is None:
                found = indexes[calendar] = puts.etag_of(calendar), _index_of(calendar, env.now_s)
            writings.append(
                Writing(seat.inbox, None, f"{secrets.token_hex(16)}.ics", calendar, found[0], puts.CALENDAR_TYPE,
                        found[1], None)
            )  # fmt: skip
        self._items.clear()
        meetings.write_many(env.conn, writings, now_s=env.now_s)

    def describe(self, body: bytes) -> puts.Described:
        """As put.describe; guests mostly get the same bytes, which are read once."""
        found = self._described.get(body)
        if found is None:
            found = self._described[body] = puts.describe("event", body, self.env.config, self.env.now_s)
        return found


def _index_of(calendar: bytes, now_s: int) -> ObjectIndex:
    """Of a message, which need not be an object that could be stored: a CANCEL may say no time."""
    try:
        return index_calendar(read_object(calendar).obj, now_s=now_s)
    except ItipError:
        return ObjectIndex(readable=False)


def outgoing(sender: Who, message: Message) -> NewOutgoing:
    """The ledger's row for a message. Needs: sender and recipient have mail addresses."""
    return NewOutgoing(
        sender.account_id, message.uid, message.recurrence, mail_of(message.recipient) or "", message.recipient_name,
        mail_of(message.sender) or "", message.sender_name, message.method, message.kind, message.sequence,
        digest_of(message.calendar), message.summary, message.changes, for_mail(message.calendar),
        None if message.actor is None else message.actor.account_id,
    )  # fmt: skip


# Lines in which two messages that tell the same may differ.
_STAMPS = (b"DTSTAMP", b"SEQUENCE", b"LAST-MODIFIED", b"CREATED", b"METHOD")


def digest_of(calendar: bytes) -> str:
    """SHA-256 in hex of what a message tells, without the lines that say when it was told."""
    lines = calendar.replace(b"\r\n ", b"").split(b"\r\n")
    kept = [line for line in lines if not line.upper().startswith(_STAMPS)]
    return hashlib.sha256(b"\r\n".join(kept)).hexdigest()


def new_tag() -> str:
    """An opaque schedule tag (RFC 6638 §3.2.10)."""
    return secrets.token_hex(10)


# ---- what a write does ----------------------------------------------------------------------------------------------


def env_of(ctx: Ctx) -> Env:
    """What carrying out a plan needs, from a request."""
    return Env(ctx.conn, ctx.store, ctx.config, ctx.urls, ctx.now_s)


def options_of(ctx: Ctx) -> Options:
    """How the request came: Schedule-Reply (RFC 6638 §8.1), If-Schedule-Tag-Match (§8.3)."""
    header = ctx.request.header
    return Options(
        now_s=ctx.now_s,
        reply=header("schedule-reply").strip().upper() != "F",
        matched=bool(header("if-schedule-tag-match").strip()),
        imports=ctx.config.scheduling.recognise_imports,
        silent=not ctx.config.scheduling.enabled,
        calendar_server=ctx.config.scheduling.like_calendar_server,
    )


def _actor(ctx: Ctx, env: Env, owner: Account) -> Who | None:
    """Who writes in somebody else's calendar; None for its owner."""
    return None if ctx.account.id == owner.id else who_of(env, ctx.account)


def _by(actor: Who | None, messages: Iterable[Message]) -> tuple[Message, ...]:
    return tuple(messages) if actor is None else tuple(replace(message, actor=actor) for message in messages)


def put(
    ctx: Ctx, parent: Node, name: str, existing: ObjectRecord | None, payload: puts.Payload, described: puts.Described
) -> puts.Stored:
    """Stores an object with an ORGANIZER, or in the place of one, and tells everybody concerned (RFC 6638 §3.2).

    Needs: privileges and preconditions were checked, the object fits. Raises DavError(403) with the precondition.
    """
    collection, owner = parent.collection, parent.owner
    assert collection is not None
    assert owner is not None
    env, options = env_of(ctx), options_of(ctx)
    who, actor = who_of(env, owner), _actor(ctx, env, owner)
    old = None if existing is None else _stored(ctx, existing)
    new = scheduling_object(described.calendar if described.calendar is not None else _reread(payload.body))
    if actor is not None:
        behalf.check_organizer(old, new, who, actor)
    desk = Desk(env, new.uid)
    plan: Plan | None = None
    if implicit.role_of(new, who) and (existing is None or existing.schedule_tag is None):
        plan = _of_other_copy(ctx, owner, existing, new, who, options)
    if plan is None:
        whole = new
        if _is_invitation(old, new, who, options):
            whole = desk.expanded(who, old, new)
        plan = implicit.plan_put(old, whole, who, options)
        if whole is not new:
            plan = replace(plan, altered=True)
    if plan.role == "attendee" and owner.kind in booking.KINDS:
        plan = booking.overruled(plan, old, who, actor or who)
    # As it came, to the byte: what we read and write again may lack what stood outside the calendar.
    body = plan.body if plan.body is not None and plan.altered else payload.body
    if plan.messages:
        copy = desk.take(owner, who, collection, existing, body)
        desk.post(who, _by(actor, plan.messages))

        def mark() -> None:
            # Before any answer of a room: that says more than "delivered".
            assert copy.body is not None
            copy.body = arrive.with_status(copy.body, plan.role, desk.statuses) if plan.role else copy.body

        desk.run(mark)
        assert copy.body is not None
        body = copy.body
    stored = _store(ctx, parent, name, existing, payload, described, plan, body)
    desk.settle()
    return stored


def _is_invitation(old: SchedulingObject | None, new: SchedulingObject, who: Who, options: Options) -> bool:
    """Whether an organizer stores what he invites to, here and now."""
    if options.silent or implicit.role_of(new, who) != "organizer":
        return False
    return old is not None or not options.imports or not implicit.is_import(new, who, options.now_s)


def _reread(body: bytes) -> CalendarObject:
    return read_object(body).obj


def _stored(ctx: Ctx, record: ObjectRecord) -> SchedulingObject | None:
    if record.blob is not None:
        return None
    try:
        return read_object(objects.body(ctx.conn, record))
    except ItipError:
        return None


def _of_other_copy(
    ctx: Ctx, owner: Account, existing: ObjectRecord | None, new: SchedulingObject, who: Who, options: Options
) -> Plan | None:
    """The plan for an object that only moves here, whose other copy is still there; None when there is none.

    RFC 6638 §3.2.4.1: the UID of a scheduling object stands once in a home. A client that moves an object by PUT and
    DELETE is let through: what it stores says the same as the other copy, so there is nothing to tell anybody.
    Raises DavError(403, unique-scheduling-object-resource).
    """
    seat = seats(env_of(ctx), [owner])[owner.id]
    calendars = {one.id: one for one in seat.calendars}
    for record, body in meetings.by_uid(ctx.conn, list(calendars), new.uid):
        if record.schedule_tag is None or (existing is not None and record.id == existing.id):
            continue
        try:
            plan = implicit.plan_put(read_object(body), new, who, options)
        except (ItipError, DavError):
            plan = None
        if plan is not None and not plan.messages:
            return plan
        href = ctx.urls.collection("calendars", owner.name, calendars[record.collection_id].path)
        raise DavError(
            403, c("unique-scheduling-object-resource"), "Another object of this home has this UID.",
            content=href_element(href + encode_segment(record.name)),
        )  # fmt: skip
    return None


def _store(
    ctx: Ctx,
    parent: Node,
    name: str,
    existing: ObjectRecord | None,
    payload: puts.Payload,
    described: puts.Described,
    plan: Plan,
    body: bytes,
) -> puts.Stored:
    etag = payload.etag if body is payload.body or body == payload.body else puts.etag_of(body)
    altered = etag != payload.etag
    tag: str | None = None
    if plan.role:
        keeps = not plan.tag and existing is not None and existing.schedule_tag is not None
        tag = existing.schedule_tag if keeps and existing is not None else new_tag()
    same = existing is not None and existing.etag == etag and existing.content_type == described.content_type
    if existing is not None and same and (existing.schedule_tag is None) == (tag is None):
        return puts.Stored(existing, False, altered)
    if altered:
        described = puts.describe("event", body, ctx.config, ctx.now_s)
    return puts.write(ctx, parent, name, payload, body, etag, described, tag, altered, create=existing is None)


def remove(ctx: Ctx, node: Node) -> None:
    """What removing a scheduling object tells others (RFC 6638 §3.2.3). Needs: the caller removes it, after this."""
    record, collection, owner = node.object, node.collection, node.owner
    assert record is not None
    assert collection is not None
    assert owner is not None
    old = _stored(ctx, record)
    if old is None:
        return
    env = env_of(ctx)
    messages = _by(_actor(ctx, env, owner), implicit.plan_removal(old, who_of(env, owner), options_of(ctx)).messages)
    if messages:
        _removed(env, owner, collection, record, old.uid, messages)


def remove_calendar(ctx: Ctx, owner: Account, calendars: Iterable[Collection]) -> None:
    """What removing whole calendars tells others: of what is still to come, and as guests only when it is asked for
    (scheduling.reply_on_calendar_delete).
    """
    by_id = {one.id: one for one in calendars}
    options = options_of(ctx)
    if not ctx.config.scheduling.reply_on_calendar_delete:
        options = replace(options, reply=False)
    env = env_of(ctx)
    who, actor = who_of(env, owner), _actor(ctx, env, owner)
    removals: list[tuple[ObjectRecord, str, tuple[Message, ...]]] = []
    for record, body in meetings.scheduled_in(ctx.conn, list(by_id)):
        try:
            old = read_object(body)
        except ItipError:
            continue
        messages = _by(actor, (one for one in implicit.plan_removal(old, who, options).messages if not one.past))
        if messages:
            removals.append((record, old.uid, messages))
    if env.conn.dialect == "postgresql":
        # All at once: one meeting after the other would go back and forth among the guests' collections.
        recipients = {one.recipient for _, _, messages in removals for one in messages}
        people = {account.id: account for account in here(env, sorted(recipients)).values()}
        _lock_seats(env, (owner, *people.values()) if people else ())
    for record, uid, messages in removals:
        _removed(env, owner, by_id[record.collection_id], record, uid, messages)


def _removed(
    env: Env, owner: Account, collection: Collection, record: ObjectRecord, uid: str, messages: tuple[Message, ...]
) -> None:
    seat = seats(env, [owner])[owner.id]
    for other, _ in meetings.by_uid(env.conn, [one.id for one in seat.calendars], uid):
        if other.id != record.id and other.schedule_tag is not None:
            return  # it was moved: the other copy is the meeting now
    desk = Desk(env, uid)
    desk.take(owner, seat.who, collection, record, None)
    desk.post(seat.who, messages)
    desk.run()
    desk.settle()


def _lock_seats(env: Env, people: Iterable[Account]) -> None:
    found = seats(env, {account.id: account for account in people}.values())
    meetings.lock_in_order(env.conn, set().union(*(one.lock_ids for one in found.values())))


def check_calendar_removal(ctx: Ctx, node: Node) -> None:
    """RFC 6638 §4.3, §9.2: the default calendar may go while there is another one for invitations.

    Raises DavError(403, default-calendar-needed) for the last calendar of a home that takes events.
    """
    assert node.collection is not None
    if not ctx.config.scheduling.enabled or node.kind != "calendar" or node.collection.parent_id is None:
        return
    if node.mount is not None:
        return  # it stays where it is; only the reader does not see it any more
    beside = collections.children(ctx.conn, node.collection.parent_id)
    fitting = [one for one in beside if invited_to(one) and (not one.components or "VEVENT" in one.components)]
    if [one.id for one in fitting] == [node.collection.id]:
        raise DavError(403, c("default-calendar-needed"), "Invitations need a calendar; make another one before.")


def check_copy(ctx: Ctx, parent: Node, record: ObjectRecord, owner: Account) -> None:
    """RFC 6638 §3.2.4.1 for COPY: a scheduling object stands once in a home. Raises DavError(403)."""
    assert parent.collection is not None
    if record.schedule_tag is None or parent.collection.kind != "calendar" or not ctx.config.scheduling.enabled:
        return
    if parent.collection.owner_id == owner.id:
        above = collections.collection_by_id(ctx.conn, record.collection_id)
        path = "" if above is None else above.path
        href = ctx.urls.collection("calendars", owner.name, path) + encode_segment(record.name)
        raise DavError(
            403, c("unique-scheduling-object-resource"), "An invitation stands once in a home.",
            content=href_element(href),
        )  # fmt: skip


# ---- for others -----------------------------------------------------------------------------------------------------


def deliver(env: Env, who: Who, messages: Iterable[Message]) -> Delivered:
    """Delivers messages of somebody here who has no object of his own to be kept (or whose caller keeps it)."""
    messages = list(messages)
    if not messages:
        return Delivered({})
    desk = Desk(env, messages[0].uid)
    desk.post(who, messages)
    desk.run()
    desk.settle()
    return Delivered(desk.statuses, tuple(desk.replies))


def receive(env: Env, account: Account, itip: Itip, *, sender: str, via: str = "local", known: bool = True) -> Arrival:
    """A message to an account: finds the meeting by its UID, applies it, makes the inbox item, sends what follows.

    sender: normalised address of who is believed to have sent it. via: "local", "mail" or "link". known: the sender of
    an invitation is known to the account. Needs a write transaction in which nothing is locked yet, or `in_order`.
    """
    desk = Desk(env, itip.uid, via)
    if env.conn.dialect == "postgresql" and itip.method in ("REPLY", "COUNTER", "REFRESH"):
        # The other guests will hear of it: all that is needed is locked at once, in one order.
        _lock_all(env, account, itip.uid)
    desk.open([account])
    arrival = desk.arrive(account, itip, itip.object.to_bytes(), sender=sender, known=known)
    desk.via = "local"  # what follows is between people here
    desk.run()
    copy = desk.copies[account.id]
    if desk.statuses and copy.body is not None and copy.body == copy.stored:
        role = implicit.role_of(read_object(copy.body), copy.seat.who)
        copy.body = arrive.with_status(copy.body, role, desk.statuses)
    desk.settle()
    return arrival


def _lock_all(env: Env, account: Account, uid: str) -> None:
    seat = seats(env, [account])[account.id]
    people = {account.id: account}
    for _, body in meetings.by_uid(env.conn, [one.id for one in seat.calendars], uid):
        try:
            guests = read_object(body).all_attendees()
        except ItipError:
            continue
        people.update({found.id: found for found in here(env, guests).values()})
    _lock_seats(env, people.values())


def set_status(env: Env, account_id: int, uid: str, recipient: str, status: str) -> bool:
    """Writes what became of a mail on the sender's copy: a line edit, a new ETag, the same schedule tag.

    recipient: a mail address. False when there is no such meeting any more, or he is not in it.
    """
    return set_statuses(env, account_id, uid, {recipient: status})


def set_statuses(env: Env, account_id: int, uid: str, statuses: Mapping[str, str]) -> bool:
    """The same for several recipients of one meeting at once: mail address → status. False when none is in it."""
    account = accounts.account_by_id(env.conn, account_id)
    if account is None:
        return False
    from dav.scheduling.addresses import normalise

    wanted = {
        normalise(recipient if recipient.startswith("mailto:") else f"mailto:{recipient}"): status
        for recipient, status in statuses.items()
    }
    desk = Desk(env, uid)
    desk.open([account])
    copy = desk.copies[account_id]
    if copy.body is None:
        return False
    try:
        obj = read_object(copy.body)
    except ItipError:
        return False
    role = implicit.role_of(obj, copy.seat.who)
    there = obj.all_attendees() if role == "organizer" else {obj.organizer} if role else ()
    found = {address: status for address, status in wanted.items() if address in there}
    if not found:
        return False
    copy.body = arrive.with_status(copy.body, role, found)
    desk.settle()
    return True


def in_order(store: Store, work: Callable[[Conn], T]) -> T:
    """Runs work in a write transaction; once more with its collections locked first when their order asks for it."""
    first: frozenset[int] = frozenset()
    for _ in range(LOCK_TRIES):
        try:
            with transaction(store, write=True) as conn:
                if first:
                    collections.lock_collections(conn, first)
                return work(conn)
        except LockFirst as wanted:
            first |= wanted.ids
    with transaction(store, write=True) as conn:
        collections.lock_collections(conn, first)
        return work(conn)
