#!/usr/bin/env python3
"""The budget of RAM and /dev/shm against real loaders on real images.

    python -m benchmarks.memory.loader_memory DATA.yaml [--quick] [--only stock] [--rows]

Each case runs in processes of its own: a real trainer with its model and both its loaders, whose batches are read
slowly, so that every queue fills; then a validation, on the same images, while the training's queue is full, then
training again. From outside the memory of all its processes is sampled (tree.py): RAM is their anonymous memory (each
shared page once), the libraries that they have mapped, and the loaders' files in /dev/shm, which alone is the figure
for shm. The supervisor is not part of it, nor is a training step. How much of the libraries is mapped does not depend
on the loaders but on the state of the page cache, so both sides take what was mapped before the first batch; the
budget's own figure is the most that was ever seen (`process_rows.LIBRARY_BYTES`).
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.memory.running import Loaders, peaks_of
from benchmarks.memory.tree import Peaks
from sainet.data.census import take_census
from sainet.data.source import read_source
from sainet.memory.budget import Row
from sainet.memory.host import ram_rows, shm_rows
from sainet.memory.workload import Images, Workload

SQUARE, WIDE, LARGE = (640, 640), (832, 1440), (1440, 1440)
MODEL_BYTES = 2 * 12_100_000
"""yolov8n in FP32 with its average: there are no gradients and no optimizer state before the first step."""


def cases() -> Iterator[Loaders]:
    for shape, batch, workers, prefetch in (
        (SQUARE, 16, 0, 2),
        (WIDE, 16, 0, 2),
        (SQUARE, 8, 1, 1),
        (SQUARE, 32, 1, 4),
        (SQUARE, 16, 2, 2),
        (SQUARE, 64, 2, 1),
        (SQUARE, 64, 2, 4),
        (WIDE, 8, 2, 4),
        (WIDE, 16, 2, 2),
        (SQUARE, 16, 4, 4),
        (SQUARE, 64, 4, 2),
        (WIDE, 8, 4, 2),
        (WIDE, 32, 4, 1),
        (WIDE, 32, 4, 2),
    ):
        yield Loaders("sainet", shape, batch, workers, prefetch, val_workers=-(-workers // 2))
    for shape, batch, workers, prefetch in (
        (SQUARE, 16, 0, 4),
        (SQUARE, 8, 1, 4),
        (SQUARE, 16, 2, 4),
        (SQUARE, 32, 2, 2),
        (LARGE, 8, 2, 4),
        (SQUARE, 16, 4, 4),
        (SQUARE, 16, 4, 1),
    ):
        yield Loaders("stock", shape, batch, workers, prefetch, val_workers=2 * workers)
    yield Loaders("sainet", SQUARE, 16, 2, 2, val_workers=1, cache="ram")
    yield Loaders("stock", SQUARE, 16, 2, 4, val_workers=4, cache="ram")


QUICK = (
    Loaders("sainet", SQUARE, 32, 2, 2, val_workers=1),
    Loaders("sainet", WIDE, 8, 0),
    Loaders("stock", SQUARE, 8, 1, 4, val_workers=2),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--quick", action="store_true", help="three small cases")
    parser.add_argument("--only", choices=["sainet", "stock"])
    parser.add_argument("--rows", action="store_true", help="print the rows and the phases too")
    options = parser.parse_args()
    images = images_of(options.data)
    print(f"{'case':<58} {'shm, MB':>24} {'RAM, MB':>24}")
    print(f"{'':<58} {'predicted measured error':>24} {'predicted measured error':>24}")
    worst = [0.0, 0.0]
    for case in QUICK if options.quick else cases():
        if options.only in {None, case.engine}:
            errors = compare(case, options.data, images, rows=options.rows)
            worst = [max(before, abs(error)) for before, error in zip(worst, errors, strict=True)]
    print(f"worst error: shm {worst[0]:.1%}, RAM {worst[1]:.1%}")


def compare(case: Loaders, data: Path, images: Images, *, rows: bool) -> tuple[float, float]:
    """Run one case and print its line; returns the errors of shm and of RAM."""
    peaks = peaks_of(case, data, quick=_until_full(case, images), validate=True)
    load, mapped = workload(case, images), peaks.of["built"]["file"]
    shm, ram = shm_rows(load), [with_mapped(row, mapped) for row in ram_rows(load, None, MODEL_BYTES)]
    ram = [row for row in ram if row.component != "supervisor"]
    found = [max(peak[name] for peak in peaks.of.values()) for name in ("shm", "ram")]
    wanted = [sum(row.bytes for row in part) for part in (shm, ram)]
    errors = [want / have - 1 if have > 1e6 else 0.0 for want, have in zip(wanted, found, strict=True)]
    columns = (
        f"{want / 1e6:9.0f} {have / 1e6:8.0f} {e:+5.1%}".rjust(24)
        for want, have, e in zip(wanted, found, errors, strict=True)
    )
    print(f"{_name(case):<58} {' '.join(columns)}", flush=True)
    if rows:
        explain(ram, peaks)
    return errors[0], errors[1]


def with_mapped(row: Row, mapped_bytes: int) -> Row:
    """A row of the budget, the libraries as they are mapped in this run."""
    return replace(row, bytes=mapped_bytes, formula="as mapped here") if row.component == "libraries" else row


def explain(rows: list[Row], peaks: Peaks) -> None:
    for row in rows:
        print(f"    {row.component:<34} {row.bytes / 1e6:9.0f} MB  {row.formula}")
    for phase, peak in peaks.of.items():
        print(f"  {phase:<16}", "  ".join(f"{name} {size / 1e6:.0f}" for name, size in peak.items()))


def images_of(data: Path) -> Images:
    census = take_census(read_source(str(data.absolute())), sample=100_000)
    return Images(census.train, census.train, census.sizes, "the files", census.file_bytes)


def workload(case: Loaders, images: Images) -> Workload:
    """The case as the budget sees it: on the CPU, as long as it takes."""
    own, val = case.plans()
    if case.engine == "stock":
        val = val.model_copy(update={"persistent_workers": True})
    return Workload(
        engine=case.engine,
        gpus=0,
        shape=case.shape,
        batch=case.batch,
        micro_batch=1,
        nbs=64,
        loader=own,
        val_loader=val,
        cache=case.cache,
        staged=False,
        mosaic=True,
        plots=False,
        epochs=1000,
        save_period=-1,
        images=images,
    )


def _until_full(case: Loaders, images: Images) -> int:
    """Batches until every worker of Ultralytics' has filled its buffer; ours keep no more than a group.

    None of ours: the queue is looked at before it holds the last batch of an epoch, which is smaller.
    """
    if case.engine == "sainet":
        return 0
    return max(1, case.workers) * (min(8 * case.batch, 1000, images.train) // case.batch + 2)


def _name(case: Loaders) -> str:
    height, width = case.shape
    loaders = f"{case.workers} x {case.prefetch}, val {case.val_workers} x {case.val_prefetch}"
    cache = f", cache {case.cache}" if case.cache else ""
    return f"{case.engine} {height}x{width}, batch {case.batch}, workers {loaders}{cache}"


if __name__ == "__main__":
    main()
