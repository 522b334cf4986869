"""Putting files into a new data set: linked where that serves, copied otherwise.

By default never half of one is under its name. With `at_once` a new file is made under its own name from the start,
which takes a third of the time where there are many, and after a kill half of one may be there: for folders that count
for nothing until the work on them is complete, and where a part of the work that was not finished is done again.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

from sainet.files import storage_error

__all__ = ["How", "place", "write"]

T = TypeVar("T")
How = Literal["link", "copy"]
"""`link`: one file under two names, where both are on one file system. `copy`: a file of its own."""

_FICLONE = 0x40049409
"""linux/fs.h: the copy shares the blocks of the original until either is written to (btrfs, XFS, bcachefs)."""
_CANNOT_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EACCES})
"""Another file system, one without links, too many of them, or somebody else's file (fs.protected_hardlinks)."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_AT_ONCE = 1 << 20
_NO_CLONES: set[tuple[str, str]] = set()
"""Folders between which no blocks can be shared: to ask for each file takes as long as to write it."""


def place(source: str, target: str, how: How, data: bytes | None = None, *, at_once: bool = False) -> How:
    """Put the contents of the file `source` at `target`, over whatever is there; a link to a file counts as the file.

    What cannot be linked is copied; a copy shares its blocks where the file system can. The folder of `target` exists.
    `data` are the contents where they were read already. Returns how it was done.
    Raises `StorageError` when the disk is full, `OSError` when `source` cannot be read.
    """
    return _make(target, lambda path: _link_or_copy(source, path, how, data), at_once)


def write(target: str, data: bytes, *, at_once: bool = False) -> None:
    """Put `data` at `target`, over whatever is there. Raises `StorageError` when the disk is full."""
    _make(target, lambda path: _write(path, data), at_once)


def _make(target: str, make: Callable[[str], T], at_once: bool) -> T:
    """`make` makes a file where there is none."""
    if at_once:
        try:
            return make(target)
        except FileExistsError:  # of an earlier try
            pass
        except OSError as error:
            if error.errno in _FULL:
                _gone(target)
                raise storage_error(error, Path(target)) from error
            raise
    return _as_a_whole(target, make)


def _as_a_whole(target: str, make: Callable[[str], T]) -> T:
    folder, name = os.path.split(target)
    # Paths as text all through: a `Path` for each costs more than the calls. One name, so that a kill leaves at most
    # one behind, and shorter than what file systems allow.
    temporary = f"{folder}/.{name[-200:]}.tmp"
    try:
        _gone(temporary)  # or it would be written through a link into the original
        made = make(temporary)
        os.replace(temporary, target)  # noqa: PTH105
        _gone(temporary)  # of two names of one file, renaming takes none away
    except OSError as error:
        _gone(temporary)
        if error.errno in _FULL or error.filename in {None, temporary}:
            raise storage_error(error, Path(target)) from error
        raise
    return made


def _link_or_copy(source: str, target: str, how: How, data: bytes | None) -> How:
    if how == "link":
        try:
            # A link to a file is no file of its own.
            os.link(os.path.realpath(source) if os.path.islink(source) else source, target)  # noqa: PTH114
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
        else:
            return "link"
    _copy(source, target, data)
    return "copy"


def _copy(source: str, target: str, data: bytes | None) -> None:
    folders = os.path.dirname(source), os.path.dirname(target)  # noqa: PTH120
    if data is not None and folders in _NO_CLONES:
        _write(target, data)
        return
    with open(source, "rb", buffering=0) as read, open(target, "xb", buffering=0) as written:  # noqa: PTH123
        try:
            fcntl.ioctl(written, _FICLONE, read.fileno())
        except OSError:
            _NO_CLONES.add(folders)
            shutil.copyfileobj(read, written, _AT_ONCE)


def _write(target: str, data: bytes) -> None:
    # Without a buffered file around it, which takes as long as the call itself.
    stream = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(stream, rest) :]
    finally:
        os.close(stream)


def _gone(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108
    except FileNotFoundError:
        return
