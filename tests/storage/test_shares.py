"""Shares in the store: who may what, and mounts that agree with it whatever changes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from storage import accounts, collections, groups, properties, shares
from storage.engine import Conn, Store, transaction
from storage.errors import NotFound
from storage.objects import changes_since
from storage.records import Account, Collection
from tests.storage.kit import NOW_S, make_collection, put

LATER_S = NOW_S + 60
Make = Callable[..., Account]


@pytest.fixture
def make(store: Store) -> Make:
    def one(name: str, kind: str = "individual", *members: Account) -> Account:
        with transaction(store, write=True) as conn:
            account = accounts.create_account(conn, name, kind=kind, now_s=NOW_S)
            for member in members:
                groups.add_member(conn, account.id, member.id, now_s=NOW_S)
        return account

    return one


def give(
    store: Store,
    collection: Collection,
    to: Account | str,
    access: str = "read",
    state: str = "accepted",
) -> None:
    with transaction(store, write=True) as conn:
        shares.put_share(conn, collection, to, access=access, state=state, now_s=LATER_S)


def say(store: Store, collection: Collection, to: Account | str, who: Account, state: str) -> None:
    grantee = to if isinstance(to, str) else str(to.id)
    with transaction(store, write=True) as conn:
        share = shares.share_to(conn, collection.id, grantee)
        assert share is not None
        shares.set_state(conn, share, who.id, state, now_s=LATER_S)


def end(store: Store, collection: Collection, to: Account | str) -> None:
    grantee = to if isinstance(to, str) else str(to.id)
    with transaction(store, write=True) as conn:
        share = shares.share_to(conn, collection.id, grantee)
        assert share is not None
        assert shares.remove_share(conn, share, now_s=LATER_S)


def mounted(store: Store, who: Account, area: str = "calendars") -> list[str]:
    """Names of what others have shared with somebody, in the order they were mounted."""
    with transaction(store) as conn:
        home = collections.home(conn, who.id, area)
        return [one.name for one in collections.children(conn, home.id) if one.origin == "shared"]


def level(store: Store, who: Account, collection: Collection) -> str | None:
    """The access, by each of the three ways to ask, which must agree."""
    with transaction(store) as conn:
        one = shares.access_of(conn, who.id, collection.id)
        assert shares.access_many(conn, who.id, [collection.id]).get(collection.id) == one
        assert shares.access_in_home(conn, who.id, collection.owner_id, collection.area).get(collection.id) == one
    return one


# ---- access --------------------------------------------------------------------------------------------------


def test_nobody_has_access_before_something_is_shared(store: Store, bob: Account, calendar: Collection) -> None:
    assert level(store, bob, calendar) is None
    assert mounted(store, bob) == []


@pytest.mark.parametrize("access", ["busy", "read", "write", "owner"])
def test_an_accepted_share_gives_its_level_and_a_mount(
    store: Store, bob: Account, calendar: Collection, access: str
) -> None:
    give(store, calendar, bob, access)
    assert level(store, bob, calendar) == access
    assert mounted(store, bob) == ["work"]


@pytest.mark.parametrize("state", ["pending", "declined"])
def test_a_share_that_is_not_accepted_gives_nothing(
    store: Store, bob: Account, calendar: Collection, state: str
) -> None:
    give(store, calendar, bob, "owner", state)
    assert level(store, bob, calendar) is None
    assert mounted(store, bob) == []


def test_accepting_mounts_and_declining_unmounts(store: Store, bob: Account, calendar: Collection) -> None:
    give(store, calendar, bob, state="pending")
    say(store, calendar, bob, bob, "accepted")
    assert (level(store, bob, calendar), mounted(store, bob)) == ("read", ["work"])
    say(store, calendar, bob, bob, "declined")
    assert (level(store, bob, calendar), mounted(store, bob)) == (None, [])
    say(store, calendar, bob, bob, "accepted")
    assert mounted(store, bob) == ["work"]


def test_the_strongest_of_several_shares_counts(store: Store, bob: Account, calendar: Collection, make: Make) -> None:
    team = make("team", "group", bob)
    give(store, calendar, bob, "busy")
    assert level(store, bob, calendar) == "busy"
    give(store, calendar, team, "write")
    assert level(store, bob, calendar) == "write"
    give(store, calendar, "all", "owner")
    assert level(store, bob, calendar) == "owner"
    assert mounted(store, bob) == ["work"]
    end(store, calendar, "all")
    end(store, calendar, team)
    assert level(store, bob, calendar) == "busy"


def test_a_deleted_collection_gives_nothing(store: Store, alice: Account, bob: Account, calendar: Collection) -> None:
    give(store, calendar, bob)
    with transaction(store, write=True) as conn:
        collections.delete_collection(conn, calendar, now_s=LATER_S)
    assert level(store, bob, calendar) is None
    assert mounted(store, bob) == []
    with transaction(store) as conn:
        assert shares.shares_with(conn, bob.id) == []


def test_asking_for_access_takes_one_statement(store: Store, bob: Account, calendar: Collection, make: Make) -> None:
    give(store, calendar, make("team", "group", make("crew", "group", bob)))
    with transaction(store) as conn:
        for ask in (
            lambda: shares.access_of(conn, bob.id, calendar.id),
            lambda: shares.access_many(conn, bob.id, [calendar.id, 1, 2, 3]),
            lambda: shares.access_in_home(conn, bob.id, calendar.owner_id, "calendars"),
            lambda: shares.shares_with(conn, bob.id),
            lambda: shares.shares_of(conn, calendar.id),
        ):
            before = conn.statements
            assert ask()
            assert conn.statements - before == 1


def test_access_in_a_home_tells_areas_apart(store: Store, alice: Account, bob: Account, calendar: Collection) -> None:
    book = make_collection(store, alice, "addressbooks", "people", "addressbook")
    folder = make_collection(store, alice, "files", "papers", "folder")
    for collection, access in ((calendar, "busy"), (book, "read"), (folder, "write")):
        give(store, collection, bob, access)
    with transaction(store) as conn:
        areas = {area: shares.access_in_home(conn, bob.id, alice.id, area) for area in accounts.AREAS}
    assert areas == {
        "calendars": {calendar.id: "busy"}, "addressbooks": {book.id: "read"}, "files": {folder.id: "write"},
    }  # fmt: skip
    assert [mounted(store, bob, area) for area in accounts.AREAS] == [["work"], ["people"], ["papers"]]


# ---- groups and everybody ------------------------------------------------------------------------------------


def test_who_joins_a_group_has_what_it_has_and_who_leaves_has_it_no_more(
    store: Store, bob: Account, calendar: Collection, make: Make
) -> None:
    crew = make("crew", "group")
    give(store, calendar, make("team", "group", crew), "write")
    assert level(store, bob, calendar) is None
    with transaction(store, write=True) as conn:
        groups.add_member(conn, crew.id, bob.id, now_s=LATER_S)
    assert (level(store, bob, calendar), mounted(store, bob)) == ("write", ["work"])
    assert mounted(store, crew) == []  # nobody signs in as a group
    with transaction(store, write=True) as conn:
        groups.remove_member(conn, crew.id, bob.id, now_s=LATER_S)
    assert (level(store, bob, calendar), mounted(store, bob)) == (None, [])


def test_a_group_that_joins_or_leaves_a_group_takes_its_members_along(
    store: Store, bob: Account, calendar: Collection, make: Make
) -> None:
    crew, team = make("crew", "group", bob), make("team", "group")
    give(store, calendar, team)
    with transaction(store, write=True) as conn:
        groups.add_member(conn, team.id, crew.id, now_s=LATER_S)
    assert mounted(store, bob) == ["work"]
    with transaction(store, write=True) as conn:
        groups.remove_member(conn, team.id, crew.id, now_s=LATER_S)
    assert mounted(store, bob) == []


def test_one_member_may_decline_what_a_group_was_given(
    store: Store, bob: Account, calendar: Collection, make: Make
) -> None:
    cleo = make("cleo")
    team = make("team", "group", bob, cleo)
    give(store, calendar, team)
    say(store, calendar, team, bob, "declined")
    assert (level(store, bob, calendar), mounted(store, bob)) == (None, [])
    assert (level(store, cleo, calendar), mounted(store, cleo)) == ("read", ["work"])
    give(store, calendar, team, "write")  # the owner changes it: bob's word stands
    assert (level(store, bob, calendar), mounted(store, bob)) == (None, [])
    say(store, calendar, team, bob, "pending")
    assert (level(store, bob, calendar), mounted(store, bob)) == ("write", ["work"])


def test_members_of_a_group_may_be_asked_first(store: Store, bob: Account, calendar: Collection, make: Make) -> None:
    team = make("team", "group", bob)
    give(store, calendar, team, state="pending")
    assert (level(store, bob, calendar), mounted(store, bob)) == (None, [])
    say(store, calendar, team, bob, "accepted")
    assert (level(store, bob, calendar), mounted(store, bob)) == ("read", ["work"])


def test_a_disabled_or_removed_group_gives_nothing(
    store: Store, bob: Account, calendar: Collection, make: Make
) -> None:
    team = make("team", "group", bob)
    give(store, calendar, team)
    for active, expected in ((False, []), (True, ["work"])):
        with transaction(store, write=True) as conn:
            accounts.set_active(conn, team.id, active)
            shares.settle(conn, account_id=team.id, now_s=LATER_S)
        assert mounted(store, bob) == expected
    with transaction(store, write=True) as conn:
        accounts.remove_account(conn, team.id)
    assert (level(store, bob, calendar), mounted(store, bob)) == (None, [])


def test_what_everybody_may_see_is_mounted_only_for_who_wants_it(
    store: Store, alice: Account, bob: Account, calendar: Collection
) -> None:
    give(store, calendar, "all", "busy")
    assert (level(store, bob, calendar), mounted(store, bob)) == ("busy", [])
    say(store, calendar, "all", bob, "accepted")
    assert mounted(store, bob) == ["work"]
    say(store, calendar, "all", bob, "declined")
    assert (level(store, bob, calendar), mounted(store, bob)) == (None, [])
    say(store, calendar, "all", bob, "accepted")
    end(store, calendar, "all")
    assert (level(store, bob, calendar), mounted(store, bob)) == (None, [])
    assert mounted(store, alice) == []


def test_the_owner_in_a_group_gets_no_mount_of_the_own_collection(
    store: Store, alice: Account, bob: Account, calendar: Collection, make: Make
) -> None:
    give(store, calendar, make("team", "group", alice, bob))
    assert mounted(store, alice) == []
    assert mounted(store, bob) == ["work"]
    with transaction(store) as conn:
        assert shares.shares_with(conn, alice.id) == []


def test_invitations_of_every_kind_are_listed_with_the_persons_own_state(
    store: Store, alice: Account, bob: Account, calendar: Collection, make: Make
) -> None:
    team = make("team", "group", bob)
    other, third = (make_collection(store, alice, "calendars", name, "calendar") for name in ("other", "third"))
    give(store, calendar, bob, state="pending")
    give(store, other, team)
    give(store, third, "all")
    give(store, third, "mailto:out@y.example")

    def listed() -> list[tuple[str, str]]:
        with transaction(store) as conn:
            return [(collection.name, state) for _, collection, state in shares.shares_with(conn, bob.id)]

    assert listed() == [("work", "pending"), ("other", "accepted"), ("third", "pending")]
    say(store, other, team, bob, "declined")
    say(store, third, "all", bob, "accepted")
    assert listed() == [("work", "pending"), ("other", "declined"), ("third", "accepted")]
    with transaction(store, write=True) as conn:
        assert len(shares.decline_all(conn, bob.id, third.id, now_s=LATER_S)) == 1
    assert listed()[2] == ("third", "declined")
    assert mounted(store, bob) == []


# ---- shares --------------------------------------------------------------------------------------------------


def test_sharing_again_changes_the_share_and_keeps_its_key(store: Store, bob: Account, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        first = shares.put_share(
            conn, calendar, bob, access="read", state="pending", address="mailto:bob@x.example", common_name="Bob",
            summary="Ours", now_s=NOW_S,
        )  # fmt: skip
        second = shares.put_share(conn, calendar, str(bob.id), access="write", state="accepted", now_s=LATER_S)
        assert (second.id, second.key, second.created_s) == (first.id, first.key, NOW_S)
        assert (second.access, second.state, second.changed_s) == ("write", "accepted", LATER_S)
        assert (first.address, first.common_name, first.summary) == ("mailto:bob@x.example", "Bob", "Ours")
        assert shares.shares_of(conn, calendar.id) == [second]
        assert shares.share_by_key(conn, first.key) == second
        assert shares.remove_share(conn, second, now_s=LATER_S)
        assert not shares.remove_share(conn, second, now_s=LATER_S)
        assert shares.share_by_key(conn, first.key) is None


def test_what_cannot_be_shared_or_given_is_refused(
    store: Store, alice: Account, bob: Account, calendar: Collection
) -> None:
    give(store, calendar, bob, "owner")
    with transaction(store, write=True) as conn:
        mount = shares.mount_of(conn, bob.id, calendar.id)
        assert mount is not None
        home = collections.home(conn, alice.id, "calendars")
        for collection, to, access, state in (
            (home, bob, "read", "accepted"), (mount, alice, "read", "accepted"), (calendar, alice, "read", "accepted"),
            (calendar, bob, "all", "accepted"), (calendar, bob, "read", "maybe"), (calendar, "bob", "read", "accepted"),
            (calendar, "mailto:" + "x" * 1000, "read", "accepted"),
        ):  # fmt: skip
            with pytest.raises(ValueError):  # noqa: PT011
                shares.put_share(conn, collection, to, access=access, state=state, now_s=NOW_S)
        with pytest.raises(NotFound):
            shares.put_share(conn, calendar, str(10**7), access="read", state="accepted", now_s=NOW_S)


def test_an_outsider_gets_no_mount(store: Store, bob: Account, calendar: Collection) -> None:
    give(store, calendar, "mailto:out@y.example", "read")
    assert mounted(store, bob) == []
    with transaction(store) as conn:
        assert shares.share_to(conn, calendar.id, "mailto:out@y.example") is not None


# ---- mounts --------------------------------------------------------------------------------------------------


def test_a_mount_is_named_like_its_source_and_leaves_other_names_alone(
    store: Store, alice: Account, bob: Account, calendar: Collection, make: Make
) -> None:
    make_collection(store, bob, "calendars", "work", "calendar")
    cleo = make("cleo")
    third = make_collection(store, cleo, "calendars", "work", "calendar")
    give(store, calendar, bob)
    give(store, third, bob)
    assert mounted(store, bob) == ["work-2", "work-3"]
    with transaction(store) as conn:
        home = collections.home(conn, bob.id, "calendars")
        titles = {one.name: one.display_name for one in collections.children(conn, home.id)}
    assert titles == {"work": None, "work-2": "work (alice@x.example)", "work-3": "work (cleo)"}


def test_a_file_of_the_same_name_is_not_hidden_by_a_mount(store: Store, alice: Account, bob: Account) -> None:
    papers = make_collection(store, alice, "files", "papers", "folder")
    with transaction(store, write=True) as conn:
        put(conn, collections.home(conn, bob.id, "files"), "papers")
    give(store, papers, bob)
    assert mounted(store, bob, "files") == ["papers-2"]


def test_a_mount_begins_like_its_source_and_then_is_the_sharees_own(
    store: Store, alice: Account, bob: Account, calendar: Collection
) -> None:
    colour = "{http://apple.com/ns/ical/}calendar-color"
    with transaction(store, write=True) as conn:
        collections.update_collection(
            conn, calendar.id, display_name="Work", components=("VEVENT",), time_zone_id="Europe/Berlin", now_s=NOW_S
        )
        properties.set_property(conn, calendar.id, colour, "<c>#FF0000</c>")
        properties.set_property(conn, calendar.id, "{x:}private", "<p/>")
    give(store, calendar, bob)
    with transaction(store, write=True) as conn:
        mount = shares.mount_of(conn, bob.id, calendar.id)
        assert mount is not None
        assert (mount.kind, mount.origin, mount.source_id, mount.owner_id) == (
            "calendar",
            "shared",
            calendar.id,
            bob.id,
        )
        assert (mount.display_name, mount.components, mount.time_zone_id) == ("Work", ("VEVENT",), "Europe/Berlin")
        assert mount.transparent  # somebody else's events do not make bob busy
        assert properties.get_properties(conn, mount.id) == {colour: "<c>#FF0000</c>"}
        properties.set_property(conn, mount.id, colour, "<c>#00FF00</c>")
        collections.update_collection(conn, calendar.id, display_name="Other", now_s=LATER_S)
        shares.settle(conn, collection_id=calendar.id, now_s=LATER_S)
        assert shares.mount_of(conn, bob.id, calendar.id) == mount
        assert properties.get_properties(conn, calendar.id)[colour] == "<c>#FF0000</c>"


def test_a_mount_made_by_hand_takes_the_names_it_is_given(store: Store, bob: Account, calendar: Collection) -> None:
    give(store, calendar, "all")
    with transaction(store, write=True) as conn:
        mount = shares.mount(conn, bob, calendar, name="hers", display_name="Alice at work", now_s=LATER_S)
        assert (mount.name, mount.display_name) == ("hers", "Alice at work")
        assert shares.mount(conn, bob, calendar, name="again", now_s=LATER_S) == mount
        assert shares.unmount(conn, bob.id, calendar.id, now_s=LATER_S)
        assert not shares.unmount(conn, bob.id, calendar.id, now_s=LATER_S)


def test_every_mount_and_unmount_is_a_change_of_the_home(store: Store, bob: Account, calendar: Collection) -> None:
    def seq(conn: Conn) -> int:
        return collections.home(conn, bob.id, "calendars").change_seq

    with transaction(store, write=True) as conn:
        before = seq(conn)
        shares.put_share(conn, calendar, bob, access="read", state="accepted", now_s=LATER_S)
        assert seq(conn) == before + 1
        shares.settle(conn, collection_id=calendar.id, account_id=bob.id, now_s=LATER_S)
        assert seq(conn) == before + 1
        shares.unmount(conn, bob.id, calendar.id, now_s=LATER_S)
        assert seq(conn) == before + 2
        stones = _tombstones(conn, bob)
        assert stones == [("work", before + 2)]
        shares.settle(conn, collection_id=calendar.id, now_s=LATER_S)  # it is accepted still
        assert _tombstones(conn, bob) == []


def _tombstones(conn: Conn, who: Account) -> list[tuple[str, int]]:
    home = collections.home(conn, who.id, "calendars")
    changes, _ = changes_since(conn, home.id, 1, limit=100)  # from nothing there are no tombstones
    return [(change.name, change.change_seq) for change in changes if change.record is None]


def test_a_mount_gets_another_key_exactly_when_its_level_changes(
    store: Store, bob: Account, calendar: Collection
) -> None:
    def key() -> str:
        with transaction(store) as conn:
            mount = shares.mount_of(conn, bob.id, calendar.id)
            assert mount is not None
            return mount.key

    give(store, calendar, bob, "read")
    first = key()
    give(store, calendar, bob, "read")
    assert key() == first
    give(store, calendar, bob, "busy")
    second = key()
    assert second != first
    give(store, calendar, "all", "write")
    assert key() not in {first, second}
    end(store, calendar, "all")
    assert key() not in {first, second}


def test_removing_the_owner_removes_the_mounts(
    store: Store, alice: Account, bob: Account, calendar: Collection
) -> None:
    give(store, calendar, bob)
    with transaction(store, write=True) as conn:
        accounts.remove_account(conn, alice.id)
        assert [name for name, _ in _tombstones(conn, bob)] == ["work"]
    assert mounted(store, bob) == []


def test_removing_a_sharee_leaves_the_source_as_it_was(store: Store, bob: Account, calendar: Collection) -> None:
    give(store, calendar, bob)
    with transaction(store, write=True) as conn:
        accounts.remove_account(conn, bob.id)
        assert collections.collection_by_id(conn, calendar.id) == calendar
        assert shares.shares_of(conn, calendar.id) == []


def test_deleting_a_folder_removes_the_mounts_of_all_in_it(store: Store, alice: Account, bob: Account) -> None:
    top = make_collection(store, alice, "files", "top", "folder")
    with transaction(store, write=True) as conn:
        inner = collections.create_collection(conn, top, "inner", kind="folder", now_s=NOW_S)
    give(store, inner, bob)
    assert mounted(store, bob, "files") == ["inner"]
    with transaction(store, write=True) as conn:
        collections.delete_collection(conn, top, now_s=LATER_S)
    assert mounted(store, bob, "files") == []


def test_a_large_group_costs_no_more_statements_than_a_small_one(
    store: Store, calendar: Collection, make: Make
) -> None:
    counts = []
    for size in (2, 40):
        people = [make(f"p{size}-{number}") for number in range(size)]
        team = make(f"team{size}", "group", *people)
        with transaction(store, write=True) as conn:
            shares.put_share(conn, calendar, team, access="read", state="accepted", now_s=LATER_S)
            joined = conn.statements
            share = shares.share_to(conn, calendar.id, str(team.id))
            assert share is not None
            shares.remove_share(conn, share, now_s=LATER_S)
            counts.append((joined, conn.statements - joined))
            shares.put_share(conn, calendar, team, access="write", state="accepted", now_s=LATER_S)
        assert mounted(store, people[-1]) == ["work"]
    assert counts[0] == counts[1]
    assert max(counts[0]) <= 24


def test_settling_what_agrees_already_writes_nothing(store: Store, bob: Account, calendar: Collection) -> None:
    give(store, calendar, bob)
    with transaction(store) as conn:  # which could not write
        if conn.dialect == "sqlite":
            shares.settle(conn, collection_id=calendar.id, account_id=bob.id, now_s=LATER_S)
            assert conn.statements <= 10


# ---- at the same time ----------------------------------------------------------------------------------------


def test_what_many_change_at_the_same_time_agrees_in_the_end(
    store: Store, alice: Account, bob: Account, make: Make
) -> None:
    """Shares with bob himself and with his group, and he joins and leaves it: nobody fails, every mount is right."""
    team = make("team", "group")
    sources = [make_collection(store, alice, "calendars", f"c{number}", "calendar") for number in range(6)]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for round_ in range(3):
                give(store, sources[number], team if number % 2 else bob, "read" if round_ % 2 else "write")
                with transaction(store, write=True) as conn:
                    (groups.remove_member if number == 1 and round_ < 2 else groups.add_member)(
                        conn, team.id, bob.id, now_s=LATER_S
                    )
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(sources))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(mounted(store, bob)) == [source.name for source in sources]
    with transaction(store) as conn:
        home = collections.home(conn, bob.id, "calendars")
        _, more = changes_since(conn, home.id, 1, limit=1000)
        assert not more
