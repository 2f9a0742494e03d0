"""Request header fields as values: Depth, Destination, Overwrite, If and its relatives, Range, Timeout, Prefer, Accept.

Everything here is pure and bounded. A field that the RFC lets a server ignore when it is malformed is ignored; one that
guards a write and cannot be understood is 400, since going on would do what the client wanted to prevent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from dav.context import Request
from dav.errors import DavError
from dav.urls import Place

IF_BYTES_MAX = 32 * 1024
IF_CONDITIONS_MAX = 500
ETAGS_MAX = 1000
RANGES_MAX = 16
DEFAULT_LOCK_S = 3600


# ---- Depth, Overwrite, Destination -------------------------------------------------------------------------


def depth_of(request: Request, default: str, allowed: tuple[str, ...] = ("0", "1", "infinity")) -> str:
    """Depth (RFC 4918 §10.2) as "0", "1" or "infinity"; `default` when absent. Raises DavError(400)."""
    value = request.header("depth").strip().lower() or default
    if value not in allowed:
        raise DavError(400, detail=f"Depth must be one of: {', '.join(allowed)}.")
    return value


def overwrite(request: Request) -> bool:
    """Overwrite (RFC 4918 §10.6); True when absent. Raises DavError(400)."""
    value = request.header("overwrite", "T").strip().upper() or "T"
    if value not in ("T", "F"):
        raise DavError(400, detail="Overwrite must be T or F.")
    return value == "T"


def own_hosts(request: Request) -> frozenset[str]:
    """The authorities under which this server is known to the client, lower case, without default ports.

    request.host is the Host field, or X-Forwarded-Host where a trusted proxy set it; public_url is the setting.
    """
    hosts = {_authority(request.host, "http"), _authority(request.host, "https")}
    public = request.config.server.public_url
    if public:
        url = urlsplit(public)
        hosts.add(_authority(url.netloc, url.scheme))
    return frozenset(hosts - {""})


def _authority(netloc: str, scheme: str) -> str:
    """host[:port], lower case, the scheme's default port and any user name left out."""
    host = netloc.rpartition("@")[2].strip().lower()
    port = ":443" if scheme == "https" else ":80"
    return host.removesuffix(port)


def destination(request: Request) -> Place:
    """Destination (RFC 4918 §10.3) as a place: an absolute URL of this server, or an absolute path.

    Raises DavError(400) when it is missing or unreadable; DavError(502) when it names another server (RFC 4918 §9.8.5),
    since nothing may happen then: a client that believes in a move deletes its source. DavError(403) for an address of
    this server that is not below the DAV root.
    """
    value = _utf8(request.header("destination").strip())
    if not value:
        raise DavError(400, detail="The Destination header is missing.")
    if "://" in value:
        try:
            url = urlsplit(value)
        except ValueError:
            raise DavError(400, detail="The Destination header is not a URL.") from None
        if url.scheme.lower() not in ("http", "https"):
            raise DavError(502, detail="The Destination is on another server.")
        # The scheme is not compared: behind a proxy that ends TLS, we may see http where the client says https.
        if _authority(url.netloc, url.scheme.lower()) not in own_hosts(request):
            raise DavError(502, detail="The Destination is on another server.")
        value = url.path or "/"
    elif not value.startswith("/") or value.startswith("//"):
        raise DavError(400, detail="The Destination header is neither an absolute URL nor an absolute path.")
    else:
        value = value.partition("#")[0].partition("?")[0]
    try:
        return request.urls.parse(value)
    except DavError as error:
        if error.status == 404:
            raise DavError(403, detail="The Destination is outside of the DAV tree.") from None
        raise


