"""`sainet data demo`: the same bytes for the same settings, true boxes, and a folder that is never half a set."""

import errno
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from sainet.cli.data import app
from sainet.data import demo
from sainet.data.demo import DemoSummary, write_demo
from sainet.data.render import expose, render
from sainet.data.render_objects import Box, add_objects, box_of
from sainet.data.render_scene import Scene, Shot, paint_scene
from sainet.errors import StorageError, UsageError

WIDTH, HEIGHT = 192, 108
STAGES = (1, 2)


def make(folder: Path, *, train: int = 8, val: int = 4, seed: int = 3) -> DemoSummary:
    return write_demo(folder, train=train, val=val, width=WIDTH, height=HEIGHT, seed=seed)


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shots(stage: int, count: int, split: str = "train") -> Iterator[Shot]:
    return (Shot(0, stage, split, index, 384, 216) for index in range(count))


def boxes_in(label: Path) -> list[tuple[int, NDArray[np.float64]]]:
    lines = label.read_text().splitlines()
    return [(int(line.split()[0]), np.array(line.split()[1:], dtype=float)) for line in lines]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> DemoSummary:
    return make(tmp_path_factory.mktemp("demo") / "set")


# Determinism


def test_the_same_settings_give_the_same_bytes(made: DemoSummary, tmp_path: Path) -> None:
    make(tmp_path / "again")
    assert bytes_in(tmp_path / "again") == bytes_in(made.folder)


def test_an_image_does_not_depend_on_how_many_there_are(made: DemoSummary, tmp_path: Path) -> None:
    make(tmp_path / "fewer", train=3, val=2)
    many = bytes_in(made.folder)
    fewer = {name: content for name, content in bytes_in(tmp_path / "fewer").items() if name != "demo.json"}
    assert len(fewer) == 2 * 2 * (3 + 2) + 3
    assert all(many[name] == content for name, content in fewer.items())


def test_another_seed_gives_other_images(made: DemoSummary, tmp_path: Path) -> None:
    make(tmp_path / "other", train=2, val=1, seed=4)
    many = bytes_in(made.folder)
    images = {name: content for name, content in bytes_in(tmp_path / "other").items() if name.endswith(".jpg")}
    assert not any(many[name] == content for name, content in images.items())


def test_an_image_does_not_depend_on_what_was_rendered_before() -> None:
    first, second = list(shots(2, 9))[::8]
    assert first.view == second.view
    alone = render(first).jpeg()
    render(second)
    assert render(first).jpeg() == alone


# Boxes


Edges = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


