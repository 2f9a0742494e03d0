"""The mail server signs Davenport's people in: real Dovecot and Postfix with the very snippets of docs/mail.md."""

from __future__ import annotations

import contextlib
import io
import os
import pwd
import re
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dav import cli

from .conftest import missing, need_program
from .servers import ROOT

DOCS = ROOT / "docs" / "mail.md"
PASSWORD, OTHER = "right-Horse-7", "Other-Horse-8"


def snippet(first_line: str) -> str:
    """The indented block of docs/mail.md that begins with this line, without it."""
    blocks = re.findall(r"(?:^    .*\n)+", DOCS.read_text(), re.MULTILINE)
    found = [block for block in blocks if block.startswith(f"    {first_line}\n")]
    assert len(found) == 1, first_line
    return "\n".join(line[4:] for line in found[0].splitlines()[1:]) + "\n"


class Mail:
    """A folder with Davenport's store and a private Dovecot and Postfix configuration. stop() ends Dovecot."""

    def __init__(self, *, url: str = "") -> None:
        # Sockets want short paths, and other users must be able to walk there.
        self.folder = Path(tempfile.mkdtemp(prefix="dav-way-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.own, self.copies = self.folder / "own", self.folder / "copies"
        self.own.mkdir(0o750)
        # As `install -d -o davenport -g postfix -m 2750` makes it; Davenport's user is root here.
        self.copies.mkdir()
        os.chown(self.copies, -1, pwd.getpwnam("postfix").pw_gid)
        self.copies.chmod(0o2750)
        copy = "" if url else f"[mail_accounts]\nfile = {self.copies}/accounts.sqlite\n"
        (self.folder / "config.ini").write_text(
            f"[database]\nurl = {url or f'sqlite:///{self.own}/davenport.db'}\nfiles = {self.own}/files\n{copy}"
        )

    def davenport(self, *arguments: str, given: str = "") -> None:
        # In this process, since there are many: a new one needs a second to begin.
        mask, before = os.umask(0o077), sys.stdin
        try:
            sys.stdin = io.StringIO(given)
            with contextlib.redirect_stdout(io.StringIO()):
                assert cli.main(["--config", str(self.folder / "config.ini"), *arguments]) == 0, arguments
        finally:
            sys.stdin = before
            os.umask(mask)

    def people(self) -> None:
        for name, more in (("alice@example.com", ("--address", "Al@example.com")), ("bob@example.com", ())):
            self.davenport("account", "add", name, "--password-stdin", *more, given=f"{PASSWORD}\n")

    def here(self, text: str) -> str:
        """A snippet with this folder's paths, and with a user that every Debian has."""
        moved = text.replace("/var/lib/davenport-mail", str(self.copies)).replace("/etc/", f"{self.folder}/")
        return moved.replace("'vmail'", "'mail'")

    def start_dovecot(self, sql: str) -> None:
        (self.folder / "dovecot").mkdir()
        (self.folder / "dovecot" / "davenport-sql.conf.ext").write_text(self.here(sql))
        auth = self.here(snippet("# /etc/dovecot/conf.d/auth-davenport.conf"))
        (self.folder / "dovecot" / "dovecot.conf").write_text(
            f"base_dir = {self.folder}/run\nstate_dir = {self.folder}/run\nlog_path = {self.folder}/dovecot.log\n"
            f"protocols =\nlisten = 127.0.0.1\ninstance_name = dav-way-{secrets.token_hex(4)}\nssl = no\n"
            f"auth_failure_delay = 0\nfirst_valid_uid = 1\nauth_verbose = yes\nmail_location = maildir:~/mail\n"
            # Without the penalty for wrong passwords, which is seconds each.
            f"service anvil {{\n  unix_listener anvil-auth-penalty {{\n    mode = 0\n  }}\n}}\n{auth}"
        )
        self.run("dovecot", "-c", str(self.folder / "dovecot" / "dovecot.conf"))

    def run(self, *command: str) -> None:
        # Into a file: the daemons that it leaves behind would keep a pipe open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, timeout=60, check=False)
            output.seek(0)
            assert done.returncode == 0, f"{command}: {output.read().decode(errors='replace')}"

    def doveadm(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            ["doveadm", "-c", str(self.folder / "dovecot" / "dovecot.conf"), *arguments],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def signs_in(self, name: str, password: str) -> bool:
        status, text = self.doveadm("auth", "test", name, password)
        assert "auth succeeded" in text or "auth failed" in text, text + self.log()
        assert ("auth succeeded" in text) == (status == 0)
        return status == 0

    def write_postfix(self, cf: str) -> None:
        (self.folder / "postfix").mkdir()
        (self.folder / "postfix" / "davenport-addresses.cf").write_text(self.here(cf))
        main = self.here(snippet("# /etc/postfix/main.cf"))
        (self.folder / "postfix" / "main.cf").write_text(f"compatibility_level = 3.6\n{main}")
        for name in ("master.cf", "dynamicmaps.cf"):
            shutil.copy(f"/etc/postfix/{name}", self.folder / "postfix" / name)
        shutil.copytree("/etc/postfix/dynamicmaps.cf.d", self.folder / "postfix" / "dynamicmaps.cf.d")
        for path in (self.folder / "postfix").rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)

    def postmap(self, address: str, kind: str) -> str:
        """What Postfix finds, as the user that it runs as, with no other groups. "" for nothing."""
        done = subprocess.run(
            ["postmap", "-c", str(self.folder / "postfix"), "-q", address,
             f"{kind}:{self.folder}/postfix/davenport-addresses.cf"],
            capture_output=True, text=True, timeout=60, check=False, user="postfix", group="postfix", extra_groups=[],
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        assert "fatal" not in done.stderr, done.stderr
        return done.stdout.strip()

    def log(self) -> str:
        log = self.folder / "dovecot.log"
        return log.read_text(errors="replace")[-4000:] if log.exists() else ""

    def stop(self) -> None:
        if (self.folder / "run" / "master.pid").exists():
            self.doveadm("stop")
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    for name in ("dovecot", "doveadm", "postmap"):
        need_program(name, "see .ci/install-mail")
    if os.geteuid() != 0:
        missing("only root may become the mail server's users")


@pytest.fixture
def mail() -> Iterator[Mail]:
    made = Mail()
    yield made
    made.stop()


def agree(mail: Mail, kind: str) -> None:
    """What must hold, whichever database it is: Davenport's accounts are the mail server's."""
    assert mail.signs_in("alice@example.com", PASSWORD), mail.log()
    assert mail.signs_in("ALICE@Example.com", PASSWORD)
    assert not mail.signs_in("alice@example.com", "wrong")
    assert not mail.signs_in("nobody@example.com", PASSWORD)
    assert not mail.signs_in("x' OR '1'='1", PASSWORD)
    assert "alice@example.com" in mail.doveadm("user", "-f", "home", "al@example.com")[1]
    assert mail.doveadm("user", "nobody@example.com")[0] != 0
    assert sorted(mail.doveadm("user", "*")[1].split()) == ["alice@example.com", "bob@example.com"]
    assert mail.postmap("alice@example.com", kind) == "alice@example.com"
    assert mail.postmap("AL@example.com", kind) == "alice@example.com"
    assert mail.postmap("nobody@example.com", kind) == ""
    # Changed here, changed there, at once.
    mail.davenport("account", "set-password", "alice@example.com", "--password-stdin", given=f"{OTHER}\n")
    assert mail.signs_in("alice@example.com", OTHER)
    assert not mail.signs_in("alice@example.com", PASSWORD)
    mail.davenport("account", "disable", "bob@example.com")
    assert not mail.signs_in("bob@example.com", PASSWORD)
    assert mail.postmap("bob@example.com", kind) == ""
    mail.davenport("account", "enable", "bob@example.com")
    assert mail.signs_in("bob@example.com", PASSWORD)
    mail.davenport("account", "address", "add", "bob@example.com", "robert@example.com")
    assert mail.postmap("robert@example.com", kind) == "bob@example.com"


def test_dovecot_and_postfix_use_the_accounts_of_sqlite(mail: Mail) -> None:
    mail.people()
    mail.start_dovecot(snippet("# /etc/dovecot/davenport-sql.conf.ext"))
    mail.write_postfix(snippet("# /etc/postfix/davenport-addresses.cf"))
    agree(mail, "sqlite")
    shown = subprocess.run(
        ["postconf", "-c", str(mail.folder / "postfix"), "-h", "virtual_mailbox_maps", "smtpd_sender_login_maps"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert set(shown.stdout.split()) == {f"proxy:sqlite:{mail.folder}/postfix/davenport-addresses.cf"}
    assert shown.stderr == ""


def test_the_mail_server_cannot_read_the_calendars_and_no_stranger_the_hashes(mail: Mail) -> None:
    mail.people()
    for user, path, readable in (
        ("postfix", mail.copies / "accounts.sqlite", True),
        ("postfix", mail.own / "davenport.db", False),
        ("nobody", mail.copies / "accounts.sqlite", False),
    ):
        done = subprocess.run(
            ["cat", str(path)], capture_output=True, timeout=60, check=False, user=user,
            group=pwd.getpwnam(user).pw_gid, extra_groups=[],
        )  # fmt: skip
        assert (done.returncode == 0) is readable, (user, path)
    # An app password opens no mailbox, so it is not there either.
    mail.davenport("app-password", "add", "alice@example.com", "--name", "phone")
    with sqlite3.connect(mail.copies / "accounts.sqlite") as copy:
        assert copy.execute("SELECT count(*), count(DISTINCT login) FROM mail_users").fetchone() == (2, 2)
    copy.close()


def test_dovecot_and_postfix_read_the_views_of_postgresql() -> None:
    cluster = os.environ.get("DAVENPORT_TEST_PG")
    if not cluster:
        missing("DAVENPORT_TEST_PG is not set")
    assert cluster
    import psycopg

    plain = cluster.replace("postgresql+psycopg://", "postgresql://")
    parts = urlsplit(plain)
    name, role = f"way_{secrets.token_hex(6)}", f"mailserver_{secrets.token_hex(6)}"

    def there(text: str) -> str:
        """A snippet for this database and role; the port is not the usual one."""
        for old, new in (("davenport\n", f"{name}\n"), ("dbname=davenport", f"dbname={name}"), ("mailserver", role)):
            text = text.replace(old, new)
        text = text.replace("host=127.0.0.1", f"host={parts.hostname} port={parts.port}")
        return text.replace("hosts = 127.0.0.1", f"hosts = {parts.hostname}:{parts.port}")

    with psycopg.connect(plain, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
    database = parts._replace(path=f"/{name}").geturl()
    made = Mail(url=database)
    try:
        made.people()
        first = "CREATE ROLE mailserver LOGIN PASSWORD 'PASSWORD';"
        with psycopg.connect(database, autocommit=True) as admin:
            for statement in f"{first}\n{snippet(first)}".splitlines():
                admin.execute(there(statement).encode())
        with psycopg.connect(
            parts._replace(netloc=f"{role}@{parts.hostname}:{parts.port}", path=f"/{name}").geturl()
        ) as it:
            assert it.execute("SELECT count(*) FROM mail_users").fetchone() == (2,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                it.execute("SELECT * FROM accounts")
        ours = snippet("# /etc/dovecot/davenport-sql.conf.ext")
        head = snippet("# /etc/dovecot/davenport-sql.conf.ext, with PostgreSQL")
        made.start_dovecot(there(head) + ours.split("\n", 2)[2])
        made.write_postfix(there(snippet("# /etc/postfix/davenport-addresses.cf, with PostgreSQL")))
        agree(made, "pgsql")
    finally:
        made.stop()
        with psycopg.connect(plain, autocommit=True) as admin:
            admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            admin.execute(f'DROP ROLE IF EXISTS "{role}"')
