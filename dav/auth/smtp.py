"""The back end "smtp": whoever can sign in at the submission server can sign in here (RFC 4954).

One connection for each password that is not remembered: greeting, TLS, AUTH, QUIT. aiosmtplib speaks the protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING

import aiosmtplib

from dav.auth.backend import Backend, BackendDown, Credentials, Identity, Refusal, Tools
from dav.auth.gate import Gate, mail_side_name, printable, server_of, tls_context

if TYPE_CHECKING:
    from dav.config import AuthSmtpConfig

_GOODBYE_S = 1.0

# RFC 4954 §6: 535, wrong or not allowed; 432, a password that must be changed first. 525: the account is disabled.
# 530, 534 and 538 speak of the connection or the mechanism, other 4xx of the moment.
_REFUSED = frozenset({535, 432, 525})


class Smtp:
    """Signs in at one submission server, over a connection for each try."""

    name = "smtp"
    kinds = frozenset({"password"})

    def __init__(self, settings: AuthSmtpConfig) -> None:
        self._settings = settings
        self._host, self._port = server_of("smtp", settings, tls_port=465, plain_port=587)
        self._tls = tls_context(settings)
        self._gate = Gate(settings.connections)

    async def check(self, given: Credentials) -> Identity | Refusal:
        """Raises BackendDown. SMTP cannot tell an unknown user from a wrong password: WRONG is both."""
        login, password = given.login, given.password or ""
        if not login or not password or "\0" in login + password:
            return Refusal.WRONG
        where = f"{self._host}:{self._port}"
        try:
            async with asyncio.timeout(self._settings.timeout_seconds), self._gate.turn(given.client):
                await self._try(login, password)
        except TimeoutError:
            raise BackendDown(f"{where}: no answer in {self._settings.timeout_seconds} s") from None
        except aiosmtplib.SMTPAuthenticationError as error:
            if error.code in _REFUSED:
                return Refusal.WRONG
            raise BackendDown(f"{where}: {error.code} {printable(error.message)}") from None
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise BackendDown(f"{where}: {printable(_cause(error))}") from None
        return Identity(mail_side_name(login, lower_case=self._settings.lower_case))

    async def still(self, identity: Identity) -> bool:
        """Yes: SMTP gives no stamp, so nothing is remembered beyond auth.cache_seconds."""
        return True

    async def lookup(self, name: str) -> Identity | Refusal | None:
        """None: SMTP cannot look anybody up."""
        return None

    async def close(self) -> None:
        """Nothing stays open between two sign-ins."""

    async def _try(self, login: str, password: str) -> None:
        """Returns when the server accepts the pair; raises SMTPAuthenticationError when it does not."""
        client = aiosmtplib.SMTP(
            # The socket goes where it should; this is only the name that the certificate must have.
            hostname=self._settings.certificate_name or self._host,
            sock=await connected(self._host, self._port),
            # The library would ask the resolver for our name.
            local_hostname="localhost",
            timeout=self._settings.timeout_seconds,
            use_tls=self._settings.tls == "tls",
            start_tls=self._settings.tls == "starttls",
            tls_context=self._tls,
        )
        try:
            await client.connect()
            # After STARTTLS, what was announced before it does not count (RFC 3207 §4.2).
            await client.ehlo()
            await self._authenticate(client, login, password)
            with contextlib.suppress(Exception):
                await client.quit(timeout=_GOODBYE_S)
        finally:
            client.close()

    async def _authenticate(self, client: aiosmtplib.SMTP, login: str, password: str) -> None:
        methods = client.server_auth_methods
        if "plain" in methods:
            await client.auth_plain(login, password)
        elif "login" in methods:
            await client.auth_login(login, password)
        else:
            raise ValueError("it offers neither AUTH PLAIN nor AUTH LOGIN on this connection")


async def connected(host: str, port: int) -> socket.socket:
    """A connection to the first of the host's addresses that answers. Raises OSError; the caller bounds the time."""
    loop = asyncio.get_running_loop()
    failure: OSError = OSError("it has no address")
    for family, kind, number, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, number)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            return sock
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
    raise failure


def _cause(error: Exception) -> str:
    # The library wraps what fails while it connects, and nothing that fails later.
    under = error.__cause__ or error
    if isinstance(under, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {under.verify_message}"
    if isinstance(under, OSError) and under.strerror:
        return under.strerror
    return str(error) or type(error).__name__


def make(tools: Tools) -> Backend:
    """The back end for the server in [auth_smtp]. Raises ConfigError for settings that cannot be used together."""
    return Smtp(tools.config.auth_smtp)
