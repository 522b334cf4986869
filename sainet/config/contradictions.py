"""Values that are fine one by one but not together."""

from collections.abc import Iterator, Mapping

from sainet.config.allocator import ALLOCATOR_VARIABLES, allocator_faults
from sainet.config.auto import device_list
from sainet.config.document import written
from sainet.config.origin import DEFAULT
from sainet.config.schema import Config
from sainet.config.steps import initial_lr, step_images
from sainet.errors import Problem

_OWN_VARIABLES = frozenset(
    {"YOLO_OFFLINE", "YOLO_AUTOINSTALL", "YOLO_CONFIG_DIR", "YOLO_VERBOSE", "MPLCONFIGDIR", "PYTHONSAFEPATH"}
)


def contradictions(config: Config, places: Mapping[str, str]) -> list[Problem]:
    """Settings that exclude each other; `places` says where each key was set."""
    found = [
        *_class_contradictions(config),
        *_device_contradictions(config),
        *_batch_contradictions(config),
        *_rate_contradictions(config),
        *_cudnn_contradictions(config),
        *_env_contradictions(config),
        *_allocator_contradictions(config),
        *_guard_contradictions(config, places),
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
    devices = max(len(device_list(train.device)), 1)
    if train.micro_batch > max(train.batch // devices, 1):
        share = f"`train.batch` {train.batch} has images" + (f" on each of {devices} GPUs" if devices > 1 else "")
        yield "train.micro_batch", f"`train.micro_batch` {train.micro_batch} is more pieces than {share}", None


def _rate_contradictions(config: Config) -> _Found:
    train, optim = config.train, config.optim
    if train.lr_scaling == "linear" and optim.optimizer == "auto":
        message = "`train.lr_scaling: linear` scales lr0, which `optim.optimizer: auto` ignores"
        yield "optim.optimizer", message, "name the optimizer, e.g. SGD"
    elif initial_lr(config) > 1:
        sum_ = f"{optim.lr0:g} x {step_images(config)} / {train.lr_base_batch} images a step"
        message = f"`train.lr_scaling: linear` makes lr0 {initial_lr(config):g} ({sum_}); more than 1 cannot be trained"
        yield "train.lr_scaling", message, "a smaller optim.lr0, or train.lr_base_batch as the batch it is stated for"


def _cudnn_contradictions(config: Config) -> _Found:
    if config.train.cudnn_benchmark and config.train.deterministic:
        message = "`train.cudnn_benchmark: true` takes fast algorithms, `train.deterministic: true` repeatable ones"
        yield "train.cudnn_benchmark", message, "train.deterministic: false, or cudnn_benchmark: false"


def _env_contradictions(config: Config) -> _Found:
    for name in sorted(_OWN_VARIABLES & config.env.keys()):
        yield f"env.{name}", f"`env.{name}` is set by sainet itself, to keep the training off the network", None


def _allocator_contradictions(config: Config) -> _Found:
    said = {name: config.env[name] for name in ALLOCATOR_VARIABLES if name in config.env}
    for name, text in said.items():
        for message, hint in allocator_faults(text):
            yield f"env.{name}", f"`env.{name}`: {message}", hint
    if len(set(said.values())) > 1:
        message = "`env.PYTORCH_ALLOC_CONF` and `env.PYTORCH_CUDA_ALLOC_CONF` are the same setting and differ"
        yield "env.PYTORCH_ALLOC_CONF", message, "keep one"


_RISING = (
    ("clear", "slope_from", True),
    ("clear", "hard_slope_from", True),
    ("clear", "soft", True),
    ("clear", "vram_soft", True),
    ("soft", "hard", False),
    ("vram_soft", "vram_hard", False),
    ("disk_hard_gib", "disk_soft_gib", False),
    ("tight_every_s", "every_s", False),
)
"""Of the guard: the first is below the second, or else what is short would be plenty at once (True), or at most the
same."""


def _guard_contradictions(config: Config, places: Mapping[str, str]) -> _Found:
    """One problem for each setting that somebody has put on the wrong side of another."""
    found: dict[str, tuple[str, str, str | None]] = {}
    for low, high, strict in _RISING:
        below, above = getattr(config.guard, low), getattr(config.guard, high)
        if below > above or (strict and below == above):
            is_low = places.get(f"guard.{low}", str(DEFAULT)) != str(DEFAULT)
            key, value, other, limit = (low, below, high, above) if is_low else (high, above, low, below)
            right, wrong = ("below", "above") if is_low else ("above", "below")
            order = f"has to be {right}" if strict else f"cannot be {wrong}"
            message = f"`guard.{key}` {value:g} {order} `guard.{other}` {limit:g}"
            found.setdefault(key, (f"guard.{key}", message, f"lower guard.{low}, or raise guard.{high}"))
    yield from found.values()
