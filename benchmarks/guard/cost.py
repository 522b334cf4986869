#!/usr/bin/env python3
"""Whether a training notices that it is guarded: CPU time of its epochs, watched and unwatched, in pairs.

    python -m benchmarks.guard.cost [--pairs 20] [--images 96]

One training on the rendered demo set, on the CPU with two loader workers. In one epoch of each pair its supervisor runs
as always, looking twice a second; in the other it is held (SIGSTOP), so that nobody looks; which comes first is drawn
by chance. The CPU time is that of the training process and its workers from one epoch's end to the next, validation
included. Epochs that follow each other are alike in everything else, also in what the rest of the machine does. Prints
the mean ratio with its 95% interval, which is that of a batch; exits with 1 when the interval lies above 1.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.pairs import T_95, interval
from sainet.data.demo import write_demo
from sainet.files import LineTail

_LOOK_S = 0.002
_FIRST = 2
"""Epochs that are not looked at: the first touches everything for the first time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20, choices=T_95)
    parser.add_argument("--images", type=int, default=96, help="of an epoch, in batches of 8")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    watched = [watch for _ in range(options.pairs) for watch in chance.choice(((True, False), (False, True)))]
    with tempfile.TemporaryDirectory(prefix="sainet-cost-") as folder:
        write_demo(Path(folder) / "demo", train=options.images, val=8, width=640, height=360, seed=0)
        used_s = cpu_of_epochs(Path(folder), watched)
    ratios = []
    for first in range(0, len(watched), 2):
        of_a_pair = dict(zip(watched[first : first + 2], used_s[first : first + 2], strict=True))
        ratios.append(of_a_pair[True] / of_a_pair[False])
        print(f"pair {len(ratios)}: {of_a_pair[True]:.2f} and {of_a_pair[False]:.2f} s, {ratios[-1]:.4f}", flush=True)
    low, middle, high = interval(ratios)
    print(f"CPU time a batch, watched / unwatched: {middle:.4f} [{low:.4f}, {high:.4f}]")
    sys.exit(1 if low > 1 else 0)


def cpu_of_epochs(work: Path, watched: list[bool]) -> list[float]:
    """CPU seconds of each of these epochs, in which the supervisor runs or is held."""
    words = ["--data", str(work / "demo" / "stage-1" / "data.yaml"), "--runs-dir", str(work / "runs"), "--run", "cost"]
    small = ["--weights", "yolov8n.yaml", "--imgsz", "256", "--batch", "8", "--workers", "2"]
    epochs = ["--epochs", str(_FIRST + len(watched)), "--set", "patience=0", "--set", "train.plots=false"]
    command = [sys.executable, "-m", "sainet", "train", "--stage", "1", "--profile", "cpu", *words, *small, *epochs]
    supervisor = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        ends = ends_of_epochs(supervisor, work / "runs" / "cost" / "events.jsonl")
        for _ in range(_FIRST):
            next(ends)
        before, used_s = cpu_s(supervisor.pid), []
        for watch in watched:
            os.kill(supervisor.pid, signal.SIGCONT if watch else signal.SIGSTOP)
            next(ends)
            now = cpu_s(supervisor.pid)
            used_s.append(now - before)
            before = now
        return used_s
    finally:
        for number in (signal.SIGCONT, signal.SIGTERM):
            with suppress(ProcessLookupError):
                os.kill(supervisor.pid, number)
        supervisor.wait()


def ends_of_epochs(supervisor: "subprocess.Popen[bytes]", events: Path) -> Iterator[None]:
    """Yields as each epoch ends, by the lines that the training appends."""
    tail = LineTail(events)
    while supervisor.poll() is None:
        yield from (None for line in tail.read() if '"event":"epoch"' in line)
        time.sleep(_LOOK_S)
    raise SystemExit(f"the training ended with {supervisor.returncode}")


def cpu_s(supervisor_pid: int) -> float:
    """What the training process and its workers have used, those that ended included; not the supervisor itself."""
    total = 0.0
    for process in psutil.Process(supervisor_pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


if __name__ == "__main__":
    main()
