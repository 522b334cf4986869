"""What the tests of `benchmarks/guard` share: its modules, and tiny trainings for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, SIDE, make_tiny_set

__all__ = ["benchmarks_can_be_imported", "small_training", "where_possible"]


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
