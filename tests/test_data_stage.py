"""A staged set is what a training would see of its source, verified; it is whole or not there, and used again."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import DiskMaker
from data_check_cases import Folder, picture, snapshot
from stage_cases import contents, leftovers, seen, stage, tree_of_yaml

from sainet.data.source import read_source
from sainet.data.stage import staging
from sainet.data.stage import survey as surveying
from sainet.data.stage.record import RECORD, held
from sainet.data.stage.survey import take_survey
from sainet.data.stage.workshop import opened
from sainet.errors import DataError, RunLockedError, StorageError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "set")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "fast" / "images" / "staged"
    # A folder called `images` above the set must not move its labels.


def test_images_and_labels_are_copied_with_a_yaml_and_nothing_else(folder: Folder, place: Path) -> None:
    (folder.root / "images" / "train" / "notes.md").write_text("not an image")
    (folder.root / "labels" / "train" / "orphan.txt").write_text("")
    folder.label(stem="train5").unlink()
    before = snapshot(folder.root)
    staged = stage(folder.yaml, place)
    copied = contents(place)
    assert snapshot(folder.root) == before, "nothing is written into the source"
    assert sum(name.endswith(".jpg") for name in copied) == 12
    assert sum(name.startswith("labels/") for name in copied) == 11
    assert len(copied) == 12 + 11 + 1
    assert (staged.is_new, staged.yaml) == (True, place / "data.yaml")
    assert leftovers(place) == []
    for split in ("train", "val"):
        assert seen(staged.yaml, split) == seen(folder.yaml, split)


def test_the_yaml_keeps_names_test_and_what_says_nothing_of_the_place(folder: Folder, place: Path) -> None:
    folder.add("test", "test0")
    folder.yaml.write_text(
        f"path: {folder.root}\ntrain: images/train\nval: [images/val]\ntest: images/test\nnc: 2\n"
        "names: [no, Rauch ü]\ndownload: https://example.org/set.zip\nlicence: {name: CC0, year: 2024}\n",
        encoding="utf-8",
    )
    assert tree_of_yaml(stage(folder.yaml, place).yaml) == {
        "train": "images/train",
        "val": "images/val",
        "test": "images/test",
        "names": {0: "no", 1: "Rauch ü"},
        "nc": 2,
        "licence": {"name": "CC0", "year": 2024},
    }
    assert (place / "images" / "test" / "test0.jpg").is_file()


# --- however a set is laid out ----------------------------------------------------------------------------------------


def _lists(folder: Folder) -> None:
    (folder.root / "lists").mkdir()
    images = folder.root / "images"
    (folder.root / "lists" / "train.txt").write_text(
        f"{images}/train/train4.jpg\n./train9.jpg\n{images}/train/train1.jpg\n"
    )
    folder.yaml_says("train: [lists/train.txt, images/more]\nval: images/val")
    folder.add("more", "a0")
    picture("beside").save(folder.root / "lists" / "train9.jpg")


def _no_images_folder(folder: Folder) -> None:
    """Labels lie beside the images."""
    for split in ("train", "val"):
        (folder.root / "images" / split).rename(folder.root / split)
        for label in (folder.root / "labels" / split).iterdir():
            label.rename(folder.root / split / label.name)
    folder.yaml_says("train: train\nval: val")


def _two_sets(folder: Folder) -> None:
    """One of them has no `images`, and a name is in both."""
    other = Folder(folder.root / "images" / "b")
    (folder.root / "c").mkdir()
    picture("c").save(folder.root / "c" / "train3.jpg")
    folder.yaml_says(f"train: [images/train, {other.root}/images/train, c]\nval: images/val")


def _whole_root(folder: Folder) -> None:
    folder.yaml_says("train: .\nval: images/val")


def _links(folder: Folder) -> None:
    (folder.root / "images" / "val").rename(folder.root / "elsewhere")
    (folder.root / "images" / "val").symlink_to("../elsewhere")
    (folder.root / "images" / "train" / "deep").mkdir()
    (folder.root / "images" / "train" / "deep" / "circle").symlink_to("../../train")
    picture("link").save(folder.root / "one.jpg")
    (folder.root / "images" / "train" / "link.jpg").symlink_to("../../one.jpg")


def _shared_label(folder: Folder) -> None:
    folder.add("train", "train3", suffix="png")


LAYOUTS = [_lists, _no_images_folder, _two_sets, _whole_root, _shared_label]


@pytest.mark.parametrize("lay_out", LAYOUTS)
def test_a_training_sees_the_same_in_the_same_order(lay_out: Any, folder: Folder, place: Path) -> None:
    lay_out(folder)
    staged = stage(folder.yaml, place)
    for split in ("train", "val"):
        assert seen(staged.yaml, split) == seen(folder.yaml, split)
    assert not stage(folder.yaml, place).is_new, "what was copied twice, or named twice, counts once"


def test_links_become_files_and_circles_end(folder: Folder, place: Path) -> None:
    _links(folder)
    staged = stage(folder.yaml, place)
    assert seen(staged.yaml, "val")[0][:2] == seen(folder.yaml, "val")[0][:2]
    (copied,) = place.rglob("link.jpg")
    assert copied.read_bytes() == (folder.root / "one.jpg").read_bytes()
    assert not any(path.is_symlink() for path in place.rglob("*"))
    assert staged.record.splits == {"train": 9, "val": 4}


def test_a_network_disk_is_asked_for_many_at_a_time_with_the_same_result(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.label().unlink()
    one = take_survey(read_source(str(folder.yaml)))
    monkeypatch.setattr(surveying, "_at_once", lambda _place: 16)
    many = take_survey(read_source(str(folder.yaml)))
    assert (many.files, many.bytes, many.splits) == (23, one.bytes, {"train": 8, "val": 4})
    assert many.fingerprint == one.fingerprint
    assert list(many.images) == list(one.images)


# --- used again -------------------------------------------------------------------------------------------------------


def test_unchanged_it_is_used_again_and_label_caches_do_not_matter(folder: Folder, place: Path) -> None:
    stage(folder.yaml, place)
    inode = (place / RECORD).stat().st_ino
    (place / "labels" / "train.cache").write_bytes(b"of yolo")
    again = stage(folder.yaml, place, admit=lambda _need: pytest.fail("nothing is to be copied"))
    assert not again.is_new
    assert (place / RECORD).stat().st_ino == inode


CHANGES = {
    "an image": lambda f: picture("other").save(f.image()),
    "a time": lambda f: os.utime(f.image(), ns=(1, 1)),
    "a label": lambda f: f.label().write_text("1 0.5 0.5 0.2 0.2\n"),
    "a new image": lambda f: f.add("val", "new"),
    "a new label": lambda f: f.label(stem="new").write_text(""),
    "an image less": lambda f: f.image().unlink(),
    "a name": lambda f: f.yaml.write_text(f.yaml.read_text().replace("fire", "Fire")),
}


@pytest.mark.parametrize("what", CHANGES)
def test_of_a_changed_source_it_is_staged_anew(what: str, folder: Folder, place: Path) -> None:
    folder.add("train", "new")
    folder.label(stem="new").unlink()
    stage(folder.yaml, place)
    CHANGES[what](folder)
    staged = stage(folder.yaml, place)
    assert staged.is_new
    assert seen(staged.yaml, "train") == seen(folder.yaml, "train")
    assert seen(staged.yaml, "val") == seen(folder.yaml, "val")
    assert leftovers(place) == []
    assert not stage(folder.yaml, place).is_new


DAMAGES = {
    "a file is gone": lambda p: (p / "labels" / "val" / "val0.txt").unlink(),
    "a file is another": lambda p: picture("other").save(p / "images" / "val" / "val0.jpg"),
    "one more image": lambda p: picture("other").save(p / "images" / "val" / "val9.jpg"),
    "a decoded image, which would be read in its place": lambda p: (p / "images" / "val" / "val0.npy").touch(),
    "the yaml": lambda p: (p / "data.yaml").write_text("train: images/val"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_copy_that_somebody_has_touched_is_staged_anew(what: str, folder: Folder, place: Path) -> None:
    stage(folder.yaml, place)
    whole = contents(place)
    DAMAGES[what](place)
    assert stage(folder.yaml, place).is_new
    assert contents(place) == whole


def test_of_what_was_begun_nothing_counts_after_a_restart_of_the_machine(
    folder: Folder, place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(staging, "_AT_ONCE", 4)

    def stop(done: int, _total: int) -> None:
        if done >= 8:
            raise KeyboardInterrupt

    for restarted, resumed in ((False, 8), (True, 0)):
        with pytest.raises(KeyboardInterrupt):
            stage(folder.yaml, place, on_progress=stop)
        if restarted:
            (tmp_path / "boot").write_text("another")
            monkeypatch.setattr(staging, "_BOOT_ID", tmp_path / "boot")
        assert stage(folder.yaml, place).resumed == resumed
        place.rename(tmp_path / f"away-{restarted}")


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_copy_that_does_not_read_back_is_noticed_and_nothing_is_left(
    folder: Folder, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite

    def flip(written: int, data: bytes, at: int) -> int:
        return write(written, bytes([data[0] ^ 1]) + data[1:], at)

    monkeypatch.setattr(os, "pwrite", flip)
    with pytest.raises(StorageError, match="does not read back as it was written"):
        stage(folder.yaml, place)
    assert list(place.parent.iterdir()) == []


def test_a_source_that_changes_meanwhile_is_noticed_and_nothing_is_left(
    folder: Folder, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "_AT_ONCE", 4)

    def change(done: int, _total: int) -> None:
        if done == 4:
            os.utime(folder.image("val", "val3"), ns=(1, 1))

    with pytest.raises(DataError, match="changed while it was staged"):
        stage(folder.yaml, place, on_progress=change)
    assert list(place.parent.iterdir()) == []
    changed = folder.image("train", "train0")

    def change_what_is_copied(done: int, _total: int) -> None:
        if done == 4:
            os.utime(changed, ns=(1, 1))

    stage(folder.yaml, place, on_progress=change_what_is_copied)
    assert stage(folder.yaml, place).is_new, "it is of the source as it was, and that is seen the next time"


def test_a_file_that_changes_while_it_is_read_is_noticed(
    folder: Folder, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = os.read

    def slowly(opened: int, size: int) -> bytes:
        data = read(opened, size)
        with folder.image("val", "val1").open("ab") as stream:
            stream.write(b"\0")
        return data

    monkeypatch.setattr(os, "read", slowly)
    with pytest.raises(DataError, match="changed while it was read") as caught:
        stage(folder.yaml, place)
    assert "val1.jpg" in str(caught.value.problems[0].where)


def test_images_that_are_not_there_stop_it_and_are_left_out_where_that_is_asked(folder: Folder, place: Path) -> None:
    listed = folder.root / "train.txt"
    listed.write_text("./images/train/train0.jpg\n./images/train/gone.jpg\n")
    folder.yaml_says("train: train.txt\nval: images/val")
    with pytest.raises(DataError, match=r"1 images are named and not there: .*/gone\.jpg"):
        stage(folder.yaml, place)
    staged = stage(folder.yaml, place, skip=True)
    assert staged.record.skipped == 1
    assert (place / "list-1.txt").read_text() == listed.read_text(), "the training says what is to be said of it"
    assert not stage(folder.yaml, place, skip=True).is_new


def test_what_something_was_left_out_of_is_not_used_where_nobody_asked_for_that(
    folder: Folder, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, broken = os.open, str(folder.label("val", "val1"))

    def refuse(path: str, flags: int, *mode: int, **more: Any) -> int:
        if path == broken:
            raise PermissionError(13, "Permission denied", path)
        return read(path, flags, *mode, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(DataError, match="cannot be read: Permission denied") as caught:
            stage(folder.yaml, place)
        assert caught.value.problems[0].where == broken
        assert stage(folder.yaml, place, skip=True).record.skipped == 1
    assert not (place / "images" / "val" / "val1.jpg").exists(), "without its labels it would be a negative"
    assert not stage(folder.yaml, place, skip=True).is_new
    assert stage(folder.yaml, place).is_new
    assert (place / "images" / "val" / "val1.jpg").exists()


def test_a_full_disk_is_told_and_nothing_is_left(folder: Folder, small_disk: DiskMaker) -> None:
    disk = small_disk("64k")
    for number in range(40):
        folder.add("train", f"more{number}")
    with pytest.raises(StorageError, match=r"no space left while writing .*; nothing of it is kept"):
        stage(folder.yaml, disk / "set")
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize("what", ["a folder of somebody's", "a file", "a link"])
def test_what_is_somebody_elses_stays(what: str, folder: Folder, place: Path) -> None:
    place.parent.mkdir(parents=True)
    if what == "a file":
        place.write_text("mine")
    elif what == "a link":
        place.symlink_to(folder.root)
    else:
        place.mkdir()
        (place / "mine").write_text("mine")
    before = snapshot(folder.root)
    with pytest.raises(UsageError):
        stage(folder.yaml, place)
    assert leftovers(place) == []
    assert snapshot(folder.root) == before


def test_into_an_empty_folder_and_into_no_mount_point(folder: Folder, place: Path, small_disk: DiskMaker) -> None:
    place.mkdir(parents=True)
    assert stage(folder.yaml, place).is_new
    with pytest.raises(UsageError, match="is a mount point"):
        stage(folder.yaml, small_disk("1m"))


def test_two_at_once_are_refused(folder: Folder, place: Path) -> None:
    with opened(place), pytest.raises(RunLockedError, match=f"process {os.getpid()} is working on"):
        stage(folder.yaml, place)
    assert stage(folder.yaml, place).is_new


def test_while_it_is_used_it_is_not_replaced(folder: Folder, place: Path) -> None:
    stage(folder.yaml, place)
    whole = contents(place)
    folder.image().unlink()
    with held(place) as is_there:
        assert is_there
        with pytest.raises(RunLockedError, match=f"is in use by process {os.getpid()}"):
            stage(folder.yaml, place)
        assert contents(place) == whole
        assert leftovers(place) == []
    assert stage(folder.yaml, place).is_new
    with held(place / "gone") as is_there:
        assert not is_there


def test_times_stay_so_that_what_is_kept_about_an_image_stays_true(folder: Folder, place: Path) -> None:
    os.utime(folder.image(), (time.time() - 1000, time.time() - 1000))
    stage(folder.yaml, place)
    copied = place / "images" / "train" / folder.image().name
    assert copied.stat().st_mtime_ns == folder.image().stat().st_mtime_ns
