"""Values that are fine one by one but not together, and values that will have no effect."""

from collections.abc import Mapping

from sainet.config.auto import device_count, device_list
from sainet.config.origin import Origin
from sainet.config.schema import Config
from sainet.errors import Problem

STRIDE = 32
"""The largest stride of YOLOv8 and YOLO11 detection models: sides are rounded up to a multiple of it."""


def contradictions(config: Config, places: Mapping[str, str]) -> list[Problem]:
    """Settings that exclude each other; `places` says where each key was set."""
    problems = []
    schedule, train, optim = config.schedule, config.train, config.optim
    if schedule.single_cls and len(schedule.classes or []) != 1:
        problems.append(
            Problem(
                "`schedule.single_cls: true` needs exactly one name in `schedule.classes`",
                places.get("schedule.single_cls"),
                "for example classes: [smoke]; sainet never merges fire and smoke into one class",
            )
        )
    folded = [name.lower() for name in schedule.classes or []]
    if len(set(folded)) != len(folded) or schedule.classes == []:
        problems.append(
            Problem("`schedule.classes` needs different names, at least one", places.get("schedule.classes"))
        )
    devices = device_list(train.device)
    if any(not (d.isascii() and d.isdigit()) for d in devices) and devices not in (["cpu"], ["auto"]):
        problems.append(
            Problem(
                f"`train.device` is {train.device!r}",
                places.get("train.device"),
                "cpu, a GPU's number, or several as 0,1",
            )
        )
    elif len(set(devices)) != len(devices) or not devices:
        problems.append(Problem(f"`train.device` is {train.device!r}", places.get("train.device"), "each GPU once"))
    elif train.batch % len(devices):
        problems.append(
            Problem(
                f"`train.batch` {train.batch} cannot be shared by {len(devices)} GPUs",
                places.get("train.batch"),
                f"take a multiple of {len(devices)}: it counts the images of all GPUs together",
            )
        )
    if train.lr_scaling == "linear" and optim.optimizer == "auto":
        problems.append(
            Problem(
                "`train.lr_scaling: linear` scales lr0, which `optim.optimizer: auto` ignores",
                places.get("optim.optimizer"),
                "name the optimizer, e.g. SGD",
            )
        )
    if train.micro_batch > train.batch:
        problems.append(
            Problem(
                f"`train.micro_batch` {train.micro_batch} is more pieces than `train.batch` {train.batch} has images",
                places.get("train.micro_batch"),
            )
        )
    return problems


def warnings_of(config: Config, origins: Mapping[str, Origin]) -> list[str]:
    """What has no effect, or not quite the effect that its name promises. Each names its key."""
    typed = {key for key, origin in origins.items() if origin.typed_by_user}
    checks = [
        _shape_note(config),
        *_augmentation_notes(config),
        *_schedule_notes(config),
        *_loader_notes(config, typed),
    ]
    if config.train.sync_bn and device_count(config.train.device) == 1:
        checks.append("train.sync_bn has no effect on one device")
    if config.optim.optimizer == "auto":
        checks.append("optim.optimizer: auto lets Ultralytics choose; optim.lr0 and optim.momentum are not used")
    double = config.staging.to == "shm" and config.loader.cache
    if double:
        checks.append(
            f"loader.cache: {config.loader.cache} on top of staging.to: shm caches twice; it has cost a factor of 30"
        )
    return [text for text in checks if text]


def _shape_note(config: Config) -> str | None:
    sides = config.train.imgsz if isinstance(config.train.imgsz, list) else [config.train.imgsz]
    rounded = [-(-side // STRIDE) * STRIDE for side in sides]
    if rounded == sides:
        return None
    shape = "x".join(str(side) for side in reversed(rounded)) if len(rounded) == 2 else f"{rounded[0]}x{rounded[0]}"
    return f"train.imgsz {config.train.imgsz} trains at {shape} (H x W): sides are multiples of the stride {STRIDE}"


def _augmentation_notes(config: Config) -> list[str | None]:
    return [
        "augment.copy_paste needs segments: on box labels it has no effect" if config.augment.copy_paste else None,
    ]


def _schedule_notes(config: Config) -> list[str | None]:
    schedule = config.schedule
    never_mosaic = config.augment.mosaic > 0 and 0 < schedule.epochs <= schedule.close_mosaic
    short_warmup = config.optim.warmup_epochs > max(schedule.epochs - 1, 0)
    return [
        f"schedule.close_mosaic {schedule.close_mosaic} covers all {schedule.epochs} epochs: no mosaic"
        if never_mosaic
        else None,
        f"optim.warmup_epochs {config.optim.warmup_epochs:g} is cut to {schedule.epochs - 1}: the last epoch has none"
        if short_warmup
        else None,
    ]


def _loader_notes(config: Config, typed: set[str]) -> list[str | None]:
    loader = config.loader
    return [
        "loader.prefetch_factor has no effect without workers"
        if loader.workers == 0 and loader.prefetch_factor is not None and "loader.prefetch_factor" in typed
        else None,
    ]
