"""The back end "oauth2": Bearer tokens (RFC 6750) of one authority, verified by its published keys or by asking it.

The signatures are PyJWT's affair and HTTP is httpx's.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import re
import ssl
import time
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import quote_plus, urlsplit

import httpx
import jwt

from dav.auth.backend import Backend, BackendDown, Credentials, Identity, Refusal, Tools
from dav.auth.gate import printable
from dav.config import AuthOAuth2Config, ConfigError

if TYPE_CHECKING:
    from dav.config import Config

log = logging.getLogger("davenport.auth")

TOKEN_CHARS_MAX = 16 * 1024
ANSWER_BYTES_MAX = 256 * 1024
KEYS_MAX = 100
LEEWAY_S = 60
# Keys are fetched anew when they are this old; for a token with an unknown key at most every KEYS_AGAIN_S.
KEYS_FRESH_S = 3600.0
KEYS_AGAIN_S = 30.0
# Keys that cannot be renewed are believed this long, so that an authority may be down for a night.
KEYS_STALE_S = 86_400.0
ASKING_MAX = 64
NAME_CHARS_MAX = 255
ADDRESSES_MAX = 200

METADATA_PATH = "/.well-known/oauth-protected-resource"

# RFC 6750 §2.1: b64token.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# What a key must be for each signature (RFC 7518 §3.1, RFC 8037): kty, and its curve. HS* and none are not in it.
_KEY_KINDS = {
    "RS256": ("RSA", ""), "RS384": ("RSA", ""), "RS512": ("RSA", ""),
    "PS256": ("RSA", ""), "PS384": ("RSA", ""), "PS512": ("RSA", ""),
    "ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}  # fmt: skip
_RSA_BITS_MIN = 2048

Claims = Mapping[str, Any]


def make(tools: Tools) -> Backend:
    """The back end of config.auth_oauth2. Raises ConfigError."""
    return OAuth2(tools.config.auth_oauth2, clock=tools.clock)


# --- what clients are told --------------------------------------------------------------------------------------------


def challenges(config: Config, *, refused: bool = False) -> tuple[str, ...]:
    """Values of WWW-Authenticate to stand beside that of Basic; none when tokens are not taken.

    refused: a token was sent and is not valid (RFC 6750 §3.1). Without server.public_url the address of the metadata
    (RFC 9728 §5.1) is left out, since it must not be made from what the asker sent.
    """
    if "oauth2" not in config.auth.backends:
        return ()
    parts = [f'realm="{config.auth.realm}"']
    if config.auth_oauth2.scope:
        parts.append(f'scope="{config.auth_oauth2.scope}"')
    if refused:
        parts.append('error="invalid_token"')
    if config.server.public_url:
        parts.append(f'resource_metadata="{config.server.public_url}{config.server.base_path}{METADATA_PATH}"')
    return ("Bearer " + ", ".join(parts),)


def metadata(config: Config, base_url: str) -> bytes:
    """The document at METADATA_PATH (RFC 9728 §2): whose tokens are taken. base_url: as the asker reached us."""
    base = config.server.public_url or base_url.rstrip("/")
    document: dict[str, object] = {
        "resource": f"{base}{config.server.base_path}/",
        "authorization_servers": [config.auth_oauth2.issuer],
        "bearer_methods_supported": ["header"],
        "resource_name": config.auth.realm,
    }
    if config.auth_oauth2.scope:
        document["scopes_supported"] = [config.auth_oauth2.scope]
    return json.dumps(document).encode()


def parse_bearer(header: str) -> str | None:
    """The token of an Authorization header; None when it is of another scheme. "" for a Bearer that cannot be read."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        return None
    token = token.strip(" ")
    return token if len(token) <= TOKEN_CHARS_MAX and _TOKEN.fullmatch(token) else ""


# --- the back end -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the authority's parts are; "" what it has not."""

    keys: str
    introspection: str


