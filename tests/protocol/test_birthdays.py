"""Birthdays and anniversaries of the contacts as a calendar of their own."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date

import pytest

from dav import jobs
from dav.config import Config, DerivedConfig
from dav.derived import birthdays
from dav.derived.birthdays import Day, days_of
from dav.ical.lines import read
from dav.ical.recur import calendar_object, iter_occurrences
from dav.ical.rrule import Budget
from dav.ical.tz import UTC
from dav.mail.texts import texts_for
from dav.names import c, d, ical
from storage import accounts, collections, derived, feeds_out
from storage.engine import transaction
from tests.dsl import Client, Server, card, element
from tests.protocol.conftest import Serve
from tests.protocol.sharing_world import account_of, mount_of, share


def person(uid: str, *lines: str, name: str = "Anna Arnold", version: str = "3.0") -> str:
    return card(uid, name=name, version=version).replace(
        "END:VCARD", "".join(f"{one}\r\n" for one in lines) + "END:VCARD"
    )


def days(*lines: str, version: str = "3.0") -> list[tuple[str, int | None, int, int]]:
    found = days_of(person("u", *lines, version=version).encode())
    return [(day.kind, day.year, day.month, day.day) for day in found]


# ---- what a card says --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "when"),
    [
        ("BDAY:1996-04-15", (1996, 4, 15)),
        ("BDAY:19960415", (1996, 4, 15)),
        ("BDAY;VALUE=date:1996-04-15", (1996, 4, 15)),
        ("BDAY:1953-10-15T23:10:00Z", (1953, 10, 15)),
        ("BDAY:19531015T231000-0600", (1953, 10, 15)),
        ("BDAY;VALUE=DATE-AND-OR-TIME:--0412", (None, 4, 12)),
        ("BDAY:--0412T0800", (None, 4, 12)),
        ("BDAY:--04-12", (None, 4, 12)),
        ("BDAY;X-APPLE-OMIT-YEAR=1604:1604-04-12", (None, 4, 12)),
        ("BDAY;VALUE=date;X-APPLE-OMIT-YEAR=1604:1604-02-29", (None, 2, 29)),
        ("BDAY:1604-04-12", (None, 4, 12)),
        ("BDAY:0000-04-12", (None, 4, 12)),
        ("item1.BDAY:1996-02-29", (1996, 2, 29)),
        ("bday:1996-04-15", (1996, 4, 15)),
    ],
)  # fmt: skip
def test_a_birthday_is_read_in_every_spelling(line: str, when: tuple[int | None, int, int]) -> None:
    for version in ("3.0", "4.0"):
        assert days(line, version=version) == [("birthday", *when)]


@pytest.mark.parametrize(
    "line",
    [
        "BDAY;VALUE=text:circa 1800", "BDAY;VALUE=text:19960415", "BDAY:1996", "BDAY:1996-04", "BDAY:---15",
        "BDAY:--04", "BDAY:T102200", "BDAY:1995-02-29", "BDAY:1996-13-01", "BDAY:", "BDAY:٢٠٠٠-٠١-٠١",
        "BDAY;CALSCALE=chinese:20000101", "NOTE:BDAY:1996-04-15", "X-ALTBDAY;CALSCALE=chinese:29641231",
    ],
)  # fmt: skip
def test_what_is_no_day_of_the_year_makes_no_event(line: str) -> None:
    assert days(line) == []


@pytest.mark.parametrize(
    "lines",
    [
        ("ANNIVERSARY:20100612",),
        ("X-ANNIVERSARY:2010-06-12",),
        ("X-EVOLUTION-ANNIVERSARY:2010-06-12",),
        ("item1.X-ABDATE;type=pref:2010-06-12", "item1.X-ABLabel:_$!<Anniversary>!$_"),
        ("item2.X-ABLabel:_$!<Anniversary>!$_", "item2.X-ABDATE:2010-06-12"),
        ("ANNIVERSARY:20100612", "X-ANNIVERSARY:2011-01-01"),
    ],
)
def test_an_anniversary_is_found_where_programs_put_it(lines: tuple[str, ...]) -> None:
    assert days(*lines) == [("anniversary", 2010, 6, 12)]


def test_other_dates_of_apple_are_no_anniversaries() -> None:
    assert days("item1.X-ABDATE:2010-06-12", "item1.X-ABLabel:_$!<Other>!$_") == []
    assert days("item1.X-ABDATE:2010-06-12", "item2.X-ABLabel:_$!<Anniversary>!$_") == []


def test_both_days_of_a_card_are_found_in_one_order() -> None:
    assert [day[0] for day in days("ANNIVERSARY:20100612", "BDAY:1996-04-15")] == ["birthday", "anniversary"]


def test_the_first_date_that_can_be_read_counts() -> None:
    assert days("BDAY;VALUE=text:spring", "BDAY:1996-04-15", "BDAY:1997-04-15") == [("birthday", 1996, 4, 15)]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("FN:\r\nN:Arnold;Anna;;;", "Anna Arnold"),
        ("N:;;;;\r\nORG:Acme;Sales", "Acme;Sales"),
        ("FN: Anna\\, \\nthe  Great ", "Anna, the Great"),
        ("NICKNAME:Annie", "Annie"),
    ],
)
def test_somebody_is_called_by_the_name_there_is(body: str, name: str) -> None:
    text = f"BEGIN:VCARD\r\nVERSION:3.0\r\n{body}\r\nBDAY:1996-04-15\r\nEND:VCARD\r\n"
    assert [day.name for day in days_of(text.encode())] == [name]


@pytest.mark.parametrize(
    "text",
    [
        "BEGIN:VCARD\r\nVERSION:3.0\r\nBDAY:1996-04-15\r\nEND:VCARD\r\n",
        "BEGIN:VCARD\r\nVERSION:4.0\r\nKIND:group\r\nFN:All\r\nBDAY:1996-04-15\r\nEND:VCARD\r\n",
        "BEGIN:VCARD\r\nBDAY:1996-04-15\r\n",
        "BDAY:1996-04-15\r\n",
        "",
    ],
)
def test_a_group_a_nameless_card_and_a_broken_one_have_no_days(text: str) -> None:
    assert days_of(text.encode()) == []


# ---- the event ---------------------------------------------------------------------------------------------------


def shown(day: Day, first: date, last: date) -> list[date]:
    (calendar,) = read(birthdays.event(day, "u", texts_for("en"))).components
    span = ((one - date(1970, 1, 1)).days * 86_400 for one in (first, last))
    found = iter_occurrences(calendar_object(calendar), *span, floating_zone=UTC, budget=Budget(10_000))
    return sorted(one.start.local.date() for one in found)


def test_an_event_is_a_free_whole_day_every_year_since_the_first() -> None:
    body = birthdays.event(Day("birthday", 4, 15, 1996, "Anna, née Arnold"), "u", texts_for("de")).decode()
    for line in (
        "DTSTART;VALUE=DATE:19960415", "RRULE:FREQ=YEARLY", "TRANSP:TRANSPARENT",
        "SUMMARY:Geburtstag: Anna\\, née Arnold (1996)",
    ):  # fmt: skip
        assert f"\r\n{line}\r\n" in body
    assert "VALARM" not in body
    day = Day("birthday", 4, 15, 1996, "A")
    assert shown(day, date(1994, 1, 1), date(1999, 1, 1)) == [date(year, 4, 15) for year in (1996, 1997, 1998)]


def test_the_29th_of_february_stays_the_last_day_of_february() -> None:
    for year in (1996, None):
        found = shown(Day("birthday", 2, 29, year, "A"), date(2023, 1, 1), date(2029, 1, 1))
        assert found == [
            date(2023, 2, 28), date(2024, 2, 29), date(2025, 2, 28), date(2026, 2, 28), date(2027, 2, 28),
            date(2028, 2, 29),
        ]  # fmt: skip


def test_a_day_without_a_year_says_none() -> None:
    body = birthdays.event(Day("birthday", 4, 12, None, "Anna"), "u", texts_for("fr")).decode()
    assert "SUMMARY:Anniversaire : Anna\r\n" in body
    assert shown(Day("birthday", 4, 12, None, "A"), date(2026, 1, 1), date(2027, 1, 1)) == [date(2026, 4, 12)]


# ---- the calendar ------------------------------------------------------------------------------------------------


def book(client: Client, name: str, path: str = "contacts") -> str:
    return client.path("addressbooks", path, name)


def turn_on(client: Client, config: Config | None = None) -> int:
    assert client.account is not None
    server = client.server
    return birthdays.turn_on(server.store, config or server.config, client.account.id, now_s=server.clock.now_s)


def events(client: Client, path: str = "birthdays") -> dict[str, str]:
    """{summary: etag} of the calendar."""
    body = element(
        "C:calendar-query",
        "<D:prop><D:getetag/><C:calendar-data/></D:prop>"
        '<C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT"/></C:comp-filter></C:filter>',
    )
    answer = client.report(client.path("calendars", path, ""), body, depth=1)
    assert answer.status == 207
    found = {}
    for item in answer.responses.values():
        text = str(item.props[c("calendar-data")].text)
        summary = re.search(r"SUMMARY:(.*)", text)
        assert summary is not None
        found[summary[1].strip()] = str(item.props[d("getetag")].text)
    return found


def test_turning_it_on_makes_the_calendar_from_the_contacts_that_are_there(alice: Client) -> None:
    alice.put(book(alice, "a.vcf"), person("a", "BDAY:1996-04-15", "ANNIVERSARY:20100612"))
    alice.put(book(alice, "b.vcf"), person("b", name="Bob Baker"))
    assert turn_on(alice) == 2
    assert set(events(alice)) == {"Birthday: Anna Arnold (1996)", "Anniversary: Anna Arnold (2010)"}
    assert turn_on(alice) == 0  # once more changes nothing
    (props,) = alice.propfind(
        alice.path("calendars", "birthdays", ""),
        [d("displayname"), d("resourcetype"), c("schedule-calendar-transp"), ical("calendar-color"),
         c("supported-calendar-component-set"), d("current-user-privilege-set")],
    ).values()  # fmt: skip
    assert props[d("displayname")].text == "Birthdays"
    assert props[d("resourcetype")].find(c("calendar")) is not None
    assert props[c("schedule-calendar-transp")].find(c("transparent")) is not None
    assert props[ical("calendar-color")].text == "#D81B60FF"
    granted = {child[0].tag for child in props[d("current-user-privilege-set")]}
    assert d("read") in granted
    assert not granted & {d("write"), d("write-content"), d("bind"), d("unbind"), d("all")}


def test_the_calendar_follows_the_cards(alice: Client) -> None:
    turn_on(alice)
    assert events(alice) == {}
    alice.put(book(alice, "a.vcf"), person("a", "BDAY:1996-04-15"))
    first = events(alice)
    assert set(first) == {"Birthday: Anna Arnold (1996)"}
    # Another telephone number is no other birthday.
    alice.put(book(alice, "a.vcf"), person("a", "BDAY:1996-04-15", "TEL:+49 30 1"))
    assert events(alice) == first
    alice.put(book(alice, "a.vcf"), person("a", "BDAY:1996-04-16", name="Anna Berg"))
    assert set(events(alice)) == {"Birthday: Anna Berg (1996)"}
    alice.put(book(alice, "a.vcf"), person("a", name="Anna Berg"))
    assert events(alice) == {}
    alice.put(book(alice, "a.vcf"), person("a", "ANNIVERSARY:20100612"))
    assert set(events(alice)) == {"Anniversary: Anna Arnold (2010)"}
    assert alice.delete(book(alice, "a.vcf")).status == 204
    assert events(alice) == {}


def test_only_a_real_change_is_one_for_a_sync(alice: Client) -> None:
    alice.put(book(alice, "a.vcf"), person("a", "BDAY:1996-04-15"))
    turn_on(alice)
    place = alice.path("calendars", "birthdays", "")
    _, token = alice.sync(place)
    alice.put(book(alice, "a.vcf"), person("a", "BDAY:1996-04-15", "NOTE:x"))
    turn_on(alice)
    assert alice.sync(place, token) == ({}, token)
    alice.put(book(alice, "a.vcf"), person("a", "BDAY:1997-04-15", "NOTE:x"))
    changed, _ = alice.sync(place, token)
    assert list(changed.values()) == [200]


def test_moving_and_copying_cards_and_books_takes_the_days_along(alice: Client) -> None:
    turn_on(alice)
    alice.request("MKCOL", alice.path("addressbooks", "other"), element(
        "D:mkcol", "<D:set><D:prop><D:resourcetype><D:collection/><CR:addressbook/></D:resourcetype></D:prop></D:set>"
    ))  # fmt: skip
    alice.put(book(alice, "a.vcf"), person("a", "BDAY:1996-04-15"))
    assert alice.copy(book(alice, "a.vcf"), book(alice, "a.vcf", "other")).status == 201
    with transaction(alice.server.store) as conn:
        calendar = derived.calendar_of(conn, alice.account.id, birthdays.ORIGIN)  # type: ignore[union-attr]
        assert calendar is not None
        assert len(derived.named_from(conn, calendar.id, "")) == 2
    assert alice.delete(book(alice, "a.vcf", "other")).status == 204
    assert alice.move(book(alice, "a.vcf"), book(alice, "b.vcf", "other")).status == 201
    assert set(events(alice)) == {"Birthday: Anna Arnold (1996)"}
    assert alice.copy(alice.path("addressbooks", "other", ""), alice.path("addressbooks", "third")).status == 201
    assert alice.delete(alice.path("addressbooks", "other", "")).status == 204
    assert set(events(alice)) == {"Birthday: Anna Arnold (1996)"}
    assert alice.move(alice.path("addressbooks", "third", ""), alice.path("addressbooks", "fourth")).status == 201
    assert set(events(alice)) == {"Birthday: Anna Arnold (1996)"}
    assert alice.delete(alice.path("addressbooks", "fourth", "")).status == 204
    assert events(alice) == {}


def test_nobody_writes_into_it_and_its_owner_may_call_it_something_else(alice: Client) -> None:
    alice.put(book(alice, "a.vcf"), person("a", "BDAY:1996-04-15"))
    turn_on(alice)
    place = alice.path("calendars", "birthdays", "")
    (member,) = (href for href in alice.propfind(place, [d("getetag")], depth=1) if href != place)
    before = alice.get(member)
    from tests.dsl import event

    assert alice.put(place + "x.ics", event("x")).status == 403
    assert alice.put(member, before.body).status == 403
    assert alice.delete(member).status == 403
    assert alice.post(place, event("y"), content_type="text/calendar").status == 403
    assert alice.move(member, alice.path("calendars", "calendar", "m.ics")).status == 403
    assert alice.get(member).body == before.body
    name = "<D:set><D:prop><D:displayname>Cake</D:displayname></D:prop></D:set>"
    assert alice.proppatch(place, name).responses[place].props
    assert turn_on(alice) == 0
    (props,) = alice.propfind(place, [d("displayname")]).values()
    assert props[d("displayname")].text == "Cake"


def test_off_is_off_and_on_again_brings_the_same_events(alice: Client) -> None:
    alice.put(book(alice, "a.vcf"), person("a", "BDAY:1996-04-15"))
    turn_on(alice)
    first = events(alice)
    assert alice.account is not None
    with transaction(alice.server.store, write=True) as conn:
        assert birthdays.turn_off(conn, alice.account.id, now_s=alice.server.clock.now_s)
        assert not birthdays.turn_off(conn, alice.account.id, now_s=alice.server.clock.now_s)
    assert alice.get(alice.path("calendars", "birthdays", "")).status == 404
    alice.put(book(alice, "b.vcf"), person("b", "BDAY:1990-01-01", name="Bob Baker"))
    turn_on(alice)
    again = events(alice)
    assert again.items() > first.items()  # the same bytes: UIDs too
    assert len(again) == 2


def test_with_the_setting_everybody_with_contacts_has_it_but_who_removed_it(serve: Serve) -> None:
    server = serve(derived=DerivedConfig(birthdays=True))
    alice, bob, carol = (server.account(name) for name in ("alice", "bob", "carol"))
    for client in (alice, bob):
        client.put(book(client, "a.vcf"), person("a", "BDAY:1996-04-15"))
    now_s = server.clock.now_s
    assert jobs.make_birthdays(server.store, server.config, now_s) == "Made 2 calendars of birthdays."
    assert len(events(alice)) == 1
    assert carol.get(carol.path("calendars", "birthdays", "")).status == 404
    assert bob.delete(bob.path("calendars", "birthdays", "")).status == 204
    assert jobs.make_birthdays(server.store, server.config, now_s) == ""
    assert bob.get(bob.path("calendars", "birthdays", "")).status == 404
    wanted = {job.name: job.wanted for job in jobs.JOBS}["birthdays"]
    assert wanted(server.config)
    assert not wanted(Config())


def test_a_name_that_is_taken_is_left_alone(alice: Client) -> None:
    assert alice.mkcalendar(alice.path("calendars", "birthdays")).status == 201
    alice.put(book(alice, "a.vcf"), person("a", "BDAY:1996-04-15"))
    turn_on(alice)
    assert events(alice) == {}
    assert len(events(alice, "birthdays-2")) == 1


def test_it_speaks_the_language_of_the_account(alice: Client) -> None:
    alice.put(book(alice, "a.vcf"), person("a", "BDAY:1996-04-15"))
    turn_on(alice)
    assert alice.account is not None
    with transaction(alice.server.store, write=True) as conn:
        accounts.update_account(conn, alice.account.id, locale="es")
    birthdays.say_anew(alice.server.store, alice.server.config, alice.account.id, now_s=alice.server.clock.now_s)
    assert set(events(alice)) == {"Cumpleaños: Anna Arnold (1996)"}


def test_the_days_have_a_bound(serve: Serve) -> None:
    alice = serve(derived=DerivedConfig(birthdays_most=2)).account("alice")
    for number in range(4):
        alice.put(book(alice, f"{number}.vcf"), person(str(number), "BDAY:1996-04-15", name=f"Nr {number}"))
    turn_on(alice)
    assert len(events(alice)) == 2
    assert alice.put(book(alice, "9.vcf"), person("9", "BDAY:1996-04-15", name="Nr 9")).status == 201
    assert len(events(alice)) == 2


def test_many_cards_are_worked_through_in_pieces_with_progress(alice: Client) -> None:
    for number in range(230):
        alice.put(book(alice, f"{number}.vcf"), person(str(number), "BDAY:1996-04-15", name=f"Nr {number}"))
    seen: list[int] = []
    server = alice.server
    assert alice.account is not None
    changed = birthdays.turn_on(
        server.store, server.config, alice.account.id, now_s=server.clock.now_s, progress=seen.append
    )
    assert changed == 230
    assert seen == [100, 200, 230]


def test_what_is_wrong_in_the_calendar_is_put_right_when_it_is_made_anew(alice: Client) -> None:
    """As after an import that wrote the cards without telling."""
    alice.put(book(alice, "a.vcf"), person("a", "BDAY:1996-04-15"))
    alice.put(book(alice, "b.vcf"), person("b", "BDAY:1990-01-01", name="Bob Baker"))
    turn_on(alice)
    from storage import collections, objects

    with transaction(alice.server.store, write=True) as conn:
        (contacts,) = derived.books_of(conn, alice.account.id)  # type: ignore[union-attr]
        record = objects.object_by_name(conn, contacts.id, "a.vcf")
        assert record is not None
        objects.delete_object(conn, contacts, record, now_s=1)
        calendar = derived.calendar_of(conn, alice.account.id, birthdays.ORIGIN)  # type: ignore[union-attr]
        assert calendar is not None
        assert collections.member_count(conn, calendar.id) == 2
    assert turn_on(alice) == 1
    assert set(events(alice)) == {"Birthday: Bob Baker (1990)"}


def test_an_account_without_the_calendar_pays_one_statement_for_a_card(
    server: Server, alice: Client, bob: Client
) -> None:
    counts: list[int] = []
    with transaction(server.store) as conn:
        (contacts,) = derived.books_of(conn, bob.account.id)  # type: ignore[union-attr]
        before = conn.statements
        birthdays.card_written(conn, server.config, contacts, "a.vcf", person("a", "BDAY:1996-04-15").encode(), now_s=1)
        counts.append(conn.statements - before)
        before = conn.statements
        birthdays.card_removed(conn, contacts, "a.vcf", now_s=1)
        counts.append(conn.statements - before)
        calendars = replace(contacts, kind="calendar")
        before = conn.statements
        birthdays.card_written(conn, server.config, calendars, "a.ics", b"BDAY:", now_s=1)
        counts.append(conn.statements - before)
    assert counts == [1, 1, 0]
    turn_on(alice)
    with transaction(server.store, write=True) as conn:
        (contacts,) = derived.books_of(conn, alice.account.id)  # type: ignore[union-attr]
        before = conn.statements
        birthdays.card_written(conn, server.config, contacts, "a.vcf", card("a").encode(), now_s=1)
        assert conn.statements - before <= 3  # the calendar, the language, what is there


@pytest.mark.parametrize("word", ["PRIVATE", "CONFIDENTIAL", "CLUB-SECRET"])
def test_who_may_not_see_a_contact_does_not_learn_of_it_from_the_day(server: Server, alice: Client, word: str) -> None:
    bob = server.account("bob")
    alice.put(book(alice, "a.vcf"), person("a", "BDAY:1990-02-01", f"CLASS:{word}", name="Hidden Name"))
    alice.put(book(alice, "b.vcf"), person("b", "BDAY:1990-02-01", name="Known Name"))
    turn_on(alice)
    share(server.store, account_of(bob), "read", path="birthdays")
    with transaction(server.store, write=True) as conn:
        calendar, _ = collections.resolve(conn, "alice", "calendars", "birthdays")
        assert calendar is not None
        feed = feeds_out.publish(conn, calendar.id, mode="whole", label="", now_s=1)
    for answer in (bob.get(mount_of(bob)), bob.anonymous().get(f"/feeds/{feed.secret}.ics")):
        assert "Known Name" in answer.text
        assert "Hidden" not in answer.text
    assert "Hidden Name" in alice.get("calendars/alice/birthdays/").text
