"""What a person sees while a run goes on: on a terminal, and in a log file."""

import io
import sys
import time
from pathlib import Path
from typing import Literal

import pytest
from rich.console import Console
from rich.text import Text

from sainet.protocol import (
    BatchDone,
    CheckpointSaved,
    EpochDone,
    Event,
    OrdersApplied,
    Phase,
    PhaseStarted,
    ProcessFailed,
    Resumed,
    StageDone,
    StageFailed,
    StageInterrupted,
    StageStarted,
    TrainingDone,
    TrainingStarted,
    Warned,
)
from sainet.report import progress
from sainet.report.memory_now import MemoryNow
from sainet.report.progress import ProgressView

GIB = 1024**3
LOSSES = {"box_loss": 1.234, "cls_loss": 0.812, "dfl_loss": 1.102}


class Screen:
    """A `ProgressView` over a console that writes into a string, and a clock that is the events' own."""

    def __init__(self, *, terminal: bool, width: int = 80, encoding: str = "utf-8", stages: int = 2) -> None:
        self._bytes = io.BytesIO()
        stream = io.TextIOWrapper(self._bytes, encoding=encoding, errors="backslashreplace", write_through=True)
        self.console = Console(file=stream, force_terminal=terminal, width=width, height=30, _environ={"TERM": "xterm"})
        self._encoding = encoding
        self.view = ProgressView(self.console, run="night", stages=stages)

    def show(self, *events: Event) -> str:
        """All that was written when `events` were shown, the live area still standing."""
        with self.view:
            for event in events:
                self.view.handle(event)
            return self.written()

    def written(self) -> str:
        return self._bytes.getvalue().decode(self._encoding)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> float:
    """The Unix time at which everything happens that has no time of its own; the area is painted every time."""
    monkeypatch.setattr(progress, "_PAINT_EVERY_S", 0.0)
    now = 1_700_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    return now


def phase(name: Phase, at: float) -> PhaseStarted:
    return PhaseStarted(time_s=at, stage=1, attempt=1, phase=name)


def started(at: float, first_epoch: int = 0, first_batch: int = 0) -> TrainingStarted:
    return TrainingStarted(
        time_s=at,
        stage=1,
        attempt=1,
        first_epoch=first_epoch,
        first_batch=first_batch,
        epochs=50,
        batches=100,
        train_images=1600,
        val_images=160,
    )


def saved(
    at: float, reason: Literal["interval", "epoch", "order", "stop"], *, epoch: int = 2, batch: int = 60
) -> Event:
    return CheckpointSaved(
        time_s=at,
        stage=1,
        attempt=1,
        epoch=epoch,
        batch=batch,
        batches=100,
        reason=reason,
        written_bytes=98 * 1024**2,
        seconds=0.42,
    )


def batch(at: float, number: int, *, epoch: int = 0, vram_bytes: int | None = None) -> BatchDone:
    return BatchDone(
        time_s=at,
        stage=1,
        attempt=1,
        epoch=epoch,
        epochs=50,
        batch=number,
        batches=100,
        losses=LOSSES,
        images_per_s=412.0,
        vram_bytes=vram_bytes,
    )


def epoch_done(at: float, *, epoch: int = 0, best: bool = True, metrics: dict[str, float] | None = None) -> EpochDone:
    return EpochDone(
        time_s=at,
        stage=1,
        attempt=1,
        epoch=epoch,
        epochs=50,
        losses=LOSSES,
        metrics={"precision": 0.8, "recall": 0.7, "map50": 0.712, "map50-95": 0.431} if metrics is None else metrics,
        fitness=0.431,
        is_best=best,
        lr=0.01,
        seconds=432.0,
    )


def an_epoch(at: float, epoch: int = 0) -> list[Event]:
    """100 batches of 1 s each, then 20 s of validation."""
    batches: list[Event] = [batch(at + n, n, epoch=epoch) for n in range(100)]
    return [*batches, phase("validating", at + 100.0), epoch_done(at + 119.0, epoch=epoch)]


def last_painting(written: str) -> list[str]:
    """The lines of the live area as it stands, without colours."""
    area = written.rpartition("\x1b[2K")[2] if "\x1b[2K" in written else written
    return Text.from_ansi(area).plain.splitlines()


# --- a log file ---------------------------------------------------------------------------------------------------


def test_a_log_gets_plain_lines_without_control_characters(at: float) -> None:
    warning = Warned(time_s=at, stage=1, attempt=1, message="\x1b[31mbold\x1b[0m words")
    text = Screen(terminal=False).show(phase("scanning labels", at), started(at), *an_epoch(at), warning)
    assert [character for character in text if ord(character) < 32 and character != "\n"] == []
    assert text.splitlines()[-1].endswith("warning: bold words")


def test_a_log_gets_one_line_per_phase_change(at: float) -> None:
    names: list[Phase] = ["building the model", "scanning labels", "scanning labels", "final evaluation"]
    lines = Screen(terminal=False).show(*(phase(name, at) for name in names)).splitlines()
    assert [line.partition("  ")[2] for line in lines] == ["building the model", "scanning labels", "final evaluation"]


