"""Ctrl-C and SIGTERM as something the watching loop asks about, so that nothing is torn in the middle of a write."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Caught:
    """The first signal that asked us to stop, and how often we were asked."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.times = 0

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self.times += 1
        if self.number is None:
            self.number = number


@contextmanager
def catching(numbers: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)) -> Iterator[Caught]:
    """Catch the signals that end a run while the block lasts."""
    caught = Caught()
    before = {number: signal.signal(number, caught) for number in numbers}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
