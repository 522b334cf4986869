"""What preparing refuses, with file and line, and what it leaves out, which it says."""

import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from data_check_cases import encoded, picture
from data_prepare_cases import (
    FIRE,
    SIZE,
    SMOKE,
    FasddRelease,
    boxes_of,
    dated,
    manifest,
    notes,
    prepared,
    shard_row,
    shards,
    zipped,
)

from sainet.data.prepare.pyrosdis import PYROSDIS
from sainet.errors import DataError, UsageError


@pytest.fixture
def release(tmp_path: Path) -> FasddRelease:
    return FasddRelease(tmp_path / "fasdd")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "set"


def refused(source: Path, target: Path, *arguments: Any, **changes: Any) -> DataError:
    """The error; nothing was written."""
    with pytest.raises(DataError) as told:
        prepared(source, target, *arguments, **changes)
    assert not target.exists()
    return told.value


@pytest.mark.parametrize(
    ("broken", "line", "message"),
    [
        (
            '{"images": [\n{"id": 1, "file_name": "a.jpg"},\n{"id": 2 "file_name": "b.jpg"}]}',
            3,
            "Expecting ',' delimiter",
        ),
        ('{"images": [\n{"id": 1, "file_name": "a.jpg"}\n', 3, "cut off"),
        ('{"images": [{"id": 1,\n"file_name": "a.jpg', 2, "Unterminated string"),
        ('{"images": [],\n"annotations": [\n{"id": 1, "image_id": 3, "bbox": [1, 2, 3, 4]}]}', 3, "no 'category_id'"),
        ('{"images": [\n\n{"id": 1, "width": 4}]}', 3, "no 'file_name'"),
        ('{"images": [],\n"annotations": [{"image_id": 3, "category_id": 0, "bbox": [1, 2, 3]}]}', 2, "3 numbers"),
        ('{"images": []}\n\nmore', 3, "behind the end"),
    ],
)
def test_a_broken_coco_file_is_named_with_the_line(
    broken: str, line: int, message: str, release: FasddRelease, target: Path
) -> None:
    path = release.coco().put("annotations/COCO_CV/Annotations/train.json", broken)
    error = refused(release.root, target)
    assert error.problems[0].where == f"{path}:{line}"
    assert message in error.message


def test_a_large_broken_coco_file_is_named_with_the_line_too(release: FasddRelease, target: Path) -> None:
    """It does not fit into what is read at once."""
    images = [{"id": number, "file_name": f"{number:0200}.jpg"} for number in range(5000)]
    text = json.dumps({"images": images}, indent=1)
    lines = text.splitlines()
    lines[12_345] = lines[12_345] + "}"
    path = release.coco().put("annotations/COCO_CV/Annotations/train.json", "\n".join(lines))
    where = str(refused(release.root, target).problems[0].where)
    assert where in {f"{path}:12346", f"{path}:12347"}


def test_a_coco_file_without_a_class_that_is_needed_is_refused(release: FasddRelease, target: Path) -> None:
    release.coco(categories=[{"id": 0, "name": "fire"}, {"id": 1, "name": "cloud"}])
    error = refused(release.root, target)
    assert error.message == "no category smoke"
    assert str(error.hint) == "its categories are: fire, cloud"


def test_images_of_a_coco_file_that_are_not_there_are_counted(release: FasddRelease, target: Path) -> None:
    release.coco()
    (release.root / "images" / "smoke_CV000002.jpg").unlink()
    done = prepared(release.root, target)
    assert notes(done) == {"image-absent": 1}
    assert "train.json: smoke_CV000002.jpg" in done.summary["notes"]["image-absent"]["examples"][0]


def test_no_images_and_no_annotations_are_refused(release: FasddRelease, target: Path, tmp_path: Path) -> None:
    assert refused(release.root, target).message == "no annotations beside 4 images: neither COCO, nor YOLO, nor VOC"
    release.coco("elsewhere")
    assert refused(release.root / "elsewhere", target).message == "no images, but 2 .json"
    assert "no such folder" in refused(tmp_path / "nowhere", target).message
    assert refused(release.root, target, annotations="voc").message == "no VOC annotations"