def _utf8(value: str) -> str:
    """A header value whose octets are UTF-8, although HTTP hands them over as Latin-1."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


# ---- entity tags and dates ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ETag:
    """An entity tag (RFC 9110 §8.8.3). value: without quotes."""

    value: str
    weak: bool = False


@dataclass(frozen=True, slots=True)
class ETags:
    """The value of If-Match or If-None-Match. any: it was "*"."""

    any: bool
    tags: tuple[ETag, ...] = ()

    def matches_strongly(self, etags: tuple[str, ...]) -> bool:
        """RFC 9110 §13.1.1: True when one of the resource's tags is named; a weak tag never matches."""
        return any(not tag.weak and tag.value in etags for tag in self.tags)

    def matches_weakly(self, etags: tuple[str, ...]) -> bool:
        """RFC 9110 §13.1.2: as above, but W/ is ignored."""
        return any(tag.value in etags for tag in self.tags)


_ETAG = re.compile(r'(?:(W/)?"([^"]*)"|([^\s,"]+))')


def parse_etags(value: str) -> ETags | None:
    """If-Match, If-None-Match (RFC 9110 §13.1). None when the field is absent or empty.

    A tag without quotes is taken as it stands, since some clients lose them. Raises DavError(400) for too many tags.
    """
    value = value.strip()
    if not value:
        return None
    if value in ("*", '"*"'):  # some clients put the star in quotes, and mean it
        return ETags(True)
    tags = []
    for found in _ETAG.finditer(value):
        weak, quoted, bare = found.groups()
        tags.append(ETag(bare if quoted is None else quoted, weak is not None))
        if len(tags) > ETAGS_MAX:
            raise DavError(400, detail=f"More than {ETAGS_MAX} entity tags.")
    return ETags(False, tuple(tags))


def http_date(value: str) -> int | None:
    """Seconds since 1970 of an HTTP date (RFC 9110 §5.6.7); None when absent or not a date, which is then ignored."""
    if not value or len(value) > 64:
        return None
    try:
        return int(parsedate_to_datetime(value).timestamp())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


# ---- If ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of an If list: a state token or an entity tag, possibly negated."""

    negated: bool
    token: str | None = None
    etag: ETag | None = None


@dataclass(frozen=True, slots=True)
class StateList:
    """One parenthesised list. tagged: it is about `place` (None: not an address of ours), else about the request's."""

    conditions: tuple[Condition, ...]
    tagged: bool = False
    place: Place | None = None


_IF_PART = re.compile(
    r"""[\s,]*(?:
        (?P<uri><[^<>\s]*>)
      | \[\s*(?P<weak>W/)?"(?P<etag>[^"]*)"\s*\]
      | \[\s*(?P<bare>[^\]"\s]+)\s*\]
      | (?P<open>\() | (?P<close>\))
      | (?P<not>[Nn][Oo][Tt])(?=[\s<\[])
    )""",
    re.VERBOSE,
)


def parse_if(request: Request) -> tuple[StateList, ...]:
    """If (RFC 4918 §10.4), tagged or not; () when absent. Raises DavError(400) for a malformed one."""
    value = _utf8(request.header("if").strip())
    if not value:
        return ()
    if len(value) > IF_BYTES_MAX:
        raise DavError(400, detail="The If header is too long.")
    lists: list[StateList] = []
    conditions: list[Condition] | None = None  # of the list that is open
    tagged, place, negated, count, position = False, None, False, 0, 0
    while position < len(value):
        found = _IF_PART.match(value, position)
        if found is None:
            if value[position:].strip(" \t,"):
                raise _bad_if()
            break
        position = found.end()
        kind = found.lastgroup
        if kind == "uri" and conditions is None:
            if lists and not tagged:
                raise _bad_if()  # the grammar allows tagged or untagged lists, not both
            tagged, place = True, _tagged_place(request, found["uri"][1:-1])
        elif kind == "open" and conditions is None:
            conditions = []
        elif kind == "close" and conditions and not negated:
            lists.append(StateList(tuple(conditions), tagged, place))
            conditions = None
        elif kind == "not" and conditions is not None and not negated:
            negated = True
        elif kind in ("uri", "etag", "bare") and conditions is not None:
            if kind == "uri":
                conditions.append(Condition(negated, token=found["uri"][1:-1]))
            else:
                tag = ETag(found[kind], kind == "etag" and found["weak"] is not None)
                conditions.append(Condition(negated, etag=tag))
            negated = False
            count += 1
            if count > IF_CONDITIONS_MAX:
                raise DavError(400, detail=f"The If header has more than {IF_CONDITIONS_MAX} conditions.")
        else:
            raise _bad_if()
    if conditions is not None or not lists:
        raise _bad_if()
    return tuple(lists)


