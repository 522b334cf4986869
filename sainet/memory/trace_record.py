"""What the tracer is asked, and what it answers: the two sides of its process share these models and nothing else."""

from itertools import accumulate
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ModelFacts", "Moment", "Trace", "TraceRequest", "live_bytes"]

Moment = tuple[int, int]
"""What is alive at a moment, bytes: for good, and for each image that is computed at once."""


class TraceRequest(BaseModel):
    """Everything that a trace depends on, but for versions and files."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    model: str
    """`yolov8s.yaml` as Ultralytics ships it, or the absolute path of a .yaml or a .pt."""
    classes: int = Field(ge=1)
    shape: tuple[int, int]
    """Height and width of the images, pixels."""
    device: Literal["cuda", "cpu"]
    precision: Literal["fp32", "fp16", "bf16"]
    """Of autocast, on a GPU; the weights are fp32. A CPU trains in fp32."""
    channels_last: bool
    optimizer: str
    """As `optim.optimizer`, but never `auto`."""
    accumulates: bool
    """Gradients wait over several batches for a step of the optimizer."""
    pieces: Literal[1, 2]
    """2 stands for any number of micro-batches above 1: their peak is the same."""
    frozen: int | list[int] | None
    """The first so many layers, or these, are not trained."""

    @property
    def gradients(self) -> int:
        """How many of the whole model there are at once: a batch's, what waits of others, and a piece's own."""
        return 1 + int(self.accumulates) + int(self.pieces > 1)


class ModelFacts(BaseModel):
    """What lies on the device for good, in bytes, and what the model is."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    parameters: int
    """How many numbers."""
    trainable: int
    """How many of them are trained."""
    weight_bytes: int
    """Parameters and buffers, as they are trained."""
    optimizer_bytes: int
    """Its state, such as momenta."""
    average_bytes: int
    """The moving average of the weights."""
    gradient_bytes: int
    adds_up: bool
    """The loss adds up over images, so that a batch can be computed in pieces."""


class Trace(BaseModel):
    """The storages of a few training steps, in the order in which they come and go.

    Storage k takes `fixed_bytes[k] + images * image_bytes[k]`, exactly; `images` are those computed at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    facts: ModelFacts
    order: list[int]
    """k + 1: storage k is allocated; -(k + 1): it is freed."""
    fixed_bytes: list[int]
    image_bytes: list[int]
    validating: list[Moment]
    """Of a validation, between two steps: its worst moments, as `moments` has the training's."""

    def sizes_bytes(self, images: int) -> list[int]:
        """Of every storage, when `images` are computed at once."""
        return [fixed + images * each for fixed, each in zip(self.fixed_bytes, self.image_bytes, strict=True)]

    def moments(self) -> list[Moment]:
        """What is alive after each event; those only that are the most for some number of images."""
        fixed = accumulate(self._signed(self.fixed_bytes))
        each = accumulate(self._signed(self.image_bytes))
        kept: list[Moment] = []
        for moment in sorted(set(zip(fixed, each, strict=True)), reverse=True):
            if not kept or moment[1] > kept[-1][1]:
                kept.append(moment)
        return kept

    def _signed(self, sizes: list[int]) -> list[int]:
        return [sizes[event - 1] if event > 0 else -sizes[-event - 1] for event in self.order]


def live_bytes(moments: list[Moment], images: int) -> int:
    """The most that is alive at one moment, without any allocator's rounding. It never falls with `images`."""
    return max(fixed + images * each for fixed, each in moments)
