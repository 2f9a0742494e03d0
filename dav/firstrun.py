"""Before the server serves: the store is brought up to date, a first account is made, and the address is printed."""

from __future__ import annotations

import getpass
import os
import re
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dav import config as settings
from dav.config import Config
from dav.version import VERSION

if TYPE_CHECKING:
    from storage.engine import Store


def write_config(folder: Path) -> Path:
    """Writes config.ini, every setting commented out, readable by its owner only. Raises FileExistsError, OSError."""
    path = folder / "config.ini"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(settings.example())
    return path


class StoreUnusable(Exception):
    """The configured database cannot be opened. The message is a sentence for a person."""


def opened(config: Config) -> Store:
    """The configured store, opened and brought up to date. Raises StoreUnusable."""
    from dav import provision
    from storage import migrate
    from storage.errors import StorageError

    try:
        store = provision.open_store(config)
        migrate.upgrade(store, version=VERSION)
    except (StorageError, OSError) as error:
        raise StoreUnusable(f"The database cannot be used: {_sentence(error)}") from None
    except Exception as error:
        # Drivers have their own errors, which this side of the program cannot name.
        if type(error).__module__.partition(".")[0] not in ("sqlalchemy", "psycopg", "sqlite3"):
            raise
        raise StoreUnusable(f"The database cannot be used: {str(error).partition(chr(10))[0]}") from None
    return store


def prepare(config: Config, *, port: int, first_account: bool) -> int:
    """Migrates the store, makes a first account when asked, prints where to go. Returns 0, or 1 with a reason.

    Run in a process of its own: what it imports is needed once.
    """
    try:
        store = opened(config)
    except StoreUnusable as error:
        print(error, file=sys.stderr)
        return 1
    try:
        problem = _check_sign_in(config, store)
        if problem:
            print(problem, file=sys.stderr)
            return 1
        # A password kept here is of no use when passwords are checked elsewhere.
        login = _first_account(store) if first_account and "local" in config.auth.backends else None
    finally:
        store.close()
    print(greeting(config, port=port, login=login, lan=_lan_address()), flush=True)
    return 0


def _check_sign_in(config: Config, store: Store) -> str:
    """What the sign-in back ends lack to work as they are configured, as a sentence; "" for nothing."""
    from dav.auth import Authenticator

    try:
        Authenticator(store, config).close()
    except settings.ConfigError as error:
        return f"{str(error).rstrip('.')}."
    return ""


def _first_account(store: Store) -> tuple[str, str] | None:
    from dav import provision
    from dav.auth import passwords
    from storage import accounts
    from storage.engine import transaction

    with transaction(store) as conn:
        if accounts.list_accounts(conn, limit=1):
            return None
    name, password = account_name(_login_name()), passwords.generate()
    hashed = passwords.hash_password(password)
    with transaction(store, write=True) as conn:
        if accounts.list_accounts(conn, limit=1):
            return None
        provision.provision(conn, name, password_hash=hashed, now_s=int(time.time()))
    return name, password


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def account_name(login: str) -> str:
    """A name that is typed without effort on a phone: the login when it is plain and somebody's, else "me"."""
    name = login.lower()
    return name if re.fullmatch(r"[a-z][a-z0-9]{1,19}", name) and name not in ("root", "nobody", "admin") else "me"


def address(config: Config, *, port: int) -> str:
    """The address to type into a browser on this machine, or the public one when it is set."""
    path = f"{config.server.base_path}/"
    if config.server.public_url:
        return config.server.public_url + path
    host = config.server.host
    return _url(config, "localhost" if host in ("127.0.0.1", "::1", "0.0.0.0", "::") else host, port, path)


def greeting(config: Config, *, port: int, login: tuple[str, str] | None, lan: str) -> str:
    """What `serve` prints when it is ready. login: name and password of an account made just now."""
    lines = [f"Davenport {VERSION}", "", f"  Open      {address(config, port=port)}"]
    if config.server.host in ("0.0.0.0", "::") and not config.server.public_url and lan:
        path = f"{config.server.base_path}/"
        lines.append(f"            {_url(config, lan, port, path)}   from other devices in your network")
        if not config.server.certificate and not config.auth.allow_insecure:
            # What the guard of dav.auth would tell them with a 403, said to whoever can change it.
            lines.append("            They need https: set server.certificate, or auth.allow_insecure = yes.")
    if login is None:
        return "\n".join([*lines, ""])
    lines += [f"  User      {login[0]}", f"  Password  {login[1]}", ""]
    lines += ["The password is shown only now; 'davenport account set-password' makes another one."]
    lines += ["The page at the address above says what to type into each device."]
    if config.server.host in ("127.0.0.1", "::1") and not config.server.public_url:
        where = config.path.name if config.path else "config.ini"
        lines += [f"So far only this computer can connect; to let others in, set host = 0.0.0.0 in {where},"]
        lines += ["and a certificate there, or allow_insecure = yes in a network that nobody else can read."]
    return "\n".join([*lines, ""])


def _url(config: Config, host: str, port: int, path: str) -> str:
    scheme, usual = ("https", 443) if config.server.certificate else ("http", 80)
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}{path}" if port == usual else f"{scheme}://{shown}:{port}{path}"


def _lan_address() -> str:
    """This machine's address towards the rest of the network; "" without one. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return ""


def _sentence(error: BaseException) -> str:
    from storage.errors import StoreBusy

    return "another process keeps it locked." if isinstance(error, StoreBusy) else str(error)
