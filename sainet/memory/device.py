"""VRAM of one GPU: what the traced step needs, and what to plan with."""

from dataclasses import dataclass

from sainet.memory.budget import Row
from sainet.memory.loader_rows import validated_images
from sainet.memory.trace import ModelFacts, Peak
from sainet.memory.workload import Workload

__all__ = ["CONTEXT_BYTES", "NCCL_BYTES", "PLAN_FACTOR", "DeviceNeed", "device_need"]

PLAN_FACTOR = 1.10
"""For what no trace sees: cuDNN's choice of algorithm, fragmentation after a validation, crowded images."""
CONTEXT_BYTES = 512 * 1024**2
"""The CUDA context with the handles of cuDNN and cuBLAS: on the card, but not in the allocator's figures. Assumed."""
NCCL_BYTES = 512 * 1024**2
"""NCCL's buffers and channels on each of several GPUs. Assumed."""


@dataclass(frozen=True)
class DeviceNeed:
    """`estimate_bytes` is what `torch.cuda.memory_reserved()` should reach; `plan_bytes` what the card should have."""

    estimate_bytes: int
    plan_bytes: int
    rows: tuple[Row, ...]


def device_need(
    workload: Workload, facts: ModelFacts, step: Peak, validation_bytes: int, factor: float | None = None
) -> DeviceNeed:
    """The need of each GPU: the training step's, or the validation's where that is alive with more.

    `factor`: measured / predicted on this machine, None where nothing was measured.
    """
    peak = max(step, Peak(validation_bytes, validation_bytes))
    traced = round(peak.reserved_bytes * (factor or 1.0))
    rows = [*_model(facts), *_traced(_busiest(workload, validates=peak != step), facts, peak, traced, factor)]
    if workload.ranks > 1:
        rows.append(Row("gradient buckets", facts.gradient_bytes, "vram", "DDP sends copies of all gradients"))
    estimate = sum(row.bytes for row in rows)
    rows.append(_margin(estimate))
    rows.append(Row("CUDA context", CONTEXT_BYTES, "vram", "assumed; cuDNN's and cuBLAS's handles with it"))
    if workload.ranks > 1:
        rows.append(Row("NCCL", NCCL_BYTES, "vram", "assumed"))
    return DeviceNeed(estimate, sum(row.bytes for row in rows), tuple(rows))


def _model(facts: ModelFacts) -> list[Row]:
    millions = f"{facts.parameters / 1e6:.2f} M parameters"
    return [
        Row("weights", facts.weight_bytes, "vram", f"{millions} and buffers, as they are trained"),
        Row("average of the weights", facts.average_bytes, "vram", "the EMA that is validated and saved"),
        Row("optimizer state", facts.optimizer_bytes, "vram", "what the optimizer keeps for each parameter"),
    ]


def _busiest(workload: Workload, *, validates: bool) -> str:
    if validates:
        height, width = workload.shape
        return f"a validation of at most {validated_images(workload)} images of {height}x{width} at once"
    height, width = workload.step_shape or workload.shape
    return f"a step of {workload.piece_images} images of {height}x{width}"


def _traced(busiest: str, facts: ModelFacts, peak: Peak, traced: int, factor: float | None) -> list[Row]:
    model = facts.weight_bytes + facts.average_bytes + facts.optimizer_bytes
    unused = peak.reserved_bytes - peak.allocated_bytes
    scaled = f" x {factor:.3f} as measured here" if factor else ""
    return [
        Row(
            "activations, gradients, loss",
            traced - model - unused,
            "vram",
            f"traced at the peak of {busiest}{scaled}",
        ),
        Row("unused in the allocator", unused, "vram", "reserved less allocated, by replaying every allocation"),
    ]


def _margin(estimate: int) -> Row:
    return Row(
        "planning margin",
        round(estimate * PLAN_FACTOR) - estimate,
        "vram",
        f"{PLAN_FACTOR - 1:.0%} of {estimate / 1024**3:.1f} GiB",
    )
