"""The file format of one exact state: a header of 512 bytes, then what torch.save wrote, and a checksum over both."""

import hashlib
import os
import pickle
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from pydantic import BaseModel, ConfigDict, ValidationError
from torch.serialization import load

from sainet.engine.saving import save_once
from sainet.errors import StorageError

_HEADER_BYTES = 512
_BLOCK_BYTES = 1 << 20


class Header(BaseModel):
    """The first bytes of a slot. `sha256` covers the payload and all other fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    magic: Literal["sainet slot 1"] = "sainet slot 1"
    number: int
    epoch: int
    batch: int
    saved_s: float
    payload_bytes: int
    sha256: str = ""

    def render(self) -> bytes:
        """A line of `_HEADER_BYTES` bytes; the same fields always give the same bytes."""
        return self.model_dump_json().encode().ljust(_HEADER_BYTES - 1) + b"\n"

    def sealed(self, payload_digest: bytes) -> "Header":
        """With the checksum that belongs to these fields and to a payload of this SHA-256."""
        fields = self.model_copy(update={"sha256": ""}).render()
        return self.model_copy(update={"sha256": hashlib.sha256(fields + payload_digest).hexdigest()})


class SlotError(Exception):
    """What is wrong with a slot, worded to follow its name."""


class _Sink:
    """What torch.save writes into: hashes and counts what goes to the file."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.sha256 = hashlib.sha256()
        self.bytes = 0

    def write(self, block: memoryview) -> int:
        self._stream.write(block)
        self.sha256.update(block)
        self.bytes += len(block)
        return len(block)

    def flush(self) -> None:
        """The stream is flushed once, when the header is there too."""


class _Payload:
    """A slot from the end of its header on, as a file of its own.

    It has no `readinto`: torch would use that, and mistake a signal that arrives in it for something else.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek(0)

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET:
            offset += _HEADER_BYTES
        return self._stream.seek(offset, whence) - _HEADER_BYTES

    def tell(self) -> int:
        return self._stream.tell() - _HEADER_BYTES


def write_slot(path: Path, state: Mapping[str, Any], *, number: int, epoch: int, batch: int) -> int:
    """Write a slot, bring it to the disk and forget it in memory. Returns the size of the file in bytes."""
    with path.open("wb") as stream:
        stream.write(bytes(_HEADER_BYTES))  # of no worth until the header replaces it
        sink = _Sink(stream)
        save_once(state, cast(BinaryIO, sink))
        header = Header(number=number, epoch=epoch, batch=batch, saved_s=time.time(), payload_bytes=sink.bytes)
        stream.seek(0)
        stream.write(header.sealed(sink.sha256.digest()).render())
        stream.flush()
        os.fsync(stream.fileno())
        with suppress(OSError):  # not every file system can; then what is read back may come from memory
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return _HEADER_BYTES + sink.bytes


def examine(path: Path, look: Callable[[BinaryIO], Header]) -> Header:
    """What `look` makes of a slot. Raises `SlotError`, or `FileNotFoundError` when there is none."""
    try:
        with path.open("rb") as stream:
            return look(stream)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SlotError(f"cannot be read: {error.strerror}") from error


def read_header(stream: BinaryIO) -> Header:
    """The header of a slot that is as long as its header says. Raises `SlotError`."""
    size_bytes = os.fstat(stream.fileno()).st_size
    block = stream.read(_HEADER_BYTES)
    if len(block) < _HEADER_BYTES:
        raise SlotError(f"is cut short: it has {size_bytes} bytes, and its header alone takes {_HEADER_BYTES}")
    try:
        header = Header.model_validate_json(block)
    except ValidationError:
        raise SlotError("is damaged: its header cannot be read") from None
    if header.render() != block:
        raise SlotError("is damaged: its header is not as it was written")
    written_bytes = _HEADER_BYTES + header.payload_bytes
    if size_bytes < written_bytes:
        raise SlotError(f"is cut short: it has {size_bytes} of {written_bytes} bytes")
    if size_bytes > written_bytes:
        raise SlotError(f"is damaged: it has {size_bytes} bytes instead of {written_bytes}")
    return header


def verify(stream: BinaryIO) -> Header:
    """The header of a slot of which every byte is as it was written. Raises `SlotError`."""
    header = read_header(stream)
    payload = hashlib.sha256()
    while block := stream.read(_BLOCK_BYTES):
        payload.update(block)
    if header.sealed(payload.digest()) != header:
        raise SlotError("is damaged: its checksum differs")
    return header


def load_slot(path: Path) -> dict[str, Any]:
    """The state in a slot that verifies. Raises `StorageError` when this software does not know what is in it."""
    try:
        with path.open("rb") as stream:
            return cast(dict[str, Any], load(cast(BinaryIO, _Payload(stream)), map_location="cpu", weights_only=False))
    except (ImportError, AttributeError, pickle.UnpicklingError) as error:
        raise StorageError(
            f"{path} is intact but cannot be loaded: {error}",
            hint="resume with the versions of sainet, torch and ultralytics that wrote it",
        ) from error
