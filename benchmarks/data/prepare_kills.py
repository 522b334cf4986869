#!/usr/bin/env python3
"""`sainet data prepare` killed with SIGKILL at random moments, run again, and compared with one left alone.

    python -m benchmarks.data.prepare_kills [--kills 20] [--images 2000] [--seed 0]

Real processes, the whole group killed at once: `fasdd` as published, `fasdd --splits regroup --backgrounds ratio=0.1`,
and `pyrosdis`, in turns. The moments are by turns: some time after the start, spread over the length of a run left
alone; a little after a random number of parts; and a little after the last part, where the manifest, the record and
data.yaml are written. Every file is compared byte for byte, and
none may be left over. Exits with 1 when something differs.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.data.prepare_speed import make_release

_JOURNAL = ".prepare.jsonl"
_SAMPLE_S = 0.002


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--images", type=int, default=2000, help="of each set")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        differing = kill_all(root, options.kills, options.images, random.Random(options.seed))
    print(f"{options.kills} kills, {differing} results that differ", flush=True)
    sys.exit(1 if differing else 0)


def kill_all(root: Path, kills: int, images: int, chance: random.Random) -> int:
    """How many results differed from that of a run left alone."""
    fasdd = make_release(root / "FASDD_CV", images)
    pyrosdis = make_shards(root / "pyro-sdis", images)
    requests = [
        ["fasdd", str(fasdd)],
        ["fasdd", str(fasdd), "--splits", "regroup", "--backgrounds", "ratio=0.1"],
        ["pyrosdis", str(pyrosdis)],
    ]
    alone = [left_alone(request, root / f"alone-{number}") for number, request in enumerate(requests)]
    differing = 0
    for number in range(kills):
        request, one = requests[number % 3], alone[number % 3]
        folder = root / f"killed-{number}"
        was = kill_once(request, folder, moment(one, (number + number // 3) % 3, chance))
        again = subprocess.run(command(request, folder), capture_output=True, text=True, check=False)
        wrong = differences(one.files, contents(folder)) if again.returncode == 0 else [again.stderr]
        differing += bool(wrong)
        print(f"{' '.join([request[0], *request[2:]])}: killed at {was}; {wrong or 'equal'}", flush=True)
    return differing


@dataclass(frozen=True)
class Alone:
    """A run that was left alone: how long it took, how many parts it had, and every file that it made."""

    length_s: float
    parts: int
    files: dict[str, bytes]


class Moment(NamedTuple):
    """When to kill: so many seconds after so many parts are done; 0 parts is the start."""

    parts: int
    then_s: float


def left_alone(request: Sequence[str], folder: Path) -> Alone:
    began, parts = time.perf_counter(), 0
    process = start(request, folder)
    while process.poll() is None:
        parts = max(parts, parts_done(folder))
        time.sleep(_SAMPLE_S)
    assert process.returncode == 0, request
    return Alone(time.perf_counter() - began, parts, contents(folder))


def moment(alone: Alone, kind: int, chance: random.Random) -> Moment:
    """Some time after the start (0), after some part (1), or after the last (2)."""
    if kind == 0:
        return Moment(0, chance.uniform(0, alone.length_s))
    if kind == 1:
        return Moment(chance.randrange(alone.parts), chance.uniform(0, 0.05))
    return Moment(alone.parts, chance.uniform(0, 0.2))


def kill_once(request: Sequence[str], folder: Path, when: Moment) -> str:
    """Start, kill at that moment, and say how far it was."""
    process = start(request, folder)
    while process.poll() is None and parts_done(folder) < when.parts:
        time.sleep(_SAMPLE_S)
    try:
        process.wait(when.then_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return state(folder)


def start(request: Sequence[str], folder: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command(request, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def parts_done(folder: Path) -> int:
    try:
        return max(0, (folder / _JOURNAL).read_bytes().count(b"\n") - 1)
    except FileNotFoundError:
        return 0


def command(request: Sequence[str], folder: Path) -> list[str]:
    return [sys.executable, "-m", "sainet", "data", "prepare", request[0], request[1], str(folder), *request[2:]]


def state(folder: Path) -> str:
    """How far a run was."""
    if not folder.exists():
        return "nothing yet"
    there = [name for name in ("manifest.parquet", "prepared.json", "data.yaml") if (folder / name).exists()]
    if not (folder / _JOURNAL).exists():
        return "finished"
    return f"{parts_done(folder)} parts" + (f" and {', '.join(there)}" if there else "")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def differences(expected: dict[str, bytes], found: dict[str, bytes]) -> list[str]:
    """The names of files that are missing, too many, or different; some of them."""
    names = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    kinds = Counter("left over" if name not in expected else "wrong" for name in names)
    return [f"{dict(kinds)}: {', '.join(names[:5])}"] if names else []


def make_shards(root: Path, rows: int) -> Path:
    """A folder of parquet shards as PyroSDIS is published: three of train and one of val."""
    import polars as pl

    from benchmarks.data.prepare_speed import jpegs

    chance, base = random.Random(1), jpegs()
    (root / "data").mkdir(parents=True)
    shards = [("train", number, 3) for number in range(3)] + [("val", 0, 1)]
    for split, number, of in shards:
        table = [_row(chance, base, split, number * rows + row) for row in range(rows // len(shards))]
        path = root / "data" / f"{split}-{number:05d}-of-{of:05d}.parquet"
        pl.DataFrame(table).write_parquet(path, row_group_size=100)
    return root


def _row(chance: random.Random, base: Sequence[bytes], split: str, number: int) -> dict[str, object]:
    day, hour, minute = number // 1440 % 28 + 1, number // 60 % 24, number % 60
    date = f"{2023 if split == 'val' else 2024}-01-{day:02d}T{hour:02d}-{minute:02d}-00"
    camera, partner = f"brison-{number % 7}", "sdis-07"
    name = f"{partner}_{camera}_{date}.jpg"
    boxes = "1 0.5 0.5 0.2 0.1" if chance.random() < 0.8 else ""
    image = {"bytes": chance.choice(base), "path": name}
    return {
        "image": image, "annotations": boxes, "image_name": name, "partner": partner, "camera": camera, "date": date
    }  # fmt: skip


if __name__ == "__main__":
    main()
