"""The page of a published collection, for people."""

from __future__ import annotations

import html
import re

import pytest

from dav.config import FeedsConfig
from storage import accounts, collections
from storage.engine import transaction
from tests.dsl import Answer, Client, card, event, task
from tests.protocol.conftest import Serve
from tests.protocol.test_publish import ask, of, publish, put

# Dates below are near it: 2026-12-01 is a Tuesday.
NOON_S = 1_796_126_400


@pytest.fixture
def alice(serve: Serve) -> Client:
    server = serve()
    server.clock.now_s = NOON_S
    return server.account("alice")


def page(client: Client, mode: str = "whole", query: str = "", **headers: str) -> Answer:
    return ask(client, publish(client, mode=mode), form=query, **headers)


def text(answer: Answer) -> str:
    assert answer.status == 200
    body = re.sub(r"<(?:script|style).*?</(?:script|style)>", "", answer.body.decode(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_the_page_lists_what_comes_in_order_with_its_days(alice: Client) -> None:
    put(alice, "a.ics", event("a", summary="Supper", start="20261203T200000Z"))
    put(alice, "b.ics", event("b", summary="Weekly", start="20261102T090000Z", more="RRULE:FREQ=WEEKLY\r\n"))
    day = event("c", summary="Feast").replace(
        "DTSTART:20261201T150000Z\r\nDURATION:PT1H", "DTSTART;VALUE=DATE:20261203"
    )
    put(alice, "c.ics", day)
    put(alice, "d.ics", event("d", summary="Long gone", start="20250101T090000Z"))
    put(alice, "e.ics", event("e", summary="Far away", start="20270601T090000Z"))
    answer = page(alice)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    shown = text(answer)
    assert (
        shown.index("December 2026")
        < shown.index("Thursday, December 3")
        < shown.index("Feast")
        < shown.index("Supper")
    )
    assert shown.index("Supper") < shown.index("Monday, December 7") < shown.index("January 2027")
    assert shown.count("Weekly") == 6
    assert "All day Feast" in shown
    assert "8:00\u202fPM – 9:00\u202fPM Supper" in shown or "8:00 PM – 9:00 PM Supper" in shown
    assert "Long gone" not in shown
    assert "Far away" not in shown


def test_the_page_leads_to_programs_and_needs_no_script_and_nothing_from_elsewhere(alice: Client) -> None:
    feed = publish(alice)
    answer = ask(alice, feed, form=".html")
    body = answer.body.decode()
    assert f'href="webcal://dav.example/feeds/{feed.secret}.ics"' in body
    assert f"http://dav.example/feeds/{feed.secret}.ics" in body
    assert "<script" not in body
    assert " style=" not in body
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in answer.headers
    assert "noindex" in answer.headers["x-robots-tag"]
    assert not [link for link in re.findall(r'(?:src|href)="(https?://[^"]+)"', body) if "dav.example" not in link]


def test_nothing_that_stands_in_a_calendar_becomes_markup(alice: Client) -> None:
    evil = "<script>alert(1)</script>\" onclick='x' \u202ereversed"
    alice.proppatch(
        alice.path("calendars", "calendar", ""),
        f"<D:set><D:prop><D:displayname>{html.escape(evil)}</D:displayname>"
        f"<C:calendar-description>{html.escape(evil)}</C:calendar-description>"
        '<IC:calendar-color>red"/&gt;&lt;script&gt;</IC:calendar-color></D:prop></D:set>',
    )
    put(
        alice,
        "a.ics",
        event("a", summary=evil, start="20261202T090000Z", more=f"LOCATION:{evil}\r\nDESCRIPTION:{evil}\r\n"),
    )
    body = page(alice).body.decode()
    assert "<script" not in body
    assert "onclick='" not in body
    assert "\u202e" not in body
    assert body.count("&lt;script&gt;") >= 5


def test_the_busy_page_shows_times_alone(alice: Client) -> None:
    alice.proppatch(
        alice.path("calendars", "calendar", ""),
        "<D:set><D:prop><D:displayname>Doctors</D:displayname></D:prop></D:set>",
    )
    put(
        alice,
        "a.ics",
        event("a", summary="Surgery", start="20261202T090000Z", more="LOCATION:Ward\r\nDESCRIPTION:Ouch\r\n"),
    )
    put(alice, "b.ics", event("b", summary="Free", start="20261202T120000Z", more="TRANSP:TRANSPARENT\r\n"))
    shown = text(page(alice, "busy"))
    assert "Busy times" in shown
    assert "9:00" in shown
    assert "12:00" not in shown
    for secret in ("Surgery", "Ward", "Ouch", "Doctors", "Free", "club"):
        assert secret not in shown
    german = text(page(alice, "busy", accept_language="de"))
    assert "Belegte Zeiten" in german
    assert "10:00 Belegt" in german


def test_private_events_and_tasks_are_not_on_it(alice: Client) -> None:
    put(alice, "a.ics", event("a", summary="Surgery", start="20261202T090000Z", more="CLASS:PRIVATE\r\n"))
    shown = text(page(alice))
    assert "Surgery" not in shown
    assert "Nothing is planned in this time." in shown
    alice.put(alice.path("calendars", "tasks", "t.ics"), task("t", summary="Dust"))
    assert "Dust" not in text(ask(alice, publish(alice, path="tasks"), form=""))


@pytest.mark.parametrize(
    ("tongue", "words"),
    [
        ("de", ("Abonnieren", "Mittwoch, 2. Dezember", "Ganztägig", "09:00 – 10:00")),
        ("es-MX", ("Suscribirse", "miércoles", "Todo el día")),
        ("fr", ("S’abonner", "mercredi", "Toute la journée")),
        ("en-GB", ("Subscribe", "Wednesday, 2 December", "All day", "09:00 – 10:00")),
        ("it", ("Subscribe",)),
    ],
)
def test_the_page_speaks_the_language_of_the_browser(alice: Client, tongue: str, words: tuple[str, ...]) -> None:
    put(alice, "a.ics", event("a", start="20261202T090000Z"))
    day = event("c", summary="Feast").replace(
        "DTSTART:20261201T150000Z\r\nDURATION:PT1H", "DTSTART;VALUE=DATE:20261202"
    )
    put(alice, "c.ics", day)
    answer = page(alice, accept_language=tongue)
    assert answer.headers["vary"].startswith("Accept-Language")
    for word in words:
        assert word in text(answer)


def test_without_a_wish_it_speaks_the_language_of_its_owner(alice: Client) -> None:
    assert alice.account is not None
    with transaction(alice.server.store, write=True) as conn:
        accounts.update_account(conn, alice.account.id, locale="fr")
    assert "S’abonner" in text(page(alice))


def test_times_are_those_of_the_calendar_or_of_who_asks(alice: Client) -> None:
    put(alice, "a.ics", event("a", start="20261202T090000Z"))
    with transaction(alice.server.store, write=True) as conn:
        collections.update_collection(conn, of(alice).id, time_zone_id="Europe/Berlin", now_s=1)
    shown = text(page(alice, accept_language="de"))
    assert "10:00 – 11:00" in shown
    assert "Berlin" in shown
    shown = text(page(alice, query="?zone=Asia/Tokyo", accept_language="de"))
    assert "18:00 – 19:00" in shown
    assert "Tokio" in shown
    shown = text(page(alice, query="?zone=Nowhere/Else%00", accept_language="de"))
    assert "10:00 – 11:00" in shown


def test_where_nobody_said_a_zone_it_is_that_of_most_events(alice: Client) -> None:
    for number, zone in enumerate(("Asia/Tokyo", "Europe/Berlin", "Europe/Berlin")):
        body = event(str(number)).replace("DTSTART:20261201T150000Z", f"DTSTART;TZID={zone}:20261202T100000")
        put(alice, f"{number}.ics", body)
    put(alice, "f.ics", event("f", summary="Floating").replace("DTSTART:20261201T150000Z", "DTSTART:20261202T070000"))
    shown = text(page(alice, accept_language="de"))
    assert shown.count("10:00 – 11:00") == 2
    assert "02:00 – 03:00" in shown
    assert "07:00 – 08:00 Floating" in shown
    assert "Berlin" in shown


def test_a_late_evening_stands_on_the_day_of_the_reader(alice: Client) -> None:
    put(alice, "a.ics", event("a", summary="Stars", start="20261202T230000Z"))
    assert "Donnerstag, 3. Dezember" in text(page(alice, query="?zone=Europe/Berlin", accept_language="de"))
    assert "Mittwoch, 2. Dezember" in text(page(alice, query="?zone=UTC", accept_language="de"))


def test_the_page_is_turned_and_not_without_end(alice: Client) -> None:
    put(alice, "a.ics", event("a", summary="Far away", start="20270301T090000Z"))
    feed = publish(alice)
    body = ask(alice, feed, form="").body.decode()
    later = re.search(r'rel="next" href="(\?from=[0-9-]+)"', body)
    assert later is not None
    assert later[1] == "?from=2027-01-12"
    assert "Far away" in text(ask(alice, feed, form="?from=2027-02-24"))
    last = ask(alice, feed, form="?from=2029-11-20").body.decode()
    assert 'rel="next"' not in last
    for query in ("?from=9999-12-31", "?from=0001-01-01", "?from=x", "?from=2031-01-01", "?" + "a=b&" * 300):
        assert "Tuesday, December 1" in text(ask(alice, feed, form=query)) or "Dec 1, 2026" in text(
            ask(alice, feed, form=query)
        )


def test_events_of_several_days_and_cancelled_ones_say_so(alice: Client) -> None:
    put(alice, "a.ics", event("a", summary="Camp", start="20261202T090000Z").replace("PT1H", "P3D"))
    put(alice, "b.ics", event("b", summary="Trip", start="20261128T090000Z").replace("PT1H", "P7D"))
    put(alice, "c.ics", event("c", summary="Dinner", start="20261204T180000Z", more="STATUS:CANCELLED\r\n"))
    put(alice, "d.ics", event("d", summary="Dance", start="20261204T200000Z").replace("PT1H", "PT4H"))
    shown = text(page(alice))
    assert re.search(r"9:00.AM, until Dec 5, 2026 Camp", shown)
    assert re.search(r"Tuesday, December 1 Today until Dec 5, 2026 Trip", shown)
    assert re.search(r"Dinner Cancelled", shown)
    assert re.search(r"8:00.PM – 12:00.AM Dance", shown)


def test_the_page_has_a_bound_and_says_so(serve: Serve) -> None:
    server = serve(feeds=FeedsConfig(published_page_events=10))
    server.clock.now_s = NOON_S
    alice = server.account("alice")
    put(alice, "a.ics", event("a", summary="Drip", start="20261201T130000Z", more="RRULE:FREQ=HOURLY\r\n"))
    put(alice, "b.ics", event("b", summary="Drop", start="20261201T130000Z", more="RRULE:FREQ=MINUTELY;INTERVAL=7\r\n"))
    shown = text(page(alice))
    assert shown.count("Drip") + shown.count("Drop") == 10
    assert "There is more than can be shown here." in shown


def test_an_unchanged_page_is_not_sent_again_until_the_day_is_over(alice: Client) -> None:
    feed = publish(alice)
    etag = ask(alice, feed, form="").headers["etag"]
    assert ask(alice, feed, form="", if_none_match=etag).status == 304
    assert ask(alice, feed, form="", if_none_match=etag, accept_language="de").status == 200
    assert ask(alice, feed, form="?zone=Asia/Tokyo", if_none_match=etag).status == 200
    put(alice, "a.ics", event("a"))
    assert ask(alice, feed, form="", if_none_match=etag).status == 200
    etag = ask(alice, feed, form="").headers["etag"]
    alice.server.clock.now_s = NOON_S + 86_400
    assert ask(alice, feed, form="", if_none_match=etag).status == 200


def test_the_page_of_an_address_book_lists_names_and_offers_the_file(alice: Client) -> None:
    home = alice.path("addressbooks", "contacts")
    alice.put(f"{home}/b.vcf", card("b", name="Zoe Baker").replace("END:", "TEL:+49 30 1\r\nORG:Acme;Sales\r\nEND:"))
    alice.put(f"{home}/a.vcf", card("a", name="Ann <b>Able</b>"))
    alice.put(f"{home}/c.vcf", card("c", name="Secret Sue").replace("END:", "CLASS:PRIVATE\r\nEND:"))
    feed = publish(alice, area="addressbooks", path="contacts")
    answer = ask(alice, feed, form="")
    shown = text(answer)
    assert shown.index("Ann <b>Able</b>") < shown.index("Zoe Baker")
    assert "Acme, Sales" in shown
    assert "+49 30 1" in shown
    assert "Secret Sue" not in shown
    assert f"/feeds/{feed.secret}.vcf" in answer.body.decode()
    assert "webcal" not in answer.body.decode()


def test_the_setting_takes_the_page_away_and_leaves_the_feed(serve: Serve) -> None:
    alice = serve(feeds=FeedsConfig(published_page=False)).account("alice")
    feed = publish(alice)
    assert ask(alice, feed, form="").status == 404
    assert ask(alice, feed).status == 200


def test_the_page_works_below_a_prefix(serve: Serve) -> None:
    from dav.config import ServerConfig

    server = serve(server=ServerConfig(base_path="/prefix"))
    server.clock.now_s = NOON_S
    alice = server.account("alice")
    feed = publish(alice)
    answer = alice.anonymous().get(f"/prefix/feeds/{feed.secret}")
    body = answer.body.decode()
    assert 'href="/prefix/web/static/feed.css' in body
    assert f"webcal://dav.example/prefix/feeds/{feed.secret}.ics" in body
