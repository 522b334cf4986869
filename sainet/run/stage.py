"""One attempt at one stage: start it, watch it, and write into state.json what became of it."""

import contextlib
import subprocess
import time
from dataclasses import dataclass, field
from typing import Protocol

from sainet.errors import GuardStopError, Interrupted, SainetError, StorageError
from sainet.files import LineTail, replace_text
from sainet.hardware.process import end_group, process_started_s
from sainet.hardware.ram import read_ram
from sainet.protocol import (
    CheckpointSaved,
    EpochDone,
    Event,
    Orders,
    Plan,
    ProcessFailed,
    Stage,
    StageDone,
    StageFailed,
    StageInterrupted,
    StageStarted,
    TrainingDone,
    TrainingStarted,
    Warned,
    append_event,
    parse_event,
)
from sainet.run.ending import Remains, failure, stop_reason
from sainet.run.launch import start
from sainet.run.plan import make_plan
from sainet.run.preflight import Preflight, classes_of
from sainet.run.signals import Caught
from sainet.state import Attempt, Position, RunFolder, RunState, StageFolder, StageState

_POLL_S = 0.2
_MEMORY_EVERY_S = 1.0
_STOP_GRACE_S = 25.0
"""For the running batch and its checkpoint: Kubernetes and SLURM kill 30 s after their SIGTERM."""
_SAME_PROCESS_S = 2.0


class View(Protocol):
    """Who shows the run to a person."""

    def handle(self, event: Event) -> None: ...

    def show_memory(self, working_set_bytes: int, limit_bytes: int) -> None: ...


def end_leftovers(record: StageState) -> bool:
    """A training process whose supervisor was killed may still be on its way out, holding memory: end it.

    True where there was one.
    """
    found = False
    for attempt in record.attempts[-1:]:
        if attempt.pid is not None and attempt.pid_started_s is not None:
            started_s = process_started_s(attempt.pid)
            if started_s is not None and abs(started_s - attempt.pid_started_s) < _SAME_PROCESS_S:
                found = True
                end_group(attempt.pid, grace_s=_STOP_GRACE_S)
        if attempt.ended_s is None:
            attempt.ended_s, attempt.reason = time.time(), "the supervisor was killed"
    return found


