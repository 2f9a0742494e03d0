"""What an iTIP message does to the object of the one who gets it (RFC 5546 §3, RFC 6638 §4).

Pure. Rules where the RFCs leave room, all tested:

- Instances are compared by instant, in the series as it is stored: Google names them in UTC, Exchange by Windows zones.
- Nothing but the answer is taken of a REPLY. One with a lower SEQUENCE counts unless the time changed since, and the
  newer of two counts by DTSTAMP. An answer to the series is one to the overrides that wait for an answer, too.
- A REQUEST with the series replaces the organizer's parts; overrides that came in messages of their own stay while the
  series does. Alarms, TRANSP, CATEGORIES and other personal things stay, PARTSTAT stays while the time does.
- What a CANCEL is about, the whole or instances, stays there as cancelled until its owner takes it away; or it goes at
  once (hide_cancelled).
- Who may say what: the sender must be the one whose word it is. A meeting does not get another organizer by itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from dav.errors import DavError
from dav.ical.lines import Component, Line, LineError, escape, make_line, read, with_value
from dav.ical.make import clean
from dav.ical.recur import Limits, Moment, TooManyInstances, calendar_object, moment, occurrences
from dav.ical.rrule import RuleError, parse_rule
from dav.ical.rules import check_calendar
from dav.ical.tz import UTC
from dav.scheduling import attendee, merge
from dav.scheduling.addresses import Who, mail_of, normalise, without_tag
from dav.scheduling.edit import (
    SERVER_PARAMS,
    add_line,
    copy_tree,
    remove_properties,
    replace_line,
    set_property,
    with_params,
)
from dav.scheduling.instances import (
    RECURRENCE,
    exdate_keys,
    has_instance,
    in_order,
    instance_of,
    is_future,
    moment_of,
    recurrence_id_of,
    recurrence_of,
    same_times,
    shortened,
)
from dav.scheduling.model import (
    MASTER,
    Itip,
    SchedulingObject,
    address_of,
    attendees_of,
    key_of,
    key_of_moment,
    number_of,
    partstat_of,
    scheduling_object,
    stamp_of,
    start_of,
)
from dav.scheduling.plan import Arrival, Message, Seen

KINDS = frozenset({"VEVENT", "VTODO", "VJOURNAL"})
DELEGATES_MAX = 5
COMMENT_CHARS_MAX = 2_000
# Where Apple's clients show the organizer what a guest remarked. COMMENT itself would go out to all others.
_REMARK = "X-CALENDARSERVER-ATTENDEE-COMMENT"
_REMARK_OF = "X-CALENDARSERVER-ATTENDEE-REF"
_PARTSTAT = re.compile(r"[A-Z0-9-]{1,40}", re.ASCII)
_CODE = re.compile(r"\s*([1-5](?:\.[0-9]{1,3}){1,2})(?:;|\s*\Z)", re.ASCII)
# How far ahead the next instance is looked for: two of a yearly one on a leap day are that far apart.
_NEXT_S = (15 * 86_400, 100 * 86_400, 9 * 366 * 86_400)
_NEXT_LIMITS = Limits(instances_max=5_000, steps_max=50_000)
_STAMPS = ("DTSTAMP", "LAST-MODIFIED", "CREATED")


def arrive(
    message: Itip,
    stored: SchedulingObject | None,
    who: Who,
    *,
    sender: str,
    seen: Seen,
    now_s: int,
    crashers: str = "ignore",
    known: bool = True,
    hide_cancelled: bool = False,
    here: Collection[str] | None = None,
    unanswered_free: bool = False,
) -> Arrival:
    """What a message for this principal does. stored: his object with its UID, None when he has none.

    sender: the normalised address of who really sent it, "" when the caller vouches for it. seen: what came before.
    crashers: what answers of people who were not invited do: ignore | ask | add. known: whether an invitation by this
    sender may appear by itself. hide_cancelled: what is cancelled goes away at once. here: the guests of stored who
    have an account here, and so hear of answers by others; None for all. unanswered_free: what waits for his answer
    does not take his time (TRANSP). Never raises.
    """
    if message.object.kind not in KINDS:
        return Arrival("ignored", f"A {message.object.kind[:40]} needs no message.")
    if stored is not None and stored.kind != message.object.kind:
        return _refused("There is another kind of object with this UID.")
    work = _Work(message, stored, who, sender, seen, now_s, crashers, known, hide_cancelled, here, unanswered_free)
    handler = _HANDLERS.get(message.method)
    if handler is None:
        return Arrival("ignored", f"{message.method[:30]} does nothing here.")
    return _checked(handler(work))


def with_status(body: bytes, role: str, statuses: Mapping[str, str]) -> bytes:
    """The body with SCHEDULE-STATUS (RFC 6638 §3.2.9): of an organizer on ATTENDEE, of an attendee on ORGANIZER.

    statuses: normalised address → codes joined by commas. Lines of others, and everything else, stay byte-equal.
    """
    if not statuses:
        return body
    try:
        document = read(body, lines_max=1_000_000)
    except LineError:
        return body
    changed = False
    for calendar in document.components:
        if calendar.name != "VCALENDAR":
            continue
        for part in calendar_object(calendar).components:
            for line in part.all("ATTENDEE" if role == "organizer" else "ORGANIZER"):
                status = statuses.get(address_of(line))
                if status:
                    new = with_params(line, {"SCHEDULE-STATUS": status})
                    changed = replace_line(part, line, new) or changed
    return b"".join(component.to_bytes() for component in document.components) if changed else body


def bounced(stored: SchedulingObject, attendee: str, status: str) -> bytes:
    """The organizer's object after a mail to this attendee came back. attendee: normalised. status: such as 5.1."""
    return with_status(stored.to_bytes(), "organizer", {attendee: status})


def _refused(reason: str, status: str = "5.3") -> Arrival:
    return Arrival("refused", reason, status=status)


def _checked(arrival: Arrival) -> Arrival:
    """What would be no calendar object is not stored: messages are anybody's."""
    if arrival.body is None:
        return arrival
    try:
        check_calendar(arrival.body)
    except DavError as error:
        return _refused(f"It would make no valid calendar object. {error.detail}")
    return arrival


# ---- what all have in common ----


