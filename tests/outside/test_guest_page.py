"""The page on which guests answer, in Chromium, without JavaScript, at two widths and by keyboard."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dav import config as settings
from dav.mail import links
from dav.scheduling.model import partstat_of, read_object
from storage import outbound
from storage.engine import open_store, transaction

from .conftest import need_program
from .servers import Server, clean_environment, free_port

GUEST = "bob@gmail.example"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that knows its address, and whose mail server is away."""
    running = Server(tmp_path_factory.mktemp("guest"))
    text = running.config.read_text("utf-8").replace(
        "[server]\n", f"[server]\npublic_url = {running.base.rstrip('/')}\n"
    )
    text += f"[smtp]\nhost = 127.0.0.1\nport = {free_port()}\ntls = none\n[mail]\nfrom_address = invites@example.org\n"
    running.config.write_text(text, "utf-8")
    yield running.start()
    running.stop()


def meeting(uid: str, *more: str) -> str:
    lines = (
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//x//EN", "BEGIN:VEVENT", f"UID:{uid}", "SEQUENCE:0",
        time.strftime("DTSTAMP:%Y%m%dT%H%M%SZ", time.gmtime()), "DTSTART;TZID=Europe/Berlin:20350614T150000",
        "DTEND;TZID=Europe/Berlin:20350614T163000", "SUMMARY:Tea in the garden with everybody from the office",
        "LOCATION:Kollwitzstraße 83\\, 10435 Berlin", *more, "ORGANIZER;CN=Alice Liddell:mailto:guest-page@example.com",
        f"ATTENDEE;RSVP=TRUE;PARTSTAT=NEEDS-ACTION:mailto:{GUEST}", "END:VEVENT", "END:VCALENDAR", "",
    )  # fmt: skip
    return "\r\n".join(lines)


def link(server: Server, uid: str) -> str:
    """The address in the mail about a meeting, which now counts as sent."""
    config = settings.load(str(server.config), {})
    store = open_store(config.database.url, blob_dir=Path(config.database.files))
    try:
        with transaction(store, write=True) as conn:
            (row,) = outbound.list_outgoing(conn, uid=uid, limit=5)
            outbound.sent(conn, row.id, message_id=f"<{uid}@x>", answer="250 ok", now_s=int(time.time()))
            found = links.links_for(row, config, links.secret_of(conn))
    finally:
        store.close()
    assert found is not None
    return found.accept.partition("?")[0]


@pytest.mark.timeout(180)
def test_a_guest_answers_in_a_browser_with_and_without_a_pointer(server: Server, tmp_path: Path) -> None:
    chromium = need_program("chromium", "Debian's chromium")
    python = os.environ.get("BROWSER_PYTHON") or sys.executable
    if subprocess.run([python, "-c", "import playwright"], capture_output=True, check=False).returncode:
        from .conftest import missing

        missing("Playwright is not installed (BROWSER_PYTHON)")
    alice = server.account("guest-page@example.com")
    calendar = f"{alice.home()}calendar/"
    for uid, more in (("single", ("URL:https://meet.example/x",)), ("series", ("RRULE:FREQ=WEEKLY;COUNT=20",))):
        assert alice.put(f"{calendar}{uid}.ics", meeting(uid, *more)).status == 201
    asked = {name: link(server, name) for name in ("single", "series")}
    asked |= {"dead": f"{server.base}invite/nonsense", "chromium": chromium, "folder": str(tmp_path)}
    script = Path(__file__).with_name("browse_guest.py")
    run = subprocess.run(
        [python, str(script)], input=json.dumps(asked), capture_output=True, text=True, timeout=150, check=False,
        env=clean_environment(),
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    told: dict[str, Any] = json.loads(run.stdout)

    # Nothing from elsewhere, nothing that the policy had to forbid; and the form is of the page's own origin.
    # The one complaint is that the dead link is 404.
    assert told["elsewhere"] == [text for text in told["complaints"] if "404" not in text] == []
    assert set(told["posts"]) == {"same-origin"}
    for width in ("desktop", "phone"):
        seen = told[width]
        assert seen["cookies"] == []
        for page in ("series", "declined_page", "single", "dead"):
            assert seen[page]["overflow"] <= 0, (width, page)
        assert min(seen["series"]["heights"]) >= 24  # WCAG 2.2, target size
        # By keyboard alone: in the order of the page, each place seen and named.
        order = [(stop["tag"], stop["name"]) for stop in seen["met"]]
        assert [stop for stop in order if stop[1]][:5] == [
            ("INPUT", "scope"), ("INPUT", "scope"), ("SELECT", "date"), ("TEXTAREA", "comment"), ("BUTTON", "answer"),
        ]  # fmt: skip
        assert all(stop["seen"] and stop["label"] for stop in seen["met"]), seen["met"]
        assert (seen["date_hidden"], seen["date_shown"]) == (True, True)
        assert "Thank you. Alice Liddell has your answer." in seen["declined"]
        assert "You declined" in seen["declined"]
        assert seen["again"] == seen["declined"]
        assert seen["kept"] == seen["date"]
        assert "You accepted" in seen["accepted"]
        assert seen["proposed"].strip() == "Maybe"
        assert "Tokyo" in seen["zone"]
        assert "Berlin" in seen["zone"]
        assert seen["dead"]["title"] == "This link does not work"
    series = read_object(alice.get(f"{calendar}series.ics").body)
    given = {key: partstat_of(line) for key, line in series.all_attendees()[f"mailto:{GUEST}"]}
    assert given == {"": "ACCEPTED", told["phone"]["date"]: "ACCEPTED"}
    single = read_object(alice.get(f"{calendar}single.ics").body)
    assert [partstat_of(line) for _, line in single.all_attendees()[f"mailto:{GUEST}"]] == ["NEEDS-ACTION"]
