"""What leaves an organizer's calendar: the meeting as one guest may see it, and the messages that carry it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from dav.ical.by_reference import with_all_zones
from dav.ical.lines import Component, Line, fold, make_line, with_value
from dav.ical.make import PRODID, clean, utc_seconds, utc_text
from dav.ical.recur import TooManyInstances, iter_occurrences, moment
from dav.ical.rrule import Budget
from dav.ical.tz import UTC
from dav.scheduling import instances, merge
from dav.scheduling.addresses import Who, mail_of
from dav.scheduling.edit import SERVER_PARAMS, add_line, copy_tree, replace_line, with_params
from dav.scheduling.instances import is_future
from dav.scheduling.model import (
    MASTER,
    SchedulingObject,
    address_of,
    attendees_of,
    key_of_moment,
    number_of,
    partstat_of,
    read_object,
    stamp_of,
)
from dav.scheduling.plan import CHANGES, Message

# Instances behind a RANGE=THISANDFUTURE that a mail spells out: a year of weeks.
SPELLED_MAX = 52
_STEPS_MAX = 20_000
_FAR_S = 1 << 40
# The organizer's own: bookkeeping of his programs, and how his day is to look.
_OWN = frozenset({"DTSTAMP", "SEQUENCE", "TRANSP", "REQUEST-STATUS", "ACKNOWLEDGED", "COLOR", "METHOD"})
_OWN_PREFIXES = (
    "X-MOZ-", "X-APPLE-", "X-EVOLUTION-", "X-LIC-", "X-RADICALE-", "X-DAVENPORT-", "X-CALENDARSERVER-", "X-KDE-",
    "X-SYNCEVOLUTION-", "X-WR-", "X-DAVX5-", "X-TASKS-", "X-OC-", "X-NEXTCLOUD-",
    "X-MICROSOFT-CDO-BUSYSTATUS", "X-MICROSOFT-CDO-ALLDAYEVENT", "X-MICROSOFT-CDO-OWNERAPPTID",
)  # fmt: skip
_PLAIN_MAILTO = re.compile(r"mailto:[^\s<>?%\"]+", re.IGNORECASE)
_PLAIN_LINE = re.compile(rb"[\x20-\x7e\t]{1,75}\r\n")
# The first line of a component as we write it, where the one for SEQUENCE does not follow.
_UNNUMBERED = re.compile(rb"(\r\nBEGIN:(?:VEVENT|VTODO|VJOURNAL)\r\nDTSTAMP:[0-9]{8}T[0-9]{6}Z\r\n)(?!SEQUENCE[:;])")
_RULE_END = re.compile(r"\A(?:UNTIL|COUNT)\s*=", re.IGNORECASE)
_PRIVATE_HOST = re.compile(
    r"(?:localhost|.*\.(?:local|internal|lan|home\.arpa)|127\..*|10\..*|192\.168\..*|169\.254\..*"
    r"|172\.(?:1[6-9]|2\d|3[01])\..*|::1?|f[cd][0-9a-f]{2}:.*|fe80:.*)",
    re.IGNORECASE,
)


def view_for(
    obj: SchedulingObject,
    attendee: str,
    *,
    who: Who,
    method: str,
    now_s: int,
    sequence: int | None = None,
    only: Collection[str] = (),
) -> bytes | None:
    """The VCALENDAR that this attendee gets: only the parts he is invited to; None when that is nothing.

    Where he was taken out of an instance, or it is cancelled, there is an EXDATE (RFC 6638 §3.2.6). sequence: for all
    components; None leaves each its own. only: keys of instances to leave it at. For CANCEL: the series without its
    overrides, with STATUS:CANCELLED.
    """
    parts = cancel_parts(obj, attendee) if method == "CANCEL" else _view_parts(obj, attendee, only)
    if not parts:
        return None
    status = "CANCELLED" if method == "CANCEL" else None
    asks = method == "REQUEST"
    ready = [_outgoing(obj, part, who, now_s=now_s, sequence=sequence, status=status, asks=asks) for part in parts]
    return _calendar(obj, method, ready)


def _view_parts(obj: SchedulingObject, attendee: str, only: Collection[str]) -> list[Component]:
    """The live components that name him; the master with an EXDATE for each instance that does not."""
    if only:
        return [part for key, part in obj.parts.items() if key in only]
    live = [(key, part) for key, part in obj.parts.items() if not is_cancelled(part) and attendee in attendees_of(part)]
    found = []
    keys = {key for key, _ in live}
    for key, part in live:
        if key == MASTER and len(keys) < len(obj.parts):  # RFC 6638 §3.2.6
            part = _without_instances(obj, part, [other for other in obj.parts if other not in keys])
        found.append(part)
    return found


def _without_instances(obj: SchedulingObject, master: Component, keys: Iterable[str]) -> Component:
    made = copy_tree(master)
    known = obj.exdates()
    for key in keys:
        line = obj.parts[key].first("RECURRENCE-ID")
        if line is None or key in known:
            continue
        if is_future(obj.parts[key]):
            _end_before(made, key)
            continue
        params = tuple((name, (value,)) for name in ("VALUE", "TZID") if (value := line.param(name)) is not None)
        add_line(made, make_line("EXDATE", clean(line.value.strip()), params))
    return made


def _end_before(master: Component, key: str) -> None:
    """Ends the series one second, or one day, before the instance with this key (UNTIL, RFC 5545 §3.3.10)."""
    try:
        until = _just_before(key)
    except (ValueError, OverflowError):
        return
    for line in master.all("RRULE"):
        kept = [part for part in line.value.split(";") if part.strip() and not _RULE_END.match(part.strip())]
        replace_line(master, line, with_value(line, ";".join([*kept, f"UNTIL={until}"])))


def _just_before(value: str) -> str:
    if "T" not in value:
        return f"{datetime.strptime(value, '%Y%m%d') - timedelta(days=1):%Y%m%d}"
    zulu = "Z" if value.endswith("Z") else ""
    return f"{datetime.strptime(value.rstrip('Z'), '%Y%m%dT%H%M%S') - timedelta(seconds=1):%Y%m%dT%H%M%S}{zulu}"


def cancel_parts(obj: SchedulingObject, attendee: str) -> list[Component]:
    """The components that a CANCEL of everything names: the series, or the instances that he was invited to."""
    master = obj.master
    if master is not None and attendee in attendees_of(master):
        return [master]
    return [part for part in obj.parts.values() if attendee in attendees_of(part)]


def is_cancelled(part: Component) -> bool:
    """Whether it says of itself that it does not take place."""
    return (part.value("STATUS") or "").strip().upper() == "CANCELLED"


def _outgoing(
    obj: SchedulingObject,
    part: Component,
    who: Who,
    *,
    now_s: int,
    sequence: int | None = None,
    status: str | None = None,
    only: str | None = None,
    asks: bool = False,
) -> Component:
    """A component as it leaves. status: set, "" taken away, None as it is. only: the one ATTENDEE that stays.

    asks: it is a question to those who have not answered.
    """
    items: list[Line | Component] = [make_line("DTSTAMP", utc_text(now_s))]
    number = number_of(part) if sequence is None else max(sequence, 0)
    if number or part.first("SEQUENCE") is not None:  # none is 0 (RFC 5545 §3.8.7.4)
        items.append(make_line("SEQUENCE", str(number)))
    organizer = False
    seen: set[str] = set()
    for item in part.items:
        if isinstance(item, Component):
            if item.name != "VALARM" and not item.name.startswith("X-"):
                items.append(item)
            continue
        name = item.name
        if not name or name in _OWN or (name == "STATUS" and status is not None) or _own_x(name):
            continue
        if name == "ATTACH" and _private(item):
            continue
        if name == "ATTENDEE":
            address = address_of(item)
            if not address or address in seen or (only is not None and address != only):
                continue
            seen.add(address)
            item = _bare_address(item)
            if asks:
                item = _asked(item)
        elif name == "ORGANIZER":
            organizer = True
            item = _organizer_line(item, who)
        items.append(item)
    if not organizer:
        line = next((line for other in obj.parts.values() if (line := other.first("ORGANIZER")) is not None), None)
        if line is not None:
            items.append(_organizer_line(line, who))
    if status:
        items.append(make_line("STATUS", status))
    first_component = [item for item in items if isinstance(item, Component)]
    lines = [item for item in items if isinstance(item, Line)]
    return Component(part.name, part.begin, [*lines, *first_component], part.end)


def _own_x(name: str) -> bool:
    return name.startswith(_OWN_PREFIXES) and name not in merge.SHARED_X


def _private(line: Line) -> bool:
    """Whether an ATTACH points where its reader cannot go: a file, this machine, a private network."""
    if (line.param("VALUE") or "").upper() == "BINARY":
        return False
    try:
        parts = urlsplit(line.value.strip())
        host = parts.hostname or ""
    except ValueError:
        return True
    if parts.scheme not in ("http", "https", "ftp", "ftps", "cid", "data", "mailto"):
        return True
    return parts.username is not None or bool(host and _PRIVATE_HOST.fullmatch(host))


def _bare_address(line: Line) -> Line:
    line = with_params(line, dict.fromkeys(SERVER_PARAMS))
    address = address_of(line)
    # CLIENT "mailto:Name <address>" and percent-encoding are not understood by mail programs.
    if mail_of(address) is not None and not _PLAIN_MAILTO.fullmatch(line.value):
        return with_value(line, address)
    return line


def _organizer_line(line: Line, who: Who) -> Line:
    line = _bare_address(line)
    # CLIENT Apple's write a principal URL or urn:uuid: nobody elsewhere could answer to that.
    if mail_of(address_of(line)) is None and mail_of(who.main) is not None and who.has(address_of(line)):
        return with_value(line, who.main)
    return line


def _asked(line: Line) -> Line:
    """Whoever has not answered is asked in so many words: mail programs show no buttons else."""
    if partstat_of(line) != "NEEDS-ACTION":
        return line
    return with_params(line, {"PARTSTAT": "NEEDS-ACTION", "RSVP": "TRUE"})


def _calendar(obj: SchedulingObject, method: str, components: list[Component]) -> bytes:
    """The message's text: our frame, the time zones that it needs, CRLF, no line over 75 octets, UTF-8."""
    used = {tzid for component in components for tzid in _tzids(component)}
    parts = [b"BEGIN:VCALENDAR\r\n", fold("VERSION:2.0"), fold(f"PRODID:{PRODID}"), fold("CALSCALE:GREGORIAN")]
    parts.append(fold(f"METHOD:{method}"))
    for item in obj.calendar.components:
        tzid = (item.value("TZID") or "").strip()
        if item.name == "VTIMEZONE" and tzid in used:
            # As the organizer's program wrote it: what goes by mail gets its own (dav.mail.portable).
            _write(item, parts)
            used.discard(tzid)
    for component in components:
        _write(component, parts)
    parts.append(b"END:VCALENDAR\r\n")
    return with_all_zones(b"".join(parts)) if used else b"".join(parts)


