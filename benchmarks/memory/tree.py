"""What a process and all below it hold in memory, read from outside: shared pages once, a loader's batches too."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

_PROC = Path("/proc")
_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ (\d+) +/dev/shm/")


@dataclass(frozen=True)
class Memory:
    """Bytes of a process tree. `file` are pages of mapped files: the libraries, which forked processes share; those of
    the process that has mapped most, since the shares of PSS would depend on who else uses them on this machine.

    `shm` are whole files of /dev/shm that a process of the tree has open or mapped, deleted ones too (PyTorch's are).
    A batch on its way is open in its worker and mapped nowhere, so that PSS alone would not see it.
    """

    anonymous: int = 0
    file: int = 0
    shm: int = 0

    @property
    def ram(self) -> int:
        return self.anonymous + self.file + self.shm


def memory(root: int, *, alone: bool = False) -> Memory:
    """Of process `root` and all its descendants, or of it alone; of one that ends meanwhile, nothing."""
    pids = [root] if alone else tree(root)
    shm: dict[int, int] = {}
    for pid in reversed(pids):  # the way that a batch goes: from a worker to the training, where it ends
        shm.update(_open_shm(pid))
    anonymous = file = 0
    for pid in pids:
        anonymous += _kilobytes(pid, "smaps_rollup").get("Pss_Anon", 0)
        file = max(file, _kilobytes(pid, "status").get("RssFile", 0))
    return Memory(anonymous, file, sum(shm.values()))


def tree(root: int) -> list[int]:
    """`root` and its descendants."""
    found = [root]
    for pid in found:
        for children in (_PROC / str(pid) / "task").glob("*/children"):
            try:
                found += [int(word) for word in children.read_text().split()]
            except OSError:
                continue
    return found


def _kilobytes(pid: int, name: str) -> dict[str, int]:
    """The sizes in a file of a process's folder (`VmRSS:  123 kB`), bytes; empty when the process is gone."""
    try:
        lines = (_PROC / str(pid) / name).read_text().splitlines()
    except OSError:
        return {}
    words = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): int(size) * 1024 for name, size, _ in words}


def _open_shm(pid: int) -> dict[int, int]:
    """Inode -> bytes of the files in /dev/shm that a process has open or mapped."""
    found: dict[int, int] = {}
    try:
        for line in (_PROC / str(pid) / "maps").read_text().splitlines():
            if match := _MAPPING.match(line):
                found[int(match[3])] = int(match[2], 16) - int(match[1], 16)
        for link in (_PROC / str(pid) / "fd").iterdir():
            if str(link.readlink()).startswith("/dev/shm/"):
                status = link.stat()
                found[status.st_ino] = status.st_blocks * 512
    except OSError:  # it has ended, or closed this one
        pass
    return found


class Peaks:
    """The largest of each figure, and of their sum, by the name of what was going on."""

    def __init__(self) -> None:
        self.of: dict[str, dict[str, int]] = {}
        self._looks = 0
        self._looked = threading.Condition()

    def add(self, phase: str, now: Memory) -> None:
        peaks = self.of.setdefault(phase, {})
        for name in (*(field.name for field in fields(Memory)), "ram"):
            peaks[name] = max(peaks.get(name, 0), getattr(now, name))

    def looked(self) -> None:
        """Another look at the processes is over."""
        with self._looked:
            self._looks += 1
            self._looked.notify_all()

    def wait_for_a_look(self) -> None:
        """Until somebody has looked at the processes from now on: the look that is under way does not count."""
        with self._looked:
            enough = self._looks + 2
            self._looked.wait_for(lambda: self._looks >= enough)


@contextmanager
def watching(root: int, phase: Callable[[], str], *, every_s: float = 0.05) -> Iterator[Peaks]:
    """Look at the tree of `root` again and again while the block lasts; `phase` names what is going on.

    A look takes 15 ms for each process and more where the machine is busy, so that what passes quickly may be missed.
    """
    peaks, done = Peaks(), threading.Event()

    def watch() -> None:
        while not done.wait(every_s):
            before, now = phase(), memory(root)
            if phase() == before:
                peaks.add(before, now)
            peaks.looked()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()
