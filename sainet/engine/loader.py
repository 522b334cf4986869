"""The loaders that the profile describes, which can be re-tuned before any batch without changing what they deliver."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from sainet.engine.lifeline import finishing
from sainet.engine.loader_worker import Abandonable, explain_failure, from_worker, new_flag, start_worker
from sainet.engine.order import EpochOrder, Sample
from sainet.errors import DataError
from sainet.protocol import LoaderPlan

Batch = dict[str, Any]
"""What Ultralytics' collate makes: `img` (B, 3, H, W) uint8, `cls`, `bboxes`, `batch_idx`, `im_file`, ..."""


Changed = dict[str, tuple[int | bool, int | bool]]
"""Setting -> (before, after)."""


class _Stream:
    """One PyTorch loader and its workers, from the first batch asked for to the end of `keys`."""

    def __init__(self, dataset: Any, keys: "Sampler[list[Any]]", plan: LoaderPlan, split: str) -> None:
        self.plan, self.split = plan, split
        self._batches: Any = None
        self._ended: list[Any] = []
        try:
            self._start(dataset, keys)
        except OSError as error:  # the flag and PyTorch's queues take semaphores, which lie in /dev/shm
            if (told := self.explain(error)) is error:
                raise
            raise told from error

    def _start(self, dataset: Any, keys: "Sampler[list[Any]]") -> None:
        plan, self._abandoned = self.plan, new_flag()
        loader: DataLoader[Any] = DataLoader(
            Abandonable(dataset, self._abandoned) if plan.workers else dataset,
            batch_sampler=keys,
            num_workers=plan.workers,
            prefetch_factor=plan.prefetch_factor if plan.workers else None,
            pin_memory=plan.pin_memory,
            timeout=plan.timeout_s if plan.workers else 0,
            collate_fn=dataset.collate_fn,
            worker_init_fn=start_worker,
            # Forked workers share the labels and a RAM cache; they never touch CUDA.
            multiprocessing_context="fork" if plan.workers else None,
            generator=torch.Generator(),  # else each iterator would draw from the training's own stream
        )
        self._batches = iter(loader)
        for worker in self._workers:
            worker.terminate = worker.kill  # PyTorch's last resort; they do not listen to SIGTERM

    def __next__(self) -> Batch:
        # Waiting for workers may take for ever, so SIGTERM has to be heard. Without them the batch is made here, where
        # a sample's random streams must not be left behind in the place of the training's own.
        try:
            with nullcontext() if self.plan.workers else finishing():
                batch: Batch = next(self._batches)
        except DataError as error:
            raise from_worker(error) from None
        return batch

    def explain(self, error: Exception) -> Exception:
        return explain_failure(error, self._workers, self.plan, self.split)

    def close(self) -> None:
        """End the workers; what they have ready is dropped, and what came out of turn and waits here too."""
        self._abandoned.set()
        workers = self._workers
        if workers:
            self._batches._shutdown_workers()
        self._ended, self._batches = workers, None

    @property
    def _workers(self) -> list[Any]:
        """Also once they have ended, and can tell why."""
        return self._ended if self._batches is None else list(getattr(self._batches, "_workers", []))


class _Keys(Sampler[list[Sample]]):
    """The batches of an epoch from `number` on and, where workers persist, of all epochs behind it."""

    def __init__(self, order: EpochOrder, epoch: int, number: int, epochs: int) -> None:
        self.order, self.epoch, self.number, self.epochs = order, epoch, number, epochs

    def __iter__(self) -> Iterator[list[Sample]]:
        first = self.number
        for epoch in range(self.epoch, self.epochs):
            for number in range(first, self.order.batches):
                yield self.order.samples(epoch, number)
            first = 0


