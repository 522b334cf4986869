"""A few real batches and a validation, to be weighed: `python -m sainet.engine.measure PLAN.json OUT.json`.

Ends with the exit codes of `sainet.errors`, 3 when memory ran out; 143 when it was asked to stop.
"""

import json
import multiprocessing
import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sainet.engine.environment import seal
from sainet.engine.lifeline import Stopped, stop_was_asked
from sainet.engine.worker import begin, make_training
from sainet.errors import RefusedError, SainetError
from sainet.files import replace_text, storage_error
from sainet.protocol import Plan, ProcessFailed, append_event

if TYPE_CHECKING:
    from sainet.engine.measuring import Measuring

_NO_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "DefaultCPUAllocator: can't allocate memory")
"""How CUDA, cuBLAS and PyTorch's CPU allocator say so."""


def main(arguments: list[str]) -> int:
    """Measure what the plan says and write the report; the return value is the exit code."""
    plan = begin(Path(arguments[0]))
    try:
        report = _measure(plan)
        replace_text(Path(arguments[1]), json.dumps(report) + "\n")
    except Stopped as stop:
        return stop.exit_code
    except Exception as error:
        traceback.print_exc()
        return Stopped.exit_code if stop_was_asked() else _give_up(plan, meaning(error))
    return 0


def meaning(error: Exception) -> SainetError:
    """What ended the measurement, for the user."""
    if isinstance(error, OSError):
        error = storage_error(error, Path(error.filename or "the temporary folder"))
    if isinstance(error, SainetError):
        return error
    text = str(error).strip()
    if isinstance(error, MemoryError) or any(sign in text for sign in _NO_MEMORY):
        return RefusedError(f"it does not fit; measured: {_sentence(text) or 'out of memory'}")
    return SainetError(f"{type(error).__name__}: {_sentence(text)}")


def _sentence(text: str) -> str:
    """The first line, and of CUDA's that one sentence that says how much was asked for."""
    return ". ".join(text.partition("\n")[0].split(". ")[:2])


def _measure(plan: Plan) -> dict[str, Any]:
    started_s = time.time()
    seal(plan.cache_dir / "ultralytics")
    from sainet.engine.measuring import Measuring

    measuring = Measuring(make_training(plan))
    measuring.run()
    return {"started_s": started_s, **_summary(measuring)}


def _summary(measuring: "Measuring") -> dict[str, Any]:
    """As `sainet.run.measure` reads it. Sizes in bytes, times in Unix seconds."""
    import torch

    device = measuring.training.device
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "batches": measuring.batches,
        "optimizer_steps": measuring.steps,
        "seconds_per_batch": measuring.seconds_per_batch,
        "queue_filled": measuring.queue_filled,
        "marks": measuring.marks,
        "step_bytes": measuring.step_bytes,
        "held_bytes": measuring.held_bytes,
    }
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        report["reserved_bytes"] = torch.cuda.max_memory_reserved(device)
        report["allocated_bytes"] = torch.cuda.max_memory_allocated(device)
        report["unreserved_bytes"] = total - free - torch.cuda.memory_reserved(device)
    return report


def _give_up(plan: Plan, error: SainetError) -> int:
    append_event(
        plan.events,
        ProcessFailed(
            stage=plan.stage,
            attempt=plan.attempt,
            exit_code=error.code,
            message=error.message,
            where=error.problems[0].where,
            hint=error.hint,
        ),
    )
    return error.code


if __name__ == "__main__":
    code = main(sys.argv[1:])
    for child in multiprocessing.active_children():
        child.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # no thread may hold up a process that has said how it ended
