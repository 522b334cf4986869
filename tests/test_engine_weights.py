"""Weights files: what is taken for one, and that none is ever half written."""

import errno
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import DiskMaker, PlanMaker, TinySetMaker

from sainet.errors import StorageError, WeightsError

# --- initial weights


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there are no weights"),
        (b"", "the file is empty, truncated or corrupted"),
        (b"PK\3\4 no archive", "the file is empty, truncated or corrupted"),
        ({"epoch": 3}, "references types outside the supported Ultralytics checkpoint format"),
    ],
)
def test_weights_that_are_no_checkpoint_are_refused(
    sealed_ultralytics: None,  # noqa: ARG001
    tmp_path: Path,
    content: Any,
    message: str,
) -> None:
    from sainet.engine.checkpoint import load

    path = tmp_path / "weights.pt"
    if isinstance(content, dict):
        torch.save(content, path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        load(path)
    assert str(path) in caught.value.message
    assert "ERROR" not in caught.value.message


def test_weights_of_another_task_are_refused(
    sealed_ultralytics: None,  # noqa: ARG001
    tmp_path: Path,
) -> None:
    from ultralytics.nn.tasks import SegmentationModel

    from sainet.engine.checkpoint import load

    path = tmp_path / "segment.pt"
    model = SegmentationModel("yolov8n-seg.yaml", verbose=False)
    torch.save({"model": model, "train_args": {"task": "segment"}}, path)
    with pytest.raises(WeightsError, match="for the task 'segment', not 'detect'"):
        load(path)


# --- weights files


@pytest.mark.train
def test_a_full_disk_leaves_the_weights_of_the_epoch_before(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_for(tiny_set(), epochs=2)
    before: dict[str, bytes] = {}
    write_bytes = Path.write_bytes

    def write_half(self: Path, content: bytes) -> int:
        write_bytes(self, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    def fill_the_disk(training: Any) -> None:
        if training.epoch == 1:
            before.update({path.name: path.read_bytes() for path in plan.weights_dir.glob("*.pt")})
            monkeypatch.setattr(Path, "write_bytes", write_half)

    training = engine.training(plan)
    training.add_callback("on_train_epoch_start", fill_the_disk)
    with pytest.raises(StorageError, match="no space left while writing") as caught:
        training.train()
    assert caught.value.exit_code == 7
    assert set(before) == {"best.pt", "last.pt"}
    assert {path.name: path.read_bytes() for path in plan.weights_dir.iterdir()} == before


def test_torchs_own_error_about_a_full_disk_is_a_storage_error_too(
    sealed_ultralytics: None,  # noqa: ARG001
    small_disk: DiskMaker,
) -> None:
    """torch.save to a file, as stripping does it, says neither ENOSPC nor OSError."""
    from sainet.engine.checkpoint import whole_files

    disk = small_disk("1m")
    (disk / "last.pt").write_bytes(b"old")
    with pytest.raises(StorageError), whole_files(disk) as scratch:
        torch.save(torch.zeros(1_000_000), scratch / "last.pt")
    assert (disk / "last.pt").read_bytes() == b"old"
    assert [path.name for path in disk.iterdir()] == ["last.pt"]


def test_a_worker_that_dies_while_weights_are_written_is_told_and_spoils_no_file(
    sealed_ultralytics: None,  # noqa: ARG001
    tmp_path: Path,
) -> None:
    """PyTorch raises it in the middle of torch.save, which Ultralytics would repeat into the same buffer."""
    from sainet.engine.checkpoint import whole_files
    from sainet.engine.saving import saving_once

    class Struck(io.BytesIO):
        tries = 0

        def write(self, block: Any) -> int:
            if self.tell() > 1000 and not self.tries:
                self.tries += 1
                raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
            return super().write(block)

    def write(scratch: Path) -> None:
        buffer = Struck()
        torch.save(torch.zeros(100_000), buffer)
        (scratch / "best.pt").write_bytes(buffer.getvalue())

    (tmp_path / "best.pt").write_bytes(b"old")
    with (
        pytest.raises(RuntimeError, match=r"worker \(pid 7\) is killed"),
        whole_files(tmp_path) as scratch,
        saving_once(),
    ):
        write(scratch)
    assert (tmp_path / "best.pt").read_bytes() == b"old"
    with whole_files(tmp_path) as scratch:  # what it would be otherwise
        write(scratch)
    with pytest.raises(RuntimeError):
        torch.load(tmp_path / "best.pt")


def test_last_pt_moves_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the two, a resume starts from the epoch before, which is whole."""
    from sainet.engine.checkpoint import whole_files

    moved: list[str] = []
    replace = Path.replace

    def note(self: Path, to: Path) -> Path:
        if to.parent == tmp_path and not to.name.startswith("."):
            moved.append(to.name)
        return replace(self, to)

    monkeypatch.setattr(Path, "replace", note)
    with whole_files(tmp_path) as scratch:
        for name in ("last.pt", "best.pt", "epoch3.pt"):
            (scratch / name).write_bytes(b"new")
    assert moved[-1] == "last.pt"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "epoch3.pt", "last.pt"]


@pytest.mark.train
@pytest.mark.parametrize("missing", ["best.pt", "last.pt"])
def test_a_checkpoint_that_does_not_load_is_a_storage_error(
    engine: SimpleNamespace,
    tiny_set: TinySetMaker,
    plan_for: PlanMaker,
    stage_1_weights: Path,
    missing: str,
) -> None:
    plan = plan_for(tiny_set(), resume=True)
    plan.weights_dir.mkdir(parents=True)
    for name in ("best.pt", "last.pt"):
        whole = (stage_1_weights.parent / name).read_bytes()
        (plan.weights_dir / name).write_bytes(whole[: len(whole) // 2] if name == missing else whole)
    with pytest.raises(StorageError, match=f"{missing} is not a YOLO checkpoint") as caught:
        engine.train(plan)
    assert caught.value.hint == "put the file back, or train the stage anew with another --run"


@pytest.mark.parametrize(
    ("epoch", "best_epoch", "optimizer", "finished"),
    [(4, 4, {}, False), (9, 9, {}, True), (6, 4, {}, True), (5, 4, {}, False), (-1, 0, None, True)],
)
def test_a_training_is_finished_by_its_epochs_by_patience_or_when_it_was_stripped(
    epoch: int, best_epoch: int, optimizer: object, finished: bool
) -> None:
    from sainet.engine.checkpoint import is_finished

    saved = {"epoch": epoch, "optimizer": optimizer, "stopper": {"best_epoch": best_epoch}}
    assert is_finished(saved, epochs=10, patience=3) is finished
