"""Baïkal, Davis, and whatever else keeps its data in the tables that sabre/dav publishes: users and principals,
calendars with their instances (one a person who sees them), address books, subscriptions, delegates.

Baïkal before 0.5 and sabre/dav before 3.2 have no instances: the calendars table then has the columns itself. A column
that a version does not have counts as empty. The helpers at the end are for nextcloud.py too, whose tables have grown
out of these. The inbox (schedulingobjects) is not read: its messages have been applied to the calendars already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from lxml import etree

from dav import xml
from dav.feeds.fetch import BadUrl, checked_url
from dav.ical.recur import duration
from dav.movein.report import Report
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
from storage.feeds_in import STRIPS
from storage.movein_db import ForeignDb, ForeignDbError, Row, number, octets, text

# What one object may have before its body is not even read; the store has its own, smaller limit.
BODY_MAX = 64 * 1024 * 1024
# Properties of all collections, read once into memory.
PROPERTIES_MAX = 100_000
_READ, _WRITE, _NO_ACCESS = 2, 3, 4  # of calendarinstances.access; 1 is its owner
_STATES = {1: "pending", 2: "accepted", 3: "declined"}
_PREFIX = "principals/"
_T = TypeVar("_T")
_PROXIES = {"calendar-proxy-read": False, "calendar-proxy-write": True}


def sabre(db: ForeignDb) -> Source:
    """What is in a database with sabre/dav's tables. Raises SourceError when they are not there."""
    missing = {"principals", "calendars", "calendarobjects", "addressbooks", "cards"} - db.tables
    if missing:
        raise SourceError(f"The database has no table {', '.join(sorted(missing))}: it is not one of sabre/dav's.")
    return Source(id=f"sabre:{db.place}", accounts=lambda report: guarded(_Sabre(db, report).accounts()))


