"""What an order changes in a training that is running, between two of its batches."""

from typing import Any

import torch

from sainet.engine.giving_back import empty_pinned_cache, trim_malloc
from sainet.errors import RefusedError
from sainet.protocol import Orders

__all__ = ["Changes", "obey"]

Changes = dict[str, tuple[int | bool, int | bool]]
"""Setting -> (before, after), of those that changed."""

_TRAINING = ("workers", "prefetch_factor", "pin_memory")
_VALIDATION = {"val_workers": "workers", "val_prefetch_factor": "prefetch_factor"}


def obey(training: Any, order: Orders) -> Changes:
    """Do what `order` asks of an `ExactTraining`, but for its `checkpoint` and `stop`; returns what has changed.

    Nothing of it changes a sample, so the weights come out as without the order; only `micro_batch` rounds otherwise,
    and takes BatchNorm's statistics from other pieces. Besides the settings' own names there are `cache`, from True to
    False; `restarted_workers`, as many after as before; `reserved_bytes`, of VRAM.
    """
    changes = {**_tune(training, order), **_drop_cache(training, order), **_restart(training, order)}
    if changes:  # the workers have ended, with all that they held
        trim_malloc()
        empty_pinned_cache(training.device)
    return {**changes, **_cut(training, order), **_release_vram(training.device, order)}


def _tune(training: Any, order: Orders) -> Changes:
    """The loaders' settings: training's for the next batch, validation's for the next pass."""
    own = {name: value for name in _TRAINING if (value := getattr(order, name)) is not None}
    val = {setting: value for name, setting in _VALIDATION.items() if (value := getattr(order, name)) is not None}
    changed = training.test_loader.change(**val)
    return {**training.train_loader.change(**own), **{f"val_{name}": values for name, values in changed.items()}}


def _drop_cache(training: Any, order: Orders) -> Changes:
    """Workers have the cache too, as long as they live."""
    if not order.drop_cache:
        return {}
    dropped = [loader.dataset.drop_cache() for loader in (training.train_loader, training.test_loader)]
    if not any(dropped):
        return {}
    training.train_loader.close()
    return {"cache": (True, False)}


def _restart(training: Any, order: Orders) -> Changes:
    if not order.restart_workers:
        return {}
    training.train_loader.close()  # the next batch starts them; validation's never outlive a validation
    workers = training.train_loader.num_workers
    return {"restarted_workers": (workers, workers)}


def _cut(training: Any, order: Orders) -> Changes:
    before = training.pieces
    if order.micro_batch in {None, before}:
        return {}
    try:
        training.cut_batches(order.micro_batch)
    except RefusedError as error:  # the training goes on as it is, in as much memory as it takes
        training.reporter.warn(f"order {order.number}: {error.message}")
        return {}
    return {"micro_batch": (before, training.pieces)}


def _release_vram(device: Any, order: Orders) -> Changes:
    """Blocks of CUDA's caching allocator without any tensor in them. There are none on a CPU, and nothing is told."""
    if not order.release_vram or device.type != "cuda":
        return {}
    before = torch.cuda.memory_reserved(device)
    torch.cuda.empty_cache()
    return {"reserved_bytes": (before, torch.cuda.memory_reserved(device))}
