"""Time zones: names to rules, wall clocks to seconds and back.

An IANA name means zoneinfo's zone whatever the object's VTIMEZONE says; a Windows name is translated by the CLDR table;
only a name that is neither is looked up in the object itself. That VTIMEZONE is evaluated for the one object and never
kept by its name, so nobody's odd "Europe/Berlin" can move somebody else's meetings.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import UTC as _DATETIME_UTC
from datetime import datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Protocol
from zoneinfo import ZoneInfo

from dav.ical.lines import Component, LineError, read
from dav.ical.rrule import YEARLY, Budget, Rule, RuleError, TooManyInstances, local_of, parse_rule, wall_of, walls

# Bounds of one VTIMEZONE: the largest honest ones (every change since 1880 as a block of its own) have some 300 blocks.
OBSERVANCES_MAX = 1_000
_ONSETS_MAX = 4_000
_STEPS_MAX = 20_000
# A VTIMEZONE's calendar years that one object may ask for, before the memory of them is dropped.
_YEARS_MAX = 512
# Names that are looked up for one object; limits.time_zones can be no higher.
_NAMES_MAX = 10_000

_LOCAL = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:T([0-9]{2})([0-9]{2})([0-9]{2})Z?)?", re.ASCII)
_OFFSET = re.compile(r"([+-])([0-9]{2})([0-9]{2})([0-9]{2})?", re.ASCII)
# CLIENT Outlook, Lotus Notes and old exports define "EST" or "CET" with summer time; the IANA zones of these names have
# none or another, so here the object's own definition is asked first.
_ABBREVIATION = re.compile(r"[A-Z]{3,4}|[A-Z]{3}[0-9][A-Z]{3}")
_DISPLAY = re.compile(r"\((?:UTC|GMT)(?:([+-])([0-9]{2}):([0-9]{2}))?\) (.+)", re.ASCII)
_UTC_NAMES = frozenset(
    {"utc", "z", "etc/utc", "gmt", "etc/gmt", "tzone://microsoft/utc", "utc/etc", "zulu", "etc/zulu"}
)


class Zone(Protocol):
    """A time zone. key: its IANA name when it has one."""

    @property
    def key(self) -> str | None: ...

    def __hash__(self) -> int: ...

    def to_utc(self, local: datetime) -> int:
        """UTC seconds of a naive wall clock time.

        RFC 5545 §3.3.5: a time that happens twice is the first one; a time in a gap is read with the offset before the
        gap.
        """
        ...

    def wall_to_utc(self, wall: int) -> int:
        """The same for a wall (see rrule.py); any number is taken."""
        ...

    def offset_at(self, wall: int) -> tuple[int, int]:
        """(seconds east of UTC at a wall, the wall up to which that surely holds, exclusive), as for wall_to_utc."""
        ...

    def to_local(self, utc_s: int) -> datetime:
        """The naive wall clock time at an instant; clamped to the years 1 to 9999."""
        ...


class _Utc:
    """UTC itself."""

    __slots__ = ()
    key: str | None = "UTC"

    def to_utc(self, local: datetime) -> int:
        return wall_of(local)

    def wall_to_utc(self, wall: int) -> int:
        return wall

    def offset_at(self, wall: int) -> tuple[int, int]:
        return 0, _EVER

    def to_local(self, utc_s: int) -> datetime:
        return local_of(utc_s)


_EVER = 1 << 60  # later than any wall

UTC: Zone = _Utc()


_BLOCK_BITS = 24  # 2 ** 24 seconds: 194 days
_BLOCKS_MAX = 512


class _IanaZone:
    """A zone of the IANA database, by zoneinfo."""

    __slots__ = ("_blocks", "_info", "key")

    def __init__(self, key: str) -> None:
        self.key: str | None = key
        self._info = ZoneInfo(key)
        self._blocks: dict[int, tuple[list[int], list[int]]] = {}

    def to_utc(self, local: datetime) -> int:
        wall = wall_of(local)
        known = self._blocks.get(wall >> _BLOCK_BITS)
        if known is not None:
            return wall - known[1][bisect_right(known[0], wall)]
        return wall - self._offset(local)

    def wall_to_utc(self, wall: int) -> int:
        switches, offsets = self._block(wall >> _BLOCK_BITS)
        return wall - offsets[bisect_right(switches, wall)]

    def offset_at(self, wall: int) -> tuple[int, int]:
        switches, offsets = self._block(wall >> _BLOCK_BITS)
        place = bisect_right(switches, wall)
        until = switches[place] if place < len(switches) else ((wall >> _BLOCK_BITS) + 1) << _BLOCK_BITS
        return offsets[place], until

    def _block(self, number: int) -> tuple[list[int], list[int]]:
        # A series asks for one wall after the other, so the changes of each half year are looked up once and
        # remembered.
        block = self._blocks.get(number)
        if block is None:
            if len(self._blocks) >= _BLOCKS_MAX:
                self._blocks.clear()
            block = self._blocks[number] = self._changes(number)
        return block

    def _offset(self, local: datetime) -> int:
        offset = local.replace(tzinfo=self._info).utcoffset()
        assert offset is not None
        return offset.days * 86_400 + offset.seconds

    def _changes(self, block: int) -> tuple[list[int], list[int]]:
        """Walls of one block from which another offset holds, and the offsets before, between and after them.

        It looks once a day: no zone ever changed its offset and took it back within 24 hours.
        """
        start, end = block << _BLOCK_BITS, (block + 1) << _BLOCK_BITS
        offsets, switches = [self._offset(local_of(start))], []
        for day in range(start, end, 86_400):
            high = min(day + 86_400, end)
            last = self._offset(local_of(high))
            if last == offsets[-1]:
                continue
            low = day
            while high - low > 1:
                middle = (low + high) // 2
                if self._offset(local_of(middle)) == offsets[-1]:
                    low = middle
                else:
                    high = middle
            switches.append(high)
            offsets.append(last)
        return switches, offsets

    def to_local(self, utc_s: int) -> datetime:
        try:
            return datetime.fromtimestamp(utc_s, self._info).replace(tzinfo=None, fold=0)
        except (OverflowError, ValueError, OSError):  # beyond the years 1 to 9999
            return local_of(utc_s)


@lru_cache(maxsize=1)
def _iana_names() -> dict[str, str]:
    """Lower-case IANA name → its spelling. From tzdata's own list: no path that a client invents is ever opened."""
    names = files("tzdata").joinpath("zones").read_text(encoding="ascii").split()
    return {name.lower(): name for name in names}


