"""How the training process ends, how it goes on, and that it never outlives its supervisor or meets another."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import PlanMaker, TinySet, TinySetMaker, WorkerResult, make_plan, make_tiny_set, worker_result
from engine_cases import all_of, checkpoint, first, results, wait_for

from sainet.errors import DataError, SainetError
from sainet.hardware.process import group_members
from sainet.protocol import (
    BatchDone,
    CheckpointSaved,
    EpochDone,
    Event,
    Plan,
    ProcessFailed,
    TrainingDone,
    TrainingStarted,
    read_events,
)

# --- how the process ends


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RuntimeError("CUDA out of memory.\nMore lines"), 1, "RuntimeError: CUDA out of memory."),
        (ValueError(), 1, "ValueError"),
        (DataError("no images", hint="mend them"), 5, "no images"),
        (OSError(errno.ENOSPC, "No space left on device", "/runs/x"), 7, "no space left while writing /runs/x"),
        (OSError(errno.EIO, "Input/output error", "/data/a.jpg"), 1, "OSError: [Errno 5]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_failure_is_told_in_one_line_and_by_its_exit_code(
    tiny_set: TinySetMaker,
    plan_for: PlanMaker,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    code: int,
    message: str,
) -> None:
    plan = plan_for(tiny_set())
    assert ended_by(error, plan, monkeypatch) == code
    (failed,) = [event for event in read_events(plan.events) if isinstance(event, ProcessFailed)]
    assert failed.exit_code == code
    assert failed.message.startswith(message)
    assert "\n" not in failed.message


def ended_by(error: BaseException, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> int:
    """The worker's exit code when its training raises `error`; this process is not tied to its parent for it."""
    from sainet.engine import worker

    def fail(_plan: Plan) -> None:
        raise error

    monkeypatch.setattr(worker, "tie_to_parent", lambda _pid: None)
    monkeypatch.setattr(worker, "stop_on_sigterm", lambda: None)
    monkeypatch.setattr(worker, "_train", fail)
    monkeypatch.setattr(worker.faulthandler, "enable", lambda: None)
    return worker.main([str(plan.attempt_dir / "plan.json")])


