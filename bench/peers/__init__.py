"""The servers of the table. To add one: a starter in a file of its own here, and one row below."""

from __future__ import annotations

from functools import partial

from bench.peers import cyrus, davenport, davical, radicale, sabre, sogo, xandikos
from bench.peers.process import Contender, without
from bench.system import package


def _there() -> str:
    return ""


def _davenport() -> str:
    return package("davenport")


def _postgresql() -> str:
    return without("postgresql-15")


PHP = "nginx, php-fpm with 4 workers and opcache"
CONTENDERS = (
    Contender("davenport", davenport.davenport, _there, _davenport, note="SQLite, 1 worker"),
    Contender(
        "davenport-2", partial(davenport.davenport, workers=2), _there, _davenport, workers=2, note="SQLite, 2 workers"
    ),
    Contender(
        "davenport-pg", partial(davenport.davenport, postgresql=True), _postgresql, _davenport,
        note="PostgreSQL, 1 worker",
    ),
    Contender(
        "davenport-pg-2", partial(davenport.davenport, workers=2, postgresql=True), _postgresql, _davenport,
        workers=2, note="PostgreSQL, 2 workers",
    ),
    Contender(
        "sabre", sabre.sabre, sabre.missing, sabre.version, note=f"SQLite (WAL), {PHP}"
    ),
    Contender(
        "sabre-pg", partial(sabre.sabre, postgresql=True), sabre.missing, sabre.version,
        note=f"PostgreSQL, {PHP}",
    ),
    Contender("cyrus", cyrus.cyrus, cyrus.missing, cyrus.version, note="takes any password"),
    Contender(
        "davical", davical.davical, davical.missing, davical.version,
        note=f"PostgreSQL, {PHP}, plain passwords",
    ),
    Contender("sogo", sogo.sogo, sogo.missing, sogo.version, note="PostgreSQL, memcached, nginx, 4 workers"),
    Contender(
        "radicale", radicale.radicale, radicale.missing, partial(package, "radicale"),
        note="its own server, plain passwords",
    ),
    Contender(
        "xandikos", xandikos.xandikos, xandikos.missing, xandikos.version, durable=False,
        note="its own server, asks no password, does not wait for the disk (its writes do not count)",
    ),
)  # fmt: skip
BY_LABEL = {one.label: one for one in CONTENDERS}
