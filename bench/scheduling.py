"""What scheduling costs: meetings with guests here, with guests elsewhere, the mails for these, and answers by mail.

    python -m bench.scheduling [--rounds N] [--local G] [--outside G] [--replies N]

`davenport serve` with one worker over a new SQLite store, one client on the loopback, a mail server that takes all at
once. Statements are counted in one process. Prints a line for each figure.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import http.client
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import mail_in
from bench.peers.process import free_port, process
from bench.system import machine
from dav import provision
from dav.config import Config, MailConfig, SmtpConfig, load
from storage import engine, migrate
from storage.engine import transaction
from tests.dsl import Server
from tests.mail.fake_smtp import FakeSmtp

ORGANIZER, PASSWORD = "olga@example.com", "bench-Secret-7"
HOME = "/dav/calendars/olga%40example.com/calendar/"
MAIL_GUESTS = 150
WAITING_S = 3600
WAIT_S = 180.0


def meeting(number: int, guests: list[str], *, hour: int = 9, summary: str = "Planning") -> bytes:
    """A meeting of the day it is made, so that it is no import."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    lines = [
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//bench//EN", "BEGIN:VEVENT", f"UID:bench-{number}@example.com",
        f"DTSTAMP:{stamp}", f"CREATED:{stamp}", "SEQUENCE:0", f"DTSTART;TZID=Europe/Berlin:20350302T{hour:02}0000",
        "DURATION:PT1H", f"SUMMARY:{summary}", f"ORGANIZER;CN=Olga:mailto:{ORGANIZER}",
        f"ATTENDEE;CN=Olga;PARTSTAT=ACCEPTED:mailto:{ORGANIZER}",
        *(f"ATTENDEE;CN=Guest;ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:{one}" for one in guests),
        "END:VEVENT", "END:VCALENDAR", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode()


def people(local: int) -> list[str]:
    return [f"guest{number}@example.com" for number in range(local)]


def strangers(outside: int) -> list[str]:
    return [f"guest{number}@example.net" for number in range(outside)]


def settings(folder: Path, port: int, smtp: int, settle_s: int) -> Path:
    config = folder / f"config-{settle_s}.ini"
    config.write_text(
        f"[server]\nport = {port}\n[database]\nurl = sqlite:///{folder}/davenport.db\nfiles = {folder}/files\n"
        f"[log]\nlevel = warning\n[smtp]\nhost = 127.0.0.1\nport = {smtp}\ntls = none\nconnections = 4\n"
        f"[mail]\nfrom_address = invites@example.com\nsettle_seconds = {settle_s}\n"
        "per_event_hour = 100000\nper_account_hour = 100000\n"
    )
    return config


def prepare(config_file: Path, local: int) -> None:
    config = load(str(config_file), {})
    store = provision.open_store(config)
    migrate.upgrade(store, version="bench")
    from dav.auth.passwords import hash_password
    from storage import accounts

    now_s = int(time.time())
    with transaction(store, write=True) as conn:
        olga = provision.provision(conn, ORGANIZER, now_s=now_s)
        accounts.set_password_hash(conn, olga.id, hash_password(PASSWORD))
        for name in people(local):
            provision.provision(conn, name, now_s=now_s)
    store.close()


@contextmanager
def mail_server() -> Iterator[FakeSmtp]:
    """A mail server on a thread of its own that takes every mail at once."""
    fake, ready, loop = FakeSmtp(), threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with fake.running():
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait(30)
    try:
        yield fake
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


