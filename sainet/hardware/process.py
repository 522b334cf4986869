"""Processes as the supervisor needs them: is it still the same one, who is left of a group, end the group.

A group is more than its leader: after a training process is killed, its loader workers live on for seconds
and hold their memory, so a restart has to wait until the whole group is empty.
"""

import os
import signal
import time
from pathlib import Path

import psutil

from sainet.errors import SainetError

__all__ = ["end_group", "group_cpu_s", "group_members", "process_started_s"]

_POLL_S = 0.05

# A process that holds a GPU may take half a minute to die; beyond this the kernel will not let go of it.
_UNKILLABLE_AFTER_S = 120.0


def process_started_s(pid: int) -> float | None:
    """When the process started, in seconds since the epoch; None if it is gone or a zombie.

    Together with the pid this names a process for good, where a pid alone may be given out again. The kernel
    counts from boot, so a clock that is set meanwhile moves the figure: leave a second or two when comparing.
    """
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            if process.status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}:
                return None
            return float(process.create_time())
    except psutil.NoSuchProcess:
        return None


def group_members(pgid: int) -> list[int]:
    """Pids of the live processes of a process group, in no order; empty when the group is gone.

    Zombies have given back everything but their number and do not count, unless threads of theirs run on.
    """
    folders = (folder for folder in Path("/proc").iterdir() if folder.name.isdecimal())
    return [int(folder.name) for folder in folders if _is_in(folder, pgid)]


def group_cpu_s(pgid: int) -> float:
    """CPU seconds, user and system, that the live processes of a group have used so far."""
    ticks = sum(_cpu_ticks(Path("/proc") / str(pid)) for pid in group_members(pgid))
    return ticks / os.sysconf("SC_CLK_TCK")


def end_group(pgid: int, *, grace_s: float) -> None:
    """Ask every process of the group to stop (SIGTERM), kill who is left after `grace_s`, wait for the last.

    Returns at once when the group is gone already. Exit statuses are left to the parents. A group's number is
    taken while anyone is in it, and may be given out again afterwards: the caller makes sure that it still is
    the one that was meant (`process_started_s` of its leader).

    Raises ValueError for our own group and for numbers that mean more than one group, PermissionError when
    the group belongs to somebody else, and SainetError when the kernel does not let a killed process go.
    """
    if pgid <= 1 or pgid == os.getpgrp():
        raise ValueError(f"not ending process group {pgid}: it is our own, or stands for more than one group")
    if _signal(pgid, signal.SIGTERM) and not _wait_until_empty(pgid, grace_s):
        _signal(pgid, signal.SIGKILL)
        if not _wait_until_empty(pgid, _UNKILLABLE_AFTER_S):
            raise SainetError(
                f"processes {group_members(pgid)} do not end, although they were killed",
                hint="they hang in the kernel (GPU driver, network disk): only restarting the machine helps",
            )


def _signal(pgid: int, number: signal.Signals) -> bool:
    """Whether there was anyone to send it to."""
    if not group_members(pgid):
        return False
    try:
        os.killpg(pgid, number)
    except ProcessLookupError:
        return False
    return True


def _wait_until_empty(pgid: int, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while group_members(pgid):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _is_in(folder: Path, pgid: int) -> bool:
    fields = _stat(folder)
    if fields is None:
        return False
    state, group, threads = fields[0], int(fields[2]), int(fields[17])
    return group == pgid and (state not in b"ZX" or threads > 1)


def _cpu_ticks(folder: Path) -> int:
    fields = _stat(folder)
    return 0 if fields is None else int(fields[11]) + int(fields[12])


def _stat(folder: Path) -> list[bytes] | None:
    """The fields of a process's `stat` from its state on; None when it has ended since the folder was listed."""
    try:
        stat = (folder / "stat").read_bytes()
    except OSError:
        return None
    # The command's name comes first, in brackets, and may hold brackets and blanks itself.
    return stat.rpartition(b")")[2].split()
