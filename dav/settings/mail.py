"""Mail out and in, and accounts for the mail server. See dav.config."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dav.settings.readers import (
    FLAG,
    KIB,
    MIB,
    PATH,
    TEXT,
    Reader,
    choice,
    names_of,
    number,
    option,
    read_host,
    read_server,
    size,
)


def _read_listen(text: str) -> str:
    if not text or text.startswith("/") or (text.startswith("unix:") and len(text) > 5):
        return text.removeprefix("unix:")
    host, found, port = text.rpartition(":")
    if not found or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("host:port such as 127.0.0.1:5224, or the path of a socket such as /run/davenport/lmtp.sock")
    return f"{read_host(host)}:{port}" if ":" not in host.strip("[]") else f"[{read_host(host)}]:{port}"


def _read_folders(text: str) -> tuple[str, ...]:
    folders = tuple(word.strip() for word in text.split(",") if word.strip())
    if not folders or len(folders) > 20 or any(len(folder) > 200 or not folder.isprintable() for folder in folders):
        raise ValueError("one or more folders such as INBOX are needed, with commas between")
    return folders


def _read_mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError("permissions such as 0660 are needed")
    return int(text, 8)


def _read_mail_address(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}", text):
        raise ValueError("a mail address such as invites@example.org is needed")
    return text


@dataclass(frozen=True, slots=True)
class SmtpConfig:
    """The mail server that takes invitations for people elsewhere, see docs/mail.md. Without a host none are sent."""

    host: str = option("", Reader(read_server), "The submission server, such as mail.example.org. Empty: no mail.")
    port: int = option(0, number(0, 65535), "Its port; 0: 587 with starttls, 465 with tls, 25 with none.")
    tls: str = option(
        "starttls",
        choice("starttls", "tls", "none"),
        "starttls, tls from the first byte, or none; with a password none is for this machine (127.0.0.1, ::1) only.",
    )
    user: str = option("", TEXT, "Login there. Empty: the server takes mail from this machine without one.")
    password: str = option("", TEXT, "Its password.")
    password_file: str = option("", PATH, "File with the password on its first line, instead of smtp.password.")
    ca_file: str = option(
        "", PATH, "PEM file of the authority that signed the server's certificate. Empty: the system's."
    )
    certificate_name: str = option(
        "", Reader(read_server), "Name that the certificate must have, when it is not host's."
    )
    timeout_seconds: int = option(30, number(5, 600), "How long the server may take over one mail.")
    connections: int = option(2, number(1, 20), "Most connections at the same time, in each worker.")


@dataclass(frozen=True, slots=True)
class MailConfig:
    """Invitations, changes and answers that go out as mail, see docs/mail.md."""

    from_address: str = option(
        "",
        Reader(_read_mail_address),
        "Address that Davenport itself sends from, such as invites@example.org; needed when smtp.host is set.",
    )
    domains: tuple[str, ...] = option(
        (),
        names_of(r"[^\s@/\\]{1,253}", "domains such as example.org are needed"),
        "Domains that the mail server signs for: organizers there are the From. Empty: that of mail.from_address.",
    )
    language: str = option(
        "en", choice("en", "de", "es", "fr"), "Language of mails to people of whom none is known: en, de, es or fr."
    )
    settle_seconds: int = option(
        45, number(0, 3600), "How long an invitation waits for the next change, so that three saves are one mail."
    )
    retry_days: int = option(2, number(1, 30), "Days for which a mail is tried while the mail server does not take it.")
    per_event_hour: int = option(100, number(1, 100_000), "Most mails of one event within an hour; the others wait.")
    per_account_hour: int = option(
        1000, number(1, 1_000_000), "Most mails of one account within an hour; the others wait."
    )
    bounces_before_dead: int = option(
        3, number(1, 1000), "Mails that came back from an address before no more are sent to it."
    )
    links: bool = option(
        True, FLAG, "Mails have links with which people answer on a small page; needs server.public_url."
    )
    link_days: int = option(180, number(1, 3650), "Days for which such a link can be used after it was sent.")


@dataclass(frozen=True, slots=True)
class MailInConfig:
    """Answers and invitations that come in as mail, see docs/mail.md: by LMTP, from a pipe, or from a mailbox."""

    lmtp: str = option(
        "",
        Reader(_read_listen),
        "Where the mail server brings mail by LMTP: host:port on this machine, or a socket's path. Empty: nowhere.",
    )
    socket: str = option(
        "",
        PATH,
        "Socket at which the running server takes what `davenport deliver` is given. Empty: that works by itself.",
    )
    socket_mode: int = option(0o660, Reader(_read_mode, lambda value: f"{value:04o}"), "Permissions of these sockets.")
    authserv_id: tuple[str, ...] = option(
        (),
        names_of(r"[^\s;]{1,253}", "names such as mail.example.org are needed"),
        "Name in the Authentication-Results of our mail server; it must remove such headers from outside. "
        "Empty: none count.",
    )
    strictness: str = option(
        "normal",
        choice("strict", "normal", "trusting"),
        "strict: only senders that are proven; normal: not those that fail the proof; trusting: the mail server has "
        "refused forgeries already.",
    )
    unknown_senders: str = option(
        "keep",
        choice("keep", "add", "ignore"),
        "Invitations of people of whom nothing is known: keep aside for the account, add to its calendar, or ignore.",
    )
    max_bytes: int = option(MIB, size(16 * KIB, 64 * MIB), "Largest mail that is looked at.")
    components: int = option(100, number(1, 10_000), "Most components in the calendar of a mail.")
    kept_messages: int = option(
        200, number(0, 100_000), "Most mails kept aside for one account; then the oldest ones go."
    )
    kept_days: int = option(60, number(1, 3650), "Days for which what could not be used is kept aside.")
    per_sender_hour: int = option(
        200, number(1, 1_000_000), "Most messages of one sender to one account within an hour; others are put off."
    )
    imap_host: str = option("", Reader(read_server), "IMAP server with a mailbox to watch. Empty: none is watched.")
    imap_port: int = option(0, number(0, 65535), "Its port; 0: 993 with tls, else 143.")
    imap_tls: str = option(
        "tls",
        choice("tls", "starttls", "none"),
        "tls from the first byte, starttls, or none, which only this machine itself (127.0.0.1, ::1) allows.",
    )
    imap_user: str = option("", TEXT, "Login there.")
    imap_password: str = option("", TEXT, "Its password.")
    imap_password_file: str = option("", PATH, "File with the password on its first line, instead of imap_password.")
    imap_ca_file: str = option(
        "", PATH, "PEM file of the authority that signed the server's certificate. Empty: the system's."
    )
    imap_certificate_name: str = option(
        "", Reader(read_server), "Name that the certificate must have, when it is not imap_host's."
    )
    imap_folders: tuple[str, ...] = option(
        ("INBOX",),
        Reader(lambda text: _read_folders(text), ", ".join),
        "Folders that are watched, with commas between.",
    )
    imap_delete: bool = option(
        False, FLAG, "Delete there what was used; else it is marked with $Davenport, or as read, and stays."
    )


@dataclass(frozen=True, slots=True)
class MailAccountsConfig:
    """The accounts here for a mail server on this machine, see docs/mail.md; with PostgreSQL it reads the views."""

    file: str = option(
        "",
        PATH,
        "SQLite file that is kept equal to the views mail_users and mail_addresses; its folder must be there.",
    )
