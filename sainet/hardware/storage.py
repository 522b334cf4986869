"""Disks, mounts and /dev/shm.

`root` stands for ``/`` wherever it appears, so that a test can lay out a machine of its own.
"""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

__all__ = ["Disk", "Mount", "Shm", "disk_of", "read_mounts", "read_shm"]

_ROOT = Path("/")

# File systems with a network (or a host's file server) behind them. Other `fuse.*` types are local more often
# than not (fuse-overlayfs, mergerfs), so only those known to be remote are named.
_NETWORK_FILESYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "orangefs", "smb3"}
    | {"smbfs", "wekafs", "fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs", "fuse.mount-s3"}
    | {"fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
)


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo: which part (`root`) of which file system is seen at `point`."""

    root: PurePosixPath
    point: PurePosixPath
    filesystem: str
    options: frozenset[str]


@dataclass(frozen=True)
class Disk:
    """The file system below `path`: the folder that was asked for, or its nearest parent that exists.

    `free_bytes` is what this user may still write; what is reserved for root does not count.
    """

    path: Path
    free_bytes: int
    total_bytes: int
    filesystem: str
    writable: bool = True

    @property
    def is_network(self) -> bool:
        return self.filesystem in _NETWORK_FILESYSTEMS


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

    `root` only says where mountinfo is read. Raises OSError when the file system does not answer.
    """
    folder = _nearest_existing(path.absolute()).resolve()
    usage = shutil.disk_usage(folder)
    filesystem = _filesystem_of(folder, read_mounts(root))
    return Disk(folder, usage.free, usage.total, filesystem, writable=os.access(folder, os.W_OK))


def read_shm(root: Path = _ROOT) -> Shm:
    """Size and use of /dev/shm; both 0 where it does not exist."""
    try:
        stat = os.statvfs(root / "dev/shm")
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
    )


def _unescape(field: str) -> str:
    """The kernel writes blanks and backslashes as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _filesystem_of(folder: Path, mounts: list[Mount]) -> str:
    """Type of the innermost mount around `folder`; of two on one point, the later covers the other."""
    around = [mount for mount in mounts if folder.is_relative_to(mount.point)]
    innermost = max(reversed(around), key=lambda mount: len(mount.point.parts), default=None)
    return innermost.filesystem if innermost else "unknown"


def _nearest_existing(path: Path) -> Path:
    return next((folder for folder in (path, *path.parents) if _exists(folder)), _ROOT)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a parent that we may not look into
        return False
