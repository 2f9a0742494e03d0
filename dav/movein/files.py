"""Files that people have: .ics (or .vcs) and .vcf with one or many objects, folders of them, and zips.

A folder in which files hold one object each is a collection of its own (dav.movein.vdir). A file with several objects
is a collection of its own too, called like the file, as the exports of web calendars are. With a collection given,
everything goes into that one. A zip or folder that `davenport export` wrote is read by dav.movein.exported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from dav.config import Config
from dav.ical.lines import unescape
from dav.movein import exported, vdir
from dav.movein.report import Report
from dav.movein.source import Source, SourceAccount, SourceCollection, SourceError
from dav.movein.tree import File, Folder, file_of, folder_of, zip_of

_UID = re.compile(rb"^UID[ \t]*[:;][^\r\n]*", re.I | re.M)
_BEGIN = {"calendar": re.compile(rb"^BEGIN:(?:VEVENT|VTODO|VJOURNAL)\b", re.I | re.M),
          "addressbook": re.compile(rb"^BEGIN:VCARD\b", re.I | re.M)}  # fmt: skip
_CALENDAR_NAME = re.compile(rb"^(?:X-WR-CALNAME|NAME)(?:;[^:\r\n]*)?:([^\r\n]*)", re.I | re.M)
_CALENDAR_COLOUR = re.compile(rb"^X-APPLE-CALENDAR-COLOR(?:;[^:\r\n]*)?:(#[0-9A-F]{6}(?:[0-9A-F]{2})?)", re.I | re.M)
_DOT_NAMES = re.compile(r"[^\w .@+=~-]+")


def source_of(paths: Iterable[Path], config: Config, *, into: str, collection: str = "") -> Source:
    """A source of files, folders and zips for one account. Raises SourceError for what is none of these.

    into: the account here that gets everything, "" for the one that an export names; collection: of it, which gets
    everything, "" for one for each.
    """
    chosen = list(paths)
    opened = [_opened(path, config) for path in chosen]
    if len(opened) == 1 and isinstance(opened[0], Folder) and exported.is_export(opened[0]):
        return exported.source_of(opened[0], config, into=into)
    if not into:
        raise SourceError("Say whose this is: --into ACCOUNT or ACCOUNT/COLLECTION.")

    def accounts(report: Report) -> Iterator[SourceAccount]:
        def collections() -> Iterator[SourceCollection]:
            plain = [one for one in opened if isinstance(one, File)]
            if plain:
                yield from _in_folder(Folder("", {file.name: file for file in plain}), "", config, report, into)
            for one in opened:
                if isinstance(one, Folder):
                    yield from _below(one, "", config, report, into)

        yield SourceAccount(into, collections)

    # By the target and not by where the files lie: the next export of the same calendar may lie elsewhere.
    return Source(f"files:{collection}", accounts)


def _opened(path: Path, config: Config) -> File | Folder:
    if path.is_dir():
        return folder_of(path, config.imports)
    if path.suffix.lower() == ".zip":
        return zip_of(path, config.imports)
    if vdir.kind_of(path.name) is None:
        raise SourceError(f"{path} is no .ics, .vcs, .vcf or .zip file, and no folder.")
    return file_of(path)


def _below(folder: Folder, above: str, config: Config, report: Report, into: str) -> Iterator[SourceCollection]:
    yield from _in_folder(folder, above, config, report, into)
    for inner in folder.sorted_folders():
        if not inner.name.startswith(".") and inner.name != "__MACOSX":
            yield from _below(inner, folder.name, config, report, into)


def _in_folder(folder: Folder, above: str, config: Config, report: Report, into: str) -> Iterator[SourceCollection]:
    """The collections that the files of one folder are."""
    del above
    single: dict[str, list[File]] = {"calendar": [], "addressbook": []}
    most = config.imports.file_bytes
    for file in folder.sorted_files():
        kind = vdir.kind_of(file.name)
        if kind is None:
            continue
        try:
            alone = bool(folder.name) and _is_single(file.read(most), kind)
        except SourceError as error:
            report.left(into, file.name, str(error))
            continue
        if alone:
            single[kind].append(file)
        else:
            yield _whole_file(file, kind, most)
    for kind, files in single.items():
        if files:
            yield vdir.collection_of(folder, kind, files, _safe(folder.name), most)


def _is_single(body: bytes, kind: str) -> bool:
    """Whether a file holds one object."""
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        body = body.decode("utf-16", "replace").encode()
    begun = len(_BEGIN[kind].findall(body))
    if begun <= 1:
        return True
    uids = [line.partition(b":")[2].strip() for line in _UID.findall(body)]
    return len(set(uids)) == 1 and len(uids) >= begun


def _whole_file(file: File, kind: str, most: int) -> SourceCollection:
    """A file with several objects as a collection, called like the file."""
    head = b""
    try:
        with file.open() as stream:
            head = stream.read(16_384)
    except OSError:
        pass  # its item says so
    name = _CALENDAR_NAME.search(head) if kind == "calendar" else None
    colour = _CALENDAR_COLOUR.search(head) if kind == "calendar" else None
    stem = file.name.rpartition(".")[0]
    return SourceCollection(
        _safe(stem),
        kind,
        vdir.items_of([file], most, named=False),
        display_name=unescape(name[1].decode("utf-8", "replace")).strip() if name else stem,
        colour=colour[1].decode() if colour else None,
    )


def _safe(name: str) -> str:
    """A name for a collection from a file's: what looks odd in an address is a hyphen."""
    return _DOT_NAMES.sub("-", name).strip(" .-")[:100] or "imported"
