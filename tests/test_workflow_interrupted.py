"""A workflow that is killed or stopped at any point goes on where it was, and leaves no process behind."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from running import SMALL, interrupt, sainet, spawn, training_pid, wait_for, wait_until_alone

from sainet.data.demo import write_demo
from sainet.protocol import (
    CheckpointSaved,
    EpochDone,
    Event,
    Stage,
    StageRestarting,
    TrainingDone,
    TrainingStarted,
    read_events,
)
from sainet.state import Position, RunFolder

EPOCHS = 8


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    write_demo(tmp_path / "demo", train=16, val=4, width=128, height=72, seed=0)
    return RunFolder(tmp_path / "runs" / "both")


def workflow(folder: RunFolder, *extra: str) -> list[str]:
    demo = folder.root.parent.parent / "demo"
    return [
        *("full-workflow", "--run", folder.name, *SMALL),
        *("--set", f"stage1.data={demo}/stage-1/data.yaml", "--set", f"stage2.data={demo}/stage-2/data.yaml"),
        *("--epochs", str(EPOCHS), *extra),
    ]


def start(folder: RunFolder) -> "subprocess.Popen[str]":
    return spawn(*workflow(folder), cwd=folder.root.parent.parent)


def new_epoch(folder: RunFolder, stage: Stage):  # type: ignore[no-untyped-def]
    """Wanted: an epoch of `stage` in an attempt that has not been seen yet."""
    before = {(e.attempt, e.stage) for e in read_events(folder.events) if e.stage == stage}
    latest = max((attempt for attempt, _ in before), default=0)

    def wanted(event: Event) -> bool:
        return isinstance(event, EpochDone) and event.stage == stage and event.attempt > latest

    return wanted


@pytest.mark.train
@pytest.mark.parametrize("stage", [1, 2])
def test_goes_on_after_kills_and_ctrl_c_in_stage(folder: RunFolder, stage: Stage) -> None:
    # the training process is killed, and started again by its supervisor
    process = start(folder)
    wait_for(folder, new_epoch(folder, stage), process, timeout_s=150)
    again = new_epoch(folder, stage)
    os.kill(training_pid(folder), signal.SIGKILL)
    wait_for(folder, again, process)
    assert any(isinstance(event, StageRestarting) for event in read_events(folder.events))

    # the supervisor is killed
    process.kill()
    output = process.communicate(timeout=30)[0]
    assert "killed by somebody (SIGKILL), and not by the kernel for want of memory [restart 1 of 3]" in output
    wait_until_alone(folder)
    assert folder.read_state().stages[stage].status == "running"  # nobody was left to write anything else

    # Ctrl-C
    process = start(folder)
    wait_for(folder, new_epoch(folder, stage), process)
    interrupt(process)
    output = process.communicate(timeout=30)[0]
    assert process.returncode == 130
    assert "the same command goes on from there" in output
    wait_until_alone(folder)
    state = folder.read_state()
    assert state.stages[stage].status == "interrupted"
    assert state.stages[stage].goes_on_at is not None
    assert f"it goes on at {state.stages[stage].goes_on_at.text(EPOCHS)}" in output
    assert 0 < state.stages[stage].epochs_done < EPOCHS

    # and to the end
    done = sainet(*workflow(folder), cwd=folder.root.parent.parent)
    assert done.returncode == 0, done.stderr
    wait_until_alone(folder)
    state = folder.read_state()
    assert state.status == "done"
    assert len(state.stages[stage].attempts) == 4
    other: Stage = 1 if stage == 2 else 2
    assert len(state.stages[other].attempts) == 1, "a finished stage is never trained again"
    assert every_epoch_stands(folder, stage)
    for each in (1, 2):
        assert folder.stage(each).best.exists()


def every_epoch_stands(folder: RunFolder, stage: Stage) -> bool:
    """Each attempt began where the newest checkpoint of those before stood, and the last one reached the end."""
    events = [event for event in read_events(folder.events) if event.stage == stage]
    kept: Position | None = None
    saved = 0
    for event in events:
        if isinstance(event, TrainingStarted):
            # Killed before the first checkpoint, a training goes on from last.pt, or begins again.
            assert Position.told_by(event) == kept or (kept is None and event.first_epoch <= 1)
        if isinstance(event, CheckpointSaved):
            kept = Position.told_by(event)
        if isinstance(event, EpochDone):
            saved = event.epoch + 1
    finished = [event for event in events if isinstance(event, TrainingDone)]
    return saved == EPOCHS and len(finished) == 1 and finished[0].epochs_trained == EPOCHS


@pytest.mark.train
def test_sigterm_exits_143_and_a_second_process_is_locked_out_meanwhile(folder: RunFolder) -> None:
    process = start(folder)
    wait_for(folder, new_epoch(folder, 1), process)

    second = sainet(*workflow(folder), cwd=folder.root.parent.parent)
    assert second.returncode == 2
    assert f"pid {process.pid}" in second.stderr

    process.terminate()
    output = process.communicate(timeout=30)[0]
    assert process.returncode == 143, output
    wait_until_alone(folder)
    assert folder.read_state().stages[1].attempts[-1].reason == "asked to stop (SIGTERM)"
