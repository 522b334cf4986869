"""How much RAM this process may use, and how much of it is taken.

Inside a container the host's figures are no help: the kernel kills at the limit of the control group, and one
does not see it coming in MemAvailable. Nor does the group's raw usage tell, since it counts page cache that
is given back on demand. So what counts as taken is the *working set*:

    usage - (active_file + inactive_file - dirty - writeback)

Dirty pages stay in it because they must be written first; tmpfs (/dev/shm) stays in it because without swap
it cannot be given back at all, and the kernel lists it under shmem, never under `*_file`.

A group may be nested in others with limits of their own, and any of them can kill: all are read, up to the
top of the mount, and the host besides. On cgroup v2 `memory.high` counts as a limit, since beyond it a
process is slowed down to a crawl.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath

from sainet.hardware.storage import Mount, read_mounts

__all__ = [
    "Cgroup",
    "RamReading",
    "host_ram_bytes",
    "oom_kills",
    "own_cgroups",
    "ram_reading",
    "read_ram",
    "smallest_limit_bytes",
]

_ROOT = Path("/")


@dataclass(frozen=True)
class RamReading:
    """RAM as this process may use it.

    - `limit_bytes`: the smallest of all limits, at most the host's memory; `limited_by` says where it is set.
    - `headroom_bytes`: what can still be taken before any of the limits is hit; never below 0.
    - `working_set_bytes`: the limit less the headroom. Where only one limit matters that is the working set
      of its group; where others on the host or in the pod are closer to a limit of theirs, what they took
      counts as taken here.
    """

    limit_bytes: int
    working_set_bytes: int
    headroom_bytes: int
    limited_by: str


@dataclass(frozen=True)
class Cgroup:
    """A control group that this process is in: version, folder, and the folder's name on the machine."""

    version: int
    folder: Path
    name: str

    def read(self, file: str) -> str | None:
        """Text of one of its files; None where the group has no such file (or is gone)."""
        try:
            return (self.folder / file).read_text()
        except OSError:
            return None

    def read_bytes(self, file: str) -> int | None:
        """A file with one number; None without the file, and for `max`."""
        text = (self.read(file) or "").strip()
        return int(text) if text.isdecimal() else None


@dataclass(frozen=True)
class _Names:
    """What a cgroup version calls its figures."""

    limits: tuple[str, ...]
    usage: str
    file_pages: tuple[str, ...]
    unwritten: tuple[str, ...]
    kills: str

    @cached_property
    def in_stat(self) -> tuple[str, ...]:
        """All that counts of `memory.stat`."""
        return (*self.file_pages, *self.unwritten, _ABOVE)


_ABOVE = "hierarchical_memory_limit"
"""v1 names the limit of ancestors there, also of those above the mount that cannot be seen otherwise."""
_NAMES = {
    1: _Names(
        limits=("memory.limit_in_bytes",),
        usage="memory.usage_in_bytes",
        file_pages=("total_active_file", "total_inactive_file"),
        unwritten=("total_dirty", "total_writeback"),
        kills="memory.oom_control",
    ),
    2: _Names(
        limits=("memory.max", "memory.high"),
        usage="memory.current",
        file_pages=("active_file", "inactive_file"),
        unwritten=("file_dirty", "file_writeback"),
        kills="memory.events",
    ),
}


@dataclass(frozen=True)
class _Bound:
    """One limit, and the working set that counts against it."""

    limit_bytes: int
    working_set_bytes: int
    source: str


def read_ram(root: Path = _ROOT) -> RamReading:
    """The RAM of this process at this moment. Raises OSError without /proc/meminfo."""
    return ram_reading(_meminfo(root), own_cgroups("memory", root))


def ram_reading(meminfo: str, groups: Sequence[Cgroup]) -> RamReading:
    """The RAM of a process in `groups`, its own first, as `own_cgroups` gives them; `meminfo`: the text of the file."""
    # Outermost first: where an inner group repeats a limit, it is the outer one that sets it.
    bounds = [_host_bound(meminfo), *(bound for group in reversed(groups) for bound in _bounds(group))]
    smallest = min(bounds, key=lambda bound: bound.limit_bytes)
    headroom = max(0, min(bound.limit_bytes - bound.working_set_bytes for bound in bounds))
    return RamReading(smallest.limit_bytes, smallest.limit_bytes - headroom, headroom, smallest.source)


def host_ram_bytes(root: Path = _ROOT) -> int:
    """All the memory the kernel has, whoever may use it. Raises OSError without /proc/meminfo."""
    return _host_bound(_meminfo(root)).limit_bytes


