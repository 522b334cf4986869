#!/usr/bin/env python3
"""CPU time of sainet's training process against plain `yolo train`, the same training, in pairs.

    python benchmarks/overhead.py DATA.yaml [--rounds 8] [--epochs 3] [--imgsz 160] [--engine stock]

Each round runs both, in alternating order, from the start of the process to its end, on its own copy of the data.
Prints the ratio of their CPU times (user and system, children included): the mean over the rounds with its 95%
interval. With `--engine sainet` the data path differs too, so the ratio is that of the whole engine.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from pairs import T_95, cpu_seconds, interval
from plans import ON_A_CPU, make_plan

LEARNING = {"batch": 16, "optimizer": "SGD", "lr0": 0.01, "close_mosaic": 1, "patience": 100, "seed": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=8, choices=T_95)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--images", type=int, default=200, help="training images")
    parser.add_argument("--engine", choices=["stock", "sainet"], default="stock")
    options = parser.parse_args()
    ratios = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            ratios.append(one_round(options, Path(folder), ours_first=number % 2 == 0))
        print(f"round {number + 1}: {ratios[-1]:.4f}", flush=True)
    low, middle, high = interval(ratios)
    print(f"CPU time, sainet --engine {options.engine} / yolo train: {middle:.3f} [{low:.3f}, {high:.3f}]")


def one_round(options: argparse.Namespace, work: Path, *, ours_first: bool) -> float:
    copies = [copy_of(options.data, work / name) for name in ("ours", "theirs")]
    settings = {**LEARNING, "epochs": options.epochs, "fraction": options.images}
    side = options.imgsz
    plan = make_plan(work / "run", copies[0], shape=(side, side), engine=options.engine, **settings)
    ours = [sys.executable, "-m", "sainet.engine.worker", str(plan.attempt_dir / "plan.json")]
    words = {**ON_A_CPU, **settings, "imgsz": side, "data": copies[1], "model": "yolov8n.yaml", "project": work}
    theirs = ["yolo", *(f"{key}={value}" for key, value in words.items() if key not in {"task", "mode"})]
    theirs[1:1] = ["detect", "train"]
    seconds = {}
    for name, command in (("ours", ours), ("theirs", theirs))[:: 1 if ours_first else -1]:
        seconds[name] = cpu_seconds(command, environment())
    return seconds["ours"] / seconds["theirs"]


def environment() -> dict[str, str]:
    return {**os.environ, "YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "False", "PATH": path_with_this_python()}


def path_with_this_python() -> str:
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def copy_of(data: Path, folder: Path) -> Path:
    """Plain Ultralytics writes label caches beside the labels, so each gets a copy."""
    shutil.copytree(data.parent, folder)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder / data.name


if __name__ == "__main__":
    main()
