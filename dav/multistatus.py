"""The 207 answer (RFC 4918 §13), written as strings with escaping in `dav/xml.py`."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from dav.context import Response
from dav.xml import ROOT_NAMESPACES, escape, tags

_HEAD = f'<?xml version="1.0" encoding="utf-8"?>\n<D:multistatus {ROOT_NAMESPACES}>'
_XML = ("Content-Type", "application/xml; charset=utf-8")


def status_line(status: int) -> str:
    """The text of DAV:status. The reason phrase is the usual one: Thunderbird looks for `HTTP/1.1 200 OK` whole."""
    phrase = {207: "Multi-Status", 422: "Unprocessable Entity", 413: "Content Too Large"}.get(status)
    return f"HTTP/1.1 {status} {phrase or HTTPStatus(status).phrase}"


OK = f"<D:status>{status_line(200)}</D:status>"
MISSING = f"<D:status>{status_line(404)}</D:status>"


def propstat_response(href: str, found: str, missing: str = "", others: str = "") -> str:
    """One DAV:response: the 200 propstat first, a 404 propstat only for what was asked and is not there.

    found, missing: property elements. others: further whole propstat elements.
    """
    first = f"<D:propstat><D:prop>{found}</D:prop>{OK}</D:propstat>" if found or not (missing or others) else ""
    second = f"<D:propstat><D:prop>{missing}</D:prop>{MISSING}</D:propstat>" if missing else ""
    return f"<D:response><D:href>{escape(href)}</D:href>{first}{second}{others}</D:response>"


def status_response(href: str, status: int, condition: str | None = None) -> str:
    """One DAV:response that has a status of its own and no properties."""
    error = f"<D:error>{tags(condition)[2]}</D:error>" if condition else ""
    return f"<D:response><D:href>{escape(href)}</D:href><D:status>{status_line(status)}</D:status>{error}</D:response>"


def multistatus(
    responses: Iterable[str], *, tail: str = "", headers: tuple[tuple[str, str], ...] = (), items: int = 0
) -> Response:
    """207 with these responses. tail: what follows them, such as DAV:sync-token."""
    body = "".join((_HEAD, *responses, tail, "</D:multistatus>")).encode()
    return Response(207, (_XML, *headers), body, items=items)
