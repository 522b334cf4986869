"""The ledger of a traced computation: every storage that is allocated on the device and freed again, in order."""

import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from sainet.memory.vram.assumptions import candidates_per_image, positives_per_image

aten = torch.ops.aten

_INDEXED = frozenset(
    {
        aten.index.Tensor,
        aten.index_put_.default,
        aten.index_put.default,
        aten._index_put_impl_.default,
        aten._unsafe_index_put.default,
    }
)
_MASKS = frozenset({torch.bool, torch.uint8})


class Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]  # its __init_subclass__ has no types
    """Lies over a `FakeTensorMode` and writes down what its tensors would take.

    Fake tensors stand for the device. What is computed from real tensors alone is the host's: it is computed for real
    and not written down. Sizes that depend on the data are assumed (`assumptions`).

    `convolution_scratch`: cuDNN's fast kernels want NHWC, so that other layouts are copied there and back; each
    convolution takes that much for a moment. Not with channels_last, and not on a CPU.
    """

    def __init__(self, *, convolution_scratch: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.events: list[int] = []
        """+k: storage k (counted from 1) is allocated; -k: it is freed."""
        self.sizes: list[int] = []
        """Bytes of storage k, at k - 1."""
        self.operators: list[str] = []
        """What allocated storage k, at k - 1."""
        self.convolution_scratch = convolution_scratch
        self._silent = False
        self._alive: dict[int, weakref.ref[Any]] = {}

    # --- what is written down

    def add(self, tensors: Iterable[Tensor], operator: str = "static") -> None:
        """Write down storages that are there already."""
        for tensor in tensors:
            self._see(tensor, operator)

    def unseen(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor on the device that is not written down, since it is counted elsewhere."""
        self._silent = True
        try:
            tensor = torch.empty(*shape, dtype=dtype)
        finally:
            self._silent = False
        key = tensor.untyped_storage()._cdata
        self._alive[key] = weakref.ref(tensor.untyped_storage(), lambda _: self._alive.pop(key, None))
        return tensor

    def _see(self, tensor: Any, operator: str) -> None:
        if self._silent or not isinstance(tensor, FakeTensor):
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive or storage.nbytes() == 0:
            return
        number = self._allocate(storage.nbytes(), operator)

        def gone(_: Any) -> None:
            self._alive.pop(key, None)
            self.events.append(-number)

        self._alive[key] = weakref.ref(storage, gone)

    def _allocate(self, size_bytes: int, operator: str) -> int:
        self.sizes.append(size_bytes)
        self.operators.append(operator)
        self.events.append(len(self.sizes))
        return len(self.sizes)

    def _passing(self, size_bytes: int, operator: str) -> None:
        """Taken and given back within one operator."""
        self.events.append(-self._allocate(size_bytes, operator))

    # --- what is computed

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not aten.lift_fresh.default and _of_the_host(args, kwargs):
            with _disable_current_modes():
                return func(*args, **kwargs)
        if func is aten._local_scalar_dense.default:
            return _assumed_value(args[0])
        name = str(func)
        if func is aten.nonzero.default:
            out = torch.empty(_assumed_count(args[0]), args[0].dim(), dtype=torch.int64)
            self._see(out, name)
            return out
        if func in _INDEXED:
            args = (args[0], self._without_masks(args[1]), *args[2:])
        out = func(*args, **kwargs)
        if self.convolution_scratch:
            self._see_convolution(func, args, out)
        for tensor in tree_leaves(out):
            self._see(tensor, name)
        return out

    def _without_masks(self, indices: Any) -> list[Any]:
        """Boolean masks become as many integer indices as they are assumed to hold."""
        found: list[Any] = []
        for index in indices:
            if index is not None and index.dtype in _MASKS:
                found += [torch.empty(_assumed_count(index), dtype=torch.int64) for _ in range(index.dim())]
                self.add(found[-index.dim() :], "aten.nonzero.default")
            else:
                found.append(index)
        return found

    def _see_convolution(self, func: Any, args: Any, out: Any) -> None:
        """Each result, and the scratch that it is computed with."""
        if func is aten.convolution.default and args[0].dim() == 4:
            image, weight = args[:2]
            self._see(out, str(func))
            self._passing(_bytes(image) + _bytes(weight) + _bytes(out), "cudnn")
        elif func is aten.convolution_backward.default and args[1].dim() == 4:
            gradient, image, weight = args[:3]
            for_image, for_weight, _ = out
            if for_image is not None:
                self._see(for_image, str(func))
                self._passing(_bytes(gradient) + _bytes(weight) + _bytes(image), "cudnn")
            if for_weight is not None:
                self._see(for_weight, str(func))
                # Summed in fp32, whatever the precision.
                self._passing(_bytes(gradient) + _bytes(image) + 4 * weight.numel(), "cudnn")


def _of_the_host(args: Any, kwargs: Any) -> bool:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    return bool(tensors) and not any(isinstance(tensor, FakeTensor) for tensor in tensors)


def _assumed_value(tensor: Tensor) -> bool | int | float:
    """What the host reads from the device: that there is something; a number that optimizers can divide by."""
    if tensor.dtype == torch.bool:
        return True
    return 0.5 if tensor.dtype.is_floating_point else 1


def _assumed_count(mask: Tensor) -> int:
    """True elements of upstream's masks: (images, boxes, anchors) of candidates, (images, anchors) of positives."""
    per_image = candidates_per_image(mask.shape[-1]) if mask.dim() == 3 else positives_per_image()
    return min(mask.shape[0] * per_image, mask.numel())


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
