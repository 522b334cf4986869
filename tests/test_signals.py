"""Which signals a run takes as a request to stop."""

import os
import signal

import pytest

from sainet.run.signals import catching


@pytest.mark.parametrize(
    ("sent", "counts_as"),
    [(signal.SIGINT, 2), (signal.SIGTERM, 15), (signal.SIGHUP, 15)],
)
def test_the_first_signal_is_remembered_and_a_closed_terminal_counts_as_sigterm(sent: int, counts_as: int) -> None:
    with catching() as caught:
        os.kill(os.getpid(), sent)
        os.kill(os.getpid(), signal.SIGINT)
        assert caught.number == counts_as


def test_an_ignored_signal_stays_ignored_as_under_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with catching() as caught:
            os.kill(os.getpid(), signal.SIGHUP)
            assert caught.number is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with catching():
        pass
    assert signal.getsignal(signal.SIGTERM) == before
