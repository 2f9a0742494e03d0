"""The page of a published collection, for people: what is in the next weeks, and how to follow it. No scripts."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from babel.dates import format_date, format_skeleton

from dav.conditions import not_modified
from dav.context import Request, Response
from dav.feeds import address
from dav.feeds.publish import as_published, color_of, secret_card, title_of
from dav.headers import preconditions
from dav.ical.lines import Component, LineError, read, unescape
from dav.ical.recur import Limits, Occurrence, calendar_object, iter_occurrences
from dav.ical.rrule import Budget, TooManyInstances, wall_of
from dav.ical.tz import UTC, Zone, named_zone, vtimezone_text_zone
from dav.mail.texts import Texts, texts_for
from dav.mail.words import offset_words, short_day_words, time_words
from dav.privacy import BUSY_SUMMARY
from dav.vcard_lines import property_lines
from dav.version import VERSION
from dav.web import language
from dav.web.guest_page import ZONES, e
from dav.web.pages import HEADERS as PAGE_HEADERS
from dav.web.pages import template
from storage import objects
from storage.collections import member_count

if TYPE_CHECKING:
    from dav.config import Config
    from dav.feeds.publish import Door
    from storage.engine import Conn
    from storage.feeds_out import Published
    from storage.records import Found

_DAY_S = 86_400
# How far from today the page can be turned.
_BACK_DAYS, _AHEAD_DAYS = 366, 3 * 366
_BATCH = 100
_SUMMARY_CHARS_MAX = 200
_PLACE_CHARS_MAX = 300
_TEXT_CHARS_MAX = 2_000
_QUERY_CHARS_MAX = 500
_STEPS_MAX = 20_000
_COLOR = re.compile(r"(#[0-9A-Fa-f]{6})(?:[0-9A-Fa-f]{2})?|[A-Za-z]{3,32}")
_TZID = re.compile(rb"^DTSTART[^:\r\n]*;TZID=\"?([^\";:,\r\n]{1,60})", re.I | re.M)
# Of a card, what stands in a list of names.
_SHOWN = ("FN", "ORG", "EMAIL", "TEL")

_HEADERS = tuple(
    (name, value.replace("form-action 'none'", "form-action 'self'"))
    for name, value in PAGE_HEADERS
    if name != "Cache-Control"
)


@dataclass(frozen=True, slots=True)
class _View:
    """How the page is shown. first: the first day of it; today: as the zone has it. turned: first was asked for.

    known: whether the zone is somebody's choice; chosen: it is the reader's.
    """

    texts: Texts
    zone: Zone
    first: date
    today: date
    turned: bool
    weeks: int
    chosen: bool
    known: bool


@dataclass(frozen=True, slots=True)
class _Entry:
    """One event on the page. first, last: its days, last inclusive; start, end: wall clocks, None for whole days."""

    first: date
    last: date
    start: datetime | None
    end: datetime | None
    title: str
    place: str
    text: str
    cancelled: bool

    @property
    def order(self) -> tuple[date, bool, datetime, str]:
        return (self.first, self.start is not None, self.start or datetime.min, self.title)


def answer(door: Door, conn: Conn, request: Request, found: Published) -> Response:
    """The page, or 304. A fixed number of statements, and one for each hundred events that it shows."""
    config = door.config
    view = _view(config, request, found, int(door.now()))
    parts = (door.version(found), view.texts.locale, view.zone.key, view.first, view.today, "page")
    etag = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]
    headers = (
        *_HEADERS,
        ("ETag", f'"{etag}"'),
        ("Cache-Control", "private, no-cache"),
        ("Vary", "Accept-Language"),
        ("Content-Language", view.texts.language),
    )
    wanted = preconditions(request)
    # Days go by without a change of the calendar, so its date says nothing about the page.
    if wanted.if_none_match is not None and not_modified(wanted, (etag,), int(door.now())):
        return Response(304, headers)
    base = address.host_of(config, request.scheme, request.host)
    if found.collection.area == "addressbooks":
        body = _contacts(conn, found, view, config)
    else:
        if not view.known:
            view = replace(view, zone=_zone_of_events(conn, found, view))
        body = _agenda(conn, found, view, config)
    head = _head(conn, found, view, config, base)
    values = {
        "language": e(view.texts.language), "title": e(_title(found, view)), "path": e(door.urls.host()),
        "version": e(VERSION), "body": f"{head}{body}", "foot": _foot(found, view),
    }  # fmt: skip
    return Response(200, headers, template("feed").substitute(values).encode())


# ---- what is asked for -------------------------------------------------------------------------------------------


def _view(config: Config, request: Request, found: Published, now_s: int) -> _View:
    texts = texts_for(language.wanted(request.header("accept-language"), (found.locale,)))
    query: dict[str, str] = {}
    if len(request.query) <= _QUERY_CHARS_MAX:
        try:
            query = dict(parse_qsl(request.query, max_num_fields=5))
        except ValueError:
            query = {}
    asked = query.get("zone", "")
    reader = named_zone(asked) if asked and len(asked) <= 64 else None
    theirs = named_zone(found.collection.time_zone_id or "") or vtimezone_text_zone(found.collection.time_zone or "")
    zone = reader or theirs or named_zone(found.time_zone)
    known, zone = zone is not None, zone or UTC
    today = zone.to_local(now_s).date()
    first, turned = today, False
    try:
        day = date.fromisoformat(query.get("from", ""))
    except ValueError:
        day = today
    if -_BACK_DAYS <= (day - today).days <= _AHEAD_DAYS and day != today:
        first, turned = day, True
    return _View(texts, zone, first, today, turned, config.feeds.published_page_weeks, reader is not None, known)


def _zone_of_events(conn: Conn, found: Published, view: _View) -> Zone:
    """The zone in which most of the events shown are written, where nobody said one; two statements."""
    records = _records(conn, found, view)[:_BATCH]
    count: Counter[str] = Counter()
    for body in objects.bodies(conn, [one.record.id for one in records]).values():
        count.update(match[1].decode("utf-8", "replace") for match in _TZID.finditer(body))
    return next((zone for tzid, _ in count.most_common(5) if (zone := named_zone(tzid)) is not None), view.zone)


def _query(view: _View, first: date) -> str:
    fields = {} if first == view.today else {"from": first.isoformat()}
    if view.chosen and view.zone.key:
        fields["zone"] = view.zone.key
    return f"?{urlencode(fields)}" if fields else "?"


# ---- the top -----------------------------------------------------------------------------------------------------


def _head(conn: Conn, found: Published, view: _View, config: Config, base: str) -> str:
    say = view.texts.say
    whole = found.feed.mode == "whole"
    url = address.link_of(base, found.feed, found.collection)
    contacts = found.collection.area == "addressbooks"
    color = _color(color_of(conn, found.collection.id, config) if whole and not contacts else None)
    description = (found.collection.description or "") if whole else ""
    # An attribute, as styles in the page are forbidden to it.
    circle = f'<circle cx="10" cy="10" r="10" fill="{e(color)}"/>'
    dot = f'<svg class="dot" viewBox="0 0 20 20" width="20" height="20" aria-hidden="true">{circle}</svg>'
    if contacts:
        buttons = f'<a class="main" href="{e(url)}">{e(say("Download the contacts"))}</a>'
    else:
        buttons = (
            f'<a class="main" href="{e(address.webcal(url))}">{e(say("Subscribe"))}</a>'
            f'<a href="{e(url)}" download>{e(say("Download"))}</a>'
        )
    hint = (
        "" if contacts else f"<p>{e(say('Any other calendar program takes this address:'))} <code>{e(url)}</code></p>"
    )
    return (
        f'<header class="top"><h1>{dot}<span>{e(_title(found, view))}</span></h1>'
        + (f'<p class="about">{e(description[:_TEXT_CHARS_MAX])}</p>' if description else "")
        + f'<p class="do">{buttons}</p>{hint}</header>'
    )


def _title(found: Published, view: _View) -> str:
    return title_of(found) if found.feed.mode == "whole" else view.texts.say("Busy times")


def _color(text: str | None) -> str:
    found = _COLOR.fullmatch(text or "")
    if found is None:
        return "#1f5c4d"
    return found[1] or found[0]


# ---- events ------------------------------------------------------------------------------------------------------


def _agenda(conn: Conn, found: Published, view: _View, config: Config) -> str:
    say = view.texts.say
    entries, complete = _entries(conn, found, view, config)
    parts = [_turn(view), '<div class="agenda">']
    month: tuple[int, int] | None = None
    day: date | None = None
    for entry in entries:
        shown = max(entry.first, view.first)
        if (shown.year, shown.month) != month:
            if month is not None:
                parts.append("</ul></section>")
            month, day = (shown.year, shown.month), None
            title = str(format_skeleton("yMMMM", shown, locale=view.texts.locale))
            parts.append(f"<section><h2>{e(title)}</h2>")
        if shown != day:
            parts.append("</ul>" if day is not None else "")
            day = shown
            now = f' <em class="today">{e(say("Today"))}</em>' if day == view.today else ""
            weekday = str(format_date(day, "EEEE", locale=view.texts.locale))
            number = str(format_skeleton("MMMMd", day, locale=view.texts.locale))
            parts.append(f'<h3><time datetime="{day.isoformat()}">{e(weekday)}, {e(number)}</time>{now}</h3><ul>')
        parts.append(_row(entry, shown, view))
    if month is None:
        parts.append(f'<p class="empty">{e(say("Nothing is planned in this time."))}</p>')
    else:
        parts.append("</ul></section>")
    if not complete:
        parts.append(f'<p class="empty">{e(say("There is more than can be shown here."))}</p>')
    parts += ["</div>", _turn(view)]
    return "".join(parts)


def _turn(view: _View) -> str:
    """Where the page can be turned to, and what it shows."""
    say, span = view.texts.say, timedelta(weeks=view.weeks)
    last = view.first + span - timedelta(days=1)
    links = []
    for day, label, kind in ((view.first - span, say("Earlier"), "prev"), (view.first + span, say("Later"), "next")):
        if -_BACK_DAYS <= (day - view.today).days <= _AHEAD_DAYS:
            links.append(f'<a rel="{kind}" href="{e(_query(view, day))}">{e(label)}</a>')
    if view.turned:
        links.insert(1, f'<a href="{e(_query(view, view.today))}">{e(say("Today"))}</a>')
    words = say(
        "{first} – {last}", first=short_day_words(view.first, view.texts), last=short_day_words(last, view.texts)
    )
    return f'<nav class="turn"><span>{e(words)}</span>{"".join(links)}</nav>'


def _row(entry: _Entry, shown: date, view: _View) -> str:
    say = view.texts.say
    title = f"<b>{e(entry.title)}</b>"
    if entry.cancelled:
        title = f"<s>{title}</s> <em>{e(say('Cancelled'))}</em>"
    place = f'<p class="place">{e(entry.place)}</p>' if entry.place else ""
    more = ""
    if entry.text:
        more = f'<details><summary>{e(say("Details"))}</summary><p class="long">{e(entry.text)}</p></details>'
    return f'<li><p class="when">{e(_when(entry, shown, view))}</p><div>{title}{place}{more}</div></li>'


def _when(entry: _Entry, shown: date, view: _View) -> str:
    texts = view.texts
    until = texts.say("until {day}", day=short_day_words(entry.last, texts)) if entry.last > shown else ""
    if entry.start is None:
        return until or texts.say("All day")
    begin = time_words(entry.start, texts) if entry.first == shown else ""
    if until:
        return f"{begin}, {until}" if begin else until
    end = time_words(entry.end, texts) if entry.end is not None and entry.end > entry.start else ""
    if begin and end:
        return texts.say("{first} – {last}", first=begin, last=end)
    return begin or texts.say("until {day}", day=end)


def _entries(conn: Conn, found: Published, view: _View, config: Config) -> tuple[list[_Entry], bool]:
    """The events of the weeks shown in their order, and whether these are all. Bounded by published_page_events."""
    most = config.feeds.published_page_events
    first, last = _span(view)
    start_s, end_s = view.zone.to_utc(first), view.zone.to_utc(last)
    records = _records(conn, found, view)
    complete = len(records) <= 4 * most
    records = records[: 4 * most]
    budget = Budget(_STEPS_MAX + 100 * most)
    limits = Limits(instances_max=most)
    entries: list[_Entry] = []
    for at in range(0, len(records), _BATCH):
        ids = [one.record.id for one in records[at : at + _BATCH]]
        for body in objects.bodies(conn, ids).values():
            shown = as_published(found, body)
            if shown is None:
                continue
            for occurrence in _occurrences(shown, start_s, end_s, view.zone, budget, limits):
                entry = _entry(occurrence, view)
                if entry.last >= view.first:
                    entries.append(entry)
        if budget.steps < 0 or len(entries) > 8 * most:
            complete = False
            break
    entries.sort(key=lambda entry: (max(entry.first, view.first), *entry.order))
    return entries[:most], complete and len(entries) <= most


def _span(view: _View) -> tuple[datetime, datetime]:
    """The wall clock at which what is shown begins, and ends."""
    first = datetime(view.first.year, view.first.month, view.first.day)
    return first, first + timedelta(weeks=view.weeks)


def _records(conn: Conn, found: Published, view: _View) -> list[Found]:
    first, last = _span(view)
    return objects.in_range(
        conn, found.collection.id, "VEVENT", view.zone.to_utc(first), view.zone.to_utc(last), wall_of(first),
        wall_of(last),
    )  # fmt: skip


def _occurrences(
    body: bytes, start_s: int, end_s: int, zone: Zone, budget: Budget, limits: Limits
) -> Iterable[Occurrence]:
    try:
        calendars = read(body).components
    except LineError:
        return
    count = 0
    for calendar in calendars:
        try:
            for occurrence in iter_occurrences(
                calendar_object(calendar), start_s, end_s, floating_zone=zone, budget=budget
            ):
                yield occurrence
                count += 1
                if count >= limits.instances_max:
                    return
        except (TooManyInstances, ValueError):
            return


def _entry(occurrence: Occurrence, view: _View) -> _Entry:
    component = occurrence.component
    title = _text(component, "SUMMARY", _SUMMARY_CHARS_MAX) or view.texts.say("(no title)")
    if title == BUSY_SUMMARY:
        title = view.texts.say("Busy")
    place, text = _text(component, "LOCATION", _PLACE_CHARS_MAX), _text(component, "DESCRIPTION", _TEXT_CHARS_MAX)
    cancelled = (component.value("STATUS") or "").strip().upper() == "CANCELLED"
    start, end = view.zone.to_local(occurrence.start_s), view.zone.to_local(occurrence.end_s)
    # What ends at midnight has ended on the day before.
    last = (end - timedelta(seconds=1) if end > start else start).date()
    if occurrence.all_day:
        return _Entry(start.date(), last, None, None, title, place, text, cancelled)
    return _Entry(start.date(), last, start, end, title, place, text, cancelled)


def _text(component: Component, name: str, chars_max: int) -> str:
    value = component.value(name)
    return unescape(value).strip()[:chars_max] if value else ""


# ---- contacts ----------------------------------------------------------------------------------------------------


def _contacts(conn: Conn, found: Published, view: _View, config: Config) -> str:
    most = config.feeds.published_page_events
    rows: list[tuple[str, str]] = []
    for record, body in objects.iter_bodies(conn, found.collection.id):
        if len(rows) >= most:
            break
        if record.component == "VCARD" and not secret_card(record, body):
            shown = _card(body)
            if shown is not None:
                rows.append(shown)
    rows.sort()
    total = member_count(conn, found.collection.id)
    parts = ['<div class="agenda"><ul class="people">', *(row for _, row in rows), "</ul>"]
    if not rows:
        parts.append(f'<p class="empty">{e(view.texts.say("There are no contacts."))}</p>')
    elif total > len(rows) and len(rows) >= most:
        parts.append(f'<p class="empty">{e(view.texts.say("There is more than can be shown here."))}</p>')
    return "".join([*parts, "</div>"])


def _card(body: bytes) -> tuple[str, str] | None:
    """(what it is sorted by, its row) of a card; None for one without a name."""
    try:
        card = read(body).components[0]
    except (LineError, IndexError):
        return None
    texts: dict[str, list[str]] = {name: [] for name in _SHOWN}
    for line in property_lines(card, "3.0"):
        if not isinstance(line, Component) and line.name in texts and len(texts[line.name]) < 3:
            value = line.value.rstrip(";").replace(";", ", ") if line.name == "ORG" else line.value
            text = unescape(value).strip().removeprefix("tel:")[:_SUMMARY_CHARS_MAX]
            if text:
                texts[line.name].append(text)
    name = next(iter([*texts["FN"], *texts["ORG"], *texts["EMAIL"]]), "")
    if not name:
        return None
    lines = [text for kind in ("ORG", "TEL", "EMAIL") for text in texts[kind] if text != name]
    more = "".join(f'<p class="place">{e(text)}</p>' for text in lines)
    return name.casefold(), f"<li><div><b>{e(name)}</b>{more}</div></li>"


# ---- the end -----------------------------------------------------------------------------------------------------


def _foot(found: Published, view: _View) -> str:
    if found.collection.area == "addressbooks":
        return ""
    say, at_s = view.texts.say, view.zone.to_utc(datetime(view.first.year, view.first.month, view.first.day))
    name = _city(view.zone.key or "UTC", view.texts)
    words = say("Times are those of {place} ({offset}).", place=name, offset=offset_words(view.zone, at_s))
    options = []
    for key in ZONES:
        zone = named_zone(key)
        if zone is None:
            continue
        selected = " selected" if zone.key == view.zone.key else ""
        label = f"{_city(key, view.texts)} ({offset_words(zone, at_s)})"
        options.append((zone.to_local(at_s), f'<option value="{key}"{selected}>{e(label)}</option>'))
    options.sort(key=lambda option: option[0])
    kept = f'<input type="hidden" name="from" value="{view.first.isoformat()}">' if view.turned else ""
    return (
        f'<div class="clock"><p>{e(words)}</p><details class="zones"><summary>{e(say("Other time zone"))}</summary>'
        f'<form method="get">{kept}<label class="unseen" for="zone">{e(say("Other time zone"))}</label>'
        f'<select id="zone" name="zone">{"".join(text for _, text in options)}</select>'
        f'<button type="submit">{e(say("Show"))}</button></form></details></div>'
    )


def _city(key: str, texts: Texts) -> str:
    return texts.locale.time_zones.get(key, {}).get("city") or key.rpartition("/")[2].replace("_", " ")
