"""A small WebDAV client for `davenport import --from-url`: PROPFIND, REPORT and GET at a server that may answer
anything. The HTTP is httpx's; redirects, retries, the rate, and who is told the password are decided here.

Every size and time is bounded (Settings). Redirects and addresses on other hosts are followed only where the password
may go: https stays https, and another host must share the last two labels of the first one's name (iCloud's homes are
on numbered hosts below icloud.com).
"""

from __future__ import annotations

import email.utils
import ipaddress
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urljoin, urlsplit

import httpx
from lxml import etree

from dav.names import d
from dav.version import VERSION
from dav.xml import Element, attribute, children, escape, split_clark, text_of

# Answers that mean "later": RFC 6585 §4, RFC 9110 §15.6; 423 is said by servers that lock while they write.
_LATER = frozenset((423, 429, 500, 502, 503, 504))
_MOVED = frozenset((301, 302, 303, 307, 308))


class WireError(Exception):
    """The other server cannot be asked, or its answer cannot be used. The message is a sentence, without the password.

    status: of its answer, 0 when there was none.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class TooLarge(WireError):
    """An answer is longer than Settings.body_bytes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the client may use of itself and of the other server. insecure: no check of certificates, and the password
    also over http."""

    rate: float = 10.0  # requests in a second, 0 for no limit
    tries: int = 7
    wait_max_s: float = 120.0  # the longest wait before another try, whatever the server asks for
    connect_s: float = 30.0
    silence_s: float = 120.0
    answer_s: float = 900.0
    body_bytes: int = 64 * 1024 * 1024
    redirects: int = 5
    entries: int = 200_000
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One response. url: where it came from after redirects. headers: lower-case names."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One DAV:response. url: absolute. status: of the whole resource. properties: those found, Clark name → element."""

    url: str
    status: int
    properties: Mapping[str, Element] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """A property's character data; "" when there is none."""
        element = self.properties.get(name)
        return "" if element is None else text_of(element)

    def raw(self, name: str) -> str:
        """A property's character data with the white space around it."""
        element = self.properties.get(name)
        return "" if element is None else "".join(str(part) for part in element.itertext())

    def names_in(self, name: str) -> frozenset[str]:
        """The Clark names of the elements in a property."""
        element = self.properties.get(name)
        return frozenset() if element is None else frozenset(str(child.tag) for child in children(element))


@dataclass(frozen=True, slots=True)
class Multistatus:
    """A 207. sync_token: of RFC 6578 §6.4, "" without one."""

    entries: tuple[Entry, ...]
    sync_token: str = ""


class Dav(Protocol):
    """What the import asks of a client."""

    def get(self, url: str) -> Answer: ...
    def propfind(self, url: str, names: Iterable[str], *, depth: str) -> Multistatus: ...
    def report(self, url: str, body: str, *, depth: str) -> Multistatus: ...


