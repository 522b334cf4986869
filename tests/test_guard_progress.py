"""Where a training stands, how fast it is, and when its silence means that it hangs."""

from typing import Any

from sainet.guard.progress import CpuUse, Progress
from sainet.protocol import BatchDone, CheckpointSaved, PhaseStarted, TrainingStarted

SAYS: dict[str, Any] = {"stage": 1, "attempt": 1}


def started(epoch: int = 0, batch: int = 0) -> TrainingStarted:
    numbers = {"epochs": 9, "batches": 10, "train_images": 40, "val_images": 4}
    return TrainingStarted(**SAYS, first_epoch=epoch, first_batch=batch, **numbers)


def batch(epoch: int, number: int, time_s: float) -> BatchDone:
    return BatchDone(
        **SAYS, time_s=time_s, epoch=epoch, epochs=9, batch=number, batches=10, losses={}, images_per_s=1.0
    )


def test_an_order_is_for_a_batch_that_nobody_has_begun() -> None:
    progress = Progress()
    assert progress.ahead(1.0) is None
    progress.take(started(2, 3), 0.0)
    assert progress.ahead(1.0) == (2, 5), "of the speed nothing is known yet"
    for number, time_s in ((3, 10.0), (5, 11.0), (7, 12.0)):
        progress.take(batch(2, number, time_s), time_s)
    assert progress.batch_s == 0.5
    assert progress.ahead(1.0) == (3, 1), "two more may be done by now, and the next is begun"


def test_the_pause_of_a_validation_is_not_a_slow_batch() -> None:
    progress = Progress()
    progress.take(started(), 0.0)
    for epoch, number, time_s in ((0, 8, 10.0), (0, 9, 11.0), (1, 0, 500.0), (1, 1, 501.0)):
        progress.take(batch(epoch, number, time_s), time_s)
    assert progress.batch_s == 1.0


def test_a_silence_is_long_by_the_batches_of_this_training_and_by_what_its_loader_waits_for() -> None:
    progress = Progress()
    assert progress.silent_s(1e9) == 0, "it has not begun: scanning labels takes as long as it takes"
    progress.take(started(), 0.0)
    for number, time_s in ((0, 0.0), (1, 20.0)):
        progress.take(batch(0, number, time_s), time_s)
    assert progress.silent_s(50.0) == 30.0
    assert progress.patience_s(10, 120, []) == 200
    assert progress.patience_s(1, 120, []) == 120
    assert progress.patience_s(1, 120, [300.0]) > 300


def test_what_the_training_says_of_its_checkpoints_and_its_allocator_is_kept() -> None:
    progress = Progress()
    saved = CheckpointSaved(**SAYS, epoch=0, batch=0, batches=10, reason="start", written_bytes=77, seconds=0.1)
    figures = batch(0, 0, 1.0).model_copy(update={"vram_bytes": 5, "vram_allocated_bytes": 3})
    for event in (saved, started(), figures, PhaseStarted(**SAYS, phase="validating")):
        progress.take(event, 1.0)
    assert (progress.checkpoint_bytes, progress.reserved_bytes, progress.allocated_bytes) == (77, 5, 3)


def test_only_a_group_that_has_used_no_cpu_for_the_whole_window_does_nothing() -> None:
    cpu = CpuUse(10.0)
    assert not cpu.is_flat
    for second in range(0, 9, 2):
        cpu.add(float(second), 100.0)
    assert not cpu.is_flat, "not for long enough"
    cpu.add(10.0, 100.05)
    assert cpu.is_flat
    cpu.add(12.0, 101.5)
    assert not cpu.is_flat
    for second in range(14, 24, 2):
        cpu.add(float(second), 101.5)
    assert cpu.is_flat
    cpu.add(24.0, 40.0)
    assert not cpu.is_flat, "one of its processes has ended: the sum starts anew"
