"""The back end "dovecot" against a small server that speaks the auth-client protocol, well and badly."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dav.auth import dovecot
from dav.auth.backend import BackendDown, Credentials, Identity, Refusal
from dav.auth.dovecot import Dovecot, escape, fields_of, unescape
from dav.config import AuthDovecotConfig, ConfigError, load

T = TypeVar("T")
USER = "alice@example.org"
RIGHT = "pässword:x"


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


class FakeDovecot:
    """Accepts RIGHT for USER. `reply` may be replaced; `seen` holds the fields of every AUTH, `lines` everything."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.greeting = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\tff\nDONE\n"
        self.lines: list[str] = []
        self.seen: list[list[str]] = []
        self.probes = 0
        self.connections = 0
        self.reply: Callable[[int, str, str], str | None] = self.by_password
        self.probe_reply = "FAIL\t{}"
        self.users: dict[str, str] = {}
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def by_password(self, number: int, user: str, password: str) -> str | None:
        right = user.lower() == USER and password == RIGHT
        return f"OK\t{number}\tuser={USER}\t\toriginal_user={user}" if right else f"FAIL\t{number}\tuser={user}"

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.hang_up()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    def hang_up(self) -> None:
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(ConnectionError):
            writer.write(self.greeting)
            while line := await reader.readline():
                self.lines.append(line.decode().rstrip("\n"))
                word, *parts = self.lines[-1].split("\t")
                answer = None
                if word == "AUTH":
                    answer = self._auth(parts)
                elif word == "USER":
                    name = unescape(parts[1])
                    answer = f"{self.users[name]}" if name in self.users else "NOTFOUND\t{}"
                    answer = answer.replace("{}", parts[0])
                if answer:
                    writer.write(answer.encode("utf-8", "surrogateescape") + b"\n")
        self._writers.discard(writer)
        writer.close()

    def _auth(self, parts: list[str]) -> str | None:
        assert parts[-1].startswith("resp=")
        assert parts[1] == "PLAIN"
        _, user, password = base64.b64decode(parts[-1][5:]).decode().split("\0")
        if user.endswith("@probe.invalid"):
            self.probes += 1
            return self.probe_reply.format(parts[0]) if self.probe_reply else None
        self.seen.append(parts)
        return self.reply(int(parts[0]), user, password)


@contextlib.asynccontextmanager
async def pair(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[FakeDovecot, Dovecot]]:
    server = FakeDovecot(tmp_path / "auth")
    await server.start()
    backend = Dovecot(AuthDovecotConfig(socket=str(server.path), **settings), time.monotonic)
    try:
        yield server, backend
    finally:
        await backend.close()
        await server.stop()


def alice(password: str = RIGHT, **more: Any) -> Credentials:
    return Credentials(login="ALICE@example.org", password=password, client="192.0.2.7", **more)


def test_a_right_password_is_a_yes_under_the_name_that_dovecot_gives(tmp_path: Path) -> None:
    async def go() -> None:
        async with pair(tmp_path) as (server, backend):
            assert await backend.check(alice()) == Identity(USER)
            assert await backend.check(alice("wrong")) is Refusal.WRONG
            assert server.connections == 1

    run(go())


def test_a_request_names_the_true_client_and_asks_for_no_penalty(tmp_path: Path) -> None:
    async def go() -> None:
        async with pair(tmp_path) as (server, backend):
            await backend.check(alice())
            await backend.check(alice(secure=False))
            first, second = server.seen
            assert first[1] == "PLAIN"
            assert {"service=davenport", "secured", "nologin", "no-penalty", "rip=192.0.2.7"} <= set(first)
            # It must never be said of a password that came in the clear.
            assert "secured" not in second
            assert server.lines[0] == "VERSION\t1\t2"
            assert server.lines[1].startswith("CPID\t")

    run(go())


def test_requests_share_a_connection_and_a_slow_refusal_holds_up_nobody(tmp_path: Path) -> None:
    async def go() -> None:
        async with pair(tmp_path) as (server, backend):
            server.reply = lambda n, user, password: (
                server.by_password(n, user, password) if password == RIGHT else None
            )
            slow = [asyncio.create_task(backend.check(alice(f"wrong{n}"))) for n in range(300)]
            await asyncio.sleep(0.05)
            answers = await asyncio.wait_for(asyncio.gather(*[backend.check(alice()) for _ in range(50)]), 5)
            assert answers == [Identity(USER)] * 50
            assert not any(task.done() for task in slow)
            assert server.connections == 1
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)

    run(go())


