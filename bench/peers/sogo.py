"""SOGo from Debian: four workers behind nginx, memcached, a PostgreSQL of its own. Passwords are stored plainly."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers import postgres, web
from bench.peers.process import DOMAIN, GUESTS, PASSWORD, USER, Running, free_port, processes, without
from bench.system import debian


def missing() -> str:
    return without("sogo", "memcached", "nginx-light", "postgresql-15") or ("" if os.geteuid() == 0 else "root")


def version() -> str:
    return debian("sogo")


@contextmanager
def sogo(folder: Path) -> Iterator[Running]:
    port, worker, cache = free_port(), free_port(), free_port()
    home = folder / "home"
    (home / "GNUstep" / "Defaults").mkdir(parents=True)
    (folder / "spool").mkdir()
    with processes(folder) as running:
        database = postgres.start(running, folder)
        postgres.query(folder / "pg", database, "CREATE DATABASE sogo ENCODING 'UTF8' TEMPLATE template0")
        postgres.query(
            folder / "pg", database,
            "CREATE TABLE sogo_users (c_uid varchar(128) PRIMARY KEY, c_name varchar(128), c_password varchar(128), "
            "c_cn varchar(128), mail varchar(128)); INSERT INTO sogo_users VALUES "
            + ", ".join(f"('{name}', '{name}', '{PASSWORD}', '{name}', '{name}@{DOMAIN}')" for name in (USER, *GUESTS)),
            database="sogo",
        )  # fmt: skip
        (folder / "sogo.conf").write_text(configuration(folder, database, worker, cache))
        subprocess.run(["chown", "-R", "sogo", str(home), str(folder / "spool"), str(folder / "sogo.conf")], check=True)
        running.start(["memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", str(cache), "-m", "128"], cwd=folder)
        # sogod reads /etc/sogo/sogo.conf only: it gets ours there in a mount namespace of its own.
        serve = (
            f"mount --bind '{folder}/sogo.conf' /etc/sogo/sogo.conf && cd '{home}' && exec setpriv --reuid=sogo "
            f"--regid=sogo --init-groups sogod -WOUseWatchDog YES -WONoDetach YES -WOPort 127.0.0.1:{worker} "
            f"-WOWorkersCount 4 -WOPidFile '{home}/pid' -WOLogFile -"
        )
        running.start(["unshare", "-m", "sh", "-c", serve], env={"HOME": str(home)})
        running.listening(worker, "SOGo")
        passed = {
            "Host": "$http_host", "x-webobjects-server-protocol": "HTTP/1.0", "x-webobjects-remote-host": "127.0.0.1",
            "x-webobjects-server-name": "$server_name", "x-webobjects-server-url": "http://$http_host",
            "x-webobjects-server-port": str(port),
        }  # fmt: skip
        lines = "".join(f"proxy_set_header {name} {value};\n" for name, value in passed.items())
        locations = "".join(
            f"location /.well-known/{kind} {{ return 301 /SOGo/dav/; }}\n" for kind in ("caldav", "carddav")
        )
        locations += (
            f"location / {{\nproxy_pass http://sogo;\nproxy_read_timeout 600;\nproxy_buffers 64 64k;\n{lines}}}\n"
        )
        web.nginx(
            running, folder, port, locations, upstream=f"upstream sogo {{ server 127.0.0.1:{worker}; keepalive 4; }}\n"
        )
        yield Running(f"http://127.0.0.1:{port}/SOGo/dav/", USER, PASSWORD, running.pids, guests=GUESTS)


def configuration(folder: Path, database: int, worker: int, cache: int) -> str:
    url = f"postgresql://postgres:x@127.0.0.1:{database}/sogo"
    tables = {
        "SOGoProfileURL": "sogo_user_profile", "OCSFolderInfoURL": "sogo_folder_info",
        "OCSSessionsFolderURL": "sogo_sessions_folder", "OCSStoreURL": "sogo_store", "OCSAclURL": "sogo_acl",
        "OCSCacheFolderURL": "sogo_cache_folder", "OCSEMailAlarmsFolderURL": "sogo_alarms_folder",
    }  # fmt: skip
    values = {name: f'"{url}/{table}"' for name, table in tables.items()}
    values |= {
        "WOPort": f'"127.0.0.1:{worker}"', "WOWorkersCount": "4", "WONoDetach": "YES", "WOLogFile": '"-"',
        "SOGoMemcachedHost": f'"127.0.0.1:{cache}"', "SOGoMailDomain": f'"{DOMAIN}"', "SOGoTimeZone": "UTC",
        "SOGoLanguage": "English", "SOGoIMAPServer": '"imap://127.0.0.1:1"', "SOGoMailSpoolPath": f'"{folder}/spool"',
        "WOMessageUseUTF8": "YES", "WOParsersUseUTF8": "YES", "SxVMemLimit": "1024", "WOWatchDogRequestTimeout": "30",
        "SOGoEnableEMailAlarms": "NO", "SOGoFoldersSendEMailNotifications": "NO",
        "SOGoACLsSendEMailNotifications": "NO", "SOGoAppointmentSendEMailNotifications": "NO",
        "SOGoUserSources": f'({{ type = sql; id = users; viewURL = "{url}/sogo_users"; canAuthenticate = YES; '
        "isAddressBook = NO; displayName = Users; userPasswordAlgorithm = none; })",
    }  # fmt: skip
    return "{\n" + "".join(f"  {name} = {value};\n" for name, value in values.items()) + "}\n"
