"""What a process group holds, looked at over and over while it works."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sainet.hardware.footprint import Footprint, read_footprint
from sainet.hardware.gpu import read_gpus, visible_gpus
from sainet.hardware.ram import read_ram

__all__ = ["Mark", "Sample", "Sampler", "Usage", "by_phase"]

Mark = tuple[float, str]
"""Unix time, and the phase that begins there."""

_SHARE = 0.2
"""The most of the time that reading footprints may take: it holds up those who are read."""


@dataclass(frozen=True)
class Usage:
    """Bytes at one moment, or the peaks over several.

    - `ram_bytes`, `shm_bytes`: of the processes.
    - `working_set_bytes`: how much more the tightest limit counts as taken than before the start: everybody's.
    - `vram_bytes`: how much more of the GPU is in use than before, everybody's too; None without NVML.
    """

    ram_bytes: int = 0
    working_set_bytes: int = 0
    shm_bytes: int = 0
    vram_bytes: int | None = None

    def peak(self, other: "Usage") -> "Usage":
        """The larger of each."""
        vram = [value for value in (self.vram_bytes, other.vram_bytes) if value is not None]
        return Usage(
            max(self.ram_bytes, other.ram_bytes),
            max(self.working_set_bytes, other.working_set_bytes),
            max(self.shm_bytes, other.shm_bytes),
            max(vram, default=None),
        )


@dataclass(frozen=True)
class Sample:
    time_s: float
    usage: Usage
    exact: bool
    """As `Footprint.exact`."""


class Sampler:
    """Takes samples of the process group `pgid`. Made before the group is started: what is in use then is others'.

    `device` is its GPU's number among those that `environ` makes visible; None for a CPU.
    """

    def __init__(self, device: int | None, environ: Mapping[str, str] = os.environ) -> None:
        self.device, self.environ = device, environ
        self.samples: list[Sample] = []
        self._before = self._in_use()
        self._footprint = Footprint(0, 0, 0)
        self._next_s = 0.0

    @property
    def vram_before_bytes(self) -> int | None:
        """In use on the GPU by others."""
        return self._before.vram_bytes

    def take(self, pgid: int) -> None:
        """Look once; footprints are read less often where that takes long."""
        began_s = time.monotonic()
        if began_s >= self._next_s:
            self._footprint = read_footprint(pgid)
            self._next_s = began_s + (time.monotonic() - began_s) / _SHARE
        self.samples.append(Sample(time.time(), self._usage(), self._footprint.exact))

    def _usage(self) -> Usage:
        now, before = self._in_use(), self._before
        vram = None
        if now.vram_bytes is not None and before.vram_bytes is not None:
            vram = max(0, now.vram_bytes - before.vram_bytes)
        return Usage(
            ram_bytes=self._footprint.ram_bytes,
            working_set_bytes=max(0, now.working_set_bytes - before.working_set_bytes),
            shm_bytes=self._footprint.open_shm_bytes,
            vram_bytes=vram,
        )

    def _in_use(self) -> Usage:
        return Usage(working_set_bytes=read_ram().working_set_bytes, vram_bytes=self._vram_bytes())

    def _vram_bytes(self) -> int | None:
        if self.device is None:
            return None
        gpus = visible_gpus(read_gpus(self.environ), self.environ)
        return gpus[self.device].used_bytes if self.device < len(gpus) else None


def by_phase(samples: Sequence[Sample], marks: Iterable[Mark]) -> dict[str, Usage]:
    """The peaks of each phase, in the order in which the phases first began; one that no sample fell into is left out.

    What was sampled before the first mark has no phase.
    """
    ordered = sorted(marks)
    ends = [time_s for time_s, _ in ordered[1:]] + [float("inf")]
    peaks: dict[str, Usage] = {}
    for (begin_s, name), end_s in zip(ordered, ends, strict=True):
        for sample in samples:
            if begin_s <= sample.time_s < end_s:
                peaks[name] = peaks.get(name, sample.usage).peak(sample.usage)
    return peaks
