"""All of an account as a zip of files that other programs read too; `exported` reads it back.

    account.json                     who it is: addresses, language, delegates, members
    calendars/NAME.json              a calendar: names, colour and other properties, shares
    calendars/NAME/….ics             its objects, one a file, byte for byte
    addressbooks/NAME.json, …/….vcf  the same for address books
    files/…                          the files as they are
    calendars-files/…                what lies beside the calendars, if anything does; so for address books
    folders.jsonl                    properties of plain folders, a line each
    members.jsonl                    what a file cannot say: entity tags that are not ours, media types, odd names
    overlays.jsonl                   the account's own alarms in calendars that others share with it, if it has any

In names, characters that a file system may refuse are written %XX. The order is always the same, nothing is held in
memory but one batch of objects, and the only times are those of the files in the zip. Not in it are passwords, what was
deleted, collections that others share with the account, and what the server makes itself (birthdays, the content of
followed calendars).
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import time
import zipfile
from typing import IO, Any, BinaryIO
from urllib.parse import unquote

from dav import xml
from dav.methods.put import etag_of, type_of_name
from dav.movein.exported import ACCOUNT, AREAS, FOLDERS, FORMAT, MEMBERS, OVERLAYS, folder_of_area
from dav.names import CALDAV, c
from dav.scheduling.places import CHOSEN
from storage import (
    accounts,
    collections,
    feeds_in,
    feeds_out,
    groups,
    itip,
    objects,
    overlays,
    properties,
    proxies,
    shares,
)
from storage.blobs import open_blob
from storage.engine import Conn, Store
from storage.meetings import BESIDE
from storage.records import Account, Collection, ObjectRecord, Share

_OF_PRINCIPAL = -1
_REFUSED = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|%\ud800-\udfff]')
_NAME_BYTES_MAX = 180
_FOLDER_BYTES_MAX = 10_000
_CHUNK = 1024 * 1024
_BIG_BYTES = 1 << 31
_SUFFIXES = {"calendar": ".ics", "inbox": ".ics", "subscribed": ".ics", "addressbook": ".vcf"}
_AVAILABILITY = c("calendar-availability")


def export(conn: Conn, store: Store, account: Account, target: BinaryIO) -> int:
    """Write the account to `target` as a zip; returns how many objects and files it has.

    Needs: a read transaction, for the whole time.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        return _Export(conn, store, account, archive).run()


def file_name(name: str, *, most: int = _NAME_BYTES_MAX) -> str:
    """A name as it is written in the zip: unquoted it is the name again, unless that has more than `most` bytes."""
    quoted = _REFUSED.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace")), name)
    if quoted[-1:] in (".", " "):
        quoted = f"{quoted[:-1]}%{ord(quoted[-1]):02X}"
    if quoted[:1] in (".", " "):
        quoted = f"%{ord(quoted[0]):02X}{quoted[1:]}"
    if len(quoted.encode()) > most:
        return hashlib.sha256(name.encode()).hexdigest()
    return quoted


