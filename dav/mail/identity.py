"""Who a mail is from, and whether that is proven: Authentication-Results (RFC 8601) of our own mail server alone. Pure.

A mail says of itself what it likes. What counts is what the mail server has found out, told in the topmost header that
bears its name (`mail_in.authserv_id`); the mail server must take away such headers from outside.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from dav.scheduling.addresses import domain_key, mail_of, normalise, without_tag

_RESULTS_MAX = 40
# One "method=result" with its properties; values may be quoted. Comments are gone before.
_PAIR = re.compile(r'([A-Za-z0-9_.-]+)\s*=\s*("(?:[^"\\]|\\.)*+"|[^\s;]+)')
_METHOD = re.compile(r"([A-Za-z0-9-]+)(?:\s*/\s*\d+)?\s*=\s*([A-Za-z0-9-]+)")

PASS, FAIL, NONE = "pass", "fail", "none"


@dataclass(frozen=True, slots=True)
class Found:
    """One method's result. method, result: lower case. properties: "header.d" → value, lower-case names."""

    method: str
    result: str
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Proof:
    """What is proven of a mail. verdict: PASS, FAIL or NONE (nobody has looked, or nothing can be said).

    domains: domains that vouch for it, normalised: those of DKIM signatures that hold and of the envelope sender that
    SPF allows, whether aligned with From or not. envelope: SPF allows the envelope sender's domain.
    """

    verdict: str
    domains: frozenset[str] = frozenset()
    envelope: bool = False
    reason: str = ""


def results_of(values: Sequence[str], ours: Collection[str]) -> list[Found] | None:
    """The results in the topmost header whose authserv-id is one of ours; None when there is none."""
    names = {name.casefold() for name in ours}
    for value in values:
        server, found = parse_results(value)
        if server in names:
            return found
    return None


def parse_results(value: str) -> tuple[str, list[Found]]:
    """(authserv-id in lower case, results) of one Authentication-Results value; what cannot be read is left out."""
    text = _without_comments(value)
    pieces = _at_semicolons(text)
    words = pieces[0].split()
    server = words[0].strip('"').casefold() if words else ""
    found: list[Found] = []
    for piece in pieces[1 : _RESULTS_MAX + 1]:
        match = _METHOD.match(piece.strip())
        if match is None:
            continue
        rest = piece.strip()[match.end() :]
        properties = {key.lower(): _unquoted(text) for key, text in _PAIR.findall(rest)[:20]}
        found.append(Found(match[1].lower(), match[2].lower(), properties))
    return server, found


def _without_comments(value: str) -> str:
    out: list[str] = []
    depth, quoted, skip = 0, False, False
    for char in value:
        if skip:
            skip = False
            if not depth:
                out.append(char)
        elif char == "\\" and (quoted or depth):
            skip = True
            if not depth:
                out.append(char)
        elif quoted:
            quoted = char != '"'
            out.append(char)
        elif char == "(":
            depth += 1
        elif char == ")" and depth:
            depth -= 1
            out.append(" ")
        elif not depth:
            quoted = char == '"'
            out.append(char)
    return "".join(out)


def _at_semicolons(text: str) -> list[str]:
    pieces, start, quoted = [], 0, False
    for position, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif char == ";" and not quoted:
            pieces.append(text[start:position])
            start = position + 1
    return [*pieces, text[start:]]


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if len(text) > 1 and text[0] == text[-1] == '"' else text


def _domain(value: str) -> str:
    """The domain in a property: an address, "@domain" or a domain."""
    return domain_key(value.rpartition("@")[2].strip().strip("<>"))


def aligned(domain: str, author: str) -> bool:
    """Whether a domain may vouch for an author's domain: the same one, or one above it with a dot in it.

    The other direction (a subdomain for its parent) is DMARC's to allow, which knows the public suffixes.
    """
    return bool(domain) and (domain == author or ("." in domain and author.endswith(f".{domain}")))


def prove(
    sender: str, results: Sequence[Found] | None, *, own_addresses: Collection[str] = (), delimiters: str = ""
) -> Proof:
    """What the mail server's results say of a normalised sender ("mailto:…").

    own_addresses: the sender's other addresses, when it is somebody here who may have signed in with another one.
    """
    if results is None:
        return Proof(NONE, reason="the mail server has said nothing about it")
    author = _domain(mail_of(sender) or "")
    domains: set[str] = set()
    envelope = verdict = ""
    dmarc = ""
    failed: list[str] = []
    for found in results:
        domain, passes = _vouched(found)
        if found.method == "dmarc":
            named = _domain(found.properties.get("header.from", ""))
            # A result about another From is none about this one.
            dmarc = found.result if not named or named == author else "fail"
            if dmarc == "pass" and author:
                verdict = PASS
                domains.add(author)
        elif passes and domain:
            domains.add(domain)
            if found.method == "spf" and "@" in found.properties.get("smtp.mailfrom", "@"):
                envelope = domain
            if author and aligned(domain, author):
                verdict = verdict or PASS
        elif found.method in ("dkim", "spf") and found.result in ("fail", "hardfail", "policy"):
            failed.append(found.method)
        if found.method == "auth" and found.result == "pass" and _signed_in(found, sender, own_addresses, delimiters):
            verdict = PASS
            domains.add(author)
    if dmarc in ("fail", "quarantine", "reject") and not _by_login(results, sender, own_addresses, delimiters):
        return Proof(FAIL, frozenset(domains), bool(envelope), "DMARC fails for its sender")
    if verdict == PASS:
        return Proof(PASS, frozenset(domains), bool(envelope))
    if failed and dmarc != "none":
        return Proof(FAIL, frozenset(domains), bool(envelope), f"{failed[0].upper()} fails for its sender")
    return Proof(NONE, frozenset(domains), bool(envelope), "nothing proves its sender")


def _vouched(found: Found) -> tuple[str, bool]:
    """(domain, whether it vouches) of a DKIM or SPF result."""
    if found.method == "dkim":
        text = found.properties.get("header.d") or found.properties.get("header.i") or ""
    elif found.method == "spf":
        text = found.properties.get("smtp.mailfrom") or found.properties.get("envelope-from") or ""
    else:
        return "", False
    return _domain(text), found.result == "pass"


def _signed_in(found: Found, sender: str, own: Collection[str], delimiters: str) -> bool:
    """Whether the person who signed in to send it is the sender (RFC 8601 §2.7.4)."""
    login = normalise(found.properties.get("smtp.auth", ""))
    sender = without_tag(sender, delimiters)
    return bool(login) and (login == sender or (login in own and sender in own))


def _by_login(results: Sequence[Found], sender: str, own: Collection[str], delimiters: str) -> bool:
    return any(
        found.method == "auth" and found.result == "pass" and _signed_in(found, sender, own, delimiters)
        for found in results
    )


def same_person(
    claimed: str, sender: str, *, delimiters: str = "", known: Mapping[str, frozenset[str]] | None = None
) -> bool:
    """Whether a mail's sender may speak for a calendar user: equal, equal without a tag, or one person here.

    Both are normalised. known: for each address of somebody here all addresses of that person. A tag is dropped on
    both sides: alice+work@ answers what alice+home@ was sent.
    """
    if not claimed or not sender:
        return False
    if claimed == sender or (delimiters and without_tag(claimed, delimiters) == without_tag(sender, delimiters)):
        return True
    everyone = known or {}
    return claimed in everyone.get(sender, frozenset())
