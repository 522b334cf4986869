#!/usr/bin/env python3
"""Both stages with sainet and with plain `yolo train`, the same schedule and hyper-parameters, on your data.

    python benchmarks/against_plain.py STAGE1.yaml STAGE2.yaml [--epochs 30 20] [--imgsz 160] [--model yolov8n.yaml]

Plain Ultralytics trains stage 2 twice: with `single_cls=True`, as the users' documents do, which gives smoke a fresh
row in the head, and on a smoke-only copy of the labels, where Ultralytics finds that row by name. Prints mAP50 and
mAP50-95 of the best weights. On a CPU this takes an hour for a thousand images at 160 px.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

HYPER = {
    1: "optimizer=SGD lr0=0.01 warmup_epochs=5 cos_lr=True mosaic=1.0 mixup=0.15 copy_paste=0.1",
    2: "optimizer=SGD lr0=0.001 warmup_epochs=5 cos_lr=True mosaic=0.5 mixup=0.1",
}
"""What the shipped presets set, as `yolo train` takes it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs=2, type=Path)
    parser.add_argument("--epochs", nargs=2, type=int, default=[30, 20])
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--model", default="yolov8n.yaml")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        copies = [copy_of(path, work / f"data-{n}") for n, path in enumerate(options.data, 1)]
        rows = {**with_sainet(options, work), **with_plain(options, copies, work)}
    print(f"{'':<44} mAP50  mAP50-95")
    for name, (map50, map50_95) in rows.items():
        print(f"{name:<44} {map50:.3f}  {map50_95:.3f}")


def with_sainet(options: argparse.Namespace, work: Path) -> dict[str, tuple[float, float]]:
    words = [sys.executable, "-m", "sainet", "full-workflow", "--profile", "cpu", "--json", "--run", "both"]
    words += ["--runs-dir", str(work / "runs"), "--weights", options.model, "--imgsz", str(options.imgsz)]
    for stage, (data, epochs) in enumerate(zip(options.data, options.epochs, strict=True), 1):
        words += ["--set", f"stage{stage}.data={data.absolute()}", "--set", f"stage{stage}.epochs={epochs}"]
    summary = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return {
        f"stage {stage['stage']}, sainet": (stage["metrics"]["map50"], stage["metrics"]["map50-95"])
        for stage in summary["stages"]
    }


def with_plain(options: argparse.Namespace, copies: list[Path], work: Path) -> dict[str, tuple[float, float]]:
    smoke_only = keep_only_smoke(copies[1], work / "data-smoke")
    common = f"imgsz={options.imgsz} batch=16 device=cpu workers=0 plots=False patience=10"

    def train(name: str, stage: int, model: str, data: Path, extra: str = "") -> tuple[float, float]:
        words = ["yolo", "detect", "train", f"model={model}", f"data={data}", f"epochs={options.epochs[stage - 1]}"]
        words += [*common.split(), *HYPER[stage].split(), *extra.split(), f"project={work}", f"name={name}"]
        environment = {**os.environ, "YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "False"}
        subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return best_of(work / name / "results.csv")

    best = str(work / "plain-1" / "weights" / "best.pt")
    return {
        "stage 1, plain": train("plain-1", 1, options.model, copies[0]),
        "stage 2, plain, single_cls": train("plain-2-single", 2, best, copies[1], "single_cls=True"),
        "stage 2, plain, smoke row found by name": train("plain-2-names", 2, best, smoke_only),
    }


def best_of(results: Path) -> tuple[float, float]:
    """mAP50 and mAP50-95 of the epoch with the best mAP50-95, which is Ultralytics' fitness."""
    rows = list(csv.DictReader(results.open()))
    best = max(rows, key=lambda row: float(row["metrics/mAP50-95(B)"]))
    return float(best["metrics/mAP50(B)"]), float(best["metrics/mAP50-95(B)"])


def copy_of(data: Path, folder: Path) -> Path:
    """Plain Ultralytics writes label caches beside the labels, so it gets a copy."""
    shutil.copytree(data.parent, folder)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder / data.name


def keep_only_smoke(data: Path, folder: Path) -> Path:
    """A copy whose only class is smoke; boxes of others are left out."""
    copied = copy_of(data, folder)
    tree = yaml.safe_load(copied.read_text())
    names = tree["names"] if isinstance(tree["names"], dict) else dict(enumerate(tree["names"]))
    smoke = next(str(index) for index, name in names.items() if name.lower() == "smoke")
    for label in (folder / "labels").rglob("*.txt"):
        kept = [line for line in label.read_text().splitlines() if line.split()[0] == smoke]
        label.write_text("".join(f"0 {line.split(maxsplit=1)[1]}\n" for line in kept))
    copied.write_text(yaml.safe_dump({**tree, "names": {0: "smoke"}}))
    return copied


if __name__ == "__main__":
    main()
