"""`memory.csv`: what the guard has looked at, one row a sample, for `sainet guard replay` and for any spreadsheet.

`time_s` is Unix time, bytes are whole numbers, and a cell is empty where nobody could tell. A file written by hand
needs `time_s` and the columns that one wants to see judged, in any order; any clock will do.
"""

import csv
import errno
import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from sainet.errors import UsageError
from sainet.guard.sample import Sample
from sainet.guard.sample_columns import checked_names, column_names, row_of, sample_of

__all__ = ["SampleLog", "read_samples"]


class SampleLog:
    """Appends samples to a file, each with one write, so that a kill tears its own row at most.

    A file with other columns (another number of GPUs), or with rows from later than now, is renamed to `memory.1.csv`,
    `memory.2.csv`, ... and a new one begun. What a kill has left of a row is cut off.

    A row that cannot be written is lost and raises nothing: the guard's work goes on, also on a full disk. `problem`
    says why, for people, until a row is written again. To be closed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.problem: str | None = None
        self._descriptor: int | None = None
        self._header, self._gpus, self._size = b"", 0, 0
        self._newest_s = -math.inf

    def append(self, sample: Sample) -> None:
        try:
            if self._descriptor is None or len(sample.gpus) != self._gpus or sample.time_s < self._newest_s:
                self._open(sample)
            self._write((",".join(row_of(sample)) + "\n").encode())
        except OSError as error:
            self.problem = f"{self._path} cannot be written: {error.strerror}"
        else:
            self.problem, self._newest_s = None, sample.time_s

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self, sample: Sample) -> None:
        self.close()
        self._gpus, self._newest_s = len(sample.gpus), -math.inf
        self._header = (",".join(column_names(self._gpus)) + "\n").encode()
        whole = _whole_lines(self._path, self._header, sample.time_s)
        if whole is None:
            self._path.rename(_free_name(self._path))
        self._size = whole or 0
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.ftruncate(self._descriptor, self._size)

    def _write(self, row: bytes) -> None:
        assert self._descriptor is not None
        data = row if self._size else self._header + row
        written = os.write(self._descriptor, data)
        if written < len(data):  # the disk took a part: what is left of it must not spoil the next row
            os.ftruncate(self._descriptor, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written


def _whole_lines(path: Path, header: bytes, time_s: float) -> int | None:
    """Bytes of a file up to the end of its last whole line, 0 without one; None where it cannot go on at `time_s`."""
    try:
        with path.open("rb") as stream:
            first = stream.readline()
            tail_at = max(0, path.stat().st_size - 65536)
            stream.seek(tail_at)
            tail = stream.read()
    except FileNotFoundError:
        return 0
    if first != header:
        return 0 if header.startswith(first) else None  # a header is torn by a kill too
    whole = tail[: tail.rfind(b"\n") + 1]
    last = whole.splitlines()[-1].partition(b",")[0]
    with suppress(ValueError):  # the header itself
        if float(last) > time_s:
            return None
    return tail_at + len(whole)


def _free_name(path: Path) -> Path:
    number = 1
    while (other := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    return other


# --- reading


def read_samples(path: Path, warn: Callable[[str], None]) -> list[Sample]:
    """The samples of a file, oldest first.

    `warn` is told of each column that is not looked at, and of a last row that a kill has torn. Raises `UsageError`
    with the line for anything that is not a number, for times that go back, and for a file without samples.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            samples = list(_samples(str(path), _Lines(stream), warn))
    except OSError as error:
        hint = "a run keeps its samples in memory.csv in its folder"
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path), hint=hint) from error
    if not samples:
        raise UsageError("there are no samples in it", where=f"{path}:1", hint="one row a sample, below the names")
    return samples


class _Lines:
    """The lines of a stream; `is_torn` once one without a line end was read, which only the last can be."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream, self.is_torn = stream, False

    def __iter__(self) -> Iterator[str]:
        for line in self._stream:
            self.is_torn = not line.endswith(("\n", "\r"))
            yield line


def _samples(name: str, lines: _Lines, warn: Callable[[str], None]) -> Iterator[Sample]:
    names: list[str] = []
    newest_s = -math.inf
    for where, cells in _rows(name, lines):
        if not names:
            names = checked_names(cells, where, warn)
        elif len(cells) < len(names) and lines.is_torn:
            warn(f"{where}: the last row was not written to its end, and is left out")
        else:
            sample = sample_of(names, cells, where)
            if sample.time_s < newest_s:
                message = f"time_s goes back, from {newest_s:.3f} to {sample.time_s:.3f}"
                raise UsageError(
                    message, where=where, hint="rows come in the order of their times: sort or cut the file"
                )
            newest_s = sample.time_s
            yield sample


def _rows(name: str, lines: _Lines) -> Iterator[tuple[str, list[str]]]:
    """Every row that is not empty, and its place."""
    reader = csv.reader(lines)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield f"{name}:{reader.line_num}", cells
    except csv.Error as error:
        where = f"{name}:{reader.line_num}"
        raise UsageError(
            f"this is no CSV ({error})", where=where, hint="commas between cells, one row a line"
        ) from error
