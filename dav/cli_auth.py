"""Commands about signing in: trying it out, finding the mail server's settings, app passwords, an account's story."""

from __future__ import annotations

import argparse
import re
import sys
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dav import cli_kit as kit
from dav.cli_kit import DONE, REFUSED, Command, Refused
from dav.config import Config, ConfigError

if TYPE_CHECKING:
    from dav.auth.backend import Backend, Identity, Tools
    from storage.engine import Conn, Store
    from storage.records import Account, AppPassword

DAY_S = 86_400
APP_PASSWORDS_MAX = 100
LABEL_CHARS_MAX = 100
# Longer than any back end's own limit.
ANSWER_S = 150.0
LOG_LINES_MAX = 100_000

# --- auth test --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """What one back end said. yes: who it is; else a word for the refusal or the cause why it cannot tell.

    starts: False when the server itself would not start with this back end's settings.
    """

    backend: str
    ms: float
    yes: Identity | None = None
    no: str = ""
    down: str = ""
    starts: bool = True


# What stands in a cause, and what to do about it. The first that matches counts.
_ADVICE: tuple[tuple[str, str], ...] = (
    (
        r"permission denied|not permitted|errno 13",
        "Davenport's user may not open it: see who owns it and its folder (`ls -l`), and let the user or group in.",
    ),
    (r"pip install|no module named", "Install the library that is named, then try again."),
    (
        r"no such file|does not exist.*file|errno 2\b|cannot find|unable to open database file",
        "Look at the path, and whether the mail server runs. A container needs the folder shared, not the file alone.",
    ),
    (
        r"connection refused|errno 111|connect call failed",
        "Nothing listens there: is it running, on this host and port?",
    ),
    (
        r"certificate|hostname mismatch|self.signed",
        "Use the name that stands in the certificate as host, or name the authority that signed it in ca_file.",
    ),
    (
        r"\btls\b|\bssl\b|wrong version number|starttls",
        "Encryption does not fit the port: tls is for 993, 465 and 636, starttls for 143, 587 and 389.",
    ),
    (
        r"service not known|failure in name|nodename|getaddrinfo",
        "The host's name is not known here: check it, and the DNS.",
    ),
    (
        r"scheme|cannot be checked",
        "The hash is of a kind that cannot be checked here: set default_scheme, or ask Dovecot's socket instead.",
    ),
    (
        r"no such table|no such column|undefined|unknown column|doesn't exist|does not exist|syntax|relation",
        "The query does not fit the database: check preset and password_query, and the database's name in url.",
    ),
    (
        r"access denied|password authentication failed|authentication failed for user|invalidcredentials|refuses auth_",
        "The database or directory does not take the name and password in the settings.",
    ),
    (r"readonly|read-only|locked", "The file cannot be read now: is it in WAL mode, in a folder of somebody else's?"),
    (r"no answer|timed? ?out", "It took too long: is a firewall between, or is the server overloaded?"),
    (r"nopassword|impossible password|random password", "A server that lets everybody in must not be asked."),
)


def advice(cause: str) -> str:
    """A sentence on what to do about the cause why a back end cannot tell; "" when there is none to give."""
    return next((sentence for pattern, sentence in _ADVICE if re.search(pattern, cause, re.IGNORECASE)), "")


def _test_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", metavar="USER", help="name as it is typed into a device")
    parser.add_argument(
        "--password-stdin", action="store_true", help="read the password from the first line of the input"
    )
    parser.add_argument(
        "--client", metavar="ADDRESS", default="127.0.0.1", help="address that the sign-in is said to come from"
    )


def _test(arguments: argparse.Namespace, config: Config) -> int:
    import asyncio

    from dav.auth.basic import LOGIN_CHARS_MAX, candidates, normalise_login

    if not candidates(arguments.user) or len(arguments.user) > LOGIN_CHARS_MAX:
        raise Refused("This cannot be a name to sign in with.")
    password = kit.read_password(from_stdin=arguments.password_stdin)
    if not password or "\0" in password or len(password.encode("utf-8", "surrogatepass")) > 1024:
        raise Refused("A password is needed, of at most 1024 bytes.")
    login = normalise_login(arguments.user, config.auth.default_domain)
    with kit.Opened(config) as store:
        print(f"Signing in as {kit.shown(login)}" + (f" ({arguments.user!r})" if login != arguments.user else "") + ":")
        found = _app_password_of(store, config, login, password)
        if found is not None:
            return found
        answers = asyncio.run(_ask_all(store, config, login, password, arguments.client))
        for answer in answers:
            _print_answer(answer)
        return _verdict(store, config, answers)


async def _ask_all(store: Store, config: Config, login: str, password: str, client: str) -> list[Answer]:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    from dav.auth import passwords
    from dav.auth.backend import HashPool, Tools
    from dav.auth.cache import CredentialCache, RefusedCache

    pool, threads = HashPool(1), ThreadPoolExecutor(1)
    loop = asyncio.get_running_loop()
    tools = Tools(
        store, lambda function: loop.run_in_executor(threads, function), pool, CredentialCache(0), RefusedCache(0),
        time.monotonic, config,
    )  # fmt: skip
    try:
        if {"local", "sql", "passwd-file"} & set(config.auth.backends):
            # The first hash loads the library, which a running server has done long ago.
            await pool.run(passwords.dummy_verify)
        return [await _ask(name, tools, login, password, client) for name in config.auth.backends]
    finally:
        pool.close()
        threads.shutdown()


async def _ask(name: str, tools: Tools, login: str, password: str, client: str) -> Answer:
    from dav.auth import make_backend
    from dav.auth.backend import BackendDown

    started = time.perf_counter()

    def ms() -> float:
        return (time.perf_counter() - started) * 1000

    try:
        backend = make_backend(name, tools)
    except ConfigError as error:
        return Answer(name, ms(), down=str(error), starts=False)
    if "password" not in backend.kinds:
        await backend.close()
        return Answer(name, ms(), no="not asked, it takes no passwords")
    # The time counts from here: connections that are made at the start are not what people wait for.
    started = time.perf_counter()
    try:
        return await _check(backend, login, password, client, ms)
    except BackendDown as error:
        return Answer(name, ms(), down=str(error) or "it does not say why")
    except TimeoutError:
        return Answer(name, ms(), down=f"no answer in {ANSWER_S:.0f} s")
    finally:
        await backend.close()


async def _check(backend: Backend, login: str, password: str, client: str, ms: Callable[[], float]) -> Answer:
    import asyncio

    from dav.auth.backend import Credentials, Identity, Refusal

    answer: Identity | Refusal = Refusal.NOT_MINE
    # Spelled as it is, then composed, as at a sign-in.
    for spelling in dict.fromkeys((password, unicodedata.normalize("NFC", password))):
        given = Credentials(login=login, password=spelling, client=client, secure=True)
        async with asyncio.timeout(ANSWER_S):
            answer = await backend.check(given)
        if isinstance(answer, Identity):
            return Answer(backend.name, ms(), yes=answer)
    if answer is Refusal.NOT_MINE:
        return Answer(backend.name, ms(), no="not mine: it does not know this person")
    return Answer(backend.name, ms(), no="no: the password is wrong, or the person may not sign in")


def _print_answer(answer: Answer) -> None:
    if answer.yes is not None:
        said = f"yes, this is {kit.shown(answer.yes.name)}"
        if answer.yes.display_name:
            said += f" ({kit.shown(answer.yes.display_name)})"
    else:
        said = answer.no or f"cannot tell: {kit.shown(answer.down)}"
    print(f"  {answer.backend:<12}{answer.ms:7.1f} ms  {said}")
    indent = " " * 25
    if answer.yes is not None:
        addresses = answer.yes.addresses
        if addresses is None and answer.yes.account is None:
            print(f"{indent}addresses: it does not know any")
        elif addresses is not None:
            print(f"{indent}addresses: {', '.join(map(kit.shown, addresses)) or 'none'}")
    if answer.down and (sentence := advice(answer.down)):
        print(f"{indent}{sentence}")


def _verdict(store: Store, config: Config, answers: list[Answer]) -> int:
    """Prints what a sign-in would come to; the exit status."""
    unusable = [answer.backend for answer in answers if not answer.starts]
    if unusable:
        print(f"The server does not start like this: set what {', '.join(unusable)} needs.")
        return REFUSED
    down = [answer.backend for answer in answers if answer.down]
    for number, answer in enumerate(answers):
        if answer.yes is not None:
            later = [one.backend for one in answers[number + 1 :]]
            if later:
                print(f"{answer.backend} decides; {', '.join(later)} would not be asked.")
            return _welcome(store, config, answer.yes)
        if answer.no.startswith("no:"):
            if any(one.yes is not None for one in answers[number + 1 :]):
                print(f"{answer.backend} decides: what comes after it would not be asked. Is the order right?")
            break
    if down:
        print(f"Nobody can sign in so: devices are told to come back later (503) until {', '.join(down)} can tell.")
    else:
        print("Refused (401).")
    return REFUSED


def _welcome(store: Store, config: Config, identity: Identity) -> int:
    from dav.auth import people
    from dav.provision import NameUnusable
    from storage import accounts
    from storage.engine import transaction

    try:
        name = people.account_name(identity.name, config.auth)
    except NameUnusable as error:
        print(f"Refused: {kit.shown(identity.name)} cannot be an account here. {error}")
        return REFUSED
    with transaction(store) as conn:
        account = accounts.account_by_name(conn, name)
        foreign = [
            address
            for address in people.usable_addresses(identity) or []
            if (owner := accounts.account_by_address(conn, address)) and owner.name != (account.name if account else "")
        ]
    for address in foreign:
        print(f"{kit.shown(address)} belongs to another account here and stays there.")
    if account is None and not config.auth.create_accounts:
        print(f"Refused: there is no account {name}, and auth.create_accounts is off.")
        return REFUSED
    if account is None:
        print(f"Signed in. The first sign-in will make the account {name}.")
    elif not account.active:
        print(f"Refused: the account {account.name} is disabled here. `davenport account enable` lets it in again.")
        return REFUSED
    else:
        print(f"Signed in as account {account.name}.")
        print(f"Invited at: {', '.join(map(kit.shown, account.addresses)) or 'no address so far'}.")
    if config.auth.dav_requires_app_password:
        print("But devices need an app password: auth.dav_requires_app_password is on.")
    return DONE


def _app_password_of(store: Store, config: Config, login: str, password: str) -> int | None:
    """The verdict when the password is an app password that the store knows; else None."""
    from dav.auth import apppassword
    from storage import accounts, app_passwords
    from storage.engine import transaction

    digest = apppassword.digest_of(password)
    if digest is None:
        return None
    with transaction(store) as conn:
        record = app_passwords.app_password_by_digest(conn, digest)
        account = accounts.account_by_id(conn, record.account_id) if record else None
    if record is None or account is None:
        print("  It looks like an app password, but none of ours; was it revoked?")
        return None
    print(f"  app password {record.name!r} of {account.name}: {_may(record)}")
    local = account.name.partition("@")[0] if "@" in account.name else account.name
    names = {accounts.fold(name) for name in (account.name, *account.addresses)}
    for domain in (config.auth.default_domain, config.auth.strip_domain):
        if domain and "@" not in account.name:
            names.add(accounts.fold(f"{local}@{domain}"))
    if record.expires_s is not None and record.expires_s <= kit.now_s():
        print("Refused: it has expired.")
    elif not account.active:
        print(f"Refused: the account {account.name} is disabled here.")
    elif accounts.fold(login) not in names:
        print(f"Refused: it belongs to {account.name}, not to {kit.shown(login)}.")
    else:
        print(f"Signed in as account {account.name}.")
        return DONE
    return REFUSED


# --- auth detect ------------------------------------------------------------------------------------------------------


def _detect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", metavar="FOLDER", default="/", help='where the machine\'s "/" is (default: /)')
    parser.add_argument("--with-secrets", action="store_true", help="print the database's password as well")


def run_detect(arguments: argparse.Namespace, config: Config) -> int:
    from dav import detect

    root = Path(arguments.root)
    if not root.is_dir():
        raise Refused(f"{arguments.root} is not a folder.")
    report = detect.detect(root.absolute(), programs=root.absolute() == Path("/"))
    if not report.proposals and not report.warnings:
        raise Refused("No mail server's configuration was found here; docs/mail.md says what to write by hand.")
    print(detect.render(report, with_secrets=arguments.with_secrets), end="")
    if report.proposals and sys.stdout.isatty():
        print("\n# Paste this into config.ini, then try it: davenport auth test USER")
    return DONE if report.proposals else REFUSED


# --- app passwords ----------------------------------------------------------------------------------------------------


def _account(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("account", metavar="ACCOUNT", help="the account's name")


def _app_add_arguments(parser: argparse.ArgumentParser) -> None:
    _account(parser)
    parser.add_argument(
        "--name", dest="label", metavar="TEXT", required=True, help='for which device, such as "Alice\'s phone"'
    )
    parser.add_argument(
        "--scope",
        metavar="WORDS",
        default="calendars,contacts,files",
        help="what it opens, of calendars, contacts and files, separated by commas (default: all)",
    )
    parser.add_argument("--read-only", action="store_true", help="it can change nothing")
    parser.add_argument("--days", metavar="N", type=int, help="it ends after so many days (default: never)")


def _app_add(arguments: argparse.Namespace, config: Config) -> int:
    from dav.auth import apppassword
    from storage import app_passwords
    from storage.engine import transaction

    label = " ".join(arguments.label.split())
    if not label or len(label) > LABEL_CHARS_MAX or not label.isprintable():
        raise Refused(f"A name of at most {LABEL_CHARS_MAX} printable characters is needed.")
    if arguments.days is not None and not 1 <= arguments.days <= 36_500:
        raise Refused("--days must be from 1 to 36500.")
    try:
        areas = apppassword.areas_of(word for word in re.split(r"[\s,]+", arguments.scope.lower()) if word)
    except ValueError as error:
        raise Refused(str(error)) from None
    now = kit.now_s()
    with kit.Opened(config) as store, transaction(store, write=True) as conn:
        account = kit.find(conn, arguments.account)
        others = app_passwords.list_app_passwords(conn, account.id)
        if any(other.name.casefold() == label.casefold() for other in others):
            raise Refused(f"{account.name} has an app password named {label!r} already.")
        if len(others) >= APP_PASSWORDS_MAX:
            raise Refused(f"{account.name} has {len(others)} app passwords; remove some first.")
        secret, made = apppassword.create(
            conn, account.id, label, areas=areas, read_only=arguments.read_only,
            expires_s=now + arguments.days * DAY_S if arguments.days else None, now_s=now,
        )  # fmt: skip
        kit.note(conn, account.id, "app password made", subject=label, detail=_may(made))
    print(f"User      {account.name}\nPassword  {secret}")
    print("It is shown only now. Spaces, hyphens and capitals do not matter when it is typed.")
    return DONE


def _app_list(arguments: argparse.Namespace, config: Config) -> int:
    from storage import app_passwords
    from storage.engine import transaction

    with kit.Opened(config) as store, transaction(store) as conn:
        account = kit.find(conn, arguments.account)
        found = app_passwords.list_app_passwords(conn, account.id)
    for one in found:
        used = f"last used {_day(one.last_used_s)}" if one.last_used_s is not None else "never used"
        print("\t".join((str(one.id), kit.shown(one.name), _may(one), f"made {_day(one.created_s)}", used)))
    if not found:
        print(f"{account.name} has no app passwords.", file=sys.stderr)
    return DONE


def _app_remove_arguments(parser: argparse.ArgumentParser) -> None:
    _account(parser)
    parser.add_argument("which", metavar="NAME-or-ID", help="its name, or its number in the list")


def _app_remove(arguments: argparse.Namespace, config: Config) -> int:
    from storage import app_passwords
    from storage.engine import transaction

    with kit.Opened(config) as store, transaction(store, write=True) as conn:
        account = kit.find(conn, arguments.account)
        one = _chosen(conn, account, arguments.which)
        app_passwords.revoke_app_password(conn, account.id, one.id)
        kit.note(conn, account.id, "app password revoked", subject=one.name)
    print(f"Removed the app password {kit.shown(one.name)!r} of {account.name}; the device is refused from now on.")
    return DONE


def _chosen(conn: Conn, account: Account, which: str) -> AppPassword:
    from storage import app_passwords

    found = app_passwords.list_app_passwords(conn, account.id)
    named = [one for one in found if one.name.casefold() == " ".join(which.split()).casefold()]
    # Names first: somebody may call a device "7".
    chosen = named or [one for one in found if str(one.id) == which]
    if not chosen:
        raise Refused(f"{account.name} has no app password {which!r}.")
    if len(chosen) > 1:
        raise Refused(f"Several are named {which!r}: give the number of the one, {_or(chosen)}.")
    return chosen[0]


def _or(records: list[AppPassword]) -> str:
    return " or ".join(str(one.id) for one in records)


def _may(record: AppPassword) -> str:
    from dav.auth import apppassword

    text = ",".join(apppassword.words_of(record.areas)) + (" read-only" if record.read_only else "")
    if record.expires_s is None:
        return text
    ended = "ended" if record.expires_s <= kit.now_s() else "until"
    return f"{text} {ended} {_day(record.expires_s)}"


def _day(at_s: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at_s))


# --- accounts ---------------------------------------------------------------------------------------------------------


def _rename_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", metavar="OLD", help="the account's name")
    parser.add_argument("new", metavar="NEW", help="its new name")


def _rename(arguments: argparse.Namespace, config: Config) -> int:
    from dav import provision
    from storage import accounts
    from storage.engine import transaction
    from storage.errors import NameTaken

    try:
        new = provision.check_name(arguments.new)
        with kit.Opened(config) as store, transaction(store, write=True) as conn:
            account = kit.find(conn, arguments.old)
            renamed = accounts.rename_account(conn, account.id, new)
            kit.note(conn, account.id, "account renamed", subject=renamed.name, detail=f"was {account.name}")
    except provision.NameUnusable as error:
        raise Refused(str(error)) from None
    except NameTaken:
        raise Refused(f"{arguments.new} is the name or an address of another account.") from None
    print(f"{account.name} is {renamed.name} from now on. Devices must be given the new name.")
    return DONE


def _log_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the account's name")
    parser.add_argument("--lines", metavar="N", type=int, default=100, help="at most so many entries (default: 100)")


def _log(arguments: argparse.Namespace, config: Config) -> int:
    from storage import audit
    from storage.engine import transaction

    left = min(arguments.lines, LOG_LINES_MAX)
    if left < 1:
        raise Refused("--lines must be at least 1.")
    before_id: int | None = None
    with kit.Opened(config) as store:
        with transaction(store) as conn:
            account = kit.find(conn, arguments.name)
        while left > 0:
            with transaction(store) as conn:
                page = audit.entries(conn, account.id, before_id=before_id, limit=min(left, 500))
            for entry in page:
                at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.at_s))
                texts = (at, entry.actor, entry.action, entry.subject, entry.detail)
                print("\t".join(map(kit.shown, texts)).rstrip("\t"))
            if not page:
                break
            left -= len(page)
            before_id = page[-1].id
    return DONE


GROUPS = {
    "auth": "how people sign in",
    "app-password": "passwords for single devices",
}

COMMANDS: tuple[Command, ...] = (
    Command("account rename", "give an account another name", _rename_arguments, _rename),
    Command("account log", "show what was done to an account, the newest first", _log_arguments, _log),
    Command("auth test", "try to sign in, and say what each back end answers", _test_arguments, _test),
    Command(
        "auth detect",
        "look at this machine's mail server and propose the settings",
        _detect_arguments,
        run_detect,
    ),
    Command("app-password add", "make a password for one device", _app_add_arguments, _app_add),
    Command(
        "app-password list",
        "list an account's app passwords: number, name, scope, made, last used",
        _account,
        _app_list,
    ),
    Command("app-password remove", "revoke a device's password", _app_remove_arguments, _app_remove),
)
