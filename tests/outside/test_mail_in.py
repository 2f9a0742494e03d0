"""Answers that come in by a real Postfix and Dovecot: LMTP, a pipe, Sieve, a watched mailbox, and bounces.

Replies are written as Gmail, Outlook, Apple and Thunderbird write them (the shapes of the shared corpus). The snippets
of docs/mail.md are what the servers here are configured with.
"""

from __future__ import annotations

import email
import imaplib
import os
import re
import secrets
import shutil
import smtplib
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from email import policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from .conftest import missing
from .mailserver import DOMAIN, MailServer, _run
from .servers import PASSWORD as ACCOUNT_PASSWORD
from .servers import ROOT, Server, clean_environment, free_port
from .wire import Dav, calendar, component, unfold

PASSWORD = "box-password-1"
SERVICE = f"invites@{DOMAIN}"
SOON_S = 40.0
DOCS = (ROOT / "docs" / "mail.md").read_text(encoding="utf-8")


def snippet(begins: str) -> str:
    """The indented block of docs/mail.md that begins with this line, without its indentation."""
    lines = DOCS.splitlines()
    start = lines.index(f"    {begins}")
    found = []
    for line in lines[start:]:
        if line.strip() and not line.startswith("    "):
            break
        found.append(line[4:])
    return "\n".join(found).rstrip() + "\n"


class Rig(MailServer):
    """A mail server that brings mail to Davenport in all ways, with the configuration of docs/mail.md."""

    def __init__(self) -> None:
        super().__init__()
        self.inbound = free_port()
        self.socket = self.folder / "deliver.sock"
        self._write_program()
        self._write_sieve()
        self._more_postfix()

    def _write_program(self) -> None:
        """`davenport` for users who may not read ours: what `deliver --socket` needs is a few files of the package."""
        package = self.folder / "program"
        for name in ("dav/__init__.py", "dav/__main__.py", "dav/mail/__init__.py", "dav/mail/pipe.py"):
            (package / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, package / name)
        python = shutil.which("python3", path="/usr/bin:/bin")
        if python is None:
            missing("Debian's python3 is not there")
        bin_dir = self.folder / "sieve-bin"
        bin_dir.mkdir()
        self.program = bin_dir / "davenport"
        self.program.write_text(f'#!/bin/sh\ncd {package} && exec {python} -m dav "$@"\n')
        for path in (package, *package.rglob("*"), bin_dir, self.program):
            path.chmod(0o755)

    def _here(self, text: str) -> str:
        """A snippet of the documentation with the places of this rig."""
        for there, here in (
            ("/run/davenport/deliver.sock", str(self.socket)),
            ("/usr/lib/dovecot/sieve-bin", str(self.program.parent)),
            ("/etc/dovecot/davenport.sieve", str(self.folder / "davenport.sieve")),
            ("/opt/davenport/bin/davenport", str(self.program)),
            ("127.0.0.1:5224", f"127.0.0.1:{self.inbound}"),
            ("cal.example.com", f"cal.{DOMAIN}"),
            ("pipe.example.com", f"pipe.{DOMAIN}"),
            ("invites@example.com", SERVICE),
            ("user=davenport", "user=nobody"),
        ):
            text = text.replace(there, here)
        return text

    def _write_sieve(self) -> None:
        script = self._here(snippet('require ["mime", "foreverypart", "copy", "vnd.dovecot.pipe"];'))
        # The watched mailbox has another way.
        script = script.replace(
            "foreverypart {",
            f'if envelope :is "to" ["watch@{DOMAIN}", "drop@{DOMAIN}"] {{ stop; }}\nforeverypart {{',
            1,
        )
        script = script.replace('require ["mime"', 'require ["envelope", "mime"', 1)
        (self.folder / "davenport.sieve").write_text(script)
        wrapper = self.program.parent / "davenport-imip"
        wrapper.write_text(self._here(snippet("#!/bin/sh")))
        wrapper.chmod(0o755)

    def start_dovecot(self, *, delay_s: int = 1, penalty: bool = False) -> None:
        self._write_more_dovecot()
        super().start_dovecot(delay_s=delay_s, penalty=penalty)

    def _write_more_dovecot(self) -> None:
        from . import mailserver

        extra = self._here(snippet("protocol lmtp {")).replace("{", "{{").replace("}", "}}")
        if extra not in mailserver.DOVECOT:
            self._dovecot = mailserver.DOVECOT + extra

    def _write(self, name: str, text: str, **more: object) -> None:
        if name == "dovecot.conf":
            text = self._dovecot
        super()._write(name, text, **more)

    def _more_postfix(self) -> None:
        transports = self._here(snippet("cal.example.com    lmtp:inet:127.0.0.1:5224"))
        (self.folder / "transport").write_text(transports)
        _run(["postmap", f"texthash:{self.folder / 'transport'}"], check=False)
        main = self.folder / "postfix" / "main.cf"
        more = (
            f"relay_domains = cal.{DOMAIN} pipe.{DOMAIN}\n"
            f"transport_maps = texthash:{self.folder}/transport\n"
            "recipient_delimiter = +\n"
            f"virtual_alias_maps = inline:{{ sam@{DOMAIN}=watch@{DOMAIN}, tina@{DOMAIN}=drop@{DOMAIN} }}\n"
        )
        main.write_text(main.read_text() + more)
        master = self.folder / "postfix" / "master.cf"
        master.write_text(
            master.read_text() + "pipe unix - n n - - pipe\n" + self._here(snippet("davenport-in unix - n n - - pipe"))
        )

    def send(self, sender: str, to: str, raw: bytes) -> None:
        """As somebody who has signed in."""
        context = ssl.create_default_context(cafile=str(self.certificates.ca))
        context.check_hostname = False
        with smtplib.SMTP("127.0.0.1", self.smtp, timeout=30) as smtp:
            smtp.starttls(context=context)
            smtp.login(sender, PASSWORD)
            smtp.sendmail(sender, [to], raw)

    def mails(self, name: str, folder: str = "INBOX") -> list[tuple[bytes, bytes]]:
        """(flags, mail) of each mail in a mailbox."""
        box = imaplib.IMAP4("127.0.0.1", self.imap)
        try:
            box.login(f"{name}@{DOMAIN}", PASSWORD)
            box.select(folder)
            _, found = box.search(None, "ALL")
            numbers = found[0].split()
            if not numbers:
                return []
            _, rows = box.fetch(b",".join(numbers).decode(), "(FLAGS BODY.PEEK[])")
            return [(row[0], row[1]) for row in rows if isinstance(row, tuple)]
        finally:
            box.logout()