@lru_cache(maxsize=1)
def _windows_names() -> dict[str, str]:
    """Lower-case Windows name → IANA name."""
    text = files("dav.ical").joinpath("windows_zones.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines() if line and not line.startswith("#"))
    return {windows.lower(): iana for windows, iana in rows}


@lru_cache(maxsize=1024)
def _iana_zone(key: str) -> Zone:
    return _IanaZone(key)


def named_zone(tzid: str) -> Zone | None:
    """The zone that a TZID names by itself, or None.

    Understood: IANA names in any case, Windows names, both with quotes or blanks around them, and IANA names at the end
    of a path such as /mozilla.org/20050126_1/Europe/Berlin (RFC 5545 §3.2.19: a leading solidus marks a registry's
    name).
    """
    return _named_zone(tzid) if len(tzid) <= 255 else None


@lru_cache(maxsize=4096)
def _named_zone(tzid: str) -> Zone | None:
    name = tzid.strip().strip("\"'").strip().lower()
    if name in _UTC_NAMES:
        return UTC
    iana = _iana_names()
    if name in iana:
        return _iana_zone(iana[name])
    windows = _windows_names()
    if name in windows:
        key = windows[name]
        return UTC if key == "Etc/UTC" else _iana_zone(key)
    segments = name.split("/")
    if name.startswith("/") or "://" in name:
        # An IANA name has up to three parts: America/Argentina/Ushuaia.
        for size in (3, 2, 1):
            tail = "/".join(segments[-size:])
            if len(segments) > size and tail in iana:
                return UTC if tail in _UTC_NAMES else _iana_zone(iana[tail])
    return None


def display_zone(tzid: str) -> Zone | None:
    """The zone meant by a name that Windows shows, such as "(UTC+01:00) Amsterdam, Berlin, Rom"; else None.

    CLIENT Outlook writes these where it should write a TZID, in any language. A city must be the last part of an IANA
    name whose standard offset is the one shown; "Eastern Time (US & Canada)" is the Windows name without "Standard".
    """
    return _display_zone(tzid.strip()) if len(tzid) <= 255 else None


@lru_cache(maxsize=1024)
def _display_zone(name: str) -> Zone | None:
    match = _DISPLAY.fullmatch(name)
    if match is None:
        return None
    sign, hours, minutes, places = match.groups()
    offset = (int(hours) * 3600 + int(minutes) * 60) * (-1 if sign == "-" else 1) if sign else 0
    for place in places.split(","):
        place = place.strip().lower()
        area = re.fullmatch(r"(.+) time \((?:us & canada|canada)\)", place)
        keys = [_windows_names().get(f"{area[1]} standard time")] if area else _iana_cities().get(place, [])
        for key in keys:
            if key is not None and _standard_offset(key) == offset:
                return _iana_zone(key)
    return None


@lru_cache(maxsize=1)
def _iana_cities() -> dict[str, list[str]]:
    """Lower-case last part of IANA names, with blanks → the names."""
    cities: dict[str, list[str]] = {}
    for name in _iana_names().values():
        if "/" in name and not name.startswith("Etc/"):
            cities.setdefault(name.rpartition("/")[2].replace("_", " ").lower(), []).append(name)
    return cities


def _standard_offset(key: str) -> int:
    """UTC offset without summer time, by the rules of this year: the smaller one of January and July."""
    zone = _iana_zone(key)
    year = datetime.now(_DATETIME_UTC).year
    walls_ = [wall_of(datetime(year, month, 1)) for month in (1, 7)]
    return min(wall - zone.wall_to_utc(wall) for wall in walls_)


class _Observance:
    """A STANDARD or DAYLIGHT block: when its offset begins to hold, as walls in the offset before (RFC 5545 §3.6.5)."""

    __slots__ = ("endless", "offset_from", "offset_to", "onsets", "start")

    def __init__(self, block: Component, budget: Budget) -> None:
        self.offset_from = _offset(block, "TZOFFSETFROM")
        self.offset_to = _offset(block, "TZOFFSETTO")
        start = _wall(block.value("DTSTART") or "")
        if start is None:
            raise ValueError(f"{block.name} in VTIMEZONE has no usable DTSTART")
        self.start = start
        onsets = {start}
        self.endless: list[Rule] = []
        for line in block.all("RDATE"):
            for value in line.value.split(","):
                budget.spend()
                wall = _wall(value.partition("/")[0])
                if wall is not None:
                    onsets.add(wall)
        for line in block.all("RRULE"):
            try:
                rule = parse_rule(line.value)
            except RuleError:
                continue  # the first onset still holds
            if rule.freq != YEARLY:
                continue  # no zone in the world changes its clocks monthly; a hostile one costs nothing
            if rule.endless:
                self.endless.append(rule)
                continue
            until = None if rule.until is None else rule.until.wall
            if rule.until is not None and rule.until.kind == "utc":
                until = rule.until.wall + self.offset_from
            onsets.update(walls(rule, start, until=until, budget=budget))
        self.onsets = sorted(onsets)


class _ObjectZone:
    """A zone by the rules of one object's VTIMEZONE. Transitions are (UTC seconds, offset before, offset after)."""

    __slots__ = ("_budget", "_fixed", "_lookback", "_observances", "_years", "key")

    def __init__(self, component: Component, budget: Budget) -> None:
        self.key: str | None = None
        self._budget = budget
        blocks = [c for c in component.components if c.name in ("STANDARD", "DAYLIGHT")][:OBSERVANCES_MAX]
        self._observances: list[_Observance] = []
        for block in blocks:
            if self._budget.steps < 0:
                break
            try:
                self._observances.append(_Observance(block, self._budget))
            except (ValueError, TooManyInstances):
                continue  # one unreadable block does not spoil the others
        if not self._observances:
            raise ValueError("VTIMEZONE has no usable STANDARD or DAYLIGHT")
        fixed = [(wall - o.offset_from, o.offset_from, o.offset_to) for o in self._observances for wall in o.onsets]
        self._fixed = sorted(fixed)[-_ONSETS_MAX:]
        self._lookback = max([1, *(rule.interval for o in self._observances for rule in o.endless)])
        self._years: dict[int, list[tuple[int, int, int]]] = {}

    def to_utc(self, local: datetime) -> int:
        return self._to_utc(wall_of(local), local.year)

    def wall_to_utc(self, wall: int) -> int:
        return self._to_utc(wall, local_of(wall).year)

    def offset_at(self, wall: int) -> tuple[int, int]:
        return wall - self.wall_to_utc(wall), wall + 1

    def _to_utc(self, wall: int, year: int) -> int:
        # The offset after a change holds from the later of its two readings: in a gap and in the first pass of a time
        # that happens twice, RFC 5545 §3.3.5 wants the offset before.
        offset: int | None = None
        transitions = self._near(year)
        for utc, before, after in reversed(transitions):
            if wall >= utc + max(before, after):
                offset = after
                break
        return wall - (transitions[0][1] if offset is None else offset)

    def to_local(self, utc_s: int) -> datetime:
        transitions = self._near(local_of(utc_s).year)
        offset = transitions[0][1]
        for utc, _, after in reversed(transitions):
            if utc_s >= utc:
                offset = after
                break
        return local_of(utc_s + offset)

    def _near(self, year: int) -> list[tuple[int, int, int]]:
        """Transitions around a year: the last fixed one before it, and all from the year before to the one after."""
        found = self._years.get(year)
        if found is None:
            if len(self._years) >= _YEARS_MAX:
                self._years.clear()
            found = self._years[year] = self._find(year)
        return found

    def _find(self, year: int) -> list[tuple[int, int, int]]:
        first = wall_of(datetime(max(year - min(self._lookback, 100), 1), 1, 1))
        last = wall_of(datetime(min(year + 1, 9999), 12, 31))
        low, high = bisect_right(self._fixed, (first,)), bisect_right(self._fixed, (last,))
        found = set(self._fixed[max(low - 1, 0) : high])
        if not found:
            found = {self._fixed[0]}
        try:
            for observance in self._observances:
                for rule in observance.endless:
                    self._budget.spend()
                    for wall in walls(rule, observance.start, after=first, before=last, budget=self._budget):
                        found.add((wall - observance.offset_from, observance.offset_from, observance.offset_to))
        except TooManyInstances:
            pass  # a hostile definition: what is known so far has to do
        return sorted(found)


def _offset(block: Component, name: str) -> int:
    value = block.value(name) or ""
    match = _OFFSET.match(value.strip())
    if match is None:
        raise ValueError(f"{name}:{value[:20]} is not an offset")
    seconds = int(match.group(2)) * 3600 + int(match.group(3)) * 60 + int(match.group(4) or 0)
    if seconds >= 86_400:
        raise ValueError(f"{name}:{value[:20]} is a day or more")
    return -seconds if match.group(1) == "-" else seconds


def _wall(value: str) -> int | None:
    match = _LOCAL.fullmatch(value.strip())
    if match is None:
        return None
    numbers = [int(group or 0) for group in match.groups()]
    # CLIENT Outlook starts its zones in the year 1601, some exports in 0000: both mean "always".
    numbers[0] = max(numbers[0], 1)
    try:
        return wall_of(datetime(numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], min(numbers[5], 59)))
    except ValueError:
        return None


