"""Answering an invitation without an account: GET shows it and answers nothing, POST answers.

The address is the only secret, so it is kept out of caches, referrers, search engines and logs. Whatever cannot be
shown (too old, changed, cancelled, never there) gets the same page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from dav.config import Config
from dav.ical.tz import Zone, named_zone
from dav.mail import links
from dav.mail.texts import Texts
from dav.scheduling.model import MASTER
from dav.scheduling.plan import Env
from dav.urls import Urls
from dav.web import invitation, language, pages
from dav.web.guest_page import Asked, invitation_page, plain_page
from dav.web.invitation import Invitation
from dav.web.limit import Buckets, network_of
from storage.engine import Store, transaction
from storage.errors import StorageError

BODY_BYTES_MAX = 16 * 1024
_FIELDS_MAX = 12

HEADERS: dict[str, str] = {
    **dict(pages.HEADERS),
    "Content-Security-Policy": dict(pages.HEADERS)["Content-Security-Policy"].replace(
        "form-action 'none'", "form-action 'self'"
    ),
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    "Vary": "Accept-Language",
}


@dataclass(frozen=True, slots=True)
class Site:
    """What the pages need of the application. in_thread: runs a blocking function in a worker thread."""

    config: Config
    store: Store
    urls: Urls
    now: Callable[[], float]
    in_thread: Callable[..., Awaitable[Any]]
    # Opening: a household may look at sixty links at once, then one every two seconds. Bad links: a guesser's share.
    opened: Buckets = field(default_factory=lambda: Buckets(60, 2))
    bad: Buckets = field(default_factory=lambda: Buckets(20, 30))
    # Answers by one link: enough for somebody who cannot decide.
    answered: Buckets = field(default_factory=lambda: Buckets(10, 60))


@dataclass(frozen=True, slots=True)
class _Visit:
    """One request, read. token: as it stands in the address."""

    token: str
    client: str
    texts: Texts
    tag: str
    explicit: bool
    reader: Zone | None
    query: dict[str, str]


def routes(site: Site) -> list[BaseRoute]:
    """The routes of the guest page."""

    async def show(request: Request) -> Response:
        visit = _visit(request)
        wait_s = site.opened.wait_s(visit.client, site.now())
        if wait_s:
            return _too_many(site, visit, wait_s)
        return await _in_thread(site, visit, _show, site, visit)

    async def post(request: Request) -> Response:
        visit = _visit(request)
        wait_s = site.opened.wait_s(visit.client, site.now()) or site.answered.wait_s(visit.token[-32:], site.now())
        if wait_s:
            return _too_many(site, visit, wait_s)
        if not _from_our_page(request, site.config):
            return _refused(site, visit)
        form = await _form(request)
        if form is None:
            return _refused(site, visit)
        return await _in_thread(site, visit, _post, site, visit, form)

    path = links.PATH + "{token}"
    return [Route(path, show, methods=["GET", "HEAD"]), Route(path, post, methods=["POST"])]


async def _in_thread(site: Site, visit: _Visit, function: Callable[..., Response], *arguments: object) -> Response:
    try:
        answer: Response = await site.in_thread(function, *arguments)
        return answer
    except StorageError:
        say = visit.texts.say
        body = plain_page(
            visit.texts, site.urls.host(), say("Not just now"), say("The server is busy. Please try again in a minute.")
        )
        return _page(body, 503, {"Retry-After": "60"})


def _visit(request: Request) -> _Visit:
    asked = request.headers.get("accept-language", "")
    tag = language.wanted(asked)
    query = _fields(request.url.query)
    client = network_of(request.client.host if request.client else "")
    zone = query.get("zone", "")
    return _Visit(
        str(request.path_params["token"]), client, language.texts(tag), tag, bool(asked.strip()),
        named_zone(zone) if zone and len(zone) < 65 else None, query,
    )  # fmt: skip


def _show(site: Site, visit: _Visit) -> Response:
    """GET and HEAD. Only reads, so whoever opens links before people do (scanners, previews) answers nothing."""
    with transaction(site.store) as conn:
        found, secret = _look(_env(site, conn), site, visit)
    if found is None:
        return _gone(site, visit)
    query = visit.query
    notice = query.get("notice", "")
    asked = Asked(
        path=site.urls.host(), action=_address(site, visit), mark=links.form_mark(visit.token, secret),
        answer=query.get("answer", "") if query.get("answer") in links.ANSWERS else "",
        notice=notice if notice in ("done", "asked") else "",
        scope="one" if query.get("scope") == "one" else "all", date=query.get("date", ""),
    )  # fmt: skip
    return _invitation(found, asked, visit, 200)


def _post(site: Site, visit: _Visit, form: dict[str, str]) -> Response:
    from dav.scheduling import deliver

    def work(conn: Any) -> Response:
        env = _env(site, conn)
        found, secret = _look(env, site, visit)
        mark = links.form_mark(visit.token, secret)
        if found is None:
            return _gone(site, visit)
        if not links.same(form.get("form", ""), mark):
            return _refused(site, visit)
        one = found.series and form.get("scope") == "one"
        asked = Asked(
            path=site.urls.host(), action=_address(site, visit), mark=mark, answer=form.get("answer", ""),
            scope="one" if one else "all", date=form.get("date", ""), comment=_comment(form.get("comment", "")),
        )  # fmt: skip
        keys = _keys(found, asked)
        if found.over or asked.answer not in links.ANSWERS or not keys:
            notice = "" if found.over else "unclear"
            return _invitation(found, replace(asked, answer="", notice=notice), visit, 400)
        outcome = invitation.answer(env, found, keys, links.ANSWERS[asked.answer], asked.comment)
        if outcome in ("applied", "nothing", "asked"):
            return _answered(site, visit, asked, outcome)
        return _invitation(found, replace(asked, notice="stale" if outcome == "stale" else "refused"), visit, 409)

    return deliver.in_order(site.store, work)


def _answered(site: Site, visit: _Visit, asked: Asked, outcome: str) -> Response:
    """A page of its own, so that reading it again does not answer again (RFC 9110 §15.4.4)."""
    query = {"notice": "asked" if outcome == "asked" else "done", "scope": asked.scope}
    if asked.scope == "one":
        query["date"] = asked.date
    if visit.reader is not None:
        query["zone"] = visit.query["zone"]
    return Response(
        status_code=303, headers={**HEADERS, "Location": f"{_plain_address(site, visit)}?{urlencode(query)}"}
    )


def _keys(found: Invitation, asked: Asked) -> tuple[str, ...]:
    """The instances that an answer is for; () when it names none that is shown."""
    if asked.scope == "one":
        return (asked.date,) if any(date.key == asked.date for date in found.dates) else ()
    if not found.series and found.dates[0].key != MASTER:
        return (found.dates[0].key,)
    return invitation.keys_for_all(found)


def _look(env: Env, site: Site, visit: _Visit) -> tuple[Invitation | None, bytes]:
    secret, since_s = links.state_of(env.conn)
    if secret is None:
        return None, b""
    days = site.config.mail.link_days
    invited = links.read_token(visit.token, secret, now_s=env.now_s, days=days, since_s=since_s)
    if invited is None:
        return None, secret
    return invitation.look(env, invited), secret


def _env(site: Site, conn: Any) -> Env:
    return Env(conn, site.store, site.config, site.urls, int(site.now()))


def _invitation(found: Invitation, asked: Asked, visit: _Visit, status: int) -> Response:
    texts = visit.texts
    if not visit.explicit:
        # No browser: in the language of who was invited, as the mail was.
        line = next((line for _, line in found.obj.all_attendees().get(found.address, ())), None)
        tag = (line.param("LANGUAGE") or "") if line is not None else ""
        texts = language.texts(language.wanted("", (tag, found.account.locale)))
    return _page(invitation_page(found, asked, texts, visit.reader), status)


def _gone(site: Site, visit: _Visit) -> Response:
    """The one answer for all that is not there, whatever the reason."""
    wait_s = site.bad.wait_s(visit.client, site.now())
    if wait_s:
        return _too_many(site, visit, wait_s)
    say = visit.texts.say
    text = say(
        "It may be too old, or not complete, or what it was for does not take place any more. "
        "To answer all the same, write to whoever invited you."
    )
    return _page(plain_page(visit.texts, site.urls.host(), say("This link does not work"), text), 404)


def _too_many(site: Site, visit: _Visit, wait_s: int) -> Response:
    say = visit.texts.say
    body = plain_page(
        visit.texts,
        site.urls.host(),
        say("Not so fast"),
        say("Too much was asked at once. Please try again in a minute."),
    )
    return _page(body, 429, {"Retry-After": str(wait_s)})


def _refused(site: Site, visit: _Visit) -> Response:
    say = visit.texts.say
    text = say("The answer did not come from its own page. Please open the link in the mail again.")
    return _page(plain_page(visit.texts, site.urls.host(), say("Nothing was sent"), text), 403)


def _page(body: bytes, status: int, more: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers={**HEADERS, **(more or {})})


def _plain_address(site: Site, visit: _Visit) -> str:
    return f"{site.urls.base}{links.PATH}{visit.token}"


def _address(site: Site, visit: _Visit) -> str:
    zone = visit.query.get("zone", "")
    return _plain_address(site, visit) + (f"?{urlencode({'zone': zone})}" if visit.reader is not None else "")


def _from_our_page(request: Request, config: Config) -> bool:
    """Whether a form can have been sent by our own page. There are no cookies, so this is a second lock, not the first.

    Our pages send no referrer, so browsers say "Origin: null" for them (Fetch, "append a request Origin header").
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin", "null")
    if origin == "null":
        return True
    parts = urlsplit(origin)
    ours = {f"{request.url.scheme}://{request.url.netloc}".lower(), config.server.public_url.rstrip("/").lower()}
    return f"{parts.scheme}://{parts.netloc}".lower() in ours


async def _form(request: Request) -> dict[str, str] | None:
    """The fields of the form; None for what is no form, or too large."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return None
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                return None
    except ClientDisconnect:
        return None
    return _fields(body.decode("utf-8", "replace"))


def _fields(text: str) -> dict[str, str]:
    if len(text) > BODY_BYTES_MAX:
        return {}
    try:
        return dict(parse_qsl(text, max_num_fields=_FIELDS_MAX))
    except ValueError:
        return {}


def _comment(text: str) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n")[: invitation.COMMENT_CHARS_MAX]
    return "".join(char for char in lines if char.isprintable() or char == "\n").strip()
