"""Sharing with people who have no account here: a mail with the address of a feed, which ends with the share."""

from __future__ import annotations

import asyncio
import email
import re
from dataclasses import replace
from email import policy
from email.message import EmailMessage

import pytest

from dav.config import Config, FeedsConfig, MailConfig, ServerConfig, SharingConfig, SmtpConfig
from dav.mail.smtp import Sender
from storage import accounts, feeds_out, outbound
from storage.engine import transaction
from storage.records import Outgoing
from tests.dsl import Client, Server
from tests.mail.fake_smtp import FakeSmtp
from tests.protocol.conftest import Serve
from tests.protocol.test_sharing import EVENT, give, share, state_of, take

OUT = "mailto:out@y.example"
SECTIONS = {
    "smtp": SmtpConfig(host="127.0.0.1", tls="none", timeout_seconds=5),
    "mail": MailConfig(from_address="dav@x.example"),
    "server": ServerConfig(public_url="https://dav.x.example"),
}


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve(**SECTIONS)


@pytest.fixture
def ann(server: Server) -> Client:
    return server.account("ann@x.example")


def rows(server: Server) -> list[Outgoing]:
    with transaction(server.store) as conn:
        return outbound.list_outgoing(conn, limit=100)[::-1]


def sent(server: Server) -> list[EmailMessage]:
    """The mails that a sender hands over now."""

    async def go() -> list[bytes]:
        async with FakeSmtp().running() as fake:
            config: Config = replace(server.config, smtp=replace(server.config.smtp, port=fake.port))
            await Sender(server.store, config, clock=server.clock).drain()
            return [taken.data for taken in fake.taken]

    found = [email.message_from_bytes(data, policy=policy.default) for data in asyncio.run(go())]
    assert all(isinstance(one, EmailMessage) for one in found)
    return found


def text_of(message: EmailMessage) -> str:
    part = message.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def link_in(message: EmailMessage) -> str:
    found = re.search(r"https://dav\.x\.example(/feeds/[\w-]+\.\w+)", text_of(message))
    assert found is not None
    return found[1]


def test_an_outsider_gets_one_mail_with_an_address_that_works(ann: Client, server: Server) -> None:
    ann.put(f"calendars/{ann.name}/calendar/one.ics", EVENT)
    assert share(ann, give(OUT, "read", "<CS:common-name>Otto</CS:common-name>")).status == 200
    assert state_of(ann) == {OUT: ("accepted", "read")}
    (message,) = sent(server)
    assert message["To"] == "Otto <out@y.example>"
    assert "ann@x.example" in str(message["From"])
    assert message["Subject"] == "Shared with you: Calendar"
    assert message["Auto-Submitted"] == "auto-generated"
    feed = ann.anonymous().get(link_in(message))
    assert feed.status == 200
    assert "SUMMARY:Plan" in feed.text
    html = message.get_body(("html",))
    assert html is not None
    assert link_in(message) in html.get_content()
    share(ann, give(OUT, "read-write"))  # asked once more: no second mail
    assert sent(server) == []
    assert share(ann, take(OUT)).status == 200
    assert ann.anonymous().get(link_in(message)).status == 404
    assert state_of(ann) == {}


def test_a_share_that_ends_before_the_mail_went_out_sends_none(ann: Client, server: Server) -> None:
    share(ann, give(OUT))
    share(ann, take(OUT))
    assert sent(server) == []
    assert [row.state for row in rows(server)] == ["dropped"]


def test_a_mail_that_was_put_off_is_tried_again_and_sent_once(ann: Client, server: Server) -> None:
    share(ann, give(OUT))

    async def go() -> list[int]:
        async with FakeSmtp(answers={"out@y.example": ["450 4.2.0 later"]}).running() as fake:
            config = replace(server.config, smtp=replace(server.config.smtp, port=fake.port))
            counts = []
            for wait_s in (0, 61, 61):
                server.clock.now_s += wait_s
                await Sender(server.store, config, clock=server.clock).drain()
                counts.append(len(fake.taken))
            return counts

    assert asyncio.run(go()) == [0, 1, 1]
    assert [row.state for row in rows(server)] == ["sent"]


def test_busy_times_are_all_that_an_outsider_with_that_level_sees(ann: Client, server: Server) -> None:
    from dav.sharing import invite
    from dav.sharing.desk import Desk
    from dav.sharing.people import Person
    from storage import collections

    ann.put(f"calendars/{ann.name}/calendar/one.ics", EVENT)
    with transaction(server.store, write=True) as conn:
        source, _ = collections.resolve(conn, ann.name, "calendars", "calendar")
        assert source is not None
        assert ann.account is not None
        desk = Desk(conn, server.config, server.app.urls, server.clock.now_s, "test")
        gift = invite.Gift(Person(OUT), "busy", OUT)
        invite.give(desk, ann.account, source, gift, ask=True)
    (message,) = sent(server)
    assert "and nothing else" in text_of(message)
    feed = ann.anonymous().get(link_in(message)).text
    assert "BEGIN:VEVENT" in feed
    assert "Plan" not in feed


@pytest.mark.parametrize(
    ("language", "word"), [("de", "Kalender"), ("fr", "calendrier"), ("es", "calendario"), ("en", "calendar")]
)
def test_the_mail_speaks_the_owners_language(ann: Client, server: Server, language: str, word: str) -> None:
    assert ann.account is not None
    with transaction(server.store, write=True) as conn:
        accounts.update_account(conn, ann.account.id, locale=language)
    share(ann, give(OUT))
    (message,) = sent(server)
    assert word in text_of(message)


@pytest.mark.parametrize(
    "changes",
    [
        {"sharing": SharingConfig(outsiders=False)},
        {"feeds": FeedsConfig(published=False)},
        {"smtp": SmtpConfig()},
        {"server": ServerConfig()},
    ],
)
def test_where_no_link_can_be_sent_the_invitation_is_shown_as_invalid(serve: Serve, changes: dict[str, object]) -> None:
    server = serve(**{**SECTIONS, **changes})
    ann = server.account("ann@x.example")
    assert share(ann, give(OUT)).status == 200
    assert state_of(ann) == {OUT: ("invalid", "read-write")}
    assert rows(server) == []
    with transaction(server.store) as conn:
        assert ann.account is not None
        assert feeds_out.feeds_of_account(conn, ann.account.id) == []
    assert share(ann, take(OUT)).status == 200
    assert state_of(ann) == {}


def test_what_a_request_says_of_the_host_is_not_in_the_mail(ann: Client, server: Server) -> None:
    body = f'<CS:share xmlns:CS="http://calendarserver.org/ns/" xmlns:D="DAV:">{give(OUT)}</CS:share>'
    headers = {"content_type": "text/xml", "x_forwarded_host": "evil.example"}
    ann.post(f"calendars/{ann.name}/calendar/", body, **headers)
    (message,) = sent(server)
    assert "evil.example" not in message.as_string()
    assert link_in(message)


def test_an_address_book_is_sent_as_a_vcard_feed(ann: Client, server: Server) -> None:
    share(ann, give(OUT, "read"), path=f"addressbooks/{ann.name}/contacts/")
    (message,) = sent(server)
    assert link_in(message).endswith(".vcf")
    assert ann.anonymous().get(link_in(message)).status == 200
