"""The back end "pam": the system's own accounts. The only place that imports pamela.

PAM blocks, waits two seconds after a wrong password, and may hang in a module; so it has threads of its own.
"""

from __future__ import annotations

import logging
import unicodedata
from pathlib import Path

from dav.auth.backend import Backend, BackendDown, Credentials, Identity, Refusal, Tools
from dav.auth.gate import printable
from dav.auth.threads import Threads
from dav.config import AuthPamConfig, ConfigError

try:
    import pamela  # type: ignore[import-untyped]
except (OSError, TypeError, AttributeError):
    raise ConfigError("auth.backends names pam, but this system has no libpam") from None

log = logging.getLogger("davenport.auth")

NAME_CHARS_MAX = 255
PASSWORD_BYTES_MAX = 512 - 1  # PAM_MAX_RESP_SIZE, with its NUL

# Linux-PAM's _pam_types.h. Everything that is in neither set says something about the system, not about the person.
_USER_UNKNOWN = 10
# permission denied, wrong password, credentials insufficient, too many tries, password must be changed, account
# expired, credentials expired, password expired.
_REFUSED = frozenset((6, 7, 8, 11, 12, 13, 16, 27))
# Where services are. Without a file of its own a service is "other", which may be anything.
_SERVICES = (Path("/etc/pam.d"), Path("/usr/lib/pam.d"), Path("/usr/local/etc/pam.d"))


def make(tools: Tools) -> Backend:
    """The back end of config.auth_pam. Raises ConfigError."""
    return Pam(tools.config.auth_pam)


class Pam:
    """See `dav.auth.backend.Backend`."""

    name = "pam"
    kinds = frozenset(("password",))

    def __init__(self, config: AuthPamConfig) -> None:
        self._config = config
        if not any((folder / config.service).is_file() for folder in _SERVICES):
            raise ConfigError(f"auth.backends names pam, which needs the file /etc/pam.d/{config.service}")
        self._threads = Threads("pam", config.threads, seconds=config.timeout_seconds)

    async def check(self, given: Credentials) -> Identity | Refusal:
        """Authentication and account check of the service. Raises BackendDown."""
        user = self._user(given.login)
        password = given.password
        if user is None or password is None:
            return Refusal.NOT_MINE
        octets = password.encode("utf-8", "surrogatepass")
        if not octets or b"\0" in octets or len(octets) > PASSWORD_BYTES_MAX:
            return Refusal.WRONG
        return await self._threads.run(lambda: self._check(user, octets), client=given.client)

    async def still(self, identity: Identity) -> bool:
        """True: this back end gives no stamps."""
        return True

    async def lookup(self, name: str) -> Identity | Refusal | None:
        """What the system's account list says; None for who is not in it, since PAM may know others."""
        user = self._user(name)
        if user is None:
            return Refusal.NOT_MINE if self._config.domain else None
        return await self._threads.run(lambda: self._listed(user))

    async def close(self) -> None:
        """Nothing to end: threads are daemons and end with their call."""

    def _user(self, login: str) -> str | None:
        """The system's name for a login; None for one that cannot be there."""
        name = unicodedata.normalize("NFC", login).strip()
        domain = self._config.domain
        if domain and "@" in name:
            name, _, of = name.rpartition("@")
            if of.lower() != domain:
                return None
        return name if 0 < len(name) <= NAME_CHARS_MAX and name.isprintable() and "/" not in name else None

    # ---- in a thread -------------------------------------------------------------------------------------------------

    def _check(self, user: str, password: bytes) -> Identity | Refusal:
        answer = self._authenticate(user, password)
        if answer == _USER_UNKNOWN:
            return Refusal.NOT_MINE
        found = self._listed(user)
        if answer is not None:
            # Stacks that end in pam_deny say "wrong" of people whom nobody knows, too.
            return Refusal.NOT_MINE if found is None else Refusal.WRONG
        if found is Refusal.WRONG:
            log.warning("pam: %s is right, but has a number below auth_pam.first_uid", printable(user))
            return Refusal.WRONG
        return found if isinstance(found, Identity) else self._identity(user, "")

    def _authenticate(self, user: str, password: bytes) -> int | None:
        """None for a yes, else the code of a no. Raises BackendDown."""
        try:
            # No setcred: nothing is done in the person's name, and it would leave Kerberos tickets behind.
            pamela.authenticate(user, (password,), service=self._config.service, resetcred=0)
        except pamela.PAMError as error:
            code = error.errno
            if code == _USER_UNKNOWN or code in _REFUSED:
                return int(code)
            service = self._config.service
            raise BackendDown(f"PAM (service {service}) fails with {code}: {printable(str(error.message))}") from None
        return None

    def _listed(self, user: str) -> Identity | Refusal | None:
        import pwd

        try:
            entry = pwd.getpwnam(user)
        except (KeyError, ValueError, UnicodeEncodeError):
            return None
        if entry.pw_uid < self._config.first_uid:
            return Refusal.WRONG
        return self._identity(entry.pw_name, entry.pw_gecos.partition(",")[0])

    def _identity(self, user: str, display_name: str) -> Identity:
        domain = self._config.domain
        name = f"{user}@{domain}" if domain else user
        shown = display_name if display_name.isprintable() else ""
        return Identity(name, shown[:NAME_CHARS_MAX], (name,) if domain else None)
