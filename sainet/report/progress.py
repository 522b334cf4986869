"""What a person sees of a run while it runs: one live area on a terminal, plain lines anywhere else.

There is no thread that paints: the area is painted when an event or a look at the memory arrives, at most four times
a second.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import fmean
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from sainet.protocol import (
    BatchDone,
    CheckpointSaved,
    EpochDone,
    Event,
    PhaseStarted,
    ProcessFailed,
    StageFailed,
    StageStarted,
)
from sainet.report.eta import Pace
from sainet.report.lines import losses_text, told_line
from sainet.report.memory_now import MemoryNow, memory_words
from sainet.report.tables import ago, duration, gib, metrics_text

__all__ = ["ProgressView"]

_PAINT_EVERY_S = 0.25
_LINE_EVERY_S = 30.0
_SHOWN = ("map50", "map50-95")


@dataclass
class _Scene:
    """All that is shown of a stage, as of its last event."""

    stage: int = 0
    attempt: int = 0
    phase: str = "starting"
    phase_since_s: float = field(default_factory=time.time)
    pace: Pace = field(default_factory=Pace)
    batch: BatchDone | None = None
    epoch: EpochDone | None = None
    saved_s: float | None = None
    """Unix time of this attempt's newest exact checkpoint."""
    rates: list[float] = field(default_factory=list)
    """Images per second in this epoch, one figure per progress event."""

    def take(self, event: Event) -> None:
        self.stage, self.attempt = event.stage, event.attempt
        self.pace = self.pace.after(event)
        match event:
            case PhaseStarted():
                self._enter(event.phase, event.time_s)
            case BatchDone():
                self.batch = event
                self.rates.append(event.images_per_s)
                self._enter("training", event.time_s)
            case EpochDone():
                self.epoch, self.rates = event, []
            case CheckpointSaved():
                self.saved_s = event.time_s

    def _enter(self, phase: str, now_s: float) -> None:
        if phase != self.phase:
            self.phase, self.phase_since_s = phase, now_s


