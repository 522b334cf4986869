"""CPUs that can be kept busy: the affinity, and the quotas of control groups."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import CGROUP2_MOUNT, lay_out

from sainet.hardware.cpu import host_cpus, usable_cpus

V1_MOUNT = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"


@pytest.fixture
def _many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(96)))


def v2_machine(root: Path, **quotas: str) -> Path:
    files = {
        "/proc/self/cgroup": "0::/pod/us\n",
        "/proc/self/mountinfo": CGROUP2_MOUNT,
        "/sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
        "/sys/fs/cgroup/pod/us/cpu.max": quotas["us"],
        "/sys/fs/cgroup/pod/cpu.max": quotas["pod"],
    }
    return lay_out(root, files)


@pytest.mark.usefixtures("_many_cpus")
@pytest.mark.parametrize(
    ("us", "pod", "expected"),
    [
        ("max 100000", "max 100000", 96),
        ("800000 100000", "max 100000", 8),
        ("150000 100000", "max 100000", 2),
        ("10000 100000", "max 100000", 1),
        ("max 100000", "1200000 100000", 12),
        ("1600000 100000", "400000 50000", 8),
    ],
)
def test_the_smallest_v2_quota_of_the_group_and_its_ancestors_rounded_up(
    tmp_path: Path, us: str, pod: str, expected: int
) -> None:
    assert usable_cpus(v2_machine(tmp_path, us=us, pod=pod)) == expected


@pytest.mark.usefixtures("_many_cpus")
@pytest.mark.parametrize(("quota", "expected"), [("-1", 96), ("350000", 4)])
def test_v1_quota(tmp_path: Path, quota: str, expected: int) -> None:
    files = {
        "/proc/self/cgroup": "3:cpu,cpuacct:/job\n",
        "/proc/self/mountinfo": V1_MOUNT,
        "/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": f"{quota}\n",
        "/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
    }
    assert usable_cpus(lay_out(tmp_path, files)) == expected


@pytest.mark.usefixtures("_many_cpus")
def test_hybrid_host_reads_the_quota_where_the_version_that_governs_cpus_has_it(tmp_path: Path) -> None:
    unified = CGROUP2_MOUNT.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")
    files = {
        "/proc/self/cgroup": "3:cpu,cpuacct:/job\n0::/job\n",
        "/proc/self/mountinfo": f"{V1_MOUNT}\n{unified}",
        "/sys/fs/cgroup/unified/cgroup.controllers": "memory\n",
        "/sys/fs/cgroup/unified/job/cpu.max": "100000 100000\n",
        "/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "700000\n",
        "/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
    }
    assert usable_cpus(lay_out(tmp_path, files)) == 7


def test_a_process_pinned_to_one_cpu_has_one() -> None:
    pinned = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    code = f"{pinned}; from sainet.hardware.cpu import usable_cpus; print(usable_cpus())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_this_machine_has_no_more_than_the_host() -> None:
    assert 1 <= usable_cpus() <= host_cpus()
