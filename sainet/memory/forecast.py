"""All four budgets of a stage, and how they stand against what there is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sainet.memory.budget import Budget, Limit, Resource, Verdict, judge
from sainet.memory.caching_allocator import AllocatorSettings
from sainet.memory.device import DeviceNeed, device_need
from sainet.memory.disk import disk_rows
from sainet.memory.host import ram_rows, shm_rows
from sainet.memory.limits import Limits
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
    `variant`: the model as it is traced where gradients wait for another batch, or not, and with micro-batches, or
    without: the step of another batch is not the same with fewer images.
    """

    model: Predictor | None
    allocator: AllocatorSettings
    factor: float | None = None
    untraced: str = ""
    variant: Callable[[bool, bool], Predictor] | None = None

    def __call__(self, workload: Workload) -> Forecast:
        facts = self.model.facts if self.model else None
        device = self._device(workload) if workload.gpus else None
        step_bytes = None if workload.gpus else self._step_bytes(workload)
        held_bytes = None if step_bytes is None else round(step_bytes * (self.factor or MALLOC_FACTOR))
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
        facts, share = self.model.facts, workload.micro_batch * workload.ranks

        def fits(peak: Peak) -> bool:
            return device_need(workload, facts, peak, self.factor).plan_bytes <= free_bytes

        images = most
        for accumulates in (False, True):  # small batches do, and then no more images fit than if they did not
            model = self._model(accumulates=accumulates, in_pieces=workload.micro_batch > 1)
            assert model is not None
            images = model.largest(fits, most=images, allocator=self.allocator)
            if not images or replace(workload, batch=images * share).accumulates == accumulates:
                break
        return images * share

    def _model(self, *, accumulates: bool, in_pieces: bool) -> Predictor | None:
        return self.variant(accumulates, in_pieces) if self.model and self.variant else self.model

    def _device(self, workload: Workload) -> DeviceNeed | None:
        model = self._model(accumulates=workload.accumulates, in_pieces=workload.micro_batch > 1)
        if model is None:
            return None
        peak = model.peak(workload.piece_images, self.allocator)
        return device_need(workload, model.facts, peak, self.factor)

    def _step_bytes(self, workload: Workload) -> int | None:
        model = self._model(accumulates=workload.accumulates, in_pieces=workload.micro_batch > 1)
        return None if model is None else model.peak(workload.piece_images).reserved_bytes

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
