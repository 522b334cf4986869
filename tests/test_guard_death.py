"""Killed processes, which a training survives by itself: `benchmarks/guard/sudden_death.py` in small."""

from pathlib import Path

import pytest
from guard_experiments import Untroubled, benchmarks_can_be_imported, untroubled

__all__ = ["benchmarks_can_be_imported", "untroubled"]

pytestmark = pytest.mark.train


def test_a_worker_dies_then_the_training_and_in_the_end_every_bit_is_equal(
    untroubled: Untroubled, tmp_path: Path
) -> None:
    from benchmarks.guard.sudden_death import VICTIMS, problems, struck

    training, alone = untroubled.training, untroubled.alone
    blows = [(victim, 0.3 * alone.training_s) for victim in VICTIMS[:2]]
    strikes, outcome = struck(training, tmp_path / "struck", blows)
    assert [restart.cause for restart in outcome.restarts] == ["worker killed", "killed"]
    for strike in strikes:
        wrong, again_s = problems(training, alone, strike, outcome)
        assert wrong == [], (strike, again_s)


def test_without_restarts_the_first_death_is_the_end(untroubled: Untroubled, tmp_path: Path) -> None:
    from benchmarks.guard.sudden_death import VICTIMS, struck
    from benchmarks.guard.trainings import WITHOUT_GUARD

    _, outcome = struck(untroubled.training, tmp_path / "struck", [(VICTIMS[2], 0.3)], *WITHOUT_GUARD)
    assert outcome.ended.code == 6