def test_a_log_gets_at_most_one_line_in_thirty_seconds_of_an_epoch(at: float) -> None:
    text = Screen(terminal=False).show(started(at), *an_epoch(at))
    inside = [line for line in text.splitlines() if "batch " in line]
    assert [line.split("batch ")[1].split("/")[0] for line in inside] == ["31", "61", "91"]


def test_a_log_line_of_an_epoch_tells_figures_time_and_eta(at: float) -> None:
    line = Screen(terminal=False, width=40).show(started(at), *an_epoch(at)).splitlines()[-1]
    assert line.partition(" ")[2] == (
        "stage 1/2  ★ epoch  1/50  mAP50 0.712  mAP50-95 0.431  box 1.23 cls 0.81 dfl 1.10  7m12s  412 img/s  ETA 1h38m"
    )


def test_only_the_best_epoch_has_a_star(at: float) -> None:
    assert "★" not in Screen(terminal=False).show(epoch_done(at, best=False))


def test_a_stream_that_is_not_utf_8_gets_ascii(at: float) -> None:
    text = Screen(terminal=False, encoding="latin-1").show(epoch_done(at))
    assert "* epoch  1/50" in text
    assert text.isascii()


def test_a_failure_is_told_once_with_its_hint(at: float) -> None:
    failed = ProcessFailed(time_s=at, stage=1, attempt=1, exit_code=5, message="no images", hint="check path:")
    again = StageFailed(time_s=at, stage=1, attempt=1, exit_code=5, message="no images", hint="check path:")
    text = Screen(terminal=False).show(failed, again)
    assert text.count("failed: no images [exit code 5]\n  hint: check path:") == 1


@pytest.mark.parametrize(
    ("epoch", "batch", "where"),
    [
        (0, 0, "training 50 epochs of 100 batches"),
        (2, 0, "training 50 epochs from epoch 3, of 100 batches"),
        (2, 60, "training 50 epochs from epoch 3, batch 61, of 100 batches"),
        (2, 100, "training 50 epochs from the validation of epoch 3, of 100 batches"),
    ],
)
def test_the_start_tells_from_where(at: float, epoch: int, batch: int, where: str) -> None:
    assert where in Screen(terminal=False).show(started(at, epoch, batch))


def test_what_a_resume_found_is_told(at: float) -> None:
    found = "the checkpoint of 12:03 (slot 0); slot-1 is cut short"
    resumed = Resumed(time_s=at, stage=1, attempt=2, epoch=2, batch=60, found=found, exact=True)
    assert Screen(terminal=False).show(resumed).endswith(f"stage 1/2  found: {found}\n")


@pytest.mark.parametrize("terminal", [True, False])
def test_only_a_checkpoint_that_was_asked_for_leaves_a_line(at: float, terminal: bool) -> None:
    screen = Screen(terminal=terminal)
    screen.show(started(at), saved(at, "interval"), saved(at, "epoch", epoch=3, batch=0), saved(at, "order"))
    kept = [line.strip() for line in Text.from_ansi(screen.written()).plain.splitlines() if "checkpoint" in line]
    assert [line.partition("stage 1/2  ")[2] for line in kept] == [
        "checkpoint at epoch 3, batch 61 of 100: 98 MiB in 0.4 s"
    ]


def test_the_checkpoint_of_a_stop_tells_where_it_stands(at: float) -> None:
    text = Screen(terminal=False).show(started(at), saved(at, "stop", epoch=50, batch=0))
    assert "checkpoint at the final evaluation: 98 MiB" in text


def test_an_order_tells_what_it_changed_and_from_when_on(at: float) -> None:
    changes = {"workers": (4, 2), "pin_memory": (True, False)}
    order = OrdersApplied(time_s=at, stage=1, attempt=1, number=3, epoch=2, batch=60, changes=changes)
    nothing = OrdersApplied(time_s=at, stage=1, attempt=1, number=4, epoch=2, batch=61)
    lines = Screen(terminal=False).show(order, nothing).splitlines()
    assert [line.partition("  ")[2] for line in lines] == [
        "order 3: workers 4 -> 2, pin_memory on -> off from epoch 3, batch 61"
    ]


def test_the_end_of_a_stage_is_told_whatever_it_is() -> None:
    weights = Path("/runs/night/stage-1/weights/best.pt")
    trained = TrainingDone(
        stage=1,
        attempt=1,
        metrics={},
        best_weights=weights,
        last_weights=weights,
        epochs_trained=43,
        stopped_early=True,
    )
    done = StageDone(stage=1, attempt=1, metrics={"map50": 0.7}, weights=weights)
    text = Screen(terminal=False).show(trained, done, StageInterrupted(stage=1, attempt=1, signal_number=15))
    assert "trained 43 epochs, then patience ran out" in text
    assert f"done  mAP50 0.700  {weights}" in text
    assert "interrupted (SIGTERM)" in text


