"""Copying some images and their label files: what each worker process does, a part of the set at a time.

A file is read once, written, and what was written is read back and compared with what was read.
"""

import errno
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from sainet.data.check.paths import label_path
from sainet.data.stage.converting import converted
from sainet.data.stage.form import Form
from sainet.data.stage.layout import Layout
from sainet.data.stage.sums import add, file_sum, in_pages
from sainet.errors import DataError, StorageError
from sainet.files import storage_error

__all__ = ["Copied", "Part", "copy_part"]

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR})


@dataclass(frozen=True)
class Part:
    """Images to be copied into the folder `target`. `skip`: leave out what cannot be read, and count it."""

    images: Sequence[str]
    layout: Layout
    target: str
    form: Form
    skip: bool


@dataclass
class Copied:
    """What a part came to.

    `source_sum`, `copy_sum`: of the files that were read and of those that were written, as `sums` has them.
    `page_bytes`: what was written, in whole pages. `converted`: images that are in the form asked for; the others are
    as they were. `skipped`: images that cannot be read, or whose label files cannot.
    """

    images: int = 0
    labels: int = 0
    files: int = 0
    bytes: int = 0
    page_bytes: int = 0
    converted: int = 0
    skipped: int = 0
    source_sum: int = 0
    copy_sum: int = 0

    def add(self, other: "Copied") -> None:
        """Count in what another part came to."""
        for name, value in asdict(other).items():
            total = getattr(self, name) + value
            setattr(self, name, add(total) if name.endswith("_sum") else total)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def of(cls, found: dict[str, Any]) -> Self:
        """From `as_dict`."""
        return cls(**found)


def copy_part(part: Part) -> Copied:
    """Copy every image of a part with its label file. Doing it twice comes to the same as once.

    Raises `DataError` for what cannot be read, unless it is skipped, and for what changes meanwhile; `StorageError`
    when there is no space left, and when a file does not read back as it was written.
    """
    copied = Copied()
    for image in part.images:
        label = label_path(image)
        try:
            picture, text = _read(image), _read_label(label)
        except OSError as error:
            if not part.skip:
                raise DataError(
                    f"cannot be read: {error.strerror}",
                    where=error.filename or image,
                    hint="mend or remove it; --force leaves it out",
                ) from error
            copied.skipped += 1
            continue
        _copy_image(image, picture, part, copied)
        if text is not None:
            _put(part.layout.label(image), label, text, text.data, part.target, copied)
            copied.labels += 1
    copied.source_sum, copied.copy_sum = add(copied.source_sum), add(copied.copy_sum)
    return copied


@dataclass(frozen=True)
class _File:
    """What was read, and when it was last changed."""

    data: bytes
    mtime_ns: int


def _copy_image(image: str, picture: _File, part: Part, copied: Copied) -> None:
    changed = None if part.form.kind == "as-is" else converted(picture.data, part.form)
    copied.converted += changed is not None
    copied.images += 1
    data = picture.data if changed is None else changed
    _put(part.layout.image(image), image, picture, data, part.target, copied)


def _put(name: str, source: str, read: _File, data: bytes, target: str, copied: Copied) -> None:
    """Write `data` as the file `name` of the set, and count it."""
    _write(f"{target}/{name}", data, read.mtime_ns)
    size = len(data)
    copied.files += 1
    copied.bytes += size
    copied.page_bytes += in_pages(size)
    copied.source_sum += file_sum(source, len(read.data), read.mtime_ns)
    copied.copy_sum += file_sum(name, size, read.mtime_ns)


def _read_label(path: str) -> _File | None:
    """None where there is none, which makes the image a negative."""
    try:
        return _read(path)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise


def _read(path: str) -> _File:
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
    return _File(data, before.st_mtime_ns)


def _rest(opened: int) -> bytes:
    pieces = []
    while piece := os.read(opened, 1 << 22):
        pieces.append(piece)
    return b"".join(pieces)


def _write(path: str, data: bytes, mtime_ns: int) -> None:
    """The file is whole, and is in no use, only once its part counts: it needs no temporary name."""
    try:
        written = _opened(path)
        try:
            _fill(written, data)
            is_same = _held(written, len(data)) == data
            os.utime(
                written, ns=(mtime_ns, mtime_ns)
            )  # so that what is kept about it stays true when it is staged anew
        finally:
            os.close(written)
    except OSError as error:
        raise storage_error(error, Path(path)) from error
    if not is_same:
        raise StorageError(
            f"{path} does not read back as it was written",
            hint="the memory or the disk may be damaged: stage to another place, and have this one looked at",
        )


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
    while 0 < len(data) <= size:
        piece = os.pread(written, size + 1 - len(data), len(data))
        if not piece:
            break
        data += piece
    return data
