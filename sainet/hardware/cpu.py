"""How many CPUs this process may use.

A container on a host with 96 CPUs may be pinned to some of them (affinity), and may be given the time of only
a few (a quota of its control group or of an ancestor). Workers beyond the smaller of the two only wait.
"""

import math
import os
from pathlib import Path

from sainet.hardware.ram import Cgroup, own_cgroups

__all__ = ["host_cpus", "usable_cpus"]

_ROOT = Path("/")


def usable_cpus(root: Path = _ROOT) -> int:
    """CPUs that this process can keep busy: a quota of one and a half counts as 2. At least 1.

    `root` stands for ``/`` where the quotas are read; the affinity is always that of this process.
    """
    quotas = [quota for group in own_cgroups("cpu", root) if (quota := _quota(group)) is not None]
    return math.ceil(min([len(os.sched_getaffinity(0)), *quotas]))


def host_cpus() -> int:
    """CPUs of the machine, whoever may use them."""
    return os.cpu_count() or 1


def _quota(group: Cgroup) -> float | None:
    """CPUs' worth of time the group gets per period; None without a quota."""
    if group.version == 2:
        fields = (group.read("cpu.max") or "").split()
    else:
        fields = [(group.read(f"cpu.cfs_{name}_us") or "").strip() for name in ("quota", "period")]
    # No quota reads `max` on v2 and -1 on v1.
    if len(fields) != 2 or not all(field.isdecimal() and int(field) for field in fields):
        return None
    return int(fields[0]) / int(fields[1])
