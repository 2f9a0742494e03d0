"""Reading another program's configuration files: bounded, below a root, and never more than looking."""

from __future__ import annotations

import glob
import stat
from dataclasses import dataclass, field
from pathlib import Path

# Nobody's configuration is larger; what is may be something else with such a name.
FILE_BYTES_MAX = 1 << 20
FILES_MAX = 500


@dataclass(frozen=True, slots=True)
class Text:
    """A file that was read. path: as the machine itself calls it, whatever the root."""

    path: str
    lines: tuple[str, ...]

    def at(self, number: int) -> str:
        """Where line `number` (from 1) stands: "/etc/postfix/main.cf:12"."""
        return f"{self.path}:{number}"


@dataclass(slots=True)
class Machine:
    """The file system to look at: root is where its "/" lies. unreadable: what was there and could not be read."""

    root: Path
    unreadable: list[str] = field(default_factory=list)
    _count: int = 0

    def under(self, path: str) -> Path:
        """Where the machine's absolute path lies for us."""
        return self.root / path.lstrip("/")

    def read(self, path: str) -> Text | None:
        """The lines of a regular file; None when there is none, it is too large, or may not be read."""
        real = self.under(path)
        try:
            # A pipe or a device would block.
            if not stat.S_ISREG(real.stat().st_mode):
                return None
            self._count += 1
            if self._count > FILES_MAX:
                return None
            with real.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._missed(f"{path}: {getattr(error, 'strerror', None) or error}")
            return None
        if len(data) > FILE_BYTES_MAX:
            self._missed(f"{path}: larger than a configuration is")
            return None
        # Line ends of other systems and stray bytes must not hide a setting.
        text = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\0", " ")
        return Text(path, tuple(text.split("\n")))

    def _missed(self, sentence: str) -> None:
        if sentence not in self.unreadable and len(self.unreadable) < FILES_MAX:
            self.unreadable.append(sentence)

    def exists(self, path: str) -> bool:
        """Whether there is anything of that name. What may not be looked at does not count."""
        try:
            return self.under(path).exists()
        except (OSError, ValueError):
            return False

    def glob(self, pattern: str) -> list[str]:
        """The machine's paths that a shell pattern matches, sorted; at most FILES_MAX."""
        if "**" in pattern or "\0" in pattern:
            return []
        base = str(self.root).rstrip("/")
        found = sorted(glob.glob(glob.escape(base) + "/" + pattern.lstrip("/")))
        return [name.removeprefix(base) for name in found[:FILES_MAX]]
