"""New splits, no scene in two of them: copies, images that look alike, one camera within half an hour."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import combinations
from typing import TYPE_CHECKING, Any

from sainet.data.check.alike import LOOK_BITS, WINDOW_S, set_bits, telling

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Scenes", "assign"]

_QUARTERS = (0, 16, 32, 48)


class Scenes:
    """Images, by their numbers from 0, in groups that must stay together."""

    def __init__(self, images: int) -> None:
        self._above = list(range(images))

    def join_copies(self, keys: Sequence[int]) -> None:
        """Images with one `Picture.key`."""
        first: dict[int, int] = {}
        for image, key in enumerate(keys):
            if key:
                self._join(first.setdefault(key, image), image)

    def join_alike(self, looks: Sequence[int], dated: Sequence[bool]) -> None:
        """Images whose `Picture.look` is nearly the same, unless both are `dated`: their times say it better.

        Finds every pair that `sainet data check` may find, whichever of the images are left in the end.
        """
        import numpy as np

        if all(dated):
            return
        tell = telling(np.asarray(looks, dtype=np.uint64)).tolist()
        by_look: dict[int, list[int]] = {}
        for image, look in enumerate(looks):
            if tell[image]:
                by_look.setdefault(look, []).append(image)
        for images in by_look.values():
            self._tie(images, images, dated)
        for one, other in _near(np.array(sorted(by_look), dtype=np.uint64)):
            self._tie(by_look[one], by_look[other], dated)
            self._tie(by_look[other], by_look[one], dated)

    def join_shots(self, shots: Iterable[tuple[str, float, int]]) -> None:
        """(camera, time in seconds, image): each with the next of its camera within half an hour, and so on."""
        last: dict[str, tuple[float, int]] = {}
        for camera, time_s, image in sorted(shots):
            before = last.get(camera)
            if before is not None and time_s - before[0] <= WINDOW_S:
                self._join(before[1], image)
            last[camera] = (time_s, image)

    def groups(self) -> list[list[int]]:
        by_first: dict[int, list[int]] = {}
        for image in range(len(self._above)):
            by_first.setdefault(self._first(image), []).append(image)
        return list(by_first.values())

    def _tie(self, some: Sequence[int], others: Sequence[int], dated: Sequence[bool]) -> None:
        """Each of `some` that is not dated with all `others`; one will do, since those of one look are together."""
        undated = next((image for image in some if not dated[image]), None)
        if undated is not None:
            for image in others:
                self._join(undated, image)

    def _join(self, one: int, other: int) -> None:
        first, second = sorted((self._first(one), self._first(other)))
        self._above[second] = first

    def _first(self, image: int) -> int:
        while self._above[image] != image:
            self._above[image] = image = self._above[self._above[image]]
        return image


def _near(values: "NDArray[Any]") -> Iterator[tuple[int, int]]:
    """Pairs of different values that differ in `LOOK_BITS` (2) bits at most: two of their four quarters are equal."""
    import numpy as np

    for kept in combinations(_QUARTERS, 2):
        one, two = (values >> np.uint64(shift) & np.uint64(0xFFFF) for shift in kept)
        keys = one << np.uint64(16) | two
        order = np.argsort(keys, kind="stable")
        ordered, distance = keys[order], 1
        while distance < len(order) and (same := ordered[distance:] == ordered[:-distance]).any():
            left, right = values[order[:-distance][same]], values[order[distance:][same]]
            near = set_bits(left ^ right) <= LOOK_BITS
            yield from zip(left[near].tolist(), right[near].tolist(), strict=True)
            distance += 1


def assign(groups: Sequence[Sequence[int]], shares: Mapping[str, float], name: Callable[[int], str]) -> dict[int, str]:
    """A split for each image, whole groups together, with about these shares of the images.

    The largest groups first, each to the split that lacks most; groups of one size in an order that their names give.
    """
    total = sum(map(len, groups))
    have = dict.fromkeys(shares, 0)
    splits: dict[int, str] = {}
    for group in sorted(groups, key=lambda group: (-len(group), _number(min(map(name, group))))):
        split = max(shares, key=lambda split: shares[split] * total - have[split])
        have[split] += len(group)
        splits.update(dict.fromkeys(group, split))
    return splits


def _number(name: str) -> bytes:
    return blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()
