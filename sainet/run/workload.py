"""From a resolved configuration to what its memory is counted from."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from sainet.config.auto import device_list
from sainet.config.schema import STAGE_1_WEIGHTS, Config
from sainet.config.steps import accumulation
from sainet.config.stride import to_stride
from sainet.hardware.gpu import Gpu
from sainet.memory.trace import TraceRequest
from sainet.memory.workload import Images, Workload
from sainet.run.arguments import loader_plan, shape, square_side, val_loader_plan

_LOST_BYTES = 4096 + 2048
"""Of each image in /dev/shm: a page for its label file, and half of its last one."""
_MANY_ITERATIONS = 10_000
"""Above this Ultralytics' `optimizer: auto` takes MuSGD, below it AdamW."""


def gpu_count(config: Config) -> int:
    """GPUs that the configuration trains on; 0 for the CPU."""
    devices = device_list(config.train.device)
    return 0 if devices == ["cpu"] else len(devices)


def used_gpus(config: Config, gpus: Sequence[Gpu]) -> list[Gpu]:
    """Those of `gpus` (as the training sees them) that it uses; the missing ones are left out."""
    devices = device_list(config.train.device)
    return [gpus[int(device)] for device in devices if device != "cpu" and int(device) < len(gpus)]


def workload(
    config: Config, *, workers: int, val_workers: int, images: Images | None, staged_bytes: int | None = None
) -> Workload:
    """`workers` and `val_workers` are what each process gets on the machine that is planned for.

    `staged_bytes`: what the staged data take, where that is known.
    """
    train = config.train
    side = square_side(train.imgsz)
    return Workload(
        engine=train.engine,
        gpus=gpu_count(config),
        shape=(side, side) if train.engine == "stock" else shape(train.imgsz),
        batch=train.batch,
        micro_batch=train.micro_batch,
        loader=loader_plan(config, workers=workers),
        val_loader=val_loader_plan(config, workers=val_workers),
        cache=config.loader.cache,
        staged=config.staging.to == "shm",
        staged_bytes=staged_bytes if staged_bytes is not None else _staged_bytes(config, images),
        mosaic=config.augment.mosaic > 0,
        plots=config.train.plots,
        epochs=config.schedule.epochs,
        save_period=config.train.save_period,
        images=images,
        nbs=config.optim.nbs,
        step_shape=_largest_shape(config) if config.augment.multi_scale else None,
    )


def _staged_bytes(config: Config, images: Images | None) -> int | None:
    """Of images in another form, by their sizes in pixels; None for those that stay as they are."""
    kind, _, side = config.staging.format.partition("-")
    if not side.isdecimal() or images is None or config.staging.to is None:
        return None
    fitted = min(images.decoded_bytes, images.fitted_bytes((int(side), int(side))))
    pages = images.total * _LOST_BYTES
    if kind == "raw":
        return round(images.total * fitted) + pages
    return None if images.file_bytes is None else round(images.file_bytes * fitted / images.decoded_bytes) + pages


def trace_request(config: Config, *, model: str, classes: int, images: Images | None) -> TraceRequest:
    """What the training step's memory depends on. `model` as `model_of` gives it."""
    on_gpu = bool(gpu_count(config))
    train = config.train
    return TraceRequest(
        model=model,
        classes=classes,
        shape=_largest_shape(config),
        device="cuda" if on_gpu else "cpu",
        precision=_precision(train.amp) if on_gpu else "fp32",
        channels_last=on_gpu if train.channels_last is None else train.channels_last,
        optimizer=_optimizer(config, images),
        accumulates=accumulation(train.batch, config.optim.nbs) > 1,
        pieces=1 if train.micro_batch == 1 else 2,
        frozen=config.schedule.freeze,
    )


def model_of(weights: str | None, stage_1_weights: str | None) -> str:
    """The architecture behind `weights`: a file that is there, or the model that Ultralytics ships under that name."""
    name = stage_1_weights if weights in {None, STAGE_1_WEIGHTS} else weights
    name = "yolov8s.pt" if name in {None, STAGE_1_WEIGHTS} else name
    assert name is not None
    path = Path(name).expanduser()
    if path.is_file():
        return str(path.absolute())
    return path.with_suffix(".yaml").name


def class_count(config: Config, names: Mapping[int, str] | None) -> int:
    """Classes of the detector: those asked for, else all of the data's."""
    if config.schedule.classes is not None:
        return len(config.schedule.classes)
    return len(names) if names else 1


def _largest_shape(config: Config) -> tuple[int, int]:
    """With multi_scale every batch has a size of its own, up to this one."""
    side = square_side(config.train.imgsz)
    base = (side, side) if config.train.engine == "stock" else shape(config.train.imgsz)
    grown = [to_stride(math.ceil(length * (1 + config.augment.multi_scale))) for length in base]
    return grown[0], grown[1]


def _precision(amp: bool | str) -> str:
    return {True: "fp16", False: "fp32"}[amp] if isinstance(amp, bool) else amp


def _optimizer(config: Config, images: Images | None) -> str:
    """Ultralytics' own rule for `auto`; without the number of images, the one that keeps more."""
    if config.optim.optimizer != "auto":
        return config.optim.optimizer
    if images is None:
        return "AdamW"
    steps = math.ceil(images.train / max(config.train.batch, config.optim.nbs)) * config.schedule.epochs
    return "MuSGD" if steps > _MANY_ITERATIONS else "AdamW"
