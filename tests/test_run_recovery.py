"""An attempt that memory or a killer has ended is followed by another, which does without something.

The training process is a script that says and does what the test wants; everything else is real.
"""

import json
import time

from test_run_stage import Stage, stage

from sainet.errors import ExhaustedError, GuardStopError, SainetError, StorageError
from sainet.protocol import (
    Event,
    GuardActed,
    GuardMeasured,
    OrdersApplied,
    Plan,
    Resumed,
    StageRestarting,
    StageStarted,
    TrainingStarted,
    read_events,
)
from sainet.state import Position

__all__ = ["stage"]

DONE = """
figures = {"metrics": {}, "best_weights": "best.pt", "last_weights": "last.pt"}
def done():
    say(TrainingDone(**says, **figures, epochs_trained=50, stopped_early=False))
"""
OOM = 'failed(1, "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")'
FAILED = """
def failed(code, message):
    say(ProcessFailed(**says, exit_code=code, message=message)); sys.exit(code)
"""


def plans(stage: Stage) -> list[Plan]:
    folder = stage.folder.stage(1)
    return [Plan.read(folder.plan(attempt.number)) for attempt in stage.record.attempts]


def of(kind: type, stage: Stage) -> list[Event]:
    return [event for event in read_events(stage.folder.events) if isinstance(event, kind)]


def test_a_killed_training_is_started_again_by_itself_and_finishes(stage: Stage) -> None:
    stage.train(
        DONE
        + "started(0, 60 * (plan.attempt - 1)); saved(0, 60)\ndone() if plan.attempt == 3 else os.kill(os.getpid(), 9)"
    )
    assert stage.record.status == "done"
    assert [attempt.exit_code for attempt in stage.record.attempts] == [-9, -9, 0]
    assert [plan.resume for plan in plans(stage)] == [False, True, True]
    restarts = of(StageRestarting, stage)
    assert [(event.restart, event.of, event.cause) for event in restarts] == [(1, 3, "killed"), (2, 3, "killed")]


def test_the_second_unexplained_kill_in_a_row_is_taken_for_a_want_of_ram(stage: Stage) -> None:
    """In a container the kernel's count may be out of sight."""
    script = DONE + "started(); saved(0, 60)\ndone() if plan.attempt == 3 else os.kill(os.getpid(), 9)"
    stage.train(script, ("workers", "8"), ("prefetch_factor", "4"))
    assert [(plan.loader.workers, plan.loader.prefetch_factor) for plan in plans(stage)] == [(8, 4), (8, 4), (2, 1)]
    (acted,) = of(GuardActed, stage)
    assert (acted.resource, acted.level) == ("ram", "failure")


def test_restarts_are_counted_and_end_with_6(stage: Stage) -> None:
    error = stage.ends("started(); saved(0, 60); os.kill(os.getpid(), 9)", ("guard.max_restarts", "1"))
    assert isinstance(error, ExhaustedError)
    assert error.code == 6
    assert "all 1 restarts are used up (guard.max_restarts)" in error.message
    assert str(error.hint).startswith("the same command --resume goes on at epoch 1, batch 61")
    assert len(stage.record.attempts) == 2
    assert stage.record.status == "failed"


def test_a_failure_that_memory_did_not_cause_is_not_retried_and_shows_the_first_error(stage: Stage) -> None:
    script = """
    started(); saved(0, 60)
    print("ValueError: the true reason"); print("RuntimeError: what follows from it"); sys.exit(1)
    """
    error = stage.ends(script)
    assert type(error) is SainetError
    assert error.code == 1
    assert "ended with 1: ValueError: the true reason" in error.message
    assert str(stage.folder.stage(1).log(1)) in str(error.hint)
    assert len(stage.record.attempts) == 1


def test_a_full_disk_is_not_retried(stage: Stage) -> None:
    error = stage.ends(FAILED + 'saved(0, 60); failed(7, "no space left while writing slot-1")')
    assert isinstance(error, StorageError)
    assert len(stage.record.attempts) == 1


def test_a_full_shm_is_answered_with_fewer_workers(stage: Stage) -> None:
    script = (
        DONE
        + FAILED
        + 'saved(0, 0); started(); done() if plan.loader.workers < 4 else failed(7, "/dev/shm is full: x")'
    )
    stage.train(script, ("workers", "4"))
    assert [plan.loader.workers for plan in plans(stage)] == [4, 1]
    (acted,) = of(GuardActed, stage)
    assert (acted.resource, acted.before["workers"], acted.after["workers"]) == ("shm", 4, 1)
    assert "--workers 1" in acted.hint


