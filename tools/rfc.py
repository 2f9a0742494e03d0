"""Writes docs/rfc.md: which section of which RFC is met where, from the comments and docstrings in the code.

Two forms are read, anywhere in dav/ and storage/: "RFC 6578 §3.2" is a reference; "RFC 4791 §9.9 todo: text" is a debt.
Several sections may follow one number: "RFC 6638 §3.2.10, §3.2.11".
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "docs" / "rfc.md"

# A number that is not here fails the test: a slip of the pen in a comment would otherwise become a claim.
TITLES = {
    822: "Internet message format (superseded by 5322)",
    2033: "Local mail transfer protocol (LMTP)",
    2034: "SMTP enhanced error codes",
    2047: "Non-ASCII text in mail headers",
    2177: "IMAP IDLE",
    2231: "MIME parameter values, character sets and continuations",
    2397: 'The "data" URL scheme',
    2425: "A MIME content-type for directory information",
    2426: "vCard MIME directory profile (vCard 3.0)",
    2445: "iCalendar (superseded by 5545)",
    2518: "WebDAV (superseded by 4918)",
    2585: "Certificates and CRLs by FTP and HTTP",
    2739: "Calendar attributes for vCard and LDAP",
    2971: "IMAP ID",
    3156: "MIME security with OpenPGP",
    3207: "SMTP over TLS (STARTTLS)",
    3230: "Instance digests in HTTP",
    3253: "Versioning extensions to WebDAV: REPORT, expand-property",
    3339: "Date and time on the Internet",
    3463: "Enhanced mail system status codes",
    3464: "Delivery status notifications",
    3629: "UTF-8",
    3744: "WebDAV access control",
    3834: "Automatic responses to mail",
    3966: "The tel URI",
    3986: "URI generic syntax",
    4331: "Quota and size properties for DAV collections",
    4437: "WebDAV redirect references",
    4511: "LDAP",
    4513: "LDAP: authentication and security",
    4514: "LDAP: distinguished names as strings",
    4515: "LDAP: search filters as strings",
    4648: "Base16, Base32 and Base64",
    4770: "vCard extensions for instant messaging",
    4790: "Application protocol collation registry",
    4791: "CalDAV",
    4918: "WebDAV",
    4954: "SMTP authentication",
    5051: "i;unicode-casemap",
    5233: "Sieve subaddress",
    5234: "ABNF",
    5321: "SMTP",
    5322: "Internet message format",
    5323: "WebDAV SEARCH",
    5397: "WebDAV current principal",
    5530: "IMAP response codes",
    5545: "iCalendar",
    5546: "iTIP",
    5646: "Language tags",
    5689: "Extended MKCOL",
    5802: "SCRAM",
    5842: "Binding extensions to WebDAV",
    5861: "Cache-control extensions for stale content",
    5870: "The geo URI",
    5890: "Internationalized domain names",
    5891: "Internationalized domain names in applications: protocol",
    5988: "Web linking",
    5995: "POST to add members",
    6047: "iMIP",
    6266: "Content-Disposition in HTTP",
    6321: "xCal",
    6350: "vCard 4.0",
    6352: "CardDAV",
    6473: "vCard KIND:application",
    6474: "vCard birth and death properties",
    6522: "multipart/report",
    6531: "SMTPUTF8",
    6578: "Collection synchronisation for WebDAV",
    6585: "Additional HTTP status codes",
    6638: "Scheduling extensions to CalDAV",
    6715: "vCard extensions of the Open Mobile Alliance",
    6749: "OAuth 2.0",
    6750: "OAuth 2.0 bearer tokens",
    6764: "Locating CalDAV and CardDAV services",
    6868: "Parameter value encoding in iCalendar and vCard",
    7230: "HTTP/1.1 message syntax (superseded by 9112)",
    7231: "HTTP/1.1 semantics (superseded by 9110)",
    7232: "HTTP/1.1 conditional requests (superseded by 9110)",
    7233: "HTTP/1.1 range requests (superseded by 9110)",
    7239: "Forwarded HTTP extension",
    7240: "Prefer header for HTTP",
    7265: "jCal",
    7517: "JSON web keys",
    7518: "JSON web algorithms",
    7519: "JSON web tokens",
    7529: "Non-Gregorian recurrence rules",
    7538: "Status code 308",
    7578: "multipart/form-data",
    7617: "Basic authentication",
    7662: "OAuth 2.0 token introspection",
    7808: "Time zone data distribution service",
    7809: "CalDAV: time zones by reference",
    7914: "scrypt",
    7953: "Calendar availability",
    7986: "New properties for iCalendar",
    8030: "Web push",
    8037: "CFRG elliptic curves in JOSE",
    8144: "Prefer header in WebDAV",
    8187: "Header field parameters in other charsets",
    8265: "User names and passwords (PRECIS)",
    8291: "Message encryption for web push",
    8297: "Early hints",
    8414: "OAuth 2.0 authorization server metadata",
    8601: "Authentication-Results",
    8607: "CalDAV managed attachments",
    8615: "Well-known URIs",
    8725: "JSON web tokens: best current practices",
    9051: "IMAP",
    9068: "JWT profile for OAuth 2.0 access tokens",
    9073: "Event publishing extensions to iCalendar",
    9074: "VALARM extensions",
    9106: "Argon2",
    9110: "HTTP semantics",
    9111: "HTTP caching",
    9112: "HTTP/1.1",
    9253: "iCalendar relationships",
    9554: "vCard extensions for JSContact",
    9555: "Conversion between JSContact and vCard",
    9562: "UUIDs",
    9728: "OAuth 2.0 protected resource metadata",
}

_NUMBER = re.compile(r"\bRFC[ -]?(\d{3,5})\b")
_REFERENCE = re.compile(r"\bRFC (\d{3,5})((?:,? (?:and |or )?§[0-9A-Z]+(?:\.[0-9A-Z]+)*)+)( todo:? *([^\n]*))?")
_SECTION = re.compile(r"§([0-9A-Z]+(?:\.[0-9A-Z]+)*)")


@dataclass(frozen=True, slots=True)
class Reference:
    """One section named at one place. path: from the root. todo: what is missing there, or None."""

    rfc: int
    section: str
    path: str
    line: int
    todo: str | None


def sources(root: Path = ROOT) -> list[Path]:
    """Every Python file of the program."""
    return sorted(path for package in ("dav", "storage") for path in (root / package).rglob("*.py"))


def references(text: str, path: str) -> Iterator[Reference]:
    """The references in one file's text."""
    for number, line in enumerate(text.splitlines(), start=1):
        for match in _REFERENCE.finditer(line):
            todo = (match[4] or "").strip() if match[3] else None
            for section in _SECTION.findall(match[2]):
                yield Reference(int(match[1]), section, path, number, todo)


