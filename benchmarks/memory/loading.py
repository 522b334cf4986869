"""One case of loader_memory, in a process of its own: real loaders of a real trainer, read slowly.

Says on stdout what it is about to do, one word a line; a new one comes when the one before is over. `full` is said when
all workers wait, and is answered by a line on stdin.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sainet.engine.environment import seal
from sainet.protocol import LoaderPlan, Plan

_IDLE_S = 0.4
_CPUS = 1024
"""What Ultralytics is told, which would lower the workers to the cores of this machine."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--quick", type=int, default=0, help="batches that are read without a pause first")
    parser.add_argument("--slow", type=int, default=3, help="batches that are read when the workers have no more to do")
    parser.add_argument("--validate", action="store_true")
    options = parser.parse_args()
    plan = Plan.read(options.plan)
    seal(plan.cache_dir / "ultralytics")
    say("building")
    training = built(plan)
    say("built")
    wait_for_workers()
    say("training")
    source = batches(training)
    read(source, options.quick, options.slow)
    if options.validate:
        say("validating")
        read(iter(training.test_loader), 0, options.slow)
        say("training again")  # Ultralytics' validation workers live on
        read(source, 0, 1)
    say("done")
    for child in multiprocessing.active_children():
        child.kill()  # Ultralytics' workers would hold our output open
    os._exit(0)


def say(phase: str) -> None:
    print(phase, file=sys.__stdout__, flush=True)


def built(plan: Plan) -> Any:
    """The trainer with its model, its optimizer and both loaders."""
    from sainet.engine.worker import make_training

    training = make_training(plan)
    if plan.engine == "stock":
        os.cpu_count = lambda: _CPUS
        training.args.workers = plan.loader.workers  # none on a CPU
    training._setup_train()
    if plan.engine == "stock":
        retune(training.train_loader, plan.loader)
        retune(training.test_loader, plan.val_loader)
    return training


def retune(loader: Any, plan: LoaderPlan) -> None:
    """Ultralytics' own figures are fixed; before the first batch PyTorch takes others."""
    loader.num_workers = plan.workers
    loader.prefetch_factor = plan.prefetch_factor if plan.workers else None


def batches(training: Any) -> Iterator[Any]:
    loader = training.train_loader
    epoch = 0
    while True:
        if training.plan.engine == "stock":
            yield from loader
        else:
            for number in range(len(loader)):
                yield loader.batch(epoch, number)
        epoch += 1


def read(source: Iterator[Any], quick: int, slow: int) -> None:
    """Batch after batch, each one kept until the next has come, as a step does."""
    for number, batch in enumerate(source):
        if number >= quick:
            wait_for_workers()
        if number + 1 >= quick + slow:
            del batch
            wait_for_workers()
            return


def wait_for_workers() -> None:
    """Until every worker has been waiting for a while: all that they may load ahead is loaded.

    On a busy machine a worker may want the CPU for long without getting it, so its state counts too.
    """
    before, since_s = -1, time.monotonic()
    while time.monotonic() - since_s < _IDLE_S:
        time.sleep(0.02)
        ticks, busy = worker_activity()
        if busy or ticks != before:
            before, since_s = ticks, time.monotonic()
    say("full")
    sys.stdin.readline()


def worker_activity() -> tuple[int, bool]:
    """Clock ticks of CPU that the workers have used, and whether one is running or waits for a CPU or a disk."""
    ticks, busy = 0, False
    for children in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for pid in children.read_text().split():
            for task in Path(f"/proc/{pid}/task").iterdir():
                words = (task / "stat").read_text().rpartition(")")[2].split()
                busy |= words[0] in "RD"
                ticks += int(words[11]) + int(words[12])
    return ticks, busy


if __name__ == "__main__":
    main()
