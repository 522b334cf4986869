"""The exact state of a training: a kill, a full disk or a flipped bit costs one slot at most, and is told."""

import multiprocessing
import os
import random
import signal
import subprocess
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import DiskMaker

from sainet.engine.slots import Found, Slots
from sainet.errors import StorageError


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def found_in(folder: Path) -> Found:
    found = Slots(folder).read()
    assert found is not None
    return found


def two_states(folder: Path) -> Path:
    """slot-0 holds {"step": 1}, slot-1 the newer {"step": 2}."""
    for step in (1, 2):
        Slots(folder).write({"step": step}, epoch=0, batch=step)
    return folder


def flip(path: Path, byte: int, bit: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(byte)
        (old,) = stream.read(1)
        stream.seek(byte)
        stream.write(bytes([old ^ 1 << bit]))


# --- what is written comes back


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    whole = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    state = {
        "transposed": whole.t(),
        "shared": whole[1:3, ::2],
        "bfloat16": torch.tensor([1.5, -0.0, 3e38], dtype=torch.bfloat16),
        "nan": torch.tensor([0x7FC00001, -0x3FFFFF], dtype=torch.int32).view(torch.float32),  # two different NaNs
        "empty": torch.empty(0, 3),
        "plain": {"epoch": 3, "names": ["smoke"], "fitness": float("-inf"), "random": random.Random(0).getstate()},
    }
    written = Slots(tmp_path).write(state, epoch=3, batch=17)
    found = found_in(tmp_path)
    assert (found.epoch, found.batch, found.number, found.slot, found.remarks) == (3, 17, 1, 0, [])
    assert time.time() - 60 < found.saved_s <= time.time()
    assert written.bytes == (tmp_path / "slot-0").stat().st_size
    assert found.state["plain"] == state["plain"]
    for name in ("transposed", "shared", "bfloat16", "nan", "empty"):
        before, after = state[name], found.state[name]
        assert (after.dtype, after.shape, after.stride()) == (before.dtype, before.shape, before.stride())
        as_bits = torch.int16 if before.element_size() == 2 else torch.int32
        assert torch.equal(after.contiguous().view(as_bits), before.contiguous().view(as_bits))
    found.state["shared"][0, 0] = -1
    assert found.state["transposed"][0, 1] == -1


def test_nothing_is_found_where_nothing_was_written(tmp_path: Path) -> None:
    assert Slots(tmp_path / "none").read() is None
    assert Slots(tmp_path).read() is None
    assert list(tmp_path.iterdir()) == []


def test_slots_take_turns_over_restarts_and_the_older_survives(tmp_path: Path) -> None:
    survivor = b""
    for step in range(1, 6):
        written = Slots(tmp_path).write({"step": step}, epoch=step // 2, batch=step)
        found = found_in(tmp_path)
        assert (found.number, found.slot, found.state["step"]) == (step, written.slot, step)
        assert written.slot == (step - 1) % 2
        if step > 1:
            assert (tmp_path / f"slot-{step % 2}").read_bytes() == survivor
        survivor = (tmp_path / f"slot-{written.slot}").read_bytes()
    assert sorted(content(tmp_path)) == ["slot-0", "slot-1"]


def test_a_state_is_never_copied_as_a_whole(tmp_path: Path) -> None:
    """Beside a training that fills the machine there is no room for it."""
    state = {"weights": [torch.zeros(1_000_000) for _ in range(8)]}
    slots = Slots(tmp_path)
    tracemalloc.start()  # sees what Python allocates; torch's tensors are not in it
    try:
        slots.write(state, epoch=0, batch=0)
        slots.read()
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2 * 4_000_000  # one tensor of the eight at a time, while they are read


def test_a_state_is_on_the_disk_and_out_of_memory_before_it_is_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the check would see the page cache, and a power cut could leave an empty file of the right name."""
    order: list[str] = []
    sync, forget, read, rename = os.fsync, os.posix_fadvise, Path.open, Path.replace

    def note_open(self: Path, mode: str = "r") -> Any:
        order.append(f"open {mode} {self.name}")
        return read(self, mode)

    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("sync"), sync(fd)))
    monkeypatch.setattr(os, "posix_fadvise", lambda *a: (order.append("forget"), forget(*a)))
    monkeypatch.setattr(Path, "open", note_open)
    monkeypatch.setattr(Path, "replace", lambda self, to: (order.append("rename"), rename(self, to))[1])
    Slots(tmp_path).write({"step": 1}, epoch=0, batch=1)
    start = order.index("open wb .slot-0.tmp")
    assert order[start:] == ["open wb .slot-0.tmp", "sync", "forget", "open rb .slot-0.tmp", "sync", "rename", "sync"]


def test_a_torch_save_that_tries_again_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ultralytics puts its own in place, whose second try would go behind the half of the first."""

    def second_try(state: Any, file: Any) -> None:
        file.write(memoryview(b"half of an archive"))
        torch.serialization.save(state, file)

    monkeypatch.setattr(torch, "save", second_try)
    Slots(tmp_path).write({"step": 1}, epoch=0, batch=1)
    assert found_in(tmp_path).state == {"step": 1}


def test_clearing_leaves_nothing_but_what_is_not_ours(tmp_path: Path) -> None:
    slots = Slots(two_states(tmp_path / "checkpoint"))
    (slots.folder / ".slot-0.tmp").write_bytes(b"half")
    slots.clear()
    assert list(tmp_path.iterdir()) == []
    slots.clear()
    two_states(slots.folder)
    (slots.folder / "notes.txt").write_text("keep", encoding="utf-8")
    slots.clear()
    assert content(slots.folder) == {"notes.txt": b"keep"}


# --- torn slots


def test_a_newest_slot_cut_at_any_length_is_told_and_the_older_is_used(tmp_path: Path) -> None:
    newest = two_states(tmp_path) / "slot-1"
    size = newest.stat().st_size
    for length in reversed(range(size)):
        os.truncate(newest, length)
        found = found_in(tmp_path)
        assert (found.slot, found.state) == (0, {"step": 1}), length
        (remark,) = found.remarks
        expected = f"it has {length} of {size} bytes" if length >= 512 else f"it has {length} bytes, and its header"
        assert remark.startswith(f"slot-1 is cut short: {expected}")


def test_a_flipped_bit_in_any_byte_of_the_newest_slot_is_told_and_the_older_is_used(tmp_path: Path) -> None:
    newest = two_states(tmp_path) / "slot-1"
    for byte in range(newest.stat().st_size):
        bit = byte * 5 % 8
        flip(newest, byte, bit)
        found = found_in(tmp_path)
        assert (found.slot, found.state) == (0, {"step": 1}), (byte, bit)
        assert [remark.split(" ")[0] for remark in found.remarks] == ["slot-1"]
        flip(newest, byte, bit)
    assert found_in(tmp_path).state == {"step": 2}


@pytest.mark.parametrize(
    ("old", "new", "remark"),
    [
        (b'{"magic', b'["magic', "its header cannot be read"),
        (b"sainet slot 1", b"sainet slot 2", "its header cannot be read"),
        (b'"epoch":0', b'"epoch":7', "its checksum differs"),
        (b'"number":2', b'"number":9', "its checksum differs"),
        (b"  \n", b" \t\n", "its header is not as it was written"),  # JSON does not mind
        (b"data.pkl", b"date.pkl", "its checksum differs"),
    ],
)
def test_each_damage_is_told_in_its_own_words(tmp_path: Path, old: bytes, new: bytes, remark: str) -> None:
    newest = two_states(tmp_path) / "slot-1"
    whole = newest.read_bytes()
    assert old in whole
    newest.write_bytes(whole.replace(old, new, 1))
    found = found_in(tmp_path)
    assert found.state == {"step": 1}
    assert found.remarks == [f"slot-1 is damaged: {remark}"]


@pytest.mark.parametrize("more", [b"\0", b"\n", b"x" * 5000])
def test_bytes_behind_the_end_are_told(tmp_path: Path, more: bytes) -> None:
    newest = two_states(tmp_path) / "slot-1"
    size = newest.stat().st_size
    with newest.open("ab") as stream:
        stream.write(more)
    found = found_in(tmp_path)
    assert found.state == {"step": 1}
    assert found.remarks == [f"slot-1 is damaged: it has {size + len(more)} bytes instead of {size}"]


def test_a_damaged_older_slot_is_told_too(tmp_path: Path) -> None:
    flip(two_states(tmp_path) / "slot-0", 700, 0)
    found = found_in(tmp_path)
    assert (found.slot, found.state) == (1, {"step": 2})
    assert found.remarks == ["slot-0 is damaged: its checksum differs"]


def test_a_slot_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    newest = two_states(tmp_path) / "slot-1"
    newest.unlink()
    newest.mkdir()
    found = found_in(tmp_path)
    assert found.state == {"step": 1}
    assert found.remarks == ["slot-1 cannot be read: Is a directory"]


def test_with_both_slots_torn_nothing_is_touched_and_the_error_names_each(tmp_path: Path) -> None:
    folder = two_states(tmp_path)
    os.truncate(folder / "slot-0", 600)
    flip(folder / "slot-1", 800, 3)
    (folder / ".slot-0.tmp").write_bytes(b"half")
    before = content(folder)
    with pytest.raises(StorageError) as caught:
        Slots(folder).read()
    assert caught.value.exit_code == 7
    assert caught.value.message.startswith(f"no checkpoint in {folder} is intact: slot-0 is cut short: it has 600 of ")
    assert caught.value.message.endswith("; slot-1 is damaged: its checksum differs")
    assert caught.value.hint == "put a copy of the folder back, or train the stage anew with another --run"
    assert content(folder) == before


@pytest.mark.parametrize("byte", [3, 300, 700], ids=["header", "padding", "payload"])
@pytest.mark.parametrize("damaged", [0, 1])
def test_the_next_write_replaces_the_damaged_slot(tmp_path: Path, damaged: int, byte: int) -> None:
    folder = two_states(tmp_path)
    flip(folder / f"slot-{damaged}", byte, 0)
    intact = (folder / f"slot-{1 - damaged}").read_bytes()
    assert Slots(folder).write({"step": 3}, epoch=0, batch=3).slot == damaged
    found = found_in(folder)
    assert (found.state, found.remarks) == ({"step": 3}, [])
    assert (folder / f"slot-{1 - damaged}").read_bytes() == intact


class Gone:
    """A class that the software of the day does not have."""


def test_a_state_of_other_software_is_intact_but_says_that_it_cannot_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Slots(tmp_path).write({"step": Gone()}, epoch=0, batch=0)
    monkeypatch.delattr(f"{__name__}.Gone")
    with pytest.raises(StorageError, match=r"slot-0 is intact but cannot be loaded: .*'Gone'"):
        Slots(tmp_path).read()


# --- writes that fail


def test_a_full_disk_is_a_storage_error_and_both_slots_stay(small_disk: DiskMaker) -> None:
    disk = small_disk("2m")
    folder = two_states(disk / "checkpoint")
    before = content(folder)
    (folder / ".slot-1.tmp").write_bytes(bytes(500_000))  # of a killed process
    with pytest.raises(StorageError, match="no space left while writing") as caught:
        Slots(folder).write({"weights": [torch.zeros(300_000) for _ in range(3)]}, epoch=0, batch=3)
    assert caught.value.exit_code == 7
    assert caught.value.hint is not None
    assert "--resume" in caught.value.hint
    assert content(folder) == before
    assert Slots(folder).write({"step": 3}, epoch=0, batch=3).slot == 0  # and once there is room, it goes on


def test_a_disk_that_is_full_at_any_page_is_a_storage_error(small_disk: DiskMaker) -> None:
    disk = small_disk("2m")
    """Wherever in its file torch.save is at that moment."""
    folder, page = two_states(disk / "checkpoint"), os.sysconf("SC_PAGESIZE")
    before = content(folder)
    state = {f"parameter {number}": torch.ones(number * 100) for number in range(12)}
    refused = 0
    for pages in range(100):
        filler = disk / "filler"
        with filler.open("wb") as stream:
            room = os.statvfs(disk)
            os.posix_fallocate(stream.fileno(), 0, room.f_bavail * room.f_frsize - pages * page)
        try:
            Slots(folder).write(state, epoch=0, batch=3)
            break
        except StorageError:
            refused += 1
            assert content(folder) == before
        finally:
            filler.unlink()
    assert refused == -(-(folder / "slot-0").stat().st_size // page)


def test_a_folder_that_cannot_be_written_is_a_storage_error(small_disk: DiskMaker) -> None:
    disk = small_disk("2m")
    folder = two_states(disk / "checkpoint")
    before = content(folder)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(StorageError, match="Read-only file system"):
        Slots(folder).write({"step": 3}, epoch=0, batch=3)
    with pytest.raises(StorageError, match="Read-only file system"):
        Slots(folder).clear()
    assert content(folder) == before
    assert found_in(folder).state == {"step": 2}


def test_a_disk_that_gives_back_other_bytes_is_a_storage_error_and_both_slots_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = two_states(tmp_path)
    before = content(folder)
    sync = os.fsync

    def sync_and_spoil(descriptor: int) -> None:
        sync(descriptor)
        flip(Path(f"/proc/self/fd/{descriptor}").readlink(), 700, 1)

    monkeypatch.setattr(os, "fsync", sync_and_spoil)
    with pytest.raises(StorageError, match="does not come back: it is damaged: its checksum differs") as caught:
        Slots(folder).write({"step": 3}, epoch=0, batch=3)
    assert caught.value.exit_code == 7
    assert content(folder) == before


class Unwilling:
    def __reduce__(self) -> Any:
        raise TypeError("not to be saved")


def test_a_state_that_cannot_be_saved_leaves_both_slots(tmp_path: Path) -> None:
    folder = two_states(tmp_path)
    before = content(folder)
    with pytest.raises(TypeError, match="not to be saved"):
        Slots(folder).write({"a": torch.zeros(9), "b": Unwilling()}, epoch=0, batch=3)
    assert content(folder) == before


class AskedToStopError(BaseException):
    pass


@contextmanager
def asked_to_stop(after_s: float) -> Iterator[None]:
    """A signal whose handler raises, as that of a training does."""

    def stop(*_: object) -> None:
        raise AskedToStopError

    earlier = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, after_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


@pytest.mark.parametrize("after_s", [0.005, 0.01, 0.015, 0.02, 0.03, 0.04])
def test_a_signal_in_the_middle_of_a_write_is_not_lost(tmp_path: Path, after_s: float) -> None:
    """torch would turn it into an error of its own."""
    folder = two_states(tmp_path)
    before = content(folder)
    state = {"weights": [torch.zeros(4_000_000) for _ in range(8)]}  # takes far longer than the timer
    with pytest.raises(AskedToStopError), asked_to_stop(after_s):
        Slots(folder).write(state, epoch=0, batch=3)
    assert content(folder) == before


def test_a_signal_in_the_middle_of_a_read_is_not_lost(tmp_path: Path) -> None:
    Slots(tmp_path).write({"weights": [torch.zeros(1_000_000) for _ in range(8)]}, epoch=0, batch=3)
    stopped = 0
    for after_ms in range(1, 100, 4):
        try:
            with asked_to_stop(after_ms / 1000):
                Slots(tmp_path).read()
        except AskedToStopError:
            stopped += 1
    assert stopped


# --- killed writers


def write_for_ever(folder: Path) -> None:
    """States that agree with their header: every value of `weights` is the number of the write."""
    slots = Slots(folder)
    found = slots.read()
    step = found.number if found else 0
    while True:
        step += 1
        slots.write({"step": step, "weights": torch.full((200_000,), float(step))}, epoch=step // 7, batch=step % 7)


def test_a_writer_killed_at_any_moment_leaves_a_state_that_agrees_with_its_header(tmp_path: Path) -> None:
    folder, moments = tmp_path / "checkpoint", random.Random(3)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "pytest", "sainet.engine.slots"])  # torch is imported once, not 20 times
    number, half_written = 0, 0
    for _ in range(20):
        writer = context.Process(target=write_for_ever, args=(folder,))
        writer.start()
        begun = _wait_for_a_write(folder, after=number)
        time.sleep(moments.uniform(0, 0.05))
        writer.kill()
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
        half_written += any(folder.glob(".slot-*.tmp"))
        found = found_in(folder)
        number = found.number
        assert number >= begun
        assert (found.state["step"], found.epoch, found.batch) == (number, number // 7, number % 7)
        assert torch.equal(found.state["weights"], torch.full((200_000,), float(number)))
        assert found.remarks == []
    assert half_written  # else no kill has struck where it hurts
    Slots(folder).write({"step": 0}, epoch=0, batch=0)
    assert sorted(content(folder)) == ["slot-0", "slot-1"]


def _wait_for_a_write(folder: Path, *, after: int) -> int:
    """The number of the first state that is newer than number `after`."""
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        found = Slots(folder).read()
        if found is not None and found.number > after:
            return found.number
        time.sleep(0.005)
    raise TimeoutError(f"nobody wrote into {folder}")
