"""What a staged set says of itself, and holding it while it is used."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from sainet.data.stage.sums import tree_of
from sainet.errors import RunLockedError, StorageError

__all__ = ["RECORD", "VERSION", "Record", "held", "lock_holders", "read_record", "taken", "users_of"]

RECORD = ".sainet-staged.json"
VERSION = 1
"""Of how a set is laid out: one of another version is staged anew."""


@dataclass(frozen=True)
class Record:
    """What was staged, from where and when.

    `converted`: images in the form asked for; the others stayed as they were. `skipped`: images that could not be read
    and were left out, as was asked for.
    `fingerprint`: of the source. `copy_sum`: of the files that were written. `splits`: images of each split.
    `page_bytes`: of all files in whole pages, as a file system in memory keeps them.
    """

    version: int
    sainet: str
    source: str
    format: str
    fingerprint: str
    copy_sum: str
    splits: dict[str, int]
    labels: int
    converted: int
    skipped: int
    files: int
    bytes: int
    page_bytes: int
    staged_s: float
    took_s: float

    @property
    def images(self) -> int:
        """Of all splits."""
        return sum(self.splits.values())

    def text(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def is_intact(self, place: Path) -> bool:
        """Whether the files are those that were written: their names, sizes and times."""
        return f"{tree_of(str(place), but=frozenset({RECORD})).sum:x}" == self.copy_sum


def read_record(place: Path) -> Record | None:
    """None where `place` is no staged set, or one of a later version."""
    try:
        found: dict[str, Any] = json.loads((place / RECORD).read_bytes())
        return Record(**found) if found["version"] <= VERSION else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


@contextmanager
def held(place: Path) -> Iterator[bool]:
    """Keep the staged set from being removed or replaced while the block lasts, however this process ends.

    False where it is not there any more.
    """
    try:
        stream = (place / RECORD).open("rb")
    except OSError:
        yield False
        return
    with stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        yield _is_there(stream, place)


@contextmanager
def taken(place: Path) -> Iterator[None]:
    """Nobody uses the staged set while the block lasts. Raises `RunLockedError` while somebody does."""
    try:
        stream = (place / RECORD).open("rb")
    except OSError as error:
        raise StorageError(f"{place} is gone meanwhile", hint="run the same command again") from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            users = ", ".join(map(str, lock_holders(stream.fileno()))) or "of another container"
            raise RunLockedError(
                f"{place} is in use by process {users}", hint="wait until that training has ended, or stop it"
            ) from None
        yield


def users_of(place: Path) -> list[int]:
    """The processes that hold the staged set, as far as they can be seen from here."""
    try:
        with (place / RECORD).open("rb") as stream:
            return lock_holders(stream.fileno())
    except OSError:
        return []


def lock_holders(opened: int) -> list[int]:
    """The processes that hold a lock on an open file, as far as they can be seen from here."""
    status = os.fstat(opened)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return []
    fields = [line.split() for line in lines]
    return sorted({int(f[4]) for f in fields if len(f) > 5 and f[5] == device and "->" not in f and int(f[4]) > 0})


def _is_there(stream: IO[bytes], place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), (place / RECORD).stat())
    except OSError:
        return False
