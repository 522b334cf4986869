"""What the tests of `benchmarks/guard` share: its modules, and tiny trainings for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, SIDE, make_tiny_set

__all__ = ["Untroubled", "benchmarks_can_be_imported", "small_training", "untroubled", "where_possible"]


@dataclass(frozen=True)
class Untroubled:
    """A training that ran without any trouble, and what `benchmarks/guard/sudden_death.py` makes of it."""

    training: Any
    alone: Any


@pytest.fixture(scope="module", autouse=True)
def benchmarks_can_be_imported() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PROJECT)
        yield


@contextmanager
def where_possible() -> Iterator[None]:
    """Skip, with the reason, where the machine does not allow the limits that the block asks for."""
    from benchmarks.guard.limits import Unavailable

    try:
        yield
    except Unavailable as reason:
        pytest.skip(str(reason))


def small_training(root: Path, *, images: int, val_images: int = 4, **settings: Any) -> Any:
    """A `Training` on a tiny set, of two epochs and eight images a batch unless `settings` say otherwise."""
    from benchmarks.guard.trainings import Training

    data = make_tiny_set(root / "data", images=images, val_images=val_images)
    return Training(data.yaml, **{"workers": 2, "prefetch": 2, "batch": 8, "imgsz": SIDE, "epochs": 2, **settings})


@pytest.fixture(scope="module")
def untroubled(tmp_path_factory: pytest.TempPathFactory, benchmarks_can_be_imported: None) -> Untroubled:  # noqa: ARG001
    """Trained once for all modules that ask for it."""
    from benchmarks.guard.limits import Ended
    from benchmarks.guard.sudden_death import left_alone, told_by
    from benchmarks.guard.trainings import Outcome, Training
    from sainet.state import RunFolder

    root = tmp_path_factory.getbasetemp() / "untroubled"
    if root.exists():
        training = Training(root / "data" / "data.yaml", workers=2, prefetch=2, batch=8, imgsz=SIDE, epochs=2)
        return Untroubled(training, told_by(Outcome(Ended(0, 0.0), RunFolder(root / "alone" / "run"))))
    training = small_training(root, images=96)
    return Untroubled(training, left_alone(training, root / "alone"))
