"""A few training steps of the engine, step by step, on tensors without values.

Model, loss, backward pass, clipping, optimizer, average and micro-batches are the real ones. What stands in for
upstream's is named where it does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.ops import xywh2xyxy
from ultralytics.utils.torch_utils import ModelEMA

from sainet.engine.micro_batch import Batch, MicroBatches
from sainet.memory.trace_record import TraceRequest
from sainet.memory.vram.assumptions import BOXES_PER_IMAGE
from sainet.memory.vram.autocast import cuda_autocast
from sainet.memory.vram.detector import without_values
from sainet.memory.vram.ledger import Ledger

_HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}


def rehearse(model: DetectionModel, request: TraceRequest, images: int) -> "Rehearsal":
    """Train `model` for two steps of the optimizer, `images` at once, and write down what it takes.

    Two, so that the second finds the optimizer's state. Where gradients wait for another batch, the last step has two
    batches. Then `images` are validated. `model` stays as it is.
    """
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    ledger = Ledger(convolution_scratch=request.device == "cuda" and not request.channels_last)
    traced = without_values(model, fake, channels_last=request.channels_last)
    average = ModelEMA(model)
    average.ema = without_values(average.ema, fake, channels_last=request.channels_last)
    with _padded_boxes(), fake, ledger:
        rehearsal = Rehearsal(traced, average, request, ledger)
        for batches in (1, 2 if request.accumulates else 1):
            rehearsal.step(batches, images)
    with _padded_boxes(), fake, rehearsal.validating:
        rehearsal.validate(images)
    return rehearsal


class Rehearsal:
    """The state of a training; `ledger` holds what its steps took, `validating` what a validation takes."""

    def __init__(self, model: DetectionModel, average: ModelEMA, request: TraceRequest, ledger: Ledger) -> None:
        self.model, self.average, self.request, self.ledger = model, average, request, ledger
        self.cuda = request.device == "cuda"
        self.validating = Ledger(convolution_scratch=ledger.convolution_scratch)
        for lasting in (model, average.ema):
            ledger.add([*lasting.parameters(), *lasting.buffers()])
        self.optimizer = _optimizer(model, request.optimizer, cuda=self.cuda)
        self.scaler = torch.amp.GradScaler("cpu", enabled=self.cuda and request.precision == "fp16")
        self.pieces = MicroBatches(model, request.pieces) if request.pieces > 1 else None

    def step(self, batches: int, images: int) -> None:
        """As the engine's loop: `batches` of the data, then a step of the optimizer."""
        for _ in range(batches):
            batch = _batch(images * self.request.pieces, self.request.shape)
            self._backward(batch)
        self._optimizer_step()

    def validate(self, images: int) -> None:
        """As upstream's validator between two epochs, but for what follows on the predictions, which is small.

        Of a batch in pieces `images` are one piece: nothing else of the batch is on the device. It computes the
        average's losses too, in fp16 wherever the training is mixed.
        """
        model = self.average.ema
        state = [value for values in self.optimizer.state.values() for value in values.values()]
        lasting = [*self.model.parameters(), *self.model.buffers(), *model.parameters(), *model.buffers(), *state]
        self.validating.add(value for value in lasting if isinstance(value, Tensor))
        if hasattr(model, "end2end"):
            model.end2end = False
        half = torch.float16 if self.cuda and self.request.precision != "fp32" else None
        with torch.no_grad(), cuda_autocast(half) if half else nullcontext():
            batch = _batch(images, self.request.shape)
            for key, value in batch.items():
                batch[key] = self._upload(value, self.validating)
            batch["img"] = batch["img"].to(half or torch.float32) / 255
            model.loss(batch, model(batch["img"]))

    def _backward(self, batch: Batch) -> None:
        if self.pieces is not None:
            self.pieces.backward(batch, forward=self._forward, scale=self.scaler.scale)
            return
        loss, _items = self._forward(batch)
        total = loss.sum()
        self.scaler.scale(total).backward()  # type: ignore[no-untyped-call]

    def _forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        half = _HALF.get(self.request.precision) if self.cuda else None
        with cuda_autocast(half) if half else nullcontext():
            for key, value in batch.items():
                batch[key] = self._upload(value, self.ledger)
            batch["img"] = batch["img"].float() / 255
            loss, items = self.model(batch)
            return loss, items

    def _upload(self, tensor: Tensor, ledger: Ledger) -> Tensor:
        """A CPU trains on what the loader has handed over, which counts as the loader's."""
        if self.cuda:
            return torch.empty(tensor.shape, dtype=tensor.dtype)
        return ledger.unseen(tensor.shape, tensor.dtype)

    def _optimizer_step(self) -> None:
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=10.0)
        self.optimizer.step()  # the scaler would first read from the device whether all is finite
        self.scaler.update()
        self.optimizer.zero_grad()
        self.average.update(self.model)


def _optimizer(model: DetectionModel, name: str, *, cuda: bool) -> torch.optim.Optimizer:
    """Upstream's own. PyTorch and upstream choose the kernels by the device, which is none here."""
    optimizer: torch.optim.Optimizer = BaseTrainer.build_optimizer(
        SimpleNamespace(), model=model, name=name, lr=0.01, momentum=0.9, decay=0.0005
    )
    if cuda:
        fused = type(optimizer) in {torch.optim.Adam, torch.optim.AdamW}
        for group in optimizer.param_groups:
            group.update({key: value for key, value in (("fused", fused), ("foreach", not fused)) if key in group})
    return optimizer


def _batch(images: int, shape: tuple[int, int]) -> Batch:
    """A batch as the loader hands it over: real tensors, whose image has no values that anybody reads."""
    boxes = images * BOXES_PER_IMAGE
    with _disable_current_modes():  # on the host, which is not traced
        return {
            "img": torch.empty(images, 3, *shape, dtype=torch.uint8),
            "batch_idx": torch.arange(images, dtype=torch.float32).repeat_interleave(BOXES_PER_IMAGE),
            "cls": torch.zeros(boxes, 1),
            "bboxes": torch.zeros(boxes, 4),
        }


@contextmanager
def _padded_boxes() -> Iterator[None]:
    """While the block lasts every image has `BOXES_PER_IMAGE` boxes; upstream counts them on the device."""
    upstream: Callable[..., Tensor] = v8DetectionLoss.preprocess

    def preprocess(_loss: Any, targets: Tensor, batch_size: int, scale_tensor: Tensor) -> Tensor:
        out = torch.zeros(batch_size, BOXES_PER_IMAGE, targets.shape[1] - 1)
        out[..., 1:5] = xywh2xyxy(out[..., 1:5].mul_(scale_tensor))
        return out

    v8DetectionLoss.preprocess = preprocess
    try:
        yield
    finally:
        v8DetectionLoss.preprocess = upstream
