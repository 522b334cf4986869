"""Images that are there more than once: in two splits, or under two names."""

from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sainet.data.check.kinds import Finding
from sainet.data.check.paths import label_path, repeated
from sainet.data.check.places import Images
from sainet.data.check.rows import read_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KEPT_IN", "Everything", "copies", "digest", "names_twice"]

KEPT_IN = ("test", "val", "train")
"""Of copies in two splits the one in the first of these stays: what is measured with stays as it was published."""


_UNREAD = frozenset({"label-encoding", "row-numbers", "row-commas", "row-six", "row-columns"})
"""Troubles with rows that are not among those that were read."""


class Everything:
    """The images of all splits, one behind the other."""

    def __init__(self, splits: Sequence[Images]) -> None:
        self._splits = splits
        self._starts = [sum(len(before.paths) for before in splits[:place]) for place in range(len(splits))]

    def __len__(self) -> int:
        return sum(len(images.paths) for images in self._splits)

    def split_of(self, index: int) -> str:
        return self._splits[self._place(index)].split

    def path(self, index: int) -> str:
        place = self._place(index)
        return self._splits[place].paths[index - self._starts[place]]

    def split_numbers(self) -> "NDArray[Any]":
        """The number of each image's split."""
        import numpy as np

        return np.repeat(np.arange(len(self._splits)), [len(images.paths) for images in self._splits])

    def rank(self, index: int) -> tuple[int, str]:
        """Of copies, the lowest stays."""
        return KEPT_IN.index(self.split_of(index)), self.path(index)

    def _place(self, index: int) -> int:
        return max(place for place, start in enumerate(self._starts) if start <= index)


def names_twice(every: Everything, splits: Sequence[Images]) -> Iterator[Finding]:
    """Names that stand for two images, and images that are named twice."""
    for group in repeated(_joined(images.keys() for images in splits)):
        yield from _same_path(every, group)
    for group in repeated(_joined(images.label_keys() for images in splits)):
        yield from _one_label(sorted({every.path(index) for index in group}))
    for group in repeated(_joined(images.folded_keys() for images in splits)):
        first, *others = sorted({every.path(index) for index in group})
        for other in others:
            yield Finding("name-collision", other, f"is {Path(first).name} where letters are not told apart")


def _joined(arrays: "Iterator[array[int]]") -> "array[int]":
    joined = array("q")
    for one in arrays:
        joined += one
    return joined


def _same_path(every: Everything, group: list[int]) -> Iterator[Finding]:
    path, splits = every.path(group[0]), sorted({every.split_of(index) for index in group})
    if len(splits) > 1:
        yield Finding("leak-file", path, f"is in {' and in '.join(splits)}", image=path)
    if len(splits) < len(group):
        yield Finding("image-twice", path, f"is named {len(group)} times", image=path)


def _one_label(paths: list[str]) -> Iterator[Finding]:
    for other in paths[1:]:
        message = f"has the label file of {Path(paths[0]).name}: {label_path(other)}"
        yield Finding("label-shared", other, message, image=other)


def copies(every: Everything, keys: "array[int]") -> Iterator[Finding]:
    """Files with the same bytes, found by their keys and then compared whole."""
    for group in repeated(keys):
        by_path = {every.path(index): index for index in group}
        by_content: dict[bytes, list[int]] = {}
        for path, index in by_path.items():
            by_content.setdefault(digest(path), []).append(index)
        for same in by_content.values():
            yield from _copies(every, sorted(same, key=every.rank))


def digest(path: str) -> bytes:
    """A hash of the whole file."""
    try:
        return blake2b(Path(path).read_bytes()).digest()
    except OSError:  # gone by now: a copy of nothing
        return path.encode(errors="surrogateescape")


def _copies(every: Everything, same: list[int]) -> Iterator[Finding]:
    kept, *others = same
    for other in others:
        path, first = every.path(other), every.path(kept)
        splits = every.split_of(other), every.split_of(kept)
        if splits[0] != splits[1]:
            yield Finding(
                "leak-copy", path, f"the {splits[0]} image is also {first} in {splits[1]}", image=path, other=first
            )
        else:
            yield Finding("image-copy", path, f"the same as {first}", image=path, other=first)
        if _boxes(first) != _boxes(path):
            message = f"the same image as {first}, with other labels"
            yield Finding("copy-labels", label_path(path), message, image=path, other=first)


def _boxes(image: str) -> tuple[list[tuple[float, ...]], bytes]:
    """What is said of an image; where rows cannot be read, only the same text says the same."""
    try:
        data = Path(label_path(image)).read_bytes()
    except OSError:
        data = b""
    labels = read_labels(data, 1)
    unread = any(trouble.kind in _UNREAD for trouble in labels.troubles)
    return sorted({row[1:] for row in labels.rows}), data if unread else b""
