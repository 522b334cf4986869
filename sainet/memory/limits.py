"""What there is: by the profile's own `hardware:` block, and on this machine."""

from collections.abc import Mapping, Sequence

from sainet.config.schema import Hardware
from sainet.hardware.gpu import Gpu
from sainet.hardware.machine import Machine
from sainet.hardware.storage import Disk
from sainet.memory.budget import Limit, Resource

__all__ = ["Limits", "machine_limits", "profile_limits"]

Limits = Mapping[Resource, Limit]

_GIB = 1024**3
_LEFT = ", less what stage 1 will leave there"


def profile_limits(hardware: Hardware) -> Limits:
    """The machine that the profile is written for; what its `hardware:` block leaves out is unknown."""
    return {
        "ram": _stated(hardware.ram_gib, "hardware.ram_gib"),
        "shm": _stated(hardware.shm_gib, "hardware.shm_gib"),
        "disk": _stated(hardware.disk_gib, "hardware.disk_gib"),
        "vram": _stated(hardware.vram_gib, "hardware.vram_gib"),
    }


def machine_limits(
    machine: Machine,
    runs_disk: Disk,
    gpus: Sequence[Gpu],
    *,
    own_disk_bytes: int = 0,
    promised_disk_bytes: int = 0,
    own_shm_bytes: int = 0,
    promised_shm_bytes: int = 0,
) -> Limits:
    """This machine at this moment. `gpus`: those that the training would use; without any, VRAM is unknown.

    The GPU with the least memory free decides for all of them. `own_disk_bytes`: what the stage has written already,
    which the budget counts as its own. `promised_disk_bytes`: what a stage before it has yet to write and will leave.
    `own_shm_bytes`, `promised_shm_bytes`: the same of data that are staged in /dev/shm, which is RAM too.
    """
    shm, ram = machine.shm, machine.ram
    written = max(0, runs_disk.total_bytes - runs_disk.free_bytes - own_disk_bytes)
    in_shm = max(0, shm.used_bytes - own_shm_bytes) + promised_shm_bytes
    in_ram = max(0, ram.working_set_bytes - own_shm_bytes) + promised_shm_bytes
    left = _LEFT * bool(promised_disk_bytes)
    staged = _LEFT * bool(promised_shm_bytes)
    return {
        "ram": Limit(ram.limit_bytes, f"{ram.limited_by}{staged}", in_ram),
        "shm": Limit(shm.size_bytes, f"/dev/shm{staged}", in_shm),
        "disk": Limit(runs_disk.total_bytes, f"the disk of {runs_disk.path}{left}", written + promised_disk_bytes),
        "vram": min((_gpu(gpu) for gpu in gpus), key=lambda limit: limit.free_bytes or 0)
        if gpus
        else Limit(None, "no GPU"),
    }


def _stated(gib: float | None, key: str) -> Limit:
    return Limit(None, f"{key} is not stated") if gib is None else Limit(round(gib * _GIB), key)


def _gpu(gpu: Gpu) -> Limit:
    holders = ", ".join(f"{process.pid} {process.name or ''}".strip() for process in gpu.processes)
    used = f", in use by process {holders}" if holders else ""
    return Limit(gpu.total_bytes, f"GPU {gpu.index}, {gpu.name}{used}", gpu.used_bytes)
