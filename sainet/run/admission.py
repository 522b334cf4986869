"""May this configuration start on this machine? What cannot be honoured is refused by name, never trained as less."""

from collections.abc import Iterator

from sainet.config.auto import device_list
from sainet.config.resolve import Resolved
from sainet.config.schema import Config
from sainet.errors import Problem
from sainet.run.arguments import STOCK_PREFETCH


def refusals(resolved: Resolved, visible_gpus: int, *, force: bool) -> list[Problem]:
    """Everything that stands against a start here; empty when nothing does. `force` overrides a double cache alone."""
    config = resolved.config
    problems = [*_devices(config, visible_gpus), *_not_yet(config)]
    if config.staging.to == "shm" and config.loader.cache and not force:
        problems.append(
            (
                "loader.cache",
                f"a cache ({config.loader.cache}) on top of data in /dev/shm: two copies in memory",
                "--cache false; --force starts all the same",
            )
        )
    return [Problem(f"{key}: {message}", str(resolved.origin(key)), hint) for key, message, hint in problems]


_Refusal = tuple[str, str, str | None]


def _devices(config: Config, visible_gpus: int) -> Iterator[_Refusal]:
    devices = device_list(config.train.device)
    missing = [d for d in devices if d != "cpu" and int(d) >= visible_gpus]
    if missing:
        here = f"{visible_gpus} visible" if visible_gpus else "none visible"
        yield (
            "train.device",
            f"GPU {', '.join(missing)} is not here ({here})",
            "sainet doctor says why; --profile cpu trains without a GPU",
        )


def _not_yet(config: Config) -> Iterator[_Refusal]:
    """What the configuration can say but the training process cannot do yet."""
    train, loader = config.train, config.loader
    on_cpu = device_list(train.device) == ["cpu"]
    if isinstance(train.imgsz, list) and train.imgsz[0] != train.imgsz[1]:
        side = max(train.imgsz)
        yield "train.imgsz", "rectangles cannot be trained yet", f"--imgsz {side} trains {side}x{side} squares"
    if len(device_list(train.device)) > 1:
        yield "train.device", "several GPUs cannot be used yet", "--device 0, with a batch that fits one GPU"
    if train.sync_bn:
        yield "train.sync_bn", "needs several GPUs, which cannot be used yet", "--set train.sync_bn=false"
    if train.micro_batch > 1:
        yield "train.micro_batch", "micro-batches cannot be trained yet", "--set train.micro_batch=1"
    if train.lr_scaling != "none":
        yield "train.lr_scaling", "lr0 cannot be scaled yet", "--set train.lr_scaling=none and your own optim.lr0"
    if train.tf32 is not None:
        yield "train.tf32", "cannot be switched yet", "--set train.tf32=null leaves PyTorch's default"
    if config.staging.to is not None:
        yield "staging.to", "data cannot be staged yet", "--set staging.to=null, with `data` where the images lie"
    yield from _loader_not_yet(config, on_cpu)
    if on_cpu:
        yield from _needs_a_gpu(config)
    if loader.val.workers is not None or loader.val.prefetch_factor is not None:
        yield "loader.val.workers", "validation's loader cannot be set yet", "leave loader.val out"


def _loader_not_yet(config: Config, on_cpu: bool) -> Iterator[_Refusal]:
    loader = config.loader
    if on_cpu and loader.workers != 0:
        yield "loader.workers", "a CPU training cannot use loader workers yet", "--workers 0"
        return
    if on_cpu:
        return
    if loader.prefetch_factor not in {None, STOCK_PREFETCH}:
        hint = f"--set loader.prefetch_factor=null is Ultralytics' own {STOCK_PREFETCH}; it takes more RAM"
        yield "loader.prefetch_factor", "cannot be set yet", hint
    if loader.pin_memory is False:
        yield "loader.pin_memory", "cannot be switched off yet", "--set loader.pin_memory=null pins"
    if not loader.persistent_workers:
        yield "loader.persistent_workers", "cannot be switched off yet", "--set loader.persistent_workers=true"


def _needs_a_gpu(config: Config) -> Iterator[_Refusal]:
    """What would be switched off in silence on a CPU."""
    train, loader = config.train, config.loader
    if train.amp not in {False, "fp32"}:
        yield "train.amp", "mixed precision needs a GPU", "--set train.amp=false"
    if train.channels_last:
        yield "train.channels_last", "has an effect on a GPU only", "--set train.channels_last=null"
    if loader.pin_memory:
        yield "loader.pin_memory", "has an effect with a GPU only", "--set loader.pin_memory=null"
