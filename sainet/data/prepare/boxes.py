"""What an annotation says of one image, as rows of a label file. Pure: bytes and numbers in, rows and notes out.

A *drawn* box has a class name and its edges in pixels of a size that the annotation declares; a *shared* one has centre
and size as shares of the image.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sainet.data.prepare.notes import Notes
from sainet.geometry import Shape

__all__ = ["Box", "Row", "Said", "Sized", "counts", "label_rows", "label_text"]

Row = tuple[int, float, float, float, float]
"""Class id, centre x, centre y, width and height as shares of the image."""

_LEAST = 0.5e-6
"""A side that would be written as 0."""
_ROUNDING = 2e-6
"""Of numbers with six digits: what is over the edge by less is not worth a word."""
_SAME_ASPECT = 0.01
_EDGE = 1.0
"""Pixels over the edge that are still rounding."""


class Box(NamedTuple):
    """A class name, then left, top, right and bottom: pixels of the declared size, or shares of the image.

    `where` is the file and the line, or what else tells where it was said.
    """

    name: str
    left: float
    top: float
    right: float
    bottom: float
    where: str


class Sized(NamedTuple):
    """The size that an annotation declares, in pixels; 0 where it does not."""

    width: int
    height: int


class Said(NamedTuple):
    """What an annotation says of an image. `declared` is None where the boxes are shares of the image."""

    boxes: Sequence[Box]
    declared: Sized | None = None
    where: str = ""


def label_rows(said: Said, size: Shape | None, classes: Mapping[str, int], notes: Notes) -> list[Row]:
    """Class, centre and size of each box that is kept, as shares of the image.

    `size` is the (height, width) of the image as it is trained, None where it cannot be read; `classes` has the ids by
    the names in lower case. What is left out or changed goes into `notes`.
    """
    width, height = _divisor(said, size, notes)
    rows: list[Row] = []
    for box in said.boxes:
        label = classes.get(box.name.strip().lower())
        if label is None:
            notes.add("class-unknown", f"{box.where}: {box.name}")
            continue
        edges = box.left / width, box.top / height, box.right / width, box.bottom / height
        if (row := _row(label, edges, box, notes)) is not None:
            rows.append(row)
    if said.boxes and not rows:
        notes.add("all-boxes-left-out", said.where)
    return rows


def label_text(rows: Sequence[Row]) -> str:
    """The contents of the label file."""
    return "".join(f"{label} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for label, x, y, w, h in rows)


def _divisor(said: Said, size: Shape | None, notes: Notes) -> tuple[float, float]:
    """Width and height of the picture in which the boxes were drawn; 1 and 1 for shares.

    An image of another size but the same shape was scaled after it was annotated, so the declared size is right. With
    another shape one of the two is wrong: the boxes fit in the image, or the declared size is believed.
    """
    if said.declared is None:
        return 1.0, 1.0
    width, height = said.declared
    if size is None:
        if said.boxes and min(width, height) <= 0:
            notes.add("size-differs", f"{said.where}: no size, neither declared nor in the image")
        return max(width, 1), max(height, 1)
    if (height, width) == size:
        return width, height
    notes.add("size-differs", f"{said.where}: says {width} x {height}, the image has {size[1]} x {size[0]}")
    if min(width, height) <= 0:
        return size[1], size[0]
    alike = math.isclose(width * size[0], height * size[1], rel_tol=_SAME_ASPECT)
    return (width, height) if alike or not _fit(said.boxes, size) else (size[1], size[0])


def _fit(boxes: Sequence[Box], size: Shape) -> bool:
    return all(box.right <= size[1] + _EDGE and box.bottom <= size[0] + _EDGE for box in boxes)


def _row(label: int, edges: tuple[float, ...], box: Box, notes: Notes) -> Row | None:
    if not math.isfinite(sum(edges)):
        notes.add("box-degenerate", f"{box.where}: not finite")
        return None
    left, top, right, bottom = cut = tuple(min(1.0, max(0.0, edge)) for edge in edges)
    if right - left < _LEAST or bottom - top < _LEAST:
        notes.add("box-degenerate", f"{box.where}: {_shown(edges)}")
        return None
    if any(abs(one - other) > _ROUNDING for one, other in zip(cut, edges, strict=True)):
        notes.add("box-clipped", f"{box.where}: {_shown(edges)}")
    return label, (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _shown(edges: Sequence[float]) -> str:
    return "edges at " + " ".join(f"{edge:.4g}" for edge in edges) + " of the image"


def counts(rows: Sequence[Row], classes: int) -> Iterator[int]:
    """How many boxes there are of each class."""
    labels = [row[0] for row in rows]
    return (labels.count(label) for label in range(classes))
