#!/usr/bin/env python3
"""A GPU that runs out of memory in the middle of a training: forward, backward, in a validation.

    python -m benchmarks.guard.vram DATA.yaml [--seed 0] [--without-guard]

There is no GPU in this: PyTorch's own error is raised inside a real training on the CPU (inject/sitecustomize.py)
whenever more than so many images are computed at once, in the second of three epochs. `sainet train` has to restart by
itself from the exact checkpoint and finish, in as many micro-batches as it takes; `--on-vram stop` has to end with 4,
and a later `--resume`, once there is room, with the same bits as if nothing had been; `--on-vram restart` has to begin
the stage anew at epoch 1 with a smaller batch and to finish. Plain Ultralytics gets the same error, in its first epoch,
where it trains another batch instead and does not come back to the old one, and in its second, where it gives up. Takes
two minutes on two cores.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.guard.images import some_of
from benchmarks.guard.limits import PROJECT, Unavailable, run, unwind_on_sigterm
from benchmarks.guard.trainings import (
    SMALL_MODEL,
    WITHOUT_GUARD,
    Outcome,
    Training,
    difference,
    injected,
    tensors,
    train,
)
from sainet.protocol import TrainingStarted

BATCH, IMAGES, EPOCHS = 8, 48, 3
SECOND_EPOCH = IMAGES // BATCH


@dataclass(frozen=True)
class Case:
    """Where CUDA's memory runs out (inject/sitecustomize.py says how it is written), what the user wants to be done
    then, and what has to come of it: a text for people, empty when it is as it should be."""

    oom: str
    on_vram: str
    judge: Callable[["Case", Training, Path, Outcome, dict[str, str]], str]
    pieces: int = 1


def main() -> None:
    unwind_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--model", default=str(SMALL_MODEL))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without-guard", action="store_true")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="sainet-vram-") as folder:
            sys.exit(0 if all(list(cases(options, Path(folder)))) else 1)
    except Unavailable as reason:
        sys.exit(f"skipped: {reason}")


def cases(options: argparse.Namespace, work: Path) -> Iterator[bool]:
    """Prints a line per case; whether its claim holds."""
    training = Training(
        some_of(options.data, work / "data", train=IMAGES, val=2 * BATCH),
        workers=0,
        batch=BATCH,
        imgsz=options.imgsz,
        epochs=EPOCHS,
        seed=options.seed,
        model=options.model,
    )
    print(plain_in_trouble(training, work), flush=True)
    free = train(training, work / "free")
    if not free.has_finished(EPOCHS):
        raise SystemExit(f"does not train without trouble: {free.ended}")
    expected = tensors(free.folder)
    more = WITHOUT_GUARD if options.without_guard else ()
    for number, case in enumerate(CASES):
        root = work / str(number)
        outcome = train(training, root, "--on-vram", case.on_vram, *more, env=injected(oom=case.oom))
        wrong = case.judge(case, training, root, outcome, expected)
        print(f"{case.oom}, --on-vram {case.on_vram}: {outcome.ended}; {outcome.story}")
        print(f"    {wrong or 'as it should be'}", flush=True)
        yield not wrong


def plain_in_trouble(training: Training, work: Path) -> str:
    """For people."""
    told = []
    for name, first in (("first", 1), ("second", SECOND_EPOCH + 2)):
        log = work / f"plain-{name}.txt"
        words = [*training.plain(work / f"plain-{name}"), "--oom-above", str(BATCH // 2), "--oom-from", str(first)]
        ended = run(words, log)
        reduced = " with another batch" if "Reducing to batch" in log.read_text() else ""
        told.append(f"in its {name} epoch: {ended}{reduced}")
    return f"plain Ultralytics, out of memory {'; '.join(told)}"


def finishes_in_pieces(case: Case, training: Training, root: Path, outcome: Outcome, expected: dict[str, str]) -> str:
    """The weights are not compared: a batch in pieces has other BatchNorm statistics."""
    del root, expected
    if not outcome.has_finished(training.epochs):
        return f"ended with {outcome.ended.code}"
    if outcome.changed != {"micro_batch": case.pieces}:
        return f"the guard changed {outcome.changed}"
    return "" if len(started_at(outcome)) == 1 + len(outcome.restarts) else "not every restart has begun"


def stops_resumably(case: Case, training: Training, root: Path, outcome: Outcome, expected: dict[str, str]) -> str:
    del case
    if outcome.ended.code != 4:
        return f"ended with {outcome.ended.code}"
    words = training.sainet(root, "--resume")
    resumed = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
    if resumed.returncode:
        return f"--resume ended with {resumed.returncode}: {resumed.stderr.strip()[-300:]}"
    return difference(outcome.folder, expected)


def begins_anew(case: Case, training: Training, root: Path, outcome: Outcome, expected: dict[str, str]) -> str:
    del case, root, expected
    if not outcome.has_finished(training.epochs):
        return f"ended with {outcome.ended.code}"
    if outcome.changed != {"batch": training.batch // 2}:
        return f"the guard changed {outcome.changed}"
    places = started_at(outcome)
    return "" if places == [(0, 0), (0, 0)] else f"the attempts began at {places}"


def started_at(outcome: Outcome) -> list[tuple[int, int]]:
    """Epoch and batch at which the attempts began."""
    begun = (event for event in outcome.events if isinstance(event, TrainingStarted))
    return [(event.first_epoch, event.first_batch) for event in begun]


CASES = (
    Case(f"forward:{BATCH // 2}:{SECOND_EPOCH + 2}", "microbatch", finishes_in_pieces, pieces=2),
    Case(f"backward:{BATCH // 4}:{SECOND_EPOCH + 2}", "microbatch", finishes_in_pieces, pieces=4),
    Case(f"validation:{BATCH}", "microbatch", finishes_in_pieces, pieces=2),
    Case(f"forward:{BATCH // 2}:{SECOND_EPOCH + 2}", "stop", stops_resumably),
    Case(f"forward:{BATCH // 2}:{SECOND_EPOCH + 2}", "restart", begins_anew),
)


if __name__ == "__main__":
    main()
