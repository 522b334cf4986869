"""The budget as a picture: a stacked bar per resource, and the limits as lines across it."""

import os
from pathlib import Path
from typing import Any

from sainet.errors import UsageError
from sainet.files import replacing
from sainet.memory.forecast import RESOURCES, Forecast
from sainet.memory.limits import Limits
from sainet.report.memory import TITLES, gib

__all__ = ["draw"]

_GIB = 1024**3
_SMALL = 0.02
"""Rows below this share of a bar are drawn, but not named."""
_FORMATS = frozenset({".png", ".svg", ".pdf", ".jpg"})


def draw(forecast: Forecast, planned: Limits, here: Limits | None, path: Path, *, title: str) -> None:
    """Write the picture to `path`. Raises `UsageError` for an ending that is no picture's."""
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"{path} does not end like a picture", where="--plot", hint="--plot memory.png")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"nothing can be written into {path.parent}", where="--plot", hint="name another folder")
    import matplotlib as mpl

    mpl.use("Agg")  # no screen on a rented machine
    import matplotlib.pyplot as plt

    shown = [name for name in RESOURCES if forecast.budget(name).rows]
    figure, axes = plt.subplots(len(shown), 1, figsize=(11, 1.5 + 2.0 * len(shown)), squeeze=False)
    for (axis,), name in zip(axes, shown, strict=True):
        _bar(axis, forecast, name)
        _limit(axis, planned[name].bytes, "planned for", "black", top=True)
        if here is not None:
            _limit(axis, here[name].free_bytes, "free here", "tab:red", top=False)
        axis.set_title(f"{TITLES[name]}: {gib(forecast.budget(name).need_bytes)} needed", loc="left", fontsize=10)
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=120)
    plt.close(figure)


def _bar(axis: Any, forecast: Forecast, name: Any) -> None:
    budget = forecast.budget(name)
    left = 0.0
    for row in sorted(budget.rows, key=lambda row: -row.bytes):
        width = row.bytes / _GIB
        label = f"{row.component}, {gib(row.bytes)}" if row.bytes >= _SMALL * budget.need_bytes else None
        axis.barh([0], [width], left=left, label=label, height=0.6)
        left += width
    axis.set_yticks([])
    axis.set_xlabel("GiB")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)


def _limit(axis: Any, size_bytes: int | None, label: str, colour: str, *, top: bool) -> None:
    if size_bytes is None:
        return
    at = size_bytes / _GIB
    axis.axvline(at, color=colour, linestyle="--", linewidth=1.2)
    axis.annotate(f"{label} {gib(size_bytes)}", (at, 0.33 if top else -0.4), fontsize=8, color=colour, ha="right")
