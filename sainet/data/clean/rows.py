"""Mending a label file, row by row. Pure: bytes in, bytes and changes out."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sainet.data.check.boxes import tiny_trouble
from sainet.data.check.rows import Labels, Trouble, read_labels, table_of
from sainet.geometry import Shape

__all__ = ["About", "Mended", "RowChange", "mend_labels"]

_OUT = "left the row out"
_LEAST_CENTRE = 0.5
"""Pixels, of a box of one."""


class About(NamedTuple):
    """What the rows are judged by: how many classes there are, the kinds that are left out on request, and the image's
    height and width in pixels, which are asked for only where a row needs them; None where nobody can tell."""

    classes: int
    also: frozenset[str]
    size: Callable[[], Shape | None]


class RowChange(NamedTuple):
    """A kind of `kinds.KINDS`, the line in the original (from 1), and what was done."""

    kind: str
    line: int | None
    did: str


@dataclass
class Mended:
    """A label file as it should be. `lost`: rows were left out; `boxes`: those that are left, by class."""

    data: bytes = b""
    changes: list[RowChange] = field(default_factory=list)
    boxes: Counter[int] = field(default_factory=Counter)
    lost: bool = False

    @property
    def emptied(self) -> bool:
        """Whether it would declare that there is nothing to be seen, which the original does not say."""
        return self.lost and not self.boxes


def mend_labels(data: bytes, about: About) -> Mended:
    """Mend the contents of a label file. What has nothing wrong comes back byte by byte."""
    labels = read_labels(data, about.classes)
    mended = Mended()
    unread = next((trouble for trouble in labels.troubles if trouble.kind == "label-encoding"), None)
    if unread is not None:
        mended.changes.append(RowChange(unread.kind, unread.line, "left all rows out: not UTF-8"))
        mended.lost = True
        return mended
    if not _needs_mending(labels, about):
        mended.data, mended.boxes = data, Counter(row.label for row in labels.rows)
        return mended
    mended.changes += _of_the_file(labels.troubles)
    lines: dict[tuple[float, ...], str] = {}
    table = table_of(data.decode("utf-8-sig"))
    has_polygons = any(len(words) > 6 for _, words in table)
    for number, words in table:
        if has_polygons and len(words) == 6:  # no box with a confidence there
            mended.changes.append(RowChange("row-columns", number, _OUT))
            kept = list[str]()
        else:
            kept = _mend_row(number, words, about, mended)
        _keep(number, kept, lines, mended)
    mended.data = "".join(f"{line}\n" for line in lines.values()).encode()
    return mended


def _keep(number: int, words: list[str], lines: dict[tuple[float, ...], str], mended: Mended) -> None:
    """Add a mended row to `lines`, unless nothing is left of it or it is there already."""
    if not words:
        mended.lost = True
        return
    key = tuple(array("f", map(float, words)))  # what Ultralytics compares
    if key in lines:
        mended.changes.append(RowChange("row-duplicate", number, "kept the first"))
    else:
        lines[key] = " ".join(words)
        mended.boxes[int(words[0])] += 1


def _needs_mending(labels: Labels, about: About) -> bool:
    return any(_is_mended(trouble.kind, about) for trouble in (*labels.troubles, *_tiny(labels, about)))


def _is_mended(kind: str, about: About) -> bool:
    return kind in _OF_THE_FILE or kind == "row-duplicate" or kind in _ROW_ACTIONS or kind in about.also


def _of_the_file(troubles: Sequence[Trouble]) -> Iterator[RowChange]:
    for trouble in troubles:
        if trouble.kind in _OF_THE_FILE:
            yield RowChange(trouble.kind, trouble.line, _OF_THE_FILE[trouble.kind])


def _mend_row(number: int, words: list[str], about: About, mended: Mended) -> list[str]:
    """The words of a row that has nothing wrong any more; none where it is left out."""
    tried: set[str] = set()
    while words and (trouble := next(_row_troubles(words, about), None)) is not None:
        action, did = _ROW_ACTIONS.get(trouble.kind, (_leave_out, _OUT))
        # What is still wrong in the same way cannot be mended: pixels of a larger image, divided by this one's size.
        words = action(words, about) if trouble.kind not in tried else []
        tried.add(trouble.kind)
        mended.changes.append(RowChange(trouble.kind, number, did if words else _OUT))
    return words


def _row_troubles(words: list[str], about: About) -> Iterator[Trouble]:
    labels = read_labels(" ".join(words).encode(), about.classes)
    troubles = (*labels.troubles, *_tiny(labels, about))
    return (trouble for trouble in troubles if _is_mended(trouble.kind, about))


def _tiny(labels: Labels, about: About) -> Iterator[Trouble]:
    if "box-tiny" not in about.also or not labels.rows or (size := about.size()) is None:
        return
    for row in labels.rows:
        if message := tiny_trouble(row.width, row.height, size):
            yield Trouble("box-tiny", row.line, message)


# --- what is done to a row; no words at all leave it out


def _leave_out(_words: list[str], _about: About) -> list[str]:
    return []


def _blanks(words: list[str], _about: About) -> list[str]:
    bare = [word.strip(",") for word in words]
    if len(bare) == 5:  # numbers in a language that has commas for points
        return [word.replace(",", ".") for word in bare]
    return " ".join(bare).replace(",", " ").split()


def _first_five(words: list[str], _about: About) -> list[str]:
    return words[:5]


def _whole_class(words: list[str], _about: About) -> list[str]:
    return [str(int(float(words[0]))), *words[1:]]


def _around(words: list[str], about: About) -> list[str]:
    rows = read_labels(" ".join(words).encode(), about.classes).rows
    return [words[0], *map(_text, rows[0][2:])] if rows else []


def _shares(words: list[str], about: About) -> list[str]:
    if (size := about.size()) is None:
        return []
    height, width = size
    x, y, across, down = map(float, words[1:])
    if min(x, y) < _LEAST_CENTRE or min(across, down) < 1:  # a share among them: one of the numbers is wrong
        return []
    return [words[0], *map(_text, (x / width, y / height, across / width, down / height))]


def _cut(words: list[str], _about: About) -> list[str]:
    x, y, across, down = map(float, words[1:])
    left, right = max(0.0, x - across / 2), min(1.0, x + across / 2)
    top, bottom = max(0.0, y - down / 2), min(1.0, y + down / 2)
    if right <= left or bottom <= top:
        return []
    return [words[0], *map(_text, ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top))]


def _text(share: float) -> str:
    return f"{share:.8f}".rstrip("0").rstrip(".")


_OF_THE_FILE = {
    "label-bom": "took the mark away",
    "label-crlf": "wrote plain line ends",
    "rows-mixed": "put the box around each polygon",
}
_ROW_ACTIONS: dict[str, tuple[Callable[[list[str], About], list[str]], str]] = {
    "row-commas": (_blanks, "put blanks for the commas"),
    "row-six": (_first_five, "kept the class and the box"),
    "row-polygon": (_around, "put the box around it"),
    "class-float": (_whole_class, "wrote the whole number"),
    "box-pixels": (_shares, "divided by the size of the image"),
    "box-edge": (_cut, "cut it at the edge"),
    **dict.fromkeys(
        ("row-numbers", "row-columns", "class-fraction", "class-range", "box-not-finite", "box-range", "box-empty"),
        (_leave_out, _OUT),
    ),
}
