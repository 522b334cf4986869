"""A GPU that runs out of memory in a training: `benchmarks/guard/vram.py` in small.

The error is PyTorch's own, raised in a real training on the CPU.
"""

from pathlib import Path
from typing import Any

import pytest
from guard_experiments import benchmarks_can_be_imported, small_training

__all__ = ["benchmarks_can_be_imported"]

pytestmark = pytest.mark.train

BATCHES = 3
"""In an epoch: the trouble comes in the second one."""


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return small_training(tmp_path_factory.mktemp("vram"), images=8 * BATCHES, val_images=4, workers=0)


def test_it_restarts_from_the_checkpoint_in_pieces_that_fit(training: Any, tmp_path: Path) -> None:
    from benchmarks.guard.trainings import injected, train
    from benchmarks.guard.vram import started_at

    outcome = train(training, tmp_path, env=injected(oom=f"backward:4:{BATCHES + 1}"))
    assert outcome.has_finished(training.epochs), outcome.ended
    assert [step.action for step in outcome.steps] == ["micro-batch: micro_batch 1 -> 2"]
    assert [epoch for epoch, _ in started_at(outcome)] == [0, 1]


def test_told_to_stop_it_ends_with_4_and_a_checkpoint(training: Any, tmp_path: Path) -> None:
    from benchmarks.guard.trainings import injected, train

    stopped = train(training, tmp_path, "--on-vram", "stop", env=injected(oom=f"forward:4:{BATCHES + 1}"))
    assert stopped.ended.code == 4
    assert not stopped.steps
    assert stopped.folder.stage(1).has_checkpoint
    assert "--resume goes on at epoch 2" in (tmp_path / "output.txt").read_text()


def test_told_to_restart_it_begins_anew_with_a_smaller_batch(training: Any, tmp_path: Path) -> None:
    from benchmarks.guard.trainings import injected, train
    from benchmarks.guard.vram import started_at

    outcome = train(training, tmp_path, "--on-vram", "restart", env=injected(oom=f"forward:4:{BATCHES + 1}"))
    assert outcome.has_finished(training.epochs), outcome.ended
    assert outcome.changed == {"batch": 4}
    assert started_at(outcome) == [(0, 0), (0, 0)]
