"""What the server does by itself: keeps the time index ahead of the clock, and removes what is past its time.

Every worker looks now and then; a lease in the store sees to it that each job is done by one of them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dav.errors import DavError
from dav.ical.secrecy import PUBLIC
from dav.methods.put import describe
from dav.privacy import secrecy_of_body
from storage import jobs as leases
from storage import mailcopy, meetings, objects, purge, statistics
from storage.engine import transaction
from storage.errors import StorageError

if TYPE_CHECKING:
    from dav.config import Config
    from storage.engine import Store

DAY_S = 86_400
# An index is made for two years ahead, and made anew when less than this is left of them.
EXTEND_BEFORE_S = 400 * DAY_S
EXTEND_BATCH = 100
EXTEND_MAX = 20_000
INBOX_BATCH = 100
LOOK_EVERY_S = 60.0
# A moment for the requests that wait while an index is written.
PAUSE_S = 0.01

_log = logging.getLogger("davenport.jobs")


@dataclass(frozen=True, slots=True)
class Job:
    """One recurring job. run: does all there is to do, in small transactions; returns a sentence, or "" for nothing.

    wanted: whether these settings ask for it at all.
    """

    name: str
    every_s: int
    run: Callable[[Store, Config, int], str]
    wanted: Callable[[Config], bool] = lambda config: True


def extend_horizon(store: Store, config: Config, now_s: int) -> str:
    """Indexes recurring objects further ahead when less than EXTEND_BEFORE_S is left of what is indexed."""
    done = 0
    seen: set[int] = set()
    while len(seen) < EXTEND_MAX:
        with transaction(store) as conn:
            # What could not be extended is found again every time, so ask for that much more.
            found = objects.objects_to_extend(conn, now_s + EXTEND_BEFORE_S, EXTEND_BATCH + len(seen))
            due = [record for record in found if record.id not in seen]
            bodies = objects.bodies(conn, [record.id for record in due])
        if not due:
            break
        for record in due:
            seen.add(record.id)
            if record.id not in bodies:
                continue
            try:
                index = describe("event", bodies[record.id], config, now_s).index
            except DavError as error:
                _log.warning("object %d can no longer be indexed: %s", record.id, error)
                continue
            with transaction(store, write=True) as conn:
                # The ETag: not over the index of a newer body.
                done += objects.reindex(conn, record.id, index, etag=record.etag)
            time.sleep(PAUSE_S)
    return f"Indexed {done} recurring objects further ahead." if done else ""


def classify(store: Store, config: Config, now_s: int) -> str:
    """Notes how secret objects are that were stored before that was kept (an update), so that shares need not look."""
    done = 0
    while True:
        with transaction(store) as conn:
            found = objects.unclassified(conn, EXTEND_BATCH)
        known = [(record, secrecy_of_body(body) if record.component else PUBLIC) for record, body in found]
        if not known:
            return f"Noted of {done} objects who may see them." if done else ""
        with transaction(store, write=True) as conn:
            objects.classify(conn, known)
        done += len(known)
        time.sleep(PAUSE_S)


def purge_history(store: Store, config: Config, now_s: int, said: Callable[[str], None] = lambda done: None) -> str:
    """Removes for good what is older than history.days, ended locks, and files that nothing refers to."""
    gone = purge.purge(store, now_s=now_s, history_s=config.history.days * DAY_S, said=said)
    counts = (
        (gone.collections, "collections"),
        (gone.objects, "objects in them"),
        (gone.versions, "older versions"),
        (gone.locks, "ended locks"),
        (gone.blobs, "files"),
    )
    if not any(count for count, _ in counts):
        return ""
    return f"Removed {', '.join(f'{count} {what}' for count, what in counts)}."


def refresh_people(store: Store, config: Config, now_s: int) -> str:
    """Asks the mail side at which addresses people can be invited, and who is not there any more."""
    from dav.auth.refresh import refresh_people as refresh

    return refresh(store, config, now_s)


def purge_sign_in(store: Store, config: Config, now_s: int) -> str:
    """Removes what signing in leaves behind: old counts of failures, ended app passwords, old audit rows."""
    gone = purge.purge_sign_in(store, now_s=now_s)
    return f"Removed {gone} rows about sign-ins of long ago." if gone else ""


def purge_scheduling(store: Store, config: Config, now_s: int) -> str:
    """Removes what scheduling keeps only for a time: old mail, marks of used messages, messages put aside, bounces."""
    gone = purge.purge_scheduling(store, now_s=now_s, kept_s=config.mail_in.kept_days * DAY_S)
    return f"Removed {gone} rows about messages of long ago." if gone else ""


def follow_apple(store: Store, config: Config, now_s: int) -> str:
    """Follows what Apple's programs subscribe to (feeds.followed_from_apple)."""
    from dav.feeds.apple import follow_apple as follow

    return follow(store, config, now_s)


