#!/usr/bin/env python3
"""What a training step costs at a true rectangle, as a share of the square that Ultralytics trains instead.

    python benchmarks/rectangle_cost.py [--side 1440] [--batch 2] [--rounds 10] [--threads 1] [--model yolov8n.yaml]

One model, the same images and boxes, forward, loss and backward in FP32 on the CPU; rectangle and square take turns
in one run. The rectangle is that of 1440x808 images: 832x1440 (height x width) for a side of 1440. Prints the ratios
of pixels, of the bytes that go in, of the activations that are kept for backward, and of a step's time and CPU time:
the median over the rounds and its quartiles. One thread by default: several wait for each other wherever the machine
does other work besides.
"""

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from sainet.engine.environment import seal

STRIDE = 32
BOXES = 20
"""Boxes of an image; their number decides what the loss keeps, which is little."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1440)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="yolov8n.yaml")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        seal(Path(folder))
        model = build(options.model)
        rectangle, square = rectangle_of(options.side), (options.side, options.side)
        batches = [batch_of(shape, options.batch) for shape in (rectangle, square)]
        kept = [kept_bytes(model, batch) for batch in batches]
        steps = [[step_s(model, batch) for batch in batches] for _ in range(options.rounds + 1)][1:]
    print(f"{words(rectangle)} against {words(square)}, batch {options.batch}, {options.model}")
    print(f"{'pixels':<18} {ratio(math.prod(rectangle), math.prod(square)):.3f}")
    inputs = [batch["img"].nbytes for batch in batches]
    print(f"{'input bytes':<18} {ratio(*inputs):.3f}   {mib(inputs[0])} against {mib(inputs[1])}")
    print(f"{'saved activations':<18} {ratio(*kept):.3f}   {mib(kept[0])} against {mib(kept[1])}")
    for place, name in enumerate(("time of a step", "its CPU time")):
        times = [[step[place] for step in pair] for pair in steps]
        medians = [f"{statistics.median(own):.2f} s" for own in zip(*times, strict=True)]
        print(f"{name:<18} {spread([ratio(*pair) for pair in times])}   {' against '.join(medians)}")


def rectangle_of(side: int) -> tuple[int, int]:
    """Height and width of the canvas for images of 1440x808, scaled to `side` pixels wide."""
    return math.ceil(side * 808 / 1440 / STRIDE) * STRIDE, side


def build(name: str) -> Any:
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    model = DetectionModel(name, nc=2, verbose=False).train()
    model.args = get_cfg()  # the loss takes its weights from there
    return model


def batch_of(shape: tuple[int, int], images: int) -> dict[str, torch.Tensor]:
    """Noise and boxes; the boxes are shares of the image, so they are the same at every shape."""
    noise = torch.Generator().manual_seed(0)
    sides = 0.05 + 0.3 * torch.rand(images * BOXES, 2, generator=noise)
    centres = sides / 2 + (1 - sides) * torch.rand(images * BOXES, 2, generator=noise)
    return {
        "img": torch.rand(images, 3, *shape, generator=noise),
        "bboxes": torch.cat([centres, sides], dim=1),
        "cls": torch.randint(2, (images * BOXES, 1), generator=noise).float(),
        "batch_idx": torch.arange(images).repeat_interleave(BOXES).float(),
    }


def step_s(model: Any, batch: dict[str, torch.Tensor]) -> tuple[float, float]:
    """Seconds of one step, and seconds of CPU of all threads."""
    model.zero_grad(set_to_none=True)
    began, began_cpu = time.perf_counter(), time.process_time()
    loss, _ = model(batch)
    loss.sum().backward()
    return time.perf_counter() - began, time.process_time() - began_cpu


def kept_bytes(model: Any, batch: dict[str, torch.Tensor]) -> int:
    """Bytes of the distinct storages that a forward pass keeps for its backward, the model's own left out."""
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    found: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # keeps the storage, and so its address, without a cycle through the graph

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
        loss, _ = model(batch)
    del loss
    return sum(found.values())


def ratio(rectangle: float, square: float) -> float:
    return rectangle / square


def spread(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.3f}"
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def words(shape: tuple[int, int]) -> str:
    return f"{shape[0]}x{shape[1]}"


def mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.0f} MiB"


if __name__ == "__main__":
    main()
