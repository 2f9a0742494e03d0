"""What a sign-in back end says about groups: members of the group accounts that are here, and of no others."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dav.auth import people
from dav.auth.backend import Identity
from dav.auth.ldap import Ldap, Person
from dav.config import AuthLdapConfig, ConfigError, load
from storage import accounts, collections, groups, shares
from storage.engine import Store, transaction
from storage.records import Account

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
