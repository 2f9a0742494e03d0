"""Rows that no peer has, or that need many accounts: busy times of many, a published feed, a large first
synchronisation, and signing in by each back end. Davenport with SQLite and two workers, as it is judged.

    python -m bench.run --servers none --further
"""

from __future__ import annotations

import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from bench import sign_in, workload
from bench.goals import JUDGED
from bench.peers.davenport import command_line, davenport
from bench.peers.process import PASSWORD, Running, open_folder
from bench.report import Measured
from bench.rows import ICS, MULTI, Measurement, Options, Row, discover, multiget, sync
from bench.system import Clock, package, pss_kib
from bench.wire import Job, Target, run_workers

OWNER = "olga@example.com"
PEOPLE, EVENTS_EACH, FIRST_SYNC, BATCH = 50, 20, 10_000, 50
Say = Callable[[str, Row], None]


def guest(number: int) -> str:
    return f"guest{number}@example.com"


def provide(config_file: Path) -> None:
    """The people, past the protocol: OWNER, who can sign in, and PEOPLE more, each with some meetings of next week."""
    from dav import provision
    from dav.auth.passwords import hash_password
    from dav.config import load
    from dav.ical.index import index_calendar
    from dav.scheduling.model import read_object
    from storage import accounts, collections, migrate, objects
    from storage.engine import transaction

    store = provision.open_store(load(str(config_file), {}))
    migrate.upgrade(store, version="bench")
    now_s = int(time.time())
    with transaction(store, write=True) as conn:
        accounts.set_password_hash(conn, provision.provision(conn, OWNER, now_s=now_s).id, hash_password(PASSWORD))
        for number in range(PEOPLE):
            person = provision.provision(conn, guest(number), now_s=now_s)
            home = collections.home(conn, person.id, "calendars")
            box = next(one for one in collections.children(conn, home.id) if one.kind == "calendar")
            for event in range(EVENTS_EACH):
                body = busy_event(f"{number}-{event}", event + number)
                objects.put_object(
                    conn, box, f"{event}.ics", body, content_type=ICS, etag=f"e{number}-{event}",
                    index=index_calendar(read_object(body).obj, now_s=now_s), now_s=now_s,
                )  # fmt: skip
    store.close()


def next_week() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(7)


def busy_event(name: str, number: int) -> bytes:
    start = next_week() + timedelta(days=number % 7, hours=8 + number % 9)
    lines = [
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//bench//EN", "BEGIN:VEVENT", f"UID:busy-{name}@example.com",
        "DTSTAMP:20260101T000000Z", f"DTSTART:{start:%Y%m%dT%H%M%SZ}", "DURATION:PT45M", "SUMMARY:Busy", "END:VEVENT",
        "END:VCALENDAR", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode()


def question() -> bytes:
    """When are all of them busy next week? (RFC 6638 §5)"""
    start = next_week()
    lines = [
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//bench//EN", "METHOD:REQUEST", "BEGIN:VFREEBUSY", "UID:question",
        "DTSTAMP:20260101T000000Z", f"DTSTART:{start:%Y%m%dT%H%M%SZ}", f"DTEND:{start + timedelta(7):%Y%m%dT%H%M%SZ}",
        f"ORGANIZER:mailto:{OWNER}", *(f"ATTENDEE:mailto:{guest(number)}" for number in range(PEOPLE)),
        "END:VFREEBUSY", "END:VCALENDAR", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode()


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Running, Path]]:
    with davenport(folder, workers=2, user=OWNER, account=False) as server:
        provide(folder / "config.ini")
        yield server, folder / "config.ini"


def busy_times(measurement: Measurement, home: str) -> None:
    measurement.once(
        f"freebusy-post-{PEOPLE}", "POST", f"{home}outbox/", question().decode(), right=(PEOPLE,), status=200,
        counted=re.compile(rb"BEGIN:VFREEBUSY"), Content_Type=ICS,
        check=lambda body: "" if len(re.findall(rb"(?m)^FREEBUSY", body)) >= PEOPLE else "not all are busy",
    )  # fmt: skip


