"""Published calendars and address books: /feeds/SECRET.ics and .vcf, without sign-in."""

from __future__ import annotations

import gzip
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from dav.config import FeedsConfig
from dav.feeds.publish import Door
from dav.names import cs
from storage import accounts, collections, feeds_out, properties
from storage.engine import transaction
from storage.errors import StoreBusy
from storage.records import Collection, Feed
from tests.dsl import Answer, Client, card, element, event, task
from tests.protocol.conftest import Serve
from tests.protocol.sharing_world import OWN, account_of, mount_of, share

NOW_S = 1_764_000_000
BERLIN = (
    "BEGIN:VTIMEZONE\r\nTZID:Europe/Berlin\r\nBEGIN:STANDARD\r\nDTSTART:19701025T030000\r\nTZOFFSETFROM:+0200\r\n"
    "TZOFFSETTO:+0100\r\nRRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n"
)


def of(client: Client, area: str = "calendars", path: str = "calendar") -> Collection:
    with transaction(client.server.store) as conn:
        found, _ = collections.resolve(conn, client.name, area, path)
    assert found is not None
    return found


def publish(
    client: Client, *, mode: str = "whole", area: str = "calendars", path: str = "calendar", label: str = "for the club"
) -> Feed:
    collection = of(client, area, path)
    with transaction(client.server.store, write=True) as conn:
        return feeds_out.publish(conn, collection.id, mode=mode, label=label, now_s=NOW_S)


def ask(client: Client, feed: Feed | str, form: str = ".ics", verb: str = "GET", **headers: str) -> Answer:
    secret = feed if isinstance(feed, str) else feed.secret
    return client.anonymous().request(verb, f"/feeds/{secret}{form}", **headers)


def put(client: Client, name: str, body: str) -> None:
    assert client.put(client.path("calendars", "calendar", name), body).status in (201, 204)


def lines(answer: Answer) -> list[str]:
    text = answer.body.decode()
    assert text.count("\n") == text.count("\r\n")
    return text.replace("\r\n ", "").split("\r\n")


# ---- what a feed is ----------------------------------------------------------------------------------------------


def test_a_published_calendar_is_one_calendar_with_all_that_subscribers_look_for(alice: Client) -> None:
    place = alice.path("calendars", "calendar", "")
    alice.proppatch(
        place,
        "<D:set><D:prop><D:displayname>Club, south</D:displayname>"
        "<C:calendar-description>All our evenings</C:calendar-description>"
        '<IC:calendar-color>#34AADCFF</IC:calendar-color></D:prop></D:set>',
    )  # fmt: skip
    zoned = event("a").replace("BEGIN:VEVENT", BERLIN + "BEGIN:VEVENT", 1)
    zoned = zoned.replace("DTSTART:20261201T150000Z", "DTSTART;TZID=Europe/Berlin:20261201T150000")
    put(alice, "a.ics", zoned.replace("VERSION:2.0", "VERSION:2.0\r\nMETHOD:PUBLISH"))
    put(alice, "b.ics", zoned.replace("UID:a", "UID:b"))
    answer = ask(alice, publish(alice))
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/calendar; charset=utf-8"
    assert re.fullmatch(r'"[0-9a-f]{32}"', answer.headers["etag"])
    assert answer.headers["last-modified"].endswith("GMT")
    assert "noindex" in answer.headers["x-robots-tag"]
    assert "dav" not in answer.headers
    found = lines(answer)
    assert found.count("BEGIN:VCALENDAR") == found.count("BEGIN:VTIMEZONE") == 1
    assert found.count("BEGIN:VEVENT") == 2
    for line in (
        "REFRESH-INTERVAL;VALUE=DURATION:PT60M", "X-PUBLISHED-TTL:PT60M", "NAME:Club\\, south",
        "X-WR-CALNAME:Club\\, south", "X-WR-CALDESC:All our evenings", "X-APPLE-CALENDAR-COLOR:#34AADCFF",
    ):  # fmt: skip
        assert line in found
    assert not [line for line in found if line.startswith("METHOD")]


