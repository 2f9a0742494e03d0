"""What a worker has in memory: nothing that only a start, an administrator, or some settings need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Never in a worker that serves devices with the default settings, until a request needs it.
NOT_NEEDED = {
    "aiosmtplib": "mail out",
    "alembic": "migrations",
    "argon2": "the first password that is looked at",
    "babel": "words in mails and on pages",
    "dateutil": "imports",
    "httpx": "fetching calendars, OAuth",
    "icalendar": "nothing",
    "imapclient": "sign-in by a mail server",
    "jwt": "OAuth",
    "ldap3": "LDAP",
    "mako": "migrations",
    "passlib": "old kinds of passwords",
    "pip": "nothing",
    "psycopg": "PostgreSQL",
    "pygments": "nothing",
    "pytest": "tests",
    "pytz": "nothing",
    "radicale": "moving in",
    "setuptools": "nothing",
    "vobject": "moving in",
}
OWN_NOT_NEEDED = (
    "dav.detect",
    "dav.mail.compose",
    "dav.mail.lmtp",
    "dav.mail.paint",
    "dav.mail.sheet",
    "dav.mail.smtp",
    "dav.movein",
    "dav.scheduling.arrive",
    "dav.scheduling.deliver",
    "dav.scheduling.organizer",
    "storage.check",
    "storage.mailpresets",
    "storage.movein_db",
)


def loaded(settings: str = "Config()") -> set[str]:
    """Names of the modules after what every worker does before its first request."""
    script = (
        "import json, sys; from dataclasses import replace; from dav import serve; from dav.config import Config;"
        f" serve.preload({settings}); print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.fixture(scope="module")
def modules() -> set[str]:
    return loaded()


@pytest.mark.parametrize("name", sorted(NOT_NEEDED))
def test_a_library_that_serving_does_not_need_is_not_loaded(modules: set[str], name: str) -> None:
    assert "uvicorn" in modules
    assert name not in {module.partition(".")[0] for module in modules}


@pytest.mark.parametrize("name", OWN_NOT_NEEDED)
def test_a_part_of_ours_that_serving_does_not_need_is_not_loaded(modules: set[str], name: str) -> None:
    assert "dav.app" in modules
    assert [module for module in modules if module == name or module.startswith(f"{name}.")] == []


def test_mail_and_feeds_are_loaded_where_they_are_turned_on() -> None:
    """So that workers share them: what each loads by itself is in memory as often as there are workers."""
    config = "Config()"
    mail = f"replace({config}, smtp=replace({config}.smtp, host='mail.example'), mail=replace({config}.mail, from_address='a@x.example'))"  # noqa: E501
    assert "dav.mail.smtp" in loaded(mail)
    off = loaded(f"replace({config}, feeds=replace({config}.feeds, followed=False))")
    assert "dav.feeds.follow" not in off
