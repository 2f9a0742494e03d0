"""Subscriptions that Apple's programs keep on the server, and the calendars that the server follows because of them."""

from __future__ import annotations

import pytest

from dav.config import Config, FeedsConfig
from dav.feeds.apple import PREFIX, follow_apple
from dav.feeds.names import FROM
from dav.jobs import JOBS
from dav.names import c, cs, d, ical
from storage import feeds_in
from storage.engine import Store, transaction
from storage.feeds_in import Feed
from storage.records import Collection
from tests.dsl import NOW_S, Answer, Client
from tests.feeds.conftest import Follow
from tests.feeds.feedtext import club

HOME = "calendars/alice/"
PLACE = HOME + "A5D8D8C2-4F0F-4C5B-9C5F-2C9A5F1D2B11/"
SOURCE = "webcal://holidays.example/de?region=BE&amp;lang=de"
CONFIG = Config(feeds=FeedsConfig(followed_from_apple=True))
# What Calendar of macOS sends, with prefixes of its own.
PROPS = (
    "<A:displayname>Holidays</A:displayname>"
    '<E:calendar-color xmlns:E="http://apple.com/ns/ical/" symbolic-color="custom">#FF2968FF</E:calendar-color>'
    '<E:calendar-order xmlns:E="http://apple.com/ns/ical/">7</E:calendar-order>'
    "<A:resourcetype><A:collection/><F:subscribed/></A:resourcetype>"
    f"<F:source><A:href>{SOURCE}</A:href></F:source>"
    '<E:refreshrate xmlns:E="http://apple.com/ns/ical/">P1D</E:refreshrate>'
    "<F:subscribed-strip-alarms/><F:subscribed-strip-attachments/>"
)
OWN = [cs("source"), ical("refreshrate"), cs("subscribed-strip-alarms"), cs("subscribed-strip-attachments"),
       cs("subscribed-strip-todos"), d("displayname"), ical("calendar-color"), ical("calendar-order"),
       d("resourcetype")]  # fmt: skip


def body(root: str, props: str = PROPS) -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><{root} xmlns:A="DAV:" xmlns:B="urn:ietf:params:xml:ns:caldav" '
        f'xmlns:F="http://calendarserver.org/ns/"><A:set><A:prop>{props}</A:prop></A:set></{root}>'
    )


def subscribe(client: Client, props: str = PROPS) -> Answer:
    return client.mkcalendar(PLACE, body("B:mkcalendar", props), content_type="text/xml")


def ours(store: Store) -> list[tuple[Collection, Feed]]:
    with transaction(store) as conn:
        return [(one, feed) for one, feed, _ in feeds_in.feeds_with(conn, FROM)]


@pytest.mark.parametrize("verb", ["MKCALENDAR", "MKCOL"])
def test_a_subscription_is_kept_and_given_back_as_it_was_sent(alice: Client, verb: str) -> None:
    root = "B:mkcalendar" if verb == "MKCALENDAR" else "A:mkcol"
    assert alice.request(verb, PLACE, body(root), content_type="text/xml").status == 201
    (item,) = alice.propfind_raw(PLACE, OWN).responses.values()
    props = item.props
    assert {str(child.tag) for child in props[d("resourcetype")]} == {d("collection"), cs("subscribed")}
    (href,) = props[cs("source")]
    assert (href.tag, href.text) == (d("href"), SOURCE.replace("&amp;", "&"))
    assert props[ical("refreshrate")].text == "P1D"
    assert len(props[cs("subscribed-strip-alarms")]) == 0
    assert cs("subscribed-strip-attachments") in props
    assert cs("subscribed-strip-todos") in item.by_status[404]
    assert props[d("displayname")].text == "Holidays"
    assert props[ical("calendar-color")].get("symbolic-color") == "custom"
    assert props[ical("calendar-order")].text == "7"


def test_other_devices_find_it_in_the_home_as_they_look_for_it(alice: Client) -> None:
    """As DAVx5 looks for feeds that it leaves to ICSx5, and as Calendar of macOS and iOS list a home."""
    subscribe(alice)
    names = [d("resourcetype"), d("displayname"), d("current-user-privilege-set"), d("owner"), ical("calendar-color"),
             c("calendar-description"), c("supported-calendar-component-set"), cs("source")]  # fmt: skip
    found = alice.propfind(HOME, names, depth=1)
    subscribed = {
        href: props for href, props in found.items()
        if cs("subscribed") in {str(child.tag) for child in props[d("resourcetype")]}
    }  # fmt: skip
    (props,) = subscribed.values()
    assert props[cs("source")].findtext(d("href")) == SOURCE.replace("&amp;", "&")
    with_source = [href for href, props in found.items() if cs("source") in props]
    assert with_source == list(subscribed)


