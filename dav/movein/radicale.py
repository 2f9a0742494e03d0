"""A Radicale 3 installation, read through Radicale itself: its configuration, its storage, its rights, its shares.

The only module that imports radicale, and only `davenport import radicale` imports this one. Bodies, names and entity
tags are those that Radicale answers with, so that clients that are sent to the new address find nothing changed.
Nothing is written there but the lock that readers take, and what Radicale has cached is read without unpickling more
than texts and numbers.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import pickle
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

from radicale import config as radicale_config
from radicale import rights as radicale_rights
from radicale import sharing as radicale_sharing
from radicale import xmlutils
from radicale.storage import multifilesystem

from dav import xml
from dav.movein.report import Report
from dav.movein.source import Item, Known, Source, SourceAccount, SourceCollection, SourceError, SourceShare

_KINDS = {"VCALENDAR": "calendar", "VADDRESSBOOK": "addressbook", "VSUBSCRIBED": "subscribed"}
# So many items are read under one lock, for while it is held nobody can write there.
_AT_ONCE = 100
# Questions to the rules of rights: each account about each collection.
_QUESTIONS_MAX = 500_000
_NOBODY = "davenport-import-nobody"  # an account that no rule names
_COMPONENT_SET = "C:supported-calendar-component-set"
_OWN = {
    "tag", "D:displayname", "C:calendar-description", "CR:addressbook-description", "ICAL:calendar-color",
    "{http://inf-it.com/ns/ab/}addressbook-color", "C:calendar-timezone", _COMPONENT_SET, "ICAL:calendar-order",
    "CS:source",
}  # fmt: skip
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}(?:[0-9A-Fa-f]{2})?")
_PASSWORD_FILE_BYTES_MAX = 64 * 1024 * 1024
_HASHES = ("$2a$", "$2b$", "$2y$", "$5$", "$6$", "$argon2id$")
_NAMESPACES = dict(xmlutils.NAMESPACES)


class _Texts(pickle.Unpickler):
    """Reads what Radicale caches, which is a tuple of texts and numbers, and nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is no text and no number")


class _Collection(multifilesystem.Collection):
    """A collection that is read only."""

    def _load_item_cache(self, href: str, cache_hash: str) -> Any:
        from radicale.storage.multifilesystem.cache import CacheContent

        folder = self._storage._get_collection_cache_subfolder(self._filesystem_path, ".Radicale.cache", "item")
        try:
            with open(os.path.join(folder, href), "rb") as stream:
                found, *content = _Texts(stream).load()
        except (OSError, pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError):
            return None
        good = found == cache_hash and len(content) == 7 and all(isinstance(one, str) for one in content[:5])
        return CacheContent(*content) if good else None

    def _store_item_cache(self, href: str, item: Any, cache_hash: str = "") -> Any:
        return self._item_cache_content(item)

    def _clean_item_cache(self) -> None:
        pass

    @contextmanager
    def _acquire_cache_lock(self, ns: str = "") -> Iterator[None]:
        yield


class _Storage(multifilesystem.Storage):
    """A storage that is read only: without the test of the clock, which writes, and without hooks."""

    _collection_class = _Collection

    def _analyse_mtime(self) -> tuple[int, int, str]:
        return 1, 1, "ns"


