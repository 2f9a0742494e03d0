"""The page on which people without an account answer an invitation: from PUT to the answer in the calendar."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from urllib.parse import urlencode

import pytest

from dav.config import MailConfig, ServerConfig, SmtpConfig
from dav.mail import links
from dav.scheduling.model import partstat_of, read_object
from storage import links as secrets_of
from storage import outbound
from storage.engine import transaction
from storage.records import Outgoing
from tests.dsl import Answer, Client, Server
from tests.protocol.conftest import Serve

GUEST = "bob@gmail.example"
CALENDAR = "calendars/alice%40example.org/calendar/"


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve(
        server=ServerConfig(public_url="http://dav.example"),
        smtp=SmtpConfig(host="127.0.0.1"),
        mail=MailConfig(from_address="invites@example.org", settle_seconds=0, link_days=60),
    )


@pytest.fixture
def alice(server: Server) -> Client:
    return server.account("alice@example.org")


def meeting(
    *more: str, uid: str = "tea", start: str = "20261215T150000Z", sequence: int = 0, guests: str = GUEST
) -> str:
    lines = (
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//x//EN", "BEGIN:VEVENT", f"UID:{uid}", f"SEQUENCE:{sequence}",
        "DTSTAMP:20261125T100000Z", f"DTSTART:{start}", "DURATION:PT1H", "SUMMARY:Tea & <cake>",
        "LOCATION:Café\\, Berlin", *more, "ORGANIZER;CN=Alice Liddell:mailto:alice@example.org",
        "ATTENDEE;PARTSTAT=ACCEPTED:mailto:alice@example.org",
        *(f"ATTENDEE;RSVP=TRUE;PARTSTAT=NEEDS-ACTION:mailto:{guest}" for guest in guests.split(",") if guest),
        "END:VEVENT", "END:VCALENDAR", "",
    )  # fmt: skip
    return "\r\n".join(lines)


def put(alice: Client, body: str, uid: str = "tea") -> None:
    assert alice.put(f"{CALENDAR}{uid}.ics", body).status in (201, 204)


def post_out(server: Server) -> list[Outgoing]:
    """All mails that are due, taken by the mail server."""
    with transaction(server.store, write=True) as conn:
        rows = outbound.claim(conn, holder="test", now_s=server.clock.now_s + 3600, lease_s=60, limit=50)
        for row in rows:
            outbound.sent(conn, row.id, message_id=f"<{row.key}@x>", answer="250 ok", now_s=server.clock.now_s)
    return rows


def link_to(server: Server, guest: str = GUEST, uid: str = "tea") -> str:
    """The path of the link that the guest got last."""
    with transaction(server.store, write=True) as conn:
        secret = links.secret_of(conn)
        rows = outbound.list_outgoing(conn, uid=uid, limit=50)
    row = next(row for row in rows if row.recipient == guest and row.method == "REQUEST")
    found = links.links_for(row, server.config, secret)
    assert found is not None
    return found.accept.removeprefix("http://dav.example").partition("?")[0]


def invited(alice: Client, *more: str, start: str = "20261215T150000Z") -> str:
    put(alice, meeting(*more, start=start))
    assert [row.recipient for row in post_out(alice.server)] == [GUEST]
    return link_to(alice.server)


class Page(HTMLParser):
    """The elements of a page as (tag, attributes), and its text."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.found if attributes.get("name") == name]


def open_(alice: Client, path: str, **headers: str) -> Answer:
    return alice.anonymous().get(path, **{"accept_language": "en-US", **headers})


def answer(alice: Client, path: str, given: str = "accept", *, form: str | None = None, **more: str) -> Answer:
    """Sends the page's own form."""
    if form is None:
        marks = Page(open_(alice, path)).named("form")
        form = str(marks[0]["value"]) if marks else "none"
    headers = {"content_type": "application/x-www-form-urlencoded", "origin": "null", "accept_language": "en-US"}
    headers |= {name: more.pop(name) for name in ("origin", "sec_fetch_site", "content_type") if name in more}
    return alice.anonymous().post(path, urlencode({"form": form, "answer": given, **more}), **headers)


