"""Every kind of finding, made in a set where nothing else is wrong, and found with its file and line."""

import re
import shutil
from datetime import datetime
from pathlib import Path

import pytest
from conftest import PROJECT
from data_check_cases import HAZARDS, Folder, encoded, picture, snapshot
from PIL import Image

from sainet.data.check.checking import check_data
from sainet.data.check.kinds import KINDS, Finding
from sainet.data.check.paths import PathList, repeated
from sainet.data.check.summary import Checked

COME_ALONG = {
    "classes-swapped": {"class-name"},
    "copy-labels": {"image-copy"},
    "image-ignored": {"label-orphan"},
    "images-twice": {"label-missing", "labels-absent"},
    "label-shared": {"image-copy"},
    "labels-absent": {"label-missing"},
}
"""Kinds that a hazard brings with it."""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "set")


def check(folder: Folder, *, labels_only: bool = False) -> Checked:
    return check_data(str(folder.yaml), labels_only=labels_only)


def found(checked: Checked, kind: str) -> list[Finding]:
    return checked.by_kind().get(kind, [])


def test_nothing_is_found_where_nothing_is_wrong_and_nothing_is_written(folder: Folder) -> None:
    before = snapshot(folder.root)
    checked = check(folder)
    assert checked.findings == []
    assert snapshot(folder.root) == before


@pytest.mark.parametrize("kind", KINDS)
def test_each_hazard_is_found_with_its_file_and_line(folder: Folder, kind: str) -> None:
    file, line = HAZARDS[kind](folder)
    checked = check(folder)
    assert (str(file), line) in [(finding.file, finding.line) for finding in found(checked, kind)]
    assert set(checked.by_kind()) - {kind} <= COME_ALONG.get(kind, set())


def test_every_kind_is_explained_with_its_severity() -> None:
    """A row of docs/data.md each, in order: kind, severity, what clean does, why."""
    text = (PROJECT / "docs" / "data.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (error|warning) \| ([^|]+) \| [^|]{20,} \|$", text, re.MULTILINE)
    assert rows == [(kind.name, kind.severity, kind.fix) for kind in KINDS.values()]


# --- counts


def test_empty_label_files_are_counted_and_no_finding(folder: Folder) -> None:
    folder.label().write_text(" \n\n", encoding="utf-8")
    checked = check(folder)
    assert checked.findings == []
    splits = checked.as_dict()["summary"]["splits"]
    assert splits["train"] == {
        "images": 8,
        "label_files": 8,
        "empty_label_files": 1,
        "without_label_file": 0,
        "boxes": {"fire": 7, "smoke": 7},
    }
    assert splits["val"]["boxes"] == {"fire": 4, "smoke": 4}


def test_a_test_split_is_looked_at_where_there_is_one(folder: Folder) -> None:
    folder.add("test", "test0").write_bytes(folder.image().read_bytes())
    folder.yaml_says("train: images/train\nval: images/val\ntest: images/test")
    (leak,) = check(folder).findings
    assert (leak.kind, leak.file) == ("leak-copy", str(folder.image()))
    folder.yaml_says("train: images/train\nval: images/val\ntest: images/nowhere")
    assert check(folder).findings == []


def test_without_opening_images_the_labels_are_checked_all_the_same(folder: Folder) -> None:
    folder.image("train", "train1").write_bytes(b"no image")
    folder.image("train", "train2").unlink()
    folder.image("train", "train2").symlink_to("nowhere")
    label, line = folder.say("7 0.5 0.5 0.1 0.1")
    absent, outside = check(folder, labels_only=True).findings
    assert (absent.kind, absent.file) == ("image-absent", str(folder.image("train", "train2")))
    assert (outside.kind, outside.file, outside.line) == ("class-range", str(label), line)


@pytest.mark.parametrize("labels_only", [False, True])
def test_many_images_are_checked_by_several_processes_to_the_same_end(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, labels_only: bool
) -> None:
    for number in range(140):
        folder.add("train", f"more{number}")
    folder.say("7 0.5 0.5 0.1 0.1")
    folder.image("train", "more7").write_bytes(folder.image("train", "more7").read_bytes()[:-300])
    folder.add("train", "more93").write_bytes(folder.image("val", "val2").read_bytes())
    told: list[tuple[int, int]] = []
    for name in ("_AT_ONCE", "_LABELS_AT_ONCE"):
        monkeypatch.setattr(f"sainet.data.check.checking.{name}", 5)
    monkeypatch.setattr("sainet.data.check.checking.usable_cpus", lambda: 2)
    several = check_data(str(folder.yaml), labels_only=labels_only, on_progress=lambda *at: told.append(at))
    monkeypatch.setattr("sainet.data.check.checking.usable_cpus", lambda: 1)
    alone = check(folder, labels_only=labels_only)
    assert several.as_dict() == alone.as_dict()
    of_images = [] if labels_only else ["image-undecodable", "leak-copy"]
    assert sorted(finding.kind for finding in alone.findings) == ["class-range", *of_images]
    assert told[-1] == (152, 152)


