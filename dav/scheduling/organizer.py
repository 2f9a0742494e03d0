"""The organizer's side (RFC 6638 §3.2.1): what a change of a meeting asks for, and what each guest may see of it.

Pure. Rules where the RFCs leave room, all tested:

- What guests answered is the server's: PARTSTAT, RSVP and SCHEDULE-STATUS of others that a client sends are ignored,
  since clients send back what they read before the answers came. Only a new time asks everybody again (§3.2.8).
- SEQUENCE rises by the server when the client did not raise it, on the component that changed: for time, recurrence,
  status, place, and when a guest is taken out, so that he can be asked in again. It never falls.
- A guest is told of what he is invited to, and of nothing else. Only other guests come or go: those here have it
  quietly, those elsewhere not at all.
- RANGE=THISANDFUTURE goes to people here as it is. Mail programs do not know it: for them the next instances are
  written out one by one, and the last of these carries the RANGE (`for_mail`).
- An EXDATE, or a cancelled override, is a CANCEL for that instance; many at once are an update of the series.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from dav.ical.lines import Component, Line
from dav.scheduling.addresses import Who, normalise
from dav.scheduling.diff import State, change_of, compare, facts_of
from dav.scheduling.edit import add_line, copy_tree, replace_line, set_property, with_params
from dav.scheduling.instances import instance_of, is_future, only_series
from dav.scheduling.model import (
    MASTER,
    SchedulingObject,
    address_of,
    agent_of,
    attendees_of,
    number_of,
    partstat_of,
    scheduling_object,
)
from dav.scheduling.plan import Message, Options, Plan
from dav.scheduling.views import Writer, cancel_parts, for_mail, is_cancelled, is_past, view_for

__all__ = ["for_mail", "plan_put", "plan_removal", "quiet_updates", "request_for", "view_for"]

# Instances that are cancelled one by one; of more the series says it.
CANCELS_MAX = 30
_DELEGATION = ("DELEGATED-TO", "DELEGATED-FROM")
_NO_STATUS: dict[str, str | None] = {"SCHEDULE-STATUS": None}

# ---- single messages ----


def request_for(
    obj: SchedulingObject,
    attendee: str,
    who: Who,
    *,
    now_s: int,
    changes: Collection[str] = ("forced",),
    quiet: bool = False,
) -> Message | None:
    """The whole meeting as this attendee may see it, as a REQUEST; None when he is invited to nothing."""
    return Writer(who, now_s).request(obj, attendee, changes, quiet=quiet, past=is_past(obj, now_s))


def quiet_updates(
    obj: SchedulingObject, who: Who, *, but: Collection[str], here: Collection[str] | None = None, now_s: int
) -> tuple[Message, ...]:
    """After a REPLY: the meeting for the other attendees, so that theirs show the answer (RFC 6638 §4.2).

    here: those who can be told, None for all of them.
    """
    writer = Writer(who, now_s)
    past = is_past(obj, now_s)
    found = []
    for attendee, lines in obj.all_attendees().items():
        if attendee in but or (here is not None and attendee not in here) or who.has(attendee):
            continue
        if all(agent_of(line) != "SERVER" for _, line in lines):
            continue
        message = writer.request(obj, attendee, ("answer",), quiet=True, past=past)
        if message is not None:
            found.append(message)
    return tuple(found)


# ---- plans ----


def plan_put(old: SchedulingObject | None, new: SchedulingObject, who: Who, options: Options) -> Plan:
    """What a write of an organizer's object asks for (reference, section 3). old: the stored one, also the organizer's.

    Pure: neither object is changed. Never raises: what it cannot read it leaves alone.
    """
    work = scheduling_object(copy_tree(new.calendar))
    forced = _take_force_send(work, who)
    messages: tuple[Message, ...] = ()
    if old is not None or not options.silent:
        change = _Change(old, work, who, options)
        work = change.edit()
        messages = () if options.silent else change.messages(forced)
    body = work.to_bytes()
    return Plan("organizer", body, body != new.to_bytes(), True, messages)


def plan_removal(old: SchedulingObject, who: Who, options: Options) -> Plan:
    """What taking an organizer's object away asks for: a CANCEL to everybody who is invited to something."""
    if options.silent:
        return Plan("organizer", None, tag=False)
    return Plan("organizer", None, tag=False, messages=_Change(old, None, who, options).messages(frozenset()))


