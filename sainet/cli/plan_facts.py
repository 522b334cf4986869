"""How a stage would be trained on this machine, once every setting has met it: for programs and for people."""

from typing import Any

from sainet.config.schema import Config
from sainet.config.steps import accumulation, initial_lr, step_images
from sainet.protocol import LoaderPlan
from sainet.run.arguments import loader_plan, piece_images, shape, val_loader_plan
from sainet.run.preflight import Preflight


def plan_facts(found: Preflight) -> dict[str, Any]:
    """For programs. `shape` is [height, width] in pixels; `learning_rate` is None where Ultralytics chooses it."""
    config = found.resolved.config
    loader, val_loader = _loaders(found)
    return {
        "engine": config.train.engine,
        "shape": list(shape(config.train.imgsz)),
        "workers": found.workers,
        "loader": loader.model_dump(),
        "val_loader": val_loader.model_dump(),
        "effective_batch": step_images(config),
        "micro_batch": {"pieces": config.train.micro_batch, "images": piece_images(config)},
        "learning_rate": None if config.optim.optimizer == "auto" else initial_lr(config),
        "checkpoint_minutes": None if config.train.engine == "stock" else config.train.checkpoint_minutes,
    }


def fact_lines(found: Preflight) -> dict[str, str]:
    """For people: the name of a fact and what it is."""
    config = found.resolved.config
    loader, val_loader = _loaders(found)
    height, width = shape(config.train.imgsz)
    return {
        "engine": _ENGINES[config.train.engine],
        "image shape": f"{height}x{width} (H x W)",
        "optimizer step": _step_line(config),
        "learning rate": _rate_line(config),
        "loader": _loader_line(loader, kept="kept between epochs", ended="new in each epoch"),
        "validation loader": _loader_line(val_loader, kept="kept between validations", ended="only while validating"),
        "exact state saved": _saving_line(config),
    }


_ENGINES = {
    "sainet": "sainet",
    "stock": "stock (Ultralytics' own loader and augmentation)",
}


def _loaders(found: Preflight) -> tuple[LoaderPlan, LoaderPlan]:
    config = found.resolved.config
    return loader_plan(config, workers=found.workers), val_loader_plan(config, workers=found.val_workers)


def _step_line(config: Config) -> str:
    train = config.train
    line = f"{step_images(config)} images ({accumulation(train.batch, config.optim.nbs)} x {train.batch})"
    if train.micro_batch == 1:
        return line
    pieces = f"in {train.micro_batch} pieces of at most {piece_images(config)} images"
    return f"{line}, each batch {pieces}, which is what BatchNorm sees"


def _rate_line(config: Config) -> str:
    train, optim = config.train, config.optim
    if optim.optimizer == "auto":
        return "Ultralytics chooses"
    if train.lr_scaling == "none":
        return f"{optim.lr0:g} (lr0)"
    sum_ = f"lr0 {optim.lr0:g} x {step_images(config)} / {train.lr_base_batch} images a step"
    return f"{initial_lr(config):g} ({sum_})"


def _loader_line(plan: LoaderPlan, *, kept: str, ended: str) -> str:
    pinned = "pinned" if plan.pin_memory else "not pinned"
    if plan.workers == 0:
        return f"in the training process, {pinned}"
    return ", ".join(
        [
            f"{plan.workers} worker{'s' if plan.workers > 1 else ''}",
            f"each {plan.prefetch_factor} batch{'es' if plan.prefetch_factor > 1 else ''} ahead",
            pinned,
            kept if plan.persistent_workers else ended,
            f"time-out {plan.timeout_s:g} s" if plan.timeout_s else "no time-out",
        ]
    )


def _saving_line(config: Config) -> str:
    if config.train.engine == "stock":
        return "never: a resume starts at the last whole epoch"
    return f"about every {config.train.checkpoint_minutes:g} min, and at each epoch's end"
