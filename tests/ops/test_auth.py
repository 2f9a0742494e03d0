"""Signing in: the header, the names in it, the memory of right and wrong passwords, and what it costs."""

from __future__ import annotations

import asyncio
import base64
import unicodedata
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dav import provision
from dav.auth import Authenticator, passwords
from dav.auth.backend import BackendDown, Credentials, HashPool, Identity, SignedIn
from dav.auth.basic import BadCredentials, candidates, parse_basic
from dav.auth.cache import CredentialCache, RefusedCache
from dav.auth.guard import WAITING_MAX, network
from dav.config import AuthConfig, Config
from dav.errors import DavError
from storage import accounts
from storage.engine import Store, transaction
from storage.records import Account

from .conftest import PASSWORD


def basic(login: str, password: str, charset: str = "utf-8") -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{login}:{password}".encode(charset)).decode()}


T = TypeVar("T")


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that were hashed, in order; "" for the dummy."""
    done: list[str] = []
    verify, dummy = passwords.verify, passwords.dummy_verify
    monkeypatch.setattr(passwords, "verify", lambda p, h: (done.append(p), verify(p, h))[1])
    monkeypatch.setattr(passwords, "dummy_verify", lambda: (done.append(""), dummy())[1])
    return done


@pytest.fixture
def auth(store: Store, alice: Account, clock: Clock) -> Iterator[Authenticator]:
    authenticator = Authenticator(store, Config(), clock=clock)
    yield authenticator
    authenticator.close()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


def refused(auth: Authenticator, headers: dict[str, str]) -> DavError:
    with pytest.raises(DavError) as caught:
        run(auth.sign_in(headers))
    return caught.value


# --- the header -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("alice", "secret"),
        ("alice@example.com", "with:colons:and spaces "),
        ("Zoë", "pässwörd"),
        ("a", ""),
        ("山田", "パスワード🙂"),
    ],
)
def test_what_was_sent_is_what_is_read(login: str, password: str) -> None:
    assert parse_basic(basic(login, password)["authorization"]) == (login, password)


def test_latin_1_is_read_when_it_is_not_utf_8() -> None:
    assert parse_basic(basic("zoë", "é", "latin-1")["authorization"]) == ("zoë", "é")


@pytest.mark.parametrize("header", ["Bearer abc", "Digest username=x", "basics eA==", "", "NTLM"])
def test_another_scheme_is_not_ours_to_judge(header: str) -> None:
    assert parse_basic(header) is None


def test_scheme_in_any_case_and_missing_padding_are_read() -> None:
    assert parse_basic("bASIC  YTpi") == ("a", "b")
    assert parse_basic("Basic YTpiYw") == ("a", "bc")


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic YQ==",  # no colon
        "Basic OmI=",  # no login
        "Basic YTpi, Basic YTpi",
        "Basic Y",
        "Basic " + base64.b64encode(b"a:b\nc").decode(),
        "Basic " + base64.b64encode(b"a\0:b").decode(),
        "Basic " + base64.b64encode(b"a" * 256 + b":b").decode(),
        "Basic " + "YTpi" * 2000,
    ],
)
def test_basic_without_usable_credentials_is_refused(header: str) -> None:
    with pytest.raises(BadCredentials):
        parse_basic(header)


@given(st.text(max_size=200))
def test_no_header_makes_the_reader_fail(header: str) -> None:
    try:
        parse_basic("Basic " + header)
    except BadCredentials:
        return


@given(st.binary(max_size=100))
def test_no_octets_make_the_reader_fail(octets: bytes) -> None:
    try:
        login, _ = parse_basic("Basic " + base64.b64encode(octets).decode()) or ("x", "")
    except BadCredentials:
        return
    assert login


def test_the_names_a_login_may_mean() -> None:
    assert candidates("alice") == ["alice"]
    assert candidates("alice%40example.com") == ["alice%40example.com", "alice@example.com"]
    assert candidates(" alice ") == [" alice ", "alice"]
    assert candidates("Zoe\u0308") == ["Zoë"]
    assert candidates("50%") == ["50%"]
    assert candidates("a%ff") == ["a%ff"]
    assert candidates("a%00b") == ["a%00b"]
    assert candidates("%20") == ["%20"]


# --- passwords ------------------------------------------------------------------------------------------------------


def test_a_hash_is_argon2id_salted_and_right_for_its_password_only() -> None:
    first, second = passwords.hash_password("a"), passwords.hash_password("a")
    assert first.startswith("$argon2id$")
    assert first != second
    assert passwords.verify("a", first)
    assert not passwords.verify("b", first)
    assert not passwords.needs_rehash(first)


def test_composed_and_decomposed_spellings_are_one_password() -> None:
    decomposed = unicodedata.normalize("NFD", "pässwörd\u00a0x")
    assert passwords.verify(decomposed, passwords.hash_password("pässwörd x"))


@pytest.mark.parametrize("password", ["", "a\nb", "a\0", "\ud800", "x" * 1025, "ä" * 513])
def test_an_unusable_password_is_neither_set_nor_right(password: str, password_hash: str) -> None:
    with pytest.raises(passwords.PasswordUnusable):
        passwords.hash_password(password)
    assert not passwords.verify(password, password_hash)


@pytest.mark.parametrize("stored", ["", "x", "$1$abc$def", "$argon2id$", "$argon2id$v=19$m=8,t=1,p=1$!!$!!"])
def test_a_hash_that_is_none_is_never_right(stored: str) -> None:
    assert not passwords.verify("x", stored)
    assert passwords.needs_rehash("x")


def test_generated_passwords_are_usable_and_differ() -> None:
    made = {passwords.generate() for _ in range(100)}
    assert len(made) == 100
    assert all(len(password) == 24 and password.replace("-", "").isalpha() for password in made)


# --- signing in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "login",
    ["alice@example.com", "ALICE@Example.com", "alice%40example.com", "Alice%40Example.com", "alice@example.com "],
)
def test_the_right_password_signs_in_however_the_name_is_spelt(auth: Authenticator, alice: Account, login: str) -> None:
    assert run(auth.sign_in(basic(login, PASSWORD))) == SignedIn(alice.id, alice.auth_seq)


def test_no_credentials_or_an_unknown_scheme_are_nobody(auth: Authenticator) -> None:
    assert run(auth.sign_in({})) is None
    assert run(auth.sign_in({"authorization": "Bearer x"})) is None


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("alice@example.com", "wrong"),
        ("bob", PASSWORD),
        ("alice@example.com", ""),
        ("alice", PASSWORD),
        ("x" * 250, "y"),
    ],
)
def test_a_wrong_name_or_password_is_challenged_alike(auth: Authenticator, login: str, password: str) -> None:
    error = refused(auth, basic(login, password))
    assert (error.status, error.detail) == (401, "Wrong name or password.")
    assert dict(error.headers)["WWW-Authenticate"] == 'Basic realm="Davenport", charset="UTF-8"'


def test_garbage_in_the_header_is_challenged(auth: Authenticator) -> None:
    assert refused(auth, {"authorization": "Basic !"}).status == 401


def test_unknown_known_and_passwordless_accounts_cost_one_hash_each(
    auth: Authenticator, store: Store, hashes: list[str]
) -> None:
    with transaction(store, write=True) as conn:
        provision.provision(conn, "nopassword", now_s=1)
    for login in ("alice@example.com", "nobody", "nopassword"):
        refused(auth, basic(login, "wrong"))
    assert len(hashes) == 3


def test_a_disabled_account_is_refused_with_its_right_password(
    auth: Authenticator, store: Store, alice: Account
) -> None:
    with transaction(store, write=True) as conn:
        accounts.set_active(conn, alice.id, False)
    assert refused(auth, basic(alice.name, PASSWORD)).status == 401


def test_a_verified_password_costs_no_second_hash_until_it_expires(
    auth: Authenticator, clock: Clock, hashes: list[str]
) -> None:
    headers = basic("alice@example.com", PASSWORD)
    assert auth.remembered(headers) is None
    first = run(auth.sign_in(headers))
    clock.now += 299
    assert auth.remembered(headers) == run(auth.sign_in(headers)) == first
    assert len(hashes) == 1
    clock.now += 2
    assert run(auth.sign_in(headers)) == first
    assert len(hashes) == 2


def test_a_changed_password_is_noticed_by_its_auth_seq_and_the_old_one_refused(
    auth: Authenticator, store: Store, alice: Account
) -> None:
    headers = basic(alice.name, PASSWORD)
    before = run(auth.sign_in(headers))
    assert before is not None
    with transaction(store, write=True) as conn:
        accounts.set_password_hash(conn, alice.id, passwords.hash_password("new"))
        now = accounts.account_by_id(conn, alice.id)
    assert now is not None
    assert now.auth_seq != before.auth_seq  # what the caller compares
    auth.forget(alice.id)
    assert refused(auth, headers).status == 401
    assert run(auth.sign_in(basic(alice.name, "new"))) == SignedIn(alice.id, now.auth_seq)


def test_an_old_password_asked_again_and_again_costs_one_hash(
    auth: Authenticator, store: Store, alice: Account, hashes: list[str]
) -> None:
    for _ in range(20):
        refused(auth, basic(alice.name, "old"))
        refused(auth, basic("nobody", "old"))
    assert hashes == ["old", ""]
    # It becomes right: then it is right at once, although it was refused a moment ago.
    with transaction(store, write=True) as conn:
        accounts.set_password_hash(conn, alice.id, passwords.hash_password("old"))
        provision.provision(conn, "nobody", password_hash=passwords.hash_password("old"), now_s=1)
    assert run(auth.sign_in(basic(alice.name, "old"))) is not None
    assert run(auth.sign_in(basic("nobody", "old"))) is not None


def test_requests_that_come_together_share_one_hash(auth: Authenticator, alice: Account, hashes: list[str]) -> None:
    async def together() -> list[SignedIn | None]:
        return await asyncio.gather(*(auth.sign_in(basic(alice.name, PASSWORD)) for _ in range(20)))

    assert set(run(together())) == {SignedIn(alice.id, alice.auth_seq)}
    assert len(hashes) == 1


def test_a_client_that_hangs_up_does_not_fail_the_others(auth: Authenticator, alice: Account) -> None:
    async def scene() -> SignedIn | None:
        first = asyncio.create_task(auth.sign_in(basic(alice.name, PASSWORD)))
        second = asyncio.create_task(auth.sign_in(basic(alice.name, PASSWORD)))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert run(scene()) == SignedIn(alice.id, alice.auth_seq)


def test_a_back_end_that_is_down_is_503_and_not_401(auth: Authenticator, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(given: Credentials) -> Identity:
        raise BackendDown("no answer")

    monkeypatch.setattr(auth.backends[0], "check", down)
    error = refused(auth, basic("alice@example.com", PASSWORD))
    assert error.status == 503
    assert "Retry-After" in dict(error.headers)


def test_right_logins_go_on_while_another_network_guesses(auth: Authenticator, alice: Account) -> None:
    async def scene() -> SignedIn | None:
        guesses = [
            asyncio.create_task(auth.sign_in(basic(alice.name, f"guess {n}"), client="192.0.2.7")) for n in range(60)
        ]
        await asyncio.sleep(0)
        right = await auth.sign_in(basic(alice.name, PASSWORD), client="198.51.100.1")
        answered = sum(task.done() for task in guesses)
        for task in guesses:
            task.cancel()
        await asyncio.gather(*guesses, return_exceptions=True)
        # All but the ones that may wait were turned away at once, and only a few were hashed before ours.
        assert answered >= 60 - WAITING_MAX
        return right

    assert run(scene()) == SignedIn(alice.id, alice.auth_seq)


def test_with_a_cache_of_no_seconds_nothing_is_remembered(
    store: Store, alice: Account, clock: Clock, hashes: list[str]
) -> None:
    auth = Authenticator(store, Config(auth=AuthConfig(cache_seconds=0)), clock=clock)
    for _ in range(2):
        assert run(auth.sign_in(basic(alice.name, PASSWORD))) is not None
    auth.close()
    assert len(hashes) == 2


# --- the parts ------------------------------------------------------------------------------------------------------


def test_the_cache_is_bounded_and_drops_what_was_not_used_for_longest() -> None:
    cache = CredentialCache(60, entries_max=3)
    for name in "abc":
        cache.put(name, "p", SignedIn(ord(name), 1), now=0)
    assert cache.get("a", "p", 1) is not None
    cache.put("d", "p", SignedIn(ord("d"), 1), now=1)
    assert len(cache) == 3
    assert cache.get("b", "p", 1) is None
    assert cache.get("a", "p", 1) is not None


def test_the_cache_forgets_an_account_and_nothing_else() -> None:
    cache = CredentialCache(60)
    cache.put("a", "p", SignedIn(1, 1), now=0)
    cache.put("A", "p", SignedIn(1, 1), now=0)
    cache.put("b", "p", SignedIn(2, 1), now=0)
    cache.forget(1)
    cache.forget(3)
    assert (cache.get("a", "p", 0), cache.get("A", "p", 0)) == (None, None)
    assert cache.get("b", "p", 0) is not None
    assert len(cache) == 1


def test_the_cache_tells_pairs_apart_and_holds_no_password() -> None:
    cache = CredentialCache(60)
    cache.put("ab", "c", SignedIn(1, 1), now=0)
    assert cache.get("a", "bc", 0) is None
    assert cache.digest("a", "b") != CredentialCache(60).digest("a", "b")
    cache.put("somebody", "hunter2", SignedIn(1, 1), now=0)
    assert all(word not in repr(cache._entries) for word in ("hunter2", "somebody"))


def test_refusals_expire_and_are_bounded() -> None:
    cache = RefusedCache(30, entries_max=2)
    for digest in (b"a", b"b", b"c"):
        cache.add(digest, 0)
    assert (b"a", 1) not in cache
    assert (b"c", 29) in cache
    assert (b"c", 31) not in cache


@pytest.mark.parametrize(
    ("client", "lane"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_the_network_of_a_client(client: str, lane: str) -> None:
    assert network(client) == lane


def test_the_hash_pool_turns_away_what_it_cannot_hold() -> None:
    async def scene(pool: HashPool) -> list[object]:
        return await asyncio.gather(*(pool.run(lambda: 1) for _ in range(5)), return_exceptions=True)

    pool = HashPool(1, waiting_max=3)
    results = run(scene(pool))
    pool.close()
    assert results[:3] == [1, 1, 1]
    assert all(isinstance(result, BackendDown) for result in results[3:])
