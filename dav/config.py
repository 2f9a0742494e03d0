"""Settings: frozen dataclasses, read from an INI file and the environment.

The dataclasses are the one table: names, defaults, readers and the sentence that explains each setting stand in
dav/settings, a module for what belongs together, and `config.example.ini`, the error messages and the environment
variables are made from them. Everybody else imports them from here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dav.settings.limits import (
    Limits as Limits,
)
from dav.settings.mail import (
    MailAccountsConfig as MailAccountsConfig,
)
from dav.settings.mail import (
    MailConfig as MailConfig,
)
from dav.settings.mail import (
    MailInConfig as MailInConfig,
)
from dav.settings.mail import (
    SmtpConfig as SmtpConfig,
)
from dav.settings.readers import (
    PATH,
    Reader,
    nearest,
    show_size,
)
from dav.settings.readers import (
    ConfigError as ConfigError,
)
from dav.settings.server import (
    DatabaseConfig as DatabaseConfig,
)
from dav.settings.server import (
    DirectoryConfig as DirectoryConfig,
)
from dav.settings.server import (
    HistoryConfig as HistoryConfig,
)
from dav.settings.server import (
    LogConfig as LogConfig,
)
from dav.settings.server import (
    ServerConfig as ServerConfig,
)
from dav.settings.sharing import (
    DerivedConfig as DerivedConfig,
)
from dav.settings.sharing import (
    FeedsConfig as FeedsConfig,
)
from dav.settings.sharing import (
    FreeBusyConfig as FreeBusyConfig,
)
from dav.settings.sharing import (
    ImportsConfig as ImportsConfig,
)
from dav.settings.sharing import (
    SchedulingConfig as SchedulingConfig,
)
from dav.settings.sharing import (
    SharingConfig as SharingConfig,
)
from dav.settings.signin import (
    JWT_ALGORITHMS as JWT_ALGORITHMS,
)
from dav.settings.signin import (
    AuthConfig as AuthConfig,
)
from dav.settings.signin import (
    AuthDovecotConfig as AuthDovecotConfig,
)
from dav.settings.signin import (
    AuthImapConfig as AuthImapConfig,
)
from dav.settings.signin import (
    AuthLdapConfig as AuthLdapConfig,
)
from dav.settings.signin import (
    AuthOAuth2Config as AuthOAuth2Config,
)
from dav.settings.signin import (
    AuthPamConfig as AuthPamConfig,
)
from dav.settings.signin import (
    AuthPasswdFileConfig as AuthPasswdFileConfig,
)
from dav.settings.signin import (
    AuthProxyConfig as AuthProxyConfig,
)
from dav.settings.signin import (
    AuthSmtpConfig as AuthSmtpConfig,
)
from dav.settings.signin import (
    AuthSqlConfig as AuthSqlConfig,
)
from dav.settings.signin import (
    MailLoginConfig as MailLoginConfig,
)

SYSTEM_PATH = Path("/etc/davenport/config.ini")
FILE_BYTES_MAX = 1 << 20
_ENV_PREFIX = "DAVENPORT_"


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. path: the file they came from, or None when only defaults and the environment were used.

    After `load`, database.url names an absolute file or is a postgresql+psycopg URL, and database.files,
    server.certificate and server.key are absolute; the last two are empty when not set.
    """

    server: ServerConfig = field(default_factory=ServerConfig)
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    auth_sql: AuthSqlConfig = field(default_factory=AuthSqlConfig)
    auth_passwd_file: AuthPasswdFileConfig = field(default_factory=AuthPasswdFileConfig)
    auth_ldap: AuthLdapConfig = field(default_factory=AuthLdapConfig)
    auth_oauth2: AuthOAuth2Config = field(default_factory=AuthOAuth2Config)
    auth_proxy: AuthProxyConfig = field(default_factory=AuthProxyConfig)
    auth_pam: AuthPamConfig = field(default_factory=AuthPamConfig)
    auth_dovecot: AuthDovecotConfig = field(default_factory=AuthDovecotConfig)
    auth_imap: AuthImapConfig = field(default_factory=AuthImapConfig)
    auth_smtp: AuthSmtpConfig = field(default_factory=AuthSmtpConfig)
    limits: Limits = field(default_factory=Limits)
    log: LogConfig = field(default_factory=LogConfig)
    history: HistoryConfig = field(default_factory=HistoryConfig)
    directory: DirectoryConfig = field(default_factory=DirectoryConfig)
    freebusy: FreeBusyConfig = field(default_factory=FreeBusyConfig)
    mail_accounts: MailAccountsConfig = field(default_factory=MailAccountsConfig)
    smtp: SmtpConfig = field(default_factory=SmtpConfig)
    mail: MailConfig = field(default_factory=MailConfig)
    mail_in: MailInConfig = field(default_factory=MailInConfig)
    scheduling: SchedulingConfig = field(default_factory=SchedulingConfig)
    sharing: SharingConfig = field(default_factory=SharingConfig)
    feeds: FeedsConfig = field(default_factory=FeedsConfig)
    derived: DerivedConfig = field(default_factory=DerivedConfig)
    imports: ImportsConfig = field(default_factory=ImportsConfig)
    path: Path | None = None


