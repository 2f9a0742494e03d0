"""The back end "passwd-file": a text file with a line for each person, as Dovecot, docker-mailserver and htpasswd have.

`user:hash:uid:gid:gecos:home:shell:extra` (all but the first two may be missing), or `user|hash|…`. The extra fields
of Dovecot that refuse people count here too: a reader that skips them would let in whom the mail server keeps out.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from dav.auth import schemes
from dav.auth.backend import Backend, BackendDown, Credentials, Identity, PersonUnclear, Refusal, Tools
from dav.auth.basic import LOGIN_CHARS_MAX, candidates
from dav.auth.gate import printable
from dav.auth.identities import address_of, allowed_from, spellings, targets_of
from dav.auth.threads import Threads
from dav.config import ConfigError

if TYPE_CHECKING:
    from dav.config import AuthPasswdFileConfig

FILE_BYTES_MAX = 16 * 1024 * 1024
ADDRESSES_MAX = 200
READ_S = 10
_FORWARDS_MAX = 10
# The clocks of file systems are coarse: a file that has just changed may change again without a new time.
_SETTLED_S = 2.0
_OCTAL = re.compile(r"\\([0-7]{3})")
_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay"})
# Position of the extra fields in Dovecot's lines: behind the shell, which nothing uses.
_EXTRA = 7

FileVersion = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. name: what the person is called, which the extra field `user` may say; networks: from allow_nets."""

    name: str
    stored: str
    refused: bool
    networks: str
    stamp: str


@dataclass(slots=True)
class Watched:
    """A file and what was read of it. version: of the file when it was read; until: when it is read again anyway."""

    path: str
    version: FileVersion | None = None
    digest: bytes = b""
    unsettled_until: float = 0.0


@dataclass(slots=True)
class Content:
    """What both files said when they were last read."""

    entries: dict[str, Entry] = field(default_factory=dict)
    aliases: dict[str, list[str]] = field(default_factory=dict)


def make(tools: Tools) -> Backend:
    """The back end of config.auth_passwd_file. Raises ConfigError."""
    return PasswdFile(tools, tools.config.auth_passwd_file)


