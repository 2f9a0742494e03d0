"""DAViCal from Debian: php-fpm behind nginx, a PostgreSQL of its own. Passwords are stored plainly, in its favour."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers import postgres, web
from bench.peers.process import DOMAIN, GUESTS, PASSWORD, USER, Running, free_port, processes, without
from bench.system import debian
from bench.wire import Connection, Target

DELIVER = 512 + 7168  # what everybody may do in a home: read busy times, deliver invitations
SHARE = Path("/usr/share/davical")


def missing() -> str:
    packages = (*web.PACKAGES, "davical", "php8.2-pgsql", "php8.2-curl", "libyaml-perl", "postgresql-15")
    return without(*packages) or ("" if os.geteuid() == 0 else "root")


def version() -> str:
    return debian("davical")


@contextmanager
def davical(folder: Path) -> Iterator[Running]:
    port = free_port()
    name = f"bench-{port}"  # DAViCal reads the settings of the server's name
    settings = Path(f"/etc/davical/{name}-conf.php")
    try:
        with processes(folder) as running:
            database = postgres.start(running, folder)
            environment = {
                **os.environ, "PGHOST": str(folder / "pg"), "PGPORT": str(database), "PGUSER": "postgres",
                "PSQLOPTS": "", "USER": "postgres",
            }  # fmt: skip
            subprocess.run(
                ["bash", "./create-database.sh", "davical", "admin"],
                cwd=SHARE / "dba", env=environment, check=True, capture_output=True,
            )  # fmt: skip
            people = "".join(
                "INSERT INTO usr (active, email_ok, username, password, fullname, email) VALUES "
                f"(true, now(), '{name}', '**{PASSWORD}', '{name}', '{name}@{DOMAIN}');"
                "INSERT INTO principal (type_id, user_no, displayname, default_privileges) "
                f"SELECT 1, user_no, '{name}', {DELIVER}::BIT(24) FROM usr WHERE username = '{name}';"
                for name in (USER, *GUESTS)
            )
            postgres.query(folder / "pg", database, people, database="davical")
            settings.write_text(
                f'<?php\n$c->pg_connect[] = "dbname=davical user=davical_app host={folder}/pg port={database}";\n'
                '$c->system_name = "bench"; $c->admin_email = "admin@example.org"; $c->default_locale = "en";\n'
                "$c->use_persistent = true; $c->external_refresh = 0;\n"
            )
            include = "php_admin_value[include_path] = /usr/share/awl/inc:/usr/share/davical/inc:.\n"
            socket = web.fpm(running, folder, settings=f"{include}php_admin_value[error_reporting] = 0\n")
            file = SHARE / "htdocs" / "caldav.php"
            known = web.script(socket, file, "/caldav.php", "$uri", SERVER_NAME=name)
            inside = web.script(socket, file, "/caldav.php", "$fastcgi_path_info", SERVER_NAME=name)
            split = r"fastcgi_split_path_info ^(/caldav\.php)(/.*)$;"
            locations = (
                f"location ~ ^/\\.well-known/ {{\n{known}}}\nlocation ~ ^/caldav\\.php(/.*)?$ {{\n{split}\n{inside}}}\n"
            )
            web.nginx(running, folder, port, locations)
            url = f"http://127.0.0.1:{port}/caldav.php/"
            for guest in GUESTS:  # what DAViCal's own page for new people makes
                with Connection(Target.of(url, guest, PASSWORD)) as connection:
                    connection("MKCALENDAR", f"/caldav.php/{guest}/calendar/")
            yield Running(url, USER, PASSWORD, running.pids, guests=GUESTS)
    finally:
        settings.unlink(missing_ok=True)
