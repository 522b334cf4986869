"""What will and will not work on this machine, and why: a judgement over values that others have read.

The words are for people (sizes in GiB); programs take the bytes from the machine's own figures.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sainet.hardware.gpu import Gpu, GpuReading
from sainet.hardware.machine import Machine, Versions
from sainet.hardware.storage import Disk, Shm

__all__ = ["Finding", "diagnose"]

Verdict = Literal["ok", "note", "problem"]

_GIB = 1024**3

# The range that pyproject.toml asks for; private seams of Ultralytics are tested against it.
_ULTRALYTICS_FROM, _ULTRALYTICS_BELOW = (8, 4, 190), (8, 5)
_TORCH_FROM = (2, 4)

# One batch of 64 images of 1440x832 is 0.2 GiB, and a few workers queue a dozen of them.
_SHM_NEEDED_BYTES = 1 * _GIB
_SHM_COMFORT_BYTES = 8 * _GIB
_RAM_COMFORT_BYTES = 8 * _GIB
# Per stage the exact state (weights, their average, the optimizer) is kept twice, and best and last besides; a third
# state stands beside them while it is written.
_DISK_NEEDED_BYTES = 5 * _GIB
_CPUS_PER_GPU = 4
_GPU_IDLE_BYTES = 1 * _GIB


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    `ok` needs nothing; a `note` limits what can be done or how fast; a `problem` makes a training fail.
    `hint` says what that means or what to do.
    """

    topic: str
    value: str
    verdict: Verdict = "ok"
    hint: str | None = None


def diagnose(machine: Machine, versions: Versions, runs_disk: Disk) -> list[Finding]:
    """Everything worth saying, from software to disk; `runs_disk` is the disk of the folder for runs."""
    return [
        Finding("sainet", versions.sainet),
        Finding("python", versions.python),
        _torch(versions, machine.gpus),
        _ultralytics(versions.ultralytics),
        *_driver(versions.torch_cuda, machine.gpus),
        *_gpus(machine.gpus),
        _ram(machine),
        _cpus(machine),
        _shm(machine.shm),
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


def _gpus(reading: GpuReading) -> Iterator[Finding]:
    yield from (_gpu(gpu) for gpu in reading.gpus)
    for lost in reading.unreadable:
        hint = "it cannot be trained on: reset it or restart the machine, and leave it out of --device"
        yield Finding(f"gpu {lost.index}", lost.reason, "problem", hint)
    if not reading.gpus:
        reason = reading.unavailable_reason or "none found"
        yield Finding("gpu", f"none: {reason}", "note", "only the cpu profile trains here")
    elif not any(gpu.visible for gpu in reading.gpus):
        hint = "only the cpu profile trains here until CUDA_VISIBLE_DEVICES is unset or names a device"
        yield Finding("gpu", "CUDA_VISIBLE_DEVICES hides every GPU", "problem", hint)


def _gpu(gpu: Gpu) -> Finding:
    topic, value = f"gpu {gpu.index}", f"{gpu.name}, {_size(gpu.total_bytes)}"
    if not gpu.visible:
        return Finding(topic, value, "note", "hidden by CUDA_VISIBLE_DEVICES: it will not be used")
    if gpu.used_bytes >= _GPU_IDLE_BYTES or gpu.processes:
        pids = ", ".join(str(process.pid) for process in gpu.processes)
        who = f"by process {pids}" if pids else "by processes that cannot be seen from here"
        value = f"{value}, {_size(gpu.used_bytes)} in use"
        return Finding(topic, value, "note", f"in use {who}: a batch that fills the GPU will not fit")
    return Finding(topic, value)


def _ram(machine: Machine) -> Finding:
    ram = machine.ram
    value = f"{_size(ram.limit_bytes)}, {_size(ram.headroom_bytes)} free ({ram.limited_by})"
    hints = []
    if ram.limit_bytes < machine.host_ram_bytes:
        hints.append(
            f"the host has {_size(machine.host_ram_bytes)}, but the kernel kills at the limit of the control "
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


def _shm(shm: Shm) -> Finding:
    value = f"{_size(shm.size_bytes)}, {_size(shm.free_bytes)} free" if shm.size_bytes else "none"
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
    return Finding("/dev/shm", value)


def _disk(disk: Disk) -> Finding:
    value = f"{_size(disk.free_bytes)} free of {_size(disk.total_bytes)} on {disk.path} ({disk.filesystem})"
    if not disk.writable:
        return Finding("runs folder", value, "problem", "not writable: choose another --runs-dir")
    if disk.free_bytes < _DISK_NEEDED_BYTES:
        hint = "checkpoints will not fit: free some space or choose another --runs-dir"
        return Finding("runs folder", value, "problem", hint)
    return Finding("runs folder", value, *_filesystem(disk))


def _filesystem(disk: Disk) -> tuple[Verdict, str | None]:
    if disk.is_network:
        return "note", "a network file system: checkpoints take longer, and `cache: disk` will be slow"
    if disk.filesystem in {"tmpfs", "ramfs"}:
        return "note", "this is memory: runs count against the RAM and are gone after a restart"
    if disk.filesystem == "overlay":
        return "note", "inside the container: runs are lost with it; mount a volume to keep them"
    return "ok", None


def _release(version: str) -> tuple[int, ...]:
    """The numbers a version starts with: (8, 4, 190) for 8.4.190rc1+cu130."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in match[0].split(".")) if match else (0,)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / _GIB:.1f} GiB" if size_bytes >= _GIB else f"{size_bytes / 1024**2:.0f} MiB"
