"""Recurrence rules (RFC 5545 §3.3.10, RFC 7529) as arithmetic on whole seconds: text → Rule → ascending wall clock
times.

A "wall" is a naive local time as an integer: the seconds since 1970 that the same digits would mean in UTC. Rules know
no time zones; `dav/ical/recur.py` turns walls into instants. Rules are hostile input: every loop spends from a Budget,
a rule that finds nothing for long enough is taken to have ended, and an endless old rule is entered close to where it
is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

YEARLY, MONTHLY, WEEKLY, DAILY, HOURLY, MINUTELY, SECONDLY = range(7)

_FREQS = {
    name: number
    for number, name in enumerate(("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY"))
}
_WEEKDAYS = {name: number for number, name in enumerate(("MO", "TU", "WE", "TH", "FR", "SA", "SU"))}
_UNIT_S = {HOURLY: 3600, MINUTELY: 60, SECONDLY: 1}
_DAY_S = 86_400
_EPOCH_LOCAL = datetime(1970, 1, 1)
_EPOCH_ORDINAL = _EPOCH_LOCAL.toordinal()
_LAST_WALL = (date(9999, 12, 31).toordinal() - _EPOCH_ORDINAL) * _DAY_S + _DAY_S - 1
_FIRST_WALL = (date(1, 1, 1).toordinal() - _EPOCH_ORDINAL) * _DAY_S

# After so many empty periods a rule is over. The Gregorian calendar repeats after 400 years (4,800 months, 20,871
# weeks), so for these three nothing can follow; for days and less it is a limit: 82 years of empty days.
_FRUITLESS_MAX = {YEARLY: 401, MONTHLY: 4_801, WEEKLY: 20_872, DAILY: 30_000}
_FRUITLESS_SUB_DAILY_MAX = 30_000
# Longer rule texts are refused: the longest sensible one (every BYYEARDAY) has under 3,000 characters.
_RULE_CHARS_MAX = 4_096

_BYDAY = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)
_UNTIL = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:T([0-9]{2})([0-9]{2})([0-9]{2})(Z?))?", re.ASCII)
_X_NAME = re.compile(r"X-[A-Z0-9-]+", re.ASCII)


class RuleError(ValueError):
    """The rule breaks RFC 5545 §3.3.10. The message is a sentence that names the part."""


class UnsupportedScale(RuleError):
    """RSCALE names a calendar that is not Gregorian (RFC 7529 §5: C:supported-rscale)."""


class TooManyInstances(Exception):
    """Expansion was stopped at a limit: more instances, or more work, than allowed."""


@dataclass(slots=True)
class Budget:
    """How many more steps an expansion may take; shared by all rules of one object."""

    steps: int

    def spend(self, steps: int = 1) -> None:
        """Take steps away. Raises TooManyInstances when none are left."""
        self.steps -= steps
        if self.steps < 0:
            raise TooManyInstances("the recurrence takes too many steps to expand")


@dataclass(frozen=True, slots=True)
class Until:
    """UNTIL as written. kind: "date", "utc" or "local". wall: of the digits; a DATE counts to the end of its day."""

    kind: str
    wall: int


@dataclass(frozen=True, slots=True)
class Rule:
    """A recurrence rule. Weekdays count from Monday = 0; weekdays holds (n, day), n = 0 for every one of them.

    skip: OMIT, BACKWARD or FORWARD (RFC 7529 §4.2). All lists are sorted and free of repetitions.
    """

    freq: int
    interval: int = 1
    count: int | None = None
    until: Until | None = None
    wkst: int = 0
    months: tuple[int, ...] = ()
    weeknos: tuple[int, ...] = ()
    yeardays: tuple[int, ...] = ()
    monthdays: tuple[int, ...] = ()
    weekdays: tuple[tuple[int, int], ...] = ()
    hours: tuple[int, ...] = ()
    minutes: tuple[int, ...] = ()
    seconds: tuple[int, ...] = ()
    setpos: tuple[int, ...] = ()
    skip: str = "OMIT"

    @property
    def endless(self) -> bool:
        """True when neither COUNT nor UNTIL ends it."""
        return self.count is None and self.until is None


def wall_of(local: datetime) -> int:
    """The wall of a naive local time."""
    return (local.toordinal() - _EPOCH_ORDINAL) * _DAY_S + local.hour * 3600 + local.minute * 60 + local.second


def local_of(wall: int) -> datetime:
    """The naive local time of a wall; clamped to the years 1 to 9999."""
    if not _FIRST_WALL <= wall <= _LAST_WALL:
        wall = _FIRST_WALL if wall < 0 else _LAST_WALL
    return _EPOCH_LOCAL + timedelta(0, wall)


@lru_cache(maxsize=256)
def parse_rule(text: str) -> Rule:
    """Read the value of RRULE or EXRULE.

    Raises RuleError for: no or unknown FREQ, a part twice, an unknown part (x-names are ignored), numbers out of range,
    INTERVAL or COUNT below 1, COUNT together with UNTIL, and combinations that RFC 5545 forbids and that have no agreed
    meaning. UnsupportedScale for a calendar that is not Gregorian.
    """
    if len(text) > _RULE_CHARS_MAX:
        raise RuleError(f"the rule is longer than {_RULE_CHARS_MAX} characters")
    parts: dict[str, str] = {}
    for part in text.strip().upper().split(";"):
        if not part:  # CLIENT old Exchange and Lotus exports end the rule with a semicolon.
            continue
        name, equals, value = part.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not value:
            raise RuleError(f"{name[:20]} has no value")
        if name in parts:
            raise RuleError(f"{name[:20]} stands twice")
        if name not in _PARTS and not _X_NAME.fullmatch(name):
            raise RuleError(f"{name[:20]} is not a part of a recurrence rule")
        parts[name] = value
    freq = _FREQS.get(parts.get("FREQ", ""))
    if freq is None:
        raise RuleError(f"FREQ={parts['FREQ'][:20]} is unknown" if "FREQ" in parts else "FREQ is missing")
    if "COUNT" in parts and "UNTIL" in parts:
        raise RuleError("COUNT and UNTIL exclude each other")
    if parts.get("RSCALE", "GREGORIAN") not in ("GREGORIAN", "GREGORY"):
        raise UnsupportedScale(f"RSCALE={parts['RSCALE'][:20]} is not supported")
    skip = parts.get("SKIP", "OMIT")
    if skip not in ("OMIT", "BACKWARD", "FORWARD"):
        raise RuleError(f"SKIP={skip[:20]} is unknown")
    if parts.get("WKST", "MO") not in _WEEKDAYS:
        raise RuleError(f"WKST={parts['WKST'][:20]} is not a weekday")
    rule = Rule(
        freq=freq,
        interval=_number(parts, "INTERVAL", 1),
        count=_number(parts, "COUNT", 1) if "COUNT" in parts else None,
        until=_parse_until(parts["UNTIL"]) if "UNTIL" in parts else None,
        wkst=_WEEKDAYS[parts.get("WKST", "MO")],
        months=_numbers(parts, "BYMONTH", 1, 12),
        weeknos=_numbers(parts, "BYWEEKNO", 1, 53, negative=True),
        yeardays=_numbers(parts, "BYYEARDAY", 1, 366, negative=True),
        monthdays=_numbers(parts, "BYMONTHDAY", 1, 31, negative=True),
        weekdays=_parse_byday(parts["BYDAY"]) if "BYDAY" in parts else (),
        hours=_numbers(parts, "BYHOUR", 0, 23),
        minutes=_numbers(parts, "BYMINUTE", 0, 59),
        # RFC 5545 allows 60 for a leap second, which no clock of ours shows.
        seconds=tuple(sorted({min(value, 59) for value in _numbers(parts, "BYSECOND", 0, 60)})),
        setpos=_numbers(parts, "BYSETPOS", 1, 366, negative=True),
        skip=skip,
    )
    if rule.weeknos and rule.freq == YEARLY and (rule.monthdays or rule.yeardays):
        raise RuleError("BYWEEKNO cannot be combined with BYMONTHDAY or BYYEARDAY")
    return rule


_PARTS = frozenset(
    ["FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYMONTH", "BYWEEKNO", "BYYEARDAY", "BYMONTHDAY", "BYDAY", "BYHOUR"]
) | {"BYMINUTE", "BYSECOND", "BYSETPOS", "RSCALE", "SKIP"}


def _number(parts: dict[str, str], name: str, default: int) -> int:
    value = parts.get(name)
    if value is None:
        return default
    if not (value.isascii() and value.isdigit()) or len(value) > 9 or int(value) < 1:
        raise RuleError(f"{name}={value[:20]} is not a number of at least 1")
    return int(value)


def _numbers(parts: dict[str, str], name: str, low: int, high: int, *, negative: bool = False) -> tuple[int, ...]:
    if name not in parts:
        return ()
    found = set()
    for word in parts[name].split(","):
        word = word.strip()
        sign = -1 if word[:1] == "-" else 1
        digits = word[1:] if word[:1] in ("+", "-") else word
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 3:
            raise RuleError(f"{name}={word[:20]} is not a number")
        number = int(digits)
        if not low <= number <= high or (sign < 0 and not negative):
            raise RuleError(f"{name}={word[:20]} is out of range")
        found.add(sign * number)
    return tuple(sorted(found))


def _parse_byday(text: str) -> tuple[tuple[int, int], ...]:
    found = set()
    for word in text.split(","):
        match = _BYDAY.fullmatch(word.strip())
        if match is None:
            raise RuleError(f"BYDAY={word[:20]} is not a weekday")
        number = int(match.group(1)) if match.group(1) else 0
        if match.group(1) and not 1 <= abs(number) <= 53:
            raise RuleError(f"BYDAY={word[:20]} is out of range")
        found.add((number, _WEEKDAYS[match.group(2)]))
    return tuple(sorted(found))


def _parse_until(text: str) -> Until:
    match = _UNTIL.fullmatch(text)
    if match is None:
        raise RuleError(f"UNTIL={text[:20]} is not a date or date-time")
    year, month, day, hour, minute, second, zulu = match.groups()
    try:
        if hour is None:
            return Until("date", wall_of(datetime(int(year), int(month), int(day), 23, 59, 59)))
        local = datetime(int(year), int(month), int(day), int(hour), int(minute), min(int(second), 59))
    except ValueError:
        raise RuleError(f"UNTIL={text[:20]} is not a real date") from None
    return Until("utc" if zulu else "local", wall_of(local))


def walls(
    rule: Rule,
    start: int,
    *,
    until: int | None = None,
    after: int | None = None,
    before: int | None = None,
    whole_days: bool = False,
    fallback: bool = True,
    budget: Budget,
) -> Iterable[int]:
    """The walls that a rule makes from `start` (DTSTART) on, in ascending order, without repetitions.

    until: last wall allowed (UNTIL in DTSTART's own zone). after, before: only walls within [after, before] are wanted;
    the search enters near `after` when the rule has no COUNT. whole_days: DTSTART is a DATE, so BYHOUR, BYMINUTE and
    BYSECOND are ignored and every result is a midnight. fallback: a rule that never makes anything yields `start`, so
    that no object vanishes; False for EXRULE. Raises TooManyInstances when the budget is spent.
    """
    if before is not None and start > before:
        return ()
    end = _LAST_WALL if until is None else min(until, _LAST_WALL)
    wanted = fallback and (after is None or start >= after)
    even = _even(rule, start, whole_days)
    if even is None:
        return _searched(rule, start, end, after, before, whole_days, wanted, budget)
    first, step = even
    if rule.count is not None:
        end = min(end, first + (rule.count - 1) * step)
    if first > end:
        return (start,) if wanted else ()
    if after is not None and after > first:
        first += -((first - after) // step) * step  # the first one from `after` on
    found = range(first, 1 + (end if before is None else min(end, before)), step)
    if len(found) > budget.steps:
        return _spending(found, budget)
    budget.spend(len(found))
    return found


def _spending(found: range, budget: Budget) -> Iterator[int]:
    for wall in found:
        budget.spend()
        yield wall


def _even(rule: Rule, start: int, whole_days: bool) -> tuple[int, int] | None:
    """(the first wall from start on, the distance to the next) when all distances are the same; None when they differ.

    Most rules in the world are such: the same time every day, or on one day of every week.
    """
    if rule.months or rule.weeknos or rule.yeardays or rule.monthdays or rule.setpos or rule.freq < WEEKLY:
        return None
    if not whole_days and (rule.hours or rule.minutes or rule.seconds):
        return None
    if rule.freq == WEEKLY and len(rule.weekdays) < 2:
        step = 7 * _DAY_S * rule.interval
        if not rule.weekdays:
            return start, step
        # A week begins with WKST, and the first one is DTSTART's, whose day of the rule may be before DTSTART.
        weekday = (start // _DAY_S + 3) % 7
        first = start + ((rule.weekdays[0][1] - rule.wkst) % 7 - (weekday - rule.wkst) % 7) * _DAY_S
        return (first if first >= start else first + step), step
    if rule.weekdays or rule.freq == WEEKLY:
        return None
    if rule.freq == DAILY:
        return start, rule.interval * _DAY_S
    return None if whole_days else (start, rule.interval * _UNIT_S[rule.freq])


def _searched(
    rule: Rule,
    start: int,
    end: int,
    after: int | None,
    before: int | None,
    whole_days: bool,
    wanted: bool,
    budget: Budget,
) -> Iterator[int]:
    if wanted and next(_made(rule, start, end, None, whole_days, budget), None) is None:
        yield start
        return
    if before is not None:
        end = min(end, before)
    for wall in _made(rule, start, end, after, whole_days, budget):
        if after is None or wall >= after:
            yield wall


def _made(rule: Rule, start: int, end: int, after: int | None, whole_days: bool, budget: Budget) -> Iterator[int]:
    """Walls from start to end, counted by COUNT; with a seek to `after` some before it may be left out, others not."""
    count = rule.count
    if count is not None and _one_per_period(rule):
        # Every period has exactly one instance: COUNT is an end date, and the rule can be entered anywhere.
        unit = _UNIT_S.get(rule.freq) or (7 if rule.freq == WEEKLY else 1) * _DAY_S
        end, count = min(end, start + (count - 1) * rule.interval * unit), None
    seek = after if count is None and after is not None and after > start else None
    last_wall = start - 1
    for wall in _candidates(rule, start, seek, end, whole_days, budget):
        if wall <= last_wall:
            continue
        if wall > end:
            return
        last_wall = wall
        yield wall
        if count is not None:
            count -= 1
            if count == 0:
                return


def _one_per_period(rule: Rule) -> bool:
    return rule.freq >= WEEKLY and not (
        rule.months
        or rule.weeknos
        or rule.yeardays
        or rule.monthdays
        or rule.weekdays
        or rule.hours
        or rule.minutes
        or rule.seconds
        or rule.setpos
    )


def _candidates(rule: Rule, start: int, seek: int | None, end: int, whole_days: bool, budget: Budget) -> Iterator[int]:
    """Walls of all periods from near `seek` on, possibly with some before start or after end."""
    if _impossible(rule):
        return iter(())
    if rule.freq >= HOURLY:
        found = _sub_daily(rule, start, seek, end, whole_days, budget)
        return (wall - wall % _DAY_S for wall in found) if whole_days else found
    return _daily_or_longer(rule, start, seek, end, whole_days, budget)


def _impossible(rule: Rule) -> bool:
    """True for days that no year has, such as 30 February: known without a search."""
    if not rule.months or not rule.monthdays or rule.skip != "OMIT":
        return False
    longest = max(_month_length(2024, month) for month in rule.months)
    return all(abs(number) > longest for number in rule.monthdays)


def _daily_or_longer(
    rule: Rule, start: int, seek: int | None, end: int, whole_days: bool, budget: Budget
) -> Iterator[int]:
    start_day, start_second = divmod(start, _DAY_S)
    times = [start_second]
    if not whole_days and (rule.hours or rule.minutes or rule.seconds):
        hours = rule.hours or (start_second // 3600,)
        minutes = rule.minutes or (start_second // 60 % 60,)
        seconds = rule.seconds or (start_second % 60,)
        budget.spend(len(hours) * len(minutes) * len(seconds) // 8)
        times = [h * 3600 + m * 60 + s for h in hours for m in minutes for s in seconds]
    if rule.freq == DAILY and not rule.setpos and len(times) == 1 and not _has_day_filter(rule):
        first = start_day * _DAY_S + times[0]
        yield from _arithmetic(first, rule.interval * _DAY_S, seek, end, budget)
        return
    days = _Days(rule, start_day)
    interval = rule.interval
    period = days.first_period
    if seek is not None:
        # One period early: SKIP=FORWARD and week years reach over the edge of their period.
        period += max(0, (days.period_of(seek // _DAY_S) - period) // interval - 1) * interval
    last_period = days.period_of(end // _DAY_S) + 1
    fruitless, fruitless_max = 0, _FRUITLESS_MAX[rule.freq]
    while period <= last_period:
        found = days.expand(period)
        period += interval
        budget.spend(1 + len(found) // 4)
        places: list[int] = []
        if rule.setpos:
            size = len(found) * len(times)
            places = sorted({p - 1 if p > 0 else size + p for p in rule.setpos if abs(p) <= size})
        if not (places if rule.setpos else found):
            fruitless += 1
            if fruitless > fruitless_max:
                return
            continue
        fruitless = 0
        if rule.setpos:
            for place in places:
                budget.spend()
                yield found[place // len(times)] * _DAY_S + times[place % len(times)]
        elif len(times) == 1:
            second = times[0]
            for day in found:
                budget.spend()
                yield day * _DAY_S + second
        else:
            for day in found:
                for second in times:
                    budget.spend()
                    yield day * _DAY_S + second


def _has_day_filter(rule: Rule) -> bool:
    return bool(rule.months or rule.weeknos or rule.yeardays or rule.monthdays or rule.weekdays)


def _arithmetic(first: int, step: int, seek: int | None, end: int, budget: Budget) -> Iterator[int]:
    wall = first
    if seek is not None and seek > first:
        wall += (seek - first) // step * step
    while wall <= end:
        budget.spend()
        yield wall
        wall += step


def _sub_daily(rule: Rule, start: int, seek: int | None, end: int, whole_days: bool, budget: Budget) -> Iterator[int]:
    unit = _UNIT_S[rule.freq]
    step = unit * rule.interval
    hours = () if whole_days else rule.hours
    minutes = () if whole_days else rule.minutes
    seconds = () if whole_days else rule.seconds
    day_filter = _has_day_filter(rule)
    # What is finer than the period expands it, what is as fine or coarser limits it (the table in RFC 5545 §3.3.10).
    offsets = [0]
    base = start
    if rule.freq == HOURLY and (minutes or seconds):
        base = start - start % 3600
        offsets = [m * 60 + s for m in minutes or (start // 60 % 60,) for s in seconds or (start % 60,)]
    elif rule.freq == MINUTELY and seconds:
        base = start - start % 60
        offsets = list(seconds)
    if rule.setpos:
        size = len(offsets)
        offsets = [offsets[i] for i in sorted({p - 1 if p > 0 else size + p for p in rule.setpos if abs(p) <= size})]
    if not (day_filter or hours or (minutes and rule.freq > HOURLY) or (seconds and rule.freq > MINUTELY)):
        if offsets == [0]:
            yield from _arithmetic(base, step, seek, end, budget)
        elif offsets:
            for wall in _arithmetic(base, step, seek, end, budget):
                for offset in offsets:
                    yield wall + offset
        return
    if not offsets:
        return
    days = _Days(rule, start // _DAY_S)
    checked_day, day_fits = -(1 << 60), False
    wall = base
    if seek is not None and seek > base:
        wall += (seek - base) // step * step
    fruitless = 0
    while wall <= end:
        budget.spend()
        fruitless += 1
        if fruitless > _FRUITLESS_SUB_DAILY_MAX:
            return
        day = wall // _DAY_S
        if day_filter and day != checked_day:
            checked_day, day_fits = day, days.fits(day)
        if day_filter and not day_fits:
            target = (day + 1) * _DAY_S
        elif hours and wall // 3600 % 24 not in hours:
            target = (wall // 3600 + 1) * 3600
        elif minutes and rule.freq > HOURLY and wall // 60 % 60 not in minutes:
            target = (wall // 60 + 1) * 60
        elif seconds and rule.freq > MINUTELY and wall % 60 not in seconds:
            target = wall + 1
        else:
            fruitless = 0
            for offset in offsets:
                yield wall + offset
            wall += step
            continue
        wall += -(-(target - wall) // step) * step  # the first step at or after target


class _Days:
    """Which days a rule picks from a period. A day is counted from 1970-01-01; a period by year, month, week or day."""

    def __init__(self, rule: Rule, start_day: int) -> None:
        self.rule = rule
        self.start_day = start_day
        start = date.fromordinal(start_day + _EPOCH_ORDINAL)
        self.month, self.month_day, self.weekday = start.month, start.day, start.weekday()
        self.first_period = self.period_of(start_day)
        self.plain_weekdays = frozenset(day for _, day in rule.weekdays)
        self.numbered = any(number for number, _ in rule.weekdays)
        self.months = frozenset(rule.months)
        self.week_expansion = tuple(sorted((day - rule.wkst) % 7 for day in self.plain_weekdays))
        self._year_days: tuple[int, frozenset[int]] = (0, frozenset())
        self._week_days: tuple[int, frozenset[int]] = (0, frozenset())
        if rule.freq == YEARLY and rule.weeknos:
            # DTSTART around New Year may stand in the week year before or after its calendar year: INTERVAL counts from
            # that.
            year = self.first_period
            fits = [near for near in (year - 1, year, year + 1) if start_day in self.expand(near)]
            self.first_period = fits[0] if fits else year

    def period_of(self, day: int) -> int:
        if self.rule.freq == DAILY or self.rule.freq >= HOURLY:
            return day
        if self.rule.freq == WEEKLY:
            # 1970-01-01 was a Thursday (3); a week is named by the number of its first day.
            return (day + 3 - self.rule.wkst) // 7
        day = min(max(day, 1 - _EPOCH_ORDINAL), _LAST_WALL // _DAY_S)
        then = date.fromordinal(day + _EPOCH_ORDINAL)
        return then.year if self.rule.freq == YEARLY else then.year * 12 + then.month - 1

    def expand(self, period: int) -> list[int]:
        """The days of one period, sorted."""
        rule = self.rule
        if rule.freq == YEARLY:
            return self._expand_year(period) if 1 <= period <= 9999 else []
        if rule.freq == MONTHLY:
            year, month = divmod(period, 12)
            return self._expand_month(year, month + 1) if 1 <= year <= 9999 else []
        if rule.freq == WEEKLY:
            first = period * 7 - 3 + rule.wkst
            if rule.weekdays:
                found = [first + offset for offset in self.week_expansion]
            elif rule.weeknos or rule.yeardays or rule.monthdays:
                found = list(range(first, first + 7))
            else:
                found = [first + (self.weekday - rule.wkst) % 7]
            if rule.months or rule.weeknos or rule.yeardays or rule.monthdays:
                found = [day for day in found if self.fits(day)]
            return found
        return [period] if self.fits(period) else []

    def fits(self, day: int) -> bool:
        """True when the BYxxx parts, each read as a limit, let this day pass."""
        rule = self.rule
        if rule.weekdays and (day + 3) % 7 not in self.plain_weekdays:
            return False
        if not (rule.months or rule.monthdays or rule.yeardays or rule.weeknos):
            return True
        if not 1 <= day + _EPOCH_ORDINAL <= date.max.toordinal():
            return False
        then = date.fromordinal(day + _EPOCH_ORDINAL)
        if rule.months and then.month not in self.months:
            return False
        if rule.monthdays and not (
            then.day in rule.monthdays or then.day - _month_length(then.year, then.month) - 1 in rule.monthdays
        ):
            return False
        if rule.yeardays and day not in self._yearday_set(then.year):
            return False
        return not rule.weeknos or day in self._weekno_set(then.year)

    def _expand_year(self, year: int) -> list[int]:
        rule = self.rule
        first = _day(year, 1, 1)
        length = 366 if _is_leap(year) else 365
        if rule.weeknos:
            weekdays = self.plain_weekdays or {self.weekday}
            week1, weeks = self._weeks(year)
            found = set()
            for number in rule.weeknos:
                index = number - 1 if number > 0 else weeks + number
                if 0 <= index < weeks:
                    found |= {week1 + index * 7 + (weekday - rule.wkst) % 7 for weekday in weekdays}
            if rule.months:
                found = {day for day in found if _month_of(day) in self.months}
            return sorted(found)
        if rule.yeardays:
            found = set(self._yeardays(year))
            if rule.months:
                found = {day for day in found if _month_of(day) in self.months}
            if rule.monthdays:
                by_month = {day for month in range(1, 13) for day in self._month_days(year, month)}
                found &= by_month
            return sorted(self._limit_weekdays(found, first, length))
        if rule.monthdays or (rule.months and not rule.weekdays):
            found = set()
            # Without BYMONTH the month is DTSTART's, unless BYDAY picks from the whole year: so libical and ical.js.
            for month in rule.months or (range(1, 13) if rule.weekdays else (self.month,)):
                found |= self._month_days(year, month)
            return sorted(
                self._limit_weekdays(found, first, length) if not rule.months else self._limit_by_month(found)
            )
        if rule.weekdays:
            if rule.months:
                found = set()
                for month in rule.months:
                    found |= self._weekdays_in(_day(year, month, 1), _month_length(year, month))
                return sorted(found)
            return sorted(self._weekdays_in(first, length))
        return sorted(self._month_days(year, self.month))

    def _expand_month(self, year: int, month: int) -> list[int]:
        rule = self.rule
        if rule.months and month not in self.months:
            return []
        first, length = _day(year, month, 1), _month_length(year, month)
        if rule.monthdays:
            found = self._limit_weekdays(self._month_days(year, month), first, length)
        elif rule.weekdays:
            found = self._weekdays_in(first, length)
        elif rule.yeardays or rule.weeknos:
            found = set(range(first, first + length))
        else:
            found = self._month_days(year, month)
        if rule.yeardays:
            found &= self._yearday_set(year)
        if rule.weeknos:
            found &= self._weekno_set(year)
        return sorted(found)

    def _month_days(self, year: int, month: int) -> set[int]:
        """BYMONTHDAY, or DTSTART's day, in one month; days that the month lacks go where SKIP says (RFC 7529 §4.1)."""
        first, length = _day(year, month, 1), _month_length(year, month)
        found = set()
        for number in self.rule.monthdays or (self.month_day,):
            index = number - 1 if number > 0 else length + number
            if 0 <= index < length:
                found.add(first + index)
            elif self.rule.skip == "BACKWARD":
                found.add(first + length - 1 if number > 0 else first - 1)
            elif self.rule.skip == "FORWARD":
                found.add(first + length if number > 0 else first)
        return found

    def _yeardays(self, year: int) -> set[int]:
        first, length = _day(year, 1, 1), 366 if _is_leap(year) else 365
        found = set()
        for number in self.rule.yeardays:
            index = number - 1 if number > 0 else length + number
            if 0 <= index < length:
                found.add(first + index)
            elif self.rule.skip == "BACKWARD":
                found.add(first + length - 1 if number > 0 else first - 1)
            elif self.rule.skip == "FORWARD":
                found.add(first + length if number > 0 else first)
        return found

    def _weekdays_in(self, first: int, length: int) -> set[int]:
        """BYDAY within a month or year: every such weekday, or the nth from its start or end."""
        found: set[int] = set()
        for number, weekday in self.rule.weekdays:
            offset = (weekday - first - 3) % 7
            if number == 0:
                found.update(range(first + offset, first + length, 7))
                continue
            count = (length - offset + 6) // 7
            index = number - 1 if number > 0 else count + number
            if 0 <= index < count:
                found.add(first + offset + index * 7)
        return found

    def _limit_weekdays(self, days: set[int], first: int, length: int) -> set[int]:
        if not self.rule.weekdays:
            return days
        if self.numbered:
            return days & self._weekdays_in(first, length)
        return {day for day in days if (day + 3) % 7 in self.plain_weekdays}

    def _limit_by_month(self, days: set[int]) -> set[int]:
        if not self.rule.weekdays:
            return days
        if not self.numbered:
            return {day for day in days if (day + 3) % 7 in self.plain_weekdays}
        found = set()
        for day in days:
            then = date.fromordinal(day + _EPOCH_ORDINAL)
            if day in self._weekdays_in(_day(then.year, then.month, 1), _month_length(then.year, then.month)):
                found.add(day)
        return found

    def _yearday_set(self, year: int) -> frozenset[int]:
        if self._year_days[0] != year:
            self._year_days = (year, frozenset(self._yeardays(year)))
        return self._year_days[1]

    def _weekno_set(self, year: int) -> frozenset[int]:
        """Days in or near the calendar year that stand in a week of BYWEEKNO, also of a neighbouring week year."""
        if self._week_days[0] != year:
            found: set[int] = set()
            for week_year in (year - 1, year, year + 1):
                if 1 <= week_year <= 9999:
                    week1, weeks = self._weeks(week_year)
                    for number in self.rule.weeknos:
                        index = number - 1 if number > 0 else weeks + number
                        if 0 <= index < weeks:
                            found.update(range(week1 + index * 7, week1 + index * 7 + 7))
            self._week_days = (year, frozenset(found))
        return self._week_days[1]

    def _weeks(self, year: int) -> tuple[int, int]:
        """First day of week 1 and the number of weeks: week 1 is the first with four days or more in the year."""
        week1 = self._week1(_day(year, 1, 1))
        next_week1 = self._week1(_day(year, 1, 1) + (366 if _is_leap(year) else 365))
        return week1, (next_week1 - week1) // 7

    def _week1(self, first: int) -> int:
        offset = (first + 3 - self.rule.wkst) % 7
        return first - offset if offset <= 3 else first - offset + 7


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


_MONTH_LENGTHS = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _month_length(year: int, month: int) -> int:
    return 29 if month == 2 and _is_leap(year) else _MONTH_LENGTHS[month]


def _day(year: int, month: int, day: int) -> int:
    return date(year, month, day).toordinal() - _EPOCH_ORDINAL


def _month_of(day: int) -> int:
    ordinal = day + _EPOCH_ORDINAL
    return date.fromordinal(ordinal).month if 1 <= ordinal <= date.max.toordinal() else 0
