"""The random streams that samples are made from: reproducible, and independent of each other."""

import random

import numpy as np
import torch

from sainet.engine.randomness import Purpose, seeded

Draws = tuple[list[float], list[float], list[float]]


def drawn(epoch: int, image: int, count: int = 8) -> Draws:
    """What Python's, NumPy's and PyTorch's generators give for one sample."""
    with seeded(0, Purpose.SAMPLE, epoch, image):
        return (
            [random.random() for _ in range(count)],
            np.random.random(count).tolist(),
            torch.rand(count, dtype=torch.float64).tolist(),
        )


def test_a_sample_draws_the_same_again_and_another_sample_draws_otherwise() -> None:
    assert drawn(1, 2) == drawn(1, 2)
    others = [drawn(epoch, image) for epoch in range(3) for image in range(3)]
    assert len({number for draws in others for numbers in draws for number in numbers}) == 9 * 3 * 8


def test_the_three_generators_of_a_sample_are_independent() -> None:
    """Ultralytics decides on the mosaic with Python's first number and on the hue with NumPy's."""
    firsts = np.array([[numbers[0] for numbers in drawn(epoch, 0, 1)] for epoch in range(2000)])
    correlations = np.corrcoef(firsts.T)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 0.1  # 4.5 standard deviations


def test_the_generators_are_left_as_they_were() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = random.random(), np.random.random(), torch.rand(1).item()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    drawn(0, 0)
    assert (random.random(), np.random.random(), torch.rand(1).item()) == expected
