"""Loaders in a process of their own, watched from here."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.memory.tree import Peaks, watching
from benchmarks.plans import make_plan
from sainet.memory.workload import Cache
from sainet.protocol import Engine, LoaderPlan

AUGMENT: dict[str, Any] = {"mosaic": 1.0, "mixup": 0.15, "scale": 0.5, "translate": 0.1, "fliplr": 0.5}
"""As the preset of stage 1 has them."""
PHASES = ("building", "built", "training", "validating", "training again", "done")
FULL = "full"
"""Said when the workers have nothing more to do: the loaders wait until somebody has looked."""
_EPOCHS = 1000


@dataclass(frozen=True)
class Loaders:
    """One engine's loaders. `shape` is (height, width); `batch` images; validation takes twice as many."""

    engine: Engine
    shape: tuple[int, int]
    batch: int
    workers: int
    prefetch: int = 2
    val_workers: int = 0
    val_prefetch: int = 2
    cache: Cache = False

    def plans(self) -> tuple[LoaderPlan, LoaderPlan]:
        return _plan(self.workers, self.prefetch), _plan(self.val_workers, self.val_prefetch)


def _plan(workers: int, prefetch: int) -> LoaderPlan:
    return LoaderPlan(
        workers=workers, prefetch_factor=prefetch, pin_memory=False, persistent_workers=True, timeout_s=600.0
    )


def peaks_of(loaders: Loaders, data: Path, *, quick: int = 0, slow: int = 3, validate: bool = False) -> Peaks:
    """Read `quick` batches as fast as they come and `slow` ones with full queues, then, if asked, validate likewise."""
    with tempfile.TemporaryDirectory(prefix="sainet-loaders-") as folder:
        root = Path(folder)
        plan = make_plan(
            root,
            data,
            shape=loaders.shape,
            engine=loaders.engine,
            batch=loaders.batch,
            cache=loaders.cache,
            epochs=_EPOCHS,
            **AUGMENT,
        )
        own, val = loaders.plans()
        data_plan = plan.data.model_copy(update={"val": plan.data.train})  # enough of them to fill any queue
        plan = plan.model_copy(update={"loader": own, "val_loader": val, "data": data_plan})
        plan.write(root / "plan.json")
        words = [str(root / "plan.json"), f"--quick={quick}", f"--slow={slow}", *(["--validate"] if validate else [])]
        with _started([sys.executable, "-m", "benchmarks.memory.loading", *words], root / "log.txt") as process:
            return _watch(process)


def _watch(process: "subprocess.Popen[str]") -> Peaks:
    assert process.stdout is not None
    assert process.stdin is not None
    now = ["starting"]
    with watching(process.pid, lambda: now[0]) as peaks:
        for line in process.stdout:
            if line.strip() in PHASES:
                now[0] = line.strip()
            elif line.strip() == FULL:
                peaks.wait_for_a_look()
                print(file=process.stdin, flush=True)
    return peaks


@contextmanager
def _started(words: list[str], log: Path) -> Iterator["subprocess.Popen[str]"]:
    """Raises RuntimeError with the end of its log when the process fails."""
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with log.open("w") as stream:
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stream, text=True, env=environment
        )
    try:
        yield process
        if process.wait():
            raise RuntimeError(log.read_text()[-3000:])
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