def vtimezone_zone(component: Component, budget: Budget | None = None) -> Zone:
    """The zone that a VTIMEZONE component defines, whatever its name. Not cached; its cost is bounded.

    budget: what it may cost, for several zones of one object together.

    Raises ValueError when it has no usable STANDARD or DAYLIGHT block.
    """
    return _ObjectZone(component, budget or Budget(_STEPS_MAX))


class Zones:
    """The time zones of one calendar object, by the TZID parameters in it."""

    __slots__ = ("_budget", "_by_tzid", "_calendar", "_definitions")

    def __init__(self, calendar: Component) -> None:
        self._calendar = calendar
        self._by_tzid: dict[str, Zone | None] = {}
        self._definitions: dict[str, Component] | None = None
        self._budget = Budget(2 * _STEPS_MAX)

    @property
    def count(self) -> int:
        """How many names were looked up so far."""
        return len(self._by_tzid)

    @property
    def named(self) -> bool:
        """Whether all that were found so far are zones that everybody knows, none by this object's own definition."""
        return all(zone is None or zone.key is not None for zone in self._by_tzid.values())

    def zone(self, tzid: str) -> Zone | None:
        """The zone: by its own name, else by the object's VTIMEZONE; None when unknown (such times are floating)."""
        if tzid in self._by_tzid:
            return self._by_tzid[tzid]
        if len(self._by_tzid) >= _NAMES_MAX:
            return None  # an object from before there was a limit
        zone = None
        if _ABBREVIATION.fullmatch(tzid) and tzid not in ("UTC", "GMT"):
            zone = self._defined(tzid)
        if zone is None:
            zone = named_zone(tzid)
        if zone is None:
            zone = self._defined(tzid)
        if zone is None:
            zone = display_zone(tzid)
        self._by_tzid[tzid] = zone
        return zone

    def _defined(self, tzid: str) -> Zone | None:
        definition = self._definition(tzid)
        if definition is None:
            return None
        # CLIENT Evolution and libical name the real zone beside an invented TZID.
        location = definition.value("X-LIC-LOCATION")
        named = named_zone(location) if location else None
        if named is not None:
            return named
        try:
            return vtimezone_zone(definition, self._budget)
        except ValueError:
            return None

    def _definition(self, tzid: str) -> Component | None:
        if self._definitions is None:
            self._definitions = {}
            for component in self._calendar.components:
                if component.name == "VTIMEZONE":
                    name = _bare(component.value("TZID") or "")
                    self._definitions.setdefault(name, component)
        return self._definitions.get(_bare(tzid))


