"""All of an account as a zip, and the same account from it."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dav.config import Config
from dav.methods.put import etag_of
from dav.movein import files
from dav.movein.export import export, file_name
from dav.movein.kernel import Options
from dav.movein.report import Report
from dav.movein.source import SourceError
from dav.privacy import View, absorb, digest_of
from dav.provision import provision
from storage import (
    accounts,
    collections,
    feeds_in,
    feeds_out,
    groups,
    itip,
    objects,
    overlays,
    properties,
    proxies,
    shares,
)
from storage.blobs import write_blob
from storage.engine import Store, open_store, transaction
from storage.meetings import BESIDE
from storage.records import Booking, Collection, ObjectIndex
from tests.movein.kit import everything
from tests.movein_wire.kit import NOW_S, Here, card, event


def exported(here: Here, name: str) -> bytes:
    stream = BytesIO()
    with transaction(here.store) as conn:
        account = accounts.account_by_name(conn, name)
        assert account is not None
        export(conn, here.store, account, stream)
    return stream.getvalue()


def content(data: bytes) -> list[tuple[str, bytes]]:
    """Names and bytes in order, without times."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        return [(entry.filename, archive.read(entry)) for entry in archive.infolist()]


def said(data: bytes, name: str) -> Any:
    with zipfile.ZipFile(BytesIO(data)) as archive:
        return json.loads(archive.read(name))


def restored(here: Here, data: bytes, tmp_path: Path, *, into: str = "") -> Report:
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    return here.bring(files.source_of([path], here.config, into=into), Options(into=into, create_accounts=True))


@pytest.fixture
def elsewhere(sqlite_template: Path, tmp_path: Path) -> Any:
    """Another Davenport."""
    path = tmp_path / "elsewhere.db"
    path.write_bytes(sqlite_template.read_bytes())
    store = open_store(f"sqlite:///{path}", blob_dir=tmp_path / "elsewhere.files")
    yield Here(store, Config())
    store.close()


def put(here: Here, collection: Collection, name: str, body: bytes, *, etag: str = "", kind: str = "event") -> None:
    from dav.methods.put import describe

    index = describe(kind, body, here.config, NOW_S).index if kind != "file" else ObjectIndex()
    with transaction(here.store, write=True) as conn:
        objects.put_object(
            conn, collection, name,
            body if kind != "file" else write_blob(here.store.blob_dir, [body]),
            content_type="text/calendar; charset=utf-8" if kind == "event" else "text/vcard; charset=utf-8"
            if kind == "card" else "application/x-own",
            etag=etag or etag_of(body), index=index, now_s=NOW_S,
        )  # fmt: skip


