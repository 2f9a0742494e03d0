"""A message's calendar as other people's programs can hold it. Nothing that it says is changed.

Outlook reads a time zone by its yearly rules only, and refuses series that its own dialogue cannot make: dates without
a rule, two weekdays of one month, lists of positions. A series of that kind that ends is written as a daily or weekly
one with exceptions, which makes the same instances. One without an end stays as it is: Outlook then shows the mail's
text, and everybody else the series.
"""

from __future__ import annotations

import re
from datetime import UTC as UTC_TIME
from datetime import datetime
from functools import lru_cache
from math import gcd

from dav.ical.by_reference import _lines_in_time as lines_in_time
from dav.ical.lines import Component, Line, fold, make_line, read
from dav.ical.recur import Moment, moment, periods
from dav.ical.rrule import (
    DAILY,
    MONTHLY,
    WEEKLY,
    YEARLY,
    Budget,
    Rule,
    RuleError,
    TooManyInstances,
    local_of,
    parse_rule,
    wall_of,
    walls,
)
from dav.ical.tz import Zones, vtimezone_for
from dav.scheduling.addresses import mail_of, normalise
from dav.scheduling.edit import SERVER_PARAMS, replace_line, set_property, with_params
from dav.scheduling.model import SchedulingObject, attendees_of

_DAY_S = 86_400
_INSTANCES_MAX = 200
_EXCEPTIONS_MAX = 400
_STEPS_MAX = 20_000
_ZONES_MAX = 50
_YEARS_MORE = 8
_YEAR = re.compile(r"(?<!\d)(\d{4})\d{4}(?!\d)", re.ASCII)
_PLAIN = re.compile(rb"[^\r\n]{0,75}\r\n")
_BARE_EMAIL = re.compile(r';(EMAIL)=([^";:,]+)', re.IGNORECASE)
_BARE_ADDRESS = re.compile(r"(?i:mailto:)[^\s<>?%]+")
_PEOPLE = ("ORGANIZER", "ATTENDEE")
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_WEEKDAY_SETS = (frozenset(range(5)), frozenset((5, 6)), frozenset(range(7)))


def portable(obj: SchedulingObject, *, method: str, recipient: str, now_s: int) -> bytes:
    """The calendar to send to the normalised address `recipient`, with METHOD; changes `obj`. now_s: UTC seconds."""
    calendar = obj.calendar
    if (calendar.value("METHOD") or "") != method:
        set_property(calendar, "METHOD", method)
    for component in obj.parts.values():
        _tidy_people(component)
        if method in ("REQUEST", "ADD"):
            _ask(component, recipient)
    if obj.master is not None:
        make_simple(obj.master, obj.zones)
    _put_zones(obj, now_s)
    _refold(calendar)
    return calendar.to_bytes()


def _tidy_people(component: Component) -> None:
    for line in [line for line in component.lines if line.name in _PEOPLE]:
        new = with_params(line, dict.fromkeys(SERVER_PARAMS))
        # CLIENT Gmail cannot merge "mailto:Name <a@b.example>"; Thunderbird stumbles over EMAIL without quotes.
        if not _BARE_ADDRESS.fullmatch(new.value):
            mail = mail_of(normalise(new.value))
            if mail is not None:
                new = Line(new.name, new.group, f"mailto:{mail}", b"", new.number, new.head)
        head = _BARE_EMAIL.sub(r';\1="\2"', new.head)
        if head != new.head or new.value != line.value:
            new = Line(new.name, new.group, new.value, fold(f"{head}:{new.value}"), new.number, head)
        replace_line(component, line, new)


def _ask(component: Component, recipient: str) -> None:
    """Programs show buttons for an ATTENDEE who is asked for an answer, and want all these said."""
    line = attendees_of(component).get(recipient)
    if line is None:
        return
    changes: dict[str, str | None] = {}
    for name, value in (("CUTYPE", "INDIVIDUAL"), ("ROLE", "REQ-PARTICIPANT"), ("PARTSTAT", "NEEDS-ACTION")):
        if not line.param(name):
            changes[name] = value
    if (line.param("PARTSTAT") or "NEEDS-ACTION").upper() == "NEEDS-ACTION":
        changes["RSVP"] = "TRUE"
    if not line.param("CN"):
        changes["CN"] = mail_of(recipient) or recipient
    replace_line(component, line, with_params(line, changes))


# ---- time zones ----


