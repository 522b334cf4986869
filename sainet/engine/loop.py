"""The training loop: epochs, batches, the optimizer's steps, and what may happen between two batches.

Step for step what Ultralytics' own `_do_train` computes (a test compares them bit for bit), without its answers to a
full GPU, and with a boundary before every batch at which the state can be written, orders obeyed and the training left.
"""

import warnings
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from ultralytics.utils.torch_utils import autocast, unwrap_model

from sainet.engine.exact import Place
from sainet.engine.lifeline import Stopped, finishing, stop_if_asked

_HALF = 0.5
"""Unused cached GPU memory is given back before and after validation when it is more than this share of the card."""


class Source(Protocol):
    """Where the batches come from."""

    def __len__(self) -> int: ...

    def batches(self, place: Place) -> Iterator[dict[str, Any]]:
        """The batches of `place.epoch` from `place.batch` on."""
        ...


class Boundary(Protocol):
    """What happens between two batches."""

    def before_batch(self, place: Place, last_step: int, *, stepped: bool) -> None:
        """Called before every batch, and after an epoch's last one; may raise `Stopped`."""
        ...

    def after_epoch(self, place: Place, last_step: int) -> None: ...

    def stopping(self, place: Place, last_step: int) -> None:
        """The training was asked to end at `place`; `Stopped` is raised afterwards."""
        ...