class _Export:
    def __init__(self, conn: Conn, store: Store, account: Account, archive: zipfile.ZipFile) -> None:
        self.conn, self.store, self.account, self.archive = conn, store, account, archive
        self.count = 0

    def run(self) -> int:
        homes = {area: collections.home(self.conn, self.account.id, area) for area in AREAS}
        calendars = collections.children(self.conn, homes["calendars"].id)
        self._json(ACCOUNT, self._about(homes["calendars"], calendars), self.account.created_s)
        # What is said of single members and folders is gathered on the disk: there may be a million.
        with tempfile.TemporaryFile("w+b") as members, tempfile.TemporaryFile("w+b") as folders:
            for area, home in homes.items():
                order = 0
                for collection in sorted(collections.children(self.conn, home.id), key=_inbox_first):
                    if collection.kind in _SUFFIXES and collection.origin in ("", "feed"):
                        self._collection(collection, order, members)
                        order += 1
                self._folder(home, folder_of_area(area), members, folders)
            for name, stream in ((FOLDERS, folders), (MEMBERS, members)):
                stream.seek(0)
                self._write(name, self.account.created_s, stream)
            with tempfile.TemporaryFile("w+b") as kept:
                for source, name, uid, body in overlays.of_account(self.conn, self.account.id):
                    _line(kept, {
                        "owner": source.owner_name, "area": source.area, "path": source.path, "name": name, "uid": uid,
                        "content": body.decode("utf-8", "surrogateescape"),
                    })  # fmt: skip
                if kept.tell():
                    kept.seek(0)
                    self._write(OVERLAYS, self.account.created_s, kept)
        return self.count

    # ---- what is said about things ----------------------------------------------------------------------------------

    def _about(self, home: Collection, calendars: list[Collection]) -> dict[str, Any]:
        account = self.account
        paths = {one.key: one.path for one in calendars}
        inbox = next((one for one in calendars if one.kind == "inbox"), None)
        kept = {} if inbox is None else properties.get_properties(self.conn, inbox.id, object_id=BESIDE)
        booking = itip.get_booking(self.conn, account.id)
        found = {
            "davenport": FORMAT,
            "name": account.name,
            "display_name": account.display_name,
            "kind": account.kind,
            "locale": account.locale,
            "time_zone": account.time_zone,
            "quota_bytes": account.quota_bytes,
            "addresses": list(account.addresses),
            "delegates": sorted(
                ({"name": one.name, "writes": writes} for one, writes in proxies.delegates_of(self.conn, account.id)),
                key=lambda one: str(one["name"]),
            ),
            "members": sorted(one.name for one in groups.members_of(self.conn, account.id))
            if account.kind == "group" else [],
            "properties": properties.get_properties(self.conn, home.id, object_id=_OF_PRINCIPAL),
            "default_calendars": {
                component: paths[kept[name]] for component, name in CHOSEN.items() if kept.get(name) in paths
            },
            "booking": None if booking is None else {
                "mode": booking.mode, "conflicts": booking.conflicts, "horizon_days": booking.horizon_days,
            },
        }  # fmt: skip
        return _said(found)

    def _described(self, collection: Collection, order: int | None = None) -> dict[str, Any]:
        kept = properties.get_properties(self.conn, collection.id)
        feed = feeds_in.feed_of(self.conn, collection.id) if collection.origin == "feed" else None
        if collection.kind == "inbox":
            beside = properties.get_properties(self.conn, collection.id, object_id=BESIDE)
            if _AVAILABILITY in beside:
                text = xml.escape(beside[_AVAILABILITY])
                kept[_AVAILABILITY] = f'<C:calendar-availability xmlns:C="{CALDAV}">{text}</C:calendar-availability>'
        found = {
            "kind": "feed" if feed is not None else collection.kind,
            "order": order,
            "display_name": collection.display_name,
            "description": collection.description,
            "components": list(collection.components),
            "transparent": collection.transparent if collection.kind == "calendar" else None,
            "time_zone": collection.time_zone or collection.time_zone_id,
            "properties": kept,
            "shares": [self._share(one) for one in shares.shares_of(self.conn, collection.id)],
            "published": [
                {"secret": one.secret, "mode": one.mode, "label": one.label}
                for one in sorted(feeds_out.feeds_of(self.conn, collection.id), key=lambda one: one.secret)
            ],
            "feed": None if feed is None else {
                "url": feed.url, "strip": list(feed.strip), "interval_s": feed.interval_s,
            },
        }  # fmt: skip
        return _said(found)

    def _share(self, share: Share) -> dict[str, str]:
        other = None if share.grantee_id is None else accounts.account_by_id(self.conn, share.grantee_id)
        grantee = share.grantee if other is None else other.name
        return {"grantee": grantee, "access": share.access, "state": share.state}

    # ---- content ----------------------------------------------------------------------------------------------------

    def _collection(self, collection: Collection, order: int, members: IO[bytes]) -> None:
        """A calendar or address book: what is said about it, then its objects."""
        name = file_name(collection.name, most=_FOLDER_BYTES_MAX)
        if name.endswith(".json"):
            name = name.removesuffix(".json") + "%2Ejson"  # not to be taken for what is said about another one
        folder = f"{collection.area}/{name}"
        self._json(f"{folder}.json", self._described(collection, order), collection.created_s)
        if collection.origin == "feed":
            return
        kept = properties.get_of_members(self.conn, collection.id)
        place = f"{collection.area}/{collection.name}"
        for record, body in objects.iter_bodies(self.conn, collection.id):
            self._member(record, body, folder, place, _SUFFIXES[collection.kind], kept.get(record.id, {}), members)

    def _folder(self, collection: Collection, folder: str, members: IO[bytes], folders: IO[bytes]) -> None:
        """A home or plain folder: its files, then the folders in it."""
        about = self._described(collection)
        del about["kind"]
        if about:
            _line(folders, {"area": collection.area, "path": collection.path, **about})
        if collection.path:
            self._mark_folder(folder, collection.modified_s)
        kept = properties.get_of_members(self.conn, collection.id)
        place = "/".join(part for part in (collection.area, collection.path) if part)
        for record, body in objects.iter_bodies(self.conn, collection.id):
            self._member(record, body, folder, place, "", kept.get(record.id, {}), members)
        for inner in sorted(collections.children(self.conn, collection.id), key=lambda one: one.path):
            if inner.kind == "folder" and not inner.origin:
                self._folder(inner, f"{folder}/{file_name(inner.name, most=_FOLDER_BYTES_MAX)}", members, folders)

    def _member(
        self,
        record: ObjectRecord,
        body: bytes,
        folder: str,
        place: str,
        suffix: str,
        kept: dict[str, str],
        members: IO[bytes],
    ) -> None:
        name = file_name(record.name)
        if suffix and not name.lower().endswith(suffix):
            name = f"{name}.{hashlib.sha256(record.name.encode()).hexdigest()[:8]}{suffix}"
        said: dict[str, Any] = {"properties": kept} if kept else {}
        if unquote(name) != record.name:
            said["name"] = record.name
        own = record.blob[:40] if record.blob is not None else etag_of(body)
        if record.etag != own:
            said["etag"] = record.etag
        if not suffix and record.content_type != type_of_name(record.name):
            said["content_type"] = record.content_type
        if said:
            _line(members, {"path": f"{place}/{unquote(name)}", **said})
        if record.blob is None:
            self._bytes(f"{folder}/{name}", body, record.modified_s)
        else:
            with open_blob(self.store.blob_dir, record.blob) as stream:
                self._write(f"{folder}/{name}", record.modified_s, stream, size=record.size)
        self.count += 1

    # ---- the zip ----------------------------------------------------------------------------------------------------

    def _json(self, name: str, value: dict[str, Any], at_s: int) -> None:
        text = json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
        self._bytes(name, text.encode(), at_s)

    def _bytes(self, name: str, data: bytes, at_s: int) -> None:
        self.archive.writestr(_info(name, at_s), data)

    def _mark_folder(self, name: str, at_s: int) -> None:
        self.archive.writestr(_info(f"{name}/", at_s), b"")

    def _write(self, name: str, at_s: int, stream: IO[bytes], *, size: int = 0) -> None:
        with self.archive.open(_info(name, at_s), "w", force_zip64=size >= _BIG_BYTES) as out:
            while chunk := stream.read(_CHUNK):
                out.write(chunk)


def _inbox_first(collection: Collection) -> bool:
    """For sorting: a new account has its inbox before its calendars, another one may have it after them."""
    return collection.kind != "inbox"


def _info(name: str, at_s: int) -> zipfile.ZipInfo:
    at = time.gmtime(max(at_s, 315_532_800))  # a zip knows no time before 1980
    info = zipfile.ZipInfo(name, (min(at.tm_year, 2107), *at[1:6]))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = (0o40700 << 16 | 0x10) if name.endswith("/") else 0o100600 << 16
    info.create_system = 3
    return info


def _said(found: dict[str, Any]) -> dict[str, Any]:
    """Without what says nothing."""
    return {name: value for name, value in found.items() if value not in (None, "", [], {})}


def _line(stream: IO[bytes], value: dict[str, Any]) -> None:
    stream.write(json.dumps(value, ensure_ascii=False, sort_keys=True).encode() + b"\n")