def test_splits_that_nothing_tells_are_refused(release: FasddRelease, target: Path) -> None:
    error = refused(release.yolo().root, target)
    assert error.message == "nothing says of which split 4 of the images are"
    assert "--splits regroup" in str(error.hint)


def test_every_box_and_image_that_is_left_out_is_counted(release: FasddRelease, target: Path) -> None:
    told = release.coco_of("train")
    categories = [*told["categories"], {"id": 2, "name": "lamp"}]
    more = [
        {"image_id": 7, "category_id": 2, "bbox": [1, 1, 5, 5]},
        {"image_id": 7, "category_id": 0, "bbox": [5, 5, 0, 10]},
        {"image_id": 7, "category_id": 0, "bbox": [50, 40, 20, 20]},
        {"image_id": 9, "category_id": 1, "bbox": [90, 5, 10, 10]},
        {"image_id": 99, "category_id": 0, "bbox": [5, 5, 5, 5]},
    ]
    release.coco()
    release.put(
        "annotations/COCO_CV/Annotations/train.json",
        json.dumps({**told, "categories": categories, "annotations": told["annotations"] + more}),
    )
    release.put("images/unlisted.jpg", encoded(picture("unlisted", SIZE), "JPEG"))
    done = prepared(release.root, target)
    assert notes(done) == {
        "no-split": 1,
        "label-orphan": 1,
        "class-unknown": 1,
        "box-degenerate": 2,
        "box-clipped": 1,
        "all-boxes-left-out": 1,
    }
    boxes = boxes_of(target)
    assert boxes["train/fire_CV000001.jpg"][1] == pytest.approx((0, 57 / 64, 44 / 48, 14 / 64, 8 / 48), abs=1e-6)
    assert boxes["train/neitherFireNorSmoke_CV3.jpg"] == []
    assert "image id 7: lamp" in done.summary["notes"]["class-unknown"]["examples"][0]


def test_an_image_that_is_published_in_two_splits_stays_where_it_is_measured_with(tmp_path: Path, target: Path) -> None:
    both = {"train": {"a.jpg": [FIRE], "b.jpg": [FIRE]}, "val": {"b.jpg": [SMOKE]}}
    done = prepared(FasddRelease(tmp_path / "fasdd", both).coco().root, target)
    assert list(boxes_of(target)) == ["train/a.jpg", "val/b.jpg"]
    assert notes(done) == {"two-splits": 1}


@pytest.mark.parametrize(
    ("declared", "box", "expected"),
    [
        ((128, 96), [64, 24, 32, 24], (0.625, 0.375, 0.25, 0.25)),  # scaled after it was annotated
        ((48, 64), [32, 12, 16, 12], (0.625, 0.375, 0.25, 0.25)),  # a wrong size; the boxes fit in the image
        ((100, 100), [50, 25, 25, 50], (0.625, 0.5, 0.25, 0.5)),  # they do not: believe what is declared
        ((0, 0), [32, 12, 16, 12], (0.625, 0.375, 0.25, 0.25)),
    ],
)
def test_a_declared_size_that_differs_from_the_image_is_told(
    declared: tuple[int, int], box: list[int], expected: tuple[float, ...], release: FasddRelease, target: Path
) -> None:
    told = release.coco_of("train")
    told["images"][0] |= {"width": declared[0], "height": declared[1]}
    told["annotations"][0]["bbox"] = box
    release.coco().put("annotations/COCO_CV/Annotations/train.json", json.dumps(told))
    done = prepared(release.root, target)
    assert notes(done) == {"size-differs": 1}
    assert boxes_of(target)["train/fire_CV000001.jpg"][0][1:] == pytest.approx(expected, abs=1e-6)


def test_the_size_is_that_of_the_upright_image(release: FasddRelease, target: Path) -> None:
    """EXIF 6: stored lying, shown standing, and annotated so."""
    exif = picture("x").getexif()
    exif[0x0112] = 6
    release.put("images/fire_CV000001.jpg", encoded(picture("x", (48, 64)), "JPEG", exif=exif))
    release.coco()
    assert notes(prepared(release.root, target)) == {}


