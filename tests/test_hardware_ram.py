"""RAM as the kernel will enforce it: control groups of both versions, laid out in a folder and for real."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import CGROUP2_MOUNT, GIB, MIB, lay_out, meminfo

from sainet.hardware.ram import host_ram_bytes, own_cgroups, read_ram
from sainet.hardware.storage import disk_of

V1_MOUNT = "35 31 0:32 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
V1_UNLIMITED = 9223372036854771712


def v2_group(
    name: str, *, maximum: int | str = "max", usage: int, high: int | str = "max", stat: str = ""
) -> dict[str, str]:
    folder = f"/sys/fs/cgroup{name}"
    return {
        f"{folder}/memory.max": f"{maximum}\n",
        f"{folder}/memory.high": f"{high}\n",
        f"{folder}/memory.current": f"{usage}\n",
        f"{folder}/memory.stat": stat,
    }


def v1_group(name: str, *, limit: int, usage: int, stat: str = "") -> dict[str, str]:
    folder = f"/sys/fs/cgroup/memory{name}"
    return {
        f"{folder}/memory.limit_in_bytes": f"{limit}\n",
        f"{folder}/memory.usage_in_bytes": f"{usage}\n",
        f"{folder}/memory.stat": stat,
    }


def host(cgroup: str, mountinfo: str, *, total: int = 64 * GIB, available: int = 60 * GIB) -> dict[str, str]:
    return {
        "/proc/self/cgroup": cgroup,
        "/proc/self/mountinfo": mountinfo + "\n",
        "/proc/meminfo": meminfo(total, available),
        "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n" if "cgroup2" in mountinfo else "",
    }


def test_v2_counts_clean_page_cache_as_free_but_not_dirty_pages_nor_shared_memory(tmp_path: Path) -> None:
    stat = (
        f"anon {2 * GIB}\nfile {7 * GIB}\nshmem {GIB}\nfile_dirty {MIB}\nfile_writeback {2 * MIB}\n"
        f"inactive_file {4 * GIB}\nactive_file {2 * GIB}\n"
    )
    group = v2_group("/job", maximum=16 * GIB, usage=9 * GIB, stat=stat)
    reading = read_ram(lay_out(tmp_path, host("0::/job\n", CGROUP2_MOUNT) | group))
    assert reading.limit_bytes == 16 * GIB
    assert reading.working_set_bytes == 3 * GIB + 3 * MIB
    assert reading.headroom_bytes == 13 * GIB - 3 * MIB
    assert reading.limited_by == "cgroup v2: /sys/fs/cgroup/job/memory.max"


def test_v2_memory_high_is_a_limit_too(tmp_path: Path) -> None:
    group = v2_group("/job", maximum=16 * GIB, high=12 * GIB, usage=4 * GIB)
    reading = read_ram(lay_out(tmp_path, host("0::/job\n", CGROUP2_MOUNT) | group))
    assert (reading.limit_bytes, reading.headroom_bytes) == (12 * GIB, 8 * GIB)
    assert reading.limited_by.endswith("/job/memory.high")


def test_headroom_is_never_negative_above_memory_high(tmp_path: Path) -> None:
    group = v2_group("/job", high=4 * GIB, usage=5 * GIB)
    reading = read_ram(lay_out(tmp_path, host("0::/job\n", CGROUP2_MOUNT) | group))
    assert (reading.headroom_bytes, reading.working_set_bytes) == (0, 4 * GIB)


def test_a_limit_on_an_ancestor_counts_for_a_group_without_one(tmp_path: Path) -> None:
    groups = v2_group("/pod", maximum=8 * GIB, usage=2 * GIB) | v2_group("/pod/a/b", usage=GIB)
    reading = read_ram(lay_out(tmp_path, host("0::/pod/a/b\n", CGROUP2_MOUNT) | groups))
    assert (reading.limit_bytes, reading.working_set_bytes) == (8 * GIB, 2 * GIB)
    assert "/pod/memory.max" in reading.limited_by


def test_neighbours_in_the_pod_can_leave_less_than_our_own_limit_does(tmp_path: Path) -> None:
    groups = v2_group("/pod", maximum=32 * GIB, usage=31 * GIB) | v2_group("/pod/us", maximum=16 * GIB, usage=6 * GIB)
    reading = read_ram(lay_out(tmp_path, host("0::/pod/us\n", CGROUP2_MOUNT) | groups))
    assert (reading.limit_bytes, reading.headroom_bytes, reading.working_set_bytes) == (16 * GIB, GIB, 15 * GIB)
    assert "/pod/us/" in reading.limited_by


def test_v1_uses_the_hierarchical_figures(tmp_path: Path) -> None:
    stat = (
        f"cache {MIB}\nactive_file {MIB}\ninactive_file {MIB}\nhierarchical_memory_limit {16 * GIB}\n"
        f"total_dirty {2 * MIB}\ntotal_writeback {MIB}\ntotal_inactive_file {3 * GIB}\ntotal_active_file {GIB}\n"
    )
    files = host("4:cpu,cpuacct:/x\n5:memory:/job\n", V1_MOUNT.format(root="/"))
    reading = read_ram(lay_out(tmp_path, files | v1_group("/job", limit=16 * GIB, usage=6 * GIB, stat=stat)))
    assert (reading.limit_bytes, reading.working_set_bytes) == (16 * GIB, 2 * GIB + 3 * MIB)
    assert reading.limited_by == "cgroup v1: /sys/fs/cgroup/memory/job/memory.limit_in_bytes"


def test_v1_container_that_sees_only_its_own_group_finds_it_at_the_mount(tmp_path: Path) -> None:
    # Docker without a cgroup namespace: the path is the host's, the mount shows that folder alone.
    files = host("5:memory:/docker/abc/inner\n", V1_MOUNT.format(root="/docker/abc"))
    groups = v1_group("", limit=8 * GIB, usage=5 * GIB) | v1_group("/inner", limit=4 * GIB, usage=GIB)
    reading = read_ram(lay_out(tmp_path, files | groups))
    assert (reading.limit_bytes, reading.headroom_bytes) == (4 * GIB, 3 * GIB)


def test_a_sibling_with_a_longer_name_is_not_an_ancestor(tmp_path: Path) -> None:
    ours, sibling = V1_MOUNT.format(root="/"), V1_MOUNT.format(root="/docker/ab").replace("/memory rw", "/other rw")
    files = host("5:memory:/docker/abc\n", f"{ours}\n{sibling}")
    groups = v1_group("/docker/abc", limit=8 * GIB, usage=GIB)
    files["/sys/fs/cgroup/other/memory.limit_in_bytes"] = str(GIB)
    files["/sys/fs/cgroup/other/memory.usage_in_bytes"] = "0"
    assert read_ram(lay_out(tmp_path, files | groups)).limit_bytes == 8 * GIB


def test_v1_limit_of_an_ancestor_above_the_mount_is_found_in_the_statistics(tmp_path: Path) -> None:
    files = host("5:memory:/pod/us\n", V1_MOUNT.format(root="/pod/us"))
    stat = f"hierarchical_memory_limit {6 * GIB}\ntotal_inactive_file 0\n"
    reading = read_ram(lay_out(tmp_path, files | v1_group("", limit=V1_UNLIMITED, usage=GIB, stat=stat)))
    assert (reading.limit_bytes, reading.headroom_bytes) == (6 * GIB, 5 * GIB)
    assert reading.limited_by.endswith("memory.stat")


def test_a_limit_that_an_inner_group_repeats_is_named_where_it_is_set(tmp_path: Path) -> None:
    files = host("5:memory:/pod/us\n", V1_MOUNT.format(root="/"))
    stat = f"hierarchical_memory_limit {6 * GIB}\n"
    groups = v1_group("/pod", limit=6 * GIB, usage=GIB) | v1_group("/pod/us", limit=V1_UNLIMITED, usage=GIB, stat=stat)
    assert read_ram(lay_out(tmp_path, files | groups)).limited_by.endswith("/pod/memory.limit_in_bytes")


def test_a_mount_named_by_another_namespace_is_the_containers_own(tmp_path: Path) -> None:
    files = host("5:memory:/\n", V1_MOUNT.format(root="/docker/abc")) | v1_group("", limit=4 * GIB, usage=GIB)
    assert read_ram(lay_out(tmp_path, files)).limit_bytes == 4 * GIB


def test_hybrid_host_reads_v1_where_the_v2_mount_does_not_govern_memory(tmp_path: Path) -> None:
    unified = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
    files = host("5:memory:/job\n0::/job\n", f"{V1_MOUNT.format(root='/')}\n{unified}")
    files["/sys/fs/cgroup/unified/cgroup.controllers"] = "\n"
    groups = v1_group("/job", limit=8 * GIB, usage=GIB)
    # What must not be believed: a v2 group of the same name.
    groups |= {"/sys/fs/cgroup/unified/job/memory.max": "1", "/sys/fs/cgroup/unified/job/memory.current": "0"}
    assert read_ram(lay_out(tmp_path, files | groups)).limit_bytes == 8 * GIB


def test_hybrid_host_reads_v2_where_that_governs_memory(tmp_path: Path) -> None:
    unified = CGROUP2_MOUNT.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")
    cpu = "33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"
    files = host("3:cpu:/job\n0::/job\n", f"{cpu}\n{unified}")
    files["/sys/fs/cgroup/unified/cgroup.controllers"] = "memory\n"
    files |= {"/sys/fs/cgroup/unified/job/memory.max": f"{8 * GIB}", "/sys/fs/cgroup/unified/job/memory.current": "0"}
    assert read_ram(lay_out(tmp_path, files)).limit_bytes == 8 * GIB


def test_a_process_moved_out_of_its_namespace_reads_the_top_of_the_mount(tmp_path: Path) -> None:
    files = host("0::/../elsewhere\n", CGROUP2_MOUNT) | v2_group("", maximum=8 * GIB, usage=GIB)
    assert read_ram(lay_out(tmp_path, files)).limit_bytes == 8 * GIB


@pytest.mark.parametrize("limit", [V1_UNLIMITED, 128 * GIB])
def test_limits_beyond_the_host_are_none(tmp_path: Path, limit: int) -> None:
    files = host("5:memory:/job\n", V1_MOUNT.format(root="/")) | v1_group("/job", limit=limit, usage=GIB)
    reading = read_ram(lay_out(tmp_path, files))
    assert (reading.limit_bytes, reading.headroom_bytes) == (64 * GIB, 60 * GIB)
    assert reading.limited_by == "the host's memory"


def test_headroom_is_capped_by_what_the_host_has_left(tmp_path: Path) -> None:
    files = host("0::/job\n", CGROUP2_MOUNT, available=2 * GIB) | v2_group("/job", maximum=16 * GIB, usage=GIB)
    reading = read_ram(lay_out(tmp_path, files))
    assert (reading.limit_bytes, reading.headroom_bytes) == (16 * GIB, 2 * GIB)


def test_no_control_groups_at_all_leaves_the_host(tmp_path: Path) -> None:
    root = lay_out(tmp_path, {"/proc/meminfo": meminfo(8 * GIB, 3 * GIB)})
    assert read_ram(root).working_set_bytes == 5 * GIB


def test_this_machine_adds_up() -> None:
    reading = read_ram()
    assert 0 < reading.headroom_bytes <= reading.limit_bytes <= host_ram_bytes()
    assert reading.working_set_bytes == reading.limit_bytes - reading.headroom_bytes


IN_A_SMALL_GROUP = """
import json, os, sys
from dataclasses import asdict
from pathlib import Path
from sainet.hardware.ram import own_cgroups, read_ram
with open(sys.argv[1], "wb") as file:
    file.write(bytes(120 << 20)); file.flush(); os.fsync(file.fileno())
