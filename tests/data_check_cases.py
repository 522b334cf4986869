"""A small set in which nothing is wrong, and for each kind of finding something that is done to it."""

import os
import unicodedata
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

Made = tuple[Path, int | None]
"""The file and the line that the finding has to name."""
HAZARDS: dict[str, Callable[["Folder"], Made]] = {}
"""By kind: makes one in a set."""


class Folder:
    """A set of eight training images and four for validation, with a box of fire and one of smoke each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.yaml = root / "data.yaml"
        self.yaml.parent.mkdir(parents=True, exist_ok=True)
        self.yaml.write_text("train: images/train\nval: images/val\nnames: {0: fire, 1: smoke}\n", encoding="utf-8")
        for split, count in (("train", 8), ("val", 4)):
            for number in range(count):
                self.add(split, f"{split}{number}")

    def add(self, split: str, stem: str, *, suffix: str = "jpg", text: str | None = None) -> Path:
        image = self.image(split, stem, suffix)
        image.parent.mkdir(parents=True, exist_ok=True)
        picture(stem).save(image)
        label = self.label(split, stem)
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("0 0.3 0.5 0.2 0.2\n1 0.7 0.5 0.3 0.3\n" if text is None else text, encoding="utf-8")
        return image

    def image(self, split: str = "train", stem: str = "train3", suffix: str = "jpg") -> Path:
        return self.root / "images" / split / f"{stem}.{suffix}"

    def label(self, split: str = "train", stem: str = "train3") -> Path:
        return self.root / "labels" / split / f"{stem}.txt"

    def say(self, *lines: str) -> Made:
        """Give one image these labels behind a good one; the finding is in the last line."""
        text = "\n".join(["0 0.3 0.5 0.2 0.2", *lines])
        self.label().write_text(f"{text}\n", encoding="utf-8")
        return self.label(), 1 + len(lines)

    def put(self, data: bytes, suffix: str = "jpg") -> Made:
        """Give one image this content, and this suffix."""
        self.image().unlink()
        self.image(suffix=suffix).write_bytes(data)
        return self.image(suffix=suffix), None

    def yaml_says(self, text: str) -> None:
        self.yaml.write_text(f"{text}\nnames: {{0: fire, 1: smoke}}\n", encoding="utf-8")


def picture(seed: str, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Coarse noise, which looks like no other seed's."""
    noise = np.random.default_rng(list(os.fsencode(seed))).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.NEAREST)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def hazard(kind: str) -> Callable[[Callable[[Folder], Made]], Callable[[Folder], Made]]:
    def keep(make: Callable[[Folder], Made]) -> Callable[[Folder], Made]:
        HAZARDS[kind] = make
        return make

    return keep


ROWS: dict[str, tuple[str, ...]] = {
    "row-numbers": ("0 0.5 half 0.1 0.1",),
    "row-commas": ("0,0.5,0.5,0.1,0.1",),
    "row-six": ("0 0.5 0.5 0.1 0.1 0.93",),
    "row-columns": ("0 0.5 0.5 0.1",),
    "class-fraction": ("0.5 0.5 0.5 0.1 0.1",),
    "class-range": ("2 0.5 0.5 0.1 0.1",),
    "class-float": ("1.0 0.5 0.5 0.1 0.1",),
    "box-not-finite": ("0 nan 0.5 0.1 0.1",),
    "box-pixels": ("0 32 24 16 12",),
    "box-range": ("0 0.5 0.5 1.2 0.1",),
    "box-empty": ("0 0.5 0.5 0.0 0.1",),
    "box-edge": ("0 0.98 0.5 0.1 0.1",),
    "box-frame": ("0 0.5 0.5 1 1",),
    "box-tiny": ("0 0.5 0.5 0.01 0.5",),
    "row-duplicate": ("1 0.5 0.5 0.1 0.1", "1 0.50 0.5 0.1 0.1"),
}
"""Kinds that the last of these rows has."""
for _kind, _lines in ROWS.items():
    HAZARDS[_kind] = lambda folder, lines=_lines: folder.say(*lines)  # type: ignore[misc]


@hazard("row-polygon")
def _(folder: Folder) -> Made:
    folder.label().write_text("1 0.1 0.1 0.5 0.1 0.5 0.6\n", encoding="utf-8")
    return folder.label(), 1


