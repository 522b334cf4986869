"""Ratios of pairs: their mean with its interval, and the CPU time of a command."""

import math
import os
import resource
import statistics
import subprocess
from collections.abc import Mapping, Sequence

T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26, 12: 2.20, 16: 2.13, 20: 2.09}
"""Student's t for 95%, by the number of rounds (its degrees of freedom plus one)."""


def interval(ratios: Sequence[float]) -> tuple[float, float, float]:
    """The lower end of the 95% interval, the geometric mean, and the upper end."""
    logs = [math.log(ratio) for ratio in ratios]
    half = T_95[len(logs)] * statistics.stdev(logs) / math.sqrt(len(logs))
    low, middle, high = (math.exp(statistics.mean(logs) + by) for by in (-half, 0, half))
    return low, middle, high


def cpu_seconds(command: Sequence[str], environment: Mapping[str, str] = os.environ) -> float:
    """User and system time of a command with all its children. Raises SystemExit with its output when it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(ended.stdout[-1000:] + ended.stderr[-2000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
