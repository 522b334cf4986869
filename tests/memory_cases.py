"""What the tests of the memory budget share."""

from dataclasses import replace
from typing import Any

from sainet.memory.budget import Row
from sainet.memory.trace_record import ModelFacts
from sainet.memory.workload import Images, Workload
from sainet.protocol import LoaderPlan

FRAMES = Images(train=30_000, val=10_240, sizes=((1080, 1920),), source="the test", file_bytes=9_000_000_000)
"""A set of full-HD frames."""

FACTS = ModelFacts(
    parameters=11_000_000,
    trainable=11_000_000,
    weight_bytes=44_000_000,
    optimizer_bytes=44_000_000,
    average_bytes=44_000_000,
    gradient_bytes=44_000_000,
    adds_up=True,
)


def loader(workers: int, prefetch: int = 2, **settings: Any) -> LoaderPlan:
    base = {"pin_memory": False, "persistent_workers": True, "timeout_s": 60.0}
    return LoaderPlan(workers=workers, prefetch_factor=prefetch, **{**base, **settings})


PLAIN = Workload(
    engine="sainet",
    gpus=1,
    shape=(832, 1440),
    batch=128,
    micro_batch=1,
    nbs=64,
    loader=loader(8),
    val_loader=loader(4, persistent_workers=False),
    cache=False,
    staged=False,
    mosaic=True,
    plots=False,
    epochs=100,
    save_period=-1,
    images=FRAMES,
)


def work(**changes: Any) -> Workload:
    """`PLAIN` with changes; `stock=True` makes it Ultralytics' own square with its own loaders."""
    if changes.pop("stock", False):
        workers = changes.get("loader", PLAIN.loader).workers
        base = {"engine": "stock", "shape": (1440, 1440), "loader": loader(workers, 4)}
        changes = {**base, "val_loader": loader(2 * workers, 2), **changes}
    return replace(PLAIN, **changes)


def named(rows: list[Row], component: str) -> Row:
    return next(row for row in rows if row.component == component)


def total(rows: list[Row]) -> int:
    return sum(row.bytes for row in rows)