def test_a_published_address_book_is_its_cards_but_for_the_private_ones(alice: Client) -> None:
    home = alice.path("addressbooks", "contacts")
    alice.put(f"{home}/a.vcf", card("a", name="Ann Able"))
    alice.put(f"{home}/b.vcf", card("b", name="Bob Baker").replace("END:", "CLASS:PRIVATE\r\nEND:"))
    feed = publish(alice, area="addressbooks", path="contacts")
    answer = ask(alice, feed, ".vcf")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/vcard; charset=utf-8"
    assert answer.body == card("a", name="Ann Able").encode()
    assert ask(alice, feed, ".ics").status == 404


def test_the_time_zone_of_the_calendar_or_else_of_its_owner_is_told(alice: Client) -> None:
    feed = publish(alice)
    assert not [line for line in lines(ask(alice, feed)) if line.startswith("X-WR-TIMEZONE")]
    assert alice.account is not None
    with transaction(alice.server.store, write=True) as conn:
        accounts.update_account(conn, alice.account.id, time_zone="Europe/Rome")
    assert "X-WR-TIMEZONE:Europe/Rome" in lines(ask(alice, feed))
    with transaction(alice.server.store, write=True) as conn:
        collections.update_collection(conn, feed.collection_id, time_zone_id="Asia/Tokyo", now_s=NOW_S)
    assert "X-WR-TIMEZONE:Asia/Tokyo" in lines(ask(alice, feed))


def test_a_feed_has_no_alarms_and_no_private_events_and_times_alone_of_confidential_ones(alice: Client) -> None:
    alarm = "BEGIN:VALARM\r\nACTION:DISPLAY\r\nDESCRIPTION:Run\r\nTRIGGER:-PT5M\r\nEND:VALARM\r\n"
    put(alice, "a.ics", event("a", summary="Open", more=alarm))
    put(alice, "b.ics", event("b", summary="Surgery", more="CLASS:PRIVATE\r\n"))
    put(alice, "c.ics", event("c", summary="Merger", more="CLASS:CONFIDENTIAL\r\n"))
    text = ask(alice, publish(alice)).body.decode()
    assert "SUMMARY:Open" in text
    assert "VALARM" not in text
    assert "Surgery" not in text
    assert "Merger" not in text
    assert text.count("BEGIN:VEVENT") == 2


def test_busy_times_are_times_and_nothing_else(alice: Client) -> None:
    more = (
        "LOCATION:Room 9\r\nDESCRIPTION:Tell nobody\r\nORGANIZER;CN=Alice:mailto:alice@example.com\r\n"
        "ATTENDEE;CN=Eve:mailto:eve@example.com\r\nCATEGORIES:Health\r\nURL:https://secret.example/\r\n"
        "X-NOTE:Psst\r\nRRULE:FREQ=WEEKLY;COUNT=3\r\nEXDATE:20261208T150000Z\r\n"
    )
    alice.proppatch(
        alice.path("calendars", "calendar", ""),
        "<D:set><D:prop><D:displayname>Doctors</D:displayname>"
        "<C:calendar-description>Hush</C:calendar-description></D:prop></D:set>",
    )
    put(alice, "a.ics", event("uid-that-others-know", summary="Surgery", more=more))
    put(alice, "b.ics", event("b", summary="Night", more="CLASS:PRIVATE\r\n"))
    put(alice, "c.ics", event("c", summary="Holiday of a colleague", more="TRANSP:TRANSPARENT\r\n"))
    put(alice, "d.ics", event("d", summary="Called off", more="STATUS:CANCELLED\r\n"))
    alice.put(alice.path("calendars", "tasks", "t.ics"), task("t"))
    feed = publish(alice, mode="busy")
    found = lines(ask(alice, feed))
    names = {line.partition(":")[0].partition(";")[0] for line in found if line}
    assert names <= {
        "BEGIN", "END", "VERSION", "PRODID", "CALSCALE", "REFRESH-INTERVAL", "X-PUBLISHED-TTL", "NAME", "X-WR-CALNAME",
        "UID", "DTSTAMP", "DTSTART", "DURATION", "RRULE", "EXDATE", "SUMMARY", "CLASS", "STATUS", "TRANSP",
    }  # fmt: skip
    assert found.count("BEGIN:VEVENT") == 2
    assert {line for line in found if line.startswith(("SUMMARY", "NAME"))} == {"SUMMARY:Busy", "NAME:Busy times"}
    assert "RRULE:FREQ=WEEKLY;COUNT=3" in found
    text = "\n".join(found)
    for secret in ("Surgery", "Night", "uid-that", "Doctors", "Hush", "club", "alice", "eve"):
        assert secret not in text
    # The same events have the same names at the next look.
    uids = [line for line in found if line.startswith("UID")]
    put(alice, "e.ics", event("e"))
    assert set(uids) < {line for line in lines(ask(alice, feed)) if line.startswith("UID")}


