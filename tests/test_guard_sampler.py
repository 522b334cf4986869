"""What the guard sees: real control groups, laid-out ones, and GPUs through the real pynvml over a scripted driver."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import CGROUP2_MOUNT, GIB, MIB, build_nvml, lay_out, meminfo, nvml_environment

from sainet.guard.sample import Sample
from sainet.guard.sampler import Sampler
from sainet.hardware.kept_file import KeptFile
from sainet.hardware.ram import own_cgroups, read_ram
from sainet.hardware.ram_watch import RamWatch


def silent(text: str) -> None:
    raise AssertionError(f"warned: {text}")


V2 = {
    "/proc/self/cgroup": "0::/pod/job\n",
    "/proc/self/mountinfo": CGROUP2_MOUNT + "\n",
    "/proc/meminfo": meminfo(64 * GIB, 60 * GIB),
    "/sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
    "/sys/fs/cgroup/pod/memory.max": f"{8 * GIB}\n",
    "/sys/fs/cgroup/pod/memory.current": f"{5 * GIB}\n",
    "/sys/fs/cgroup/pod/memory.stat": f"inactive_file {2 * GIB}\nactive_file {GIB}\nfile_dirty {MIB}\n",
    "/sys/fs/cgroup/pod/memory.events": "oom 9\noom_kill 9\n",
    "/sys/fs/cgroup/pod/job/memory.max": "max\n",
    "/sys/fs/cgroup/pod/job/memory.current": f"{GIB}\n",
    "/sys/fs/cgroup/pod/job/memory.stat": f"inactive_file {MIB}\n",
    "/sys/fs/cgroup/pod/job/memory.events": "low 0\noom 3\noom_kill 2\n",
}
"""A job in a pod; the limit is the pod's."""


def test_v2_gives_the_working_set_against_the_limit_of_an_ancestor_and_the_kills_of_our_own_group(
    tmp_path: Path,
) -> None:
    with Sampler(tmp_path, (), warn=silent, root=lay_out(tmp_path, V2)) as sampler:
        sample = sampler.read(12.5, checkpoint_bytes=7, batch=3)
    assert (sample.time_s, sample.checkpoint_bytes, sample.batch) == (12.5, 7, 3)
    assert (sample.ram_working_set_bytes, sample.ram_limit_bytes) == (2 * GIB + MIB, 8 * GIB)
    assert sample.oom_kills == 2
    assert sample.gpus == ()


def test_what_moves_is_seen_by_the_next_look(tmp_path: Path) -> None:
    root = lay_out(tmp_path, V2)
    with Sampler(tmp_path, (), warn=silent, root=root) as sampler:
        sampler.read(0.0)
        lay_out(root, {"/sys/fs/cgroup/pod/memory.current": f"{7 * GIB}\n"})
        lay_out(root, {"/sys/fs/cgroup/pod/job/memory.events": "oom_kill 3\n"})
        sample = sampler.read(0.5)
    assert (sample.ram_working_set_bytes, sample.oom_kills) == (4 * GIB + MIB, 3)


def test_a_watch_and_a_single_reading_are_one_definition(tmp_path: Path) -> None:
    root = lay_out(tmp_path, V2)
    with RamWatch(root) as watch:
        assert watch.read() == read_ram(root)
    with RamWatch() as watch:
        here = watch.read()
        assert here is not None
        assert (here.limit_bytes, here.limited_by) == (read_ram().limit_bytes, read_ram().limited_by)
        assert here.working_set_bytes == pytest.approx(read_ram().working_set_bytes, abs=200 * MIB)


def test_a_limit_that_is_set_later_is_found(tmp_path: Path) -> None:
    root = lay_out(tmp_path, V2)
    with Sampler(tmp_path, (), warn=silent, root=root) as sampler:
        assert sampler.read(0.0).ram_limit_bytes == 8 * GIB
        lay_out(root, {"/sys/fs/cgroup/pod/job/memory.max": f"{2 * GIB}\n"})
        limits = [sampler.read(float(number)).ram_limit_bytes for number in range(20)]
    assert limits[-1] == 2 * GIB, "within ten seconds, at two looks a second"


def test_a_limit_that_moves_is_seen_at_once(tmp_path: Path) -> None:
    root = lay_out(tmp_path, V2)
    with Sampler(tmp_path, (), warn=silent, root=root) as sampler:
        sampler.read(0.0)
        lay_out(root, {"/sys/fs/cgroup/pod/memory.max": f"{4 * GIB}\n"})
        assert sampler.read(0.5).ram_limit_bytes == 4 * GIB


