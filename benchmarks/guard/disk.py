#!/usr/bin/env python3
"""A disk that somebody else fills up during the training: what was saved stays whole, and the run goes on from it.

    python -m benchmarks.guard.disk DATA.yaml [--cases 6] [--seed 0]

Each run lies on a small disk of its own, which at a random moment is filled but for a random rest, from nothing to two
checkpoints. `sainet train` has to end with 4 (the guard stopped it) or 7 (a file could not be written), to say why and
what to do, and to leave a checkpoint that verifies and is not older than the one before. Once there is room again,
`--resume` has to finish, with best.pt and last.pt equal, bit for bit, to those of a training with room enough. Plain
Ultralytics is given the same first; whether its last.pt is still a checkpoint is printed. Takes root (the disks are
tmpfs), and about 45 s a case on two cores.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.guard.images import some_of
from benchmarks.guard.limits import MIB, PROJECT, Unavailable, small_disk, started, unwind_on_sigterm
from benchmarks.guard.sudden_death import await_training
from benchmarks.guard.trainings import SMALL_MODEL, Training, difference, injected, tensors, train
from sainet.protocol import CheckpointSaved, TrainingDone, TrainingStarted, read_events
from sainet.state import RunFolder

DISK_BYTES = 768 * MIB
"""More than `guard.disk_hard_gib`, which counts before the first checkpoint."""
CHECKPOINT_MINUTES = 0.02
SLOWED_MS = 60
MAY_END_WITH = {4, 7}
_ENDS_WITHIN_S = 120.0


@dataclass(frozen=True)
class Filled:
    """How a run ended whose disk was filled, and what it said last."""

    code: int | None
    said: str
    before: tuple[int, int]
    """Epoch and batch of the newest checkpoint when the disk was filled."""


def main() -> None:
    unwind_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=96, help="training images")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--model", default=str(SMALL_MODEL))
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="sainet-disk-") as folder:
            sys.exit(0 if all(list(cases(options, Path(folder)))) else 1)
    except Unavailable as reason:
        sys.exit(f"skipped: {reason}")


def cases(options: argparse.Namespace, work: Path) -> Iterator[bool]:
    """Prints a line per case; whether its claim holds."""
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
    free = train(training, work / "free", *settings(), env=injected(slow_ms=SLOWED_MS))
    began_s = next(event.time_s for event in free.events if isinstance(event, TrainingStarted))
    training_s = next(event.time_s for event in free.events if isinstance(event, TrainingDone)) - began_s
    size = max(event.written_bytes for event in free.events if isinstance(event, CheckpointSaved))
    print(f"with room enough: {training_s:.1f} s of training, checkpoints of at most {size / MIB:.1f} MiB", flush=True)
    print(fill_under_plain(training, work / "plain"), flush=True)
    expected, noise = tensors(free.folder), random.Random(options.seed)
    for number in range(options.cases):
        rest, after_s = int(noise.uniform(0.0, 2.0) * size), noise.uniform(0.0, 0.8 * training_s)
        yield case(training, work / str(number), rest, after_s, expected)


def settings() -> tuple[str, str]:
    return "--set", f"train.checkpoint_minutes={CHECKPOINT_MINUTES}"


def case(training: Training, root: Path, rest_bytes: int, after_s: float, expected: dict[str, str]) -> bool:
    """One disk: filled, looked at, emptied, gone on from."""
    root.mkdir()
    with small_disk(root, DISK_BYTES):
        filled = fill_under(training, root, rest_bytes, after_s)
        kept, wrong = kept_in(RunFolder(root / "run"), filled), problems(filled)
        (root / "ballast").unlink()
        wrong += [] if kept else ["no checkpoint verifies, or an older one"]
        wrong += resumed(training, root, expected)
    print(f"{rest_bytes / MIB:.1f} MiB left after {after_s:.1f} s: exit {filled.code}, kept: {kept or 'nothing'}")
    print("\n".join(f"    {line}" for line in filled.said.splitlines()))
    print(f"    {'; '.join(wrong) or 'resumed: every bit is equal'}", flush=True)
    return not wrong


def fill_under(training: Training, root: Path, rest_bytes: int, after_s: float) -> Filled:
    folder, log = RunFolder(root / "run"), root.with_suffix(".txt")
    process = started(training.sainet(root, *settings()), log, injected(slow_ms=SLOWED_MS))
    try:
        await_training(folder, process)
        time.sleep(after_s)
        newest = [event for event in read_events(folder.events) if isinstance(event, CheckpointSaved)][-1]
        fill(root, rest_bytes)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_ENDS_WITHIN_S)
        code = process.poll()
    finally:
        process.kill()
        process.wait()
    return Filled(code, last_words(log), (newest.epoch, newest.batch))


def fill(disk: Path, rest_bytes: int) -> None:
    """Write ballast until so much is left."""
    with suppress(OSError), (disk / "ballast").open("ab", buffering=0) as ballast:
        while True:
            ballast.write(bytes(MIB // 8))
    size = (disk / "ballast").stat().st_size
    os.truncate(disk / "ballast", max(0, size - rest_bytes))


def last_words(log: Path) -> str:
    """The error and its hint, as they were printed."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    last = max((number for number, line in enumerate(lines) if line.startswith("error:")), default=len(lines) - 1)
    return "\n".join(lines[last : last + 3])


def kept_in(folder: RunFolder, filled: Filled) -> str | None:
    """The checkpoint that a resume would find, for people; None where it is older than what there was."""
    from sainet.engine.slots import Slots
    from sainet.errors import StorageError

    try:
        found = Slots(folder.stage(1).checkpoint).read()
    except StorageError:
        return None
    if found is None or (found.epoch, found.batch) < filled.before:
        return None
    return f"epoch {found.epoch + 1} batch {found.batch + 1}"


def problems(filled: Filled) -> list[str]:
    wrong = [] if filled.code in MAY_END_WITH else [f"ended with {filled.code}"]
    return wrong + ([] if "hint:" in filled.said else ["no hint"])


def resumed(training: Training, root: Path, expected: dict[str, str]) -> list[str]:
    """Go on once there is room; what is wrong with the end of it."""
    words = training.sainet(root, *settings(), "--resume")
    ended = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
    if ended.returncode:
        return [f"--resume ended with {ended.returncode}: {ended.stderr.strip()[-300:]}"]
    differs = difference(RunFolder(root / "run"), expected)
    return [differs] if differs else []


def fill_under_plain(training: Training, root: Path) -> str:
    """Plain Ultralytics on a disk that is filled, and kept full, once it has saved something; for people."""
    root.mkdir()
    log, last = root.with_suffix(".txt"), root / "plain" / "weights" / "last.pt"
    deadline_s = time.monotonic() + _ENDS_WITHIN_S
    with small_disk(root, DISK_BYTES):
        process = started(training.plain(root), log)
        while process.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.01)
            if last.exists():
                fill(root, 0)
        process.kill()
        process.wait()
        whole = last.exists() and zipfile.is_zipfile(last)
        size = last.stat().st_size if last.exists() else 0
    return f"plain Ultralytics: exit {process.returncode}; its last.pt {'is whole' if whole else f'is lost ({size} B)'}"


if __name__ == "__main__":
    main()
