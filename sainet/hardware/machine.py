"""Everything about the machine in one value, and the versions of what is installed on it."""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import sainet
from sainet.config.auto import HardwareValues
from sainet.hardware.cpu import host_cpus, usable_cpus
from sainet.hardware.gpu import GpuReading, read_gpus, visible_gpus
from sainet.hardware.packages import installed_version
from sainet.hardware.ram import RamReading, host_ram_bytes, read_ram
from sainet.hardware.storage import Shm, read_shm

__all__ = ["Machine", "Versions", "read_machine", "read_versions", "values_of"]


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


def values_of(machine: Machine, environ: Mapping[str, str] = os.environ) -> HardwareValues:
    """What `auto` is resolved from: the usable CPU threads, and the GPUs that CUDA would see."""
    return HardwareValues(machine.cpus, tuple(gpu.name for gpu in visible_gpus(machine.gpus, environ)))


def read_versions() -> Versions:
    """Versions from the packages' metadata: nothing is imported, which for torch alone would take seconds."""
    return Versions(
        sainet=sainet.__version__,
        python=".".join(map(str, sys.version_info[:3])),
        torch=installed_version("torch"),
        torch_cuda=_torch_cuda(),
        ultralytics=installed_version("ultralytics"),
    )


def _torch_cuda() -> str | None:
    """The CUDA that torch was built for, like ``13.0``: not in the metadata, but in its source."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        source = Path(spec.origin).with_name("version.py").read_text()
    except OSError:
        return None
    match = re.search(r"^cuda\b[^=\n]*=\s*['\"]([\d.]+)['\"]", source, re.MULTILINE)
    return match[1] if match else None
