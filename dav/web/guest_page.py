"""The pages of guests as HTML: every value goes through `e`, and nothing needs a script."""

from __future__ import annotations

import html
from dataclasses import dataclass
from datetime import datetime

from dav.ical.tz import Zone, named_zone
from dav.mail.links import ANSWERS
from dav.mail.texts import Texts
from dav.mail.words import (
    Clocks,
    Span,
    capital,
    offset_words,
    rule_words,
    short_day_words,
    span_words,
    time_words,
)
from dav.version import VERSION
from dav.web.invitation import COMMENT_CHARS_MAX, Date, Invitation, link_of
from dav.web.pages import template

_SUMMARY_CHARS_MAX = 300
_PLACE_CHARS_MAX = 500
_DESCRIPTION_CHARS_MAX = 4_000
_ICONS = {
    "accept": "M5 13l4.5 4.5L19 7.5",
    "maybe": "M7.6 8.6a4.4 4.4 0 1 1 6.7 3.8c-1.5 1-2.3 1.8-2.3 3.4M12 20v.01",
    "decline": "M6.5 6.5l11 11M17.5 6.5l-11 11",
}


# One place for each time that people keep; any other is taken from the address as well.
ZONES = (
    "Pacific/Honolulu", "America/Anchorage", "America/Los_Angeles", "America/Denver", "America/Phoenix",
    "America/Chicago", "America/Mexico_City", "America/New_York", "America/Bogota", "America/Lima", "America/Halifax",
    "America/Caracas", "America/Santiago", "America/St_Johns", "America/Sao_Paulo", "America/Argentina/Buenos_Aires",
    "Atlantic/Azores", "Atlantic/Reykjavik", "Europe/London", "Europe/Lisbon", "Africa/Casablanca", "Africa/Lagos",
    "Europe/Paris", "Europe/Berlin", "Europe/Madrid", "Africa/Cairo", "Africa/Johannesburg", "Europe/Athens",
    "Europe/Helsinki", "Europe/Kyiv", "Europe/Istanbul", "Europe/Moscow", "Africa/Nairobi", "Asia/Riyadh",
    "Asia/Tehran", "Asia/Dubai", "Asia/Kabul", "Asia/Karachi", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Dhaka",
    "Asia/Yangon", "Asia/Bangkok", "Asia/Jakarta", "Asia/Shanghai", "Asia/Singapore", "Asia/Manila", "Australia/Perth",
    "Asia/Tokyo", "Asia/Seoul", "Australia/Adelaide", "Australia/Brisbane", "Australia/Sydney", "Pacific/Auckland",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address and the form say. answer: a key of ANSWERS, "" for none. notice: what became of an answer."""

    path: str
    action: str
    mark: str
    answer: str = ""
    notice: str = ""
    scope: str = "all"
    date: str = ""
    comment: str = ""


def e(text: str) -> str:
    """The one escape. Text from outside without what could hide or reverse what follows it."""
    return html.escape("".join(char for char in text if char.isprintable() or char in "\n\u00a0"))


def invitation_page(found: Invitation, asked: Asked, texts: Texts, reader: Zone | None) -> bytes:
    """The page of an invitation."""
    name = _name(found)
    summary = found.text("SUMMARY", _SUMMARY_CHARS_MAX) or texts.say("(no title)")
    body = [
        '<article class="invite">',
        '<header class="head">',
        _leaf(found.dates[0].span, _zone_of(found.dates[0].span, reader, found.home_zone()), texts),
        f'<div><p class="who">{e(texts.say("{name} invites you", name=name))}</p><h1>{e(summary)}</h1></div>',
        "</header>",
        _notice(found, asked, texts, reader),
        _facts(found, asked, texts, Clocks(reader, found.home_zone())),
        _over(texts) if found.over else _answering(found, asked, texts, reader),
        "</article>",
    ]
    return _page(texts, asked.path, texts.say("Invitation: {title}", title=summary), "\n".join(body), found)


def plain_page(texts: Texts, path: str, title: str, text: str) -> bytes:
    """A page that says one thing and nothing about any invitation."""
    body = f'<article class="invite plain"><h1>{e(title)}</h1><p>{e(text)}</p></article>'
    return _page(texts, path, title, body, None)


def _page(texts: Texts, path: str, title: str, body: str, found: Invitation | None) -> bytes:
    foot = ""
    if found is not None:
        foot = f"<p>{e(texts.say('This invitation was sent to {address}.', address=found.row.recipient))}</p>"
    values = {
        "language": e(texts.locale.language), "title": e(title), "path": e(path), "version": e(VERSION), "body": body,
        "foot": foot,
    }  # fmt: skip
    return template("guest").substitute(values).encode()


def _name(found: Invitation) -> str:
    name, address = found.organizer()
    return name[:100] or address


def _zone_of(span: Span, reader: Zone | None, home: Zone | None) -> Zone | None:
    """In whose time a date is shown: that of the first line of span_words."""
    if span.start.zone is None:
        return None
    return reader or (home if span.start.kind == "utc" and home is not None else span.start.zone)


def _local(span: Span, zone: Zone | None) -> datetime:
    at = span.start
    return at.local if zone is None or at.zone is None else zone.to_local(at.zone.to_utc(at.local))


def _leaf(span: Span, zone: Zone | None, texts: Texts) -> str:
    """The leaf of a tear-off calendar: what "When" says in words, for the eye only."""
    from babel.dates import format_date

    day = _local(span, zone)
    month, weekday = (
        str(format_date(day, pattern, locale=texts.locale)).rstrip(".") for pattern in ("LLL", "ccc")
    )  # fmt: skip
    return (
        f'<div class="leaf" aria-hidden="true"><span class="month">{e(month)}</span>'
        f'<span class="day">{day.day}</span><span class="weekday">{e(weekday)}</span></div>'
    )


def _said(partstat: str, texts: Texts) -> str:
    sentences = {
        "ACCEPTED": texts.say("You accepted"),
        "TENTATIVE": texts.say("You said maybe"),
        "DECLINED": texts.say("You declined"),
    }
    return sentences.get(partstat, "")


def _notice(found: Invitation, asked: Asked, texts: Texts, reader: Zone | None) -> str:
    name = _name(found)
    if asked.notice == "done":
        day = next((date for date in found.dates if date.key == asked.date), None) if asked.scope == "one" else None
        said = _said(found.answer if day is None else day.answer, texts)
        if day is not None and said:
            said = f"{_short(day, texts, _zone_of(day.span, reader, found.home_zone()))}: {said}"
        thanks = texts.say("Thank you. {name} has your answer.", name=name)
        return f'<div class="notice done" role="status"><h2>{e(thanks)}</h2><p>{e(said)}</p></div>'
    sentences = {
        "stale": (
            texts.say("Nothing was sent"),
            texts.say("This invitation has changed since that mail. Please use the link in the newest mail."),
        ),
        "refused": (
            texts.say("Nothing was sent"),
            texts.say("Your answer could not be passed on. Please reply to the mail instead."),
        ),
        "asked": (
            texts.say("Your answer was passed on"),
            texts.say("{name} will look at it.", name=name),
        ),
        "unclear": (
            texts.say("Nothing was sent"),
            texts.say("Please choose an answer, and a date if it is for one date only."),
        ),
    }
    if asked.notice in sentences:
        head, text = sentences[asked.notice]
        kind = "done" if asked.notice == "asked" else "trouble"
        role = "status" if kind == "done" else "alert"
        return f'<div class="notice {kind}" role="{role}"><h2>{e(head)}</h2><p>{e(text)}</p></div>'
    return ""


def _when(line: str) -> str:
    """A line of span_words: the time, and below it the zone."""
    time, _, zone = line.partition(" · ")
    return f"<p>{e(time)}</p>" + (f'<p class="also">{e(zone)}</p>' if zone else "")


def _zones(found: Invitation, asked: Asked, texts: Texts, reader: Zone | None) -> str:
    """A form that shows the same page in the time of another place; it needs nothing to be known of the reader."""
    at_s = found.dates[0].start_s
    options = []
    for key in ZONES:
        zone = named_zone(key)
        if zone is None:
            continue
        city = texts.locale.time_zones.get(key, {}).get("city") or key.rpartition("/")[2].replace("_", " ")
        local = zone.to_local(at_s)
        selected = " selected" if reader is not None and zone.key == reader.key else ""
        options.append((local, f'<option value="{key}"{selected}>{e(city)} ({e(offset_words(zone, at_s))})</option>'))
    options.sort(key=lambda option: option[0])
    answer = f'<input type="hidden" name="answer" value="{asked.answer}">' if asked.answer in ANSWERS else ""
    return (
        f'<details class="zones"><summary>{e(texts.say("Other time zone"))}</summary>'
        f'<form method="get" action="{e(asked.action.partition("?")[0])}">{answer}'
        f'<label class="unseen" for="zone">{e(texts.say("Other time zone"))}</label>'
        f'<select id="zone" name="zone">{"".join(option for _, option in options)}</select>'
        f'<button type="submit">{e(texts.say("Show"))}</button></form></details>'
    )


def _facts(found: Invitation, asked: Asked, texts: Texts, clocks: Clocks) -> str:
    rows: list[tuple[str, str]] = []
    date = found.dates[0]
    when = "".join(_when(line) for line in span_words(date.span, texts, clocks))
    if date.span.start.zone is not None and not found.over:
        when += _zones(found, asked, texts, clocks.reader)
    rows.append((texts.say("Next date") if found.series else texts.say("When"), when))
    rule = found.rule()
    words = rule_words(rule[0], rule[1], texts) if rule is not None else None
    if words:
        rows.append((texts.say("Repeats"), f"<p>{e(capital(words))}</p>"))
    elif found.series:
        rows.append((texts.say("Repeats"), f"<p>{e(texts.say('On several dates'))}</p>"))
    place = found.text("LOCATION", _PLACE_CHARS_MAX)
    if place:
        rows.append((texts.say("Where"), f"<p>{e(place)}</p>"))
    link = link_of(found.shown)
    if link:
        anchor = f'<a href="{e(link)}" rel="noopener noreferrer nofollow">{e(_shortened(link))}</a>'
        rows.append((texts.say("Link"), f"<p>{anchor}</p>"))
    name, address = found.organizer()
    who = f'<a href="mailto:{e(address)}">{e(address)}</a>'
    rows.append((texts.say("From"), f"<p>{e(name[:100])} {who}</p>" if name else f"<p>{who}</p>"))
    parts = [f"<div><dt>{e(label)}</dt><dd>{value}</dd></div>" for label, value in rows]
    description = found.text("DESCRIPTION", _DESCRIPTION_CHARS_MAX)
    if description:
        parts.append(f'<div class="long"><dt>{e(texts.say("Details"))}</dt><dd>{e(description)}</dd></div>')
    return f'<dl class="facts">{"".join(parts)}</dl>'


def _shortened(link: str) -> str:
    text = link.partition("://")[2]
    return text if len(text) <= 60 else text[:59] + "…"


def _over(texts: Texts) -> str:
    return f'<p class="over">{e(texts.say("This is over, so it cannot be answered any more."))}</p>'


def _answering(found: Invitation, asked: Asked, texts: Texts, reader: Zone | None) -> str:
    form = _form(found, asked, texts, reader)
    if asked.notice in ("done", "asked"):
        change = e(texts.say("Change my answer"))
        return f'<details class="change"><summary>{change}</summary>{form}</details>'
    return form


def _form(found: Invitation, asked: Asked, texts: Texts, reader: Zone | None) -> str:
    labels = answer_labels(texts)
    so_far = {"ACCEPTED": "accept", "TENTATIVE": "maybe", "DECLINED": "decline"}.get(found.answer, "")
    if asked.answer and not asked.notice:
        head = texts.say("You chose “{answer}” in the mail", answer=labels[asked.answer])
        hint = texts.say("Please confirm it here: nothing was sent yet.")
    elif so_far:
        head = _said(found.answer, texts)
        hint = texts.say("You can change that here at any time before.")
    else:
        head, hint = texts.say("Will you be there?"), ""
    chosen = asked.answer or so_far
    parts = [
        f'<form class="answer" method="post" action="{e(asked.action)}" accept-charset="utf-8">',
        f'<input type="hidden" name="form" value="{e(asked.mark)}">',
        f"<h2>{e(head)}</h2>",
        f'<p class="hint">{e(hint)}</p>' if hint else "",
        _scope(found, asked, texts, reader) if found.series else "",
        '<div class="note"><label for="comment">',
        e(texts.say("Note to {name} (optional)", name=_name(found))),
        f'</label><textarea id="comment" name="comment" rows="2" maxlength="{COMMENT_CHARS_MAX}">',
        f"{e(asked.comment)}</textarea></div>",
        '<div class="buttons">',
        *(_button(name, labels[name], name == chosen) for name in ANSWERS),
        "</div></form>",
    ]
    return "".join(parts)


def answer_labels(texts: Texts) -> dict[str, str]:
    """What the three buttons say, by the names of ANSWERS."""
    return {"accept": texts.say("Accept"), "maybe": texts.say("Maybe"), "decline": texts.say("Decline")}


def _button(name: str, label: str, chosen: bool) -> str:
    icon = (
        '<svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" fill="none" stroke="currentColor" '
        f'stroke-width="2.2" stroke-linecap="round" stroke-linejoin="round"><path d="{_ICONS[name]}"/></svg>'
    )
    kind = f"{name} chosen" if chosen else name
    return f'<button class="{kind}" type="submit" name="answer" value="{name}">{icon}<span>{e(label)}</span></button>'


def _scope(found: Invitation, asked: Asked, texts: Texts, reader: Zone | None) -> str:
    one = asked.scope == "one"
    given = {
        "ACCEPTED": texts.say("accepted"), "TENTATIVE": texts.say("perhaps"), "DECLINED": texts.say("declined")
    }  # fmt: skip
    options = []
    for date in found.dates:
        zone = _zone_of(date.span, reader, found.home_zone())
        answer = given.get(date.answer, "")
        text = _short(date, texts, zone) + (f" · {answer}" if answer else "")
        selected = " selected" if date.key == asked.date else ""
        options.append(f'<option value="{e(date.key)}"{selected}>{e(text)}</option>')
    return (
        f'<fieldset class="scope"><legend>{e(texts.say("For which dates?"))}</legend>'
        f'<label class="choice"><input type="radio" name="scope" value="all"{"" if one else " checked"}>'
        f"<span>{e(texts.say('All of them'))}</span></label>"
        f'<label class="choice"><input type="radio" name="scope" value="one"{" checked" if one else ""}>'
        f"<span>{e(texts.say('Only one'))}</span></label>"
        f'<div class="date"><label for="date">{e(texts.say("Date"))}</label>'
        f'<select id="date" name="date">{"".join(options)}</select></div></fieldset>'
    )


def _short(date: Date, texts: Texts, zone: Zone | None) -> str:
    """ "Tue, Dec 1, 2026, 10:00 AM", for one line of a list."""
    from babel.dates import format_skeleton

    at = _local(date.span, zone if zone is not None else date.span.start.zone)
    weekday = str(format_skeleton("E", at, locale=texts.locale))
    day = f"{weekday} {short_day_words(at.date(), texts)}"
    return day if date.span.all_day else f"{day}, {time_words(at, texts)}"
