"""What other batches, image sizes and numbers of GPUs would need, counted as the profile itself is."""

from collections.abc import Iterator

from sainet.config.steps import accumulation
from sainet.config.stride import to_stride
from sainet.memory.budget import Verdict
from sainet.memory.forecast import RESOURCES, Forecast
from sainet.memory.limits import Limits
from sainet.memory.what_if import BATCHES, GPUS, Cell, Scaled
from sainet.run.planning import Outlook

__all__ = ["batches_by_shape", "by_gpus"]

_SQUARES = (640, 896, 1440)
_WORST: tuple[Verdict, ...] = ("does not fit", "unknown", "tight", "fits")


def batches_by_shape(outlook: Outlook) -> Iterator[Cell]:
    """Every batch of `BATCHES` and the profile's own, at the profile's shape and at common squares."""
    own = outlook.planned.workload
    height, width = own.shape
    batches = sorted({*BATCHES, own.batch})
    for shape in dict.fromkeys([(height, width), *((to_stride(side), to_stride(side)) for side in _SQUARES)]):
        for batch in batches:
            if batch % own.ranks == 0:
                fit = outlook.at(imgsz=[shape[1], shape[0]], batch=batch)
                yield _cell(fit.forecast, shape, batch, fit.limits)


def by_gpus(outlook: Outlook) -> Iterator[Scaled]:
    """The profile's batch, workers and prefetch for each GPU, on 1 to 8 GPUs of one machine.

    The learning rate is the profile's by its own rule, beside what grows in proportion to an optimizer step's images.
    """
    config = outlook.resolved.config
    own = outlook.planned.workload
    per_gpu = own.rank_batch
    base = per_gpu * accumulation(per_gpu, config.optim.nbs)
    for gpus in GPUS:
        batch = per_gpu * gpus
        fit = outlook.at(batch=batch, gpus=gpus)
        forecast = fit.forecast
        step = batch * accumulation(batch, config.optim.nbs)
        chosen = config.optim.optimizer == "auto"
        rate = _rate(config.optim.lr0, step, config.train.lr_base_batch, config.train.lr_scaling)
        yield Scaled(
            gpus=gpus,
            batch=batch,
            workers=gpus * own.loader.workers,
            ram_bytes=forecast.budget("ram").need_bytes,
            shm_bytes=forecast.budget("shm").need_bytes,
            learning_rate=None if chosen else rate,
            linear_rate=None if chosen else config.optim.lr0 * step / base,
            verdict=_verdict(forecast, fit.limits),
        )


def _rate(lr0: float, step_images: int, base_images: int, rule: str) -> float:
    return lr0 * step_images / base_images if rule == "linear" else lr0


def _cell(forecast: Forecast, shape: tuple[int, int], batch: int, limits: Limits) -> Cell:
    needs = {name: forecast.budget(name).need_bytes for name in RESOURCES}
    return Cell(shape, batch, needs["vram"], needs["ram"], needs["shm"], _verdict(forecast, limits))


def _verdict(forecast: Forecast, limits: Limits) -> Verdict:
    """The worst of all resources whose size somebody states."""
    stated = [forecast.verdict(name, limits[name]) for name in RESOURCES if limits[name].bytes is not None]
    return next((verdict for verdict in _WORST if verdict in stated), "unknown")
