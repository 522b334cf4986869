"""The order of the samples: a pure function of the seed, the epoch and the batch, whoever loads them."""

from collections import Counter

import pytest

from sainet.engine.order import EpochOrder, Sample, group_bounds

IMAGES = [1, 7, 16, 33, 100]
BATCHES = [1, 3, 4, 12, 16, 24, 60, 128]


def epoch_of(order: EpochOrder, epoch: int = 0) -> list[Sample]:
    return [sample for number in range(order.batches) for sample in order.samples(epoch, number)]


@pytest.mark.parametrize("images", IMAGES)
@pytest.mark.parametrize("batch", BATCHES)
def test_an_epoch_has_every_image_once(images: int, batch: int) -> None:
    order = EpochOrder(images, batch, seed=3)
    assert sorted(sample.image for sample in epoch_of(order)) == list(range(images))
    sizes = [len(order.samples(0, number)) for number in range(order.batches)]
    assert sizes[:-1] == [batch] * (len(sizes) - 1)
    assert 1 <= sizes[-1] <= batch


def test_epochs_and_seeds_differ_and_repeat_themselves() -> None:
    orders = [[s.image for s in epoch_of(EpochOrder(50, 8, seed), epoch)] for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert [s.image for s in epoch_of(EpochOrder(50, 8, 1), 1)] == orders[-1]


@pytest.mark.parametrize("images", IMAGES)
@pytest.mark.parametrize("batch", BATCHES)
def test_groups_part_the_epoch_and_hold_the_image_itself(images: int, batch: int) -> None:
    samples = epoch_of(EpochOrder(images, batch, seed=1))
    assert all(sample.image in sample.group for sample in samples)
    assert all(len(set(sample.group)) == len(sample.group) for sample in samples)
    sizes = [len(sample.group) for sample in samples]
    assert max(sizes) <= 31
    assert min(sizes) >= min(8, images)


@pytest.mark.parametrize("batch", [16, 24, 60, 96, 128])
def test_a_group_never_reaches_into_another_batch(batch: int) -> None:
    """One worker makes a whole batch, and so decodes each image about once; only an epoch's tail may borrow."""
    for place in range(10 * batch):
        start, stop = group_bounds(place, batch, 10 * batch)
        assert start <= place < stop
        assert start // batch == (stop - 1) // batch
        assert 8 <= stop - start <= 31


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("images", [24, 25, 37])
def test_a_batch_is_the_same_samples_whatever_the_number_of_processes(images: int, world_size: int) -> None:
    alone = EpochOrder(images, 12, seed=5)
    for number in range(alone.batches):
        parts = [EpochOrder(images, 12, 5, rank, world_size).samples(2, number) for rank in range(world_size)]
        assert len({len(part) for part in parts}) == 1, "every process does the same number of steps"
        together = [sample for part in parts for sample in part]
        whole = alone.samples(2, number)
        assert together[: len(whole)] == whole
        assert set(together) == set(whole), "what is too much repeats the batch's own samples"


def test_partners_are_spread_over_the_group() -> None:
    counted = Counter(len(sample.group) for sample in epoch_of(EpochOrder(1000, 128, seed=0)))
    assert counted.most_common(1)[0][0] == 16
