"""`davenport auth detect`: other programs' configuration in, settings that Davenport understands out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dav import cli, config
from dav.detect import detect, dovecot, postfix, render
from dav.detect.files import Machine

Tree = Callable[[dict[str, str]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Writes files below a root and returns it."""

    def write(files: dict[str, str]) -> Path:
        root = tmp_path / "root"
        root.mkdir(exist_ok=True)
        for name, text in files.items():
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return root

    return write


def pasted(root: Path, tmp_path: Path) -> config.Config:
    """The settings that somebody gets who pastes what is printed, secrets and all."""
    file = tmp_path / "config.ini"
    file.write_text(render(detect(root), with_secrets=True))
    return config.load(str(file), {})


def section(root: Path, tmp_path: Path, name: str) -> Any:
    return getattr(pasted(root, tmp_path), name)


CONF_D = {
    "/etc/dovecot/dovecot.conf": (
        "# 2.3\n!include_try /usr/share/dovecot/protocols.d/*.protocol\ndict {\n}\n!include conf.d/*.conf\n"
        "!include_try local.conf\n"
    ),
    "/etc/dovecot/conf.d/10-auth.conf": (
        "auth_mechanisms = plain login # both\n#!include auth-system.conf.ext\n!include auth-sql.conf.ext\n"
    ),
    "/etc/dovecot/conf.d/auth-sql.conf.ext": (
        "passdb {\n  driver = sql\n\n  # Path\n  args = /etc/dovecot/dovecot-sql.conf.ext\n}\n"
        "userdb {\n  driver = sql\n  args = /etc/dovecot/dovecot-sql.conf.ext\n}\n"
    ),
    "/etc/dovecot/conf.d/10-master.conf": (
        "service imap-login {\n  inet_listener imap {\n    #port = 143\n  }\n}\nservice auth {\n"
        "  unix_listener auth-userdb {\n    mode = 0666\n    user = vmail\n  }\n"
        "  unix_listener /var/spool/postfix/private/auth {\n    mode = 0660\n    user = postfix\n  }\n}\n"
    ),
}
MYSQL = {
    "/etc/dovecot/dovecot-sql.conf.ext": (
        "driver = mysql\nconnect = host=127.0.0.1 dbname=mail user=dovecot password='p @ss#w\\'rd'\n"
        "default_pass_scheme = SHA512-CRYPT\n"
        "password_query = SELECT email as user, password \\\n  FROM virtual_users \\\n"
        "  WHERE email='%Lu' AND active = 1\n"
        "user_query = SELECT 5000 AS uid\n"
    ),
}


def test_a_plain_dovecot_with_mysql_is_proposed_with_its_query(tree: Tree, tmp_path: Path) -> None:
    found = pasted(tree(CONF_D | MYSQL), tmp_path)
    assert found.auth.backends == ("sql",)
    sql = found.auth_sql
    assert sql.url == "mysql+pymysql://dovecot:p%20%40ss%23w%27rd@127.0.0.1/mail"
    assert sql.password_query == ("SELECT email as user, password FROM virtual_users WHERE email=:user AND active = 1")
    assert sql.default_scheme == "SHA512-CRYPT"


def test_each_line_says_where_it_was_found_and_passwords_stay_out(tree: Tree) -> None:
    report = detect(tree(CONF_D | MYSQL))
    text = render(report, with_secrets=False)
    assert "ss%23w" not in text
    assert "url = mysql://dovecot:PASSWORD@127.0.0.1/mail" in text
    assert "# /etc/dovecot/dovecot-sql.conf.ext:2\nurl = " in text
    assert "# /etc/dovecot/dovecot-sql.conf.ext:4\npassword_query = " in text
    assert "--with-secrets" in text
    assert "PASSWORD" not in render(report, with_secrets=True)


