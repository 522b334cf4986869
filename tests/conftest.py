"""Fixtures that train: tiny YOLO sets, plans for them, and the training process itself."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import pytest
from PIL import Image

from sainet.data.source import data_plan, read_source
from sainet.protocol import Engine, Event, LoaderPlan, Plan, Stage, read_events

PROJECT = Path(__file__).resolve().parents[1]

Box = tuple[str, float, float, float, float]
"""A class's name in any case, then centre x, centre y, width and height as shares of the image."""

SIDE = 64
"""Pixels of the tiny images, and `imgsz` of the trainings: one cell of the coarsest grid is 32."""

TRAINED_IN_SECONDS: dict[str, Any] = {
    "task": "detect",
    "mode": "train",
    "exist_ok": True,
    "epochs": 1,
    "imgsz": SIDE,
    "batch": 4,
    "device": "cpu",
    "workers": 0,
    "amp": False,
    "plots": False,
    "cache": False,
}


LOADED_HERE: dict[str, Any] = {
    "workers": 0,
    "prefetch_factor": 2,
    "pin_memory": False,
    "persistent_workers": True,
    "timeout_s": 60.0,
}
"""A loader without workers: the images are loaded in the training process."""


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the tests' own: traces are made once for all of them, and never taken from the user's.

    Processes that test beside each other share it.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield Path(os.environ["XDG_CACHE_HOME"]) / "sainet"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real fire and smoke images that lie beside the checkout; they are not part of the project."""
    folder = PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real images here ({folder})")
    return folder


DiskMaker = Callable[[str], Path]
"""Makes an empty file system of a size that mount understands, e.g. 2m."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[DiskMaker]:
    """Real file systems to be filled up; only root may make them."""
    made: list[Path] = []

    def make(size: str) -> Path:
        folder = tmp_path / f"disk-{len(made)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("not allowed to mount a tmpfs here")
        made.append(folder)
        return folder

    yield make
    for folder in made:
        subprocess.run(["umount", "--lazy", folder], check=True)


@dataclass(frozen=True)
class TinySet:
    """A YOLO set small enough to train on in a second or two: `images/{train,val}`, `labels/{train,val}`."""

    root: Path
    yaml: Path
    names: tuple[str, ...]

    def images(self, split: str = "train") -> list[Path]:
        return sorted(path for path in (self.root / "images" / split).iterdir() if path.suffix != ".npy")

    def label(self, image: Path) -> Path:
        return self.root / "labels" / image.parent.name / f"{image.stem}.txt"


class TinySetMaker(Protocol):
    def __call__(
        self,
        names: Sequence[str] = ("fire", "smoke"),
        *,
        images: int = 4,
        val_images: int = 2,
        boxes: Callable[[int], list[Box]] | None = None,
        folder: str = "set",
    ) -> TinySet: ...


@pytest.fixture
def tiny_set(tmp_path: Path) -> TinySetMaker:
    """Makes a tiny set below `tmp_path`. The same arguments make the same bytes.

    `boxes` gives the boxes of image number i; by default each image has one of every class. A class's boxes
    look alike, so there is something to learn.
    """

    def make(names: Sequence[str] = ("fire", "smoke"), **options: Any) -> TinySet:
        return make_tiny_set(tmp_path / options.pop("folder", "set"), names, **options)

    return make


def make_tiny_set(
    root: Path,
    names: Sequence[str] = ("fire", "smoke"),
    *,
    images: int = 4,
    val_images: int = 2,
    boxes: Callable[[int], list[Box]] | None = None,
) -> TinySet:
    """See the fixture `tiny_set`."""
    for split, numbers in (("train", range(images)), ("val", range(1000, 1000 + val_images))):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        for number in numbers:
            chosen = boxes(number) if boxes else _one_of_each(names, number)
            _draw(chosen, number).save(root / "images" / split / f"{number:04d}.jpg", quality=95)
            (root / "labels" / split / f"{number:04d}.txt").write_text(_rows(chosen, names), encoding="utf-8")
    yaml = root / "data.yaml"
    listed = ", ".join(f"{index}: '{name}'" for index, name in enumerate(names))
    yaml.write_text(f"train: images/train\nval: images/val\nnames: {{{listed}}}\n", encoding="utf-8")
    return TinySet(root, yaml, tuple(names))


