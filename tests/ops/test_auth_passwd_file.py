"""The back end "passwd-file": Dovecot's, docker-mailserver's and htpasswd's files, and what in them refuses people."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dav.auth import passwd_file
from dav.auth.backend import BackendDown, Credentials, HashPool, Identity, PersonUnclear, Refusal, Tools
from dav.auth.cache import CredentialCache, RefusedCache
from dav.auth.passwd_file import Content, addresses_of, parse_aliases, parse_people
from dav.config import AuthPasswdFileConfig, Config, ConfigError, load

from .mail_tables import HASH, PREFIXED


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Asked:
    """The back end over files, called without an event loop of the test's own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.file, self.aliases = folder / "people", folder / "aliases"
        self.clock = Clock()
        chosen = {"file": str(self.file), **settings}
        config = replace(Config(), auth_passwd_file=AuthPasswdFileConfig(**chosen))
        nothing: Any = None
        self.tools = Tools(nothing, nothing, HashPool(), CredentialCache(300), RefusedCache(), self.clock, config)
        self.backend = passwd_file.make(self.tools)

    def check(self, login: str, password: str = "secret", client: str = "192.0.2.1") -> Identity | Refusal:
        return asyncio.run(self.backend.check(Credentials(login=login, password=password, client=client)))

    def right(self, login: str, password: str = "secret", client: str = "192.0.2.1") -> Identity:
        answer = self.check(login, password, client)
        assert isinstance(answer, Identity), answer
        return answer

    def still(self, identity: Identity) -> bool:
        return asyncio.run(self.backend.still(identity))

    def lookup(self, name: str) -> Identity | Refusal | None:
        return asyncio.run(self.backend.lookup(name))


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    made = Asked(tmp_path, aliases_file=str(tmp_path / "aliases"))
    made.aliases.write_text("")
    yield made
    asyncio.run(made.backend.close())
    made.tools.pool.close()


DOVECOT = f"""
# people of this host
alice@x.example:{PREFIXED}:5000:5000::/srv/mail/alice::userdb_quota_rule=*:bytes=5G
bob@x.example:{HASH}:::Bob B.:/srv/mail/bob:/bin/false
anybody@x.example:{PREFIXED}:::::: nopassword
empty@x.example::::::: nopassword=y
gone@x.example:{PREFIXED}::::::nologin reason=left
gone2@x.example:{PREFIXED}::::::nologin=y
near@x.example:{PREFIXED}::::::allow_nets=10.0.0.0/8,2001:db8::/32
nobody@x.example:{PREFIXED}::::::allow_nets=local,rubbish
alias@x.example:{PREFIXED}::::::user=Alice@X.example
blank@x.example:
alice@x.example:{{PLAIN}}other
"""


def test_dovecot_s_file_signs_in_whom_dovecot_would(asked: Asked) -> None:
    asked.file.write_text(DOVECOT)
    alice = asked.right("Alice@X.example")
    assert (alice.name, alice.addresses) == ("alice@x.example", ("alice@x.example",))
    assert asked.right("bob@x.example").name == "bob@x.example"
    # Of two lines for one name the first counts.
    assert asked.check("alice@x.example", "other") is Refusal.WRONG
    assert asked.right("alias@x.example").name == "alice@x.example"
    assert asked.check("somebody@x.example") is Refusal.NOT_MINE
    assert asked.check("alice@x.example", PREFIXED) is Refusal.WRONG


@pytest.mark.parametrize("who", ["anybody", "empty", "gone", "gone2", "nobody", "blank"])
@pytest.mark.parametrize("password", ["secret", "x", ""])
def test_extra_fields_that_refuse_people_count_and_nopassword_lets_nobody_in(
    asked: Asked, who: str, password: str
) -> None:
    asked.file.write_text(DOVECOT)
    assert asked.check(f"{who}@x.example", password) is Refusal.WRONG
    assert asked.lookup("gone@x.example") is Refusal.WRONG


def test_allow_nets_limits_people_to_networks(asked: Asked) -> None:
    asked.file.write_text(DOVECOT)
    assert asked.check("near@x.example") is Refusal.WRONG
    assert asked.check("near@x.example", client="") is Refusal.WRONG
    near = asked.right("near@x.example", client="10.20.30.40")
    asked.right("near@x.example", client="2001:db8::7")
    # The next request may come from elsewhere, so nothing is believed without looking again.
    assert not asked.still(near)


