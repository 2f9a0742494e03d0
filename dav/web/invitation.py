"""An invitation as its guest page sees it: what the last mail said, and what its reader has answered so far."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from dav.ical.lines import Component, Line, unescape
from dav.ical.recur import Moment, Occurrence, TooManyInstances, iter_occurrences
from dav.ical.rrule import Budget, Rule, RuleError, parse_rule
from dav.ical.tz import UTC, Zone, named_zone
from dav.mail.links import Invited
from dav.mail.words import Span
from dav.scheduling.addresses import normalise
from dav.scheduling.instances import has_instance
from dav.scheduling.model import (
    MASTER,
    ItipError,
    SchedulingObject,
    attendees_of,
    key_of_moment,
    partstat_of,
    read_itip,
    read_object,
)
from dav.scheduling.plan import Env
from storage import accounts, links, objects, outbound
from storage.records import Account, Outgoing

DATES_MAX = 12
COMMENT_CHARS_MAX = 1_000
_ROWS_MAX = 50
_STEPS_MAX = 50_000
_LOOKED_AT_MAX = 200
_FAR_S = 300 * 366 * 86_400  # what is further away is nobody's; the first dates are found without going there
_ADDRESS = re.compile(r"[!#-;=?-~]+")  # without spaces, quotes and angle brackets


@dataclass(frozen=True, slots=True)
class Date:
    """One instance. key: its name (`key_of_moment`), "" for what does not recur. answer: PARTSTAT in capitals."""

    key: str
    span: Span
    start_s: int
    end_s: int
    component: Component
    answer: str


@dataclass(frozen=True, slots=True)
class Invitation:
    """What the page shows and answers.

    row: the mail. obj: what it said. address: of the reader, normalised. answers: PARTSTAT by instance in the
    organizer's calendar. dates: the next ones, the first also when it is over. series: a choice of instance is there.
    """

    account: Account
    row: Outgoing
    obj: SchedulingObject
    address: str
    answers: Mapping[str, str]
    dates: tuple[Date, ...]
    series: bool
    over: bool

    @property
    def shown(self) -> Component:
        """The component that tells what it is about."""
        return self.dates[0].component

    @property
    def answer(self) -> str:
        """The answer so far: for the whole, or of the one instance there is."""
        if MASTER in self.answers:
            return self.answers[MASTER]
        given = set(self.answers.values())
        return given.pop() if len(given) == 1 else "NEEDS-ACTION"

    def text(self, name: str, chars_max: int) -> str:
        """A text of what it is about, "" when there is none."""
        line = self.shown.first(name)
        return "" if line is None else unescape(line.value).strip()[:chars_max]

    def organizer(self) -> tuple[str, str]:
        """Name ("" for none) and mail address of who invites."""
        line = self.shown.first("ORGANIZER")
        name = (line.param("CN") or "").strip() if line is not None else ""
        return (name or self.row.sender_name, self.row.sender)

    def rule(self) -> tuple[Rule, Moment] | None:
        """The rule and the start that it counts from; None when nothing recurs or no rule says how."""
        master = self.obj.master
        if master is None or self.obj.start is None:
            return None
        rules = master.all("RRULE")
        if len(rules) != 1:
            return None
        try:
            return parse_rule(rules[0].value), self.obj.start
        except RuleError:
            return None

    def home_zone(self) -> Zone | None:
        """The zone of who invites, for times that are written in UTC."""
        return named_zone(self.account.time_zone) if self.account.time_zone else None


def look(env: Env, invited: Invited) -> Invitation | None:
    """The invitation that a link speaks of, as the last mail told it.

    None when there is nothing (any more) that its reader may see: no such account or event, cancelled, or the reader is
    no guest any more; whoever asks learns no difference. Reads only.
    """
    account = accounts.account_by_id(env.conn, invited.account_id)
    if account is None or not account.active:
        return None
    told = _last_mail(env, invited)
    stored = _stored(env, invited)
    if told is None or stored is None:
        return None
    row, obj, cancelled = told
    address = normalise(invited.recipient)
    answers = {
        key: partstat_of(line)
        for key, line in stored.all_attendees().get(address, ())
        if (stored.parts[key].value("STATUS") or "").strip().upper() != "CANCELLED"
    }
    mine = obj.all_attendees().get(address)
    if not answers or not mine:
        return None
    dates, over = _dates(obj, address, answers, cancelled, stored.exdates(), env.now_s)
    if not dates:
        return None
    series = len(obj.parts) > 1 or obj.obj.recurs if obj.master is not None else len(obj.parts) > 1
    return Invitation(account, row, obj, address, answers, dates, series and not over, over)


def keys_for_all(invitation: Invitation) -> tuple[str, ...]:
    """The instances that an answer for all of them names: the whole, and those that have an answer of their own."""
    obj = invitation.obj
    known = dict.fromkeys((*obj.parts, *invitation.answers))
    return tuple(
        key
        for key in known
        if (key in obj.parts and invitation.address in attendees_of(obj.parts[key]))
        or (key != MASTER and key not in obj.parts and has_instance(obj, key))
    )


def answer(env: Env, invitation: Invitation, keys: tuple[str, ...], partstat: str, comment: str) -> str:
    """Brings an answer to the organizer's calendar, as a REPLY that came by mail. Returns its outcome (plan.OUTCOMES).

    Needs a write transaction.
    """
    from dav.scheduling import attendee, deliver

    # RFC 5546 §3.2.3: it answers what was read; whether that is still how things stand is decided on arrival.
    try:
        body = attendee.make_reply(
            invitation.obj, invitation.address, dict.fromkeys(keys, partstat), comment=comment, now_s=env.now_s
        )
    except ItipError:
        return "refused"
    arrival = deliver.receive(
        env, invitation.account, read_itip(body, method="REPLY"), sender=invitation.address, via="link"
    )
    return arrival.outcome


def _last_mail(env: Env, invited: Invited) -> tuple[Outgoing, SchedulingObject, frozenset[str]] | None:
    """(row, what it said, instances that were cancelled since); None when there was none or all of it is cancelled."""
    cancelled: set[str] = set()
    rows = links.mailed(env.conn, invited.account_id, invited.uid, invited.recipient, limit=_ROWS_MAX)
    for ident, method, recurrence in rows:
        if method == "CANCEL":
            if not recurrence:
                return None
            cancelled.update(recurrence.split(","))
        elif method in ("REQUEST", "ADD"):
            row = outbound.by_id(env.conn, ident)
            try:
                return None if row is None else (row, read_object(row.calendar), frozenset(cancelled))
            except ItipError:
                return None
    return None


def _stored(env: Env, invited: Invited) -> SchedulingObject | None:
    """The organizer's own copy."""
    for _, record, body in objects.scheduling_bodies(env.conn, invited.account_id, invited.uid):
        try:
            found = read_object(body or objects.body(env.conn, record))
        except ItipError:
            continue
        if found.organizer:
            return found
    return None


