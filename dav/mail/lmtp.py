"""The LMTP listener (RFC 2033): the mail server brings a mail, and each recipient has an answer of its own.

A server of our own, because the known library answers once for all recipients, and once for a mail that is too large.
250 means that the transaction is committed; 451 that nothing has happened and the mail server keeps the mail.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
import stat
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

COMMAND_BYTES_MAX = 4096
LINE_BYTES_MAX = 64 * 1024
RECIPIENTS_MAX = 100
CONNECTIONS_MAX = 50
MISTAKES_MAX = 20
COMMAND_S = 300.0
DATA_S = 600.0
GOODBYE_S = 5.0
THREADS = 2

_PATH = re.compile(r"(?i)(?:FROM|TO):\s*<([^<>\x00-\x20]{0,512})>((?:\s+[^\s]+)*)\s*")

_T = TypeVar("_T")

_log = logging.getLogger("davenport.lmtp")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one recipient is answered. code: 250, 451, 550 …; text begins with the enhanced code (RFC 2034)."""

    code: int
    text: str

    def line(self) -> bytes:
        clean = "".join(char if " " <= char <= "~" else "?" for char in self.text)[:400]
        return f"{self.code} {clean}\r\n".encode("ascii")


@dataclass(frozen=True, slots=True)
class Handler:
    """What the listener asks. Both block, so they run in threads.

    recipient: whether mail for an address is taken, asked at RCPT. deliver: (mail, envelope sender, recipients) → one
    answer for each recipient, in their order.
    """

    recipient: Callable[[str], Answer]
    deliver: Callable[[bytes, str, Sequence[str]], list[Answer]]


TRY_LATER = Answer(451, "4.3.0 Cannot be taken now, try again later")
_BAD_SEQUENCE = Answer(503, "5.5.1 Not now: LHLO, MAIL, RCPT, DATA is the order")


class _TooLong(Exception):
    """A line without an end."""


@dataclass(slots=True)
class _Session:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    handler: Handler
    threads: ThreadPoolExecutor
    bytes_max: int
    name: str
    greeted: bool = False
    sender: str | None = None
    recipients: list[str] = field(default_factory=list)
    mistakes: int = 0

    async def run(self) -> None:
        self.say(Answer(220, f"{self.name} Davenport LMTP"))
        while True:
            await self.writer.drain()
            try:
                line = await asyncio.wait_for(self.read_line(COMMAND_BYTES_MAX), COMMAND_S)
            except _TooLong:
                self.say(Answer(500, "5.5.6 The line is too long"))
                return
            if not line:
                return
            text = line.rstrip(b"\r\n").decode("utf-8", "replace")
            verb, _, rest = text.partition(" ")
            command = _COMMANDS.get(verb.upper())
            if command is None:
                self.mistake(Answer(500, "5.5.2 Unknown command"))
            elif await command(self, rest.strip()):
                return
            if self.mistakes > MISTAKES_MAX:
                self.say(Answer(421, "4.7.0 Too many mistakes"))
                return

    async def read_line(self, most: int) -> bytes:
        """A line with its end; b"" when the other side has gone. Raises _TooLong."""
        try:
            line = await self.reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return b""
        except asyncio.LimitOverrunError:
            raise _TooLong from None
        if len(line) > most:
            raise _TooLong
        return line

    def say(self, answer: Answer) -> None:
        self.writer.write(answer.line())

    def mistake(self, answer: Answer) -> None:
        self.mistakes += 1
        self.say(answer)

    def reset(self) -> None:
        self.sender = None
        self.recipients = []

    # --- commands; True ends the connection ---

    async def lhlo(self, rest: str) -> bool:
        if not rest:
            self.mistake(Answer(501, "5.5.4 LHLO needs a name"))
            return False
        self.greeted = True
        self.reset()
        extensions = ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", f"SIZE {self.bytes_max}")
        lines = [self.name, *extensions]
        self.writer.write("".join(f"250{'-' if line is not lines[-1] else ' '}{line}\r\n" for line in lines).encode())
        return False

    async def helo(self, rest: str) -> bool:
        self.mistake(Answer(500, "5.5.1 This is LMTP: LHLO"))
        return False

    async def mail(self, rest: str) -> bool:
        match = _PATH.fullmatch(rest)
        if not self.greeted or self.sender is not None:
            self.mistake(_BAD_SEQUENCE)
        elif match is None or not rest.upper().startswith("FROM"):
            self.mistake(Answer(501, "5.5.4 MAIL FROM:<address> is needed"))
        else:
            size = re.search(r"(?i)\sSIZE=(\d{1,15})(?:\s|$)", match[2])
            if size and int(size[1]) > self.bytes_max:
                self.say(Answer(552, f"5.3.4 More than {self.bytes_max} octets are not taken"))
            else:
                self.sender = match[1]
                self.say(Answer(250, "2.1.0 Sender ok"))
        return False

    async def rcpt(self, rest: str) -> bool:
        match = _PATH.fullmatch(rest)
        if self.sender is None:
            self.mistake(_BAD_SEQUENCE)
        elif match is None or not rest.upper().startswith("TO") or not match[1]:
            self.mistake(Answer(501, "5.5.4 RCPT TO:<address> is needed"))
        elif len(self.recipients) >= RECIPIENTS_MAX:
            self.say(Answer(452, "4.5.3 Too many recipients at once"))
        else:
            answer = await self.in_thread(self.handler.recipient, match[1])
            if answer.code == 250:
                self.recipients.append(match[1])
            self.say(answer)
        return False

    async def data(self, rest: str) -> bool:
        if not self.recipients:
            self.mistake(_BAD_SEQUENCE)
            return False
        self.say(Answer(354, "Go on, end with a dot alone"))
        await self.writer.drain()
        body = await asyncio.wait_for(self.read_data(), DATA_S)
        if body is None:
            return True
        recipients, sender = self.recipients, self.sender or ""
        self.reset()
        if not body:
            answers = [Answer(552, f"5.3.4 More than {self.bytes_max} octets are not taken")] * len(recipients)
        else:
            answers = await self.in_thread(self.handler.deliver, bytes(body), sender, recipients)
        # RFC 2033 §4.2: one reply for each recipient that RCPT has accepted, in that order.
        for answer in answers:
            self.say(answer)
        return False

    async def read_data(self) -> bytearray | None:
        """The mail, dots undone; empty when it is too large, None when the other side has gone."""
        body = bytearray()
        seen = 0
        before = b"\r\n"
        while True:
            try:
                line = await self.reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return None
            except asyncio.LimitOverrunError as error:
                line = await self.reader.readexactly(error.consumed)  # a piece of a long line
            # Only CRLF.CRLF is the end: where one server takes LF.LF for it, a mail can be smuggled into another.
            if before == b"\r\n":
                if line == b".\r\n":
                    return body if seen <= self.bytes_max else bytearray()
                line = line.removeprefix(b".")
            before = (before + line)[-2:]
            seen += len(line)
            if seen <= self.bytes_max:
                body += line
            elif body:
                body.clear()

    async def rset(self, rest: str) -> bool:
        self.reset()
        self.say(Answer(250, "2.0.0 Ok"))
        return False

    async def noop(self, rest: str) -> bool:
        self.say(Answer(250, "2.0.0 Ok"))
        return False

    async def vrfy(self, rest: str) -> bool:
        self.mistake(Answer(252, "2.1.5 Try to deliver"))
        return False

    async def quit(self, rest: str) -> bool:
        self.say(Answer(221, "2.0.0 Bye"))
        return True

    async def in_thread(self, function: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, function, *arguments)


