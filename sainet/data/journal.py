"""What of a long work on files is done, kept on disk, so that after a kill it goes on where it was.

The work is a fixed sequence of parts. A part counts once its line is in the journal; whatever a kill left of the part
after that is done again, so doing a part twice must come to the same as doing it once.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from sainet.errors import RunLockedError, UsageError
from sainet.files import storage_error

__all__ = ["Journal"]


class Journal:
    """An append-only file: first the request, then one line of JSON for each part that is done, in their order.

    Raises `RunLockedError` while another process has it open, `UsageError` when it was begun for another request, and
    `StorageError` when the disk is full.
    """

    def __init__(self, path: Path, request: Mapping[str, Any]) -> None:
        self.path = path
        self.count = 0
        """Parts that are done."""
        self._file = self._open()
        self._begin(json.loads(json.dumps(request)))

    def add(self, result: Any) -> None:
        """The next part is done, and came to `result`, which JSON can hold."""
        self._append(result)
        self.count += 1

    def results(self) -> Iterator[Any]:
        """What the parts came to that are done, in order; read from the file one by one."""
        with self.path.open("rb") as lines:
            lines.readline()
            for _, line in zip(range(self.count), lines, strict=False):
                yield json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()  # which frees the lock

    def _open(self) -> IO[bytes]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("a+b", buffering=0)
        except (FileExistsError, NotADirectoryError) as error:
            raise UsageError(f"{self.path.parent} is no folder", hint="name a new one") from error
        except OSError as error:
            raise storage_error(error, self.path) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise RunLockedError(
                f"another process is working on {self.path.parent}", hint="wait for it, or name another folder"
            ) from None
        return file

    def _begin(self, request: Any) -> None:
        """Compare the request with the one on file, and cut off what a kill left of a line."""
        self._file.seek(0)
        whole = 0
        for number, line in enumerate(self._file):
            if not line.endswith(b"\n"):
                break
            if number == 0:
                self._compare(json.loads(line), request)
            whole += len(line)
            self.count = number
        self._file.truncate(whole)
        if whole == 0:
            self._append(request)

    def _compare(self, begun: Any, request: Any) -> None:
        if begun == request:
            return
        keys = sorted(key for key in begun.keys() | request.keys() if begun.get(key) != request.get(key))
        raise UsageError(
            f"{self.path.parent} was begun otherwise: "
            + ", ".join(f"{key} was {_short(begun.get(key))} and is {_short(request.get(key))}" for key in keys),
            hint="name another folder, or remove that one",
        )

    def _append(self, value: Any) -> None:
        data = json.dumps(value, separators=(",", ":")).encode() + b"\n"
        try:
            written = os.write(self._file.fileno(), data)
            while written < len(data):
                written += os.write(self._file.fileno(), data[written:])
        except OSError as error:
            raise storage_error(error, self.path) from error


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
