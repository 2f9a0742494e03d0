"""PROPPATCH (RFC 4918 §9.2): all or nothing, and what is set stays as it was sent."""

from __future__ import annotations

import pytest
from lxml import etree

from dav.config import Limits
from dav.names import c, cr, d, ical
from storage import accounts, properties
from storage.engine import Store, transaction
from tests.dsl import Answer, Client, card, event, token_of
from tests.protocol.conftest import Serve

CALENDAR = "calendars/alice/calendar/"
BERLIN = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//EN\r\nBEGIN:VTIMEZONE\r\nTZID:{tzid}\r\nBEGIN:STANDARD\r\n"
    "DTSTART:19701025T030000\r\nRRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU\r\nTZOFFSETFROM:+0200\r\nTZOFFSETTO:+0100\r\n"
    "END:STANDARD\r\nBEGIN:DAYLIGHT\r\nDTSTART:19700329T020000\r\nRRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\r\n"
    "TZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\nEND:DAYLIGHT\r\nEND:VTIMEZONE\r\nEND:VCALENDAR\r\n"
)


def zone(tzid: str) -> str:
    return BERLIN.format(tzid=tzid)


def setting(inner: str) -> str:
    return f"<D:set><D:prop>{inner}</D:prop></D:set>"


def removing(inner: str) -> str:
    return f"<D:remove><D:prop>{inner}</D:prop></D:remove>"


def mine(text: str, name: str = "mine") -> str:
    return f'<x:{name} xmlns:x="urn:x">{text}</x:{name}>'


def outcome(answer: Answer) -> dict[int, set[str]]:
    (item,) = answer.responses.values()
    return {status: set(props) for status, props in item.by_status.items()}


def conditions(answer: Answer) -> dict[str, str]:
    """Clark name of the precondition in each propstat, by each property in it."""
    return {
        str(prop.tag): str(propstat.find(d("error"))[0].tag)  # type: ignore[index]
        for propstat in answer.xml.iter(d("propstat"))
        if propstat.find(d("error")) is not None
        for prop in propstat[0]
    }


def value(client: Client, path: str, name: str) -> etree._Element | None:
    (found,) = client.propfind(path, [name]).values()
    return found.get(name)


def text(client: Client, path: str, name: str) -> str | None:
    found = value(client, path, name)
    return None if found is None else found.text or ""


# ---- all or nothing ----


def test_one_refusal_refuses_all(alice: Client) -> None:
    answer = alice.proppatch(CALENDAR, setting(mine("1") + "<D:getetag>x</D:getetag><D:owner/>") + removing("<D:acl/>"))
    assert outcome(answer) == {403: {d("owner"), d("acl"), d("getetag")}, 424: {"{urn:x}mine"}}
    assert set(conditions(answer).values()) == {d("cannot-modify-protected-property")}
    assert value(alice, CALENDAR, "{urn:x}mine") is None


def test_success_comes_first_and_in_one_propstat(alice: Client) -> None:
    answer = alice.proppatch(CALENDAR, setting(mine("1") + "<D:displayname>Work</D:displayname>"))
    assert outcome(answer) == {200: {"{urn:x}mine", d("displayname")}}
    assert [status.text for status in answer.xml.iter(d("status"))] == ["HTTP/1.1 200 OK"]
    assert text(alice, CALENDAR, d("displayname")) == "Work"


@pytest.mark.parametrize("fields", [{"prefer": "return=minimal"}, {"brief": "t"}])
def test_success_is_told_with_207_even_when_little_is_asked_for(alice: Client, fields: dict[str, str]) -> None:
    answer = alice.proppatch(CALENDAR, setting(mine("1")), **fields)
    assert outcome(answer) == {200: {"{urn:x}mine"}}


