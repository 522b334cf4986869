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


def test_it_restarts_in_ever_more_pieces_until_they_fit(training: Any, tmp_path: Path) -> None:
    from benchmarks.guard.trainings import injected, train
    from benchmarks.guard.vram import started_at

    outcome = train(training, tmp_path, env=injected(oom=f"backward:2:{BATCHES + 1}"))
    assert outcome.has_finished(training.epochs), outcome.ended
    assert [step.action for step in outcome.steps] == [
        "micro-batch: micro_batch 1 -> 2",
        "micro-batch: micro_batch 2 -> 4",
    ]
    assert [epoch for epoch, _ in started_at(outcome)] == [0, 1, 1], "it goes on from the checkpoint"


def test_told_to_stop_it_ends_with_4_and_can_be_resumed(training: Any, tmp_path: Path) -> None:
    from benchmarks.guard.trainings import injected, train
    from benchmarks.guard.vram import started_at

    stopped = train(training, tmp_path, "--on-vram", "stop", env=injected(oom=f"forward:4:{BATCHES + 1}"))
    assert stopped.ended.code == 4
    assert not stopped.steps
    resumed = train(training, tmp_path, "--resume", "--on-vram", "stop")
    assert resumed.has_finished(training.epochs), resumed.ended
    assert [epoch for epoch, _ in started_at(resumed)] == [0, 1]


def test_told_to_restart_it_begins_anew_with_a_smaller_batch(training: Any, tmp_path: Path) -> None:
    from benchmarks.guard.trainings import injected, train
    from benchmarks.guard.vram import started_at

    outcome = train(training, tmp_path, "--on-vram", "restart", env=injected(oom=f"forward:4:{BATCHES + 1}"))
    assert outcome.has_finished(training.epochs), outcome.ended
    assert outcome.changed == {"batch": 4}
    assert started_at(outcome) == [(0, 0), (0, 0)]
