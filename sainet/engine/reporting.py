"""From Ultralytics' callbacks to events."""

import time
from typing import Any

from sainet.engine.validation import short_metrics
from sainet.engine.vram_figures import VramWatch
from sainet.protocol import (
    BatchDone,
    EpochDone,
    Event,
    Phase,
    PhaseStarted,
    Plan,
    TrainingStarted,
    Warned,
    append_event,
)

_BATCH_EVERY_S = 1.0


class Reporter:
    """Writes what one training does to events.jsonl. Times are of this process's own clock."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._epoch_started_s = time.monotonic()
        self._last_batch_s = 0.0
        self._since_s = 0.0
        self._since_images = 0
        self._vram = VramWatch()

    def emit(self, event: Event) -> None:
        append_event(self.plan.events, event)

    def phase(self, phase: Phase) -> None:
        self.emit(PhaseStarted(stage=self.plan.stage, attempt=self.plan.attempt, phase=phase))

    def warn(self, message: str) -> None:
        self.emit(Warned(stage=self.plan.stage, attempt=self.plan.attempt, message=message))

    def attach(self, training: Any) -> None:
        """Listen to a trainer."""
        training.add_callback("on_train_start", self._training_started)
        training.add_callback("on_train_epoch_start", self._epoch_started)
        training.add_callback("on_train_batch_end", self._batch_done)
        training.add_callback("on_train_epoch_end", lambda _: self.phase("validating"))
        training.add_callback("on_fit_epoch_end", self._epoch_done)

    def _training_started(self, training: Any) -> None:
        self.emit(
            TrainingStarted(
                stage=self.plan.stage,
                attempt=self.plan.attempt,
                first_epoch=training.loop.place.epoch,
                first_batch=training.loop.place.batch,
                epochs=training.epochs,
                batches=len(training.train_loader),
                train_images=len(training.train_loader.dataset),
                val_images=len(training.test_loader.dataset),
                transferred=training.transferred,
            )
        )

    def _epoch_started(self, _training: Any) -> None:
        self._epoch_started_s = self._since_s = time.monotonic()
        self._since_images = 0
        self._last_batch_s = 0.0
        self.phase("training")

    def _batch_done(self, training: Any) -> None:
        self._since_images += training.batch_size
        now, total, batch = time.monotonic(), len(training.train_loader), training.loop.place.batch
        if now - self._last_batch_s < _BATCH_EVERY_S and batch + 1 < total:
            return
        vram = self._vram.read(training.device)
        self.emit(
            BatchDone(
                stage=self.plan.stage,
                attempt=self.plan.attempt,
                epoch=training.epoch,
                epochs=training.epochs,
                batch=batch,
                batches=total,
                losses=_floats(training.tloss),
                images_per_s=self._since_images / max(now - self._since_s, 1e-9),
                vram_bytes=vram.reserved_bytes,
                vram_allocated_bytes=vram.allocated_bytes,
                vram_largest_free_bytes=vram.largest_free_bytes,
            )
        )
        self._last_batch_s = self._since_s = now
        self._since_images = 0

    def _epoch_done(self, training: Any) -> None:
        self.emit(
            EpochDone(
                stage=self.plan.stage,
                attempt=self.plan.attempt,
                epoch=training.epoch,
                epochs=training.epochs,
                losses=_floats(training.tloss),
                metrics=short_metrics(training.metrics),
                fitness=float(training.fitness),
                is_best=bool(training.best_fitness == training.fitness),
                lr=float(training.optimizer.param_groups[0]["lr"]),
                seconds=time.monotonic() - self._epoch_started_s,
            )
        )


def _floats(losses: dict[str, Any] | None) -> dict[str, float]:
    return {name: float(value) for name, value in (losses or {}).items()}
