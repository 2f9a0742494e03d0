"""Live properties of RFC 6352."""

from __future__ import annotations

from dav.context import Ctx, Node
from dav.filters.collation import COLLATIONS
from dav.names import cr
from dav.properties.base import Cell, Getter, Property, Selection
from dav.properties.caldav import description_property
from dav.vcard import AddressData, render_card
from dav.xml import decode, escape, href_element

_BOOKS = frozenset({"addressbook", "directory"})
_PLAIN = AddressData()


def _home_set(ctx: Ctx, node: Node) -> str | None:
    return href_element(ctx.urls.home("addressbooks", node.owner.name)) if node.owner is not None else None


def _supported_data(ctx: Ctx, node: Node) -> str:
    return (
        '<CR:address-data-type content-type="text/vcard" version="3.0"/>'
        '<CR:address-data-type content-type="text/vcard" version="4.0"/>'
    )


def _max_size(ctx: Ctx, node: Node) -> str:
    return str(ctx.config.limits.resource_bytes)


def _collations(ctx: Ctx, node: Node) -> str:
    return "".join(f"<CR:supported-collation>{escape(name)}</CR:supported-collation>" for name in sorted(COLLATIONS))


def _directory(ctx: Ctx, node: Node) -> str | None:
    return href_element(ctx.urls.directory()) if ctx.config.directory.visible else None


def _address_data(selection: Selection) -> Getter:
    wanted = selection.card or _PLAIN

    def get(ctx: Ctx, node: Node) -> str | None:
        if node.body is None:
            return None
        text = render_card(node.body, wanted)
        return escape(decode(text))

    return get


def _data_listed(ctx: Ctx, kind: str, selection: Selection) -> Cell:
    wanted = selection.card or _PLAIN

    def text(body: bytes) -> str:
        card = render_card(body, wanted)
        if card is not body:
            ctx.leave_lane()  # cards are being converted
        return escape(decode(card))

    return Cell("content", text=text)


ROWS = (
    Property(cr("addressbook-home-set"), "6352 §7.1.1", frozenset({"principal", "addressbook-home"}), _home_set),
    description_property(cr("addressbook-description"), "6352 §6.2.1", frozenset({"addressbook"})),
    Property(cr("supported-address-data"), "6352 §6.2.2", _BOOKS, _supported_data),
    Property(cr("max-resource-size"), "6352 §6.2.3", frozenset({"addressbook"}), _max_size),
    Property(cr("supported-collation-set"), "6352 §8.3.1", _BOOKS, _collations),
    Property(cr("directory-gateway"), "draft-daboo-carddav-directory-gateway §4",
             frozenset({"principal", "addressbook-home"}), _directory),
    Property(cr("address-data"), "6352 §10.4", frozenset({"card", "directory-card"}), bind=_address_data,
             listed=_data_listed, body=True),
)  # fmt: skip
