"""Files are replaced as a whole or appended to by the line, and a full disk costs only what was being written."""

import errno
import multiprocessing
import os
from pathlib import Path

import pytest
from conftest import DiskMaker

from sainet.errors import StorageError
from sainet.files import LineTail, append_line, cache_folder, last_lines, replace_text, replacing, storage_error

# --- replacing


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.json"
    replace_text(path, "one")
    opened_before = path.open(encoding="utf-8")
    replace_text(path, "two ä")
    assert path.read_text(encoding="utf-8") == "two ä"
    with opened_before:
        assert opened_before.read() == "one"  # who reads while it is replaced reads one or the other, never a mix
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("old", encoding="utf-8")

    def fail_half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_text("ne", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_half_way()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_reaches_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut leaves an empty file of the right name."""
    path, order = tmp_path / "state.json", []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append(Path(f"/proc/self/fd/{fd}").resolve().name), sync(fd)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (order.append("rename"), rename(self, to))[1])
    replace_text(path, "one")
    assert order == [".state.json.tmp", "rename", tmp_path.name]


def test_a_full_disk_is_a_storage_error_and_the_old_file_stays(small_disk: DiskMaker) -> None:
    disk = small_disk("64k")
    path = disk / "state.json"
    replace_text(path, "old")
    with pytest.raises(StorageError, match="no space left while writing") as caught:
        replace_text(path, "x" * 100_000)
    assert caught.value.exit_code == 7
    assert caught.value.hint is not None
    assert "--resume" in caught.value.hint
    assert path.read_text(encoding="utf-8") == "old"
    assert list(disk.iterdir()) == [path]


# --- errors


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_says_what_to_do(number: int) -> None:
    error = storage_error(OSError(number, os.strerror(number)), Path("/runs/x"))
    assert isinstance(error, StorageError)
    assert error.message == "no space left while writing /runs/x"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_folder_that_cannot_be_written_says_so(number: int) -> None:
    error = storage_error(OSError(number, os.strerror(number)), Path("/runs/x"))
    assert isinstance(error, StorageError)
    assert error.message == f"cannot write /runs/x: {os.strerror(number)}"


def test_any_other_os_error_stays_what_it_is() -> None:
    error = OSError(errno.EIO, "Input/output error")
    assert storage_error(error, Path("/runs/x")) is error


# --- appending


def test_lines_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append_line(path, "one")
    append_line(path, "two ä")
    assert path.read_text(encoding="utf-8") == "one\ntwo ä\n"


def test_a_line_torn_by_a_kill_spoils_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"a": 1}\n{"b', encoding="utf-8")
    append_line(path, '{"c": 3}')
    assert path.read_text(encoding="utf-8").splitlines() == ['{"a": 1}', '{"b', '{"c": 3}']


def _append_many(path: Path, letter: str) -> None:
    for _ in range(200):
        append_line(path, letter * 200)


def test_two_processes_share_a_log_without_mixing_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append_many, args=(path, letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = path.read_text(encoding="utf-8").splitlines()
    assert sorted(lines) == ["a" * 200] * 200 + ["b" * 200] * 200


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_appending_to_a_full_disk_is_a_storage_error() -> None:
    with pytest.raises(StorageError, match="no space left while writing /dev/full"):
        append_line(Path("/dev/full"), "one")


# --- reading what grows


def test_the_tail_gives_each_line_once_and_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = LineTail(path)
    assert tail.read() == []  # not there yet
    path.write_text("one\ntw", encoding="utf-8")
    assert tail.read() == ["one"]
    assert tail.read() == []
    with path.open("ab") as stream:
        stream.write("o ä".encode()[:-1])  # half a character
    assert tail.read() == []
    with path.open("ab") as stream:
        stream.write("ä".encode()[-1:] + b"\nthree\n")
    assert tail.read() == ["two ä", "three"]


def test_the_tail_can_start_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append_line(path, "of an attempt before")
    tail = LineTail(path, from_end=True)
    append_line(path, "new")
    assert tail.read() == ["new"]


def test_the_last_lines_of_a_long_log_are_read_without_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    assert last_lines(path, 3) == []
    path.write_text("".join(f"line {number}\n" for number in range(50_000)), encoding="utf-8")
    assert last_lines(path, 2) == ["line 49998", "line 49999"]
    assert len(last_lines(path, 100_000, window_bytes=1000)) < 100


def test_a_user_without_a_home_has_a_cache_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """`docker run --user 12345` sets no HOME, and no such user is known."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert cache_folder({}).is_absolute()
    assert cache_folder({"XDG_CACHE_HOME": "/data"}) == Path("/data/sainet")