def test_rows_that_are_no_boxes_are_told_with_their_lines(release: FasddRelease, target: Path) -> None:
    release.yolo().lists()
    path = release.put("annotations/YOLO_CV/labels/fire_CV000001.txt", "0 0.5 0.5 0.1 0.1\n0 0.5 half 0.1 0.1\n0 1 2\n")
    release.put("annotations/YOLO_CV/labels/smoke_CV000002.txt", b"1 0.5 0.5 0.1 0.1 \xe9\n")
    (release.root / "annotations/YOLO_CV/labels/neitherFireNorSmoke_CV3.txt").unlink()
    release.put("annotations/YOLO_CV/labels/lost.txt", "0 0.5 0.5 0.1 0.1\n")
    done = prepared(release.root, target)
    assert notes(done) == {"label-orphan": 1, "label-unreadable": 1, "label-missing": 1, "row-unreadable": 2}
    examples = done.summary["notes"]["row-unreadable"]["examples"]
    assert [example.split(": ")[0] for example in examples] == [f"{path}:2", f"{path}:3"]
    assert "train/smoke_CV000002.jpg" not in boxes_of(target)
    assert boxes_of(target)["train/neitherFireNorSmoke_CV3.jpg"] == []


def test_xml_that_is_broken_is_told_with_its_line(release: FasddRelease, target: Path) -> None:
    release.voc().lists()
    path = release.put("annotations/VOC_CV/Annotations/fire_CV000001.xml", "<annotation>\n<object>\n")
    done = prepared(release.root, target)
    assert notes(done) == {"label-unreadable": 1}
    assert done.summary["notes"]["label-unreadable"]["examples"][0].startswith(f"{path}:3: ")


def test_class_names_that_contradict_each_other_are_refused(release: FasddRelease, target: Path) -> None:
    release.yolo().lists().put("classes.txt", "fire\nsmoke\n")
    release.put("annotations/data.yaml", "names: [smoke, fire]\n")
    assert refused(release.root, target).message == "two files say different class names"
    release.put("annotations/data.yaml", "names: [fire, cloud]\n")
    (release.root / "classes.txt").unlink()
    assert refused(release.root, target).message == "no class smoke"


@pytest.mark.parametrize("name", ["../outside.jpg", "/etc/outside.jpg", "images/../../outside.jpg", "C:/outside.jpg"])
def test_an_archive_with_a_name_that_leads_out_of_it_is_refused(
    name: str, release: FasddRelease, target: Path, tmp_path: Path
) -> None:
    archive = zipped(release.coco().root, tmp_path / "a.zip")
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr(name, b"x")
    error = refused(archive, target)
    assert "would lie outside" in error.message
    assert error.problems[0].where == str(archive)


@pytest.mark.parametrize(
    ("leads_to", "outside"), [("../../../etc/passwd", True), ("/etc/passwd", True), ("b.jpg", False)]
)
def test_a_link_in_an_archive_may_lead_within_it_only(
    leads_to: str, outside: bool, tmp_path: Path, target: Path
) -> None:
    made = FasddRelease(tmp_path / "fasdd", {"train": {"a.jpg": [FIRE]}, "val": {"b.jpg": [SMOKE]}}).coco()
    content = (made.root / "images" / "b.jpg").read_bytes()
    (made.root / "images" / "a.jpg").unlink()
    archive = zipped(made.root, tmp_path / "a.zip")
    link = zipfile.ZipInfo("fasdd/images/a.jpg")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as more:
        more.writestr(link, leads_to)
    if outside:
        assert "link that leads out of it" in refused(archive, target).message
    else:
        prepared(archive, target)
        assert (target / "images" / "train" / "a.jpg").read_bytes() == content


