"""The back end "sql": every preset on its stack's own tables, in SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dav.auth import schemes, sql
from dav.auth.backend import BackendDown, Credentials, HashPool, Identity, PersonUnclear, Refusal, TellsGroups, Tools
from dav.auth.cache import CredentialCache, RefusedCache
from dav.config import AuthSqlConfig, Config, ConfigError, load
from storage import mailbase
from tests.conftest import own_database
from tests.mariadb import MariaDb, programs

from .mail_tables import BOB, HASH, PREFIXED, STACKS, MailDb

ALICE = "alice@x.example"


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def tools_for(config: Config, clock: Callable[[], float] | None = None) -> Tools:
    nothing: Any = None
    return Tools(nothing, nothing, HashPool(), CredentialCache(300), RefusedCache(), clock or Clock(), config)


class Asked:
    """The back end, called without an event loop of the test's own."""

    def __init__(self, url: str, preset: str = "", **settings: Any) -> None:
        config = replace(Config(), auth_sql=AuthSqlConfig(url=url, preset=preset, **settings))
        self.tools = tools_for(config)
        self.backend = sql.make(self.tools)

    def check(self, login: str, password: str = "secret", client: str = "192.0.2.1") -> Identity | Refusal:
        return asyncio.run(self.backend.check(Credentials(login=login, password=password, client=client)))

    def right(self, login: str, password: str = "secret", client: str = "192.0.2.1") -> Identity:
        answer = self.check(login, password, client)
        assert isinstance(answer, Identity), answer
        return answer

    def still(self, identity: Identity) -> bool:
        return asyncio.run(self.backend.still(identity))

    def lookup(self, name: str) -> Identity | Refusal | None:
        return asyncio.run(self.backend.lookup(name))

    def lists(self) -> Mapping[str, tuple[str, ...]] | None:
        assert isinstance(self.backend, TellsGroups)
        return asyncio.run(self.backend.groups())

    def close(self) -> None:
        asyncio.run(self.backend.close())
        self.tools.pool.close()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    in_ci = os.environ.get("DAVENPORT_OUTSIDE") == "1"
    if programs() is None:
        (pytest.fail if in_ci else pytest.skip)("mariadb-server is not installed")
    if not in_ci:
        pytest.skip("takes seconds to start: set DAVENPORT_OUTSIDE=1")
    # Not below pytest's folder, which the server's own user may not enter.
    with tempfile.TemporaryDirectory(prefix="davenport-mariadb-") as folder:
        Path(folder).chmod(0o755)
        server = MariaDb(Path(folder) / "server")
        yield server
        server.stop()


DATABASES = ("sqlite", "postgresql", "mysql")
# Mail-in-a-Box has SQLite.
every_stack = pytest.mark.parametrize(
    ("db", "name"),
    [(kind, name) for kind in DATABASES for name in STACKS if (kind, name) != ("mysql", "mailinabox")],
    indirect=["db"],
)


@pytest.fixture(params=DATABASES)
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MailDb]:
    """An empty database of a mail server, of each kind."""
    if request.param == "sqlite":
        yield MailDb(f"sqlite:///{tmp_path}/mail.sqlite")
    elif request.param == "postgresql":
        with own_database(request.getfixturevalue("postgresql_server")) as url:
            made = MailDb(url)
            yield made
            made.close()
    else:
        server: MariaDb = request.getfixturevalue("mariadb")
        name = f"mail_{secrets.token_hex(4)}"
        engine = sa.create_engine(server.url(), poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
        made = MailDb(server.url(name))
        yield made
        made.close()
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name}")


@pytest.fixture
def ask(db: MailDb) -> Iterator[Callable[..., Asked]]:
    """Makes back ends over `db`."""
    made: list[Asked] = []

    def make(preset: str = "", **settings: Any) -> Asked:
        made.append(Asked(db.url, preset, **settings))
        return made[-1]

    yield make
    for asked in made:
        asked.close()


Make = Callable[..., Asked]


def stack(db: MailDb, name: str) -> None:
    STACKS[name](db)


# --- presets ---------------------------------------------------------------------------------------------------------


