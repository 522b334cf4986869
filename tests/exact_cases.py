"""What the tests of the exact engine share: training to the end or to a stop, and comparing two trainings whole."""

import copy
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from conftest import TinySet, make_plan

from sainet.files import replace_text
from sainet.protocol import Orders, Plan

LEARNING: dict[str, Any] = {
    "epochs": 3,
    "batch": 4,
    "nbs": 8,
    "close_mosaic": 1,
    "mosaic": 1.0,
    "mixup": 0.3,
    "optimizer": "AdamW",
    "lr0": 0.002,
    "warmup_epochs": 1.0,
    "seed": 5,
}
"""Mosaic, mixup and their closing, an accumulation of 2 after a warm-up, all in three epochs."""


def end_of(training: Any) -> dict[str, Any]:
    """Train to the end and return the state there instead of evaluating it, with `samples`: what was trained on."""
    samples, ended = [], {}
    backward = training.backward

    def remember(batch: dict[str, Any]) -> Any:
        place = training.loop.place
        samples.append((place.epoch, place.batch, [Path(file).name for file in batch["im_file"]], batch["img"].clone()))
        return backward(batch)

    def keep() -> None:
        from sainet.engine.exact import capture

        ended.update(copy.deepcopy(capture(training, training.loop.place, training.loop.last_step)))

    training.backward, training.final_eval = remember, keep
    try:
        training.train()
    finally:
        training.samples = samples
    return {**ended, "samples": samples}


def stopped_at(engine: SimpleNamespace, plan: Plan, epoch: int, batch: int) -> Any:
    """Train until an order stops it before batch `batch` of `epoch`; returns the trainer with its `samples`."""
    from sainet.engine.lifeline import StoppedByOrder

    replace_text(plan.orders, Orders(number=1, at=(epoch, batch), stop=True).model_dump_json())
    training = engine.training(plan)
    try:
        end_of(training)
    except StoppedByOrder:
        return training
    raise AssertionError(f"was not stopped at {epoch}, {batch}")


def attempt_after(plan: Plan, data: TinySet, **options: Any) -> Plan:
    """The next attempt at the same stage, as the supervisor plans it."""
    root = plan.events.parent
    return make_plan(root, data, attempt=plan.attempt + 1, resume=True, **options)


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two states differ, bit for bit; empty when they are equal. Times are left out."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = (one.keys() | other.keys()) - {"seconds", "results"}
        return [d for key in keys for d in differences(one.get(key), other.get(key), f"{where}/{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [d for i, pair in enumerate(zip(one, other, strict=True)) for d in differences(*pair, f"{where}[{i}]")]
    return [] if _same(one, other) else [where]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one.nan_to_num(7.7), other.nan_to_num(7.7))
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


def without_times(results: str) -> list[list[str]]:
    rows = [line.split(",") for line in results.splitlines()]
    return [row[:1] + row[2:] for row in rows]
