"""A sheet as plain text and as HTML.

The HTML has no tables, no pictures and no scripts, and all of its style is inline: Gmail drops the rest on phones, and
Outlook for Windows, which knows little, then still shows one clean column. What stands in the style element is for
programs that know dark mode. Every word that comes from a calendar goes through `escape`.
"""

from __future__ import annotations

import re
import textwrap
from html import escape
from typing import NamedTuple

from dav.mail.sheet import Row, Sheet

_WEB = re.compile(r"https?://[^\s<>\"'`{}|\\^]{3,2000}")
_TEXT_COLUMNS = 76


class _Mood(NamedTuple):
    """Colours: of the band, and of words on the page and on its dark twin."""

    band: str
    soft: str
    dark: str


_MOODS = {
    "invite": _Mood("#1f5c4d", "#e4efeb", "#8fd0bb"),
    "update": _Mood("#8a5a00", "#fff3d6", "#e9bd5d"),
    "cancel": _Mood("#a3341f", "#fbe9e5", "#f0957f"),
    "yes": _Mood("#2c6b2f", "#e6f2e6", "#8fd08f"),
    "maybe": _Mood("#8a5a00", "#fff3d6", "#e9bd5d"),
    "no": _Mood("#a3341f", "#fbe9e5", "#f0957f"),
    "other": _Mood("#35557a", "#e6edf5", "#9cc1ea"),
}
_INK, _SOFT, _PAPER, _CARD, _LINE = "#23211d", "#5c564c", "#f6f3ec", "#ffffff", "#e3dccf"
_FONT = "-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"


# ---- text ----


def text_of(sheet: Sheet) -> str:
    """The mail as plain text, \\n between lines."""
    out = [sheet.headline, "", sheet.title, ""]
    if sheet.note:
        out += [sheet.note, ""]
    if sheet.changes:
        out.append(f"{sheet.labels['changes']}:")
        for row in sheet.changes:
            out += _text_row(row, was=sheet.labels["was"], mark="* ")
        out.append("")
    for row in sheet.rows:
        out += _text_row(row, was="", mark="")
    out.append("")
    if sheet.details:
        out += [*(sheet.details.split("\n")), ""]
    if sheet.links is not None:
        if sheet.ask:
            out += [sheet.ask, ""]
        addresses = (sheet.links.accept, sheet.links.tentative, sheet.links.decline)
        for word, address in zip(sheet.answers, addresses, strict=True):
            out += [f"{word}:", f"  {address}"]
        out.append("")
    if sheet.hint:
        out += [sheet.hint, ""]
    out += ["-- ", *sheet.foot]
    return "\n".join(out) + "\n"


def _text_row(row: Row, *, was: str, mark: str) -> list[str]:
    head = f"{mark}{row.label}: " if row.label else mark
    lines = [*row.lines, *row.soft]
    if row.link and row.link not in lines:
        lines = [*lines[:-1], row.link] if len(lines) == 1 else [*lines, row.link]
    out = []
    for number, line in enumerate(lines):
        first = head if number == 0 else " " * len(head)
        # Addresses stay whole: a wrapped one cannot be opened.
        out += textwrap.wrap(
            line, _TEXT_COLUMNS, initial_indent=first, subsequent_indent=" " * len(head), break_long_words=False,
            break_on_hyphens=False,
        ) or [first]  # fmt: skip
    out += [f"{' ' * len(head)}({was}: {line})" for line in row.old]
    return out


# ---- HTML ----


