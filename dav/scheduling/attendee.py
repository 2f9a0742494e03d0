"""The attendee's side (RFC 6638 §3.2.2): which changes of an invitation are his, and what the organizer is told.

Pure. Rules where the RFCs leave room, all tested:

- His are PARTSTAT, alarms, TRANSP, CATEGORIES, COMMENT, COLOR, CLASS, private properties, and how far a task is. Texts
  that differ are the organizer's again in what is stored; another time, recurrence, organizer or list of guests is
  refused.
- What others answered is the server's: clients send back what they read before the answers came.
- An EXDATE of his is a refusal of that instance. An override that he leaves out without one comes back, and one of an
  instance that is left out goes.
- A guest may name a delegate in the one shape that RFC 5546 §3.2.2.3 has for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from dav.errors import DavError
from dav.ical.by_reference import with_all_zones
from dav.ical.lines import Component, Line, escape, fold, make_line, with_value
from dav.ical.make import PRODID, clean, utc_text
from dav.names import c
from dav.scheduling import merge
from dav.scheduling.addresses import Who, normalise
from dav.scheduling.diff import compare, facts_of
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
    in_order,
    instance_of,
    is_past,
    only_series,
    recurrence_of,
    same_times,
)
from dav.scheduling.model import (
    MASTER,
    ItipError,
    SchedulingObject,
    address_of,
    agent_of,
    attendees_of,
    exdates_of,
    number_of,
    organizer_of,
    partstat_of,
    scheduling_object,
)
from dav.scheduling.plan import Message, Options, Plan

COMMENT_CHARS_MAX = 4_000
DELEGATES_MAX = 5
# What a REPLY says of the event, so that whoever reads it knows which one it is (RFC 5546 §3.2.3, §3.4.3).
_TOLD = ("DTSTART", "DTEND", "DUE", "DURATION", "SUMMARY")
_TOLD_OF_TASKS = ("COMPLETED", "PERCENT-COMPLETE", "STATUS")
_NOT_SENT: dict[str, str | None] = {**dict.fromkeys(SERVER_PARAMS), "RSVP": None}


# ---- plans ----


def plan_put(old: SchedulingObject | None, new: SchedulingObject, who: Who, options: Options) -> Plan:
    """What a write of an invitation asks for (reference, section 4). old: what is stored, also an invitation, or None.

    Neither object is changed. Raises DavError(403, allowed-attendee-scheduling-object-change).
    """
    work = scheduling_object(copy_tree(new.calendar))
    forced = _take_force_send(work)
    if old is not None:
        work = _Restoring(old, work, who, options.matched).run()
        if options.calendar_server:
            _take_time(old, work, who)
    messages: list[Message] = []
    if not options.silent and options.reply and _may_send(work):
        for address in own_addresses(work, who):
            answers = _Answers(old, work, address)
            keys = answers.changed | {key for key in forced if key in answers.mine}
            if keys or answers.declined:
                messages.append(answers.message(keys, options.now_s))
            messages += answers.to_delegates(who, options.now_s)
    body = work.to_bytes()
    return Plan("attendee", body, body != new.to_bytes(), True, tuple(messages))


def plan_removal(old: SchedulingObject, who: Who, options: Options) -> Plan:
    """What taking an invitation away asks for: a REPLY that declines, unless that was said or nothing takes place."""
    messages: list[Message] = []
    if not options.silent and options.reply and _may_send(old):
        for address in own_addresses(old, who):
            open_keys = [
                key
                for key, part in old.parts.items()
                if (line := attendees_of(part).get(address)) is not None
                and not merge.is_cancelled(part)
                and partstat_of(line) not in ("DECLINED", "DELEGATED")
            ]
            if open_keys:
                sources = {key: old.parts[key] for key in open_keys}
                messages.append(_reply(old, address, sources, options.now_s, partstat="DECLINED"))
    return Plan("attendee", None, tag=False, messages=tuple(messages))


def answer(obj: SchedulingObject, who: Who, answers: Mapping[str, str], *, comment: str = "", now_s: int) -> Plan:
    """The invitation with this principal's answers, and the REPLY.

    answers: key of an instance, or "" for all → PARTSTAT. An answer for all is also one for the instances of their own
    that have not been answered, or were with the series. Raises ItipError when it answers nothing.
    """
    addresses = own_addresses(obj, who)
    if not addresses:
        raise ItipError("This person is not invited.")
    work = scheduling_object(copy_tree(obj.calendar))
    sources: dict[str, Component] = {}
    address = addresses[0]
    for key, partstat in _spread(work, address, answers).items():
        part = work.parts.get(key)
        if part is None:
            part = instance_of(work, key)
            if part is None:
                continue
            work.calendar.items.append(part)
        line = attendees_of(part).get(address)
        if line is None or merge.is_cancelled(part):
            continue
        replace_line(part, line, with_params(line, {"PARTSTAT": partstat, "RSVP": None}))
        sources[key] = part
    if not sources:
        raise ItipError("The answer is for nothing that this person is invited to.")
    work = scheduling_object(work.calendar)
    messages = (_reply(work, address, sources, now_s, comment=comment),) if _may_send(work) else ()
    return Plan("attendee", work.to_bytes(), True, True, messages)


def make_reply(
    obj: SchedulingObject,
    attendee: str,
    answers: Mapping[str, str],
    *,
    comment: str = "",
    now_s: int,
    extra: Mapping[str, str] = {},
) -> bytes:
    """A REPLY of somebody who has no copy here. obj: what he was sent. attendee: his normalised address.

    answers: key of an instance, or "" for all → PARTSTAT. extra: further properties of each component, as plain text.
    Raises ItipError when it answers nothing.
    """
    sources: dict[str, Component] = {}
    lines: dict[str, list[Line]] = {}
    for key, partstat in _spread(obj, attendee, answers).items():
        part = obj.parts.get(key) or instance_of(obj, key)
        line = None if part is None else attendees_of(part).get(attendee)
        if part is None or line is None or merge.is_cancelled(part):
            continue
        sources[key] = part
        lines[key] = [with_params(line, {"PARTSTAT": partstat})]
    if not sources:
        raise ItipError("The answer is for nothing that this person is invited to.")
    return _reply_calendar(obj, sources, lines, now_s, comment=comment, extra=extra)


def refresh(obj: SchedulingObject, address: str, *, now_s: int) -> Message:
    """The REFRESH of a guest who lacks what a message is about: who he is, whose meeting it is (RFC 5546 §3.2.6).

    obj: the message. address: normalised, of somebody whom a part of it names.
    """
    own = obj.all_attendees()[address][0][1]
    organizer = _organizer_line(obj)
    made = [make_line("UID", escape(obj.uid)), make_line("DTSTAMP", utc_text(now_s)), _outgoing(organizer)]
    made.append(with_params(_outgoing(own), {"PARTSTAT": None, "ROLE": None, "CUTYPE": None}))
    parts = [fold("BEGIN:VCALENDAR"), fold("VERSION:2.0"), fold(f"PRODID:{PRODID}"), fold("METHOD:REFRESH")]
    _write(obj.kind, made, parts)
    parts.append(fold("END:VCALENDAR"))
    return Message(
        "REFRESH", address, address_of(organizer), obj.uid, obj.kind, "", 0, b"".join(parts), ("other",),
        sender_name=_name(own), recipient_name=_name(organizer), summary=_summary(next(iter(obj.parts.values())), obj),
    )  # fmt: skip


def own_addresses(obj: SchedulingObject, who: Who) -> list[str]:
    """The addresses under which this principal is invited, in order."""
    return [address for address in obj.all_attendees() if who.has(address)]


def _may_send(obj: SchedulingObject) -> bool:
    """RFC 6638 §7.1: not when the client said that it, or nobody, tells the organizer."""
    lines = [line for part in obj.parts.values() if (line := part.first("ORGANIZER")) is not None]
    return bool(lines) and all(agent_of(line) == "SERVER" for line in lines)


def _spread(obj: SchedulingObject, address: str, answers: Mapping[str, str]) -> dict[str, str]:
    """The answers by key, one for all spread over the overrides that have no answer of their own."""
    found = {key: partstat.strip().upper() for key, partstat in answers.items()}
    whole = found.get(MASTER)
    if whole is None:
        return found
    master = obj.master
    line = None if master is None else attendees_of(master).get(address)
    before = "NEEDS-ACTION" if line is None else partstat_of(line)
    for key, part in obj.parts.items():
        own = attendees_of(part).get(address)
        if key not in found and own is not None and (master is None or partstat_of(own) in ("NEEDS-ACTION", before)):
            found[key] = whole
    if master is None:
        del found[MASTER]
    return found


def _take_force_send(work: SchedulingObject) -> frozenset[str]:
    """Takes SCHEDULE-FORCE-SEND off ORGANIZER (it is never stored); the keys of parts that asked for a REPLY.

    RFC 6638 §7.2: a value that is not known is told by the status 2.3. On other lines it means nothing here.
    """
    forced = set()
    for key, part in work.parts.items():
        for line in [*part.all("ORGANIZER"), *part.all("ATTENDEE")]:
            value = line.param("SCHEDULE-FORCE-SEND")
            if value is None:
                continue
            changes: dict[str, str | None] = {"SCHEDULE-FORCE-SEND": None}
            if line.name == "ORGANIZER":
                if value.strip().upper() == "REPLY":
                    forced.add(key)
                else:
                    changes["SCHEDULE-STATUS"] = "2.3"
            replace_line(part, line, with_params(line, changes))
    return frozenset(forced)


def _take_time(old: SchedulingObject, work: SchedulingObject, who: Who) -> None:
    """Who says yes, or perhaps, to what left him free until then is busy; most programs do not see to it."""
    for key, part in work.parts.items():
        before = old.parts.get(key) or old.master
        if before is None or not _is_free(before) or not _is_free(part):
            continue
        had, has = attendees_of(before), attendees_of(part)
        if any(
            who.has(address) and partstat_of(line) in ("ACCEPTED", "TENTATIVE")
            and address in had and partstat_of(had[address]) == "NEEDS-ACTION"
            for address, line in has.items()
        ):  # fmt: skip
            remove_properties(part, ("TRANSP",))


def _is_free(part: Component) -> bool:
    return (part.value("TRANSP") or "").strip().upper() == "TRANSPARENT"


def _refused(sentence: str) -> DavError:
    return DavError(403, c("allowed-attendee-scheduling-object-change"), sentence)


# ---- what is put back, and what is refused ----


@dataclass(slots=True)
class _Restoring:
    """Makes of what an attendee wrote what may be stored. work is changed in place."""

    old: SchedulingObject
    work: SchedulingObject
    who: Who
    matched: bool

    def run(self) -> SchedulingObject:
        """Raises DavError."""
        if self.old.master is None and self.work.master is not None:
            self._without_series(self.work.master)
        old, work = self.old, self.work
        if (old.master is None) != (work.master is None):
            raise _refused("A guest cannot add or remove the series of an invitation.")
        gone = old.exdates()
        for key, part in list(work.parts.items()):
            base = old.parts.get(key)
            if base is None and key in gone:
                # Called off meanwhile, or by him on another device: it stays so.
                work.calendar.items[:] = [item for item in work.calendar.items if item is not part]
                del work.parts[key]
                continue
            if base is None:
                base = instance_of(old, key)
                if base is None:
                    raise _refused(f"The invitation has no instance {key[:40]}.")
            self._part(key, part, base)
        if work.master is not None and old.master is not None:
            self._exdates(work.master, old.master)
            left_out = work.exdates()
            for key in old.parts.keys() - work.parts.keys() - left_out:
                # What another client of the same person dropped, such as one that knows no overrides.
                back = copy_tree(old.parts[key])
                if self._is_of_the_series(key):
                    self._answer_with_series(back, work.master, old.master)
                work.calendar.items.append(back)
                merge.carry_zones(work.calendar, old.calendar, (back,))
        return scheduling_object(work.calendar)

    def _without_series(self, master: Component) -> None:
        """CLIENT programs that keep no instance without its series make a series of the first one (DAVx5), or take its
        RECURRENCE-ID away: that is the instance, which gets its name back.
        """
        old, work = self.old, self.work
        if master.all("RRULE"):
            return
        same = [key for key, part in old.parts.items() if _at_once(master, work, part, old)]
        missing = [key for key in same if key not in work.parts]
        if missing:
            remove_properties(master, RECURRENCE)
            named = old.parts[missing[0]].first("RECURRENCE-ID")
            if named is not None:
                at = next((at for at, item in enumerate(master.items) if item.name == "UID"), -1)
                master.items.insert(at + 1, named)
                merge.carry_zones(work.calendar, old.calendar, (master,))
        elif same:
            self._answer_over(master, work.parts[same[0]], old.parts[same[0]])
            work.calendar.items[:] = [item for item in work.calendar.items if item is not master]
        self.work = scheduling_object(work.calendar)

    def _answer_over(self, source: Component, part: Component, before: Component) -> None:
        """Takes his answer over from source where that is the one that is new."""
        given, had = attendees_of(source), attendees_of(before)
        for address, line in attendees_of(part).items():
            known, new = had.get(address), given.get(address)
            if known is None or new is None or not self.who.has(address):
                continue
            if partstat_of(line) == partstat_of(known) != partstat_of(new):
                replace_line(part, line, with_params(line, {"PARTSTAT": new.param("PARTSTAT"), "RSVP": None}))

    def _is_of_the_series(self, key: str) -> bool:
        """Whether an override tells nothing but answers."""
        plain, part = instance_of(only_series(self.old), key), self.old.parts[key]
        if plain is None:
            return False
        facts = [facts_of(one, self.old.zones, self.old.start, override=True) for one in (plain, part)]
        return compare(*facts).grade == "none"

    def _answer_with_series(self, back: Component, master: Component, before: Component) -> None:
        """His answer to the series is one to an instance that he has not seen apart from it, as by another's answer."""
        said, had = attendees_of(master), attendees_of(before)
        for address, line in attendees_of(back).items():
            answer, known = said.get(address), had.get(address)
            if not self.who.has(address) or answer is None or known is None or merge.is_cancelled(back):
                continue
            if partstat_of(line) == partstat_of(known) != partstat_of(answer):
                replace_line(
                    back, line, with_params(line, {"PARTSTAT": answer.param("PARTSTAT"), "RSVP": answer.param("RSVP")})
                )

    def _part(self, key: str, part: Component, base: Component) -> None:
        old, work = self.old, self.work
        self._organizer(part, base)
        if not same_times(part, work.zones, base, old.zones):
            raise _refused("A guest cannot change when a meeting takes place; he can propose it to the organizer.")
        if key == MASTER and recurrence_of(part, work.zones, work.start) != recurrence_of(base, old.zones, old.start):
            raise _refused("A guest cannot change how a meeting recurs.")
        self._attendees(part, base)
        merge.put_back(part, base)
        if number_of(part) != number_of(base):
            set_property(part, "SEQUENCE", str(number_of(base)))

    def _organizer(self, part: Component, base: Component) -> None:
        theirs = base.first("ORGANIZER") or next(
            (line for other in self.old.parts.values() if (line := other.first("ORGANIZER")) is not None), None
        )
        mine = part.first("ORGANIZER")
        if theirs is None:
            return
        if mine is None:
            add_line(part, theirs)
            return
        if organizer_of(part) != address_of(theirs):
            raise _refused("A guest cannot change the organizer of a meeting.")
        status = mine.param("SCHEDULE-STATUS")
        if status != "2.3":
            status = theirs.param("SCHEDULE-STATUS")
        wanted = with_params(theirs, {"SCHEDULE-AGENT": mine.param("SCHEDULE-AGENT"), "SCHEDULE-STATUS": status})
        if _params(mine) != _params(wanted):
            replace_line(part, mine, wanted)

    def _attendees(self, part: Component, base: Component) -> None:
        theirs, mine = attendees_of(base), attendees_of(part)
        self._own_line(part, theirs, mine)
        mine = attendees_of(part)
        named = self._delegates(part, theirs, mine)
        for address, line in list(mine.items()):
            known = theirs.get(address)
            if known is None:
                if address in named:
                    continue
                if not self.matched:
                    raise _refused(f"A guest cannot invite others ({line.value[:80]}).")
                replace_line(part, line, None)
            elif not self.who.has(address) and _params(line) != _params(known):
                replace_line(part, line, known)
        for address, line in theirs.items():
            if address not in mine:
                # RFC 6638 §3.2.10: with a schedule tag that matched, the lines of others are the server's.
                if not self.matched and not self.who.has(address):
                    raise _refused(f"A guest cannot take others from the list ({line.value[:80]}).")
                _insert_attendee(part, line)

    def _own_line(self, part: Component, theirs: Mapping[str, Line], mine: Mapping[str, Line]) -> None:
        """Under another of his own addresses he answers for the one that was invited."""
        strangers = [address for address in mine if address not in theirs and self.who.has(address)]
        missing = [address for address in theirs if address not in mine and self.who.has(address)]
        for address, invited in zip(strangers, missing, strict=False):
            answered = {"PARTSTAT": mine[address].param("PARTSTAT"), "RSVP": mine[address].param("RSVP")}
            replace_line(part, mine[address], with_params(theirs[invited], answered))

    def _delegates(self, part: Component, theirs: Mapping[str, Line], mine: Mapping[str, Line]) -> frozenset[str]:
        """Addresses that this principal names as delegates, each with an ATTENDEE line; RFC 5546 §3.2.2.3."""
        named: set[str] = set()
        for address, line in mine.items():
            if not self.who.has(address) or partstat_of(line) != "DELEGATED":
                continue
            before = _delegated_to(theirs[address]) if address in theirs else []
            for delegate in _delegated_to(line):
                if delegate in before:
                    continue
                if self.who.has(delegate) or delegate == self.old.organizer:
                    raise _refused("An invitation cannot be delegated to oneself or to the organizer.")
                named.add(delegate)
                written = mine.get(delegate)
                if written is None and delegate not in theirs:
                    _insert_attendee(part, delegate_line(delegate, line))
                elif written is not None and delegate not in theirs and address not in _delegated_from(written):
                    raise _refused("A delegate needs DELEGATED-FROM with the address of the one who delegates.")
        return frozenset(named)

    def _exdates(self, mine: Component, theirs: Component) -> None:
        """Instances that are left out stay left out."""
        ours = {key for key, _ in exdates_of(mine, self.work.zones, self.work.start)}
        lost = {key for key, _ in exdates_of(theirs, self.old.zones, self.old.start)} - ours
        if lost:
            merge.add_exdates(mine, lost, self.old)
            merge.carry_zones(self.work.calendar, self.old.calendar, (mine,))


