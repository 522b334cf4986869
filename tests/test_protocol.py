"""What crosses between the two processes comes out as it went in."""

import math
import os
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from sainet.protocol import (
    BatchDone,
    CheckpointSaved,
    DataPlan,
    DataStaged,
    EpochDone,
    Event,
    GuardActed,
    GuardMeasured,
    LoaderPlan,
    Orders,
    OrdersApplied,
    PhaseStarted,
    Plan,
    ProcessFailed,
    Resumed,
    StageDone,
    StageFailed,
    StageInterrupted,
    StageRestarting,
    StageStarted,
    TrainingDone,
    TrainingStarted,
    Warned,
    append_event,
    parse_event,
    read_events,
)

METRICS = {"precision": 0.5, "recall": 0.25, "map50": 0.125, "map50-95": 0.1}
EVENTS: list[Event] = [
    StageStarted(stage=1, attempt=1, pid=42, resumed=False),
    GuardActed(
        stage=1,
        attempt=1,
        resource="ram",
        level="soft",
        action="prefetch",
        reason="RAM 93%",
        before={"prefetch_factor": 4, "cache": "ram"},
        after={"prefetch_factor": 1, "cache": False},
        hint="--set loader.prefetch_factor=1",
    ),
    GuardMeasured(
        stage=1, attempt=1, resource="shm", action="workers", before_bytes=3, after_bytes=2, limit_bytes=4, helped=True
    ),
    StageRestarting(stage=1, attempt=1, cause="cuda_oom", message="CUDA out of memory", restart=1, of=3),
    PhaseStarted(stage=1, attempt=1, phase="scanning labels"),
    DataStaged(
        stage=1,
        attempt=1,
        place=Path("/dev/shm/sainet-0/fasdd-0"),
        format="as-is",
        images=12,
        bytes=98304,
        seconds=0.5,
        reused=False,
    ),
    TrainingStarted(
        stage=2,
        attempt=1,
        first_epoch=3,
        first_batch=6,
        epochs=5,
        batches=7,
        train_images=100,
        val_images=10,
        transferred="355/355",
    ),
    TrainingStarted(stage=1, attempt=1, first_epoch=0, epochs=5, batches=7, train_images=100, val_images=10),
    BatchDone(
        stage=1, attempt=1, epoch=0, epochs=5, batch=6, batches=7, losses={"box": 1.5}, images_per_s=9.5, vram_bytes=1
    ),
    EpochDone(
        stage=1,
        attempt=1,
        epoch=0,
        epochs=5,
        losses={"box": 1.5},
        metrics=METRICS,
        fitness=0.1,
        is_best=True,
        lr=0.01,
        seconds=2.5,
    ),
    CheckpointSaved(stage=1, attempt=1, epoch=0, batch=7, batches=7, reason="stop", written_bytes=1 << 33, seconds=0.5),
    Resumed(stage=1, attempt=2, epoch=0, batch=7, found="slot-1 of 12:03; slot-0 is cut short", exact=True),
    OrdersApplied(
        stage=1, attempt=2, number=1, epoch=1, batch=0, changes={"workers": (4, 0), "pin_memory": (True, False)}
    ),
    OrdersApplied(stage=1, attempt=2, number=2, epoch=1, batch=0),
    TrainingDone(
        stage=1,
        attempt=1,
        metrics=METRICS,
        best_weights=Path("/runs/x/best.pt"),
        last_weights=Path("/runs/x/last.pt"),
        epochs_trained=5,
        stopped_early=False,
    ),
    Warned(stage=1, attempt=1, message="3 images of ä\nare left out"),
    ProcessFailed(stage=1, attempt=1, exit_code=5, message="bad data", hint="mend it"),
    StageDone(stage=1, attempt=1, metrics=METRICS, weights=Path("/runs/x/best.pt")),
    StageFailed(stage=1, attempt=1, exit_code=1, message="it failed"),
    StageInterrupted(stage=1, attempt=1, signal_number=15),
]