def test_answers_in_another_order_reach_the_right_request(tmp_path: Path) -> None:
    async def go() -> None:
        async with pair(tmp_path) as (server, backend):
            held: list[str] = []

            def reversed_pairs(number: int, user: str, password: str) -> str | None:
                held.append(f"OK\t{number}\tuser={user}")
                return "\n".join(reversed(held)) if len(held) == 2 else None

            server.reply = reversed_pairs
            given = [Credentials(login=name, password="p") for name in ("a@example.org", "b@example.org")]
            found = await asyncio.gather(*[backend.check(one) for one in given])
            assert found == [Identity("a@example.org"), Identity("b@example.org")]

    run(go())


def test_a_dovecot_that_accepts_any_password_lets_nobody_in(tmp_path: Path) -> None:
    async def go() -> None:
        async with pair(tmp_path) as (server, backend):
            server.probe_reply = "OK\t{}\tuser=somebody"
            for _ in range(2):
                with pytest.raises(BackendDown, match="any password"):
                    await backend.check(alice())

    run(go())


def test_no_yes_counts_before_the_refusal_of_the_impossible_password_has_come(tmp_path: Path) -> None:
    async def go() -> None:
        async with pair(tmp_path, timeout_seconds=1) as (server, backend):
            server.probe_reply = ""
            with pytest.raises(BackendDown):
                await backend.check(alice())
            assert len(server.seen) >= 1

    run(go())


def test_the_probe_is_sent_once_a_connection(tmp_path: Path) -> None:
    async def go() -> None:
        async with pair(tmp_path) as (server, backend):
            await asyncio.gather(*[backend.check(alice()) for _ in range(20)])
            assert server.probes == 1
            server.hang_up()
            await asyncio.sleep(0.02)
            assert await backend.check(alice()) == Identity(USER)
            assert (server.probes, server.connections) == (2, 2)

    run(go())


@pytest.mark.parametrize("code", ["user_disabled", "pass_expired", "authz_fail"])
def test_a_disabled_or_expired_account_is_refused_for_good(tmp_path: Path, code: str) -> None:
    async def go() -> None:
        async with pair(tmp_path) as (server, backend):
            server.reply = lambda n, user, password: f"FAIL\t{n}\tuser={user}\tcode={code}"
            assert await backend.check(alice()) is Refusal.WRONG

    run(go())


@pytest.mark.parametrize(
    "answer",
    [
        "FAIL\t{}\tuser=x\tcode=temp_fail",
        "FAIL\t{}\tcode=auth_mech_ssl_required",
        "CONT\t{}\t",
        "OK\t{}",
        "OK\t{}\tuser=",
        "OK\t{}\tuser=a\x01nb",
        "OK\t{}\tuser=a\udcff",
        "OK\t{}\tuser=" + "a" * 300,
        "OK\t{}\tuser=" + "a" * 100_000,
    ],
)
def test_an_answer_that_says_nothing_of_the_password_is_no_refusal(tmp_path: Path, answer: str) -> None:
    async def go() -> None:
        async with pair(tmp_path) as (server, backend):
            server.reply = lambda n, user, password: answer.format(n)
            with pytest.raises(BackendDown):
                await backend.check(alice())

    run(go())


def test_unknown_lines_and_answers_to_nobody_are_passed_over(tmp_path: Path) -> None:
    async def go() -> None:
        async with pair(tmp_path) as (server, backend):
            server.reply = lambda n, user, password: (
                f"CANCELLED\t7\nOK\t99999\tuser=eve\nOK\nOK\tx\tuser=eve\nOK\t²\tuser=eve\n\nOK\t{n}\tuser={USER}"
            )
            assert await backend.check(alice()) == Identity(USER)

    run(go())


@pytest.mark.parametrize("login", ["", "a\0b", "x" * 255])
@pytest.mark.parametrize("password", ["", "p\0q", "p" * 9000])
def test_what_no_account_can_have_is_not_even_asked(tmp_path: Path, login: str, password: str) -> None:
    async def go() -> None:
        async with pair(tmp_path) as (server, backend):
            assert await backend.check(Credentials(login=login, password=password)) is Refusal.WRONG
            assert server.connections == 0

    run(go())


