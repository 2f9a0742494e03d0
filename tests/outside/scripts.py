"""The scripts that drive real clients, as they are run here."""

from __future__ import annotations

from pathlib import Path

_ENDS = (".sh", ".py", ".mjs")
# thunderbird.py asks for a refresh each time it looks whether the titles have come, so one may still be under way when
# its "conflict" step begins. If that one is answered between the step's two writes, Thunderbird knows the newer version
# before it is told to change the event: it sends the newest entity tag, and no server could see a conflict.
_CONFLICT = '    step("conflict")\n'
_QUIET = '    m.js("await new Promise(r => setTimeout(r, 3000));")\n'


def client_script(folder: Path, name: str, tmp_path: Path) -> Path:
    """The script of the client `name` in `folder`; where it races with its own client, a copy that waits."""
    (script,) = [found for end in _ENDS if (found := folder / f"{name}{end}").exists()]
    if name != "thunderbird":
        return script
    text = script.read_text(encoding="utf-8")
    assert text.count(_CONFLICT) == 1, "the script's steps have changed"
    copy = tmp_path / script.name
    copy.write_text(text.replace(_CONFLICT, _QUIET + _CONFLICT), encoding="utf-8")
    (tmp_path / "davprobe.py").write_bytes((folder / "davprobe.py").read_bytes())
    return copy
