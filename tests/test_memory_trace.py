"""Traces: what is kept of them, what is computed from them, and that they say what a training step really takes."""

import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT

import sainet.memory.trace as tracing
import sainet.memory.trace_store as storing
from sainet.memory.caching_allocator import AllocatorSettings
from sainet.memory.trace import Peak, Predictor, TraceError, TraceRequest, predictor, replay
from sainet.memory.trace_record import ModelFacts, Trace, live_bytes
from sainet.memory.trace_store import TraceStore, key_of

MIB = 2**20


def request(**changes: Any) -> TraceRequest:
    """A small detector on a GPU, in fp16."""
    values: dict[str, Any] = {
        "model": "yolov8n.yaml",
        "classes": 2,
        "shape": (64, 96),
        "device": "cuda",
        "precision": "fp16",
        "channels_last": False,
        "optimizer": "SGD",
        "accumulates": False,
        "pieces": 1,
        "frozen": None,
    }
    return TraceRequest(**{**values, **changes})


def made_up_trace(seed: int = 0) -> Trace:
    """Storages of all sizes that come and go at random: fragmentation like a training's, without a training."""
    dice = random.Random(seed)
    order: list[int] = []
    fixed: list[int] = []
    each: list[int] = []
    live: list[int] = []
    for _ in range(400):
        if live and dice.random() < 0.45:
            order.append(-live.pop(dice.randrange(len(live))))
        else:
            fixed.append(dice.randint(1, MIB))
            each.append(dice.choice([0, 0, dice.randint(1, 3 * MIB)]))
            live.append(len(fixed))
            order.append(len(fixed))
    facts = ModelFacts(
        parameters=1, trainable=1, weight_bytes=4, optimizer_bytes=4, average_bytes=4, gradient_bytes=4, adds_up=True
    )
    return Trace(facts=facts, order=order, fixed_bytes=fixed, image_bytes=each, validating=[(9, 5)])


class Making:
    """Stands in for the tracer, and counts how often it is asked."""

    def __init__(self) -> None:
        self.times = 0
        self.told: list[str] = []

    def __call__(self) -> Trace:
        self.times += 1
        return made_up_trace()

    def predictor(self, folder: Path, *, on_cpu: bool = False) -> Predictor:
        return Predictor(TraceStore(folder, "key", self, self.told.append), on_cpu=on_cpu)


# --- what is computed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [AllocatorSettings(), AllocatorSettings(expandable_segments=True)])
def test_the_largest_number_of_images_is_that_of_trying_them_all(tmp_path: Path, settings: AllocatorSettings) -> None:
    known = Making().predictor(tmp_path)
    peaks = {images: known.peak(images, settings) for images in range(1, 41)}
    limits = [peak.reserved_bytes + change for peak in peaks.values() for change in (-1, 0, 1)]
    for limit in [0, *limits, 10**12]:
        by_hand = max((n for n, peak in peaks.items() if peak.reserved_bytes <= limit), default=0)
        assert known.largest(lambda _, peak: peak.reserved_bytes <= limit, most=40, allocator=settings) == by_hand  # noqa: B023


def test_reserved_bytes_do_wobble_which_is_why_no_bisection_finds_the_largest() -> None:
    trace = made_up_trace()
    reserved = [replay(trace, images).reserved_bytes / replay(trace, images).allocated_bytes for images in range(1, 41)]
    assert any(later < earlier for earlier, later in itertools.pairwise(reserved))


def test_what_is_alive_is_counted_exactly_and_never_more_than_what_is_reserved() -> None:
    trace = made_up_trace()
    moments = trace.moments()
    for images in (1, 2, 7, 100):
        sizes, alive, most = trace.sizes_bytes(images), 0, 0
        for event in trace.order:
            alive += sizes[event - 1] if event > 0 else -sizes[-event - 1]
            most = max(most, alive)
        assert live_bytes(moments, images) == most
        assert most <= replay(trace, images).allocated_bytes <= replay(trace, images).reserved_bytes


def test_the_worst_moment_changes_with_the_number_of_images() -> None:
    facts = made_up_trace().facts
    sizes = {"fixed_bytes": [100, 10, 50], "image_bytes": [1, 20, 9]}
    trace = Trace(facts=facts, order=[1, -1, 2, -2, 3, -3], validating=[], **sizes)
    assert [live_bytes(trace.moments(), images) for images in (1, 4, 5)] == [101, 104, 110]


