"""The commands about outgoing mail, delegates and published busy times: what an administrator types and sees."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dav import cli, cli_mail, provision
from dav import config as settings
from dav.mail import links
from dav.scheduling.model import read_object
from dav.web import free_busy
from storage import accounts, audit, freebusy, outbound, proxies
from storage.engine import Store, open_store, transaction
from storage.records import NewOutgoing
from tests.dsl import Server, event

CALENDAR = b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nSUMMARY:T\x1b[2Jea\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"


@pytest.fixture
def store(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("DAVENPORT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "config.ini").write_text("[log]\nlevel = error\n[server]\npublic_url = https://dav.example.org\n")
    mask = os.umask(0o022)
    store = open_store(sqlite_url, blob_dir=tmp_path / "davenport.files")
    with transaction(store, write=True) as conn:
        for name in ("alice@example.org", "bob@example.org"):
            provision.provision(conn, name, now_s=int(time.time()))
    yield store
    store.close()
    os.umask(mask)


def account_id(store: Store, name: str = "alice@example.org") -> int:
    with transaction(store) as conn:
        account = accounts.account_by_name(conn, name)
        assert account is not None
        return account.id


def mail(
    store: Store,
    recipient: str = "carol@x.example",
    uid: str = "tea",
    *,
    summary: str = "Tea",
    state: str = "held",
    actor_id: int | None = None,
) -> int:
    """A mail of alice's in the ledger."""
    now_s = int(time.time())
    item = NewOutgoing(
        account_id(store), uid, "", recipient, "Carol", "alice@example.org", "Alice", "REQUEST", "VEVENT", 0,
        f"{recipient}{uid}", summary, ("new",), CALENDAR, actor_id,
    )  # fmt: skip
    with transaction(store, write=True) as conn:
        assert outbound.enqueue(conn, item, now_s=now_s, settle_s=0, settle_max_s=0) == "queued"
        ident = outbound.list_outgoing(conn, limit=1)[0].id
        if state in ("sent", "failed"):
            outbound.claim(conn, holder="x", now_s=now_s, lease_s=60, limit=10)
        if state == "sent":
            outbound.sent(conn, ident, message_id="<m@x>", answer="250 2.0.0 Ok: queued as 4F", now_s=now_s)
        if state == "failed":
            outbound.failed(conn, ident, status="5.1", answer="550 5.1.1 nobody", now_s=now_s)
            outbound.note_bounce(conn, recipient, now_s, hard=True)
    return ident


