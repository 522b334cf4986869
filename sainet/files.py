"""Writing files so that a kill or a full disk never leaves half of one behind, and reading logs that grow.

Every file of a run is either replaced as a whole (`replace_text`, `replacing`) or only appended to (`append_line`).
"""

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from sainet.errors import StorageError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; when the block ends well it is synced and renamed to `path`.

    Raises `StorageError` when the disk is full; whatever stood at `path` before is untouched then.
    """
    temporary = path.with_name(f".{path.name}.tmp")  # one name, so that a kill leaves at most one behind
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)  # the rename itself must survive a power cut too
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        with suppress(OSError):  # a file system that turned read-only refuses this too, and would hide why
            temporary.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically. Raises `StorageError` when the disk is full."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_line(path: Path, line: str) -> None:
    """Append one line with a single write, so that two processes can share the file.

    A line torn by a kill is closed first, so that it spoils itself only.
    Raises `StorageError` when the disk is full.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            with suppress(
                OSError
            ):  # not every network disk can; then a line may be taken for torn that is being written
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # ends with the descriptor
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, (("\n" if torn else "") + line + "\n").encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise storage_error(error, path) from error


def bytes_below(folder: Path) -> int:
    """What the files below `folder` take on the disk; 0 where it does not exist."""
    sizes = (_blocks(Path(parent) / name) for parent, _, names in os.walk(folder) for name in names)
    return 512 * sum(sizes)


def _blocks(path: Path) -> int:
    try:
        return path.lstat().st_blocks
    except OSError:  # gone by now
        return 0


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where what can be made again is kept between runs (traces, calibrations); it may not exist yet.

    $XDG_CACHE_HOME/sainet, by default ~/.cache/sainet; a container's user may have no home at all.
    """
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        return base / "sainet"
    try:
        return Path.home() / ".cache" / "sainet"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"sainet-{os.getuid()}"


class LineTail:
    """Reads the complete lines that were appended to a file since the last call."""

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self._path = path
        self._offset = path.stat().st_size if from_end and path.exists() else 0

    def read(self) -> list[str]:
        """New complete lines, without their line ends; a line still being written waits for the next call."""
        try:
            if self._path.stat().st_size == self._offset:  # mostly so, and far cheaper to ask than to open it
                return []
            with self._path.open("rb") as stream:
                stream.seek(self._offset)
                chunk = stream.read()
        except FileNotFoundError:
            return []
        complete = chunk[: chunk.rfind(b"\n") + 1]
        self._offset += len(complete)
        return complete.decode("utf-8", errors="replace").splitlines()


def last_lines(path: Path, count: int, *, window_bytes: int = 65536) -> list[str]:
    """The last `count` lines of a text file, reading at most `window_bytes` of it; empty when there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - window_bytes))
            return stream.read().decode("utf-8", errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_error(error: OSError, path: Path) -> Exception:
    """A full disk or quota becomes a `StorageError`; any other `OSError` stays what it is."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageError(
            f"no space left while writing {path}",
            hint="everything saved before is intact: free some space, then run the same command with --resume",
        )
    if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        return StorageError(f"cannot write {path}: {error.strerror}", hint="choose a folder that can be written")
    return error
