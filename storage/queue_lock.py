"""The writers' queue of an SQLite store: one writer at a time, in order, over all threads and processes of a machine.

SQLite's own busy wait sleeps in growing steps, so under load some writers wait for very long. Here the threads of a
process stand in a first-come queue, and the head of that queue takes two file locks in turn: `<file>.turn`, then
`<file>.lock`, and gives `.turn` back as soon as it holds `.lock`. A process that has just written must pass `.turn`
again, where the others already stand, so none of them starves. Both are flock(2) locks: the kernel drops them when a
process dies.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import deque
from pathlib import Path

from storage.errors import StoreBusy

# How long to sleep between two tries: a commit takes 0.2 to 3 ms, so the next in turn looks often and the others
# rarely.
_NEXT_PAUSE_S = 0.0001
_QUEUE_PAUSE_S = 0.0005
_PAUSE_MAX_S = 0.005
# So many writers of one process may follow each other without giving the file lock back, when no other process waits.
_HANDOVERS_MAX = 64


class WriterQueue:
    """Mutual exclusion of writers. acquire() and release() are called by the thread that writes."""

    def __init__(self, database: Path) -> None:
        self._paths = (Path(f"{database}.lock"), Path(f"{database}.turn"))
        self._guard = threading.Lock()
        self._waiting: deque[tuple[threading.Lock, bool]] = deque()
        self._busy = False
        self._holds_file = False
        self._handovers = 0
        self._files: tuple[int, int] | None = None
        self._owner_pid = 0

    def acquire(self, timeout_s: float, *, joins: bool = False) -> None:
        """Wait for the right to write. Raises StoreBusy after timeout_s seconds.

        joins: whether it may be given the right with a transaction of those before it still open, see pass_on.
        """
        deadline = time.monotonic() + timeout_s
        with self._guard:
            if self._busy:
                turn = threading.Lock()
                turn.acquire()
                self._waiting.append((turn, joins))
            else:
                self._busy = True
                turn = None
        if turn is not None and not turn.acquire(timeout=max(0.0, timeout_s)):
            with self._guard:
                try:
                    self._waiting.remove((turn, joins))
                except ValueError:
                    pass  # it was handed to us in the last moment
                else:
                    raise StoreBusy("the store is busy: too many writers are waiting")
        if not self._holds_file:
            try:
                self._lock_file(deadline)
            except BaseException:
                self._next()
                raise

    def release(self) -> None:
        """Let the next writer in."""
        with self._guard:
            keep = bool(self._waiting) and self._handovers < _HANDOVERS_MAX
        if keep and self._nobody_else_waits():
            self._handovers += 1
        else:
            self._unlock_file()
        self._next()

    def pass_on(self) -> bool:
        """Hand the right to the next thread of this process as it stands, if there is one that joins. Else False."""
        with self._guard:
            if not self._waiting or not self._waiting[0][1]:
                return False
            self._waiting.popleft()[0].release()
            return True

    def waiting(self) -> int:
        """How many threads of this process stand in the queue."""
        return len(self._waiting)

    def close(self) -> None:
        """Close the lock files. Nobody may hold or want the lock any more."""
        if self._files is not None:
            for descriptor in self._files:
                os.close(descriptor)
            self._files = None

    def _next(self) -> None:
        """Hand the process's turn to its next thread. Called by the thread that has it."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft()[0].release()
                return
            self._busy = False
        # Nobody stands behind us: whoever comes now begins with the file locks.

    def _open(self) -> tuple[int, int]:
        # A forked child must not share the parent's open files: flock belongs to the open file, not to the process.
        if self._files is None or self._owner_pid != os.getpid():
            lock, turn = (os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) for path in self._paths)
            self._files, self._owner_pid = (lock, turn), os.getpid()
        return self._files

    def _lock_file(self, deadline: float) -> None:
        lock, turn = self._open()
        _take(turn, deadline, _QUEUE_PAUSE_S)
        try:
            _take(lock, deadline, _NEXT_PAUSE_S)
        finally:
            fcntl.flock(turn, fcntl.LOCK_UN)
        self._holds_file, self._handovers = True, 0

    def _unlock_file(self) -> None:
        if self._files is not None:
            fcntl.flock(self._files[0], fcntl.LOCK_UN)
        self._holds_file = False

    def _nobody_else_waits(self) -> bool:
        """True when no other process stands in front of the file lock."""
        turn = self._open()[1]
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(turn, fcntl.LOCK_UN)
        return True


def _take(descriptor: int, deadline: float, pause_s: float) -> None:
    """Take a file lock. A blocking flock() could not be given up in time, so this one asks again and again."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise StoreBusy("the store is busy: another process is writing") from None
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.2, _PAUSE_MAX_S)
        else:
            return
