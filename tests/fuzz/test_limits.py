"""Every limit of dav.config.Limits is hit here, and answers with the error that the RFC has for it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dav.config import Config, Limits
from dav.names import c, cr, d
from storage.engine import open_store
from tests.dsl import Answer, Client, Server, card, element, event

CALENDAR, BOOK, FILES = "calendars/alice/calendar/", "addressbooks/alice/contacts/", "files/alice/"
ASK = "<D:prop><D:getetag/></D:prop>"
YEAR = '<C:time-range start="20260101T000000Z" end="20270101T000000Z"/>'

Try = Callable[[Client], Answer]


def propfind(inner: str, path: str = FILES, depth: str = "0") -> Try:
    return lambda alice: alice.request("PROPFIND", path, element("D:propfind", inner), depth=depth)


def query(inner: str, data: str = ASK, path: str = CALENDAR) -> Try:
    body = f'{data}<C:filter><C:comp-filter name="VCALENDAR">{inner}</C:comp-filter></C:filter>'
    return lambda alice: alice.report(path, element("C:calendar-query", body), depth=1)


def after(*before: Try, then: Try) -> Try:
    """A request that is the one too many after others that are not."""

    def act(alice: Client) -> Answer:
        for one in before:
            answer = one(alice)
            assert answer.status < 300, (answer.status, answer.body)
        return then(alice)

    return act


def put(path: str, body: bytes | str, **headers: str) -> Try:
    return lambda alice: alice.put(path, body, **headers)


def patch(inner: str) -> Try:
    return lambda alice: alice.proppatch(FILES, f"<D:set><D:prop>{inner}</D:prop></D:set>")


def events(count: int, more: str = "") -> list[Try]:
    return [put(f"{CALENDAR}{n}.ics", event(str(n), more=more)) for n in range(count)]


def cards(count: int) -> list[Try]:
    return [put(f"{BOOK}{n}.vcf", card(str(n))) for n in range(count)]


def mkcol(path: str) -> Try:
    return lambda alice: alice.mkcol(path)


def lock(path: str, **headers: str) -> Try:
    return lambda alice: alice.lock(path, **headers)


def free_busy(alice: Client) -> Answer:
    return alice.report(CALENDAR, element("C:free-busy-query", YEAR), depth=1)


def zone(tzid: str, more: str = "", *, zones: int = 1) -> str:
    """An event, and as many time zones of one block each; more: further lines of the blocks."""
    block = (
        f"BEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\n{more}END:STANDARD\r\n"
    )
    defined = "".join(f"BEGIN:VTIMEZONE\r\nTZID:{tzid}{n}\r\n{block}END:VTIMEZONE\r\n" for n in range(zones))
    return event("x").replace("BEGIN:VEVENT", defined + "BEGIN:VEVENT")


DATE = "20261210T150000Z"
DAILY = "RRULE:FREQ=DAILY\r\n"
EXPAND = (
    '<D:prop><C:calendar-data><C:expand start="20260101T000000Z" end="20290101T000000Z"/></C:calendar-data></D:prop>'
)
HREFS = "".join(f"<D:href>/dav/{CALENDAR}{n}.ics</D:href>" for n in range(4))

# name of the setting, its value here, what breaks it: status and condition. Just below it all is well (second try).
REFUSED: list[tuple[str, int, Try, int, str | None, Try]] = [
    ("xml_bytes", 2000, propfind("<D:prop>" + "<D:getetag/>" * 200 + "</D:prop>"), 413, None, propfind(ASK)),
    ("xml_depth", 16, propfind("<D:prop>" + "<D:x>" * 60 + "</D:x>" * 60 + "</D:prop>"), 400, None, propfind(ASK)),
    (
        "xml_elements",
        50,
        propfind("<D:prop>" + "<D:x/>" * 60 + "</D:prop>"),
        413,
        None,
        propfind("<D:prop>" + "<D:x/>" * 40 + "</D:prop>"),
    ),
    (
        "resource_bytes",
        1000,
        put(f"{CALENDAR}x.ics", event("x", summary="y" * 1000)),
        403,
        c("max-resource-size"),
        put(f"{CALENDAR}x.ics", event("x")),
    ),
    (
        "resource_bytes",
        1000,
        put(f"{BOOK}x.vcf", card("x", name="y" * 1000)),
        403,
        cr("max-resource-size"),
        put(f"{BOOK}x.vcf", card("x")),
    ),
    (
        "resource_lines",
        20,
        put(f"{CALENDAR}x.ics", event("x", more="X-A:1\r\n" * 20)),
        403,
        c("valid-calendar-data"),
        put(f"{CALENDAR}x.ics", event("x")),
    ),
    (
        "resource_lines",
        20,
        put(f"{CALENDAR}x.ics", event("x", summary="x" + "\r\n y" * 80)),
        403,
        c("valid-calendar-data"),
        put(f"{CALENDAR}x.ics", event("x", summary="x" + "\r\n y" * 40)),
    ),
    (
        "contact_lines",
        20,
        put(f"{BOOK}x.vcf", card("x").replace("END", "NOTE:1\r\n" * 20 + "END")),
        403,
        cr("valid-address-data"),
        put(f"{BOOK}x.vcf", card("x")),
    ),
    (
        "resource_parameters",
        20,
        put(f"{CALENDAR}x.ics", event("x", more="X-A" + ";B=1,2" * 11 + ":1\r\n")),
        403,
        c("valid-calendar-data"),
        put(f"{CALENDAR}x.ics", event("x", more="X-A" + ";B=1,2" * 9 + ':1\r\nX-B;C="' + ";," * 50 + '":1;2,3;4\r\n')),
    ),
    (
        "resource_parameters",
        20,
        put(f"{BOOK}x.vcf", card("x").replace("END", "TEL;TYPE=" + ",".join("a" * 21) + ":1\r\nEND")),
        403,
        cr("valid-address-data"),
        put(f"{BOOK}x.vcf", card("x").replace("END", "TEL;TYPE=" + ",".join("a" * 20) + ":1\r\nEND")),
    ),
    (
        "rules",
        2,
        put(f"{CALENDAR}x.ics", event("x", more=DAILY * 2 + "EXRULE:FREQ=YEARLY\r\n")),
        403,
        c("valid-calendar-data"),
        put(f"{CALENDAR}x.ics", event("x", more=DAILY * 2)),
    ),
    (
        "dates",
        3,
        put(f"{CALENDAR}x.ics", event("x", more=DAILY + f"RDATE:{DATE},{DATE}\r\nEXDATE:{DATE},{DATE}\r\n")),
        403,
        c("valid-calendar-data"),
        put(f"{CALENDAR}x.ics", event("x", more=DAILY + f"RDATE:{DATE},{DATE}\r\nEXDATE:{DATE}\r\n")),
    ),
    (
        "dates",
        3,
        put(f"{CALENDAR}x.ics", zone("X-A", f"RDATE:{DATE[:-1]},{DATE[:-1]},{DATE[:-1]},{DATE[:-1]}\r\n")),
        403,
        c("valid-calendar-data"),
        put(f"{CALENDAR}x.ics", zone("X-A", f"RDATE:{DATE[:-1]},{DATE[:-1]},{DATE[:-1]}\r\n")),
    ),
    (
        "time_zones",
        2,
        put(f"{CALENDAR}x.ics", event("x", more="".join(f"EXDATE;TZID=X-{n}:{DATE[:-1]}\r\n" for n in range(3)))),
        403,
        c("valid-calendar-data"),
        put(f"{CALENDAR}x.ics", event("x", more="".join(f"EXDATE;TZID=X-{n % 2}:{DATE[:-1]}\r\n" for n in range(9)))),
    ),
    (
        "time_zones",
        2,
        put(f"{CALENDAR}x.ics", zone("X-A", zones=3)),
        403,
        c("valid-calendar-data"),
        put(f"{CALENDAR}x.ics", zone("X-A", zones=2)),
    ),
    (
        "observances",
        2,
        put(f"{CALENDAR}x.ics", zone("X-A", zones=3)),
        403,
        c("valid-calendar-data"),
        put(f"{CALENDAR}x.ics", zone("X-A", zones=2)),
    ),
    ("file_bytes", 1000, put(f"{FILES}x", b"x" * 1001), 413, None, put(f"{FILES}x", b"x" * 1000)),
    (
        "multiget_hrefs",
        3,
        lambda alice: alice.report(CALENDAR, element("C:calendar-multiget", ASK + HREFS)),
        403,
        d("number-of-matches-within-limits"),
        lambda alice: alice.report(
            CALENDAR, element("C:calendar-multiget", ASK + HREFS.partition("</D:href>")[0] + "</D:href>")
        ),
    ),
    (
        "instances",
        10,
        put(f"{CALENDAR}x.ics", event("x", more="RRULE:FREQ=DAILY;COUNT=11\r\n")),
        403,
        c("max-instances"),
        put(f"{CALENDAR}x.ics", event("x", more="RRULE:FREQ=DAILY;COUNT=10\r\n")),
    ),
    (
        "attendees",
        2,
        put(f"{CALENDAR}x.ics", event("x", more="ATTENDEE:mailto:a@x.example\r\n" * 3)),
        403,
        c("max-attendees-per-instance"),
        put(f"{CALENDAR}x.ics", event("x", more="ATTENDEE:mailto:a@x.example\r\n" * 2)),
    ),
    (
        "expand_instances",
        100,
        after(*events(1, DAILY), then=query('<C:comp-filter name="VEVENT"/>', EXPAND)),
        403,
        d("number-of-matches-within-limits"),
        query('<C:comp-filter name="VEVENT"/>'),
    ),
    (
        "query_results",
        100,
        after(*events(5, DAILY), then=free_busy),
        403,
        d("number-of-matches-within-limits"),
        query('<C:comp-filter name="VEVENT"/>'),
    ),
    (
        "answer_bytes",
        2000,
        after(*events(8), then=query("", "<D:prop><C:calendar-data/></D:prop>")),
        507,
        d("number-of-matches-within-limits"),
        query("", "<D:prop/>"),
    ),
    (
        "infinity_members",
        3,
        after(*(put(f"{FILES}{n}", b"x") for n in range(4)), then=propfind(ASK, depth="infinity")),
        403,
        d("propfind-finite-depth"),
        propfind(ASK, depth="1"),
    ),
    (
        "collections",
        3,
        after(*(mkcol(f"{FILES}{n}/") for n in range(3)), then=mkcol(f"{FILES}x/")),
        507,
        None,
        propfind(ASK),
    ),
    (
        "properties",
        3,
        after(patch('<a xmlns="u"/><b xmlns="u"/><c xmlns="u"/>'), then=patch('<d xmlns="u"/>')),
        507,
        None,
        patch('<a xmlns="u">2</a>'),
    ),
    ("property_bytes", 1000, patch(f'<a xmlns="u">{"x" * 1000}</a>'), 507, None, patch('<a xmlns="u">x</a>')),
    ("locks", 2, after(lock(f"{FILES}a"), lock(f"{FILES}b"), then=lock(f"{FILES}c")), 507, None, propfind(ASK)),
    (
        "depth",
        2,
        after(mkcol(f"{FILES}a/"), mkcol(f"{FILES}a/b/"), then=mkcol(f"{FILES}a/b/c/")),
        403,
        None,
        mkcol(f"{FILES}z/"),
    ),
]


@pytest.fixture
def opened(sqlite_url: str, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """alice on a server with these limits."""
    running: list[Server] = []

    def start(**limits: int) -> Client:
        store = open_store(sqlite_url, blob_dir=tmp_path / "files", threads=4)
        running.append(Server(store, Config(limits=dataclasses.replace(Limits(), **limits))))
        return running[-1].account("alice")

    yield start
    for server in running:
        server.close()
        server.store.close()


@pytest.mark.parametrize("row", REFUSED, ids=[row[0] for row in REFUSED])
def test_what_is_beyond_a_limit_is_refused_and_what_is_below_it_is_not(
    opened: Callable[..., Client], row: tuple[str, int, Try, int, str | None, Try]
) -> None:
    setting, value, beyond, status, condition, below = row
    alice = opened(**{setting: value})
    answer = beyond(alice)
    if answer.status == 207:
        # PROPPATCH tells of each property.
        (item,) = answer.responses.values()
        assert list(item.by_status) == [status]
    else:
        assert (answer.status, answer.condition) == (status, condition)
    again = below(alice)
    assert again.status < 300, (again.status, again.body)
    if again.status == 207:
        assert all(status not in item.by_status for item in again.responses.values())


def test_query_results_beyond_the_limit_are_cut_and_the_answer_says_so(opened: Callable[..., Client]) -> None:
    alice = opened(query_results=3)
    for one in (*events(4), *cards(4)):
        assert one(alice).status == 201
    book = element("CR:addressbook-query", f'{ASK}<CR:filter><CR:prop-filter name="FN"/></CR:filter>')
    for path, answer in (
        (CALENDAR, query('<C:comp-filter name="VEVENT"/>')(alice)),
        (BOOK, alice.report(BOOK, book, depth=1)),
    ):
        responses = answer.responses
        assert responses.pop(f"/dav/{path}").status == 507
        assert len(responses) == 3


def test_a_sync_page_is_cut_and_the_next_one_goes_on(opened: Callable[..., Client]) -> None:
    alice = opened(sync_page=3)
    for one in events(8):
        assert one(alice).status == 201
    seen: set[str] = set()
    token, pages = "", 0
    while True:
        found, token = alice.sync(CALENDAR, token)
        pages += 1
        more = found.pop(f"/dav/{CALENDAR}", None)
        assert len(found) <= 3
        assert not seen & set(found)
        seen |= set(found)
        if more is None:
            break
        assert more == 507
    assert (pages, len(seen)) == (3, 8)


def test_a_lock_is_granted_no_longer_than_the_limit(opened: Callable[..., Client]) -> None:
    alice = opened(lock_seconds=100)
    assert alice.lock(FILES + "x", timeout="Second-9999").status == 201
    (found,) = alice.locks(FILES + "x")
    assert found.findtext("{DAV:}timeout") == "Second-100"
    assert alice.lock(FILES + "y", timeout="Infinite").status == 201
    alice.server.clock.now_s += 101
    assert alice.locks(FILES + "x") == []


def test_a_rule_that_takes_too_many_steps_costs_its_own_occurrences_only(opened: Callable[..., Client]) -> None:
    alice = opened(recurrence_steps=1000)
    assert (
        alice.put(
            CALENDAR + "long.ics",
            event("long", start="20200101T000000Z", more="RRULE:FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30\r\n"),
        ).status
        == 201
    )
    assert alice.put(CALENDAR + "good.ics", event("good", start="20261210T100000Z")).status == 201
    answer = query(f'<C:comp-filter name="VEVENT">{YEAR}</C:comp-filter>')(alice)
    assert f"/dav/{CALENDAR}good.ics" in answer.responses


def test_a_search_of_the_directory_finds_no_more_than_the_limit(opened: Callable[..., Client]) -> None:
    alice = opened(search_results=2)
    for name in ("alicia", "alina", "alison"):
        alice.server.account(name)
    name = "<D:prop><D:displayname/></D:prop>"
    body = f"<D:property-search>{name}<D:match>ali</D:match></D:property-search>{name}"
    responses = alice.report("principals/", element("D:principal-property-search", body), depth=0).responses
    assert responses.pop("/dav/principals/").status == 507
    assert len(responses) == 2


def test_a_body_that_does_not_come_in_time_is_408(opened: Callable[..., Client], tmp_path: Path) -> None:
    alice = opened(body_seconds=0)

    async def never() -> Any:
        await asyncio.sleep(30)

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    method, path, _, fields, _ = alice.prepare("PUT", FILES + "x")
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "scheme": "http", "client": ("127.0.0.1", 1),
        "headers": [(name.encode(), value.encode()) for name, value in fields],
    }  # fmt: skip
    alice.server._loop.run_until_complete(alice.server.app(scope, never, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert alice.get(FILES + "x").status == 404
    # What was begun in a thread is undone there, perhaps a moment later.
    for _ in range(500):
        if not list((tmp_path / "files" / "incoming").glob("*")):
            return
        alice.server._loop.run_until_complete(asyncio.sleep(0.01))
    pytest.fail("the unfinished upload is still there")


def test_more_properties_than_anyone_wants_cannot_be_asked_for(opened: Callable[..., Client]) -> None:
    """Each member answers with each name: a megabyte of names would become gigabytes."""
    alice = opened()
    many = "".join(f"<n{n}/>" for n in range(501))
    long = f'<x:a xmlns:x="{"u" * 40_000}"/>'
    spread = f'<D:x xmlns:x="{"u" * 100_000}">' + "<x:a/>" * 5000 + "</D:x>"
    for inner in (many, long, spread):
        assert propfind(f"<D:prop>{inner}</D:prop>")(alice).status == 413
        assert alice.report(CALENDAR, element("C:calendar-multiget", f"<D:prop>{inner}</D:prop>")).status == 413
    assert propfind("<D:prop>" + "".join(f"<n{n}/>" for n in range(500)) + "</D:prop>")(alice).status == 207
    removed = "".join(f"<n{n}/>" for n in range(2001))
    assert alice.proppatch(FILES, f"<D:remove><D:prop>{removed}</D:prop></D:remove>").status == 413


def test_what_a_lock_shows_of_itself_is_bounded(opened: Callable[..., Client]) -> None:
    """A lock on a folder is shown with each member, whoever asks."""
    alice = opened()
    assert alice.lock(FILES + "x", owner="y" * 5000).status == 413
    for _ in range(50):
        assert alice.lock(FILES + "x", scope="shared", owner="y" * 500).status in (200, 201)
    assert alice.lock(FILES + "x", scope="shared").status == 507


def test_each_limit_has_a_test_here() -> None:
    tested = {row[0] for row in REFUSED}
    tested |= {"query_results", "sync_page", "lock_seconds", "recurrence_steps", "search_results", "body_seconds"}
    tested |= {"spool_bytes", "stall_seconds", "body_memory"}  # tests/fuzz/test_slow_clients.py
    tested |= {"answer_memory", "expand_memory"}  # nothing is refused: tests/protocol/test_recall.py, tests/ical
    assert tested == {field.name for field in dataclasses.fields(Limits)}