def test_an_alias_map_of_postfix_is_turned_around(tree: Tree, tmp_path: Path) -> None:
    files = CONF_D | MYSQL
    files["/etc/postfix/main.cf"] = (
        "myhostname = mx.example.org\nmaps = /etc/postfix/sql\nvirtual_alias_maps =\n"
        "  hash:/etc/aliases.virtual,\n  proxy:mysql:$maps/alias.cf\n"
    )
    files["/etc/postfix/sql/alias.cf"] = (
        "user = mail\npassword = secret-of-postfix\nhosts = 127.0.0.1\ndbname = mail\n"
        "query = SELECT destination FROM virtual_aliases WHERE source='%s' AND active = 1\n"
    )
    root = tree(files)
    assert section(root, tmp_path, "auth_sql").addresses_query == (
        "SELECT source FROM virtual_aliases WHERE destination = :user AND active = 1"
    )
    assert "secret-of-postfix" not in render(detect(root), with_secrets=False)


def test_a_map_in_the_old_form_is_turned_around() -> None:
    old = {
        "table": "alias", "select_field": "goto", "where_field": "address", "additional_conditions": "and active = '1'"
    }  # fmt: skip
    made = postfix.addresses_query(postfix.Map("virtual_alias_maps", "mysql", "/x", "", old))
    assert made == "SELECT address FROM alias WHERE goto = :user and active = '1'"
    for query in (
        "SELECT goto FROM alias,alias_domain WHERE alias_domain.alias_domain='%d' AND alias.address=concat('%u','@',t)",
        "SELECT a FROM b WHERE c='%u'",
        "SELECT goto FROM alias WHERE address='%s' AND domain='%d'",
    ):
        assert postfix.addresses_query(postfix.Map("virtual_alias_maps", "mysql", "/x", "", {"query": query})) == ""


def test_dovecot_2_4_is_understood(tree: Tree, tmp_path: Path) -> None:
    root = tree(
        {
            "/etc/dovecot/dovecot.conf": (
                "dovecot_config_version = 2.4.1\ndovecot_storage_version = 2.4.1\n!include conf.d/*.conf\n"
            ),
            "/etc/dovecot/conf.d/auth-sql.conf": (
                "sql_driver = pgsql\n\npgsql /run/postgresql {\n  parameters {\n    user = dovecot\n"
                '    password = "s3cret/x"\n    dbname = mails\n  }\n}\n'
                "passdb sql {\n  default_password_scheme = ARGON2ID\n"
                "  query = SELECT userid AS username, domain, password \\\n"
                "    FROM users WHERE userid = '%{user | username}' AND domain = '%{user|domain}'\n}\n"
                "userdb sql {\n  query = SELECT home FROM users\n}\n"
                "service auth {\n  unix_listener davenport {\n    type = auth\n    mode = 0660\n    group = davenport\n"
                "  }\n  unix_listener people {\n    type = userdb\n  }\n}\n"
            ),
        }
    )
    sql = section(root, tmp_path, "auth_sql")
    assert sql.url == "postgresql+psycopg://dovecot:s3cret%2Fx@/mails?host=%2Frun%2Fpostgresql"
    assert sql.password_query == (
        "SELECT :user AS user, userid AS username, domain, password FROM users"
        " WHERE userid = :local AND domain = :domain"
    )
    assert sql.default_scheme == "ARGON2ID"
    text = render(detect(root), with_secrets=False)
    assert "s3cret" not in text
    assert "#socket = /run/dovecot/davenport\n" in text
    assert "#userdb_socket = /run/dovecot/people\n" in text


def test_a_passwd_file_is_proposed(tree: Tree, tmp_path: Path) -> None:
    old = tree(
        {
            "/etc/dovecot/dovecot.conf": (
                "passdb {\n driver = passwd-file\n"
                " args = scheme=SHA512-CRYPT username_format=%u /etc/dovecot/users\n}\n"
            )
        }
    )
    found = pasted(old, tmp_path)
    assert found.auth.backends == ("passwd-file",)
    assert found.auth_passwd_file.file == "/etc/dovecot/users"
    assert found.auth_passwd_file.default_scheme == "SHA512-CRYPT"
    new = tree(
        {
            "/etc/dovecot/dovecot.conf": (
                "dovecot_config_version = 2.4.0\npassdb passwd-file {\n  passwd_file_path = /etc/mail/passwd\n}\n"
            )
        }
    )
    assert section(new, tmp_path, "auth_passwd_file").file == "/etc/mail/passwd"


