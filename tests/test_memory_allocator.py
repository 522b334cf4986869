"""The simulated caching allocator: each rule by a case that was computed by hand, and accounts that add up."""

import itertools
import random

import pytest

from sainet.memory.caching_allocator import AllocatorSettings, CachingAllocator

KIB, MIB = 2**10, 2**20

EXPANDABLE = AllocatorSettings(expandable_segments=True)


def reserved_mib(sizes: list[int], settings: AllocatorSettings | None = None) -> float:
    """What is reserved after these allocations, none of which is freed."""
    allocator = CachingAllocator(settings)
    for size in sizes:
        allocator.allocate(size)
    return allocator.reserved_bytes / MIB


def allocated(size: int, settings: AllocatorSettings | None = None) -> int:
    allocator = CachingAllocator(settings)
    allocator.allocate(size)
    return allocator.allocated_bytes


# --- sizes


@pytest.mark.parametrize(("size", "block"), [(1, 512), (512, 512), (513, 1024), (3 * MIB + 1, 3 * MIB + 512)])
def test_a_block_is_a_multiple_of_512_bytes(size: int, block: int) -> None:
    assert allocated(size) == block


@pytest.mark.parametrize(
    ("size", "segment_mib"),
    [
        (1, 2),  # small blocks share segments of 2 MiB
        (MIB, 2),
        (MIB + 1, 20),  # up to 10 MiB they share segments of 20 MiB
        (10 * MIB - 512, 20),
        (10 * MIB, 10),  # from there a segment is as large as the block, in steps of 2 MiB
        (10 * MIB + 1, 12),
        (101 * MIB, 102),
    ],
)
def test_how_much_is_reserved_for_a_first_allocation(size: int, segment_mib: int) -> None:
    assert reserved_mib([size]) == segment_mib


def test_a_segment_is_used_up_before_the_next_is_reserved() -> None:
    assert reserved_mib([512 * KIB] * 4) == 2
    assert reserved_mib([512 * KIB] * 5) == 4
    assert reserved_mib([5 * MIB] * 4) == 20
    assert reserved_mib([5 * MIB] * 5) == 40


def test_small_and_large_blocks_never_share_a_segment() -> None:
    assert reserved_mib([5 * MIB, 512]) == 22


# --- splitting


def test_a_large_block_keeps_a_rest_of_up_to_1_mib() -> None:
    assert allocated(11 * MIB) == 12 * MIB  # the rest of 1 MiB is not split off
    assert allocated(11 * MIB - 512) == 11 * MIB - 512  # 1 MiB and 512 bytes are


def test_a_small_block_keeps_nothing() -> None:
    assert reserved_mib([MIB, MIB - 512, 512]) == 2


# --- reuse


def test_the_smallest_block_that_is_large_enough_is_taken() -> None:
    allocator = CachingAllocator()
    large, walls, small = allocator.allocate(40 * MIB), allocator.allocate(20 * MIB), allocator.allocate(30 * MIB)
    allocator.free(large)
    allocator.free(small)
    assert allocator.allocate(29 * MIB) == small
    assert allocator.allocate(39 * MIB) == large
    assert allocator.reserved_bytes == 90 * MIB
    allocator.free(walls)


def test_freed_neighbours_become_one_block() -> None:
    allocator = CachingAllocator()
    three = [allocator.allocate(6 * MIB) for _ in range(3)]  # 18 of 20 MiB
    for address in (three[0], three[2], three[1]):
        allocator.free(address)
    assert allocator.allocate(20 * MIB) == three[0]
    assert allocator.reserved_bytes == 20 * MIB


def test_a_hole_that_is_too_small_makes_it_reserve_more() -> None:
    allocator = CachingAllocator()
    addresses = [allocator.allocate(5 * MIB) for _ in range(4)]
    allocator.free(addresses[0])
    allocator.free(addresses[2])
    allocator.allocate(6 * MIB)  # 10 MiB are free, in two holes
    assert allocator.reserved_bytes == 40 * MIB


# --- settings


def test_an_expandable_segment_grows_at_its_end_in_steps_of_20_mib() -> None:
    assert reserved_mib([MIB + 1], EXPANDABLE) == 20
    assert reserved_mib([12 * MIB, 12 * MIB], EXPANDABLE) == 40  # 8 MiB free at the end, so 4 more are needed
    assert reserved_mib([512] * 4096 + [512], EXPANDABLE) == 4  # small ones in steps of 2 MiB


def test_an_expandable_segment_has_no_holes_between_segments() -> None:
    sizes = [30 * MIB + 512 * KIB] * 20
    assert reserved_mib(sizes) == 20 * 32
    assert reserved_mib(sizes, EXPANDABLE) == 620


