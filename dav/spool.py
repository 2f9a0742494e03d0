"""What waits in memory or on disk: long answers that their clients have not taken yet, and bodies that are arriving.

A stream reads the store in one transaction, and a client may take hours to read what it says. Between the two stands a
queue, so that connections of the database, snapshots and threads are needed only while something is computed.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, BinaryIO

MEMORY_BYTES = 256 * 1024
_READ_BYTES = 64 * 1024

# Takes a blocking function with its arguments to a worker thread.
Run = Callable[..., Awaitable[Any]]


class Abandoned(Exception):
    """Nobody will read what was put: the reader is gone, or has been too slow for too long."""


class Room:
    """Bytes that may be put into files by all spools of the process together; one of them gets a quarter at most."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.each = size // 4


class NoRoom(Exception):
    """Other bodies left no room in memory for this one, for as long as it could wait."""


class Bodies:
    """Room in memory for the bodies of requests, of all of them together. Used on the event loop's thread.

    A body takes room as it arrives, so one that was only announced takes none. One account gets half of the room at
    most. Could bodies only wait for each other, none would ever be complete: so one at a time may go beyond both.
    """

    def __init__(self, size: int, *, wait_s: float = 10.0) -> None:
        self.size, self.wait_s = size, wait_s
        self.held = 0
        self._of: dict[int, int] = {}
        self._beyond: Held | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()

    def _take(self, held: Held, size: int) -> bool:
        own = self._of.get(held.account_id, 0)
        if own + size > self.size // 2 or self.held + size > self.size:
            if self._beyond not in (None, held):
                return False
            self._beyond = held
        self.held += size
        self._of[held.account_id] = own + size
        held.bytes += size
        return True

    async def _wait(self) -> None:
        """Until room was made. Raises TimeoutError."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            await waiting
        finally:
            self._waiting.remove(waiting)

    def _give_back(self, held: Held) -> None:
        self.held -= held.bytes
        left = self._of.get(held.account_id, 0) - held.bytes
        if left > 0:
            self._of[held.account_id] = left
        else:
            self._of.pop(held.account_id, None)
        if self._beyond is held:
            self._beyond = None
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)


class Held:
    """The room that one request's body takes. account_id: whose it is, 0 for nobody's."""

    __slots__ = ("_bodies", "account_id", "bytes")

    def __init__(self, bodies: Bodies, account_id: int) -> None:
        self._bodies, self.account_id, self.bytes = bodies, account_id, 0

    async def take(self, size: int) -> None:
        """Takes room for more bytes; waits for it. Raises NoRoom."""
        if self._bodies._take(self, size):
            return
        try:
            async with asyncio.timeout(self._bodies.wait_s):
                while not self._bodies._take(self, size):
                    await self._bodies._wait()
        except TimeoutError:
            raise NoRoom from None

    def release(self) -> None:
        """Gives all of it back; the body is needed no more."""
        if self.bytes:
            self._bodies._give_back(self)
            self.bytes = 0


class Spool:
    """A queue of bytes with one writer and one reader: in memory at first, then in a file without a name.

    Used on the event loop's thread. room: shared with the others; stall_s: how long the writer waits for room in it.
    """

    def __init__(self, run: Run, room: Room, *, stall_s: float) -> None:
        self._run, self._room, self._stall_s = run, room, stall_s
        self._memory: deque[bytes] = deque()
        self._memory_bytes = 0
        self._file: BinaryIO | None = None
        self._read_at = self._write_at = self._taken = 0
        self._writing = self._ended = self._abandoned = False
        self._changed = asyncio.Event()

    async def put(self, chunk: bytes) -> None:
        """Adds bytes; waits while there is no room for them. Raises Abandoned."""
        if self._abandoned:
            raise Abandoned
        # What is in memory is older than what is in the file, so nothing is added to it while the file is not empty.
        if self._read_at == self._write_at and (not self._memory or self._memory_bytes + len(chunk) <= MEMORY_BYTES):
            self._memory.append(chunk)
            self._memory_bytes += len(chunk)
        else:
            await self._put_in_file(chunk)
        self._changed.set()

    async def _put_in_file(self, chunk: bytes) -> None:
        try:
            async with asyncio.timeout(self._stall_s):
                while self._is_full(len(chunk)) and not self._abandoned:
                    if self._read_at == self._write_at and not self._memory:
                        self._memory.append(chunk)  # the reader has caught up
                        self._memory_bytes += len(chunk)
                        return
                    # Room may also be made by other spools, which do not wake this one.
                    self._changed.clear()
                    try:
                        await asyncio.wait_for(self._changed.wait(), 0.5)
                    except TimeoutError:
                        continue
        except TimeoutError:
            raise Abandoned from None
        if self._abandoned:
            raise Abandoned
        self._room.left -= len(chunk)
        self._taken += len(chunk)
        self._writing = True
        try:
            if self._file is None:
                self._file = await self._run(tempfile.TemporaryFile)
            await self._run(_write, self._file.fileno(), chunk, self._write_at)
            self._write_at += len(chunk)
        finally:
            self._writing = False

    def _is_full(self, more: int) -> bool:
        return self._room.left < more or self._taken + more > self._room.each

    def end(self) -> None:
        """Nothing more will be put."""
        self._ended = True
        self._changed.set()

    async def get(self) -> bytes:
        """The next bytes, as soon as there are any; b"" at the end."""
        while True:
            if self._memory:
                chunk = self._memory.popleft()
                self._memory_bytes -= len(chunk)
                self._changed.set()
                return chunk
            if self._read_at < self._write_at and self._file is not None:
                size = min(_READ_BYTES, self._write_at - self._read_at)
                chunk = bytes(await self._run(os.pread, self._file.fileno(), size, self._read_at))
                self._read_at += len(chunk)
                if self._read_at == self._write_at and not self._writing:
                    self._give_back()
                self._changed.set()
                return chunk
            if self._ended:
                return b""
            self._changed.clear()
            await self._changed.wait()

    def _give_back(self) -> None:
        """The file is read to its end: its bytes will be written over."""
        self._read_at = self._write_at = 0
        self._room.left += self._taken
        self._taken = 0

    def abandon(self) -> None:
        """The reader will not come back: the writer's next put fails."""
        self._abandoned = True
        self._changed.set()

    def close(self) -> None:
        """Lets the file go. Needs: the writer has ended."""
        self._memory.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
        self._give_back()


def _write(descriptor: int, chunk: bytes, at: int) -> None:
    view = memoryview(chunk)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written
