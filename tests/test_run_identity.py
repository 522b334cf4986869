"""What may change between two attempts at one training, and what would make it another one."""

from pathlib import Path

import pytest
from config_cases import settle

from sainet.errors import UsageError
from sainet.run.identity import check_same_training, training_identity


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "setting",
    [
        "train.checkpoint_minutes=1",
        "train.device=0",
        "train.micro_batch=2",
        "train.plots=false",
        "train.save_period=3",
        "loader.workers=2",
        "loader.timeout_s=9",
        "loader.val.workers=1",
        "env.OMP_NUM_THREADS=4",
        "schedule.patience=3",
    ],
)
def test_how_the_machine_is_used_may_change(setting: str) -> None:
    check_same_training(training_identity(settle()), settle(sets=[setting]), run="x")


@pytest.mark.parametrize(
    "setting",
    [
        "train.engine=stock",
        "train.batch=8",
        "train.imgsz=640",
        "train.amp=bf16",
        "train.tf32=true",
        "train.channels_last=true",
        "train.compile=true",
        "train.deterministic=false",
        "train.lr_scaling=linear",
        "optim.lr0=0.02",
    ],
)
def test_what_makes_the_training_may_not(setting: str) -> None:
    with pytest.raises(UsageError, match=f"is trained with {setting.partition('=')[0]} = "):
        check_same_training(training_identity(settle()), settle(sets=[setting]), run="x")


def test_cudnns_choice_of_algorithms_may_not() -> None:
    before = training_identity(settle(sets=["train.deterministic=false"]))
    with pytest.raises(UsageError, match=r"is trained with train\.cudnn_benchmark = False, not True"):
        check_same_training(before, settle(sets=["train.deterministic=false", "train.cudnn_benchmark=true"]), run="x")
