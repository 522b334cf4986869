"""One attempt at one stage: start the training process, watch and guard it, and end it and all that it started."""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sainet.files import LineTail
from sainet.guard.progress import CpuUse
from sainet.guard.sample import Sample
from sainet.hardware.process import end_group, group_cpu_s
from sainet.hardware.process_end import waiting_for_end
from sainet.protocol import Event, Plan, ProcessFailed, TrainingDone, Warned, parse_event
from sainet.report.memory_now import MemoryNow
from sainet.run.guarding import Guarding, Ordered
from sainet.run.signals import Caught

__all__ = ["AttemptRun", "Ended", "View"]

_POLL_S = 0.2
"""While it is being stopped."""
_READ_EVERY_S = 0.5
"""What the training says is read at least so often, however rarely the memory is looked at."""
_STOP_GRACE_S = 25.0
"""For the running batch and its checkpoint: Kubernetes and SLURM kill 30 s after their SIGTERM."""
_CPU_EVERY_S = 2.0
"""Looking at the CPU time of a group takes some milliseconds; it is done only after a silence."""
_SUSPICIOUS = 0.5
"""Of the silence after which a training counts as hung: from here on its CPU time is looked at."""


class View(Protocol):
    """Who shows the run to a person."""

    def handle(self, event: Event) -> None: ...

    def show_memory(self, now: MemoryNow) -> None: ...


@dataclass(frozen=True)
class Ended:
    """How an attempt ended, and what it said."""

    returncode: int
    done: TrainingDone | None
    failed: ProcessFailed | None
    hung: bool
    oom_kills: int
    shm_share: float
    ordered: Ordered | None
    """The rung of the guard that it was ended for."""
    was_lowering: bool
    """The guard had lowered something that had no time to show."""


@dataclass
class AttemptRun:
    """Drives one training process to its end. `take` is told every event of it, before the view."""

    plan: Plan
    guarding: Guarding
    view: View
    caught: Caught
    take: Callable[[Event], None]
    lowered: Callable[[], Sequence[str]]
    """The settings that memory has made smaller so far, for people."""
    _done: TrainingDone | None = field(default=None, init=False)
    _failed: ProcessFailed | None = field(default=None, init=False)
    _hung: bool = field(default=False, init=False)
    _was_lowering: bool = field(default=False, init=False)
    _looked_s: float = field(default=0.0, init=False)
    """At the CPU time."""

    def watch(self, process: "subprocess.Popen[bytes]", tail: LineTail) -> None:
        """Until the process ends, hangs and is ended, or somebody asks us to stop it."""
        cpu = CpuUse(_SUSPICIOUS * self.guarding.settings.hang_s)
        with waiting_for_end(process.pid) as end_of_it:
            while process.poll() is None and self.caught.number is None and not self._hung:
                self._look(process.pid, cpu, tail)
                end_of_it.wait(min(_READ_EVERY_S, self.guarding.wait_s))
        self._was_lowering = self.guarding.is_lowering
        if process.poll() is None and self.caught.number is not None:
            self._stop(process, tail)

    def _look(self, pgid: int, cpu: CpuUse, tail: LineTail) -> None:
        self._read(tail)
        if (sample := self.guarding.look()) is not None:
            self.view.show_memory(_seen(sample, self.lowered()))
        now_s = self.guarding.now()
        if abs(now_s - self._looked_s) >= _CPU_EVERY_S:
            self._looked_s = now_s
            self._hung = self._hangs(pgid, cpu, now_s)

    def ended(self, returncode: int, tail: LineTail) -> Ended:
        """After the last process of the group: what is there to read is read."""
        self._read(tail)
        guarding = self.guarding
        return Ended(
            returncode=returncode,
            done=self._done,
            failed=self._failed,
            hung=self._hung,
            oom_kills=guarding.oom_kills,
            shm_share=guarding.shm_share,
            ordered=guarding.ended_by,
            was_lowering=self._was_lowering,
        )

    def _hangs(self, pgid: int, cpu: CpuUse, now_s: float) -> bool:
        """Nothing is heard for many times what a batch takes, and nobody uses the CPU."""
        guarding, plan = self.guarding, self.plan
        timeouts = [loader.timeout_s for loader in (plan.loader, plan.val_loader) if loader.workers]
        settings = guarding.settings
        patience_s = guarding.progress.patience_s(settings.hang_factor, settings.hang_s, timeouts)
        silent_s = guarding.progress.silent_s(now_s)
        if silent_s < _SUSPICIOUS * patience_s:
            cpu.forget()
            return False
        cpu.add(now_s, group_cpu_s(pgid))
        return silent_s >= patience_s and cpu.is_flat

    def _stop(self, process: "subprocess.Popen[bytes]", tail: LineTail) -> None:
        """Ask the training to save its state and end, and give it time; a second signal to us cuts that short.

        Its loader workers are not asked: it needs them until then, and they end with it.
        """
        message = f"stopping; at most {_STOP_GRACE_S:g} s (the same signal again ends it at once)"
        self.view.handle(Warned(stage=self.plan.stage, attempt=self.plan.attempt, message=message))
        process.terminate()
        deadline_s = time.monotonic() + _STOP_GRACE_S
        while process.poll() is None and self.caught.times < 2 and time.monotonic() < deadline_s:
            self._read(tail)
            time.sleep(_POLL_S)

    def _read(self, tail: LineTail) -> None:
        for line in tail.read():
            event = parse_event(line)
            # A process of an attempt before whose supervisor was killed may have a last word to say.
            if event is not None and (event.stage, event.attempt) == (self.plan.stage, self.plan.attempt):
                self._hear(event)

    def _hear(self, event: Event) -> None:
        if isinstance(event, TrainingDone):
            self._done = event
        elif isinstance(event, ProcessFailed):
            self._failed = event
        self.guarding.heard(event)
        self.take(event)
        self.view.handle(event)


def _seen(sample: Sample, lowered: Sequence[str]) -> MemoryNow:
    ram = sample.ram_working_set_bytes, sample.ram_limit_bytes
    shm = sample.shm_used_bytes, sample.shm_size_bytes
    return MemoryNow(
        ram=(ram[0], ram[1]) if ram[0] is not None and ram[1] else None,
        shm=(shm[0], shm[1]) if shm[0] is not None and shm[1] else None,
        vram=tuple((gpu.used_bytes, gpu.total_bytes) for gpu in sample.gpus if gpu is not None),
        lowered=tuple(lowered),
    )


def end(process: "subprocess.Popen[bytes]") -> int:
    """Kill what is left of the process's group, wait until it is empty, and return the exit status."""
    end_group(process.pid, grace_s=0)
    return process.wait()
