"""`--measure`: a few real batches of a plan, weighed in real processes; nothing is left behind, however it ends."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from conftest import SIDE, PlanMaker, TinySet, TinySetMaker
from engine_cases import listing
from fakes import MIB, build_nvml, nvml_environment

from sainet.errors import DataError, RefusedError, SainetError, StorageError
from sainet.hardware.process import group_members
from sainet.protocol import Plan
from sainet.run.measure import Measured, measure
from sainet.run.measure_plan import measurable
from sainet.run.measure_samples import Sample, Usage, by_phase

BATCH, WORKERS, PREFETCH, VAL_WORKERS = 4, 2, 3, 1
SHAPE = SIDE, 96
"""A rectangle: Ultralytics pads the squares of validation by half a stride more."""
BATCH_BYTES = BATCH * 3 * SHAPE[0] * SHAPE[1]
LOADERS: dict[str, Any] = {
    "shape": SHAPE,
    "batch": BATCH,
    "workers": WORKERS,
    "loader": {"workers": WORKERS, "prefetch_factor": PREFETCH},
    "val_loader": {"workers": VAL_WORKERS, "prefetch_factor": PREFETCH},
}

# A supervisor in a process of its own, to be killed.
SUPERVISOR = """
import sys
from pathlib import Path
from sainet.errors import SainetError
from sainet.protocol import Plan
from sainet.run.measure import measure
try:
    measure(Plan.read(Path(sys.argv[1])), {}, tell=lambda line: print(line, flush=True))
except SainetError as error:
    print(error)
    sys.exit(error.code)
