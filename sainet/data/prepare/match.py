"""Files found by a part of their names: annotations often name images under other folders than theirs."""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable

from sainet.data.prepare.splits import split_of
from sainet.data.prepare.tree import Tree

__all__ = ["Named", "base_of", "stem_of"]


def base_of(name: str) -> str:
    return name.rpartition("/")[2]


def stem_of(name: str) -> str:
    base = base_of(name)
    return base.rpartition(".")[0] or base


class Named:
    """Some files of a tree by a key that is made from their names, which not every file has to itself.

    16 bytes a file: numbers are kept in the place of the keys, and the names are compared.
    """

    def __init__(self, tree: Tree, indices: Iterable[int], key: Callable[[str], str]) -> None:
        import numpy as np

        self._tree, self._key = tree, key
        files = np.fromiter(indices, dtype=np.int64)
        numbers = np.fromiter((hash(key(tree.name(index))) for index in files.tolist()), np.int64, len(files))
        order = np.argsort(numbers, kind="stable")
        self._numbers = array("q", numbers[order].tobytes())
        self._files = array("q", files[order].tobytes())

    def __len__(self) -> int:
        return len(self._files)

    def all(self, key: str) -> list[int]:
        """The files that have this key, in the order of the tree."""
        number, found = hash(key), list[int]()
        place = bisect_left(self._numbers, number)
        while place < len(self._numbers) and self._numbers[place] == number:
            if self._key(self._tree.name(self._files[place])) == key:
                found.append(self._files[place])
            place += 1
        return found

    def best(self, key: str, wanted: str, beside: str, split: str | None) -> int | None:
        """Of the files that have this key the one that is meant, most likely.

        The reasons, strongest first: its name is that of `wanted`; its path ends as `wanted` does; it lies in a folder
        of that split; it lies near the file `beside`.
        """
        found = self.all(key)
        if len(found) < 2:
            return found[0] if found else None
        names = {index: self._tree.name(index) for index in found}
        return max(found, key=lambda index: _fit(names[index], wanted, beside, split))


def _fit(name: str, wanted: str, beside: str, split: str | None) -> tuple[bool, bool, bool, int]:
    ends = f"/{name}".endswith(f"/{wanted}")
    return base_of(name) == base_of(wanted), ends, split_of(name, folders_only=True) == split, _shared(name, beside)


def _shared(one: str, other: str) -> int:
    """How many folders from the top on two files share."""
    count = 0
    for left, right in zip(one.split("/")[:-1], other.split("/")[:-1], strict=False):
        if left != right:
            break
        count += 1
    return count
