"""Many traces out of few recordings: stretched, scaled, repeated and made noisy, all at random but the same each time.

A trace is the share of a limit every tenth of a second. `safe_trace` stays below 91% of it, wherever its peak or
plateau comes to lie; `fatal_trace` ends where the limit is reached.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.guard.recording import Recording
from sainet.config.schema import Guard
from sainet.guard.policy import Policy
from sainet.guard.sample import Sample

__all__ = ["EVERY_S", "FATAL", "Trace", "alarm_times", "fatal_trace", "safe_trace"]

EVERY_S = 0.1
Trace = NDArray[np.float64]
_REPEATED = {"page cache", "validation", "checkpoints"}
"""What a training does over and over; the others happen once, and stay."""
_PEAKS = 0.60, 0.91
_MINUTES = 1.0, 20.0
_STRETCH = 0.5, 8.0
_LIMIT_BYTES = 64 * 2**30


def safe_trace(recording: Recording, rng: np.random.Generator) -> Trace:
    """From a recording that ran out of nothing."""
    length = round(60 * rng.uniform(*_MINUTES) / EVERY_S)
    trace = _trace(recording, rng, length)
    return trace * (rng.uniform(*_PEAKS) / trace.max())


FATAL = {
    "slow leaks": "cache builds",
    "leaks with validation": "validation",
    "ramps": "cache builds",
    "worker bursts": "worker bursts",
}
"""Trainings that run out of memory, and the recording that each is made of."""


def fatal_trace(kind: str, recording: Recording, rng: np.random.Generator) -> Trace:
    """Up to the first moment at the limit, which is left out."""
    if "leak" in kind:
        trace = _trace(recording, rng, round(3600 / EVERY_S))
        per_s = rng.uniform(0.02, 0.06) / 60
        trace = trace * (rng.uniform(0.4, 0.7) / trace.max()) + per_s * EVERY_S * np.arange(len(trace))
    else:
        trace = _trace(recording, rng, round(600 / EVERY_S))
        trace = trace * (rng.uniform(1.1, 1.6) / trace.max())
    over = np.flatnonzero(trace >= 1.0)
    return trace[: over[0]] if len(over) else trace


def alarm_times(trace: Trace, settings: Guard) -> dict[str, float]:
    """When the policy first said `soft` and `hard`, seconds from the start, looking at its own pace."""
    policy, found = Policy(settings), dict[str, float]()
    for sample in _looks(policy, trace, settings):
        for alarm in policy.see(sample):
            found.setdefault(alarm.level, sample.time_s)
    return found


def _looks(policy: Policy, trace: Trace, settings: Guard) -> Iterator[Sample]:
    place = 0
    while place < len(trace):
        sample = Sample(place * EVERY_S, round(trace[place] * _LIMIT_BYTES), _LIMIT_BYTES)
        yield sample
        wait_s = settings.tight_every_s if policy.tight(sample) else settings.every_s
        place += max(1, round(wait_s / EVERY_S))


def _trace(recording: Recording, rng: np.random.Generator, length: int) -> Trace:
    shape, noise = _without_noise(np.array(recording.share))
    stretch = np.exp(rng.uniform(*np.log(_STRETCH)))
    repeats = recording.kind in _REPEATED
    pieces, have = [], 0
    while have < length and (repeats or not pieces):
        # No two validations, checkpoints or files are quite alike.
        jitter, height = (rng.uniform(0.8, 1.25), rng.uniform(0.94, 1.0)) if repeats else (1.0, 1.0)
        pieces.append(_stretched(shape, stretch * jitter) * height)
        have += len(pieces[-1])
    whole = np.concatenate(pieces)[:length]
    held = np.full(length - len(whole), whole[-1])
    return np.maximum(0.0, np.concatenate([whole, held]) + rng.choice(noise, length))


def _stretched(shape: Trace, by: float) -> Trace:
    places = np.arange(0, len(shape) - 1, 1 / by)
    return np.interp(places, np.arange(len(shape)), shape)


def _without_noise(share: Trace) -> tuple[Trace, Trace]:
    """The shape, and what is left where nothing else moves: how the level trembles, measured."""
    padded = np.pad(share, 2, mode="edge")
    shape = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    still = np.abs(np.gradient(shape)) < 0.002
    return shape, (share - shape)[still]