@dataclass(frozen=True, slots=True)
class _Keys:
    keys: tuple[Mapping[str, Any], ...]
    fetched: float


class OAuth2:
    """See `dav.auth.backend.Backend`."""

    name = "oauth2"

    def __init__(
        self, config: AuthOAuth2Config, *, clock: Callable[[], float], now: Callable[[], float] = time.time
    ) -> None:
        if not config.issuer:
            raise ConfigError("auth.backends names oauth2, which needs auth_oauth2.issuer")
        if config.method == "jwt" and not config.audience:
            # Without it every token that the issuer made for anybody else would open a calendar here.
            raise ConfigError("auth_oauth2.method is jwt, which needs auth_oauth2.audience")
        self._config, self._clock, self._now = config, clock, now
        self._secret = _secret(config)
        if config.method == "introspection" and not (config.client_id and self._secret):
            raise ConfigError("auth_oauth2.method is introspection, which needs client_id and client_secret")
        try:
            self._tls = _tls(config.ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"auth_oauth2.ca_file cannot be read: {reason}") from None
        self.kinds = frozenset(("token", "password") if config.as_password else ("token",))
        self._clients: dict[asyncio.AbstractEventLoop, httpx.AsyncClient] = {}
        self._places: _Places | None = None
        self._keys: _Keys | None = None
        self._tried: float | None = None
        self._failure = ""
        self._fetching: asyncio.Task[None] | None = None
        self._asking = 0

    async def check(self, given: Credentials) -> Identity | Refusal:
        """The token's person. Raises BackendDown when neither keys nor an answer can be had."""
        token = given.token if given.token is not None else given.password or ""
        if len(token) > TOKEN_CHARS_MAX or not _TOKEN.fullmatch(token):
            return Refusal.NOT_MINE
        introspect = self._config.method == "introspection"
        claims = await (self._asked(token) if introspect else self._verified(token))
        if not isinstance(claims, Refusal):
            claims = self._wanted(claims)
        if isinstance(claims, Refusal):
            # What was typed as a password may well be one, and another back end's.
            return claims if given.token is not None else Refusal.NOT_MINE
        identity = self._identity(claims)
        if given.token is None and isinstance(identity, Identity) and not _same_login(given.login, identity):
            return Refusal.WRONG
        return identity

    async def still(self, identity: Identity) -> bool:
        """True: this back end gives no stamps; a token ends at its own time."""
        return True

    async def lookup(self, name: str) -> Identity | Refusal | None:
        """None: an authority knows people by their tokens only."""
        return None

    async def close(self) -> None:
        """Ends the connections."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()
        self._clients.clear()

    # ---- by the keys -------------------------------------------------------------------------------------------------

    async def _verified(self, token: str) -> Claims | Refusal:
        """The claims of a JWT that the issuer signed for us and that is valid now (RFC 7519, RFC 8725, RFC 9068)."""
        head = _unverified_part(token, 0)
        body = _unverified_part(token, 1)
        if head is None or body is None or body.get("iss") != self._config.issuer:
            return Refusal.NOT_MINE
        algorithm = head.get("alg")
        # RFC 8725 §3.1: never by what the token says alone. "crit" names extensions, and none is known here.
        if not isinstance(algorithm, str) or algorithm not in self._config.algorithms or "crit" in head:
            return self._invalid("an algorithm that is not in auth_oauth2.algorithms")
        key_id = head.get("kid")
        if not (key_id is None or (isinstance(key_id, str) and len(key_id) <= NAME_CHARS_MAX)):
            return self._invalid("a kid that is no name")
        # RFC 9068 §4: an ID token or another kind of JWT is no access token; many authorities say just JWT, or nothing.
        kind = str(head.get("typ") or "JWT").lower().removeprefix("application/")
        if kind not in ("jwt", "at+jwt"):
            return self._invalid("a typ that is no access token's")
        for key in await self._matching(algorithm, key_id):
            try:
                return self._decode(token, key, algorithm)
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
                return self._invalid(printable(str(error)))
        return self._invalid("a signature of none of the issuer's keys")

    def _decode(self, token: str, key: Any, algorithm: str) -> Claims:
        claims: Claims = jwt.decode(
            token,
            key=key,
            algorithms=[algorithm],
            audience=list(self._config.audience),
            issuer=self._config.issuer,
            leeway=LEEWAY_S,
            options={"require": ["exp", "aud", "iss"], "verify_iat": False},
        )
        return claims

    async def _matching(self, algorithm: str, key_id: str | None) -> list[Any]:
        """The issuer's keys that may have made such a signature, fetched again when the one named is not there."""
        await self._fresh_keys(KEYS_FRESH_S)
        found = self._select(algorithm, key_id)
        if not found:
            await self._fresh_keys(KEYS_AGAIN_S)
            found = self._select(algorithm, key_id)
        return found

    def _select(self, algorithm: str, key_id: str | None) -> list[Any]:
        kind, curve = _KEY_KINDS[algorithm]
        found: list[Any] = []
        for data in self._keys.keys if self._keys else ():
            if data.get("kty") != kind or (curve and data.get("crv") != curve) or data.get("use", "sig") != "sig":
                continue
            if (key_id is not None and data.get("kid") != key_id) or data.get("alg", algorithm) != algorithm:
                continue
            try:
                key = jwt.PyJWK(dict(data), algorithm=algorithm)
            except (jwt.PyJWTError, ValueError, TypeError, KeyError):
                continue
            if kind != "RSA" or key.key.key_size >= _RSA_BITS_MIN:
                found.append(key)
        return found[:10]  # without kid each is tried

    async def _fresh_keys(self, age_s: float) -> None:
        """Sees that the keys are not older than age_s, if they can be had. Raises BackendDown without usable ones."""
        now = self._clock()
        keys = self._keys
        if keys is None or now - keys.fetched > age_s:
            # Failures are not repeated at once either: a token costs nothing to make up.
            if self._tried is None or now - self._tried >= (KEYS_AGAIN_S if keys else 1.0):
                await self._fetch_once()
            elif self._fetching is not None and not self._fetching.done():
                await asyncio.shield(self._fetching)
        keys = self._keys
        if keys is None or self._clock() - keys.fetched > KEYS_STALE_S:
            raise BackendDown(self._failure or "the issuer's keys are not known")

    async def _fetch_once(self) -> None:
        """Fetches the keys, once for all that wait for them."""
        task = self._fetching
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            self._tried = self._clock()
            self._fetching = task = asyncio.get_running_loop().create_task(self._fetch())
        await asyncio.shield(task)

    async def _fetch(self) -> None:
        try:
            places = await self._discovered()
            document = await self._get(places.keys)
            keys = document.get("keys")
            if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys) or len(keys) > KEYS_MAX:
                raise BackendDown(f"{places.keys} has no list of keys (RFC 7517)")
            self._keys = _Keys(tuple(keys), self._clock())
            self._failure = ""
        except BackendDown as error:
            self._failure = str(error)
            if self._keys is not None:
                log.warning("oauth2: the issuer's keys cannot be renewed: %s", error)

    # ---- by asking ---------------------------------------------------------------------------------------------------

    async def _asked(self, token: str) -> Claims | Refusal:
        """What the authority says of a token (RFC 7662). Raises BackendDown."""
        if self._asking >= ASKING_MAX:
            raise BackendDown("too many tokens are being asked about")
        self._asking += 1
        try:
            places = await self._discovered()
            # RFC 6749 §2.3.1: both are form-encoded before they become Basic credentials.
            pair = f"{quote_plus(self._config.client_id)}:{quote_plus(self._secret)}".encode()
            said = await self._send(
                "POST",
                places.introspection,
                headers={"Authorization": "Basic " + base64.b64encode(pair).decode()},
                data={"token": token, "token_type_hint": "access_token"},
            )
        finally:
            self._asking -= 1
        # RFC 7662 §2.2: a boolean; anything else is no yes.
        if said.get("active") is not True:
            return Refusal.WRONG
        now = self._now()
        until, since = said.get("exp"), said.get("nbf")
        if (_is_number(until) and until + LEEWAY_S <= now) or (_is_number(since) and since - LEEWAY_S > now):
            return self._invalid("a time at which it is not valid")
        if said.get("iss", self._config.issuer) != self._config.issuer:
            return self._invalid("another issuer")
        audience = said.get("aud")
        names = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
        if self._config.audience and not set(map(str, names)) & set(self._config.audience):
            return self._invalid("another audience")
        return said

    # ---- what tokens say ---------------------------------------------------------------------------------------------

    def _wanted(self, claims: Claims) -> Claims | Refusal:
        """The claims, if they have the scope that is needed."""
        scopes = claims.get("scope", claims.get("scp", ""))
        words = scopes.split(" ") if isinstance(scopes, str) else scopes if isinstance(scopes, list) else []
        if self._config.scope and self._config.scope not in words:
            return self._invalid("no such scope as auth_oauth2.scope")
        return claims

    def _identity(self, claims: Claims) -> Identity | Refusal:
        config = self._config
        name = next((text for claim in config.name_claims if (text := _name(claims, claim))), "")
        if not name:
            return self._invalid("none of auth_oauth2.name_claims, or an email that is not verified")
        addresses: list[str] = []
        for claim in config.address_claims:
            value = _verified_claim(claims, claim)
            found = value if isinstance(value, list) else [value]
            addresses += [text.strip().lower() for text in found if isinstance(text, str) and _is_address(text.strip())]
        shown = next((v for c in config.display_name_claims if isinstance(v := claims.get(c), str) and v), "")
        until = claims.get("exp")
        return Identity(
            name,
            shown[:NAME_CHARS_MAX],
            tuple(dict.fromkeys(addresses))[:ADDRESSES_MAX],
            # As lenient with clocks as the check above.
            until_s=int(until) + LEEWAY_S if _is_number(until) else None,
        )

    def _invalid(self, reason: str) -> Refusal:
        log.info("oauth2: a token of %s is refused: it has %s", self._config.issuer, reason)
        return Refusal.WRONG

    # ---- HTTP --------------------------------------------------------------------------------------------------------

    async def _discovered(self) -> _Places:
        """Where keys and introspection are: from the settings, else from the issuer's own document."""
        config = self._config
        wanted = config.jwks_url if config.method == "jwt" else config.introspection_url
        if wanted:
            return _Places(config.jwks_url, config.introspection_url)
        if self._places is None:
            # OpenID Connect Discovery 1.0 §4.1: after the issuer's path, not between host and path as in RFC 8414.
            url = config.issuer.rstrip("/") + "/.well-known/openid-configuration"
            document = await self._get(url)
            if document.get("issuer") != config.issuer:
                raise BackendDown(f"{url} is another issuer's: auth_oauth2.issuer must be as it calls itself")
            places = _Places(_place(document, "jwks_uri", config), _place(document, "introspection_endpoint", config))
            if not (places.keys if config.method == "jwt" else places.introspection):
                raise BackendDown(f"{url} does not say where that is which auth_oauth2.method needs, or not by https")
            self._places = places
        return self._places

    async def _get(self, url: str) -> dict[str, Any]:
        return await self._send("GET", url)

    async def _send(self, method: str, url: str, **arguments: Any) -> dict[str, Any]:
        """The JSON object of an answer 200. Raises BackendDown. No redirects, bounded in time and size."""
        try:
            async with (
                asyncio.timeout(self._config.timeout_seconds),
                self._client().stream(method, url, **arguments) as answer,
            ):
                if answer.status_code != 200:
                    raise BackendDown(f"{url} answers {answer.status_code}")
                body = bytearray()
                # Raw: what is small when packed may be without end when unpacked, and we asked for it unpacked.
                async for chunk in answer.aiter_raw():
                    body += chunk
                    if len(body) > ANSWER_BYTES_MAX:
                        raise BackendDown(f"{url} answers more than {ANSWER_BYTES_MAX} bytes")
        except TimeoutError:
            raise BackendDown(f"{url} did not answer within {self._config.timeout_seconds} seconds") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError) as error:
            reason = printable(str(error)) or type(error).__name__
            raise BackendDown(f"{url} cannot be reached: {reason}") from error
        try:
            document = json.loads(bytes(body))
        except (ValueError, RecursionError):
            raise BackendDown(f"{url} does not answer JSON") from None
        if not isinstance(document, dict):
            raise BackendDown(f"{url} does not answer a JSON object")
        return document

    def _client(self) -> httpx.AsyncClient:
        """This event loop's connections. Proxies and passwords of the environment are not used."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            self._clients = {other: kept for other, kept in self._clients.items() if not other.is_closed()}
            client = self._clients[loop] = httpx.AsyncClient(
                verify=self._tls,
                follow_redirects=False,
                trust_env=False,
                timeout=self._config.timeout_seconds,
                limits=httpx.Limits(max_connections=16, max_keepalive_connections=4),
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            )
        return client


@cache
def _tls(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file or None)


# --- helpers ----------------------------------------------------------------------------------------------------------


def _unverified_part(token: str, index: int) -> dict[str, Any] | None:
    """A part of a JWT before anything is verified: only to find out who should verify it, and how."""
    if not _JWT.fullmatch(token):
        return None
    part = token.split(".")[index]
    try:
        value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _name(claims: Claims, claim: str) -> str:
    value = _verified_claim(claims, claim)
    if not isinstance(value, str):
        return ""
    name = unicodedata.normalize("NFC", value).strip().lower()
    return name if 0 < len(name) <= NAME_CHARS_MAX and name.isprintable() else ""


def _verified_claim(claims: Claims, claim: str) -> Any:
    """The claim; None for an email of which the authority says that nobody has proved it to be the person's."""
    # OpenID Connect Core 1.0 §5.1. Some authorities let people type any address: it must not open its owner's account.
    if claim == "email" and claims.get("email_verified", True) not in (True, "true"):
        return None
    return claims.get(claim)