def seen_edges(shot: Shot, scene: Scene, burning: NDArray[np.float32]) -> Edges:
    """Where the camera of `shot` sees anything change when the fire is lit."""
    change = np.abs(expose(burning, shot).astype(float) - expose(scene.canvas, shot)).max(axis=2) > 13
    rows, columns = (np.flatnonzero(change.sum(axis=axis) > 1) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def overlap(box: Box, other: Edges) -> float:
    """Intersection over union."""
    left, top, right, bottom = other
    width = min(box.right, right) - max(box.left, left)
    height = min(box.bottom, bottom) - max(box.top, top)
    both = max(0, width) * max(0, height)
    areas = (box.right - box.left) * (box.bottom - box.top) + (right - left) * (bottom - top)
    return both / (areas - both)


def alone(stage: int, label: str, count: int) -> list[tuple[Shot, Box, Edges]]:
    """Images with one object only, so that all that changes in them is that object; with its box, and as seen."""
    found = []
    for shot in shots(stage, count):
        scene = paint_scene(shot)
        burning, boxes = add_objects(scene, shot)
        if [box.label for box in boxes] == [label]:
            found.append((shot, boxes[0], seen_edges(shot, scene, burning)))
    return found


@pytest.mark.parametrize(("stage", "count"), [(1, 24), (2, 16)])
def test_a_box_is_as_tight_as_what_the_camera_sees(stage: int, count: int) -> None:
    overlaps = [overlap(box, seen) for _, box, seen in alone(stage, "smoke", count)]
    assert len(overlaps) >= 5
    assert np.median(overlaps) > 0.85
    assert np.quantile(overlaps, 0.1) > 0.7
    assert min(overlaps) > 0.4


def test_the_measure_of_tightness_can_fail() -> None:
    _, box, seen = alone(2, "smoke", 8)[0]
    loose = Box(box.label, box.left - 8, box.top - 8, box.right + 8, box.bottom + 8)
    moved = Box(box.label, box.left + 12, box.top, box.right + 12, box.bottom)
    assert overlap(box, seen) > 1.3 * max(overlap(loose, seen), overlap(moved, seen))


def test_a_box_of_flames_leaves_their_glow_outside() -> None:
    for shot, box, (left, top, right, bottom) in alone(1, "fire", 16):
        assert left - 2 <= box.left < box.right <= right + 2
        assert top - 2 <= box.top < box.bottom <= bottom + 2
        pixels = render(shot).pixels[box.top : box.bottom, box.left : box.right].reshape(-1, 3)
        assert (pixels[:, 0] > pixels[:, 2].astype(int) + 60).mean() > 0.3


def test_what_can_hardly_be_seen_gets_no_box() -> None:
    difference = np.zeros((216, 384), np.float32)
    difference[50:90, 100:160] = 0.06
    assert box_of(difference, "smoke") is None
    difference[50:90, 100:160] = 0.2
    assert box_of(difference, "smoke") == Box("smoke", 100, 50, 160, 90)
    assert box_of(difference, "fire") is None
    difference[difference == 0] = 0.04
    assert box_of(difference, "smoke") == Box("smoke", 100, 50, 160, 90)
    speck = np.zeros((216, 384), np.float32)
    speck[50:53, 100:103] = 0.9
    assert box_of(speck, "smoke") is None


def test_an_image_without_boxes_is_the_empty_landscape() -> None:
    for shot in shots(2, 8):
        scene = paint_scene(shot)
        burning, boxes = add_objects(scene, shot)
        assert bool(boxes) == bool(np.any(burning != scene.canvas))


# Layout


def test_the_layout_is_the_one_ultralytics_reads(made: DemoSummary) -> None:
    for stage in made.stages:
        data = yaml.safe_load(stage.data_yaml.read_text())
        names = {0: "fire", 1: "smoke"} if stage.stage == 1 else {0: "smoke"}
        assert data == {"train": "images/train", "val": "images/val", "names": names}
        for split, count in (("train", stage.train), ("val", stage.val)):
            images = sorted((stage.data_yaml.parent / data[split]).iterdir())
            labels = sorted((stage.data_yaml.parent / "labels" / split).iterdir())
            assert len(images) == count
            assert [path.stem for path in images] == [path.stem for path in labels]
            assert all(path.name.startswith(f"demo{stage.stage}_") and f"_{split}_" in path.name for path in images)


def test_images_are_whole_and_of_the_size_asked_for(made: DemoSummary) -> None:
    for path in made.folder.rglob("*.jpg"):
        with Image.open(path) as image:
            image.load()
            assert (image.size, image.mode) == ((WIDTH, HEIGHT), "RGB")


def test_labels_lie_within_the_image_and_use_the_classes_of_their_stage(made: DemoSummary) -> None:
    for stage in made.stages:
        labels = [box for path in stage.data_yaml.parent.glob("labels/*/*.txt") for box in boxes_in(path)]
        assert {index for index, _ in labels} == set(range(len(stage.boxes)))
        assert len(labels) == sum(stage.boxes.values())
        for _, (x, y, width, height) in labels:
            assert width > 0
            assert height > 0
            assert -1e-6 <= x - width / 2 < x + width / 2 <= 1 + 1e-6
            assert -1e-6 <= y - height / 2 < y + height / 2 <= 1 + 1e-6


def test_the_configuration_names_the_data_of_both_stages(made: DemoSummary) -> None:
    config = yaml.safe_load(made.config.read_text())
    assert {name: config[name]["data"] for name in ("stage1", "stage2")} == {
        "stage1": "stage-1/data.yaml",
        "stage2": "stage-2/data.yaml",
    }
    assert all((made.folder / config[name]["data"]).is_file() for name in ("stage1", "stage2"))


# Negatives, views and splits


def test_a_share_of_the_images_is_negative(made: DemoSummary) -> None:
    shares = {stage: np.mean([shot.is_negative for shot in shots(stage, 160)]) for stage in STAGES}
    assert 0.1 < shares[1] < 0.2
    assert shares[2] == 0.25
    for stage in made.stages:
        empty = [path for path in stage.data_yaml.parent.glob("labels/*/*.txt") if not path.read_text()]
        assert len(empty) == stage.negatives > 0


def test_every_camera_has_negatives_of_its_own() -> None:
    for split in ("train", "val"):
        by_camera: dict[int, list[bool]] = {}
        for shot in shots(2, 32, split):
            by_camera.setdefault(shot.camera, []).append(shot.is_negative)
        assert all(any(flags) and not all(flags) for flags in by_camera.values())


def test_no_camera_and_no_place_is_in_both_splits() -> None:
    assert not {shot.camera for shot in shots(2, 40)} & {shot.camera for shot in shots(2, 40, "val")}
    for stage in STAGES:
        ridges = [
            {paint_scene(shot).terrain.layers[-1].ridge.tobytes() for shot in shots(stage, 12, split)}
            for split in ("train", "val")
        ]
        assert not ridges[0] & ridges[1]
        assert len(ridges[0]) == (12 if stage == 1 else 8)


def test_a_camera_sees_the_same_hills_in_another_light() -> None:
    first, second = list(shots(2, 9))[::8]
    one, other = paint_scene(first), paint_scene(second)
    assert all(np.array_equal(a.ridge, b.ridge) for a, b in zip(one.terrain.layers, other.terrain.layers, strict=True))
    assert not np.array_equal(one.canvas, other.canvas)


# The folder


def test_a_folder_with_anything_else_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("four years of work")
    with pytest.raises(UsageError, match="not empty") as refusal:
        make(tmp_path)
    assert refusal.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_demo_set_with_foreign_files_is_refused(tmp_path: Path) -> None:
    make(tmp_path, train=1, val=1)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match="not a demo set only"):
        make(tmp_path, train=1, val=1)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").touch()
    with pytest.raises(UsageError, match="not a folder"):
        make(tmp_path / "set")


