"""RAM and /dev/shm as they are counted: which components there are, and what each depends on."""

from dataclasses import replace

import pytest
from memory_cases import FACTS, FRAMES, PLAIN, loader, named, total, work

from sainet.engine.order import group_bounds
from sainet.memory.budget import Row
from sainet.memory.host import ram_rows, shm_rows
from sainet.memory.loader_rows import validated_images
from sainet.memory.process_rows import (
    LABEL_BYTES,
    LABEL_COPY_BYTES,
    LIBRARY_BYTES,
    SUPERVISOR_BYTES,
    TRAINING_BYTES,
)
from sainet.memory.workload import Images

IMAGE = 3 * 832 * 1440
BATCH = 128 * IMAGE
FITTED = 3 * 810 * 1440
"""A full-HD frame resized to fit into 832x1440."""
SMALL = work(gpus=0, images=FRAMES, batch=8, loader=loader(2), val_loader=loader(1, persistent_workers=False))


def components(rows: list[Row]) -> set[str]:
    return {row.component for row in rows}


# --- the queues in /dev/shm -------------------------------------------------------------------------------------------


def test_the_queue_holds_what_is_loaded_ahead_and_what_is_in_use() -> None:
    row = named(shm_rows(work(val_loader=loader(0))), "training queue")
    assert row.bytes == (8 * 2 + 1) * BATCH
    assert row.formula == "(8 workers x 2 ahead + 1) x 128 images x 3 x 832 x 1440 B"
    assert row.where == "shm"


def test_while_validating_the_training_queue_is_full_but_none_of_it_in_use() -> None:
    rows = shm_rows(PLAIN)
    assert named(rows, "training queue").bytes == 8 * 2 * BATCH
    assert named(rows, "validation queue").bytes == (4 * 2 + 1) * 2 * BATCH


def test_workers_that_end_with_every_epoch_leave_no_queue_to_validation() -> None:
    rows = shm_rows(work(loader=loader(8, persistent_workers=False), val_loader=loader(8)))
    assert named(rows, "training queue").bytes == 0
    assert named(rows, "validation queue").bytes == (8 * 2 + 1) * 2 * BATCH


def test_without_workers_nothing_passes_through_shm() -> None:
    assert total(shm_rows(work(loader=loader(0), val_loader=loader(0)))) == 0


def test_a_queue_never_holds_more_than_there_are_images() -> None:
    few = replace(FRAMES, train=150, val=50)
    rows = shm_rows(work(images=few, epochs=1, val_loader=loader(0)))
    assert named(rows, "training queue").bytes == 150 * IMAGE
    rows = shm_rows(work(images=few, loader=loader(0)))
    assert named(rows, "validation queue").bytes == 50 * IMAGE


def test_each_gpu_has_its_own_loaders_for_its_share_of_the_batch() -> None:
    one, two = shm_rows(work(batch=64)), shm_rows(work(batch=128, gpus=2))
    assert total(two) == 2 * total(one)
    assert named(two, "training queue").formula.startswith("2 GPUs x (")


def test_stock_validation_workers_live_on_and_fill_their_queue_during_training() -> None:
    rows = shm_rows(work(stock=True, loader=loader(8, 4)))
    square, val = 3 * 1440 * 1440, 3 * 832 * 1472
    in_training, in_validation = ((8 * 4 + used) * 128 * square + (16 * 2 + 1 - used) * 256 * val for used in (1, 0))
    assert total(rows) == max(in_training, in_validation)


def test_the_queue_of_stock_validation_is_full_while_it_trains() -> None:
    """Flat images: a batch of validation is smaller than one of training, so training is what takes most."""
    flat = replace(FRAMES, sizes=((480, 1920),))
    row = named(shm_rows(work(stock=True, images=flat)), "validation queue")
    assert row.bytes == 16 * 2 * 256 * 3 * 384 * 1472


def test_a_square_validates_in_rectangles_with_half_a_stride_more() -> None:
    """1440 px and 16:9 images: Ultralytics validates at 832x1472."""
    rows = shm_rows(work(shape=(1440, 1440)))
    assert named(rows, "validation queue").bytes == (4 * 2 + 1) * 256 * 3 * 832 * 1472


def test_one_square_image_makes_a_batch_of_validation_square() -> None:
    """Images are sorted by aspect: a batch with flat and upright ones is padded both ways."""
    mixed = Images(train=1000, val=64, sizes=((1080, 1920), (1920, 1080)), source="the test")
    load = work(shape=(640, 640), batch=32, images=mixed, loader=loader(0), val_loader=loader(1, 1))
    assert named(shm_rows(load), "validation queue").bytes == 64 * 3 * 672 * 672
    by_two = replace(load, batch=16)
    assert named(shm_rows(by_two), "validation queue").bytes == 64 * 3 * 384 * 672


