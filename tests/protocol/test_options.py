"""OPTIONS, and 405 with Allow."""

from __future__ import annotations

import pytest

from dav.methods import METHODS
from dav.methods.allow import KINDS_OF, allowed
from dav.methods.options import DAV_HEADER
from dav.tree import KINDS
from tests.dsl import Client

PATHS = [
    "/",
    "/dav/",
    "/dav/principals/alice/",
    "/dav/calendars/alice/",
    "/dav/calendars/alice/calendar/",
    "/dav/calendars/alice/calendar/x.ics",
    "/dav/addressbooks/alice/contacts/",
    "/dav/files/alice/a/b",
    "/dav/directory/",
]


@pytest.mark.parametrize("path", PATHS)
def test_everyone_is_told_the_same_classes_on_every_address(alice: Client, path: str) -> None:
    for client in (alice, alice.anonymous()):
        answer = client.options(path)
        assert answer.status == 200
        assert answer.headers["dav"] == DAV_HEADER
        assert {"OPTIONS", "PROPFIND", "GET"} <= set(answer.headers["allow"].split(", "))
        assert answer.body == b""


def test_the_classes_are_those_that_clients_look_for() -> None:
    tokens = DAV_HEADER.split(", ")
    assert {"1", "2", "3", "calendar-access", "addressbook", "access-control", "extended-mkcol"} <= set(tokens)


def test_options_does_not_tell_whether_something_is_there(alice: Client, bob: Client) -> None:
    stranger = alice.anonymous()
    there = stranger.options("/dav/calendars/alice/calendar/")
    missing = stranger.options("/dav/calendars/alice/nothing/")
    nobody = stranger.options("/dav/calendars/nobody/calendar/")
    assert there.headers == missing.headers == nobody.headers
    assert bob.options("/dav/calendars/alice/calendar/").headers == there.headers


def test_an_address_in_a_home_names_the_methods_that_make_things(alice: Client) -> None:
    allow = alice.options("/dav/calendars/alice/new/").headers["allow"].split(", ")
    assert {"MKCALENDAR", "MKCOL", "PUT", "DELETE", "LOCK"} <= set(allow)
    home = alice.options("/dav/calendars/alice/").headers["allow"].split(", ")
    assert not {"PUT", "DELETE", "MOVE"} & set(home)


def test_a_home_names_the_methods_that_make_its_collections(alice: Client) -> None:
    for area, expected in (("calendars", {"MKCOL", "MKCALENDAR"}), ("addressbooks", {"MKCOL"}), ("files", {"MKCOL"})):
        allow = set(alice.options(f"/dav/{area}/alice/").headers["allow"].split(", "))
        assert allow & {"MKCOL", "MKCALENDAR"} == expected
    assert "MKCOL" not in alice.options("/dav/principals/alice/").headers["allow"]
    assert alice.mkcol("calendars/alice/").status == 405


def test_allow_and_the_table_of_methods_agree() -> None:
    assert set(METHODS) == set(KINDS_OF)
    for kind in KINDS:
        assert {"OPTIONS", "GET", "HEAD", "PROPFIND", "REPORT"} <= set(allowed(kind))
    assert "POST" in allowed("calendar")
    assert "POST" not in allowed("event")


def test_a_method_that_a_resource_does_not_have_is_405_with_allow(alice: Client) -> None:
    for verb, path in (("PUT", "calendars/alice/calendar/"), ("POST", "files/alice/"), ("PUT", "principals/alice/")):
        answer = alice.request(verb, path, b"x")
        assert answer.status == 405, (verb, path)
        assert verb not in answer.headers["allow"].split(", ")
        assert "PROPFIND" in answer.headers["allow"]


def test_an_unknown_method_is_501(alice: Client) -> None:
    assert alice.request("BREW", "files/alice/pot").status == 501


def test_acl_is_answered_where_there_is_a_list(alice: Client) -> None:
    body = '<D:acl xmlns:D="DAV:"/>'
    answer = alice.request("ACL", "calendars/alice/inbox/", body)
    assert (answer.status, answer.condition) == (403, "{DAV:}no-protected-ace-conflict")
    assert alice.request("ACL", "calendars/alice/calendar/", body).status == 200
    assert alice.request("ACL", "calendars/alice/calendar/", "<a").status == 400
    assert alice.request("ACL", "principals/alice/", body).status == 405
