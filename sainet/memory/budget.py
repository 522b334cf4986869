"""A budget: one table per resource, a row per component, against a limit."""

from dataclasses import dataclass
from typing import Literal

from sainet.protocol import Resource

__all__ = ["TIGHT", "Budget", "Limit", "Resource", "Row", "Verdict", "Where", "judge"]

Where = Literal["anonymous", "page cache", "shm", "pinned", "disk", "vram"]
"""Where the bytes lie: a process's own memory, mapped files, which the kernel can drop and read again, /dev/shm (which
is RAM too), page-locked RAM, a disk, a GPU."""
Verdict = Literal["fits", "tight", "does not fit", "unknown"]

TIGHT = 0.90
"""A need above this share of the limit fits, but leaves no room for what nobody has foreseen."""


@dataclass(frozen=True)
class Row:
    """One component. `formula` has its numbers filled in, so that a reader can check it by hand."""

    component: str
    bytes: int
    where: Where
    formula: str


@dataclass(frozen=True)
class Limit:
    """What there is: `bytes` in all (None: nobody says), of which `in_use_bytes` are taken by others already."""

    bytes: int | None
    source: str
    in_use_bytes: int = 0

    @property
    def free_bytes(self) -> int | None:
        return None if self.bytes is None else max(0, self.bytes - self.in_use_bytes)


@dataclass(frozen=True)
class Budget:
    """What one resource has to hold. VRAM is that of one GPU; everything else is the machine's."""

    name: Resource
    rows: tuple[Row, ...]

    @property
    def need_bytes(self) -> int:
        return sum(row.bytes for row in self.rows)


def judge(need_bytes: int, limit: Limit) -> Verdict:
    """Whether the need fits into what is free; what nobody says the size of is `unknown`."""
    if not need_bytes:
        return "fits"
    free = limit.free_bytes
    if free is None:
        return "unknown"
    if need_bytes > free:
        return "does not fit"
    return "tight" if need_bytes > TIGHT * free else "fits"