def test_an_empty_calendar_is_a_feed_too(alice: Client) -> None:
    found = lines(ask(alice, publish(alice)))
    assert found[0] == "BEGIN:VCALENDAR"
    assert found[-2] == "END:VCALENDAR"
    assert "X-WR-CALNAME:Calendar" in found


def test_a_calendar_of_thousands_is_sent_whole_and_twice_the_same(serve: Serve) -> None:
    alice = serve(feeds=FeedsConfig(published_memory=0)).account("alice")
    for number in range(250):
        put(alice, f"{number}.ics", event(f"u{number}", summary="x" * 2000))
    feed = publish(alice)
    packed, plain = ask(alice, feed, accept_encoding="gzip"), ask(alice, feed)
    assert gzip.decompress(packed.body) == plain.body
    assert plain.body.count(b"BEGIN:VEVENT") == 250


# ---- polling -----------------------------------------------------------------------------------------------------


def test_what_has_not_changed_is_not_sent_again(alice: Client) -> None:
    put(alice, "a.ics", event("a"))
    feed = publish(alice)
    first = ask(alice, feed)
    etag, modified = first.headers["etag"], first.headers["last-modified"]
    for headers in (
        {"if_none_match": etag}, {"if_none_match": f'"x", W/{etag}'}, {"if_modified_since": modified},
        {"if_none_match": etag, "if_modified_since": "Thu, 01 Jan 1970 00:00:00 GMT"},
    ):  # fmt: skip
        answer = ask(alice, feed, **headers)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)
    put(alice, "b.ics", event("b"))
    answer = ask(alice, feed, if_none_match=etag)
    assert answer.status == 200
    assert answer.headers["etag"] != etag
    assert answer.body.count(b"BEGIN:VEVENT") == 2


def test_a_new_colour_or_name_is_a_new_feed(alice: Client) -> None:
    feed = publish(alice)
    etag = ask(alice, feed).headers["etag"]
    color = "<D:set><D:prop><IC:calendar-color>#FF0000FF</IC:calendar-color></D:prop></D:set>"
    assert alice.proppatch(alice.path("calendars", "calendar", ""), color).status == 207
    answer = ask(alice, feed, if_none_match=etag)
    assert answer.status == 200
    assert "X-APPLE-CALENDAR-COLOR:#FF0000FF" in lines(answer)


def test_compressed_and_plain_are_two_representations_and_either_tag_will_do(alice: Client) -> None:
    put(alice, "a.ics", event("a"))
    feed = publish(alice)
    plain = ask(alice, feed)
    packed = ask(alice, feed, accept_encoding="gzip, deflate")
    again = ask(alice, feed, accept_encoding="gzip, deflate")
    late = ask(alice, feed)
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == again.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == gzip.decompress(again.body) == plain.body == late.body
    assert packed.headers["etag"] == again.headers["etag"] != plain.headers["etag"]
    for answer in (plain, packed, again):
        assert answer.headers["vary"] == "Accept-Encoding"
    assert ask(alice, feed, if_none_match=packed.headers["etag"]).status == 304
    assert ask(alice, feed, if_none_match=plain.headers["etag"], accept_encoding="gzip").status == 304


