"""The back end "imap": whoever can sign in at an IMAP server can sign in here (RFC 9051 §6.2).

One connection for each password that is not remembered: greeting, TLS, AUTHENTICATE PLAIN or LOGIN, LOGOUT. A client of
our own, because the library of Python blocks a thread while the server delays a wrong password, sends no literals
and has no limit for the whole conversation.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import ssl
from typing import TYPE_CHECKING

from dav.auth.backend import Backend, BackendDown, Credentials, Identity, Refusal, Tools
from dav.auth.gate import Gate, mail_side_name, printable, server_of, tls_context

if TYPE_CHECKING:
    from dav.config import AuthImapConfig

_LINE_BYTES_MAX = 16 * 1024
# Lines that a server may send before the one that we wait for.
_LINES_MAX = 100
_GOODBYE_S = 1.0

# RFC 9051 §7.1 (first in RFC 5530 §3): the codes of a NO that do not speak of the password. Others do.
_NOT_THE_PASSWORD = frozenset({"UNAVAILABLE", "SERVERBUG", "LIMIT", "INUSE", "PRIVACYREQUIRED", "CLIENTBUG", "CANNOT"})
_QUOTABLE = re.compile(rb"[ !#-\[\]-~]*")


class _Broken(Exception):
    """The server said something that cannot be used. The message is printable."""


class _Conversation:
    """One connection to the server. Everything it says is bounded in length and number; the caller bounds the time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._number = 0
        self.capabilities: frozenset[str] = frozenset()

    async def greet(self) -> None:
        """Reads the greeting. Raises _Broken unless it waits for somebody to sign in."""
        line = await self._line()
        # A PREAUTH connection (RFC 9051 §7.1.4) is signed in without any password: it proves nothing.
        if not line.upper().startswith(b"* OK"):
            raise _Broken(f"it greets with {_shown(line)}")
        self._learn(line)

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        """STARTTLS (RFC 9051 §6.2.1): what was read or announced before does not count afterwards."""
        await self._know()
        if "STARTTLS" not in self.capabilities:
            raise _Broken("it offers no STARTTLS")
        word, text = await self.command(b"STARTTLS")
        if word != "OK":
            raise _Broken(f"it refuses STARTTLS: {text}")
        # A reader of its own: what somebody on the way has put behind the answer stays in the old one, unread.
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(_LINE_BYTES_MAX)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport = await loop.start_tls(self._writer.transport, protocol, context, server_hostname=name)
        if transport is None:
            raise _Broken("the connection was closed in STARTTLS")
        protocol.connection_made(transport)
        self._reader, self._writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)
        self.capabilities = frozenset()

    async def tell_client(self, client: str) -> None:
        """Names the address that the person comes from (RFC 2971 ID, with the field that Dovecot reads)."""
        await self._know()
        if "ID" in self.capabilities and re.fullmatch(r"[0-9A-Fa-f.:]{1,64}", client):
            await self.command(b'ID ("x-originating-ip" "%s")' % client.encode())
            # Dovecot tells a trusted client other capabilities after it.
            self.capabilities = frozenset()

    async def sign_in(self, login: str, password: str) -> tuple[str, str]:
        """("OK", "NO" or "BAD", the text) of the answer to the name and password."""
        await self._know()
        if "AUTH=PLAIN" in self.capabilities:
            response = base64.b64encode(b"\0" + login.encode() + b"\0" + password.encode())
            if "SASL-IR" in self.capabilities:
                return await self.command(b"AUTHENTICATE PLAIN " + response)
            return await self.command(b"AUTHENTICATE PLAIN", response)
        if "LOGINDISABLED" in self.capabilities:
            raise _Broken("it takes no passwords on this connection (LOGINDISABLED): set auth_imap.tls")
        # RFC 9051 §4.3: what cannot stand between quotes goes as a literal, sent when the server has asked for it.
        tag = self._tag()
        chunks = [tag + b" LOGIN"]
        for text in (login.encode(), password.encode()):
            if _QUOTABLE.fullmatch(text):
                chunks[-1] += b' "%s"' % text
            else:
                chunks[-1] += b" {%d}" % len(text)
                chunks.append(text)
        self._writer.write(chunks[0] + b"\r\n")
        return await self._answer(tag, chunks[1:])

    async def command(self, line: bytes, continuation: bytes | None = None) -> tuple[str, str]:
        """Sends one command, and its continuation when the server asks for it; the tagged answer."""
        tag = self._tag()
        self._writer.write(tag + b" " + line + b"\r\n")
        return await self._answer(tag, [continuation] if continuation is not None else [])

    async def goodbye(self) -> None:
        """LOGOUT, without waiting long for anything."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_GOODBYE_S):
                self._writer.write(self._tag() + b" LOGOUT\r\n")
                await self._writer.drain()

    def close(self) -> None:
        """Ends the connection at once."""
        self._writer.transport.abort()

    async def _know(self) -> None:
        if not self.capabilities:
            word, text = await self.command(b"CAPABILITY")
            if word != "OK":
                raise _Broken(f"it refuses CAPABILITY: {text}")

    async def _answer(self, tag: bytes, continuations: list[bytes]) -> tuple[str, str]:
        for _ in range(_LINES_MAX):
            line = await self._line()
            if line.startswith(b"+"):
                if not continuations:
                    # RFC 9051 §6.2.2: "*" ends an exchange that goes on where PLAIN is at its end.
                    self._writer.write(b"*\r\n")
                    continue
                self._writer.write(continuations.pop(0) + b"\r\n")
            elif line.startswith(tag + b" "):
                self._learn(line)
                word, _, text = line[len(tag) + 1 :].partition(b" ")
                return word.decode("ascii", "replace").upper(), _shown(text)
            elif line.upper().startswith(b"* BYE"):
                raise _Broken(f"it says goodbye: {_shown(line[5:].strip())}")
            else:
                self._learn(line)
        raise _Broken("it says too much")

    def _learn(self, line: bytes) -> None:
        match = re.match(rb"(?:\* CAPABILITY |\S+ OK \[CAPABILITY )([^\]]*)", line, re.IGNORECASE)
        if match:
            self.capabilities = frozenset(match[1].decode("ascii", "replace").upper().split())

    async def _line(self) -> bytes:
        await self._writer.drain()
        line = await self._reader.readline()
        if not line.endswith(b"\n"):
            raise _Broken("it closed the connection")
        return line.rstrip(b"\r\n")

    def _tag(self) -> bytes:
        self._number += 1
        return b"D%d" % self._number


def _shown(line: bytes) -> str:
    return printable(line.decode("utf-8", "replace"))


class Imap:
    """Signs in at one IMAP server, over a connection for each try."""

    name = "imap"
    kinds = frozenset({"password"})

    def __init__(self, settings: AuthImapConfig) -> None:
        self._settings = settings
        self._host, self._port = server_of("imap", settings, tls_port=993, plain_port=143)
        self._tls = tls_context(settings)
        self._tls_name = settings.certificate_name or self._host
        self._gate = Gate(settings.connections)

    async def check(self, given: Credentials) -> Identity | Refusal:
        """Raises BackendDown. IMAP cannot tell an unknown user from a wrong password: WRONG is both."""
        login, password = given.login, given.password or ""
        if not login or not password or set(login + password) & set("\0\r\n"):
            return Refusal.WRONG
        where = f"{self._host}:{self._port}"
        try:
            async with asyncio.timeout(self._settings.timeout_seconds), self._gate.turn(given.client):
                word, text = await self._try(login, password, given.client)
        except TimeoutError:
            raise BackendDown(f"{where}: no answer in {self._settings.timeout_seconds} s") from None
        except ssl.SSLCertVerificationError as error:
            raise BackendDown(f"{where}: its certificate is not accepted: {printable(error.verify_message)}") from None
        except (OSError, ValueError, _Broken) as error:
            cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise BackendDown(f"{where}: {printable(cause or type(error).__name__)}") from None
        if word == "OK":
            return Identity(mail_side_name(login, lower_case=self._settings.lower_case))
        code = re.match(r"\[([A-Za-z-]+)", text)
        if word != "NO" or (code and code[1].upper() in _NOT_THE_PASSWORD):
            raise BackendDown(f"{where}: {text or word}")
        return Refusal.WRONG

    async def still(self, identity: Identity) -> bool:
        """Yes: IMAP gives no stamp, so nothing is remembered beyond auth.cache_seconds."""
        return True

    async def lookup(self, name: str) -> Identity | Refusal | None:
        """None: IMAP cannot look anybody up."""
        return None

    async def close(self) -> None:
        """Nothing stays open between two sign-ins."""

    async def _try(self, login: str, password: str, client: str) -> tuple[str, str]:
        direct = self._settings.tls == "tls"
        reader, writer = await asyncio.open_connection(
            self._host,
            self._port,
            limit=_LINE_BYTES_MAX,
            ssl=self._tls if direct else None,
            server_hostname=self._tls_name if direct else None,
        )
        talk = _Conversation(reader, writer)
        try:
            await talk.greet()
            if self._settings.tls == "starttls":
                assert self._tls is not None
                await talk.start_tls(self._tls, self._tls_name)
            if self._settings.forward_client:
                await talk.tell_client(client)
            answer = await talk.sign_in(login, password)
            await talk.goodbye()
            return answer
        finally:
            talk.close()


def make(tools: Tools) -> Backend:
    """The back end for the server in [auth_imap]. Raises ConfigError for settings that cannot be used together."""
    return Imap(tools.config.auth_imap)
