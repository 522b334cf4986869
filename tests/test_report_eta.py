"""The time a stage still takes, from its events."""

import pytest

from sainet.protocol import BatchDone, EpochDone, Event, PhaseStarted, TrainingStarted
from sainet.report.eta import Pace

BATCHES = 100
EPOCHS = 4


def started(at: float, first_epoch: int = 0, first_batch: int = 0) -> TrainingStarted:
    return TrainingStarted(
        time_s=at,
        stage=1,
        attempt=1,
        first_epoch=first_epoch,
        first_batch=first_batch,
        epochs=EPOCHS,
        batches=BATCHES,
        train_images=800,
        val_images=80,
    )


def batch(at: float, epoch: int, number: int) -> BatchDone:
    return BatchDone(
        time_s=at,
        stage=1,
        attempt=1,
        epoch=epoch,
        epochs=EPOCHS,
        batch=number,
        batches=BATCHES,
        losses={"box_loss": 1.0},
        images_per_s=80.0,
    )


def epoch_done(at: float, epoch: int) -> EpochDone:
    return EpochDone(
        time_s=at,
        stage=1,
        attempt=1,
        epoch=epoch,
        epochs=EPOCHS,
        losses={},
        metrics={"map50": 0.5},
        fitness=0.5,
        is_best=True,
        lr=0.01,
        seconds=30.0,
    )


def epoch_events(at: float, epoch: int, *, batch_s: float = 0.1, validation_s: float = 20.0) -> list[Event]:
    """An epoch whose progress events come with every tenth batch; the first takes longer, as workers start."""
    begin = at + 7.0
    batches: list[Event] = [batch(begin + n * batch_s, epoch, n) for n in range(9, BATCHES, 10)]
    return [*batches, epoch_done(batches[-1].time_s + validation_s, epoch)]


def pace_of(events: list[Event]) -> Pace:
    pace = Pace()
    for event in events:
        pace = pace.after(event)
    return pace


def test_nothing_is_known_before_a_validation_was_measured() -> None:
    events: list[Event] = [started(0.0), *epoch_events(0.0, 0)[:-1]]
    pace = pace_of(events)
    assert pace.stage_left_s(pace.at_s) is None
    assert pace.epoch_left_s(pace.at_s) == pytest.approx(0.0)


def test_what_is_left_is_batches_and_validations_and_the_final_evaluation() -> None:
    pace = pace_of([started(0.0), *epoch_events(0.0, 0)])
    assert pace.stage_left_s(pace.at_s) == pytest.approx(3 * BATCHES * 0.1 + 3 * 20.0 + 20.0)
    assert pace.stage_left_s(pace.at_s + 5.0) == pytest.approx(3 * BATCHES * 0.1 + 4 * 20.0 - 5.0)


def test_inside_an_epoch_only_its_remaining_batches_count() -> None:
    first = epoch_events(0.0, 0)
    second = epoch_events(first[-1].time_s, 1)[:5]  # 50 of 100 batches
    pace = pace_of([started(0.0), *first, *second])
    assert pace.epoch_left_s(pace.at_s) == pytest.approx(5.0)
    assert pace.stage_left_s(pace.at_s) == pytest.approx(250 * 0.1 + 4 * 20.0)


def test_batches_without_an_event_before_a_validation_are_not_part_of_it() -> None:
    events = [event for event in epoch_events(0.0, 0) if not isinstance(event, BatchDone) or event.batch < 80]
    pace = pace_of([started(0.0), *events])
    assert pace.validations_s == (pytest.approx(20.0),)


def test_a_resumed_stage_counts_only_what_this_attempt_measured() -> None:
    before = epoch_events(0.0, 0, batch_s=9.0, validation_s=900.0)
    resumed = pace_of([started(0.0), *before, started(5000.0, first_epoch=2)])
    assert resumed.stage_left_s(5000.0) is None
    pace = pace_of([started(5000.0, first_epoch=2), *epoch_events(5000.0, 2)])
    assert pace.stage_left_s(pace.at_s) == pytest.approx(BATCHES * 0.1 + 2 * 20.0)


def test_one_stall_does_not_spoil_the_pace() -> None:
    steady: list[Event] = [batch(float(n), 0, n) for n in range(30)]
    stalled: list[Event] = [batch(n + 600.0, 0, n) for n in range(30, 60)]
    assert pace_of([*steady, *stalled]).batch_s() == pytest.approx(1.0)


def test_bursts_of_a_starving_loader_are_averaged_with_the_waits_between_them() -> None:
    at, events = 0.0, []
    for number in range(40):
        at += 5.0 if number % 2 else 1.0
        events.append(batch(at, 0, number))
    assert pace_of(list(events)).batch_s() == pytest.approx(3.0, rel=0.15)


def test_a_clock_set_back_measures_nothing() -> None:
    pace = pace_of([batch(100.0, 0, 1), batch(40.0, 0, 2), batch(41.0, 0, 3)])
    assert pace.batch_s() == pytest.approx(1.0)


def test_phases_leave_the_pace_as_it_is() -> None:
    pace = pace_of([started(0.0), *epoch_events(0.0, 0)])
    assert pace.after(PhaseStarted(time_s=99.0, stage=1, attempt=1, phase="validating")) is pace


def test_a_stage_with_all_its_epochs_still_evaluates_its_best_weights() -> None:
    events: list[Event] = [started(0.0, first_epoch=3), *epoch_events(0.0, 3)]
    pace = pace_of(events)
    assert pace.stage_left_s(pace.at_s) == pytest.approx(20.0)
    assert pace.stage_left_s(pace.at_s + 1000.0) == 0.0


def test_an_attempt_that_begins_in_mid_epoch_counts_from_there() -> None:
    """Workers start up before its first batch, whose time says nothing, whatever its number."""
    pace = pace_of([started(0.0, first_epoch=2, first_batch=60)])
    assert (pace.epoch, pace.batches_done) == (2, 60)
    assert pace.after(batch(30.0, 2, 60)).batch_s() is None
    pace = pace_of([started(0.0, first_epoch=2, first_batch=60), batch(30.0, 2, 60), batch(31.0, 2, 70)])
    assert pace.batch_s() == pytest.approx(0.1)
    assert pace.epoch_left_s(pace.at_s) == pytest.approx(29 * 0.1)


def test_an_attempt_that_begins_with_a_validation_has_no_batch_left_in_its_epoch() -> None:
    first = epoch_done(25.0, 2)
    pace = pace_of([started(0.0, first_epoch=2, first_batch=BATCHES), first])
    assert (pace.epoch, pace.batches_done, pace.validations_s) == (3, 0, ())
    pace = pace_of([started(0.0, first_epoch=2, first_batch=BATCHES), first, *epoch_events(25.0, 3)])
    assert pace.stage_left_s(pace.at_s) == pytest.approx(20.0)
