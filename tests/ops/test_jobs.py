"""Background work: once in its time whoever asks, and done right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dav import jobs
from dav.config import Config, MailAccountsConfig
from dav.methods.put import describe
from storage import accounts, collections, objects
from storage.engine import Store, transaction
from storage.records import Account

DAY_S = jobs.DAY_S
NOW_S = 1_700_000_000
DAILY = (
    b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//y//EN\r\nBEGIN:VEVENT\r\nUID:%s\r\nDTSTAMP:20231101T000000Z\r\n"
    b"DTSTART:20231101T100000Z\r\nRRULE:FREQ=WEEKLY\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)


def put(store: Store, config: Config, alice: Account, name: str) -> None:
    body = DAILY % name.encode()
    index = describe("event", body, config, NOW_S).index
    with transaction(store, write=True) as conn:
        calendar, _ = collections.resolve(conn, alice.name, "calendars", "calendar")
        assert calendar is not None
        objects.put_object(
            conn, calendar, name, body, content_type="text/calendar", etag=name, index=index, now_s=NOW_S
        )


def found(store: Store, alice: Account, day_s: int) -> list[tuple[str, bool]]:
    with transaction(store) as conn:
        calendar, _ = collections.resolve(conn, alice.name, "calendars", "calendar")
        assert calendar is not None
        rows = objects.in_range(conn, calendar.id, "VEVENT", day_s, day_s + 7 * DAY_S, day_s, day_s + 7 * DAY_S)
        return [(row.record.name, row.certain) for row in rows]


def test_a_job_runs_once_in_its_time_whoever_asks(store: Store, config: Config) -> None:
    ran: list[int] = []

    def run(store: Store, config: Config, now_s: int) -> str:
        ran.append(now_s)
        return ""

    job = jobs.Job("test", 100, run)
    results = [
        jobs.run_if_due(job, store, config, holder=holder, now_s=now_s)
        for holder, now_s in (("a", 1000), ("b", 1001), ("b", 1099), ("b", 1100), ("a", 1150), ("a", 1200))
    ]
    assert results == [True, False, False, True, False, True]
    assert ran == [1000, 1100, 1200]


def test_the_index_of_endless_events_is_kept_ahead_of_the_clock(store: Store, config: Config, alice: Account) -> None:
    for number in range(3):
        put(store, config, alice, f"{number}.ics")
    later_s = NOW_S + 700 * DAY_S
    far_s = NOW_S + 1000 * DAY_S
    assert sorted(found(store, alice, far_s)) == [(f"{number}.ics", False) for number in range(3)]
    assert jobs.extend_horizon(store, config, NOW_S + DAY_S) == ""
    assert jobs.extend_horizon(store, config, later_s) == "Indexed 3 recurring objects further ahead."
    assert sorted(found(store, alice, far_s)) == [(f"{number}.ics", True) for number in range(3)]
    assert jobs.extend_horizon(store, config, later_s + DAY_S) == ""


def test_what_was_deleted_goes_after_its_days(store: Store, config: Config, alice: Account) -> None:
    put(store, config, alice, "1.ics")
    with transaction(store, write=True) as conn:
        calendar, _ = collections.resolve(conn, alice.name, "calendars", "calendar")
        assert calendar is not None
        collections.delete_collection(conn, calendar, now_s=NOW_S)
    days = config.history.days * DAY_S
    assert jobs.purge_history(store, config, NOW_S + days - 1) == ""
    said = jobs.purge_history(store, config, NOW_S + days + 1)
    assert said.startswith("Removed 1 collections, 1 objects in them, ")
    assert jobs.purge_history(store, config, NOW_S + days + 1) == ""


def test_the_mail_servers_copy_follows_the_accounts(
    store: Store, config: Config, alice: Account, tmp_path: Path
) -> None:
    file = tmp_path / "accounts.sqlite"
    settings = replace(config, mail_accounts=MailAccountsConfig(file=str(file)))
    assert jobs.copy_accounts(store, settings, NOW_S) == "Wrote 2 changes of accounts for the mail server."
    assert jobs.copy_accounts(store, settings, NOW_S) == ""
    with transaction(store, write=True) as conn:
        accounts.set_active(conn, alice.id, False)
    assert jobs.copy_accounts(store, settings, NOW_S) == "Wrote 2 changes of accounts for the mail server."
    (job,) = [job for job in jobs.JOBS if job.run is jobs.copy_accounts]
    assert job.wanted(settings)
    assert not job.wanted(config)