def _put_zones(obj: SchedulingObject, now_s: int) -> None:
    """A definition by yearly rules for every TZID; those of zones that only this object knows stay."""
    calendar = obj.calendar
    years: dict[str, list[int]] = {}
    for line in lines_in_time(calendar):
        tzid = line.param("TZID")
        if tzid and tzid.isprintable():
            years.setdefault(tzid, []).extend(int(year) for year in _YEAR.findall(line.value))
    this_year = local_of(now_s).year
    zones, made = obj.zones, []
    ours = set()
    for tzid in list(years)[:_ZONES_MAX]:
        zone = zones.zone(tzid)
        if zone is not None and zone.key is not None:
            first = max(min(years[tzid], default=this_year), this_year)
            made += _zone_component(zone.key, tzid, first, max(max(years[tzid], default=first), first))
            ours.add(tzid.strip())
    kept: list[Line | Component] = []
    for item in calendar.items:
        if isinstance(item, Component) and item.name == "VTIMEZONE":
            tzid = (item.value("TZID") or "").strip()
            if tzid in ours or tzid not in {name.strip() for name in years}:
                continue
        kept.append(item)
    at = next((number for number, item in enumerate(kept) if isinstance(item, Component)), len(kept))
    calendar.items[:] = [*kept[:at], *made, *kept[at:]]


def _zone_component(key: str, tzid: str, first: int, last: int) -> list[Component]:
    text = zone_text(key, first, min(last, first + 50)).replace(f"TZID:{key}\r\n", "")
    found = read(text.encode()).components
    for component in found:
        component.items.insert(0, make_line("TZID", tzid))
    return found


@lru_cache(maxsize=256)
def zone_text(key: str, first_year: int, last_year: int) -> str:
    """A VTIMEZONE that is right from the beginning of first_year on: one STANDARD and one DAYLIGHT with yearly rules.

    Where the zone is not that simple, all of its changes. Raises ValueError for an unknown zone.
    """
    # A year more, so that both rules have begun when it matters; and some, for zones whose changes are listed.
    text = vtimezone_for(key, _new_year(first_year - 1), _new_year(last_year + _YEARS_MORE))
    head, *blocks = re.split(r"(?=BEGIN:STANDARD|BEGIN:DAYLIGHT)", text.removesuffix("END:VTIMEZONE\r\n"))
    start = f"{first_year:04d}0101"
    ruled = [block for block in blocks if "\r\nRRULE:" in block]
    others = [block for block in blocks if block not in ruled]
    kinds = sorted(block.partition("\r\n")[0] for block in ruled)
    simple = kinds == ["BEGIN:DAYLIGHT", "BEGIN:STANDARD"] and all(_onset(block) < start for block in ruled)
    if simple and all(_onset(block) < start and "\r\nRDATE:" not in block for block in others):
        blocks = ruled
    elif not ruled and others:
        # Nothing repeats: what was abolished before is left out (Outlook would go on with it).
        late = max((number for number, block in enumerate(others) if _onset(block) < start), default=0)
        if not any("\r\nRDATE:" in block for block in others):
            blocks = others[late:]
    return head + "".join(blocks) + "END:VTIMEZONE\r\n"


def _onset(block: str) -> str:
    found = re.search(r"\r\nDTSTART:(\d{8})", block)
    return found[1] if found else ""


def _new_year(year: int) -> int:
    return int(datetime(year, 1, 2, tzinfo=UTC_TIME).timestamp())


# ---- recurrence ----


def make_simple(master: Component, zones: Zones) -> bool:
    """Writes a series that ends, and that Outlook cannot hold, as one that it can; whether it did. See the module."""
    rules = master.all("RRULE")
    if len(rules) > 1 or master.first("EXRULE") is not None or (not rules and not master.all("RDATE")):
        return False
    line = master.first("DTSTART")
    if line is None:
        return False
    try:
        start = moment(line, zones)
        rule = parse_rule(rules[0].value) if rules else None
        if rule is not None and _holds(rule, start.local):
            return False
        found = _instances(master, rule, start, zones)
    except (ValueError, RuleError, TooManyInstances):
        return False
    if found is None:
        return False
    _write_series(master, start, found)
    return True


