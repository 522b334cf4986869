"""Which images stay, and in which split."""

from collections import Counter
from pathlib import Path

import pytest
from data_check_cases import encoded, picture
from data_prepare_cases import FIRE, SIZE, Box, FasddRelease, boxes_of, dated, prepared, shard_row, shards
from PIL import Image

from sainet.data.check.checking import check_data
from sainet.data.prepare.fasdd import FASDD
from sainet.data.prepare.pyrosdis import PYROSDIS
from sainet.data.prepare.regroup import Scenes, assign
from sainet.errors import DataError, UsageError

LEAKS = {"leak-file", "leak-copy", "leak-similar", "leak-camera"}


@pytest.fixture
def many(tmp_path: Path) -> FasddRelease:
    """20 training images with a box and 10 without; 4 and 4 for validation."""
    splits: dict[str, dict[str, list[Box]]] = {}
    for split, boxes, without in (("train", 20, 10), ("val", 4, 4)):
        splits[split] = {f"{split}{number}.jpg": [FIRE] * (number < boxes) for number in range(boxes + without)}
    return FasddRelease(tmp_path / "fasdd", splits)


@pytest.mark.parametrize(
    ("backgrounds", "within", "kept"),
    [
        ("keep", "train", (10, 4)),
        ("drop", "train", (0, 4)),
        ("drop", "all", (0, 0)),
        ("ratio=0.1", "train", (2, 4)),
        ("ratio=0.1", "all", (2, 0)),
        ("ratio=0.5", "train", (10, 4)),
        ("ratio=0", "train", (0, 4)),
    ],
)
@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_so_many_backgrounds_stay_and_the_others_are_counted(
    backgrounds: str, within: str, kept: tuple[int, int], form: str, many: FasddRelease, tmp_path: Path
) -> None:
    (many.coco() if form == "coco" else many.yolo().lists())
    done = prepared(many.root, tmp_path / "set", backgrounds=backgrounds, within=within)
    splits = done.summary["splits"]
    assert tuple(splits[split]["backgrounds"] for split in ("train", "val")) == kept
    assert tuple(splits[split]["backgrounds_left_out"] for split in ("train", "val")) == (10 - kept[0], 4 - kept[1])
    found = boxes_of(tmp_path / "set")
    assert Counter(name.partition("/")[0] for name, boxes in found.items() if not boxes) == Counter(
        {split: count for split, count in zip(("train", "val"), kept, strict=True) if count}
    )
    assert sum(bool(boxes) for boxes in found.values()) == 24


def test_the_same_backgrounds_stay_whatever_the_form(many: FasddRelease, tmp_path: Path) -> None:
    many.coco().yolo().lists()
    for form in ("coco", "yolo"):
        prepared(many.root, tmp_path / form, backgrounds="ratio=0.2", annotations=form)
    assert boxes_of(tmp_path / "coco").keys() == boxes_of(tmp_path / "yolo").keys()


