#!/usr/bin/env python3
"""Trainings whose loaders do not fit into the RAM they get: plain Ultralytics is killed, sainet finishes.

    python -m benchmarks.guard.ram DATA.yaml [--cases 10] [--workers 16] [--prefetch 8] [--leak-kb 800]

Each case has a seed and a limit of its own: a control group that holds less than plain Ultralytics and sainet take with
the loader as it is configured, and more than sainet takes with one worker and one batch ahead, all measured first
without a limit. (Plain Ultralytics is always four batches ahead for each worker.) In the group plain Ultralytics has to
be killed by the kernel; `sainet train` has to do all epochs, with nothing changed but how much is loaded ahead and by
how many, and to end with best.pt and last.pt that are equal, bit for bit, to those of the same seed without a limit and
without workers. Admission would refuse such a start, so it is forced, which the run records.

`--leak-kb` leaks so much with every image that is read, as a data set with a bug does; then the loader itself is small.
`--without-guard` shows how it ends without. Takes root, and about 80 s a case on two cores.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.guard.images import some_of
from benchmarks.guard.limits import MIB, Ended, Unavailable, run, unwind_on_sigterm
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

MAY_CHANGE = {"workers", "prefetch_factor", "val_workers", "val_prefetch_factor"}
"""What is without effect on the weights."""
_MARGIN = 1.12
"""Above what the smallest loader takes: the guard acts from 88% on."""
_MARGIN_BELOW = 0.95
"""Of what the configured loader takes: how much that is moves by some percent."""
_LEAKED = 0.5
"""The share of all that is leaked that fits beside the loader."""


def main() -> None:
    unwind_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--prefetch", type=int)
    parser.add_argument("--images", type=int, default=128, help="training images")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--model", default=str(SMALL_MODEL))
    parser.add_argument("--leak-kb", type=int, default=0, help="for each image that is read")
    parser.add_argument("--seed", type=int, default=0, help="of the limits, and of the first training")
    parser.add_argument("--without-guard", action="store_true")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="sainet-ram-") as folder:
            sys.exit(0 if all(list(cases(options, Path(folder)))) else 1)
    except Unavailable as reason:
        sys.exit(f"skipped: {reason}")


def cases(options: argparse.Namespace, work: Path) -> Iterator[bool]:
    """Prints a line per case; whether its claim holds."""
    data = some_of(options.data, work / "data", train=options.images, val=options.images // 5)
    training = training_of(options, data)
    low, high = room(training, work, options.leak_kb)
    noise = random.Random(options.seed)
    for number in range(options.cases):
        one = replace(training, seed=options.seed + number)
        limit = int(low + (high - low) * (number + noise.random()) / options.cases)
        yield case(one, limit, work / str(number), options)


def training_of(options: argparse.Namespace, data: Path) -> Training:
    """With a leak a small loader, a longer training, and no mosaic, for which both would read different amounts."""
    leaks = options.leak_kb > 0
    return Training(
        data,
        workers=options.workers or (2 if leaks else 16),
        prefetch=options.prefetch or (2 if leaks else 8),
        batch=options.batch,
        imgsz=options.imgsz,
        epochs=options.epochs or (6 if leaks else 4),
        model=options.model,
        mosaic=0.0 if leaks else 1.0,
    )


def room(training: Training, work: Path, leak_kb: int) -> tuple[int, int]:
    """Between which limits a case makes sense, bytes."""
    env = injected(leak=1000 * leak_kb) if leak_kb else None
    smallest = train(replace(training, workers=1, prefetch=1), work / "smallest").ended
    asked = train(training, work / "asked", env=env).ended
    plain = run(training.plain(work / "plain"), work / "plain.txt", env=env)
    if smallest.code or asked.code or plain.code:
        raise SystemExit(f"does not train without a limit: {smallest}; {asked}; {plain}")
    if smallest.peak_bytes is None or asked.peak_bytes is None or plain.peak_bytes is None:
        raise Unavailable("no control group can be made here")
    low, high = _MARGIN * smallest.peak_bytes, _MARGIN_BELOW * min(asked.peak_bytes, plain.peak_bytes)
    print(
        f"without a limit: sainet {smallest.peak_bytes / MIB:.0f} MiB with the smallest loader, "
        f"{asked.peak_bytes / MIB:.0f} MiB as configured; plain {plain.peak_bytes / MIB:.0f} MiB",
        flush=True,
    )
    if high < low:
        raise SystemExit("the loader as configured takes too little: more --workers or --prefetch")
    return int(low), int(low + (high - low) * (_LEAKED if leak_kb else 1.0))


def case(training: Training, limit_bytes: int, root: Path, options: argparse.Namespace) -> bool:
    """One limit: plain Ultralytics, then sainet without it, then sainet with it."""
    root.mkdir()
    env = injected(leak=1000 * options.leak_kb) if options.leak_kb else None
    plain = run(training.plain(root / "plain"), root / "plain.txt", limit_bytes=limit_bytes, env=env)
    free = train(replace(training, workers=0), root / "free")
    more = WITHOUT_GUARD if options.without_guard else ()
    limited = train(training, root / "limited", *more, limit_bytes=limit_bytes, env=env)
    wrong = problems(training, plain, free, limited)
    print(f"seed {training.seed}, {limit_bytes / MIB:.0f} MiB: plain {plain}; sainet {limited.ended}")
    print(f"    {limited.story}")
    print(
        f"    {'; '.join(wrong) or 'every bit is equal'}  (forced: {'; '.join(limited.forced) or 'nothing'})",
        flush=True,
    )
    return not wrong


def problems(training: Training, plain: Ended, free: Outcome, limited: Outcome) -> list[str]:
    """What does not hold of the claim, for people."""
    found = [] if plain.oom_kills and plain.code else ["plain Ultralytics was not killed"]
    if not limited.has_finished(training.epochs):
        return [*found, f"sainet ended with {limited.ended.code}"]
    if others := limited.changed.keys() - MAY_CHANGE:
        found.append(f"the guard changed {', '.join(sorted(others))} too")
    if differs := difference(limited.folder, tensors(free.folder)):
        found.append(differs)
    return found


if __name__ == "__main__":
    main()
