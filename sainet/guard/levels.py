"""What one thing that can run out says at one moment: is it short, how short, and in which words. Pure.

RAM and /dev/shm are short by their level, or by growth that is about to reach the limit. Growth counts only from a
high level on, above the peaks that were survived before, and while it goes on: without that, every validation, and
every cache and every worker that fills up, would look like the end. VRAM is short by its level alone, since an
allocator takes what it needs in one step; the disk by what is left for checkpoints.
"""

from dataclasses import dataclass
from typing import Literal

from sainet.config.schema import Guard
from sainet.guard.sample import GpuSample
from sainet.guard.trend import SLACK_S, Lasting, Trend
from sainet.report.memory import gib

__all__ = ["DeviceLevel", "DiskLevel", "HostLevel", "Verdict", "disk_levels", "percent"]

_GIB = 1024**3
_PERSIST_S = 0.2
"""Growth has to look dangerous for so long, seconds: one odd sample is no trend."""
_NOW_S = 0.25
"""Growth that has not gone on for the last so many seconds has come to its end: a burst that found its plateau."""
_SOFT_CHECKPOINTS, _HARD_CHECKPOINTS = 4, 1.5
"""While one is replaced there are two, and the stages' weights come on top."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`level` is None where nothing is short, `is_low` true where there is plenty; `reason` goes with a level.

    `share` is what is taken of the limit; of the disk, what is free of what there should be.
    """

    level: Literal["soft", "hard"] | None
    share: float
    is_low: bool
    reason: str = ""
    gpu: int | None = None


class _Growth:
    """Growth from a high level on that is about to reach the limit; `key` is the setting that says how soon is soon."""

    def __init__(self, trend: Trend, start: float, window_s: float, reach_s: float, margin: float, key: str) -> None:
        self._trend, self._margin, self._key = trend, margin, key
        self._start, self._window_s, self._reach_s = start, window_s, reach_s
        self._lasting = Lasting()

    def see(self, time_s: float, share: float) -> str | None:
        """What to add to the level in words, once it has looked so for a moment."""
        full_in_s = self._full_in_s(share)
        soon = full_in_s is not None and full_in_s <= self._reach_s
        if not self._lasting.for_(time_s, soon, _PERSIST_S):
            return None
        return f", full in {full_in_s:.1f} s at its present growth (guard.{self._key} {self._reach_s:g})"

    def _full_in_s(self, share: float) -> float | None:
        """None where it does not grow, or has been here before."""
        if share < self._start or share <= self._trend.survived + self._margin:
            return None
        slope, slope_now = self._trend.slope(self._window_s), self._trend.slope(_NOW_S)
        if slope is None or slope_now is None or min(slope, slope_now) <= 0:
            return None
        return max(0.0, 1 - share) / min(slope, slope_now)

    def forget(self) -> None:
        self._lasting.forget()


