"""Listings, which are written from columns of the store, say what each member says of itself."""

from __future__ import annotations

import threading

import pytest
from lxml import etree

from dav.config import Limits
from dav.names import c, cr, cs, d
from dav.properties import listing
from dav.reports import multiget
from storage import objects
from tests.dsl import Answer, Client, Item, card, clark_element, element, event, task
from tests.protocol.asking import addressbook_multiget, calendar_multiget
from tests.protocol.conftest import Serve

CALENDAR = "/dav/calendars/alice/mixed/"
BOOK = "/dav/addressbooks/alice/contacts/"
FILES = "/dav/files/alice/"
STRANGE = ["a&amp;b", "%C3%BC", "a%20b", "it's", "x@y", "100%25", "a+b;c=d", "(x)!*~", "%3Ctag%3E", "%22q%22"]
UNKNOWN = "{http://example.com/ns}colour"
COLUMNS = [d("getetag"), d("getcontenttype"), d("resourcetype"), d("getcontentlength"), d("getlastmodified")]
ASKED = [
    [d("getetag")],
    [d("getetag"), d("getcontenttype")],
    [d("resourcetype")],
    [d("resourcetype"), d("getetag"), UNKNOWN],
    [UNKNOWN],
    [cs("getctag"), d("sync-token")],
    [*COLUMNS, d("displayname"), cs("created-by")],
    [*reversed(COLUMNS), d("supportedlock")],  # the last one is more than a column
    [],
]


@pytest.fixture(autouse=True)
def mixed(alice: Client) -> None:
    """A calendar for events and tasks."""
    assert alice.mkcalendar(CALENDAR).status == 201


def fill(alice: Client) -> None:
    for number, name in enumerate(STRANGE):
        path = name.replace("&amp;", "&")
        body = event(f"u{number}") if number % 2 else task(f"u{number}")
        assert alice.put(f"{CALENDAR}{path}.ics", body).status == 201
        assert alice.put(f"{BOOK}{path}.vcf", card(f"u{number}")).status == 201
        assert alice.put(f"{FILES}{path}", b"x" * number, content_type='text/x; a="<&>"').status == 201
        alice.server.clock.now_s += 100


def shape(item: Item) -> dict[int, dict[str, bytes]]:
    """What a response says, without the white space and the prefixes of its XML."""
    return {
        status: {name: etree.tostring(element, method="c14n", exclusive=True) for name, element in found.items()}
        for status, found in item.by_status.items()
    }


def same(listed: Answer, alice: Client, names: list[str], **fields: str) -> int:
    """Compares a listing with what each member says; returns how many there are."""
    for href, item in listed.responses.items():
        alone = alice.propfind_raw(href, names, **fields)
        assert shape(item) == shape(alone.responses[href]), href
    return len(listed.responses)


@pytest.mark.parametrize("names", ASKED)
@pytest.mark.parametrize("path", [CALENDAR, BOOK, FILES])
def test_a_listing_says_what_every_member_says_of_itself(alice: Client, path: str, names: list[str]) -> None:
    fill(alice)
    assert same(alice.propfind_raw(path, names, depth=1), alice, names) == len(STRANGE) + 1
    minimal = alice.propfind_raw(path, names, depth=1, prefer="return=minimal")
    assert same(minimal, alice, names, prefer="return=minimal") == len(STRANGE) + 1


def test_a_member_with_a_property_of_its_own_shows_it_in_every_listing(alice: Client) -> None:
    fill(alice)
    asked = [d("getetag"), UNKNOWN]
    before = alice.sync(CALENDAR)[1]
    alice.proppatch(
        f"{CALENDAR}x@y.ics", f'<D:set><D:prop><x:colour xmlns:x="{UNKNOWN[1:-7]}">r</x:colour></D:prop></D:set>'
    )
    found = alice.propfind(CALENDAR, asked, depth=1)
    assert {href for href, props in found.items() if UNKNOWN in props} == {f"{CALENDAR}x%40y.ics"}
    for token in ("", before):
        body = f"<D:sync-token>{token}</D:sync-token><D:sync-level>1</D:sync-level><D:prop>"
        body += f"{''.join(map(clark_element, asked))}</D:prop>"
        answer = alice.report(CALENDAR, element("D:sync-collection", body))
        coloured = {href for href, item in answer.responses.items() if UNKNOWN in item.props}
        assert coloured == ({f"{CALENDAR}x%40y.ics"} if answer.responses else set())
    hrefs = [f"{CALENDAR}{name}.ics" for name in STRANGE]
    prop = f"<D:prop><D:getetag/><C:calendar-data/>{clark_element(UNKNOWN)}</D:prop>"
    answer = calendar_multiget(alice, CALENDAR, *hrefs, prop=prop)
    assert {href for href, item in answer.responses.items() if UNKNOWN in item.props} == {f"{CALENDAR}x%40y.ics"}


