"""The PROPERTIES table: the rows of every file in this package, by name."""

from __future__ import annotations

from dav.properties import (
    acl,
    apple,
    availability,
    caldav,
    carddav,
    principals,
    publish,
    scheduling,
    sharing,
    subscribed,
    webdav,
)
from dav.properties.base import Property

_ROWS = (
    *webdav.ROWS, *acl.ROWS, *caldav.ROWS, *carddav.ROWS, *apple.ROWS, *availability.ROWS, *scheduling.ROWS,
    *publish.ROWS, *subscribed.ROWS, *sharing.ROWS, *principals.ROWS,
)  # fmt: skip

PROPERTIES: dict[str, Property] = {row.name: row for row in _ROWS}
assert len(PROPERTIES) == len(_ROWS), "a property stands in two rows"