def html_of(sheet: Sheet, *, language: str, preview: str) -> str:
    """The mail as one HTML page. preview: what mail programs show beside the subject."""
    mood = _MOODS[sheet.mood]
    body = [
        _block(_headline(sheet, mood), "padding:18px 22px 0"),
        _block(_title(sheet), "padding:2px 22px 0"),
    ]
    if sheet.note:
        body.append(_block(_paragraphs(sheet.note), "padding:10px 22px 0"))
    if sheet.changes:
        body.append(_changes(sheet, mood))
    body.append(_block("".join(_row(row, mood) for row in sheet.rows), "padding:6px 22px 0"))
    if sheet.links is not None:
        body.append(_buttons(sheet, mood))
    if sheet.hint:
        body.append(_block(escape(sheet.hint), f"padding:6px 22px 0;font-size:14px;color:{_SOFT}", "dp-soft"))
    if sheet.details:
        body.append(_details(sheet, mood))
    foot = "".join(f'<div style="padding:2px 0">{escape(line)}</div>' for line in sheet.foot)
    return (
        f'<!DOCTYPE html>\n<html lang="{escape(language)}"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark">\n'
        '<meta name="format-detection" content="telephone=no,date=no,address=no">\n'
        f"<title>{escape(sheet.subject)}</title>\n<style>{_style(mood)}</style></head>\n"
        f'<body class="dp-page" style="margin:0;padding:0;background:{_PAPER};color:{_INK};'
        f'font-family:{_FONT};font-size:16px;line-height:1.45;-webkit-text-size-adjust:100%">\n'
        # Read by programs for the list of mails; then blanks, or they would go on with the headline.
        f'<div style="display:none;max-height:0;overflow:hidden;font-size:1px;line-height:1px;color:{_PAPER}">'
        f"{escape(preview)}{'&#8199;&#65279;' * 40}</div>\n"
        '<div style="max-width:600px;margin:0 auto;padding:16px 10px 24px">\n'
        f'<div class="dp-card" style="background:{_CARD};border:1px solid {_LINE};border-top:6px solid {mood.band};'
        'border-radius:10px;padding:0 0 22px">\n' + "\n".join(body) + "\n</div>\n"
        f'<div class="dp-soft" style="padding:14px 22px 0;font-size:12px;line-height:1.4;color:{_SOFT}">{foot}</div>\n'
        "</div></body></html>\n"
    )


def _style(mood: _Mood) -> str:
    dark = (
        ".dp-page{background:#191a18!important;color:#eeeae1!important}"
        ".dp-card{background:#232522!important;border-color:#3b3d38!important}"
        f".dp-card{{border-top-color:{mood.dark}!important}}"
        ".dp-ink{color:#eeeae1!important}.dp-soft{color:#b9b3a6!important}"
        f".dp-mood,.dp-link{{color:{mood.dark}!important}}"
        ".dp-rule{border-color:#3b3d38!important}"
        f".dp-note{{background:#31332f!important;border-color:{mood.dark}!important}}"
        ".dp-leaf{background:#2b2d2a!important;border-color:#4a4c46!important}"
        f".dp-month{{background:{mood.dark}!important;color:#191a18!important}}"
        f".dp-yes{{background:{mood.dark}!important;border-color:{mood.dark}!important;color:#191a18!important}}"
        f".dp-other{{background:#232522!important;border-color:{mood.dark}!important;color:{mood.dark}!important}}"
    )
    narrow = "@media (max-width:420px){.dp-btn{display:block!important;margin:0 0 10px!important;text-align:center}}"
    schemes = ":root{color-scheme:light dark;supported-color-schemes:light dark}"
    return f"{schemes}{narrow}@media (prefers-color-scheme:dark){{{dark}}}"


def _block(inner: str, style: str, name: str = "") -> str:
    attribute = f' class="{name}"' if name else ""
    return f'<div{attribute} style="{style}">{inner}</div>'


def _headline(sheet: Sheet, mood: _Mood) -> str:
    leaf = ""
    if sheet.leaf is not None:
        month, day, weekday = (escape(part) for part in sheet.leaf)
        leaf = (
            '<div class="dp-leaf" aria-hidden="true" style="float:right;width:62px;margin:0 0 8px 14px;'
            f"text-align:center;background:#faf7f1;border:1px solid {_LINE};border-radius:8px;"
            'overflow:hidden;line-height:1.1">'
            f'<div class="dp-month" style="background:{mood.band};color:#ffffff;font-size:12px;font-weight:600;'
            f'padding:4px 0 3px;text-transform:uppercase;letter-spacing:.04em">{month}</div>'
            f'<div class="dp-ink" style="font-size:27px;font-weight:600;padding:6px 0 0;color:{_INK}">{day}</div>'
            f'<div class="dp-soft" style="font-size:12px;padding:1px 0 6px;color:{_SOFT}">{weekday}</div></div>'
        )
    style = f"font-size:15px;font-weight:600;color:{mood.band}"
    return f'{leaf}<div class="dp-mood" style="{style}">{escape(sheet.headline)}</div>'


def _title(sheet: Sheet) -> str:
    line = "text-decoration:line-through;" if sheet.struck else ""
    return (
        f'<h1 class="dp-ink" style="margin:0;font-size:24px;line-height:1.25;font-weight:700;{line}'
        f'letter-spacing:-.01em;color:{_INK};overflow-wrap:anywhere">{escape(sheet.title)}</h1>'
    )


