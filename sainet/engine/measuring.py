"""Drives a real training over a few batches and one validation, and reads what they take."""

import time
from contextlib import suppress
from typing import Any

import torch

from sainet.engine.exact import Place
from sainet.engine.idle_workers import wait_until_idle
from sainet.engine.loop import TrainingLoop
from sainet.engine.step_memory import StepMemory

_BATCHES = 6
"""Before the validation. With gradients that wait over two batches (the plan's `nbs`) the fourth is the first that is
computed while some wait and the optimizer has its state: that is the largest step, and it comes once more."""
_QUEUE_FROM = 4
"""After so many batches the loader gets the time to fill its queue; the others are computed beside a full one."""
_BATCHES_AFTER = 2
"""After the validation: what it left behind in pieces of the GPU's memory shows in the next step."""
_TRIMMED = 5
"""On a CPU this batch is weighed by itself, and all before it together: by then one like it was among them."""
_FILL_LIMIT_S = 120.0


class _Enough(Exception):  # noqa: N818 - nothing is wrong
    """All is measured."""


class Measuring:
    """A training (after its construction, before `train`) with a boundary that watches instead of keeping.

    `marks`: [what, Unix time] of the moments that no event tells of. `queue_filled`: whether the workers
    had loaded all that they hold ready, for both loaders. On a CPU `step_bytes` are the tensors at a step's peak, and
    `held_bytes` what malloc holds for them.
    """

    def __init__(self, training: Any) -> None:
        self.training = training
        self.batches = self.steps = 0
        self.queue_filled = True
        self.marks: list[tuple[str, float]] = []
        self.step_bytes: int | None = None
        self.held_bytes: int | None = None
        self._memory = StepMemory(training) if training.device.type == "cpu" else None
        self._validations = 0
        self._last_step = -1
        self._began_s = 0.0
        self._beside_full_s: list[float] = []
        """Of each batch that was computed beside a full queue."""

    @property
    def seconds_per_batch(self) -> float | None:
        """Of computing alone; None when there were too few batches to fill the queue."""
        taken = self._beside_full_s
        return sum(taken) / len(taken) if taken else None

    def run(self) -> None:
        """Train, validate, train a little more. Raises what the training raises."""
        training = self.training
        make_loop, backward = training.make_loop, training.backward

        def watched_loop() -> TrainingLoop:
            loop: TrainingLoop = make_loop()
            loop.boundary, loop.batches = self, min(loop.batches, _BATCHES)
            self.loop = loop
            return loop

        def watched_backward(batch: dict[str, Any]) -> Any:
            self._begin(batch)
            return backward(batch)

        training.make_loop, training.backward = watched_loop, watched_backward
        training.add_callback("on_train_batch_end", lambda _: self._end())
        training.add_callback("on_val_batch_start", lambda validator: self._fill(validator.batch_i))
        with suppress(_Enough):
            training.train()
        self._mark("done")

    # --- between the batches, as the loop asks

    def before_batch(self, place: Place, last_step: int, *, stepped: bool) -> None:  # noqa: ARG002
        """Give the queue its time; at an epoch's end what a loader does that does not persist; the end of it all."""
        if self._validations and self.batches >= _BATCHES + _BATCHES_AFTER:
            raise _Enough
        if place.batch == self.loop.batches:
            self._end_epoch()
        elif self.batches == _QUEUE_FROM:
            self._wait("queue full")

    def after_epoch(self, place: Place, last_step: int) -> None:  # noqa: ARG002
        """Where it was the last epoch there is no batch after it, and the final evaluation takes less than training."""
        self._validations += 1
        if place.epoch >= self.training.epochs:
            raise _Enough

    def stopping(self, place: Place, last_step: int) -> None:
        """Nothing is kept."""

    def _end_epoch(self) -> None:
        """The loader has not come to its epoch's end, where it would end workers that do not persist."""
        plan = self.training.plan
        if plan.engine == "sainet" and not plan.loader.persistent_workers:
            self.training.train_loader.close()

    def _fill(self, batch: int) -> None:
        if batch == 0 and not self._validations:
            self._wait("validation's queue full")

    def _wait(self, name: str) -> None:
        self.queue_filled &= wait_until_idle(_FILL_LIMIT_S)
        self._mark(name)

    def _mark(self, name: str) -> None:
        self.marks.append((name, time.time()))

    # --- one batch

    def _begin(self, batch: dict[str, Any]) -> None:
        if self._memory and self.batches in {0, _TRIMMED}:
            self._memory.begin(batch, trim=self.batches == _TRIMMED)
        self._synchronize()
        self._began_s = time.monotonic()

    def _end(self) -> None:
        self._synchronize()
        if self._memory and self.batches < _TRIMMED:
            self.held_bytes = self._memory.peak_bytes()
        elif self._memory and self.batches == _TRIMMED:
            self.step_bytes = self._memory.peak_bytes()
        if self.batches >= _QUEUE_FROM:
            self._beside_full_s.append(time.monotonic() - self._began_s)
        self.batches += 1
        self.steps += self.loop.last_step != self._last_step
        self._last_step = self.loop.last_step

    def _synchronize(self) -> None:
        """A GPU is given its work in advance."""
        if self.training.device.type == "cuda":
            torch.cuda.synchronize(self.training.device)
