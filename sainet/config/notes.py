"""What the user should know about a configuration: values without effect, or with another one than their name says."""

from collections.abc import Iterator, Mapping

from sainet.config.allocator import ALLOCATOR_VARIABLES
from sainet.config.auto import CACHE_IS_OFF, device_count, device_list
from sainet.config.origin import Origin
from sainet.config.schema import Config
from sainet.config.stride import STRIDE, to_stride


def warnings_of(config: Config, origins: Mapping[str, Origin]) -> list[str]:
    """What has no effect, or not quite the effect that its name promises. Each names its key."""
    typed = {key for key, origin in origins.items() if origin.typed_by_user}
    return [
        *_shape_notes(config),
        *_augmentation_notes(config),
        *_schedule_notes(config),
        *_loader_notes(config, typed),
        *_train_notes(config, typed),
        *_compile_notes(config),
        *_env_notes(config),
        *_staging_notes(config, origins),
    ]


def _shape_notes(config: Config) -> Iterator[str]:
    sides = config.train.imgsz if isinstance(config.train.imgsz, list) else [config.train.imgsz]
    rounded = [to_stride(side) for side in sides]
    if rounded != sides:
        height, width = rounded[-1], rounded[0]
        yield (
            f"train.imgsz {config.train.imgsz} trains at {height}x{width} (H x W): "
            f"sides are multiples of the stride {STRIDE}"
        )


def _augmentation_notes(config: Config) -> Iterator[str]:
    if config.augment.copy_paste:
        yield "augment.copy_paste needs segments: on box labels it has no effect"


def _schedule_notes(config: Config) -> Iterator[str]:
    schedule, warmup = config.schedule, config.optim.warmup_epochs
    if config.augment.mosaic > 0 and 0 < schedule.epochs <= schedule.close_mosaic:
        yield f"schedule.close_mosaic {schedule.close_mosaic} covers all {schedule.epochs} epochs: no mosaic"
    if warmup > max(schedule.epochs - 1, 0):
        yield f"optim.warmup_epochs {warmup:g} is cut to {schedule.epochs - 1}: the last epoch has none"


def _loader_notes(config: Config, typed: set[str]) -> Iterator[str]:
    loader, val = config.loader, config.loader.val
    without = []
    if loader.workers == 0:
        without += ["loader.prefetch_factor", "loader.timeout_s"]
        without += [] if loader.persistent_workers else ["loader.persistent_workers"]
    if val.workers == 0 or (val.workers is None and loader.workers == 0):
        without += ["loader.val.prefetch_factor", "loader.val.timeout_s"]
    for key in without:
        if key in typed:
            yield f"{key} has no effect without workers"


def _train_notes(config: Config, typed: set[str]) -> Iterator[str]:
    train = config.train
    if train.sync_bn and device_count(train.device) == 1:
        yield "train.sync_bn has no effect on one device"
    if config.optim.optimizer == "auto":
        yield "optim.optimizer: auto lets Ultralytics choose; optim.lr0 and optim.momentum are not used"
    if "train.lr_base_batch" in typed and train.lr_scaling == "none":
        yield "train.lr_base_batch has no effect without train.lr_scaling: linear"
    if "train.checkpoint_minutes" in typed and train.engine == "stock":
        yield "train.checkpoint_minutes has no effect with train.engine: stock, which goes on from whole epochs"
    if train.micro_batch > 1:
        yield "train.micro_batch keeps the gradient, but BatchNorm takes its statistics from each piece by itself"


def _compile_notes(config: Config) -> Iterator[str]:
    train = config.train
    shapes = {"augment.multi_scale": config.augment.multi_scale > 0, "train.micro_batch": train.micro_batch > 1}
    if train.compile:
        for key in [key for key, is_set in shapes.items() if is_set]:
            yield f"{key} together with train.compile: every new shape of a batch is compiled anew"


def _env_notes(config: Config) -> Iterator[str]:
    if device_list(config.train.device) != ["cpu"]:
        return
    for name in ALLOCATOR_VARIABLES:
        if name in config.env:
            yield f"env.{name} has no effect on a CPU"
    if "OMP_NUM_THREADS" in config.env:
        yield "env.OMP_NUM_THREADS does not set the threads of a training on the CPU: Ultralytics does"


def _staging_notes(config: Config, origins: Mapping[str, Origin]) -> Iterator[str]:
    staging, cache = config.staging, origins.get("loader.cache")
    if staging.to is None:
        if staging.format != "as-is":
            yield "staging.format has no effect without staging.to"
        return
    if config.loader.cache:
        yield f"loader.cache: {config.loader.cache} on top of staging.to: shm caches twice; it has cost a factor of 30"
    elif cache is not None and cache.name.startswith(CACHE_IS_OFF):
        yield f"loader.cache is off: {cache.name}, which would be a second copy"
    if staging.format != "as-is":
        yield f"staging.format: {staging.format} changes the pixels a little, and so what is learned from them"
        side, trained = int(staging.format.partition("-")[2]), config.train.imgsz
        largest = max(trained) if isinstance(trained, list) else trained
        if side < largest:
            yield f"staging.format: {staging.format} is smaller than the {largest} pixels that are trained"
