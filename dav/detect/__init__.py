"""Looking at a machine's mail server and proposing the settings that let the same people into Davenport.

Nothing is changed and nothing is contacted: only configuration files are read, below a given root.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from dataclasses import fields, replace
from pathlib import Path

from dav.config import SECTIONS
from dav.detect import dovecot, postfix, stacks
from dav.detect.files import Machine
from dav.detect.proposal import Line, Proposal, Report, database_url, one_line, sqlite_url
from dav.detect.proposal import render as render

PROGRAM_S = 10

# A table name in a query, with the stack that has such a table.
_PRESETS = (
    (r"\bcore_user\b", "modoboa"),
    (r"\bauthsource\b|\bapp_passwd\b", "mailcow"),
    (r"\benablesogo\b|\bmailbox\.enable|\bforwardings\b|\bbackupmx\b", "iredmail"),
    (r"\bFROM\s+mailbox\b", "postfixadmin"),
)


def detect(root: Path, *, programs: bool = False) -> Report:
    """What is found below root, which stands for the machine's "/". programs: `doveconf` may be asked as well."""
    machine = Machine(root)
    report = Report()
    stacks.find(machine, report)
    known = {proposal.section for proposal in report.proposals}
    config = dovecot.read(machine)
    if config is None and programs:
        config = _doveconf()
    if config is not None:
        _of_dovecot(machine, config, report, known)
    _of_postfix(machine, report)
    report.proposals = [_checked(proposal) for proposal in report.proposals]
    report.warnings += [f"could not be read, so something may be missing here: {path}" for path in machine.unreadable]
    return report


def _checked(proposal: Proposal) -> Proposal:
    """The proposal without lines that our own settings would refuse, which are mentioned instead."""
    readers = {item.name: item.metadata["reader"] for item in fields(SECTIONS[proposal.section])}
    kept, notes = [], list(proposal.notes)
    for line in proposal.lines:
        try:
            readers[line.key].read(one_line(line.value))
        except ValueError as error:
            notes.append(
                f"{line.key} is yours to write: what stands at {line.found} cannot be used as it is ({error})."
            )
        else:
            kept.append(line)
    return replace(proposal, lines=tuple(kept), notes=tuple(notes))


def _doveconf() -> dovecot.Block | None:
    """What Dovecot itself says of its settings, where its files are not in the usual place."""
    program = shutil.which("doveconf")
    if program is None:
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run([program, "-n"], capture_output=True, timeout=PROGRAM_S, check=True)
        return dovecot.parse_lines(tuple(done.stdout[: 1 << 20].decode("utf-8", "replace").split("\n")), "doveconf -n")
    return None


def _of_dovecot(machine: Machine, config: dovecot.Block, report: Report, known: set[str]) -> None:
    sources = dovecot.passdbs(config)
    opened = [one for source in sources if (one := dovecot.is_open(source))]
    for one in opened:
        report.warnings.append(
            f"{one.where}: Dovecot takes people without looking at their password. Its socket must not be asked; use"
            " the database or the file that the passwords are in."
        )
    for source in sources:
        if source.driver == "sql" and "auth_sql" not in known:
            proposal = _sql24(config, source) if dovecot.is_24(config) else _sql23(machine, source, report)
            if proposal is not None:
                report.proposals.append(proposal)
                known.add("auth_sql")
        elif source.driver == "passwd-file" and "auth_passwd_file" not in known:
            proposal = _passwd_file(source)
            if proposal is not None:
                report.proposals.append(proposal)
                known.add("auth_passwd_file")
        elif source.driver == "ldap":
            report.warnings.append(f"{source.where}: people are in LDAP; the ldap back end can ask there as well.")
    if not opened and sources:
        _socket(config, sources, report)


def _sql23(machine: Machine, source: dovecot.Source, report: Report) -> Proposal | None:
    path = dovecot.args(source)[""]
    text = machine.read(path) if path.startswith("/") else None
    if text is None:
        report.warnings.append(f"{source.where}: the file with the SQL settings, {path or '(none)'}, cannot be read.")
        return None
    config = dovecot.parse_lines(text.lines, text.path)
    driver, connect, query = config.get("driver"), config.get("connect"), config.get("password_query")
    if driver is None or connect is None or query is None:
        return None
    scheme = config.get("default_pass_scheme")
    if driver.value == "sqlite":
        # Either the path alone, or since 2.3.14 with options before it.
        words = dovecot.connect_words(connect.value)
        file = words.get("dbname") or next((word for word in connect.value.split() if word.startswith("/")), "")
        url = sqlite_url(file, connect.where)
    elif driver.value in ("mysql", "pgsql"):
        words = dovecot.connect_words(connect.value)
        url = database_url(
            driver.value,
            host=words.get("host") or words.get("hostaddr") or "localhost",
            port=words.get("port", ""),
            name=words.get("dbname", ""),
            user=words.get("user", ""),
            password=words.get("password") or words.get("pass", ""),
            found=connect.where,
        )
    else:
        return None
    return _sql(driver.value, url, query, scheme)


