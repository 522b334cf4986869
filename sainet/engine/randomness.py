"""Random streams that depend on what is drawn for, never on who draws or on what was drawn before."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch


class Purpose(IntEnum):
    """What a stream is for: part of its key, so that no two streams are the same by chance."""

    ORDER = 0
    SAMPLE = 1
    BATCH = 2
    VALIDATION = 3


def stream(seed: int, purpose: Purpose, *key: int) -> np.random.Generator:
    """A generator for one purpose, e.g. `stream(seed, Purpose.ORDER, epoch)`."""
    return np.random.default_rng([seed, purpose, *key])


@contextmanager
def seeded(seed: int, purpose: Purpose, *key: int) -> Iterator[None]:
    """Python's, NumPy's and PyTorch's CPU generators, which augmentation draws from, seeded from the key.

    Afterwards they are as they were. CUDA's generators are left alone.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = np.random.SeedSequence([seed, purpose, *key]).generate_state(10)
    # Words of its own for each: Python and NumPy make the same numbers from the same words, and an image's hue
    # (NumPy) would then tell whether it became a mosaic (Python).
    random.seed(int.from_bytes(words[:4].tobytes(), "little"))
    np.random.seed(words[4:8])
    torch.default_generator.manual_seed(int(words[8]) << 32 | int(words[9]))
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
