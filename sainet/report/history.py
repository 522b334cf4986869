"""What happened to a run, attempt by attempt, as its events tell it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sainet.protocol import (
    CheckpointSaved,
    EpochDone,
    Event,
    GuardActed,
    GuardMeasured,
    OrdersApplied,
    ProcessFailed,
    Resumed,
    Stage,
    StageFailed,
    StageRestarting,
    TrainingStarted,
    Warned,
    parse_event,
)
from sainet.state import Attempt, RunFolder

__all__ = ["AttemptHistory", "read_history", "read_milestones"]

Kind = TypeVar("Kind", bound=Event)


@dataclass(frozen=True)
class AttemptHistory:
    """One start of a training process, and every event of it but the batches, oldest first."""

    stage: Stage
    attempt: Attempt
    log: Path
    events: tuple[Event, ...]

    @property
    def resumed(self) -> Resumed | None:
        """What the attempt found to go on from; None if it began anew, or did not get that far."""
        return next(iter(self._of(Resumed)), None)

    @property
    def started(self) -> TrainingStarted | None:
        """None if it did not get as far as training."""
        return next(iter(self._of(TrainingStarted)), None)

    @property
    def epochs(self) -> list[EpochDone]:
        return self._of(EpochDone)

    @property
    def checkpoints(self) -> list[CheckpointSaved]:
        return self._of(CheckpointSaved)

    @property
    def orders(self) -> list[OrdersApplied]:
        return self._of(OrdersApplied)

    @property
    def guard(self) -> list[GuardActed | GuardMeasured]:
        """What the guard did, and what it helped."""
        return [event for event in self.events if isinstance(event, GuardActed | GuardMeasured)]

    @property
    def restarting(self) -> StageRestarting | None:
        """Why another attempt follows by itself; None where none does."""
        return next(iter(self._of(StageRestarting)), None)

    @property
    def warnings(self) -> list[Warned]:
        return self._of(Warned)

    @property
    def failures(self) -> list[ProcessFailed | StageFailed]:
        """What went wrong, each thing once: the supervisor repeats what the training process said."""
        failed = [event for event in self.events if isinstance(event, ProcessFailed | StageFailed)]
        return list({event.message: event for event in reversed(failed)}.values())[::-1]

    @property
    def saving_share(self) -> float | None:
        """The share of its training time that the attempt waited for its checkpoints; None if it wrote none."""
        if self.started is None or not self.checkpoints:
            return None
        end_s = self.attempt.ended_s or self.events[-1].time_s
        trained_s = end_s - self.started.time_s
        return sum(event.seconds for event in self.checkpoints) / trained_s if trained_s > 0 else None

    def _of(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]


def read_history(folder: RunFolder) -> list[AttemptHistory]:
    """Every attempt of every stage, in order. Raises `StorageError` when `state.json` cannot be read."""
    state = folder.read_state()
    events = read_milestones(folder.events)
    return [
        AttemptHistory(
            stage=number,
            attempt=attempt,
            log=folder.stage(number).log(attempt.number),
            events=tuple(e for e in events if (e.stage, e.attempt) == (number, attempt.number)),
        )
        for number, stage in sorted(state.stages.items())
        for attempt in stage.attempts
    ]


def read_milestones(path: Path) -> list[Event]:
    """Every event but the batches, which are nearly all of a long run's lines and say nothing about its history."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            parsed = [parse_event(line) for line in stream if '"event":"batch"' not in line]
    except FileNotFoundError:
        return []
    return [event for event in parsed if event is not None]
