"""From the tables of sabre/dav: Baïkal, Davis."""

from __future__ import annotations

import pytest

from dav.movein.kernel import Options
from dav.movein.report import Report
from dav.movein.sabre import sabre
from dav.movein.source import SourceError
from dav.names import c, ical
from storage import collections, feeds_in, proxies
from storage.engine import transaction
from storage.movein_db import ForeignDb, ForeignDbError
from tests.movein_wire import tables
from tests.movein_wire.kit import Here, There, card, event, md5, row_of

ZONE = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//EN\r\nBEGIN:VTIMEZONE\r\nTZID:Europe/Vienna\r\n"
    "BEGIN:STANDARD\r\nDTSTART:19701025T030000\r\nTZOFFSETFROM:+0200\r\nTZOFFSETTO:+0100\r\n"
    "END:STANDARD\r\nEND:VTIMEZONE\r\nEND:VCALENDAR\r\n"
)
_BINARY = {
    "principals": ("uri", "email"),
    "calendarinstances": ("principaluri", "uri", "calendarcolor", "share_href"),
    "calendars": ("principaluri", "uri", "components"),
    "calendarobjects": ("uri", "etag", "uid"),
    "addressbooks": ("principaluri", "uri"),
    "cards": ("uri", "etag"),
    "calendarsubscriptions": ("principaluri", "uri", "calendarcolor"),
    "propertystorage": ("path", "name"),
    "users": ("username", "digesta1"),
}


def baikal(url: str, **kinds: bool) -> There:
    """Alice and Bob; Alice has a calendar with two events, which Bob may change, and a book with one card."""
    there = There(url, tables.sabre(**kinds))
    if url.startswith("mysql"):
        # There names and tags are bytes, and do not compare as texts do.
        for table, columns in _BINARY.items():
            for column in columns:
                if column in there.columns().get(table, ()):
                    there.run(f"ALTER TABLE {table} MODIFY {column} VARBINARY(255)")
    _, _, writes, bob = there.add(
        "principals",
        {"uri": "principals/alice", "email": "alice@x.example", "displayname": "Alice Ä."},
        {"uri": "principals/alice/calendar-proxy-read"},
        {"uri": "principals/alice/calendar-proxy-write"},
        {"uri": "principals/bob", "email": "bob@x.example", "displayname": "Bob"},
    )
    there.add("users", {"username": "alice", "digesta1": "x"}, {"username": "bob", "digesta1": "x"})
    there.add("groupmembers", {"principal_id": writes, "member_id": bob})
    described = {
        "principaluri": "principals/alice", "uri": "work", "displayname": "Work & more", "description": "All of it",
        "calendarcolor": "#FF2968FF", "calendarorder": 3, "timezone": ZONE, "transparent": 1,
    }  # fmt: skip
    if kinds.get("instances", True):
        (calendar,) = there.add("calendars", {"synctoken": 7, "components": "VEVENT,VTODO"})
        there.add(
            "calendarinstances",
            {"calendarid": calendar, "access": 1, **described},
            {
                "calendarid": calendar, "access": 3, "principaluri": "principals/bob", "uri": "from-alice",
                "displayname": "Alice's", "share_href": "mailto:bob@x.example", "share_invitestatus": 2,
            },
        )  # fmt: skip
    else:
        (calendar,) = there.add("calendars", {"synctoken": 7, "components": "VEVENT,VTODO", **described})
    binary = kinds.get("binary", True)
    for uri, body in (("a.ics", event("a")), ("b c.ics", event("b", "Käse"))):
        content = body if binary else body.decode()
        there.add("calendarobjects", row_of(body, uri, calendarid=calendar, calendardata=content, uid=uri))
    (book,) = there.add(
        "addressbooks",
        {"principaluri": "principals/alice", "uri": "people", "displayname": "People", "description": ""},
    )
    body = card("z")
    there.add("cards", row_of(body, "z.vcf", addressbookid=book, carddata=body if binary else body.decode()))
    there.add(
        "propertystorage",
        {
            "path": "calendars/alice/work", "name": "{http://x.example/}mood", "valuetype": 1,
            "value": b"<fine>" if binary else "<fine>",
        },
        {
            "path": "calendars/alice/work", "name": "{http://x.example/}php", "valuetype": 3,
            "value": b"O:1" if binary else "O:1",
        },
    )  # fmt: skip
    return there


@pytest.mark.parametrize("binary", [True, False])
def test_everything_of_a_baikal_comes_over_under_its_names_and_entity_tags(
    there_url: str, binary: bool, here: Here
) -> None:
    there = baikal(there_url, binary=binary)
    with ForeignDb(there_url) as db, there.counting():
        report = here.bring(sabre(db))
    assert report.complete, report.text()
    found = here.bodies("alice", "calendars", "work")
    assert found == {
        "a.ics": (md5(event("a")), event("a")),
        "b c.ics": (md5(event("b", "Käse")), event("b", "Käse")),
    }
    assert here.bodies("alice", "addressbooks", "people") == {"z.vcf": (md5(card("z")), card("z"))}


