"""Both releases in their published layouts: what comes out, file by file."""

import json
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest
from data_prepare_cases import (
    FIRE,
    SMOKE,
    FasddRelease,
    boxes_of,
    dated,
    files_of,
    manifest,
    notes,
    prepared,
    shard_row,
    shards,
    zipped,
)
from PIL import Image

from sainet.data.check.checking import check_data
from sainet.data.prepare.fasdd import FASDD
from sainet.data.prepare.pyrosdis import PYROSDIS
from sainet.errors import DataError


def test_real_images_get_the_same_boxes_from_coco_from_yolo_and_from_voc(shared_data: Path, tmp_path: Path) -> None:
    found = {}
    for form in ("coco", "yolo", "voc"):
        done = prepared(shared_data / "fasdd-mini", tmp_path / form, annotations=form)
        assert {split: counts["images"] for split, counts in done.summary["splits"].items()} == {
            "train": 48,
            "val": 32,
            "test": 16,
        }
        found[form] = boxes_of(tmp_path / form)
    assert found["coco"].keys() == found["yolo"].keys() == found["voc"].keys()
    assert sum(map(len, found["coco"].values())) == 94
    for name, boxes in found["coco"].items():
        for other in ("yolo", "voc"):
            with Image.open(tmp_path / "coco" / "images" / name) as image:
                apart_px = max(image.size) * _apart(boxes, found[other][name])
            assert apart_px <= 1.001, f"{name}: coco and {other} are {apart_px:.2f} pixels apart"


def _apart(some: list[tuple[float, ...]], others: list[tuple[float, ...]]) -> float:
    """How far edges are from the nearest box of the same class, as a share of the image; infinite for other classes."""
    if sorted(box[0] for box in some) != sorted(box[0] for box in others):
        return float("inf")
    return max(
        (min(_distance(one, other) for other in others if other[0] == one[0]) for one in some),
        default=0.0,
    )


def _distance(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    edges = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for _, x, y, w, h in (one, other)]
    return max(abs(left - right) for left, right in zip(*edges, strict=True))


def test_boxes_that_are_a_pixel_and_a_half_apart_are_told_apart() -> None:
    one, other = (0, 0.5, 0.5, 0.1, 0.1), (0, 0.5 + 1.5 / 256, 0.5, 0.1, 0.1)
    assert _apart([one], [other]) > 1 / 256
    assert _apart([one], [(1, *one[1:])]) == float("inf")


