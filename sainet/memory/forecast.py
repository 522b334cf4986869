"""All four budgets of a stage, and how they stand against what there is."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sainet.memory.budget import Budget, Limit, Resource, Verdict, judge
from sainet.memory.caching_allocator import AllocatorSettings
from sainet.memory.device import DeviceNeed, device_need
from sainet.memory.disk import disk_rows
from sainet.memory.host import ram_rows, shm_rows
from sainet.memory.limits import Limits
from sainet.memory.loader_rows import validated_images
from sainet.memory.trace import ModelFacts, Peak, Predictor
from sainet.memory.workload import Workload

__all__ = ["Forecast", "Forecaster"]

MALLOC_FACTOR = 1.3
"""What glibc's malloc holds for a training step on a CPU, over what is alive: it keeps freed blocks below 32 MiB.
`profile-memory --measure` found 1.26 (yolov8n, 640 px, batch 8) and 1.31 (320 px, batch 16), and measures it here."""

RESOURCES: tuple[Resource, ...] = ("ram", "shm", "disk", "vram")


@dataclass(frozen=True)
class Forecast:
    """What one workload needs. `unknown` says of which resource not all could be counted, and why."""

    workload: Workload
    budgets: tuple[Budget, ...]
    device: DeviceNeed | None
    step_bytes: int | None
    """The traced step on a CPU: what is alive at its peak. The budget counts what malloc holds for it."""
    facts: ModelFacts | None
    unknown: dict[Resource, str] = field(default_factory=dict)

    def budget(self, name: Resource) -> Budget:
        return next(budget for budget in self.budgets if budget.name == name)

    def verdict(self, name: Resource, limit: Limit) -> Verdict:
        """`unknown` where something could not be counted, unless what could be is too much already."""
        verdict = judge(self.budget(name).need_bytes, limit)
        return "unknown" if name in self.unknown and verdict != "does not fit" else verdict

    def too_large(self, limits: Limits) -> list[Resource]:
        """The resources that what is known does not fit into."""
        return [name for name in RESOURCES if self.verdict(name, limits[name]) == "does not fit"]


@dataclass(frozen=True)
class Forecaster:
    """Counts what a workload needs; the same model and machine for all of them, so that settings can be compared.

    `model` is None where it could not be traced, for the reason `untraced`. `factor`: measured / predicted here.
    `gradients`: how many there were at once when it was traced.
    """

    model: Predictor | None
    allocator: AllocatorSettings
    factor: float | None = None
    untraced: str = ""
    gradients: int = 1

    def __call__(self, workload: Workload) -> Forecast:
        facts = self.model.facts if self.model else None
        device = self._device(workload) if workload.gpus else None
        step_bytes = None if workload.gpus else self._step_bytes(workload)
        held_bytes = self._held_bytes(self.model, workload, step_bytes) if self.model and step_bytes else None
        budgets = (
            Budget("ram", tuple(ram_rows(workload, facts, held_bytes))),
            Budget("shm", tuple(shm_rows(workload))),
            Budget("disk", tuple(disk_rows(workload, facts))),
            Budget("vram", device.rows if device else ()),
        )
        return Forecast(workload, budgets, device, step_bytes, facts, self._unknown(workload))

    def largest_batch(self, workload: Workload, free_bytes: int, *, most: int = 4096) -> int:
        """The largest batch over all GPUs whose plan fits into `free_bytes` of each; 0 where not even one image does.

        The micro-batches stay as many as they are.
        """
        if self.model is None or not workload.gpus:
            raise ValueError("only a traced model on a GPU has a largest batch")
        # Smaller batches may have to wait for others, with one more gradient: those that do are a search of their own.
        alone = self._largest_batch(self.model, replace(workload, nbs=0), free_bytes, most)
        found = replace(workload, batch=alone)
        if not alone or found.gradients == replace(found, nbs=0).gradients:
            return alone
        return self._largest_batch(self.model, workload, free_bytes, found.piece_images)

    def _largest_batch(self, model: Predictor, workload: Workload, free_bytes: int, most: int) -> int:
        pieces, ranks = workload.micro_batch, workload.ranks

        def holds(batch: int, peak: Peak) -> bool:
            return self._device_need(model, replace(workload, batch=batch), peak).plan_bytes <= free_bytes

        def fits(images: int, peak: Peak) -> bool:
            return holds(images * pieces * ranks, peak)

        images = model.largest(fits, most=most, allocator=self.allocator)
        full, more = images * pieces * ranks, (pieces - 1) * ranks
        if not more or images == most:
            return full
        # Some pieces may have one image more, where what stands against all of them is the validation's pieces.
        peak = model.peak(images + 1, self.allocator)
        return next((batch for batch in range(full + more, full, -ranks) if holds(batch, peak)), full)

    def _device(self, workload: Workload) -> DeviceNeed | None:
        if self.model is None:
            return None
        return self._device_need(self.model, workload, self.model.peak(workload.piece_images, self.allocator))

    def _device_need(self, model: Predictor, workload: Workload, peak: Peak) -> DeviceNeed:
        more = self._more_bytes(model, workload)
        step = Peak(peak.reserved_bytes + more, peak.allocated_bytes + more)
        return device_need(workload, model.facts, step, self._validation_bytes(model, workload), self.factor)

    def _step_bytes(self, workload: Workload) -> int | None:
        if self.model is None:
            return None
        return self.model.peak(workload.piece_images).reserved_bytes + self._more_bytes(self.model, workload)

    def _more_bytes(self, model: Predictor, workload: Workload) -> int:
        """Of gradients, where another batch or micro-batch than what was traced is asked about."""
        return (workload.gradients - self.gradients) * model.facts.gradient_bytes

    def _held_bytes(self, model: Predictor, workload: Workload, step_bytes: int) -> int:
        """By malloc on a CPU, for a step or for a validation, whichever takes more."""
        return round(max(step_bytes, self._validation_bytes(model, workload)) * (self.factor or MALLOC_FACTOR))

    def _validation_bytes(self, model: Predictor, workload: Workload) -> int:
        return model.validation_bytes(validated_images(workload))

    def _unknown(self, workload: Workload) -> dict[Resource, str]:
        reasons: dict[Resource, list[str]] = {}
        if self.model is None:
            for name in _of_the_model(workload):
                reasons.setdefault(name, []).append(self.untraced)
        if workload.images is None:
            for name in _of_the_images(workload):
                reasons.setdefault(name, []).append("how many images there are is not known: --data DATA.yaml")
        return {name: "; ".join(texts) for name, texts in reasons.items()}


def _of_the_model(workload: Workload) -> Sequence[Resource]:
    return ("vram", "disk") if workload.gpus else ("ram", "disk")


def _of_the_images(workload: Workload) -> Sequence[Resource]:
    wanted: dict[Resource, bool] = {
        "ram": workload.cache == "ram" or workload.staged,
        "shm": workload.staged,
        "disk": workload.cache == "disk",
    }
    return [name for name, matters in wanted.items() if matters]