def test_loader_workers_that_end_with_a_stop_are_no_failure(
    tiny_set: TinySetMaker, plan_for: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM goes to the whole group; torch then raises its own error about the workers that followed it."""
    from sainet.engine import lifeline

    plan = plan_for(tiny_set())
    monkeypatch.setattr(lifeline, "_stop_asked", SimpleNamespace(is_set=lambda: True))
    killed = RuntimeError("DataLoader worker (pid 42) is killed by signal: Terminated.")
    assert ended_by(killed, plan, monkeypatch) == 143
    assert not read_events(plan.events)


@pytest.mark.train
def test_a_stop_that_the_interpreter_dropped_is_caught_up_with(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a signal handler raises inside a `__del__` is printed and forgotten."""
    from sainet.engine import lifeline

    monkeypatch.setattr(lifeline, "_stop_asked", SimpleNamespace(is_set=lambda: True))
    plan = plan_for(tiny_set())
    with pytest.raises(lifeline.Stopped):
        engine.train(plan)
    assert not all_of(BatchDone, read_events(plan.events))


def in_the_second_epoch(event: Event) -> bool:
    return isinstance(event, BatchDone) and event.epoch == 1


class Stopped(SimpleNamespace):
    """A training of three epochs that SIGTERM met in its second."""

    root: Path
    data: TinySet
    plan: Plan
    result: WorkerResult
    seconds: float
    group: int


@pytest.mark.train
@pytest.mark.parametrize(
    ("moment", "split"), [("on_train_batch_start", "training"), ("on_val_batch_start", "validation")]
)
def test_a_loader_worker_that_is_killed_is_told_wherever_the_training_is(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, moment: str, split: str
) -> None:
    """PyTorch raises its error from a signal handler: mostly while a batch is computed, not while one is fetched."""
    plan = plan_for(tiny_set(images=16), loader={"workers": 1}, val_loader={"workers": 1}, **ARGUMENTS)
    training = engine.training(plan)

    def kill(_: object) -> None:
        max(multiprocessing.active_children(), key=lambda worker: worker.pid or 0).kill()  # the newest
        time.sleep(5)

    training.add_callback(moment, kill)
    with pytest.raises(SainetError, match=f"a worker of the {split} loader was killed .*SIGKILL"):
        training.train()


@pytest.mark.train
def test_a_training_that_has_said_it_is_done_leaves_no_slots(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    """Nobody would remove them any more: a finished stage is not looked at again."""
    plan = plan_for(tiny_set(images=4), epochs=1, batch=2)
    training = engine.training(plan)
    left: list[bool] = []
    emit = training.reporter.emit

    def look(event: Event) -> None:
        if isinstance(event, TrainingDone):
            left.append(plan.checkpoint_dir.exists())
        emit(event)

    training.reporter.emit = look
    training.train()
    assert left == [False]


ARGUMENTS = {"epochs": 3, "batch": 2}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    root = tmp_path_factory.mktemp("stopped")
    data = make_tiny_set(root / "set", images=16)
    plan = make_plan(root / "run", data, **ARGUMENTS)
    (plan.weights_dir / ".writing").mkdir(parents=True)  # as a process leaves it that was killed while writing
    (plan.weights_dir / ".writing" / "epoch9.pt").write_bytes(b"half a fi")
    (plan.weights_dir / ".last.pt.4242.tmp").write_bytes(b"half a fi")
    asked_s, group = 0.0, 0

    def stop(process: "subprocess.Popen[bytes]") -> None:
        nonlocal asked_s, group
        wait_for(plan, in_the_second_epoch)
        asked_s, group = time.monotonic(), process.pid
        os.killpg(group, signal.SIGTERM)

    result = worker_result(plan, during=stop)
    return Stopped(root=root, data=data, plan=plan, result=result, seconds=time.monotonic() - asked_s, group=group)


@pytest.mark.train
def test_sigterm_ends_the_training_at_once_with_the_last_epoch_whole(stopped: Stopped) -> None:
    assert stopped.result.exit_code == 143, stopped.result.log
    assert stopped.seconds < 5
    assert not all_of(ProcessFailed, stopped.result.events)
    last = checkpoint(stopped.plan.weights_dir / "last.pt")
    assert last["epoch"] == 0
    assert last["optimizer"] is not None
    assert not group_members(stopped.group)


@pytest.mark.train
def test_what_a_killed_process_left_half_written_never_gets_among_the_weights(stopped: Stopped) -> None:
    assert sorted(path.name for path in stopped.plan.weights_dir.iterdir()) == ["best.pt", "last.pt"]


# --- going on


@pytest.mark.train
def test_a_resume_goes_on_with_the_next_epoch_and_a_finished_training_is_only_evaluated(
    engine: SimpleNamespace, stopped: Stopped, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One story of four attempts: stopped in epoch 2, killed before the evaluation, evaluated, evaluated again."""

    def attempt(number: int) -> tuple[Plan, list[Event]]:
        plan = make_plan(stopped.root / "run", stopped.data, resume=True, attempt=number, **ARGUMENTS)
        return plan, [event for event in read_events(plan.events) if event.attempt == number]

    plan, _ = attempt(2)
    resumed = engine.training(plan)
    with monkeypatch.context() as patch:
        patch.setattr(resumed, "final_eval", killed)
        with pytest.raises(KeyboardInterrupt):
            resumed.train()
    _, events = attempt(2)
    (saved,) = [event for event in all_of(CheckpointSaved, stopped.result.events) if event.reason == "stop"]
    started = first(TrainingStarted, events)
    assert (started.first_epoch, started.first_batch) == (saved.epoch, saved.batch)
    assert (started.first_epoch, started.first_batch) > (1, 0), "it goes on at the very next batch"
    assert [event.epoch for event in events if isinstance(event, EpochDone)] == [1, 2]
    assert [row["epoch"] for row in results(plan)] == ["1", "2", "3"]
    assert checkpoint(plan.weights_dir / "last.pt")["optimizer"] is not None
    trained = checkpoint(plan.weights_dir / "last.pt")["ema"].state_dict()

    for number in (3, 4):  # the second time, last.pt is stripped already
        plan, _ = attempt(number)
        engine.train(plan)
        _, events = attempt(number)
        assert not [event for event in events if isinstance(event, TrainingStarted | BatchDone | EpochDone)]
        done = first(TrainingDone, events)
        assert (done.epochs_trained, done.stopped_early) == (3, False)
        assert [row["epoch"] for row in results(plan)] == ["1", "2", "3"]
        last = checkpoint(plan.weights_dir / "last.pt")
        assert last["optimizer"] is None
        assert all(torch.equal(tensor, trained[key]) for key, tensor in last["model"].state_dict().items())
        assert len(checkpoint(plan.weights_dir / "best.pt")["train_results"]["epoch"]) == 3


def killed() -> None:
    raise KeyboardInterrupt  # goes through everything, as a kill does


# --- one process for one stage, and none without a supervisor


def test_a_second_training_waits_for_the_first_and_then_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sainet.engine import lifeline
    from sainet.errors import RunLockedError

    monkeypatch.setattr(lifeline, "_LOCK_WAIT_S", 0.5)
    lock = tmp_path / "stage-1" / ".training.lock"
    with lifeline.hold_lock(lock):
        started_s = time.monotonic()
        with pytest.raises(RunLockedError, match="another process is training this stage"), lifeline.hold_lock(lock):
            pass
        assert time.monotonic() - started_s >= 0.5
    with lifeline.hold_lock(lock):
        pass


def test_a_second_training_goes_on_when_the_first_is_gone(tmp_path: Path) -> None:
    """The kernel frees the lock of a killed process, loader workers that inherited it included."""
    from sainet.engine import lifeline

    lock = tmp_path / ".training.lock"
    holding = (
        "import sys, time, fcntl; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(1, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", holding, str(lock)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {holder.pid}"])
        with lifeline.hold_lock(lock):
            assert holder.wait(5) == -signal.SIGKILL


SUPERVISOR = """
import json, os, subprocess, sys, time
from pathlib import Path

path = Path(sys.argv[1])
plan = json.loads(path.read_text())
path.write_text(json.dumps({**plan, "supervisor_pid": os.getpid()}))
worker = subprocess.Popen([sys.executable, "-m", "sainet.engine.worker", str(path)], start_new_session=True)
print(worker.pid, flush=True)
time.sleep(600)
"""


def seconds_until_gone(group: int, *, limit_s: float = 15.0) -> float:
    started_s = time.monotonic()
    while group_members(group):
        if time.monotonic() - started_s > limit_s:
            os.killpg(group, signal.SIGKILL)
            raise AssertionError(f"the group {group} outlived its supervisor by {limit_s} s")
        time.sleep(0.05)
    return time.monotonic() - started_s


@pytest.mark.train
def test_the_training_ends_when_its_supervisor_is_killed(tiny_set: TinySetMaker, plan_for: PlanMaker) -> None:
    plan = plan_for(tiny_set(images=16), epochs=100, batch=2)
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(plan.attempt_dir / "plan.json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with supervisor:
        assert supervisor.stdout is not None
        group = int(supervisor.stdout.readline())
        wait_for(plan, lambda event: isinstance(event, BatchDone))
        supervisor.kill()
    assert seconds_until_gone(group) < 8


STUCK = """
import ctypes, os, signal, subprocess, sys, time
from sainet.engine import lifeline

def work():
    lifeline._GRACE_S = 1.0
    lifeline.tie_to_parent(os.getppid())
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as when the main thread hangs where no handler runs
    subprocess.Popen(["sleep", "600"])  # a loader worker
    print(os.getpid(), flush=True)
    time.sleep(600)

if sys.argv[1:]:
    work()
subprocess.Popen([sys.executable, __file__, "work"], start_new_session=True)
time.sleep(600)
"""


ORPHAN = """
import os, subprocess, sys, time
from sainet.engine import lifeline

if sys.argv[1:]:
    while os.getppid() == int(sys.argv[1]):
        time.sleep(0.01)
    lifeline.tie_to_parent(int(sys.argv[1]))
    sys.exit("trains on")
subprocess.Popen([sys.executable, __file__, str(os.getpid())], stderr=sys.stdout)
"""


def test_a_training_whose_supervisor_is_killed_before_it_is_tied_to_it_does_not_begin(tmp_path: Path) -> None:
    script = tmp_path / "orphan.py"
    script.write_text(ORPHAN, encoding="utf-8")
    ended = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, timeout=30, check=True)
    assert ended.stdout == ""


def test_a_training_that_hangs_is_killed_with_its_loader_workers_when_its_supervisor_is(tmp_path: Path) -> None:
    script = tmp_path / "stuck.py"
    script.write_text(STUCK, encoding="utf-8")
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        group = int(supervisor.stdout.readline())
        assert len(group_members(group)) == 2
        supervisor.kill()
    assert seconds_until_gone(group) < 8
