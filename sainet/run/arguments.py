"""From the resolved configuration to what Ultralytics' DetectionTrainer is given."""

from pathlib import Path
from typing import Any

from sainet.config.auto import device_count, device_list
from sainet.config.contradictions import STRIDE
from sainet.config.schema import Config


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


def square_side(imgsz: int | list[int]) -> int:
    """The side that the square trainer is given, pixels: the longer one, rounded up to the stride."""
    longest = max(imgsz) if isinstance(imgsz, list) else imgsz
    return -(-longest // STRIDE) * STRIDE


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
