"""The pages of published calendars and address books, in Chromium: wide, narrow, dark, by keyboard."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import missing, need_program
from .servers import ROOT, Server, clean_environment
from .wire import calendar, card, component, propertyupdate

_COLOUR = re.compile(r"rgba?\((\d+), (\d+), (\d+)")


def told_by_command(server: Server, *arguments: str) -> list[str]:
    """What a command of ours prints, in lines."""
    run = subprocess.run(
        server.command(*arguments), capture_output=True, text=True, cwd=ROOT, env=clean_environment(), timeout=60,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout.splitlines()


def address(server: Server, *arguments: str) -> str:
    """The address that a new feed has, as a path below the server."""
    lines = told_by_command(server, "feed", "publish", *arguments)
    return server.base + next(line for line in lines if "/feeds/" in line).lstrip("/")


def days_ahead(days: int) -> str:
    return time.strftime("%Y%m%d", time.gmtime(time.time() + days * 86_400))


def fill(server: Server, name: str) -> str:
    """A calendar as people have it; the path of its home."""
    alice = server.account(name)
    home = f"{alice.home()}calendar/"
    alice.request(
        "PROPPATCH", home,
        propertyupdate(
            "<D:displayname>Choir of the old town</D:displayname>"
            '<A:calendar-color xmlns:A="http://apple.com/ns/ical/">#E91E63FF</A:calendar-color>'
            "<C:calendar-description>Rehearsals, concerts and the summer trip. Doors open half an hour before."
            "</C:calendar-description>"
        ),
    )  # fmt: skip
    events = [
        ("rehearsal", f"DTSTART;TZID=Europe/Berlin:{days_ahead(1)}T193000", "DURATION:PT2H", "RRULE:FREQ=WEEKLY",
         "SUMMARY:Rehearsal", "LOCATION:Kollwitzstraße 83\\, 10435 Berlin",
         "DESCRIPTION:Bring the blue folder.\\nWe begin with the new piece."),
        ("concert", f"DTSTART;TZID=Europe/Berlin:{days_ahead(9)}T180000", "DURATION:PT3H",
         "SUMMARY:Concert with the " + "very " * 12 + "long name of somebody who wants to be known"),
        ("trip", f"DTSTART;VALUE=DATE:{days_ahead(12)}", f"DTEND;VALUE=DATE:{days_ahead(15)}", "SUMMARY:Trip"),
        ("off", f"DTSTART:{days_ahead(4)}T080000Z", "DURATION:PT1H", "SUMMARY:Breakfast", "STATUS:CANCELLED"),
        ("today", f"DTSTART;VALUE=DATE:{days_ahead(0)}", "SUMMARY:Notes are due"),
        ("secret", f"DTSTART:{days_ahead(2)}T080000Z", "DURATION:PT1H", "SUMMARY:Surgery", "CLASS:PRIVATE"),
    ]  # fmt: skip
    for uid, *lines in events:
        assert alice.put(f"{home}{uid}.ics", calendar(*component("VEVENT", uid, *lines))).status == 201
    book = alice.home().replace("/calendars/", "/addressbooks/") + "contacts/"
    for number, name_of in enumerate(("Zoë Ångström", "Ann Able", "Bob Baker")):
        lines_of = (
            f"FN:{name_of}",
            f"N:{name_of.split()[1]};;;;",
            "ORG:Acme;Sales",
            "TEL:+49 30 123456",
            "EMAIL:x@y.example",
        )
        assert alice.put(f"{book}{number}.vcf", card(f"c{number}", *lines_of), "text/vcard").status == 201
    return home


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    found = _COLOUR.match(colour)
    assert found is not None, colour
    parts = [int(value) / 255 for value in found.groups()]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.timeout(240)
def test_the_pages_can_be_read_by_everybody_and_tell_nothing_to_others(server: Server, tmp_path: Path) -> None:
    chromium = need_program("chromium", "Debian's chromium")
    python = os.environ.get("BROWSER_PYTHON") or sys.executable
    if subprocess.run([python, "-c", "import playwright"], capture_output=True, check=False).returncode:
        missing("Playwright is not installed (BROWSER_PYTHON)")
    name = "published-page@example.com"
    fill(server, name)
    asked = {
        "calendar": address(server, f"{name}/choir of the old town").removesuffix(".ics"),
        "busy": address(server, f"{name}/calendar", "--busy").removesuffix(".ics"),
        "contacts": address(server, f"{name}/contacts").removesuffix(".vcf"),
        "dead": f"{server.base}feeds/{'x' * 32}", "chromium": chromium,
        "folder": os.environ.get("DAVENPORT_SCREENSHOTS") or str(tmp_path),
    }  # fmt: skip
    script = Path(__file__).with_name("browse_published.py")
    run = subprocess.run(
        [python, str(script)], input=json.dumps(asked), capture_output=True, text=True, timeout=200, check=False,
        env=clean_environment(),
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    told: dict[str, Any] = json.loads(run.stdout)
    assert told["elsewhere"] == [text for text in told["complaints"] if "404" not in text] == []
    for width, tongue in (("desktop", "en"), ("phone", "de")):
        seen = told[width]
        assert seen["cookies"] == []
        assert seen["lang"] == tongue
        for page in ("calendar", "busy", "contacts", "dark"):
            assert seen[page]["overflow"] <= 0, (width, page)
            assert min(seen[page]["heights"]) >= 24, (width, page)  # WCAG 2.2, target size
            for ink, ground, words in seen[page]["colours"]:
                assert contrast(ink, ground) >= 4.5, (width, page, words)
        assert seen["calendar"]["title"] == "Choir of the old town"
        text = seen["calendar"]["text"]
        for shown in ("Rehearsal", "Trip", "Breakfast", "Notes are due", "Kollwitzstraße 83, 10435 Berlin"):
            assert shown in text
        assert "Surgery" not in text
        busy = seen["busy"]["text"]
        assert not [word for word in ("Rehearsal", "Choir", "Trip", "Kollwitz", "Surgery") if word in busy]
        assert "Zoë Ångström" in seen["contacts"]["text"]
        # By keyboard: the first thing that is reached is to follow the calendar, and each one is seen.
        assert seen["met"][0]["href"].startswith("webcal://")
        assert all(stop["seen"] for stop in seen["met"] if stop["tag"] != "BODY")
        assert "blue folder" in seen["details"]
        assert "UTC+9" in seen["zone"]
        assert "UTC+9" in seen["still"]
        assert re.search(r"\d{4}", seen["turned"])
        assert seen["dead"] == 404
    assert "Subscribe" in told["desktop"]["calendar"]["text"]
    assert "Abonnieren" in told["phone"]["calendar"]["text"]
