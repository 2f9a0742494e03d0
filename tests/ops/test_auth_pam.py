"""The system's accounts: names, and what is never asked. With a real PAM: tests/outside/test_directory.py."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dav import config as settings
from dav.auth import pam
from dav.auth.backend import Credentials, Refusal
from dav.auth.pam import Pam
from dav.config import AuthPamConfig, ConfigError


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A service of which there is a file, though not where PAM looks: nothing here gets as far as PAM."""
    (tmp_path / "davenport-test").write_text("auth required pam_deny.so\n")
    monkeypatch.setattr(pam, "_SERVICES", (tmp_path,))
    return "davenport-test"


@pytest.mark.parametrize(
    ("login", "user"),
    [
        ("alice", "alice"),
        ("alice@Example.org", "alice"),
        ("alice@elsewhere.example", None),
        ("a@b@example.org", "a@b"),
        ("../alice", None),
        ("a\nb", None),
        ("@example.org", None),
    ],
)
def test_only_logins_of_the_domain_are_asked_about(service: str, login: str, user: str | None) -> None:
    assert Pam(AuthPamConfig(service=service, domain="example.org"))._user(login) == user


def test_without_a_domain_logins_go_as_they_are(service: str) -> None:
    assert Pam(AuthPamConfig(service=service))._user("alice@example.org") == "alice@example.org"


@pytest.mark.parametrize("password", ["", "a\0b", "x" * 512, "ü" * 256])
def test_a_password_that_pam_cannot_carry_is_refused_unasked(service: str, password: str) -> None:
    assert asyncio.run(Pam(AuthPamConfig(service=service)).check(Credentials("alice", password))) is Refusal.WRONG


def test_accounts_of_other_domains_are_left_to_others(service: str) -> None:
    back_end = Pam(AuthPamConfig(service=service, domain="example.org"))
    assert asyncio.run(back_end.check(Credentials("alice@example.com", "secret"))) is Refusal.NOT_MINE
    assert asyncio.run(back_end.lookup("alice@example.com")) is Refusal.NOT_MINE


def test_root_is_nobody_to_be_looked_up(service: str) -> None:
    back_end = Pam(AuthPamConfig(service=service))
    assert asyncio.run(back_end.lookup("root")) is Refusal.WRONG
    assert asyncio.run(back_end.lookup("no-such-user-here")) is None


def test_a_service_without_a_file_is_said_at_the_start() -> None:
    # Without one PAM would use "other", which on many systems lets every account in.
    with pytest.raises(ConfigError, match=r"/etc/pam\.d/davenport-none"):
        Pam(AuthPamConfig(service="davenport-none"))


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".."])
def test_a_service_is_one_file_name(name: str) -> None:
    with pytest.raises(ConfigError, match=r"auth_pam\.service"):
        settings.load(None, {"DAVENPORT_AUTH_PAM_SERVICE": name})
