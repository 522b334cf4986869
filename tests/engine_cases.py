"""What the tests of the training process share: reading what it left, and waiting for what it says."""

import csv
import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from sainet.files import LineTail
from sainet.protocol import (
    Event,
    Plan,
    parse_event,
)


def first(kind: type[Any], events: Sequence[Event]) -> Any:
    return next(event for event in events if isinstance(event, kind))


def all_of(kind: type[Any], events: Sequence[Event], *, attempt: int = 1) -> list[Any]:
    return [event for event in events if isinstance(event, kind) and event.attempt == attempt]


def checkpoint(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(path, weights_only=False)
    return loaded


def results(plan: Plan) -> list[dict[str, str]]:
    with (plan.attempt_dir / "results.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def dataset_of(engine: SimpleNamespace, plan: Plan, split: str = "train") -> Any:
    """The split as the training would build it, without a model: only its stride is asked for."""
    training = engine.training(plan)
    training.model = torch.nn.Identity()
    training.model.stride = torch.tensor([8.0, 16.0, 32.0])
    return training.build_dataset(training.data[split], split, 2)


def listing(root: Path) -> dict[str, tuple[int, str]]:
    """Every file and folder below `root` with its modification time and the hash of its content."""
    return {
        str(path.relative_to(root)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted([root, *root.rglob("*")])
    }


def wait_for(plan: Plan, wanted: Callable[[Event], bool], *, limit_s: float = 60.0) -> Event:
    """The first event that is wanted, as soon as it is written."""
    tail, deadline_s = LineTail(plan.events), time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        for line in tail.read():
            event = parse_event(line)
            if event is not None and wanted(event):
                return event
        time.sleep(0.02)
    raise AssertionError(f"nothing of the kind in {limit_s} s: {plan.events.read_text(encoding='utf-8')}")
