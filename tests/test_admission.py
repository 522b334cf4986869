"""What may start on which machine, what is refused by name, and what the training process is given."""

from pathlib import Path

import pytest
from config_cases import settle

from sainet.config.auto import HardwareValues
from sainet.config.resolve import Resolved
from sainet.run.admission import refusals
from sainet.run.arguments import accumulation, square_side, trainer_arguments, usable_workers
from sainet.run.prediction import predicted_time


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def on_gpu(*sets: str, gpus: int = 1) -> Resolved:
    """A configuration that one GPU can start, and `sets` over it."""
    base = ["train.device=0", "train.imgsz=640", "loader.workers=4", "train.amp=true"]
    kept = [text for text in base if text.partition("=")[0] not in {s.partition("=")[0] for s in sets}]
    return settle(sets=[*kept, *sets], hardware=HardwareValues(cpus=16, gpus=("NVIDIA H200",) * gpus))


def refused(resolved: Resolved, gpus: int, *, force: bool = False) -> list[str]:
    return [problem.message.partition(":")[0] for problem in refusals(resolved, gpus, force=force)]


def test_a_plain_configuration_is_refused_nothing_where_its_device_is() -> None:
    assert refused(on_gpu(), 1) == []
    assert refused(settle(), 0) == []


def test_a_missing_gpu_is_named() -> None:
    (problem,) = refusals(on_gpu(), 0, force=True)
    assert problem.message == "train.device: GPU 0 is not here (none visible)"
    assert refused(on_gpu("train.device=3"), 2) == ["train.device"]


@pytest.mark.parametrize(
    "setting",
    [
        "train.imgsz=[1440, 808]",
        "train.micro_batch=2",
        "train.lr_scaling=linear",
        "train.tf32=true",
        "train.tf32=false",
        "train.sync_bn=true",
        "staging.to=shm",
        "loader.prefetch_factor=2",
        "loader.pin_memory=false",
        "loader.persistent_workers=false",
    ],
)
def test_what_cannot_be_honoured_on_a_gpu_yet_is_refused_by_name(setting: str) -> None:
    assert refused(on_gpu(setting), 1, force=True) == [setting.partition("=")[0]]


def test_validations_own_loader_is_refused() -> None:
    assert refused(on_gpu("loader.val.workers=2"), 1) == ["loader.val.workers"]


def test_several_gpus_are_refused() -> None:
    assert refused(on_gpu("train.device=0,1", gpus=2), 2) == ["train.device"]


@pytest.mark.parametrize(
    "setting",
    ["loader.workers=2", "train.amp=true", "train.amp=bf16", "train.channels_last=true", "loader.pin_memory=true"],
)
def test_what_would_be_switched_off_in_silence_on_a_cpu_is_refused_by_name(setting: str) -> None:
    assert refused(settle(sets=[setting]), 0) == [setting.partition("=")[0]]


@pytest.mark.parametrize("setting", ["loader.prefetch_factor=4", "loader.pin_memory=true", "train.imgsz=[640, 640]"])
def test_what_ultralytics_does_anyway_is_not_refused(setting: str) -> None:
    assert refused(on_gpu(setting), 1) == []


def test_a_cache_on_top_of_dev_shm_is_refused_and_can_be_forced() -> None:
    twice = on_gpu("staging.to=shm", "loader.cache=ram")
    assert "loader.cache" in refused(twice, 1)
    assert "loader.cache" not in refused(twice, 1, force=True)


# --- what the training process is given


def test_a_profiles_workers_are_lowered_to_each_gpus_share_and_a_typed_number_is_obeyed() -> None:
    config = on_gpu("loader.workers=12").config
    assert usable_workers(config, 16, typed_by_user=False) == (12, None)
    assert usable_workers(config, 4, typed_by_user=True) == (12, None)
    lowered, warning = usable_workers(config, 4, typed_by_user=False)
    assert lowered == 4
    assert warning == "loader.workers 12 is lowered to 4, each GPU's share of the 4 CPU threads here"
    two = on_gpu("train.device=0,1", "loader.workers=12", gpus=2).config
    assert usable_workers(two, 16, typed_by_user=False)[0] == 8


@pytest.mark.usefixtures("sealed_ultralytics")
def test_every_argument_is_one_that_ultralytics_knows_and_carries_the_configured_value() -> None:
    from ultralytics.cfg import get_cfg

    resolved = on_gpu("optim.lr0=0.003", "schedule.patience=7", "train.imgsz=600", "loader.cache=disk")
    arguments = trainer_arguments(resolved.config, Path("/runs/x"), workers=3)
    taken = get_cfg(overrides=arguments)  # raises for an unknown key or a wrong type
    assert (taken.lr0, taken.patience, taken.imgsz, taken.cache, taken.workers) == (0.003, 7, 608, "disk", 3)
    assert (taken.device, taken.save_dir) == ("0", "/runs/x")


@pytest.mark.parametrize(("imgsz", "side"), [(640, 640), (600, 608), ([1440, 808], 1440), ([808, 1440], 1440)])
def test_the_square_side_is_the_longer_one_rounded_up_to_the_stride(imgsz: int | list[int], side: int) -> None:
    assert square_side(imgsz) == side


@pytest.mark.parametrize(("batch", "batches"), [(16, 4), (24, 3), (18, 4), (30, 2), (96, 1), (128, 1)])
def test_gradients_are_added_up_to_about_the_nominal_batch(batch: int, batches: int) -> None:
    assert accumulation(batch, 64) == batches


def test_the_predicted_time_comes_from_the_published_figure_of_this_very_batch_or_not_at_all() -> None:
    shm = settle(profile="h200-shm")
    assert (predicted_time(shm, None) or "").startswith("14.8 h for 110 epochs of the document's 37413 images")
    assert (predicted_time(shm, 9600) or "").startswith("3.8 h for 110 epochs of your 9600 images")
    assert predicted_time(settle(profile="h200-shm", sets=["train.batch=64"]), None) is None
    assert predicted_time(settle(), 100) is None
