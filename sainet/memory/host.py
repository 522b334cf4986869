"""RAM and /dev/shm: what a stage holds in memory beside the GPU.

Pure functions of a `Workload`; the constants are measured by `benchmarks/memory/base_processes.py`, the whole is
compared with real loaders by `benchmarks/memory/loader_memory.py`. Building a RAM cache, training, and validating while
the training's queue stays full do not hold the same: the rows are those of the phase that needs most.
"""

from collections.abc import Sequence

from sainet.memory.budget import Row
from sainet.memory.loader_rows import (
    Amount,
    pinned,
    row_of,
    train_queue,
    train_workers,
    val_batches,
    val_queue,
    val_workers,
)
from sainet.memory.process_rows import cache_rows, caching_rows, plot_rows, process_rows, step_rows
from sainet.memory.trace_record import ModelFacts
from sainet.memory.worker_rows import train_worker_rows, val_worker_rows
from sainet.memory.workload import Workload

__all__ = ["ram_rows", "shm_rows"]

_PAGE = 4096


def ram_rows(workload: Workload, facts: ModelFacts | None, step_bytes: int | None) -> list[Row]:
    """RAM of all processes together at its peak, /dev/shm included, on this one machine.

    `step_bytes`: on a CPU the traced peak of the training step, the model's own tensors included; None where nobody
    has traced it. A row that needs what is not known has 0 bytes and says so.
    """
    always = [
        *process_rows(workload),
        *step_rows(workload, facts, step_bytes),
        *plot_rows(workload),
        *_staged(workload),
    ]
    phases = [caching_rows(workload), _training(workload), _validating(workload)]
    return [*always, *max(phases, key=_total)]


def shm_rows(workload: Workload) -> list[Row]:
    """What /dev/shm has to hold. With `pin_memory` batches leave it sooner, but what pins them may fall behind."""
    phases = [_queues(workload, train_queue(workload), _left_from_validation(workload))]
    phases.append(_queues(workload, _held_queue(workload), val_queue(workload)))
    return [*max(phases, key=_total), *_staged(workload)]


def _queues(workload: Workload, training: Amount, validation: Amount) -> list[Row]:
    rows = [row_of(workload, "training queue", "shm", training)]
    return [*rows, row_of(workload, "validation queue", "shm", validation)]


# --- the phases -------------------------------------------------------------------------------------------------------


def _training(workload: Workload) -> list[Row]:
    rows = [*cache_rows(workload), *_train_queue_rows(workload, train_queue(workload))]
    rows += train_worker_rows(workload, busy=True)
    if workload.engine == "stock":
        rows += val_worker_rows(workload, busy=False)
    if workload.val_loader.pin_memory and workload.gpus:  # which stays pinned after a validation
        return [*rows, *_val_queue_rows(workload, val_queue(workload))]
    return [*rows, *_val_queue_rows(workload, _left_from_validation(workload))]


def _validating(workload: Workload) -> list[Row]:
    """The training's workers are idle, and their queue is full, unless they end with every epoch."""
    kept_pinned = workload.loader.pin_memory and workload.gpus  # PyTorch keeps what it has pinned once
    held = train_queue(workload) if kept_pinned else _held_queue(workload)
    rows = [*cache_rows(workload), *_train_queue_rows(workload, held)]
    if _persistent(workload) or not train_workers(workload):
        rows += train_worker_rows(workload, busy=False)
    return [*rows, *_val_queue_rows(workload, val_queue(workload)), *val_worker_rows(workload, busy=True)]


def _persistent(workload: Workload) -> bool:
    return workload.engine == "stock" or workload.loader.persistent_workers


def _held_queue(workload: Workload) -> Amount:
    if not _persistent(workload):
        return Amount(0, "the training's workers end with the epoch")
    return train_queue(workload, used=0)


def _left_from_validation(workload: Workload) -> Amount:
    if workload.engine == "stock":
        return val_queue(workload, used=0)  # its workers live on, and load the next validation's first batches at once
    return Amount(0, "its workers end with each validation")


# --- the queues -------------------------------------------------------------------------------------------------------


def _train_queue_rows(workload: Workload, waiting: Amount) -> list[Row]:
    batch = workload.rank_batch * workload.image_bytes()
    here = not train_workers(workload)
    return _queue_rows(workload, "training queue", waiting, batch, pin=workload.loader.pin_memory, here=here)


def _val_queue_rows(workload: Workload, waiting: Amount) -> list[Row]:
    batch = max(val_batches(workload))
    here = not val_workers(workload)
    return _queue_rows(workload, "validation queue", waiting, batch, pin=workload.val_loader.pin_memory, here=here)


def _queue_rows(workload: Workload, component: str, waiting: Amount, batch: int, *, pin: bool, here: bool) -> list[Row]:
    """Pinned batches are in /dev/shm no more, but for the one that is being copied.

    `here`: without workers the training process makes each batch, and pins it too.
    """
    if pin and workload.gpus and here:
        made = Amount(batch, f"no workers: one batch of {batch} B")
        return [row_of(workload, component, "pinned", pinned(made, batch))]
    if not (pin and workload.gpus and waiting.bytes):
        return [row_of(workload, component, "shm", waiting)] if waiting.bytes else []
    copied = Amount(batch, f"one batch of {batch} B on its way through /dev/shm")
    return [
        row_of(workload, component, "pinned", pinned(waiting, batch)),
        row_of(workload, f"{component}, being pinned", "shm", copied),
    ]


def _staged(workload: Workload) -> list[Row]:
    """Files in /dev/shm take whole pages: a label one, and of an image's last one half is lost."""
    if not workload.staged:
        return []
    if workload.staged_bytes is not None:
        return [Row("staged data", workload.staged_bytes, "shm", "images and labels in whole pages, as counted")]
    if workload.images is None or workload.images.file_bytes is None:
        return [Row("staged data", 0, "shm", "how large the files are is not known")]
    size, total, lost = workload.images.file_bytes, workload.images.total, _PAGE + _PAGE // 2
    return [Row("staged data", size + total * lost, "shm", f"{size} B of images + {total} x {lost} B of pages")]


def _total(rows: Sequence[Row]) -> int:
    return sum(row.bytes for row in rows)
