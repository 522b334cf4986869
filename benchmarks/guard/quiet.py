#!/usr/bin/env python3
"""Is the guard quiet when all is well, and does it see what is not?

    python -m benchmarks.guard.quiet [--traces 300] [--seconds 15]

Records what a training does to memory (`recording.py`) with the guard's own sampler under a real limit: a RAM cache
being built, more page cache than the limit holds, validations, checkpoints, workers coming up. Each recording becomes
many traces (`traces.py`) of one to twenty minutes whose peak or plateau lies anywhere between 60% and 91% of the
limit, and the policy with its default settings looks at each at its own pace.

Claimed: at most 5% of the traces of a kind have a soft alarm, and none a hard one. Then the same recordings are made
to run out of memory: how many were seen before, and how long before. Exits with 1 when a claim does not hold.

Takes root, or a control group of one's own.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence

import numpy as np

from benchmarks.guard.limits import Unavailable
from benchmarks.guard.recording import KINDS, Recording, record
from benchmarks.guard.traces import EVERY_S, FATAL, alarm_times, fatal_trace, safe_trace
from sainet.config.schema import Guard

SOFT_AT_MOST = 0.05
LEAKS_SEEN_AT_LEAST = 0.99


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=300, help="of each kind")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each recording")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        recordings = {kind: record(kind, options.seconds) for kind in KINDS}
    except Unavailable as reason:
        sys.exit(f"skipped: {reason}")
    print("all is well           traces   soft    hard    (recorded: working set at most, raw usage at most)")
    quiet = [told_of(recording, options.traces, options.seed) for recording in recordings.values()]
    print("\nit runs out           traces   seen    lead    hard    lead    (medians, seconds before the limit)")
    seen = [seen_of(kind, recordings[name], options.traces, options.seed) for kind, name in FATAL.items()]
    sys.exit(0 if all(quiet) and all(seen) else 1)


def told_of(recording: Recording, traces: int, seed: int, settings: Guard | None = None) -> bool:
    """One line about a kind's safe traces; whether the claim holds."""
    rng = np.random.default_rng(seed)
    found = [alarm_times(safe_trace(recording, rng), settings or Guard()) for _ in range(traces)]
    soft, hard = (sum(level in times for times in found) / traces for level in ("soft", "hard"))
    holds = soft <= SOFT_AT_MOST and hard == 0
    raw = f"({max(recording.share):.0%}, {max(recording.raw):.0%})"
    print(
        f"{recording.kind:<21} {traces:>6} {soft:>6.1%} {hard:>6.1%}    {raw:<14} {'' if holds else 'TOO MANY'}",
        flush=True,
    )
    return holds


def seen_of(kind: str, recording: Recording, traces: int, seed: int, settings: Guard | None = None) -> bool:
    """One line about a kind's fatal traces; whether the claim, which is about leaks, holds."""
    rng = np.random.default_rng(seed)
    leads: dict[str, list[float]] = {"any": [], "hard": []}
    for _ in range(traces):
        trace = fatal_trace(kind, recording, rng)
        times = alarm_times(trace, settings or Guard())
        first = min((times[level] for level in ("soft", "hard") if level in times), default=None)
        for name, time_s in (("any", first), ("hard", times.get("hard"))):
            if time_s is not None:
                leads[name].append(len(trace) * EVERY_S - time_s)
    share = len(leads["any"]) / traces
    holds = "leak" not in kind or share >= LEAKS_SEEN_AT_LEAST
    words = "  ".join(f"{len(found) / traces:>6.1%} {_median(found):>6}" for found in leads.values())
    print(f"{kind:<21} {traces:>6} {words}    {'' if holds else 'TOO FEW'}", flush=True)
    return holds


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f}" if values else "-"


if __name__ == "__main__":
    main()
