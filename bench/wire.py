"""The client: keep-alive connections as thin as Python allows, and workers that send prepared requests on them.

An answer is right when its status is one of those expected and it holds what it must: all else counts as a failure,
by its status or as "wrong answer", and is shown in the table. A failure never ends a run.
"""

from __future__ import annotations

import base64
import contextlib
import multiprocessing
import re
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from typing import Any
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)")
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked")
_CLOSING = re.compile(rb"\r\nconnection:[ \t]*close")
NO_BODY = frozenset({204, 304})


class TooSlow(Exception):
    """No answer within the time limit of a row."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server listens and as whom to sign in."""

    host: str
    port: int
    authorization: str

    @classmethod
    def of(cls, url: str, user: str, password: str) -> Target:
        parts = urlsplit(url)
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        return cls(parts.hostname or "127.0.0.1", parts.port or 80, f"Basic {token}")

    def request(
        self, method: str, path: str, body: str | bytes = b"", headers: Mapping[str, str] | None = None
    ) -> bytes:
        """The bytes of one request. A body without a Content-Type is XML."""
        content = body.encode() if isinstance(body, str) else body
        lines = {"Host": f"{self.host}:{self.port}", "User-Agent": "davenport-bench"}
        if self.authorization:
            lines["Authorization"] = self.authorization
        if content or method in ("PUT", "POST", "REPORT", "PROPFIND"):
            lines["Content-Length"] = str(len(content))
        if content:
            lines["Content-Type"] = "application/xml; charset=utf-8"
        lines.update(headers or {})
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content


@dataclass(frozen=True, slots=True)
class Answer:
    """status, body, and the head as lower-case bytes."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str:
        """A header's value in lower case, or ""."""
        found = re.search(rb"\r\n" + re.escape(name.lower().encode()) + rb":[ \t]*([^\r]*)", self.head)
        return found[1].decode("latin-1").strip() if found else ""


class Connection:
    """One keep-alive connection, opened when it is first needed and once more when the server has closed it."""

    def __init__(self, target: Target, limit_s: float = 60) -> None:
        self.target, self.limit_s = target, limit_s
        self._socket: socket.socket | None = None
        self._buffer = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection((self.target.host, self.target.port), timeout=self.limit_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._buffer = b""
        return self._socket

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __call__(self, method: str, path: str, body: str | bytes = b"", **headers: str) -> Answer:
        """One request; in names of headers, `_` stands for `-`. Raises TooSlow, OSError."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.send(self.target.request(method, path, body, named), head_only=method == "HEAD")

    def send(self, raw: bytes, *, head_only: bool = False) -> Answer:
        """Sends the bytes of one request and reads its answer. Raises TooSlow, OSError."""
        for last in (False, True):
            try:
                self.open().sendall(raw)
                return self._read(head_only)
            except TimeoutError as error:
                self.close()
                raise TooSlow from error
            except OSError:
                self.close()
                if last:
                    raise
        raise AssertionError

    def _more(self) -> bytes:
        got = self.open().recv(1 << 18)
        if not got:
            raise ConnectionResetError("closed by the server")
        return got

    def _take(self, length: int) -> bytes:
        parts, have = [self._buffer], len(self._buffer)
        while have < length:
            parts.append(self._more())
            have += len(parts[-1])
        whole = b"".join(parts)
        self._buffer = whole[length:]
        return whole[:length]

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._buffer += self._more()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _read(self, head_only: bool) -> Answer:
        while True:
            while (end := self._buffer.find(b"\r\n\r\n")) < 0:
                self._buffer += self._more()
            head, self._buffer = self._buffer[: end + 2].lower(), self._buffer[end + 4 :]
            status = int(head[9:12])
            if status >= 200:
                break
        if head_only or status in NO_BODY:
            body = b""
        elif found := _LENGTH.search(head):
            body = self._take(int(found[1]))
        elif _CHUNKED.search(head):
            parts = []
            while size := int(self._line().partition(b";")[0], 16):
                parts.append(self._take(size))
                self._line()
            while self._line():
                pass
            body = b"".join(parts)
        else:
            parts = [self._buffer]
            while got := self.open().recv(1 << 18):
                parts.append(got)
            body = b"".join(parts)
            self.close()
        if _CLOSING.search(head):
            self.close()
        return Answer(status, head, body)


@dataclass(frozen=True, slots=True)
class Job:
    """One prepared request and what is right: its status, and `marker` in the body, `count` times when that is set."""

    raw: bytes
    statuses: frozenset[int]
    marker: bytes = b""
    count: int | None = None

    def failure(self, answer: Answer) -> str:
        """Why the answer is not right, or ""."""
        if answer.status not in self.statuses:
            return str(answer.status)
        right = self.marker in answer.body if self.count is None else answer.body.count(self.marker) == self.count
        return "" if right else "wrong answer"


@dataclass(slots=True)
class Tally:
    """What workers saw. latencies_s of all requests; failures: how many, by reason; wall_s: from first to last."""

    latencies_s: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    size: int = 0
    wall_s: float = 0

    def count(self, reason: str) -> None:
        self.failures[reason] = self.failures.get(reason, 0) + 1


def _work(
    target: Target, jobs: Sequence[Job], seconds: float, around: bool, limit_s: float, gate: Any, pipe: Pipe
) -> None:
    """One worker: sends its jobs, each once or `around` and around, for at most so many seconds."""
    connection, tally = Connection(target, limit_s), Tally()
    with contextlib.suppress(OSError):  # the first request finds out and counts it
        connection.open()
    gate.wait(60)
    began, number, clock = time.perf_counter(), 0, time.perf_counter
    while around or number < len(jobs):
        start = clock()
        if start - began >= seconds:
            break
        job = jobs[number % len(jobs)]
        number += 1
        try:
            answer = connection.send(job.raw)
        except TooSlow:
            tally.count(f"> {limit_s:g} s")
            break
        except OSError as error:
            tally.count(type(error).__name__)
            if number > 10 and sum(tally.failures.values()) == number:
                break  # a server that has gone away
            continue
        tally.latencies_s.append(clock() - start)
        tally.size += len(answer.body)
        if why := job.failure(answer):
            tally.count(why)
    pipe.send((tally.latencies_s, tally.failures, tally.size, began, clock()))
    pipe.close()
    connection.close()


def run_workers(
    target: Target, parts: Iterable[Sequence[Job]], *, seconds: float, around: bool, limit_s: float
) -> Tally:
    """Each part in a process of its own on a connection of its own, all beginning together."""
    context = multiprocessing.get_context("fork")
    lots = [part for part in parts if part]
    gate, started = context.Barrier(len(lots)), []
    for part in lots:
        mine, theirs = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(target, part, seconds, around, limit_s, gate, theirs), daemon=True)
        worker.start()
        theirs.close()
        started.append((worker, mine))
    tally, begins, ends = Tally(), [], []
    for worker, pipe in started:
        try:
            latencies, failures, size, begin, end = pipe.recv()
        except EOFError:
            tally.count("client died")
        else:
            tally.latencies_s += latencies
            tally.size += size
            begins.append(begin)
            ends.append(end)
            for reason, count in failures.items():
                tally.failures[reason] = tally.failures.get(reason, 0) + count
        pipe.close()
        worker.join()
    tally.wall_s = max(ends) - min(begins) if ends else 0
    return tally
