"""The real server: processes, sockets and signals, as `make serve` and a service manager start it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dav import serve
from storage.engine import Store
from storage.records import Account

from .conftest import PASSWORD

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60


class Server:
    """A server process in a folder of its own, started as a person would."""

    def __init__(
        self, folder: Path, *, options: tuple[str, ...] = (), flags: tuple[str, ...] = (), **environ: str
    ) -> None:
        self.folder = folder
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DAVENPORT_")}
        clean |= {"DAVENPORT_SERVER_PORT": "0", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | environ
        self.log = (folder / "log.txt").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, *flags, "-m", "dav", "serve", *options],
            cwd=folder,
            env=clean,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self.printed = ""
        assert self.process.stdout is not None
        # The line with the address is the sign that the socket listens; what follows comes with it.
        for line in self.process.stdout:
            self.printed += line
            if "Open " in line:
                break
        found = re.search(r"Open +http://localhost:(\d+)/", self.printed)
        assert found is not None, self.printed + self.errors()
        self.port = int(found[1])

    def errors(self) -> str:
        return (self.folder / "log.txt").read_text("utf-8")

    def rest(self) -> str:
        """Waits for the end; returns what was printed until then."""
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        self.printed += out
        return self.printed

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        self.rest()
        return self.process.returncode

    def request(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, body: str = ""
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request(method, path, body.encode() or None, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def starter(**options: object) -> Server:
        server = Server(tmp_path, **options)  # type: ignore[arg-type]
        servers.append(server)
        return server

    yield starter
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
        if server.process.stdout is not None:
            server.process.stdout.close()
        server.process.wait(PATIENCE_S)
        server.log.close()


def basic(login: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()}


def children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in listed.stdout.split()]


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(fact: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if fact():
            return True
        time.sleep(0.05)
    return False


EVENT = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//y//EN\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:20260101T100000Z\r\nRRULE:FREQ=DAILY;COUNT=3\r\nSUMMARY:x\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"  # noqa: E501
CARD = "BEGIN:VCARD\r\nVERSION:3.0\r\nUID:1\r\nFN:A B\r\nN:B;A;;;\r\nEND:VCARD\r\n"
QUERY = '<C:calendar-query xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:D="DAV:"><D:prop><C:calendar-data><C:expand start="20260101T000000Z" end="20260201T000000Z"/></C:calendar-data></D:prop><C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT"><C:time-range start="20260101T000000Z" end="20260201T000000Z"/></C:comp-filter></C:comp-filter></C:filter></C:calendar-query>'  # noqa: E501


def test_a_fresh_folder_becomes_a_server_with_an_account_and_nothing_it_does_not_need(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    server = start(options=("--first-start",), flags=("-X", "importtime"), USER="alice", LOGNAME="alice")
    assert (tmp_path / "config.ini").read_text("utf-8") == (ROOT / "config.example.ini").read_text("utf-8")

    # Nobody is let in without the password; the page is for everybody.
    status, headers, page = server.request("GET", "/")
    assert (status, f"http://127.0.0.1:{server.port}/".encode() in page) == (200, True)
    assert "server" not in headers
    assert "date" in headers
    status, headers, _ = server.request("PROPFIND", "/dav/")
    assert status == 401
    assert headers["WWW-Authenticate"].startswith("Basic ")

    # The work of a day, so that whatever is imported late is imported now.
    while "Password" not in server.printed:
        assert server.process.stdout is not None
        server.printed += server.process.stdout.readline()
    login = re.search(r"User +(\S+)\n +Password +(\S+)\n", server.printed)
    assert login is not None, server.printed
    assert login[1] == "alice"
    auth = basic(login[1], login[2])
    assert server.request("PROPFIND", "/dav/", headers=auth)[0] == 207
    home = f"/dav/calendars/{login[1]}"
    calendar = {"Content-Type": "text/calendar"}
    assert server.request("PUT", f"{home}/calendar/1.ics", headers=auth | calendar, body=EVENT)[0] == 201
    card = {"Content-Type": "text/vcard"}
    book = f"/dav/addressbooks/{login[1]}/contacts"
    assert server.request("PUT", f"{book}/1.vcf", headers=auth | card, body=CARD)[0] == 201
    status, _, answer = server.request("REPORT", f"{home}/calendar/", headers=auth | {"Depth": "1"}, body=QUERY)
    assert (status, answer.count(b"BEGIN:VEVENT")) == (207, 3)
    assert server.request("DELETE", f"{home}/calendar/1.ics", headers=auth)[0] == 204

    assert server.stop() == 0
    imported = set(re.findall(r"^import time:[^|]+\|[^|]+\| +([\w.]+)$", server.errors(), re.MULTILINE))
    assert {"dav.app", "uvicorn", "storage.engine"} <= imported
    # One door: what the server makes itself may use vobject; serving devices does not, and radicale is for imports.
    assert {"vobject", "radicale"} & {name.partition(".")[0] for name in imported} == set()

    # The second start prints the address only.
    again = start(options=("--first-start",))
    assert again.request("PROPFIND", "/dav/", headers=auth)[0] == 207
    assert again.stop(signal.SIGINT) == 0
    assert "Password" not in again.printed


def test_what_only_a_migration_needs_is_not_in_a_server_s_memory() -> None:
    script = (
        "import sys; from dav import serve; from dav.config import Config; serve.preload(Config());"
        "print(sorted({n.partition('.')[0] for n in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(re.findall(r"'(\w+)'", done.stdout))
    assert "uvicorn" in loaded
    assert {"alembic", "mako", "vobject", "radicale", "pytest", "icalendar", "psycopg"} & loaded == set()


def test_workers_share_the_port_are_replaced_and_end_together(start: Callable[..., Server]) -> None:
    server = start(DAVENPORT_SERVER_WORKERS="2")
    supervisor = server.process.pid
    assert wait_until(lambda: len(children(supervisor)) == 2)
    before = set(children(supervisor))
    assert server.request("GET", "/")[0] == 200
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    assert wait_until(lambda: len(set(children(supervisor)) - {victim}) == 2)
    assert server.request("GET", "/")[0] == 200
    now = children(supervisor)
    assert server.stop() == 0
    assert not any(is_there(pid) for pid in now)
    assert f"worker {victim} ended with status -9" in server.errors()


def test_no_worker_gives_an_answer_that_a_commit_of_another_has_made_old(
    start: Callable[..., Server], store: Store, alice: Account
) -> None:
    server = start(DAVENPORT_SERVER_WORKERS="2")  # over the database of the fixture, which is in the same folder
    path = f"/dav/calendars/{alice.name}/calendar/"
    body = b'<propfind xmlns="DAV:"><prop><sync-token/></prop></propfind>'
    given = basic(alice.name, PASSWORD)
    with contextlib.ExitStack() as stack:
        # Connections are spread over the workers, and each stays with its own.
        connections = [
            stack.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, PATIENCE_S)))
            for _ in range(6)
        ]

        def ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes, **more: str) -> bytes:
            connection.request(method, path, body, {**given, **more})
            answer = connection.getresponse()
            data = answer.read()
            assert answer.status in (201, 204, 207), data
            return data

        seen: set[bytes] = set()
        for number in range(25):
            writer = connections[number % len(connections)]
            event = EVENT.replace("UID:1", f"UID:{number}").encode()
            ask(writer, "PUT", f"{path}{number}.ics", event, **{"Content-Type": "text/calendar"})
            answers = {ask(one, "PROPFIND", path, body, Depth="0") for one in connections for _ in range(2)}
            assert len(answers) == 1
            assert not answers & seen
            seen |= answers
    assert server.stop() == 0


def test_workers_end_when_the_supervisor_is_killed(start: Callable[..., Server]) -> None:
    server = start(DAVENPORT_SERVER_WORKERS="2")
    assert wait_until(lambda: len(children(server.process.pid)) == 2)
    workers = children(server.process.pid)
    assert server.request("GET", "/")[0] == 200
    server.process.kill()
    server.process.wait(PATIENCE_S)
    assert wait_until(lambda: not any(is_there(pid) for pid in workers))


def test_a_request_under_way_is_answered_before_the_end(
    start: Callable[..., Server], store: Store, alice: Account
) -> None:
    server = start()  # over the database of the fixture, which is in the same folder
    body = b'<propfind xmlns="DAV:"><prop><resourcetype/></prop></propfind>'
    head = [
        "PROPFIND /dav/ HTTP/1.1",
        "Host: x",
        "Depth: 0",
        f"Authorization: {basic(alice.name, PASSWORD)['Authorization']}",
        f"Content-Length: {len(body)}",
    ]
    address = ("127.0.0.1", server.port)
    with socket.create_connection(address, PATIENCE_S) as idle, socket.create_connection(address, PATIENCE_S) as busy:
        busy.sendall("\r\n".join([*head, "", ""]).encode() + body[:10])
        # One answered request says that the head above has been read too: the loop takes them in turn.
        assert server.request("GET", "/")[0] == 200
        server.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""  # closed at once: it was doing nothing
        busy.sendall(body[10:])
        assert busy.recv(65536).startswith(b"HTTP/1.1 207 ")
    server.rest()
    assert server.process.returncode == 0


def test_a_sign_in_that_waits_does_not_hold_up_the_end(start: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(1) as threads:
        server = start(
            DAVENPORT_AUTH_BACKENDS="local imap",
            DAVENPORT_AUTH_IMAP_HOST="127.0.0.1",
            DAVENPORT_AUTH_IMAP_PORT=str(silent.getsockname()[1]),
            DAVENPORT_AUTH_IMAP_TLS="none",
            DAVENPORT_AUTH_IMAP_TIMEOUT_SECONDS="30",
        )
        waiting = threads.submit(server.request, "PROPFIND", "/dav/", headers=basic("carol", "secret"))
        silent.settimeout(PATIENCE_S)
        asked, _ = silent.accept()
        with asked:
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < serve.STOP_S / 2
        status, headers, _ = waiting.result(PATIENCE_S)
        assert (status, headers["retry-after"]) == (503, "10")


def test_a_head_that_never_ends_is_refused(start: Callable[..., Server]) -> None:
    server = start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ")
        client.settimeout(0.05)
        answer = None
        # Far more than the buffers between the two processes hold; a server without a bound would read it all.
        for _ in range(1024):
            try:
                client.sendall(b"a" * 65536)
                with contextlib.suppress(TimeoutError):
                    answer = client.recv(65536)
                    break
            except TimeoutError:
                continue  # the buffers are full: the server is slow, not closed
            except ConnectionError:
                answer = b""
                break
        assert answer is not None
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    big = {"X-Big": "a" * 20_000}
    assert server.request("GET", "/", headers=big)[0] == 200
    assert server.stop() == 0


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve.bind("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DAVENPORT_SERVER_PORT": port}
        command = [sys.executable, "-m", "dav", "serve"]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"Cannot listen on 127.0.0.1 port {port}: Address already in use.\n"
    assert not (tmp_path / "davenport.db").exists()


def test_a_broken_certificate_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.ini").write_text("[server]\nport = 0\ncertificate = none.pem\nkey = none.pem\n")
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dav", "serve"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("The certificate cannot be used")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::"])
def test_every_way_to_name_a_host_can_be_listened_on(host: str) -> None:
    if host == "::" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        listener = serve.bind(host, 0)
    except OSError as error:
        if host != "::":
            raise
        pytest.skip(f"no IPv6 here: {error}")
    with listener, socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=5):
        pass


def test_a_child_that_fails_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    def broken() -> int:
        raise RuntimeError("no")

    assert serve.in_child(lambda: 0) == 0
    assert serve.in_child(lambda: 7) == 7
    assert serve.in_child(broken) == 1
