"""A batch computed in pieces, with the gradient of the whole batch: the same training in less memory.

Ultralytics' detection loss of B images is B * (N1 + ... + NB) / max(T1 + ... + TB, 1): each image has a numerator N
and a sum of target scores T, and both add up over images. A piece's own loss is divided by the piece's own sum, so
the losses of pieces do not add up to the batch's. Here each piece backpropagates its numerators, and the gradient is
divided once, by the sum over all pieces.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.torch_utils import unwrap_model

from sainet.errors import RefusedError

Batch = dict[str, Any]
"""A detection batch as Ultralytics' loader collates it: `img` (B, 3, H, W), `cls` (N, 1), `bboxes` (N, 4) and
`batch_idx` (N,) of N boxes, and sequences of length B such as `im_file`."""

Forward = Callable[[Batch], tuple[Tensor, dict[str, Tensor]]]
"""Takes a batch as it was collated; gives the loss (box, cls, dfl), multiplied by B, and its items by name."""

_OF_BOXES = frozenset({"cls", "bboxes", "batch_idx"})


def split(batch: Batch, pieces: int) -> list[Batch]:
    """Cut `batch` into parts of whole images, in order; their sizes differ by one image at most.

    A batch of fewer images than `pieces` gives one part per image. The images are views of the batch's, so they stay
    pinned. Meant for a batch on the CPU: choosing the boxes on a GPU would wait for it. Raises `ValueError` for a key
    that has neither one entry per box nor one per image.
    """
    images = len(batch["img"])
    parts = min(pieces, images)
    bounds = [images * number // parts for number in range(parts + 1)]
    return [_part(batch, start, stop) for start, stop in pairwise(bounds)]


def _part(batch: Batch, start: int, stop: int) -> Batch:
    image_of_box = batch["batch_idx"]
    inside = (image_of_box >= start) & (image_of_box < stop)
    part: Batch = {}
    for key, value in batch.items():
        if key in _OF_BOXES:
            part[key] = value[inside]
        elif len(value) == len(batch["img"]):
            part[key] = value[start:stop]
        else:
            raise ValueError(f"cannot cut a batch's {key!r}: {len(value)} entries for {len(batch['img'])} images")
    part["batch_idx"] = part["batch_idx"] - start
    return part


class MicroBatches:
    """Computes batches of `model` in `pieces` parts, one after the other.

    What is not as in the full batch: BatchNorm normalises each piece by the piece's own statistics, and updates its
    running averages once per piece. The rest differs by rounding only.

    `model` may be wrapped, is on its device and has its hyper-parameters (`args`). Nothing is left on it but the
    criterion, which its first loss would create as well. One process: with more, the ranks would have to agree on
    `unit` and on the sum of all ranks' target scores.

    Raises `RefusedError` when the model's loss is not known to add up over images.
    """

    def __init__(self, model: nn.Module, pieces: int) -> None:
        if pieces < 1:
            raise ValueError(f"a batch has 1 piece or more, not {pieces}")
        self.pieces = pieces
        self._model = unwrap_model(model)
        _refuse_unless_additive(self._model)

    def backward(
        self,
        batch: Batch,
        *,
        forward: Forward,
        scale: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Add the gradient of the full batch's loss to every `.grad`; return that loss (a scalar) and its items.

        Stands in for `loss, items = forward(batch); scale(loss.sum()).backward()`. Both results are detached, and
        they have upstream's values: the loss is multiplied by B, the items are not.

        `forward(piece)` does all that comes before the backward pass: it preprocesses the piece (to the device, to
        floats, multi-scale: the same size for all pieces of a batch), enters autocast around the piece, and returns
        the model's loss and items. It gets a dictionary of its own, so that only one piece at a time lies on the
        device. `scale` is `GradScaler.scale`. An overflow stays inf or NaN in `.grad`, where the scaler finds it.

        Gradients held from earlier batches of an accumulation are set aside meanwhile, without a copy. When anything
        is raised they are back as they were.
        """
        # The piece with the most boxes goes first: it sets the unit, and a background says nothing of the others.
        parts = sorted(split(batch, self.pieces), key=lambda part: len(part["cls"]), reverse=True)
        parameters = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        images = len(batch["img"])
        with _set_aside(parameters) as held:
            done = [first := self._piece(parts[0], None, forward, scale)]
            done += [self._piece(part, first.unit, forward, scale) for part in parts[1:]]
            total = torch.stack([piece.score_sum for piece in done]).sum().clamp(min=1)
            _add_scaled(parameters, held, images * first.unit / total)
        items = {name: sum(piece.numerators[name] for piece in done) / total for name in first.numerators}
        return torch.stack(list(items.values())).sum() * images, items

    def _piece(self, part: Batch, unit: Tensor | None, forward: Forward, scale: Callable[[Tensor], Tensor]) -> "_Piece":
        """Forward and backward of one piece: its numerators, in units of `unit`, are added to the gradients."""
        with target_score_sums(self._model) as seen:
            loss, items = forward(dict(part))
        (score_sum,) = (one.to(loss.dtype) for one in seen)
        divided_by = score_sum.clamp(min=1)
        per_image = divided_by / len(part["img"])
        unit = _power_of_two(per_image) if unit is None else unit
        scale((loss * (per_image / unit)).sum()).backward()  # type: ignore[no-untyped-call]
        return _Piece(unit, score_sum, {name: item.detach() * divided_by for name, item in items.items()})


