"""The GPUs, as NVIDIA's management library (NVML) sees them: all physical devices, whoever uses them.

No GPU is a normal answer, not an error: `GpuReading.unavailable_reason` says why there is none. A device that
fell off the bus is reported beside the healthy ones. A GPU in MIG mode lists its instances, which alone compute.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sainet.hardware.mig import instance_handles
from sainet.hardware.owner import process_name, process_user
from sainet.hardware.visibility import VARIABLE, Device, Place, visible_places

__all__ = ["Gpu", "GpuProcess", "GpuReading", "UnreadableGpu", "read_gpus", "start_nvml", "visible_gpus"]


@dataclass(frozen=True)
class GpuProcess:
    """A process that computes on a GPU; the driver does not always say how much memory it holds.

    `name` and `user` are None where the process cannot be seen from here.
    """

    pid: int
    used_bytes: int | None
    name: str | None = None
    user: str | None = None


@dataclass(frozen=True)
class Gpu:
    """One physical device, or one MIG instance of it: a device of its own with the `index` of the physical one.

    `used_bytes` is everything that cannot be allocated, the driver's own share included. `processes` is empty
    where the driver hides them, as it does inside most containers: memory in use tells more than they do.
    `visible` is False where CUDA_VISIBLE_DEVICES, or another device's MIG mode, keeps a training from using the
    device. `compute_capability` is (major, minor), None where the driver does not tell. `instances` is None where MIG
    mode is off; where it is on, they are all that can be computed on, and the device's figures are those of all.
    """

    index: int
    name: str
    total_bytes: int
    used_bytes: int
    processes: tuple[GpuProcess, ...] = ()
    uuid: str = ""
    visible: bool = True
    compute_capability: tuple[int, int] | None = None
    instances: tuple["Gpu", ...] | None = None


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
        nvml = start_nvml()
    except ImportError as error:
        return GpuReading((), f"the package nvidia-ml-py cannot be imported ({error})")
    except OSError as error:
        return GpuReading((), str(error))
    try:
        return _read_all(nvml, environ)
    except nvml.NVMLError as error:
        return GpuReading((), f"the NVIDIA driver does not answer ({error})")


def visible_gpus(reading: GpuReading, environ: Mapping[str, str]) -> list[Gpu]:
    """The devices that a program with these environment variables sees, in the order of their numbers there.

    That is whole GPUs, or one MIG instance alone. A device that gives no figures is left out.
    """
    readable = {gpu.index: gpu for gpu in reading.gpus}
    found = []
    for index, instance in _visible(reading, environ):
        if index in readable:
            gpu = readable[index]
            found.append(gpu if instance is None else (gpu.instances or ())[instance])
    return found


def _visible(reading: GpuReading, environ: Mapping[str, str]) -> list[Place]:
    devices = {gpu.index: Device("") for gpu in reading.unreadable}
    for gpu in reading.gpus:
        instances = None if gpu.instances is None else [instance.uuid for instance in gpu.instances]
        devices[gpu.index] = Device(gpu.uuid, instances)
    return visible_places(environ.get(VARIABLE), devices)


_LIBRARY = "libnvidia-ml.so.1"


@cache
def start_nvml() -> Any:
    """The started library; raises ImportError or OSError, with the reason.

    Started once and never shut down: without the persistence daemon each start wakes the driver up, which
    takes seconds. A failure is not cached, so the next reading tries again.
    """
    import ctypes

    try:
        ctypes.CDLL(_LIBRARY)  # without a driver there is no need to import its bindings
    except OSError as error:
        raise OSError("no NVIDIA driver is installed, or the container was started without it") from error
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise OSError(f"the NVIDIA driver does not start ({error})") from error
    return pynvml


def _read_all(nvml: Any, environ: Mapping[str, str]) -> GpuReading:
    gpus: list[Gpu] = []
    unreadable: list[UnreadableGpu] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            gpus.append(_read_one(nvml, index))
        except nvml.NVMLError as error:
            unreadable.append(UnreadableGpu(index, str(error)))
    reading = GpuReading(
        gpus=tuple(gpus),
        unavailable_reason=None if gpus else _why_none(unreadable),
        unreadable=tuple(unreadable),
        driver=str(nvml.nvmlSystemGetDriverVersion()),
        cuda=_cuda_version(nvml),
    )
    visible = _visible(reading, environ)
    return replace(reading, gpus=tuple(_marked(gpu, visible) for gpu in gpus))


def _marked(gpu: Gpu, visible: list[Place]) -> Gpu:
    """`gpu` and its instances, with what can be seen of them; a GPU shows through any of its instances."""
    instances = gpu.instances and tuple(
        replace(instance, visible=(gpu.index, number) in visible) for number, instance in enumerate(gpu.instances)
    )
    return replace(gpu, visible=any(index == gpu.index for index, _ in visible), instances=instances)


def _read_one(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    capability = _compute_capability(nvml, handle)
    handles = instance_handles(nvml, handle)
    if handles is None:
        return _device(nvml, handle, index, capability)
    instances = tuple(_device(nvml, instance, index, capability) for instance in handles)
    try:
        whole = _device(nvml, handle, index, capability)
    except nvml.NVMLError_NoPermission:  # a container with some of the instances may not ask about all
        whole = Gpu(
            index=index,
            name=str(nvml.nvmlDeviceGetName(handle)),
            total_bytes=sum(instance.total_bytes for instance in instances),
            used_bytes=sum(instance.used_bytes for instance in instances),
            uuid=str(nvml.nvmlDeviceGetUUID(handle)),
            compute_capability=capability,
        )
    return replace(whole, instances=instances)


def _device(nvml: Any, handle: Any, index: int, capability: tuple[int, int] | None) -> Gpu:
    """A GPU or a MIG instance by its handle."""
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return Gpu(
        index=index,
        name=str(nvml.nvmlDeviceGetName(handle)),
        total_bytes=int(memory.total),
        used_bytes=int(memory.used),
        processes=_processes(nvml, handle),
        uuid=str(nvml.nvmlDeviceGetUUID(handle)),
        compute_capability=capability,
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
    return tuple(
        GpuProcess(int(process.pid), process.usedGpuMemory, process_name(process.pid), process_user(process.pid))
        for process in found
    )


def _cuda_version(nvml: Any) -> tuple[int, int]:
    number = int(nvml.nvmlSystemGetCudaDriverVersion_v2())  # 12040 is 12.4
    return number // 1000, number % 1000 // 10


def _why_none(unreadable: list[UnreadableGpu]) -> str:
    return "no GPU answers" if unreadable else "the NVIDIA driver is there, but shows no GPU"
