"""What stands behind a file system on a block device: flash, spinning disks, memory, a network; as far as Linux says.

Linux calls a device rotational unless its driver knows better. For virtual disks (those of most rented machines) it
does not, so there only "not rotational" tells something.
"""

import re
from pathlib import Path
from typing import Literal

__all__ = ["DiskKind", "kind_of_device"]

DiskKind = Literal["ssd", "spinning", "network", "memory", "unknown"]

_MEMORY = re.compile(r"z?ram\d")
_NETWORK = re.compile(r"(nbd|rbd)\d")
_VIRTUAL = re.compile(r"(vd|xvd|ubd)[a-z]|loop\d")
_VIRTUAL_MODELS = ("QEMU", "VMware", "VBOX", "Msft", "Google", "Xen")
"""What hypervisors write where a disk has its maker and model."""


def kind_of_device(device: str, source: str, root: Path) -> DiskKind:
    """Kind of the device of a mount: by its number (`8:1`), else by its path (`/dev/sda1`).

    Some file systems (btrfs) have a number of their own, under which there is no device, and name the device they are
    mounted from. `unknown` where neither leads to one, as in a container's overlay. `root` stands for ``/``.
    """
    folders = [root / "sys/dev/block" / device]
    if source.startswith("/dev/"):
        folders.append(root / "sys/class/block" / Path(source).name)
    return next((_kind(folder.resolve()) for folder in folders if folder.exists()), "unknown")


def _kind(folder: Path) -> DiskKind:
    """Kind of the device, or partition, whose folder in /sys this is."""
    disk = folder.parent if (folder / "partition").exists() else folder
    if _MEMORY.match(disk.name):
        return "memory"
    if _NETWORK.match(disk.name):
        return "network"
    behind = {_kind(path.resolve()) for path in _slaves(disk)}
    if behind:  # a device mapper or a RAID: as slow as its slowest part
        return behind.pop() if len(behind) == 1 else "spinning" if "spinning" in behind else "unknown"
    match _read(disk / "queue/rotational"):
        case "0":
            return "ssd"
        case "1" if not _is_virtual(disk):
            return "spinning"
    return "unknown"


def _slaves(disk: Path) -> list[Path]:
    try:
        return list((disk / "slaves").iterdir())
    except OSError:
        return []


def _is_virtual(disk: Path) -> bool:
    maker = f"{_read(disk / 'device/vendor')} {_read(disk / 'device/model')}"
    return bool(_VIRTUAL.match(disk.name)) or any(name in maker for name in _VIRTUAL_MODELS)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
