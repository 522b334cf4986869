"""What goes wrong around a running training reaches the user as what it means, whoever notices it and wherever."""

import os
import signal
import threading
import time
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from conftest import PlanMaker, TinySetMaker
from engine_cases import all_of
from exact_cases import LEARNING, attempt_after, differences, end_of, stopped_at

from sainet.errors import SainetError
from sainet.protocol import Plan, TrainingDone, Warned, read_events

pytestmark = pytest.mark.train

IMAGES = 26  # seven batches of four


def kill_loader_workers() -> None:
    for child in psutil.Process().children():
        if child.status() != psutil.STATUS_ZOMBIE:
            os.kill(child.pid, signal.SIGKILL)


def test_a_killed_worker_of_the_training_loader_is_told_by_the_training(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    plan = plan_for(tiny_set(images=IMAGES), loader={"workers": 1, "prefetch_factor": 1}, **LEARNING)
    training = engine.training(plan)
    training.add_callback("on_train_batch_start", lambda _: kill_loader_workers())
    with pytest.raises(SainetError, match="a worker of the training loader was killed"):
        training.train()


def test_a_killed_worker_of_the_validation_loader_is_told_although_the_model_is_at_work(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    data = tiny_set(images=4, val_images=24)  # three batches of eight
    plan = plan_for(data, epochs=1, val_loader={"workers": 1, "prefetch_factor": 1})
    training = engine.training(plan)
    training.add_callback("on_val_batch_start", lambda _: kill_loader_workers())
    with pytest.raises(SainetError, match="a worker of the validation loader was killed"):
        training.train()


def test_a_time_out_of_the_validation_loader_names_its_own_settings(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_for(tiny_set(), epochs=1, loader={"workers": 1}, val_loader={"workers": 1, "timeout_s": 1.5})
    training = engine.training(plan)
    training.add_callback(
        "on_val_start",
        lambda _: monkeypatch.setattr(training.test_loader.dataset, "load_image", lambda _: time.sleep(60)),
    )
    with pytest.raises(SainetError, match=r"no batch came from the validation loader within 1\.5 s") as caught:
        training.train()
    assert "loader.val.timeout_s" in (caught.value.hint or "")


def test_an_error_before_there_are_loaders_stays_what_it_is(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    with pytest.raises(RuntimeError, match="froze the entire model"):
        engine.train(plan_for(tiny_set(), freeze=30))


# --- a stop that comes while the last epoch is saved


def test_a_stop_while_the_last_epoch_is_saved_is_heard_before_the_evaluation(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sainet.engine import lifeline

    data = tiny_set()
    plan = plan_for(data)
    training = engine.training(plan)
    asked = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(lifeline, "_stop_asked", asked)
        training.add_callback("on_fit_epoch_end", lambda _: asked.set())
        with pytest.raises(lifeline.Stopped):
            training.train()
    assert not all_of(TrainingDone, read_events(plan.events))
    assert all_of(TrainingDone, engine.train(attempt_after(plan, data)), attempt=2)


# --- another GPU


def test_a_training_begun_without_a_scaler_goes_on_with_one(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    """As from a GPU that trains NaN in fp16, and so without, on one that can."""
    data = tiny_set(images=IMAGES)
    plan = plan_for(data, **LEARNING)
    stopped_at(engine, plan, 1, 2)
    resumed = engine.training(attempt_after(plan, data, **LEARNING))
    resume_training = resumed.resume_training

    def on_the_other_gpu(checkpoint: Any) -> None:
        resumed.scaler = torch.amp.GradScaler("cpu", enabled=True)
        resume_training(checkpoint)

    resumed.resume_training = on_the_other_gpu
    assert end_of(resumed)["scaler"]["scale"] > 0


# --- a training that diverges once


def diverging(engine: SimpleNamespace) -> SimpleNamespace:
    """The engine whose weights and loss become NaN in batch 4 of epoch 1, the first time that it is trained."""
    diverged: list[bool] = []

    def training(plan: Plan) -> Any:
        made = engine.training(plan)
        backward = made.backward

        def diverge(batch: dict[str, Any]) -> Any:
            loss, items = backward(batch)
            if (made.loop.place.epoch, made.loop.place.batch) == (1, 4) and not diverged:
                diverged.append(True)
                with torch.no_grad():
                    for parameter in made.model.parameters():
                        parameter.fill_(torch.nan)
                loss = loss * torch.nan
            return loss, items

        made.backward = diverge
        return made

    return SimpleNamespace(training=training)


def test_a_training_stopped_while_it_is_nan_recovers_as_if_it_never_was_stopped(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker
) -> None:
    data = tiny_set(images=IMAGES)
    whole = end_of(diverging(engine).training(plan_for(data, root=data.root / "whole", **LEARNING)))
    plan, once = plan_for(data, root=data.root / "stopped", **LEARNING), diverging(engine)
    trained = stopped_at(once, plan, 1, 6).samples
    resumed = end_of(once.training(attempt_after(plan, data, **LEARNING)))
    told = [event.message for event in all_of(Warned, read_events(plan.events), attempt=2)]
    assert told == ["epoch 2 ended in NaN: it is trained again from last.pt"]
    assert differences(whole, {**resumed, "samples": trained + resumed["samples"]}) == []


def test_a_stop_right_after_the_recovery_from_nan_keeps_what_was_recovered(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sainet.engine import lifeline
    from sainet.engine.loop import TrainingLoop

    data = tiny_set(images=IMAGES)
    whole = end_of(diverging(engine).training(plan_for(data, root=data.root / "whole", **LEARNING)))
    plan, once = plan_for(data, root=data.root / "stopped", **LEARNING), diverging(engine)
    training, asked, train_again = once.training(plan), threading.Event(), TrainingLoop._train_again

    def stop(loop: TrainingLoop) -> None:
        train_again(loop)
        asked.set()

    with monkeypatch.context() as patch:
        patch.setattr(lifeline, "_stop_asked", asked)
        patch.setattr(TrainingLoop, "_train_again", stop)
        with pytest.raises(lifeline.Stopped):
            end_of(training)
    resumed = end_of(once.training(attempt_after(plan, data, **LEARNING)))
    assert differences(whole, {**resumed, "samples": training.samples + resumed["samples"]}) == []
