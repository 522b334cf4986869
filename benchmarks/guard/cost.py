#!/usr/bin/env python3
"""Whether a training notices that it is guarded: CPU time of a whole run, with the guard's looks and without, in pairs.

    python -m benchmarks.guard.cost [--rounds 8] [--epochs 4]

Each round trains the same twice on the rendered demo set, on the CPU, in alternating order: once as it is, and once
with a single look at the memory (`guard.every_s` of an hour). The CPU time is that of the supervisor and its training
together, from start to end, loader included, so whatever the guard costs either of them is in it. Prints the ratio per
batch, which is that of the wholes: its mean with the 95% interval. Exits with 1 when the interval lies above 1.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.pairs import T_95, cpu_seconds, interval
from sainet.data.demo import write_demo

NEVER = ("--set", "guard.every_s=3600", "--set", "guard.tight_every_s=3600")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8, choices=T_95)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory(prefix="sainet-cost-") as folder:
        write_demo(Path(folder) / "demo", train=64, val=8, width=640, height=360, seed=0)
        cpu_seconds(training(Path(folder), "first", 1, guarded=False))  # traces the model, which is done once
        for number in range(options.rounds):
            ratios.append(one_round(Path(folder), number, options.epochs))
            print(f"round {number + 1}: {ratios[-1]:.4f}", flush=True)
    low, middle, high = interval(ratios)
    print(f"CPU time a batch, guarded / unguarded: {middle:.4f} [{low:.4f}, {high:.4f}]")
    sys.exit(1 if low > 1 else 0)


def one_round(work: Path, number: int, epochs: int) -> float:
    seconds: dict[bool, float] = {}
    for guarded in (number % 2 == 0, number % 2 != 0):
        name = f"{number}-{'guarded' if guarded else 'unguarded'}"
        seconds[guarded] = cpu_seconds(training(work, name, epochs, guarded=guarded))
    return seconds[True] / seconds[False]


def training(work: Path, name: str, epochs: int, *, guarded: bool) -> list[str]:
    words = ["--data", str(work / "demo" / "stage-1" / "data.yaml"), "--runs-dir", str(work / "runs"), "--run", name]
    small = ["--weights", "yolov8n.yaml", "--imgsz", "320", "--batch", "8", "--epochs", str(epochs)]
    quiet = ["--set", "train.plots=false", *(() if guarded else NEVER)]
    return [sys.executable, "-m", "sainet", "train", "--stage", "1", "--profile", "cpu", *words, *small, *quiet]


if __name__ == "__main__":
    main()
