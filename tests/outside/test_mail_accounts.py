"""One account for mail and calendars: a real Dovecot and Postfix keep the passwords, Davenport asks them.

Each way of asking has a Davenport of its own beside the same mail server. All names are spelt differently on purpose.
"""

from __future__ import annotations

import concurrent.futures
import imaplib
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import TROUBLE, missing
from .mailserver import MailServer
from .scripts import client_script
from .servers import Server, clean_environment
from .wire import Answer, Dav, event, items

CACHE_S = 1
# Wrong pairs are not asked again for fifteen seconds, and so is nobody's that a back end could not tell for five.
SOON_S = 30.0
WAYS = ("dovecot", "imap", "smtp", "sql")
PASSWORD = "päss wörd:x 'y\" \\"


def settings_for(way: str, mail: MailServer) -> dict[str, dict[str, str]]:
    tls = {"ca_file": str(mail.certificates.ca), "certificate_name": mail.certificates.name, "host": "127.0.0.1"}
    sections = {
        "dovecot": {"socket": str(mail.auth_socket), "userdb_socket": str(mail.userdb_socket)},
        "imap": tls | {"tls": "tls", "port": str(mail.imaps), "forward_client": "yes"},
        "smtp": tls | {"tls": "starttls", "port": str(mail.smtp)},
        "sql": {
            "url": f"sqlite:///{mail.database}",
            "password_query": 'SELECT email AS "user", password FROM users WHERE email = :user AND active = 1',
            "name_query": "SELECT name FROM users WHERE email = :user",
        },
    }
    return {"auth": {"backends": way, "cache_seconds": str(CACHE_S)}, f"auth_{way}": sections[way]}


