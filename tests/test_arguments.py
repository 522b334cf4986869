"""What the training process is given: Ultralytics' arguments, the shape, the loaders, the learning rate."""

from pathlib import Path

import pytest
from config_cases import on_gpu, settle

from sainet.config.steps import accumulation, initial_lr, step_images
from sainet.protocol import LoaderPlan
from sainet.run.arguments import (
    loader_plan,
    piece_images,
    shape,
    square_side,
    trainer_arguments,
    usable_val_workers,
    usable_workers,
    val_loader_plan,
)
from sainet.run.prediction import predicted_time


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("sealed_ultralytics")
def test_every_argument_is_one_that_ultralytics_knows_and_carries_the_configured_value() -> None:
    from ultralytics.cfg import get_cfg

    resolved = on_gpu("optim.lr0=0.003", "schedule.patience=7", "train.imgsz=600", "loader.cache=disk")
    arguments = trainer_arguments(resolved.config, Path("/runs/x"), workers=3)
    taken = get_cfg(overrides=arguments)  # raises for an unknown key or a wrong type
    assert (taken.lr0, taken.patience, taken.imgsz, taken.cache, taken.workers) == (0.003, 7, 608, "disk", 3)
    assert (taken.device, taken.save_dir) == ("0", "/runs/x")


@pytest.mark.parametrize(
    ("imgsz", "height_width"),
    [(640, (640, 640)), (600, (608, 608)), ([1440, 808], (832, 1440)), ([808, 1440], (1440, 832))],
)
def test_the_shape_is_rounded_up_to_the_stride_and_the_square_side_is_the_longer_one(
    imgsz: int | list[int], height_width: tuple[int, int]
) -> None:
    assert shape(imgsz) == height_width
    assert square_side(imgsz) == max(height_width)


# --- the learning rate


@pytest.mark.parametrize(("batch", "batches"), [(16, 4), (24, 3), (18, 4), (30, 2), (96, 1), (128, 1)])
def test_gradients_are_added_up_to_about_the_nominal_batch(batch: int, batches: int) -> None:
    assert accumulation(batch, 64) == batches


def test_the_learning_rate_grows_with_the_images_of_a_step_when_it_is_asked_to() -> None:
    linear = on_gpu("train.lr_scaling=linear", "train.batch=24").config
    assert (step_images(linear), initial_lr(linear)) == (72, pytest.approx(0.01125))
    assert trainer_arguments(linear, Path("/x"), workers=0)["lr0"] == initial_lr(linear)
    assert trainer_arguments(linear, Path("/x"), workers=0)["warmup_bias_lr"] == 0.1
    base = on_gpu("train.lr_scaling=linear", "train.batch=24", "train.lr_base_batch=144").config
    assert initial_lr(base) == pytest.approx(0.005)
    as_it_is = on_gpu("train.batch=24").config
    assert trainer_arguments(as_it_is, Path("/x"), workers=0)["lr0"] == 0.01


def test_the_number_of_gpus_is_in_the_batch_already() -> None:
    one = on_gpu("train.lr_scaling=linear", "train.batch=128").config
    two = on_gpu("train.lr_scaling=linear", "train.batch=128", "train.device=0,1", gpus=2).config
    assert initial_lr(one) == initial_lr(two) == pytest.approx(0.02)


def test_a_piece_is_what_one_gpu_computes_at_once() -> None:
    assert piece_images(on_gpu("train.batch=30").config) == 30
    assert piece_images(on_gpu("train.batch=30", "train.micro_batch=4").config) == 8
    assert piece_images(on_gpu("train.batch=30", "train.micro_batch=4", "train.device=0,1", gpus=2).config) == 4


# --- the loaders


def test_a_profiles_workers_are_lowered_to_each_gpus_share_and_a_typed_number_is_obeyed() -> None:
    config = on_gpu("loader.workers=12").config
    assert usable_workers(config, 16, typed_by_user=False) == (12, None)
    assert usable_workers(config, 4, typed_by_user=True) == (12, None)
    lowered, warning = usable_workers(config, 4, typed_by_user=False)
    assert lowered == 4
    assert warning == "loader.workers 12 is lowered to 4, each GPU's share of the 4 CPU threads here"
    two = on_gpu("train.device=0,1", "loader.workers=12", gpus=2).config
    assert usable_workers(two, 16, typed_by_user=False)[0] == 8


@pytest.mark.parametrize(("training", "validation"), [(0, 0), (1, 1), (2, 1), (5, 3), (12, 6)])
def test_validation_takes_half_of_the_workers_by_itself(training: int, validation: int) -> None:
    config = on_gpu().config
    assert usable_val_workers(config, 4, training_workers=training, typed_by_user=False) == (validation, None)


def test_the_loaders_of_our_engine_are_what_the_profile_says() -> None:
    config = on_gpu("loader.prefetch_factor=3", "loader.persistent_workers=false", "loader.timeout_s=60").config
    assert loader_plan(config, workers=8) == LoaderPlan(
        workers=8, prefetch_factor=3, pin_memory=True, persistent_workers=False, timeout_s=60
    )
    assert val_loader_plan(config, workers=4) == LoaderPlan(
        workers=4, prefetch_factor=2, pin_memory=True, persistent_workers=False, timeout_s=60
    )
    own = on_gpu("loader.val.prefetch_factor=1", "loader.val.pin_memory=false", "loader.val.timeout_s=30").config
    assert val_loader_plan(own, workers=4) == LoaderPlan(
        workers=4, prefetch_factor=1, pin_memory=False, persistent_workers=False, timeout_s=30
    )


def test_nothing_is_pinned_without_a_gpu_and_validation_follows_the_training() -> None:
    assert not loader_plan(settle().config, workers=0).pin_memory
    unpinned = on_gpu("loader.pin_memory=false").config
    assert not val_loader_plan(unpinned, workers=1).pin_memory


def test_the_stock_engine_has_its_own_loaders() -> None:
    config = on_gpu("train.engine=stock").config
    assert usable_val_workers(config, 4, training_workers=8, typed_by_user=False) == (16, None)
    assert loader_plan(config, workers=8) == LoaderPlan(
        workers=8, prefetch_factor=4, pin_memory=True, persistent_workers=True, timeout_s=0
    )
    assert val_loader_plan(config, workers=16) == LoaderPlan(
        workers=16, prefetch_factor=2, pin_memory=True, persistent_workers=True, timeout_s=0
    )


# --- the time


def test_the_predicted_time_comes_from_the_published_figure_of_this_very_batch_or_not_at_all() -> None:
    shm = settle(profile="h200-shm")
    assert (predicted_time(shm, None) or "").startswith("14.8 h for 110 epochs of the document's 37413 images")
    assert (predicted_time(shm, 9600) or "").startswith("3.8 h for 110 epochs of your 9600 images")
    assert predicted_time(settle(profile="h200-shm", sets=["train.batch=64"]), None) is None
    assert predicted_time(settle(), 100) is None


def test_a_predicted_time_says_when_its_figure_was_measured_at_another_size() -> None:
    rectangle = predicted_time(settle(profile="h200-shm"), None) or ""
    assert rectangle.endswith("; measured at 1440x1440, and 832x1440 has 0.58 times its pixels")
    square = predicted_time(settle(profile="h200-shm", sets=["train.imgsz=1440"]), None) or ""
    assert "measured at" not in square
