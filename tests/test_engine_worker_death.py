"""What a user is told when a loader's worker dies in the middle of a training."""

import signal
import subprocess
import time

import psutil
import pytest
from conftest import PlanMaker, TinySetMaker, WorkerRunner
from engine_cases import first, wait_for

from sainet.protocol import Plan, ProcessFailed, TrainingStarted

pytestmark = pytest.mark.train


def test_a_killed_worker_of_the_training_is_explained(
    tiny_set: TinySetMaker, plan_for: PlanMaker, run_worker: WorkerRunner
) -> None:
    plan: Plan = plan_for(tiny_set(images=40), epochs=50, loader={"workers": 1}, workers=1)

    def kill_a_worker(process: "subprocess.Popen[bytes]") -> None:
        wait_for(plan, lambda event: isinstance(event, TrainingStarted))
        deadline_s = time.monotonic() + 30
        while not (workers := psutil.Process(process.pid).children()) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        workers[0].send_signal(signal.SIGKILL)

    result = run_worker(plan, during=kill_a_worker)
    failed = first(ProcessFailed, result.events)
    assert failed.message.startswith("a worker of the training loader was killed (pid ")
    assert failed.hint is not None
    assert "fewer loader.workers" in failed.hint
