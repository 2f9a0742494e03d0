"""Folders of Xandikos: each collection is a git repository, with a work tree or bare, that says itself what it is.

Members are what git's index has, or in a bare repository the last commit, for that is what Xandikos serves; their
entity tags are the names of the blobs, and are kept. Read by the program `git`, one long-running process for each
repository; nothing is written there.
"""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from dav.movein.report import Report
from dav.movein.source import Item, Known, Source, SourceAccount, SourceCollection, SourceError

_KINDS = {"calendar": "calendar", "addressbook": "addressbook", "subscription": "subscribed"}
_CONFIG = ".xandikos"
_CONFIG_BYTES_MAX = 1024 * 1024
_HOMES = ("calendars", "contacts")
_ACCOUNT_KINDS = {"GROUP": "group", "RESOURCE": "resource", "ROOM": "room"}
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}(?:[0-9A-Fa-f]{2})?")
_DEPTH_MAX = 6
_FOLDERS_MAX = 100_000
_LISTED_BYTES_MAX = 1024 * 1024 * 1024
# What a repository's own configuration could run or reach is switched off, here and in _environment().
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*",
        "-c", "protocol.allow=never")  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file of the last commit. blob: the name of its content, which Xandikos has as entity tag."""

    name: str
    blob: str


def source_of(folder: Path, *, account: str = "", most: int) -> Source:
    """The data folder of Xandikos, what `--directory` named. Raises SourceError.

    account: a name for the account when the folder is one principal's; "" for the names of the folders of principals.
    most: bytes that one member may have.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is no folder.")
    try:
        subprocess.run([*_GIT, "--version"], capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        raise SourceError("The program git is needed to read the repositories of Xandikos.") from None

    def accounts(report: Report) -> Iterator[SourceAccount]:
        places = [folder] if account else _principals(folder)
        names = {place: account or place.name for place in places}
        said = {place: _principal(place) for place in places}
        for place in places:
            delegates = []
            for other in places:
                for key, writes in (("calendar-proxy-read-for", False), ("calendar-proxy-write-for", True)):
                    if names[place] in map(_last, _list(said[other].get(key, ""))):
                        delegates.append((names[other], writes))
            addresses = [
                one[7:] for one in _list(said[place].get("addresses", "")) if one.lower().startswith("mailto:")
            ]
            chosen = _last(said[place].get("default-calendar-url", ""))
            yield SourceAccount(
                names[place], partial(_collections, place, names[place], most, report), addresses=tuple(addresses),
                kind=_ACCOUNT_KINDS.get(said[place].get("user-type", "").upper(), "individual"),
                delegates=tuple(dict(delegates).items()), default_calendars={"VEVENT": chosen} if chosen else {},
            )  # fmt: skip

    return Source(f"xandikos:{folder.resolve()}", accounts)


def _principal(place: Path) -> dict[str, str]:
    """What a principal's own file says, if there is one."""
    file = place / _CONFIG
    try:
        if not file.is_file() or file.is_symlink():
            return {}
        with file.open("rb") as stream:
            return _parsed(stream.read(_CONFIG_BYTES_MAX), file)
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}.") from None


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _last(url: str) -> str:
    return unquote(url.rstrip("/").rpartition("/")[2])


def _principals(folder: Path) -> list[Path]:
    """Folders in which homes lie: those below `folder`, or itself."""
    if any((folder / home).is_dir() for home in _HOMES):
        return [folder]
    return [inner for inner in _inside(folder) if _repositories(inner, 1)]


def _inside(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                Path(entry.path)
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            )
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror}.") from None


def _repositories(folder: Path, depth: int) -> list[Path]:
    """All repositories in a folder, in order, however deep."""
    if depth > _DEPTH_MAX:
        return []
    git_dir = _git_dir(folder)
    found: list[Path] = [] if git_dir is None else [folder]
    for inner in _inside(folder) if git_dir != folder else ():  # what is in a bare one is git's
        found += _repositories(inner, depth + 1)
        if len(found) > _FOLDERS_MAX:
            raise SourceError(f"There are more than {_FOLDERS_MAX} collections in {folder}.")
    return found