def test_fields_in_names_cannot_be_forged(tmp_path: Path) -> None:
    async def go() -> None:
        async with pair(tmp_path) as (server, backend):
            await backend.check(Credentials(login="a\tsecured\n", password="p\nAUTH", client="::1\tnologin\nAUTH\t5"))
            assert [line.split("\t")[0] for line in server.lines].count("AUTH") == 2  # the probe, and this one
            assert len(server.seen) == 1
            assert unescape(server.seen[0][6]) == "rip=::1\tnologin\nAUTH\t5"

    run(go())


def test_a_restart_is_not_noticed_and_an_absence_is_told_at_once_and_names_the_socket(tmp_path: Path) -> None:
    async def go() -> None:
        async with pair(tmp_path) as (server, backend):
            assert await backend.check(alice()) == Identity(USER)
            await server.stop()
            await asyncio.sleep(0.02)
            with pytest.raises(BackendDown, match=str(server.path)):
                await backend.check(alice())
            # While the failure is fresh nothing is tried again.
            started = time.monotonic()
            for _ in range(50):
                with pytest.raises(BackendDown):
                    await backend.check(alice())
            assert time.monotonic() - started < 1
            await server.start()
            await asyncio.sleep(0.5)
            assert await backend.check(alice()) == Identity(USER)

    run(go())


def test_a_connection_that_ends_under_a_request_costs_one_more_try(tmp_path: Path) -> None:
    async def go() -> None:
        async with pair(tmp_path) as (server, backend):
            calls = 0

            def drop_first(number: int, user: str, password: str) -> str | None:
                nonlocal calls
                calls += 1
                if calls == 1:
                    server.hang_up()
                    return None
                return server.by_password(number, user, password)

            server.reply = drop_first
            assert await backend.check(alice()) == Identity(USER)
            assert calls == 2

    run(go())


def test_a_process_left_over_from_before_a_restart_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dovecot, "_QUIET_S", 0.05)
    monkeypatch.setattr(dovecot, "_LOOK_AGAIN_S", 0.05)

    async def go() -> None:
        async with pair(tmp_path) as (old, backend):
            assert await backend.check(alice()) == Identity(USER)
            # The old process keeps its connections and answers nothing; the new one owns the socket.
            old.reply = lambda n, user, password: None
            waiting = asyncio.create_task(backend.check(alice()))
            await asyncio.sleep(0.02)
            old.path.unlink()
            new = FakeDovecot(old.path)
            new.greeting = new.greeting.replace(b"SPID\t1", b"SPID\t2")
            await new.start()
            assert await asyncio.wait_for(waiting, 5) == Identity(USER)
            assert await backend.check(alice()) == Identity(USER)
            assert len(new.seen) == 2
            assert new.probes == 1
            # A stopped one is noticed as soon, though the connection to it stays open.
            new.reply = lambda n, user, password: None
            waiting = asyncio.create_task(backend.check(alice()))
            await asyncio.sleep(0.02)
            new.path.unlink()
            started = time.monotonic()
            with pytest.raises(BackendDown, match=r"No such file"):
                await waiting
            assert time.monotonic() - started < 5
            await new.stop()

    run(go())


def test_looking_again_keeps_the_connection_and_the_requests_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dovecot, "_QUIET_S", 0.02)
    monkeypatch.setattr(dovecot, "_LOOK_AGAIN_S", 0.02)

    async def go() -> None:
        async with pair(tmp_path) as (server, backend):
            late: list[str] = []

            def when_asked_again(number: int, user: str, password: str) -> str | None:
                late.append(f"OK\t{number}\tuser={user}")
                return "\n".join(late) if password == RIGHT else None

            server.reply = when_asked_again
            slow = asyncio.create_task(backend.check(alice("slow")))
            await asyncio.sleep(0.3)
            assert server.connections > 2
            assert await backend.check(alice()) == Identity("ALICE@example.org")
            assert await slow == Identity("ALICE@example.org")
            assert (len(server.seen), server.probes) == (2, 1)

    run(go())


def test_a_server_that_never_answers_costs_the_limit_and_no_more(tmp_path: Path) -> None:
    async def go() -> None:
        async with pair(tmp_path, timeout_seconds=1) as (server, backend):
            server.reply = lambda n, user, password: None
            started = time.monotonic()
            with pytest.raises(BackendDown, match="no answer"):
                await backend.check(alice())
            assert time.monotonic() - started < 3
            await asyncio.sleep(0.02)
            # And Dovecot is told that nobody waits any more.
            assert any(line.startswith("CANCEL\t") for line in server.lines)

    run(go())


