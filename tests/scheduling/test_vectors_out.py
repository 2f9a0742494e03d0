"""Changes of objects from another library's tests: the messages that they must cause (corpus/recurrence/itip.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dav.errors import DavError
from dav.scheduling import implicit
from dav.scheduling.addresses import Who, normalise
from dav.scheduling.model import SchedulingObject, read_object
from dav.scheduling.plan import Plan

from .kit import options

# Where we do something else, by the end of the vector's name: what, and why.
OTHERS = {
    # The rule in it is written so that nobody can read it: the instances that are answered are none.
    "testRecurringReply-02": "refused",
    "testRecurringAllDay-03": "refused",
    # Two UIDs in one object: that is checked before scheduling is asked (RFC 4791 §4.1).
    "testBrokenEventUIDMisMatch-29": "elsewhere",
    "testMultipleUID-35": "elsewhere",
    # An EXDATE on a day that the series does not have takes nothing away from anybody.
    "testRemoveInstance-69": [],
    # Only the text changed: it is told, as a minor change.
    "testInviteChangeExdateOrder-74": [("REQUEST", "mailto:one@example.org")],
    # DURATION changed beside a DTEND that did not: when it ends is what DTEND says. Guests came and went.
    "testInviteChangeSignificantChange-70": [
        ("CANCEL", "mailto:one@example.org"),
        ("REQUEST", "mailto:three@example.org"),
    ],
    # Out of one instance: a CANCEL of it (RFC 6638 §3.2.6), and the EXDATE is in whatever comes later.
    "testExdateTimezone-76": [("CANCEL", "mailto:one@example.org")],
    "testExdateTimezoneUTC-77": [("CANCEL", "mailto:one@example.org")],
}


def read(text: str | None) -> SchedulingObject | None:
    """One state of the object."""
    return None if text is None else read_object(text.replace("\n", "\r\n").encode())


def planned(entry: dict[str, Any]) -> Plan | None:
    """What the change asks for; None when it is refused or there is nothing at all."""
    user = normalise(entry["currentUser"])
    who = Who(1, "user", "/principals/user/", frozenset([user]), user)
    before, after = read(entry["before"]), read(entry["after"])
    try:
        if after is not None:
            return implicit.plan_put(before, after, who, options(imports=False))
        return None if before is None else implicit.plan_removal(before, who, options())
    except DavError:
        return None


def test_the_same_messages_as_another_library(shared: Path) -> None:
    entries = json.loads((shared / "corpus/recurrence/itip.json").read_text())
    changes = [entry for entry in entries if entry["kind"] == "change"]
    assert len(changes) == 60
    for entry in changes:
        name = entry["id"].rpartition("/")[2]
        plan = planned(entry)
        other = OTHERS.get(name)
        if other == "elsewhere":
            continue
        if other == "refused" or entry.get("refused"):
            assert plan is None, name
            continue
        found = () if plan is None else plan.messages
        loud = sorted((message.method, message.recipient) for message in found if not message.quiet)
        if isinstance(other, list):
            assert loud == other, name
            continue
        # significantChange false: it sends a message that its mailer drops. We send none, or a quiet one.
        wanted = [item for item in entry["messages"] or [] if item.get("significantChange") is not False]
        assert [method for method, _ in loud] == sorted(item["method"] for item in wanted), name
        named = sorted((item["method"], item["recipient"]) for item in wanted if "recipient" in item)
        assert not named or loud == named, name
