"""How many answers a second come in by mail: replies by LMTP to one `davenport serve`, each to a meeting of its own.

    python -m bench.mail_in [--replies N] [--connections C] [--guests G]

Each reply is one transaction with its own fsync, as a mail server brings them. Prints one line.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench.peers.process import free_port, process
from bench.system import machine
from dav import provision
from dav.config import load
from dav.ical.index import index_calendar
from dav.scheduling.model import read_object
from storage import collections, migrate, objects
from storage.engine import transaction

ORGANIZER = "olga@example.com"


def calendar(number: int, guests: int, *, method: str = "", partstat: str = "NEEDS-ACTION") -> bytes:
    """A meeting, or with a method the answer of its first guest."""
    invited = range(1 if method else guests)
    lines = [
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//bench//EN", *([f"METHOD:{method}"] if method else []),
        "BEGIN:VEVENT", f"UID:meeting-{number}@example.com", "DTSTAMP:20260201T101500Z", "SEQUENCE:0",
        "DTSTART;TZID=Europe/Berlin:20350302T090000", "DURATION:PT1H", "SUMMARY:Planning",
        f"ORGANIZER;CN=Olga:mailto:{ORGANIZER}",
        *(f"ATTENDEE;CN=Guest {guest};ROLE=REQ-PARTICIPANT;PARTSTAT={partstat}:mailto:guest{guest}@example.net"
          for guest in invited),
        "END:VEVENT", "END:VCALENDAR", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode()


def mail(number: int) -> bytes:
    """A reply as Thunderbird sends it: text and calendar."""
    head = (
        f"From: Guest <guest0@example.net>\r\nTo: {ORGANIZER}\r\nSubject: Accepted: Planning\r\n"
        f"Message-ID: <{number}@example.net>\r\nMIME-Version: 1.0\r\n"
        "Authentication-Results: mx.example.com; dmarc=pass header.from=example.net\r\n"
        'Content-Type: multipart/alternative; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n'
        "guest0 has accepted.\r\n--b\r\nContent-Type: text/calendar; charset=utf-8; method=REPLY\r\n\r\n"
    )
    return head.encode() + calendar(number, 1, method="REPLY", partstat="ACCEPTED") + b"--b--\r\n"


def prepare(config_file: Path, meetings: int, guests: int) -> None:
    config = load(str(config_file), {})
    store = provision.open_store(config)
    migrate.upgrade(store, version="bench")
    now_s = int(time.time())
    with transaction(store, write=True) as conn:
        account = provision.provision(conn, ORGANIZER, now_s=now_s)
        home = collections.home(conn, account.id, "calendars")
        box = next(one for one in collections.children(conn, home.id) if one.kind == "calendar")
        for number in range(meetings):
            body = calendar(number, guests)
            objects.put_object(
                conn, box, f"{number}.ics", body, content_type="text/calendar; charset=utf-8", etag=f"e{number}",
                index=index_calendar(read_object(body).obj, now_s=now_s), schedule_tag=f"t{number}", now_s=now_s,
            )  # fmt: skip
    store.close()


def bring(port: int, numbers: list[int], failures: list[str]) -> None:
    """Brings these replies over one connection, as Postfix does."""
    with socket.create_connection(("127.0.0.1", port), 60) as link:
        stream = link.makefile("rb")

        def reply() -> str:
            while True:
                line = stream.readline().decode()
                if line[3:4] != "-":
                    return line

        reply()
        link.sendall(b"LHLO bench\r\n")
        reply()
        for number in numbers:
            link.sendall(f"MAIL FROM:<guest0@example.net>\r\nRCPT TO:<{ORGANIZER}>\r\nDATA\r\n".encode())
            for _ in range(3):
                reply()
            link.sendall(mail(number) + b".\r\n")
            said = reply()
            if not said.startswith("250 2.0.0 applied"):
                failures.append(said)


def measure(replies: int, connections: int, guests: int) -> tuple[float, float]:
    """(replies a second, ms of processor time of the server for each). Raises RuntimeError when one is not applied."""
    with tempfile.TemporaryDirectory(prefix="dav-mail-in-") as name:
        folder, port, lmtp = Path(name), free_port(), free_port()
        config = folder / "config.ini"
        config.write_text(
            f"[server]\nport = {port}\n[database]\nurl = sqlite:///{folder}/davenport.db\nfiles = {folder}/files\n"
            f"[log]\nlevel = warning\n[mail_in]\nlmtp = 127.0.0.1:{lmtp}\nauthserv_id = mx.example.com\n"
            "per_sender_hour = 1000000\n"
        )
        prepare(config, replies, guests)
        failures: list[str] = []
        with process([sys.executable, "-m", "dav", "--config", str(config), "serve"], folder / "log", port) as pid:
            before = cpu_s(pid)
            start = time.monotonic()
            lots = [list(range(at, replies, connections)) for at in range(connections)]
            threads = [threading.Thread(target=bring, args=(lmtp, lot, failures)) for lot in lots]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            seconds, spent = time.monotonic() - start, cpu_s(pid) - before
    if failures:
        raise RuntimeError(f"{len(failures)} were not applied, the first: {failures[0]}")
    return replies / seconds, 1000 * spent / replies


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--replies", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--guests", type=int, default=10)
    arguments = parser.parse_args()
    rate, cpu_ms = measure(arguments.replies, arguments.connections, arguments.guests)
    what = f"{arguments.replies} replies, meetings of {arguments.guests}, {arguments.connections} connections"
    print(f"{what}: {rate:.0f}/s, {cpu_ms:.2f} ms of CPU each")
    print(machine())
    return 0


def cpu_s(pid: int) -> float:
    """Processor time of one process so far."""
    import os

    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