class Client:
    """A connection to one server. Use it in a `with`, or close it. Blocking."""

    def __init__(
        self,
        url: str,
        user: str,
        password: str,
        settings: Settings | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        """Raises WireError for an address that the password must not go to."""
        self.settings = settings or Settings()
        self._first = _split(url)
        self._sleep, self._clock, self._wall, self._say = sleep, clock, wall, say
        self._next_at = 0.0
        self._user, self._password = user, password
        self._auth: httpx.Auth = httpx.BasicAuth(user, password)
        self._digest = False
        if self._first[0] == "http" and not self.settings.insecure and not _is_here(self._first[1]):
            raise WireError(
                f"{url} is not https: the password would be readable on the way. --insecure sends it all the same."
            )
        self._http = httpx.Client(
            transport=transport,
            verify=not self.settings.insecure,
            follow_redirects=False,
            trust_env=transport is None,
            timeout=httpx.Timeout(self.settings.silence_s, connect=self.settings.connect_s),
            limits=httpx.Limits(max_connections=2, max_keepalive_connections=2),
            headers={"User-Agent": f"Davenport/{VERSION} (import)", "Accept-Encoding": "gzip, deflate"},
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def get(self, url: str) -> Answer:
        """The resource. Raises WireError, also for any answer but 200."""
        answer = self._ask("GET", url, {}, b"")
        if answer.status != 200:
            raise _refused(answer)
        return answer

    def propfind(self, url: str, names: Iterable[str], *, depth: str) -> Multistatus:
        """The named properties (Clark names). depth: "0" or "1". Raises WireError, also for any answer but 207."""
        wanted = "".join(_empty(name) for name in names)
        return self.report(
            url, f'<D:propfind xmlns:D="DAV:"><D:prop>{wanted}</D:prop></D:propfind>', depth=depth, method="PROPFIND"
        )

    def report(self, url: str, body: str, *, depth: str, method: str = "REPORT") -> Multistatus:
        """The answer to a REPORT; body: its XML without the declaration. Raises WireError for any answer but 207."""
        headers = {"Depth": depth, "Content-Type": "application/xml; charset=utf-8"}
        answer = self._ask(method, url, headers, f'<?xml version="1.0" encoding="utf-8"?>{body}'.encode())
        if answer.status != 207:
            raise _refused(answer)
        return self._read(answer)

    # --- asking -------------------------------------------------------------------------------------------------------

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        for _ in range(self.settings.redirects + 1):
            self._check(url)
            answer = self._with_patience(method, url, headers, body)
            if answer.status not in _MOVED or "location" not in answer.headers:
                return answer
            url = urljoin(url, answer.headers["location"])
        raise WireError(f"{_shown(url)} redirects more than {self.settings.redirects} times.")

    def _with_patience(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        trouble = ""
        for number in range(self.settings.tries):
            self._pace()
            wait_s = min(2.0**number, self.settings.wait_max_s)
            try:
                answer = self._once(method, url, headers, body)
            except httpx.TransportError as error:
                trouble = f"{_shown(url)}: {str(error) or type(error).__name__}"
                if isinstance(error, (httpx.UnsupportedProtocol, httpx.ProxyError)) or _is_certificate(error):
                    raise WireError(trouble) from None
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError) as error:
                raise WireError(f"{_shown(url)}: {str(error) or type(error).__name__}") from None
            else:
                if answer.status == 401 and not self._digest and _asks_digest(answer):
                    self._digest, self._auth = True, httpx.DigestAuth(self._user, self._password)
                    continue
                # A 500 is mostly for good: it is asked for once more only.
                if answer.status not in _LATER or (answer.status == 500 and number > 0):
                    return answer
                trouble = f"{_shown(url)} answers {answer.status}"
                wait_s = min(_retry_after(answer, self._wall()) or wait_s, self.settings.wait_max_s)
            if number + 1 < self.settings.tries:
                if wait_s >= 4:
                    self._say(f"{trouble}; the next try in {wait_s:.0f} s")
                self._sleep(wait_s)
        raise WireError(f"{trouble}, {self.settings.tries} times", 0)

    def _once(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        end = self._clock() + self.settings.answer_s
        with self._http.stream(method, url, headers=dict(headers), content=body, auth=self._auth) as response:
            parts: list[bytes] = []
            size = 0
            # Of the bytes as they come out of the compression: a small answer may unpack to a large one.
            for part in response.iter_bytes():
                size += len(part)
                if size > self.settings.body_bytes:
                    raise TooLarge(
                        f"{_shown(url)} answers with more than {self.settings.body_bytes} bytes.", response.status_code
                    )
                if self._clock() > end:
                    raise WireError(f"{_shown(url)} takes longer than {self.settings.answer_s:.0f} s to answer.")
                parts.append(part)
            return Answer(
                url, response.status_code, {k.lower(): v for k, v in response.headers.items()}, b"".join(parts)
            )

    def _pace(self) -> None:
        if self.settings.rate <= 0:
            return
        now = self._clock()
        if now < self._next_at:
            self._sleep(self._next_at - now)
        self._next_at = max(now, self._next_at) + 1 / self.settings.rate

    def _check(self, url: str) -> None:
        """Raises WireError where the password may not go."""
        scheme, host, port = _split(url)
        if (scheme, host, port) == self._first:
            return
        first_scheme, first_host, _ = self._first
        if first_scheme == "https" and scheme != "https" and not self.settings.insecure:
            raise WireError(f"The server sends us to {_shown(url)}, which is not https.")
        if host != first_host and not _are_relatives(host, first_host):
            raise WireError(
                f"The server sends us to {host}, another host, where its password does not go. "
                f"If that is right, begin with that address: --from-url {scheme}://{host}/"
            )

    # --- reading ------------------------------------------------------------------------------------------------------

    def _read(self, answer: Answer) -> Multistatus:
        root = parse(answer.body, answer.url)
        if root.tag != d("multistatus"):
            raise WireError(f"{_shown(answer.url)} answers 207 without a multistatus.", answer.status)
        entries: list[Entry] = []
        token = ""
        for element in children(root):
            if element.tag == d("sync-token"):
                token = text_of(element)
            elif element.tag == d("response"):
                entries.extend(_entries(element, answer.url))
            if len(entries) > self.settings.entries:
                raise TooLarge(
                    f"{_shown(answer.url)} lists more than {self.settings.entries} resources.", answer.status
                )
        return Multistatus(tuple(entries), token)


def parse(body: bytes, url: str) -> Element:
    """The root element of an answer: no DTD, no entities, libxml2's own bounds. Raises WireError."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise WireError(f"{_shown(url)} answers with what is not XML: {error}") from None
    if root is None or root.getroottree().docinfo.internalDTD is not None:
        raise WireError(f"{_shown(url)} answers with a document type, which is not read.")
    return root


def _entries(response: Element, base: str) -> list[Entry]:
    """RFC 4918 §14.24: some hrefs with one status, or one href with its properties."""
    hrefs: list[str] = []
    status = 200
    properties: dict[str, Element] = {}
    for child in children(response):
        if child.tag == d("href"):
            hrefs.append(text_of(child))
        elif child.tag == d("status"):
            status = _status(text_of(child))
        elif child.tag == d("propstat"):
            found = child.find(d("status"))
            prop = child.find(d("prop"))
            # Some servers leave the status out, and mean that all is well.
            if prop is not None and (found is None or 200 <= _status(text_of(found)) < 300):
                properties.update((str(element.tag), element) for element in children(prop))
    made = []
    for href in hrefs:
        try:
            url = urljoin(base, href)
            urlsplit(url)
        except ValueError:
            continue
        made.append(Entry(url, status, properties))
    return made


def _status(line: str) -> int:
    words = line.split()
    for word in words[1:2] or words[:1]:
        if word.isdecimal() and len(word) == 3:
            return int(word)
    return 500


def _empty(name: str) -> str:
    namespace, local = split_clark(name)
    return f"<D:{local}/>" if namespace == "DAV:" else f"<x:{local} xmlns:x={attribute(namespace)}/>"


def hrefs(urls: Iterable[str]) -> str:
    """DAV:href elements for a multiget. RFC 4918 §8.3: absolute paths, as the server writes them."""
    made = []
    for url in urls:
        parts = urlsplit(url)
        made.append(f"<D:href>{escape(parts.path + (f'?{parts.query}' if parts.query else ''))}</D:href>")
    return "".join(made)


def origin(url: str) -> str:
    """Scheme, host and port of an address, with "/" at the end."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/"


def _split(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise WireError(f"{_shown(url)} is no address.") from None
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower().rstrip(".")
    if scheme not in ("http", "https") or not host:
        raise WireError(f"{_shown(url)} is no address of http or https.")
    return scheme, host, port or (443 if scheme == "https" else 80)


def _are_relatives(one: str, other: str) -> bool:
    """Whether two host names are below the same domain, as a person would say; never for addresses in numbers."""
    if _is_address(one) or _is_address(other):
        return False
    mine, theirs = one.split("."), other.split(".")
    # Below "co.uk" and the like two labels would be a whole country's: the shorter name itself must be the parent then.
    labels = 3 if len(mine[-1]) == 2 and len(mine) > 2 and len(mine[-2]) <= 3 else 2
    return len(mine) >= labels and len(theirs) >= labels and mine[-labels:] == theirs[-labels:]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_here(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _asks_digest(answer: Answer) -> bool:
    """Whether the server wants Digest and not Basic: Baïkal and other PHP servers may be set so."""
    asked = answer.headers.get("www-authenticate", "").lower()
    return "digest" in asked and "basic" not in asked


def _retry_after(answer: Answer, now: float) -> float:
    """RFC 9110 §10.2.3: seconds, or a date; 0 for neither."""
    value = answer.headers.get("retry-after", "").strip()
    if value.isdecimal() and len(value) < 10:
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _is_certificate(error: Exception) -> bool:
    return "CERTIFICATE_VERIFY" in str(error)


def _refused(answer: Answer) -> WireError:
    said = {401: "refuses this name and password", 403: "forbids it", 404: "has nothing there"}.get(answer.status)
    return WireError(
        f"{_shown(answer.url)} {said or 'answers'} ({answer.status})"
        if said
        else f"{_shown(answer.url)} answers {answer.status}",
        answer.status,
    )


def _shown(url: str) -> str:
    """An address for a person: without a password in it and without control characters."""
    text = url.partition("?")[0]
    if "@" in text.partition("//")[2].partition("/")[0]:
        scheme, _, rest = text.partition("//")
        text = f"{scheme}//{rest.partition('@')[2]}"
    return "".join(char if char.isprintable() else "?" for char in text[:200])
