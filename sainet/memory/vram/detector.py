"""The detector that is traced: Ultralytics' own, with parameters that have a shape and no values."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from ultralytics.cfg import get_cfg
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.nn.modules.head import Detect
from ultralytics.nn.tasks import DetectionModel, guess_model_task

from sainet.engine.checkpoint import load
from sainet.errors import RefusedError
from sainet.memory.trace_record import TraceRequest


def build(request: TraceRequest) -> DetectionModel:
    """The detector as upstream's trainer builds it, with real weights, on the CPU.

    Raises `RefusedError` for a model that is no detector, `WeightsError` for a file that is no checkpoint.
    """
    model = DetectionModel(_architecture(request.model), nc=request.classes, verbose=False)
    head = model.model[-1]
    if not isinstance(head, Detect) or guess_model_task(model) != "detect":
        raise RefusedError(f"{request.model} is no YOLO detector: its head is {type(head).__name__}")
    model.args = get_cfg()
    _freeze(model, request.frozen)
    return model


def _architecture(name: str) -> Any:
    """What `DetectionModel` is built from: the name of a YAML, or the architecture that a checkpoint holds."""
    if Path(name).suffix != ".pt":
        return name
    checkpoint = load(Path(name))
    return (checkpoint.get("ema") or checkpoint["model"]).yaml


def _freeze(model: nn.Module, frozen: int | list[int] | None) -> None:
    """As upstream's `_setup_train` does; the distribution of the box sides is always frozen."""
    layers = range(frozen) if isinstance(frozen, int) else frozen or []
    names = [*(f"model.{layer}." for layer in layers), ".dfl"]
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not any(frozen_name in name for frozen_name in names)
    BaseTrainer._model_train(SimpleNamespace(model=model, freeze_layer_names=names))


def without_values(model: DetectionModel, fake: FakeTensorMode, *, channels_last: bool) -> DetectionModel:
    """A copy of `model` whose parameters and buffers are fake; the strides, which the host reads, stay real."""
    copied = copy.deepcopy(model)
    made: dict[int, Tensor] = {}
    for module in copied.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = made.setdefault(id(tensor), _fake(tensor, fake, channels_last))
    return copied


def _fake(tensor: Tensor, fake: FakeTensorMode, channels_last: bool) -> Tensor:
    values = tensor.detach()
    if channels_last and values.dim() == 4:
        values = values.contiguous(memory_format=torch.channels_last)
    made = fake.from_tensor(values)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(made, requires_grad=tensor.requires_grad)
    return made
