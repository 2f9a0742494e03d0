"""expand-property (RFC 3253 §3.8): properties, and the properties of the resources whose hrefs they hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lxml import etree

from dav import properties, tree
from dav.context import Ctx, Node, Request, Response
from dav.errors import DavError
from dav.headers import prefers_minimal
from dav.multistatus import multistatus, propstat_response
from dav.names import DAV, clark, d
from dav.properties.base import Selection
from dav.reports.base import Report
from dav.xml import ROOT_NAMESPACES, XMLNS_NAMESPACE, Element, children, href_element, tags

_DEPTH_MAX = 4
_HREFS_MAX = 500


@dataclass(frozen=True, slots=True)
class Wanted:
    """A property, and what is wanted of the resources that it names."""

    name: str
    inside: tuple[Wanted, ...]


@dataclass(frozen=True, slots=True)
class Expand:
    wanted: tuple[Wanted, ...]
    minimal: bool


def parse(request: Request, root: Element) -> Expand:
    """Raises DavError(400) for nesting beyond what any client uses."""
    return Expand(_read(root, 0), prefers_minimal(request))


def _read(element: Element, depth: int) -> tuple[Wanted, ...]:
    if depth > _DEPTH_MAX:
        raise DavError(400, detail=f"expand-property goes {_DEPTH_MAX} levels deep at most.")
    found = []
    for child in children(element):
        if child.tag != d("property"):
            continue
        namespace, local = child.get("namespace", DAV), child.get("name", "")
        name = clark(namespace, local) if namespace else local
        try:
            etree.QName(name)
            if namespace == XMLNS_NAMESPACE:
                raise ValueError
        except ValueError:
            raise DavError(400, detail="DAV:property needs the name of an XML element.") from None
        found.append(Wanted(name, _read(child, depth + 1)))
    properties.check_names(tuple(dict.fromkeys(item.name for item in found)))
    return tuple(found)


def run(ctx: Ctx, node: Node, expand: Expand) -> Response:
    budget = _Budget(_HREFS_MAX)
    return multistatus([_expand(ctx, node, expand.wanted, expand.minimal, budget)])


class _Budget:
    """How many hrefs may still be followed in this request."""

    def __init__(self, left: int) -> None:
        self.left = left


def _expand(ctx: Ctx, node: Node, wanted: tuple[Wanted, ...], minimal: bool, budget: _Budget) -> str:
    inside = {item.name: item.inside for item in wanted}
    [text] = properties.respond(ctx, [node], Selection("prop", tuple(inside), minimal))
    if not any(inside.values()):
        return text
    response = etree.fromstring(f"<x {ROOT_NAMESPACES}>{text}</x>")[0]
    found: list[str] = []
    missing: list[str] = []
    for propstat in response.iterfind(d("propstat")):
        ok = (propstat.findtext(d("status")) or "").endswith("200 OK")
        for prop in propstat.iterfind(d("prop")):
            for element in prop:
                name = str(element.tag)
                if not ok:
                    missing.append(tags(name)[2])
                elif inside.get(name):
                    start, end, _ = tags(name)
                    found.append(start + "".join(_targets(ctx, element, inside[name], minimal, budget)) + end)
                else:
                    element.tail = None
                    found.append(etree.tostring(element, encoding="unicode"))
    return propstat_response(node.href, "".join(found), "" if minimal else "".join(missing))


def _targets(ctx: Ctx, element: Element, wanted: tuple[Wanted, ...], minimal: bool, budget: _Budget) -> Iterator[str]:
    for href in element.iterfind(d("href")):
        text = (href.text or "").strip()
        # What we write are absolute paths; a whole URL in a dead property may be another server's.
        place = ctx.urls.parse_href(text) if text.startswith("/") and budget.left > 0 else None
        target = tree.find(ctx, place) if place is not None else None
        budget.left -= 1
        if target is not None:
            yield _expand(ctx, target, wanted, minimal, budget)
        else:
            yield href_element(href.text or "")


ROWS = (Report(d("expand-property"), "3253 §3.8", frozenset(tree.KINDS), parse, run),)