def _tzids(component: Component) -> Iterable[str]:
    for item in component.items:
        if isinstance(item, Component):
            yield from _tzids(item)
        elif ";" in item.head and (tzid := item.param("TZID")):
            yield tzid.strip()


def _write(component: Component, parts: list[bytes]) -> None:
    parts.append(fold(f"BEGIN:{clean(component.name)}"))
    for item in component.items:
        if isinstance(item, Component):
            _write(item, parts)
        elif item.name:
            raw = item.raw
            parts.append(raw if _PLAIN_LINE.fullmatch(raw) else fold(clean(f"{item.head}:{item.value}")))
    parts.append(fold(f"END:{clean(component.name)}"))


def for_mail(calendar: bytes) -> bytes:
    """A message as mail programs understand it: each component with its SEQUENCE, and what RANGE=THISANDFUTURE moves
    written out, instance by instance.

    Up to SPELLED_MAX instances from the message's DTSTAMP on, or from the first one when all are to come. The last
    keeps the RANGE, so that programs that know it are right about the rest too. Other messages come back as they are.
    """
    calendar = _UNNUMBERED.sub(rb"\1SEQUENCE:0\r\n", calendar)
    if b"THISANDFUTURE" not in calendar.upper():
        return calendar
    obj = read_object(calendar)
    ranges = [part for part in obj.parts.values() if is_future(part)]
    if obj.master is None or not ranges:
        return calendar
    found = _behind_ranges(obj, ranges)
    if not found:
        return calendar
    for part in ranges:
        _with_range(part, None)
    _with_range(found[-1], "THISANDFUTURE")
    at = next(at for at, item in enumerate(obj.calendar.items) if item is ranges[-1])
    obj.calendar.items[at + 1 : at + 1] = found
    return obj.to_bytes()