def test_real_rows_keep_their_bytes_and_names_and_become_class_0(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "pyro-sdis-mini"
    prepared(source, tmp_path / "set", PYROSDIS)
    rows = pl.concat([pl.read_parquet(path) for path in sorted((source / "data").glob("*.parquet"))])
    listed = {row["file"]: row for row in manifest(tmp_path / "set").iter_rows(named=True)}
    assert len(listed) == len(rows) == 80
    for row in rows.iter_rows(named=True):
        split = next(split for split in ("train", "val") if f"images/{split}/{row['image_name']}" in listed)
        image = tmp_path / "set" / "images" / split / row["image_name"]
        assert image.read_bytes() == row["image"]["bytes"]
        told = listed[f"images/{split}/{row['image_name']}"]
        assert (told["camera"], told["partner"]) == (row["camera"], row["partner"])
        assert told["date"].strftime("%Y-%m-%dT%H-%M-%S") == row["date"]
        labels = (tmp_path / "set" / "labels" / split / f"{image.stem}.txt").read_text(encoding="utf-8")
        assert labels.count("\n") == told["boxes_smoke"] == len(row["annotations"].splitlines())
        assert all(line.startswith("0 ") for line in labels.splitlines())


@pytest.mark.parametrize(("release", "folder"), [(FASDD, "fasdd-mini"), (PYROSDIS, "pyro-sdis-mini")])
def test_what_is_prepared_passes_the_check(release: object, folder: str, shared_data: Path, tmp_path: Path) -> None:
    prepared(shared_data / folder, tmp_path / "set", release)  # type: ignore[arg-type]
    checked = check_data(str(tmp_path / "set" / "data.yaml"))
    assert checked.count("error") == 0, checked.findings


def test_the_manifest_says_what_sha256sum_says_and_counts_each_class(tmp_path: Path) -> None:
    FasddRelease(tmp_path / "fasdd").coco()
    prepared(tmp_path / "fasdd", tmp_path / "set")
    table = manifest(tmp_path / "set")
    assert table.columns == [
        *("file", "split", "source_id", "size", "hash", "camera", "partner", "date", "boxes_fire", "boxes_smoke")
    ]
    for row in table.iter_rows(named=True):
        data = (tmp_path / "set" / row["file"]).read_bytes()
        assert (row["size"], row["hash"]) == (len(data), sha256(data).hexdigest())
        assert (tmp_path / "fasdd" / row["source_id"]).read_bytes() == data
        assert row["camera"] is row["date"] is None
    by_name = {Path(row[0]).name: row[1:] for row in table.select("file", "split", "boxes_fire", "boxes_smoke").rows()}
    assert by_name["bothFireAndSmoke_CV000004.jpg"] == ("val", 1, 1)
    assert by_name["neitherFireNorSmoke_CV3.jpg"] == ("train", 0, 0)


def test_the_data_yaml_names_no_place_outside_of_the_set(tmp_path: Path) -> None:
    release = FasddRelease(tmp_path / "fasdd").coco(licenses=[{"id": 1, "name": "CC BY-SA 4.0", "url": "http://x"}])
    release.put("LICENSE.txt", "Creative Commons\nAttribution 4.0\n")
    done = prepared(tmp_path / "fasdd", tmp_path / "set")
    assert (tmp_path / "set" / "data.yaml").read_text(encoding="utf-8") == (
        "# Made by `sainet data prepare fasdd` from COCO annotations. Paths are relative to this file.\n"
        "# Licence, as the source says: LICENSE.txt: Creative Commons\n"
        "# Licence, as the source says: CC BY-SA 4.0, http://x\n"
        "train: images/train\nval: images/val\nnames:\n  0: fire\n  1: smoke\n"
    )
    assert done.summary["licence"] == ["LICENSE.txt: Creative Commons", "CC BY-SA 4.0, http://x"]
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [
        *("data.yaml", "images", "labels", "manifest.parquet", "prepared.json")
    ]


def test_linked_images_are_the_source_s_own_and_copied_ones_are_not(tmp_path: Path) -> None:
    FasddRelease(tmp_path / "fasdd").coco()
    linked = prepared(tmp_path / "fasdd", tmp_path / "linked")
    copied = prepared(tmp_path / "fasdd", tmp_path / "copied", how="copy")
    source = tmp_path / "fasdd" / "images" / "fire_CV000001.jpg"
    assert source.samefile(tmp_path / "linked" / "images" / "train" / source.name)
    assert not source.samefile(tmp_path / "copied" / "images" / "train" / source.name)
    assert [(done.summary["linked"], done.summary["written"]) for done in (linked, copied)] == [(4, 0), (0, 4)]
    made = [files_of(tmp_path / name) for name in ("linked", "copied")]
    for files in made:
        files.pop("prepared.json")
    assert made[0] == made[1]


def test_a_zip_comes_to_the_same_as_the_folder(tmp_path: Path) -> None:
    release = FasddRelease(tmp_path / "FASDD_CV").coco().yolo().lists().voc()
    prepared(release.root, tmp_path / "plain")
    zipped(release.root, tmp_path / "archives" / "FASDD_CV.zip")
    prepared(tmp_path / "archives", tmp_path / "from-folder-of-zips", annotations="yolo")
    prepared(tmp_path / "archives" / "FASDD_CV.zip", tmp_path / "from-zip", annotations="voc")
    expected = boxes_of(tmp_path / "plain")
    assert boxes_of(tmp_path / "from-folder-of-zips") == boxes_of(tmp_path / "from-zip") == expected
    assert files_of(tmp_path / "from-zip" / "images") == files_of(tmp_path / "plain" / "images")


def test_images_and_annotations_in_two_zips_are_found(tmp_path: Path) -> None:
    release = FasddRelease(tmp_path / "FASDD_CV").coco()
    prepared(release.root, tmp_path / "plain")
    zipped(release.root / "images", tmp_path / "zips" / "images.zip", 0)
    zipped(release.root / "annotations", tmp_path / "zips" / "more" / "annotations.zip")
    prepared(tmp_path / "zips", tmp_path / "set")
    assert boxes_of(tmp_path / "set") == boxes_of(tmp_path / "plain")


@pytest.mark.parametrize("folder", ["annotations", "FASDD_CV/FASDD_CV/annotations/COCO_CV/Annotations", "."])
def test_coco_files_are_found_wherever_they_lie(folder: str, tmp_path: Path) -> None:
    FasddRelease(tmp_path / "fasdd").coco(folder)
    prepared(tmp_path / "fasdd", tmp_path / "set")
    assert len(boxes_of(tmp_path / "set")) == 4


@pytest.mark.parametrize("line", ["images/{name}", "{name}", "{stem}", "/home/they/images/{name}", "x\\{name}"])
def test_lists_are_read_whatever_their_lines_look_like(line: str, tmp_path: Path) -> None:
    FasddRelease(tmp_path / "fasdd").yolo().lists(line)
    prepared(tmp_path / "fasdd", tmp_path / "set")
    assert len(boxes_of(tmp_path / "set")) == 4
    assert len(list((tmp_path / "set" / "images" / "val").iterdir())) == 1


def test_splits_by_folders_are_found_without_any_list(tmp_path: Path) -> None:
    release = FasddRelease(tmp_path / "fasdd").yolo()
    for split, images in release.splits.items():
        (tmp_path / "fasdd" / split / "images").mkdir(parents=True)
        for name in images:
            (tmp_path / "fasdd" / "images" / name).rename(tmp_path / "fasdd" / split / "images" / name)
    prepared(tmp_path / "fasdd", tmp_path / "set")
    assert [name for name in boxes_of(tmp_path / "set") if name.startswith("val/")] == [
        "val/bothFireAndSmoke_CV000004.jpg"
    ]


def test_classes_go_by_their_names_whatever_their_order(tmp_path: Path) -> None:
    FasddRelease(tmp_path / "expected").coco()
    prepared(tmp_path / "expected", tmp_path / "expected-set")
    swapped = FasddRelease(tmp_path / "fasdd").yolo(order=("smoke", "fire")).lists()
    swapped.put("annotations/YOLO_CV/classes.txt", "Smoke\nFIRE\n")
    prepared(tmp_path / "fasdd", tmp_path / "set")
    assert boxes_of(tmp_path / "set") == boxes_of(tmp_path / "expected-set")


def test_classes_against_the_names_of_the_images_are_an_error(tmp_path: Path) -> None:
    FasddRelease(tmp_path / "fasdd").yolo(order=("smoke", "fire")).lists()
    with pytest.raises(
        DataError, match="of 2 images whose names say one class, 2 have boxes only of the other"
    ) as told:
        prepared(tmp_path / "fasdd", tmp_path / "set")
    assert "classes.txt" in str(told.value.hint)
    assert not (tmp_path / "set").exists()


def test_equal_names_from_several_folders_get_a_number(tmp_path: Path) -> None:
    release = FasddRelease(tmp_path / "fasdd", {"train": {"a.jpg": [FIRE]}, "val": {"b.jpg": [SMOKE]}})
    release.put("night/images/A.jpg", (release.root / "images" / "b.jpg").read_bytes())
    told = release.coco_of("train")
    told["images"].append({"id": 99, "file_name": "night/images/A.jpg", "width": 64, "height": 48})
    release.put("c/train.json", json.dumps(told))
    release.put("c/val.json", json.dumps(release.coco_of("val")))
    done = prepared(tmp_path / "fasdd", tmp_path / "set")
    assert list(boxes_of(tmp_path / "set")) == ["train/A_2.jpg", "train/a.jpg", "val/b.jpg"]
    assert notes(done) == {"renamed": 1}


def test_pyrosdis_takes_a_single_class_whatever_its_id_and_refuses_two(tmp_path: Path) -> None:
    both = "1 0.5 0.5 0.1 0.1\n0 0.4 0.4 0.1 0.1"
    rows = {
        "train-00000-of-00001": [
            shard_row(dated(0)),
            shard_row(dated(1), annotations=both),
        ],
        "val-00000-of-00001": [shard_row(dated(2))],
    }
    shards(tmp_path / "two", rows)
    with pytest.raises(DataError, match=r"more than one class: 0 .*, 1 ") as told:
        prepared(tmp_path / "two", tmp_path / "set", PYROSDIS)
    assert "train-00000-of-00001.parquet: row 1" in str(told.value)
    zero = {name: [{**row, "annotations": "0 0.5 0.5 0.2 0.2"} for row in table] for name, table in rows.items()}
    shards(tmp_path / "zero", zero)
    prepared(tmp_path / "zero", tmp_path / "zero-set", PYROSDIS)
    assert manifest(tmp_path / "zero-set")["boxes_smoke"].to_list() == [1, 1, 1]