@dataclass(slots=True)
class _Sabre:
    db: ForeignDb
    report: Report
    properties: dict[str, dict[str, str]] = field(default_factory=dict)

    def accounts(self) -> Iterator[SourceAccount]:
        self.properties = stored_properties(
            self.db.rows("propertystorage", ("id", "path", "name", "valuetype", "value"), key="id"),
            "path", "name", "value",
        )  # fmt: skip
        principals = {
            number(row["id"]): row
            for row in self.db.rows("principals", ("id", "uri", "email", "displayname"), key="id")
        }
        names = {key: text(row["uri"]).removeprefix(_PREFIX) for key, row in principals.items()}
        users = {text(row["username"]) for row in self.db.rows("users", ("id", "username"), key="id")}
        delegates, members = self._belonging(names)
        known = set()
        for key, row in principals.items():
            name = names[key]
            if not name or "/" in name or not text(row["uri"]).startswith(_PREFIX):
                continue
            known.add(name)
            is_group = name not in users and name in members
            email = text(row["email"]).strip()
            yield SourceAccount(
                name=name,
                collections=partial(self._guarded_collections, name),
                display_name=text(row["displayname"]).strip(),
                addresses=(email,) if "@" in email else (),
                kind="group" if is_group else "individual",
                delegates=tuple(delegates.get(name, ())),
                members=tuple(members.get(name, ())) if is_group else (),
            )
        self._strays(known)

    def _belonging(
        self, names: Mapping[int | None, str]
    ) -> tuple[dict[str, list[tuple[str, bool]]], dict[str, list[str]]]:
        """(whom each account lets act for it, who belongs to each group)."""
        delegates: dict[str, list[tuple[str, bool]]] = {}
        members: dict[str, list[str]] = {}
        for row in self.db.rows("groupmembers", ("principal_id", "member_id"), key=""):
            of, member = names.get(number(row["principal_id"]), ""), names.get(number(row["member_id"]), "")
            if not of or not member or "/" in member:
                continue
            owner, _, proxy = of.partition("/")
            if not proxy:
                members.setdefault(owner, []).append(member)
            elif proxy in _PROXIES:
                delegates.setdefault(owner, []).append((member, _PROXIES[proxy]))
        return delegates, members

    def _strays(self, known: set[str]) -> None:
        """Says whose calendars and books are left because their owner is not there any more."""
        has_instances = "calendarinstances" in self.db.tables
        for table in ("calendarinstances" if has_instances else "calendars", "addressbooks"):
            for row in self.db.rows(table, ("id", "principaluri", "uri"), key="id"):
                owner = text(row["principaluri"]).removeprefix(_PREFIX)
                if owner and owner not in known:
                    self.report.left(owner, text(row["uri"]), "its owner is not among the principals there")

    def _guarded_collections(self, name: str) -> Iterator[SourceCollection]:
        return guarded(self._collections(name))

    def _collections(self, name: str) -> Iterator[SourceCollection]:
        principal = _PREFIX + name
        columns = (
            "id", "calendarid", "access", "displayname", "uri", "description", "calendarorder", "calendarcolor",
            "timezone", "transparent", "components", "share_href", "share_invitestatus", "public",
        )  # fmt: skip
        instances = "calendarinstances" in self.db.tables
        table = "calendarinstances" if instances else "calendars"
        rows = list(self.db.rows(table, columns, key="id", where={"principaluri": principal}))
        mine = [row for row in rows if number(row["access"]) not in (_READ, _WRITE, _NO_ACCESS)]
        ordered = any(number(row["calendarorder"]) for row in mine)
        for row in mine:
            calendar_id = number(row["calendarid"]) if instances else number(row["id"])
            components = row["components"]
            if instances:
                own = next(self.db.rows("calendars", ("id", "components"), key="id", where={"id": calendar_id}), None)
                components = own["components"] if own else None
            path = text(row["uri"])
            if number(row["public"]):
                self.report.left(name, path, "anybody could read it at a public address there: publish it anew")
            yield SourceCollection(
                path=path,
                kind="calendar",
                items=self._items(
                    "calendarobjects", "calendardata", "calendarid", calendar_id, f"calendars/{name}/{path}"
                ),
                components=parts(text(components)),
                shares=tuple(self._shares(name, path, calendar_id)) if instances else (),
                properties=self.properties.get(f"calendars/{name}/{path}", {}),
                **described(row, ordered=ordered),
            )
        yield from subscriptions(self.db, "calendarsubscriptions", principal, name, self.report)
        for row in self.db.rows(
            "addressbooks", ("id", "displayname", "uri", "description"), key="id", where={"principaluri": principal}
        ):
            path = text(row["uri"])
            yield SourceCollection(
                path=path,
                kind="addressbook",
                items=self._items(
                    "cards", "carddata", "addressbookid", number(row["id"]), f"addressbooks/{name}/{path}"
                ),
                display_name=text(row["displayname"]) or None,
                description=text(row["description"]) or None,
                properties=self.properties.get(f"addressbooks/{name}/{path}", {}),
            )

    def _items(
        self, table: str, body: str, column: str, collection_id: int | None, path: str
    ) -> Callable[[Known], Iterable[Item]]:
        where = {column: collection_id}
        return lambda known: guarded(items(self.db, table, body, where, known, self.properties, path))

    def _shares(self, owner: str, path: str, calendar_id: int | None) -> Iterator[SourceShare]:
        columns = (
            "id", "principaluri", "access", "share_href", "share_invitestatus", "uri", "displayname", "description",
            "calendarcolor", "calendarorder", "timezone", "transparent",
        )  # fmt: skip
        for row in self.db.rows("calendarinstances", columns, key="id", where={"calendarid": calendar_id}):
            access = {_READ: "read", _WRITE: "write"}.get(number(row["access"]) or 0)
            if access is None:
                continue
            principal, href = text(row["principaluri"]), text(row["share_href"])
            grantee = principal.removeprefix(_PREFIX) if principal.startswith(_PREFIX) else href
            state = _STATES.get(number(row["share_invitestatus"]) or 0)
            if state is None or not grantee or "/" in grantee:
                self.report.left(owner, path, f"a share to {grantee or 'nobody'} that was not valid there")
                continue
            seen = described(row, ordered=bool(number(row["calendarorder"])))
            own = SourceMount(
                text(row["uri"]), seen["display_name"], seen["colour"], seen["order"], seen["transparent"]
            )
            yield SourceShare(grantee, access, state, {grantee: own} if principal.startswith(_PREFIX) else {})


# --- for every server that has grown out of these tables --------------------------------------------------------------


def guarded(values: Iterable[_T]) -> Iterator[_T]:
    """The same values; the database's errors are SourceErrors."""
    try:
        yield from values
    except ForeignDbError as error:
        raise SourceError(str(error)) from None


def described(row: Row, *, ordered: bool) -> dict[str, Any]:
    """What the columns of a calendar say, as the fields of a SourceCollection. ordered: their places mean something."""
    transparent = row["transparent"]
    return {
        "display_name": text(row["displayname"]) or None,
        "description": text(row["description"]) or None,
        "colour": text(row["calendarcolor"]).strip() or None,
        "order": number(row["calendarorder"]) if ordered else None,
        "time_zone": text(row["timezone"]).strip() or None,
        "transparent": None if transparent is None else text(transparent).strip().lower() in ("1", "true", "t"),
    }


