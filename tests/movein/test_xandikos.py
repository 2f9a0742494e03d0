"""Folders of Xandikos, made by git as Xandikos makes them; by Xandikos itself in tests/outside."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from dav.movein import xandikos
from dav.movein.kernel import Options
from dav.movein.report import Report
from dav.movein.source import SourceError
from storage import proxies
from storage.engine import transaction
from tests.movein_wire.kit import Here, card, event

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
MOST = 10_000_000


def git(folder: Path, *arguments: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    who = ("-c", "user.name=x", "-c", "user.email=x@x.example", "-c", "init.defaultBranch=master")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, env=environment, capture_output=True, text=True,
                          check=True)  # fmt: skip
    return done.stdout


def repository(folder: Path, items: Mapping[str, bytes], *, said: str = "", bare: bool = False, **config: str) -> None:
    """said: the file .xandikos; config: in the section of git's own settings, "_" for "-"."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    for name, body in items.items():
        (folder / name).write_bytes(body)
    if said:
        (folder / ".xandikos").write_text(said)
    if items or said:
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", "x")
    if bare:
        inner = folder / ".git"
        for name in items:
            (folder / name).unlink()
        (folder / ".xandikos").unlink(missing_ok=True)
        for path in inner.iterdir():
            path.rename(folder / path.name)
        inner.rmdir()
        (folder / "index").unlink(missing_ok=True)
        git(folder, "config", "core.bare", "true")
    for key, value in config.items():
        git(folder, "config", f"xandikos.{key.replace('_', '-')}", value)


def bring(here: Here, folder: Path, *, into: str = "", options: Options | None = None) -> Report:
    return here.bring(xandikos.source_of(folder, account=into, most=MOST), options)


@pytest.mark.parametrize("bare", [False, True])
def test_names_and_bytes_come_over_and_the_entity_tags_are_the_blobs(here: Here, tmp_path: Path, bare: bool) -> None:
    there = tmp_path / "alice" / "calendars" / "work"
    repository(there, {"a.ics": event("a"), "ü b.ics": event("b")}, bare=bare, type="calendar")
    report = bring(here, tmp_path)
    assert (report.counts["stored"], report.counts["left"]) == (2, 0), report.text()
    found = here.bodies("alice", "calendars", "work")
    assert {name: body for name, (_, body) in found.items()} == {"a.ics": event("a"), "ü b.ics": event("b")}
    (tmp_path / "a").write_bytes(event("a"))
    assert found["a.ics"][0] == git(there, "hash-object", str(tmp_path / "a")).strip()
    assert bring(here, tmp_path).counts["unchanged"] == 2


def test_what_is_in_the_index_counts_and_not_what_lies_in_the_folder(here: Here, tmp_path: Path) -> None:
    there = tmp_path / "alice" / "calendars" / "work"
    repository(there, {"a.ics": event("a")})
    (there / "a.ics").write_bytes(event("a", "Edited"))
    (there / "untracked.ics").write_bytes(event("u"))
    bring(here, tmp_path)
    assert {name: body for name, (_, body) in here.bodies("alice", "calendars", "work").items()} == {
        "a.ics": event("a")
    }


def test_what_a_collection_says_of_itself_comes_along(here: Here, tmp_path: Path) -> None:
    said = (
        "[DEFAULT]\ntype = calendar\ndisplayname = Work 100%%\ncolor = #112233\ndescription = All\n"
        "timezone-id = Europe/Berlin\n[calendar]\norder = 3\nsupported-components = VEVENT,VTODO\n"
    )
    repository(tmp_path / "alice/calendars/one", {"a.ics": event("a")}, said=said)
    repository(
        tmp_path / "alice/calendars/two", {"b.ics": event("b")}, type="calendar", displayname="Two", color="#445566",
        calendar_order="4",
    )  # fmt: skip
    (tmp_path / "alice/calendars/two/.git/description").write_text("Said there\n")
    repository(tmp_path / "alice/contacts/people", {"c.vcf": card("c")}, type="addressbook", displayname="People")
    assert bring(here, tmp_path).complete
    one, two = (here.collection("alice", "calendars", name) for name in ("one", "two"))
    assert (one.display_name, one.description, one.components, one.time_zone_id) == (
        "Work 100%", "All", ("VEVENT", "VTODO"), "Europe/Berlin",
    )  # fmt: skip
    assert (two.display_name, two.description) == ("Two", "Said there")
    assert "#445566" in here.properties("alice", "calendars", "two")["{http://apple.com/ns/ical/}calendar-color"]
    assert here.collection("alice", "addressbooks", "people").display_name == "People"


def test_principals_are_accounts_with_their_addresses_and_delegates(here: Here, tmp_path: Path) -> None:
    for name in ("alice", "bob"):
        repository(tmp_path / name / "calendars" / "calendar", {}, type="calendar")
    (tmp_path / "alice" / ".xandikos").write_text(
        "[scheduling]\naddresses = mailto:alice@example.com, urn:x\ndefault-calendar-url = /alice/calendars/calendar/\n"
    )
    (tmp_path / "bob" / ".xandikos").write_text("[principal]\ncalendar-proxy-write-for = /alice/\n")
    assert bring(here, tmp_path).complete
    alice = here.account("alice")
    assert alice.addresses == ("alice@example.com",)
    with transaction(here.store) as conn:
        assert [(one.name, writes) for one, writes in proxies.delegates_of(conn, alice.id)] == [("bob", True)]