def smallest_limit_bytes(group: Cgroup) -> int | None:
    """The smallest limit that one group has; None where it has none."""
    return min(_limits(group, _stat(group)).values(), default=None)


def oom_kills(group: Cgroup) -> int | None:
    """How many processes the kernel has killed for memory in this group, whichever limit they hit.

    On v2 those in groups below it count too. None where the kernel does not count them.
    """
    return _numbers(group.read(_NAMES[group.version].kills), ("oom_kill",)).get("oom_kill")


def own_cgroups(controller: str, root: Path = _ROOT) -> list[Cgroup]:
    """The control groups of this process for a controller (`memory`, `cpu`): its own, then its ancestors.

    Those above the mount (a container's usual view) cannot be seen. Empty where no mount has the controller.
    """
    paths = _own_paths(root)
    mounts = [(mount, _version(mount, controller, root)) for mount in read_mounts(root)]
    wanted = [
        (mount, version, PurePosixPath(paths.get(controller if version == 1 else "", "/")))
        for mount, version in mounts
        if version
    ]
    # A mount that does not hold our group shows somebody else's, unless there is no other: then it is a
    # container's own, named by another namespace.
    ours = [entry for entry in wanted if entry[2].is_relative_to(entry[0].root)] or wanted[-1:]
    found = (group for mount, version, path in ours for group in _upwards(mount, version, path, root))
    return list({group.folder: group for group in found}.values())


def _upwards(mount: Mount, version: int, path: PurePosixPath, root: Path) -> Iterator[Cgroup]:
    inside = path.relative_to(mount.root) if path.is_relative_to(mount.root) else PurePosixPath()
    for part in (inside, *inside.parents):
        name = mount.point / part
        folder = root / name.relative_to("/")
        if folder.is_dir():
            yield Cgroup(version, folder, str(name))


def _version(mount: Mount, controller: str, root: Path) -> int | None:
    """The cgroup version of `mount` if it governs `controller`; on hybrid hosts a v2 mount may not."""
    if mount.filesystem == "cgroup" and controller in mount.options:
        return 1
    top = Cgroup(2, root / mount.point.relative_to("/"), str(mount.point))
    if mount.filesystem == "cgroup2" and controller in (top.read("cgroup.controllers") or "").split():
        return 2
    return None


def _own_paths(root: Path) -> dict[str, str]:
    """Path of this process's group for each v1 controller; that of v2 under the empty name."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return {}
    entries = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    return {name: path for _, names, path in entries for name in names.split(",")}


def _bounds(group: Cgroup) -> Iterator[_Bound]:
    """The limits of one group; none where it has no usage of its own (the root group)."""
    names = _NAMES[group.version]
    usage, stat = group.read_bytes(names.usage), _stat(group)
    if usage is None:
        return
    working_set = usage - _given_back(stat, names)
    for file, limit in _limits(group, stat).items():
        yield _Bound(limit, working_set, f"cgroup v{group.version}: {group.name}/{file}")


def _limits(group: Cgroup, stat: dict[str, int]) -> dict[str, int]:
    """File -> bytes."""
    limits = {file: group.read_bytes(file) for file in _NAMES[group.version].limits}
    limits["memory.stat"] = stat.get(_ABOVE)
    return {file: limit for file, limit in limits.items() if limit is not None}


def _stat(group: Cgroup) -> dict[str, int]:
    return _numbers(group.read("memory.stat"), _NAMES[group.version].in_stat)


def _given_back(stat: dict[str, int], names: _Names) -> int:
    """Bytes of page cache that the kernel takes back on demand."""
    unwritten = sum(stat.get(key, 0) for key in names.unwritten)
    return max(0, sum(stat.get(key, 0) for key in names.file_pages) - unwritten)


def _meminfo(root: Path) -> str:
    return (root / "proc/meminfo").read_text()


def _host_bound(meminfo: str) -> _Bound:
    kibibytes = _numbers(meminfo, ("MemTotal:", "MemAvailable:"))
    total = kibibytes["MemTotal:"] * 1024
    return _Bound(total, total - kibibytes["MemAvailable:"] * 1024, "the host's memory")


def _numbers(text: str | None, names: tuple[str, ...]) -> dict[str, int]:
    """Those of the lines of a name and a number (`memory.stat`, `meminfo`) that are asked for and there."""
    return {name: int(number) for name, number in _lines_of(names).findall(text or "")}


@cache
def _lines_of(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"^({'|'.join(map(re.escape, names))})[ \t]+(\d+)", re.MULTILINE)