SECTIONS: dict[str, type[Any]] = {
    "server": ServerConfig,
    "database": DatabaseConfig,
    "auth": AuthConfig,
    "auth_sql": AuthSqlConfig,
    "auth_passwd_file": AuthPasswdFileConfig,
    "auth_ldap": AuthLdapConfig,
    "auth_oauth2": AuthOAuth2Config,
    "auth_proxy": AuthProxyConfig,
    "auth_pam": AuthPamConfig,
    "auth_dovecot": AuthDovecotConfig,
    "auth_imap": AuthImapConfig,
    "auth_smtp": AuthSmtpConfig,
    "limits": Limits,
    "log": LogConfig,
    "history": HistoryConfig,
    "directory": DirectoryConfig,
    "freebusy": FreeBusyConfig,
    "mail_accounts": MailAccountsConfig,
    "smtp": SmtpConfig,
    "mail": MailConfig,
    "mail_in": MailInConfig,
    "scheduling": SchedulingConfig,
    "sharing": SharingConfig,
    "feeds": FeedsConfig,
    "derived": DerivedConfig,
    "imports": ImportsConfig,
}


# --- reading ---------------------------------------------------------------------------------------------------------


def load(path: str | None, environ: Mapping[str, str]) -> Config:
    """Settings from `path`, else DAVENPORT_CONFIG, ./config.ini, /etc/davenport/config.ini, else the defaults alone.

    A variable DAVENPORT_SECTION_KEY overrides the file. Raises ConfigError for a file that cannot be read, and for any
    section, key, value or variable that is not understood.
    """
    file = _find(path, environ)
    values: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    if file is not None:
        for section, key, text, where in _entries(_read_file(file), str(file)):
            values[section][key] = _value(section, key, text, where)
    for section, key, text, where in _environment(environ):
        values[section][key] = _value(section, key, text, where)
    config = Config(**{name: kind(**values[name]) for name, kind in SECTIONS.items()}, path=file)
    return _resolve(config)


def example() -> str:
    """The text of config.example.ini: every setting with its default, commented out, and its sentence above it."""
    lines = [
        "# Settings of Davenport. Lines that begin with # are comments; what is not set has the default shown.",
        "# Each setting can also be given as an environment variable: DAVENPORT_SERVER_PORT=8080.",
    ]
    for section, kind in SECTIONS.items():
        lines += ["", f"# {_first_sentence(kind)}", f"[{section}]"]
        for item in dataclasses.fields(kind):
            shown = item.metadata["reader"].show(item.default)
            lines += [f"# {item.metadata['doc']}", f"#{item.name} = {shown}".rstrip()]
    return "\n".join(lines) + "\n"


def _first_sentence(kind: type[Any]) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _find(path: str | None, environ: Mapping[str, str]) -> Path | None:
    asked = path or environ.get("DAVENPORT_CONFIG")
    if asked:
        return Path(asked).absolute()
    for candidate in (Path("config.ini"), SYSTEM_PATH):
        if candidate.is_file():
            return candidate.absolute()
    return None


def _read_file(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from None
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"{file}: is larger than {show_size(FILE_BYTES_MAX)}, so it is hardly a file of settings")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}:{number}: this line is not UTF-8") from None


def _entries(text: str, file: str) -> Iterator[tuple[str, str, str, str]]:
    """(section, key, value, "file:line") of each setting. configparser is not used because it forgets the lines."""
    section = ""
    seen: dict[tuple[str, str], int] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line, where = raw.strip(), f"{file}:{number}"
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            section = _section(line, where)
            continue
        key, equals, value = line.partition("=")
        key = key.strip()
        if not equals:
            raise ConfigError(f"{where}: neither [section] nor key = value")
        if not section:
            raise ConfigError(f"{where}: {key!r} stands before the first [section]")
        _known_key(section, key, where)
        if (section, key) in seen:
            raise ConfigError(f"{where}: {section}.{key} was set before, on line {seen[section, key]}")
        seen[section, key] = number
        yield section, key, value.strip(), where


def _section(line: str, where: str) -> str:
    if line[-1] != "]":
        raise ConfigError(f"{where}: a section is written [name], alone on its line")
    name = line[1:-1].strip()
    if name not in SECTIONS:
        names = list(SECTIONS)
        raise ConfigError(f"{where}: unknown section [{name}]{nearest(name, names) or '; known: ' + ', '.join(names)}")
    return name


def _known_key(section: str, key: str, where: str) -> None:
    names = [item.name for item in dataclasses.fields(SECTIONS[section])]
    if key in names:
        return
    hint = nearest(key, names)
    if not hint:
        homes = [name for name, kind in SECTIONS.items() if key in {item.name for item in dataclasses.fields(kind)}]
        hint = f"; it belongs in [{homes[0]}]" if homes else f"; known: {', '.join(names)}"
    raise ConfigError(f"{where}: unknown key {key!r} in [{section}]{hint}")