def test_cuda_out_of_memory_is_answered_with_micro_batches_until_it_fits(stage: Stage) -> None:
    script = DONE + FAILED + f"saved(0, 0); started(); done() if plan.micro_batch == 4 else {OOM}"
    stage.train(script)
    assert [plan.micro_batch for plan in plans(stage)] == [1, 2, 4]
    assert [event.after for event in of(GuardActed, stage)] == [{"micro_batch": 2}, {"micro_batch": 4}]
    downshift = stage.record.downshifts["train.micro_batch"]
    assert (downshift.asked, downshift.now) == (1, 4)
    assert stage.record.downshifts["env.PYTORCH_ALLOC_CONF"].now == "expandable_segments:True"


def test_where_no_batch_is_small_enough_it_ends_with_6(stage: Stage) -> None:
    error = stage.ends(FAILED + f"saved(0, 0); started(); {OOM}", ("guard.max_restarts", "9"))
    assert isinstance(error, ExhaustedError)
    assert "nothing smaller is left" in error.message
    assert [plan.micro_batch for plan in plans(stage)] == [1, 2, 4], "a batch has four images"


def test_a_downshift_survives_a_resume_until_the_user_types_the_key_anew(stage: Stage) -> None:
    script = FAILED + f"saved(0, 0); started(); sys.exit(143) if plan.micro_batch == 2 else {OOM}"
    stage.ends(script)
    stage.ends("started(); sys.exit(143)", resume=True)
    assert [plan.micro_batch for plan in plans(stage)] == [1, 2, 2]
    stage.ends("started(); sys.exit(143)", ("train.micro_batch", "3"), resume=True)
    assert plans(stage)[-1].micro_batch == 3
    assert "train.micro_batch" not in stage.record.downshifts


def test_on_vram_stop_ends_with_4_and_can_be_resumed(stage: Stage) -> None:
    error = stage.ends(FAILED + f"saved(0, 0); started(); {OOM}", ("guard.on_vram", "stop"))
    assert isinstance(error, GuardStopError)
    assert error.code == 4
    assert len(stage.record.attempts) == 1
    assert stage.record.status == "interrupted"


def test_on_vram_restart_begins_the_stage_anew_with_a_smaller_batch_and_keeps_the_old_weights(stage: Stage) -> None:
    script = f"""
    started(1 if plan.resume else 0)
    plan.weights_dir.mkdir(exist_ok=True)
    (plan.weights_dir / "last.pt").write_bytes(b"weights of a batch of %d" % plan.arguments["batch"])
    saved(1, 0)
    {OOM} if plan.arguments["batch"] > 2 else done()
    """
    stage.train(DONE + FAILED + script.replace("\n    ", "\n"), ("guard.on_vram", "restart"))
    first, second = plans(stage)
    assert (first.arguments["batch"], second.arguments["batch"]) == (4, 2)
    assert (second.resume, second.weights) == (False, first.weights)
    assert first.micro_batch == second.micro_batch == 1
    kept = stage.folder.stage(1).root / "weights-batch-4" / "last.pt"
    assert kept.read_bytes() == b"weights of a batch of 4"
    assert stage.record.settings["train.batch"] == 4, "what was asked for is still the same training"


def test_a_training_in_which_nothing_moves_is_ended_and_started_again(stage: Stage) -> None:
    script = DONE + "started(); saved(0, 60)\nif plan.attempt == 2: done()\nelse: os.kill(os.getpid(), signal.SIGSTOP)"
    began_s = time.monotonic()
    stage.train(script, ("guard.hang_s", "3"), ("guard.hang_factor", "1"))
    assert time.monotonic() - began_s < 60
    (restart,) = of(StageRestarting, stage)
    assert restart.cause == "hung"


def test_a_training_that_is_silent_but_busy_is_left_alone(stage: Stage) -> None:
    script = DONE + "started(); saved(0, 60)\nend = time.time() + 8\nwhile time.time() < end: pass\ndone()"
    stage.train(script, ("guard.hang_s", "2"), ("guard.hang_factor", "1"))
    assert len(stage.record.attempts) == 1


# --- while it runs ----------------------------------------------------------------------------------------------------

OBEYS = """
def obey(until):
    seen = 0
    deadline = time.time() + 40
    while time.time() < deadline:
        order = Orders.model_validate_json(plan.orders.read_text())
        if order.number > seen:
            seen = order.number
            say(OrdersApplied(**says, number=seen, epoch=0, batch=60, changes={}))
            if order.stop:
                saved(0, 61, "stop"); sys.exit(4)
            if until(order): return
        time.sleep(0.05)
    raise SystemExit("no such order")
"""
SHORT = [
    ("guard.soft", "0.003"), ("guard.clear", "0.001"), ("guard.hard", "0.99"),
    ("guard.slope_from", "0.99"), ("guard.hard_slope_from", "0.99"),
    ("guard.cooldown_s", "1"), ("guard.every_s", "0.1"),
]  # fmt: skip
"""This machine's RAM is always softly short."""


