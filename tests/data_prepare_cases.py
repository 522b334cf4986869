"""Small releases laid out as FASDD and PyroSDIS are published, and what a prepared set says."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from data_check_cases import encoded, picture

from sainet.data.check.paths import label_path
from sainet.data.check.rows import read_labels
from sainet.data.prepare.backgrounds import read_backgrounds
from sainet.data.prepare.entries import Release
from sainet.data.prepare.fasdd import FASDD
from sainet.data.prepare.preparing import Options, Prepared, prepare

SIZE = (64, 48)
"""Width and height of the images of a made release."""

Box = tuple[str, int, int, int, int]
"""A class name, left, top, width and height in pixels."""

FIRE: Box = ("fire", 10, 10, 20, 12)
SMOKE: Box = ("smoke", 30, 5, 16, 30)


def prepared(source: Path, target: Path, release: Release = FASDD, **changes: Any) -> Prepared:
    """Prepare in this process, by default as the command line does."""
    backgrounds = read_backgrounds(changes.pop("backgrounds", "keep"), changes.pop("within", "train"))
    return prepare(source, target, options(release, backgrounds=backgrounds, **changes))


def options(release: Release, **changes: Any) -> Options:
    return Options(**{"release": release, "how": "link", "regroup": False, **changes})


def notes(done: Prepared) -> dict[str, int]:
    return {kind: told["count"] for kind, told in done.summary["notes"].items()}


def boxes_of(target: Path) -> dict[str, list[tuple[float, ...]]]:
    """Class, centre and size of each box, by split and name of the image, sorted."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for image in sorted((target / "images").rglob("*.jpg")):
        labels = read_labels(Path(label_path(str(image))).read_bytes(), 2)
        assert {trouble.kind for trouble in labels.troubles} <= {"box-frame"}, labels.troubles
        found[f"{image.parent.name}/{image.name}"] = sorted(row[1:] for row in labels.rows)
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def manifest(target: Path) -> pl.DataFrame:
    return pl.read_parquet(target / "manifest.parquet")


class FasddRelease:
    """A FASDD tree in a folder; each image is one of `splits`."""

    def __init__(self, root: Path, splits: Mapping[str, Mapping[str, Sequence[Box]]] | None = None) -> None:
        self.root = root
        self.splits = splits or {
            "train": {"fire_CV000001.jpg": [FIRE], "smoke_CV000002.jpg": [SMOKE], "neitherFireNorSmoke_CV3.jpg": []},
            "val": {"bothFireAndSmoke_CV000004.jpg": [FIRE, SMOKE]},
        }
        for images in self.splits.values():
            for name in images:
                self.put(f"images/{name}", encoded(picture(name, SIZE), "JPEG"))

    def put(self, name: str, data: bytes | str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def coco(self, folder: str = "annotations/COCO_CV/Annotations", **changes: Any) -> "FasddRelease":
        for split in self.splits:
            self.put(f"{folder}/{split}.json", json.dumps({**self.coco_of(split), **changes}))
        return self

    def coco_of(self, split: str) -> dict[str, Any]:
        images, annotations = [], []
        for number, (name, boxes) in enumerate(self.splits[split].items(), start=7):
            images.append({"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
            for kind, *edges in boxes:
                label = ("fire", "smoke").index(kind)
                annotations.append({"id": len(annotations), "image_id": number, "category_id": label, "bbox": edges})
        categories = [{"id": 0, "name": "fire"}, {"id": 1, "name": "smoke"}]
        return {"images": images, "annotations": annotations, "categories": categories}

    def yolo(self, order: Sequence[str] = ("fire", "smoke")) -> "FasddRelease":
        for images in self.splits.values():
            for name, boxes in images.items():
                rows = "".join(_row(order.index(kind), *edges) for kind, *edges in boxes)
                self.put(f"annotations/YOLO_CV/labels/{Path(name).stem}.txt", rows)
        return self

    def lists(self, line: str = "images/{name}") -> "FasddRelease":
        for split, images in self.splits.items():
            lines = [line.format(name=name, stem=Path(name).stem) for name in images]
            self.put(f"annotations/YOLO_CV/{split}.txt", "\n".join(lines) + "\n")
        return self

    def voc(self) -> "FasddRelease":
        for images in self.splits.values():
            for name, boxes in images.items():
                objects = "".join(_object(kind, *edges) for kind, *edges in boxes)
                size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>"
                text = f"<annotation><filename>{name}</filename>{size}{objects}</annotation>"
                self.put(f"annotations/VOC_CV/Annotations/{Path(name).stem}.xml", text)
        return self


def _row(label: int, left: int, top: int, width: int, height: int) -> str:
    x, y = (left + width / 2) / SIZE[0], (top + height / 2) / SIZE[1]
    return f"{label} {x:.6f} {y:.6f} {width / SIZE[0]:.6f} {height / SIZE[1]:.6f}\n"


def _object(kind: str, left: int, top: int, width: int, height: int) -> str:
    edges = {"xmin": left, "ymin": top, "xmax": left + width, "ymax": top + height}
    box = "".join(f"<{edge}>{value}</{edge}>" for edge, value in edges.items())
    return f"<object><name>{kind}</name><bndbox>{box}</bndbox></object>"


def zipped(folder: Path, archive: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", method) as target:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                target.write(path, path.relative_to(folder.parent))
    return archive


def shard_row(name: str, **changes: Any) -> dict[str, Any]:
    """A row of a shard; partner, camera and date are those of the name."""
    partner, camera, date = name.rpartition(".")[0].split("_")
    image = {"bytes": encoded(picture(name, SIZE), "JPEG"), "path": name}
    row = {"image": image, "annotations": "1 0.5 0.5 0.2 0.2", "image_name": name}
    return {**row, "partner": partner, "camera": camera, "date": date, **changes}


def dated(number: int, camera: str = "brison-200", minute: int = 0, hour: int = 12) -> str:
    return f"sdis-07_{camera}_2024-01-{1 + number:02d}T{hour:02d}-{minute:02d}-00.jpg"


def shards(root: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]] | None = None) -> Path:
    """A PyroSDIS folder: rows by the name of the shard."""
    made = rows or {
        "train-00000-of-00001": [shard_row(dated(number)) for number in range(4)],
        "val-00000-of-00001": [shard_row(dated(10)), shard_row(dated(11), annotations="")],
    }
    (root / "data").mkdir(parents=True)
    for name, table in made.items():
        pl.DataFrame(list(table)).write_parquet(root / "data" / f"{name}.parquet")
    return root
