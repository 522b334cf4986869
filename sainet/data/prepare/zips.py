"""Zip archives read in place: what is in one, and the bytes of one file of it, without unpacking anything."""

import posixpath
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile, ZipInfo

from sainet.errors import DataError

__all__ = ["Member", "members", "read_member"]

_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 1
_HEADER = struct.Struct("<4s22xHH")
"""A local header: its mark, and the lengths of the name and of what else lies in front of the contents."""


class Member(NamedTuple):
    """Where the contents of a file in an archive are: enough to read them without the archive's directory.

    `offset`: of the local header. `packed`, `size`: bytes in the archive, and unpacked.
    """

    offset: int
    packed: int
    size: int
    crc: int
    deflated: bool


def members(path: Path) -> Iterator[tuple[str, Member]]:
    """The name and the place of each file in an archive, by name; of two of one name the last.

    A link to a file of the archive counts as the file. Raises `DataError` for what is no archive, for names and links
    that lead out of it, and for files that are encrypted or packed in another way than deflated.
    """
    try:
        with ZipFile(path) as archive:
            files = {_safe(info, path): info for info in archive.infolist() if not info.is_dir()}
            for name in sorted(files):
                info = _followed(name, files, archive, path)
                if info is not None:
                    yield name, _member(info, path)
    except (BadZipFile, OSError) as error:
        raise DataError(
            f"cannot be read as a zip archive: {error}", where=str(path), hint="download it again"
        ) from error


def read_member(path: str, member: Member) -> bytes:
    """The contents of a file in the archive at `path`. Raises `DataError` when they are damaged."""
    with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 - a Path for each costs more than the call
        stream.seek(member.offset)
        mark, *lengths = _HEADER.unpack(stream.read(_HEADER.size))
        stream.seek(member.offset + _HEADER.size + sum(lengths))
        packed = stream.read(member.packed) if mark == b"PK\3\4" else b""
    try:
        data = zlib.decompress(packed, wbits=-15, bufsize=max(1, member.size)) if member.deflated else packed
    except zlib.error:
        data = b""
    if len(data) != member.size or zlib.crc32(data) != member.crc:
        raise DataError(
            f"damaged: the contents at byte {member.offset} do not have their checksum",
            where=path,
            hint="download the archive again",
        )
    return data


def _safe(info: ZipInfo, path: Path) -> str:
    name = info.filename.replace("\\", "/")
    if name.startswith("/") or name[1:2] == ":" or ".." in name.split("/"):
        raise DataError(
            f"the archive has a file that would lie outside of it: {info.filename}",
            where=str(path),
            hint="was it made to do harm? Take the archive from its publisher",
        )
    return posixpath.normpath(name)


def _followed(name: str, files: dict[str, ZipInfo], archive: ZipFile, path: Path) -> ZipInfo | None:
    """The file that a name stands for; None for a link to a folder or to nothing."""
    info, seen = files[name], {name}
    while stat.S_ISLNK(info.external_attr >> 16):
        target = archive.read(info).decode(errors="replace")
        name = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        if target.startswith("/") or name.split("/")[0] == "..":
            raise DataError(
                f"the archive has a link that leads out of it: {info.filename} to {target}",
                where=str(path),
                hint="was it made to do harm? Take the archive from its publisher",
            )
        if name not in files or name in seen:
            return None
        seen.add(name)
        info = files[name]
    return info


def _member(info: ZipInfo, path: Path) -> Member:
    if info.flag_bits & _ENCRYPTED or info.compress_type not in {_STORED, _DEFLATED}:
        why = "encrypted" if info.flag_bits & _ENCRYPTED else f"packed with method {info.compress_type}"
        raise DataError(f"{info.filename} is {why}", where=str(path), hint="unpack the archive, and name the folder")
    deflated = info.compress_type == _DEFLATED
    return Member(info.header_offset, info.compress_size, info.file_size, info.CRC, deflated)
