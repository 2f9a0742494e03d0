"""expand-property (RFC 3253 §3.8)."""

from __future__ import annotations

import pytest
from lxml import etree

from dav.names import c, cr, cs, d
from tests.dsl import Answer, Client, Server, element, event
from tests.protocol.asking import inside


def expand(client: Client, path: str, inner: str, **fields: str) -> Answer:
    return client.report(path, element("D:expand-property", inner), **fields)


def wanted(name: str, namespace: str = "DAV:", inner: str = "") -> str:
    return f'<D:property name="{name}" namespace="{namespace}">{inner}</D:property>'


CALDAV = "urn:ietf:params:xml:ns:caldav"
NAME = '<D:property name="displayname"/>'


def test_properties_of_the_named_resource_stand_in_place_of_its_href(alice: Client) -> None:
    inner = wanted("calendar-home-set", CALDAV, NAME + wanted("resourcetype")) + NAME
    answer = expand(alice, "principals/alice/", inner)
    (item,) = [answer.xml.find(d("response"))]
    assert item is not None
    assert item.findtext(d("href")) == "/dav/principals/alice/"
    (response,) = inside(answer, c("calendar-home-set"))
    assert response.tag == d("response")
    assert response.findtext(d("href")) == "/dav/calendars/alice/"
    assert [prop.tag for prop in response.iter(d("displayname"), d("resourcetype"))] == [
        d("displayname"), d("resourcetype"),
    ]  # fmt: skip
    assert item.findtext(f"{d('propstat')}/{d('prop')}/{d('displayname')}") == "alice"


def test_expansion_goes_several_levels_deep_and_not_deeper(alice: Client) -> None:
    deep = wanted("owner", inner=NAME)
    for _ in range(2):
        deep = wanted("owner", inner=deep)
    answer = expand(alice, "calendars/alice/calendar/", deep)
    # A principal has itself for owner, so each level has one more.
    assert len(list(answer.xml.iter(d("owner")))) == 3
    assert inside(answer, d("displayname")).text == "alice"
    too_deep = wanted("owner", inner=deep)
    assert expand(alice, "calendars/alice/calendar/", too_deep).status == 400


def test_hrefs_of_nothing_and_of_other_places_stay_as_they_are(server: Server) -> None:
    alice = server.account("alice@example.com")
    path = "principals/alice%40example.com/"
    answer = expand(alice, path, wanted("calendar-user-address-set", CALDAV, NAME))
    addresses = inside(answer, c("calendar-user-address-set"))
    assert [child.tag for child in addresses] == [d("href"), d("response")]
    assert addresses[0].text == "mailto:alice@example.com"
    odd = "http://elsewhere.example/?a=1&amp;b=%3C2"
    alice.proppatch(path, f"<D:set><D:prop><CS:odd><D:href>{odd}</D:href><D:href/></CS:odd></D:prop></D:set>")
    answer = expand(alice, path, wanted("odd", "http://calendarserver.org/ns/", NAME))
    assert [href.text for href in inside(answer, cs("odd"))] == [odd.replace("&amp;", "&"), None]


def test_names_with_characters_that_xml_escapes_are_followed(server: Server) -> None:
    amp = server.account("a&b'c")
    answer = expand(amp, "calendars/a&b'c/calendar/", wanted("owner", inner=NAME))
    assert inside(answer, d("displayname")).text == "a&b'c"


def test_missing_properties_are_404_at_every_level_unless_little_is_asked_for(alice: Client) -> None:
    inner = wanted("owner", inner=wanted("nothing") + NAME) + wanted("nothing")
    answer = expand(alice, "calendars/alice/", inner)
    statuses = [status.text for status in answer.xml.iter(d("status"))]
    assert statuses.count("HTTP/1.1 404 Not Found") == 2
    minimal = expand(alice, "calendars/alice/", inner, prefer="return=minimal")
    assert {status.text for status in minimal.xml.iter(d("status"))} == {"HTTP/1.1 200 OK"}


def test_delegates_can_be_asked_for_as_apple_does(alice: Client) -> None:
    space = "http://calendarserver.org/ns/"
    names = NAME + wanted("email-address-set", space) + wanted("calendar-user-address-set", CALDAV)
    inner = "".join(wanted(f"calendar-proxy-{kind}-for", space, names) for kind in ("read", "write"))
    assert expand(alice, "principals/alice/", inner, depth="0").status == 207


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a/b", "1a", "a>", "}x", "a&#0009;"])
def test_a_name_that_is_none_of_xml_is_400(alice: Client, name: str) -> None:
    name = name.replace(">", "&gt;")
    assert expand(alice, "principals/alice/", f'<D:property name="{name}"/>').status == 400


def test_others_are_seen_only_as_far_as_they_may_be(alice: Client, bob: Client) -> None:
    alice.put("calendars/alice/calendar/x.ics", event("x"))
    links = "".join(
        f"<D:href>/dav/{path}</D:href>"
        for path in ("principals/alice/", "calendars/alice/calendar/", "calendars/alice/none/", "principals/nobody/")
    )
    bob.proppatch("principals/bob/", f"<D:set><D:prop><CS:links>{links}</CS:links></D:prop></D:set>")
    answer = expand(bob, "principals/bob/", wanted("links", "http://calendarserver.org/ns/", NAME))
    assert [child.tag for child in inside(answer, cs("links"))] == [d("response"), d("href"), d("href"), d("href")]


def test_the_number_of_resources_that_one_report_follows_is_bounded(alice: Client) -> None:
    links = "<D:href>/dav/principals/alice/</D:href>" * 600
    answer = alice.proppatch("principals/alice/", f"<D:set><D:prop><CS:links>{links}</CS:links></D:prop></D:set>")
    assert answer.status == 207
    space = "http://calendarserver.org/ns/"
    nested = wanted("links", space, wanted("links", space, wanted("links", space, NAME)))
    answer = expand(alice, "principals/alice/", nested)
    assert answer.status == 207
    assert sum(1 for _ in answer.xml.iter(d("response"))) == 501


def test_attributes_and_values_of_other_properties_stay_as_they_are(alice: Client) -> None:
    calendar = "calendars/alice/calendar/"
    colour = '<IC:calendar-color symbolic-color="red">#FF0000FF</IC:calendar-color>'
    note = "<x:note xmlns:x='urn:x' a='1'>one<x:b/>two</x:note>"
    alice.proppatch(calendar, f"<D:set><D:prop>{colour}{note}</D:prop></D:set>")
    apple = "http://apple.com/ns/ical/"
    inner = wanted("owner", inner=NAME) + wanted("calendar-color", apple) + wanted("note", "urn:x")
    answer = expand(alice, calendar, inner)
    found = inside(answer, f"{{{apple}}}calendar-color")
    assert (found.text, found.get("symbolic-color")) == ("#FF0000FF", "red")
    note_found = inside(answer, "{urn:x}note")
    assert (note_found.get("a"), "".join(str(text) for text in note_found.itertext())) == ("1", "onetwo")
    assert isinstance(inside(answer, d("owner"))[0], etree._Element)


def test_the_report_is_answered_everywhere(alice: Client) -> None:
    for path in ("/", "/dav/", "principals/", "calendars/alice/", "addressbooks/alice/contacts/", "files/alice/"):
        answer = expand(alice, path, wanted("current-user-principal", inner=wanted("addressbook-home-set", CARDDAV)))
        assert inside(answer, cr("addressbook-home-set"))[0].text == "/dav/addressbooks/alice/"


CARDDAV = "urn:ietf:params:xml:ns:carddav"