def _is_address(text: str) -> bool:
    local, at, domain = text.rpartition("@")
    return bool(at and local and domain) and len(text) <= NAME_CHARS_MAX and "@" not in local and text.isprintable()


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def _same_login(login: str, identity: Identity) -> bool:
    """Whether a login typed beside a token is its person's."""
    folded = unicodedata.normalize("NFC", login).strip().lower()
    return folded in (identity.name, *(identity.addresses or ()))


def _place(document: Mapping[str, Any], name: str, config: AuthOAuth2Config) -> str:
    """An address in the issuer's document, if it is as safe as the issuer's own; else ""."""
    url = document.get(name)
    if not isinstance(url, str) or len(url) > 2000 or not re.fullmatch(r"[!-~]+", url):
        return ""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    # http only for an authority on this machine, on which the settings insist too.
    allowed = ("https", "http") if config.issuer.startswith("http:") else ("https",)
    return url if parts.scheme in allowed and parts.hostname and "@" not in parts.netloc else ""


def _secret(config: AuthOAuth2Config) -> str:
    if config.client_secret and config.client_secret_file:
        raise ConfigError("only one of auth_oauth2.client_secret and auth_oauth2.client_secret_file can be set")
    if not config.client_secret_file:
        return config.client_secret
    try:
        with Path(config.client_secret_file).open("rb") as stream:
            lines = stream.read(4096).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"auth_oauth2.client_secret_file cannot be read: {type(error).__name__}") from None
    return lines[0] if lines else ""