def _git_dir(folder: Path) -> Path | None:
    """Where the repository of a collection is; None when the folder is none."""
    for place in (folder / ".git", folder):
        if (place / "HEAD").is_file() and (place / "objects").is_dir() and not place.is_symlink():
            return place
    return None


def _collections(folder: Path, name: str, most: int, report: Report) -> Iterator[SourceCollection]:
    seen: dict[tuple[str, str], Path] = {}
    for place in _repositories(folder, 0):
        shown = place.relative_to(folder).as_posix()
        try:
            found = _collection(place, shown, name, most, report)
        except SourceError as error:
            report.left(name, shown, str(error))
            continue
        if found is None:
            continue
        area = "addressbooks" if found.kind == "addressbook" else "calendars"
        if seen.setdefault((area, found.path), place) != place:
            report.left(name, shown, "Another collection of this account has its name.")
            continue
        yield found


def _collection(place: Path, shown: str, account: str, most: int, report: Report) -> SourceCollection | None:
    git_dir = _git_dir(place)
    assert git_dir is not None
    entries = _entries(git_dir, place)
    settings = _settings(git_dir, place, entries)
    says = settings.get("type", "") or _guessed(entries)
    kind = _KINDS.get(says)
    if kind is None:
        if any(entry.name.endswith((".ics", ".vcf")) for entry in entries):
            report.left(account, shown, f"It is a collection of the type {says[:40]!r}, which is not brought over.")
        return None
    colour = settings.get("color", "")
    order = settings.get("order", "")
    suffix = ".vcf" if kind == "addressbook" else ".ics"
    members = [entry for entry in entries if entry.name.endswith(suffix)]
    for entry in entries:
        if entry not in members and not entry.name.startswith("."):
            report.left(account, f"{shown}/{entry.name}", f"Only {suffix} files are members of it.")
    return SourceCollection(
        place.name,
        kind,
        lambda known: _items(git_dir, members, known, most),
        display_name=settings.get("displayname") or None,
        description=settings.get("description") or None,
        colour=colour if _COLOUR.fullmatch(colour) else None,
        order=int(order) if order.isascii() and order.isdigit() and len(order) < 9 else None,
        time_zone=settings.get("timezone") or settings.get("timezone-id") or None,
        components=tuple(_list(settings.get("supported-components", ""))),
        url=settings.get("source") or None,
        count=len(members),
    )


def _guessed(entries: list[_Entry]) -> str:
    """What a collection that does not say so is, by its members."""
    if any(entry.name.endswith(".ics") for entry in entries):
        return "calendar"
    return "addressbook" if any(entry.name.endswith(".vcf") for entry in entries) else ""


def _entries(git_dir: Path, place: Path) -> list[_Entry]:
    """The files at the top: of the index where there is a work tree, else of the last commit."""
    if git_dir != place and (git_dir / "index").is_file():
        listed = _run(git_dir, "-C", str(place), "ls-files", "--stage", "-z", work_tree=place)
    else:
        head = _run(git_dir, "rev-parse", "--verify", "--quiet", "HEAD^{commit}", failing=True).strip()
        if not head:
            return []
        listed = _run(git_dir, "ls-tree", "-z", head.decode("ascii", "replace"))
    found = []
    for line in listed.split(b"\0"):
        about, tab, name = line.partition(b"\t")
        parts = about.split()  # mode, name of the blob, stage; or mode, type, name
        blob = parts[2] if parts[1:2] == [b"blob"] else parts[1] if parts[2:] == [b"0"] else b""
        if tab and b"/" not in name and parts[0].startswith(b"100") and blob:
            found.append(_Entry(os.fsdecode(name), blob.decode("ascii")))
    return found