def test_docker_mailserver_s_files_give_people_and_aliases(asked: Asked) -> None:
    asked.file.write_text(
        f"alice@x.example|{PREFIXED}\nbob@x.example|{PREFIXED}|userdb_mail=maildir:/x allow_nets=10.0.0.0/8\r\n"
        f"# carol@x.example|{PREFIXED}\n\n|{PREFIXED}\n"
    )
    asked.aliases.write_text(
        "info@x.example alice@x.example\n"
        "team@x.example alice@x.example,bob@x.example\n"
        "chain@x.example info@x.example\n"
        "loop@x.example loop2@x.example\nloop2@x.example loop@x.example\n"
        "@z.example alice@x.example\n"
        "@y.example @x.example\n"
        "bob@x.example alice@x.example\n"
        "far@x.example alice@elsewhere.example\n"
    )
    own = {"alice@x.example", "info@x.example", "chain@x.example"}
    alice = asked.right("alice@x.example")
    assert alice.addresses is not None
    assert alice.addresses[0] == "alice@x.example"
    assert set(alice.addresses) == own | {address.replace("@x.", "@y.") for address in own}
    bob = asked.right("bob@x.example", client="10.0.0.1")
    assert set(bob.addresses or ()) == {"bob@x.example", "bob@y.example"}
    assert asked.check("bob@x.example") is Refusal.WRONG
    assert asked.check("carol@x.example") is Refusal.NOT_MINE
    found = asked.lookup("alice@x.example")
    assert isinstance(found, Identity)
    assert found.addresses == alice.addresses


def test_htpasswd_s_hashes_are_checked(asked: Asked) -> None:
    asked.file.write_text(
        "alice:$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0\n"
        "bob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n"
        "carol:$2y$05$xG3VnqXazHMuX5vtdDbQgO3eCyiqhK1ViP7rYHC8ev7Z4cZa2duum\n"
        "dora:NO6qWQAENvp8k\n"
    )
    for name in ("alice", "bob", "carol", "dora"):
        identity = asked.right(name)
        assert (identity.name, identity.addresses) == (name, ())
        assert asked.check(name, "wrong") is Refusal.WRONG


