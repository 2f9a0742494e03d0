"""Accounts brought over the wire from real servers: Radicale, Xandikos, and Davenport itself."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from .conftest import need_program
from .servers import PASSWORD, ROOT, Radicale, Server, clean_environment, free_port, wait_for
from .wire import ICS, VCF, XMLNS, D, Dav, items

COLOUR = "{http://apple.com/ns/ical/}calendar-color"
NAMES = ("a.ics", "b c.ics", "ä.ics", "series.ics")


def event(uid: str, summary: str = "Käse") -> bytes:
    more = "RRULE:FREQ=WEEKLY;COUNT=5\r\n" if uid == "series.ics" else ""
    return (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//EN\r\nBEGIN:VEVENT\r\n"
        f"UID:{uid}\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:20260102T100000Z\r\nDTEND:20260102T110000Z\r\n"
        f"{more}SUMMARY:{summary}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    ).encode()


def card(uid: str) -> bytes:
    return f"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:{uid}\r\nFN:Zoë\r\nN:;Zoë;;;\r\nEND:VCARD\r\n".encode()


def path_of(folder: str, name: str) -> str:
    return folder + quote(name)


@pytest.fixture
def radicale(tmp_path: Path) -> Iterator[Dav]:
    running = Radicale(tmp_path / "radicale", ["alice"]).start()
    yield Dav(running.base, "alice", PASSWORD)
    running.stop()


@pytest.fixture
def xandikos(tmp_path: Path) -> Iterator[Dav]:
    program = os.environ.get("XANDIKOS") or need_program("xandikos", "bash .ci/install-clients prints XANDIKOS")
    port, log = free_port(), tmp_path / "xandikos.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [
                program, "serve", "-d", str(tmp_path / "xandikos"), "--listen-address", "127.0.0.1",
                "--port", str(port), "--autocreate", "--defaults", "--current-user-principal", "/alice/",
            ],
            stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip
    wait_for(port, process, log)
    yield Dav(f"http://127.0.0.1:{port}/", "alice", PASSWORD)
    process.terminate()
    process.wait(20)


@pytest.fixture
def davenport(tmp_path: Path) -> Iterator[Dav]:
    """Another Davenport, which is moved away from."""
    running = Server(tmp_path / "old").start()
    yield running.account("alice")
    running.stop()


def make(there: Dav, folder: str, kind: str) -> None:
    """A collection with a name and a colour, made as its programs make one."""
    types = f"<D:collection/>{'<C:calendar/>' if kind == 'calendar' else '<R:addressbook/>'}"
    colour = (
        '<I:calendar-color xmlns:I="http://apple.com/ns/ical/">#FF2968FF</I:calendar-color>'
        if kind == "calendar"
        else ""
    )
    body = (
        f"<D:mkcol {XMLNS}><D:set><D:prop><D:resourcetype>{types}</D:resourcetype>"
        f"<D:displayname>Work &amp; more</D:displayname>{colour}</D:prop></D:set></D:mkcol>"
    )
    made = there.request("MKCOL", folder, body, {"Content-Type": "application/xml"})
    assert made.status in (200, 201), str(made)


def fill(there: Dav, calendar: str, book: str) -> None:
    for name in NAMES:
        put = there.request("PUT", path_of(calendar, name), event(name), {"Content-Type": ICS})
        assert put.status in (201, 204), str(put)
    put = there.request("PUT", f"{book}z.vcf", card("z"), {"Content-Type": VCF})
    assert put.status in (201, 204), str(put)


def bring(server: Server, there: Dav, account: str, *more: str, status: int = 0) -> str:
    """`davenport import url` beside the running server; what it says."""
    done = subprocess.run(
        server.command(
            "import", "url", there.base, "--user", there.user, "--password-stdin", "--into", account,
            "--create-accounts", "--rate", "0", *more,
        ),
        input=f"{there.password}\n", capture_output=True, text=True, cwd=ROOT, env=clean_environment(), timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert there.password not in done.stdout + done.stderr
    return done.stdout


def new_account(server: Server) -> tuple[str, Dav]:
    """The name of an account that only the import makes, and a program that signs in to it afterwards."""
    name = f"moved-{secrets.token_hex(4)}"
    return name, Dav(server.base, name, PASSWORD)


def let_in(server: Server, name: str) -> None:
    done = subprocess.run(
        server.command("account", "set-password", name, "--password-stdin"), input=f"{PASSWORD}\n", text=True,
        capture_output=True, cwd=ROOT, env=clean_environment(), timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def same(there: Dav, folder_there: str, here: Dav, folder_here: str, names: tuple[str, ...]) -> None:
    """Asserts that both servers serve the same bytes under the same names and entity tags."""
    for name in names:
        one = there.request("GET", path_of(folder_there, name))
        other = here.request("GET", path_of(folder_here, name))
        assert (one.status, other.status) == (200, 200), name
        assert other.body == one.body, name
        assert other.etag == one.etag, name


def round_trip(server: Server, there: Dav, calendar: str, book: str) -> None:
    """Everything over, nothing twice, then the changes only."""
    name, here = new_account(server)
    said = bring(server, there, name)
    assert "stored 5" in said, said
    let_in(server, name)
    tail, tail_of_book = calendar.rstrip("/").rpartition("/")[2], book.rstrip("/").rpartition("/")[2]
    mine = f"/dav/calendars/{name}/{tail}/"
    same(there, calendar, here, mine, NAMES)
    same(there, book, here, f"/dav/addressbooks/{name}/{tail_of_book}/", ("z.vcf",))
    wanted = '<D:displayname/><I:calendar-color xmlns:I="http://apple.com/ns/ical/"/>'
    (before,) = items(there.propfind(calendar, wanted)).values()
    (after,) = items(here.propfind(mine, wanted)).values()
    assert after.text(f"{D}displayname") == before.text(f"{D}displayname") == "Work & more"
    # Xandikos takes no colour when a calendar is made; one without gets one of ours.
    if colour := before.text(COLOUR):
        assert after.text(COLOUR) == colour
    assert "stored 0, updated 0; 5 unchanged" in bring(server, there, name)
    put = there.request("PUT", path_of(calendar, "a.ics"), event("a.ics", "Coffee"), {"Content-Type": ICS})
    assert put.status in (200, 201, 204), str(put)
    gone = there.request("DELETE", path_of(calendar, "b c.ics"))
    assert gone.status in (200, 204), str(gone)
    said = bring(server, there, name, "--remove-gone")
    assert "stored 0, updated 1, removed 1; 3 unchanged" in said, said
    same(there, calendar, here, mine, ("a.ics", "ä.ics", "series.ics"))
    assert here.request("GET", path_of(mine, "b c.ics")).status == 404


def test_an_account_comes_over_from_radicale(server: Server, radicale: Dav) -> None:
    make(radicale, "/alice/work/", "calendar")
    make(radicale, "/alice/people/", "addressbook")
    fill(radicale, "/alice/work/", "/alice/people/")
    round_trip(server, radicale, "/alice/work/", "/alice/people/")


def test_an_account_comes_over_from_xandikos(server: Server, xandikos: Dav) -> None:
    make(xandikos, "/alice/calendars/work/", "calendar")
    make(xandikos, "/alice/contacts/people/", "addressbook")
    fill(xandikos, "/alice/calendars/work/", "/alice/contacts/people/")
    round_trip(server, xandikos, "/alice/calendars/work/", "/alice/contacts/people/")


def test_an_account_comes_over_from_another_davenport(server: Server, davenport: Dav) -> None:
    calendar, book = "/dav/calendars/alice/work/", "/dav/addressbooks/alice/people/"
    make(davenport, calendar, "calendar")
    make(davenport, book, "addressbook")
    fill(davenport, calendar, book)
    round_trip(server, davenport, calendar, book)


def test_a_wrong_password_there_is_a_sentence_and_makes_nothing(server: Server, radicale: Dav) -> None:
    name, _ = new_account(server)
    done = subprocess.run(
        server.command("import", "url", radicale.base, "--user", "alice", "--password-stdin", "--into", name),
        input="wrong-one-indeed\n", capture_output=True, text=True, cwd=ROOT, env=clean_environment(), timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "refuses this name and password" in done.stderr
    assert "Traceback" not in done.stderr