_COMMANDS: dict[str, Callable[[_Session, str], Awaitable[bool]]] = {
    "LHLO": _Session.lhlo,
    "HELO": _Session.helo,
    "EHLO": _Session.helo,
    "MAIL": _Session.mail,
    "RCPT": _Session.rcpt,
    "DATA": _Session.data,
    "RSET": _Session.rset,
    "NOOP": _Session.noop,
    "VRFY": _Session.vrfy,
    "QUIT": _Session.quit,
}


# --- the listener -----------------------------------------------------------------------------------------------------


def bind(where: str, *, mode: int) -> socket.socket:
    """A listening socket: at host:port, or a file with these permissions. Raises OSError."""
    if where.startswith("/"):
        return _bind_file(Path(where), mode)
    host, _, port = where.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        return _listening(listener)
    except OSError:
        listener.close()
        raise


def _bind_file(path: Path, mode: int) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        # What a server that died has left. Nothing else is removed, and no server that answers loses its own.
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise FileExistsError(f"{path} is there and no socket")
        if _answers(path):
            raise OSError("another server listens there")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o777 & ~mode)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        path.chmod(mode)
        return _listening(listener)
    except OSError:
        listener.close()
        raise


def _answers(path: Path) -> bool:
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(1)
    try:
        probe.connect(str(path))
    except OSError:
        return False
    finally:
        probe.close()
    return True


def _listening(listener: socket.socket) -> socket.socket:
    listener.listen(128)
    listener.setblocking(False)
    listener.set_inheritable(True)
    return listener


async def serve(listeners: Sequence[socket.socket], handler: Handler, *, bytes_max: int, name: str) -> None:
    """Takes mail at these sockets until it is cancelled. Workers may share the sockets: each mail comes to one."""
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="lmtp")
    running: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            if len(running) > CONNECTIONS_MAX:
                writer.write(Answer(421, "4.3.2 Too many connections, try again later").line())
            else:
                await _Session(reader, writer, handler, threads, bytes_max, name).run()
        except (ConnectionError, TimeoutError, OSError):
            pass
        except asyncio.CancelledError:
            # The server stops: what has no answer yet is brought again, and is then known.
            with contextlib.suppress(OSError, RuntimeError):
                writer.write(Answer(421, "4.3.2 The server stops").line())
        except Exception:
            _log.exception("a connection failed")
        finally:
            with contextlib.suppress(OSError, RuntimeError, TimeoutError):
                writer.close()
                await asyncio.wait_for(writer.wait_closed(), GOODBYE_S)
            running.discard(task)

    servers = [
        await (
            asyncio.start_unix_server(connected, sock=one, limit=LINE_BYTES_MAX)
            if one.family == socket.AF_UNIX
            else asyncio.start_server(connected, sock=one, limit=LINE_BYTES_MAX)
        )
        for one in listeners
    ]
    try:
        await asyncio.Event().wait()
    finally:
        for server in servers:
            server.close()
        for _ in range(5):  # whoever was let in just now is then among the running
            await asyncio.sleep(0)
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        threads.shutdown(wait=False, cancel_futures=True)
