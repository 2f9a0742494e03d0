"""Real calendar programs with calendars that are somebody else's, or that the server keeps itself (shared_*.py).

One calendar is shared by Apple's question and answer, the others by the command line. What may be changed is changed
from both sides, each has alarms of his own, private and confidential events look as the settings say; and what can only
be read (shared for reading, as busy times, a followed feed, birthdays, an address book) is shown as such, and cannot be
written.
"""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dav import cli
from tests.feeds.feedtext import calendar as feed_calendar
from tests.feeds.feedtext import event as feed_event

from .programs import run_script
from .servers import Server
from .wire import CS, VCF, XMLNS, D, Dav, card, event, items

ALARM = ("BEGIN:VALARM", "ACTION:DISPLAY", "DESCRIPTION:Go", "TRIGGER:-PT15M", "END:VALARM")
# Program → (settings of [sharing], what is seen of the owner's private and confidential event).
PROGRAMS = {
    "thunderbird": ({"private": "hidden", "confidential": "busy"}, {"confidential": "Busy"}),
    "evolution": (
        {"private": "busy", "confidential": "full"},
        {"private": "Busy", "confidential": "Doctor"},
    ),
}


class Feed(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = feed_calendar(feed_event("evening@club", "SUMMARY:Evening", start="20300601T190000Z"))
        self.send_response(200)
        self.send_header("Content-Type", "text/calendar")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def feed() -> Iterator[str]:
    """Address of somebody's calendar."""
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Feed)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/club.ics"
    running.shutdown()
    running.server_close()
    thread.join(10)


@pytest.fixture
def server(name: str, tmp_path: Path) -> Iterator[Server]:
    """A server with the settings that this program is tried with."""
    settings = {"sharing": PROGRAMS[name][0], "feeds": {"followed_private_networks": "yes"}}
    running = Server(tmp_path / "server", settings=settings).start()
    yield running
    running.stop()


def davenport(server: Server, *words: str) -> None:
    """The command, in this process."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = cli.main(["--config", str(server.config), *words])
    assert status == 0, f"{words}: {out.getvalue()}"


def at(day: int, *lines: str) -> tuple[str, ...]:
    return (f"DTSTART:203006{day:02}T100000Z", f"DTEND:203006{day:02}T110000Z", *lines)


def share_and_accept(owner: Dav, sharee: Dav, source: str) -> str:
    """Apple's way: invitation, notice, answer. Returns the address in the sharee's home."""
    xml = {"Content-Type": "text/xml"}
    said = owner.request(
        "POST", source,
        f"<S:share {XMLNS}><S:set><D:href>mailto:{sharee.user}</D:href><S:read-write/></S:set></S:share>", xml,
    )  # fmt: skip
    assert said.status == 200, str(said)
    (principal,) = items(sharee.propfind(sharee.principal(), "<S:notification-URL/>")).values()
    place = str(principal.props[CS + "notification-URL"].findtext(D + "href"))
    (notice,) = [href for href in items(sharee.propfind(place, "<S:notificationtype/>", "1")) if href != place]
    key = sharee.get(notice).root().findtext(f".//{CS}uid")
    said = sharee.request(
        "POST", sharee.home(),
        f"<S:invite-reply {XMLNS}><D:href>mailto:{sharee.user}</D:href><S:invite-accepted/>"
        f"<S:hosturl><D:href>{source}</D:href></S:hosturl><S:in-reply-to>{key}</S:in-reply-to></S:invite-reply>", xml,
    )  # fmt: skip
    assert said.status == 200, str(said)
    return str(said.root().findtext(D + "href"))


def set_scene(server: Server, owner: Dav, sharee: Dav, feed: str) -> dict[str, object]:
    """Makes and shares everything. Addresses are whole: SCENE of shared_scene.py but for "seen"."""
    home, base = owner.home(), server.base.rstrip("/")
    theirs = {name: owner.make_calendar(f"{home}{name}/") for name in ("team", "look", "times")}
    owner.put(f"{theirs['team']}meeting.ics", event("meeting", *at(1, "SUMMARY:Owner's meeting", *ALARM)))
    owner.put(f"{theirs['team']}old.ics", event("old", *at(2, "SUMMARY:Owner's old one")))
    owner.put(f"{theirs['team']}private.ics", event("private", *at(3, "SUMMARY:Secret", "CLASS:PRIVATE", *ALARM)))
    owner.put(f"{theirs['team']}conf.ics", event("confidential", *at(4, "SUMMARY:Doctor", "CLASS:CONFIDENTIAL")))
    owner.put(f"{theirs['look']}read.ics", event("read", *at(5, "SUMMARY:To be read", *ALARM)))
    owner.put(f"{theirs['times']}times.ics", event("times", *at(6, "SUMMARY:Where I am", "LOCATION:There")))
    mine = {"team": share_and_accept(owner, sharee, theirs["team"])}
    for name, level in (("look", "read"), ("times", "busy")):
        davenport(server, "share", "add", f"{owner.user}/{name}", sharee.user, "--access", level)
    theirs["people"] = owner.make_book(f"{owner.home('addressbook')}people/")
    assert owner.put(f"{theirs['people']}bert.vcf", card("bert", "FN:Bert", "N:;Bert;;;"), VCF).status == 201
    davenport(server, "share", "add", f"addressbooks/{owner.user}/people", sharee.user, "--access", "read")
    mine["people"] = f"{sharee.home('addressbook')}people/"
    davenport(server, "subscription", "add", sharee.user, feed, "--name", "Club")
    book = sharee.make_book(f"{sharee.home('addressbook')}friends/")
    assert sharee.put(f"{book}ada.vcf", card("ada", "FN:Ada", "N:;Ada;;;", "BDAY:1990-12-10"), VCF).status == 201
    davenport(server, "birthdays", "on", sharee.user)
    listed = items(sharee.propfind(sharee.home(), "<D:displayname/><D:resourcetype/>", "1"))
    calendars = {
        href: item.text(D + "displayname")
        for href, item in listed.items()
        if item.props[D + "resourcetype"].find("{urn:ietf:params:xml:ns:caldav}calendar") is not None
    }
    for href, title in calendars.items():
        name = {"Club": "feed", "Birthdays": "birthdays"}.get(title, href.rstrip("/").rpartition("/")[2])
        mine.setdefault(name, href)
    return {name: base + href for name, href in mine.items()} | {
        "theirs": {name: base + href for name, href in theirs.items()}
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_works_with_what_others_share_and_sees_what_it_may_only_read(
    name: str, server: Server, material: Path, feed: str
) -> None:
    owner, sharee = (server.account(f"{who}@example.com") for who in ("olga", "sam"))
    scene = set_scene(server, owner, sharee, feed) | {"seen": PROGRAMS[name][1]}
    environment = {"DAV_USER": sharee.user, "DAV_USER2": owner.user, "SCENE": json.dumps(scene)}
    run_script(f"shared_{name}", server, material, environment)
