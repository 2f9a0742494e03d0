"""Sends what the ledger holds: each worker has one sender, and any of them may send any row.

How often a mail goes out. A row is taken under a lease before anything is sent, and marked as sent in a transaction of
its own right after the server has taken the mail. Killed before the server took it, nothing was sent, and the row is
taken again when its lease ends. Killed between the server's yes and the commit, which is a few milliseconds, nobody can
know; then it is sent once more, with the same Message-ID (`compose.message_id_of`), so that mail stores and people see
one mail. Never to send twice would be never to send at all in that case, and an invitation that is missing is worse. A
sender that is slow, not dead, stops before its lease ends: what it could not begin in time it gives back.

The schedule status is written on the organizer's copy in one go for all guests of a meeting who were served within half
a second, and on each of their rows in the same transaction; so a row that was sent and has no status shows what a
killed sender had not told yet, and each sender looks for such rows when it begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import aiosmtplib

from dav.auth.gate import printable
from dav.auth.smtp import connected
from dav.mail import can_mail
from dav.mail.bounces import return_path, status_for
from dav.mail.compose import Actor, CannotCompose, Mail, Reader, compose
from dav.mail.links import links_for, secret_of
from dav.scheduling.plan import Env
from dav.urls import Urls
from storage import accounts, collections, outbound
from storage.engine import transaction
from storage.errors import StorageError

if TYPE_CHECKING:
    from dav.config import Config, SmtpConfig
    from storage.engine import Conn, Store
    from storage.records import Outgoing

# After the first, second, … try that the server put off; then every hour.
BACKOFF_S = (60, 120, 300, 900, 1800, 3600)
# The same when no server can be reached at all: for all rows together.
OUTAGE_S = (5, 10, 20, 40, 60, 120, 300)
POLL_S = 5.0
SENT_STATUS = "1.1"
# How often the calendars are told what was sent, and how often somebody looks for what nobody told.
SAY_S = 0.5
_LOOK_AGAIN_S = 3600.0
_LOOK_AT_MAX = 5_000
# Rows of one claim, and how many mails' longest time a lease lasts: those that do not fit are given back.
BATCH = 10
_LEASE_MAILS = 4
_LIMIT_WAIT_S = 600
_WAKE_PAUSE_S = 0.2
_STOP_S = 8.0
_GOODBYE_S = 2.0
_WRITE_TRIES = 30
_DAY_S = 86_400
_ENHANCED = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")

_log = logging.getLogger("davenport.mail")


class Unreachable(Exception):
    """No server takes mail from us now, whoever it is for. The message says why."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A row that is to be sent. until: of the loop's clock, when its lease ends."""

    row: Outgoing
    mail: Mail
    sender: str
    until: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row. kind: "sent", "later" or "failed". status: of RFC 6638 §3.2.9. hard: nobody is there."""

    row: Outgoing
    kind: str
    answer: str = ""
    status: str = ""
    message_id: str = ""
    not_before_s: int = 0
    hard: bool = False


@dataclass(slots=True)
class _Batch:
    ready: list[Ready] = field(default_factory=list)
    done: list[Outcome] = field(default_factory=list)
    claimed: int = 0


class Sender:
    """The sender of one worker. clock: UTC seconds; backoff_s, outage_s: for tests."""

    def __init__(
        self,
        store: Store,
        config: Config,
        *,
        clock: Callable[[], float] = time.time,
        backoff_s: Sequence[int] = BACKOFF_S,
        outage_s: Sequence[int] = OUTAGE_S,
    ) -> None:
        self._store, self._config, self._clock = store, config, clock
        self._backoff_s, self._outage_s = backoff_s, outage_s
        self._smtp = config.smtp
        self._urls = Urls(config.server.base_path)
        self._holder = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._secret = b""
        self._outages = 0
        self._down_until = 0.0
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._awake = asyncio.Event()
        self._pending: list[tuple[Outcome, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        # Rows that were sent, of which the calendar does not tell yet.
        self._unsaid: list[Outgoing] = []
        self._looked_at = 0.0

    def wake(self) -> None:
        """Something was committed that may be due at once. From any thread; cheap."""
        loop = self._loop
        if loop is not None and not self._awake.is_set() and not loop.is_closed():
            loop.call_soon_threadsafe(self._awake.set)

    async def run_for_ever(self) -> None:
        """Sends until it is cancelled; then it finishes what is under way."""
        if not can_mail(self._config):
            return
        self._loop = asyncio.get_running_loop()
        while True:
            try:
                await self._find_unsaid()
                if self._unsaid:
                    await self._say()
                wait_s = await self._wait_s()
                if wait_s > 0:
                    await self._sleep(wait_s)
                elif not await self.drain():
                    await self._sleep(1.0)  # another worker has it
            except StorageError as error:
                _log.warning("mail waits: %s", error)
                await asyncio.sleep(POLL_S)
            except Exception:
                _log.exception("the mail sender failed; it goes on")
                await asyncio.sleep(POLL_S)

    async def drain(self) -> int:
        """Sends all that is due, over as many connections as the settings allow; returns how many rows it took."""
        self._loop = asyncio.get_running_loop()
        lanes = [asyncio.create_task(self._lane()) for _ in range(self._smtp.connections)]
        try:
            await self._say_until(lanes)
        except asyncio.CancelledError:
            # What a lane has begun it ends, so that no mail stays in doubt; the rest is given back.
            self._stopping = True
            _, late = await asyncio.wait(lanes, timeout=_STOP_S)
            for lane in late:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
            await self._say()
            raise
        failures = [failure for lane in lanes if (failure := lane.exception()) is not None]
        if failures:
            raise failures[0]
        return sum(lane.result() for lane in lanes)

    async def _say_until(self, lanes: Sequence[asyncio.Task[int]]) -> None:
        """Waits for the lanes, and tells the calendars of what they have sent meanwhile."""
        working: set[asyncio.Task[int]] = set(lanes)
        while working:
            _, working = await asyncio.wait(working, timeout=SAY_S)
            if self._unsaid:
                await self._say()

    async def _find_unsaid(self) -> None:
        """At the beginning and every hour: rows of which a sender could not tell, since it was killed."""
        if self._looked_at and time.monotonic() < self._looked_at + _LOOK_AGAIN_S:
            return
        self._looked_at = time.monotonic()
        self._unsaid += await asyncio.to_thread(self._sent_without_status)
        await self._say()

    def _sent_without_status(self) -> list[Outgoing]:
        with transaction(self._store) as conn:
            rows = outbound.list_outgoing(conn, state="sent", limit=_LOOK_AT_MAX)
        return [row for row in rows if not row.status]

    async def _say(self) -> None:
        """Writes the status of all rows that were sent on the copies of their senders."""
        rows, self._unsaid = self._unsaid, []
        by_event: dict[tuple[int, str], list[Outgoing]] = {}
        for row in rows:
            by_event.setdefault((row.account_id, row.uid), []).append(row)
        for some in by_event.values():
            try:
                await asyncio.to_thread(self._say_event, some)
            except StorageError as error:
                _log.warning("the calendar of %d mails that were sent does not say so yet: %s", len(some), error)
                self._unsaid += some
            except Exception:
                _log.exception("the schedule status could not be written")

    def _say_event(self, rows: Sequence[Outgoing]) -> None:
        from dav.scheduling import deliver

        def work(conn: Conn) -> None:
            # What has come back meanwhile has a status of its own.
            fresh = [
                row for row in rows if (now := outbound.by_id(conn, row.id)) and now.state == "sent" and not now.status
            ]
            if not fresh:
                return
            env = Env(conn, self._store, self._config, self._urls, int(self._clock()))
            told = dict.fromkeys((row.recipient for row in fresh), SENT_STATUS)
            # A CANCEL speaks of somebody who is no guest any more; nobody is found then.
            deliver.set_statuses(env, rows[0].account_id, rows[0].uid, told)
            for row in fresh:
                outbound.set_status(conn, row.id, SENT_STATUS)

        deliver.in_order(self._store, work)

    async def _wait_s(self) -> float:
        down = self._down_until - time.monotonic()
        if down > 0:
            return min(down, POLL_S)
        due_s = await asyncio.to_thread(self._next_due)
        return POLL_S if due_s is None else min(max(due_s - self._clock(), 0.0), POLL_S)

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._awake.wait(), seconds)
            await asyncio.sleep(_WAKE_PAUSE_S)  # many writes are one look
        self._awake.clear()

    def _next_due(self) -> int | None:
        with transaction(self._store) as conn:
            return outbound.next_due(conn)

    # ---- one connection ----

    async def _lane(self) -> int:
        """Takes rows and sends them one after the other over one connection until none is due."""
        client: aiosmtplib.SMTP | None = None
        taken = 0
        try:
            while not self._stopping and self._down_until <= time.monotonic():
                batch = await asyncio.to_thread(self._take)
                if not batch.claimed:
                    break
                taken += batch.claimed
                for outcome in batch.done:
                    await self._write(outcome)
                for number, ready in enumerate(batch.ready):
                    if not self._in_time(ready):
                        await self._write(self._later(ready.row, 0, ""))
                        continue
                    try:
                        client = client or await self._connect()
                        outcome = await self._send(client, ready)
                    except Unreachable as error:
                        await self._outage(str(error), batch.ready[number:])
                        return taken
                    self._outages = 0
                    await self._write(outcome)
                    if not client.is_connected:
                        client = None
        finally:
            if client is not None:
                await _goodbye(client)
        return taken

    def _in_time(self, ready: Ready) -> bool:
        return not self._stopping and time.monotonic() + self._smtp.timeout_seconds + 5 < ready.until

    async def _connect(self) -> aiosmtplib.SMTP:
        """A signed-in connection. Raises Unreachable."""
        smtp = self._smtp
        port = smtp.port or {"starttls": 587, "tls": 465}.get(smtp.tls, 25)
        where = f"{smtp.host}:{port}"
        client: aiosmtplib.SMTP | None = None
        try:
            async with asyncio.timeout(smtp.timeout_seconds):
                client = aiosmtplib.SMTP(
                    hostname=smtp.certificate_name or smtp.host,
                    sock=await connected(smtp.host, port),
                    local_hostname=self._config.mail.from_address.rpartition("@")[2],
                    timeout=smtp.timeout_seconds,
                    use_tls=smtp.tls == "tls",
                    start_tls=smtp.tls == "starttls",
                    tls_context=_tls(smtp),
                )
                await client.connect()
                await client.ehlo()
                if smtp.user:
                    await _sign_in(client, smtp.user, password_of(smtp))
                return client
        except TimeoutError:
            error = f"{where}: no answer in {smtp.timeout_seconds} s"
        except aiosmtplib.SMTPResponseException as refused:
            error = f"{where}: {refused.code} {printable(refused.message)}"
        except (aiosmtplib.SMTPException, OSError, ValueError) as failed:
            error = f"{where}: {printable(str(failed.__cause__ or failed)) or type(failed).__name__}"
        if client is not None:
            client.close()
        raise Unreachable(error)

    async def _send(self, client: aiosmtplib.SMTP, ready: Ready) -> Outcome:
        """Hands one mail over. Raises Unreachable when the server will take none from us."""
        row = ready.row
        try:
            async with asyncio.timeout(self._smtp.timeout_seconds):
                return await self._exchange(client, ready)
        except TimeoutError:
            client.close()
            return self._put_off(row, f"no answer in {self._smtp.timeout_seconds} s")
        except aiosmtplib.SMTPSenderRefused as refused:
            answer = f"{refused.code} {printable(refused.message)}"
            if refused.code == 552:
                return Outcome(row, "failed", answer, "5.3")  # too large
            client.close()
            raise Unreachable(f"MAIL FROM <{ready.sender}>: {answer}") from None
        except aiosmtplib.SMTPResponseException as refused:
            outcome = self._refused(row, refused.code, printable(refused.message), data=_is_data(refused))
            await _reset(client)
            return outcome
        except (aiosmtplib.SMTPException, OSError) as failed:
            client.close()
            return self._put_off(row, printable(str(failed)) or type(failed).__name__)

    async def _exchange(self, client: aiosmtplib.SMTP, ready: Ready) -> Outcome:
        mail, options, encoding = ready.mail, [f"SIZE={len(ready.mail.data)}"], "ascii"
        if not client.supports_extension("size"):
            options = []
        if mail.utf8:
            if not client.supports_extension("smtputf8"):
                return Outcome(ready.row, "failed", "The mail server does not know such addresses (SMTPUTF8).", "5.2")
            options, encoding = [*options, "SMTPUTF8", "BODY=8BITMIME"], "utf-8"
        await client.mail(ready.sender, options=options, encoding=encoding)
        await client.rcpt(mail.recipient, encoding=encoding)
        response = await client.data(mail.data)
        answer = f"{response.code} {printable(response.message)}"
        return Outcome(ready.row, "sent", answer, SENT_STATUS, mail.message_id)

    def _refused(self, row: Outgoing, code: int, message: str, *, data: bool) -> Outcome:
        answer = f"{code} {message}"
        if code < 500:
            return self._put_off(row, answer)
        found = _ENHANCED.search(message)
        enhanced = found[0] if found is not None and found[1] == "5" else ""
        status, hard = status_for(enhanced, message)
        if not hard and (data or enhanced.startswith(("5.6.", "5.7."))):
            status = "5.3"  # not whom it is for, but what it is, is refused
        return Outcome(row, "failed", answer, status, hard=hard)

    def _put_off(self, row: Outgoing, answer: str) -> Outcome:
        """To be tried again, or given up after mail.retry_days."""
        now_s = int(self._clock())
        if now_s - row.created_s >= self._config.mail.retry_days * _DAY_S:
            return Outcome(row, "failed", answer, "5.1")
        wait_s = self._backoff_s[min(max(row.tries, 1), len(self._backoff_s)) - 1]
        return self._later(row, wait_s, answer)

    def _later(self, row: Outgoing, wait_s: int, answer: str) -> Outcome:
        return Outcome(row, "later", answer or row.answer, not_before_s=int(self._clock()) + wait_s)

    async def _outage(self, reason: str, left: Sequence[Ready]) -> None:
        """Nothing can be sent now: everything waits, and not for longer because there were many rows."""
        wait_s = self._outage_s[min(self._outages, len(self._outage_s) - 1)]
        if self._down_until <= time.monotonic():
            self._outages += 1
            _log.warning("mail cannot be sent, next try in %d s: %s", wait_s, reason)
        self._down_until = max(self._down_until, time.monotonic() + wait_s)
        for ready in left:
            outcome = self._put_off(ready.row, reason)
            if outcome.kind == "later":
                outcome = self._later(ready.row, wait_s, reason)
            await self._write(outcome)

    # ---- the ledger ----

    def _take(self) -> _Batch:
        """Claims rows and makes mails of them. In a thread."""
        now_s, began = int(self._clock()), time.monotonic()
        lease_s = _LEASE_MAILS * self._smtp.timeout_seconds + 30
        with transaction(self._store, write=True) as conn:
            rows = outbound.claim(conn, holder=self._holder, now_s=now_s, lease_s=lease_s, limit=BATCH)
            if rows and not self._secret:
                self._secret = secret_of(conn)
        batch = _Batch(claimed=len(rows))
        if not rows:
            return batch
        with transaction(self._store) as conn:
            prepared = self._look(conn, rows, now_s)
        for row, previous, thread, reader, actor, outcome in prepared:
            if outcome is not None:
                batch.done.append(outcome)
                continue
            try:
                links = links_for(row, self._config, self._secret)
                mail = compose(
                    row,
                    previous=previous,
                    thread=thread,
                    config=self._config,
                    reader=reader,
                    links=links,
                    now_s=now_s,
                    actor=actor,
                )
            except CannotCompose as error:
                batch.done.append(Outcome(row, "failed", f"Not sent: {error}", "5.2"))
            except Exception:
                # One event must not stop all others, now and at each further try.
                _log.exception("row %d of the mail queue cannot be made a mail", row.id)
                batch.done.append(Outcome(row, "failed", "Not sent: the mail could not be made.", "5.1"))
            else:
                delimiter = self._config.auth.recipient_delimiter[:1]
                sender = return_path(row.id, self._config.mail.from_address, self._secret, delimiter=delimiter)
                batch.ready.append(Ready(row, mail, sender, began + lease_s))
        return batch

    def _look(
        self, conn: Conn, rows: Sequence[Outgoing], now_s: int
    ) -> list[tuple[Outgoing, Outgoing | None, str | None, Reader, Actor | None, Outcome | None]]:
        """For each row: what its recipient was told before, the thread, the languages, who wrote it, an end if any."""
        mail = self._config.mail
        dead = outbound.dead_addresses(conn, {row.recipient for row in rows}, bounces=mail.bounces_before_dead)
        by_account: dict[int, int] = {}
        by_event: dict[tuple[int, str], int] = {}
        people: dict[int, Reader] = {}
        actors: dict[int | None, Actor | None] = {None: None}
        found = []
        for row in rows:
            event = (row.account_id, row.uid)
            if row.account_id not in people:
                people[row.account_id] = _reader(conn, row.account_id)
                by_account[row.account_id] = outbound.count_recent(
                    conn, account_id=row.account_id, since_s=now_s - 3600
                )
            if row.actor_id not in actors:
                actors[row.actor_id] = _actor(conn, row.actor_id)
            if event not in by_event:
                by_event[event] = outbound.count_recent(
                    conn, account_id=row.account_id, uid=row.uid, since_s=now_s - 3600
                )
            outcome = None
            if row.recipient in dead:
                answer = f"Not sent: {mail.bounces_before_dead} mails to this address came back."
                outcome = Outcome(row, "failed", answer, "5.2")
            elif by_event[event] >= mail.per_event_hour:
                outcome = self._later(row, _LIMIT_WAIT_S, f"Waits: {mail.per_event_hour} mails of an event in an hour.")
            elif by_account[row.account_id] >= mail.per_account_hour:
                answer = f"Waits: {mail.per_account_hour} mails of an account in an hour."
                outcome = self._later(row, _LIMIT_WAIT_S, answer)
            else:
                by_event[event] += 1
                by_account[row.account_id] += 1
            previous = thread = None
            if outcome is None:
                previous = outbound.last_sent(conn, row.account_id, row.uid, row.recipient, row.recurrence)
                thread = outbound.thread_of(conn, row.account_id, row.uid, row.recipient)
            found.append((row, previous, thread, people[row.account_id], actors[row.actor_id], outcome))
        return found

    async def _write(self, outcome: Outcome) -> None:
        """Returns when it is committed. Outcomes of several lanes at the same moment are one transaction."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((outcome, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        await asyncio.shield(done)

    async def _write_all(self) -> None:
        while self._pending:
            batch, self._pending = self._pending, []
            outcomes = [outcome for outcome, _ in batch]
            for again in range(_WRITE_TRIES):
                try:
                    await asyncio.to_thread(self._store_all, outcomes)
                    break
                except StorageError as error:
                    # The mail is out: to forget that would send it again.
                    _log.warning("what became of %d mails cannot be noted yet: %s", len(outcomes), error)
                    await asyncio.sleep(min(0.2 * 2**again, 5.0))
            self._unsaid += [outcome.row for outcome in outcomes if outcome.kind == "sent"]
            for _, done in batch:
                if not done.done():
                    done.set_result(None)

    def _store_all(self, outcomes: Sequence[Outcome]) -> None:
        from dav.scheduling import deliver

        try:
            deliver.in_order(self._store, lambda conn: self._note(conn, outcomes, statuses=True))
        except StorageError:
            raise
        except Exception:
            # The calendar's copy is in a state that nobody foresaw; the ledger is right all the same.
            _log.exception("the schedule status could not be written")
            with transaction(self._store, write=True) as conn:
                self._note(conn, outcomes, statuses=False)

    def _note(self, conn: Conn, outcomes: Sequence[Outcome], *, statuses: bool) -> None:
        from dav.scheduling import deliver

        now_s = int(self._clock())
        env = Env(conn, self._store, self._config, self._urls, now_s)
        for outcome in outcomes:
            row = outcome.row
            if outcome.kind == "later":
                outbound.postpone(
                    conn, row.id, not_before_s=outcome.not_before_s, answer=outcome.answer, holder=self._holder
                )
                continue
            if outcome.kind == "sent":
                outbound.sent(conn, row.id, message_id=outcome.message_id, answer=outcome.answer, now_s=now_s)
                continue
            changed = outbound.failed(conn, row.id, status=outcome.status, answer=outcome.answer, now_s=now_s)
            if outcome.hard:
                outbound.note_bounce(conn, row.recipient, now_s, hard=True)
            _log.warning("mail %d to %s is not sent: %s", row.id, row.recipient, printable(outcome.answer))
            if changed and statuses:
                deliver.set_status(env, row.account_id, row.uid, row.recipient, outcome.status)


