#!/usr/bin/env python3
"""A real training step's memory on this CPU against the tracer's figure for it.

    python benchmarks/memory/step_memory.py [--models yolov8n yolov8s] [--shapes 480x480 640x640 416x640]
                                            [--batches 4 8 16]

Each case trains in a process of its own: two steps of the engine in fp32, on images with as many boxes as the tracer
assumes, each of the size that it assumes. Measured is by how much the second step's peak resident memory exceeds what
was resident before it; predicted, what the tracer says of the peak, less what stays (weights, average, optimizer). The
C library returns freed blocks at once, so that resident memory is what is alive.
"""

import argparse
import ctypes
import gc
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sainet.memory.trace import TraceRequest, predictor

MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
"""One arena, and every larger block a mapping of its own that is unmapped when it is freed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["yolov8n", "yolov8s"])
    parser.add_argument("--shapes", nargs="+", default=["480x480", "640x640", "416x640"], help="height x width")
    parser.add_argument("--batches", nargs="+", type=int, default=[4, 8, 16])
    options = parser.parse_args()
    print("model    height x width  batch  measured MiB  predicted MiB   error")
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            for shape in options.shapes:
                for batch in options.batches:
                    measured, predicted = case(model, _shape(shape), batch, Path(folder))
                    error = predicted / measured - 1
                    worst = max(worst, abs(error))
                    figures = f"{measured / 2**20:12.0f}  {predicted / 2**20:13.0f}  {error:+6.1%}"
                    print(f"{model:<8} {shape:>14}  {batch:5}  {figures}", flush=True)
    print(f"worst error {worst:.1%}")


def _shape(text: str) -> tuple[int, int]:
    height, width = text.split("x")
    return int(height), int(width)


def request(model: str, shape: tuple[int, int]) -> TraceRequest:
    return TraceRequest(
        model=f"{model}.yaml",
        classes=2,
        shape=shape,
        device="cpu",
        precision="fp32",
        channels_last=False,
        optimizer="SGD",
        accumulates=False,
        pieces=1,
        frozen=None,
    )


def case(model: str, shape: tuple[int, int], batch: int, folder: Path) -> tuple[int, int]:
    """Measured and predicted growth of one step, bytes; traces are kept in `folder`."""
    asked = request(model, shape)
    command = [sys.executable, __file__, "--step", asked.model_dump_json(), str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **MALLOC}, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    known = predictor(asked, folder, tell=lambda _: None)
    stays = known.facts.weight_bytes + known.facts.average_bytes + known.facts.optimizer_bytes
    return int(done.stdout.split()[-1]), known.peak(batch).allocated_bytes - stays


# --- in the process of one case ---------------------------------------------------------------------------------------


def step_growth(asked: TraceRequest, images: int) -> int:
    """Trains two steps; bytes that the second adds to what is resident before it."""
    from sainet.engine.environment import seal

    with tempfile.TemporaryDirectory() as folder:
        seal(Path(folder))
        training = engine_of(asked)
    train(training, batch_of(images, asked.shape))
    batch = batch_of(images, asked.shape)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    train(training, batch)
    return resident("VmHWM") - before


def engine_of(asked: TraceRequest) -> Any:
    """What the engine's step needs of a training: the model, its optimizer, its average."""
    import torch
    from ultralytics.engine.trainer import BaseTrainer
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.utils.torch_utils import ModelEMA

    from sainet.memory.vram.detector import build

    torch.manual_seed(0)
    model = build(asked)
    training = SimpleNamespace(
        model=model,
        args=SimpleNamespace(amp=False, compile=False, multi_scale=0.0),
        amp=False,
        device=torch.device("cpu"),
        ema=ModelEMA(model),
        scaler=torch.amp.GradScaler("cuda", enabled=False),
    )
    training.optimizer = BaseTrainer.build_optimizer(training, model, asked.optimizer, 0.01, 0.9, 0.0005)
    training.preprocess_batch = lambda batch: DetectionTrainer.preprocess_batch(training, batch)
    training.optimizer_step = lambda: BaseTrainer.optimizer_step(training)
    return training


def train(training: Any, batch: dict[str, Any]) -> None:
    from sainet.engine.loop import whole_batch

    whole_batch(training, batch)
    training.optimizer_step()


def batch_of(images: int, shape: tuple[int, int]) -> dict[str, Any]:
    """Images of noise with the boxes that the tracer assumes."""
    import torch

    from sainet.memory.vram.assumptions import BOXES_PER_IMAGE, CANDIDATE_SHARE

    boxes = images * BOXES_PER_IMAGE
    side = CANDIDATE_SHARE**0.5
    centres = side / 2 + torch.rand(boxes, 2) * (1 - side)
    return {
        "img": torch.randint(0, 256, (images, 3, *shape), dtype=torch.uint8),
        "batch_idx": torch.arange(images, dtype=torch.float32).repeat_interleave(BOXES_PER_IMAGE),
        "cls": torch.zeros(boxes, 1),
        "bboxes": torch.cat([centres, torch.full((boxes, 2), side)], dim=1),
    }


def resident(field: str) -> int:
    """`VmRSS` or `VmHWM` of this process, bytes."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        print(step_growth(TraceRequest.model_validate_json(sys.argv[2]), int(sys.argv[3])))
    else:
        main()