@every_stack
def test_each_preset_signs_in_whom_its_stack_would_and_finds_their_own_addresses(
    db: MailDb, ask: Make, name: str
) -> None:
    stack(db, name)
    asked = ask(name.removesuffix("-old"))
    alice = asked.right("Alice@X.example")
    assert alice.name == ALICE
    assert alice.display_name == ("" if name == "mailinabox" else "Alice Adams")
    # team@ leads to two, "@x.example" to everybody's, bob@ is bob's: none of them is alice.
    under_y = {"alice@y.example", "info@y.example"} if name != "vimbadmin" else set()
    assert alice.addresses is not None
    assert alice.addresses[0] == ALICE
    assert set(alice.addresses) == {ALICE, "info@x.example"} | under_y
    bob = asked.right(BOB)
    # dora@y.example leads to bob alone, by an entry of its own, which goes before the alias domain.
    assert set(bob.addresses or ()) == {BOB, "dora@y.example"} | ({"bob@y.example"} if under_y else set())
    assert set(asked.right("dora@x.example").addresses or ()) == {"dora@x.example"}


@every_stack
def test_each_preset_refuses_wrong_passwords_and_people_who_may_not_sign_in(db: MailDb, ask: Make, name: str) -> None:
    stack(db, name)
    asked = ask(name.removesuffix("-old"))
    assert asked.check(ALICE, "wrong") is Refusal.WRONG
    assert asked.check(ALICE, HASH) is Refusal.WRONG
    assert asked.check(ALICE, PREFIXED) is Refusal.WRONG
    for login in ("nobody@x.example", "info@x.example", "@x.example", "%", "' OR 1=1 --", "alice", ""):
        assert asked.check(login) is Refusal.NOT_MINE
    gone = Refusal.NOT_MINE if name == "mailinabox" else Refusal.WRONG
    for login in ("carol@x.example", "erin@off.example"):
        assert asked.check(login) is gone
        assert asked.lookup(login) is gone
    assert asked.lookup("nobody@x.example") is Refusal.NOT_MINE
    found = asked.lookup(ALICE)
    assert isinstance(found, Identity)
    assert found.addresses == asked.right(ALICE).addresses


COLUMN = {"mailinabox": ("users", "email"), "modoboa": ("core_user", "email"), "mailu": ('"user"', "email")}


@every_stack
def test_a_password_changed_on_the_mail_side_acts_at_once(db: MailDb, ask: Make, name: str) -> None:
    stack(db, name)
    asked = ask(name.removesuffix("-old"))
    alice = asked.right(ALICE)
    assert alice.stamp
    assert asked.still(alice)
    assert asked.check(ALICE, "new one") is Refusal.WRONG
    table, column = COLUMN.get(name, ("mailbox", "username"))
    db.run(f"UPDATE {table} SET password = :stored WHERE {column} = :user", stored="{PLAIN}new one", user=ALICE)
    assert not asked.still(alice)
    # It was refused a moment ago, and the time has not passed.
    assert asked.check(ALICE) is Refusal.WRONG
    assert asked.still(asked.right(ALICE, "new one"))


SWITCHED_OFF = {
    "postfixadmin": "UPDATE mailbox SET active = {no} WHERE username = :user",
    "postfixadmin-old": "UPDATE domain SET active = {no} WHERE domain = 'x.example' OR domain = :user",
    "iredmail": "UPDATE mailbox SET enablesogo = 0 WHERE username = :user",
    "mailcow": "UPDATE mailbox SET active = 2 WHERE username = :user",
    "modoboa": "UPDATE core_user SET is_active = {no} WHERE email = :user",
    "mailinabox": "DELETE FROM users WHERE email = :user",
    "mailu": 'UPDATE "user" SET enabled = {no} WHERE email = :user',
    "vimbadmin": "UPDATE mailbox SET access_restriction = 'SMTP' WHERE username = :user",
}


@every_stack
def test_a_mailbox_that_is_switched_off_is_out_at_once(db: MailDb, ask: Make, name: str) -> None:
    stack(db, name)
    asked = ask(name.removesuffix("-old"))
    alice = asked.right(ALICE)
    no = "FALSE" if db.dialect == "postgresql" else "0"
    db.run(SWITCHED_OFF[name].replace("{no}", no), user=ALICE)
    assert not asked.still(alice)
    assert not isinstance(asked.check(ALICE), Identity)


