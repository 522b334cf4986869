"""A validation that has fewer images at once than the loader's batches, and finds the same figures.

A batch is cut before anything is done with it, so all that it takes of the device shrinks with the pieces: the images,
what the model makes of them, the losses. Nothing that is measured of an image depends on others, but for the losses,
which are put together again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sainet.engine.micro_batch import Batch, split, target_score_sums

__all__ = ["Parts", "losses_of_whole_batches"]


class Parts:
    """The batches of `loader`, each handed over in `pieces` parts; one of fewer images in as many as it has.

    It has what Ultralytics' validator asks of a loader.
    """

    def __init__(self, loader: Any, pieces: int) -> None:
        self.loader, self.pieces = loader, pieces
        self.dataset, self.sampler, self.batch_size = loader.dataset, loader.sampler, loader.batch_size
        self.last = False
        """Whether the part that was handed over is the last one of its batch."""

    def __len__(self) -> int:
        images, batch = len(self.dataset), int(self.batch_size)
        return images // batch * min(self.pieces, batch) + min(self.pieces, images % batch)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.loader:
            parts = split(batch, self.pieces)
            for number, part in enumerate(parts, 1):
                self.last = number == len(parts)
                yield part


@contextmanager
def losses_of_whole_batches(model: nn.Module, parts: Parts) -> Iterator[None]:
    """While the block lasts `model.loss` gives the items of `parts` so that upstream's mean is that of whole batches.

    Upstream adds the items up and divides them by the number of parts. Here a batch's last part has those of the whole
    batch, and the others have 0. The model's loss has to add up over images, as `MicroBatches` makes sure.
    """
    upstream: Any = model.loss
    held: list[tuple[Tensor, dict[str, Tensor]]] = []
    weight = len(parts) / len(parts.loader)

    def loss(batch: Batch, preds: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        with target_score_sums(model) as seen:
            total, items = upstream(batch, preds)
        held.append((seen[0].to(total.dtype), items))
        if not parts.last:
            return total, {name: torch.zeros_like(item) for name, item in items.items()}
        joined = _joined(held)
        held.clear()
        return total, {name: item * weight for name, item in joined.items()}

    model.loss = loss  # type: ignore[assignment]  # of this very model, where upstream looks for it first
    try:
        yield
    finally:
        del model.loss


def _joined(pieces: list[tuple[Tensor, dict[str, Tensor]]]) -> dict[str, Tensor]:
    """The items of a batch, from the sums of target scores and the items of its pieces; see `micro_batch`."""
    total = torch.stack([score_sum for score_sum, _ in pieces]).sum().clamp(min=1)
    names = pieces[0][1]
    return {name: sum(items[name] * score_sum.clamp(min=1) for score_sum, items in pieces) / total for name in names}
