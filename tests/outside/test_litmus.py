"""litmus and webdav-tck: whole WebDAV classes 1, 2 and 3 on the files home, and good manners on a calendar home."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import need_program
from .servers import PASSWORD, Server, clean_environment
from .wire import Dav

# Tests of webdav-tck and litmus that cannot pass on a server that follows the RFCs: name → why.
LITMUS_MAY_FAIL: dict[str, str] = {}
TCK_MAY_FAIL: dict[str, str] = {}


def suite(runner: Path, tmp_path: Path, *arguments: str) -> tuple[dict[str, int], list[str], str]:
    """Runs one of the suites; returns its counts, the names of failed tests, and all that it printed."""
    failures = tmp_path / "failures"
    log = tmp_path / "log"
    run = subprocess.run(
        [sys.executable, str(runner), *arguments, "--failures", str(failures), "--log", str(log)],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )
    told = run.stdout + run.stderr
    found = re.findall(r"^[\w-]+: passed (\d+) failed (\d+) skipped (\d+) of (\d+)", told, re.MULTILINE)
    assert found, told
    counts = dict(zip(("passed", "failed", "skipped", "total"), map(int, found[-1]), strict=True))
    failed = [line for line in failures.read_text().splitlines() if line.strip()] if failures.exists() else []
    return counts, failed, told


def unexpected(failed: list[str], allowed: dict[str, str]) -> list[str]:
    return [line for line in failed if not any(name in line for name in allowed)]


def test_litmus_passes_on_the_files_home(either: Server, material: Path, tmp_path: Path) -> None:
    need_program("litmus", "Debian: litmus")
    user = either.account("litmus-files@example.com")
    place = f"{either.base.rstrip('/')}{user.files()}"
    counts, failed, told = suite(material / "conformance" / "run-litmus", tmp_path, place, user.user, PASSWORD)
    assert not unexpected(failed, LITMUS_MAY_FAIL), told + "\n".join(failed)
    assert counts["passed"] >= counts["total"] - len(LITMUS_MAY_FAIL) - counts["skipped"], told
    assert counts["skipped"] == 0, told


def test_webdav_tck_passes_on_the_files_home(server: Server, material: Path, tmp_path: Path) -> None:
    tck = os.environ.get("DAV_TCK", "dav-tck")
    need_program(tck, "PyPI: webdav-tck")
    user = server.account("tck-files@example.com")
    place = f"{server.base.rstrip('/')}{user.files()}"
    counts, failed, told = suite(
        material / "conformance" / "run-tck", tmp_path, place, user.user, PASSWORD, "--tck", tck
    )
    assert not unexpected(failed, TCK_MAY_FAIL), told + "\n".join(failed)
    assert counts["passed"] + len(failed) + counts["skipped"] == counts["total"], told
    assert counts["skipped"] == 0, told


def test_litmus_on_a_calendar_home_is_answered_without_a_server_error(
    server: Server, material: Path, tmp_path: Path
) -> None:
    """A calendar home may refuse files and plain folders (RFC 4791 §4.2), but must do so in words of the RFCs."""
    need_program("litmus", "Debian: litmus")
    user = server.account("litmus-calendars@example.com")
    before = listing(user)
    place = f"{server.base.rstrip('/')}{user.home()}"
    counts, failed, told = suite(
        material / "conformance" / "run-litmus",
        tmp_path,
        place,
        user.user,
        PASSWORD,
        "--tests",
        "basic copymove props locks",
    )
    assert counts["total"] > 90, told
    assert not [line for line in failed if re.search(r"\b5\d\d\b", line) or "timed out" in line], failed
    left = {href for href in listing(user) if "/litmus/" not in href}
    assert left == before, "the run changed collections that were not its own"


def listing(user: Dav) -> set[str]:
    answer = user.propfind(user.home(), "<D:resourcetype/>", depth="1")
    return set(re.findall(r"<[a-zA-Z]*:?href>([^<]*)<", answer.text))


def test_the_large_file_suite_passes_on_the_files_home(
    server: Server, material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bodies shrunk from 2 GiB to 8 MiB; test_memory.py watches the memory during a larger one."""
    tck = os.environ.get("DAV_TCK", "dav-tck")
    need_program(tck, "PyPI: webdav-tck")
    monkeypatch.setenv("WEBDAV_TCK_TEST_MODE", "1")
    user = server.account("tck-large@example.com")
    place = f"{server.base.rstrip('/')}{user.files()}"
    arguments = (place, user.user, PASSWORD, "--tck", tck, "--suites", "largefile")
    counts, failed, told = suite(material / "conformance" / "run-tck", tmp_path, *arguments)
    assert not failed, told
    assert counts["passed"] == counts["total"] > 0, told
