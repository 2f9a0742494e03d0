"""OPTIONS (RFC 9110 §9.3.7, RFC 4918 §10.1): what this server can do, told to everybody alike."""

from __future__ import annotations

from dav.config import Config
from dav.context import Ctx, Request, Response
from dav.methods.allow import allowed_at
from dav.urls import Place

# Only what is finished. Every answer carries it: clients look for it on PROPFIND as well as on OPTIONS.
DAV_HEADER = (
    "1, 2, 3, access-control, calendar-access, calendar-auto-schedule, calendar-no-timezone, calendar-availability, "
    "addressbook, extended-mkcol, calendarserver-sharing, resource-sharing, "
    "calendar-proxy"
)


def dav_header(config: Config) -> str:
    """What this server can do with these settings."""
    if config.scheduling.enabled:
        return DAV_HEADER
    return DAV_HEADER.replace("calendar-auto-schedule, ", "")


def parse(request: Request) -> Place:
    return request.place


def handle(ctx: Ctx, place: Place) -> Response:
    """Answers from the address alone: clients ask without credentials, and must not learn whether anything is there."""
    return Response(200, (("Allow", ", ".join(allowed_at(place))), ("MS-Author-Via", "DAV")))
