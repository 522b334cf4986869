"""A disk that is filled up during the training: `benchmarks/guard/disk.py` in small, on real file systems."""

from pathlib import Path

import pytest
from guard_experiments import benchmarks_can_be_imported, small_training, where_possible

__all__ = ["benchmarks_can_be_imported"]

pytestmark = pytest.mark.train


def test_what_was_saved_stays_whole_and_the_run_goes_on_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.guard import disk
    from benchmarks.guard.trainings import injected, tensors, train

    training = small_training(tmp_path, images=96, epochs=3)
    free = train(training, tmp_path / "free", *disk.settings(), env=injected(slow_ms=disk.SLOWED_MS))
    expected = tensors(free.folder)
    with where_possible():
        assert disk.case(training, tmp_path / "full", 0, 0.5, expected)
        assert "exit 7" in capsys.readouterr().out
