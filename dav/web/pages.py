"""The pages for people. Rendered here, without JavaScript; every value goes through one escape."""

from __future__ import annotations

import html
from functools import cache
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

if TYPE_CHECKING:
    from dav.config import Config

_HERE = Path(__file__).parent

# Nothing but our own style sheet and pictures, in nobody's frame, and no scripts at all.
HEADERS: tuple[tuple[str, str], ...] = (
    ("Content-Type", "text/html; charset=utf-8"),
    (
        "Content-Security-Policy",
        # base-uri, form-action and frame-ancestors do not fall back to default-src.
        "; ".join(
            (
                "default-src 'none'",
                "style-src 'self'",
                "img-src 'self'",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
            )
        ),
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
)

ROUTES: list[BaseRoute] = [Mount("/web/static", StaticFiles(directory=_HERE / "static"), name="static")]


def token_routes(config: Config) -> list[BaseRoute]:
    """The page that tells programs whose tokens are taken (RFC 9728 §3); none when none are."""
    if "oauth2" not in config.auth.backends:
        return []
    from dav.auth.oauth2 import METADATA_PATH, metadata

    async def answer(request: Request) -> Response:
        body = metadata(config, f"{request.url.scheme}://{request.url.netloc}")
        # Web clients of other origins read it before they have anything to sign in with; nothing in it is secret.
        fields = {
            "Access-Control-Allow-Origin": "*",
            "Cache-Control": "max-age=300",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(body, media_type="application/json", headers=fields)

    return [Route(METADATA_PATH, answer, methods=["GET", "HEAD"])]


def home_page(base_url: str, *, version: str) -> bytes:
    """The page at the root: what to type into each device. base_url: as clients reach us, such as https://host/prefix/."""
    base_url = base_url.rstrip("/") + "/"
    parts = urlsplit(base_url)
    secure = parts.scheme == "https"
    # Apple's "Server" field takes host:port; the path is found by /.well-known, which exists only at a host's root.
    apple = parts.netloc if parts.path == "/" else base_url
    values = {
        "base": base_url,
        "path": parts.path,
        "apple_server": apple,
        "files_url": f"{base_url}dav/files/",
        "version": version,
    }
    escaped = {name: html.escape(value) for name, value in values.items()}
    # These two are markup of ours, chosen and not made from values.
    escaped["notice"] = "" if secure else template("plain_http").substitute(escaped)
    escaped["apple_note"] = "" if secure else template("apple_note").substitute(escaped)
    return template("home").substitute(escaped).encode()


@cache
def template(name: str) -> Template:
    return Template((_HERE / "templates" / f"{name}.html").read_text("utf-8"))