def test_the_estimate_is_the_worst_of_the_neighbours(tmp_path: Path) -> None:
    known, trace = Making().predictor(tmp_path), made_up_trace()
    near = [replay(trace, images) for images in range(13, 21)]
    worst = max(peak.reserved_bytes / peak.allocated_bytes for peak in near)
    assert known.peak(20) == Peak(int(near[-1].allocated_bytes * worst), near[-1].allocated_bytes)
    assert known.peak(1) == replay(trace, 1)


def test_a_cpu_reserves_nothing(tmp_path: Path) -> None:
    known = Making().predictor(tmp_path, on_cpu=True)
    live = live_bytes(made_up_trace().moments(), 12)
    assert known.peak(12) == Peak(live, live)
    assert known.largest(lambda _, peak: peak.reserved_bytes <= live, most=100) == 12


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_what_was_computed_once_needs_neither_the_trace_nor_a_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    making = Making()
    known = making.predictor(tmp_path)
    peak, largest = known.peak(9), known.largest(lambda _, peak: peak.reserved_bytes < 300 * MIB, most=50)
    (tmp_path / "key.json").unlink()
    monkeypatch.setattr(tracing, "replay", None)
    again = making.predictor(tmp_path)
    assert (again.peak(9), again.facts) == (peak, known.facts)
    assert again.largest(lambda _, peak: peak.reserved_bytes < 300 * MIB, most=50) == largest
    assert making.times == 1