def test_the_guard_orders_one_rung_after_the_other_and_measures_each(stage: Stage) -> None:
    script = DONE + OBEYS + "started(); saved(0, 60); obey(lambda order: order.workers == 4); time.sleep(1.5); done()"
    stage.train(script, ("workers", "8"), ("prefetch_factor", "4"), *SHORT)
    acted = of(GuardActed, stage)
    assert acted[0].after["prefetch_factor"] == 1
    assert acted[0].before["prefetch_factor"] == 4
    assert "guard.soft" in acted[0].reason
    assert [event.resource for event in acted] == ["ram"] * len(acted)
    measured = of(GuardMeasured, stage)
    assert measured[0].action == acted[0].action
    assert measured[0].before_bytes > 0
    assert measured[0].limit_bytes > measured[0].after_bytes > 0
    assert [event.action.partition(":")[0] for event in acted][:2] == ["prefetch", "workers"]
    assert stage.record.downshifts["loader.prefetch_factor"].now == 1
    samples = (stage.folder.root / "memory.csv").read_text().splitlines()
    assert samples[0].startswith("time_s,ram_working_set_bytes,ram_limit_bytes")
    assert len(samples) > 10


def test_what_the_guard_lowered_too_late_is_what_the_next_attempt_begins_with_and_no_less(stage: Stage) -> None:
    waits = "while not json.loads(plan.orders.read_text())['number']: time.sleep(0.02)"
    script = (
        f"import json\nstarted(); saved(0, 60)\nif plan.attempt == 2: done()\n{waits}\nfailed(7, '/dev/shm is full: x')"
    )
    stage.train(
        DONE + FAILED + script.replace("done()", "done(); sys.exit(0)"),
        ("workers", "4"),
        ("prefetch_factor", "3"),
        *SHORT,
    )
    assert [(plan.loader.workers, plan.loader.prefetch_factor) for plan in plans(stage)] == [(4, 3), (4, 1)]
    assert [event.level for event in of(GuardActed, stage)][:1] == ["soft"]
    assert not [event for event in of(GuardActed, stage) if event.level == "failure"]


def test_a_guard_that_is_switched_off_says_what_it_sees_and_does_nothing(stage: Stage) -> None:
    stage.train(DONE + "started(); saved(0, 60); time.sleep(3); done()", ("guard.enabled", "false"), *SHORT)
    (acted,) = [event for event in of(GuardActed, stage) if event.resource == "ram"]  # others may fill /dev/shm
    assert acted.action == "none"
    assert json.loads(stage.folder.stage(1).orders(1).read_text())["number"] == 0


def test_a_hard_alarm_that_nothing_helps_ends_with_a_checkpoint_and_4(stage: Stage) -> None:
    always = [("guard.hard", "0.003"), ("guard.soft", "0.002"), ("guard.clear", "0.001")]
    error = stage.ends(OBEYS + "started(); saved(0, 60); obey(lambda _: False)", *SHORT[3:], *always)
    assert isinstance(error, GuardStopError)
    assert error.code == 4
    assert "guard.hard" in error.message
    assert "the same command --resume goes on at epoch 1, batch 62" in str(error.hint)
    assert stage.record.goes_on_at == Position(epoch=0, batch=61, batches=1008)
    assert len(stage.record.attempts) == 1


def test_the_live_view_is_shown_the_memory_and_what_it_has_cost(stage: Stage) -> None:
    script = (
        DONE + OBEYS + "started(); saved(0, 60); obey(lambda order: order.prefetch_factor == 1); time.sleep(1); done()"
    )
    eyes = stage.train(script, ("workers", "4"), ("prefetch_factor", "4"), *SHORT)
    assert eyes.memory.ram is not None
    assert "prefetch_factor 1" in eyes.memory.lowered


def test_orders_for_a_running_batch_name_one_that_nobody_has_begun(stage: Stage) -> None:
    script = DONE + OBEYS + "started(0, 60); saved(0, 60); obey(lambda _: True); done()"
    stage.train(script, ("workers", "4"), *SHORT)
    order = json.loads(stage.folder.stage(1).orders(1).read_text())
    assert order["at"] == [0, 62]
    assert of(OrdersApplied, stage)
    assert not of(Resumed, stage)
    assert len(of(StageStarted, stage)) == len(of(TrainingStarted, stage)) == 1


def test_a_small_disk_stops_nothing_before_it_is_known_how_large_a_checkpoint_is(stage: Stage) -> None:
    everything = [("guard.disk_hard_gib", "100000"), ("guard.disk_soft_gib", "100000"), ("guard.every_s", "0.1")]
    stage.train(DONE + "started(); time.sleep(1.5); done()", *everything)
    assert not of(GuardActed, stage)
