"""Disks, mounts and /dev/shm.

`root` stands for ``/`` wherever it appears, so that a test can lay out a machine of its own.
"""

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sainet.hardware.block_device import DiskKind, kind_of_device

__all__ = [
    "Disk",
    "Mount",
    "Shm",
    "disk_free_bytes",
    "disk_of",
    "disks_of",
    "in_memory",
    "read_mounts",
    "read_shm",
    "shm_at",
]

_ROOT = Path("/")

# File systems with a network (or a host's file server) behind them. Other `fuse.*` types are local more often
# than not (fuse-overlayfs, mergerfs), so only those known to be remote are named.
_NETWORK_FILESYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "orangefs", "smb3"}
    | {"smbfs", "virtiofs", "wekafs", "fuse.blobfuse2", "fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs"}
    | {"fuse.mount-s3", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
)
_MEMORY_FILESYSTEMS = frozenset({"tmpfs", "ramfs"})


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo: which part (`root`) of which file system is seen at `point`.

    `device` is its number (`8:1`), `source` what was mounted: a device, a server's folder, or any word.
    """

    root: PurePosixPath
    point: PurePosixPath
    filesystem: str
    options: frozenset[str]
    device: str
    source: str


@dataclass(frozen=True)
class Disk:
    """The file system below `path`: the folder that was asked for, or its nearest parent that exists.

    `free_bytes` is what this user may still write; what is reserved for root does not count. `kind` is what the file
    system lies on, `unknown` where Linux does not say (an overlay, most virtual disks).
    """

    path: Path
    free_bytes: int
    total_bytes: int
    filesystem: str
    writable: bool = True
    kind: DiskKind = "unknown"


@dataclass(frozen=True)
class Shm:
    """/dev/shm, where loader workers hand over their batches; `size_bytes` is 0 where there is none."""

    size_bytes: int
    used_bytes: int

    @property
    def free_bytes(self) -> int:
        return self.size_bytes - self.used_bytes


def disk_of(path: Path, root: Path = _ROOT) -> Disk:
    """The disk that `path` is on, or would be on once it is made.

    `root` only says where /proc and /sys are read. Raises OSError when the file system does not answer.
    """
    folder = nearest_existing(path.absolute()).resolve()
    usage = shutil.disk_usage(folder)
    mount = _mount_of(folder, read_mounts(root))
    return Disk(
        path=folder,
        free_bytes=usage.free,
        total_bytes=usage.total,
        filesystem=mount.filesystem if mount else "unknown",
        writable=os.access(folder, os.W_OK),
        kind=_kind(mount, root) if mount else "unknown",
    )


def in_memory(path: Path, root: Path = _ROOT) -> bool:
    """Whether `path` is, or would be, on a file system in memory, which takes RAM."""
    mount = _mount_of(nearest_existing(path.absolute()).resolve(), read_mounts(root))
    return mount is not None and mount.filesystem in _MEMORY_FILESYSTEMS


def disk_free_bytes(folder: Path) -> int | None:
    """What this user may still write on the disk of `folder`, by one system call; None where nobody can tell."""
    try:
        stat = os.statvfs(folder)
    except OSError:
        return None
    return stat.f_bavail * stat.f_frsize


def disks_of(paths: Iterable[Path], root: Path = _ROOT) -> list[Disk]:
    """The disks that `paths` are on, each once, with the first path that is on it. Raises OSError as `disk_of`."""
    folders: dict[int, Path] = {}
    for path in paths:
        folder = nearest_existing(path.absolute())
        folders.setdefault(folder.stat().st_dev, folder)
    return [disk_of(folder, root) for folder in folders.values()]


def read_shm(root: Path = _ROOT) -> Shm:
    """Size and use of /dev/shm; both 0 where it does not exist."""
    return shm_at(root / "dev/shm")


def shm_at(folder: Path) -> Shm:
    """The same of a file system in memory, by its folder."""
    try:
        stat = os.statvfs(folder)
    except OSError:
        return Shm(0, 0)
    return Shm(stat.f_blocks * stat.f_frsize, (stat.f_blocks - stat.f_bfree) * stat.f_frsize)


def read_mounts(root: Path = _ROOT) -> list[Mount]:
    """Every mount that this process sees, in the order they were made; empty without /proc."""
    try:
        lines = (root / "proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    return [_parse_mount(line) for line in lines if " - " in line]


def _parse_mount(line: str) -> Mount:
    """``36 35 98:0 /root /point rw shared:1 - ext4 /dev/sda1 rw,errors=continue``"""
    left, right = (half.split(" ") for half in line.split(" - ", 1))
    return Mount(
        root=PurePosixPath(_unescape(left[3])),
        point=PurePosixPath(_unescape(left[4])),
        filesystem=right[0],
        options=frozenset(right[-1].split(",")),
        device=left[2],
        source=_unescape(right[1]),
    )


def _unescape(field: str) -> str:
    """The kernel writes blanks and backslashes as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _mount_of(folder: Path, mounts: list[Mount]) -> Mount | None:
    """The innermost mount around `folder`; of two on one point, the later covers the other."""
    around = [mount for mount in mounts if folder.is_relative_to(mount.point)]
    return max(reversed(around), key=lambda mount: len(mount.point.parts), default=None)


def _kind(mount: Mount, root: Path) -> DiskKind:
    if mount.filesystem in _NETWORK_FILESYSTEMS:
        return "network"
    if mount.filesystem in _MEMORY_FILESYSTEMS:
        return "memory"
    return kind_of_device(mount.device, mount.source, root)


def nearest_existing(path: Path) -> Path:
    """The folder itself, or the nearest above it that exists."""
    return next((folder for folder in (path, *path.parents) if _exists(folder)), _ROOT)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a parent that we may not look into
        return False
