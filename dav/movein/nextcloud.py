"""Nextcloud, and ownCloud 10, whose tables are the same as far as they are read here: calendars, address books, shares,
subscriptions, delegates, and who the people are.

Left out without a word, since nobody made or wants it: the trash (deleted_at), copies of followed calendars
(calendartype), the address book of all users. Left out with a line in the report: the generated birthday calendar,
public links, rooms, and shares to circles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import unquote_plus

from dav import xml
from dav.config import Config
from dav.errors import DavError
from dav.movein.report import Report
from dav.movein.sabre import described, guarded, items, parts, stored_properties, subscriptions
from dav.movein.source import (
    Item,
    Known,
    Source,
    SourceAccount,
    SourceCollection,
    SourceError,
    SourceMount,
    SourceShare,
)
from dav.names import d, ical
from storage.movein_db import ForeignDb, number, text

USERS_MAX = 200_000
_USERS, _GROUPS = "principals/users/", "principals/groups/"
_BIRTHDAYS = "contact_birthdays"
# Of dav_shares.access. 1 is the owner; 5 is what a member of a group does not want to see.
_WRITE, _READ, _PUBLIC, _UNWANTED = 2, 3, 4, 5
_PROXY_WRITES = 2  # the bit of dav_cal_proxy.permissions; 1 is reading
_PREFIX = re.compile(r"[A-Za-z0-9_]{0,32}")


def nextcloud(db: ForeignDb, *, prefix: str = "oc_") -> Source:
    """What is in a database of Nextcloud. prefix: of its tables, `dbtableprefix` in config.php. Raises SourceError."""
    if not _PREFIX.fullmatch(prefix):
        raise SourceError("A prefix of tables has letters, digits and underscores.")
    missing = {f"{prefix}{name}" for name in ("calendars", "calendarobjects", "addressbooks", "cards")} - db.tables
    if missing:
        raise SourceError(
            f"The database has no table {', '.join(sorted(missing))}: it is not Nextcloud's, or its tables begin with "
            "something else (--prefix)."
        )
    return Source(
        id=f"nextcloud:{db.place}/{prefix}", accounts=lambda report: guarded(_Nextcloud(db, prefix, report).accounts())
    )


@dataclass(frozen=True, slots=True)
class _Person:
    display_name: str = ""
    address: str = ""
    locale: str = ""
    time_zone: str = ""
    password_hash: str | None = None


@dataclass(slots=True)
class _Nextcloud:
    db: ForeignDb
    prefix: str
    report: Report
    properties: dict[str, dict[str, str]] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    # Those with the name of a person, who must not get what is the group's.
    ambiguous: set[str] = field(default_factory=set)

    def accounts(self) -> Iterator[SourceAccount]:
        self.properties = self._properties()
        people = self._people()
        self.groups = self._members()
        wanted = self._groups_with_shares()
        owners = self._owners()
        delegates = self._delegates()
        folded = {name.casefold() for name in people.keys() | owners}
        self.ambiguous = {group for group in wanted if group.casefold() in folded}
        for name in sorted(people.keys() | owners):
            person = people.get(name, _Person())
            yield SourceAccount(
                name=name,
                collections=partial(self._guarded_collections, name),
                display_name=person.display_name,
                addresses=(person.address,) if "@" in person.address else (),
                locale=person.locale,
                time_zone=person.time_zone,
                password_hash=person.password_hash,
                delegates=tuple(delegates.get(name, ())),
            )
        titles = {
            text(row["gid"]): text(row["displayname"])
            for row in self.db.rows(f"{self.prefix}groups", ("gid", "displayname"), key="gid")
        }
        for group in sorted(wanted):
            if group in self.ambiguous:
                self.report.left(group, "", "a group with the name of a person: what was shared with it is not")
                continue
            yield SourceAccount(
                name=group,
                collections=lambda: (),
                display_name=titles.get(group, ""),
                kind="group",
                members=tuple(self.groups.get(group, ())),
            )

    # --- who there is -------------------------------------------------------------------------------------------------

    def _people(self) -> dict[str, _Person]:
        """Those whom Nextcloud keeps itself, and what is known of those that come from a directory."""
        profiles = {
            text(row["uid"]): _profile(text(row["data"]))
            for row in self.db.rows(f"{self.prefix}accounts", ("uid", "data"), key="uid")
        }
        preferences: dict[tuple[str, str], str] = {}
        for appid, key in (("settings", "email"), ("core", "lang"), ("core", "timezone"), ("user_ldap", "displayName")):
            where: dict[str, str | int | None] = {"appid": appid, "configkey": key}
            rows = self.db.rows(f"{self.prefix}preferences", ("userid", "configvalue"), key="userid", where=where)
            preferences.update({(text(row["userid"]), key): text(row["configvalue"]) for row in rows})
        found = {}
        users = {
            text(row["uid"]): row
            for row in self.db.rows(f"{self.prefix}users", ("uid", "displayname", "password"), key="uid")
        }
        for name in users.keys() | profiles.keys():
            row, profile = users.get(name), profiles.get(name, {})
            found[name] = _Person(
                display_name=(text(row["displayname"]) if row else "")
                or profile.get("displayname", "")
                or preferences.get((name, "displayName"), ""),
                address=(preferences.get((name, "email")) or profile.get("email", "")).strip(),
                locale=preferences.get((name, "lang"), ""),
                time_zone=preferences.get((name, "timezone"), ""),
                password_hash=_hash(text(row["password"])) if row else None,
            )
            if len(found) > USERS_MAX:
                raise SourceError(f"The database has more than {USERS_MAX} users.")
        return found

    def _owners(self) -> set[str]:
        found: set[str] = set()
        strange: set[str] = set()
        for table in ("calendars", "addressbooks", "calendarsubscriptions"):
            for row in self.db.rows(f"{self.prefix}{table}", ("id", "principaluri"), key="id", page=2000):
                principal = text(row["principaluri"])
                if principal.startswith(_USERS):
                    found.add(principal.removeprefix(_USERS))
                elif principal and not principal.startswith("principals/system/"):
                    strange.add(principal)
        for principal in sorted(strange):
            self.report.left(principal, "", "it belongs to no person: rooms and resources are made anew")
        return found

    def _members(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for row in self.db.rows(f"{self.prefix}group_user", ("gid", "uid"), key=""):
            found.setdefault(text(row["gid"]), []).append(text(row["uid"]))
        return found

    def _groups_with_shares(self) -> set[str]:
        rows = self.db.rows(f"{self.prefix}dav_shares", ("id", "principaluri"), key="id", page=2000)
        principals = {text(row["principaluri"]) for row in rows}
        return {self._group(name) for name in principals if name.startswith(_GROUPS)}

    def _group(self, principal: str) -> str:
        """The name of a group in a share: as it is, or encoded as in an address."""
        name = principal.removeprefix(_GROUPS)
        return name if name in self.groups else unquote_plus(name)

    def _delegates(self) -> dict[str, list[tuple[str, bool]]]:
        found: dict[str, list[tuple[str, bool]]] = {}
        columns = ("id", "owner_id", "proxy_id", "permissions")
        for row in self.db.rows(f"{self.prefix}dav_cal_proxy", columns, key="id"):
            owner, delegate = (text(row[name]).removeprefix(_USERS) for name in ("owner_id", "proxy_id"))
            found.setdefault(owner, []).append((delegate, bool((number(row["permissions"]) or 0) & _PROXY_WRITES)))
        return found

    def _properties(self) -> dict[str, dict[str, str]]:
        """Those that people gave to their own collections; the path has the owner's name in it."""
        columns = ("id", "userid", "propertypath", "propertyname", "propertyvalue", "valuetype")
        rows = self.db.rows(f"{self.prefix}properties", columns, key="id", page=2000)
        own = (
            row
            for row in rows
            if text(row["propertypath"]).strip("/").split("/")[:2]
            in (["calendars", text(row["userid"])], ["addressbooks", "users"], ["addressbooks", text(row["userid"])])
        )
        return stored_properties(own, "propertypath", "propertyname", "propertyvalue")

    # --- what they have -----------------------------------------------------------------------------------------------

    def _guarded_collections(self, name: str) -> Iterator[SourceCollection]:
        return guarded(self._collections(name))

    def _collections(self, name: str) -> Iterator[SourceCollection]:
        principal = _USERS + name
        columns = (
            "id", "displayname", "uri", "description", "calendarorder", "calendarcolor", "timezone", "components",
            "transparent", "deleted_at",
        )  # fmt: skip
        where: dict[str, str | int | None] = {"principaluri": principal, "deleted_at": None}
        rows = list(self.db.rows(f"{self.prefix}calendars", columns, key="id", where=where))
        ordered = any(number(row["calendarorder"]) for row in rows)
        for row in rows:
            path = text(row["uri"])
            if path == _BIRTHDAYS:
                self.report.left(name, path, "the birthday calendar, which is made from the contacts")
                continue
            yield SourceCollection(
                path=path,
                kind="calendar",
                items=self._items(
                    "calendarobjects", "calendardata", "calendarid", number(row["id"]), f"calendars/{name}/{path}"
                ),
                components=parts(text(row["components"])),
                shares=tuple(self._shares(name, path, "calendar", number(row["id"]))),
                properties=self.properties.get(f"calendars/{name}/{path}", {}),
                **described(row, ordered=ordered),
            )
        yield from subscriptions(self.db, f"{self.prefix}calendarsubscriptions", principal, name, self.report)
        described_by = ("id", "displayname", "uri", "description")
        for row in self.db.rows(
            f"{self.prefix}addressbooks", described_by, key="id", where={"principaluri": principal}
        ):
            path = text(row["uri"])
            yield SourceCollection(
                path=path,
                kind="addressbook",
                items=self._items(
                    "cards", "carddata", "addressbookid", number(row["id"]), f"addressbooks/users/{name}/{path}"
                ),
                display_name=text(row["displayname"]) or None,
                description=text(row["description"]) or None,
                shares=tuple(self._shares(name, path, "addressbook", number(row["id"]))),
                properties=self.properties.get(f"addressbooks/users/{name}/{path}", {}),
            )

    def _items(
        self, table: str, body: str, column: str, collection_id: int | None, path: str
    ) -> Callable[[Known], Iterable[Item]]:
        where: Mapping[str, str | int | None] = {column: collection_id, "calendartype": 0, "deleted_at": None}
        return lambda known: guarded(items(self.db, f"{self.prefix}{table}", body, where, known, self.properties, path))

    def _shares(self, owner: str, path: str, kind: str, resource_id: int | None) -> Iterator[SourceShare]:
        where: dict[str, str | int | None] = {"type": kind, "resourceid": resource_id}
        columns = ("id", "principaluri", "access", "publicuri")
        for row in self.db.rows(f"{self.prefix}dav_shares", columns, key="id", where=where):
            principal, access = text(row["principaluri"]), number(row["access"])
            if access == _PUBLIC:
                self.report.left(owner, path, "anybody with its public link could read it there: publish it anew")
            elif access not in (_READ, _WRITE, _UNWANTED):
                continue
            elif principal.startswith((_USERS, _GROUPS)):
                grantee = self._group(principal) if principal.startswith(_GROUPS) else principal.removeprefix(_USERS)
                if principal.startswith(_GROUPS) and grantee in self.ambiguous:
                    continue
                state = "declined" if access == _UNWANTED else "accepted"
                people = self.groups.get(grantee, []) if principal.startswith(_GROUPS) else [grantee]
                mounts = {name: self._mount(owner, path, kind, name) for name in people}
                yield SourceShare(grantee, "write" if access == _WRITE else "read", state, mounts)
            else:
                self.report.left(owner, path, f"a share to {principal}, which is neither a person nor a group")

    def _mount(self, owner: str, path: str, kind: str, name: str) -> SourceMount:
        """How somebody sees what is shared with him. Its name there is made of the owner's; what he has changed of it
        stands among his properties of that address."""
        here = f"{path}_shared_by_{owner}"
        above = "calendars" if kind == "calendar" else "addressbooks/users"
        kept = self.properties.get(f"{above}/{name}/{here}", {})
        order = _text_of(kept.get(ical("calendar-order")))
        return SourceMount(
            here, _text_of(kept.get(d("displayname"))), _text_of(kept.get(ical("calendar-color"))),
            int(order) if order and order.isascii() and order.isdigit() and len(order) < 7 else None,
        )  # fmt: skip


def _text_of(element: str | None) -> str | None:
    """The text of a stored property; None for none."""
    if element is None:
        return None
    try:
        return xml.text_of(xml.parse(element.encode(), Config().limits)).strip() or None
    except DavError:
        return None


def _profile(data: str) -> dict[str, str]:
    """The texts of oc_accounts.data, JSON of property → {value, …}."""
    try:
        read = json.loads(data) if len(data) < 1_000_000 else {}
    except (ValueError, RecursionError):
        return {}
    if not isinstance(read, dict):
        return {}
    return {
        str(name): value["value"].strip()
        for name, value in read.items()
        if isinstance(value, dict) and isinstance(value.get("value"), str)
    }


def _hash(stored: str) -> str | None:
    """A password's hash, when it is one that signs people in here: "3|" and argon2id. Others begin "1|" (bcrypt) and
    "2|" (argon2i), which are not kept."""
    version, bar, hashed = stored.partition("|")
    return hashed if bar and version == "3" and hashed.startswith("$argon2id$") else None
