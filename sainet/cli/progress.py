"""How far a long work on images is: a bar on a terminal, a few lines in a log."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress"]

_REPORTS = 4
"""How many lines of progress a log gets."""


@contextmanager
def progress(doing: str, done: str) -> Iterator[Callable[[int, int], None]]:
    """Shows (done, total), on a terminal with the rate and the time left; the words are as in checking, checked."""
    from sainet.cli.output import stderr

    if not stderr().is_terminal:
        yield _Lines(done)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=stderr(), transient=True) as bar:
        task = bar.add_task(doing, total=None, rate="")

        def update(count: int, total: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=count, total=total, rate=f"{speed:,.0f} images/s" if speed else "")

        yield update


class _Lines:
    """A line of progress for every quarter of the images."""

    def __init__(self, verb: str) -> None:
        self._verb, self._told = verb, 0

    def __call__(self, count: int, total: int) -> None:
        from sainet.cli.output import note

        quarter = _REPORTS * count // total
        if quarter > self._told:
            self._told = quarter
            note(f"{self._verb} {count} of {total} images")
