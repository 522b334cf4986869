"""What will and will not work on this machine, and why: a judgement over values that others have read.

The words are for people (sizes in GiB); programs take the bytes from the machine's own figures.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sainet.hardware.gpu import GpuReading
from sainet.hardware.machine import Machine, Versions
from sainet.hardware.storage import Disk
from sainet.report.doctor_gpu import diagnose_gpus
from sainet.report.findings import GIB, Finding, Verdict, size_text

__all__ = ["DataOnDisk", "Finding", "diagnose", "diagnose_data"]

# The range that pyproject.toml asks for; private seams of Ultralytics are tested against it.
_ULTRALYTICS_FROM, _ULTRALYTICS_BELOW = (8, 4, 190), (8, 5)
_TORCH_FROM = (2, 4)

# One batch of 64 images of 1440x832 is 0.2 GiB, and a few workers queue a dozen of them.
_SHM_NEEDED_BYTES = 1 * GIB
_SHM_COMFORT_BYTES = 8 * GIB
_RAM_COMFORT_BYTES = 8 * GIB
# Per stage the exact state (weights, their average, the optimizer) is kept twice, and best and last besides; a third
# state stands beside them while it is written.
_DISK_NEEDED_BYTES = 5 * GIB
_CPUS_PER_GPU = 4

_KINDS = {"ssd": ", SSD", "spinning": ", spinning", "network": ", network", "memory": ", memory", "unknown": ""}


@dataclass(frozen=True)
class DataOnDisk:
    """The images that are to be trained on: how many, their bytes, and the disks that they lie on.

    `staged_bytes`: of a copy that is staged in /dev/shm already.
    """

    images: int
    file_bytes: int
    disks: Sequence[Disk]
    staged_bytes: int = 0


def diagnose(machine: Machine, versions: Versions, runs_disk: Disk) -> list[Finding]:
    """Everything worth saying, from software to disk.

    `runs_disk` is that of the folder for runs, where `cache: disk` puts its images too.
    """
    return [
        Finding("sainet", versions.sainet),
        Finding("python", versions.python),
        _torch(versions, machine.gpus),
        _ultralytics(versions.ultralytics),
        *_driver(versions.torch_cuda, machine.gpus),
        *diagnose_gpus(machine.gpus),
        _ram(machine),
        _cpus(machine),
        _shm(machine),
        _disk(runs_disk),
    ]


def _torch(versions: Versions, gpus: GpuReading) -> Finding:
    if versions.torch is None:
        return Finding("torch", "not installed", "problem", "nothing trains without it: pip install torch")
    build = f"CUDA {versions.torch_cuda}" if versions.torch_cuda else "no CUDA"
    value = f"{versions.torch} ({build})"
    if _release(versions.torch) < _TORCH_FROM:
        return Finding("torch", value, "problem", "too old: pip install 'torch>=2.4'")
    if gpus.gpus and not versions.torch_cuda:
        return Finding("torch", value, "problem", "it cannot use the GPU: install a torch built for CUDA")
    return Finding("torch", value)


def _ultralytics(version: str | None) -> Finding:
    install = "pip install 'ultralytics>=8.4.190,<8.5'"
    if version is None:
        return Finding("ultralytics", "not installed", "problem", f"nothing trains without it: {install}")
    if not _ULTRALYTICS_FROM <= _release(version) < _ULTRALYTICS_BELOW:
        return Finding("ultralytics", version, "problem", f"not a version sainet is made for: {install}")
    return Finding("ultralytics", version)


def _driver(torch_cuda: str | None, gpus: GpuReading) -> Iterator[Finding]:
    if gpus.driver is None or gpus.cuda is None:
        return
    value = f"{gpus.driver} (CUDA up to {gpus.cuda[0]}.{gpus.cuda[1]})"
    # Within a major version CUDA runs on older drivers of that major version.
    if torch_cuda and _release(torch_cuda)[0] > gpus.cuda[0]:
        hint = (
            f"torch is built for CUDA {torch_cuda} and will not see the GPU: "
            f"update the driver, or install a torch built for CUDA {gpus.cuda[0]}"
        )
        yield Finding("nvidia driver", value, "problem", hint)
    else:
        yield Finding("nvidia driver", value)


def _ram(machine: Machine) -> Finding:
    ram = machine.ram
    value = f"{size_text(ram.limit_bytes)}, {size_text(ram.headroom_bytes)} free ({ram.limited_by})"
    hints = []
    if ram.limit_bytes < machine.host_ram_bytes:
        hints.append(
            f"the host has {size_text(machine.host_ram_bytes)}, but the kernel kills at the limit of the control "
            "group, which free and top do not show"
        )
    if ram.headroom_bytes < _RAM_COMFORT_BYTES:
        hints.append("little is free: images will not fit into `cache: ram`, and each loader worker counts")
    return Finding("ram", value, "note" if hints else "ok", "; ".join(hints) or None)


def _cpus(machine: Machine) -> Finding:
    value = str(machine.cpus)
    if machine.cpus < machine.host_cpus:
        value = f"{machine.cpus} of the host's {machine.host_cpus}"
    gpus = sum(gpu.visible for gpu in machine.gpus.gpus)
    if machine.cpus < gpus * _CPUS_PER_GPU:
        hint = f"too few to decode images for {gpus} GPU{'s' * (gpus > 1)}: expect idle GPU time"
        return Finding("cpus", value, "note", hint)
    if machine.cpus < machine.host_cpus:
        return Finding("cpus", value, "note", "pinned, or limited by a quota: workers beyond that only wait")
    return Finding("cpus", value)


def _shm(machine: Machine) -> Finding:
    shm, ram_bytes = machine.shm, machine.ram.limit_bytes
    value = f"{size_text(shm.size_bytes)}, {size_text(shm.free_bytes)} free" if shm.size_bytes else "none"
    if shm.size_bytes < _SHM_NEEDED_BYTES:
        hint = (
            "loader workers hand their batches over here and will fail or hang: start the container with "
            "--shm-size=16g or --ipc=host, or train with --workers 0"
        )
        return Finding("/dev/shm", value, "problem", hint)
    if shm.free_bytes < _SHM_NEEDED_BYTES:
        hint = "loader workers will fail or hang: delete what earlier programs left in /dev/shm"
        return Finding("/dev/shm", value, "problem", hint)
    if shm.free_bytes < _SHM_COMFORT_BYTES:
        return Finding("/dev/shm", value, "note", "enough for small batches or few workers only")
    if shm.size_bytes > ram_bytes:
        hint = f"what lies here is RAM too, and that ends at {size_text(ram_bytes)}"
        return Finding("/dev/shm", value, "note", hint)
    return Finding("/dev/shm", value)


def _disk(disk: Disk) -> Finding:
    value = _disk_text(disk)
    if not disk.writable:
        return Finding("runs and cache", value, "problem", "not writable: choose another --runs-dir")
    if disk.free_bytes < _DISK_NEEDED_BYTES:
        hint = "checkpoints will not fit: free some space or choose another --runs-dir"
        return Finding("runs and cache", value, "problem", hint)
    return Finding("runs and cache", value, *_runs_on(disk))


def _runs_on(disk: Disk) -> tuple[Verdict, str | None]:
    if disk.kind == "network":
        return "note", "a network file system: checkpoints take longer, and `cache: disk` will be slow"
    if disk.kind == "memory":
        return "note", "this is memory: runs count against the RAM and are gone after a restart"
    if disk.kind == "spinning":
        return "note", "a spinning disk: `cache: disk` will be slow, images are read from it in no order"
    if disk.filesystem == "overlay":
        return "note", "inside the container: runs are lost with it; mount a volume to keep them"
    return "ok", None


def diagnose_data(data: DataOnDisk) -> Iterator[Finding]:
    """How much there is to read, and every disk that it is read from."""
    yield Finding("data", f"{data.images} images, {size_text(data.file_bytes)}")
    for disk in data.disks:
        yield Finding("data disk", _disk_text(disk), *_data_on(disk))


def _data_on(disk: Disk) -> tuple[Verdict, str | None]:
    if disk.kind == "network":
        return "note", "a network file system: workers wait for each image; more of them help, and so does a cache"
    if disk.kind == "spinning":
        return "note", "a spinning disk, read in no order: a cache helps, or a copy of the images on an SSD"
    if disk.kind == "memory":
        return "note", "in memory already: no cache on top, a second copy only takes RAM"
    return "ok", None


def _disk_text(disk: Disk) -> str:
    free, total = size_text(disk.free_bytes), size_text(disk.total_bytes)
    return f"{free} free of {total} on {disk.path} ({disk.filesystem}{_KINDS[disk.kind]})"


def _release(version: str) -> tuple[int, ...]:
    """The numbers a version starts with: (8, 4, 190) for 8.4.190rc1+cu130."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in match[0].split(".")) if match else (0,)