def _at_once(one: Component, obj: SchedulingObject, other: Component, others: SchedulingObject) -> bool:
    """Whether two components are at the same time, leaving aside what makes a series of one of them."""
    bare = copy_tree(one)
    remove_properties(bare, RECURRENCE)
    return same_times(bare, obj.zones, other, others.zones)


def _params(line: Line) -> tuple[str, list[tuple[str, tuple[str, ...]]]]:
    return line.value.strip(), sorted(line.params)


def _insert_attendee(part: Component, line: Line) -> None:
    lines = part.all("ATTENDEE")
    if not lines:
        add_line(part, line)
        return
    at = next(at for at, item in enumerate(part.items) if item is lines[-1])
    part.items.insert(at + 1, line)


def _delegated_to(line: Line) -> list[str]:
    return [normalise(value) for value in line.param_values("DELEGATED-TO")[:DELEGATES_MAX] if normalise(value)]


def _delegated_from(line: Line) -> list[str]:
    return [normalise(value) for value in line.param_values("DELEGATED-FROM")[:DELEGATES_MAX]]


def delegate_line(delegate: str, delegator: Line) -> Line:
    """ATTENDEE for a delegate: asked, in the role of the one who delegates. delegate: a normalised address."""
    params = [(name, (value,)) for name in ("ROLE",) if (value := delegator.param(name)) is not None]
    return make_line(
        "ATTENDEE",
        delegate,
        (*params, ("PARTSTAT", ("NEEDS-ACTION",)), ("RSVP", ("TRUE",)), ("DELEGATED-FROM", (delegator.value.strip(),))),
    )


