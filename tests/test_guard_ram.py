"""Loaders that do not fit into the RAM: plain Ultralytics is killed, sainet finishes with the same bits.

`benchmarks/guard/ram.py` in small: a real training in a real control group.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from guard_experiments import benchmarks_can_be_imported, small_training, where_possible

__all__ = ["benchmarks_can_be_imported"]

pytestmark = pytest.mark.train

MARGIN = 1.15
"""Above what one worker takes: the guard acts from 88% on."""


@dataclass(frozen=True)
class Scene:
    """A training whose loader is too large for the limit, and what comes of it without one, with a small loader."""

    training: Any
    free: Any
    limit_bytes: int


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, benchmarks_can_be_imported: None) -> Scene:  # noqa: ARG001
    from benchmarks.guard.limits import memory_group
    from benchmarks.guard.trainings import train

    root = tmp_path_factory.mktemp("ram")
    training = small_training(root, images=96, workers=12, prefetch=8, imgsz=320, epochs=1)
    with where_possible(), memory_group(2**30):
        free = train(replace(training, workers=1, prefetch=1), root / "free")
    assert free.has_finished(training.epochs), free.ended
    return Scene(training, free, int(MARGIN * free.ended.peak_bytes))


def test_sainet_loads_less_ahead_and_ends_with_the_same_bits(scene: Scene, tmp_path: Path) -> None:
    from benchmarks.guard.ram import MAY_CHANGE
    from benchmarks.guard.trainings import difference, tensors, train

    outcome = train(scene.training, tmp_path / "limited", limit_bytes=scene.limit_bytes)
    assert outcome.has_finished(scene.training.epochs), (outcome.ended, outcome.story)
    assert outcome.steps, "the limit was no trouble"
    assert outcome.changed.keys() <= MAY_CHANGE
    assert difference(outcome.folder, tensors(scene.free.folder)) == ""


def test_plain_ultralytics_is_killed(scene: Scene, tmp_path: Path) -> None:
    from benchmarks.guard.limits import run

    log = tmp_path / "plain.txt"
    ended = run(scene.training.plain(tmp_path / "plain"), log, limit_bytes=scene.limit_bytes)
    assert (ended.code, ended.oom_kills > 0) == (-9, True), log.read_text()[-2000:]


def test_without_the_guard_sainet_does_not_finish_either(scene: Scene, tmp_path: Path) -> None:
    from benchmarks.guard.trainings import WITHOUT_GUARD, train

    outcome = train(scene.training, tmp_path / "limited", *WITHOUT_GUARD, limit_bytes=scene.limit_bytes)
    assert not outcome.has_finished(scene.training.epochs), outcome.ended
    assert outcome.ended.oom_kills > 0
