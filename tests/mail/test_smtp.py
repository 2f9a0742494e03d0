"""The sender: leases, refusals, waiting, limits, and what is written back."""

from __future__ import annotations

import asyncio
import email
import socket
from dataclasses import replace
from email import policy
from pathlib import Path

import pytest

from dav.config import Config, ConfigError, MailConfig, SmtpConfig, load
from dav.mail import can_mail
from dav.mail.bounces import read_return_path
from dav.mail.links import secret_of
from dav.mail.smtp import BATCH, Sender, password_of
from dav.provision import provision
from storage import accounts, collections, outbound
from storage.engine import Store, transaction
from storage.records import NewOutgoing, Outgoing
from tests.mail.fake_smtp import FakeSmtp
from tests.mail.letters import EVENT, NOW_S, calendar


class Clock:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return float(self.now_s)


class Post:
    """A sender over a store, with a clock of its own."""

    def __init__(self, store: Store, **mail: object) -> None:
        self.store, self.clock = store, Clock()
        self.mail = MailConfig(from_address="invites@example.org", **mail)  # type: ignore[arg-type]
        with transaction(store, write=True) as conn:
            self.account = provision(conn, "anna", now_s=NOW_S)

    def sender(self, port: int, **smtp: object) -> Sender:
        settings = SmtpConfig(host="127.0.0.1", port=port, tls="none", **{"timeout_seconds": 5, **smtp})  # type: ignore[arg-type]
        self.config = Config(smtp=settings, mail=self.mail)
        return Sender(self.store, self.config, clock=self.clock)

    def queue(
        self,
        recipient: str,
        *,
        uid: str = "u1@example.org",
        sequence: int = 0,
        event: str = EVENT,
        actor_id: int | None = None,
    ) -> None:
        item = NewOutgoing(
            self.account.id, uid, "", recipient, "", "anna@example.org", "Anna Berg", "REQUEST", "VEVENT", sequence,
            f"{uid}{sequence}", "", ("new",), calendar("REQUEST", event), actor_id,
        )  # fmt: skip
        with transaction(self.store, write=True) as conn:
            assert outbound.enqueue(conn, item, now_s=self.clock.now_s, settle_s=0, settle_max_s=0) in (
                "queued",
                "merged",
            )

    def rows(self) -> list[Outgoing]:
        with transaction(self.store) as conn:
            return outbound.list_outgoing(conn, limit=1000)[::-1]

    def states(self) -> list[str]:
        return [row.state for row in self.rows()]


@pytest.fixture
def post(store: Store) -> Post:
    return Post(store)


def ids(fake: FakeSmtp) -> list[str]:
    return [str(email.message_from_bytes(item.data)["Message-ID"]) for item in fake.taken]


async def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_row_that_is_due_is_sent_and_noted(post: Post) -> None:
    async def go() -> None:
        async with FakeSmtp().running() as fake:
            post.queue("bob@gmail.example")
            assert await post.sender(fake.port).drain() == 1
            (row,) = post.rows()
            assert (row.state, row.status, row.answer) == ("sent", "1.1", "250 2.0.0 queued as 1")
            assert [row.message_id] == ids(fake)
            assert await post.sender(fake.port).drain() == 0
            assert len(fake.taken) == 1
            assert fake.commands[-1] == "QUIT"

    asyncio.run(go())


def test_the_envelope_sender_names_the_row(post: Post) -> None:
    async def go() -> None:
        async with FakeSmtp().running() as fake:
            post.queue("bob@gmail.example")
            await post.sender(fake.port).drain()
            with transaction(post.store) as conn:
                secret = secret_of(conn)
            assert fake.taken[0].sender.startswith("invites+")
            assert read_return_path(fake.taken[0].sender, "invites@example.org", secret) == post.rows()[0].id

    asyncio.run(go())


def test_who_wrote_it_for_somebody_else_is_named_and_when_that_account_is_gone_nobody_is(post: Post) -> None:
    with transaction(post.store, write=True) as conn:
        paul = provision(conn, "paul", display_name="Paul Abel", addresses=["paul@example.org"], now_s=NOW_S)
        gone = provision(conn, "gone", addresses=["gone@example.org"], now_s=NOW_S)

    async def go() -> None:
        async with FakeSmtp().running() as fake:
            post.queue("bob@gmail.example", actor_id=paul.id)
            post.queue("joe@gmail.example", uid="u2", actor_id=gone.id)
            with transaction(post.store, write=True) as conn:
                accounts.remove_account(conn, gone.id)
            assert await post.sender(fake.port).drain() == 2
            found = {item.recipient: email.message_from_bytes(item.data, policy=policy.default) for item in fake.taken}
            for message in found.values():
                assert message["From"] == "Anna Berg <anna@example.org>"
            assert found["bob@gmail.example"]["Sender"] == "Paul Abel <paul@example.org>"
            assert "Paul Abel on behalf of Anna Berg" in str(found["bob@gmail.example"].get_body(("plain",)))
            assert found["joe@gmail.example"]["Sender"] is None
            assert "on behalf of" not in str(found["joe@gmail.example"].get_body(("plain",)))

    asyncio.run(go())