@dataclass
class StageRun:
    """Drives one stage of a run to its end. The caller holds the run's lock."""

    folder: RunFolder
    state: RunState
    stage: Stage
    preflight: Preflight
    view: View
    caught: Caught
    _done: TrainingDone | None = field(default=None, init=False)
    _failed: ProcessFailed | None = field(default=None, init=False)

    def run(self) -> StageState:
        """Train until the stage is done.

        Raises `Interrupted` when asked to stop, and the error of its exit code when the training process fails;
        either way state.json says so and the stage can be resumed.
        """
        end_leftovers(self.record)
        attempt = Attempt(number=len(self.record.attempts) + 1, started_s=time.time())
        plan = self._write_plan(attempt)
        self.record.attempts.append(attempt)
        self.record.status, self.record.classes = "running", classes_of(plan.data)
        self.folder.write_state(self.state)
        tail = LineTail(self.folder.events, from_end=True)
        log = self.paths.log(attempt.number)
        process = start(self.paths.plan(attempt.number), log, self.preflight.resolved.config.env)
        try:
            attempt.pid, attempt.pid_started_s = process.pid, process_started_s(process.pid)
            self.folder.write_state(self.state)
            self._say(StageStarted(stage=self.stage, attempt=attempt.number, pid=process.pid, resumed=plan.resume))
            self._record_force(attempt.number)
            self._watch(process, tail)
            self._stop(process, tail)
        except Exception as error:  # ours, not the training's: say so before the training is ended
            attempt.reason = f"the supervisor failed: {type(error).__name__}: {error}"
            with contextlib.suppress(StorageError, OSError):
                self.folder.write_state(self.state)
            raise
        finally:
            end_group(process.pid, grace_s=0)
            process.wait()
        self._read(tail)
        return self._conclude(attempt, process.returncode)

    @property
    def record(self) -> StageState:
        return self.state.stages[self.stage]

    @property
    def paths(self) -> StageFolder:
        return self.folder.stage(self.stage)

    # --- before

    def _write_plan(self, attempt: Attempt) -> Plan:
        plan = make_plan(self.preflight, self.folder, self.stage, attempt.number, resume=self.paths.has_begun)
        plan.write(self.paths.plan(attempt.number))
        replace_text(plan.orders, Orders().model_dump_json() + "\n")
        return plan

    def _record_force(self, attempt: int) -> None:
        """What `--force` started in spite of is part of the run's story."""
        for problem in self.preflight.forced:
            message = f"started by --force in spite of: {problem.message}"
            self._say(Warned(stage=self.stage, attempt=attempt, message=message))

    # --- while it runs

    def _watch(self, process: "subprocess.Popen[bytes]", tail: LineTail) -> None:
        """Until the process ends, or until somebody asks us to stop it."""
        memory_s = 0.0
        while process.poll() is None and self.caught.number is None:
            self._read(tail)
            if time.monotonic() - memory_s >= _MEMORY_EVERY_S:
                memory_s = time.monotonic()
                ram = read_ram()
                self.view.show_memory(ram.working_set_bytes, ram.limit_bytes)
            time.sleep(_POLL_S)

    def _stop(self, process: "subprocess.Popen[bytes]", tail: LineTail) -> None:
        """Ask the training to save its state and end, and give it time; a second signal to us cuts that short.

        Its loader workers are not asked: it needs them until then, and they end with it.
        """
        if process.poll() is not None:
            return
        self.view.handle(
            Warned(
                stage=self.stage,
                attempt=self.record.attempts[-1].number,
                message=f"stopping; at most {_STOP_GRACE_S:g} s (the same signal again ends it at once)",
            )
        )
        process.terminate()
        deadline_s = time.monotonic() + _STOP_GRACE_S
        while process.poll() is None and self.caught.times < 2 and time.monotonic() < deadline_s:
            self._read(tail)
            time.sleep(_POLL_S)

    def _read(self, tail: LineTail) -> None:
        for line in tail.read():
            event = parse_event(line)
            # A process of an attempt before whose supervisor was killed may have a last word to say.
            if event is not None and (event.stage, event.attempt) == (self.stage, self.record.attempts[-1].number):
                self._take(event)
                self.view.handle(event)

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
            case TrainingDone():
                self._done = event
            case ProcessFailed():
                self._failed = event
            case _:
                pass

    def _say(self, event: Event) -> None:
        append_event(self.folder.events, event)

    # --- after

    def _conclude(self, attempt: Attempt, returncode: int) -> StageState:
        attempt.ended_s, attempt.exit_code = time.time(), returncode
        if self._done is not None:  # everything is on disk, however the process ended afterwards
            return self._finish(attempt, self._done)
        if self.caught.number is not None and self._failed is None:  # what it could not save, say, comes first
            raise self._interrupted(attempt, self.caught.number, returncode)
        raise self._failure(attempt, returncode)

    def _finish(self, attempt: Attempt, done: TrainingDone) -> StageState:
        attempt.reason = "stopped early: patience ran out" if done.stopped_early else "done"
        self.record.status, self.record.metrics = "done", done.metrics
        self.record.epochs_done = done.epochs_trained
        self.folder.write_state(self.state)
        event = StageDone(stage=self.stage, attempt=attempt.number, metrics=done.metrics, weights=done.best_weights)
        self._say(event)
        self.view.handle(event)
        return self.record

    def _interrupted(self, attempt: Attempt, number: int, returncode: int) -> SainetError:
        self.record.status, attempt.reason = "interrupted", stop_reason(number, returncode)
        self.folder.write_state(self.state)
        self._say(StageInterrupted(stage=self.stage, attempt=attempt.number, signal_number=number))
        remains = self._remains()
        return Interrupted(
            f"stage {self.stage} was {attempt.reason}; {remains}",
            signal_number=number,
            hint=remains.how_to_resume,
        )

    def _failure(self, attempt: Attempt, returncode: int) -> SainetError:
        error = failure(returncode, self._failed, self.paths.log(attempt.number), self._remains())
        self.record.status = "interrupted" if isinstance(error, Interrupted | GuardStopError) else "failed"
        attempt.reason = error.message
        self.folder.write_state(self.state)
        self._say(
            StageFailed(
                stage=self.stage,
                attempt=attempt.number,
                exit_code=error.code,
                message=error.message,
                hint=error.hint,
            )
        )
        return error

    def _remains(self) -> Remains:
        return Remains(self.state.command, self.paths, self.record)
