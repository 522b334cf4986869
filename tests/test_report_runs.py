"""What a run's folder says of it: made of real state and events, read back as a person would."""

import fcntl
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sainet.protocol import (
    BatchDone,
    CheckpointSaved,
    EpochDone,
    Event,
    ProcessFailed,
    Stage,
    StageFailed,
    StageStarted,
    TrainingDone,
    TrainingStarted,
    Warned,
    append_event,
)
from sainet.report.history import read_history
from sainet.report.runs import RunSummary, UnreadableRun, is_driven, summarise
from sainet.state import Attempt, Position, Request, RunFolder, RunState, StageState, Status

T0 = 1_700_000_000.0


def make_run(runs_dir: Path, name: str, stages: dict[Stage, StageState], events: list[Event]) -> RunFolder:
    """A run of the profile h200/fast as its supervisor leaves it, without a lock."""
    folder = RunFolder(runs_dir / name)
    folder.root.mkdir(parents=True)
    command = "full-workflow" if len(stages) > 1 else "train"
    request = Request(profile="h200", tier="fast")
    folder.write_state(RunState(name=name, command=command, request=request, created_s=T0, stages=stages))
    for event in events:
        append_event(folder.events, event)
    return folder


def stage_state(
    status: Status, attempts: int = 1, *, epochs_done: int = 0, ended: bool = True, **values: object
) -> StageState:
    """A stage of 5 epochs whose attempts start every 1000 s and take 600 s."""
    tries = [
        Attempt(
            number=number,
            started_s=T0 + 1000.0 * number,
            ended_s=T0 + 1000.0 * number + 600.0 if ended or number < attempts else None,
            exit_code=0 if status == "done" else 4,
        )
        for number in range(1, attempts + 1)
    ]
    return StageState(status=status, attempts=tries, epochs=5, epochs_done=epochs_done, **values)


def epoch_done(epoch: int, map50: float, *, stage: Stage = 1, attempt: int = 1, best: bool = True) -> EpochDone:
    return EpochDone(
        time_s=T0 + 1000.0 * attempt + 100.0 * (epoch + 1),
        stage=stage,
        attempt=attempt,
        epoch=epoch,
        epochs=5,
        losses={"box_loss": 1.2, "cls_loss": 0.8, "dfl_loss": 1.1},
        metrics={"precision": 0.7, "recall": 0.6, "map50": map50, "map50-95": map50 / 2},
        fitness=map50 / 2,
        is_best=best,
        lr=0.01,
        seconds=100.0,
    )


def checkpoint(
    epoch: int, batch: int, *, attempt: int = 1, at_s: float = 200.0, seconds: float = 2.0
) -> CheckpointSaved:
    """One that was written `at_s` seconds after its attempt's start."""
    return CheckpointSaved(
        time_s=T0 + 1000.0 * attempt + at_s,
        stage=1,
        attempt=attempt,
        epoch=epoch,
        batch=batch,
        batches=10,
        reason="interval",
        written_bytes=98 * 1024**2,
        seconds=seconds,
    )


def training_started(first_epoch: int, attempt: int, first_batch: int = 0) -> TrainingStarted:
    return TrainingStarted(
        time_s=T0 + 1000.0 * attempt,
        stage=1,
        attempt=attempt,
        first_epoch=first_epoch,
        first_batch=first_batch,
        epochs=5,
        batches=10,
        train_images=80,
        val_images=16,
    )


@contextmanager
def driven(folder: RunFolder) -> Iterator[None]:
    """Hold the run's lock as a supervisor does."""
    with folder.lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def summary_of(folder: RunFolder, now_s: float | None = None) -> RunSummary:
    summary = summarise(folder, now_s=now_s)
    assert isinstance(summary, RunSummary)
    return summary


def test_a_run_that_somebody_drives_is_running_and_its_time_goes_on(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "a", {1: stage_state("running", ended=False)}, [])
    with driven(folder):
        summary = summary_of(folder, now_s=T0 + 1000.0 + 7200.0)
    assert (summary.status, summary.process_gone) == ("running", False)
    assert summary.current.seconds == 7200.0
    assert summary.resume is None


@pytest.mark.parametrize("lock_left_behind", [True, False])
def test_a_run_whose_process_is_gone_is_interrupted(tmp_path: Path, lock_left_behind: bool) -> None:
    folder = make_run(tmp_path, "a", {1: stage_state("running")}, [])
    if lock_left_behind:
        folder.lock.touch()
    summary = summary_of(folder)
    assert (summary.status, summary.process_gone, summary.current.status) == ("interrupted", True, "interrupted")


