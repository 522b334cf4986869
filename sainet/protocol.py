"""What the supervisor and the training process say to each other, and nothing else crosses.

`plan.json` goes in (`Plan`), `events.jsonl` comes out (`Event`), `orders.json` goes in while running (`Orders`).
Both processes import this module; neither imports the other.
"""

import time
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sainet.files import append_line, replace_text

Stage = Literal[1, 2]
Engine = Literal["sainet", "stock"]
Phase = Literal[
    "staging the data", "building the model", "scanning labels", "training", "validating", "final evaluation"
]
Resource = Literal["ram", "shm", "disk", "vram"]
Level = Literal["soft", "hard", "clear"]
Value = int | float | str | bool
Metrics = dict[str, float]
"""Validation figures by short name: `precision`, `recall`, `map50`, `map50-95`, all in 0..1."""


class Message(BaseModel):
    """Anything that crosses between the two processes: strict, and unknown keys are a version mismatch."""

    # A training that diverges reports NaN, which JSON has no word for and pydantic would turn into null.
    # Most commands use few of these models: each is built when it is first used.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants", defer_build=True)


# --- the plan ---------------------------------------------------------------------------------------------------------


class DataPlan(Message):
    """The images of one stage, and how the classes of the files become the classes of the detector.

    `train` and `val` are absolute folders or list files. `source_names` are the classes of the label files;
    `target_names` those of the detector. A box whose class is not in `class_map` (source id -> target id)
    is left out, and an image left without a box is a negative.
    """

    yaml: str
    train: list[str]
    val: list[str]
    source_names: dict[int, str]
    target_names: dict[int, str]
    class_map: dict[int, int]
    skip_bad_images: bool = False
    """Leave out images that cannot be used, with a warning, instead of refusing to start."""


class LoaderPlan(Message):
    """How one loader of one process works, for this machine: nothing is left to be decided.

    `timeout_s`: how long to wait for a batch before the loader counts as stuck, seconds; 0: for ever.
    """

    workers: int
    prefetch_factor: int
    """Batches that each worker holds ready."""
    pin_memory: bool
    persistent_workers: bool
    timeout_s: float


