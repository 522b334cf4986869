"""Disks and /dev/shm: the real ones, and mount tables of other machines."""

import os
import shutil
from pathlib import Path

import pytest
from fakes import GIB, lay_out

from sainet.hardware.storage import Disk, Shm, disk_of, read_mounts, read_shm


def with_mounts(root: Path, *lines: str) -> Path:
    return lay_out(root, {"/proc/self/mountinfo": "".join(f"{line}\n" for line in lines)})


def test_a_folder_that_does_not_exist_yet_is_judged_by_its_nearest_parent(tmp_path: Path) -> None:
    disk = disk_of(tmp_path / "runs" / "next" / "stage-1")
    assert disk.path == tmp_path.resolve()
    assert disk.total_bytes == shutil.disk_usage(tmp_path).total
    assert 0 < disk.free_bytes <= disk.total_bytes
    assert disk.writable


def test_the_real_shm_is_a_tmpfs() -> None:
    if not Path("/dev/shm").is_mount():
        pytest.skip("/dev/shm is not a mount here")
    assert disk_of(Path("/dev/shm")).filesystem == "tmpfs"
    shm, stat = read_shm(), os.statvfs("/dev/shm")
    assert shm.size_bytes == stat.f_blocks * stat.f_frsize
    assert shm.free_bytes == shm.size_bytes - shm.used_bytes


def test_no_shm_at_all_has_no_size(tmp_path: Path) -> None:
    assert read_shm(tmp_path) == Shm(0, 0)


def test_the_innermost_mount_gives_the_file_system(tmp_path: Path) -> None:
    data = tmp_path / "mnt" / "my data"
    data.mkdir(parents=True)
    escaped = str(data).replace(" ", "\\040")
    root = with_mounts(
        tmp_path / "fake",
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw",
        f"40 22 0:40 /export {escaped} rw,relatime shared:9 - nfs4 server:/export rw,vers=4.2",
    )
    assert disk_of(data / "runs", root).filesystem == "nfs4"
    assert disk_of(tmp_path / "mnt", root).filesystem == "ext4"


def test_a_mount_over_another_covers_it(tmp_path: Path) -> None:
    root = with_mounts(
        tmp_path, "22 1 8:1 / / rw - ext4 /dev/sda1 rw", "23 22 0:30 / / rw shared:1 - overlay overlay rw"
    )
    assert disk_of(tmp_path, root).filesystem == "overlay"


def test_a_name_that_only_begins_alike_is_not_inside_a_mount(tmp_path: Path) -> None:
    (tmp_path / "database").mkdir()
    root = with_mounts(
        tmp_path, "22 1 8:1 / / rw - ext4 /dev/sda1 rw", f"23 22 0:30 / {tmp_path}/data rw - nfs server:/x rw"
    )
    assert disk_of(tmp_path / "database", root).filesystem == "ext4"


def test_without_proc_the_file_system_is_unknown(tmp_path: Path) -> None:
    assert read_mounts(tmp_path) == []
    assert disk_of(tmp_path, tmp_path).filesystem == "unknown"


@pytest.mark.parametrize(
    ("filesystem", "network"),
    [("nfs4", True), ("lustre", True), ("fuse.gcsfuse", True), ("ext4", False), ("fuse.mergerfs", False)],
)
def test_network_file_systems_are_recognised(filesystem: str, network: bool) -> None:
    assert Disk(Path("/x"), GIB, GIB, filesystem).is_network is network
