"""What a stage writes to the disk, as it is counted, and beside what a training really writes."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import PlanMaker, TinySetMaker
from memory_cases import FACTS, FRAMES, PLAIN, named, total, work

from sainet.memory.disk import disk_rows
from sainet.memory.trace import TraceRequest, predictor
from sainet.protocol import CheckpointSaved


def test_two_slots_and_a_third_while_it_is_written() -> None:
    row = named(disk_rows(PLAIN, FACTS), "exact checkpoints")
    assert row.bytes == 3 * 4 * 44_000_000
    assert row.formula.startswith("3 x 176000000 B")


def test_the_stock_engine_keeps_no_exact_state() -> None:
    assert not [row for row in disk_rows(work(stock=True), FACTS) if row.component == "exact checkpoints"]


def test_weights_files_are_half_precision_and_stand_there_twice_while_they_are_replaced() -> None:
    assert named(disk_rows(PLAIN, FACTS), "weights files").bytes == 4 * 44_000_000


def test_adams_averages_stay_in_full_precision() -> None:
    adam = FACTS.model_copy(update={"optimizer_bytes": 88_000_000})
    assert named(disk_rows(PLAIN, adam), "weights files").bytes == 4 * (22_000_000 + 88_000_000)


def test_every_nth_epoch_keeps_its_weights() -> None:
    """Epochs 0, 5, 10 ... 95 of 100."""
    assert named(disk_rows(work(save_period=5), FACTS), "weights kept on the way").bytes == 20 * 44_000_000
    assert named(disk_rows(work(save_period=7), FACTS), "weights kept on the way").bytes == 15 * 44_000_000
    assert not [row for row in disk_rows(PLAIN, FACTS) if row.component == "weights kept on the way"]


def test_a_disk_cache_holds_both_splits_at_full_size() -> None:
    row = named(disk_rows(work(cache="disk"), FACTS), "disk cache")
    assert row.bytes == 40_240 * (3 * 1080 * 1920 + 128)
    assert not [row for row in disk_rows(work(cache="ram"), FACTS) if row.component == "disk cache"]


def test_several_gpus_write_no_more_than_one() -> None:
    assert total(disk_rows(work(gpus=2), FACTS)) == total(disk_rows(work(gpus=1), FACTS))


def test_what_is_not_known_has_no_bytes_and_says_so() -> None:
    rows = disk_rows(work(images=None, cache="disk"), None)
    for component in ("exact checkpoints", "weights files", "disk cache"):
        assert named(rows, component).bytes == 0
        assert "not known" in named(rows, component).formula
    assert FRAMES.total  # the label caches need it, and are left out without
    assert not [row for row in rows if row.component == "label caches"]


@pytest.mark.train
def test_a_training_writes_what_was_counted(
    engine: SimpleNamespace, plan_for: PlanMaker, tiny_set: TinySetMaker, tmp_path: Path
) -> None:
    """Three batches, a step after the second: the gradients of the third wait at the end of the epoch."""
    plan = plan_for(tiny_set(images=12), nbs=8, warmup_epochs=0.0, optimizer="AdamW", save_period=1)
    written = max(event.written_bytes for event in engine.train(plan) if isinstance(event, CheckpointSaved))
    request = TraceRequest(
        model="yolov8n.yaml",
        classes=2,
        shape=(64, 64),
        device="cpu",
        precision="fp32",
        channels_last=False,
        optimizer="AdamW",
        accumulates=True,
        pieces=1,
        frozen=None,
    )
    facts = predictor(request, tmp_path / "traces", tell=print).facts
    rows = disk_rows(work(epochs=1, save_period=1), facts)
    assert written == pytest.approx(named(rows, "exact checkpoints").bytes / 3, rel=0.05)
    kept = (plan.weights_dir / "epoch0.pt").stat().st_size
    assert kept == pytest.approx(named(rows, "weights kept on the way").bytes, rel=0.05)
