"""The back end "dovecot": Dovecot's own authentication service, asked over its auth-client socket.

One connection for each process carries all requests at the same time; each is answered by its number, in any order. So
a wrong password, which Dovecot answers after seconds, holds up nobody else. The protocol: lines of fields between TABs.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import secrets
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dav.auth.backend import Backend, BackendDown, Credentials, Identity, Refusal, Tools
from dav.auth.basic import LOGIN_CHARS_MAX
from dav.auth.gate import printable

if TYPE_CHECKING:
    from dav.config import AuthDovecotConfig

# Old versions read lines of 8,192 bytes, 2.4 reads 16,384. A login of 255 characters and a password of 1,024 bytes fit.
_REQUEST_BYTES_MAX = 8192
_ANSWER_BYTES_MAX = 64 * 1024
_HANDSHAKE_LINES_MAX = 100
_HANDSHAKE_S = 10.0
_WAITING_MAX = 2000
_BACK_OFF_FIRST_S = 0.2
_BACK_OFF_MAX_S = 2.0
_ADDRESSES_MAX = 200
_ID_MAX = 2**31 - 1
# A stopped or restarted Dovecot leaves its old process alive for as long as we are connected to it, without an answer
# for us. So who is behind the socket is looked at again before a request when the last look is so long ago, and as long
# as an answer does not come.
_LOOK_AGAIN_S = 2.0
_QUIET_S = 2.0

_ESCAPED = {"\x01": "\x011", "\t": "\x01t", "\r": "\x01r", "\n": "\x01n", "\0": "\x010"}
_UNESCAPED = {"1": "\x01", "t": "\t", "r": "\r", "n": "\n", "0": "\0"}
_ESCAPE = re.compile("\x01(.?)", re.DOTALL)

_TEMPORARY = "Dovecot reports a temporary failure of its password database"

Fields = dict[str, list[str]]
Answer = tuple[str, list[str]]


def escape(text: str) -> str:
    """One field as it is sent: what would end a field or a line is written as SOH and a letter."""
    return "".join(_ESCAPED.get(char, char) for char in text)


def unescape(text: str) -> str:
    """The field that was received. An unknown letter after SOH stands for itself; a SOH at the end is dropped."""
    return _ESCAPE.sub(lambda match: _UNESCAPED.get(match[1], match[1]), text)


def fields_of(parts: Sequence[str]) -> Fields:
    """name=value fields, each name with all its values; empty fields, which Dovecot sends, are left out."""
    found: Fields = {}
    for part in parts:
        name, _, value = part.partition("=")
        if name:
            found.setdefault(name, []).append(value)
    return found


# --- one connection -------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Link:
    """An open connection past its handshake. Requests wait in `waiting` by their number."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    # The words that begin an answer, after which its number comes.
    answers: frozenset[str]
    loop: asyncio.AbstractEventLoop
    # The number of the process that answers, "" when it does not say.
    server: str
    # Looks whether that process is still the one behind the socket; ends this connection when it is not.
    look: Callable[[], Awaitable[object]]
    looked_s: float
    waiting: dict[int, asyncio.Future[Answer]] = field(default_factory=dict)
    last_id: int = 0
    open: bool = True
    task: asyncio.Task[None] | None = None
    proof: asyncio.Task[None] | None = None

    async def read(self) -> None:
        """Hands out answers until the connection ends."""
        why = "the connection was closed"
        try:
            while line := await self.reader.readline():
                # surrogateescape: two names that are no UTF-8 must not become one; _is_name refuses them.
                word, *parts = line.decode("utf-8", "surrogateescape").rstrip("\n").split("\t")
                if word not in self.answers or not parts or not parts[0].isascii() or not parts[0].isdigit():
                    continue
                waiting = self.waiting.pop(int(parts[0][:10]), None)
                if waiting is not None and not waiting.done():
                    waiting.set_result((word, [unescape(part) for part in parts[1:]]))
        except ValueError:
            why = "an answer is too long"
        except OSError as error:
            why = _cause(error)
        self.end(why)

    async def ask(self, word: str, parts: Sequence[str], *, bounded: bool = True) -> Answer:
        """Sends `word id parts…` and waits for the answer, as long as the caller likes. Raises _Lost, BackendDown."""
        if not self.open:
            raise _Lost("the connection was closed")
        if bounded and len(self.waiting) >= _WAITING_MAX:
            raise BackendDown("too many passwords are being checked")
        self.last_id = self.last_id % _ID_MAX + 1
        number = self.last_id
        line = "\t".join([word, str(number), *parts]).encode() + b"\n"
        future: asyncio.Future[Answer] = self.loop.create_future()
        self.waiting[number] = future
        try:
            self.writer.write(line)
            await self.writer.drain()
            while not (await asyncio.wait([future], timeout=_QUIET_S))[0]:
                with contextlib.suppress(BackendDown):
                    await self.look()
            return future.result()
        except OSError as error:
            raise _Lost(_cause(error)) from None
        finally:
            if self.waiting.pop(number, None) is not None and self.open and word == "AUTH":
                # Nobody waits any more: Dovecot need not keep the request.
                with contextlib.suppress(OSError, RuntimeError):
                    self.writer.write(b"CANCEL\t%d\n" % number)

    def end(self, why: str) -> None:
        self.open = False
        for future in self.waiting.values():
            if not future.done():
                future.set_exception(_Lost(why))
                # Seen, also when its waiter has just been cancelled.
                future.exception()
        self.waiting.clear()
        with contextlib.suppress(OSError, RuntimeError):
            self.writer.close()