class PasswdFile:
    """See `dav.auth.backend.Backend`."""

    name = "passwd-file"
    kinds = frozenset(("password",))

    def __init__(self, tools: Tools, config: AuthPasswdFileConfig) -> None:
        if not config.file:
            raise ConfigError("auth.backends names passwd-file, which needs auth_passwd_file.file")
        self._tools, self._config = tools, config
        self._default_scheme = schemes.usable_default(config.default_scheme, "auth_passwd_file")
        # One thread: it alone reads the files and replaces what is known of them.
        self._threads = Threads("passwd-file", 1, seconds=READ_S)
        self._people = Watched(config.file)
        self._forwards = Watched(config.aliases_file)
        # Only there stat never waits for another machine.
        self._local = all(is_local(path) for path in (config.file, config.aliases_file) if path)
        self._content = Content()
        self._usual = ""

    async def check(self, given: Credentials) -> Identity | Refusal:
        """The line of the login, then its hash. Raises BackendDown."""
        login, password = given.login, given.password
        if password is None or len(login) > LOGIN_CHARS_MAX:
            return Refusal.NOT_MINE
        content = await self._read()
        entry = self._find(content, login)
        refusal = Refusal.WRONG if entry else Refusal.NOT_MINE
        usable = entry is not None and not entry.refused and allowed_from(entry.networks, given.client)
        state = f"{entry.stamp} {usable}" if entry else ""
        digest = self._tools.cache.digest(login, password, self.name, state)
        if (digest, self._tools.clock()) in self._tools.refused:
            return refusal
        if entry is None or not usable:
            await self._tools.pool.run(partial(schemes.spend, password, self._usual, default=self._default_scheme))
            self._tools.refused.add(digest, self._tools.clock())
            return refusal
        try:
            right = await self._tools.pool.run(
                partial(schemes.verify_any, password, [entry.stored], default=self._default_scheme)
            )
        except (schemes.UnsupportedScheme, schemes.BadHash) as error:
            raise PersonUnclear(f"the password of {printable(entry.name)} cannot be checked: {error}") from None
        self._usual = entry.stored
        if not right:
            self._tools.refused.add(digest, self._tools.clock())
            return refusal
        return self._identity(content, entry)

    async def still(self, identity: Identity) -> bool:
        """Whether the line is as it was. Raises BackendDown.

        Never for somebody who is limited to networks: the next request may come from elsewhere, so it is checked anew.
        """
        return _is_as_it_was(await self._read(), identity)

    def surely_still(self, identity: Identity) -> bool:
        """See `dav.auth.backend.TellsAtOnce`: two calls of stat."""
        return self._local and self._is_unchanged() and _is_as_it_was(self._content, identity)

    async def lookup(self, name: str) -> Identity | Refusal | None:
        """The person of this name with their addresses. Raises BackendDown."""
        content = await self._read()
        entry = self._find(content, name) if len(name) <= LOGIN_CHARS_MAX else None
        if entry is None:
            return Refusal.NOT_MINE
        return Refusal.WRONG if entry.refused else self._identity(content, entry)

    async def close(self) -> None:
        """Nothing to end."""

    def _find(self, content: Content, login: str) -> Entry | None:
        for candidate in candidates(login):
            names = [candidate]
            if self._config.lower_case:
                names += spellings(candidate, lower_case=True)
            for name in names:
                entry = content.entries.get(name)
                if entry is not None:
                    return entry
        return None

    def _identity(self, content: Content, entry: Entry) -> Identity:
        return Identity(
            name=entry.name,
            addresses=addresses_of(entry.name, content),
            stamp=entry.stamp,
        )

    async def _read(self) -> Content:
        """What the files say now. Raises BackendDown when the file of people cannot be read."""
        if self._local and self._is_unchanged():
            return self._content
        return await self._threads.run(self._read_changed)

    def _is_unchanged(self) -> bool:
        """Whether both files surely are as they were read. Two calls of stat, which each request pays for."""
        now = self._tools.clock()
        try:
            return all(
                now >= watched.unsettled_until and _version(os.stat(watched.path)) == watched.version
                for watched in (self._people, self._forwards)
                if watched.path
            )
        except OSError:
            return False

    def _read_changed(self) -> Content:
        people = self._changed(self._people)
        forwards = self._changed(self._forwards) if self._forwards.path else None
        if people is not None or forwards is not None:
            old = self._content
            self._content = Content(
                entries=old.entries if people is None else parse_people(people, lower_case=self._config.lower_case),
                aliases=old.aliases if forwards is None else parse_aliases(forwards),
            )
        return self._content

    def _changed(self, watched: Watched) -> str | None:
        """The text of a file that is another one than at the last call, else None. Raises BackendDown."""
        now = self._tools.clock()
        try:
            version = _version(os.stat(watched.path))
            if version == watched.version and now >= watched.unsettled_until:
                return None
            if version != watched.version:
                watched.unsettled_until = now + _SETTLED_S
            data, version = _load(watched.path)
        except OSError as error:
            watched.version = None
            raise BackendDown(f"{watched.path} cannot be read: {error.strerror or error}") from None
        digest = hashlib.blake2b(data).digest()
        known = watched.version is not None and digest == watched.digest
        watched.version, watched.digest = version, digest
        return None if known else data.decode("utf-8-sig", "surrogateescape")


def _is_as_it_was(content: Content, identity: Identity) -> bool:
    key = identity.stamp.partition(" ")[2]
    entry = content.entries.get(key)
    return entry is not None and not entry.refused and not entry.networks and entry.stamp == identity.stamp


def is_local(path: str, *, mounts: str = "/proc/self/mountinfo") -> bool:
    """Whether a file lies on a file system of this machine, as far as Linux tells; False where that is not known."""
    real = os.path.realpath(path)
    found, kind = "", ""
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                before, _, after = line.partition(" - ")
                place = _OCTAL.sub(lambda escaped: chr(int(escaped[1], 8)), before.split()[4])
                if len(place) >= len(found) and (real == place or real.startswith(f"{place.rstrip('/')}/")):
                    found, kind = place, after.split()[0]
    except (OSError, IndexError):
        return False
    return kind in _LOCAL


