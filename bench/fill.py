"""Fills a store with many accounts and objects, to measure what grows with them.

    python -m bench.fill --url sqlite:////tmp/large.db [--accounts 10000] [--objects 1000000]
                         [--one-calendar 100000] [--password secret-Bench-1]

--url: a store of either engine; an empty one gets its tables, one that has accounts is added to. Every account has the
collections of a new one: of each hundred objects 72 are events like those of the wire benchmark (three of ten weekly
without end), 8 tasks and 20 contacts; removed members and old versions are there too. The first account made is
`large` with the calendar `large` of --one-calendar events, then `user000001` and so on. Rows go in sorted, a
transaction for some thousands of objects; memory does not grow with the store.
"""

from __future__ import annotations

import argparse
import random
import secrets
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dav.config import Config
from dav.methods.put import describe, etag_of
from dav.provision import FIRST_COLLECTIONS
from dav.version import VERSION
from storage import objects, schema, statistics, timeindex
from storage.accounts import AREAS, fold
from storage.engine import Conn, Statement, Store, open_store, transaction
from storage.migrate import upgrade
from storage.records import ObjectIndex

PASSWORD = "secret-Bench-1"
BATCH = 5_000  # objects in one transaction
TEXTS = 500  # different bodies of a kind; the others are these with another UID
# Of a hundred objects of an account.
EVENTS, TASKS, CONTACTS = 72, 8, 20
REMOVED, VERSIONS = 3, 5  # of each account
_NUMBER = b"0000000000"
_DAY_S = 86_400
_FIRST_NAMES = ("Ana", "Bo", "Cy", "Dee", "Eve", "Fay", "Gus", "Hal", "Ivy", "Jo", "Kim", "Lea", "Max", "Nina", "Olaf")

VTIMEZONE = """BEGIN:VTIMEZONE
TZID:Europe/Paris
BEGIN:DAYLIGHT
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
TZNAME:CEST
DTSTART:19700329T020000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
END:DAYLIGHT
BEGIN:STANDARD
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
TZNAME:CET
DTSTART:19701025T030000
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
END:STANDARD
END:VTIMEZONE
"""


