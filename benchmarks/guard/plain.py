#!/usr/bin/env python3
"""Plain Ultralytics, as `yolo train` runs it, with the loader's workers that it would have beside a GPU.

    python -m benchmarks.guard.plain DATA.yaml FOLDER [--workers 4] [--batch 32] [--imgsz 320] [--epochs 1] [--seed 0]

Its own trainer and its own loaders, four batches ahead for each worker in training and two in validation. On a CPU it
would load without workers, and never with more than there are cores: both are overruled. `--oom-above 4 --oom-from 8`
raises CUDA's out-of-memory error for more than 4 images at once, from the ninth batch on. Prints a line per batch. It
has no network, and writes label caches beside the labels, so give it a copy of the data.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from sainet.engine.environment import seal

_CPUS = 1024
"""What it is told, since it lowers the workers to the cores of the machine."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path, help="where it writes")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mosaic", type=float, default=1.0)
    parser.add_argument("--model", default="yolov8n.yaml")
    parser.add_argument("--oom-above", type=int)
    parser.add_argument("--oom-from", type=int, default=0)
    options = parser.parse_args()
    seal(options.folder / "ultralytics")
    training = trainer(options)
    training.args.workers = options.workers  # none on a CPU
    os.cpu_count = lambda: _CPUS
    batches = _Batches()
    training.add_callback("on_train_batch_end", batches)
    if options.oom_above is not None:
        fill_gpu(training, batches, options.oom_above, options.oom_from)
    training.train()
    print("done", flush=True)


def trainer(options: argparse.Namespace) -> Any:
    """Ultralytics' own, with the learning settings of sainet's stage 1."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    return DetectionTrainer(
        overrides={
            "model": options.model,
            "data": str(options.data.absolute()),
            "project": str(options.folder.absolute()),
            "name": "plain",
            "exist_ok": True,
            "device": "cpu",
            "amp": False,
            "plots": False,
            "batch": options.batch,
            "imgsz": options.imgsz,
            "epochs": options.epochs,
            "seed": options.seed,
            "workers": options.workers,
            "optimizer": "SGD",
            "mosaic": options.mosaic,
            "close_mosaic": 0,
            "mixup": 0.15,
        }
    )


def fill_gpu(training: Any, batches: "_Batches", images: int, first: int) -> None:
    """As PyTorch would raise it, where a batch comes to the device."""
    import torch

    upstream = training.preprocess_batch

    def preprocess_batch(batch: dict[str, Any]) -> dict[str, Any]:
        if len(batch["img"]) > images and batches.done >= first:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. (injected)")
        prepared: dict[str, Any] = upstream(batch)
        return prepared

    training.preprocess_batch = preprocess_batch


class _Batches:
    """Says how far it is, so that one can see from outside when it stands still."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self, _training: Any) -> None:
        self.done += 1
        print(f"batch {self.done}", flush=True)


if __name__ == "__main__":
    main()
