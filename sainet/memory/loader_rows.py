"""How many bytes a loader's batches take: those that wait to be used, and those that are being made.

A batch is uint8, 3 x H x W for each image. Workers hand it over in /dev/shm; with `pin_memory` a thread of the training
process copies it into page-locked memory at once, where it waits instead.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from sainet.geometry import Shape
from sainet.memory.budget import Row, Where
from sainet.memory.workload import Workload
from sainet.protocol import LoaderPlan

__all__ = [
    "Amount",
    "batch_words",
    "pinned",
    "row_of",
    "train_queue",
    "train_workers",
    "val_batches",
    "val_queue",
    "val_workers",
    "validated_images",
]

STRIDE = 32
"""Of YOLO's coarsest grid: the sides of a batch are multiples of it."""
_VAL_PAD = 0.5
"""Ultralytics pads each rectangle of validation by half a stride before it rounds up (`ultralytics/data/build.py`)."""


class Amount(NamedTuple):
    """Bytes, and the formula that they come from with its numbers filled in."""

    bytes: int
    formula: str


# --- how many wait ----------------------------------------------------------------------------------------------------


def train_workers(workload: Workload) -> int:
    """Workers of the training's loader in one process."""
    if workload.engine == "sainet" or workload.images is None:
        return workload.loader.workers
    return _stock_workers(workload.loader, -(-workload.images.train // workload.batch))


def val_workers(workload: Workload) -> int:
    """Workers of validation's loader in one process."""
    if workload.engine == "sainet" or not _validates_known(workload):
        return workload.val_loader.workers
    return _stock_workers(workload.val_loader, len(val_batches(workload)))


def _validates_known(workload: Workload) -> bool:
    return workload.images is not None and workload.images.val > 0


def _stock_workers(plan: LoaderPlan, batches: int) -> int:
    """Ultralytics starts no more workers than there are batches, and none for one (`ultralytics/data/build.py`)."""
    return min(plan.workers, 0 if batches <= 1 else batches)


def train_queue(workload: Workload, *, used: int = 1) -> Amount:
    """Batches that the training's workers have loaded ahead, and `used` more in the hands of the training."""
    workers, ahead = train_workers(workload), workload.loader.prefetch_factor
    if not workers:
        return Amount(0, "no workers: the batch is made in the training process")
    images = (workers * ahead + used) * workload.rank_batch
    formula = f"({workers} workers x {ahead} ahead + {used}) x {batch_words(workload)}"
    if (most := _most_images(workload)) is not None and most < images:
        images, formula = most, f"all {most} images x 3 x {sides(workload.shape)} B"
    return Amount(images * workload.image_bytes(), formula)


def val_queue(workload: Workload, *, used: int = 1) -> Amount:
    """The same of validation; the largest batches that come one after the other."""
    workers, ahead = val_workers(workload), workload.val_loader.prefetch_factor
    if not workers:
        return Amount(0, "no workers: the batch is made in the training process")
    sizes, count = val_batches(workload), workers * ahead + used
    endless = workload.engine == "stock" or not _validates_known(workload)  # its sampler starts again at once
    size = _largest_run(sizes, count, endless=endless)
    formula = f"({workers} workers x {ahead} ahead + {used}) x {_val_batch(workload)}"
    return Amount(size, formula if endless or count <= len(sizes) else f"all {len(sizes)} batches of validation")


def pinned(waiting: Amount, batch_bytes: int) -> Amount:
    """The same batches in page-locked memory, of which PyTorch takes powers of two."""
    if not batch_bytes:
        return waiting
    rounded = 1 << (batch_bytes - 1).bit_length()
    count = -(-waiting.bytes // batch_bytes)
    return Amount(count * rounded, f"{waiting.formula}, each batch rounded up to {rounded} B")


# --- validation's batches ---------------------------------------------------------------------------------------------


def val_batches(workload: Workload) -> Sequence[int]:
    """Bytes of each batch of one validation of one process; of a single full one where the images are not known."""
    return [images * image_bytes for images, image_bytes in _val_batches(workload)]


def _val_batches(workload: Workload) -> Sequence[tuple[int, int]]:
    """Images of each batch, and bytes of each of its images.

    Squares are validated as Ultralytics does it, sorted by aspect and each batch in the rectangle that its images need
    with half a stride around; a true rectangle stays as it is.
    """
    height, width = workload.shape
    images = workload.images
    if images is None or not images.val:
        return [(workload.val_batch, workload.image_bytes() if height != width else 3 * _padded(1.0, height) ** 2)]
    count = -(-images.val // workload.ranks)
    parts = [(start, min(workload.val_batch, count - start)) for start in range(0, count, workload.val_batch)]
    if height != width:
        return [(length, workload.image_bytes()) for _, length in parts]
    aspects = _aspects(tuple(images.sizes))
    ends = [(_aspect(aspects, start, count), _aspect(aspects, start + length - 1, count)) for start, length in parts]
    shapes = [_rectangle(flattest, tallest, height) for flattest, tallest in ends]
    return [(length, 3 * tall * wide) for (_, length), (tall, wide) in zip(parts, shapes, strict=True)]


def validated_images(workload: Workload) -> int:
    """The most that one process validates at once, in images of the training's shape: as many pixels, rounded up.

    Of a batch as the loader hands it over it computes one piece after the other, as in training.
    """
    pieces = (-(-images // workload.micro_batch) * image_bytes for images, image_bytes in _val_batches(workload))
    return -(-max(pieces) // workload.image_bytes())


@lru_cache(maxsize=4)
def _aspects(sizes: Sequence[Shape]) -> Sequence[float]:
    """Height / width of each, sorted; a square where nobody knows."""
    return sorted(height / width for height, width in sizes) or [1.0]


def _aspect(aspects: Sequence[float], place: int, count: int) -> float:
    """Of image number `place` of `count`, of which `aspects` are an even sample, both sorted."""
    return aspects[place * len(aspects) // count]


def _rectangle(flattest: float, tallest: float, side: int) -> Shape:
    """The shape of a batch with aspects (height / width) from `flattest` to `tallest`, as Ultralytics'
    `BaseDataset.set_rectangle` has it."""
    if tallest < 1:
        return _padded(tallest, side), _padded(1.0, side)
    if flattest > 1:
        return _padded(1.0, side), _padded(1 / flattest, side)
    return _padded(1.0, side), _padded(1.0, side)


def _padded(share: float, side: int) -> int:
    return math.ceil(share * side / STRIDE + _VAL_PAD) * STRIDE


def _largest_run(sizes: Sequence[int], count: int, *, endless: bool) -> int:
    """The most bytes of `count` batches in a row, over the end and on from the start where there is no end."""
    if endless:
        sizes = [*sizes] * (2 + count // len(sizes))
    sums = [0]
    for size in sizes:
        sums.append(sums[-1] + size)
    count = min(count, len(sizes))
    return max(sums[end] - sums[end - count] for end in range(count, len(sums)))


# --- words and numbers of one batch -----------------------------------------------------------------------------------


def _most_images(workload: Workload) -> int | None:
    """The images of all the epochs that the workers may look ahead into; None where there is no end, or none known."""
    if workload.images is None or workload.engine == "stock":
        return None
    epochs = workload.epochs if workload.loader.persistent_workers else 1
    return -(-workload.images.train // workload.ranks) * epochs


def batch_words(workload: Workload) -> str:
    """One batch of the training in numbers."""
    return f"{workload.rank_batch} images x 3 x {sides(workload.shape)} B"


def _val_batch(workload: Workload) -> str:
    size = max(val_batches(workload))
    return f"{workload.val_batch} images of at most {size / workload.val_batch:.0f} B"


def sides(shape: Shape) -> str:
    return f"{shape[0]} x {shape[1]}"


def row_of(workload: Workload, component: str, where: Where, amount: Amount) -> Row:
    """`amount` of each training process, for all of them."""
    ranks = workload.ranks
    return Row(
        component, ranks * amount.bytes, where, f"{ranks} GPUs x ({amount.formula})" if ranks > 1 else amount.formula
    )
