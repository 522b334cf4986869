"""Values that are fine one by one but not together, and values that will have no effect."""

from collections.abc import Iterator, Mapping

from sainet.config.auto import device_count, device_list
from sainet.config.document import written
from sainet.config.origin import Origin
from sainet.config.schema import Config
from sainet.errors import Problem

STRIDE = 32
"""The largest stride of YOLOv8 and YOLO11 detection models: sides are rounded up to a multiple of it."""

_OWN_VARIABLES = frozenset(
    {"YOLO_OFFLINE", "YOLO_AUTOINSTALL", "YOLO_CONFIG_DIR", "YOLO_VERBOSE", "MPLCONFIGDIR", "PYTHONSAFEPATH"}
)


def contradictions(config: Config, places: Mapping[str, str]) -> list[Problem]:
    """Settings that exclude each other; `places` says where each key was set."""
    found = [
        *_class_contradictions(config),
        *_device_contradictions(config),
        *_batch_contradictions(config),
        *_env_contradictions(config),
    ]
    return [Problem(message, places.get(key), hint) for key, message, hint in found]


_Found = Iterator[tuple[str, str, str | None]]
"""The key to look at, what is wrong, and the hint."""


def _class_contradictions(config: Config) -> _Found:
    names = config.schedule.classes
    if config.schedule.single_cls and len(names or []) != 1:
        hint = "for example classes: [smoke]; sainet never merges fire and smoke into one class"
        message = "`schedule.single_cls: true` needs exactly one name in `schedule.classes`"
        yield "schedule.single_cls", message, hint
    folded = {name.lower() for name in names or []}
    if names is not None and (not names or len(folded) != len(names)):
        yield "schedule.classes", "`schedule.classes` needs different names, at least one", None


def _device_contradictions(config: Config) -> _Found:
    batch, devices = config.train.batch, device_list(config.train.device)
    are_numbers = all(device.isascii() and device.isdigit() for device in devices)
    is_wrong = f"`train.device` is {written(config.train.device)}"
    if not devices or (not are_numbers and devices not in (["cpu"], ["auto"])):
        yield "train.device", is_wrong, "cpu, a GPU's number, or several as 0,1"
    elif len(set(devices)) != len(devices):
        yield "train.device", is_wrong, "each GPU once"
    elif batch % len(devices):
        hint = f"take a multiple of {len(devices)}: it counts the images of all GPUs together"
        yield "train.batch", f"`train.batch` {batch} cannot be shared by {len(devices)} GPUs", hint


def _batch_contradictions(config: Config) -> _Found:
    train = config.train
    if train.lr_scaling == "linear" and config.optim.optimizer == "auto":
        message = "`train.lr_scaling: linear` scales lr0, which `optim.optimizer: auto` ignores"
        yield "optim.optimizer", message, "name the optimizer, e.g. SGD"
    if train.micro_batch > train.batch:
        message = f"`train.micro_batch` {train.micro_batch} is more pieces than `train.batch` {train.batch} has images"
        yield "train.micro_batch", message, None


def _env_contradictions(config: Config) -> _Found:
    for name in sorted(_OWN_VARIABLES & config.env.keys()):
        yield f"env.{name}", f"`env.{name}` is set by sainet itself, to keep the training off the network", None


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
    if "train.lr_base_batch" in typed and config.train.lr_scaling == "none":
        checks.append("train.lr_base_batch has no effect without train.lr_scaling: linear")
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
    if config.loader.workers != 0:
        return []
    without_workers = {
        "loader.prefetch_factor": config.loader.prefetch_factor is not None,
        "loader.persistent_workers": not config.loader.persistent_workers,
    }
    return [
        f"{key} has no effect without workers" for key, is_set in without_workers.items() if is_set and key in typed
    ]
