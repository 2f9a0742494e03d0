"""docs/mail.md and docs/accounts.md: what they tell people to paste is understood by the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dav import cli, config

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("mail.md", "accounts.md", "install.md")


def blocks(page: str) -> list[str]:
    """The indented blocks of a page. Blank lines between indented lines belong to a block."""
    found = re.findall(r"(?:^    .*\n|^\n(?=    ))+", (DOCS / page).read_text(), re.MULTILINE)
    return ["\n".join(line[4:] for line in block.strip("\n").split("\n")) for block in found]


SETTINGS = [
    pytest.param(block, id=f"{page}-{number}")
    for page in PAGES
    for number, block in enumerate(blocks(page))
    if re.match(rf"\[(?:{'|'.join(config.SECTIONS)})\]", block)
]


@pytest.mark.parametrize("block", SETTINGS)
def test_a_block_of_settings_is_understood(block: str, tmp_path: Path) -> None:
    file = tmp_path / "config.ini"
    file.write_text(block)
    loaded = config.load(str(file), {})
    for name in loaded.auth.backends:
        # A back end that is named has its section, so that nothing is left to guess.
        assert name == "local" or f"[auth_{name.replace('-', '_')}]" in block


def test_there_are_blocks_to_look_at() -> None:
    assert len(SETTINGS) >= 10


@pytest.mark.parametrize("page", ["mail.md", "accounts.md"])
def test_every_command_on_the_page_exists(page: str) -> None:
    known = {command.words for command in cli.COMMANDS}
    text = (DOCS / page).read_text()
    named = re.findall(r"^    davenport ([a-z-]+(?: [a-z-]+)*)|`davenport ([a-z-]+(?: [a-z-]+)*)", text, re.MULTILINE)
    for words in (first or second for first, second in named):
        parts = words.split()
        assert any(
            " ".join(parts[:count]) in known or any(one.startswith(f"{words} ") for one in known)
            for count in range(1, len(parts) + 1)
        ), words
    assert named
