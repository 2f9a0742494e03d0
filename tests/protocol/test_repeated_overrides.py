"""Two overrides of one instance: programs have sent them, so they are kept as they came, and the later one counts."""

from __future__ import annotations

import pytest

from tests.dsl import Client, Server
from tests.protocol.asking import between, calendar_query, comp, data
from tests.protocol.meeting import STAMP, person
from tests.protocol.sharing_world import OWN, account_of, mount_of, share

HEAD = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//t//t\r\n"
EXPANDED = (
    '<D:prop><C:calendar-data><C:expand start="20261201T000000Z" end="20261210T000000Z"/></C:calendar-data></D:prop>'
)


def series(first: str, second: str, *, more: str = "", classified: str = "") -> str:
    """A daily series with two overrides of its second instance, called first and second, in two spellings of it."""
    parts = [f"DTSTART:20261201T100000Z\r\nRRULE:FREQ=DAILY;COUNT=3\r\nSUMMARY:series\r\n{more}"]
    for name, start, where in (
        (first, "20261202T120000Z", "20261202T100000Z"),
        (second, "20261202T140000Z", "20261202T100000Z"),
    ):
        parts.append(f"RECURRENCE-ID:{where}\r\nDTSTART:{start}\r\nSUMMARY:{name}\r\n{classified}{more}")
    inner = "".join(
        f"BEGIN:VEVENT\r\nUID:u\r\nDTSTAMP:{STAMP}\r\nDURATION:PT1H\r\n{part}END:VEVENT\r\n" for part in parts
    )
    return f"{HEAD}{inner}END:VCALENDAR\r\n"


def starts(client: Client, base: str) -> dict[str, str]:
    """Start → summary of the instances that a client is shown."""
    answer = calendar_query(
        client, base, comp("VEVENT", between("20261201T000000Z", "20261210T000000Z")), prop=EXPANDED
    )
    found = {}
    for text in data(answer).values():
        for part in text.split("BEGIN:VEVENT")[1:]:
            lines = dict(line.split(":", 1) for line in part.splitlines() if line.count(":") == 1)
            found[lines["DTSTART"]] = lines["SUMMARY"]
    return found


def test_two_overrides_of_one_instance_are_kept_as_sent_and_the_later_one_counts(alice: Client) -> None:
    body = series("earlier", "later")
    assert alice.put(f"{OWN}one.ics", body).status == 201
    assert alice.get(f"{OWN}one.ics").text == body
    assert starts(alice, OWN) == {
        "20261201T100000Z": "series", "20261202T140000Z": "later", "20261203T100000Z": "series",
    }  # fmt: skip
    early = between("20261202T120000Z", "20261202T123000Z")
    assert data(calendar_query(alice, OWN, comp("VEVENT", early), prop=EXPANDED)) == {}


def test_they_are_as_they_are_for_those_with_whom_the_calendar_is_shared(
    server: Server, alice: Client, bob: Client
) -> None:
    share(server.store, account_of(bob), "write")
    body = series("earlier", "later")
    alice.put(f"{OWN}one.ics", body)
    mount = mount_of(bob)
    assert bob.get(f"{mount}one.ics").text == body
    assert starts(bob, mount) == starts(alice, OWN)
    assert bob.put(f"{mount}one.ics", body.replace("SUMMARY:later", "SUMMARY:latest")).status == 204
    assert alice.get(f"{OWN}one.ics").text == body.replace("SUMMARY:later", "SUMMARY:latest")


def test_of_two_overrides_of_which_one_is_private_nobody_else_sees_it(
    server: Server, alice: Client, bob: Client
) -> None:
    share(server.store, account_of(bob), "write")
    body = series("hiddenword", "hiddenword", classified="CLASS:PRIVATE\r\n")
    alice.put(f"{OWN}one.ics", body)
    text = bob.get(f"{mount_of(bob)}one.ics").text
    assert "hiddenword" not in text
    assert text.count("SUMMARY:Busy") == 2


@pytest.mark.parametrize("again", [False, True])
def test_a_meeting_with_them_reaches_its_guests_with_the_later_one(server: Server, again: bool) -> None:
    alice, bob = person(server, "alice"), person(server, "bob")
    more = (
        "ORGANIZER:mailto:alice@example.org\r\nATTENDEE:mailto:alice@example.org\r\nATTENDEE:mailto:bob@example.org\r\n"
    )
    for name in ("later", "latest")[: 1 + again]:
        assert alice.put(f"{OWN}one.ics", series("earlier", name, more=more)).status in (201, 204)
    found = starts(bob, "/dav/calendars/bob/calendar/")
    assert found == {
        "20261201T100000Z": "series", "20261202T140000Z": "latest" if again else "later", "20261203T100000Z": "series",
    }  # fmt: skip
