"""From Nextcloud's tables."""

from __future__ import annotations

import json

import pytest

from dav.auth import passwords
from dav.movein.nextcloud import nextcloud
from dav.movein.source import SourceError
from dav.names import d, ical
from storage import groups, proxies
from storage.engine import transaction
from storage.movein_db import ForeignDb
from tests.movein_wire import tables
from tests.movein_wire.kit import Here, There, card, event, md5, row_of


def cloud(url: str, *, prefix: str = "oc_", deleted: bool = True) -> There:
    """Alice and Bob, and Dora from a directory. Alice has a calendar that Bob sees and the group family changes."""
    there = There(url, tables.nextcloud(prefix, deleted=deleted))
    there.add(
        f"{prefix}users",
        {"uid": "alice", "displayname": "Alice A.", "password": "3|" + passwords.hash_password("tea")},
        {"uid": "bob", "displayname": None, "password": "1|$2y$10$abcdefghijklmnopqrstuv"},
    )
    there.add(
        f"{prefix}accounts",
        {"uid": "alice", "data": json.dumps({"email": {"value": "old@x.example"}})},
        {"uid": "bob", "data": json.dumps({"displayname": {"value": "Bob B."}, "email": {"value": "bob@x.example"}})},
        {"uid": "dora", "data": "no JSON"},
    )
    there.add(
        f"{prefix}preferences",
        {"userid": "alice", "appid": "settings", "configkey": "email", "configvalue": "alice@x.example"},
        {"userid": "alice", "appid": "core", "configkey": "lang", "configvalue": "de"},
        {"userid": "alice", "appid": "core", "configkey": "timezone", "configvalue": "Europe/Vienna"},
        {"userid": "alice", "appid": "mail", "configkey": "email", "configvalue": "no"},
    )
    there.add(f"{prefix}groups", {"gid": "the family", "displayname": "The Family"}, {"gid": "admin"})
    there.add(f"{prefix}group_user", {"gid": "the family", "uid": "dora"}, {"gid": "admin", "uid": "alice"})
    described = {"principaluri": "principals/users/alice", "components": "VEVENT,VTODO"}
    work, birthdays, old = there.add(
        f"{prefix}calendars",
        {
            **described, "uri": "personal", "displayname": "Personal", "calendarcolor": "#0082C9", "calendarorder": 2,
            "transparent": 0,
        },
        {**described, "uri": "contact_birthdays", "displayname": "Birthdays"},
        {**described, "uri": "old", "displayname": "Old", **({"deleted_at": 1_700_000_000} if deleted else {})},
    )  # fmt: skip
    for number, (calendar, uri) in enumerate(((work, "a.ics"), (birthdays, "b.ics"), (old, "c.ics"))):
        body = event(f"u{number}")
        there.add(f"{prefix}calendarobjects", row_of(body, uri, calendarid=calendar, calendardata=body))
    gone, copy = event("gone"), event("copy")
    if deleted:
        there.add(
            f"{prefix}calendarobjects",
            row_of(gone, "gone-deleted.ics", calendarid=work, calendardata=gone, deleted_at=1_700_000_000),
        )
    there.add(f"{prefix}calendarobjects", row_of(copy, "copy.ics", calendarid=work, calendardata=copy, calendartype=1))
    there.add(
        f"{prefix}dav_shares",
        {"principaluri": "principals/users/bob", "type": "calendar", "access": 3, "resourceid": work},
        {"principaluri": "principals/groups/the+family", "type": "calendar", "access": 2, "resourceid": work},
        {"principaluri": "principals/users/bob", "type": "addressbook", "access": 2, "resourceid": work},
        {
            "principaluri": "principals/users/alice",
            "type": "calendar",
            "access": 4,
            "resourceid": work,
            "publicuri": "aB",
        },
        {"principaluri": "principals/circles/xyz", "type": "calendar", "access": 3, "resourceid": work},
    )
    there.add(
        f"{prefix}dav_cal_proxy",
        {"owner_id": "principals/users/alice", "proxy_id": "principals/users/bob", "permissions": 2},
    )
    (book, _) = there.add(
        f"{prefix}addressbooks",
        {"principaluri": "principals/users/dora", "uri": "contacts", "displayname": "Contacts"},
        {"principaluri": "principals/system/system", "uri": "system", "displayname": "Accounts"},
    )
    body = card("z")
    there.add(f"{prefix}cards", row_of(body, "z.vcf", addressbookid=book, carddata=body))
    there.add(
        f"{prefix}properties",
        {
            "userid": "alice", "propertypath": "calendars/alice/personal", "propertyname": "{http://x.example/}a",
            "propertyvalue": "1 < 2", "valuetype": 1,
        },
        {
            "userid": "alice", "propertypath": "calendars/alice/personal", "propertyname": "{http://x.example/}b",
            "propertyvalue": "<b xmlns=\"http://x.example/\">x</b>", "valuetype": 2,
        },
        {
            "userid": "bob", "propertypath": "calendars/alice/personal", "propertyname": "{http://x.example/}c",
            "propertyvalue": "not hers", "valuetype": 1,
        },
    )  # fmt: skip
    return there


