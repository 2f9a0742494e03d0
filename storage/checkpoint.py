"""Carrying the write-ahead log of an SQLite store over into its file, beside the writers and not in one of them.

By itself SQLite does that in the commit that makes the log too long: one request in a hundred then waits until two
thousand pages are written and synced, and everybody behind it. Here a thread does it while others go on writing. The
log begins anew only when all of it is carried over, so the thread ends by holding the writers back for the few pages
that came meanwhile.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable

from storage.errors import StorageError
from storage.queue_lock import WriterQueue

# After so many commits of this process: 1,000 to 2,000 pages of the log, of which half are the same few pages again.
EVERY_COMMITS = 100
# A log longer than this (in pages: 16 MiB) is to begin anew, which holds the writers back for some milliseconds.
PAGES = 4000
# SQLite's own way, for whatever makes the log grow faster than the thread can follow: 64 MiB.
FALLBACK_PAGES = 16384
_WAIT_S = 5.0

_log = logging.getLogger("davenport.storage")


class Checkpointer:
    """The thread of one store, started when there is something to do. connect: makes a connection for it."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], writers: WriterQueue) -> None:
        self._connect, self._writers = connect, writers
        self._commits = 0
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def committed(self) -> None:
        """To be called after each commit, by whoever has the right to write."""
        self._commits += 1
        if self._commits < EVERY_COMMITS or self._closed:
            return
        self._commits = 0
        if self._thread is None:
            # A daemon: the log is whole without it, so the end of a process need not wait.
            self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)
            self._thread.start()
        self._wanted.set()

    def close(self) -> None:
        """Ends the thread. No transaction may be open."""
        self._closed = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        try:
            while True:
                self._wanted.wait()
                self._wanted.clear()
                if self._closed:
                    return
                try:
                    if connection is None:
                        connection = self._connect()
                    self._carry_over(connection)
                except (sqlite3.Error, StorageError) as error:
                    # Nothing is lost: the log has everything, and the next time carries over more.
                    _log.warning("the log could not be carried over: %s", error)
        finally:
            if connection is not None:
                connection.close()

    def _carry_over(self, connection: sqlite3.Connection) -> None:
        busy, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if busy or pages < PAGES:
            return  # busy: another process is at it
        self._writers.acquire(_WAIT_S)
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        finally:
            self._writers.release()