def test_looking_at_the_lock_does_not_take_it(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "a", {1: stage_state("running")}, [])
    folder.lock.touch()
    with folder.lock.open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)  # somebody else who looks
        assert not is_driven(folder)
    with driven(folder):
        assert is_driven(folder)
    assert not is_driven(folder)


def test_time_after_the_process_went_is_not_training_time(tmp_path: Path) -> None:
    state = stage_state("running", attempts=2, ended=False)
    state.attempts[0].ended_s = None  # its supervisor was killed too
    folder = make_run(tmp_path, "a", {1: state}, [epoch_done(0, 0.3), epoch_done(1, 0.4, attempt=2)])
    with driven(folder):
        summary = summary_of(folder, now_s=T0 + 2000.0 + 50.0)
    assert summary.current.seconds == 100.0 + 50.0


def test_the_metrics_of_a_stage_at_work_are_those_of_its_best_epoch(tmp_path: Path) -> None:
    events: list[Event] = [epoch_done(0, 0.3), epoch_done(1, 0.5), epoch_done(2, 0.4, best=False)]
    folder = make_run(tmp_path, "a", {1: stage_state("interrupted", epochs_done=3)}, events)
    assert summary_of(folder).current.metrics["map50"] == 0.5


def test_epochs_that_a_later_attempt_trained_again_do_not_count(tmp_path: Path) -> None:
    events: list[Event] = [
        training_started(0, 1),
        epoch_done(0, 0.3),
        epoch_done(1, 0.9),
        training_started(1, 2),
        epoch_done(1, 0.4, attempt=2),
    ]
    folder = make_run(tmp_path, "a", {1: stage_state("interrupted", attempts=2)}, events)
    assert summary_of(folder).current.metrics["map50"] == 0.4


def test_a_stage_that_is_done_has_the_metrics_of_its_final_evaluation(tmp_path: Path) -> None:
    done = TrainingDone(
        stage=1,
        attempt=1,
        metrics={},
        best_weights=Path("b"),
        last_weights=Path("l"),
        epochs_trained=3,
        stopped_early=True,
    )
    state = stage_state("done", epochs_done=3, metrics={"map50": 0.61})
    folder = make_run(tmp_path, "a", {1: state, 2: StageState()}, [epoch_done(2, 0.6), done])
    folder.stage(1).weights.mkdir(parents=True)
    folder.stage(1).best.touch()
    first, second = summary_of(folder).stages
    assert (first.metrics, first.stopped_early, first.seconds) == ({"map50": 0.61}, True, 600.0)
    assert (first.weights, second.weights) == (folder.stage(1).best, None)
    assert summary_of(folder).current.stage == 2


def test_a_stage_tells_where_its_newest_checkpoint_stands(tmp_path: Path) -> None:
    """As the events have it: the training process saves its state after its supervisor was killed, too."""
    events: list[Event] = [training_started(0, 1), checkpoint(0, 4), checkpoint(1, 7)]
    folder = make_run(tmp_path, "a", {1: stage_state("running")}, events)
    assert summary_of(folder).current.goes_on_at is None, "the files are gone"
    folder.stage(1).checkpoint.mkdir(parents=True)
    (folder.stage(1).checkpoint / "slot-1").touch()
    assert summary_of(folder).current.goes_on_at == Position(epoch=1, batch=7, batches=10)
    append_event(folder.events, training_started(0, 2, first_batch=4))  # the newest one was damaged
    assert summary_of(folder).current.goes_on_at == Position(epoch=0, batch=4, batches=10)


def test_a_stage_that_is_done_goes_on_nowhere(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "a", {1: stage_state("done")}, [checkpoint(5, 0)])
    folder.stage(1).checkpoint.mkdir(parents=True)
    (folder.stage(1).checkpoint / "slot-1").touch()
    assert summary_of(folder).current.goes_on_at is None


