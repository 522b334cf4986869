"""The nearest settings that fit: searched for with the same budget that refused, never guessed.

What changes the training least goes first: the cache, then how far ahead is loaded, then the number of workers, then
micro-batches (the same gradient), and last the batch.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from sainet.memory.budget import Resource
from sainet.memory.forecast import Forecaster
from sainet.memory.limits import Limits
from sainet.memory.workload import Workload

__all__ = ["changes", "nearest"]

_HOST: tuple[Resource, ...] = ("ram", "shm")


def nearest(workload: Workload, forecaster: Forecaster, limits: Limits, *, batch_only: bool = False) -> Workload | None:
    """The workload with the fewest and mildest changes that fits every limit; None where nothing does.

    `batch_only` leaves micro-batches out, for who wants the batch that fits as it is.
    """

    def fits(candidate: Workload, *names: Resource) -> bool:
        too_large = forecaster(candidate).too_large(limits)
        return not any(name in too_large for name in names or limits)

    mended = _mend_cache(workload, fits)
    if not fits(mended, "vram"):
        mended = _mend_device(mended, forecaster, limits, fits, batch_only=batch_only)
    if not fits(mended, *_HOST):
        mended = _mend_loader(mended, fits)
    return mended if fits(mended) else None


Fits = Callable[..., bool]


def _mend_cache(workload: Workload, fits: Fits) -> Workload:
    """A RAM cache becomes one on disk where that fits, else none."""
    if workload.cache == "ram" and not fits(workload, "ram"):
        workload = replace(workload, cache="disk")
    if workload.cache == "disk" and not fits(workload, "disk"):
        workload = replace(workload, cache=False)
    return workload


def _mend_device(
    workload: Workload, forecaster: Forecaster, limits: Limits, fits: Fits, *, batch_only: bool
) -> Workload:
    """The fewest micro-batches that fit, validation's too; else the largest batch."""
    model, free = forecaster.model, limits["vram"].free_bytes
    if model is None or free is None:
        return workload
    if workload.engine == "sainet" and model.facts.adds_up and not batch_only:
        most = max(workload.micro_batch, workload.rank_batch)  # one image at a time, and two of validation
        if fits(single := replace(workload, micro_batch=most), "vram"):
            fewer = (replace(workload, micro_batch=count) for count in range(workload.micro_batch, most))
            return next((candidate for candidate in fewer if fits(candidate, "vram")), single)
    batch = min(workload.batch, forecaster.largest_batch(workload, free, most=workload.piece_images))
    return replace(workload, batch=batch) if batch else workload


def _mend_loader(workload: Workload, fits: Fits) -> Workload:
    """Less loaded ahead, then fewer workers, then a smaller batch, until RAM and /dev/shm hold it."""
    leanest = workload
    for leanest in _leaner(workload):
        if fits(leanest, *_HOST):
            return leanest
    for batch in range(leanest.batch - leanest.ranks, 0, -leanest.ranks):
        if fits(candidate := replace(leanest, batch=batch), *_HOST):
            return candidate
    return leanest


def _leaner(workload: Workload) -> Iterator[Workload]:
    if workload.engine == "stock":  # its prefetch cannot be set
        for workers in range(workload.loader.workers - 1, -1, -1):
            yield _with_workers(workload, workers)
        return
    for ahead in range(workload.loader.prefetch_factor - 1, 0, -1):
        yield workload.with_loader(prefetch_factor=ahead)
    for workers in range(workload.loader.workers - 1, -1, -1):
        yield _with_workers(workload.with_loader(prefetch_factor=1), workers)


def _with_workers(workload: Workload, workers: int) -> Workload:
    """Validation's workers follow the training's as they would if nothing else were said."""
    val_workers = 2 * workers if workload.engine == "stock" else min(workload.val_loader.workers, -(-workers // 2))
    return replace(
        workload.with_loader(workers=workers),
        val_loader=workload.val_loader.model_copy(update={"workers": val_workers}),
    )


def changes(before: Workload, after: Workload) -> list[str]:
    """The flags that make one of the other."""
    flags = []
    if after.cache != before.cache:
        flags.append(f"--cache {after.cache or 'false'}")
    if after.loader.prefetch_factor != before.loader.prefetch_factor:
        flags.append(f"--set loader.prefetch_factor={after.loader.prefetch_factor}")
    if after.loader.workers != before.loader.workers:
        flags.append(f"--workers {after.loader.workers}")
    if after.val_loader.workers != before.val_loader.workers and after.engine == "sainet":
        flags.append(f"--set loader.val.workers={after.val_loader.workers}")
    if after.micro_batch != before.micro_batch:
        flags.append(f"--set train.micro_batch={after.micro_batch}")
    if after.batch != before.batch:
        flags.append(f"--batch {after.batch}")
    return flags
