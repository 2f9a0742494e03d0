"""SOGo, from its database: everybody's calendars and address books, their colours, and who may see them.

A folder is /Users/alice/Calendar/personal in sogo_folder_info. Its members are in sogo_store (all folders in one table)
or in a table of its own, which c_location names. What a person made of a folder is in sogo_user_profile, as JSON. SOGo
keeps no accounts: who somebody is, and the password, is where SOGo looked for it.

A right there that nobody has made use of (by subscribing to the folder) becomes an invitation that waits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dav.movein.report import Report
from dav.movein.sabre import BODY_MAX, guarded
from dav.movein.source import Item, Known, Source, SourceAccount, SourceCollection, SourceError, SourceShare
from storage.movein_db import ForeignDb, Row, number, octets, text

_PROFILE_CHARS_MAX = 10_000_000
_KINDS = {"Appointment": "calendar", "Contact": "addressbook"}
_FOLDERS, _STORE, _ACL, _PROFILES = "sogo_folder_info", "sogo_store", "sogo_acl", "sogo_user_profile"
_EVERYBODY, _ANYBODY = "<default>", "anonymous"
# A right to less than all of it, such as answering for it, comes to reading.
_CHANGES = {"calendar": {"PublicModifier"}, "addressbook": {"ObjectEditor"}}
_READS = {"calendar": {"PublicViewer", "PublicResponder"}, "addressbook": {"ObjectViewer"}}
_BUSY = {"PublicDAndTViewer"}
_LIST = b"BEGIN:VLIST"


def sogo(db: ForeignDb) -> Source:
    """What is in a database of SOGo. Raises SourceError when its tables are not there."""
    if _FOLDERS not in db.tables:
        raise SourceError(f"The database has no table {_FOLDERS}: it is not SOGo's.")
    return Source(id=f"sogo:{db.place}", accounts=lambda report: guarded(_Sogo(db, report).accounts()))


@dataclass(slots=True)
class _Sogo:
    db: ForeignDb
    report: Report
    folders: dict[str, list[Row]] = field(default_factory=dict)  # by owner
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)  # by person

    def accounts(self) -> Iterator[SourceAccount]:
        columns = (
            "c_folder_id", "c_path", "c_path1", "c_path2", "c_path3", "c_path4", "c_foldername", "c_location",
            "c_acl_location", "c_folder_type",
        )  # fmt: skip
        for row in self.db.rows(_FOLDERS, columns, key="c_folder_id"):
            if text(row["c_path1"]) == "Users" and text(row["c_path4"]):
                self.folders.setdefault(text(row["c_path2"]), []).append(row)
        defaults: dict[str, dict[str, Any]] = {}
        profile = ("c_uid", "c_defaults", "c_settings")
        for row in self.db.rows(_PROFILES, profile, key="c_uid"):
            name = text(row["c_uid"])
            defaults[name] = _json(row["c_defaults"])
            self.settings[name] = _json(row["c_settings"])
        for name in sorted(self.folders):
            known = defaults.get(name, {})
            yield SourceAccount(
                name=name,
                collections=partial(self._guarded_collections, name),
                time_zone=_text_in(known, "SOGoTimeZone"),
            )

    def _guarded_collections(self, name: str) -> Iterator[SourceCollection]:
        return guarded(self._collections(name))

    def _collections(self, name: str) -> Iterator[SourceCollection]:
        for row in self.folders[name]:
            kind = _KINDS.get(text(row["c_folder_type"]))
            module, path = text(row["c_path3"]), text(row["c_path4"])
            if kind is None:
                self.report.left(name, f"{module}/{path}", f"a folder of the kind {text(row['c_folder_type'])!r}")
                continue
            mine = self.settings.get(name, {}).get(module)
            mine = mine if isinstance(mine, dict) else {}
            reference = f"{name}:{module}/{path}"
            yield SourceCollection(
                path=path,
                kind=kind,
                items=partial(self._guarded_items, row),
                display_name=_text_in(mine, "FolderDisplayNames", reference) or text(row["c_foldername"]) or None,
                description=_text_in(mine, "DavDescription", reference) or None,
                colour=_text_in(mine, "FolderColors", reference) or None,
                transparent=_text_in(mine, "FreeBusyExclusions", reference) in ("1", "True")
                if kind == "calendar"
                else None,
                shares=tuple(self._shares(name, row, kind)),
            )

    # --- members ------------------------------------------------------------------------------------------------------

    def _guarded_items(self, folder: Row, known: Known) -> Iterator[Item]:
        return guarded(self._items(folder, known))

    def _items(self, folder: Row, known: Known) -> Iterator[Item]:
        table, where = self._table(folder, "c_location", _STORE)
        short = ("c_name", "c_version", "c_lastmodified", "c_deleted")
        if not known:
            yield from self._whole(table, where)
            return
        for row in self.db.rows(table, short, key="c_name", where=where, page=2000):
            name, version = text(row["c_name"]), _version(row)
            if number(row["c_deleted"]):
                continue
            if known.get(name) == version:
                yield Item(name, version, None)
            else:
                yield from self._whole(table, {**where, "c_name": name})

    def _whole(self, table: str, where: Mapping[str, str | int | None]) -> Iterator[Item]:
        columns = ("c_name", "c_version", "c_lastmodified", "c_deleted", "c_content")
        for row in self.db.rows(table, columns, key="c_name", where=where, long="c_content", long_max=BODY_MAX):
            if number(row["c_deleted"]):
                continue
            name, version, content = text(row["c_name"]), _version(row), row["c_content"]
            if content is None:
                yield Item(name, version, None, problem="it is too long, or has no content there")
                continue
            body = octets(content)
            if body.lstrip()[: len(_LIST)].upper() == _LIST:
                yield Item(name, version, None, problem="a list in SOGo's own form (VLIST), which is no contact")
                continue
            yield Item(name, version, body, etag=version.partition("/")[0])

    def _table(self, folder: Row, column: str, usual: str) -> tuple[str, dict[str, str | int | None]]:
        """The table for a folder, and what chooses the folder in it: one of its own, or the one of all folders."""
        own = text(folder[column]).rstrip("/").rpartition("/")[2]
        # PostgreSQL has folded the names of tables that were written without quotes.
        for name in (own, own.lower()):
            if name != usual and name in self.db.tables:
                return name, {}
        return usual, {"c_folder_id": number(folder["c_folder_id"])}

    # --- rights -------------------------------------------------------------------------------------------------------

    def _shares(self, owner: str, folder: Row, kind: str) -> Iterable[SourceShare]:
        table, where = self._table(folder, "c_acl_location", _ACL)
        module, path = text(folder["c_path3"]), text(folder["c_path4"])
        roles: dict[str, set[str]] = {}
        of = f"{owner}/{module}/{path}"
        for row in self.db.rows(table, ("c_uid", "c_object", "c_role"), key="", where=where):
            # Rights to single objects, which SOGo's programs cannot give, have a longer path.
            if text(row["c_object"]).strip("/") == of:
                roles.setdefault(text(row["c_uid"]), set()).add(text(row["c_role"]))
        for grantee, given in sorted(roles.items()):
            access = access_of(given, kind)
            if access is None or grantee == owner:
                continue
            if grantee == _ANYBODY:
                self.report.left(owner, path, "anybody could read it without a password there: publish it anew")
            elif grantee == _EVERYBODY:
                yield SourceShare("all", access)
            else:
                name = grantee.removeprefix("@")
                yield SourceShare(name, access, "accepted" if self._uses(name, module, owner, path) else "pending")

    def _uses(self, name: str, module: str, owner: str, path: str) -> bool:
        """Whether somebody has subscribed to a folder of somebody else."""
        theirs = self.settings.get(name, {}).get(module)
        subscribed = theirs.get("SubscribedFolders") if isinstance(theirs, dict) else None
        return isinstance(subscribed, list) and f"{owner}:{module}/{path}" in subscribed


def access_of(roles: set[str], kind: str) -> str | None:
    """What somebody's roles at a folder come to here. Changing needs making and removing too."""
    changes, reads = bool(roles & _CHANGES[kind]), bool(roles & (_READS[kind] | _CHANGES[kind]))
    if changes and {"ObjectCreator", "ObjectEraser"} <= roles:
        return "write"
    if reads:
        return "read"
    return "busy" if roles & _BUSY and kind == "calendar" else None


def _version(row: Row) -> str:
    """The entity tag that SOGo makes of a version, and when that was: a name that is used again begins at 0 again."""
    return f"gcs{number(row['c_version']) or 0:08d}/{number(row['c_lastmodified']) or 0}"


def _json(value: object) -> dict[str, Any]:
    written = text(value)
    try:
        read = json.loads(written) if 0 < len(written) <= _PROFILE_CHARS_MAX else {}
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _text_in(settings: Mapping[str, Any], *keys: str) -> str:
    value: Any = settings
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return "" if value is None or isinstance(value, (dict, list)) else str(value)
