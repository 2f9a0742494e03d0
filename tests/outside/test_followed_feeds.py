"""Calendars that the server follows from a real web server, whose calendars change, break, grow, move and stall."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dav import cli
from tests.certificates import Certificates, make_certificates
from tests.feeds.feedtext import calendar, club, event

from .conftest import need_program
from .servers import Server, free_port, wait_for
from .wire import Dav, items

HINT = "Debian package nginx-light"
BYTES_MAX = 2 * 1024 * 1024


class Nginx:
    """nginx over a folder of its own: http and https, and places that do what bad servers do."""

    def __init__(self, program: str, folder: Path, certificates: Certificates) -> None:
        self.files = folder / "www"
        for name in ("", "auth", "slow"):
            (self.files / name).mkdir(parents=True, exist_ok=True)
        self.port, self.tls_port = free_port(), free_port()
        self.log, self.access = folder / "nginx.log", folder / "access.log"
        self.log.touch()
        digest = base64.b64encode(hashlib.sha1(b"ge:heim").digest()).decode()
        (folder / "users").write_text(f"me:{{SHA}}{digest}\n")
        moves = "".join(
            f"location /{name}/ {{ return {status} {target}; }}\n"
            for name, status, target in (
                ("moved", 301, "/new.ics"),
                ("passing", 302, "/new.ics"),
                ("loop", 302, "/loop/"),
                ("to-tls", 301, f"https://localhost:{self.tls_port}/new.ics"),
                ("to-plain", 302, f"http://localhost:{self.port}/new.ics"),
                ("to-cloud", 302, "http://169.254.169.254/latest/meta-data/"),
                ("gone", 410, '""'),
                ("busy", 503, '""'),
            )
        )
        self.config = folder / "nginx.conf"
        self.config.write_text(
            f"""
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {self.log} info;
events {{ worker_connections 64; }}
http {{
  types {{ text/calendar ics; }} default_type text/calendar; root {self.files};
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  log_format main '$request $status "$http_if_none_match" "$http_authorization"';
  access_log {self.access} main;
  gzip on; gzip_types text/calendar; gzip_min_length 100;
  server {{
    listen 127.0.0.1:{self.port};
    listen 127.0.0.1:{self.tls_port} ssl; ssl_certificate {certificates.chain}; ssl_certificate_key {certificates.key};
    location / {{ }}
    location /auth/ {{ auth_basic "calendars"; auth_basic_user_file {folder}/users; }}
    location /slow/ {{ gzip off; limit_rate 50; }}
    {moves}
  }}
}}
"""
        )
        # Else -p would be where its own files are.
        self.command = [program, "-p", str(folder), "-c", str(self.config), "-e", str(self.log)]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Nginx:
        # Not as root: its worker would become somebody who may not read the folder. master_process off keeps us.
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            wait_for(self.port, self.process, self.log)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)

    def write(self, name: str, body: bytes, *, age_s: int = 100) -> None:
        """age_s: nginx makes its ETag from time and size."""
        file = self.files / name
        file.write_bytes(body)
        os.utime(file, (time.time() - age_s,) * 2)

    def asked(self) -> list[str]:
        return self.access.read_text().splitlines()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("authority"), "localhost")


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Nginx]:
    running = Nginx(need_program("nginx", HINT), tmp_path_factory.mktemp("nginx"), certificates).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def following(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Server]:
    """A server that may fetch from this machine and trusts the test's authority."""
    settings = {
        "feeds": {
            "followed_private_networks": "yes",
            "followed_ca_file": str(certificates.ca),
            "followed_bytes": str(BYTES_MAX),
            "followed_seconds": "3",
        }
    }
    server = Server(tmp_path_factory.mktemp("following"), settings=settings, workers=2).start()
    yield server
    server.stop()
    assert "Traceback" not in server.log_text()


Follow = Callable[..., "Followed"]


numbers = iter(range(1000))


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said, and its exit status."""

    returncode: int
    stdout: str
    stderr: str


class Followed:
    """One calendar that an account of its own follows, worked by the command line."""

    def __init__(self, server: Server, account: Dav) -> None:
        self.server, self.account, self.name = server, account, f"it-{next(numbers)}"

    @property
    def path(self) -> str:
        return f"{self.account.home()}{self.name}/"

    def run(self, *words: str) -> Said:
        """The command in this process: to start one takes longer than all that it does."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cli.main(["--config", str(self.server.config), "subscription", *words])
        return Said(status, out.getvalue(), err.getvalue())

    def refresh(self) -> str:
        """What is said; " (1)" behind it when that did not go well."""
        done = self.run("refresh", self.account.user, self.name)
        return done.stdout.splitlines()[-1] if done.returncode == 0 else f"{done.stdout} (1)"

    def show(self) -> str:
        return self.run("show", self.account.user, self.name).stdout

    def etags(self) -> dict[str, str]:
        found = items(self.account.propfind(self.path, "<D:getetag/>", "1"))
        return {href: item.text("{DAV:}getetag") for href, item in found.items() if not href.endswith("/")}


