"""calendar-multiget (RFC 4791 §7.9) and addressbook-multiget (RFC 6352 §8.7)."""

from __future__ import annotations

import pytest

from dav.config import Limits
from dav.names import c, d
from tests.dsl import Client, Server, card, element, event
from tests.protocol.asking import ETAG, addressbook_multiget, calendar_multiget, data
from tests.protocol.conftest import Serve

CALENDAR = "/dav/calendars/alice/calendar/"
BOOK = "/dav/addressbooks/alice/contacts/"
DATA = "<D:prop><D:getetag/><C:calendar-data/></D:prop>"


def test_found_ones_come_with_what_was_asked_and_missing_ones_with_404(alice: Client) -> None:
    etag = alice.put(CALENDAR + "x.ics", event("x")).etag
    answer = calendar_multiget(alice, CALENDAR, CALENDAR + "x.ics", CALENDAR + "none.ics", prop=DATA)
    found, missing = answer.responses[CALENDAR + "x.ics"], answer.responses[CALENDAR + "none.ics"]
    assert found.props[d("getetag")].text == etag
    assert found.props[c("calendar-data")].text == event("x")
    assert (missing.status, missing.by_status) == (404, {})


def test_every_spelling_of_an_href_is_understood_and_answered_in_one(server: Server) -> None:
    alice = server.account("alice@example.com")
    canonical = "/dav/calendars/alice%40example.com/calendar/a%40b.ics"
    alice.put(canonical, event("x"))
    for sent in (
        canonical,
        "/dav/calendars/alice@example.com/calendar/a@b.ics",
        "\n    /dav/calendars/alice%40example.com/calendar/a@b.ics\n  ",
        "http://dav.example/dav/calendars/alice%40example.com/calendar/a%40b.ics",
        "https://another.name:8443/dav/calendars/alice@example.com/calendar/a@b.ics",
        "/dav/calendars/alice@example.com/calendar/%61@b.ics",
    ):
        answer = calendar_multiget(alice, "/dav/calendars/alice%40example.com/calendar/", sent)
        assert list(answer.responses) == [canonical], sent
        assert answer.responses[canonical].status is None


def test_two_spellings_of_one_address_are_answered_once(alice: Client) -> None:
    alice.put(CALENDAR + "a%40b.ics", event("x"))
    hrefs = (CALENDAR + "a%40b.ics", CALENDAR + "a@b.ics", CALENDAR + "a%40b.ics")
    assert list(calendar_multiget(alice, CALENDAR, *hrefs).responses) == [CALENDAR + "a%40b.ics"]


def test_what_cannot_be_here_is_404_under_the_href_that_was_sent(alice: Client, bob: Client) -> None:
    bob.put("/dav/calendars/bob/calendar/x.ics", event("x"))
    alice.put("/dav/calendars/alice/tasks/../x", event("x"))
    alice.put("/dav/calendars/alice/plain", b"x")
    alice.put("/dav/files/alice/x.ics", event("x"))
    alice.mkcalendar("/dav/calendars/alice/other/")
    alice.put("/dav/calendars/alice/other/x.ics", event("x"))
    sent = (
        "/dav/calendars/bob/calendar/x.ics",
        "/dav/calendars/bob/calendar/none.ics",
        "/dav/calendars/nobody/calendar/x.ics",
        "/dav/calendars/alice/other/x.ics",
        "/dav/calendars/alice/plain",
        "/dav/files/alice/x.ics",
        CALENDAR,
        CALENDAR + "x.ics/",
        CALENDAR + "%2e%2e/x.ics",
        "x.ics",
        "mailto:alice@example.com",
        "http://[bad/",
        "&amp;&lt;odd&gt;",
    )
    answer = calendar_multiget(alice, CALENDAR, *sent)
    assert {href: item.status for href, item in answer.responses.items()} == {
        href.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"): 404 for href in sent
    }


def test_a_home_answers_for_the_calendars_in_it(alice: Client) -> None:
    alice.mkcalendar("/dav/calendars/alice/other/")
    for path in (CALENDAR + "x.ics", "/dav/calendars/alice/other/y.ics"):
        alice.put(path, event(path))
    answer = calendar_multiget(alice, "/dav/calendars/alice/", CALENDAR + "x.ics", "/dav/calendars/alice/other/y.ics")
    assert [item.status for item in answer.responses.values()] == [None, None]


def test_an_object_answers_for_itself_alone(alice: Client) -> None:
    for name in ("x.ics", "y.ics"):
        alice.put(CALENDAR + name, event(name))
    answer = calendar_multiget(alice, CALENDAR + "x.ics", CALENDAR + "x.ics", CALENDAR + "y.ics", prop=DATA)
    assert {href: item.status for href, item in answer.responses.items()} == {
        CALENDAR + "x.ics": None, CALENDAR + "y.ics": 404,
    }  # fmt: skip
    assert data(answer) == {"x.ics": event("x.ics")}


