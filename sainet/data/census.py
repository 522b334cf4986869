"""How many images a data set has, how large they are, and how much disk they take: what memory is planned from.

Only headers are read, and those of an even sample, so that a set of any size on a slow disk takes a moment.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

from sainet.data.check.picture import upright_size
from sainet.data.pool import in_threads
from sainet.data.source import DataSource, Paths
from sainet.geometry import Shape

__all__ = ["Census", "take_census"]


@dataclass(frozen=True)
class Census:
    """The images of a data set.

    - `train`, `val`: how many.
    - `sizes`: height and width as the training reads them, of an even sample over both splits; empty where none of
      those could be read.
    - `file_bytes`: of all images as they lie on the disk.
    - `extrapolated`: whether `file_bytes` was measured on an even part of the images only.
    """

    train: int
    val: int
    sizes: tuple[Shape, ...]
    file_bytes: int
    extrapolated: bool


def take_census(source: DataSource, *, sample: int = 256) -> Census:
    """Look at the images of `source`. Those that are gone or cannot be read are left out; raises nothing."""
    splits = (source.train_paths, source.val_paths)
    total = sum(split.count for split in splits)
    chosen = [path for split in splits for path in _evenly(split.named, math.ceil(sample * split.count / total))]
    return Census(
        train=source.train_images,
        val=source.val_images,
        sizes=tuple(size for size in in_threads(upright_size, chosen) if size is not None),
        file_bytes=sum(map(_file_bytes, splits)),
        extrapolated=any(len(split.named) < split.count for split in splits),
    )


def _evenly(paths: Sequence[str], count: int) -> list[str]:
    """At most `count` of `paths`, from the first to near the last."""
    count = min(count, len(paths))
    return [paths[index * len(paths) // count] for index in range(count)]


def _file_bytes(split: Paths) -> int:
    found = [size for size in in_threads(_bytes_of, split.named) if size is not None]
    if len(split.named) == split.count:
        return sum(found)
    return round(sum(found) / len(split.named) * split.count)


def _bytes_of(path: str) -> int | None:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - a Path for each costs more than the call
    except OSError:
        return None