def _sql24(config: dovecot.Block, source: dovecot.Source) -> Proposal | None:
    query = source.block.get("query", "passdb_sql_query") or config.get("passdb_sql_query")
    driver = source.block.get("sql_driver") or config.get("sql_driver")
    scheme = (
        source.block.get("default_password_scheme", "passdb_default_password_scheme")
        or config.get("passdb_default_password_scheme", "default_password_scheme")
    )  # fmt: skip
    if query is None or driver is None:
        return None
    if driver.value == "sqlite":
        file = source.block.get("sqlite_path") or config.get("sqlite_path")
        if file is None:
            return None
        return _sql("sqlite", sqlite_url(file.value, file.where), query, scheme)
    if driver.value not in ("mysql", "pgsql"):
        return None
    servers = [*source.block.all(driver.value), *config.all(driver.value)]
    if not servers:
        return None
    server = servers[0]

    def of(key: str) -> str:
        inner = (*server.all("parameters"), *server.all(f"{driver.value}_parameters"))
        found = [one for block in (server, *inner) if (one := block.get(key, f"{driver.value}_{key}"))]
        return found[0].value if found else ""

    url = database_url(
        driver.value,
        host=server.name or of("host") or "localhost",
        port=of("port"),
        name=of("dbname"),
        user=of("user"),
        password=of("password"),
        found=server.where,
    )
    return _sql(driver.value, url, query, scheme)


def _sql(driver: str, url: Line, query: dovecot.Setting, scheme: dovecot.Setting | None) -> Proposal:
    lines, notes = [url], []
    preset = next((name for pattern, name in _PRESETS if re.search(pattern, query.value, re.IGNORECASE)), "")
    try:
        lines.append(Line("password_query", dovecot.query(query.value, driver), query.where))
    except ValueError as error:
        if preset:
            lines.append(Line("preset", preset, query.where))
            notes.append(f"Dovecot's query has {error}, which has no counterpart here, so the preset's is proposed.")
        else:
            notes.append(f"password_query is yours to write: Dovecot's, at {query.where}, has {error}, unknown here.")
    if scheme is not None:
        lines.append(Line("default_scheme", scheme.value.upper(), scheme.where))
    if driver == "mysql":
        notes.append("Needs `pip install davenport[mysql]`.")
    if driver == "sqlite":
        notes.append("The user that runs Davenport must be able to read the file.")
    return Proposal("The table that Dovecot looks passwords up in.", "sql", "auth_sql", tuple(lines), tuple(notes))


def _passwd_file(source: dovecot.Source) -> Proposal | None:
    options = dovecot.args(source)
    setting = source.block.get("passwd_file_path", "args")
    if setting is None:
        return None
    path = setting.value if setting.key == "passwd_file_path" else options[""]
    if not path.startswith("/"):
        return None
    notes = []
    if "%" in path:
        notes.append(f"The path differs from person to person ({path}): name one file here.")
    lines = [Line("file", path, setting.where)]
    scheme = source.block.get("default_password_scheme", "passdb_default_password_scheme")
    if scheme is not None or "scheme" in options:
        lines.append(
            Line("default_scheme", (scheme.value if scheme else options["scheme"]).upper(), (scheme or setting).where)
        )
    title = "The file that Dovecot looks passwords up in."
    return Proposal(title, "passwd-file", "auth_passwd_file", tuple(lines), tuple(notes))


def _socket(config: dovecot.Block, sources: list[dovecot.Source], report: Report) -> None:
    """Dovecot's own socket: it knows all that Dovecot can verify, and no addresses."""
    sockets = dovecot.listeners(config)
    # Postfix's lies in its own folder, where nobody else can reach it.
    asked = next((one for one in sockets if not one.userdb and "/spool/postfix" not in one.path), None)
    userdb = next((one for one in sockets if one.userdb), None)
    kinds = ", ".join(dict.fromkeys(source.driver for source in sources))
    notes = [f"Takes whatever Dovecot takes ({kinds}); it knows no aliases."]
    if asked is None:
        kind = "\n    type = auth" if dovecot.is_24(config) else ""
        snippet = (
            f"service auth {{\n  unix_listener davenport-auth {{\n    mode = 0600\n    user = davenport{kind}\n  }}\n}}"
        )
        notes += ["Add this to Dovecot's configuration first:", *(f"    {line}" for line in snippet.split("\n"))]
        lines = [Line("socket", "/run/dovecot/davenport-auth", "the socket made by those lines")]
    else:
        mode = asked.mode or "0600"
        notes.append(
            f"The socket is for user {asked.user or 'root'}, group {asked.group or 'root'}, mode {mode}: Davenport's"
            " user must be able to open it."
        )
        lines = [Line("socket", asked.path, asked.where)]
    if userdb is not None:
        lines.append(Line("userdb_socket", userdb.path, userdb.where))
    # Where a table is known that one is better: it also has the addresses. For the rest this is the way.
    first = any(source.driver not in ("sql", "passwd-file", "ldap") for source in sources)
    proposal = Proposal("Dovecot's authentication socket.", "dovecot", "auth_dovecot", tuple(lines), tuple(notes))
    if first:
        report.proposals.insert(0, proposal)
    else:
        report.proposals.append(proposal)


def _of_postfix(machine: Machine, report: Report) -> None:
    """Adds a query for aliases to the proposal that looks into the same database."""
    main = postfix.read(machine)
    if main is None:
        return
    for map_ in (*postfix.maps(machine, main, "virtual_alias_maps"), *postfix.maps(machine, main, "virtual_maps")):
        query = postfix.addresses_query(map_) if map_.kind in postfix.DATABASES else ""
        if not query:
            continue
        for number, proposal in enumerate(report.proposals):
            keys = {line.key for line in proposal.lines}
            if proposal.section == "auth_sql" and not keys & {"preset", "addresses_query"}:
                line = Line("addresses_query", query, f"{map_.path}, turned around")
                report.proposals[number] = replace(proposal, lines=(*proposal.lines, line))
                return
    if not report.proposals:
        for map_ in postfix.maps(machine, main, "virtual_mailbox_maps"):
            report.warnings.append(f"{map_.where}: Postfix knows its mailboxes by {map_.kind}:{map_.path}.")
