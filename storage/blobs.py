"""Big bodies as plain files, named by their SHA-256: <blob_dir>/<first two digits>/<64 digits>.

A blob is written and fsynced before the row that names it commits, so a crash can leave a file without a row, never a
row without its file. What nothing refers to is removed much later, in two steps with time between them; see
purge_blobs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import sqlalchemy as sa

from storage import schema
from storage.engine import Conn, Statement, Store, one_of, transaction
from storage.errors import NotFound
from storage.records import Blob

_NAME = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = "incoming"

_o = schema.objects
_v = schema.object_versions
_n = schema.orphan_blobs


class BlobWriter:
    """Writes one blob: write() its chunks, then finish(), or seal() and, when it is wanted after all, place().

    As a context manager it removes an unfinished file.
    """

    def __init__(self, blob_dir: Path) -> None:
        self._dir = blob_dir
        folder = blob_dir / _TEMPORARY
        _make_folder(folder)
        self._path = folder / secrets.token_hex(16)
        self._file = open(self._path, "xb", buffering=0)  # noqa: SIM115  (closed by finish or abort)
        self._hash = hashlib.sha256()
        self._placed = False
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Add bytes. Raises OSError, such as when the disk is full."""
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]
        self._hash.update(chunk)
        self.size += len(chunk)

    def finish(self) -> Blob:
        """Make the blob durable under its name and return it."""
        blob = self.seal()
        self.place()
        return blob

    def seal(self) -> Blob:
        """Make the bytes durable; nobody finds them before place(), and abort() still removes them."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()
        return Blob(self._hash.hexdigest(), self.size)

    def place(self) -> None:
        """Put a sealed blob under its name, durably; once is enough. Must come before the row that names it commits."""
        if self._placed:
            return
        target = blob_path(self._dir, self._hash.hexdigest())
        _make_folder(target.parent)
        with _lock(self._dir, fcntl.LOCK_SH):
            # Also over one that is there already: its time is then new, and no purge that runs now takes it away.
            os.replace(self._path, target)
        _sync_folder(target.parent)
        self._placed = True

    def abort(self) -> None:
        """Drop what was written, unless it was placed."""
        self._file.close()
        with suppress(FileNotFoundError):
            self._path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._placed:
            self.abort()


def write_blob(blob_dir: Path, chunks: Iterable[bytes]) -> Blob:
    """Write a blob from its pieces."""
    with BlobWriter(blob_dir) as writer:
        for chunk in chunks:
            writer.write(chunk)
        return writer.finish()


def open_blob(blob_dir: Path, name: str) -> BinaryIO:
    """The blob, open for reading; once open it can be read to its end whatever is purged. Raises NotFound."""
    try:
        return open(blob_path(blob_dir, name), "rb")
    except FileNotFoundError:
        raise NotFound(name) from None


def blob_path(blob_dir: Path, name: str) -> Path:
    """Where a blob lies. Raises ValueError for what is no blob's name."""
    if not _NAME.fullmatch(name):
        raise ValueError("not a blob's name")
    return blob_dir / name[:2] / name


def names_on_disk(blob_dir: Path) -> Iterator[str]:
    """Names of all blobs in the folder, in order, a folder of them in memory at a time."""
    for number in range(256):
        with suppress(FileNotFoundError):
            yield from sorted(name for name in os.listdir(blob_dir / f"{number:02x}") if _NAME.fullmatch(name))


def purge_blobs(store: Store, *, now_s: int, grace_s: int = 86400, batch: int = 200) -> int:
    """Remove blobs that no object and no version refers to; returns how many went.

    A blob is removed when it is older than grace_s, was found without a reference at least grace_s ago, and still is: a
    request that took up its content again in the meantime is safe. Unfinished uploads older than grace_s go too.
    """
    removed = _purge_unfinished(store.blob_dir, now_s - grace_s)
    names: list[str] = []
    for name in names_on_disk(store.blob_dir):
        with suppress(FileNotFoundError):
            if os.stat(blob_path(store.blob_dir, name)).st_mtime < now_s - grace_s:
                names.append(name)
        if len(names) >= batch:
            removed += _purge_batch(store, names, now_s, grace_s)
            names = []
    if names:
        removed += _purge_batch(store, names, now_s, grace_s)
    return removed


def referenced(conn: Conn, names: Iterable[str]) -> set[str]:
    """Those of the blobs that an object or a version refers to. One statement."""
    return {row[0] for row in _REFERENCED.all(conn, names=conn.array(names))}


def _purge_batch(store: Store, names: list[str], now_s: int, grace_s: int) -> int:
    with transaction(store, write=True) as conn:
        alive = referenced(conn, names)
        known = {row[0]: row[1] for row in _KNOWN.all(conn, names=conn.array(names))}
        orphans = [name for name in names if name not in alive]
        _NOTE.many(conn, [{"name": name, "since_s": now_s} for name in orphans if name not in known])
        doomed = [name for name in orphans if known.get(name, now_s) <= now_s - grace_s]
        _FORGET.run(conn, names=conn.array([name for name in names if name in alive or name in doomed]))
    removed = 0
    for name in doomed:
        path = blob_path(store.blob_dir, name)
        with _lock(store.blob_dir, fcntl.LOCK_EX), suppress(FileNotFoundError):
            if path.stat().st_mtime < now_s - grace_s:  # not written anew since we looked
                path.unlink()
                removed += 1
    return removed


def _purge_unfinished(blob_dir: Path, before_s: int) -> int:
    removed = 0
    with suppress(FileNotFoundError):
        for entry in os.scandir(blob_dir / _TEMPORARY):
            with suppress(FileNotFoundError):
                if entry.stat().st_mtime < before_s:
                    os.unlink(entry.path)
                    removed += 1
    return removed


@contextmanager
def _lock(blob_dir: Path, how: int) -> Iterator[None]:
    """Hold the folder's lock: shared to put a blob in its place, exclusive to remove one."""
    descriptor = os.open(blob_dir / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_REFERENCED = Statement(
    sa.union(
        sa.select(_o.c.blob).where(one_of(_o.c.blob, "names")),
        sa.select(_v.c.blob).where(one_of(_v.c.blob, "names")),
    )
)
_KNOWN = Statement(sa.select(_n.c.name, _n.c.since_s).where(one_of(_n.c.name, "names")))
_NOTE = Statement(_n.insert().values(name=sa.bindparam("name"), since_s=sa.bindparam("since_s")))
_FORGET = Statement(_n.delete().where(one_of(_n.c.name, "names")))
