"""From DAViCal's own tables, as Debian's package makes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from dav.movein.davical import access_of, davical
from dav.movein.source import SourceError
from dav.names import c, ical
from storage import groups, proxies
from storage.engine import transaction
from storage.movein_db import ForeignDb
from tests.conftest import own_database
from tests.movein_wire import tables
from tests.movein_wire.kit import Here, There, card, event, md5

ZONE = (
    "BEGIN:VTIMEZONE\r\nTZID:Europe/Vienna\r\nBEGIN:STANDARD\r\nDTSTART:19701025T030000\r\nTZOFFSETFROM:+0200\r\n"
    "TZOFFSETTO:+0100\r\nEND:STANDARD\r\nEND:VTIMEZONE"
)


class Davical:
    """A database of DAViCal, filled as its programs would."""

    def __init__(self, url: str, connection: psycopg.Connection[Any]) -> None:
        self.url, self._connection = url, connection

    def run(self, sql: str, *values: Any) -> Any:
        cursor = self._connection.execute(sql, values or None)  # type: ignore[call-overload]
        return cursor.fetchone()[0] if cursor.description else None

    def person(self, name: str, *, kind: int = 1, address: str = "") -> tuple[int, int]:
        """(user_no, principal_id)."""
        self.run(
            "INSERT INTO dav_principal (username, fullname, displayname, email, type_id) VALUES (%s, %s, %s, %s, %s)",
            name, f"Full {name}", f"Shown {name}", address or f"{name}@x.example", kind,
        )  # fmt: skip
        where = "FROM dav_principal WHERE username = %s"
        return self.run(f"SELECT user_no {where}", name), self.run(f"SELECT principal_id {where}", name)

    def collection(self, user_no: int, path: str, kind: str, **more: Any) -> int:
        types = {
            "calendar": "<urn:ietf:params:xml:ns:caldav:calendar/>",
            "addressbook": "<urn:ietf:params:xml:ns:carddav:addressbook/>",
        }
        values = {
            "user_no": user_no, "dav_name": path, "parent_container": path.rstrip("/").rpartition("/")[0] + "/",
            "is_calendar": kind == "calendar", "is_addressbook": kind == "addressbook", "dav_etag": "-1",
            "resourcetypes": f"<DAV::collection/>{types.get(kind, kind)}", **more,
        }  # fmt: skip
        names = ", ".join(values)
        places = ", ".join(["%s"] * len(values))
        sql = f"INSERT INTO collection ({names}) VALUES ({places}) RETURNING collection_id"
        return int(self.run(sql, *values.values()))

    def member(self, user_no: int, collection_id: int, path: str, body: bytes, kind: str = "VEVENT") -> None:
        self.run(
            "INSERT INTO caldav_data (user_no, dav_name, dav_etag, caldav_data, caldav_type, collection_id)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            user_no, path, md5(body), body.decode(), kind, collection_id,
        )  # fmt: skip


@pytest.fixture(scope="module")
def scripts() -> list[Path]:
    """The scripts with which Debian's package makes a database, in their order."""
    in_ci = os.environ.get("DAVENPORT_OUTSIDE") == "1"
    root = Path(os.environ.get("DAVICAL", "/"))
    dba, awl = root / "usr/share/davical/dba", root / "usr/share/awl/dba"
    if not (dba / "davical.sql").is_file():
        (pytest.fail if in_ci else pytest.skip)(
            "no tables of DAViCal: set DAVICAL to where Debian's package is unpacked"
        )
    return [
        awl / "awl-tables.sql", awl / "schema-management.sql", dba / "davical.sql", dba / "caldav_functions.sql",
        dba / "views/dav_principal.sql", dba / "base-data.sql",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def template(postgresql_server: str, scripts: list[Path]) -> Iterator[str]:
    """URL of a database with DAViCal's tables, and what they hold from the start."""
    with own_database(postgresql_server) as url:
        with psycopg.connect(_plain(url), autocommit=True) as connection:
            connection.execute("SET client_min_messages = warning")
            for script in scripts:
                connection.execute(script.read_text("utf-8"))  # type: ignore[call-overload]
        yield url


@pytest.fixture
def there(postgresql_server: str, template: str) -> Iterator[Davical]:
    name = f"{template.rpartition('/')[2].partition('?')[0]}_copy"
    with psycopg.connect(_plain(postgresql_server), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {name.removesuffix('_copy')}")  # type: ignore[call-overload]
    url = sa.make_url(template).set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(_plain(url), autocommit=True) as connection:
        yield Davical(url, connection)
    with psycopg.connect(_plain(postgresql_server), autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[call-overload]


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


def filled(there: Davical) -> Davical:
    """Alice with a calendar, a book, and a calendar in a folder; Bob, who may change the first; a group, a room."""
    alice, alice_id = there.person("alice")
    _, bob_id = there.person("bob")
    _, team_id = there.person("team", kind=3)
    there.person("room1", kind=2)
    there.run("INSERT INTO group_member (group_id, member_id) VALUES (%s, %s)", team_id, bob_id)
    there.run("INSERT INTO timezones (tzid, olson_name, vtimezone) VALUES ('Europe/Vienna', 'Europe/Vienna', %s)", ZONE)
    work = there.collection(
        alice, "/alice/calendar/", "calendar", dav_displayname="Work & more", description="All of it",
        schedule_transp="transparent", timezone="Europe/Vienna",
    )  # fmt: skip
    there.member(alice, work, "/alice/calendar/a b.ics", event("a", "Käse"))
    there.member(alice, work, "/alice/calendar/100%.ics", event("p"))
    book = there.collection(alice, "/alice/addresses/", "addressbook", dav_displayname="People")
    there.member(alice, book, "/alice/addresses/z.vcf", card("z"), "VCARD")
    there.collection(alice, "/alice/.in/", "<urn:ietf:params:xml:ns:caldav:schedule-inbox/>")
    there.collection(alice, "/alice/folder/", "")
    inner = there.collection(alice, "/alice/folder/inner/", "calendar")
    there.member(alice, inner, "/alice/folder/inner/i.ics", event("i"))
    for name, value in (
        ("http://apple.com/ns/ical/:calendar-color", "#FF2968FF"),
        ("http://apple.com/ns/ical/:calendar-order", "4"),
        (
            "urn:ietf:params:xml:ns:caldav:supported-calendar-component-set",
            "".join(f'<comp name="{name}" xmlns="urn:ietf:params:xml:ns:caldav"/>' for name in ("VEVENT", "VTODO")),
        ),
        ("http://x.example/:mood", "fine & well"),
    ):
        assert there.run("SELECT set_dav_property(%s, %s, %s, %s)", "/alice/calendar/", alice, name, value)
    grant = "INSERT INTO grants ({by}, to_principal, privileges) VALUES (%s, %s, privilege_to_bits(%s::text[]))"
    there.run(grant.format(by="by_collection"), work, bob_id, ["DAV::read", "DAV::write"])
    there.run(grant.format(by="by_collection"), work, team_id, ["caldav:read-free-busy"])
    there.run(grant.format(by="by_principal"), alice_id, bob_id, ["DAV::read"])
    return there


def test_everything_of_a_davical_comes_over_under_its_names_and_entity_tags(there: Davical, here: Here) -> None:
    filled(there)
    with ForeignDb(there.url) as db:
        report = here.bring(davical(db))
    assert here.bodies("alice", "calendars", "calendar") == {
        "a b.ics": (md5(event("a", "Käse")), event("a", "Käse")),
        "100%.ics": (md5(event("p")), event("p")),
    }
    assert here.bodies("alice", "addressbooks", "addresses") == {"z.vcf": (md5(card("z")), card("z"))}
    assert list(here.bodies("alice", "calendars", "folder-inner")) == ["i.ics"]
    # The plain folder is the one thing that has no like here.
    assert [line.split(": ")[1] for line in report.lines["left"]] == ["/alice/folder/"]


def test_a_calendar_of_davical_keeps_what_its_owner_made_of_it(there: Davical, here: Here) -> None:
    filled(there)
    with ForeignDb(there.url) as db:
        here.bring(davical(db))
    calendar = here.collection("alice", "calendars", "calendar")
    assert (calendar.display_name, calendar.description, calendar.transparent) == ("Work & more", "All of it", True)
    assert set(calendar.components) == {"VEVENT", "VTODO"}
    assert calendar.time_zone is not None
    assert "TZID:Europe/Vienna" in calendar.time_zone
    kept = here.properties("alice", "calendars", "calendar")
    assert "#FF2968FF" in kept[ical("calendar-color")]
    assert ">4<" in kept[ical("calendar-order")]
    assert "fine &amp; well" in kept["{http://x.example/}mood"]
    assert c("supported-calendar-component-set") not in kept


def test_people_groups_rooms_delegates_and_grants_of_davical_come_over(there: Davical, here: Here) -> None:
    filled(there)
    with ForeignDb(there.url) as db:
        here.bring(davical(db))
    alice, bob, team = here.account("alice"), here.account("bob"), here.account("team")
    assert (alice.display_name, alice.addresses, alice.kind) == ("Shown alice", ("alice@x.example",), "individual")
    assert (team.kind, here.account("room1").kind) == ("group", "resource")
    with transaction(here.store) as conn:
        assert [one.id for one in groups.members_of(conn, team.id)] == [bob.id]
        assert [(one.id, writes) for one, writes in proxies.delegates_of(conn, alice.id)] == [(bob.id, False)]
    found = {share.grantee: share.access for share in here.shares("alice", "calendars", "calendar")}
    assert found == {str(bob.id): "write", str(team.id): "busy"}


def test_what_everybody_may_read_there_everybody_may_read_here(there: Davical, here: Here) -> None:
    filled(there)
    there.run("UPDATE collection SET default_privileges = privilege_to_bits(ARRAY['DAV::read']) WHERE is_addressbook")
    with ForeignDb(there.url) as db:
        here.bring(davical(db))
    assert [(one.grantee, one.access) for one in here.shares("alice", "addressbooks", "addresses")] == [("all", "read")]


def test_a_second_run_over_davical_changes_nothing_and_a_third_brings_what_has_changed(
    there: Davical, here: Here
) -> None:
    filled(there)
    with ForeignDb(there.url) as db:
        here.bring(davical(db))
        before = here.seq("alice", "calendars", "calendar")
        again = here.bring(davical(db))
        assert here.seq("alice", "calendars", "calendar") == before
        assert (again.counts["stored"], again.counts["updated"], again.counts["unchanged"]) == (0, 0, 4)
        new = event("p", "Coffee")
        there.run(
            "UPDATE caldav_data SET caldav_data = %s, dav_etag = %s WHERE dav_name LIKE '%%100%%'",
            new.decode(),
            md5(new),
        )
        third = here.bring(davical(db))
    assert (third.counts["updated"], third.counts["unchanged"]) == (1, 3)
    assert here.bodies("alice", "calendars", "calendar")["100%.ics"] == (md5(new), new)


@pytest.mark.parametrize(
    ("bits", "access"),
    [
        ((1 << 24) - 1, "owner"), (4609 | 198, "write"), (198, None), (4609, "read"), (4609 | 4, "read"),
        (4608, "busy"), (0, None), (7168, "busy"), (57344, None),
    ],
)  # fmt: skip
def test_privileges_come_to_the_nearest_access_that_gives_no_more(bits: int, access: str | None) -> None:
    assert access_of(bits) == access


def test_a_database_that_is_not_davical_s_is_refused_with_a_sentence(tmp_path_url: str) -> None:
    There(tmp_path_url, tables.sabre())
    with ForeignDb(tmp_path_url) as db, pytest.raises(SourceError, match="DAViCal"):
        davical(db)