def test_a_machine_without_anything_to_read_gives_an_empty_sample(tmp_path: Path) -> None:
    with Sampler(tmp_path / "no folder", (), warn=silent, root=tmp_path / "no root") as sampler:
        assert sampler.read(1.0) == Sample(1.0)


def test_this_machine_has_shared_memory_and_a_disk(tmp_path: Path) -> None:
    with Sampler(tmp_path, (), warn=silent) as sampler:
        sample = sampler.read(1.0)
    shm, disk = os.statvfs("/dev/shm"), os.statvfs(tmp_path)
    assert sample.shm_size_bytes == shm.f_blocks * shm.f_frsize
    assert sample.shm_used_bytes is not None
    assert sample.disk_free_bytes == pytest.approx(disk.f_bavail * disk.f_frsize, abs=GIB)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_looking_keeps_no_more_descriptors_than_at_first_and_gives_them_back(tmp_path: Path) -> None:
    before = open_descriptors()
    with Sampler(tmp_path, (), warn=silent) as sampler:
        sampler.read(0.0)
        first = open_descriptors()
        for number in range(20):
            sampler.read(float(number))
        assert open_descriptors() == first
    assert open_descriptors() == before


def test_a_file_that_is_not_there_is_none_and_not_gone(tmp_path: Path) -> None:
    file = KeptFile(tmp_path / "missing")
    assert (file.read(), file.gone) == (None, False)
    file.close()


# --- real control groups

IN_A_GROUP = """
import os, sys, time, json
from dataclasses import asdict
from pathlib import Path
from sainet.guard.sampler import Sampler
samples = []
with Sampler(Path.cwd(), (), warn=print) as sampler:
    samples.append(sampler.read(time.time()))
    held = bytearray(100 << 20)
    samples.append(sampler.read(time.time()))
    for word in sys.stdin:
        samples += [sampler.read(time.time()), sampler.read(time.time())]
        print(json.dumps([asdict(sample) for sample in samples]), flush=True)
        samples = []
"""
CHILD_THAT_EATS = "held = []\nwhile True: held.append(bytearray(16 << 20))"


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Path]:
    """A real control group of 400 MiB inside our own, without swap."""
    own = own_cgroups("memory")
    if not own:
        pytest.skip("no memory control group to make a child of")
    child = own[0].folder / f"sainet-test-{tmp_path.name}"
    try:
        child.mkdir()
    except OSError as error:
        pytest.skip(f"this user may not make a memory control group ({error})")
    try:
        limits = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"] if own[0].version == 1 else ["memory.max"]
        for name in limits:
            if (child / name).exists():
                (child / name).write_text(str(400 * MIB))
        yield child
    except OSError as error:
        pytest.skip(f"this user may not limit a memory control group ({error})")
    finally:
        if child.exists():
            _remove(child)


def _remove(group: Path) -> None:
    """As soon as the last process of it is really gone."""
    for _ in range(100):
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return


def inside(group: Path, *words: str) -> list[str]:
    return ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *words]


