"""Putting what a source gives into accounts: once, again, after it was stopped, and into accounts that are in use."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from io import StringIO

import pytest

from dav.config import Config, ImportsConfig, Limits
from dav.methods.put import describe, etag_of
from dav.movein import kernel
from dav.movein.kernel import Options
from dav.movein.report import Report
from dav.movein.source import Item, Known, Source, SourceAccount, SourceCollection, SourceError, SourceShare
from storage import accounts, collections, groups, imported, objects, outbound, proxies, shares
from storage.engine import Store, transaction
from storage.imported import Imported
from tests.dsl import Server
from tests.movein.kit import Memory, events, everything, fixed, source_of
from tests.movein_wire.kit import NOW_S, Here, card, event

MEETING = (
    "ORGANIZER:mailto:alice@example.com\r\nATTENDEE;PARTSTAT=ACCEPTED:mailto:alice@example.com\r\n"
    "ATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:bob@example.com\r\nATTENDEE:mailto:out@side.example\r\n"
)


def outcomes(report: Report) -> dict[str, int]:
    return {name: count for name, count in report.counts.items() if count}


def own(paths: list[str]) -> list[str]:
    return [path for path in paths if path not in ("inbox", "outbox", "notifications")]


# ---- again, and again -----------------------------------------------------------------------------------------------


def test_a_second_run_changes_nothing_and_reads_nothing(here: Here) -> None:
    alice = here.make("alice")
    there = Memory(events(250))
    assert outcomes(here.bring(there.source())) == {"stored": 250}
    before = everything(here, alice)
    there.read.clear()
    assert outcomes(here.bring(there.source())) == {"unchanged": 250}
    assert everything(here, alice) == before
    assert there.read == []


def test_what_changed_there_is_updated_here_and_nothing_else(here: Here) -> None:
    here.make("alice")
    there = Memory(events(3))
    here.bring(there.source())
    seq = here.seq("alice", "calendars", "work")
    there.items["u1.ics"] = event("u1", "Moved")
    there.items["new.ics"] = event("new")
    assert outcomes(here.bring(there.source())) == {"updated": 1, "stored": 1, "unchanged": 2}
    assert b"Moved" in here.bodies("alice", "calendars", "work")["u1.ics"][1]
    assert here.seq("alice", "calendars", "work") == seq + 2


def test_what_was_changed_here_is_kept_and_said_once(here: Here) -> None:
    here.make("alice")
    there = Memory(events(2))
    here.bring(there.source())
    server = Server(here.store)
    try:
        alice = server.client(here.account("alice"))
        assert alice.put("calendars/alice/work/u0.ics", event("u0", "Mine")).status == 204
    finally:
        server.close()
    there.items = {name: body.replace(b"Tea", b"Theirs") for name, body in there.items.items()}
    report = here.bring(there.source())
    assert outcomes(report) == {"kept": 1, "updated": 1}
    assert "changed here" in report.text()
    assert b"Mine" in here.bodies("alice", "calendars", "work")["u0.ics"][1]
    assert outcomes(here.bring(there.source())) == {"unchanged": 2}


def test_what_was_removed_here_stays_removed(here: Here) -> None:
    here.make("alice")
    there = Memory(events(2))
    here.bring(there.source())
    work = here.collection("alice", "calendars", "work")
    with transaction(here.store, write=True) as conn:
        record = objects.object_by_name(conn, work.id, "u0.ics")
        assert record is not None
        objects.delete_object(conn, work, record, now_s=NOW_S)
    assert outcomes(here.bring(there.source())) == {"unchanged": 2}
    there.items["u0.ics"] = event("u0", "Again")
    assert outcomes(here.bring(there.source())) == {"kept": 1, "unchanged": 1}
    assert list(here.bodies("alice", "calendars", "work")) == ["u1.ics"]


def test_a_collection_that_was_removed_here_is_not_made_again(here: Here) -> None:
    here.make("alice")
    there = Memory(events(2))
    here.bring(there.source())
    with transaction(here.store, write=True) as conn:
        collections.delete_collection(conn, here.collection("alice", "calendars", "work"), now_s=NOW_S)
    assert outcomes(here.bring(there.source())) == {"kept": 1}
    assert "work" not in here.paths("alice", "calendars")
    assert outcomes(here.bring(there.source(), Options(afresh=True))) == {"stored": 2}


def test_an_import_that_is_stopped_goes_on_where_it_was(here: Here) -> None:
    here.make("alice")
    there = Memory(events(350))
    whole = there.source()

    def stopping(report: Report) -> Iterator[SourceAccount]:
        for account in whole.accounts(report):
            (found,) = account.collections()

            def items(known: Known) -> Iterator[Item]:
                for number, item in enumerate(found.items(known)):  # noqa: B023
                    if number == 230:
                        raise KeyboardInterrupt
                    yield item

            yield replace(account, collections=lambda: [replace(found, items=items)])  # noqa: B023

    with pytest.raises(KeyboardInterrupt):
        here.bring(Source("memory", stopping))
    assert len(here.bodies("alice", "calendars", "work")) == 200
    there.read.clear()
    assert outcomes(here.bring(whole)) == {"unchanged": 200, "stored": 150}
    assert len(there.read) == 150
    assert len(here.bodies("alice", "calendars", "work")) == 350


def test_each_transaction_holds_a_bounded_number_of_objects(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here.make("alice")
    sizes = []
    put = kernel._Run._put_in

    def counted(self: kernel._Run, conn: object, target: object, batch: list[object], *more: object) -> None:
        sizes.append(len(batch))
        put(self, conn, target, batch, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(kernel._Run, "_put_in", counted)
    here.bring(Memory(events(kernel.BATCH_OBJECTS + 1)).source())
    big = {f"b{n}.ics": event(f"b{n}", extra="DESCRIPTION:" + "x" * 1_500_000 + "\r\n") for n in range(4)}
    here.bring(Memory(big, path="big").source())
    assert sizes == [kernel.BATCH_OBJECTS, 1, 3, 1]


def test_what_is_gone_there_is_removed_when_that_is_asked_for(here: Here) -> None:
    here.make("alice")
    there = Memory(events(4))
    here.bring(there.source())
    work = here.collection("alice", "calendars", "work")
    with transaction(here.store, write=True) as conn:
        body = event("u1", "Mine")
        index = describe("event", body, here.config, NOW_S).index
        objects.put_object(conn, work, "u1.ics", body, content_type="text/calendar", etag="mine", index=index,
                           now_s=NOW_S)  # fmt: skip
        own = event("own")
        index = describe("event", own, here.config, NOW_S).index
        objects.put_object(conn, work, "own.ics", own, content_type="text/calendar", etag="own", index=index,
                           now_s=NOW_S)  # fmt: skip
    del there.items["u0.ics"], there.items["u1.ics"]
    assert outcomes(here.bring(there.source())) == {"unchanged": 2}
    assert len(here.bodies("alice", "calendars", "work")) == 5
    assert outcomes(here.bring(there.source(), Options(remove_gone=True))) == {"unchanged": 2, "removed": 1, "kept": 1}
    assert sorted(here.bodies("alice", "calendars", "work")) == ["own.ics", "u1.ics", "u2.ics", "u3.ics"]


def test_objects_of_one_file_are_removed_only_when_the_file_was_looked_into(here: Here) -> None:
    here.make("alice")
    two = event("a").replace(b"END:VCALENDAR\r\n", b"") + event("b").partition(b"EN\r\n")[2]
    there = Memory({"all.ics": two}, tidy=True)
    assert outcomes(here.bring(there.source())) == {"stored": 2}
    assert outcomes(here.bring(there.source(), Options(remove_gone=True))) == {"unchanged": 1}
    assert sorted(here.bodies("alice", "calendars", "work")) == ["a.ics", "b.ics"]
    there.items["all.ics"] = event("b") + event("c")
    assert outcomes(here.bring(there.source(), Options(remove_gone=True))) == {
        "unchanged": 1, "stored": 1, "removed": 1,
    }  # fmt: skip
    assert sorted(here.bodies("alice", "calendars", "work")) == ["b.ics", "c.ics"]


def test_a_mark_is_kept_only_when_nothing_was_left_out(here: Here) -> None:
    here.make("alice")
    seen: list[str | None] = []
    bad = [True]

    def items(known: Known) -> Iterator[Item]:
        seen.append(known.get(""))
        yield Item("a.ics", "1", event("a"), "1")
        if bad[0]:
            yield Item("b.ics", "1", b"nonsense", "1")
        yield Item("", "token-1", None)

    source = source_of(("alice", [SourceCollection("work", "calendar", items)]))
    here.bring(source)
    bad[0] = False
    here.bring(source)
    here.bring(source)
    assert seen == [None, None, "token-1"]


# ---- what a dry run is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exists", [True, False])
def test_a_dry_run_says_what_a_real_one_does_and_writes_nothing(here: Here, exists: bool) -> None:
    if exists:
        here.make("alice")
    items = {**events(120), "twin.ics": event("u3", "Twin"), "bad.ics": b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"}
    there = Memory(items)
    options = Options(create_accounts=True, dry_run=True)
    before = everything(here, here.account("alice")) if exists else None
    dry = here.bring(there.source(), options)
    assert outcomes(dry) == {"stored": 120, "left": 2}
    with transaction(here.store) as conn:
        account = accounts.account_by_name(conn, "alice")
    if exists:
        assert everything(here, here.account("alice")) == before
    else:
        assert account is None
    real = here.bring(there.source())
    assert outcomes(real) == outcomes(dry)
    assert real.lines == dry.lines


def test_a_dry_run_counts_the_quota(here: Here) -> None:
    alice = here.make("alice")
    with transaction(here.store, write=True) as conn:
        accounts.update_account(conn, alice.id, quota_bytes=3 * len(event("u0")))
    assert outcomes(here.bring(Memory(events(5)).source(), Options(dry_run=True))) == {"stored": 3, "left": 2}


# ---- limits and quota -----------------------------------------------------------------------------------------------


def test_the_quota_holds_and_what_fits_is_stored(here: Here) -> None:
    alice = here.make("alice")
    with transaction(here.store, write=True) as conn:
        accounts.update_account(conn, alice.id, quota_bytes=3 * len(event("u0")))
    report = here.bring(Memory(events(5)).source())
    assert outcomes(report) == {"stored": 3, "left": 2}
    assert not report.complete
    assert "quota" in report.text()
    with transaction(here.store, write=True) as conn:
        accounts.update_account(conn, alice.id, quota_bytes=None)
    assert outcomes(here.bring(Memory(events(5)).source())) == {"unchanged": 3, "stored": 2}


def test_limits_of_objects_hold(here: Here) -> None:
    here.config = replace(Config(), limits=Limits(resource_bytes=20_000))
    here.make("alice")
    big = event("big", extra="DESCRIPTION:" + "x" * 20_000 + "\r\n")
    assert outcomes(here.bring(Memory({"big.ics": big, **events(1)}).source())) == {"stored": 1, "left": 1}


def test_a_file_that_is_too_large_is_left_out_and_leaves_nothing_on_the_disk(here: Here, store: Store) -> None:
    from io import BytesIO

    here.config = replace(Config(), limits=Limits(file_bytes=1024))
    here.make("alice")
    items = [Item("big.bin", "1", lambda: BytesIO(b"x" * 2000)), Item("small.bin", "1", lambda: BytesIO(b"y" * 1000))]
    report = here.bring(source_of(("alice", [SourceCollection("", "home", lambda known: items)])))
    assert outcomes(report) == {"stored": 1, "left": 1}
    assert [path.name for path in store.blob_dir.rglob("*") if path.is_file() and "incoming" in path.parts] == []


def test_the_number_of_collections_holds(here: Here) -> None:
    here.config = replace(Config(), limits=Limits(collections=10))
    here.make("alice")
    many = [fixed(f"c{number}", "calendar", events(1)) for number in range(12)]
    report = here.bring(source_of(("alice", many)))
    with transaction(here.store) as conn:
        home = collections.home(conn, here.account("alice").id, "calendars")
        assert len(collections.descendants(conn, home)) == 10
    assert report.counts["left"] == 12 - report.counts["stored"]


# ---- names and UIDs -------------------------------------------------------------------------------------------------


def test_entity_tags_are_kept_until_an_object_changes(here: Here) -> None:
    here.make("alice")
    there = Memory(events(1), etags={"u0.ics": "theirs-1"})
    here.bring(there.source())
    server = Server(here.store)
    try:
        alice = server.client(here.account("alice"))
        answer = alice.get("calendars/alice/work/u0.ics")
        assert (answer.etag, answer.body) == ('"theirs-1"', event("u0"))
        assert alice.put("calendars/alice/work/u0.ics", event("u0", "x"), if_match='"theirs-1"').status == 204
        assert alice.get("calendars/alice/work/u0.ics").etag == f'"{etag_of(event("u0", "x"))}"'
    finally:
        server.close()


def test_a_uid_that_is_there_twice_is_left_out_the_second_time(here: Here) -> None:
    here.make("alice")
    there = Memory({"a.ics": event("same", "One"), "b.ics": event("same", "Two"), "c.ics": event("same", "One")})
    report = here.bring(there.source())
    assert outcomes(report) == {"stored": 1, "left": 1, "unchanged": 1}
    assert "a.ics" in report.text()
    assert list(here.bodies("alice", "calendars", "work")) == ["a.ics"]


def test_objects_that_are_here_already_are_not_stored_twice(here: Here) -> None:
    here.make("alice")
    here.bring(Memory(events(3)).source())
    again = replace(Memory(events(3)).source(), id="another")
    assert outcomes(here.bring(again)) == {"unchanged": 3}
    assert len(here.bodies("alice", "calendars", "work")) == 3


def test_a_name_that_another_object_has_is_changed_and_said(here: Here) -> None:
    here.make("alice")
    here.bring(Memory({"x.ics": event("first"), "x-1.ics": event("second")}).source())
    report = here.bring(replace(Memory({"x.ics": event("third")}).source(), id="another"))
    assert outcomes(report) == {"stored": 1, "repaired": 1}
    bodies = here.bodies("alice", "calendars", "work")
    assert sorted(bodies) == ["x-1.ics", "x-2.ics", "x.ics"]
    assert bodies["x-1.ics"][1] == event("second")
    assert bodies["x-2.ics"][1] == event("third")


def test_a_uid_that_changes_under_a_name_is_left_out(here: Here) -> None:
    here.make("alice")
    there = Memory({"x.ics": event("first")})
    here.bring(there.source())
    there.items["x.ics"] = event("other")
    assert outcomes(here.bring(there.source())) == {"left": 1}
    assert here.bodies("alice", "calendars", "work")["x.ics"][1] == event("first")


@pytest.mark.parametrize("name", ["inbox", "outbox", "notifications"])
def test_a_calendar_whose_name_the_server_needs_gets_another(here: Here, name: str) -> None:
    here.make("alice")
    there = Memory(events(1), path=name)
    assert outcomes(here.bring(there.source())) == {"stored": 1, "repaired": 1}
    assert list(here.bodies("alice", "calendars", f"{name}-1")) == ["u0.ics"]
    assert outcomes(here.bring(there.source())) == {"unchanged": 1}


@pytest.mark.parametrize("path", ["..", ".", "a/../b", "a\0b", "x" * 1001, "a/b"])
def test_a_collection_whose_name_is_none_is_left_out(here: Here, path: str) -> None:
    here.make("alice")
    report = here.bring(Memory(events(1), path=path).source())
    assert outcomes(report) == {"left": 1}


@pytest.mark.parametrize("name", ["..", "a/b.ics", "a\0.ics", "x" * 1001 + ".ics", "\ud800.ics", "a%2Fb#c.ics"])
def test_an_object_whose_name_is_none_gets_one_from_its_uid(here: Here, name: str) -> None:
    here.make("alice")
    there = Memory({name: event("good")})
    assert here.bring(there.source()).counts["stored"] == 1
    assert outcomes(here.bring(there.source())) == {"unchanged": 1}
    (kept,) = here.bodies("alice", "calendars", "work")
    assert kept in ("good.ics", "a%2Fb#c.ics")


def test_an_object_that_a_calendar_does_not_take_is_left_out(here: Here) -> None:
    here.make("alice")
    there = Memory(events(1), about={"components": ("VTODO",)})
    report = here.bring(there.source())
    assert outcomes(report) == {"left": 1}
    assert "VTODO" in report.text()


def test_what_cannot_be_read_there_is_reported_and_the_rest_comes(here: Here) -> None:
    here.make("alice")
    there = Memory(events(1), problems={"bad.ics": "The disk is broken."})
    report = here.bring(there.source())
    assert outcomes(report) == {"stored": 1, "left": 1}
    assert "The disk is broken." in report.text()


def test_a_collection_that_breaks_off_is_reported_and_the_next_one_comes(here: Here) -> None:
    here.make("alice")

    def broken(known: Known) -> Iterator[Item]:
        yield Item("a.ics", "1", event("a"), "1")
        raise SourceError("The line is dead.")

    found = [SourceCollection("one", "calendar", broken), fixed("two", "calendar", events(1))]
    report = here.bring(source_of(("alice", found)))
    assert "The line is dead." in report.text()
    assert list(here.bodies("alice", "calendars", "two")) == ["u0.ics"]


def test_shared_and_followed_collections_are_not_written_to(here: Here) -> None:
    here.make("alice")
    here.make("bob")
    here.bring(Memory(events(1), account="bob", path="team").source())
    team = here.collection("bob", "calendars", "team")
    with transaction(here.store, write=True) as conn:
        shares.put_share(conn, team, here.account("alice"), access="write", state="accepted", now_s=NOW_S)
    with transaction(here.store) as conn:
        place = shares.mount_of(conn, here.account("alice").id, team.id)
    assert place is not None
    mount = place.path
    report = here.bring(replace(Memory(events(2, prefix="v"), path=mount).source(), id="another"))
    assert outcomes(report) == {"left": 1}
    assert list(here.bodies("bob", "calendars", "team")) == ["u0.ics"]


# ---- properties -----------------------------------------------------------------------------------------------------

ABOUT = {
    "display_name": "Work & more",
    "description": "All <of> it",
    "colour": "#11223344",
    "order": 7,
    "time_zone": "Europe/Berlin",
    "components": ("VEVENT",),
    "transparent": True,
    "properties": {"{urn:z}thing": '<z:thing xmlns:z="urn:z" a="1">x<z:y/></z:thing>'},
}


def test_properties_come_along(here: Here) -> None:
    here.make("alice")
    assert here.bring(Memory(events(1), about=ABOUT).source()).complete
    work = here.collection("alice", "calendars", "work")
    assert (work.display_name, work.description, work.time_zone_id, work.components, work.transparent) == (
        "Work & more", "All <of> it", "Europe/Berlin", ("VEVENT",), True,
    )  # fmt: skip
    kept = here.properties("alice", "calendars", "work")
    assert kept["{urn:z}thing"] == '<z:thing xmlns:z="urn:z" a="1">x<z:y/></z:thing>'
    assert ">#11223344<" in kept["{http://apple.com/ns/ical/}calendar-color"]
    assert ">7<" in kept["{http://apple.com/ns/ical/}calendar-order"]


def test_properties_that_changed_there_are_taken_over_and_those_changed_here_are_kept(here: Here) -> None:
    here.make("alice")
    there = Memory(events(1), about={"display_name": "One"})
    here.bring(there.source())
    there.about["display_name"] = "Two"
    here.bring(there.source())
    work = here.collection("alice", "calendars", "work")
    assert work.display_name == "Two"
    with transaction(here.store, write=True) as conn:
        collections.update_collection(conn, work.id, display_name="Mine", now_s=NOW_S)
    there.about["display_name"] = "Three"
    assert outcomes(here.bring(there.source())) == {"unchanged": 1, "kept": 1}
    assert here.collection("alice", "calendars", "work").display_name == "Mine"


def test_a_property_that_cannot_be_set_is_reported_and_the_others_are_set(here: Here) -> None:
    here.make("alice")
    about = {"display_name": "Work", "properties": {
        "{DAV:}getetag": '<D:getetag xmlns:D="DAV:">x</D:getetag>',
        "{urn:z}broken": "<z:broken",
        "{urn:z}other": "<not-it/>",
        "{urn:ietf:params:xml:ns:caldav}calendar-timezone":
            '<C:calendar-timezone xmlns:C="urn:ietf:params:xml:ns:caldav">none</C:calendar-timezone>',
    }}  # fmt: skip
    report = here.bring(Memory(events(1), about=about).source())
    assert report.counts["left"] == 4
    assert here.collection("alice", "calendars", "work").display_name == "Work"


def test_a_calendar_in_use_keeps_its_name_and_one_that_is_new_gets_theirs(here: Here) -> None:
    here.make("alice")
    here.bring(Memory(events(1), path="calendar", about={"display_name": "Theirs"}).source())
    assert here.collection("alice", "calendars", "calendar").display_name == "Theirs"
    here.make("bob")
    with transaction(here.store, write=True) as conn:
        calendar = here.collection("bob", "calendars", "calendar")
        collections.update_collection(conn, calendar.id, display_name="Bob's", now_s=NOW_S)
    here.bring(Memory(events(1), account="bob", path="calendar", about={"display_name": "Theirs"}).source())
    assert here.collection("bob", "calendars", "calendar").display_name == "Bob's"


def test_a_subscription_comes_with_its_address(here: Here) -> None:
    here.make("alice")
    there = Memory(path="holidays", kind="subscribed", about={"url": "https://x.example/a?b&c"})
    assert here.bring(there.source()).complete
    source = here.properties("alice", "calendars", "holidays")["{http://calendarserver.org/ns/}source"]
    assert "https://x.example/a?b&amp;c" in source


# ---- accounts -------------------------------------------------------------------------------------------------------


def test_accounts_are_made_only_when_that_is_asked_for(here: Here) -> None:
    there = Memory(events(1))
    report = here.bring(there.source(), Options())
    assert outcomes(report) == {"left": 1}
    assert "--create-accounts" in report.text()
    assert outcomes(here.bring(there.source())) == {"stored": 1}


def test_an_account_that_is_made_has_what_devices_look_for(here: Here) -> None:
    person = {"display_name": "Alice A.", "addresses": ("al@example.com", "alice@example.com", "no address")}
    report = here.bring(Memory(events(1), account="alice@example.com", person=person).source())
    alice = here.account("alice@example.com")
    assert (alice.display_name, alice.addresses) == ("Alice A.", ("al@example.com", "alice@example.com"))
    assert report.counts["left"] == 1
    assert own(here.paths("alice@example.com", "calendars")) == ["work"]  # takes events and tasks
    assert here.paths("alice@example.com", "addressbooks") == ["contacts"]
    assert here.collection("alice@example.com", "calendars", "inbox").kind == "inbox"


def test_an_account_whose_calendars_take_no_tasks_gets_a_task_list(here: Here) -> None:
    here.bring(Memory(events(1), about={"components": ("VEVENT",)}).source())
    assert own(here.paths("alice", "calendars")) == ["work", "tasks"]


def test_an_address_that_another_account_has_is_left_out(here: Here) -> None:
    here.make("bob@example.com")
    report = here.bring(Memory(events(1), person={"addresses": ("bob@example.com",)}).source())
    assert here.account("alice").addresses == ()
    assert report.counts["left"] == 1


@pytest.mark.parametrize("name", ["a/b", "a:b", "", " x", ".."])
def test_an_account_whose_name_cannot_be_one_is_left_out(here: Here, name: str) -> None:
    assert outcomes(here.bring(Memory(events(1), account=name).source())) == {"left": 1}


def test_accounts_are_chosen_and_renamed(here: Here) -> None:
    source = source_of(("a", [fixed("w", "calendar", events(1))]), ("b", [fixed("w", "calendar", events(1))]))
    options = Options(create_accounts=True, only=frozenset({"a"}), names={"a": "anna"})
    assert outcomes(here.bring(source, options)) == {"stored": 1}
    with transaction(here.store) as conn:
        assert [one.name for one in accounts.list_accounts(conn)] == ["anna"]


def test_one_collection_can_get_everything(here: Here) -> None:
    here.make("alice")
    found = [fixed("one", "calendar", events(2)), fixed("two", "calendar", events(2, prefix="v"))]
    options = Options(into="alice", collection="calendar")
    assert outcomes(here.bring(source_of(("x", found)), options)) == {"stored": 4}
    assert len(here.bodies("alice", "calendars", "calendar")) == 4
    assert here.collection("alice", "calendars", "calendar").display_name == "Calendar"
    assert outcomes(here.bring(source_of(("x", found)), options)) == {"unchanged": 4}
    book = [fixed("one", "addressbook", {"c.vcf": card("c")})]
    assert outcomes(here.bring(source_of(("x", book)), options)) == {"stored": 1}


def test_delegates_members_and_shares_come_along_and_those_of_nobody_are_reported(here: Here) -> None:
    wanted = (SourceShare("bob", "write"), SourceShare("all", "busy"), SourceShare("nobody", "read"),
              SourceShare("team", "read", "pending"), SourceShare("alice", "read"))  # fmt: skip

    def found(report: Report) -> Iterable[SourceAccount]:
        yield SourceAccount(
            "alice", lambda: [fixed("work", "calendar", events(1), shares=wanted)],
            delegates=(("bob", True), ("ghost", False), ("alice", True)),
        )  # fmt: skip
        yield SourceAccount("bob", list)
        yield SourceAccount("team", list, kind="group", members=("bob", "ghost"))

    report = here.bring(Source("memory", found))
    alice, bob, team = here.account("alice"), here.account("bob"), here.account("team")
    given = {share.grantee: (share.access, share.state) for share in here.shares("alice", "calendars", "work")}
    assert given == {
        str(bob.id): ("write", "accepted"), "all": ("busy", "accepted"), str(team.id): ("read", "pending"),
    }  # fmt: skip
    with transaction(here.store) as conn:
        assert [(one.name, writes) for one, writes in proxies.delegates_of(conn, alice.id)] == [("bob", True)]
        assert [one.name for one in groups.members_of(conn, team.id)] == ["bob"]
    assert report.counts["left"] == 4
    before = everything(here, alice)
    assert here.bring(Source("memory", found)).counts["left"] == 4
    assert everything(here, alice) == before


# ---- meetings -------------------------------------------------------------------------------------------------------


def test_nobody_is_invited_and_a_later_change_tells_everybody(here: Here) -> None:
    for name in ("alice@example.com", "bob@example.com"):
        here.make(name)
    there = Memory({"m.ics": event("m", extra=MEETING)}, account="alice@example.com", path="calendar")
    assert outcomes(here.bring(there.source())) == {"stored": 1}
    with transaction(here.store) as conn:
        assert outbound.list_outgoing(conn, account_id=None, uid=None, state=None, before_id=None, limit=10) == []
    assert here.bodies("bob@example.com", "calendars", "calendar") == {}
    assert here.bodies("bob@example.com", "calendars", "inbox") == {}
    assert here.bodies("alice@example.com", "calendars", "calendar")["m.ics"][1] == event("m", extra=MEETING)
    server = Server(here.store)
    try:
        alice = server.client(here.account("alice@example.com"))
        path = "calendars/alice@example.com/calendar/m.ics"
        assert alice.get(path).headers["schedule-tag"]
        assert alice.put(path, event("m", extra=MEETING).replace(b"T110000Z", b"T120000Z")).status in (201, 204)
    finally:
        server.close()
    assert len(here.bodies("bob@example.com", "calendars", "inbox")) == 1


def test_a_meeting_in_two_calendars_is_kept_up_to_date_in_one(here: Here) -> None:
    here.make("alice@example.com")
    body = event("m", extra=MEETING)
    found = [fixed("one", "calendar", {"m.ics": body}), fixed("two", "calendar", {"m.ics": body})]
    report = here.bring(source_of(("alice@example.com", found)))
    assert outcomes(report) == {"stored": 2, "repaired": 1}
    with transaction(here.store) as conn:
        copies = objects.scheduling_by_uid(conn, here.account("alice@example.com").id, "m")
    assert [(place.path, record.schedule_tag is not None) for place, record in copies] == [
        ("one", True), ("two", False),
    ]  # fmt: skip


def test_meetings_are_plain_objects_where_scheduling_is_off(here: Here) -> None:
    here.config = replace(Config(), scheduling=replace(Config().scheduling, enabled=False))
    here.make("alice@example.com")
    here.bring(Memory({"m.ics": event("m", extra=MEETING)}, account="alice@example.com").source())
    with transaction(here.store) as conn:
        ((_, record),) = objects.scheduling_by_uid(conn, here.account("alice@example.com").id, "m")
    assert record.schedule_tag is None


def test_birthdays_follow_what_is_brought_in(here: Here) -> None:
    from dav.derived import birthdays
    from storage import derived

    alice = here.make("alice")
    birthdays.turn_on(here.store, here.config, alice.id, now_s=NOW_S)
    body = card("c").replace(b"END:", b"BDAY:1990-05-06\r\nEND:")
    there = Memory({"c.vcf": body}, path="contacts", kind="addressbook")
    here.bring(there.source())
    with transaction(here.store) as conn:
        made = derived.calendar_of(conn, alice.id, birthdays.ORIGIN)
        assert made is not None
        assert len(objects.list_objects(conn, made.id)) == 1
    there.items.clear()
    here.bring(there.source(), Options(remove_gone=True))
    with transaction(here.store) as conn:
        assert objects.list_objects(conn, made.id) == []


# ---- the report -----------------------------------------------------------------------------------------------------


def test_the_report_has_a_line_of_json_for_each_item_that_is_not_as_before(here: Here) -> None:
    here.make("alice")
    stream = StringIO()
    report = Report(stream)
    there = Memory({**events(2), "bad\n.ics": b"x"})
    kernel.run(here.store, here.config, there.source(), Options(), report, now_s=NOW_S)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["outcome"], line["item"]) for line in lines] == [
        ("left", "calendars/work/bad\n.ics"), ("stored", "calendars/work/u0.ics"), ("stored", "calendars/work/u1.ics"),
    ]  # fmt: skip
    assert "bad?.ics" in report.text()


def test_a_long_report_is_cut_and_says_so() -> None:
    report = Report()
    for number in range(300):
        report.left("alice", f"n{number}", "why")
    text = report.text()
    assert "n199" in text
    assert "n200" not in text
    assert "100 more" in text


# ---- what is written down -------------------------------------------------------------------------------------------


def test_what_was_brought_over_is_found_by_its_folder_only(store: Store) -> None:
    with transaction(store, write=True) as conn:
        alice = accounts.create_account(conn, "alice", now_s=NOW_S)
        rows = [Imported(item, "1", "t", "h") for item in ("a/b", "a/c/d", "a0", "ab/x", "a/")]
        imported.remember(conn, alice.id, "s", rows, now_s=NOW_S)
        imported.remember(conn, alice.id, "other", [Imported("a/z", "1", "", "")], now_s=NOW_S)
        imported.remember(conn, alice.id, "s", [Imported("a/b", "2", "t2", "h2")], now_s=NOW_S)
    with transaction(store) as conn:
        assert sorted(imported.below(conn, alice.id, "s", "a")) == ["a/", "a/b", "a/c/d"]
        assert imported.one(conn, alice.id, "s", "a/b") == Imported("a/b", "2", "t2", "h2")
        assert imported.one(conn, alice.id, "s", "a/q") is None
    with transaction(store, write=True) as conn:
        imported.forget(conn, alice.id, "s", ["a/b", "nothing"])
        assert imported.forget_all(conn, alice.id, "s") == 4
        assert imported.one(conn, alice.id, "other", "a/z") is not None
        accounts.remove_account(conn, alice.id)


def test_bytes_over_the_limit_of_a_file_are_left_out(here: Here) -> None:
    from io import BytesIO

    here.config = replace(Config(), imports=ImportsConfig(file_bytes=1_048_576))
    here.make("alice")
    items = [Item("big.ics", "1", lambda: BytesIO(b"x" * 1_048_577))]
    report = here.bring(source_of(("alice", [SourceCollection("work", "calendar", lambda known: items)])))
    assert outcomes(report) == {"left": 1}