@dataclass
class TrainLoader:
    """The training's loader. `dataset` takes a `Sample`; batches are asked for by (epoch, number).

    `len`, `dataset`, `sampler`, `batch_size`, `drop_last` and `num_workers` are what Ultralytics' trainer asks of it.
    """

    dataset: Any
    order: EpochOrder
    plan: LoaderPlan
    epochs: int
    drop_last: bool = field(default=False, init=False)
    _stream: _Stream | None = field(default=None, init=False)
    _last: _Stream | None = field(default=None, init=False)
    """Closed or not: its workers can tell what ended them."""
    _next: tuple[int, int] = field(default=(-1, -1), init=False)

    def __len__(self) -> int:
        return self.order.batches

    @property
    def sampler(self) -> range:
        return range(self.order.images)

    @property
    def batch_size(self) -> int:
        return self.order.batch // self.order.world_size

    @property
    def num_workers(self) -> int:
        return self.plan.workers

    def batch(self, epoch: int, number: int) -> Batch:
        """Batch `number` of `epoch`; cheap when it follows the one before, a new start of the workers otherwise.

        A worker that dies makes PyTorch raise `RuntimeError` here, or wherever the main thread is: see `explain`.
        """
        if self._stream is None or self._next != (epoch, number):
            self.close()
            last = self.epochs if self.plan.persistent_workers else epoch + 1
            self._stream = _Stream(self.dataset, _Keys(self.order, epoch, number, last), self.plan, "training")
            self._last = self._stream
        batch = next(self._stream)
        self._next = (epoch, number + 1) if number + 1 < len(self) else (epoch + 1, 0)
        if self._next[1] == 0 and not self.plan.persistent_workers:
            self.close()
        return batch

    def change(self, **settings: int | bool) -> Changed:
        """Set `workers`, `prefetch_factor` or `pin_memory` from the next batch on; returns setting -> (before, after).

        Batches that were loaded ahead are loaded again, so none is lost and none comes twice.
        """
        self.plan, changed = _changed(self.plan, settings)
        if changed:
            self.close()
        return changed

    def explain(self, error: RuntimeError) -> Exception:
        """`StorageError` when /dev/shm is full, `SainetError` when a worker died or was too slow, else `error`."""
        return error if self._last is None else self._last.explain(error)

    def close(self) -> None:
        """End the workers."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class _InOrder(Sampler[list[int]]):
    def __init__(self, images: int, batch: int) -> None:
        self.images, self.batch = images, batch

    def __iter__(self) -> Iterator[list[int]]:
        for first in range(0, self.images, self.batch):
            yield list(range(first, min(first + self.batch, self.images)))


@dataclass
class ValLoader:
    """Validation's loader: the images in their order. Its workers live while somebody iterates."""

    dataset: Any
    batch_size: int
    plan: LoaderPlan
    _stream: _Stream | None = field(default=None, init=False)

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    @property
    def sampler(self) -> range:
        return range(len(self.dataset))

    @property
    def num_workers(self) -> int:
        return self.plan.workers

    def __iter__(self) -> Iterator[Batch]:
        stream = self._stream = _Stream(
            self.dataset, _InOrder(len(self.dataset), self.batch_size), self.plan, "validation"
        )
        try:
            for _ in range(len(self)):
                yield next(stream)
        except RuntimeError as error:  # of this very stream, where the training's would take a time-out for its own
            if (told := stream.explain(error)) is error:
                raise
            raise told from error
        finally:
            stream.close()

    def change(self, **settings: int | bool) -> Changed:
        """As `TrainLoader.change`, from the next iteration on."""
        self.plan, changed = _changed(self.plan, settings)
        return changed

    def explain(self, error: RuntimeError) -> Exception:
        """As `TrainLoader.explain`, of the workers of the last iteration."""
        return error if self._stream is None else self._stream.explain(error)

    def close(self) -> None:
        """Nothing outlives an iteration."""


def _changed(before: LoaderPlan, settings: Mapping[str, int | bool]) -> tuple[LoaderPlan, Changed]:
    changed = {key: (getattr(before, key), after) for key, after in settings.items()}
    return before.model_copy(update=settings), {key: (old, new) for key, (old, new) in changed.items() if old != new}
