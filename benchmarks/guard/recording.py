"""Memory as it really moves: things that a training does, each in a process group of its own under a real limit.

    python -m benchmarks.guard.recording KIND SECONDS

does one of them inside the control group that it was started in, and prints what the guard's sampler saw of it, ten
times a second, as JSON. `record` makes the group and starts it there.
"""

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.guard.limits import MIB, PROJECT, memory_group
from sainet.guard.sampler import Sampler

__all__ = ["KINDS", "Recording", "record"]

LIMIT_BYTES = 1024 * MIB
_EVERY_S = 0.1
_IMAGE = 480, 640, 3
_fork = get_context("fork")


@dataclass(frozen=True)
class Recording:
    """The share of the limit that was taken, every `_EVERY_S`, and the raw share, page cache included."""

    kind: str
    every_s: float
    share: list[float]
    raw: list[float]


def record(kind: str, seconds: float) -> Recording:
    """Raises `Unavailable` where no control group can be made, RuntimeError where the kind fails or was killed."""
    with memory_group(LIMIT_BYTES) as group:
        words = [sys.executable, "-m", "benchmarks.guard.recording", kind, f"{seconds:g}"]
        ended = subprocess.run(group.inside(words), cwd=PROJECT, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{kind} ended with {ended.returncode}: {ended.stderr[-2000:]}")
    return Recording(**json.loads(ended.stdout))


# --- what a training does


def build_cache(seconds: float) -> None:
    """Decoded images are kept, one after the other, until all are there."""
    images: list[np.ndarray] = []
    count = 600 * MIB // int(np.prod(_IMAGE))
    for number in range(count):
        images.append(np.full(_IMAGE, number % 255, np.uint8))
        time.sleep(0.6 * seconds / count)
    time.sleep(0.4 * seconds)


def grow_page_cache(seconds: float) -> None:
    """Files are written and read, more than the limit holds."""
    ends_s, number = time.monotonic() + seconds, 0
    with tempfile.TemporaryDirectory(dir=PROJECT) as folder:  # the temporary folder may be memory
        while time.monotonic() < ends_s:
            path = Path(folder) / str(number % 12)
            (_read_through if number // 12 % 2 else _write_synced)(path)
            number += 1


def validate(seconds: float) -> None:
    """Every few seconds much is taken at once, held, and given back."""
    base = np.ones(150 * MIB, np.uint8)
    ends_s = time.monotonic() + seconds
    while time.monotonic() < ends_s:
        time.sleep(1.5)
        held = []
        for _ in range(20):
            held.append(np.ones(20 * MIB, np.uint8))
            time.sleep(0.04)
        time.sleep(0.7)
        del held
    del base


def save_checkpoints(seconds: float) -> None:
    """The state is copied, serialised, written and synced, again and again."""
    state = {name: np.random.default_rng(name).random(MIB // 2) for name in range(20)}
    ends_s = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(dir=PROJECT) as folder:
        while time.monotonic() < ends_s:
            _write_synced(Path(folder) / "next", pickle.dumps(state))
            (Path(folder) / "next").replace(Path(folder) / "last")
            time.sleep(1.0)


def start_workers(seconds: float) -> None:
    """Loader workers come up and fill their queues, all at once."""
    time.sleep(0.2 * seconds)
    workers = [_fork.Process(target=_fill, args=(140 * MIB, 0.2 * seconds, 0.6 * seconds)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


KINDS: dict[str, Callable[[float], None]] = {
    "cache builds": build_cache,
    "page cache": grow_page_cache,
    "validation": validate,
    "checkpoints": save_checkpoints,
    "worker bursts": start_workers,
}


def _fill(size_bytes: int, within_s: float, hold_s: float) -> None:
    held = []
    for _ in range(size_bytes // MIB):
        held.append(np.ones(MIB, np.uint8))
        time.sleep(within_s * MIB / size_bytes)
    time.sleep(hold_s)


def _write_synced(path: Path, data: bytes = bytes(128 * MIB)) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _read_through(path: Path) -> None:
    with path.open("rb") as stream:
        while stream.read(4 * MIB):
            pass


# --- inside the group


def main() -> None:
    kind, seconds = sys.argv[1], float(sys.argv[2])
    share, raw = [], []
    usage = _raw_usage()
    with Sampler(Path.cwd(), (), warn=print) as sampler:
        worker = _fork.Process(target=KINDS[kind], args=(seconds,))
        worker.start()
        while worker.is_alive():
            seen = sampler.read(time.time())
            assert seen.ram_working_set_bytes is not None
            assert seen.ram_limit_bytes == LIMIT_BYTES
            share.append(seen.ram_working_set_bytes / LIMIT_BYTES)
            raw.append(int(usage.read_text()) / LIMIT_BYTES)
            time.sleep(_EVERY_S)
        if worker.exitcode:
            raise SystemExit(f"the work itself ended with {worker.exitcode}")
    print(json.dumps({"kind": kind, "every_s": _EVERY_S, "share": share, "raw": raw}))


def _raw_usage() -> Path:
    from sainet.hardware.ram import own_cgroups

    group = own_cgroups("memory")[0]
    return group.folder / ("memory.usage_in_bytes" if group.version == 1 else "memory.current")


if __name__ == "__main__":
    main()
