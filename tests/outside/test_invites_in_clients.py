"""Invitations in real calendar programs: they come, are answered there, and are made there (invite_*.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from .programs import run_script
from .servers import Server


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["thunderbird", "evolution"])
def test_a_program_is_invited_answers_and_invites(name: str, server: Server, material: Path) -> None:
    guest, other = (server.account(f"{who}-{name}@example.com") for who in ("guest", "olga"))
    people = {"DAV_USER": guest.user, "DAV_USER2": other.user}
    run_script(f"invite_{name}", server, material, people, of=f"-{name}")