def _holds(rule: Rule, start: datetime) -> bool:
    """Whether Outlook's own dialogue could make this rule."""
    if rule.weeknos or rule.yeardays or rule.skip != "OMIT" or rule.freq > DAILY or len(rule.setpos) > 1:
        return False
    for given, own in ((rule.hours, start.hour), (rule.minutes, start.minute), (rule.seconds, start.second)):
        if given and given != (own,):
            return False
    days = frozenset(day for _, day in rule.weekdays)
    numbered = any(n for n, _ in rule.weekdays)
    if rule.freq in (DAILY, WEEKLY):
        return not (rule.months or rule.monthdays or rule.setpos or numbered or (rule.freq == DAILY and days))
    if len(rule.monthdays) > 1 or (rule.monthdays and (rule.weekdays or rule.setpos or rule.monthdays[0] < -1)):
        return False
    if rule.weekdays and rule.setpos:
        return not numbered and (len(days) == 1 or days in _WEEKDAY_SETS) and rule.setpos[0] in (1, 2, 3, 4, -1)
    if rule.weekdays and not (len(rule.weekdays) == 1 and rule.weekdays[0][0] in (1, 2, 3, 4, 5, -1)):
        return False
    if rule.setpos:
        return False
    if rule.freq == MONTHLY:
        return not rule.months
    return rule.freq == YEARLY and len(rule.months) <= 1 and not (rule.weekdays and not rule.months)


def _instances(master: Component, rule: Rule | None, start: Moment, zones: Zones) -> list[int] | None:
    """The walls of all instances, sorted; None when they cannot be one series of days."""
    own = wall_of(start.local)
    found = set()
    if rule is None:
        found.add(own)
    elif rule.endless:
        return None
    else:
        found_walls = walls(rule, own, until=_until(rule, start), budget=Budget(_STEPS_MAX))
        for made, wall in enumerate(found_walls, 1):
            if made > _INSTANCES_MAX:
                return None
            found.add(wall)
        if own not in found:
            return None  # programs do not agree on what DTSTART is then
    for line in master.all("RDATE"):
        for period in periods(line, zones):
            at = period.start
            if period.end is not None or period.length is not None or (at.kind == "date") != (start.kind == "date"):
                return None
            if start.zone is not None and at.zone is not None:
                at = start.moved_to(start.zone.to_local(at.zone.to_utc(at.local)))
            found.add(wall_of(at.local))
    days = sorted(found)
    if len(days) > _INSTANCES_MAX or days[0] != own or any((day - own) % _DAY_S for day in days):
        return None
    return days


def _until(rule: Rule, start: Moment) -> int | None:
    if rule.until is None:
        return None
    if rule.until.kind == "utc" and start.zone is not None:
        return wall_of(start.zone.to_local(rule.until.wall))
    return rule.until.wall


def _write_series(master: Component, start: Moment, found: list[int]) -> None:
    own = found[0]
    gaps = [(wall - own) // _DAY_S for wall in found[1:]]
    step = gcd(*gaps) if gaps else 1
    have = set(found)
    all_of_them = range(own, found[-1] + 1, step * _DAY_S)
    if len(all_of_them) - len(have) > _EXCEPTIONS_MAX:
        return
    for line in (*master.all("RDATE"), *master.all("RRULE")):
        replace_line(master, line, None)
    if len(found) == 1:
        return
    if step % 7 == 0:
        rule = f"FREQ=WEEKLY;INTERVAL={step // 7};COUNT={len(all_of_them)};BYDAY={_WEEKDAYS[start.local.weekday()]}"
    else:
        rule = f"FREQ=DAILY;INTERVAL={step};COUNT={len(all_of_them)}"
    set_property(master, "RRULE", rule.replace("INTERVAL=1;", ""))
    params = (("VALUE", ("DATE",)),) if start.kind == "date" else (("TZID", (start.tzid,)),) if start.tzid else ()
    at = next(number for number, item in enumerate(master.items) if isinstance(item, Line) and item.name == "RRULE")
    master.items[at + 1 : at + 1] = [
        make_line("EXDATE", start.moved_to(local_of(wall)).value, params) for wall in all_of_them if wall not in have
    ]


# ---- the form ----


def _refold(component: Component) -> None:
    """CRLF and lines of at most 75 octets everywhere; what is no content line goes away."""
    component.begin = _folded(component.begin)
    if component.end is not None:
        component.end = _folded(component.end)
    kept: list[Line | Component] = []
    for item in component.items:
        if isinstance(item, Component):
            _refold(item)
            kept.append(item)
        elif item.name:
            kept.append(_folded(item))
    component.items[:] = kept


def _folded(line: Line) -> Line:
    if b"".join(_PLAIN.findall(line.raw)) == line.raw and line.raw:
        return line
    # A stray CR or NUL would end the line in some readers.
    value = "".join(char if char >= " " or char == "\t" else " " for char in line.value)
    head = "".join(char if char >= " " else " " for char in line.head or line.name)
    return Line(line.name, line.group, value, fold(f"{head}:{value}"), line.number, head)