def test_many_rows_share_few_connections(post: Post) -> None:
    async def go() -> None:
        async with FakeSmtp().running() as fake:
            for number in range(3 * BATCH):
                post.queue(f"g{number}@x.example")
            assert await post.sender(fake.port, connections=3).drain() == 3 * BATCH
            assert sorted({item.recipient for item in fake.taken}) == sorted(
                f"g{n}@x.example" for n in range(3 * BATCH)
            )
            assert len(set(ids(fake))) == 3 * BATCH
            assert fake.connections <= 3

    asyncio.run(go())


def test_what_is_put_off_comes_again_after_a_minute_then_later_and_later(post: Post) -> None:
    async def go() -> None:
        busy = "451 4.7.1 greylisted, come again"
        async with FakeSmtp({"bob@gmail.example": [busy, busy, busy]}).running() as fake:
            post.queue("bob@gmail.example")
            sender = post.sender(fake.port)
            for wait_s in (60, 120, 300):
                assert await sender.drain() == 1
                (row,) = post.rows()
                assert (row.state, row.status, row.answer) == ("held", "", busy)
                assert row.not_before_s == post.clock.now_s + wait_s
                post.clock.now_s += wait_s - 1
                assert await sender.drain() == 0
                post.clock.now_s += 1
            assert await sender.drain() == 1
            assert post.states() == ["sent"]
            assert "RSET" in fake.commands

    asyncio.run(go())


def test_after_mail_retry_days_it_is_given_up(store: Store) -> None:
    async def go() -> None:
        post = Post(store, retry_days=1)
        async with FakeSmtp({"bob@gmail.example": ["452 4.2.2 full"] * 9}).running() as fake:
            post.queue("bob@gmail.example")
            sender = post.sender(fake.port)
            await sender.drain()
            post.clock.now_s += 86_400
            await sender.drain()
            (row,) = post.rows()
            assert (row.state, row.status, row.answer) == ("failed", "5.1", "452 4.2.2 full")

    asyncio.run(go())


@pytest.mark.parametrize(
    ("where", "answer", "status", "counted"),
    [
        ("rcpt", "550 5.1.1 no such user", "5.2", True),
        ("rcpt", "550 mailbox is unavailable", "5.1", False),
        ("rcpt", "552 5.2.2 mailbox full", "5.1", False),
        ("rcpt", "554 5.7.1 relay access denied", "5.3", False),
        ("data", "554 5.7.1 looks like spam", "5.3", False),
        ("data", "552 5.3.4 too large", "5.3", False),
    ],
)
def test_a_refusal_for_good_is_the_schedule_status(
    post: Post, where: str, answer: str, status: str, counted: bool
) -> None:
    async def go() -> None:
        fake = FakeSmtp({"bob@gmail.example": [answer]}) if where == "rcpt" else FakeSmtp(data_answers=[answer])
        async with fake.running():
            post.queue("bob@gmail.example")
            post.queue("carol@gmail.example")
            await post.sender(fake.port, connections=1).drain()
            first, second = post.rows()
            assert (first.state, first.status, first.answer) == ("failed", status, answer)
            assert second.state == "sent"
            with transaction(post.store) as conn:
                assert outbound.dead_addresses(conn, ["bob@gmail.example"], bounces=1) == (
                    {"bob@gmail.example"} if counted else set()
                )

    asyncio.run(go())


def test_nothing_more_is_sent_to_an_address_that_came_back_too_often(store: Store) -> None:
    async def go() -> None:
        post = Post(store, bounces_before_dead=2)
        async with FakeSmtp({"bob@gmail.example": ["550 5.1.1 nobody"] * 9}).running() as fake:
            sender = post.sender(fake.port)
            for number in range(3):
                post.queue("bob@gmail.example", uid=f"u{number}")
                await sender.drain()
            assert [row.status for row in post.rows()] == ["5.2"] * 3
            assert post.rows()[2].answer == "Not sent: 2 mails to this address came back."
            assert sum(line.startswith("RCPT") for line in fake.commands) == 2

    asyncio.run(go())


