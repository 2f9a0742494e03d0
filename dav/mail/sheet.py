"""What a mail says, in words and in order, before it is text or HTML: read from the calendar that it carries."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dav.ical.lines import Component, unescape
from dav.ical.recur import Moment, TooManyInstances, anchored, duration, iter_occurrences, moment
from dav.ical.rrule import Budget, RuleError, parse_rule
from dav.ical.tz import UTC, Zones
from dav.mail.texts import Texts
from dav.mail.words import ZONE_MARK, Clocks, Span, capital, rule_words, short_day_words, span_words, time_words
from dav.scheduling.addresses import mail_of
from dav.scheduling.model import MASTER, SchedulingObject, address_of, attendees_of, exdates_of, partstat_of

if TYPE_CHECKING:
    from dav.mail.links import Links
    from storage.records import Outgoing

TITLE_CHARS_MAX = 200
_NAME_CHARS_MAX = 80
_PLACE_CHARS_MAX = 300
_LINK_CHARS_MAX = 2_000
_TEXT_CHARS_MAX = 4_000
_NAMES_MAX = 8
_DATES_MAX = 6
_STEPS_MAX = 20_000
_LOOK_AHEAD_S = 3 * 366 * 86_400
_WEB = re.compile(r"https?://[!#-;=?-~]+", re.ASCII)
_PHONE = re.compile(r"tel:[+0-9().;=a-zA-Z-]{3,60}", re.ASCII)
_OFFSET = re.compile(r",? ?UTC[+−][0-9:]+")
# Whoever writes them can make a line read otherwise than it is.
_INVISIBLE = frozenset("\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\u2028\u2029")


@dataclass(frozen=True, slots=True)
class Row:
    """One fact. link: where its text leads, "" for nowhere; old: what it was before, for changes."""

    label: str
    lines: tuple[str, ...]
    link: str = ""
    old: tuple[str, ...] = ()
    soft: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sheet:
    """A whole mail. mood: "invite", "update", "cancel", "yes", "maybe", "no", "other": for its colour.

    subject: of the mail. headline: who does what. title: of the event. leaf: (month, day, weekday) for the eye.
    note: what a person wrote with it. changes: what is new. rows: how it is. details: DESCRIPTION. ask: the question
    above the links. hint, foot: small print.
    """

    mood: str
    subject: str
    headline: str
    title: str
    leaf: tuple[str, str, str] | None = None
    note: str = ""
    changes: tuple[Row, ...] = ()
    rows: tuple[Row, ...] = ()
    details: str = ""
    ask: str = ""
    links: Links | None = None
    answers: tuple[str, str, str] = ("", "", "")
    hint: str = ""
    foot: tuple[str, ...] = ()
    struck: bool = False
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a calendar says of an event, in the reader's words."""

    title: str
    when: tuple[str, ...]
    repeats: str
    moved: tuple[tuple[str, str], ...]
    without: tuple[tuple[str, str], ...]
    place: str
    link: str
    details: str
    people: tuple[tuple[str, str], ...]
    organizer: tuple[str, str]
    status: str
    first: Span | None
    time_key: str


def one_line(text: str, chars_max: int) -> str:
    """Text of a stranger for one line: without what could end it, hide in it, or turn it round."""
    if not text.isascii() or not text.isprintable():
        text = "".join(
            " " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in text if char not in _INVISIBLE
        )
    text = " ".join(text.split())
    return text if len(text) <= chars_max else text[: chars_max - 1].rstrip() + "…"