def _run(git_dir: Path, *arguments: str, failing: bool = False, work_tree: Path | None = None) -> bytes:
    command = [*_GIT, f"--git-dir={git_dir.resolve()}"]
    if work_tree is not None:
        command.append(f"--work-tree={work_tree.resolve()}")
    command += arguments
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment()
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read(_LISTED_BYTES_MAX + 1)
        if len(output) > _LISTED_BYTES_MAX:
            process.kill()
            raise SourceError(f"{git_dir} has too many files.")
        _, errors = process.communicate()
    if process.returncode and not failing:
        raise SourceError(f"git cannot read {git_dir}: {errors.decode('utf-8', 'replace').strip()[:200]}.")
    return output


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0",
            # A repository may allow itself a protocol, and name a program for it; what stands here it cannot undo.
            "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": ""}  # fmt: skip


def _settings(git_dir: Path, place: Path, entries: list[_Entry]) -> dict[str, str]:
    """What a collection says of itself: in the repository's own configuration, else in its file .xandikos."""
    listed = _run(git_dir, "config", "--local", "--null", "--get-regexp", r"^xandikos\.", failing=True)
    found: dict[str, str] = {}
    for line in listed.split(b"\0"):
        key, _, value = line.decode("utf-8", "replace").partition("\n")
        if value:
            found[key.removeprefix("xandikos.").replace("calendar-order", "order")] = value
    if listed:
        with suppress(OSError):
            said = (git_dir / "description").read_text("utf-8", "replace")[:10_000].strip()
            if said and not said.startswith("Unnamed repository"):
                found["description"] = said
        return found
    blob = next((entry.blob for entry in entries if entry.name == _CONFIG), None)
    if blob is None:
        return {}
    with _Blobs(git_dir) as blobs:
        return _parsed(blobs.read(blob, _CONFIG_BYTES_MAX) or b"", place / _CONFIG)


def _parsed(data: bytes, file: Path) -> dict[str, str]:
    """All settings of a file, whatever their section: no name stands in two. Raises SourceError."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(data.decode("utf-8", "replace"))
    except configparser.Error:
        raise SourceError(f"{file} cannot be understood.") from None
    found = dict(parser.defaults())
    for section in parser.sections():
        found |= parser.items(section)
    return {key: value.replace("%%", "%") for key, value in found.items()}


def _items(git_dir: Path, members: list[_Entry], known: Known, most: int) -> Iterator[Item]:
    with _Blobs(git_dir) as blobs:
        for entry in members:
            if known.get(entry.name) == entry.blob:
                yield Item(entry.name, entry.blob, None)
                continue
            body = blobs.read(entry.blob, most)
            if body is None:
                yield Item(entry.name, "", None, problem=f"It has more than {most} bytes, or is not in the repository.")
            else:
                yield Item(entry.name, entry.blob, body, entry.blob)


class _Blobs:
    """One `git cat-file --batch` that answers with contents, one after the other."""

    def __init__(self, git_dir: Path) -> None:
        self._process = subprocess.Popen(
            [*_GIT, f"--git-dir={git_dir}", "cat-file", "--batch"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environment(),
        )  # fmt: skip

    def __enter__(self) -> _Blobs:
        return self

    def __exit__(self, *failure: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()

    def read(self, blob: str, most: int) -> bytes | None:
        """The content of a blob; None when there is none, or it has more than `most` bytes. Raises SourceError."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(f"{blob}\n".encode())
            stdin.flush()
            head = stdout.readline(200).split()
            if len(head) != 3 or head[1] != b"blob":
                return None
            size = int(head[2])
            data: bytes | None = None
            if size > most:
                _skip(stdout, size)
            else:
                data = stdout.read(size)
            stdout.read(1)
        except (OSError, ValueError) as error:
            raise SourceError(f"git has stopped: {error}.") from None
        return data


def _skip(stream: IO[bytes], size: int) -> None:
    while size > 0:
        chunk = stream.read(min(size, 1 << 20))
        if not chunk:
            return
        size -= len(chunk)
