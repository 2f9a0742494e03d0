"""Watches a mailbox by IMAP for answers and invitations (RFC 9051, IDLE of RFC 2177): for any mail server at all.

One worker of all does it, by a lease. What was handled is marked, nothing is deleted unless a setting says so; ordinary
mail is neither read as a whole nor marked. The library IMAPClient blocks, so it works in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from dav.config import ConfigError
from dav.mail import inbound
from dav.urls import Urls
from storage import jobs
from storage.engine import transaction
from storage.errors import StorageError

if TYPE_CHECKING:
    from dav.config import Config, MailInConfig
    from storage.engine import Store

LEASE = "imap-watch"
LEASE_S = 120
LOOK_S = 20.0
# A server may end an IDLE after half an hour (RFC 2177); routers forget quiet connections much earlier.
IDLE_S = 540.0
OTHER_FOLDERS_S = 60.0
TIMEOUT_S = 60.0
GOODBYE_S = 3.0
BATCH = 50
ROUND_MAX = 1000
# How far back a mailbox is looked at that is seen for the first time.
BACK_DAYS = 14
KEYWORD = b"$Davenport"
PAUSES_S = (5, 15, 60, 300)

_log = logging.getLogger("davenport.imap")


class _Ended(Exception):
    """The watch is over: the server stops, or another worker has it."""


async def run_for_ever(store: Store, config: Config) -> None:
    """Watches while this worker has the lease, until it is cancelled."""
    holder = f"{socket.gethostname()}:{os.getpid()}"
    stop = threading.Event()
    failures = 0
    try:
        await asyncio.sleep(random.uniform(0.2, 2.0))
        while True:
            watch = Watch(store, config, holder, stop)
            failures = 0 if await _in_thread(watch) else failures + 1
            await asyncio.sleep(PAUSES_S[min(failures, len(PAUSES_S)) - 1] if failures else LOOK_S)
    finally:
        stop.set()


async def _in_thread(watch: Watch) -> bool:
    """Runs a session in a daemon thread, which the end of the process does not wait for; False when it failed."""
    loop = asyncio.get_running_loop()
    finished = asyncio.Event()
    results: list[bool] = []

    def work() -> None:
        results.append(watch.run())
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(finished.set)

    threading.Thread(target=work, name="imap-watch", daemon=True).start()
    try:
        await finished.wait()
        return results[0]
    except asyncio.CancelledError:
        watch.stop.set()  # before the connection goes: the thread must know why
        watch.close()
        # It gives the lease back, so that another worker need not wait for its end.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(finished.wait(), GOODBYE_S)
        raise
    finally:
        watch.close()


@dataclass(slots=True)
class Watch:
    """One session: signs in, looks through the folders, and waits for more."""

    store: Store
    config: Config
    holder: str
    stop: threading.Event
    client: Any = None
    # folder → (UIDVALIDITY, the last UID that was looked at)
    looked: dict[str, tuple[int, int]] = field(default_factory=dict)
    renewed: float = 0.0

    def run(self) -> bool:
        """Watches until something ends it. False when the server could not be used."""
        try:
            self._renew()
            self._connect()
            self._watch()
        except _Ended:
            return True
        except StorageError as error:
            _log.warning("the mailbox waits: %s", error)
            return False
        except ConfigError as error:
            _log.error("the mailbox cannot be watched: %s", error)
            return False
        except Exception as error:
            if self.stop.is_set():
                return True
            known = isinstance(error, (OSError, ssl.SSLError)) or type(error).__module__.startswith(
                ("imapclient", "imaplib")
            )
            text = "".join(char if char.isprintable() else "?" for char in str(error))[:200]
            _log.warning("the mailbox cannot be watched now: %s: %s", type(error).__name__, text, exc_info=not known)
            return False
        finally:
            self.close()
            if self.renewed:
                self._give_lease()
        return True

    def _give_lease(self) -> None:
        try:
            with transaction(self.store, write=True) as conn:
                jobs.give_lease(conn, LEASE, holder=self.holder)
        except Exception as error:
            # It ends by itself; and the store may be closed by now.
            _log.debug("the lease was not given back: %s", error)

    def close(self) -> None:
        """Ends the connection; a thread that waits on it wakes up."""
        client, self.client = self.client, None
        if client is not None:
            with contextlib.suppress(Exception):
                client.shutdown()

    def _renew(self) -> None:
        """Raises _Ended when the server stops, or another worker has the lease."""
        if self.stop.is_set():
            raise _Ended
        now = time.monotonic()
        if self.renewed and now - self.renewed < LEASE_S / 4:
            return
        with transaction(self.store, write=True) as conn:
            if not jobs.take_lease(conn, LEASE, holder=self.holder, now_s=int(time.time()), lease_s=LEASE_S):
                self.renewed = 0.0
                raise _Ended
        self.renewed = now

    def _connect(self) -> None:
        settings = self.config.mail_in
        client = connect(settings)
        self.client = client
        client.login(settings.imap_user, password_of(settings))

    def _watch(self) -> None:
        folders = self.config.mail_in.imap_folders
        while True:
            for folder in reversed(folders):
                self._look_through(folder)
            # The first folder is the selected one now: it is the one that is waited for.
            self._wait(OTHER_FOLDERS_S if len(folders) > 1 else IDLE_S)

    def _wait(self, most_s: float) -> None:
        """Until something comes, or for a while. Raises _Ended."""
        client = self.client
        if b"IDLE" not in client.capabilities():
            for _ in range(3):
                self._renew()
                if self.stop.wait(LOOK_S / 2):
                    raise _Ended
            client.noop()
            return
        client.idle()
        end = time.monotonic() + most_s
        try:
            while time.monotonic() < end:
                said = client.idle_check(timeout=LOOK_S)
                self._renew()
                if any(len(one) > 1 and one[1] == b"EXISTS" for one in said):
                    return
                if any(one[0] == b"BYE" for one in said if one):
                    raise ConnectionError("the server says good-bye")
        finally:
            if self.client is not None and not self.stop.is_set():
                client.idle_done()

    def _look_through(self, folder: str) -> None:
        client = self.client
        selected = client.select_folder(folder)
        validity = int(selected.get(b"UIDVALIDITY", 0))
        own = b"\\*" in selected.get(b"PERMANENTFLAGS", ()) or KEYWORD in selected.get(b"PERMANENTFLAGS", ())
        known, last = self.looked.get(folder, (validity, 0))
        if known != validity:
            last = 0
        criteria: list[Any] = [b"UID", f"{last + 1}:*"] if last else [b"SINCE", date.today() - timedelta(BACK_DAYS)]
        if own:
            criteria += [b"UNKEYWORD", KEYWORD]
        # "5:*" also names the last mail when its number is less.
        uids = sorted(uid for uid in client.search(criteria) if uid > last)
        for some in _batches(uids[:ROUND_MAX], BATCH):
            self._renew()
            for uid in self._with_calendar(some):
                self._one(uid, own)
            last = max(last, *some)
            self.looked[folder] = (validity, last)
        if not uids and not last:
            self.looked[folder] = (validity, max(0, int(selected.get(b"UIDNEXT", 1)) - 1))

    def _with_calendar(self, uids: list[int]) -> list[int]:
        """Those of the mails that have a calendar, or that are reports, and are not too large."""
        found = []
        for uid, parts in sorted(self.client.fetch(uids, [b"BODYSTRUCTURE", b"RFC822.SIZE"]).items()):
            text = repr(parts.get(b"BODYSTRUCTURE", "")).lower()
            wanted = any(word in text for word in ("calendar", "b'ics'", ".ics", "delivery-status"))
            if wanted and int(parts.get(b"RFC822.SIZE", 0)) <= self.config.mail_in.max_bytes:
                found.append(uid)
        return found

    def _one(self, uid: int, own: bool) -> None:
        client, config = self.client, self.config
        self._renew()
        raw = client.fetch([uid], [b"BODY.PEEK[]"]).get(uid, {}).get(b"BODY[]")
        if not isinstance(raw, bytes):
            return  # somebody else has removed it
        result = inbound.accept(
            self.store, config, Urls(config.server.base_path), raw, envelope_from="", envelope_to="", mailbox=True
        )
        if result.outcome == inbound.LATER:
            return
        client.add_flags([uid], [KEYWORD] if own else [b"\\Seen"], silent=True)
        if config.mail_in.imap_delete and result.outcome in (inbound.APPLIED, inbound.BOUNCED):
            client.add_flags([uid], [b"\\Deleted"], silent=True)
            # Without UIDPLUS an EXPUNGE would remove what others have marked.
            if b"UIDPLUS" in client.capabilities():
                client.uid_expunge([uid])


def _batches(uids: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(uids), size):
        yield uids[start : start + size]


def connect(settings: MailInConfig) -> Any:
    """A connection that nobody has signed in on yet. Raises ConfigError, OSError, and the library's errors."""
    try:
        from imapclient import IMAPClient  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError("mail_in.imap_host needs a library: pip install 'davenport[imap]'") from None
    context: Any = None
    if settings.imap_tls != "none":
        try:
            context = ssl.create_default_context(cafile=settings.imap_ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{settings.imap_ca_file} cannot be used as imap_ca_file: {error}") from None
    tls = settings.imap_tls == "tls"
    port = settings.imap_port or (993 if tls else 143)
    if context is not None and settings.imap_certificate_name:
        context = _Named(context, settings.imap_certificate_name)
    client = IMAPClient(settings.imap_host, port=port, ssl=tls, ssl_context=context if tls else None, timeout=TIMEOUT_S)
    if settings.imap_tls == "starttls":
        client.starttls(context)
    return client


class _Named:
    """A TLS context that looks for another name in the certificate than the one that was connected to."""

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self._context = context
        self._name = name

    def wrap_socket(self, sock: socket.socket, **options: Any) -> ssl.SSLSocket:
        return self._context.wrap_socket(sock, **(options | {"server_hostname": self._name}))


def password_of(settings: MailInConfig) -> str:
    """The mailbox's password. Raises ConfigError."""
    if not settings.imap_password_file:
        return settings.imap_password
    try:
        with open(settings.imap_password_file, encoding="utf-8") as file:
            return file.readline(4096).rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{settings.imap_password_file} cannot be read: {error}") from None