group = own_cgroups("memory")[0]
raw = int((group.folder / ("memory.usage_in_bytes" if group.version == 1 else "memory.current")).read_text())
print(json.dumps({"raw": raw, **asdict(read_ram())}))
"""


@pytest.fixture
def small_group(tmp_path: Path) -> Iterator[Path]:
    """A real control group of 512 MiB inside our own."""
    own = own_cgroups("memory")
    if not own:
        pytest.skip("no memory control group to make a child of")
    child = own[0].folder / f"sainet-test-{tmp_path.name}"
    limit = child / ("memory.limit_in_bytes" if own[0].version == 1 else "memory.max")
    try:
        child.mkdir()
    except OSError as error:
        pytest.skip(f"this user may not make a memory control group ({error})")
    try:
        limit.write_text(str(512 * MIB))
        yield child
    except OSError as error:
        pytest.skip(f"this user may not limit a memory control group ({error})")
    finally:
        child.rmdir()


def run_in(group: Path, cached: Path) -> dict[str, Any]:
    """What `IN_A_SMALL_GROUP` prints in a process that entered `group` first."""
    enter = f'echo $$ > {group}/cgroup.procs && exec "$@"'
    command = ["sh", "-c", enter, "sh", sys.executable, "-c", IN_A_SMALL_GROUP, str(cached)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(result.stdout))


def test_a_real_limit_of_the_group_around_ours_counts(small_group: Path, tmp_path: Path) -> None:
    inner = small_group / "inner"
    inner.mkdir()
    try:
        if not (inner / "memory.usage_in_bytes").exists():  # v2 gives a group no figures of its own unless asked to
            (small_group / "cgroup.subtree_control").write_text("+memory")
        reading = run_in(inner, tmp_path / "cached")
    finally:
        inner.rmdir()
    assert reading["limit_bytes"] == 512 * MIB
    assert f"/{small_group.name}/" in reading["limited_by"]


def test_a_real_group_is_read_from_inside_and_its_page_cache_does_not_count(small_group: Path, tmp_path: Path) -> None:
    if disk_of(tmp_path).filesystem == "tmpfs":
        pytest.skip("the temporary folder is memory: what is written there is no page cache")
    reading = run_in(small_group, tmp_path / "cached")
    assert reading["limit_bytes"] == 512 * MIB
    assert small_group.name in reading["limited_by"]
    assert reading["raw"] > 120 * MIB > reading["working_set_bytes"]
