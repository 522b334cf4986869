"""The nearest settings that fit, on a model whose need is easy to add up by hand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from fakes import GIB
from memory_cases import FACTS, loader, work

from sainet.memory.budget import TIGHT, Limit, Resource, judge
from sainet.memory.caching_allocator import AllocatorSettings
from sainet.memory.device import PLAN_FACTOR, device_need
from sainet.memory.forecast import Forecaster
from sainet.memory.nearest import changes, nearest
from sainet.memory.trace import Peak, Predictor
from sainet.memory.workload import Workload


class OneGibAnImage:
    """Stands in for a traced model: a GiB for each image that is computed at once, and nothing else."""

    def __init__(self, *, adds_up: bool = True, gib_validated: float = 0) -> None:
        self.gib_validated = gib_validated
        self.facts = FACTS.model_copy(update={"adds_up": adds_up})

    def peak(self, images: int, _allocator: object = None) -> Peak:
        return Peak(images * GIB, images * GIB)

    def validation_bytes(self, images: int) -> int:
        return round(images * self.gib_validated * GIB)

    def largest(self, fits: Callable[[int, Peak], bool], *, most: int, allocator: object = None) -> int:  # noqa: ARG002
        return max((n for n in range(1, most + 1) if fits(n, self.peak(n))), default=0)


def forecaster(**options: Any) -> Forecaster:
    return Forecaster(cast(Predictor, OneGibAnImage(**options)), AllocatorSettings())


WORKLOAD = work(batch=64, loader=loader(8, 4))


def limits(**gib: float) -> dict[Resource, Limit]:
    """Plenty of everything but what is named."""
    sizes: dict[Resource, float] = {"ram": 10_000, "shm": 10_000, "disk": 10_000, "vram": 10_000, **gib}  # type: ignore[typeddict-item]
    return {name: Limit(round(size * GIB), "ordered") for name, size in sizes.items()}


def found(workload: Workload, model: Forecaster, **gib: float) -> list[str] | None:
    after = nearest(workload, model, limits(**gib))
    return None if after is None else changes(workload, after)


def test_what_fits_is_left_as_it_is() -> None:
    assert found(WORKLOAD, forecaster()) == []


def test_a_ram_cache_goes_to_the_disk_and_where_that_is_too_small_goes_away() -> None:
    cached = replace(WORKLOAD, cache="ram")
    assert found(cached, forecaster(), ram=60) == ["--cache disk"]
    assert found(cached, forecaster(), ram=60, disk=100) == ["--cache false"]


def test_a_disk_cache_goes_away() -> None:
    assert found(replace(WORKLOAD, cache="disk"), forecaster(), disk=100) == ["--cache false"]


def test_too_little_shm_takes_prefetch_first_and_workers_when_that_is_not_enough() -> None:
    model = forecaster()
    needed = {
        ahead: model(WORKLOAD.with_loader(prefetch_factor=ahead)).budget("shm").need_bytes / GIB for ahead in (1, 2, 3)
    }
    assert found(WORKLOAD, model, shm=needed[2]) == ["--set loader.prefetch_factor=2"]
    fewer = found(WORKLOAD, model, shm=0.9 * needed[1])
    assert fewer is not None
    assert fewer[0] == "--set loader.prefetch_factor=1"
    assert fewer[1].startswith("--workers ")


def test_dockers_64_mb_leave_no_worker() -> None:
    settings = found(WORKLOAD, forecaster(), shm=64 / 1024)
    assert settings is not None
    assert "--workers 0" in settings


def test_too_little_vram_takes_as_few_micro_batches_as_fit_because_they_keep_the_gradient() -> None:
    model = forecaster()
    third = model(replace(WORKLOAD, micro_batch=3)).budget("vram").need_bytes / GIB
    assert found(WORKLOAD, model, vram=third) == ["--set train.micro_batch=3"]


def test_validation_is_computed_in_as_many_pieces_as_training() -> None:
    model = forecaster(gib_validated=0.75)
    devices = [model(replace(WORKLOAD, micro_batch=pieces)).device for pieces in (1, 4, 5, 64)]
    need = [device for device in devices if device is not None]
    images = [128, 32, 26, 2]
    assert [device.estimate_bytes / GIB for device in need] == [0.75 * count for count in images]
    for device, count in zip(need, images, strict=True):
        assert f"a validation of at most {count} images of 832x1440 at once" in str(device)
    assert found(WORKLOAD, model, vram=need[1].plan_bytes / GIB) == ["--set train.micro_batch=4"]
    assert found(WORKLOAD, model, vram=need[3].plan_bytes / GIB) == ["--set train.micro_batch=64"]
    assert found(WORKLOAD, model, vram=0.99 * need[3].plan_bytes / GIB) is None


@pytest.mark.parametrize("pieces", [1, 3, 8])
def test_the_largest_batch_is_the_largest_that_can_be_trained_and_validated(pieces: int) -> None:
    model, workload = forecaster(gib_validated=0.75), replace(WORKLOAD, micro_batch=pieces)
    plan = {batch: model(replace(workload, batch=batch)).budget("vram").need_bytes for batch in range(pieces, 80)}
    for free in [plan[batch] + change for batch in (9, 20, 31, 40, 48, 70) for change in (-1, 0, 1)]:
        by_hand = max((batch for batch, need_bytes in plan.items() if need_bytes <= free), default=0)
        assert model.largest_batch(workload, free, most=79 // pieces) == min(by_hand, 79 // pieces * pieces)


def test_settings_that_keep_more_gradients_than_what_was_traced_are_counted_with_them() -> None:
    """A batch of less than two thirds of nbs waits for another, and pieces add to the gradient of the batch."""
    gradient = 5 * GIB
    model = OneGibAnImage()
    model.facts = FACTS.model_copy(update={"gradient_bytes": gradient})
    known = Forecaster(cast(Predictor, model), AllocatorSettings())
    need = {
        (batch, pieces): known(replace(WORKLOAD, batch=batch, micro_batch=pieces)).device
        for batch, pieces in [(64, 1), (43, 1), (42, 1), (64, 2), (42, 2)]
    }
    assert [device and device.estimate_bytes / GIB for device in need.values()] == [64, 43, 42 + 5, 32 + 5, 21 + 10]
    other = replace(known, gradients=3)(replace(WORKLOAD, batch=42, micro_batch=2)).device
    assert other is not None
    assert other.estimate_bytes == 21 * GIB
    plan = {batch: known(replace(WORKLOAD, batch=batch)).budget("vram").need_bytes for batch in range(1, 80)}
    for free in [plan[batch] + change for batch in (1, 20, 38, 42, 43, 47, 48, 70) for change in (-1, 0, 1)]:
        by_hand = max((batch for batch, need_bytes in plan.items() if need_bytes <= free), default=0)
        assert known.largest_batch(WORKLOAD, free, most=79) == by_hand


@pytest.mark.parametrize("case", ["stock engine", "a loss that does not add up", "asked for the batch"])
def test_else_the_largest_batch_that_fits(case: str) -> None:
    workload = replace(WORKLOAD, engine="stock") if case == "stock engine" else WORKLOAD
    model = forecaster(adds_up=case != "a loss that does not add up")
    room = limits(vram=model(replace(WORKLOAD, batch=20)).budget("vram").need_bytes / GIB)
    after = nearest(workload, model, room, batch_only=case == "asked for the batch")
    assert after is not None
    assert changes(workload, after) == ["--batch 20"]


def test_several_things_are_mended_together_and_the_result_fits() -> None:
    model = forecaster()
    room = limits(ram=40, shm=6, vram=30)
    wanted = replace(WORKLOAD, cache="ram")
    after = nearest(wanted, model, room)
    assert after is not None
    assert model(after).too_large(room) == []
    assert len(changes(wanted, after)) >= 3


def test_nothing_is_said_to_fit_where_nothing_does() -> None:
    assert found(WORKLOAD, forecaster(), ram=0.01) is None
    assert found(WORKLOAD, forecaster(), vram=0.1) is None


def test_what_others_hold_is_not_free() -> None:
    busy = limits(vram=100) | {"vram": Limit(100 * GIB, "busy", in_use_bytes=60 * GIB)}
    after = nearest(WORKLOAD, forecaster(), busy)
    assert after is not None
    assert after.piece_images <= 36


def test_the_verdict_turns_at_its_limits() -> None:
    limit = Limit(1000, "ordered")
    assert judge(round(1000 * TIGHT), limit) == "fits"
    assert judge(round(1000 * TIGHT) + 1, limit) == "tight"
    assert judge(1000, limit) == "tight"
    assert judge(1001, limit) == "does not fit"
    assert judge(1, Limit(None, "nobody")) == "unknown"
    assert judge(0, Limit(None, "nobody")) == "fits"
    assert judge(41, Limit(100, "busy", in_use_bytes=60)) == "does not fit"


def test_the_rows_of_the_gpu_add_up_to_the_plan() -> None:
    need = device_need(WORKLOAD, FACTS, OneGibAnImage().peak(64), 0)
    assert need.estimate_bytes == 64 * GIB
    assert need.plan_bytes == sum(row.bytes for row in need.rows)
    assert need.plan_bytes == round(64 * GIB * PLAN_FACTOR) + 512 * 1024**2
    calibrated = device_need(WORKLOAD, FACTS, OneGibAnImage().peak(64), 0, factor=0.9)
    assert calibrated.estimate_bytes == round(0.9 * 64 * GIB)


class LargeGradients(OneGibAnImage):
    """Ten GiB of gradients: once more where they wait for another batch, and for another piece."""

    def __init__(self) -> None:
        super().__init__()
        self.facts = FACTS.model_copy(update={"gradient_bytes": 10 * GIB})


WAITING = Forecaster(cast(Predictor, LargeGradients()), AllocatorSettings())


@pytest.mark.parametrize("vram", [15, 30, 40, 45, 50, 52, 55, 60, 65])
def test_a_step_whose_gradients_wait_is_counted_as_one_wherever_settings_are_searched(vram: float) -> None:
    free = limits(vram=vram)["vram"]
    largest = WAITING.largest_batch(WORKLOAD, free.free_bytes or 0)
    assert judge(WAITING(replace(WORKLOAD, batch=largest)).budget("vram").need_bytes, free) != "does not fit"
    assert judge(WAITING(replace(WORKLOAD, batch=largest + 1)).budget("vram").need_bytes, free) == "does not fit"
    pieces = nearest(WORKLOAD, WAITING, limits(vram=vram))
    assert pieces is not None
    assert not WAITING(pieces).too_large(limits(vram=vram))


def test_batches_below_two_thirds_of_the_nominal_one_accumulate() -> None:
    assert [replace(WORKLOAD, batch=batch).gradients for batch in (42, 43, 128)] == [2, 1, 1]