@pytest.mark.parametrize("depth", [None, "0", "1", "infinity"])
def test_depth_does_not_matter(alice: Client, depth: str | None) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    fields = {} if depth is None else {"depth": depth}
    assert list(calendar_multiget(alice, CALENDAR, CALENDAR + "x.ics", **fields).responses) == [CALENDAR + "x.ics"]


def test_without_hrefs_the_answer_is_empty(alice: Client) -> None:
    assert calendar_multiget(alice, CALENDAR).responses == {}


def test_all_properties_and_their_names_can_be_asked_for(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x"))
    everything = calendar_multiget(alice, CALENDAR, CALENDAR + "x.ics", prop="<D:allprop/>").responses
    assert d("getetag") in everything[CALENDAR + "x.ics"].props
    names = calendar_multiget(alice, CALENDAR, CALENDAR + "x.ics", prop="<D:propname/>").responses
    assert d("getetag") in names[CALENDAR + "x.ics"].props


def test_more_hrefs_than_the_limit_are_refused_with_its_condition(serve: Serve) -> None:
    server = serve(limits=Limits(multiget_hrefs=100))
    alice = server.account("alice")
    hrefs = [f"{CALENDAR}{number}.ics" for number in range(101)]
    assert len(calendar_multiget(alice, CALENDAR, *hrefs[:100]).responses) == 100
    answer = calendar_multiget(alice, CALENDAR, *hrefs)
    assert (answer.status, answer.condition) == (403, d("number-of-matches-within-limits"))


def test_expanded_and_partial_data_are_given_here_too(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", event("x", more="RRULE:FREQ=DAILY\r\n"))
    expand = '<C:expand start="20261210T000000Z" end="20261212T000000Z"/>'
    prop = f"<D:prop><C:calendar-data>{expand}</C:calendar-data></D:prop>"
    shown = data(calendar_multiget(alice, CALENDAR, CALENDAR + "x.ics", prop=prop))["x.ics"]
    assert [line for line in shown.splitlines() if line.startswith("DTSTART")] == [
        "DTSTART:20261210T150000Z", "DTSTART:20261211T150000Z",
    ]  # fmt: skip


def test_an_unknown_kind_of_data_is_refused_with_its_condition(alice: Client) -> None:
    prop = '<D:prop><C:calendar-data content-type="application/calendar+json"/></D:prop>'
    answer = calendar_multiget(alice, CALENDAR, CALENDAR + "x.ics", prop=prop)
    assert (answer.status, answer.condition) == (403, c("supported-calendar-data"))


def test_cards_are_given_in_the_version_that_was_asked_for(alice: Client) -> None:
    alice.put(BOOK + "three.vcf", card("3"))
    alice.put(BOOK + "four.vcf", card("4", version="4.0"))
    hrefs = (BOOK + "three.vcf", BOOK + "four.vcf")

    def versions(attributes: str) -> dict[str, str]:
        prop = f"<D:prop><CR:address-data {attributes}/></D:prop>"
        found = data(addressbook_multiget(alice, BOOK, *hrefs, prop=prop))
        return {name: text.splitlines()[1] for name, text in found.items()}

    assert versions("") == {"three.vcf": "VERSION:3.0", "four.vcf": "VERSION:3.0"}  # RFC 6352 §10.4: the default
    for version in ("3.0", "4.0"):
        asked = versions(f'content-type="text/vcard" version="{version}"')
        assert asked == {"three.vcf": f"VERSION:{version}", "four.vcf": f"VERSION:{version}"}


def test_a_multiget_for_another_kind_of_collection_is_refused(alice: Client) -> None:
    answer = alice.report(BOOK, element("C:calendar-multiget", f"{ETAG}<D:href>{BOOK}x.vcf</D:href>"))
    assert (answer.status, answer.condition) == (403, d("supported-report"))
    answer = alice.report(CALENDAR, element("CR:addressbook-multiget", f"{ETAG}<D:href>{CALENDAR}x.ics</D:href>"))
    assert (answer.status, answer.condition) == (403, d("supported-report"))


def test_cards_of_the_directory_can_be_fetched_from_it_alone(alice: Client, bob: Client) -> None:
    href = "/dav/directory/bob.vcf"
    prop = "<D:prop><CR:address-data/></D:prop>"
    assert "FN:bob" in data(addressbook_multiget(alice, "/dav/directory/", href, prop=prop))["bob.vcf"]
    assert addressbook_multiget(alice, BOOK, href, prop=prop).responses[href].status == 404
    missing = "/dav/directory/nobody.vcf"
    assert addressbook_multiget(alice, "/dav/directory/", missing, prop=prop).responses[missing].status == 404
