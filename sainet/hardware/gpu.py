"""The GPUs, as NVIDIA's management library (NVML) sees them: all physical devices, whoever uses them.

No GPU is a normal answer, not an error: `GpuReading.unavailable_reason` says why there is none. A device that
fell off the bus is reported beside the healthy ones.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

__all__ = ["Gpu", "GpuProcess", "GpuReading", "UnreadableGpu", "read_gpus", "visible_devices", "visible_gpus"]


_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class GpuProcess:
    """A process that computes on a GPU; the driver does not always say how much memory it holds."""

    pid: int
    used_bytes: int | None


@dataclass(frozen=True)
class Gpu:
    """One physical device.

    `used_bytes` is everything that cannot be allocated, the driver's own share included. `processes` is empty
    where the driver hides them, as it does inside most containers: memory in use tells more than they do.
    `visible` is False where CUDA_VISIBLE_DEVICES keeps a training from using the device. `compute_capability` is
    (major, minor), None where the driver does not tell.
    """

    index: int
    name: str
    total_bytes: int
    used_bytes: int
    processes: tuple[GpuProcess, ...] = ()
    uuid: str = ""
    visible: bool = True
    compute_capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class UnreadableGpu:
    """A device that is there but gives no figures (it was lost, or has none), with the driver's reason."""

    index: int
    reason: str


@dataclass(frozen=True)
class GpuReading:
    """All GPUs; without any, why. `cuda` is the newest CUDA (major, minor) that the driver can run."""

    gpus: tuple[Gpu, ...]
    unavailable_reason: str | None = None
    unreadable: tuple[UnreadableGpu, ...] = ()
    driver: str | None = None
    cuda: tuple[int, int] | None = None


def read_gpus(environ: Mapping[str, str] = os.environ) -> GpuReading:
    """Every GPU of the machine at this moment; never raises for a missing or broken driver.

    `environ` supplies CUDA_VISIBLE_DEVICES.
    """
    try:
        nvml = _start_nvml()
    except ImportError as error:
        return GpuReading((), f"the package nvidia-ml-py cannot be imported ({error})")
    except OSError as error:
        return GpuReading((), str(error))
    try:
        return _read_all(nvml, environ.get(_VISIBLE))
    except nvml.NVMLError as error:
        return GpuReading((), f"the NVIDIA driver does not answer ({error})")


def visible_gpus(reading: GpuReading, environ: Mapping[str, str]) -> list[Gpu]:
    """The GPUs that a program with these environment variables sees, in the order of their numbers there."""
    uuids = {gpu.index: gpu.uuid for gpu in reading.gpus} | {gpu.index: "" for gpu in reading.unreadable}
    readable = {gpu.index: gpu for gpu in reading.gpus}
    return [readable[index] for index in visible_devices(environ.get(_VISIBLE), uuids) if index in readable]


def visible_devices(asked: str | None, uuids: Mapping[int, str]) -> list[int]:
    """Indices of the devices that CUDA shows to a program, for a CUDA_VISIBLE_DEVICES (None: not set), in its order.

    CUDA stops at the first entry it does not know: ``0,-1,1`` shows device 0 only; a device named twice hides all.
    Numbers are taken as NVML's, which is CUDA's order where all devices are alike or CUDA_DEVICE_ORDER is PCI_BUS_ID.
    MIG slices are not told apart from unknown entries.
    """
    if asked is None:
        return sorted(uuids)
    visible: list[int] = []
    for entry in asked.split(","):
        index = _device(entry.strip(), uuids)
        if index is None:
            break
        if index in visible:
            return []
        visible.append(index)
    return visible


def _device(entry: str, uuids: Mapping[int, str]) -> int | None:
    if entry.isdecimal():
        return int(entry) if int(entry) in uuids else None
    matches = [index for index, uuid in uuids.items() if entry.startswith("GPU-") and uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else None


@cache
def _start_nvml() -> Any:
    """The started library; raises ImportError or OSError, with the reason.

    Started once and never shut down: without the persistence daemon each start wakes the driver up, which
    takes seconds. A failure is not cached, so the next reading tries again.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound as error:
        raise OSError("no NVIDIA driver is installed, or the container was started without it") from error
    except pynvml.NVMLError as error:
        raise OSError(f"the NVIDIA driver does not start ({error})") from error
    return pynvml


def _read_all(nvml: Any, asked: str | None) -> GpuReading:
    gpus: list[Gpu] = []
    unreadable: list[UnreadableGpu] = []
    uuids: dict[int, str] = {}
    for index in range(nvml.nvmlDeviceGetCount()):
        uuids[index] = ""
        try:
            gpus.append(_read_one(nvml, index))
            uuids[index] = gpus[-1].uuid
        except nvml.NVMLError as error:
            unreadable.append(UnreadableGpu(index, str(error)))
    visible = visible_devices(asked, uuids)
    return GpuReading(
        gpus=tuple(replace(gpu, visible=gpu.index in visible) for gpu in gpus),
        unavailable_reason=None if gpus else _why_none(unreadable),
        unreadable=tuple(unreadable),
        driver=str(nvml.nvmlSystemGetDriverVersion()),
        cuda=_cuda_version(nvml),
    )


def _read_one(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return Gpu(
        index=index,
        name=str(nvml.nvmlDeviceGetName(handle)),
        total_bytes=int(memory.total),
        used_bytes=int(memory.used),
        processes=_processes(nvml, handle),
        uuid=str(nvml.nvmlDeviceGetUUID(handle)),
        compute_capability=_compute_capability(nvml, handle),
    )


def _compute_capability(nvml: Any, handle: Any) -> tuple[int, int] | None:
    try:
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    except nvml.NVMLError:
        return None
    return int(major), int(minor)


def _processes(nvml: Any, handle: Any) -> tuple[GpuProcess, ...]:
    try:
        found = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except nvml.NVMLError:  # not supported or not permitted: the memory figures still hold
        return ()
    return tuple(GpuProcess(int(process.pid), process.usedGpuMemory) for process in found)


def _cuda_version(nvml: Any) -> tuple[int, int]:
    number = int(nvml.nvmlSystemGetCudaDriverVersion_v2())  # 12040 is 12.4
    return number // 1000, number % 1000 // 10


def _why_none(unreadable: list[UnreadableGpu]) -> str:
    return "no GPU answers" if unreadable else "the NVIDIA driver is there, but shows no GPU"