def test_changes_are_made_in_their_order(alice: Client) -> None:
    first, second = setting(mine("1")), setting(mine("2"))
    alice.proppatch(CALENDAR, first + second)
    assert text(alice, CALENDAR, "{urn:x}mine") == "2"
    alice.proppatch(CALENDAR, setting(mine("3")) + removing(mine("")))
    assert value(alice, CALENDAR, "{urn:x}mine") is None
    alice.proppatch(CALENDAR, removing(mine("")) + setting(mine("4")))
    assert text(alice, CALENDAR, "{urn:x}mine") == "4"
    alice.proppatch(CALENDAR, setting("<D:displayname>A</D:displayname>") + removing("<D:displayname/>"))
    assert value(alice, CALENDAR, d("displayname")) is None


def test_removing_what_is_not_there_succeeds(alice: Client) -> None:
    assert outcome(alice.proppatch(CALENDAR, removing(mine("")))) == {200: {"{urn:x}mine"}}


@pytest.mark.parametrize("body", ["", "<D:set/>", "<D:set><D:prop/></D:set>", "<x/>"])
def test_a_request_that_changes_nothing_is_400(alice: Client, body: str) -> None:
    assert alice.proppatch(CALENDAR, body).status == 400


def test_a_body_of_another_kind_is_400(alice: Client) -> None:
    for body in ("", "<D:propfind xmlns:D='DAV:'/>", "<D:propertyupdate xmlns:D='DAV:'>"):
        assert alice.request("PROPPATCH", CALENDAR, body).status == 400


# ---- where ----


@pytest.mark.parametrize(
    "path",
    [CALENDAR, CALENDAR + "x.ics", "addressbooks/alice/contacts/", "addressbooks/alice/contacts/x.vcf", "files/alice/",
     "files/alice/x", "calendars/alice/", "addressbooks/alice/", "principals/alice/", "calendars/alice/inbox/"],
)  # fmt: skip
def test_properties_stay_where_they_were_set(alice: Client, path: str) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    alice.put(CALENDAR + "y.ics", event("y"))
    alice.put("addressbooks/alice/contacts/x.vcf", card("x"))
    alice.put("files/alice/x", b"x")
    assert outcome(alice.proppatch(path, setting(mine("here")))) == {200: {"{urn:x}mine"}}
    assert text(alice, path, "{urn:x}mine") == "here"
    everywhere: dict[str, str | None] = {}
    for home in ("calendars/alice/", "addressbooks/alice/", "files/alice/", "principals/alice/"):
        listed = alice.propfind(home, ["{urn:x}mine"], depth="infinity")
        everywhere |= {href: props["{urn:x}mine"].text for href, props in listed.items() if props}
    assert everywhere == {f"/dav/{path}": "here"}
    alice.proppatch(path, removing(mine("")))
    assert value(alice, path, "{urn:x}mine") is None


@pytest.mark.parametrize("path", ["/", "/dav/", "principals/", "calendars/", "directory/", "directory/alice.vcf",
                                  "principals/bob/"])  # fmt: skip
def test_what_belongs_to_nobody_or_to_others_cannot_be_changed(alice: Client, bob: Client, path: str) -> None:
    answer = alice.proppatch(path, setting(mine("1")))
    assert (answer.status, answer.condition) == (403, d("need-privileges"))


def test_a_display_name_of_the_principal_is_the_accounts(alice: Client) -> None:
    alice.proppatch("principals/alice/", setting("<D:displayname>Alice L.</D:displayname>"))
    assert text(alice, "principals/alice/", d("displayname")) == "Alice L."
    assert text(alice, "calendars/alice/", d("displayname")) == "Alice L."
    alice.proppatch("principals/alice/", removing("<D:displayname/>"))
    assert text(alice, "principals/alice/", d("displayname")) == "alice"


