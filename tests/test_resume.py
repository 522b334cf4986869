"""Going on with a run: from anywhere, after anything, at the very next batch, never as another training unsaid."""

import json
import os
import shutil
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pytest
from running import SMALL, command, interrupt, order, sainet, spawn, training_pid, wait_for, wait_until_alone

from sainet.data.demo import write_demo
from sainet.protocol import BatchDone, CheckpointSaved, EpochDone, Event, Resumed, TrainingStarted, read_events
from sainet.state import Position, RunFolder, RunState

pytestmark = pytest.mark.train

EPOCHS, BATCHES = 3, 24


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with data in it, and with the run `half`, stopped in the middle of its second epoch."""
    home = tmp_path_factory.mktemp("home")
    write_demo(home / "demo", train=2 * BATCHES, val=4, width=128, height=72, seed=0)
    process = spawn(*stage_1("half"), cwd=home)
    folder = RunFolder(home / "runs" / "half")
    wait_for(folder, lambda event: isinstance(event, BatchDone) and event.epoch == 1, process)
    os.kill(process.pid, signal.SIGHUP)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 143, output
    assert f"it goes on at {stopped_at(folder).text(EPOCHS)}" in output
    assert folder.read_state().stages[1].attempts[-1].reason == "asked to stop (SIGTERM)"
    return home


@pytest.fixture(scope="module")
def whole(home: Path) -> RunFolder:
    """The same training, not interrupted."""
    done = sainet(*stage_1("whole"), cwd=home)
    assert done.returncode == 0, done.stderr
    return RunFolder(home / "runs" / "whole")


@pytest.fixture
def half(home: Path, tmp_path: Path) -> RunFolder:
    """A copy of the stopped run, to be spoilt."""
    shutil.copytree(home / "runs" / "half", tmp_path / "runs" / "half")
    return RunFolder(tmp_path / "runs" / "half")


def stage_1(run: str, *extra: str) -> list[str]:
    """A training whose optimizer steps after every second batch."""
    exact = ("--batch", "2", "--set", "optim.nbs=4", "--epochs", str(EPOCHS))
    return ["train", "--stage", "1", *SMALL, *exact, "--data", "demo/stage-1/data.yaml", "--run", run, *extra]


def resume(folder: RunFolder, *extra: str) -> list[str]:
    """What a person types who remembers nothing but the run's name."""
    return ["train", "--stage", "1", "--resume", "--run", folder.name, "--runs-dir", str(folder.root.parent), *extra]


def stopped_at(folder: RunFolder) -> Position:
    position = folder.read_state().stages[1].goes_on_at
    assert position is not None
    return position


def starts(folder: RunFolder) -> list[tuple[int, int]]:
    """The epoch and the batch that each attempt began with."""
    events = read_events(folder.events)
    return [(event.first_epoch, event.first_batch) for event in events if isinstance(event, TrainingStarted)]


def same_weights(one: RunFolder, other: RunFolder) -> bool:
    """Whether every tensor of the final weights is the same, bit for bit."""
    return tensors(one.stage(1).last) == tensors(other.stage(1).last)


def tensors(weights: Path) -> dict[str, bytes]:
    """What torch.save wrote of a stripped checkpoint's tensors: a file each, numbered as the model has them."""
    with zipfile.ZipFile(weights) as archive:
        return {name: archive.read(name) for name in archive.namelist() if "/data/" in name}


def figures(folder: RunFolder) -> dict[int, tuple[object, object]]:
    """Losses and metrics of every epoch, as they stand in the end."""
    events = read_events(folder.events)
    return {event.epoch: (event.losses, event.metrics) for event in events if isinstance(event, EpochDone)}


