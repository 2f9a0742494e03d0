"""nginx, and PHP behind it: php-fpm with opcache and a fixed number of workers, connections kept all the way."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.peers.process import Processes

PACKAGES = ("nginx-light", "php8.2-fpm", "php8.2-opcache", "php8.2-xml", "php8.2-mbstring")
WORKERS = 4


def nginx(running: Processes, folder: Path, port: int, locations: str, *, upstream: str = "") -> None:
    scratch = folder / "tmp"
    scratch.mkdir()
    scratch.chmod(0o777)
    paths = "".join(f"{kind}_temp_path {scratch}/{kind};\n" for kind in ("fastcgi", "proxy", "scgi", "uwsgi"))
    (folder / "nginx.conf").write_text(
        f"user www-data;\nworker_processes 2;\npid {folder}/nginx.pid;\ndaemon off;\nerror_log {folder}/nginx.err;\n"
        "events { worker_connections 512; }\nhttp {\naccess_log off;\nkeepalive_requests 1000000;\n"
        "keepalive_timeout 600;\nclient_max_body_size 100m;\nclient_body_buffer_size 256k;\ntcp_nodelay on;\n"
        f"client_body_temp_path {scratch}/body;\n{paths}fastcgi_read_timeout 600;\nfastcgi_buffers 64 64k;\n"
        f"fastcgi_buffer_size 64k;\n{upstream}server {{\nlisten 127.0.0.1:{port};\n{locations}}}\n}}\n"
    )
    running.start([shutil.which("nginx") or "/usr/sbin/nginx", "-c", folder / "nginx.conf"], cwd=folder)
    running.listening(port, "nginx")


def fpm(running: Processes, folder: Path, *, settings: str = "", cwd: Path | None = None) -> Path:
    """Starts php-fpm; returns its socket. settings: further lines of its pool."""
    socket = folder / "fpm.sock"
    (folder / "fpm.conf").write_text(
        f"[global]\nerror_log = {folder}/fpm.err\ndaemonize = no\n[www]\nuser = www-data\ngroup = www-data\n"
        f"listen = {socket}\nlisten.mode = 0666\npm = static\npm.max_children = {WORKERS}\nclear_env = no\n"
        "catch_workers_output = yes\nphp_admin_value[memory_limit] = 1024M\n"
        f"php_admin_value[max_execution_time] = 600\n{settings}"
    )
    opcache = {
        "opcache.enable": "1", "opcache.memory_consumption": "128", "opcache.validate_timestamps": "0",
        "opcache.max_accelerated_files": "10000", "realpath_cache_size": "4096k",
    }  # fmt: skip
    options = [part for name, value in opcache.items() for part in ("-d", f"{name}={value}")]
    running.start(["/usr/sbin/php-fpm8.2", "-F", "-y", folder / "fpm.conf", *options], cwd=cwd or folder)
    running.wait(socket.is_socket, "php-fpm")
    return socket


def script(socket: Path, file: Path, name: str, path_info: str, **parameters: str) -> str:
    """The body of a location that hands requests to one PHP file."""
    told = {"SCRIPT_FILENAME": str(file), "SCRIPT_NAME": name, "PATH_INFO": path_info, **parameters}
    lines = "".join(f"fastcgi_param {key} {value};\n" for key, value in told.items())
    return f"fastcgi_pass unix:{socket};\nfastcgi_keep_conn on;\ninclude /etc/nginx/fastcgi_params;\n{lines}"
