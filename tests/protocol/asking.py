"""Bodies of reports, and reading what they answer."""

from __future__ import annotations

from datetime import UTC, datetime

from lxml import etree

from dav.names import c, cr, d
from tests.dsl import Answer, Client, element

ETAG = "<D:prop><D:getetag/></D:prop>"


def stamp(instant_s: int) -> str:
    """An instant as a filter writes it."""
    return f"{datetime.fromtimestamp(instant_s, UTC):%Y%m%dT%H%M%SZ}"


def comp(name: str, *inner: str) -> str:
    return f'<C:comp-filter name="{name}">{"".join(inner)}</C:comp-filter>'


def between(start: str = "", end: str = "") -> str:
    attributes = (f' start="{start}"' if start else "") + (f' end="{end}"' if end else "")
    return f"<C:time-range{attributes}/>"


def calendar_query(
    client: Client, path: str, *filters: str, prop: str = ETAG, depth: str | None = "1", more: str = ""
) -> Answer:
    """filters: inside of the filter for VCALENDAR. more: elements after the filter."""
    inner = f"{prop}<C:filter>{comp('VCALENDAR', *filters)}</C:filter>{more}"
    return client.report(path, element("C:calendar-query", inner), depth=depth)


def calendar_multiget(
    client: Client, path: str, *hrefs: str, prop: str = ETAG, more: str = "", **fields: str
) -> Answer:
    return client.report(path, element("C:calendar-multiget", prop + listed(hrefs) + more), **fields)


def addressbook_multiget(client: Client, path: str, *hrefs: str, prop: str = ETAG) -> Answer:
    return client.report(path, element("CR:addressbook-multiget", prop + listed(hrefs)))


def listed(hrefs: tuple[str, ...]) -> str:
    return "".join(f"<D:href>{href}</D:href>" for href in hrefs)


def addressbook_query(
    client: Client, path: str, *filters: str, test: str = "", prop: str = ETAG, depth: str = "1", more: str = ""
) -> Answer:
    attribute = f' test="{test}"' if test else ""
    inner = f"{prop}<CR:filter{attribute}>{''.join(filters)}</CR:filter>{more}"
    return client.report(path, element("CR:addressbook-query", inner), depth=depth)


def names(answer: Answer) -> list[str]:
    """Last segments of the hrefs that were found, sorted."""
    return sorted(href.rpartition("/")[2] for href, item in answer.responses.items() if item.status is None)


def data(answer: Answer) -> dict[str, str]:
    """Last segment of the href → calendar-data or address-data."""
    found = {}
    for href, item in answer.responses.items():
        value = item.props.get(c("calendar-data"), item.props.get(cr("address-data")))
        if value is not None:
            found[href.rpartition("/")[2]] = value.text or ""
    return found


def cut(answer: Answer) -> dict[str, str]:
    """href → condition of each response that says 507."""
    found = {}
    for response in answer.xml.iter(d("response")):
        if "507" in str(response.findtext(d("status"))):
            error = response.find(d("error"))
            assert error is not None
            found[str(response.findtext(d("href")))] = str(error[0].tag)
    return found


def inside(answer: Answer, name: str) -> etree._Element:
    """The one element with this name anywhere in the answer."""
    (found,) = answer.xml.iter(name)
    return found