@pytest.mark.parametrize("text", ["some", "ratio=1", "ratio=-0.1", "ratio=", "ratio=0.1.2"])
def test_other_words_for_backgrounds_are_refused(text: str, many: FasddRelease, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not keep, drop or ratio=SHARE"):
        prepared(many.root, tmp_path / "set", backgrounds=text)


def test_a_split_that_would_lose_all_of_its_images_is_refused_where_it_is_needed(tmp_path: Path) -> None:
    splits: dict[str, dict[str, list[Box]]] = {"train": {"a.jpg": [FIRE]}, "val": {"b.jpg": []}, "test": {"c.jpg": []}}
    release = FasddRelease(tmp_path / "fasdd", splits).coco()
    with pytest.raises(DataError, match="no images are left of the split val"):
        prepared(release.root, tmp_path / "set", backgrounds="drop", within="all")
    splits["val"] = {"b.jpg": [FIRE]}
    done = prepared(release.coco().root, tmp_path / "other", backgrounds="drop", within="all")
    assert done.summary["splits"]["test"] == {
        "images": 0,
        "backgrounds": 0,
        "backgrounds_left_out": 1,
        "boxes": {"fire": 0, "smoke": 0},
    }
    assert "test:" not in (tmp_path / "other" / "data.yaml").read_text(encoding="utf-8")


def leaky(root: Path) -> FasddRelease:
    """30 scenes in all splits: each with a copy, one with another compression, and one in another size."""
    splits: dict[str, dict[str, list[Box]]] = {"train": {}, "val": {}, "test": {}}
    for scene in range(30):
        for place, split in enumerate(("train", "val", "train", "test")):
            splits[split][f"scene{scene:02d}-{place}.jpg"] = [FIRE]
    release = FasddRelease(root, splits)
    for scene in range(30):
        seen = picture(f"scene {scene}", SIZE)
        for place, data in enumerate(
            (
                encoded(seen, "JPEG", quality=95),
                encoded(seen, "JPEG", quality=95),
                encoded(seen, "JPEG", quality=40),
                encoded(seen.resize((320, 240), Image.Resampling.NEAREST), "JPEG"),
            )
        ):
            release.put(f"images/scene{scene:02d}-{place}.jpg", data)
    return release.coco()


def leaks(folder: Path) -> Counter[str]:
    findings = check_data(str(folder / "data.yaml")).findings
    return Counter(finding.kind for finding in findings if finding.kind in LEAKS)


def test_after_regrouping_no_scene_is_in_two_splits(tmp_path: Path) -> None:
    release = leaky(tmp_path / "fasdd")
    prepared(release.root, tmp_path / "published")
    assert leaks(tmp_path / "published").keys() == {"leak-copy", "leak-similar"}
    done = prepared(release.root, tmp_path / "set", regroup=True)
    assert leaks(tmp_path / "set") == {}
    shares = {split: counts["images"] / 120 for split, counts in done.summary["splits"].items()}
    assert shares == pytest.approx(FASDD.shares, abs=0.05)
    of_scene: dict[str, set[str]] = {}
    for name in boxes_of(tmp_path / "set"):
        split, _, base = name.partition("/")
        of_scene.setdefault(base[:7], set()).add(split)
    assert all(len(splits) == 1 for splits in of_scene.values())


def test_after_regrouping_a_camera_is_in_one_split_for_half_an_hour_and_as_long_as_it_goes_on(tmp_path: Path) -> None:
    """Each camera and day: five images, 20 minutes from one to the next; published by turns in both splits."""
    rows: dict[str, list[dict[str, object]]] = {"train-00000-of-00001": [], "val-00000-of-00001": []}
    for day in range(6):
        for camera in ("brison-200", "cabanelle-327"):
            for shot in range(5):
                name = dated(day, camera, minute=20 * shot % 60, hour=10 + 20 * shot // 60)
                rows["train-00000-of-00001" if shot % 2 else "val-00000-of-00001"].append(shard_row(name))
    shards(tmp_path / "pyro", rows)
    prepared(tmp_path / "pyro", tmp_path / "published", PYROSDIS)
    assert leaks(tmp_path / "published")["leak-camera"] > 0
    done = prepared(tmp_path / "pyro", tmp_path / "set", PYROSDIS, regroup=True)
    assert leaks(tmp_path / "set") == {}
    assert {split: counts["images"] for split, counts in done.summary["splits"].items()} == {"train": 55, "val": 5}


def test_regrouped_real_images_have_no_leaks_either(shared_data: Path, tmp_path: Path) -> None:
    for release, folder in ((FASDD, "fasdd-mini"), (PYROSDIS, "pyro-sdis-mini")):
        done = prepared(shared_data / folder, tmp_path / folder, release, regroup=True, backgrounds="ratio=0.1")
        assert leaks(tmp_path / folder) == {}
        assert set(done.summary["splits"]) == set(release.shares)


def test_looks_that_differ_in_two_bits_are_one_scene_and_in_three_are_not() -> None:
    look = 0xAAAA_AAAA_AAAA_AAAA
    looks = [look, look ^ 0b11, look ^ (1 << 63 | 1 << 20 | 1 << 40), 0, 0]
    scenes = Scenes(5)
    scenes.join_alike(looks, [False] * 5)
    assert scenes.groups() == [[0, 1], [2], [3], [4]]
    dated_ones = Scenes(2)
    dated_ones.join_alike([look, look], [True, True])
    assert dated_ones.groups() == [[0], [1]]


def test_groups_stay_whole_and_the_shares_are_kept_whatever_their_order() -> None:
    groups = [list(range(30)), list(range(30, 50)), list(range(50, 60)), *([image] for image in range(60, 120))]
    shares = {"train": 0.5, "val": 1 / 3, "test": 1 / 6}
    splits = assign(groups, shares, lambda image: f"{image}.jpg")
    assert all(len({splits[image] for image in group}) == 1 for group in groups)
    assert Counter(splits.values()) == {"train": 60, "val": 40, "test": 20}
    assert assign(groups[::-1], shares, lambda image: f"{image}.jpg") == splits
