"""`davenport subscription …`, against a web server of this machine."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dav import cli
from tests.feeds.feedtext import calendar, club, event
from tests.feeds.web import Reply, Web, answer, ok, running


class Site:
    """A web server in a thread. body: what it gives out; status: with which status."""

    def __init__(self) -> None:
        self.body, self.status = club(12), 200
        self.web: Web | None = None
        self._loop = asyncio.new_event_loop()
        self._ready, self._done = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        self._ready.wait(10)

    async def _run(self) -> None:
        async with running(self._reply) as self.web:
            self._ready.set()
            await self._done.wait()

    def _reply(self, path: str, fields: dict[str, str]) -> Reply:
        return ok(self.body) if self.status == 200 else answer(self.status, b"")

    @property
    def host(self) -> str:
        assert self.web is not None
        return f"127.0.0.1:{self.web.port}"

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("DAVENPORT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "config.ini").write_text("[log]\nlevel = error\n[feeds]\nfollowed_private_networks = yes\n")
    assert cli.main(["account", "add", "alice", "--generate"]) == 0
    capsys.readouterr()
    return tmp_path


def run(*words: str) -> int:
    return cli.main(["subscription", *words])


def test_following_shows_what_came_and_later_what_changed(
    here: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("add", "alice", f"http://{site.host}/all.ics", "--name", "The Club", "--interval", "6h") == 0
    said = capsys.readouterr().out
    assert "12 events and tasks: 12 new.\n" in said
    assert "follows it as the-club." in said
    site.body = club(13)
    assert run("refresh", "alice", "the club") == 0
    assert "13 events and tasks: 1 new.\n" in capsys.readouterr().out
    assert run("refresh", "alice", "the-club") == 0
    assert "nothing has changed" in capsys.readouterr().out
    assert run("show", "alice", "the-club") == 0
    shown = capsys.readouterr().out
    assert "every 6 hours, as its owner says" in shown
    assert f"http://{site.host}/all.ics" in shown
    assert run("remove", "alice", "the-club") == 0
    capsys.readouterr()
    assert run("list") == 0
    assert capsys.readouterr().out == ""
    assert run("show", "alice", "the-club") == 1


def test_without_a_name_it_has_the_calendar_s_own(here: Path, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.body = calendar(event("a"), head=("X-WR-CALNAME:Müllabfuhr",))
    assert run("add", "alice", f"http://{site.host}/") == 0
    capsys.readouterr()
    assert run("list", "alice") == 0
    fields = capsys.readouterr().out.rstrip("\n").split("\t")
    assert fields[:3] == ["alice", "mullabfuhr", "Müllabfuhr"]
    assert fields[-1] == "well"


def test_what_cannot_be_fetched_is_not_followed_unless_that_is_wanted(
    here: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.status = 404
    url = f"http://{site.host}/all.ics"
    assert run("add", "alice", url) == 1
    assert "nothing at this address (404)" in capsys.readouterr().err
    assert run("list") == 0
    assert capsys.readouterr().out == ""
    assert run("add", "alice", url, "--name", "Later", "--anyway") == 1
    capsys.readouterr()
    assert run("list") == 0
    assert "404" in capsys.readouterr().out
    site.status = 200
    assert run("refresh", "alice", "later") == 0
    assert "12 new" in capsys.readouterr().out


def test_an_address_with_a_password_is_read_from_the_input_and_never_shown(
    here: Path, site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"http://me:geheim@{site.host}/all.ics\n"))
    assert run("add", "alice", "-", "--name", "Club") == 0
    assert site.web is not None
    assert "authorization" in site.web.asked[0][1]
    assert run("list") == run("show", "alice", "club") == 0
    site.status = 401
    assert run("refresh", "alice", "club") == 1
    assert run("show", "alice", "club") == 0
    said = capsys.readouterr()
    assert "geheim" not in said.out + said.err
    assert "(401)" in said.out


def test_notes_say_what_was_left_out(here: Path, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.body = calendar(event("a"), event("b", "RRULE:FREQ=NEVER\x1b[2J"))
    assert run("add", "alice", f"http://{site.host}/", "--name", "x", "--strip", "nothing") == 0
    assert "1 could not be kept" in capsys.readouterr().out
    assert run("show", "alice", "x") == 0
    said = capsys.readouterr().out
    assert "VEVENT b" in said
    assert "\x1b" not in said


def test_a_shrinking_calendar_is_held_once(here: Path, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("add", "alice", f"http://{site.host}/", "--name", "x") == 0
    site.body = club(1)
    assert run("refresh", "alice", "x") == 1
    assert "believed" in capsys.readouterr().out
    assert run("refresh", "alice", "x") == 0
    assert "11 removed" in capsys.readouterr().out


@pytest.mark.parametrize("url", ["ftp://x.example/", "nonsense", "http://"])
def test_what_is_no_address_is_refused(here: Path, capsys: pytest.CaptureFixture[str], url: str) -> None:
    assert run("add", "alice", url) == 1
    assert "needed" in capsys.readouterr().err


def test_private_networks_are_refused_by_default(here: Path, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "config.ini").write_text("[log]\nlevel = error\n")
    assert run("add", "alice", f"http://{site.host}/all.ics") == 1
    assert "public Internet" in capsys.readouterr().err
    assert site.web is not None
    assert site.web.asked == []


@pytest.mark.parametrize("words", [("--interval", "soon"), ("--strip", "events"), ("--interval", "0h")])
def test_a_wish_that_makes_no_sense_is_misuse(here: Path, words: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("add", "alice", "https://x.example/", *words)
    assert ended.value.code == 2
