"""One run, one supervisor."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sainet.errors import RunLockedError, UsageError
from sainet.files import storage_error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the run's lock; the kernel frees it however this process ends.

    Raises `RunLockedError` when another process holds it, `StorageError` when the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+")
    except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
        raise UsageError(f"{path.parent} cannot be a run's folder: {error.strerror}", where="--runs-dir") from error
    except OSError as error:
        raise storage_error(error, path) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise RunLockedError(
                f"the run {path.parent.name} is being driven by another process ({stream.read().strip() or 'unknown'})",
                hint="wait for it, stop it, or take another --run",
            ) from None
        stream.truncate(0)
        stream.write(f"pid {os.getpid()} on {os.uname().nodename}\n")
        stream.flush()
        yield
