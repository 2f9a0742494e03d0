"""The LMTP listener: one answer for each recipient, and no end of a mail but CRLF.CRLF."""

from __future__ import annotations

import asyncio
import socket
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from dav.mail import doors, lmtp, pipe
from dav.mail.lmtp import Answer, Handler
from storage.engine import Store, open_store, transaction

from .post import Place, mail, meeting, reply, settings

OK = Answer(250, "2.0.0 taken")


class Box:
    """A handler that remembers what it was given. refuse: recipients that RCPT refuses; later: put off."""

    def __init__(self, *, refuse: tuple[str, ...] = (), later: tuple[str, ...] = ()) -> None:
        self.refuse, self.later = refuse, later
        self.taken: list[tuple[bytes, str, list[str]]] = []

    def handler(self) -> Handler:
        return Handler(self._recipient, self._deliver)

    def _recipient(self, address: str) -> Answer:
        return Answer(550, "5.1.1 unknown") if address in self.refuse else OK

    def _deliver(self, raw: bytes, sender: str, recipients: Sequence[str]) -> list[Answer]:
        self.taken.append((raw, sender, list(recipients)))
        return [lmtp.TRY_LATER if one in self.later else OK for one in recipients]


@contextmanager
def listening(handler: Handler, path: Path, *, bytes_max: int = 10_000) -> Iterator[None]:
    """The listener on an event loop of its own thread."""
    listener = lmtp.bind(str(path), mode=0o660)
    loop = asyncio.new_event_loop()
    task: asyncio.Task[None] | None = None
    ready = threading.Event()

    async def main() -> None:
        nonlocal task
        task = asyncio.current_task()
        loop.call_soon(ready.set)
        try:
            await lmtp.serve([listener], handler, bytes_max=bytes_max, name="test.example")
        except asyncio.CancelledError:
            # Whoever was let in at the last moment is let out too, before the loop is closed.
            await asyncio.sleep(0.05)
            await asyncio.gather(*(asyncio.all_tasks() - {task}), return_exceptions=True)
            await asyncio.sleep(0)

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        # Whoever came before has been let in when this one is greeted: asyncio loses those it accepts while it closes.
        Talk(path).close()
        assert task is not None
        loop.call_soon_threadsafe(task.cancel)
        thread.join(10)
        loop.close()


class Talk:
    """A client that says exactly what it is told to."""

    def __init__(self, path: Path) -> None:
        self.link = socket.socket(socket.AF_UNIX)
        self.link.settimeout(10)
        self.link.connect(str(path))
        self.stream = self.link.makefile("rb")
        assert self.reply().startswith("220")

    def reply(self) -> str:
        while True:
            line = self.stream.readline().decode()
            if line[3:4] != "-":
                return line.rstrip("\r\n")

    def say(self, *lines: str) -> str:
        self.link.sendall("".join(f"{line}\r\n" for line in lines).encode())
        return [self.reply() for _ in lines][-1]

    def close(self) -> None:
        self.stream.close()
        self.link.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "l.sock"


@contextmanager
def talking(box: Box, path: Path, **options: int) -> Iterator[Talk]:
    with listening(box.handler(), path, **options):
        talk = Talk(path)
        try:
            yield talk
        finally:
            talk.close()


def test_each_recipient_has_an_answer_of_its_own(path: Path) -> None:
    box = Box(refuse=("no@x.example",), later=("later@x.example",))
    with talking(box, path) as talk:
        talk.say("LHLO me", "MAIL FROM:<a@b.example>")
        codes = [talk.say(f"RCPT TO:<{one}@x.example>")[:3] for one in ("yes", "no", "later", "also")]
        assert codes == ["250", "550", "250", "250"]
        assert talk.say("DATA").startswith("354")
        talk.link.sendall(b"Subject: x\r\n\r\n..dot\r\n.\r\n")
        assert [talk.reply()[:3] for _ in range(3)] == ["250", "451", "250"]
        assert talk.say("QUIT").startswith("221")
    assert box.taken == [(b"Subject: x\r\n\r\n.dot\r\n", "a@b.example", ["yes@x.example", "later@x.example",
                                                                          "also@x.example"])]  # fmt: skip