def test_a_run_is_resumed_by_its_name_from_another_folder_and_ends_as_if_nothing_had_been(
    half: RunFolder, whole: RunFolder, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "ultralytics").mkdir()
    (elsewhere / "ultralytics" / "__init__.py").write_text("raise SystemExit('not the one to train with')")
    stopped = stopped_at(half)
    assert stopped.epoch == 1
    assert 0 < stopped.batch < BATCHES, "in the middle of an epoch"

    done = sainet(*resume(half), cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert "found: the checkpoint of" in done.stderr
    assert f"from epoch 2, batch {stopped.batch + 1}" in done.stderr
    assert starts(half) == [(0, 0), (1, stopped.batch)]
    assert figures(half) == figures(whole)
    assert same_weights(half, whole)
    assert not half.stage(1).checkpoint.exists(), "nothing is left to go on from"


def test_a_training_that_was_killed_and_then_ordered_to_stop_ends_as_if_nothing_had_been(
    home: Path, whole: RunFolder, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "killed")
    arguments = stage_1("killed", "--runs-dir", str(tmp_path), "--set", "guard.max_restarts=0")
    process = spawn(*arguments, cwd=home)
    order(folder, process, attempt=1, at=(1, 10), checkpoint=True)
    wait_for(folder, lambda event: isinstance(event, CheckpointSaved) and event.reason == "order", process)
    os.kill(training_pid(folder), signal.SIGKILL)  # some batches after the checkpoint
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 6
    assert f"--resume goes on at epoch 2, batch 11 of {BATCHES}" in output

    process = spawn(*arguments, "--resume", "--workers", "2", cwd=home)
    order(folder, process, attempt=2, at=(2, 7), stop=True)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 4, output
    assert (
        f"the training was ordered to stop\n  hint: the same command --resume goes on at epoch 3, batch 8 of {BATCHES}"
        in output
    )

    done = sainet(*arguments, "--resume", cwd=home)
    assert done.returncode == 0, done.stderr
    assert starts(folder) == [(0, 0), (1, 10), (2, 7)]
    assert all(event.exact for event in read_events(folder.events) if isinstance(event, Resumed))
    assert figures(folder) == figures(whole)
    assert same_weights(folder, whole)


def test_two_damaged_slots_are_told_and_last_pt_is_what_is_left(half: RunFolder, whole: RunFolder, home: Path) -> None:
    weights = [half.stage(1).last, half.stage(1).best]
    before = [path.read_bytes() for path in weights]
    slots = sorted(half.stage(1).checkpoint.iterdir())
    assert [slot.name for slot in slots] == ["slot-0", "slot-1"]
    for slot in slots:
        slot.write_bytes(slot.read_bytes()[:-1000])
    torn = [slot.read_bytes() for slot in slots]

    done = sainet(*resume(half), cwd=home)
    assert done.returncode == 7, done.stderr
    assert "slot-0 is cut short" in done.stderr
    assert "slot-1 is cut short" in done.stderr
    assert [path.read_bytes() for path in weights] == before, "nothing is written over"
    assert [slot.read_bytes() for slot in slots] == torn

    shutil.rmtree(half.stage(1).checkpoint)
    done = sainet(*resume(half), cwd=home)
    assert done.returncode == 0, done.stderr
    assert starts(half) == [(0, 0), (1, 0)]
    (resumed,) = [event for event in read_events(half.events) if isinstance(event, Resumed)]
    assert not resumed.exact
    assert tensors(half.stage(1).last).keys() == tensors(whole.stage(1).last).keys()
    assert not same_weights(half, whole), "or the comparisons above see nothing"


def test_ultralytics_own_engine_goes_on_with_the_epoch_that_was_begun(home: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "stock")
    arguments = stage_1("stock", "--runs-dir", str(tmp_path), "--set", "train.engine=stock")
    process = spawn(*arguments, cwd=home)
    wait_for(folder, lambda event: isinstance(event, BatchDone) and event.epoch == 1, process)
    interrupt(process)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130, output
    assert "1 epochs are kept" in output

    def begun(event: Event) -> bool:
        return isinstance(event, TrainingStarted) and event.attempt == 2

    process = spawn(*arguments, "--resume", cwd=home)
    wait_for(folder, begun, process)
    interrupt(process)
    process.communicate(timeout=60)
    assert starts(folder) == [(0, 0), (1, 0)]


def test_a_dead_display_does_not_end_the_training(home: Path, tmp_path: Path) -> None:
    arguments = stage_1("seen-by-nobody", "--epochs", "1", "--runs-dir", str(tmp_path))
    process = spawn(*arguments, cwd=home)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()  # `| head -1`, a closed terminal
    assert process.wait(timeout=120) == 0
    assert RunFolder(tmp_path / "seen-by-nobody").read_state().status == "done"


def test_a_second_ctrl_c_ends_a_training_that_hangs_at_once(home: Path, tmp_path: Path) -> None:
    process = spawn(*stage_1("hangs", "--epochs", "200", "--runs-dir", str(tmp_path)), cwd=home)
    folder = RunFolder(tmp_path / "hangs")
    wait_for(folder, lambda event: isinstance(event, EpochDone), process)
    os.kill(training_pid(folder), signal.SIGSTOP)
    interrupt(process)
    time.sleep(1)
    assert process.poll() is None, "the first one waits"
    began_s = time.monotonic()
    interrupt(process)
    assert process.wait(timeout=30) == 130
    assert time.monotonic() - began_s < 5
    wait_until_alone(folder)


def test_weights_that_are_gone_are_told_and_best_pt_is_not_written_over(half: RunFolder, home: Path) -> None:
    shutil.rmtree(half.stage(1).checkpoint)
    half.stage(1).last.unlink()
    best = half.stage(1).best.read_bytes()
    done = sainet(*resume(half), cwd=home)
    assert done.returncode == 7
    assert "last.pt is gone" in done.stderr
    assert half.stage(1).best.read_bytes() == best


def test_torn_weights_are_told(half: RunFolder, home: Path) -> None:
    shutil.rmtree(half.stage(1).checkpoint)
    last = half.stage(1).last
    last.write_bytes(last.read_bytes()[:-1000])
    done = sainet(*resume(half), cwd=home)
    assert done.returncode == 7, done.stderr
    assert "another --run" in done.stderr


def test_classes_that_changed_their_ids_meanwhile_are_refused(half: RunFolder, home: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(home / "demo" / "stage-1", data)
    (data / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [smoke, fire]\n")
    state = half.read_state()
    state.stages[1].settings["data"] = str(data / "data.yaml")
    half.write_state(state)
    done = sainet(*resume(half, "--data", str(data / "data.yaml")), cwd=home)
    assert done.returncode == 2, done.stderr
    assert "{'0': 'fire', '1': 'smoke'}, and now they are {'0': 'smoke', '1': 'fire'}" in done.stderr


def test_what_was_asked_for_stage_1_is_not_taken_for_stage_2(half: RunFolder, home: Path) -> None:
    done = sainet("train", "--stage", "2", *resume(half)[3:], cwd=home)
    assert done.returncode == 2
    assert "stage 2 has no data" in done.stderr


def test_a_stage_that_failed_before_its_first_epoch_can_be_corrected(home: Path, tmp_path: Path) -> None:
    arguments = stage_1("corrected", "--epochs", "1", "--runs-dir", str(tmp_path))
    failed = sainet(*arguments, "--set", "schedule.freeze=1000", cwd=home)
    assert failed.returncode == 1
    assert "froze the entire model" in failed.stderr
    done = sainet(*arguments, "--resume", cwd=home)
    assert done.returncode == 0, done.stderr


def test_damaged_weights_of_a_finished_stage_1_are_a_matter_of_storage(half: RunFolder, home: Path) -> None:
    state = half.read_state()
    state.stages[1].status = "done"
    half.write_state(state)
    best = half.stage(1).best
    best.write_bytes(best.read_bytes()[:-1000])
    done = sainet("train", "--stage", "2", *resume(half)[3:], "--data", "demo/stage-2/data.yaml", cwd=home)
    assert done.returncode == 7
    assert "stage 1 is done, but its best weights are gone or damaged" in done.stderr


def test_a_dry_run_ends_as_the_real_start_would(half: RunFolder, home: Path) -> None:
    def code(*arguments: str) -> int:
        done = sainet(*arguments, "--dry-run", "--json", cwd=home)
        assert json.loads(done.stdout)["stage"] == 1
        return done.returncode

    assert code(*resume(half)) == 0
    assert code(*resume(half, "--epochs", "33")) == 2
    assert code(*[word for word in resume(half) if word != "--resume"], "--profile", "cpu") == 2
    assert code(*stage_1("never", "--resume")) == 2


def test_a_setting_that_sainet_learns_later_does_not_stop_older_runs(half: RunFolder, home: Path) -> None:
    state = RunState.model_validate_json(half.state.read_text())
    del state.stages[1].settings["schedule.single_cls"]
    half.write_state(state)
    assert sainet(*resume(half), "--dry-run", cwd=home).returncode == 0


def test_weights_for_both_stages_would_throw_stage_1_away_and_are_refused(home: Path) -> None:
    arguments = ["full-workflow", "--profile", "cpu", "--config", "demo/demo.yaml", "--dry-run"]
    both = sainet(*arguments, "--set", "weights=yolov8n.yaml", cwd=home)
    assert both.returncode == 2
    assert "stage 2 of the workflow would start from scratch (yolov8n.yaml)" in both.stderr
    assert sainet(*arguments, "--weights", "yolov8n.yaml", cwd=home).returncode == 0


def test_a_key_for_a_stage_that_is_not_trained_is_an_error_where_it_is_typed(home: Path) -> None:
    done = sainet(*stage_1("x", "--set", "stage2.epochs=5", "--dry-run"), cwd=home)
    assert done.returncode == 2
    assert "--set stage2.epochs=5: `stage2.epochs` is for a stage that this command does not train" in done.stderr


def test_stage_2_of_a_workflow_and_of_a_run_made_stage_by_stage_is_resumed_by_name(home: Path, tmp_path: Path) -> None:
    """Each stage has a request of its own: stage 1's says nothing about stage 2."""
    runs = ("--runs-dir", str(tmp_path))
    first = sainet(*stage_1("one", "--epochs", "1", *runs), cwd=home)
    assert first.returncode == 0, first.stderr
    second = ["train", "--stage", "2", "--resume", "--run", "one", *runs]
    begun = sainet(*second, "--data", "demo/stage-2/data.yaml", *SMALL[4:], "--epochs", "1", cwd=home)
    assert begun.returncode == 0, begun.stderr
    again = sainet(*second, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "was finished before" in again.stderr
    both = sainet("full-workflow", "--resume", "--run", "one", *runs, "--profile", "cpu", "--dry-run", cwd=home)
    assert "stage 1 of run one is trained with" in both.stderr, "another request is another training"


def test_a_typed_key_goes_over_one_that_was_limited_to_a_stage(half: RunFolder, home: Path) -> None:
    state = half.read_state()
    request = state.stages[1].request
    assert request is not None
    request.sets.append(("stage1.patience", "90", "--set stage1.patience=90"))
    half.write_state(state)
    done = sainet(*resume(half, "--set", "patience=3", "--dry-run", "--json"), cwd=home)
    assert json.loads(done.stdout)["config"]["schedule"]["patience"] == 3


def test_a_training_without_its_state_json_is_not_gone_on_with(half: RunFolder, home: Path) -> None:
    half.state.unlink()
    for extra in ("--epochs=1", "--resume"):
        done = sainet(*stage_1("half", "--runs-dir", str(half.root.parent), extra), cwd=home)
        assert done.returncode == 7
        assert "holds a training of stage 1, but no state.json says of what" in done.stderr


@pytest.mark.parametrize("words", [("runs", "ls", "--json"), ("config", "show", "--profile", "cpu")])
def test_a_full_disk_behind_stdout_is_told(words: tuple[str, ...], home: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command(*words), cwd=home, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 7
    assert "no space left for what goes to stdout" in done.stderr
