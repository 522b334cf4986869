"""Files of a new data set: linked or copied as asked, as a whole, and never written through to the original."""

import errno
import os
from pathlib import Path

import pytest
from conftest import DiskMaker

from sainet.data.placing import How, place, write
from sainet.errors import StorageError

OTHER = Path("/dev/shm")
"""Another file system than the temporary folder's, mostly."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.jpg"
    path.write_bytes(os.urandom(3 << 20))
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_link_is_the_same_file_and_a_copy_is_not(source: Path, tmp_path: Path) -> None:
    for how, same in (("link", True), ("copy", False)):
        target = tmp_path / how
        place(str(source), str(target), how)  # type: ignore[arg-type]
        assert target.read_bytes() == source.read_bytes()
        assert target.samefile(source) == same
    assert files(tmp_path) == ["copy", "link", "source.jpg"]


@pytest.mark.parametrize("how", ["link", "copy"])
def test_what_a_link_leads_to_is_placed_and_not_the_link(source: Path, tmp_path: Path, how: How) -> None:
    (tmp_path / "pointer").symlink_to(source.name)
    place(str(tmp_path / "pointer"), str(tmp_path / "target"), how)
    assert not (tmp_path / "target").is_symlink()
    assert (tmp_path / "target").read_bytes() == source.read_bytes()


@pytest.mark.skipif(not OTHER.is_dir(), reason="no second file system")
def test_across_file_systems_a_link_becomes_a_copy(source: Path) -> None:
    target = OTHER / f"sainet-placing-{os.getpid()}"
    try:
        place(str(source), str(target), "link")
        assert target.read_bytes() == source.read_bytes()
    finally:
        target.unlink(missing_ok=True)


@pytest.mark.parametrize("how", ["link", "copy"])
def test_again_over_what_is_there_the_original_stays_as_it_is(source: Path, tmp_path: Path, how: How) -> None:
    """Also where a kill left a link to the original under the temporary name."""
    data = source.read_bytes()
    target = tmp_path / "target"
    for _ in range(2):
        place(str(source), str(target), how)
    os.link(source, tmp_path / ".target.tmp")
    write(str(target), b"other")
    assert target.read_bytes() == b"other"
    assert source.read_bytes() == data
    assert files(tmp_path) == ["source.jpg", "target"]


def test_a_source_that_is_gone_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
        place(str(tmp_path / "gone.jpg"), str(tmp_path / "target"), "copy")
    assert files(tmp_path) == []


def test_a_disk_that_is_full_leaves_what_was_there(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"before")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(StorageError, match="no space left"):
        place(str(source), str(target), "copy")
    assert target.read_bytes() == b"before"
    assert files(tmp_path) == ["source.jpg", "target"]


def test_names_as_long_as_they_may_be_are_placed(source: Path, tmp_path: Path) -> None:
    target = tmp_path / ("a" * 251 + ".jpg")
    place(str(source), str(target), "link")
    assert target.samefile(source)


@pytest.mark.parametrize("how", ["link", "copy"])
def test_at_once_it_comes_to_the_same_also_over_half_a_file(source: Path, tmp_path: Path, how: How) -> None:
    data = source.read_bytes()
    for before in (None, b"half", data):
        target = tmp_path / f"target-{before is None}-{len(before or b'')}"
        if before is not None:
            target.write_bytes(before)
        assert place(str(source), str(target), how, data, at_once=True) == how
        assert target.samefile(source) == (how == "link")
        assert target.read_bytes() == source.read_bytes() == data
        write(str(tmp_path / "label"), b"0 0.5", at_once=True)
        write(str(tmp_path / "label"), b"0", at_once=True)
        assert (tmp_path / "label").read_bytes() == b"0"
    assert not [name for name in files(tmp_path) if name.startswith(".")]


def test_at_once_over_a_link_the_original_stays_as_it_is(source: Path, tmp_path: Path) -> None:
    data = source.read_bytes()
    place(str(source), str(tmp_path / "target"), "link", at_once=True)
    write(str(tmp_path / "target"), b"other", at_once=True)
    assert source.read_bytes() == data
    assert (tmp_path / "target").read_bytes() == b"other"


def test_at_once_a_full_disk_leaves_no_half_of_a_file(small_disk: DiskMaker) -> None:
    target = small_disk("1m") / "target"
    with pytest.raises(StorageError, match="no space left"):
        write(str(target), os.urandom(3 << 20), at_once=True)
    assert not target.exists()
