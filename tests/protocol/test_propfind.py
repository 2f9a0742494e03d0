"""PROPFIND (RFC 4918 §9.1)."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dav.config import Limits
from dav.names import c, cr, cs, d
from dav.properties.read import NAMES_MAX
from dav.xml import parse
from tests.dsl import Answer, Client, card, element, event
from tests.protocol.conftest import Serve

CALENDAR = "calendars/alice/calendar/"
HREF = f"/dav/{CALENDAR}"
# RFC 4918 §14.2: allprop gives the properties of the RFC itself, and dead ones.
RFC_4918 = {
    d(name)
    for name in ("creationdate", "displayname", "getlastmodified", "lockdiscovery", "resourcetype", "supportedlock")
}
OF_MEMBERS = {d(name) for name in ("getetag", "getcontentlength", "getcontenttype")}


def propfind(client: Client, path: str, inner: str, depth: str = "0", **headers: str) -> Answer:
    return client.request("PROPFIND", path, element("D:propfind", inner), depth=depth, **headers)


def statuses(answer: Answer) -> list[list[str]]:
    """The DAV:status of each propstat, in order, of each response."""
    return [
        [str(status.text) for status in response.iterfind(f"{d('propstat')}/{d('status')}")]
        for response in answer.xml.iterfind(d("response"))
    ]


def test_what_is_there_comes_first_and_404_stands_only_for_what_was_asked(alice: Client) -> None:
    answer = propfind(alice, CALENDAR, "<D:prop><C:nothing/><D:displayname/><x:odd xmlns:x='urn:x'/></D:prop>")
    assert statuses(answer) == [["HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found"]]
    item = answer.responses[HREF]
    assert set(item.by_status[200]) == {d("displayname")}
    assert set(item.by_status[404]) == {c("nothing"), "{urn:x}odd"}
    assert statuses(propfind(alice, CALENDAR, "<D:prop><D:displayname/></D:prop>")) == [["HTTP/1.1 200 OK"]]
    assert statuses(propfind(alice, CALENDAR, "<D:prop><C:nothing/></D:prop>")) == [["HTTP/1.1 404 Not Found"]]


@pytest.mark.parametrize("fields", [{"prefer": "return=minimal"}, {"brief": "t"}, {"prefer": "return=minimal, x=y"}])
def test_minimal_answers_leave_out_what_is_missing(alice: Client, fields: dict[str, str]) -> None:
    answer = propfind(alice, CALENDAR, "<D:prop><C:nothing/><D:displayname/></D:prop>", **fields)
    assert statuses(answer) == [["HTTP/1.1 200 OK"]]
    assert set(answer.responses[HREF].props) == {d("displayname")}
    # RFC 8144 §2.1: a response needs a propstat even when nothing is in it.
    assert statuses(propfind(alice, CALENDAR, "<D:prop><C:nothing/></D:prop>", **fields)) == [["HTTP/1.1 200 OK"]]


def test_allprop_gives_the_properties_of_the_rfc_and_the_dead_ones(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    alice.proppatch(CALENDAR, "<D:set><D:prop><x:mine xmlns:x='urn:x'>1</x:mine></D:prop></D:set>")
    answer = propfind(alice, CALENDAR, "<D:allprop/>", "1")
    collection, member = answer.responses[HREF], answer.responses[HREF + "x.ics"]
    assert set(collection.by_status) == set(member.by_status) == {200}
    assert set(collection.props) == RFC_4918 | {"{urn:x}mine"}
    assert set(member.props) == RFC_4918 - {d("displayname")} | OF_MEMBERS


def test_an_empty_body_asks_for_allprop(alice: Client) -> None:
    for body in (b"", b"  \r\n"):
        answer = alice.request("PROPFIND", CALENDAR, body, depth="0")
        assert set(answer.responses[HREF].props) == RFC_4918


def test_include_adds_to_allprop_and_says_what_is_missing(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    inner = "<D:allprop/><D:include><CS:getctag/><C:calendar-data/><D:owner/><D:getetag/></D:include>"
    collection = propfind(alice, CALENDAR, inner).responses[HREF]
    assert set(collection.props) == RFC_4918 | {cs("getctag"), d("owner")}
    assert set(collection.by_status[404]) == {c("calendar-data"), d("getetag")}
    member = propfind(alice, CALENDAR + "x.ics", inner).responses[HREF + "x.ics"]
    assert member.props[c("calendar-data")].text == event("x")
    assert set(member.by_status[404]) == {cs("getctag")}


def test_propname_gives_names_without_values_and_only_of_what_is_there(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    answer = propfind(alice, CALENDAR, "<D:propname/>", "1")
    collection, member = answer.responses[HREF], answer.responses[HREF + "x.ics"]
    assert set(collection.by_status) == set(member.by_status) == {200}
    assert RFC_4918 | {cs("getctag"), d("sync-token"), c("supported-calendar-component-set")} <= set(collection.props)
    assert not {c("calendar-description"), c("calendar-timezone"), d("quota-available-bytes")} & set(collection.props)
    assert set(member.props) >= OF_MEMBERS
    assert c("calendar-data") not in member.props  # RFC 4791 §9.6: it is no property
    for props in (collection.props, member.props):
        assert all(prop.text is None and not len(prop) for prop in props.values())


@pytest.mark.parametrize("path", ["/", "/dav/", "principals/alice/", "calendars/alice/", CALENDAR,
                                  "calendars/alice/inbox/", "addressbooks/alice/contacts/", "directory/",
                                  "directory/alice.vcf", CALENDAR + "x.ics", "addressbooks/alice/contacts/x.vcf",
                                  "files/alice/x"])  # fmt: skip
def test_whatever_propname_lists_can_be_asked_for(alice: Client, path: str) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    alice.put("addressbooks/alice/contacts/x.vcf", card("x"))
    alice.put("files/alice/x", b"x")
    (listed,) = propfind(alice, path, "<D:propname/>").responses.values()
    (found,) = alice.propfind(path, listed.props).values()
    assert list(found) == list(listed.props)


def test_names_that_are_asked_for_twice_are_answered_once(alice: Client) -> None:
    answer = propfind(alice, CALENDAR, "<D:prop>" + "<D:displayname/><C:nothing/>" * 4 + "</D:prop>")
    (response,) = answer.xml.iterfind(d("response"))
    names = [str(prop.tag) for propstat in response.iterfind(d("propstat")) for prop in propstat[0]]
    assert names == [d("displayname"), c("nothing")]


@pytest.mark.parametrize(
    "inner", ["", "<D:allprop/><D:propname/>", "<D:prop/><D:allprop/>", "<D:include><D:owner/></D:include>"]
)
def test_a_request_for_nothing_or_for_two_things_is_400(alice: Client, inner: str) -> None:
    assert propfind(alice, CALENDAR, inner).status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"<D:propfind xmlns:D='DAV:'><D:prop><D:displayname></D:prop></D:propfind>",
        b"<D:propfind xmlns:D='DAV:'>",
        b"<propfind><prop/></propfind>",
        b"<D:propfind><D:prop/></D:propfind>",
        b"no xml",
        b"\xff\xfe\x00",
        b"<D:mkcol xmlns:D='DAV:'/>",
        b"<D:propfind xmlns:D='DAV:'><D:prop><x:a xmlns:x=''/></D:prop></D:propfind>",
    ],
)
def test_malformed_bodies_are_400(alice: Client, body: bytes) -> None:
    assert alice.request("PROPFIND", CALENDAR, body, depth="0").status == 400


@pytest.mark.parametrize(
    "subset",
    ["", "SYSTEM 'http://dav.example/x.dtd'", "[<!ENTITY a 'b'>]", "[<!ENTITY x SYSTEM 'file:///etc/passwd'>]"],
)
def test_a_doctype_is_refused_and_nothing_of_it_is_read(alice: Client, subset: str) -> None:
    body = f"<!DOCTYPE a {subset}><D:propfind xmlns:D='DAV:'><D:prop><D:displayname/></D:prop></D:propfind>"
    for data in (body.encode(), body.encode("utf-16")):
        assert alice.request("PROPFIND", CALENDAR, data, depth="0").status == 400


def test_text_that_only_looks_like_a_doctype_is_text() -> None:
    root = parse(b"<a><![CDATA[<!DOCTYPE html>]]></a>", Limits())
    assert root.text == "<!DOCTYPE html>"


def test_xml_is_read_whatever_the_content_type_says(alice: Client) -> None:
    body = element("D:propfind", "<D:prop><D:displayname/></D:prop>")
    for kind in ("", "text/plain", "application/octet-stream", "text/xml; charset=utf-8"):
        answer = alice.request("PROPFIND", CALENDAR, body, depth="0", content_type=kind)
        assert answer.responses[HREF].props[d("displayname")].text == "Calendar"


def test_xml_has_limits_in_bytes_elements_and_depth(serve: Serve) -> None:
    limits = Limits(xml_bytes=64 * 1024, xml_elements=1000, xml_depth=16)
    server = serve(limits=limits)
    alice = server.account("alice")

    def status(inner: str) -> int:
        return propfind(alice, CALENDAR, f"<D:prop>{inner}</D:prop>").status

    assert status("<D:owner/>" * 998) == 207
    assert status("<D:owner/>" * 999) == 413
    assert status("<a>" * 14 + "</a>" * 14) == 207
    assert status("<a>" * 15 + "</a>" * 15) == 400
    assert status(" " * 65 * 1024) == 413


def test_depth_noroot_leaves_out_the_collection_itself(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    asked = "<D:prop><D:getetag/></D:prop>"
    answer = propfind(alice, CALENDAR, asked, "1", prefer="depth-noroot")
    assert list(answer.responses) == [HREF + "x.ics"]
    # RFC 8144 §4: it says nothing about a single resource.
    assert list(propfind(alice, CALENDAR, asked, "0", prefer="depth-noroot").responses) == [HREF]
    assert list(propfind(alice, CALENDAR + "x.ics", asked, "1", prefer="depth-noroot").responses) == [HREF + "x.ics"]


def test_a_depth_that_is_none_is_400(alice: Client) -> None:
    for depth in ("2", "-1", "infinite", "1, 1"):
        assert propfind(alice, CALENDAR, "<D:allprop/>", depth).status == 400


def test_without_depth_everything_below_is_listed(alice: Client) -> None:
    alice.mkcol("files/alice/a/")
    alice.mkcol("files/alice/a/b/")
    alice.put("files/alice/a/b/deep", b"x")
    alice.put("files/alice/top", b"x")
    body = element("D:propfind", "<D:prop><D:resourcetype/></D:prop>")
    for fields in ({}, {"depth": "infinity"}):
        answer = alice.request("PROPFIND", "files/alice/", body, **fields)
        assert list(answer.responses) == [
            "/dav/files/alice/", "/dav/files/alice/a/", "/dav/files/alice/a/b/", "/dav/files/alice/a/b/deep",
            "/dav/files/alice/top",
        ]  # fmt: skip
    from_the_root = propfind(alice, "/dav/", "<D:prop><D:resourcetype/></D:prop>", "infinity").responses
    assert {"/dav/principals/alice/", HREF, "/dav/files/alice/a/b/deep"} <= set(from_the_root)


def test_infinite_depth_over_its_limit_is_refused_with_its_condition(serve: Serve) -> None:
    server = serve(limits=Limits(infinity_members=5))
    alice = server.account("alice")
    for number in range(6):
        assert propfind(alice, "files/alice/", "<D:prop><D:getetag/></D:prop>", "infinity").status == 207
        alice.put(f"files/alice/{number}", b"x")
    answer = propfind(alice, "files/alice/", "<D:prop><D:getetag/></D:prop>", "infinity")
    assert (answer.status, answer.condition) == (403, d("propfind-finite-depth"))
    assert propfind(alice, "files/alice/", "<D:prop><D:getetag/></D:prop>", "1").status == 207


def test_data_can_be_asked_for_as_if_it_were_a_property(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x", summary="Grüße & <Küsse>"))
    alice.put("addressbooks/alice/contacts/x.vcf", card("x"))
    found = alice.propfind(CALENDAR, [c("calendar-data")], depth=1)
    assert found[HREF] == {}
    assert found[HREF + "x.ics"][c("calendar-data")].text == event("x", summary="Grüße & <Küsse>")
    (found_card,) = alice.propfind("addressbooks/alice/contacts/x.vcf", [cr("address-data")]).values()
    assert found_card[cr("address-data")].text == card("x")
    partial = (
        '<D:prop><C:calendar-data><C:comp name="VCALENDAR"><C:comp name="VEVENT"><C:prop name="UID"/>'
        "</C:comp></C:comp></C:calendar-data></D:prop>"
    )
    (item,) = propfind(alice, CALENDAR + "x.ics", partial).responses.values()
    assert item.props[c("calendar-data")].text == (
        "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:x\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )


def test_every_lock_that_covers_a_resource_is_shown_on_it(alice: Client) -> None:
    for name in ("a", "b"):
        alice.put(f"files/alice/{name}", b"x")
    alice.mkcol("files/alice/deep/")
    alice.put("files/alice/deep/x", b"x")
    alice.lock("files/alice/a", owner="<x:who xmlns:x='urn:x'>me</x:who>")
    alice.lock("files/alice/deep/", scope="shared", depth="infinity")
    alice.lock("files/alice/deep/x", scope="shared")

    def roots(found: dict[str, dict[str, object]], href: str) -> list[str]:
        discovery = found[href][d("lockdiscovery")]
        return [str(lock.findtext(f"{d('lockroot')}/{d('href')}")) for lock in discovery]  # type: ignore[attr-defined]

    home = "/dav/files/alice/"
    listed = alice.propfind("files/alice/", [d("lockdiscovery")], depth=1)
    assert roots(listed, home) == roots(listed, home + "b") == []
    assert roots(listed, home + "a") == [home + "a"]
    assert listed[home + "a"][d("lockdiscovery")].findtext(f"{d('activelock')}/{d('owner')}/{{urn:x}}who") == "me"
    assert roots(listed, home + "deep/") == [home + "deep/"]
    everything = alice.propfind("files/alice/", [d("lockdiscovery")], depth="infinity")
    assert roots(everything, home + "deep/x") == [home + "deep/", home + "deep/x"]
    for href, props in everything.items():
        (alone,) = alice.propfind(href, [d("lockdiscovery")]).values()
        assert len(alone[d("lockdiscovery")]) == len(props[d("lockdiscovery")]), href


def test_times_and_sizes_are_those_of_get(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    got = alice.get(CALENDAR + "x.ics")
    names = ["getetag", "getlastmodified", "getcontenttype", "getcontentlength"]
    (found,) = alice.propfind(CALENDAR + "x.ics", [d(name) for name in names]).values()
    fields = ["etag", "last-modified", "content-type", "content-length"]
    assert [found[d(name)].text for name in names] == [got.headers[field] for field in fields]
    (created,) = alice.propfind(CALENDAR + "x.ics", [d("creationdate")]).values()
    assert created[d("creationdate")].text == "2026-11-18T11:06:40Z"


def test_strange_names_come_back_as_they_were_asked(alice: Client) -> None:
    odd = ["none", "{http://x.example/?a=1&b='2'}query", "{urn:x}é", "{DAV:}émile", "{urn:" + "x" * 500 + "}long"]
    asked = []
    for name in odd:
        space, _, local = name.removeprefix("{").replace("&", "&amp;").rpartition("}")
        asked.append(f'<x:{local} xmlns:x="{space}"/>' if space else f'<{local} xmlns=""/>')
    item = propfind(alice, CALENDAR, f"<D:prop>{''.join(asked)}</D:prop>").responses[HREF]
    assert set(item.by_status) == {404}
    assert list(item.by_status[404]) == odd


def test_very_many_names_are_answered_up_to_a_limit(alice: Client) -> None:
    names = [f"<x:n{number} xmlns:x='urn:x'/>" for number in range(NAMES_MAX)]
    item = propfind(alice, CALENDAR, f"<D:prop>{''.join(names[1:])}<D:displayname/></D:prop>").responses[HREF]
    assert len(item.by_status[404]) == NAMES_MAX - 1
    assert item.props[d("displayname")].text == "Calendar"
    assert propfind(alice, CALENDAR, f"<D:prop>{''.join(names)}<D:displayname/></D:prop>").status == 413


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_no_body_makes_more_of_propfind_than_an_answer_or_400(alice: Client, body: bytes) -> None:
    assert alice.request("PROPFIND", CALENDAR, body, depth="0").status in (207, 400)


def test_data_that_xml_cannot_carry_leaves_an_answer_that_can_be_read(alice: Client) -> None:
    body = card("x").replace("Alice", "Al\x0bice")
    assert alice.put("addressbooks/alice/contacts/x.vcf", body).status == 201
    assert alice.get("addressbooks/alice/contacts/x.vcf").text == body
    (found,) = alice.propfind("addressbooks/alice/contacts/x.vcf", [cr("address-data")]).values()
    assert found[cr("address-data")].text == card("x")


def test_settings_are_what_the_limits_say(alice: Client) -> None:
    asked = {c("max-resource-size"): "10485760", c("max-instances"): "50000", c("max-attendees-per-instance"): "1000"}
    (found,) = alice.propfind(CALENDAR, asked).values()
    assert {name: found[name].text for name in asked} == asked


def test_a_privilege_set_says_who_may_write(alice: Client) -> None:
    def granted(path: str) -> set[str]:
        (found,) = alice.propfind(path, [d("current-user-privilege-set")]).values()
        return {str(privilege[0].tag) for privilege in found[d("current-user-privilege-set")]}

    own = {d("all"), d("read"), d("write"), d("write-content"), d("bind"), d("unbind"), d("write-properties")}
    assert own | {c("read-free-busy")} <= granted(CALENDAR)
    assert own <= granted("addressbooks/alice/contacts/")
    assert d("write") not in granted("/dav/")
    assert d("write") not in granted("directory/")
