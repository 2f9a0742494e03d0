"""Addresses: one resource, one canonical spelling, and nothing outside of the tree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dav.config import ServerConfig
from dav.errors import DavError
from dav.names import d
from dav.urls import NAME_BYTES_MAX, Place, Urls, decode_segment, encode_segment
from tests.dsl import Client, Server, event
from tests.protocol.conftest import Serve

CALENDAR = "calendars/alice/calendar/"
BAD = (
    "/dav/calendars/alice/calendar/a%2Fb.ics",
    "/dav/calendars/alice/calendar/a%2fb.ics",
    "/dav/calendars/alice/../alice/calendar/",
    "/dav/calendars/alice/%2e%2e/calendar/",
    "/dav/calendars/alice/./calendar/",
    "/dav/calendars/alice/calendar/a%00.ics",
    "/dav/calendars/alice/calendar/a%0d%0ab.ics",
    "/dav/calendars/alice/calendar/a%7f.ics",
    "/dav/calendars/alice/calendar/%ff.ics",
    "/dav/calendars/alice/calendar/%ed%a0%80.ics",
)
SPELLINGS = (
    "/dav/calendars/alice%40example.com/calendar/a%40b.ics",
    "/dav/calendars/alice@example.com/calendar/a@b.ics",
    "/dav/calendars/alice%40example%2Ecom/%63alendar/a@b.ics",
    "/dav//calendars/alice@example.com//calendar/a%40b.ics",
    "/dav/calendars/ALICE@Example.com/calendar/a@b.ics",
)


@pytest.mark.parametrize("path", BAD)
@pytest.mark.parametrize("method", ["GET", "PUT", "PROPFIND", "DELETE", "MKCOL"])
def test_a_path_that_cannot_be_a_name_is_400_for_every_method(alice: Client, method: str, path: str) -> None:
    assert alice.request(method, path, event("x") if method == "PUT" else b"").status == 400


def test_a_line_feed_in_the_name_of_a_member_is_a_name_like_others_and_always_percent_encoded(alice: Client) -> None:
    path = CALENDAR + "a%0Ab.ics"
    assert alice.put(path, event("x\\ny")).status == 201
    assert alice.get(path).status == 200
    assert list(alice.propfind(CALENDAR, [d("getetag")], depth=1)) == ["/dav/" + CALENDAR, "/dav/" + path]
    assert alice.delete(path).status == 204
    for elsewhere in ("/dav/calendars/alice/a%0Ab/", "/dav/files/alice/x/a%0Ab", "/dav/calendars/al%0Aice/c/x.ics"):
        assert alice.request("PROPFIND", elsewhere).status == 400, elsewhere


def test_percent_signs_are_decoded_once(alice: Client) -> None:
    assert alice.put(CALENDAR + "a%252Fb.ics", event("x")).status == 201
    assert CALENDAR.join(("/dav/", "a%252Fb.ics")) in alice.propfind(CALENDAR, [d("getetag")], depth=1)
    assert alice.get(CALENDAR + "a%252Fb.ics").status == 200


def test_all_spellings_of_an_address_are_one_resource_with_one_href(server: Server) -> None:
    alice = server.account("alice@example.com")
    assert alice.put(SPELLINGS[0], event("x")).status == 201
    for spelling in SPELLINGS:
        assert alice.get(spelling).status == 200, spelling
        assert list(alice.propfind(spelling, [d("getetag")])) == [SPELLINGS[0]], spelling


def test_a_principal_whose_at_sign_was_encoded_twice_is_found_and_called_by_its_one_spelling(server: Server) -> None:
    # CLIENT Thunderbird does so with its principal, and has no invitations when it gets a 404.
    alice = server.account("alice@example.com")
    principal = "/dav/principals/alice%40example.com/"
    found = alice.propfind("/dav/principals/alice%2540example.com/", [d("resourcetype")])
    assert list(found) == [principal]
    # Elsewhere it is another name, and so is an account's that has its "@".
    alice.put(SPELLINGS[0], event("x"))
    assert alice.get("/dav/calendars/alice%2540example.com/calendar/a%40b.ics").status == 404
    assert alice.get("/dav/calendars/alice%40example.com/calendar/a%2540b.ics").status == 404
    assert alice.propfind_raw("/dav/principals/a@b%2540example.com/", [d("resourcetype")]).status == 404


def test_names_are_compared_in_their_composed_form(alice: Client) -> None:
    assert alice.put(CALENDAR + "caf%C3%A9.ics", event("x")).status == 201
    assert alice.put(CALENDAR + "cafe%CC%81.ics", event("x", summary="new")).status == 204
    assert list(alice.propfind(CALENDAR, [d("getetag")], depth=1)) == [
        f"/dav/{CALENDAR}", f"/dav/{CALENDAR}caf%C3%A9.ics",
    ]  # fmt: skip


def test_a_collection_is_served_without_its_slash_and_answers_with_it(alice: Client) -> None:
    assert list(alice.propfind("calendars/alice/calendar", [d("resourcetype")])) == [f"/dav/{CALENDAR}"]
    assert list(alice.propfind("/dav", [d("resourcetype")])) == ["/dav/"]


def test_a_member_with_a_slash_at_its_end_is_nothing(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    assert alice.propfind_raw(CALENDAR + "x.ics/", [d("getetag")]).status == 404


def test_a_name_may_be_long_but_not_endless(alice: Client) -> None:
    assert alice.put(CALENDAR + "a" * 250 + ".ics", event("x")).status == 201
    assert alice.get(CALENDAR + "a" * (NAME_BYTES_MAX + 1)).status == 414
    assert alice.get(CALENDAR + "%C3%A9" * (NAME_BYTES_MAX // 2 + 1)).status == 414


def test_below_a_prefix_every_href_begins_with_it_and_nothing_else_is_served(serve: Serve) -> None:
    server = serve(server=ServerConfig(base_path="/desk"))
    alice = server.account("alice")
    base = "/desk/dav/calendars/alice/calendar/"
    assert alice.put(base + "x.ics", event("x")).status == 201
    found = alice.propfind(base, [d("current-user-principal"), d("owner")], depth=1)
    assert list(found) == [base, base + "x.ics"]
    assert found[base][d("owner")][0].text == "/desk/dav/principals/alice/"
    assert alice.request("PROPFIND", "/desk/").status == 207
    for outside in ("/dav/calendars/alice/calendar/x.ics", "/deskdav/", "/desktop/dav/calendars/alice/"):
        assert alice.get(outside).status == 404, outside


@pytest.mark.parametrize(
    ("href", "place"),
    [
        ("/dav/calendars/a/b/c.ics", Place("calendars", "a", "b/c.ics", False)),
        ("https://elsewhere.example:8443/dav/calendars/a/b/", Place("calendars", "a", "b", True)),
        (" \n/dav/files/a/x?y#z\t", Place("files", "a", "x", False)),
        ("/dav/files/a/http://x", Place("files", "a", "http:/x", False)),
        ("http://[bad/dav/", None),
        ("ftp://dav.example/dav/files/a/x", None),
        ("c.ics", None),
        ("", None),
        ("/dav/calendars/a/%2e%2e/b", None),
        ("/somewhere/else", None),
    ],
)
def test_hrefs_in_bodies_are_read_as_places(href: str, place: Place | None) -> None:
    assert Urls().parse_href(href) == place


@given(st.text(min_size=1, max_size=60))
def test_every_name_survives_encoding_in_one_spelling(name: str) -> None:
    try:
        wanted = decode_segment(encode_segment(name))
    except (DavError, UnicodeEncodeError):
        return  # no name of ours
    assert decode_segment(encode_segment(wanted)) == wanted
    assert encode_segment(wanted).isascii()
    assert "@" not in encode_segment(wanted)


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=80))
def test_no_path_does_anything_but_name_a_place_or_be_refused(path: str) -> None:
    status = 0
    try:
        place = Urls().parse("/" + path)
    except DavError as error:
        status = error.status
    else:
        assert ".." not in place.path.split("/")
        assert "\0" not in place.path
    assert status in (0, 400, 404, 414)
