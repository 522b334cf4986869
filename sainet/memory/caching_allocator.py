"""PyTorch's caching allocator for CUDA, without a GPU: how much memory it reserves for a sequence of allocations.

The native backend of torch 2.14 (c10/cuda/CUDACachingAllocator.cpp) with one stream and a card that never runs out:
nothing that was reserved is given back.
"""

import re
from bisect import bisect_left, insort
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["AllocatorSettings", "CachingAllocator"]

_MIB = 2**20
_MIN_BLOCK = 512
"""kMinBlockSize: every size is a multiple of it."""
_SMALL_SIZE = _MIB
"""kSmallSize: up to here an allocation comes from the pool of small blocks."""
_SMALL_SEGMENT = 2 * _MIB
"""kSmallBuffer: what the pool of small blocks reserves at a time."""
_MIN_LARGE = 10 * _MIB
"""kMinLargeAlloc: from here an allocation gets a segment of its own size."""
_ROUND_LARGE = 2 * _MIB
"""kRoundLarge: segments of their own size are multiples of it."""
_LARGE_SEGMENT = 20 * _MIB
"""kLargeBuffer: what the pool of large blocks reserves for smaller allocations."""

_APART = 2**60
"""Addresses between two segments: blocks of different segments never touch."""

_COMMA_OUTSIDE_BRACKETS = re.compile(r",(?![^\[]*\])")


