"""Reading a file so that a change meanwhile is noticed, and writing one so that it is read back and compared."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from sainet.errors import DataError, StorageError
from sainet.files import storage_error

__all__ = ["FileRead", "no_room", "read_whole", "write_verified"]


@dataclass(frozen=True)
class FileRead:
    """What was read, and when it was last changed."""

    data: bytes
    mtime_ns: int


def read_whole(path: str) -> FileRead:
    """The whole file. Raises `DataError` when it changes meanwhile."""
    opened = os.open(path, os.O_RDONLY)
    try:
        before = os.fstat(opened)
        data = os.read(opened, before.st_size + 1)
        if len(data) < before.st_size:  # some file systems give less at a time
            data += _rest(opened)
        after = os.fstat(opened)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(opened)
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, len(data)):
        raise DataError(
            "changed while it was read", where=path, hint="run it again when nobody writes into the set any more"
        )
    return FileRead(data, before.st_mtime_ns)


def _rest(opened: int) -> bytes:
    pieces = []
    while piece := os.read(opened, 1 << 22):
        pieces.append(piece)
    return b"".join(pieces)


def write_verified(path: str, data: bytes, mtime_ns: int) -> None:
    """Write `data` as the file `path`, over whatever is there, and read it back. The folders above are made.

    It needs no temporary name: nobody uses it before its part of the work counts.
    Raises `StorageError` when there is no space left, or when it does not read back the same.
    """
    try:
        written = _opened(path)
        try:
            _fill(written, data)
            is_same = _held(written, len(data)) == data
            # What is kept about an image by its time stays true when it is staged anew.
            os.utime(written, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(written)
    except OSError as error:
        raise no_room(error, path) from error
    if not is_same:
        raise StorageError(
            f"{path} does not read back as it was written",
            hint="the memory or the disk may be damaged: stage to another place, and have this one looked at",
        )


def no_room(error: OSError, path: str) -> Exception:
    """A full disk as a `StorageError` of ours: what was begun is removed. Other errors as `storage_error` has them."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageError(
            f"no space left while writing {path}; nothing of it is kept",
            hint="stage to another place, or fewer images, or --format jpeg-1440",
        )
    return storage_error(error, Path(path))


def _opened(path: str) -> int:
    """An empty file, to be written and read."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_EXCL, 0o644)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        return os.open(path, flags, 0o644)
    except FileExistsError:  # left by a kill, or the label file of two images, which another process may be writing
        return os.open(path, flags, 0o644)


def _fill(written: int, data: bytes) -> None:
    at = 0
    while at < len(data):
        at += os.pwrite(written, data[at:] if at else data, at)
    if os.fstat(written).st_size > len(data):
        os.ftruncate(written, len(data))


def _held(written: int, size: int) -> bytes:
    """One byte more is asked for, so that a longer file is no equal one."""
    data = os.pread(written, size + 1, 0)
    while 0 < len(data) < size:
        piece = os.pread(written, size + 1 - len(data), len(data))
        if not piece:
            break
        data += piece
    return data