def _row(row: Row, mood: _Mood) -> str:
    lines = [_value(line, row.link if number == 0 else "", mood) for number, line in enumerate(row.lines)]
    lines += [f'<span class="dp-soft" style="color:{_SOFT}">{escape(line)}</span>' for line in row.soft]
    label = f'<div class="dp-soft" style="font-size:13px;color:{_SOFT}">{escape(row.label)}</div>'
    return (
        f'<div style="padding:10px 0 0">{label}'
        f'<div class="dp-ink" style="color:{_INK};overflow-wrap:anywhere">{"<br>".join(lines)}</div></div>'
    )


def _value(text: str, link: str, mood: _Mood) -> str:
    return _anchor(link, text, mood) if link else escape(text)


def _anchor(link: str, text: str, mood: _Mood) -> str:
    # Only what `sheet.link_of` and `_WEB` let through comes here: web addresses and numbers.
    style = f"color:{mood.band};text-decoration:underline"
    return f'<a class="dp-link" href="{escape(link)}" style="{style}">{escape(text)}</a>'


def _changes(sheet: Sheet, mood: _Mood) -> str:
    rows = []
    for row in sheet.changes:
        label = f'<span class="dp-soft" style="color:{_SOFT}">{escape(row.label)}: </span>' if row.label else ""
        now = "<br>".join(_value(line, row.link if number == 0 else "", mood) for number, line in enumerate(row.lines))
        was = "".join(
            f'<br><s class="dp-soft" style="color:{_SOFT};font-weight:400">{escape(line)}</s>' for line in row.old
        )
        rows.append(f'<div style="padding:5px 0 0;overflow-wrap:anywhere">{label}<strong>{now}</strong>{was}</div>')
    head = escape(sheet.labels["changes"])
    return (
        f'<div style="padding:14px 22px 0"><div class="dp-note dp-ink" style="background:{mood.soft};color:{_INK};'
        f'border-left:4px solid {mood.band};border-radius:4px;padding:10px 14px 12px">'
        f'<div class="dp-mood" style="font-size:13px;font-weight:600;color:{mood.band}">{head}</div>'
        f"{''.join(rows)}</div></div>"
    )


def _details(sheet: Sheet, mood: _Mood) -> str:
    return (
        f'<div style="padding:16px 22px 0"><div class="dp-rule dp-ink" style="border-top:1px solid {_LINE};'
        f'padding:12px 0 0;color:{_INK};font-size:15px;overflow-wrap:anywhere">'
        f'<div class="dp-soft" style="font-size:13px;color:{_SOFT}">{escape(sheet.labels["details"])}</div>'
        f"{_with_links(sheet.details, mood)}</div></div>"
    )


def _paragraphs(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def _with_links(text: str, mood: _Mood) -> str:
    out, at = [], 0
    for found in _WEB.finditer(text):
        link = found[0].rstrip(".,;:!?)]")
        out += [_paragraphs(text[at : found.start()]), _anchor(link, link, mood)]
        at = found.start() + len(link)
    return "".join([*out, _paragraphs(text[at:])])


def _buttons(sheet: Sheet, mood: _Mood) -> str:
    assert sheet.links is not None
    ask = f'<div class="dp-ink" style="font-weight:600;padding:0 0 10px;color:{_INK}">{escape(sheet.ask)}</div>'
    buttons = []
    targets = (sheet.links.accept, sheet.links.tentative, sheet.links.decline)
    for number, (word, link) in enumerate(zip(sheet.answers, targets, strict=True)):
        ink, back, name = ("#ffffff", mood.band, "dp-yes") if number == 0 else (mood.band, _CARD, "dp-other")
        # Outlook for Windows knows no padding here; it does draw a border, so the room is made of both.
        buttons.append(
            f'<a class="dp-btn {name}" href="{escape(link)}" style="display:inline-block;margin:0 8px 10px 0;'
            f"padding:9px 18px;border:2px solid {mood.band};border-radius:8px;background:{back};color:{ink};"
            f'font-weight:600;text-decoration:none">{escape(word)}</a>'
        )
    return (
        f'<div style="padding:16px 22px 0"><div class="dp-rule" style="border-top:1px solid {_LINE};padding:16px 0 0">'
        f"{ask if sheet.ask else ''}{''.join(buttons)}</div></div>"
    )
