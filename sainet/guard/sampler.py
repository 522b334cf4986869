"""The guard's eyes: one look at everything that can run out, cheap enough for ten a second."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from sainet.guard.sample import GpuSample, Sample
from sainet.hardware.gpu import Gpu
from sainet.hardware.gpu_watch import GpuWatch
from sainet.hardware.ram_watch import RamWatch
from sainet.hardware.storage import disk_free_bytes, shm_at

__all__ = ["Sampler"]

_ROOT = Path("/")


class Sampler:
    """Looks at the RAM of this process and its children, /dev/shm, the disk of `run_folder`, and the VRAM of `gpus`.

    - `gpus`: those that the training uses, GPUs or MIG instances, in the order of its ranks.
    - `root`: where /proc, /sys and /dev are, for a machine laid out in a folder.
    - `warn` is told once of each GPU that does not answer, in a sentence for people.

    Nothing that fails to answer stops the rest: its figures are None. To be closed, for instance as a context manager.
    """

    def __init__(
        self, run_folder: Path, gpus: Sequence[Gpu], *, warn: Callable[[str], None], root: Path = _ROOT
    ) -> None:
        self._folder, self._shm = run_folder, root / "dev/shm"
        self._ram = RamWatch(root)
        self._gpus = GpuWatch(gpus, warn)

    def read(
        self,
        time_s: float,
        *,
        checkpoint_bytes: int | None = None,
        batch: int | None = None,
        reserved_bytes: int | None = None,
        allocated_bytes: int | None = None,
    ) -> Sample:
        """Everything at this moment, `time_s` of the caller's clock.

        What the training says of itself is handed in: its newest checkpoint and batch, and what the allocator of its
        first process, which speaks for all, has reserved on the first of the GPUs and given to tensors.
        """
        ram, shm = self._ram.read(), shm_at(self._shm)
        return Sample(
            time_s=time_s,
            ram_working_set_bytes=ram.working_set_bytes if ram else None,
            ram_limit_bytes=ram.limit_bytes if ram else None,
            shm_used_bytes=shm.used_bytes if shm.size_bytes else None,
            shm_size_bytes=shm.size_bytes or None,
            disk_free_bytes=disk_free_bytes(self._folder),
            checkpoint_bytes=checkpoint_bytes,
            oom_kills=self._ram.oom_kills(),
            batch=batch,
            gpus=self._read_gpus(reserved_bytes, allocated_bytes),
        )

    def _read_gpus(self, reserved_bytes: int | None, allocated_bytes: int | None) -> tuple[GpuSample | None, ...]:
        found = [GpuSample(*memory) if memory else None for memory in self._gpus.read()]
        if found and found[0]:
            found[0] = replace(found[0], reserved_bytes=reserved_bytes, allocated_bytes=allocated_bytes)
        return tuple(found)

    def close(self) -> None:
        self._ram.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
