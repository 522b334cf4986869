"""What a profile would need, on the machine that it is written for and on this one, without starting anything."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sainet.config.auto import HardwareValues
from sainet.config.library import Profile
from sainet.config.resolve import Resolved, resolve
from sainet.config.schema import STAGE_1_WEIGHTS, Config, Hardware
from sainet.data.census import take_census
from sainet.data.source import DataSource, read_source
from sainet.errors import UsageError, WeightsError
from sainet.hardware.gpu import visible_gpus
from sainet.hardware.gpu_models import card_memory_bytes, known_cards
from sainet.hardware.machine import Machine, values_of
from sainet.hardware.storage import disk_of
from sainet.memory.budget import Limit
from sainet.memory.forecast import Forecaster
from sainet.memory.limits import Limits, machine_limits, profile_limits
from sainet.memory.trace import TraceRequest
from sainet.memory.workload import Images, Workload
from sainet.protocol import Stage
from sainet.run.arguments import usable_val_workers, usable_workers
from sainet.run.launch import environment
from sainet.run.memory import Fit, forecaster, images_of, published_images
from sainet.run.staging import staged_bytes
from sainet.run.weights import find_weights
from sainet.run.workload import class_count, gpu_count, model_of, trace_request, used_gpus, workload
from sainet.state import Request

__all__ = ["Outlook", "outlook"]

Tell = Callable[[str], None]
_GIB = 1024**3
_MOST_GIB = 100_000


@dataclass(frozen=True)
class Outlook:
    """One stage of one profile: what it needs, against the machine that is planned for and, perhaps, against this."""

    resolved: Resolved
    trace: TraceRequest
    source: DataSource | None
    images: Images | None
    machine: Machine
    planned: Fit
    here: Limits | None
    """None where this machine has no such device."""
    gpu: str | None
    """This machine's GPU, where it has as many as are planned for."""
    is_planned: bool
    """Whether that is the card planned for, so that what was measured on it counts."""
    tell: Tell

    @cached_property
    def largest_batch(self) -> int | None:
        """The largest batch that the planned GPU holds; None on a CPU, and where nobody says how large the GPU is."""
        free = self.planned.limits["vram"].free_bytes
        planned = self.planned
        if not planned.workload.gpus or planned.forecaster.model is None or free is None:
            return None
        return planned.forecaster.largest_batch(planned.workload, free)

    @property
    def notes(self) -> list[str]:
        """What the reader of the budget should know besides."""
        config, forecaster = self.resolved.config, self.planned.forecaster
        notes = []
        if forecaster.untraced:
            notes.append(f"the model could not be traced: {forecaster.untraced}")
        if forecaster.factor is not None:
            notes.append(f"the step is scaled by {forecaster.factor:.3f}, as measured on this machine")
        if config.train.compile:
            notes.append("the step is traced as it is without torch.compile")
        if config.optim.optimizer == "auto":
            notes.append(f"optimizer auto is counted as {self.trace.optimizer}")
        return notes

    def at(self, *, imgsz: list[int] | None = None, batch: int | None = None, gpus: int | None = None) -> Fit:
        """The same with another image size, batch or number of GPUs; it may need a trace of its own."""
        config = self.resolved.config
        changed: dict[str, object] = {}
        if imgsz is not None:
            changed["imgsz"] = imgsz
        if batch is not None:
            changed["batch"] = batch
        if gpus is not None:
            changed["device"] = list(range(gpus))
        config = config.model_copy(update={"train": config.train.model_copy(update=changed)})
        request = trace_request(config, model=self.trace.model, classes=self.trace.classes, images=self.images)
        count = self.planned.workload
        return Fit(
            workload(config, workers=count.loader.workers, val_workers=count.val_loader.workers, images=self.images),
            self.planned.forecaster if request == self.trace else self._another(config, request),
            self.planned.limits,
            request,
        )

    def _another(self, config: Config, request: TraceRequest) -> Forecaster:
        return _forecaster(config, request, self.gpu if self.is_planned else None, self.tell)


