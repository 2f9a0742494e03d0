"""A private OpenLDAP server: its own folder, high ports, a certificate of an authority made for it."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from ..certificates import make_certificates

BASE = "dc=lab,dc=example"
ADMIN = f"cn=admin,{BASE}"
ADMIN_PASSWORD = "admin's own secret"
SERVICE = f"cn=davenport,{BASE}"
SERVICE_PASSWORD = "reader's secret"

CONF = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
attributetype ( 1.3.6.1.4.1.99999.1 NAME 'proxyAddresses' EQUALITY caseIgnoreMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.99999.2 NAME 'mailAlternateAddress' EQUALITY caseIgnoreIA5Match
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 )
objectclass ( 1.3.6.1.4.1.99999.3 NAME 'labMail' SUP top AUXILIARY MAY ( proxyAddresses $ mailAlternateAddress ) )
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload ppolicy
pidfile {folder}/slapd.pid
argsfile {folder}/slapd.args
TLSCACertificateFile {tls.ca}
TLSCertificateFile {tls.chain}
TLSCertificateKeyFile {tls.key}
database mdb
suffix "{base}"
rootdn "{admin}"
rootpw "{admin_password}"
directory {folder}/db
index uid,mail eq
access to attrs=userPassword by anonymous auth by self read by * none
access to * by dn.exact="{service}" read by self read by anonymous auth by * none
overlay memberof
overlay ppolicy
ppolicy_default "cn=policy,{base}"
"""

LDIF = """
dn: {base}
objectClass: organization
objectClass: dcObject
dc: lab
o: Lab

dn: cn=policy,{base}
objectClass: pwdPolicy
objectClass: person
cn: policy
sn: policy
pwdAttribute: userPassword
pwdLockout: TRUE
pwdMaxFailure: 4
pwdMustChange: FALSE

dn: {service}
objectClass: simpleSecurityObject
objectClass: organizationalRole
cn: davenport
userPassword: {service_password}

dn: ou=people,{base}
objectClass: organizationalUnit
ou: people

dn: uid=alice,ou=people,{base}
objectClass: inetOrgPerson
objectClass: labMail
uid: alice
cn: Alice (Example)
sn: Example
displayName: Alice Ångström
mail: Alice@Lab.example
mailAlternateAddress: a.example@lab.example
proxyAddresses: smtp:alias@lab.example
proxyAddresses: SMTP:first@lab.example
proxyAddresses: x500:/o=Lab/cn=alice
userPassword: alice's password

dn: uid=zoë,ou=people,{base}
objectClass: inetOrgPerson
uid: zoë
cn: Zoë
sn: Z
mail: zoe@lab.example
userPassword: pässwörd

dn: uid=bob,ou=people,{base}
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
mail: bob@lab.example
userPassword: bob's password

dn: uid=locked,ou=people,{base}
objectClass: inetOrgPerson
uid: locked
cn: Locked
sn: L
mail: locked@lab.example
userPassword: locked's password
pwdAccountLockedTime: 000001010000Z

dn: uid=twin1,ou=people,{base}
objectClass: inetOrgPerson
uid: twin1
cn: Twin
sn: T
mail: twins@lab.example
userPassword: twins' password

dn: uid=twin2,ou=people,{base}
objectClass: inetOrgPerson
uid: twin2
cn: Twin
sn: T
mail: twins@lab.example
userPassword: twins' password

dn: uid=nomail,ou=people,{base}
objectClass: inetOrgPerson
uid: NoMail
cn: Without
sn: W
userPassword: nomail's password

dn: cn=calendars,{base}
objectClass: groupOfNames
cn: calendars
member: uid=alice,ou=people,{base}

dn: ou=groups,{base}
objectClass: organizationalUnit
ou: groups

dn: cn=names,ou=groups,{base}
objectClass: groupOfNames
cn: names
member: uid=alice,ou=people,{base}
member: uid=bob,ou=people,{base}

dn: cn=Büro,ou=groups,{base}
objectClass: groupOfUniqueNames
cn: Büro
uniqueMember: uid=alice,ou=people,{base}
uniqueMember: uid=zoë,ou=people,{base}

dn: cn=unix,ou=groups,{base}
objectClass: posixGroup
cn: unix
gidNumber: 2000
memberUid: alice

dn: ou=elsewhere,{base}
objectClass: referral
objectClass: extensibleObject
ou: elsewhere
ref: ldap://127.0.0.1:1/ou=elsewhere,{base}
"""


class Slapd:
    """One server. `ldap`, `ldaps`: its addresses; `ca`: the file with its authority."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificates = make_certificates(folder / "tls", "localhost")
        self.ca = self.certificates.ca
        self.port, self.tls_port = free_port(), free_port()
        self.ldap = f"ldap://localhost:{self.port}"
        self.ldaps = f"ldaps://localhost:{self.tls_port}"
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "db").mkdir()
        words = {
            "folder": folder, "base": BASE, "admin": ADMIN, "admin_password": ADMIN_PASSWORD, "service": SERVICE,
            "service_password": SERVICE_PASSWORD, "tls": self.certificates,
        }  # fmt: skip
        (folder / "slapd.conf").write_text(CONF.format(**words))
        (folder / "lab.ldif").write_text(LDIF.format(**words).lstrip(), "utf-8")

    def start(self) -> Slapd:
        conf = str(self.folder / "slapd.conf")
        if not list((self.folder / "db").iterdir()):
            load = ["/usr/sbin/slapadd", "-f", conf, "-l", str(self.folder / "lab.ldif")]
            done = subprocess.run(load, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
        urls = f"ldap://127.0.0.1:{self.port}/ ldaps://127.0.0.1:{self.tls_port}/"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/usr/sbin/slapd", "-d", "0", "-f", conf, "-h", urls], stdout=log, stderr=log
            )
        wait_for(self.port)
        wait_for(self.tls_port)
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    @property
    def stopped(self) -> bool:
        return self._process is None

    def modify(self, ldif: str) -> None:
        """Applies a change as the administrator."""
        command = ["ldapmodify", "-x", "-H", f"ldap://127.0.0.1:{self.port}", "-D", ADMIN, "-w", ADMIN_PASSWORD]
        done = subprocess.run(command, input=ldif, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr

    def set_password(self, uid: str, password: str) -> None:
        dn = f"uid={uid},ou=people,{BASE}"
        self.modify(f"dn: {dn}\nchangetype: modify\nreplace: userPassword\nuserPassword: {password}\n")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def wait_for(port: int, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
