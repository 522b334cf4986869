"""Checking some images and their label files: what each worker process does, a part of the set at a time."""

import os
import warnings
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sainet.data.check.boxes import tiny_trouble
from sainet.data.check.kinds import Finding
from sainet.data.check.named import classes_named
from sainet.data.check.paths import label_path
from sainet.data.check.picture import Picture, look_at
from sainet.data.check.rows import Labels, Trouble, read_labels

__all__ = ["Part", "Seen", "check_part"]


@dataclass(frozen=True)
class Part:
    """Images to be checked, all of one split, with the set's class names in lower case, by their ids."""

    images: Sequence[str]
    names: Sequence[str]
    labels_only: bool


@dataclass
class Seen:
    """What a part showed: findings, counts, and for each image its `Picture.key` and `Picture.look`.

    `boxes`: by class id. `named`, `swapped`: images whose names say one class, and those of them that have only the
    other one.
    """

    findings: list[Finding] = field(default_factory=list)
    images: int = 0
    labelled: int = 0
    missing: int = 0
    empty: int = 0
    boxes: Counter[int] = field(default_factory=Counter)
    named: int = 0
    swapped: int = 0
    keys: "array[int]" = field(default_factory=lambda: array("Q"))
    looks: "array[int]" = field(default_factory=lambda: array("Q"))

    def add(self, other: "Seen") -> None:
        """Count in what another part of the same split showed, which comes right behind this one."""
        self.findings += other.findings
        self.images += other.images
        self.labelled += other.labelled
        self.missing += other.missing
        self.empty += other.empty
        self.boxes.update(other.boxes)
        self.named += other.named
        self.swapped += other.swapped
        self.keys += other.keys
        self.looks += other.looks


def check_part(part: Part) -> Seen:
    """Check every image of a part with its label file. Raises nothing."""
    seen = Seen(images=len(part.images))
    with warnings.catch_warnings(action="ignore"):  # Pillow's, of large images and odd EXIF blocks
        for image in part.images:
            _check_one(image, part, seen)
    return seen


def _check_one(image: str, part: Part, seen: Seen) -> None:
    picture = _glance_at(image) if part.labels_only else look_at(image)
    seen.findings += [Finding(kind, image, message, line, image) for kind, line, message in picture.troubles]
    seen.keys.append(picture.key)
    seen.looks.append(picture.look)
    if not picture.absent:
        _check_labels(image, picture, part, seen)


def _glance_at(image: str) -> Picture:
    picture = Picture()
    if not os.path.exists(image):  # noqa: PTH110 - a Path for each costs more than the call
        picture.add("image-absent", "not there")
    return picture


def _check_labels(image: str, picture: Picture, part: Part, seen: Seen) -> None:
    path = label_path(image)
    try:
        with open(path, "rb", buffering=0) as stream:  # noqa: PTH123
            data = stream.readall() or b""
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        seen.missing += 1
        seen.findings.append(Finding("label-missing", image, f"no {path}: trained as a negative", image=image))
        return
    except OSError as error:
        seen.findings.append(Finding("label-unreadable", path, f"cannot be read: {error.strerror}", image=image))
        return
    labels = read_labels(data, len(part.names))
    seen.labelled += 1
    seen.empty += labels.empty
    seen.boxes.update(row.label for row in labels.rows)
    troubles = [*labels.troubles, *_tiny(labels, picture)]
    seen.findings += [Finding(kind, path, message, line, image) for kind, line, message in troubles]
    _compare_with_name(image, path, labels, part.names, seen)


def _tiny(labels: Labels, picture: Picture) -> Iterator[Trouble]:
    if picture.size is None:
        return
    for row in labels.rows:
        if message := tiny_trouble(row.width, row.height, picture.size):
            yield Trouble("box-tiny", row.line, message)


def _compare_with_name(image: str, path: str, labels: Labels, names: Sequence[str], seen: Seen) -> None:
    """FASDD's file names against the classes of the boxes."""
    named = classes_named(os.path.basename(image))  # noqa: PTH119
    if named is None:
        return
    said = named & set(names)
    found = {names[row.label] for row in labels.rows if 0 <= row.label < len(names)}
    if len(said) == 1:
        seen.named += 1
        seen.swapped += bool(found) and not found & said
    if said != found:
        message = f"has {_listed(found)}, the name of the image says {_listed(said)}"
        seen.findings.append(Finding("class-name", path, message, image=image))


def _listed(names: "set[str] | frozenset[str]") -> str:
    return " and ".join(sorted(names)) or "nothing"