def partstats(alice: Client, uid: str = "tea", guest: str = GUEST) -> dict[str, str]:
    obj = read_object(alice.get(f"{CALENDAR}{uid}.ics").body)
    return {key: partstat_of(line) for key, line in obj.all_attendees().get(f"mailto:{guest}", ())}


def test_the_page_says_who_what_when_and_where(alice: Client) -> None:
    page = Page(open_(alice, invited(alice)))
    for said in ("Alice Liddell invites you", "Tea & <cake>", "Café, Berlin", "December 15, 2026", GUEST, "UTC"):
        assert said in page.text.replace("\u00a0", " ")


def test_a_meeting_years_ahead_has_its_page(alice: Client) -> None:
    assert "June 14, 2045" in Page(open_(alice, invited(alice, start="20450614T150000Z"))).text


def test_the_answer_reaches_the_organizers_calendar(alice: Client) -> None:
    path = invited(alice)
    done = answer(alice, path, "decline", comment="I am ill,\r\nsorry; really")
    assert (done.status, partstats(alice)) == (303, {"": "DECLINED"})
    page = Page(open_(alice, done.headers["location"]))
    assert "Thank you. Alice Liddell has your answer." in page.text
    assert "You declined" in page.text
    assert page.named("answer")  # the way to change it


def test_an_answer_can_be_changed(alice: Client) -> None:
    path = invited(alice)
    for given, partstat in (
        ("accept", "ACCEPTED"),
        ("maybe", "TENTATIVE"),
        ("decline", "DECLINED"),
        ("accept", "ACCEPTED"),
    ):
        alice.server.clock.now_s += 5
        assert answer(alice, path, given).status == 303
        assert partstats(alice) == {"": partstat}


@pytest.mark.parametrize("verb", ["GET", "HEAD"])
def test_opening_the_link_answers_nothing(alice: Client, verb: str) -> None:
    path = invited(alice)
    for query in ("", "?answer=accept", "?answer=decline&scope=all&notice=done&form=x"):
        for headers in ({}, {"sec_purpose": "prefetch"}, {"purpose": "prefetch"}):
            assert alice.anonymous().request(verb, path + query, **headers).status == 200
    assert partstats(alice) == {"": "NEEDS-ACTION"}


def test_the_button_of_the_mail_is_only_proposed(alice: Client) -> None:
    page = Page(open_(alice, invited(alice) + "?answer=maybe"))
    assert "You chose “Maybe” in the mail" in page.text
    chosen = [a for tag, a in page.found if tag == "button" and "chosen" in str(a.get("class"))]
    assert [button["value"] for button in chosen] == ["maybe"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"form": "0" * 32},
        {"form": ""},
        {"origin": "https://evil.example"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"content_type": "text/plain"},
    ],
)
def test_what_does_not_come_from_the_page_is_refused(alice: Client, wrong: dict[str, str]) -> None:
    path = invited(alice)
    assert answer(alice, path, **wrong).status == 403
    assert partstats(alice) == {"": "NEEDS-ACTION"}


def test_our_own_origin_is_taken(alice: Client) -> None:
    path = invited(alice)
    assert answer(alice, path, origin="http://dav.example", sec_fetch_site="same-origin").status == 303


def test_an_answer_that_is_none_is_asked_for_once_more(alice: Client) -> None:
    path = invited(alice)
    for given in ("", "ACCEPTED", "delegate"):
        again = answer(alice, path, given)
        assert (again.status, "Nothing was sent" in again.text) == (400, True)
    assert partstats(alice) == {"": "NEEDS-ACTION"}


def gone(alice: Client, path: str) -> bytes:
    """The page that tells nothing, of GET and of POST."""
    shown, posted = open_(alice, path), answer(alice, path, form="x")
    assert (shown.status, posted.status) == (404, 404)
    assert shown.body == posted.body
    return shown.body


