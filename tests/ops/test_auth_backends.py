"""Several back ends: who is asked, whose account it becomes, what is remembered, and what happens when one is down."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dav import auth, jobs, provision
from dav.auth import Authenticator, SignedIn, apppassword, passwords
from dav.auth.backend import Identity
from dav.auth.basic import normalise_login
from dav.config import Config, ConfigError
from dav.errors import DavError
from storage import accounts, app_passwords, audit
from storage.engine import Store, transaction
from storage.records import Account

from .conftest import PASSWORD
from .fakes import Clock, Fake, basic, configured, register, run

Make = Callable[..., Authenticator]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake("mail")
    fake.knows("carol@example.com", "secret")
    register(monkeypatch, fake)
    return fake


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake("other")
    register(monkeypatch, fake)
    return fake


@pytest.fixture
def make(store: Store, config: Config, clock: Clock) -> Iterator[Make]:
    made: list[Authenticator] = []

    def build(*backends: str, **settings: Any) -> Authenticator:
        one = Authenticator(
            store, configured(config, *backends, **settings), clock=clock, wall=clock, sleep=clock.sleep
        )
        made.append(one)
        return one

    yield build
    for one in made:
        one.close()


def refused(auth: Authenticator, login: str, password: str, **more: Any) -> DavError:
    with pytest.raises(DavError) as caught:
        run(auth.sign_in(basic(login, password), **more))
    return caught.value


def by_name(store: Store, name: str) -> Account:
    with transaction(store) as conn:
        found = accounts.account_by_name(conn, name)
    assert found is not None
    return found


# --- the table --------------------------------------------------------------------------------------------------------


def test_every_back_end_that_the_settings_know_stands_in_the_table(config: Config) -> None:
    from dav.config import AuthConfig

    reader = AuthConfig.__dataclass_fields__["backends"].metadata["reader"]
    assert reader.read(" ".join(auth.BACKENDS)) == tuple(auth.BACKENDS)


def test_a_missing_library_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    monkeypatch.setitem(auth.BACKENDS, "ldap", "no_such_library_at_all")
    with pytest.raises(ConfigError, match=r"auth\.backends names ldap, which needs .*pip install davenport\[ldap\]"):
        make("ldap")


# --- who is asked -----------------------------------------------------------------------------------------------------


def test_back_ends_are_asked_in_order_until_one_knows_the_person(make: Make, mail: Fake, other: Fake) -> None:
    other.knows("dave", "pw")
    both = make("mail", "other")
    assert run(both.sign_in(basic("dave", "pw"))) is not None
    assert (mail.asked, other.asked) == ([("dave", "pw")], [("dave", "pw")])
    assert run(both.sign_in(basic("carol@example.com", "secret"))) is not None
    assert len(other.asked) == 1


def test_a_wrong_password_ends_the_search(make: Make, mail: Fake, other: Fake) -> None:
    other.knows("carol@example.com", "other secret")
    assert refused(make("mail", "other"), "carol@example.com", "other secret").status == 401
    assert other.asked == []


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        (" Carol@example.com ", "Carol@example.com"),
        ("carol%40example.com", "carol@example.com"),
        ("carol", "carol@example.com"),
        ("a%41@example.com", "a%41@example.com"),
        ("Zoe\u0308@x", "Zoë@x"),
    ],
)
def test_a_login_reaches_the_back_ends_in_one_spelling(make: Make, mail: Fake, sent: str, asked: str) -> None:
    one = make("mail", default_domain="example.com")
    refused(one, sent, "wrong")
    assert mail.asked == [(asked, "wrong")]
    assert normalise_login(sent, "example.com") == asked


@pytest.mark.parametrize("password", ["", "x" * 1025, "ä" * 513])
def test_a_password_that_cannot_be_one_is_refused_before_anybody_is_asked(
    make: Make, mail: Fake, password: str
) -> None:
    assert refused(make("mail"), "carol@example.com", password).status == 401
    assert mail.asked == []


def test_a_password_with_separate_accents_is_tried_composed_too(make: Make, mail: Fake) -> None:
    mail.knows("zoe", "pässword")
    assert run(make("mail").sign_in(basic("zoe", "pa\u0308ssword"))) is not None
    assert [password for _, password in mail.asked] == ["pa\u0308ssword", "pässword"]


# --- the account ------------------------------------------------------------------------------------------------------


def test_the_first_sign_in_makes_the_account_with_its_addresses(make: Make, mail: Fake, store: Store) -> None:
    mail.change(
        "carol@example.com", display_name="Carol", addresses=("carol@example.com", "c@example.com", "no address")
    )
    signed = run(make("mail").sign_in(basic("CAROL@example.com", "secret")))
    carol = by_name(store, "carol@example.com")
    assert signed == SignedIn(carol.id, carol.auth_seq)
    assert (carol.name, carol.display_name, carol.source) == ("carol@example.com", "Carol", "mail")
    assert carol.addresses == ("carol@example.com", "c@example.com")
    with transaction(store) as conn:
        assert [entry.action for entry in audit.entries(conn, carol.id)] == ["account created"]


def test_two_workers_that_see_somebody_first_at_once_make_one_account(make: Make, mail: Fake, store: Store) -> None:
    workers = [make("mail") for _ in range(3)]

    async def all_at_once() -> set[SignedIn | None]:
        return set(await asyncio.gather(*(one.sign_in(basic("carol@example.com", "secret")) for one in workers)))

    assert len(run(all_at_once())) == 1


def test_an_address_of_somebody_else_does_not_keep_anybody_out(
    make: Make, mail: Fake, store: Store, alice: Account, caplog: pytest.LogCaptureFixture
) -> None:
    mail.change("carol@example.com", addresses=("carol@example.com", alice.name))
    one = make("mail", cache_seconds=0)
    for _ in range(3):
        assert run(one.sign_in(basic("carol@example.com", "secret"))) is not None
    assert by_name(store, "carol@example.com").addresses == ("carol@example.com",)
    assert by_name(store, alice.name).addresses == (alice.name,)
    assert caplog.text.count("belongs to another account") == 1


def test_nobody_gets_an_account_when_accounts_are_made_by_hand(make: Make, mail: Fake, store: Store) -> None:
    one = make("mail", create_accounts=False)
    assert refused(one, "carol@example.com", "secret").status == 401
    with transaction(store, write=True) as conn:
        carol = provision.provision(conn, "carol@example.com", now_s=1)
    assert run(make("mail", create_accounts=False).sign_in(basic("carol@example.com", "secret"))) == SignedIn(
        carol.id, carol.auth_seq
    )


def test_an_account_disabled_here_is_refused_whatever_the_mail_side_says(make: Make, mail: Fake, store: Store) -> None:
    run(make("mail").sign_in(basic("carol@example.com", "secret")))
    with transaction(store, write=True) as conn:
        accounts.set_active(conn, by_name(store, "carol@example.com").id, False)
    assert refused(make("mail"), "carol@example.com", "secret").status == 401


def test_names_addresses_and_later_changes_follow_the_mail_side_at_sign_in(
    make: Make, mail: Fake, store: Store
) -> None:
    one = make("mail", cache_seconds=0)
    sign_in = basic("carol@example.com", "secret")
    mail.change("carol@example.com", addresses=("carol@example.com", "old@example.com"))
    run(one.sign_in(sign_in))
    with transaction(store, write=True) as conn:
        accounts.add_address(conn, by_name(store, "carol@example.com").id, "hand@example.com")
    mail.change("carol@example.com", display_name="Carol", addresses=("new@example.com", "carol@example.com"))
    run(one.sign_in(sign_in))
    carol = by_name(store, "carol@example.com")
    assert carol.addresses == ("new@example.com", "carol@example.com", "hand@example.com")
    assert carol.display_name == "Carol"
    mail.change("carol@example.com", display_name="Another", addresses=None)
    run(one.sign_in(sign_in))
    assert by_name(store, "carol@example.com") == carol


def test_the_domain_to_strip_is_not_part_of_the_accounts_name(
    make: Make, mail: Fake, store: Store, password_hash: str
) -> None:
    mail.knows("erin@elsewhere.example", "secret")
    one = make("mail", "local", strip_domain="example.com", default_domain="example.com")
    for login in ("carol", "carol@example.com"):
        assert run(one.sign_in(basic(login, "secret"))) is not None
    assert by_name(store, "carol").addresses == ("carol@example.com",)
    run(one.sign_in(basic("erin@elsewhere.example", "secret")))
    assert by_name(store, "erin@elsewhere.example").source == "mail"
    with transaction(store, write=True) as conn:
        frank = provision.provision(conn, "frank", password_hash=password_hash, now_s=1)
    for login in ("frank", "frank@example.com"):
        assert run(one.sign_in(basic(login, PASSWORD))) == SignedIn(frank.id, frank.auth_seq)


@pytest.mark.parametrize("name", ["", "a/b", "x" * 300, ".."])
def test_a_name_that_cannot_be_an_account_is_refused_and_logged(
    make: Make, mail: Fake, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    mail.change("carol@example.com", name=name)
    assert refused(make("mail"), "carol@example.com", "secret").status == 401
    assert "cannot be an account here" in caplog.text


# --- what is remembered -----------------------------------------------------------------------------------------------


def test_a_yes_with_a_stamp_is_asked_about_each_time_and_ends_with_it(make: Make, mail: Fake) -> None:
    mail.change("carol@example.com", stamp="1")
    one = make("mail")
    for _ in range(3):
        run(one.sign_in(basic("carol@example.com", "secret")))
    assert (len(mail.asked), mail.asked_still) == (1, 2)
    assert one.remembered(basic("carol@example.com", "secret")) is None
    mail.people["carol@example.com"] = ("new", Identity("carol@example.com", stamp="2"))
    assert refused(one, "carol@example.com", "secret").status == 401
    assert run(one.sign_in(basic("carol@example.com", "new"))) is not None


def test_a_yes_without_a_stamp_costs_nothing_until_it_expires(make: Make, mail: Fake, clock: Clock) -> None:
    one = make("mail")
    for _ in range(3):
        run(one.sign_in(basic("carol@example.com", "secret")))
    assert (len(mail.asked), mail.asked_still) == (1, 0)
    clock.now += 301
    run(one.sign_in(basic("carol@example.com", "secret")))
    assert len(mail.asked) == 2


def test_a_credential_that_ends_by_itself_is_not_remembered_beyond(make: Make, mail: Fake, clock: Clock) -> None:
    mail.change("carol@example.com", until_s=int(clock.now) + 100)
    one = make("mail")
    run(one.sign_in(basic("carol@example.com", "secret")))
    clock.now += 99
    run(one.sign_in(basic("carol@example.com", "secret")))
    assert len(mail.asked) == 1
    mail.down = True
    clock.now += 2
    assert refused(one, "carol@example.com", "secret").status == 503
    mail.down = False
    assert refused(one, "carol@example.com", "secret").status == 401


def test_a_wrong_password_that_is_repeated_is_not_asked_again_for_some_seconds(
    make: Make, mail: Fake, clock: Clock
) -> None:
    one = make("mail")
    for _ in range(5):
        assert refused(one, "carol@example.com", "old").status == 401
    assert len(mail.asked) == 1
    clock.now += auth.REFUSED_S + 1
    mail.people["carol@example.com"] = ("old", Identity("carol@example.com"))
    assert run(one.sign_in(basic("carol@example.com", "old"))) is not None


# --- down -------------------------------------------------------------------------------------------------------------


def test_nobody_is_told_a_wrong_password_while_a_back_end_is_down(make: Make, mail: Fake, other: Fake) -> None:
    other.knows("dave", "pw")
    mail.down = True
    both = make("mail", "other")
    for login, password in (("carol@example.com", "secret"), ("dave", "wrong"), ("nobody", "x")):
        error = refused(both, login, password)
        assert error.status == 503
        assert int(dict(error.headers)["Retry-After"]) > 0
        assert "WWW-Authenticate" not in dict(error.headers)
    assert run(both.sign_in(basic("dave", "pw"))) is not None


def test_a_fault_in_one_back_end_is_no_wrong_password_and_keeps_nobody_else_out(
    make: Make, mail: Fake, other: Fake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other.knows("dave", "pw")

    async def broken(given: object) -> Identity:
        raise KeyError("a fault of ours")

    monkeypatch.setattr(mail, "check", broken)
    both = make("mail", "other")
    assert run(both.sign_in(basic("dave", "pw"))) is not None
    assert refused(both, "carol@example.com", "secret").status == 503
    assert "back end mail cannot tell: it failed (KeyError)" in caplog.text
    assert "a fault of ours" in caplog.text


def test_remembered_credentials_go_on_while_their_back_end_is_down(make: Make, mail: Fake, clock: Clock) -> None:
    one = make("mail", grace_seconds=3600)
    sign_in = basic("carol@example.com", "secret")
    signed = run(one.sign_in(sign_in))
    mail.down = True
    clock.now += 301
    for _ in range(5):
        assert run(one.sign_in(sign_in)) == signed
    assert len(mail.asked) == 2  # not each request waits for what is down
    assert refused(one, "carol@example.com", "other").status == 503
    clock.now += 3600
    assert refused(one, "carol@example.com", "secret").status == 503
    mail.down = False
    assert run(one.sign_in(sign_in)) == signed


def test_grace_ends_when_the_back_end_is_back_and_says_no(make: Make, mail: Fake, clock: Clock) -> None:
    one = make("mail")
    sign_in = basic("carol@example.com", "secret")

    async def scene() -> None:
        signed = await one.sign_in(sign_in)
        mail.down = True
        clock.now += 301
        assert await one.sign_in(sign_in) == signed
        mail.down = False
        mail.people["carol@example.com"] = ("new", Identity("carol@example.com"))
        clock.now += auth.DOWN_S + 1
        with pytest.raises(DavError) as caught:
            await one.sign_in(sign_in)
        assert caught.value.status == 401

    run(scene())


def test_without_grace_a_down_back_end_is_503_at_once(make: Make, mail: Fake, clock: Clock) -> None:
    one = make("mail", grace_seconds=0)
    run(one.sign_in(basic("carol@example.com", "secret")))
    mail.down = True
    clock.now += 301
    assert refused(one, "carol@example.com", "secret").status == 503


def test_what_is_down_is_logged_once_a_minute_with_its_cause(
    make: Make, mail: Fake, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    mail.down = True
    one = make("mail")
    for number in range(20):
        refused(one, "carol@example.com", f"x{number}")
    assert caplog.text.count("back end mail cannot tell: mail does not answer") == 1
    clock.now += 61
    refused(one, "carol@example.com", "x")
    assert caplog.text.count("back end mail cannot tell") == 2


def test_somebody_whose_hash_cannot_be_checked_concerns_nobody_else(
    make: Make, mail: Fake, other: Fake, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    mail.knows("dave", "pw")
    one = make("mail", "other", grace_seconds=3600)
    signed = run(one.sign_in(basic("carol@example.com", "secret")))
    run(one.sign_in(basic("dave", "pw")))
    mail.unclear.add("dave")
    clock.now += 301
    assert refused(one, "dave", "pw").status == 503  # and not what is remembered: it is not what is stored now
    assert refused(one, "dave", "guess").status == 503
    # The back end is not taken to be down: a changed password counts at once, and a right one signs in.
    assert run(one.sign_in(basic("carol@example.com", "secret"))) == signed
    assert mail.asked[-1] == ("carol@example.com", "secret")
    mail.people["carol@example.com"] = ("new", Identity("carol@example.com"))
    clock.now += 301
    assert refused(one, "dave", "pw").status == 503
    assert refused(one, "carol@example.com", "secret").status == 401
    assert caplog.text.count("back end mail cannot tell: the password of dave cannot be checked") == 2
    # A wrong guess at what cannot be judged is none, and the next back end may know the person.
    other.knows("dave", "theirs")
    assert run(one.sign_in(basic("dave", "theirs"))) is not None


def test_a_question_whether_it_is_still_right_that_fails_is_not_a_no(make: Make, mail: Fake, clock: Clock) -> None:
    mail.change("carol@example.com", stamp="1")
    one = make("mail")
    signed = run(one.sign_in(basic("carol@example.com", "secret")))
    mail.down = True
    for _ in range(10):
        assert run(one.sign_in(basic("carol@example.com", "secret"))) == signed
    assert mail.asked_still == 1  # not each request waits for it
    mail.down = False
    mail.people.clear()
    clock.now += auth.MUTE_S + 1
    assert refused(one, "carol@example.com", "secret").status == 401


def test_at_the_end_whoever_waits_gets_503_and_whoever_is_remembered_goes_on(make: Make, mail: Fake) -> None:
    one = make("mail")

    async def scene() -> None:
        signed = await one.sign_in(basic("carol@example.com", "secret"))
        mail.slow_s = 30
        waiting = [asyncio.create_task(one.sign_in(basic("carol@example.com", f"x{number}"))) for number in range(3)]
        left = asyncio.create_task(one.sign_in(basic("carol@example.com", "y")))
        await asyncio.sleep(0.05)
        left.cancel()  # a client that hangs up is no 503
        await asyncio.sleep(0)
        one.end_waiting()
        for answer in await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5):
            assert isinstance(answer, DavError)
            assert answer.status == 503
        assert left.cancelled()
        with pytest.raises(DavError) as caught:
            await one.sign_in(basic("carol@example.com", "z"))
        assert caught.value.status == 503
        assert await one.sign_in(basic("carol@example.com", "secret")) == signed

    run(scene())


# --- slow -------------------------------------------------------------------------------------------------------------


def test_two_hundred_sign_ins_at_a_slow_back_end_hold_nobody_else_up(
    store: Store, config: Config, alice: Account, mail: Fake
) -> None:
    mail.slow_s = 10.0
    one = Authenticator(store, configured(config, "local", "mail"))

    async def scene() -> float:
        known = basic(alice.name, PASSWORD)
        await one.sign_in(known, client="127.0.0.1")
        waiting = [
            asyncio.create_task(one.sign_in(basic(f"user{number}@example.com", "x"), client=f"192.0.2.{number}"))
            for number in range(200)
        ]
        await asyncio.sleep(0.05)
        slowest = 0.0
        while not mail.asked or time.monotonic() - began < 0.5:
            at = time.monotonic()
            assert await one.sign_in(known, client="127.0.0.1") is not None
            slowest = max(slowest, time.monotonic() - at)
            await asyncio.sleep(0.01)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for task in list(one._running.values()):
            task.cancel()
        await asyncio.sleep(0)
        return slowest

    began = time.monotonic()
    slowest = run(scene())
    one.close()
    assert slowest < 2


# --- local ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stored",
    [
        "{SSHA512}abdhi9H09Zm/cX9sK31fd1N6fHv1JQNZSWuPI1NdUgONxtL16FX0ckXk7bCbz0ChIfpV5unTeu4H1qS0ut7EVp0seZs=",
        "{BLF-CRYPT}$2y$05$xG3VnqXazHMuX5vtdDbQgO3eCyiqhK1ViP7rYHC8ev7Z4cZa2duum",
        "$argon2id$v=19$m=65536,t=3,p=1$mDkuPmO+k3A5xWXkevIM8Q$Sl8AB5AgOc4+tFPsD0X6mJoLdo/6J830N7+4qU+WYHw",
    ],
)
def test_a_local_hash_of_another_kind_is_renewed_at_sign_in(make: Make, store: Store, stored: str) -> None:
    with transaction(store, write=True) as conn:
        old = provision.provision(conn, "old@example.com", password_hash=stored, now_s=1)
    one = make("local")
    assert refused(one, old.name, "wrong").status == 401
    assert by_name(store, old.name).password_hash == stored
    assert run(one.sign_in(basic(old.name, "secret"))) == SignedIn(old.id, old.auth_seq)
    now = by_name(store, old.name)
    assert now.password_hash is not None
    assert not passwords.needs_rehash(now.password_hash)
    assert passwords.verify("secret", now.password_hash)
    assert now.auth_seq == old.auth_seq


def test_a_local_hash_that_cannot_be_judged_is_no_wrong_password(
    make: Make, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with transaction(store, write=True) as conn:
        provision.provision(conn, "odd@example.com", password_hash="{NOSUCH}x", now_s=1)
    assert refused(make("local"), "odd@example.com", "x").status == 503
    assert "NOSUCH" in caplog.text


# --- app passwords ----------------------------------------------------------------------------------------------------


def add_app_password(store: Store, account: Account, clock: Clock, **more: Any) -> tuple[str, int]:
    with transaction(store, write=True) as conn:
        secret, made = apppassword.create(
            conn, account.id, "phone", areas=more.pop("areas", ("calendars",)), now_s=int(clock.now), **more
        )
    return secret, made.id


def test_an_app_password_is_of_one_form_and_as_strong_as_said() -> None:
    made = {apppassword.generate() for _ in range(200)}
    assert len(made) == 200
    for secret in made:
        assert len(secret.replace("-", "")) == 31
        assert apppassword.digest_of(secret) == apppassword.digest_of(f" {secret.upper().replace('-', ' ')} ")
    assert len(apppassword._SIGNS) ** apppassword._LENGTH > 1 << 128
    for wrong in ("", "app-", secret[:-1], secret + "2", secret.replace("app", "abb"), "x" * 31, "ä" * 31):
        assert apppassword.digest_of(wrong) is None


def test_words_for_scopes_are_read_and_written_back() -> None:
    assert apppassword.areas_of(["contacts", "calendars", "contacts"]) == ("addressbooks", "calendars")
    assert apppassword.words_of(("addressbooks", "calendars")) == ("calendars", "contacts")
    for words in ([], ["mail"]):
        with pytest.raises(ValueError, match="calendars, contacts, files"):
            apppassword.areas_of(words)


def test_an_app_password_signs_in_with_its_scope_and_asks_nobody(
    make: Make, mail: Fake, store: Store, alice: Account, clock: Clock
) -> None:
    secret, _ = add_app_password(store, alice, clock, areas=("calendars", "files"), read_only=True)
    one = make("mail", default_domain="example.com")
    for login in (alice.name, alice.name.upper(), "alice", "alice%40example.com"):
        signed = run(one.sign_in(basic(login, secret)))
        assert signed is not None
        assert (signed.account_id, signed.scope) == (
            alice.id, auth.Scope(frozenset({"calendars", "files"}), read_only=True)
        )  # fmt: skip
        assert run(one.sign_in(basic(login, secret))) == signed
    assert mail.asked == []
    with transaction(store) as conn:
        assert [entry.action for entry in audit.entries(conn, alice.id)] == ["app password used first"]
        assert app_passwords.list_app_passwords(conn, alice.id)[0].last_used_s == int(clock.now)


def test_an_app_password_is_good_for_its_own_account_only(
    make: Make, mail: Fake, store: Store, alice: Account, clock: Clock
) -> None:
    secret, _ = add_app_password(store, alice, clock)
    one = make("mail")
    assert refused(one, "carol@example.com", secret).status == 401
    assert refused(one, "alice@elsewhere.example", secret).status == 401


def test_an_app_password_ends_when_it_expires_or_is_revoked(
    make: Make, mail: Fake, store: Store, alice: Account, clock: Clock
) -> None:
    secret, _ = add_app_password(store, alice, clock, expires_s=int(clock.now) + 50)
    one = make("mail")
    run(one.sign_in(basic(alice.name, secret)))
    clock.now += 51
    assert refused(one, alice.name, secret).status == 401
    secret, ident = add_app_password(store, alice, clock)
    signed = run(one.sign_in(basic(alice.name, secret)))
    assert signed is not None
    with transaction(store, write=True) as conn:
        app_passwords.revoke_app_password(conn, alice.id, ident)
    assert by_name(store, alice.name).auth_seq != signed.auth_seq  # what the request's transaction compares
    one.forget(alice.id)
    assert refused(one, alice.name, secret).status == 401


def test_an_app_password_of_somebody_whom_the_mail_side_lost_is_refused(
    make: Make, mail: Fake, store: Store, clock: Clock
) -> None:
    mail.change("carol@example.com", stamp="1")
    one = make("mail")
    run(one.sign_in(basic("carol@example.com", "secret")))
    secret, _ = add_app_password(store, by_name(store, "carol@example.com"), clock)
    assert run(one.sign_in(basic("carol@example.com", secret))) is not None
    mail.down = True
    assert run(make("mail").sign_in(basic("carol@example.com", secret))) is not None
    mail.down = False
    mail.people.clear()
    assert refused(one, "carol@example.com", secret).status == 401
    assert refused(make("mail"), "carol@example.com", secret).status == 401


def test_main_passwords_are_no_way_in_when_app_passwords_are_demanded(
    make: Make, mail: Fake, store: Store, alice: Account, clock: Clock
) -> None:
    one = make("local", "mail", dav_requires_app_password=True)
    error = refused(one, alice.name, PASSWORD)
    assert (error.status, "app password" in error.detail) == (401, True)
    assert refused(one, "carol@example.com", "secret").status == 401
    assert mail.asked == []
    secret, _ = add_app_password(store, alice, clock)
    assert run(one.sign_in(basic(alice.name, secret))) is not None


# --- the way ----------------------------------------------------------------------------------------------------------


def test_a_password_that_others_could_listen_to_is_not_looked_at(make: Make, mail: Fake) -> None:
    one = make("mail")
    error = refused(one, "carol@example.com", "secret", client="192.0.2.1", secure=False)
    assert error.status == 403
    assert "https" in error.detail
    assert error.headers == ()
    with pytest.raises(DavError) as caught:
        run(one.sign_in({}, client="192.0.2.1", secure=False))
    assert caught.value.status == 403  # a challenge would ask for the password
    assert mail.asked == []
    allowed = make("mail", allow_insecure=True)
    assert run(allowed.sign_in(basic("carol@example.com", "secret"), secure=False)) is not None


# --- kept fresh -------------------------------------------------------------------------------------------------------


def test_the_job_takes_over_addresses_and_names_who_is_gone(
    store: Store, config: Config, mail: Fake, alice: Account, caplog: pytest.LogCaptureFixture
) -> None:
    mail.knows("gone@example.com", "x")
    one = Authenticator(store, configured(config, "mail"))
    for login, password in (("carol@example.com", "secret"), ("gone@example.com", "x")):
        run(one.sign_in(basic(login, password)))
    one.close()
    del mail.people["gone@example.com"]
    mail.change("carol@example.com", addresses=("carol@example.com", "cc@example.com"))
    mail.knows(alice.name, "x", addresses=("ally@example.com",))
    said = jobs.refresh_people(store, configured(config, "local", "mail"), 0)
    assert said == "Took over what the mail side says of 2 accounts."
    assert by_name(store, "carol@example.com").addresses == ("carol@example.com", "cc@example.com")
    assert by_name(store, alice.name).addresses == (alice.name, "ally@example.com")
    assert "1 accounts are unknown to the mail side now; their data stays: 'gone@example.com'" in caplog.text
    assert mail.closed == 1
    assert jobs.refresh_people(store, configured(config, "mail"), 0) == ""


def test_the_job_asks_a_back_end_that_is_down_once_and_changes_nothing(
    store: Store, config: Config, mail: Fake, alice: Account
) -> None:
    with transaction(store, write=True) as conn:
        provision.provision(conn, "b", now_s=1)
    mail.down = True
    assert jobs.refresh_people(store, configured(config, "mail"), 0) == ""
    assert len(mail.looked_up) == 1
    assert by_name(store, alice.name) == alice


def test_with_passwords_kept_here_alone_nobody_is_asked(store: Store, config: Config) -> None:
    assert jobs.refresh_people(store, config, 0) == ""


# --- the log ----------------------------------------------------------------------------------------------------------


def test_a_refusal_is_one_line_that_nobody_can_forge(make: Make, mail: Fake, caplog: pytest.LogCaptureFixture) -> None:
    one = make("mail")
    with caplog.at_level(logging.DEBUG, logger="davenport.auth"):
        refused(one, "x\u2028sign-in refused client=192.0.2.9 " + "y" * 200, "hunter2", client="192.0.2.1")
    (record,) = [record for record in caplog.records if record.name == "davenport.auth"]
    line = record.getMessage()
    assert record.levelno == logging.WARNING
    assert line.startswith("sign-in refused: client=192.0.2.1 account='x\\u2028sign-in refused client=")
    assert line.endswith("' reason=wrong")
    assert len(line) < 200
    assert "hunter2" not in caplog.text


def test_a_device_that_repeats_its_old_password_is_warned_of_once(
    make: Make, mail: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    one = make("mail")
    for _ in range(10):
        refused(one, "carol@example.com", "old", client="192.0.2.1")
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage() for record in warnings] == [
        "sign-in refused: client=192.0.2.1 account='carol@example.com' reason=wrong"
    ]
