"""The mail to somebody elsewhere with whom a calendar or an address book is shared: where it can be read.

It stands in the ledger like an invitation, as a row of the method METHOD whose calendar is a small JSON object: url (of
the feed), page (of the same for people, or ""), area, mode.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dav.mail.sheet import Sheet
    from dav.mail.texts import Texts
    from storage.records import Outgoing

METHOD = "FEED"
# What the uid of such a row begins with; the share's key follows.
UID = "davenport-share-"
_TITLE_CHARS_MAX = 200


def sheet_of(item: Outgoing, texts: Texts, sender: str) -> Sheet:
    """What the mail says. sender: the name of who shares. Raises ValueError for a row that is not as it should be."""
    from dav.mail.sheet import Row, Sheet, one_line

    note = json.loads(item.calendar)
    if not isinstance(note, dict) or not all(
        isinstance(note.get(name), str) for name in ("url", "page", "area", "mode")
    ):
        raise ValueError("the note is not complete")
    title = one_line(item.summary, _TITLE_CHARS_MAX) or texts.say("(no title)")
    calendar = note["area"] == "calendars"
    if calendar:
        headline = texts.say("{name} shares a calendar with you.", name=sender)
        hint = texts.say("A calendar program shows it when you subscribe to this address. You cannot change it.")
    else:
        headline = texts.say("{name} shares an address book with you.", name=sender)
        hint = texts.say("A contacts program can read this address. You cannot change what is in it.")
    rows = [Row(texts.say("Address"), (note["url"],), link=note["url"])]
    if note["page"]:
        rows.append(Row(texts.say("In a browser"), (note["page"],), link=note["page"]))
    only = texts.say("It shows when {name} is busy, and nothing else.", name=sender) if note["mode"] == "busy" else ""
    foot = texts.say("Whoever has this address can read it: please keep it to yourself.")
    return Sheet(
        mood="invite", subject=texts.say("Shared with you: {title}", title=title), headline=headline, title=title,
        rows=tuple(rows), note=only, hint=hint, foot=(foot,),
    )  # fmt: skip
