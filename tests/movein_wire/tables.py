"""The tables of other servers, as their projects publish them: names and kinds of the columns, as far as they hold what
people have. One description makes them on SQLite, PostgreSQL and MariaDB; what differs there (bodies as text or bytes)
is asked for by the caller."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

Name = sa.String(255)
Text = sa.Text()
Int = sa.Integer()


def _body(binary: bool) -> sa.types.TypeEngine[Any]:
    if binary:
        return sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
    return sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")


def _id() -> sa.Column[int]:
    return sa.Column("id", Int, primary_key=True, autoincrement=True)


def sabre(*, binary: bool = True, instances: bool = True) -> sa.MetaData:
    """sabre/dav's, which Baïkal and Davis have too. instances: as since 3.2; before, calendars had all themselves."""
    metadata = sa.MetaData()
    sa.Table("users", metadata, _id(), sa.Column("username", Name), sa.Column("digesta1", Name))
    sa.Table(
        "principals", metadata, _id(), sa.Column("uri", Name, nullable=False), sa.Column("email", Name),
        sa.Column("displayname", Name),
    )  # fmt: skip
    sa.Table(
        "groupmembers", metadata, _id(), sa.Column("principal_id", Int, nullable=False),
        sa.Column("member_id", Int, nullable=False),
    )  # fmt: skip
    described: list[sa.Column[Any]] = [
        sa.Column("principaluri", Name), sa.Column("displayname", Name), sa.Column("uri", Name),
        sa.Column("description", Text), sa.Column("calendarorder", Int), sa.Column("calendarcolor", sa.String(20)),
        sa.Column("timezone", Text), sa.Column("transparent", sa.SmallInteger),
    ]  # fmt: skip
    calendar: list[sa.Column[Any]] = [
        _id(), sa.Column("synctoken", Int, nullable=False, server_default="1"), sa.Column("components", Name),
    ]  # fmt: skip
    if instances:
        sa.Table("calendars", metadata, *calendar)
        sa.Table(
            "calendarinstances", metadata, _id(), sa.Column("calendarid", Int, nullable=False),
            sa.Column("access", sa.SmallInteger, nullable=False, server_default="1"), *described,
            sa.Column("share_href", Name), sa.Column("share_displayname", Name),
            sa.Column("share_invitestatus", sa.SmallInteger, nullable=False, server_default="2"),
        )  # fmt: skip
    else:
        sa.Table("calendars", metadata, *calendar, *described)
    sa.Table(
        "calendarobjects", metadata, _id(), sa.Column("calendardata", _body(binary)), sa.Column("uri", Name),
        sa.Column("calendarid", Int, nullable=False), sa.Column("lastmodified", Int), sa.Column("etag", sa.String(32)),
        sa.Column("size", Int, nullable=False), sa.Column("componenttype", sa.String(9)),
        sa.Column("firstoccurence", sa.BigInteger), sa.Column("lastoccurence", sa.BigInteger), sa.Column("uid", Name),
    )  # fmt: skip
    sa.Table("calendarsubscriptions", metadata, *_subscriptions())
    sa.Table(
        "schedulingobjects", metadata, _id(), sa.Column("principaluri", Name), sa.Column("calendardata", _body(binary)),
        sa.Column("uri", Name), sa.Column("lastmodified", Int), sa.Column("etag", sa.String(32)),
        sa.Column("size", Int, nullable=False),
    )  # fmt: skip
    _books(metadata, "", binary)
    sa.Table(
        "propertystorage", metadata, _id(), sa.Column("path", Name, nullable=False),
        sa.Column("name", Name, nullable=False), sa.Column("valuetype", Int), sa.Column("value", _body(binary)),
    )  # fmt: skip
    return metadata


