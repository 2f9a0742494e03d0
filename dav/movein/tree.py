"""Files of a folder on disk or of a zip, looked at the same way: names in order, bytes when they are wanted.

Both are somebody else's: links are not followed, nothing outside of the folder is read, and a zip is bounded by number,
size and ratio before anything of it is unpacked.
"""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO, cast

from dav.config import ImportsConfig
from dav.movein.source import SourceError

_RATIO_FROM_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class File:
    """One file. version: changes when the content may have. open: for reading from its beginning."""

    name: str
    size: int
    version: str
    open: Callable[[], BinaryIO]

    def read(self, most: int) -> bytes:
        """All of it. Raises SourceError when it has more than `most` bytes, or cannot be read."""
        try:
            with self.open() as stream:
                data = stream.read(most + 1)
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise SourceError(f"{self.name} cannot be read: {error}.") from None
        if len(data) > most:
            raise SourceError(f"{self.name} has more than {most} bytes.")
        return data


@dataclass(slots=True)
class Folder:
    """A folder with what lies in it, by name."""

    name: str
    files: dict[str, File] = field(default_factory=dict)
    folders: dict[str, Folder] = field(default_factory=dict)

    def sorted_files(self) -> list[File]:
        return [self.files[name] for name in sorted(self.files)]

    def sorted_folders(self) -> list[Folder]:
        return [self.folders[name] for name in sorted(self.folders)]

    def text(self, name: str, most: int = 65_536) -> str | None:
        """What a small file says, without white space around it; None when there is none or it cannot be read."""
        file = self.files.get(name)
        if file is None:
            return None
        try:
            return file.read(most).decode("utf-8", "replace").strip()
        except SourceError:
            return None


def folder_of(path: Path, limits: ImportsConfig) -> Folder:
    """A folder on disk. Links, sockets and the like are left out. Raises SourceError."""
    counted = [0]
    try:
        return _walk(path, path.name, limits, counted, 0)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from None


def _walk(path: Path, name: str, limits: ImportsConfig, counted: list[int], depth: int) -> Folder:
    if depth > limits.depth:
        raise SourceError(f"Folders nest deeper than imports.depth ({limits.depth}).")
    found = Folder(name)
    with os.scandir(path) as entries:
        for entry in entries:
            counted[0] += 1
            if counted[0] > limits.files:
                raise SourceError(f"There are more than imports.files ({limits.files}) files.")
            if entry.is_dir(follow_symlinks=False):
                found.folders[entry.name] = _walk(Path(entry.path), entry.name, limits, counted, depth + 1)
            elif entry.is_file(follow_symlinks=False):
                found.files[entry.name] = _on_disk(Path(entry.path), entry.stat(follow_symlinks=False))
    return found


def file_of(path: Path) -> File:
    """A file on disk. Raises SourceError."""
    try:
        return _on_disk(path, path.stat())
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from None


def _on_disk(path: Path, status: os.stat_result) -> File:
    def opened() -> BinaryIO:
        # The name may have become a link since it was listed.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(f"{path.name} is no file")
        return open(handle, "rb")

    return File(path.name, status.st_size, f"{status.st_size}.{status.st_mtime_ns}", opened)


def zip_of(path: Path, limits: ImportsConfig) -> Folder:
    """What is in a zip, which stays open. Raises SourceError for what is no zip, or one that is out of bounds.

    Names are taken as paths below one folder: absolute ones, drives and ".." make it unusable as a whole.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise SourceError(f"{path.name} cannot be read as a zip: {error}.") from None
    total = 0
    root = Folder(path.stem)
    entries = archive.infolist()
    if len(entries) > limits.files:
        raise SourceError(f"{path.name} has more than imports.files ({limits.files}) files.")
    for entry in entries:
        parts = entry.filename.split("/")
        if parts[-1] == "":
            parts.pop()
            if entry.file_size:
                raise SourceError(f"{path.name}: a folder with content.")
        if (
            entry.filename.startswith("/")
            or "\\" in entry.filename
            or any(part in ("", ".", "..") or "\0" in part or part[1:2] == ":" for part in parts)
        ):
            raise SourceError(f"{path.name}: the name {entry.filename[:80]!r} leads out of its folder.")
        if len(parts) > limits.depth:
            raise SourceError(f"{path.name}: folders nest deeper than imports.depth ({limits.depth}).")
        if entry.flag_bits & 1:
            raise SourceError(f"{path.name} is encrypted.")
        total += entry.file_size
        if total > limits.zip_bytes:
            raise SourceError(f"{path.name} unpacks to more than imports.zip_bytes ({limits.zip_bytes}).")
        if entry.file_size > _RATIO_FROM_BYTES and entry.file_size > limits.zip_ratio * max(entry.compress_size, 1):
            raise SourceError(f"{path.name}: {entry.filename[:80]!r} unpacks to too many times its size.")
        _add(root, parts, archive, entry)
    return root


def _add(root: Folder, parts: list[str], archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    is_folder = entry.filename.endswith("/")
    folder = root
    for part in parts if is_folder else parts[:-1]:
        folder = folder.folders.setdefault(part, Folder(part))
    if is_folder:
        return
    # Unix mode in the upper half; what is neither unknown nor a file is a link or a device.
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return

    def opened() -> BinaryIO:
        return cast(BinaryIO, _Bounded(archive.open(entry), entry.file_size))

    version = f"{entry.file_size}.{entry.CRC:08x}"
    folder.files[parts[-1]] = File(parts[-1], entry.file_size, version, opened)


class _Bounded:
    """A file in a zip, read up to the size that the zip says it has and not a byte further."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self._left = stream, size

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data

    def __enter__(self) -> _Bounded:
        return self

    def __exit__(self, *failure: object) -> None:
        self._stream.close()


def files_below(folder: Folder) -> Iterator[File]:
    """All files in a folder and below, in order."""
    yield from folder.sorted_files()
    for inner in folder.sorted_folders():
        yield from files_below(inner)
