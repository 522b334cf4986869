"""What the tests of the guard share: samples by the share of a limit that is taken."""

from collections.abc import Callable, Iterable, Iterator

from fakes import GIB

from sainet.guard.policy import Alarm, Policy
from sainet.guard.sample import GpuSample, Sample

LIMIT = 24 * GIB
GPU = 40 * GIB


def ram(time_s: float, share: float, limit_bytes: int = LIMIT) -> Sample:
    return Sample(time_s, ram_working_set_bytes=round(share * limit_bytes), ram_limit_bytes=limit_bytes)


def shm(time_s: float, share: float) -> Sample:
    return Sample(time_s, shm_used_bytes=round(share * LIMIT), shm_size_bytes=LIMIT)


def vram(time_s: float, *shares: float | None) -> Sample:
    return Sample(time_s, gpus=tuple(GpuSample(round(share * GPU), GPU) if share else None for share in shares))


def disk(time_s: float, free_bytes: float, checkpoint_bytes: int | None = None) -> Sample:
    return Sample(time_s, disk_free_bytes=round(free_bytes), checkpoint_bytes=checkpoint_bytes)


def times(until_s: float, every_s: float = 0.5, start_s: float = 0.0) -> Iterator[float]:
    return (start_s + every_s * number for number in range(round((until_s - start_s) / every_s) + 1))


def looks(policy: Policy, level: Callable[[float], float], until_s: float) -> Iterator[Sample]:
    """RAM as the guard would see it at its own pace: the more often, the tighter it is."""
    time_s = 0.0
    while time_s <= until_s:
        sample = ram(time_s, level(time_s))
        yield sample
        time_s += 0.1 if policy.tight(sample) else 0.5


def alarms(policy: Policy, samples: Iterable[Sample]) -> list[Alarm]:
    return [alarm for sample in samples for alarm in policy.see(sample)]


def told(found: Iterable[Alarm]) -> list[tuple[float, str]]:
    """Times and levels alone."""
    return [(round(alarm.time_s, 3), alarm.level) for alarm in found]