def make_plan(folder: Path) -> Plan:
    return Plan(
        run="x",
        stage=2,
        attempt=3,
        supervisor_pid=os.getpid(),
        attempt_dir=folder / "attempts" / "003",
        weights_dir=folder / "weights",
        checkpoint_dir=folder / "checkpoint",
        events=folder / "events.jsonl",
        orders=folder / "orders.json",
        cache_dir=folder / "cache",
        data=DataPlan(
            yaml="/data/ä.yaml",
            train=["/data/images"],
            val=["/data/val.txt"],
            source_names={0: "fire", 1: "Smoke"},
            target_names={0: "smoke"},
            class_map={1: 0},
        ),
        weights="/weights/best.pt",
        lock=folder / ".training.lock",
        resume=True,
        select_by="recall",
        engine="sainet",
        shape=(832, 1440),
        loader=LoaderPlan(workers=8, prefetch_factor=2, pin_memory=True, persistent_workers=True, timeout_s=300),
        val_loader=LoaderPlan(workers=0, prefetch_factor=2, pin_memory=False, persistent_workers=False, timeout_s=0.5),
        micro_batch=2,
        tf32=None,
        cudnn_benchmark=False,
        checkpoint_every_s=300,
        arguments={"epochs": 3, "lr0": 0.001, "freeze": [0, 1], "channels_last": None, "cache": "disk", "amp": False},
    )


def test_a_plan_comes_back_with_its_types(tmp_path: Path) -> None:
    """JSON's keys are text; class ids have to be numbers again."""
    plan = make_plan(tmp_path)
    plan.write(tmp_path / "plan.json")
    again = Plan.read(tmp_path / "plan.json")
    assert again == plan
    assert again.data.class_map == {1: 0}
    assert isinstance(again.weights_dir, Path)
    assert type(again.arguments["epochs"]) is int
    assert again.shape == (832, 1440)


def test_a_plan_of_another_version_is_not_guessed_at(tmp_path: Path) -> None:
    tree = make_plan(tmp_path).model_dump(mode="json")
    for changes in ({"version": 2}, {"unheard_of": 1}):
        with pytest.raises(ValidationError):
            Plan.model_validate(tree | changes)


def test_orders_come_back() -> None:
    for orders in (Orders(number=3), Orders(number=4, at=(2, 120), workers=0, pin_memory=False, stop=True)):
        assert Orders.model_validate_json(orders.model_dump_json()) == orders


def test_every_kind_of_event_is_tried_here() -> None:
    union = get_args(get_args(Event)[0])
    assert {type(event) for event in EVENTS} == set(union)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.event)
def test_an_event_comes_back_as_one_line(tmp_path: Path, event: Event) -> None:
    path = tmp_path / "events.jsonl"
    append_event(path, event)
    assert len(path.read_text(encoding="utf-8").splitlines()) == 1
    assert read_events(path) == [event]


def test_events_carry_the_time_they_were_made() -> None:
    first, second = Warned(stage=1, attempt=1, message="a"), Warned(stage=1, attempt=1, message="b")
    assert first.time_s <= second.time_s


@pytest.mark.parametrize("line", ['{"event": "epoch", "st', "", '{"event": "of_tomorrow", "stage": 1}', "null"])
def test_a_torn_or_unknown_line_is_left_out(tmp_path: Path, line: str) -> None:
    assert parse_event(line) is None
    path = tmp_path / "events.jsonl"
    path.write_text(f"{line}\n{EVENTS[0].model_dump_json()}\n", encoding="utf-8")
    assert read_events(path) == [EVENTS[0]]


def test_a_run_without_events_has_none(tmp_path: Path) -> None:
    assert read_events(tmp_path / "events.jsonl") == []


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_does_not_take_its_epoch_along(tmp_path: Path, value: float) -> None:
    """A training that diverges is exactly when somebody reads the events."""
    epoch: Any = next(event for event in EVENTS if isinstance(event, EpochDone))
    path = tmp_path / "events.jsonl"
    append_event(path, epoch.model_copy(update={"losses": {"box": value}}))
    (again,) = read_events(path)
    assert isinstance(again, EpochDone)
    assert not math.isfinite(again.losses["box"])


def test_a_switch_stays_a_switch_and_a_number_a_number() -> None:
    """In Python 1 == True; people are told `1` or `on`."""
    told = OrdersApplied(
        stage=1, attempt=1, number=1, epoch=0, batch=0, changes={"workers": (1, 0), "pin": (True, False)}
    )
    again = parse_event(told.model_dump_json())
    assert isinstance(again, OrdersApplied)
    assert [[type(value) for value in pair] for pair in again.changes.values()] == [[int, int], [bool, bool]]
