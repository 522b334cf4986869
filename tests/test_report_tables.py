"""How runs and stages read in a terminal, and as JSON."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from test_report_runs import T0, checkpoint, driven, epoch_done, make_run, stage_state, summary_of, training_started

from sainet.protocol import Event, OrdersApplied, ProcessFailed, Resumed, Warned
from sainet.report.attempts import attempt_dict, attempt_text
from sainet.report.history import read_history
from sainet.report.runs import UnreadableRun
from sainet.report.tables import ago, duration, gib, run_dict, runs_table, stage_table
from sainet.state import StageState


def printed(part: RenderableType, width: int = 100) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined]


def words(line: str) -> str:
    """A line without its alignment."""
    return " ".join(line.split())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (42.0, "42s"), (59.7, "1m00s"), (432.0, "7m12s"), (18605.0, "5h10m"), (183600.0, "2d03h")],
)
def test_a_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_relative_time_has_one_unit_and_stands_a_clock_set_back() -> None:
    assert [ago(s) for s in (-5.0, 59.0, 61.0, 7300.0, 90000.0)] == [
        "just now",
        "just now",
        "1 min ago",
        "2 h ago",
        "1 d ago",
    ]


def test_sizes_are_gib_on_the_screen() -> None:
    assert gib(3 * 1024**3 // 2) == "1.5"


def test_the_stage_table_tells_figures_time_and_where_the_weights_are(tmp_path: Path) -> None:
    metrics = {"precision": 0.71, "recall": 0.62, "map50": 0.655, "map50-95": 0.4}
    stages = {1: stage_state("done", epochs_done=4, metrics=metrics), 2: StageState()}
    folder = make_run(tmp_path, "a", stages, [])
    folder.stage(1).weights.mkdir(parents=True)
    folder.stage(1).best.touch()
    lines = printed(stage_table(summary_of(folder).stages, here=tmp_path), width=80).splitlines()
    assert words(lines[0]) == "stage status epochs precision recall mAP50 mAP50-95 time"
    assert words(lines[1]) == "1 done 4/5 0.710 0.620 0.655 0.400 10m00s"
    assert words(lines[2]) == "2 pending 0/? - - - - 0s"
    assert words(lines[3]) == "stage 1 weights a/stage-1/weights/best.pt"


def test_the_stage_table_tells_where_the_exact_state_stands(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "a", {1: stage_state("interrupted", epochs_done=1)}, [checkpoint(1, 4)])
    folder.stage(1).checkpoint.mkdir(parents=True)
    (folder.stage(1).checkpoint / "slot-0").touch()
    lines = printed(stage_table(summary_of(folder).stages, here=tmp_path)).splitlines()
    assert words(lines[1]).startswith("1 interrupted 1/5")
    assert words(lines[2]) == "stage 1 checkpoint epoch 2, batch 5 of 10"


def test_the_runs_table_shows_where_each_run_stands(tmp_path: Path) -> None:
    stages = {1: stage_state("done", metrics={"map50": 0.7}), 2: stage_state("running", epochs_done=2)}
    folder = make_run(tmp_path, "full", stages, [epoch_done(1, 0.5, stage=2)])
    gone = make_run(tmp_path, "gone", {2: stage_state("running")}, [])
    with driven(folder):
        runs = [summary_of(folder), summary_of(gone), UnreadableRun("odd[red]", tmp_path, "torn", None)]
    now_s = summary_of(folder).updated_s + 125.0
    text = printed(runs_table(runs, now_s=now_s, width=120), width=120).splitlines()
    assert words(text[2]) == "full full-workflow h200/fast running 2: 2/5 0.700 0.500 2 min ago"
    assert "interrupted (process gone)" in text[3]
    assert text[4].split() == ["odd[red]", "unreadable"]


def test_the_runs_table_fits_eighty_columns_and_breaks_only_names(tmp_path: Path) -> None:
    state = stage_state("running", epochs_done=100)
    state.epochs = 300
    folder = make_run(tmp_path, "fasdd-of-the-night", {1: state, 2: StageState()}, [epoch_done(99, 0.5)])
    summary = summary_of(folder)
    lines = printed(runs_table([summary], now_s=summary.updated_s + 3540.0, width=80), width=80).splitlines()
    text = "\n".join(lines)
    assert max(len(line) for line in lines) <= 80
    for whole in ("full-workflow", "h200/fast", "interrupted", "(process gone)", "1: 100/300", "59 min ago"):
        assert whole in text


def test_an_attempt_tells_its_epochs_warnings_failure_hint_and_log(tmp_path: Path) -> None:
    events: list[Event] = [
        epoch_done(0, 0.5),
        epoch_done(1, 0.4, best=False),
        Warned(stage=1, attempt=1, message="slow [disk]"),
        ProcessFailed(stage=1, attempt=1, exit_code=4, message="RAM is short", hint="fewer workers"),
    ]
    state = stage_state("failed")
    state.attempts[0].reason = "the guard stopped it"
    folder = make_run(tmp_path, "a", {1: state}, events)
    text = attempt_text(read_history(folder)[0], running=False, here=tmp_path).plain
    assert "10m00s  exit code 4\n  the guard stopped it\n" in text
    assert "epochs 1 to 2 of 5, best 1: mAP50 0.500  mAP50-95 0.250\n" in text
    assert "warning: slow [disk]\n  failed: RAM is short\n    hint: fewer workers\n" in text
    assert text.endswith("log: a/stage-1/attempts/001/log.txt")


def test_an_attempt_tells_what_it_found_saved_and_was_ordered(tmp_path: Path) -> None:
    events: list[Event] = [
        Resumed(stage=1, attempt=1, epoch=0, batch=3, found="slot-1 of 12:03", exact=True),
        training_started(0, 1, first_batch=3),
        checkpoint(0, 6),
        OrdersApplied(stage=1, attempt=1, number=1, epoch=0, batch=7, changes={"workers": (4, 2)}),
        OrdersApplied(stage=1, attempt=1, number=2, epoch=0, batch=8),
        checkpoint(0, 8),
    ]
    history = read_history(make_run(tmp_path, "a", {1: stage_state("interrupted")}, events))[0]
    assert (
        "  found: slot-1 of 12:03\n"
        "  2 checkpoints of 98 MiB, the newest at epoch 1, batch 9 of 10; writing took 0.7% of the time\n"
        "  order 1: workers 4 -> 2 from epoch 1, batch 8\n"
        "  log:"
    ) in attempt_text(history, running=False, here=tmp_path).plain

    value = json.loads(json.dumps(attempt_dict(history), allow_nan=False))
    assert (value["resumed"]["batch"], value["resumed"]["exact"]) == (3, True)
    assert [(c["epoch"], c["batch"], c["written_bytes"], c["seconds"]) for c in value["checkpoints"]] == [
        (0, 6, 98 * 1024**2, 2.0),
        (0, 8, 98 * 1024**2, 2.0),
    ]
    assert value["saving_share"] == pytest.approx(4.0 / 600.0)
    assert [order["changes"] for order in value["orders"]] == [{"workers": [4, 2]}, {}]


def test_an_attempt_without_an_end_is_running_or_was_cut_off(tmp_path: Path) -> None:
    attempt = read_history(make_run(tmp_path, "a", {1: stage_state("running", ended=False)}, []))[0]
    assert "running" in attempt_text(attempt, running=True, here=tmp_path).plain
    assert "its end was not recorded" in attempt_text(attempt, running=False, here=tmp_path).plain


def test_json_holds_bytes_seconds_and_no_nan(tmp_path: Path) -> None:
    state = stage_state("interrupted", epochs_done=1, metrics={"map50": 0.5})
    folder = make_run(tmp_path, "a", {1: state}, [epoch_done(0, 0.5), checkpoint(1, 4)])
    folder.stage(1).checkpoint.mkdir(parents=True)
    (folder.stage(1).checkpoint / "slot-0").touch()
    attempt = read_history(folder)[0]
    attempt.epochs[0].losses["box_loss"] = float("nan")
    value = json.loads(json.dumps([run_dict(summary_of(folder)), attempt_dict(attempt)], allow_nan=False))
    assert value[0]["stages"][0]["metrics"] == {"map50": 0.5}
    assert value[0]["stages"][0]["goes_on_at"] == {"epoch": 1, "batch": 4, "batches": 10}
    assert value[0]["root"] == str(folder.root)
    assert value[1]["epochs"][0]["losses"]["box_loss"] is None
    assert value[1]["started_s"] == T0 + 1000.0