def test_while_no_server_answers_everything_waits_and_nothing_is_lost(post: Post) -> None:
    async def go() -> None:
        port = await closed_port()
        for number in range(5):
            post.queue(f"g{number}@x.example")
        sender = post.sender(port, connections=1)
        await sender.drain()
        assert post.states() == ["held"] * 5
        assert {row.not_before_s for row in post.rows()} == {NOW_S + 5}
        assert str(port) in post.rows()[0].answer
        assert await sender.drain() == 0, "it must not knock again at once"
        post.clock.now_s += 5
        async with FakeSmtp().running(port) as fake:
            await post.sender(port).drain()
            assert post.states() == ["sent"] * 5
            assert len(set(ids(fake))) == 5

    asyncio.run(go())


def test_a_sender_that_is_refused_stops_all_mail_and_fails_none(post: Post) -> None:
    async def go() -> None:
        async with FakeSmtp(mail_answer="553 5.7.1 not owned by user").running() as fake:
            post.queue("bob@gmail.example")
            post.queue("carol@gmail.example")
            await post.sender(fake.port, connections=1).drain()
            assert post.states() == ["held", "held"]
            assert "553 5.7.1 not owned by user" in post.rows()[0].answer

    asyncio.run(go())


def test_a_connection_that_breaks_after_the_dot_sends_again_with_the_same_message_id(post: Post) -> None:
    async def go() -> None:
        async with FakeSmtp(cut=True).running() as fake:
            post.queue("bob@gmail.example")
            sender = post.sender(fake.port)
            await sender.drain()
            assert post.states() == ["held"]
            post.clock.now_s += 60
            await sender.drain()
            assert post.states() == ["sent"]
            assert len(fake.taken) == 2
            assert len(set(ids(fake))) == 1

    asyncio.run(go())


def test_a_row_of_a_dead_sender_waits_for_its_lease_and_keeps_its_message_id(post: Post) -> None:
    async def go() -> None:
        async with FakeSmtp().running() as fake:
            post.queue("bob@gmail.example")
            with transaction(post.store, write=True) as conn:
                (taken,) = outbound.claim(conn, holder="dead", now_s=NOW_S, lease_s=100, limit=9)
            sender = post.sender(fake.port)
            assert await sender.drain() == 0
            post.clock.now_s += 100
            assert await sender.drain() == 1
            assert post.states() == ["sent"]
            assert taken.key[:40] in ids(fake)[0]

    asyncio.run(go())


def test_two_senders_at_the_same_time_send_each_row_once(post: Post) -> None:
    async def go() -> None:
        async with FakeSmtp().running() as fake:
            for number in range(4 * BATCH):
                post.queue(f"g{number}@x.example", uid=f"u{number % 7}")
            one, two = post.sender(fake.port), post.sender(fake.port)
            assert sum(await asyncio.gather(one.drain(), two.drain())) == 4 * BATCH
            assert len(fake.taken) == len(set(ids(fake))) == 4 * BATCH

    asyncio.run(go())


def test_what_is_too_much_for_an_hour_waits_for_the_next(store: Store) -> None:
    async def go() -> None:
        post = Post(store, per_event_hour=3)
        async with FakeSmtp().running() as fake:
            for number in range(5):
                post.queue(f"g{number}@x.example")
            post.queue("other@x.example", uid="u2@example.org")
            sender = post.sender(fake.port)
            await sender.drain()
            assert len(fake.taken) == 4
            assert post.states().count("held") == 2
            post.clock.now_s += 3601
            await sender.drain()
            assert post.states() == ["sent"] * 6

    asyncio.run(go())


def test_an_account_has_a_limit_too(store: Store) -> None:
    async def go() -> None:
        post = Post(store, per_account_hour=2)
        async with FakeSmtp().running() as fake:
            for number in range(4):
                post.queue("bob@x.example", uid=f"u{number}")
            await post.sender(fake.port).drain()
            assert len(fake.taken) == 2

    asyncio.run(go())


def test_a_row_that_cannot_be_a_mail_fails_and_the_next_one_is_sent(post: Post) -> None:
    async def go() -> None:
        async with FakeSmtp().running() as fake:
            post.queue("bob@x.example", uid="u1", event="SUMMARY:x\nEND:VEVENT\n")
            post.queue("bob@x.example", uid="u2")
            await post.sender(fake.port).drain()
            first, second = post.rows()
            assert (first.state, first.status) == ("failed", "5.2")
            assert first.answer.startswith("Not sent: ")
            assert second.state == "sent"

    asyncio.run(go())


def test_an_address_beyond_ascii_needs_a_server_that_knows_them(post: Post) -> None:
    async def go() -> None:
        async with FakeSmtp().running() as fake:
            post.queue("jörg@x.example")
            await post.sender(fake.port).drain()
            assert (post.rows()[0].state, post.rows()[0].status) == ("failed", "5.2")
        async with FakeSmtp(extensions=("SMTPUTF8", "8BITMIME")).running() as fake:
            post.queue("jörg@x.example", uid="u2")
            await post.sender(fake.port).drain()
            assert fake.taken[0].recipient == "jörg@x.example"

    asyncio.run(go())


