"""Runs and stages as tables for people and as values for JSON, and how figures are written for people.

In JSON, sizes are bytes, times are Unix seconds and durations are seconds; a figure that is not a number is null.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sainet.protocol import Metrics, Stage
from sainet.report.runs import RunSummary, StageSummary, UnreadableRun
from sainet.state import Status

__all__ = [
    "ago",
    "duration",
    "gib",
    "metrics_text",
    "mib",
    "moment",
    "near",
    "plain",
    "profile_text",
    "run_dict",
    "runs_table",
    "stage_table",
    "status_text",
]

_GIB = 1024**3
_MIB = 1024**2
_WIDE = 110
"""Columns that the table of runs needs for one line a run."""
_METRICS = {"precision": "precision", "recall": "recall", "map50": "mAP50", "map50-95": "mAP50-95"}
_STAGES: tuple[Stage, ...] = (1, 2)
_STYLES: dict[Status, str] = {
    "done": "green",
    "running": "cyan",
    "interrupted": "yellow",
    "failed": "bold red",
    "pending": "dim",
}


def gib(size_bytes: int) -> str:
    """The number of GiB, to a tenth, without the unit."""
    return f"{size_bytes / _GIB:.1f}"


def mib(size_bytes: int) -> str:
    """The number of MiB, without the unit."""
    return f"{size_bytes / _MIB:.0f}"


def duration(seconds: float) -> str:
    """The two largest units of a time: `42s`, `7m12s`, `5h10m`, `2d03h`."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days}d{h:02d}h"
    if hours:
        return f"{h}h{m:02d}m"
    return f"{m}m{s:02d}s" if minutes else f"{s}s"


def ago(seconds: float) -> str:
    """How long ago, in one unit; a clock that was set back is `just now`."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


def moment(time_s: float) -> str:
    """A Unix time in this machine's time zone, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s))


def near(path: Path, here: Path) -> Path:
    """`path` as one would type it in the folder `here`."""
    return path.relative_to(here) if path.is_relative_to(here) else path


def metrics_text(metrics: Metrics, names: Sequence[str] = tuple(_METRICS)) -> str:
    """Those of `names` that were measured, as `mAP50 0.712  mAP50-95 0.431`."""
    return "  ".join(f"{_METRICS[name]} {metrics[name]:.3f}" for name in names if name in metrics)


def profile_text(run: RunSummary) -> str:
    """A run's profile, and its tier if it has one: `h200/fast`."""
    return f"{run.profile}/{run.tier}" if run.tier else run.profile


def status_text(run: RunSummary | UnreadableRun, gap: str = " ") -> Text:
    """A run's status in its colour; `gap` goes between its words."""
    if isinstance(run, UnreadableRun):
        return Text("unreadable", style="bold red")
    return _status(run.status).append(f"{gap}(process gone)" if run.process_gone else "")


def stage_table(stages: Sequence[StageSummary], *, here: Path) -> Group:
    """How each stage went, and below it where its best weights are (relative to `here`, if they are below that) and
    where its exact state stands.
    """
    table = _table("stage", "status")
    for column in ("epochs", *_METRICS.values(), "time"):
        table.add_column(column, justify="right", no_wrap=True)
    for stage in stages:
        figures = [_figure(stage.metrics, name) for name in _METRICS]
        table.add_row(str(stage.stage), _status(stage.status), _epochs(stage), *figures, duration(stage.seconds))
    weights = (_weights(stage, here) for stage in stages if stage.weights)
    return Group(table, *weights, *(_checkpoint(stage) for stage in stages if stage.goes_on_at))


def runs_table(runs: Sequence[RunSummary | UnreadableRun], *, now_s: float, width: int) -> Table:
    """A run a line, or two where `width` columns are too few; `now_s` is the Unix time the last column counts from."""
    gap = " " if width >= _WIDE else "\n"
    table = _table("run")
    for column in (f"command,{gap}profile", "status", "at"):
        table.add_column(column, no_wrap=True)
    for column in (*(f"mAP50\nstage {stage}" for stage in _STAGES), "updated"):
        table.add_column(column, justify="right", no_wrap=True)
    for run in runs:
        if isinstance(run, UnreadableRun):
            table.add_row(Text(run.name), "", status_text(run))
        else:
            table.add_row(*_run_row(run, gap), ago(now_s - run.updated_s))
    return table


def run_dict(run: RunSummary | UnreadableRun) -> dict[str, Any]:
    """A run for JSON; one that cannot be read has the status `unreadable` and says why in `problem`."""
    status = {"status": "unreadable"} if isinstance(run, UnreadableRun) else {}
    return {key: plain(value) for key, value in (asdict(run) | status).items()}


def plain(value: Any) -> Any:
    """The same value of things that JSON has: no models, no paths, and no NaN of a training that diverged."""
    match value:
        case BaseModel():
            return plain(value.model_dump())
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case Path():
            return str(value)
        case float() if not math.isfinite(value):
            return None
    return value


def _run_row(run: RunSummary, gap: str) -> Iterator[RenderableType]:
    best = {stage.stage: _figure(stage.metrics, "map50") for stage in run.stages}
    yield Text(run.name)
    yield Text(f"{run.command}{gap}{profile_text(run)}")
    yield status_text(run, gap)
    yield f"{run.current.stage}: {_epochs(run.current)}"
    yield from (best.get(stage, "") for stage in _STAGES)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _weights(stage: StageSummary, here: Path) -> Text:
    path = str(near(stage.weights, here)) if stage.weights else "none"
    return Text.assemble((f"stage {stage.stage} weights  ", "bold"), path, overflow="fold")


def _checkpoint(stage: StageSummary) -> Text:
    at = stage.goes_on_at.text(stage.epochs) if stage.goes_on_at else "none"
    return Text.assemble((f"stage {stage.stage} checkpoint  ", "bold"), at)


def _status(status: Status) -> Text:
    return Text(status, style=_STYLES[status])


def _epochs(stage: StageSummary) -> str:
    early = " (early)" if stage.stopped_early else ""
    return f"{stage.epochs_done}/{'?' if stage.epochs is None else stage.epochs}{early}"


def _figure(metrics: Metrics, name: str) -> str:
    return f"{metrics[name]:.3f}" if name in metrics else "-"