def event(number: int) -> bytes:
    """A calendar object of about 900 bytes: of ten, six single, two weekly, one weekly with an exception, one all day.

    The UID holds ten zeros, to be replaced.
    """
    chance = random.Random(number)
    day, hour = f"2026{chance.randint(1, 12):02d}{chance.randint(1, 28):02d}", chance.randint(7, 18)
    kind = number % 10
    note = "DESCRIPTION:" + "".join(chance.choice("abcdefghij klmnop") for _ in range(200)) + "\n"
    start = f"DTSTART;TZID=Europe/Paris:{day}T{hour:02d}0000\n"
    rule = "RRULE:FREQ=WEEKLY\n" if 6 <= kind < 9 else ""
    if kind == 9:
        start, zone = f"DTSTART;VALUE=DATE:{day}\n", ""
    else:
        zone = VTIMEZONE
        start += "DURATION:PT45M\n" if rule else f"DTEND;TZID=Europe/Paris:{day}T{hour:02d}3000\n"
    head = "BEGIN:VEVENT\nUID:fill-0000000000@fill.example\nDTSTAMP:20260101T000000Z\n"
    tail = (
        f"LOCATION:Room {number % 40}\nBEGIN:VALARM\nACTION:DISPLAY\nDESCRIPTION:Reminder\nTRIGGER:-PT15M\n"
        "END:VALARM\nEND:VEVENT\n"
    )
    body = f"{head}SUMMARY:Meeting {number}\n{start}{rule}{note}{tail}"
    if kind == 8:
        moved = start.replace("0000\nDUR", "1500\nDUR")
        body += f"{head}RECURRENCE-ID;TZID=Europe/Paris:{day}T{hour:02d}0000\nSUMMARY:Moved {number}\n{moved}{tail}"
    return _crlf(f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//fill//EN\n{zone}{body}END:VCALENDAR\n")


def task(number: int) -> bytes:
    """A task, with a due day and done or not. The UID holds ten zeros, to be replaced."""
    day = f"2026{number % 12 + 1:02d}{number % 28 + 1:02d}"
    done = (
        f"STATUS:COMPLETED\nCOMPLETED:{day}T120000Z\nPERCENT-COMPLETE:100\n" if number % 3 else "STATUS:NEEDS-ACTION\n"
    )
    return _crlf(
        "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//fill//EN\nBEGIN:VTODO\nUID:fill-0000000000@fill.example\n"
        f"DTSTAMP:20260101T000000Z\nSUMMARY:Task {number}\nDUE:{day}T170000Z\nPRIORITY:{number % 9 + 1}\n{done}"
        f"DESCRIPTION:{'what there is to do ' * (number % 8)}\nEND:VTODO\nEND:VCALENDAR\n"
    )


def contact(number: int) -> bytes:
    """A contact of about 350 bytes. The UID and the family name hold ten zeros, to be replaced."""
    first = _FIRST_NAMES[number % len(_FIRST_NAMES)]
    return _crlf(
        f"BEGIN:VCARD\nVERSION:3.0\nUID:fill-0000000000@fill.example\nFN:{first} Name0000000000\n"
        f"N:Name0000000000;{first};;;\nORG:Company {number % 50}\n"
        f"EMAIL;TYPE=WORK:{first.lower()}.0000000000@example.org\nTEL;TYPE=CELL:+1555{number:07d}\n"
        f"ADR;TYPE=HOME:;;{number} Main Street;Town;;12345;Country\nNOTE:{'note ' * 30}\nEND:VCARD\n"
    )


def _crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


@dataclass(frozen=True, slots=True)
class Text:
    """One body and what the store keeps of it."""

    body: bytes
    index: ObjectIndex
    columns: dict[str, Any]
    times: timeindex.TimeRows
    content_type: str
    cards: dict[str, str]


def texts(kind: str, now_s: int) -> list[Text]:
    """TEXTS different bodies of a kind: "event", "task" or "card", read as a PUT reads them."""
    make = {"event": event, "task": task, "card": contact}[kind]
    found = []
    for number in range(TEXTS):
        body = make(number)
        described = describe("card" if kind == "card" else "event", body, Config(), now_s)
        times = timeindex.time_rows(described.index)
        cards = {}
        if kind == "card":
            for column in objects.CARD_COLUMNS:
                values = [objects.fold_text(text) for name, text in described.index.text if name == column]
                cards[column] = "\n".join(values)
        found.append(
            Text(
                body,
                described.index,
                objects._index_columns(described.index, times.digest),
                times,
                described.content_type,
                cards,
            )
        )
    return found


class Loader:
    """Rows of many tables, gathered and written in one transaction."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.rows: dict[str, list[tuple[Any, ...]]] = {}
        self.columns: dict[str, tuple[str, ...]] = {}
        self.times: list[tuple[int, int, timeindex.TimeRows]] = []
        with transaction(store) as conn:
            self.next = {
                table.name: (Statement(sa.select(sa.func.max(table.c.id))).scalar(conn) or 0) + 1
                for table in (schema.accounts, schema.collections, schema.objects)
            }

    def new_id(self, table: str) -> int:
        number = self.next[table]
        self.next[table] = number + 1
        return number

    def add(self, table: str, **values: Any) -> None:
        columns = tuple(values)
        assert self.columns.setdefault(table, columns) == columns
        self.rows.setdefault(table, []).append(tuple(values.values()))

    def write(self) -> None:
        """Write all rows gathered, tables in the order of their references."""
        with transaction(self.store, write=True) as conn:
            for table in schema.metadata.sorted_tables:
                rows = self.rows.pop(table.name, None)
                if rows:
                    load(conn, table.name, self.columns[table.name], rows)
            timeindex.write(conn, self.times)
            self.times = []

    def finish(self) -> None:
        """Write what is left, and tell PostgreSQL which ids are taken."""
        self.write()
        if self.store.dialect == "postgresql":
            with transaction(self.store, write=True) as conn:
                for table, number in self.next.items():
                    conn.cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {number})")


def load(conn: Conn, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Rows into a table the quickest way that the driver has."""
    names = ", ".join(f'"{name}"' for name in columns)
    if conn.dialect == "sqlite":
        conn.cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})", rows)
        return
    with conn.cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