def _behind_ranges(obj: SchedulingObject, ranges: list[Component]) -> list[Component]:
    """The next instances that overrides with RANGE describe, as overrides of their own, in order of time."""
    keys: list[tuple[int, str]] = []
    try:
        first_s = min(moment(line, obj.zones).seconds(UTC) for part in ranges for line in part.all("RECURRENCE-ID")[:1])
        written_s = max((utc_seconds(stamp) for part in ranges if (stamp := stamp_of(part))), default=first_s)
        for instance in iter_occurrences(
            obj.obj, max(first_s, written_s) - 1, _FAR_S, floating_zone=UTC, budget=Budget(_STEPS_MAX)
        ):
            if instance.overridden or instance.recurrence_id is None or not is_future(instance.component):
                continue
            keys.append((instance.start_s, key_of_moment(instance.recurrence_id, obj.start)))
            if len(keys) >= SPELLED_MAX:
                break
    except (TooManyInstances, ValueError):
        pass  # the ones found are right
    return [made for _, key in sorted(keys) if (made := instances.instance_of(obj, key)) is not None]


def _with_range(part: Component, value: str | None) -> None:
    line = part.first("RECURRENCE-ID")
    if line is not None:
        replace_line(part, line, with_params(line, {"RANGE": value}))


# ---- messages ----