def test_what_only_dovecot_can_verify_goes_through_its_socket(tree: Tree, tmp_path: Path) -> None:
    system = {
        "/etc/dovecot/dovecot.conf": "base_dir = /var/run/dovecot\npassdb {\n  driver = pam\n  args = dovecot\n}\n",
    }
    root = tree(system)
    assert pasted(root, tmp_path).auth.backends == ("dovecot",)
    text = render(detect(root), with_secrets=False)
    assert "#       unix_listener davenport-auth {\n" in text
    system["/etc/dovecot/dovecot.conf"] += (
        "service auth {\n  unix_listener davenport-auth {\n    mode = 0660\n    user = davenport\n  }\n}\n"
    )
    found = pasted(tree(system), tmp_path)
    assert found.auth_dovecot.socket == "/var/run/dovecot/davenport-auth"


@pytest.mark.parametrize(
    "passdb",
    [
        "passdb {\n  driver = static\n  args = nopassword=y allow_nets=10.0.0.0/8\n}\n",
        "passdb static {\n  fields {\n    nopassword = yes\n  }\n}\n",
    ],
)
def test_a_dovecot_that_lets_everybody_in_is_never_proposed(tree: Tree, passdb: str) -> None:
    text = render(detect(tree({"/etc/dovecot/dovecot.conf": passdb})), with_secrets=False)
    assert "[auth_dovecot]" not in text
    assert "without looking at their password" in text


def test_mailcow_is_proposed(tree: Tree, tmp_path: Path) -> None:
    root = tree(
        {
            "/opt/mailcow-dockerized/mailcow.conf": (
                "MAILCOW_HOSTNAME=mail.example.org\n# SQL\nDBNAME=mailcow\nDBUSER=mailcow\nDBPASS=Kq7xYz\n"
                "DBROOT=other\nSQL_PORT=127.0.0.1:13306\n"
            )
        }
    )
    found = pasted(root, tmp_path)
    assert found.auth.backends == ("sql",)
    assert found.auth_sql.url == "mysql+pymysql://mailcow:Kq7xYz@127.0.0.1:13306/mailcow"
    assert found.auth_sql.preset == "mailcow"
    text = render(detect(root), with_secrets=False)
    assert "Kq7xYz" not in text
    assert "other" not in text.split()


def test_mail_in_a_box_is_proposed(tree: Tree, tmp_path: Path) -> None:
    root = tree(
        {
            "/etc/mailinabox.conf": "STORAGE_USER=user-data\nSTORAGE_ROOT=/srv/user-data\nPRIMARY_HOSTNAME=box.x.org\n",
            **CONF_D,
            "/etc/dovecot/dovecot-sql.conf.ext": (
                "driver = sqlite\nconnect = /srv/user-data/mail/users.sqlite\n"
                "password_query = SELECT email as user, password FROM users WHERE email='%u';\n"
            ),
        }
    )
    sql = section(root, tmp_path, "auth_sql")
    assert sql.url == "sqlite:////srv/user-data/mail/users.sqlite"
    assert sql.preset == "mailinabox"


def test_iredmail_is_proposed(tree: Tree, tmp_path: Path) -> None:
    root = tree(
        {
            "/etc/iredmail-release": "1.7.1 MARIADB edition.\n",
            "/etc/dovecot/dovecot-mysql.conf": (
                "driver = mysql\ndefault_pass_scheme = CRYPT\n"
                "connect = host=127.0.0.1 port=3306 dbname=vmail user=vmail password=aBcD1234\n"
                "password_query = SELECT mailbox.password, mailbox.allow_nets FROM mailbox,domain \\\n"
                "  WHERE mailbox.username='%u' AND mailbox.`enable%Ls%Lc`=1\n"
            ),
            "/etc/dovecot/dovecot.conf": "passdb {\n  args = /etc/dovecot/dovecot-mysql.conf\n  driver = sql\n}\n",
        }
    )
    sql = section(root, tmp_path, "auth_sql")
    assert sql.url == "mysql+pymysql://vmail:aBcD1234@127.0.0.1:3306/vmail"
    assert (sql.preset, sql.password_query) == ("iredmail", "")