def many_lines(text: str, chars_max: int) -> str:
    """Text of a stranger for a paragraph: lines end in \\n, never more than one empty one."""
    lines = [one_line(line, chars_max) for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return text if len(text) <= chars_max else text[: chars_max - 1].rstrip() + "…"


# ---- facts ----


def facts_of(obj: SchedulingObject, texts: Texts, clocks: Clocks, *, now_s: int) -> Facts:
    """What the reader is told of an object: of its series, or of its first instance when there is no more."""
    main = obj.master or next(iter(obj.parts.values()))
    span = span_of(main, obj.zones)
    series = obj.master is not None and obj.obj.recurs
    repeats = ""
    moved: tuple[tuple[str, str], ...] = ()
    without: tuple[tuple[str, str], ...] = ()
    when = tuple(span_words(span, texts, clocks, zone_of_series=series)) if span is not None else ()
    if series:
        repeats = _repeats(obj, main, texts, clocks, now_s)
        without = _without(obj, texts)
    if series or obj.master is None:
        moved = _overrides(obj, texts, clocks, series=series, main=main)
    return Facts(
        title=_title(main, texts),
        when=when,
        repeats=repeats,
        moved=moved,
        without=without,
        place=_text(main, "LOCATION", _PLACE_CHARS_MAX),
        link=link_of(main),
        details=_long(main, "DESCRIPTION"),
        people=_people(main),
        organizer=_organizer(main),
        status=(main.value("STATUS") or "").strip().upper(),
        first=span,
        time_key=_time_key(main, span),
    )


def span_of(component: Component, zones: Zones) -> Span | None:
    """When a component is; None when it does not say so in a way that can be read."""
    start_line = component.first("DTSTART")
    end_line = component.first("DUE" if component.name == "VTODO" else "DTEND")
    try:
        if start_line is None:
            return Span(moment(end_line, zones), due=True) if end_line is not None else None
        start = moment(start_line, zones)
        if end_line is not None:
            return Span(start, anchored(moment(end_line, zones), start))
        length = component.value("DURATION")
        if length:
            # To the second for dates as well: their nominal days are whole ones.
            return Span(start, start.at(duration(length).end_s(start, UTC), UTC))
    except ValueError:
        return None
    return Span(start)


def _time_key(component: Component, span: Span | None) -> str:
    if span is None:
        return ""
    end = span.end.seconds(UTC) if span.end is not None else 0
    return f"{span.start.kind}{span.start.seconds(UTC)}-{end}"


def _repeats(obj: SchedulingObject, master: Component, texts: Texts, clocks: Clocks, now_s: int) -> str:
    rules = master.all("RRULE")
    start = obj.start
    if len(rules) == 1 and start is not None and not master.all("RDATE") and not master.all("EXRULE"):
        try:
            words = rule_words(parse_rule(rules[0].value), start, texts)
        except RuleError:
            words = None
        if words:
            return capital(words)
    return _next_dates(obj, texts, clocks, now_s)


def _next_dates(obj: SchedulingObject, texts: Texts, clocks: Clocks, now_s: int) -> str:
    """The next dates of a series that has no words; of one that is over, the first."""
    for first_s in (now_s, -(1 << 42)):
        starts: list[Moment] = []
        budget = Budget(_STEPS_MAX)
        with suppress(TooManyInstances):
            for item in iter_occurrences(obj.obj, first_s, now_s + _LOOK_AHEAD_S, floating_zone=UTC, budget=budget):
                if item.start_s >= first_s:
                    starts.append(item.start)
                if len(starts) > 4 * _DATES_MAX:
                    break
        if starts:
            starts.sort(key=lambda at: at.seconds(UTC))
            words = list(dict.fromkeys(_short(at, texts, clocks) for at in starts))
            if len(words) > _DATES_MAX:
                return texts.say("On several dates: {dates}, …", dates=", ".join(words[:_DATES_MAX]))
            return texts.say("On several dates: {dates}", dates=", ".join(words))
    return texts.say("On several dates")


def _short(at: Moment, texts: Texts, clocks: Clocks) -> str:
    """ "Mar 4, 2026", with the time when it has one, in the zone of the first line of span_words."""
    local = at.local
    if at.zone is not None:
        zone = clocks.reader or (clocks.home if at.kind == "utc" and clocks.home is not None else at.zone)
        local = zone.to_local(at.seconds(UTC))
    day = short_day_words(local, texts)
    return day if at.kind == "date" else f"{day} {time_words(local, texts)}"


def _without(obj: SchedulingObject, texts: Texts) -> tuple[tuple[str, str], ...]:
    """(key, day) of each instance that is left out, by date."""
    found = []
    for key, _ in exdates_of(obj.master, obj.zones, obj.start):
        found.append((key, _key_words(key, obj, texts)))
    return tuple(sorted(dict(found).items()))


def _key_words(key: str, obj: SchedulingObject, texts: Texts) -> str:
    from dav.scheduling.instances import moment_of

    at = moment_of(key, obj.start)
    return key[:20] if at is None else short_day_words(at.local, texts)


def _overrides(
    obj: SchedulingObject, texts: Texts, clocks: Clocks, *, series: bool, main: Component
) -> tuple[tuple[str, str], ...]:
    """(key, what it says) of each instance with its own words: where a series differs, or all there are."""
    found = []
    for key, part in sorted(obj.parts.items()):
        if key == MASTER or (part is main and len(obj.parts) == 1):
            continue
        day = _key_words(key, obj, texts)
        if (part.value("STATUS") or "").strip().upper() == "CANCELLED":
            found.append((key, texts.say("{day}: canceled", day=day)))
            continue
        span = span_of(part, obj.zones)
        when = "; ".join(span_words(span, texts, clocks)[:1]) if span is not None else ""
        if not series:
            found.append((key, when or day))
            continue
        others = [
            text
            for name in ("SUMMARY", "LOCATION")
            if (text := _text(part, name, 80)) and text != _text(main, name, 80)
        ]
        what = "; ".join(text for text in (when, *others) if text)
        found.append((key, texts.say("{day}: {what}", day=day, what=what)))
    return tuple(found)


def _title(component: Component, texts: Texts) -> str:
    return _text(component, "SUMMARY", TITLE_CHARS_MAX) or texts.say("(no title)")


def _text(component: Component, name: str, chars_max: int) -> str:
    line = component.first(name)
    return "" if line is None else one_line(unescape(line.value[: 8 * chars_max]), chars_max)


def _long(component: Component, name: str) -> str:
    line = component.first(name)
    return "" if line is None else many_lines(unescape(line.value[: 8 * _TEXT_CHARS_MAX]), _TEXT_CHARS_MAX)


def link_of(component: Component) -> str:
    """Where to join or read more: the first web address or number of CONFERENCE (RFC 7986 §5.11) or URL, or ""."""
    for line in (*component.all("CONFERENCE"), *component.all("X-GOOGLE-CONFERENCE"), *component.all("URL")):
        value = line.value.strip()
        if len(value) <= _LINK_CHARS_MAX and (_WEB.fullmatch(value) or _PHONE.fullmatch(value)):
            return value
    return ""


def _organizer(component: Component) -> tuple[str, str]:
    line = component.first("ORGANIZER")
    if line is None:
        return "", ""
    return one_line(line.param("CN") or "", _NAME_CHARS_MAX), one_line(mail_of(address_of(line)) or "", 320)


def _people(component: Component) -> tuple[tuple[str, str], ...]:
    """(address, name or address) of the guests, without rooms and things."""
    found = []
    for address, line in attendees_of(component).items():
        if (line.param("CUTYPE") or "").upper() in ("ROOM", "RESOURCE"):
            continue
        mail = mail_of(address) or ""
        found.append((address, one_line(line.param("CN") or mail or address, _NAME_CHARS_MAX)))
    return tuple(found)


# ---- the sheet ----


@dataclass(frozen=True, slots=True)
class _Told:
    """All that the functions below need. before: what the reader was told last, in the same words.

    actor: the name of who wrote it for the sender, "" for the sender alone.
    """

    item: Outgoing
    obj: SchedulingObject
    facts: Facts
    before: Facts | None
    texts: Texts
    clocks: Clocks
    now_s: int
    actor: str = ""

    @property
    def owner(self) -> str:
        """The name of who it is from, or the address."""
        return one_line(self.item.sender_name, _NAME_CHARS_MAX) or self.item.sender

    @property
    def sender(self) -> str:
        """Who sends it, for whom."""
        if not self.actor:
            return self.owner
        return self.texts.say("{name} on behalf of {owner}", name=self.actor, owner=self.owner)

    @property
    def task(self) -> bool:
        return self.item.kind == "VTODO"


def sheet_for(
    item: Outgoing,
    obj: SchedulingObject,
    *,
    before: SchedulingObject | None,
    texts: Texts,
    clocks: Clocks,
    links: Links | None,
    now_s: int,
    actor: str = "",
) -> Sheet:
    """The words of a mail. obj: its calendar, read; before: that of the message before to the same reader.

    actor: the name of who wrote it for the sender.
    """
    facts = facts_of(obj, texts, clocks, now_s=now_s)
    old = facts_of(before, texts, clocks, now_s=now_s) if before is not None else None
    told = _Told(item, obj, facts, old, texts, clocks, now_s, one_line(actor, _NAME_CHARS_MAX))
    if item.method == "REPLY":
        return _reply(told)
    if item.method == "CANCEL":
        return _cancel(told)
    if item.method in ("COUNTER", "DECLINECOUNTER", "REFRESH"):
        return _other(told)
    return _invitation(told, links)


def _invitation(told: _Told, links: Links | None) -> Sheet:
    say, facts, item = told.texts.say, told.facts, told.item
    new = "new" in item.changes or ("forced" in item.changes and told.before is None)
    update = not new and (told.before is not None or bool(item.changes))
    if item.method == "PUBLISH":
        mood, subject = "other", say("Event: {title}", title=facts.title)
        headline = say("{name} shares an event", name=told.sender)
    elif update:
        mood, subject = "update", say("Updated invitation: {title}", title=facts.title)
        headline = say("{name} has changed this event", name=told.sender)
        if told.task:
            headline = say("{name} has changed this task", name=told.sender)
    else:
        mood, subject = "invite", say("Invitation: {title}", title=facts.title)
        headline = say("{name} invites you", name=told.sender)
        if told.task:
            headline = say("{name} gives you a task", name=told.sender)
    changes = _changes(told) if update else ()
    hint = ""
    if item.method != "PUBLISH":
        hint = (
            say("Your calendar program can answer, too.")
            if links is not None
            else say("Answer in your calendar program, or reply to this mail.")
        )
    return Sheet(
        mood=mood,
        subject=subject,
        headline=headline,
        title=facts.title,
        leaf=_leaf(facts.first, told),
        changes=changes,
        rows=_rows(told),
        details=facts.details,
        ask=say("Will you be there?") if links is not None and not told.task else "",
        links=links,
        answers=(say("Accept"), say("Maybe"), say("Decline")),
        hint=hint,
        foot=_foot(told),
        labels=_labels(told.texts),
    )


def _cancel(told: _Told) -> Sheet:
    say, facts, item = told.texts.say, told.facts, told.item
    if item.recurrence:
        dates = _cancelled_dates(told)
        subject = say("Canceled: {title} ({dates})", title=facts.title, dates=_few(dates, told.texts))
        headline = told.texts.count(
            "{name} has canceled this date", "{name} has canceled these dates", len(dates), name=told.sender
        )
        note = say("Everything else stays as it is.")
    else:
        subject = say("Canceled: {title}", title=facts.title)
        headline = say("{name} has canceled this event", name=told.sender)
        if told.task:
            headline = say("{name} has withdrawn this task", name=told.sender)
        note = ""
        if "removed" in item.changes:
            headline = say("You are no longer invited by {name}", name=told.sender)
            note = say("The event may still take place without you.")
    return Sheet(
        mood="cancel",
        subject=subject,
        headline=headline,
        title=facts.title,
        leaf=_leaf(facts.first, told),
        rows=(*_comment_row(told), *_rows(told, people=False)),
        hint=note,
        foot=_foot(told),
        struck=True,
        labels=_labels(told.texts),
    )


def _cancelled_dates(told: _Told) -> list[str]:
    keys = [key for key in told.item.recurrence.split(",") if key]
    return [_key_words(key, told.obj, told.texts) for key in keys]


def _reply(told: _Told) -> Sheet:
    say, facts = told.texts.say, told.facts
    answers = _answers(told)
    states = {state for _, state in answers}
    state = states.pop() if len(states) == 1 else ""
    kinds = {
        "ACCEPTED": ("yes", say("Accepted: {title}", title=facts.title), say("{name} has accepted", name=told.sender)),
        "TENTATIVE": (
            "maybe",
            say("Tentatively accepted: {title}", title=facts.title),
            say("{name} may come", name=told.sender),
        ),
        "DECLINED": ("no", say("Declined: {title}", title=facts.title), say("{name} has declined", name=told.sender)),
        "DELEGATED": (
            "other",
            say("Delegated: {title}", title=facts.title),
            say("{name} sends somebody else", name=told.sender),
        ),
        "COMPLETED": ("yes", say("Completed: {title}", title=facts.title), say("{name} is done", name=told.sender)),
    }
    mood, subject, headline = kinds.get(
        state, ("other", say("Answer: {title}", title=facts.title), say("{name} has answered", name=told.sender))
    )
    words = {
        "ACCEPTED": say("accepted"),
        "TENTATIVE": say("maybe"),
        "DECLINED": say("declined"),
    }
    rows: list[Row] = list(_comment_row(told))
    dated = [(key, state) for key, state in answers if key != MASTER]
    if dated and (len(answers) > 1 or told.obj.master is not None):
        lines = [
            say("{day}: {what}", day=_key_words(key, told.obj, told.texts), what=words.get(state, state.lower()[:20]))
            for key, state in dated[:_DATES_MAX]
        ]
        rows.append(Row(say("Answers"), tuple(lines)))
    rows += _rows(told, people=False, moved=False)
    return Sheet(
        mood=mood,
        subject=subject,
        headline=headline,
        title=facts.title,
        leaf=_leaf(facts.first, told),
        rows=tuple(rows),
        foot=_foot(told),
        labels=_labels(told.texts),
    )


def _answers(told: _Told) -> list[tuple[str, str]]:
    """(key of part, PARTSTAT) of who answers."""
    found = []
    for key, part in told.obj.parts.items():
        lines = attendees_of(part)
        line = lines.get(f"mailto:{told.item.sender}") or next(iter(lines.values()), None)
        if line is not None:
            found.append((key, partstat_of(line)))
    return found


def _other(told: _Told) -> Sheet:
    say, facts, item = told.texts.say, told.facts, told.item
    changes: tuple[Row, ...] = ()
    if item.method == "COUNTER":
        subject = say("New time proposed: {title}", title=facts.title)
        headline = say("{name} proposes a change", name=told.sender)
        changes = _changes(told) if told.before is not None else ()
    elif item.method == "DECLINECOUNTER":
        subject = say("Proposal declined: {title}", title=facts.title)
        headline = say("{name} keeps it as it was", name=told.sender)
    else:
        subject = say("Please send again: {title}", title=facts.title)
        headline = say("{name} asks for the latest state", name=told.sender)
    return Sheet(
        mood="other",
        subject=subject,
        headline=headline,
        title=facts.title,
        leaf=_leaf(facts.first, told),
        changes=changes,
        rows=(*_comment_row(told), *_rows(told, people=False)),
        foot=_foot(told),
        labels=_labels(told.texts),
    )


def _labels(texts: Texts) -> dict[str, str]:
    return {"changes": texts.say("What has changed"), "details": texts.say("Details"), "was": texts.say("was")}


def _comment_row(told: _Told) -> tuple[Row, ...]:
    for part in told.obj.parts.values():
        text = _long(part, "COMMENT")
        if text:
            return (Row(told.texts.say("Note"), tuple(text.split("\n"))),)
    return ()


def _rows(told: _Told, *, people: bool = True, moved: bool = True) -> tuple[Row, ...]:
    say, facts = told.texts.say, told.facts
    rows: list[Row] = []
    if told.item.method == "CANCEL" and told.item.recurrence:
        dates = _cancelled_dates(told)
        rows.append(Row(say("Canceled"), tuple(_at_most(dates, told.texts))))
    elif told.obj.master is None and len(told.obj.parts) > 1:
        rows.append(Row(say("When"), tuple(_at_most([what for _, what in facts.moved], told.texts))))
    elif facts.when:
        label = say("Due") if facts.first is not None and facts.first.due else say("When")
        first, mark, zone = facts.when[0].partition(ZONE_MARK)
        rows.append(Row(label, (first,), soft=(*((capital(zone),) if mark else ()), *facts.when[1:])))
    if told.item.recurrence == "" and facts.repeats:
        rows.append(Row(say("Repeats"), (facts.repeats,)))
        if facts.without and moved:
            rows.append(Row(say("Not on"), (_few([day for _, day in facts.without], told.texts),)))
        if facts.moved and moved:
            rows.append(Row(say("Different on"), tuple(_at_most([what for _, what in facts.moved], told.texts))))
    if facts.place:
        rows.append(Row(say("Where"), (facts.place,), link=facts.place if _WEB.fullmatch(facts.place) else ""))
    if facts.link and facts.link != facts.place:
        rows.append(Row(say("Link"), (shown_link(facts.link),), link=facts.link))
    name, mail = facts.organizer
    if mail and told.item.method != "REPLY":
        rows.append(Row(say("From"), (f"{name} <{mail}>" if name and name != mail else mail,)))
    if people and len(facts.people) > 1:
        rows.append(Row(say("Guests"), (_guests(facts.people, told.texts),)))
    return tuple(rows)


def shown_link(link: str) -> str:
    """A link as it is read: without its scheme, and not over several lines."""
    text = link.partition("://")[2] if "://" in link else link.partition(":")[2]
    text = text.rstrip("/")
    return text if len(text) <= 60 else text[:59] + "…"


def _guests(people: Sequence[tuple[str, str]], texts: Texts) -> str:
    names = [name for _, name in people]
    if len(names) <= _NAMES_MAX:
        return texts.list(names)
    rest = len(names) - _NAMES_MAX
    return texts.count("{names} and {n} other", "{names} and {n} others", rest, names=", ".join(names[:_NAMES_MAX]))


def _few(days: Sequence[str], texts: Texts) -> str:
    if len(days) <= _DATES_MAX:
        return texts.list(days)
    rest = len(days) - _DATES_MAX
    return texts.count("{names} and {n} other", "{names} and {n} others", rest, names=", ".join(days[:_DATES_MAX]))


def _at_most(lines: Sequence[str], texts: Texts) -> list[str]:
    if len(lines) <= _DATES_MAX + 1:
        return list(lines)
    rest = len(lines) - _DATES_MAX
    return [*lines[:_DATES_MAX], texts.count("and {n} more date", "and {n} more dates", rest)]


# ---- what has changed ----


def _changes(told: _Told) -> tuple[Row, ...]:
    """What is new for the reader: by comparison where we know what was said before, else by name only."""
    if told.before is None:
        return _named_changes(told.item.changes, told.texts)
    say, new, old = told.texts.say, told.facts, told.before
    rows: list[Row] = []

    def compare(label: str, after: Iterable[str], before: Iterable[str]) -> None:
        now, was = tuple(filter(None, after)), tuple(filter(None, before))
        if now != was:
            rows.append(Row(label, now or (say("none any more"),), old=was))

    compare(say("Title"), [new.title], [old.title])
    if new.time_key != old.time_key or (not new.time_key and new.when != old.when):
        compare(say("When"), *_without_same_zone(new.when[:1], old.when[:1]))
    # A list of next dates moves on by itself.
    if (new.time_key == old.time_key or not new.repeats or not old.repeats) or _rule_of(told):
        compare(say("Repeats"), [new.repeats], [old.repeats])
    compare(say("Where"), [new.place], [old.place])
    if new.link != old.link:
        now = (shown_link(new.link),) if new.link else (say("none any more"),)
        rows.append(Row(say("Link"), now, link=new.link, old=(shown_link(old.link),) if old.link else ()))
    known = dict(old.without)
    gone = [day for key, day in new.without if key not in known]
    if gone:
        rows.append(Row(say("No longer on"), (_few(gone, told.texts),)))
    now_out = dict(new.without)
    back = [day for key, day in old.without if key not in now_out]
    if back and new.repeats:
        rows.append(Row(say("Again on"), (_few(back, told.texts),)))
    before_moved = dict(old.moved)
    different = [what for key, what in new.moved if before_moved.get(key) != what]
    if different:
        rows.append(Row(say("Different on"), tuple(_at_most(different, told.texts))))
    if new.details != old.details:
        rows.append(Row(say("Details"), (say("The text has changed.") if new.details else say("none any more"),)))
    rows += _people_changes(new, old, told.texts)
    if new.status != old.status and new.status in ("TENTATIVE", "CONFIRMED"):
        rows.append(Row(say("State"), (say("tentative") if new.status == "TENTATIVE" else say("confirmed"),)))
    return tuple(rows)


def _without_same_zone(now: tuple[str, ...], was: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Two times; without their zone when it is the same one. It stands below, with the time itself."""
    zones = [_OFFSET.sub("", line.partition(ZONE_MARK)[2]) for line in (*now, *was)]
    if len(zones) == 2 and zones[0] == zones[1]:
        return (now[0].partition(ZONE_MARK)[0],), (was[0].partition(ZONE_MARK)[0],)
    return now, was


def _rule_of(told: _Told) -> bool:
    master = told.obj.master
    return master is not None and bool(master.all("RRULE"))


def _people_changes(new: Facts, old: Facts, texts: Texts) -> list[Row]:
    before, now = dict(old.people), dict(new.people)
    rows = []
    added = [name for address, name in new.people if address not in before]
    gone = [name for address, name in old.people if address not in now]
    if added:
        rows.append(Row(texts.say("New guests"), (_guests([("", name) for name in added], texts),)))
    if gone:
        rows.append(Row(texts.say("No longer invited"), (_guests([("", name) for name in gone], texts),)))
    return rows


def _named_changes(changes: Sequence[str], texts: Texts) -> tuple[Row, ...]:
    words = {
        "time": texts.say("the time"),
        "recurrence": texts.say("the dates of the series"),
        "place": texts.say("the place"),
        "status": texts.say("the state"),
        "summary": texts.say("the title"),
        "description": texts.say("the text"),
        "url": texts.say("the link"),
        "conference": texts.say("the link"),
        "attachment": texts.say("the attachments"),
        "attendees": texts.say("the guests"),
        "instance": texts.say("single dates"),
    }
    found = list(dict.fromkeys(words[change] for change in changes if change in words))
    return (Row("", (capital(texts.list(found)),)),) if found else ()


# ---- small things ----


def _leaf(span: Span | None, told: _Told) -> tuple[str, str, str] | None:
    """Month, day and weekday of a tear-off calendar."""
    from babel.dates import format_date

    if span is None:
        return None
    at = span.start
    local = at.local
    if at.zone is not None:
        home = told.clocks.home
        zone = told.clocks.reader or (home if at.kind == "utc" and home is not None else at.zone)
        local = zone.to_local(at.seconds(UTC))
    if told.item.recurrence and told.item.method == "CANCEL" and told.obj.master is not None:
        return None
    month, weekday = (str(format_date(local, form, locale=told.texts.locale)).rstrip(".") for form in ("LLL", "ccc"))
    return month, str(local.day), weekday


def _foot(told: _Told) -> tuple[str, ...]:
    say, item = told.texts.say, told.item
    lines = [say("Sent for {name} ({address}) by Davenport.", name=told.owner, address=item.sender)]
    if item.method in ("REQUEST", "ADD", "CANCEL"):
        lines.append(say("This invitation was sent to {address}.", address=item.recipient))
    return tuple(lines)
