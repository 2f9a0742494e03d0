"""The directory's back end without a directory: what is sent, what entries say, and what happens when nobody answers.

With a real server: tests/outside/test_directory.py.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dav import config as settings
from dav.auth import ldap
from dav.auth.backend import BackendDown, Credentials, Refusal
from dav.auth.ldap import Ldap, Person, addresses, policy_error
from dav.auth.threads import Threads
from dav.config import AuthLdapConfig, ConfigError


def config(**changes: Any) -> AuthLdapConfig:
    return AuthLdapConfig(**{"url": ("ldap://127.0.0.1:1",), "base": "dc=example", "start_tls": False, **changes})


def person(dn: str = "uid=alice,dc=example", **attributes: tuple[str, ...]) -> Person:
    return Person(dn, {name.lower(): values for name, values in attributes.items()})


# --- what is sent -----------------------------------------------------------------------------------------------------


@given(st.text(max_size=50))
def test_no_login_can_end_the_value_it_stands_in(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    for escaped in (ldap._filter_value(text), ldap._dn_value(text)):
        assert not set(escaped) & set('()*&|!=<>~,+"#; \0')
        plain = bytes.fromhex("".join(p[:2] + p[2:].encode().hex() for p in _pairs(escaped)))
        assert plain.decode() == text


def _pairs(escaped: str) -> Iterator[str]:
    """The escaped text in pieces: two hex digits of an octet and the letters after it."""
    head, *rest = escaped.split("\\")
    if head:
        yield head[0].encode().hex() + head[1:]
    yield from rest


def test_marks_in_a_login_stay_text() -> None:
    assert ldap._fill("(uid={login})(x={local})", {"login": "{local}", "local": "L"}, str) == "(uid={local})(x=L)"


@pytest.mark.parametrize("login", ["", "a\nb", "a\0b", "x" * 256])
def test_what_is_no_login_is_nobodys_and_nothing_is_sent(login: str) -> None:
    back_end = Ldap(config())
    assert asyncio.run(back_end.check(Credentials(login, "secret"))) is Refusal.NOT_MINE
    assert asyncio.run(back_end.lookup(login)) is Refusal.NOT_MINE


def test_an_empty_password_is_refused_before_any_bind() -> None:
    # RFC 4513 §5.1.2: the directory would say yes. Nobody listens there, so a connection would be BackendDown.
    assert asyncio.run(Ldap(config()).check(Credentials("alice", ""))) is Refusal.WRONG
    assert asyncio.run(Ldap(config()).check(Credentials("alice", "x" * 2000))) is Refusal.WRONG


# --- what entries say -------------------------------------------------------------------------------------------------


def test_the_primary_address_is_the_one_with_capital_smtp() -> None:
    entry = person(
        mail=("Alice@Example.com",),
        proxyAddresses=("smtp:a2@example.com", "SMTP:first@example.com", "x500:/o=x", "sip:alice@example.com"),
        mailAlternateAddress=("alice@example.com", "no address", "@example.com", "a@b@c"),
    )
    names = ("mail", "mailAlternateAddress", "proxyAddresses")
    assert addresses(entry, names) == ("first@example.com", "alice@example.com", "a2@example.com")


def test_no_entry_has_more_addresses_than_the_limit() -> None:
    entry = person(mail=tuple(f"a{i}@example.com" for i in range(1000)))
    assert len(addresses(entry, ("mail",))) == ldap.ADDRESSES_MAX


@pytest.mark.parametrize(
    "attributes",
    [
        {"userAccountControl": ("514",)},
        {"nsAccountLock": ("TRUE",)},
        {"loginDisabled": ("true",)},
        {"pwdReset": ("TRUE",)},
        {"pwdAccountLockedTime": ("000001010000Z",)},
    ],
)
def test_a_disabled_account_is_known_by_its_entry(attributes: dict[str, tuple[str, ...]]) -> None:
    assert ldap._is_disabled(person(**attributes))


def test_an_ordinary_account_is_not_disabled() -> None:
    assert not ldap._is_disabled(person(userAccountControl=("512",), nsAccountLock=("false",), mail=("514",)))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b"\x30\x03\x81\x01\x00", 0),
        (b"\x30\x03\x81\x01\x02", 2),
        (b"\x30\x08\xa0\x03\x81\x01\x07\x81\x01\x01", 1),
        (b"\x30\x05\xa0\x03\x80\x01\x05", None),
        (b"\x30\x00", None),
        (b"", None),
        (b"\x30\x04\x81\x01\x02", None),
        (b"\x04\x03\x81\x01\x02", None),
    ],
)
def test_the_password_policy_of_the_answer_is_read(value: bytes, error: int | None) -> None:
    assert policy_error(value) == error


@given(st.binary(max_size=40))
def test_no_policy_makes_the_reader_fail(value: bytes) -> None:
    policy_error(b"\x30" + bytes([len(value)]) + value)


def test_dns_are_compared_without_case_and_spaces() -> None:
    assert ldap._same_dn("CN=Calendars, dc=Example", "cn=calendars,DC=example")
    assert not ldap._same_dn("cn=calendars,dc=example", "cn=calendars,dc=example,dc=org")


# --- nobody answers ---------------------------------------------------------------------------------------------------


def test_a_directory_that_is_away_means_down() -> None:
    with pytest.raises(BackendDown, match=r"ldap://127\.0\.0\.1:1"):
        asyncio.run(Ldap(config()).check(Credentials("alice", "secret")))


def test_a_directory_that_hangs_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        back_end = Ldap(config(url=(f"ldap://127.0.0.1:{silent.getsockname()[1]}",), timeout_seconds=1))
        started = time.monotonic()
        with pytest.raises(BackendDown):
            asyncio.run(back_end.check(Credentials("alice", "secret")))
        assert time.monotonic() - started < 8


def test_an_answer_that_is_no_ldap_means_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20)
                connection.recv(1000)

        thread = threading.Thread(target=talk)
        thread.start()
        back_end = Ldap(config(url=(f"ldap://127.0.0.1:{server.getsockname()[1]}",), timeout_seconds=1))
        with pytest.raises(BackendDown):
            asyncio.run(back_end.check(Credentials("alice", "secret")))
        thread.join(10)


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        (AuthLdapConfig(), "url"),
        (config(base=""), "base"),
        (config(bind_dn="cn=x"), "bind_password"),
        (config(bind_password="a", bind_password_file="b"), "only one"),
        (config(bind_password_file="/nowhere"), "cannot be read"),
        (config(ca_file="/nowhere"), "ca_file"),
    ],
)
def test_what_is_missing_is_said_at_the_start(broken: AuthLdapConfig, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        Ldap(broken)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("URL", "http://x"),
        ("URL", "ldap://"),
        ("URL", "ldap://u:p@x"),
        ("URL", "ldap://x/dc=example"),
        ("URL", "ldap://x:0"),
        ("FILTER", "(uid=alice)"),
        ("FILTER", "(uid={user})"),
        ("USER_DN", "uid=%s"),
        ("NAME_ATTRIBUTES", ""),
        ("NAME_ATTRIBUTES", "a(b"),
        ("TIMEOUT_SECONDS", "0"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"auth_ldap.{key.lower()}"):
        settings.load(None, {f"DAVENPORT_AUTH_LDAP_{key}": value})


def test_the_files_are_found_beside_the_settings(tmp_path: Path) -> None:
    (tmp_path / "config.ini").write_text("[auth_ldap]\nca_file = ca.pem\nbind_password_file = /abs/secret\n")
    loaded = settings.load(str(tmp_path / "config.ini"), {}).auth_ldap
    assert (loaded.ca_file, loaded.bind_password_file) == (str(tmp_path / "ca.pem"), "/abs/secret")


# --- the threads ------------------------------------------------------------------------------------------------------


def test_calls_beyond_the_threads_wait_and_all_are_answered() -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def work() -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return 7

    async def run() -> list[int]:
        threads = Threads("x", 3, seconds=30)
        return await asyncio.gather(*(threads.run(work, client=f"10.0.0.{i}") for i in range(20)))

    assert asyncio.run(run()) == [7] * 20
    assert most <= 3


def test_what_hangs_is_given_up_keeps_its_place_and_others_go_on() -> None:
    release = threading.Event()

    async def run() -> None:
        threads = Threads("x", 2, seconds=0.3)
        with pytest.raises(BackendDown, match="did not answer"):
            await threads.run(lambda: release.wait(30), client="10.0.0.1")
        assert await threads.run(lambda: 1, client="10.0.0.2") == 1
        with pytest.raises(BackendDown):
            await threads.run(lambda: release.wait(30), client="10.0.0.1")
        with pytest.raises(BackendDown, match="did not answer"):
            await threads.run(lambda: 1, client="10.0.0.2")  # both places hang
        release.set()
        while True:
            try:
                assert await threads.run(lambda: 2, client="10.0.0.2") == 2
                return
            except BackendDown:
                continue

    asyncio.run(asyncio.wait_for(run(), 20))


def test_threads_do_one_thing_after_another_and_end_when_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dav.auth.threads.IDLE_S", 0.2)

    async def scene() -> None:
        threads = Threads("idle", 3, seconds=10)
        first = {await threads.run(threading.get_ident) for _ in range(20)}
        assert len(first) == 1
        await asyncio.gather(*(threads.run(lambda: time.sleep(0.05), client=f"10.0.0.{n}") for n in range(9)))
        mine = [thread for thread in threading.enumerate() if thread.name == "idle-sign-in"]
        assert len(mine) == 3
        for thread in mine:
            await asyncio.to_thread(thread.join, 10)
            assert not thread.is_alive()
        assert await threads.run(lambda: "again") == "again"
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 / 0)
        assert await threads.run(lambda: "and again") == "and again"

    asyncio.run(scene())


def test_a_failure_in_a_thread_is_raised_where_it_is_awaited() -> None:
    def fail() -> None:
        raise BackendDown("because")

    async def run() -> None:
        threads = Threads("x", 1, seconds=5)
        for _ in range(3):
            with pytest.raises(BackendDown, match="because"):
                await threads.run(fail)

    asyncio.run(run())