def test_a_calendar_keeps_what_its_owner_made_of_it(there_url: str, here: Here) -> None:
    baikal(there_url)
    with ForeignDb(there_url) as db:
        here.bring(sabre(db))
    calendar = here.collection("alice", "calendars", "work")
    assert calendar.display_name == "Work & more"
    assert calendar.description == "All of it"
    assert set(calendar.components) == {"VEVENT", "VTODO"}
    assert calendar.transparent
    assert calendar.time_zone is not None
    assert "TZID:Europe/Vienna" in calendar.time_zone
    kept = here.properties("alice", "calendars", "work")
    assert "#FF2968FF" in kept[ical("calendar-color")]
    assert ">3<" in kept[ical("calendar-order")]
    assert "&lt;fine&gt;" in kept["{http://x.example/}mood"]
    assert "{http://x.example/}php" not in kept
    assert c("calendar-timezone") not in kept


def test_people_come_with_their_names_addresses_and_delegates(there_url: str, here: Here) -> None:
    baikal(there_url)
    with ForeignDb(there_url) as db:
        here.bring(sabre(db))
    alice, bob = here.account("alice"), here.account("bob")
    assert alice.display_name == "Alice Ä."
    assert alice.addresses == ("alice@x.example",)
    with transaction(here.store) as conn:
        assert [(one.id, writes) for one, writes in proxies.delegates_of(conn, alice.id)] == [(bob.id, True)]


def test_a_shared_calendar_is_one_calendar_and_a_share(there_url: str, here: Here) -> None:
    baikal(there_url)
    with ForeignDb(there_url) as db:
        here.bring(sabre(db))
    (share,) = here.shares("alice", "calendars", "work")
    assert (share.grantee, share.access, share.state) == (str(here.account("bob").id), "write", "accepted")
    # Bob has a place for it in his home, and no second calendar.
    origins = [here.collection("bob", "calendars", path).origin for path in here.paths("bob", "calendars")]
    assert origins.count("shared") == 1
    assert origins.count("") == 2  # the first calendar and the task list


def mount_of_bob(here: Here) -> str:
    (path,) = [
        one for one in here.paths("bob", "calendars") if here.collection("bob", "calendars", one).origin == "shared"
    ]
    return path


def test_a_sharee_keeps_the_name_the_colour_and_the_place_that_he_gave_it(there_url: str, here: Here) -> None:
    there = baikal(there_url)
    there.run(
        "UPDATE calendarinstances SET calendarcolor = '#00FF00FF', calendarorder = 9, transparent = 0 WHERE access = 3"
    )
    with ForeignDb(there_url) as db:
        here.bring(sabre(db))
        assert mount_of_bob(here) == "from-alice"
        mount = here.collection("bob", "calendars", "from-alice")
        assert (mount.display_name, mount.transparent) == ("Alice's", False)
        kept = here.properties("bob", "calendars", "from-alice")
        assert "#00FF00FF" in kept[ical("calendar-color")]
        assert ">9<" in kept[ical("calendar-order")]
        assert here.collection("alice", "calendars", "work").display_name == "Work & more"
        # What he changes here stays at the next run.
        with transaction(here.store, write=True) as conn:
            collections.update_collection(conn, mount.id, display_name="Mine now", now_s=1)
        here.bring(sabre(db))
    assert here.collection("bob", "calendars", "from-alice").display_name == "Mine now"


@pytest.mark.parametrize("name", ["inbox", "a/b", "..", "x" * 5000, "first"])
def test_a_name_that_cannot_be_the_sharees_here_is_another_one(tmp_path_url: str, here: Here, name: str) -> None:
    there = baikal(tmp_path_url)
    there.add(
        "calendarinstances",
        {"calendarid": there.add("calendars", {"synctoken": 1, "components": "VEVENT"})[0], "access": 1,
         "principaluri": "principals/bob", "uri": "first", "displayname": "First"},
    )  # fmt: skip
    there.run("UPDATE calendarinstances SET uri = :name WHERE access = 3", name=name)
    with ForeignDb(tmp_path_url) as db:
        here.bring(sabre(db))
    assert mount_of_bob(here) == "work"
    assert here.collection("bob", "calendars", "work").display_name == "Alice's"
    assert here.collection("bob", "calendars", "first").origin == ""


@pytest.mark.parametrize(("invited", "state"), [(1, "pending"), (3, "declined")])
def test_an_invitation_keeps_its_answer(invited: int, state: str, tmp_path_url: str, here: Here) -> None:
    there = baikal(tmp_path_url)
    there.run("UPDATE calendarinstances SET share_invitestatus = :n, access = 2 WHERE access = 3", n=invited)
    with ForeignDb(tmp_path_url) as db:
        here.bring(sabre(db))
    (share,) = here.shares("alice", "calendars", "work")
    assert (share.access, share.state) == ("read", state)


def test_calendars_without_instances_come_over_from_older_versions(there_url: str, here: Here) -> None:
    baikal(there_url, instances=False)
    with ForeignDb(there_url) as db:
        report = here.bring(sabre(db))
    assert report.complete, report.text()
    assert here.collection("alice", "calendars", "work").display_name == "Work & more"
    assert len(here.bodies("alice", "calendars", "work")) == 2