def _bad_if() -> DavError:
    return DavError(400, detail="The If header is malformed.")


def _tagged_place(request: Request, uri: str) -> Place | None:
    if "://" in uri:
        try:
            url = urlsplit(uri)
        except ValueError:
            return None
        if _authority(url.netloc, url.scheme.lower()) not in own_hosts(request):
            return None
        uri = url.path or "/"
    return request.urls.parse_href(uri)


# ---- all preconditions of a request ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What a request wants to be true before anything happens. Dates are seconds since 1970 UTC."""

    if_match: ETags | None = None
    if_none_match: ETags | None = None
    modified_since_s: int | None = None
    unmodified_since_s: int | None = None
    lists: tuple[StateList, ...] = ()
    schedule_tag: str | None = None

    @property
    def tokens(self) -> frozenset[str]:
        """Every state token in the If header: naming one submits it, whatever its list says (RFC 4918 §10.4.1)."""
        return frozenset(item.token for one in self.lists for item in one.conditions if item.token is not None)


def preconditions(request: Request) -> Preconditions:
    """The conditional header fields of a request. Raises DavError(400)."""
    tag = request.header("if-schedule-tag-match").strip()
    return Preconditions(
        parse_etags(request.header("if-match")),
        parse_etags(request.header("if-none-match")),
        http_date(request.header("if-modified-since")),
        http_date(request.header("if-unmodified-since")),
        parse_if(request),
        tag.strip('"') if tag else None,
    )


# ---- Range -------------------------------------------------------------------------------------------------


def byte_range(request: Request, size: int, etag: str, modified_s: int) -> tuple[int, int] | None:
    """(first, last) byte of the one range asked for (RFC 9110 §14.2), both included; None: send everything.

    Several ranges, other units, malformed fields and an If-Range that does not fit are answered with everything, as the
    RFC allows. Raises DavError(416) for a range that begins behind the end.
    """
    value = request.header("range").strip().lower()
    if not value.startswith("bytes=") or not _if_range_holds(request.header("if-range").strip(), etag, modified_s):
        return None
    specs = [spec.strip() for spec in value[6:].split(",", RANGES_MAX) if spec.strip()]
    if len(specs) != 1:
        return None
    found = re.fullmatch(r"(\d{0,18})\s*-\s*(\d{0,18})", specs[0], re.ASCII)
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        first, last = max(0, size - int(found[2])), size - 1
        if int(found[2]) == 0:
            first = size
    else:
        first, last = int(found[1]), int(found[2]) if found[2] else size - 1
        if last < first and found[2]:
            return None
    if first >= size:
        raise DavError(
            416, detail="The range is outside of the resource.", headers=(("Content-Range", f"bytes */{size}"),)
        )
    return first, min(last, size - 1)


def _if_range_holds(value: str, etag: str, modified_s: int) -> bool:
    """If-Range (RFC 9110 §13.1.5): a strong tag or an exact date."""
    if not value:
        return True
    if value.startswith('"'):
        return value.strip('"') == etag
    return http_date(value) == modified_s


# ---- locks -------------------------------------------------------------------------------------------------


def timeout(request: Request) -> int:
    """Seconds granted for Timeout (RFC 4918 §10.7): the first entry we understand, bounded by limits.lock_seconds."""
    most = request.config.limits.lock_seconds
    for entry in request.header("timeout").split(",")[:16]:
        entry = entry.strip().lower()
        if entry == "infinite":
            return most
        found = re.fullmatch(r"second-(\d{1,20})", entry, re.ASCII)
        if found:
            return max(1, min(int(found[1]), most))
    return min(DEFAULT_LOCK_S, most)