class TrainingLoop:
    """Runs the epochs of `training` (a `DetectionTrainer` after `_setup_train`) from `place` on."""

    def __init__(self, training: Any, source: Source, boundary: Boundary, place: Place, last_step: int = -1) -> None:
        self.training, self.source, self.boundary = training, source, boundary
        self.place = place
        self.last_step = last_step
        self.batches = len(source)
        self.warmup = training._get_warmup_iterations(self.batches)
        self.accumulate = training.accumulate
        """Batches per optimizer step once warm-up is over."""

    def run(self) -> None:
        """Train until the last epoch or until patience runs out.

        Raises `Stopped` when asked to end; the boundary has then kept what it keeps.
        """
        try:
            while not self._train_epoch():
                pass
            stop_if_asked()  # while the last epoch was being saved: the evaluation would not hear of it
        except Stopped:
            with finishing():
                self.boundary.stopping(self.place, self.last_step)
            raise

    def _train_epoch(self) -> bool:
        """One epoch, or what is left of it, with its validation; True when it was the last one."""
        training = self.training
        training.epoch = self.place.epoch
        training.run_callbacks("on_train_epoch_start")
        self._step_schedule()
        training._model_train()
        if self.place.batch == 0:
            training.tloss = None
        batches = self.source.batches(self.place)
        while self.place.batch < self.batches:
            self._before_batch()
            batch = next(batches)  # here SIGTERM is heard at once: a starving loader must not hold it up
            with finishing():
                self._train_batch(batch)
                self.place = Place(self.place.epoch, self.place.batch + 1)
        self._before_batch()
        return self._finish_epoch()

    def _step_schedule(self) -> None:
        groups = self.training.optimizer.param_groups
        rates = [group["lr"] for group in groups]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch minds that a resumed schedule starts before the first step
            self.training.scheduler.step()
        if self.place.batch:  # in mid-epoch the rates are those of the batch before, which warm-up may have set
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate

    def _before_batch(self) -> None:
        stop_if_asked()
        with finishing():
            stepped = self.last_step == self._number - 1
            self.boundary.before_batch(self.place, self.last_step, stepped=stepped)
        stop_if_asked()

    @property
    def _number(self) -> int:
        """The next batch's number over all epochs."""
        return self.place.batch + self.batches * self.place.epoch

    # --- one batch

    def _train_batch(self, batch: dict[str, Any]) -> None:
        training, number, inside = self.training, self._number, self.place.batch
        training.run_callbacks("on_train_batch_start")
        if self.warmup and number <= self.warmup:
            self._warm_up(number)
        loss, items = training.backward(batch)
        training.loss, training.loss_items = loss.detach(), items
        if not training.loss_names:
            training.loss_names = tuple(items)
            training.metrics.update(dict.fromkeys(training.label_loss_items(prefix="val"), 0.0))
        if training.tloss is not None:  # the mean over the epoch so far
            items = {name: (training.tloss[name] * inside + item) / (inside + 1) for name, item in items.items()}
        training.tloss = items
        if number - self.last_step >= training.accumulate:
            training.optimizer_step()
            self.last_step = number
        if training.args.plots and number in training.plot_idx:
            training.plot_training_samples(batch, number)
        training.run_callbacks("on_train_batch_end")

    def _warm_up(self, number: int) -> None:
        """Raise accumulation, learning rate and momentum to their values; the biases' rate comes down to its own."""
        training, args = self.training, self.training.args
        span = [0, self.warmup]
        training.accumulate = max(1, int(np.interp(number, span, [1, self.accumulate]).round()))
        for group in training.optimizer.param_groups:
            first = args.warmup_bias_lr if group.get("param_group") == "bias" else 0.0
            target = group["initial_lr"] * training.lf(self.place.epoch)
            group["lr"] = float(np.interp(number, span, [first, target]))
            if "momentum" in group:
                group["momentum"] = float(np.interp(number, span, [args.warmup_momentum, args.momentum]))

    # --- the end of an epoch

    def _finish_epoch(self) -> bool:
        training, epoch = self.training, self.place.epoch
        training.lr = {f"lr/pg{i}": group["lr"] for i, group in enumerate(training.optimizer.param_groups)}
        training.run_callbacks("on_train_epoch_end")
        training.ema.update_attr(training.model, include=["yaml", "nc", "args", "names", "stride", "class_weights"])
        training._clear_memory(_HALF)
        training.metrics, training.fitness = training.validate()  # SIGTERM is heard in here too
        with finishing():
            if training._handle_nan_recovery(epoch):
                training.reporter.warn(f"epoch {epoch + 1} ended in NaN: it is trained again from last.pt")
                self._train_again()
                return False
            training.nan_recovery_attempts = 0
            criterion: Any = getattr(unwrap_model(training.model), "criterion", None)  # none after a resume right here
            if hasattr(criterion, "update"):  # an end-to-end model's two heads; upstream does it before validating
                criterion.update()
            losses = training.label_loss_items(training.tloss)
            training.save_metrics(metrics={**losses, **training.metrics, **training.lr})
            last = epoch + 1 >= training.epochs
            training.stop |= training.stopper(epoch + 1, training.fitness) or last
            if training.save_model():
                training.run_callbacks("on_model_save")
            training.run_callbacks("on_fit_epoch_end")
            training._clear_memory(_HALF)
            self.place = Place(epoch + 1, 0)
            self.boundary.after_epoch(self.place, self.last_step)
        return bool(training.stop)

    def _train_again(self) -> None:
        self.last_step = -1
        self.training.optimizer.zero_grad()
        self.place = Place(self.place.epoch, 0)


def forward(training: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss (box, cls, dfl) of a collated batch, multiplied by its images, and its detached items by name.

    Replaces the entries of `batch` by what the model was given.
    """
    args = training.args
    with autocast(torch.bfloat16 if args.amp == "bf16" else training.amp, device=training.device.type):
        prepared = training.preprocess_batch(batch)
        if args.compile:  # the model alone is compiled, not the loss
            predictions = training.model(prepared["img"])
            loss, items = unwrap_model(training.model).loss(prepared, predictions)
        else:
            loss, items = training.model(prepared)
    return loss, items


def whole_batch(training: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward and backward of one batch as Ultralytics does it; adds to the gradients, returns loss and its items."""
    loss, items = forward(training, batch)
    total = loss.sum()
    training.scaler.scale(total).backward()
    return total, items