class Watcher:
    """A process in a group that samples when it is asked to."""

    def __init__(self, group: Path) -> None:
        command = inside(group, sys.executable, "-c", IN_A_GROUP)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def look(self) -> list[dict[str, Any]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("look\n")
        self.process.stdin.flush()
        return list(json.loads(self.process.stdout.readline()))

    def __enter__(self) -> "Watcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def test_a_real_group_is_watched_from_inside(group: Path) -> None:
    with Watcher(group) as watcher:
        before, after, *_ = watcher.look()
    assert (before["ram_limit_bytes"], before["oom_kills"]) == (400 * MIB, 0)
    assert after["ram_working_set_bytes"] - before["ram_working_set_bytes"] == pytest.approx(100 * MIB, abs=20 * MIB)


def test_a_kill_by_the_kernel_is_counted(group: Path) -> None:
    with Watcher(group) as watcher:
        watcher.look()
        command = inside(group, "sh", "-c", 'echo 1000 > /proc/self/oom_score_adj && exec "$0" -c "$1"')
        eaten = subprocess.run([*command, sys.executable, CHILD_THAT_EATS], check=False)
        assert eaten.returncode == -9
        assert watcher.look()[-1]["oom_kills"] == 1


def test_a_group_that_is_removed_is_unknown_for_one_look_and_then_found_anew(group: Path) -> None:
    own = own_cgroups("memory")[0].folder
    with Watcher(group) as watcher:
        assert watcher.look()[-1]["ram_limit_bytes"] == 400 * MIB
        (own / "cgroup.procs").write_text(str(watcher.process.pid))
        _remove(group)
        gone, found = watcher.look()
    assert gone["ram_limit_bytes"] is None
    assert found["ram_limit_bytes"] == read_ram().limit_bytes


# --- GPUs

LOOK = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from sainet.guard.sampler import Sampler
from sainet.hardware.gpu import read_gpus, visible_gpus
import os
told = []
gpus = visible_gpus(read_gpus(), os.environ)
samples = []
with Sampler(Path.cwd(), gpus, warn=told.append) as sampler:
    samples.append(asdict(sampler.read(0.0, reserved_bytes=5, allocated_bytes=4)))
    for line in sys.stdin:
        with open(line.strip()) as new, open(sys.argv[1], "w") as script:
            script.write(new.read())
        samples.append(asdict(sampler.read(0.0)))
print(json.dumps([[sample["gpus"] for sample in samples], told]))
"""
TWO = "gpu 40960 1024 0 NVIDIA A100\ngpu 40960 2048 0 NVIDIA A100\n"
CUT = (
    "gpu 40960 9000 0 NVIDIA A100\nmig 0\n"
    "instance 0 1 19968 8000 A100 MIG 3g.20gb\ninstance 0 4 4864 12 A100 MIG 1g.5gb\n"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_nvml(tmp_path_factory.mktemp("nvml"))


def look(library: Path, folder: Path, *scripts: str, **environ: str) -> tuple[list[Any], list[str]]:
    """The GPUs of a look at each script, and what was told."""
    files = [folder / f"script-{number}" for number in range(len(scripts))]
    for file, text in zip(files, scripts, strict=True):
        file.write_text(text)
    command = [sys.executable, "-c", LOOK, str(files[0])]
    environment = nvml_environment(library, files[0], **environ)
    later = "".join(f"{file}\n" for file in files[1:])
    result = subprocess.run(command, env=environment, input=later, capture_output=True, text=True, check=True)
    samples, told = json.loads(result.stdout)
    return samples, told


def used(samples: list[Any]) -> list[list[int | None]]:
    return [[gpu and gpu["used_bytes"] // MIB for gpu in gpus] for gpus in samples]


def test_every_gpu_is_watched_and_the_training_speaks_for_the_first(library: Path, tmp_path: Path) -> None:
    samples, told = look(library, tmp_path, TWO, TWO.replace("2048", "4096"))
    assert used(samples) == [[1024, 2048], [1024, 4096]]
    assert samples[0][0] == {
        "used_bytes": GIB,
        "total_bytes": 40 * GIB,
        "reserved_bytes": 5,
        "allocated_bytes": 4,
    }
    assert samples[0][1]["reserved_bytes"] is None
    assert told == []


def test_a_lost_gpu_does_not_stop_the_other_and_is_told_once(library: Path, tmp_path: Path) -> None:
    lost = TWO.replace("1024 0", "1024 15")
    samples, told = look(library, tmp_path, TWO, lost, lost, TWO)
    assert used(samples) == [[1024, 2048], [None, 2048], [None, 2048], [None, 2048]]
    assert told == ["GPU 0 (NVIDIA A100) does not answer (GPU is lost): its memory is not watched"]


def test_another_fault_may_pass(library: Path, tmp_path: Path) -> None:
    faulty = TWO.replace("2048 0", "2048 999")
    samples, told = look(library, tmp_path, TWO, faulty, faulty, TWO)
    assert used(samples) == [[1024, 2048], [1024, None], [1024, None], [1024, 2048]]
    assert len(told) == 1


def test_only_what_the_training_sees_is_watched(library: Path, tmp_path: Path) -> None:
    assert used(look(library, tmp_path, TWO, CUDA_VISIBLE_DEVICES="1")[0]) == [[2048]]


def test_a_mig_instance_is_watched_by_itself(library: Path, tmp_path: Path) -> None:
    moved = CUT.replace("4864 12", "4864 3000").replace("9000", "12000")
    samples, told = look(library, tmp_path, CUT, moved, CUDA_VISIBLE_DEVICES="MIG-04000000-fake")
    assert used(samples) == [[12], [3000]]
    assert samples[0][0]["total_bytes"] == 4864 * MIB
    assert told == []