def unknown_numbers(text: str) -> list[tuple[int, int]]:
    """(line, RFC number) of every RFC named in a text that TITLES does not know."""
    return [
        (number, int(rfc))
        for number, line in enumerate(text.splitlines(), start=1)
        for rfc in _NUMBER.findall(line)
        if int(rfc) not in TITLES
    ]


def document(found: list[Reference]) -> str:
    """The text of docs/rfc.md."""
    by_rfc: dict[int, dict[str, list[Reference]]] = defaultdict(lambda: defaultdict(list))
    for reference in found:
        by_rfc[reference.rfc][reference.section].append(reference)
    lines = [
        "# Which RFC is met where",
        "",
        "Made by `make rfc` from the references in the code; not written by hand. A section that is missing here may",
        "still be met: only lines that would surprise without their reason carry one. *todo* marks what is known to be",
        "missing.",
        "",
    ]
    for rfc in sorted(by_rfc):
        lines += [f"## RFC {rfc}: {TITLES.get(rfc, '(unknown)')}", "", "| section | where | |", "| --- | --- | --- |"]
        for section in sorted(by_rfc[rfc], key=_section_key):
            done = sorted({r.path for r in by_rfc[rfc][section] if r.todo is None})
            if done:
                lines.append(f"| §{section} | {', '.join(f'`{path}`' for path in done)} | done |")
            for debt in by_rfc[rfc][section]:
                if debt.todo is not None:
                    lines.append(f"| §{section} | `{debt.path}` | todo: {debt.todo.replace('|', '/')} |")
        lines.append("")
    return "\n".join(lines)


def _section_key(section: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in section.split(".")]


def collect(root: Path = ROOT) -> list[Reference]:
    """All references of the program."""
    return [
        reference
        for path in sources(root)
        for reference in references(path.read_text("utf-8"), path.relative_to(root).as_posix())
    ]


def main() -> int:
    """Writes the file, or with --check only says whether it would change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if docs/rfc.md is out of date")
    arguments = parser.parse_args()
    text = document(collect())
    if arguments.check:
        same = OUTPUT.is_file() and OUTPUT.read_text("utf-8") == text
        print("docs/rfc.md is up to date." if same else "docs/rfc.md is out of date: run make rfc.")
        return 0 if same else 1
    OUTPUT.write_text(text, "utf-8")
    print(f"Wrote {OUTPUT.relative_to(ROOT)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