class _Piece(NamedTuple):
    """What is left of a piece after its backward pass; scalars on the device, never read by the host."""

    unit: Tensor
    score_sum: Tensor
    numerators: dict[str, Tensor]


def _criterion(model: nn.Module) -> Any:
    """The model's criterion, created as upstream's first loss would."""
    if getattr(model, "criterion", None) is None:
        model.criterion = model.init_criterion()  # type: ignore[operator]
    return model.criterion


def _refuse_unless_additive(model: nn.Module) -> None:
    criterion = _criterion(model)
    if type(criterion) is v8DetectionLoss and getattr(type(model), "loss", None) is BaseModel.loss:
        return
    if hasattr(criterion, "one2one"):
        reason = "its end-to-end head adds two losses, each divided by a normaliser of its own"
    else:
        reason = f"the loss of {type(model).__name__} ({type(criterion).__name__}) is not known to add up over images"
    raise RefusedError(
        f"this model's batch cannot be computed in pieces with the same gradient: {reason}",
        where="train.micro_batch",
        hint="--set train.micro_batch=1, or a YOLOv8 or YOLO11 detector",
    )


@contextmanager
def target_score_sums(model: nn.Module) -> Iterator[list[Tensor]]:
    """While the block lasts, every assignment of boxes adds the sum of its target scores."""
    sums: list[Tensor] = []

    def listen(_module: nn.Module, _arguments: Any, assigned: Sequence[Tensor]) -> None:
        sums.append(assigned[2].sum())

    hook = _criterion(model).assigner.register_forward_hook(listen)
    try:
        yield sums
    finally:
        hook.remove()


def _power_of_two(value: Tensor) -> Tensor:
    """The power of two in (value, 2 * value], computed on the device; NaN stays NaN.

    Numerators in units of it are about as large as upstream's quotients, so that their gradients fit fp16 as well as
    upstream's do. A power of two costs no rounding, so the result does not depend on it.
    """
    return value / torch.frexp(value).mantissa


@contextmanager
def _set_aside(parameters: Iterable[nn.Parameter]) -> Iterator[list[Tensor | None]]:
    """The gradients held so far, in the order of `parameters`, which have none until the block fills them."""
    held = [(parameter, parameter.grad) for parameter in parameters]
    for parameter, _ in held:
        parameter.grad = None
    try:
        yield [gradient for _, gradient in held]
    except BaseException:
        for parameter, gradient in held:
            parameter.grad = gradient
        raise


def _add_scaled(parameters: Sequence[nn.Parameter], held: Sequence[Tensor | None], factor: Tensor) -> None:
    """Multiply the new gradients by `factor` and add what was held; without a new gradient, what was held is back."""
    torch._foreach_mul_([new for parameter in parameters if (new := parameter.grad) is not None], factor)
    for parameter, before in zip(parameters, held, strict=True):
        if parameter.grad is None:
            parameter.grad = before
        elif before is not None:
            parameter.grad += before
