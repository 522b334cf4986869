"""What is taken of the memory at this moment, in a few words."""

from dataclasses import dataclass

from sainet.report.tables import gib

__all__ = ["MemoryNow", "memory_words"]

Taken = tuple[int, int]
"""Bytes taken, and the limit."""


@dataclass(frozen=True)
class MemoryNow:
    """`ram`: the working set; `vram`: of each GPU, whoever took it. None for what cannot be read.

    `lowered`: the settings that memory has made smaller, as `workers 2`.
    """

    ram: Taken | None = None
    shm: Taken | None = None
    vram: tuple[Taken, ...] = ()
    lowered: tuple[str, ...] = ()


_WORTH_SHOWING = 0.05
"""Of /dev/shm: most trainings leave it nearly empty."""


def memory_words(now: MemoryNow) -> list[str]:
    """As `RAM 12.3/24.0 GiB, 11.7 left`."""
    words = []
    if now.ram:
        used, limit = now.ram
        words.append(f"RAM {gib(used)}/{gib(limit)} GiB, {gib(max(0, limit - used))} left")
    if now.shm and now.shm[0] > _WORTH_SHOWING * now.shm[1]:
        words.append(f"shm {gib(now.shm[0])}/{gib(now.shm[1])}")
    if now.vram:
        words.append("VRAM " + ", ".join(f"{gib(used)}/{gib(total)}" for used, total in now.vram))
    if now.lowered:
        words.append(f"lowered: {', '.join(now.lowered)}")
    return words
