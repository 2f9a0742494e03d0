"""Logs: one line for each request, the protocol trace, and the masking of what nobody may read there."""

from __future__ import annotations

import itertools
import logging
import os
import re
import secrets
import sys
import time
from collections.abc import Iterable
from typing import TextIO

TRACE = 5
LEVELS = {
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}
_root = logging.getLogger()
_access = logging.getLogger("davenport.access")
_trace = logging.getLogger("davenport.trace")

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_VALUE_MAX = 500
_PLAIN = re.compile(r"[!#-<>-\[\]-~]+")
_SECRET_HEADERS = frozenset(
    ("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "lock-token", "if", "push-token")
)
# The names of published collections, and of the links to answer an invitation, are the only secret they have.
_SECRET_PATH = re.compile(r"(?:(?<=/feeds/)|(?<=/invite/)|(?<=/freebusy/))[^/?]*?(?=(?:\.[A-Za-z]+)?(?:[/?]|$))")
_SECRET_AREAS = ("/feeds/", "/invite/", "/freebusy/")
_SECRET_QUERY = re.compile(r"(?<=[?&])((?:token|key|secret|password|access_token|code)=)[^&]*", re.IGNORECASE)


def configure(level: str) -> None:
    """Sends the logs of this process to standard error, from `level` (a name of LEVELS) upwards."""
    global _direct
    logging.addLevelName(TRACE, "TRACE")
    handler = _Lines(sys.stderr)
    handler.setFormatter(_Formatter())
    _direct = handler
    _root.handlers[:] = [handler]
    number = LEVELS[level]
    _root.setLevel(max(number, logging.WARNING))
    logging.getLogger("davenport").setLevel(number)
    # What the libraries say about each connection helps only when looking for something.
    logging.getLogger("uvicorn").setLevel(number if number <= logging.DEBUG else logging.WARNING)


class _Lines(logging.StreamHandler[TextIO]):
    """Standard error. write: for lines that are complete, beside the records that are formatted."""

    def write(self, line: str) -> None:
        """Writes a line at once. Never raises: a full disk under the log is no reason to fail a request."""
        lock = self.lock
        assert lock is not None
        with lock:
            try:
                self.stream.write(line)
                self.stream.flush()
            except (OSError, ValueError):
                pass


_direct: _Lines | None = None


class _Formatter(logging.Formatter):
    """`2026-01-31T12:00:00Z INFO message`, one line; only a traceback adds more."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", _TIME)

        self.converter = time.gmtime


_counter = itertools.count(int.from_bytes(secrets.token_bytes(3), "big"))


def request_id() -> str:
    """A short id that is unique among the requests of this machine for as long as anyone will compare logs."""
    return f"{os.getpid():x}-{next(_counter):x}"


def log_request(
    *,
    id: str,
    account: str,
    method: str,
    path: str,
    status: int,
    ms: float,
    report: str = "",
    items: int = 0,
    size: int = 0,
    credentials: bool = True,
) -> None:
    """Writes the line of one request. size: of the answer's body. credentials: whether the request carried any."""
    level = level_of(status, credentials=credentials)
    if _access.isEnabledFor(level):
        log_facts(level, id, facts(account, method, path, status, report=report, items=items, size=size), ms)


def facts(account: str, method: str, path: str, status: int, *, report: str = "", items: int = 0, size: int = 0) -> str:
    """The middle of a request's line, which is the same whenever the same is asked and answered."""
    shown = f"report={quote(report)} path" if report else "path"
    counted = f" items={items}" if items else ""
    return (
        f"account={quote(account or '-')} method={quote(method)} {shown}={quote(mask_path(path))} "
        f"status={status}{counted} bytes={size}"
    )


def log_facts(level: int, id: str, facts: str, ms: float) -> None:
    """Writes the line of one request from its id, its facts and its time, if the level is one that is written.

    Straight to the handler of `configure`, where that is the only one: a LogRecord, with the search for the caller and
    the locks of a logger, took a fifth of a poll's processor time (60 µs; this takes 7).
    """
    if not _access.isEnabledFor(level):
        return
    text = f"id={id} {facts} ms={ms:.1f}" if ms < 10 else f"id={id} {facts} ms={ms:.0f}"
    handler = _direct
    if handler is not None and _root.handlers == [handler]:
        handler.write(f"{time.strftime(_TIME, time.gmtime())} {logging.getLevelName(level)} {text}\n")
    else:
        _access.log(level, "%s", text)


def level_of(status: int, *, credentials: bool) -> int:
    """5xx error, but for answers that are no trouble of ours; all others info.

    501, 502 and 507: an unknown method, a Destination elsewhere, no room or a limit. A 401 to a request without
    credentials is debug, since phones always try that first.
    """
    if status >= 500 and status not in (501, 502, 507):
        return logging.ERROR
    if status == 401 and not credentials:
        return logging.DEBUG
    return logging.INFO


def log_failure(id: str, error: BaseException) -> None:
    """Writes the traceback of a request that failed for a reason of ours."""
    logging.getLogger("davenport").error("id=%s failed", id, exc_info=error)


def tracing() -> bool:
    """Whether the protocol trace is on, to be asked before anything is put together for it."""
    return _trace.isEnabledFor(TRACE)


def trace(id: str, line: str, headers: Iterable[tuple[str, str]]) -> None:
    """Writes a request's or an answer's first line and its headers, masked. Bodies are never written."""
    if tracing():
        shown = "; ".join(f"{name}: {quote(value)}" for name, value in mask_headers(headers))
        _trace.log(TRACE, "id=%s %s | %s", id, quote(mask_path(line), space=True), shown)


def mask_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers with the values of secret ones replaced; of Authorization the scheme stays."""
    masked = []
    for name, value in headers:
        if name.lower() in _SECRET_HEADERS:
            scheme, space, _ = value.partition(" ")
            keeps_scheme = "authorization" in name.lower() and space and scheme.isalpha() and len(scheme) < 20
            value = f"{scheme} ***" if keeps_scheme else "***"
        masked.append((name, mask_path(value)))
    return masked


def mask_path(path: str) -> str:
    """The path with secrets of feeds and in query strings replaced."""
    if any(area in path for area in _SECRET_AREAS):
        path = _SECRET_PATH.sub("***", path)
    if "?" in path:
        path = _SECRET_QUERY.sub(r"\1***", path)
    return path


def quote(value: str, *, space: bool = False) -> str:
    """The value as it stands in a line: plain, or quoted with escapes, so that nobody can forge a field or a line."""
    if len(value) > _VALUE_MAX:
        value = value[:_VALUE_MAX] + "…"
    if value and (_PLAIN.fullmatch(value.replace(" ", "_") if space else value)):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in escaped) + '"'