def source_of(config_file: str | None, *, folder: str | None = None) -> Source:
    """The installation with this configuration file (None: where Radicale looks for it). Raises SourceError.

    folder: where its collections are, when that is not what the configuration says.
    """
    logging.getLogger("radicale").setLevel(logging.CRITICAL)
    try:
        paths = radicale_config.parse_compound_paths(config_file or radicale_config.DEFAULT_CONFIG_PATH)
        found = radicale_config.load(paths)
        update: dict[str, dict[str, str]] = {"logging": {"level": "critical"}, "storage": {"hook": ""}}
        if folder is not None:
            update["storage"]["filesystem_folder"] = folder
        found.update(update, "davenport import", privileged=True)
        kind = found.get("storage", "type")
        if kind not in ("multifilesystem", "multifilesystem_nolock"):
            raise SourceError(f"The storage of this Radicale is {kind!r}; its own is 'multifilesystem'.")
        place = Path(found.get("storage", "filesystem_folder"))
        if not (place / "collection-root").is_dir():
            raise SourceError(f"{place} holds no collections of Radicale (collection-root is missing).")
        return Source(f"radicale:{place.resolve()}", _Radicale(found).accounts)
    except (RuntimeError, OSError, ValueError) as error:
        raise SourceError(f"Radicale's configuration or storage cannot be read: {error}.") from None