@pytest.fixture
def follow(following: Server) -> Follow:
    def start(url: str, *, anyway: bool = False) -> Followed:
        one = Followed(following, following.account("follower@example.com"))
        done = one.run("add", one.account.user, url, "--name", one.name, *(["--anyway"] if anyway else []))
        assert done.returncode == 0 or anyway, done.stdout + done.stderr
        return one

    return start


def test_what_changes_there_changes_here_and_what_stays_costs_nothing(nginx: Nginx, follow: Follow) -> None:
    nginx.write("a.ics", club(40))
    one = follow(f"http://localhost:{nginx.port}/a.ics")
    before = one.etags()
    assert len(before) == 40
    assert one.refresh() == "40 events and tasks: nothing has changed."
    assert " 304 " in nginx.asked()[-1]
    nginx.write("a.ics", club(40, stamp="20261122T101112Z"), age_s=50)
    assert one.refresh() == "40 events and tasks: nothing has changed."
    assert " 200 " in nginx.asked()[-1]
    assert one.etags() == before
    nginx.write("a.ics", club(41), age_s=40)
    assert one.refresh() == "41 events and tasks: 1 new."
    assert before.items() <= one.etags().items()


def test_a_calendar_that_breaks_takes_nothing_away_and_comes_back(nginx: Nginx, follow: Follow) -> None:
    nginx.write("b.ics", club(30))
    one = follow(f"http://localhost:{nginx.port}/b.ics")
    before = one.etags()
    whole = club(30)
    for number, broken in enumerate(
        (b"", b"<html>maintenance</html>", whole[: len(whole) // 2 - 7], calendar(), club(3), whole)
    ):
        nginx.write("b.ics", broken, age_s=90 - number)
        said = one.refresh()
        assert said.endswith("(1)") == (broken != whole), said
        assert one.etags() == before
        if broken in (calendar(), club(3)):
            # Believed the second time; so the good one in between.
            nginx.write("b.ics", whole, age_s=80 - number)
            assert one.refresh() == "30 events and tasks: nothing has changed."
    (nginx.files / "b.ics").unlink()
    assert "(404)" in one.refresh()
    assert "(404)" in one.show()
    assert one.etags() == before


def test_a_calendar_that_grows_too_large_is_left_as_it_was(nginx: Nginx, follow: Follow) -> None:
    nginx.write("c.ics", club(5))
    one = follow(f"http://localhost:{nginx.port}/c.ics")
    with (nginx.files / "c.ics").open("wb") as file:
        file.truncate(3_000_000_000)  # zeros without end: a bomb once nginx has compressed them
    started = time.monotonic()
    assert "larger than" in one.refresh()
    assert time.monotonic() - started < 20
    assert len(one.etags()) == 5
    os.truncate(nginx.files / "c.ics", 0)


@pytest.mark.parametrize(
    ("place", "lasting"), [("moved/", "/new.ics"), ("passing/", "/passing/"), ("to-tls/", "/new.ics")]
)
def test_redirects_are_followed_and_the_lasting_ones_kept(
    nginx: Nginx, follow: Follow, place: str, lasting: str
) -> None:
    nginx.write("new.ics", club(4))
    one = follow(f"http://localhost:{nginx.port}/{place}")
    assert len(one.etags()) == 4
    (address,) = [line for line in one.show().splitlines() if line.startswith("address:")]
    assert address.endswith(lasting)
    assert ("https://" in address) == (place == "to-tls/")


@pytest.mark.parametrize(
    ("place", "word"),
    [("loop/", "more than 5"), ("gone/", "(410)"), ("busy/", "(503)"), ("none.ics", "(404)"), ("auth/a.ics", "(401)")],
)
def test_what_is_wrong_is_said(nginx: Nginx, follow: Follow, place: str, word: str) -> None:
    one = follow(f"http://localhost:{nginx.port}/{place}", anyway=True)
    assert word in one.show()
    assert one.etags() == {}


def test_a_password_opens_what_is_locked_and_is_shown_nowhere(nginx: Nginx, follow: Follow, following: Server) -> None:
    nginx.write("auth/a.ics", club(3))
    one = follow(f"http://me:ge%3Aheim@localhost:{nginx.port}/auth/a.ics")
    assert len(one.etags()) == 3
    said = one.show() + one.run("list").stdout + following.log_text()
    assert "heim" not in said


def test_webcal_and_an_own_authority(nginx: Nginx, follow: Follow) -> None:
    nginx.write("w.ics", club(3))
    assert len(follow(f"webcal://localhost:{nginx.tls_port}/w.ics").etags()) == 3
    assert len(follow(f"webcal://localhost:{nginx.port}/w.ics").etags()) == 3
    wrong_name = follow(f"https://127.0.0.1:{nginx.tls_port}/w.ics", anyway=True)
    assert "certificate" in wrong_name.show()
    assert "https to http" in follow(f"https://localhost:{nginx.tls_port}/to-plain/", anyway=True).show()


def test_a_slow_drip_ends_and_keeps_nobody_waiting(nginx: Nginx, follow: Follow) -> None:
    nginx.write("slow/a.ics", club(30))
    started = time.monotonic()
    one = follow(f"http://localhost:{nginx.port}/slow/a.ics", anyway=True)
    assert "within 3 seconds" in one.show()
    assert time.monotonic() - started < 30


def test_without_the_setting_nothing_of_this_machine_or_of_a_cloud_is_fetched(nginx: Nginx, tmp_path: Path) -> None:
    careful = Server(tmp_path)
    account = Followed(careful, careful.account("alice"))
    before = len(nginx.asked())
    for host in ("localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "2130706433"):
        done = account.run("add", "alice", f"http://{host}:{nginx.port}/a.ics")
        assert (done.returncode, "public Internet" in done.stderr) == (1, True), done.stderr
    assert len(nginx.asked()) == before


def test_workers_fetch_what_is_due_once_and_a_client_sees_it_as_read_only(
    nginx: Nginx, follow: Follow, following: Server
) -> None:
    nginx.write("due.ics", club(5))
    one = follow(f"http://localhost:{nginx.port}/due.ics")
    nginx.write(
        "due.ics",
        calendar(
            event("later", "SUMMARY:Later"), *([event(f"club-{n}@x", start="20270101T120000Z") for n in range(5)])
        ),
        age_s=9,
    )
    with contextlib.closing(sqlite3.connect(following.database, timeout=30)) as database:
        database.execute("UPDATE feeds_in SET next_s = 0 WHERE url LIKE '%/due.ics'")
        database.commit()
    deadline = time.monotonic() + 60
    while len(one.etags()) != 6:
        assert time.monotonic() < deadline, following.log_text()[-2000:]
        time.sleep(0.5)
    time.sleep(1)
    assert sum("/due.ics" in line for line in nginx.asked()) == 2
    member = next(iter(one.etags()))
    answer = one.account.delete(member)
    assert (answer.status, answer.condition()) == (403, "{DAV:}need-privileges")
    assert one.account.delete(one.path).status == 204


@pytest.mark.usefixtures("ahead")
def test_a_large_calendar_is_read_while_others_are_served(nginx: Nginx, follow: Follow, following: Server) -> None:
    nginx.write("large.ics", club(8000))
    asker = following.account("asker@example.com")
    one = Followed(following, following.account("follower@example.com"))
    path = asker.make_calendar(f"{asker.home()}mine/")
    with contextlib.closing(sqlite3.connect(following.database, timeout=30)) as database:
        known = database.execute("SELECT count(*) FROM objects").fetchone()[0]
    # Through a worker, so that it shares its process with requests.
    assert (
        one.run(
            "add", one.account.user, f"http://localhost:{nginx.port}/later.ics", "--name", one.name, "--anyway"
        ).returncode
        == 1
    )
    with contextlib.closing(sqlite3.connect(following.database, timeout=30)) as database:
        url = f"http://localhost:{nginx.port}/large.ics"
        database.execute(
            "UPDATE feeds_in SET next_s = 0, url = ? WHERE url LIKE '%/later.ics' AND error LIKE '%404%'", (url,)
        )
        database.commit()
    slowest, count, deadline = 0.0, 0, time.monotonic() + 120
    while count < known + 8000:
        assert time.monotonic() < deadline, following.log_text()[-2000:]
        started = time.monotonic()
        assert asker.put(f"{path}x.ics", calendar(event("x", f"SUMMARY:{started}"))).status in (201, 204)
        slowest = max(slowest, time.monotonic() - started)
        with contextlib.closing(sqlite3.connect(following.database, timeout=30)) as database:
            count = database.execute("SELECT count(*) FROM objects").fetchone()[0]
        time.sleep(0.02)
    # Each transaction is short: nobody waits for the whole of it.
    assert slowest < 5, slowest
