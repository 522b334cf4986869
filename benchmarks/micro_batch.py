#!/usr/bin/env python3
"""A batch of your images in pieces against the full batch: gradients, naive splitting, and saved activations.

    python benchmarks/micro_batch.py DATA.yaml [--model yolov8n.yaml] [--imgsz 160] [--batch 8] [--pieces 2 3 4 8]

Takes images from all over the folder `train`, squeezed to a square. An untrained model takes a few steps on them
first, so that its gradient is that of a training; from then on BatchNorm keeps its averages. Prints for each number of
pieces the norm of the gradient's difference over the norm of the gradient, and the peak bytes of saved activations as
a share of the full batch's. float64 tells whether the gradient is the same; float32 adds what this machine's
convolutions round differently for another number of images.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from sainet.engine.environment import seal

STEPS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="yolov8n.yaml")
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pieces", nargs="+", type=int, default=[2, 3, 4, 8])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seal(Path(folder))
        compare(options)


def compare(options: argparse.Namespace) -> None:
    tree = yaml.safe_load(options.data.read_text())
    batch = batch_of(options.data.parent / tree.get("path", "") / tree["train"], options.batch, options.imgsz)
    model = warmed(options.model, len(tree["names"]), batch)
    print(f"{options.model}, {len(batch['img'])} images of {options.imgsz} px with {len(batch['cls'])} boxes")
    print("pieces  float64   float32   naive (float32)   saved activations")
    full, bytes_full = whole(model, batch)
    rows = {pieces: (in_pieces(model, batch, pieces), naively(model, batch, pieces)) for pieces in options.pieces}
    torch.set_default_dtype(torch.float64)
    model.double().criterion = None
    full_double, _ = whole(model, batch)
    for pieces, ((mine, bytes_mine), naive) in rows.items():
        exact = error(in_pieces(model, batch, pieces)[0], full_double)
        share = bytes_mine / bytes_full
        print(f"{pieces:6}  {exact:.1e}   {error(mine, full):.1e}   {error(naive, full):.1e}           {share:.2f}")


def whole(model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, int]:
    """The gradient, and the peak bytes of saved activations."""
    with Saved(model) as saved:
        forward(model, dict(batch))[0].sum().backward()
    return taken(model), saved.peak_bytes


def in_pieces(model: Any, batch: dict[str, Any], pieces: int) -> tuple[torch.Tensor, int]:
    from sainet.engine.micro_batch import MicroBatches

    micro_batches = MicroBatches(model, pieces)
    with Saved(model) as saved:
        micro_batches.backward(batch, forward=lambda part: forward(model, part), scale=lambda loss: loss)
    return taken(model), saved.peak_bytes


def naively(model: Any, batch: dict[str, Any], pieces: int) -> torch.Tensor:
    """The sum of the pieces' own losses, as gradient accumulation has it."""
    from sainet.engine.micro_batch import split

    for part in split(batch, pieces):
        forward(model, part)[0].sum().backward()
    return taken(model)


def forward(model: Any, batch: dict[str, Any]) -> Any:
    precision = torch.get_default_dtype()
    return model({**batch, "img": batch["img"].to(precision) / 255, "bboxes": batch["bboxes"].to(precision)})


def taken(model: Any) -> torch.Tensor:
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return torch.cat(gradients)


def error(mine: torch.Tensor, full: torch.Tensor) -> float:
    return float((mine - full).norm() / full.norm())


class Saved:
    """While the block lasts: how many bytes autograd keeps for backward passes, parameters left out."""

    def __init__(self, model: Any) -> None:
        self.peak_bytes = self.bytes = 0
        self._kept: Counter[int] = Counter(
            {tensor.untyped_storage().data_ptr(): 1 for tensor in (*model.parameters(), *model.buffers())}
        )
        self._hooks = torch.autograd.graph.saved_tensors_hooks(lambda tensor: Kept(self, tensor), lambda kept: kept.it)

    def __enter__(self) -> "Saved":
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)

    def count(self, tensor: torch.Tensor, change: int) -> None:
        """A storage counts once, however many nodes keep it."""
        storage = tensor.untyped_storage()
        self._kept[storage.data_ptr()] += change
        if self._kept[storage.data_ptr()] == (1 if change > 0 else 0):
            self.bytes += change * storage.nbytes()
            self.peak_bytes = max(self.peak_bytes, self.bytes)


class Kept:
    """A saved tensor, which tells when it is kept and when it is let go."""

    def __init__(self, saved: Saved, tensor: torch.Tensor) -> None:
        self.saved, self.it = saved, tensor.detach()
        saved.count(self.it, 1)

    def __del__(self) -> None:
        self.saved.count(self.it, -1)


def warmed(name: str, classes: int, batch: dict[str, Any]) -> Any:
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    model = DetectionModel(name, nc=classes, verbose=False)
    model.args = get_cfg()
    model.model[-1].dfl.requires_grad_(False)
    model.criterion = None
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 0.3
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(STEPS):
        forward(model, batch)[0].sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    for norm in norms:
        norm.eval()
    return model


def batch_of(folder: Path, count: int, side: int) -> dict[str, Any]:
    from ultralytics.data.dataset import YOLODataset

    images = sorted(folder.iterdir())
    chosen = images[:: max(1, len(images) // count)][:count]
    return YOLODataset.collate_fn([sample(image, side) for image in chosen])


def sample(image: Path, side: int) -> dict[str, Any]:
    from ultralytics.data.utils import img2label_paths

    label = Path(img2label_paths([str(image)])[0])
    lines = label.read_text().splitlines() if label.exists() else []
    boxes = torch.tensor([[float(word) for word in line.split()] for line in lines]).reshape(-1, 5)
    with Image.open(image) as opened:
        pixels = torch.from_numpy(np.array(opened.convert("RGB").resize((side, side)))).permute(2, 0, 1)
    return {
        "img": pixels.contiguous(),
        "cls": boxes[:, :1],
        "bboxes": boxes[:, 1:],
        "batch_idx": torch.zeros(len(boxes)),
    }


if __name__ == "__main__":
    main()