def test_validations_batches_stay_whole_in_the_loader_and_are_computed_in_pieces() -> None:
    """256 images in rectangles of 832x1472, which are more pixels than 128 of the training's; the last batch is 44."""
    whole = work(shape=(1440, 832), images=Images(1000, 300, ((1080, 1920),), "the test"))
    square = replace(whole, shape=(1440, 1440))
    assert [validated_images(replace(whole, micro_batch=pieces)) for pieces in (1, 3, 256)] == [256, 86, 1]
    assert [validated_images(replace(square, micro_batch=pieces)) for pieces in (1, 3)] == [152, 51]
    assert pytest.approx(152 * 1440**2, rel=0.01) == 256 * 832 * 1472
    assert shm_rows(replace(square, micro_batch=3)) == shm_rows(square)


def test_ultralytics_starts_no_more_workers_than_there_are_batches() -> None:
    few = replace(FRAMES, train=3 * 128, val=100)
    rows = shm_rows(work(stock=True, images=few))
    assert named(rows, "training queue").formula.startswith("(3 workers")
    assert named(rows, "validation queue").bytes == 0


def test_staged_images_lie_in_shm_and_count_as_ram() -> None:
    staged = work(staged=True)
    size = 9_000_000_000 + 40_240 * (4096 + 2048)
    assert named(shm_rows(staged), "staged data").bytes == size
    assert named(ram_rows(staged, FACTS, None), "staged data").bytes == size
    unknown = work(staged=True, images=replace(FRAMES, file_bytes=None))
    row = named(shm_rows(unknown), "staged data")
    assert (row.bytes, row.formula) == (0, "how large the files are is not known")


# --- RAM --------------------------------------------------------------------------------------------------------------


def test_ram_holds_the_queue_of_shm_once() -> None:
    ram = [row for row in ram_rows(SMALL, None, 0) if row.where == "shm"]
    assert total(ram) == total(shm_rows(SMALL))


def test_pinned_batches_are_rounded_up_to_powers_of_two_and_leave_shm() -> None:
    rows = ram_rows(work(loader=loader(8, pin_memory=True), val_loader=loader(0)), FACTS, None)
    row = named(rows, "training queue")
    assert BATCH < 2**29
    assert (row.bytes, row.where) == (17 * 2**29, "pinned")
    assert total([row for row in rows if row.where == "shm"]) == BATCH


def test_what_validation_pinned_stays_pinned_while_training() -> None:
    pinned = {"pin_memory": True}
    rows = ram_rows(work(loader=loader(16, 4, **pinned), val_loader=loader(1, 1, **pinned)), FACTS, None)
    assert named(rows, "batch being made").bytes  # the training's phase is the largest
    assert named(rows, "validation queue").where == "pinned"


def test_without_workers_the_training_process_pins_the_batch_that_it_makes() -> None:
    pinned = {"pin_memory": True}
    rows = ram_rows(work(loader=loader(0, **pinned), val_loader=loader(0, **pinned)), FACTS, None)
    assert [named(rows, f"{split} queue").bytes for split in ("training", "validation")] == [2**29, 2**30]
    assert not [row for row in rows if row.where == "shm"]


def test_a_cpu_pins_nothing() -> None:
    rows = ram_rows(work(gpus=0, loader=loader(8, pin_memory=True)), None, 0)
    assert not [row for row in rows if row.where == "pinned"]


@pytest.mark.parametrize(("stock", "kept"), [(False, 16), (True, 1000)])
def test_every_worker_keeps_decoded_images_for_its_mosaics(stock: bool, kept: int) -> None:
    rows = ram_rows(work(stock=stock), FACTS, None)
    assert named(rows, "images kept for mosaics").bytes == 8 * kept * FITTED


@pytest.mark.parametrize("batch", [1, 5, 8, 15, 16, 23, 24, 60, 100, 128])
def test_a_group_of_kept_images_is_as_large_as_the_engine_makes_it(batch: int) -> None:
    images = 50 * batch
    bounds = (group_bounds(place, batch, images) for place in range(images))
    largest = max(stop - start for start, stop in bounds)
    rows = ram_rows(work(batch=batch, images=replace(FRAMES, train=images)), FACTS, None)
    assert named(rows, "images kept for mosaics").bytes == 8 * largest * 3 * 810 * 1440


def test_the_buffer_of_stock_workers_is_eight_batches_of_small_ones() -> None:
    rows = ram_rows(work(stock=True, batch=16), FACTS, None)
    assert named(rows, "images kept for mosaics").bytes == 8 * 8 * 16 * 3 * 810 * 1440