def test_a_sync_says_what_every_member_says_of_itself(alice: Client) -> None:
    fill(alice)
    names = [*COLUMNS, UNKNOWN]
    body = "<D:sync-token/><D:sync-level>1</D:sync-level><D:prop>" + "".join(map(clark_element, names)) + "</D:prop>"
    for path in (CALENDAR, BOOK):
        answer = alice.report(path, element("D:sync-collection", body))
        assert same(answer, alice, names) == len(STRANGE)


def test_a_long_listing_is_whole_and_in_the_order_of_names(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        alice.put(f"{CALENDAR}{number}.ics", event(f"u{number}"))
    monkeypatch.setattr(objects, "_LISTED_AT_ONCE", 3)
    found = list(alice.propfind(CALENDAR, [d("getetag")], depth=1))
    assert found == [CALENDAR, *(f"{CALENDAR}{number}.ics" for number in range(7))]


def test_a_listing_larger_than_an_answer_may_be_is_refused(serve: Serve) -> None:
    carol = serve(limits=Limits(answer_bytes=1000)).account("carol")
    for number in range(9):
        carol.put(f"/dav/calendars/carol/calendar/{number}.ics", event(f"u{number}"))
    answer = carol.propfind_raw("/dav/calendars/carol/calendar/", [d("getetag")], depth=1)
    assert (answer.status, answer.condition) == (507, d("number-of-matches-within-limits"))


def test_the_folders_of_a_home_stand_before_its_files(alice: Client) -> None:
    alice.put(FILES + "a", b"x")
    alice.mkcol(FILES + "b/")
    assert list(alice.propfind(FILES, [d("getetag")], depth=1)) == [FILES, FILES + "b/", FILES + "a"]


@pytest.mark.parametrize("body_bytes", [10, objects.SHORT_BODY_BYTES + 1])
def test_a_multiget_gives_the_bytes_that_get_gives_whatever_their_size(alice: Client, body_bytes: int) -> None:
    fill(alice)
    hrefs = [f"{CALENDAR}{name}.ics" for name in STRANGE]
    long = "".join(f" {'ä' * 36}\r\n" for _ in range(body_bytes // 74 + 1))
    alice.put(f"{CALENDAR}x@y.ics", event("u5", more=f"DESCRIPTION:\r\n{long}X-A:a & b < c\r\n"))
    none = f"{CALENDAR}none.ics"
    prop = "<D:prop><D:getetag/><C:calendar-data/></D:prop>"
    answer = calendar_multiget(alice, CALENDAR, *hrefs, none, prop=prop)
    assert len(answer.responses) == len(STRANGE) + 1
    assert answer.responses[none].status == 404
    for href, item in answer.responses.items():
        if href != none:
            got = alice.get(href)
            assert (item.props[d("getetag")].text, item.props[c("calendar-data")].text) == (got.etag, got.text)


def test_a_multiget_of_more_than_is_read_at_once_is_whole(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(alice)
    monkeypatch.setattr(multiget, "_READ_AT_ONCE", 3)
    hrefs = [f"{BOOK}{name}.vcf" for name in STRANGE]
    answer = addressbook_multiget(alice, BOOK, *hrefs, f"{BOOK}none.vcf", prop="<D:prop><CR:address-data/></D:prop>")
    assert sorted(str(item.status) for item in answer.responses.values()) == ["404", *["None"] * len(STRANGE)]
    for href, item in answer.responses.items():
        if item.status is None:
            assert item.props[cr("address-data")].text == alice.get(href).text


def test_what_is_asked_by_its_own_href_is_not_written_from_columns(alice: Client) -> None:
    """A multiget sent to an object, and to a home, goes the longer way and says the same."""
    fill(alice)
    href = f"{CALENDAR}x%40y.ics"
    prop = "<D:prop><D:getetag/><C:calendar-data/></D:prop>"
    answers = [calendar_multiget(alice, path, href, prop=prop) for path in (CALENDAR, href, "/dav/calendars/alice/")]
    assert len({etree.tostring(answer.xml, method="c14n", exclusive=True) for answer in answers}) == 1


@pytest.mark.parametrize("hrefs", [3, multiget._SHORT_HREFS + 1])
def test_long_multigets_are_not_read_on_the_loop(alice: Client, monkeypatch: pytest.MonkeyPatch, hrefs: int) -> None:
    fill(alice)
    roads: list[bool] = []
    original = listing.Listing.write

    def write(self: listing.Listing, rows: list[tuple[object, ...]]) -> object:
        roads.append(threading.current_thread() is threading.main_thread())  # where the event loop runs
        return original(self, rows)

    monkeypatch.setattr(listing.Listing, "write", write)
    names = [f"{CALENDAR}{STRANGE[number % 10]}.ics?{number}" if number > 9 else f"{CALENDAR}{STRANGE[number]}.ics"
             for number in range(hrefs)]  # fmt: skip
    prop = "<D:prop><C:calendar-data/></D:prop>"
    assert calendar_multiget(alice, CALENDAR, *names, prop=prop).status == 207
    fast = alice.server.store.dialect == "sqlite" and hrefs <= multiget._SHORT_HREFS
    assert roads == [fast]