def test_a_changed_line_counts_at_once_also_within_the_clock_tick_of_the_file_system(asked: Asked) -> None:
    asked.file.write_text("alice:{PLAIN}aaaa\nbob:{PLAIN}bbbb\n")
    alice, bob = asked.right("alice", "aaaa"), asked.right("bob", "bbbb")
    times = os.stat(asked.file)
    with asked.file.open("r+") as file:  # the same file, size and time
        file.write("alice:{PLAIN}cccc\nbob:{PLAIN}bbbb\n")
    os.utime(asked.file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not asked.still(alice)
    assert asked.still(bob)
    assert asked.check("alice", "aaaa") is Refusal.WRONG
    asked.right("alice", "cccc")
    asked.file.write_text("bob:{PLAIN}bbbb\n")
    assert asked.check("alice", "cccc") is Refusal.NOT_MINE
    assert asked.lookup("alice") is Refusal.NOT_MINE
    assert asked.still(bob)


def test_a_file_that_is_replaced_is_read_again_and_one_at_rest_is_not(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked.file.write_text("alice:{PLAIN}aaaa\n")
    asked.right("alice", "aaaa")
    asked.clock.now += 10
    asked.right("alice", "aaaa")
    reads: list[str] = []
    load_file = passwd_file._load
    monkeypatch.setattr(passwd_file, "_load", lambda path: (reads.append(path), load_file(path))[1])
    for _ in range(3):
        asked.right("alice", "aaaa")
    assert reads == []
    other = asked.file.with_name("new")
    other.write_text("alice:{PLAIN}bbbb\n")
    other.replace(asked.file)
    asked.right("alice", "bbbb")
    assert reads == [str(asked.file)]


def test_a_file_that_cannot_be_read_is_down_and_found_again(asked: Asked) -> None:
    with pytest.raises(BackendDown, match="people cannot be read: No such file"):
        asked.check("alice")
    os.mkfifo(asked.file)  # would block for ever
    with pytest.raises(BackendDown, match="no file"):
        asked.check("alice")
    asked.file.unlink()
    asked.file.write_text("alice:{PLAIN}secret\n")
    alice = asked.right("alice")
    asked.file.unlink()
    with pytest.raises(BackendDown):
        asked.still(alice)
    asked.file.write_text("alice:{PLAIN}secret\n")
    assert asked.still(alice)


def test_a_file_without_end_is_not_read(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwd_file, "FILE_BYTES_MAX", 100)
    asked.file.write_text("alice:{PLAIN}secret\n" + "#" * 100)
    with pytest.raises(BackendDown, match="larger than 100 bytes"):
        asked.check("alice")


def test_a_file_of_this_machine_that_is_as_it_was_is_not_waited_for(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked.file.write_text("alice:{PLAIN}secret\n")
    monkeypatch.setattr(asked.backend, "_local", True)
    identity = asked.right("alice")
    asked.clock.now += 3
    asked.right("alice")
    threads = asked.backend._threads
    monkeypatch.setattr(asked.backend, "_threads", None)
    assert asked.still(identity)
    asked.right("alice")
    asked.file.write_text("alice:{PLAIN}changed\n")
    with pytest.raises(AttributeError):  # now it is read, in a thread
        asked.still(identity)
    monkeypatch.setattr(asked.backend, "_threads", threads)
    assert not asked.still(identity)
    asked.clock.now += 3
    asked.file.unlink()
    with pytest.raises(BackendDown):
        asked.check("alice", "changed")


@pytest.mark.parametrize(
    ("path", "local"),
    [("/etc/people", True), ("/srv/mail/people", False), ("/srv/mailer", True), ("/srv/two words/x", False)],
)
def test_files_of_other_machines_are_told_by_their_mount(tmp_path: Path, path: str, local: bool) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "30 22 0:40 / /srv/mail rw shared:5 master:1 - nfs4 nas:/mail rw\n"
        "31 22 0:41 / /srv/two\\040words rw - cifs //nas/x rw\n"
    )
    assert passwd_file.is_local(path, mounts=str(mounts)) is local
    assert not passwd_file.is_local(path, mounts=str(tmp_path / "none"))
    mounts.write_text("nonsense\n")
    assert not passwd_file.is_local(path, mounts=str(mounts))


def test_a_hash_that_cannot_be_checked_is_down_for_that_login_alone(asked: Asked) -> None:
    asked.file.write_text("alice:{OTP}878d8014\nbob:{PLAIN}secret\n")
    with pytest.raises(PersonUnclear, match=r"alice.*OTP") as caught:
        asked.check("alice")
    assert "878d8014" not in str(caught.value)
    asked.right("bob")


def test_no_file_of_aliases_is_needed_but_a_named_one_is(tmp_path: Path) -> None:
    plain = Asked(tmp_path)
    plain.file.write_text("alice@x.example:{PLAIN}secret\n")
    assert plain.right("alice@x.example").addresses == ("alice@x.example",)
    named = Asked(tmp_path, aliases_file=str(tmp_path / "missing"))
    with pytest.raises(BackendDown, match="missing cannot be read"):
        named.check("alice@x.example")


def test_settings_without_a_file_or_with_an_unknown_scheme_are_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"auth_passwd_file\.file"):
        Asked(tmp_path, file="")
    with pytest.raises(ConfigError, match="ROT13"):
        Asked(tmp_path, default_scheme="ROT13")
    file = tmp_path / "config.ini"
    file.write_text("[auth_passwd_file]\nfile = mail/people\n")
    assert load(str(file), {}).auth_passwd_file.file == f"{tmp_path}/mail/people"


def test_the_default_scheme_is_a_setting(tmp_path: Path) -> None:
    asked = Asked(tmp_path, default_scheme="plain-md5")
    asked.file.write_text("alice:5ebe2294ecd0e0f08eab7690d2a6ee69\n")
    asked.right("alice")


def test_continued_lines_and_comments_of_a_postfix_table_are_read() -> None:
    text = "# a comment\n\ninfo@x.example\n  alice@x.example,\n# between\n\tbob@x.example\n"
    text += "INFO@x.example c@x.example\nlone\n"
    assert parse_aliases(text) == {"info@x.example": ["alice@x.example", "bob@x.example"], "lone": []}


LINES = st.lists(st.text(alphabet="ab@.x|:# \t\r\n=nopasswrd{}PLAIN,", max_size=60), max_size=8).map("\n".join)


@given(people=LINES, aliases=LINES)
def test_whatever_the_files_hold_nobody_gets_an_address_that_is_another_s_name(people: str, aliases: str) -> None:
    content = Content(parse_people(people), parse_aliases(aliases))
    names = {entry.name.lower() for entry in content.entries.values()}
    for entry in content.entries.values():
        assert "\n" not in entry.name
        for address in addresses_of(entry.name, content):
            assert address == entry.name.lower() or address not in names
            assert not address.startswith("@")