# --- images


@pytest.mark.parametrize("left", [2, 40, 300])
def test_a_jpeg_cut_anywhere_does_not_decode(folder: Folder, left: int) -> None:
    folder.image().write_bytes(folder.image().read_bytes()[:left])
    (finding,) = check(folder).findings
    assert finding.kind == "image-undecodable"


def test_a_png_with_a_wrong_checksum_is_found_though_it_decodes(folder: Folder) -> None:
    """Ultralytics verifies it, and drops the image."""
    data = bytearray(encoded(picture("png"), "PNG"))
    data[data.index(b"IEND") - 6] ^= 1  # within the checksum of the pixels
    folder.put(bytes(data), "png")
    (finding,) = check(folder).findings
    assert finding.kind == "image-undecodable"


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "1"])
def test_modes_that_are_turned_into_rgb_are_told(folder: Folder, mode: str) -> None:
    folder.put(encoded(picture(mode).convert(mode), "PNG"), "png")
    (finding,) = check(folder).findings
    assert finding.kind == "image-mode"


def test_grey_images_and_those_turned_upright_by_nothing_are_no_finding(folder: Folder) -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    folder.put(encoded(picture("grey").convert("L"), "JPEG", exif=exif))
    assert check(folder).findings == []


def test_a_box_is_measured_in_the_image_as_it_is_trained(folder: Folder) -> None:
    """Of 64 x 48 pixels turned upright, 0.035 of the width is 1.7 pixels and would have been 2.2."""
    exif = Image.Exif()
    exif[0x0112] = 8
    folder.put(encoded(picture("turned"), "JPEG", exif=exif))
    folder.label().write_text("0 0.5 0.5 0.035 0.5\n", encoding="utf-8")
    assert [finding.kind for finding in check(folder).findings] == ["image-orientation", "box-tiny"]


def test_what_lies_beside_images_and_is_none_is_no_finding(folder: Folder) -> None:
    for name in ("._train3.jpg", "notes.txt", "Thumbs.db", "list.json"):
        (folder.image().parent / name).write_bytes(b"")
    (folder.label().parent / "classes.txt").write_text("fire\nsmoke\n", encoding="utf-8")
    assert check(folder).findings == []


def test_a_link_back_to_a_folder_above_is_followed_no_further(folder: Folder) -> None:
    (folder.image().parent / "again").symlink_to(folder.image().parent)
    assert check(folder).seen["train"].images == 8


# --- the same twice


def test_of_copies_in_two_splits_the_one_that_is_measured_with_stays(folder: Folder) -> None:
    folder.image("train", "train5").write_bytes(folder.image("val", "val2").read_bytes())
    (leak,) = check(folder).findings
    assert leak.file == str(folder.image("train", "train5"))
    assert leak.message == f"the train image is also {folder.image('val', 'val2')} in val"


def test_files_that_differ_in_one_byte_are_no_copies(folder: Folder) -> None:
    data = bytearray(encoded(Image.effect_noise((400, 300), 90), "JPEG", quality=95))
    folder.image("train", "train1").write_bytes(bytes(data))
    data[9000] ^= 1
    folder.image("train", "train2").write_bytes(bytes(data))
    assert not found(check(folder), "image-copy")


def test_every_training_image_that_looks_like_one_of_the_validation_is_told(folder: Folder) -> None:
    """Also where there are more of them than neighbours that are looked at, and of any quality."""
    with Image.open(folder.image("val", "val1")) as image:
        for number in range(12):
            image.save(folder.add("train", f"again{number:02d}"), quality=40 + 5 * number)
    findings = check(folder).findings
    assert {finding.kind for finding in findings} == {"leak-similar"}
    assert [Path(finding.file).stem for finding in findings] == [f"again{number:02d}" for number in range(12)]


def test_plain_skies_are_not_taken_for_one_picture(folder: Folder) -> None:
    brighter_to_the_right = Image.linear_gradient("L").rotate(90).resize((64, 48))
    for split, stem, light in (("train", "train1", 30), ("val", "val1", 60)):
        sky = Image.blend(brighter_to_the_right, Image.new("L", (64, 48), light), 0.4)
        sky.save(folder.image(split, stem))
        Image.new("L", (64, 48), light).save(folder.image(split, stem[:-1] + "2"))
    assert check(folder).findings == []


