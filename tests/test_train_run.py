"""One stage from the command line to weights on disk, and what happens when it is asked for again."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import DiskMaker
from running import SMALL, sainet

from sainet.data.demo import write_demo
from sainet.protocol import CheckpointSaved, EpochDone, Resumed, StageFailed, TrainingStarted, read_events
from sainet.state import RunFolder

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "demo"
    write_demo(folder, train=8, val=4, width=128, height=72, seed=0)
    return folder


def stage_1(demo: Path, *extra: str) -> list[str]:
    return ["train", "--stage", "1", *SMALL, "--data", str(demo / "stage-1" / "data.yaml"), "--epochs", "2", *extra]


def test_a_run_is_trained_refused_by_name_then_found_finished_and_never_made_another_training(
    demo: Path, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "runs" / "stage1-cpu")

    first = sainet(*stage_1(demo), cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert f"final weights: {folder.stage(1).best}" in first.stdout
    assert "epoch 2/2" in first.stderr
    written = folder.stage(1).best.read_bytes()
    assert not list((demo / "stage-1").rglob("*.cache")), "nothing is written into the user's data"

    again = sainet(*stage_1(demo), cwd=tmp_path)
    assert again.returncode == 2
    assert "the run stage1-cpu is there already" in again.stderr
    assert "--resume goes on with it" in again.stderr

    finished = sainet(*stage_1(demo, "--resume"), cwd=tmp_path)
    assert finished.returncode == 0
    assert "was finished before: nothing was trained" in finished.stderr

    another = sainet(*stage_1(demo, "--resume", "--set", "optim.lr0=0.5"), cwd=tmp_path)
    assert another.returncode == 2
    assert "is trained with optim.lr0 = 0.01, not 0.5" in another.stderr

    assert folder.stage(1).best.read_bytes() == written
    assert len(folder.read_state().stages[1].attempts) == 1


def test_the_settings_of_a_run_can_be_trained_again_from_its_run_yaml(demo: Path, tmp_path: Path) -> None:
    trained = sainet(*stage_1(demo, "--run", "first"), cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    settings = tmp_path / "runs" / "first" / "run.yaml"
    assert "batch: 8  # --batch 8" in settings.read_text()

    repeated = sainet(
        "train", "--stage", "1", "--profile", "cpu", "--config", settings, "--run", "second", cwd=tmp_path
    )
    assert repeated.returncode == 0, repeated.stderr
    epochs = [
        [
            event.losses
            for event in read_events(tmp_path / "runs" / run / "events.jsonl")
            if isinstance(event, EpochDone)
        ]
        for run in ("first", "second")
    ]
    assert len(epochs[0]) == 2
    assert epochs[0] == epochs[1]


def test_a_broken_image_stops_the_start_with_its_name_and_force_trains_without_it(demo: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(demo / "stage-1", data)
    broken = next((data / "images" / "train").iterdir())
    broken.write_bytes(broken.read_bytes()[:-40])
    arguments = ["train", "--stage", "1", *SMALL, "--data", str(data / "data.yaml"), "--epochs", "1"]

    refused = sainet(*arguments, cwd=tmp_path)
    assert refused.returncode == 5
    assert broken.name in refused.stderr
    assert "--force trains without them" in refused.stderr
    assert isinstance(read_events(tmp_path / "runs" / "stage1-cpu" / "events.jsonl")[-1], StageFailed)

    forced = sainet(*arguments, "--resume", "--force", cwd=tmp_path)
    assert forced.returncode == 0, forced.stderr
    assert "1 of 8 train images cannot be used" in forced.stderr


def test_labels_that_cost_an_image_are_refused_before_the_start_with_all_that_was_found(
    demo: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(demo / "stage-1", data)
    first, second, *_ = sorted((data / "labels" / "train").iterdir())
    first.write_text("0 0.5 0.5 0.1 0.1\n7 0.5 0.5 0.1 0.1\n", encoding="utf-8")
    second.unlink()
    arguments = ["train", "--stage", "1", *SMALL, "--data", str(data / "data.yaml"), "--epochs", "1"]

    refused = sainet(*arguments, cwd=tmp_path)
    assert refused.returncode == 5
    table = re.findall(r"^  (error|warning) +([a-z-]+) +(\d+)  ", refused.stderr, re.MULTILINE)
    assert table == [("error", "class-range", "1"), ("warning", "label-missing", "1")]
    assert f"error: {first}:2: images that Ultralytics would silently leave out: 1 class-range" in refused.stderr
    assert f"hint: `sainet data clean {data}/data.yaml OUT` mends them; --force trains without them" in refused.stderr
    assert not (tmp_path / "runs").exists()
    assert "1 class-range" in sainet(*arguments, "--dry-run", cwd=tmp_path).stderr

    forced = sainet(*arguments, "--force", cwd=tmp_path)
    assert forced.returncode == 0, forced.stderr
    assert "1 of 8 train images cannot be used" in forced.stderr

    cleaned = sainet("data", "clean", data / "data.yaml", "clean", cwd=tmp_path)
    assert cleaned.returncode == 0, cleaned.stderr
    mended = sainet(*arguments, "--data", "clean/data.yaml", "--run", "mended", "--dry-run", cwd=tmp_path)
    assert (mended.returncode, "the labels of" in mended.stderr) == (0, False)


def test_a_full_disk_loses_nothing_that_was_saved_and_can_be_resumed(
    demo: Path, tmp_path: Path, small_disk: DiskMaker
) -> None:
    disk = small_disk("126m")  # room for the first exact states of a YOLOv8n and its weights, not for all three epochs'
    arguments = stage_1(demo, "--runs-dir", str(disk), "--run", "full", "--epochs", "3")
    assert sainet(*arguments, cwd=tmp_path).returncode == 3, "that is known before the start"
    unguarded = ("--set", "guard.enabled=false")  # else it stops before the disk is full
    full = sainet(*arguments, "--force", *unguarded, cwd=tmp_path)
    assert full.returncode == 7, full.stderr
    folder = RunFolder(disk / "full")
    assert "no space left while writing" in full.stderr
    assert "free some space" in full.stderr
    # Where the supervisor found the disk full first, it has ended the training in the middle of writing a third one.
    there = {path.name for path in folder.stage(1).checkpoint.iterdir()}
    assert {"slot-0", "slot-1"} <= there <= {"slot-0", "slot-1", ".slot-0.tmp", ".slot-1.tmp"}

    subprocess.run(["mount", "-o", "remount,size=300m", disk], check=True)
    done = sainet(*arguments, "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    events = read_events(folder.events)
    starts = [(event.first_epoch, event.first_batch) for event in events if isinstance(event, TrainingStarted)]
    kept = [event.epoch for event in events if isinstance(event, CheckpointSaved) and event.attempt == 1][-1]
    assert kept >= 1
    assert starts == [(0, 0), (kept, 0)], "what could not be written is trained again, and nothing else"
    assert [event.exact for event in events if isinstance(event, Resumed)] == [True]
