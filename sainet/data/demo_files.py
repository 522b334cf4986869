"""The files of the demo set: which image is where, how boxes become labels, and what the YAML files say."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sainet.data.render import Frame
from sainet.data.render_objects import Box
from sainet.data.render_scene import SPLITS, Shot

CLASSES: dict[int, tuple[str, ...]] = {1: ("fire", "smoke"), 2: ("smoke",)}
"""Class names by stage; a name's place is its index."""

CONFIG_TEXT = """\
# The data of `sainet data demo`: a rendered fire/smoke set for trying things out, not for detecting fires.
# Paths are relative to this file. The schedule is one that a CPU gets through in two minutes: small pictures, many
# epochs, and AdamW, which gets somewhere from scratch in so few steps.
train:
  imgsz: 128

optim:
  optimizer: AdamW
  lr0: 0.002
  warmup_epochs: 1
  warmup_bias_lr: 0.0 # the presets' 0.1 is for SGD
  nbs: 16

schedule:
  epochs: 20
  close_mosaic: 5
  select_by: map50

stage1:
  data: stage-1/data.yaml
stage2:
  data: stage-2/data.yaml
"""

_ABOUT = {1: "fire and smoke, one view per image", 2: "far smoke, seen by fixed cameras"}


@dataclass(frozen=True)
class DemoSettings:
    """What a demo set follows from: images per stage, their size in pixels, the seed."""

    train: int
    val: int
    width: int
    height: int
    seed: int
    version: int = 1
    """Of the pictures: raise it when the same settings render other ones."""

    def shots(self, stage: int) -> Iterator[Shot]:
        """Every image of one stage."""
        for split, count in zip(SPLITS, (self.train, self.val), strict=True):
            for index in range(count):
                yield Shot(self.seed, stage, split, index, self.width, self.height)


def paths_of(folder: Path, shot: Shot) -> tuple[Path, Path]:
    """Where the image and the label file of `shot` are."""
    camera = f"_cam{shot.camera:02d}" if shot.stage == 2 else ""
    stem = f"demo{shot.stage}{camera}_{shot.split}_{shot.index:04d}"
    base = folder / f"stage-{shot.stage}"
    return base / "images" / shot.split / f"{stem}.jpg", base / "labels" / shot.split / f"{stem}.txt"


def data_yaml_of(folder: Path, stage: int) -> Path:
    return folder / f"stage-{stage}" / "data.yaml"


def write_image(folder: Path, shot: Shot, frame: Frame) -> None:
    """Write the image and its labels; a negative gets an empty label file."""
    image, label = paths_of(folder, shot)
    for path in (image, label):
        path.parent.mkdir(parents=True, exist_ok=True)
    # Encoded first and written in one piece: Pillow's own writer forgets why a disk refused.
    image.write_bytes(frame.jpeg())
    label.write_text("".join(_label_line(box, shot) for box in frame.boxes), encoding="utf-8")


def _label_line(box: Box, shot: Shot) -> str:
    """Class, centre x, centre y, width, height, as shares of the image."""
    x, y = (box.left + box.right) / 2 / shot.width, (box.top + box.bottom) / 2 / shot.height
    width, height = (box.right - box.left) / shot.width, (box.bottom - box.top) / shot.height
    return f"{CLASSES[shot.stage].index(box.label)} {x:.6f} {y:.6f} {width:.6f} {height:.6f}\n"


def data_yaml_text(stage: int) -> str:
    """The Ultralytics data YAML of one stage. It has no `path`: relative to itself, it can be moved."""
    names = "".join(f"  {index}: {name}\n" for index, name in enumerate(CLASSES[stage]))
    return (
        f"# Demo set, stage {stage}: {_ABOUT[stage]}. Paths are relative to this file.\n"
        f"train: images/train\nval: images/val\nnames:\n{names}"
    )


def count_labels(folder: Path, settings: DemoSettings, stage: int) -> tuple[int, dict[str, int]]:
    """The negatives of one stage, and its boxes by class name, from the label files."""
    texts = [paths_of(folder, shot)[1].read_text(encoding="utf-8") for shot in settings.shots(stage)]
    indices = Counter(line.split(maxsplit=1)[0] for text in texts for line in text.splitlines() if line)
    boxes = {name: indices[str(index)] for index, name in enumerate(CLASSES[stage])}
    return sum(not text for text in texts), boxes
