#!/usr/bin/env python3
"""The tracer against GPU memory that was measured in training, and the time that a first trace takes.

    python benchmarks/memory/tracer_claims.py

The measured figures are the profiles' `reference.vram_gib` that come from real runs: 2 classes, fp16, contiguous
tensors, PyTorch's allocator as it comes. Nothing is calibrated with them. Those runs used Ultralytics of 2025, whose
loss made arrays of 16 bytes for each pair of a box and an anchor, where the present one's have 4: with its release
8.3.184 the same tracer counts 4.5% more bytes alive. A first trace is timed beside `import torch`, in turns.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sainet.config.auto import HardwareValues
from sainet.config.resolve import resolve
from sainet.config.schema import Config
from sainet.memory.trace import TraceRequest, predictor
from sainet.run.workload import class_count, gpu_count, model_of, trace_request
from sainet.state import Request

MEASURED = (("h200-shm", "batch-128"), ("h200-shm", None), ("h200", "validated-896"), ("a100x2", None))
"""Profile and tier of the runs; the other profiles' figures were calculated."""
ROUNDS = 3
GIB = 2**30


@dataclass(frozen=True)
class Claim:
    """One measured run: what to trace, how many images each GPU computed, and what it took."""

    name: str
    request: TraceRequest
    images: int
    measured_gib: float


def claims() -> Iterator[Claim]:
    """Read from the profiles' `reference:` blocks."""
    with tempfile.TemporaryDirectory() as folder:
        for profile, tier in MEASURED:
            asked = Request(profile=profile, tier=tier)
            resolved = resolve(1, asked, HardwareValues(cpus=64), environment={}, folder=Path(folder))
            yield _claim(f"{profile} {tier or ''}".strip(), resolved.config)


def _claim(name: str, config: Config) -> Claim:
    reference = config.reference
    assert reference.batch is not None
    assert reference.vram_gib is not None
    train = config.train.model_copy(
        update={"batch": reference.batch, "imgsz": reference.imgsz or config.train.imgsz, "channels_last": False}
    )
    ran = config.model_copy(update={"train": train})
    request = trace_request(ran, model=model_of(ran.weights, None), classes=class_count(ran, None), images=None)
    images = reference.batch // gpu_count(ran)
    return Claim(name, request, images, reference.vram_gib)


def predicted_gib(claim: Claim, store: Path) -> float:
    known = predictor(claim.request, store, tell=lambda _: None)
    return known.peak(claim.images).reserved_bytes / GIB


def main() -> None:
    print("profile, tier             height x width  images  measured GiB  predicted GiB   error")
    with tempfile.TemporaryDirectory() as folder:
        for claim in claims():
            predicted = predicted_gib(claim, Path(folder))
            shape = "x".join(str(side) for side in claim.request.shape)
            figures = f"{claim.measured_gib:12.1f}  {predicted:13.1f}  {predicted / claim.measured_gib - 1:+6.1%}"
            print(f"{claim.name:<25} {shape:>14}  {claim.images:6}  {figures}", flush=True)
    request = next(claims()).request
    ratios = sorted(first_trace_s(request) / import_torch_s() for _ in range(ROUNDS))
    print(f"a first trace takes {ratios[ROUNDS // 2]:.1f} times as long as importing torch ({ROUNDS} rounds, median)")


def first_trace_s(request: TraceRequest) -> float:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        predictor(request, Path(folder), tell=lambda _: None)
        return time.perf_counter() - began


def import_torch_s() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
