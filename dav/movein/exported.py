"""Reading what `davenport export` wrote: a zip, or the folder that it was unpacked to. The layout is in `export`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from dav.config import Config
from dav.methods.put import etag_of
from dav.movein.report import Report
from dav.movein.source import (
    Item,
    Known,
    Source,
    SourceAccount,
    SourceCollection,
    SourceError,
    SourceOverlay,
    SourceShare,
)
from dav.movein.tree import File, Folder
from storage.engine import clean

FORMAT = 1
ACCOUNT, FOLDERS, MEMBERS, OVERLAYS = "account.json", "folders.jsonl", "members.jsonl", "overlays.jsonl"
AREAS = ("calendars", "addressbooks", "files")
_JSON_BYTES_MAX = 16 * 1024 * 1024
_LINES_BYTES_MAX = 1024 * 1024 * 1024


def folder_of_area(area: str) -> str:
    """Where the plain files of a home are: those of the files home, or what lies beside calendars or books."""
    return area if area == "files" else f"{area}-files"


def is_export(folder: Folder) -> bool:
    """Whether a folder is what `davenport export` wrote."""
    file = folder.files.get(ACCOUNT)
    if file is None:
        return False
    try:
        found = json.loads(file.read(_JSON_BYTES_MAX))
    except (SourceError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "davenport" in found


def source_of(folder: Folder, config: Config, *, into: str = "") -> Source:
    """The account in an export. into: its name here, "" for the one that it had. Raises SourceError."""
    about = _object(folder.files[ACCOUNT])
    if about.get("davenport") != FORMAT:
        raise SourceError(f"This export has the format {about.get('davenport')!r}; this version reads {FORMAT}.")
    name = into or _str(about, "name")

    def accounts(report: Report) -> Iterator[SourceAccount]:
        yield SourceAccount(
            name,
            lambda: _collections(folder, config, report, name),
            display_name=_str(about, "display_name"),
            addresses=_strings(about, "addresses"),
            kind=_str(about, "kind") or "individual",
            locale=_str(about, "locale"),
            time_zone=_str(about, "time_zone"),
            quota_bytes=_int(about, "quota_bytes"),
            delegates=tuple((_str(one, "name"), one.get("writes") is True) for one in _objects(about, "delegates")),
            members=_strings(about, "members"),
            properties=_mapping(about, "properties"),
            default_calendars=_mapping(about, "default_calendars"),
            booking=_booking(about.get("booking")),
            complete=True,
            overlays=lambda: _overlays(folder),
        )

    return Source(f"export:{_str(about, 'name')}", accounts)


def _collections(folder: Folder, config: Config, report: Report, name: str) -> Iterator[SourceCollection]:
    members = _members(folder)
    for area in AREAS:
        inner = folder.folders.get(area)
        if area != "files" and inner is not None:
            found = []
            for file in inner.sorted_files():
                if not file.name.endswith(".json"):
                    continue
                try:
                    about = _object(file)
                except SourceError as error:
                    report.left(name, f"{area}/{file.name}", str(error))
                    continue
                path = unquote(file.name.removesuffix(".json"))
                content = inner.folders.get(file.name.removesuffix(".json")) or Folder(path)
                found.append((_int(about, "order") or 0, _made(area, path, about, content, members, config)))
            yield from (made for _, made in sorted(found, key=lambda pair: pair[0]))
        yield from _folders(folder, area, members, config)


def _folders(
    folder: Folder, area: str, members: Mapping[str, Mapping[str, Any]], config: Config
) -> Iterator[SourceCollection]:
    """The home of an area and the plain folders in it, parents first."""
    root = folder.folders.get(folder_of_area(area)) or Folder("")
    described = {}
    for about in _lines(folder, FOLDERS):
        if about.get("area") == area:
            described[_str(about, "path")] = about
    yield from _folder(root, area, "", described, members, config)


def _folder(
    folder: Folder,
    area: str,
    path: str,
    described: Mapping[str, Mapping[str, Any]],
    members: Mapping[str, Mapping[str, Any]],
    config: Config,
) -> Iterator[SourceCollection]:
    about = {"kind": "folder" if path else "home", **described.get(path, {})}
    yield _made(area, path, about, folder, members, config)
    for inner in folder.sorted_folders():
        below = unquote(inner.name)
        yield from _folder(inner, area, f"{path}/{below}" if path else below, described, members, config)


def _made(
    area: str,
    path: str,
    about: Mapping[str, Any],
    folder: Folder,
    members: Mapping[str, Mapping[str, Any]],
    config: Config,
) -> SourceCollection:
    feed = about.get("feed")
    feed = feed if isinstance(feed, dict) else {}
    kind = _str(about, "kind")
    return SourceCollection(
        path,
        kind,
        _items(area, path, folder, members, config.imports.file_bytes, whole=kind not in ("folder", "home")),
        display_name=_text(about, "display_name"),
        description=_text(about, "description"),
        time_zone=_text(about, "time_zone"),
        components=_strings(about, "components"),
        transparent=about.get("transparent") if isinstance(about.get("transparent"), bool) else None,
        url=_text(feed, "url"),
        strip=_strings(feed, "strip"),
        interval_s=_int(feed, "interval_s"),
        properties=_mapping(about, "properties"),
        shares=tuple(
            SourceShare(_str(one, "grantee"), _str(one, "access"), _str(one, "state"))
            for one in _objects(about, "shares")
        ),
        published=tuple(
            (_str(one, "secret"), _str(one, "mode"), _str(one, "label")) for one in _objects(about, "published")
        ),
        count=len(folder.files),
        area=area,
    )


def _items(
    area: str, path: str, folder: Folder, members: Mapping[str, Mapping[str, Any]], most: int, *, whole: bool
) -> Callable[[Known], Iterable[Item]]:
    """whole: the items are objects, read into memory; else files, which may be large."""

    def items(known: Known) -> Iterable[Item]:
        for file in folder.sorted_files():
            name = unquote(file.name)
            about = members.get("/".join(part for part in (area, path, name) if part), {})
            name = _str(about, "name") or name
            etag = _text(about, "etag")
            if known.get(name) == file.version:
                yield Item(name, file.version, None)
            elif whole:
                try:
                    body = file.read(most)
                except SourceError as error:
                    yield Item(name, "", None, problem=str(error))
                    continue
                yield Item(name, file.version, body, etag or etag_of(body), properties=_mapping(about, "properties"))
            else:
                kind = _text(about, "content_type")
                yield Item(name, file.version, file.open, etag, kind, properties=_mapping(about, "properties"))

    return items


def _overlays(folder: Folder) -> Iterator[SourceOverlay]:
    for about in _lines(folder, OVERLAYS):
        text = about.get("content")
        content = text.encode("utf-8", "surrogateescape") if isinstance(text, str) and _encodes(text) else b""
        owner, area, path, name, uid = (_str(about, key) for key in ("owner", "area", "path", "name", "uid"))
        yield SourceOverlay(owner, area, path, name, uid, content)


def _encodes(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _booking(found: Any) -> tuple[str, str, int] | None:
    if not isinstance(found, dict):
        return None
    return _str(found, "mode"), _str(found, "conflicts"), _int(found, "horizon_days") or 0


def _members(folder: Folder) -> dict[str, Mapping[str, Any]]:
    """What is said about members that are not as their file alone says."""
    return {_str(about, "path"): about for about in _lines(folder, MEMBERS)}


# ---- JSON that somebody else may have written -----------------------------------------------------------------------


def _object(file: File) -> dict[str, Any]:
    try:
        found = json.loads(file.read(_JSON_BYTES_MAX))
    except (ValueError, RecursionError):
        raise SourceError(f"{file.name} is no JSON.") from None
    if not isinstance(found, dict):
        raise SourceError(f"{file.name} holds no object.")
    return found


def _lines(folder: Folder, name: str) -> Iterator[dict[str, Any]]:
    file = folder.files.get(name)
    if file is None:
        return
    for line in file.read(_LINES_BYTES_MAX).splitlines():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            raise SourceError(f"{name} is no JSON.") from None
        if isinstance(found, dict):
            yield found


def _str(about: Mapping[str, Any], name: str) -> str:
    return _text(about, name) or ""


def _text(about: Mapping[str, Any], name: str) -> str | None:
    value = about.get(name)
    return clean(value) if isinstance(value, str) else None


def _int(about: Mapping[str, Any], name: str) -> int | None:
    value = about.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None


def _strings(about: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = about.get(name)
    return tuple(clean(one) for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def _objects(about: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = about.get(name)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _mapping(about: Mapping[str, Any], name: str) -> dict[str, str]:
    value = about.get(name)
    if not isinstance(value, dict):
        return {}
    return {clean(key): clean(text) for key, text in value.items() if isinstance(text, str)}
