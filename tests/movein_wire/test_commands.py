"""davenport import sabre, nextcloud, davical and url: what is typed, and what comes of it."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dav import cli
from dav.movein import client as client_module
from tests.movein_wire.kit import There
from tests.movein_wire.server import FakeServer
from tests.movein_wire.test_nextcloud import cloud
from tests.movein_wire.test_sabre import baikal


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with settings, from where commands are typed."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("DAVENPORT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "config.ini").write_text("[log]\nlevel = error\n")
    mask = os.umask(0o022)
    yield tmp_path
    os.umask(mask)


def type_in(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


@pytest.fixture
def there(folder: Path) -> There:
    return baikal(f"sqlite:///{folder}/there.sqlite")


def test_a_database_is_brought_over_and_the_report_says_how_much(
    folder: Path, there: There, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["import", "sabre", there.url, "--create-accounts", "--quiet"]) == 0
    assert "stored 3" in capsys.readouterr().out
    assert cli.main(["import", "sabre", there.url, "--quiet"]) == 0
    assert "stored 0, updated 0; 3 unchanged" in capsys.readouterr().out


def test_the_database_s_address_can_be_piped_in(
    folder: Path, there: There, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, f"{there.url}\n")
    assert cli.main(["import", "sabre", "-", "--create-accounts", "--quiet"]) == 0
    assert "stored 3" in capsys.readouterr().out


def test_something_left_out_is_status_3_and_a_line_in_the_report_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = cloud(f"sqlite:///{folder}/cloud.sqlite", prefix="nc_")
    arguments = ["import", "nextcloud", there.url, "--prefix", "nc_", "--create-accounts", "--quiet"]
    assert cli.main([*arguments, "--report", "report.jsonl"]) == 3
    assert "contact_birthdays" in capsys.readouterr().out
    lines = [json.loads(line) for line in (folder / "report.jsonl").read_text().splitlines()]
    assert {line["outcome"] for line in lines} == {"stored", "left"}


def test_only_the_accounts_that_are_named_come_over(
    folder: Path, there: There, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["import", "sabre", there.url, "--create-accounts", "--account", "alice=al", "--quiet"]) in (0, 3)
    capsys.readouterr()
    assert cli.main(["account", "list"]) == 0
    listed = capsys.readouterr().out
    assert "al" in listed.split()
    assert "bob" not in listed.split()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sabre", "sqlite:////nowhere/db.sqlite"], "there is no file"),
        (["davical", "sqlite:////nowhere/db.sqlite"], "there is no file"),
        (["sabre", "oracle://u:secret@x/y"], "opened"),
        (["url", "http://there.example/", "--user", "a", "--password-stdin", "--into", "b"], "not https"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence_and_status_1(
    words: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, "secret\n")
    assert cli.main(["import", *words]) == 1
    written = capsys.readouterr()
    assert said in written.err
    assert "secret" not in written.err + written.out


def test_a_database_of_another_server_is_refused(
    folder: Path, there: There, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["import", "nextcloud", there.url]) == 1
    assert "--prefix" in capsys.readouterr().err


@pytest.mark.parametrize("rate", ["-1", "x", "1e9", "nan"])
def test_a_rate_that_is_none_is_refused(rate: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["import", "url", "https://x.example/", "--user", "a", "--into", "b", f"--rate={rate}"])
    assert ended.value.code == 2
    assert "from 0 to 1000" in capsys.readouterr().err


def test_an_account_over_the_wire_goes_into_the_account_that_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import httpx

    from tests.movein_wire.kit import event

    server = FakeServer()
    server.calendar("work").put("a.ics", event("a"))

    class Scripted(client_module.Client):
        def __init__(self, *values: object, **named: object) -> None:
            super().__init__(*values, **named, transport=httpx.MockTransport(server))  # type: ignore[arg-type]

    monkeypatch.setattr(client_module, "Client", Scripted)
    type_in(monkeypatch, "tea\n")
    assert cli.main(
        ["import", "url", "https://x.example/", "--user", "alice", "--password-stdin", "--into", "al", "--rate", "0",
         "--create-accounts", "--quiet"]
    ) == 0  # fmt: skip
    written = capsys.readouterr()
    assert "stored 1" in written.out