# --- a terminal ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_of_the_live_area_is_wider_than_the_terminal(at: float, width: int) -> None:
    screen = Screen(terminal=True, width=width)
    screen.view.show_memory(MemoryNow(ram=(150 * GIB, 196 * GIB)))
    vram = batch(at, 50, epoch=1, vram_bytes=61 * GIB)
    lines = last_painting(screen.show(started(at - 119), *an_epoch(at - 119), batch(at, 49, epoch=1), vram))
    assert len(lines) == 5
    assert max(len(line) for line in lines) <= width


def test_the_live_area_shows_where_the_run_stands(at: float) -> None:
    screen = Screen(terminal=True)
    screen.view.show_memory(MemoryNow(ram=(41 * GIB, 196 * GIB), vram=((61 * GIB, 80 * GIB),), lowered=("workers 2",)))
    vram = batch(at, 50, epoch=1, vram_bytes=60 * GIB)
    title, bar, losses, speed, memory = last_painting(screen.show(started(at - 119), *an_epoch(at - 119), vram))
    assert title.startswith("stage 1/2  training  night")
    assert title.endswith("ETA 1h37m")
    assert bar.startswith("epoch 2/50 ━")
    assert bar.rstrip().endswith("─  51/100  49s left")
    assert losses == "box 1.234 cls 0.812 dfl 1.102   epoch 1: mAP50 0.712  mAP50-95 0.431"
    assert speed == "412 img/s   allocator 60.0 GiB"
    assert memory == "RAM 41.0/196.0 GiB, 155.0 left   VRAM 61.0/80.0   lowered: workers 2"


def test_the_live_area_tells_when_the_state_was_saved(at: float) -> None:
    now = [started(at - 200, 2, 60), saved(at - 130, "interval"), batch(at, 90, epoch=2)]
    lines = last_painting(Screen(terminal=True).show(*now))
    assert lines[-1] == "412 img/s   saved 2 min ago"
    assert lines[1].rstrip().endswith("91/100")
    again = StageStarted(time_s=at, stage=1, attempt=2, pid=1, resumed=True)
    lines = last_painting(Screen(terminal=True).show(*now, again, started(at), batch(at, 1)))
    assert lines[-1] == "412 img/s", "this attempt has saved nothing yet"


def test_the_live_area_names_the_phase_and_how_long_it_takes(at: float) -> None:
    lines = last_painting(Screen(terminal=True, stages=1).show(phase("scanning labels", at - 75)))
    assert lines == ["stage 1  scanning labels 1m15s  night" + " " * 43]


def test_each_epoch_leaves_one_line_above_the_live_area_that_fits(at: float) -> None:
    screen = Screen(terminal=True)
    screen.show(started(at), *an_epoch(at), *an_epoch(at + 119, epoch=1))
    kept = [line for line in Text.from_ansi(screen.written()).plain.splitlines() if "★ epoch" in line]
    assert [line.split()[2] for line in kept] == ["1/50", "2/50"]
    assert all("7m12s" in line and len(line.rstrip()) <= 80 for line in kept)


def test_the_live_area_is_gone_at_the_end_and_the_cursor_is_back(at: float) -> None:
    screen = Screen(terminal=True)

    def interrupted() -> None:
        with screen.view:
            screen.view.handle(batch(at, 1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    end = screen.written()
    assert end.rindex("\x1b[2K") > end.rindex("box 1.234")
    assert end.rindex("\x1b[?25h") > end.rindex("\x1b[?25l")


def test_painting_is_bounded_however_many_events_come() -> None:
    screen = Screen(terminal=True)
    screen.show(*(batch(float(n), n % 100) for n in range(500)))
    assert screen.written().count("box 1.234") <= 3


def test_no_colour_is_written_where_none_is_wanted(at: float) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, _environ={"TERM": "xterm", "NO_COLOR": "1"})
    with ProgressView(console, run="night", stages=1) as view:
        view.handle(started(at))
        view.handle(batch(at, 50))
    assert "\x1b[36m" not in stream.getvalue()
    assert "━─" in stream.getvalue().replace("\x1b[0m", "")


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(at: float) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, _environ={"TERM": "dumb"})
    with ProgressView(console, run="night", stages=1) as view:
        view.handle(phase("scanning labels", at))
    assert "\x1b[2K" not in stream.getvalue()
    assert "scanning labels" in stream.getvalue()


def test_stdout_is_left_to_data_while_the_live_area_stands(at: float, capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(terminal=True)
    with screen.view:
        screen.view.handle(StageStarted(time_s=at, stage=1, attempt=1, pid=1, resumed=False))
        print("data")
    assert capsys.readouterr().out == "data\n"
    assert "data" not in screen.written()


def test_what_is_printed_to_stderr_appears_above_the_live_area(at: float) -> None:
    screen = Screen(terminal=True)
    with screen.view:
        screen.view.handle(phase("scanning labels", at))
        print("a word in between", file=sys.stderr)
        screen.view.handle(phase("validating", at))
        kept, _, area = screen.written().rpartition("\x1b[2Ka word in between\n")
    assert "scanning labels" in kept
    assert "validating" in area


def test_losses_that_are_not_a_number_are_shown(at: float) -> None:
    diverged = batch(at, 50).model_copy(update={"losses": {"box_loss": float("nan")}})
    assert "box nan" in Screen(terminal=True).show(started(at), diverged)
