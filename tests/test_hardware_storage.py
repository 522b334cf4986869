"""Disks and /dev/shm: the real ones, and mount tables of other machines."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
from fakes import lay_out

from sainet.hardware.block_device import DiskKind
from sainet.hardware.storage import Shm, disk_of, disks_of, read_mounts, read_shm


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
    disk = disk_of(Path("/dev/shm"))
    assert (disk.filesystem, disk.kind) == ("tmpfs", "memory")
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


def test_several_folders_on_one_disk_are_one_disk(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (disk,) = disks_of([tmp_path / "train", tmp_path / "val" / "not" / "yet", tmp_path])
    assert disk.path == (tmp_path / "train").resolve()
    if Path("/dev/shm").is_mount():
        assert [disk.kind == "memory" for disk in disks_of([Path("/proc"), Path("/dev/shm")])] == [False, True]


# --- what a disk is


@dataclass(frozen=True)
class Sys:
    """A /sys to be laid out: disks as `sda`, and a partition 1 on each."""

    root: Path

    def disk(self, name: str, number: int, *, rotational: int, model: str = "", vendor: str = "") -> str:
        """Its partition's number, as mountinfo has it."""
        device = self.root / "sys" / "devices" / "pci0" / "block" / name
        files = {"queue/rotational": f"{rotational}\n", f"{name}1/partition": "1\n"}
        files |= {"device/vendor": f"{vendor:8}\n", "device/model": f"{model:16}\n"} if vendor else {}
        lay_out(device, files)
        (device / "slaves").mkdir()
        self._link("dev", f"{number}:0", device)
        self._link("dev", f"{number}:1", device / f"{name}1")
        self._link("class", f"{name}1", device / f"{name}1")
        return f"{number}:1"

    def mapped(self, name: str, number: int, *over: str) -> str:
        """A device over the first partitions of others, which itself says that it spins."""
        device = self.root / "sys" / "devices" / "virtual" / "block" / name
        lay_out(device, {"queue/rotational": "1\n"})
        (device / "slaves").mkdir()
        for other in over:
            (device / "slaves" / f"{other}1").symlink_to(f"../../../../pci0/block/{other}/{other}1")
        self._link("dev", f"{number}:0", device)
        return f"{number}:0"

    def _link(self, table: str, name: str, device: Path) -> None:
        folder = self.root / "sys" / ("dev/block" if table == "dev" else "class/block")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(Path("../..", *device.relative_to(self.root / "sys").parts))

    def kind(self, device: str, *, filesystem: str = "ext4", source: str = "none") -> str:
        """Of the disk of the root folder, mounted from `device`."""
        with_mounts(self.root, f"22 1 {device} / / rw - {filesystem} {source} rw")
        return disk_of(self.root, self.root).kind


@pytest.fixture
def sys_tree(tmp_path: Path) -> Sys:
    return Sys(tmp_path)


@pytest.mark.parametrize(
    ("filesystem", "kind"),
    [
        ("nfs4", "network"),
        ("lustre", "network"),
        ("fuse.gcsfuse", "network"),
        ("virtiofs", "network"),
        ("tmpfs", "memory"),
        ("overlay", "unknown"),
        ("fuse.mergerfs", "unknown"),
        ("ext4", "unknown"),
    ],
)
def test_a_file_system_without_a_device_is_what_its_type_says(sys_tree: Sys, filesystem: str, kind: str) -> None:
    assert sys_tree.kind("0:50", filesystem=filesystem) == kind


@pytest.mark.parametrize(
    ("name", "rotational", "vendor", "model", "kind"),
    [
        ("nvme0n", 0, "", "", "ssd"),
        ("sda", 0, "ATA", "Samsung SSD 870", "ssd"),
        ("sda", 1, "ATA", "ST18000NM000J", "spinning"),
        ("vda", 1, "", "", "unknown"),
        ("vda", 0, "", "", "ssd"),
        ("xvdf", 1, "", "", "unknown"),
        ("sda", 1, "QEMU", "QEMU HARDDISK", "unknown"),
        ("sda", 1, "ATA", "VBOX HARDDISK", "unknown"),
        ("sda", 1, "Google", "PersistentDisk", "unknown"),
        ("rbd0", 0, "", "", "network"),
        ("zram0", 0, "", "", "memory"),
    ],
)
def test_a_disk_is_what_linux_says_unless_it_is_virtual_and_said_to_spin(
    sys_tree: Sys, name: str, rotational: int, vendor: str, model: str, kind: str
) -> None:
    assert sys_tree.kind(sys_tree.disk(name, 8, rotational=rotational, vendor=vendor, model=model)) == kind


def test_a_file_system_with_a_number_of_its_own_is_found_by_what_it_is_mounted_from(sys_tree: Sys) -> None:
    sys_tree.disk("sda", 8, rotational=0, vendor="ATA")
    assert sys_tree.kind("0:44", filesystem="btrfs", source="/dev/sda1") == "ssd"
    assert sys_tree.kind("0:44", filesystem="btrfs", source="/dev/sdb1") == "unknown"


@pytest.mark.parametrize(
    ("over", "kind"), [(["sda"], "ssd"), (["sda", "sdb"], "spinning"), (["sda", "vda"], "unknown"), ([], "spinning")]
)
def test_a_mapped_device_is_as_slow_as_what_is_behind_it(sys_tree: Sys, over: list[str], kind: str) -> None:
    sys_tree.disk("sda", 8, rotational=0, vendor="ATA")
    sys_tree.disk("sdb", 9, rotational=1, vendor="ATA")
    sys_tree.disk("vda", 254, rotational=1)
    assert sys_tree.kind(sys_tree.mapped("dm-0", 253, *over)) == kind


def test_the_real_disk_of_this_folder_is_one_of_the_kinds(tmp_path: Path) -> None:
    disk = disk_of(tmp_path)
    assert disk.kind in get_args(DiskKind)
    assert (disk.kind == "memory") == (disk.filesystem == "tmpfs")