def filled(here: Here) -> None:
    """An account with something of everything."""
    for name in ("alice@example.com", "bob", "team"):
        here.make(name)
    alice, bob, team = here.account("alice@example.com"), here.account("bob"), here.account("team")
    with transaction(here.store, write=True) as conn:
        accounts.update_account(
            conn, alice.id, display_name="Alice & Co", locale="de", time_zone="Europe/Berlin", quota_bytes=10_000_000
        )
        accounts.add_address(conn, alice.id, "al@example.com")
        accounts.update_account(conn, team.id, kind="group")
        groups.add_member(conn, team.id, bob.id, now_s=NOW_S)
        proxies.add_proxy(conn, alice.id, bob.id, writes=True)
        itip.set_booking(conn, Booking(alice.id, "accept", "partial", 99))
        homes = {area: collections.home(conn, alice.id, area) for area in ("calendars", "addressbooks", "files")}
        calendar = collections.create_collection(
            conn, homes["calendars"], "a:b%2F.json", kind="calendar", display_name="Odd", description="<&>",
            components=("VEVENT", "VTODO"), transparent=True, now_s=NOW_S,
        )  # fmt: skip
        properties.set_property(conn, calendar.id, "{urn:z}p", '<z:p xmlns:z="urn:z">1</z:p>')
        properties.set_property(conn, homes["calendars"].id, "{urn:z}mine", '<z:mine xmlns:z="urn:z">2</z:mine>',
                                object_id=-1)  # fmt: skip
        inbox, _ = collections.resolve(conn, alice.name, "calendars", "inbox")
        assert inbox is not None
        properties.set_property(conn, inbox.id, "{urn:ietf:params:xml:ns:caldav}schedule-default-calendar-URL",
                                calendar.key, object_id=BESIDE)  # fmt: skip
        shares.put_share(conn, calendar, bob, access="write", state="accepted", now_s=NOW_S)
        shares.put_share(conn, calendar, "all", access="busy", state="accepted", now_s=NOW_S)
        feeds_out.publish(conn, calendar.id, mode="busy", label="For Zoë", secret="s" * 32, now_s=NOW_S)
        feeds_in.follow(conn, alice.id, "https://x.example/h.ics", name="holidays", display_name="Holidays",
                        strip=("alarms",), interval_s=7200, next_s=NOW_S, now_s=NOW_S)  # fmt: skip
        folder = collections.create_collection(conn, homes["files"], "Földer", kind="folder", now_s=NOW_S)
        deeper = collections.create_collection(conn, folder, "in: it", kind="folder", now_s=NOW_S)
        collections.create_collection(conn, homes["files"], "empty", kind="folder", now_s=NOW_S)
        properties.set_property(conn, deeper.id, "{urn:z}p", '<z:p xmlns:z="urn:z">deep</z:p>')
        contacts, _ = collections.resolve(conn, alice.name, "addressbooks", "contacts")
        assert contacts is not None
    put(here, calendar, "x/y".replace("/", "?") + ".ics", event("x"), etag="theirs")
    put(here, calendar, "no suffix", event("y"))
    put(here, calendar, "line\nfeed.ics", event("z"))
    put(here, contacts, "c.vcf", card("c"), kind="card")
    put(here, deeper, "data.bin", b"\0\1\2" * 1000, kind="file")
    put(here, homes["files"], "read me.txt", b"hello", kind="file")
    put(here, homes["calendars"], "beside.txt", b"beside", kind="file")
    with transaction(here.store, write=True) as conn:
        record = objects.object_by_name(conn, calendar.id, "no suffix")
        assert record is not None
        properties.set_property(conn, calendar.id, "{urn:z}o", '<z:o xmlns:z="urn:z">o</z:o>', object_id=record.id)


def test_an_export_that_is_imported_elsewhere_and_exported_again_is_the_same(
    here: Here, elsewhere: Here, tmp_path: Path
) -> None:
    filled(here)
    first = {name: exported(here, name) for name in ("bob", "team", "alice@example.com")}
    for data in first.values():
        report = restored(elsewhere, data, tmp_path)
        assert report.complete, report.text()
    for name, data in first.items():
        again = content(exported(elsewhere, name))
        assert [entry for entry, _ in again] == [entry for entry, _ in content(data)]
        assert again == content(data)


def test_an_export_of_an_export_into_the_same_account_changes_nothing(here: Here, tmp_path: Path) -> None:
    filled(here)
    alice = here.account("alice@example.com")
    data = exported(here, "alice@example.com")
    before = everything(here, alice)
    assert restored(here, data, tmp_path).complete
    after = everything(here, alice)
    assert {path: entry[-1] for path, entry in after.items()} == {path: entry[-1] for path, entry in before.items()}
    assert content(exported(here, "alice@example.com")) == content(data)


def test_objects_are_files_byte_for_byte_under_names_that_any_system_takes(here: Here) -> None:
    filled(here)
    found = dict(content(exported(here, "alice@example.com")))
    assert found["calendars/a%3Ab%252F%2Ejson/x%3Fy.ics"] == event("x")
    assert found["addressbooks/contacts/c.vcf"] == card("c")
    assert found["files/Földer/in%3A it/data.bin"] == b"\0\1\2" * 1000
    assert found["calendars-files/beside.txt"] == b"beside"
    for name in found:
        assert not set(name) & set('\\:*?"<>|\n\r\0')
        assert ".." not in name.split("/")


def test_the_export_says_what_belongs_to_the_account(here: Here) -> None:
    filled(here)
    data = exported(here, "alice@example.com")
    about = said(data, "account.json")
    assert about["addresses"] == ["alice@example.com", "al@example.com"]
    assert about["delegates"] == [{"name": "bob", "writes": True}]
    assert about["default_calendars"] == {"VEVENT": "a:b%2F.json"}
    assert "password" not in json.dumps(about)
    calendar = said(data, "calendars/a%3Ab%252F%2Ejson.json")
    assert {(one["grantee"], one["access"]) for one in calendar["shares"]} == {("bob", "write"), ("all", "busy")}
    assert said(exported(here, "team"), "account.json")["members"] == ["bob"]


