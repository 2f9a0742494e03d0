"""Invitations that go out: a real Postfix takes them, a real Dovecot has them in a mailbox, IMAP reads them.

Half of the people have accounts here, half only a mailbox. The mail server wants TLS and a password.
"""

from __future__ import annotations

import email
import http.client
import imaplib
import json
import os
import random
import re
import secrets
import shutil
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email import policy
from email.message import EmailMessage
from pathlib import Path

import icalendar
import pytest

from tests.mail import letters

from .conftest import missing, need_program
from .mailserver import DOMAIN, MailServer
from .servers import ROOT, Server, clean_environment
from .wire import Dav, calendar, component, unfold

SERVICE_PASSWORD = "service-päss 1"
PASSWORD = "box-password-1"  # imaplib knows ASCII only
SETTLE_S = 1
EVENTS = 500
KILLS = 8
SOON_S = 40.0
ACCESS = """
smtpd_recipient_restrictions = check_recipient_access sqlite:{folder}/access.cf
"""


@pytest.fixture(scope="module")
def mail() -> Iterator[MailServer]:
    if os.geteuid() != 0 or not all(shutil.which(name) for name in ("doveadm", "postfix", "postmap")):
        missing("Dovecot and Postfix are not installed, or this is not root (.ci/install-mail)")
    running = MailServer()
    try:
        with sqlite3.connect(running.database) as database:
            database.execute("CREATE TABLE access (email TEXT PRIMARY KEY, verdict TEXT)")
        database.close()
        query = "SELECT verdict FROM access WHERE email='%s'"
        (running.folder / "access.cf").write_text(f"dbpath = {running.database}\nquery = {query}\n")
        main = running.folder / "postfix" / "main.cf"
        main.write_text(main.read_text() + ACCESS.format(folder=running.folder))
        running.add("invites", SERVICE_PASSWORD)
        for name in ("bob", "carol", "dora", "emil"):
            running.add(name, PASSWORD)
        running.start_dovecot()
        running.start_postfix()
        yield running
    finally:
        running.stop()


def settings_for(mail: MailServer, **smtp: str) -> dict[str, dict[str, str]]:
    own = {
        "host": "127.0.0.1", "port": str(mail.smtp), "tls": "starttls", "ca_file": str(mail.certificates.ca),
        "certificate_name": mail.certificates.name, "user": f"invites@{DOMAIN}", "password_file": "password",
        "connections": "4",
    }  # fmt: skip
    return {
        "server": {"public_url": "https://dav.lab.example"},
        "smtp": own | smtp,
        "mail": {"from_address": f"invites@{DOMAIN}", "settle_seconds": str(SETTLE_S), "per_event_hour": "5000"},
    }


def new_server(mail: MailServer, folder: Path, *, workers: int, **smtp: str) -> Server:
    (folder / "password").write_text(SERVICE_PASSWORD + "\n")
    return Server(folder, workers=workers, settings=settings_for(mail, **smtp))


