"""A full GPU ends the training process at once, says so, and leaves the state that was there before.

There is no GPU here: `benchmarks/guard/inject` raises PyTorch's own error in a real training process.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import PROJECT, PlanMaker, TinySetMaker, WorkerRunner
from engine_cases import all_of, first, wait_for
from exact_cases import LEARNING, attempt_after

from sainet.protocol import BatchDone, CheckpointSaved, Plan, ProcessFailed, Resumed, TrainingDone, read_events

pytestmark = pytest.mark.train

INJECT = {"PYTHONPATH": str(PROJECT / "benchmarks" / "guard" / "inject"), "PYTHONSAFEPATH": "1"}
SHORT: dict[str, Any] = {**LEARNING, "epochs": 2}


def test_a_forward_pass_that_does_not_fit_ends_the_process_and_smaller_pieces_cure_it(
    tiny_set: TinySetMaker, plan_for: PlanMaker, run_worker: WorkerRunner
) -> None:
    data = tiny_set(images=12)
    plan = plan_for(data, **SHORT)
    full = {**INJECT, "INJECT_OOM": "forward:2:4"}  # from batch 4 of all, which is the second of epoch 1
    assert_out_of_memory(plan, run_worker(plan, env=full), saved=[("start", 0, 0), ("epoch", 1, 0)])

    cured = run_worker(attempt_after(plan, data, micro_batch=2, **SHORT), env=full)
    assert cured.exit_code == 0, cured.log
    (resumed,) = all_of(Resumed, cured.events, attempt=2)
    assert (resumed.epoch, resumed.batch, resumed.exact) == (1, 0, True)
    assert all_of(TrainingDone, cured.events, attempt=2)


@pytest.mark.parametrize(("where", "images"), [("backward", 3), ("validation", 4)])
def test_a_backward_pass_or_a_validation_that_does_not_fit_ends_the_process_too(
    tiny_set: TinySetMaker, plan_for: PlanMaker, run_worker: WorkerRunner, where: str, images: int
) -> None:
    plan = plan_for(tiny_set(images=8, val_images=6), **SHORT)
    result = run_worker(plan, env={**INJECT, "INJECT_OOM": f"{where}:{images}"})
    assert_out_of_memory(plan, result, saved=[("start", 0, 0)])
    assert ("in preprocess" in result.log) == (where == "validation")
    assert (".backward()" in result.log) == (where == "backward")


def assert_out_of_memory(plan: Plan, result: Any, *, saved: list[tuple[str, int, int]]) -> None:
    """As an ordinary failure, with its traceback in the log, and nothing written that was not there before."""
    from sainet.engine.slots import Slots

    assert result.exit_code == 1, result.log
    failed = first(ProcessFailed, result.events)
    assert failed.message.startswith("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")
    assert "\n" not in failed.message
    assert "Traceback (most recent call last)" in result.log
    kept = all_of(CheckpointSaved, result.events)
    assert [(event.reason, event.epoch, event.batch) for event in kept] == saved
    found = Slots(plan.checkpoint_dir).read()
    assert found is not None
    assert (found.epoch, found.batch) == saved[-1][1:]
    assert found.remarks == []
    if saved == [("start", 0, 0)]:
        assert not (plan.weights_dir / "last.pt").exists()


@pytest.mark.parametrize(
    "text",
    [
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "GET was unable to find an engine to execute this computation",
        "CUDA ran out of memory outside PyTorch's allocator",
    ],
)
def test_what_cuda_libraries_say_of_it_is_passed_on_as_it_is(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, text: str
) -> None:
    plan = plan_for(tiny_set(images=12), **SHORT)
    training = engine.training(plan)
    backward = training.backward

    def fail_in_batch_1(batch: dict[str, Any]) -> Any:
        if training.loop.place.batch == 1:
            raise RuntimeError(text)
        return backward(batch)

    training.backward = fail_in_batch_1
    with pytest.raises(RuntimeError) as caught:
        training.train()
    assert str(caught.value) == text
    assert [event.reason for event in all_of(CheckpointSaved, read_events(plan.events))] == ["start"]


def test_leaks_and_slow_steps_can_be_injected_for_the_guard_to_see(
    tiny_set: TinySetMaker, plan_for: PlanMaker, run_worker: WorkerRunner
) -> None:
    """The injections themselves: each image that is read leaks 30 MB, here in the training process."""
    plan = plan_for(tiny_set(images=24), **{**SHORT, "batch": 8})
    seen: list[int] = []

    def watch(process: Any) -> None:
        for batch in (1, 2):
            wait_for(plan, lambda event, n=batch: isinstance(event, BatchDone) and event.batch >= n)
            seen.append(resident_bytes(process.pid))
        process.terminate()

    env = {**INJECT, "INJECT_LEAK": "30000000", "INJECT_SLOW_MS": "1200", "INJECT_OOM": "forward:100"}
    result = run_worker(plan, env=env, during=watch)
    assert result.exit_code == 143, result.log
    assert seen[1] - seen[0] > 7 * 30_000_000
    (second, *_) = [event for event in all_of(BatchDone, result.events) if event.batch == 1]
    assert second.images_per_s < 8 / 1.2


def resident_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