def test_its_name_source_and_wishes_can_be_changed_and_it_can_be_removed(alice: Client) -> None:
    subscribe(alice)
    change = (
        "<D:set><D:prop><CS:source><D:href>https://new.example/x.ics</D:href></CS:source>"
        "<D:displayname>New</D:displayname></D:prop></D:set>"
        "<D:remove><D:prop><CS:subscribed-strip-alarms/></D:prop></D:remove>"
    )
    answer = alice.proppatch(PLACE, change)
    assert {status for item in answer.responses.values() for status in item.by_status} == {200}
    (item,) = alice.propfind_raw(PLACE, OWN).responses.values()
    assert item.props[cs("source")].findtext(d("href")) == "https://new.example/x.ics"
    assert cs("subscribed-strip-alarms") in item.by_status[404]
    assert alice.delete(PLACE).status == 204
    assert alice.propfind_raw(PLACE, OWN).status == 404


def test_nothing_is_stored_in_it(alice: Client) -> None:
    subscribe(alice)
    answer = alice.put(PLACE + "a.ics", club(1))
    assert (answer.status, answer.condition) == (403, d("need-privileges"))


def test_the_server_leaves_it_to_the_programs_unless_it_is_told(alice: Client, store: Store) -> None:
    subscribe(alice)
    job = next(job for job in JOBS if job.name == "follow-apple")
    assert not job.wanted(Config())
    assert job.wanted(CONFIG)
    assert not job.wanted(Config(feeds=FeedsConfig(followed=False, followed_from_apple=True)))


def test_the_server_follows_it_as_the_program_was_told_to(alice: Client, store: Store) -> None:
    subscribe(alice)
    assert follow_apple(store, CONFIG, NOW_S) != ""
    ((calendar, feed),) = ours(store)
    assert (calendar.kind, calendar.origin, calendar.display_name) == ("calendar", "feed", "Holidays")
    assert feed.url == SOURCE.replace("&amp;", "&")
    assert feed.strip == ("alarms", "attachments")
    assert feed.interval_s == 86_400
    assert feed.next_s <= NOW_S
    assert follow_apple(store, CONFIG, NOW_S + 60) == ""
    assert len(ours(store)) == 1


def test_it_changes_and_ends_with_the_subscription(alice: Client, store: Store) -> None:
    subscribe(alice)
    follow_apple(store, CONFIG, NOW_S)
    alice.proppatch(PLACE, "<D:set><D:prop><CS:source><D:href>https://n.example/</D:href></CS:source></D:prop></D:set>")
    follow_apple(store, CONFIG, NOW_S + 60)
    ((calendar, feed),) = ours(store)
    assert feed.url == "https://n.example/"
    alice.delete(PLACE)
    follow_apple(store, CONFIG, NOW_S + 120)
    assert ours(store) == []
    assert alice.get(f"{HOME}{calendar.path}/").status == 404


def test_a_redirect_is_not_undone_as_long_as_the_subscription_says_the_same(alice: Client, store: Store) -> None:
    subscribe(alice)
    follow_apple(store, CONFIG, NOW_S)
    ((calendar, _),) = ours(store)
    with transaction(store, write=True) as conn:
        feeds_in.take_one(conn, calendar.id, holder="w", now_s=NOW_S, lease_s=60)
        good = feeds_in.Good("https://moved.example/", "", "", "d", None, NOW_S + 9999, "")
        assert feeds_in.went_well(conn, calendar.id, good, holder="w", now_s=NOW_S)
    assert follow_apple(store, CONFIG, NOW_S + 60) == ""
    ((_, feed),) = ours(store)
    assert feed.url == "https://moved.example/"


def test_what_its_owner_removed_does_not_come_again(alice: Client, store: Store) -> None:
    subscribe(alice)
    follow_apple(store, CONFIG, NOW_S)
    ((calendar, _),) = ours(store)
    assert alice.delete(f"{HOME}{calendar.path}/").status == 204
    assert follow_apple(store, CONFIG, NOW_S + 60) == ""
    assert ours(store) == []


@pytest.mark.parametrize(
    "source",
    ["<A:href>file:///etc/passwd</A:href>", "<A:href></A:href>", "", "text", "<A:href>javascript:x</A:href>"],
)  # fmt: skip
def test_a_source_that_cannot_be_followed_is_kept_for_the_program_only(
    alice: Client, store: Store, source: str
) -> None:
    props = PROPS.replace(f"<A:href>{SOURCE}</A:href>", source)
    assert subscribe(alice, props).status == 201
    assert follow_apple(store, CONFIG, NOW_S) == ""
    assert ours(store) == []


def test_an_odd_refresh_rate_is_overlooked(alice: Client, store: Store) -> None:
    subscribe(alice, PROPS.replace(">P1D<", ">soon<"))
    follow_apple(store, CONFIG, NOW_S)
    assert [feed.interval_s for _, feed in ours(store)] == [None]


def test_what_somebody_follows_by_himself_is_let_alone_whatever_it_is_called(
    alice: Client, followed: Follow, store: Store
) -> None:
    one = followed(alice, name=f"{PREFIX}store", display_name="Apple Store")
    assert follow_apple(store, CONFIG, NOW_S) == ""
    assert one.collection.path == f"{PREFIX}store"
