"""When the guard says something: from samples to alarms. Pure, so that a recording can be judged by other settings.

`levels.py` says at each sample whether something is short; `gate.py` makes few alarms out of that.
"""

from typing import Literal

from sainet.config.schema import Guard
from sainet.guard.gate import Alarm, Gate
from sainet.guard.levels import DeviceLevel, DiskLevel, HostLevel, Verdict, disk_levels
from sainet.guard.sample import Sample
from sainet.guard.trend import FORGET_AFTER_S
from sainet.protocol import Resource

__all__ = ["Alarm", "Policy"]

_RESOURCES: tuple[Resource, ...] = ("ram", "shm", "disk", "vram")


class Policy:
    """Judges one attempt's samples in their order. What was seen is remembered for seconds, and no longer.

    A gap between two samples, a clock that goes back, and a limit that changes make the levels forget how they moved,
    and so does a kill by the kernel: the peak that it ended was not survived.
    """

    def __init__(self, settings: Guard) -> None:
        self._asked = settings
        self._ram, self._shm = HostLevel("RAM", settings), HostLevel("/dev/shm", settings)
        self._disk = DiskLevel(settings)
        self._devices: dict[int, DeviceLevel] = {}
        self._gates = {resource: Gate(resource, settings) for resource in _RESOURCES}
        self._newest_s: float | None = None
        self._kills: int | None = None

    def see(self, sample: Sample) -> list[Alarm]:
        """The alarms of this sample, at most one for each resource; usually none."""
        self._forget_what_is_over(sample)
        time_s = sample.time_s
        alarms = (self._gates[name].see(time_s, self._verdicts(name, sample)) for name in _RESOURCES)
        return [alarm for alarm in alarms if alarm is not None]

    def take_back(self, alarm: Alarm) -> None:
        """As if `alarm`, the newest of its resource, had not been: where nothing was done, nothing has to show."""
        self._gates[alarm.resource].take_back()

    def tight(self, sample: Sample) -> bool:
        """Whether to look again soon."""
        shares = (_share(sample, "ram"), _share(sample, "shm"))
        return any(share is not None and share > self._asked.tight for share in shares)

    def still(self, alarm: Alarm, sample: Sample) -> bool:
        """Whether a fresh look says that it is not over; what cannot be read is not."""
        asked = self._asked
        match alarm.resource:
            case "disk":
                soft, _ = disk_levels(asked, sample.checkpoint_bytes)
                return sample.disk_free_bytes is None or sample.disk_free_bytes < soft
            case "vram":
                share, least = _vram_share(sample, alarm.gpu), asked.vram_soft
            case resource:
                share, least = _share(sample, resource), min(asked.slope_from, asked.hard_slope_from, asked.soft)
        return share is None or share >= least

    def _verdicts(self, resource: Resource, sample: Sample) -> list[Verdict]:
        match resource:
            case "ram" if sample.ram_working_set_bytes is not None and sample.ram_limit_bytes:
                return [self._ram.see(sample.time_s, sample.ram_working_set_bytes, sample.ram_limit_bytes)]
            case "shm" if sample.shm_used_bytes is not None and sample.shm_size_bytes:
                return [self._shm.see(sample.time_s, sample.shm_used_bytes, sample.shm_size_bytes)]
            case "disk" if sample.disk_free_bytes is not None:
                return [self._disk.see(sample.disk_free_bytes, sample.checkpoint_bytes)]
            case "vram":
                seen = [(place, gpu) for place, gpu in enumerate(sample.gpus) if gpu is not None and gpu.total_bytes]
                return [self._device(place).see(sample.time_s, gpu) for place, gpu in seen]
        return []

    def _device(self, place: int) -> DeviceLevel:
        if place not in self._devices:
            self._devices[place] = DeviceLevel(place, self._asked)
        return self._devices[place]

    def _forget_what_is_over(self, sample: Sample) -> None:
        gap_s = 0.0 if self._newest_s is None else sample.time_s - self._newest_s
        killed = None not in (self._kills, sample.oom_kills) and sample.oom_kills != self._kills
        self._newest_s, self._kills = sample.time_s, sample.oom_kills
        if killed or not 0 <= gap_s <= FORGET_AFTER_S:
            seers: list[HostLevel | DeviceLevel | Gate] = [self._ram, self._shm]
            for one in [*seers, *self._devices.values(), *self._gates.values()]:
                one.forget()


def _share(sample: Sample, resource: Literal["ram", "shm"]) -> float | None:
    if resource == "ram":
        taken, limit = sample.ram_working_set_bytes, sample.ram_limit_bytes
    else:
        taken, limit = sample.shm_used_bytes, sample.shm_size_bytes
    return taken / limit if taken is not None and limit else None


def _vram_share(sample: Sample, gpu: int | None) -> float | None:
    found = sample.gpus[gpu] if gpu is not None and gpu < len(sample.gpus) else None
    return found.used_bytes / found.total_bytes if found is not None and found.total_bytes else None