def test_postfixadmin_s_expired_passwords_are_refused_where_the_domain_lets_them_expire(db: MailDb, ask: Make) -> None:
    stack(db, "postfixadmin")
    asked = ask("postfixadmin")
    db.run("UPDATE mailbox SET password_expiry = '2001-01-01 00:00:00' WHERE username = :user", user=ALICE)
    asked.right(ALICE)
    db.run("UPDATE domain SET password_expiry = 90")
    assert asked.check(ALICE) is Refusal.WRONG
    db.run("UPDATE mailbox SET password_expiry = '2999-01-01 00:00:00' WHERE username = :user", user=ALICE)
    asked.right(ALICE)


def test_postfixadmin_s_app_passwords_are_tried_and_with_a_second_factor_they_alone(db: MailDb, ask: Make) -> None:
    stack(db, "postfixadmin")
    asked = ask("postfixadmin")
    for word in ("one", "two"):
        db.add("mailbox_app_password", {"username": ALICE, "description": word, "password_hash": "{PLAIN}" + word})
    for word in ("one", "two", "secret"):
        assert asked.right(ALICE, word).name == ALICE
    before = asked.right(ALICE, "two")
    db.run("UPDATE mailbox SET totp_secret = 'JBSWY3DPEHPK3PXP' WHERE username = :user", user=ALICE)
    assert asked.check(ALICE) is Refusal.WRONG
    asked.right(ALICE, "two")
    db.run("DELETE FROM mailbox_app_password WHERE description = 'two'")
    assert not asked.still(before)
    assert asked.check(ALICE, "two") is Refusal.WRONG
    assert asked.check(BOB, "one") is Refusal.WRONG


def test_iredmail_s_expired_accounts_are_refused_and_allow_nets_counts(db: MailDb, ask: Make) -> None:
    stack(db, "iredmail")
    asked = ask("iredmail")
    db.run("UPDATE mailbox SET allow_nets = '10.0.0.0/8, 192.0.2.7' WHERE username = :user", user=ALICE)
    assert asked.check(ALICE, client="192.0.2.1") is Refusal.WRONG
    near = asked.right(ALICE, client="10.1.2.3")
    asked.right(ALICE, client="::ffff:192.0.2.7")
    assert asked.check(ALICE, client="") is Refusal.WRONG
    # The next request may come from elsewhere, so nothing is believed without looking again.
    assert not asked.still(near)
    db.run("UPDATE mailbox SET allow_nets = NULL, expired = '2001-01-01 00:00:00' WHERE username = :user", user=ALICE)
    assert asked.check(ALICE) is Refusal.WRONG


def test_mailcow_s_app_passwords_count_where_they_are_for_dav(db: MailDb, ask: Make) -> None:
    stack(db, "mailcow")
    asked = ask("mailcow")
    for word, dav, active in (("one", 1, 1), ("mail only", 0, 1), ("off", 1, 0)):
        row = {"name": word, "mailbox": ALICE, "password": "{PLAIN}" + word, "dav_access": dav, "active": active}
        db.add("app_passwd", row)
    asked.right(ALICE, "one")
    assert asked.check(ALICE, "mail only") is Refusal.WRONG
    assert asked.check(ALICE, "off") is Refusal.WRONG
    db.run("UPDATE mailbox SET active = 0 WHERE username = :user", user=ALICE)
    assert asked.check(ALICE, "one") is Refusal.WRONG


def test_mailcow_s_people_of_another_directory_are_not_judged_by_the_hash_in_the_table(db: MailDb, ask: Make) -> None:
    stack(db, "mailcow")
    asked = ask("mailcow")
    db.run("UPDATE mailbox SET authsource = 'ldap' WHERE username = :user", user=ALICE)
    db.add("app_passwd", {"name": "phone", "mailbox": ALICE, "password": "{PLAIN}one"})
    assert asked.check(ALICE) is Refusal.NOT_MINE
    assert asked.right(ALICE, "one").name == ALICE
    assert isinstance(asked.lookup(ALICE), Identity)


def test_mailcow_s_rooms_and_people_without_dav_stay_out(db: MailDb, ask: Make) -> None:
    stack(db, "mailcow")
    asked = ask("mailcow")
    db.run("UPDATE mailbox SET kind = 'location' WHERE username = :user", user=BOB)
    db.run("UPDATE mailbox SET attributes = :json WHERE username = :user", json='{"dav_access": "0"}', user=ALICE)
    assert asked.check(BOB) is Refusal.WRONG
    assert asked.check(ALICE) is Refusal.WRONG


