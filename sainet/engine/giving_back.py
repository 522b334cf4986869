"""Giving memory back to the system that the libraries would keep for later."""

import ctypes
from contextlib import suppress
from typing import Any

import torch

__all__ = ["empty_pinned_cache", "trim_malloc"]


def trim_malloc() -> None:
    """What was freed and glibc keeps goes back to the system. Nothing happens with another C library."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def empty_pinned_cache(device: Any) -> None:
    """Page-locked memory of batches that are gone, which PyTorch keeps for the next ones.

    Nothing happens without CUDA, or with a PyTorch that has no way to do it (before 2.5).
    """
    if device.type == "cuda":
        with suppress(AttributeError):
            torch._C._host_emptyCache()