def _environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    for variable in sorted(environ):
        if not variable.startswith(_ENV_PREFIX):
            continue
        rest = variable.removeprefix(_ENV_PREFIX).lower()
        # The longest section wins: DAVENPORT_AUTH_SQL_URL is url in [auth_sql], not sql_url in [auth]. Variables of
        # other sections are not ours to judge: container platforms make names such as DAVENPORT_PORT.
        section = max((name for name in SECTIONS if rest.startswith(f"{name}_")), key=len, default="")
        key = rest.removeprefix(f"{section}_")
        if section:
            where = f"environment variable {variable}"
            _known_key(section, key, where)
            yield section, key, environ[variable].strip(), where


def _value(section: str, key: str, text: str, where: str) -> Any:
    reader: Reader = next(item.metadata["reader"] for item in dataclasses.fields(SECTIONS[section]) if item.name == key)
    if "\0" in text:
        raise ConfigError(f"{where}: bad value for {section}.{key}: a NUL character")
    try:
        return reader.read(text)
    except ValueError as error:
        raise ConfigError(f"{where}: bad value for {section}.{key}: {error}") from None


def _resolve(config: Config) -> Config:
    """Makes relative paths absolute: they count from the file's folder, or from the current one without a file."""
    folder = config.path.parent if config.path is not None else Path.cwd()
    server, database = config.server, config.database
    if bool(server.certificate) != bool(server.key):
        raise ConfigError(f"{config.path or 'settings'}: server.certificate and server.key must be set together")
    server = dataclasses.replace(
        server,
        certificate=str(folder / server.certificate) if server.certificate else "",
        key=str(folder / server.key) if server.key else "",
    )
    url, files = database.url, folder / (database.files or "davenport.files")
    if url.startswith("sqlite:///"):
        name, mark, query = url.removeprefix("sqlite:///").partition("?")
        file = folder / name
        url = f"sqlite:///{file}{mark}{query}"
        if not database.files:
            files = file.with_name(f"{file.stem}.files")
    mail_url = config.auth_sql.url
    if mail_url.startswith("sqlite:///"):
        mail_url = f"sqlite:///{folder / mail_url.removeprefix('sqlite:///')}"
        config = dataclasses.replace(config, auth_sql=dataclasses.replace(config.auth_sql, url=mail_url))
    if config.mail_accounts.file and not url.startswith("sqlite:"):
        # One machine's job would write it, and the others' copies would grow old.
        raise ConfigError(
            f"{config.path or 'settings'}: mail_accounts.file is for SQLite; PostgreSQL's views can be read as they are"
        )
    _check_smtp(config)
    _check_mail_in(config)
    others = ("mail_accounts", "smtp", "mail_in", "feeds")
    with_files = [name for name in SECTIONS if name.startswith("auth_") or name in others]
    back_ends = {name: _absolute(getattr(config, name), folder) for name in with_files}
    return dataclasses.replace(config, server=server, database=DatabaseConfig(url=url, files=str(files)), **back_ends)


def _check_smtp(config: Config) -> None:
    """Raises ConfigError for settings of outgoing mail that cannot be used together."""
    smtp, where = config.smtp, config.path or "settings"
    if smtp.host and not config.mail.from_address:
        raise ConfigError(f"{where}: smtp.host is set, so mail.from_address must be set too")
    if smtp.password and smtp.password_file:
        raise ConfigError(f"{where}: smtp.password and smtp.password_file exclude each other")
    if smtp.tls == "none" and smtp.user and smtp.host.lower() not in ("127.0.0.1", "::1", "localhost"):
        raise ConfigError(f"{where}: smtp.tls = none would send a password to {smtp.host} in the clear")


def _check_mail_in(config: Config) -> None:
    """Raises ConfigError for settings of incoming mail that cannot be used together."""
    mail_in, where = config.mail_in, config.path or "settings"
    if mail_in.imap_host and not mail_in.imap_user:
        raise ConfigError(f"{where}: mail_in.imap_host is set, so mail_in.imap_user must be set too")
    if mail_in.imap_password and mail_in.imap_password_file:
        raise ConfigError(f"{where}: mail_in.imap_password and mail_in.imap_password_file exclude each other")
    if mail_in.imap_tls == "none" and mail_in.imap_host.lower() not in ("", "127.0.0.1", "::1", "localhost"):
        raise ConfigError(f"{where}: mail_in.imap_tls = none would send a password to {mail_in.imap_host} in the clear")


def _absolute(section: Any, folder: Path) -> Any:
    """The section with its files (`PATH`) counted from the folder; what is not set stays empty."""
    files = [item.name for item in dataclasses.fields(section) if item.metadata["reader"] is PATH]
    return dataclasses.replace(
        section, **{name: str(folder / getattr(section, name)) for name in files if getattr(section, name)}
    )