@pytest.fixture(scope="module")
def mail() -> Iterator[MailServer]:
    if os.geteuid() != 0 or not all(shutil.which(name) for name in ("doveadm", "postfix", "postmap")):
        missing("Dovecot and Postfix are not installed, or this is not root (.ci/install-mail)")
    running = MailServer()
    try:
        running.start_dovecot()
        running.start_postfix()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def beside(mail: MailServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """A Davenport for each way, started when it is first needed."""

    class Started(dict[str, Server]):
        def __missing__(self, way: str) -> Server:
            server = Server(tmp_path_factory.mktemp(f"beside-{way}"), settings=settings_for(way, mail))
            self[way] = server.start()
            return server

    servers = Started()
    yield servers
    for server in servers.values():
        server.stop()


@pytest.fixture
def up(mail: MailServer) -> Iterator[MailServer]:
    """The mail server, running again at the end whatever the test did to it."""
    yield mail
    mail.stop_dovecot()
    mail.start_dovecot()


@pytest.fixture(autouse=True)
def no_traceback(beside: dict[str, Server]) -> Iterator[None]:
    yield
    for server in beside.values():
        found = TROUBLE.search(server.log_text())
        assert not found, server.log_text()[-6000:]
        assert PASSWORD not in server.log_text()


def opens_imap(mail: MailServer, address: str, password: str) -> bool:
    connection = imaplib.IMAP4("127.0.0.1", mail.imap, timeout=40)
    try:
        connection.authenticate("PLAIN", lambda _: f"\0{address}\0{password}".encode())
    except imaplib.IMAP4.error:
        return False
    else:
        return True
    finally:
        connection.logout()


def person(mail: MailServer) -> str:
    return mail.add(f"p{secrets.token_hex(4)}", PASSWORD)


def ask(server: Server, user: str, password: str = PASSWORD, *, client: str = "", timeout: float = 60) -> Answer:
    headers = {"Depth": "0"} | ({"X-Forwarded-For": client, "X-Forwarded-Proto": "https"} if client else {})
    return Dav(server.base, user, password).request("PROPFIND", "/dav/", None, headers, timeout=timeout)


def becomes(server: Server, user: str, password: str, status: int) -> None:
    """Waits until the pair is answered so: what is remembered has to end first."""
    deadline = time.monotonic() + SOON_S
    while (answer := ask(server, user, password)).status != status:
        assert time.monotonic() < deadline, f"still {answer}"
        time.sleep(0.3)


@pytest.mark.parametrize("way", WAYS)
def test_one_password_opens_imap_and_caldav(way: str, mail: MailServer, beside: dict[str, Server]) -> None:
    address = person(mail)
    server = beside[way]
    assert opens_imap(mail, address, PASSWORD)
    one, other = Dav(server.base, address, PASSWORD), Dav(server.base, address.upper(), PASSWORD)
    calendar = one.make_calendar(f"{one.home()}work/")
    assert one.put(f"{calendar}a.ics", event("a@example.org", "DTSTART:20261201T090000Z")).status == 201
    # The mail side calls both the same, so they are one account.
    assert other.principal() == one.principal()
    assert other.get(f"{calendar}a.ics").status == 200
    assert address.partition("@")[0] in one.principal()
    refused = ask(server, address, "wrong")
    assert refused.status == 401
    assert "www-authenticate" in refused.headers
    assert ask(server, f"nobody@{mail.domain}", PASSWORD).status == 401


@pytest.mark.parametrize("way", WAYS)
def test_a_password_changed_on_the_mail_side_is_changed_here(
    way: str, mail: MailServer, beside: dict[str, Server]
) -> None:
    address = person(mail)
    server = beside[way]
    assert ask(server, address).status == 207
    mail.set_password(address, "the new one")
    assert opens_imap(mail, address, "the new one")
    becomes(server, address, "the new one", 207)
    becomes(server, address, PASSWORD, 401)


@pytest.mark.parametrize("way", WAYS)
def test_a_disabled_mailbox_is_out_and_back_when_it_is_enabled(
    way: str, mail: MailServer, beside: dict[str, Server]
) -> None:
    address = person(mail)
    server = beside[way]
    assert ask(server, address).status == 207
    mail.set_active(address, False)
    assert not opens_imap(mail, address, PASSWORD)
    becomes(server, address, PASSWORD, 401)
    if way in ("dovecot", "sql"):
        mail.set_active(address, True)
        becomes(server, address, PASSWORD, 207)


def test_the_name_that_dovecot_knows_is_the_name_here(mail: MailServer, beside: dict[str, Server]) -> None:
    address = person(mail)
    one = Dav(beside["dovecot"].base, address, PASSWORD)
    (item,) = items(one.propfind(one.principal(), "<D:displayname/>")).values()
    assert item.text("{DAV:}displayname") == address.partition("@")[0].title()


@pytest.mark.parametrize("way", ["dovecot", "imap", "smtp"])
def test_while_dovecot_is_down_nobody_is_told_that_the_password_is_wrong(
    way: str, up: MailServer, beside: dict[str, Server]
) -> None:
    known, new = person(up), person(up)
    server = beside[way]
    assert ask(server, known).status == 207
    up.stop_dovecot()
    time.sleep(CACHE_S + 0.2)
    # Who was let in before goes on, and no phone asks its owner for a password.
    for _ in range(5):
        assert ask(server, known).status == 207
    for user, password in ((new, PASSWORD), (known, "wrong"), (f"nobody@{up.domain}", "x")):
        answer = ask(server, user, password)
        assert answer.status == 503, str(answer)
        assert int(answer.headers["retry-after"]) > 0
    up.start_dovecot()
    becomes(server, new, PASSWORD, 207)
    assert ask(server, known).status == 207
    # The log says what is wrong, and says it once and not for each request.
    told = [line for line in server.log_text().splitlines() if way in line and " account=" not in line]
    assert told, server.log_text()[-3000:]
    assert len(told) < 8, told


def polls(server: Server, user: str, seconds: float, client: str) -> list[float]:
    """Time in seconds of one poll after the other. Each must be answered 207."""
    taken = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = ask(server, user, client=client)
        assert answer.status == 207, str(answer)
        taken.append(answer.seconds)
        time.sleep(0.02)
    return taken


def p95_ms(taken: list[float]) -> float:
    return statistics.quantiles(taken, n=20)[-1] * 1000


@pytest.mark.usefixtures("ahead")
@pytest.mark.timeout(240)
def test_two_hundred_sign_ins_that_take_ten_seconds_do_not_slow_the_others(
    up: MailServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    up.stop_dovecot()
    up.start_dovecot(delay_s=10)
    owner = person(up)
    settings = settings_for("dovecot", up)
    settings["auth"]["cache_seconds"] = "300"
    server = Server(tmp_path / "slow", settings=settings).start()
    try:
        assert ask(server, owner, client="198.51.100.1").status == 207
        calm = polls(server, owner, 3, "198.51.100.1")
        with concurrent.futures.ThreadPoolExecutor(200) as pool:
            started = time.monotonic()
            wrong = [
                pool.submit(ask, server, f"u{n}@{up.domain}", "wrong", client=f"192.0.2.{n}", timeout=120)
                for n in range(200)
            ]
            time.sleep(1)
            busy = polls(server, owner, 5, "198.51.100.1")
            newcomer = person(up)
            first = ask(server, newcomer, client="198.51.100.2")
            assert first.status == 207
            answers = [task.result() for task in wrong]
            all_s = time.monotonic() - started
        assert {answer.status for answer in answers} == {401}
        with capsys.disabled():
            print(
                f"\n200 slow sign-ins in {all_s:.1f} s; polls p95 {p95_ms(calm):.1f} ms before, {p95_ms(busy):.1f} ms "
                f"meanwhile; a newcomer's first sign-in {first.seconds * 1000:.0f} ms"
            )
        # They wait at the same time, not one after the other.
        assert all_s < 60
        assert first.seconds < 5
        assert p95_ms(busy) < 5 * p95_ms(calm) + 50
    finally:
        server.stop()


@pytest.mark.usefixtures("ahead")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("way", ["dovecot", "imap"])
def test_three_hundred_wrong_passwords_at_once_leave_the_owner_alone(
    way: str, up: MailServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # As Dovecot is by default: each wrong password from an address makes the next one from there slower, up to 17 s.
    up.stop_dovecot()
    up.start_dovecot(penalty=True)
    owner = person(up)
    server = Server(tmp_path / "guarded", settings=settings_for(way, up)).start()

    def guess(number: int) -> int:
        try:
            return ask(server, owner, f"guess {number}", client="192.0.2.66", timeout=15).status
        except TimeoutError:
            return 0

    try:
        assert ask(server, owner, client="198.51.100.1").status == 207
        time.sleep(CACHE_S + 0.2)
        with concurrent.futures.ThreadPoolExecutor(300) as pool:
            guesses = [pool.submit(guess, number) for number in range(300)]
            taken = []
            for _ in range(5):
                time.sleep(CACHE_S + 0.5)
                answer = ask(server, owner, client="198.51.100.1")
                assert answer.status == 207, str(answer)
                taken.append(answer.seconds)
            answers = [task.result() for task in guesses]
        counts = {status: answers.count(status) for status in sorted(set(answers))}
        with capsys.disabled():
            print(
                f"\n{way}: 300 guesses answered {counts} (0: gave up); the owner in {max(taken) * 1000:.0f} ms at most"
            )
        assert max(taken) < 2
        assert set(counts) <= {0, 401, 503}
        # Most of them never reach the mail server.
        assert counts[503] > 250
    finally:
        server.stop()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("client", ["vdirsyncer", "thunderbird"])
def test_a_real_client_signs_in_with_the_mail_password(
    client: str, mail: MailServer, beside: dict[str, Server], material: Path, tmp_path: Path
) -> None:
    password = "Mail-password-7"
    first, second = (mail.add(f"c{secrets.token_hex(4)}", password) for _ in range(2))
    script = client_script(material / "clients", client, tmp_path)
    run = subprocess.run(
        ["bash" if script.suffix == ".sh" else sys.executable, str(script)],
        cwd=tmp_path,
        env=clean_environment()
        | {
            "DAV_URL": beside["dovecot"].base,
            "DAV_USER": first,
            "DAV_PASSWORD": password,
            "DAV_USER2": second,
            "DAV_PASSWORD2": password,
            "PYTHON": sys.executable,
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": "/tmp",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=280,
        check=False,
    )
    told = run.stdout[-6000:] + run.stderr[-6000:]
    if run.returncode == 77:
        missing(told.strip().splitlines()[-1])
    assert run.returncode == 0, told
    assert "PASS" in run.stdout, told
