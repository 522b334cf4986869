"""`sainet profile-memory --measure`: a few real batches of a stage on this machine, and what they take."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from sainet.errors import Interrupted, SainetError, error_for_exit_code
from sainet.files import LineTail, last_lines
from sainet.hardware.process import end_group
from sainet.hardware.storage import disk_of
from sainet.protocol import Message, PhaseStarted, Plan, ProcessFailed, parse_event
from sainet.run.launch import environment
from sainet.run.measure_plan import Measurable, measurable
from sainet.run.measure_samples import Mark, Sampler, Usage, by_phase
from sainet.run.signals import Caught, catching

__all__ = ["Measured", "Report", "measure"]

_EVERY_S = 0.1
_GRACE_S = 10.0
_SIGKILL = 9


class Report(Message):
    """What `sainet.engine.measure` writes at the end. Sizes in bytes, times in Unix seconds."""

    started_s: float
    device: str
    batches: int
    optimizer_steps: int
    seconds_per_batch: float | None
    queue_filled: bool
    marks: list[tuple[str, float]]
    step_bytes: int | None
    held_bytes: int | None
    reserved_bytes: int | None = None
    allocated_bytes: int | None = None
    unreserved_bytes: int | None = None


@dataclass(frozen=True)
class Measured:
    """What a stage really takes on this machine, at its peaks.

    - `ram_peak_bytes`: of all its processes, each shared page once, with its batches in /dev/shm.
    - `working_set_peak_bytes`: the same as the machine's tightest limit counts it, others on the machine included.
    - `vram_peak_bytes`: used on the GPU beyond what was before, context included; None without a GPU or NVML.
    - `step_bytes`: on a CPU the tensors alive at the peak of a step, model included: beside a trace's allocated bytes.
      None too where the kernel does not tell, and with too few batches.
    - `held_bytes`: on a CPU what malloc holds for these tensors: what the step really adds to the RAM.
    - `reserved_bytes`, `allocated_bytes`: the peaks of PyTorch's allocator on a GPU.
    - `context_bytes`: on the GPU beside the allocator. None without NVML.
    - `seconds_per_batch`: of computing alone, beside a full queue; None with too few images to fill it.
    - `queue_filled`: False where the workers had not loaded all that they hold ready after two minutes.
    - `phases`: the peaks of each phase of the measurement, in their order.
    - `exact`: False where the kernel told private pages only, so that RAM is understated.
    - `notes`: what of the real training this cannot show.
    """

    device: str
    ram_peak_bytes: int
    working_set_peak_bytes: int
    shm_peak_bytes: int
    vram_peak_bytes: int | None
    step_bytes: int | None
    held_bytes: int | None
    reserved_bytes: int | None
    allocated_bytes: int | None
    context_bytes: int | None
    train_images: int
    val_images: int
    batches: int
    optimizer_steps: int
    seconds_per_batch: float | None
    queue_filled: bool
    seconds: float
    phases: dict[str, Usage]
    exact: bool
    notes: tuple[str, ...]


def measure(plan: Plan, env: Mapping[str, str], *, tell: Callable[[str], None]) -> Measured:
    """Run a few batches and a validation of what `plan` would train, and weigh them.

    `env`: the profile's environment variables. `plan` may name folders that do not exist: nothing is written there,
    and what is written meanwhile, on the same disk, is removed.
    Raises `RefusedError` when memory runs out, `Interrupted` on Ctrl-C or SIGTERM, and what the training raises.
    """
    with catching() as caught, tempfile.TemporaryDirectory(prefix=".sainet-measure-", dir=_place(plan)) as name:
        folder = Path(name)
        few = measurable(plan, folder)
        few.plan.write(folder / "plan.json")
        tell(f"measuring on {few.train_images} training and {few.val_images} validation images")
        watch = _Watch(few, Sampler(_device(few.plan), environment(os.environ, env)), caught, tell)
        watch.run(folder, env)
        return watch.result(_read(folder / "report.json"))


class _Watch:
    """One measuring process, from its start to its end."""

    def __init__(self, few: Measurable, sampler: Sampler, caught: Caught, tell: Callable[[str], None]) -> None:
        self.few, self.sampler, self.caught, self.tell = few, sampler, caught, tell
        self.marks: list[Mark] = []
        self._failed: ProcessFailed | None = None

    def run(self, folder: Path, env: Mapping[str, str]) -> None:
        """Start it, look at it until it ends, and see that nothing of it is left."""
        tail = LineTail(self.few.plan.events)
        process = _start(folder, env)
        try:
            while process.poll() is None and self.caught.number is None:
                self.sampler.take(process.pid)
                self._hear(tail)
                time.sleep(_EVERY_S)
        finally:
            end_group(process.pid, grace_s=_GRACE_S if process.poll() is None else 0)
            process.wait()
        self._hear(tail)
        if self.caught.number is not None:
            raise Interrupted("measuring was interrupted", signal_number=self.caught.number)
        if process.returncode:
            raise _failure(process.returncode, self._failed, folder / "log.txt")

    def result(self, report: Report) -> Measured:
        marks = [(report.started_s, "starting"), *self.marks, *((time_s, name) for name, time_s in report.marks)]
        phases = by_phase(self.sampler.samples, marks)
        peak = Usage()
        for sample in self.sampler.samples:
            peak = peak.peak(sample.usage)
        return Measured(
            device=report.device,
            ram_peak_bytes=peak.ram_bytes,
            working_set_peak_bytes=peak.working_set_bytes,
            shm_peak_bytes=peak.shm_bytes,
            vram_peak_bytes=peak.vram_bytes,
            step_bytes=report.step_bytes,
            held_bytes=report.held_bytes,
            reserved_bytes=report.reserved_bytes,
            allocated_bytes=report.allocated_bytes,
            context_bytes=_context(report, self.sampler.vram_before_bytes),
            train_images=self.few.train_images,
            val_images=self.few.val_images,
            batches=report.batches,
            optimizer_steps=report.optimizer_steps,
            seconds_per_batch=report.seconds_per_batch,
            queue_filled=report.queue_filled,
            seconds=time.time() - report.started_s,
            phases=phases,
            exact=all(sample.exact for sample in self.sampler.samples),
            notes=self.few.notes,
        )

    def _hear(self, tail: LineTail) -> None:
        for line in tail.read():
            match parse_event(line):
                case PhaseStarted() as event:
                    again = any(name == event.phase for _, name in self.marks)
                    self.marks.append((event.time_s, f"{event.phase} again" if again else event.phase))
                    self.tell(f"measuring: {event.phase}")
                case ProcessFailed() as event:
                    self._failed = event
                case _:
                    pass


def _start(folder: Path, env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "sainet.engine.measure", str(folder / "plan.json"), str(folder / "report.json")]
    with (folder / "log.txt").open("ab") as stream:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment(os.environ, env),
            start_new_session=True,
        )


def _place(plan: Plan) -> Path | None:
    """Where the run would lie, which has room for its cache; the system's temporary folder where that is read-only."""
    disk = disk_of(plan.cache_dir)
    return disk.path if disk.writable else None


def _device(plan: Plan) -> int | None:
    device = str(plan.arguments["device"])
    return None if device == "cpu" else int(device)


def _context(report: Report, others_bytes: int | None) -> int | None:
    if report.unreserved_bytes is None or others_bytes is None:
        return None
    return max(0, report.unreserved_bytes - others_bytes)


def _read(path: Path) -> Report:
    try:
        return Report.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise SainetError(f"the measurement left no report that can be read: {error}") from error


def _failure(returncode: int, told: ProcessFailed | None, log: Path) -> SainetError:
    if told is not None:
        return error_for_exit_code(told.exit_code)(told.message, where=told.where, hint=told.hint)
    if returncode == -_SIGKILL:
        return SainetError(
            "the measuring process was killed (SIGKILL: often the kernel, out of memory)",
            hint="a smaller batch, or fewer workers",
        )
    last = next((line for line in reversed(last_lines(log, 20)) if line.strip()), "it said nothing")
    return SainetError(f"the measuring process ended with {returncode}: {last.strip()}")
