"""A training that is left at any batch and taken up again is the training that never was: bit for bit."""

import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import PlanMaker, TinySetMaker, WorkerRunner
from engine_cases import all_of, first, listing
from exact_cases import LEARNING, attempt_after, differences, end_of, stopped_at, without_times

from sainet.protocol import CheckpointSaved, ProcessFailed, Resumed, Warned, read_events

pytestmark = pytest.mark.train

IMAGES = 26  # seven batches of four, the last one of two
BATCHES = 7


@pytest.mark.parametrize(
    ("shape", "workers", "stage"), [((64, 64), 0, 1), ((64, 96), 2, 1), ((64, 64), 2, 2), ((96, 64), 0, 2)]
)
def test_a_training_stopped_at_random_batches_ends_as_if_it_never_was(
    engine: SimpleNamespace,
    tiny_set: TinySetMaker,
    plan_for: PlanMaker,
    shape: tuple[int, int],
    workers: int,
    stage: Any,
    request: pytest.FixtureRequest,
) -> None:
    weights = request.getfixturevalue("stage_1_weights") if stage == 2 else "yolov8n.yaml"
    data = tiny_set(images=IMAGES)
    options: dict[str, Any] = {
        **LEARNING,
        "shape": shape,
        "stage": stage,
        "weights": weights,
        "classes": ["smoke"] if stage == 2 else None,
        "loader": {"workers": workers},
    }
    whole = end_of(engine.training(plan_for(data, root=data.root / "whole", **options)))

    noise = random.Random(f"{shape}{workers}{stage}")
    places = sorted(divmod(place, BATCHES) for place in noise.sample(range(1, 3 * BATCHES), 3))
    plan = plan_for(data, root=data.root / "stopped", **options)
    trained = []
    for place in places:
        trained += stopped_at(engine, plan, *place).samples
        plan = attempt_after(plan, data, **options)
    resumed = end_of(engine.training(plan))

    assert differences(whole, {**resumed, "samples": trained + resumed["samples"]}) == []
    assert without_times(whole["results"]) == without_times(resumed["results"])
    events = read_events(plan.events)
    told = [(event.epoch, event.batch, event.exact) for event in events if isinstance(event, Resumed)]
    assert told == [(*place, True) for place in places]


def test_the_comparison_finds_one_bit(engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker) -> None:
    """The negative control: one weight of the checkpoint off by the smallest step is seen at the end."""
    from sainet.engine.slots import Slots

    data = tiny_set(images=IMAGES)
    whole = end_of(engine.training(plan_for(data, root=data.root / "whole", **LEARNING)))
    plan = plan_for(data, root=data.root / "stopped", **LEARNING)
    stopped_at(engine, plan, 1, 3)
    slots = Slots(plan.checkpoint_dir)
    found = slots.read()
    assert found is not None
    weight = found.state["model"]["model.0.conv.weight"].view(-1)
    weight[0] = torch.nextafter(weight[0], torch.tensor(10.0))
    slots.write(found.state, epoch=1, batch=3)
    resumed = end_of(engine.training(attempt_after(plan, data, **LEARNING)))
    assert differences(whole["model"], resumed["model"])
    assert not differences(whole["samples"][-3:], resumed["samples"][-3:]), "the samples do not depend on the weights"


@pytest.mark.parametrize("loader", [{"workers": 2, "prefetch_factor": 1}, {"workers": 4, "prefetch_factor": 3}])
def test_workers_and_prefetch_do_not_change_one_bit(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, loader: dict[str, int]
) -> None:
    data = tiny_set(images=IMAGES)
    alone = end_of(engine.training(plan_for(data, root=data.root / "alone", **LEARNING)))
    shared = end_of(engine.training(plan_for(data, root=data.root / "shared", loader=loader, **LEARNING)))
    assert differences(alone, shared) == []


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_a_cache_does_not_change_one_bit(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, cache: str
) -> None:
    data = tiny_set(images=IMAGES)
    without = end_of(engine.training(plan_for(data, root=data.root / "without", **LEARNING)))
    cached = end_of(engine.training(plan_for(data, root=data.root / "cached", cache=cache, **LEARNING)))
    for state in (without, cached):
        del state["random"]  # upstream samples images to estimate a cache's size; nothing later draws from there
    assert differences(without, cached) == []


