"""Settings: where they come from, how they are read, and what the messages say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dav import config
from dav.config import Config, ConfigError


def load(tmp_path: Path, text: str, **environ: str) -> Config:
    path = tmp_path / "config.ini"
    path.write_text(text, "utf-8")
    return config.load(str(path), environ)


def refusal(tmp_path: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, **environ)
    return str(caught.value)


def test_without_a_file_the_defaults_count_and_the_database_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "SYSTEM_PATH", tmp_path / "none.ini")
    found = config.load(None, {})
    assert found.path is None
    assert (found.server, found.limits, found.auth) == (Config().server, Config().limits, Config().auth)
    assert found.database.url == f"sqlite:///{tmp_path}/davenport.db"
    assert found.database.files == f"{tmp_path}/davenport.files"


def test_a_file_is_found_here_before_the_system_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "system.ini").write_text("[server]\nport = 2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "SYSTEM_PATH", tmp_path / "system.ini")
    assert config.load(None, {}).server.port == 2
    (tmp_path / "config.ini").write_text("[server]\nport = 1\n")
    assert config.load(None, {}).server.port == 1
    (tmp_path / "other.ini").write_text("[server]\nport = 3\n")
    assert config.load(None, {"DAVENPORT_CONFIG": "other.ini"}).server.port == 3
    assert config.load("system.ini", {"DAVENPORT_CONFIG": "other.ini"}).server.port == 2


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        """\ufeff; a comment
        [server]
        host = ::1
        port=8080
        trusted_proxies = 10.0.0.0/8, ::1
        public_url = https://dav.example.org:8443/
        base_path = /cal/
        [directory]
        visible = no
        [limits]
        resource_bytes = 500 KiB
        [log]
        level = DEBUG
        """,
    )
    assert (found.server.host, found.server.port) == ("::1", 8080)
    assert found.server.trusted_proxies == ("10.0.0.0/8", "::1")
    assert (found.server.public_url, found.server.base_path) == ("https://dav.example.org:8443", "/cal")
    assert found.directory.visible is False
    assert found.limits.resource_bytes == 512_000
    assert found.log.level == "debug"


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    found = load(tmp_path, "[server]\nport = 1\n", DAVENPORT_SERVER_PORT="2", DAVENPORT_SERVER_TRUSTED_PROXIES="")
    assert (found.server.port, found.server.trusted_proxies) == (2, ())


def test_variables_of_others_are_left_alone(tmp_path: Path) -> None:
    # Container platforms make DAVENPORT_PORT and the like for a service of this name; the tests have their own.
    others = {"DAVENPORT_PORT": "tcp://10.0.0.1:80", "DAVENPORT_TEST_PG": "x", "DAVENPORT_SHARED": "x", "PATH": "/bin"}
    assert load(tmp_path, "", **others).server == Config().server


def test_an_unknown_variable_of_a_known_section_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "", DAVENPORT_SERVER_PROT="1")
    assert "DAVENPORT_SERVER_PROT" in message
    assert "did you mean 'port'?" in message


def test_a_bad_variable_is_named(tmp_path: Path) -> None:
    assert "environment variable DAVENPORT_SERVER_PORT: " in refusal(tmp_path, "", DAVENPORT_SERVER_PORT="http")


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("[server]\n\nprot = 1\n", 3, "did you mean 'port'?"),
        ("[servre]\n", 1, "did you mean 'server'?"),
        ("[server]\nrealm = x\n", 2, "it belongs in [auth]"),
        ("[server]\nzzz = x\n", 2, "known: host, port"),
        ("[zzz]\n", 1, "known: server, database"),
        ("port = 1\n", 1, "before the first [section]"),
        ("[server]\nport\n", 2, "neither [section] nor key = value"),
        ("[server\nport = 1\n", 1, "alone on its line"),
        ("[server]\nport = 1\n# x\nport = 2\n", 4, "was set before, on line 2"),
        ("[server]\nport = 70000\n", 2, "from 0 to 65535"),
        ("[server]\nport = -1\n", 2, "a whole number"),
        ("[server]\nport = 1_0\n", 2, "a whole number"),
        ("[server]\nport =\n", 2, "a whole number"),
        ("[server]\nhost =\n", 2, "an address or host name"),
        ("[server]\ntrusted_proxies = localhost\n", 2, "neither an IP address nor a network"),
        ("[server]\npublic_url = dav.example.org\n", 2, "https://dav.example.org"),
        ("[server]\npublic_url = https://a@b/\n", 2, "https://dav.example.org"),
        ("[server]\npublic_url = https://b/dav\n", 2, "server.base_path"),
        ("[server]\nbase_path = dav\n", 2, "/davenport"),
        ("[server]\nbase_path = /a/../b\n", 2, "cannot be part of it"),
        ("[limits]\nresource_bytes = 10 MBit\n", 2, "10 MiB"),
        ("[limits]\nresource_bytes = 1\n", 2, "from 16 KiB to 256 MiB"),
        ("[log]\nlevel = inf\n", 2, "did you mean 'info'?"),
        ("[auth]\nbackends = lokal\n", 2, "did you mean 'local'?"),
        ("[auth]\nbackends =\n", 2, "one or more"),
        ('[auth]\nrealm = a"b\n', 2, "printable ASCII"),
        ("[directory]\nvisible = maybe\n", 2, "yes or no"),
        ("[database]\nurl = mysql://x\n", 2, "SQLite and PostgreSQL"),
        ("[database]\nurl = sqlite://\n", 2, "a file is needed"),
        ("[database]\nurl = sqlite:///:memory:\n", 2, "a file is needed"),
        ("[database]\nurl = davenport.db\n", 2, "a URL is needed"),
        ("[database]\nfiles = a\0b\n", 2, "NUL"),
    ],
)
def test_a_mistake_is_refused_with_its_line_and_a_hint(tmp_path: Path, text: str, line: int, hint: str) -> None:
    message = refusal(tmp_path, text)
    assert message.startswith(f"{tmp_path / 'config.ini'}:{line}: ")
    assert hint in message


def test_a_password_in_a_bad_database_url_is_not_repeated(tmp_path: Path) -> None:
    assert "hunter2" not in refusal(tmp_path, "[database]\nurl = mysql://u:hunter2@h/d\n")


def test_bytes_that_are_not_utf_8_are_refused_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "config.ini").write_bytes(b"[server]\n# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"config\.ini:2: this line is not UTF-8"):
        config.load(str(tmp_path / "config.ini"), {})


def test_a_missing_or_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(str(tmp_path / "none.ini"), {})
    (tmp_path / "huge.ini").write_bytes(b"#" * (config.FILE_BYTES_MAX + 1))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        config.load(str(tmp_path / "huge.ini"), {})


def test_paths_count_from_the_file_s_folder(tmp_path: Path) -> None:
    found = load(tmp_path, "[database]\nurl = sqlite:///data/x.db\n[server]\ncertificate = a.pem\nkey = /k.pem\n")
    assert found.database.url == f"sqlite:///{tmp_path}/data/x.db"
    assert found.database.files == f"{tmp_path}/data/x.files"
    assert (found.server.certificate, found.server.key) == (f"{tmp_path}/a.pem", "/k.pem")


def test_an_absolute_database_stays_where_it_is(tmp_path: Path) -> None:
    found = load(tmp_path, "[database]\nurl = sqlite:////srv/x.db\nfiles = blobs\n")
    assert (found.database.url, found.database.files) == ("sqlite:////srv/x.db", f"{tmp_path}/blobs")


def test_postgresql_gets_its_driver_and_a_folder(tmp_path: Path) -> None:
    found = load(tmp_path, "[database]\nurl = postgresql://u:p@h/d\n")
    assert found.database.url == "postgresql+psycopg://u:p@h/d"
    assert found.database.files == f"{tmp_path}/davenport.files"


def test_certificate_and_key_are_set_together(tmp_path: Path) -> None:
    assert "together" in refusal(tmp_path, "[server]\nkey = k.pem\n")


def test_settings_cannot_be_changed_after_loading() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().server.port = 1  # type: ignore[misc]


def test_a_variable_belongs_to_the_longest_section_that_it_names() -> None:
    loaded = config.load(None, {"DAVENPORT_AUTH_SQL_PRESET": "postfixadmin", "DAVENPORT_AUTH_CACHE_SECONDS": "7"})
    assert (loaded.auth_sql.preset, loaded.auth.cache_seconds) == ("postfixadmin", 7)
