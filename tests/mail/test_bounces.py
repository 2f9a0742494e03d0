"""Mail that came back: which guest it was, and what stands on the organizer's copy afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dav.mail.bounces import read_return_path, return_path, status_for
from dav.mail.inbound import BOUNCED, IGNORED, NOTHING, UNKNOWN
from storage import links, outbound
from storage.engine import Store, transaction
from storage.records import Account, NewOutgoing

from .post import NOW_S, SERVICE, UID, Place, meeting

SECRET = b"s" * 32
OLGA = "olga@example.com"
GONE = "gone@example.net"


@given(st.integers(0, (1 << 63) - 1), st.text("abcdefghijklmnop.-", min_size=1, max_size=64))
def test_a_return_path_tells_its_row_and_fits(row_id: int, local: str) -> None:
    service = f"{local}@example.org"
    path = return_path(row_id, service, SECRET)
    assert len(path.rpartition("@")[0]) <= 64
    assert read_return_path(path, service, SECRET) == row_id
    assert read_return_path(path.upper(), service, SECRET) == row_id


def test_a_return_path_that_was_made_up_tells_nothing() -> None:
    path = return_path(7, SERVICE, SECRET)
    assert read_return_path(path.replace("b-7-", "b-8-"), SERVICE, SECRET) is None
    assert read_return_path(path, SERVICE, b"t" * 32) is None
    assert read_return_path(path.replace("cal.example.com", "example.net"), SERVICE, SECRET) is None
    assert read_return_path(path.replace("invites", "other"), SERVICE, SECRET) is None
    assert read_return_path(SERVICE, SERVICE, SECRET) is None
    assert read_return_path("", SERVICE, SECRET) is None


def test_without_a_delimiter_the_service_address_is_the_return_path() -> None:
    assert return_path(7, SERVICE, SECRET, delimiter="") == SERVICE


@pytest.mark.parametrize(
    ("code", "said", "status"),
    [
        ("5.1.1", "", ("5.2", True)),
        ("5.1.10", "", ("5.2", True)),
        ("5.2.2", "mailbox full", ("5.1", False)),
        ("5.7.1", "refused", ("5.1", False)),
        ("4.4.7", "expired", ("5.1", False)),
        ("", "", ("5.1", False)),
        ("5.0.0", "550 5.1.1 unknown or illegal alias", ("5.2", True)),
        ("5.0.0", "blocked", ("5.1", False)),
    ],
)
def test_codes_of_mail_servers_become_schedule_statuses(code: str, said: str, status: tuple[str, bool]) -> None:
    assert status_for(code, said) == status


# --- through the door -------------------------------------------------------------------------------------------------


def dsn(
    *,
    to: str = SERVICE,
    recipient: str = GONE,
    action: str = "failed",
    code: str = "5.1.1",
    message_id: str = "",
    calendar: bytes = b"",
) -> bytes:
    """A bounce as Postfix writes it."""
    original = f"From: Olga <{OLGA}>\r\nTo: {recipient}\r\n" + (f"Message-ID: <{message_id}>\r\n" if message_id else "")
    kind = "message/rfc822" if calendar else "text/rfc822-headers"
    body = b"Content-Type: text/calendar; method=REQUEST\r\n\r\n" + calendar if calendar else b""
    head = (
        f"From: MAILER-DAEMON@mx.example.com\r\nTo: {to}\r\nSubject: Undelivered\r\nAuto-Submitted: auto-replied\r\n"
        'MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nsorry\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        "Reporting-MTA: dns; mx.example.com\r\n\r\n"
        f"Final-Recipient: rfc822; {recipient}\r\nAction: {action}\r\nStatus: {code}\r\n"
        f"Diagnostic-Code: smtp; 550 {code} no such user\r\n\r\n--b\r\nContent-Type: {kind}\r\n\r\n{original}"
    )
    return head.encode() + body + b"\r\n--b--\r\n"


@pytest.fixture
def place(store: Store) -> Place:
    return Place(store)


@pytest.fixture
def olga(place: Place) -> Account:
    account = place.account("olga", OLGA)
    place.hold(account, meeting(attendees=(GONE, "bob@example.net")))
    return account


def sent(place: Place, account: Account, recipient: str = GONE) -> tuple[int, str]:
    """(number, return path) of a mail that was sent; its Message-ID is <inv-1@cal.example.com>."""
    with transaction(place.store, write=True) as conn:
        item = NewOutgoing(account.id, UID, "", recipient, "", OLGA, "Olga", "REQUEST", "VEVENT", 0, "d" * 64,
                           "Planning", ("new",), meeting(method="REQUEST"))  # fmt: skip
        outbound.enqueue(conn, item, now_s=NOW_S, settle_s=0, settle_max_s=0)
        (row,) = outbound.claim(conn, holder="test", now_s=NOW_S, lease_s=60, limit=10)
        outbound.sent(conn, row.id, message_id="inv-1@cal.example.com", answer="250 ok", now_s=NOW_S)
        return row.id, return_path(row.id, SERVICE, links.make_secret(conn))


def status_of(place: Place, account: Account, address: str = GONE) -> str | None:
    return place.meeting(account).all_attendees()[f"mailto:{address}"][0][1].param("SCHEDULE-STATUS")


def row_state(place: Place, row_id: int) -> tuple[str, str]:
    with transaction(place.store) as conn:
        row = outbound.by_id(conn, row_id)
    assert row is not None
    return row.state, row.status


def test_a_bounce_to_its_return_path_is_written_down(place: Place, olga: Account) -> None:
    row_id, path = sent(place, olga)
    result = place.send(dsn(to=path), path, "")
    assert result.outcome == BOUNCED
    assert "gone@example.net" in result.reason
    assert status_of(place, olga) == "5.2"
    assert status_of(place, olga, "bob@example.net") is None
    assert row_state(place, row_id) == ("failed", "5.2")


def test_the_same_bounce_again_is_counted_once(place: Place, olga: Account) -> None:
    _, path = sent(place, olga)
    place.send(dsn(to=path), path, "")
    before = place.body(olga)
    assert place.send(dsn(to=path), path, "").outcome == NOTHING
    assert place.body(olga) == before
    with transaction(place.store) as conn:
        assert outbound.dead_addresses(conn, [GONE], bounces=1) == {GONE}
        assert outbound.dead_addresses(conn, [GONE], bounces=2) == set()


@pytest.mark.parametrize("action", ["delayed", "relayed", "delivered", "expanded"])
def test_what_is_no_failure_changes_nothing(place: Place, olga: Account, action: str) -> None:
    _, path = sent(place, olga)
    before = place.body(olga)
    assert place.send(dsn(to=path, action=action), path, "").outcome == IGNORED
    assert place.body(olga) == before


def test_a_full_mailbox_is_no_dead_address(place: Place, olga: Account) -> None:
    _, path = sent(place, olga)
    place.send(dsn(to=path, code="5.2.2"), path, "")
    assert status_of(place, olga) == "5.1"
    with transaction(place.store) as conn:
        assert outbound.dead_addresses(conn, [GONE], bounces=1) == set()


def test_the_message_id_in_returned_headers_is_enough(place: Place, olga: Account) -> None:
    sent(place, olga)
    assert place.send(dsn(message_id="inv-1@cal.example.com"), SERVICE, "").outcome == BOUNCED
    assert status_of(place, olga) == "5.2"


def test_the_uid_in_a_returned_calendar_is_enough(place: Place, olga: Account) -> None:
    sent(place, olga)
    assert place.send(dsn(calendar=meeting(method="REQUEST"), to=OLGA), OLGA, "").outcome == BOUNCED
    assert status_of(place, olga) == "5.2"


def test_a_bounce_tells_nothing_of_others_meetings_and_guests(place: Place, olga: Account) -> None:
    sent(place, olga)
    place.account("mallory", "mallory@example.com")
    calendar = meeting(method="REQUEST")
    assert place.send(dsn(calendar=calendar), "mallory@example.com", "").outcome == IGNORED
    assert place.send(dsn(message_id="inv-1@cal.example.com"), "mallory@example.com", "").outcome == IGNORED
    assert (
        place.send(dsn(message_id="inv-1@cal.example.com", recipient="bob@example.net"), SERVICE, "").outcome == IGNORED
    )
    assert place.send(dsn(), "nobody@example.com", "").outcome == UNKNOWN
    assert status_of(place, olga) is None


def test_a_bounce_of_the_corpus_finds_its_mail_by_message_id(place: Place, olga: Account, shared: Path) -> None:
    sent(place, olga)
    raw = (shared / "corpus" / "eml" / "made-dsn-headers-only.eml").read_bytes()
    assert place.send(raw, SERVICE, "").outcome == BOUNCED
    assert status_of(place, olga) == "5.2"


def test_a_bounce_makes_no_mail(place: Place, olga: Account) -> None:
    row_id, path = sent(place, olga)
    place.send(dsn(to=path), path, "")
    with transaction(place.store) as conn:
        assert [row.id for row in outbound.list_outgoing(conn, limit=10)] == [row_id]