def test_the_greeting_offers_what_there_is(path: Path) -> None:
    with talking(Box(), path) as talk:
        talk.link.sendall(b"LHLO me\r\n")
        lines = []
        while not lines or lines[-1][3:4] == "-":
            lines.append(talk.stream.readline().decode().rstrip())
        offered = [line[4:] for line in lines[1:]]
    assert offered == ["PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", "SIZE 10000"]


def test_addresses_in_unicode_and_the_null_sender_are_taken(path: Path) -> None:
    box = Box()
    with talking(box, path) as talk:
        talk.say("LHLO me", "MAIL FROM:<> SMTPUTF8 BODY=8BITMIME", "RCPT TO:<jürgen@bücher.example>", "DATA")
        talk.link.sendall("Subject: ü\r\n\r\nü\r\n.\r\n".encode())
        assert talk.reply().startswith("250")
    assert box.taken[0][1:] == ("", ["jürgen@bücher.example"])


def test_too_large_is_said_before_and_after(path: Path) -> None:
    box = Box()
    with talking(box, path) as talk:
        assert talk.say("LHLO me", "MAIL FROM:<a@b.example> SIZE=10001").startswith("552")
        talk.say("MAIL FROM:<a@b.example>", "RCPT TO:<x@x.example>", "RCPT TO:<y@x.example>", "DATA")
        talk.link.sendall(b"x" * 3_000_000 + b"\r\n.\r\n")
        assert [talk.reply()[:3] for _ in range(2)] == ["552", "552"]
        talk.say("MAIL FROM:<a@b.example>", "RCPT TO:<x@x.example>", "DATA")
        talk.link.sendall(b"small\r\n.\r\n")
        assert talk.reply().startswith("250")
    assert [raw for raw, _, _ in box.taken] == [b"small\r\n"]


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r"])
def test_nothing_but_crlf_dot_crlf_ends_a_mail(path: Path, end: bytes) -> None:
    """What one server takes for the end and another does not lets a second mail be smuggled in."""
    box = Box()
    with talking(box, path) as talk:
        talk.say("LHLO me", "MAIL FROM:<a@b.example>", "RCPT TO:<x@x.example>", "DATA")
        talk.link.sendall(b"one" + end + b"MAIL FROM:<evil@b.example>\r\n.\r\n")
        assert talk.reply().startswith("250")
        assert talk.say("NOOP").startswith("250")
    assert len(box.taken) == 1
    assert b"MAIL FROM:<evil@b.example>" in box.taken[0][0]


def test_commands_out_of_order_are_refused(path: Path) -> None:
    with talking(Box(), path) as talk:
        assert talk.say("MAIL FROM:<a@b.example>").startswith("503")
        assert talk.say("EHLO me").startswith("500")
        assert talk.say("LHLO me", "RCPT TO:<x@x.example>").startswith("503")
        assert talk.say("DATA").startswith("503")
        assert talk.say("MAIL TO:<a@b.example>").startswith("501")
        assert talk.say("MAIL FROM:a@b.example").startswith("501")
        assert talk.say("BDAT 3 LAST").startswith("500")
        assert talk.say("MAIL FROM:<a@b.example>", "RSET", "RCPT TO:<x@x.example>").startswith("503")


def test_too_many_mistakes_end_the_connection(path: Path) -> None:
    with talking(Box(), path) as talk:
        said = [talk.say("NONSENSE")[:3] for _ in range(lmtp.MISTAKES_MAX)]
        assert set(said) == {"500"}
        talk.link.sendall(b"NONSENSE\r\n")
        assert [talk.reply()[:3], talk.reply()[:3], talk.stream.readline()] == ["500", "421", b""]


