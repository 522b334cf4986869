"""Which image comes when, and with which neighbours: a pure function of (seed, epoch), whoever loads them."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from sainet.engine.randomness import Purpose, stream

_GROUP = 16
"""Images that mosaics are composed of among themselves. A loader that keeps a group's images decoded decodes each
of them once; 16 of them at 1440x810 are 56 MB."""
_SMALLEST_GROUP = 8
"""The tail of an epoch borrows neighbours from before it rather than repeat itself."""


class Sample(NamedTuple):
    """One training sample: all that its pixels and boxes depend on, besides the run's seed and the data."""

    epoch: int
    image: int
    """Its index in the data set."""
    group: tuple[int, ...]
    """Indices of the images that may be its mosaic's partners; the same tuple for a whole group."""


@dataclass(frozen=True)
class EpochOrder:
    """The order of the samples of every epoch, for one process of `world_size`.

    `batch` counts the images of all processes. Batch number g is the same set of samples whatever `world_size` is;
    each process takes a contiguous part of it. An epoch's last batch may be smaller; where it cannot be divided,
    its first samples are repeated so that all processes do the same number of steps.
    """

    images: int
    batch: int
    seed: int
    rank: int = 0
    world_size: int = 1

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return -(-self.images // self.batch)

    def samples(self, epoch: int, number: int) -> list[Sample]:
        """This process's part of batch `number` (counted from 0) of `epoch`."""
        order = _permutation(self.seed, epoch, self.images)
        first = number * self.batch
        length = min(self.batch, self.images - first)
        share = -(-length // self.world_size)
        places = [first + place % length for place in range(self.rank * share, (self.rank + 1) * share)]
        return [Sample(epoch, order[place], self._group(epoch, place)) for place in places]

    def _group(self, epoch: int, place: int) -> tuple[int, ...]:
        start, stop = group_bounds(place, self.batch, self.images)
        return _slice(self.seed, epoch, self.images, start, stop)


def group_bounds(place: int, batch: int, images: int) -> tuple[int, int]:
    """The places [start, stop) of the group that `place` of an epoch's order belongs to.

    A batch is cut into equal groups of about 16, so that one worker needs no image of another's batch; smaller
    batches share a group with their neighbours.
    """
    span = batch * -(-_GROUP // batch)
    groups = max(1, round(span / _GROUP))
    base, inside = place // span * span, place % span
    which = inside * groups // span
    start, stop = base + -(-which * span // groups), base + -(-(which + 1) * span // groups)
    stop = min(stop, images)
    return max(0, min(start, stop - _SMALLEST_GROUP)), stop


@lru_cache(maxsize=2)  # the loader looks ahead into the next epoch
def _permutation(seed: int, epoch: int, images: int) -> tuple[int, ...]:
    return tuple(stream(seed, Purpose.ORDER, epoch).permutation(images).tolist())


@lru_cache(maxsize=64)
def _slice(seed: int, epoch: int, images: int, start: int, stop: int) -> tuple[int, ...]:
    return _permutation(seed, epoch, images)[start:stop]
