"""What signing in costs a poll, by each back end: with the password remembered, and asked for at each request.

    python -m bench.sign_in [--rounds N] [--seconds S] [--ways plain,dovecot]

Both servers of a back end run side by side and are measured by turns, since the speed of a machine moves; the best
round of each counts. plain: a password file with {PLAIN}. argon2id: accounts in Davenport's own database. sql: a mail
server's table (SQLite, SHA512-CRYPT). dovecot: Dovecot's authentication socket. imap: signing in at Dovecot by IMAP.
ldap: OpenLDAP. The last three need root and what .ci/install-mail installs; they are left out where that is missing.
Prints a table.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from bench.peers.davenport import davenport
from bench.peers.process import PASSWORD, Running, open_folder
from bench.report import cell, table
from bench.rows import MULTI, POLL, Measurement, Options, Row, discover
from bench.system import machine
from bench.wire import Job, Target

USER = "bench@lab.example"
Way = Callable[[Path, str], AbstractContextManager[Running]]
CLIENTS = 4


def _served(folder: Path, settings: str, user: str = USER) -> AbstractContextManager[Running]:
    """A Davenport whose accounts come with their first sign-in."""
    return davenport(folder, settings=settings, user=user, account=False)


@contextmanager
def plain(folder: Path, auth: str) -> Iterator[Running]:
    people = folder / "people"
    people.write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    with _served(folder, f"[auth]\nbackends = passwd-file\n{auth}[auth_passwd_file]\nfile = {people}\n") as server:
        yield server


@contextmanager
def argon2id(folder: Path, auth: str) -> Iterator[Running]:
    with davenport(folder, settings=f"[auth]\n{auth}", user=USER) as server:
        yield server


@contextmanager
def sql(folder: Path, auth: str) -> Iterator[Running]:
    from tests.outside.mailserver import _hash

    with sqlite3.connect(folder / "mail.sqlite") as table_:
        table_.execute("CREATE TABLE people (user TEXT PRIMARY KEY, password TEXT)")
        table_.execute("INSERT INTO people VALUES (?, ?)", (USER, _hash(PASSWORD)))
    query = "SELECT user, password FROM people WHERE user = :user"
    settings = f"[auth_sql]\nurl = sqlite:///{folder}/mail.sqlite\npassword_query = {query}\n"
    with _served(folder, f"[auth]\nbackends = sql\n{auth}{settings}") as server:
        yield server


@contextmanager
def dovecot(folder: Path, auth: str) -> Iterator[Running]:
    from tests.outside.mailserver import MailServer

    mail = MailServer()
    try:
        address = mail.add("bench", PASSWORD)
        mail.start_dovecot()
        settings = f"[auth]\nbackends = dovecot\n{auth}[auth_dovecot]\nsocket = {mail.auth_socket}\n"
        with _served(folder, settings, address) as server:
            yield server
    finally:
        mail.stop()


@contextmanager
def imap(folder: Path, auth: str) -> Iterator[Running]:
    from tests.outside.mailserver import MailServer

    mail = MailServer()
    try:
        address = mail.add("bench", PASSWORD)
        mail.start_dovecot()
        settings = f"[auth_imap]\nhost = 127.0.0.1\nport = {mail.imap}\ntls = none\n"
        with _served(folder, f"[auth]\nbackends = imap\n{auth}{settings}", address) as server:
            yield server
    finally:
        mail.stop()


@contextmanager
def ldap(folder: Path, auth: str) -> Iterator[Running]:
    from tests.outside.slapd import BASE, SERVICE, SERVICE_PASSWORD, Slapd

    (folder / "slapd").mkdir()
    slapd = Slapd(folder / "slapd").start()
    try:
        settings = (
            f"[auth_ldap]\nurl = {slapd.ldaps}\nca_file = {slapd.ca}\nbase = ou=people,{BASE}\nbind_dn = {SERVICE}\n"
            f"bind_password = {SERVICE_PASSWORD}\n"
        )
        with _served(folder, f"[auth]\nbackends = ldap\n{auth}{settings}", "bob@lab.example") as server:
            yield Running(server.url, server.user, "bob's password", server.pids)
    finally:
        slapd.stop()


def _mail() -> bool:
    return os.geteuid() == 0 and shutil.which("dovecot") is not None


def _slapd() -> bool:
    return Path("/usr/sbin/slapd").exists()


WAYS: dict[str, tuple[Way, Callable[[], bool]]] = {
    "plain": (plain, lambda: True),
    "argon2id": (argon2id, lambda: True),
    "sql": (sql, lambda: True),
    "dovecot": (dovecot, _mail),
    "imap": (imap, _mail),
    "ldap": (ldap, _slapd),
}
KINDS = {"remembered": "", "asked each time": "cache_seconds = 0\ngrace_seconds = 0\n"}


def poll(server: Running, seconds: float) -> Row:
    """The row poll-ctag of the first calendar of the home."""
    options = Options(events=0, clients=CLIENTS, seconds=seconds)
    target = Target.of(server.url, server.user, server.password)
    home, _ = discover(server.url, target)
    measurement = Measurement(server.url, target, server.pids, options)
    job = Job(target.request("PROPFIND", home, POLL, {"Depth": "0"}), MULTI, b"multistatus")
    measurement.many("poll", [job], seconds=seconds)
    return measurement.rows["poll"]


def better(row: Row, other: Row | None) -> Row:
    """Of two rounds the one with less processor time; a wrong one never."""
    if other is None or ("failed" in other and "failed" not in row):
        return row
    return row if "failed" not in row and row["cpu_ms"] < other["cpu_ms"] else other


def measure(rounds: int, seconds: float, ways: list[str]) -> dict[str, Row]:
    """Rows "WAY, remembered" and "WAY, asked each time"."""
    best: dict[str, Row] = {}
    for way in ways:
        run, there = WAYS[way]
        if not there():
            print(f"{way}: left out, its server is not installed", file=sys.stderr)
            continue
        with ExitStack() as stack:
            servers = {}
            for kind, auth in KINDS.items():
                try:
                    folder = stack.enter_context(open_folder())
                    servers[f"{way}, {kind}"] = stack.enter_context(run(folder, auth))
                except (RuntimeError, OSError, AssertionError) as error:
                    best[f"{way}, {kind}"] = {"failed": f"did not come up: {error!s:.200}"}
            for _ in range(rounds):
                for name, server in servers.items():
                    best[name] = better(poll(server, seconds), best.get(name))
    return best


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What signing in costs a poll.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--ways", default=",".join(WAYS))
    asked = parser.parse_args(words)
    rows = measure(asked.rounds, asked.seconds, asked.ways.split(","))
    print(machine())
    print(table(["passwords", "poll-ctag"], [[name, cell(row)] for name, row in rows.items()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