def _take_force_send(work: SchedulingObject, who: Who) -> frozenset[str]:
    """Takes SCHEDULE-FORCE-SEND away (it is never stored); the addresses that asked for a REQUEST.

    RFC 6638 §7.2: an unknown value is told by the status 2.3.
    """
    forced = set()
    for part in work.parts.values():
        for line in [*part.all("ATTENDEE"), *part.all("ORGANIZER")]:
            value = line.param("SCHEDULE-FORCE-SEND")
            if value is None:
                continue
            changes: dict[str, str | None] = {"SCHEDULE-FORCE-SEND": None}
            address = address_of(line)
            if line.name == "ATTENDEE" and agent_of(line) == "SERVER" and not who.has(address):
                if value.strip().upper() == "REQUEST":
                    forced.add(address)
                else:
                    changes["SCHEDULE-STATUS"] = "2.3"
            replace_line(part, line, with_params(line, changes))
    return frozenset(forced)


@dataclass(frozen=True, slots=True)
class _News:
    """What one guest, or all who are invited to the same parts, has to be told.

    whole: "cancelled" or "removed" when he is invited to nothing any more, or to other parts only. cancels: keys of
    instances. changes: names of what is new in what stands. about: the parts in which it is.
    """

    whole: str = ""
    cancels: tuple[str, ...] = ()
    changes: frozenset[str] = frozenset()
    about: frozenset[str] = frozenset()