@pytest.fixture(scope="module")
def mail() -> Iterator[Rig]:
    if os.geteuid() != 0 or not all(shutil.which(name) for name in ("doveadm", "postfix", "postmap", "sievec")):
        missing("Dovecot with Sieve and Postfix are not installed, or this is not root (.ci/install-mail)")
    running = Rig()
    try:
        for name in ("invites", "watch", "drop", "bob", "olga", "sam", "tina"):
            running.add(name, PASSWORD)
        _run(["sievec", str(running.folder / "davenport.sieve")], check=False)
        running.start_dovecot()
        running.start_postfix()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def server(mail: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(
        tmp_path_factory.mktemp("mail-in"),
        workers=2,
        settings={
            "smtp": {
                "host": "127.0.0.1", "port": str(mail.smtp), "ca_file": str(mail.certificates.ca), "user": SERVICE,
                "certificate_name": mail.certificates.name, "password": PASSWORD,
            },
            "mail": {"from_address": SERVICE, "settle_seconds": "0"},
            "mail_in": {
                "lmtp": f"127.0.0.1:{mail.inbound}", "socket": str(mail.socket), "socket_mode": "0666",
                "imap_host": "127.0.0.1", "imap_port": str(mail.imaps), "imap_user": f"watch@{DOMAIN}",
                "imap_password": PASSWORD, "imap_ca_file": str(mail.certificates.ca),
                "imap_certificate_name": mail.certificates.name,
            },
        },
    )  # fmt: skip
    yield running.start()
    running.stop()


@pytest.fixture(scope="module")
def anna(server: Server) -> Dav:
    """Another guest, who has an account here."""
    return server.account(f"anna@{DOMAIN}")


# The ways in: who organizes, at an address whose mail takes that way.
WAYS = {
    "sieve": f"olga@{DOMAIN}",
    "lmtp": f"pat@cal.{DOMAIN}",
    "pipe": f"quinn@pipe.{DOMAIN}",
    "imap": f"sam@{DOMAIN}",
}


@pytest.fixture(params=list(WAYS))
def organizer(request: pytest.FixtureRequest, server: Server) -> Dav:
    return server.account(WAYS[request.param])


def meet(organizer: Dav, *guests: str) -> str:
    """A meeting of the organizer's; its UID."""
    uid = f"in-{secrets.token_hex(6)}@{DOMAIN}"
    lines = [
        "SEQUENCE:0", "DTSTART;TZID=America/Los_Angeles:20350302T090000", "DURATION:PT1H", "SUMMARY:Planning",
        f"ORGANIZER;CN=Olga:mailto:{organizer.user}", f"ATTENDEE;PARTSTAT=ACCEPTED:mailto:{organizer.user}",
        *(f"ATTENDEE;RSVP=TRUE;PARTSTAT=NEEDS-ACTION:mailto:{guest}" for guest in guests),
    ]  # fmt: skip
    body = component("VEVENT", uid, *lines)
    body = [
        time.strftime("DTSTAMP:%Y%m%dT%H%M%SZ", time.gmtime()) if line.startswith("DTSTAMP") else line for line in body
    ]
    answer = organizer.put(f"{organizer.home()}calendar/{uid}.ics", calendar(*body))
    assert answer.status == 201, str(answer)
    return uid


def copy_of(person: Dav, uid: str) -> str:
    """What a person has of the meeting, wherever it lies in the calendar; "" for nothing."""
    query = (
        '<C:calendar-query xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:D="DAV:"><D:prop><C:calendar-data/></D:prop>'
        '<C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT"><C:prop-filter name="UID">'
        f"<C:text-match>{uid}</C:text-match></C:prop-filter></C:comp-filter></C:comp-filter></C:filter></C:calendar-query>"
    )
    answer = person.request("REPORT", f"{person.home()}calendar/", query.encode(),
                            {"Depth": "1", "Content-Type": "application/xml"})  # fmt: skip
    assert answer.status == 207, str(answer)
    return unfold(answer.text.replace("&#13;", "\r"))


def partstat(person: Dav, uid: str, guest: str) -> str:
    for line in copy_of(person, uid).splitlines():
        if line.startswith("ATTENDEE") and line.strip().lower().endswith(f":mailto:{guest}"):
            found = re.search(r"PARTSTAT=([A-Z-]+)", line)
            return found[1] if found else "NEEDS-ACTION"
    return "?"


def until(check: Callable[[], bool], what: str, mail: Rig, server: Server, seconds: float = SOON_S) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"{what}\n{server.log_text()[-3000:]}\n{mail.log()}"
        time.sleep(0.2)


# As these programs write their replies, in the corpus: file, who answers there, what it says.
SHAPES = {
    "gmail": ("made-gmail-reply-accepted.eml", "gail.guest@example.net", "ACCEPTED"),
    "outlook": ("made-exchange-reply-declined-comment.eml", "bob@example.net", "DECLINED"),
    "apple": ("made-apple-reply.eml", "ann@example.org", "ACCEPTED"),
    "thunderbird": ("made-thunderbird-reply.eml", "bob@example.net", "ACCEPTED"),
}


def as_written(path: Path, guest: str, uid: str, *, sender: str, to: str) -> bytes:
    """A mail of the corpus as it would be for this meeting and these people; encodings and structure stay."""
    message = email.message_from_bytes(path.read_bytes(), policy=policy.compat32)
    del message["Authentication-Results"]
    message.replace_header("From", f"Somebody <{sender}>")
    message.replace_header("To", to)
    message.replace_header("Message-ID", f"<{secrets.token_hex(8)}@{DOMAIN}>")
    old = re.compile(r"b7c6b1d2-5d0e-4a55-9a32-0f6f2c1d7e10@cal\.example\.com", re.IGNORECASE)
    for part in message.walk():
        if part.get_content_type() not in ("text/calendar", "application/ics"):
            continue
        text = part.get_payload(decode=True).decode()
        text = re.sub(r"\r?\n ", "", text)
        keep_case = uid.upper() if "B7C6B1D2" in text else uid
        text = old.sub(keep_case, text).replace(guest, sender).replace("olga@example.com", to)
        text = re.sub(r"20260[12]\d\dT\d{6}Z", time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), text)
        encoding = str(part.get("Content-Transfer-Encoding", "7bit")).lower()
        data = text.replace("\r\n", "\n").replace("\n", "\r\n").encode()
        if encoding == "base64":
            part.set_payload(email.base64mime.body_encode(data))
        elif encoding == "quoted-printable":
            import quopri

            part.set_payload(quopri.encodestring(data).decode())
        else:
            part.set_payload(text)
    return message.as_bytes(policy=policy.SMTP)


