"""config.example.ini says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from dav import config
from dav.config import Config

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_file_is_the_one_that_the_code_prints() -> None:
    assert (ROOT / "config.example.ini").read_text("utf-8") == config.example()


def test_the_example_as_it_is_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.ini"
    path.write_text(config.example(), "utf-8")
    found = config.load(str(path), {})
    assert (found.server, found.limits, found.auth, found.log) == (
        Config().server,
        Config().limits,
        Config().auth,
        Config().log,
    )


def test_every_default_in_the_example_is_read_back_as_the_default(tmp_path: Path) -> None:
    path = tmp_path / "config.ini"
    uncommented, count = re.subn(r"(?m)^#(?=[a-z_]+ =)", "", config.example())
    path.write_text(uncommented, "utf-8")
    found = config.load(str(path), {})
    assert count == sum(len(kind.__dataclass_fields__) for kind in config.SECTIONS.values())
    for section in config.SECTIONS:
        if section != "database":
            assert getattr(found, section) == getattr(Config(), section)
