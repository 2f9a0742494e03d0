"""What the scripts shared_thunderbird.py and shared_evolution.py share: who is there, and what they write.

Environment: CLIENTS, the folder of the shared scripts; DAV_URL; DAV_USER, DAV_PASSWORD: the sharee, who uses the
program; DAV_USER2: the owner, same password; SCENE: JSON made by test_shared_clients.py, with
  team, look, times   address in the sharee's home of what may be changed, read, seen as busy times
  people              likewise of an address book that may be read
  theirs              the same four in the owner's home, by name
  feed, birthdays     calendars of the sharee that the server keeps itself
  seen                title by uid of the owner's private and confidential event; none for one that is hidden
"""

from __future__ import annotations

import json
import os
import re

import davprobe  # found by who imports this

ME, THEM = os.environ["DAV_USER"], os.environ["DAV_USER2"]
OTHER = davprobe.Probe(user=THEM, password=os.environ["DAV_PASSWORD"])
SCENE = json.loads(os.environ["SCENE"])
TEAM, THEIRS = SCENE["team"], SCENE["theirs"]
READ_ONLY = ("look", "times", "feed", "birthdays")


def etags(url: str, who: davprobe.Probe = OTHER) -> dict[str, str]:
    """Address → entity tag of the members: what is the same when nothing has changed."""
    found, _ = who.propfind(url, ["getetag"], "1")
    return {href: props["{DAV:}getetag"].text for href, props in found.items() if "{DAV:}getetag" in props}


def rewrite(url: str, uid: str, old: str, new: str) -> None:
    """The owner changes a text in an event of his."""
    href, _ = OTHER.find(url, uid)
    text = OTHER.request("GET", href)[2]
    assert old in text, text
    OTHER.put(href, text.replace(old, new))


def alarms(url: str, uid: str, who: davprobe.Probe = OTHER) -> list[str]:
    """The triggers of an event's alarms, as they are stored or shown."""
    _, text = who.find(url, uid)
    return re.findall(r"^TRIGGER[^:\r\n]*:(\S+)", text or "", re.MULTILINE)


def same(what: str, got: object, wanted: object) -> None:
    if got != wanted:
        raise davprobe.Failure(f"{what}: {got}, not {wanted}")


def take_down() -> None:
    """The owner lets the sharee only read from now on, as Apple's Calendar says it."""
    body = (
        '<CS:share xmlns:CS="http://calendarserver.org/ns/" xmlns:D="DAV:"><CS:set>'
        f"<D:href>mailto:{ME}</D:href><CS:read/></CS:set></CS:share>"
    )
    status, _, text, _ = OTHER.request("POST", THEIRS["team"], body)
    if status != 200:
        raise davprobe.Failure(f"CS:share answered {status}: {text[:300]}")
