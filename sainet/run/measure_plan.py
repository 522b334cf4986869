"""From a stage's plan to one that measures it: the same training on a few of its images, leaving nothing behind."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sainet.config.auto import device_list
from sainet.config.steps import accumulation
from sainet.data.source import images_in
from sainet.protocol import DataPlan, Plan

__all__ = ["Measurable", "measurable"]

_BATCHES = 8
"""What the engine computes (`sainet.engine.measuring`)."""
_STOCK_BUFFER = 1000
"""Images that Ultralytics keeps for mosaics in each worker at most, or eight batches."""
_NBS = 64
"""Ultralytics' default of the images per optimizer step."""


@dataclass(frozen=True)
class Measurable:
    """A plan to be measured, how many images it has, and `notes`: what of the real training it cannot show."""

    plan: Plan
    train_images: int
    val_images: int
    notes: tuple[str, ...]


def measurable(plan: Plan, folder: Path) -> Measurable:
    """The measurement of `plan` with everything it writes below `folder`.

    - As many images, spread over the data, as fill the queues of both loaders besides what is computed.
    - No warm-up, and at most two batches per optimizer step. Warm-up starts with a step after every batch, when no
      gradient waits during the next one; from two batches on some do, and more take no more memory.
    - Of several GPUs one, with its share of the batch.
    - The number of epochs stays: by it mosaic closes, and workers that persist look ahead into the next epoch.
    """
    batch, devices = _share(plan.arguments)
    loader, val = plan.loader, plan.val_loader
    train_files = _first(image_files(plan.data.train), float(plan.arguments.get("fraction", 1.0)))
    wanted = batch * (loader.workers * loader.prefetch_factor + _BATCHES)
    if plan.engine == "stock":
        wanted = max(wanted, min(8 * batch, _STOCK_BUFFER))
    train = _spread(train_files, wanted, plan.data)
    chosen_val = _spread(image_files(plan.data.val), 2 * batch * (val.workers * val.prefetch_factor + 2), plan.data)
    data = plan.data.model_copy(
        update={"train": [_listed(folder / "train.txt", train)], "val": [_listed(folder / "val.txt", chosen_val)]}
    )
    notes = tuple(_notes(plan, devices, len(train_files), len(train)))
    return Measurable(_moved(plan, folder, data, batch, devices[0]), len(train), len(chosen_val), notes)


def image_files(paths: Sequence[str]) -> list[str]:
    """The images of one split (folders and list files), sorted, as Ultralytics finds them."""
    return sorted(image for path in paths for image in images_in(Path(path)))


def _first(files: list[str], fraction: float) -> list[str]:
    return files[: max(1, round(len(files) * fraction))]


def _spread(files: list[str], count: int, data: DataPlan) -> list[str]:
    """`count` of the files, evenly; one of them with a box, where there is one: a training without is refused."""
    count = min(count, len(files))
    chosen = [files[index * len(files) // count] for index in range(count)]
    if not any(_has_box(file, data) for file in chosen):
        chosen[-1:] = [next((file for file in files if _has_box(file, data)), chosen[-1])]
    return chosen


def _has_box(image: str, data: DataPlan) -> bool:
    """Whether the label file has a box of a class that is trained."""
    folder, found, name = image.rpartition("/images/")
    path = Path(f"{folder}/labels/{name}" if found else image).with_suffix(".txt")
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(line.split()[:1] == [str(index)] for line in lines for index in data.class_map)


def _listed(path: Path, files: Sequence[str]) -> str:
    path.write_text("\n".join(files) + "\n", encoding="utf-8")
    return str(path)


def _share(arguments: dict[str, Any]) -> tuple[int, list[str]]:
    """The batch of one process, and the devices."""
    devices = device_list(arguments["device"])
    return max(1, arguments["batch"] // len(devices)), devices


def _moved(plan: Plan, folder: Path, data: DataPlan, batch: int, device: str) -> Plan:
    waiting = min(2, accumulation(plan.arguments["batch"], plan.arguments.get("nbs", _NBS)))
    arguments = {
        **plan.arguments,
        "save_dir": str(folder / "attempt"),
        "device": device,
        "batch": batch,
        "nbs": batch * waiting,
        "warmup_epochs": 0.0,
        "patience": 0,  # none
        "fraction": 1.0,
        "plots": False,
        "save_period": -1,
    }
    moved = {
        "supervisor_pid": os.getpid(),
        "attempt_dir": folder / "attempt",
        "weights_dir": folder / "weights",
        "checkpoint_dir": folder / "checkpoint",
        "events": folder / "events.jsonl",
        "orders": folder / "orders.json",
        "cache_dir": folder / "cache",
        "lock": folder / "lock",
    }
    return plan.model_copy(update={**moved, "data": data, "arguments": arguments, "resume": False})


def _notes(plan: Plan, devices: list[str], images: int, measured: int) -> Iterator[str]:
    if measured < images:
        yield f"measured with {measured} of {images} training images: of all of them the labels take more RAM"
        if plan.arguments.get("cache") == "ram":
            yield f"and the cache {images / measured:.0f} times what it took here"
    if plan.engine == "stock" and plan.loader.workers and devices != ["cpu"]:  # where it would use no workers
        yield "Ultralytics' workers fill their buffers for mosaics over eight batches each: here they were not full"
    if plan.arguments.get("multi_scale"):
        yield "multi_scale gives each batch a size of its own: the largest may not have been among these"
    if len(devices) > 1:
        yield f"measured on one of {len(devices)} GPUs, with its share of the batch: without what DDP adds"
