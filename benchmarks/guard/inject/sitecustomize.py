"""Trouble to order for a real `sainet train`: no part of the product, and nothing happens unless it is asked for.

Python runs this file at its start when its folder is on PYTHONPATH, in the shell or in a profile's `env`. Then:

- `INJECT_OOM=WHERE:IMAGES[:BATCH]`, WHERE one of forward, backward, validation: CUDA's out-of-memory error there, as
  PyTorch raises it, whenever more than IMAGES images are computed at once, from batch BATCH on (0 by default; counted
  over all epochs, and in validation over the pieces of one pass). So enough micro-batches cure it.
- `INJECT_LEAK=BYTES`: whatever process reads an image's pixels leaks so many bytes with each.
- `INJECT_SLOW_MS=MS`: every training step takes so much longer, which fills the loader's queues.

It hangs itself into the modules concerned while they are imported, and imports none of them itself.
"""

import importlib.abc
import os
import sys
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

MESSAGE = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 22.06 GiB of which 1.12 GiB is "
    "free. Including non-PyTorch memory, this process has 20.93 GiB memory in use. (injected)\n"
    "See documentation for Memory Management"
)


class Patcher(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Calls `patch` with the module `name` right after it has run, before anybody takes a name from it."""

    def __init__(self, name: str, patch: Callable[[Any], None]) -> None:
        self.name, self.patch = name, patch

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != self.name:
            return None
        after = sys.meta_path[sys.meta_path.index(self) + 1 :]
        others = (finder.find_spec(fullname, path, target) for finder in after)
        spec = next((spec for spec in others if spec is not None), None)
        if spec is not None:
            self.found, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: Any) -> Any:
        return self.found.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.found.exec_module(module)
        self.patch(module)


# --- a full GPU


def full(*_: Any) -> None:
    """Raise what PyTorch raises then."""
    import torch

    raise torch.OutOfMemoryError(MESSAGE)


def full_in_training(loop: Any, where: str, images: int, batch: int) -> None:
    """In the middle of the model, on the way forward or on the way back."""
    upstream = loop.forward

    def full_on_the_way_back(_module: Any, _inputs: Any, output: Any) -> None:
        output.register_hook(full)

    def forward(training: Any, part: dict[str, Any]) -> Any:
        place = training.loop.place
        if len(part["img"]) <= images or place.batch + training.loop.batches * place.epoch < batch:
            return upstream(training, part)
        layers = loop.unwrap_model(training.model).model
        hook = layers[len(layers) // 2].register_forward_hook(full if where == "forward" else full_on_the_way_back)
        try:
            return upstream(training, part)
        finally:
            hook.remove()

    loop.forward = forward


def full_in_validation(validation: Any, images: int, batch: int) -> None:
    """Where a batch has come to the device and the model is next."""
    upstream = validation.StageValidator.preprocess

    def preprocess(validator: Any, part: dict[str, Any]) -> Any:
        prepared = upstream(validator, part)
        if len(prepared["img"]) > images and validator.batch_i >= batch:
            full()
        return prepared

    validation.StageValidator.preprocess = preprocess


def parse_oom(text: str) -> tuple[str, int, int]:
    """Where, above how many images, from which batch on. Raises `ValueError` for anything else."""
    where, images, *batch = text.split(":")
    if where not in {"forward", "backward", "validation"} or len(batch) > 1:
        raise ValueError(f"INJECT_OOM={text} is not forward|backward|validation:IMAGES[:BATCH]")
    return where, int(images), int(batch[0]) if batch else 0


# --- other trouble


def leak(patches: Any, size: int) -> None:
    """Both engines read pixels by this function, and by no other."""
    upstream, leaked = patches.imread, []

    def imread(*arguments: Any, **options: Any) -> Any:
        leaked.append(b"\x01" * size)  # written, so that the pages are really taken
        return upstream(*arguments, **options)

    patches.imread = imread


def slow_down(loop: Any, seconds: float) -> None:
    upstream = loop.TrainingLoop._train_batch

    def train_batch(self: Any, batch: dict[str, Any]) -> None:
        time.sleep(seconds)
        upstream(self, batch)

    loop.TrainingLoop._train_batch = train_batch


def install(environment: Mapping[str, str]) -> None:
    """Wait for the modules that what is asked for has to do with."""

    def patch(name: str, change: Callable[..., None], *arguments: Any) -> None:
        sys.meta_path.insert(0, Patcher(name, lambda module: change(module, *arguments)))

    if text := environment.get("INJECT_OOM"):
        where, images, batch = parse_oom(text)
        if where == "validation":
            patch("sainet.engine.validation", full_in_validation, images, batch)
        else:
            patch("sainet.engine.loop", full_in_training, where, images, batch)
    if size := int(environment.get("INJECT_LEAK") or 0):
        patch("ultralytics.utils.patches", leak, size)
    if milliseconds := float(environment.get("INJECT_SLOW_MS") or 0):
        patch("sainet.engine.loop", slow_down, milliseconds / 1000)


install(os.environ)
