"""Where the runs of a folder stand, as their files say it.

Only files are read. Whether anybody still drives a run is told by its lock, which the kernel frees with its holder.
"""

import fcntl
import math
import shlex
import time
from dataclasses import dataclass, replace
from pathlib import Path

from sainet.errors import StorageError
from sainet.files import last_lines
from sainet.protocol import (
    EpochDone,
    Event,
    Metrics,
    Stage,
    TrainingDone,
    TrainingStarted,
    parse_event,
)
from sainet.report.history import read_milestones
from sainet.state import Command, Position, RunFolder, RunState, StageState, Status

__all__ = ["RunSummary", "StageSummary", "UnreadableRun", "is_driven", "summarise"]


@dataclass(frozen=True)
class StageSummary:
    """Where one stage stands. `metrics` are those of the best weights so far, empty before the first epoch.

    `seconds` is the time of all its attempts together. `weights` is the best checkpoint, None when there is none yet.
    `goes_on_at` is where the newest exact state stands, None when there is none or the stage needs none any more.
    """

    stage: Stage
    status: Status
    attempts: int
    epochs: int | None
    epochs_done: int
    stopped_early: bool
    metrics: Metrics
    seconds: float
    weights: Path | None
    goes_on_at: Position | None


@dataclass(frozen=True)
class RunSummary:
    """Where a run stands. `process_gone`: its state says running, but no process holds its lock.

    `resume` is what to type, in this working directory, to go on; None while it runs and when it is done.
    """

    name: str
    root: Path
    command: Command
    profile: str
    tier: str | None
    status: Status
    process_gone: bool
    created_s: float
    updated_s: float
    resume: str | None
    stages: tuple[StageSummary, ...]

    @property
    def current(self) -> StageSummary:
        """The first stage that is not done, or the last one."""
        return next((stage for stage in self.stages if stage.status != "done"), self.stages[-1])


@dataclass(frozen=True)
class UnreadableRun:
    """A folder that holds a `state.json` which cannot be read."""

    name: str
    root: Path
    problem: str
    hint: str | None


def summarise(folder: RunFolder, *, now_s: float | None = None) -> RunSummary | UnreadableRun:
    """Where the run of `folder` stands; `now_s` is the Unix time that a running attempt is measured up to."""
    try:
        state = folder.read_state()
    except StorageError as error:
        return UnreadableRun(folder.name, folder.root, error.message, error.hint)
    except (OSError, UnicodeDecodeError) as error:
        return UnreadableRun(folder.name, folder.root, f"{folder.state} cannot be read: {error}", None)
    events = read_milestones(folder.events)
    gone = state.status == "running" and not is_driven(folder)
    last_s = max(state.updated_s, _last_event_s(folder.events))
    running = state.status == "running" and not gone
    until_s = (now_s or time.time()) if running else last_s
    stages = tuple(_stage(folder, number, state, events, until_s) for number in sorted(state.stages))
    if gone:
        stages = tuple(replace(s, status="interrupted") if s.status == "running" else s for s in stages)
    return RunSummary(
        name=folder.name,
        root=folder.root,
        command=state.command,
        profile=state.request.profile,
        tier=state.request.tier,
        status="interrupted" if gone else state.status,
        process_gone=gone,
        created_s=state.created_s,
        updated_s=last_s,
        resume=None if running or state.status == "done" else _resume_command(folder, state),
        stages=stages,
    )


def is_driven(folder: RunFolder) -> bool:
    """Whether some process holds the run's lock at this moment; a lock that cannot be tested counts as held."""
    try:
        with folder.lock.open("rb") as stream:
            # Shared is enough to meet an exclusive holder, and two people who look do not meet each other.
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _open_stage(state: RunState) -> Stage:
    """The first stage that is not done, or the first one."""
    return next((n for n, stage in sorted(state.stages.items()) if stage.status != "done"), min(state.stages))


def _resume_command(folder: RunFolder, state: RunState) -> str:
    """The run remembers what was asked for and where; saying it again elsewhere would mean other paths."""
    words = ["sainet", state.command]
    if state.command == "train":
        words += ["--stage", str(_open_stage(state))]
    words += ["--run", folder.name]
    if folder.root.parent != Path("runs").absolute():
        words += ["--runs-dir", str(folder.root.parent)]
    return shlex.join([*words, "--resume"])


def _stage(folder: RunFolder, number: Stage, state: RunState, events: list[Event], until_s: float) -> StageSummary:
    stage, paths = state.stages[number], folder.stage(number)
    told = [event for event in events if event.stage == number]
    epochs, stopped_early = _standing_epochs(told)
    measured = [epoch for epoch in epochs if not math.isnan(epoch.fitness)]
    best = max(measured, key=lambda epoch: epoch.fitness, default=None)
    return StageSummary(
        stage=number,
        status=stage.status,
        attempts=len(stage.attempts),
        epochs=stage.epochs,
        epochs_done=stage.epochs_done,
        stopped_early=stopped_early,
        metrics=stage.metrics or (best.metrics if best else {}),
        seconds=_seconds(stage, told, until_s),
        weights=paths.best if paths.best.exists() else None,
        goes_on_at=_position(told) if paths.has_checkpoint and stage.status != "done" else None,
    )


def _position(events: list[Event]) -> Position | None:
    """From the events, not from state.json: a training whose supervisor was killed still saves its state."""
    return next((position for event in reversed(events) if (position := Position.told_by(event))), None)


def _standing_epochs(events: list[Event]) -> tuple[list[EpochDone], bool]:
    """The epochs that led to the weights of today, and whether patience ended them.

    An attempt that began at an earlier epoch than the last one reached makes what came after that epoch void.
    """
    epochs: list[EpochDone] = []
    stopped_early = False
    for event in events:
        match event:
            case TrainingStarted():
                epochs = [epoch for epoch in epochs if epoch.epoch < event.first_epoch]
                stopped_early = False
            case EpochDone():
                epochs.append(event)
            case TrainingDone():
                stopped_early = event.stopped_early
    return epochs, stopped_early


def _seconds(stage: StageState, events: list[Event], until_s: float) -> float:
    """The time of all attempts. One whose end nobody wrote down ended with its last event; the last one, `until_s`."""
    total = 0.0
    for attempt in stage.attempts:
        told = [event.time_s for event in events if event.attempt == attempt.number]
        end = until_s if attempt is stage.attempts[-1] else max(told, default=attempt.started_s)
        total += max(0.0, (attempt.ended_s or end) - attempt.started_s)
    return total


def _last_event_s(path: Path) -> float:
    parsed = [parse_event(line) for line in last_lines(path, 2)]
    return max((event.time_s for event in parsed if event is not None), default=0.0)