def test_damage_in_an_archive_is_noticed(release: FasddRelease, target: Path, tmp_path: Path) -> None:
    archive = zipped(release.coco().root, tmp_path / "a.zip", zipfile.ZIP_STORED)
    data = bytearray(archive.read_bytes())
    place = data.find((release.root / "images" / "fire_CV000001.jpg").read_bytes())
    data[place + 200] ^= 1
    archive.write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        prepared(archive, target)
    archive.write_bytes(data[:-100])
    with pytest.raises(DataError, match="cannot be read as a zip archive"):
        prepared(archive, tmp_path / "other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pl.col("camera").alias("cam"), "no column `camera`"),
        (pl.lit(3).alias("annotations"), "`annotations` is Int32, not text"),
        (pl.lit("a.jpg").alias("image"), "`image` is String, without the bytes of the image"),
    ],
)
def test_a_shard_with_other_columns_is_refused(change: pl.Expr, message: str, tmp_path: Path, target: Path) -> None:
    path = shards(tmp_path / "pyro") / "data" / "val-00000-of-00001.parquet"
    table = pl.read_parquet(path).with_columns(change)
    (table.drop("camera") if "cam" in table.columns else table).write_parquet(path)
    error = refused(tmp_path / "pyro", target, PYROSDIS)
    assert (error.message, error.problems[0].where) == (message, str(path))


def test_a_shard_that_is_no_parquet_or_has_no_images_is_refused(tmp_path: Path, target: Path) -> None:
    path = shards(tmp_path / "pyro") / "data" / "val-00000-of-00001.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    assert "cannot be read as parquet" in refused(tmp_path / "pyro", target, PYROSDIS).message
    row = shard_row(dated(0))
    pl.DataFrame([row, {**shard_row(dated(1)), "image": {"bytes": None, "path": "x"}}]).write_parquet(path)
    with pytest.raises(DataError, match="no image bytes") as told:
        prepared(tmp_path / "pyro", target, PYROSDIS)
    assert told.value.problems[0].where == f"{path}: row 1"
    assert "no parquet shards" in refused(tmp_path / "set" / "images", tmp_path / "other", PYROSDIS).message


def test_missing_shards_and_dates_that_are_none_are_told(tmp_path: Path, target: Path) -> None:
    rows = {
        "train-00001-of-00003": [shard_row(dated(0)), shard_row(dated(1), date="yesterday")],
        "val-00000-of-00001": [shard_row(dated(2))],
    }
    done = prepared(shards(tmp_path / "pyro", rows), target, PYROSDIS)
    assert notes(done) == {"shard-absent": 2, "date-unreadable": 1}
    assert done.summary["notes"]["shard-absent"]["examples"] == [
        "data/train-00000-of-00003.parquet",
        "data/train-00002-of-00003.parquet",
    ]
    assert manifest(target)["date"].null_count() == 1


@pytest.mark.parametrize("name", ["", "no-suffix", None])
def test_a_row_without_a_usable_name_is_refused(name: str | None, tmp_path: Path, target: Path) -> None:
    rows = {"train-0": [shard_row(dated(0)), shard_row(dated(1), image_name=name)], "val-0": [shard_row(dated(2))]}
    error = refused(shards(tmp_path / "pyro", rows), target, PYROSDIS)
    assert str(error.problems[0].where).endswith("train-0.parquet: row 1")


def test_a_name_in_a_row_cannot_lead_out_of_the_set(tmp_path: Path, target: Path) -> None:
    rows = {
        "train-0": [shard_row(dated(0), image_name="../../../escaped.jpg")],
        "val-0": [shard_row(dated(2), image_name="/etc/escaped.jpg")],
    }
    prepared(shards(tmp_path / "pyro", rows), target, PYROSDIS)
    assert list(boxes_of(target)) == ["train/escaped.jpg", "val/escaped.jpg"]


def test_a_folder_with_anything_else_in_it_is_refused_and_left_alone(release: FasddRelease, target: Path) -> None:
    release.coco()
    target.mkdir()
    (target / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="is there already, and no set of"):
        prepared(release.root, target)
    assert [path.name for path in target.iterdir()] == ["mine.txt"]
    (target / "mine.txt").unlink()
    prepared(release.root, target)


def test_source_and_target_must_not_lie_in_each_other(release: FasddRelease) -> None:
    release.coco()
    for inside in (release.root, release.root / "set", release.root.parent):
        with pytest.raises(UsageError, match="lie in each other"):
            prepared(release.root, inside)
