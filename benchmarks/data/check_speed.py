#!/usr/bin/env python3
"""`sainet data check` against Ultralytics' label scan, against decoding alone, and its memory at two sizes.

    python -m benchmarks.data.check_speed [--files 100000] [--images 1500] [--rounds 3]

- *labels*: `check --labels-only` of N tiny images and their label files, against Ultralytics' own scan of the same
  files (its data set without a cache; what it takes to import is not counted, on either side). Limit: 1.
- *whole*: the check of images of the usual size, against a pool of as many processes that decodes them with Pillow and
  does nothing else. Limit: 0.9. The images are one noisy photograph-like picture, each with a comment of its own.
- *memory*: the command line's processes together, at a tenth of the N files and at all of them; the largest sum of RSS.
  Limit: 1.2.

What is compared runs in processes of its own, in turns; the medians of the ratios are printed. Exits with 1 when a
limit is broken.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.data.image_set import even_jpeg, make_set
from benchmarks.data.kills import SAINET
from benchmarks.data.rss import flat

LABELS, WHOLE, MEMORY = 1.0, 0.9, 1.2

_CHECK = """
import sys, time
from sainet.data.check.checking import check_data
if __name__ == "__main__":
    began = time.perf_counter()
    checked = check_data(sys.argv[1], labels_only=sys.argv[2] == "labels")
    took = time.perf_counter() - began
    assert not checked.findings, checked.findings[:3]
    print(took)
"""
_ULTRALYTICS = """
import os, sys, time
os.environ["YOLO_OFFLINE"] = "true"
os.environ["YOLO_CONFIG_DIR"] = sys.argv[2]
from pathlib import Path
import ultralytics.data.dataset as upstream
took = 0
for split in ("train", "val"):
    folder = Path(sys.argv[1]).parent / "images" / split
    began = time.perf_counter()
    data = upstream.YOLODataset(img_path=str(folder), data={"names": {0: "fire", 1: "smoke"}}, task="detect")
    took += time.perf_counter() - began
    assert len(data.labels) == len(list(folder.iterdir()))
    (folder.parent.parent / "labels" / f"{split}.cache").unlink()
print(took)
"""
_DECODE = """
import multiprocessing, sys, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from PIL import Image
from sainet.hardware.cpu import usable_cpus

def decode(paths):
    for path in paths:
        with Image.open(path) as image:
            image.load()

if __name__ == "__main__":
    began = time.perf_counter()
    paths = sorted(map(str, (Path(sys.argv[1]).parent / "images").rglob("*.jpg")))
    parts = [paths[start : start + 32] for start in range(0, len(paths), 32)]
    with ProcessPoolExecutor(usable_cpus(), mp_context=multiprocessing.get_context("spawn")) as pool:
        for _ in pool.map(decode, parts):
            pass
    print(time.perf_counter() - began)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000, help="tiny images, for the labels and the memory")
    parser.add_argument("--images", type=int, default=1500, help="images of the usual size, for the whole check")
    parser.add_argument("--rounds", type=int, default=3, help="of each comparison")
    parser.add_argument("--in", dest="folder", type=Path, help="where to make the sets (default: the temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root = Path(folder)
        many = make_set(root / "many", options.files, [even_jpeg((32, 32))])
        few = make_set(root / "few", options.files // 10, [even_jpeg((32, 32))])
        usual = make_set(root / "usual", options.images, [even_jpeg((960, 720))])
        holds = [
            told(
                "labels", options.rounds, lambda: took(_ULTRALYTICS, root, many, str(root)), _labels(root, many), LABELS
            ),
            told("whole", options.rounds, lambda: took(_DECODE, root, usual), _whole(root, usual), WHOLE),
            flat(*([*SAINET, "data", "check", str(yaml), "--json"] for yaml in (few, many)), limit=MEMORY),
        ]
    sys.exit(0 if all(holds) else 1)


def _labels(root: Path, yaml: Path) -> Callable[[], float]:
    return lambda: took(_CHECK, root, yaml, "labels")


def _whole(root: Path, yaml: Path) -> Callable[[], float]:
    return lambda: took(_CHECK, root, yaml, "whole")


def took(script: str, root: Path, *arguments: object) -> float:
    """What a script says that it took, seconds; it runs in a process of its own."""
    path = root / "script.py"  # a file, since the workers of a pool import it again
    path.write_text(script, encoding="utf-8")
    command = [sys.executable, str(path), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout.splitlines()[-1])


def told(what: str, rounds: int, theirs: Callable[[], float], ours: Callable[[], float], limit: float) -> bool:
    """How many times as fast ours is, in turns."""
    ratios: list[float] = []
    for _ in range(rounds):
        other = theirs()
        ratios.append(other / ours())
    ratio = statistics.median(ratios)
    shown = ", ".join(f"{one:.2f}" for one in ratios)
    print(f"{what:<8} {ratio:6.2f} times as fast ({shown}), limit {limit}", flush=True)
    return ratio >= limit


if __name__ == "__main__":
    main()
