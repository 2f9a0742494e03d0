"""The mail stacks that people install as a whole, and where each keeps what Davenport needs to know."""

from __future__ import annotations

import re

from dav.detect.files import Machine, Text
from dav.detect.proposal import Line, Proposal, Report, database_url, sqlite_url

# Where the containers' folders of a stack usually lie.
_HOMES = ("/opt", "/srv", "/root", "/home/*", "/usr/local", "/var/lib", "/srv/docker", "/opt/docker")


def find(machine: Machine, report: Report) -> None:
    """Adds what is found of each stack to the report."""
    for look in (_mailcow, _mail_in_a_box, _iredmail, _modoboa, _docker_mailserver, _postfixadmin):
        look(machine, report)


def _assignments(text: Text, pattern: str) -> dict[str, tuple[str, str]]:
    """key → (value, file:line) of the lines that a pattern with the groups key and value matches."""
    found: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(text.lines, start=1):
        match = re.match(pattern, line)
        if match:
            value = match["value"].strip()
            if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
                value = value[1:-1]
            found[match["key"]] = (value, text.at(number))
    return found


_SHELL = r"\s*(?:export\s+)?(?P<key>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>[^#]*)"


def _value(found: dict[str, tuple[str, str]], key: str, default: str = "") -> str:
    return found.get(key, (default, ""))[0] or default


def _places(machine: Machine, *names: str) -> list[str]:
    return [path for home in _HOMES for name in names for path in machine.glob(f"{home}/{name}")]


def _mailcow(machine: Machine, report: Report) -> None:
    for path in _places(machine, "mailcow-dockerized/mailcow.conf", "mailcow/mailcow.conf"):
        text = machine.read(path)
        if text is None:
            continue
        found = _assignments(text, _SHELL)
        # SQL_PORT=127.0.0.1:13306 is what the containers' compose file opens on the host.
        host, _, port = _value(found, "SQL_PORT", "127.0.0.1:13306").rpartition(":")
        url = database_url(
            "mysql",
            host=host or "127.0.0.1",
            port=port,
            name=_value(found, "DBNAME", "mailcow"),
            user=_value(found, "DBUSER", "mailcow"),
            password=_value(found, "DBPASS"),
            found=found.get("DBNAME", ("", path))[1],
        )
        report.proposals.append(
            Proposal(
                "mailcow: its own table of mailboxes, with its app passwords.",
                "sql",
                "auth_sql",
                (url, Line("preset", "mailcow", path)),
                (
                    "Needs `pip install davenport[mysql]`. A role that may only read is better than mailcow's own.",
                    "People from Keycloak, OIDC or LDAP have no password here: they need the dovecot or imap back end.",
                ),
            )
        )
        return


def _mail_in_a_box(machine: Machine, report: Report) -> None:
    text = machine.read("/etc/mailinabox.conf")
    if text is None:
        return
    found = _assignments(text, _SHELL)
    storage, where = found.get("STORAGE_ROOT", ("/home/user-data", text.path))
    report.proposals.append(
        Proposal(
            "Mail-in-a-Box: its own table of users and aliases.",
            "sql",
            "auth_sql",
            (sqlite_url(f"{storage}/mail/users.sqlite", where), Line("preset", "mailinabox", text.path)),
            ("The user that runs Davenport must be able to read the file: `adduser davenport mail`, or an ACL.",),
        )
    )


def _iredmail(machine: Machine, report: Report) -> None:
    if not machine.exists("/etc/iredmail-release"):
        return
    # iRedMail writes one file for each back end that it was installed with.
    for name, driver in (("mysql", "mysql"), ("pgsql", "pgsql")):
        text = machine.read(f"/etc/dovecot/dovecot-{name}.conf")
        if text is None:
            continue
        from dav.detect.dovecot import connect_words, parse_lines

        config = parse_lines(text.lines, text.path)
        connect = config.get("connect")
        if connect is None:
            continue
        words = connect_words(connect.value)
        url = database_url(
            driver,
            host=words.get("host", "127.0.0.1"),
            port=words.get("port", ""),
            name=words.get("dbname", "vmail"),
            user=words.get("user", "vmail"),
            password=words.get("password", ""),
            found=connect.where,
        )
        notes = ["Needs `pip install davenport[mysql]`."] if driver == "mysql" else []
        report.proposals.append(
            Proposal(
                "iRedMail: its vmail database.",
                "sql",
                "auth_sql",
                (url, Line("preset", "iredmail", "/etc/iredmail-release")),
                tuple(notes),
            )
        )
        return
    if machine.exists("/etc/dovecot/dovecot-ldap.conf"):
        report.warnings.append("iRedMail keeps its people in LDAP here: use the ldap back end, or dovecot's socket.")