def _load(path: str) -> tuple[bytes, FileVersion]:
    # O_NONBLOCK: a pipe in the file's place would block for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"it is no file, or larger than {FILE_BYTES_MAX} bytes")
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise OSError(f"it is no file, or larger than {FILE_BYTES_MAX} bytes")
    return data, _version(found)


def _version(found: os.stat_result) -> FileVersion:
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size


def parse_people(text: str, *, lower_case: bool = True) -> dict[str, Entry]:
    """The entries by name as the file has it; of several lines for one name the first counts, as in Dovecot."""
    entries: dict[str, Entry] = {}
    for line in text.split("\n"):
        line = line.strip("\r \t")
        if not line or line[0] in "#:|":
            continue
        bar, colon = line.find("|"), line.find(":")
        # docker-mailserver separates with a bar, and appends its attributes behind another one.
        if bar >= 0 and (colon < 0 or bar < colon):
            name, stored, *rest = line.split("|", 2)
            extra = rest[0] if rest else ""
        elif colon >= 0:
            name, stored, *rest = line.split(":", _EXTRA)
            extra = rest[_EXTRA - 2] if len(rest) == _EXTRA - 1 else ""
        else:
            continue
        name = name.strip()
        if name and name not in entries and len(name) <= LOGIN_CHARS_MAX:
            entries[name] = _entry(name, stored.strip(), extra, lower_case=lower_case)
    return entries


def _entry(key: str, stored: str, extra: str, *, lower_case: bool) -> Entry:
    fields: dict[str, str] = {}
    for word in extra.split():
        name, _, value = word.partition("=")
        fields.setdefault(name.lower(), value)
    # Dovecot: nopassword lets anybody in who knows the name; nologin says that nobody may.
    refused = "nopassword" in fields or "nologin" in fields or not stored
    user = fields.get("user") or key
    digest = hashlib.blake2b(f"{stored}\n{extra}".encode("utf-8", "surrogateescape"), digest_size=16)
    return Entry(
        name=user.lower() if lower_case and "@" in user else user,
        stored=stored,
        refused=refused,
        # allow_real_nets limits the address that proxies cannot change: the same one here.
        networks=",".join(filter(None, (fields.get("allow_nets"), fields.get("allow_real_nets")))),
        stamp=f"{digest.hexdigest()} {key}",
    )


def parse_aliases(text: str) -> dict[str, list[str]]:
    """address (or "@domain") → its targets, of a Postfix table in text form; all in lower case.

    A line that begins with a space goes on where the one before ended; of several for one address the first counts.
    """
    logical: list[str] = []
    for line in text.split("\n"):
        line = line.rstrip("\r")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0] in " \t" and logical:
            logical[-1] += line
        else:
            logical.append(line)
    aliases: dict[str, list[str]] = {}
    for line in logical:
        alias, *targets = line.split(None, 1)
        aliases.setdefault(alias.lower(), [target.lower() for target in targets_of(targets[0])] if targets else [])
    return aliases


def addresses_of(name: str, content: Content) -> tuple[str, ...]:
    """One's own name first, then the aliases that lead to this person alone, then the same under other domains."""
    person = name.lower()
    names = {entry.name.lower() for entry in content.entries.values()}
    found: dict[str, None] = {address: None for address in [address_of(name)] if address}
    for alias in content.aliases:
        # An address that is somebody's name stays theirs, whoever gets their mail at the moment.
        if alias not in names and _leads_to(alias, person, names, content.aliases) and (address := address_of(alias)):
            found[address] = None
    for alias, targets in content.aliases.items():
        if alias.startswith("@") and len(targets) == 1 and targets[0].startswith("@"):
            for address in list(found):
                local, _, domain = address.rpartition("@")
                same = address_of(local + alias) if f"@{domain}" == targets[0] else ""
                # An entry of its own goes before what is said of the whole domain.
                if same and same not in content.aliases and same not in names:
                    found[same] = None
    return tuple(found)[:ADDRESSES_MAX]


def _leads_to(alias: str, person: str, names: set[str], aliases: dict[str, list[str]]) -> bool:
    """Whether mail to the alias reaches this person alone, by single targets."""
    for _ in range(_FORWARDS_MAX):
        targets = aliases.get(alias, [])
        if len(targets) != 1:
            return False
        alias = targets[0]
        if alias in names:
            return alias == person
    return False
