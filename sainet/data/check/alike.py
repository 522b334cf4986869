"""Images of two splits that show the same: that look alike, or that one camera took within half an hour."""

from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sainet.data.check.cameras import Cameras
from sainet.data.check.kinds import Finding
from sainet.data.check.paths import repeated
from sainet.data.check.places import Images
from sainet.data.check.twins import KEPT_IN, Everything, digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LOOK_BITS", "WINDOW_S", "alike", "same_camera", "set_bits", "telling"]

WINDOW_S = 30 * 60
LOOK_BITS = 2
"""Of 64, which two looks of one picture may differ in."""
_NEIGHBOURS = 4


def alike(every: Everything, looks: "array[int]", cameras: Cameras) -> Iterator[Finding]:
    """Images of two splits that look alike; where cameras are fixed, the camera and the time say it better."""
    import numpy as np

    values, splits = np.asarray(looks, dtype=np.uint64), every.split_numbers()
    values = np.where(telling(values), values, 0)
    best: dict[int, int] = {}
    for one, two in (*_equal(every, values), *_near(values, splits)):
        kept, other = sorted((one, two), key=every.rank)
        best.setdefault(other, kept)
    yield from _look_alikes(every, best, cameras)


def _equal(every: Everything, values: "NDArray[Any]") -> Iterator[tuple[int, int]]:
    """Images of one look, each with one of the split that stays."""
    for group in repeated(values):
        stays = min(group, key=every.rank)
        yield from ((index, stays) for index in group if every.split_of(index) != every.split_of(stays))


def _near(values: "NDArray[Any]", splits: "NDArray[Any]") -> Iterator[tuple[int, int]]:
    """Pairs of two splits whose looks differ in a few bits; 0 is no look.

    Such looks agree in one of their four quarters. Sorted with that one first they are near each other.
    """
    import numpy as np

    for shift in range(0, 64, 16):
        turned = values << np.uint64(shift) | values >> np.uint64(64 - shift) if shift else values
        order = np.argsort(turned, kind="stable")
        for distance in range(1, _NEIGHBOURS + 1):
            one, two = order[:-distance], order[distance:]
            differing = set_bits(values[one] ^ values[two])
            near = (differing <= LOOK_BITS) & (splits[one] != splits[two]) & (values[one] != 0) & (values[two] != 0)
            yield from zip(one[near].tolist(), two[near].tolist(), strict=True)


def telling(values: "NDArray[Any]") -> "NDArray[Any]":
    """A look of which some bits are set and some are not: a plain sky looks like any other."""
    bits = set_bits(values)
    within: NDArray[Any] = (bits >= 12) & (bits <= 52)
    return within


def set_bits(values: "NDArray[Any]") -> "NDArray[Any]":
    """How many bits of each are set."""
    import numpy as np

    counts: NDArray[Any] = np.unpackbits(values.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1, dtype=np.uint8)
    return counts


def _look_alikes(every: Everything, best: dict[int, int], cameras: Cameras) -> Iterator[Finding]:
    for other, kept in best.items():
        path, first = every.path(other), every.path(kept)
        if path == first or (cameras.shot(path) and cameras.shot(first)) or digest(path) == digest(first):
            continue
        yield Finding("leak-similar", path, f"looks like {first} in {every.split_of(kept)}", image=path)


class _Shot(NamedTuple):
    """A dated image: when it was taken, its split's place in the order, and its own in the split."""

    time_s: float
    place: int
    number: int


def same_camera(splits: Sequence[Images], cameras: Cameras) -> Iterator[Finding]:
    """Images of one camera in two splits that were taken within half an hour."""
    by_camera: dict[str, list[_Shot]] = {}
    for place, images in enumerate(splits):
        for index, path in enumerate(images.paths):
            if shot := cameras.shot(path):
                by_camera.setdefault(shot.camera, []).append(_Shot(shot.time_s, place, index))
    rank = [KEPT_IN.index(images.split) for images in splits]
    for shots in by_camera.values():
        for other, kept in _nearest(sorted(shots), rank).items():
            one, two = (splits[shot.place].paths[shot.number] for shot in (other, kept))
            message = f"{abs(other.time_s - kept.time_s) / 60:.0f} min from {two} in {splits[kept.place].split}"
            yield Finding("leak-camera", one, message, image=one)


def _nearest(shots: list[_Shot], rank: list[int]) -> dict[_Shot, _Shot]:
    """For each shot with one of a split that stays within the window, before it or behind it, the nearest such."""
    nearest: dict[_Shot, _Shot] = {}
    for order in (shots, shots[::-1]):
        last: dict[int, _Shot] = {}
        for shot in order:
            near = [kept for kept in last.values() if rank[kept.place] < rank[shot.place]]
            near += [nearest[shot]] if shot in nearest else []
            kept = min(near, key=lambda kept: abs(kept.time_s - shot.time_s), default=None)
            if kept is not None and abs(kept.time_s - shot.time_s) <= WINDOW_S:
                nearest[shot] = kept
            last[shot.place] = shot
    return nearest
