"""The commands about shares and groups: what an administrator types and sees."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dav import cli, provision
from storage import accounts, audit, collections, outbound, shares
from storage.engine import Store, open_store, transaction

ALICE, BOB, TEAM = "alice@example.org", "bob@example.org", "team@example.org"


@pytest.fixture
def store(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("DAVENPORT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "config.ini").write_text("[log]\nlevel = error\n")
    store = open_store(sqlite_url, blob_dir=tmp_path / "davenport.files")
    with transaction(store, write=True) as conn:
        for name in (ALICE, BOB):
            provision.provision(conn, name, now_s=int(time.time()))
    yield store
    store.close()


def run(*words: str) -> int:
    return cli.main([*words])


def lines(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    return [line.split("\t") for line in capsys.readouterr().out.splitlines()]


def mounts(store: Store, name: str = BOB, area: str = "calendars") -> list[str]:
    with transaction(store) as conn:
        account = accounts.account_by_name(conn, name)
        assert account is not None
        home = collections.home(conn, account.id, area)
        return [one.name for one in collections.children(conn, home.id) if one.origin == "shared"]


def deeds(store: Store, name: str) -> list[tuple[str, str, str]]:
    with transaction(store) as conn:
        account = accounts.account_by_name(conn, name)
        assert account is not None
        return [(one.action, one.subject, one.detail) for one in audit.entries(conn, account.id)]


def test_what_is_shared_is_there_at_once_listed_and_removed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("share", "add", f"{ALICE}/calendar", BOB, "--access", "write") == 0
    assert mounts(store) == ["calendar-2"]
    capsys.readouterr()
    assert run("share", "list") == 0
    assert lines(capsys) == [[f"calendars/{ALICE}/calendar", BOB, "write", "accepted"]]
    for name in (ALICE, BOB):
        assert run("share", "list", name) == 0
        assert lines(capsys) == [[f"calendars/{ALICE}/calendar", BOB, "write", "accepted"]]
    assert run("share", "remove", f"{ALICE}/calendar", BOB) == 0
    assert mounts(store) == []
    assert run("share", "list") == 0
    assert lines(capsys)[1:] == []
    assert deeds(store, ALICE)[:2] == [
        ("not shared any more", "calendars/calendar", BOB),
        ("shared", "calendars/calendar", f"{BOB}: write, accepted"),
    ]
    with transaction(store) as conn:
        account = accounts.account_by_name(conn, ALICE)
        assert account is not None
        assert audit.entries(conn, account.id)[0].actor.startswith("shell:")


def test_an_administrator_may_ask_and_answer_for_somebody(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("share", "add", f"addressbooks/{ALICE}/contacts", BOB, "--ask") == 0
    assert "asked first" in capsys.readouterr().out
    assert mounts(store, area="addressbooks") == []
    assert run("share", "accept", f"{ALICE}/contacts", BOB) == 0
    assert "contacts-2 of bob@example.org" in capsys.readouterr().out
    assert mounts(store, area="addressbooks") == ["contacts-2"]
    assert run("share", "decline", f"{ALICE}/contacts", BOB) == 0
    assert mounts(store, area="addressbooks") == []


def test_the_database_fits_together_with_mounts_and_without_them(store: Store) -> None:
    assert run("share", "add", f"{ALICE}/calendar", BOB) == 0
    assert run("share", "add", f"addressbooks/{ALICE}/contacts", "everybody") == 0
    assert run("check") == 0
    assert run("account", "remove", ALICE, "--yes") == 0
    assert run("check") == 0
    assert run("purge") == 0
    assert run("check") == 0


def test_everybody_and_groups_are_given_things(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("account", "add", TEAM, "--kind", "group") == 0
    assert run("group", "add", TEAM, BOB) == 0
    assert run("share", "add", f"{ALICE}/calendar", TEAM) == 0
    assert mounts(store) == ["calendar-2"]
    assert run("share", "add", f"{ALICE}/tasks", "everybody", "--access", "busy") == 0
    assert mounts(store) == ["calendar-2"]
    assert run("share", "accept", f"{ALICE}/tasks", BOB) == 0
    assert mounts(store) == ["calendar-2", "tasks-2"]
    capsys.readouterr()
    assert run("share", "list", ALICE) == 0
    assert lines(capsys) == [
        [f"calendars/{ALICE}/calendar", TEAM, "read", "accepted"],
        [f"calendars/{ALICE}/tasks", "everybody", "busy", "accepted"],
    ]
    assert run("account", "disable", TEAM) == 0
    assert mounts(store) == ["tasks-2"]
    assert run("account", "enable", TEAM) == 0
    assert sorted(mounts(store)) == ["calendar-2", "tasks-2"]
    assert run("account", "remove", TEAM, "--yes") == 0
    assert mounts(store) == ["tasks-2"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("share", "add", "calendar", BOB), "names no collection"),
        (("share", "add", "nobody/calendar", BOB), "no account"),
        (("share", "add", f"{ALICE}/nothing", BOB), "no collection"),
        (("share", "add", f"{ALICE}/inbox", BOB), "nothing that can be shared"),
        (("share", "add", f"{ALICE}/calendar", "nobody"), "nobody 'nobody'"),
        (("share", "add", f"{ALICE}/calendar", ALICE), "shares with themselves"),
        (("share", "add", f"{ALICE}/calendar", "out@y.example"), "no feed can be sent by mail"),
        (("share", "remove", f"{ALICE}/calendar", BOB), "is not shared with"),
        (("share", "accept", f"{ALICE}/calendar", BOB), "is not shared with"),
        (("group", "add", ALICE, BOB), "is no group"),
        (("group", "remove", TEAM, ALICE), "no account"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(
    store: Store, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    assert run(*words) == 1
    assert told in capsys.readouterr().err
    with transaction(store) as conn:
        assert shares.list_shares(conn) == []


def test_a_name_that_several_collections_have_must_be_told_apart(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    with transaction(store, write=True) as conn:
        account = accounts.account_by_name(conn, ALICE)
        assert account is not None
        home = collections.home(conn, account.id, "files")
        collections.create_collection(conn, home, "calendar", kind="folder", now_s=1)
    assert run("share", "add", f"{ALICE}/calendar", BOB) == 1
    assert "calendars/ or files/" in capsys.readouterr().err
    assert run("share", "add", f"/dav/files/{ALICE}/calendar/", BOB) == 0
    assert mounts(store, area="files") == ["calendar"]


def test_groups_are_made_listed_and_left(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (TEAM, "all@example.org"):
        assert run("account", "add", name, "--kind", "group", "--name", name.partition("@")[0]) == 0
    assert run("group", "add", "all@example.org", TEAM) == 0
    assert run("group", "add", TEAM, BOB) == 0
    assert run("group", "add", TEAM, BOB) == 1
    assert run("group", "add", TEAM, "all@example.org") == 1
    assert "belong to itself" in capsys.readouterr().err
    assert run("group", "list") == 0
    assert lines(capsys) == [["all@example.org", "all", "1"], [TEAM, "team", "1"]]
    assert run("group", "members", "all@example.org") == 0
    assert lines(capsys) == [[TEAM, "team", "group"]]
    assert run("group", "members", "all@example.org", "--all") == 0
    assert lines(capsys) == [[BOB, "", "individual"]]
    assert run("group", "remove", TEAM, BOB) == 0
    assert run("group", "remove", TEAM, BOB) == 1
    assert deeds(store, BOB)[:2] == [("taken out of a group", TEAM, ""), ("put into a group", TEAM, "")]


def test_somebody_elsewhere_is_sent_a_link_where_mail_goes_out(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "config.ini").open("a") as file:
        file.write(
            "[server]\npublic_url = https://dav.example.org\n[smtp]\nhost = 127.0.0.1\n"
            "[mail]\nfrom_address = dav@example.org\n"
        )
    assert run("share", "add", f"{ALICE}/calendar", "Out@Y.example") == 0
    assert "sent to them" in capsys.readouterr().out
    with transaction(store) as conn:
        (row,) = outbound.list_outgoing(conn, limit=10)
    assert (row.recipient, row.state, row.sender) == ("out@y.example", "held", ALICE)
    with transaction(store, write=True) as conn:  # who has an account by now has the address of the feed all the same
        account = provision.provision(conn, "out", now_s=int(time.time()))
        accounts.add_address(conn, account.id, "out@y.example")
    assert run("share", "remove", f"{ALICE}/calendar", "OUT@y.example") == 0
    with transaction(store) as conn:
        (row,) = outbound.list_outgoing(conn, limit=10)
    assert row.state == "dropped"


def test_a_full_home_is_asked_first_and_told_when_it_says_yes(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.ini").write_text("[log]\nlevel = error\n[sharing]\nmounts = 1\n")
    assert run("share", "add", f"{ALICE}/calendar", BOB) == 0
    assert run("share", "add", f"{ALICE}/tasks", BOB) == 0
    assert "they are asked first" in capsys.readouterr().out
    assert run("share", "accept", f"{ALICE}/tasks", BOB) != 0
    assert "1 shared collections in the home already" in capsys.readouterr().err
    assert len(mounts(store)) == 1