def test_the_share_of_the_time_that_checkpoints_took_is_of_the_training_alone(tmp_path: Path) -> None:
    started = training_started(0, 1).model_copy(update={"time_s": T0 + 1200.0})  # 200 s of 600 s were for the labels
    events: list[Event] = [started, checkpoint(0, 4, at_s=300.0), checkpoint(0, 8, at_s=400.0)]
    ended = make_run(tmp_path, "a", {1: stage_state("interrupted")}, events)
    assert read_history(ended)[0].saving_share == pytest.approx(4.0 / 400.0)
    going_on = make_run(tmp_path, "b", {1: stage_state("running", ended=False)}, events)
    assert read_history(going_on)[0].saving_share == pytest.approx(4.0 / 200.0)
    without = make_run(tmp_path, "c", {1: stage_state("interrupted")}, events[:1])
    assert read_history(without)[0].saving_share is None


def test_a_state_that_cannot_be_read_is_said_so_and_does_not_raise(tmp_path: Path) -> None:
    for name, content in (("torn", b'{"version": 1'), ("binary", b"\xff\xfe\x00"), ("other", b'{"version": 2}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_bytes(content)
        summary = summarise(RunFolder(tmp_path / name))
        assert isinstance(summary, UnreadableRun)
        assert str(tmp_path / name) in summary.problem


def test_history_tells_each_attempt_with_its_own_events(tmp_path: Path) -> None:
    events: list[Event] = [
        StageStarted(stage=1, attempt=1, pid=10, resumed=False),
        epoch_done(0, 0.3),
        Warned(stage=1, attempt=1, message="two images are empty"),
        ProcessFailed(stage=1, attempt=1, exit_code=4, message="RAM is short", hint="fewer workers"),
        StageFailed(stage=1, attempt=1, exit_code=4, message="RAM is short", hint="fewer workers"),
        epoch_done(1, 0.4, attempt=2),
    ]
    folder = make_run(tmp_path, "a", {1: stage_state("failed", attempts=2)}, events)
    first, second = read_history(folder)
    assert [warning.message for warning in first.warnings] == ["two images are empty"]
    assert [(failure.message, failure.hint) for failure in first.failures] == [("RAM is short", "fewer workers")]
    assert [epoch.epoch for epoch in second.epochs] == [1]
    assert first.log == folder.root / "stage-1/attempts/001/log.txt"


def test_batches_and_torn_lines_do_not_disturb_the_history(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "a", {1: stage_state("interrupted")}, [])
    batch = BatchDone(
        time_s=T0 + 1e8,
        stage=1,
        attempt=1,
        epoch=0,
        epochs=5,
        batch=3,
        batches=10,
        losses={},
        images_per_s=9.0,
    )
    says_batch = Warned(stage=1, attempt=1, message='not a batch: "event":"batch"')
    for event in (batch, says_batch, batch):
        append_event(folder.events, event)
    with folder.events.open("a") as stream:
        stream.write('{"event":"epoch","time')
    assert read_history(folder)[0].events == (says_batch,)


def test_a_run_is_as_fresh_as_its_last_event(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "a", {1: stage_state("interrupted")}, [])
    later = summary_of(folder).updated_s + 500.0
    append_event(folder.events, Warned(time_s=later, stage=1, attempt=1, message="late"))
    assert summary_of(folder).updated_s == later


def test_the_resume_command_leaves_what_was_asked_for_to_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stages: dict[Stage, StageState] = {1: stage_state("failed")}
    here = make_run(tmp_path / "runs", "a", stages, [])
    assert summary_of(here).resume == "sainet train --stage 1 --run a --resume"
    elsewhere = make_run(tmp_path / "my runs", "b", {**stages, 2: StageState()}, [])
    assert summary_of(elsewhere).resume == (f"sainet full-workflow --run b --runs-dir '{tmp_path}/my runs' --resume")


def test_the_resume_command_of_two_trained_stages_names_the_one_that_is_not_done(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs", "a", {1: stage_state("done"), 2: stage_state("failed")}, [])
    state = folder.read_state()
    state.command = "train"
    folder.write_state(state)
    assert "train --stage 2 --run a" in (summary_of(folder).resume or "")


def test_the_resume_command_is_one_that_sainet_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    commands = [
        summary_of(make_run(tmp_path / "runs", "one", {2: stage_state("interrupted")}, [])).resume,
        summary_of(make_run(tmp_path / "runs", "two", {1: stage_state("failed"), 2: StageState()}, [])).resume,
    ]
    for command in commands:
        assert command is not None
        words = [sys.executable, "-m", "sainet", *shlex.split(command)[1:], "--dry-run"]
        printed = subprocess.run(words, capture_output=True, text=True, check=False)
        assert printed.returncode != 2, printed.stderr
