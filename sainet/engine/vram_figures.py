"""What CUDA's caching allocator says of itself, without slowing the training down."""

import time
from typing import Any, NamedTuple

import torch

__all__ = ["VramFigures", "VramWatch"]

_LOOK_EVERY_S = 30.0
"""Looking for the largest free block walks over all of them."""


class VramFigures(NamedTuple):
    """Bytes of this process on its GPU, as `BatchDone` has them; None without one."""

    reserved_bytes: int | None = None
    allocated_bytes: int | None = None
    largest_free_bytes: int | None = None


class VramWatch:
    """Reads the figures of one device; the largest free block is up to half a minute old."""

    def __init__(self) -> None:
        self._looked_s: float | None = None
        self._largest_free_bytes = 0

    def read(self, device: Any) -> VramFigures:
        """The figures now; all None for a CPU, at no cost."""
        if device.type != "cuda":
            return VramFigures()
        now = time.monotonic()
        if self._looked_s is None or now - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s, self._largest_free_bytes = now, _largest_free(device)
        reserved, allocated = torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device)
        return VramFigures(reserved, allocated, self._largest_free_bytes)


def _largest_free(device: Any) -> int:
    """The largest block without a tensor in it, of all segments on `device`; 0 where there is none."""
    index = torch.cuda.current_device() if device.index is None else device.index
    segments = torch.cuda.memory_snapshot()  # type: ignore[no-untyped-call]
    blocks = (block for segment in segments if segment["device"] == index for block in segment["blocks"])
    return max((int(block["size"]) for block in blocks if block["state"] == "inactive"), default=0)
