"""A submission server in this process that says what it is told to say."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class Taken:
    sender: str
    recipient: str
    data: bytes


@dataclass
class FakeSmtp:
    """answers: by recipient, for RCPT; data_answers: after the dot. taken: what it said 250 to.

    cut: takes one mail and ends the connection instead of saying so.
    """

    answers: dict[str, list[str]] = field(default_factory=dict)
    mail_answer: str = "250 2.1.0 ok"
    data_answers: list[str] = field(default_factory=list)
    extensions: tuple[str, ...] = ("PIPELINING", "SIZE 10000000", "8BITMIME")
    taken: list[Taken] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    cut: bool = False
    delay_s: float = 0.0
    port: int = 0
    talks: set[asyncio.Task[None]] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[FakeSmtp]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=1 << 24)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in set(self.talks):
                task.cancel()
            await asyncio.gather(*set(self.talks), return_exceptions=True)
            await asyncio.sleep(0)  # for the transports to close

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.talks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._talk(reader, writer)
        finally:
            writer.transport.abort()
            self.talks.discard(task)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender = recipient = ""
        writer.write(b"220 mail.example.org ESMTP\r\n")
        while line := (await reader.readline()).decode().strip():
            self.commands.append(line)
            word = line.partition(" ")[0].upper()
            answer = "250 2.0.0 ok"
            if word == "EHLO":
                lines = ["mail.example.org", *self.extensions]
                writer.write("".join(f"250-{text}\r\n" for text in lines[:-1]).encode())
                answer = f"250 {lines[-1]}"
            elif word == "MAIL":
                sender, answer = line.partition("<")[2].partition(">")[0], self.mail_answer
            elif word == "RCPT":
                recipient = line.partition("<")[2].partition(">")[0]
                waiting = self.answers.get(recipient, [])
                answer = waiting.pop(0) if waiting else "250 2.1.5 ok"
            elif word == "DATA":
                writer.write(b"354 go\r\n")
                data = await reader.readuntil(b"\r\n.\r\n")
                await asyncio.sleep(self.delay_s)
                answer = self.data_answers.pop(0) if self.data_answers else "250 2.0.0 queued as 1"
                if answer.startswith("250"):
                    self.taken.append(Taken(sender, recipient, data[:-3].replace(b"\r\n..", b"\r\n.")))
                if self.cut:
                    self.cut = False
                    return
            elif word == "QUIT":
                writer.write(b"221 bye\r\n")
                return
            writer.write(answer.encode() + b"\r\n")
            await writer.drain()
