"""Labels and images as the training process takes them: what Ultralytics would change or drop is refused or told."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import Box, PlanMaker, TinySetMaker, WorkerRunner
from engine_cases import all_of, dataset_of, first, listing
from PIL import Image

from sainet.errors import DataError, StorageError
from sainet.protocol import (
    Plan,
    ProcessFailed,
    Warned,
    read_events,
)


def labels_of(engine: SimpleNamespace, plan: Plan) -> list[dict[str, Any]]:
    labels: list[dict[str, Any]] = dataset_of(engine, plan).labels
    return labels


@pytest.mark.train
def test_images_of_fire_become_negatives(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, stage_1_weights: Path
) -> None:
    boxes: list[list[Box]] = [
        [("fire", 0.3, 0.5, 0.2, 0.2)],
        [("fire", 0.3, 0.5, 0.2, 0.2), ("smoke", 0.7, 0.5, 0.4, 0.4), ("fire", 0.5, 0.2, 0.1, 0.1)],
    ]
    data = tiny_set(("smoke", "fire"), images=4, boxes=lambda number: boxes[number % 2])
    labels = labels_of(engine, plan_for(data, stage=2, weights=stage_1_weights, classes=["smoke"]))
    assert [label["cls"].tolist() for label in labels] == [[], [[0.0]]] * 2
    assert [label["bboxes"].shape for label in labels] == [(0, 4), (1, 4)] * 2
    assert labels[1]["bboxes"][0].tolist() == pytest.approx([0.7, 0.5, 0.4, 0.4])


# --- data that Ultralytics would change or drop


def refused(engine: SimpleNamespace, plan: Plan, split: str = "train") -> DataError:
    with pytest.raises(DataError) as caught:
        dataset_of(engine, plan, split)
    assert caught.value.exit_code == 5
    return caught.value


def cut(image: Path) -> None:
    image.write_bytes(image.read_bytes()[:-300])


@pytest.mark.train
def test_a_cut_jpeg_ends_the_start_with_its_name_and_stays_as_it_is(
    tiny_set: TinySetMaker, plan_for: PlanMaker, run_worker: WorkerRunner
) -> None:
    data = tiny_set()
    cut(data.images()[1])
    before = listing(data.root)
    result = run_worker(plan_for(data))
    assert result.exit_code == 5
    failed = first(ProcessFailed, result.events)
    assert failed.exit_code == 5
    assert f"{data.images()[1]}: JPEG without its end: the file is cut" in failed.message
    assert "\x1b" not in failed.message
    assert failed.hint == "mend or remove them; --force trains without them"
    assert listing(data.root) == before


def test_a_cut_jpeg_is_left_out_with_a_warning_where_that_is_allowed(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    data = tiny_set()
    cut(data.images()[1])
    before = listing(data.root)
    plan = plan_for(data, skip_bad_images=True)
    assert len(dataset_of(engine, plan)) == 3
    (warning,) = all_of(Warned, read_events(plan.events))
    assert "1 of 4 train images cannot be used and are left out" in warning.message
    assert str(data.images()[1]) in warning.message
    assert listing(data.root) == before


@pytest.mark.parametrize("left", [2, 40, 700])
def test_a_jpeg_cut_anywhere_is_refused(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, left: int
) -> None:
    data = tiny_set()
    image = data.images()[1]
    image.write_bytes(image.read_bytes()[:left])
    assert f"{image}: JPEG without its end" in refused(engine, plan_for(data)).message


def test_leaving_out_every_image_is_not_allowed(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    data = tiny_set(images=2)
    for image in data.images():
        cut(image)
    assert "2 of 2" in refused(engine, plan_for(data, skip_bad_images=True)).message


def test_a_jpeg_with_something_behind_its_end_is_used_as_it_is(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    """Cameras append maker notes and padding. Upstream takes that for damage and re-encodes the image."""
    data = tiny_set()
    image = data.images()[1]
    image.write_bytes(image.read_bytes() + b"\0" * 64)
    before = listing(data.root)
    plan = plan_for(data)
    assert len(dataset_of(engine, plan)) == 4
    assert not all_of(Warned, read_events(plan.events))
    assert listing(data.root) == before


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2 0.5 0.5 0.2 0.2", "Label class 2 exceeds dataset class count 2"),
        ("-1 0.5 0.5 0.2 0.2", "negative label values"),
        ("0 0.5 1.5 0.2 0.2", "out of bounds coordinates"),
        ("0 320 240 50 50", "non-normalized"),
        ("0 0.5 0.5 0.2", "the rows of its label file have different numbers of columns"),
        ("0 0.1 0.1 0.4 0.1 0.4 0.4", "mix segment and detection rows"),
        ("smoke 0.5 0.5 0.2 0.2", "could not convert string to float"),
    ],
)
def test_a_bad_label_is_refused_with_its_image_and_reason(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, row: str, reason: str
) -> None:
    data = tiny_set()
    image = data.images()[2]
    with data.label(image).open("a", encoding="utf-8") as stream:
        stream.write(f"{row}\n")
    message = refused(engine, plan_for(data)).message
    assert message.startswith("1 of 4 train images cannot be used:\n  ")
    assert str(image) in message
    assert reason in message
    assert "\x1b" not in message


def test_an_image_of_a_list_that_is_not_there_is_refused_by_name(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    data = tiny_set()
    (data.root / "list.txt").write_text("./images/train/0000.jpg\n./images/train/gone.jpg\n", encoding="utf-8")
    data.yaml.write_text(data.yaml.read_text().replace("train: images/train", "train: list.txt"), encoding="utf-8")
    assert f"{data.root}/images/train/gone.jpg" in refused(engine, plan_for(data)).message


def test_a_long_list_of_bad_images_is_shortened(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    data = tiny_set(images=13)
    for image in data.images():
        data.label(image).write_text("7 0.5 0.5 0.2 0.2\n", encoding="utf-8")
    message = refused(engine, plan_for(data)).message
    assert message.endswith("and 3 more")
    assert len(message.splitlines()) == 12


def test_missing_label_files_are_counted_in_a_warning(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    data = tiny_set()
    for image in data.images()[:2]:
        data.label(image).unlink()
    plan = plan_for(data)
    expected = "2 of 4 train images have no label file and count as negatives"
    for attempt in (1, 2):  # the second one reads the label cache, and must say the same
        assert len(dataset_of(engine, plan)) == 4
        assert [event.message for event in all_of(Warned, read_events(plan.events))] == [expected] * attempt


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_any_label_file_says_where_they_are_looked_for(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, split: str
) -> None:
    data = tiny_set()
    for image in data.images(split):
        data.label(image).unlink()
    error = refused(engine, plan_for(data), split)
    assert f"none of the {len(data.images(split))} {split} images has a label file" in error.message
    image = data.images(split)[0]
    assert error.hint == f"the labels of {image} are looked for in {data.label(image)}"


def test_a_class_without_boxes_is_a_warning_and_no_boxes_at_all_are_refused(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, tmp_path: Path
) -> None:
    data = tiny_set(boxes=lambda _: [("fire", 0.3, 0.5, 0.2, 0.2)])
    plan = plan_for(data)
    dataset_of(engine, plan)
    (warning,) = all_of(Warned, read_events(plan.events))
    assert warning.message == "no train image has a box of smoke"
    error = refused(engine, plan_for(data, classes=["smoke"], root=tmp_path / "other"))
    assert error.message == "no train image has a box of smoke"


def test_polygons_count_as_boxes_and_a_mixture_is_told(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    data = tiny_set()
    data.label(data.images()[0]).write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n1 .6 .6 .8 .6 .8 .9\n", encoding="utf-8")
    plan = plan_for(data)
    label = labels_of(engine, plan)[0]
    assert label["bboxes"][0].tolist() == pytest.approx([0.3, 0.3, 0.4, 0.4])
    (warning,) = all_of(Warned, read_events(plan.events))
    assert warning.message.startswith("1 label files of train hold polygons and others boxes")


def test_a_duplicate_box_is_told(engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker) -> None:
    data = tiny_set()
    image = data.images()[0]
    row = data.label(image).read_text(encoding="utf-8").splitlines()[0]
    with data.label(image).open("a", encoding="utf-8") as stream:
        stream.write(f"{row}\n")
    plan = plan_for(data)
    dataset_of(engine, plan)
    assert [event.message for event in all_of(Warned, read_events(plan.events))] == [
        f"{image}: 1 duplicate labels removed"
    ]


def test_stale_decoded_images_are_not_used(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    """An image that is replaced by an older file: its time alone would not tell."""
    data = tiny_set(images=2)
    plan = plan_for(data, cache="disk")
    image = data.images()[0]
    before = dataset_of(engine, plan).load_image(0)[0]
    image.write_bytes(data.images()[1].read_bytes())
    os.utime(image, (1, 1))
    after = dataset_of(engine, plan).load_image(0)[0]
    assert (before != after).any()


def test_npy_files_of_the_user_are_neither_used_nor_removed(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    data = tiny_set(images=2)
    mine = data.images()[0].with_suffix(".npy")
    mine.write_bytes(b"not an array")
    assert dataset_of(engine, plan_for(data)).load_image(0)[0].shape == (64, 64, 3)
    assert mine.read_bytes() == b"not an array"


def test_a_cache_that_does_not_fit_is_refused(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sainet.errors import RefusedError

    data = tiny_set()
    whole = plan_for(data, cache="ram")
    four_images = 4 * 3 * 64 * 64
    assert dataset_of(engine, whole.model_copy(update={"ram_cache_bytes": four_images})).cache == "ram"
    with pytest.raises(RefusedError, match=r"loader\.cache: ram needs .* for the train images"):
        dataset_of(engine, whole.model_copy(update={"ram_cache_bytes": four_images - 1}))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=10, used=9, free=1))
    with pytest.raises(StorageError, match=r"loader\.cache: disk needs"):
        dataset_of(engine, plan_for(data, cache="disk"))


def test_a_disk_that_fills_up_while_images_are_cached_is_told(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upstream logs it and trains without the cache."""

    def full(stream: Any, *_: Any, **__: Any) -> None:
        stream.write(b"a part")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("numpy.save", full)
    plan = plan_for(tiny_set(), cache="disk")
    with pytest.raises(StorageError, match="no space left while writing"):
        dataset_of(engine, plan)
    assert not list(plan.cache_dir.rglob("*.npy"))


@pytest.mark.train
@pytest.mark.parametrize(("workers", "cache"), [(0, False), (1, False), (0, "disk")])
def test_an_image_that_passes_the_scan_and_does_not_decode_is_named(
    tiny_set: TinySetMaker, plan_for: PlanMaker, run_worker: WorkerRunner, workers: int, cache: Any
) -> None:
    """The scan reads the head of a BMP only."""
    data = tiny_set()
    jpeg = data.images()[1]
    image = jpeg.with_suffix(".bmp")
    Image.open(jpeg).save(image)
    jpeg.unlink()
    image.write_bytes(image.read_bytes()[:5000])
    result = run_worker(plan_for(data, loader={"workers": workers}, workers=workers, cache=cache))
    failed = first(ProcessFailed, result.events)
    assert (result.exit_code, failed.exit_code) == (5, 5)
    assert failed.message == f"{image} is gone or does not decode"
    assert failed.hint == "mend or remove it, and its label file"
