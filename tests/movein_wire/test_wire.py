"""Over the wire, from a server with the habits of real ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dav.movein.client import Client, Settings
from dav.movein.kernel import Options
from dav.movein.report import Report
from dav.movein.source import SourceError
from dav.movein.wire import BATCH, wire
from dav.names import ical
from storage import feeds_in, objects
from storage.engine import transaction
from tests.movein_wire.kit import NOW_S, Here, card, event
from tests.movein_wire.server import FakeServer, multistatus

URL = "https://there.example/"
INTO = Options(into="alice", create_accounts=True)
QUICK = Settings(rate=0)


@contextmanager
def asking(server: FakeServer, settings: Settings = QUICK, *, user: str = "alice") -> Iterator[Client]:
    with Client(
        URL, user, "tea", settings, transport=httpx.MockTransport(server), sleep=lambda seconds: None
    ) as client:
        yield client


def bring(here: Here, server: FakeServer, options: Options = INTO, *, url: str = URL) -> Report:
    with asking(server) as client:
        return here.bring(wire(client, url, "alice"), options)


def usual() -> FakeServer:
    """A calendar with three events and a book with one card."""
    server = FakeServer()
    work = server.calendar(
        "work",
        "<displayname>Work &amp; more</displayname><I:calendar-color>#FF2968FF</I:calendar-color>"
        "<I:calendar-order>4</I:calendar-order><C:calendar-description>All of it</C:calendar-description>"
        '<C:supported-calendar-component-set><C:comp name="VEVENT"/></C:supported-calendar-component-set>'
        "<C:schedule-calendar-transp><C:transparent/></C:schedule-calendar-transp>",
    )
    for name in ("a.ics", "b c.ics", "ä.ics"):
        work.put(name, event(name, "Käse"))
    server.book("people", "<displayname>People</displayname>").put("z.vcf", card("z"))
    return server


def test_a_first_calendar_that_is_an_outbox_as_well_comes_over_and_what_is_only_for_messages_does_not(
    here: Here,
) -> None:
    server = usual()
    # As SOGo 5.8 shows the calendar "personal", which every account has.
    server.calendar("personal", types="<collection/><C:calendar/><C:schedule-outbox/>").put("p.ics", event("p"))
    server.calendar("outbox", types="<collection/><C:schedule-outbox/>").put("o.ics", event("o"))
    server.calendar("inbox", types="<collection/><C:calendar/><C:schedule-inbox/>").put("i.ics", event("i"))
    bring(here, server)
    assert sorted(here.paths("alice", "calendars")) == ["personal", "work"]
    assert set(here.bodies("alice", "calendars", "personal")) == {"p.ics"}


@pytest.mark.parametrize("habits", [{}, {"syncs": False}, {"multigets": False}, {"keeps_cr": True}, {"page": 2}])
def test_everything_comes_over_byte_for_byte_whatever_the_server_can_do(habits: dict[str, bool], here: Here) -> None:
    server = usual()
    for name, value in habits.items():
        setattr(server, name, value)
    report = bring(here, server)
    assert report.complete, report.text()
    assert here.bodies("alice", "calendars", "work") == {
        "a.ics": ("1-a.ics", event("a.ics", "Käse")),
        "b c.ics": ("2-b%20c.ics", event("b c.ics", "Käse")),
        "ä.ics": ("3-%C3%A4.ics", event("ä.ics", "Käse")),
    }
    assert here.bodies("alice", "addressbooks", "people") == {"z.vcf": ("1-z.vcf", card("z"))}


def test_a_calendar_over_the_wire_keeps_what_its_owner_made_of_it(here: Here) -> None:
    bring(here, usual())
    calendar = here.collection("alice", "calendars", "work")
    assert (calendar.display_name, calendar.description) == ("Work & more", "All of it")
    assert (calendar.components, calendar.transparent) == (("VEVENT",), True)
    kept = here.properties("alice", "calendars", "work")
    assert "#FF2968FF" in kept[ical("calendar-color")]
    assert ">4<" in kept[ical("calendar-order")]
    assert here.account("alice").display_name == "Al"


def test_a_second_run_asks_for_changes_only(here: Here) -> None:
    server = usual()
    bring(here, server)
    before = here.seq("alice", "calendars", "work")
    server.asked.clear()
    report = bring(here, server)
    assert report.counts["unchanged"] == 4
    assert here.seq("alice", "calendars", "work") == before
    # One sync a collection, and not one body.
    assert [path for method, path in server.asked if method == "REPORT"] == [
        "/dav/alice/cal/work/", "/dav/alice/book/people/"
    ]  # fmt: skip
    assert server.count("GET") == 0


def test_changes_and_removals_there_come_over_with_the_next_run(here: Here) -> None:
    server = usual()
    bring(here, server)
    work = server.places["/dav/alice/cal/work/"]
    work.put("a.ics", event("a.ics", "Coffee"))
    work.put("new.ics", event("new"))
    work.remove("ä.ics")
    report = bring(here, server, replace(INTO, remove_gone=True))
    assert (report.counts["stored"], report.counts["updated"], report.counts["removed"]) == (1, 1, 1)
    found = here.bodies("alice", "calendars", "work")
    assert set(found) == {"a.ics", "b c.ics", "new.ics"}
    assert found["a.ics"][1] == event("a.ics", "Coffee")


def test_without_the_order_nothing_is_removed_here(here: Here) -> None:
    server = usual()
    bring(here, server)
    server.places["/dav/alice/cal/work/"].remove("ä.ics")
    bring(here, server)
    assert "ä.ics" in here.bodies("alice", "calendars", "work")


@pytest.mark.parametrize("syncs", [True, False])
def test_a_token_that_is_too_old_costs_a_listing_and_nothing_else(syncs: bool, here: Here) -> None:
    server = usual()
    bring(here, server)
    server.places["/dav/alice/cal/work/"].put("new.ics", event("new"))
    server.oldest, server.syncs = 99, syncs
    server.asked.clear()
    report = bring(here, server)
    assert (report.counts["stored"], report.counts["unchanged"]) == (1, 4)


def test_a_run_that_breaks_off_goes_on_where_it_was(here: Here) -> None:
    server = FakeServer()
    work = server.calendar("work")
    count = 3 * BATCH
    for number in range(count):
        work.put(f"{number:03}.ics", event(f"u{number}"))
    answers = 0

    def breaks(request: httpx.Request) -> httpx.Response | None:
        nonlocal answers
        if b"multiget" in request.content:
            answers += 1
            if answers > 2:
                raise httpx.ConnectError("the line is cut")
        return None

    server.faults.append(breaks)
    first = bring(here, server)
    assert not first.complete
    got = len(here.bodies("alice", "calendars", "work"))
    assert 0 < got < count
    server.faults.clear()
    server.asked.clear()
    second = bring(here, server)
    assert second.complete, second.text()
    assert len(here.bodies("alice", "calendars", "work")) == count
    # What is here is not fetched again.
    assert second.counts["unchanged"] == got
    assert second.counts["stored"] == count - got


def test_what_was_left_out_is_tried_again_though_nothing_has_changed_there(here: Here) -> None:
    server = usual()
    place = server.places["/dav/alice/cal/work/"]
    place.put("odd.ics", b"nonsense")
    first = bring(here, server)
    assert any("odd.ics" in line for line in first.lines["left"])
    second = bring(here, server)
    assert any("odd.ics" in line for line in second.lines["left"])
    assert second.counts["unchanged"] == 4


def test_a_change_made_here_is_kept_and_said(here: Here) -> None:
    server = usual()
    bring(here, server)
    calendar = here.collection("alice", "calendars", "work")
    with transaction(here.store, write=True) as conn:
        record = objects.object_by_name(conn, calendar.id, "a.ics")
        assert record is not None
        objects.delete_object(conn, calendar, record, now_s=NOW_S)
    server.places["/dav/alice/cal/work/"].put("a.ics", event("a.ics", "Coffee"))
    report = bring(here, server)
    assert report.counts["kept"] == 1
    assert "a.ics" not in here.bodies("alice", "calendars", "work")


def test_the_well_known_addresses_lead_to_the_account(here: Here) -> None:
    server = usual()
    server.knows_url = False
    report = bring(here, server)
    assert report.complete, report.text()
    assert ("PROPFIND", "/dav/") in server.asked


def test_the_address_of_one_calendar_brings_that_calendar(here: Here) -> None:
    server = usual()
    server.calendar("other").put("o.ics", event("o"))
    report = bring(here, server, url=f"{URL}dav/alice/cal/work/")
    assert report.counts["stored"] == 3
    assert "other" not in here.paths("alice", "calendars")


def test_what_belongs_to_others_and_the_protocol_s_own_collections_stay_out(here: Here) -> None:
    server = usual()
    server.calendar("inbox", types="<collection/><C:schedule-inbox/>").put("x.ics", event("x"))
    server.calendar("of-bob", types="<collection/><C:calendar/><S:shared/>").put("x.ics", event("x"))
    server.calendar("sogo", "<owner><href>/dav/p/bob/</href></owner>").put("x.ics", event("x"))
    server.calendar("cloud", "<O:owner-principal>/principals/users/bob</O:owner-principal>").put("x.ics", event("x"))
    server.calendar("mine", "<owner><href>/dav/p/alice/</href></owner>").put("m.ics", event("m"))
    server.calendar("contact_birthdays").put("x.ics", event("x"))
    report = bring(here, server)
    assert {line.split(": ")[1] for line in report.lines["left"]} == {"of-bob", "sogo", "cloud", "contact_birthdays"}
    assert {"work", "mine"} <= set(here.paths("alice", "calendars"))
    assert not {"of-bob", "sogo", "cloud", "contact_birthdays"} & set(here.paths("alice", "calendars"))


def test_calendars_in_folders_are_found(here: Here) -> None:
    server = usual()
    server.calendar("folder", types="<collection/>")
    server.calendar("folder/inner").put("i.ics", event("i"))
    report = bring(here, server)
    assert report.complete, report.text()
    assert list(here.bodies("alice", "calendars", "inner")) == ["i.ics"]


@pytest.mark.parametrize("tag", ['W/"weak"', "bare", '"with space"', '"' + "x" * 300 + '"', ""])
def test_only_a_strong_entity_tag_is_kept(tag: str, here: Here) -> None:
    server = FakeServer(tags=bool(tag))
    server.calendar("work").put("a.ics", event("a"), tag or '"x"')
    bring(here, server)
    ((kept, body),) = here.bodies("alice", "calendars", "work").values()
    assert body == event("a")
    assert kept not in tag.strip('W/"') or not tag
    again = bring(here, server)
    assert (again.counts["stored"], again.counts["updated"], again.counts["unchanged"]) == (0, 0, 1)


def test_a_member_that_vanishes_meanwhile_is_said(here: Here) -> None:
    server = usual()
    place = server.places["/dav/alice/cal/work/"]

    def vanish(request: httpx.Request) -> httpx.Response | None:
        if b"multiget" in request.content and "a.ics" in place.members:
            del place.members["a.ics"]
        return None

    server.faults.append(vanish)
    report = bring(here, server)
    assert any("a.ics" in line for line in report.lines["left"])
    assert set(here.bodies("alice", "calendars", "work")) == {"b c.ics", "ä.ics"}


def test_a_batch_that_is_too_large_is_asked_for_in_parts(here: Here) -> None:
    server = FakeServer()
    work = server.calendar("work")
    for number in range(40):
        work.put(f"{number}.ics", event(f"u{number}", "x" * 1000))
    with asking(server, replace(QUICK, body_bytes=16_000)) as client:
        report = here.bring(wire(client, URL, "alice"), INTO)
    assert report.complete, report.text()
    assert len(here.bodies("alice", "calendars", "work")) == 40


def test_a_wrong_password_is_a_sentence(here: Here) -> None:
    server = usual()
    server.password = "coffee"
    with asking(server) as client, pytest.raises(SourceError, match="password"):
        here.bring(wire(client, URL, "alice"), INTO)


def test_an_address_without_calendars_is_a_sentence(here: Here) -> None:
    def nothing(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404)

    with (
        Client(URL, "alice", "tea", QUICK, transport=httpx.MockTransport(nothing)) as client,
        pytest.raises(SourceError),
    ):
        here.bring(wire(client, URL, "alice"), INTO)


def test_a_subscription_over_the_wire_is_followed_by_this_server_from_now_on(here: Here) -> None:
    server = FakeServer()
    props = "<S:source><href>{}</href></S:source><S:subscribed-strip-alarms/><I:refreshrate>P1D</I:refreshrate>"
    types = "<collection/><S:subscribed/>"
    server.calendar("moon", f"<displayname>Moon</displayname>{props.format('webcal://x.example/m.ics')}", types)
    server.calendar("odd", props.format("file:///etc/passwd"), types)
    report = bring(here, server)
    assert [line.split(": ")[1] for line in report.lines["left"]] == ["odd"]
    moon = here.collection("alice", "calendars", "moon")
    assert (moon.origin, moon.display_name) == ("feed", "Moon")
    with transaction(here.store) as conn:
        feed = feeds_in.feed_of(conn, moon.id)
    assert feed is not None
    assert (feed.url, feed.strip, feed.interval_s) == ("webcal://x.example/m.ics", ("alarms",), 86_400)


def test_a_sync_that_never_ends_does_end(here: Here) -> None:
    server = usual()

    def for_ever(request: httpx.Request) -> httpx.Response | None:
        if b"sync-collection" not in request.content or request.method != "REPORT":
            return None
        cut = f"<response><href>{request.url.path}</href><status>HTTP/1.1 507 x</status></response>"
        return multistatus(f"{cut}<sync-token>http://x/1</sync-token>")

    server.faults.append(for_ever)
    bring(here, server)
    assert sum(1 for method, _ in server.asked if method == "REPORT") < 20


# Pieces of answers, well and badly put together.
_PIECES = (
    '<multistatus xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:R="urn:ietf:params:xml:ns:carddav">',
    "</multistatus>", "<response>", "</response>", "<href>/dav/alice/cal/x/</href>", "<href>//[::1</href>", "<href/>",
    "<href>https://evil.example/</href>", "<propstat><prop>", "</prop><status>HTTP/1.1 200 OK</status></propstat>",
    "</prop><status>nonsense</status></propstat>", "<resourcetype><collection/><C:calendar/></resourcetype>",
    "<current-user-principal><href>/dav/p/alice/</href></current-user-principal>", "<current-user-principal/>",
    "<C:calendar-home-set><href>/dav/alice/cal/</href><href/></C:calendar-home-set>", "<getetag>W/</getetag>",
    "<R:addressbook-home-set><href>http:</href></R:addressbook-home-set>", "<sync-token>x</sync-token>", "<!-- x -->",
    "<supported-report-set><report/><report><sync-collection/></report></supported-report-set>", "&#0;", "\0",
    "<C:supported-calendar-component-set><C:comp/></C:supported-calendar-component-set>", "<?x y?>",
    "<C:calendar-data>BEGIN:VCALENDAR</C:calendar-data>", "<status>HTTP/1.1 404</status>", "<status/>",
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(_PIECES), st.text(max_size=5)), max_size=25), st.sampled_from([200, 207, 403])
)
def test_whatever_a_server_answers_ends_in_a_sentence_at_worst(pieces: list[str], status: int) -> None:
    text = "".join(pieces)

    def answer(request: httpx.Request) -> httpx.Response:
        whole = f"{_PIECES[0]}<response><href>{request.url.path}</href>{text}</response></multistatus>"
        content = text if len(pieces) % 2 else whole
        return httpx.Response(status, content=content.encode("utf-8", "surrogatepass"))

    quick = Client(URL, "alice", "tea", QUICK, transport=httpx.MockTransport(answer), sleep=lambda seconds: None)
    with quick as asked, suppress(SourceError):
        for account in wire(asked, URL, "alice").accounts(Report()):
            for collection in account.collections():
                for item in collection.items({"": "x", "a.ics": "1"}):
                    assert item.name or item.version
