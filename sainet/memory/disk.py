"""Disk: what a stage writes into its run's folder and its cache."""

from collections.abc import Sequence

from sainet.memory.budget import Row
from sainet.memory.process_rows import checkpoint_bytes
from sainet.memory.trace_record import ModelFacts
from sainet.memory.workload import Workload

__all__ = ["cache_bytes", "disk_rows", "lasting_bytes"]

_CHECKPOINTS, _DISK_CACHE = "exact checkpoints", "disk cache"
_STATES = 3
"""Two slots, and the state that is being written before it replaces one of them (`sainet.engine.slots`)."""
_NPY_HEADER_BYTES = 128
"""Of a decoded image's file."""
LABEL_FILE_BYTES = 210
"""One image in the label caches: printed by benchmarks/memory/base_processes.py."""
DRAWN_BYTES = 7_000_000
"""Plots, tables and logs of an attempt: printed by benchmarks/memory/base_processes.py."""


def disk_rows(workload: Workload, facts: ModelFacts | None) -> list[Row]:
    """What one attempt leaves on the disk and, for a moment, writes beside it before it replaces what was there."""
    rows = [*_checkpoints(workload, facts), *_kept(workload, facts), *_cache(workload)]
    rows.append(Row("plots, tables, logs", DRAWN_BYTES, "disk", "as measured"))
    if workload.images is not None:
        total = workload.images.total
        rows.append(Row("label caches", total * LABEL_FILE_BYTES, "disk", f"{total} images x {LABEL_FILE_BYTES} B"))
    return rows


def lasting_bytes(rows: Sequence[Row]) -> int:
    """What of them is still there when the stage is done: the exact checkpoints are not."""
    return sum(row.bytes for row in rows if row.component != _CHECKPOINTS)


def cache_bytes(rows: Sequence[Row]) -> int:
    """The images among them."""
    return sum(row.bytes for row in rows if row.component == _DISK_CACHE)


def _checkpoints(workload: Workload, facts: ModelFacts | None) -> list[Row]:
    if workload.engine == "stock":
        return []
    if facts is None:
        return [Row(_CHECKPOINTS, 0, "disk", "the model is not known")]
    state = facts.weight_bytes + facts.average_bytes + facts.optimizer_bytes + facts.gradient_bytes
    formula = f"{_STATES} x {state} B of weights, average, optimizer and waiting gradients"
    return [Row(_CHECKPOINTS, _STATES * state, "disk", formula)]


def _kept(workload: Workload, facts: ModelFacts | None) -> list[Row]:
    """last.pt and best.pt, both once more while they are written, and every `save_period`th."""
    if facts is None:
        return [Row("weights files", 0, "disk", "the model is not known")]
    size = checkpoint_bytes(facts)
    rows = [Row("weights files", 4 * size, "disk", f"last.pt and best.pt, old and new: 4 x {size} B")]
    if workload.save_period > 0:
        kept = -(-workload.epochs // workload.save_period)
        formula = f"{kept} x {size} B: one every {workload.save_period} of {workload.epochs} epochs"
        rows.append(Row("weights kept on the way", kept * size, "disk", formula))
    return rows


def _cache(workload: Workload) -> list[Row]:
    if workload.cache != "disk":
        return []
    if workload.images is None:
        return [Row(_DISK_CACHE, 0, "disk", "how many images there are is not known")]
    images, size = workload.images, workload.images.decoded_bytes + _NPY_HEADER_BYTES
    return [Row(_DISK_CACHE, round(images.total * size), "disk", f"{images.total} images x {size:.0f} B, full size")]