class Wire:
    """One connection that is kept."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._sign = "Basic " + base64.b64encode(f"{ORGANIZER}:{PASSWORD}".encode()).decode()

    def put(self, number: int, body: bytes) -> float:
        """Stores a meeting; returns the seconds that took."""
        head = {"Authorization": self._sign, "Content-Type": "text/calendar; charset=utf-8"}
        began = time.perf_counter()
        self._connection.request("PUT", f"{HOME}{number}.ics", body, head)
        answer = self._connection.getresponse()
        told = answer.read()
        took = time.perf_counter() - began
        if answer.status not in (201, 204):
            raise RuntimeError(f"PUT was answered with {answer.status}: {told[:300]!r}")
        return took

    def close(self) -> None:
        self._connection.close()


@contextmanager
def serving(folder: Path, port: int, smtp: int, settle_s: int) -> Iterator[tuple[Wire, int]]:
    """A server, and a connection that has signed in. Mails go out settle_s after what caused them."""
    config = settings(folder, port, smtp, settle_s)
    with process([sys.executable, "-m", "dav", "--config", str(config), "serve"], folder / "log", port) as pid:
        wire = Wire(port)
        wire.put(0, meeting(0, []))
        try:
            yield wire, pid
        finally:
            wire.close()


def puts(wire: Wire, pid: int, first: int, rounds: int, guests: list[str], *, change: bool) -> str:
    """New meetings, or changes of them (another time, so that everybody is asked anew): their median and their CPU."""
    before, took = mail_in.cpu_s(pid), []
    for number in range(first, first + rounds):
        took.append(wire.put(number, meeting(number, guests, hour=14 if change else 9)))
    cpu_ms = 1000 * (mail_in.cpu_s(pid) - before) / rounds
    return f"{1000 * statistics.median(took):.1f} ms (max {1000 * max(took):.1f}), {cpu_ms:.1f} ms of CPU"


def statements(guests: list[str], local: int) -> tuple[int, int]:
    """SQL statements of a new meeting and of its change, all that the request asks for."""
    with tempfile.TemporaryDirectory(prefix="dav-sched-") as name:
        store = engine.open_store(f"sqlite:///{name}/davenport.db")
        migrate.upgrade(store, version="bench")
        config = Config(smtp=SmtpConfig(host="127.0.0.1"), mail=MailConfig(from_address="invites@example.com"))
        server = Server(store, config)
        server.clock.now_s = int(time.time())
        try:
            olga = server.account(ORGANIZER)
            for one in people(local):
                server.account(one)
            counts = []
            for number, hour in ((0, 9), (1, 9), (1, 14)):  # the first one also fills caches
                made: list[engine.Conn] = []
                with _watching(made):
                    status = olga.put(f"{HOME}{number}.ics", meeting(number, guests, hour=hour)).status
                assert status in (201, 204), status
                counts.append(sum(conn.statements for conn in made))
        finally:
            server.close()
            store.close()
    return counts[1], counts[2]


@contextmanager
def _watching(made: list[engine.Conn]) -> Iterator[None]:
    """Notes each connection of a transaction that begins meanwhile."""
    plain = engine.Conn.__init__

    def noting(self: engine.Conn, *args: object, **kwargs: object) -> None:
        plain(self, *args, **kwargs)  # type: ignore[arg-type]
        made.append(self)

    engine.Conn.__init__ = noting  # type: ignore[method-assign]
    try:
        yield
    finally:
        engine.Conn.__init__ = plain  # type: ignore[method-assign]


def until(fake: FakeSmtp, count: int) -> None:
    deadline = time.monotonic() + WAIT_S
    while len(fake.taken) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(fake.taken)} of {count} mails came")
        time.sleep(0.01)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30, help="meetings of each kind")
    parser.add_argument("--local", type=int, default=20, help="guests who have an account here")
    parser.add_argument("--outside", type=int, default=100, help="guests elsewhere")
    parser.add_argument("--replies", type=int, default=1000, help="answers by mail")
    arguments = parser.parse_args()
    here, away = people(arguments.local), strangers(arguments.outside)
    print(machine())
    with tempfile.TemporaryDirectory(prefix="dav-sched-") as name, mail_server() as fake:
        folder, port = Path(name), free_port()
        prepare(settings(folder, port, fake.port, WAITING_S), arguments.local)
        # No mail goes out while PUTs are measured.
        with serving(folder, port, fake.port, WAITING_S) as (wire, pid):
            for what, guests, first in (("here", here, 1), ("elsewhere", away, 10_000)):
                for change in (False, True):
                    sql = statements(guests, arguments.local)[change]
                    told = puts(wire, pid, first, arguments.rounds, guests, change=change)
                    kind = "changed" if change else "new"
                    print(f"PUT of a {kind} meeting with {len(guests)} guests {what}: {told}, {sql} statements")
        with serving(folder, port, fake.port, 0) as (wire, pid):
            wire.put(20_000, meeting(20_000, strangers(MAIL_GUESTS)))
            # The first mails are those that also load what makes them.
            until(fake, MAIL_GUESTS // 10)
            sent, spent, began = len(fake.taken), mail_in.cpu_s(pid), time.monotonic()
            until(fake, MAIL_GUESTS)
            seconds, counted = time.monotonic() - began, MAIL_GUESTS - sent
            cpu_ms = 1000 * (mail_in.cpu_s(pid) - spent) / counted
        print(f"mails out: {counted / seconds:.0f}/s, {cpu_ms:.1f} ms of CPU each, {MAIL_GUESTS} of one meeting")
    rate, cpu_ms = mail_in.measure(arguments.replies, 4, 10)
    print(f"answers by mail: {rate:.0f}/s, {cpu_ms:.2f} ms of CPU each, meetings of 10, 4 connections")
    return 0


if __name__ == "__main__":
    sys.exit(main())
