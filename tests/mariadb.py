"""A private MariaDB server for the tests, on 127.0.0.1 and without accounts. Nothing of the system's own is used."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any


def programs() -> tuple[str, str] | None:
    """(server, the script that makes its tables), or None when they are not installed."""
    places = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    found = shutil.which("mariadbd", path=places), shutil.which("mariadb-install-db", path=places)
    return (found[0], found[1]) if found[0] and found[1] else None


class MariaDb:
    """A running server over the files in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        """Makes the tables and starts the server. Raises RuntimeError with the end of its log when it does not."""
        found = programs()
        assert found is not None
        who: dict[str, Any] = {}
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            # The server refuses to run as root.
            entry = pwd.getpwnam("mysql")
            who = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            shutil.chown(folder, entry.pw_uid, entry.pw_gid)
        data, self._log = folder / "data", folder / "log"
        with open(os.devnull, "r+b") as nothing, self._log.open("wb") as log:
            subprocess.run(
                [found[1], "--no-defaults", f"--datadir={data}", "--skip-test-db"],
                stdin=nothing, stdout=log, stderr=log, check=True, cwd=folder, **who,
            )  # fmt: skip
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
            self._process = subprocess.Popen(
                [
                    *(found[0], "--no-defaults", f"--datadir={data}", f"--socket={folder}/socket"),
                    *("--skip-grant-tables", "--skip-networking=0", "--bind-address=127.0.0.1"),
                    *(f"--port={self.port}", f"--pid-file={folder}/pid"),
                    # Making a table takes InnoDB several flushes to disk; for reading the two are alike.
                    *("--default-storage-engine=Aria", "--innodb-buffer-pool-size=16M", "--skip-name-resolve"),
                ],
                stdin=nothing, stdout=log, stderr=log, cwd=folder, **who,
            )  # fmt: skip
        self._wait()

    def url(self, database: str = "") -> str:
        """SQLAlchemy's URL of a database."""
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/{database}"

    def stop(self) -> None:
        """Ends the server and waits for it."""
        self._process.terminate()
        self._process.wait(60)

    def _wait(self) -> None:
        end_s = time.monotonic() + 60
        while time.monotonic() < end_s and self._process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    if connection.recv(1):
                        return
            except OSError:
                time.sleep(0.1)
        self._process.kill()
        raise RuntimeError(self._log.read_text("utf-8", "replace")[-2000:])