_DEFINITION = re.compile(
    rb"\nBEGIN:VTIMEZONE\r?\n(?:(?!BEGIN:|END:)[^\n]*\n)*?TZID:([A-Za-z0-9_+/-]+)\r?\n(?![ \t])"
    rb"(?:(?!END:VTIMEZONE|BEGIN:VTIMEZONE)[^\n]*\n)*+END:VTIMEZONE\r?(?=\n)"
)


def without_known_zones(body: bytes) -> bytes:
    """The body without the VTIMEZONEs that Zones never looks at, as their TZID names an IANA zone by itself.

    They are half of the lines of most objects. Whoever only wants to know when things are need not read them.
    """
    return _DEFINITION.sub(_known_cut, body)


def _known_cut(match: re.Match[bytes]) -> bytes:
    tzid = match.group(1).decode("ascii")
    return b"" if "/" in tzid and named_zone(tzid) is not None else match.group()


def _bare(tzid: str) -> str:
    return tzid.strip().strip("\"'").strip()


def vtimezone_text_zone(text: str) -> Zone | None:
    """The zone of a C:calendar-timezone property (RFC 4791 §5.2.2), iCalendar text; None if unreadable."""
    try:
        document = read(text.strip().encode(), lines_max=20_000)
    except LineError:
        return None
    for calendar in document.components:
        for component in (calendar, *calendar.components):
            if component.name == "VTIMEZONE":
                zones = Zones(Component("VCALENDAR", calendar.begin, [component]))
                return zones.zone(component.value("TZID") or "")
    return None


