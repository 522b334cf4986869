#!/usr/bin/env python3
"""A /dev/shm that is too small for the loader: plain Ultralytics waits for ever, sainet finishes.

    python -m benchmarks.guard.shm DATA.yaml [--mib 24 32 40 48] [--workers 8] [--prefetch 4] [--without-guard]

Each size is a mount of the command's own. That plain Ultralytics hangs is shown by its standing still: it is given
three times the time (and a minute at least) that it takes with the machine's own /dev/shm, and at the end of that no
batch has come for as long as the whole training takes otherwise, while all its processes together use no CPU. `sainet
train`, with its own time-outs, has to do all epochs and to end with the same bits as without workers. Takes root, and
about a minute and a half a size on two cores.
"""

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from benchmarks.guard.images import some_of
from benchmarks.guard.limits import MIB, Unavailable, memory_group, started, unwind_on_sigterm, with_small_shm
from benchmarks.guard.trainings import SMALL_MODEL, WITHOUT_GUARD, Outcome, Training, difference, tensors, train

_LEAST_S = 60.0
_TIMES = 3.0
_FLAT = 0.02
"""CPUs that waiting threads use."""
_WINDOW_S = 10.0


@dataclass(frozen=True)
class Watched:
    """Plain Ultralytics as seen from outside; `code` is None while it runs."""

    code: int | None
    seconds: float
    batches: int
    silent_s: float
    """Since its last batch."""
    cpus: float
    """Used at the end, by all its processes."""

    def hangs(self, usual_s: float) -> bool:
        return self.code is None and self.silent_s >= usual_s and self.cpus < _FLAT

    def __str__(self) -> str:
        if self.code is not None:
            return f"exit {self.code} after {self.seconds:.0f} s"
        return (
            f"still there after {self.seconds:.0f} s, {self.batches} batches done, the last {self.silent_s:.0f} s ago, "
            f"{self.cpus:.1%} of a CPU used"
        )


def main() -> None:
    unwind_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--mib", type=int, nargs="+", default=[24, 32, 40, 48], help="sizes of /dev/shm")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--prefetch", type=int, default=4)
    parser.add_argument("--images", type=int, default=128, help="training images")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--model", default=str(SMALL_MODEL))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without-guard", action="store_true")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="sainet-shm-") as folder:
            sys.exit(0 if all(list(cases(options, Path(folder)))) else 1)
    except Unavailable as reason:
        sys.exit(f"skipped: {reason}")


def cases(options: argparse.Namespace, work: Path) -> Iterator[bool]:
    """Prints a line per size; whether its claim holds."""
    training = Training(
        some_of(options.data, work / "data", train=options.images, val=options.images // 5),
        workers=options.workers,
        prefetch=options.prefetch,
        imgsz=options.imgsz,
        epochs=options.epochs,
        seed=options.seed,
        model=options.model,
    )
    usual = watch_plain(training, work / "usual", None, 600.0)
    if usual.code != 0:
        raise SystemExit((work / "usual" / "output.txt").read_text()[-2000:])
    free = train(replace(training, workers=0), work / "free")
    print(f"the machine's own /dev/shm: plain {usual}; sainet without workers {free.ended}", flush=True)
    more = WITHOUT_GUARD if options.without_guard else ()
    for mib in options.mib:
        plain = watch_plain(training, work / f"plain-{mib}", mib * MIB, max(_LEAST_S, _TIMES * usual.seconds))
        limited = train(training, work / f"limited-{mib}", *more, shm_bytes=mib * MIB)
        wrong = problems(training, free, limited)
        wrong += [] if plain.hangs(usual.seconds) else ["plain Ultralytics does not hang"]
        print(f"/dev/shm of {mib} MiB: plain {plain}; sainet {limited.ended}")
        print(f"    {limited.story}\n    {'; '.join(wrong) or 'every bit is equal'}", flush=True)
        yield not wrong


def problems(training: Training, free: Outcome, limited: Outcome) -> list[str]:
    """What does not hold of the claim about sainet, for people."""
    if not limited.has_finished(training.epochs):
        return [f"sainet ended with {limited.ended.code}"]
    differs = difference(limited.folder, tensors(free.folder))
    return [differs] if differs else []


def watch_plain(training: Training, root: Path, shm_bytes: int | None, most_s: float) -> Watched:
    """Plain Ultralytics until it ends, or until its time is over. Nothing of it is left then."""
    root.mkdir()
    log, words = root / "output.txt", training.plain(root)
    began_s = time.monotonic()
    with memory_group() as group:
        command = group.inside(words if shm_bytes is None else with_small_shm(words, shm_bytes))
        process = started(command, log)
        seen, moved_s = [(began_s, 0.0)], began_s
        batches = 0
        while process.poll() is None and (now_s := time.monotonic()) - began_s < most_s:
            if (done := batches_in(log)) > batches:
                batches, moved_s = done, now_s
            seen.append((now_s, cpu_s(group.pids())))
            time.sleep(0.5)
        ended_s, code = time.monotonic(), process.poll()
    process.wait()
    return Watched(code, ended_s - began_s, batches, ended_s - moved_s, cpus(seen))


def batches_in(log: Path) -> int:
    """How many plain.py has told of."""
    return len(re.findall(rb"batch \d+$", log.read_bytes(), re.MULTILINE))


def cpu_s(pids: list[int]) -> float:
    """CPU seconds that the processes have used so far; nothing for those that are gone."""
    used = 0.0
    for pid in pids:
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        used += times.user + times.system
    return used


def cpus(seen: list[tuple[float, float]]) -> float:
    """CPUs in use over the last seconds, of (time, CPU seconds)."""
    last_s, last = seen[-1]
    first_s, first = next(one for one in seen if last_s - one[0] <= _WINDOW_S)
    return (last - first) / (last_s - first_s) if last_s > first_s else 0.0


if __name__ == "__main__":
    main()
