"""Is there room to stage? The staged set, the loader and the limit share one budget."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sainet.data.stage.estimate import estimated
from sainet.data.stage.form import Form
from sainet.data.stage.need import Need, need_of
from sainet.errors import Problem, RefusedError, combined
from sainet.hardware.ram import RamReading, read_ram
from sainet.hardware.storage import nearest_existing
from sainet.report.memory import gib

__all__ = ["Reserve", "Room", "admit", "room_at"]

_SMALLER = Form("jpeg", 1440)


@dataclass(frozen=True)
class Reserve:
    """What has to stay free for the training beside the staged set, bytes."""

    ram_bytes: int = 0
    shm_bytes: int = 0


@dataclass(frozen=True)
class Room:
    """What there is at a place. `free_files`: None where the file system sets no limit; `ram`: of a place in memory."""

    free_bytes: int
    size_bytes: int
    free_files: int | None
    ram: RamReading | None


def room_at(place: Path, *, in_memory: bool) -> Room:
    """At this moment."""
    found = os.statvfs(nearest_existing(place))
    return Room(
        free_bytes=found.f_bavail * found.f_frsize,
        size_bytes=found.f_blocks * found.f_frsize,
        free_files=found.f_favail if found.f_files else None,
        ram=read_ram() if in_memory else None,
    )


def admit(need: Need, room: Room, reserve: Reserve, *, force: bool, option: str = "--format ") -> None:
    """Raises `RefusedError` with what is needed, what there is, and what would fit.

    `force` overrides what may turn out well: what is kept for the training, RAM, and sizes that are estimated.
    `option`: how a format is asked for.
    """
    found = [problem for problem, can_be_forced in _against(need, room, reserve) if not (force and can_be_forced)]
    if found:
        hint = _hint(need, room, reserve, option)
        raise combined([RefusedError(problem.message, where=problem.where, hint=hint) for problem in found])


_Found = Iterator[tuple[Problem, bool]]
"""What stands against it, and whether `--force` may try it."""


def _against(need: Need, room: Room, reserve: Reserve) -> _Found:
    where, about = str(need.place), "about " if need.is_estimate else ""
    kept = f" beside {gib(reserve.shm_bytes)} for the loader" if reserve.shm_bytes else ""
    free = room.free_bytes + need.frees_bytes
    if need.bytes + reserve.shm_bytes > free:
        message = f"no room: {about}{gib(need.bytes)} needed{kept}, {gib(free)} free of {gib(room.size_bytes)}"
        yield Problem(message, where), need.is_estimate or need.bytes <= free
    if room.free_files is not None and need.files > room.free_files:
        yield Problem(f"no room for {need.files} files: {room.free_files} more can be made there", where), False
    if room.ram is None:
        return
    headroom = room.ram.headroom_bytes + need.frees_bytes
    if need.bytes + reserve.ram_bytes > headroom:
        kept = f" beside {gib(reserve.ram_bytes)} for the training" if reserve.ram_bytes else ""
        limit = f"{gib(headroom)} free of {gib(room.ram.limit_bytes)} ({room.ram.limited_by})"
        yield Problem(f"RAM does not hold it: {about}{gib(need.bytes)} needed{kept}, {limit}", where), True


def _hint(need: Need, room: Room, reserve: Reserve, option: str) -> str:
    ways = ["fewer images", "a place on a disk (--to)" if option.startswith("--format") else "--set staging.to=null"]
    if need.form.kind != "jpeg":
        found = estimated(need.survey, _SMALLER)
        smaller = need_of(need.survey, _SMALLER, need.place, found)
        verdict = "is too much too" if list(_against(smaller, room, reserve)) else "fits"
        ways.insert(0, f"{option}{_SMALLER}, about {gib(smaller.bytes)} by a sample of {found.images}: {verdict}")
    return "; ".join(ways)
