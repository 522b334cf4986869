#!/usr/bin/env python3
"""What processes take before any image is loaded: the constants of sainet.memory.

    python -m benchmarks.memory.base_processes DATA.yaml [--images 10000]

Runs real loaders on sets of tiny synthetic images, so that images weigh nothing, and prints bytes: the training process
without its model, a worker of a loader, and what each image of the data set adds for its label and its names, in the
training process and, once an epoch has passed through it, in a worker. Then a short training on the images of
DATA.yaml, at 640 pixels: its supervisor, and what it leaves on the disk besides weights.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.memory.running import Loaders, peaks_of
from benchmarks.memory.tree import memory
from sainet.data.source import read_source
from sainet.protocol import Engine

SIDE = 32
BOXES = 3
FEW = 200
WORKERS = 4
BATCH = 20
_MODEL_BYTES = 2 * 12_100_000
"""yolov8n in FP32 with its average, to the tenth of a megabyte."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sainet-base-") as folder:
        few = make_set(Path(folder) / "few", FEW)
        many = make_set(Path(folder) / "many", options.images)
        for engine in ("sainet", "stock"):
            print(f"--engine {engine}")
            measure(engine, few, many, options.images - FEW)
        train(options.data, Path(folder))


def measure(engine: Engine, few: Path, many: Path, more: int) -> None:
    alone = Loaders(engine, (SIDE, SIDE), BATCH, workers=0)
    served = Loaders(engine, (SIDE, SIDE), BATCH, workers=WORKERS)
    built = peaks_of(alone, few, quick=5)
    show("training process", built.of["built"]["ram"] - _MODEL_BYTES)
    show("  of it mapped files", built.of["built"]["file"])
    show("  more once it loads", built.of["training"]["ram"] - built.of["built"]["ram"])
    workers = peaks_of(served, few, quick=5)
    show("a worker", (workers.of["training"]["ram"] - built.of["training"]["ram"]) / WORKERS)
    full = peaks_of(alone, many)  # where both splits are the same images
    show("an image, in the training process", (full.of["built"]["ram"] - built.of["built"]["ram"]) / (2 * more))
    read = peaks_of(served, many, quick=(more + FEW) // BATCH)
    growth = (read.of["training"]["ram"] - full.of["training"]["ram"]) - (
        workers.of["training"]["ram"] - built.of["training"]["ram"]
    )
    show("an image, in a worker after an epoch", growth / WORKERS / more)


def show(name: str, size: float) -> None:
    print(f"{name:<40} {size:15,.0f} B", flush=True)


def train(data: Path, folder: Path) -> None:
    """`sainet train` on real images: its own memory, and what it leaves on the disk besides weights."""
    words = ["--profile", "cpu", "--data", str(data), "--weights", "yolov8n.yaml", "--runs-dir", str(folder / "runs")]
    short = ["--imgsz", "640", "--epochs", "1", "--workers", "0", "--set", "schedule.fraction=0.06", "--run", "one"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sainet", "train", "--stage", "1", *words, *short],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    most = 0
    while process.poll() is None:
        most = max(most, memory(process.pid, alone=True).ram)
        time.sleep(0.2)
    if process.returncode:
        raise RuntimeError(f"sainet train ended with {process.returncode}")
    show("supervisor", most)
    files = [path for path in (folder / "runs").rglob("*") if path.is_file() and path.suffix != ".pt"]
    show("plots, tables, logs of an attempt", sum(path.stat().st_size for path in files))
    caches = sum(path.stat().st_size for path in files if path.name.endswith(".labels.cache"))
    source = read_source(str(data.absolute()))
    show("an image, in the label cache", caches / (round(0.06 * source.train_images) + source.val_images))


def make_set(root: Path, images: int) -> Path:
    """A YOLO set of small grey images with a few boxes each; returns its YAML."""
    from PIL import Image

    for split, count in (("train", images), ("val", FEW)):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (SIDE, SIDE), (number % 256, 90, 90)).save(root / "images" / split / f"{number:06d}.jpg")
            rows = "".join(f"{box % 2} 0.{box + 2} 0.5 0.2 0.{number % 8 + 1}\n" for box in range(BOXES))
            (root / "labels" / split / f"{number:06d}.txt").write_text(rows)
    yaml = root / "data.yaml"
    yaml.write_text("train: images/train\nval: images/val\nnames: {0: fire, 1: smoke}\n")
    return yaml


if __name__ == "__main__":
    main()
