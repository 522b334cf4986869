"""How long a stage still takes, worked out from its events alone: `Pace` is folded over them, one at a time.

What is left is batches and validations, each times what one of them took lately in this attempt. The evaluation of
the best weights at the end counts as one more validation. Patience may end a stage earlier than this says.
"""

from dataclasses import dataclass, replace
from statistics import median

from sainet.protocol import BatchDone, EpochDone, Event, PhaseStarted, TrainingStarted

__all__ = ["Pace"]

_WINDOW = 60
"""Progress events that count as recent: about a minute of training, as they come once a second."""
_VALIDATIONS = 5


@dataclass(frozen=True)
class _Span:
    """The time between two progress events of one epoch, and the batches in it."""

    seconds: float
    batches: int


@dataclass(frozen=True)
class Pace:
    """Where a stage stands, and how fast it went lately. `epoch` counts from 0; `batches_done` are of that epoch."""

    epochs: int = 0
    batches: int = 0
    epoch: int = 0
    batches_done: int = 0
    in_epoch: bool = False
    """Whether this attempt told of a batch of this epoch: there is nothing before the first one to measure from."""
    at_s: float = 0.0
    """Unix time of the last event that said something about progress."""
    spans: tuple[_Span, ...] = ()
    validations_s: tuple[float, ...] = ()

    def after(self, event: Event) -> "Pace":
        """The pace with one more event; events that say nothing about progress leave it as it is."""
        match event:
            case TrainingStarted():
                # Another attempt may have another batch or other workers: nothing that was measured before holds.
                return Pace(
                    epochs=event.epochs,
                    batches=event.batches,
                    epoch=event.first_epoch,
                    batches_done=event.first_batch,
                    at_s=event.time_s,
                )
            case BatchDone():
                return self._after_batch(event)
            case EpochDone():
                return self._after_epoch(event)
            case PhaseStarted(phase="final evaluation"):
                # Patience may have ended the stage before its last epoch.
                return replace(self, epoch=self.epochs, batches_done=0, in_epoch=False, at_s=event.time_s)
        return self

    def batch_s(self) -> float | None:
        """Seconds per batch lately; None until two progress events of one epoch were seen.

        Not the median: a loader that starves delivers in bursts, and the waits between them are part of the pace.
        So it is the mean without the extreme tenth at either end, which are stalls of another cause.
        """
        if not self.spans:
            return None
        ordered = sorted(self.spans, key=lambda span: span.seconds / span.batches)
        cut = len(ordered) // 10
        kept = ordered[cut : len(ordered) - cut]
        return sum(span.seconds for span in kept) / sum(span.batches for span in kept)

    def epoch_left_s(self, now_s: float) -> float | None:
        """Seconds until the last batch of this epoch, its validation not included; None until that can be known."""
        batch_s = self.batch_s()
        if batch_s is None:
            return None
        return max(0.0, (self.batches - self.batches_done) * batch_s - (now_s - self.at_s))

    def stage_left_s(self, now_s: float) -> float | None:
        """Seconds until the stage is done; None until batches and one validation were measured in this attempt."""
        batch_s = self.batch_s()
        if batch_s is None or not self.validations_s:
            return None
        epochs_left = max(0, self.epochs - self.epoch)
        batches_left = max(0, epochs_left * self.batches - self.batches_done)
        expected = batches_left * batch_s + (epochs_left + 1) * median(self.validations_s)
        return max(0.0, expected - (now_s - self.at_s))

    def _after_batch(self, event: BatchDone) -> "Pace":
        done = event.batch + 1
        spans = self.spans
        # Workers start up before the first batch of an epoch, so its time says nothing.
        if event.epoch == self.epoch and self.in_epoch and self.batches_done < done and event.time_s > self.at_s:
            spans = (*spans, _Span(event.time_s - self.at_s, done - self.batches_done))[-_WINDOW:]
        return Pace(event.epochs, event.batches, event.epoch, done, True, event.time_s, spans, self.validations_s)

    def _after_epoch(self, event: EpochDone) -> "Pace":
        batch_s = self.batch_s()
        validations = self.validations_s
        if batch_s is not None and event.epoch == self.epoch and self.in_epoch:
            # The last batches of an epoch may have gone by without an event.
            untold_s = (self.batches - self.batches_done) * batch_s
            validations = (*validations, max(0.0, event.time_s - self.at_s - untold_s))[-_VALIDATIONS:]
        return replace(
            self,
            epochs=event.epochs,
            epoch=event.epoch + 1,
            batches_done=0,
            in_epoch=False,
            at_s=event.time_s,
            validations_s=validations,
        )