@pytest.fixture(scope="module")
def server(mail: MailServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = new_server(mail, tmp_path_factory.mktemp("mail-out"), workers=2)
    yield running.start()
    running.stop()


@pytest.fixture(scope="module")
def anna(server: Server) -> Dav:
    return server.account(f"anna@{DOMAIN}")


def meeting(
    uid: str, guests: list[str], *more: str, sequence: int = 0, at: str = "100000", title: str = "Plan"
) -> bytes:
    lines = [
        time.strftime("CREATED:%Y%m%dT%H%M%SZ", time.gmtime()),
        f"SEQUENCE:{sequence}", f"DTSTART;TZID=Europe/Berlin:20350607T{at}", "DURATION:PT1H", f"SUMMARY:{title}",
        "LOCATION:Torstraße 12", f"ORGANIZER;CN=Anna Berg:mailto:anna@{DOMAIN}",
        f"ATTENDEE;PARTSTAT=ACCEPTED:mailto:anna@{DOMAIN}",
        *(f"ATTENDEE;RSVP=TRUE;PARTSTAT=NEEDS-ACTION:mailto:{guest}" for guest in guests), *more,
    ]  # fmt: skip
    body = component("VEVENT", uid, *lines)
    stamp = time.strftime("DTSTAMP:%Y%m%dT%H%M%SZ", time.gmtime())
    body = [stamp if line.startswith("DTSTAMP") else line for line in body]
    return calendar(*body)


def path_of(anna: Dav, uid: str) -> str:
    return f"{anna.home()}calendar/{uid}.ics"


def put(anna: Dav, uid: str, body: bytes) -> float:
    answer = anna.put(path_of(anna, uid), body)
    assert answer.status in (201, 204), str(answer)
    return answer.seconds


def inbox(mail: MailServer, name: str) -> list[EmailMessage]:
    """All mails in a mailbox, the oldest first."""
    box = imaplib.IMAP4("127.0.0.1", mail.imap)
    try:
        box.login(f"{name}@{DOMAIN}", PASSWORD)
        box.select()
        _, found = box.search(None, "ALL")
        numbers = found[0].split()
        if not numbers:
            return []
        _, rows = box.fetch(",".join(number.decode() for number in numbers), "(BODY.PEEK[])")
        raw = [row[1] for row in rows if isinstance(row, tuple)]
        return [email.message_from_bytes(data, policy=policy.default) for data in raw]  # type: ignore[misc]
    finally:
        box.logout()


def about(mail: MailServer, name: str, uid: str) -> list[EmailMessage]:
    return [message for message in inbox(mail, name) if uid in ics_of(message).decode("utf-8", "replace")]


def ics_of(message: EmailMessage) -> bytes:
    for part in message.walk():
        if part.get_content_type() == "text/calendar":
            found = part.get_payload(decode=True)
            assert isinstance(found, bytes)
            return found
    return b""


def until(check: Callable[[], bool], what: str, mail: MailServer, server: Server, seconds: float = SOON_S) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"{what}\n{server.log_text()[-3000:]}\n{mail.log()}"
        time.sleep(0.2)


def status_of(anna: Dav, uid: str, guest: str) -> str:
    for line in unfold(anna.get(path_of(anna, uid)).text).splitlines():
        if line.startswith("ATTENDEE") and line.endswith(f":mailto:{guest}"):
            return (
                line.partition('SCHEDULE-STATUS="')[2].partition('"')[0]
                or (line.partition("SCHEDULE-STATUS=")[2].partition(":")[0].partition(";")[0])
            )
    return "?"


def rows(server: Server, uid: str) -> list[tuple[str, str, str, str]]:
    """(recipient, state, status, answer) of the ledger."""
    with sqlite3.connect(server.database, timeout=30) as database:
        found = database.execute(
            "SELECT recipient, state, status, answer FROM mail_queue WHERE uid = ? ORDER BY id", (uid,)
        ).fetchall()
    database.close()
    return found


def new_uid() -> str:
    return f"out-{secrets.token_hex(6)}"


def test_an_invitation_is_in_the_mailbox_in_the_form_that_shows_buttons(
    mail: MailServer, server: Server, anna: Dav
) -> None:
    uid, bob = new_uid(), f"bob@{DOMAIN}"
    put(anna, uid, meeting(uid, [bob, f"carol@{DOMAIN}"], title="Größe & Co <b>"))
    until(lambda: len(about(mail, "bob", uid)) == 1, "no mail", mail, server)
    (message,) = about(mail, "bob", uid)
    assert message["From"].addresses[0].addr_spec == f"anna@{DOMAIN}"
    assert [address.addr_spec for address in message["To"].addresses] == [bob]
    assert message["Subject"] == "Invitation: Größe & Co <b>"
    assert message["Return-Path"].startswith("<invites+b-")
    assert message["Auto-Submitted"] == "auto-generated"
    leaves = letters.parts(message)
    assert set(leaves) == {"text/plain", "text/html", "text/calendar", "application/ics"}
    assert leaves["text/calendar"][0].get_payload(decode=True) == leaves["application/ics"][0].get_payload(decode=True)
    assert leaves["text/calendar"][0].get_param("method") == "REQUEST"
    read = icalendar.Calendar.from_ical(ics_of(message))
    assert read["METHOD"] == "REQUEST"
    (event,) = read.walk("VEVENT")
    assert (event["UID"], event["SUMMARY"]) == (uid, "Größe & Co <b>")
    assert event["DTSTART"].dt.utcoffset().total_seconds() == 7200
    assert [zone["TZID"] for zone in read.walk("VTIMEZONE")] == ["Europe/Berlin"]
    assert not read.walk("VALARM")
    text = leaves["text/plain"][0].get_content()
    assert "Thursday, June 7, 2035, 10:00" in text
    assert "https://dav.lab.example/invite/" in text
    assert "Gr&ouml" not in leaves["text/html"][0].get_content()
    assert "Größe &amp; Co &lt;b&gt;" in leaves["text/html"][0].get_content()
    assert len(about(mail, "carol", uid)) == 1
    until(lambda: status_of(anna, uid, bob) == "1.1", "the organizer's copy does not say 1.1", mail, server)


def test_a_delegate_who_invites_is_the_sender_of_the_owners_mail(mail: MailServer, server: Server, anna: Dav) -> None:
    """Postfix lets the service account write in both names; the guest reads who wrote it for whom."""
    uid, bob = new_uid(), f"bob@{DOMAIN}"
    erna = server.account(f"erna@{DOMAIN}")
    made = subprocess.run(
        server.command("delegate", "add", anna.user, erna.user),
        env=clean_environment(),
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert made.returncode == 0
    assert erna.put(path_of(anna, uid), meeting(uid, [bob])).status == 201
    until(lambda: len(about(mail, "bob", uid)) == 1, "no mail", mail, server)
    (message,) = about(mail, "bob", uid)
    assert message["From"].addresses[0].addr_spec == anna.user
    assert message["Sender"].address.addr_spec == erna.user
    text = letters.parts(message)["text/plain"][0].get_content()
    assert "erna on behalf of Anna Berg invites you" in text
    (event,) = icalendar.Calendar.from_ical(ics_of(message)).walk("VEVENT")
    assert (event["ORGANIZER"], event["ORGANIZER"].params["SENT-BY"]) == (f"mailto:{anna.user}", f"mailto:{erna.user}")
    until(lambda: status_of(anna, uid, bob) == "1.1", "the owner's copy does not say 1.1", mail, server)


def test_a_change_and_a_cancel_come_in_the_same_thread(mail: MailServer, server: Server, anna: Dav) -> None:
    uid, bob = new_uid(), f"bob@{DOMAIN}"
    put(anna, uid, meeting(uid, [bob]))
    until(lambda: len(about(mail, "bob", uid)) == 1, "no invitation", mail, server)
    put(anna, uid, meeting(uid, [bob], sequence=1, at="143000"))
    until(lambda: len(about(mail, "bob", uid)) == 2, "no update", mail, server)
    assert anna.delete(path_of(anna, uid)).status == 204
    until(lambda: len(about(mail, "bob", uid)) == 3, "no cancel", mail, server)
    first, second, third = about(mail, "bob", uid)
    assert [message["Subject"].partition(":")[0] for message in (first, second, third)] == [
        "Invitation", "Updated invitation", "Canceled",
    ]  # fmt: skip
    assert second["In-Reply-To"] == third["In-Reply-To"] == first["Message-ID"]
    told = second.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert "2:30" in told
    assert "(was: Thursday, June 7, 2035, 10:00" in told
    assert icalendar.Calendar.from_ical(ics_of(third)).walk("VEVENT")[0]["STATUS"] == "CANCELLED"


def test_three_saves_while_typing_are_one_mail(mail: MailServer, server: Server, anna: Dav) -> None:
    uid, bob = new_uid(), f"bob@{DOMAIN}"
    for title in ("P", "Plan", "Planning"):
        put(anna, uid, meeting(uid, [bob], title=title))
    until(lambda: len(about(mail, "bob", uid)) > 0, "no mail", mail, server)
    time.sleep(2 * SETTLE_S + 1)
    assert [message["Subject"] for message in about(mail, "bob", uid)] == ["Invitation: Planning"]


def test_somebody_whom_the_mail_server_does_not_know_is_marked_on_the_organizers_copy(
    mail: MailServer, server: Server, anna: Dav
) -> None:
    uid, nobody, bob = new_uid(), f"nobody@{DOMAIN}", f"bob@{DOMAIN}"
    put(anna, uid, meeting(uid, [nobody, bob]))
    until(lambda: status_of(anna, uid, nobody) == "5.2", "no 5.2", mail, server)
    until(lambda: status_of(anna, uid, bob) == "1.1", "the other one waits for it", mail, server)
    by_guest = {row[0]: row[1:] for row in rows(server, uid)}
    assert by_guest[nobody][:2] == ("failed", "5.2")
    assert "5.1.1" in by_guest[nobody][2]


def test_greylisting_is_waited_for(mail: MailServer, server: Server, anna: Dav) -> None:
    uid, dora = new_uid(), f"dora@{DOMAIN}"
    with sqlite3.connect(mail.database, timeout=30) as database:
        database.execute("INSERT INTO access VALUES (?, '450 4.7.1 Greylisted, come again')", (dora,))
    database.close()
    put(anna, uid, meeting(uid, [dora]))
    until(lambda: any("4.7.1" in row[3] for row in rows(server, uid)), "it was not tried", mail, server)
    assert rows(server, uid)[0][1] == "held"
    assert status_of(anna, uid, dora) == "1.0"
    with sqlite3.connect(mail.database, timeout=30) as database:
        database.execute("DELETE FROM access")
    database.close()
    with sqlite3.connect(server.database, timeout=30) as ledger:
        # The minute is over.
        assert ledger.execute("UPDATE mail_queue SET not_before_s = 1 WHERE uid = ?", (uid,)).rowcount == 1
    ledger.close()
    until(lambda: len(about(mail, "dora", uid)) == 1, "no mail", mail, server)
    until(lambda: status_of(anna, uid, dora) == "1.1", "no 1.1", mail, server)


@pytest.mark.usefixtures("ahead")
def test_nobody_waits_while_the_mail_server_is_away_and_nothing_is_lost_or_doubled(
    mail: MailServer, server: Server, anna: Dav
) -> None:
    uids = [new_uid() for _ in range(5)]
    mail.stop_postfix()
    try:
        took = [put(anna, uid, meeting(uid, [f"emil@{DOMAIN}"])) for uid in uids]
        assert max(took) < 5
        until(lambda: "mail cannot be sent" in server.log_text(), "nobody tried", mail, server)
        assert {row[1] for uid in uids for row in rows(server, uid)} <= {"held", "sending"}
        assert {status_of(anna, uid, f"emil@{DOMAIN}") for uid in uids} == {"1.0"}
    finally:
        mail.start_postfix()
    until(
        lambda: all(row[1] == "sent" for uid in uids for row in rows(server, uid)), "still not sent", mail, server, 90
    )
    until(lambda: all(about(mail, "emil", uid) for uid in uids), "not in the mailbox", mail, server)
    messages = [message for uid in uids for message in about(mail, "emil", uid)]
    assert len(messages) == len({message["Message-ID"] for message in messages}) == 5


@pytest.mark.timeout(400)
def test_killed_at_any_moment_each_guest_has_each_invitation_once_and_the_calendar_is_true(
    mail: MailServer, tmp_path: Path
) -> None:
    """500 invitations while the server is killed again and again and the mail server is away for a while."""
    dice, names = random.Random(1), ("bob", "carol", "dora")
    victim = new_server(mail, tmp_path, workers=2, timeout_seconds="5").start()
    uids = {new_uid(): names[number % 3] for number in range(EVENTS)}
    ended = threading.Event()
    try:
        owner = victim.account(f"anna@{DOMAIN}")
        writer = threading.Thread(target=_write_all, args=(owner, uids, ended))
        writer.start()
        for kills in range(1, KILLS + 1):
            time.sleep(dice.uniform(0.3, 3.0))
            victim.kill()
            with sqlite3.connect(victim.database, timeout=30) as ledger:
                # The leases of the dead are over.
                ledger.execute("UPDATE mail_queue SET not_before_s = 1 WHERE state = 'sending'")
            ledger.close()
            if kills == 2:
                mail.stop_postfix()
            elif kills == 4:
                mail.start_postfix()
            victim.start()
        writer.join(120)
        assert ended.is_set(), "the writer did not come to its end"
        until(lambda: _states(victim) == {"sent": EVENTS}, "not sent", mail, victim, 150)
        for name in names:
            mine = {uid for uid, guest in uids.items() if guest == name}
            until(lambda name=name, mine=mine: mine <= _uids_in(mail, name), "a mail is missing", mail, victim)
            boxed: dict[str, list[str]] = {uid: [] for uid in mine}
            for message in inbox(mail, name):
                uid = _uid_of(message)
                assert uid not in uids or uid in mine, "an invitation of somebody else's"
                if uid in boxed:
                    boxed[uid].append(str(message["Message-ID"]))
            assert {len(set(found)) for found in boxed.values()} == {1}
            # What was killed between the mail server's yes and the commit comes once more, under the same name.
            twice = sum(len(found) > 1 for found in boxed.values())
            assert twice <= KILLS * 8, "of two workers with four connections each"
            print(f"{name}: {len(mine)} invitations, {twice} of them twice, after {KILLS} kills")
        until(lambda: _told(owner) == {"1.1": EVENTS}, "a schedule status is not true", mail, victim)
    finally:
        ended.set()
        victim.stop()
        mail.stop_postfix()
        mail.start_postfix()


def _write_all(owner: Dav, uids: dict[str, str], ended: threading.Event) -> None:
    """Stores the meetings one after the other; what was cut off is stored once more, as a program does."""
    for uid, guest in uids.items():
        body = meeting(uid, [f"{guest}@{DOMAIN}"])
        while not ended.is_set():
            try:
                if owner.put(path_of(owner, uid), body).status in (201, 204):
                    break
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.05)
    ended.set()


def _states(server: Server) -> dict[str, int]:
    """How many rows of the ledger are in which state."""
    with sqlite3.connect(server.database, timeout=30) as database:
        found = dict(database.execute("SELECT state, count(*) FROM mail_queue GROUP BY state").fetchall())
    database.close()
    return found


def _told(owner: Dav) -> dict[str, int]:
    """How many guests of the whole calendar have which schedule status."""
    text = unfold(owner.get(f"{owner.home()}calendar/").text)
    lines = [
        line for line in text.splitlines() if line.startswith("ATTENDEE") and not line.endswith(f":mailto:{owner.user}")
    ]
    found = [re.search(r'SCHEDULE-STATUS="?([0-9.]+)', line) for line in lines]
    return dict(Counter("" if one is None else one[1] for one in found))


def _uid_of(message: EmailMessage) -> str:
    found = re.search(rb"\r\nUID:(\S+)\r\n", ics_of(message))
    return found[1].decode() if found else ""


def _uids_in(mail: MailServer, name: str) -> set[str]:
    return {_uid_of(message) for message in inbox(mail, name)}


@pytest.mark.usefixtures("ahead")
def test_mails_a_second(
    mail: MailServer, server: Server, anna: Dav, record_property: Callable[[str, object], None]
) -> None:
    """The figure for docs/performance.md: one event with 150 guests elsewhere, and that its PUT waits for none."""
    uid = new_uid()
    guests = [f"bob+{number}@{DOMAIN}" for number in range(150)]
    with sqlite3.connect(mail.database, timeout=30) as database:
        row = database.execute(
            "SELECT password, active, name FROM users WHERE email = ?", (f"bob@{DOMAIN}",)
        ).fetchone()
        database.executemany("INSERT INTO users VALUES (?, ?, ?, ?)", [(guest, *row) for guest in guests])
    database.close()
    took_s = put(anna, uid, meeting(uid, guests))
    sent: Callable[[], int] = lambda: sum(row[1] == "sent" for row in rows(server, uid))  # noqa: E731
    until(lambda: sent() > 0, "none was sent", mail, server)
    began, first, cpu_s = time.monotonic(), sent(), server.cpu_s()
    until(lambda: sent() == len(guests), "not all were sent", mail, server, 120)
    rate = (len(guests) - first) / (time.monotonic() - began)
    cpu_ms = 1000 * (server.cpu_s() - cpu_s) / (len(guests) - first)
    record_property("put_seconds", round(took_s, 3))
    record_property("mails_per_second", round(rate, 1))
    print(f"PUT with {len(guests)} guests elsewhere: {took_s * 1000:.0f} ms; {rate:.0f} mails a second")
    print(f"processor time of the server for one of these mails: {cpu_ms:.0f} ms")
    text = unfold(anna.get(path_of(anna, uid)).text)
    assert text.count("SCHEDULE-STATUS=1.1") + text.count('SCHEDULE-STATUS="1.1"') == len(guests)
    assert took_s < 10


def test_the_mail_reads_well_on_a_phone_and_in_the_dark(
    mail: MailServer, server: Server, anna: Dav, tmp_path: Path
) -> None:
    chromium = need_program("chromium", ".ci/install-clients")
    python = os.environ.get("BROWSER_PYTHON", "")
    if not python:
        missing("BROWSER_PYTHON is not set (.ci/install-clients prints it)")
    uid, bob = new_uid(), f"bob@{DOMAIN}"
    long = "LOCATION:https://example.org/" + "very-long-" * 20 + "place"
    put(anna, uid, meeting(uid, [bob], "RRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=9", "DESCRIPTION:One\\nhttps://a.example/x"))
    until(lambda: len(about(mail, "bob", uid)) == 1, "no invitation", mail, server)
    moved = meeting(uid, [bob], sequence=1, at="180000", title="Donaudampfschifffahrtsgesellschaft" * 3)
    put(anna, uid, moved.replace("LOCATION:Torstraße 12".encode(), long.encode()))
    until(lambda: len(about(mail, "bob", uid)) == 2, "no update", mail, server)
    assert anna.delete(path_of(anna, uid)).status == 204
    until(lambda: len(about(mail, "bob", uid)) == 3, "no cancel", mail, server)
    names = ("invitation", "update", "cancel")
    pages = {
        name: letters.parts(message)["text/html"][0].get_content()
        for name, message in zip(names, about(mail, "bob", uid), strict=True)
    }
    folder = Path(os.environ.get("DAVENPORT_SCREENSHOTS") or tmp_path)
    asked = json.dumps({"chromium": chromium, "folder": str(folder), "pages": pages})
    script = Path(__file__).with_name("browse_mail.py")
    ran = subprocess.run([python, str(script)], input=asked, capture_output=True, text=True, timeout=180, check=False)
    assert ran.returncode == 0, ran.stderr
    for where, seen in json.loads(ran.stdout).items():
        assert seen["overflow"] <= 0, where
        assert seen["contrast"] >= 4.5, (where, seen)
        assert seen["loads"] == 0, "a mail fetches nothing"
        if "cancel" not in where:
            assert len(seen["heights"]) == 3
            assert min(seen["heights"]) >= 40, where
