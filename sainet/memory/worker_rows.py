"""What loading takes beside the queue: the workers, the images that they keep decoded, the batch that each makes.

Without workers all of it happens once, in the training process.
"""

import math

from sainet.memory.budget import Row
from sainet.memory.loader_rows import Amount, batch_words, row_of, train_workers, val_batches, val_workers
from sainet.memory.workload import Workload

__all__ = ["train_worker_rows", "val_worker_rows"]

WORKER_BYTES = 12_000_000
"""A forked worker's own pages, printed by benchmarks/memory/base_processes.py."""
_GROUP = 16
"""Images, about, that sainet's loader keeps decoded, among which mosaics are made (`sainet.engine.order`)."""
_STOCK_BATCHES, _STOCK_MOST = 8, 1000
"""Ultralytics keeps the images of so many batches, and at most so many images (`ultralytics/data/base.py`)."""
_CANVAS = 5
"""Images that a mosaic takes: its canvas of twice the sides, and what is cut out of it."""
_LARGEST_IN_HEAP = 32 * 1024**2
"""glibc gives larger blocks pages of their own, which go back at once (mallopt(3), `DEFAULT_MMAP_THRESHOLD_MAX`).
Smaller ones come to lie in the heap, which anything that lives longer keeps from shrinking. With
`MALLOC_MMAP_THRESHOLD_=1000000` in its environment a worker was seen to take no more than what is alive."""
_MIXUP = 19
"""Images of uint8 that a mixup takes for a moment: both of them, their products with a share in float64 (8 B each),
and the result (`ultralytics.data.augment.MixUp`)."""


def train_worker_rows(workload: Workload, *, busy: bool) -> list[Row]:
    """Of the training's loader; `busy` while batches are being made, otherwise what idle workers keep."""
    workers = train_workers(workload)
    rows = [*_processes(workload, "training workers", workers), *_decoded(workload, max(1, workers))]
    rows += _kept(workload, max(1, workers))
    return [*rows, _making(workload, stacked_at_once(workers))] if busy else rows


def val_worker_rows(workload: Workload, *, busy: bool) -> list[Row]:
    """Of validation's loader, whose workers keep no images from one batch to the next, so that the heap can shrink.

    But glibc shrinks it only by more than twice the largest block that it has given back.
    """
    workers, largest = val_workers(workload), max(val_batches(workload))
    rows = _processes(workload, "validation workers", workers)
    if largest <= _LARGEST_IN_HEAP and workers:
        amount = Amount(2 * workers * largest, f"{workers} workers x 2 x {largest} B, kept by the allocator")
    elif busy:
        at_once = stacked_at_once(workers) if workers else 2  # the samples too, where they are in the same process
        amount = Amount(at_once * largest, f"{at_once} x {largest} B")
    else:
        return rows
    return [*rows, row_of(workload, "validation batches being made", "anonymous", amount)]


def stacked_at_once(workers: int) -> int:
    """How many of a loader's workers have a batch stacked and not yet handed over, in the same moment.

    A full queue gives one worker at a time something to do, and of two and of four that fill one together no two were
    seen at it (loader_memory.py). That it is a quarter of more is assumed.
    """
    return max(1, math.ceil(workers / 4))


def _processes(workload: Workload, component: str, workers: int) -> list[Row]:
    if not workers:
        return []
    return [row_of(workload, component, "anonymous", Amount(workers * WORKER_BYTES, f"{workers} x {WORKER_BYTES} B"))]


def _decoded(workload: Workload, loaders: int) -> list[Row]:
    """Images kept decoded for mosaics; a RAM cache has them already."""
    if workload.cache == "ram":
        return []
    kept, size, note = _kept_images(workload), workload.image_bytes(), ""
    if workload.images is not None:
        size, note = round(workload.images.fitted_bytes(workload.shape)), " resized to fit"
    amount = Amount(loaders * kept * size, f"{_each(loaders)} x {kept} images x {size} B{note}")
    return [row_of(workload, "images kept for mosaics", "anonymous", amount)]


def _kept(workload: Workload, loaders: int) -> list[Row]:
    """What a batch was made in, which glibc does not give back."""
    image, each = workload.image_bytes(), _each(loaders)
    batch = workload.rank_batch * image
    kept = [("samples of a batch", batch, batch_words(workload))]
    if workload.mosaic:
        images = _MIXUP if _keeps_mixup(workload) else _CANVAS
        kept.append(("augmentation", images * image, f"{images} images x {image} B"))
    if batch <= _LARGEST_IN_HEAP:
        kept.append(("stacked batch", batch, batch_words(workload)))
    return [
        row_of(workload, component, "anonymous", Amount(loaders * size, f"{each} x {formula}, kept by the allocator"))
        for component, size, formula in kept
    ]


def _keeps_mixup(workload: Workload) -> bool:
    """Ultralytics' buffer takes an image in at any moment, also above what a mixup has in the heap."""
    return workload.engine == "stock" and workload.cache != "ram" and 8 * workload.image_bytes() <= _LARGEST_IN_HEAP


def _making(workload: Workload, at_once: int) -> Row:
    """What comes on top for a moment: a stacked batch that is not kept anyhow, or an image being augmented."""
    batch = workload.rank_batch * workload.image_bytes()
    augmented = workload.mosaic and not _keeps_mixup(workload)
    image = max(_decoded_bytes(workload), _MIXUP * workload.image_bytes() if augmented else 0)
    most, formula = image, f"{image} B while an image is augmented"
    if batch > max(image, _LARGEST_IN_HEAP):
        most, formula = batch, batch_words(workload)
    return row_of(workload, "batch being made", "anonymous", Amount(at_once * most, f"{at_once} at once x {formula}"))


def _kept_images(workload: Workload) -> int:
    images = workload.images.train if workload.images else None
    own = workload.engine == "sainet"
    most = _group(workload.batch) if own else min(_STOCK_BATCHES * workload.rank_batch, _STOCK_MOST)
    return most if images is None else min(most, images)


def _group(batch: int) -> int:
    """Images of the largest group, as `sainet.engine.order.group_bounds` cuts a batch into them."""
    span = batch * -(-_GROUP // batch)
    return -(-span // max(1, round(span / _GROUP)))


def _decoded_bytes(workload: Workload) -> int:
    """One image as it is in its file, before it is resized."""
    return round(workload.images.decoded_bytes) if workload.images else workload.image_bytes()


def _each(loaders: int) -> str:
    return "1 loader" if loaders <= 1 else f"{loaders} workers"
