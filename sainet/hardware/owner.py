"""Whose process a pid is: its name and its user, as far as they can be seen from here."""

import pwd
from pathlib import Path

__all__ = ["process_name", "process_user"]

_ROOT = Path("/")


def process_name(pid: int, root: Path = _ROOT) -> str | None:
    """The command's name; None for a process that is gone, hidden, or outside of our container."""
    try:
        return (root / "proc" / str(pid) / "comm").read_text(errors="replace").strip()
    except OSError:
        return None


def process_user(pid: int, root: Path = _ROOT) -> str | None:
    """The user's name, or number where it has none here; None as for `process_name`."""
    try:
        uid = (root / "proc" / str(pid)).stat().st_uid
    except OSError:
        return None
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
