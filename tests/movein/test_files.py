"""Files, folders and zips as sources, and what a hostile zip may not do."""

from __future__ import annotations

import os
import zipfile
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from dav.config import Config, ImportsConfig
from dav.movein import files
from dav.movein.kernel import Options
from dav.movein.report import Report
from dav.movein.source import SourceError
from dav.movein.tree import folder_of, zip_of
from tests.movein_wire.kit import Here, card, event


def bring(here: Here, *paths: Path, into: str = "alice", collection: str = "") -> Report:
    source = files.source_of(paths, here.config, into=into, collection=collection)
    return here.bring(source, Options(into=into, collection=collection, create_accounts=True))


def several(*uids: str) -> bytes:
    inside = b"".join(event(uid).partition(b"EN\r\n")[2].removesuffix(b"END:VCALENDAR\r\n") for uid in uids)
    return b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//EN\r\nX-WR-CALNAME:Our \\, trips\r\n" + inside + \
        b"X-APPLE-CALENDAR-COLOR:#FF0000\r\nEND:VCALENDAR\r\n"  # fmt: skip


def test_a_file_of_many_events_is_a_calendar_called_like_the_file(here: Here, tmp_path: Path) -> None:
    (tmp_path / "Our trips.ics").write_bytes(several("a", "b"))
    assert bring(here, tmp_path / "Our trips.ics").counts["stored"] == 2
    assert sorted(here.bodies("alice", "calendars", "Our trips")) == ["a.ics", "b.ics"]
    assert here.collection("alice", "calendars", "Our trips").display_name == "Our , trips"


def test_a_file_goes_into_the_collection_that_is_named(here: Here, tmp_path: Path) -> None:
    here.make("alice")
    (tmp_path / "x.ics").write_bytes(several("a", "b"))
    (tmp_path / "y.vcf").write_bytes(card("c") + card("d"))
    report = bring(here, tmp_path / "x.ics", tmp_path / "y.vcf", collection="calendar")
    assert report.counts["stored"] == 4
    assert sorted(here.bodies("alice", "calendars", "calendar")) == ["a.ics", "b.ics"]
    assert sorted(here.bodies("alice", "addressbooks", "calendar")) == ["c.vcf", "d.vcf"]


def test_the_next_export_of_a_calendar_updates_what_the_last_one_brought(here: Here, tmp_path: Path) -> None:
    file = tmp_path / "x.ics"
    file.write_bytes(several("a", "b"))
    bring(here, file)
    file.write_bytes(several("a", "b", "c").replace(b"Tea", b"Coffee", 1))
    report = bring(here, file)
    assert (report.counts["updated"], report.counts["unchanged"], report.counts["stored"]) == (1, 1, 1)


def test_a_vdir_is_a_collection_with_its_names(here: Here, tmp_path: Path) -> None:
    folder = tmp_path / "personal"
    folder.mkdir()
    for name in ("one.ics", "two words.ics", "ü.ics"):
        (folder / name).write_bytes(event(name))
    for name in (".hidden.ics", "x.ics.tmp", "notes.txt", "y.ics~"):
        (folder / name).write_bytes(event(name))
    (folder / "displayname").write_text("Persönlich\n")
    (folder / "color").write_text("#00FF00")
    assert bring(here, folder).counts["stored"] == 3
    assert sorted(here.bodies("alice", "calendars", "personal")) == ["one.ics", "two words.ics", "ü.ics"]
    assert here.collection("alice", "calendars", "personal").display_name == "Persönlich"
    assert "#00FF00" in here.properties("alice", "calendars", "personal")["{http://apple.com/ns/ical/}calendar-color"]
    assert bring(here, folder).counts["unchanged"] == 3


def test_a_folder_of_folders_is_a_collection_for_each(here: Here, tmp_path: Path) -> None:
    root = tmp_path / "all"
    for name, file, body in (
        ("work", "a.ics", event("a")),
        ("home", "b.ics", event("b")),
        ("people", "c.vcf", card("c")),
    ):
        (root / name).mkdir(parents=True)
        (root / name / file).write_bytes(body)
    (root / "Shared.ics").write_bytes(several("s", "t"))
    bring(here, root)
    assert {"work", "home", "Shared"} <= set(here.paths("alice", "calendars"))
    assert "people" in here.paths("alice", "addressbooks")


def test_a_zip_is_read_like_a_folder(here: Here, tmp_path: Path) -> None:
    path = tmp_path / "takeout.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Takeout/Calendar/Work.ics", several("a", "b"))
        archive.writestr("Takeout/Contacts/All.vcf", card("c") + card("d"))
        archive.writestr("__MACOSX/._Work.ics", b"junk")
    assert bring(here, path).counts["stored"] == 4
    assert "Work" in here.paths("alice", "calendars")
    assert "All" in here.paths("alice", "addressbooks")
    assert bring(here, path).counts["stored"] == 0


