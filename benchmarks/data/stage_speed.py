#!/usr/bin/env python3
"""`sainet data stage` against `cp -r` and a checksum of the copy, and its memory at two sizes.

    python -m benchmarks.data.stage_speed [--files 100000] [--rounds 3]

- *staging*: N small images and their label files from the temporary folder into /dev/shm: the whole command, from its
  start to its end, with its survey, admission and verification; against `cp -r SET COPY`, then
  `find COPY -print0 | xargs -0 -P CORES sha256sum`. Limit: 1.
- *again*: the same command when nothing has changed, told only.
- *memory*: the processes of the command together, at a tenth of the N images and at all of them; the largest sum of
  RSS. Limit: 1.2.

Both sides run in turns, and the files have been read before; the medians of the ratios are printed. Exits with 1 when
a limit is broken.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.data.image_set import make_set, small_jpegs
from benchmarks.data.rss import flat
from sainet.hardware.cpu import usable_cpus

STAGING, MEMORY = 1.0, 1.2
_SHM = Path("/dev/shm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000, help="images")
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison")
    parser.add_argument("--in", dest="folder", type=Path, help="where to make the sets (default: the temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, tempfile.TemporaryDirectory(dir=_SHM) as target:
        many = make_set(Path(folder) / "many", options.files, small_jpegs())
        few = make_set(Path(folder) / "few", options.files // 10, small_jpegs())
        mib = sum(path.stat().st_size for path in many.parent.rglob("*.*")) / 2**20
        print(f"{options.files} images and as many label files, {mib:.0f} MiB; {usable_cpus()} cores", flush=True)
        holds = [
            told_of_speed(many, Path(target), options.rounds),
            flat(*(command(yaml, Path(target) / yaml.parent.name) for yaml in (few, many)), limit=MEMORY),
        ]
    sys.exit(0 if all(holds) else 1)


def told_of_speed(yaml: Path, target: Path, rounds: int) -> bool:
    """How many times as fast it is, in turns."""
    copy(yaml, target / "warm")  # every file has been read once
    ratios: list[float] = []
    for number in range(rounds):
        copied_s, summed_s = copy(yaml, target / f"copy-{number}")
        staged_s, again_s = stage(yaml, target / f"staged-{number}")
        ratios.append((copied_s + summed_s) / staged_s)
        print(
            f"  cp -r {copied_s:.1f} s + sha256sum {summed_s:.1f} s; stage {staged_s:.1f} s, again {again_s:.1f} s",
            flush=True,
        )
    ratio = statistics.median(ratios)
    shown = ", ".join(f"{one:.2f}" for one in ratios)
    print(f"staging  {ratio:6.2f} times as fast ({shown}), limit {STAGING}", flush=True)
    return ratio >= STAGING


def copy(yaml: Path, place: Path) -> tuple[float, float]:
    """Seconds of `cp -r`, and of the checksums of the copy."""
    began_s = time.perf_counter()
    subprocess.run(["cp", "-r", str(yaml.parent), str(place)], check=True)
    copied_s = time.perf_counter() - began_s
    sums = f'find "$0" -type f -print0 | xargs -0 -P {usable_cpus()} sha256sum > /dev/null'
    subprocess.run(["sh", "-c", sums, str(place)], check=True)
    summed_s = time.perf_counter() - began_s - copied_s
    shutil.rmtree(place)
    return copied_s, summed_s


def stage(yaml: Path, place: Path) -> tuple[float, float]:
    """Seconds of the command, and of the same again."""
    took_s = []
    for _ in range(2):
        began_s = time.perf_counter()
        subprocess.run(command(yaml, place), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        took_s.append(time.perf_counter() - began_s)
    subprocess.run(["diff", "-r", str(yaml.parent / "labels"), str(place / "labels")], check=True)
    shutil.rmtree(place)
    return took_s[0], took_s[1]


def command(yaml: Path, place: Path) -> list[str]:
    return [sys.executable, "-m", "sainet", "data", "stage", str(yaml), "--to", str(place)]


if __name__ == "__main__":
    main()