def test_an_endless_command_ends_the_connection(path: Path) -> None:
    with talking(Box(), path) as talk:
        talk.link.sendall(b"A" * 200_000)
        assert talk.reply().startswith("500")


def test_more_recipients_than_a_hundred_come_with_the_next_mail(path: Path) -> None:
    with talking(Box(), path) as talk:
        talk.say("LHLO me", "MAIL FROM:<a@b.example>")
        codes = [talk.say(f"RCPT TO:<x{number}@x.example>")[:3] for number in range(101)]
    assert codes == ["250"] * 100 + ["452"]


def test_the_socket_has_the_permissions_that_were_asked_for(path: Path) -> None:
    with listening(Box().handler(), path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with pytest.raises(OSError, match="another server listens there"):
            lmtp.bind(str(path), mode=0o660)
    lmtp.bind(str(path), mode=0o600).close()  # what a dead server has left is replaced


def test_no_file_but_a_socket_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_text("x")
    with pytest.raises(OSError, match="no socket"):
        lmtp.bind(str(file), mode=0o660)
    assert file.read_text() == "x"


# --- the program for pipes --------------------------------------------------------------------------------------------


@pytest.fixture
def place(store: Store) -> Place:
    return Place(store, settings(max_bytes=100_000))


def test_the_pipe_hands_a_mail_to_the_server(place: Place, path: Path) -> None:
    owner = place.account("olga", "olga@example.com")
    place.hold(owner, meeting())
    with listening(doors.handler(place.store, place.config), path, bytes_max=100_000):
        raw = mail(reply())
        assert pipe.send(str(path), raw, "bob@example.net", ["olga@example.com"]) == pipe.EX_OK
        assert place.answers(owner) == {"bob@example.net": "ACCEPTED"}
        assert pipe.send(str(path), raw.replace(b"\r\n", b"\n"), "", ["olga@example.com"]) == pipe.EX_OK
        assert pipe.send(str(path), raw, "", ["nobody@example.com"]) == pipe.EX_NOUSER
        assert pipe.send(str(path), raw, "", ["nobody@example.com", "olga@example.com"]) == pipe.EX_NOUSER
        assert pipe.send(str(path), raw + b"x" * 100_000, "", ["olga@example.com"]) == pipe.EX_DATAERR
        assert pipe.send(str(path), b".\r\n.\r\n..\r\n", "", ["olga@example.com"]) == pipe.EX_OK


def test_the_pipe_says_that_nobody_answers(path: Path) -> None:
    with pytest.raises(pipe.NoServer):
        pipe.send(str(path), b"x", "", ["olga@example.com"])


def test_a_mail_that_the_store_cannot_take_now_is_put_off(sqlite_url: str, tmp_path: Path) -> None:
    busy, other = (open_store(sqlite_url, blob_dir=tmp_path, busy_timeout_s=0.2) for _ in range(2))
    place = Place(busy)
    owner = place.account("olga", "olga@example.com")
    place.hold(owner, meeting())
    handler = doors.handler(busy, place.config)
    with transaction(other, write=True):
        assert [one.code for one in handler.deliver(mail(reply()), "", ["olga@example.com", "x@example.com"])] == [
            451,
            451,
        ]
    assert place.answers(owner) == {}
    assert [one.code for one in handler.deliver(mail(reply()), "", ["olga@example.com"])] == [250]
    busy.close()
    assert handler.recipient("olga@example.com").code == 451
    other.close()


def test_every_outcome_has_an_answer() -> None:
    from dav.mail import inbound

    names = ("APPLIED", "NOTHING", "BOUNCED", "KEPT", "IGNORED", "UNKNOWN", "LATER", "TOO_LARGE")
    assert set(doors.OUTCOMES) == {getattr(inbound, name) for name in names}
    line = doors.answer_of(inbound.Result(inbound.KEPT, "a\r\nreason ü")).line()
    assert line == b"250 2.0.0 kept: a??reason ?\r\n"
