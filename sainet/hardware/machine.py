"""Everything about the machine in one value, and the versions of what is installed on it."""

import platform
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import sainet
from sainet.hardware.cpu import host_cpus, usable_cpus
from sainet.hardware.gpu import GpuReading, read_gpus
from sainet.hardware.ram import RamReading, host_ram_bytes, read_ram
from sainet.hardware.storage import Shm, read_shm

__all__ = ["Machine", "Versions", "read_machine", "read_versions"]


@dataclass(frozen=True)
class Machine:
    """What this process may use (`ram`, `cpus`, `gpus`, `shm`), and what the host has besides."""

    ram: RamReading
    cpus: int
    gpus: GpuReading
    shm: Shm
    host_ram_bytes: int
    host_cpus: int


@dataclass(frozen=True)
class Versions:
    """What is installed; None for a package that is not, and for the CUDA of a torch without one."""

    sainet: str
    python: str
    torch: str | None
    torch_cuda: str | None
    ultralytics: str | None


def read_machine() -> Machine:
    """The machine at this moment. Raises OSError on a system without Linux's /proc."""
    return Machine(
        ram=read_ram(),
        cpus=usable_cpus(),
        gpus=read_gpus(),
        shm=read_shm(),
        host_ram_bytes=host_ram_bytes(),
        host_cpus=host_cpus(),
    )


def read_versions() -> Versions:
    """Versions from the packages' metadata: nothing is imported, which for torch alone would take seconds."""
    return Versions(
        sainet=sainet.__version__,
        python=platform.python_version(),
        torch=_version_of("torch"),
        torch_cuda=_torch_cuda(),
        ultralytics=_version_of("ultralytics"),
    )


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _torch_cuda() -> str | None:
    """The CUDA that torch was built for, like ``13.0``: not in the metadata, but in its source."""
    try:
        source = Path(str(distribution("torch").locate_file("torch/version.py"))).read_text()
    except (PackageNotFoundError, OSError):
        return None
    match = re.search(r"^cuda\b[^=\n]*=\s*['\"]([\d.]+)['\"]", source, re.MULTILINE)
    return match[1] if match else None
