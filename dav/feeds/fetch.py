"""Fetches one outside calendar by HTTP, from a place that anybody may have named: nothing about it is trusted.

The name is looked up here, every address that is not of the public Internet is refused, and the connection is made to
one of the addresses that were looked at, with the name for Host and for the certificate. So no answer of a name server
can change between the look and the connection. Redirects go the same way, one by one. HTTP itself is httpx's.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import re
import socket
import ssl
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from dav.version import VERSION

if TYPE_CHECKING:
    import httpx

    from dav.config import FeedsConfig

URL_CHARS_MAX = 2000
REDIRECTS_MAX = 5
CONNECT_S = 10.0
READ_S = 30.0
ADDRESSES_MAX = 4
FIELD_CHARS_MAX = 1000
_CHUNK_BYTES = 64 * 1024
# Of a gzip stream. Some servers write a few; one that never ends may be all empty ones, which count for nothing else.
_MEMBERS_MAX = 100
_TIMES = {"connect": CONNECT_S, "read": READ_S, "write": READ_S, "pool": READ_S}
_SCHEMES = ("https", "http", "webcal", "webcals")
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)
# Addresses that Python takes for public, and that are a cloud's own: what answers there is about the machine we run on.
_CLOUDS = tuple(ipaddress.ip_network(text) for text in ("168.63.129.16/32", "192.0.0.0/24"))
# IPv6 addresses that hold an IPv4 one which is connected to in the end (NAT64).
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")


class BadUrl(ValueError):
    """This is no address that can be followed. The message is a sentence."""


class FetchError(Exception):
    """The calendar could not be had. The message is a sentence without passwords.

    status: of HTTP, 0 when there was no answer. retry_after_s: when the server wants to be asked again, or None.
    """

    def __init__(self, sentence: str, *, status: int = 0, retry_after_s: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.retry_after_s = status, retry_after_s


class Forbidden(FetchError):
    """The address leads to where calendars may not be fetched from."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer. body: None when nothing has changed (304). url: where to ask next time, with permanent redirects.

    etag, last_modified: as they came, "" without. max_age_s: how long the server says that it stays as it is.
    """

    body: bytes | None
    url: str
    etag: str = ""
    last_modified: str = ""
    max_age_s: int | None = None


# ---- addresses ----


def checked_url(text: str) -> str:
    """An address as it is kept: http, https, webcal or webcals, with a host, and a password or none. Raises BadUrl."""
    import httpx

    text = text.strip()
    needed = "An address such as https://example.org/calendar.ics is needed."
    if not text or len(text) > URL_CHARS_MAX or not text.isprintable() or re.search(r"[\s\\<>\"]", text):
        raise BadUrl(needed)
    try:
        parts = urlsplit(text)
        port = parts.port
        url = httpx.URL(urlunsplit(parts._replace(scheme="https", fragment="")))
    except (ValueError, httpx.InvalidURL):
        raise BadUrl(needed) from None
    if parts.scheme.lower() not in _SCHEMES or not url.host or port == 0:
        raise BadUrl(needed)
    return urlunsplit(parts._replace(scheme=parts.scheme.lower(), fragment=""))


def without_secrets(url: str) -> str:
    """The address as others may see it: no name, no password, and of the path and query only their beginning.

    Many calendars have their password in the path.
    """
    parts = urlsplit(url)
    path = parts.path if len(parts.path) <= 24 else f"{parts.path[:12]}…{parts.path[-8:]}"
    return f"{parts.scheme}://{host_of(url)}{path}{'?…' if parts.query else ''}"


def without_password(url: str) -> str:
    """The address as its owner may see it: whole, but for name and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=host_of(url)))


def host_of(url: str) -> str:
    """Host and port of an address."""
    return urlsplit(url).netloc.rpartition("@")[2]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public Internet, also where an IPv4 address is written as an IPv6 one."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if ip.teredo is not None:
            return False
        if inner is not None:
            return is_public(str(inner))
        # ::a.b.c.d and fec0::/10, which were given up long ago.
        if int(ip) >> 32 == 0 or ip.is_site_local:
            return False
    if any(ip.version == network.version and ip in network for network in _CLOUDS):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


# ---- fetching ----


