"""One stage of a run: attempt after attempt, until it is done or nothing more can be done about it."""

import contextlib
import time
from dataclasses import dataclass, field, replace

from sainet.errors import GuardStopError, Interrupted, SainetError, StorageError, WeightsError
from sainet.files import LineTail, last_lines, replace_text
from sainet.guard.advice import advice
from sainet.guard.diagnosis import Diagnosis, Remnants, diagnose
from sainet.guard.ladder import Ladder, Rung
from sainet.guard.sample_file import SampleLog
from sainet.guard.sampler import Sampler
from sainet.hardware.process import process_started_s
from sainet.protocol import (
    CheckpointSaved,
    EpochDone,
    Event,
    GuardActed,
    Orders,
    Plan,
    Resource,
    Stage,
    StageDone,
    StageFailed,
    StageInterrupted,
    StageRestarting,
    StageStarted,
    TrainingDone,
    TrainingStarted,
    Warned,
    append_event,
)
from sainet.run.attempt import AttemptRun, Ended, View, end
from sainet.run.downshifts import footing_of, lowered, lowered_by, with_expandable_segments
from sainet.run.ending import Remains, failure, stop_reason
from sainet.run.guarding import Guarding, Ordered, memory_file
from sainet.run.launch import start
from sainet.run.leftovers import end_leftovers
from sainet.run.plan import make_plan
from sainet.run.preflight import Preflight, classes_of
from sainet.run.recovery import Recovery
from sainet.run.signals import Caught
from sainet.state import Attempt, Position, RunFolder, RunState, StageFolder, StageState

_LOG_LINES = 1000
_MAY_BE_MEMORY = frozenset({SainetError, StorageError})
"""What a training that memory has ended may say: a worker was killed, /dev/shm is full. All else it says is about
something else."""


