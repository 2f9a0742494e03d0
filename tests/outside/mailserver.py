"""A private Dovecot and Postfix over one SQLite table of users: what people have their mail password at.

Everything lies in one temporary folder and listens on high ports of 127.0.0.1. Needs root and Debian's packages
(.ci/install-mail); never touches the machine's own mail server.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

from passlib.hash import sha512_crypt

from ..certificates import make_certificates
from .servers import free_port

DOMAIN = "lab.example"
START_S = 30.0
DOVECOT_SQL = """driver = sqlite
connect = {folder}/users.sqlite
default_pass_scheme = SHA512-CRYPT
password_query = SELECT email AS user, password FROM users WHERE email='%Lu' AND active=1
user_query = SELECT email AS user, 65534 AS uid, 65534 AS gid, '{folder}/home/%Ln' AS home, \
name AS davenport_name FROM users WHERE email='%Lu' AND active=1
iterate_query = SELECT email AS user FROM users WHERE active=1
"""
DOVECOT = """base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/dovecot.log
listen = 127.0.0.1
protocols = imap lmtp
instance_name = davenport-test-{imap}
mail_location = maildir:~/mail
first_valid_uid = 1
ssl = yes
ssl_cert = <{chain}
ssl_key = <{key}
disable_plaintext_auth = no
auth_failure_delay = {delay_s} secs
auth_verbose = yes
# So it believes what Davenport's IMAP back end says of the client's address.
login_trusted_networks = 127.0.0.1
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = {penalty}
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
service auth {{
  unix_listener davenport-auth {{
    mode = 0666
  }}
  unix_listener postfix-auth {{
    mode = 0666
  }}
  unix_listener auth-userdb {{
    mode = 0666
  }}
}}
passdb {{
  driver = sql
  args = {folder}/dovecot-sql.conf
}}
userdb {{
  driver = sql
  args = {folder}/dovecot-sql.conf
}}
"""
POSTFIX_MAIN = """compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
multi_instance_name = postfix-davenport-{smtp}
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
myhostname = mail.{domain}
mydestination =
mynetworks =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = sqlite:{folder}/boxes.cf
virtual_transport = lmtp:inet:127.0.0.1:{lmtp}
default_transport = error:no outside mail
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {folder}/run/postfix-auth
smtpd_tls_security_level = may
smtpd_tls_cert_file = {chain}
smtpd_tls_key_file = {key}
smtpd_client_connection_count_limit = 0
# Without Dovecot no smtpd can begin; Postfix would wait a minute before it tries again.
service_throttle_time = 1s
"""
POSTFIX_MASTER = """127.0.0.1:{smtp} inet n - n - - smtpd
127.0.0.1:{smtps} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class MailServer:
    """Dovecot (imap, imaps, lmtp, auth sockets) and Postfix (smtp with STARTTLS, smtps) over `users`."""

    domain = DOMAIN

    def __init__(self) -> None:
        # The paths of sockets are short or do not work, and other users must be able to walk to them.
        self.folder = Path(tempfile.mkdtemp(prefix="dav-mail-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.certificates = make_certificates(self.folder / "tls", f"mail.{DOMAIN}")
        self.imap, self.imaps, self.lmtp, self.smtp, self.smtps = (free_port() for _ in range(5))
        self.auth_socket = self.folder / "run" / "davenport-auth"
        self.userdb_socket = self.folder / "run" / "auth-userdb"
        self.database = self.folder / "users.sqlite"
        with self._users() as users:
            users.execute("CREATE TABLE users (email TEXT PRIMARY KEY, password TEXT, active INTEGER, name TEXT)")
        self.database.chmod(0o644)
        home = self.folder / "home"
        home.mkdir()
        os.chown(home, 65534, 65534)
        self._write("dovecot-sql.conf", DOVECOT_SQL)
        self._write_postfix()

    # --- people ---

    def add(self, name: str, password: str) -> str:
        """A mailbox; returns its address."""
        address = f"{name}@{DOMAIN}"
        with self._users() as users:
            row = (address, _hash(password), 1, name.title())
            users.execute("INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?)", row)
        return address

    def set_password(self, address: str, password: str) -> None:
        with self._users() as users:
            assert users.execute("UPDATE users SET password = ? WHERE email = ?", (_hash(password), address)).rowcount

    def set_active(self, address: str, active: bool) -> None:
        with self._users() as users:
            assert users.execute("UPDATE users SET active = ? WHERE email = ?", (int(active), address)).rowcount

    @contextlib.contextmanager
    def _users(self):  # type: ignore[no-untyped-def]
        connection = sqlite3.connect(self.database, timeout=20)
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    # --- processes ---

    def start_dovecot(self, *, delay_s: int = 1, penalty: bool = False) -> None:
        """delay_s: what each wrong password costs (auth_failure_delay). penalty: more for who guesses."""
        self._write("dovecot.conf", DOVECOT, delay_s=delay_s, penalty="0600" if penalty else "0")
        _run(["dovecot", "-c", str(self.folder / "dovecot.conf")])
        for port in (self.imap, self.imaps, self.lmtp):
            _wait_for_port(port, self.folder / "dovecot.log")
        deadline = time.monotonic() + START_S
        while not self.auth_socket.exists():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def stop_dovecot(self) -> None:
        pid_file = self.folder / "run" / "master.pid"
        if not pid_file.exists():
            return
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + START_S
        while Path(f"/proc/{pid}").exists() and _state(pid) != "Z":
            assert time.monotonic() < deadline, "Dovecot does not end"
            time.sleep(0.05)
        # Its auth process lives on for a moment, with the connections that it has.
        pid_file.unlink(missing_ok=True)

    def start_postfix(self) -> None:
        _run(["postfix", "-c", str(self.folder / "postfix"), "start"])
        for port in (self.smtp, self.smtps):
            _wait_for_port(port, self.folder / "postfix.log")

    def stop_postfix(self) -> None:
        _run(["postfix", "-c", str(self.folder / "postfix"), "stop"], check=False)

    def stop(self) -> None:
        self.stop_postfix()
        self.stop_dovecot()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        texts = [self.folder / name for name in ("dovecot.log", "postfix.log")]
        return "\n".join(text.read_text(errors="replace")[-4000:] for text in texts if text.exists())

    def _write(self, name: str, text: str, **more: object) -> None:
        file = self.folder / name
        file.write_text(text.format(**self._words(), **more))
        file.chmod(0o644)

    def _words(self) -> dict[str, object]:
        names = ("folder", "imap", "imaps", "lmtp", "smtp", "smtps", "domain")
        tls = {"chain": self.certificates.chain, "key": self.certificates.key}
        return {name: getattr(self, name) for name in names} | tls

    def _write_postfix(self) -> None:
        (self.folder / "postfix").mkdir()
        (self.folder / "queue").mkdir()
        (self.folder / "data").mkdir()
        owner = pwd.getpwnam("postfix")
        os.chown(self.folder / "data", owner.pw_uid, owner.pw_gid)
        self._write("postfix/main.cf", POSTFIX_MAIN)
        self._write("postfix/master.cf", POSTFIX_MASTER)
        query = "SELECT email FROM users WHERE email='%s' AND active=1"
        self._write("boxes.cf", "dbpath = {folder}/users.sqlite\nquery = " + query + "\n")


def _hash(password: str) -> str:
    # The cost is no matter here; Dovecot takes 1,000 rounds as well as 5,000.
    return "{SHA512-CRYPT}" + str(sha512_crypt.using(rounds=1000).hash(password))


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return "Z"


def _run(command: list[str], *, check: bool = True) -> None:
    # Into a file: the daemons that it leaves behind would keep a pipe open.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=60, check=False
        )
        output.seek(0)
        assert not check or done.returncode == 0, f"{command}: {output.read().decode(errors='replace')}"


def _wait_for_port(port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 2).close()
            return
        except OSError:
            told = log.read_text(errors="replace")[-4000:] if log.exists() else ""
            assert time.monotonic() < deadline, f"nothing listens on {port}:\n{told}"
            time.sleep(0.05)