class Plan(Message):
    """All that the training process needs for one attempt at one stage. Every path is absolute."""

    version: Literal[1] = 1
    run: str
    stage: Stage
    attempt: int
    supervisor_pid: int
    """The process that watches this attempt; the training ends when it is gone."""
    attempt_dir: Path
    weights_dir: Path
    checkpoint_dir: Path
    """The exact state, in two slots."""
    events: Path
    orders: Path
    cache_dir: Path
    """Label caches and decoded images go here, never beside the user's data."""
    data: DataPlan
    weights: str
    """The initial weights: a checkpoint's absolute path, or the name of a model YAML to start from scratch."""
    lock: Path
    """Held by the training process as long as it lives, so that two never write the same weights."""
    resume: bool
    """Go on from what an attempt before has left (`checkpoint_dir`, else `weights_dir`) instead of `weights`."""
    select_by: Literal["map50-95", "map50", "recall"]
    engine: Engine
    """Whose loader and augmentation: ours, or Ultralytics' own."""
    shape: tuple[int, int]
    """Height and width of the training images, pixels, multiples of the stride."""
    loader: LoaderPlan
    val_loader: LoaderPlan
    ram_cache_bytes: int | None = None
    """What the decoded images of `cache: ram` may take in each process; None: whatever they need."""
    micro_batch: int
    """Pieces in which a batch is computed; 1 computes it whole."""
    tf32: bool | None
    """TensorFloat-32 matrix products and convolutions; None leaves PyTorch's defaults."""
    cudnn_benchmark: bool
    checkpoint_every_s: float
    """The longest time between two exact checkpoints inside an epoch, seconds."""
    arguments: dict[str, Any]
    """What Ultralytics' DetectionTrainer is given, under its own names."""

    def write(self, path: Path) -> None:
        replace_text(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Plan":
        return cls.model_validate_json(path.read_text(encoding="utf-8"))


class Orders(Message):
    """What the supervisor asks of a training that is running; replaced as a whole.

    Read at every batch boundary, and obeyed once per `number`, at the first boundary that is not before `at`.
    None leaves a setting as it is. With several processes every one of them reads the same file, so `at` has to be
    a batch that none of them has passed.
    """

    version: Literal[1] = 1
    number: int = Field(default=0, ge=0)
    """Counts the orders of an attempt; 0 stands for none."""
    at: tuple[int, int] | None = None
    """(epoch, batch), both counted from 0: before this batch is fetched. None: at once."""
    workers: int | None = Field(default=None, ge=0)
    prefetch_factor: int | None = Field(default=None, ge=1)
    pin_memory: bool | None = None
    val_workers: int | None = Field(default=None, ge=0)
    """Validation's, from the next one on."""
    val_prefetch_factor: int | None = Field(default=None, ge=1)
    micro_batch: int | None = Field(default=None, ge=1)
    drop_cache: bool = False
    """Give the decoded images of `cache: ram` back; from then on they are read as without it."""
    restart_workers: bool = False
    """End the loader's workers and start as many new ones: what they have leaked is given back."""
    release_vram: bool = False
    """Give the unused blocks of CUDA's caching allocator back."""
    checkpoint: bool = False
    """Write the exact state now."""
    stop: bool = False
    """Write the exact state, then end (exit code 4)."""


# --- the events -------------------------------------------------------------------------------------------------------


class _Event(Message):
    time_s: float = Field(default_factory=time.time)
    """Unix time in seconds."""
    stage: Stage
    attempt: int


class StageStarted(_Event):
    """The supervisor started a training process."""

    event: Literal["stage_started"] = "stage_started"
    pid: int
    resumed: bool


class PhaseStarted(_Event):
    """What the training process is busy with while no batch is running."""

    event: Literal["phase"] = "phase"
    phase: Phase


class DataStaged(_Event):
    """The images lie in `place`, whole and verified: copied there in `seconds`, or `reused` from before.

    `bytes`: what they take there, in whole pages.
    """

    event: Literal["data_staged"] = "data_staged"
    place: Path
    format: str
    images: int
    bytes: int
    seconds: float
    reused: bool


class TrainingStarted(_Event):
    """The loop is about to begin at batch `first_batch` of `first_epoch` (both counted from 0) of `epochs`."""

    event: Literal["training_started"] = "training_started"
    first_epoch: int
    first_batch: int = 0
    epochs: int
    batches: int
    """Batches in an epoch."""
    train_images: int
    val_images: int
    transferred: str | None = None
    """How much of the initial weights fitted, as `355/355`; None from scratch."""


class BatchDone(_Event):
    """Progress inside an epoch, at most about once a second. `epoch` and `batch` count from 0."""

    event: Literal["batch"] = "batch"
    epoch: int
    epochs: int
    batch: int
    batches: int
    losses: dict[str, float]
    images_per_s: float
    vram_bytes: int | None = None
    """Reserved by the allocator of this process; None without a CUDA device."""
    vram_allocated_bytes: int | None = None
    """The part of it that tensors hold."""
    vram_largest_free_bytes: int | None = None
    """The largest block of it that is free, as it was up to half a minute ago: looking at all of them takes a while."""


class EpochDone(_Event):
    """An epoch was trained, validated and saved. `epoch` counts from 0."""

    event: Literal["epoch"] = "epoch"
    epoch: int
    epochs: int
    losses: dict[str, float]
    metrics: Metrics
    fitness: float
    """The selection metric of the stage (`select_by`)."""
    is_best: bool
    lr: float
    seconds: float


class CheckpointSaved(_Event):
    """The exact state was written, verified and put in its place; a resume goes on with batch `batch` of `epoch`.

    `batch == batches` means that the epoch's validation comes next.
    """

    event: Literal["checkpoint"] = "checkpoint"
    epoch: int
    batch: int
    batches: int
    reason: Literal["start", "interval", "epoch", "order", "stop"]
    written_bytes: int
    seconds: float
    """What the training waited for it."""


class Resumed(_Event):
    """What a resume found, and where it goes on."""

    event: Literal["resumed"] = "resumed"
    epoch: int
    batch: int
    found: str
    """For people: which checkpoint, of when, and what was wrong with the others."""
    exact: bool
    """False when only the half-precision weights of the last whole epoch were there."""


class OrdersApplied(_Event):
    """An order was obeyed before batch `batch` of `epoch`. `changes`: setting -> [before, after]."""

    event: Literal["orders"] = "orders"
    number: int
    epoch: int
    batch: int
    changes: dict[str, tuple[int | bool, int | bool]] = {}


class GuardActed(_Event):
    """The guard found memory short, or memory has ended an attempt, and took a rung of its ladder.

    `before` and `after`: setting -> value. `hint`: what to set so that it does not come to this next time.
    """

    event: Literal["guard"] = "guard"
    resource: Resource
    level: Level | Literal["failure"]
    action: str
    reason: str
    before: dict[str, Value] = {}
    after: dict[str, Value] = {}
    hint: str | None = None


class GuardMeasured(_Event):
    """What a step of the guard has done: what was taken of `resource` before it and some seconds after, bytes."""

    event: Literal["guard_effect"] = "guard_effect"
    resource: Resource
    action: str
    before_bytes: int
    after_bytes: int
    limit_bytes: int
    helped: bool


class StageRestarting(_Event):
    """An attempt was ended by something that another attempt can survive; that is number `restart` of `of`."""

    event: Literal["restarting"] = "restarting"
    cause: str
    message: str
    restart: int
    of: int


class TrainingDone(_Event):
    """All epochs are trained (or patience ran out), and the best weights were evaluated and stripped."""

    event: Literal["training_done"] = "training_done"
    metrics: Metrics
    best_weights: Path
    last_weights: Path
    epochs_trained: int
    stopped_early: bool


class Warned(_Event):
    """Something the user should know that does not stop the run."""

    event: Literal["warning"] = "warning"
    message: str


class ProcessFailed(_Event):
    """The training process gives up; the supervisor ends with the same exit code."""

    event: Literal["process_failed"] = "process_failed"
    exit_code: int
    message: str
    where: str | None = None
    hint: str | None = None


class StageDone(_Event):
    """The supervisor saw the stage end well and wrote so into state.json."""

    event: Literal["stage_done"] = "stage_done"
    metrics: Metrics
    weights: Path


class StageFailed(_Event):
    """The supervisor saw the stage fail."""

    event: Literal["stage_failed"] = "stage_failed"
    exit_code: int
    message: str
    hint: str | None = None


class StageInterrupted(_Event):
    """The run was asked to stop; it can be resumed."""

    event: Literal["stage_interrupted"] = "stage_interrupted"
    signal_number: int


Event = Annotated[
    StageStarted
    | PhaseStarted
    | DataStaged
    | TrainingStarted
    | BatchDone
    | EpochDone
    | CheckpointSaved
    | Resumed
    | OrdersApplied
    | GuardActed
    | GuardMeasured
    | StageRestarting
    | TrainingDone
    | Warned
    | ProcessFailed
    | StageDone
    | StageFailed
    | StageInterrupted,
    Field(discriminator="event"),
]

_EVENT: TypeAdapter[Event] = TypeAdapter(Event, config=ConfigDict(defer_build=True))


def append_event(path: Path, event: Event) -> None:
    """Append one event to `events.jsonl`. Raises `StorageError` when the disk is full."""
    append_line(path, event.model_dump_json(exclude_none=True))


def parse_event(line: str) -> Event | None:
    """One line of `events.jsonl`; None for a line torn by a kill or written by a newer version."""
    try:
        return _EVENT.validate_json(line)
    except ValidationError:
        return None


def read_events(path: Path) -> list[Event]:
    """All events of a run, oldest first; empty when there are none yet."""
    if not path.exists():
        return []
    parsed = (parse_event(line) for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return [event for event in parsed if event is not None]
