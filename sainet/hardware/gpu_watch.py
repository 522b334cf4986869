"""Memory of the GPUs looked at several times a second, through handles that are kept."""

from collections.abc import Callable, Sequence
from typing import Any

from sainet.hardware.gpu import Gpu, start_nvml
from sainet.hardware.mig import instance_handles

__all__ = ["GpuMemory", "GpuWatch"]

GpuMemory = tuple[int, int]
"""Bytes in use, whoever took them, and bytes in all."""


class GpuWatch:
    """The memory of `gpus` (GPUs or MIG instances, as `read_gpus` gives them), again and again.

    `warn` is told once of each device that does not answer. One that is lost is not asked again; any other fault may
    pass, so the device is asked the next time.
    """

    def __init__(self, gpus: Sequence[Gpu], warn: Callable[[str], None]) -> None:
        self._gpus, self._warn = list(gpus), warn
        self._told: set[int] = set()
        self._nvml: Any = None
        self._handles: list[Any | None] = [None] * len(self._gpus)
        if self._gpus:
            self._start()

    def read(self) -> list[GpuMemory | None]:
        """One entry for each device; None for one that does not answer."""
        return [self._memory(place) for place in range(len(self._gpus))]

    def _start(self) -> None:
        try:
            self._nvml = start_nvml()
        except (ImportError, OSError) as error:
            self._warn(f"GPU memory cannot be watched: {error}")
            return
        for place, gpu in enumerate(self._gpus):
            try:
                self._handles[place] = _handle(self._nvml, gpu)
            except self._nvml.NVMLError as error:
                self._tell(place, str(error))

    def _memory(self, place: int) -> GpuMemory | None:
        handle = self._handles[place]
        if handle is None:
            return None
        try:
            memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        except self._nvml.NVMLError as error:
            if isinstance(error, self._nvml.NVMLError_GpuIsLost):
                self._handles[place] = None
            self._tell(place, str(error))
            return None
        return int(memory.used), int(memory.total)

    def _tell(self, place: int, reason: str) -> None:
        if place not in self._told:
            self._told.add(place)
            gpu = self._gpus[place]
            self._warn(f"GPU {gpu.index} ({gpu.name}) does not answer ({reason}): its memory is not watched")


def _handle(nvml: Any, gpu: Gpu) -> Any:
    """Raises `NVMLError`, also where the MIG instance that `gpu` was is there no longer."""
    device = nvml.nvmlDeviceGetHandleByIndex(gpu.index)
    if not gpu.uuid.startswith("MIG-"):
        return device
    for instance in instance_handles(nvml, device) or []:
        if str(nvml.nvmlDeviceGetUUID(instance)) == gpu.uuid:
            return instance
    raise nvml.NVMLError(nvml.NVML_ERROR_NOT_FOUND)
