"""Mixed precision as a CUDA device has it, on fake tensors of a CPU.

PyTorch switches `autocast("cuda")` off where there is no driver, and the one for a CPU leaves most operators in half
precision that the one for CUDA computes in fp32 (ATen/autocast_mode.h of torch 2.14).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

_HALF = frozenset({torch.float16, torch.bfloat16})

_NAMES = """
    __pow__ __rpow__ acos asin binary_cross_entropy_with_logits cdist cosh cosine_similarity cross_entropy erfinv exp
    expm1 group_norm huber_loss interpolate kl_div l1_loss layer_norm log log10 log1p log2 logsumexp mse_loss nll_loss
    norm pow reciprocal rms_norm rsqrt sinh smooth_l1_loss softplus tan
"""
_FROM_FP32 = frozenset(_NAMES.split())
"""Their arguments are copied to fp32 first (AT_FORALL_FP32), by their names in Python."""

_SOFTMAX = {"softmax": torch._softmax, "log_softmax": torch._log_softmax}
_TO_FP32 = frozenset({"cumprod", "cumsum", "prod", "sum", *_SOFTMAX})
"""They read half precision and write fp32 (AT_FORALL_FP32_SET_OPT_DTYPE)."""


@contextmanager
def cuda_autocast(dtype: torch.dtype) -> Iterator[None]:
    """`torch.autocast("cuda", dtype)` for tensors that lie on a CPU."""
    with torch.autocast("cpu", dtype=dtype), _InFp32():
        yield


class _InFp32(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if not torch.is_autocast_enabled("cpu"):
            return func(*args, **kwargs)
        if name in _FROM_FP32:
            args, kwargs = tree_map(_to_fp32, (args, kwargs))
        elif name in _TO_FP32 and args and _is_half(args[0]) and kwargs.get("dtype") is None:
            if name in _SOFTMAX and args[0].dtype == torch.float16:  # a kernel of CUDA's own: no copy in fp32
                return _SOFTMAX[name](args[0], args[1] if len(args) > 1 else kwargs["dim"], True)
            kwargs = {**kwargs, "dtype": torch.float32}
        return func(*args, **kwargs)


def _is_half(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in _HALF


def _to_fp32(value: Any) -> Any:
    return value.float() if _is_half(value) else value
