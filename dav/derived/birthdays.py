"""A calendar of the birthdays and anniversaries that stand in an account's contacts, kept as they are written.

One event a card and kind of day, named after the card, so that only a change of the date, the year or the name changes
it. Somebody born on 29 February has the last day of February in other years: the day does not leave its month.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from dav.ical.lines import Line, LineError, escape, make_line, read, unescape
from dav.ical.make import PRODID, clean
from dav.ical.secrecy import PUBLIC, secrecy_of
from dav.mail.texts import Texts, texts_for
from dav.methods.put import CALENDAR_TYPE, describe, etag_of
from dav.names import ICAL
from dav.vcard_lines import property_lines
from storage import accounts, collections, derived, objects, properties
from storage.engine import transaction
from storage.errors import StorageError
from storage.records import SECRECY, Collection, ObjectRecord

if TYPE_CHECKING:
    from dav.config import Config
    from storage.engine import Conn, Store

_log = logging.getLogger("davenport.derived")

ORIGIN = derived.BIRTHDAYS
PATH = "birthdays"
KINDS = ("birthday", "anniversary")
_COLOR = "#D81B60FF"
_NAME_CHARS_MAX = 200
_LINES_MAX = 5_000
_BATCH = 100
_PAUSE_S = 0.01
# A leap year, for a day of which nobody said the year.
_SOME_YEAR = 1972
# CLIENT iOS, macOS: 1604 stands for no year, as an attribute says; programs between may have lost the attribute.
_APPLE_NO_YEAR = 1604
# Before it the calendar was another one, and a number there is a mistake or a sign for "unknown".
_FIRST_YEAR = 1583
_FULL = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ].*)?", re.A)
_YEARLESS = re.compile(r"--(\d\d)-?(\d\d)(?:T.*)?", re.A)
_MENTIONED = re.compile(rb"^(?:[\w-]+\.)?(?:BDAY|(?:X-(?:[\w-]+-)?)?ANNIVERSARY|X-ABDATE)[;:]", re.I | re.M)
_ANNIVERSARIES = ("ANNIVERSARY", "X-ANNIVERSARY", "X-EVOLUTION-ANNIVERSARY")
_APPLE_LABEL = "_$!<ANNIVERSARY>!$_"


@dataclass(frozen=True, slots=True)
class Day:
    """A day that comes every year. kind: of KINDS. year: in which it was first, None when nobody says. name: whose.

    secrecy: of the card, which is that of its event: who may not see the one must not learn of it from the other.
    """

    kind: str
    month: int
    day: int
    year: int | None
    name: str
    secrecy: int = PUBLIC


# ---- pure --------------------------------------------------------------------------------------------------------


def days_of(body: bytes) -> list[Day]:
    """The days in a card, of each kind the first that can be read; none in a group, or in a card without a name."""
    if not _MENTIONED.search(body):
        return []
    try:
        card = read(body, lines_max=_LINES_MAX).components[0]
    except (LineError, IndexError):
        return []
    lines = [line for line in property_lines(card, (card.value("VERSION") or "3.0").strip()) if isinstance(line, Line)]
    if any(
        line.name in ("KIND", "X-ADDRESSBOOKSERVER-KIND") and line.value.strip().lower() == "group" for line in lines
    ):
        return []
    name = _name(lines)
    if not name:
        return []
    labels = {
        line.group.casefold(): line.value.strip().upper() for line in lines if line.name == "X-ABLABEL" and line.group
    }
    secrecy = secrecy_of(card)
    found: dict[str, Day] = {}
    for line in lines:
        kind = ""
        if line.name == "BDAY":
            kind = "birthday"
        elif line.name in _ANNIVERSARIES or (
            line.name == "X-ABDATE" and labels.get(line.group.casefold()) == _APPLE_LABEL
        ):
            kind = "anniversary"
        if kind and kind not in found:
            when = _when(line)
            if when is not None:
                found[kind] = Day(kind, when[1], when[2], when[0], name, secrecy)
    return [found[kind] for kind in KINDS if kind in found]


def _when(line: Line) -> tuple[int | None, int, int] | None:
    """(year or None, month, day) of a date; None for text, for a date without a day, and for other calendars."""
    if (line.param("VALUE") or "").lower() == "text" or (line.param("CALSCALE") or "gregorian").lower() != "gregorian":
        return None
    value = line.value.strip()
    full, yearless = _FULL.fullmatch(value), _YEARLESS.fullmatch(value)
    if full is not None:
        year: int | None = int(full[1])
        month, day = int(full[2]), int(full[3])
        if (
            full[1] == (line.param("X-APPLE-OMIT-YEAR") or "").strip()
            or year == _APPLE_NO_YEAR
            or int(full[1]) < _FIRST_YEAR
        ):
            year = None
    elif yearless is not None:
        year, month, day = None, int(yearless[1]), int(yearless[2])
    else:
        return None
    try:
        date(year or _SOME_YEAR, month, day)
    except ValueError:
        return None
    return year, month, day


def _name(lines: list[Line]) -> str:
    first = dict.fromkeys(("FN", "N", "NICKNAME", "ORG"), "")
    for line in lines:
        if line.name in first and not first[line.name]:
            if line.name == "N":
                parts = [unescape(part).strip() for part in line.value.split(";")]
                text = " ".join(part for part in (*parts[1:2], *parts[:1]) if part)
            else:
                text = unescape(line.value).strip(" ;")
            first[line.name] = " ".join(text.split())
    return next((text for text in first.values() if text), "")[:_NAME_CHARS_MAX]


def event(day: Day, uid: str, texts: Texts) -> bytes:
    """The event of a day: the same bytes for the same day."""
    with_year = {
        "birthday": texts.say("Birthday: {name} ({year})", name=day.name, year=day.year),
        "anniversary": texts.say("Anniversary: {name} ({year})", name=day.name, year=day.year),
    }
    without = {
        "birthday": texts.say("Birthday: {name}", name=day.name),
        "anniversary": texts.say("Anniversary: {name}", name=day.name),
    }
    summary = (without if day.year is None else with_year)[day.kind]
    leap = (day.month, day.day) == (2, 29)
    lines = (
        make_line("BEGIN", "VCALENDAR"),
        make_line("VERSION", "2.0"),
        make_line("PRODID", PRODID),
        make_line("CALSCALE", "GREGORIAN"),
        make_line("BEGIN", "VEVENT"),
        make_line("UID", uid),
        # When it was made is nobody's concern, and would be another change each time.
        make_line("DTSTAMP", "20000101T000000Z"),
        make_line("DTSTART", f"{day.year or _SOME_YEAR:04d}{day.month:02d}{day.day:02d}", (("VALUE", ("DATE",)),)),
        make_line("RRULE", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1" if leap else "FREQ=YEARLY"),
        make_line("SUMMARY", clean(escape(summary))),
        *((make_line("CLASS", SECRECY[day.secrecy]),) if day.secrecy != PUBLIC else ()),
        make_line("TRANSP", "TRANSPARENT"),
        make_line("END", "VEVENT"),
        make_line("END", "VCALENDAR"),
    )
    return b"".join(line.raw for line in lines)


def _key(book: Collection, card: str) -> str:
    return f"{book.id}-{hashlib.sha256(card.encode()).hexdigest()[:32]}"


def _event_name(book: Collection, card: str, kind: str) -> str:
    return f"{_key(book, card)}-{kind}.ics"


def _uid(book: Collection, card: str, kind: str) -> str:
    # Not of the calendar: whoever turns it off and on again has the same events.
    return f"{hashlib.sha256(f'{book.key}/{card}'.encode()).hexdigest()[:32]}-{kind}"


# ---- as cards are written ----------------------------------------------------------------------------------------


def card_written(conn: Conn, config: Config, book: Collection, card: str, body: bytes, *, now_s: int) -> None:
    """To be called in the transaction that writes a card. One statement for an account without such a calendar."""
    calendar = _calendar_for(conn, book)
    if calendar is not None:
        _settle(conn, config, calendar, book, {card: days_of(body)}, _texts(conn, book.owner_id), now_s=now_s)


def card_removed(conn: Conn, book: Collection, card: str, *, now_s: int) -> None:
    """To be called in the transaction that removes a card, or gives it another name."""
    calendar = _calendar_for(conn, book)
    if calendar is not None:
        names = [_event_name(book, card, kind) for kind in KINDS]
        _remove(conn, calendar, objects.objects_by_names(conn, calendar.id, names), now_s=now_s)


def book_written(conn: Conn, config: Config, book: Collection, *, now_s: int) -> None:
    """To be called in the transaction that makes an address book with all its cards: a copy of another one."""
    calendar = _calendar_for(conn, book)
    if calendar is None:
        return
    texts = _texts(conn, book.owner_id)
    after = ""
    while found := derived.cards_after(conn, book.id, after, _BATCH):
        days = {card: days_of(body) for card, body in found}
        _settle(conn, config, calendar, book, days, texts, now_s=now_s)
        after = found[-1][0]


def books_removed(conn: Conn, books: Iterable[Collection], *, now_s: int) -> None:
    """To be called in the transaction that removes address books."""
    for book in books:
        calendar = _calendar_for(conn, book)
        if calendar is None:
            continue
        names = [name for name, _ in derived.named_from(conn, calendar.id, f"{book.id}-")]
        _remove(conn, calendar, objects.objects_by_names(conn, calendar.id, names), now_s=now_s)


def _calendar_for(conn: Conn, book: Collection) -> Collection | None:
    if book.kind != "addressbook" or book.origin:
        return None
    return derived.calendar_of(conn, book.owner_id, ORIGIN)


def _texts(conn: Conn, account_id: int) -> Texts:
    account = accounts.account_by_id(conn, account_id)
    return texts_for("" if account is None else account.locale)


def _settle(
    conn: Conn,
    config: Config,
    calendar: Collection,
    book: Collection,
    cards: dict[str, list[Day]],
    texts: Texts,
    *,
    now_s: int,
) -> int:
    """Makes the events of these cards what they should be; how many were changed. What is right is not written."""
    names = {_event_name(book, card, kind): (card, kind) for card in cards for kind in KINDS}
    there = {record.name: record for record in objects.objects_by_names(conn, calendar.id, names)}
    changed = 0
    room: int | None = None
    for name, (card, kind) in names.items():
        day = next((day for day in cards[card] if day.kind == kind), None)
        record = there.get(name)
        if day is None:
            if record is not None:
                _remove(conn, calendar, [record], now_s=now_s)
                changed += 1
            continue
        body = event(day, _uid(book, card, kind), texts)
        etag = etag_of(body)
        if record is not None and record.etag == etag:
            continue
        if record is None:
            if room is None:
                room = config.derived.birthdays_most - collections.member_count(conn, calendar.id)
            if room <= 0:
                continue
            room -= 1
        index = describe("event", body, config, now_s).index
        objects.put_object(
            conn, calendar, name, body, content_type=CALENDAR_TYPE, etag=etag, index=index, now_s=now_s, history=False
        )
        changed += 1
    return changed


def _remove(conn: Conn, calendar: Collection, records: list[ObjectRecord], *, now_s: int) -> None:
    for record in records:
        objects.delete_object(conn, calendar, record, now_s=now_s, history=False)


# ---- on and off --------------------------------------------------------------------------------------------------


def turn_on(
    store: Store, config: Config, account_id: int, *, now_s: int, progress: Callable[[int], None] | None = None
) -> int:
    """Gives an account the calendar, or makes the one that it has right; how many events were changed.

    One transaction for each hundred cards. progress: told how many cards were looked at so far.
    """
    with transaction(store, write=True) as conn:
        derived.set_refused(conn, account_id, ORIGIN, False)
        calendar = derived.calendar_of(conn, account_id, ORIGIN)
        texts = _texts(conn, account_id)
        if calendar is None:
            calendar = derived.make_calendar(
                conn, account_id, PATH, origin=ORIGIN, display_name=texts.say("Birthdays"), now_s=now_s
            )
            xml = f'<IC:calendar-color xmlns:IC="{ICAL}">{_COLOR}</IC:calendar-color>'
            properties.set_property(conn, calendar.id, f"{{{ICAL}}}calendar-color", xml)
        began = calendar.change_seq
        books = derived.books_of(conn, account_id)
    changed = seen = 0
    right: set[str] = set()
    for book in books:
        after = ""
        while True:
            # Read and written in one transaction: a card that is written meanwhile comes before or after.
            with transaction(store, write=True) as conn:
                collections.lock_collections(conn, [book.id])
                found = derived.cards_after(conn, book.id, after, _BATCH)
                days = {card: days_of(body) for card, body in found}
                if any(days.values()):
                    changed += _settle(conn, config, calendar, book, days, texts, now_s=now_s)
            right.update(_event_name(book, card, day.kind) for card, some in days.items() for day in some)
            seen += len(found)
            if progress is not None:
                progress(seen)
            if len(found) < _BATCH:
                break
            after = found[-1][0]
            time.sleep(_PAUSE_S)
    return changed + _sweep(store, calendar, right, began, now_s=now_s)


def _sweep(store: Store, calendar: Collection, right: set[str], began: int, *, now_s: int) -> int:
    """Removes events of cards that are no more, but not those that were written since; how many."""
    with transaction(store) as conn:
        wrong = [name for name, seq in derived.named_from(conn, calendar.id, "") if name not in right and seq <= began]
    for at in range(0, len(wrong), _BATCH):
        with transaction(store, write=True) as conn:
            collections.lock_collections(conn, [calendar.id])
            records = objects.objects_by_names(conn, calendar.id, wrong[at : at + _BATCH])
            _remove(conn, calendar, [record for record in records if record.change_seq <= began], now_s=now_s)
    return len(wrong)


def say_anew(store: Store, config: Config, account_id: int, *, now_s: int) -> None:
    """Writes the events of an account that has such a calendar in the language that it has now."""
    with transaction(store) as conn:
        calendar = derived.calendar_of(conn, account_id, ORIGIN)
    if calendar is not None:
        turn_on(store, config, account_id, now_s=now_s)


def turn_off(conn: Conn, account_id: int, *, now_s: int) -> bool:
    """Takes the calendar away, and remembers that it is not wanted. False when there was none."""
    derived.set_refused(conn, account_id, ORIGIN, True)
    calendar = derived.calendar_of(conn, account_id, ORIGIN)
    if calendar is None:
        return False
    collections.delete_collection(conn, calendar, now_s=now_s)
    return True


def calendar_removed(conn: Conn, calendar: Collection) -> None:
    """To be called when its owner removes a calendar: one that was removed does not come back by itself."""
    if calendar.origin == ORIGIN:
        derived.set_refused(conn, calendar.owner_id, ORIGIN, True)


def turn_on_for_all(store: Store, config: Config, now_s: int) -> str:
    """Gives the calendar to everybody who has contacts and did not refuse it (derived.birthdays)."""
    after, made = 0, 0
    while True:
        with transaction(store) as conn:
            found = derived.owners_without(conn, ORIGIN, after, _BATCH)
        for account_id in found:
            try:
                turn_on(store, config, account_id, now_s=now_s)
                made += 1
            except StorageError as error:  # no room, or gone meanwhile: the others have theirs all the same
                _log.warning("no birthdays for account %d: %s", account_id, error)
        if len(found) < _BATCH:
            return f"Made {made} calendars of birthdays." if made else ""
        after = found[-1]
