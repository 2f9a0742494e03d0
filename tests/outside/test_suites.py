"""What other projects ask of a server: the tests of python-caldav and vdirsyncer, and caldav-server-tester."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from .conftest import missing
from .servers import PASSWORD, Server, clean_environment

# Tests that fail here: part of their name → why that is no fault.
CALDAV_MAY_FAIL = {
    "testPrincipals": "lists everybody by a principal-property-search without the property-search of RFC 3744 §9.4",
    "test_principals": "the same",
    "testScheduleTagStableOnPartstateUpdate": "a guest's own PUT; RFC 6638 §3.2.10 gives every HTTP change a new tag",
    "test_schedule_tag_stable_on_partstate_update": "the same",
}
# The suite makes errors of warnings, also of its library's own about the names of its methods: what is told after those
# is what concerns a server.
CALDAV_WARNINGS = {"PYTEST_ADDOPTS": "-W ignore::DeprecationWarning"}
# What caldav-server-tester does not find "full" here, and why that is no fault.
TESTER_MAY_LACK = {
    "create-calendar.auto": "a PUT into a calendar that is not there makes none (RFC 4918 §9.7.1: 409)",
    "principal-search.list-all": "everybody's list is asked for without a property-search, as in python-caldav's tests",
    "scheduling.schedule-tag.stable-partstat": "a guest's own PUT, as in python-caldav's tests",
    "search.text.comp-type-optional": "a text in a component of any kind: RFC 4791 §9.7 names each component",
    "url.encode-at.identity": "wants to store a second object at another spelling of the same address",
    "well-known": "not asked on a loopback address",
}
VDIRSYNCER_MAY_FAIL = {
    "test_metadata": "wants a new calendar without a colour; ours have one, or each client would choose its own",
}


def run(
    runner: Path, tmp_path: Path, *arguments: str, more: Mapping[str, str] = {}
) -> tuple[dict[str, int], list[str], str]:
    """Runs a suite; returns its counts, the lines of its failed tests, and all that it printed. more: environment."""
    failures = tmp_path / "failures"
    done = subprocess.run(
        [sys.executable, str(runner), *arguments, "--failures", str(failures)],
        env=clean_environment() | more,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    told = done.stdout + done.stderr
    found = re.findall(r"^[\w-]+: passed (\d+) failed (\d+) skipped (\d+) of (\d+)$", told, re.MULTILINE)
    assert found, told
    counts = dict(zip(("passed", "failed", "skipped", "total"), map(int, found[-1]), strict=True))
    return counts, [line for line in failures.read_text().splitlines() if line and not line.startswith("SKIP ")], told


def unexpected(failed: list[str], allowed: dict[str, str]) -> list[str]:
    return [line for line in failed if not any(re.search(rf"::{name}\b", line) for name in allowed)]


def place(variable: str, what: str) -> Path:
    found = Path(os.environ.get(variable) or "/nonexistent")
    if not found.is_dir():
        missing(f"{variable} names no folder with {what}; .ci/install-clients makes one")
    return found


@pytest.mark.timeout(600)
def test_the_functional_tests_of_python_caldav_pass(server: Server, material: Path, tmp_path: Path) -> None:
    suite = place("CALDAV_SUITE", "python-caldav's source and environment")
    one, two, three = (server.account(f"caldav-suite-{number}@example.com") for number in (1, 2, 3))
    counts, failed, told = run(
        material / "conformance" / "run-caldav-functional",
        tmp_path,
        server.base,
        one.user,
        PASSWORD,
        "--work",
        str(suite),
        "--user2",
        f"{two.user}:{PASSWORD}",
        "--user3",
        f"{three.user}:{PASSWORD}",
        more=CALDAV_WARNINGS,
    )
    assert not unexpected(failed, CALDAV_MAY_FAIL), told + "\n".join(failed)
    assert counts["passed"] >= 142, told


@pytest.mark.timeout(300)
def test_caldav_server_tester_finds_all_features_with_three_people(
    server: Server, material: Path, tmp_path: Path
) -> None:
    tester = Path(os.environ.get("TESTER") or "/nonexistent")
    if not tester.is_file():
        missing("TESTER names no caldav-server-tester; .ci/install-clients installs it")
    one, two, three = (server.account(f"tester-{number}@example.com") for number in (1, 2, 3))
    more = ("--user2", f"{two.user}:{PASSWORD}", "--user3", f"{three.user}:{PASSWORD}")
    arguments = (server.base, one.user, PASSWORD, "--venv", str(tester.parent.parent), *more)
    counts, lacking, told = run(material / "conformance" / "run-server-tester", tmp_path, *arguments)
    strange = [line for line in lacking if line.partition(":")[0].split()[-1] not in TESTER_MAY_LACK]
    assert not strange, told + "\n".join(lacking)
    assert counts["passed"] >= 102, told


@pytest.mark.timeout(400)
def test_the_storage_tests_of_vdirsyncer_pass(server: Server, material: Path, tmp_path: Path) -> None:
    suite = place("VDIRSYNCER_SUITE", "vdirsyncer's source and environment")
    (source,) = suite.glob("vdirsyncer-*/")
    user = server.account("vdirsyncer-suite@example.com")
    arguments = (server.base, user.user, PASSWORD, "--suite", str(source), "--venv", str(suite / "venv"))
    counts, failed, told = run(material / "conformance" / "run-vdirsyncer", tmp_path, *arguments)
    assert not unexpected(failed, VDIRSYNCER_MAY_FAIL), told + "\n".join(failed)
    assert counts["passed"] >= 96, told
