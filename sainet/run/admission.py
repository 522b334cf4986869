"""May this configuration start on this machine? What cannot be honoured is refused by name, never trained as less."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sainet.config.allocator import ALLOCATOR_VARIABLES
from sainet.config.auto import device_list
from sainet.config.resolve import Resolved
from sainet.config.schema import Config, Loader, ValLoader
from sainet.data.source import DataSource
from sainet.errors import Problem
from sainet.hardware.compilers import compile_obstacle
from sainet.hardware.gpu import Gpu
from sainet.run.arguments import STOCK_PREFETCH, shape

_AMPERE = (8, 0)
"""The first compute capability with bfloat16 and TensorFloat-32."""
_TRITON = (7, 0)
"""The first that Triton compiles for."""


def refusals(resolved: Resolved, gpus: Sequence[Gpu], environ: Mapping[str, str]) -> list[Problem]:
    """Everything that stands against a start here and that nobody can override; empty when nothing does.

    `gpus`: what the training process will see, in the order of its numbers; `environ`: its environment variables.
    """
    config = resolved.config
    problems = [*_devices(config, len(gpus)), *_not_yet(config)]
    if config.train.engine == "stock":
        problems += _stock_cannot(config)
    if device_list(config.train.device) == ["cpu"]:
        problems += _needs_a_gpu(config)
    else:
        problems += _needs_a_newer_gpu(config, gpus)
    problems += [*_compiling(config, environ), *_allocator(config, environ)]
    return [Problem(f"{key}: {message}", str(resolved.origin(key)), hint) for key, message, hint in problems]


def in_memory(resolved: Resolved, source: DataSource | None, run: Path) -> list[Problem]:
    """What must not lie in memory, however much of that there is: a second copy of the images, and the run itself."""
    cached = _double_cache(resolved.config, source)
    twice = [Problem(f"{key}: {message}", str(resolved.origin(key)), hint) for key, message, hint in cached]
    return [*twice, *_run_in_shm(run)]


_Refusal = tuple[str, str, str | None]

_SHM = Path("/dev/shm")


def _double_cache(config: Config, source: DataSource | None) -> Iterator[_Refusal]:
    staged = config.staging.to == "shm"
    lie_there = source is not None and any(path.resolve().is_relative_to(_SHM) for path in source.train)
    if config.loader.cache and (staged or lie_there):
        yield (
            "loader.cache",
            f"a cache ({config.loader.cache}) on top of images in /dev/shm: a second copy, which has made a step many "
            "times slower",
            "--cache false; --force starts all the same",
        )


def _run_in_shm(run: Path) -> Iterator[Problem]:
    if run.expanduser().resolve().is_relative_to(_SHM):
        yield Problem(
            f"{run} lies in /dev/shm: its checkpoints would take the memory that the training needs, and be gone after "
            "a restart",
            "--runs-dir",
            "name a folder on a disk; --force starts all the same",
        )


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
    """What the configuration can say but neither engine can do yet."""
    if len(device_list(config.train.device)) > 1:
        yield "train.device", "several GPUs cannot be used yet", "--device 0, with a batch that fits one GPU"


# --- what Ultralytics' own loader and augmentation would leave out in silence


def _stock_cannot(config: Config) -> Iterator[_Refusal]:
    train = config.train
    height, width = shape(train.imgsz)
    if height != width:
        side = max(height, width)
        yield "train.imgsz", f"the stock engine would train {side}x{side} squares", _or(f"--imgsz {side} for those")
    if train.micro_batch > 1:
        yield "train.micro_batch", "the stock engine computes whole batches", _or("--set train.micro_batch=1")
    for name in ValLoader.model_fields:
        if getattr(config.loader.val, name) is not None:
            yield f"loader.val.{name}", "the stock engine sets validation's loader itself", _or("leave loader.val out")
    yield from _stock_loader_cannot(config)


def _stock_loader_cannot(config: Config) -> Iterator[_Refusal]:
    loader = config.loader
    if device_list(config.train.device) == ["cpu"]:
        if loader.workers != 0:
            yield "loader.workers", "the stock engine loads in its own process on a CPU", _or("--workers 0")
        return
    if loader.prefetch_factor not in {None, STOCK_PREFETCH}:
        hint = _or(f"--set loader.prefetch_factor=null, which takes its {STOCK_PREFETCH} and more RAM")
        yield "loader.prefetch_factor", f"the stock engine always loads {STOCK_PREFETCH} batches ahead", hint
    if loader.pin_memory is False:
        yield "loader.pin_memory", "the stock engine always pins with a GPU", _or("--set loader.pin_memory=null")
    if not loader.persistent_workers:
        hint = _or("--set loader.persistent_workers=true")
        yield "loader.persistent_workers", "the stock engine keeps its workers", hint
    default_s = Loader.model_fields["timeout_s"].default
    if loader.timeout_s != default_s:
        hint = _or(f"--set loader.timeout_s={default_s:g}, which it does not heed either")
        yield "loader.timeout_s", "the stock engine waits for ever", hint


def _or(alternative: str) -> str:
    return f"--engine sainet does it; or {alternative}"


# --- what the machine cannot do


def _needs_a_gpu(config: Config) -> Iterator[_Refusal]:
    """What would be switched off in silence on a CPU."""
    train, loader = config.train, config.loader
    if train.amp not in {False, "fp32"}:
        yield "train.amp", "mixed precision needs a GPU", "--set train.amp=false"
    if train.channels_last:
        yield "train.channels_last", "has an effect on a GPU only", "--set train.channels_last=null"
    if train.tf32 is not None:
        yield "train.tf32", "TensorFloat-32 is a GPU's number format", "--set train.tf32=null"
    if train.cudnn_benchmark:
        yield "train.cudnn_benchmark", "cuDNN runs on a GPU only", "--set train.cudnn_benchmark=false"
    for key, asked in (("loader", loader.pin_memory), ("loader.val", loader.val.pin_memory)):
        if asked:
            yield f"{key}.pin_memory", "has an effect with a GPU only", f"--set {key}.pin_memory=null"


def _needs_a_newer_gpu(config: Config, gpus: Sequence[Gpu]) -> Iterator[_Refusal]:
    """What the oldest of the GPUs is too old for. A compute capability that is not known stands against nothing."""
    train = config.train
    used = [gpus[int(d)] for d in device_list(train.device) if int(d) < len(gpus)]
    known = [(gpu.compute_capability, gpu.name) for gpu in used if gpu.compute_capability is not None]
    if not known:
        return
    capability, name = min(known)
    has = f"; {name} has {capability[0]}.{capability[1]}"
    if train.amp == "bf16" and capability < _AMPERE:
        yield "train.amp", f"bf16 needs compute capability 8.0{has}", "--set train.amp=fp16"
    if train.tf32 and capability < _AMPERE:
        yield "train.tf32", f"TensorFloat-32 needs compute capability 8.0{has}", "--set train.tf32=null"
    if train.compile and capability < _TRITON:
        yield "train.compile", f"Triton needs compute capability 7.0{has}", "--set train.compile=false"


def _compiling(config: Config, environ: Mapping[str, str]) -> Iterator[_Refusal]:
    if not config.train.compile:
        return
    obstacle = compile_obstacle(environ, on_gpu=device_list(config.train.device) != ["cpu"])
    if obstacle is not None:
        yield (
            "train.compile",
            f"cannot work here: {obstacle.reason}",
            f"{obstacle.remedy}; or --set train.compile=false",
        )


def _allocator(config: Config, environ: Mapping[str, str]) -> Iterator[_Refusal]:
    """One variable from the profile and the other from the shell: the profile's would not count, or not alone."""
    if len({environ[name] for name in ALLOCATOR_VARIABLES if name in environ}) < 2:
        return
    for mine in config.env.keys() & set(ALLOCATOR_VARIABLES):
        (shell,) = set(ALLOCATOR_VARIABLES) - {mine}
        yield f"env.{mine}", f"{shell} of your shell is the same setting and differs", f"unset {shell}"
