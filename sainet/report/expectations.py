"""A machine beside what a profile was written for: what is smaller here, what that means and what to do.

A figure of the profile is a nominal one (a "23 GB" A10G has 22.5 GiB), so what falls short of it by no more than
`TOLERANCE` is as large. Whether a training fits is not judged here: that is the memory budget's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sainet.config.schema import Config, Hardware
from sainet.hardware.block_device import DiskKind
from sainet.hardware.gpu import Gpu
from sainet.hardware.machine import Machine
from sainet.hardware.storage import Disk
from sainet.report.doctor import DataOnDisk
from sainet.report.findings import GIB, Finding, Verdict, size_text

__all__ = ["TOLERANCE", "Found", "compare"]

TOLERANCE = 0.05
"""Of a nominal size the driver, the kernel and the file system keep a few percent for themselves."""

_WORDS: dict[DiskKind, tuple[str, ...]] = {
    "memory": ("tmpfs", "shm", "ramdisk"),
    "network": ("lustre", "nfs", "efs", "ceph", "network"),
    "spinning": ("hdd", "spinning"),
    "ssd": ("ssd", "nvme"),
}
_SLOWEST_FIRST: tuple[DiskKind, ...] = ("spinning", "network", "ssd", "memory")


@dataclass(frozen=True)
class Found:
    """What there is. `gpus` are those that a training of the profile would see; `data` is None where none are named."""

    machine: Machine
    gpus: Sequence[Gpu]
    runs_disk: Disk
    data: DataOnDisk | None = None


@dataclass(frozen=True)
class _Short:
    """How much less there is of something, and what that means."""

    value: str
    hint: str
    verdict: Verdict = "note"


_Compared = Iterator[tuple[str, _Short | None]]
"""What was compared, and how it falls short, if it does."""


def compare(name: str, tier: str | None, config: Config, found: Found) -> list[Finding]:
    """One line for all that is as the profile `name` expects, or more; then a finding for each thing that is less.

    `name` is as `--profile` takes it; `config` is what the profile and its `tier` set, over the defaults.
    """
    title = Path(name).stem
    tells = f"sainet profile-memory --profile {name}{f' --tier {tier}' if tier else ''} tells"
    compared = [*_gpus(config.hardware, name, tells, found), *_machine(config, tells, found), *_storage(config, found)]
    enough = [what for what, short in compared if short is None]
    short = [Finding(f"{title}: {what}", less.value, less.verdict, less.hint) for what, less in compared if less]
    if enough:
        return [Finding(f"profile {title}", f"as it expects, or more: {', '.join(enough)}"), *short]
    return short or [Finding(f"profile {title}", "expects nothing of the machine")]


def _gpus(wanted: Hardware, name: str, tells: str, found: Found) -> _Compared:
    if not wanted.gpus:
        return
    used = found.gpus[: wanted.gpus]
    hint = f"it will not start here: see `sainet profiles ls`, or adapt a copy (`sainet profiles cp {name} mine.yaml`)"
    missing = _Short(f"{len(used)} of {wanted.gpus}", hint, "problem")
    yield "GPUs", None if len(used) == wanted.gpus else missing
    if not used:
        return
    if wanted.gpu:
        others = [gpu.name for gpu in used if wanted.gpu.lower() not in gpu.name.lower()]
        hint = f"its batch, and the times that it knows, are those of the {wanted.gpu}"
        yield "GPU model", _Short(f"{', '.join(others)} for {wanted.gpu}", hint) if others else None
    vram_bytes = min(gpu.total_bytes for gpu in used)
    yield from _size("VRAM", vram_bytes, wanted.vram_gib, f"its batch may not fit: {tells}")


def _machine(config: Config, tells: str, found: Found) -> _Compared:
    wanted, machine = config.hardware, found.machine
    hint = f"workers, their queue and a RAM cache may not fit: {tells}"
    yield from _size("RAM", machine.ram.limit_bytes, wanted.ram_gib, hint)
    if wanted.cpus:
        less = _Short(f"{machine.cpus} of {wanted.cpus}", _cpus_hint(config, machine.cpus))
        yield "CPUs", less if machine.cpus < wanted.cpus else None
    staged = config.staging.to == "shm"
    hint = f"{'the staged images and ' * staged}the loader's queue may not fit: {tells}"
    yield from _size("/dev/shm", machine.shm.size_bytes, wanted.shm_gib, hint)
    hint = f"`cache: disk` and checkpoints may not fit: {tells}"
    yield from _size("free disk", found.runs_disk.free_bytes, wanted.disk_gib, hint)
    if staged and found.data:
        yield "staged data", _staged(found.data, machine)


def _size(what: str, there_bytes: int, wanted_gib: float | None, hint: str) -> _Compared:
    if wanted_gib is not None:
        is_less = there_bytes < (1 - TOLERANCE) * wanted_gib * GIB
        yield what, _Short(f"{size_text(there_bytes)} of {wanted_gib:g} GiB", hint) if is_less else None


def _cpus_hint(config: Config, cpus: int) -> str:
    workers = config.loader.workers
    if workers == "auto":
        return "there will be fewer workers"
    wanted = workers * max(1, config.hardware.gpus)
    return f"enough for its {wanted} workers" if cpus >= wanted else f"there will be fewer than its {wanted} workers"


def _staged(data: DataOnDisk, machine: Machine) -> _Short | None:
    """What lies in /dev/shm is RAM too, so there has to be room in both."""
    free_bytes = min(machine.shm.free_bytes, machine.ram.headroom_bytes) + data.staged_bytes
    if data.file_bytes <= free_bytes:
        return None
    value = f"{size_text(data.file_bytes)} of images, room for {size_text(free_bytes)} in /dev/shm"
    return _Short(value, "--set staging.to=null reads them where they lie", "problem")


def _storage(config: Config, found: Found) -> _Compared:
    """Where the images are read from; nothing where either side does not say, or they are staged."""
    text = (config.hardware.storage or "").lower()
    wanted = next((kind for kind, words in _WORDS.items() if any(word in text for word in words)), None)
    disks = found.data.disks if found.data else [found.runs_disk]
    known = [disk for disk in disks if disk.kind != "unknown"]
    if wanted is None or not known or config.staging.to == "shm":
        return
    slowest = min(known, key=lambda disk: _SLOWEST_FIRST.index(disk.kind))
    hint = "the GPU may wait for images: a cache or staging helps, or a copy on faster storage"
    is_slower = _SLOWEST_FIRST.index(slowest.kind) < _SLOWEST_FIRST.index(wanted)
    value = f"{slowest.kind} ({slowest.path}) for {config.hardware.storage}"
    yield "storage", _Short(value, hint) if is_slower else None
