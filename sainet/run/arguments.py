"""From the resolved configuration to what Ultralytics' DetectionTrainer is given."""

from pathlib import Path
from typing import Any

from sainet.config.auto import device_count, device_list
from sainet.config.contradictions import STRIDE
from sainet.config.schema import Config
from sainet.protocol import LoaderPlan

STOCK_PREFETCH = 4
"""What Ultralytics' loader uses for training, and cannot be told otherwise."""
STOCK_VAL_PREFETCH = 2
"""The same for validation."""


def trainer_arguments(config: Config, attempt_dir: Path, *, workers: int) -> dict[str, Any]:
    """Ultralytics' own names and values. `workers` is what this machine can give."""
    train, schedule = config.train, config.schedule
    return {
        "task": "detect",
        "mode": "train",
        "save_dir": str(attempt_dir),
        "exist_ok": True,
        "epochs": schedule.epochs,
        "patience": schedule.patience,
        "close_mosaic": schedule.close_mosaic,
        "seed": schedule.seed,
        "fraction": schedule.fraction,
        "freeze": schedule.freeze,
        "batch": train.batch,
        "imgsz": square_side(train.imgsz),
        "device": ",".join(device_list(train.device)),
        "amp": train.amp,
        "compile": train.compile,
        "channels_last": train.channels_last,
        "deterministic": train.deterministic,
        "save_period": train.save_period,
        "plots": train.plots,
        "workers": workers,
        "cache": config.loader.cache,
        **config.optim.model_dump(),
        **config.augment.model_dump(),
        **config.loss.model_dump(),
    }


def shape(imgsz: int | list[int]) -> tuple[int, int]:
    """(height, width) in pixels of what `imgsz` asks for, one number or [width, height], rounded up to the stride."""
    width, height = imgsz if isinstance(imgsz, list) else (imgsz, imgsz)
    return _rounded(height), _rounded(width)


def loader_plan(config: Config, *, workers: int) -> LoaderPlan:
    """The training's loader in each process; `workers` is what this machine can give."""
    loader = config.loader
    return LoaderPlan(
        workers=workers,
        prefetch_factor=loader.prefetch_factor or STOCK_PREFETCH,
        pin_memory=_pins(config, loader.pin_memory),
        persistent_workers=loader.persistent_workers,
        timeout_s=loader.timeout_s,
    )


def val_loader_plan(config: Config, *, workers: int) -> LoaderPlan:
    """Validation's loader in each process. Its workers end with each validation."""
    val, loader = config.loader.val, config.loader
    return LoaderPlan(
        workers=-(-workers // 2) if val.workers is None else val.workers,
        prefetch_factor=val.prefetch_factor or STOCK_VAL_PREFETCH,
        pin_memory=_pins(config, loader.pin_memory if val.pin_memory is None else val.pin_memory),
        persistent_workers=False,
        timeout_s=val.timeout_s or loader.timeout_s,
    )


def _pins(config: Config, asked: bool | None) -> bool:
    return device_list(config.train.device) != ["cpu"] if asked is None else asked


def _rounded(side: int) -> int:
    return -(-side // STRIDE) * STRIDE


def square_side(imgsz: int | list[int]) -> int:
    """The side that the square trainer is given, pixels: the longer one, rounded up to the stride."""
    longest = max(imgsz) if isinstance(imgsz, list) else imgsz
    return _rounded(longest)


def accumulation(batch: int, nbs: int) -> int:
    """Batches whose gradients are added up before a step of the optimizer (Ultralytics' rule)."""
    return max(round(nbs / batch), 1)


def usable_workers(config: Config, cpus: int, *, typed_by_user: bool) -> tuple[int, str | None]:
    """How many loader workers each GPU gets here, and a warning where that is fewer than the profile asks for.

    A number that the user typed is obeyed.
    """
    asked = config.loader.workers
    assert isinstance(asked, int), "auto is resolved before"
    share = max(1, cpus // device_count(config.train.device))
    if asked <= share or typed_by_user:
        return asked, None
    return share, f"loader.workers {asked} is lowered to {share}, each GPU's share of the {cpus} CPU threads here"
