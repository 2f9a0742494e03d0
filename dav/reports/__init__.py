"""The REPORTS table: a report that stands here is announced by supported-report-set by itself."""

from __future__ import annotations

from functools import lru_cache

from dav.reports import (
    addressbook_query,
    calendar_query,
    expand_property,
    freebusy,
    multiget,
    principals,
    sync_collection,
)  # fmt: skip
from dav.reports.base import Report
from dav.xml import tags

REPORTS: dict[str, Report] = {
    row.name: row
    for module in (
        calendar_query, multiget, freebusy, addressbook_query, sync_collection, expand_property, principals,
    )
    for row in module.ROWS
}  # fmt: skip


@lru_cache(maxsize=64)
def supported(kind: str) -> str:
    """Inner XML of DAV:supported-report-set for a kind of node (RFC 3253 §3.1.5)."""
    return "".join(
        f"<D:supported-report><D:report>{tags(row.name)[2]}</D:report></D:supported-report>"
        for row in REPORTS.values()
        if kind in row.kinds
    )
