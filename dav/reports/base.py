"""What a report is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dav.context import Ctx, Node, Request, Response
from dav.xml import Element


@dataclass(frozen=True, slots=True)
class Report:
    """One report. parse: pure, raises DavError. run: inside a read transaction. kinds: nodes that answer it."""

    name: str
    rfc: str
    kinds: frozenset[str]
    parse: Callable[[Request, Element], Any]
    run: Callable[[Ctx, Node, Any], Response]
