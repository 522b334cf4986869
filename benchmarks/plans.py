"""Plans for training processes that a benchmark starts itself, without a supervisor."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sainet.data.source import data_plan, read_source
from sainet.protocol import Engine, LoaderPlan, Plan, Stage

ON_A_CPU = {
    "task": "detect",
    "mode": "train",
    "exist_ok": True,
    "device": "cpu",
    "workers": 0,
    "amp": False,
    "plots": False,
    "cache": False,
}


def make_plan(
    root: Path,
    data: Path,
    *,
    stage: Stage = 1,
    attempt: int = 1,
    classes: Sequence[str] | None = None,
    shape: tuple[int, int],
    workers: int = 0,
    engine: Engine = "sainet",
    checkpoint_every_s: float = 300.0,
    **arguments: Any,
) -> Plan:
    """The plan of an attempt below `root`, written to its folder; it resumes what earlier ones have left.

    `shape` is (height, width); `arguments` go to the trainer.
    """
    folder = root / "attempts" / f"{attempt:03d}"
    loader = LoaderPlan(workers=workers, prefetch_factor=2, pin_memory=False, persistent_workers=True, timeout_s=60.0)
    plan = Plan(
        run=root.name,
        stage=stage,
        attempt=attempt,
        supervisor_pid=os.getpid(),
        attempt_dir=folder,
        weights_dir=root / "weights",
        checkpoint_dir=root / "checkpoint",
        events=root / "events.jsonl",
        orders=folder / "orders.json",
        cache_dir=root / "cache",
        data=data_plan(read_source(str(data.absolute())), classes, skip_bad_images=False),
        weights="yolov8n.yaml",
        lock=root / ".lock",
        resume=any((root / "checkpoint").glob("slot-*")) or (root / "weights" / "last.pt").exists(),
        select_by="map50-95",
        engine=engine,
        shape=shape,
        loader=loader,
        val_loader=loader.model_copy(update={"persistent_workers": False}),
        micro_batch=1,
        tf32=None,
        cudnn_benchmark=False,
        checkpoint_every_s=checkpoint_every_s,
        arguments={**ON_A_CPU, "imgsz": max(shape), "save_dir": str(folder), **arguments},
    )
    plan.write(folder / "plan.json")
    return plan
