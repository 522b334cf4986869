"""A /dev/shm that does not hold what the loader is asked for: plain Ultralytics hangs, sainet finishes.

`benchmarks/guard/shm.py` in small: real trainings with a real, small /dev/shm of their own.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from guard_experiments import benchmarks_can_be_imported, small_training, where_possible

__all__ = ["benchmarks_can_be_imported"]

pytestmark = pytest.mark.train

WATCHED_S, SILENT_S = 18.0, 9.0


def test_sainet_finishes_with_the_same_bits_while_plain_ultralytics_hangs(tmp_path: Path) -> None:
    from benchmarks.guard.limits import MIB, with_small_shm
    from benchmarks.guard.shm import problems, watch_plain
    from benchmarks.guard.trainings import train

    size = 12 * MIB  # a batch has 2.3 of them
    training = small_training(tmp_path, images=96, workers=4, prefetch=4, imgsz=320, epochs=1)
    with where_possible():
        with_small_shm(["true"], size)
    with ThreadPoolExecutor(1) as beside:
        hanging = beside.submit(watch_plain, training, tmp_path / "plain", size, WATCHED_S)  # it uses no CPU
        limited = train(training, tmp_path / "limited", shm_bytes=size)
        free = train(replace(training, workers=0), tmp_path / "free")
        plain = hanging.result()
    assert plain.hangs(SILENT_S), str(plain)
    assert problems(training, free, limited) == [], limited.story
    assert limited.restarts
    assert {step.resource for step in limited.steps} == {"shm"}
