#!/usr/bin/env python3
"""`sainet data stage` killed with SIGKILL, the whole process group, at random moments, and run again.

    python -m benchmarks.data.stage_kills [--kills 20] [--files 20000] [--seed 0]

Every fourth kill is aimed at the last twentieth, where the copy becomes a set. After each kill the place must be whole
or not there: nothing may take a half for a set. Then the same command runs again, and each file of the result is
compared with a staging that nobody has disturbed; nothing may be left beside it.

Prints a line for each kill: when it came, what was there then, and how many images the second run did not have to copy
again. Exits with 1 when one of them fails, or when too few came while something was there to be spoilt.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.data.image_set import make_set, small_jpegs
from sainet.data.source import read_source
from sainet.data.stage.form import AS_IS
from sainet.data.stage.layout import partial_of
from sainet.data.stage.record import RECORD, read_record
from sainet.data.stage.staging import find_staged
from sainet.data.stage.survey import take_survey

_SHM = Path("/dev/shm")
_OFTEN = 0.4
"""So many of the kills have to come in the middle of the work."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--files", type=int, default=20_000, help="images")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(dir=_SHM) as target:
        yaml = make_set(Path(folder) / "set", options.files, small_jpegs())
        took_s = undisturbed_s(yaml, Path(target) / "whole")
        print(f"{options.files} images and as many label files; undisturbed {took_s:.1f} s", flush=True)
        chance, good, inside = random.Random(options.seed), 0, 0
        for number in range(options.kills):
            if number % 4 == 0:  # a machine that others use is not always as fast
                took_s = undisturbed_s(yaml, Path(target) / "again")
                shutil.rmtree(Path(target) / "again")
            share = chance.uniform(0.95, 1.02) if number % 4 == 3 else chance.uniform(0.05, 1.0)
            was, fault, told = kill_and_go_on(yaml, Path(target), share * took_s)
            good += fault is None
            inside += was == "half"
            resumed = told.get("resumed_images", 0)
            print(
                f"{number + 1:3}  {share * took_s:5.2f} s  {was:8}  {resumed:6} resumed  {fault or 'same'}", flush=True
            )
    print(f"{good} of {options.kills} end as undisturbed; {inside} of them were killed with a half there")
    sys.exit(0 if good == options.kills and inside >= _OFTEN * options.kills else 1)


def undisturbed_s(yaml: Path, place: Path) -> float:
    """How long it takes, seconds."""
    began_s = time.monotonic()
    run(yaml, place)
    return time.monotonic() - began_s


def kill_and_go_on(yaml: Path, target: Path, after_s: float) -> tuple[str, str | None, dict[str, Any]]:
    """What was there after the kill, what is wrong with it or with what came of it, and what the second run said."""
    place, whole = target / "set", target / "whole"
    process = subprocess.Popen(
        command(yaml, place), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    was = "whole" if place.exists() else "half" if partial_of(place).exists() else "nothing"
    fault = _looks_like_a_set(yaml, place, whole)
    told: dict[str, Any] = json.loads(run(yaml, place))
    fault = fault or difference(whole, place)
    left = sorted(path.name for path in target.iterdir() if path.name not in {"set", "whole"})
    fault = fault or (f"left behind: {left}" if left else None)
    shutil.rmtree(place)
    return was, fault, told


def _looks_like_a_set(yaml: Path, place: Path, whole: Path) -> str | None:
    """What can be taken for a set though it is none."""
    if place.exists():
        return difference(whole, place)
    found = find_staged(take_survey(read_source(str(yaml))), place, AS_IS)
    if found is not None or read_record(place) is not None or (place / "data.yaml").exists():
        return "a half is taken for a set"
    return None


def difference(whole: Path, other: Path) -> str | None:
    """Of every file but the records, in which only the times may differ."""
    found = subprocess.run(
        ["diff", "-rq", "-x", RECORD, str(whole), str(other)], capture_output=True, text=True, check=False
    )
    if found.returncode:
        return found.stdout.splitlines()[0] if found.stdout else found.stderr
    records = [json.loads((place / RECORD).read_bytes()) for place in (whole, other)]
    differ = [key for key in records[0] if records[0][key] != records[1][key] and key not in {"staged_s", "took_s"}]
    return f"records differ in {differ}" if differ else None


def run(yaml: Path, place: Path) -> str:
    return subprocess.run([*command(yaml, place), "--json"], check=True, stdout=subprocess.PIPE, text=True).stdout


def command(yaml: Path, place: Path) -> list[str]:
    return [sys.executable, "-m", "sainet", "data", "stage", str(yaml), "--to", str(place)]


if __name__ == "__main__":
    main()
