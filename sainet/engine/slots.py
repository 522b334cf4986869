"""Two files of which one is always whole: where the exact state of a training survives kills and full disks.

    <folder>/slot-0, slot-1    a header of 512 bytes, then what torch.save wrote
    <folder>/.slot-N.tmp       a slot that is being written

A state is written to the temporary name, synced, read back from the disk, and only then renamed over a slot: never
over the newest one that verifies. So the disk has to hold three states. What a state means is its writer's business.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sainet.engine.slot_file import Header, SlotError, examine, load_slot, read_header, verify, write_slot
from sainet.errors import StorageError
from sainet.files import replacing, storage_error

_NAMES = ("slot-0", "slot-1")
_LEFTOVERS = (".slot-0.tmp", ".slot-1.tmp")
"""What a killed process may have left half written; each takes the room of a whole slot."""


@dataclass(frozen=True)
class Written:
    """A state that was written and verified: into which slot, the size of the file, and how long it took."""

    slot: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Found:
    """The newest state that verifies, its tensors on the CPU. `saved_s` is Unix time in seconds."""

    state: dict[str, Any]
    slot: int
    number: int
    """Counts the states written into the folder, from 1."""
    epoch: int
    batch: int
    saved_s: float
    remarks: list[str]
    """What is wrong with the other slot, for people; empty when nothing is, or when there is no other."""


class Slots:
    """The two slots of one folder. One process writes them at a time; its caller sees to that."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths = [folder / name for name in _NAMES]

    def write(self, state: Mapping[str, Any], *, epoch: int, batch: int) -> Written:
        """Replace the slot that is damaged, else the older one, and leave the other as it is.

        Raises `StorageError` when the disk is full, cannot be written or does not give back what was written;
        both slots are as they were then.
        """
        started_s = time.monotonic()
        slot, number = self._next()
        self._remove(_LEFTOVERS)
        with replacing(self._paths[slot]) as temporary:
            size_bytes = write_slot(temporary, state, number=number, epoch=epoch, batch=batch)
            try:
                examine(temporary, verify)
            except SlotError as error:
                raise StorageError(
                    f"what was written to {temporary} does not come back: it {error}",
                    hint="everything saved before is intact: the disk may be failing, go on from a copy on another one",
                ) from error
        return Written(slot=slot, bytes=size_bytes, seconds=time.monotonic() - started_s)

    def read(self) -> Found | None:
        """The newest state that verifies; None when there is no slot at all. Changes nothing on the disk.

        Raises `StorageError` when there are slots and none verifies, or when the one that does is of other software.
        """
        headers: dict[int, Header] = {}
        remarks: list[str] = []
        for slot, path in enumerate(self._paths):
            try:
                headers[slot] = examine(path, verify)
            except FileNotFoundError:
                continue
            except SlotError as error:
                remarks.append(f"{path.name} {error}")
        if not headers:
            if not remarks:
                return None
            raise StorageError(
                f"no checkpoint in {self.folder} is intact: {'; '.join(remarks)}",
                hint="put a copy of the folder back, or train the stage anew with another --run",
            )
        slot = _newest(headers)
        position = headers[slot].model_dump(include={"number", "epoch", "batch", "saved_s"})
        return Found(state=load_slot(self._paths[slot]), slot=slot, remarks=remarks, **position)

    def clear(self) -> None:
        """Remove the slots, and the folder unless something else is in it. Raises `StorageError` when not allowed."""
        self._remove(_LEFTOVERS + _NAMES)
        with suppress(OSError):
            self.folder.rmdir()

    def _remove(self, names: tuple[str, ...]) -> None:
        try:
            for name in names:
                (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, self.folder) from error

    def _next(self) -> tuple[int, int]:
        """The slot to replace, and the number of the state that replaces it.

        Only the newest needs to verify: whatever is wrong with the other, it is the one to go.
        """
        headers: dict[int, Header] = {}
        for slot, path in enumerate(self._paths):
            with suppress(FileNotFoundError, SlotError):
                headers[slot] = examine(path, read_header)
        if not headers:
            return 0, 1
        newest = _newest(headers)
        number = headers[newest].number + 1
        try:
            examine(self._paths[newest], verify)
        except SlotError:
            return newest, number
        return 1 - newest, number


def _newest(headers: Mapping[int, Header]) -> int:
    return max(headers, key=lambda slot: headers[slot].number)
