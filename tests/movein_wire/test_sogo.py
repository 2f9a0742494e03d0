"""From SOGo's tables: all folders in one, or each in its own."""

from __future__ import annotations

import json

import pytest

from dav.movein.sogo import access_of, sogo
from dav.movein.source import SourceError
from dav.names import ical
from storage.movein_db import ForeignDb
from tests.movein_wire import tables
from tests.movein_wire.kit import Here, There, card, event

CHANGES = ("PublicModifier", "ObjectCreator", "ObjectEraser", "PrivateViewer")


def groupware(url: str, *, apart: bool) -> There:
    """Alice has a calendar and a book; Bob subscribes to the calendar, Carol may read it and does not."""
    names = ("sogoalice001", "sogoalice002") if apart else ()
    there = There(url, tables.sogo(*names))
    folders = (
        (1, "Calendar", "personal", "Appointment", "Personal Calendar"),
        (2, "Contacts", "personal", "Contact", "Personal Address Book"),
    )
    for number, module, path, kind, shown in folders:
        place = f"postgresql://sogo:x@localhost/sogo/SOGoAlice00{number}" if apart else None
        there.add(
            "sogo_folder_info",
            {
                "c_folder_id": number, "c_path": f"/Users/alice/{module}/{path}", "c_path1": "Users",
                "c_path2": "alice", "c_path3": module, "c_path4": path, "c_foldername": shown,
                "c_folder_type": kind, "c_location": place,
                "c_acl_location": f"{place}_acl" if place else None,
            },
        )  # fmt: skip
    for folder, name, body, gone in (
        (1, "a.ics", event("a", "Käse"), 0), (1, "b.ics", event("b"), None), (1, "gone.ics", event("gone"), 1),
        (2, "z.vcf", card("z"), 0), (2, "list.vlf", b"BEGIN:VLIST\r\nUID:l\r\nEND:VLIST\r\n", 0),
    ):  # fmt: skip
        there.add(
            names[folder - 1] if apart else "sogo_store",
            {
                **({} if apart else {"c_folder_id": folder}), "c_name": name, "c_content": body.decode(),
                "c_creationdate": 1, "c_lastmodified": 2, "c_version": 3, "c_deleted": gone,
            },
        )  # fmt: skip
    rights = [("bob", role) for role in CHANGES]
    rights += [("carol", "PublicViewer"), ("<default>", "PublicDAndTViewer"), ("anonymous", "PublicDAndTViewer")]
    there.add(
        f"{names[0]}_acl" if apart else "sogo_acl",
        *(
            {
                **({} if apart else {"c_folder_id": 1}), "c_object": "/alice/Calendar/personal", "c_uid": name,
                "c_role": role,
            }
            for name, role in rights
        ),
    )  # fmt: skip
    own = {"FolderColors": {"alice:Calendar/personal": "#AABBCC"}, "SubscribedFolders": []}
    there.add(
        "sogo_user_profile",
        {
            "c_uid": "alice", "c_defaults": json.dumps({"SOGoTimeZone": "Europe/Vienna"}),
            "c_settings": json.dumps({"Calendar": own}),
        },
        {
            "c_uid": "bob", "c_defaults": "",
            "c_settings": json.dumps({"Calendar": {"SubscribedFolders": ["alice:Calendar/personal"]}}),
        },
        {"c_uid": "carol", "c_defaults": "[", "c_settings": "[1]"},
    )  # fmt: skip
    return there


@pytest.mark.parametrize("apart", [False, True])
def test_everything_of_a_sogo_comes_over_under_its_names_and_entity_tags(
    there_url: str, apart: bool, here: Here
) -> None:
    there = groupware(there_url, apart=apart)
    for name in ("bob", "carol"):
        here.make(name)
    with ForeignDb(there_url) as db, there.counting():
        report = here.bring(sogo(db))
    assert here.bodies("alice", "calendars", "personal") == {
        "a.ics": ("gcs00000003", event("a", "Käse")),
        "b.ics": ("gcs00000003", event("b")),
    }
    assert here.bodies("alice", "addressbooks", "personal") == {"z.vcf": ("gcs00000003", card("z"))}
    assert "#AABBCC" in here.properties("alice", "calendars", "personal")[ical("calendar-color")]
    assert here.account("alice").time_zone == "Europe/Vienna"
    assert here.collection("alice", "calendars", "personal").display_name == "Personal Calendar"
    found = {share.grantee: (share.access, share.state) for share in here.shares("alice", "calendars", "personal")}
    bob, carol = (str(here.account(name).id) for name in ("bob", "carol"))
    assert found == {bob: ("write", "accepted"), carol: ("read", "pending"), "all": ("busy", "accepted")}
    said = "\n".join(report.lines["left"])
    assert "VLIST" in said
    assert "without a password" in said
    assert report.counts["left"] == 2, said


@pytest.mark.parametrize("apart", [False, True])
def test_a_second_run_over_sogo_changes_nothing_and_a_third_brings_what_has_changed(
    tmp_path_url: str, apart: bool, here: Here
) -> None:
    there = groupware(tmp_path_url, apart=apart)
    with ForeignDb(tmp_path_url) as db:
        here.bring(sogo(db))
        again = here.bring(sogo(db))
        assert (again.counts["stored"], again.counts["updated"], again.counts["unchanged"]) == (0, 0, 3)
        table = "sogoalice001" if apart else "sogo_store"
        new = event("a", "Coffee")
        there.run(f"UPDATE {table} SET c_content = :body, c_version = 4 WHERE c_name = 'a.ics'", body=new.decode())
        third = here.bring(sogo(db))
    assert (third.counts["updated"], third.counts["unchanged"]) == (1, 2)
    assert here.bodies("alice", "calendars", "personal")["a.ics"] == ("gcs00000004", new)


@pytest.mark.parametrize(
    ("roles", "kind", "access"),
    [
        (set(CHANGES), "calendar", "write"), ({"PublicModifier"}, "calendar", "read"),
        ({"PublicResponder"}, "calendar", "read"), ({"PublicDAndTViewer"}, "calendar", "busy"),
        ({"PrivateViewer"}, "calendar", None), ({"ObjectCreator", "ObjectEraser"}, "calendar", None),
        (set(), "calendar", None),
        ({"ObjectViewer"}, "addressbook", "read"), ({"PublicDAndTViewer"}, "addressbook", None),
        ({"ObjectEditor", "ObjectCreator", "ObjectEraser"}, "addressbook", "write"),
    ],
)  # fmt: skip
def test_roles_come_to_the_nearest_access_that_gives_no_more(roles: set[str], kind: str, access: str | None) -> None:
    assert access_of(roles, kind) == access


def test_a_database_that_is_not_sogo_s_is_refused_with_a_sentence(tmp_path_url: str) -> None:
    There(tmp_path_url, tables.sabre())
    with ForeignDb(tmp_path_url) as db, pytest.raises(SourceError, match="SOGo"):
        sogo(db)