class Filler:
    """Makes accounts with their collections and members."""

    def __init__(self, store: Store, *, password_hash: str, now_s: int) -> None:
        self.loader = Loader(store)
        self.now_s = now_s
        self.password_hash = password_hash
        self.texts = {kind: texts(kind, now_s) for kind in ("event", "task", "card")}
        self.made = 0
        self.pending = 0

    def account(self, name: str, display_name: str, used_bytes: int) -> tuple[int, dict[str, int]]:
        """An account with the collections of a new one; returns its id and theirs by path."""
        account_id = self.loader.new_id("accounts")
        self.loader.add(
            "accounts", id=account_id, name=name, name_key=fold(name), display_name=display_name,
            display_key=fold(display_name), kind="individual", password_hash=self.password_hash, auth_seq=1, locale="",
            time_zone="", quota_bytes=None, used_bytes=used_bytes, active=1, admin=0, created_s=self.now_s, source="",
        )  # fmt: skip
        address = f"{name}@fill.example"
        self.loader.add(
            "addresses", account_id=account_id, address=address, address_key=fold(address), is_primary=1, source=""
        )
        places: dict[str, int] = {}
        for area in AREAS:
            places[area] = self.loader.new_id("collections")
        for area, path, *_ in FIRST_COLLECTIONS:
            places[f"{area}/{path}"] = self.loader.new_id("collections")
        return account_id, places

    def collections(self, account_id: int, places: dict[str, int], numbers: dict[str, int]) -> None:
        """The rows of an account's collections. numbers: the change number of those that have changes, by path."""
        kinds = {f"{area}/{path}": (kind, shown, parts) for area, path, kind, shown, parts in FIRST_COLLECTIONS}
        for path, collection_id in places.items():
            area, _, name = path.partition("/")
            kind, shown, parts = kinds.get(path, ("calendar", name, ("VEVENT",))) if name else ("home", None, ())
            self.loader.add(
                "collections", id=collection_id, owner_id=account_id, area=area, path=name,
                parent_id=places[area] if name else None, kind=kind, key=secrets.token_hex(16), display_name=shown,
                components=",".join(parts), transparent=0, position=0, change_seq=numbers.get(path, 0), props_seq=1,
                created_s=self.now_s, modified_s=self.now_s, origin="", mounted_as="",
            )  # fmt: skip

    def member(self, collection_id: int, kind: str, change_seq: int) -> int:
        """One member of a collection; returns its size."""
        object_id = self.loader.new_id("objects")
        number = object_id
        text = self.texts[kind][number % TEXTS]
        digits = b"%010d" % number
        body = text.body.replace(_NUMBER, digits)
        uid = (text.index.uid or "").replace(_NUMBER.decode(), digits.decode())
        suffix = "vcf" if kind == "card" else "ics"
        self.loader.add(
            "objects", id=object_id, collection_id=collection_id, name=f"{uid[:15]}.{suffix}", etag=etag_of(body),
            size=len(body), content_type=text.content_type, change_seq=change_seq, created_s=self.now_s,
            modified_s=self.now_s, uid=uid, uid_tie=0, secret_seq=0, **text.columns,
        )  # fmt: skip
        self.loader.add("bodies", object_id=object_id, content=body)
        self.loader.times.append((collection_id, object_id, text.times))
        if kind == "card":
            cards = {name: value.replace(_NUMBER.decode(), digits.decode()) for name, value in text.cards.items()}
            self.loader.add("cards", collection_id=collection_id, object_id=object_id, **cards)
        self.made += 1
        self.pending += 1
        return len(body)

    def leave_behind(self, collection_id: int, change_seq: int, now_s: int) -> int:
        """Members that were removed, and old versions; returns the collection's change number."""
        for number in range(REMOVED):
            change_seq += 1
            self.loader.add(
                "tombstones",
                collection_id=collection_id,
                name=f"gone-{number}.ics",
                change_seq=change_seq,
                secret_seq=0,
            )
        for number in range(VERSIONS):
            body = self.texts["event"][number].body
            self.loader.add(
                "object_versions", collection_id=collection_id, object_id=0, name=f"gone-{number}.ics",
                etag=f"old-{number}", size=len(body), content_type="text/calendar; charset=utf-8", change_seq=number,
                modified_s=now_s, component="VEVENT", content=body, cause="replaced",
                ended_s=now_s - number * 20 * _DAY_S,
            )  # fmt: skip
        return change_seq

    def write_if_full(self, most: int = BATCH) -> bool:
        """Write what was gathered when it is a batch; whether it was."""
        if self.pending < most:
            return False
        self.loader.write()
        self.pending = 0
        return True

    def ordinary(self, number: int, size: int) -> None:
        """An account with `size` objects in its calendar, task list and address book."""
        first = _FIRST_NAMES[number % len(_FIRST_NAMES)]
        places: dict[str, int]
        plan = (
            ("calendars/calendar", "event", size - size * (TASKS + CONTACTS) // 100),
            ("calendars/tasks", "task", size * TASKS // 100),
            ("addressbooks/contacts", "card", size * (TASKS + CONTACTS) // 100 - size * TASKS // 100),
        )
        # The account's row says how many bytes its members have, so these come first.
        account_id, places = self.account(f"user{number:06d}", f"{first} Name{number}", 0)
        row = self.loader.rows["accounts"][-1]
        used, numbers = 0, {}
        for path, kind, count in plan:
            used += sum(self.member(places[path], kind, seq) for seq in range(1, count + 1))
            numbers[path] = count
        path = "calendars/calendar"
        numbers[path] = self.leave_behind(places[path], numbers[path], self.now_s)
        position = self.loader.columns["accounts"].index("used_bytes")
        self.loader.rows["accounts"][-1] = (*row[:position], used, *row[position + 1 :])
        self.collections(account_id, places, numbers)

    def large(self, name: str, size: int) -> Iterator[None]:
        """An account whose calendar `large` has `size` events, written a batch at a time."""
        account_id, places = self.account(name, "Large", 0)
        path = f"calendars/{name}"
        places[path] = self.loader.new_id("collections")
        self.collections(account_id, places, {path: size})
        used = 0
        for seq in range(1, size + 1):
            used += self.member(places[path], "event", seq)
            if self.write_if_full():
                yield
        self.loader.write()
        with transaction(self.loader.store, write=True) as conn:
            _SET_USED.run(conn, account_id=account_id, used=used)
        yield


_SET_USED = Statement(
    schema.accounts.update()
    .where(schema.accounts.c.id == sa.bindparam("account_id"))
    .values(used_bytes=sa.bindparam("used"))
)


def fill(
    store: Store, *, accounts: int, total: int, one_calendar: int, password_hash: str, now_s: int, name: str = "large"
) -> Iterator[int]:
    """Make the accounts, `total` objects in all; gives how many there are after each transaction."""
    filler = Filler(store, password_hash=password_hash, now_s=now_s)
    if one_calendar:
        for _ in filler.large(name, one_calendar):
            yield filler.made
    rest = max(0, total - one_calendar)
    for number in range(1, accounts + 1):
        filler.ordinary(number, rest * number // accounts - rest * (number - 1) // accounts)
        if filler.write_if_full():
            yield filler.made
    filler.loader.finish()
    yield filler.made


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--one-calendar", type=int, default=100_000)
    parser.add_argument("--password", default=PASSWORD)
    parser.add_argument("--no-statistics", action="store_true", help="leave PostgreSQL's planner without knowledge")
    arguments = parser.parse_args(argv)
    from dav.auth.passwords import hash_password

    store = open_store(arguments.url)
    began, said = time.monotonic(), 0.0
    try:
        upgrade(store, version=VERSION)
        made = 0
        for made in fill(
            store, accounts=arguments.accounts, total=arguments.objects, one_calendar=arguments.one_calendar,
            password_hash=hash_password(arguments.password), now_s=int(time.time()),
        ):  # fmt: skip
            now = time.monotonic()
            if now - said >= 2:
                said = now
                rate = made / (now - began)
                left = (arguments.objects - made) / rate
                print(f"{made:,} of {arguments.objects:,} objects, {rate:,.0f}/s, {left:.0f} s to go", flush=True)
        print(f"{made:,} objects in {time.monotonic() - began:.0f} s", flush=True)
        if not arguments.no_statistics:
            statistics.refresh(store)
    finally:
        store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