def test_mailu_s_tokens_are_tried_and_their_address_counts(db: MailDb, ask: Make) -> None:
    stack(db, "mailu")
    asked = ask("mailu")
    token = schemes.pbkdf2_sha256.using(rounds=1).hash("0123456789abcdef")
    db.add("token", {"user_email": ALICE, "password": token, "ip": "10.0.0.1"})
    asked.right(ALICE, "0123456789abcdef", client="10.0.0.1")
    assert asked.check(ALICE, "0123456789abcdef", client="10.0.0.2") is Refusal.WRONG
    asked.right(ALICE, client="10.0.0.2")


def test_aliases_that_are_switched_off_or_expired_are_nobody_s(db: MailDb, ask: Make) -> None:
    stack(db, "modoboa")
    asked = ask("modoboa")
    db.run("UPDATE admin_alias SET expire_at = '2001-01-01 00:00:00' WHERE address = 'info@x.example'")
    assert set(asked.right(ALICE).addresses or ()) == {ALICE, "alice@y.example"}
    no = "FALSE" if db.dialect == "postgresql" else "0"
    db.run(f"UPDATE admin_domainalias SET enabled = {no}")
    assert asked.right(ALICE).addresses == (ALICE,)


# --- own queries -----------------------------------------------------------------------------------------------------

OWN = "SELECT login AS user, hash AS password FROM people WHERE login = :user"


def people(db: MailDb, *rows: tuple[str, str]) -> None:
    db.run("CREATE TABLE people (login VARCHAR(100), hash VARCHAR(255), shown VARCHAR(100), mail VARCHAR(200))")
    for login, stored in rows:
        db.add("people", {"login": login, "hash": stored, "shown": " Al\n ice ", "mail": f"{login}@Bücher.example"})


def test_own_queries_give_people_names_and_addresses(db: MailDb, ask: Make) -> None:
    people(db, ("alice", "{PLAIN}secret"))
    asked = ask(
        password_query="SELECT login AS user, hash AS password FROM people WHERE login = :local",
        addresses_query="SELECT mail FROM people WHERE login = :user",
        name_query="SELECT shown FROM people WHERE login = :user",
    )
    alice = asked.right("ALICE@anywhere.example")
    assert (alice.name, alice.display_name) == ("alice", "Al ice")
    assert alice.addresses == ("alice@xn--bcher-kva.example",)
    assert asked.still(alice)


def test_several_rows_of_one_person_are_several_passwords(db: MailDb, ask: Make) -> None:
    people(db, ("alice", "{PLAIN}one"), ("alice", "{NTLM}00"), ("alice", "{PLAIN}two"), ("alice", ""))
    asked = ask(password_query=OWN)
    asked.right("alice", "one")
    asked.right("alice", "two")
    assert asked.check("alice", "") is not None
    with pytest.raises(BackendDown, match="NTLM"):
        asked.check("alice", "three")


def test_rows_of_several_people_for_one_login_sign_nobody_in(db: MailDb, ask: Make) -> None:
    people(db, ("alice", "{PLAIN}one"), ("bob", "{PLAIN}two"))
    asked = ask(password_query="SELECT login AS user, hash AS password FROM people WHERE :user <> ''")
    with pytest.raises(BackendDown, match="several people"):
        asked.check("alice", "one")


@pytest.mark.parametrize(
    "query",
    ["SELECT hash AS password FROM people WHERE login = :user", "SELECT login AS user FROM people WHERE login = :user"],
)
def test_a_query_without_the_two_columns_is_said_to_be_wrong(db: MailDb, ask: Make, query: str) -> None:
    people(db, ("alice", "{PLAIN}one"))
    with pytest.raises(BackendDown, match="columns user and password"):
        ask(password_query=query).check("alice", "one")


def test_active_and_denied_columns_of_own_queries_count(db: MailDb, ask: Make) -> None:
    people(db, ("alice", "{PLAIN}one"))
    for column, answer in (("1 AS active", True), ("2 AS active", False), ("'y' AS active_mail", True),
                           ("NULL AS active", False), ("0 AS denied", True), ("'t' AS denied_x", False),
                           ("2 AS denied", False), ("NULL AS denied", True)):  # fmt: skip
        query = f"SELECT login AS user, hash AS password, {column} FROM people WHERE login = :user"
        assert isinstance(ask(password_query=query).check("alice", "one"), Identity) is answer, column