@hazard("rows-mixed")
def _(folder: Folder) -> Made:
    folder.label().write_text("1 0.1 0.1 0.5 0.1 0.5 0.6\n0 0.5 0.5 0.1 0.1\n", encoding="utf-8")
    return folder.label(), 2


@hazard("label-bom")
def _(folder: Folder) -> Made:
    folder.label().write_bytes(b"\xef\xbb\xbf0 0.5 0.5 0.1 0.1\n")
    return folder.label(), 1


@hazard("label-crlf")
def _(folder: Folder) -> Made:
    folder.label().write_bytes(b"0 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.2 0.1\r\n")
    return folder.label(), 2


@hazard("label-encoding")
def _(folder: Folder) -> Made:
    folder.label().write_bytes(b"0 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.2 0.1 \xe9\n")
    return folder.label(), 2


@hazard("label-unreadable")
def _(folder: Folder) -> Made:
    """A link in a circle: root may read what nobody may."""
    folder.label().unlink()
    folder.label().symlink_to(folder.label())
    return folder.label(), None


@hazard("label-missing")
def _(folder: Folder) -> Made:
    folder.label().unlink()
    return folder.image(), None


@hazard("label-orphan")
def _(folder: Folder) -> Made:
    folder.image().unlink()
    return folder.label(), None


@hazard("label-cache")
def _(folder: Folder) -> Made:
    (folder.root / "labels" / "train.cache").write_bytes(b"")
    return folder.root / "labels" / "train.cache", None


@hazard("label-shared")
def _(folder: Folder) -> Made:
    return folder.add("train", "train3", suffix="png"), None


@hazard("labels-absent")
def _(folder: Folder) -> Made:
    for label in folder.label("val").parent.iterdir():
        label.unlink()
    return folder.yaml, 2


@hazard("no-boxes")
def _(folder: Folder) -> Made:
    for label in folder.label("val").parent.iterdir():
        label.write_text("", encoding="utf-8")
    return folder.yaml, 2


@hazard("class-absent")
def _(folder: Folder) -> Made:
    for label in folder.label("val").parent.iterdir():
        label.write_text("0 0.5 0.5 0.1 0.1\n", encoding="utf-8")
    return folder.yaml, 3


@hazard("class-name")
def _(folder: Folder) -> Made:
    folder.add("train", "fire_CV000001", text="0 0.5 0.5 0.1 0.1\n")
    folder.add("train", "neitherFireNorSmoke_CV000002", text="1 0.5 0.5 0.1 0.1\n")
    return folder.label("train", "neitherFireNorSmoke_CV000002"), None


@hazard("classes-swapped")
def _(folder: Folder) -> Made:
    folder.add("train", "fire_CV000001", text="1 0.5 0.5 0.1 0.1\n")
    folder.add("train", "smoke_CV000002", text="0 0.5 0.5 0.1 0.1\n")
    return folder.yaml, 3


@hazard("image-absent")
def _(folder: Folder) -> Made:
    """A list that names an image which is not there."""
    names = [f"./images/train/{name}" for name in ("train0.jpg", "train1.jpg", "gone.jpg")]
    (folder.root / "train.txt").write_text("\n".join(names), encoding="utf-8")
    folder.yaml_says("train: train.txt\nval: images/val")
    return folder.root / "train.txt", 3


@hazard("image-ignored")
def _(folder: Folder) -> Made:
    return folder.add("train", "animated", suffix="gif"), None


@hazard("image-undecodable")
def _(folder: Folder) -> Made:
    return folder.put(folder.image().read_bytes()[:-300])


@hazard("image-format")
def _(folder: Folder) -> Made:
    return folder.put(encoded(picture("gif"), "GIF"))


@hazard("image-small")
def _(folder: Folder) -> Made:
    folder.label().write_text("", encoding="utf-8")
    return folder.put(encoded(picture("small", (40, 9)), "JPEG"))


@hazard("image-bomb")
def _(folder: Folder) -> Made:
    """A PNG whose head says that it is large."""
    whole = bytearray(encoded(Image.new("L", (20_000, 1)), "PNG"))
    whole[20:24] = (10_000).to_bytes(4, "big")
    return folder.put(_with_checksum(whole), "png")


def _with_checksum(png: bytearray) -> bytes:
    """The checksum of a PNG's head, which comes behind it."""
    import zlib

    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
    return bytes(png)


