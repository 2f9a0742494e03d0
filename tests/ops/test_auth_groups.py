"""What a sign-in back end says about groups: members of the group accounts that are here, and of no others."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from dav import jobs, provision
from dav.auth import people
from dav.auth.backend import Identity
from dav.auth.ldap import Ldap, Person
from dav.config import AuthLdapConfig, AuthSqlConfig, Config, ConfigError, load
from storage import accounts, collections, groups, objects, shares
from storage.engine import Store, transaction
from storage.records import Account, ObjectIndex

from .mail_tables import MailDb, postfixadmin

NOW_S = int(time.time())


def group(store: Store, name: str) -> Account:
    with transaction(store, write=True) as conn:
        return accounts.create_account(conn, name, kind="group", now_s=NOW_S)


def said(*names: str) -> Identity:
    return Identity("alice@example.com", groups=names)


def names(store: Store, account: Account) -> list[str]:
    with transaction(store) as conn:
        return [one.name for one in groups.groups_of(conn, account.id)]


def test_at_sign_in_somebody_joins_and_leaves_the_groups_of_the_directory(store: Store, alice: Account) -> None:
    staff, sales = group(store, "staff@example.com"), group(store, "sales@example.com")
    with transaction(store, write=True) as conn:
        owner = accounts.create_account(conn, "boss@example.com", now_s=NOW_S)
        home = collections.home(conn, owner.id, "calendars")
        calendar = collections.create_collection(conn, home, "plans", kind="calendar", now_s=NOW_S)
        shares.put_share(conn, calendar, staff, access="read", state="accepted", now_s=NOW_S)
        groups.add_member(conn, sales.id, alice.id, now_s=NOW_S)  # by hand
        identity = said("STAFF@example.com", "unknown@example.com", "boss@example.com")
        assert people.is_due(conn, alice, "ldap", identity)
        people.refresh(conn, alice, "ldap", identity, now_s=NOW_S)
        assert not people.is_due(conn, alice, "ldap", identity)
        assert shares.mount_of(conn, alice.id, calendar.id) is not None
    assert names(store, alice) == ["staff@example.com", "sales@example.com"]
    with transaction(store, write=True) as conn:
        assert people.is_due(conn, alice, "ldap", said())
        people.refresh(conn, alice, "ldap", said(), now_s=NOW_S)
        assert shares.mount_of(conn, alice.id, calendar.id) is None
    assert names(store, alice) == ["sales@example.com"]


def test_a_back_end_that_says_nothing_of_groups_changes_none(store: Store, alice: Account) -> None:
    staff = group(store, "staff@example.com")
    with transaction(store, write=True) as conn:
        groups.add_member(conn, staff.id, alice.id, source="ldap", now_s=NOW_S)
        assert not people.is_due(conn, alice, "ldap", Identity("alice@example.com"))
        people.refresh(conn, alice, "ldap", Identity("alice@example.com"), now_s=NOW_S)
    assert names(store, alice) == ["staff@example.com"]


def test_a_new_account_is_in_its_groups_from_the_beginning(store: Store) -> None:
    group(store, "staff@example.com")
    with transaction(store, write=True) as conn:
        made = people.make(conn, "new@example.com", "ldap", said("staff@example.com"), now_s=NOW_S)
    assert names(store, made) == ["staff@example.com"]


@pytest.mark.parametrize(
    ("dns", "expected"),
    [
        (("cn=Staff,ou=groups,dc=example", "CN=Sales\\, EU,OU=g"), ("Staff@example.com", "Sales, EU@example.com")),
        (("cn=B\\C3\\BCro,dc=example", "cn=B\\c3\\bcro,dc=other"), ("Büro@example.com",)),
        (("no dn", "", "cn={cn},dc=x"), ("{cn}@example.com",)),
        ((), ()),
    ],
)
def test_group_accounts_are_named_by_the_first_part_of_the_dn(dns: tuple[str, ...], expected: tuple[str, ...]) -> None:
    back_end = Ldap(AuthLdapConfig(url=("ldap://127.0.0.1",), base="dc=example", group_accounts="{cn}@example.com"))
    assert back_end._groups(Person("uid=a", {"memberof": dns})) == expected


def test_without_the_setting_the_directory_says_nothing_of_groups() -> None:
    back_end = Ldap(AuthLdapConfig(url=("ldap://127.0.0.1",), base="dc=example"))
    assert back_end._groups(Person("uid=a", {"memberof": ("cn=staff,dc=example",)})) is None


def test_a_template_without_the_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.ini"
    path.write_text("[auth_ldap]\ngroup_accounts = all@example.com\n")
    with pytest.raises(ConfigError, match="cn"):
        load(str(path), {})


# --- aliases of the mail server ---------------------------------------------------------------------------------------


TEAM = "team@x.example"


class Mail:
    """A mail server's tables, and the hourly job that reads them."""

    def __init__(self, store: Store, config: Config, folder: Path) -> None:
        self.db = MailDb(f"sqlite:///{folder}/mail.sqlite")
        postfixadmin(self.db)
        self.store = store
        self.config = replace(
            config,
            auth=replace(config.auth, backends=("sql", "local")),
            auth_sql=AuthSqlConfig(url=self.db.url, preset="postfixadmin", group_accounts=True),
        )

    def job(self) -> str:
        return jobs.refresh_people(self.store, self.config, NOW_S)

    def set_targets(self, *names: str) -> None:
        targets = ",".join(f"{name}@x.example" for name in names)
        self.db.run("UPDATE alias SET goto = :targets WHERE address = :team", targets=targets, team=TEAM)

    def people(self, *names: str) -> list[Account]:
        with transaction(self.store, write=True) as conn:
            return [
                provision.provision(conn, f"{one}@x.example", addresses=[f"{one}@x.example"], now_s=1) for one in names
            ]

    def team(self) -> tuple[Account, list[str]] | None:
        with transaction(self.store) as conn:
            found = accounts.account_by_name(conn, TEAM)
            if found is None:
                return None
            return found, [one.name.partition("@")[0] for one in groups.members_of(conn, found.id)]


