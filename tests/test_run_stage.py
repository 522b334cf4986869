"""The supervisor's side of one attempt: what it makes of what the training process says, and of how it ends.

The training process is a script that says and does what the test wants; everything else is real.
"""

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import make_tiny_set

from sainet.errors import GuardStopError, Interrupted, RunExistsError, SainetError, StorageError, UsageError
from sainet.hardware.machine import Machine, read_machine
from sainet.hardware.process import group_members, process_started_s
from sainet.protocol import CheckpointSaved, Event, TrainingStarted, Warned
from sainet.report.memory_now import MemoryNow
from sainet.run import attempt as attempt_module
from sainet.run import stage as stage_module
from sainet.state import Position, Request, RunFolder, StageState
from sainet.workflow import Workflow

_HEAD = """
import os, signal, subprocess, sys, time
from pathlib import Path
from sainet.protocol import *

plan = Plan.read(Path(sys.argv[1]))
says = {"stage": plan.stage, "attempt": plan.attempt}

def say(event):
    append_event(plan.events, event)

def started(epoch=0, batch=0):
    numbers = {"epochs": 50, "batches": 1008, "train_images": 9, "val_images": 3}
    say(TrainingStarted(**says, first_epoch=epoch, first_batch=batch, **numbers))

def saved(epoch, batch, reason="interval"):
    plan.checkpoint_dir.mkdir(parents=True, exist_ok=True)
    (plan.checkpoint_dir / "slot-0").write_bytes(b"state")
    say(CheckpointSaved(**says, epoch=epoch, batch=batch, batches=1008, reason=reason, written_bytes=5, seconds=0.1))

def wait_for_sigterm():
    signal.sigwait({signal.SIGTERM})

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
"""


ONCE = "guard.max_restarts", "0"
"""A killed training is not started again by itself."""


class Eyes:
    """A view that keeps what it is shown, and does something at the sight of an event."""

    def __init__(self, at_sight: Callable[[Event], None]) -> None:
        self.seen: list[Event] = []
        self._at_sight = at_sight

    def handle(self, event: Event) -> None:
        self.seen.append(event)
        self._at_sight(event)

    def show_memory(self, now: MemoryNow) -> None:
        self.memory = now