def test_every_image_near_one_of_the_validation_is_told_with_the_nearest(folder: Folder) -> None:
    def shot(split: str, time: str, camera: str = "sdis-07_brison-200") -> Path:
        return folder.add(split, f"{camera}_2024-01-15T{time}")

    val = [shot("val", "12-00-00"), shot("val", "12-20-00")]
    train = [shot("train", time) for time in ("11-29-59", "11-31-00", "12-02-00", "12-16-00", "12-50-00", "12-50-01")]
    shot("train", "12-00-00", camera="sdis-08_brison-200")
    told = {finding.file: finding.message for finding in check(folder).findings}
    assert told == {
        str(train[1]): f"29 min from {val[0]} in val",
        str(train[2]): f"2 min from {val[0]} in val",
        str(train[3]): f"4 min from {val[1]} in val",
        str(train[4]): f"30 min from {val[1]} in val",
    }


def test_camera_and_time_of_a_manifest_are_believed_before_those_of_a_name(folder: Folder) -> None:
    import polars as pl

    shots = {
        "images/val/val1.jpg": ("north", datetime(2024, 1, 15, 12, 0)),
        "images/train/train1.jpg": ("north", datetime(2024, 1, 15, 12, 20)),
        "images/train/train2.jpg": ("north", datetime(2024, 1, 15, 12, 40)),
        "images/train/train3.jpg": ("south", datetime(2024, 1, 15, 12, 0)),
        "images/train/train4.jpg": (None, None),
    }
    cameras, dates = zip(*shots.values(), strict=True)
    table = pl.DataFrame({"file": list(shots), "camera": cameras, "date": dates, "more": 1})
    table.write_parquet(folder.root / "manifest.parquet")
    (leak,) = check(folder).findings
    assert (leak.kind, leak.file) == ("leak-camera", str(folder.image("train", "train1")))
    assert leak.message == f"20 min from {folder.image('val', 'val1')} in val"
    for other in (table.drop("date"), table.with_columns(date=pl.lit("noon"))):
        other.write_parquet(folder.root / "manifest.parquet")
        assert check(folder).findings == []
    (folder.root / "manifest.parquet").write_bytes(b"no parquet")
    assert check(folder).findings == []


def test_labels_of_images_that_a_list_leaves_out_are_no_orphans(folder: Folder) -> None:
    (folder.root / "train.txt").write_text("./images/train/train0.jpg\n", encoding="utf-8")
    folder.yaml_says("train: train.txt\nval: images/val")
    assert check(folder).findings == []


def test_paths_are_kept_whatever_their_bytes() -> None:
    paths = PathList()
    names = ["a.jpg", "fumée.jpg", "\udcff.jpg"]
    for folder in ("/one", "/two", "/one", ""):
        for name in names:
            paths.add(folder, name)
    assert list(paths) == [*(f"{folder}/{name}" for folder in ("/one", "/two", "/one") for name in names), *names]
    assert list(repeated([5, 0, 7, 5, 0, 9, 7, 5])) == [[0, 3, 7], [2, 6]]


# --- real photographs


@pytest.mark.parametrize(
    ("name", "warnings"), [("fire-smoke", {"box-frame", "box-tiny"}), ("smoke-cctv", {"box-frame"})]
)
def test_real_sets_have_no_errors(shared_data: Path, name: str, warnings: set[str]) -> None:
    before = snapshot(shared_data / name)
    checked = check_data(str(shared_data / name / "data.yaml"))
    assert set(checked.by_kind()) == warnings
    assert checked.count("error") == 0
    assert snapshot(shared_data / name) == before


def test_what_is_done_to_a_real_set_is_found(shared_data: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(shared_data / "smoke-cctv", root)
    train, val = (root / "images" / split for split in ("train", "val"))
    cut, again = train / "cctv_train_0003.jpg", train / "cctv_train_0010.jpg"
    cut.write_bytes(cut.read_bytes()[:-4000])
    with Image.open(val / "cctv_val_0004.jpg") as image:
        image.resize((416, 416)).save(again, quality=70)
    findings = [finding for finding in check_data(str(root / "data.yaml")).findings if finding.kind != "box-frame"]
    assert [(finding.kind, finding.file) for finding in findings] == [
        ("image-undecodable", str(cut)),
        ("leak-similar", str(again)),
    ]
