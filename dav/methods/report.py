"""REPORT (RFC 3253 §3.6): the root element of the body names the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dav import tree, xml
from dav.context import Ctx, Request, Response
from dav.errors import DavError
from dav.names import d
from dav.reports import REPORTS
from dav.reports.base import Report


@dataclass(frozen=True, slots=True)
class Asked:
    report: Report
    parsed: Any


def parse(request: Request) -> Asked:
    """Raises DavError(400) without a body, DavError(403, supported-report) for a report that nobody here knows."""
    root = xml.parse(request.body, request.config.limits)
    report = REPORTS.get(root.tag)
    if report is None:
        raise DavError(403, d("supported-report"), "This report is not known here.")
    return Asked(report, report.parse(request, root))


def handle(ctx: Ctx, asked: Asked) -> Response:
    node = tree.require(ctx, ctx.request.place)
    if node.kind not in asked.report.kinds:
        raise DavError(403, d("supported-report"), "This report is not supported on this resource.")
    return asked.report.run(ctx, node, asked.parsed)