def test_a_query_that_cannot_be_translated_falls_back_to_the_preset(tree: Tree, tmp_path: Path) -> None:
    root = tree(
        {
            "/etc/dovecot/dovecot.conf": "passdb {\n  args = /etc/dovecot/m.conf\n  driver = sql\n}\n",
            "/etc/dovecot/m.conf": (
                "driver = pgsql\nconnect = host=db dbname=vmail user=vmail password=x\n"
                "password_query = SELECT password FROM mailbox WHERE username='%u' AND `enable%Ls`=1 AND backupmx=0\n"
            ),
        }
    )
    assert section(root, tmp_path, "auth_sql").preset == "iredmail"
    assert "%Ls" in render(detect(root), with_secrets=False)


def test_modoboa_is_proposed(tree: Tree, tmp_path: Path) -> None:
    root = tree(
        {
            "/srv/modoboa/instance/instance/settings.py": (
                "import os\nDATABASES = {\n    'default': {\n        'ENGINE': 'django.db.backends.postgresql',\n"
                "        'NAME': 'modoboa',\n        'USER': 'modoboa',\n        'PASSWORD': 'pw1',\n"
                "        'HOST': '127.0.0.1',\n        'PORT': '5432',\n    },\n    'amavis': {\n"
                "        'ENGINE': 'django.db.backends.postgresql', 'PASSWORD': 'pw2'\n    },\n}\n"
            )
        }
    )
    sql = section(root, tmp_path, "auth_sql")
    assert (sql.url, sql.preset) == ("postgresql+psycopg://modoboa:pw1@127.0.0.1:5432/modoboa", "modoboa")


def test_docker_mailserver_is_proposed(tree: Tree, tmp_path: Path) -> None:
    folder = "/srv/mail/docker-data/dms/config"
    root = tree(
        {
            f"{folder}/postfix-accounts.cf": "alice@example.org|{SHA512-CRYPT}$6$x$y\n",
            f"{folder}/postfix-virtual.cf": "a@example.org alice@example.org\n",
        }
    )
    found = pasted(root, tmp_path)
    assert found.auth.backends == ("passwd-file",)
    assert found.auth_passwd_file.file == f"{folder}/postfix-accounts.cf"
    assert found.auth_passwd_file.aliases_file == f"{folder}/postfix-virtual.cf"


@pytest.mark.parametrize(
    ("files", "url"),
    [
        (
            {
                "/etc/postfixadmin/config.local.php": (
                    "<?php\n$CONF['database_type'] = 'pgsql';\n$CONF['database_host'] = 'db.example.org';\n"
                    "$CONF['database_user'] = 'pfa';\n$CONF['database_password'] = 'p/w';\n"
                    "$CONF['database_name'] = \"postfix\";\n$CONF['encrypt'] = 'dovecot:SHA512-CRYPT';\n"
                )
            },
            "postgresql+psycopg://pfa:p%2Fw@db.example.org/postfix",
        ),
        (
            {
                "/etc/postfixadmin/config.local.php": "<?php\n$CONF['encrypt'] = 'dovecot:SHA512-CRYPT';\n",
                "/etc/postfixadmin/dbconfig.inc.php": (
                    "<?php\n$dbuser='postfixadmin';\n$dbpass='pw';\n$dbserver='localhost';\n$dbname='postfixadmin';\n"
                    "$dbtype='mysqli';\n"
                ),
            },
            "mysql+pymysql://postfixadmin:pw@localhost/postfixadmin",
        ),
    ],
)
def test_postfixadmin_is_proposed(tree: Tree, tmp_path: Path, files: dict[str, str], url: str) -> None:
    sql = section(tree(files), tmp_path, "auth_sql")
    assert (sql.url, sql.preset, sql.default_scheme) == (url, "postfixadmin", "SHA512-CRYPT")


@pytest.mark.parametrize(
    ("query", "driver", "ours"),
    [
        (
            "SELECT p FROM u WHERE n='%n' AND d='%d'",
            "mysql",
            "SELECT :user AS user, p FROM u WHERE n=:local AND d=:domain",
        ),
        ("SELECT p FROM u WHERE e='%n@%d'", "mysql", "SELECT :user AS user, p FROM u WHERE e=:user"),
        (
            "SELECT p FROM u WHERE e='%Ln@x.org'",
            "mysql",
            "SELECT :user AS user, p FROM u WHERE e=concat(:local, '@x.org')",
        ),
        ("SELECT p FROM u WHERE e='%Ln@x.org'", "sqlite", "SELECT :user AS user, p FROM u WHERE e=:local || '@x.org'"),
        (
            "SELECT p FROM u WHERE e='%{user|lower}' AND a='1'; ",
            "pgsql",
            "SELECT :user AS user, p FROM u WHERE e=:user AND a='1'",
        ),
    ],
)
def test_variables_become_parameters(query: str, driver: str, ours: str) -> None:
    assert dovecot.query(query, driver) == ours