@dataclass(slots=True)
class _Work:
    """One message on its way into one object. parts: its components by keys in the stored series."""

    message: Itip
    stored: SchedulingObject | None
    who: Who
    sender: str
    seen: Seen
    now_s: int
    crashers: str
    known: bool
    hide_cancelled: bool
    here: Collection[str] | None = None
    unanswered_free: bool = False
    parts: dict[str, Component] = field(default_factory=dict)
    news: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    invited: dict[str, list[tuple[str, Line]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        obj = self.message.object
        start = obj.start
        if start is None and self.stored is not None:
            start = self.stored.start
        for component in obj.obj.components[: len(obj.parts) + 1_000]:
            line = component.first("RECURRENCE-ID")
            key = MASTER
            if line is not None:
                try:
                    key = key_of(line, obj.zones, start)
                except ValueError:
                    key = line.value.strip()
            self.parts.setdefault(key, component)
        if self.stored is not None:
            self.invited = self.stored.all_attendees()

    @property
    def organizer(self) -> str:
        return self.message.object.organizer

    def is_sender(self, address: str) -> bool:
        """Whether the sender is this address, or the same with a tag."""
        if not self.sender or self.sender == address:
            return True
        return _same_person(self.sender, address, self.who)

    def speaks_for(self, address: str, line: Line | None) -> bool:
        """Whether the sender may speak for a calendar user: is it, is its EMAIL, or was named by it (SENT-BY)."""
        if self.is_sender(address):
            return True
        if line is None:
            return False
        for name in ("EMAIL", "SENT-BY"):
            named = line.param(name)
            if named and self.is_sender(normalise(named)):
                return True
        return False

    def remember(self, address: str, key: str, component: Component) -> None:
        number, stamp = number_of(component), stamp_of(component)
        before = self.seen.get((address, key))
        if before is not None and (stamp, number) < (before[1], before[0]):
            return
        self.news[(address, key)] = (number, stamp)


def _working_copy(stored: SchedulingObject) -> Component:
    """A calendar to be changed, with each part once: of two overrides of one instance the one that is read."""
    used = set(map(id, stored.parts.values()))
    calendar = stored.calendar
    items = [item for item in calendar.items if isinstance(item, Line) or item.name != stored.kind or id(item) in used]
    return copy_tree(Component(calendar.name, calendar.begin, items, calendar.end))


def _same_person(one: str, other: str, who: Who) -> bool:
    delimiters = who.delimiters or "+"
    return without_tag(one, delimiters) == without_tag(other, delimiters)


def _domain(address: str) -> str:
    mail = mail_of(address)
    return "" if mail is None else mail.rpartition("@")[2]


# ---- from the organizer ----


def _from_organizer(work: _Work) -> Arrival | None:
    """Why a message in an organizer's name is not followed; None when it is (reference, section 10)."""
    organizer = work.organizer
    stored = work.stored
    if not organizer and stored is not None:
        organizer = stored.organizer
    if not organizer:
        return _refused("The message has no organizer.")
    if work.who.has(organizer):
        return _refused("The message is in the name of its own recipient.")
    line = _organizer_line(work.message.object)
    if stored is None:
        if work.speaks_for(organizer, line) or _delegators(work):
            return None
        return None if work.known else Arrival("asked", "The sender is not the organizer.", ask=True)
    if work.who.has(stored.organizer):
        return _refused("The recipient is the organizer of this meeting.")
    before = {address for address, _ in work.seen}
    if stored.organizer and not _same_person(stored.organizer, organizer, work.who):
        # CLIENT Google moves an event to another calendar, which is then its organizer.
        if work.sender and (work.is_sender(stored.organizer) or work.sender in before):
            return None
        return Arrival("asked", "The message would give the meeting another organizer.", status="5.3", ask=True)
    if work.is_sender(organizer) or work.speaks_for(organizer, _organizer_line(stored)) or _delegators(work):
        return None
    domain = _domain(work.sender)
    if work.sender in before or (domain and domain in {_domain(address) for address in before}):
        return None
    sent_by = None if line is None else line.param("SENT-BY")
    if sent_by and work.is_sender(normalise(sent_by)) and domain and domain == _domain(organizer):
        return None
    return Arrival("refused", "The sender is not the organizer of this meeting.", status="5.3", ask=True)


def _organizer_line(obj: SchedulingObject) -> Line | None:
    return next((line for part in obj.parts.values() if (line := part.first("ORGANIZER")) is not None), None)


def _delegators(work: _Work) -> bool:
    """Whether the sender is a guest who passes his invitation on to the recipient (RFC 5546 §3.2.2.3)."""
    for part in work.parts.values():
        for address, line in attendees_of(part).items():
            if partstat_of(line) == "DELEGATED" and work.sender and work.is_sender(address):
                named = [normalise(value) for value in line.param_values("DELEGATED-TO")[:DELEGATES_MAX]]
                if any(work.who.has(one) for one in named):
                    return True
    return False


def _own(component: Component, who: Who) -> Line | None:
    return next((line for address, line in attendees_of(component).items() if who.has(address)), None)


def _is_stale(work: _Work, organizer: str, key: str, component: Component) -> bool:
    """Whether something newer came of this part (RFC 5546 §2.1.5): by SEQUENCE, then by DTSTAMP."""
    number, stamp = number_of(component), stamp_of(component)
    part = None if work.stored is None else work.stored.parts.get(key)
    before = work.seen.get((organizer, key))
    if before is None and key != MASTER:
        whole = work.seen.get((organizer, MASTER))
        # Clients count instances from other numbers than the series: only what is older in both is older.
        if whole is not None and whole[0] > number and stamp and stamp < whole[1]:
            return True
    if before is None:
        return part is not None and not merge.is_cancelled(part) and number < number_of(part)
    if work.stored is None or (part is not None and merge.is_cancelled(part)) or _is_left_out(work.stored, key):
        # Gone here. An invitation after a CANCEL may have the number of before.
        return bool(stamp) and stamp < before[1]
    if number != before[0]:
        return number < before[0]
    return bool(stamp) and stamp < before[1]


def _is_left_out(stored: SchedulingObject, key: str) -> bool:
    return key != MASTER and key not in stored.parts and stored.master is not None and not has_instance(stored, key)


def _request(work: _Work) -> Arrival:
    """REQUEST, and PUBLISH of what is here."""
    problem = _from_organizer(work)
    if problem is not None:
        return problem
    publish = work.message.method == "PUBLISH"
    stored = work.stored
    if publish and stored is None:
        return Arrival("asked", "It is for whoever wants to have it.", ask=True)
    if not publish and not any(_own(part, work.who) is not None for part in work.parts.values()):
        if stored is not None:
            return Arrival("ignored", "The recipient is not among those invited any more.")
        return Arrival("asked", "The recipient is not among those invited.", ask=True)
    if stored is None and not work.known:
        return Arrival("asked", "The sender is not known.", ask=True)
    organizer = work.organizer or (stored.organizer if stored is not None else "")
    fresh = {key: part for key, part in work.parts.items() if not _is_stale(work, organizer, key, part)}
    if not fresh:
        return Arrival("stale", "Something newer came before.")
    if stored is None and all(
        work.seen.get((organizer, key)) == (number_of(part), stamp_of(part)) for key, part in fresh.items()
    ):
        return Arrival("nothing", "The same came before, and the recipient took it away.")
    if stored is None and all(
        own is None or partstat_of(own) == "DECLINED" for part in fresh.values() for own in (_own(part, work.who),)
    ):
        # A new time would have asked again (RFC 6638 §3.2.8).
        return Arrival("nothing", "The recipient has said no and taken it away.")
    for key, part in fresh.items():
        work.remember(organizer, key, part)
    if work.sender and not work.is_sender(organizer):
        first = next(iter(fresh.values()))
        work.remember(work.sender, MASTER, first)
    if stored is None:
        return _invited(work, fresh)
    return _updated(work, stored, fresh)


def _invited(work: _Work, fresh: Mapping[str, Component]) -> Arrival:
    """A new invitation."""
    calendar = _frame(work.message.object.calendar)
    for key in in_order(fresh):
        part = _theirs(fresh[key], work)
        own = _own(part, work.who)
        if own is None or (MASTER not in fresh and partstat_of(own) == "DECLINED"):
            continue  # of single instances the one that he declined before he took all away stays away
        _unanswered(part, work)
        calendar.items.append(part)
    merge.carry_zones(calendar, work.message.object.calendar, calendar.components)
    return Arrival(
        "applied", "A new invitation.", calendar.to_bytes(), create=True, notice=True, tag=True, seen=work.news
    )


def _frame(calendar: Component) -> Component:
    """An empty VCALENDAR as the message's, without its METHOD."""
    lines: list[Line | Component] = [
        item for item in calendar.items if isinstance(item, Line) and item.name in ("VERSION", "PRODID", "CALSCALE")
    ]
    return Component("VCALENDAR", make_line("BEGIN", "VCALENDAR"), lines, make_line("END", "VCALENDAR"))


def _unanswered(component: Component, work: _Work) -> None:
    """He is asked for the first time, or again: his time is not taken until he answers, where that is wanted."""
    own = _own(component, work.who)
    if work.unanswered_free and own is not None and partstat_of(own) == "NEEDS-ACTION" and component.name == "VEVENT":
        set_property(component, "TRANSP", "TRANSPARENT")


def _theirs(component: Component, work: _Work) -> Component:
    """An organizer's component as it is stored here: without alarms and private properties, ORGANIZER named."""
    made = copy_tree(component)
    merge.foreign_removed(made)
    # Two dates of one kind make no valid object; the first counts, as for all readers.
    for name in ("DTSTART", "DTEND", "DUE", "DURATION", "RECURRENCE-ID", "UID", "SEQUENCE", "STATUS"):
        for line in made.all(name)[1:]:
            replace_line(made, line, None)
    for line in [*made.all("ATTENDEE"), *made.all("ORGANIZER")]:
        replace_line(made, line, with_params(line, dict.fromkeys(SERVER_PARAMS)))
    if not made.all("ORGANIZER"):
        line_ = _organizer_line(work.message.object)
        if line_ is None and work.stored is not None:
            line_ = _organizer_line(work.stored)
        if line_ is not None:
            add_line(made, with_params(line_, dict.fromkeys(SERVER_PARAMS)))
    return made


def _updated(work: _Work, stored: SchedulingObject, fresh: Mapping[str, Component]) -> Arrival:
    """Something newer of an invitation that is here."""
    whole = MASTER in fresh
    made: dict[str, Component] = {}
    kept: list[Component] = []
    for key, part in fresh.items():
        theirs = _theirs(part, work)
        if work.message.method == "PUBLISH":
            _keep_guests(theirs, stored.parts.get(key) or stored.master)
        elif (own := _own(theirs, work.who)) is None:
            continue
        elif stored.master is None and key not in stored.parts and partstat_of(own) == "DECLINED":
            continue  # he has said no and taken it away; a new time would have asked again
        made[key] = theirs
    if not made:
        return Arrival("ignored", "The recipient is not among those invited to it.")
    master = made.get(MASTER)
    for key, theirs in made.items():
        _keep_mine(key, theirs, stored, work)
    if whole and master is not None:
        left_out = _own_refusals(work, stored, master, made)
        for key in left_out:
            made.pop(key, None)
        kept = _kept_overrides(work, stored, master, made)
    elif whole:
        # The series is not his; only instances are.
        kept = [part for key, part in stored.parts.items() if key and key not in made]
    elif not all(map(merge.is_cancelled, stored.parts.values())):  # else he is invited anew, to these only
        kept = [part for key, part in stored.parts.items() if key not in made and key != MASTER]
        if stored.master is not None:
            series = copy_tree(stored.master)
            _take_exdates(series, stored, made)
            kept.insert(0, series)
    calendar = copy_tree(stored.calendar)
    remove_properties(calendar, ("METHOD",))
    calendar.items[:] = [item for item in calendar.items if isinstance(item, Line) or item.name != stored.kind]
    if whole and master is not None and not kept:
        # All is new: so are the time zones, whose names may mean something else than before.
        calendar.items[:] = [item for item in calendar.items if isinstance(item, Line) or item.name != "VTIMEZONE"]
    all_parts = sorted([*made.values(), *kept], key=lambda part: part.first("RECURRENCE-ID") is not None)
    calendar.items += all_parts
    merge.carry_zones(calendar, work.message.object.calendar, all_parts)
    merge.carry_zones(calendar, stored.calendar, all_parts)
    body = calendar.to_bytes()
    level = _difference(stored, scheduling_object(calendar), work.who)
    if level == "none" or body == stored.to_bytes():
        return Arrival("nothing", "The same came before.", seen=work.news)
    if level == "others":
        return Arrival("applied", "Others have answered.", body, seen=work.news)
    if level == "stamps":
        return Arrival("applied", "The same was sent again.", body, notice=True, seen=work.news)
    return Arrival("applied", "The invitation has changed.", body, notice=True, tag=True, seen=work.news)


def _keep_guests(theirs: Component, mine: Component | None) -> None:
    """RFC 5546 §3.2.1: a PUBLISH names no guests."""
    if mine is not None and not theirs.all("ATTENDEE"):
        for line in mine.all("ATTENDEE"):
            add_line(theirs, line)


def _keep_params(theirs: Component, mine: Component) -> None:
    """Puts the recipient's parameters of ORGANIZER into the new component (RFC 6638 §7.1: the same in all)."""
    ours, new = mine.first("ORGANIZER"), theirs.first("ORGANIZER")
    if ours is not None and new is not None and address_of(ours) == address_of(new):
        own_params = {name: ours.param(name) for name in ("SCHEDULE-AGENT", "SCHEDULE-STATUS")}
        replace_line(theirs, new, with_params(new, own_params))


def _keep_mine(key: str, theirs: Component, stored: SchedulingObject, work: _Work) -> None:
    """Puts what is the recipient's into the organizer's new component."""
    mine = stored.parts.get(key)
    overridden = mine is not None
    if mine is None and key != MASTER:
        mine = instance_of(stored, key)
    if mine is None:
        if stored.master is not None and key != MASTER:
            # Not an instance until now: his alarms are meant for it, his answer is not.
            merge.keep_personal(theirs, stored.master)
        if key != MASTER and stored.parts:
            _keep_params(theirs, stored.master or next(iter(stored.parts.values())))
        _unanswered(theirs, work)
        return
    merge.keep_personal(theirs, mine)
    _keep_params(theirs, mine)
    own, line = _own(mine, work.who), _own(theirs, work.who)
    if own is None or line is None or merge.is_cancelled(mine):
        return
    said, told = partstat_of(own), partstat_of(line)
    zones = work.message.object.zones
    start = work.message.object.start
    moved = not same_times(mine, stored.zones, theirs, zones)
    if not moved and key == MASTER:
        before, after = recurrence_of(mine, stored.zones, stored.start), recurrence_of(theirs, zones, start)
        moved = before != after and not shortened(before, after)
        if moved and told != "NEEDS-ACTION":
            return
    if moved:
        # RFC 6638 §3.2.8: a new time asks again, also where the organizer's program forgot to.
        if told != "NEEDS-ACTION" and said != told:
            return
        replace_line(theirs, line, with_params(line, {"PARTSTAT": "NEEDS-ACTION"}))
        _unanswered(theirs, work)
        return
    if said == told:
        return
    informed = said == "NEEDS-ACTION" or (not overridden and told != "NEEDS-ACTION")
    if informed and not (overridden and _came_before(key, theirs, mine, work)):
        return  # the organizer knows of an answer by other ways
    changes: dict[str, str | None] = {"PARTSTAT": said}
    if own.param("RSVP") is None:
        changes["RSVP"] = None
    if said == "DELEGATED":
        changes["DELEGATED-TO"] = own.param("DELEGATED-TO")
    replace_line(theirs, line, with_params(line, changes))


def _came_before(key: str, theirs: Component, mine: Component, work: _Work) -> bool:
    """Whether a component is the one that the copy was made of."""
    now = number_of(theirs), stamp_of(theirs)
    return bool(now[1]) and now in (work.seen.get((work.organizer, key)), (number_of(mine), stamp_of(mine)))


def _own_refusals(
    work: _Work, stored: SchedulingObject, master: Component, made: Mapping[str, Component]
) -> frozenset[str]:
    """Instances that he took out of his copy and that the organizer knows as refused: they stay out. Their keys."""
    obj = work.message.object
    there = exdate_keys(master, obj.zones, obj.start)
    keep = set()
    for key in stored.exdates() - there:
        part = made.get(key)
        own = None if part is None else _own(part, work.who)
        if own is not None and partstat_of(own) == "DECLINED":
            keep.add(key)
    if keep:
        merge.add_exdates(master, keep, stored)
    return frozenset(keep)


def _kept_overrides(
    work: _Work, stored: SchedulingObject, master: Component, made: Mapping[str, Component]
) -> list[Component]:
    """Stored overrides that the message with the series does not have, and that are not outdated by it.

    Google sends instances in messages of their own, and overrides by the recipient himself came in none.
    """
    obj = work.message.object
    if stored.master is None:
        return []
    zones, start = obj.zones, obj.start
    if not same_times(stored.master, stored.zones, master, zones):
        return []
    before = work.seen.get((work.organizer, MASTER))
    new = scheduling_object(_calendar_of(obj, master))
    unchanged = recurrence_of(stored.master, stored.zones, stored.start) == recurrence_of(master, zones, start)
    kept: list[Component | None] = []
    gone = exdate_keys(master, zones, start)
    for key, part in stored.parts.items():
        if key == MASTER or key in made:
            continue
        if merge.is_cancelled(part):
            # What is shown as cancelled stays so until its owner takes it away.
            if key in gone and not work.hide_cancelled:
                _take_exdates(master, new, {key: part})
                kept.append(part)
            continue
        if not has_instance(new, key):
            continue
        came = work.seen.get((work.organizer, key))
        if came is None:
            kept.append(_own_override(key, part, stored, new, work))
        elif before is not None and came[1] != before[1] and unchanged and number_of(master) == before[0]:
            kept.append(part)
    return [part for part in kept if part is not None]


def _own_override(
    key: str, part: Component, stored: SchedulingObject, new: SchedulingObject, work: _Work
) -> Component | None:
    """An override that only the recipient made, of the new series; None when nothing in it is his."""
    fresh, old = instance_of(new, key), instance_of(_without(stored, key), key)
    if fresh is None or old is None or not same_times(part, stored.zones, old, stored.zones):
        return None
    own, line = _own(part, work.who), _own(fresh, work.who)
    if own is None or line is None:
        return None
    merge.keep_personal(fresh, part)
    if partstat_of(own) != partstat_of(line):
        replace_line(fresh, line, with_params(line, {"PARTSTAT": partstat_of(own), "RSVP": own.param("RSVP")}))
    return fresh


def _without(obj: SchedulingObject, key: str) -> SchedulingObject:
    calendar = Component("VCALENDAR", obj.calendar.begin, [], obj.calendar.end)
    calendar.items = [item for item in obj.calendar.items if item is not obj.parts.get(key)]
    return scheduling_object(calendar)


def _calendar_of(obj: SchedulingObject, *parts: Component) -> Component:
    zones: list[Line | Component] = [item for item in obj.calendar.components if item.name == "VTIMEZONE"]
    return Component("VCALENDAR", obj.calendar.begin, [*zones, *parts], obj.calendar.end)


def _take_exdates(master: Component, stored: SchedulingObject, made: Mapping[str, Component]) -> None:
    """Takes EXDATEs away for instances that are invited to anew."""
    for line in master.all("EXDATE"):
        values = [value.strip() for value in line.value.split(",") if value.strip()]
        left = [value for value in values if _key(with_value(line, value), stored) not in made]
        if left != values:
            replace_line(master, line, with_value(line, ",".join(left)) if left else None)


def _key(line: Line, stored: SchedulingObject) -> str | None:
    try:
        return key_of(line, stored.zones, stored.start)
    except ValueError:
        return None


def _difference(old: SchedulingObject, new: SchedulingObject, who: Who) -> str:
    """none, stamps (only DTSTAMP and such), others (only parameters of other attendees), or all.

    An override that says what the series says of its instance is none: others answer for single instances, too.
    """
    level = 0
    for key in {**new.parts, **old.parts}:
        before, part = old.parts.get(key) or instance_of(old, key), new.parts.get(key) or instance_of(new, key)
        if before is None or part is None or (key == MASTER and (old.master is None or new.master is None)):
            return "all"
        if _lines(before, who, stamps=True, others=True) == _lines(part, who, stamps=True, others=True):
            if (key in old.parts) != (key in new.parts):
                level = 2
            continue
        if _lines(before, who, others=True) == _lines(part, who, others=True):
            level = max(level, 1)
        elif _lines(before, who) == _lines(part, who):
            level = max(level, 2)
        else:
            return "all"
    return ("none", "stamps", "others")[level]


def _lines(component: Component, who: Who, *, stamps: bool = False, others: bool = False) -> list[object]:
    """What can be compared of a component."""
    found: list[object] = []
    for item in component.items:
        if isinstance(item, Component):
            found.append(("", item.to_bytes(), ()))
        elif item.name in _STAMPS:
            if stamps:
                found.append((item.name, item.value.strip(), ()))
        elif item.name == "ATTENDEE" and not others and not who.has(address_of(item)):
            found.append((item.name, address_of(item), ()))
        else:
            params = tuple(sorted(param for param in item.params if param[0] not in SERVER_PARAMS))
            if item.name == "ORGANIZER":
                # Who wrote it for the organizer this time is no change of the meeting.
                params = tuple(param for param in params if param[0] != "SENT-BY")
            found.append((item.name, item.value.strip(), params))
    return sorted(found, key=repr)


def _add(work: _Work) -> Arrival:
    """ADD: further instances of a series (RFC 5546 §3.2.4)."""
    stored = work.stored
    problem = _from_organizer(work)
    if problem is not None:
        return problem
    if stored is None or stored.master is None:
        return _asked_for(work)
    organizer = stored.organizer
    calendar = _working_copy(stored)
    current = scheduling_object(calendar)
    added = False
    for component in work.message.object.obj.components:
        if any(component.first(name) for name in ("RRULE", "RDATE")):
            return Arrival("asked", "A whole series was added, which nobody can merge.", ask=True, notice=True)
        if number_of(component) < number_of(stored.master):
            continue
        line = component.first("RECURRENCE-ID") or component.first("DTSTART")
        try:
            at = None if line is None else moment(line, work.message.object.zones)
            if at is not None and at.zone is not None and stored.start is not None and stored.start.kind == "floating":
                at = stored.start.moved_to(at.local)  # by its own clock, as all of the series
            key = "" if at is None else key_of_moment(at, stored.start)
        except ValueError:
            at, key = None, ""
        if at is None or not key or current.master is None:
            return _refused("The added instance has no time.")
        if _is_stale(work, organizer, key, component):
            continue
        part = _theirs(component, work)
        if _own(part, work.who) is None:
            own = _own(current.master, work.who)
            if own is not None:
                add_line(part, with_params(own, {"PARTSTAT": "NEEDS-ACTION"}))
        original = moment_of(key, stored.start)
        if original is None:
            return _refused("The added instance has no time.")
        if not has_instance(current, key):
            _add_rdate(current.master, key, original, current)
        remove_properties(part, ("RECURRENCE-ID", *RECURRENCE))
        part.items.insert(0, recurrence_id_of(original))
        _keep_mine(key, part, current, work)
        known = current.parts.get(key)
        if known is not None:
            calendar.items[next(i for i, item in enumerate(calendar.items) if item is known)] = part
        else:
            calendar.items.append(part)
        merge.carry_zones(calendar, work.message.object.calendar, (part,))
        work.remember(organizer, key, component)
        current = scheduling_object(calendar)
        added = True
    if not added:
        return Arrival("stale", "Something newer came before.")
    if _difference(stored, current, work.who) == "none":
        return Arrival("nothing", "The same came before.", seen=work.news)
    return Arrival("applied", "An instance was added.", calendar.to_bytes(), notice=True, tag=True, seen=work.news)


def _asked_for(work: _Work) -> Arrival:
    """An instance was added to a series that is not here: the organizer is asked for all of it (RFC 5546 §3.2.4)."""
    part = next((part for part in work.parts.values() if _own(part, work.who) is not None), None)
    own = None if part is None else _own(part, work.who)
    if part is None or own is None or not work.known or not work.organizer:
        return Arrival("ignored", "An instance was added to a series that is not here.")
    before = work.seen.get((work.organizer, _key_in(work, part)))
    if before is not None and before >= (number_of(part), stamp_of(part)):
        return Arrival("stale", "The organizer was asked for it before.")
    work.remember(work.organizer, _key_in(work, part), part)
    message = attendee.refresh(work.message.object, address_of(own), now_s=work.now_s)
    return Arrival(
        "ignored", "An instance was added to a series that is not here; the organizer is asked for all of it.",
        messages=(message,), seen=work.news,
    )  # fmt: skip


def _key_in(work: _Work, part: Component) -> str:
    return next(key for key, one in work.parts.items() if one is part)


def _add_rdate(master: Component, key: str, at: Moment, obj: SchedulingObject) -> None:
    _take_exdates(master, obj, {key: master})
    if has_instance(scheduling_object(obj.calendar), key):
        return
    add_line(master, merge.replace_name(recurrence_id_of(at), "RDATE"))


def _cancel(work: _Work) -> Arrival:
    """CANCEL, of the whole or of instances; also without DTSTART (RFC 5546 §3.2.5)."""
    stored = work.stored
    if stored is None:
        return Arrival("ignored", "What was cancelled is not here.")
    problem = _from_organizer(work)
    if problem is not None:
        return problem
    organizer = stored.organizer
    fresh = {key: part for key, part in work.parts.items() if not _cancel_is_stale(work, organizer, key, part)}
    if not fresh:
        return Arrival("stale", "Something newer came before.")
    for key, part in fresh.items():
        work.remember(organizer, key, part)
    calendar = _working_copy(stored)
    current = scheduling_object(calendar)
    if MASTER in fresh:
        # Where he has only instances, a CANCEL of the series is one of all of them.
        changed = [key for key in current.parts if not merge.is_cancelled(current.parts[key])]
        for key in changed:
            _mark_cancelled(current.parts[key], fresh[MASTER])
        if not changed:
            return Arrival("nothing", "It was cancelled before.", seen=work.news)
        return _cancelled(work, calendar, remove=work.hide_cancelled)
    changed_any = False
    for key in in_order(fresh):
        changed_any = _cancel_instance(work, calendar, current, key, fresh[key]) or changed_any
        current = scheduling_object(calendar)
    if not changed_any:
        return Arrival("nothing", "It was cancelled before.", seen=work.news)
    return _cancelled(work, calendar, remove=not current.parts)


def _cancelled(work: _Work, calendar: Component, *, remove: bool) -> Arrival:
    body = None if remove else calendar.to_bytes()
    return Arrival("applied", "It was cancelled.", body, remove=remove, notice=True, tag=True, seen=work.news)


def _cancel_is_stale(work: _Work, organizer: str, key: str, component: Component) -> bool:
    """As for a REQUEST, but what is cancelled for the second time is not stale."""
    number, stamp = number_of(component), stamp_of(component)
    before = work.seen.get((organizer, key))
    if before is None:
        part = None if work.stored is None else work.stored.parts.get(key)
        # CLIENT some cancel without SEQUENCE, or with the number that the invitation had.
        return part is not None and component.first("SEQUENCE") is not None and number < number_of(part)
    if component.first("SEQUENCE") is not None and number != before[0]:
        return number < before[0]
    return bool(stamp) and stamp < before[1]


def _mark_cancelled(part: Component, message: Component) -> None:
    set_property(part, "STATUS", "CANCELLED")
    if number_of(message) > number_of(part):
        set_property(part, "SEQUENCE", str(number_of(message)))
    stamp = stamp_of(message)
    if stamp:
        set_property(part, "DTSTAMP", stamp)


def _cancel_instance(
    work: _Work, calendar: Component, current: SchedulingObject, key: str, component: Component
) -> bool:
    """Takes one instance, or with RANGE all from there on, out of the series. Returns whether that changed anything."""
    part, master = current.parts.get(key), current.master
    if is_future(component) and master is not None:
        return _cut(calendar, current, master, key)
    if master is None:
        if part is None or merge.is_cancelled(part):
            return False
        if work.hide_cancelled:
            return _take_out(calendar, part)
        _mark_cancelled(part, component)
        return True
    if part is None and not has_instance(current, key):
        return False
    line = merge.exdate_for(key, current.start)
    if line is None or (part is not None and merge.is_cancelled(part) and not work.hide_cancelled):
        return False
    after = _next_of(current, key, part) if part is not None and is_future(part) else None
    gone = None if work.hide_cancelled else instance_of(current, key) if part is None else copy_tree(part)
    if part is not None:
        _take_out(calendar, part)
    if gone is None:
        add_line(master, line)
    else:
        named = gone.first("RECURRENCE-ID")
        if named is not None:
            replace_line(gone, named, with_params(named, {"RANGE": None}))
        _mark_cancelled(gone, component)
        calendar.items.append(gone)
    if after is not None:
        calendar.items.append(after)
    return True


def _next_of(current: SchedulingObject, key: str, part: Component) -> Component | None:
    """The instance behind one with RANGE, to carry the RANGE on when that one goes away; None when it was the last."""
    at = moment_of(key, current.start)
    if at is None:
        return None
    begin_s = at.seconds(UTC)
    for ahead_s in _NEXT_S:
        try:
            found = occurrences(current.obj, begin_s - _NEXT_S[0], begin_s + ahead_s, limits=_NEXT_LIMITS)
        except TooManyInstances:
            return None
        for item in found:
            rid = item.recurrence_id
            if item.component is part and not item.overridden and rid is not None and rid.seconds(UTC) > begin_s:
                made = instance_of(current, key_of_moment(rid, current.start))
                line = None if made is None else made.first("RECURRENCE-ID")
                if made is not None and line is not None:
                    replace_line(made, line, recurrence_id_of(rid, future=True))
                return made
    return None


def _take_out(calendar: Component, part: Component) -> bool:
    """Takes a component out of a calendar. Returns whether it was in it."""
    before = len(calendar.items)
    calendar.items[:] = [item for item in calendar.items if item is not part]
    return len(calendar.items) != before


def _cut(calendar: Component, current: SchedulingObject, master: Component, key: str) -> bool:
    """Ends a series before an instance."""
    at = moment_of(key, current.start)
    if at is None:
        return False
    cut_s = at.seconds(UTC)
    last = at.at(cut_s - (86_400 if at.kind == "date" else 1), UTC)
    until = last.value if last.kind in ("date", "floating", "utc") else _utc_value(last)
    changed = False
    for line in master.all("RRULE"):
        parts = [part for part in line.value.split(";") if not part.strip().upper().startswith(("UNTIL=", "COUNT="))]
        value = ";".join([*parts, f"UNTIL={until}"])
        try:
            before, after = parse_rule(line.value), parse_rule(value)
        except RuleError:
            continue
        if before.until is not None and after.until is not None and before.until.wall <= after.until.wall:
            continue
        replace_line(master, line, with_value(line, value))
        changed = True
    for line in master.all("RDATE"):
        values = [value.strip() for value in line.value.split(",") if value.strip()]
        left = [v for v in values if not _is_from(with_value(line, v.partition("/")[0]), current, cut_s)]
        if left != values:
            replace_line(master, line, with_value(line, ",".join(left)) if left else None)
            changed = True
    for other, part in current.parts.items():
        original = None if other == MASTER else moment_of(other, current.start)
        if original is not None and original.seconds(UTC) >= cut_s:
            changed = _take_out(calendar, part) or changed
    return changed


def _utc_value(at: Moment) -> str:
    """A time as UTC writes it."""
    return Moment(UTC.to_local(at.seconds(UTC)), "utc", UTC).value


def _is_from(line: Line, obj: SchedulingObject, cut_s: int) -> bool:
    try:
        at = moment_of(key_of(line, obj.zones, obj.start), obj.start)
    except ValueError:
        return False
    return at is not None and at.seconds(UTC) >= cut_s


def _decline_counter(work: _Work) -> Arrival:
    """DECLINECOUNTER: the organizer did not take what was proposed (RFC 5546 §3.2.8)."""
    if work.stored is None:
        return Arrival("ignored", "What it is about is not here.")
    problem = _from_organizer(work)
    if problem is not None:
        return problem
    return Arrival("applied", "The organizer declined the proposal.", notice=True)


# ---- to the organizer ----


def _to_organizer(work: _Work) -> Arrival | None:
    """Why a message to an organizer does nothing; None when it is for this one."""
    if work.stored is None:
        return Arrival("ignored", "What it is about is not here.")
    if not work.who.has(work.stored.organizer):
        return Arrival("ignored", "The recipient is not the organizer.")
    return None


def _answering(work: _Work, component: Component) -> tuple[Line, str] | Arrival:
    """(ATTENDEE line, address in the stored object, "" for nobody who is invited) of who answers in a component."""
    lines = attendees_of(component)
    invited = work.invited
    if not lines:
        return _refused("The answer names no attendee.")
    if len(lines) > 1:
        # CLIENT several list all guests: the one who sent it answers. Of a delegation the one who delegates does.
        own = [address for address in lines if work.sender and work.is_sender(address)]
        given = [address for address, line in lines.items() if partstat_of(line) == "DELEGATED"]
        chosen = own or given
        if not chosen:
            return _refused("The answer names several attendees.")
        lines = {chosen[0]: lines[chosen[0]]}
    ((address, line),) = lines.items()
    found = _invited_as(address, invited, work)
    if found:
        stored_line = invited[found][0][1]
        if not work.is_sender(address) and not work.speaks_for(found, stored_line):
            return _refused(f"The answer for {found[:200]} was sent by somebody else.")
        return line, found
    if work.sender and not work.is_sender(address):
        # His answer from another mailbox of his: whom the sender stands for is known by then (a signed address).
        found = _invited_as(work.sender, invited, work)
        if found:
            return line, found
        return _refused("The answer was sent by somebody else.")
    return line, ""


def _invited_as(address: str, invited: Mapping[str, object], work: _Work) -> str:
    """The invited address that this one is, or ""."""
    if address in invited:
        return address
    for other in invited:
        if _same_person(address, other, work.who):
            return other
    return ""


def _reply(work: _Work) -> Arrival:
    """REPLY (RFC 5546 §3.2.3, RFC 6638 §4.2)."""
    problem = _to_organizer(work)
    if problem is not None:
        return problem
    assert work.stored is not None
    return _Reply(work, work.stored).run()


@dataclass(slots=True)
class _Reply:
    """An answer on its way into the organizer's object. work: the copy that is changed."""

    given: _Work
    stored: SchedulingObject
    work: SchedulingObject = field(init=False)
    answered: set[str] = field(default_factory=set)
    changed: bool = False
    stale: int = 0
    applied: int = 0

    def __post_init__(self) -> None:
        self.work = scheduling_object(_working_copy(self.stored))

    def run(self) -> Arrival:
        asked: Arrival | None = None
        for key in in_order(self.given.parts):
            component = self.given.parts[key]
            found = _answering(self.given, component)
            if isinstance(found, Arrival):
                return found
            line, address = found
            if self.given.who.has(address or address_of(line)):
                asked = asked or Arrival("ignored", "The organizer himself is no guest.")
                continue
            partstat = partstat_of(line)
            if not _PARTSTAT.fullmatch(partstat):
                return _refused("The answer is none that is known.")
            if not address:
                asked = self._crasher(key, component, line, partstat) or asked
                continue
            self._answer(key, component, line, address, partstat)
        return self._result(asked)

    def _result(self, asked: Arrival | None) -> Arrival:
        given = self.given
        if not self.applied:
            if asked is not None:
                return asked
            if self.stale:
                return Arrival("stale", "A newer answer came before, or the time has changed since.")
            return Arrival("ignored", "The meeting has no such instance.")
        if not self.changed:
            return Arrival("nothing", "The same answer came before.", seen=given.news)
        from dav.scheduling.organizer import quiet_updates

        changed = scheduling_object(self.work.calendar)
        updates = quiet_updates(changed, given.who, but=self.answered, here=given.here, now_s=given.now_s)
        return Arrival(
            "applied", "An answer.", self.work.to_bytes(), notice=True, messages=updates, seen=given.news
        )  # fmt: skip

    # -- one component --

    def _answer(self, key: str, component: Component, line: Line, address: str, partstat: str) -> None:
        before = self.given.seen.get((address, key))
        stamp = stamp_of(component)
        if before is not None and stamp and (stamp, number_of(component)) < (before[1], before[0]):
            self.stale += 1
            return
        targets = self._targets(key, component, address, partstat)
        if not targets:
            return
        usable = {target: create for target, create in targets.items() if not self._outdated(target, key, component)}
        if not usable:
            self.stale += 1
            return
        self.applied += 1
        self.given.remember(address, key, component)
        self.answered.add(address)
        for target, create in usable.items():
            part = self._part(target, future=is_future(component), create=create)
            if part is not None:
                self._set(target, part, component, line, address, partstat)

    def _targets(self, key: str, component: Component, address: str, partstat: str) -> dict[str, bool]:
        """The parts that an answer is for → whether to make an override for it."""
        work = self.work
        if key == MASTER:
            found = {}
            for other, part in work.parts.items():
                own = attendees_of(part).get(address)
                if own is None:
                    continue
                # One answer to the series is for those instances, too, that ask for one; most programs send no more.
                waits = partstat_of(own) == "NEEDS-ACTION" and number_of(part) <= number_of(component)
                if other == MASTER or work.master is None or (waits and other not in self.given.parts):
                    found[other] = False
            return found
        if key in work.parts:
            found = {key: False} if address in attendees_of(work.parts[key]) else {}
        elif work.master is not None and address in attendees_of(work.master) and has_instance(work, key):
            found = {key: True}
        else:
            found = {}
        if found and is_future(component):
            first = moment_of(key, work.start)
            for other, part in work.parts.items():
                at = None if other == MASTER else moment_of(other, work.start)
                later = first is not None and at is not None and at.seconds(UTC) > first.seconds(UTC)
                if later and address in attendees_of(part) and other not in self.given.parts:
                    found[other] = False
        return found

    def _outdated(self, target: str, key: str, component: Component) -> bool:
        """Whether an answer to an older SEQUENCE is about another time than the meeting has now."""
        part = self.work.parts.get(target) or self.work.master
        if part is None or component.first("SEQUENCE") is None or number_of(component) >= number_of(part):
            return False
        zones = self.given.message.object.zones
        then = start_of(component, zones)
        if then is None:
            stamps = [text for name in ("DTSTAMP", "LAST-MODIFIED") if (text := _utc(part.value(name)))]
            stamp = stamp_of(component)
            return bool(stamp and stamps) and stamp < max(stamps)
        if target != key:
            return False
        current = self.work.parts.get(target) or instance_of(self.work, target)
        now = None if current is None else start_of(current, self.work.zones)
        if now is None:
            return True
        if (then.kind == "date") != (now.kind == "date"):
            return True
        if then.zone is None and now.zone is not None:
            then = now.moved_to(then.local)
        return then.seconds(UTC) != now.seconds(UTC)

    def _part(self, key: str, *, future: bool, create: bool) -> Component | None:
        part = self.work.parts.get(key)
        if part is not None or not create:
            return part
        part = instance_of(self.work, key)
        if part is None:
            return None
        if future:
            line = part.first("RECURRENCE-ID")
            at = moment_of(key, self.work.start)
            if line is not None and at is not None:
                replace_line(part, line, recurrence_id_of(at, future=True))
        return part

    def _keep(self, key: str, part: Component) -> None:
        """Makes a new override part of the object."""
        if key not in self.work.parts:
            self.work.calendar.items.append(part)
            self.work.parts[key] = part

    def _set(self, key: str, part: Component, component: Component, line: Line, address: str, partstat: str) -> None:
        own = attendees_of(part)[address]
        # Whoever takes his answer back is asked again.
        rsvp = "TRUE" if partstat == "NEEDS-ACTION" else None
        changes: dict[str, str | None] = {"PARTSTAT": partstat, "RSVP": rsvp, "SCHEDULE-STATUS": _codes(component)}
        delegates: list[str] = []
        if partstat == "DELEGATED":
            delegates = [normalise(v) for v in line.param_values("DELEGATED-TO")[:DELEGATES_MAX] if normalise(v)]
            delegates = [one for one in delegates if one != address and not self.given.who.has(one)]
            if delegates:
                changes["DELEGATED-TO"] = line.param("DELEGATED-TO")
        new = own
        if partstat_of(own) != partstat or own.param("SCHEDULE-STATUS") != changes["SCHEDULE-STATUS"] or delegates:
            new = with_params(own, changes)
        elif own.param("RSVP") is not None:
            new = with_params(own, {"RSVP": rsvp})
        if key not in self.work.parts and partstat_of(own) == partstat and not delegates:
            return  # the series says the same
        self.changed = replace_line(part, own, new) or self.changed
        for other in part.all("ATTENDEE"):
            if other is not new and address_of(other) == address:
                # Named twice: the other line would go on saying that he has not answered.
                self.changed = replace_line(part, other, None) or self.changed
        for delegate in delegates:
            if delegate not in attendees_of(part):
                add_line(part, _delegate(component, delegate, new))
                self.changed = True
            self.answered.add(delegate)
        self._remark(part, component, address)
        self._keep(key, part)

    def _remark(self, part: Component, component: Component, address: str) -> None:
        comment = component.first("COMMENT")
        text = "" if comment is None else comment.text.strip()[:COMMENT_CHARS_MAX]
        if not text:
            return
        line = make_line(_REMARK, clean(escape(text)), ((_REMARK_OF, (address,)),))
        known = [item for item in part.all(_REMARK) if normalise(item.param(_REMARK_OF) or "") == address]
        if known and known[0].value == line.value:
            return
        if known:
            replace_line(part, known[0], line)
        else:
            add_line(part, line)
        self.changed = True

    def _crasher(self, key: str, component: Component, line: Line, partstat: str) -> Arrival | None:
        """An answer of somebody who is not invited (reference, section 10)."""
        address = address_of(line)
        delegator = self._delegator(line, address)
        policy = "add" if delegator else self.given.crashers
        if policy == "ignore":
            return Arrival("ignored", "The answer is by somebody who is not invited.")
        if policy != "add":
            return Arrival("asked", "The answer is by somebody who is not invited.", notice=True, ask=True)
        create = key not in self.work.parts and key != MASTER
        part = self._part(key, future=False, create=create)
        if part is None and key == MASTER:
            return Arrival("asked", "The answer is by somebody who is not invited.", notice=True, ask=True)
        if part is None:
            return None
        name = line.param("CN")
        params = [("CN", (clean(name),))] if name else []
        if delegator:
            params.append(("DELEGATED-FROM", (delegator,)))
        add_line(
            part,
            make_line(
                "ATTENDEE", address, (*params, ("PARTSTAT", (partstat,)), ("SCHEDULE-STATUS", (_codes(component),)))
            ),
        )
        self.changed = True
        self.applied += 1
        self.answered.add(address)
        self.given.remember(address, key, component)
        self._keep(key, part)
        return None

    def _delegator(self, line: Line, address: str) -> str:
        """The guest who named this one in his stead, or ""."""
        for value in line.param_values("DELEGATED-FROM")[:DELEGATES_MAX]:
            for _, known in self.work.all_attendees().get(normalise(value), ()):
                named = {normalise(other) for other in known.param_values("DELEGATED-TO")[:DELEGATES_MAX]}
                if partstat_of(known) == "DELEGATED" and address in named:
                    return known.value.strip()
        return ""


def _delegate(component: Component, delegate: str, delegator: Line) -> Line:
    """ATTENDEE for a delegate; of what the REPLY says of him only his name counts."""
    line = attendee.delegate_line(delegate, delegator)
    told = attendees_of(component).get(delegate)
    name = None if told is None else told.param("CN")
    return with_params(line, {"CN": clean(name)}) if name else line


def _codes(component: Component) -> str:
    """The codes of REQUEST-STATUS, joined by commas; 2.0 where there is none (RFC 6638 §3.2.9)."""
    found = [match[1] for line in component.all("REQUEST-STATUS")[:10] if (match := _CODE.match(line.value))]
    return ",".join(dict.fromkeys(found)) or "2.0"


def _utc(text: str | None) -> str:
    text = (text or "").strip().upper()
    return text if len(text) == 16 and text[8] == "T" and text[15] == "Z" else ""


def _counter(work: _Work) -> Arrival:
    """COUNTER: another time is proposed. It is shown to the organizer and changes nothing (RFC 5546 §3.2.7)."""
    problem = _to_organizer(work)
    if problem is not None:
        return problem
    for component in work.parts.values():
        found = _answering(work, component)
        if isinstance(found, Arrival):
            return found
        if not found[1]:
            return Arrival("ignored", "The proposal is by somebody who is not invited.")
    return Arrival("asked", "Another time was proposed.", notice=True, ask=True)


def _refresh(work: _Work) -> Arrival:
    """REFRESH: a guest wants to have the latest of it (RFC 5546 §3.2.6)."""
    from dav.scheduling.organizer import request_for

    problem = _to_organizer(work)
    if problem is not None:
        return problem
    assert work.stored is not None
    messages: list[Message] = []
    for component in work.parts.values():
        found = _answering(work, component)
        if isinstance(found, Arrival):
            return found
        if not found[1]:
            return Arrival("ignored", "It was asked for by somebody who is not invited.")
        message = request_for(work.stored, found[1], work.who, now_s=work.now_s, changes=("forced",))
        if message is not None and message not in messages:
            messages.append(message)
    return Arrival("applied", "The latest was asked for.", messages=tuple(messages))


_HANDLERS = {
    "REQUEST": _request,
    "PUBLISH": _request,
    "ADD": _add,
    "CANCEL": _cancel,
    "DECLINECOUNTER": _decline_counter,
    "REPLY": _reply,
    "COUNTER": _counter,
    "REFRESH": _refresh,
}
