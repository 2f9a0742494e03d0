"""Published busy times: an address that shows when somebody is busy, and nothing else (a VFREEBUSY, RFC 5545 §3.6.4).

No title, no place, no name, no UID of a meeting, nor how many calendars there are. Whoever knows the secret in the
address may read it; it is off until made, and ends when it is revoked or made anew.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from dav.config import Config
from dav.errors import DavError
from dav.ical.availability import joined
from dav.ical.freebusy import free_busy_answer, merge_busy
from dav.mail.links import base_url
from dav.scheduling.plan import Env
from dav.web.guest import Site
from dav.web.limit import network_of
from storage import freebusy
from storage.engine import transaction
from storage.errors import StorageError

PATH = "/freebusy/"
_SECRET = re.compile(r"[A-Za-z0-9_-]{20,64}")
_DAY_S = 86_400
_HEADERS = {
    "Cache-Control": "private, no-cache",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


@dataclass(frozen=True, slots=True)
class Published:
    """What is answered. etag: as its field has it."""

    body: bytes
    etag: str


def new_secret() -> str:
    """A secret of 192 random bits, of letters, digits, "-" and "_"."""
    return secrets.token_urlsafe(24)


def digest_of(secret: str) -> str:
    """What the store keeps of a secret: it has too many bits to be guessed, so a plain hash does (SHA-256 in hex)."""
    return hashlib.sha256(secret.encode()).hexdigest()


def address(config: Config, secret: str) -> str:
    """The address with this secret; only its path when server.public_url is not set."""
    return f"{base_url(config) or config.server.base_path}{PATH}{secret}.ifb"


def routes(site: Site) -> list[BaseRoute]:
    """The route of published busy times."""

    async def show(request: Request) -> Response:
        client = network_of(request.client.host if request.client else "")
        wait_s = site.opened.wait_s(client, site.now())
        if wait_s:
            return _plain(429, "Too many requests.", {"Retry-After": str(wait_s)})
        try:
            found: Published | None = await site.in_thread(_published, site, str(request.path_params["secret"]))
        except StorageError:
            return _plain(503, "The server is busy.", {"Retry-After": "60"})
        except DavError:
            return _plain(503, "There are too many busy times to tell.")
        if found is None:
            wait_s = site.bad.wait_s(client, site.now())
            if wait_s:
                return _plain(429, "Too many requests.", {"Retry-After": str(wait_s)})
            return _plain(404, "There is nothing at this address.")
        headers = {**_HEADERS, "ETag": found.etag}
        if _matches(request.headers.get("if-none-match", ""), found.etag):
            return Response(status_code=304, headers=headers)
        headers["Content-Type"] = "text/calendar; charset=utf-8; component=VFREEBUSY"
        return Response(found.body, headers=headers)

    return [Route(PATH + "{secret}.ifb", show, methods=["GET", "HEAD"])]


def _published(site: Site, secret: str) -> Published | None:
    """The busy times behind a secret; None when there are none. Reads only."""
    from dav.scheduling.freebusy import busy_times
    from dav.scheduling.places import seats

    if not _SECRET.fullmatch(secret):
        return None
    digest = digest_of(secret)
    now_s = int(site.now())
    with transaction(site.store) as conn:
        account = freebusy.account_by_freebusy(conn, digest)
        if account is None:
            return None
        env = Env(conn, site.store, site.config, site.urls, now_s)
        settings = site.config.freebusy
        # Whole days, so that the window moves once a day and not with each second.
        today_s = now_s // _DAY_S * _DAY_S
        start_s, end_s = today_s - settings.days_back * _DAY_S, today_s + settings.days_ahead * _DAY_S
        found = busy_times(env, seats(env, [account]).values(), start_s, end_s, free_at_most=_most(site.config))
    periods = merge_busy(found[account.id], start_s, end_s)
    if not settings.kinds:
        # One kind of busy: what is tentative, or outside working hours, is nobody's business.
        plain = [(first_s, last_s) for first_s, last_s, _ in periods]
        periods = [(first_s, last_s, "BUSY") for first_s, last_s in joined(plain)]
    uid = f"freebusy-{digest[:32]}"
    body, told = (free_busy_answer(periods, start_s, end_s, now_s=stamp_s, uid=uid) for stamp_s in (now_s, 0))
    # Weak (RFC 9110 §8.8.1): DTSTAMP is the time of asking, and the same busy times are the same answer.
    return Published(body, f'W/"{hashlib.sha256(told).hexdigest()[:40]}"')


def _most(config: Config) -> int:
    return config.limits.query_results


def _matches(field: str, etag: str) -> bool:
    """RFC 9110 §13.1.2: weak comparison."""
    ours = etag.removeprefix("W/")
    return any(part.strip().removeprefix("W/") in (ours, "*") for part in field[:4_000].split(","))


def _plain(status: int, text: str, more: dict[str, str] | None = None) -> Response:
    headers = {**_HEADERS, "Cache-Control": "no-store", **(more or {})}
    return Response(f"{text}\n", status, headers=headers, media_type="text/plain")