class _Change:
    """One change of a meeting, looked at from both ends. new None: it is removed."""

    def __init__(self, old: SchedulingObject | None, new: SchedulingObject | None, who: Who, options: Options) -> None:
        self.who, self.options = who, options
        self.before, self.after = State(old), State(new)
        self.old, self.new = old, new
        self.old_live, self.new_live = self._live(old), self._live(new)
        self._pasts: dict[frozenset[str], bool] = {}
        # Kept: the writer tells components apart by identity.
        self._cancelled_parts: dict[str, Component | None] = {}
        self._news: dict[tuple[frozenset[str], frozenset[str]], _News] = {}

    def _live(self, obj: SchedulingObject | None) -> dict[str, frozenset[str]]:
        """Guests that this server speaks to → the parts that they are invited to and that take place."""
        found: dict[str, set[str]] = {}
        for key, part in {} if obj is None else obj.parts.items():
            if is_cancelled(part):
                continue
            for address in self._served(part):
                found.setdefault(address, set()).add(key)
        return {address: frozenset(keys) for address, keys in found.items()}

    # -- the body --

    def edit(self) -> SchedulingObject:
        """The new object with what is the server's business: answers, SEQUENCE. Edits and returns it."""
        new = self.new
        assert new is not None
        if not any(self._served(part) for state in (self.before, self.after) for part in state.parts.values()):
            return new
        if self.old is not None:
            self._restore_delegates(self.old, new)
            new = self._restore_answers(self.old, new)
            self.new, self.after = new, State(new)
            self.new_live = self._live(new)
        self._answers(new)
        if self.old is not None:
            self._sequences(self.old, new)
        return new

    def _restore_delegates(self, old: SchedulingObject, new: SchedulingObject) -> None:
        """A REPLY may have added a delegate that the client has not seen: he stays."""
        for key, part in new.parts.items():
            stored = old.parts.get(key)
            if stored is None:
                continue
            had, has = attendees_of(stored), attendees_of(part)
            for address, line in had.items():
                if address in has:
                    continue
                for value in map(normalise, line.param_values("DELEGATED-FROM")):
                    theirs, ours = has.get(value), had.get(value)
                    if theirs is None or ours is None or theirs.param("DELEGATED-TO") is not None:
                        continue
                    if address in map(normalise, ours.param_values("DELEGATED-TO")):
                        add_line(part, line)
                        break

    def _restore_answers(self, old: SchedulingObject, new: SchedulingObject) -> SchedulingObject:
        """Overrides that say nothing but answers to single instances stay when the client has not seen them."""
        lost = [key for key in old.parts if key != MASTER and key not in new.parts]
        if not lost or old.master is None or new.master is None:
            return new
        change = change_of(self.before, self.after, MASTER)
        if change is None or change.moved:
            return new
        bare = only_series(old)
        at = next(at for at, item in enumerate(new.calendar.items) if item is new.master)
        added = False
        for key in lost:
            part = old.parts[key]
            plain = instance_of(bare, key)
            made = None if plain is None else instance_of(new, key)
            if plain is None or made is None:
                continue
            facts = [facts_of(item, old.zones, old.start, override=True) for item in (plain, part)]
            if compare(*facts).grade != "none" or _answers_of(plain) == _answers_of(part):
                continue
            answers = attendees_of(part)
            for address, line in attendees_of(made).items():
                if address in answers:
                    replace_line(made, line, _with_answer(line, answers[address]))
            at += 1
            new.calendar.items.insert(at, made)
            added = True
        return scheduling_object(new.calendar) if added else new

    def _answers(self, new: SchedulingObject) -> None:
        for key, part in new.parts.items():
            stored = self.before.effective(key)
            change = change_of(self.before, self.after, key)
            server = {} if stored is None else attendees_of(stored)
            for address, line in attendees_of(part).items():
                if self.who.has(address) or agent_of(line) != "SERVER":
                    continue
                known = server.get(address)
                if known is None or (change is not None and change.moved):
                    # RFC 6638 §3.2.8: everybody is asked anew.
                    fresh: dict[str, str | None] = {} if line.param("SCHEDULE-STATUS") == "2.3" else _NO_STATUS
                    edited = with_params(line, fresh)
                    if partstat_of(line) != "NEEDS-ACTION":
                        edited = with_params(edited, {"PARTSTAT": "NEEDS-ACTION", "RSVP": "TRUE"})
                elif agent_of(known) != "SERVER":
                    continue
                else:
                    edited = _with_answer(line, known)
                replace_line(part, line, edited)

    def _sequences(self, old: SchedulingObject, new: SchedulingObject) -> None:
        if self.options.calendar_server:
            raised = old.sequence + 1 if new.sequence <= old.sequence and self._is_told() else 0
            for key, part in new.parts.items():
                stored = old.parts.get(key) or old.master
                wanted = max(raised, 0 if stored is None else number_of(stored))
                if number_of(part) < wanted:
                    set_property(part, "SEQUENCE", str(wanted))
            return
        least: dict[str, int] = {}
        for key in new.parts:
            stored = old.parts.get(key) or old.master
            least[key] = (0 if stored is None else number_of(stored)) + self._is_major(key)
        if MASTER in least:
            # What becomes of an instance whose override is gone is said by the series: with a newer number.
            gone = [part for key, part in old.parts.items() if key not in new.parts and self._is_major(key)]
            least[MASTER] = max([least[MASTER], *(number_of(part) + 1 for part in gone)])
        everything = 0
        for address, keys in self.old_live.items():
            left = self.new_live.get(address)
            if left and MASTER in keys and MASTER not in left:
                # He gets a CANCEL of all and is then invited to single instances: these must be newer.
                everything = old.sequence + 1
        for key, part in new.parts.items():
            wanted = max(least[key], everything)
            if number_of(part) < wanted:
                set_property(part, "SEQUENCE", str(wanted))

    def _is_told(self) -> bool:
        """Whether anything has changed that somebody hears of."""
        keys = {*self.before.parts, *self.after.parts}
        changes = [change_of(self.before, self.after, key) for key in keys]
        return any(change is None or change.grade != "none" for change in changes)

    def _is_major(self, key: str) -> bool:
        """Whether SEQUENCE rises for a part or an instance. Also for a guest that leaves: he may be asked in again."""
        change = change_of(self.before, self.after, key)
        if change is None or change.grade == "major":
            return True
        return bool(self._served(self.before.effective(key)) - self._served(self.after.effective(key)))

    def _served(self, part: Component | None) -> set[str]:
        """The guests that this server speaks to for the organizer (SCHEDULE-AGENT)."""
        guests = {} if part is None else attendees_of(part)
        return {address for address, line in guests.items() if agent_of(line) == "SERVER" and not self.who.has(address)}

    # -- the messages --

    def messages(self, forced: frozenset[str]) -> tuple[Message, ...]:
        """All messages: to each guest his CANCEL first, then what still stands."""
        writer = Writer(self.who, self.options.now_s)
        left_out = self.after.exdates - self.before.exdates
        found: list[Message] = []
        for address in dict.fromkeys([*self._order(self.old), *self._order(self.new)]):
            had = self.old_live.get(address, frozenset())
            has = self.new_live.get(address, frozenset())
            if not had and not has:
                continue
            news = self._news_for(had, has)
            changes, about = news.changes, news.about
            if news.whole:
                found.append(self._cancel_whole(writer, address, news.whole))
            found.extend(self._cancel_instances(writer, address, news.cancels))
            if not changes and address in forced and has:
                changes, about = frozenset({"forced"}), has
            if changes and self.new is not None:
                quiet = changes == {"attendees"} and address not in forced
                # Its clients are told of the instances that have changed, where the series has not.
                some = self.options.calendar_server and MASTER in had and not left_out and about < has
                only = about if some and MASTER not in about else ()
                message = writer.request(self.new, address, changes, quiet=quiet, past=self._past(about), only=only)
                if message is not None:
                    found.append(self._announced(message))
            elif news.cancels and left_out and self.options.calendar_server and self.new is not None:
                # Its clients look for the series beside the CANCEL for an instance.
                message = writer.request(self.new, address, ("recurrence",), quiet=True, past=self._past(has))
                if message is not None:
                    found.append(self._announced(message))
        return tuple(found)

    def _announced(self, message: Message) -> Message:
        """What is quiet, as Apple's Calendar Server has it: with an inbox item for people here."""
        if not message.quiet or not self.options.calendar_server:
            return message
        return replace(message, quiet=False, here=True)

    def _past(self, keys: frozenset[str]) -> bool:
        """Whether nothing of these parts is still to come, as it was and as it is."""
        if keys not in self._pasts:
            self._pasts[keys] = all(
                is_past(state.obj, self.options.now_s, keys)
                for state in (self.before, self.after)
                if state.obj is not None
            )
        return self._pasts[keys]

    @staticmethod
    def _order(obj: SchedulingObject | None) -> Iterable[str]:
        return () if obj is None else obj.all_attendees()

    def _news_for(self, had: frozenset[str], has: frozenset[str]) -> _News:
        found = self._news.get((had, has))
        if found is None:
            found = self._news[had, has] = self._find_news(had, has)
        return found

    def _find_news(self, had: frozenset[str], has: frozenset[str]) -> _News:
        if not had:
            return _News(changes=frozenset({"new"}), about=has)
        if not has:
            return _News(whole="cancelled" if all(map(self._off, had)) else "removed")
        if MASTER in had and MASTER not in has:
            return _News(whole="removed", changes=frozenset({"new", "instance"}), about=has)
        news: dict[str, set[str]] = {}
        for key in sorted(has):  # the series first
            invited = key in had or (key != MASTER and MASTER in had and key not in self.before.parts)
            news[key] = self._names(key) if invited else {"recurrence" if key == MASTER else "instance"}
        left_out = self.after.exdates - self.before.exdates
        if len(left_out) > CANCELS_MAX:
            left_out = frozenset()
            news[MASTER] = {"recurrence", *news.get(MASTER, ())}
        lost = left_out | {key for key in (*had, *self.after.parts) if key not in has and key != MASTER}
        cancels = []
        for key in sorted(lost):
            if key not in had and (MASTER not in had or key in self.before.parts or not self.before.effective(key)):
                continue  # he was not invited to it
            if key in self.after.parts or key in left_out or MASTER not in has:
                cancels.append(key)
            elif key not in self.after.exdates:
                # The override is gone: the instance is as the series says, or there is none any more.
                news[key] = self._names(key)
        if len(cancels) > CANCELS_MAX:
            cancels = []
            news[MASTER] = {"recurrence", *news.get(MASTER, ())}
        series = news.get(MASTER, set())
        if any(names - series - {"attendees"} for names in news.values()):
            series = series | {"instance"}
        return _News(
            cancels=tuple(cancels),
            changes=frozenset(series.union(*news.values())),
            about=frozenset(key for key, names in news.items() if names),
        )

    def _names(self, key: str) -> set[str]:
        """What is new in a part that he was invited to before and is now."""
        change = change_of(self.before, self.after, key)
        if change is None:
            return {"recurrence"} if key in self.before.parts else {"instance"}
        return set(change.names)

    def _cancel_whole(self, writer: Writer, address: str, reason: str) -> Message:
        assert self.old is not None
        source, removed = self.old, reason == "removed"
        parts = [] if removed or self.new is None else cancel_parts(self.new, address)
        if parts and self.new is not None:
            source, sequence = self.new, max(map(number_of, parts))
        else:
            parts = cancel_parts(self.old, address)
            sequence = max(self.old.sequence + 1, 0 if self.new is None else self.new.sequence)
        keys = [key for key, part in source.parts.items() if key != MASTER and any(part is item for item in parts)]
        past = is_past(self.old, self.options.now_s, keys)
        return writer.cancel(source, address, parts, keys, sequence=sequence, removed=removed, past=past)

    def _cancel_instances(self, writer: Writer, address: str, keys: tuple[str, ...]) -> Iterable[Message]:
        """One CANCEL for what is called off, one for what only he is taken out of."""
        for removed in (False, True):
            parts: dict[str, Component] = {}
            sequence = 0
            for key in keys:
                if self._off(key) is removed:
                    continue
                part = self._instance_part(key)
                if part is None:
                    continue
                parts[key] = part
                stored = self.before.parts.get(key) or self.before.parts.get(MASTER)
                current = self.after.parts.get(key) or self.after.parts.get(MASTER)
                least = 0 if stored is None else number_of(stored) + 1
                sequence = max(sequence, least, 0 if current is None else number_of(current))
            if parts and self.old is not None:
                past = is_past(self.old, self.options.now_s, parts)
                yield writer.cancel(
                    self.old, address, list(parts.values()), tuple(parts), sequence=sequence, removed=removed, past=past
                )

    def _off(self, key: str) -> bool:
        """Whether a part or an instance does not take place for anybody any more."""
        part = self.after.parts.get(key)
        if part is None:
            return key in self.after.exdates or self.after.effective(key) is None
        return key in self.after.exdates or is_cancelled(part)

    def _instance_part(self, key: str) -> Component | None:
        if key not in self._cancelled_parts:
            part = self.before.effective(key)
            if part is not None and is_future(part) and key not in self.after.parts:
                # Only this one is left out; the others behind it stay.
                part = copy_tree(part)
                line = part.all("RECURRENCE-ID")[0]
                replace_line(part, line, with_params(line, {"RANGE": None}))
            self._cancelled_parts[key] = part
        return self._cancelled_parts[key]


def _answers_of(part: Component) -> dict[str, str]:
    return {address: partstat_of(line) for address, line in attendees_of(part).items()}


def _with_answer(line: Line, known: Line) -> Line:
    """The client's line with what the server knows of the answer. Equal in meaning stays as it was written."""
    if any(known.param(name) is not None and line.param(name) is None for name in _DELEGATION):
        return known  # the client has not seen the delegation, so it has nothing newer to say of him
    changes: dict[str, str | None] = {}
    if partstat_of(line) != partstat_of(known):
        # The client has not seen the answer. Where it has, it may ask for another one.
        changes = {"PARTSTAT": known.param("PARTSTAT"), "RSVP": known.param("RSVP")}
    # 2.3 is what the server says of this very line.
    if line.param("SCHEDULE-STATUS") != "2.3":
        changes["SCHEDULE-STATUS"] = known.param("SCHEDULE-STATUS")
    return with_params(line, changes)
