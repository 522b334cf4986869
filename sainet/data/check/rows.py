"""What a label file says, and what is wrong with its rows, as Ultralytics reads them. Pure: bytes in, troubles out."""

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sainet.data.check.boxes import box_troubles

__all__ = ["Labels", "Row", "Trouble", "read_labels", "table_of"]

_BOM = b"\xef\xbb\xbf"


class Trouble(NamedTuple):
    """A kind of `kinds.KINDS`, the line (from 1), and what is wrong there."""

    kind: str
    line: int | None
    message: str


class Row(NamedTuple):
    """One box: its line, its class, and centre and size as shares of the image, each 0 to 1."""

    line: int
    label: int
    x: float
    y: float
    width: float
    height: float


@dataclass
class Labels:
    """The rows of a label file that can be read, also beside ones that cannot; no rows for a declared negative."""

    rows: list[Row] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    empty: bool = False
    said: list[Sequence[float]] = field(default_factory=list, repr=False)
    """Of each row, all its numbers: of a polygon its points, where the row has the box around them."""


def read_labels(data: bytes, classes: int) -> Labels:
    """The contents of a label file of a set with `classes` classes. Raises nothing."""
    labels = Labels(troubles=list(_text_troubles(data)))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        labels.troubles.append(Trouble("label-encoding", line, "not UTF-8, so Ultralytics drops the image"))
        return labels
    table = table_of(text)
    labels.empty = not table
    has_polygons = any(len(words) > 6 for _, words in table)
    if has_polygons:
        labels.troubles.append(_polygons(table))
    for number, words in table:
        _read_row(number, words, labels, classes, in_polygons=has_polygons)
    labels.troubles += _duplicates(labels)
    return labels


def table_of(text: str) -> list[tuple[int, list[str]]]:
    """The words of each line that has any, with its number from 1."""
    # As a text file is read: \r\n and a lone \r end a line too.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").splitlines()
    return [(number, words) for number, line in enumerate(lines, start=1) if (words := line.split())]


def _text_troubles(data: bytes) -> Iterator[Trouble]:
    if data.startswith(_BOM):
        yield Trouble("label-bom", 1, "begins with a byte order mark, which other tools read as part of the class")
    if (first := data.find(b"\r\n")) >= 0:
        yield Trouble("label-crlf", data.count(b"\n", 0, first) + 1, "Windows line ends")


def _polygons(table: Sequence[tuple[int, list[str]]]) -> Trouble:
    """What a file with polygons comes to; one trouble, since it has them all or should not have any."""
    if boxes := [number for number, words in table if len(words) == 5]:
        return Trouble("rows-mixed", boxes[0], "a box among polygons, so Ultralytics drops the image")
    lines = [number for number, words in table if len(words) > 6]
    return Trouble("row-polygon", lines[0], f"{len(lines)} polygons, of which the boxes around them are trained on")


def _read_row(number: int, words: list[str], labels: Labels, classes: int, *, in_polygons: bool) -> None:
    """Add what one row says, and what is wrong with it."""
    try:
        label, *numbers = map(float, words)
    except ValueError:
        labels.troubles.append(_not_numbers(number, words))
        return
    is_polygon = len(words) > 6
    if is_polygon and len(numbers) % 2 == 0:
        box = _around(numbers)
    elif len(numbers) == 4:
        box = numbers
    else:
        labels.troubles.append(_wrong_columns(number, words, in_polygons=in_polygons))
        return
    troubles = [*_class_troubles(words[0], label, classes), *box_troubles(*box)]
    labels.troubles += [Trouble(kind, number, message) for kind, message in troubles]
    if math.isfinite(label + sum(box)):
        labels.rows.append(Row(number, int(label), *box))
        labels.said.append((label, *numbers))


def _not_numbers(number: int, words: list[str]) -> Trouble:
    text = " ".join(words)
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    kind = "row-commas" if "," in text else "row-numbers"
    return Trouble(kind, number, f"{shown!r} is not numbers with blanks between, so Ultralytics drops the image")


def _wrong_columns(number: int, words: list[str], *, in_polygons: bool) -> Trouble:
    count = len(words)
    if count == 6 and not in_polygons:
        return Trouble("row-six", number, "6 columns, a confidence at the end? Ultralytics drops the image")
    wanted = "a class and pairs of coordinates" if count > 6 else "5"
    return Trouble("row-columns", number, f"{count} columns in place of {wanted}, so Ultralytics drops the image")


def _around(points: Sequence[float]) -> list[float]:
    """Centre and size of the box around x, y, x, y, ..."""
    xs, ys = points[0::2], points[1::2]
    if not math.isfinite(sum(points)):
        return [math.nan] * 4
    return [(min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)]


def _class_troubles(word: str, label: float, classes: int) -> Iterator[tuple[str, str]]:
    if label % 1 != 0:  # also what is not finite
        yield "class-fraction", f"class {word} is no whole number, so Ultralytics drops the image"
    elif not 0 <= label < classes:
        yield "class-range", f"class {word} is not one of 0 to {classes - 1}, so Ultralytics drops the image"
    elif not word.isdecimal():
        yield "class-float", f"class {word} in place of {int(label)}"


def _duplicates(labels: Labels) -> Iterator[Trouble]:
    """Rows that say the same as an earlier one, in the single precision that Ultralytics reads them in."""
    seen: dict[tuple[float, ...], int] = {}
    for row, said in zip(labels.rows, labels.said, strict=True):
        first = seen.setdefault(tuple(array("f", said)), row.line)
        if first != row.line:
            yield Trouble("row-duplicate", row.line, f"the same as line {first}; Ultralytics takes it away")