def feed(measurement: Measurement, config: Path) -> None:
    """A feed reader that has the present copy: 304."""
    printed = command_line(config, "feed", "publish", f"{OWNER}/calendar")
    found = re.search(r"(\S*/feeds/\S+\.ics)", printed)
    if found is None:
        measurement.note("feed-poll-304", {"failed": f"no address in {printed!r:.100}"})
        return
    path = urlsplit(found[1]).path
    measurement.target = Target(measurement.target.host, measurement.target.port, "")
    whole = measurement.ask("GET", path)
    tag = re.search(rb"\r\netag:[ \t]*([^\r]+)", whole.head)  # the head is in lower case, tags of feeds are too
    if whole.status != 200 or tag is None:
        measurement.note("feed-poll-304", {"failed": str(whole.status)})
        return
    raw = measurement.target.request("GET", path, b"", {"If-None-Match": tag[1].decode()})
    measurement.many("feed-poll-304", [Job(raw, frozenset({304}))], seconds=measurement.options.seconds)


def first_sync(measurement: Measurement, home: str, events: int) -> None:
    """First synchronisation of a large calendar: sync-collection, then multigets of 50 on four connections."""
    place = f"{home}large-{secrets.token_hex(4)}/"
    name = f"first-sync-{events}"
    if wrong := measurement.make("calendar", place):
        measurement.note(name, {"failed": wrong})
        return
    measurement.put_rest(place, ICS, ((f"{number}.ics", workload.calendar(number)) for number in range(events)))
    before = Clock.read(measurement.pids)
    hrefs, token, size = [], "", 0
    while True:
        answer = measurement.ask("REPORT", place, sync(token), Depth="0")
        size += len(answer.body)
        hrefs += [found.decode() for found in re.findall(rb"href(?:\s[^>]*)?>\s*([^<\s]+\.ics)", answer.body)]
        found = re.search(rb"sync-token(?:\s[^>]*)?>([^<]+)</", answer.body)
        token = found[1].decode() if found else ""
        if b"507" not in answer.body or not token:  # RFC 6578 §3.6: there is more
            break
    listed_s = time.perf_counter() - before.wall_s
    lots = [hrefs[at : at + BATCH] for at in range(0, len(hrefs), BATCH)]
    jobs = [
        Job(
            measurement.target.request("REPORT", place, multiget("C:calendar", lot)),
            MULTI,
            b"BEGIN:VCALENDAR",
            len(lot),
        )
        for lot in lots
    ]
    tally = run_workers(measurement.target, [jobs[at::4] for at in range(4)], seconds=300, around=False, limit_s=300)
    server_s, others = Clock.read(measurement.pids).since(before)
    row: Row = {
        "seconds": listed_s + tally.wall_s, "list_ms": 1000 * listed_s, "cpu_ms": 1000 * server_s, "others": others,
        "requests": 1 + len(jobs), "bytes": size + tally.size, "items": len(hrefs),
    }  # fmt: skip
    if tally.failures or len(hrefs) != events:
        row["failed"] = tally.failures or f"{len(hrefs)} items, not {events}"
    measurement.note(name, row)


WHAT = {
    f"freebusy-post-{PEOPLE}": f"POST to the outbox: a week of {PEOPLE} people with {EVENTS_EACH} meetings each",
    "feed-poll-304": "GET of a published feed that has not changed, without an account",
    f"first-sync-{FIRST_SYNC}": f"sync-collection, then all events by multigets of {BATCH} on four connections",
}


def measured(
    machine: dict[str, str], say: Say, *, events: int = FIRST_SYNC, seconds: float = 2, ways: list[str] | None = None
) -> Measured:
    """All further rows of Davenport. ways: of signing in (bench.sign_in), None for all."""
    result = Measured(
        JUDGED, package("davenport"), "SQLite, 2 workers", True, events, f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        machine=machine, workers=2, kind="further",
    )  # fmt: skip
    with open_folder() as folder, serving(folder) as (server, config):
        target = Target.of(server.url, server.user, server.password)
        measurement = Measurement(server.url, target, server.pids, Options(events, seconds=seconds), say=say)
        result.idle_kib = pss_kib(server.pids)
        home, _ = discover(server.url, target)
        measurement.warm_up(home)
        busy_times(measurement, home)
        first_sync(measurement, home, events)
        feed(measurement, config)
        result.full_kib = pss_kib(server.pids)
    result.rows = measurement.rows
    for name, row in sign_in.measure(2, seconds / 2, list(sign_in.WAYS) if ways is None else ways).items():
        row["what"] = "PROPFIND of the home by 4 clients, 1 worker; the password is " + name.partition(", ")[2]
        result.rows[f"sign-in {name}"] = row
        say(f"sign-in {name}", row)
    for name, what in WHAT.items():
        if name in result.rows:
            result.rows[name]["what"] = what
    return result


if __name__ == "__main__":
    sys.exit("python -m bench.run --servers none --further")
