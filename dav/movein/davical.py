"""DAViCal, from its PostgreSQL database: principals, collections, what is in them, properties, groups, and grants.

A path there is what follows caldav.php in an address, decoded: /alice/calendar/1.ics. Grants on a principal make
delegates; grants on a collection, and what everybody may there, make shares. Tickets, bindings (others' collections in
one's own home) and locks are not read: shares make the places here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from lxml import etree

from dav import xml
from dav.movein.report import Report
from dav.movein.sabre import BODY_MAX, PROPERTIES_MAX, element, guarded, item
from dav.movein.source import Item, Known, Source, SourceAccount, SourceCollection, SourceError, SourceShare
from dav.names import c, cr, d, ical
from storage.movein_db import ForeignDb, Row, number, text

_KINDS = {2: "resource", 3: "group"}
# The bits of privileges: what a change of members needs, reading, and busy times.
_WRITES = 4 | 64 | 128
_READS = 1
_BUSY = 512 | 4096
_ALL = (1 << 24) - 1
# Collections of the protocol itself: the inbox and the outbox.
_SCHEDULING = ("schedule-inbox", "schedule-outbox")
_COLOUR, _ORDER = ical("calendar-color"), ical("calendar-order")
_COMPONENTS = c("supported-calendar-component-set")
# What has a column or a field of its own, or is made here.
_ELSEWHERE = {
    _COLOUR, _ORDER, _COMPONENTS, d("displayname"), c("calendar-description"), c("calendar-timezone"),
    cr("addressbook-description"), c("schedule-calendar-transp"),
}  # fmt: skip
_ITEM_COLUMNS = ("dav_id", "dav_name", "dav_etag", "caldav_data")


def davical(db: ForeignDb) -> Source:
    """What is in a database of DAViCal. Raises SourceError when its tables are not there."""
    missing = {"usr", "principal", "collection", "caldav_data"} - db.tables
    if missing:
        raise SourceError(f"The database has no table {', '.join(sorted(missing))}: it is not DAViCal's.")
    return Source(id=f"davical:{db.place}", accounts=lambda report: guarded(_Davical(db, report).accounts()))


@dataclass(slots=True)
class _Davical:
    db: ForeignDb
    report: Report
    names: dict[int, str] = field(default_factory=dict)  # of principals, by their number
    properties: dict[str, dict[str, str]] = field(default_factory=dict)

    def accounts(self) -> Iterator[SourceAccount]:
        users = {
            number(row["user_no"]): row
            for row in self.db.rows("usr", ("user_no", "username", "fullname", "email", "locale"), key="user_no")
        }
        columns = ("principal_id", "user_no", "type_id", "displayname")
        principals = [
            row for row in self.db.rows("principal", columns, key="principal_id") if number(row["user_no"]) in users
        ]
        for row in principals:
            principal_id = number(row["principal_id"])
            assert principal_id is not None
            self.names[principal_id] = text(users[number(row["user_no"])]["username"])
        self.properties = self._properties()
        members = self._members()
        delegates = self._delegates()
        for row in principals:
            principal_id, user_no = number(row["principal_id"]) or 0, number(row["user_no"])
            name, user = self.names[principal_id], users[user_no]
            email = text(user["email"]).strip()
            yield SourceAccount(
                name=name,
                collections=partial(self._guarded_collections, name, user_no),
                display_name=text(row["displayname"]).strip() or text(user["fullname"]).strip(),
                addresses=(email,) if "@" in email else (),
                kind=_KINDS.get(number(row["type_id"]) or 0, "individual"),
                locale=text(user["locale"]),
                delegates=tuple(delegates.get(name, ())),
                members=tuple(members.get(name, ())),
            )

    def _members(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for row in self.db.rows("group_member", ("group_id", "member_id"), key=""):
            group, member = (self.names.get(number(row[name]) or 0) for name in ("group_id", "member_id"))
            if group and member:
                found.setdefault(group, []).append(member)
        return found

    def _delegates(self) -> dict[str, list[tuple[str, bool]]]:
        """Whom each principal has granted something on all that it has."""
        found: dict[str, list[tuple[str, bool]]] = {}
        for row in self.db.rows("grants", ("by_principal", "by_collection", "to_principal", "privileges"), key=""):
            owner = self.names.get(number(row["by_principal"]) or 0)
            other = self.names.get(number(row["to_principal"]) or 0)
            access = access_of(_bits(row["privileges"]))
            if not owner or not other or owner == other or access is None:
                continue
            if access == "busy":
                continue  # whoever is signed in may ask for busy times here
            found.setdefault(owner, []).append((other, access != "read"))
        return found

    def _properties(self) -> dict[str, dict[str, str]]:
        """Path → Clark name → XML. A value there is a text, or elements."""
        found: dict[str, dict[str, str]] = {}
        rows = self.db.rows("property", ("dav_name", "property_name", "property_value"), key="")
        for row in rows:
            namespace, _, local = text(row["property_name"]).rpartition(":")
            value = text(row["property_value"]).strip()
            clark = f"{{{namespace}}}{local}"
            made = element(clark, value) if value.startswith("<") else None
            made = made or element(clark, xml.escape(value))
            if made is not None:
                found.setdefault(text(row["dav_name"]), {})[clark] = made
            if len(found) > PROPERTIES_MAX:
                break
        return found

    # --- what they have -----------------------------------------------------------------------------------------------

    def _guarded_collections(self, name: str, user_no: int | None) -> Iterator[SourceCollection]:
        return guarded(self._collections(name, user_no))

    def _collections(self, name: str, user_no: int | None) -> Iterator[SourceCollection]:
        columns = (
            "collection_id", "dav_name", "dav_displayname", "is_calendar", "is_addressbook", "resourcetypes",
            "schedule_transp", "timezone", "description", "default_privileges", "publicly_readable",
        )  # fmt: skip
        for row in self.db.rows("collection", columns, key="collection_id", where={"user_no": user_no}):
            where = text(row["dav_name"])
            path = _path(where)
            types = text(row["resourcetypes"])
            if not path or path.startswith(".") or any(word in types for word in _SCHEDULING):
                continue
            kind = "calendar" if _is(row["is_calendar"]) else "addressbook" if _is(row["is_addressbook"]) else ""
            if not kind:
                self.report.left(name, where, "it is neither a calendar nor an address book")
                continue
            if _is(row["publicly_readable"]):
                self.report.left(name, path, "anybody could read it without a password there: publish it anew")
            properties = self.properties.get(where, {})
            yield SourceCollection(
                path=path.replace("/", "-"),
                kind=kind,
                items=self._items(number(row["collection_id"]) or 0),
                display_name=text(row["dav_displayname"]) or None,
                description=text(row["description"]) or None,
                colour=_inside(properties.get(_COLOUR)) or None,
                order=number(_inside(properties.get(_ORDER))),
                time_zone=self._time_zone(text(row["timezone"])) if kind == "calendar" else None,
                components=_components(properties.get(_COMPONENTS)) if kind == "calendar" else (),
                transparent=text(row["schedule_transp"]) == "transparent" if kind == "calendar" else None,
                properties={key: value for key, value in properties.items() if key not in _ELSEWHERE},
                shares=tuple(self._shares(name, row)),
            )

    def _items(self, collection_id: int) -> partial[Iterator[Item]]:
        return partial(self._guarded_items, collection_id)

    def _guarded_items(self, collection_id: int, known: Known) -> Iterator[Item]:
        return guarded(self._members_of(collection_id, known))

    def _members_of(self, collection_id: int, known: Known) -> Iterator[Item]:
        where = {"collection_id": collection_id}
        if not known:
            yield from map(_item, self._rows(where))
            return
        for row in self.db.rows(
            "caldav_data", ("dav_id", "dav_name", "dav_etag"), key="dav_id", where=where, page=2000
        ):
            name, etag = _name(text(row["dav_name"])), text(row["dav_etag"])
            if etag and known.get(name) == etag:
                yield Item(name, etag, None, etag=etag)
            else:
                yield from map(_item, self._rows({**where, "dav_id": number(row["dav_id"]) or 0}))

    def _rows(self, where: dict[str, int]) -> Iterable[Row]:
        return self.db.rows(
            "caldav_data", _ITEM_COLUMNS, key="dav_id", where=where, long="caldav_data", long_max=BODY_MAX
        )

    def _time_zone(self, tzid: str) -> str | None:
        """The definition that DAViCal keeps of a zone; its Olson name when there is none."""
        if not tzid:
            return None
        columns = ("our_tzno", "tzid", "olson_name", "vtimezone")
        for row in self.db.rows("timezones", columns, key="our_tzno", where={"tzid": tzid}):
            written = text(row["vtimezone"]).strip()
            if written.startswith("BEGIN:VTIMEZONE"):
                body = "\r\n".join(written.splitlines())
                return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//DAViCal//EN\r\n{body}\r\nEND:VCALENDAR\r\n"
            return written or text(row["olson_name"]) or tzid
        return tzid

    def _shares(self, owner: str, collection: Row) -> Iterator[SourceShare]:
        where = {"by_collection": number(collection["collection_id"])}
        for row in self.db.rows("grants", ("by_collection", "to_principal", "privileges"), key="", where=where):
            grantee = self.names.get(number(row["to_principal"]) or 0)
            access = access_of(_bits(row["privileges"]))
            if grantee and grantee != owner and access:
                yield SourceShare(grantee, access)
        everybody = access_of(_bits(collection["default_privileges"]))
        # What everybody may know of busy times by default is a matter of free-busy here, not of a share.
        if everybody not in (None, "busy"):
            assert everybody is not None
            yield SourceShare("all", everybody)


def access_of(bits: int) -> str | None:
    """What privileges there come to here."""
    if bits & _ALL == _ALL:
        return "owner"
    if bits & _READS and bits & _WRITES == _WRITES:
        return "write"
    if bits & _READS:
        return "read"
    return "busy" if bits & _BUSY else None


def _bits(value: object) -> int:
    """A BIT(24), which comes as a text of zeros and ones."""
    digits = text(value).strip()
    return int(digits, 2) if digits and not digits.strip("01") else 0


def _is(value: object) -> bool:
    return text(value).lower() in ("true", "t", "1")


def _path(dav_name: str) -> str:
    """The names of a collection below its principal: "calendar" of "/alice/calendar/"."""
    return "/".join(dav_name.strip("/").split("/")[1:])


def _name(dav_name: str) -> str:
    return dav_name.rpartition("/")[2]


def _item(row: Row) -> Item:
    values: Row = {
        "uri": _name(text(row["dav_name"])), "etag": row["dav_etag"], "body": row["caldav_data"],
        "body:size": row["caldav_data:size"],
    }  # fmt: skip
    return item(values, "body", {})


def _inside(written: str | None) -> str:
    """The text in an element that we have made."""
    return "" if written is None else xml.text_of(etree.fromstring(written))


def _components(written: str | None) -> tuple[str, ...]:
    """The names in <comp name="VEVENT"/>, of a property's XML."""
    if written is None:
        return ()
    root = etree.fromstring(written)
    return tuple(str(one.get("name")).upper() for one in xml.children(root) if one.get("name"))
