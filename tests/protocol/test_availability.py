"""calendar-availability and VAVAILABILITY in calendars (RFC 7953 §7)."""

from __future__ import annotations

from dav.names import c, cs
from dav.scheduling.places import seats
from dav.scheduling.plan import Env
from storage.accounts import account_by_name
from storage.engine import transaction
from tests.dsl import Client, Server, event
from tests.protocol.test_free_busy import busy

INBOX = "calendars/alice/inbox/"
TEXT = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//x//EN
BEGIN:VAVAILABILITY
UID:hours
DTSTAMP:20261101T000000Z
BEGIN:AVAILABLE
UID:hours-1
DTSTAMP:20261101T000000Z
SUMMARY:Tea & cake
DTSTART:20261101T090000Z
DTEND:20261101T170000Z
RRULE:FREQ=DAILY
END:AVAILABLE
END:VAVAILABILITY
END:VCALENDAR
"""


def set_it(client: Client, text: str, name: str = "C:calendar-availability") -> int:
    value = text.replace("&", "&amp;")
    answer = client.proppatch(INBOX, f"<D:set><D:prop><{name}>{value}</{name}></D:prop></D:set>")
    (item,) = answer.responses.values()
    (status,) = item.by_status
    return status


def known(server: Server) -> str | None:
    """What scheduling knows of alice's availability."""
    with transaction(server.store) as conn:
        account = account_by_name(conn, "alice")
        assert account is not None
        env = Env(conn, server.store, server.config, server.app.urls, server.clock.now_s)
        return seats(env, [account])[account.id].availability


def test_availability_is_kept_on_the_inbox_and_read_back(alice: Client, server: Server) -> None:
    assert set_it(alice, TEXT) == 200
    found = alice.propfind(INBOX, [c("calendar-availability"), cs("calendar-availability")])
    (props,) = found.values()
    for name in (c("calendar-availability"), cs("calendar-availability")):
        assert (props[name].text or "").splitlines() == TEXT.splitlines()
    assert (known(server) or "").splitlines() == TEXT.splitlines()


def test_apples_name_for_it_sets_the_same_property(alice: Client) -> None:
    assert set_it(alice, TEXT, "CS:calendar-availability") == 200
    answer = alice.propfind_raw(INBOX, [c("calendar-availability")])
    assert "UID:hours-1" in answer.text


def test_it_can_be_removed(alice: Client, server: Server) -> None:
    set_it(alice, TEXT)
    alice.proppatch(INBOX, "<D:remove><D:prop><C:calendar-availability/></D:prop></D:remove>")
    assert known(server) is None


def test_anything_but_availability_is_refused(alice: Client) -> None:
    for text in ("hello", TEXT.replace("VAVAILABILITY", "VEVENT"), TEXT + TEXT):
        assert set_it(alice, text) == 403


def test_allprop_does_not_show_it(alice: Client) -> None:
    set_it(alice, TEXT)
    answer = alice.request("PROPFIND", INBOX, '<D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>', Depth="0")
    assert answer.status == 207
    assert "calendar-availability" not in answer.text


def test_the_server_says_that_it_knows_availability(alice: Client) -> None:
    assert "calendar-availability" in alice.options("").headers["dav"].split(", ")


def test_availability_stored_in_a_calendar_counts_in_its_free_busy_answer(alice: Client) -> None:
    body = '<D:set><D:prop><C:supported-calendar-component-set><C:comp name="VEVENT"/><C:comp name="VAVAILABILITY"/>'
    body += "</C:supported-calendar-component-set></D:prop></D:set>"
    root = f'<C:mkcalendar xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:D="DAV:">{body}</C:mkcalendar>'
    assert alice.mkcalendar("calendars/alice/both/", root).status == 201
    assert alice.put("calendars/alice/both/hours.ics", TEXT.replace("\n", "\r\n")).status == 201
    assert alice.put("calendars/alice/both/late.ics", event("late", start="20261201T163000Z")).status == 201
    assert busy(alice, "calendars/alice/both/", "20261201T080000Z", "20261201T200000Z") == [
        "FREEBUSY;FBTYPE=BUSY:20261201T163000Z/20261201T173000Z",
        "FREEBUSY;FBTYPE=BUSY-UNAVAILABLE:20261201T080000Z/20261201T090000Z,20261201T173000Z/20261201T200000Z",
    ]
