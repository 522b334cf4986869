"""What an attempt whose supervisor was killed has left behind."""

import time

from sainet.hardware.process import end_group, process_started_s
from sainet.state import StageState

__all__ = ["end_leftovers"]

_GRACE_S = 25.0
_SAME_PROCESS_S = 2.0


def end_leftovers(record: StageState) -> bool:
    """A training process whose supervisor was killed may still be on its way out, holding memory: end it.

    True where there was one.
    """
    found = False
    for attempt in record.attempts[-1:]:
        if attempt.pid is not None and attempt.pid_started_s is not None:
            started_s = process_started_s(attempt.pid)
            if started_s is not None and abs(started_s - attempt.pid_started_s) < _SAME_PROCESS_S:
                found = True
                end_group(attempt.pid, grace_s=_GRACE_S)
        if attempt.ended_s is None:
            attempt.ended_s, attempt.reason = time.time(), "the supervisor was killed"
    return found