@pytest.mark.parametrize(
    "greeting",
    [
        b"VERSION\t2\t0\nDONE\n",
        b"* OK IMAP4 ready\n" * 200,
        b"x" * 200_000 + b"\n",
        b"\xff\xfe\n\xff" * 100 + b"\n" * 100,
    ],
)
def test_a_socket_that_speaks_something_else_is_a_failure_not_a_refusal(tmp_path: Path, greeting: bytes) -> None:
    async def go() -> None:
        async with pair(tmp_path) as (server, backend):
            server.greeting = greeting
            with pytest.raises(BackendDown) as caught:
                await backend.check(alice())
            assert str(caught.value).isprintable()
            assert RIGHT not in str(caught.value)

    run(go())


def test_with_a_userdb_an_unknown_user_is_left_to_the_next_back_end(tmp_path: Path) -> None:
    async def go() -> None:
        users = FakeDovecot(tmp_path / "userdb")
        users.greeting = b"VERSION\t1\t1\nSPID\t1\n"
        users.users = {
            USER: f"USER\t{{}}\t{USER}\tdavenport_name=Alice A\tdavenport_addresses=a@example.org, al@example.org",
            "bob@example.org": "USER\t{}\tbob@example.org",
            "eve@example.org": "FAIL\t{}\treason=table\x01nis gone",
        }
        await users.start()
        async with pair(tmp_path, userdb_socket=str(users.path)) as (_, backend):
            found = await backend.check(alice())
            addresses = (USER, "a@example.org", "al@example.org")
            assert found == Identity(USER, display_name="Alice A", addresses=addresses)
            assert await backend.lookup(USER) == found
            assert await backend.lookup("bob@example.org") == Identity("bob@example.org")
            assert await backend.lookup("nobody@example.org") is Refusal.NOT_MINE
            for name, answer in (("bob@example.org", Refusal.WRONG), ("nobody@example.org", Refusal.NOT_MINE)):
                assert await backend.check(Credentials(login=name, password="p")) is answer
            with pytest.raises(BackendDown, match=r"table\?is gone"):
                await backend.check(Credentials(login="eve@example.org", password="p"))
            # The password is what counts: with the userdb out of order a right one still lets in.
            await users.stop()
            await asyncio.sleep(0.02)
            assert await backend.check(alice()) == Identity(USER)
        await users.stop()

    run(go())


def test_without_a_userdb_nobody_can_be_looked_up(tmp_path: Path) -> None:
    async def go() -> None:
        async with pair(tmp_path) as (server, backend):
            assert await backend.lookup(USER) is None
            assert await backend.still(Identity(USER))
            assert server.connections == 0

    run(go())


def test_the_same_protocol_is_spoken_over_tcp(tmp_path: Path) -> None:
    async def go() -> None:
        server = FakeDovecot(tmp_path / "unused")
        tcp = await asyncio.start_server(server._serve, "127.0.0.1", 0)
        port = tcp.sockets[0].getsockname()[1]
        backend = Dovecot(AuthDovecotConfig(socket=f"127.0.0.1:{port}"), time.monotonic)
        assert await backend.check(alice()) == Identity(USER)
        await backend.close()
        tcp.close()
        await asyncio.gather(*server._tasks)

    run(go())


def test_no_more_than_a_bounded_number_of_requests_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dovecot, "_WAITING_MAX", 5)

    async def go() -> None:
        async with pair(tmp_path) as (server, backend):
            server.reply = lambda n, user, password: None
            server.probe_reply = ""
            tasks = [asyncio.create_task(backend.check(alice())) for _ in range(6)]
            done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            assert len(done) == 1
            for task in done:
                assert isinstance(task.exception(), BackendDown)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    run(go())


@given(st.text())
def test_an_escaped_field_holds_no_separator_and_comes_back_as_it_was(text: str) -> None:
    escaped = escape(text)
    assert not set(escaped) & set("\t\n\r\0")
    assert unescape(escaped) == text


@given(st.lists(st.text()))
def test_any_fields_can_be_read(parts: list[str]) -> None:
    found = fields_of([unescape(part) for part in parts])
    assert "" not in found
    assert sum(len(values) for values in found.values()) <= len(parts)


@pytest.mark.parametrize("value", ["davenport-auth", "host:0", "host:70000", "a b:12", "host:x"])
def test_a_socket_setting_that_names_nothing_is_refused(tmp_path: Path, value: str) -> None:
    file = tmp_path / "config.ini"
    file.write_text(f"[auth_dovecot]\nsocket = {value}\n")
    with pytest.raises(ConfigError, match=r"auth_dovecot\.socket"):
        load(str(file), {})