def lines(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    return [line.split("\t") for line in capsys.readouterr().out.splitlines()]


def test_mails_are_listed_with_what_the_server_said(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = mail(store, state="sent"), mail(store, "dave@x.example")
    capsys.readouterr()
    assert cli.main(["mail", "list"]) == 0
    rows = lines(capsys)
    assert [row[0] for row in rows] == [str(second), str(first)]
    assert rows[1][2:] == [
        "sent", "REQUEST", "carol@x.example", "alice@example.org", "Tea", "250 2.0.0 Ok: queued as 4F"
    ]  # fmt: skip
    assert cli.main(["mail", "list", "--state", "held"]) == 0
    assert [row[0] for row in lines(capsys)] == [str(second)]
    assert cli.main(["mail", "list", "bob@example.org"]) == 0
    assert lines(capsys) == []
    assert cli.main(["mail", "list", "nobody"]) == 1


def test_one_mail_is_shown_with_all_that_is_known(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    ident = mail(store, state="sent")
    capsys.readouterr()
    assert cli.main(["mail", "show", str(ident)]) == 0
    shown = capsys.readouterr().out
    for said in ("Carol <carol@x.example>", "REQUEST, sequence 0", "<m@x>", "250 2.0.0 Ok", "alice@example.org"):
        assert said in shown
    assert cli.main(["mail", "show", "999"]) == 1


def test_a_mail_says_who_wrote_it_for_whom(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["account", "add", "paul", "--generate"]) == 0
    with transaction(store) as conn:
        paul = accounts.account_by_name(conn, "paul")
    assert paul is not None
    own, other, gone = (
        mail(store),
        mail(store, "d@x.example", actor_id=paul.id),
        mail(store, "e@x.example", actor_id=999),
    )
    for ident, who in ((own, "alice@example.org"), (other, "paul"), (gone, "-")):
        capsys.readouterr()
        assert cli.main(["mail", "show", str(ident)]) == 0
        rows = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if "  " in line)
        assert {name.strip(): value.strip() for name, value in rows.items()}["written by"] == who


def test_a_title_cannot_move_the_cursor(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    ident = mail(store, summary="T\x1b[2Jea\tx\ny")
    capsys.readouterr()
    for command in (["list"], ["show", str(ident)], ["show", str(ident), "--calendar"], ["event", "tea"]):
        assert cli.main(["mail", *command]) == 0
        assert "\x1b" not in capsys.readouterr().out


def test_an_event_says_who_got_what_and_when(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    mail(store, state="sent")
    mail(store, "dave@x.example", state="failed")
    mail(store, uid="other")
    capsys.readouterr()
    assert cli.main(["mail", "event", "tea"]) == 0
    rows = lines(capsys)
    assert [(row[2], row[6], row[8], row[9]) for row in rows] == [
        ("carol@x.example", "sent", "-", "250 2.0.0 Ok: queued as 4F"),
        ("dave@x.example", "failed", "5.1", "550 5.1.1 nobody"),
    ]
    assert cli.main(["mail", "event", "nothing"]) == 1


def test_an_event_with_many_guests_is_shown_whole(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_mail, "_PAGE", 3)
    for number in range(7):
        mail(store, f"guest{number}@x.example")
    capsys.readouterr()
    assert cli.main(["mail", "event", "tea"]) == 0
    assert [row[2] for row in lines(capsys)] == [f"guest{number}@x.example" for number in range(7)]


def test_a_failed_mail_can_be_sent_again(store: Store) -> None:
    ident = mail(store, state="failed")
    assert cli.main(["mail", "retry", str(ident)]) == 0
    with transaction(store, write=True) as conn:
        row = outbound.by_id(conn, ident)
        assert row is not None
        assert (row.state, row.status) == ("held", "1.0")
        assert outbound.dead_addresses(conn, [row.recipient], bounces=1) == set()
        assert [item.id for item in outbound.claim(conn, holder="x", now_s=int(time.time()), lease_s=1, limit=5)] == [
            ident
        ]
        assert audit.entries(conn, account_id(store), limit=1)[0].action == "mail retried"


def test_a_sent_mail_is_not_sent_again(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    ident = mail(store, state="sent")
    for command in ("retry", "drop"):
        assert cli.main(["mail", command, str(ident)]) == 1
        assert "is sent" in capsys.readouterr().err
    with transaction(store) as conn:
        row = outbound.by_id(conn, ident)
        assert row is not None
        assert (row.state, row.status) == ("sent", "")


def test_a_held_mail_can_be_dropped(store: Store) -> None:
    ident = mail(store)
    assert cli.main(["mail", "drop", str(ident)]) == 0
    with transaction(store, write=True) as conn:
        row = outbound.by_id(conn, ident)
        assert row is not None
        assert (row.state, row.status) == ("dropped", "5.1")
        assert outbound.claim(conn, holder="x", now_s=int(time.time()) + 9999, lease_s=1, limit=5) == []


def test_the_organizers_calendar_says_what_became_of_a_mail(store: Store) -> None:
    """RFC 6638 §3.2.9: phones show SCHEDULE-STATUS."""
    wanted = {"SMTP_HOST": "x", "MAIL_FROM_ADDRESS": "i@example.org", "SCHEDULING_RECOGNISE_IMPORTS": "no"}
    config = settings.load("config.ini", {f"DAVENPORT_{name}": value for name, value in wanted.items()})
    server = Server(store, config)
    try:
        with transaction(store) as conn:
            account = accounts.account_by_name(conn, "alice@example.org")
            assert account is not None
        server.clock.now_s = int(time.time())
        alice = server.client(account)
        path = "calendars/alice%40example.org/calendar/tea.ics"
        guest = "ORGANIZER:mailto:alice@example.org\r\nATTENDEE:mailto:carol@x.example\r\n"
        assert alice.put(path, event("tea", start="20351201T150000Z", more=guest)).status == 201

        def status() -> str | None:
            obj = read_object(alice.get(path).body)
            return obj.all_attendees()["mailto:carol@x.example"][0][1].param("SCHEDULE-STATUS")

        with transaction(store) as conn:
            (row,) = outbound.list_outgoing(conn, uid="tea", limit=2)
        assert cli.main(["mail", "drop", str(row.id)]) == 0
        assert status() == "5.1"
        assert cli.main(["mail", "retry", str(row.id)]) == 0
        assert status() == "1.0"
    finally:
        server.close()


def test_links_end_when_they_are_revoked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ident = mail(store, state="sent")
    with transaction(store, write=True) as conn:
        secret, row = links.secret_of(conn), outbound.by_id(conn, ident)
        assert row is not None
    token = links.make_token(links.Invited(row.account_id, row.uid, row.recipient, row.created_s), secret)

    def works() -> bool:
        with transaction(store) as conn:
            known, since_s = links.state_of(conn)
        assert known == secret  # bounces are known by it
        return links.read_token(token, secret, now_s=int(time.time()), days=60, since_s=since_s) is not None

    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert cli.main(["mail", "revoke-links"]) == 1
    assert works()
    assert cli.main(["mail", "revoke-links", "--yes"]) == 0
    assert not works()


def test_delegates_are_added_listed_and_removed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    alice, bob = account_id(store), account_id(store, "bob@example.org")
    assert cli.main(["delegate", "add", "alice@example.org", "bob@example.org", "--read-only"]) == 0
    with transaction(store) as conn:
        assert proxies.proxy_of(conn, alice, bob) is False
    assert cli.main(["delegate", "add", "alice@example.org", "bob@example.org"]) == 0
    with transaction(store) as conn:
        assert proxies.proxy_of(conn, alice, bob) is True
    capsys.readouterr()
    for name in ("alice@example.org", "bob@example.org"):
        assert cli.main(["delegate", "list", name]) == 0
        assert lines(capsys) == [["bob@example.org", "for alice@example.org", "reads and changes"]]
    assert cli.main(["delegate", "remove", "alice@example.org", "bob@example.org"]) == 0
    with transaction(store) as conn:
        assert proxies.proxy_of(conn, alice, bob) is None


def test_delegates_that_cannot_be_are_refused(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        ["add", "alice@example.org", "alice@example.org"],
        ["add", "alice@example.org", "nobody"],
        ["remove", "alice@example.org", "bob@example.org"],
    ):
        assert cli.main(["delegate", *command]) == 1
        assert capsys.readouterr().err


def test_busy_times_are_published_shown_and_revoked(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["freebusy", "publish", "alice@example.org"]) == 0
    address = capsys.readouterr().out.splitlines()[1]
    assert address.startswith("https://dav.example.org/freebusy/")
    secret = address.rpartition("/")[2].removesuffix(".ifb")
    with transaction(store) as conn:
        found = freebusy.account_by_freebusy(conn, free_busy.digest_of(secret))
        assert found is not None
        assert found.name == "alice@example.org"
    assert cli.main(["freebusy", "publish", "alice@example.org"]) == 0
    assert "The address before it does not work any more." in capsys.readouterr().out
    with transaction(store) as conn:
        assert freebusy.account_by_freebusy(conn, free_busy.digest_of(secret)) is None
    assert cli.main(["freebusy", "show", "alice@example.org"]) == 0
    assert "are published since" in capsys.readouterr().out
    assert cli.main(["freebusy", "revoke", "alice@example.org"]) == 0
    assert cli.main(["freebusy", "revoke", "alice@example.org"]) == 1
    capsys.readouterr()
    assert cli.main(["freebusy", "show", "alice@example.org"]) == 0
    assert "are not published" in capsys.readouterr().out
