"""Where labels lie; many paths in little memory; finding those of many numbers that are there more than once."""

import os
import sys
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PathList", "label_path", "path_key", "repeated"]

_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
"""As `os.fsdecode` has them, which asks again each time."""
_IMAGES, _LABELS = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"


class PathList:
    """Paths in the order in which they were added; some 30 bytes each, where a list of `str` takes 150."""

    def __init__(self) -> None:
        self._folders: list[str] = []
        self._folder_of = array("I")
        self._names = bytearray()
        self._ends = array("Q", [0])

    def add(self, folder: str, name: str) -> None:
        """Append the path of `name` in `folder`. Quick where it is the folder of the one before."""
        if not self._folders or self._folders[-1] != folder:
            self._folders.append(folder)
        self._folder_of.append(len(self._folders) - 1)
        self._names += os.fsencode(name)
        self._ends.append(len(self._names))

    def __len__(self) -> int:
        return len(self._folder_of)

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(index)
        name = self._names[self._ends[index] : self._ends[index + 1]].decode(_ENCODING, _ERRORS)
        folder = self._folders[self._folder_of[index]]
        return f"{folder}/{name}" if folder else name

    def __iter__(self) -> Iterator[str]:
        start = 0
        for number, end in zip(self._folder_of, islice(self._ends, 1, None), strict=True):
            name = self._names[start:end].decode(_ENCODING, _ERRORS)
            folder = self._folders[number]
            yield f"{folder}/{name}" if folder else name
            start = end


def label_path(image: str) -> str:
    """The label file of an image, as Ultralytics derives it: by the last `images` folder and the suffix."""
    return _LABELS.join(image.rsplit(_IMAGES, 1)).rpartition(".")[0] + ".txt"


def path_key(path: str) -> int:
    """A number for a path: equal for equal ones, within this process."""
    return hash(path)


def repeated(keys: "Sequence[int] | NDArray[Any]") -> Iterator[list[int]]:
    """The places of each key that is there more than once, 0 excepted, in their order."""
    import numpy as np

    values = np.asarray(keys)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    edges = np.flatnonzero(np.diff(ordered)) + 1
    for start, end in zip(np.r_[0, edges], np.r_[edges, len(ordered)], strict=True):
        if end - start > 1 and ordered[start] != 0:
            yield order[start:end].tolist()
