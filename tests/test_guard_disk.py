"""A disk that is filled up during the training: `benchmarks/guard/disk.py` in small, on a real file system."""

from pathlib import Path

import pytest
from guard_experiments import Untroubled, benchmarks_can_be_imported, untroubled, where_possible

__all__ = ["benchmarks_can_be_imported", "untroubled"]

pytestmark = pytest.mark.train


def test_what_was_saved_stays_whole_and_the_run_goes_on_from_it(
    untroubled: Untroubled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.guard import disk

    with where_possible():
        assert disk.case(untroubled.training, tmp_path / "full", 0, 0.5, untroubled.alone.weights)
    assert "exit 7" in capsys.readouterr().out