def _modoboa(machine: Machine, report: Report) -> None:
    for path in machine.glob("/srv/modoboa/instance/*/settings.py"):
        text = machine.read(path)
        if text is None:
            continue
        body = "\n".join(text.lines)
        # The first of DATABASES; 'amavis' may follow.
        match = re.search(r"['\"]default['\"]\s*:\s*\{(.*?)\}", body, re.DOTALL)
        if not match:
            continue
        pairs = dict(re.findall(r"['\"]([A-Z]+)['\"]\s*:\s*['\"]([^'\"]*)['\"]", match[1]))
        where = text.at(body.count("\n", 0, match.start()) + 1)
        engine = pairs.get("ENGINE", "").rpartition(".")[2]
        lines: list[Line] = []
        if engine == "sqlite3":
            lines.append(sqlite_url(pairs.get("NAME", ""), where))
        elif engine in ("mysql", "postgresql"):
            lines.append(
                database_url(
                    "mysql" if engine == "mysql" else "pgsql",
                    host=pairs.get("HOST") or "127.0.0.1",
                    port=pairs.get("PORT", ""),
                    name=pairs.get("NAME", "modoboa"),
                    user=pairs.get("USER", "modoboa"),
                    password=pairs.get("PASSWORD", ""),
                    found=where,
                )
            )
        else:
            continue
        lines.append(Line("preset", "modoboa", path))
        notes = ("Needs `pip install davenport[mysql]`.",) if engine == "mysql" else ()
        report.proposals.append(Proposal("Modoboa: its own tables.", "sql", "auth_sql", tuple(lines), notes))
        return


def _docker_mailserver(machine: Machine, report: Report) -> None:
    folders = _places(
        machine,
        "docker-data/dms/config/postfix-accounts.cf",
        "*/docker-data/dms/config/postfix-accounts.cf",
        "mailserver/config/postfix-accounts.cf",
        "docker-mailserver/config/postfix-accounts.cf",
    )
    if machine.exists("/tmp/docker-mailserver/postfix-accounts.cf"):
        # Inside the container itself.
        folders.append("/tmp/docker-mailserver/postfix-accounts.cf")
    for path in folders:
        aliases = path.replace("postfix-accounts.cf", "postfix-virtual.cf")
        lines = [Line("file", path, path)]
        if machine.exists(aliases):
            lines.append(Line("aliases_file", aliases, aliases))
        report.proposals.append(
            Proposal(
                "docker-mailserver: its file of accounts.",
                "passwd-file",
                "auth_passwd_file",
                tuple(lines),
                ("Share the folder, not the file, with a container: the file is made anew when it changes.",),
            )
        )
        return


_PHP = r"\s*\$CONF\[['\"](?P<key>\w+)['\"]\]\s*=\s*(?P<value>'[^']*'|\"[^\"]*\"|\w+)\s*;"


def _postfixadmin(machine: Machine, report: Report) -> None:
    for path in (
        "/etc/postfixadmin/config.local.php",
        *machine.glob("/srv/postfixadmin*/config.local.php"),
        *machine.glob("/var/www/postfixadmin*/config.local.php"),
        *machine.glob("/var/www/html/postfixadmin*/config.local.php"),
        *machine.glob("/usr/share/postfixadmin*/config.local.php"),
        *machine.glob("/opt/postfixadmin*/config.local.php"),
    ):
        text = machine.read(path)
        if text is None:
            continue
        found = _assignments(text, _PHP)
        # Debian's package leaves the database to dbconfig-common.
        debian = machine.read("/etc/postfixadmin/dbconfig.inc.php")
        if debian is not None:
            names = {
                "dbtype": "database_type", "dbserver": "database_host", "dbname": "database_name",
                "dbuser": "database_user", "dbpass": "database_password", "dbport": "database_port",
            }  # fmt: skip
            php = _assignments(debian, r"\s*\$(?P<key>db\w+)\s*=\s*(?P<value>'[^']*'|\"[^\"]*\")\s*;")
            found = {names[key]: value for key, value in php.items() if key in names} | found
        kind = _value(found, "database_type")
        where = found.get("database_type", ("", path))[1]
        if kind == "sqlite":
            line = sqlite_url(_value(found, "database_name"), where)
        elif kind in ("mysql", "mysqli", "pgsql"):
            line = database_url(
                "pgsql" if kind == "pgsql" else "mysql",
                host=_value(found, "database_socket") or _value(found, "database_host", "localhost"),
                port=_value(found, "database_port"),
                name=_value(found, "database_name", "postfix"),
                user=_value(found, "database_user", "postfix"),
                password=_value(found, "database_password"),
                found=where,
            )
        else:
            continue
        lines = [line, Line("preset", "postfixadmin", path)]
        scheme = {
            "md5crypt": "MD5-CRYPT", "cleartext": "PLAIN", "md5": "PLAIN-MD5", "sha512.b64": "SHA512",
            "mysql_encrypt": "CRYPT", "system": "CRYPT", "php_crypt": "CRYPT", "authlib": "CRYPT",
        }.get(_value(found, "encrypt", "php_crypt").partition(":")[0].lower(), "CRYPT")  # fmt: skip
        if "encrypt" in found:
            if found["encrypt"][0].lower().startswith("dovecot:"):
                scheme = found["encrypt"][0].partition(":")[2].upper()
            lines.append(Line("default_scheme", scheme, found["encrypt"][1]))
        notes = ("Needs `pip install davenport[mysql]`.",) if kind.startswith("mysql") else ()
        report.proposals.append(Proposal("PostfixAdmin: its own tables.", "sql", "auth_sql", tuple(lines), notes))
        return