def _reader(conn: Conn, account_id: int) -> Reader:
    """What is known of who writes; of who reads it the calendar knows more (`compose`)."""
    account = accounts.account_by_id(conn, account_id)
    if account is None:
        return Reader()
    zone = account.time_zone
    if not zone:
        home = collections.home(conn, account_id, "calendars")
        calendars = (child for child in collections.children(conn, home.id) if child.kind == "calendar")
        zone = next((child.time_zone_id for child in calendars if child.time_zone_id), "")
    return Reader(home_language=account.locale, home_zone=zone)


def _actor(conn: Conn, account_id: int | None) -> Actor | None:
    """Who wrote for somebody else; None when that account is gone."""
    account = None if account_id is None else accounts.account_by_id(conn, account_id)
    if account is None:
        return None
    return Actor(account.display_name or account.name, account.addresses[0] if account.addresses else "")


def password_of(smtp: SmtpConfig) -> str:
    """The password: read anew for each connection, so that a new one needs no restart. Raises OSError, ValueError."""
    if not smtp.password_file:
        return smtp.password
    with Path(smtp.password_file).open(encoding="utf-8") as file:
        return file.readline(4096).rstrip("\r\n")


def _tls(smtp: SmtpConfig) -> ssl.SSLContext | None:
    return None if smtp.tls == "none" else ssl.create_default_context(cafile=smtp.ca_file or None)


async def _sign_in(client: aiosmtplib.SMTP, user: str, password: str) -> None:
    if "plain" in client.server_auth_methods:
        await client.auth_plain(user, password)
    elif "login" in client.server_auth_methods:
        await client.auth_login(user, password)
    else:
        raise ValueError("it offers neither AUTH PLAIN nor AUTH LOGIN on this connection")


async def _reset(client: aiosmtplib.SMTP) -> None:
    """Ready for the next mail; else closed."""
    try:
        await client.rset(timeout=5)
    except (aiosmtplib.SMTPException, OSError):
        client.close()


async def _goodbye(client: aiosmtplib.SMTP) -> None:
    with contextlib.suppress(Exception):
        await client.quit(timeout=_GOODBYE_S)
    client.close()


def _is_data(error: aiosmtplib.SMTPResponseException) -> bool:
    return isinstance(error, aiosmtplib.SMTPDataError)