class HostLevel:
    """RAM or /dev/shm: `name` is what people call it."""

    def __init__(self, name: str, asked: Guard) -> None:
        self._name, self._asked = name, asked
        self._limit_bytes = 0
        self._high = Lasting()
        self._trend = Trend(max(asked.slope_s, asked.hard_slope_s))
        margin = asked.survived_margin
        self._grows = _Growth(
            self._trend, asked.slope_from, asked.slope_s, asked.slope_reach_s, margin, "slope_reach_s"
        )
        self._grows_fast = _Growth(
            self._trend,
            asked.hard_slope_from,
            asked.hard_slope_s,
            asked.hard_slope_reach_s,
            margin,
            "hard_slope_reach_s",
        )

    def see(self, time_s: float, taken_bytes: int, limit_bytes: int) -> Verdict:
        if limit_bytes != self._limit_bytes:
            self.forget()
            self._limit_bytes = limit_bytes
        share = taken_bytes / limit_bytes
        self._trend.add(time_s, share)
        # Both are asked each time, since both count how long something has lasted.
        soft, hard = self._soft(time_s, share), self._hard(time_s, share)
        reason = hard or soft
        if reason is None:
            return Verdict(None, share, share < self._asked.clear)
        return Verdict("hard" if hard else "soft", share, False, f"{self._name} {_taken(share, limit_bytes)}{reason}")

    def _soft(self, time_s: float, share: float) -> str | None:
        growing = self._grows.see(time_s, share)
        lasted_s = self._high.see(time_s, share >= self._asked.soft)
        if lasted_s is None or lasted_s < self._asked.soft_s - SLACK_S:
            return growing
        return f" for {lasted_s:.1f} s (guard.soft {percent(self._asked.soft)})"

    def _hard(self, time_s: float, share: float) -> str | None:
        growing = self._grows_fast.see(time_s, share)
        return f" (guard.hard {percent(self._asked.hard)})" if share >= self._asked.hard else growing

    def forget(self) -> None:
        """What was seen is of no use for what comes: nobody looked for too long, or the limit is another."""
        self._trend.forget()
        for one in (self._high, self._grows, self._grows_fast):
            one.forget()


class DeviceLevel:
    """VRAM of the GPU at one place of the samples."""

    def __init__(self, gpu: int, asked: Guard) -> None:
        self._gpu, self._asked = gpu, asked
        self._high = Lasting()

    def see(self, time_s: float, seen: GpuSample) -> Verdict:
        share, asked = seen.used_bytes / seen.total_bytes, self._asked
        lasted_s = self._high.see(time_s, share >= asked.vram_soft)
        level: Literal["soft", "hard"]
        if share >= asked.vram_hard:
            level, why = "hard", f"(guard.vram_hard {percent(asked.vram_hard)})"
        elif lasted_s is not None and lasted_s >= asked.soft_s - SLACK_S:
            level, why = "soft", f"for {lasted_s:.1f} s (guard.vram_soft {percent(asked.vram_soft)})"
        else:
            return Verdict(None, share, share < asked.clear, gpu=self._gpu)
        return Verdict(
            level, share, False, f"VRAM of GPU {self._gpu} {_taken(share, seen.total_bytes)} {why}", self._gpu
        )

    def forget(self) -> None:
        self._high.forget()


class DiskLevel:
    """Free space where the run's folder lies."""

    def __init__(self, asked: Guard) -> None:
        self._asked = asked

    def see(self, free_bytes: int, checkpoint_bytes: int | None) -> Verdict:
        soft, hard = disk_levels(self._asked, checkpoint_bytes)
        share = free_bytes / soft if soft else 1.0
        if free_bytes >= soft:
            return Verdict(None, share, True)
        is_hard = free_bytes < hard
        if checkpoint_bytes:
            times = _HARD_CHECKPOINTS if is_hard else _SOFT_CHECKPOINTS
            least = f"{times:g} checkpoints of {gib(checkpoint_bytes)}"
        else:
            name, level = ("disk_hard_gib", hard) if is_hard else ("disk_soft_gib", soft)
            least = f"guard.{name} {level / _GIB:g}"
        return Verdict(
            "hard" if is_hard else "soft", share, False, f"{gib(free_bytes)} of the disk free, less than {least}"
        )


def disk_levels(asked: Guard, checkpoint_bytes: int | None) -> tuple[float, float]:
    """Free bytes below which the disk is soft, and hard: in checkpoints where one has been written."""
    if checkpoint_bytes:
        return _SOFT_CHECKPOINTS * checkpoint_bytes, _HARD_CHECKPOINTS * checkpoint_bytes
    return asked.disk_soft_gib * _GIB, asked.disk_hard_gib * _GIB


def percent(share: float) -> str:
    return f"{100 * share:g}%"


def _taken(share: float, limit_bytes: int) -> str:
    return f"{share:.1%} of {gib(limit_bytes)}"
