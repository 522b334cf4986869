"""From a rung to the order that a running training gets."""

from sainet.guard.ladder import Footing, Rung
from sainet.protocol import Orders

__all__ = ["order_for"]


def order_for(rung: Rung, footing: Footing, number: int, at: tuple[int, int] | None, waiting: Orders | None) -> Orders:
    """Order `number`, to be obeyed before the batch `at` by every rank.

    `footing`: after the rung. An order replaces the one before, which may still be `waiting`; so it says how everything
    has to be and not only what is new, and asks again for what was asked for once.
    """
    before = waiting or Orders()
    return Orders(
        number=number,
        at=at,
        workers=footing.workers,
        prefetch_factor=footing.prefetch_factor,
        val_workers=footing.val_workers,
        val_prefetch_factor=footing.val_prefetch_factor,
        micro_batch=footing.micro_batch,
        drop_cache=rung.kind == "drop cache" or before.drop_cache,
        restart_workers=rung.kind == "restart workers" or before.restart_workers,
        # What a larger piece has left in the allocator's cache is of no use to smaller ones.
        release_vram=rung.kind in {"release vram", "micro-batch"} or before.release_vram,
        stop=rung.ends_attempt,
    )
