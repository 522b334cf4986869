"""What training steps take of a CPU's memory: their tensors, and what the C library's malloc holds for them."""

import gc
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from ultralytics.utils.torch_utils import unwrap_model

from sainet.engine.giving_back import trim_malloc

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # Documentation/filesystems/proc.rst: "Clear peak RSS"


class StepMemory:
    """Weighs steps, from a loaded batch to what follows the optimizer's step.

    The kernel tells how far the process grew above what it held before. The tensors that it held then (the model, its
    average, the optimizer's state, waiting gradients, the batch) are counted and added: the sum stands beside the
    live bytes of a traced step.
    """

    def __init__(self, training: Any) -> None:
        self.training = training
        self._before_bytes: int | None = None

    def begin(self, batch: dict[str, Any], *, trim: bool) -> None:
        """Just before the batch is computed.

        `trim` gives back first what was freed, so that `grown_bytes` is what the tensors take. Without it, and over
        several steps, it is what malloc comes to hold for them, in pieces that it cannot give back.
        """
        batch["img"].max()  # a batch of a worker is resident only once it is read
        tensors = storage_bytes(chain(batch.values(), _kept(self.training)))
        gc.collect()
        if trim:
            trim_malloc()
        self._before_bytes = _read("VmRSS") - tensors if _reset_peak() else None

    def peak_bytes(self) -> int | None:
        """The peak since `begin`; None where the kernel does not let it be read."""
        return None if self._before_bytes is None else _read("VmHWM") - self._before_bytes


def storage_bytes(tensors: Iterable[Any]) -> int:
    """Bytes of all tensors among `tensors`, each storage counted once."""
    storages = (tensor.untyped_storage() for tensor in tensors if isinstance(tensor, torch.Tensor))
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _kept(training: Any) -> Iterator[Any]:
    """All tensors that outlive a step."""
    model, average = unwrap_model(training.model), training.ema.ema
    yield from chain(model.parameters(), model.buffers(), average.parameters(), average.buffers())
    yield from (parameter.grad for parameter in model.parameters())
    yield from chain.from_iterable(state.values() for state in training.optimizer.state.values())


def _reset_peak() -> bool:
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def _read(name: str) -> int:
    """A line of this process's status, in bytes."""
    lines = _STATUS.read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