@hazard("image-huge")
def _(folder: Folder) -> Made:
    return folder.put(encoded(Image.new("L", (9_500, 9_500)), "PNG", compress_level=1), "png")


@hazard("image-no-end")
def _(folder: Folder) -> Made:
    return folder.put(folder.image().read_bytes() + b"from the camera")


@hazard("image-16-bit")
def _(folder: Folder) -> Made:
    grey = np.asarray(picture("16").convert("L")).astype(np.uint16)
    return folder.put(encoded(Image.fromarray(grey * 16), "PNG"), "png")


@hazard("image-suffix")
def _(folder: Folder) -> Made:
    return folder.put(encoded(picture("png"), "PNG"))


@hazard("image-mode")
def _(folder: Folder) -> Made:
    return folder.put(encoded(picture("cmyk").convert("CMYK"), "JPEG"))


@hazard("image-animated")
def _(folder: Folder) -> Made:
    frames = [picture(f"frame {number}") for number in range(2)]
    return folder.put(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]), "webp")


@hazard("image-orientation")
def _(folder: Folder) -> Made:
    exif = Image.Exif()
    exif[0x0112] = 6
    return folder.put(encoded(picture("turned"), "JPEG", exif=exif))


@hazard("image-npy")
def _(folder: Folder) -> Made:
    np.save(folder.image(suffix="npy"), np.zeros((4, 4, 3), np.uint8))
    return folder.image().parent, None


@hazard("image-copy")
def _(folder: Folder) -> Made:
    folder.add("train", "train9").write_bytes(folder.image().read_bytes())
    return folder.image("train", "train9"), None


@hazard("copy-labels")
def _(folder: Folder) -> Made:
    folder.add("train", "train9", text="0 0.6 0.5 0.2 0.2\n").write_bytes(folder.image().read_bytes())
    return folder.label("train", "train9"), None


@hazard("image-twice")
def _(folder: Folder) -> Made:
    folder.yaml_says("train: [images/train, images/train]\nval: images/val")
    return folder.image("train", "train0"), None


@hazard("leak-file")
def _(folder: Folder) -> Made:
    folder.yaml_says("train: images\nval: images/val")
    return folder.image("val", "val0"), None


@hazard("leak-copy")
def _(folder: Folder) -> Made:
    folder.image().write_bytes(folder.image("val", "val1").read_bytes())
    return folder.image(), None


@hazard("leak-similar")
def _(folder: Folder) -> Made:
    with Image.open(folder.image("val", "val1")) as image:
        image.resize((80, 60)).save(folder.image(), quality=60)
    return folder.image(), None


@hazard("leak-camera")
def _(folder: Folder) -> Made:
    folder.add("train", "sdis-07_brison-200_2024-01-15T12-40-00")
    folder.add("train", "sdis-08_brison-200_2024-01-15T12-00-00")
    folder.add("val", "sdis-07_brison-200_2024-01-15T12-00-00")
    return folder.add("train", "sdis-07_brison-200_2024-01-15T12-25-00"), None


@hazard("name-collision")
def _(folder: Folder) -> Made:
    stem = unicodedata.normalize("NFD", "fumée")
    folder.add("train", unicodedata.normalize("NFC", stem).upper())
    return folder.add("train", stem), None


@hazard("link-outside")
def _(folder: Folder) -> Made:
    outside = folder.root.parent / "outside.jpg"
    folder.image().rename(outside)
    folder.image().symlink_to(outside)
    return folder.image().parent, None


@hazard("images-twice")
def _(folder: Folder) -> Made:
    nested = folder.root / "images" / "set"
    nested.mkdir()
    for name in ("images", "labels"):
        (nested / name).mkdir()
        (folder.root / name / "val").rename(nested / name / "val")
    (nested / "labels").rename(folder.root / "labels" / "set")
    folder.yaml_says("train: images/train\nval: images/set/images/val")
    return nested / "images" / "val", None


@hazard("yaml")
def _(folder: Folder) -> Made:
    folder.yaml.write_text("train: images/train\nval: images/valid\nnames: [fire, smoke]\n", encoding="utf-8")
    return folder.yaml, 2


def snapshot(root: Path) -> list[tuple[str, int, int]]:
    """Every file with its size and its time."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return [(os.fspath(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
