"""Small copies of a data set, so that a training takes seconds and nothing is written beside the user's own files."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml

from sainet.data.source import read_source


def some_of(data: Path, folder: Path, *, train: int, val: int) -> Path:
    """The YAML of a new set with every n-th image of another one and its labels; the same ones in every call.

    Raises ValueError where there are not so many.
    """
    source = read_source(str(data.absolute()))
    for split, paths, wanted in (("train", source.train_paths, train), ("val", source.val_paths, val)):
        if len(paths.named) < wanted:
            raise ValueError(f"{data} has {len(paths.named)} {split} images, not {wanted}")
        _copy(paths.named, wanted, folder, split)
    tree = {"train": "images/train", "val": "images/val", "names": source.names}
    (folder / "data.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return folder / "data.yaml"


def _copy(paths: Sequence[str], wanted: int, folder: Path, split: str) -> None:
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True)
    for number in range(wanted):
        image = Path(paths[number * len(paths) // wanted])
        label = Path(*(("labels" if part == "images" else part) for part in image.parts)).with_suffix(".txt")
        name = f"{number:05d}"  # names may repeat in different folders
        shutil.copyfile(image, folder / "images" / split / f"{name}{image.suffix}")
        if label.exists():
            shutil.copyfile(label, folder / "labels" / split / f"{name}.txt")