def is_past(obj: SchedulingObject, now_s: int, keys: Collection[str] = ()) -> bool:
    """Whether nothing of these parts, or of the whole, is still to come."""
    return instances.is_past(obj, keys, now_s)


@dataclass(slots=True)
class Writer:
    """Makes messages; what is the same for many recipients is made once."""

    who: Who
    now_s: int
    _views: dict[tuple[object, ...], bytes] = field(default_factory=dict)
    _guests: dict[int, tuple[Component, dict[str, Line]]] = field(default_factory=dict)

    def _guests_of(self, part: Component) -> dict[str, Line]:
        found = self._guests.get(id(part))
        if found is None:
            found = self._guests[id(part)] = (part, attendees_of(part))
        return found[1]

    def request(
        self,
        obj: SchedulingObject,
        attendee: str,
        changes: Collection[str],
        *,
        quiet: bool,
        past: bool,
        only: Collection[str] = (),
    ) -> Message | None:
        """The meeting as this guest may see it, or only these instances of it; None when he is invited to nothing."""
        keys = [key for key, part in obj.parts.items() if not is_cancelled(part) and attendee in self._guests_of(part)]
        if only:
            keys = [key for key in keys if key in only]
        if not keys:
            return None
        cached = ("REQUEST", id(obj), bool(only), *keys)
        calendar = self._views.get(cached)
        if calendar is None:
            made = view_for(obj, attendee, who=self.who, method="REQUEST", now_s=self.now_s, only=keys if only else ())
            assert made is not None
            calendar = self._views[cached] = made
        sequence = max(number_of(obj.parts[key]) for key in keys)
        recurrence = () if MASTER in keys else keys
        shown = obj.parts[keys[0]]
        return self._message("REQUEST", obj, shown, attendee, recurrence, sequence, calendar, changes, quiet, past)

    def cancel(
        self,
        obj: SchedulingObject,
        attendee: str,
        parts: list[Component],
        keys: Collection[str],
        *,
        sequence: int,
        removed: bool,
        past: bool,
    ) -> Message:
        """CANCEL of these components. removed: only for him, so no STATUS and only his ATTENDEE (RFC 5546 §3.2.5)."""
        cached = ("CANCEL", id(obj), sequence, attendee if removed else "", *map(id, parts))
        calendar = self._views.get(cached)
        if calendar is None:
            ready = [
                _outgoing(
                    obj, part, self.who, now_s=self.now_s, sequence=sequence,
                    status="" if removed else "CANCELLED", only=attendee if removed else None,
                )
                for part in parts
            ]  # fmt: skip
            calendar = self._views[cached] = _calendar(obj, "CANCEL", ready)
        changes = ["removed" if removed else "cancelled", *(["instance"] if keys else [])]
        return self._message("CANCEL", obj, parts[0], attendee, keys, sequence, calendar, changes, False, past)

    def _message(
        self,
        method: str,
        obj: SchedulingObject,
        shown: Component,
        attendee: str,
        keys: Collection[str],
        sequence: int,
        calendar: bytes,
        changes: Collection[str],
        quiet: bool,
        past: bool,
    ) -> Message:
        organizer = obj.organizer
        if mail_of(organizer) is None and mail_of(self.who.main) is not None:
            organizer = self.who.main
        line = next((line for part in obj.parts.values() if (line := part.first("ORGANIZER")) is not None), None)
        name = (line.param("CN") if line is not None else None) or self.who.display_name
        guests = self._guests_of(shown)
        recipient_name = guests[attendee].param("CN") or "" if attendee in guests else ""
        summary = shown.first("SUMMARY")
        return Message(
            method, organizer, attendee, obj.uid, obj.kind, ",".join(sorted(keys)), sequence, calendar,
            in_order(changes), quiet, past, clean(name).strip(), clean(recipient_name).strip(),
            "" if summary is None else summary.text,
        )  # fmt: skip


def in_order(changes: Collection[str]) -> tuple[str, ...]:
    """Names of changes in the order of CHANGES, each once."""
    return tuple(name for name in CHANGES if name in changes)
