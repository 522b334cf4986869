"""How much memory a command takes with everything that it starts."""

import subprocess
import sys
import time
from collections.abc import Sequence

import psutil

__all__ = ["flat", "peak_bytes"]

_SAMPLE_S = 0.02


def flat(few: Sequence[str], many: Sequence[str], limit: float) -> bool:
    """Whether `many`, the command for ten times the files, takes no more than `limit` times the memory of `few`."""
    peaks = [peak_bytes(command) for command in (few, many)]
    ratio = peaks[1] / peaks[0]
    mib = " and ".join(f"{peak / 2**20:.0f}" for peak in peaks)
    print(f"{'memory':<8} {ratio:6.2f} times the RSS of a tenth of the files ({mib} MiB), limit {limit}", flush=True)
    return ratio <= limit


def peak_bytes(command: Sequence[str]) -> int:
    """The largest sum of the RSS of all its processes. Ends this process when the command fails."""
    process, peak = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), 0
    while process.poll() is None:
        peak = max(peak, _rss_bytes(process))
        time.sleep(_SAMPLE_S)
    if process.returncode:
        sys.exit(f"ended with {process.returncode}: {' '.join(command)}")
    return peak


def _rss_bytes(process: psutil.Process) -> int:
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.NoSuchProcess:  # it ended meanwhile
        pass
    return total
