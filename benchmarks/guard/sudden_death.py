#!/usr/bin/env python3
"""Trainings whose processes are killed at random moments: the supervisor goes on by itself, and loses next to nothing.

    python -m benchmarks.guard.sudden_death DATA.yaml [--strikes 20] [--seed 0] [--plain]

In turn kill -9 of a loader worker, of the training process, and of its whole group, each at a random moment of a
training of about ten seconds with two workers and an exact checkpoint every 1.2 s. Nobody types anything: the same
`sainet train` has to end with 0, and with best.pt and last.pt that are equal, bit for bit, to those of the training
left alone. What is trained again has to be less than the interval between two checkpoints and the longest time in which
none can be written, a validation. (The engine lengthens the interval where writing would take more than a twentieth of
it.) `--plain` strikes plain Ultralytics first, in each of the three ways. Takes about 25 s a strike on two cores.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.guard.images import some_of
from benchmarks.guard.limits import Ended, started, unwind_on_sigterm
from benchmarks.guard.trainings import SMALL_MODEL, WITHOUT_GUARD, Outcome, Training, difference, injected, tensors
from sainet.protocol import (
    CheckpointSaved,
    EpochDone,
    PhaseStarted,
    Resumed,
    StageStarted,
    TrainingDone,
    TrainingStarted,
    read_events,
)
from sainet.state import RunFolder

VICTIMS = ("a loader worker", "the training process", "the whole group")
CHECKPOINT_MINUTES = 0.02
SLOWED_MS = 60
"""Each batch takes so much longer, that there are moments to choose from; it leaves the CPU to others."""
WRITING_AT_MOST = 0.05
"""Of the time; sainet lengthens the interval where it would be more."""
_NOISE = 2.0
"""By how much a busy machine may stretch a validation."""
_ENDS_WITHIN_S = 180.0


@dataclass(frozen=True)
class Alone:
    """The training that nobody strikes: its weights, and the times that matter."""

    weights: dict[str, str]
    training_s: float
    pause_s: float
    """The longest time in which no checkpoint can be written."""


@dataclass(frozen=True)
class Strike:
    """What was killed, when (Unix time), and in which attempt."""

    victim: str
    time_s: float
    attempt: int


def main() -> None:
    unwind_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--strikes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=96, help="training images")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--model", default=str(SMALL_MODEL))
    parser.add_argument("--plain", action="store_true", help="plain Ultralytics too")
    parser.add_argument("--without-guard", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sainet-death-") as folder:
        sys.exit(0 if all(list(strikes(options, Path(folder)))) else 1)


def strikes(options: argparse.Namespace, work: Path) -> Iterator[bool]:
    """Prints a line per strike; whether its claim holds."""
    training = Training(
        some_of(options.data, work / "data", train=options.images, val=options.images // 5),
        workers=2,
        prefetch=2,
        batch=8,
        imgsz=options.imgsz,
        epochs=options.epochs,
        seed=options.seed,
        model=options.model,
    )
    alone = left_alone(training, work / "alone")
    print(
        f"left alone: {alone.training_s:.1f} s of training, no checkpoint for {alone.pause_s:.1f} s at most", flush=True
    )
    noise = random.Random(options.seed)
    if options.plain:
        for victim in VICTIMS:
            print(strike_plain(training, work / f"plain-{VICTIMS.index(victim)}", victim, alone), flush=True)
    more = WITHOUT_GUARD if options.without_guard else ()
    for number in range(options.strikes):
        victim, after_s = VICTIMS[number % len(VICTIMS)], noise.uniform(0.0, 0.95 * alone.training_s)
        (strike,), outcome = struck(training, work / str(number), [(victim, after_s)], *more)
        wrong, again_s = problems(training, alone, strike, outcome)
        print(f"{strike.victim} after {after_s:4.1f} s: {outcome.ended}; {outcome.story}")
        print(f"    {again_s:.1f} s trained again; {'; '.join(wrong) or 'every bit is equal'}", flush=True)
        yield not wrong


def left_alone(training: Training, root: Path) -> Alone:
    """Raises SystemExit when it does not even train then."""
    _, outcome = struck(training, root, [])
    if not outcome.has_finished(training.epochs):
        raise SystemExit((root / "output.txt").read_text()[-2000:])
    return told_by(outcome)


def told_by(outcome: Outcome) -> Alone:
    """Of a training that has finished."""
    began_s = next(event.time_s for event in outcome.events if isinstance(event, TrainingStarted))
    ended_s = next(event.time_s for event in outcome.events if isinstance(event, TrainingDone))
    return Alone(tensors(outcome.folder), ended_s - began_s, longest_pause_s(outcome))


def longest_pause_s(outcome: Outcome) -> float:
    """Of the validations, from the moment that a batch may have been waiting for."""
    began_s, longest_s = 0.0, 0.0
    for event in outcome.events:
        if isinstance(event, PhaseStarted) and event.phase == "validating":
            began_s = event.time_s
        elif isinstance(event, EpochDone):
            longest_s = max(longest_s, event.time_s - began_s)
    return longest_s


def struck(
    training: Training, root: Path, blows: Sequence[tuple[str, float]], *more: str
) -> tuple[list[Strike], Outcome]:
    """One training, struck once in each of its first attempts: whom, and so long after the first checkpoint."""
    root.mkdir()
    folder, began_s, strikes = RunFolder(root / "run"), time.monotonic(), []
    words = training.sainet(root, "--set", f"train.checkpoint_minutes={CHECKPOINT_MINUTES}", *more)
    process = started(words, root / "output.txt", injected(slow_ms=SLOWED_MS))
    try:
        for attempt, (victim, after_s) in enumerate(blows, 1):
            pid = await_training(folder, process, attempt)
            time.sleep(after_s)
            strikes.append(kill(victim, pid, attempt))
        with suppress(subprocess.TimeoutExpired):
            process.wait(_ENDS_WITHIN_S)
        code = process.poll()
    finally:
        process.kill()  # the training ends with it
        process.wait()
    return strikes, Outcome(Ended(code, time.monotonic() - began_s), folder)


def await_training(folder: RunFolder, process: "subprocess.Popen[bytes]", attempt: int = 1) -> int:
    """The pid of an attempt once its loop has begun and there is a checkpoint. Raises SystemExit when all ends before.

    A resume writes none at its start: there is one.
    """
    while process.poll() is None:
        events = [event for event in read_events(folder.events) if event.attempt == attempt]
        if any(isinstance(event, CheckpointSaved | Resumed) for event in events):
            return next(event.pid for event in events if isinstance(event, StageStarted))
        time.sleep(0.05)
    raise SystemExit(f"ended with {process.returncode} before anybody struck: {folder.root.parent / 'output.txt'}")


def kill(victim: str, pid: int, attempt: int = 1) -> Strike:
    """Where there is no worker at that moment the training process is struck; who has ended already is not."""
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        workers = psutil.Process(pid).children()
        if victim == VICTIMS[0] and workers:
            workers[0].kill()
        elif victim == VICTIMS[2]:
            os.killpg(pid, signal.SIGKILL)
        else:
            victim = VICTIMS[1]
            os.kill(pid, signal.SIGKILL)
    return Strike(victim, time.time(), attempt)


def problems(training: Training, alone: Alone, strike: Strike, outcome: Outcome) -> tuple[list[str], float]:
    """What does not hold of the claim, for people; and how many seconds of work were done again."""
    again_s = trained_again_s(strike, outcome)
    if not outcome.has_finished(training.epochs):
        return [f"sainet ended with {outcome.ended.code}"], again_s
    allowed_s = interval_s(outcome) + _NOISE * alone.pause_s
    wrong = [f"more than {allowed_s:.1f} s"] if again_s > allowed_s else []
    differs = difference(outcome.folder, alone.weights)
    return wrong + ([differs] if differs else []), again_s


def interval_s(outcome: Outcome) -> float:
    """Between two checkpoints: as asked for, or as long as the engine makes it where writing them takes long."""
    writing_s = [event.seconds for event in outcome.events if isinstance(event, CheckpointSaved)]
    return max(60 * CHECKPOINT_MINUTES, max(writing_s) / WRITING_AT_MOST)


def trained_again_s(strike: Strike, outcome: Outcome) -> float:
    """From the checkpoint that the next attempt went on from to the strike, or from where the struck one went on
    itself if that came later; 0 where no other attempt followed."""
    if (resumed := resume(outcome, strike.attempt + 1)) is None:
        return 0.0
    saved = [e for e in outcome.events if isinstance(e, CheckpointSaved) and e.attempt <= strike.attempt]
    used = [event.time_s for event in saved if (event.epoch, event.batch) == (resumed.epoch, resumed.batch)]
    begun = resume(outcome, strike.attempt)
    return max(0.0, strike.time_s - max(used[-1] if used else 0.0, begun.time_s if begun else 0.0))


def resume(outcome: Outcome, attempt: int) -> Resumed | None:
    found = (event for event in outcome.events if isinstance(event, Resumed) and event.attempt == attempt)
    return next(found, None)


def strike_plain(training: Training, root: Path, victim: str, alone: Alone) -> str:
    """Plain Ultralytics in the same trouble, for people."""
    root.mkdir()
    process = started(training.plain(root), root / "output.txt")
    while process.poll() is None and b"batch 1" not in (root / "output.txt").read_bytes():
        time.sleep(0.05)
    kill(victim, process.pid)
    with suppress(subprocess.TimeoutExpired):
        process.wait(3 * alone.training_s)
    how = "hangs" if process.poll() is None else f"exit {process.returncode}"
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return f"plain Ultralytics, {victim} killed: {how}"


if __name__ == "__main__":
    main()