def _dates(
    obj: SchedulingObject, address: str, answers: Mapping[str, str], cancelled: frozenset[str], gone: frozenset[str],
    now_s: int,
) -> tuple[tuple[Date, ...], bool]:  # fmt: skip
    """The next instances by start, and whether all are over; then the last one that could be found stands alone."""
    whole = answers.get(MASTER, "NEEDS-ACTION")
    found: list[Date] = []
    for item in _occurrences(obj, now_s):
        key = MASTER if item.recurrence_id is None else key_of_moment(item.recurrence_id, obj.start)
        status = (item.component.value("STATUS") or "").strip().upper()
        if address not in attendees_of(item.component) or status == "CANCELLED" or key in cancelled or key in gone:
            continue
        span = Span(item.start, item.end or _end_of(item))
        found.append(Date(key, span, item.start_s, item.end_s, item.component, answers.get(key, whole)))
    found.sort(key=lambda date: date.start_s)
    coming = [date for date in found if max(date.end_s, date.start_s) > now_s]
    return (tuple(coming[:DATES_MAX]), False) if coming else (tuple(found[-1:]), True)


def _occurrences(obj: SchedulingObject, now_s: int) -> list[Occurrence]:
    """Some occurrences: those from a day ago on, else any that there are."""
    for first_s in (now_s - 86_400, -(1 << 42)):
        budget = Budget(_STEPS_MAX)
        items = iter_occurrences(obj.obj, first_s, now_s + _FAR_S, floating_zone=UTC, budget=budget)
        found: list[Occurrence] = []
        with suppress(TooManyInstances):
            found.extend(islice(items, _LOOKED_AT_MAX))
        if found:
            return found
    return []


def _end_of(item: Occurrence) -> Moment | None:
    """The end of what says how long it lasts instead of when it ends."""
    return item.start.at(item.end_s, UTC) if item.end_s > item.start_s else None


def link_of(component: Component) -> str:
    """Where to join or read more: the first web address of CONFERENCE (RFC 7986 §5.11) or URL; "" for none."""
    lines: list[Line] = [*component.all("CONFERENCE"), *component.all("X-GOOGLE-CONFERENCE"), *component.all("URL")]
    for line in lines:
        value = line.value.strip()
        if value.startswith(("https://", "http://")) and len(value) <= 2_000 and _ADDRESS.fullmatch(value):
            return value
    return ""