# ---- VTIMEZONE texts of our own ----

_PROBE_S = 7 * 86_400
_RULE_YEARS = 8


def vtimezone_for(zone_id: str, start_s: int, end_s: int) -> str:
    """A VTIMEZONE as iCalendar text (CRLF lines) for an IANA zone, right from start_s to end_s, UTC seconds.

    Changes that repeat every year by one rule are written as an endless RRULE, so it stays right after end_s as far as
    the rule is known today. Raises ValueError when the name is unknown.
    """
    zone = named_zone(zone_id)
    if zone is None or zone.key is None:
        raise ValueError(f"unknown time zone {zone_id[:60]!r}")
    first, last = local_of(start_s).year, local_of(end_s).year
    first = min(max(first, 1900), 2200)  # outside, the offset is the one at the edge
    return _vtimezone_text(zone.key, first, min(max(last, first), first + 200, 2400))


@lru_cache(maxsize=256)
def _vtimezone_text(key: str, first_year: int, last_year: int) -> str:
    info = ZoneInfo(key)
    begin = int(datetime(first_year, 1, 1, tzinfo=_DATETIME_UTC).timestamp())
    end = int(datetime(last_year + _RULE_YEARS, 1, 1, tzinfo=_DATETIME_UTC).timestamp())
    changes = _changes(info, begin, end)
    opening = _observance_state(info, begin)
    out = ["BEGIN:VTIMEZONE", f"TZID:{key}"]
    # The state at the start of the span, as a block without repetition.
    out += _block(opening, opening[0], local_of(begin + opening[0]), [])
    groups: dict[tuple[int, tuple[int, str, bool]], list[int]] = {}
    offset = opening[0]
    for instant in changes:
        state = _observance_state(info, instant)
        groups.setdefault((offset, state), []).append(instant + offset)
        offset = state[0]
    limit = wall_of(datetime(last_year + 1, 1, 1))
    for (before, state), onsets in groups.items():
        rule, ruled_from = _yearly_rule(onsets, last_year + _RULE_YEARS)
        singles = [wall for wall in onsets[:ruled_from] if wall < limit] if rule else [w for w in onsets if w < limit]
        if singles:
            out += _block(
                state, before, local_of(singles[0]), [f"RDATE:{local_of(w):%Y%m%dT%H%M%S}" for w in singles[1:]]
            )
        if rule:
            out += _block(state, before, local_of(onsets[ruled_from]), [f"RRULE:{rule}"])
    out.append("END:VTIMEZONE")
    return "\r\n".join(out) + "\r\n"