# ---- what the organizer is told ----


@dataclass(slots=True)
class _Answers:
    """What one address of the principal answers with a write. changed: keys; declined: key → instance left out."""

    old: SchedulingObject | None
    work: SchedulingObject
    address: str
    mine: dict[str, Line] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    declined: dict[str, Component] = field(default_factory=dict)
    delegated: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, part in self.work.parts.items():
            line = attendees_of(part).get(self.address)
            if line is not None and not merge.is_cancelled(part):
                self.mine[key] = line
        for key, line in self.mine.items():
            if self._newly_delegated(key, line) or partstat_of(line) != self._before(key):
                self.changed.add(key)
        master = self.mine.get(MASTER)
        if self.old is not None and master is not None and MASTER in self.changed:
            # An answer to the series alone would be read as one to these.
            self.changed |= {
                key
                for key, line in self.mine.items()
                if key in self.old.parts and partstat_of(line) == "NEEDS-ACTION" != partstat_of(master)
            }
        if self.old is not None and self.old.master is not None:
            for key in in_order(self.work.exdates() - self.old.exdates() - self.work.parts.keys()):
                self._left_out(self.old, key)
        elif self.old is not None:
            for key in in_order(self.old.parts.keys() - self.work.parts.keys()):
                self._left_out(self.old, key)

    def _before(self, key: str) -> str:
        """What the organizer takes for his answer there."""
        if self.old is None:
            return "NEEDS-ACTION"
        part = self.old.parts.get(key)
        line = attendees_of(part).get(self.address) if part is not None else self.mine.get(MASTER)
        return "NEEDS-ACTION" if line is None else partstat_of(line)

    def _newly_delegated(self, key: str, line: Line) -> bool:
        if partstat_of(line) != "DELEGATED":
            return False
        part = None if self.old is None else self.old.parts.get(key)
        known = None if part is None else attendees_of(part).get(self.address)
        before = [] if known is None or partstat_of(known) != "DELEGATED" else _delegated_to(known)
        added = [address for address in _delegated_to(line) if address not in before]
        if added:
            self.delegated[key] = added
        return bool(added)

    def _left_out(self, old: SchedulingObject, key: str) -> None:
        part = old.parts.get(key) or instance_of(old, key)
        line = None if part is None else attendees_of(part).get(self.address)
        if part is None or line is None or merge.is_cancelled(part) or partstat_of(line) == "DECLINED":
            return
        self.declined[key] = part

    def message(self, keys: Collection[str], now_s: int) -> Message:
        """The REPLY about these parts and all instances that are left out."""
        sources = {key: self.work.parts[key] for key in in_order(keys)}
        lines: dict[str, list[Line]] = {}
        for key, part in sources.items():
            present = attendees_of(part)
            named = _delegated_to(self.mine[key]) if partstat_of(self.mine[key]) == "DELEGATED" else []
            lines[key] = [self.mine[key], *(present[address] for address in named if address in present)]
        for key, part in self.declined.items():
            sources[key] = part
            lines[key] = [with_params(attendees_of(part)[self.address], {"PARTSTAT": "DECLINED"})]
        comments = {key: self._comments(key) for key in sources if key not in self.declined}
        return _reply(self.work, self.address, sources, now_s, lines=lines, comments=comments)

    def _comments(self, key: str) -> list[Line]:
        """What he wrote newly: it travels in the REPLY."""
        if self.old is None:
            return []
        part = self.old.parts.get(key) or self.old.master
        known = set() if part is None else {line.value.strip() for line in part.all("COMMENT")}
        return [line for line in self.work.parts[key].all("COMMENT") if line.value.strip() not in known]

    def to_delegates(self, who: Who, now_s: int) -> list[Message]:
        """A REQUEST to each new delegate, with what he is to attend instead."""
        from dav.scheduling.organizer import view_for

        found = []
        for delegate in dict.fromkeys(address for added in self.delegated.values() for address in added):
            if who.has(delegate) or delegate == self.work.organizer:
                continue
            calendar = view_for(self.work, delegate, who=who, method="REQUEST", now_s=now_s)
            if calendar is None:
                continue
            keys = [key for key, part in self.work.parts.items() if delegate in attendees_of(part)]
            lines = self.work.all_attendees()
            found.append(
                Message(
                    "REQUEST", self.address, delegate, self.work.uid, self.work.kind,
                    "" if MASTER in keys else ",".join(in_order(keys)), self.work.sequence, calendar, ("new",),
                    past=is_past(self.work, keys, now_s), sender_name=_name(lines[self.address][0][1]),
                    recipient_name=_name(lines[delegate][0][1]), summary=_summary(self.work.parts[keys[0]], self.work),
                )
            )  # fmt: skip
        return found


