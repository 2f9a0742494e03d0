"""The back end "imap" against a small server that speaks IMAP, well and badly."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import ssl
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dav.auth.backend import BackendDown, Credentials, Identity, Refusal
from dav.auth.imap import Imap
from dav.config import AuthImapConfig, ConfigError
from tests.certificates import Certificates, make_certificates

T = TypeVar("T")
USER = "Zoë@example.org"
RIGHT = 'pässword "\\ {3}'


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


class FakeImap:
    """Accepts RIGHT for USER by AUTHENTICATE PLAIN and LOGIN with literals."""

    def __init__(self) -> None:
        self.greeting = b"* OK ready\r\n"
        self.capabilities = "IMAP4rev1 AUTH=PLAIN SASL-IR ID"
        self.refusal = "NO [AUTHENTICATIONFAILED] Authentication failed."
        self.acceptance = "OK [CAPABILITY IMAP4rev1] Logged in"
        self.delay_s = 0.0
        self.behind_starttls = b""
        self.context: ssl.SSLContext | None = None
        self.commands: list[str] = []
        self.inside = 0
        self.most_inside = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                await self._talk(reader, writer)
        finally:
            self.inside -= 1
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.greeting)
        while line := await self._command(reader, writer):
            tag, _, rest = line.partition(b" ")
            word = rest.split(b" ")[0].upper().decode()
            self.commands.append(rest.decode())
            if word == "CAPABILITY":
                answer = "OK done"
                writer.write(f"* CAPABILITY {self.capabilities}\r\n".encode())
            elif word == "STARTTLS" and self.context:
                writer.write(tag + b" OK go\r\n" + self.behind_starttls)
                await writer.start_tls(self.context)
                continue
            elif word == "AUTHENTICATE":
                answer = await self._plain(rest, reader, writer)
            elif word == "LOGIN":
                answer = await self._login(rest)
            elif word == "LOGOUT":
                writer.write(b"* BYE\r\n" + tag + b" OK\r\n")
                return
            else:
                answer = "OK done" if word == "ID" else "BAD what?"
            writer.write(tag + b" " + answer.encode() + b"\r\n")
            await writer.drain()

    async def _command(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """One command with its literals in place: {n}CRLF and the bytes."""
        line = last = await reader.readline()
        while match := re.search(rb"\{(\d+)\}\r\n$", last):
            writer.write(b"+ go\r\n")
            literal = await reader.readexactly(int(match[1]))
            last = await reader.readline()
            line += literal + last
        return line.removesuffix(b"\r\n")

    async def _plain(self, rest: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        parts = rest.split(b" ")
        if len(parts) == 2:
            writer.write(b"+ \r\n")
            parts.append((await reader.readline()).strip())
        _, user, password = base64.b64decode(parts[2]).decode().split("\0")
        return await self._verdict(user, password)

    async def _login(self, rest: bytes) -> str:
        found, left = [], rest.partition(b" ")[2]
        while left:
            if match := re.match(rb"\{(\d+)\}\r\n", left):
                end = match.end() + int(match[1])
                found.append(left[match.end() : end])
            else:
                match = re.match(rb'"([^"\\]*)"', left)
                assert match, left
                end = match.end()
                found.append(match[1])
            left = left[end:].removeprefix(b" ")
        return await self._verdict(found[0].decode(), found[1].decode())

    async def _verdict(self, user: str, password: str) -> str:
        await asyncio.sleep(self.delay_s)
        return self.acceptance if (user, password) == (USER, RIGHT) else self.refusal


@contextlib.asynccontextmanager
async def pair(*, direct_tls: ssl.SSLContext | None = None, **settings: Any) -> AsyncIterator[tuple[FakeImap, Imap]]:
    fake = FakeImap()
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(fake.serve(reader, writer))
        running.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=direct_tls)
    fake.port = server.sockets[0].getsockname()[1]
    settings = {"tls": "none", "host": "127.0.0.1", "port": fake.port} | settings
    try:
        yield fake, Imap(AuthImapConfig(**settings))
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.sleep(0)


def server_context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.chain, certificates.key)
    return context


def zoe(password: str = RIGHT, client: str = "192.0.2.7") -> Credentials:
    return Credentials(login=USER, password=password, client=client)


@pytest.mark.parametrize(
    "capabilities", ["IMAP4rev1 AUTH=PLAIN SASL-IR", "IMAP4rev1 AUTH=PLAIN", "IMAP4rev1", "IMAP4rev1 AUTH=CRAM-MD5"]
)
def test_a_right_password_is_a_yes_however_the_server_wants_to_hear_it(capabilities: str) -> None:
    async def go() -> None:
        async with pair() as (fake, backend):
            fake.capabilities = capabilities
            assert await backend.check(zoe()) == Identity("zoë@example.org")
            assert await backend.check(zoe("wrong")) is Refusal.WRONG
            assert await backend.check(zoe("")) is Refusal.WRONG
            assert await backend.check(zoe("a\0b")) is Refusal.WRONG

    run(go())


def test_where_letter_case_counts_the_name_stays_as_it_was_sent() -> None:
    async def go() -> None:
        async with pair(lower_case=False) as (_, backend):
            assert await backend.check(zoe()) == Identity(USER)

    run(go())


@pytest.mark.parametrize("line", ["p\r\nD9 LOGOUT", "p\nx", "\r"])
def test_no_command_can_be_smuggled_in_a_password(line: str) -> None:
    async def go() -> None:
        async with pair() as (fake, backend):
            fake.capabilities = "IMAP4rev1"
            assert await backend.check(zoe(line)) is Refusal.WRONG
            assert await backend.check(Credentials(login=line, password=RIGHT)) is Refusal.WRONG
            assert fake.commands == []

    run(go())


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("NO [AUTHENTICATIONFAILED] no", True),
        ("NO Login failed.", True),
        ("NO [AUTHORIZATIONFAILED] no", True),
        ("NO [EXPIRED] change it", True),
        ("NO [UNAVAILABLE] Temporary authentication failure.", False),
        ("NO [unavailable] later", False),
        ("NO [LIMIT] too many", False),
        ("NO [INUSE] locked", False),
        ("NO [SERVERBUG] oops", False),
        ("NO [PRIVACYREQUIRED] use TLS", False),
        ("BAD what?", False),
        ("OKAY sure", False),
    ],
)
def test_only_an_answer_about_the_password_is_a_refusal(text: str, wrong: bool) -> None:
    async def go() -> None:
        async with pair() as (fake, backend):
            fake.refusal = text
            if wrong:
                assert await backend.check(zoe("x")) is Refusal.WRONG
            else:
                with pytest.raises(BackendDown, match=str(fake.port)):
                    await backend.check(zoe("x"))

    run(go())


@pytest.mark.parametrize(
    "greeting",
    [
        b"* BYE too busy\r\n",
        b"* PREAUTH welcome root\r\n",  # signed in without a password: proves nothing
        b"220 smtp.example.org ESMTP\r\n",
        b"x" * 100_000,
        b"* OK hi\r\n* BYE gone\r\n",
        b"* OK hi\r\n" + b"* OK and more\r\n" * 5000,
        b"* OK \x1b[2J\x00\xff\r\n* BYE \x1b]0;x\x07\r\n",
    ],
)
def test_a_server_that_does_not_wait_for_a_sign_in_is_a_failure(greeting: bytes) -> None:
    async def go() -> None:
        async with pair() as (fake, backend):
            fake.greeting = greeting
            with pytest.raises(BackendDown) as caught:
                await backend.check(zoe())
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 400
            assert RIGHT not in str(caught.value)

    run(go())


def test_a_closed_port_and_a_silent_server_are_failures_in_time() -> None:
    async def go() -> None:
        async with pair(timeout_seconds=1) as (fake, backend):
            fake.delay_s = 60
            started = time.monotonic()
            with pytest.raises(BackendDown, match="no answer in 1 s"):
                await backend.check(zoe())
            assert time.monotonic() - started < 3
            port = fake.port
        gone = Imap(AuthImapConfig(host="127.0.0.1", port=port, tls="none"))
        with pytest.raises(BackendDown, match=str(port)):
            await gone.check(zoe())

    run(go())


def test_a_server_that_takes_no_password_on_the_connection_is_told_apart() -> None:
    async def go() -> None:
        async with pair() as (fake, backend):
            fake.capabilities = "IMAP4rev1 STARTTLS LOGINDISABLED"
            with pytest.raises(BackendDown, match="LOGINDISABLED"):
                await backend.check(zoe())

    run(go())


@pytest.mark.parametrize("tls", ["tls", "starttls"])
def test_the_certificate_and_its_name_are_verified(tls: str, certificates: Certificates, tmp_path: Path) -> None:
    async def go() -> None:
        context = server_context(certificates)
        direct = context if tls == "tls" else None
        right = {"tls": tls, "ca_file": str(certificates.ca), "certificate_name": certificates.name}
        other = make_certificates(tmp_path)
        for settings, works in (
            (right, True),
            (right | {"ca_file": ""}, False),
            (right | {"ca_file": str(other.ca)}, False),
            (right | {"certificate_name": "other.example.org"}, False),
        ):
            async with pair(direct_tls=direct, **settings) as (fake, backend):
                fake.context = context
                fake.capabilities += " STARTTLS"
                if works:
                    assert await backend.check(zoe()) == Identity("zoë@example.org")
                    continue
                with pytest.raises(BackendDown, match="certificate is not accepted"):
                    await backend.check(zoe())
                assert not any(word in command for command in fake.commands for word in ("AUTH", "LOGIN"))

    run(go())


def test_what_is_said_before_starttls_does_not_count_after_it(certificates: Certificates) -> None:
    async def go() -> None:
        settings = {"tls": "starttls", "ca_file": str(certificates.ca), "certificate_name": certificates.name}
        async with pair(**settings) as (fake, backend):
            fake.context = server_context(certificates)
            fake.capabilities += " STARTTLS"
            # Somebody on the way puts answers behind the server's, to be read as if they came through TLS.
            fake.behind_starttls = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\nD3 OK in\r\nD4 OK in\r\n"
            with contextlib.suppress(BackendDown):
                assert await backend.check(zoe("wrong")) is Refusal.WRONG

    run(go())


def test_without_starttls_on_offer_no_password_is_sent() -> None:
    async def go() -> None:
        async with pair(tls="starttls") as (fake, backend):
            with pytest.raises(BackendDown, match="STARTTLS"):
                await backend.check(zoe())
            assert fake.commands == ["CAPABILITY"]

    run(go())


def test_the_clients_address_is_passed_on_only_when_asked_and_only_as_an_address() -> None:
    async def go() -> None:
        async with pair() as (fake, backend):
            await backend.check(zoe())
            assert not any(command.startswith("ID") for command in fake.commands)
        async with pair(forward_client=True) as (fake, backend):
            await backend.check(zoe())
            assert 'ID ("x-originating-ip" "192.0.2.7")' in fake.commands
            fake.commands.clear()
            assert await backend.check(zoe(client='1"\r\nx')) == Identity("zoë@example.org")
            assert not any(command.startswith("ID") for command in fake.commands)

    run(go())


def test_connections_are_bounded_and_one_network_gets_half_of_them() -> None:
    async def go() -> None:
        async with pair(connections=4) as (fake, backend):
            fake.delay_s = 0.3
            guesses = [asyncio.create_task(backend.check(zoe(f"wrong{n}"))) for n in range(12)]
            await asyncio.sleep(0.1)
            assert fake.most_inside == 2
            started = time.monotonic()
            assert await backend.check(zoe(client="198.51.100.9")) == Identity("zoë@example.org")
            assert time.monotonic() - started < 0.8  # its own delay, and not the six rounds of the others
            assert set(await asyncio.gather(*guesses)) == {Refusal.WRONG}
            assert fake.most_inside <= 4

    run(go())


def test_settings_that_would_send_passwords_in_the_clear_are_refused(tmp_path: Path) -> None:
    for settings, word in (
        (AuthImapConfig(), "host must be set"),
        (AuthImapConfig(host="mail.example.org", tls="none"), "in the clear"),
        (AuthImapConfig(host="mail.example.org", ca_file=str(tmp_path / "missing.pem")), "ca_file"),
    ):
        with pytest.raises(ConfigError, match=word):
            Imap(settings)


def test_nobody_can_be_looked_up_over_imap() -> None:
    async def go() -> None:
        async with pair() as (fake, backend):
            assert await backend.lookup(USER) is None
            assert await backend.still(Identity(USER))
            await backend.close()
            assert fake.most_inside == 0

    run(go())
