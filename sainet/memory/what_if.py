"""Tables over settings: which batch at which image size, and what several GPUs would take."""

from dataclasses import dataclass

from sainet.memory.budget import Verdict

__all__ = ["BATCHES", "GPUS", "Cell", "Scaled"]

BATCHES = (16, 24, 32, 48, 64, 96, 128, 160, 192, 256)
GPUS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Cell:
    """One batch at one shape: what each GPU is planned to need, what RAM and /dev/shm are, and the worst verdict."""

    shape: tuple[int, int]
    batch: int
    vram_bytes: int
    ram_bytes: int
    shm_bytes: int
    verdict: Verdict


@dataclass(frozen=True)
class Scaled:
    """The same share of each GPU on more or fewer of them. `workers` counts those of all processes."""

    gpus: int
    batch: int
    workers: int
    ram_bytes: int
    shm_bytes: int
    learning_rate: float | None
    linear_rate: float | None
    verdict: Verdict