def test_a_finished_set_is_left_as_it_is(made: DemoSummary) -> None:
    (made.folder / "stage-1" / "labels" / "train.cache").write_text("as Ultralytics leaves it")
    before = {path: path.stat().st_mtime_ns for path in made.folder.rglob("*")}
    again = make(made.folder)
    assert made.created
    assert not again.created
    assert again.stages == made.stages
    assert {path: path.stat().st_mtime_ns for path in made.folder.rglob("*")} == before
    (made.folder / "stage-1" / "labels" / "train.cache").unlink()


def test_a_set_of_other_settings_is_refused(made: DemoSummary) -> None:
    with pytest.raises(UsageError, match="other settings: train 8, val 4"):
        make(made.folder, seed=9)


def test_a_set_with_missing_files_is_refused(tmp_path: Path) -> None:
    make(tmp_path, train=1, val=1)
    next(tmp_path.rglob("*.jpg")).unlink()
    with pytest.raises(UsageError, match="has lost files: 1"):
        make(tmp_path, train=1, val=1)


def test_an_interrupted_set_does_not_look_finished_and_is_made_again(tmp_path: Path) -> None:
    def pull_the_plug(done: int, _total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_demo(tmp_path, train=2, val=1, width=WIDTH, height=HEIGHT, seed=3, on_image=pull_the_plug)
    assert len(list(tmp_path.rglob("*.jpg"))) == 3
    assert not (tmp_path / demo.MANIFEST).exists()
    with pytest.raises(UsageError, match="other settings"):
        make(tmp_path, train=2, val=2)
    assert make(tmp_path, train=2, val=1).created
    make(tmp_path.with_name("whole"), train=2, val=1)
    assert bytes_in(tmp_path) == bytes_in(tmp_path.with_name("whole"))


def test_a_full_disk_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, _content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="no space left") as failure:
        make(tmp_path / "set")
    assert "run the same command again" in str(failure.value.hint)
    assert not (tmp_path / "set" / demo.MANIFEST).exists()


@pytest.mark.parametrize(
    "settings", [{"train": 0}, {"val": 0}, {"width": 20}, {"height": 5000}, {"seed": -1}], ids=lambda bad: str(bad)
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, int], tmp_path: Path) -> None:
    make_with: dict[str, Any] = {"train": 1, "val": 1, "width": WIDTH, "height": HEIGHT, "seed": 0, **settings}
    with pytest.raises(UsageError) as refusal:
        write_demo(tmp_path / "set", **make_with)
    assert refusal.value.hint
    assert not (tmp_path / "set").exists()


# The command


def test_the_command_prints_the_summary_and_what_to_run_next(tmp_path: Path) -> None:
    folder = tmp_path / "my set"
    result = CliRunner().invoke(app, ["demo", str(folder), "--train", "2", "--val", "1", "--size", "192x108"])
    assert result.exit_code == 0, result.output
    assert "stage" in result.stdout
    assert "full-workflow" not in result.stdout
    assert f"--profile cpu --config '{folder}/demo.yaml' --weights yolov8n.yaml" in result.stderr
    assert "rendered 6 of 6 images" in result.stderr
    again = CliRunner().invoke(app, ["demo", str(folder), "--train", "2", "--val", "1", "--size", "192x108"])
    assert again.exit_code == 0
    assert "left as it is" in again.stderr
    assert again.stdout == result.stdout


def test_the_command_prints_one_json_object(tmp_path: Path) -> None:
    arguments = ["demo", str(tmp_path / "set"), "--train", "1", "--val", "1", "--size", "192x108", "--json"]
    printed = json.load(io.StringIO(CliRunner().invoke(app, arguments).stdout))
    assert printed["created"] is True
    assert [stage["stage"] for stage in printed["stages"]] == [1, 2]
    assert all(Path(stage["data_yaml"]).is_file() for stage in printed["stages"])


@pytest.mark.parametrize("size", ["384", "384x", "axb", "384*216", "-1x20"])
def test_a_malformed_size_is_an_error_with_a_hint(size: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", str(tmp_path / "set"), f"--size={size}"])
    assert isinstance(result.exception, UsageError)
    assert result.exception.problems[0].where == "--size"
    assert "384x216" in str(result.exception.hint)