class _Radicale:
    def __init__(self, configuration: Any) -> None:
        self.configuration = configuration
        self.storage: Any = _Storage(configuration)
        self.encoding: str = configuration.get("encoding", "request")
        self.group_folder: str = configuration.get("group", "group_collections_folder") or ""
        self.shares: dict[str, list[SourceShare]] = {}  # by path, without slashes at its ends

    def accounts(self, report: Report) -> Iterator[SourceAccount]:
        with self._locked():
            names = sorted(self._folders("/"))
        paths = {name: sorted(self._paths(name)) for name in names if name != self.group_folder}
        self._read_rights(paths, report)
        self._read_shares(report)
        hashes = self._passwords(report)
        for name in paths:
            found = partial(self._collections, name, paths[name], report)
            yield SourceAccount(name, found, password_hash=hashes.get(name))
        for group in sorted(self._folders(f"/{self.group_folder}/")) if self.group_folder in names else ():
            report.left(_unbase64(group), f"{self.group_folder}/{group}", "Collections of groups are not brought over.")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with self.storage.acquire_lock("r"):
                yield
        except OSError as error:
            raise SourceError(f"Radicale's storage cannot be read: {error}.") from None

    def _folders(self, path: str) -> list[str]:
        """Names of the collections directly in a path."""
        found = list(self.storage.discover(path, "1"))
        return [one.path.rpartition("/")[2] for one in found[1:] if isinstance(one, _Collection)]

    def _paths(self, name: str) -> list[str]:
        with self._locked():
            return [f"{name}/{inner}" for inner in self._folders(f"/{name}/")]

    def _one(self, path: str) -> Any:
        return next(iter(self.storage.discover(f"/{path}/", "0")), None)

    # ---- collections ------------------------------------------------------------------------------------------------

    def _collections(self, name: str, paths: Iterable[str], report: Report) -> Iterator[SourceCollection]:
        with self._locked():
            own = self._one(name)
            if own is not None and own.tag:
                report.left(name, name, "The account's own folder is a calendar or address book itself.")
        for path in paths:
            with self._locked():
                collection = self._one(path)
                if collection is None:
                    continue
                meta = dict(collection.get_meta())
                names = sorted(collection._list())
                nested = self._folders(f"/{path}/")
            kind = _KINDS.get(str(meta.get("tag", "")))
            if kind is None:
                if names or nested:
                    report.left(name, path, "It is neither a calendar nor an address book.")
                continue
            for inner in nested:
                report.left(name, f"{path}/{inner}", "It lies inside of a calendar or address book.")
            yield self._described(path, kind, meta, names, name, report)

    def _described(
        self, path: str, kind: str, meta: dict[str, Any], names: list[str], account: str, report: Report
    ) -> SourceCollection:
        def text(key: str) -> str | None:
            value = meta.get(key)
            return value if isinstance(value, str) and value else None

        colour = text("ICAL:calendar-color") or text("{http://inf-it.com/ns/ab/}addressbook-color")
        if colour is not None and not _COLOUR.fullmatch(colour):
            report.left(account, f"{path} colour", f"{colour[:40]!r} is no colour such as #RRGGBB.")
            colour = None
        order = text("ICAL:calendar-order") or ""
        properties = {}
        for key, value in meta.items():
            if key in _OWN or key.startswith("RADICALE:") or not isinstance(value, str):
                continue
            name, element = _dead(key, value)
            if element is None:
                report.left(account, f"{path} property {key}", "It cannot be written as XML.")
            else:
                properties[name] = element
        url = text("CS:source")
        if kind == "subscribed" and url is None:
            report.left(account, path, "It subscribes to nothing: Radicale has no address for it.")
        return SourceCollection(
            path.partition("/")[2],
            kind,
            lambda known: self._items(path, names, known),
            display_name=text("D:displayname"),
            description=text("C:calendar-description") or text("CR:addressbook-description"),
            colour=colour,
            order=int(order) if order.isascii() and order.isdigit() and len(order) < 9 else None,
            time_zone=text("C:calendar-timezone"),
            components=tuple(part for part in (text(_COMPONENT_SET) or "").split(",") if part),
            url=url,
            properties=properties,
            shares=tuple(self.shares.get(path, ())),
            count=len(names),
        )

    def _items(self, path: str, names: list[str], known: Known) -> Iterator[Item]:
        for start in range(0, len(names), _AT_ONCE):
            chunk = names[start : start + _AT_ONCE]
            read: list[Item] = []
            with self._locked():
                collection = self._one(path)
                if collection is None:
                    return
                for name in chunk:
                    read.append(self._item(collection, name, known))
            yield from (item for item in read if item.version or item.problem)

    def _item(self, collection: Any, name: str, known: Known) -> Item:
        """One item as Radicale answers it; an empty one when it has gone meanwhile."""
        try:
            item = collection._get(name, verify_href=False)
        except Exception as error:  # whatever the reader of a broken file raises
            return Item(name, "", None, problem=f"Radicale cannot read it: {str(error)[:200]}.")
        if item is not None:
            etag = item.etag.strip('"')
            if known.get(name) == etag:
                return Item(name, etag, None)
            return Item(name, etag, item.serialize().encode(self.encoding), etag)
        # Radicale leaves out what it cannot read. We may.
        file = Path(collection._filesystem_path) / name
        try:
            body = file.read_bytes()
        except OSError:
            return Item(name, "", None)
        return Item(name, f"broken.{file.stat().st_mtime_ns}", body)

    # ---- who may see what -------------------------------------------------------------------------------------------

    def _read_rights(self, paths: dict[str, list[str]], report: Report) -> None:
        """What the rules of rights give to others than the owner, as shares."""
        kind = self.configuration.get("rights", "type")
        if kind not in radicale_rights.INTERNAL_TYPES:
            report.left("", "rights", f"The rules of rights are those of the plug-in {kind!r}, which is not asked.")
            return
        if kind == "owner_only":
            return
        try:
            rules = radicale_rights.load(self.configuration)
        except RuntimeError as error:
            report.left("", "rights", f"The rules of rights cannot be read: {error}.")
            return
        for section, rule in getattr(rules, "_rights_config", {}).items():
            if any(group.strip() for group in rule.get("allowed_groups", ())):
                report.left("", f"rights [{section}]", "Rules for groups are not brought over; share with the group.")
        every = [path for owned in paths.values() for path in owned]
        if len(every) * len(paths) > _QUESTIONS_MAX:
            report.left("", "rights", "There are too many accounts and collections to ask about each.")
            return
        for path in every:
            owner = path.partition("/")[0]
            everybody = _access(self._granted(rules, _NOBODY, path))
            if everybody is not None:
                self.shares.setdefault(path, []).append(SourceShare("all", everybody))
            if _access(self._granted(rules, "", path)) is not None:
                report.left(owner, path, "Anybody may read it without signing in; publish it for that.")
            for name in paths:
                access = None if name == owner else _access(self._granted(rules, name, path))
                if access is not None and access != everybody and not (access == "read" and everybody == "write"):
                    self.shares.setdefault(path, []).append(SourceShare(name, access))

    def _granted(self, rules: Any, user: str, path: str) -> str:
        try:
            return str(rules.authorization(user, set(), f"/{path}/"))
        except (RuntimeError, re.error, IndexError, KeyError):
            return ""

    def _read_shares(self, report: Report) -> None:
        """Shares that people have made themselves (Radicale 3.7 and later)."""
        kind = self.configuration.get("sharing", "type")
        if kind in ("none", None):
            return
        if kind not in radicale_sharing.INTERNAL_TYPES:
            report.left("", "sharing", f"The shares are those of the plug-in {kind!r}, which is not asked.")
            return
        place = self.configuration.get("sharing", "database_path")
        if not place:
            name = "sharing.csv" if kind == "csv" else "files"
            place = os.path.join(self.configuration.get("storage", "filesystem_folder"), "collection-db", name)
        if not os.path.exists(place):
            return  # Radicale would make an empty one
        try:
            rows = radicale_sharing.load(self.configuration).database_list_sharing()
        except (Exception, SystemExit) as error:  # it ends the process when its file is broken
            report.left("", "sharing", f"The shares cannot be read: {error}.")
            return
        for row in rows:
            self._share(cast(dict[str, Any], row), report)

    def _share(self, row: dict[str, Any], report: Report) -> None:
        path = str(row["PathMapped"]).strip("/")
        owner, user = str(row["Owner"]), str(row["User"])
        shown = f"share of {path} with {user or 'whoever has the address'}"
        if row["ShareType"] == "token":
            report.left(owner, shown, "It is published under an address of Radicale's; publish it here anew.")
            return
        if row["Conversion"] not in ("none", "", None):
            report.left(owner, shown, f"It is shared converted ({row['Conversion']}), which has no counterpart here.")
            return
        if not row["EnabledByOwner"]:
            report.left(owner, shown, "Its owner has switched it off.")
            return
        if user.startswith("@"):
            report.left(owner, shown, "It is shared with a whole domain.")
            return
        access = _access(str(row["Permissions"]))
        if access is None:
            report.left(owner, shown, f"Its permissions {row['Permissions']!r} give nothing that is known here.")
            return
        state = "accepted" if row["EnabledByUser"] else "pending"
        for name in user[1:].split(",") if user.startswith(":") else [user]:
            self.shares.setdefault(path, []).append(SourceShare(name.strip(), access, state))

    def _passwords(self, report: Report) -> dict[str, str]:
        """Hashes of the htpasswd file that can be checked here too, for accounts that are made."""
        if self.configuration.get("auth", "type") != "htpasswd":
            return {}
        file = Path(self.configuration.get("auth", "htpasswd_filename"))
        found = {}
        try:
            with file.open("rb") as stream:
                data = stream.read(_PASSWORD_FILE_BYTES_MAX)
        except OSError as error:
            report.left("", str(file), f"The passwords cannot be read: {error.strerror}.")
            return {}
        for line in data.decode("utf-8", "replace").splitlines():
            name, colon, hashed = line.strip().partition(":")
            if colon and hashed.startswith(_HASHES):
                found[name] = hashed
        return found


def _access(permissions: str) -> str | None:
    """What permissions on a calendar or address book come to. Capitals are about plain collections."""
    if "w" in permissions:
        return "write"
    return "read" if "r" in permissions else None


def _dead(key: str, value: str) -> tuple[str, str | None]:
    """(Clark name, XML of the element) of a property as Radicale keeps it; None when it cannot be an element."""
    try:
        name = xmlutils.make_clark(key)
    except ValueError:
        return key, None
    namespace, local = xml.split_clark(name)
    return name, f"<x:{local} xmlns:x={xml.attribute(namespace)}>{xml.escape(value)}</x:{local}>"


def _unbase64(name: str) -> str:
    try:
        return base64.b64decode(name, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return name
