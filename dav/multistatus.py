"""The 207 answer (RFC 4918 §13), written as strings with escaping in `dav/xml.py`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from dav.context import Response
from dav.xml import ROOT_NAMESPACES, escape, tags

if TYPE_CHECKING:
    from storage.engine import Conn


_HEAD = f'<?xml version="1.0" encoding="utf-8"?>\n<D:multistatus {ROOT_NAMESPACES}>'
_FOOT = "</D:multistatus>"
_IN_MEMORY_CHARS = 1 << 20
_CHUNK_BYTES = 256 * 1024
_XML = ("Content-Type", "application/xml; charset=utf-8")


class Several(NamedTuple):
    """The text of several DAV:responses at once, and how many these are."""

    text: str
    number: int


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


def response_frame(found: bool, missing: str) -> tuple[str, str, str]:
    """What stands before the href, between it and the properties found, and after those, as propstat_response has it.

    found: whether there are any. missing: empty elements.
    """
    second = f"<D:propstat><D:prop>{missing}</D:prop>{MISSING}</D:propstat>" if missing else ""
    first = ("<D:propstat><D:prop>", f"</D:prop>{OK}</D:propstat>") if found or not missing else ("", "")
    return "<D:response><D:href>", f"</D:href>{first[0]}", f"{first[1]}{second}</D:response>"


def status_response(href: str, status: int, condition: str | None = None) -> str:
    """One DAV:response that has a status of its own and no properties."""
    error = f"<D:error>{tags(condition)[2]}</D:error>" if condition else ""
    return f"<D:response><D:href>{escape(href)}</D:href><D:status>{status_line(status)}</D:status>{error}</D:response>"


def multistatus(responses: Iterable[str | Several], *, tail: str = "") -> Response:
    """207 with these responses, taken one by one or several at once. tail: what follows them, such as DAV:sync-token.

    A long answer goes into a file without a name while it is made, so that memory does not grow with it and the
    transaction does not wait for the client.
    """
    parts = [_HEAD]
    size = items = 0
    waiting = iter(responses)
    for one in waiting:
        text, count = (one, 1) if isinstance(one, str) else one
        parts.append(text)
        items += count
        size += len(text)
        if size > _IN_MEMORY_CHARS:
            return _long(parts, waiting, tail, items)
    parts += (tail, _FOOT)
    return Response(207, (_XML,), "".join(parts).encode(), items=items)


def _long(parts: list[str], waiting: Iterator[str | Several], tail: str, items: int) -> Response:
    file = tempfile.TemporaryFile()  # noqa: SIM115  (closed by the stream)
    try:
        file.write("".join(parts).encode())
        parts.clear()
        for one in waiting:
            text, count = (one, 1) if isinstance(one, str) else one
            file.write(text.encode())
            items += count
        file.write((tail + _FOOT).encode())
        file.seek(0)
    except BaseException:
        file.close()
        raise

    def stream(conn: Conn) -> Iterator[bytes]:
        with file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    return Response(207, (_XML,), stream=stream, detached=True, items=items)