def test_without_workers_one_batch_is_made_in_the_training_process() -> None:
    rows = ram_rows(work(loader=loader(0), val_loader=loader(0), gpus=0), None, 0)
    assert "training workers" not in components(rows)
    assert named(rows, "images kept for mosaics").bytes == 16 * 3 * 810 * 1440
    assert named(rows, "samples of a batch").bytes == BATCH


def test_a_ram_cache_is_one_copy_for_each_gpu_and_replaces_the_kept_images() -> None:
    images = replace(FRAMES, train=2_000, val=2_000)
    one, two = (ram_rows(work(cache="ram", gpus=gpus, images=images), FACTS, None) for gpus in (1, 2))
    assert named(one, "RAM cache").bytes == 4_000 * FITTED
    assert named(two, "RAM cache").bytes == 2 * 4_000 * FITTED
    assert "training workers" in components(one)
    assert "images kept for mosaics" not in components(one)


def test_building_a_ram_cache_holds_the_training_images_twice() -> None:
    rows = ram_rows(work(cache="ram", batch=8), FACTS, None)
    assert named(rows, "RAM cache").bytes + named(rows, "images being packed").bytes == 60_000 * FITTED


def test_once_a_ram_cache_is_packed_its_images_are_there_once() -> None:
    """Few images: what the queues take on top is more than what packing took."""
    rows = ram_rows(work(cache="ram", images=replace(FRAMES, train=2_000, val=1_000)), FACTS, None)
    assert "training queue" in components(rows)
    assert total([row for row in rows if "image" in row.component or "cache" in row.component]) == 3_000 * FITTED


def test_the_mean_of_fitted_images_counts_not_the_canvas() -> None:
    """A square image in a wide rectangle takes little of it."""
    squares = replace(FRAMES, sizes=((256, 256),))
    rows = ram_rows(work(images=squares), FACTS, None)
    assert named(rows, "images kept for mosaics").bytes == 8 * 16 * 3 * 832 * 832


def test_processes_and_labels_have_a_row_each() -> None:
    rows = ram_rows(work(gpus=2), FACTS, None)
    assert named(rows, "supervisor").bytes == SUPERVISOR_BYTES
    assert named(rows, "training process").bytes == 2 * TRAINING_BYTES
    assert (named(rows, "libraries").bytes, named(rows, "libraries").where) == (LIBRARY_BYTES, "page cache")
    assert named(rows, "labels").bytes == 2 * (40_240 * LABEL_BYTES + 8 * 30_000 * LABEL_COPY_BYTES)
    assert "an assumption" in named(rows, "CUDA on the host").formula


def test_the_step_counts_on_a_cpu_only() -> None:
    assert named(ram_rows(SMALL, FACTS, 5_000), "training step").bytes == 5_000
    assert "training step" not in components(ram_rows(PLAIN, FACTS, None))


def test_a_gpu_training_writes_its_weights_from_ram() -> None:
    """In FP16, once as the file's bytes and once more as their copy."""
    assert named(ram_rows(PLAIN, FACTS, None), "weights being written").bytes == 2 * 44_000_000


def test_what_is_not_known_has_no_bytes_and_says_so() -> None:
    unknown = work(images=None, cache="ram")
    rows = ram_rows(unknown, None, None)
    for component in ("labels", "RAM cache", "weights being written"):
        assert named(rows, component).bytes == 0
        assert "not known" in named(rows, component).formula
    assert named(ram_rows(SMALL, None, None), "training step").formula == "not traced"


@pytest.mark.parametrize("stock", [False, True])
def test_more_of_anything_never_takes_less(stock: bool) -> None:
    base = work(stock=stock, loader=loader(2), batch=16)
    more = [replace(base, batch=32), base.with_loader(workers=4), base.with_loader(prefetch_factor=3)]
    for larger in more:
        assert total(ram_rows(larger, FACTS, None)) > total(ram_rows(base, FACTS, None))
        assert total(shm_rows(larger)) > total(shm_rows(base))


def test_every_formula_has_its_numbers() -> None:
    for load in (PLAIN, SMALL, work(stock=True), work(cache="ram", staged=True)):
        for row in [*ram_rows(load, FACTS, 10), *shm_rows(load)]:
            assert any(letter.isdigit() for letter in row.formula) or row.formula in SAID, row


SAID = {
    "as measured",
    "as measured at most, mapped once for all processes",
    "as measured, without its model",
    "an assumption: CUDA, cuDNN and cuBLAS on the host's side",
    "its workers end with each validation",
}
