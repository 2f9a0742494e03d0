"""Makes accounts in the store of a configuration: python -m bench.peers.davenport_accounts CONFIG NAME …"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from bench.peers.process import DOMAIN, PASSWORD
from dav.auth.passwords import hash_password
from dav.config import load
from dav.provision import open_store, provision
from storage.engine import transaction


def make_accounts(config: Path, names: list[str]) -> None:
    """Accounts with the password of all; whose name is no address gets one. All by one program, which is quick."""
    store, now_s = open_store(load(str(config), {})), int(time.time())
    with transaction(store, write=True) as conn:
        for name in names:
            addresses = [] if "@" in name else [f"{name}@{DOMAIN}"]
            provision(conn, name, now_s=now_s, password_hash=hash_password(PASSWORD), addresses=addresses)
    store.close()


if __name__ == "__main__":
    make_accounts(Path(sys.argv[1]), sys.argv[2:])