"""


CARDS = """driver 550.54 12040
gpu 23028 20000 0 NVIDIA A10G
gpu 23028 {used} 0 NVIDIA A10G
"""
SAMPLE_TWICE = """
import os, shutil, sys
from sainet.run.measure_samples import Sampler
sampler = Sampler(0, os.environ)
shutil.copyfile(sys.argv[2], sys.argv[1])
sampler.take(os.getpgrp())
print(sampler.vram_before_bytes, sampler.samples[-1].usage.vram_bytes)
"""


def quietly(plan: Plan) -> Measured:
    return measure(plan, {}, tell=lambda _: None)


@pytest.fixture
def whole_set(tiny_set: TinySetMaker) -> TinySet:
    return tiny_set(images=60, val_images=30)


# --- what is measured


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("measured")


@pytest.fixture(scope="module")
def measured(root: Path) -> SimpleNamespace:
    """One measurement of a set, what was told meanwhile, and what lay around before and after."""
    from conftest import make_plan, make_tiny_set

    data = make_tiny_set(root / "set", images=60, val_images=30)
    planned = make_plan(root / "planned", data, epochs=9, **LOADERS)
    plan = elsewhere(planned, root / "runs" / "one")
    told: list[str] = []
    before, temporary = listing(root), set(Path(tempfile.gettempdir()).iterdir())
    result = measure(plan, {}, tell=told.append)
    left = set(Path(tempfile.gettempdir()).iterdir()) - temporary
    return SimpleNamespace(result=result, told=told, before=before, after=listing(root), left=left, plan=plan)


def elsewhere(plan: Plan, folder: Path) -> Plan:
    """The same plan for a run whose folder is not there yet."""
    names = ("attempt_dir", "weights_dir", "checkpoint_dir", "cache_dir")
    return plan.model_copy(update={name: folder / name for name in names})


@pytest.mark.train
def test_batches_steps_and_a_validation_really_ran(measured: SimpleNamespace) -> None:
    result = measured.result
    assert (result.batches, result.optimizer_steps) == (8, 4)  # every second batch: gradients wait, as nbs 64 has it
    assert result.seconds_per_batch > 0
    assert result.device == "cpu"
    names = ["starting", "building the model", "scanning labels", "training", "queue full", "validating"]
    seen = [name for name in result.phases if name in names]
    assert seen == [name for name in names if name in seen], "in this order; a short one may fall between two samples"
    assert {"training", "queue full"} <= set(seen)
    assert "measuring: validating" in measured.told


@pytest.mark.train
def test_the_full_queues_are_seen_in_shm(measured: SimpleNamespace) -> None:
    """Each batch brings some small tensors, which take a page each."""
    result, small = measured.result, 6 * 4096
    assert result.queue_filled
    waiting = WORKERS * PREFETCH
    queue = result.phases["queue full"].shm_bytes
    assert waiting * BATCH_BYTES <= queue <= (waiting + 1) * (BATCH_BYTES + small)
    both = waiting * BATCH_BYTES + VAL_WORKERS * PREFETCH * 2 * BATCH_BYTES
    assert result.shm_peak_bytes == max(usage.shm_bytes for usage in result.phases.values())
    assert both <= result.shm_peak_bytes <= both + 2 * BATCH_BYTES + (waiting + VAL_WORKERS * PREFETCH + 2) * small


@pytest.mark.train
def test_ram_holds_the_processes_and_the_step(measured: SimpleNamespace) -> None:
    result = measured.result
    weights = 4 * 3_000_000  # of yolov8n, and as much for its average, momentum and gradients
    assert 4 * weights < result.step_bytes < 20 * weights
    assert result.held_bytes > 4 * weights
    assert result.exact
    assert result.ram_peak_bytes > result.phases["starting"].ram_bytes + result.held_bytes // 2
    assert result.ram_peak_bytes == max(usage.ram_bytes for usage in result.phases.values())
    assert (result.vram_peak_bytes, result.reserved_bytes, result.context_bytes) == (None, None, None)


@pytest.mark.train
def test_a_measurement_leaves_nothing_behind(measured: SimpleNamespace) -> None:
    assert measured.after.keys() == measured.before.keys()
    assert [name for name in measured.after if measured.after[name] != measured.before[name]] == ["."]  # only its time
    assert not [path for path in measured.left if path.name.startswith(".sainet-measure")]
    assert not measured.plan.cache_dir.parent.exists()


@pytest.mark.train
@pytest.mark.parametrize("images", [60, 3])
def test_gradients_wait_and_the_optimizer_has_its_state_when_the_step_is_weighed(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, tmp_path: Path, images: int
) -> None:
    """With images for one batch an epoch too."""
    from sainet.engine.measuring import Measuring
    from sainet.engine.step_memory import StepMemory

    few = measurable(plan_for(tiny_set(images=images), epochs=20, batch=4), tmp_path)
    training = engine.training(few.plan)
    measuring, weighed = Measuring(training), []
    begin = StepMemory.begin

    def remember(memory: StepMemory, batch: dict[str, Any], *, trim: bool) -> None:
        waiting = any(parameter.grad is not None for parameter in training.model.parameters())
        weighed.append((measuring.batches, trim, waiting, bool(training.optimizer.state)))
        begin(memory, batch, trim=trim)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StepMemory, "begin", remember)
        measuring.run()
    assert weighed == [(0, False, False, False), (5, True, True, True)]
    assert measuring.batches >= 8
    assert measuring.steps >= 2


@pytest.mark.train
def test_a_single_epoch_ends_by_itself_and_workers_that_end_with_it_do(
    engine: SimpleNamespace, tiny_set: TinySetMaker, plan_for: PlanMaker, tmp_path: Path
) -> None:
    from sainet.engine.measuring import Measuring

    loader = {"workers": 1, "persistent_workers": False}
    few = measurable(plan_for(tiny_set(images=60), epochs=1, workers=1, loader=loader), tmp_path)
    training = engine.training(few.plan)
    alive = []
    training.add_callback("on_val_start", lambda _: alive.append(len(multiprocessing.active_children())))
    measuring = Measuring(training)
    measuring.run()
    assert measuring.batches == 6
    assert alive == [0]
    assert not list(few.plan.weights_dir.glob("best_*"))


# --- how it ends otherwise


@pytest.mark.train
def test_images_that_cannot_be_used_are_told_as_by_the_training(whole_set: TinySet, plan_for: PlanMaker) -> None:
    for image in whole_set.images():
        image.write_bytes(b"no image")
    before = listing(whole_set.root)
    with pytest.raises(DataError, match="train images cannot be used"):
        quietly(plan_for(whole_set))
    assert listing(whole_set.root) == before


@pytest.mark.train
def test_memory_that_runs_out_is_a_refusal_that_says_measured(
    whole_set: TinySet, plan_for: PlanMaker, tmp_path: Path
) -> None:
    """A limit on the process's data makes PyTorch's own CPU allocator fail."""
    plan = plan_for(whole_set, batch=24, imgsz=640, cache=False)
    limited = "import resource; resource.setrlimit(resource.RLIMIT_DATA, (1600 << 20, 1600 << 20))\n" + SUPERVISOR
    ended = subprocess.run(
        [sys.executable, "-c", limited, str(plan.attempt_dir / "plan.json")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == RefusedError.exit_code, ended.stdout + ended.stderr
    assert "it does not fit; measured: " in ended.stdout
    assert "can't allocate memory" in ended.stdout
    assert not list(tmp_path.rglob(".sainet-measure-*"))


def test_a_process_that_cannot_say_why_it_ended_is_quoted(whole_set: TinySet, plan_for: PlanMaker) -> None:
    with pytest.raises(SainetError, match=r"the measuring process ended with 1: \S"):
        measure(plan_for(whole_set), {"PYTHONHOME": "/no-python-here"}, tell=lambda _: None)


def test_what_ended_it_is_told_by_its_meaning() -> None:
    from sainet.engine.measure import meaning

    cuda = RuntimeError(
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 21.98 GiB of which ...\nmore"
    )
    assert isinstance(meaning(cuda), RefusedError)
    assert meaning(cuda).message == "it does not fit; measured: CUDA out of memory. Tried to allocate 20.00 MiB"
    assert isinstance(meaning(MemoryError()), RefusedError)
    assert isinstance(meaning(OSError(28, "No space left on device", "x")), StorageError)
    other = meaning(ValueError("a shape\nis wrong"))
    assert type(other) is SainetError
    assert other.message == "ValueError: a shape"
    told = DataError("no images")
    assert meaning(told) is told


@pytest.fixture
def supervisor(whole_set: TinySet, plan_for: PlanMaker) -> Iterator["subprocess.Popen[str]"]:
    """A supervisor whose measurement is computing its batches, and would for a good while."""
    plan = plan_for(whole_set, epochs=9, **{**LOADERS, "shape": (320, 320), "batch": 8})
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(plan.attempt_dir / "plan.json")],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == "measuring: training\n":
            break
    yield process
    process.kill()
    process.communicate()


def measuring_group(supervisor: "subprocess.Popen[str]") -> int:
    return next(child.pid for child in psutil.Process(supervisor.pid).children() if os.getpgid(child.pid) == child.pid)


@pytest.mark.train
def test_ctrl_c_ends_it_and_cleans_up(supervisor: "subprocess.Popen[str]", tmp_path: Path) -> None:
    group = measuring_group(supervisor)
    supervisor.send_signal(signal.SIGINT)
    output = supervisor.communicate(timeout=30)[0]
    assert supervisor.returncode == 130, output
    assert "measuring was interrupted" in output
    assert group_members(group) == []
    assert not list(tmp_path.rglob(".sainet-measure-*"))


@pytest.mark.train
def test_the_measuring_process_ends_with_its_supervisor(supervisor: "subprocess.Popen[str]") -> None:
    group = measuring_group(supervisor)
    supervisor.kill()
    deadline_s = time.monotonic() + 8
    while group_members(group) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert group_members(group) == []


# --- what is planned


def test_the_measured_plan_is_the_real_one_on_few_images(
    tiny_set: TinySetMaker, plan_for: PlanMaker, tmp_path: Path
) -> None:
    plan = plan_for(
        tiny_set(images=120, val_images=50), epochs=150, patience=7, warmup_epochs=3.0, plots=True, **LOADERS
    )
    (tmp_path / "here").mkdir()
    few = measurable(plan, tmp_path / "here")
    assert (few.train_images, few.val_images) == (BATCH * (WORKERS * PREFETCH + 8), 2 * BATCH * (PREFETCH + 2))
    kept = ("weights", "shape", "loader", "val_loader", "micro_batch", "engine", "tf32")
    assert all(getattr(few.plan, name) == getattr(plan, name) for name in kept)
    changed = {name for name, value in few.plan.arguments.items() if plan.arguments.get(name) != value}
    assert changed == {"save_dir", "nbs", "warmup_epochs", "patience", "fraction", "plots", "save_period"}
    folders = [few.plan.attempt_dir, few.plan.weights_dir, few.plan.checkpoint_dir, few.plan.cache_dir]
    assert all(path.is_relative_to(tmp_path / "here") for path in [*folders, few.plan.events, few.plan.lock])
    assert few.plan.supervisor_pid == os.getpid()
    assert any("56 of 120 training images" in note for note in few.notes)


def test_the_few_images_are_spread_over_the_data(tiny_set: TinySetMaker, plan_for: PlanMaker, tmp_path: Path) -> None:
    few = measurable(plan_for(tiny_set(images=96), batch=4), tmp_path)
    names = [int(Path(line).stem) for line in Path(few.plan.data.train[0]).read_text().split()]
    assert names == list(range(0, 96, 3))


def test_one_of_the_few_has_a_box_where_any_image_has(
    tiny_set: TinySetMaker, plan_for: PlanMaker, tmp_path: Path
) -> None:
    data = tiny_set(images=96, boxes=lambda number: [("smoke", 0.5, 0.5, 0.4, 0.4)] if number == 95 else [])
    few = measurable(plan_for(data, batch=4, classes=["smoke"]), tmp_path)
    lines = Path(few.plan.data.train[0]).read_text().split()
    assert [Path(line).name for line in lines if Path(line).stem == "0095"] == ["0095.jpg"]
    assert few.train_images == len(lines) == 32


@pytest.mark.parametrize(
    ("batch", "nbs", "measured_nbs"), [(4, 64, 8), (4, 8, 8), (4, 4, 4), (64, 64, 64), (96, 64, 96)]
)
def test_gradients_wait_while_measuring_where_they_wait_in_the_training(
    tiny_set: TinySetMaker, plan_for: PlanMaker, tmp_path: Path, batch: int, nbs: int, measured_nbs: int
) -> None:
    few = measurable(plan_for(tiny_set(), batch=batch, nbs=nbs), tmp_path)
    assert few.plan.arguments["nbs"] == measured_nbs
    assert few.plan.arguments["warmup_epochs"] == 0


def test_of_several_gpus_one_is_measured_with_its_share(
    tiny_set: TinySetMaker, plan_for: PlanMaker, tmp_path: Path
) -> None:
    few = measurable(plan_for(tiny_set(), device="1,0", batch=60), tmp_path)
    assert (few.plan.arguments["device"], few.plan.arguments["batch"]) == ("1", 30)
    assert any("one of 2 GPUs" in note for note in few.notes)


def test_what_a_short_run_cannot_show_is_noted(tiny_set: TinySetMaker, plan_for: PlanMaker, tmp_path: Path) -> None:
    options: dict[str, Any] = {"multi_scale": 0.5, "cache": "ram", "device": "0", "loader": {"workers": 1}}
    plan = plan_for(tiny_set(images=120), engine="stock", workers=1, **options)
    few = measurable(plan, tmp_path)
    assert few.train_images == 40  # what its workers need, and no less than eight batches for their mosaics
    text = "\n".join(few.notes)
    for words in ("40 of 120 training images", "the cache 3 times", "buffers for mosaics", "multi_scale"):
        assert words in text
    alike = measurable(plan_for(tiny_set(folder="small")), tmp_path)
    assert alike.notes == ()


# --- what is sampled


def test_each_phase_has_the_peaks_of_its_own_samples() -> None:
    samples = [
        Sample(float(t), Usage(ram_bytes=ram, shm_bytes=t), exact=True) for t, ram in enumerate([9, 1, 5, 2, 7, 3])
    ]
    phases = by_phase(samples, [(3.5, "validating"), (1.0, "training"), (2.9, "nothing sampled"), (2.95, "training")])
    assert list(phases) == ["training", "validating"]
    assert phases["training"] == Usage(ram_bytes=5, shm_bytes=3)
    assert phases["validating"] == Usage(ram_bytes=7, shm_bytes=5)
    assert Usage(vram_bytes=None).peak(Usage(vram_bytes=4)).vram_bytes == 4


def test_vram_is_what_came_after_the_start(tmp_path: Path) -> None:
    """Through the real pynvml, on the second of two scripted GPUs, which is the only visible one."""
    library, script = build_nvml(tmp_path), tmp_path / "script"
    script.write_text(CARDS.format(used=900))
    later = tmp_path / "later"
    later.write_text(CARDS.format(used=7900))
    ended = subprocess.run(
        [sys.executable, "-c", SAMPLE_TWICE, script, later],
        env=nvml_environment(library, script, CUDA_VISIBLE_DEVICES="1"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.split() == [str(900 * MIB), str(7000 * MIB)]


def test_idle_workers_are_told_from_busy_ones() -> None:
    from sainet.engine.idle_workers import wait_until_idle

    assert wait_until_idle(0.1)  # without any
    context = multiprocessing.get_context("fork")
    rest = context.Event()
    worker = context.Process(target=_work_until, args=(rest,), daemon=True)
    worker.start()
    try:
        assert not wait_until_idle(2.5)
        rest.set()
        assert wait_until_idle(20)
    finally:
        worker.kill()
        worker.join()


def _work_until(rest: Any) -> None:
    while not rest.is_set():
        sum(range(10_000))
    time.sleep(600)