def test_a_hash_of_the_default_scheme_and_one_that_cannot_be_checked(db: MailDb, ask: Make) -> None:
    people(db, ("alice", "5ebe2294ecd0e0f08eab7690d2a6ee69"), ("bob", "{CRAM-MD5}878d8014606cda29"))
    ask(password_query=OWN, default_scheme="plain-md5").right("alice")
    asked = ask(password_query=OWN)
    for login in ("alice", "bob"):
        # 503, not 401: a phone would ask its owner for another password.
        with pytest.raises(PersonUnclear) as caught:
            asked.check(login)
        assert login in str(caught.value)
        assert "878d80" not in str(caught.value)
        assert "5ebe22" not in str(caught.value)


def test_letter_case_counts_where_the_administrator_says_so(db: MailDb, ask: Make) -> None:
    people(db, ("Alice", "{PLAIN}one"))
    assert ask(password_query=OWN, lower_case=False).right("Alice", "one").name == "Alice"
    if db.dialect != "mysql":  # its comparison ignores letter case by itself
        assert ask(password_query=OWN).check("Alice", "one") is Refusal.NOT_MINE


def test_percent_escapes_and_outer_spaces_of_a_login_are_read(db: MailDb, ask: Make) -> None:
    stack(db, "iredmail")
    asked = ask("iredmail")
    for login in (" alice@x.example ", "alice%40x.example"):
        assert asked.right(login).name == ALICE


def test_tables_that_are_not_as_the_preset_expects_are_down_and_no_refusal(db: MailDb, ask: Make) -> None:
    people(db)
    for name in ("postfixadmin", "mailinabox", "mailu"):
        with pytest.raises(BackendDown, match="tables are not as expected"):
            ask(name).check(ALICE)


def test_nothing_can_be_written_through_it(db: MailDb) -> None:
    people(db, ("alice", "{PLAIN}one"))
    base = mailbase.MailBase(db.url)
    for statement in (
        "DELETE FROM people WHERE login = :user",
        "INSERT INTO people (login) VALUES (:user)",
        "CREATE TABLE other AS SELECT * FROM people WHERE login = :user",
    ):
        with pytest.raises(mailbase.MailBaseDown):
            base.ask((statement,), user="alice")
    assert len(base.ask(("SELECT login FROM people WHERE login = :user",), user="alice")) == 1
    base.close()