def outlook(
    stage: Stage,
    request: Request,
    machine: Machine,
    runs: Path,
    *,
    model: str | None = None,
    card: str | None = None,
    tell: Tell,
) -> Outlook:
    """`request`: as for a training; `model`: another architecture than its weights'; `card`: another GPU to plan for.

    Raises `ConfigError` for what was typed, `DataError` for data that are named and not there.
    """
    folder = Path(request.folder or Path.cwd())
    asked = _asked_hardware(request, machine)
    resolved = resolve(stage, request, asked, environment=os.environ, folder=folder)
    config = resolved.config
    limits = dict(profile_limits(config.hardware))
    if card is not None:
        limits["vram"] = _card(card, config.hardware)
    if card is not None and not gpu_count(config):
        raise UsageError(
            f"profile {resolved.profile} trains on the CPU here: there is no GPU memory to plan for",
            where="--gpu",
            hint="--gpus 1 plans for one GPU; sainet profiles ls shows the profiles for GPUs",
        )
    source = read_source(config.data) if config.data else None
    images = images_of(take_census(source), config) if source else published_images(config)
    names = source.names if source else None
    weights = _weights(stage, request, config, asked, folder) if model is None else _named(model)
    trace = trace_request(
        config, model=_architecture(weights, folder), classes=class_count(config, names), images=images
    )
    environ = environment(os.environ, config.env)
    used = used_gpus(config, visible_gpus(machine.gpus, environ))
    is_here = len(used) == gpu_count(config)
    own = staged_bytes(source, config) if source else 0
    gpu = used[0].name if used else None
    is_planned = gpu is not None and _names(card or config.hardware.gpu, gpu)
    return Outlook(
        resolved=resolved,
        trace=trace,
        source=source,
        images=images,
        machine=machine,
        planned=Fit(
            _workload(resolved, images), _forecaster(config, trace, gpu if is_planned else None, tell), limits, trace
        ),
        here=machine_limits(machine, disk_of(runs), used, own_shm_bytes=own) if is_here else None,
        gpu=gpu,
        is_planned=is_planned,
        tell=tell,
    )


def _names(wanted: str | None, gpu: str) -> bool:
    """Whether `gpu`, as NVML tells it, is the card that is planned for; a profile that names none means any."""
    return wanted is None or wanted.lower() in gpu.lower()


def _forecaster(config: Config, request: TraceRequest, gpu: str | None, tell: Tell) -> Forecaster:
    return forecaster(request, environment(os.environ, config.env), gpu, tell)


def _workload(resolved: Resolved, images: Images | None) -> Workload:
    """With the workers that the planned machine can give; one whose CPUs nobody states gives what is asked for."""
    config = resolved.config
    cpus = config.hardware.cpus or _ALL
    typed, val_typed = (resolved.origin(f"{key}.workers").typed_by_user for key in ("loader", "loader.val"))
    workers, _ = usable_workers(config, cpus, typed_by_user=typed)
    val_workers, _ = usable_val_workers(config, cpus, training_workers=workers, typed_by_user=val_typed)
    return workload(config, workers=workers, val_workers=val_workers, images=images)


_ALL = 1_000_000


def _asked_hardware(request: Request, machine: Machine) -> HardwareValues:
    """What `auto` is resolved from: the profile's own machine, and this one for what that leaves open."""
    here = values_of(machine)
    if request.profile == "auto":
        return here
    values = {setting.key: setting.value for setting in Profile(request.profile).layer().settings}
    name, count, cpus = (values.get(f"hardware.{key}") for key in ("gpu", "gpus", "cpus"))
    gpus = (str(name or "GPU"),) * count if isinstance(count, int) else here.gpus
    return HardwareValues(cpus if isinstance(cpus, int) else here.cpus, gpus)


def _weights(stage: Stage, request: Request, config: Config, hardware: HardwareValues, folder: Path) -> str | None:
    if config.weights != STAGE_1_WEIGHTS or stage == 1:
        return config.weights
    return resolve(1, request, hardware, environment=os.environ, folder=folder).config.weights


def _named(model: str) -> str:
    """`--model yolov8m` is the architecture that Ultralytics ships."""
    return model if Path(model).suffix else f"{model}.yaml"


def _architecture(weights: str | None, folder: Path) -> str:
    """Raises `WeightsError` for a file that is not there, unless its name is that of a shipped model."""
    name = weights or "yolov8s.yaml"
    try:
        return find_weights(name, folder)
    except WeightsError:
        if Path(name).suffix != ".pt" or "/" in name:  # a file that somebody means
            raise
        return find_weights(model_of(name, None), folder)


def _card(card: str, hardware: Hardware) -> Limit:
    """`--gpu`: a card's name, or its GiB. Raises `UsageError` for a name that nobody knows, and for no size."""
    known = _stated_bytes(card)
    if known is None and card.strip():
        known = card_memory_bytes(card)
        if known is None and _names(card, hardware.gpu or "") and hardware.vram_gib:
            known = round(hardware.vram_gib * _GIB)
    if known is None:
        raise UsageError(
            f"the memory of a `{card}` is not known",
            where="--gpu",
            hint=f"its GiB, as in --gpu 24, or one of {', '.join(known_cards())}",
        )
    return Limit(known, f"--gpu {card}")


def _stated_bytes(gib: str) -> int | None:
    """None for what is no size of a GPU."""
    try:
        size = float(gib)
    except ValueError:
        return None
    return round(size * _GIB) if 0 < size < _MOST_GIB else None
