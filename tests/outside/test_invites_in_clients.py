"""Invitations in real calendar programs: they come, are answered there, and are made there (invite_*.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import missing
from .servers import PASSWORD, Server, clean_environment

SCRIPTS = Path(__file__).parent


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["thunderbird", "evolution"])
def test_a_program_is_invited_answers_and_invites(name: str, server: Server, material: Path) -> None:
    guest, other = (server.account(f"{who}-{name}@example.com") for who in ("guest", "olga"))
    run = subprocess.run(
        [sys.executable, str(SCRIPTS / f"invite_{name}.py")],
        env=clean_environment()
        | {
            "CLIENTS": str(material / "clients"),
            "DAV_URL": server.base,
            "DAV_USER": guest.user,
            "DAV_USER2": other.user,
            "DAV_PASSWORD": PASSWORD,
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": "/tmp",  # D-Bus wants short paths
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=280,
        check=False,
    )
    told = run.stdout[-6000:] + run.stderr[-6000:]
    if run.returncode == 77:
        missing(told.strip().splitlines()[-1])
    if run.returncode != 0:
        asked = [line for line in server.log_text().splitlines() if f"-{name}" in line]
        told += "\n".join(["", *asked[-60:]])
    assert run.returncode == 0, told
    assert f"PASS {name}" in run.stdout, told
