#!/usr/bin/env python3
"""How long the command line takes to answer, in multiples of importing its own libraries, side by side in one run.

    python benchmarks/startup.py [ROUNDS]

Prints the median ratio over the rounds and its interquartile range for each command. `yolo` and `import torch` are
there for comparison where they are installed.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time

BASE = [sys.executable, "-c", "import typer, rich, yaml, pydantic"]
SAINET = [sys.executable, "-m", "sainet"]


def commands() -> dict[str, list[str]]:
    table = {
        "sainet --help": [*SAINET, "--help"],
        "sainet train --dry-run": [*SAINET, "train", "--stage", "1", "--profile", "h200", "--dry-run"],
        "sainet doctor": [*SAINET, "doctor"],
        "import torch": [sys.executable, "-c", "import torch"],
    }
    yolo = shutil.which("yolo")
    if yolo:
        table["yolo help"] = [yolo, "help"]
    return table


def seconds(words: list[str], folder: str) -> float:
    began = time.perf_counter()
    subprocess.run(words, cwd=folder, capture_output=True, check=False)
    return time.perf_counter() - began


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    ratios: dict[str, list[float]] = {name: [] for name in commands()}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            base = seconds(BASE, folder)
            for name, words in commands().items():
                ratios[name].append(seconds(words, folder) / base)
    print("multiples of `import typer, rich, yaml, pydantic`: median (quartiles)")
    for name, values in ratios.items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"{name:<24} {middle:5.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
