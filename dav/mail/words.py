"""Times and recurrence rules in words. Dates and times are Babel's, sentences are our own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from dav.ical.recur import Moment
from dav.ical.rrule import DAILY, HOURLY, MINUTELY, MONTHLY, WEEKLY, YEARLY, Rule, local_of
from dav.ical.tz import UTC as UTC_ZONE
from dav.ical.tz import Zone
from dav.mail.texts import Texts

_WORKING = frozenset(range(5))
_WEEKEND = frozenset((5, 6))
_DATES_MAX = 12
ZONE_MARK = " · "  # between a time and its zone
_NARROW = str.maketrans({"\u202f": "\u00a0", "\u2009": "\u00a0"})  # many fonts have no glyph for these


# ---- dates and times ----


@dataclass(frozen=True, slots=True)
class Span:
    """When something is. end: exclusive for dates; None when it has no length. due: only its end is known (a task)."""

    start: Moment
    end: Moment | None = None
    due: bool = False

    @property
    def all_day(self) -> bool:
        return self.start.kind == "date"


@dataclass(frozen=True, slots=True)
class Clocks:
    """In whose time to speak. reader: zone of who reads, when it is known; home: of who writes, for times in UTC."""

    reader: Zone | None = None
    home: Zone | None = None


def day_words(day: date, texts: Texts) -> str:
    """ "Wednesday, March 4, 2026"."""
    from babel.dates import format_date

    return _plain(format_date(day, "full", locale=texts.locale))


def short_day_words(day: date, texts: Texts) -> str:
    """ "Mar 4, 2026"."""
    from babel.dates import format_date

    return _plain(format_date(day, "medium", locale=texts.locale))


def time_words(at: datetime, texts: Texts) -> str:
    """ "10:00 AM"."""
    from babel.dates import format_time

    return _plain(format_time(at.time(), "short", locale=texts.locale))


def span_words(span: Span, texts: Texts, clocks: Clocks, *, zone_of_series: bool = False) -> list[str]:
    """When it is: one line, or two where the reader's clock and the event's show different times.

    zone_of_series: the zone without an offset from UTC, which changes over a year.
    """
    if span.start.zone is None:
        return [_local_words(span, None, texts)]
    zone = span.start.zone
    if span.start.kind == "utc" and clocks.home is not None:
        zone = clocks.home
    lines = []
    at_s = span.start.seconds(UTC_ZONE)
    if clocks.reader is not None and (
        clocks.reader.to_local(at_s) != zone.to_local(at_s) or (zone.key is None and span.start.kind != "utc")
    ):
        lines.append(_in_zone(span, clocks.reader, texts, at_s, zone_of_series))
    elif clocks.reader is not None:
        zone = clocks.reader
    lines.append(_in_zone(span, zone, texts, at_s, zone_of_series))
    return lines


def _in_zone(span: Span, zone: Zone, texts: Texts, at_s: int, zone_of_series: bool) -> str:
    when = _local_words(span, zone, texts)
    offset = "" if zone_of_series else offset_words(zone, at_s)
    return f"{when}{ZONE_MARK}{zone_words(zone, texts, span.start.tzid or '', offset)}"


def _local_words(span: Span, zone: Zone | None, texts: Texts) -> str:
    first = _shown(span.start, zone)
    if span.all_day:
        last = span.end.local - timedelta(days=1) if span.end is not None else first
        if last.date() <= first.date():
            return texts.say("{day}, all day", day=day_words(first, texts))
        return texts.say("{first} – {last}", first=day_words(first, texts), last=day_words(last, texts))
    day, begin = day_words(first, texts), time_words(first, texts)
    if span.due:
        return texts.say("due {day}, {time}", day=day, time=begin)
    last = _shown(span.end, zone) if span.end is not None else first
    if last <= first:
        return texts.say("{day}, {time}", day=day, time=begin)
    end = time_words(last, texts)
    # What ends at midnight has ended on its own day.
    if first.date() == last.date() or (last.time() == time() and last - first <= timedelta(days=1)):
        return texts.say("{day}, {start} – {end}", day=day, start=begin, end=end)
    return texts.say(
        "{day}, {start} – {last_day}, {end}", day=day, start=begin, last_day=day_words(last, texts), end=end
    )


def _shown(at: Moment, zone: Zone | None) -> datetime:
    return at.local if zone is None or at.zone is None else zone.to_local(at.zone.to_utc(at.local))


def zone_words(zone: Zone, texts: Texts, tzid: str = "", offset: str = "") -> str:
    """ "Central European Time (Berlin, UTC+1)". tzid: how the event calls it, for a zone that nobody else knows."""
    from babel.dates import get_timezone_name

    if zone.key in (None, "UTC", "Etc/UTC", "GMT"):
        return "UTC" if zone is UTC_ZONE or zone.key else (tzid[:60] or "UTC")
    key = str(zone.key)
    if key.startswith("Etc/"):
        return offset or key.removeprefix("Etc/")
    name = _plain(str(get_timezone_name(ZoneInfo(key), width="long", locale=texts.locale)))
    city = texts.locale.time_zones.get(key, {}).get("city") or key.rpartition("/")[2].replace("_", " ")
    inside = ", ".join(part for part in (city if city not in name else "", offset) if part)
    return f"{name} ({inside})" if inside else name


def offset_words(zone: Zone, at_s: int) -> str:
    """ "UTC+1", "UTC−3:30"."""
    local = zone.to_local(at_s).replace(tzinfo=UTC)
    minutes = round((local.timestamp() - at_s) / 60)
    if not minutes:
        return "UTC+0"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else '−'}{hours}" + (f":{rest:02d}" if rest else "")


# ---- recurrence rules ----


def rule_words(rule: Rule, start: Moment, texts: Texts) -> str | None:
    """A rule in words, such as "monthly on the first Monday, until March 4, 2027"; None when there are none for it.

    start: DTSTART, whose weekday, day and month stand in where the rule names none.
    """
    from babel.dates import format_date

    what = _rule_body(_reduced(rule, start.local), start.local, texts)
    if what is None:
        return None
    if rule.count is not None:
        return texts.count("{rule}, once", "{rule}, {n} times", rule.count, rule=what)
    until = rule.until
    if until is not None:
        last = local_of(until.wall)
        if until.kind == "utc" and start.zone is not None:
            last = start.zone.to_local(until.wall)
        return texts.say("{rule}, until {date}", rule=what, date=_plain(format_date(last, "long", locale=texts.locale)))
    return what


@dataclass(frozen=True, slots=True)
class _Body:
    """A rule without what it only repeats. days: (n, weekday), n = 0 for each; picks: BYSETPOS."""

    freq: int
    interval: int
    months: tuple[int, ...]
    monthdays: tuple[int, ...]
    weekdays: tuple[tuple[int, int], ...]
    picks: tuple[int, ...]


def _reduced(rule: Rule, start: datetime) -> _Body | None:
    """The rule in as few forms as can be; None when a part of it has no words."""
    if rule.weeknos or rule.yeardays or rule.skip != "OMIT" or rule.interval > 9_999:
        return None
    sub_daily = rule.freq > DAILY
    # A rule may spell out the time that DTSTART has anyway.
    for given, own in ((rule.hours, start.hour), (rule.minutes, start.minute), (rule.seconds, start.second)):
        if given and (sub_daily or given != (own,)):
            return None
    freq, months, monthdays, weekdays, picks = rule.freq, rule.months, rule.monthdays, rule.weekdays, rule.setpos
    if picks and len(weekdays) == 1 and not weekdays[0][0] and not monthdays and freq == MONTHLY:
        weekdays, picks = tuple((n, weekdays[0][1]) for n in picks), ()
    # The days 8 to 14 hold the second of each weekday.
    weeks = {tuple(range(7 * n - 6, 7 * n + 1)): n for n in range(1, 5)}
    if monthdays in weeks and len(weekdays) == 1 and not weekdays[0][0] and not picks and freq in (MONTHLY, YEARLY):
        if freq == YEARLY and not months:
            return None
        weekdays, monthdays = ((weeks[monthdays], weekdays[0][1]),), ()
    body = _Body(freq, rule.interval, months, monthdays, weekdays, picks)
    plain = bool(weekdays) and not any(n for n, _ in weekdays)
    if rule.interval == 1 and freq in (DAILY, MONTHLY, YEARLY) and plain and not monthdays and not picks:
        return _Body(WEEKLY, 1, months, (), weekdays, ())  # every one of these weekdays
    if rule.interval == 1 and freq == DAILY and monthdays and not weekdays:
        return _Body(MONTHLY, 1, months, monthdays, (), picks)
    return body


def _rule_body(body: _Body | None, start: datetime, texts: Texts) -> str | None:
    if body is None:
        return None
    n = body.interval
    if body.freq > DAILY:
        return _sub_daily(body, texts)
    if body.freq == DAILY:
        if body.monthdays or body.weekdays or body.picks:
            return None
        return _in_months(texts.count("every day", "every {n} days", n), body.months, texts)
    if body.freq == WEEKLY:
        return _weekly(body, start, texts)
    if body.freq == MONTHLY and not (body.months and n > 1):
        days = _days(body, start, texts)
        if days is None:
            return None
        if body.months:
            return _yearly_in(1, body.months, days, texts)
        return texts.count("monthly on {days}", "every {n} months on {days}", n, days=texts.list(days))
    if body.freq == YEARLY:
        return _yearly(body, start, texts)
    return None


def _sub_daily(body: _Body, texts: Texts) -> str | None:
    if body.months or body.monthdays or body.weekdays or body.picks:
        return None
    if body.freq == HOURLY:
        return texts.count("every hour", "every {n} hours", body.interval)
    if body.freq == MINUTELY:
        return texts.count("every minute", "every {n} minutes", body.interval)
    return None


def _weekly(body: _Body, start: datetime, texts: Texts) -> str | None:
    if body.monthdays or body.picks or any(n for n, _ in body.weekdays):
        return None
    days = sorted({day for _, day in body.weekdays} or {start.weekday()})
    if body.interval == 1 and len(days) == 7:
        return _in_months(texts.count("every day", "every {n} days", 1), body.months, texts)
    if body.interval == 1 and frozenset(days) == _WORKING:
        return _in_months(texts.say("every weekday, Monday to Friday"), body.months, texts)
    names = [texts.within("weekly on", "{weekday}", weekday=_weekday(day, texts)) for day in days]
    what = texts.count("weekly on {days}", "every {n} weeks on {days}", body.interval, days=texts.list(names))
    return _in_months(what, body.months, texts)


def _yearly(body: _Body, start: datetime, texts: Texts) -> str | None:
    months = body.months
    if not months and (body.weekdays or body.picks):
        return None  # the twentieth Monday of a year, and the like
    months = months or (start.month,)
    monthdays = body.monthdays or (() if body.weekdays else (start.day,))
    if monthdays and min(monthdays) > 0 and not body.weekdays and not body.picks:
        if len(months) * len(monthdays) > _DATES_MAX:
            return None
        # A leap year, so that February 29 can be named.
        dates = [(month, day) for month in months for day in monthdays if _is_date(month, day)]
        if not dates:
            return None
        names = [texts.within("yearly on", "{date}", date=_month_day(month, day, texts)) for month, day in dates]
        return texts.count("yearly on {days}", "every {n} years on {days}", body.interval, days=texts.list(names))
    if len(months) > 1 and body.picks:
        return None  # it picks from the whole year
    days = _days(_Body(YEARLY, body.interval, months, monthdays, body.weekdays, body.picks), start, texts)
    return None if days is None else _yearly_in(body.interval, months, days, texts)


def _yearly_in(n: int, months: tuple[int, ...], days: list[str], texts: Texts) -> str:
    return texts.count(
        "yearly in {months} on {days}",
        "every {n} years in {months} on {days}",
        n,
        months=texts.list(_month(month, texts) for month in months),
        days=texts.list(days),
    )


def _days(body: _Body, start: datetime, texts: Texts) -> list[str] | None:
    """The days of a month that a rule means, each in words."""
    if body.picks:
        return _picked(body, texts)
    if body.weekdays:
        if body.monthdays:
            return None  # Friday the thirteenth
        found = []
        for n, weekday in sorted(body.weekdays, key=lambda item: (item[0] < 0, item)):
            ordinal = _ordinal(n, texts)
            if ordinal is None:
                return None
            found.append(texts.say("{ordinal} {weekday}", ordinal=ordinal, weekday=_weekday(weekday, texts)))
        return found
    named = []
    for day in sorted(body.monthdays or (start.day,), key=lambda day: (day < 0, day)):
        if day < -1:
            return None
        named.append(texts.say("the last day") if day == -1 else texts.say("day {day}", day=day))
    return named


def _picked(body: _Body, texts: Texts) -> list[str] | None:
    if body.monthdays or any(n for n, _ in body.weekdays):
        return None
    days = frozenset(day for _, day in body.weekdays)
    found = []
    for n in sorted(body.picks, key=lambda n: (n < 0, n)):
        ordinal = _ordinal(n, texts)
        if ordinal is None:
            return None
        if days == _WORKING:
            found.append(texts.say("{ordinal} working day", ordinal=ordinal))
        elif days == _WEEKEND:
            found.append(texts.say("{ordinal} weekend day", ordinal=ordinal))
        elif days == _WORKING | _WEEKEND:
            found.append(texts.say("{ordinal} day", ordinal=ordinal))
        else:
            return None
    return found


def _ordinal(n: int, texts: Texts) -> str | None:
    words = {
        1: texts.say("the first"),
        2: texts.say("the second"),
        3: texts.say("the third"),
        4: texts.say("the fourth"),
        5: texts.say("the fifth"),
        -1: texts.say("the last"),
        -2: texts.say("the second to last"),
        -3: texts.say("the third to last"),
    }
    return words.get(n)


def _in_months(what: str, months: tuple[int, ...], texts: Texts) -> str:
    if not months:
        return what
    return texts.say("{rule}, in {months}", rule=what, months=texts.list(_month(month, texts) for month in months))


def _weekday(day: int, texts: Texts) -> str:
    return str(texts.locale.days["format"]["wide"][day])


def _month(month: int, texts: Texts) -> str:
    return str(texts.locale.months["stand-alone"]["wide"][month])


def _month_day(month: int, day: int, texts: Texts) -> str:
    from babel.dates import format_skeleton

    return _plain(format_skeleton("MMMMd", datetime(2000, month, day), locale=texts.locale))


def _is_date(month: int, day: int) -> bool:
    return day <= (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]


def _plain(text: str) -> str:
    return text.translate(_NARROW)


def capital(text: str) -> str:
    """With a capital at the beginning, for a line of its own."""
    return text[:1].upper() + text[1:]