def test_one_principal_goes_into_the_account_that_is_named(here: Here, tmp_path: Path) -> None:
    repository(tmp_path / "calendars" / "calendar", {"a.ics": event("a")})
    bring(here, tmp_path, into="anna")
    assert list(here.bodies("anna", "calendars", "calendar")) == ["a.ics"]


def test_a_collection_that_does_not_say_what_it_is_is_what_it_holds(here: Here, tmp_path: Path) -> None:
    repository(tmp_path / "alice/calendars/x", {"a.ics": event("a")})
    repository(tmp_path / "alice/contacts/y", {"c.vcf": card("c")})
    bring(here, tmp_path)
    assert "x" in here.paths("alice", "calendars")
    assert "y" in here.paths("alice", "addressbooks")


def test_what_has_no_place_here_is_reported(here: Here, tmp_path: Path) -> None:
    repository(tmp_path / "alice/inbox", {"m.ics": event("m")}, type="schedule-inbox")
    repository(tmp_path / "alice/calendars/x", {"a.ics": event("a"), "readme.txt": b"hi"}, type="calendar")
    repository(tmp_path / "alice/elsewhere/x", {"b.ics": event("b")}, type="calendar")
    report = bring(here, tmp_path)
    assert report.counts["left"] == 3
    for word in ("schedule-inbox", "readme.txt", "its name"):
        assert word in report.text()


def test_a_subscription_keeps_its_address(here: Here, tmp_path: Path) -> None:
    repository(tmp_path / "alice/calendars/feed", {}, type="subscription", source="https://x.example/h.ics")
    assert bring(here, tmp_path).complete
    assert here.collection("alice", "calendars", "feed").kind == "subscribed"


def test_a_repository_cannot_make_git_run_anything(here: Here, tmp_path: Path) -> None:
    there = tmp_path / "alice" / "calendars" / "work"
    repository(there, {"a.ics": event("a")}, type="calendar")
    evil = tmp_path / "evil"
    for key in ("core.fsmonitor", "core.sshCommand", "core.pager", "diff.external", "core.editor", "filter.x.smudge",
                "alias.ls-files", "core.alternateRefsCommand"):  # fmt: skip
        git(there, "config", key, f"touch {evil}")
    (there / ".git" / "hooks").mkdir(exist_ok=True)
    (there / ".gitattributes").write_text("* filter=x\n")
    bring(here, tmp_path)
    assert list(here.bodies("alice", "calendars", "work")) == ["a.ics"]
    assert not evil.exists()


@pytest.mark.parametrize("old_git", [False, True])
def test_what_a_repository_lacks_is_not_fetched_by_a_program_that_it_names(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old_git: bool
) -> None:
    there = tmp_path / "alice" / "calendars" / "work"
    repository(there, {"a.ics": event("a"), "b.ics": event("b")}, type="calendar")
    (blob,) = (line.split()[1] for line in git(there, "ls-files", "-s").splitlines() if line.endswith("a.ics"))
    (there / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    evil = tmp_path / "evil"
    for key, value in {
        "core.repositoryformatversion": "1", "extensions.partialClone": "origin", "remote.origin.promisor": "true",
        "remote.origin.url": str(there), "remote.origin.uploadpack": f"touch {evil}; git-upload-pack",
        "protocol.file.allow": "always",
    }.items():  # fmt: skip
        git(there, "config", key, value)
    if old_git:  # before 2.45 it does not know that it is not to fetch
        environment = {name: value for name, value in xandikos._environment().items() if "LAZY" not in name}
        monkeypatch.setattr(xandikos, "_environment", lambda: environment)
    report = bring(here, tmp_path)
    assert not evil.exists()
    assert report.counts["left"] == 1
    assert list(here.bodies("alice", "calendars", "work")) == ["b.ics"]


def test_an_object_that_is_too_large_is_reported_and_the_next_one_comes(here: Here, tmp_path: Path) -> None:
    big = event("a", "x" * 3000)
    repository(tmp_path / "alice/calendars/work", {"a.ics": big, "b.ics": event("b")})
    report = here.bring(xandikos.source_of(tmp_path, most=1000))
    assert (report.counts["stored"], report.counts["left"]) == (1, 1)


def test_a_broken_repository_is_reported_and_the_next_one_comes(here: Here, tmp_path: Path) -> None:
    broken = tmp_path / "alice" / "calendars" / "broken"
    repository(broken, {"a.ics": event("a")})
    (broken / ".git" / "index").write_bytes(b"nonsense")
    repository(tmp_path / "alice/calendars/work", {"b.ics": event("b")})
    report = bring(here, tmp_path)
    assert report.counts["left"] == 1
    assert list(here.bodies("alice", "calendars", "work")) == ["b.ics"]


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        xandikos.source_of(tmp_path / "missing", most=MOST)
