"""Cyrus IMAP's CalDAV and CardDAV modules from Debian. Any password is right here, which is in its favour.

The user's mailbox is made over IMAP. Debian's cyrus-imapd, which has that program, cannot be installed beside another
IMAP server; where it is not, its program is unpacked from the package that apt-get downloads.
"""

from __future__ import annotations

import imaplib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers.process import GUESTS, PASSWORD, USER, Running, free_port, processes, without
from bench.system import debian

BIN = Path("/usr/lib/cyrus/bin")


def missing() -> str:
    return without("cyrus-common", "cyrus-caldav") or ("" if os.geteuid() == 0 else "root")


def version() -> str:
    return debian("cyrus-common")


def imapd() -> Path:
    """The IMAP program. Raises CalledProcessError when it cannot be had."""
    if (BIN / "imapd").exists():
        return BIN / "imapd"
    place = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "davenport-bench" / f"cyrus-{version()}"
    found = place / "usr/lib/cyrus/bin/imapd"
    if not found.exists():
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "-q", "download", "cyrus-imapd"], cwd=place, check=True, capture_output=True)
        (package,) = place.glob("cyrus-imapd_*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), str(place)], check=True)
    return found


@contextmanager
def cyrus(folder: Path) -> Iterator[Running]:
    http, imap = free_port(), free_port()
    conf = folder / "conf"
    for name in ("db", "log", "msg", "proc", "quota", "socket", "lock", "ptclient", "user"):
        (conf / name).mkdir(parents=True)
    for name in ("spool", "sieve"):
        (folder / name).mkdir()
    shutil.copy(imapd(), folder / "imapd")
    (folder / "cyrus.conf").write_text(
        f'START {{\n  recover cmd="/usr/sbin/cyrus ctl_cyrusdb -C {folder}/imapd.conf -r"\n}}\nSERVICES {{\n'
        f'  imap cmd="{folder}/imapd -C {folder}/imapd.conf" listen="127.0.0.1:{imap}" prefork=0 maxchild=4\n'
        f'  http cmd="{BIN}/httpd -C {folder}/imapd.conf" listen="127.0.0.1:{http}" prefork=5 maxchild=30\n}}\n'
        f'EVENTS {{\n  checkpoint cmd="/usr/sbin/cyrus ctl_cyrusdb -C {folder}/imapd.conf -c" period=30\n}}\n'
    )
    (folder / "imapd.conf").write_text(
        f"configdirectory: {conf}\nproc_path: {conf}/proc\nmboxname_lockpath: {conf}/lock\ndefaultpartition: default\n"
        f"partition-default: {folder}/spool\nsievedir: {folder}/sieve\nadmins: admin\naltnamespace: no\n"
        "unixhierarchysep: yes\nvirtdomains: off\nallowplaintext: yes\n"
        "sasl_pwcheck_method: alwaystrue\nsasl_mech_list: PLAIN LOGIN\nhttpmodules: caldav carddav webdav freebusy\n"
        "httpkeepalive: 20\ncaldav_realm: bench\ncaldav_create_default: yes\ncarddav_create_default: yes\n"
        "calendar_user_address_set: example.org\ncaldav_allowscheduling: on\nzoneinfo_db: twoskip\n"
        f"lmtpsocket: {conf}/socket/lmtp\nidlesocket: {conf}/socket/idle\nnotifysocket: {conf}/socket/notify\n"
    )
    subprocess.run(["chown", "-R", "cyrus:mail", str(folder)], check=True)
    with processes(folder) as running:
        master: list[str | Path] = [
            "/usr/sbin/cyrmaster",
            "-C",
            folder / "imapd.conf",
            "-M",
            folder / "cyrus.conf",
            "-p",
            folder / "pid",
            "-D",
        ]
        running.start(master, cwd=folder)
        running.listening(http, "Cyrus")
        with imaplib.IMAP4("127.0.0.1", imap) as administrator:
            administrator.login("admin", "any")
            for name in (USER, *GUESTS):
                administrator.create(f"user/{name}")
        yield Running(f"http://127.0.0.1:{http}/", USER, PASSWORD, running.pids, guests=GUESTS)
