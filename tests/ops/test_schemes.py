"""Password hashes of mail servers: the vectors that Dovecot verified, and what must never be taken for a password."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dav.auth import schemes
from dav.auth.schemes import BadHash, UnsupportedScheme, verify, verify_any
from dav.config import ConfigError

VECTORS = Path(__file__).resolve().parents[1] / "data" / "password_vectors.tsv"
SHA512 = "{SHA512-CRYPT}$6$rounds=1000$saltstring$"


def vectors() -> list[tuple[str, str, str, str]]:
    lines = VECTORS.read_text("utf-8").splitlines()[1:]
    rows = [tuple(line.split("\t")) for line in lines]
    return [(what, password, stored, answer) for what, password, stored, answer in rows]


def test_there_are_sixty_two_vectors() -> None:
    assert len(vectors()) == 62


@pytest.mark.parametrize(("what", "password", "stored", "answer"), vectors(), ids=[row[0] for row in vectors()])
def test_what_dovecot_verified_is_right_here_and_another_password_wrong(
    what: str, password: str, stored: str, answer: str
) -> None:
    if answer == "unsupported":
        with pytest.raises(UnsupportedScheme):
            verify(password, stored)
        return
    if any(prefix in stored for prefix in ("$y$", "$gy$", "$7$")) and schemes._crypt_r() is None:
        pytest.skip("this system has no crypt_r")
    assert verify(password, stored)
    # The first letter counts in every scheme; DES looks at eight characters, bcrypt at 72 bytes.
    assert not verify("!" + password[1:], stored)


@pytest.mark.parametrize(
    "stored", ["{CRYPT}*", "{CRYPT}!", "{CRYPT}", "{SHA512-CRYPT}*0", "*", "!", "!$6$a$b", "x", ""]
)
@pytest.mark.parametrize("password", ["secret", "*", "*0", "x", "!"])
def test_locked_accounts_have_no_password(stored: str, password: str) -> None:
    assert not verify(password, stored)


@pytest.mark.parametrize("password", ["", "\0", "sec\0ret", "x" * 1025])
@pytest.mark.parametrize("scheme", ["{PLAIN}", "{CLEARTEXT}"])
def test_empty_long_and_nul_passwords_are_never_right(password: str, scheme: str) -> None:
    assert not verify(password, scheme + password)


@pytest.mark.parametrize(
    "stored",
    [
        "{NOSUCH}x",
        "{PLAIN-MD4}67d3dafef63ff00603aeef3769cfbf0d",
        "{NTLM}878d8014606cda29677a44efa1353fc7",
        "{not a scheme}secret",
        "{secret",
        "secret",
        "{CRYPT}secret",
        "$3$$878d8014606cda29677a44efa1353fc7",
        "$argon2d$v=19$m=65536,t=3,p=1$mDkuPmO+k3A5xWXkevIM8Q$Sl8AB5AgOc4+tFPsD0X6mJoLdo/6J830N7+4qU+WYHw",
    ],
)
def test_what_names_no_known_scheme_is_no_plain_password(stored: str) -> None:
    for password in (stored, "secret", stored.rpartition("}")[2]):
        with pytest.raises(UnsupportedScheme):
            verify(password, stored)


@pytest.mark.parametrize(
    ("what", "password", "stored", "answer"),
    [row for row in vectors() if row[3] == "yes" and not row[2].startswith(("{PLAIN}", "{CLEAR"))],
    ids=lambda value: "",
)
def test_the_stored_string_itself_opens_nothing(what: str, password: str, stored: str, answer: str) -> None:
    # Whoever reads the table would sign in with it: what contexts with a plain-text fallback let happen.
    for sent in (stored, stored.partition("}")[2]):
        if sent:
            assert not verify(sent, stored)


@pytest.mark.parametrize(
    "stored",
    [
        "{PBKDF2}$pbkdf2$5000$a$b",
        "{PBKDF2}$1$salt$0$" + "0" * 40,
        "{SSHA}AAAA",
        "{SHA256}zz",
        "{SHA256.HEX}zz",
        "{SSHA512}",
        "{BLF-CRYPT}$2y$05$short",
        "{SHA512-CRYPT}$6$",
        "{MD5-CRYPT}$1$salt$",
        "$1$",
        "{SCRAM-SHA-256}4096,AA==,AA==,AA==",
        "{SCRAM-SHA-256}4096",
        "$bcrypt-sha256$v=2,t=2b,r=12$short",
        "$pbkdf2-sha256$1$a$b",
    ],
)
def test_damaged_hashes_are_said_to_be_so(stored: str) -> None:
    with pytest.raises((BadHash, UnsupportedScheme)):
        verify("secret", stored)


@pytest.mark.parametrize(
    "stored",
    [
        # What `doveadm pw -s ARGON2ID -r 5` makes: 1 GiB for each check.
        "{ARGON2ID}$argon2id$v=19$m=1048576,t=5,p=1$mDkuPmO+k3A5xWXkevIM8Q$Sl8AB5AgOc4+tFPsD0X6mJoLdo/6J830N7+4qU+WYHw",
        "{ARGON2ID}$argon2id$v=19$m=65536,t=999,p=1$mDkuPmO+k3A5xWXkevIM8Q$Sl8AB5AgOc4+tFPsD0X6mJoLdo/6J830N7+4qU+WYHw",
        "{SHA512-CRYPT}$6$rounds=999999999$saltstring$" + "A" * 86,
        "{PBKDF2}$1$salt$999999999$" + "0" * 40,
        "{PBKDF2-SHA512}999999999$c2FsdA==$c2FsdA==",
        "{SCRAM-SHA-1}999999999,vuj3kQAiiNbFKqAT2PwGdQ==,DGqn2h796wsuj2L6fDUAfjh1pqE=,Oreig2Be4DhalbkiMKFifI5RTXg=",
        "{BLF-CRYPT}$2y$31$" + "A" * 53,
        "{CRYPT}$y$jFT$92nnDBZYWGtrzuf46uJ4k0$" + "A" * 43,
        "{CRYPT}$y$j9T5$92nnDBZYWGtrzuf46uJ4k0$" + "A" * 43,
        "{CRYPT}$7$zU..../....salt$" + "A" * 43,
        "{CRYPT}$7$C...../....salt$".replace(".....", "zzzzz") + "A" * 43,
        "$pbkdf2-sha256$999999999$c2FsdA$" + "A" * 43,
        "{PLAIN}" + "x" * 5000,
    ],
)
def test_hashes_that_would_cost_too_much_are_refused_before_they_are_tried(stored: str) -> None:
    with pytest.raises(UnsupportedScheme):
        verify("secret", stored)


def test_bcrypt_takes_passwords_longer_than_it_looks_at() -> None:
    stored = next(stored for what, _, stored, _ in vectors() if what == "BLF-CRYPT, 80-byte password")
    assert verify("x" * 72, stored)
    assert verify("x" * 300, stored)
    assert not verify("x" * 71, stored)


def test_a_password_too_long_for_the_system_s_library_is_wrong_and_no_trouble() -> None:
    stored = next(stored for what, _, stored, _ in vectors() if "yescrypt" in what)
    if schemes._crypt_r() is None:
        pytest.skip("this system has no crypt_r")
    assert not verify("x" * 900, stored)


@pytest.mark.parametrize(
    ("password", "stored"),
    [
        # htpasswd's own, Mailu's, and FreeIPA's as mailcow imports it: made by openssl, libpass and hashlib.
        ("secret", "$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0"),
        ("secret", "$pbkdf2-sha256$1$c2FsdHNhbHQ$7q77FNs/69qVkPyRNSqXo6plaOX9a1Kyv7l1dRFK7ZE"),
        (
            "secret",
            (
                "{PBKDF2-SHA512}10000$c2FsdHNhbHQ=$EPayD5uUBTEtWAVc5A/BDE94P92z1URuIGFG"
                "9dqerao2JkZSst3YhD65O7HTph4C35dJC0A+v6qfI/hRXA+w1A=="
            ),
        ),
    ],
)
def test_hashes_of_web_servers_and_other_stacks_are_checked_too(password: str, stored: str) -> None:
    assert verify(password, stored)
    assert not verify(password + "!", stored)


def test_bcrypt_sha256_counts_what_bcrypt_alone_would_cut_off() -> None:
    from passlib.hash import bcrypt_sha256  # type: ignore[import-untyped]

    stored = bcrypt_sha256.using(rounds=4).hash("x" * 80)
    assert verify("x" * 80, stored)
    assert not verify("x" * 79, stored)
    assert not verify("x" * 72, stored)


def test_the_default_scheme_is_for_hashes_that_name_none() -> None:
    digest = "5ebe2294ecd0e0f08eab7690d2a6ee69"
    assert verify("secret", digest, default="PLAIN-MD5")
    assert not verify(digest, digest, default="PLAIN-MD5")
    assert verify("secret", "{PLAIN}secret", default="PLAIN-MD5")
    with pytest.raises(UnsupportedScheme):
        verify("secret", digest)
    assert schemes.usable_default("ssha512", "auth_sql") == "SSHA512"
    with pytest.raises(ConfigError, match=r"auth_sql\.default_scheme"):
        schemes.usable_default("md4", "auth_sql")


def test_one_of_several_app_passwords_is_enough_and_an_odd_hash_among_them_does_no_harm() -> None:
    hashes = ["{NTLM}878d8014606cda29677a44efa1353fc7", "{PLAIN}one", "{PLAIN}two"]
    assert verify_any("two", hashes)
    assert verify_any("one", hashes)
    # It may have been the password of the one that cannot be checked: nobody can tell.
    with pytest.raises(UnsupportedScheme):
        verify_any("three", hashes)
    assert not verify_any("three", hashes[1:])
    assert not verify_any("three", [])


def test_letters_with_separate_accents_are_the_same_password() -> None:
    composed, decomposed = "p\u00e4ss", "pa\u0308ss"
    assert verify_any(decomposed, ["{PLAIN}" + composed])
    assert verify_any(decomposed, ["{PLAIN}" + decomposed])
    assert not verify(decomposed, "{PLAIN}" + composed)


def test_messages_never_show_the_hash() -> None:
    for stored in ("{NTLM}878d8014", "{SHA256}878d8014", "{SSHA}AAAA", "878d8014"):
        with pytest.raises((UnsupportedScheme, BadHash)) as caught:
            verify("secret", stored)
        assert "878d8014" not in str(caught.value)
        assert "secret" not in str(caught.value)


PREFIXES = st.sampled_from(
    [
        *(f"{{{name}}}" for name in schemes.SCHEMES),
        *(f"{{{name}.hex}}" for name in ("SHA256", "SSHA", "PLAIN", "BLF-CRYPT")),
        *("{PLAIN.B64}", "{", "{}", "{x", ""),
    ]
)
HEADS = st.sampled_from(
    [
        "",
        "$1$",
        "$2y$05$",
        "$5$",
        "$6$rounds=1000$",
        "$y$j",
        "$gy$",
        "$7$",
        "$argon2id$v=19$m=8,t=1,p=1$",
        "$apr1$",
        "_",
        "$bcrypt-sha256$v=2,t=2b,r=04$",
        "$pbkdf2-sha256$1$",
        "1,",
        "1$",
        "$1$salt$1$",
    ]
)
TAILS = st.one_of(st.text(max_size=80), st.text("./0123456789abcdefABCDEF$=,+", max_size=90))


@settings(max_examples=300, deadline=None)
@given(
    prefix=PREFIXES,
    head=HEADS,
    tail=TAILS,
    password=st.text(max_size=40),
    default=st.sampled_from(list(schemes.SCHEMES)),
)
def test_whatever_is_stored_the_answer_is_yes_no_or_one_of_the_two_errors(
    prefix: str, head: str, tail: str, password: str, default: str
) -> None:
    stored = prefix + head + tail
    # Another error than these two fails the test.
    with contextlib.suppress(UnsupportedScheme, BadHash):
        answer = verify(password, stored, default=default)
        assert answer in (True, False)
        if answer and password == stored:
            assert default in ("PLAIN", "CLEAR", "CLEARTEXT")