def lock_token(request: Request) -> str:
    """Lock-Token (RFC 4918 §10.5) without its angle brackets. Raises DavError(400)."""
    value = request.header("lock-token").strip()
    if len(value) < 3 or value[0] != "<" or value[-1] != ">":
        raise DavError(400, detail="The Lock-Token header is missing or malformed.")
    return value[1:-1]


# ---- Prefer, Accept, Content-Type --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prefer:
    """Prefer (RFC 7240, RFC 8144). returns: "minimal", "representation" or ""."""

    returns: str = ""
    depth_noroot: bool = False


def prefer(request: Request) -> Prefer:
    """The preferences of a request. `Brief: t` is the older form of return=minimal, which Apple's clients send too."""
    returns, noroot = "", False
    value = request.header("prefer")
    for entry in value.split(",")[:32] if value else ():
        name, _, content = entry.partition(";")[0].strip().lower().partition("=")
        content = content.strip().strip('"')
        name = name.strip()
        if name == "return" and not returns and content in ("minimal", "representation"):
            returns = content
        elif name in ("return-minimal", "return-representation") and not returns:
            returns = name.removeprefix("return-")
        elif name == "depth-noroot":
            noroot = True
    if not returns and request.header("brief").strip().lower() == "t":
        returns = "minimal"
    return Prefer(returns, noroot)


def prefers_minimal(request: Request) -> bool:
    """Whether the client can do without what it could find out itself (RFC 8144 §2)."""
    return prefer(request).returns == "minimal"


def prefers_no_root(request: Request) -> bool:
    """Whether a PROPFIND wants the members without the collection (RFC 8144 §4)."""
    return prefer(request).depth_noroot


def media_type(value: str) -> str:
    """type/subtype of a Content-Type, lower case, without parameters; "" when absent."""
    return value.partition(";")[0].strip().lower()


_STORABLE_TYPE = re.compile(
    r"[A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+-]{1,100}(?:[ ]*;[\x20-\x7e]{0,200})?", re.ASCII
)


def storable_type(value: str) -> str | None:
    """A Content-Type that may be stored and sent back as it is; None for anything that is not a media type."""
    value = value.strip()
    return value if _STORABLE_TYPE.fullmatch(value) else None


def card_version(accept: str, stored: str) -> str | None:
    """The vCard version that GET must convert to, or None to send a card as it is stored.

    RFC 6352 §5.1: clients choose the version by Accept. What is stored is sent whenever the field allows it at all, so
    that bytes and entity tag stay the ones that clients know from PUT and PROPFIND; only a field that accepts another
    version and not this one makes a conversion. stored: "2.1", "3.0" or "4.0".
    """
    if "vcard" not in accept.lower():
        return None
    best, best_q = None, 0.0
    for entry in accept.lower().split(",")[:32]:
        kind, *parameters = [part.strip() for part in entry.split(";")]
        values = {
            name.strip(): content.strip().strip('"') for name, _, content in (p.partition("=") for p in parameters)
        }
        quality = _quality(values.get("q", "1"))
        if quality <= 0:
            continue
        if kind in ("*/*", "text/*") or (kind in ("text/vcard", "text/x-vcard") and "version" not in values):
            return None
        if kind == "text/vcard" and values["version"] == stored:
            return None
        if kind == "text/vcard" and values["version"] in ("3.0", "4.0") and quality > best_q:
            best, best_q = values["version"], quality
    return best


def _quality(text: str) -> float:
    return float(text) if re.fullmatch(r"[01](?:\.\d{0,3})?", text, re.ASCII) else 1.0


def wants_zones(request: Request) -> bool | None:
    """CalDAV-Timezones (RFC 7809 §7.1): whether calendar data comes with its time zones; None: as it was stored."""
    return {"T": True, "F": False}.get(request.header("caldav-timezones").strip().upper())
