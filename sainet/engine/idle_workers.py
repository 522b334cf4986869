"""Waiting until a loader's workers have nothing left to do, which is when its queue is full."""

import multiprocessing
import time
from pathlib import Path

from sainet.engine.lifeline import stop_if_asked

_POLL_S = 0.2
_IDLE_S = 1.5
"""Longer than one image takes from slow storage: a worker that waits for it uses no CPU either."""


def wait_until_idle(limit_s: float) -> bool:
    """Return True once no worker of this process has used a CPU or waited for a disk for a while.

    False after `limit_s` seconds; True at once without workers. Raises `Stopped` when asked to end.
    """
    workers = [child.pid for child in multiprocessing.active_children() if child.pid is not None]
    if not workers:
        return True
    deadline_s = time.monotonic() + limit_s
    busy_s, before = time.monotonic(), _cpu_ticks(workers)
    while time.monotonic() < deadline_s:
        stop_if_asked()
        time.sleep(_POLL_S)
        ticks = _cpu_ticks(workers)
        if ticks is None or ticks != before:
            busy_s, before = time.monotonic(), ticks
        elif time.monotonic() - busy_s >= _IDLE_S:
            return True
    return False


def _cpu_ticks(pids: list[int]) -> list[int] | None:
    """CPU time that each has used, clock ticks; None while one of them waits for a disk."""
    found = [_stat(pid) for pid in pids]
    if any(state == "D" for state, _ in found):
        return None
    return [ticks for _, ticks in found]


def _stat(pid: int) -> tuple[str, int]:
    """State and CPU time of a process; those of a dead one when it is gone: the loader tells about it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "X", 0
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[11]) + int(fields[12])
