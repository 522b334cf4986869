"""The main job on real photographs: both stages from their YAMLs to weights of a smoke detector."""

from pathlib import Path

import pytest
from running import sainet

from sainet.protocol import EpochDone, TrainingStarted, read_events
from sainet.state import RunFolder


@pytest.mark.train
def test_both_stages_train_on_photographs_that_are_only_read(shared_data: Path, tmp_path: Path) -> None:
    before = listing(shared_data)
    done = sainet(
        *("full-workflow", "--profile", "cpu", "--weights", "yolov8n.yaml", "--imgsz", "96x64", "--epochs", "1"),
        *("--set", f"stage1.data={shared_data}/fire-smoke/data.yaml", "--set", "fraction=0.1"),
        *("--set", "stage1.epochs=5", "--set", "stage1.close_mosaic=1", "--set", "nbs=16", "--workers", "2"),
        *("--set", f"stage2.data={shared_data}/smoke-cctv/data.yaml", "--run", "both"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert listing(shared_data) == before

    folder = RunFolder(tmp_path / "runs" / "both")
    assert f"final weights: {folder.stage(2).best}" in done.stdout
    assert [line.split()[1] for line in done.stdout.splitlines()[1:3]] == ["done", "done"]
    events = read_events(folder.events)
    losses = [sum(event.losses.values()) for event in events if isinstance(event, EpochDone) and event.stage == 1]
    assert losses[3] < losses[0], "a rectangle with the preset's augmentation is learned from (epoch 5 has no mosaic)"
    starts = [event for event in events if isinstance(event, TrainingStarted)]
    assert [start.val_images for start in starts] == [195, 38]
    assert starts[1].transferred == "355/355", "the smoke row of the head came along"
    assert folder.read_state().stages[2].metrics.keys() == {"precision", "recall", "map50", "map50-95"}


def listing(folder: Path) -> list[tuple[str, int, int]]:
    """Every file with its size and its time."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