def test_links_are_not_followed(here: Here, tmp_path: Path) -> None:
    secret = tmp_path / "secret.ics"
    secret.write_bytes(event("secret"))
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "a.ics").symlink_to(secret)
    (folder / "sub").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.ics")
    (folder / "ok.ics").write_bytes(event("ok"))
    found = folder_of(folder, ImportsConfig())
    assert (list(found.files), list(found.folders)) == (["ok.ics"], [])
    file = found.files["ok.ics"]
    (folder / "ok.ics").unlink()
    (folder / "ok.ics").symlink_to(secret)
    with pytest.raises(SourceError):
        file.read(1000)


@pytest.mark.parametrize(
    "name", ["../x.ics", "/etc/x.ics", "a/../../x.ics", "a\\x.ics", "C:/x.ics", "a//x.ics", "./x.ics"]
)
def test_a_zip_whose_names_lead_out_of_it_is_not_read(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(SourceError):
        zip_of(tmp_path / "x.zip", ImportsConfig())


def test_a_zip_that_unpacks_to_too_much_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.ics", b"\0" * 3_000_000)
    with pytest.raises(SourceError, match="times its size"):
        zip_of(path, ImportsConfig(zip_ratio=100))
    with pytest.raises(SourceError, match="zip_bytes"):
        zip_of(path, ImportsConfig(zip_bytes=2_000_000, zip_ratio=2000))
    zip_of(path, ImportsConfig(zip_ratio=2000))


def test_a_zip_that_lies_about_a_size_is_read_no_further(tmp_path: Path) -> None:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.ics", b"x" * 5000)
    data = stream.getvalue().replace((5000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path = tmp_path / "liar.zip"
    path.write_bytes(data)
    file = zip_of(path, ImportsConfig()).files["a.ics"]
    with suppress(SourceError):
        assert len(file.read(100_000)) <= 10


def test_too_many_files_and_too_deep_folders_are_refused(tmp_path: Path) -> None:
    deep = tmp_path / "d" / "a" / "b" / "c"
    deep.mkdir(parents=True)
    for number in range(5):
        (deep / f"{number}.ics").write_bytes(event(str(number)))
    with pytest.raises(SourceError, match=r"imports\.files"):
        folder_of(tmp_path / "d", ImportsConfig(files=4))
    with pytest.raises(SourceError, match=r"imports\.depth"):
        folder_of(tmp_path / "d", ImportsConfig(depth=2))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for number in range(5):
            archive.writestr(f"{number}.ics", b"x")
        archive.writestr("a/b/c/d/e.ics", b"x")
    with pytest.raises(SourceError, match=r"imports\.files"):
        zip_of(tmp_path / "x.zip", ImportsConfig(files=4))
    with pytest.raises(SourceError, match=r"imports\.depth"):
        zip_of(tmp_path / "x.zip", ImportsConfig(depth=3))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"nonsense" * 100])
def test_what_is_no_zip_is_refused_with_a_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(SourceError, match="zip"):
        files.source_of([tmp_path / "x.zip"], Config(), into="alice")


def test_a_broken_member_of_a_zip_is_reported_and_the_others_come(here: Here, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("f/a.ics", event("a"))
        archive.writestr("f/b.ics", event("b"))
    data = path.read_bytes().replace(b"UID:a", b"UID:z", 1)
    path.write_bytes(data)
    report = bring(here, path)
    assert (report.counts["stored"], report.counts["left"]) == (1, 1)


def test_a_file_that_is_too_large_is_reported(here: Here, tmp_path: Path) -> None:
    here.config = replace(Config(), imports=ImportsConfig(file_bytes=1_048_576))
    (tmp_path / "big.ics").write_bytes(b"x" * 1_048_577)
    assert bring(here, tmp_path / "big.ics").counts["left"] == 1


def test_what_is_no_file_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    for path in (tmp_path / "x.txt", tmp_path / "missing.ics"):
        with pytest.raises(SourceError):
            files.source_of([path], Config(), into="alice")


def test_an_old_vcalendar_is_left_out_with_what_to_do_and_not_passed_over(here: Here, tmp_path: Path) -> None:
    (tmp_path / "phone.vcs").write_bytes(
        b"BEGIN:VCALENDAR\r\nVERSION:1.0\r\nBEGIN:VEVENT\r\nDTSTART:20050101T100000\r\nRRULE:W1 MO #0\r\n"
        b"DESCRIPTION;ENCODING=QUOTED-PRINTABLE:a long=0D=0A=\r\ntext\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    report = bring(here, tmp_path / "phone.vcs")
    (line,) = report.lines["left"]
    assert "vCalendar 1.0" in line
    assert "iCalendar (.ics)" in line


def test_icalendar_under_the_name_of_an_old_vcalendar_is_taken(here: Here, tmp_path: Path) -> None:
    (tmp_path / "outlook.vcs").write_bytes(event("a"))
    assert bring(here, tmp_path / "outlook.vcs", collection="calendar").counts["stored"] == 1
    assert list(here.bodies("alice", "calendars", "calendar")) == ["a.ics"]