def _reply(
    obj: SchedulingObject,
    address: str,
    sources: Mapping[str, Component],
    now_s: int,
    *,
    partstat: str | None = None,
    lines: Mapping[str, list[Line]] | None = None,
    comment: str = "",
    comments: Mapping[str, list[Line]] | None = None,
) -> Message:
    """The REPLY of one address about these components. partstat: in place of what the components say."""
    if lines is None:
        lines = {key: [attendees_of(part)[address]] for key, part in sources.items()}
    if partstat is not None:
        lines = {key: [with_params(line, {"PARTSTAT": partstat}) for line in own] for key, own in lines.items()}
    calendar = _reply_calendar(obj, sources, lines, now_s, comment=comment, comments=comments or {})
    organizer = _organizer_line(obj)
    keys = in_order(sources)
    own = next(iter(lines.values()))[0]
    return Message(
        "REPLY", address, address_of(organizer), obj.uid, obj.kind, "" if MASTER in sources else ",".join(keys),
        max(map(number_of, sources.values())), calendar, ("answer",), past=is_past(obj, keys, now_s),
        sender_name=_name(own), recipient_name=_name(organizer), summary=_summary(sources[keys[0]], obj),
    )  # fmt: skip


def _organizer_line(obj: SchedulingObject) -> Line:
    for part in obj.parts.values():
        line = part.first("ORGANIZER")
        if line is not None:
            return line
    return make_line("ORGANIZER", "")


