"""Names in the new set: as published, but that no two images of a split share a label file."""

from array import array
from collections.abc import Callable, Sequence

from sainet.data.check.paths import repeated
from sainet.data.check.places import folded

__all__ = ["renamed"]


def renamed(indices: Sequence[int], split: Callable[[int], str], name: Callable[[int], str]) -> dict[int, str]:
    """New names for the images whose own would collide in their split: `a.jpg` becomes `a_2.jpg`.

    Names collide when they differ in the suffix only, or where a file system does not tell letters apart. The first in
    the order of `indices` keeps its name.
    """
    keys = array("q", (_key(split(index), name(index)) for index in indices))
    twice = list(repeated(keys))
    taken = set(keys) if twice else set[int]()
    new: dict[int, str] = {}
    for group in twice:
        for place in group[1:]:
            index = indices[place]
            new[index] = _free(name(index), split(index), taken)
    return new


def _free(name: str, split: str, taken: set[int]) -> str:
    stem, _, suffix = name.rpartition(".")
    number = 2
    while (key := _key(split, candidate := f"{stem}_{number}.{suffix}")) in taken:
        number += 1
    taken.add(key)
    return candidate


def _key(split: str, name: str) -> int:
    return hash((split, folded(name.rpartition(".")[0])))