def test_every_link_that_does_not_work_gets_the_same_page(alice: Client) -> None:
    server = alice.server
    path = invited(alice)
    nonsense = gone(alice, "/invite/nonsense")
    token = path.removeprefix("/invite/")
    for at in (0, 8, len(token) // 2, len(token) - 1):
        changed = "".join(("B" if char == "A" else "A") if number == at else char for number, char in enumerate(token))
        assert gone(alice, f"/invite/{changed}") == nonsense
    assert gone(alice, path + "=") == nonsense
    with transaction(server.store, write=True) as conn:
        row = outbound.list_outgoing(conn, limit=1)[0]
        secret = links.secret_of(conn)
        other = links.make_token(links.Invited(row.account_id, "other", GUEST, row.created_s), secret)
        stranger = links.make_token(links.Invited(row.account_id, "tea", "eve@x.example", row.created_s), secret)
        nobody = links.make_token(links.Invited(999, "tea", GUEST, row.created_s), secret)
    for made in (other, stranger, nobody):
        assert gone(alice, f"/invite/{made}") == nonsense


def test_a_link_ends_with_its_age(alice: Client) -> None:
    path = invited(alice, start="20271215T150000Z")
    alice.server.clock.now_s += 60 * 86_400
    assert open_(alice, path).status == 200
    alice.server.clock.now_s += 2 * 86_400
    gone(alice, path)


def test_a_link_ends_with_the_meeting(alice: Client) -> None:
    path = invited(alice)
    assert alice.delete(f"{CALENDAR}tea.ics").status == 204
    gone(alice, path)
    post_out(alice.server)
    gone(alice, path)


def test_a_link_ends_when_the_guest_is_taken_off(alice: Client) -> None:
    path = invited(alice)
    put(alice, meeting(guests="carol@x.example", sequence=1))
    gone(alice, path)


def test_all_links_can_be_made_void(alice: Client) -> None:
    path = invited(alice)
    server = alice.server
    with transaction(server.store, write=True) as conn:
        secrets_of.void_links(conn, server.clock.now_s + 1)
    gone(alice, path)
    server.clock.now_s += 60
    put(alice, meeting(start="20261216T150000Z", sequence=1))
    post_out(server)
    gone(alice, path)
    try:
        assert open_(alice, link_to(server)).status == 200
    finally:
        with transaction(server.store, write=True) as conn:
            secrets_of.void_links(conn, 0)  # a PostgreSQL database is shared by the tests


def test_a_disabled_account_has_no_page(alice: Client) -> None:
    from storage.accounts import set_active

    path = invited(alice)
    assert alice.account is not None
    with transaction(alice.server.store, write=True) as conn:
        set_active(conn, alice.account.id, False)
    gone(alice, path)


def test_the_page_shows_no_more_than_the_mail_did(alice: Client) -> None:
    path = invited(alice)
    put(
        alice,
        meeting("DESCRIPTION:The secret plan", guests=f"{GUEST},carol@x.example", sequence=1).replace("Tea", "Coup"),
    )
    text = Page(open_(alice, path)).text  # the mail about it is not sent yet
    assert "Tea & <cake>" in text
    assert not any(word in text for word in ("secret plan", "carol", "Coup"))
    post_out(alice.server)
    assert "Coup" in Page(open_(alice, path)).text


def test_an_answer_to_an_older_mail_does_not_count_for_the_new_time(alice: Client) -> None:
    path = invited(alice)
    alice.server.clock.now_s += 600
    put(alice, meeting(start="20261216T150000Z", sequence=1))
    late = answer(alice, path)
    assert (late.status, "use the link in the newest mail" in late.text) == (409, True)
    assert partstats(alice) == {"": "NEEDS-ACTION"}
    post_out(alice.server)
    assert answer(alice, path).status == 303
    assert partstats(alice) == {"": "ACCEPTED"}


def test_what_is_over_is_shown_and_cannot_be_answered(alice: Client) -> None:
    path = invited(alice)
    form = str(Page(open_(alice, path)).named("form")[0]["value"])
    alice.server.clock.now_s += 30 * 86_400
    page = Page(open_(alice, path))
    assert "This is over" in page.text
    assert not page.named("answer")
    assert answer(alice, path, form=form).status == 400
    assert partstats(alice) == {"": "NEEDS-ACTION"}


# ---- series ----


def dates(alice: Client, path: str) -> list[str]:
    """The keys of the dates to choose from."""
    values = [str(a["value"]) for tag, a in Page(open_(alice, path)).found if tag == "option"]
    return [value for value in values if re.fullmatch(r"\d{8}T\d{6}Z", value)]


def test_one_date_of_a_series_can_be_answered(alice: Client) -> None:
    path = invited(alice, "RRULE:FREQ=WEEKLY;COUNT=30")
    keys = dates(alice, path)
    assert keys[:2] == ["20261215T150000Z", "20261222T150000Z"]
    assert len(keys) == 12
    done = answer(alice, path, "decline", scope="one", date=keys[1])
    assert done.status == 303
    assert partstats(alice) == {"": "NEEDS-ACTION", "20261222T150000Z": "DECLINED"}
    text = Page(open_(alice, done.headers["location"])).text.replace("\u00a0", " ")
    assert "Dec 22, 2026" in text
    assert ": You declined" in text


def test_all_dates_of_a_series_are_answered_with_those_that_had_an_answer(alice: Client) -> None:
    path = invited(alice, "RRULE:FREQ=WEEKLY;COUNT=30")
    assert answer(alice, path, "decline", scope="one", date="20261222T150000Z").status == 303
    alice.server.clock.now_s += 5
    assert answer(alice, path, "accept", scope="all").status == 303
    assert partstats(alice) == {"": "ACCEPTED", "20261222T150000Z": "ACCEPTED"}


def test_a_date_that_is_not_there_is_asked_for_once_more(alice: Client) -> None:
    path = invited(alice, "RRULE:FREQ=WEEKLY;COUNT=3")
    for date in ("", "20261223T150000Z", "20270105T150000Z", "nonsense"):
        assert answer(alice, path, scope="one", date=date).status == 400
    assert partstats(alice) == {"": "NEEDS-ACTION"}


def test_a_date_that_was_cancelled_is_not_offered(alice: Client) -> None:
    path = invited(alice, "RRULE:FREQ=WEEKLY;COUNT=3")
    put(alice, meeting("RRULE:FREQ=WEEKLY;COUNT=3", "EXDATE:20261222T150000Z", sequence=1))
    assert dates(alice, path) == ["20261215T150000Z", "20261229T150000Z"]
    post_out(alice.server)
    assert dates(alice, path) == ["20261215T150000Z", "20261229T150000Z"]


def test_a_series_is_told_in_words(alice: Client) -> None:
    text = Page(open_(alice, invited(alice, "RRULE:FREQ=WEEKLY;COUNT=3"))).text
    assert "Weekly on Tuesday, 3 times" in text


# ---- the page as such ----


@pytest.mark.parametrize(
    ("field", "language", "words"),
    [
        ("de-AT,de;q=0.9,en;q=0.5", "de", "lädt Sie ein"),
        ("fr", "fr", "vous invite"),
        ("es-MX", "es", "le invita"),
        ("ja,en;q=0.8,de;q=0.9", "de", "lädt Sie ein"),
        ("ja", "en", "invites you"),
        ("x" * 5000, "en", "invites you"),
    ],
)
def test_the_page_speaks_the_language_of_the_browser(alice: Client, field: str, language: str, words: str) -> None:
    page = Page(open_(alice, invited(alice), accept_language=field))
    assert ("html", {"lang": language}) in page.found
    assert words in page.text


def test_without_a_wish_it_speaks_the_language_of_the_guest(alice: Client) -> None:
    put(alice, meeting().replace(f":mailto:{GUEST}", f";LANGUAGE=fr-CA:mailto:{GUEST}"))
    post_out(alice.server)
    page = Page(open_(alice, link_to(alice.server), accept_language=""))
    assert ("html", {"lang": "fr"}) in page.found


def test_another_zone_is_shown_beside_the_events(alice: Client) -> None:
    path = invited(alice)
    text = Page(open_(alice, f"{path}?zone=Asia/Tokyo")).text.replace("\u00a0", " ")
    assert "Wednesday, December 16, 2026, 12:00 AM – 1:00 AM" in text
    assert "Tuesday, December 15, 2026, 3:00 PM – 4:00 PM" in text
    assert open_(alice, f"{path}?zone=%00../../etc").status == 200


def test_the_page_needs_no_script_and_nothing_from_elsewhere(alice: Client) -> None:
    page = Page(open_(alice, invited(alice, "URL:https://meet.example/x", "RRULE:FREQ=DAILY")))
    for tag, attributes in page.found:
        assert tag not in ("script", "style", "iframe", "object")
        assert tag != "img" or str(attributes["src"]).startswith("/web/static/")
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        if tag == "a" and str(attributes["href"]).startswith("https:"):
            assert attributes["rel"] == "noopener noreferrer nofollow"
    identifiers = [a["id"] for _, a in page.found if a.get("id")]
    assert len(identifiers) == len(set(identifiers))
    fields = {a["id"] for tag, a in page.found if tag in ("select", "textarea")}
    assert fields == {a["for"] for tag, a in page.found if tag == "label" and "for" in a}


def test_nobody_keeps_frames_or_refers_to_the_page(alice: Client) -> None:
    headers = open_(alice, invited(alice)).headers
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-robots-tag"].startswith("noindex")
    policy = headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy)
    assert "script-src" not in headers["content-security-policy"]
    assert "set-cookie" not in headers