def test_a_sender_that_is_stopped_ends_what_it_began_and_gives_the_rest_back(post: Post) -> None:
    async def go() -> None:
        async with FakeSmtp(delay_s=0.3).running() as fake:
            for number in range(BATCH):
                post.queue(f"g{number}@x.example")
            task = asyncio.create_task(post.sender(fake.port, connections=1).run_for_ever())
            while not any(line == "DATA" for line in fake.commands):
                await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            states = post.states()
            assert states.count("sent") == len(fake.taken) >= 1
            assert set(states) == {"sent", "held"}, "nothing stays in doubt"

    asyncio.run(go())


def test_a_sender_that_runs_is_woken_by_a_commit(post: Post) -> None:
    async def go() -> None:
        async with FakeSmtp().running() as fake:
            sender = post.sender(fake.port)
            task = asyncio.create_task(sender.run_for_ever())
            await asyncio.sleep(0.3)
            post.queue("bob@x.example")
            await asyncio.to_thread(sender.wake)
            async with asyncio.timeout(3):
                while not fake.taken:
                    await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(go())


def test_a_server_that_says_nothing_is_given_up_in_time(post: Post) -> None:
    async def go() -> None:
        async with FakeSmtp(delay_s=30).running() as fake:
            post.queue("bob@x.example")
            await post.sender(fake.port, timeout_seconds=1).drain()
            assert post.states() == ["held"]
            assert post.rows()[0].answer == "no answer in 1 s"

    asyncio.run(go())


def test_what_a_killed_sender_had_sent_and_not_told_is_told_by_the_next(post: Post) -> None:
    async def go() -> None:
        async with FakeSmtp().running() as fake:
            post.queue("bob@gmail.example")
            with transaction(post.store, write=True) as conn:
                (taken,) = outbound.claim(conn, holder="dead", now_s=NOW_S, lease_s=100, limit=9)
                outbound.sent(conn, taken.id, message_id="<a@b.example>", answer="250 ok", now_s=NOW_S)
            assert post.rows()[0].status == ""
            task = asyncio.create_task(post.sender(fake.port).run_for_ever())
            async with asyncio.timeout(5):
                while post.rows()[0].status != "1.1":
                    await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert not fake.taken

    asyncio.run(go())


def test_a_mail_is_in_the_language_and_by_the_clock_of_who_writes(post: Post) -> None:
    async def go() -> None:
        async with FakeSmtp().running() as fake:
            utc = EVENT.replace(";TZID=Europe/Berlin", "").replace("T100000", "T100000Z").replace("T113000", "T113000Z")
            post.queue("bob@x.example", uid="u1", event=utc)
            with transaction(post.store, write=True) as conn:
                home = collections.home(conn, post.account.id, "calendars")
                first = collections.children(conn, home.id)[0]
                collections.update_collection(conn, first.id, now_s=NOW_S, time_zone_id="Asia/Tokyo")
            await post.sender(fake.port).drain()
            with transaction(post.store, write=True) as conn:
                accounts.update_account(conn, post.account.id, locale="de", time_zone="Europe/Berlin")
            post.queue("bob@x.example", uid="u2", event=utc)
            await post.sender(fake.port).drain()
            texts = [
                email.message_from_bytes(item.data, policy=policy.default).get_body(("plain",)).get_content()
                for item in fake.taken
            ]
            assert "7:00\xa0PM" in texts[0]
            assert "Tokyo" in texts[0] or "Japan" in texts[0]
            assert "11:00 – 12:30" in texts[1]
            assert "Montag" in texts[1]

    asyncio.run(go())


# ---- settings ----


def test_the_password_is_read_from_its_file_each_time(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first\nsecond line\n")
    smtp = SmtpConfig(host="x", password_file=str(file))
    assert password_of(smtp) == "first"
    file.write_text("changed")
    assert password_of(smtp) == "changed"
    assert password_of(SmtpConfig(password="plain")) == "plain"


def test_without_a_host_no_mail_can_be_sent() -> None:
    assert not can_mail(Config())
    assert can_mail(replace(Config(), smtp=SmtpConfig(host="x"), mail=MailConfig(from_address="i@example.org")))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[smtp]\nhost = mail.example.org\n", "mail.from_address must be set"),
        (
            "[smtp]\nhost = x\npassword = a\npassword_file = b\n[mail]\nfrom_address = i@x.example\n",
            "exclude each other",
        ),
        ("[smtp]\nhost = mail.example.org\ntls = none\nuser = u\n[mail]\nfrom_address = i@x.example\n", "in the clear"),
        ("[mail]\nfrom_address = Invites <i@x.example>\n", "bad value"),
        ("[smtp]\ntls = start\n", "bad value"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "config.ini"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load(str(file), {})