class _Lost(Exception):
    """The connection ended before the answer came: worth one more try over a new one."""


class Line:
    """A connection that is opened when it is needed, and opened again, not too often, when it was lost."""

    def __init__(
        self,
        address: str,
        hello: Callable[[], bytes],
        last_line: str,
        answers: frozenset[str],
        clock: Callable[[], float],
    ) -> None:
        self._address = address
        self._hello = hello
        self._last_line = last_line
        self._answers = answers
        self._clock = clock
        self._link: _Link | None = None
        self._opening: asyncio.Task[_Link] | None = None
        self._failures = 0
        self._not_before = 0.0
        self._cause = ""

    async def link(self) -> _Link:
        """The open connection. Raises BackendDown when there is none, at once while a failure is fresh."""
        loop = asyncio.get_running_loop()
        known = self._known(loop)
        if known is not None and loop.time() - known.looked_s < _LOOK_AGAIN_S:
            return known
        if self._opening is None or self._opening.get_loop() is not loop or self._opening.done():
            if self._clock() < self._not_before:
                raise BackendDown(self._cause)
            self._opening = loop.create_task(self._open(loop))
            self._opening.add_done_callback(_seen)
        # Shielded: whoever is cancelled must not take the connection from the others.
        return await asyncio.shield(self._opening)

    def _known(self, loop: asyncio.AbstractEventLoop) -> _Link | None:
        return self._link if self._link is not None and self._link.open and self._link.loop is loop else None

    def failed(self, cause: str) -> None:
        """Opens no connection for a while, longer after each failure."""
        self._cause = cause
        self._failures += 1
        wait_s = min(_BACK_OFF_MAX_S, _BACK_OFF_FIRST_S * 2.0 ** min(self._failures - 1, 10))
        self._not_before = self._clock() + wait_s

    def worked(self) -> None:
        """The connection turned out to be of use."""
        self._failures = 0

    async def close(self) -> None:
        """Ends the connection; requests that wait on it are told that it was lost."""
        loop = asyncio.get_running_loop()
        if self._opening is not None and not self._opening.done() and self._opening.get_loop() is loop:
            self._opening.cancel()
        link, self._link = self._link, None
        if link is None or link.loop is not loop:
            return
        for task in (link.proof, link.task):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, BackendDown, _Lost):
                    await task
        link.end("closed")
        with contextlib.suppress(OSError, RuntimeError):
            await link.writer.wait_closed()

    async def _open(self, loop: asyncio.AbstractEventLoop) -> _Link:
        """Connects. The connection that is open already is kept if the same process is at its other end."""
        try:
            async with asyncio.timeout(_HANDSHAKE_S):
                reader, writer = await self._connect()
                try:
                    server = await self._handshake(reader, writer)
                except BaseException:
                    writer.close()
                    raise
        except (OSError, ValueError) as error:
            cause = "no answer in time" if isinstance(error, TimeoutError) else _cause(error)
            self.failed(f"{self._address}: {cause}")
            if (known := self._known(loop)) is not None:
                known.end(cause)
            raise BackendDown(self._cause) from None
        if (known := self._known(loop)) is not None:
            if known.server == server:
                writer.close()
                known.looked_s = loop.time()
                return known
            known.end("Dovecot was started again")
        link = self._link = _Link(reader, writer, self._answers, loop, server, self.link, loop.time())
        link.task = loop.create_task(link.read())
        return link

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._address.startswith("/"):
            return await asyncio.open_unix_connection(self._address, limit=_ANSWER_BYTES_MAX)
        host, _, port = self._address.rpartition(":")
        return await asyncio.open_connection(host.strip("[]"), int(port), limit=_ANSWER_BYTES_MAX)

    async def _handshake(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """The number of the process that answers. Raises ValueError when it speaks something else."""
        # Ours goes first: 2.3 greets at once, but 2.4 says the rest only after it has read our version.
        writer.write(self._hello())
        server = ""
        for _ in range(_HANDSHAKE_LINES_MAX):
            line = await reader.readline()
            if not line.endswith(b"\n"):
                raise ValueError("the connection was closed in the handshake")
            word, *parts = line.decode("utf-8", "replace").rstrip("\n").split("\t")
            if word == "VERSION" and parts[:1] != ["1"]:
                raise ValueError(f"it speaks version {printable(' '.join(parts[:1]))}, not 1, of the protocol")
            if word == "SPID" and parts:
                server = parts[0]
            if word == self._last_line:
                return server
        raise ValueError("it does not speak Dovecot's authentication protocol")


def _seen(task: asyncio.Task[Any]) -> None:
    """A failure without anybody left to hear of it is no error of the program."""
    if not task.cancelled():
        task.exception()


def _cause(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return printable(error.strerror)
    return printable(str(error) or type(error).__name__)


# --- the back end ---------------------------------------------------------------------------------------------------


class Dovecot:
    """Asks the auth-client socket for passwords and, where configured, the userdb socket for names."""

    name = "dovecot"
    kinds = frozenset({"password"})

    def __init__(self, settings: AuthDovecotConfig, clock: Callable[[], float]) -> None:
        self._limit_s = float(settings.timeout_seconds)
        self._service = settings.service
        self._line = Line(
            settings.socket,
            # The number that tells clients apart is the process's by custom. Two containers may have the same one, and
            # Dovecot refuses the second: so one that no process has.
            lambda: b"VERSION\t1\t2\nCPID\t%d\n" % (2**30 + secrets.randbelow(2**30)),
            "DONE",
            frozenset({"OK", "FAIL", "CONT"}),
            clock,
        )
        self._users: Line | None = None
        if settings.userdb_socket:
            answers = frozenset({"USER", "NOTFOUND", "FAIL"})
            self._users = Line(settings.userdb_socket, lambda: b"VERSION\t1\t0\n", "SPID", answers, clock)

    async def check(self, given: Credentials) -> Identity | Refusal:
        """Raises BackendDown. Dovecot tells a wrong password from an unknown user only through its userdb socket."""
        parts = self._request(given.login, given.password or "", given.client, secure=given.secure)
        if parts is None:
            return Refusal.WRONG
        try:
            async with asyncio.timeout(self._limit_s):
                word, values = await self._ask(self._line, "AUTH", parts, given.client)
                fields = fields_of(values)
                if word == "OK":
                    return await self._yes(fields)
                if word != "FAIL":
                    raise BackendDown("Dovecot asked back, which PLAIN does not know")
                return await self._no(given.login, fields)
        except TimeoutError:
            raise BackendDown(f"no answer from Dovecot in {self._limit_s:.0f} s") from None

    async def still(self, identity: Identity) -> bool:
        """Yes: Dovecot gives no stamp, so nothing is remembered beyond auth.cache_seconds."""
        return True

    async def lookup(self, name: str) -> Identity | Refusal | None:
        """What the userdb socket says of a person; None when none is configured. Raises BackendDown."""
        if self._users is None:
            return None
        try:
            async with asyncio.timeout(self._limit_s):
                word, values = await self._ask(self._users, "USER", [escape(name), f"service={self._service}"], "")
        except TimeoutError:
            raise BackendDown(f"no answer from Dovecot's userdb in {self._limit_s:.0f} s") from None
        if word == "NOTFOUND":
            return Refusal.NOT_MINE
        if word == "FAIL":
            reason = fields_of(values).get("reason", ["no reason given"])[0]
            raise BackendDown(f"Dovecot's userdb cannot tell: {printable(reason)}")
        found = values[0] if values else ""
        if not _is_name(found):
            raise BackendDown("Dovecot's userdb answers with a name that cannot be used")
        fields = fields_of(values[1:])
        others = [word for text in fields.get("davenport_addresses", []) for word in text.replace(",", " ").split()]
        addresses = None
        if "davenport_addresses" in fields:
            addresses = tuple(dict.fromkeys(([found] if "@" in found else []) + others[:_ADDRESSES_MAX]))
        return Identity(found, display_name=fields.get("davenport_name", [""])[0], addresses=addresses)

    async def close(self) -> None:
        """Ends the connections."""
        await self._line.close()
        if self._users is not None:
            await self._users.close()

    def _request(self, login: str, password: str, client: str, *, secure: bool) -> list[str] | None:
        """The fields of an AUTH request; None for what no account can have."""
        if not login or not password or "\0" in login or "\0" in password:
            return None
        try:
            octets = b"\0" + login.encode() + b"\0" + password.encode()
        except UnicodeEncodeError:
            return None
        parts = ["PLAIN", f"service={self._service}"]
        # Without this word Dovecot refuses PLAIN where the administrator forbids passwords in the clear.
        parts += ["secured"] if secure else []
        # nologin: no mail session follows. no-penalty: else one phone with an old password would make Dovecot answer
        # everybody behind the same address after 15 s; guesses are slowed down here, by account and network.
        parts += ["nologin", "no-penalty"]
        parts += [f"rip={escape(client)}"] if client else []
        # resp= ends the request by definition of the protocol.
        parts.append("resp=" + base64.b64encode(octets).decode())
        return parts if sum(len(part) + 1 for part in parts) + 20 <= _REQUEST_BYTES_MAX else None

    async def _ask(self, line: Line, word: str, parts: Sequence[str], client: str) -> Answer:
        """The answer, over a new connection if the old one ends meanwhile; but only once, or a crash would repeat."""
        why = ""
        for _ in range(2):
            link = await line.link()
            if line is self._line and link.proof is None:
                link.proof = link.loop.create_task(self._prove(link, client))
                link.proof.add_done_callback(_seen)
            try:
                answer = await link.ask(word, parts)
                if answer[0] == "OK" and link.proof is not None:
                    await asyncio.shield(link.proof)
                if line is self._users:
                    line.worked()
                return answer
            except _Lost as error:
                why = str(error)
        raise BackendDown(f"Dovecot closed the connection twice: {why}")

    async def _prove(self, link: _Link, client: str) -> None:
        """Makes sure that Dovecot refuses a password that nobody can have; raises BackendDown or _Lost.

        A password database that says `nopassword` (or a static one) lets everybody in: right behind a proxy that has
        checked already, a disaster here. Until the refusal has come, no yes of this connection counts.
        """
        stranger = f"davenport-probe-{secrets.token_hex(8)}@probe.invalid"
        parts = self._request(stranger, secrets.token_urlsafe(32), client, secure=True)
        assert parts is not None
        why = ""
        try:
            async with asyncio.timeout(self._limit_s):
                # The one request that all others of the connection wait for finds room in any case.
                word, values = await link.ask("AUTH", parts, bounded=False)
            if word == "OK":
                why = (
                    "Dovecot accepts any password for any name (nopassword, or a static passdb): nobody is let in by it"
                )
            elif "temp_fail" in fields_of(values).get("code", []):
                why = _TEMPORARY
        except TimeoutError:
            why = f"no answer from Dovecot in {self._limit_s:.0f} s"
        if why:
            self._line.failed(why)
            link.end(why)
            raise BackendDown(why)
        self._line.worked()

    async def _yes(self, fields: Fields) -> Identity:
        name = fields.get("user", [""])[-1]
        if not _is_name(name):
            raise BackendDown("Dovecot's answer has no name that can be used")
        known: Identity | Refusal | None = None
        # The password is right: a userdb that is out of order costs the name and the aliases, not the sign-in.
        with contextlib.suppress(BackendDown):
            known = await self.lookup(name)
        if isinstance(known, Identity):
            return Identity(name, display_name=known.display_name, addresses=known.addresses)
        return Identity(name, display_name=fields.get("davenport_name", [""])[0])

    async def _no(self, login: str, fields: Fields) -> Refusal:
        code = fields.get("code", [""])[0]
        if code == "temp_fail":
            raise BackendDown(_TEMPORARY)
        if code in ("auth_mech_invalid", "auth_mech_ssl_required"):
            raise BackendDown(f"Dovecot does not accept PLAIN from us: {printable(code)}")
        # Disabled, expired, or not allowed now: it knows the person.
        if code or self._users is None:
            return Refusal.WRONG
        return Refusal.NOT_MINE if await self.lookup(login) is Refusal.NOT_MINE else Refusal.WRONG


def _is_name(name: str) -> bool:
    return 0 < len(name) <= LOGIN_CHARS_MAX and not any(unicodedata.category(char) in ("Cc", "Cs") for char in name)


def make(tools: Tools) -> Backend:
    """The back end for the sockets named in [auth_dovecot]. Nothing is opened before the first request."""
    return Dovecot(tools.config.auth_dovecot, tools.clock)
