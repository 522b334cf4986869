"""What the guard looks at: one sample of everything that can run out."""

from dataclasses import dataclass

__all__ = ["GpuSample", "Sample"]


@dataclass(frozen=True)
class GpuSample:
    """VRAM of one GPU, bytes: all that is taken of the device, whoever took it, and what the training's own allocator
    says of itself (None where it has not said anything yet)."""

    used_bytes: int
    total_bytes: int
    reserved_bytes: int | None = None
    allocated_bytes: int | None = None


@dataclass(frozen=True)
class Sample:
    """Everything that can run out, at one moment; None for what nobody could read.

    `time_s` is any clock that only goes forward; `memory.csv` has Unix time. `checkpoint_bytes` is the size of the
    newest exact checkpoint, `oom_kills` the kernel's count for the training's control group, `batch` the number of the
    newest batch over all epochs. `gpus` are those that the training uses, in its order; None for one that does not
    answer.
    """

    time_s: float
    ram_working_set_bytes: int | None = None
    ram_limit_bytes: int | None = None
    shm_used_bytes: int | None = None
    shm_size_bytes: int | None = None
    disk_free_bytes: int | None = None
    checkpoint_bytes: int | None = None
    oom_kills: int | None = None
    batch: int | None = None
    gpus: tuple[GpuSample | None, ...] = ()
