#!/usr/bin/env python3
"""Trainings that are killed again and again, compared bit for bit with the same trainings left alone.

    python benchmarks/exact_resume.py STAGE1.yaml STAGE2.yaml [--points 24] [--images 40] [--seed 0]

Both stages, on a square without loader workers and on a rectangle with two, with mosaic, mixup and their closing, and
two batches per optimizer step. Each is ended at random moments, in turn by kill -9, by SIGTERM and by an order to stop,
inside a batch, a validation or the writing of a checkpoint as it happens, and resumed until it is done. Prints a line
per ending, and per training whether all of its end state (weights, buffers, EMA, optimizer, random states) and all of
its samples are those of the training left alone. Exits with 1 if not. A CPU takes a few minutes.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from plans import make_plan

from sainet.protocol import CheckpointSaved, Orders, Plan, Stage, read_events

EPOCHS = 3
LEARNING = {
    "epochs": EPOCHS,
    "batch": 4,
    "nbs": 8,
    "close_mosaic": 1,
    "mosaic": 1.0,
    "mixup": 0.3,
    "optimizer": "SGD",
    "lr0": 0.01,
    "warmup_epochs": 1.0,
    "seed": 7,
}
TRAININGS: list[tuple[Stage, tuple[int, int], int]] = [
    (1, (96, 96), 0),
    (1, (96, 160), 2),
    (2, (96, 96), 2),
    (2, (160, 96), 0),
]
"""Stage, (height, width) and workers."""


@dataclass(frozen=True)
class Ending:
    """End the training `delay_s` after batch `batch` of `epoch` began. An order is obeyed at that very batch."""

    how: str
    epoch: int
    batch: int
    delay_s: float

    def place(self, batches: int) -> int:
        """The batch over all epochs, of `batches` each."""
        return self.epoch * batches + self.batch


def main() -> None:
    if sys.argv[1] == "--child":
        sys.exit(child(Path(sys.argv[2]), Path(sys.argv[3])))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs=2, type=Path)
    parser.add_argument("--points", type=int, default=24, help="endings, over all trainings together")
    parser.add_argument("--images", type=int, default=40, help="training images of each stage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trainings", type=int, default=len(TRAININGS))
    options = parser.parse_args()
    noise = random.Random(options.seed)
    equal = True
    with tempfile.TemporaryDirectory() as folder:
        for number, (stage, shape, workers) in enumerate(TRAININGS[: options.trainings]):
            base = Path(folder) / str(number)
            name = f"stage {stage}, {shape[0]}x{shape[1]}, {workers} workers"
            plan = plan_of(base / "alone", stage, shape, workers, options)
            alone = train(plan, None)
            stopped = interrupted(base / "stopped", stage, shape, workers, options, noise, name)
            found = compare(alone, stopped)
            print(f"{name}: ended {stopped['endings']} times, {found or 'every bit is equal'}", flush=True)
            equal = equal and not found
    sys.exit(0 if equal else 1)


def plan_of(
    root: Path, stage: Stage, shape: tuple[int, int], workers: int, options: argparse.Namespace, attempt: int = 1
) -> Plan:
    return make_plan(
        root,
        options.data[stage - 1],
        stage=stage,
        attempt=attempt,
        classes=["smoke"] if stage == 2 else None,
        shape=shape,
        workers=workers,
        checkpoint_every_s=1.0,
        fraction=options.images,
        **LEARNING,
    )


def draw(noise: random.Random, here: int, batches: int, endings_left: int) -> Ending:
    """An ending somewhere in the next part of the training, which stands before batch `here` of all epochs."""
    left = EPOCHS * batches - here
    place = min(here + noise.randrange(0, max(1, 2 * left // (endings_left + 1))), EPOCHS * batches - 1)
    return Ending(noise.choice(["kill -9", "SIGTERM", "order"]), *divmod(place, batches), noise.uniform(0.0, 1.0))


def interrupted(
    root: Path,
    stage: Stage,
    shape: tuple[int, int],
    workers: int,
    options: argparse.Namespace,
    noise: random.Random,
    name: str,
) -> dict[str, Any]:
    """Ended again and again, then trained to its end; what that end looks like, and how often it was ended."""
    batches, count = -(-options.images // 4), -(-options.points // options.trainings)
    plan = plan_of(root, stage, shape, workers, options)
    here, attempt, ended = 0, 1, 0
    while ended < count:
        ending = draw(noise, here, batches, count - ended)
        code = train(plan, ending)["code"]
        if code == 0:  # done before it was struck, or in the middle of its last evaluation
            break
        here, ended, attempt = standing(plan, batches), ended + 1, attempt + 1
        at = f"epoch {here // batches + 1} batch {here % batches + 1}"
        print(
            f"  {name}: {ending.how} in epoch {ending.epoch + 1} batch {ending.batch + 1}, goes on at {at}", flush=True
        )
        plan = plan_of(root, stage, shape, workers, options, attempt)
    return {**train(plan, None), "endings": ended}


def standing(plan: Plan, batches: int) -> int:
    """The batch over all epochs that the newest checkpoint stands before."""
    saved = [event for event in read_events(plan.events) if isinstance(event, CheckpointSaved)]
    return saved[-1].epoch * batches + saved[-1].batch if saved else 0


def train(plan: Plan, ending: Ending | None) -> dict[str, Any]:
    """One training process; its exit code, the samples of all attempts so far, and the end state if it got there."""
    if ending and ending.how == "order":
        orders = Orders(number=1, at=(ending.epoch, ending.batch), stop=True)
        plan.orders.write_text(orders.model_dump_json(), encoding="utf-8")
    told = plan.attempt_dir / "ending.json"
    told.write_text(json.dumps(asdict(ending) if ending else None), encoding="utf-8")
    words = [sys.executable, __file__, "--child", str(plan.attempt_dir / "plan.json"), str(plan.weights_dir.parent)]
    with (plan.attempt_dir / "log.txt").open("wb") as log:
        code = subprocess.run(words, stdout=log, stderr=log, check=False).returncode
    if ending is None and code:
        raise SystemExit((plan.attempt_dir / "log.txt").read_text()[-2000:])
    end = plan.weights_dir.parent / "end.json"
    samples = plan.weights_dir.parent / "samples.jsonl"
    return {
        "code": code,
        "end": json.loads(end.read_text()) if end.exists() else None,
        "samples": [json.loads(line) for line in samples.read_text().splitlines()] if samples.exists() else [],
    }


def compare(alone: dict[str, Any], stopped: dict[str, Any]) -> str:
    """What differs, for people; empty when nothing does."""
    one, other = alone["end"], stopped["end"]
    differ = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    expected = {tuple(place): digest for place, digest in alone["samples"]}
    seen: dict[tuple[int, int], set[str]] = {}
    for place, digest in stopped["samples"]:
        seen.setdefault(tuple(place), set()).add(digest)
    wrong = sorted(place for place in expected.keys() | seen.keys() if seen.get(place) != {expected.get(place)})
    texts = [f"{len(differ)} of {len(one)} parts differ: {differ[:3]}"] if differ else []
    texts += [f"the samples of {len(wrong)} batches differ: {wrong[:3]}"] if wrong else []
    return "; ".join(texts)


# --- inside the training process


def child(plan_file: Path, folder: Path) -> int:
    """The real training process, which besides writes down its samples and its end, and ends itself when told to."""
    from sainet.engine import worker

    told = json.loads((plan_file.parent / "ending.json").read_text())
    ending = Ending(**told) if told else None
    make = worker.make_training

    def make_watched(plan: Plan) -> Any:
        training: Any = make(plan)
        watch(training, folder, ending)
        return training

    worker.make_training = make_watched  # type: ignore[assignment]
    code = worker.main([str(plan_file)])
    os._exit(code)


def watch(training: Any, folder: Path, ending: Ending | None) -> None:
    backward, evaluate = training.backward, training.final_eval

    def noted(batch: dict[str, Any]) -> Any:
        place = training.loop.place
        with (folder / "samples.jsonl").open("a") as stream:
            stream.write(
                json.dumps([[place.epoch, place.batch], digest([batch["img"], batch["bboxes"], batch["cls"]])])
            )
            stream.write("\n")
        if ending and ending.how != "order" and (place.epoch, place.batch) == (ending.epoch, ending.batch):
            number = signal.SIGKILL if ending.how == "kill -9" else signal.SIGTERM
            threading.Timer(ending.delay_s, os.kill, [os.getpid(), number]).start()
        return backward(batch)

    def finish() -> None:
        from sainet.engine.exact import capture

        if training.finished:  # by an attempt before, which was ended in its evaluation
            found = training.slots.read()
            if found is None:  # at its very end, when this was noted and the slots were gone
                evaluate()
                return
            state = found.state
        else:
            state = capture(training, training.loop.place, training.loop.last_step)
        parts = {path: digest(value) for path, value in flat(state) if path not in {"/seconds", "/results"}}
        (folder / "end.json").write_text(json.dumps(parts))
        evaluate()

    training.backward, training.final_eval = noted, finish


def flat(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [pair for key in value for pair in flat(value[key], f"{path}/{key}")]
    return [(path, value)]


def digest(value: Any) -> str:
    import numpy as np
    import torch

    if isinstance(value, list | tuple):
        return hashlib.sha256("".join(digest(item) for item in value).encode()).hexdigest()[:16]
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().contiguous().numpy()
    raw = value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
    return hashlib.sha256(raw).hexdigest()[:16]


if __name__ == "__main__":
    main()
