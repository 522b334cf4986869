"""Copying some images and their label files: what each worker process does, a part of the set at a time.

A file is read once, written, and what was written is read back and compared with what was read.
"""

import errno
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from sainet.data.check.paths import label_path
from sainet.data.stage.converting import converted
from sainet.data.stage.form import Form
from sainet.data.stage.layout import Layout
from sainet.data.stage.sums import add, file_sum, in_pages
from sainet.data.stage.verified import FileRead, read_whole, write_verified
from sainet.errors import DataError

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
            picture, text = read_whole(image), _read_label(label)
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


def _copy_image(image: str, picture: FileRead, part: Part, copied: Copied) -> None:
    changed = None if part.form.kind == "as-is" else converted(picture.data, part.form)
    copied.converted += changed is not None
    copied.images += 1
    data = picture.data if changed is None else changed
    _put(part.layout.image(image), image, picture, data, part.target, copied)


def _put(name: str, source: str, read: FileRead, data: bytes, target: str, copied: Copied) -> None:
    """Write `data` as the file `name` of the set, and count it."""
    write_verified(f"{target}/{name}", data, read.mtime_ns)
    size = len(data)
    copied.files += 1
    copied.bytes += size
    copied.page_bytes += in_pages(size)
    copied.source_sum += file_sum(source, len(read.data), read.mtime_ns)
    copied.copy_sum += file_sum(name, size, read.mtime_ns)


def _read_label(path: str) -> FileRead | None:
    """None where there is none, which makes the image a negative."""
    try:
        return read_whole(path)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
