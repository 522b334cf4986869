"""Ctrl-C, SIGTERM and a closed terminal as something the watching loop asks about, so that no write is torn by them."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Caught:
    """The first signal that asked us to stop, and how often we were asked. A closed terminal counts as SIGTERM."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.times = 0

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self.times += 1
        if self.number is None:
            self.number = signal.SIGTERM if number == signal.SIGHUP else number


@contextmanager
def catching() -> Iterator[Caught]:
    """Catch the signals that end a run while the block lasts.

    One that is ignored stays ignored: that is how `nohup` and a shell's background jobs ask us to go on.
    """
    caught = Caught()
    handlers = {number: signal.getsignal(number) for number in _CAUGHT}
    mine = {number: handler for number, handler in handlers.items() if handler != signal.SIG_IGN}
    for number in mine:
        signal.signal(number, caught)
    try:
        yield caught
    finally:
        for number, handler in mine.items():
            signal.signal(number, handler)
