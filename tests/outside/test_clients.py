"""Real clients, headless, each with its own account and nothing but the server's root address (clients/*)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import missing
from .scripts import client_script
from .servers import PASSWORD, Server, clean_environment

# caldav-server-tester, which asks about scheduling, is given three people in test_suites.
CLIENTS = (
    "curl",
    "cadaver",
    "davfs2",
    "vdirsyncer",
    "khal",
    "khard",
    "todoman",
    "calcurse",
    "syncevolution",
    "python_caldav",
    "tsdav",
    "ts-caldav",
    "nextcloud-cdav",
    "evolution",
    "thunderbird",
)
# davfs2 encodes the "%" of an address once more: it never finds a path that holds "%40".
PLAIN_NAMES = {"davfs2"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", CLIENTS)
def test_a_real_client_works_from_the_root_address_alone(
    name: str, server: Server, material: Path, tmp_path: Path
) -> None:
    folder = material / "clients"
    user = server.account(name if name in PLAIN_NAMES else f"{name}@example.com")
    # A short name: python_caldav.py looks for PARTSTAT=ACCEPTED in text that its library has folded at 75 octets.
    second = server.account(f"g{CLIENTS.index(name)}@example.com")
    python = os.environ.get("CALDAV_PYTHON", sys.executable)
    commands = {".sh": ["bash"], ".py": [python], ".mjs": [os.environ.get("NODE", "node")]}
    script = client_script(folder, name, tmp_path)
    run = subprocess.run(
        [*commands[script.suffix], str(script)],
        cwd=tmp_path,
        env=clean_environment()
        | {
            "DAV_URL": server.base,
            "DAV_USER": user.user,
            "DAV_PASSWORD": PASSWORD,
            "DAV_USER2": second.user,
            "DAV_PASSWORD2": PASSWORD,
            "PYTHON": python,
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": "/tmp",  # davfs2 and D-Bus want short paths that other users may enter
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
        # What the server saw of it: some failures do not come again when somebody looks.
        quoted = user.user.replace("@", "%40")
        asked = [line for line in server.log_text().splitlines() if user.user in line or quoted in line]
        told += "\n".join(["", *asked[-60:]])
    assert run.returncode == 0, told
    assert "PASS" in run.stdout, told
