"""The command line: what an administrator types, and what comes of it."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dav import cli, firstrun, provision
from dav.auth import passwords
from dav.config import Config, ServerConfig
from dav.version import VERSION
from storage import accounts, collections, objects
from storage.engine import Store, open_store, transaction
from storage.records import Account, ObjectIndex


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
    """The store that the commands of this test use, after the first of them has made it."""
    store = open_store(f"sqlite:///{here}/davenport.db", blob_dir=here / "davenport.files")
    yield store
    store.close()


def account(store: Store, name: str) -> Account | None:
    with transaction(store) as conn:
        return accounts.account_by_name(conn, name)


def add(name: str, *more: str) -> None:
    assert cli.main(["account", "add", name, "--generate", *more]) == 0


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_a_new_account_has_what_devices_look_for(
    here: Path, opened: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, " pass word \nrest")
    arguments = ["--name", "Alice", "--address", "a@example.org", "--password-stdin", "--admin"]
    assert cli.main(["account", "add", "alice@example.com", *arguments]) == 0
    assert capsys.readouterr().out == "Made account alice@example.com.\n"
    made = account(opened, "ALICE@example.com")
    assert made is not None
    assert (made.display_name, made.addresses, made.admin) == ("Alice", ("alice@example.com", "a@example.org"), True)
    assert made.password_hash is not None
    assert passwords.verify(" pass word ", made.password_hash)
    with transaction(opened) as conn:
        homes = {
            area: [
                (c.path, c.kind, c.display_name, c.components)
                for c in collections.children(conn, collections.home(conn, made.id, area).id)
            ]
            for area in ("calendars", "addressbooks", "files")
        }
    assert homes == {
        "calendars": [
            ("calendar", "calendar", "Calendar", ("VEVENT",)),
            ("tasks", "calendar", "Tasks", ("VTODO",)),
            ("inbox", "inbox", None, ()),
            ("outbox", "outbox", None, ()),
            ("notifications", "notifications", None, ()),
        ],
        "addressbooks": [("contacts", "addressbook", "Contacts", ())],
        "files": [],
    }


def test_a_generated_password_is_printed_and_right(
    here: Path, opened: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    add("alice")
    password = capsys.readouterr().out.splitlines()[1].removeprefix("Password: ")
    made = account(opened, "alice")
    assert made is not None
    assert made.password_hash is not None
    assert passwords.verify(password, made.password_hash)
    assert made.addresses == ()


def test_what_is_made_belongs_to_its_owner_only(here: Path) -> None:
    add("alice")
    assert stat.S_IMODE((here / "davenport.db").stat().st_mode) & 0o077 == 0


@pytest.mark.parametrize("name", ["", " a", "a/b", "a:b", "a%40b", ".", "..", "a\nb", "x" * 201, "a?b", "a#b"])
def test_a_name_that_could_be_no_login_or_path_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert cli.main(["account", "add", "--generate", "--", name]) == 1
    assert "name" in capsys.readouterr().err.lower()


def test_names_and_addresses_are_taken_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add("alice@example.com")
    assert cli.main(["account", "add", "ALICE@example.com", "--generate"]) == 1
    assert "already" in capsys.readouterr().err
    assert cli.main(["account", "add", "bob", "--generate", "--address", "Alice@Example.com"]) == 1
    assert "belongs to another account" in capsys.readouterr().err
    assert cli.main(["account", "add", "bob", "--generate", "--address", "nonsense"]) == 1
    assert "not an e-mail address" in capsys.readouterr().err
    assert cli.main(["account", "show", "bob"]) == 1


def test_without_a_terminal_the_password_must_come_from_somewhere(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, "x\n")
    assert cli.main(["account", "add", "alice"]) == 1
    assert "--password-stdin or --generate" in capsys.readouterr().err
    type_in(monkeypatch, "\n")
    assert cli.main(["account", "add", "alice", "--password-stdin"]) == 1
    assert "empty" in capsys.readouterr().err


def test_at_a_terminal_the_password_is_asked_twice(
    here: Path, opened: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    typed = iter(["one", "two", "one", "one"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(typed))
    assert cli.main(["account", "add", "alice"]) == 1
    assert "not the same" in capsys.readouterr().err
    assert cli.main(["account", "add", "alice"]) == 0
    made = account(opened, "alice")
    assert made is not None
    assert made.password_hash is not None
    assert passwords.verify("one", made.password_hash)


def test_accounts_are_listed_and_shown(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add("bob@example.com", "--name", "Bob")
    add("alice@example.com")
    cli.main(["account", "disable", "alice@example.com"])
    capsys.readouterr()
    assert cli.main(["account", "list"]) == 0
    assert capsys.readouterr().out == (
        "alice@example.com\t\talice@example.com\tdisabled\nbob@example.com\tBob\tbob@example.com\n"
    )
    assert cli.main(["account", "show", "bob@example.com"]) == 0
    shown = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert shown["state"].strip() == "active"
    assert shown["password"].strip() == "set"
    assert shown["calendars/calendar"].strip() == "Calendar, 0 objects"


def test_a_password_change_and_disabling_void_what_devices_remember(
    here: Path, opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add("alice")
    seen = []
    for arguments in (["set-password", "alice", "--generate"], ["disable", "alice"], ["enable", "alice"]):
        before = account(opened, "alice")
        assert cli.main(["account", *arguments]) == 0
        after = account(opened, "alice")
        assert before is not None
        assert after is not None
        assert after.auth_seq > before.auth_seq
        seen.append((after.active, after.password_hash == before.password_hash))
    assert seen == [(True, False), (False, True), (True, True)]


def test_removing_asks_for_the_name(
    here: Path, opened: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add("alice")
    type_in(monkeypatch, "alice\n")
    assert cli.main(["account", "remove", "alice"]) == 1
    assert "--yes" in capsys.readouterr().err
    terminal = io.StringIO("yes\nAlice\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    assert cli.main(["account", "remove", "alice"]) == 1
    assert account(opened, "alice") is not None
    assert cli.main(["account", "remove", "alice"]) == 0
    assert account(opened, "alice") is None
    add("alice")
    assert cli.main(["account", "remove", "alice", "--yes"]) == 0
    assert account(opened, "alice") is None


def test_addresses_are_added_made_primary_and_removed(
    here: Path, opened: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    add("alice@example.com")
    add("bob@example.com")
    assert cli.main(["account", "address", "add", "alice@example.com", "a@example.org", "--primary"]) == 0
    made = account(opened, "alice@example.com")
    assert made is not None
    assert made.addresses == ("a@example.org", "alice@example.com")
    assert cli.main(["account", "address", "add", "bob@example.com", "A@example.org"]) == 1
    assert cli.main(["account", "address", "remove", "alice@example.com", "A@Example.org"]) == 0
    assert cli.main(["account", "address", "remove", "alice@example.com", "a@example.org"]) == 1
    assert "not an address of" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["account", "show", "x"],
        ["account", "set-password", "x", "--generate"],
        ["account", "disable", "x"],
        ["account", "enable", "x"],
        ["account", "remove", "x", "--yes"],
        ["account", "address", "add", "x", "a@b.example"],
        ["account", "address", "remove", "x", "a@b.example"],
    ],
)
def test_an_unknown_account_is_named(here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert cli.main(arguments) == 1
    assert capsys.readouterr().err == "davenport: There is no account 'x'.\n"


def test_a_fresh_store_is_checked_and_purged(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add("alice@example.com")
    capsys.readouterr()
    assert cli.main(["check"]) == 0
    assert "Nothing is wrong." in capsys.readouterr().out
    assert cli.main(["purge"]) == 0
    assert "Nothing is old enough" in capsys.readouterr().out


def test_a_restored_store_refuses_the_sync_tokens_of_its_former_life(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add("alice@example.com")
    before = _epoch()
    assert cli.main(["restored"]) == 0
    assert "compare everything" in capsys.readouterr().out
    assert _epoch() != before


def _epoch() -> str:
    store = provision.open_store(Config())
    try:
        return store.epoch
    finally:
        store.close()


def test_show_names_the_objects_that_cannot_be_read(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add("alice@example.com")
    store = provision.open_store(Config())
    with transaction(store, write=True) as conn:
        calendar, _ = collections.resolve(conn, "alice@example.com", "calendars", "calendar")
        assert calendar is not None
        for name, readable in (("good.ics", True), ("odd.ics", False)):
            index = ObjectIndex(component="VEVENT", readable=readable)
            objects.put_object(
                conn, calendar, name, b"x", content_type="text/calendar", etag=name, index=index, now_s=1
            )
    store.close()
    capsys.readouterr()
    assert cli.main(["account", "show", "alice@example.com"]) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["cannot", "be", "read", "odd.ics"] in shown
    assert not any("good.ics" in line for line in shown)


def test_the_example_is_printed_even_when_the_settings_are_broken(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "config.ini").write_text("nonsense")
    assert cli.main(["config", "example"]) == 0
    assert capsys.readouterr().out.startswith("# Settings of Davenport.")
    assert cli.main(["account", "list"]) == 2
    assert "config.ini:1" in capsys.readouterr().err


def test_settings_can_be_named_before_and_after_the_command(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["-c", "none.ini", "account", "list"], ["account", "list", "-c", "none.ini"]):
        assert cli.main(arguments) == 2
        assert "none.ini" in capsys.readouterr().err


def test_a_database_that_cannot_be_opened_is_a_sentence(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "config.ini").write_text("[database]\nurl = sqlite:///no/such/folder/x.db\n")
    assert cli.main(["account", "list"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("davenport: The database cannot be used: ")
    assert "Traceback" not in error


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for command in cli.COMMANDS:
        with pytest.raises(SystemExit) as stopped:
            cli.main([*command.words.split(), "--help"])
        assert stopped.value.code == 0
        assert command.help[1:12] in " ".join(capsys.readouterr().out.split())


def test_the_version_is_the_project_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"Davenport {VERSION}\n"
    project = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text("utf-8")
    assert f'\nversion = "{VERSION}"\n' in project


@pytest.mark.parametrize(
    ("login", "name"),
    [("alice", "alice"), ("Bob", "bob"), ("root", "me"), ("", "me"), ("DOMAIN\\x", "me"), ("x" * 40, "me")],
)
def test_the_first_account_has_a_name_that_is_easy_to_type(login: str, name: str) -> None:
    assert firstrun.account_name(login) == name


@pytest.mark.parametrize(
    ("server", "shown"),
    [
        (ServerConfig(), "http://localhost:5232/"),
        (ServerConfig(host="0.0.0.0", base_path="/dv"), "http://localhost:5232/dv/"),
        (ServerConfig(host="2001:db8::1"), "http://[2001:db8::1]:5232/"),
        (ServerConfig(certificate="c", key="k"), "https://localhost:5232/"),
        (ServerConfig(public_url="https://dav.example.org", base_path="/dv"), "https://dav.example.org/dv/"),
    ],
)
def test_the_printed_address_is_the_one_to_type(server: ServerConfig, shown: str) -> None:
    assert firstrun.address(Config(server=server), port=5232) == shown


def test_the_greeting_says_how_phones_get_in() -> None:
    closed = firstrun.greeting(Config(), port=5232, login=("me", "secret"), lan="192.168.1.2")
    assert "host = 0.0.0.0" in closed
    assert "192.168.1.2" not in closed
    opened_up = Config(server=ServerConfig(host="0.0.0.0"))
    assert "http://192.168.1.2:5232/" in firstrun.greeting(opened_up, port=5232, login=None, lan="192.168.1.2")
    assert "Password" not in firstrun.greeting(opened_up, port=5232, login=None, lan="")


def test_a_room_is_made_without_a_password_and_has_rules(
    here: Path, opened: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["account", "add", "room", "--kind", "room", "--address", "room@example.org"]) == 0
    made = account(opened, "room")
    assert made is not None
    assert (made.kind, made.password_hash) == ("room", None)
    capsys.readouterr()
    assert cli.main(["account", "booking", "room"]) == 0
    assert capsys.readouterr().out == "mode       automatic\nconflicts  decline\nhorizon    730 days\n"
    assert cli.main(["account", "booking", "room", "--mode", "manual", "--conflicts", "partial"]) == 0
    assert cli.main(["account", "booking", "room", "--horizon", "90"]) == 0
    capsys.readouterr()
    assert cli.main(["account", "booking", "room"]) == 0
    assert capsys.readouterr().out == "mode       manual\nconflicts  partial\nhorizon    90 days\n"
    assert cli.main(["account", "booking", "room", "--horizon", "0"]) == 1


def test_a_person_has_no_booking_rules(here: Path, opened: Store, capsys: pytest.CaptureFixture[str]) -> None:
    add("alice")
    assert cli.main(["account", "booking", "alice"]) == 1
    assert "no room" in capsys.readouterr().err


def test_the_language_and_time_zone_of_mails_are_set_and_shown(
    here: Path, opened: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    add("alice")
    capsys.readouterr()
    assert cli.main(["account", "language", "alice", "--language", "de_AT", "--time-zone", "Europe/Vienna"]) == 0
    found = account(opened, "alice")
    assert found is not None
    assert (found.locale, found.time_zone) == ("de-AT", "Europe/Vienna")
    assert cli.main(["account", "language", "alice", "--language", ""]) == 0
    assert capsys.readouterr().out.endswith("language   -\ntime zone  Europe/Vienna\n")
    for wrong in (["--language", "sv"], ["--time-zone", "Europe/Nowhere"]):
        assert cli.main(["account", "language", "alice", *wrong]) != 0
