"""Multi-Instance GPU (MIG): a GPU cut into instances, each a device of its own to CUDA."""

from typing import Any

__all__ = ["instance_handles"]


def instance_handles(nvml: Any, handle: Any) -> list[Any] | None:
    """NVML's handles of a GPU's instances, in its order; None where MIG mode is off or the GPU has none.

    Raises `NVMLError` when the GPU stops answering.
    """
    try:
        mode, _ = nvml.nvmlDeviceGetMigMode(handle)
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound):  # before Ampere; an older driver
        return None
    if mode != nvml.NVML_DEVICE_MIG_ENABLE:
        return None
    found = [_instance(nvml, handle, slot) for slot in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle))]
    return [instance for instance in found if instance is not None]


def _instance(nvml: Any, handle: Any, slot: int) -> Any | None:
    """The instance in a slot; slots between two others may be empty, or not be ours to see."""
    try:
        return nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, slot)
    except (nvml.NVMLError_NotFound, nvml.NVMLError_NoPermission):
        return None