def test_what_others_share_with_the_account_and_what_the_server_makes_are_not_in_it(here: Here) -> None:
    filled(here)
    names = [name for name, _ in content(exported(here, "bob"))]
    assert not [name for name in names if "json" in name and "a%3A" in name]
    assert not [name for name in names if "outbox" in name or "notifications" in name]


def test_the_same_account_gives_the_same_bytes_twice(here: Here) -> None:
    filled(here)
    assert exported(here, "alice@example.com") == exported(here, "alice@example.com")


def test_an_export_goes_into_an_account_of_another_name(here: Here, tmp_path: Path) -> None:
    filled(here)
    data = exported(here, "alice@example.com")
    report = restored(here, data, tmp_path, into="anna")
    assert len(here.bodies("anna", "calendars", "a:b%2F.json")) == 3
    # Two addresses and one published address belong to the first account.
    assert report.counts["left"] == 3


ALARM = "BEGIN:VALARM\r\nACTION:DISPLAY\r\nDESCRIPTION:{}\r\nTRIGGER:-PT5M\r\nEND:VALARM\r\n"


def shared_with_bob(here: Here, access: str = "write") -> None:
    """Alice's calendar with one event, shared with Bob."""
    with transaction(here.store, write=True) as conn:
        for name in ("alice", "bob"):
            if accounts.account_by_name(conn, name) is None:
                provision(conn, name, now_s=NOW_S)
    calendar = here.collection("alice", "calendars", "calendar")
    put(here, calendar, "tea.ics", event("tea"))
    with transaction(here.store, write=True) as conn:
        bob = accounts.account_by_name(conn, "bob")
        assert bob is not None
        shares.put_share(conn, calendar, bob, access=access, state="accepted", now_s=NOW_S)


def own_alarms(here: Here) -> list[bytes]:
    with transaction(here.store) as conn:
        return [content for *_, content in overlays.of_account(conn, here.account("bob").id)]


def set_own(here: Here, word: str) -> bytes:
    """Bob keeps an alarm at the event."""
    calendar = here.collection("alice", "calendars", "calendar")
    sent = event("tea").replace(b"END:VEVENT", ALARM.format(word).encode() + b"END:VEVENT")
    with transaction(here.store, write=True) as conn:
        record = objects.object_by_name(conn, calendar.id, "tea.ics")
        assert record is not None
        _, overlay = absorb(sent, event("tea"), View("write", "hidden", "busy", here.account("bob").id))
        overlays.set_overlay(conn, record.id, here.account("bob").id, digest_of(overlay), overlay)
    return overlay


def test_ones_own_alarms_in_what_others_share_are_exported_and_come_back(
    here: Here, elsewhere: Here, tmp_path: Path
) -> None:
    shared_with_bob(here)
    overlay = set_own(here, "mine")
    data = exported(here, "bob")
    with zipfile.ZipFile(BytesIO(data)) as archive:
        assert len(archive.read("overlays.jsonl").splitlines()) == 1
    alone = restored(elsewhere, data, tmp_path)
    assert any("own alarms" in line for line in alone.lines["left"])  # nobody shares anything there yet
    shared_with_bob(elsewhere)
    seq = elsewhere.seq("alice", "calendars", "calendar")
    again = restored(elsewhere, data, tmp_path)
    assert "left" not in again.lines
    assert own_alarms(elsewhere) == [overlay]
    assert elsewhere.seq("alice", "calendars", "calendar") == seq + 1  # his devices hear of it
    newer = set_own(elsewhere, "newer")
    restored(elsewhere, data, tmp_path)
    assert own_alarms(elsewhere) == [newer]


def test_an_account_without_alarms_of_its_own_is_exported_as_before(here: Here) -> None:
    shared_with_bob(here)
    with zipfile.ZipFile(BytesIO(exported(here, "bob"))) as archive:
        assert "overlays.jsonl" not in archive.namelist()