@dataclass
class StageRun:
    """Drives one stage of a run to its end. The caller holds the run's lock."""

    folder: RunFolder
    state: RunState
    stage: Stage
    preflight: Preflight
    """What may start; what memory has made smaller since then is over it in `_now`."""
    view: View
    caught: Caught
    _now: Preflight = field(init=False)

    def __post_init__(self) -> None:
        self._now = self.preflight
        self.ladder = Ladder(footing_of(self.preflight))
        self.recovery = Recovery(self.ladder, self.preflight.resolved.config.guard)

    def run(self) -> StageState:
        """Train until the stage is done, again and again where memory or a killer ends an attempt that can go on.

        Raises `Interrupted` when asked to stop, `GuardStopError` when the guard ends it, `ExhaustedError` when
        attempts or rungs are used up, and the error of its exit code when the training process fails otherwise; in
        every case state.json says so and the stage can be resumed.
        """
        end_leftovers(self.record)
        sampler = Sampler(self.folder.root, self.preflight.gpus, warn=self._warn)
        with sampler, contextlib.closing(SampleLog(memory_file(self.folder.root))) as samples:
            while (ended := self._attempt(sampler, samples)).done is None:
                self._go_on_after(ended)
        return self._finish(ended.done)

    @property
    def record(self) -> StageState:
        return self.state.stages[self.stage]

    @property
    def paths(self) -> StageFolder:
        return self.folder.stage(self.stage)

    @property
    def attempt(self) -> Attempt:
        return self.record.attempts[-1]

    # --- one attempt

    def _attempt(self, sampler: Sampler, samples: SampleLog) -> Ended:
        attempt = Attempt(number=len(self.record.attempts) + 1, started_s=time.time())
        plan = self._write_plan(attempt)
        self.record.attempts.append(attempt)
        self.record.status, self.record.classes = "running", classes_of(plan.data)
        self.folder.write_state(self.state)
        tail = LineTail(self.folder.events, from_end=True)
        settings = self._now.resolved.config.guard
        guarding = Guarding(settings, plan, sampler, samples, self.ladder, self._say, self._lower, self._warn)
        running = AttemptRun(plan, guarding, self.view, self.caught, self._take, self._lowered)
        process = start(self.paths.plan(attempt.number), self.paths.log(attempt.number), self._now.resolved.config.env)
        try:
            attempt.pid, attempt.pid_started_s = process.pid, process_started_s(process.pid)
            self.folder.write_state(self.state)
            self._say(StageStarted(stage=self.stage, attempt=attempt.number, pid=process.pid, resumed=plan.resume))
            self._record_force()
            running.watch(process, tail)
        except Exception as error:  # ours, not the training's: say so before the training is ended
            attempt.reason = f"the supervisor failed: {type(error).__name__}: {error}"
            with contextlib.suppress(StorageError, OSError):
                self.folder.write_state(self.state)
            raise
        finally:
            returncode = end(process)
        attempt.ended_s, attempt.exit_code = time.time(), returncode
        return running.ended(returncode, tail)

    def _write_plan(self, attempt: Attempt) -> Plan:
        plan = make_plan(self._now, self.folder, self.stage, attempt.number, resume=self.paths.has_begun)
        plan.write(self.paths.plan(attempt.number))
        replace_text(plan.orders, Orders().model_dump_json() + "\n")
        return plan

    def _record_force(self) -> None:
        """What `--force` started in spite of is part of the run's story."""
        for problem in self.preflight.forced:
            self._warn(f"started by --force in spite of: {problem.message}")

    def _take(self, event: Event) -> None:
        self.record.goes_on_at = Position.told_by(event) or self.record.goes_on_at
        match event:
            case TrainingStarted():
                self.record.epochs, self.record.epochs_done = event.epochs, event.first_epoch
            case CheckpointSaved():
                self.folder.write_state(self.state)
            case EpochDone():
                self.record.epochs_done = event.epoch + 1
                self.folder.write_state(self.state)
            case _:
                pass

    def _say(self, event: Event) -> None:
        append_event(self.folder.events, event)

    def _warn(self, message: str) -> None:
        with contextlib.suppress(StorageError):
            self._say(Warned(stage=self.stage, attempt=max(1, len(self.record.attempts)), message=message))

    def _lower(self, rung: Rung, reason: str) -> None:
        """The next attempt, and the next resume, begin where this rung leads."""
        asked = self.preflight.resolved
        self.record.downshifts = lowered_by(rung, asked, reason, self.record.downshifts)
        self.folder.write_state(self.state)
        footing = self.ladder.footing
        self._now = replace(
            self.preflight,
            resolved=lowered(asked, self.record.downshifts),
            workers=footing.workers,
            val_workers=footing.val_workers,
        )

    def _lowered(self) -> list[str]:
        """For people, as `workers 2`."""
        return [f"{key.rpartition('.')[2]} {one.now}" for key, one in self.record.downshifts.items()]

    # --- after it

    def _go_on_after(self, ended: Ended) -> None:
        """Make ready for another attempt. Raises the error that the stage ends with where there is to be none."""
        if self.caught.number is not None and ended.failed is None:  # what it could not save, say, comes first
            raise self._interrupted(self.caught.number, ended.returncode)
        ordered = ended.ordered
        if ordered is not None and ended.returncode == GuardStopError.exit_code:
            self._after_order(ordered)
            return
        log = self.paths.log(self.attempt.number)
        error = failure(ended.returncode, ended.failed, log, self._remains())
        lines = last_lines(log, _LOG_LINES)
        left = Remnants(ended.returncode, ended.failed, lines, ended.oom_kills, ended.hung, ended.shm_share)
        diagnosis = diagnose(left)
        if self.caught.number is not None or type(error) not in _MAY_BE_MEMORY or not diagnosis.survivable:
            raise self._failed(error)
        self._restart(diagnosis, was_lowering=ended.was_lowering)

    def _after_order(self, ordered: Ordered) -> None:
        """The guard ended the attempt: for good, or to begin anew with a smaller batch."""
        reason = ordered.alarm.reason
        if ordered.rung.kind == "smaller batch":
            self.attempt.reason = f"ended by the guard: {reason}"
            self._begin_anew(ordered.rung, reason)
            return
        hint = f"{advice(ordered.rung, self.ladder.footing)}; {self._remains().where_to_resume}"
        raise self._failed(GuardStopError(f"the guard stopped the training: {reason}", hint=hint))

    def _restart(self, diagnosis: Diagnosis, *, was_lowering: bool) -> None:
        """Take the next rung, and tell. Raises where restarts or rungs are used up."""
        at = self.record.goes_on_at if self.paths.has_checkpoint else None
        try:
            restart = self.recovery.after(diagnosis, at, was_lowering=was_lowering)
        except SainetError as error:
            hint = f"{self._remains().where_to_resume}; the log: {self.paths.log(self.attempt.number)}"
            raise self._failed(type(error)(error.message, hint=hint)) from None
        self.attempt.reason = diagnosis.message
        says = {"stage": self.stage, "attempt": self.attempt.number}
        told = StageRestarting(
            **says, cause=diagnosis.cause, message=diagnosis.message, restart=restart.number, of=restart.of
        )
        self._hear(told)
        if restart.rung is not None and restart.resource is not None:
            self._descend(restart.rung, restart.resource, diagnosis)
        self.folder.write_state(self.state)

    def _descend(self, rung: Rung, resource: Resource, diagnosis: Diagnosis) -> None:
        """Take the rung, and tell."""
        acted = GuardActed(
            stage=self.stage,
            attempt=self.attempt.number,
            resource=resource,
            level="failure",
            action=rung.action,
            reason=diagnosis.message,
            before=rung.before,
            after=rung.after,
            hint=advice(rung, self.ladder.footing),
        )
        self._hear(acted)
        if rung.resource == "vram":
            asked, known = self.preflight.resolved, self.record.downshifts
            self.record.downshifts = with_expandable_segments(asked, diagnosis.message, known)
        if rung.kind == "smaller batch":
            self._begin_anew(rung, diagnosis.message)
        else:
            self._lower(rung, diagnosis.message)

    def _begin_anew(self, rung: Rung, reason: str) -> None:
        """Another batch is another training: from epoch 0. The weights of the one before are kept beside the new ones.

        Raises `WeightsError` when what the stage began with is not there any more.
        """
        if self.preflight.initial_weights is None:
            hint = "put the initial weights back, or start a new run with a smaller --batch"
            raise self._failed(WeightsError(f"{reason}; the stage cannot begin anew", hint=hint))
        self._lower(rung, reason)
        self._now = replace(self._now, weights=self.preflight.initial_weights)
        self.paths.set_aside(f"batch-{rung.before['batch']}")
        self.record.epochs_done, self.record.goes_on_at = 0, None
        self.folder.write_state(self.state)

    def _hear(self, event: Event) -> None:
        """An event of ours that comes when the log of events is not read any more."""
        self._say(event)
        self.view.handle(event)

    def _finish(self, done: TrainingDone) -> StageState:
        """Everything is on disk, however the process ended afterwards."""
        self.attempt.reason = "stopped early: patience ran out" if done.stopped_early else "done"
        self.record.status, self.record.metrics = "done", done.metrics
        self.record.epochs_done = done.epochs_trained
        self.folder.write_state(self.state)
        event = StageDone(
            stage=self.stage, attempt=self.attempt.number, metrics=done.metrics, weights=done.best_weights
        )
        self._say(event)
        self.view.handle(event)
        return self.record

    def _interrupted(self, number: int, returncode: int) -> SainetError:
        self.record.status, self.attempt.reason = "interrupted", stop_reason(number, returncode)
        self.folder.write_state(self.state)
        self._say(StageInterrupted(stage=self.stage, attempt=self.attempt.number, signal_number=number))
        remains = self._remains()
        return Interrupted(
            f"stage {self.stage} was {self.attempt.reason}; {remains}",
            signal_number=number,
            hint=remains.how_to_resume,
        )

    def _failed(self, error: SainetError) -> SainetError:
        """`error`, once state.json and the log of events have it."""
        self.record.status = "interrupted" if isinstance(error, Interrupted | GuardStopError) else "failed"
        self.attempt.reason = error.message
        self.folder.write_state(self.state)
        self._say(
            StageFailed(
                stage=self.stage,
                attempt=self.attempt.number,
                exit_code=error.code,
                message=error.message,
                hint=error.hint,
            )
        )
        return error

    def _remains(self) -> Remains:
        return Remains(self.state.command, self.paths, self.record)