def test_checkpoints_are_written_before_the_first_batch_and_at_each_epochs_end_and_gone_when_the_stage_is_done(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    plan = plan_for(tiny_set(images=IMAGES), **LEARNING)
    events = engine.train(plan)
    saved = all_of(CheckpointSaved, events)
    told = [(event.reason, event.epoch, event.batch) for event in saved]
    assert told == [("start", 0, 0), ("epoch", 1, 0), ("epoch", 2, 0), ("epoch", 3, 0)]
    assert all(event.written_bytes > 10_000_000 and event.seconds > 0 for event in saved)
    assert not plan.checkpoint_dir.exists()


def test_inside_an_epoch_checkpoints_come_at_the_optimizers_steps(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sainet.engine import keeping

    monkeypatch.setattr(keeping, "_BUDGET", 1e9)  # else a slow disk makes them rarer than this training is long
    learning = {**LEARNING, "epochs": 2, "warmup_epochs": 0.0}
    plan = plan_for(tiny_set(images=IMAGES), checkpoint_every_s=1e-9, **learning)
    saved = all_of(CheckpointSaved, engine.train(plan))
    inside = [(event.epoch, event.batch) for event in saved if event.reason == "interval"]
    assert inside
    assert all((epoch * BATCHES + batch) % 2 == 0 for epoch, batch in inside), "an accumulation of 2"


def test_a_resume_needs_the_images_that_the_training_began_with(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    from sainet.errors import DataError

    data = tiny_set(images=IMAGES)
    plan = plan_for(data, **LEARNING)
    stopped_at(engine, plan, 0, 2)
    first_of_validation = data.images("val")[0]
    renamed = first_of_validation.with_name(f"other-{first_of_validation.name}")
    first_of_validation.rename(renamed)
    data.label(first_of_validation).rename(data.label(renamed))
    with pytest.raises(DataError, match=r"the validation images are not those .*\(as many, with other names\)"):
        engine.training(attempt_after(plan, data, **LEARNING)).train()
    (data.images()[3]).unlink()
    with pytest.raises(DataError, match=r"the training images are not those .*\(26 then, 25 now\)"):
        engine.training(attempt_after(plan, data, **LEARNING)).train()


def test_a_resume_needs_neither_the_initial_weights_nor_last_pt(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, tmp_path: Path, stage_1_weights: Path
) -> None:
    weights = tmp_path / "start.pt"
    weights.write_bytes(stage_1_weights.read_bytes())
    data = tiny_set(images=IMAGES)
    plan = plan_for(data, weights=weights, **LEARNING)
    stopped_at(engine, plan, 0, 2)
    weights.unlink()
    assert not (plan.weights_dir / "last.pt").exists()
    events = engine.train(attempt_after(plan, data, weights=weights, **LEARNING))
    assert (plan.weights_dir / "best.pt").exists()
    assert all_of(Resumed, events, attempt=2)[0].exact


def test_a_stop_in_the_middle_of_a_validation_goes_on_with_that_validation(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sainet.engine.lifeline import Stopped

    data = tiny_set(images=IMAGES)
    whole = end_of(engine.training(plan_for(data, root=data.root / "whole", **LEARNING)))
    plan = plan_for(data, root=data.root / "stopped", **LEARNING)
    training = engine.training(plan)
    validate = training.validate

    def stop_in_epoch_1() -> Any:
        if training.epoch == 1:
            raise Stopped
        return validate()

    monkeypatch.setattr(training, "validate", stop_in_epoch_1)
    with pytest.raises(Stopped):
        end_of(training)
    resumed = end_of(engine.training(attempt_after(plan, data, **LEARNING)))
    (told,) = all_of(Resumed, read_events(plan.events), attempt=2)
    assert (told.epoch, told.batch) == (1, BATCHES)
    assert differences(whole, {**resumed, "samples": training.samples + resumed["samples"]}) == []
    assert without_times(whole["results"]) == without_times(resumed["results"])


def test_an_epoch_that_ended_in_nan_is_trained_again_from_the_one_before(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_for(tiny_set(images=IMAGES), **LEARNING)
    training = engine.training(plan)
    backward, poisoned = training.backward, []

    def poison_once(batch: dict[str, Any]) -> Any:
        loss, items = backward(batch)
        if training.epoch == 1 and training.loop.place.batch == BATCHES - 1 and not poisoned:
            poisoned.append(True)
            return loss * float("nan"), items
        return loss, items

    monkeypatch.setattr(training, "backward", poison_once)
    ended = end_of(training)
    trained = [(epoch, batch) for epoch, batch, _, _ in ended["samples"]]
    assert trained.count((1, 0)) == 2, "epoch 1 was trained twice"
    assert trained.count((0, 0)) == trained.count((2, 0)) == 1
    warnings = [event.message for event in all_of(Warned, read_events(plan.events))]
    assert any("epoch 2 ended in NaN" in message for message in warnings)


@pytest.mark.parametrize("torn", ["both", "newest"])
def test_a_torn_checkpoint_is_passed_over_and_two_end_the_attempt_with_everything_left_as_it_was(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, run_worker: WorkerRunner, torn: str
) -> None:
    data = tiny_set(images=IMAGES)
    plan = plan_for(data, **LEARNING)
    stopped_at(engine, plan, 2, 3)  # slots of the end of epoch 1, and of this stop
    slots = sorted(plan.checkpoint_dir.iterdir())
    assert [slot.name for slot in slots] == ["slot-0", "slot-1"]
    newest = max(slots, key=lambda slot: slot.stat().st_mtime_ns)
    for slot in slots if torn == "both" else [newest]:
        content = bytearray(slot.read_bytes())
        content[len(content) // 2] ^= 1
        slot.write_bytes(content)
    before = listing(plan.checkpoint_dir), listing(plan.weights_dir)
    result = run_worker(attempt_after(plan, data, **LEARNING))
    if torn == "both":
        assert result.exit_code == 7, result.log
        failed = first(ProcessFailed, result.events)
        assert "slot-0" in failed.message
        assert "slot-1" in failed.message
        assert (listing(plan.checkpoint_dir), listing(plan.weights_dir)) == before
    else:
        assert result.exit_code == 0, result.log
        (told,) = all_of(Resumed, result.events, attempt=2)
        assert (told.epoch, told.batch) == (2, 0)
        assert "checksum" in told.found


def test_micro_batches_train_resume_and_are_told(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    data = tiny_set(images=IMAGES)
    options: dict[str, Any] = {**LEARNING, "micro_batch": 3}
    whole = end_of(engine.training(plan_for(data, root=data.root / "whole", **options)))
    plain = end_of(engine.training(plan_for(data, root=data.root / "plain", **LEARNING)))
    assert differences(whole["samples"], plain["samples"]) == []
    first_losses = [state["results"].splitlines()[1].split(",")[2:5] for state in (whole, plain)]
    assert [float(x) for x in first_losses[0]] == pytest.approx([float(x) for x in first_losses[1]], rel=0.2)
    plan = plan_for(data, root=data.root / "stopped", **options)
    stopped_at(engine, plan, 1, 2)
    resumed = end_of(engine.training(attempt_after(plan, data, **options)))
    assert differences(whole["model"], resumed["model"]) == []
    warnings = [event.message for event in all_of(Warned, read_events(plan.events))]
    assert any("in 3 pieces" in message and "at most 2 images" in message for message in warnings)


def test_without_a_checkpoint_last_pt_is_gone_on_from_and_that_is_told(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    data = tiny_set(images=IMAGES)
    plan = plan_for(data, **LEARNING)
    stopped_at(engine, plan, 1, 4)
    shutil.rmtree(plan.checkpoint_dir)
    events = engine.train(attempt_after(plan, data, **LEARNING))
    (told,) = all_of(Resumed, events, attempt=2)
    assert (told.epoch, told.batch, told.exact) == (1, 0, False)


def test_micro_batches_of_an_end_to_end_head_are_refused_before_anything_is_written(
    tiny_set: TinySetMaker, plan_for: PlanMaker, run_worker: WorkerRunner
) -> None:
    plan = plan_for(tiny_set(), weights="yolov10n.yaml", micro_batch=2)
    result = run_worker(plan)
    assert result.exit_code == 3, result.log
    assert "end-to-end" in first(ProcessFailed, result.events).message
    assert not plan.checkpoint_dir.exists()