def _one_of_each(names: Sequence[str], number: int) -> list[Box]:
    shift = 0.05 * (number % 4)
    return [(name, (place + 0.5) / len(names), 0.4 + shift, 0.4, 0.4) for place, name in enumerate(sorted(names))]


def _rows(boxes: list[Box], names: Sequence[str]) -> str:
    ids = {name.lower(): index for index, name in enumerate(names)}
    return "".join(f"{ids[name.lower()]} {x} {y} {w} {h}\n" for name, x, y, w, h in boxes)


def _draw(boxes: list[Box], number: int) -> Image.Image:
    noise = np.random.default_rng(number)
    pixels = noise.integers(60, 110, (SIDE, SIDE, 3), dtype=np.uint8)
    for name, x, y, w, h in boxes:
        left, right = int((x - w / 2) * SIDE), int((x + w / 2) * SIDE)
        top, bottom = int((y - h / 2) * SIDE), int((y + h / 2) * SIDE)
        patch = pixels[top:bottom, left:right]
        colour = (230, 120, 30) if "fire" in name.lower() else (200, 205, 210)
        patch[:] = np.clip(np.array(colour) + noise.integers(-25, 25, patch.shape), 0, 255)
    return Image.fromarray(pixels)


class PlanMaker(Protocol):
    def __call__(
        self,
        data: TinySet,
        *,
        stage: Stage = 1,
        weights: str | Path = "yolov8n.yaml",
        classes: Sequence[str] | None = None,
        resume: bool = False,
        select_by: str = "map50-95",
        skip_bad_images: bool = False,
        attempt: int = 1,
        root: Path | None = None,
        **arguments: Any,
    ) -> Plan: ...


@pytest.fixture
def plan_for(tmp_path: Path) -> PlanMaker:
    """Writes a plan for a tiny set, with this process as the supervisor; `arguments` go to the trainer.

    Two plans with the same `root` are attempts at the same stage: they share weights, cache and events.
    """

    def make(data: TinySet, **options: Any) -> Plan:
        return make_plan(options.pop("root", None) or tmp_path / "run", data, **options)

    return make


def make_plan(
    root: Path,
    data: TinySet,
    *,
    stage: Stage = 1,
    weights: str | Path = "yolov8n.yaml",
    classes: Sequence[str] | None = None,
    resume: bool = False,
    select_by: Any = "map50-95",
    skip_bad_images: bool = False,
    attempt: int = 1,
    engine: Engine = "sainet",
    shape: tuple[int, int] | None = None,
    loader: Mapping[str, Any] | None = None,
    val_loader: Mapping[str, Any] | None = None,
    micro_batch: int = 1,
    tf32: bool | None = None,
    cudnn_benchmark: bool = False,
    checkpoint_every_s: float = 300.0,
    **arguments: Any,
) -> Plan:
    """See the fixture `plan_for`. The plan lies at `attempt_dir/plan.json`.

    `shape` is (height, width), by default the square of `imgsz`; `loader` and `val_loader` go over `LOADED_HERE`.
    """
    attempt_dir = root / f"stage-{stage}" / "attempts" / f"{attempt:03d}"
    if shape is not None:
        arguments["imgsz"] = max(shape)
    side = arguments.get("imgsz", SIDE)
    plan = Plan(
        run=root.name,
        stage=stage,
        attempt=attempt,
        supervisor_pid=os.getpid(),
        attempt_dir=attempt_dir,
        weights_dir=root / f"stage-{stage}" / "weights",
        checkpoint_dir=root / f"stage-{stage}" / "checkpoint",
        events=root / "events.jsonl",
        orders=attempt_dir / "orders.json",
        cache_dir=root / "cache",
        data=data_plan(read_source(str(data.yaml)), classes, skip_bad_images=skip_bad_images),
        weights=str(weights),
        lock=root / f"stage-{stage}" / ".training.lock",
        resume=resume,
        select_by=select_by,
        engine=engine,
        shape=shape or (side, side),
        loader=LoaderPlan(**{**LOADED_HERE, **(loader or {})}),
        val_loader=LoaderPlan(**{**LOADED_HERE, "persistent_workers": False, **(val_loader or {})}),
        micro_batch=micro_batch,
        tf32=tf32,
        cudnn_benchmark=cudnn_benchmark,
        checkpoint_every_s=checkpoint_every_s,
        arguments={**TRAINED_IN_SECONDS, "save_dir": str(attempt_dir), **arguments},
    )
    plan.write(attempt_dir / "plan.json")
    return plan


