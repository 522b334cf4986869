"""How much memory a training step takes on its device, for any number of images: traced once, remembered for good.

The tracer runs in a process of its own (`python -m sainet.memory.vram`), which takes seconds and imports torch; this
module never does. What it found is kept in a folder and replayed here for each number of images.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from sainet.errors import SainetError
from sainet.memory.caching_allocator import AllocatorSettings, CachingAllocator
from sainet.memory.trace_record import ModelFacts, Trace, TraceRequest, live_bytes
from sainet.memory.trace_store import TraceStore, key_of

__all__ = ["ModelFacts", "Peak", "Predictor", "TraceError", "TraceRequest", "predictor"]

_TIMEOUT_S = 600.0
"""A trace takes seconds; the largest models on a busy machine some minutes."""

_DEFAULT = AllocatorSettings()


class TraceError(SainetError):
    """The model's training step could not be traced."""


class Peak(NamedTuple):
    """The most that a training step takes on its device, bytes.

    On a CPU, which has no caching allocator, both are what is alive at the worst moment.
    """

    reserved_bytes: int
    """What PyTorch will reserve (`torch.cuda.memory_reserved()`); the process's CUDA context comes on top."""
    allocated_bytes: int
    """What of it tensors take: weights, average, optimizer, gradients, and the rest are activations."""


def predictor(request: TraceRequest, store: Path, *, tell: Callable[[str], None]) -> "Predictor":
    """What is known about `request` in the folder `store`, which is traced now if nothing is.

    `tell` hears beforehand what takes seconds, and that a store cannot be written, which is no error.
    Raises `TraceError` with what went wrong.
    """
    known = TraceStore(store, key_of(request), lambda: _traced(request, tell), tell)
    return Predictor(known, on_cpu=request.device == "cpu")


class Predictor:
    """Peaks of one request. `images` are those that one process computes at once: a GPU's share of a batch, or a
    piece of that where batches are computed in pieces.

    `store` says what is known; on a CPU there is no caching allocator.
    """

    def __init__(self, store: TraceStore, *, on_cpu: bool) -> None:
        self._store, self._on_cpu = store, on_cpu
        self.facts: ModelFacts = store.answers.facts

    def peak(self, images: int, allocator: AllocatorSettings = _DEFAULT) -> Peak:
        """The peak with `images` (1 or more); remembered, so that asking again costs next to nothing."""
        peak = self._peak(images, allocator)
        self._store.save()
        return peak

    def validation_bytes(self, images: int) -> int:
        """What is alive at the worst moment of a validation of `images` at once, the training's tensors included."""
        return live_bytes(self._store.answers.validating, images)

    def largest(self, fits: Callable[[int, Peak], bool], *, most: int, allocator: AllocatorSettings = _DEFAULT) -> int:
        """The largest number of images up to `most` that `fits` with its peak; 0 when not even one does.

        Exact, provided that `fits` accepts whatever is less than something that it accepts. What is reserved may
        wobble from one number to the next, so it cannot be bisected. What is alive never falls, and is never more
        than what is reserved: numbers whose live bytes alone do not fit are left out by bisection, and the others
        are tried from the top.
        """
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle, self._live(middle)) else (low, middle - 1)
        found = next((images for images in range(low, 0, -1) if fits(images, self._peak(images, allocator))), 0)
        self._store.save()
        return found

    def _peak(self, images: int, allocator: AllocatorSettings) -> Peak:
        if self._on_cpu:
            return self._live(images)
        allocated = self._replayed(images, allocator).allocated_bytes
        near = (self._replayed(count, allocator) for count in _neighbours(images))
        return Peak(int(allocated * max(peak.reserved_bytes / peak.allocated_bytes for peak in near)), allocated)

    def _replayed(self, images: int, allocator: AllocatorSettings) -> Peak:
        return Peak(*self._store.peak(images, allocator, lambda: replay(self._store.trace, images, allocator)))

    def _live(self, images: int) -> Peak:
        live = live_bytes(self._store.answers.moments, images)
        return Peak(live, live)


_NEIGHBOURS = 8


def _neighbours(images: int) -> range:
    """Numbers of images whose fragmentation is as likely as that of `images` itself: it and some below.

    By how much a replay's reserved bytes exceed the allocated ones is a matter of luck: a few per cent at one number
    and three times that at the next, when one large block just does not fit a hole. The real order of events differs in
    as little as that (boxes of a batch, an epoch's last batch), so the worst of the neighbours counts.
    """
    return range(max(images // 2 + 1, images - _NEIGHBOURS + 1), images + 1)


def replay(trace: Trace, images: int, allocator: AllocatorSettings = _DEFAULT) -> Peak:
    """The trace's allocations through the caching allocator."""
    device = CachingAllocator(allocator)
    sizes = trace.sizes_bytes(images)
    address: dict[int, int] = {}
    for event in trace.order:
        if event > 0:
            address[event] = device.allocate(sizes[event - 1])
        else:
            device.free(address.pop(-event))
    return Peak(device.peak_reserved_bytes, device.peak_allocated_bytes)


# --- the tracer's process ---------------------------------------------------------------------------------------------


def _traced(request: TraceRequest, tell: Callable[[str], None]) -> Trace:
    """Run the tracer. Raises `TraceError`."""
    where = f"{request.shape[0]}x{request.shape[1]} on {'a GPU' if request.device == 'cuda' else 'the CPU'}"
    tell(f"tracing {request.model} at {where}, once (some seconds)")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "sainet.memory.vram"],
            input=request.model_dump_json(),
            capture_output=True,
            text=True,
            env=_environment(os.environ),
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TraceError(f"tracing {request.model} took more than {_TIMEOUT_S:.0f} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"the tracer ended with exit code {done.returncode}"]
        raise TraceError(f"cannot trace {request.model}: {lines[-1]}")
    try:
        return Trace.model_validate_json(done.stdout)
    except ValidationError as error:
        raise TraceError(f"cannot trace {request.model}: the tracer's answer makes no sense") from error


def _environment(base: Mapping[str, str]) -> dict[str, str]:
    """No GPU, no allocator settings that this PyTorch may not know, nothing from the working directory."""
    kept = {
        name: value for name, value in base.items() if name not in {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"}
    }
    return {**kept, "CUDA_VISIBLE_DEVICES": "", "PYTHONSAFEPATH": "1"}