def test_hostile_texts_stay_texts(alice: Client) -> None:
    hostile = '"><script>alert(1)</script>${body}\u202e'
    path = invited(
        alice, f"DESCRIPTION:{hostile}", f"URL:javascript:alert(1){hostile}", 'CONFERENCE:https://x" onclick=1'
    )
    shown = open_(alice, path + "?zone=%22%3E%3Cscript%3E&date=%22%3E%3Cscript%3E&answer=%22%3E")
    assert "<script" not in shown.text
    assert "javascript:" not in shown.text
    assert "\u202e" not in shown.text
    assert not any("onclick" in attributes for _, attributes in Page(shown).found)
    again = answer(alice, path, "", comment="</textarea><script>")
    assert "<script" not in again.text
    assert "</textarea><script>" in unescape(again.text)


def test_a_long_or_strange_body_is_refused_without_harm(alice: Client) -> None:
    path = invited(alice)
    form = str(Page(open_(alice, path)).named("form")[0]["value"])
    fields = {"content_type": "application/x-www-form-urlencoded"}
    anybody = alice.anonymous()
    assert anybody.post(path, "comment=" + "x" * 20_000, **fields).status == 403
    assert anybody.post(path, "&".join(f"a{n}=1" for n in range(500)), **fields).status == 403
    assert anybody.post(path, b"\xff\xfe=%ff&form=%", **fields).status == 403
    assert answer(alice, path, form=form, comment="x" * 5000 + "\x00\x07").status == 303


