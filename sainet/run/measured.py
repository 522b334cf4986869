"""Predicted beside measured: a few real batches of a profile on this machine, and what they say of the budget."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sainet.data.source import data_plan
from sainet.errors import RefusedError, SainetError, UsageError
from sainet.files import cache_folder
from sainet.memory import calibration
from sainet.memory.device import CONTEXT_BYTES
from sainet.memory.forecast import Forecast
from sainet.memory.process_rows import SUPERVISOR_BYTES
from sainet.memory.workload import Images
from sainet.run.measure import Measured, measure
from sainet.run.plan import make_plan
from sainet.run.planning import Outlook
from sainet.run.preflight import Preflight, by_settings
from sainet.run.workload import workload
from sainet.state import RunFolder

__all__ = ["Comparison", "MeasuredHere", "measure_here"]

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """One figure, bytes."""

    what: str
    predicted_bytes: int
    measured_bytes: int

    @property
    def error(self) -> float:
        """Of the prediction, as a share of what was measured."""
        return self.predicted_bytes / self.measured_bytes - 1 if self.measured_bytes else 0.0


@dataclass(frozen=True)
class MeasuredHere:
    """What was measured, beside the same workload's prediction without any calibration."""

    measured: Measured
    rows: tuple[Comparison, ...]
    notes: tuple[str, ...]


def measure_here(found: Outlook, runs: Path, *, title: str, tell: Tell) -> MeasuredHere:
    """Run it and keep the calibration. Raises `UsageError` without data, `RefusedError` without the device or when
    memory runs out."""
    if found.source is None:
        raise UsageError("--measure runs real batches, and there are no data", hint="--data DATA.yaml")
    if found.here is None:
        raise RefusedError(
            "--measure runs on this machine, which does not have the profile's device", hint="sainet doctor says why"
        )
    config = found.resolved.config
    ready = by_settings(found.resolved, found.machine.cpus)
    ready.source = found.source
    ready.data = data_plan(found.source, config.schedule.classes, skip_bad_images=True)
    ready.weights = found.trace.model
    plan = make_plan(ready, RunFolder(runs / "measured"), found.resolved.stage, 1, resume=False)
    measured = measure(plan, config.env, tell=tell)
    forecast = _predicted(found, ready, measured)
    rows = tuple(row for row in _rows(forecast, measured) if row.measured_bytes)
    return MeasuredHere(measured, rows, (*measured.notes, *_keep(found, forecast, measured, title)))


def _predicted(found: Outlook, ready: Preflight, measured: Measured) -> Forecast:
    """Of what was measured: fewer images, one GPU of several, and no calibration."""
    images = found.images
    assert images is not None
    few = Images(measured.train_images, measured.val_images, images.sizes, "measured", images.file_bytes)
    whole = workload(found.resolved.config, workers=ready.workers, val_workers=ready.val_workers, images=few)
    # What would be staged is read from where it lies.
    alone = replace(whole, gpus=min(whole.gpus, 1), batch=whole.rank_batch, staged=False)
    return replace(found.planned.forecaster, factor=None)(alone)


def _rows(forecast: Forecast, measured: Measured) -> Iterator[Comparison]:
    # The supervisor of a training is not there while measuring.
    yield Comparison("RAM", forecast.budget("ram").need_bytes - SUPERVISOR_BYTES, measured.ram_peak_bytes)
    yield Comparison("/dev/shm", forecast.budget("shm").need_bytes, measured.shm_peak_bytes)
    if measured.held_bytes is not None:
        yield Comparison("training step", forecast.step_bytes or 0, measured.held_bytes)
    device = forecast.device
    if device is not None and measured.reserved_bytes is not None:
        yield Comparison("VRAM reserved by PyTorch", device.estimate_bytes, measured.reserved_bytes)
        yield Comparison("CUDA context", CONTEXT_BYTES, measured.context_bytes or 0)


def _keep(found: Outlook, forecast: Forecast, measured: Measured, title: str) -> Iterator[str]:
    """Store the factor of the step, and say so, or say why not."""
    device = forecast.device
    pair = (device.estimate_bytes, measured.reserved_bytes) if device else (forecast.step_bytes, measured.held_bytes)
    name = calibration.key(found.trace.device, found.gpu)
    predicted, real = pair
    if name is None or not predicted or not real:
        yield "no calibration is kept: there was nothing to compare the traced step with"
        return
    try:
        kept, path = calibration.store(
            cache_folder(), name, predicted_bytes=predicted, measured_bytes=real, configuration=title
        )
    except SainetError as error:
        yield f"no calibration is kept: {error.message}"
        return
    yield f"calibration: measured / predicted {kept.factor:.3f} of the step, for {name} ({path})"