@pytest.mark.parametrize("content", ["", "{", '{"facts": {}}', "[]"])
@pytest.mark.parametrize("name", ["key.json", "key.peaks.json"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, name: str, content: str) -> None:
    making = Making()
    peak = making.predictor(tmp_path).peak(3)
    for file in tmp_path.glob("*.json"):
        if file.name == name or name == "key.json":  # what a trace gave is not looked up in it again
            file.write_text(content, encoding="utf-8")
    assert making.predictor(tmp_path).peak(3) == peak
    assert making.times == (2 if name == "key.json" else 1)
    assert making.predictor(tmp_path).peak(3) == peak
    assert json.loads((tmp_path / name).read_text(encoding="utf-8"))["facts"]["parameters"] == 1


def test_a_store_that_cannot_be_written_is_told_of_once_and_is_no_error(tmp_path: Path) -> None:
    making = Making()
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    assert making.predictor(tmp_path / "file" / "traces").peak(3) == making.predictor(tmp_path / "good").peak(3)
    assert len([line for line in making.told if "cannot be kept" in line]) == 1


def test_peaks_of_two_processes_are_kept_side_by_side(tmp_path: Path) -> None:
    making = Making()
    first, second = making.predictor(tmp_path), making.predictor(tmp_path)
    first.peak(1)
    second.peak(2)
    kept = json.loads((tmp_path / "key.peaks.json").read_text(encoding="utf-8"))["peaks"]
    assert set(kept) == {"1", "2"}


def test_the_key_depends_on_all_that_a_trace_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model.yaml"
    model.write_text("a", encoding="utf-8")
    asked = request(model=str(model))
    keys = [key_of(asked), key_of(request()), key_of(request(classes=3)), key_of(request(frozen=[1]))]
    model.write_text("ab", encoding="utf-8")
    keys.append(key_of(asked))
    os.utime(model, ns=(0, 0))
    keys.append(key_of(asked))
    monkeypatch.setattr(storing, "installed_version", lambda package: f"{package} of tomorrow")
    keys.append(key_of(asked))
    monkeypatch.setattr(storing, "_SOURCES", storing._SOURCES[:-1])
    keys.append(key_of(asked))
    assert len(set(keys)) == len(keys)
    assert key_of(asked) == keys[-1]


def test_the_file_that_a_scale_is_read_from_is_in_the_key(tmp_path: Path) -> None:
    (tmp_path / "yolov8.yaml").write_text("a", encoding="utf-8")
    asked = request(model=str(tmp_path / "yolov8s.yaml"))
    before = key_of(asked)
    (tmp_path / "yolov8.yaml").write_text("ab", encoding="utf-8")
    assert key_of(asked) != before


def test_every_module_of_the_tracer_is_in_the_key() -> None:
    names = {path.name for path in storing._SOURCES}
    assert {path.name for path in (PROJECT / "sainet" / "memory" / "vram").glob("*.py")} <= names
    assert {"trace.py", "trace_record.py", "caching_allocator.py", "micro_batch.py"} <= names
    assert all(path.is_file() for path in storing._SOURCES)


# --- the tracer's process ---------------------------------------------------------------------------------------------


def test_the_tracer_sees_no_gpu_and_no_allocator_settings() -> None:
    base = {
        "PATH": "here",
        "PYTORCH_CUDA_ALLOC_CONF": "nonsense",
        "PYTORCH_ALLOC_CONF": "x",
        "CUDA_VISIBLE_DEVICES": "3",
    }
    assert tracing._environment(base) == {"PATH": "here", "CUDA_VISIBLE_DEVICES": "", "PYTHONSAFEPATH": "1"}


def test_asking_imports_no_torch() -> None:
    script = "import sys, sainet.memory.trace; print({'torch', 'ultralytics', 'numpy', 'PIL'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_failed_trace_says_why(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"cannot trace yolov8n-seg.yaml: .*no YOLO detector: its head is Segment"):
        predictor(request(model="yolov8n-seg.yaml"), tmp_path, tell=lambda _: None)
    assert not list(tmp_path.glob("*.json"))


def test_a_trace_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_TIMEOUT_S", 0.05)
    with pytest.raises(TraceError, match="took more than"):
        predictor(request(), tmp_path, tell=lambda _: None)


def test_two_processes_that_ask_at_once_trace_once_and_agree(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text(made_up_trace().model_dump_json(), encoding="utf-8")
    script = (
        "import sys, time; from pathlib import Path; import sainet.memory.trace as tracing\n"
        "def traced(request, tell):\n"
        "    tell('tracing'); time.sleep(2); return tracing.Trace.model_validate_json(Path('trace').read_text())\n"
        "tracing._traced = traced\n"
        "known = tracing.predictor(tracing.TraceRequest.model_validate_json(sys.argv[1]), Path('store'), tell=print)\n"
        "print(known.peak(4))"
    )
    words = [sys.executable, "-c", script, request().model_dump_json()]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=tmp_path) for _ in range(2)]
    printed = [process.communicate(timeout=120)[0].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert printed[0][-1] == printed[1][-1]
    assert sorted(len(lines) for lines in printed) == [1, 2]  # one told that it traces


# --- what a trace says ------------------------------------------------------------------------------------------------


_TRACED: dict[str, Trace] = {}


@pytest.fixture
def traced(sealed_ultralytics: None) -> Callable[..., Trace]:  # noqa: ARG001
    """Traces in this process, which saves the seconds of a start, and each request once."""
    joining = import_module("sainet.memory.vram.joining")

    def trace(**changes: Any) -> Trace:
        asked = request(**changes)
        key = asked.model_dump_json()
        if key not in _TRACED:
            _TRACED[key] = joining.trace(asked)
        return _TRACED[key]

    return trace


def sizes_of_a_rehearsal(images: int, **changes: Any) -> list[int]:
    """Bytes of all storages when really `images` are computed at once."""
    build = import_module("sainet.memory.vram.detector").build
    rehearse = import_module("sainet.memory.vram.rehearsal").rehearse
    asked = request(**changes)
    return list(rehearse(build(asked), asked, images).ledger.sizes)


@pytest.mark.parametrize("model", ["yolov8n", "yolo26n"])
def test_a_trace_says_of_every_storage_what_a_larger_batch_takes(traced: Callable[..., Trace], model: str) -> None:
    trace = traced(model=f"{model}.yaml")
    assert trace.sizes_bytes(5) == sizes_of_a_rehearsal(5, model=f"{model}.yaml")
    assert trace.facts.adds_up == (model != "yolo26n")


def test_micro_batches_take_the_gradients_of_a_piece_and_of_the_batch(traced: Callable[..., Trace]) -> None:
    whole, pieces = traced(), traced(pieces=2)
    assert pieces.sizes_bytes(5) == sizes_of_a_rehearsal(5, pieces=2)
    more = live_bytes(pieces.moments(), 64) - live_bytes(whole.moments(), 64)
    assert more == pytest.approx(whole.facts.gradient_bytes, rel=0.05)  # held while the second piece computes
    assert pieces.facts == whole.facts


def test_waiting_gradients_lie_there_at_the_peak(traced: Callable[..., Trace]) -> None:
    at_once, waiting = traced(), traced(accumulates=True)
    more = live_bytes(waiting.moments(), 64) - live_bytes(at_once.moments(), 64)
    assert more == pytest.approx(at_once.facts.gradient_bytes, rel=0.05)


def test_facts_are_those_of_the_real_model_and_optimizer(traced: Callable[..., Trace]) -> None:
    tasks = import_module("ultralytics.nn.tasks")
    model = tasks.DetectionModel("yolov8n.yaml", nc=2, verbose=False)
    numbers = sum(parameter.numel() for parameter in model.parameters())
    buffers = sum(buffer.nbytes for buffer in model.buffers())
    facts = traced(optimizer="AdamW").facts
    assert (facts.parameters, facts.trainable) == (numbers, numbers - 16)  # the head's fixed distribution
    assert facts.weight_bytes == facts.average_bytes == 4 * numbers + buffers
    assert facts.gradient_bytes == 4 * facts.trainable
    tensors = len(list(model.parameters())) - 1
    assert facts.optimizer_bytes == 2 * facts.gradient_bytes + 4 * tensors  # two moments, and a step each


def test_frozen_layers_have_neither_gradients_nor_momentum(traced: Callable[..., Trace]) -> None:
    free, frozen = traced(), traced(frozen=10, optimizer="NAdam")
    assert frozen.facts.parameters == free.facts.parameters
    assert frozen.facts.gradient_bytes == 4 * frozen.facts.trainable
    assert frozen.facts.optimizer_bytes == pytest.approx(2 * frozen.facts.gradient_bytes, rel=0.01)
    assert frozen.facts.trainable < 0.7 * free.facts.trainable
    assert live_bytes(frozen.moments(), 400) < 0.8 * live_bytes(free.moments(), 400)  # no activations kept for them


def test_a_validation_takes_as_much_as_the_training_of_a_head_alone(traced: Callable[..., Trace]) -> None:
    """Of twice the images, which nothing is kept of for a backward pass; its own tensors are the training's."""
    whole, head = traced(), traced(frozen=22)
    for trace in (whole, head):
        facts = trace.facts
        stays = facts.weight_bytes + facts.average_bytes + facts.optimizer_bytes
        assert live_bytes(trace.validating, 0) == pytest.approx(stays, rel=0.2)
    assert live_bytes(whole.validating, 800) < 0.5 * live_bytes(whole.moments(), 400)
    assert live_bytes(head.validating, 800) == pytest.approx(live_bytes(head.moments(), 400), rel=0.05)


def test_half_precision_and_channels_last_save_what_they_should(traced: Callable[..., Trace]) -> None:
    half, nhwc, full = traced(), traced(channels_last=True), traced(precision="fp32")
    assert 1.5 < replay(full, 400).reserved_bytes / replay(half, 400).reserved_bytes < 2
    assert sum(nhwc.sizes_bytes(400)) < 0.8 * sum(half.sizes_bytes(400))  # no copies around each convolution


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_precision_is_that_of_cuda(sealed_ultralytics: None, name: str) -> None:  # noqa: ARG001
    import torch

    cuda_autocast = import_module("sainet.memory.vram.autocast").cuda_autocast
    half = getattr(torch, name)
    with torch._subclasses.FakeTensorMode(), cuda_autocast(half):
        images = torch.zeros(1, 4, 8, 8, dtype=half)
        fp32 = [
            images.softmax(1),
            torch.nn.functional.log_softmax(images, dim=1),
            images.sum(),
            torch.nn.functional.interpolate(images, scale_factor=2),
            images**2,
            torch.cat([images, images.float()]),
        ]
        low = [images + images, images.sigmoid(), torch.nn.functional.conv2d(images.float(), torch.zeros(2, 4, 1, 1))]
        with torch.autocast("cpu", enabled=False):
            low.append(images.softmax(1))
    assert {tensor.dtype for tensor in fp32} == {torch.float32}
    assert {tensor.dtype for tensor in low} == {half}


# --- against what was measured ----------------------------------------------------------------------------------------


@pytest.fixture
def benchmark_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A script of benchmarks/memory as a module."""
    monkeypatch.syspath_prepend(PROJECT / "benchmarks" / "memory")
    return import_module


def test_measured_gpu_memory_is_predicted_within_7_per_cent(
    own_cache: Path, benchmark_of: Callable[[str], Any]
) -> None:
    script = benchmark_of("tracer_claims")
    claims = list(script.claims())
    store = own_cache / "traces"
    errors = {claim.name: script.predicted_gib(claim, store) / claim.measured_gib - 1 for claim in claims}
    assert len(errors) == 4
    assert all(abs(error) <= 0.07 for error in errors.values()), errors
    assert len({claim.request for claim in claims}) == 2  # three of them are the same model at the same size


@pytest.mark.alone
def test_a_first_trace_takes_at_most_8_times_the_import_of_torch(benchmark_of: Callable[[str], Any]) -> None:
    claims = benchmark_of("tracer_claims")
    # Other processes may slow down one of the two: a round without them is enough.
    assert any(claims.first_trace_s(request()) <= 8 * claims.import_torch_s() for _ in range(3))


@pytest.mark.train
def test_a_real_step_on_the_cpu_takes_what_was_traced(tmp_path: Path, benchmark_of: Callable[[str], Any]) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux tells and resets a process's peak of resident memory")
    measured, predicted = benchmark_of("step_memory").case("yolov8n", (256, 384), 6, tmp_path)
    assert predicted == pytest.approx(measured, rel=0.05)
