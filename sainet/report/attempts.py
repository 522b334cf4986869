"""What happened in one attempt at a stage, for people and as JSON."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from sainet.protocol import EpochDone, GuardActed
from sainet.report.history import AttemptHistory
from sainet.report.lines import changes_text, effect_text, guard_text, position_text
from sainet.report.tables import duration, metrics_text, mib, moment, near, plain
from sainet.state import Attempt

__all__ = ["attempt_dict", "attempt_text"]

_OF_THE_FILE = {"event", "stage", "attempt"}
"""What every line of events.jsonl says of itself, and the attempt says once."""


def attempt_text(history: AttemptHistory, *, running: bool, here: Path) -> Text:
    """What happened in one attempt, a few lines; `running` if it goes on at this moment."""
    attempt, text = history.attempt, Text()
    text.append(f"stage {history.stage}, attempt {attempt.number}", style="bold")
    text.append(f"  {moment(attempt.started_s)}  {_end(attempt, running)}\n")
    for line in _facts(history):
        text.append(f"  {line}\n")
    for event in history.guard:
        told = guard_text(event) if isinstance(event, GuardActed) else effect_text(event)
        text.append("  ").append(told).append("\n")
    for warning in history.warnings:
        text.append("  warning: ", style="yellow").append(f"{warning.message}\n")
    for failure in history.failures:
        text.append("  failed: ", style="bold red").append(f"{failure.message}\n")
        if failure.hint:
            text.append("    hint: ", style="cyan").append(f"{failure.hint}\n")
    return text.append(f"  log: {near(history.log, here)}")


def attempt_dict(history: AttemptHistory) -> dict[str, Any]:
    """An attempt for JSON, with its events. Epochs and batches count from 0, as in `events.jsonl`."""
    shown = {"time_s", "exit_code", "message", "hint"}
    resumed = history.resumed
    values = {
        "stage": history.stage,
        **history.attempt.model_dump(),
        "log": history.log,
        "resumed": resumed and resumed.model_dump(exclude=_OF_THE_FILE),
        "epochs": [event.model_dump(exclude=_OF_THE_FILE) for event in history.epochs],
        "checkpoints": [event.model_dump(exclude=_OF_THE_FILE) for event in history.checkpoints],
        "saving_share": history.saving_share,
        "orders": [event.model_dump(exclude=_OF_THE_FILE) for event in history.orders],
        "guard": [event.model_dump(exclude={"stage", "attempt"}) for event in history.guard],
        "restarting": history.restarting and history.restarting.model_dump(exclude=_OF_THE_FILE),
        "warnings": [event.model_dump(include=shown) for event in history.warnings],
        "failures": [event.model_dump(include=shown) for event in history.failures],
    }
    return {key: plain(value) for key, value in values.items()}


def _facts(history: AttemptHistory) -> Iterator[str]:
    if history.attempt.reason:
        yield history.attempt.reason
    if history.resumed:
        yield f"found: {history.resumed.found}"
    if history.epochs:
        yield _epochs_text(history.epochs)
    if history.checkpoints:
        yield _checkpoints_text(history)
    for order in history.orders:
        if order.changes:
            yield f"order {order.number}: {changes_text(order)}"


def _end(attempt: Attempt, running: bool) -> str:
    if attempt.ended_s is None:
        return "running" if running else "its end was not recorded"
    code = "" if attempt.exit_code is None else f"  exit code {attempt.exit_code}"
    return f"{duration(attempt.ended_s - attempt.started_s)}{code}"


def _epochs_text(epochs: Sequence[EpochDone]) -> str:
    first, last = epochs[0], epochs[-1]
    best = next((epoch for epoch in reversed(epochs) if epoch.is_best), None)
    span = f"epoch {first.epoch + 1}" if first is last else f"epochs {first.epoch + 1} to {last.epoch + 1}"
    text = f"{span} of {last.epochs}"
    figures = metrics_text(best.metrics, ("map50", "map50-95")) if best else ""
    return f"{text}, best {best.epoch + 1}: {figures}" if best else text


def _checkpoints_text(history: AttemptHistory) -> str:
    newest, count = history.checkpoints[-1], len(history.checkpoints)
    at = position_text(newest, history.started.epochs if history.started else None)
    number = "1 checkpoint" if count == 1 else f"{count} checkpoints"
    share = history.saving_share
    took = "" if share is None else f"; writing took {share:.1%} of the time"
    return f"{number} of {mib(newest.written_bytes)} MiB, the newest at {at}{took}"
