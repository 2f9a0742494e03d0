"""The short way to show what nothing is hidden of gives what the long way gives, or says that it cannot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dav import privacy
from dav.names import d
from storage.records import ACCESS
from tests.dsl import Client, Server, event
from tests.protocol.asking import between, calendar_multiget, calendar_query, comp, names
from tests.protocol.sharing_world import ALL_DATA, OWN, account_of, alarm, mount_of, secret_event, share
from tests.protocol.test_statements import cost, propfind

VIEW = privacy.View("write", "hidden", "busy", 1)
HEAD, FOOT = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//t//t\r\n", "END:VCALENDAR\r\n"
ZONE = (
    "BEGIN:VTIMEZONE\r\nTZID:X\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0000\r\n"
    "TZOFFSETTO:+0000\r\nEND:STANDARD\r\n{}END:VTIMEZONE\r\n"
)
LINES = (
    "SUMMARY:Plan\r\n", "DESCRIPTION:a long text\r\n  that goes on\r\n", "DESCRIPTION:BEGIN:VALARM\\nEND:VALARM\r\n",
    "X-MOZ-LASTACK:20260101T000000Z\r\n", "X-MOZ-LAS\r\n TACK:20260101T000000Z\r\n", "x-moz-lastack:1\r\n",
    "X-MOZ-LA\u017fTACK:1\r\n", "ATTACH;X-PRIVATE=TRUE:http://x.example/\r\n", "ATTACH;x-priv\r\n ate=1:http://x.example/\r\n",
    "X-APPLE-DEFAULT-ALARM:TRUE\r\n", "X-CALENDARSERVER-PRIVATE-COMMENT:no\r\n", "LOCATION:B\u00fcro 2 \u0131\r\n",
    "BEGIN:PARTICIPANT\r\nUID:p\r\nEND:PARTICIPANT\r\n", "COMMENT:END:VALARM\r\n", "\r\n",
)  # fmt: skip
ALARMS = (
    alarm("one"), alarm("two") + alarm("three"), "BEGIN:VALARM\r\nEND:VALARM\r\n", alarm("x").replace("\r\n", "\n"),
    "begin:valarm\r\nACTION:AUDIO\r\nend:valarm\r\n", "BEGIN:VAL\r\n ARM\r\nACTION:AUDIO\r\nEND:VALARM\r\n",
    "BEGIN:VALARM\r\nACTION:AUDIO\r\nBEGIN:VLOCATION\r\nUID:1\r\nEND:VLOCATION\r\nEND:VALARM\r\n",
    "BEGIN:VALARM \r\nACTION:AUDIO\r\nEND:VALARM\r\n", "BEGIN:\u0131VALARM\r\nEND:\u0131VALARM\r\n",
)  # fmt: skip
PARTS = st.lists(st.sampled_from((*LINES, *ALARMS, *ALARMS[:2], *LINES[:2])), max_size=5).map("".join)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    components = [
        f"BEGIN:{kind}\r\nUID:u\r\nDTSTART:20260101T000000Z\r\n{draw(PARTS)}END:{kind}\r\n"
        for kind in draw(st.lists(st.sampled_from(("VEVENT", "VEVENT", "VTODO", "VJOURNAL")), min_size=1, max_size=3))
    ]
    zone = ZONE.format(draw(st.sampled_from(("", "", alarm("in a zone"))))) if draw(st.booleans()) else ""
    return f"{HEAD}{zone}{''.join(components)}{draw(st.sampled_from(('', '', alarm('outside'))))}{FOOT}".encode()


@given(bodies())
def test_the_short_way_shows_what_the_long_way_shows(body: bytes) -> None:
    short = privacy.show(body, VIEW, public=True)
    assert short == privacy.show(body, VIEW)


def test_the_short_way_is_taken_by_what_programs_write() -> None:
    body = event("u", more=alarm("a") + alarm("b"))
    assert privacy._plainly(body.encode()) == event("u").encode()
    assert privacy._plainly(event("u").encode()) == event("u").encode()


# ---- reading by columns ----


def everything(client: Client, base: str) -> list[object]:
    """What a client finds in a calendar, by each way that can be written from columns."""
    span = between("20261101T000000Z", "20270101T000000Z")
    hrefs = [f"{base}{name}.ics" for name in ("one", "two", "three", "nothing")]
    data = "<D:prop><D:getetag/><C:calendar-data/><C:schedule-tag/></D:prop>"
    answers = [
        client.propfind_raw(base, [d("getetag"), d("getcontenttype")], depth=1),
        calendar_multiget(client, base, *hrefs, prop=data),
        calendar_query(client, base, comp("VEVENT", span), prop=data),
        calendar_query(client, base, comp("VEVENT", comp("VALARM")), prop=data),
        calendar_query(client, base, comp("VEVENT", comp("VALARM")), prop="<D:prop><D:getetag/></D:prop>"),
    ]
    found: list[object] = []
    for answer in answers:
        assert answer.status == 207
        members = {}
        for href, item in answer.responses.items():
            if not href.endswith("/"):
                texts = {name: prop.text for name, prop in item.props.items()}
                members[href.rpartition("/")[2]] = item.status, tuple(sorted(texts.items()))
        found.append(members)
    changes = client.sync(base)[0]
    found.append({href.rpartition("/")[2]: status for href, status in changes.items()})
    return found


@pytest.mark.parametrize("level", ACCESS)
@pytest.mark.parametrize("more", ["nothing more", "something secret", "an alarm of his own"])
def test_what_is_written_from_columns_is_what_is_written_one_by_one(
    server: Server, alice: Client, bob: Client, level: str, more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice.put(f"{OWN}one.ics", event("one", more=alarm("hers")))
    alice.put(f"{OWN}two.ics", event("two", start="20261202T100000Z", more="X-MOZ-LASTACK:20260101T000000Z\r\n"))
    alice.put(f"{OWN}three.ics", event("three", start="20261203T100000Z"))
    share(server.store, account_of(bob), level)
    mount = mount_of(bob)
    if more == "something secret":
        alice.put(f"{OWN}secret.ics", secret_event("secret", "word", "PRIVATE"))
    elif more == "an alarm of his own" and level in ("write", "owner"):
        own = bob.get(f"{mount}two.ics").text.replace("END:VEVENT", alarm("his") + "END:VEVENT")
        assert bob.put(f"{mount}two.ics", own).status == 204
    by_columns = everything(bob, mount)
    monkeypatch.setattr("dav.shown.columns", lambda *_, **__: None)
    monkeypatch.setattr("dav.privacy._plainly", lambda body: None)
    one_by_one = everything(bob, mount)
    assert by_columns == one_by_one
    for name in ("one", "two"):
        assert bob.get(f"{mount}{name}.ics").status == 200


def test_a_sync_after_something_secret_went_does_not_name_it(server: Server, alice: Client, bob: Client) -> None:
    share(server.store, account_of(bob), "write")
    mount = mount_of(bob)
    _, token = bob.sync(mount)
    alice.put(f"{OWN}secret.ics", secret_event("secret", "word", "PRIVATE"))
    assert alice.delete(f"{OWN}secret.ics").status == 204
    assert bob.sync(mount, token)[0] == {}


def test_a_card_that_is_not_public_takes_the_whole_book_the_long_way(
    server: Server, alice: Client, bob: Client
) -> None:
    book = "/dav/addressbooks/alice/contacts/"
    card = "BEGIN:VCARD\r\nVERSION:3.0\r\nUID:{0}\r\nFN:{0}\r\nN:{0};;;;\r\nCLASS:{1}\r\nEND:VCARD\r\n"
    share(server.store, account_of(bob), "write", area="addressbooks", path="contacts")
    mount = mount_of(bob, area="addressbooks")
    for kind, expected in (("PUBLIC", {"PUBLIC"}), ("PRIVATE", {"PUBLIC"})):
        alice.put(f"{book}{kind}.vcf", card.format(kind, kind))
        found = bob.propfind(mount, [d("getetag")], depth=1)
        assert {href.removeprefix(mount) for href in found} - {""} == {f"{name}.vcf" for name in expected}


def test_a_sharees_reads_cost_four_statements_more_whatever_is_in_it(
    server: Server, alice: Client, bob: Client
) -> None:
    share(server.store, account_of(bob), "write")
    mount = mount_of(bob)
    counts = []
    for first, last in ((0, 3), (3, 40)):
        for number in range(first, last):
            alice.put(f"{OWN}{number}.ics", event(f"u{number}", more=alarm("a")))
        counts.append([cost(who, propfind(base, [d("getetag")], 1)) for who, base in ((alice, OWN), (bob, mount))])
    assert counts[0] == counts[1]
    assert counts[0][1] <= counts[0][0] + 4
    assert names(calendar_multiget(bob, mount, f"{mount}1.ics", prop=ALL_DATA)) == ["1.ics"]
