"""Recorded sessions of iOS, macOS, DAVx5 and feed readers, played against the server (replays/*.yaml)."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from dav import cli

from .servers import PASSWORD, Server, clean_environment

FILES = (
    "apple-ios-setup",
    "apple-ios-refresh",
    "macos-calendar",
    "macos-reminders",
    "ios-contacts",
    "davx5-discovery",
    "davx5-caldav-sync",
    "davx5-carddav-sync",
    "webcal-subscribe",
)
# Steps that ask for features that are not there yet: (file, step) → why. A step that passes does not belong here.
LATER: dict[tuple[str, str], str] = {
    ("davx5-discovery", "list-calendars"): "push: no transports and topic",
}
# Steps that a client leaves out because of what is there or not; whatever else is left out was not looked at.
LEFT_OUT = {
    ("macos-calendar", "no-sharing-no-modes"): "sharing is there",
    ("apple-ios-setup", "apns-subscription"): "push: no transports",
    ("apple-ios-setup", "apns-subscription-by-get"): "push: no transports",
}


def davenport(server: Server, *words: str) -> None:
    """The command, in this process."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = cli.main(["--config", str(server.config), *words])
    assert status == 0, f"{words}: {out.getvalue()}"


@pytest.mark.parametrize("name", FILES)
def test_a_recorded_session_gets_every_answer_it_needs(
    name: str, either: Server, material: Path, tmp_path: Path
) -> None:
    user = either.account(f"{name}@example.com")
    second = either.account(f"{name}-2@example.com")
    # Somebody for whom to act, and a group to belong to: clients look at their principals as well.
    davenport(either, "delegate", "add", second.user, user.user)
    davenport(either, "account", "add", f"{name}-team@example.com", "--kind", "group")
    davenport(either, "group", "add", f"{name}-team@example.com", user.user)
    result = tmp_path / "result.json"
    run = subprocess.run(
        [sys.executable, str(material / "replays" / "replay.py"), "--json", str(result), f"{name}.yaml"],
        cwd=material / "replays",
        env=clean_environment()
        | {
            "DAV_URL": either.base,
            "DAV_USER": user.user,
            "DAV_PASSWORD": PASSWORD,
            "DAV_EMAIL": user.user,
            "DAV_USER2": second.user,
            "DAV_PASSWORD2": PASSWORD,
            "DAV_EMAIL2": second.user,
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.exists(), run.stdout + run.stderr
    (steps,) = json.loads(result.read_text()).values()
    assert sum(step["outcome"] == "PASS" for step in steps) > 5, run.stdout
    bad = {step["id"] for step in steps if step["outcome"] not in ("PASS", "SKIP") or step["should"] == "WARN"}
    later = {step for file, step in LATER if file == name}
    told = "\n".join(f"{s['id']}: {s['outcome']} {s['should']} {s['message']}" for s in steps if s["id"] in bad - later)
    assert not bad - later, told
    left = {(name, step["id"]) for step in steps if step["outcome"] == "SKIP"}
    assert left == {step for step in LEFT_OUT if step[0] == name}, f"left out: {left}"
    assert not later - bad, f"pass now, take them out of LATER: {later - bad}"
