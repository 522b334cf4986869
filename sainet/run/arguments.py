"""From the resolved configuration to what Ultralytics' DetectionTrainer is given."""

from pathlib import Path
from typing import Any

from sainet.config.auto import device_count, device_list
from sainet.config.schema import Config
from sainet.config.steps import initial_lr
from sainet.config.stride import to_stride
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
        "lr0": initial_lr(config),
        **config.augment.model_dump(),
        **config.loss.model_dump(),
    }


def shape(imgsz: int | list[int]) -> tuple[int, int]:
    """(height, width) in pixels of what `imgsz` asks for, one number or [width, height], rounded up to the stride."""
    width, height = imgsz if isinstance(imgsz, list) else (imgsz, imgsz)
    return to_stride(height), to_stride(width)


def square_side(imgsz: int | list[int]) -> int:
    """Ultralytics' own `imgsz`, one number of pixels: the longer side, rounded up to the stride."""
    return max(shape(imgsz))


def piece_images(config: Config) -> int:
    """Images that each GPU computes at once, and that BatchNorm sees together: its batch, or the largest piece."""
    share = config.train.batch // device_count(config.train.device)
    return -(-share // config.train.micro_batch)


# --- the loaders


def loader_plan(config: Config, *, workers: int) -> LoaderPlan:
    """The training's loader in each process; `workers` is what this machine can give."""
    loader = config.loader
    return LoaderPlan(
        workers=workers,
        prefetch_factor=loader.prefetch_factor or STOCK_PREFETCH,
        pin_memory=_pins(config, loader.pin_memory),
        persistent_workers=loader.persistent_workers,
        timeout_s=0 if config.train.engine == "stock" else loader.timeout_s,
    )


def val_loader_plan(config: Config, *, workers: int) -> LoaderPlan:
    """Validation's loader in each process; `workers` is what this machine can give (`usable_val_workers`).

    Our workers end with each validation, Ultralytics' stay.
    """
    val, loader = config.loader.val, config.loader
    is_stock = config.train.engine == "stock"
    return LoaderPlan(
        workers=workers,
        prefetch_factor=val.prefetch_factor or STOCK_VAL_PREFETCH,
        pin_memory=_pins(config, loader.pin_memory if val.pin_memory is None else val.pin_memory),
        persistent_workers=is_stock,
        timeout_s=0 if is_stock else val.timeout_s or loader.timeout_s,
    )


def usable_workers(config: Config, cpus: int, *, typed_by_user: bool) -> tuple[int, str | None]:
    """How many loader workers each GPU gets here, and a warning where that is fewer than the profile asks for.

    A number that the user typed is obeyed.
    """
    asked = config.loader.workers
    assert isinstance(asked, int), "auto is resolved before"
    return (asked, None) if typed_by_user else _lowered("loader.workers", asked, config, cpus)


def usable_val_workers(
    config: Config, cpus: int, *, training_workers: int, typed_by_user: bool
) -> tuple[int, str | None]:
    """The same for validation, which by itself takes half of the training's workers, rounded up.

    Ultralytics' own takes twice the training's, whatever is asked for.
    """
    asked = config.loader.val.workers
    if config.train.engine == "stock":
        return 2 * training_workers, None
    if asked is None:
        return -(-training_workers // 2), None
    return (asked, None) if typed_by_user else _lowered("loader.val.workers", asked, config, cpus)


def _lowered(key: str, asked: int, config: Config, cpus: int) -> tuple[int, str | None]:
    share = max(1, cpus // device_count(config.train.device))
    if asked <= share:
        return asked, None
    return share, f"{key} {asked} is lowered to {share}, each GPU's share of the {cpus} CPU threads here"


def _pins(config: Config, asked: bool | None) -> bool:
    return device_list(config.train.device) != ["cpu"] if asked is None else asked