def _name(line: Line) -> str:
    return " ".join(clean(line.param("CN") or "").split())


def _summary(part: Component, obj: SchedulingObject) -> str:
    line = part.first("SUMMARY") or (None if obj.master is None else obj.master.first("SUMMARY"))
    return "" if line is None else line.text


def _reply_calendar(
    obj: SchedulingObject,
    sources: Mapping[str, Component],
    lines: Mapping[str, list[Line]],
    now_s: int,
    *,
    comment: str = "",
    comments: Mapping[str, list[Line]] = {},
    extra: Mapping[str, str] = {},
) -> bytes:
    """The VCALENDAR of a REPLY: one component for each answer, with the time zones that they need (RFC 5546 §3.2.3)."""
    components = []
    for key in in_order(sources):
        part = sources[key]
        told = _TOLD + (_TOLD_OF_TASKS if part.name == "VTODO" else ())
        made = [make_line("UID", escape(obj.uid)), make_line("DTSTAMP", utc_text(now_s))]
        made.append(make_line("SEQUENCE", str(number_of(part))))
        made += [line for name in ("RECURRENCE-ID", *told) for line in part.all(name)[:1]]
        if obj.organizer:
            made.append(_outgoing(part.first("ORGANIZER") or _organizer_line(obj)))
        made += [_outgoing(line) for line in lines[key]]
        made += comments.get(key, [])
        text = comment.strip()[:COMMENT_CHARS_MAX]
        if text:
            made.append(make_line("COMMENT", escape(text)))
        made += [make_line(name, escape(value)) for name, value in extra.items()]
        components.append((part.name, made))
    used = {tzid.strip() for _, made in components for line in made if (tzid := line.param("TZID"))}
    parts = [fold("BEGIN:VCALENDAR"), fold("VERSION:2.0"), fold(f"PRODID:{PRODID}"), fold("METHOD:REPLY")]
    for item in obj.calendar.components:
        if item.name == "VTIMEZONE" and (item.value("TZID") or "").strip() in used:
            _write(item.name, item.items, parts)
    for name, made in components:
        _write(name, made, parts)
    parts.append(fold("END:VCALENDAR"))
    return with_all_zones(b"".join(parts))


def _outgoing(line: Line) -> Line:
    line = with_params(line, _NOT_SENT)
    address = address_of(line)
    # CLIENT "mailto:Name <address>" is not understood by mail programs.
    return with_value(line, address) if "<" in line.value and address.startswith("mailto:") else line


def _write(name: str, items: Iterable[Line | Component], parts: list[bytes]) -> None:
    parts.append(fold(f"BEGIN:{clean(name)}"))
    for item in items:
        if isinstance(item, Component):
            _write(item.name, item.items, parts)
        elif item.name:
            parts.append(fold(clean(f"{item.head}:{item.value}")))
    parts.append(fold(f"END:{clean(name)}"))