def _observance_state(info: ZoneInfo, instant: int) -> tuple[int, str, bool]:
    """(offset in seconds, abbreviation, daylight saving) at an instant."""
    then = datetime.fromtimestamp(instant, info)
    offset = then.utcoffset() or timedelta(0)
    return int(offset.total_seconds()), then.tzname() or "", bool(then.dst())


def _changes(info: ZoneInfo, begin: int, end: int) -> list[int]:
    """Instants in (begin, end] at which offset, name or summer time changes. Changes closer than a week may hide."""
    found = []
    instant, state = begin, _observance_state(info, begin)
    while instant < end:
        step = min(instant + _PROBE_S, end)
        if _observance_state(info, step) != state:
            low, high = instant, step
            while high - low > 1:
                middle = (low + high) // 2
                if _observance_state(info, middle) == state:
                    low = middle
                else:
                    high = middle
            found.append(high)
            step, state = high, _observance_state(info, high)
        instant = step
    return found


def _yearly_rule(onsets: list[int], end_year: int) -> tuple[str, int]:
    """(RRULE, index of the first onset that it makes), or ("", …) when the tail of the onsets is not one yearly rule.

    Needs: onsets up to the end of the year before end_year; the rule must make the last one of every of these years.
    """
    locals_ = [local_of(wall) for wall in onsets]
    if len(locals_) < 4 or locals_[-1].year != end_year - 1:
        return "", len(onsets)
    best, best_index = "", len(onsets)
    month, weekday, time = locals_[-1].month, locals_[-1].weekday(), locals_[-1].time()
    for number in (1, 2, 3, 4, -1):
        index = len(locals_)
        while index > 0:
            local = locals_[index - 1]
            expected_year = end_year - 1 - (len(locals_) - index)
            if (local.year, local.month, local.weekday(), local.time()) != (expected_year, month, weekday, time):
                break
            if (_nth_of_month(local) if number > 0 else _nth_from_end(local)) != abs(number):
                break
            index -= 1
        if index < best_index:
            best = f"FREQ=YEARLY;BYMONTH={month};BYDAY={number}{('MO', 'TU', 'WE', 'TH', 'FR', 'SA', 'SU')[weekday]}"
            best_index = index
    return (best, best_index) if len(onsets) - best_index >= _RULE_YEARS - 1 else ("", len(onsets))


def _nth_of_month(local: datetime) -> int:
    return (local.day - 1) // 7 + 1


def _nth_from_end(local: datetime) -> int:
    return 1 if (local + timedelta(days=7)).month != local.month else 2


def _block(state: tuple[int, str, bool], before: int, start: datetime, repeats: list[str]) -> list[str]:
    offset, name, daylight = state
    kind = "DAYLIGHT" if daylight else "STANDARD"
    return [
        f"BEGIN:{kind}",
        f"DTSTART:{start:%Y%m%dT%H%M%S}",
        *repeats,
        f"TZNAME:{name}",
        f"TZOFFSETFROM:{_offset_text(before)}",
        f"TZOFFSETTO:{_offset_text(offset)}",
        f"END:{kind}",
    ]


def _offset_text(seconds: int) -> str:
    sign, seconds = ("-" if seconds < 0 else "+"), abs(seconds)
    text = f"{sign}{seconds // 3600:02d}{seconds // 60 % 60:02d}"
    return text + f"{seconds % 60:02d}" if seconds % 60 else text
