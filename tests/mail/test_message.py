"""A mail is read within bounds, whatever its bytes are."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dav.config import Config
from dav.mail.message import MailUnusable, addresses, read_mail
from dav.mail.post import message_in, read
from dav.scheduling.model import ItipError

from .post import mail, meeting, reply

MIB = 1 << 20


def _read(raw: bytes) -> object:
    return read_mail(raw, bytes_max=MIB)


@given(st.binary(max_size=2000))
@settings(deadline=None)
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        _read(raw)
    except MailUnusable:
        return


_PIECES = st.sampled_from(
    [
        b"From: a@example.net", b"From: ", b"Content-Type: multipart/mixed; boundary=x", b"--x", b"--x--", b"", b"",
        b"Content-Type: text/calendar; method=REPLY", b"Content-Type: text/calendar; charset=utf-7",
        b"Content-Type: message/rfc822", b"Content-Type: multipart/report; report-type=delivery-status; boundary=x",
        b"Content-Type: message/delivery-status", b"Content-Transfer-Encoding: base64", b"QkVHSU46VkNBTEVOREFS",
        b"Content-Transfer-Encoding: quoted-printable", b"=E2=82", b"BEGIN:VCALENDAR", b"METHOD:REPLY",
        b"BEGIN:VEVENT", b"UID:1", b"END:VEVENT", b"END:VCALENDAR", b"Final-Recipient: rfc822; a@example.net",
        b"Action: failed", b"Status: 5.1.1", b" folded", b"\xff\xfe", b"Content-Type: text/calendar; name*=utf-8''%FF",
        b"Content-Disposition: attachment; filename*0*=utf-8''a; filename*1=.ics", b"Subject: =?utf-8?q?=FF?=",
    ]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=40), st.sampled_from([b"\r\n", b"\n", b"\r"]))
@settings(max_examples=300, deadline=None)
def test_mails_made_of_broken_pieces_never_raise(pieces: list[bytes], end: bytes) -> None:
    read(end.join(pieces), Config(), envelope_from="a@example.net", envelope_to="b@example.net")


def test_bytes_flipped_in_real_mails_never_raise(shared: Path) -> None:
    config = Config()
    for path in sorted((shared / "corpus" / "eml").glob("*.eml")):
        raw = path.read_bytes()
        for at in range(0, len(raw), max(1, len(raw) // 8)):
            for byte in (b"", b"\xff", b"\r\n"):
                read(raw[:at] + byte + raw[at + 1 :], config, envelope_from="", envelope_to="b@example.net")


def test_a_mail_beyond_a_bound_is_refused_before_it_is_read() -> None:
    with pytest.raises(MailUnusable, match="larger"):
        _read(b"x" * (MIB + 1))
    with pytest.raises(MailUnusable, match="lines"):
        _read(b"\n" * 100_001)
    with pytest.raises(MailUnusable, match="deeply"):
        _read(b"Content-Type: message/rfc822\n\n" * 21)
    parts = b"".join(b"--x\r\n\r\npart\r\n" for _ in range(101))
    with pytest.raises(MailUnusable, match="parts"):
        _read(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + parts + b"--x--\r\n")


@pytest.mark.parametrize(
    "raw",
    [
        b"A: b\r\n" * 99_000,
        b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(20))
        + b"\r\n" * 90_000,
        b"From: " + b"(" * 500_000,
        b"From: " + b"a," * 250_000,
        b"Subject: " + b"=?utf-8?q?=20?= " * 30_000,
        b"Content-Type: text/calendar" + b"; a=b" * 100_000 + b"\r\n\r\n",
        b"Content-Type: text/calendar; charset=punycode\r\n\r\n" + b"a-" * 300_000,
        b"References: " + b"<a@b> " * 100_000 + b"\r\n\r\n",
        b"Authentication-Results: x" + b"; dkim=pass" * 50_000 + b"\r\n\r\n",
    ],
    ids=range(9),
)
def test_hostile_mails_cost_less_than_seconds(raw: bytes) -> None:
    start = time.process_time()
    read(raw[:MIB], Config(), envelope_from="", envelope_to="b@example.net")
    assert time.process_time() - start < 5


def test_a_calendar_with_too_many_components_is_refused() -> None:
    calendar = reply(more=tuple(line for _ in range(101) for line in ("BEGIN:VALARM", "END:VALARM")))
    post = read(mail(calendar), Config(), envelope_from="", envelope_to="")
    assert post.itip is None
    assert "100 components" in post.problem


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("bob@example.net", ["mailto:bob@example.net"]),
        ("Bob <BOB@Example.NET>", ["mailto:bob@example.net"]),
        ('"Brown, Bob" <bob@example.net>', ["mailto:bob@example.net"]),
        ("bob@example.net (Bob)", ["mailto:bob@example.net"]),
        ("victim@example.net <bob@example.net>", ["mailto:bob@example.net"]),
        ('"victim@example.net" <bob@example.net>', ["mailto:bob@example.net"]),
        ("a@example.net, b@example.net", ["mailto:a@example.net", "mailto:b@example.net"]),
        ("a%41@example.net", ["mailto:a%41@example.net"]),
        # What one program reads so and another otherwise is nobody's.
        ("alice@example.org)bob@example.net", []),
        ("<alice@example.org> bob@example.net", []),
        ("alice@example.org <bob@example.net> x", []),
        ('"unclosed <bob@example.net>', []),
        ("bob@example.net(", []),
        ("a@b@example.net", []),
        ("undisclosed-recipients:;", []),
        ("", []),
    ],
)
def test_addresses_are_read_strictly(value: str, found: list[str]) -> None:
    assert [address for address, _ in addresses(value)] == found


def test_two_authors_are_nobody() -> None:
    assert read_mail(b"From: a@example.net, b@example.net\r\n\r\n", bytes_max=MIB).sender == ""
    assert read_mail(b"From: a@example.net\r\nFrom: b@example.net\r\n\r\n", bytes_max=MIB).sender == ""


def _with_parts(*parts: tuple[str, bytes]) -> bytes:
    lines = [b"From: bob@example.net", b"Content-Type: multipart/mixed; boundary=x", b""]
    for kind, data in parts:
        encoded = base64.encodebytes(data)
        lines += [b"--x", b"Content-Type: " + kind.encode(), b"Content-Transfer-Encoding: base64", b"", encoded]
    return b"\r\n".join([*lines, b"--x--", b""])


def test_copies_of_one_message_count_once() -> None:
    raw = _with_parts(("text/calendar; method=REPLY", reply()), ("application/ics", reply()))
    found = message_in(read_mail(raw, bytes_max=MIB).calendars, components_max=100)
    assert found is not None
    assert found.method == "REPLY"


def test_two_different_messages_in_one_mail_are_refused() -> None:
    raw = _with_parts(("text/calendar; method=REPLY", reply()), ("text/calendar; method=REPLY", reply(uid="other")))
    with pytest.raises(ItipError, match="more than one message"):
        message_in(read_mail(raw, bytes_max=MIB).calendars, components_max=100)


def test_a_method_that_the_body_does_not_have_is_refused() -> None:
    raw = _with_parts(("text/calendar; method=CANCEL", reply()))
    with pytest.raises(ItipError, match="not the same"):
        message_in(read_mail(raw, bytes_max=MIB).calendars, components_max=100)


def test_a_calendar_in_an_attached_mail_is_somebody_elses() -> None:
    raw = b"From: pat@example.org\r\nContent-Type: message/rfc822\r\n\r\n" + mail(meeting(method="REQUEST"))
    assert read_mail(raw, bytes_max=MIB).calendars == ()
