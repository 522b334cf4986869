"""The folder beside a staged set in which one is made or taken apart, by one process at a time.

PLACE.partial/
  .sainet-stage     locked as long as somebody works here; by it the folder is known to be ours
  journal           which parts are copied and verified
  set/              what becomes PLACE, by a rename, once it is whole
  gone/             what PLACE was before
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from sainet.data.journal import Journal
from sainet.data.stage.layout import partial_of
from sainet.data.stage.record import lock_holders, taken
from sainet.errors import RunLockedError, UsageError
from sainet.files import storage_error

__all__ = ["Workshop", "begun_from", "is_workshop", "opened", "worker_of"]

_LOCK = ".sainet-stage"
_JOURNAL, _SET, _GONE = "journal", "set", "gone"


class Workshop:
    """One that this process has locked."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.folder = partial_of(place)
        self.set = self.folder / _SET

    def begin(self, request: Mapping[str, Any]) -> Journal:
        """The journal of `request`; what was made for another one is removed."""
        if (self.folder / _JOURNAL).exists():
            with suppress(UsageError):
                return Journal(self.folder / _JOURNAL, request)
        self.clear()
        return Journal(self.folder / _JOURNAL, request)

    def retire(self) -> None:
        """Take `place` away, at once and as a whole. Raises `RunLockedError` while a training uses it."""
        with taken(self.place):
            self._remove(_GONE)
            self.place.rename(self.folder / _GONE)
        self._remove(_GONE)

    def deliver(self) -> None:
        """What was made becomes `place`."""
        self.set.rename(self.place)

    def clear(self) -> None:
        """Nothing is left but the lock. What was made is known to be nothing before it is removed."""
        (self.folder / _JOURNAL).unlink(missing_ok=True)
        self._remove(_SET)
        self._remove(_GONE)

    def close(self) -> None:
        """The work is done: nothing is left."""
        self.clear()
        (self.folder / _LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # somebody has begun anew, or put something there
            self.folder.rmdir()

    def _remove(self, name: str) -> None:
        if (self.folder / name).exists():
            shutil.rmtree(self.folder / name)


@contextmanager
def opened(place: Path) -> Iterator[Workshop]:
    """The workshop of `place`, made where there is none; left as it is at the end.

    Raises `RunLockedError` while another process works there, `UsageError` where the folder is somebody else's,
    `StorageError` where none can be made.
    """
    folder = partial_of(place)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not is_workshop(folder):
            raise UsageError(f"{folder} is not empty, and was not made by staging", hint="name another place with --to")
        stream = _locked(folder)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{error.filename} is no folder", hint="name another place with --to") from error
    except OSError as error:
        raise storage_error(error, folder) from error
    with stream:
        yield Workshop(place)


def is_workshop(folder: Path) -> bool:
    """Whether it was made here. An empty one is as good as ours: so much is left by a kill at the very beginning."""
    return (folder / _LOCK).exists() or not any(folder.iterdir())


def worker_of(place: Path) -> int | None:
    """The process that works on `place` at this moment, as far as it can be seen from here; 0 for one that cannot."""
    try:
        stream = (partial_of(place) / _LOCK).open("rb")
    except OSError:
        return None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return next(iter(lock_holders(stream.fileno())), 0)
    return None


def begun_from(place: Path) -> str | None:
    """The data YAML that a set is being made from beside `place`, or was until a kill; None where that is not known."""
    try:
        with (partial_of(place) / _JOURNAL).open("rb") as lines:
            request: dict[str, Any] = json.loads(lines.readline())
    except (OSError, ValueError):
        return None
    source = request.get("source")
    return source if isinstance(source, str) else None


def _locked(folder: Path) -> IO[bytes]:
    while True:
        stream = (folder / _LOCK).open("ab")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            workers = ", ".join(map(str, lock_holders(stream.fileno()))) or "of another container"
            stream.close()
            raise RunLockedError(
                f"process {workers} is working on {folder}", hint="wait for it, or name another place with --to"
            ) from None
        if _is_still(stream, folder):
            return stream
        stream.close()  # who had it has just removed it: once more
        folder.mkdir(parents=True, exist_ok=True)


def _is_still(stream: IO[bytes], folder: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(stream.fileno()), (folder / _LOCK).stat())
    return False
