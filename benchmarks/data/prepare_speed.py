#!/usr/bin/env python3
"""`sainet data prepare` against copying and hashing the same files with standard tools, and its memory at two sizes.

    python -m benchmarks.data.prepare_speed [--files 100000] [--rounds 3]

The set is laid out as FASDD is published: N images of some ten KB in one folder, each with a label file, and the same
boxes as COCO.

- *copy*: `prepare fasdd --copy` against `cp -r SRC DST`, then `sha256sum` of all files of DST on every core. Limit: 1.
- *link*: the same with `--link`. Limit: 1.
- *images alone*: the same figure against copying and hashing the images only, though prepare writes as many label
  files. No limit.
- *memory*: the command line's processes together, at a tenth of the N files and at all of them; the largest sum of RSS.
  Limit: 1.2.

What is compared runs in processes of its own, in turns, behind a `sync` each; the medians of the ratios are printed.
Exits with 1 when a limit is broken.
"""

import argparse
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from benchmarks.data.rss import flat

SPEED, MEMORY = 1.0, 1.2
_SIZE = (240, 180)
_NUMBERS = itertools.count()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000, help="images; there are as many label files beside")
    parser.add_argument("--rounds", type=int, default=3, help="of each comparison")
    parser.add_argument("--annotations", default="coco", choices=["coco", "yolo"], help="which of both are read")
    parser.add_argument("--in", dest="folder", type=Path, help="where to make the sets (default: the temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root = Path(folder)
        many = make_release(root / "many", options.files)
        few = make_release(root / "few", options.files // 10)
        print(_described(many), flush=True)
        copy = _prepare(root, many, options.annotations, "--copy")
        link = _prepare(root, many, options.annotations, "--link")
        holds = told(
            options.rounds,
            {"tools": lambda: tools(root, many), "images": lambda: tools(root, many / "images")},
            {"copy": copy, "link": link},
        )
        holds &= flat(*(_command(release, _new(root), options.annotations) for release in (few, many)), limit=MEMORY)
    sys.exit(0 if holds else 1)


def make_release(root: Path, images: int) -> Path:
    """A FASDD_CV folder of different images, split 1/2, 1/3, 1/6."""
    chance, base = random.Random(0), jpegs()
    labels = root / "annotations" / "YOLO_CV" / "labels"
    cocos = root / "annotations" / "COCO_CV" / "Annotations"
    for folder in (root / "images", labels, cocos):
        folder.mkdir(parents=True)
    for split, start, stop in (("train", 0, 1 / 2), ("val", 1 / 2, 5 / 6), ("test", 5 / 6, 1)):
        coco = _empty_coco()
        names: list[str] = []
        for number in range(int(start * images), int(stop * images)):
            name = f"bothFireAndSmoke_CV{number:06d}"
            names.append(f"{name}.jpg")
            comment = f"number {number:09d}".encode()
            jpeg = chance.choice(base)
            data = jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]
            (root / "images" / f"{name}.jpg").write_bytes(data)
            boxes = [_box(chance, label) for label in (0, 1, chance.randrange(2))[: chance.randrange(4)]]
            (labels / f"{name}.txt").write_text("".join(map(_row, boxes)), encoding="utf-8")
            _add(coco, f"{name}.jpg", number, boxes)
        (cocos / f"{split}.json").write_text(json.dumps(coco), encoding="utf-8")
        (labels.parent / f"{split}.txt").write_text("".join(f"images/{name}\n" for name in names), encoding="utf-8")
    return root


def jpegs() -> list[bytes]:
    """Some pictures of 5 to 30 KB."""
    from PIL import Image

    made: list[bytes] = []
    for quality in range(40, 96, 5):
        noise = Image.effect_noise((_SIZE[0] // 2, _SIZE[1] // 2), 60).resize(_SIZE)
        stream = BytesIO()
        Image.merge("RGB", [noise, noise, noise.rotate(180)]).save(stream, "JPEG", quality=quality)
        made.append(stream.getvalue())
    return made


def _box(chance: random.Random, label: int) -> tuple[int, int, int, int, int]:
    left, top = chance.randrange(200), chance.randrange(150)
    return label, left, top, chance.randrange(10, _SIZE[0] - left), chance.randrange(10, _SIZE[1] - top)


def _row(box: tuple[int, int, int, int, int]) -> str:
    label, left, top, width, height = box
    x, y = (left + width / 2) / _SIZE[0], (top + height / 2) / _SIZE[1]
    return f"{label} {x:.6f} {y:.6f} {width / _SIZE[0]:.6f} {height / _SIZE[1]:.6f}\n"


def _empty_coco() -> dict[str, list[dict[str, object]]]:
    return {"images": [], "annotations": [], "categories": [{"id": 0, "name": "fire"}, {"id": 1, "name": "smoke"}]}


def _add(coco: dict[str, list[dict[str, object]]], name: str, number: int, boxes: list[tuple[int, ...]]) -> None:
    coco["images"].append({"id": number, "file_name": name, "width": _SIZE[0], "height": _SIZE[1]})
    for label, *edges in boxes:
        area, one = edges[2] * edges[3], len(coco["annotations"])
        coco["annotations"].append(
            {"id": one, "image_id": number, "category_id": label, "bbox": edges, "area": area, "iscrowd": 0}
        )


def _described(release: Path) -> str:
    sizes = [path.stat().st_size for path in release.rglob("*") if path.is_file()]
    return f"{len(sizes)} files of {sum(sizes) / len(sizes) / 1024:.1f} KiB on average, {os.cpu_count()} CPUs"


def tools(root: Path, source: Path) -> float:
    """Seconds that `cp -r` and then `sha256sum` take."""
    target = _new(root)
    hashing = f"find {target} -type f -print0 | xargs -0 -P {os.cpu_count()} -n 512 sha256sum > {root / 'sums'}"
    return _timed(["sh", "-c", f"cp -r {source} {target} && {hashing}"])


def _prepare(root: Path, release: Path, annotations: str, how: str) -> Callable[[], float]:
    return lambda: _timed([*_command(release, _new(root), annotations), how])


def _command(release: Path, target: Path, annotations: str) -> list[str]:
    command = [sys.executable, "-m", "sainet", "data", "prepare", "fasdd", str(release), str(target)]
    return [*command, "--annotations", annotations, "--json"]


def _timed(command: list[str]) -> float:
    """Seconds; nothing else waits to be written to the disk meanwhile."""
    os.sync()
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        sys.exit(done.stderr)
    return took


def _new(root: Path) -> Path:
    """A new name. Nothing is removed on the way: ext4 takes long over new files for a minute after that."""
    return root / f"made-{next(_NUMBERS)}"


def told(rounds: int, theirs: dict[str, Callable[[], float]], ours: dict[str, Callable[[], float]]) -> bool:
    """How many times as fast ours are, in turns."""
    took: dict[str, list[float]] = {name: [] for name in (*theirs, *ours)}
    for _ in range(rounds):
        for name, measure in (theirs | ours).items():
            took[name].append(measure())
    for name, seconds in took.items():
        print(f"{name:<8} {statistics.median(seconds):6.1f} s ({', '.join(f'{one:.1f}' for one in seconds)})")
    holds = True
    for name in ours:
        ratio = _ratio(took["tools"], took[name])
        holds &= ratio >= SPEED
        print(f"{name:<8} {ratio:6.2f} times as fast as cp and sha256sum, limit {SPEED}")
        print(f"{name:<8} {_ratio(took['images'], took[name]):6.2f} times as fast as these for the images alone")
    return holds


def _ratio(theirs: list[float], ours: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(theirs, ours, strict=True))


if __name__ == "__main__":
    main()