@pytest.fixture
def mail(store: Store, config: Config, tmp_path: Path) -> Mail:
    return Mail(store, config, tmp_path)


def test_an_alias_becomes_a_group_when_all_whom_it_leads_to_are_here(mail: Mail) -> None:
    mail.people("alice")
    mail.job()
    assert mail.team() is None
    mail.people("bob")
    assert "1 group accounts" in mail.job()
    found = mail.team()
    assert found is not None
    team, members = found
    assert (team.kind, team.source, team.addresses, members) == ("group", "sql", (TEAM,), ["alice", "bob"])
    assert mail.job() == ""


def test_without_the_setting_an_alias_is_no_group(mail: Mail) -> None:
    mail.people("alice", "bob")
    mail.config = replace(mail.config, auth_sql=replace(mail.config.auth_sql, group_accounts=False))
    mail.job()
    assert mail.team() is None


def test_a_group_follows_its_alias_and_keeps_who_was_added_by_hand(
    mail: Mail, caplog: pytest.LogCaptureFixture
) -> None:
    mail.people("alice", "bob", "dora")
    (extra,) = mail.people("extra")
    mail.job()
    found = mail.team()
    assert found is not None
    with transaction(mail.store, write=True) as conn:
        groups.add_member(conn, found[0].id, extra.id, now_s=1)
    # newcomer@ has no account yet: the group goes on without.
    mail.set_targets("alice", "dora", "newcomer")
    mail.job()
    assert mail.team() == (found[0], ["alice", "dora", "extra"])
    assert "unknown to the mail side" not in caplog.text


def test_a_group_goes_with_its_alias(mail: Mail) -> None:
    alice, bob = mail.people("alice", "bob")
    mail.job()
    mail.set_targets("alice")
    mail.job()
    assert mail.team() is None
    # The address is hers now, since it leads to nobody else.
    with transaction(mail.store) as conn:
        owner = accounts.account_by_address(conn, TEAM)
    assert owner is not None
    assert (owner.name, bob.name) == (alice.name, "bob@x.example")


@pytest.mark.parametrize("what", ["member", "share", "event"])
def test_what_was_added_by_hand_keeps_a_group_whose_alias_is_gone(mail: Mail, what: str) -> None:
    alice, _ = mail.people("alice", "bob")
    (extra,) = mail.people("extra")
    mail.job()
    found = mail.team()
    assert found is not None
    team = found[0]
    with transaction(mail.store, write=True) as conn:
        inside = {one.name: one for one in collections.children(conn, collections.home(conn, team.id, "calendars").id)}
        if what == "member":
            groups.add_member(conn, team.id, extra.id, now_s=1)
        elif what == "share":
            theirs = collections.home(conn, alice.id, "calendars")
            plans = collections.create_collection(conn, theirs, "plans", kind="calendar", now_s=1)
            shares.put_share(conn, plans, team, access="read", state="accepted", now_s=1)
        else:
            objects.put_object(
                conn, inside["calendar"], "a.ics", b"x", etag="e", content_type="text/calendar", index=ObjectIndex(),
                now_s=1,
            )  # fmt: skip
    mail.db.run("DELETE FROM alias WHERE address = :team", team=TEAM)
    mail.job()
    left = mail.team()
    assert left is not None
    assert left[0].addresses == ()
    assert left[1] == (["extra"] if what == "member" else [])
    assert mail.job() == ""
    with transaction(mail.store, write=True) as conn:
        if what == "member":
            groups.remove_member(conn, team.id, extra.id, now_s=1)
        elif what == "share":
            accounts.remove_account(conn, alice.id, now_s=1)
    mail.job()
    assert (mail.team() is None) == (what != "event")


def test_a_name_that_somebody_has_stays_theirs(mail: Mail) -> None:
    mail.people("alice", "bob")
    with transaction(mail.store, write=True) as conn:
        person = provision.provision(conn, "t", addresses=[TEAM], now_s=1)
    mail.job()
    assert mail.team() is None
    with transaction(mail.store) as conn:
        assert accounts.account_by_address(conn, TEAM) == accounts.account_by_id(conn, person.id)


def test_a_database_that_is_down_changes_no_group(mail: Mail, tmp_path: Path) -> None:
    mail.people("alice", "bob")
    mail.job()
    (tmp_path / "mail.sqlite").unlink()
    assert mail.job() == ""
    assert mail.team() is not None
