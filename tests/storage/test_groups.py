"""Groups: who belongs to them, through other groups too, and what back ends say about it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from storage import accounts, groups
from storage.engine import Store, transaction
from storage.errors import NotFound
from storage.records import Account
from tests.storage.kit import NOW_S

Make = Callable[..., Account]


@pytest.fixture
def make(store: Store) -> Make:
    def one(name: str, kind: str = "individual") -> Account:
        with transaction(store, write=True) as conn:
            return accounts.create_account(conn, name, kind=kind, now_s=NOW_S)

    return one


def join(store: Store, group: Account, *people: Account, source: str = "") -> list[bool]:
    with transaction(store, write=True) as conn:
        return [groups.add_member(conn, group.id, one.id, source=source, now_s=NOW_S) for one in people]


def test_members_belong_also_through_groups_in_groups(store: Store, make: Make) -> None:
    staff, team, ann, bea = make("staff", "group"), make("team", "group"), make("ann"), make("bea")
    assert join(store, staff, team, bea) == [True, True]
    assert join(store, team, ann, bea) == [True, True]
    assert join(store, team, ann) == [False]
    with transaction(store) as conn:
        assert [one.name for one in groups.members_of(conn, staff.id)] == ["team", "bea"]
        assert [one.name for one in groups.everybody_in(conn, staff.id)] == ["ann", "bea"]
        assert [one.name for one in groups.groups_of(conn, ann.id)] == ["staff", "team"]
        assert [one.name for one in groups.groups_of(conn, ann.id, nested=False)] == ["team"]
        assert groups.is_in(conn, ann.id, staff.id)
        assert not groups.is_in(conn, staff.id, staff.id)
        before = conn.statements
        groups.groups_of(conn, bea.id)
        groups.everybody_in(conn, staff.id)
        assert conn.statements - before == 2


def test_a_disabled_group_gives_nothing(store: Store, make: Make) -> None:
    staff, team, ann = make("staff", "group"), make("team", "group"), make("ann")
    join(store, staff, team)
    join(store, team, ann)
    with transaction(store, write=True) as conn:
        accounts.set_active(conn, team.id, False)
        assert groups.groups_of(conn, ann.id) == ()


def test_a_group_never_belongs_to_itself(store: Store, make: Make) -> None:
    one, two, three = make("one", "group"), make("two", "group"), make("three", "group")
    join(store, one, two)
    join(store, two, three)
    for member in (one, two, three):
        with pytest.raises(ValueError, match="belong to itself"):
            join(store, three, one if member is three else member) if member is not three else join(store, three, three)


def test_only_groups_have_members_and_both_must_be_there(store: Store, make: Make) -> None:
    ann, bea, team = make("ann"), make("bea"), make("team", "group")
    with pytest.raises(ValueError, match="not a group"):
        join(store, ann, bea)
    with transaction(store, write=True) as conn:
        for pair in ((team.id, 10**6), (10**6, ann.id)):
            with pytest.raises(NotFound):
                groups.add_member(conn, *pair, now_s=NOW_S)
        assert not groups.remove_member(conn, team.id, ann.id, now_s=NOW_S)


def test_groups_deeper_than_the_bound_give_nothing(store: Store, make: Make) -> None:
    chain = [make(f"g{number}", "group") for number in range(groups.DEPTH_MAX + 2)]
    ann = make("ann")
    join(store, chain[0], ann)
    for below, above in itertools.pairwise(chain):
        join(store, above, below)
    with transaction(store) as conn:
        assert len(groups.groups_of(conn, ann.id)) == groups.DEPTH_MAX
        assert not groups.is_in(conn, ann.id, chain[-1].id)


def test_a_back_end_replaces_only_what_it_said_itself(store: Store, make: Make) -> None:
    team, ann, bea, cleo = make("team", "group"), make("ann"), make("bea"), make("cleo")
    join(store, team, ann)
    join(store, team, bea, source="ldap")
    with transaction(store, write=True) as conn:
        groups.set_sourced_members(conn, team.id, "ldap", [cleo.id, ann.id], now_s=NOW_S)
        assert [one.name for one in groups.members_of(conn, team.id)] == ["ann", "cleo"]
        groups.set_sourced_members(conn, team.id, "ldap", [], now_s=NOW_S)
        assert [one.name for one in groups.members_of(conn, team.id)] == ["ann"]


def test_what_a_back_end_says_of_a_persons_groups_is_kept_in_step(store: Store, make: Make) -> None:
    red, blue, green, ann = make("red", "group"), make("blue", "group"), make("green", "group"), make("ann")
    join(store, red, ann)
    with transaction(store, write=True) as conn:
        assert groups.set_sourced_groups(conn, ann.id, "ldap", [blue.id, red.id], now_s=NOW_S)
        assert groups.set_sourced_groups(conn, ann.id, "ldap", [green.id], now_s=NOW_S)
        assert [one.name for one in groups.groups_of(conn, ann.id)] == ["red", "green"]
        before = conn.statements
        assert not groups.set_sourced_groups(conn, ann.id, "ldap", [green.id], now_s=NOW_S)
        assert conn.statements - before == 1