@pytest.mark.parametrize(
    ("line", "access"),
    [
        ({}, "write"), ({"owner": "nobody"}, "write"), ({"path": "../x"}, "write"), ({"area": "elsewhere"}, "write"),
        ({"owner": 7}, "write"), ({"content": None}, "write"), ({"content": "no calendar"}, "write"),
        ({"content": "\ud800"}, "write"), ({"content": event("tea").decode()}, "write"),
        ({"uid": "", "name": "x"}, "write"),
        ({"good": 1}, "read"), ({"good": 1}, "busy"),
    ],
)  # fmt: skip
def test_alarms_in_an_export_that_somebody_else_wrote_are_alarms_or_nothing(
    here: Here, tmp_path: Path, line: dict[str, Any], access: str
) -> None:
    shared_with_bob(here, access)
    good = {
        "owner": "alice", "area": "calendars", "path": "calendar", "name": "tea.ics", "uid": "tea",
        "content": event("tea").decode().replace("END:VEVENT", ALARM.format("x") + "END:VEVENT"),
    }  # fmt: skip
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("account.json", json.dumps({"davenport": 1, "name": "bob"}))
        archive.writestr("overlays.jsonl", json.dumps({**good, **line} if line else {}) + "\n[]\n")
    report = restored(here, stream.getvalue(), tmp_path, into="bob")
    assert own_alarms(here) == []
    assert any("own alarms" in one for one in report.lines["left"])


def test_of_alarms_in_an_export_only_what_is_personal_is_kept(here: Here, tmp_path: Path) -> None:
    shared_with_bob(here)
    stream = BytesIO()
    text = event("tea").decode().replace("END:VEVENT", ALARM.format("x") + "END:VEVENT")
    kept = {"owner": "alice", "area": "calendars", "path": "calendar", "name": "tea.ics", "uid": "tea", "content": text}
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("account.json", json.dumps({"davenport": 1, "name": "bob"}))
        archive.writestr("overlays.jsonl", json.dumps(kept))
    restored(here, stream.getvalue(), tmp_path, into="bob")
    (found,) = own_alarms(here)
    assert b"BEGIN:VALARM" in found
    assert b"SUMMARY" not in found