def test_other_methods_are_not_there(alice: Client) -> None:
    path = invited(alice)
    for verb in ("PUT", "DELETE", "PATCH"):
        assert alice.anonymous().request(verb, path).status == 405
    assert open_(alice, "/invite/").status == 404


def test_whoever_guesses_is_slowed_down(alice: Client) -> None:
    statuses = [open_(alice, f"/invite/guess{n}").status for n in range(25)]
    assert statuses[:20] == [404] * 20
    assert statuses[20:] == [429] * 5
    refused = open_(alice, "/invite/guess")
    assert int(refused.headers["retry-after"]) > 0
    assert open_(alice, invited(alice)).status == 200  # a right link is another matter


def test_one_link_does_not_answer_for_ever(alice: Client) -> None:
    path = invited(alice)
    form = str(Page(open_(alice, path)).named("form")[0]["value"])
    statuses = [answer(alice, path, form=form).status for _ in range(12)]
    assert statuses == [303] * 10 + [429] * 2
    alice.server.clock.now_s += 120
    assert answer(alice, path, form=form).status == 303


# ---- links ----


def test_links_need_an_address_of_ours(alice: Client) -> None:
    invited(alice)
    with transaction(alice.server.store, write=True) as conn:
        row, secret = outbound.list_outgoing(conn, limit=1)[0], links.secret_of(conn)
    config = alice.server.config
    assert links.links_for(row, config, secret) == links.links_for(row, config, secret)
    assert links.links_for(row, replace(config, server=ServerConfig()), secret) is None
    assert links.links_for(row, replace(config, mail=replace(config.mail, links=False)), secret) is None
    assert links.links_for(replace(row, method="CANCEL"), config, secret) is None
    assert links.links_for(replace(row, uid="u" * 5000), config, secret) is None
    below = replace(config, server=ServerConfig(public_url="https://x.example", base_path="/desk"))
    found = links.links_for(row, below, secret)
    assert found is not None
    assert re.fullmatch(r"https://x\.example/desk/invite/[A-Za-z0-9_-]+\?answer=decline", found.decline)
