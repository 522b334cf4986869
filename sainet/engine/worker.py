"""The training process: `python -m sainet.engine.worker PLAN.json`.

Ends with the exit codes of `sainet.errors`; 143 when it was asked to stop.
"""

import contextlib
import errno
import faulthandler
import multiprocessing
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from sainet.engine.environment import seal
from sainet.engine.lifeline import Stopped, hold_lock, stop_on_sigterm, stop_was_asked, tie_to_parent
from sainet.errors import SainetError
from sainet.files import storage_error
from sainet.protocol import Plan, ProcessFailed, append_event

if TYPE_CHECKING:
    from sainet.engine.training import StageTraining

_PLOTS_GRACE_S = 20.0


def begin(path: Path) -> Plan:
    """The plan at `path`; from here on this process ends with its supervisor, and when it is asked to."""
    plan = Plan.read(path)
    tie_to_parent(plan.supervisor_pid)
    stop_on_sigterm()
    faulthandler.enable()
    return plan


def main(arguments: list[str]) -> int:
    """Train what the plan says; the return value is the exit code."""
    plan = begin(Path(arguments[0]))
    try:
        with hold_lock(plan.lock):
            _train(plan)
    except Stopped as stop:
        return stop.exit_code
    except SainetError as error:
        return _give_up(plan, error.code, error.message, error.hint, error.problems[0].where)
    except OSError as error:
        traceback.print_exc()
        if stop_was_asked():
            return Stopped.exit_code
        known = storage_error(error, Path(error.filename or plan.attempt_dir))
        if error.errno in {errno.ENOSPC, errno.EDQUOT} and isinstance(known, SainetError):
            return _give_up(plan, known.code, known.message, known.hint)
        return _give_up(plan, 1, _first_line(error), None)
    except Exception as error:
        traceback.print_exc()
        if stop_was_asked():
            return Stopped.exit_code
        return _give_up(plan, 1, _first_line(error), None)
    return 0


def _train(plan: Plan) -> None:
    seal(plan.cache_dir / "ultralytics")
    make_training(plan).train()


def make_training(plan: Plan) -> "StageTraining":
    """The trainer of the plan's engine. Imports Ultralytics: the environment must be sealed."""
    from sainet.engine.exact_training import ExactTraining
    from sainet.engine.reporting import Reporter
    from sainet.engine.training import StageTraining

    engine = StageTraining if plan.engine == "stock" else ExactTraining
    return engine(plan, Reporter(plan))


def _give_up(plan: Plan, exit_code: int, message: str, hint: str | None, where: str | None = None) -> int:
    print(f"sainet: {message}", file=sys.stderr)
    event = ProcessFailed(
        stage=plan.stage, attempt=plan.attempt, exit_code=exit_code, message=message, where=where, hint=hint
    )
    with contextlib.suppress(SainetError, OSError):  # the disk that is full may be this one; the exit code says it
        append_event(plan.events, event)
    return exit_code


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    if lines and "in DataLoader worker process" in lines[0]:
        return lines[-1]  # the worker's own error; before it comes its traceback
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _finish_plots() -> None:
    """Upstream draws in threads of its own; a finished training waits for its pictures, but not for ever."""
    deadline_s = time.monotonic() + _PLOTS_GRACE_S
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, deadline_s - time.monotonic()))


if __name__ == "__main__":
    code = main(sys.argv[1:])
    if code == 0:
        _finish_plots()
    for child in multiprocessing.active_children():
        child.kill()  # loader workers would notice our end after 5 s only, and hold memory and the lock until then
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # no thread may hold up a process that has said how it ended
