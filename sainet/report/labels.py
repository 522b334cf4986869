"""What the cheap part of the data check found, as text for the start of a training."""

from collections.abc import Sequence
from pathlib import Path

from sainet.data.check.cheap import Count
from sainet.data.check.kinds import KINDS

__all__ = ["findings_text"]


def findings_text(yaml: Path, counts: Sequence[Count]) -> str:
    """A heading, and a line for each kind: how bad, which, how many, what it is and where first."""
    widths = max(len(count.kind) for count in counts), max(len(str(count.count)) for count in counts)
    lines = [_line(count, *widths) for count in counts]
    return "\n".join([f"the labels of {yaml} (sainet data check shows all):", *lines])


def _line(count: Count, kind_width: int, count_width: int) -> str:
    kind = KINDS[count.kind]
    head = f"  {kind.severity:<7}  {kind.name:<{kind_width}}  {count.count:>{count_width}}"
    return f"{head}  {kind.title}, first {count.where}: {count.message}"
