"""The commands for published collections and for birthdays."""

# ruff: noqa: F811

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dav import cli
from dav.derived import birthdays
from storage import audit, collections, derived, feeds_out, objects
from storage.engine import Store, transaction
from storage.records import Collection, ObjectIndex
from tests.ops.test_cli import account, add, here, opened  # noqa: F401

NAME = "alice@example.com"


@pytest.fixture(autouse=True)
def alice(here: Path, opened: Store, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "config.ini").write_text("[log]\nlevel = error\n[server]\npublic_url = https://cal.example.com\n")
    add(NAME)
    capsys.readouterr()


def run(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """What a command prints."""
    assert cli.main(list(arguments)) == status
    said = capsys.readouterr()
    return said.out if status == 0 else said.err


def calendar(store: Store, area: str = "calendars", path: str = "calendar") -> Collection:
    with transaction(store) as conn:
        found, _ = collections.resolve(conn, NAME, area, path)
    assert found is not None
    return found


def secrets(store: Store, collection: Collection) -> list[str]:
    with transaction(store) as conn:
        return [feed.secret for feed in feeds_out.feeds_of(conn, collection.id)]


def test_a_calendar_is_published_listed_renewed_and_revoked(
    opened: Store,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = run(capsys, "feed", "publish", f"{NAME}/calendar", "--label", "for the\x1b club")
    (secret,) = secrets(opened, calendar(opened))
    base = f"cal.example.com/feeds/{secret}"
    assert f"https://{base}.ics\n" in said
    assert f"webcal://{base}.ics" in said
    assert f"https://{base}  (a page" in said
    (row,) = run(capsys, "feed", "list", NAME).splitlines()
    number, *rest = row.split("\t")
    assert rest[:2] == ["calendars/calendar", "whole"]
    assert rest[3:] == [f"https://{base}.ics", "for the? club"]
    assert "does not work any more" in run(capsys, "feed", "renew", number)
    (renewed,) = secrets(opened, calendar(opened))
    assert renewed != secret
    assert "no address" in run(capsys, "feed", "revoke", f"https://{base}.ics", status=1)
    assert "does not work any more." in run(capsys, "feed", "revoke", f"https://cal.example.com/feeds/{renewed}")
    assert secrets(opened, calendar(opened)) == []
    assert run(capsys, "feed", "list", NAME) == ""
    assert "No address has the number" in run(capsys, "feed", "revoke", number, status=1)
    owner = account(opened, NAME)
    assert owner is not None
    with transaction(opened) as conn:
        notes = [(one.action, one.subject, one.detail) for one in audit.entries(conn, owner.id)]
    assert [note for note in notes if "collection" in note[0]] == [
        ("address of a collection ended", "calendars/calendar", "whole"),
        ("address of a collection renewed", "calendars/calendar", "whole"),
        ("collection published", "calendars/calendar", "whole"),
    ]
    assert not [note for note in notes if secret in str(note) or renewed in str(note)]


def test_busy_times_are_of_calendars_only(opened: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert "when somebody is busy" in run(capsys, "feed", "publish", f"{NAME}/calendar", "--busy")
    assert "\tbusy\t" in run(capsys, "feed", "list", NAME)
    assert "Only a calendar" in run(capsys, "feed", "publish", f"{NAME}/contacts", "--busy", status=1)
    said = run(capsys, "feed", "publish", f"{NAME}/contacts")
    assert re.search(r"/feeds/[\w-]{32}\.vcf\n", said)
    assert "webcal" not in said


def test_a_collection_is_found_by_its_name_or_by_the_one_that_is_shown(
    opened: Store,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with transaction(opened, write=True) as conn:
        collections.update_collection(conn, calendar(opened).id, display_name="Choir", now_s=1)
    run(capsys, "feed", "publish", f"{NAME}/choir")
    assert len(secrets(opened, calendar(opened))) == 1
    with transaction(opened, write=True) as conn:
        collections.update_collection(conn, calendar(opened, path="tasks").id, display_name="CHOIR", now_s=1)
    assert "calendar or tasks" in run(capsys, "feed", "publish", f"{NAME}/choir", status=1)
    said = run(capsys, "feed", "publish", f"{NAME}/nothing", status=1)
    assert "There are: calendar (Choir), tasks (CHOIR), contacts (Contacts)" in said
    for wrong in (f"{NAME}/inbox", f"{NAME}/", NAME, "nobody/calendar"):
        run(capsys, "feed", "publish", wrong, status=1)


def test_the_number_of_addresses_is_bounded(
    here: Path,
    opened: Store,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with (here / "config.ini").open("a") as file:
        file.write("[feeds]\npublished_most = 1\n")
    run(capsys, "feed", "publish", f"{NAME}/calendar")
    assert "has 1 addresses already" in run(capsys, "feed", "publish", f"{NAME}/calendar", status=1)


def test_birthdays_are_turned_on_and_off(opened: Store, capsys: pytest.CaptureFixture[str]) -> None:
    body = b"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:a\r\nFN:Anna\r\nBDAY:1996-04-15\r\nEND:VCARD\r\n"
    owner = account(opened, NAME)
    assert owner is not None
    with transaction(opened, write=True) as conn:
        index = ObjectIndex(uid="a", component="VCARD")
        book = calendar(opened, "addressbooks", "contacts")
        objects.put_object(conn, book, "a.vcf", body, content_type="text/vcard", etag="x", index=index, now_s=1)
    assert "1 events were made or changed. It is calendars/birthdays." in run(capsys, "birthdays", "on", NAME)
    assert "0 events" in run(capsys, "birthdays", "on", NAME)
    run(capsys, "account", "language", NAME, "--language", "fr")
    with transaction(opened) as conn:
        made = derived.calendar_of(conn, owner.id, birthdays.ORIGIN)
        assert made is not None
        ((_, text),) = objects.iter_bodies(conn, made.id)
    assert b"SUMMARY:Anniversaire : Anna (1996)" in text
    assert "any more" in run(capsys, "birthdays", "off", NAME)
    assert "any more" not in run(capsys, "birthdays", "off", NAME)
    with transaction(opened) as conn:
        assert derived.calendar_of(conn, owner.id, birthdays.ORIGIN) is None
        assert derived.refused(conn, owner.id, birthdays.ORIGIN)
    run(capsys, "birthdays", "on", "nobody", status=1)
