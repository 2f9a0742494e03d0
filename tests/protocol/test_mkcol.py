"""MKCOL, extended MKCOL and MKCALENDAR."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dav.config import Config, Limits
from dav.names import c, cr, cs, d, ical
from storage.engine import Store
from tests.dsl import Answer, Client, Server, element, event, task, token_of
from tests.protocol.conftest import Serve

HOME = "calendars/alice/"
NEW = HOME + "new/"
HREF = "/dav/calendars/alice/new/"
ZONE = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//T//EN\r\nBEGIN:VTIMEZONE\r\nTZID:Europe/Berlin\r\n"
    "BEGIN:STANDARD\r\nDTSTART:19701025T030000\r\nTZOFFSETFROM:+0200\r\nTZOFFSETTO:+0100\r\nEND:STANDARD\r\n"
    "END:VTIMEZONE\r\nEND:VCALENDAR\r\n"
)


def make(root: str, props: str) -> str:
    return element(root, f"<D:set><D:prop>{props}</D:prop></D:set>")


def types(client: Client, path: str) -> set[str]:
    (props,) = client.propfind(path, [d("resourcetype")]).values()
    return {str(child.tag) for child in props[d("resourcetype")]}


def failed(answer: Answer) -> dict[int, set[str]]:
    """{status: property names} of a mkcol-response."""
    found: dict[int, set[str]] = {}
    for stat in answer.xml.iter("{DAV:}propstat"):
        status = int(str(stat.findtext("{DAV:}status")).split()[1])
        prop = stat.find("{DAV:}prop")
        assert prop is not None
        found.setdefault(status, set()).update(str(child.tag) for child in prop)
    return found


def test_mkcalendar_without_a_body_makes_a_calendar(alice: Client) -> None:
    answer = alice.mkcalendar(NEW)
    assert answer.status == 201
    assert answer.headers["cache-control"] == "no-cache"
    assert types(alice, NEW) == {d("collection"), c("calendar")}
    assert alice.put(NEW + "x.ics", event("x")).status == 201
    assert alice.put(NEW + "y.ics", task("y")).status == 201


def test_mkcalendar_keeps_what_apple_and_davx5_send(alice: Client) -> None:
    props = (
        "<D:resourcetype><D:collection/><C:calendar/></D:resourcetype><D:displayname>Arbeit &amp; Co</D:displayname>"
        '<C:supported-calendar-component-set><C:comp name="VTODO"/></C:supported-calendar-component-set>'
        '<IC:calendar-color symbolic-color="custom">#FF0000FF</IC:calendar-color>'
        "<IC:calendar-order>3</IC:calendar-order>"
        f"<C:calendar-timezone>{ZONE}</C:calendar-timezone>"
        "<C:schedule-calendar-transp><C:transparent/></C:schedule-calendar-transp>"
        '<X:odd xmlns:X="urn:x">kept</X:odd>'
    )
    answer = alice.mkcalendar(NEW.rstrip("/"), make("C:mkcalendar", props), content_type="text/xml")
    assert answer.status == 201
    assert answer.headers["location"] == HREF
    names = [d("displayname"), c("supported-calendar-component-set"), ical("calendar-color"), ical("calendar-order"),
             "{urn:x}odd"]  # fmt: skip
    found = alice.propfind(NEW, names)[HREF]
    assert found[d("displayname")].text == "Arbeit & Co"
    assert [child.get("name") for child in found[c("supported-calendar-component-set")]] == ["VTODO"]
    assert found[ical("calendar-color")].text == "#FF0000FF"
    assert found[ical("calendar-order")].text == "3"
    assert found["{urn:x}odd"].text == "kept"
    refused = alice.put(NEW + "x.ics", event("x"))
    assert (refused.status, refused.condition) == (403, c("supported-calendar-component"))


@pytest.mark.parametrize("name", ["getetag", "supportedlock"])
def test_mkcalendar_that_sets_a_protected_property_makes_nothing(alice: Client, name: str) -> None:
    answer = alice.mkcalendar(NEW, make("C:mkcalendar", f"<D:{name}>x</D:{name}><D:displayname>N</D:displayname>"))
    (item,) = answer.responses.values()
    assert {status: set(props) for status, props in item.by_status.items()} == {
        403: {d(name)}, 424: {d("displayname")}
    }  # fmt: skip
    assert answer.xml.find(f".//{d('cannot-modify-protected-property')}") is not None
    assert alice.get(NEW).status == 404
    assert alice.mkcalendar(NEW).status == 201


def test_mkcalendar_with_more_than_can_be_kept_makes_nothing(serve: Serve) -> None:
    alice = serve(limits=Limits(property_bytes=1000)).account("alice")
    large = f"<D:displayname>N</D:displayname><X:large xmlns:X='urn:x'>{'x' * 1000}</X:large>"
    (item,) = alice.mkcalendar(NEW, make("C:mkcalendar", large)).responses.values()
    assert set(item.by_status) == {424, 507}
    assert alice.get(NEW).status == 404


def test_mkcalendar_with_a_broken_time_zone_is_refused(alice: Client) -> None:
    answer = alice.mkcalendar(NEW, make("C:mkcalendar", "<C:calendar-timezone>nonsense</C:calendar-timezone>"))
    assert (answer.status, answer.condition) == (403, c("valid-calendar-data"))
    assert alice.propfind_raw(NEW, [d("resourcetype")]).status == 404


def test_making_the_same_calendar_twice_is_refused(alice: Client) -> None:
    assert alice.mkcalendar(NEW).status == 201
    for path in (NEW, NEW.rstrip("/"), HOME + "inbox/", HOME):
        answer = alice.mkcalendar(path)
        assert (answer.status, answer.condition) == (403, d("resource-must-be-null"))
    assert alice.mkcol(NEW).status == 405
    alice.put("files/alice/f", b"x")
    assert alice.mkcol("files/alice/f/").status == 405
    assert alice.mkcol("files/alice/f").status == 405


def test_a_name_that_begins_with_inbox_is_an_ordinary_calendar(alice: Client) -> None:
    assert alice.mkcalendar(HOME + "inbox-tasks/").status == 201
    assert types(alice, HOME + "inbox-tasks/") == {d("collection"), c("calendar")}


def test_a_calendar_stands_only_in_its_home(alice: Client) -> None:
    alice.mkcol(HOME + "folder/")
    for path in (HOME + "calendar/sub/", HOME + "folder/sub/", "files/alice/cal/", "addressbooks/alice/cal/"):
        answer = alice.mkcalendar(path)
        assert (answer.status, answer.condition) == (403, c("calendar-collection-location-ok")), path
    body = make("D:mkcol", "<D:resourcetype><D:collection/><CR:addressbook/></D:resourcetype>")
    answer = alice.mkcol(HOME + "book/", body)
    assert (answer.status, answer.condition) == (403, cr("addressbook-collection-location-ok"))
    assert alice.mkcol(HOME + "calendar/sub/").status == 403


def test_a_missing_collection_above_is_409(alice: Client) -> None:
    assert alice.mkcalendar(HOME + "none/sub/").status == 409
    assert alice.mkcol("files/alice/none/sub/").status == 409


def test_nobody_makes_anything_in_another_home_or_above(alice: Client, bob: Client) -> None:
    for path in (NEW, HOME + "calendar/", HOME + "none/sub/", "calendars/nobody/x/", "calendars/nobody/"):
        answer = bob.mkcalendar(path)
        assert (answer.status, answer.condition) == (403, d("need-privileges")), path
    assert bob.mkcol("principals/eve/").status == 403
    assert bob.mkcol("principals/").status == 405


def test_plain_mkcol_makes_folders_in_any_home(alice: Client) -> None:
    for path in ("files/alice/a", "calendars/alice/a/", "addressbooks/alice/a/"):
        assert alice.mkcol(path).status == 201
        assert types(alice, path) == {d("collection")}
        assert alice.mkcol(f"{path.rstrip('/')}/b/").status == 201


def test_mkcol_with_a_body_of_another_type_is_415(alice: Client) -> None:
    assert alice.mkcol("files/alice/a", b"afafafaf", content_type="xzy-foo/bar-512").status == 415
    assert alice.mkcol("files/alice/a", element("D:propfind", ""), content_type="text/xml").status == 415
    assert alice.mkcol("files/alice/a", b"<open", content_type="text/xml").status == 400
    assert alice.get("files/alice/a/").status == 404
    body = make("D:mkcol", "<D:resourcetype><D:collection/></D:resourcetype>")
    assert alice.mkcol("files/alice/a", body, content_type="text/plain").status == 201


def test_extended_mkcol_makes_calendars_books_and_subscriptions(alice: Client) -> None:
    for kind, path, expected in (
        ("<D:collection/><C:calendar/>", HOME + "c", c("calendar")),
        ("<D:collection/><CR:addressbook/>", "addressbooks/alice/b/", cr("addressbook")),
        ("<D:collection/><CS:subscribed/>", HOME + "s/", cs("subscribed")),
    ):
        body = make("D:mkcol", f"<D:resourcetype>{kind}</D:resourcetype><D:displayname>Name</D:displayname>")
        assert alice.mkcol(path, body).status == 201
        assert types(alice, path) == {d("collection"), expected}
        (found,) = alice.propfind(path, [d("displayname")]).values()
        assert found[d("displayname")].text == "Name"


@pytest.mark.parametrize(
    "kind", ["<D:collection/><C:calendar/><CR:addressbook/>", "<C:calendar/>", "<D:principal/>", ""]
)
def test_a_type_that_is_not_made_here_is_refused_by_name(alice: Client, kind: str) -> None:
    body = make("D:mkcol", f"<D:resourcetype>{kind}</D:resourcetype><D:displayname>N</D:displayname>")
    answer = alice.mkcol(NEW, body)
    assert answer.status == 403
    assert answer.xml.tag == d("mkcol-response")
    assert failed(answer) == {403: {d("resourcetype")}, 424: {d("displayname")}}
    assert answer.xml.find(f".//{d('valid-resourcetype')}") is not None
    assert alice.get(NEW).status == 404


def test_extended_mkcol_is_all_or_nothing(alice: Client) -> None:
    props = "<D:resourcetype><D:collection/><C:calendar/></D:resourcetype><D:displayname>N</D:displayname>"
    answer = alice.mkcol(NEW, make("D:mkcol", props + "<D:supportedlock>x</D:supportedlock>"))
    assert answer.status == 424
    assert failed(answer) == {403: {d("supportedlock")}, 424: {d("displayname")}}
    assert alice.get(NEW).status == 404
    assert alice.mkcol(NEW, make("D:mkcol", props)).status == 201


def test_there_is_a_limit_to_collections_and_to_their_depth(store: Store) -> None:
    server = Server(store, replace(Config(), limits=Limits(collections=10, depth=3)))
    alice = server.account("alice")
    statuses = [alice.mkcol(f"files/alice/{number}/").status for number in range(11)]
    assert statuses == [201] * 10 + [507]
    assert alice.mkcol("calendars/alice/a/").status == 201
    assert alice.mkcol("calendars/alice/a/b/").status == 201
    assert alice.mkcol("calendars/alice/a/b/c/").status == 201
    assert alice.mkcol("calendars/alice/a/b/c/d/").status == 403
    server.close()


def test_a_locked_collection_gets_no_members(alice: Client) -> None:
    alice.mkcol("files/alice/a/")
    token = token_of(alice.lock("files/alice/a/", depth="0"))
    assert alice.mkcol("files/alice/a/b/").status == 423
    assert alice.mkcol("files/alice/a/b/", if_=f"</dav/files/alice/a/> (<{token}>)").status == 201


def test_if_none_match_star_guards_a_creation(alice: Client) -> None:
    assert alice.mkcol("files/alice/a/", if_none_match="*").status == 201
    assert alice.mkcol("files/alice/b/", if_match="*").status == 412