def test_a_second_run_changes_nothing_and_a_third_brings_what_has_changed(there_url: str, here: Here) -> None:
    there = baikal(there_url)
    with ForeignDb(there_url) as db:
        here.bring(sabre(db))
        before = here.seq("alice", "calendars", "work")
        again = here.bring(sabre(db))
        assert here.seq("alice", "calendars", "work") == before
        assert (again.counts["stored"], again.counts["updated"], again.counts["unchanged"]) == (0, 0, 3)
        new = event("a", "Coffee")
        there.run(
            "UPDATE calendarobjects SET calendardata = :body, etag = :etag WHERE uri = 'a.ics'", body=new, etag=md5(new)
        )
        third = here.bring(sabre(db))
    assert (third.counts["updated"], third.counts["unchanged"]) == (1, 2)
    assert here.bodies("alice", "calendars", "work")["a.ics"] == (md5(new), new)


def test_what_cannot_be_read_is_said_and_the_rest_comes_over(tmp_path_url: str, here: Here) -> None:
    there = baikal(tmp_path_url)
    there.run("UPDATE calendarobjects SET calendardata = 'nonsense', etag = 'e' WHERE uri = 'a.ics'")
    there.add("addressbooks", {"principaluri": "principals/carol", "uri": "hers"})
    with ForeignDb(tmp_path_url) as db:
        report = here.bring(sabre(db))
    assert not report.complete
    assert any("a.ics" in line for line in report.lines["left"])
    assert any(line.startswith("carol: hers") for line in report.lines["left"])
    assert list(here.bodies("alice", "calendars", "work")) == ["b c.ics"]


def test_bytes_that_are_no_utf_8_come_over_as_they_are_or_are_said(tmp_path_url: str, here: Here) -> None:
    there = baikal(tmp_path_url)
    body = event("a").replace(b"Tea", b"K\xe4se")
    there.run(
        "UPDATE calendarobjects SET calendardata = CAST(:body AS TEXT), etag = 'e' WHERE uri = 'a.ics'", body=body
    )
    with ForeignDb(tmp_path_url) as db:
        report = here.bring(sabre(db))
    found = here.bodies("alice", "calendars", "work")
    # The store decides; what it takes is not what a decoder made of it.
    assert ("a.ics" in found) != any("a.ics" in line for line in report.lines.get("left", ()))
    if "a.ics" in found:
        assert found["a.ics"][1] in (body, body.decode("latin-1").encode())


def test_a_dry_run_writes_nothing(tmp_path_url: str, here: Here) -> None:
    baikal(tmp_path_url)
    here.make("alice")
    here.make("bob")
    with ForeignDb(tmp_path_url) as db:
        report = here.bring(sabre(db), Options(dry_run=True))
    assert report.counts["stored"] == 3
    assert "work" not in here.paths("alice", "calendars")


def test_a_subscription_is_followed_by_this_server_from_now_on(there_url: str, here: Here) -> None:
    there = baikal(there_url)
    rest = {"principaluri": "principals/alice", "refreshrate": "PT6H", "stripalarms": 1, "striptodos": 0}
    there.add(
        "calendarsubscriptions",
        {"uri": "moon", "source": "https://x.example/moon.ics", "displayname": "Moon", **rest},
        {"uri": "odd", "source": "javascript:alert(1)", "displayname": "Odd", **rest},
    )
    with ForeignDb(there_url) as db:
        report = here.bring(sabre(db))
    assert [line.split(": ")[1] for line in report.lines["left"]] == ["odd"]
    moon = here.collection("alice", "calendars", "moon")
    assert (moon.origin, moon.display_name) == ("feed", "Moon")
    with transaction(here.store) as conn:
        feed = feeds_in.feed_of(conn, moon.id)
    assert feed is not None
    assert (feed.url, feed.strip, feed.interval_s) == ("https://x.example/moon.ics", ("alarms",), 6 * 3600)


def test_a_group_is_a_principal_with_members_that_is_no_user(tmp_path_url: str) -> None:
    there = baikal(tmp_path_url)
    (family,) = there.add("principals", {"uri": "principals/family", "displayname": "Family"})
    there.add("groupmembers", {"principal_id": family, "member_id": 1}, {"principal_id": family, "member_id": 4})
    with ForeignDb(tmp_path_url) as db:
        (found,) = [one for one in sabre(db).accounts(Report()) if one.name == "family"]
    assert (found.kind, found.members) == ("group", ("alice", "bob"))


def test_a_database_of_something_else_is_refused_with_a_sentence(tmp_path_url: str) -> None:
    There(tmp_path_url, tables.nextcloud())
    with ForeignDb(tmp_path_url) as db, pytest.raises(SourceError, match="no table"):
        sabre(db)


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/x.sqlite", "oracle://x/y", "nonsense", "postgresql://u:secret@127.0.0.1:1/x"]
)
def test_a_database_that_cannot_be_opened_is_a_sentence_without_the_password(url: str) -> None:
    with pytest.raises(ForeignDbError) as failure:
        ForeignDb(url, timeout_s=2)
    assert "secret" not in str(failure.value)
    assert "\n" not in str(failure.value)