def test_a_variable_without_counterpart_is_named() -> None:
    with pytest.raises(ValueError, match="%s"):
        dovecot.query("SELECT p FROM u WHERE e='%u' AND s='%s'", "mysql")


def test_a_query_that_our_settings_refuse_is_mentioned_and_not_proposed(tree: Tree, tmp_path: Path) -> None:
    files = CONF_D | MYSQL
    name = "/etc/dovecot/dovecot-sql.conf.ext"
    files[name] = files[name].replace("active = 1", "note = ':b'")
    root = tree(files)
    assert section(root, tmp_path, "auth_sql").password_query == ""
    assert "password_query is yours to write" in render(detect(root), with_secrets=False)


def test_includes_that_never_end_do_end(tree: Tree) -> None:
    root = tree(
        {
            "/etc/dovecot/dovecot.conf": "!include *.conf\n}\n}\npassdb {\n driver = pam\n",
            "/etc/dovecot/b.conf": "a = 1 \\\n" * 500 + "!include *.conf\nx {\n" * 50,
        }
    )
    assert len(detect(root).proposals) <= 1


def test_a_pipe_a_huge_file_and_binary_rubbish_are_passed_over(tree: Tree) -> None:
    root = tree({"/etc/postfix/main.cf": "virtual_alias_maps = mysql:/etc/x\n" + "#" * (2 << 20)})
    os.makedirs(root / "etc/dovecot")
    os.mkfifo(root / "etc/dovecot/dovecot.conf")
    (root / "etc/mailinabox.conf").write_bytes(bytes(range(256)) * 10)
    text = render(detect(root), with_secrets=True)
    assert "main.cf: larger than a configuration is" in text
    assert text.isprintable() or "\n" in text


def test_nothing_there_is_said_and_is_no_success(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    root = tree({"/etc/hosts": ""})
    assert cli.main(["auth", "detect", "--root", str(root)]) == 1
    assert "No mail server" in capsys.readouterr().err


def test_the_command_prints_what_can_be_pasted(tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tree(CONF_D | MYSQL)
    assert cli.main(["auth", "detect", "--root", str(root)]) == 0
    (tmp_path / "config.ini").write_text(capsys.readouterr().out)
    assert config.load(str(tmp_path / "config.ini"), {}).auth.backends == ("sql",)


def test_a_value_cannot_break_out_of_its_line(tree: Tree, tmp_path: Path) -> None:
    root = tree(
        {
            "/etc/mailinabox.conf": "STORAGE_ROOT=/srv/x\r[server] host=0.0.0.0\x0b[auth]\x85cache_seconds = 0\n",
        }
    )
    found = pasted(root, tmp_path)
    assert found.server.host == "127.0.0.1"
    assert found.auth.cache_seconds == 300


_PIECES = st.sampled_from(
    ["passdb {", "}", "driver = sql", "driver = pam", "args = /etc/x", "!include *.conf", "a = b \\", "#", '"', "'",
     "{", "service auth {", "unix_listener x {", "connect = host=a password='b", "query = %u '%d", "sql_driver = mysql",
     "passdb sql {", "mysql x {", "\0", "=", "é", "!include /", "dovecot_config_version = 2.4"]
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(_PIECES, max_size=20), st.text(max_size=60))
def test_no_configuration_makes_it_fail(tmp_path_factory: pytest.TempPathFactory, lines: list[str], more: str) -> None:
    root = tmp_path_factory.getbasetemp() / "any"
    for name in ("etc/dovecot/dovecot.conf", "etc/x", "etc/postfix/main.cf", "etc/mailinabox.conf"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("\n".join(lines) + more, encoding="utf-8", errors="replace")
    assert render(detect(root), with_secrets=True).endswith("\n")
    assert Machine(root).read("/etc/none") is None
