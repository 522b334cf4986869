"""The memory of a process group, with what its processes share counted once.

RSS counts a shared page once per process: a training with a dozen loader workers seems to take many times what it
does. PSS gives each process its share of such a page, so that the sum over a group is what the group takes.

What no process maps is in neither. A batch on its way from a worker to the training is only an open file in
/dev/shm, so files there count as far as they are open.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sainet.hardware.process import group_members

__all__ = ["Footprint", "process_footprint", "read_footprint"]

_PROC = Path("/proc")
_SHM = "/dev/shm/"


@dataclass(frozen=True)
class Footprint:
    """What `processes` processes hold.

    - `pss_bytes`: their shares of all pages that they map, program files included.
    - `shmem_bytes`: the part of it that is shared memory: mapped files of a tmpfs, pinned buffers.
    - `open_shm_bytes`: files in /dev/shm that they have open, mapped or not, each counted once.
    - `exact`: False where the kernel did not give the shares of some process; its private pages count then, which is
      too little, and nothing of it as `shmem_bytes`.
    """

    pss_bytes: int
    shmem_bytes: int
    processes: int
    open_shm_bytes: int = 0
    exact: bool = True

    @property
    def ram_bytes(self) -> int:
        """All that they hold. Of what is mapped and open the larger counts: which of it is both is not told."""
        return self.pss_bytes - self.shmem_bytes + max(self.shmem_bytes, self.open_shm_bytes)

    def __add__(self, other: "Footprint") -> "Footprint":
        return Footprint(
            self.pss_bytes + other.pss_bytes,
            self.shmem_bytes + other.shmem_bytes,
            self.processes + other.processes,
            self.open_shm_bytes + other.open_shm_bytes,
            self.exact and other.exact,
        )


def read_footprint(pgid: int) -> Footprint:
    """The footprint of a process group at this moment; all 0 when it is gone.

    A process that ends meanwhile is left out. The kernel walks all pages of every process for it, about 15 ms for
    each process of a training: for an incident or a measurement, not for every look of a guard.
    """
    folders = [_PROC / str(pid) for pid in group_members(pgid)]
    found = [one for folder in folders if (one := process_footprint(folder)) is not None]
    return sum(found, Footprint(0, 0, 0, open_shm_bytes=_open_shm_bytes(folders)))


def process_footprint(folder: Path) -> Footprint | None:
    """What one process maps, by its folder below /proc; None when it is gone. Open files are not looked at."""
    try:
        rollup = (folder / "smaps_rollup").read_text()
    except ProcessLookupError:  # it ended after the file was opened
        return None
    except OSError:  # it ended before, or it is somebody else's, or the kernel is older than 4.14
        return _private_pages(folder)
    sizes = _sizes(rollup)
    return Footprint(sizes.get("Pss", 0), sizes.get("Pss_Shmem", 0), 1)


def _open_shm_bytes(folders: list[Path]) -> int:
    """Bytes of all files in /dev/shm that these processes have open; batches have no name there any more."""
    sizes: dict[tuple[int, int], int] = {}
    for link in (link for folder in folders for link in _open_files(folder)):
        with suppress(OSError):  # closed since it was listed
            if str(link.readlink()).startswith(_SHM):
                stat = link.stat()
                sizes[stat.st_dev, stat.st_ino] = 512 * stat.st_blocks
    return sum(sizes.values())


def _open_files(folder: Path) -> list[Path]:
    try:
        return list((folder / "fd").iterdir())
    except OSError:  # it ended, or is somebody else's
        return []


def _sizes(rollup: str) -> dict[str, int]:
    """``Pss:   1234 kB`` -> {"Pss": 1263616}"""
    lines = (line.split() for line in rollup.splitlines())
    return {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines if words[-1:] == ["kB"]}


def _private_pages(folder: Path) -> Footprint | None:
    try:
        _, resident, shared, *_ = (folder / "statm").read_text().split()
    except (OSError, ValueError):
        return None
    return Footprint((int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE"), 0, 1, exact=False)
