"""Names, addresses and networks as mail servers' tables and files write them."""

from __future__ import annotations

import ipaddress
import re
import unicodedata

ADDRESS_CHARS_MAX = 254
_SPACE_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f,;<>()\"*%]")


def spellings(login: str, *, lower_case: bool) -> list[str]:
    """How a login may stand in a table: as it is, and with the domain in its ASCII form where that differs."""
    name = login.lower() if lower_case else login
    local, at, domain = name.rpartition("@")
    ascii_name = f"{local}@{ascii_domain(domain)}" if at else name
    return [name] if ascii_name == name else [name, ascii_name]


def ascii_domain(domain: str) -> str:
    """A domain in lower case and in its ASCII form (RFC 5891 A-labels), or only in lower case when it has none."""
    domain = domain.lower().removesuffix(".")
    if domain.isascii():
        return domain
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        return domain


def address_of(text: str) -> str:
    """An address for comparing and inviting: NFC, in lower case, the domain in its ASCII form; "" for what is none.

    A catch-all ("@example.org") or a pattern ("sales-%@example.org") is nobody's address.
    """
    text = unicodedata.normalize("NFC", text.strip()).lower()
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain or "@" in local or len(text) > ADDRESS_CHARS_MAX:
        return ""
    if _SPACE_OR_CONTROL.search(text):
        return ""
    return f"{local}@{ascii_domain(domain)}"


def targets_of(text: str) -> list[str]:
    """The targets of an alias, which are separated by commas, spaces or line breaks."""
    return [target for target in re.split(r"[\s,]+", text) if target]


def allowed_from(networks: str, client: str) -> bool:
    """Whether the client's address is in one of the networks ("10.0.0.0/8, ::1"); in any when none is named.

    An entry that is no network allows nobody, as Dovecot's allow_nets has it; so does a client without an address.
    """
    words = targets_of(networks.replace(";", " "))
    if not words:
        return True
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    for word in words:
        try:
            network = ipaddress.ip_network(word, strict=False)
        except ValueError:
            continue
        if address in network:
            return True
    return False