def test_head_has_the_fields_of_get_and_no_body(alice: Client) -> None:
    feed = publish(alice)
    get, head = ask(alice, feed), ask(alice, feed, verb="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["etag"] == get.headers["etag"]
    assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize("verb", ["PUT", "POST", "DELETE", "PROPFIND", "OPTIONS", "REPORT", "PATCH"])
def test_a_feed_is_only_for_reading(alice: Client, verb: str) -> None:
    answer = ask(alice, publish(alice), verb=verb)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"


def test_a_poll_costs_one_statement_whatever_the_calendar(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        put(alice, f"{number}.ics", event(f"u{number}"))
    feed = publish(alice)
    first = ask(alice, feed)
    counts: list[int] = []
    leave = transaction.__exit__

    def counting(self: transaction, *failure: object) -> None:
        counts.append(self._conn.statements)
        leave(self, *failure)  # type: ignore[arg-type]

    monkeypatch.setattr(transaction, "__exit__", counting)
    assert ask(alice, feed, if_none_match=first.headers["etag"]).status == 304
    assert counts == [1]
    counts.clear()
    assert ask(alice, feed, if_modified_since=first.headers["last-modified"]).status == 304
    assert counts == [1]
    counts.clear()
    assert ask(alice, feed, accept_encoding="gzip").status == 200
    counts.clear()
    # Made once: the next who wants it gets it from memory.
    assert ask(alice, feed, accept_encoding="gzip").status == 200
    assert counts == [1]


def test_a_listing_asks_twice_for_the_addresses_of_any_number_of_calendars(
    alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    leave = transaction.__exit__

    def counting(self: transaction, *failure: object) -> None:
        counts.append(self._conn.statements)
        leave(self, *failure)  # type: ignore[arg-type]

    def cost(*names: str) -> int:
        counts.clear()
        with monkeypatch.context() as patch:
            patch.setattr(transaction, "__exit__", counting)
            alice.propfind(alice.path("calendars", ""), names, depth=1)
        return sum(counts)

    publish(alice, label="")
    switch(alice, "publish-calendar", alice.path("calendars", "tasks", ""))
    names = ["{DAV:}resourcetype", cs("publish-url"), cs("pre-publish-url")]
    alice.mkcalendar(alice.path("calendars", "more"))
    few = cost(*names)
    assert few - cost(names[0]) == 2
    for number in range(6):
        alice.mkcalendar(alice.path("calendars", f"more-{number}"))
    assert cost(*names) == few


def test_what_is_kept_ready_is_bounded(serve: Serve) -> None:
    server = serve(feeds=FeedsConfig(published_memory=8000))
    alice = server.account("alice")
    feeds = []
    for number in range(6):
        alice.mkcalendar(alice.path("calendars", f"c{number}"))
        for at in range(5):
            name = f"{number}-{at}"
            alice.put(alice.path("calendars", f"c{number}", f"{at}.ics"), event(name, summary=f"{hash(name)}" * 5))
        feeds.append(publish(alice, path=f"c{number}"))
    for feed in feeds:
        assert ask(alice, feed, accept_encoding="gzip").status == 200
    ready = server.app.feeds.ready
    assert 0 < sum(map(len, ready._kept.values())) == ready._size <= 8000
    assert len(ready._kept) < len(feeds) or ready._size < 8000


def many_at_once(alice: Client, feed: Feed, count: int) -> list[Answer]:
    server = alice.server
    encodings = ["gzip" if number % 2 else "identity" for number in range(count)]
    return server.together(
        *(
            alice.anonymous().prepare("GET", f"/feeds/{feed.secret}.ics", accept_encoding=encoding)
            for encoding in encodings
        )
    )


def test_a_feed_that_many_ask_for_at_once_is_made_once(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = serve().account("alice")
    for number in range(20):
        put(alice, f"{number}.ics", event(f"u{number}"))
    feed = publish(alice)
    made: list[str] = []
    make = Door.make

    def slowly(self: Door, conn: Any, found: Any) -> Iterator[bytes]:
        made.append(found.feed.secret)
        time.sleep(0.1)
        return make(self, conn, found)

    monkeypatch.setattr(Door, "make", slowly)
    answers = many_at_once(alice, feed, 20)
    assert {answer.status for answer in answers} == {200}
    bodies = {gzip.decompress(one.body) if one.headers.get("content-encoding") else one.body for one in answers}
    assert len(bodies) == 1
    assert made == [feed.secret]
    put(alice, "more.ics", event("more"))
    many_at_once(alice, feed, 20)
    assert len(made) == 2


def test_what_is_too_large_to_be_kept_is_made_for_each(serve: Serve) -> None:
    alice = serve(feeds=FeedsConfig(published_memory=0)).account("alice")
    for number in range(5):
        put(alice, f"{number}.ics", event(f"u{number}"))
    answers = many_at_once(alice, publish(alice), 8)
    assert [answer.status for answer in answers] == [200] * 8
    assert alice.server.app.feeds.ready._making == {}


def test_nobody_waits_for_a_maker_that_fails_or_goes_away(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    door = alice.server.app.feeds
    failed, waiting = threading.Event(), threading.Event()

    def make(self: Door, conn: Any, found: Any) -> Iterator[bytes]:
        if not failed.is_set():
            assert waiting.wait(10)
            failed.set()
            raise StoreBusy("the first one, in vain")
        return iter((b"whole",))

    monkeypatch.setattr(Door, "make", make)
    conn: Any = None
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lambda: list(door._packed(conn, "key", conn)))
        while "key" not in door.ready._making:
            time.sleep(0.001)
        second = pool.submit(lambda: list(door._packed(conn, "key", conn)))
        waiting.set()
        assert isinstance(first.exception(10), StoreBusy)
        assert gzip.decompress(b"".join(second.result(10))) == b"whole"
    gone = door._packed(conn, "other", conn)
    next(gone)
    gone.close()  # its client closed the connection
    assert door.ready._making == {}
    assert door.ready.get("other") is not None


# ---- who may not -------------------------------------------------------------------------------------------------


def test_a_void_address_is_like_one_that_never_was(alice: Client) -> None:
    feed = publish(alice)
    never = ask(alice, "A" * 32)
    assert never.status == 404
    with transaction(alice.server.store, write=True) as conn:
        new = feeds_out.renew(conn, feed.id, NOW_S + 1)
    assert new.secret != feed.secret
    old = ask(alice, feed)
    assert (old.status, old.body) == (never.status, never.body)
    assert ask(alice, new).status == 200
    with transaction(alice.server.store, write=True) as conn:
        assert feeds_out.revoke(conn, feed.id)
        assert not feeds_out.revoke(conn, feed.id)
    gone = ask(alice, new)
    assert (gone.status, gone.body) == (never.status, never.body)


def test_the_address_ends_with_the_calendar_the_account_or_the_setting(serve: Serve) -> None:
    alice = serve().account("alice")
    feed = publish(alice)
    assert ask(alice, feed).status == 200
    assert ask(serve(feeds=FeedsConfig(published=False)).client(alice.account), feed).status == 404  # type: ignore[arg-type]
    assert alice.account is not None
    with transaction(alice.server.store, write=True) as conn:
        accounts.set_active(conn, alice.account.id, False)
    assert ask(alice, feed).status == 404
    with transaction(alice.server.store, write=True) as conn:
        accounts.set_active(conn, alice.account.id, True)
        collections.delete_collection(conn, of(alice), now_s=NOW_S)
    assert ask(alice, feed).status == 404
    with transaction(alice.server.store, write=True) as conn:
        accounts.remove_account(conn, alice.account.id)
    assert ask(alice, feed).status == 404


@pytest.mark.parametrize(
    "rest",
    ["", "x.ics", "A" * 200 + ".ics", "..%2f..%2fetc.ics", "%00.ics", "A" * 32 + ".exe", "A" * 32 + "/x.ics", "é.ics"],
)
def test_what_is_no_address_is_not_there(alice: Client, rest: str) -> None:
    publish(alice)
    answer = alice.anonymous().get(f"/feeds/{rest.encode().decode('latin-1')}")
    assert answer.status == 404


def test_nobody_guesses_for_long(alice: Client) -> None:
    feed = publish(alice)
    statuses = [ask(alice, f"{'B' * 30}{number:02}").status for number in range(30)]
    assert statuses[:20] == [404] * 20
    assert statuses[20:] == [429] * 10
    assert ask(alice, feed).status == 200  # who has the address is no guesser


def test_downloads_and_polls_have_bounds_of_their_own(serve: Serve) -> None:
    alice = serve(feeds=FeedsConfig(published_requests=20, published_downloads=3)).account("alice")
    feed = publish(alice)
    answers = [ask(alice, feed) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert int(answers[-1].headers["retry-after"]) > 0
    etag = answers[0].headers["etag"]
    assert [ask(alice, feed, if_none_match=etag).status for _ in range(17)] == [304] * 16 + [429]


def test_the_secret_is_in_no_log(alice: Client, caplog: pytest.LogCaptureFixture) -> None:
    feed = publish(alice)
    with caplog.at_level("DEBUG"):
        ask(alice, feed)
        ask(alice, feed, form="")
    assert "/feeds/***" in caplog.text
    assert feed.secret not in caplog.text


def test_a_conditional_field_that_cannot_be_read_is_400_and_no_crash(alice: Client) -> None:
    feed = publish(alice)
    for headers in ({"if_none_match": "\x7f,,,"}, {"if_modified_since": "yesterday"}, {"if_match": '"other"'}):
        assert ask(alice, feed, **headers).status in (200, 400, 412)
    assert ask(alice, feed, if_match='"other"').status == 412


# ---- calendar programs -------------------------------------------------------------------------------------------


def switch(client: Client, name: str, path: str = "") -> Answer:
    body = f'<?xml version="1.0" encoding="utf-8"?><CS:{name} xmlns:CS="http://calendarserver.org/ns/"/>'
    place = path or client.path("calendars", "calendar", "")
    return client.post(place, body, content_type="application/xml; charset=utf-8")


def urls(client: Client, path: str = "") -> tuple[str, str]:
    names = [cs("publish-url"), cs("pre-publish-url")]
    (found,) = client.propfind(path or client.path("calendars", "calendar", ""), names).values()
    texts = [found[name].findtext("{DAV:}href") if name in found else "" for name in names]
    return texts[0] or "", texts[1] or ""


def test_a_program_publishes_sees_the_address_and_takes_it_back(alice: Client) -> None:
    assert switch(alice, "publish-calendar").status == 202
    url, before = urls(alice)
    assert url == before
    assert url.startswith("http://dav.example/feeds/")
    assert url.endswith(".ics")
    assert alice.anonymous().get(url.removeprefix("http://dav.example")).status == 200
    assert switch(alice, "publish-calendar").status == 202
    assert urls(alice)[0] == url  # once more changes nothing
    assert switch(alice, "unpublish-calendar").status == 200
    assert urls(alice)[0] == ""
    assert alice.anonymous().get(url.removeprefix("http://dav.example")).status == 404
    assert switch(alice, "unpublish-calendar").status == 200


def test_the_address_shown_beforehand_is_the_one_it_gets_and_never_comes_back(alice: Client) -> None:
    switch(alice, "publish-calendar")
    switch(alice, "unpublish-calendar")
    seen = set()
    for _ in range(3):
        url, before = urls(alice)
        assert url == ""
        assert before
        assert alice.anonymous().get(before.removeprefix("http://dav.example")).status == 404
        switch(alice, "publish-calendar")
        assert urls(alice)[0] == before
        switch(alice, "unpublish-calendar")
        seen.add(before)
    assert len(seen) == 3


def test_taking_it_back_ends_every_address_but_those_for_somebody_in_particular(alice: Client) -> None:
    opened = [publish(alice, label=""), publish(alice, mode="busy", label="")]
    given = [publish(alice), publish(alice, mode="busy")]
    assert switch(alice, "unpublish-calendar").status == 200
    assert [ask(alice, feed).status for feed in opened] == [404, 404]
    assert [ask(alice, feed).status for feed in given] == [200, 200]


def test_what_was_given_to_somebody_in_particular_does_not_make_a_calendar_public(alice: Client) -> None:
    publish(alice)
    publish(alice, mode="busy", label="")
    assert urls(alice)[0] == ""
    feed = publish(alice, label="")
    assert urls(alice)[0] == f"http://dav.example/feeds/{feed.secret}.ics"


def test_publishing_shows_in_the_listing_that_programs_compare(alice: Client) -> None:
    place = alice.path("calendars", "calendar", "")

    def state() -> str:
        (found,) = alice.propfind(alice.path("calendars", ""), [cs("getctag")]).values()
        return str(found[cs("getctag")].text)

    first = state()
    switch(alice, "publish-calendar", place)
    assert state() != first


def test_somebody_else_publishes_nothing_and_sees_no_address(alice: Client, bob: Client) -> None:
    place = alice.path("calendars", "calendar", "")
    answer = switch(bob, "publish-calendar", place)
    nowhere = switch(bob, "publish-calendar", alice.path("calendars", "nothing", ""))
    assert answer.status == nowhere.status == 403
    with transaction(alice.server.store) as conn:
        assert feeds_out.feeds_of(conn, of(alice).id) == []


def test_only_calendars_and_address_books_are_published(alice: Client) -> None:
    for path in (("calendars", ""), ("calendars", "inbox", ""), ("files", "")):
        assert switch(alice, "publish-calendar", alice.path(*path)).status in (403, 405)
    assert switch(alice, "publish-calendar", alice.path("addressbooks", "contacts", "")).status == 202
    assert urls(alice, alice.path("addressbooks", "contacts", ""))[0].endswith(".vcf")


def test_the_setting_takes_publishing_away_from_programs(serve: Serve) -> None:
    alice = serve(feeds=FeedsConfig(published=False)).account("alice")
    assert switch(alice, "publish-calendar").status == 403
    assert urls(alice) == ("", "")


def test_a_calendar_has_no_more_addresses_than_the_setting_says(serve: Serve) -> None:
    alice = serve(feeds=FeedsConfig(published_most=2)).account("alice")
    publish(alice, mode="busy")
    publish(alice, mode="busy")
    assert switch(alice, "publish-calendar").status == 403


def test_the_address_is_that_of_the_settings_behind_a_proxy(serve: Serve) -> None:
    from dav.config import ServerConfig

    server = ServerConfig(public_url="https://cal.example.com", base_path="/dav-server")
    alice = serve(server=server).account("alice")
    place = "/dav-server" + alice.path("calendars", "calendar", "")
    assert switch(alice, "publish-calendar", place).status == 202
    url, _ = urls(alice, place)
    assert url.startswith("https://cal.example.com/dav-server/feeds/")
    assert alice.anonymous().get(url.removeprefix("https://cal.example.com")).status == 200


def test_publishing_is_written_down_without_the_secret(alice: Client) -> None:
    from storage import audit

    switch(alice, "publish-calendar")
    switch(alice, "unpublish-calendar")
    assert alice.account is not None
    with transaction(alice.server.store) as conn:
        found = [one for one in audit.entries(conn, alice.account.id) if "publish" in one.action]
    assert [one.action for one in found] == ["collection not published any more", "collection published"]
    assert {(one.subject, one.actor) for one in found} == {("calendars/calendar", "alice")}


def test_xml_that_cannot_be_read_is_refused_and_nothing_is_published(alice: Client) -> None:
    place = alice.path("calendars", "calendar", "")
    for body in ("<CS:publish-calendar", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"):
        assert alice.post(place, body, content_type="text/xml").status == 400
    unknown = '<x:y xmlns:x="urn:x"/>'
    assert alice.post(place, unknown, content_type="application/xml").status == 403
    assert urls(alice)[0] == ""


def test_the_store_keeps_what_it_says_of_a_feed(alice: Client) -> None:
    collection = of(alice)
    with transaction(alice.server.store, write=True) as conn:
        with pytest.raises(ValueError, match="whole or busy"):
            feeds_out.publish(conn, collection.id, mode="half", label="", now_s=NOW_S)
        one = feeds_out.publish(conn, collection.id, mode="busy", label="x" * 500, now_s=NOW_S)
        two = feeds_out.publish(conn, collection.id, mode="whole", label="", now_s=NOW_S)
        assert len(one.secret) >= 32  # six bits a character
        assert one.label == "x" * 200
        assert feeds_out.feeds_of(conn, collection.id) == [one, two]
        assert feeds_out.feeds_of_many(conn, [collection.id, 10**9]) == {collection.id: [one, two]}
        assert feeds_out.feed_by_id(conn, two.id) == (two, collection)
        assert feeds_out.feeds_of_account(conn, collection.owner_id) == [(one, collection), (two, collection)]
        found = feeds_out.find(conn, two.secret)
        assert found is not None
        assert (found.feed, found.collection) == (two, collection)
        renewed = feeds_out.renew(conn, two.id, NOW_S + 5)
        assert renewed == replace(two, secret=renewed.secret, created_s=NOW_S + 5)
        assert properties.get_properties(conn, collection.id) == {}
        assert feeds_out.revoke_open(conn, collection.id) == 1
        assert feeds_out.feeds_of(conn, collection.id) == [one]


@pytest.mark.parametrize(
    "line",
    ["CLASS:PRIVATE", "CLASS:CONFIDENTIAL", "CLASS:PRI\r\n VATE", "CLA\r\n SS:PRIVATE", 'CLASS;X-A="a:b":PRIVATE',
     "class: private", "item1.CLASS:PRIVATE", "CLASS:CLUB-SECRET"],
)  # fmt: skip
def test_a_card_that_is_not_public_is_in_no_feed_however_it_is_written(alice: Client, line: str) -> None:
    home = alice.path("addressbooks", "contacts")
    assert alice.put(f"{home}/a.vcf", card("a", name="Ann Able").replace("END:", "CLASS:PUBLIC\r\nEND:")).status == 201
    assert alice.put(f"{home}/b.vcf", card("b", name="Hidden").replace("END:", f"{line}\r\nEND:")).status == 201
    feed = publish(alice, area="addressbooks", path="contacts")
    for ending in (".vcf", ""):
        text = ask(alice, feed, ending).text
        assert "Ann Able" in text
        assert "Hidden" not in text


def test_what_the_address_would_be_is_for_the_owner_alone(alice: Client, bob: Client) -> None:
    share(alice.server.store, account_of(bob), "owner")
    mount = mount_of(bob)
    names = [cs("publish-url"), cs("pre-publish-url")]
    assert set(alice.propfind(OWN, names)[OWN]) == {cs("pre-publish-url")}
    for base in (OWN, mount):
        assert bob.propfind(base, names)[base] == {}
    assert bob.post(mount, element("CS:publish-calendar", ""), content_type="application/xml").status == 202
    for client, base in ((alice, OWN), (bob, OWN), (bob, mount)):
        assert set(client.propfind(base, names)[base]) == set(names)
