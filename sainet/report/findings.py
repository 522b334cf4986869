"""One thing that was looked at on a machine, and what to make of it."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["GIB", "Finding", "Verdict", "size_text"]

Verdict = Literal["ok", "note", "problem"]

GIB = 1024**3


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    `ok` needs nothing; a `note` limits what can be done or how fast; a `problem` makes a training fail.
    `hint` says what that means or what to do.
    """

    topic: str
    value: str
    verdict: Verdict = "ok"
    hint: str | None = None


def size_text(size_bytes: float) -> str:
    return f"{size_bytes / GIB:.1f} GiB" if size_bytes >= GIB else f"{size_bytes / 1024**2:.0f} MiB"
