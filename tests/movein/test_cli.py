"""The commands: what an administrator types, what is printed, and with which status they end."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path

import pytest

from dav import cli
from tests.movein_wire.kit import card, event


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("DAVENPORT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "config.ini").write_text("[log]\nlevel = error\n")
    return tmp_path


def test_an_import_of_files_ends_with_0_and_one_with_things_left_out_with_3(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "good.ics").write_bytes(event("a"))
    (folder / "bad.ics").write_bytes(b"nonsense")
    assert cli.main(["import", "files", "good.ics", "--into", "alice", "--create-accounts"]) == 0
    assert "stored 1" in capsys.readouterr().out
    arguments = ["import", "files", "good.ics", "bad.ics", "--into", "alice", "--report", "r.jsonl", "--quiet"]
    assert cli.main(arguments) == 3
    out = capsys.readouterr()
    assert "bad.ics" in out.out
    assert out.err == ""
    (line,) = [json.loads(line) for line in (folder / "r.jsonl").read_text().splitlines()]
    assert (line["outcome"], line["account"]) == ("left", "alice")


def test_how_far_it_has_come_is_said_on_the_error_stream(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "good.ics").write_bytes(event("a"))
    assert cli.main(["import", "files", "good.ics", "--into", "alice", "--create-accounts"]) == 0
    assert "1 items" in capsys.readouterr().err


def test_a_dry_run_makes_no_account(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "good.ics").write_bytes(event("a"))
    assert cli.main(["import", "files", "good.ics", "--into", "alice", "--create-accounts", "--dry-run"]) == 0
    assert "Would have stored 1" in capsys.readouterr().out
    assert cli.main(["account", "show", "alice"]) == 1


@pytest.mark.parametrize("arguments", [
    ["import", "files", "missing.ics", "--into", "alice"],
    ["import", "files", "good.ics"],
    ["import", "files", "good.ics", "--into", "alice", "--report", "no/such/folder"],
    ["import", "radicale", "--from", "missing"],
    ["import", "xandikos", "missing"],
    ["export"],
    ["export", "alice"],
    ["export", "nobody", "-o", "x.zip"],
    ["export", "alice", "-o", "x.zip", "--all", "."],
    ["export", "alice", "-o", "no/such/folder.zip"],
])  # fmt: skip
def test_what_cannot_be_done_is_refused_with_a_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    (folder / "good.ics").write_bytes(event("a"))
    assert cli.main(["account", "add", "alice", "--generate"]) == 0
    capsys.readouterr()
    assert cli.main(arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith("davenport: ")
    assert "Traceback" not in err


def test_an_account_goes_out_and_comes_in_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "people.vcf").write_bytes(card("c"))
    cli.main(["import", "files", "people.vcf", "--into", "alice/contacts", "--create-accounts"])
    assert cli.main(["export", "alice", "-o", "alice.zip"]) == 0
    assert "1 objects" in capsys.readouterr().out
    assert (folder / "alice.zip").stat().st_mode & 0o077 == 0
    assert not list(folder.glob("*.partial"))
    assert cli.main(["account", "remove", "alice", "--yes"]) == 0
    assert cli.main(["import", "files", "alice.zip", "--create-accounts"]) == 0
    assert cli.main(["export", "--all", "all"]) == 0
    with zipfile.ZipFile(folder / "all" / "alice.zip") as archive:
        assert archive.read("addressbooks/contacts/c.vcf") == card("c")


def test_an_export_does_not_choose_an_account_that_is_here_already(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "people.vcf").write_bytes(card("c"))
    cli.main(["import", "files", "people.vcf", "--into", "alice/contacts", "--create-accounts"])
    assert cli.main(["export", "alice", "-o", "alice.zip"]) == 0
    capsys.readouterr()
    assert cli.main(["import", "files", "alice.zip", "--create-accounts"]) == 3
    assert "--into alice" in capsys.readouterr().out
    assert cli.main(["import", "files", "alice.zip", "--into", "alice"]) == 0


def test_an_export_can_go_to_the_standard_output(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    cli.main(["account", "add", "alice", "--generate"])
    capfdbinary.readouterr()
    assert cli.main(["export", "alice", "-o", "-"]) == 0
    sys.stdout.flush()
    out = capfdbinary.readouterr().out
    assert out.startswith(b"PK")
    (folder / "x.zip").write_bytes(out)
    with zipfile.ZipFile(folder / "x.zip") as archive:
        assert archive.testzip() is None


def test_accounts_of_a_source_can_be_chosen_and_renamed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dav.cli_import import _pair

    assert _pair("alice") == ("alice", "alice")
    assert _pair("alice=anna@example.com") == ("alice", "anna@example.com")
