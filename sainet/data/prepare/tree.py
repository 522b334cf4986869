"""A folder with all that is in it and in its zip archives, or one file, as one tree of files that are only read."""

import os
from array import array
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple

from sainet.data.check.paths import PathList
from sainet.data.prepare.zips import Member, members, read_member
from sainet.data.source import IMAGE_FORMATS
from sainet.errors import DataError

__all__ = ["Place", "Tree", "is_image", "read_place"]


class Place(NamedTuple):
    """A file: `path` on the disk, or a `member` of the archive there."""

    path: str
    member: Member | None = None


def read_place(place: Place) -> bytes:
    """The contents. Raises `DataError` when they cannot be read."""
    try:
        if place.member is not None:
            return read_member(place.path, place.member)
        return _read_file(place.path)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=place.path) from error


def _read_file(path: str) -> bytes:
    # Without a file object around it, which takes as long as the calls themselves.
    stream = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(stream).st_size
        data = os.read(stream, size + 1)
        while len(data) != size and (more := os.read(stream, 1 << 20)):  # it grew, or was read in pieces
            data += more
        return data
    finally:
        os.close(stream)


def is_image(name: str) -> bool:
    """Whether it has the suffix of an image that Ultralytics reads."""
    return name.rpartition(".")[2].lower() in IMAGE_FORMATS


class Tree:
    """The files below a folder, or in one archive, in the order of their names; some 50 bytes each.

    Hidden files are not looked at, links are followed, but not in a circle. A file in an archive has a name like
    `FASDD_CV.zip/images/a.jpg`.
    """

    def __init__(self, root: Path) -> None:
        """Raises `DataError` when there is nothing, or an archive that cannot be read."""
        self.root = root
        self._base = root.parent if root.is_file() else root
        self._names = PathList()
        self._archive_of = array("H")
        self._member_of = array("I")
        self._archives: list[str] = []
        self._members: list[array[int]] = []
        self._state = sha256()
        if root.is_file() and root.name.lower().endswith(".zip"):
            self._add_archive(str(root), root.name)
        elif root.is_file():
            self._add("", root.name, 0, 0)
            self._note(root.name, root)
        elif root.is_dir():
            self._walk(str(root), "", frozenset())
        else:
            raise DataError(f"no such folder or archive: {root}", hint="name the folder with the published files")

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        """All names."""
        return iter(self._names)

    def name(self, index: int) -> str:
        """The path within the tree."""
        return self._names[index]

    def shown(self, index: int) -> str:
        """The path for people; of a file in an archive too."""
        return f"{self._base}/{self.name(index)}"

    def place(self, index: int) -> Place:
        number = self._archive_of[index]
        if number == 0:
            return Place(self.shown(index))
        offset, packed, size, crc, deflated = self._members[number - 1][5 * self._member_of[index] :][:5]
        return Place(self._archives[number - 1], Member(offset, packed, size, crc, bool(deflated)))

    def read(self, index: int) -> bytes:
        return read_place(self.place(index))

    def open(self, index: int) -> IO[bytes]:
        """For what is too large to be read at once; a file in an archive is unpacked as a whole."""
        place = self.place(index)
        return BytesIO(read_place(place)) if place.member is not None else Path(place.path).open("rb")

    def state(self) -> str:
        """Differs when files come or go, and when anything but an image changes its size or its time."""
        return self._state.hexdigest()

    def _walk(self, folder: str, inner: str, above: frozenset[str]) -> None:
        real = os.path.realpath(folder)
        if real in above:
            return
        for entry in _entries(folder):
            name = f"{inner}/{entry.name}" if inner else entry.name
            if entry.is_dir():
                if entry.name != "__MACOSX":
                    self._walk(entry.path, name, above | {real})
            elif entry.name.lower().endswith(".zip"):
                self._add_archive(entry.path, name)
            else:
                self._add(inner, entry.name, 0, 0)
                self._note(name, None if is_image(entry.name) else entry)

    def _add(self, inner: str, name: str, archive: int, member: int) -> None:
        self._names.add(inner, name)
        self._archive_of.append(archive)
        self._member_of.append(member)

    def _note(self, name: str, entry: "os.DirEntry[str] | Path | None") -> None:
        self._state.update(os.fsencode(name) + b"\0")
        if entry is not None:
            try:
                status = entry.stat()
            except OSError:  # a link to nowhere
                return
            self._state.update(b"%d %d\0" % (status.st_size, status.st_mtime_ns))

    def _add_archive(self, path: str, name: str) -> None:
        self._archives.append(path)
        table = array("q")
        self._members.append(table)
        self._note(name, Path(path))
        for inner, member in members(Path(path)):
            if not _hidden(inner):
                folder, _, base = f"{name}/{inner}".rpartition("/")
                self._add(folder, base, len(self._archives), len(table) // 5)
                table.extend(member)


def _entries(folder: str) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=folder) from error
    return sorted(shown, key=lambda entry: entry.name)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
