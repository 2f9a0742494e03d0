"""The back end "smtp" against a small server that speaks submission, well and badly."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import pytest

from dav.auth import import_backends
from dav.auth.backend import BackendDown, Credentials, Identity, Refusal
from dav.auth.smtp import Smtp
from dav.config import AuthSmtpConfig, ConfigError
from tests.certificates import Certificates, make_certificates

T = TypeVar("T")
USER = "Zoë@example.org"
RIGHT = "pässword:x"


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


class FakeSubmission:
    """Accepts RIGHT for USER by AUTH PLAIN and AUTH LOGIN."""

    def __init__(self) -> None:
        self.greeting = b"220 mail.example.org ESMTP\r\n"
        self.extensions = ["PIPELINING", "AUTH PLAIN LOGIN"]
        self.refusal = "535 5.7.8 Error: authentication failed"
        self.delay_s = 0.0
        self.context: ssl.SSLContext | None = None
        self.commands: list[str] = []
        self.inside = 0
        self.most_inside = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await self._talk(reader, writer)
        finally:
            self.inside -= 1
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.greeting)
        while line := (await reader.readline()).decode().strip():
            self.commands.append(line)
            word, *parts = line.split(" ")
            if word == "EHLO":
                lines = ["mail.example.org", *self.extensions]
                answer = "".join(f"250-{text}\r\n" for text in lines[:-1]) + f"250 {lines[-1]}"
            elif word == "STARTTLS" and self.context:
                writer.write(b"220 go\r\n")
                await writer.start_tls(self.context)
                continue
            elif word == "AUTH" and parts[0] == "PLAIN":
                _, user, password = base64.b64decode(parts[1]).decode().split("\0")
                answer = await self._verdict(user, password)
            elif word == "AUTH":
                user = base64.b64decode(parts[1]).decode()
                writer.write(b"334 UGFzc3dvcmQ6\r\n")
                answer = await self._verdict(user, base64.b64decode(await reader.readline()).decode())
            elif word == "QUIT":
                writer.write(b"221 bye\r\n")
                return
            else:
                answer = "502 what?"
            writer.write(answer.encode() + b"\r\n")
            await writer.drain()

    async def _verdict(self, user: str, password: str) -> str:
        await asyncio.sleep(self.delay_s)
        return "235 2.7.0 ok" if (user, password) == (USER, RIGHT) else self.refusal


@contextlib.asynccontextmanager
async def pair(
    *, direct_tls: ssl.SSLContext | None = None, **settings: Any
) -> AsyncIterator[tuple[FakeSubmission, Smtp]]:
    fake = FakeSubmission()
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
        yield fake, Smtp(AuthSmtpConfig(**settings))
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


@pytest.mark.parametrize("extension", ["AUTH PLAIN LOGIN", "AUTH LOGIN"])
def test_a_right_password_is_a_yes_and_nothing_is_sent_or_left_open(extension: str) -> None:
    async def go() -> None:
        async with pair() as (fake, backend):
            fake.extensions = [extension]
            assert await backend.check(zoe()) == Identity("zoë@example.org")
            assert fake.commands[-1] == "QUIT"
            assert await backend.check(zoe("wrong")) is Refusal.WRONG
            for password in ("", "a\0b"):
                assert await backend.check(zoe(password)) is Refusal.WRONG
            await asyncio.sleep(0.02)
            assert fake.inside == 0
            assert not any(command.startswith(("MAIL", "RCPT", "DATA")) for command in fake.commands)

    run(go())


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ("535 5.7.8 bad credentials", True),
        ("432 4.7.12 a new password is needed", True),
        ("525 5.7.13 disabled", True),
        ("454 4.7.0 Temporary authentication failure", False),
        ("421 4.3.2 going down", False),
        ("451 4.3.0 later", False),
        ("530 5.7.0 must issue STARTTLS", False),
        ("534 5.7.9 mechanism is too weak", False),
        ("538 5.7.11 encryption required", False),
        ("500 5.5.6 what?", False),
        ("334 ", False),
    ],
)
def test_only_an_answer_about_the_password_is_a_refusal(answer: str, wrong: bool) -> None:
    async def go() -> None:
        async with pair() as (fake, backend):
            fake.refusal = answer
            if wrong:
                assert await backend.check(zoe("x")) is Refusal.WRONG
            else:
                with pytest.raises(BackendDown, match=str(fake.port)):
                    await backend.check(zoe("x"))

    run(go())


@pytest.mark.parametrize(
    "greeting",
    [
        b"554 no\r\n",
        b"421 busy\r\n",
        b"* OK IMAP\r\n",
        b"x" * 100_000 + b"\r\n",
        b"220-a\r\n" * 50_000,
        b"\xff\x1b[2J\r\n",
    ],
)
def test_a_server_that_is_not_ready_is_a_failure_and_cannot_write_into_the_log(greeting: bytes) -> None:
    async def go() -> None:
        async with pair(timeout_seconds=2) as (fake, backend):
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
        gone = Smtp(AuthSmtpConfig(host="127.0.0.1", port=port, tls="none"))
        with pytest.raises(BackendDown, match=str(port)):
            await gone.check(zoe())

    run(go())


def test_a_server_without_auth_is_told_apart_from_a_wrong_password() -> None:
    async def go() -> None:
        async with pair() as (fake, backend):
            fake.extensions = ["PIPELINING"]
            with pytest.raises(BackendDown, match="AUTH"):
                await backend.check(zoe())

    run(go())


@pytest.mark.parametrize("tls", ["tls", "starttls"])
def test_the_certificate_and_its_name_are_verified(tls: str, certificates: Certificates) -> None:
    async def go() -> None:
        context = server_context(certificates)
        direct = context if tls == "tls" else None
        right = {"tls": tls, "ca_file": str(certificates.ca), "certificate_name": certificates.name}
        for settings, works in (
            (right, True),
            (right | {"ca_file": ""}, False),
            (right | {"certificate_name": "other.example.org"}, False),
        ):
            async with pair(direct_tls=direct, **settings) as (fake, backend):
                fake.context = context
                fake.extensions = ["STARTTLS", "AUTH PLAIN"]
                if works:
                    assert await backend.check(zoe()) == Identity("zoë@example.org")
                    continue
                with pytest.raises(BackendDown, match="certificate is not accepted"):
                    await backend.check(zoe())
                assert not any(command.startswith("AUTH") for command in fake.commands)

    run(go())


def test_without_starttls_on_offer_no_password_is_sent() -> None:
    async def go() -> None:
        async with pair(tls="starttls") as (fake, backend):
            with pytest.raises(BackendDown, match="STARTTLS"):
                await backend.check(zoe())
            assert not any(command.startswith("AUTH") for command in fake.commands)

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
            assert time.monotonic() - started < 0.8
            assert set(await asyncio.gather(*guesses)) == {Refusal.WRONG}
            assert fake.most_inside <= 4

    run(go())


def test_settings_that_would_send_passwords_in_the_clear_are_refused() -> None:
    for settings, word in (
        (AuthSmtpConfig(), "host must be set"),
        (AuthSmtpConfig(host="mail.example.org", tls="none"), "in the clear"),
    ):
        with pytest.raises(ConfigError, match=word):
            Smtp(settings)


def test_a_missing_library_is_named_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # By LDAP, since what this back end needs is always there.
    monkeypatch.setitem(sys.modules, "ldap3", None)
    monkeypatch.delitem(sys.modules, "dav.auth.ldap", raising=False)
    with pytest.raises(ConfigError, match=r"davenport\[ldap\]"):
        import_backends(["ldap"])


def test_nobody_can_be_looked_up_over_smtp() -> None:
    async def go() -> None:
        async with pair() as (fake, backend):
            assert await backend.lookup(USER) is None
            assert await backend.still(Identity(USER))
            await backend.close()
            assert fake.most_inside == 0

    run(go())