def tls_context(ca_file: str) -> ssl.SSLContext:
    """What certificates are checked by: the system's authorities and those of a PEM file. Raises OSError, SSLError."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


class Fetcher:
    """Fetches calendars with one set of settings. Raises OSError or ssl.SSLError when followed_ca_file is unusable."""

    def __init__(self, config: FeedsConfig) -> None:
        self._config = config
        self._tls = tls_context(config.followed_ca_file)

    async def fetch(self, url: str, *, etag: str = "", last_modified: str = "") -> Fetched:
        """The calendar at an address that checked_url has taken; etag, last_modified: what is here already.

        Raises FetchError.
        """
        scheme = urlsplit(url).scheme
        fields = _conditions(etag, last_modified)
        try:
            async with asyncio.timeout(self._config.followed_seconds):
                if scheme not in ("webcal", "webcals"):
                    return await self._follow(url, fields)
                secure = _with_scheme(url, "https")
                try:
                    return await self._follow(secure, fields)
                except Forbidden:
                    raise
                except FetchError:
                    # A password goes over the network in clear only where somebody wrote http.
                    if scheme == "webcals" or "@" in urlsplit(url).netloc:
                        raise
                    fetched = await self._follow(_with_scheme(url, "http"), fields)
                # Asked by https again next time, unless it leads elsewhere for good.
                same = fetched.url == _with_scheme(url, "http")
                return _moved(fetched, url) if same else fetched
        except TimeoutError:
            raise FetchError(f"It did not arrive within {self._config.followed_seconds} seconds.") from None

    async def _follow(self, url: str, fields: dict[str, str]) -> Fetched:
        """One fetch with its redirects. The conditions go along: a validator of another address does not match."""
        import httpx

        asked, lasting, permanent = url, url, True
        for _ in range(REDIRECTS_MAX + 1):
            # The transport alone: a client would follow what it likes, keep cookies, and write addresses into the log.
            async with httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False) as transport:
                response = await self._send(transport, asked, fields)
                try:
                    if response.status_code not in (301, 302, 303, 307, 308):
                        return await self._read(response, lasting)
                    target = self._redirected(asked, response)
                finally:
                    await response.aclose()
            permanent = permanent and response.status_code in (301, 308)
            asked = target
            if permanent:
                lasting = target
        raise FetchError(f"It is redirected more than {REDIRECTS_MAX} times.")

    def _redirected(self, url: str, response: httpx.Response) -> str:
        import httpx

        location = response.headers.get("location", "")
        try:
            target = httpx.URL(_as_http(url)).join(_as_http(location))
            text = checked_url(str(target))
        except (BadUrl, httpx.InvalidURL, ValueError):
            raise FetchError("It is redirected to no address.", status=response.status_code) from None
        old, new = urlsplit(url), urlsplit(text)
        if old.scheme == "https" and new.scheme == "http" and not self._config.followed_insecure_redirects:
            raise FetchError("It is redirected from https to http.", status=response.status_code)
        # Name and password stay with their host, and are not taken from a redirect.
        same = host_of(url).lower() == host_of(text).lower() and (new.scheme == "https" or old.scheme == "http")
        kept = old.netloc.rpartition("@")[0] if same else ""
        return urlunsplit(new._replace(netloc=f"{kept}@{host_of(text)}" if kept else host_of(text)))

    async def _send(self, transport: httpx.AsyncHTTPTransport, url: str, fields: dict[str, str]) -> httpx.Response:
        """The beginning of the answer from the first of the host's addresses that can be reached."""
        import httpx

        target = httpx.URL(url)
        headers = {
            "Host": target.netloc.decode("ascii"),
            "User-Agent": f"Davenport/{VERSION}",
            "Accept": "text/calendar, */*;q=0.5",
            "Accept-Encoding": "gzip",
            **fields,
            **_credentials(url),
        }
        failure = f"{target.host} cannot be reached"
        for address in await self._addresses(target):
            extensions: dict[str, Any] = {"timeout": _TIMES}
            if not _is_ip(target.host):
                extensions["sni_hostname"] = target.raw_host.decode("ascii")
            place = target.copy_with(host=address, userinfo=b"", fragment=None)
            request = httpx.Request("GET", place, headers=headers, extensions=extensions)
            try:
                return await transport.handle_async_request(request)
            except httpx.ConnectError as error:
                cause = _ssl_error(error)
                if cause is not None:
                    raise FetchError(f"The certificate of {target.host} is not valid: {cause}.") from None
            except httpx.ConnectTimeout:
                failure = f"{target.host} cannot be reached: it does not answer"
            except httpx.TimeoutException:
                raise FetchError(f"{target.host} does not answer.") from None
            except httpx.HTTPError as error:
                raise FetchError(f"{target.host} does not speak HTTP: {_short(error)}.") from None
        raise FetchError(f"{failure}.")

    async def _addresses(self, url: httpx.URL) -> list[str]:
        """IP addresses of the host, all of them looked at. Raises FetchError."""
        port = url.port or (443 if url.scheme == "https" else 80)
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(url.raw_host.decode("ascii").strip("[]"), port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise FetchError(f"There is no host {url.host}.") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not self._config.followed_private_networks:
            # One that is forbidden forbids all: an honest name has public addresses only.
            for address in addresses:
                if not is_public(address):
                    raise Forbidden(f"{url.host} is not on the public Internet (feeds.followed_private_networks).")
        if not addresses:
            raise FetchError(f"There is no host {url.host}.")
        return addresses[:ADDRESSES_MAX]

    async def _read(self, response: httpx.Response, url: str) -> Fetched:
        import httpx

        status = response.status_code
        etag = _field(response, "etag")
        last_modified = _field(response, "last-modified")
        age = _MAX_AGE.search(_field(response, "cache-control"))
        max_age_s = int(age[1]) if age and int(age[1]) > 0 else None
        if status == 304:
            return Fetched(None, url, etag, last_modified, max_age_s)
        if status != 200:
            raise FetchError(_said(status), status=status, retry_after_s=_retry_after(response))
        body = bytearray()
        try:
            async for piece in _decoded(response):
                body += piece
                if len(body) > self._config.followed_bytes:
                    raise FetchError(f"It is larger than {self._config.followed_bytes} bytes (feeds.followed_bytes).")
        except httpx.TimeoutException:
            raise FetchError("The answer stopped in the middle.") from None
        except (httpx.HTTPError, httpx.StreamError, zlib.error) as error:
            raise FetchError(f"The answer broke off: {_short(error)}.") from None
        return Fetched(bytes(body), url, etag, last_modified, max_age_s)


async def _decoded(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body in pieces of bounded size, however much a few bytes may inflate to."""
    coding = _field(response, "content-encoding").lower()
    if coding in ("", "identity"):
        async for chunk in response.aiter_raw(_CHUNK_BYTES):
            yield chunk
        return
    if coding not in ("gzip", "x-gzip"):
        raise FetchError(f"It comes as {coding[:20]!r}, which was not asked for.")
    unpacker, members = zlib.decompressobj(wbits=31), 1
    async for chunk in response.aiter_raw(_CHUNK_BYTES):
        while chunk:
            if unpacker.eof:  # another member follows
                members += 1
                if members > _MEMBERS_MAX:
                    raise FetchError("It comes in too many compressed pieces.")
                unpacker = zlib.decompressobj(wbits=31)
            yield unpacker.decompress(chunk, _CHUNK_BYTES)
            chunk = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    if not unpacker.eof:
        raise FetchError("The answer broke off: it is not whole.")


def _conditions(etag: str, last_modified: str) -> dict[str, str]:
    fields = {"If-None-Match": etag, "If-Modified-Since": last_modified}
    return {name: value for name, value in fields.items() if value}


def _credentials(url: str) -> dict[str, str]:
    userinfo, at, _ = urlsplit(url).netloc.rpartition("@")
    if not at:
        return {}
    name, _, password = userinfo.partition(":")
    pair = f"{unquote(name)}:{unquote(password)}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _with_scheme(url: str, scheme: str) -> str:
    return urlunsplit(urlsplit(url)._replace(scheme=scheme))


def _as_http(url: str) -> str:
    """webcal and webcals are no schemes of HTTP; a redirect may name them all the same."""
    scheme, colon, rest = url.partition(":")
    mapped = {"webcal": "http", "webcals": "https"}.get(scheme.lower())
    return f"{mapped}{colon}{rest}" if mapped and colon else url


def _moved(fetched: Fetched, url: str) -> Fetched:
    return Fetched(fetched.body, url, fetched.etag, fetched.last_modified, fetched.max_age_s)


def _field(response: httpx.Response, name: str) -> str:
    """A header field that is kept or sent back: short, and nothing but visible ASCII."""
    value = str(response.headers.get(name, "")).strip()
    return value if len(value) <= FIELD_CHARS_MAX and re.fullmatch(r"[ -~]*", value) else ""


def _retry_after(response: httpx.Response) -> int | None:
    """Seconds to wait (RFC 9110 §10.2.3)."""
    value = _field(response, "retry-after")
    if re.fullmatch(r"[0-9]{1,9}", value):
        return int(value)
    try:
        # By the server's own clock, whatever ours says.
        asked, now = (parsedate_to_datetime(text).timestamp() for text in (value, _field(response, "date")))
        return max(0, int(asked - now))
    except (ValueError, OverflowError):
        return None


def _said(status: int) -> str:
    sentence = {
        401: "It needs a name and a password, or those in the address are wrong",
        403: "It may not be read",
        404: "There is nothing at this address",
        410: "It is not there any more",
        429: "It was asked for too often",
    }.get(status, "The server answers with an error" if status >= 400 else "The server's answer is no calendar")
    return f"{sentence} ({status})."


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _ssl_error(error: BaseException) -> str | None:
    """What a failed handshake says, looked for along the causes."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return seen.verify_message or "it cannot be verified"
        if isinstance(seen, ssl.SSLError):
            return seen.reason or "the handshake failed"
        seen = seen.__cause__ or seen.__context__
    return None


def _short(error: Exception) -> str:
    text = str(error).split("\n", 1)[0][:120]
    return "".join(char if char.isprintable() else "?" for char in text) or type(error).__name__
