"""The memory of a process group, against what real processes were told to take."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes import MIB, lay_out

from sainet.hardware.footprint import Footprint, process_footprint, read_footprint
from sainet.hardware.storage import read_shm

CHILDREN, SHARED, PRIVATE = 3, 64 * MIB, 16 * MIB

# A block that all map, forked so that all pages are shared, and a block of each child's own.
SHARING = f"""
import mmap, os, sys, time
shared = mmap.mmap(-1, {SHARED}) if sys.argv[1] == "shmem" else bytearray({SHARED})
shared[:] = b"x" * {SHARED}
children = []
for _ in range({CHILDREN}):
    ours, theirs = os.pipe()
    if os.fork() == 0:
        if shared[::4096].count(b"x") != {SHARED} // 4096:
            os._exit(1)
        private = b"y" * {PRIVATE}
        os.write(theirs, b".")
        time.sleep(60)
        os._exit(0)
    children.append(os.read(ours, 1))
print("ready", flush=True)
time.sleep(60)
"""
# A file without a name that two processes have open, as a batch between a worker and the training.
OPEN_FILE = f"""
import mmap, os, sys, time
descriptor = os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR)
for _ in range({SHARED} // {MIB}):
    os.write(descriptor, b"x" * {MIB})
ours, theirs = os.pipe()
if os.fork() == 0:
    os.write(theirs, b".")
    time.sleep(60)
    os._exit(0)
os.read(ours, 1)
if sys.argv[1] == "mapped":
    block = mmap.mmap(descriptor, {SHARED})
    block[::4096].count(b"x")
print("ready", flush=True)
time.sleep(60)
"""
NOTHING = """
import time
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def footprint_of() -> Iterator[Callable[..., Footprint]]:
    """Runs a script until it is ready, and reads the footprint of its group."""
    started: list[subprocess.Popen[str]] = []

    def read(code: str, *arguments: str) -> Footprint:
        command = [sys.executable, "-S", "-c", code, *arguments]
        leader = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, text=True)
        started.append(leader)
        assert leader.stdout is not None
        assert leader.stdout.readline() == "ready\n"
        return read_footprint(leader.pid)

    yield read
    for leader in started:
        os.killpg(leader.pid, signal.SIGKILL)
        leader.communicate()


def test_what_forked_processes_share_counts_once(footprint_of: Callable[..., Footprint]) -> None:
    found, bare = footprint_of(SHARING, "anonymous"), footprint_of(NOTHING)
    assert found.processes == 1 + CHILDREN
    assert found.exact
    expected = SHARED + CHILDREN * PRIVATE + bare.pss_bytes
    assert found.pss_bytes == pytest.approx(expected, abs=12 * MIB)  # the pages that an interpreter of its own dirties
    assert found.shmem_bytes == 0


def test_shared_memory_counts_once_and_is_told_apart(footprint_of: Callable[..., Footprint]) -> None:
    found = footprint_of(SHARING, "shmem")
    assert found.shmem_bytes == pytest.approx(SHARED, abs=MIB)
    assert found.ram_bytes == found.pss_bytes
    assert found.pss_bytes - found.shmem_bytes >= CHILDREN * PRIVATE


@pytest.mark.parametrize("mapped", ["mapped", "unmapped"])
def test_an_open_file_in_shm_counts_once_whoever_maps_it(footprint_of: Callable[..., Footprint], mapped: str) -> None:
    if read_shm().free_bytes < 2 * SHARED:
        pytest.skip("/dev/shm is missing or too small here")
    found, bare = footprint_of(OPEN_FILE, mapped), footprint_of(NOTHING)
    assert found.processes == 2
    assert found.open_shm_bytes == SHARED
    assert found.shmem_bytes == pytest.approx(SHARED if mapped == "mapped" else 0, abs=MIB)
    assert found.ram_bytes == pytest.approx(SHARED + bare.pss_bytes, abs=6 * MIB)


def test_a_group_that_is_gone_holds_nothing() -> None:
    leader = subprocess.Popen([sys.executable, "-S", "-c", ""], start_new_session=True)
    leader.wait()
    assert read_footprint(leader.pid) == Footprint(0, 0, 0)


def test_a_process_that_ended_while_it_was_read_is_left_out(tmp_path: Path) -> None:
    assert process_footprint(tmp_path / "4711") is None
    zombie = subprocess.Popen([sys.executable, "-S", "-c", ""])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    # It has a folder still, and no memory: some kernels refuse the file, others give an empty one.
    found = process_footprint(Path("/proc") / str(zombie.pid))
    assert found is None or found.pss_bytes == 0
    zombie.wait()


def test_without_the_shares_private_pages_count_and_it_says_so(tmp_path: Path) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    lay_out(tmp_path, {"statm": "9000 700 200 5 0 600 0\n"})
    found = process_footprint(tmp_path)
    assert found == Footprint(500 * page, 0, 1, exact=False)
    assert not (found + Footprint(1, 0, 1)).exact


def test_our_own_private_pages_are_those_of_the_rollup(tmp_path: Path) -> None:
    """The fallback on a real process: what it leaves out is shared."""
    own = Path("/proc/self")
    lay_out(tmp_path, {"statm": (own / "statm").read_text()})
    exact, private = process_footprint(own), process_footprint(tmp_path)
    assert exact is not None
    assert private is not None
    assert 0 < private.pss_bytes <= exact.pss_bytes * 1.05
