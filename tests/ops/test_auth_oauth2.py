"""Signing in with tokens: whose are believed, whose are not, and what happens when the authority is away."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from dav import config as settings
from dav.auth import oauth2
from dav.auth.backend import BackendDown, Credentials, Identity, Refusal
from dav.auth.oauth2 import OAuth2, challenges, metadata, parse_bearer
from dav.config import AuthConfig, AuthOAuth2Config, Config, ConfigError, ServerConfig

from ..authority import AUDIENCE, CLIENT_ID, CLIENT_SECRET, Authority, json_answer
from ..certificates import make_certificates


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def shared_authority() -> Iterator[Authority]:
    running = Authority(path="/realms/home")
    yield running
    running.close()


@pytest.fixture
def authority(shared_authority: Authority) -> Iterator[Authority]:
    keys = list(shared_authority.keys)
    shared_authority.asked.clear()
    yield shared_authority
    shared_authority.keys[:] = keys
    shared_authority.said.clear()
    shared_authority.answers.clear()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def backend(authority: Authority, clock: Clock | None = None, **changes: Any) -> OAuth2:
    config = AuthOAuth2Config(issuer=authority.issuer, audience=(AUDIENCE,), timeout_seconds=2)
    return OAuth2(replace(config, **changes), clock=clock or Clock())


def asking(authority: Authority, **changes: Any) -> OAuth2:
    values = {"method": "introspection", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "audience": ()}
    return backend(authority, **{**values, **changes})


def check(back_end: OAuth2, *given: Credentials | str) -> list[Identity | Refusal]:
    """The answers to tokens (or credentials), one after the other."""

    async def run() -> list[Identity | Refusal]:
        try:
            return [
                await back_end.check(one if isinstance(one, Credentials) else Credentials(token=one)) for one in given
            ]
        finally:
            await back_end.close()

    return asyncio.run(run())


# --- by the keys ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_token_that_the_issuer_signed_is_its_person(authority: Authority, algorithm: str) -> None:
    [found] = check(backend(authority), authority.token(algorithm=algorithm))
    assert isinstance(found, Identity)
    assert (found.name, found.display_name) == ("alice@example.com", "Alice Example")
    assert found.addresses == ("alice@example.com",)
    assert found.until_s is not None
    assert abs(found.until_s - time.time() - 300 - oauth2.LEEWAY_S) < 30


@pytest.mark.parametrize(
    ("changes", "headers"),
    [
        ({"exp": 1_000_000_000}, {}),
        ({"exp": None}, {}),
        ({"exp": "soon"}, {}),
        ({"nbf": 9_999_999_999}, {}),
        ({"aud": "somebody else"}, {}),
        ({"aud": None}, {}),
        ({"email_verified": False}, {}),
        ({"email": None}, {}),
        ({"email": 7}, {}),
        ({"email": "a\nb@example.com"}, {}),
        ({}, {"crit": ["x"], "x": 1}),
        ({}, {"typ": "logout+jwt"}),
        ({}, {"kid": "ec"}),
        ({}, {"kid": "unknown"}),
    ],
)
def test_a_token_that_is_not_for_here_and_now_is_refused(
    authority: Authority, changes: dict[str, Any], headers: dict[str, Any]
) -> None:
    assert check(backend(authority), authority.token(headers=headers, **changes)) == [Refusal.WRONG]


def test_clocks_may_differ_by_a_minute(authority: Authority) -> None:
    now = int(time.time())
    found, late = check(backend(authority), authority.token(exp=now - 30), authority.token(exp=now - 90))
    assert isinstance(found, Identity)
    assert late is Refusal.WRONG


def test_a_token_of_another_issuer_is_left_to_other_back_ends(authority: Authority) -> None:
    other = authority.token(iss="https://elsewhere.example")
    assert check(backend(authority), other, "opaque", "", "a b", "x" * 20_000) == [Refusal.NOT_MINE] * 5


def test_a_signature_by_somebody_else_is_refused(authority: Authority) -> None:
    stranger = rsa.generate_private_key(65537, 2048)
    forged = jwt.encode(authority.claims(), stranger, algorithm="RS256", headers={"kid": "rsa"})
    assert check(backend(authority), forged) == [Refusal.WRONG]


def test_changed_claims_are_refused(authority: Authority) -> None:
    head, body, signature = authority.token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["email"] = "bob@example.com"
    changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    assert check(backend(authority), f"{head}.{changed}.{signature}") == [Refusal.WRONG]


def test_none_and_keys_used_as_passwords_are_never_believed(authority: Authority) -> None:
    none = jwt.encode(authority.claims(), None, algorithm="none")  # its third part is empty
    public = authority.rsa.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    import hashlib
    import hmac

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    signed = ".".join(part(json.dumps(x).encode()) for x in ({"alg": "HS256", "kid": "rsa"}, authority.claims()))
    confused = f"{signed}.{part(hmac.new(public, signed.encode(), hashlib.sha256).digest())}"
    answers = check(backend(authority), none, none + "AA", confused)
    assert not any(isinstance(answer, Identity) for answer in answers)
    assert answers[1:] == [Refusal.WRONG, Refusal.WRONG]


def test_no_setting_allows_an_algorithm_with_a_shared_secret() -> None:
    for name in ("HS256", "none", "rs256"):
        with pytest.raises(ConfigError, match="algorithms"):
            settings.load(None, {"DAVENPORT_AUTH_OAUTH2_ALGORITHMS": name})


def test_an_algorithm_that_is_not_allowed_is_refused(authority: Authority) -> None:
    narrow = backend(authority, algorithms=("ES256",))
    assert check(narrow, authority.token(algorithm="RS256")) == [Refusal.WRONG]
    assert authority.asked == []


def test_a_key_with_another_purpose_or_a_short_one_proves_nothing(authority: Authority) -> None:
    short = rsa.generate_private_key(65537, 1024)
    with pytest.warns(UserWarning, match="below the minimum"):
        token = jwt.encode(authority.claims(), short, algorithm="RS256", headers={"kid": "short"})
    authority.keys.append({**RSAAlgorithm.to_jwk(short.public_key(), as_dict=True), "kid": "short"})
    authority.keys[0] = {**authority.keys[0], "use": "enc"}
    assert check(backend(authority), token, authority.token()) == [Refusal.WRONG, Refusal.WRONG]


def test_without_kid_each_fitting_key_is_tried(authority: Authority) -> None:
    other = rsa.generate_private_key(65537, 2048)
    authority.keys.insert(0, {**RSAAlgorithm.to_jwk(other.public_key(), as_dict=True), "kid": "older"})
    token = jwt.encode(authority.claims(), authority.rsa, algorithm="RS256")
    [found] = check(backend(authority), token)
    assert isinstance(found, Identity)


def test_keys_are_fetched_once_for_many_tokens(authority: Authority) -> None:
    back_end = backend(authority)

    async def run() -> list[Identity | Refusal]:
        answers = await asyncio.gather(
            *(back_end.check(Credentials(token=authority.token(jti=str(i)))) for i in range(20))
        )
        await back_end.close()
        return answers

    assert all(isinstance(answer, Identity) for answer in asyncio.run(run()))
    assert authority.asked == ["/realms/home/.well-known/openid-configuration", "/realms/home/keys"]


def test_a_new_key_is_found_and_made_up_key_names_do_not_hammer_the_authority(
    authority: Authority, clock: Clock
) -> None:
    back_end = backend(authority, clock)
    keys = authority.keys[:]
    authority.keys[:] = keys[1:]
    assert check(back_end, authority.token(), *(authority.token(headers={"kid": f"x{i}"}) for i in range(10)))[0] is (
        Refusal.WRONG
    )
    assert authority.asked.count("/realms/home/keys") == 1
    authority.keys[:] = keys
    clock.now += oauth2.KEYS_AGAIN_S + 1
    [found] = check(back_end, authority.token())
    assert isinstance(found, Identity)
    assert authority.asked.count("/realms/home/keys") == 2


def test_an_authority_that_is_away_means_down_and_known_keys_go_on_for_a_day(
    authority: Authority, clock: Clock
) -> None:
    back_end = backend(authority, clock)
    authority.answers["/keys"] = lambda: json_answer({}, 503)
    with pytest.raises(BackendDown, match="answers 503"):
        check(back_end, authority.token())
    del authority.answers["/keys"]
    clock.now += 2
    assert isinstance(check(back_end, authority.token())[0], Identity)
    authority.answers["/keys"] = lambda: json_answer({}, 503)
    clock.now += oauth2.KEYS_STALE_S - 10
    assert isinstance(check(back_end, authority.token())[0], Identity)
    clock.now += 100
    with pytest.raises(BackendDown):
        check(back_end, authority.token())


@pytest.mark.parametrize(
    "answer",
    [
        lambda: (302, {"Location": "http://localhost:1/"}, b""),
        lambda: (200, {}, b"no json"),
        lambda: (200, {}, b"[" * 100_000),
        lambda: (200, {}, b"[]"),
        lambda: (200, {}, b'{"keys": {}}'),
        lambda: (200, {}, b'{"keys": [' + b" " * 300_000 + b"]}"),
        lambda: json_answer({"keys": [{}] * 101}),
    ],
)
def test_what_is_no_key_set_means_down(authority: Authority, answer: Any) -> None:
    authority.answers["/keys"] = answer
    with pytest.raises(BackendDown):
        check(backend(authority), authority.token())


def test_an_authority_that_does_not_answer_is_given_up(authority: Authority) -> None:
    def slow() -> Any:
        time.sleep(1.5)
        return json_answer({})

    authority.answers["/keys"] = slow
    started = time.monotonic()
    with pytest.raises(BackendDown, match="within 1 seconds"):
        check(backend(authority, timeout_seconds=1), authority.token())
    assert time.monotonic() - started < 5


def test_a_document_of_another_issuer_is_not_followed(authority: Authority) -> None:
    document = {"issuer": "https://elsewhere.example", "jwks_uri": f"{authority.issuer}/keys"}
    authority.answers["/.well-known/openid-configuration"] = lambda: json_answer(document)
    with pytest.raises(BackendDown, match="another issuer"):
        check(backend(authority), authority.token())


def test_the_authority_is_reached_by_https_with_its_certificate_verified(tmp_path: Path) -> None:
    made = make_certificates(tmp_path / "one", "localhost")
    other = make_certificates(tmp_path / "other", "localhost")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(made.chain, made.key)
    authority = Authority(tls=tls)
    try:
        [found] = check(backend(authority, ca_file=str(made.ca)), authority.token())
        assert isinstance(found, Identity)
        with pytest.raises(BackendDown, match="certificate"):
            check(backend(authority, ca_file=str(other.ca)), authority.token())
    finally:
        authority.close()


# --- by asking --------------------------------------------------------------------------------------------------------


def test_introspection_decides(authority: Authority) -> None:
    authority.said["good"] = {"active": True, "email": "Alice@example.com", "exp": int(time.time()) + 60}
    authority.said["odd"] = {"active": "true", "email": "alice@example.com"}
    found, bad, odd = check(asking(authority), "good", "bad", "odd")
    assert isinstance(found, Identity)
    assert found.name == "alice@example.com"
    assert (bad, odd) == (Refusal.WRONG, Refusal.WRONG)


@pytest.mark.parametrize(
    "changes", [{"exp": 1_000_000_000}, {"nbf": 9_999_999_999}, {"iss": "https://e.example"}, {"aud": "x"}, {"aud": 7}]
)
def test_an_active_token_for_elsewhere_or_another_time_is_refused(
    authority: Authority, changes: dict[str, Any]
) -> None:
    good = {"active": True, "email": "alice@example.com", "aud": [AUDIENCE, "others"]}
    authority.said.update(good=good, bad={**good, **changes})
    found, bad = check(asking(authority, audience=(AUDIENCE,)), "good", "bad")
    assert isinstance(found, Identity)
    assert bad is Refusal.WRONG


def test_an_authority_that_refuses_us_means_down_not_wrong(authority: Authority) -> None:
    authority.said["good"] = {"active": True, "email": "alice@example.com"}
    with pytest.raises(BackendDown, match="answers 401"):
        check(asking(authority, client_secret="another"), "good")


def test_the_scope_is_demanded(authority: Authority) -> None:
    with_scope = backend(authority, scope="dav")
    found, other, none = check(
        with_scope, authority.token(), authority.token(scope="davx openid"), authority.token(scope=None)
    )
    assert isinstance(found, Identity)
    assert (other, none) == (Refusal.WRONG, Refusal.WRONG)


def test_claims_for_name_and_addresses_are_settings(authority: Authority) -> None:
    changes = {
        "name_claims": ("upn", "preferred_username"),
        "address_claims": ("email", "others"),
        "display_name_claims": ("nick", "name"),
    }
    token = authority.token(preferred_username="Alice", others=["A2@example.com", 7, "no address", "a2@EXAMPLE.com"])
    [found] = check(backend(authority, **changes), token)
    assert isinstance(found, Identity)
    assert (found.name, found.addresses) == ("alice", ("alice@example.com", "a2@example.com"))


# --- in place of a password -------------------------------------------------------------------------------------------


def test_a_token_as_password_must_belong_to_the_login(authority: Authority) -> None:
    token = authority.token()
    back_end = backend(authority, as_password=True)
    found, other, password = check(
        back_end,
        Credentials("ALICE@example.com", password=token),
        Credentials("bob@example.com", password=token),
        Credentials("alice@example.com", password="an ordinary password"),
    )
    assert isinstance(found, Identity)
    assert (other, password) == (Refusal.WRONG, Refusal.NOT_MINE)
    assert back_end.kinds == {"token", "password"}
    assert backend(authority).kinds == {"token"}


# --- settings and what clients are told -------------------------------------------------------------------------------


def test_what_is_missing_is_said_at_the_start() -> None:
    for config, word in [
        (AuthOAuth2Config(), "issuer"),
        (AuthOAuth2Config(issuer="https://a.example"), "audience"),
        (AuthOAuth2Config(issuer="https://a.example", method="introspection"), "client_secret"),
        (AuthOAuth2Config(issuer="https://a.example", audience=("x",), ca_file="/nowhere"), "ca_file"),
        (AuthOAuth2Config(issuer="https://a.example", audience=("x",), client_secret_file="/nowhere"), "secret_file"),
    ]:
        with pytest.raises(ConfigError, match=word):
            OAuth2(config, clock=Clock())


@pytest.mark.parametrize("url", ["http://id.example.org", "https://u:geheim@id.example.org", "ftp://x", "https://"])
def test_an_issuer_that_is_not_safe_is_refused_without_repeating_secrets(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings.load(None, {"DAVENPORT_AUTH_OAUTH2_ISSUER": url})
    assert "geheim" not in str(caught.value)


def test_the_secret_is_read_from_a_file_relative_to_the_settings(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "secret").write_text(CLIENT_SECRET + "\nmore\n", "utf-8")
    (tmp_path / "config.ini").write_text(
        f"[auth_oauth2]\nissuer = {authority.issuer}\nmethod = introspection\nclient_id = {CLIENT_ID}\n"
        "client_secret_file = secret\n"
    )
    loaded = settings.load(str(tmp_path / "config.ini"), {})
    authority.said["good"] = {"active": True, "email": "alice@example.com"}
    [found] = check(OAuth2(loaded.auth_oauth2, clock=Clock()), "good")
    assert isinstance(found, Identity)


def test_challenges_name_scope_and_metadata_only_when_tokens_are_taken() -> None:
    assert challenges(Config()) == ()
    config = replace(
        Config(),
        auth=AuthConfig(backends=("local", "oauth2")),
        server=ServerConfig(public_url="https://dav.example.org", base_path="/d"),
        auth_oauth2=AuthOAuth2Config(issuer="https://id.example.org", scope="dav"),
    )
    where = "https://dav.example.org/d/.well-known/oauth-protected-resource"
    assert challenges(config) == (f'Bearer realm="Davenport", scope="dav", resource_metadata="{where}"',)
    assert 'error="invalid_token"' in challenges(config, refused=True)[0]
    document = json.loads(metadata(config, "http://forged.example"))
    assert document["resource"] == "https://dav.example.org/d/"
    assert document["authorization_servers"] == ["https://id.example.org"]
    nowhere = replace(config, server=ServerConfig())
    assert challenges(nowhere) == ('Bearer realm="Davenport", scope="dav"',)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc.d_e-f~+/==", "abc.d_e-f~+/=="),
        ("bearer  abc", "abc"),
        ("Bearer", ""),
        ("Bearer a b", ""),
        ("Bearer a,b", ""),
        ("Bearer " + "x" * 20_000, ""),
        ("Basic abc", None),
        ("", None),
        ("Bearerx abc", None),
    ],
)
def test_the_header_is_read(header: str, token: str | None) -> None:
    assert parse_bearer(header) == token


NOBODY = OAuth2(AuthOAuth2Config(issuer="https://a.example", audience=("x",)), clock=Clock())


@given(st.text(max_size=60), st.text(alphabet="abc.=-_ey", max_size=60))
def test_no_text_is_taken_for_a_token_or_makes_the_reader_fail(header: str, token: str) -> None:
    parse_bearer("Bearer " + header)
    answer = NOBODY.check(Credentials(token=token))
    with pytest.raises(StopIteration) as done:
        answer.send(None)  # decided without waiting for anybody
    assert done.value.value is Refusal.NOT_MINE
