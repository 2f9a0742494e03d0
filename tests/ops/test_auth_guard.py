"""Slowing guesses down: by whom, for how long, the same in every worker, and never the owner on another network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from dav.auth import Authenticator
from dav.auth.backend import Identity
from dav.auth.guard import (
    AUDITS_A_MINUTE,
    FORGET_S,
    KNOWN_S,
    LOGIN_FREE,
    NETWORK_FREE,
    WAITING_MAX,
    WIDE_RUNNING,
    Guard,
    LaneFull,
)
from dav.config import Config
from dav.errors import DavError
from storage import audit, schema
from storage.engine import Store, transaction
from storage.records import Account

from .fakes import Clock, Fake, T, basic, configured, register, run

FREE = 5
DELAY_MAX_S = 30
HOME, AWAY = "198.51.100.1", "192.0.2.7"


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def at_once(function: Callable[[], T], /) -> T:
    return function()


def guard_of(store: Store, clock: Clock, sleep: Callable[[float], Awaitable[None]] | None = None) -> Guard:
    return Guard(
        store, in_thread=at_once, write=at_once, free_failures=FREE, delay_max_s=DELAY_MAX_S, clock=clock,
        sleep=sleep or clock.sleep,
    )  # fmt: skip


@pytest.fixture
def guard(store: Store, clock: Clock) -> Guard:
    return guard_of(store, clock)


def fail(guard: Guard, login: str, client: str, times: int = 1) -> None:
    async def scene() -> None:
        for _ in range(times):
            async with guard.turn(login, client) as turn:
                await guard.failed(turn)

    run(scene())


def succeed(guard: Guard, login: str, client: str) -> None:
    async def scene() -> None:
        async with guard.turn(login, client) as turn:
            await guard.passed(turn)

    run(scene())


def waits(guard: Guard, clock: Clock, login: str, client: str) -> float:
    """How long the next check would wait; the clock is put back after it."""
    now, before = clock.now, len(clock.slept)

    async def scene() -> None:
        async with guard.turn(login, client):
            pass

    run(scene())
    clock.now = now
    return sum(clock.slept[before:])


# --- lanes ------------------------------------------------------------------------------------------------------------


def test_the_first_failures_are_free_and_the_next_wait_longer_and_longer_up_to_a_limit(
    guard: Guard, clock: Clock
) -> None:
    fail(guard, "Alice", HOME, FREE)
    assert clock.slept == []
    fail(guard, "alice", HOME, 8)
    assert [round(seconds) for seconds in clock.slept] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert waits(guard, clock, "ALICE", HOME) == pytest.approx(DELAY_MAX_S, abs=1)
    assert waits(guard, clock, "alice", AWAY) == 0


def test_the_time_since_the_last_failure_counts(guard: Guard, clock: Clock) -> None:
    fail(guard, "alice", HOME, FREE + 4)
    clock.now += 5
    assert waits(guard, clock, "alice", HOME) == pytest.approx(16 - 5, abs=1)
    clock.now += FORGET_S
    assert waits(guard, clock, "alice", HOME) == 0
    fail(guard, "alice", HOME)
    assert waits(guard, clock, "alice", HOME) == 0  # counted from one again


def test_all_workers_count_together(store: Store, guard: Guard, clock: Clock) -> None:
    workers = [guard, guard_of(store, clock), guard_of(store, clock)]
    for number in range(FREE + 3):
        fail(workers[number % 3], "alice", HOME)
    assert all(waits(worker, clock, "alice", HOME) >= 3 for worker in workers)


def test_a_right_password_frees_its_lane_and_no_other(guard: Guard, clock: Clock) -> None:
    for client in (HOME, AWAY):
        fail(guard, "alice", client, FREE + 3)
    succeed(guard, "alice", HOME)
    assert waits(guard, clock, "alice", HOME) == 0
    assert waits(guard, clock, "alice", AWAY) > 0


def test_many_names_from_one_network_slow_that_network_down(guard: Guard, clock: Clock) -> None:
    succeed(guard, "owner", AWAY)
    for number in range(FREE * NETWORK_FREE):
        fail(guard, f"user{number}", AWAY)
    assert clock.slept == []
    fail(guard, "one more", AWAY, 3)
    assert waits(guard, clock, "somebody new", AWAY) > 1
    assert waits(guard, clock, "somebody new", HOME) == 0
    assert waits(guard, clock, "owner", AWAY) == 0  # has signed in from there before


def test_many_networks_that_guess_one_login_slow_new_networks_down_and_not_the_owner(
    guard: Guard, clock: Clock
) -> None:
    succeed(guard, "alice", HOME)
    for number in range(FREE * LOGIN_FREE + 6):
        fail(guard, "alice", f"203.0.113.{number}")
    assert waits(guard, clock, "alice", "203.0.113.200") > 10
    assert waits(guard, clock, "alice", HOME) == 0
    assert waits(guard, clock, "bob", "203.0.113.200") == 0


def test_a_network_is_as_new_as_any_after_thirty_days_without_a_sign_in(guard: Guard, clock: Clock) -> None:
    succeed(guard, "alice", HOME)
    clock.now += KNOWN_S - 3600
    for number in range(FREE * LOGIN_FREE + 6):
        fail(guard, "alice", f"203.0.113.{number}")
    assert waits(guard, clock, "alice", HOME) == 0
    clock.now += 3600
    fail(guard, "alice", AWAY, FREE * LOGIN_FREE + 6)
    assert waits(guard, clock, "alice", HOME) > 1


def test_mistypes_on_a_known_network_count_against_nobody_else(guard: Guard, clock: Clock) -> None:
    succeed(guard, "alice", HOME)
    fail(guard, "alice", HOME, FREE * NETWORK_FREE + 5)
    assert waits(guard, clock, "bob", HOME) == 0
    assert waits(guard, clock, "alice", AWAY) == 0


def test_addresses_of_one_ipv6_network_are_one(guard: Guard, clock: Clock) -> None:
    for number in range(FREE + 3):
        fail(guard, "alice", f"2001:db8:1:2::{number:x}")
    assert waits(guard, clock, "alice", "2001:db8:1:2:ffff::1") > 1
    assert waits(guard, clock, "alice", "2001:db8:1:3::1") == 0


def test_a_clock_that_was_put_back_makes_nobody_wait_longer(guard: Guard, clock: Clock) -> None:
    fail(guard, "alice", HOME, FREE + 2)
    clock.now -= 100_000
    assert waits(guard, clock, "alice", HOME) == 4


def test_no_login_and_no_address_stands_in_the_counts(store: Store, guard: Guard) -> None:
    fail(guard, "alice", HOME, 2)
    succeed(guard, "alice", HOME)
    with transaction(store) as conn:
        conn.cursor.execute(f"SELECT key FROM {schema.guard.name}")
        keys = [row[0] for row in conn.cursor.fetchall()]
    assert keys
    assert all(len(key) == 32 and set(key) <= set("0123456789abcdef") for key in keys)


def test_a_check_reads_the_store_once_and_a_usual_success_writes_nothing(store: Store, clock: Clock) -> None:
    done: list[str] = []

    async def in_thread(function: Callable[[], T], /) -> T:
        done.append("read")
        return function()

    async def write(function: Callable[[], T], /) -> T:
        done.append("write")
        return function()

    guard = Guard(store, in_thread=in_thread, write=write, clock=clock, sleep=clock.sleep)
    succeed(guard, "alice", HOME)
    done.clear()
    succeed(guard, "alice", HOME)
    assert done == ["read"]
    fail(guard, "alice", HOME)
    assert done == ["read", "read", "write"]


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_a_login_from_a_network_is_checked_one_at_a_time_and_only_so_many_wait(guard: Guard) -> None:
    inside = most = 0

    async def check() -> None:
        nonlocal inside, most
        async with guard.turn("a", HOME):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    async def scene() -> list[BaseException | None]:
        return await asyncio.gather(*(check() for _ in range(WAITING_MAX + 5)), return_exceptions=True)

    results = run(scene())
    assert most == 1
    assert [isinstance(result, LaneFull) for result in results].count(True) == 5
    assert guard._queues == {}


def test_a_new_network_has_so_many_checks_at_a_time_and_the_next_see_their_failures(store: Store, clock: Clock) -> None:
    inside = most = 0
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    guard = guard_of(store, clock, sleep)

    for number in range(FREE * NETWORK_FREE - 1):
        fail(guard, f"first{number}", AWAY)

    async def check(number: int) -> None:
        nonlocal inside, most
        async with guard.turn(f"user{number}", AWAY) as turn:
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1
            await guard.failed(turn)

    async def scene() -> None:
        await asyncio.gather(*(check(number) for number in range(WIDE_RUNNING + 20)))

    run(scene())
    assert most == WIDE_RUNNING
    assert len(slept) == 20  # those that came in first could not know
    assert guard._queues == {}


def test_whoever_gives_up_waiting_leaves_no_trace(guard: Guard) -> None:
    async def scene() -> None:
        holding = guard.turn("a", HOME)
        await holding.__aenter__()
        waiting = [asyncio.create_task(guard.turn("a", HOME).__aenter__()) for _ in range(5)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await holding.__aexit__(None, None, None)

    run(scene())
    assert guard._queues == {}


def test_nobody_stands_for_minutes_behind_others_that_wait(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dav.auth.guard.PATIENCE_S", 0.05)
    patient = Guard(store, in_thread=at_once, write=at_once, free_failures=FREE, delay_max_s=0)

    async def scene() -> None:
        async with patient.turn("a", HOME):
            with pytest.raises(LaneFull):
                await patient.turn("a", HOME).__aenter__()
            # Who is let in may take the time that the back end takes.
            await asyncio.sleep(0.1)

    run(scene())
    assert patient._queues == {}


# --- what is written down ---------------------------------------------------------------------------------------------


def test_an_attack_is_written_down_but_does_not_fill_the_store(
    store: Store, alice: Account, guard: Guard, clock: Clock
) -> None:
    fail(guard, alice.name, HOME, 3)
    with transaction(store) as conn:
        (entry,) = audit.entries(conn, alice.id)
    assert (entry.action, entry.actor, entry.subject, entry.detail) == ("sign-in refused", alice.name, HOME, "wrong")
    clock.now += 61
    fail(guard, alice.name, HOME)
    with transaction(store) as conn:
        assert len(audit.entries(conn, alice.id)) == 2
    for number in range(AUDITS_A_MINUTE + 20):
        fail(guard, f"nobody{number}", f"203.0.113.{number}")
    with transaction(store) as conn:
        assert len(audit.entries(conn, 0)) == AUDITS_A_MINUTE - 1  # one was alice's


# --- the whole of it --------------------------------------------------------------------------------------------------


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake("mail")
    fake.knows("carol@example.com", "secret")
    register(monkeypatch, fake)
    return fake


@pytest.fixture
def workers(store: Store, config: Config, mail: Fake) -> Iterator[list[Authenticator]]:
    made = [Authenticator(store, configured(config, "mail")) for _ in range(2)]
    yield made
    for one in made:
        one.close()


def test_under_three_hundred_wrong_logins_the_owner_elsewhere_waits_for_nobody(
    workers: list[Authenticator], mail: Fake
) -> None:
    right = basic("carol@example.com", "secret")

    async def scene() -> tuple[float, int, int]:
        loop = asyncio.get_running_loop()
        await workers[0].sign_in(right, client=HOME)
        for one in workers:
            one.cache.forget(1)
        guesses = [
            asyncio.create_task(workers[number % 2].sign_in(basic("carol@example.com", f"guess {number}"), client=AWAY))
            for number in range(300)
        ]
        await asyncio.sleep(0.5)
        asked = len(mail.asked)
        began = loop.time()
        assert await workers[1].sign_in(right, client=HOME) is not None
        took_s = loop.time() - began
        turned_away = sum(
            1 for task in guesses if task.done() and isinstance(error := task.exception(), DavError)
            and error.status == 503
        )  # fmt: skip
        for one in workers:
            for task in list(one._running.values()):
                task.cancel()
        await asyncio.gather(*guesses, return_exceptions=True)
        return took_s, asked, turned_away

    took_s, asked, turned_away = run(scene())
    assert took_s < 3
    assert asked <= 2 * (FREE + 3)
    assert turned_away >= 300 - 2 * WAITING_MAX


def test_a_remembered_password_never_meets_the_guard(workers: list[Authenticator], store: Store) -> None:
    one = workers[0]
    right = basic("carol@example.com", "secret")
    run(one.sign_in(right, client=HOME))
    one._guard.turn = None  # type: ignore[assignment, method-assign]
    assert run(one.sign_in(right, client=HOME)) is not None


def test_a_device_with_an_old_password_guesses_nothing(store: Store, config: Config, mail: Fake, clock: Clock) -> None:
    one = Authenticator(store, configured(config, "mail"), clock=clock, wall=clock, sleep=clock.sleep)
    for _ in range(50):
        with pytest.raises(DavError):
            run(one.sign_in(basic("carol@example.com", "old"), client=HOME))
        clock.now += 20
    assert clock.slept == []
    mail.people["carol@example.com"] = ("new", Identity("carol@example.com"))
    assert run(one.sign_in(basic("carol@example.com", "new"), client=HOME)) is not None
    one.close()


def test_an_early_no_takes_as_long_as_a_no_of_all(
    store: Store, config: Config, mail: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Fake("slow", slow_s=0.1)
    register(monkeypatch, slow)
    clock = Clock()
    loop_s = asyncio.new_event_loop()
    one = Authenticator(store, configured(config, "mail", "slow"), clock=loop_s.time, wall=clock, sleep=clock.sleep)
    loop_s.close()
    for number in range(12):
        with pytest.raises(DavError):
            run(one.sign_in(basic(f"nobody{number}", "x"), client=f"203.0.113.{number}"))
    assert clock.slept == []
    with pytest.raises(DavError):
        run(one.sign_in(basic("carol@example.com", "wrong"), client=HOME))
    (padded_s,) = clock.slept
    assert 0.05 < padded_s < 1
    one.close()
