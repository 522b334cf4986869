"""What a user can set so that the guard need not act next time."""

from collections.abc import Mapping

from sainet.guard.ladder import Footing, Rung
from sainet.protocol import Resource

__all__ = ["advice", "advice_where_nothing_is_left"]

_STOPPED: Mapping[Resource, str] = {
    "ram": "more RAM, a smaller --batch, or --cache false; what takes it: sainet profile-memory",
    "shm": "a larger /dev/shm (docker run --shm-size=16g), or a smaller --batch",
    "disk": "free some space, or put the run on a larger disk (--runs-dir)",
    "vram": "a smaller --batch, or --set train.micro_batch=N; what fits: sainet profile-memory",
}


def advice_where_nothing_is_left(resource: Resource) -> str:
    return f"next time: {_STOPPED[resource]}"


def advice(rung: Rung, footing: Footing) -> str:
    """`footing`: after the rung."""
    match rung.kind:
        case "prefetch" | "workers":
            val = f"--set loader.val.workers={footing.val_workers}" if "val_workers" in rung.after else ""
            parts = [f"--workers {footing.workers}", f"--set loader.prefetch_factor={footing.prefetch_factor}", val]
            return "next time: " + " ".join(part for part in parts if part)
        case "restart workers":
            return "the loader's workers keep memory that nobody uses: fewer --workers leak less at a time"
        case "drop cache":
            return "next time: --cache disk, or --cache false"
        case "release vram":
            return "next time: env.PYTORCH_ALLOC_CONF: expandable_segments:True in the profile, or a smaller --batch"
        case "micro-batch":
            return f"next time: --set train.micro_batch={footing.micro_batch}, or a smaller --batch"
        case "smaller batch":
            return f"next time: --batch {footing.batch}"
        case "stop":
            return _STOPPED[rung.resource]