@pytest.mark.parametrize("shape", list(SHAPES))
def test_a_reply_of_each_program_arrives_on_each_way(
    shape: str, organizer: Dav, anna: Dav, mail: Rig, server: Server, material: Path
) -> None:
    """The organizer sees the answer, and so does the other guest, who has an account here."""
    bob = f"bob@{DOMAIN}"
    file, guest, answer = SHAPES[shape]
    uid = meet(organizer, bob, anna.user)
    assert partstat(organizer, uid, bob) == "NEEDS-ACTION"
    raw = as_written(material / "corpus" / "eml" / file, guest, uid, sender=bob, to=organizer.user)
    mail.send(bob, organizer.user, raw)
    until(lambda: partstat(organizer, uid, bob) == answer, f"no answer of {shape}", mail, server)
    until(lambda: partstat(anna, uid, bob) == answer, "the other guest does not see it", mail, server)


def test_tsdav_invites_by_mail_and_sees_the_answer(mail: Rig, server: Server, material: Path) -> None:
    """Invited by a program, read by IMAP, answered by mail, seen by the program."""
    if not os.environ.get("DAV_NPM"):
        missing("DAV_NPM names no folder with tsdav; .ci/install-clients installs it")
    olga, bob = server.account(WAYS["lmtp"]), f"bob@{DOMAIN}"
    uid = f"tsdav-{secrets.token_hex(6)}@{DOMAIN}"
    script = Path(__file__).with_name("invite_tsdav.mjs")
    program = subprocess.Popen(
        [os.environ.get("NODE", "node"), str(script)],
        env=clean_environment()
        | {
            "CLIENTS": str(material / "clients"), "DAV_URL": server.base, "DAV_USER": olga.user,
            "DAV_PASSWORD": ACCOUNT_PASSWORD, "GUEST": bob, "UID": uid,
        },
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        until(lambda: invitations(mail, "bob", uid) != [], "no invitation in the mailbox", mail, server)
        (invitation,) = invitations(mail, "bob", uid)
        assert "By tsdav ü" in str(invitation["Subject"])
        raw = as_written(material / "corpus" / "eml" / "made-thunderbird-reply.eml", "bob@example.net", uid,
                         sender=bob, to=str(invitation["From"].addresses[0].addr_spec))  # fmt: skip
        mail.send(bob, olga.user, raw)
        told, _ = program.communicate(timeout=90)
    finally:
        if program.poll() is None:
            program.kill()
            program.communicate()
    assert program.returncode == 0, told
    assert "PASS tsdav-invite" in told


def invitations(mail: Rig, name: str, uid: str) -> list[EmailMessage]:
    """The mails in a mailbox whose calendar is about this meeting."""
    found = []
    for _, raw in mail.mails(name):
        message = email.message_from_bytes(raw, policy=policy.default)
        for part in message.walk():
            if part.get_content_type() == "text/calendar" and uid.encode() in (part.get_payload(decode=True) or b""):
                found.append(message)
    return found  # type: ignore[return-value]


def test_sieve_leaves_the_mail_in_the_mailbox(mail: Rig, server: Server, material: Path) -> None:
    olga, bob = server.account(WAYS["sieve"]), f"bob@{DOMAIN}"
    uid = meet(olga, bob)
    path = material / "corpus" / "eml" / "made-thunderbird-reply.eml"
    mail.send(bob, olga.user, as_written(path, "bob@example.net", uid, sender=bob, to=olga.user))
    until(lambda: partstat(olga, uid, bob) == "ACCEPTED", "no answer", mail, server)
    until(lambda: any(uid.encode() in raw for _, raw in mail.mails("olga")), "the mail is gone", mail, server)


def test_the_watch_marks_what_it_has_used_and_leaves_ordinary_mail_alone(
    mail: Rig, server: Server, material: Path
) -> None:
    sam, bob = server.account(WAYS["imap"]), f"bob@{DOMAIN}"
    uid = meet(sam, bob)
    mail.send(bob, sam.user, f"From: {bob}\r\nTo: {sam.user}\r\nSubject: ordinary-{uid}\r\n\r\nHello\r\n".encode())
    path = material / "corpus" / "eml" / "made-thunderbird-reply.eml"
    mail.send(bob, sam.user, as_written(path, "bob@example.net", uid, sender=bob, to=sam.user))
    until(lambda: partstat(sam, uid, bob) == "ACCEPTED", "no answer", mail, server)

    def flags(word: str) -> list[bytes]:
        return [head for head, raw in mail.mails("watch") if word.encode() in raw]

    until(lambda: b"$Davenport" in b"".join(flags(f"UID:{uid}")), "it is not marked", mail, server)
    assert flags(f"ordinary-{uid}")
    assert all(b"$Davenport" not in head and b"\\Seen" not in head for head in flags(f"ordinary-{uid}"))


def test_a_watch_may_delete_what_it_has_used(mail: Rig, tmp_path: Path, material: Path) -> None:
    other = Server(
        tmp_path,
        settings={
            "mail_in": {
                "imap_host": "127.0.0.1", "imap_port": str(mail.imap), "imap_tls": "starttls", "imap_delete": "yes",
                "imap_user": f"drop@{DOMAIN}", "imap_password_file": "password",
                "imap_ca_file": str(mail.certificates.ca), "imap_certificate_name": mail.certificates.name,
            },
        },
    )  # fmt: skip
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    other.start()
    try:
        tina, bob = other.account(f"tina@{DOMAIN}"), f"bob@{DOMAIN}"
        uid = meet(tina, bob)
        mail.send(bob, tina.user, f"From: {bob}\r\nTo: {tina.user}\r\nSubject: ordinary\r\n\r\nHello\r\n".encode())
        path = material / "corpus" / "eml" / "made-thunderbird-reply.eml"
        mail.send(bob, tina.user, as_written(path, "bob@example.net", uid, sender=bob, to=tina.user))
        until(lambda: partstat(tina, uid, bob) == "ACCEPTED", "no answer", mail, other)
        until(lambda: [b"ordinary" in raw for _, raw in mail.mails("drop")] == [True], "it is not gone", mail, other)
    finally:
        other.stop()
    assert "Traceback" not in other.log_text(), other.log_text()[-3000:]


def test_a_mail_that_comes_back_is_told_on_the_organizers_copy(mail: Rig, server: Server) -> None:
    """Postfix takes it, cannot deliver it, and sends the bounce to the address that the mail was sent from."""
    olga = server.account(WAYS["sieve"])
    guest = "nobody@elsewhere.example"
    uid = meet(olga, guest)

    def status() -> str:
        for line in copy_of(olga, uid).splitlines():
            if line.startswith("ATTENDEE") and guest in line:
                found = re.search(r'SCHEDULE-STATUS="?([0-9.]+)', line)
                return found[1] if found else ""
        return "?"

    until(lambda: status() in ("5.1", "5.2"), "no status of the bounce", mail, server)


def test_mail_for_nobody_bounces_and_mail_while_davenport_is_away_waits(
    mail: Rig, server: Server, material: Path
) -> None:
    pat, bob = server.account(WAYS["lmtp"]), f"bob@{DOMAIN}"
    uid = meet(pat, bob)
    path = material / "corpus" / "eml" / "made-thunderbird-reply.eml"
    raw = as_written(path, "bob@example.net", uid, sender=bob, to=pat.user)
    mail.send(bob, f"nobody@cal.{DOMAIN}", raw)
    until(lambda: any(b"5.1.1 Nobody here has this address" in text for _, text in mail.mails("bob")),
          "no bounce for nobody", mail, server)  # fmt: skip
    server.stop()
    mail.send(bob, pat.user, raw)
    time.sleep(1)
    server.start()
    assert partstat(pat, uid, bob) == "NEEDS-ACTION"
    _run(["postqueue", "-c", str(mail.folder / "postfix"), "-f"])
    until(lambda: partstat(pat, uid, bob) == "ACCEPTED", "the queue did not bring it", mail, server)


def test_deliver_does_the_work_itself_without_a_server(server: Server, tmp_path: Path, material: Path) -> None:
    """`davenport deliver` with the settings and no socket; its exit status says what became of the mail."""
    pat, bob = server.account(WAYS["lmtp"]), f"bob@{DOMAIN}"
    uid = meet(pat, bob)
    path = material / "corpus" / "eml" / "made-thunderbird-reply.eml"
    raw = as_written(path, "bob@example.net", uid, sender=bob, to=pat.user)

    def run(*arguments: str, data: bytes = raw, config: Path = server.config) -> int:
        command = server.command("deliver", *arguments)
        command[command.index(str(server.config))] = str(config)
        return subprocess.run(command, input=data, cwd=ROOT, env=clean_environment(), timeout=60, check=False,
                              capture_output=True).returncode  # fmt: skip

    alone = tmp_path / "alone.ini"
    text = re.sub(r"(?m)^(lmtp|socket|imap_\w+) = .*\n", "", server.config.read_text())
    alone.write_text(text)
    assert run("--from", bob, pat.user, config=alone) == 0
    assert partstat(pat, uid, bob) == "ACCEPTED"
    assert run("--from", bob, f"nobody@cal.{DOMAIN}", config=alone) == 67
    assert run("--from", bob) == 64
    assert run(pat.user, data=b"x" * (1 << 21), config=alone) == 65
    broken = tmp_path / "broken.ini"
    broken.write_text("[database]\nurl = sqlite:////nowhere/at/all.db\n")
    assert run(pat.user, config=broken) == 75
    broken.write_text("nonsense\n")
    assert run(pat.user, config=broken) == 75


def test_the_command_line_shows_what_was_kept_and_applies_it(mail: Rig, server: Server) -> None:
    olga, bob = server.account(WAYS["sieve"]), f"bob@{DOMAIN}"
    uid = meet(olga, bob)
    invite = "\r\n".join([
        f"From: <{bob}>", f"To: <{olga.user}>", "Subject: Kept", "Content-Type: text/calendar; method=REPLY", "",
        "BEGIN:VCALENDAR", "VERSION:2.0", "METHOD:REPLY", "BEGIN:VEVENT", f"UID:{uid}", "DTSTAMP:20300101T000000Z",
        "ATTENDEE;PARTSTAT=TENTATIVE:mailto:eve@elsewhere.example", "END:VEVENT", "END:VCALENDAR", "",
    ])  # fmt: skip

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(server.command("mail", "kept", *arguments), cwd=ROOT, env=clean_environment(), timeout=60,
                              capture_output=True, text=True, check=False)  # fmt: skip

    mail.send(bob, olga.user, invite.replace(f"From: <{bob}>", "From: <eve@elsewhere.example>").encode())
    until(lambda: "Kept" in run("list", olga.user).stdout, "it was not kept", mail, server)
    line = next(one for one in run("list", olga.user).stdout.splitlines() if "Kept" in one)
    number = line.split("\t")[0]
    assert "eve@elsewhere.example" in line
    shown = run("show", number).stdout
    assert uid in shown
    assert "METHOD:REPLY" in run("show", number, "--raw").stdout
    assert run("apply", number).stdout == "Applied.\n"
    assert partstat(olga, uid, "eve@elsewhere.example") == "TENTATIVE"
    assert run("drop", number).returncode == 1
