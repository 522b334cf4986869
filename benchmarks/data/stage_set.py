"""A generated set for the benchmarks of staging: many small images of several sizes, no two alike, and label files."""

import random
from io import BytesIO
from pathlib import Path

SIDES = ((96, 72), (160, 120), (240, 180), (320, 240))
"""Some 3 to 30 KB as JPEG."""


def make_set(root: Path, images: int) -> Path:
    """The data YAML. A fiftieth of the images is for validation."""
    jpegs, chance = [_jpeg(side) for side in SIDES], random.Random(0)
    for split, numbers in (("train", range(images - images // 50)), ("val", range(images - images // 50, images))):
        pictures, labels = root / "images" / split, root / "labels" / split
        pictures.mkdir(parents=True)
        labels.mkdir(parents=True)
        for number in numbers:
            jpeg, comment = jpegs[number % len(jpegs)], f"number {number:09d}".encode()
            data = jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]
            (pictures / f"camera_{number:09d}.jpg").write_bytes(data)
            (labels / f"camera_{number:09d}.txt").write_text(_rows(chance), encoding="utf-8")
    yaml = root / "data.yaml"
    yaml.write_text("train: images/train\nval: images/val\nnames: {0: fire, 1: smoke}\n", encoding="utf-8")
    return yaml


def _jpeg(size: tuple[int, int]) -> bytes:
    """Smooth at large and noisy at small, as photographs are."""
    from PIL import Image

    noise = Image.effect_noise((size[0] // 2, size[1] // 2), 60).resize(size)
    mixed = Image.blend(Image.linear_gradient("L").resize(size), noise, 0.3)
    stream = BytesIO()
    Image.merge("RGB", [mixed, mixed, noise]).save(stream, "JPEG", quality=92)
    return stream.getvalue()


def _rows(chance: random.Random) -> str:
    boxes = [(chance.randrange(2), *(chance.uniform(0.3, 0.6) for _ in range(4))) for _ in range(chance.randrange(4))]
    return "".join(f"{label} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for label, x, y, w, h in boxes)
