"""Which settings make a training what it is, so that a resume cannot turn it into another one."""

from pathlib import Path
from typing import Any

from sainet.config.resolve import Resolved
from sainet.errors import UsageError, combined

_SECTIONS = ("data", "weights", "schedule", "optim", "augment", "loss", "train")
_FREE = frozenset(
    {
        "train.device",
        "train.save_period",
        "train.plots",
        "train.checkpoint_minutes",
        "train.micro_batch",  # the same gradient, in less memory; BatchNorm's statistics are the pieces'
        "schedule.patience",
    }
)
"""Keys of these sections that may change between two attempts; those of other sections all may."""


def training_identity(resolved: Resolved) -> dict[str, Any]:
    """Dotted key to value for every setting that a resume must not change."""
    identity = {
        key: resolved.value(key) for key in resolved.history if key.partition(".")[0] in _SECTIONS and key not in _FREE
    }
    if identity.get("data"):
        identity["data"] = str(Path(identity["data"]).expanduser().resolve())
    # Staged as they are, the images are the same; in another form they are others.
    identity["staging.format"] = resolved.config.staging.format if resolved.config.staging.to else "as-is"
    return identity


def _is_gone(before: str | None, now: str | None) -> bool:
    """A bare name of weights is a path as long as the file is there; a training that has begun needs it no more."""
    return bool(before and now) and "/" not in str(now) and Path(str(before)).name == now


def check_same_training(before: dict[str, Any], resolved: Resolved, *, run: str) -> None:
    """Raises `UsageError` naming every setting that differs from the attempts before."""
    now = training_identity(resolved)
    errors = [
        UsageError(
            f"stage {resolved.stage} of run {run} is trained with {key} = {before.get(key)!r}, not {now.get(key)!r}",
            where=str(resolved.origin(key)),
            hint=f"`--resume --run {run}` alone goes on as it was asked for; another --run starts a new training",
        )
        for key in sorted(before.keys() & now.keys())
        if before[key] != now[key] and not (key == "weights" and _is_gone(before[key], now[key]))
    ]
    if errors:
        raise combined(errors)
