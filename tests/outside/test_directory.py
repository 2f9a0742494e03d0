"""Signing in with a real OpenLDAP, a real PAM, and an authority of tokens over real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dav import provision
from dav.auth.backend import BackendDown, Credentials, Identity, Refusal
from dav.auth.ldap import Ldap
from dav.auth.pam import Pam
from dav.auth.refresh import refresh_people
from dav.config import AuthLdapConfig, AuthPamConfig, Config, DatabaseConfig
from storage import accounts, groups, migrate
from storage.engine import transaction

from ..authority import AUDIENCE, Authority
from ..certificates import make_certificates
from .conftest import IN_CI, missing, need_program
from .servers import Server
from .slapd import BASE, SERVICE, SERVICE_PASSWORD, Slapd
from .wire import C, D, Dav, items

ALICE = "alice's password"


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    if not Path("/usr/sbin/slapd").exists():
        missing("slapd is not installed (.ci/install-mail)")
    need_program("ldapmodify", "ldap-utils, by .ci/install-mail")
    running = Slapd(tmp_path_factory.mktemp("slapd")).start()
    yield running
    running.stop()


def ldap(slapd: Slapd, **changes: Any) -> Ldap:
    return Ldap(config_of(slapd, **changes))


def config_of(slapd: Slapd, **changes: Any) -> AuthLdapConfig:
    values: dict[str, Any] = {
        "url": (slapd.ldaps,), "ca_file": str(slapd.ca), "base": f"ou=people,{BASE}",
        "bind_dn": SERVICE, "bind_password": SERVICE_PASSWORD,
    }  # fmt: skip
    return AuthLdapConfig(**{**values, **changes})


def check(back_end: Ldap | Pam, login: str, password: str) -> Identity | Refusal:
    return asyncio.run(back_end.check(Credentials(login, password)))


# --- OpenLDAP ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", ["alice", "ALICE", "alice@lab.example", "Alice@LAB.Example"])
def test_every_spelling_of_a_login_is_one_person(slapd: Slapd, login: str) -> None:
    found = check(ldap(slapd), login, ALICE)
    assert isinstance(found, Identity)
    assert (found.name, found.display_name) == ("alice@lab.example", "Alice Ångström")
    assert found.addresses == (
        "first@lab.example",
        "alice@lab.example",
        "a.example@lab.example",
        "alias@lab.example",
    )


@pytest.mark.parametrize(
    ("login", "password", "answer"),
    [
        ("alice", "another", Refusal.WRONG),
        ("alice", "", Refusal.WRONG),
        ("nobody", ALICE, Refusal.NOT_MINE),
        ("*", ALICE, Refusal.NOT_MINE),
        ("a*", ALICE, Refusal.NOT_MINE),
        ("alice)(uid=*", ALICE, Refusal.NOT_MINE),
        ("twins@lab.example", "twins' password", Refusal.WRONG),
        ("locked", "locked's password", Refusal.WRONG),
    ],
)
def test_who_is_refused(slapd: Slapd, login: str, password: str, answer: Refusal) -> None:
    assert check(ldap(slapd), login, password) is answer


def test_names_and_passwords_beyond_ascii_are_carried(slapd: Slapd) -> None:
    found = check(ldap(slapd), "zoë", "pässwörd")
    assert isinstance(found, Identity)
    assert found.name == "zoe@lab.example"


def test_without_mail_the_next_attribute_names_the_account(slapd: Slapd) -> None:
    assert check(ldap(slapd), "nomail", "nomail's password") == Identity("nomail", "Without", ())


def test_starttls_encrypts_and_certificates_are_verified(slapd: Slapd, tmp_path: Path) -> None:
    assert isinstance(check(ldap(slapd, url=(slapd.ldap,)), "alice", ALICE), Identity)
    other = make_certificates(tmp_path, "localhost").ca
    elsewhere = slapd.ldaps.replace("localhost", "127.0.0.1")
    for url, ca in [(slapd.ldap, other), (slapd.ldaps, other), (slapd.ldap, ""), (elsewhere, slapd.ca)]:
        with pytest.raises(BackendDown, match="CERTIFICATE_VERIFY_FAILED"):
            check(ldap(slapd, url=(url,), ca_file=str(ca)), "alice", ALICE)


def test_a_server_that_is_away_is_passed_over(slapd: Slapd) -> None:
    assert isinstance(check(ldap(slapd, url=("ldap://127.0.0.1:1", slapd.ldaps)), "alice", ALICE), Identity)


def test_a_wrong_service_password_is_our_fault_and_not_the_persons(slapd: Slapd) -> None:
    with pytest.raises(BackendDown, match="bind_dn"):
        check(ldap(slapd, bind_password="another"), "alice", ALICE)


@pytest.mark.parametrize("how", ["(|(member={dn})(uniqueMember={dn})(memberUid={uid}))", "(description={dn})"])
def test_only_members_of_the_group_sign_in(slapd: Slapd, how: str) -> None:
    # The second filter finds nothing: alice is a member by her memberOf alone, which the overlay keeps.
    group = f"cn=team,{BASE}"
    if how.startswith("(|"):
        slapd.modify(
            f"dn: {group}\nchangetype: add\nobjectClass: groupOfNames\ncn: team\nmember: uid=alice,ou=people,{BASE}\n"
        )
    wanted = ldap(slapd, group=group.upper(), group_filter=how)
    assert isinstance(check(wanted, "alice", ALICE), Identity)
    assert check(wanted, "bob", "bob's password") is Refusal.WRONG
    assert asyncio.run(wanted.lookup("bob@lab.example")) is Refusal.WRONG


def test_a_group_of_which_only_its_own_entry_tells_counts(slapd: Slapd) -> None:
    # Loaded before the memberof overlay could see it, as in directories without one.
    wanted = ldap(slapd, group=f"cn=calendars,{BASE}")
    assert isinstance(check(wanted, "alice", ALICE), Identity)
    assert check(ldap(slapd, group=f"cn=nosuch,{BASE}"), "alice", ALICE) is Refusal.WRONG


GROUPS = {"group_accounts": "{cn}@lab.example", "group_base": f"ou=groups,{BASE}"}


def groups_of(answer: Identity | Refusal | None) -> set[str] | None:
    assert isinstance(answer, Identity), answer
    return None if answer.groups is None else set(answer.groups)


def test_groups_that_the_persons_entry_does_not_name_are_searched(slapd: Slapd) -> None:
    # The three are loaded before the memberof overlay could see them.
    back_end = ldap(slapd, **GROUPS)
    found = {"names@lab.example", "Büro@lab.example", "unix@lab.example"}
    at_sign_in = groups_of(check(back_end, "alice", ALICE))
    assert at_sign_in is not None
    assert found <= at_sign_in
    assert groups_of(asyncio.run(ldap(slapd, **GROUPS).lookup("alice@lab.example"))) == at_sign_in
    assert groups_of(check(back_end, "zoë", "pässwörd")) == {"Büro@lab.example"}
    # Who may not sign in as the search's account reads nothing here, so nothing is known of groups, and none is lost.
    changes = {"base": "", "bind_dn": "", "bind_password": "", "user_dn": f"uid={{local}},ou=people,{BASE}"}
    assert groups_of(check(ldap(slapd, **GROUPS, **changes), "bob", "bob's password")) is None
    assert groups_of(check(ldap(slapd, **(GROUPS | {"group_base": "ou=nosuch,dc=x"})), "alice", ALICE)) is None
    assert check(back_end, "alice", "another") is Refusal.WRONG


def test_the_hourly_job_follows_the_groups_of_the_directory(slapd: Slapd, tmp_path: Path) -> None:
    settings = replace(
        Config(),
        database=DatabaseConfig(url=f"sqlite:///{tmp_path / 'store.sqlite'}", files=str(tmp_path / "files")),
        auth=replace(Config().auth, backends=("ldap",)),
        auth_ldap=config_of(slapd, **GROUPS),
    )
    store = provision.open_store(settings)
    try:
        migrate.upgrade(store, version="test")
        with transaction(store, write=True) as conn:
            bob = provision.provision(conn, "bob@lab.example", now_s=1)
            team = accounts.create_account(conn, "names@lab.example", kind="group", now_s=1)
            other = accounts.create_account(conn, "büro@lab.example", kind="group", now_s=1)

        def members() -> list[list[int]]:
            assert refresh_people(store, settings, 2) is not None
            with transaction(store) as conn:
                return [[one.id for one in groups.members_of(conn, group.id)] for group in (team, other)]

        assert members() == [[bob.id], []]
        group = f"dn: cn=Büro,ou=groups,{BASE}\nchangetype: modify\n"
        slapd.modify(group + f"add: uniqueMember\nuniqueMember: uid=bob,ou=people,{BASE}\n")
        assert members() == [[bob.id], [bob.id]]
        slapd.modify(group + f"delete: uniqueMember\nuniqueMember: uid=bob,ou=people,{BASE}\n")
        assert members() == [[bob.id], []]
    finally:
        store.close()


def test_a_template_needs_no_service_account(slapd: Slapd) -> None:
    changes = {"base": "", "bind_dn": "", "bind_password": "", "user_dn": f"uid={{local}},ou=people,{BASE}"}
    back_end = ldap(slapd, **changes)
    found = check(back_end, "alice@lab.example", ALICE)
    assert isinstance(found, Identity)
    assert found.name == "alice@lab.example"
    assert check(back_end, "alice", "another") is Refusal.NOT_MINE
    assert check(back_end, f"alice,ou=people,{BASE}", ALICE) is Refusal.NOT_MINE
    assert asyncio.run(back_end.lookup("alice")) is None


def test_referrals_are_not_followed(slapd: Slapd) -> None:
    assert isinstance(check(ldap(slapd, base=BASE), "alice", ALICE), Identity)
    with pytest.raises(BackendDown, match="referral"):
        check(ldap(slapd, base=f"ou=elsewhere,{BASE}"), "alice", ALICE)


def test_people_are_looked_up_without_their_password(slapd: Slapd) -> None:
    async def look(*names: str) -> list[Identity | Refusal | None]:
        back_end = ldap(slapd)
        return [await back_end.lookup(name) for name in names]

    found, nobody, locked = asyncio.run(look("alice@lab.example", "nobody@lab.example", "locked@lab.example"))
    assert isinstance(found, Identity)
    assert found.addresses is not None
    assert found.addresses[0] == "first@lab.example"
    assert (nobody, locked) == (Refusal.NOT_MINE, Refusal.WRONG)


def test_a_password_that_must_be_changed_opens_nothing(slapd: Slapd) -> None:
    slapd.modify(
        f"dn: uid=reset,ou=people,{BASE}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: reset\ncn: R\nsn: R\n"
        "mail: reset@lab.example\nuserPassword: first password\n"
    )
    slapd.modify(f"dn: uid=reset,ou=people,{BASE}\nchangetype: modify\nadd: pwdReset\npwdReset: TRUE\n")
    assert check(ldap(slapd), "reset", "first password") is Refusal.WRONG


def test_the_directory_locks_and_the_right_password_is_then_refused(slapd: Slapd) -> None:
    slapd.modify(
        f"dn: uid=guessed,ou=people,{BASE}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: guessed\ncn: G\nsn: G\n"
        "userPassword: guessed's password\n"
    )
    back_end = ldap(slapd)
    assert isinstance(check(back_end, "guessed", "guessed's password"), Identity)
    for number in range(4):
        assert check(back_end, "guessed", f"wrong {number}") is Refusal.WRONG
    assert check(back_end, "guessed", "guessed's password") is Refusal.WRONG


def test_two_hundred_sign_ins_at_once_are_all_answered(slapd: Slapd) -> None:
    async def many() -> list[Identity | Refusal]:
        back_end = ldap(slapd, timeout_seconds=60)
        return await asyncio.gather(
            *(back_end.check(Credentials("alice", ALICE, client=f"10.0.0.{i}")) for i in range(200))
        )

    assert all(isinstance(answer, Identity) for answer in asyncio.run(many()))


# --- the whole server with a directory --------------------------------------------------------------------------------


def collections_of(dav: Dav) -> int:
    return dav.request("PROPFIND", "/dav/", headers={"Depth": "0"}).status


def test_one_password_opens_the_calendar_and_a_change_counts(slapd: Slapd, tmp_path: Path) -> None:
    settings = {
        "auth": {"backends": "local ldap", "cache_seconds": "1", "grace_seconds": "0", "guard_free_failures": "50"},
        "auth_ldap": {
            "url": slapd.ldaps, "ca_file": str(slapd.ca), "base": f"ou=people,{BASE}",
            "bind_dn": SERVICE, "bind_password": SERVICE_PASSWORD, "timeout_seconds": "3",
        },
    }  # fmt: skip
    server = Server(tmp_path, settings=settings).start()
    try:
        alice, upper = Dav(server.base, "alice", ALICE), Dav(server.base, "ALICE@lab.example", ALICE)
        body = (
            '<propfind xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><prop><current-user-principal/>'
            "<C:calendar-user-address-set/></prop></propfind>"
        )
        [item] = items(alice.request("PROPFIND", "/dav/", body, {"Depth": "0"})).values()
        principal = item.text(D + "current-user-principal")
        assert principal.replace("%40", "@") == "/dav/principals/alice@lab.example/"
        [item] = items(upper.request("PROPFIND", principal, body, {"Depth": "0"})).values()
        assert item.text(D + "current-user-principal") == principal
        assert "mailto:first@lab.example" in item.text(C + "calendar-user-address-set")
        assert collections_of(Dav(server.base, "alice", "another")) == 401
        assert collections_of(Dav(server.base, "alice", "")) == 401
        assert collections_of(Dav(server.base, "locked", "locked's password")) == 401
        slapd.set_password("bob", "old password")
        bob = Dav(server.base, "bob", "old password")
        assert collections_of(bob) == 207
        slapd.set_password("bob", "new password")
        time.sleep(1.5)  # cache_seconds
        assert collections_of(bob) == 401
        assert collections_of(Dav(server.base, "bob", "new password")) == 207
        slapd.stop()
        away = Dav(server.base, "zoë", "pässwörd").request("PROPFIND", "/dav/", headers={"Depth": "0"})
        assert away.status == 503
        assert int(away.headers["retry-after"]) > 0
        slapd.start()
        deadline = time.monotonic() + 30
        while (status := collections_of(Dav(server.base, "zoë", "pässwörd"))) == 503:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert status == 207
        log = server.log.read_text("utf-8")
        assert "another" not in log
        assert SERVICE_PASSWORD not in log
    finally:
        if slapd.stopped:
            slapd.start()
        server.stop()


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_opens_the_calendar_and_clients_are_told_where_to_get_one(tmp_path: Path) -> None:
    authority = Authority(path="/realms/lab")
    settings = {
        "auth": {"backends": "local oauth2"},
        "auth_oauth2": {"issuer": authority.issuer, "audience": AUDIENCE, "scope": "dav"},
    }
    server = Server(tmp_path, settings={**settings, "server": {"public_url": "https://dav.example.org"}}).start()
    try:
        local = server.account("local@example.com")
        assert collections_of(local) == 207
        nobody = Dav(server.base, "", "")

        def bearer(token: str) -> Any:
            fields = {"Depth": "0", "Authorization": f"Bearer {token}"}
            return nobody.request("PROPFIND", "/dav/", headers=fields, auth=False)

        assert bearer(authority.token()).status == 207
        refused = bearer(authority.token(aud="elsewhere"))
        assert refused.status == 401
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]
        assert bearer("x" * 10).status == 401
        assert bearer(authority.token(exp=1_000_000_000)).status == 401
        unsigned = nobody.request("PROPFIND", "/dav/", headers={"Depth": "0"}, auth=False)
        assert unsigned.status == 401
        where = "https://dav.example.org/.well-known/oauth-protected-resource"
        challenge = unsigned.headers["www-authenticate"]
        assert challenge.startswith("Basic ")
        assert f'Bearer realm="Davenport", scope="dav", resource_metadata="{where}"' in challenge
        document = json.loads(nobody.request("GET", "/.well-known/oauth-protected-resource", auth=False).body)
        assert document["authorization_servers"] == [authority.issuer]
        assert document["resource"] == "https://dav.example.org/"
        log = server.log.read_text("utf-8")
        assert "eyJ" not in log  # how every JWT begins
    finally:
        server.stop()
        authority.close()


# --- a header of a proxy ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trusted", "status"), [("127.0.0.1", 207), ("10.9.9.9", 401)])
def test_a_header_is_believed_only_from_a_trusted_proxy(tmp_path: Path, trusted: str, status: int) -> None:
    settings = {"auth": {"backends": "proxy"}, "server": {"trusted_proxies": trusted}}
    server = Server(tmp_path, settings=settings).start()
    try:
        anybody = Dav(server.base, "", "")
        fields = {
            "Depth": "0", "X-Remote-User": "Alice@example.com", "X-Forwarded-For": "127.0.0.1",
            "X-Forwarded-Proto": "https",
        }  # fmt: skip
        answer = anybody.request("PROPFIND", "/dav/", headers=fields, auth=False)
        assert answer.status == status
        if status == 207:
            fields["X-Remote-User"] = "mallory, alice@example.com"
            assert anybody.request("PROPFIND", "/dav/", headers=fields, auth=False).status == 401
    finally:
        server.stop()


# --- PAM --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def system_user() -> Iterator[tuple[str, str, str]]:
    """(name, password, service): an account of this machine and a service of PAM, both removed at the end."""
    if not IN_CI:
        pytest.skip("makes an account on this machine, so only with DAVENPORT_OUTSIDE=1")
    if os.geteuid() != 0:
        missing("not root: no account can be made on this machine")
    for program in ("useradd", "userdel", "chpasswd"):
        need_program(program, "passwd")
    name, password, service = f"dvp{secrets.token_hex(4)}", "système's Wort", f"davenport-{secrets.token_hex(4)}"
    file = Path("/etc/pam.d") / service
    file.write_text("auth required pam_unix.so nodelay\naccount required pam_unix.so\n")
    try:
        subprocess.run(["useradd", "-M", "-s", "/usr/sbin/nologin", "-c", "Anna Admin,,,", name], check=True)
        subprocess.run(["chpasswd"], input=f"{name}:{password}\n".encode(), check=True)
        yield name, password, service
    finally:
        subprocess.run(["userdel", name], check=False)
        file.unlink()


def test_an_account_of_the_system_signs_in(system_user: tuple[str, str, str]) -> None:
    name, password, service = system_user
    back_end = Pam(AuthPamConfig(service=service, domain="lab.example"))
    address = f"{name}@lab.example"
    assert check(back_end, name, password) == Identity(address, "Anna Admin", (address,))
    assert check(back_end, f"{name}@Lab.example", password) == Identity(address, "Anna Admin", (address,))
    assert check(back_end, name, "another") is Refusal.WRONG
    assert check(back_end, "nosuch" + name, password) is Refusal.NOT_MINE
    assert asyncio.run(back_end.lookup(address)) == Identity(address, "Anna Admin", (address,))
    assert check(Pam(AuthPamConfig(service=service)), name, password) == Identity(name, "Anna Admin")
    assert check(Pam(AuthPamConfig(service=service, first_uid=2**31)), name, password) is Refusal.WRONG


def test_an_account_of_the_system_that_has_ended_is_refused(system_user: tuple[str, str, str]) -> None:
    name, password, service = system_user
    chage = shutil.which("chage")
    if chage is None:
        missing("chage is not installed (passwd)")
    back_end = Pam(AuthPamConfig(service=service))
    subprocess.run(["chage", "-E", "2001-01-01", name], check=True)
    try:
        assert check(back_end, name, password) is Refusal.WRONG
    finally:
        subprocess.run(["chage", "-E", "-1", name], check=True)
    assert isinstance(check(back_end, name, password), Identity)


def test_a_broken_service_of_pam_means_down(system_user: tuple[str, str, str]) -> None:
    name, password, _ = system_user
    service = f"davenport-{secrets.token_hex(4)}"
    file = Path("/etc/pam.d") / service
    file.write_text("auth required pam_no_such_module.so\naccount required pam_unix.so\n")
    try:
        with pytest.raises(BackendDown, match=service):
            check(Pam(AuthPamConfig(service=service)), name, password)
    finally:
        file.unlink()
