#!/usr/bin/env python3
"""VRAM that runs short, on a machine without a GPU: the guard over the real pynvml and a scripted NVML.

    python -m benchmarks.guard.nvml

Builds the library of the tests (tests/fakes/nvml.c; needs a C compiler), which reports a card of 40 GiB whose use is
read from a file at every call. The guard's own loop looks at it twice a second, on a clock that is set forward instead
of waited for; a stand-in for the training obeys its orders at the next batch, half a second later: with twice the
pieces, half of its activations are gone. Four courses of ten minutes: a slow ramp, a step, the saw-teeth of
validations, and a stranger who takes the card. Prints what was decided in each; exits with 1 when it is not what the
ladder is for.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sainet.config.schema import Guard
from sainet.guard.ladder import Footing, Ladder
from sainet.guard.sample_file import SampleLog
from sainet.guard.sampler import Sampler
from sainet.hardware.gpu import read_gpus
from sainet.protocol import Event, GuardActed, Orders, OrdersApplied, Plan, TrainingStarted
from sainet.run.guarding import Guarding

SOURCE = Path(__file__).resolve().parents[2] / "tests" / "fakes" / "nvml.c"
CARD_MIB = 40 * 1024
FIXED = 0.15
"""Share of the card that weights and context take, however many pieces."""
LENGTH_S = 600.0
_CHILD = "SAINET_SCRIPTED_NVML"

Course = Callable[[float, int], float]
"""(seconds, pieces) -> share of the card."""


@dataclass(frozen=True)
class Case:
    """A course, and the kinds of rungs that it has to lead to, in this order."""

    name: str
    share: Course
    wanted: tuple[str, ...]


CASES = (
    Case("ramp", lambda t, k: FIXED + min(2.0, 0.35 + 0.0025 * t) / k, ("release vram", "micro-batch")),
    Case("step", lambda t, k: FIXED + (0.40 if t < 60 else 0.82) / k, ("micro-batch",)),
    Case("saw-tooth", lambda t, k: FIXED + (0.75 if t % 60 < 10 else 0.50) / k, ()),
    Case("stranger", lambda t, k: 0.97 if t > 60 else FIXED + 0.35 / k, ("micro-batch", "stop")),
)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    if _CHILD in os.environ:
        went_well = [run(case, Path(os.environ[_CHILD])) for case in CASES]
        sys.exit(0 if all(went_well) else 1)
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        sys.exit("skipped: no C compiler here")
    with tempfile.TemporaryDirectory(prefix="sainet-nvml-") as folder:
        library = Path(folder) / "libnvidia-ml.so.1"
        subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
        script = Path(folder) / "script"
        surroundings = {"LD_LIBRARY_PATH": folder, "NVML_SCRIPT": str(script), _CHILD: folder}
        words = [sys.executable, "-m", "benchmarks.guard.nvml"]
        sys.exit(subprocess.run(words, env={**os.environ, **surroundings}, check=False).returncode)


def run(case: Case, work: Path) -> bool:
    """One course; prints its line and returns whether it went as it should."""
    stage = Stage(case, work)
    most = 0.0
    for time_s in stage.times():
        most = max(most, case.share(time_s, stage.pieces))
        if stage.look(time_s):
            break
    kinds = list(dict.fromkeys(step.action.partition(":")[0] for step in stage.steps))
    holds = tuple(kinds) == case.wanted and (most < 1 or "stop" in kinds)
    told = "; ".join(f"{step.action} ({step.level})" for step in stage.steps) or "nothing"
    print(f"{case.name:<10} {'as designed' if holds else 'NOT AS DESIGNED'}: {told}; {most:.1%} at most", flush=True)
    return holds


class Stage:
    """A stand-in for a training under guard, which obeys at its next batch."""

    def __init__(self, case: Case, work: Path) -> None:
        self.case, self.work = case, work
        self.pieces, self.time_s = 1, 0.0
        self.steps: list[GuardActed] = []
        self._obeyed = 0
        self._report()
        orders = work / f"orders-{case.name}.json"
        orders.write_text(Orders().model_dump_json())
        self.plan = Plan.model_construct(stage=1, attempt=1, orders=orders)
        footing = Footing("sainet", 8, 2, 4, 2, batch=32, pieces_at_most=32)
        sampler = Sampler(work, read_gpus().gpus, warn=print)
        log = SampleLog(work / f"memory-{case.name}.csv")
        self.guarding = Guarding(
            _VRAM_ONLY, self.plan, sampler, log, Ladder(footing), self._hear, lambda *_: None, print, now=self._now
        )
        numbers = {"epochs": 9, "batches": 100, "train_images": 9, "val_images": 3}
        self.guarding.heard(TrainingStarted(stage=1, attempt=1, first_epoch=0, **numbers))

    def times(self) -> Iterator[float]:
        return (0.5 * number for number in range(round(2 * LENGTH_S)))

    def look(self, time_s: float) -> bool:
        """Whether the training has ended."""
        self.time_s = time_s
        self._report()
        self.guarding.look()
        order = Orders.model_validate_json(self.plan.orders.read_bytes())
        if order.number > self._obeyed:
            self._obeyed = order.number
            self.pieces = order.micro_batch or self.pieces
            self.guarding.heard(OrdersApplied(stage=1, attempt=1, number=order.number, epoch=0, batch=1))
        return order.stop

    def _report(self) -> None:
        used = round(self.case.share(self.time_s, self.pieces) * CARD_MIB)
        text = f"driver 560.35 12060\ngpu {CARD_MIB} {min(used, CARD_MIB)} 0 NVIDIA A100-SXM4-40GB\n"
        Path(os.environ["NVML_SCRIPT"]).write_text(text)

    def _now(self) -> float:
        return self.time_s

    def _hear(self, event: Event) -> None:
        if isinstance(event, GuardActed) and event.action != "none":
            self.steps.append(event)


_VRAM_ONLY = Guard(soft=1.0, hard=1.0, slope_from=1.0, hard_slope_from=1.0, disk_soft_gib=0.0, disk_hard_gib=0.0)
"""What this machine's own RAM and disk do meanwhile is another matter."""


if __name__ == "__main__":
    main()
