"""Readers of settings: text → value, or ValueError with the end of the sentence "bad value for key: …"."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


class ConfigError(Exception):
    """A setting cannot be used. The message names the file and line, or the environment variable."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How one kind of value is read and written. read: text → value or ValueError. show: value → text."""

    read: Callable[[str], Any]
    show: Callable[[Any], str] = str


def number(low: int, high: int) -> Reader:
    def read(text: str) -> int:
        # Only ASCII digits: int() would also take "1_000" and digits of other scripts.
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise ValueError(f"a whole number from {low} to {high} is needed")
        value = int(text)
        if not low <= value <= high:
            raise ValueError(f"it must be from {low} to {high}")
        return value

    return Reader(read)


_UNITS = {"": 1, "b": 1, "kib": KIB, "mib": MIB, "gib": GIB, "kb": 1000, "mb": 1000**2, "gb": 1000**3}


def _read_size(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        match = re.fullmatch(r"([0-9]{1,15})\s*([A-Za-z]*)", text)
        if match is None or match[2].lower() not in _UNITS:
            raise ValueError("a size such as 500 KiB, 10 MiB or 2 GiB is needed")
        value = int(match[1]) * _UNITS[match[2].lower()]
        if not low <= value <= high:
            raise ValueError(f"it must be from {show_size(low)} to {show_size(high)}")
        return value

    return read


def show_size(value: int) -> str:
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if value >= unit and value % unit == 0:
            return f"{value // unit} {name}"
    return str(value)


def size(low: int, high: int) -> Reader:
    return Reader(_read_size(low, high), show_size)


def _read_flag(text: str) -> bool:
    if text.lower() in ("yes", "true", "on", "1"):
        return True
    if text.lower() in ("no", "false", "off", "0"):
        return False
    raise ValueError("yes or no is needed")


FLAG = Reader(_read_flag, lambda value: "yes" if value else "no")


def _read_text(text: str) -> str:
    return text


TEXT = Reader(_read_text)


# A file: a relative one counts from the folder of the settings file (`_resolve`).
PATH = Reader(_read_text, str)


def words_of(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text) if word]


def choices(*names: str) -> Reader:
    def read(text: str) -> tuple[str, ...]:
        words = tuple(words_of(text))
        for word in words:
            if word not in names:
                raise ValueError(f"{word!r} is not known; {one_of(names)}{nearest(word, names)}")
        if not words or len(set(words)) != len(words):
            raise ValueError("one or more different names are needed")
        return words

    return Reader(read, " ".join)


def choice(*names: str) -> Reader:
    def read(text: str) -> str:
        if text.lower() not in names:
            raise ValueError(f"{one_of(names)} is needed{nearest(text.lower(), names)}")
        return text.lower()

    return Reader(read)


def read_host(text: str) -> str:
    if not text or len(text) > 255 or re.search(r"[\s/@]", text):
        raise ValueError("an address or host name to listen on is needed, such as 127.0.0.1, 0.0.0.0 or ::")
    return text.strip("[]")


def names_of(pattern: str, sentence: str, *, least: int = 0) -> Reader:
    def read(text: str) -> tuple[str, ...]:
        words = tuple(words_of(text))
        if len(words) < least or len(words) > 20 or not all(re.fullmatch(pattern, word) for word in words):
            raise ValueError(sentence)
        return words

    return Reader(read, " ".join)


def one_of(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def nearest(word: str, names: tuple[str, ...] | list[str]) -> str:
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def option(default: Any, reader: Reader, doc: str) -> Any:
    return field(default=default, metadata={"reader": reader, "doc": doc})


def read_server(text: str) -> str:
    if text and (len(text) > 255 or not re.fullmatch(r"[A-Za-z0-9._:\[\]-]+", text)):
        raise ValueError("a host name or address is needed, such as mail.example.org")
    return text.strip("[]")
