"""What a followed calendar becomes with each look, and what its owner's programs see of it."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest
from lxml import etree

from dav.config import Config, FeedsConfig
from dav.feeds import follow
from dav.feeds.fetch import FetchError
from dav.feeds.follow import DAY_S, RETRY_S, WEEK_S, interval_s, path_name, retry_s
from dav.feeds.names import STATE
from dav.feeds.split import name_of
from dav.names import c, cs, d, ical
from storage import accounts, feeds_in, objects, outbound, shares
from storage.engine import Store, transaction
from tests.dsl import NOW_S, Client
from tests.feeds.conftest import URL, Follow, Followed
from tests.feeds.feedtext import ALARM, calendar, club, event
from tests.protocol.test_statements import cost, propfind


def found_in(client: Client) -> dict[str, dict[str, etree._Element]]:
    return client.propfind("calendars/alice/", [STATE], depth=1)


def etags(client: Client, followed: Followed) -> dict[str, str]:
    found = client.propfind(followed.path, [d("getetag")], depth=1)
    return {
        href.rpartition("/")[2]: str(props[d("getetag")].text) for href, props in found.items() if d("getetag") in props
    }


# ---- what changes, and what does not ----


def test_each_event_becomes_a_member_under_a_name_made_of_its_uid(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    outcome = one.look(club(12))
    assert (outcome.kind, outcome.added, outcome.total) == ("changed", 12, 12)
    assert set(etags(alice, one)) == {name_of(f"club-{number}@x") for number in range(12)}
    answer = alice.get(one.path + name_of("club-3@x"))
    assert answer.status == 200
    assert "UID:club-3@x\r\n" in answer.text


def test_a_calendar_that_says_the_same_changes_nothing_for_any_device(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    one.look(club(12))
    before, (_, token) = etags(alice, one), alice.sync(one.path)
    outcome = one.look(club(12, stamp="20261122T090000Z"))  # made anew, as many programs do
    assert (outcome.kind, outcome.changed) == ("same", 0)
    assert etags(alice, one) == before
    assert alice.sync(one.path, token) == ({}, token)


def test_only_what_really_changed_is_told(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    one.look(calendar(event("a", "SUMMARY:A"), event("b", "SUMMARY:B"), event("c", "SUMMARY:C")))
    _, token = alice.sync(one.path)
    outcome = one.look(
        calendar(event("a", "SUMMARY:A", stamp="20261122T090000Z"), event("b", "SUMMARY:New"), event("d", "SUMMARY:D"))
    )
    assert (outcome.added, outcome.changed, outcome.removed, outcome.total) == (1, 1, 1, 3)
    found, _ = alice.sync(one.path, token)
    told = {href.rpartition("/")[2]: status for href, status in found.items()}
    assert told == {name_of("b"): 200, name_of("d"): 200, name_of("c"): 404}


def test_more_than_one_batch_arrives_and_goes(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    many = 2 * follow.BATCH + 7
    assert one.look(club(many)).added == many
    assert one.look(club(many // 2 + 5)).removed == many - many // 2 - 5


def test_no_history_is_kept_of_what_outsiders_write(alice: Client, followed: Follow, store: Store) -> None:
    one = followed(alice)
    one.look(club(3))
    one.look(calendar(event("club-0@x", "SUMMARY:Other"), event("club-1@x")))
    with transaction(store) as conn:
        conn.cursor.execute("SELECT count(*) FROM object_versions")
        assert conn.cursor.fetchone()[0] == 0


def test_a_304_leaves_everything_and_keeps_the_validators(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    one.look(club(3), etag='"1"', last_modified="then")
    assert one.look(None).kind == "same"
    assert (one.feed.etag, one.feed.last_modified, one.feed.good_s) == ('"1"', "then", one.now_s)


def test_alarms_and_attachments_are_left_out_as_the_owner_wants(alice: Client, followed: Follow) -> None:
    one = followed(alice, strip=("alarms", "attachments"))
    one.look(calendar(event("a", "ATTACH:https://x.example/y", *ALARM)))
    body = alice.get(one.path + name_of("a")).text
    assert "VALARM" not in body
    assert "ATTACH" not in body
    assert "UID:a" in body


def test_another_wish_about_what_is_left_out_reads_the_same_bytes_anew(
    alice: Client, followed: Follow, store: Store
) -> None:
    one = followed(alice)
    one.look(calendar(event("a", *ALARM)))
    with transaction(store, write=True) as conn:
        feeds_in.change(conn, one.id, url=URL, strip=(), interval_s=None, next_s=NOW_S)
    assert one.look(calendar(event("a", *ALARM))).changed == 1
    assert "VALARM" in alice.get(one.path + name_of("a")).text


def test_an_item_that_cannot_be_kept_is_noted_and_spoils_no_other(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    outcome = one.look(calendar(event("a"), event("b", "RRULE:FREQ=NEVER"), event("c")))
    assert (outcome.added, outcome.left_out) == (2, 1)
    assert "b" in one.feed.notes
    assert "RRULE" in one.feed.notes
    assert one.feed.error == ""


def test_an_item_that_was_good_and_is_broken_now_stays_as_it_was(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    one.look(calendar(event("a", "SUMMARY:Good"), event("b")))
    assert one.look(calendar(event("a", "SUMMARY:Bad", "RRULE:FREQ=NEVER"), event("b"))).left_out == 1
    assert "SUMMARY:Good" in alice.get(one.path + name_of("a")).text


def test_tasks_are_announced_only_when_there_are_some(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    one.look(calendar(event("a")))
    assert one.collection.components == ("VEVENT",)
    one.look(calendar(event("a"), ["BEGIN:VTODO", "UID:t", "SUMMARY:Do", "END:VTODO"]))
    assert one.collection.components == ("VEVENT", "VTODO")


# ---- what is not believed at once ----


def test_a_calendar_that_shrinks_a_lot_is_believed_the_second_time(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    one.look(club(20), etag='"1"')
    outcome = one.look(club(9))
    assert outcome.kind == "held"
    assert "11 are missing" in one.feed.error
    assert len(etags(alice, one)) == 20
    outcome = one.look(club(9))
    assert (outcome.kind, outcome.removed) == ("changed", 11)
    assert (one.feed.error, one.feed.held, one.feed.failures) == ("", False, 0)


def test_one_that_comes_back_is_as_if_nothing_had_been(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    one.look(club(20))
    before = etags(alice, one)
    one.look(calendar())
    assert one.look(club(20)).kind == "same"
    assert etags(alice, one) == before
    assert one.look(calendar()).kind == "held"  # what was held before does not count any more


def test_half_may_go_at_once_and_few_may_all_go(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    one.look(club(20))
    assert one.look(club(10)).kind == "changed"
    assert one.look(club(9)).kind == "changed"
    assert one.look(club(1)).kind == "changed"


def test_an_empty_calendar_is_believed_the_second_time_and_an_empty_answer_never(
    alice: Client, followed: Follow
) -> None:
    one = followed(alice)
    one.look(club(2))
    for _ in range(3):
        assert one.look(b"").kind == "failed"
    assert len(etags(alice, one)) == 2
    assert one.look(calendar()).kind == "held"
    assert one.look(calendar()).removed == 2


def test_an_outage_between_two_looks_does_not_change_what_is_held(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    one.look(club(2))
    one.look(calendar())
    one.fail(FetchError("It broke."))
    assert one.look(calendar()).removed == 2


def test_a_calendar_without_its_end_is_believed_the_second_time(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    assert one.look(calendar(event("a"), event("b"), end=False)).kind == "held"
    assert one.look(calendar(event("a"), event("b"), end=False)).added == 2


def test_one_that_is_cut_in_an_event_is_never_believed(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    one.look(club(6))
    cut = club(6)
    cut = cut[: cut.index(b"SUMMARY:Evening 4")]
    for _ in range(3):
        outcome = one.look(cut)
        assert (outcome.kind, outcome.removed) == ("failed", 0)
    assert len(etags(alice, one)) == 6


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"\x00\x01", b"BEGIN:VCARD\r\nEND:VCARD"])
def test_what_is_no_calendar_changes_nothing(alice: Client, followed: Follow, body: bytes) -> None:
    one = followed(alice)
    one.look(club(2))
    assert one.look(body).kind == "failed"
    assert len(etags(alice, one)) == 2
    assert "no calendar" in one.feed.error


def test_too_many_events_are_an_error(alice: Client, followed: Follow) -> None:
    one = followed(alice, settings=FeedsConfig(followed_events=5))
    assert one.look(club(5)).kind == "changed"
    assert "more than 5" in one.look(club(6)).error


def test_one_that_takes_too_long_to_read_goes_on_where_it_stopped(
    alice: Client, followed: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = followed(alice)
    monkeypatch.setattr(follow, "WORK_S", -1.0)
    assert "too long" in one.look(club(3)).error
    monkeypatch.setattr(follow, "WORK_S", 60.0)
    assert one.look(club(3)).added == 3


def test_a_quota_that_is_used_up_is_an_error_that_the_owner_sees(alice: Client, followed: Follow, store: Store) -> None:
    assert alice.account is not None
    one = followed(alice)
    with transaction(store, write=True) as conn:
        accounts.update_account(conn, alice.account.id, quota_bytes=1000)
    assert one.look(club(50)).kind == "failed"
    assert "quota" in one.feed.error
    assert etags(alice, one) == {}
    with transaction(store, write=True) as conn:
        accounts.update_account(conn, alice.account.id, quota_bytes=None)
    assert one.look(club(50)).added == 50


# ---- when ----


def test_the_owner_s_wish_comes_before_the_calendar_s_and_that_before_the_setting() -> None:
    config = FeedsConfig(followed_minutes=120, followed_minutes_least=15)
    assert interval_s(config, None, None) == 7200
    assert interval_s(config, None, 6 * 3600) == 6 * 3600
    assert interval_s(config, 3600, 6 * 3600) == 3600
    assert interval_s(config, 60, None) == interval_s(config, None, 1) == 900
    assert interval_s(config, None, 400 * DAY_S) == WEEK_S


def test_failures_make_looks_rarer_up_to_a_day() -> None:
    waits = [retry_s(failures) for failures in range(1, 12)]
    assert waits[:3] == [RETRY_S, 2 * RETRY_S, 4 * RETRY_S]
    assert waits == sorted(waits)
    assert waits[-1] == DAY_S == retry_s(10_000)
    assert retry_s(1, status=410) == DAY_S
    assert retry_s(1, status=404) < DAY_S
    assert retry_s(3, status=404) == DAY_S
    assert retry_s(1, status=503, retry_after_s=4000) == 4000
    assert retry_s(1, status=429, retry_after_s=10**9) == DAY_S
    assert retry_s(1, held=True) > RETRY_S


def test_what_the_calendar_asks_for_is_kept_over_answers_that_say_nothing(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    one.look(calendar(event("a"), head=("REFRESH-INTERVAL;VALUE=DURATION:PT6H",)), etag='"1"')
    for _ in range(3):
        one.look(None)
        assert 0.85 * 21_600 < one.feed.next_s - one.now_s < 1.15 * 21_600


def test_a_failure_is_counted_and_shown_and_the_last_good_look_stays(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    one.look(club(2))
    good_s = one.now_s
    for number in (1, 2):
        one.fail(FetchError("The server answers with an error (500).", status=500))
        assert (one.feed.failures, one.feed.good_s, one.feed.checked_s) == (number, good_s, one.now_s)
    assert len(etags(alice, one)) == 2
    one.look(club(2))
    assert (one.feed.failures, one.feed.error) == (0, "")


def test_each_calendar_is_taken_by_one_worker_until_its_lease_ends(
    alice: Client, followed: Follow, store: Store
) -> None:
    ids = {followed(alice, f"{URL}?{number}").id for number in range(5)}

    def take(holder: str, now_s: int, limit: int = 10) -> set[int]:
        with transaction(store, write=True) as conn:
            return {one.id for one, _ in feeds_in.take(conn, holder=holder, now_s=now_s, lease_s=600, limit=limit)}

    first = take("one", NOW_S, 3)
    assert len(first) == 3
    second = take("two", NOW_S)
    assert first | second == ids
    assert not first & second
    assert take("three", NOW_S + 599) == set()
    assert take("three", NOW_S + 600) == ids


def test_nothing_is_due_before_its_time_and_disabled_accounts_wait(
    alice: Client, followed: Follow, store: Store
) -> None:
    assert alice.account is not None
    one = followed(alice)
    with transaction(store, write=True) as conn:
        assert not feeds_in.any_due(conn, NOW_S - 1)
        assert feeds_in.any_due(conn, NOW_S)
        accounts.set_active(conn, alice.account.id, False)
        assert not feeds_in.any_due(conn, NOW_S)
        assert feeds_in.take(conn, holder="w", now_s=NOW_S, lease_s=600, limit=9) == []
        accounts.set_active(conn, alice.account.id, True)
        assert [found.id for found, _ in feeds_in.take(conn, holder="w", now_s=NOW_S, lease_s=600, limit=9)] == [one.id]


def test_what_is_removed_while_it_is_fetched_is_not_written(alice: Client, followed: Follow, store: Store) -> None:
    one = followed(alice)
    taken = one.take()
    assert alice.delete(one.path).status == 204
    fetched = follow.Fetched(club(3), URL)
    assert follow.apply(store, one.config, taken, fetched, one.holder, one.now_s).kind == "lost"
    assert follow._note_failure(store, one.config, taken, FetchError("x"), one.holder, one.now_s).kind == "lost"
    with transaction(store) as conn:
        assert objects.list_objects(conn, one.id) == []
        assert not feeds_in.any_due(conn, one.now_s + DAY_S)


def test_what_is_changed_while_it_is_fetched_is_not_written(alice: Client, followed: Follow, store: Store) -> None:
    one = followed(alice)
    taken = one.take()
    with transaction(store, write=True) as conn:
        feeds_in.change(conn, one.id, url="https://other.example/", strip=(), interval_s=None, next_s=NOW_S)
    assert follow.apply(store, one.config, taken, follow.Fetched(club(3), URL), one.holder, one.now_s).kind == "lost"
    assert one.feed.url == "https://other.example/"
    assert etags(alice, one) == {}


def test_a_permanent_redirect_is_kept(alice: Client, followed: Follow, store: Store) -> None:
    one = followed(alice)
    fetched = follow.Fetched(club(3), "https://new.example/all.ics")
    assert follow.apply(store, one.config, one.take(), fetched, one.holder, one.now_s).good
    assert one.feed.url == "https://new.example/all.ics"


# ---- what programs see ----


def test_nobody_writes_into_a_followed_calendar(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    one.look(club(3))
    before = etags(alice, one)
    member, body = one.path + name_of("club-0@x"), calendar(event("mine"))
    assert alice.put("calendars/alice/calendar/mine.ics", body).status == 201
    answers = [
        alice.put(one.path + "new.ics", body),
        alice.put(member, alice.get(member).body.replace(b"Evening", b"Morning")),
        alice.delete(member),
        alice.move(member, "calendars/alice/calendar/moved.ics"),
        alice.move("calendars/alice/calendar/mine.ics", one.path + "mine.ics"),
        alice.copy("calendars/alice/calendar/mine.ics", one.path + "mine.ics"),
        alice.post(one.path, body, content_type="text/calendar"),
    ]
    assert [(answer.status, answer.condition) for answer in answers] == [(403, d("need-privileges"))] * len(answers)
    assert etags(alice, one) == before


def test_programs_see_that_they_cannot_write_there(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    one.look(club(1))
    for path in (one.path, one.path + name_of("club-0@x")):
        (props,) = alice.propfind(path, [d("current-user-privilege-set")]).values()
        granted = {str(item[0].tag) for item in props[d("current-user-privilege-set")]}
        assert d("read") in granted
        assert not granted & {d("all"), d("write"), d("write-content"), d("bind"), d("unbind")}


def test_an_event_can_be_copied_out_into_an_own_calendar(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    one.look(club(1))
    assert alice.copy(one.path + name_of("club-0@x"), "calendars/alice/calendar/copy.ics").status == 201


def test_name_and_colour_are_the_owner_s_and_no_look_takes_them_back(alice: Client, followed: Follow) -> None:
    one = followed(alice, display_name=None)
    head = ("X-WR-CALNAME:Their name", "X-APPLE-CALENDAR-COLOR:#112233")
    one.look(calendar(event("a"), head=head))
    (props,) = alice.propfind(one.path, [d("displayname"), ical("calendar-color")]).values()
    assert [props[name].text for name in (d("displayname"), ical("calendar-color"))] == ["Their name", "#112233FF"]
    answer = alice.proppatch(
        one.path,
        "<D:set><D:prop><D:displayname>Mine</D:displayname><IC:calendar-color>#445566FF</IC:calendar-color></D:prop></D:set>",
    )
    assert {status for item in answer.responses.values() for status in item.by_status} == {200}
    one.look(calendar(event("a"), event("b"), head=head))
    (props,) = alice.propfind(one.path, [d("displayname"), ical("calendar-color")]).values()
    assert [props[name].text for name in (d("displayname"), ical("calendar-color"))] == ["Mine", "#445566FF"]


def test_the_calendar_itself_can_be_removed_and_is_not_fetched_any_more(
    alice: Client, followed: Follow, store: Store
) -> None:
    one = followed(alice)
    one.look(club(3))
    assert alice.delete(one.path).status == 204
    assert alice.get(one.path).status == 404
    with transaction(store) as conn:
        assert not feeds_in.any_due(conn, NOW_S + 100 * DAY_S)
        assert alice.account is not None
        assert feeds_in.feeds_of(conn, alice.account.id) == []


def test_it_is_a_calendar_and_no_subscription_of_the_program_s_own(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    one.look(club(1))
    answer = alice.propfind_raw(one.path, [d("resourcetype"), cs("source")])
    (item,) = answer.responses.values()
    assert {str(child.tag) for child in item.props[d("resourcetype")]} == {d("collection"), c("calendar")}
    assert cs("source") in item.by_status[404]


def test_its_owner_sees_how_it_does_without_the_password(alice: Client, followed: Follow) -> None:
    one = followed(alice, "https://me:geheim@club.example/all.ics")
    one.look(calendar(event("a"), event("b", "RRULE:FREQ=NEVER")))
    one.fail(FetchError("There is nothing at this address (404).", status=404))
    (props,) = alice.propfind(one.path, [STATE]).values()
    found = {str(child.tag).rpartition("}")[2]: str(child.text) for child in props[STATE]}
    assert found["source"] == "https://club.example/all.ics"
    assert found["error"] == "There is nothing at this address (404)."
    assert found["good"] < found["checked"] < found["next"]
    assert "RRULE" in found["note"]
    assert b"geheim" not in alice.propfind_raw(one.path, [STATE]).body


def test_how_it_does_is_told_for_a_whole_home_without_a_statement_for_each(alice: Client, followed: Follow) -> None:
    costs = []
    for wanted in (1, 6):
        while sum(STATE in props for props in found_in(alice).values()) < wanted:
            followed(alice, f"{URL}?{secrets.token_hex(4)}").look(club(1))
        costs.append(cost(alice, propfind("/dav/calendars/alice/", [STATE], 1)))
    assert costs[0] == costs[1]


def test_how_it_does_cannot_be_written_and_stands_at_no_other_calendar(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    one.look(club(1))
    text = f"<D:set><D:prop><followed xmlns='{STATE[1:].partition('}')[0]}'>well</followed></D:prop></D:set>"
    for path in (one.path, "calendars/alice/calendar/"):
        answer = alice.proppatch(path, text)
        assert {status for item in answer.responses.values() for status in item.by_status} == {403}, path
    (item,) = alice.propfind_raw("calendars/alice/calendar/", [STATE]).responses.values()
    assert STATE in item.by_status[404]


def test_a_meeting_in_a_followed_calendar_is_nobody_s_meeting(
    alice: Client, bob: Client, followed: Follow, store: Store
) -> None:
    people = (
        "ORGANIZER:mailto:alice@example.com",
        "ATTENDEE:mailto:bob@example.com",
        "ATTENDEE:mailto:out@else.example",
    )
    assert alice.account is not None
    with transaction(store, write=True) as conn:
        accounts.add_address(conn, alice.account.id, "alice@example.com", primary=True)
    one = followed(alice)
    one.look(calendar(event("meeting", *people)))
    answer = alice.get(one.path + name_of("meeting"))
    assert "ORGANIZER:mailto:alice@example.com" in answer.text
    assert "schedule-tag" not in answer.headers
    one.look(calendar(event("meeting", *people, start="20261202T120000Z")))
    one.look(calendar(event("other")))
    with transaction(store) as conn:
        assert outbound.list_outgoing(conn, limit=10) == []
    assert [href for href in bob.sync("calendars/bob/inbox/")[0] if href.endswith(".ics")] == []
    # The same meeting may stand in an own calendar too: it is that one which counts.
    assert alice.put("calendars/alice/calendar/m.ics", calendar(event("other", *people[:1]))).status == 201


def test_whoever_it_is_shared_with_reads_it_and_does_not_learn_where_it_comes_from(
    alice: Client, bob: Client, followed: Follow, store: Store
) -> None:
    one = followed(alice)
    one.look(club(2))
    assert bob.account is not None
    with transaction(store, write=True) as conn:
        shares.put_share(
            conn, one.collection, str(bob.account.id), access="write", state="accepted", address="", common_name="",
            summary="", now_s=NOW_S,
        )  # fmt: skip
        shares.settle(conn, collection_id=one.id, now_s=NOW_S)
    found = bob.propfind("calendars/bob/", [d("displayname"), STATE], depth=1)
    (mount,) = {href for href, props in found.items() if d("displayname") in props and "lub" in href}
    assert all(STATE not in props for props in found.values())
    assert alice.account is not None
    for path in (mount, one.path):
        assert bob.get(path.rstrip("/") + "/" + name_of("club-0@x")).status == 200
        assert b"club.example" not in bob.propfind_raw(path, [STATE, cs("source")]).body
        answer = bob.put(path.rstrip("/") + "/x.ics", calendar(event("x")))
        assert (answer.status, answer.condition) == (403, d("need-privileges"))


def test_its_events_do_not_make_its_owner_busy(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    (props,) = alice.propfind(one.path, [c("schedule-calendar-transp")]).values()
    assert [str(child.tag) for child in props[c("schedule-calendar-transp")]] == [c("transparent")]


def test_queries_find_what_is_in_it(alice: Client, followed: Follow) -> None:
    one = followed(alice)
    one.look(calendar(event("a", start="20261201T120000Z"), event("b", start="20270301T120000Z")))
    answer = alice.report(
        one.path,
        '<C:calendar-query xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:D="DAV:"><D:prop><D:getetag/></D:prop>'
        '<C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT"><C:time-range start="20261130T000000Z" '
        'end="20261205T000000Z"/></C:comp-filter></C:comp-filter></C:filter></C:calendar-query>',
        depth=1,
    )
    assert [href.rpartition("/")[2] for href in answer.responses] == [name_of("a")]


def test_two_of_one_name_stand_beside_each_other(alice: Client, followed: Follow) -> None:
    assert [followed(alice, f"{URL}?{number}").collection.path for number in range(3)] == ["club", "club-2", "club-3"]


@pytest.mark.parametrize(
    ("text", "name"),
    [("Müllabfuhr 2026 / Nord", "mullabfuhr-2026-nord"), ("日本", "calendar"), ("", "calendar"), ("../..", "calendar"),
     ("a" * 90, "a" * 40)],
)  # fmt: skip
def test_names_in_addresses_are_plain(text: str, name: str) -> None:
    assert path_name(text) == name


def test_an_account_may_follow_so_many_and_each_once(alice: Client, followed: Follow, store: Store) -> None:
    assert alice.account is not None
    one = followed(alice)
    config = Config(feeds=FeedsConfig(followed_most=2))
    with pytest.raises(follow.CannotFollow, match="already"):
        follow.check_room(store, config, alice.account.id, one.feed.url)
    follow.check_room(store, config, alice.account.id, "https://x.example/")
    followed(alice, "https://y.example/")
    with pytest.raises(follow.CannotFollow, match="may follow 2"):
        follow.check_room(store, config, alice.account.id, "https://x.example/")
    with pytest.raises(follow.CannotFollow, match="not followed here"):
        follow.check_room(
            store, replace(config, feeds=FeedsConfig(followed=False)), alice.account.id, "https://x.example/"
        )


def test_removing_the_account_removes_what_it_follows(alice: Client, followed: Follow, store: Store) -> None:
    assert alice.account is not None
    followed(alice).look(club(3))
    with transaction(store, write=True) as conn:
        accounts.remove_account(conn, alice.account.id)
        assert feeds_in.list_feeds(conn) == []