# --- SQLite ----------------------------------------------------------------------------------------------------------


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(params=["WAL", "DELETE"])
def users(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of Mail-in-a-Box, in each of the journal modes; nobody has it open."""
    folder = tmp_path / "mail"
    folder.mkdir()
    path = folder / "users.sqlite"
    STACKS["mailinabox"](MailDb(f"sqlite:///{path}"))
    connection = sqlite3.connect(path)
    assert connection.execute(f"PRAGMA journal_mode={request.param}").fetchone()[0] == request.param.lower()
    connection.close()
    return path


def test_the_mail_server_s_file_stays_as_it_is_byte_by_byte_with_nothing_beside_it(users: Path) -> None:
    before, mode = digest(users), users.read_bytes()[18:20]
    asked = Asked(f"sqlite:///{users}", "mailinabox")
    alice = asked.right(ALICE)
    assert asked.still(alice)
    assert asked.check(ALICE, "wrong") is Refusal.WRONG
    asked.lookup(BOB)
    asked.close()
    assert digest(users) == before
    assert users.read_bytes()[18:20] == mode
    # A -wal or -shm made here would belong to us, and the mail server could not write any more.
    assert [path.name for path in users.parent.iterdir()] == ["users.sqlite"]


def test_what_the_mail_side_writes_while_it_has_the_file_open_counts_at_once(users: Path) -> None:
    before = digest(users)
    writer = sqlite3.connect(users, isolation_level=None)
    mode = writer.execute("PRAGMA journal_mode").fetchone()[0]
    asked = Asked(f"sqlite:///{users}", "mailinabox")
    alice = asked.right(ALICE)
    for number in range(20):
        word = f"word {number}"
        writer.execute("UPDATE users SET password = ? WHERE email = ?", ("{PLAIN}" + word, ALICE))
        assert not asked.still(alice)
        alice = asked.right(ALICE, word)
        assert asked.still(alice)
    if mode == "wal":
        assert digest(users) == before
    assert writer.execute("PRAGMA journal_mode").fetchone()[0] == mode
    writer.close()
    assert asked.still(alice)
    asked.close()


def test_a_file_that_another_one_replaces_is_noticed(users: Path) -> None:
    asked = Asked(f"sqlite:///{users}", "mailinabox")
    alice = asked.right(ALICE)
    other = users.with_name("new.sqlite")
    other.write_bytes(users.read_bytes())
    connection = sqlite3.connect(other)
    with connection:
        connection.execute("UPDATE users SET password = '{PLAIN}new one'")
    connection.close()
    other.replace(users)
    assert not asked.still(alice)
    asked.right(ALICE, "new one")
    asked.close()


def test_answers_of_a_file_at_rest_are_remembered_until_it_changes(users: Path) -> None:
    old = time.time() - 60
    os.utime(users, (old, old))
    base = mailbase.MailBase(f"sqlite:///{users}")
    question = ("SELECT email FROM users WHERE email = :user",)
    first = base.ask(question, user=ALICE)
    assert base.ask(question, user=ALICE) is first
    os.utime(users, (old + 1, old + 1))
    assert base.ask(question, user=ALICE) is not first
    # Just changed: the next change may bear the same time, so nothing is remembered.
    os.utime(users)
    second = base.ask(question, user=ALICE)
    assert base.ask(question, user=ALICE) is not second


def test_a_missing_or_broken_or_locked_file_is_down(tmp_path: Path) -> None:
    path = tmp_path / "users.sqlite"
    asked = Asked(f"sqlite:///{path}", "mailinabox", timeout_seconds=1)
    with pytest.raises(BackendDown, match="No such file"):
        asked.check(ALICE)
    assert not path.exists()
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(BackendDown, match="not a database"):
        asked.check(ALICE)
    path.unlink()
    STACKS["mailinabox"](MailDb(f"sqlite:///{path}"))
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    with pytest.raises(BackendDown, match="locked"):
        asked.check(ALICE)
    writer.execute("ROLLBACK")
    writer.close()
    asked.right(ALICE)
    asked.close()


def test_a_query_that_never_ends_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "users.sqlite"
    STACKS["mailinabox"](MailDb(f"sqlite:///{path}"))
    base = mailbase.MailBase(f"sqlite:///{path}", timeout_s=0.2)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n WHERE :user <> ''"
    started = time.monotonic()
    with pytest.raises(mailbase.MailBaseDown, match="interrupted"):
        base.ask((endless,), user=ALICE)
    assert time.monotonic() - started < 20


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def test_a_postgresql_that_hangs_or_is_gone_is_down_in_time_and_found_again(postgresql_server: str) -> None:
    with own_database(postgresql_server) as url:
        db = MailDb(url)
        people(db, ("alice", "{PLAIN}one"))
        asked = Asked(url, password_query=OWN, timeout_seconds=1)
        alice = asked.right("alice", "one")
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("LOCK TABLE people IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(BackendDown, match="statement timeout"):
                asked.check("alice", "one")
            connection.rollback()
            # What a restart of the server does to connections that lie idle.
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert asked.still(alice)
        asked.close()
        db.close()
        engine.dispose()
    gone = Asked("postgresql+psycopg://davenport:topsecret@127.0.0.1:1/mail", "iredmail", timeout_seconds=1)
    with pytest.raises(BackendDown) as caught:
        gone.check(ALICE)
    assert "topsecret" not in str(caught.value)
    gone.close()


# --- settings and the rest -------------------------------------------------------------------------------------------


def test_the_person_s_absence_costs_a_hash_like_the_others_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = MailDb(f"sqlite:///{tmp_path}/mail.sqlite")
    people(db, ("alice", PREFIXED))
    asked = Asked(db.url, password_query=OWN)
    asked.right("alice")
    done: list[tuple[str, str]] = []
    verify = schemes.verify
    monkeypatch.setattr(schemes, "verify", lambda p, s, **more: (done.append((p, s)), verify(p, s, **more))[1])
    assert asked.check("nobody", "guess") is Refusal.NOT_MINE
    assert asked.check("alice", "guess") is Refusal.WRONG
    assert done == [("guess", PREFIXED), ("guess", PREFIXED)]
    # The same again is refused without hashing.
    assert asked.check("nobody", "guess") is Refusal.NOT_MINE
    assert asked.check("alice", "guess") is Refusal.WRONG
    assert len(done) == 2
    asked.close()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"preset": "iredmail"}, "needs auth_sql.url"),
        ({"url": "sqlite:////srv/x"}, "needs auth_sql.preset or auth_sql.password_query"),
        ({"url": "sqlite:////srv/x", "preset": "iredmail", "default_scheme": "ROT13"}, "ROT13"),
        ({"url": "postgresql+psycopg://a:topsecret@[::1/x", "preset": "iredmail"}, "cannot be used"),
    ],
)
def test_settings_that_cannot_work_are_said_at_the_start(settings: dict[str, str], sentence: str) -> None:
    config = replace(Config(), auth_sql=AuthSqlConfig(**settings))
    with pytest.raises(ConfigError, match=sentence) as caught:
        sql.make(tools_for(config))
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("URL", "oracle://scott:topsecret@h/x"),
        ("URL", "topsecret"),
        ("URL", "sqlite:///file:/x?mode=rw"),
        ("URL", "sqlite:///:memory:"),
        ("PRESET", "zimbra"),
        ("PASSWORD_QUERY", "DELETE FROM mailbox WHERE username = :user"),
        ("PASSWORD_QUERY", "SELECT 1; DELETE FROM mailbox WHERE username = :user"),
        ("PASSWORD_QUERY", "SELECT password FROM mailbox WHERE username = :name"),
        ("PASSWORD_QUERY", "SELECT password FROM mailbox WHERE username = '%u'"),
        ("TIMEOUT_SECONDS", "0"),
    ],
)
def test_values_that_cannot_be_meant_are_refused_without_repeating_a_password(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"DAVENPORT_AUTH_SQL_{key}") as caught:
        load(None, {f"DAVENPORT_AUTH_SQL_{key}": value})
    assert "topsecret" not in str(caught.value)


def test_urls_are_read_and_a_relative_file_counts_from_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "config.ini"
    file.write_text("[auth_sql]\nurl = sqlite:///mail/users.sqlite\npreset = MailCow\n")
    config = load(str(file), {})
    assert config.auth_sql.url == f"sqlite:///{tmp_path}/mail/users.sqlite"
    assert config.auth_sql.preset == "mailcow"
    for given, read in (
        ("mariadb://a:b@h/x", "mysql+pymysql://a:b@h/x"),
        ("postgres://h/x", "postgresql+psycopg://h/x"),
        ("sqlite:////srv/users.sqlite", "sqlite:////srv/users.sqlite"),
        ("", ""),
    ):
        assert load(str(file), {"DAVENPORT_AUTH_SQL_URL": given}).auth_sql.url == read


# --- lists ------------------------------------------------------------------------------------------------------------


@every_stack
def test_aliases_with_several_targets_are_the_lists_of_a_stack(db: MailDb, name: str, ask: Make) -> None:
    stack(db, name)
    preset = name.removesuffix("-old")
    assert ask(preset, group_accounts=True).lists() == {"team@x.example": (ALICE, BOB)}
    assert ask(preset).lists() is None


def test_lists_are_read_page_by_page_and_none_is_cut(tmp_path: Path) -> None:
    db = MailDb(f"sqlite:///{tmp_path}/many.sqlite")
    STACKS["iredmail"](db)
    row = {"is_list": 1}
    for number in range(300):
        members = ({"address": f"l{number:03}@x.example", "forwarding": f"p{n}@x.example"} | row for n in range(7))
        db.add("forwardings", *members)
    one = Asked(db.url, "iredmail", group_accounts=True)
    found = one.lists()
    one.close()
    assert found is not None
    assert len(found) == 301
    assert {len(targets) for address, targets in found.items() if address.startswith("l")} == {7}


def test_too_many_lists_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = MailDb(f"sqlite:///{tmp_path}/many.sqlite")
    STACKS["postfixadmin"](db)
    db.add("alias", {"address": "all@x.example", "goto": f"{ALICE}\n{BOB}", "domain": "x.example", "active": True})
    one = Asked(db.url, "postfixadmin", group_accounts=True)
    assert one.lists() == {f"{name}@x.example": (ALICE, BOB) for name in ("all", "team")}
    monkeypatch.setattr(sql, "GROUPS_MAX", 1)
    assert one.lists() is None
    one.close()


def test_own_queries_know_no_lists() -> None:
    with pytest.raises(ConfigError, match="preset"):
        sql.make(tools_for(replace(Config(), auth_sql=AuthSqlConfig(
            url="sqlite:////x", password_query="SELECT :user AS user, '' AS password", group_accounts=True
        ))))  # fmt: skip
