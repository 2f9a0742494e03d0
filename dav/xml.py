"""Reading XML from outside, and the one place where text becomes XML."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from lxml import etree

from dav.errors import DavError
from dav.names import PREFIXES

if TYPE_CHECKING:
    from dav.config import Limits

Element = etree._Element

# XML 1.0 §2.2: what a document cannot carry, not even as a character reference.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_FOLD_IN_CHARACTER = re.compile(rb"\r?\n[ \t](?=[\x80-\xbf])")
_ASCII = b"\t\n\r" + bytes(range(0x20, 0x80))
_REMEMBERED_CHARS_MAX = 200
_NAMES_GROWTH_MAX = 8
_XML_NAMESPACE = "http://www.w3.org/XML/1998/namespace"
XMLNS_NAMESPACE = "http://www.w3.org/2000/xmlns/"  # XML Names §3: no element can be in it
_ELEMENT_BYTES_MIN = len("<a></a>")


def parse(body: bytes, limits: Limits) -> Element:
    """The root element of a request body.

    Raises DavError(400) for what is not well-formed, has a DOCTYPE, or is nested beyond the limit; DavError(413) for a
    body with too many bytes or elements.
    """
    if len(body) > limits.xml_bytes:
        raise DavError(413, detail=f"The XML body is larger than {limits.xml_bytes} bytes.")
    # No DTD: no entities to expand and no files to read. huge_tree off bounds text and depth in libxml2 itself.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise DavError(400, detail=f"The body is not well-formed XML: {error}") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise DavError(400, detail="The body has a DOCTYPE, which is not accepted.")
    if len(body) > _ELEMENT_BYTES_MIN * limits.xml_depth:  # shorter ones cannot break a limit
        _check_shape(root, len(body), limits)
    return root


def _check_shape(root: Element, body_bytes: int, limits: Limits) -> None:
    # libxml2 counts by itself: a Python object for each element costs twenty times as much.
    count = _count(root)
    assert isinstance(count, float)
    if count > limits.xml_elements:
        raise DavError(413, detail=f"The XML body has more than {limits.xml_elements} elements.")
    if _deeper_than(limits.xml_depth)(root):
        raise DavError(400, detail=f"The XML body is nested deeper than {limits.xml_depth}.")
    # A namespace is written once and then stands in the name of every element: 1 MB of XML can become 5 GB.
    names_max = _NAMES_GROWTH_MAX * limits.xml_bytes
    if count * body_bytes > names_max:  # no name is longer than the body
        size = 0
        for element in root.iter():
            size += len(element.tag) if isinstance(element.tag, str) else 0
            if size > names_max:
                raise DavError(413, detail="The XML body has too many elements in namespaces with too long names.")


_count = etree.XPath("count(//*)")


@lru_cache(maxsize=8)
def _deeper_than(depth: int) -> etree.XPath:
    return etree.XPath(f"boolean({'/*' * (depth + 1)})")


def children(element: Element) -> list[Element]:
    """Child elements; comments and processing instructions are gone already."""
    return [child for child in element if isinstance(child.tag, str)]


def text_of(element: Element) -> str:
    """All character data of an element, stripped of white space around it."""
    if not len(element):
        return str(element.text or "").strip()
    return "".join(str(part) for part in element.itertext()).strip()


def escape(text: str) -> str:
    """Character data: &, <, > and CR escaped; characters that XML 1.0 cannot carry are left out.

    CR is written as a reference, since a parser turns a bare CR or CRLF into LF (XML 1.0 §2.11) and calendar data
    would come back changed.
    """
    # Whether a character is there is seen twenty times faster than it is replaced nowhere.
    if "&" in text:
        text = text.replace("&", "&amp;")
    if "<" in text:
        text = text.replace("<", "&lt;")
    if ">" in text:
        text = text.replace(">", "&gt;")
    if "\r" in text:
        text = text.replace("\r", "&#13;")
    if text.isprintable() or (text.isascii() and not text.encode().translate(None, _ASCII)):
        return text  # for calendar data, mostly ASCII with line ends, a quarter of what the search below costs
    return _FORBIDDEN.sub("", text)


def decode(body: bytes) -> str:
    """Stored bytes as text for an answer: UTF-8, or Latin-1 when they are not.

    Folds that stand inside a character are taken out (RFC 5545 §3.1 allows them; text cannot carry them).
    """
    try:
        return body.decode()
    except UnicodeDecodeError:
        pass
    try:
        return _FOLD_IN_CHARACTER.sub(b"", body).decode()
    except UnicodeDecodeError:
        return body.decode("latin-1")


def attribute(text: str) -> str:
    """An attribute value with its quotes."""
    return '"' + escape(text).replace('"', "&quot;").replace("\n", "&#10;").replace("\t", "&#9;") + '"'


def split_clark(name: str) -> tuple[str, str]:
    """(namespace, local name) of a Clark name."""
    if name.startswith("{"):
        namespace, _, local = name[1:].rpartition("}")
        return namespace, local
    return "", name


def tags(name: str) -> tuple[str, str, str]:
    """(start tag, end tag, empty tag) of a Clark name; a namespace without a prefix of ours is declared in place."""
    # Names come from clients: only short ones are remembered.
    return _remembered_tags(name) if len(name) <= _REMEMBERED_CHARS_MAX else _make_tags(name)


def _make_tags(name: str) -> tuple[str, str, str]:
    namespace, local = split_clark(name)
    prefix = PREFIXES.get(namespace)
    if prefix:
        return f"<{prefix}:{local}>", f"</{prefix}:{local}>", f"<{prefix}:{local}/>"
    if not namespace:
        return f'<{local} xmlns="">', f"</{local}>", f'<{local} xmlns=""/>'
    if namespace == _XML_NAMESPACE:  # XML Names §3: no other prefix may be bound to it, and it needs no declaration
        return f"<xml:{local}>", f"</xml:{local}>", f"<xml:{local}/>"
    declared = f"x:{local} xmlns:x={attribute(namespace)}"
    return f"<{declared}>", f"</x:{local}>", f"<{declared}/>"


_remembered_tags = lru_cache(maxsize=4096)(_make_tags)


def wrap(name: str, inner: str) -> str:
    """An element around inner XML."""
    start, end, empty = tags(name)
    return f"{start}{inner}{end}" if inner else empty


def href_element(href: str) -> str:
    """DAV:href around an address that is percent-encoded already."""
    return f"<D:href>{escape(href)}</D:href>"


def serialise(element: Element) -> str:
    """An element as it was sent, standing on its own: attributes, children and xml:lang in scope are kept."""
    lang = "{http://www.w3.org/XML/1998/namespace}lang"
    parent = element.getparent()
    # RFC 4918 §4.3: xml:lang in scope is part of the property's value.
    while lang not in element.attrib and parent is not None:
        if lang in parent.attrib:
            element.set(lang, parent.get(lang) or "")
        parent = parent.getparent()
    tail, element.tail = element.tail, None
    try:
        return etree.tostring(element, encoding="unicode")
    finally:
        element.tail = tail


def comment(text: str) -> str:
    """A comment that says this; "" says nothing. Two hyphens end a comment, so no hyphen stays beside another."""
    return f"<!-- {escape(text).replace('--', '- -').replace('--', '- -')} -->" if text else ""


ROOT_NAMESPACES = " ".join(f'xmlns:{prefix}="{namespace}"' for namespace, prefix in PREFIXES.items())


def document(name: str, inner: str) -> bytes:
    """A whole document whose root declares our prefixes."""
    start, end, _ = tags(name)
    declared = f"{start[:-1]} {ROOT_NAMESPACES}>"
    return f'<?xml version="1.0" encoding="utf-8"?>\n{declared}{inner}{end}'.encode()
