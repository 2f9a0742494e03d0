"""Path ↔ place. The only file that knows the layout of our addresses.

/                                        the bare host, for clients that are given nothing else
/dav/                                    the DAV root
/dav/principals/{account}/               principals
/dav/calendars/{account}/…               calendar home, calendars, objects
/dav/addressbooks/{account}/…            address book home, books, cards
/dav/files/{account}/…                   plain WebDAV
/dav/directory/{name}                    the read-only book of this server's accounts
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes, urlsplit

from dav.errors import DavError
from storage.text import nfc

HOME_AREAS = ("calendars", "addressbooks", "files")
NAME_BYTES_MAX = 1000  # of one path segment, decoded; DAVx5 names objects by their UID, which can be long
_PATH_CHARS_MAX = 64 * 1024
_SAFE = "!$&'()*+,;=:~-._"  # RFC 3986 pchar without "@": Apple's clients want %40 (one spelling, always the same)
_PLAIN = re.compile(r"[A-Za-z0-9!$&'()*+,;=:~\-._]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_OTHER_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names, before the store is asked.

    area: "host" (/), "root" (/dav/), "principals", "calendars", "addressbooks", "files", "directory", or "none".
    account: the account's name as it stands in the path, decoded; "" above it. path: what follows, joined with "/",
    without slashes at its ends. slash: whether the path ended in one.
    """

    area: str
    account: str = ""
    path: str = ""
    slash: bool = True

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def parent_path(self) -> str:
        return self.path.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Urls:
    """Builds and reads addresses. base: the prefix under which a proxy mounts us, "" or "/prefix"."""

    base: str = ""

    def parse(self, raw_path: str) -> Place:
        """The place of a percent-encoded path.

        Raises DavError(404) for what is not ours, DavError(400) for paths that name nothing anywhere: encoded slashes,
        "." and ".." segments, control characters (but for a line feed in the name of a member), bytes that are not
        UTF-8; and DavError(414) for over-long names.
        """
        if len(raw_path) > _PATH_CHARS_MAX:  # of a request it cannot be longer; of an address in a body it can
            raise DavError(414, detail="The address is too long.")
        if self.base:
            if raw_path != self.base and not raw_path.startswith(self.base + "/"):
                raise DavError(404, detail="This address is outside the prefix that this server is mounted at.")
            raw_path = raw_path[len(self.base) :] or "/"
        parts = [part for part in raw_path.split("/") if part]
        # A program that names its objects by their UIDs may put a line feed into a name. It is one like others where
        # names are only identifiers; the log and every href show it percent-encoded.
        named = parts[:1] == ["dav"] and parts[1:2] in (["calendars"], ["addressbooks"])
        parts = [decode_segment(part, line_feed=named and index == 4) for index, part in enumerate(parts)]
        slash = raw_path.endswith("/")
        if not parts:
            return Place("host")
        if parts[0] != "dav":
            raise DavError(404, detail="There is nothing at this address.")
        if len(parts) == 1:
            return Place("root", slash=slash)
        area = parts[1]
        if area == "directory":
            return Place(area, path="/".join(parts[2:]), slash=slash)
        if area not in HOME_AREAS and area != "principals":
            raise DavError(404, detail="There is nothing at this address.")
        if len(parts) == 2:
            return Place(area, slash=slash)
        account = _once_more(parts[2]) if area == "principals" else parts[2]
        return Place(area, account, "/".join(parts[3:]), slash)

    def parse_href(self, href: str) -> Place | None:
        """The place of an href in a body: an absolute path or an absolute URL; None when it is not ours.

        The host of a URL is not compared: a proxy may give us another name than the client knows, and nothing is
        fetched from it.
        """
        href = href.strip()
        if not href.startswith("/"):
            try:
                url = urlsplit(href)
            except ValueError:
                return None
            if url.scheme.lower() not in ("http", "https"):
                return None
            href = url.path or "/"
        href = href.partition("?")[0].partition("#")[0]
        try:
            return self.parse(href)
        except DavError:
            return None

    def host(self) -> str:
        return f"{self.base}/"

    def root(self) -> str:
        return f"{self.base}/dav/"

    def principals(self) -> str:
        return f"{self.base}/dav/principals/"

    def principal(self, account: str) -> str:
        return f"{self.base}/dav/principals/{encode_segment(account)}/"

    def directory(self, name: str = "") -> str:
        return f"{self.base}/dav/directory/{encode_segment(name)}"

    def home(self, area: str, account: str) -> str:
        return f"{self.base}/dav/{area}/{encode_segment(account)}/"

    def collection(self, area: str, account: str, path: str) -> str:
        """Canonical href of a collection; path "" is the home."""
        home = self.home(area, account)
        return home + "".join(encode_segment(part) + "/" for part in path.split("/")) if path else home

    def area_root(self, area: str) -> str:
        return f"{self.base}/dav/{area}/"


def _once_more(name: str) -> str:
    """An account's name from the address of a principal, decoded once.

    CLIENT Thunderbird 153: encodes the address of its principal again, and does without invitations when there is
    nothing at it. Where a name should have its @ there is no other one.
    """
    return name.replace("%40", "@") if "%40" in name and "@" not in name else name


def decode_segment(segment: str, *, line_feed: bool = False) -> str:
    """One path segment, percent-decoded once, NFC. line_feed: whether one may stand in it.

    Raises DavError(400), DavError(414) for a name that is too long.
    """
    if "%" in segment or not segment.isascii():
        try:
            segment = nfc(unquote_to_bytes(segment).decode())
        except UnicodeDecodeError:
            raise DavError(400, detail="The path is not UTF-8.") from None
    if segment in (".", "..") or "/" in segment or (_OTHER_CONTROL if line_feed else _CONTROL).search(segment):
        raise DavError(400, detail="The path has a segment that cannot be a name.")
    if len(segment) > NAME_BYTES_MAX // 4 and len(segment.encode()) > NAME_BYTES_MAX:
        raise DavError(414, detail=f"A name in the path is longer than {NAME_BYTES_MAX} bytes.")
    return segment


def encode_segment(name: str) -> str:
    """The one percent-encoded spelling of a name."""
    # Nearly all names need nothing, and a listing asks for each: a match costs a tenth of what quote() does.
    return name if _PLAIN.fullmatch(name) else quote(name, safe=_SAFE)
