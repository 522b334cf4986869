"""The same small training with sainet and with plain Ultralytics, and what can be said of it afterwards."""

import hashlib
import os
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.guard.limits import PROJECT, Ended, run
from sainet.protocol import Event, GuardActed, StageRestarting, TrainingDone, Value, Warned, read_events
from sainet.state import RunFolder

SMALL_MODEL = PROJECT / "benchmarks" / "guard" / "small.yaml"
INJECT = PROJECT / "benchmarks" / "guard" / "inject"
WITHOUT_GUARD = ("--set", "guard.enabled=false", "--set", "guard.max_restarts=0")
"""What a training has to fail with, or the experiment shows nothing."""
_FORCED = "started by --force in spite of: "


@dataclass(frozen=True)
class Training:
    """What both train. Plain Ultralytics has its own `prefetch`, which is 4."""

    data: Path
    workers: int
    prefetch: int = 4
    batch: int = 16
    imgsz: int = 320
    epochs: int = 4
    seed: int = 0
    model: str = str(SMALL_MODEL)
    mosaic: float = 1.0

    def sainet(self, runs: Path, *more: str) -> list[str]:
        """The command. Its supervisor and its training process share one run, named `run`."""
        words = [sys.executable, "-m", "sainet", "train", "--stage", "1", "--profile", "cpu", "--force"]
        words += ["--data", str(self.data), "--weights", self.model, "--runs-dir", str(runs), "--run", "run"]
        words += ["--imgsz", str(self.imgsz), "--batch", str(self.batch), "--epochs", str(self.epochs)]
        words += ["--workers", str(self.workers)]
        settings = {
            "loader.prefetch_factor": self.prefetch,
            "schedule.seed": self.seed,
            "schedule.close_mosaic": 0,
            "augment.mosaic": self.mosaic,
            "train.plots": "false",
        }
        for key, value in settings.items():
            words += ["--set", f"{key}={value}"]
        return [*words, *more]

    def plain(self, folder: Path) -> list[str]:
        words = [sys.executable, "-m", "benchmarks.guard.plain", str(self.data), str(folder), "--model", self.model]
        for name in ("workers", "batch", "imgsz", "epochs", "seed", "mosaic"):
            words += [f"--{name}", str(getattr(self, name))]
        return words


@dataclass(frozen=True)
class Outcome:
    """A run of sainet that has ended, in whatever way."""

    ended: Ended
    folder: RunFolder

    @cached_property
    def events(self) -> list[Event]:
        return read_events(self.folder.events)

    @property
    def steps(self) -> list[GuardActed]:
        """What the guard gave up."""
        return [event for event in self.events if isinstance(event, GuardActed) and event.action != "none"]

    @property
    def changed(self) -> dict[str, Value]:
        """Setting -> value at the end, of all that it changed."""
        return {key: value for step in self.steps for key, value in step.after.items()}

    @property
    def restarts(self) -> list[StageRestarting]:
        return [event for event in self.events if isinstance(event, StageRestarting)]

    @property
    def forced(self) -> list[str]:
        """What `--force` started in spite of."""
        warned = (event.message for event in self.events if isinstance(event, Warned))
        return sorted({text.removeprefix(_FORCED).split(" (")[0] for text in warned if text.startswith(_FORCED)})

    def has_finished(self, epochs: int) -> bool:
        done = [event for event in self.events if isinstance(event, TrainingDone)]
        return self.ended.code == 0 and bool(done) and done[-1].epochs_trained == epochs

    @property
    def story(self) -> str:
        """For people."""
        steps = [f"{step.resource} {step.level}: {step.action}" for step in self.steps]
        steps += [f"restart after: {restart.cause}" for restart in self.restarts]
        return "; ".join(steps) or "the guard did nothing"


def train(
    training: Training,
    root: Path,
    *more: str,
    limit_bytes: int | None = None,
    shm_bytes: int | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 300.0,
) -> Outcome:
    """`sainet train` in its own group, below `root`, to its end. Raises `Unavailable`."""
    root.mkdir(parents=True, exist_ok=True)
    words = training.sainet(root, *more)
    ended = run(words, root / "output.txt", limit_bytes=limit_bytes, shm_bytes=shm_bytes, env=env, timeout_s=timeout_s)
    return Outcome(ended, RunFolder(root / "run"))


def injected(**what: int | str) -> dict[str, str]:
    """The environment in which a training gets into trouble: `leak=100_000`, `slow_ms=50`, `oom="forward:4"`."""
    path = os.pathsep.join(part for part in (str(INJECT), os.environ.get("PYTHONPATH")) if part)
    return {"PYTHONPATH": path, **{f"INJECT_{name.upper()}": str(value) for name, value in what.items()}}


def tensors(folder: RunFolder) -> dict[str, str]:
    """A digest of every tensor in best.pt and last.pt, without importing torch: they are zip files, one member each."""
    stage = folder.stage(1)
    return {f"{path.name} {name}": value for path in (stage.best, stage.last) for name, value in _members(path)}


def _members(path: Path) -> list[tuple[str, str]]:
    with zipfile.ZipFile(path) as archive:
        if archive.infolist()[0].header_offset:  # zipfile does not mind what stands before; PyTorch does
            raise zipfile.BadZipFile(f"{path.name} does not begin with its archive")
        names = [name for name in archive.namelist() if "/data/" in name]
        return [(name.partition("/")[2], hashlib.sha256(archive.read(name)).hexdigest()) for name in sorted(names)]


def difference(folder: RunFolder, expected: dict[str, str]) -> str:
    """How the final weights of a run differ from others, for people; empty when every bit is equal."""
    try:
        found = tensors(folder)
    except FileNotFoundError as error:
        return f"there is no {Path(error.filename).name}"
    except zipfile.BadZipFile as error:
        return str(error)
    differ = [key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)]
    return f"{len(differ)} of {len(expected)} tensors differ" if differ else ""
