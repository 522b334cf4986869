"""RAM looked at several times a second: what `read_ram` reads, for a tenth of its cost.

Descriptors are kept, and groups whose limits are none, since the machine has less, are read only now and then.
"""

from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from sainet.hardware.kept_file import KeptFile
from sainet.hardware.ram import Cgroup, RamReading, oom_kills, own_cgroups, ram_reading, smallest_limit_bytes

__all__ = ["RamWatch"]

_ROOT = Path("/")
_READINGS = 20
"""So many in a row go by the groups that had a limit before them."""


@dataclass(frozen=True)
class _KeptGroup(Cgroup):
    """A control group whose files stay open once they were read."""

    files: dict[str, KeptFile] = field(default_factory=dict, repr=False, compare=False)

    def read(self, file: str) -> str | None:
        kept = self.files.get(file)
        if kept is None:
            kept = self.files[file] = KeptFile(self.folder / file)
        return kept.read()

    @property
    def is_gone(self) -> bool:
        return any(file.gone for file in self.files.values())

    def close(self) -> None:
        for file in self.files.values():
            file.close()


class RamWatch:
    """The RAM of this process, and of the children in its control group, again and again.

    The groups are looked up once; where one of them is removed, as when the process was moved to another, they are
    looked up anew, and the reading in between is None. To be closed, for instance as a context manager.
    """

    def __init__(self, root: Path = _ROOT) -> None:
        self._root = root
        self._open()

    def _open(self) -> None:
        self._meminfo = KeptFile(self._root / "proc/meminfo")
        found = own_cgroups("memory", self._root)
        self._groups = [_KeptGroup(group.version, group.folder, group.name) for group in found]
        self._limiting: list[_KeptGroup] = []
        self._readings = 0

    def read(self) -> RamReading | None:
        """As `read_ram`; None where nobody can tell at this moment."""
        meminfo = self._meminfo.read()
        if meminfo is None:
            return None
        if self._readings % _READINGS == 0:
            total_bytes = ram_reading(meminfo, []).limit_bytes
            self._limiting = [group for group in self._groups if _limits(group, total_bytes)]
        self._readings += 1
        reading = ram_reading(meminfo, self._limiting)
        if any(group.is_gone for group in self._groups):
            self.close()
            self._open()
            return None
        return reading

    def oom_kills(self) -> int | None:
        """The kernel's count for the group that this process is in; None where there is none."""
        return oom_kills(self._groups[0]) if self._groups else None

    def close(self) -> None:
        self._meminfo.close()
        for group in self._groups:
            group.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _limits(group: Cgroup, total_bytes: int) -> bool:
    limit_bytes = smallest_limit_bytes(group)
    return limit_bytes is not None and limit_bytes < total_bytes