def subscriptions(db: ForeignDb, table: str, principal: str, owner: str, report: Report) -> Iterator[SourceCollection]:
    """Outside calendars that somebody follows: this server follows them from now on."""
    columns = (
        "id", "uri", "source", "displayname", "refreshrate", "calendarorder", "calendarcolor", "striptodos",
        "stripalarms", "stripattachments",
    )  # fmt: skip
    rows = list(db.rows(table, columns, key="id", where={"principaluri": principal}))
    ordered = any(number(row["calendarorder"]) for row in rows)
    for row in rows:
        try:
            url = checked_url(text(row["source"]))
        except BadUrl as error:
            report.left(owner, text(row["uri"]), f"the calendar that is followed has no usable address: {error}")
            continue
        yield SourceCollection(
            path=text(row["uri"]),
            kind="feed",
            items=lambda known: (),
            display_name=text(row["displayname"]) or None,
            colour=text(row["calendarcolor"]).strip() or None,
            order=number(row["calendarorder"]) if ordered else None,
            url=url,
            strip=tuple(what for what in STRIPS if number(row[f"strip{what}"])),
            interval_s=seconds_of(text(row["refreshrate"])),
        )


def seconds_of(written: str) -> int | None:
    """How often a followed calendar is looked at, an iCalendar duration such as P1D; None for what is none."""
    try:
        every = duration(written) if written.strip() else None
    except ValueError:
        return None
    seconds = every.days * 86_400 + every.seconds if every is not None else 0
    return seconds if seconds > 0 else None


def items(
    db: ForeignDb,
    table: str,
    body: str,
    where: Mapping[str, str | int | None],
    known: Known,
    properties: Mapping[str, Mapping[str, str]],
    path: str,
) -> Iterator[Item]:
    """The members of one collection. With something known, bodies are read only of what it does not know."""
    columns: tuple[str, ...] = ("id", "uri", "etag", body)
    if known:
        for row in db.rows(table, ("id", "uri", "etag"), key="id", where=where, page=2000):
            name, etag = text(row["uri"]), text(row["etag"])
            if etag and known.get(name) == etag:
                yield Item(name, etag, None, etag=etag)
            else:
                one = {**where, "id": number(row["id"])}
                for full in db.rows(table, columns, key="id", where=one, long=body, long_max=BODY_MAX):
                    yield item(full, body, properties.get(f"{path}/{name}", {}))
        return
    for row in db.rows(table, columns, key="id", where=where, long=body, long_max=BODY_MAX):
        yield item(row, body, properties.get(f"{path}/{text(row['uri'])}", {}))


def item(row: Row, body: str, properties: Mapping[str, str]) -> Item:
    """One row as an item. The entity tag is the MD5 of the body, in hex; where it is missing, it is made of the body
    so that a later run can tell, and clients get a new one."""
    name, etag, content = text(row["uri"]), text(row["etag"]), row[body]
    if content is None:
        size = number(row[f"{body}:size"])
        problem = f"it has {size} characters, which is too much" if size else "it has no content there"
        return Item(name, etag or "none", None, problem=problem)
    value = octets(content)
    version = etag or hashlib.md5(value, usedforsecurity=False).hexdigest()
    return Item(name, version, value, etag=etag or None, properties=properties)


def parts(components: str) -> tuple[str, ...]:
    """Component names from a list with commas."""
    return tuple(name.strip().upper() for name in components.split(",") if name.strip())


def stored_properties(rows: Iterable[Row], path: str, name: str, value: str) -> dict[str, dict[str, str]]:
    """Path → Clark name → XML, of rows with a valuetype: 1 (or nothing) a text, 2 what stands in the element as XML.

    3 is an object of PHP, which means nothing elsewhere. Bounded by PROPERTIES_MAX.
    """
    found: dict[str, dict[str, str]] = {}
    for count, row in enumerate(rows):
        if count >= PROPERTIES_MAX:
            break
        clark, kind = text(row[name]), number(row["valuetype"]) or 1
        if kind not in (1, 2):
            continue
        inner = text(row[value])
        made = element(clark, xml.escape(inner) if kind == 1 else inner)
        if made is not None:
            found.setdefault(text(row[path]).strip("/"), {})[clark] = made
    return found


def element(clark: str, inner: str) -> str | None:
    """A property's element around XML that came from a database; None when the two do not make one."""
    namespace, local = xml.split_clark(clark)
    if not namespace or not local:
        return None
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(f"<x:{local} xmlns:x={xml.attribute(namespace)}>{inner}</x:{local}>", parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
    return xml.serialise(root) if root.tag == clark else None