@dataclass(frozen=True)
class WorkerResult:
    """How a training process ended, what it reported, and what it printed."""

    exit_code: int
    events: list[Event]
    log: str


class WorkerRunner(Protocol):
    def __call__(
        self,
        plan: Plan,
        *,
        env: Mapping[str, str] | None = None,
        during: Callable[["subprocess.Popen[bytes]"], None] | None = None,
        timeout_s: float = 120.0,
    ) -> WorkerResult: ...


@pytest.fixture
def run_worker() -> WorkerRunner:
    """Runs the training process of a plan as the supervisor does: in its own process group, as our child.

    `during` is called once with the running process, e.g. to send it a signal; `env` is added to ours.
    """
    return worker_result


def worker_result(
    plan: Plan,
    *,
    env: Mapping[str, str] | None = None,
    during: Callable[["subprocess.Popen[bytes]"], None] | None = None,
    timeout_s: float = 120.0,
) -> WorkerResult:
    """See the fixture `run_worker`."""
    log = plan.attempt_dir / "log.txt"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "sainet.engine.worker", str(plan.attempt_dir / "plan.json")],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            start_new_session=True,
        )
    try:
        if during is not None:
            during(process)
        code = process.wait(timeout_s)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return WorkerResult(code, read_events(plan.events), log.read_text(encoding="utf-8", errors="replace"))


@pytest.fixture(scope="session")
def sealed_ultralytics(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Imports Ultralytics in this process as the training process does: without network and user settings.

    The environment is put back, so that no other test inherits it.
    """
    from sainet.engine.environment import seal

    assert "ultralytics" not in sys.modules, "a test imported Ultralytics before asking for this fixture"
    before = dict(os.environ)
    seal(tmp_path_factory.mktemp("ultralytics"))
    import ultralytics.engine.trainer  # noqa: F401 - reads the sealed environment as it is imported

    _restore(before)


@pytest.fixture
def engine(sealed_ultralytics: None) -> Iterator[SimpleNamespace]:  # noqa: ARG001
    """`train(plan)` and `training(plan)` in this process, which saves the seconds of a start.

    What Ultralytics does to the process (environment, signal, AMP check) is put back.
    """
    import ultralytics.engine.trainer as upstream

    from sainet.engine.worker import make_training

    def train(plan: Plan) -> list[Event]:
        make_training(plan).train()
        return read_events(plan.events)

    before, check_amp = dict(os.environ), upstream.check_amp
    yield SimpleNamespace(training=make_training, train=train)
    upstream.check_amp = check_amp
    _restore(before)


def _restore(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(scope="session")
def stage_1_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished stage 1's best.pt (classes fire and smoke), trained for one epoch by the real training process."""
    root = tmp_path_factory.mktemp("stage-1")
    plan = make_plan(root / "run", make_tiny_set(root / "set"))
    result = worker_result(plan)
    assert result.exit_code == 0, result.log
    return plan.weights_dir / "best.pt"