def test_the_end_that_can_grow_is_taken_last() -> None:
    allocator = CachingAllocator(EXPANDABLE)
    hole, _wall = allocator.allocate(10 * MIB), allocator.allocate(MIB + 512)
    allocator.free(hole)  # 10 MiB at the front; 9 MiB less 512 bytes free at the end
    assert allocator.allocate(8 * MIB) == hole


def test_blocks_above_max_split_size_are_not_split() -> None:
    settings = AllocatorSettings(max_split_size_bytes=100 * MIB)
    allocator = CachingAllocator(settings)
    whole = allocator.allocate(200 * MIB)
    allocator.free(whole)
    allocator.allocate(60 * MIB)  # must not take a bite of it
    assert allocator.reserved_bytes == 260 * MIB
    allocator.allocate(181 * MIB)  # within 20 MiB of the block's size: takes all of it
    assert allocator.reserved_bytes == 260 * MIB
    assert allocator.allocated_bytes == 260 * MIB


def test_a_block_above_max_split_size_does_not_serve_a_much_smaller_one() -> None:
    allocator = CachingAllocator(AllocatorSettings(max_split_size_bytes=100 * MIB))
    allocator.free(allocator.allocate(200 * MIB))
    allocator.allocate(180 * MIB)
    assert allocator.reserved_bytes == 380 * MIB


@pytest.mark.parametrize(("size_mib", "block_mib"), [(1, 1), (5, 5), (9, 10), (17, 20), (1025, 1280)])
def test_sizes_are_rounded_up_to_divisions_of_a_power_of_two(size_mib: int, block_mib: int) -> None:
    assert allocated(size_mib * MIB, AllocatorSettings.parse("roundup_power2_divisions:4")) == block_mib * MIB


def test_settings_are_read_as_pytorch_does() -> None:
    text = "expandable_segments:True, max_split_size_mb:512,max_non_split_rounding_mb:64,large_segment_size_mb:32"
    assert AllocatorSettings.parse(text) == AllocatorSettings(True, 512 * MIB, 64 * MIB, 32 * MIB)
    assert AllocatorSettings.parse("") == AllocatorSettings.parse("backend:native") == AllocatorSettings()


def test_divisions_may_differ_from_size_to_size() -> None:
    # As PyTorch's own test: the first holds for smaller sizes too, `>` for all larger ones.
    parsed = AllocatorSettings.parse("roundup_power2_divisions:[64:8,128:2,256:4,512:2,1024:4,>:1]")
    assert parsed.roundup_power2_divisions == (8,) * 7 + (2, 4, 2, 4) + (1,) * 5


def test_the_newer_variable_hides_the_older_one() -> None:
    both = {"PYTORCH_ALLOC_CONF": "max_split_size_mb:64", "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    assert AllocatorSettings.from_environment(both) == AllocatorSettings(max_split_size_bytes=64 * MIB)
    both.pop("PYTORCH_ALLOC_CONF")
    assert AllocatorSettings.from_environment(both) == EXPANDABLE
    assert AllocatorSettings.from_environment({}) == AllocatorSettings()


# --- the accounts


@pytest.mark.parametrize(
    "settings",
    [
        AllocatorSettings(),
        EXPANDABLE,
        AllocatorSettings(max_split_size_bytes=32 * MIB),
        AllocatorSettings.parse("roundup_power2_divisions:[1:2,>:8]"),
    ],
    ids=["default", "expandable", "max split", "divisions"],
)
def test_blocks_never_overlap_and_the_accounts_add_up(settings: AllocatorSettings) -> None:
    dice = random.Random(4)
    allocator = CachingAllocator(settings)
    live: dict[int, tuple[int, int]] = {}
    for _ in range(3000):
        if live and dice.random() < 0.48:
            address = dice.choice(sorted(live))
            del live[address]
            allocator.free(address)
        else:
            before, size = allocator.allocated_bytes, int(2 ** dice.uniform(0, 26))
            address = allocator.allocate(size)
            live[address] = size, allocator.allocated_bytes - before
        ordered = sorted((start, start + block) for start, (_, block) in live.items())
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ordered))
        assert all(block >= size for size, block in live.values())
        assert allocator.allocated_bytes == sum(block for _, block in live.values()) <= allocator.reserved_bytes
    for address in live:
        allocator.free(address)
    peak = allocator.reserved_bytes
    assert allocator.allocated_bytes == 0
    assert peak == allocator.peak_reserved_bytes  # nothing is ever given back