def test_a_change_of_properties_changes_the_collection_and_no_member(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    _, home = alice.sync("calendars/alice/")
    _, calendar = alice.sync(CALENDAR)
    alice.proppatch(CALENDAR, setting(mine("1")))
    assert set(alice.sync("calendars/alice/", home)[0]) == {f"/dav/{CALENDAR}"}
    assert alice.sync(CALENDAR, calendar) == ({}, calendar)


def test_a_locked_resource_needs_the_token(alice: Client) -> None:
    token = token_of(alice.lock(CALENDAR, depth="0"))
    answer = alice.proppatch(CALENDAR, setting(mine("1")))
    assert (answer.status, answer.condition) == (423, d("lock-token-submitted"))
    assert alice.proppatch(CALENDAR, setting(mine("1")), if_=f"(<{token}>)").status == 207


def test_a_stale_condition_stops_the_change(alice: Client) -> None:
    etag = alice.put(CALENDAR + "x.ics", event("x")).etag
    assert alice.proppatch(CALENDAR + "x.ics", setting(mine("1")), if_match='"other"').status == 412
    assert value(alice, CALENDAR + "x.ics", "{urn:x}mine") is None
    assert alice.proppatch(CALENDAR + "x.ics", setting(mine("1")), if_match=etag).status == 207


# ---- as it was sent ----


def test_attributes_children_and_language_come_back(alice: Client) -> None:
    sent = (
        '<x:mine xmlns:x="urn:x" x:kind="a&amp;b" plain="&quot;1&quot;">text<y:child xmlns:y="urn:y" deep="1"><y:in/>'
        "</y:child>tail &lt;&amp;</x:mine>"
    )
    alice.proppatch(CALENDAR, f'<D:set xml:lang="de"><D:prop xml:lang="fr">{sent}</D:prop></D:set>')
    found = value(alice, CALENDAR, "{urn:x}mine")
    assert found is not None
    assert dict(found.attrib) == {
        "{urn:x}kind": "a&b", "plain": '"1"', "{http://www.w3.org/XML/1998/namespace}lang": "fr",
    }  # fmt: skip
    assert found.text == "text"
    assert [(child.tag, dict(child.attrib), child.tail) for child in found] == [
        ("{urn:y}child", {"deep": "1"}, "tail <&")
    ]
    assert [child.tag for child in found[0]] == ["{urn:y}in"]
    # The same by allprop and in a listing.
    answer = alice.request("PROPFIND", "calendars/alice/", b"", depth="1")
    listed = answer.responses[f"/dav/{CALENDAR}"].props["{urn:x}mine"]
    assert etree.tostring(listed, method="c14n") == etree.tostring(found, method="c14n")


def test_a_value_without_namespace_and_one_with_a_strange_one_are_kept(alice: Client) -> None:
    alice.proppatch(CALENDAR, setting('<plain xmlns="">1</plain><D:unknown>2</D:unknown><C:unknown>3</C:unknown>'))
    for name, kept in (("{}plain", "1"), (d("unknown"), "2"), (c("unknown"), "3")):
        (found,) = alice.propfind(CALENDAR, [name]).values()
        assert [prop.text for prop in found.values()] == [kept]


def test_a_colour_keeps_its_attribute_and_there_is_always_one(alice: Client) -> None:
    name = ical("calendar-color")
    before = text(alice, CALENDAR, name)
    assert before is not None
    assert len(before) == 9
    alice.proppatch(CALENDAR, setting('<IC:calendar-color symbolic-color="red">#FF2968FF</IC:calendar-color>'))
    found = value(alice, CALENDAR, name)
    assert found is not None
    assert (found.text, found.get("symbolic-color")) == ("#FF2968FF", "red")
    alice.proppatch(CALENDAR, removing("<IC:calendar-color/>"))
    assert text(alice, CALENDAR, name) == before


def test_descriptions_and_names_keep_every_character(alice: Client) -> None:
    odd = "Zoë & <Co> \"quoted\" 'x' 日本 🎉"
    sent = odd.replace("&", "&amp;").replace("<", "&lt;")
    alice.proppatch(
        CALENDAR,
        setting(f"<D:displayname>{sent}</D:displayname><C:calendar-description>{sent}</C:calendar-description>"),
    )
    book = "addressbooks/alice/contacts/"
    alice.proppatch(book, setting(f"<CR:addressbook-description>{sent}</CR:addressbook-description>"))
    assert text(alice, CALENDAR, d("displayname")) == odd
    assert text(alice, CALENDAR, c("calendar-description")) == odd
    assert text(alice, book, cr("addressbook-description")) == odd


# ---- values that must be right ----


def test_components_are_fixed_when_a_calendar_is_made(alice: Client) -> None:
    sent = '<C:supported-calendar-component-set><C:comp name="VTODO"/></C:supported-calendar-component-set>'
    answer = alice.proppatch(CALENDAR, setting(sent))
    assert conditions(answer) == {c("supported-calendar-component-set"): d("cannot-modify-protected-property")}


def test_transparency_is_kept_as_an_element(alice: Client) -> None:
    name = c("schedule-calendar-transp")

    def kinds() -> list[str]:
        found = value(alice, CALENDAR, name)
        assert found is not None
        return [str(child.tag) for child in found]

    assert kinds() == [c("opaque")]
    alice.proppatch(CALENDAR, setting("<C:schedule-calendar-transp><C:transparent/></C:schedule-calendar-transp>"))
    assert kinds() == [c("transparent")]
    answer = alice.proppatch(CALENDAR, setting("<C:schedule-calendar-transp>opaque</C:schedule-calendar-transp>"))
    assert outcome(answer) == {409: {name}}
    assert kinds() == [c("transparent")]
    alice.proppatch(CALENDAR, removing("<C:schedule-calendar-transp/>"))
    assert kinds() == [c("opaque")]


@pytest.mark.parametrize(
    "bad",
    ["", "Europe/Berlin", event("x"), zone("A").replace("VTIMEZONE", "VTIMEZOME"),
     zone("A").replace("END:VCALENDAR\r\n", ""), zone("A") + zone("B"),
     zone("A").replace("BEGIN:STANDARD", "BEGIN:X").replace("END:STANDARD", "END:X").replace("DAYLIGHT", "Y")],
)  # fmt: skip
def test_a_time_zone_that_is_none_is_refused_with_its_condition(alice: Client, bad: str) -> None:
    answer = alice.proppatch(CALENDAR, setting(f"<C:calendar-timezone>{bad}</C:calendar-timezone>" + mine("1")))
    assert outcome(answer) == {403: {c("calendar-timezone")}, 424: {"{urn:x}mine"}}
    assert conditions(answer) == {c("calendar-timezone"): c("valid-calendar-data")}


@pytest.mark.parametrize("tzid", ["Europe/Berlin", "/mozilla.org/20050126_1/Europe/Berlin", "Unser Büro"])
def test_a_time_zone_comes_back_as_it_was_sent_with_its_own_name(alice: Client, tzid: str) -> None:
    alice.proppatch(CALENDAR, setting(f"<C:calendar-timezone><![CDATA[{zone(tzid)}]]></C:calendar-timezone>"))
    assert text(alice, CALENDAR, c("calendar-timezone")) == zone(tzid).replace("\r\n", "\n")
    assert text(alice, CALENDAR, c("calendar-timezone-id")) == tzid  # RFC 7809 §3.1.5
    alice.proppatch(CALENDAR, removing("<C:calendar-timezone/>"))
    assert value(alice, CALENDAR, c("calendar-timezone")) is None
    assert value(alice, CALENDAR, c("calendar-timezone-id")) is None


def test_a_time_zone_by_name_is_shown_in_full_under_this_name(alice: Client) -> None:
    alice.proppatch(CALENDAR, setting(f"<C:calendar-timezone>{zone('Elsewhere')}</C:calendar-timezone>"))
    alice.proppatch(CALENDAR, setting("<C:calendar-timezone-id>America/New_York</C:calendar-timezone-id>"))
    assert text(alice, CALENDAR, c("calendar-timezone-id")) == "America/New_York"
    shown = text(alice, CALENDAR, c("calendar-timezone"))
    assert shown is not None
    assert "\r\nTZID:America/New_York\r\n" in shown
    assert shown.startswith("BEGIN:VCALENDAR\r\n")
    # What the server writes, it also takes.
    sent = shown.replace("\r", "&#13;")
    answer = alice.proppatch(CALENDAR, setting(f"<C:calendar-timezone>{sent}</C:calendar-timezone>"))
    assert outcome(answer) == {200: {c("calendar-timezone")}}
    assert text(alice, CALENDAR, c("calendar-timezone")) == shown


def test_a_time_zone_name_that_nobody_knows_is_refused_with_its_condition(alice: Client) -> None:
    answer = alice.proppatch(CALENDAR, setting("<C:calendar-timezone-id>Mars/Olympus</C:calendar-timezone-id>"))
    assert conditions(answer) == {c("calendar-timezone-id"): c("valid-timezone")}


# ---- limits ----


def test_a_large_value_is_507_whatever_it_is(serve: Serve) -> None:
    server = serve(limits=Limits(property_bytes=1024))
    alice = server.account("alice")
    for name in ("x:mine xmlns:x='urn:x'", "D:displayname", "IC:calendar-color", "C:calendar-description"):
        end = name.partition(" ")[0]
        assert outcome(alice.proppatch(CALENDAR, setting(f"<{name}>{'é' * 500}</{end}>"))).keys() == {507}, name
        assert outcome(alice.proppatch(CALENDAR, setting(f"<{name}>{'é' * 100}</{end}>"))).keys() == {200}, name
    long = "n" * 2000
    assert outcome(alice.proppatch(CALENDAR, setting(f"<{long} xmlns=''/>"))).keys() == {507}


def test_a_resource_has_room_for_so_many_properties(serve: Serve) -> None:
    server = serve(limits=Limits(properties=10))
    alice = server.account("alice")
    ten = "".join(mine("1", f"p{number}") for number in range(10))
    assert outcome(alice.proppatch(CALENDAR, setting(ten + mine("1", "p10")))).keys() == {507}
    assert outcome(alice.proppatch(CALENDAR, setting(ten))).keys() == {200}
    assert outcome(alice.proppatch(CALENDAR, setting(ten))).keys() == {200}  # replacing needs no room
    answer = alice.proppatch(CALENDAR, setting(mine("1", "p10") + "<D:displayname>N</D:displayname>"))
    assert outcome(answer) == {507: {"{urn:x}p10"}, 424: {d("displayname")}}
    assert outcome(alice.proppatch(CALENDAR, removing(mine("", "p3")) + setting(mine("1", "p10")))).keys() == {200}
    assert value(alice, CALENDAR, "{urn:x}p3") is None
    assert text(alice, CALENDAR, "{urn:x}p10") == "1"


def test_properties_count_towards_the_quota_where_they_are_set(store: Store, alice: Client) -> None:
    assert alice.account is not None
    assert alice.put(CALENDAR + "x.ics", event("x")).status == 201
    with transaction(store, write=True) as conn:
        account_id = alice.account.id
        used = accounts.usage_bytes(conn, account_id) + properties.used_bytes(conn, account_id)
        accounts.update_account(conn, account_id, quota_bytes=used + 10_000)

    def status(path: str, inner: str) -> set[int]:
        return set(outcome(alice.proppatch(path, setting(inner))))

    assert status(CALENDAR, mine("a" * 5000)) == {200}
    answer = alice.proppatch(CALENDAR + "x.ics", setting(mine("b" * 5000)))
    assert outcome(answer) == {507: {"{urn:x}mine"}}
    assert answer.xml.find(f".//{d('quota-not-exceeded')}") is not None
    assert status(CALENDAR, mine("c" * 7000)) == {200}  # in the place of the first
    assert status(CALENDAR, mine("d" * 1000)) == {200}
    assert status(CALENDAR + "x.ics", mine("b" * 5000)) == {200}
    with transaction(store, write=True) as conn:
        accounts.update_account(conn, account_id, quota_bytes=10)
    assert status(CALENDAR, mine("e" * 500)) == {200}  # over the quota already, and less than before
    assert set(outcome(alice.proppatch(CALENDAR, removing(mine(""))))) == {200}