def test_an_export_of_a_later_format_is_refused(here: Here, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("account.json", '{"davenport": 99, "name": "alice"}')
    with pytest.raises(SourceError, match="99"):
        files.source_of([path], here.config, into="alice")


@pytest.mark.parametrize("text", [
    '{"davenport": 1, "name": 7, "addresses": "x", "delegates": [1, {"name": []}], "properties": [], "booking": 3}',
    '{"davenport": 1, "name": "x", "quota_bytes": -5, "kind": "king", "members": {"a": 1}}',
    ('{"davenport": 1, "name": "\\ud800", "addresses": ["\\ud800@x.example"], "locale": "\\ud800",'
    ' "time_zone": "\\ud800", "display_name": "\\ud800", "members": ["\\ud800"],'
    ' "delegates": [{"name": "\\ud800", "writes": true}],'
    ' "default_calendars": {"VEVENT": "\\ud800"}, "properties": {"\\ud800": "\\ud800"}}'),
])  # fmt: skip
def test_an_export_that_somebody_else_wrote_cannot_do_harm(here: Here, tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("account.json", text)
        archive.writestr("calendars/a.json", '{"kind": "volcano", "shares": [{"grantee": 1}]}')
        archive.writestr("calendars/b.json", "[" * 100_000)
        archive.writestr("calendars/c.json", '{"kind": "calendar", "properties": {"{DAV:}x": "<!DOCTYPE x><x/>"}}')
        archive.writestr("calendars/c/a.ics", b"nonsense")
        odd = (
            '{"kind": "calendar", "display_name": "\\ud800", "components": ["\\ud800", "a,b"], "time_zone": "\\ud800",'
            ' "description": "\\u0000", "properties": {"\\ud800": "\\ud800"}, "published": [{"secret": "\\ud800'
            'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "mode": "whole", "label": "\\ud800"}],'
            ' "shares": [{"grantee": "\\ud800", "access": "read", "state": "x"}, {"grantee": "mailto:\\ud800",'
            ' "access": "read", "state": "accepted"}, {"grantee": "all", "access": "read", "state": "x"}]}'
        )
        archive.writestr("calendars/d%FF.json", odd)
        archive.writestr(
            "calendars/e.json", odd.replace('"kind": "calendar"', '"kind": "feed", "feed": {"url": "\\ud800"}')
        )
        archive.writestr("members.jsonl", '{"path": "calendars/c/a.ics", "name": "../../x"}\n')
    report = here.bring(files.source_of([path], here.config, into="alice"), Options(into="alice", create_accounts=True))
    assert report.counts["left"] >= 3
    assert here.account("alice").kind == "individual"


def test_what_an_export_says_of_a_member_is_one_element_of_its_name_or_nothing(here: Here, tmp_path: Path) -> None:
    good = '<x:good xmlns:x="urn:x">kept</x:good>'
    texts = {
        "{urn:x}good": good, "{urn:x}torn": '</D:prop><x:torn xmlns:x="urn:x"/>', "{urn:x}open": "<open",
        "{urn:x}other": "<other/>", "{urn:x}two": '<x:two xmlns:x="urn:x"/><y/>',
        "{urn:x}big": f'<x:big xmlns:x="urn:x">{"x" * here.config.limits.property_bytes}</x:big>',
        "{urn:x}said": '<?xml version="1.0"?><!-- a --><x:said xmlns:x="urn:x"/><?p i?>',
    }  # fmt: skip
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("account.json", json.dumps({"davenport": 1, "name": "alice", "properties": texts}))
        archive.writestr("calendars/c.json", '{"kind": "calendar"}')
        archive.writestr("calendars/c/a.ics", event("a"))
        line = {"path": "calendars/c/a.ics", "properties": texts}
        archive.writestr("members.jsonl", json.dumps(line) + "\n")
        archive.writestr("calendars/f.json", '{"kind": "feed", "feed": {"url": "https://[/a.ics"}}')
    report = here.bring(files.source_of([path], here.config, into="alice"), Options(into="alice", create_accounts=True))
    assert report.counts["left"] == 1, "what no address is"
    with transaction(here.store) as conn:
        made, _ = collections.resolve(conn, "alice", "calendars", "c")
        home = collections.home(conn, here.account("alice").id, "calendars")
        assert made is not None
        record = objects.object_by_name(conn, made.id, "a.ics")
        assert record is not None
        kept = {"{urn:x}good": good, "{urn:x}said": '<x:said xmlns:x="urn:x"/>'}
        assert properties.get_properties(conn, made.id, object_id=record.id) == kept
        assert properties.get_properties(conn, home.id, object_id=-1) == kept


@pytest.mark.parametrize("name", ["a", "ä b", "a/b", "..", ".x", "x.", " x ", "a%41", "a:b", "\n", "x" * 500, "CON"])
def test_names_in_the_zip_can_be_read_back(name: str) -> None:
    from urllib.parse import unquote

    written = file_name(name)
    assert "/" not in written
    assert written not in (".", "..")
    assert len(written.encode()) <= 180
    assert len(name) > 180 or unquote(written) == name


_NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and "/" not in name and name == name.strip()
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(_NAMES, st.text(max_size=30), max_size=5), _NAMES, st.binary(max_size=50))
def test_any_names_and_texts_come_back(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, names: dict[str, str], path: str, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("round")
    found: list[bytes] = []
    for number in range(2):
        file = folder / f"{number}.db"
        file.write_bytes(sqlite_template.read_bytes())
        here = Here(open_store(f"sqlite:///{file}", blob_dir=folder / f"{number}.files"), Config())
        try:
            if number == 0:
                _fill(here.store, here, names, path, data)
            else:
                assert restored(here, found[0], folder).complete
            found.append(exported(here, "alice"))
        finally:
            here.store.close()
    assert content(found[0]) == content(found[1])


def _fill(store: Store, here: Here, names: dict[str, str], path: str, data: bytes) -> None:
    from dav.ical.lines import escape
    from storage.text import nfc

    here.make("alice")
    with transaction(store, write=True) as conn:
        home = collections.home(conn, here.account("alice").id, "calendars")
        name = path if not collections.name_in_use(conn, home, path) else f"{path}!"
        made = collections.create_collection(conn, home, name, kind="calendar", display_name=path, now_s=NOW_S)
        files_home = collections.home(conn, here.account("alice").id, "files")
    for number, (one, text) in enumerate({nfc(name): text for name, text in names.items()}.items()):
        put(here, made, one, event(f"u{number}", escape(text.replace("\r", ""))))
    put(here, files_home, path, data, kind="file")