class Stage:
    """Stage 1 of the run `night`, trained by scripts."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.data = make_tiny_set(root / "set").yaml
        self.folder = RunFolder(root / "runs" / "night")
        self._script = root / "training.py"
        self._here = root
        monkeypatch.setattr(stage_module, "start", self._start)

    def train(
        self,
        script: str,
        *sets: tuple[str, str],
        weights: str | Path = "yolov8n.yaml",
        resume: bool = False,
        at_sight: Callable[[Event], None] = lambda _: None,
        read: Callable[[], Machine] = read_machine,
    ) -> Eyes:
        self._script.write_text(_HEAD + textwrap.dedent(script))
        asked = [("data", str(self.data)), ("weights", str(weights)), ("imgsz", "64"), ("batch", "4"), *sets]
        request = Request(profile="cpu", sets=[(key, value, "--set") for key, value in asked], folder=str(self._here))
        eyes = Eyes(at_sight)

        @contextmanager
        def view(_name: str, _stages: int) -> Iterator[Eyes]:
            yield eyes

        workflow = Workflow("train", [1], request, self.folder, read(), read=read)
        workflow.run(resume=resume, make_view=view, warn=lambda _: None)
        return eyes

    def ends(self, script: str, *sets: tuple[str, str], **options: object) -> SainetError:
        """The error that a training ends with that does not finish."""
        with pytest.raises(SainetError) as caught:
            self.train(script, *sets, **options)  # type: ignore[arg-type]
        return caught.value

    @property
    def record(self) -> StageState:
        return self.folder.read_state().stages[1]

    def _start(self, plan: Path, log: Path, _env: object) -> "subprocess.Popen[bytes]":
        with log.open("ab") as stream:
            return subprocess.Popen(
                [sys.executable, str(self._script), str(plan)], stdout=stream, stderr=stream, start_new_session=True
            )


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


def ctrl_c(event: Event) -> None:
    """Press it as soon as training has begun."""
    if isinstance(event, TrainingStarted):
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_waits_for_the_checkpoint_and_says_where_the_training_goes_on(stage: Stage) -> None:
    alive: list[bool] = []

    def look(event: Event) -> None:
        ctrl_c(event)
        if isinstance(event, CheckpointSaved):
            alive.append(bool(group_members(stage.record.attempts[-1].pid or 0)))

    error = stage.ends(
        """
        started()
        wait_for_sigterm()
        time.sleep(0.5)  # the running batch
        saved(2, 120, "stop")
        time.sleep(0.5)
        sys.exit(143)
        """,
        at_sight=look,
    )
    assert isinstance(error, Interrupted)
    assert error.code == 130
    assert error.message == "stage 1 was asked to stop (Ctrl-C); it goes on at epoch 3, batch 121 of 1008"
    assert error.hint == "the same command --resume goes on from there"
    assert alive == [True], "events are read while it waits"
    assert stage.record.status == "interrupted"
    assert stage.record.attempts[-1].reason == "asked to stop (Ctrl-C)"
    assert stage.record.goes_on_at == Position(epoch=2, batch=120, batches=1008)


def test_the_loader_workers_are_not_asked_to_stop_while_the_training_finishes_its_batch(stage: Stage) -> None:
    told: list[str] = []

    def look(event: Event) -> None:
        told.extend([event.message] if isinstance(event, Warned) else [])
        ctrl_c(event)

    stage.ends(
        """
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        started()
        wait_for_sigterm()
        time.sleep(0.5)
        say(Warned(**says, message=f"worker: {worker.poll()}"))
        sys.exit(143)
        """,
        at_sight=look,
    )
    assert told[-1] == "worker: None"
    (pid,) = [attempt.pid for attempt in stage.record.attempts]
    assert pid is not None
    assert group_members(pid) == [], "and none outlives it"


def test_a_training_that_does_not_end_in_time_is_killed_and_its_newest_checkpoint_stands(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_module, "_STOP_GRACE_S", 0.5)
    error = stage.ends("started(); saved(0, 3); time.sleep(60)", at_sight=ctrl_c)
    assert "had to be killed; it goes on at epoch 1, batch 4 of 1008" in error.message
    assert stage.record.attempts[-1].exit_code == -signal.SIGKILL


def test_the_grace_leaves_room_before_a_scheduler_kills() -> None:
    assert 20 <= attempt_module._STOP_GRACE_S <= 27


def test_a_training_that_was_ordered_to_stop_ends_with_4_and_can_be_resumed(stage: Stage) -> None:
    error = stage.ends('started(); saved(2, 1008, "stop"); sys.exit(4)')
    assert isinstance(error, GuardStopError)
    assert error.message == "the training was ordered to stop"
    assert error.hint == "the same command --resume goes on at the validation of epoch 3"
    assert stage.record.status == "interrupted"


def test_a_killed_training_says_where_it_goes_on(stage: Stage) -> None:
    written: list[Position | None] = []

    def look(event: Event) -> None:
        if isinstance(event, CheckpointSaved):
            written.append(stage.record.goes_on_at)

    killed = "started(); saved(0, 60); os.kill(os.getpid(), signal.SIGKILL)"
    error = stage.ends(killed, ONCE, at_sight=look)
    assert written == [Position(epoch=0, batch=60, batches=1008)], "a killed supervisor will not write it any more"
    assert error.code == 6
    assert error.hint is not None
    assert error.hint.startswith("the same command --resume goes on at epoch 1, batch 61 of 1008; the log: ")
    assert stage.record.status == "failed"


def test_after_the_last_epoch_only_the_final_evaluation_is_left(stage: Stage) -> None:
    error = stage.ends('started(); saved(50, 0, "epoch"); os.kill(os.getpid(), signal.SIGKILL)', ONCE)
    assert "goes on at the final evaluation" in str(error.hint)


def test_a_training_that_kept_nothing_starts_anew(stage: Stage) -> None:
    error = stage.ends("started(); wait_for_sigterm(); sys.exit(143)", at_sight=ctrl_c)
    assert error.message.endswith("no epoch was finished")
    assert error.hint == "the same command --resume starts anew"


def test_where_only_epochs_are_kept_it_says_how_many(stage: Stage) -> None:
    error = stage.ends(
        """
        started(epoch=2)
        plan.weights_dir.mkdir()
        (plan.weights_dir / "last.pt").write_bytes(b"weights")
        wait_for_sigterm()
        sys.exit(143)
        """,
        at_sight=ctrl_c,
    )
    assert error.message.endswith("2 epochs are kept")


def test_a_stage_that_was_stopped_in_its_first_epoch_has_begun(stage: Stage) -> None:
    """There is no last.pt yet, but there is something to go on from, and it is of this very training."""
    stage.ends('started(); saved(0, 60, "stop"); sys.exit(143)')
    assert not stage.folder.stage(1).last.exists()

    assert isinstance(stage.ends(""), RunExistsError)

    another = stage.ends("", ("optim.lr0", "0.5"), resume=True)
    assert isinstance(another, UsageError)
    assert "is trained with optim.lr0 = 0.01, not 0.5" in str(another)

    seen: list[Event] = []
    stage.ends("started(0, 60); sys.exit(143)", resume=True, at_sight=seen.append)
    (begun,) = [event for event in seen if isinstance(event, TrainingStarted)]
    assert begun.first_batch == 60
    assert [attempt.number for attempt in stage.record.attempts] == [1, 2]


def test_the_initial_weights_of_a_stage_stopped_in_its_first_epoch_may_be_gone(stage: Stage, tmp_path: Path) -> None:
    weights = tmp_path / "start.yaml"
    weights.write_text("nc: 80\n")
    stage.ends('started(); saved(0, 60, "stop"); sys.exit(143)', weights=weights)
    weights.unlink()
    again = stage.ends("started(0, 60); sys.exit(143 if plan.resume else 0)", weights=weights, resume=True)
    assert isinstance(again, Interrupted), again


def test_a_checkpoint_whose_state_json_is_gone_is_not_gone_on_with(stage: Stage) -> None:
    stage.ends('started(); saved(0, 60, "stop"); sys.exit(143)')
    stage.folder.state.unlink()
    error = stage.ends("")
    assert isinstance(error, StorageError)
    assert "holds a training of stage 1, but no state.json says of what" in str(error)


def test_damaged_checkpoints_end_with_7_and_what_the_training_process_says(stage: Stage) -> None:
    stage.ends('started(); saved(0, 60, "stop"); sys.exit(143)')
    error = stage.ends(
        """
        say(ProcessFailed(**says, exit_code=7, message="no checkpoint is intact", hint="put a copy back"))
        sys.exit(7)
        """,
        resume=True,
    )
    assert isinstance(error, StorageError)
    assert (error.message, error.hint) == ("no checkpoint is intact", "put a copy back")


def test_a_state_that_could_not_be_saved_on_ctrl_c_is_told_by_its_exit_code(stage: Stage) -> None:
    error = stage.ends(
        """
        saved(0, 0, "start"); started(); wait_for_sigterm()
        say(ProcessFailed(**says, exit_code=7, message="no space left", hint="free some"))
        sys.exit(7)
        """,
        at_sight=ctrl_c,
    )
    assert isinstance(error, StorageError)
    assert error.message == "no space left"
    assert stage.record.goes_on_at == Position(epoch=0, batch=0, batches=1008)


def test_the_last_words_of_an_attempt_before_are_not_those_of_this_one(stage: Stage) -> None:
    stage.ends('started(); saved(0, 60, "stop"); sys.exit(143)')
    stage.ends(
        """
        before = {"stage": plan.stage, "attempt": plan.attempt - 1}
        figures = {"metrics": {}, "best_weights": "best.pt", "last_weights": "last.pt"}
        say(TrainingDone(**before, **figures, epochs_trained=50, stopped_early=False))
        sys.exit(143)
        """,
        resume=True,
    )
    assert stage.record.status == "interrupted"


def test_a_resume_from_an_older_place_takes_back_the_epochs_after_it(stage: Stage) -> None:
    epoch = (
        "say(EpochDone(**says, epoch=1, epochs=50, losses={}, metrics={}, fitness=0, is_best=True, lr=0, seconds=1))"
    )
    stage.ends(f"started(1); {epoch}; saved(2, 0, 'epoch'); os.kill(os.getpid(), 9)", ONCE)
    assert stage.record.epochs_done == 2
    stage.ends("started(1, 500); os.kill(os.getpid(), 9)", ONCE, resume=True)
    assert stage.record.epochs_done == 1
    assert stage.record.goes_on_at == Position(epoch=1, batch=500, batches=1008)


def test_a_training_left_by_a_killed_supervisor_is_ended_before_the_next_attempt(stage: Stage) -> None:
    stage.ends('started(); saved(0, 60, "stop"); sys.exit(143)')
    left = subprocess.Popen(
        [sys.executable, "-c", "import signal, time; signal.signal(15, lambda *_: exit(143)); time.sleep(60)"],
        start_new_session=True,
    )
    state = stage.folder.read_state()
    attempt = state.stages[1].attempts[-1]
    attempt.pid, attempt.pid_started_s, attempt.ended_s = left.pid, process_started_s(left.pid), None
    stage.folder.write_state(state)

    alive: list[bool] = []

    def look(event: Event) -> None:
        if isinstance(event, TrainingStarted):
            alive.append(left.poll() is None)

    stage.ends("started(0, 60); sys.exit(143)", resume=True, at_sight=look)
    assert alive == [False]
    assert stage.record.attempts[0].reason == "the supervisor was killed"


def test_what_an_attempt_of_a_killed_supervisor_still_holds_does_not_stand_against_its_resume(stage: Stage) -> None:
    stage.ends('started(); saved(0, 60, "stop"); sys.exit(143)')
    left = subprocess.Popen(["sleep", "60"], start_new_session=True)
    state = stage.folder.read_state()
    attempt = state.stages[1].attempts[-1]
    attempt.pid, attempt.pid_started_s, attempt.ended_s = left.pid, process_started_s(left.pid), None
    stage.folder.write_state(state)

    def read() -> Machine:
        return read_machine() if left.poll() is not None else without_ram()

    assert stage.ends("started(0, 60); sys.exit(143)", resume=True, read=read).code == 143
    assert len(stage.record.attempts) == 2


def test_the_machine_is_looked_at_again_when_a_stage_starts(stage: Stage) -> None:
    """Between the stages of a workflow lie hours, and others come and go."""
    readings = [read_machine(), without_ram()]
    error = stage.ends("started(); sys.exit(143)", read=lambda: readings.pop(0))
    assert error.code == 3
    assert "RAM does not hold it" in str(error)


def without_ram() -> Machine:
    """This machine with somebody else on it."""
    machine = read_machine()
    return replace(machine, ram=replace(machine.ram, working_set_bytes=machine.ram.limit_bytes, headroom_bytes=0))
