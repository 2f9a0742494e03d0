"""The commands about signing in: what an administrator types, and what comes of it."""

from __future__ import annotations

import hashlib
import io
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from dav import cli, cli_auth
from storage import accounts, app_passwords, audit
from storage.engine import Store, open_store, transaction
from storage.records import Account

PASSWORD = "right horse"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("DAVENPORT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "config.ini").write_text("[log]\nlevel = error\n")
    mask = os.umask(0o022)
    yield tmp_path
    os.umask(mask)


@pytest.fixture
def opened(here: Path) -> Iterator[Store]:
    store = open_store(f"sqlite:///{here}/davenport.db", blob_dir=here / "davenport.files")
    yield store
    store.close()


@pytest.fixture
def mail(here: Path) -> Path:
    """A mail server's table with alice and the disabled bob, the first back end of two."""
    file = here / "users.sqlite"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE users (email TEXT PRIMARY KEY, password TEXT, active INTEGER)")
        database.execute("CREATE TABLE aliases (source TEXT, destination TEXT)")
        hashed = "{PLAIN}" + PASSWORD
        database.executemany(
            "INSERT INTO users VALUES (?, ?, ?)",
            [("alice@x.example", hashed, 1), ("odd@x.example", "{NO-SUCH}x", 1)],
        )
        database.execute("INSERT INTO aliases VALUES ('al@x.example', 'alice@x.example')")
    database.close()
    settings(
        here,
        "[auth]\nbackends = sql local\n[auth_sql]\nurl = sqlite:///users.sqlite\n"
        "password_query = SELECT email AS user, password FROM users WHERE email = :user AND active = 1\n"
        "addresses_query = SELECT source FROM aliases WHERE destination = :user\n",
    )
    return file


def settings(here: Path, text: str) -> None:
    (here / "config.ini").write_text(f"[log]\nlevel = error\n{text}")


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def attempt(monkeypatch: pytest.MonkeyPatch, user: str, password: str = PASSWORD) -> int:
    type_in(monkeypatch, f"{password}\n")
    return cli.main(["auth", "test", user, "--password-stdin"])


def add(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    type_in(monkeypatch, f"{PASSWORD}\n")
    assert cli.main(["account", "add", name, "--password-stdin"]) == 0


def account(store: Store, name: str) -> Account:
    with transaction(store) as conn:
        found = accounts.account_by_name(conn, name)
    assert found is not None
    return found


def story(store: Store, account_id: int) -> list[tuple[str, str, str]]:
    with transaction(store) as conn:
        return [(one.action, one.subject, one.detail) for one in audit.entries(conn, account_id)]


# --- auth test --------------------------------------------------------------------------------------------------------


def test_a_right_password_says_who_it_is_and_is_a_success(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(monkeypatch, "alice")
    capsys.readouterr()
    assert attempt(monkeypatch, "Alice") == 0
    out = capsys.readouterr().out
    assert "local" in out
    assert " ms  yes, this is alice" in out
    assert "Signed in as account alice." in out
    assert PASSWORD not in out


def test_a_wrong_password_is_no_success(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(monkeypatch, "alice")
    assert attempt(monkeypatch, "alice", "wrong") == 1
    assert "no: the password is wrong" in capsys.readouterr().out
    assert attempt(monkeypatch, "nobody") == 1
    out = capsys.readouterr().out
    assert "does not know this person" in out
    assert "Refused (401)." in out


def test_each_back_end_is_asked_in_order_and_addresses_are_shown(
    mail: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attempt(monkeypatch, "ALICE@x.example") == 0
    lines = capsys.readouterr().out.splitlines()
    kinds = [line.split()[0] for line in lines if " ms  " in line]
    assert kinds == ["sql", "local"]
    assert any("addresses:" in line and "al@x.example" in line for line in lines)
    assert "The first sign-in will make the account alice@x.example." in lines[-1]
    assert "sql decides; local would not be asked." in lines


def test_a_back_end_that_is_down_says_why_and_what_to_do(
    mail: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mail.unlink()
    assert attempt(monkeypatch, "alice@x.example") == 1
    out = capsys.readouterr().out
    assert "sql" in out
    assert "cannot tell: " in out
    assert "Look at the path" in out
    assert "(503)" in out
    assert not mail.exists()


def test_a_query_that_does_not_fit_says_so(
    mail: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(mail) as database:
        database.execute("ALTER TABLE users RENAME TO people")
    database.close()
    assert attempt(monkeypatch, "alice@x.example") == 1
    assert "The query does not fit the database" in capsys.readouterr().out


def test_an_unknown_scheme_says_so(
    mail: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attempt(monkeypatch, "odd@x.example") == 1
    assert "of a kind that cannot be checked here" in capsys.readouterr().out


def test_an_account_that_is_disabled_here_is_no_success(
    mail: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(monkeypatch, "alice@x.example")
    assert cli.main(["account", "disable", "alice@x.example"]) == 0
    assert attempt(monkeypatch, "alice@x.example") == 1
    assert "is disabled here" in capsys.readouterr().out


def test_without_create_accounts_a_stranger_is_no_success(
    mail: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (here / "config.ini").read_text()
    (here / "config.ini").write_text(text.replace("[auth]\n", "[auth]\ncreate_accounts = no\n"))
    assert attempt(monkeypatch, "alice@x.example") == 1
    assert "create_accounts is off" in capsys.readouterr().out


def test_trying_makes_no_account(mail: Path, opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert attempt(monkeypatch, "alice@x.example") == 0
    with transaction(opened) as conn:
        assert accounts.list_accounts(conn) == []


def test_a_setting_that_is_missing_is_named_for_its_back_end(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings(here, "[auth]\nbackends = imap local\n")
    add(monkeypatch, "alice")
    capsys.readouterr()
    assert attempt(monkeypatch, "alice") == 1
    out = capsys.readouterr().out
    assert "auth_imap.host" in out
    # The rest is asked all the same.
    assert "yes, this is alice" in out
    assert "The server does not start like this" in out


def test_a_refused_connection_says_what_to_look_at(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings(here, "[auth]\nbackends = dovecot\n[auth_dovecot]\nsocket = 127.0.0.1:1\n")
    assert attempt(monkeypatch, "alice") == 1
    assert "Nothing listens there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("/run/dovecot/davenport-auth: Permission denied", "may not open it"),
        ("auth.backends names ldap, which needs ldap3: pip install davenport[ldap]", "Install"),
        ("mail.example.org:993: its certificate is not accepted: self-signed certificate", "ca_file"),
        ("mail.example.org:143: [SSL: WRONG_VERSION_NUMBER] wrong version number", "starttls"),
        ("mail.example.org: Name or service not known", "DNS"),
        ("mail.example.org:993: no answer in 30 s", "firewall"),
        ('FATAL: password authentication failed for user "mail"', "does not take the name"),
        ("the mail server's database: attempt to write a readonly database", "WAL"),
    ],
)
def test_causes_have_advice(cause: str, words: str) -> None:
    assert words in cli_auth.advice(cause)


@pytest.mark.parametrize("password", ["", "x" * 1025])
def test_what_is_no_password_is_refused_before_anybody_is_asked(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], password: str
) -> None:
    assert attempt(monkeypatch, "alice", password) == 1
    assert "A password is needed" in capsys.readouterr().err


# --- app passwords ----------------------------------------------------------------------------------------------------


def test_an_app_password_is_shown_once_and_signs_in(
    here: Path, opened: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(monkeypatch, "alice")
    capsys.readouterr()
    arguments = ["--name", "Alice's phone", "--scope", "calendars, contacts", "--read-only", "--days", "30"]
    assert cli.main(["app-password", "add", "alice", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "User      alice"
    secret = lines[1].removeprefix("Password  ")
    with transaction(opened) as conn:
        (made,) = app_passwords.list_app_passwords(conn, account(opened, "alice").id)
    assert (made.name, made.areas, made.read_only) == ("Alice's phone", ("calendars", "addressbooks"), True)
    assert made.expires_s is not None
    assert made.expires_s - made.created_s == 30 * 86_400
    assert cli.main(["app-password", "list", "alice"]) == 0
    listed = capsys.readouterr().out
    assert "Alice's phone\tcalendars,contacts read-only until " in listed
    assert "never used" in listed
    assert secret not in listed
    assert attempt(monkeypatch, "alice", secret) == 0
    assert 'app password "Alice\'s phone" of alice' in capsys.readouterr().out
    assert attempt(monkeypatch, "mallory", secret) == 1


def test_the_store_keeps_only_a_digest(
    here: Path, opened: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(monkeypatch, "alice")
    capsys.readouterr()
    assert cli.main(["app-password", "add", "alice", "--name", "phone"]) == 0
    secret = capsys.readouterr().out.splitlines()[1].removeprefix("Password  ")
    dump = b"".join(path.read_bytes() for path in here.glob("davenport.db*"))
    assert secret.encode() not in dump
    assert secret.replace("-", "").encode() not in dump
    assert hashlib.sha256(secret.replace("-", "").encode()).hexdigest().encode() in dump


def test_a_removed_app_password_is_gone_at_once(
    here: Path, opened: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(monkeypatch, "alice")
    for name in ("phone", "tablet"):
        assert cli.main(["app-password", "add", "alice", "--name", name]) == 0
    before = account(opened, "alice").auth_seq
    assert cli.main(["app-password", "remove", "alice", "PHONE"]) == 0
    with transaction(opened) as conn:
        (left,) = app_passwords.list_app_passwords(conn, account(opened, "alice").id)
    assert left.name == "tablet"
    # What workers remember of the account is void.
    assert account(opened, "alice").auth_seq > before
    assert cli.main(["app-password", "remove", "alice", str(left.id)]) == 0
    capsys.readouterr()
    assert cli.main(["app-password", "remove", "alice", str(left.id)]) == 1
    assert "has no app password" in capsys.readouterr().err


def test_another_accounts_app_password_cannot_be_removed_by_its_number(
    here: Path, opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alice", "bob"):
        add(monkeypatch, name)
    assert cli.main(["app-password", "add", "bob", "--name", "phone"]) == 0
    with transaction(opened) as conn:
        (bobs,) = app_passwords.list_app_passwords(conn, account(opened, "bob").id)
    assert cli.main(["app-password", "remove", "alice", str(bobs.id)]) == 1
    with transaction(opened) as conn:
        assert app_passwords.list_app_passwords(conn, bobs.account_id) == [bobs]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--name", ""],
        ["--name", "a\x1b[2Jb"],
        ["--name", "x" * 101],
        ["--name", "x", "--scope", "mail"],
        ["--name", "x", "--scope", ""],
        ["--name", "x", "--days", "0"],
        ["--name", "Taken"],
    ],
)
def test_an_app_password_that_makes_no_sense_is_refused(
    here: Path, opened: Store, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    add(monkeypatch, "alice")
    assert cli.main(["app-password", "add", "alice", "--name", "taken"]) == 0
    assert cli.main(["app-password", "add", "alice", *arguments]) == 1
    with transaction(opened) as conn:
        assert len(app_passwords.list_app_passwords(conn, account(opened, "alice").id)) == 1


def test_app_passwords_are_not_made_without_end(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(monkeypatch, "alice")
    monkeypatch.setattr(cli_auth, "APP_PASSWORDS_MAX", 2)
    assert [cli.main(["app-password", "add", "alice", "--name", name]) for name in "abc"] == [0, 0, 1]


# --- accounts ---------------------------------------------------------------------------------------------------------


def test_a_renamed_account_keeps_what_it_has(
    here: Path, opened: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(monkeypatch, "alice@old.example")
    before = account(opened, "alice@old.example")
    assert cli.main(["account", "rename", "alice@old.example", "alice@new.example"]) == 0
    after = account(opened, "alice@new.example")
    assert after.id == before.id
    assert after.addresses == ("alice@new.example",)
    assert after.auth_seq > before.auth_seq
    add(monkeypatch, "bob@x.example")
    capsys.readouterr()
    assert cli.main(["account", "rename", "bob@x.example", "ALICE@new.example"]) == 1
    assert "another account" in capsys.readouterr().err
    assert cli.main(["account", "rename", "bob@x.example", "a/b"]) == 1
    assert cli.main(["account", "rename", "nobody", "x"]) == 1


def test_what_is_done_to_an_account_is_written_down(
    here: Path, opened: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(monkeypatch, "alice")
    ident = account(opened, "alice").id
    for command in (
        ["account", "set-password", "alice", "--generate"],
        ["account", "disable", "alice"],
        ["account", "enable", "alice"],
        ["account", "address", "add", "alice", "a@x.example"],
        ["account", "address", "remove", "alice", "a@x.example"],
        ["app-password", "add", "alice", "--name", "phone", "--read-only"],
        ["app-password", "remove", "alice", "phone"],
        ["account", "rename", "alice", "alicia"],
        ["account", "remove", "alicia", "--yes"],
    ):
        assert cli.main(command) == 0, command
    assert story(opened, ident) == [
        ("account removed", "alicia", ""),
        ("account renamed", "alicia", "was alice"),
        ("app password revoked", "phone", ""),
        ("app password made", "phone", "calendars,contacts,files read-only"),
        ("address removed", "a@x.example", ""),
        ("address added", "a@x.example", ""),
        ("account enabled", "", ""),
        ("account disabled", "", ""),
        ("password set", "", ""),
        ("account created", "", ""),
    ]
    with transaction(opened) as conn:
        assert all(one.actor.startswith("shell:") for one in audit.entries(conn, ident))


def test_the_log_of_an_account_begins_with_the_newest(
    here: Path, opened: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(monkeypatch, "alice")
    assert cli.main(["account", "disable", "alice"]) == 0
    with transaction(opened, write=True) as conn:
        audit.note(conn, at_s=1_790_000_000, account_id=account(opened, "alice").id, actor="ali\x1b[2Jce\n", action="x")
    capsys.readouterr()
    assert cli.main(["account", "log", "alice"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2026-09-21 14:13:20\tali?[2Jce?\tx"
    assert [line.split("\t")[2] for line in lines[1:]] == ["account disabled", "account created"]
    assert cli.main(["account", "log", "alice", "--lines", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_mail_servers_copy_is_written_at_once(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings(here, "[mail_accounts]\nfile = mail/accounts.sqlite\n")
    # A copy that cannot be written is said, and undoes nothing.
    add(monkeypatch, "alice@x.example")
    assert "mail/accounts.sqlite cannot be written" in capsys.readouterr().err
    (here / "mail").mkdir()
    add(monkeypatch, "bob@x.example")
    assert cli.main(["account", "disable", "alice@x.example"]) == 0
    with sqlite3.connect(here / "mail" / "accounts.sqlite") as copy:
        assert copy.execute("SELECT name FROM mail_users").fetchall() == [("bob@x.example",)]
    copy.close()


def test_the_copy_is_for_sqlite(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings(here, "[database]\nurl = postgresql:///x\n[mail_accounts]\nfile = a.sqlite\n")
    assert cli.main(["account", "list"]) == 2
    assert "mail_accounts.file is for SQLite" in capsys.readouterr().err
