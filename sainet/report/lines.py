"""The line that an event of a run leaves for good, on a terminal and in a log."""

from signal import Signals

from rich.text import Text

from sainet.protocol import (
    CheckpointSaved,
    DataStaged,
    EpochDone,
    Event,
    GuardActed,
    GuardMeasured,
    OrdersApplied,
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
)
from sainet.report.findings import size_text
from sainet.report.tables import duration, gib, metrics_text, mib
from sainet.state import Position

__all__ = ["changes_text", "effect_text", "guard_text", "losses_text", "position_text", "staged_text", "told_line"]


def told_line(event: Event, *, images_per_s: float | None, epochs: int, unicode: bool) -> list[Text] | None:
    """The line in parts, the most important first; None if the event leaves none.

    `images_per_s` and `epochs` are of the stage so far: its speed in this epoch, and how many epochs it has.
    """
    match event:
        case StageStarted():
            return [Text(f"attempt {event.attempt}" + (", resumed" if event.resumed else ""))]
        case Resumed():
            return [_labelled("found", "green" if event.exact else "yellow", event.found)]
        case DataStaged():
            return [Text(staged_text(event))]
        case TrainingStarted():
            return _start(event)
        case EpochDone():
            return _epoch(event, images_per_s, unicode)
        case CheckpointSaved(reason="order" | "stop"):  # those at intervals and of epochs only go without saying
            return _saved(event, epochs)
        case OrdersApplied() if event.changes:
            return [Text(f"order {event.number}: {changes_text(event)}")]
        case GuardActed():
            return [guard_text(event)]
        case GuardMeasured():
            return [effect_text(event)]
        case StageRestarting():
            return [_labelled("restarting", "yellow", f"{event.message} [restart {event.restart} of {event.of}]")]
        case TrainingDone():
            early = ", then patience ran out" if event.stopped_early else ""
            return [Text(f"trained {event.epochs_trained} epochs{early}")]
        case Warned():
            return [_labelled("warning", "yellow", event.message)]
        case ProcessFailed() | StageFailed():
            return [
                _labelled("failed", "bold red", f"{event.message} [exit code {event.exit_code}]{_hint(event.hint)}")
            ]
        case StageDone():
            figures = metrics_text(event.metrics)
            return [Text("done", style="green"), *([Text(figures)] if figures else []), Text(str(event.weights))]
        case StageInterrupted():
            name = Signals(event.signal_number).name
            return [Text(f"interrupted ({name}); it can be resumed", style="yellow")]
    return None


def losses_text(losses: dict[str, float], digits: int = 3) -> Text:
    """Loss components by their short names, as `box 1.234 cls 0.812`."""
    return Text(" ".join(f"{name.removesuffix('_loss')} {value:.{digits}f}" for name, value in losses.items()))


def position_text(event: CheckpointSaved, epochs: int | None) -> str:
    """Where a resume from that checkpoint goes on; `epochs` is how many the stage has, None where that is not known."""
    return Position(epoch=event.epoch, batch=event.batch, batches=event.batches).text(epochs)


def changes_text(event: OrdersApplied) -> str:
    """What an order changed and from when on, as `workers 4 -> 2 from epoch 3, batch 121`."""
    changes = ", ".join(f"{name} {_switch(old)} -> {_switch(new)}" for name, (old, new) in event.changes.items())
    return f"{changes} from epoch {event.epoch + 1}, batch {event.batch + 1}"


def staged_text(event: DataStaged) -> str:
    """Where the images are, and what that took."""
    form = "" if event.format == "as-is" else f" as {event.format}"
    if event.reused:
        return f"the data are staged already{form}: {event.images} images in {event.place}"
    took = f"{size_text(event.bytes)} in {event.seconds:.1f} s"
    return f"staged and verified {event.images} images{form} in {event.place}: {took}"


def guard_text(event: GuardActed) -> Text:
    """What the guard found, what it did about it, and what to set next time."""
    style = {"soft": "yellow", "hard": "bold red", "failure": "bold red"}.get(event.level, "green")
    if event.level == "failure":  # why is told beside it
        return _labelled("guard", style, f"{event.action}{_hint(event.hint)}")
    done = _NOTHING.get(event.level, "") if event.action == "none" else f": {event.action}"
    return _labelled(f"guard, {event.level}", style, f"{event.reason}{done}{_hint(event.hint)}")


_NOTHING = {"soft": "; nothing milder can be done", "hard": "; nothing is left to be done"}


def effect_text(event: GuardMeasured) -> Text:
    """What a step of the guard has given back."""
    given = gib(abs(event.before_bytes - event.after_bytes))
    less = "less" if event.after_bytes <= event.before_bytes else "more"
    of = f"{event.resource} {gib(event.before_bytes)} -> {gib(event.after_bytes)} of {gib(event.limit_bytes)} GiB"
    return Text(f"guard, effect of {event.action}: {given} GiB {less} ({of})" + ("" if event.helped else "; no help"))


def _hint(hint: str | None) -> str:
    return f"\n  hint: {hint}" if hint else ""


def _switch(value: int | bool) -> str:
    return str(value) if type(value) is int else ("on" if value else "off")


def _start(event: TrainingStarted) -> list[Text]:
    fitted = f", {event.transferred} weights transferred" if event.transferred else ""
    return [
        Text(
            f"training {event.epochs} epochs {_from(event)}of {event.batches} batches: {event.train_images} images, "
            f"{event.val_images} to validate{fitted}"
        )
    ]


def _from(event: TrainingStarted) -> str:
    if event.first_batch >= event.batches:
        return f"from the validation of epoch {event.first_epoch + 1}, "
    if event.first_batch:
        return f"from epoch {event.first_epoch + 1}, batch {event.first_batch + 1}, "
    return f"from epoch {event.first_epoch + 1}, " if event.first_epoch else ""


def _epoch(event: EpochDone, images_per_s: float | None, unicode: bool) -> list[Text]:
    star = ("★" if unicode else "*") if event.is_best else " "
    number = str(event.epoch + 1).rjust(len(str(event.epochs)))
    parts = [
        Text.assemble((star, "yellow"), f" epoch {number}/{event.epochs}"),
        Text(metrics_text(event.metrics, ("map50",))),
        Text(metrics_text(event.metrics, ("map50-95",))),
        losses_text(event.losses, digits=2),
        Text(duration(event.seconds)),
    ]
    if images_per_s is not None:
        parts.append(Text(f"{images_per_s:.0f} img/s"))
    return [part for part in parts if part]


def _saved(event: CheckpointSaved, epochs: int) -> list[Text]:
    size = f"{mib(event.written_bytes)} MiB in {event.seconds:.1f} s"
    return [Text(f"checkpoint at {position_text(event, epochs or None)}: {size}")]


def _labelled(label: str, style: str, message: str) -> Text:
    # Messages may quote libraries that colour theirs; a log file must not get the escape sequences.
    return Text.assemble((f"{label}:", style), " ", Text.from_ansi(message))