def test_calendars_books_and_entity_tags_come_over_and_the_trash_does_not(there_url: str, here: Here) -> None:
    there = cloud(there_url)
    with ForeignDb(there_url) as db, there.counting():
        here.bring(nextcloud(db))
    assert here.bodies("alice", "calendars", "personal") == {"a.ics": (md5(event("u0")), event("u0"))}
    assert not {"old", "contact_birthdays"} & set(here.paths("alice", "calendars"))
    # Also of one whom a directory keeps: she has no row among the users.
    assert here.bodies("dora", "addressbooks", "contacts") == {"z.vcf": (md5(card("z")), card("z"))}
    kept = here.properties("alice", "calendars", "personal")
    assert "#0082C9" in kept[ical("calendar-color")]
    assert "1 &lt; 2" in kept["{http://x.example/}a"]
    assert ">x</" in kept["{http://x.example/}b"]
    assert "{http://x.example/}c" not in kept


def test_people_come_with_what_their_profiles_say(there_url: str, here: Here) -> None:
    cloud(there_url)
    with ForeignDb(there_url) as db:
        here.bring(nextcloud(db))
    alice, bob = here.account("alice"), here.account("bob")
    assert (alice.display_name, alice.addresses, alice.locale) == ("Alice A.", ("alice@x.example",), "de")
    assert alice.time_zone == "Europe/Vienna"
    assert (bob.display_name, bob.addresses) == ("Bob B.", ("bob@x.example",))
    with transaction(here.store) as conn:
        assert [(one.id, writes) for one, writes in proxies.delegates_of(conn, alice.id)] == [(bob.id, True)]


def test_a_password_is_kept_where_its_hash_is_one_of_ours(tmp_path_url: str, here: Here) -> None:
    cloud(tmp_path_url)
    with ForeignDb(tmp_path_url) as db:
        here.bring(nextcloud(db))
    stored = here.account("alice").password_hash
    assert stored is not None
    assert passwords.verify("tea", stored)
    assert here.account("bob").password_hash is None


def test_shares_with_people_and_groups_come_over_and_what_has_no_like_is_said(there_url: str, here: Here) -> None:
    cloud(there_url)
    with ForeignDb(there_url) as db:
        report = here.bring(nextcloud(db))
    found = {share.grantee: share.access for share in here.shares("alice", "calendars", "personal")}
    family = here.account("the family")
    assert found == {str(here.account("bob").id): "read", str(family.id): "write"}
    assert (family.kind, family.display_name) == ("group", "The Family")
    with transaction(here.store) as conn:
        assert [one.name for one in groups.members_of(conn, family.id)] == ["dora"]
    said = "\n".join(report.lines["left"])
    assert "public link" in said
    assert "principals/circles/xyz" in said
    assert "contact_birthdays" in said
    assert report.counts["left"] == 3, said


def test_sharees_keep_what_they_made_of_a_shared_calendar(there_url: str, here: Here) -> None:
    there = cloud(there_url)
    for name, order in (("bob", "7"), ("dora", "no number")):
        there.add(
            "oc_properties",
            *(
                {
                    "userid": name, "propertypath": f"calendars/{name}/personal_shared_by_alice", "propertyname": key,
                    "propertyvalue": value, "valuetype": 1,
                }
                for key, value in (
                    (d("displayname"), f"Alice & {name}"), (ical("calendar-color"), "#112233"),
                    (ical("calendar-order"), order),
                )
            ),
        )  # fmt: skip
    with ForeignDb(there_url) as db:
        here.bring(nextcloud(db))
    for name in ("bob", "dora"):  # she by a group
        mount = here.collection(name, "calendars", "personal_shared_by_alice")
        assert (mount.origin, mount.display_name) == ("shared", f"Alice & {name}")
        kept = here.properties(name, "calendars", "personal_shared_by_alice")
        assert "#112233" in kept[ical("calendar-color")]
        assert (ical("calendar-order") in kept) == (name == "bob")


def test_tables_of_an_old_version_and_with_another_prefix_are_read(tmp_path_url: str, here: Here) -> None:
    cloud(tmp_path_url, prefix="nc1_", deleted=False)
    with ForeignDb(tmp_path_url) as db:
        here.bring(nextcloud(db, prefix="nc1_"))
    assert {"personal", "old"} <= set(here.paths("alice", "calendars"))


def test_a_second_run_changes_nothing(there_url: str, here: Here) -> None:
    cloud(there_url)
    with ForeignDb(there_url) as db:
        here.bring(nextcloud(db))
        before = here.seq("alice", "calendars", "personal")
        again = here.bring(nextcloud(db))
    assert here.seq("alice", "calendars", "personal") == before
    assert (again.counts["stored"], again.counts["updated"], again.counts["unchanged"]) == (0, 0, 2)


def test_a_group_with_the_name_of_a_person_is_not_that_person(tmp_path_url: str, here: Here) -> None:
    there = cloud(tmp_path_url)
    there.run("DELETE FROM oc_dav_shares")
    there.add("oc_groups", {"gid": "Bob"})
    there.add("oc_group_user", {"gid": "Bob", "uid": "dora"})
    there.add(
        "oc_dav_shares", {"principaluri": "principals/groups/Bob", "type": "calendar", "access": 2, "resourceid": 1}
    )
    with ForeignDb(tmp_path_url) as db:
        report = here.bring(nextcloud(db))
    assert here.account("bob").kind == "individual"
    assert any(line.startswith("Bob:") for line in report.lines["left"])
    assert here.shares("alice", "calendars", "personal") == []


@pytest.mark.parametrize("prefix", ["oc_", "x'; --"])
def test_another_database_and_another_prefix_are_refused_with_a_sentence(tmp_path_url: str, prefix: str) -> None:
    There(tmp_path_url, tables.sabre())
    with ForeignDb(tmp_path_url) as db, pytest.raises(SourceError):
        nextcloud(db, prefix=prefix)
