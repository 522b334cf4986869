"""What `sainet doctor` says about the GPUs."""

from collections.abc import Iterator

from sainet.hardware.gpu import Gpu, GpuProcess, GpuReading
from sainet.report.findings import GIB, Finding, size_text

__all__ = ["diagnose_gpus"]

_IDLE_BYTES = 1 * GIB
_MIG_PAGE = "https://docs.nvidia.com/datacenter/tesla/mig-user-guide"


def diagnose_gpus(reading: GpuReading) -> Iterator[Finding]:
    """Every GPU and MIG instance, those that do not answer, and why none can be used where that is so."""
    in_instance = any(gpu.visible and gpu.instances for gpu in reading.gpus)
    hider = "the MIG instance, beside which CUDA shows nothing" if in_instance else "CUDA_VISIBLE_DEVICES"
    for gpu in reading.gpus:
        if gpu.instances is None:
            yield _device(f"gpu {gpu.index}", gpu, f"hidden by {hider}: it will not be used")
        else:
            yield from _cut(gpu, gpu.instances)
    for lost in reading.unreadable:
        hint = "it cannot be trained on: reset it or restart the machine, and leave it out of --device"
        yield Finding(f"gpu {lost.index}", lost.reason, "problem", hint)
    if not reading.gpus:
        reason = reading.unavailable_reason or "none found"
        yield Finding("gpu", f"none: {reason}", "note", "only the cpu profile trains here")
    elif all(gpu.instances == () for gpu in reading.gpus):
        yield Finding("gpu", "none can be used", "problem", "only the cpu profile trains here")
    elif not any(gpu.visible for gpu in reading.gpus):
        hint = "only the cpu profile trains here until CUDA_VISIBLE_DEVICES is unset or names a device"
        yield Finding("gpu", "CUDA_VISIBLE_DEVICES hides every GPU", "problem", hint)


def _cut(gpu: Gpu, instances: tuple[Gpu, ...]) -> Iterator[Finding]:
    """A GPU in MIG mode, which computes through its instances only, and each of these."""
    topic, value = f"gpu {gpu.index}", f"{gpu.name}, {size_text(gpu.total_bytes)}, MIG mode"
    if not instances:
        hint = f"nothing can compute on it: make an instance, or switch MIG mode off ({_MIG_PAGE})"
        yield Finding(topic, f"{value} without instances", "problem", hint)
        return
    hint = "a training sees one of its instances, and no other GPU"
    yield Finding(topic, f"{value}, {len(instances)} instances", "note", hint)
    for number, instance in enumerate(instances):
        hidden = f"it will not be used: CUDA_VISIBLE_DEVICES={instance.uuid} chooses it"
        yield _device(f"{topic} mig {number}", instance, hidden)


def _device(topic: str, device: Gpu, hidden: str) -> Finding:
    value = f"{device.name}, {size_text(device.total_bytes)}"
    busy = device.used_bytes >= _IDLE_BYTES or bool(device.processes)
    if busy:
        value = f"{value}, {size_text(device.used_bytes)} in use"
    if not device.visible:
        return Finding(topic, value, "note", hidden)
    if busy:
        hint = f"in use by {_who(device.processes)}: a batch that fills the GPU will not fit"
        return Finding(topic, value, "note", hint)
    return Finding(topic, value)


def _who(processes: tuple[GpuProcess, ...]) -> str:
    if not processes:
        return "processes that cannot be seen from here"
    return f"process {', '.join(map(_process, processes))}"


def _process(process: GpuProcess) -> str:
    """``4711 (python, user ada, 3.0 GiB)``, with what is known of it."""
    known = [
        process.name,
        process.user and f"user {process.user}",
        process.used_bytes and size_text(process.used_bytes),
    ]
    text = ", ".join(part for part in known if part)
    return f"{process.pid} ({text})" if text else str(process.pid)