def nextcloud(prefix: str = "oc_", *, deleted: bool = True) -> sa.MetaData:
    """Nextcloud's, of its app dav and of its core. deleted: with the trash of calendars, since 22."""
    metadata = sa.MetaData()

    def trash() -> list[sa.Column[Any]]:
        return [sa.Column("deleted_at", Int)] if deleted else []

    sa.Table(
        f"{prefix}calendars", metadata, _id(), sa.Column("principaluri", Name), sa.Column("displayname", Name),
        sa.Column("uri", Name), sa.Column("synctoken", Int, nullable=False, server_default="1"),
        sa.Column("description", Name), sa.Column("calendarorder", Int, nullable=False, server_default="0"),
        sa.Column("calendarcolor", Name), sa.Column("timezone", Text), sa.Column("components", sa.String(64)),
        sa.Column("transparent", sa.SmallInteger, nullable=False, server_default="0"),
        *trash(),
    )  # fmt: skip
    sa.Table(
        f"{prefix}calendarobjects", metadata, _id(), sa.Column("calendardata", _body(True)), sa.Column("uri", Name),
        sa.Column("calendarid", sa.BigInteger, nullable=False), sa.Column("lastmodified", Int),
        sa.Column("etag", sa.String(32)), sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("componenttype", sa.String(8)), sa.Column("firstoccurence", sa.BigInteger),
        sa.Column("lastoccurence", sa.BigInteger), sa.Column("uid", Name),
        sa.Column("classification", Int, server_default="0"),
        sa.Column("calendartype", Int, nullable=False, server_default="0"), *trash(),
    )  # fmt: skip
    sa.Table(f"{prefix}calendarsubscriptions", metadata, *_subscriptions())
    _books(metadata, prefix, True)
    sa.Table(
        f"{prefix}dav_shares", metadata, _id(), sa.Column("principaluri", Name), sa.Column("type", Name),
        sa.Column("access", sa.SmallInteger), sa.Column("resourceid", sa.BigInteger, nullable=False),
        sa.Column("publicuri", Name),
    )  # fmt: skip
    sa.Table(
        f"{prefix}dav_cal_proxy", metadata, _id(), sa.Column("owner_id", sa.String(64), nullable=False),
        sa.Column("proxy_id", sa.String(64), nullable=False), sa.Column("permissions", Int),
    )  # fmt: skip
    sa.Table(
        f"{prefix}properties", metadata, _id(), sa.Column("userid", sa.String(64), nullable=False),
        sa.Column("propertypath", Name, nullable=False), sa.Column("propertyname", Name, nullable=False),
        sa.Column("propertyvalue", Text, nullable=False), sa.Column("valuetype", sa.SmallInteger, server_default="1"),
    )  # fmt: skip
    sa.Table(
        f"{prefix}users", metadata, sa.Column("uid", sa.String(64), primary_key=True),
        sa.Column("displayname", sa.String(64)), sa.Column("password", Name, nullable=False, server_default=""),
        sa.Column("uid_lower", sa.String(64)),
    )  # fmt: skip
    sa.Table(
        f"{prefix}accounts", metadata, sa.Column("uid", sa.String(64), primary_key=True),
        sa.Column("data", Text, nullable=False),
    )  # fmt: skip
    sa.Table(
        f"{prefix}preferences", metadata, sa.Column("userid", sa.String(64), primary_key=True),
        sa.Column("appid", sa.String(32), primary_key=True), sa.Column("configkey", sa.String(64), primary_key=True),
        sa.Column("configvalue", Text),
    )  # fmt: skip
    sa.Table(
        f"{prefix}groups", metadata, sa.Column("gid", sa.String(64), primary_key=True), sa.Column("displayname", Name)
    )
    sa.Table(
        f"{prefix}group_user", metadata, sa.Column("gid", sa.String(64), primary_key=True),
        sa.Column("uid", sa.String(64), primary_key=True),
    )  # fmt: skip
    return metadata


def sogo(*folders: str) -> sa.MetaData:
    """SOGo's: with the tables of all folders, or with tables of their own for these names."""
    metadata = sa.MetaData()
    sa.Table(
        "sogo_folder_info", metadata, sa.Column("c_folder_id", Int, unique=True),
        sa.Column("c_path", Name, primary_key=True), sa.Column("c_foldername", Name),
        *(sa.Column(f"c_path{number}", Name) for number in (1, 2, 3, 4)),
        *(sa.Column(f"c_{name}location", sa.String(2048)) for name in ("", "quick_", "acl_")),
        sa.Column("c_folder_type", Name, nullable=False),
    )  # fmt: skip
    sa.Table(
        "sogo_user_profile", metadata, sa.Column("c_uid", Name, primary_key=True), sa.Column("c_defaults", Text),
        sa.Column("c_settings", Text),
    )  # fmt: skip
    for store, acl in [(name, f"{name}_acl") for name in folders] or [("sogo_store", "sogo_acl")]:
        which = [] if folders else [True]
        sa.Table(
            store, metadata, *(sa.Column("c_folder_id", Int, primary_key=True) for _ in which),
            sa.Column("c_name", Name, primary_key=True), sa.Column("c_content", _body(False), nullable=False),
            sa.Column("c_creationdate", Int), sa.Column("c_lastmodified", Int), sa.Column("c_version", Int),
            sa.Column("c_deleted", Int),
        )  # fmt: skip
        sa.Table(
            acl, metadata, *(sa.Column("c_folder_id", Int) for _ in which), sa.Column("c_object", Name),
            sa.Column("c_uid", Name), sa.Column("c_role", sa.String(80)),
        )  # fmt: skip
    return metadata


def _subscriptions() -> list[sa.Column[Any]]:
    return [
        _id(), sa.Column("uri", Name, nullable=False), sa.Column("principaluri", Name, nullable=False),
        sa.Column("source", Text), sa.Column("displayname", Name), sa.Column("refreshrate", sa.String(10)),
        sa.Column("calendarorder", Int, nullable=False, server_default="0"), sa.Column("calendarcolor", sa.String(20)),
        sa.Column("striptodos", sa.SmallInteger), sa.Column("stripalarms", sa.SmallInteger),
        sa.Column("stripattachments", sa.SmallInteger), sa.Column("lastmodified", Int),
    ]  # fmt: skip


def _books(metadata: sa.MetaData, prefix: str, binary: bool) -> None:
    sa.Table(
        f"{prefix}addressbooks", metadata, _id(), sa.Column("principaluri", Name), sa.Column("displayname", Name),
        sa.Column("uri", Name), sa.Column("description", Text),
        sa.Column("synctoken", Int, nullable=False, server_default="1"),
    )  # fmt: skip
    sa.Table(
        f"{prefix}cards", metadata, _id(), sa.Column("addressbookid", sa.BigInteger, nullable=False),
        sa.Column("carddata", _body(binary)), sa.Column("uri", Name), sa.Column("lastmodified", sa.BigInteger),
        sa.Column("etag", sa.String(32)), sa.Column("size", sa.BigInteger, nullable=False), sa.Column("uid", Name),
    )  # fmt: skip