@dataclass(frozen=True)
class AllocatorSettings:
    """What of `PYTORCH_ALLOC_CONF` changes how much is reserved on a card that does not run out."""

    expandable_segments: bool = False
    max_split_size_bytes: int | None = None
    """Blocks from this size on are neither split nor given to smaller allocations."""
    max_non_split_rounding_bytes: int = _LARGE_SEGMENT
    """How much larger than asked for a block of that size may be."""
    large_segment_bytes: int = _LARGE_SEGMENT
    roundup_power2_divisions: tuple[int, ...] = ()
    """Sizes are rounded up to one of so many steps between two powers of two. One entry for each power from 1 MiB
    (and below) to 32 GiB (and above); 0 and 1 round to 512 bytes."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "AllocatorSettings":
        """PyTorch reads `PYTORCH_ALLOC_CONF`, and `PYTORCH_CUDA_ALLOC_CONF` only where that is not set."""
        return cls.parse(environment.get("PYTORCH_ALLOC_CONF", environment.get("PYTORCH_CUDA_ALLOC_CONF", "")))

    @classmethod
    def parse(cls, text: str) -> "AllocatorSettings":
        """`option:value,option:value` of valid options (`sainet.config.allocator` names the faults)."""
        parts = _COMMA_OUTSIDE_BRACKETS.split(re.sub(r"\s", "", text))
        values = dict(part.split(":", 1) for part in parts if ":" in part)
        split_mib = values.get("max_split_size_mb")
        return cls(
            expandable_segments=values.get("expandable_segments") == "True",
            max_split_size_bytes=None if split_mib is None else int(split_mib) * _MIB,
            max_non_split_rounding_bytes=int(values.get("max_non_split_rounding_mb", 20)) * _MIB,
            large_segment_bytes=int(values.get("large_segment_size_mb", 20)) * _MIB,
            roundup_power2_divisions=_divisions(values.get("roundup_power2_divisions", "")),
        )


_POWERS = 16
"""kRoundUpPowerOfTwoIntervals: 1 MiB, 2 MiB, ... 32 GiB."""


def _divisions(text: str) -> tuple[int, ...]:
    """`8`, or `[256:1,512:2,>:8]`: the first holds for smaller sizes too, `>` for all larger ones."""
    if not text.startswith("["):
        return (int(text),) * _POWERS if text else ()
    divisions = [0] * _POWERS
    last = -1
    for entry in text.strip("[]").split(","):
        bound, _, value = entry.partition(":")
        first, last = last + 1, _POWERS - 1 if bound == ">" else min(int(bound).bit_length() - 1, _POWERS - 1)
        for power in range(first if first == 0 or bound == ">" else last, last + 1):
            divisions[power] = int(value)
    return tuple(divisions)


class CachingAllocator:
    """One device's allocator. `reserved_bytes` and `allocated_bytes` are PyTorch's figures of these names."""

    def __init__(self, settings: AllocatorSettings | None = None) -> None:
        self.settings = settings or AllocatorSettings()
        self.reserved_bytes = self.allocated_bytes = 0
        self.peak_reserved_bytes = self.peak_allocated_bytes = 0
        self._pools = (_Pool(_SMALL_SEGMENT), _Pool(self.settings.large_segment_bytes))
        self._taken: dict[int, tuple[int, _Pool]] = {}
        """Address -> size and pool of the blocks in use."""
        self._next_segment = _APART

    def allocate(self, size_bytes: int) -> int:
        """The address of a block for `size_bytes` (1 or more)."""
        size = self._rounded(size_bytes)
        pool = self._pools[size > _SMALL_SIZE]
        grow = self._expand if self.settings.expandable_segments else self._reserve
        address, block = self._best_fit(pool, size) or grow(pool, size)
        taken = size if self._splits(pool, block, size) else block
        if taken < block:
            pool.put(address + taken, block - taken)
        self._taken[address] = taken, pool
        self.allocated_bytes += taken
        self.peak_allocated_bytes = max(self.peak_allocated_bytes, self.allocated_bytes)
        return address

    def free(self, address: int) -> None:
        """Give a block back to its pool; neighbours that are free become one."""
        size, pool = self._taken.pop(address)
        self.allocated_bytes -= size
        pool.put(address, size)

    # --- sizes

    def _rounded(self, size: int) -> int:
        divisions = self._divisions_of(size)
        if divisions > 1 and size > _MIN_BLOCK * divisions:
            step = (1 << (size.bit_length() - 1)) // divisions
            return -(-size // step) * step
        return max(_MIN_BLOCK, -(-size // _MIN_BLOCK) * _MIN_BLOCK)

    def _divisions_of(self, size: int) -> int:
        table = self.settings.roundup_power2_divisions
        return table[min(max((size // _MIB).bit_length() - 1, 0), _POWERS - 1)] if table else 0

    def _segment_size(self, size: int) -> int:
        if size <= _SMALL_SIZE:
            return _SMALL_SEGMENT
        if size < _MIN_LARGE:
            return self.settings.large_segment_bytes
        return -(-size // _ROUND_LARGE) * _ROUND_LARGE

    # --- blocks

    def _best_fit(self, pool: "_Pool", size: int) -> tuple[int, int] | None:
        """Take the smallest free block that is large enough out of its pool; of equals, the one at the front.

        Returns its address and size, as the other two do that find a block.
        """
        place = bisect_left(pool.free, (size, 0))
        if place == len(pool.free):
            return None
        found, address = pool.free[place]
        # What can grow counts as large as it can grow: any other block that is large enough is preferred.
        if address + found == pool.mapped_end and place + 1 < len(pool.free):
            found, address = pool.free[place + 1]
        limit = self.settings.max_split_size_bytes
        if limit is not None:
            if size < limit <= found:
                return None
            if size >= limit and found >= size + self.settings.max_non_split_rounding_bytes:
                return None
        pool.take(address, found)
        return address, found

    def _reserve(self, _pool: "_Pool", size: int) -> tuple[int, int]:
        """A segment of its own from the driver."""
        address, segment = self._next_segment, self._segment_size(size)
        self._next_segment += _APART
        self._count_reserved(segment)
        return address, segment

    def _expand(self, pool: "_Pool", size: int) -> tuple[int, int]:
        """Map more of the pool's one segment, behind what is free at its end."""
        if pool.mapped_end == 0:
            pool.mapped_end = self._next_segment
            self._next_segment += _APART
        address = pool.ends.get(pool.mapped_end, pool.mapped_end)
        tail = pool.mapped_end - address
        if tail:
            pool.take(address, tail)
        mapped = -(-(size - tail) // pool.granule) * pool.granule
        self._count_reserved(mapped)
        pool.mapped_end += mapped
        return address, tail + mapped

    def _splits(self, pool: "_Pool", block: int, size: int) -> bool:
        """Whether what is left of the block goes back to the pool."""
        if pool is self._pools[0] or self.settings.expandable_segments:
            return block - size >= _MIN_BLOCK
        limit = self.settings.max_split_size_bytes
        return block - size > _SMALL_SIZE and (limit is None or size < limit)

    def _count_reserved(self, size: int) -> None:
        self.reserved_bytes += size
        self.peak_reserved_bytes = max(self.peak_reserved_bytes, self.reserved_bytes)


class _Pool:
    """The free blocks of one pool, by size and by address."""

    def __init__(self, granule: int) -> None:
        self.granule = granule
        """What an expandable segment is mapped in."""
        self.free: list[tuple[int, int]] = []
        """(size, address), sorted."""
        self.sizes: dict[int, int] = {}
        """Address -> size of the free blocks."""
        self.ends: dict[int, int] = {}
        """End -> address of the free blocks."""
        self.mapped_end = 0
        """Where the expandable segment's mapped part ends; 0 while there is none."""

    def put(self, address: int, size: int) -> None:
        """Add a free block, joined with the free neighbours."""
        behind = self.sizes.get(address + size)
        if behind is not None:
            self.take(address + size, behind)
            size += behind
        before = self.ends.get(address)
        if before is not None:
            size += address - before
            self.take(before, address - before)
            address = before
        self.sizes[address] = size
        self.ends[address + size] = address
        insort(self.free, (size, address))

    def take(self, address: int, size: int) -> None:
        """Take a free block out."""
        del self.sizes[address], self.ends[address + size]
        del self.free[bisect_left(self.free, (size, address))]
