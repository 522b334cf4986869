#!/usr/bin/env python3
"""kill -9 of `sainet data clean` and all its processes, at random moments of its writing; then the same command again.

    python -m benchmarks.data.clean_kills [--strikes 20] [--files 4000] [--seed 0]

Cleans a set in which every kind of row and some images have something wrong, once undisturbed and then again and again
into the same place. After a kill there is no data YAML, so nobody can take it for a set; after the second run every
file has to be what the undisturbed run left, and no other may be there. Exits with 1 when it is not so.
"""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.data.image_set import even_jpeg, make_set
from benchmarks.data.kills import SAINET, run, strike, tree
from sainet.data.clean.cleaning import PART

_ROWS = ("9 .5 .5 .1 .1", "0,.5,.5,.1,.1", "0 .5 .5 .1 .1 .9", "0 .99 .5 .1 .1", "0 .5 .5 0 .1", "1.0 .5 .5 .1 .1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strikes", type=int, default=20)
    parser.add_argument("--files", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="sainet-clean-") as folder:
        yaml, out = make_set(Path(folder) / "set", options.files, [even_jpeg((64, 64))]), Path(folder) / "out"
        spoil(yaml.parent, chance)
        command = [*SAINET, "data", "clean", str(yaml), str(out)]
        run(command)
        reference, parts = tree(out), options.files // PART
        print(f"undisturbed: {len(reference)} files", flush=True)
        equal = [one_strike(command, out, chance.randint(0, parts), reference, chance) for _ in range(options.strikes)]
    print(f"{sum(equal)} of {len(equal)} equal")
    sys.exit(0 if all(equal) else 1)


def spoil(root: Path, chance: random.Random) -> None:
    for label in sorted(root.rglob("*.txt")):
        if chance.random() < 0.3:
            label.write_text(f"{label.read_text(encoding='utf-8')}{chance.choice(_ROWS)}\n", encoding="utf-8")
    for image in sorted(root.rglob("*.jpg")):
        if chance.random() < 0.1:
            image.write_bytes(image.read_bytes() + b"from the camera")


def one_strike(command: list[str], out: Path, parts: int, reference: dict[str, str], chance: random.Random) -> bool:
    """Kill it a little after so many parts are done, and run it again."""
    shutil.rmtree(out)
    struck = strike(command, out / ".clean.jsonl", parts, chance.uniform(0, 0.05))
    left, usable = len(tree(out)), (out / "data.yaml").exists()
    run(command)
    there = tree(out)
    equal = there == reference and not (struck and usable and left < len(reference))
    what = f"killed a little after {parts:3} parts, with {left} files" if struck else "had ended"
    print(f"{what}: {'equal' if equal else 'NOT EQUAL'}", flush=True)
    return equal


if __name__ == "__main__":
    main()