class ProgressView:
    """Shows the events of a run on `console`, handed over one at a time inside a `with` block.

    What `print` writes to stderr meanwhile appears above the live area (another rich console would write into it);
    stdout is left alone, for data.
    """

    def __init__(self, console: Console, *, run: str, stages: int) -> None:
        self._console = console
        self._run = run
        self._stages = stages
        self._scene = _Scene()
        self._memory = MemoryNow()
        self._failure: tuple[int, int, str] | None = None
        self._painted_s = float("-inf")
        self._line_s = float("-inf")
        self._closing = ExitStack()
        # A terminal that cannot move its cursor (TERM=dumb) gets plain lines too.
        self._live = console.is_interactive
        self._area = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            get_renderable=self._paint,
        )

    def __enter__(self) -> Self:
        if self._live:
            self._closing.enter_context(self._area)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def handle(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, StageStarted):
            self._scene = _Scene(phase_since_s=event.time_s)
        phase, rates = self._scene.phase, self._scene.rates
        self._scene.take(event)
        images_per_s = fmean(rates) if rates else None
        told = told_line(event, images_per_s=images_per_s, epochs=self._scene.pace.epochs, unicode=self._unicode)
        if told is not None and not self._told_before(event):
            self._print(told, event)
        elif not self._live and self._scene.phase != phase and self._scene.phase != "training":
            self._print([Text(self._scene.phase)], event)
        elif not self._live and isinstance(event, BatchDone) and event.time_s >= self._line_s + _LINE_EVERY_S:
            self._print(self._inside_epoch(event), event)
        self._refresh()

    def show_memory(self, now: MemoryNow) -> None:
        """Show what is taken of the memory, and what it has cost; to be called about twice a second."""
        self._memory = now
        self._refresh()

    def _told_before(self, event: Event) -> bool:
        """Whether the supervisor only repeats the failure that the training process told."""
        if not isinstance(event, ProcessFailed | StageFailed):
            return False
        failure = (event.stage, event.attempt, event.message)
        before, self._failure = self._failure, failure
        return failure == before

    @property
    def _unicode(self) -> bool:
        return self._console.encoding.startswith("utf")

    def _refresh(self) -> None:
        if self._live and time.monotonic() >= self._painted_s + _PAINT_EVERY_S:
            self._painted_s = time.monotonic()
            self._area.refresh()

    # --- lines that stay -----------------------------------------------------------------------------------------

    def _print(self, parts: list[Text], event: Event) -> None:
        """One line that stays: whole in a log; on a terminal, of an epoch, as many parts as its width takes."""
        self._line_s = event.time_s
        if not self._live:
            clock = time.strftime("%H:%M:%S", time.localtime(event.time_s))
            if isinstance(event, EpochDone):
                parts = [*parts, *self._eta(event.time_s)]
            parts = [Text(f"{clock} {self._stage_name(event.stage)}"), *parts]
        elif isinstance(event, EpochDone):
            while sum(part.cell_len + 2 for part in parts) - 2 > self._console.width:
                parts.pop()
        else:
            parts = [Text(self._stage_name(event.stage), style="bold"), *parts]
        self._console.print(Text("  ").join(parts), soft_wrap=not self._live, highlight=False)

    def _inside_epoch(self, event: BatchDone) -> list[Text]:
        where = f"epoch {event.epoch + 1}/{event.epochs}  batch {event.batch + 1}/{event.batches}"
        memory = [Text(words) for words in memory_words(self._memory)]
        figures = [*self._speed(), *memory, *self._eta(event.time_s)]
        return [Text(where), losses_text(event.losses), *figures]

    # --- the live area -------------------------------------------------------------------------------------------

    def _paint(self) -> Group:
        scene, now_s, width = self._scene, time.time(), self._console.width
        busy = "" if scene.phase == "training" else f" {duration(max(0.0, now_s - scene.phase_since_s))}"
        attempt = f"  attempt {scene.attempt}" if scene.attempt > 1 else ""
        title = Text.assemble((f"{self._stage_name(scene.stage)}{attempt}  ", "bold"), (scene.phase + busy, "cyan"))
        if scene.stage:
            title.append(f"  {self._run}", style="dim")
        training = scene.pace.epochs > 0 and scene.phase != "final evaluation"
        eta = self._eta(now_s) or [Text("ETA after the first validation" if training else "", style="dim")]
        lines = [_ends(title, eta[0], width)]
        if training:
            lines.append(self._epoch_line(now_s, width))
        figures = [losses_text(scene.batch.losses)] if scene.batch else []
        if scene.epoch:
            shown = metrics_text(scene.epoch.metrics, _SHOWN)
            figures.append(Text(f"epoch {scene.epoch.epoch + 1}: {shown}"))
        speed = [*self._speed(), *self._saved(now_s)]
        memory = [Text(words) for words in memory_words(self._memory)]
        lines += [Text("   ").join(part) for part in (figures, speed, memory) if part]
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return Group(*lines)

    def _epoch_line(self, now_s: float, width: int) -> Text:
        pace = self._scene.pace
        trained = self._scene.phase == "validating"
        done = pace.batches if trained else pace.batches_done
        left_s = None if trained else pace.epoch_left_s(now_s)
        left = Text(f"epoch {min(pace.epoch + 1, pace.epochs)}/{pace.epochs} ")
        # The figures grow and shrink; the bar should not.
        count = f" {done:>{len(str(pace.batches))}}/{pace.batches}  "
        right = Text(count + ("" if left_s is None else f"{duration(left_s)} left").ljust(11))
        bar = _bar(done, pace.batches, width - left.cell_len - right.cell_len, unicode=self._unicode)
        return Text.assemble(left, bar, right)

    def _eta(self, now_s: float) -> list[Text]:
        left_s = self._scene.pace.stage_left_s(now_s)
        return [] if left_s is None else [Text(f"ETA {duration(left_s)}", style="bold")]

    def _speed(self) -> list[Text]:
        batch = self._scene.batch
        parts = [Text(f"{batch.images_per_s:.0f} img/s")] if batch else []
        if batch and batch.vram_bytes is not None:
            parts.append(Text(f"allocator {gib(batch.vram_bytes)} GiB"))
        return parts

    def _saved(self, now_s: float) -> list[Text]:
        saved_s = self._scene.saved_s
        return [] if saved_s is None else [Text(f"saved {ago(now_s - saved_s)}", style="dim")]

    def _stage_name(self, stage: int) -> str:
        if not stage:
            return self._run
        return f"stage {stage}/{self._stages}" if self._stages > 1 else f"stage {stage}"


def _ends(left: Text, right: Text, width: int) -> Text:
    """One line with `right` at its end, and as much of `left` as there is room for."""
    left.truncate(max(0, width - right.cell_len - 2), overflow="ellipsis", pad=True)
    return Text.assemble(left, "  ", right)


def _bar(done: int, total: int, width: int, *, unicode: bool) -> Text:
    """A bar that can be read without colours too."""
    filled = max(0, width) * min(done, total) // max(1, total)
    full, rest = ("━", "─") if unicode else ("#", "-")
    return Text.assemble((full * filled, "cyan"), (rest * (width - filled), "bright_black"))
