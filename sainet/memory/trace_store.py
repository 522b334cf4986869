"""Where traces are kept: a folder, and in it two files for each request.

`<key>.json` is the trace, `<key>.peaks.json` what was computed from it: facts and peaks, small and quick to read. The
key is a hash of everything that a trace depends on, so nothing here is ever out of date.
"""

import fcntl
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from sainet.errors import StorageError
from sainet.files import replace_text
from sainet.hardware.packages import installed_version
from sainet.memory.caching_allocator import AllocatorSettings
from sainet.memory.trace_record import ModelFacts, Moment, Trace, TraceRequest

__all__ = ["Answers", "Pair", "TraceStore", "key_of"]

Pair = tuple[int, int]
"""Reserved and allocated bytes."""

_DEFAULT = AllocatorSettings()

_MEMORY = Path(__file__).parent
_SOURCES = (
    *sorted((_MEMORY / "vram").glob("*.py")),
    *(_MEMORY / name for name in ("trace.py", "trace_record.py", "trace_store.py", "caching_allocator.py")),
    _MEMORY.parent / "engine" / "micro_batch.py",
)
"""What a trace and its replay are made by."""


def key_of(request: TraceRequest) -> str:
    """A name for all that a trace of `request` depends on: itself, the model's file, the versions, our code."""
    digest = hashlib.sha256(request.model_dump_json().encode())
    for model in _files_of(request.model):
        status = model.stat()
        digest.update(f"{model.name} {status.st_size} {status.st_mtime_ns}".encode())
    for package in ("torch", "ultralytics"):
        digest.update((installed_version(package) or "").encode())
    for source in _SOURCES:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:32]


def _files_of(model: str) -> list[Path]:
    """What a model of the user's own is read from: Ultralytics takes yolov8.yaml for a yolov8s.yaml where it lies."""
    path = Path(model)
    if not path.is_absolute():
        return []
    unscaled = path.with_name(re.sub(r"(\d+)([nslmx])(.+)?$", r"\1\3", path.name))
    return [file for file in dict.fromkeys((path, unscaled)) if file.exists()]


class Answers(BaseModel):
    """What was computed from a trace."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    facts: ModelFacts
    moments: list[Moment]
    validating: list[Moment]
    peaks: dict[str, Pair] = {}
    """By images and allocator settings."""


class TraceStore:
    """What is known about one request. `make` traces it, which is done when nothing is known.

    A file that is missing or damaged counts as none, and a folder that cannot be written to is told of, once.
    """

    def __init__(self, folder: Path, key: str, make: Callable[[], Trace], tell: Callable[[str], None]) -> None:
        self._folder, self._make, self._tell = folder, make, tell
        self._trace_file, self._answers_file = folder / f"{key}.json", folder / f"{key}.peaks.json"
        self._lock_file = folder / f"{key}.lock"
        self._unsaved: dict[str, Pair] = {}

    @cached_property
    def trace(self) -> Trace:
        """Two processes that ask for it at the same time trace it once."""
        with self._locked():
            trace = _read(Trace, self._trace_file)
            if trace is None:
                trace = self._make()
                self._write(self._trace_file, trace)
        return trace

    @cached_property
    def answers(self) -> Answers:
        known = _read(Answers, self._answers_file)
        if known is None:
            trace = self.trace
            with self._locked():  # another process may have waited for the trace too
                known = _read(Answers, self._answers_file)
                if known is None:
                    known = Answers(facts=trace.facts, moments=trace.moments(), validating=trace.validating)
                    self._write(self._answers_file, known)
        return known

    def peak(self, images: int, allocator: AllocatorSettings, compute: Callable[[], Pair]) -> Pair:
        """What `compute` says, remembered; `save` remembers it for good."""
        key = _peak_key(images, allocator)
        if key not in self.answers.peaks:
            self.answers.peaks[key] = self._unsaved[key] = compute()
        return self.answers.peaks[key]

    def save(self) -> None:
        """Add the new peaks to those that other processes have written meanwhile."""
        if not self._unsaved:
            return
        with self._locked():
            latest = _read(Answers, self._answers_file) or self.answers
            latest.peaks.update(self._unsaved)
            self._write(self._answers_file, latest)
        self._unsaved = {}

    def _write(self, path: Path, content: BaseModel) -> None:
        try:
            replace_text(path, content.model_dump_json())
        except (OSError, StorageError) as error:
            if self._tell is not _silent:
                self._tell(f"what was traced cannot be kept in {self._folder}: {error}")
            self._tell = _silent

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone with this request's files, where the folder allows it."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            stream = self._lock_file.open("ab")
        except OSError:
            yield
            return
        with stream:
            with suppress(OSError):  # some network file systems have no locks
                fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def _silent(_message: str) -> None: ...


def _peak_key(images: int, allocator: AllocatorSettings) -> str:
    return f"{images} {json.dumps(asdict(allocator), sort_keys=True)}" if allocator != _DEFAULT else str(images)


_Content = TypeVar("_Content", bound=BaseModel)


def _read(kind: type[_Content], path: Path) -> _Content | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
