"""Every mail of the shared corpus through the inbound door: the expected effect, or kept with the reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dav.mail.inbound import APPLIED, BOUNCED, IGNORED, KEPT, NOTHING
from storage.engine import Store

from .post import UID, Place, meeting, settings

BOB = ("bob@example.net",)
LA = "DTSTART;TZID=America/Los_Angeles:20260302T090000"
WEEKLY = ("RRULE:FREQ=WEEKLY;COUNT=10",)
CYRUS = "6de280c9-edff-4019-8ebd-cfebc73f8201"
TB = "02e79b96"
EXCHANGE = (
    "040000008200E00074C5B7101A82E00800000000A0B1C2D3E4F5DA01000000000000000010000000A1B2C3D4E5F60718293A4B5C6D7E8F90"
)


def _ours(uid: str = UID, **more: object) -> bytes:
    return meeting(uid=uid, **more)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Row:
    """file → outcome. to: whose it is; holds: the meeting there before. answers, or has: what is there afterwards.

    reason: words in the sentence that tells why. settings: other than usual.
    """

    file: str
    outcome: str
    reason: str = ""
    to: str = "olga@example.com"
    holds: bytes | None = None
    answers: dict[str, str] | None = None
    has: dict[str, tuple[str, ...]] = field(default_factory=dict)
    settings: dict[str, object] = field(default_factory=dict)


CASSANDANE = "cassandane@example.com"
XYZZY = "ical-living-on+d7cdf68d-8b73-4df1-ad3b-f08002fb285f@example.com"
FOREIGN = "foo@example.net"
NEW = {"unknown_senders": "add"}
INVITED_TB = meeting(uid=TB, organizer="sender@example.com", attendees=("receiver@example.com", "other@example.com"),
                     start="DTSTART:20220316T110000Z")  # fmt: skip
SERIES_TB = INVITED_TB.replace(b"SUMMARY", b"RRULE:FREQ=DAILY;COUNT=3\r\nSUMMARY")

TABLE = (
    # Bounces
    Row("ccs-dsn_failure_no_ics.eml", IGNORED, "no mail of ours", to="xyzzy@example.com"),
    Row("ccs-dsn_failure_no_original.eml", IGNORED, "no mail of ours", to="xyzzy@example.com"),
    Row("ccs-dsn_failure_with_ics.eml", IGNORED, "no mail of ours", to="xyzzy@example.com"),
    Row("made-dsn-headers-only.eml", IGNORED, "no mail of ours"),
    # Apple's server
    Row("ccs-good_reply.eml", APPLIED, to=XYZZY, answers={"xyzzy@example.com": "ACCEPTED"},
        holds=_ours("1E71F9C8-AEDA-48EB-98D0-76E898F6BB5C", organizer=XYZZY, attendees=("xyzzy@example.com",))),
    Row("ccs-reply_missing_attachment.eml", KEPT, "no calendar", to=XYZZY),
    Row("ccs-reply_missing_attendee.eml", KEPT, "names nobody", to=XYZZY,
        holds=_ours("1E71F9C8-AEDA-48EB-98D0-76E898F6BB5C", organizer=XYZZY, attendees=("xyzzy@example.com",))),
    # Cyrus' tests
    Row("cyrus-imip_add.eml", KEPT, "Nothing is known of the sender", to=CASSANDANE),
    Row("cyrus-imip_cancel_instance.eml", APPLIED, to=CASSANDANE, settings=NEW, has={CYRUS: ("RRULE:FREQ=WEEKLY",)}),
    Row("cyrus-imip_cancel_to_organizer.eml", KEPT, "organizer of this meeting itself", to=CASSANDANE),
    Row("cyrus-imip_disallow_multiple_vcalendar.eml", KEPT, "Exactly one VCALENDAR", to=CASSANDANE),
    Row("cyrus-imip_invite_base64.eml", APPLIED, to=CASSANDANE, settings=NEW, has={CYRUS: ("PARTSTAT=NEEDS-ACTION",)}),
    Row("cyrus-imip_invite_multipart.eml", APPLIED, to=CASSANDANE, settings=NEW,
        has={CYRUS: ("PARTSTAT=NEEDS-ACTION",)}),
    Row("cyrus-imip_publish_no_organizer.eml", KEPT, "names no organizer", to=CASSANDANE),
    Row("cyrus-imip_reply_no_organizer.eml", APPLIED, to=CASSANDANE, answers={FOREIGN: "ACCEPTED"},
        holds=_ours(CYRUS, organizer=CASSANDANE, attendees=(FOREIGN,))),
    Row("cyrus-imip_reply_override_rdate.eml", APPLIED, to=CASSANDANE,
        answers={FOREIGN: "ACCEPTED", f"{FOREIGN} 20211021T193000Z": "DECLINED"},
        holds=_ours(CYRUS, organizer=CASSANDANE, attendees=(FOREIGN,),
                    start="DTSTART;TZID=America/New_York:20210923T153000",
                    more=("RDATE;TZID=America/New_York:20211021T153000",))),
    # James' samples: calendars whose lines were taken out
    Row("james-alternative.cal.eml", KEPT, "", to="s@sima.example"),
    Row("james-calendar.eml", KEPT, "cannot be read", to="lome5@sima.example"),
    Row("james-charset2.eml", KEPT, "cannot be read", to="lome5@sima.example"),
    Row("james-ics_in_header.eml", KEPT, "no calendar", to="vig@sima.example"),
    Row("james-invitationEmailFromOP.eml", KEPT, "Nothing is known", to="ddolcimascolo@linagora.com"),
    Row("james-related_in_alternative_multipart.eml", KEPT, "", to="vekib@sobolofo.example"),
    Row("james-yahooInvitation.eml", KEPT, "Nothing is known", to="ddolcimascolo@linagora.com"),
    # What programs write
    Row("made-apple-reply.eml", APPLIED, holds=_ours(attendees=("ann@example.org", *BOB), start=LA),
        answers={"ann@example.org": "ACCEPTED"}),
    Row("made-exchange-cancel.eml", APPLIED, holds=_ours(EXCHANGE, organizer="bob@example.net",
        attendees=("olga@example.com",)), has={EXCHANGE: ("STATUS:CANCELLED",)}),
    Row("made-exchange-counter.eml", KEPT, "", holds=_ours(start=LA), answers={},
        has={UID: ("DTSTART;TZID=America/Los_Angeles:20260302T090000",)}),
    Row("made-exchange-reply-accepted-no-organizer.eml", APPLIED, holds=_ours(start=LA),
        answers={"bob@example.net": "ACCEPTED"}),
    Row("made-exchange-reply-declined-comment.eml", APPLIED, holds=_ours(start=LA),
        answers={"bob@example.net": "DECLINED"}, has={UID: ("Sorry\\, on holiday",)}),
    Row("made-exchange-reply-instance.eml", APPLIED, holds=_ours(start=LA, more=WEEKLY),
        answers={"bob@example.net 20260309T160000Z": "TENTATIVE"}),
    Row("made-forged-auth-results-injected.eml", KEPT, "DMARC fails", holds=_ours(), answers={}),
    Row("made-forged-reply-from-mismatch.eml", KEPT, "mallory@evil.example speaks for bob", holds=_ours(), answers={}),
    Row("made-forged-reply-spoofed-from.eml", KEPT, "DMARC fails", holds=_ours(), answers={}),
    Row("made-forwarded-invite-rfc822.eml", KEPT, "no calendar"),
    Row("made-gmail-reply-accepted.eml", APPLIED, holds=_ours(attendees=("gail.guest@example.net",)),
        answers={"gail.guest@example.net": "ACCEPTED"}),
    Row("made-gmail-reply-dmarc-unaligned.eml", KEPT, "DMARC fails",
        holds=_ours(attendees=("gail.guest@example.net",)), answers={}),
    Row("made-gmail-reply-instance-declined.eml", APPLIED,
        holds=_ours(attendees=("gail.guest@example.net",), more=WEEKLY),
        answers={"gail.guest@example.net 20260309T170000Z": "DECLINED"}),
    Row("made-method-only-in-body.eml", APPLIED, holds=_ours(), answers={"bob@example.net": "ACCEPTED"}),
    Row("made-notes-invite-rdate.eml", KEPT, "Nothing is known"),
    Row("made-octet-stream-ics.eml", APPLIED, holds=_ours(), answers={"bob@example.net": "ACCEPTED"}),
    Row("made-outlook-reply-windows-tz-no-vtimezone.eml", APPLIED, holds=_ours(start=LA),
        answers={"bob@example.net": "ACCEPTED"}),
    Row("made-refresh.eml", APPLIED, holds=_ours(), answers={}),
    Row("made-reply-case-differs.eml", APPLIED, holds=_ours(), answers={"bob@example.net": "ACCEPTED"}),
    Row("made-reply-delegated.eml", APPLIED, holds=_ours(), answers={"bob@example.net": "DELEGATED"},
        has={UID: ("dee@example.net",)}),
    Row("made-reply-latin1-charset.eml", APPLIED, holds=_ours(), answers={"bob@example.net": "ACCEPTED"}),
    Row("made-reply-partycrasher.eml", KEPT, "", holds=_ours(), answers={}),
    Row("made-reply-plus-address.eml", APPLIED, holds=_ours(), answers={"bob@example.net": "ACCEPTED"}),
    Row("made-reply-stale-sequence.eml", APPLIED, holds=_ours(), answers={"bob@example.net": "ACCEPTED"}),
    Row("made-reply-two-vevents-no-master.eml", APPLIED, holds=_ours(more=WEEKLY),
        answers={"bob@example.net 20260309T170000Z": "ACCEPTED", "bob@example.net 20260316T170000Z": "DECLINED"}),
    Row("made-thunderbird-reply.eml", APPLIED, holds=_ours(start=LA), answers={"bob@example.net": "ACCEPTED"}),
    Row("made-zoom-invite-from-differs.eml", KEPT, "Nothing is known"),
    Row("phpmmp-m0020.eml", KEPT, "", to="meritodatal@kida.example"),
    # Thunderbird's own test data
    Row("tb-cancel-repeat-event.eml", APPLIED, to="receiver@example.com", holds=SERIES_TB,
        has={TB: ("STATUS:CANCELLED",)}),
    Row("tb-cancel-single-event.eml", APPLIED, to="receiver@example.com", holds=INVITED_TB,
        has={TB: ("STATUS:CANCELLED",)}),
    Row("tb-exception-minor.eml", APPLIED, to="receiver@example.com", holds=SERIES_TB,
        has={TB: ("RECURRENCE-ID:20220317T110000Z",)}),
    Row("tb-message-containing-event.eml", KEPT, "published", to="foo@example.com"),
    Row("tb-message-non-invite.eml", KEPT, "published", to="john.doe@example.com"),
    Row("tb-outlook-test-invite.eml", APPLIED, to="homer@example.org", settings=NEW),
    Row("tb-repeat-update-minor.eml", APPLIED, to="receiver@example.com", holds=SERIES_TB),
    Row("tb-teams-meeting-invite.eml", APPLIED, to="homer@example.com", settings=NEW),
    Row("tb-update-major.eml", APPLIED, to="receiver@example.com", holds=INVITED_TB,
        has={TB: ("DTSTART:20220316T050000Z",)}),
    Row("tb-update-minor.eml", APPLIED, to="receiver@example.com", holds=INVITED_TB),
)  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.file.removesuffix(".eml"))
def test_each_mail_of_the_corpus_has_its_effect_or_is_kept_with_the_reason(
    row: Row, store: Store, shared: Path
) -> None:
    place = Place(store, settings(**row.settings))
    owner = place.account(row.to, row.to)
    if row.holds is not None:
        place.hold(owner, row.holds)
    raw = (shared / "corpus" / "eml" / row.file).read_bytes()
    result = place.send(raw, row.to, "somebody@elsewhere.example")
    assert result.outcome == row.outcome, result
    assert row.reason in result.reason, result
    kept = place.kept(owner)
    assert [one.reason for one in kept] == ([result.reason] if result.outcome == KEPT else [])
    if row.holds is not None and row.answers is not None:
        assert place.answers(owner, place.meeting(owner, _uid(row.holds)).uid) == row.answers
    for uid, texts in row.has.items():
        unfolded = (place.body(owner, uid) or b"").replace(b"\r\n ", b"").decode()
        for text in texts:
            assert text in unfolded
    # The same once more does nothing: no second copy, no second note.
    before = place.body(owner, _uid(row.holds)) if row.holds else None
    again = place.send(raw, row.to, "somebody@elsewhere.example")
    assert again.outcome in (NOTHING, IGNORED, row.outcome if row.outcome == KEPT else NOTHING), again
    assert (place.body(owner, _uid(row.holds)) if row.holds else None) == before


def _uid(body: bytes) -> str:
    line = next(one for one in body.replace(b"\r\n ", b"").split(b"\r\n") if one.startswith(b"UID:"))
    return line[4:].decode()


def test_the_table_names_every_mail_of_the_corpus(shared: Path) -> None:
    files = {path.name for path in (shared / "corpus" / "eml").glob("*.eml")}
    assert files == {row.file for row in TABLE}
    assert BOUNCED not in {row.outcome for row in TABLE}  # those need a row of the ledger: test_bounces.py
