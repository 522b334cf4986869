"""Images of two splits that show the same: that look alike, or that one camera took within half an hour."""

import re
from array import array
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sainet.data.check.kinds import Finding
from sainet.data.check.places import Images
from sainet.data.check.twins import KEPT_IN, Everything, digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["alike", "same_camera"]

_DATED = re.compile(r"(?P<camera>.+?)[_-](?P<date>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)")
_WINDOW_S = 30 * 60
_BITS = 2
"""Of 64, which two looks of one picture may differ in."""
_NEIGHBOURS = 4


def alike(every: Everything, looks: "array[int]") -> Iterator[Finding]:
    """Images of two splits that look alike; where cameras are fixed, the camera and the time say it better."""
    import numpy as np

    values, splits = np.asarray(looks, dtype=np.uint64), every.split_numbers()
    telling, best = _telling(values), dict[int, int]()
    for shift in range(0, 64, 16):
        # Two looks of few differing bits agree in one of four quarters, which leads here: they are near each other.
        turned = values << np.uint64(shift) | values >> np.uint64((64 - shift) % 64)
        order = np.argsort(turned if shift else values, kind="stable")
        for distance in range(1, _NEIGHBOURS + 1):
            one, two = order[:-distance], order[distance:]
            differing = _set_bits(values[one] ^ values[two])
            near = (differing <= _BITS) & (splits[one] != splits[two]) & telling[one] & telling[two]
            for pair in zip(one[near].tolist(), two[near].tolist(), strict=True):
                kept, other = sorted(pair, key=every.rank)
                best.setdefault(other, kept)
    yield from _look_alikes(every, best)


def _telling(values: "NDArray[Any]") -> "NDArray[Any]":
    """A look of which some bits are set and some are not: a plain sky looks like any other."""
    bits = _set_bits(values)
    within: NDArray[Any] = (bits >= 12) & (bits <= 52)
    return within


def _set_bits(values: "NDArray[Any]") -> "NDArray[Any]":
    """How many bits of each are set."""
    import numpy as np

    counts: NDArray[Any] = np.unpackbits(values.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1, dtype=np.uint8)
    return counts


def _look_alikes(every: Everything, best: dict[int, int]) -> Iterator[Finding]:
    for other, kept in best.items():
        path, first = every.path(other), every.path(kept)
        if path == first or (_dated(path) and _dated(first)) or digest(path) == digest(first):
            continue
        yield Finding("leak-similar", path, f"looks like {first} in {every.split_of(kept)}", image=path)


def same_camera(splits: Sequence[Images]) -> Iterator[Finding]:
    """Images of one camera in two splits that were taken within half an hour, by their names."""
    by_camera: dict[str, list[tuple[float, int, int]]] = {}
    for place, images in enumerate(splits):
        for index, path in enumerate(images.paths):
            if dated := _dated(path):
                by_camera.setdefault(dated[0], []).append((dated[1], place, index))
    rank = [KEPT_IN.index(images.split) for images in splits]
    for taken in by_camera.values():
        taken.sort()
        for (time_s, place, index), (later_s, next_place, next_index) in pairwise(taken):
            if place != next_place and later_s - time_s <= _WINDOW_S:
                one, two = splits[place].paths[index], splits[next_place].paths[next_index]
                other, kept, where = (one, two, next_place) if rank[place] > rank[next_place] else (two, one, place)
                message = f"{(later_s - time_s) / 60:.0f} min from {kept} in {splits[where].split}"
                yield Finding("leak-camera", other, message, image=other)


def _dated(path: str) -> tuple[str, float] | None:
    """The camera and the time of an image, in seconds, where its name has both."""
    match = _DATED.match(path.rpartition("/")[2])
    seconds = _seconds(match["date"]) if match else None
    return (match["camera"], seconds) if match and seconds is not None else None


def _seconds(date: str) -> float | None:
    try:
        return datetime.strptime(date, "%Y-%m-%dT%H-%M-%S").timestamp()
    except ValueError:  # a thirteenth month
        return None
