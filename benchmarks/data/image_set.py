"""A generated set for the benchmarks of data: many images, no two the same, and label files."""

import random
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

SIDES = ((96, 72), (160, 120), (240, 180), (320, 240))
"""Some 3 to 30 KB as JPEG."""


def make_set(root: Path, images: int, jpegs: Sequence[bytes]) -> Path:
    """The data YAML of a set that has nothing wrong. Its images are `jpegs` in turns, each with a comment of its own; a
    fiftieth is for validation."""
    chance = random.Random(0)
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


def small_jpegs() -> list[bytes]:
    """One of each of `SIDES`."""
    return [_noisy(side) for side in SIDES]


def even_jpeg(size: tuple[int, int]) -> bytes:
    """Smooth at large and noisy at small, as photographs are; brighter to the right, or all would look alike."""
    from PIL import Image

    noise = Image.effect_noise((size[0] // 2, size[1] // 2), 60).resize(size)
    brighter = Image.linear_gradient("L").rotate(90).resize(size)
    mixed = Image.blend(brighter, noise, 0.2)
    stream = BytesIO()
    Image.merge("RGB", [mixed, mixed, brighter]).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _noisy(size: tuple[int, int]) -> bytes:
    """The same with more noise, for more bytes in as many pixels."""
    from PIL import Image

    noise = Image.effect_noise((size[0] // 2, size[1] // 2), 60).resize(size)
    mixed = Image.blend(Image.linear_gradient("L").resize(size), noise, 0.3)
    stream = BytesIO()
    Image.merge("RGB", [mixed, mixed, noise]).save(stream, "JPEG", quality=92)
    return stream.getvalue()


def _rows(chance: random.Random) -> str:
    boxes = [(chance.randrange(2), *(chance.uniform(0.3, 0.6) for _ in range(4))) for _ in range(chance.randrange(4))]
    return "".join(f"{label} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for label, x, y, w, h in boxes)