def copy_accounts(store: Store, config: Config, now_s: int) -> str:
    """Keeps the copy of the accounts for a mail server up to date (mail_accounts.file)."""
    changed = mailcopy.refresh(store, Path(config.mail_accounts.file))
    return f"Wrote {changed} changes of accounts for the mail server." if changed else ""


def purge_inboxes(store: Store, config: Config, now_s: int) -> str:
    """Removes what lies in scheduling inboxes for longer than scheduling.inbox_days: many programs never empty them."""
    gone = 0
    while True:
        with transaction(store, write=True) as conn:
            found = meetings.old_inbox_items(conn, now_s - config.scheduling.inbox_days * DAY_S, INBOX_BATCH)
            # In one order for everybody, as each of them takes the row of its inbox.
            for inbox, record in sorted(found, key=lambda item: (item[0].id, item[1].id)):
                objects.delete_object(conn, inbox, record, now_s=now_s, history=False)
        gone += len(found)
        if len(found) < INBOX_BATCH:
            return f"Removed {gone} old messages from inboxes." if gone else ""
        time.sleep(PAUSE_S)


def make_birthdays(store: Store, config: Config, now_s: int) -> str:
    """Gives everybody with contacts a calendar of their birthdays (derived.birthdays)."""
    from dav.derived.birthdays import turn_on_for_all

    return turn_on_for_all(store, config, now_s)


def refresh_statistics(store: Store, config: Config, now_s: int) -> str:
    """Lets PostgreSQL know of what was filled or restored, before its autovacuum comes by."""
    names = statistics.refresh(store)
    return f"Made statistics of {', '.join(names)}." if names else ""


JOBS = (
    Job("statistics", 60, refresh_statistics, lambda config: config.database.url.startswith("postgresql")),
    Job("purge", 3600, purge_history),
    Job("purge-sign-in", 3600, purge_sign_in),
    Job("purge-inboxes", DAY_S, purge_inboxes),
    Job("purge-scheduling", 3600, purge_scheduling),
    Job("refresh-people", 3600, refresh_people),
    Job("extend-horizon", 6 * 3600, extend_horizon),
    Job("classify", 6 * 3600, classify),
    Job("follow-apple", 300, follow_apple, lambda config: config.feeds.followed and config.feeds.followed_from_apple),
    Job("birthdays", 600, make_birthdays, lambda config: config.derived.birthdays),
    Job("copy-accounts", 20, copy_accounts, lambda config: bool(config.mail_accounts.file)),
)


def run_if_due(job: Job, store: Store, config: Config, *, holder: str, now_s: int) -> bool:
    """Runs the job unless another worker has done so within job.every_s. Returns whether it ran."""
    # The lease is not given back: it is also what says that the job was done.
    with transaction(store, write=True) as conn:
        if not leases.take_lease(conn, job.name, holder=holder, now_s=now_s, lease_s=job.every_s):
            return False
    said = job.run(store, config, now_s)
    if said:
        _log.info("%s", said)
    return True


async def run_for_ever(store: Store, config: Config) -> None:
    """Runs this worker's jobs until it is cancelled. A job that fails is logged and tried again at its next time."""
    holder = f"{socket.gethostname()}:{os.getpid()}"
    loop = asyncio.get_running_loop()
    # Not at once: a server that has just been started has better things to do, and not all workers at the same moment.
    wanted = [job for job in JOBS if job.wanted(config)]
    due = {job.name: loop.time() + LOOK_EVERY_S * random.uniform(1, 3) for job in wanted}
    while True:
        await asyncio.sleep(LOOK_EVERY_S / 2)
        for job in wanted:
            if loop.time() < due[job.name]:
                continue
            due[job.name] = loop.time() + job.every_s
            await _in_daemon(_run_logged, job, store, config, holder)


def _run_logged(job: Job, store: Store, config: Config, holder: str) -> None:
    try:
        run_if_due(job, store, config, holder=holder, now_s=int(time.time()))
    except (StorageError, mailcopy.CopyFailed) as error:
        _log.warning("job %s: %s", job.name, error)
    except Exception:
        _log.exception("job %s failed", job.name)


async def _in_daemon(function: Callable[..., None], *arguments: object) -> None:
    """Runs a blocking function in a thread that the end of the process does not wait for: jobs may stop anywhere."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def work() -> None:
        function(*arguments)
        if not loop.is_closed():
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=work, name="jobs", daemon=True).start()
    await done.wait()
