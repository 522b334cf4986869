#!/usr/bin/env python3
"""What the guard costs: CPU time of one look, and the supervisor of a real training.

    python -m benchmarks.guard.cheap [--looks 4000] [--train]

A look is what the guard does each time: sample this machine, judge the sample, write its row of memory.csv. Its CPU
time (user and system) is measured twice: in a row, the median over blocks of looks, and at the guard's own pace of
two a second, where each look finds the processor's caches full of other things, which makes it several times dearer.
GPUs are not in it unless this machine has some.

`--train` trains three short epochs on the rendered demo set, on the CPU and without a terminal, and reads of the
supervisor's process what it has used from the first batch to the last, and its memory.

Each line ends with its limit; exits with 1 when one is broken.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psutil

from sainet.config.schema import Guard
from sainet.guard.policy import Policy
from sainet.guard.sample_file import SampleLog
from sainet.guard.sampler import Sampler
from sainet.hardware.gpu import read_gpus, visible_gpus
from sainet.protocol import BatchDone, TrainingDone, read_events

LOOK_S = 0.0005
SHARE = 0.001
"""Of a core, at two looks a second."""
RSS_BYTES = 80 * 10**6
_BLOCK = 100
_PACE_S = 0.5
_TRAINING = (
    *("--stage", "1", "--profile", "cpu", "--weights", "yolov8n.yaml", "--imgsz", "416", "--batch", "8"),
    *("--epochs", "3", "--set", "train.plots=false", "--run", "cheap"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--looks", type=int, default=4000, help="in a row")
    parser.add_argument("--paced", type=int, default=60, help="at the guard's own pace")
    parser.add_argument("--train", action="store_true", help="the supervisor of a real training too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        holds = [told_of_a_look(Path(folder), options.looks, options.paced)]
        if options.train:
            holds += told_of_a_supervisor(Path(folder))
    sys.exit(0 if all(holds) else 1)


# --- a look


def told_of_a_look(folder: Path, looks: int, paced: int) -> bool:
    with looking(folder) as look:
        in_a_row_s = statistics.median(cpu_s_of(look, _BLOCK) for _ in range(looks // _BLOCK))
        at_its_pace_s = cpu_s_of(look, paced, pause_s=_PACE_S)
    print(f"a look              {1e6 * in_a_row_s:6.0f} us in a row      (at most {1e6 * LOOK_S:.0f})")
    share = at_its_pace_s / _PACE_S
    print(f"two looks a second  {share:6.3%} of a core       (at most {SHARE:.1%})", flush=True)
    return in_a_row_s <= LOOK_S and share <= SHARE


@contextmanager
def looking(folder: Path) -> Iterator[Callable[[], None]]:
    """Sampler, policy and row together."""
    policy, log, numbers = Policy(Guard()), SampleLog(folder / "memory.csv"), count()
    gpus = visible_gpus(read_gpus(), os.environ)
    with Sampler(folder, gpus, warn=print) as sampler:

        def look() -> None:
            number = next(numbers)
            sample = sampler.read(_PACE_S * number, checkpoint_bytes=10**8, batch=number)
            policy.see(sample)
            log.append(sample)

        yield look
    log.close()


def cpu_s_of(look: Callable[[], None], looks: int, pause_s: float = 0.0) -> float:
    """The mean of one."""
    used_s = 0.0
    for _ in range(looks):
        time.sleep(pause_s)
        began_s = time.process_time()
        look()
        used_s += time.process_time() - began_s
    return used_s / looks


# --- a supervisor


def told_of_a_supervisor(folder: Path) -> Iterator[bool]:
    sainet = [sys.executable, "-m", "sainet"]
    subprocess.run([*sainet, "data", "demo", str(folder / "demo")], check=True, capture_output=True)
    command = [*sainet, "train", *_TRAINING, "--config", str(folder / "demo" / "demo.yaml")]
    share, rss_bytes = supervisor_of([*command, "--runs-dir", str(folder / "runs")], folder / "runs" / "cheap")
    print(f"the supervisor      {share:6.3%} of a core       (at most {SHARE:.1%})")
    print(
        f"the supervisor      {rss_bytes / 2**20:6.0f} MiB resident      (at most {RSS_BYTES / 2**20:.0f})", flush=True
    )
    yield share <= SHARE
    yield rss_bytes <= RSS_BYTES


def supervisor_of(command: list[str], run: Path) -> tuple[float, int]:
    """The share of a core from the first batch to the last, and the most memory. Raises RuntimeError if it fails."""
    events = run / "events.jsonl"
    with (run.parent.parent / "log.txt").open("w") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    watched, marks, rss = psutil.Process(process.pid), [], 0
    while process.poll() is None:
        seen = read_events(events)
        if any(isinstance(event, BatchDone) for event in seen) and not any(isinstance(e, TrainingDone) for e in seen):
            used = watched.cpu_times()
            marks.append((time.monotonic(), used.user + used.system))
            rss = max(rss, watched.memory_info().rss)
        time.sleep(1.0)
    if process.returncode or len(marks) < 2:
        raise RuntimeError(f"the training ended with {process.returncode}: see {log.name}")
    (began_s, before), (ended_s, after) = marks[0], marks[-1]
    print(f"(a training of {ended_s - began_s:.0f} s)")
    return (after - before) / (ended_s - began_s), rss


if __name__ == "__main__":
    main()
