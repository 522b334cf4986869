"""What the claims of the users' documents are about, counted by the code that plans a training (see claims.py)."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from sainet.config.auto import HardwareValues
from sainet.config.layers import split_set
from sainet.config.library import Profile, profile_names, shipped_root
from sainet.config.resolve import resolve
from sainet.config.schema import Claim, Config, Quantity
from sainet.memory.budget import Budget, Resource, Row, Verdict, judge
from sainet.memory.device import DeviceNeed, device_need
from sainet.memory.disk import disk_rows
from sainet.memory.forecast import Forecaster
from sainet.memory.host import ram_rows, shm_rows
from sainet.memory.limits import profile_limits
from sainet.memory.loader_rows import train_queue, val_queue, validated_images
from sainet.memory.process_rows import cache_rows, process_rows, step_rows
from sainet.memory.trace import ModelFacts, Predictor, predictor
from sainet.memory.workload import Images, Workload
from sainet.run.arguments import usable_val_workers, usable_workers
from sainet.run.memory import allocator_of, published_images
from sainet.run.workload import class_count, model_of, trace_request, workload
from sainet.state import Request

FLOAT_BYTES = 4
"""The model reads images of FP32: `DetectionTrainer.preprocess_batch` makes floats of them, autocast comes later."""


@dataclass
class Tracer:
    """Traced models; each is read once."""

    store: Path
    known: dict[str, Predictor] = field(default_factory=dict)

    def model(self, config: Config, images: Images | None, **instead: object) -> Predictor:
        name = model_of(config.weights, None)
        request = trace_request(config, model=name, classes=class_count(config, None), images=images)
        request = request.model_copy(update=instead)
        key = request.model_dump_json()
        if key not in self.known:
            self.known[key] = predictor(request, self.store, tell=lambda text: print(text, file=sys.stderr))
        return self.known[key]


@dataclass
class Case:
    """Stage 1 of a profile, as it is or with other settings, on the machine that the profile is written for."""

    config: Config
    tracer: Tracer

    @cached_property
    def images(self) -> Images | None:
        return published_images(self.config)

    @cached_property
    def workload(self) -> Workload:
        cpus = self.config.hardware.cpus or sys.maxsize
        workers, _ = usable_workers(self.config, cpus, typed_by_user=True)
        val_workers, _ = usable_val_workers(self.config, cpus, training_workers=workers, typed_by_user=True)
        return workload(self.config, workers=workers, val_workers=val_workers, images=self.images)

    @cached_property
    def facts(self) -> ModelFacts:
        """The model's sizes, which depend on none of what is set aside here, so that one trace serves many cases."""
        same = {"shape": (832, 1440), "channels_last": True, "accumulates": False, "pieces": 1}
        return self.tracer.model(self.config, self.images, **same).facts

    @cached_property
    def forecaster(self) -> Forecaster:
        """Of the GPU alone, and never with what was measured on this machine."""
        allocator = allocator_of(self.config.env)
        return Forecaster(self.tracer.model(self.config, self.images), allocator, gradients=self.workload.gradients)

    @cached_property
    def device(self) -> DeviceNeed:
        model = self.forecaster.model
        assert model is not None
        peak = model.peak(self.workload.piece_images, self.forecaster.allocator)
        return device_need(self.workload, model.facts, peak, model.validation_bytes(validated_images(self.workload)))

    def budget(self, name: Resource) -> Budget:
        rows: Mapping[Resource, Callable[[], Sequence[Row]]] = {
            "ram": lambda: ram_rows(self.workload, self.facts, None),
            "shm": lambda: shm_rows(self.workload),
            "disk": lambda: disk_rows(self.workload, self.facts),
            "vram": lambda: self.device.rows,
        }
        return Budget(name, tuple(rows[name]()))

    def fits(self, name: Resource) -> Verdict:
        return judge(self.budget(name).need_bytes, profile_limits(self.config.hardware)[name])

    def loaders(self) -> int:
        """All that loading takes: what is counted when no images are known to cache or to stage, less the processes."""
        bare = replace(self.workload, images=None)
        return _sum(ram_rows(bare, self.facts, None)) - _sum(_processes(bare, self.facts))

    def base(self) -> int:
        return _sum(_processes(self.workload, self.facts))

    def card(self) -> int:
        size = profile_limits(self.config.hardware)["vram"].bytes
        assert size is not None
        return size


COUNTED: Mapping[Quantity, Callable[[Case], int]] = {
    "card": Case.card,
    "vram": lambda case: case.device.estimate_bytes,
    "vram_all": lambda case: case.workload.ranks * case.device.estimate_bytes,
    "gpu_batch": lambda case: case.workload.piece_images * case.workload.image_bytes() * FLOAT_BYTES,
    "optimizer": lambda case: case.facts.optimizer_bytes,
    "largest_batch": lambda case: case.forecaster.largest_batch(case.workload, case.card()),
    "ram": lambda case: case.budget("ram").need_bytes,
    "base": Case.base,
    "loaders": Case.loaders,
    "batch": lambda case: case.workload.rank_batch * case.workload.image_bytes(),
    "train_queue": lambda case: case.workload.ranks * train_queue(case.workload).bytes,
    "val_queue": lambda case: case.workload.ranks * val_queue(case.workload).bytes,
    "ram_cache": lambda case: _sum(cache_rows(case.workload)),
    "shm": lambda case: case.budget("shm").need_bytes,
    "disk": lambda case: case.budget("disk").need_bytes,
}
"""Bytes, but for the largest batch, which counts images."""


def _processes(workload: Workload, facts: ModelFacts) -> list[Row]:
    return [*process_rows(workload), *step_rows(workload, facts, None)]


def _sum(rows: Sequence[Row]) -> int:
    return sum(row.bytes for row in rows)


@dataclass
class Document:
    """A document's claims, and the profile with or without a tier that holds them."""

    profile: str
    tier: str | None
    tracer: Tracer
    cases: dict[tuple[str, ...], Case] = field(default_factory=dict)

    def case(self, sets: Sequence[str] = ()) -> Case:
        """The profile with `sets` as after `--set`."""
        if (key := tuple(sets)) not in self.cases:
            self.cases[key] = Case(self._config(sets), self.tracer)
        return self.cases[key]

    def _config(self, sets: Sequence[str]) -> Config:
        values = {setting.key: setting.value for setting in Profile(self.profile).layer().settings}
        machine = HardwareValues(values.get("hardware.cpus", 1), (values["hardware.gpu"],) * values["hardware.gpus"])
        request = Request(profile=self.profile, tier=self.tier, sets=[split_set(text) for text in sets])
        return resolve(1, request, machine, environment={}, folder=shipped_root()).config

    @property
    def title(self) -> str:
        return str(self.case().config.reference.source)

    @property
    def claims(self) -> list[Claim]:
        return self.case().config.reference.claims


def documents(tracer: Tracer) -> list[Document]:
    """The profiles, and those tiers that come from a document of their own."""
    found = []
    for name in profile_names():
        profile = Profile(name)
        layers = [(None, profile.layer()), *((tier, profile.tier_layer(tier)) for tier in profile.tiers)]
        for tier, layer in layers:
            if any(setting.key == "reference.claims" for setting in layer.settings):
                found.append(Document(name, tier, tracer))
    return found
