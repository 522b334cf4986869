"""A run's folder: where everything is, and `state.json`, the truth about where the run stands.

runs/<name>/
  run.yaml  state.json  events.jsonl  memory.csv  .lock
  stage-1/  attempts/001/{plan.json, orders.json, log.txt, tables and plots}
            checkpoint/{slot-0, slot-1}
            weights/{best.pt, last.pt}
  stage-2/  the same
"""

import shutil
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from sainet.errors import StorageError
from sainet.files import replace_text
from sainet.protocol import CheckpointSaved, Event, Metrics, Stage, TrainingStarted

Status = Literal["pending", "running", "interrupted", "failed", "done"]
Command = Literal["train", "full-workflow"]
Setting = int | float | bool | str | None


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants", defer_build=True)


class Request(_Record):
    """What the user typed, kept so that `--resume --run NAME` needs nothing else."""

    profile: str
    tier: str | None = None
    config_files: list[str] = []
    """Absolute paths, in the order given."""
    sets: list[tuple[str, str, str]] = []
    """(key, value, the flag that said so), in the order given, e.g. ("train.batch", "96", "--batch 96")."""
    force: bool = False
    folder: str = ""
    """Where it was typed: its `sainet.yaml`, its relative paths and its weights are looked for there."""
    retyped: list[str] = []
    """Keys that were typed to go on with a run: for them the user's word goes over what memory has made smaller."""


class Attempt(_Record):
    """One start of a training process. `pid` is also its process group."""

    number: int
    started_s: float
    pid: int | None = None
    pid_started_s: float | None = None
    """When the kernel says the process began, so that a reused pid is never mistaken for it."""
    ended_s: float | None = None
    exit_code: int | None = None
    reason: str | None = None


class Downshift(_Record):
    """A setting that memory has made smaller: what was asked for, what it is since then, and why."""

    asked: Setting
    now: Setting
    reason: str


class Position(_Record):
    """A place in a training: before batch `batch` of `epoch`, both counted from 0.

    `batch == batches` is the epoch's validation.
    """

    epoch: int
    batch: int
    batches: int

    @classmethod
    def told_by(cls, event: Event) -> Self | None:
        """Where a resume would go on as of `event`, as long as its checkpoint is there; None if it does not tell."""
        match event:
            case TrainingStarted():
                return cls(epoch=event.first_epoch, batch=event.first_batch, batches=event.batches)
            case CheckpointSaved():
                return cls(epoch=event.epoch, batch=event.batch, batches=event.batches)
        return None

    def text(self, epochs: int | None) -> str:
        """For people, who count from 1; `epochs` is how many the stage has, None where that is not known."""
        if epochs is not None and self.epoch >= epochs:
            return "the final evaluation"
        if self.batch >= self.batches:
            return f"the validation of epoch {self.epoch + 1}"
        return f"epoch {self.epoch + 1}, batch {self.batch + 1} of {self.batches}"


class StageState(_Record):
    """Where one stage stands."""

    status: Status = "pending"
    attempts: list[Attempt] = []
    epochs: int | None = None
    epochs_done: int = 0
    goes_on_at: Position | None = None
    """As the training process told it last; says nothing while no exact checkpoint is there."""
    metrics: Metrics = {}
    """Of the best weights, once the stage is done."""
    classes: dict[str, str] = {}
    """Class ids and names of the label files at the last attempt."""
    settings: dict[str, object] = {}
    """The settings that make the training what it is; a resume with others is refused."""
    downshifts: dict[str, Downshift] = {}
    """By dotted key. They survive a resume."""
    request: Request | None = None
    """What was asked for when this stage was last started; None in runs of older versions."""


class RunState(_Record):
    """`state.json`. Replaced atomically at every change."""

    version: Literal[1] = 1
    name: str
    command: Command
    request: Request
    created_s: float = Field(default_factory=time.time)
    updated_s: float = Field(default_factory=time.time)
    stages: dict[Annotated[Stage, BeforeValidator(int)], StageState]  # JSON's keys are text

    @property
    def status(self) -> Status:
        """The run as a whole: its first stage that is not done."""
        return next((s.status for _, s in sorted(self.stages.items()) if s.status != "done"), "done")


class StageFolder:
    """The paths of one stage."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.attempts = root / "attempts"
        self.checkpoint = root / "checkpoint"
        self.weights = root / "weights"
        self.best = self.weights / "best.pt"
        self.last = self.weights / "last.pt"
        self.lock = root / ".training.lock"

    @property
    def has_checkpoint(self) -> bool:
        """Whether the exact state is there, intact or not."""
        return any(self.checkpoint.glob("slot-*"))

    @property
    def has_begun(self) -> bool:
        """Whether an attempt has left something to go on from, intact or not."""
        return self.kept is not None

    @property
    def kept(self) -> Path | None:
        """What there is to go on from, intact or not: last.pt, or before the first epoch's end the exact state."""
        if self.last.exists():
            return self.last
        return self.checkpoint if self.has_checkpoint else None

    def set_aside(self, name: str) -> None:
        """Keep the weights under another name, and give the exact state up: the stage begins anew."""
        if self.weights.exists():
            target = next(path for path in self._free_names(f"weights-{name}") if not path.exists())
            self.weights.rename(target)
        shutil.rmtree(self.checkpoint, ignore_errors=True)

    def _free_names(self, name: str) -> Iterator[Path]:
        yield self.root / name
        for number in count(2):
            yield self.root / f"{name}-{number}"

    def attempt(self, number: int) -> Path:
        return self.attempts / f"{number:03d}"

    def plan(self, number: int) -> Path:
        return self.attempt(number) / "plan.json"

    def orders(self, number: int) -> Path:
        return self.attempt(number) / "orders.json"

    def log(self, number: int) -> Path:
        return self.attempt(number) / "log.txt"


class RunFolder:
    """The paths of one run, and its state."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve() if ".." in root.parts else root.absolute()
        self.name = root.name
        self.settings = self.root / "run.yaml"
        self.state = self.root / "state.json"
        self.events = self.root / "events.jsonl"
        self.lock = self.root / ".lock"
        self.cache = self.root / "cache"

    def stage(self, stage: Stage) -> StageFolder:
        return StageFolder(self.root / f"stage-{stage}")

    @property
    def exists(self) -> bool:
        return self.state.exists()

    def read_state(self) -> RunState:
        """Raises `StorageError` when `state.json` is missing or cannot be read."""
        try:
            return RunState.model_validate_json(self.state.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StorageError(f"{self.root} is not a run: it has no state.json", hint="sainet runs ls") from None
        except UnicodeDecodeError as error:
            raise StorageError(f"{self.state} is not text: {error.reason}", hint="restore it from a copy") from error
        except ValidationError as error:
            raise StorageError(
                f"{self.state} cannot be read: {error.errors()[0]['msg']}",
                hint="it was written by another version, or edited; start a new run with another --run",
            ) from error

    def write_state(self, state: RunState) -> None:
        """Raises `StorageError` when the disk is full; the state before is intact then."""
        state.updated_s = time.time()
        replace_text(self.state, state.model_dump_json(indent=2) + "\n")


def find_runs(runs_dir: Path) -> list[RunFolder]:
    """The runs below `runs_dir`, by name."""
    if not runs_dir.is_dir():
        return []
    return [RunFolder(path.parent) for path in sorted(runs_dir.glob("*/state.json"))]
